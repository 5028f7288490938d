//! Every command of docs/OPERATING.md, run from its text.
//!
//! | block | run |
//! |---|---|
//! | `sh` | here, by the server's user, beside a server that runs |
//! | `sh root` | by root in a Debian of its own, with those above between them: `installed.rs` |
//! | `sh container`, `sh release` | where `cargo xtask dist` has put what it has made: `installed.rs` |
//! | `sh untested` | nowhere: the page says what they need |
//!
//! What the page finds below `/etc` and `/var` lies below a directory of the test's here.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;
use tokio::{io::AsyncBufReadExt, io::BufReader, process::Child};

use crate::{
    server::binary,
    tls::{Authority, pem},
    within,
};

const PAGE: &str = include_str!("../../docs/OPERATING.md");
/// The second listener, as the page has it.
const STATUS: &str = "127.0.0.1:9464";

/// Where a block of commands is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Owner,
    Root,
    Container,
    Release,
    Untested,
}

/// A block of commands.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Of its first command.
    pub(crate) line: usize,
    pub(crate) place: Place,
    pub(crate) text: String,
}

/// The page's blocks, in their order.
pub(crate) fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = None;
    for (number, line) in (1..).zip(PAGE.lines()) {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(kind)) => {
                let place = match kind.split_once(' ').unwrap_or((kind, "")) {
                    ("sh", "") => Some(Place::Owner),
                    ("sh", "root") => Some(Place::Root),
                    ("sh", "container") => Some(Place::Container),
                    ("sh", "release") => Some(Place::Release),
                    ("sh", "untested") => Some(Place::Untested),
                    ("sh" | "bash" | "console", other) => {
                        panic!("docs/OPERATING.md:{number}: sh {other:?} is run nowhere")
                    }
                    _ => None,
                };
                open = Some(place);
                blocks.extend(place.map(|place| Block { line: number + 1, place, text: String::new() }));
            }
            (Some(_), Some("")) => open = None,
            (Some(Some(_)), _) => {
                let text = &mut blocks.last_mut().expect("it has begun").text;
                text.push_str(line);
                text.push('\n');
            }
            _ => {}
        }
    }
    assert!(open.is_none(), "docs/OPERATING.md ends within a block");
    blocks
}

/// A machine as far as the page needs one.
struct Machine {
    root: TempDir,
    status: String,
}

impl Machine {
    fn new() -> Self {
        let root = TempDir::with_prefix("duologue-operating-").unwrap();
        let [etc, var, backups, bin] =
            ["etc/duologue", "var/lib", "var/backups/duologue", "bin"].map(|folder| root.path().join(folder));
        for folder in [&etc, &var, &backups, &bin] {
            fs::create_dir_all(folder).unwrap();
        }
        symlink(binary(), bin.join("duologue")).unwrap();
        let authority = Authority::for_names(&["localhost"]);
        fs::write(etc.join("chain.pem"), pem(&authority.leaf)).unwrap();
        fs::write(etc.join("key.pem"), authority.key.serialize_pem()).unwrap();
        let [port, status] = [(); 2].map(|()| {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().to_string()
        });
        let machine = Self { root, status };
        machine.run("duologue init /etc/duologue/duologue.toml\n", "the configuration");
        let file = machine.root.path().join("etc/duologue/duologue.toml");
        let said = fs::read_to_string(&file).unwrap();
        // What a package says of it, what the page has edited, and ports that are free.
        let edited = said
            .replace("https://line.example", &format!("https://localhost:{}", port.rsplit(':').next().unwrap()))
            .replace("#listen = \"0.0.0.0:443\"", &format!("listen = \"{port}\""))
            .replace("#state = \"duologue-state\"", &machine.here("state = \"/var/lib/duologue\""))
            .replace(&format!("#status = \"{STATUS}\""), &format!("status = \"{}\"", machine.status));
        assert!(edited.lines().filter(|line| !said.contains(line)).count() >= 4, "{edited}");
        fs::write(file, edited).unwrap();
        machine
    }

    /// A text of the page for this machine.
    fn here(&self, text: &str) -> String {
        let root = self.root.path().display();
        text.replace("/etc/", &format!("{root}/etc/"))
            .replace("/var/", &format!("{root}/var/"))
            .replace(STATUS, &self.status)
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program.as_ref());
        command.current_dir(self.root.path()).env("PATH", format!("{}:{path}", self.root.path().join("bin").display()));
        command.env("DUOLOGUE_CONFIG", self.root.path().join("etc/duologue/duologue.toml"));
        command.env_remove("DUOLOGUE_STATE").env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    /// Runs commands to their end, as a person who stops at the first that fails.
    fn run(&self, text: &str, what: &str) {
        let output = self.command("bash").args(["-euo", "pipefail", "-c", &self.here(text)]).output().unwrap();
        let [said, wrong] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        println!("{what}:\n{text}{said}");
        assert!(output.status.success(), "{what}: {}\n{text}\n{said}{wrong}", output.status);
    }

    async fn serve(&self) -> Child {
        let mut command = tokio::process::Command::from(self.command(binary()));
        let mut server = command.arg("serve").stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let line = within(20, "the server to listen", lines.next_line()).await.unwrap();
        assert!(line.is_some_and(|line| line.starts_with("listening ")));
        server
    }
}

#[tokio::test]
async fn every_command_that_the_page_for_operators_has_runs() {
    let machine = Machine::new();
    let server = machine.serve().await;
    let (mut run, mut elsewhere) = (0, 0);
    for Block { line, place, text } in blocks() {
        let what = format!("docs/OPERATING.md:{line}");
        if place == Place::Owner {
            machine.run(&text, &what);
            run += 1;
        } else {
            println!("{what}: {place:?}, not here");
            elsewhere += 1;
        }
    }
    drop(server);
    // Who has taken its place is nobody's child.
    machine.run("kill \"$(cat /var/lib/duologue/lock)\"\n", "the end");
    println!("{run} blocks of commands were run, {elsewhere} are not for here");
    assert!(run >= 8, "{run}");
}
