//! The hostile proxy: it has a certificate that its victim trusts, ends TLS, reads everything, and changes what its policy says.
//!
//! ```text
//! client ══TLS══► accept ─► head ─┬─ a file:  bytes to and fro ───────────► server, or an answer of its own
//!                                 └─ a line:  frames to and fro, rules ───► server, or another one
//! ```

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use duologue::limits::RECORD_LEN_MAX;
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::AbortHandle,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    policy::{Act, Policy, Rule, When, alter, asks_for, read_head, unpacked, without_a_next_one, without_m1},
    server::{SERVED_NAME, Server},
    tls::{self, Authority, Trust},
    wire::{Direction, Frame, Kind, Log, Sighting},
};

/// A running proxy.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    authority: Authority,
    files: TempDir,
    task: AbortHandle,
}

struct Shared {
    port: u16,
    trusted: Vec<CertificateDer<'static>>,
    policy: Mutex<Policy>,
    /// What is answered here, by path: further headers, and the body.
    answers: Mutex<HashMap<&'static str, (String, String)>>,
    connections: AtomicUsize,
    log: watch::Sender<Log>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Before these servers; files and lines go to the first.
    pub(crate) async fn before(servers: &[&Server]) -> Self {
        Self::before_port(servers[0].port, servers.iter().map(|server| server.certificate()).collect()).await
    }

    /// Before whatever listens at a port of this machine, with one of these certificates.
    pub(crate) async fn before_port(server: u16, trusted: Vec<CertificateDer<'static>>) -> Self {
        let authority = Authority::for_names(&["localhost", "127.0.0.1", SERVED_NAME]);
        let files = TempDir::with_prefix("duologue-proxy-").unwrap();
        std::fs::write(files.path().join("ca.pem"), &authority.ca_pem).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            port: server,
            trusted,
            policy: Mutex::default(),
            answers: Mutex::default(),
            connections: AtomicUsize::new(0),
            log: watch::Sender::new(Log::default()),
        });
        let acceptor = TlsAcceptor::from(authority.server());
        let run = run(listener, acceptor, Arc::clone(&shared));
        let task = tokio::spawn(run).abort_handle();
        Self { port, shared, authority, files, task }
    }

    pub(crate) fn set(&self, policy: Policy) {
        *self.shared.policy.lock().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// Answers a path itself from now on, with these headers.
    pub(crate) fn answer(&self, path: &'static str, headers: &str, body: &str) {
        let mut answers = self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(path, (headers.to_owned(), body.to_owned()));
    }

    /// Passes it on again.
    pub(crate) fn answer_no_more(&self, path: &str) {
        self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
    }

    /// One intervention.
    pub(crate) fn act(&self, direction: Direction, when: When, act: Act) {
        let connections = self.shared.connections.load(Ordering::SeqCst);
        self.set(Policy { rule: Some(Rule { direction, when, act, connections }), ..Policy::default() });
    }

    /// True once the rule was applied.
    pub(crate) fn has_acted(&self) -> bool {
        self.shared.policy.lock().unwrap_or_else(PoisonError::into_inner).rule.is_none()
    }

    pub(crate) fn address(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// What a browser must be told to trust it.
    pub(crate) fn trust(&self) -> Trust {
        self.authority.trust()
    }

    /// Its certificate authority, for a native client.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.files.path().join("ca.pem")
    }

    pub(crate) fn ca(&self) -> CertificateDer<'static> {
        self.authority.ca.clone()
    }

    pub(crate) fn log(&self) -> Log {
        self.shared.log.borrow().clone()
    }

    /// Waits until the log shows something.
    pub(crate) async fn wait_for(&self, what: &str, shows: impl Fn(&Log) -> bool) -> Log {
        let mut receiver = self.shared.log.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(20), receiver.wait_for(|log| shows(log))).await;
        match waited {
            Ok(Ok(log)) => log.clone(),
            _ => panic!("the proxy waited 20 s for {what}; it saw {:#?}", self.log().sightings),
        }
    }

    /// Waits until the server has hung up on the latest line, and returns what crossed on it.
    pub(crate) async fn latest_line_ended(&self) -> Vec<(Direction, Kind, usize)> {
        let ended = |log: &Log| {
            log.lines().last().is_some_and(|line| log.of(*line).contains(&(Direction::ToClient, Kind::End, 0)))
        };
        let log = self.wait_for("the server to hang up", ended).await;
        log.of(*log.lines().last().expect("there is one"))
    }
}

async fn run(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    while let Ok((tcp, _)) = listener.accept().await {
        let connection = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        // A failed connection is the clients' to notice.
        tokio::spawn(async move { converse(connection, tcp, acceptor, &shared).await });
    }
}

async fn converse(connection: usize, tcp: TcpStream, acceptor: TlsAcceptor, shared: &Shared) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let (client_read, mut client_write) = tokio::io::split(acceptor.accept(tcp).await?);
    let mut client_read = BufReader::new(client_read);
    let Some(mut head) = read_head(&mut client_read).await? else { return Ok(()) };
    let is_line = String::from_utf8_lossy(&head).to_ascii_lowercase().contains("\r\nupgrade: websocket");
    let policy = *shared.policy.lock().unwrap_or_else(PoisonError::into_inner);
    shared.see_head(connection, Direction::ToServer, if is_line { Kind::Upgrade } else { Kind::Head }, &head);
    if is_line && policy.strip_m1 {
        head = without_m1(&head);
    }
    if let Some(answer) = shared.own_answer(&head) {
        client_write.write_all(&answer).await?;
        return client_write.shutdown().await;
    }
    let altered = policy.altered_file.filter(|_| !is_line);
    if altered.is_some() {
        head = unpacked(&head);
    }
    if !is_line && (altered.is_some() || shared.has_answers()) {
        head = without_a_next_one(&head);
    }

    let port = policy.line_port.filter(|_| is_line).unwrap_or(shared.port);
    let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    tcp.set_nodelay(true)?;
    let connector = TlsConnector::from(tls::client(&shared.trusted));
    let (server_read, mut server_write) = match connector.connect(name("localhost"), tcp).await {
        Ok(stream) => tokio::io::split(stream),
        Err(error) => {
            eprintln!("proxy: no TLS with the server: {error}");
            return Err(error);
        }
    };
    let mut server_read = BufReader::new(server_read);
    server_write.write_all(&head).await?;
    server_write.flush().await?;
    if let Some(part) = altered {
        let mut answer = Vec::new();
        server_read.read_to_end(&mut answer).await?;
        if asks_for(&head, part) {
            alter(&mut answer);
        }
        client_write.write_all(&answer).await?;
        return client_write.shutdown().await;
    }
    if !is_line {
        let there = pump(connection, Direction::ToServer, &mut client_read, &mut server_write, shared);
        let back = pump(connection, Direction::ToClient, &mut server_read, &mut client_write, shared);
        tokio::join!(there, back);
        return Ok(());
    }
    let Some(answer) = read_head(&mut server_read).await? else { return Ok(()) };
    let kind = if answer.starts_with(b"HTTP/1.1 101") { Kind::Switch } else { Kind::Head };
    shared.see_head(connection, Direction::ToClient, kind, &answer);
    client_write.write_all(&answer).await?;
    client_write.flush().await?;
    let cut = Notify::new();
    let there = frames(connection, Direction::ToServer, client_read, server_write, shared, &cut);
    let back = frames(connection, Direction::ToClient, server_read, client_write, shared, &cut);
    tokio::select! {
        _ = async { tokio::join!(there, back) } => {}
        () = cut.notified() => {}
    }
    Ok(())
}

/// Bytes that are only logged.
async fn pump(
    connection: usize,
    direction: Direction,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    shared: &Shared,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        shared.log.send_modify(|log| log.add(connection, direction, &buffer[..len], &buffer[..len]));
        if to.write_all(&buffer[..len]).await.is_err() || to.flush().await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// Frames that are logged, judged and passed on.
async fn frames(
    connection: usize,
    direction: Direction,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    shared: &Shared,
    cut: &Notify,
) {
    let mut messages = 0;
    while let Ok(mut frame) = Frame::read(&mut from).await {
        let sighting = Sighting { connection, direction, kind: frame.kind(), len: frame.payload.len() };
        messages += usize::from(frame.kind() == Kind::Binary);
        shared.log.send_modify(|log| log.see(sighting, &frame.to_bytes(), &frame.payload));
        let due = frame.kind() == Kind::Binary;
        let mut out = Vec::new();
        match due.then(|| shared.rule_for(direction, connection, messages)).flatten() {
            None => {}
            Some(Act::Flip(at)) => {
                let at = at % frame.payload.len();
                frame.payload[at] ^= 1;
            }
            Some(Act::Swallow) => continue,
            Some(Act::Cut) => return cut.notify_one(),
            Some(Act::AddText) => out = Frame::new(direction, 0x81, b"a word from in between".to_vec()).to_bytes(),
            Some(Act::AddLong) => out = Frame::new(direction, 0x82, vec![0; RECORD_LEN_MAX + 1]).to_bytes(),
            Some(Act::AddBroken) => out = Frame::new(direction, 0x83, b"of no kind".to_vec()).to_bytes(),
        }
        out.extend_from_slice(&frame.to_bytes());
        if to.write_all(&out).await.is_err() || to.flush().await.is_err() {
            break;
        }
    }
    let sighting = Sighting { connection, direction, kind: Kind::End, len: 0 };
    shared.log.send_modify(|log| log.see(sighting, b"", b""));
    let _ = to.shutdown().await;
}

impl Shared {
    fn has_answers(&self) -> bool {
        !self.answers.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn own_answer(&self, head: &[u8]) -> Option<Vec<u8>> {
        let path = std::str::from_utf8(head).ok()?.split_whitespace().nth(1)?.to_owned();
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (headers, body) = answers.get(path.as_str())?;
        let head =
            format!("HTTP/1.1 200 OK\r\n{headers}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        Some([head.as_bytes(), body.as_bytes()].concat())
    }

    fn see_head(&self, connection: usize, direction: Direction, kind: Kind, head: &[u8]) {
        let sighting = Sighting { connection, direction, kind, len: head.len() };
        self.log.send_modify(|log| log.see(sighting, head, head));
    }

    fn rule_for(&self, direction: Direction, connection: usize, message: usize) -> Option<Act> {
        let mut policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        let rule = policy.rule.filter(|rule| rule.concerns(direction, connection, message))?;
        if !matches!(rule.when, When::EachRecord) {
            policy.rule = None;
        }
        Some(rule.act)
    }
}

/// A name for TLS; the one of `serve` too.
pub(crate) fn name(host: &str) -> ServerName<'static> {
    assert!(["localhost", SERVED_NAME].contains(&host), "{host} is in no certificate of these tests");
    ServerName::try_from(host.to_owned()).expect("a DNS name")
}
