//! The owner, a device that was here before and one that is thrown out, while one address holds 1,200 connections of each slow
//! kind and one device does its worst: on a server that may have 1,024 files open, soft and hard.
//!
//! ```text
//! tcp only            connected, and nothing said          keep-alive          a whole request, and then nothing
//! TLS stopped         ClientHello, and nothing more        upgrade without M1  a WebSocket, and nothing on it
//! request half sent   TLS, and a head without its end      answer unread       requests, and nothing read of the answers
//! ```
//!
//! Each that the server closes is opened again. All come from loopback, of which a server can tell nobody apart: the worst case.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use duologue::{CloseCode, ConnectionError, DeviceId};
use duologue_client::{Client, Keyring, Line};
use futures_util::StreamExt as _;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::{Builder, Runtime},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    enrolment::stranger,
    forms::{is_long, rounds},
    raw::Place,
    server::{Server, target},
    within,
};

const NAME: &str = "crowd::whoever_holds_connections_the_owner_and_who_was_here_before_are_served";
/// Connections of each kind.
const HELD: usize = 1_200;
/// Between two of a kind: until all are there, and then for those that the server has closed.
const COMES: Duration = Duration::from_millis(10);
const COMES_AGAIN: Duration = Duration::from_millis(25);
/// First lines, and requests, that the worst device keeps under way; and its lines.
const FIRST_LINES: usize = 500;
const REQUESTS: usize = 450;
const LINES: usize = 4;
const FILES: usize = 2_000;
/// What a verb may take; a device that comes; and one that is thrown out.
const VERB: Duration = Duration::from_secs(1);
const COMING: Duration = Duration::from_secs(2);
const GOING: Duration = Duration::from_secs(1);
/// In the small form, which other tests run beside, so many times that.
const BUSY: u32 = 5;

#[derive(Clone, Copy, Debug)]
enum Slow {
    TcpOnly,
    TlsStopped,
    HalfRequest,
    KeepAlive,
    UpgradeOnly,
    AnswerUnread,
}

const ALL: [Slow; 6] =
    [Slow::TcpOnly, Slow::TlsStopped, Slow::HalfRequest, Slow::KeepAlive, Slow::UpgradeOnly, Slow::AnswerUnread];

/// Where they go, and how many there are now.
struct Crowd {
    port: u16,
    place: Place,
    connector: TlsConnector,
    hello: Vec<u8>,
    held: [AtomicUsize; ALL.len()],
    made: AtomicUsize,
}

impl Crowd {
    fn at(server: &Server) -> Self {
        let place = Place::dev(server);
        let (connector, hello) = place.tls();
        Self { port: server.port, place, connector, hello, held: Default::default(), made: AtomicUsize::new(0) }
    }

    /// Keeps as many of a kind there as are to be, for as long as it runs.
    async fn keep(self: Arc<Self>, slow: Slow) {
        let (mut all, mut made) = (JoinSet::new(), 0);
        loop {
            while all.try_join_next().is_some() {}
            if all.len() < HELD {
                let own = Arc::clone(&self);
                all.spawn(async move { own.hold(slow).await });
                made += 1;
            }
            tokio::time::sleep(if made < HELD { COMES } else { COMES_AGAIN }).await;
        }
    }

    /// One connection, until the server closes it. An error is such an end too.
    async fn hold(&self, slow: Slow) -> std::io::Result<()> {
        self.made.fetch_add(1, Ordering::Relaxed);
        match slow {
            Slow::TcpOnly => self.until_closed(slow, self.tcp().await?).await,
            Slow::TlsStopped => {
                let mut tcp = self.tcp().await?;
                tcp.write_all(&self.hello).await?;
                self.until_closed(slow, tcp).await;
            }
            Slow::HalfRequest => {
                let mut stream = self.tls().await?;
                stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n").await?;
                self.until_closed(slow, stream).await;
            }
            Slow::KeepAlive => {
                let mut stream = self.tls().await?;
                stream.write_all(b"GET /manifest HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
                stream.read_u8().await?;
                self.until_closed(slow, stream).await;
            }
            Slow::UpgradeOnly => {
                let socket =
                    self.place.try_dial_bare(&self.connector).await.ok_or(std::io::ErrorKind::ConnectionAborted)?;
                let held = Held::new(&self.held[slow as usize]);
                let mut socket = socket;
                while let Some(Ok(_)) = socket.next().await {}
                drop(held);
            }
            Slow::AnswerUnread => {
                let mut stream = self.tls().await?;
                for _ in 0..40 {
                    stream.write_all(b"GET /duologue.js HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
                }
                let _held = Held::new(&self.held[slow as usize]);
                // It cannot be told from here when the server hangs up: that stands behind what is not read.
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
        }
        Ok(())
    }

    async fn until_closed(&self, slow: Slow, mut stream: impl AsyncRead + Unpin) {
        let _held = Held::new(&self.held[slow as usize]);
        let mut buffer = [0; 1_024];
        while stream.read(&mut buffer).await.is_ok_and(|len| len > 0) {}
    }

    async fn tcp(&self) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        // Little room for what it does not read.
        socket.set_recv_buffer_size(4_096)?;
        socket.connect(([127, 0, 0, 1], self.port).into()).await
    }

    async fn tls(&self) -> std::io::Result<TlsStream<TcpStream>> {
        self.connector.connect(localhost(), self.tcp().await?).await
    }

    fn seen(&self) -> String {
        let held = ALL.map(|slow| format!("{slow:?} {}", self.held[slow as usize].load(Ordering::Relaxed)));
        format!("{} were made; now {}", self.made.load(Ordering::Relaxed), held.join(", "))
    }
}

/// A connection that is held, while this lives.
struct Held<'a>(&'a AtomicUsize);

impl<'a> Held<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("it is a name")
}

/// A backend that takes every request and answers none.
async fn silent_backend() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut all = Vec::new();
        while let Ok((tcp, _)) = listener.accept().await {
            all.push(tcp);
        }
    });
    address
}

/// Says the same on one stream after another, and waits for the beginning of an answer on each.
async fn again_and_again(line: Line, label: &'static str, said: String) {
    loop {
        let begun = async {
            let mut stream = line.stream(label).ok()?;
            stream.write_all(said.as_bytes()).await.ok()?;
            stream.read_u8().await.ok()
        };
        if begun.await.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A device's lines, on which it does what costs a server most, for as long as what is given back lives.
fn do_ones_worst(lines: &[Line]) -> JoinSet<()> {
    let mut worst = JoinSet::new();
    // A first line, its answer, and the same again from the beginning: never a byte of the file.
    for number in 0..FIRST_LINES {
        let said = format!("{{\"name\":\"a\",\"size\":1000,\"upload\":\"{number:032x}\"}}\n");
        worst.spawn(again_and_again(lines[number % LINES].clone(), "drop", said));
    }
    for number in 0..REQUESTS {
        let said = "{\"method\":\"GET\",\"target\":\"/\",\"headers\":[],\"length\":0}\n".to_owned();
        worst.spawn(again_and_again(lines[number % LINES].clone(), "http", said));
    }
    for line in lines {
        for _ in 0..4 {
            let line = line.clone();
            worst.spawn(async move {
                loop {
                    if line.request("pair", Vec::new()).await.is_err() {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            });
        }
    }
    worst
}

/// A thread for those who mean ill: they are other machines, and what they compute delays nobody else's.
struct Apart(Option<Runtime>);

impl Apart {
    fn new() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self(Some(runtime.expect("there can be one more thread")))
    }

    fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.0.as_ref().expect("until it is dropped").spawn(work)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.0.take().expect("once").shutdown_background();
    }
}

/// How long something took, at most, and how often that was too long.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn assert(&mut self, what: &str, limit: Duration) {
        self.0.sort_unstable();
        let limit = if is_long() { limit } else { BUSY * limit };
        let (median, most) = (self.0[self.0.len() / 2], self.0[self.0.len() - 1]);
        println!("{what}: {median:?} in the middle, {most:?} at most, of {limit:?}; {} times", self.0.len());
        assert!(most <= limit, "{what}: {:?}", self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_holds_connections_the_owner_and_who_was_here_before_are_served() {
    duologue_server::raise_file_limit().unwrap();
    let files = TempDir::with_prefix("duologue-drop-").unwrap();
    for number in 0..FILES {
        fs::write(files.path().join(number.to_string()), "").unwrap();
    }
    let backend = silent_backend().await;
    let drop_to = files.path().to_str().unwrap();
    let server = Server::dev_with(&["FILES=1024", "--drop", drop_to, "--http", &backend]).await;
    let address = target(&server.address());

    let apart = Apart::new();
    let link = target(server.link());
    let lines = apart.spawn(async move {
        let worst = Client::new(Keyring::in_memory());
        let mut lines = Vec::new();
        for _ in 0..LINES {
            lines.push(within(20, "a line of the worst device", worst.connect(&link)).await.unwrap());
        }
        lines
    });
    let lines = lines.await.unwrap();
    let known = stranger();
    drop(within(20, "the good device's line", known.connect(&target(&server.invite("1h").await))).await.unwrap());
    let tries = rounds(NAME);
    // Each is thrown out in one of the tries.
    let mut others = Vec::new();
    for _ in 0..tries {
        let keyring = Keyring::in_memory();
        let id = DeviceId::of_spki(keyring.device().spki()).to_string();
        let other = Client::new(keyring);
        let line = within(20, "a line", other.connect(&target(&server.invite("1h").await))).await.unwrap();
        others.push((other, line, id));
    }

    let crowd = Arc::new(Crowd::at(&server));
    for slow in ALL {
        apart.spawn(Arc::clone(&crowd).keep(slow));
    }
    apart.spawn(async move { do_ones_worst(&lines).join_all().await });
    // Each of them was there before it counts.
    while crowd.made.load(Ordering::Relaxed) < ALL.len() * HELD {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("{}", crowd.seen());

    let (mut list, mut comes, mut revoke, mut goes) = <(Times, Times, Times, Times)>::default();
    for (number, (_other, line, id)) in others.into_iter().enumerate() {
        let begun = Instant::now();
        server.devices().await;
        list.0.push(begun.elapsed());

        let begun = Instant::now();
        let good = within(30, "a device that was here before", known.connect(&address)).await.unwrap();
        assert_eq!(within(20, "its echo", good.request("echo", "here")).await.unwrap(), b"here");
        comes.0.push(begun.elapsed());
        good.close(CloseCode::Normal, "");

        let begun = Instant::now();
        let said = server.verb(&["devices", "revoke", &id]).await;
        revoke.0.push(begun.elapsed());
        assert!(said.starts_with("revoked"), "{said}");
        let ended = within(30, "the end of a revoked device's line", line.closed()).await;
        goes.0.push(begun.elapsed());
        assert!(
            matches!(&ended, ConnectionError::PeerClosed(close) if close.code == CloseCode::DeviceRevoked),
            "{number}: {ended}"
        );
    }
    println!("{}", crowd.seen());
    list.assert("devices list", VERB);
    comes.assert("a device that was here before is in", COMING);
    revoke.assert("devices revoke", VERB);
    goes.assert("a revoked device is out", GOING);
}

#[tokio::test]
async fn a_server_may_open_as_many_files_as_the_hard_limit_says() {
    let server = Server::dev_with(&["FILES=256:1024"]).await;
    let told = server.stderr.with("the limit of open files was raised").await;
    assert!(told.contains("from=256") && told.contains("to=1024"), "{told}");
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().take(2).collect::<Vec<_>>(), ["1024", "1024"]);
}
