//! HTTP/2 as browsers speak it, by a client of h2; and as nobody does, by frames made by hand.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    routing::{MethodFilter, get, on, post},
};
use h2::{client, ext::Protocol as ClientProtocol};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::super::HTTP2;
use super::*;
use crate::front::{
    http::{FrontConfig, TIMES, Times, serve_for},
    tls,
};

const PATIENCE: Duration = Duration::from_secs(20);
/// More than a client's windows hold.
const BIG_LEN: usize = 8 * 1_024 * 1_024;

struct Running {
    address: SocketAddr,
    connector: TlsConnector,
    stop: CancellationToken,
    _directory: tempfile::TempDir,
}

/// An app with files, and with sockets that echo.
async fn start(times: Times) -> Running {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let tls = tls::development(directory.path()).expect("a certificate");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let echo = async |request: axum::extract::Request| {
        let taken = request.extensions().get::<Arrival>().and_then(|arrival| arrival.extended.as_ref()?.take());
        if let Some(stream) = taken {
            tokio::spawn(async move {
                let Ok(mut stream) = stream.await else { return };
                stream.is_admitted();
                let (mut reads, mut writes) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut reads, &mut writes).await;
                let _ = writes.shutdown().await;
            });
        }
    };
    let app = Router::new()
        .route("/", get(|request: axum::extract::Request| async move { format!("{:?}", request.headers()) }))
        .route("/big", get(|| async { vec![0_u8; BIG_LEN] }))
        .route("/late", get(|| async { tokio::time::sleep(Duration::from_secs(3)).await }))
        .route("/unread", post(pending::<()>))
        .route("/line", on(MethodFilter::CONNECT, echo));
    let stop = CancellationToken::new();
    let config = FrontConfig { tls: Some(tls), http2: true, ..FrontConfig::default() };
    tokio::spawn(serve_for(times, listener, config, app, stop.clone()));
    let mut roots = rustls::RootCertStore::empty();
    let certificate = tls::chain(&directory.path().join("tls-cert.pem")).expect("it was made").remove(0);
    roots.add(certificate).expect("a certificate");
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("it has TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    Running { address, connector: Arc::new(config).into(), stop, _directory: directory }
}

impl Running {
    async fn tls(&self) -> TlsStream<TcpStream> {
        let tcp = TcpStream::connect(self.address).await.expect("it listens");
        let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
        let tls = self.connector.connect(name, tcp).await.expect("it speaks TLS");
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(HTTP2));
        tls
    }

    async fn client(&self) -> client::SendRequest<Bytes> {
        let (client, connection) = client::handshake(self.tls().await).await.expect("it speaks HTTP/2");
        tokio::spawn(connection);
        let mut client = client.ready().await.expect("it takes requests");
        // With the first answer its settings are here.
        assert_eq!(answer(&mut client, request("/")).await.0, 200);
        client
    }

    async fn assert_well(&self) {
        self.client().await;
    }
}

fn request(path: &str) -> Request<()> {
    Request::get(format!("https://localhost{path}")).body(()).expect("a request")
}

fn socket() -> Request<()> {
    let mut request = request("/line");
    *request.method_mut() = Method::CONNECT;
    request.extensions_mut().insert(ClientProtocol::from_static("websocket"));
    request
}

async fn answer(client: &mut client::SendRequest<Bytes>, request: Request<()>) -> (u16, String) {
    let (response, _) = client.send_request(request, true).expect("it takes requests");
    let response = timeout(PATIENCE, response).await.expect("an answer").expect("an answer");
    let status = response.status().as_u16();
    let (mut body, mut all) = (response.into_body(), Vec::new());
    while let Some(part) = timeout(PATIENCE, body.data()).await.expect("it goes on") {
        let part = part.expect("it is whole");
        all.extend_from_slice(&part);
        body.flow_control().release_capacity(part.len()).expect("it has come");
    }
    (status, String::from_utf8_lossy(&all).into_owned())
}

/// An open socket: what it is sent, and what it brings.
async fn open(client: &mut client::SendRequest<Bytes>) -> Result<(h2::SendStream<Bytes>, RecvStream), u16> {
    let (response, sends) = client.send_request(socket(), false).expect("it takes requests");
    let response = timeout(PATIENCE, response).await.expect("an answer").expect("an answer");
    match response.status().as_u16() {
        200 => Ok((sends, response.into_body())),
        status => Err(status),
    }
}

async fn assert_ends(line: &mut (h2::SendStream<Bytes>, RecvStream)) {
    while let Some(part) = timeout(PATIENCE, line.1.data()).await.expect("it ends") {
        assert!(part.expect("it is whole").is_empty(), "it ends");
    }
}

async fn assert_echoes(line: &mut (h2::SendStream<Bytes>, RecvStream)) {
    line.0.send_data(Bytes::from_static(b"PING"), false).expect("it is open");
    let part = timeout(PATIENCE, line.1.data()).await.expect("an echo").expect("it goes on").expect("it is whole");
    assert_eq!(part, "PING");
    line.1.flow_control().release_capacity(part.len()).expect("it has come");
}

#[tokio::test]
async fn authority_is_the_host_and_another_one_is_misdirected() {
    let running = start(TIMES).await;
    let mut client = running.client().await;
    let (status, seen) = answer(&mut client, request("/")).await;
    assert!(status == 200 && seen.contains(r#""host": "localhost""#), "{seen}");
    let to = |host: &str| Request::get(format!("https://{host}/")).body(()).expect("a request");
    for (host, expected) in [("LOCALHOST", 200), ("localhost:8443", 200), ("127.0.0.1", 421), ("b.example", 421)] {
        assert_eq!(answer(&mut client, to(host)).await.0, expected, "{host}");
    }
    let with = |name: &str, value: &str| Request::get("https://localhost/").header(name, value).body(()).expect("one");
    assert_eq!(answer(&mut client, with("host", "localhost")).await.0, 200);
    assert_eq!(answer(&mut client, with("host", "b.example")).await.0, 400);
    let mut cookies = with("cookie", "a=b");
    cookies.headers_mut().append("cookie", HeaderValue::from_static("c=d"));
    assert!(answer(&mut client, cookies).await.1.contains(r#""cookie": "a=b; c=d""#));
    assert_eq!(answer(&mut client, with("x", &"y".repeat(HEAD_LEN_MAX))).await.0, 431);
    // All of it on one connection.
    assert_eq!(answer(&mut client, request("/")).await.0, 200);
}

#[tokio::test]
async fn connect_is_for_sockets_and_sixteen_of_them() {
    let running = start(TIMES).await;
    let mut client = running.client().await;
    assert!(client.is_extended_connect_protocol_enabled());
    let plain = Request::connect("localhost:443").body(()).expect("a request");
    assert_eq!(answer(&mut client, plain).await.0, 501);
    let mut other = socket();
    other.extensions_mut().insert(ClientProtocol::from_static("connect-udp"));
    assert_eq!(answer(&mut client, other).await.0, 501);
    let mut elsewhere = socket();
    *elsewhere.uri_mut() = "https://localhost/nothing".parse().expect("a URI");
    assert_eq!(answer(&mut client, elsewhere).await.0, 404);
    let mut lines = Vec::new();
    for _ in 0..LINES_MAX {
        lines.push(open(&mut client).await.expect("there is room"));
    }
    assert_eq!(open(&mut client).await.err(), Some(429));
    for line in &mut lines {
        assert_echoes(line).await;
    }
    // One that ends, whichever end it was, leaves the others and makes room.
    lines[0].0.send_reset(Reason::CANCEL);
    lines[1].0.send_data(Bytes::new(), true).expect("it is open");
    assert_ends(&mut lines[1]).await;
    drop(lines.drain(..2));
    let again = timeout(PATIENCE, async {
        loop {
            match open(&mut client).await {
                Ok(line) => return line,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    lines.push(again.await.expect("there is room again"));
    for line in &mut lines {
        assert_echoes(line).await;
    }
}

/// A browser would put the next line on this connection, dead or not.
#[tokio::test]
async fn a_connection_whose_page_is_loaded_takes_nothing_new_and_its_line_goes_on() {
    let running = start(TIMES).await;
    let mut client = running.client().await;
    assert_eq!(answer(&mut client, request("/")).await.0, 200);
    let mut line = open(&mut client).await.expect("there is room");
    let told = timeout(PATIENCE, async {
        while answer_or_end(&mut client).await {
            // No rest that is as long as LOADED, until there is one.
            tokio::time::sleep(LOADED + Duration::from_millis(1_200)).await;
        }
    });
    told.await.expect("it is told to use another");
    assert_echoes(&mut line).await;
    running.stop.cancel();
    tokio::time::sleep(2 * TIMES.look).await;
    assert_echoes(&mut line).await;
    line.0.send_data(Bytes::new(), true).expect("it is open");
    assert_ends(&mut line).await;
}

async fn answer_or_end(client: &mut client::SendRequest<Bytes>) -> bool {
    match client.clone().ready().await {
        Ok(mut ready) => match ready.send_request(request("/"), true) {
            Ok((response, _)) => response.await.is_ok(),
            Err(_) => false,
        },
        Err(_) => false,
    }
}

/// PING of a line waited for whoever did not read a file.
#[tokio::test]
async fn what_is_not_read_stops_no_line_either_way() {
    let running = start(TIMES).await;
    let mut client = running.client().await;
    let mut line = open(&mut client).await.expect("there is room");
    let mut unread = Vec::new();
    for _ in 0..3 {
        let (response, _) = client.send_request(request("/big"), true).expect("it takes requests");
        unread.push(timeout(PATIENCE, response).await.expect("an answer").expect("an answer"));
    }
    for _ in 0..BODIES_MAX {
        let post = Request::post("https://localhost/unread").body(()).expect("a request");
        let (response, mut sends) = client.send_request(post, false).expect("it takes requests");
        sends.reserve_capacity(2 * WINDOW_LEN as usize);
        sends.send_data(vec![0; 2 * WINDOW_LEN as usize].into(), false).expect("it is buffered");
        tokio::spawn(async move {
            let _held = (response.await, sends);
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    for _ in 0..100 {
        assert_echoes(&mut line).await;
    }
    // One request more that brings something is refused as not begun, which a browser repeats.
    let post = Request::post("https://localhost/unread").body(()).expect("a request");
    let (response, _sends) = client.send_request(post, false).expect("it takes requests");
    let refused = timeout(PATIENCE, response).await.expect("it is refused").expect_err("it is refused");
    assert_eq!(refused.reason(), Some(Reason::REFUSED_STREAM));
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_ends() {
    let running = start(TIMES).await;
    let limit = Duration::from_secs(HANDSHAKE_SECS);
    let begun = Instant::now();
    let (silent, mut idle) = (running.tls().await, running.client().await);
    let (reads, _writes) = tokio::io::split(silent);
    let ends = async { (goaway(reads).await, begun.elapsed()) };
    let idles = async {
        assert_eq!(answer(&mut idle, request("/late")).await.0, 200);
        let answered = Instant::now();
        while idle.clone().ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        answered.elapsed()
    };
    let ((_, silent), idle) = tokio::join!(ends, idles);
    assert!(silent >= limit && silent < limit + Duration::from_secs(2), "it never began: {silent:?}");
    assert!(idle + Duration::from_millis(500) >= limit && idle < 2 * limit, "it was idle: {idle:?}");
}

#[tokio::test]
async fn one_that_never_upgrades_ends_when_its_time_is_over_and_one_with_a_line_does_not() {
    let short = Times {
        lasts: Duration::from_secs(1),
        ends_within: Duration::from_secs(1),
        read_within: Duration::from_secs(1),
        look: Duration::from_millis(50),
    };
    let running = start(short).await;
    let (mut without, mut with) = (running.client().await, running.client().await);
    let mut line = open(&mut with).await.expect("there is room");
    let (response, _) = without.send_request(request("/big"), true).expect("it takes requests");
    let mut unread = timeout(PATIENCE, response).await.expect("an answer").expect("an answer").into_body();
    tokio::time::sleep(3 * short.lasts).await;
    let ended = timeout(PATIENCE, async {
        while let Some(part) = unread.data().await {
            match part {
                Ok(part) => unread.flow_control().release_capacity(part.len()).expect("it has come"),
                Err(_) => return true,
            }
        }
        false
    });
    assert!(ended.await.expect("it ends"), "an answer that nobody read was cut");
    assert_echoes(&mut line).await;
}

// What no client does.

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// More than anybody may send in vain.
const FLOOD_LEN: usize = 32 * 1_024 * 1_024;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a frame is short").to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// GET or POST / of localhost, as HPACK has it (RFC 7541, appendix A).
fn head(is_get: bool) -> Vec<u8> {
    let method = if is_get { 0x82 } else { 0x83 };
    [&[method, 0x87, 0x84, 0x01, 9], &b"localhost"[..]].concat()
}

/// The error code of the GOAWAY with which the other end gives up; none where it just hangs up.
async fn goaway(mut reads: ReadHalf<TlsStream<TcpStream>>) -> Option<u32> {
    let mut code = None;
    loop {
        let mut header = [0; 9];
        if reads.read_exact(&mut header).await.is_err() {
            return code;
        }
        let len = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let mut payload = vec![0; len];
        if reads.read_exact(&mut payload).await.is_err() {
            return code;
        }
        if header[3] == GOAWAY {
            code = Some(u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]));
        }
    }
}

/// Sends this again and again; how much of it was taken, and the code with which it was given up.
async fn flood(running: &Running, begin: &[u8], flood: impl Fn(u32) -> Vec<u8>) -> (usize, Option<u32>) {
    let (reads, mut writes) = tokio::io::split(running.tls().await);
    let ends = tokio::spawn(goaway(reads));
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[]), begin].concat();
    writes.write_all(&begin).await.expect("it is open");
    let sent = send(&mut writes, flood).await;
    (sent, timeout(PATIENCE, ends).await.expect("it hangs up").expect("no panic"))
}

async fn send(writes: &mut WriteHalf<TlsStream<TcpStream>>, flood: impl Fn(u32) -> Vec<u8>) -> usize {
    let (mut sent, mut stream) = (0, 1);
    while sent < FLOOD_LEN {
        let mut bytes = Vec::new();
        while bytes.len() < 16 * 1_024 {
            bytes.extend(flood(stream));
            stream += 2;
        }
        if writes.write_all(&bytes).await.is_err() || writes.flush().await.is_err() {
            break;
        }
        sent += bytes.len();
    }
    sent
}

#[tokio::test]
async fn each_flood_ends_its_connection_and_no_other() {
    let running = start(TIMES).await;
    let mut other = running.client().await;
    let mut line = open(&mut other).await.expect("there is room");
    let asks = frame(HEADERS, END_HEADERS, 1, &head(false));
    let nothing: &[u8] = &[];
    type Flood = Box<dyn Fn(u32) -> Vec<u8>>;
    let floods: [(&str, &[u8], Flood); 9] = [
        (
            "requests that are taken back (CVE-2023-44487)",
            nothing,
            Box::new(|stream| {
                let asks = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head(true));
                [asks, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
            }),
        ),
        (
            "heads without an end (CVE-2024-27316)",
            &frame(HEADERS, 0, 1, &head(true)),
            Box::new(|_| frame(CONTINUATION, 0, 1, b"\0\x01x\x01y")),
        ),
        (
            "heads without an end that say nothing",
            &frame(HEADERS, 0, 1, &head(true)),
            Box::new(|_| frame(CONTINUATION, 0, 1, &[])),
        ),
        ("settings (CVE-2019-9515)", nothing, Box::new(|_| frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 16, 0]))),
        ("pings (CVE-2019-9512)", nothing, Box::new(|_| frame(PING, 0, 0, &[0; 8]))),
        ("priorities (CVE-2019-9513)", nothing, Box::new(|stream| frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 16]))),
        ("empty frames (CVE-2019-9518)", &asks, Box::new(|_| frame(DATA, 0, 1, &[]))),
        ("windows", nothing, Box::new(|stream| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, u8::from(stream < 2_000)]))),
        ("kinds that nobody knows", nothing, Box::new(|_| frame(0x99, 0, 0, &[0; 1_024]))),
    ];
    for (what, begin, bytes) in floods {
        let begun = Instant::now();
        let (sent, code) = flood(&running, begin, bytes).await;
        println!("{what}: {sent} bytes, GOAWAY {code:?}, {:?}", begun.elapsed());
        assert!(sent < FLOOD_LEN, "{what}: all of it was taken");
        assert!(code != Some(0), "{what}: it was no good end");
        assert_echoes(&mut line).await;
        running.assert_well().await;
    }
}

/// As slowly as a bound of what waits does not see it: each is answered before it is taken back.
#[tokio::test]
async fn requests_of_a_connection_are_counted() {
    let running = start(TIMES).await;
    let mut client = running.client().await;
    let mut taken = 0;
    while answer_or_end(&mut client).await {
        taken += 1;
        assert!(taken < 2 * CONNECTION_REQUESTS_MAX, "it goes on for ever");
    }
    assert!(taken >= CONNECTION_REQUESTS_MAX - 2, "{taken} requests");
    running.assert_well().await;
}
