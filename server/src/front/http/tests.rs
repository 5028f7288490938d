//! How long a connection may last that does not upgrade, and what is said to whoever names a client and is not believed: over
//! real sockets, with times that a test can wait for.

use std::{
    convert::Infallible,
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::front::tls;

/// Nobody is in doubt by then.
const PATIENCE: Duration = Duration::from_secs(60);
/// As the listener has it, but for the number.
const SHORT: Times = Times {
    lasts: Duration::from_secs(1),
    ends_within: Duration::from_secs(2),
    read_within: Duration::from_secs(60),
    look: Duration::from_millis(50),
};
/// Twice what a connection may last.
const SLOW: Duration = Duration::from_millis(100);
const SLOW_PARTS: usize = 20;

/// An app whose connections last for no longer than that.
async fn start(times: Times, config: FrontConfig) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let parts = |count: usize| {
        let parts = stream::iter(0..count).then(|_| async {
            tokio::time::sleep(SLOW).await;
            Ok::<_, Infallible>(Bytes::from_static(b"x"))
        });
        async move { Body::from_stream(parts) }
    };
    let app = Router::new()
        .route("/", get(|| async { "here" }))
        .route("/slow", get(move || parts(SLOW_PARTS)))
        .route("/endless", get(move || parts(usize::MAX)));
    tokio::spawn(serve_for(times, listener, config, app, CancellationToken::new()));
    address
}

async fn ask(tcp: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    // One that has hung up is noticed by the next read.
    let _ = tcp.write_all(request.as_bytes()).await;
}

/// What comes until the server hangs up.
async fn rest(tcp: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut bytes = [0; 1_024];
    loop {
        match tokio::time::timeout(PATIENCE, tcp.read(&mut bytes)).await.expect("the server hangs up") {
            Ok(len @ 1..) => all.extend_from_slice(&bytes[..len]),
            Ok(0) | Err(_) => return all,
        }
    }
}

/// It could ask for as long as it liked, if it only asked rarely enough.
#[tokio::test]
async fn a_connection_that_never_upgrades_ends_when_its_time_is_over() {
    let mut tcp = TcpStream::connect(start(SHORT, FrontConfig::default()).await).await.expect("it listens");
    let begun = Instant::now();
    let mut answers = 0_u32;
    // So rarely that its requests do not end it, and without a rest that would.
    loop {
        ask(&mut tcp, "/").await;
        let mut answer = Vec::new();
        let ended = loop {
            match tokio::time::timeout(PATIENCE, tcp.read_u8()).await.expect("it answers or hangs up") {
                Ok(byte) => answer.push(byte),
                Err(_) => break true,
            }
            if answer.ends_with(b"here") {
                break false;
            }
        };
        if ended {
            break;
        }
        answers += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let lasted = begun.elapsed();
    assert!(lasted >= SHORT.lasts, "its time is its own: {lasted:?}");
    assert!(answers < REQUESTS_MAX, "it was not the number of its requests");
    // The head may take 5 s; whoever asks all the time does not meet that.
    assert!(answers > 0 && lasted < PATIENCE, "{answers} answers in {lasted:?}");
}

#[tokio::test]
async fn what_is_read_when_its_time_is_over_is_read_to_its_end() {
    let mut tcp = TcpStream::connect(start(SHORT, FrontConfig::default()).await).await.expect("it listens");
    let begun = Instant::now();
    ask(&mut tcp, "/slow").await;
    let said = rest(&mut tcp).await;
    assert!(begun.elapsed() > SHORT.lasts, "it took longer than that");
    assert_eq!(said.iter().filter(|byte| **byte == b'x').count(), SLOW_PARTS);
    assert!(said.ends_with(b"0\r\n\r\n"), "the whole answer");
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_when_both_times_are_over() {
    let mut tcp = TcpStream::connect(start(SHORT, FrontConfig::default()).await).await.expect("it listens");
    let begun = Instant::now();
    ask(&mut tcp, "/endless").await;
    let said = rest(&mut tcp).await;
    assert!(begun.elapsed() >= SHORT.lasts + SHORT.ends_within);
    assert!(said.contains(&b'x') && !said.ends_with(b"0\r\n\r\n"));
}

/// The beginnings of both versions, and of what looks like them for a while.
const HEADERS: [&[u8]; 2] = [
    b"PROXY TCP4 192.0.2.1 203.0.113.1 4711 443\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xcb\0\x71\x01\x12\x67\x01\xbb",
];

/// "This port speaks TLS", it said, and in clear nothing at all.
#[tokio::test]
async fn who_names_a_client_and_is_not_trusted_is_told_so() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let tls = tls::development(directory.path()).expect("a certificate");
    let here = || TrustedProxies::default().with("127.0.0.1").expect("an address");
    let fronts = [
        FrontConfig::default(),
        FrontConfig { tls: Some(tls.clone()), ..FrontConfig::default() },
        // Behind a trusted proxy, one whose client writes a header too.
        FrontConfig { trusted_proxies: here(), ..FrontConfig::default() },
        FrontConfig { tls: Some(tls), trusted_proxies: here(), ..FrontConfig::default() },
    ];
    for front in fronts {
        let is_trusted = !front.trusted_proxies.to_string().is_empty();
        let address = start(TIMES, front).await;
        for (header, in_pieces) in HEADERS.into_iter().flat_map(|header| [(header, false), (header, true)]) {
            let mut tcp = TcpStream::connect(address).await.expect("it listens");
            tcp.set_nodelay(true).expect("TCP has it");
            let proxys: &[u8] = if is_trusted { HEADERS[0] } else { b"" };
            let all = [proxys, header, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"].concat();
            let pieces = if in_pieces { all.chunks(3) } else { all.chunks(all.len()) };
            for piece in pieces {
                // It answers before it has read all of it.
                let _ = tcp.write_all(piece).await;
            }
            tcp.shutdown().await.expect("it is open");
            let said = String::from_utf8(rest(&mut tcp).await).expect("text");
            assert!(said.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{is_trusted} {header:?}: {said:?}");
            assert!(said.ends_with(NOT_TRUSTED), "{is_trusted} {header:?}: {said:?}");
        }
    }
}

#[tokio::test]
async fn what_only_begins_like_such_a_header_is_answered_as_ever() {
    let address = start(TIMES, FrontConfig::default()).await;
    for begin in ["PROXIES / HTTP/1.1\r\n", "PUT / HTTP/1.1\r\n", "P / HTTP/1.1\r\n"] {
        let mut tcp = TcpStream::connect(address).await.expect("it listens");
        tcp.write_all(begin.as_bytes()).await.expect("it reads");
        tcp.write_all(b"host: localhost\r\nconnection: close\r\n\r\n").await.expect("it reads");
        let said = String::from_utf8(rest(&mut tcp).await).expect("text");
        assert!(said.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{begin:?}: {said:?}");
    }
    let mut tcp = TcpStream::connect(address).await.expect("it listens");
    ask(&mut tcp, "/").await;
    let mut said = vec![0; 17];
    tcp.read_exact(&mut said).await.expect("an answer");
    assert_eq!(said, b"HTTP/1.1 200 OK\r\n");
}
