//! `duologue serve --behind-proxy`, which can be killed and comes back with the same state at the same port.

use std::{net::TcpListener, process::Stdio};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{
    server::{Lines, binary, spawn},
    within,
};

/// A port of this machine that nobody has. Somebody else may take it first: then what wanted it says so.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port is free").port()
}

pub(crate) struct Backend {
    running: Option<Child>,
    directory: TempDir,
    /// Of the proxy before it.
    address: String,
    pub(crate) port: u16,
    /// What the one that runs now says.
    pub(crate) stderr: Lines,
}

impl Backend {
    /// Behind a proxy that is to be found at this port.
    pub(crate) async fn behind(public_port: u16) -> Self {
        let directory = TempDir::with_prefix("duologue-state-").unwrap();
        let address = format!("https://localhost:{public_port}");
        let port = free_port();
        let (running, stderr) = start(&address, port, &directory, &[]).await;
        Self { running: Some(running), directory, address, port, stderr }
    }

    /// The same, and it takes the proxy's word for whose its connections are.
    pub(crate) async fn trusting(public_port: u16) -> Self {
        Self::trusting_with(public_port, &[]).await
    }

    /// The same with further arguments, which one that is started again has no more.
    pub(crate) async fn trusting_with(public_port: u16, arguments: &[&str]) -> Self {
        let directory = TempDir::with_prefix("duologue-state-").unwrap();
        let address = format!("https://localhost:{public_port}");
        let port = free_port();
        let (running, stderr) =
            start(&address, port, &directory, &[&["--trusted-proxy", "127.0.0.1"], arguments].concat()).await;
        Self { running: Some(running), directory, address, port, stderr }
    }

    /// Without a warning.
    pub(crate) async fn kill(&mut self) {
        let mut child = self.running.take().expect("it runs");
        child.kill().await.expect("it runs");
    }

    /// Again, after it was killed.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.running.is_none(), "it runs");
        let (running, stderr) = start(&self.address, self.port, &self.directory, &[]).await;
        (self.running, self.stderr) = (Some(running), stderr);
    }

    /// A new invite link.
    pub(crate) async fn invite(&self) -> String {
        let mut command = Command::new(binary());
        command.args(["invite", "new", "--state"]).arg(self.directory.path()).stdin(Stdio::null()).kill_on_drop(true);
        let output = within(20, "an invite", command.output()).await.expect("the binary starts");
        assert!(output.status.success(), "no invite: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a link is ASCII").trim().to_owned()
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

async fn start(address: &str, port: u16, directory: &TempDir, more: &[&str]) -> (Child, Lines) {
    let listen = format!("127.0.0.1:{port}");
    let arguments = ["RUST_LOG=debug", "serve", "--behind-proxy", "--listen", &listen, "--url", address];
    let (child, _, stdout, stderr) = spawn(&[&arguments[..], more].concat(), directory.path(), false);
    stdout.with("listening ").await;
    (child, stderr)
}
