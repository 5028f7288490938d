//! What a stranger can take of the listener, over real sockets: a proxy's word says whose each connection is.
#![allow(missing_docs, reason = "tests are named for their scenario")]

use std::{
    convert::Infallible,
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, routing::get};
use duologue_server::{FrontConfig, TrustedProxies, serve_behind};
use futures_util::stream;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

/// As the listener has them.
const OF_AN_ADDRESS: usize = 256;
const REQUESTS: usize = 128;
/// Nobody is in doubt by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// An app before a proxy on this machine. `told` hears of what its handlers see.
async fn start(told: mpsc::UnboundedSender<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (asked, endless) = (told.clone(), told);
    let app = Router::new()
        .route("/", get(|| async { "here" }))
        .route(
            "/wait",
            get(move || async move {
                let _ = asked.send("asked");
                std::future::pending::<&'static str>().await
            }),
        )
        .route(
            "/endless",
            get(move || async move {
                let told = Told(endless);
                let blocks = stream::repeat_with(move || {
                    let _held = &told;
                    Ok::<_, Infallible>(vec![0x5a_u8; 64 * 1_024])
                });
                Body::from_stream(blocks)
            }),
        );
    let trusted_proxies = TrustedProxies::default().with("127.0.0.1").expect("an address");
    let front = FrontConfig { trusted_proxies, behind_proxy: true, ..FrontConfig::default() };
    tokio::spawn(serve_behind(listener, front, app, CancellationToken::new()));
    address
}

/// Says so when the answer is given up.
struct Told(mpsc::UnboundedSender<&'static str>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send("given up");
    }
}

/// A connection that a proxy brings for this client.
async fn from(server: SocketAddr, client: &str) -> TcpStream {
    let mut tcp = TcpStream::connect(server).await.expect("it listens");
    tcp.write_all(format!("PROXY TCP4 {client} 203.0.113.1 4711 443\r\n").as_bytes()).await.expect("it reads");
    tcp
}

async fn ask(tcp: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.expect("it reads");
}

/// Whether the server has hung up; false if it says nothing for a moment.
async fn has_hung_up(tcp: &mut TcpStream, within: Duration) -> bool {
    matches!(tokio::time::timeout(within, tcp.read(&mut [0; 1])).await, Ok(Ok(0) | Err(_)))
}

/// What one address holds open was bounded by nothing, up to the last open file.
#[tokio::test]
async fn an_address_behind_a_proxy_has_so_many_connections_and_takes_none_of_others() {
    let (told, mut tells) = mpsc::unbounded_channel();
    let server = start(told).await;
    let mut neighbour = from(server, "192.0.2.2").await;
    ask(&mut neighbour, "/wait").await;
    let mut own = Vec::new();
    for number in 0..=OF_AN_ADDRESS {
        let mut tcp = from(server, "192.0.2.1").await;
        ask(&mut tcp, "/wait").await;
        own.push(tcp);
        // One after the other, so that the oldest is known. The neighbour's was the first.
        for _ in 0..=usize::from(number == 0) {
            let asked = tokio::time::timeout(PATIENCE, tells.recv()).await.expect("it is asked");
            assert_eq!(asked, Some("asked"));
        }
    }
    assert!(has_hung_up(&mut own[0], PATIENCE).await, "the address has made room itself");
    for tcp in own.iter_mut().skip(1).chain([&mut neighbour]) {
        assert!(!has_hung_up(tcp, Duration::ZERO).await);
    }
}

/// Behind a proxy for TCP, connections that stopped before their first request were nobody's.
#[tokio::test]
async fn whose_a_connection_is_counts_before_its_first_request() {
    let (told, _tells) = mpsc::unbounded_channel();
    let server = start(told).await;
    // The oldest makes room at once, or is told after 5 s that it takes too long. A machine without time may need a few tries to
    // bring so many within that.
    for _ in 0..10 {
        let begun = Instant::now();
        let mut oldest = from(server, "192.0.2.1").await;
        let mut own = Vec::new();
        for _ in 0..2 * OF_AN_ADDRESS {
            own.push(from(server, "192.0.2.1").await);
        }
        assert!(has_hung_up(&mut oldest, PATIENCE).await);
        if begun.elapsed() < Duration::from_secs(4) {
            return;
        }
    }
    panic!("the oldest went only when its time was over");
}

#[tokio::test]
async fn a_connection_that_never_upgrades_has_so_many_requests() {
    let (told, _tells) = mpsc::unbounded_channel();
    let mut tcp = from(start(told).await, "192.0.2.1").await;
    let mut answers = 0;
    loop {
        ask(&mut tcp, "/").await;
        let mut answer = Vec::new();
        while !answer.ends_with(b"here") {
            answer.push(tokio::time::timeout(PATIENCE, tcp.read_u8()).await.expect("an answer").expect("a whole one"));
        }
        answers += 1;
        if String::from_utf8(answer).expect("text").contains("connection: close") {
            break;
        }
    }
    assert_eq!(answers, REQUESTS);
    assert!(has_hung_up(&mut tcp, PATIENCE).await);
}

/// 200 readers who did not read held 425 MB in the system.
#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let (told, mut tells) = mpsc::unbounded_channel();
    let mut tcp = from(start(told).await, "192.0.2.1").await;
    ask(&mut tcp, "/endless").await;
    let told = tokio::time::timeout(PATIENCE, tells.recv()).await.expect("it is given up");
    assert_eq!(told, Some("given up"));
}

/// A reader who is slow, and reads, is none of those.
#[tokio::test]
async fn an_answer_that_is_read_slowly_goes_on() {
    let (told, mut tells) = mpsc::unbounded_channel();
    let mut tcp = from(start(told).await, "192.0.2.1").await;
    ask(&mut tcp, "/endless").await;
    let mut buffer = vec![0; 1_024 * 1_024];
    for _ in 0..20 {
        tcp.read_exact(&mut buffer).await.expect("it goes on");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(tells.try_recv().is_err());
}
