//! The real binary: started with a fresh state directory, read line by line, killed when dropped.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::Arc,
};

use duologue::Invite;
use duologue_client::Target;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
};

use crate::{
    terminal::Terminal,
    tls::{Authority, Trust, pem},
    within,
};

/// The name under which `serve` is tested; nobody resolves it.
pub(crate) const SERVED_NAME: &str = "duologue.example";

/// Where the binary is.
pub(crate) fn binary() -> PathBuf {
    let path =
        std::env::var_os("DUOLOGUE_BIN").map_or_else(|| workspace().join("target/debug/duologue"), PathBuf::from);
    assert!(path.is_file(), "there is no binary at {}: run `cargo xtask test`, which builds it first", path.display());
    path
}

/// The workspace's directory.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

/// A child's output, line by line, from its start.
#[derive(Clone)]
pub(crate) struct Lines(watch::Receiver<Vec<String>>);

impl Lines {
    pub(crate) fn of(stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (sender, receiver) = watch::channel(Vec::new());
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                sender.send_modify(|seen| seen.push(line));
            }
        });
        Self(receiver)
    }

    /// Of a terminal, which cannot be read without waiting.
    fn of_terminal(terminal: &Terminal) -> Self {
        let (sender, receiver) = watch::channel(Vec::new());
        let lines = std::io::BufRead::lines(std::io::BufReader::new(terminal.shown()));
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                sender.send_modify(|seen| seen.push(line));
            }
        });
        Self(receiver)
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    /// Waits for a line with this text, from the first line on.
    pub(crate) async fn with(&self, text: &str) -> String {
        let found = self.find(text).await;
        found.unwrap_or_else(|| panic!("the output ended without a line with {text:?}; it was {:#?}", self.seen()))
    }

    /// The same, and none if the output ends without it.
    pub(crate) async fn find(&self, text: &str) -> Option<String> {
        let mut receiver = self.0.clone();
        let found = |lines: &Vec<String>| lines.iter().find(|line| line.contains(text)).cloned();
        let waited =
            tokio::time::timeout(std::time::Duration::from_secs(20), receiver.wait_for(|l| found(l).is_some()));
        match waited.await {
            Ok(lines) => lines.ok().and_then(|lines| found(&lines)),
            Err(_) => panic!("no line with {text:?} came in 20 s; there was {:#?}", self.seen()),
        }
    }
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    /// Where there is a desk.
    terminal: Option<Terminal>,
    directory: Arc<TempDir>,
    trust: Trust,
    ready: String,
    pub(crate) port: u16,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
}

impl Server {
    /// `duologue dev` with a fresh state.
    pub(crate) async fn dev() -> Self {
        Self::dev_with(&[]).await
    }

    /// The same with further arguments, which a restarted one has no more.
    pub(crate) async fn dev_with(arguments: &[&str]) -> Self {
        let directory = Arc::new(TempDir::with_prefix("duologue-state-").unwrap());
        Self::dev_at(directory, arguments, None, true).await
    }

    /// `duologue dev`, as a script starts it.
    pub(crate) async fn dev_without_terminal() -> Self {
        let directory = Arc::new(TempDir::with_prefix("duologue-state-").unwrap());
        Self::dev_at(directory, &[], None, false).await
    }

    /// `duologue serve` as <https://duologue.example>, with further arguments.
    pub(crate) async fn serve(arguments: &[&str]) -> Self {
        Self::serve_as(SERVED_NAME, None, arguments).await
    }

    /// The same as `https://localhost:PORT`, which every browser finds.
    pub(crate) async fn serve_locally(arguments: &[&str]) -> Self {
        // The port is in the URL, so that the server cannot choose it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::serve_as("localhost", Some(port), arguments).await
    }

    async fn serve_as(name: &str, port: Option<u16>, arguments: &[&str]) -> Self {
        let directory = Arc::new(TempDir::with_prefix("duologue-state-").unwrap());
        let authority = Authority::for_names(&[name]);
        let files = directory.path().join("files");
        std::fs::create_dir(&files).unwrap();
        let (cert, key) = (files.join("cert.pem"), files.join("key.pem"));
        std::fs::write(&cert, pem(&authority.leaf)).unwrap();
        std::fs::write(&key, authority.key.serialize_pem()).unwrap();
        let url = port.map_or_else(|| format!("https://{name}"), |port| format!("https://{name}:{port}"));
        let listen = format!("127.0.0.1:{}", port.unwrap_or_default());
        let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
        let mut all = vec!["serve", "--listen", &listen, "--url", &url, "--cert", cert, "--key", key];
        all.extend_from_slice(arguments);
        let (child, terminal, stdout, stderr) = spawn(&all, directory.path(), arguments.contains(&"--desk"));
        let port = port_at_the_end(&stdout.with("listening ").await);
        let trust = authority.trust();
        Self { child, terminal, directory, trust, ready: String::new(), port, stdout, stderr }
    }

    /// `duologue serve` at an address that a proxy of this machine has, whose certificate is `trust`.
    pub(crate) async fn behind_proxy(url: &str, trust: Trust, arguments: &[&str]) -> Self {
        let directory = Arc::new(TempDir::with_prefix("duologue-state-").unwrap());
        let serve = ["serve", "--behind-proxy", "--listen", "127.0.0.1:0", "--url", url];
        let (child, terminal, stdout, stderr) = spawn(&[&serve, arguments].concat(), directory.path(), false);
        let port = port_at_the_end(&stdout.with("listening ").await);
        Self { child, terminal, directory, trust, ready: String::new(), port, stdout, stderr }
    }

    /// Killed without warning, and started again with the same state; by `dev` only.
    pub(crate) async fn restarted(self) -> Self {
        let Self { mut child, directory, trust, .. } = self;
        child.kill().await.expect("it runs");
        Self::dev_at(directory, &[], Some(trust), true).await
    }

    /// The same, but as a script starts it.
    pub(crate) async fn restarted_without_terminal(self) -> Self {
        let Self { mut child, directory, trust, .. } = self;
        child.kill().await.expect("it runs");
        Self::dev_at(directory, &[], Some(trust), false).await
    }

    /// The same, and with these arguments; what it trusts is read anew.
    pub(crate) async fn restarted_with(self, arguments: &[&str]) -> Self {
        let Self { mut child, directory, .. } = self;
        child.kill().await.expect("it runs");
        Self::dev_at(directory, arguments, None, true).await
    }

    async fn dev_at(directory: Arc<TempDir>, arguments: &[&str], trust: Option<Trust>, at_terminal: bool) -> Self {
        let all = [&["dev", "--port", "0"], arguments].concat();
        let (child, terminal, stdout, stderr) = spawn(&all, directory.path(), at_terminal);
        let ready = stdout.with("ready ").await;
        let link = ready.strip_prefix("ready ").expect("the line starts with ready").to_owned();
        let port = port_of(&link);
        let trust = trust.unwrap_or_else(|| Trust::in_development(directory.path()));
        Self { child, terminal, directory, trust, ready: link, port, stdout, stderr }
    }

    /// Asked to stop, as service managers ask.
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIGTERM cannot be sent");
    }

    /// Waits for its end, and starts a successor with the same state.
    pub(crate) async fn succeeded(self) -> Self {
        let Self { mut child, directory, trust, .. } = self;
        within(40, "the server to stop", child.wait()).await.expect("it runs");
        Self::dev_at(directory, &[], Some(trust), true).await
    }

    /// Its state directory.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// The invite link of the `ready` line; only `dev` prints one.
    pub(crate) fn link(&self) -> &str {
        &self.ready
    }

    /// Its address, as `https://localhost:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// What a client must trust to reach it.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.trust.root.clone()
    }

    /// What a browser must be told to reach it.
    pub(crate) fn trust(&self) -> Trust {
        self.trust.clone()
    }

    /// A new invite link, by the verb.
    pub(crate) async fn invite(&self, expires: &str) -> String {
        self.verb(&["invite", "new", "--expires", expires]).await.trim().to_owned()
    }

    /// The same, and its time is over.
    pub(crate) async fn expired_invite(&self) -> String {
        let link = self.invite("1s").await;
        // The server counts whole seconds.
        tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
        link
    }

    /// The ids and lines of `devices list`, of those that were let in.
    pub(crate) async fn devices(&self) -> Vec<(String, String)> {
        let list = self.verb(&["devices", "list"]).await;
        let id = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
        list.lines()
            .filter(|line| !line.is_empty() && !line.contains("  not let in  "))
            .map(|line| (id(line), line.to_owned()))
            .collect()
    }

    /// Runs a verb on this server's state directory and returns its stdout.
    pub(crate) async fn verb(&self, arguments: &[&str]) -> String {
        let output = self.try_verb(arguments).await;
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "duologue {arguments:?} failed with {}: {stdout}{stderr}", output.status);
        stdout.into_owned()
    }

    /// The same, for verbs that may fail.
    pub(crate) async fn try_verb(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--state").arg(self.directory.path()).stdin(Stdio::null()).kill_on_drop(true);
        within(20, format!("duologue {arguments:?}"), command.output()).await.expect("the binary starts")
    }

    /// What a person types at the server's terminal.
    pub(crate) async fn type_line(&mut self, text: &str) {
        self.terminal.as_ref().expect("it has a terminal").type_line(text);
    }

    /// Closes the window of the server's terminal; the server lives on, as under `nohup`.
    pub(crate) fn close_terminal(&mut self) {
        drop(self.terminal.take().expect("it has a terminal"));
    }

    /// Fails if the server has ended, with what it said.
    pub(crate) fn assert_alive(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a child can be asked") {
            panic!("the server has ended with {status}: {:#?}", self.stderr.seen());
        }
    }
}

/// What a verb says to arguments that it refuses at once, with a fresh state.
pub(crate) async fn refused(arguments: &[&str]) -> String {
    let directory = TempDir::with_prefix("duologue-state-").unwrap();
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .env("DUOLOGUE_STATE", directory.path().join("state"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = within(20, format!("duologue {arguments:?}"), command.output()).await.expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "duologue {arguments:?} should have refused, and said {said}");
    said
}

/// A link as it reads for somebody who must go through another port of this machine.
pub(crate) fn through(link: &str, port: u16) -> String {
    let mut url = url::Url::parse(link).expect("an invite link is a URL");
    url.set_port(Some(port)).expect("https has ports");
    url.into()
}

/// A link or address, for the native client.
pub(crate) fn target(link: &str) -> Target {
    Target::parse(link).unwrap_or_else(|error| panic!("{link} is no target: {error}"))
}

/// The invite in a link.
pub(crate) fn invite_of(link: &str) -> Invite {
    Invite::from_link(link).unwrap_or_else(|error| panic!("{link} has no invite: {error}"))
}

fn port_at_the_end(line: &str) -> u16 {
    line.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("no port in {line:?}"))
}

fn port_of(link: &str) -> u16 {
    url::Url::parse(link).ok().and_then(|url| url.port()).unwrap_or_else(|| panic!("no port in {link:?}"))
}

/// With a terminal, or with nothing to read and a pipe to write to, as service managers start it. What looks like `RUST_LOG=debug`
/// is no argument: it sets the log, which tells whatever a peer repeats only then. Nor is `FILES=1024`: so many files it may have
/// open, soft and hard; `FILES=256:1024` where those differ.
pub(crate) fn spawn(arguments: &[&str], state: &Path, at_terminal: bool) -> (Child, Option<Terminal>, Lines, Lines) {
    let files = arguments.iter().find_map(|argument| argument.strip_prefix("FILES="));
    let mut command = match files {
        None => Command::new(binary()),
        Some(files) => {
            let mut shell = Command::new("sh");
            let (soft, hard) = files.split_once(':').unwrap_or((files, files));
            let limits = format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec \"$0\" \"$@\"");
            shell.args(["-c", &limits]).arg(binary());
            shell
        }
    };
    for argument in arguments {
        match argument.split_once('=') {
            Some(("RUST_LOG", log)) => command.env("RUST_LOG", log),
            Some(("FILES", _)) => &mut command,
            _ => command.arg(argument),
        };
    }
    command.arg("--state").arg(state);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let terminal = at_terminal.then(|| {
        let (terminal, [stdin, stdout]) = Terminal::new();
        command.stdin(stdin).stdout(stdout);
        terminal
    });
    let mut child = command.spawn().expect("the binary starts");
    // Else the terminal would not end with the child.
    drop(command);
    let stdout = match &terminal {
        Some(terminal) => Lines::of_terminal(terminal),
        None => Lines::of(child.stdout.take().expect("stdout is piped")),
    };
    let stderr = Lines::of(child.stderr.take().expect("stderr is piped"));
    (child, terminal, stdout, stderr)
}
