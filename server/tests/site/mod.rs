//! The real binary with a state and a configuration of its own, and its owner's verbs.
#![allow(dead_code, reason = "each test file has its own use for it")]

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use duologue_client::Target;
use tempfile::TempDir;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_duologue");

/// A server's state, its configuration, and its verbs.
pub(crate) struct Site {
    pub(crate) directory: TempDir,
}

/// A server that ends with its test.
pub(crate) struct Server {
    pub(crate) process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// As a service manager stops it.
    pub(crate) fn stop(mut self) {
        let stopped = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        assert!(stopped.expect("kill is there").success());
        assert!(self.process.wait().expect("it ends").success());
    }
}

impl Site {
    pub(crate) fn new(config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let site = Self { directory };
        site.configure(config);
        site
    }

    /// Writes the configuration; without a word in it, a server is started without one.
    pub(crate) fn configure(&self, config: &str) {
        fs::write(self.config(), config).expect("written");
    }

    /// Writes a file beside the configuration.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.directory.path().join(name), text).expect("written");
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join("a.toml")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub(crate) fn audit(&self) -> PathBuf {
        self.state().join("audit")
    }

    pub(crate) fn start(&self) -> Server {
        self.start_with("serve")
    }

    pub(crate) fn start_with(&self, verb: &str) -> Server {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
        self.start_on(verb, &free.to_string())
    }

    /// Again where its clients know it.
    pub(crate) fn start_at(&self, known: &Target) -> Server {
        self.start_on("serve", &known.place())
    }

    fn start_on(&self, verb: &str, listen: &str) -> Server {
        let mut command = Command::new(BINARY);
        match verb {
            "serve" => {
                let url = format!("https://{listen}");
                command.args(["serve", "--url", &url, "--listen", listen, "--behind-proxy"])
            }
            _ => command.args(["dev", "--port", "0"]),
        };
        command.arg("--state").arg(self.state()).env_remove("RUST_LOG");
        let config = self.config();
        if fs::metadata(&config).expect("it is there").len() > 0 {
            command.arg("--config").arg(config);
        }
        let log = fs::File::options().create(true).append(true).open(self.directory.path().join("log")).expect("a log");
        let mut process = command.stdout(Stdio::piped()).stderr(log).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("text");
        assert!(!line.is_empty(), "{}", self.log());
        Server { process }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).expect("a log")
    }

    /// A verb of the owner's: its status, what it says, and what it says is wrong.
    pub(crate) fn try_verb(&self, arguments: &[&str]) -> (i32, String, String) {
        try_verb(&self.state(), arguments)
    }

    #[track_caller]
    pub(crate) fn verb(&self, arguments: &[&str]) -> String {
        let (code, said, wrong) = self.try_verb(arguments);
        assert_eq!(code, 0, "{arguments:?}: {said}{wrong}");
        said.trim_end().to_owned()
    }

    pub(crate) fn target(&self, link: &str) -> Target {
        Target::parse(&link.trim().replace("https://", "http://")).expect("a link")
    }
}

/// The same of another state.
pub(crate) fn try_verb(state: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(BINARY);
    command.args(arguments).env("DUOLOGUE_STATE", state).env_remove("RUST_LOG");
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}
