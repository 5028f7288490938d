//! A server whose state lies in a file system of its own, which can be small, and full.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    process::{Child, Command},
};

use crate::{
    server::{Lines, binary},
    within,
};

/// A file system of its own for a state directory, which ends with this: a mount namespace that one process holds open.
pub(crate) struct Apart {
    holder: Child,
    pub(crate) directory: PathBuf,
    _files: TempDir,
}

impl Apart {
    /// Mounts a file system by a command of the shell, in which `$AT` is where and `$NEXT` a file beside it. None, with the
    /// reason said, where that cannot be.
    pub(crate) async fn mount(how: &str) -> Option<Self> {
        let files = TempDir::with_prefix("duologue-apart-").unwrap();
        let directory = files.path().join("state");
        fs::create_dir(&directory).unwrap();
        let script = format!("{how} && echo mounted && exec sleep infinity");
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "sh", "-c", &script]).env("AT", &directory).env("NEXT", files.path().join("image"));
        unshare.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let Ok(mut holder) = unshare.spawn() else {
            eprintln!("skipped: there is no unshare");
            return None;
        };
        let said = Lines::of(holder.stderr.take().unwrap());
        if Lines::of(holder.stdout.take().unwrap()).find("mounted").await.is_none() {
            eprintln!("skipped: nothing can be mounted here: {:?}", said.seen());
            return None;
        }
        Some(Self { holder, directory, _files: files })
    }

    fn inside(&self, arguments: &[&str]) -> Command {
        let pid = self.holder.id().expect("it lives");
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &pid.to_string()]).arg(binary()).args(arguments);
        command.arg("--state").arg(&self.directory).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// The server, its log, and its first line.
    pub(crate) async fn start(&self, arguments: &[&str]) -> (Child, Lines, String) {
        let mut server = self.inside(arguments);
        let mut child =
            server.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("nsenter is where unshare is");
        let log = Lines::of(child.stderr.take().unwrap());
        let ready = Lines::of(child.stdout.take().unwrap()).find(" ").await;
        let ready = ready.unwrap_or_else(|| panic!("it did not start: {:#?}", log.seen()));
        (child, log, ready.split(' ').nth(1).expect("a word follows").to_owned())
    }

    /// Asks the local API.
    pub(crate) async fn ask(&self, what: &str, body: &str) -> String {
        let mut stream = UnixStream::connect(self.file("control.sock")).await.expect("the server runs");
        let head = format!(
            "{what} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + body).as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(20, "an answer of the API", stream.read_to_string(&mut answer)).await.unwrap();
        answer
    }

    pub(crate) async fn verb(&self, arguments: &[&str]) -> Output {
        within(20, format!("duologue {arguments:?}"), self.inside(arguments).output()).await.expect("it starts")
    }

    /// What lies in that file system, from out here.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        let pid = self.holder.id().expect("it lives");
        let below = self.directory.strip_prefix("/").expect("it is absolute");
        Path::new("/proc").join(pid.to_string()).join("root").join(below).join(name)
    }

    /// Writes until there is no room for a single byte more.
    pub(crate) fn fill(&self, name: &str) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.file(name)).unwrap();
        for len in [1_000_000, 4_096, 1] {
            let block = vec![0xa5; len];
            while file.write_all(&block).and_then(|()| file.sync_data()).is_ok() {}
        }
    }
}

/// All that a verb has said.
pub(crate) fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}
