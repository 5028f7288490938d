//! WebKitGTK's MiniBrowser without a driver: what a person does is done by xdotool, and what comes of it is seen at the server
//! and on the screen.

use std::{path::Path, process::Stdio};

use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    sync::SemaphorePermit,
};

use super::{BROWSERS, screen::Screen, webkit};
use crate::within;

/// A running MiniBrowser in front of which somebody sits.
pub(crate) struct ByHand {
    browser: Child,
    screen: Screen,
    /// All that it keeps.
    _home: TempDir,
    _permit: SemaphorePermit<'static>,
}

impl ByHand {
    /// Goes to an address, and waits for the warning instead of its page.
    pub(crate) async fn meet_warning(url: &str) -> Self {
        let permit = within(600, "its turn for a browser", BROWSERS.acquire()).await.expect("it is never closed");
        let home = TempDir::with_prefix("duologue-browser-").unwrap();
        let screen = Screen::start().await;
        let mut command = Command::new(webkit::minibrowser());
        command.arg(url).env("DISPLAY", &screen.name).env("HOME", home.path()).env("LC_ALL", "C");
        for inherited in ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "LANGUAGE", "WAYLAND_DISPLAY"] {
            command.env_remove(inherited);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let browser = command.spawn().expect("MiniBrowser starts");
        screen.meet_warning().await;
        Self { browser, screen, _home: home, _permit: permit }
    }

    /// "Yes".
    pub(crate) async fn pass_warning(&self) {
        self.screen.pass_warning().await;
        self.screen.window("Duologue").await;
    }

    pub(crate) async fn reload(&self) {
        self.screen.hand(&["key", "ctrl+r"]).await;
    }

    /// A further tab, which is the current one from now on.
    pub(crate) async fn open_tab(&self, url: &str) {
        self.screen.hand(&["key", "ctrl+t", "sleep", "0.5", "key", "ctrl+l", "sleep", "0.5", "type", url]).await;
        self.screen.hand(&["key", "Return"]).await;
    }

    /// What stands on the screen, once the page is painted.
    pub(crate) async fn picture_of_page(&self, file: &Path) {
        self.screen.is_painted().await;
        self.screen.picture(file).await;
    }

    /// The same at once.
    pub(crate) async fn picture(&self, file: &Path) {
        self.screen.picture(file).await;
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let _ = self.browser.start_kill();
    }
}
