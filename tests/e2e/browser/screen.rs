//! A display that nobody sees (Xvfb), and a hand in front of it (xdotool): WebKitGTK asks there, in a bar above the page, what
//! no driver hears of, "Do you want to continue ignoring the TLS errors?".

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::PATIENCE;
use crate::{
    server::{Lines, workspace},
    within,
};

/// The title of MiniBrowser's window while it has no page.
pub(super) const NO_PAGE: &str = "WebKitGTK MiniBrowser";
/// A place in the bar where there is nothing else, and where a page without a warning begins.
const IN_THE_BAR: (u32, u32) = (4, 70);
/// "Yes" is the last button of the bar, so far from the window's right edge, and at half the bar's height. That depends on
/// how many lines the address takes.
const YES_FROM_THE_RIGHT: u32 = 50;
/// A place in the page's margin, which is not white.
const IN_THE_PAGE: (u32, u32) = (8, 400);
const WHITE: [u8; 3] = [255; 3];
const BLACK: [u8; 3] = [0; 3];

pub(super) struct Screen {
    xvfb: Child,
    /// As `DISPLAY` has it.
    pub(super) name: String,
    /// Where Xvfb keeps what stands on it.
    contents: TempDir,
}

impl Screen {
    pub(super) async fn start() -> Self {
        let contents = TempDir::with_prefix("duologue-screen-").unwrap();
        let mut xvfb = Command::new("Xvfb");
        xvfb.args(["-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp", "-fbdir"]);
        xvfb.arg(contents.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut xvfb = xvfb.spawn().expect("Xvfb starts");
        let number = Lines::of(xvfb.stdout.take().unwrap()).with("").await;
        Self { xvfb, name: format!(":{number}"), contents }
    }

    /// Waits for the warning, behind which is no page.
    pub(super) async fn meet_warning(&self) {
        self.wait(|| !matches!(self.pixel(IN_THE_BAR), WHITE | BLACK), "the bar of the warning").await;
        // It slides in, and takes no click before it is there.
        self.stands_still().await;
        // Fails unless there is such a window.
        self.window(NO_PAGE).await;
    }

    /// "Yes".
    pub(super) async fn pass_warning(&self) {
        let window = self.window(NO_PAGE).await;
        // "WIDTH=1024", among others.
        let geometry = self.hand(&["getwindowgeometry", "--shell", &window]).await;
        let width = geometry.lines().find_map(|line| line.strip_prefix("WIDTH=")?.parse::<u32>().ok());
        let x = width.unwrap_or_else(|| panic!("no width in {geometry:?}")) - YES_FROM_THE_RIGHT;
        let y = self.middle_of_the_bar();
        let colour = self.pixel(IN_THE_BAR);
        // As a person, who clicks again if nothing came of it.
        for _ in 0..3 {
            self.hand(&["mousemove", "--window", &window, &x.to_string(), &y.to_string(), "click", "1"]).await;
            for _ in 0..40 {
                if self.pixel(IN_THE_BAR) != colour {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        self.give_up("the bar to go when \"Yes\" is clicked").await;
    }

    /// As far as its colour goes.
    fn middle_of_the_bar(&self) -> u32 {
        let (x, y) = IN_THE_BAR;
        let colour = self.pixel(IN_THE_BAR);
        let top = (0..y).rev().take_while(|&y| self.pixel((x, y)) == colour).last().unwrap_or(y);
        let bottom = (y..y + 300).take_while(|&y| self.pixel((x, y)) == colour).last().unwrap_or(y);
        u32::midpoint(top, bottom)
    }

    /// Waits for a window with this title, and returns its number.
    pub(super) async fn window(&self, title: &str) -> String {
        let started = Instant::now();
        loop {
            if let Ok(found) = self.try_hand(&["search", "--onlyvisible", "--name", title]).await
                && let Some(window) = found.lines().next()
            {
                return window.to_owned();
            }
            if started.elapsed() > PATIENCE {
                self.give_up(&format!("a window {title:?}")).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What somebody does with mouse and keys, as xdotool has it.
    pub(super) async fn hand(&self, arguments: &[&str]) -> String {
        let done = self.try_hand(arguments).await;
        done.unwrap_or_else(|said| panic!("xdotool {arguments:?}: {said}"))
    }

    async fn try_hand(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("xdotool");
        command.args(arguments).env("DISPLAY", &self.name).stdin(Stdio::null()).kill_on_drop(true);
        let done = within(30, format!("xdotool {arguments:?}"), command.output()).await.expect("xdotool is there");
        let said = if done.status.success() { Ok(done.stdout) } else { Err(done.stderr) };
        let text = |said: Vec<u8>| String::from_utf8_lossy(&said).trim().to_owned();
        said.map(text).map_err(text)
    }

    /// Waits until a page is painted and stands still.
    pub(super) async fn is_painted(&self) {
        self.wait(|| self.pixel(IN_THE_PAGE) != WHITE, "the page to be painted").await;
        self.stands_still().await;
    }

    /// What stands on it, as a file, where ImageMagick is there to make one.
    pub(super) async fn picture(&self, file: &Path) {
        let mut import = Command::new("import");
        import.args(["-window", "root"]).arg(file).env("DISPLAY", &self.name).kill_on_drop(true);
        match within(30, "a picture", import.output()).await {
            Ok(done) if done.status.success() => {}
            _ => eprintln!("no {}: ImageMagick's `import` is not there", file.display()),
        }
    }

    async fn wait(&self, is_so: impl Fn() -> bool, what: &str) {
        let started = Instant::now();
        while !is_so() {
            if started.elapsed() > PATIENCE {
                self.give_up(what).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Fails, with a picture of what stands there instead.
    async fn give_up(&self, what: &str) -> ! {
        let file = workspace().join("target/first-run/in-vain.png");
        self.picture(&file).await;
        panic!("waited {PATIENCE:?} in vain: {what}; see {}", file.display());
    }

    /// Waits until nothing moves, for a while: somewhere a cursor may blink.
    async fn stands_still(&self) {
        let mut before = self.pixels();
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            let now = self.pixels();
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// As red, green and blue. Xvfb keeps an XWD file of 32 bits a pixel, blue first. Its header is 32-bit numbers,
    /// big-endian; a table of colours follows, of 12 bytes each.
    fn pixel(&self, (x, y): (u32, u32)) -> [u8; 3] {
        let screen = self.pixels();
        let number = |at: usize| u32::from_be_bytes(screen[4 * at..][..4].try_into().unwrap());
        let (header_len, line_len, colours) = (number(0), number(12), number(19));
        let at = header_len + colours * 12 + y * line_len + x * 4;
        let [blue, green, red] = screen[at as usize..][..3].try_into().unwrap();
        [red, green, blue]
    }

    fn pixels(&self) -> Vec<u8> {
        std::fs::read(self.contents.path().join("Xvfb_screen0")).expect("Xvfb keeps its screen there")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.xvfb.start_kill();
    }
}
