//! M1 in the upgrade request, and what happens where it cannot be there. Lengths are those of `docs/PROTOCOL.md`.

use duologue::limits::{M1_LEN, M2_LEN, RECORD_0_LEN};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    enrolment::stranger,
    path::Path,
    policy::Policy,
    proxy::{Proxy, name},
    server::{Server, target, through},
    tls,
    wire::{
        Direction::{ToClient, ToServer},
        Kind, Log,
    },
    within,
};

/// AUTH and AUTH_OK, sealed.
pub(crate) const SEALED_0_LEN: usize = RECORD_0_LEN + 16;

/// Asserts that M2 came right behind the 101, before any further word of the client, and that AUTH followed it.
#[track_caller]
pub(crate) fn assert_m1_came_with_the_upgrade(log: &Log) {
    let seen = log.of(*log.lines().last().expect("a line was opened"));
    let shape: Vec<_> = seen.iter().take(5).map(|(direction, kind, _)| (*direction, *kind)).collect();
    let expected = [
        (ToServer, Kind::Upgrade),
        (ToClient, Kind::Switch),
        (ToClient, Kind::Binary),
        (ToServer, Kind::Binary),
        (ToClient, Kind::Binary),
    ];
    // A client may send early data behind AUTH, so that only the first four are in a fixed order.
    assert_eq!(shape[..4], expected[..4], "{seen:?}");
    assert_eq!((seen[2].2, seen[3].2), (M2_LEN, SEALED_0_LEN), "M2, AUTH: {seen:?}");
}

/// Asserts that the client's first message was M1.
#[track_caller]
pub(crate) fn assert_m1_came_as_the_first_message(log: &Log) {
    let seen = log.of(*log.lines().last().expect("a line was opened"));
    assert_eq!((seen[0].1, seen[1].1), (Kind::Upgrade, Kind::Switch), "{seen:?}");
    let expected =
        [(ToServer, Kind::Binary, M1_LEN), (ToClient, Kind::Binary, M2_LEN), (ToServer, Kind::Binary, SEALED_0_LEN)];
    assert_eq!(seen[2..5], expected, "M1, M2, AUTH: {seen:?}");
}

#[tokio::test]
async fn m2_follows_the_101_without_a_further_client_message() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let client = stranger().trusting(proxy.ca_file());
    let line = within(20, "the line", client.connect(&target(&through(server.link(), proxy.port)))).await.unwrap();
    assert_eq!(line.request("echo", "fast").await.unwrap(), b"fast");
    assert_m1_came_with_the_upgrade(&proxy.log());
    assert_eq!(proxy.log().find(b"duologue.1+m1").as_deref(), Some("as they are, on connection 1 ToServer"));
}

#[tokio::test]
async fn with_the_offer_stripped_the_line_opens_by_the_second_form() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    proxy.set(Policy { strip_m1: true, ..Policy::default() });
    let client = stranger().trusting(proxy.ca_file());
    let line = within(20, "the line", client.connect(&target(&through(server.link(), proxy.port)))).await.unwrap();
    assert_eq!(line.request("echo", "slow").await.unwrap(), b"slow");
    assert_m1_came_as_the_first_message(&proxy.log());
}

#[tokio::test]
async fn a_client_may_choose_the_second_form_itself() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let client = stranger().trusting(proxy.ca_file()).with_m1_as_first_message();
    let line = within(20, "the line", client.connect(&target(&through(server.link(), proxy.port)))).await.unwrap();
    assert_eq!(line.request("echo", "slow").await.unwrap(), b"slow");
    assert_m1_came_as_the_first_message(&proxy.log());
}

/// An upgrade request to a server of this machine, and the lines of it by which it could be another.
const UPGRADE: [&str; 7] = [
    "GET /line HTTP/1.1",
    "host: localhost",
    "connection: upgrade",
    "upgrade: websocket",
    "sec-websocket-version: 13",
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-protocol: duologue.1",
];

/// The status of a development server's answer to a request.
async fn status_of(server: &Server, lines: &[&str]) -> String {
    let tcp = TcpStream::connect(("127.0.0.1", server.port)).await.expect("somebody listens");
    let connector = TlsConnector::from(tls::client(&[server.certificate()]));
    let mut stream = within(20, "TLS", connector.connect(name("localhost"), tcp)).await.expect("TLS is fine");
    // What is too long may be refused before all of it is read.
    let _ = stream.write_all((lines.join("\r\n") + "\r\n\r\n").as_bytes()).await;
    let mut status = String::new();
    let _ = within(20, "an answer", BufReader::new(stream).read_line(&mut status)).await;
    status.split(' ').nth(1).unwrap_or("none").to_owned()
}

#[tokio::test]
async fn a_request_that_no_upgrade_is_has_a_status_that_says_so() {
    let server = Server::dev().await;
    let long = |len: usize| format!("x: {}", "y".repeat(len - UPGRADE.join("..").len() - "..x: ....".len()));
    let (longest, longer, much_longer) = (long(65_536), long(65_537), long(70_000));
    let with = |at: usize, line: &'static str| {
        let mut lines = UPGRADE.to_vec();
        lines[at] = line;
        lines
    };
    let and = |line| [&UPGRADE[..], &[line]].concat();
    for (what, lines, status) in [
        ("as it should be", UPGRADE.to_vec(), "101"),
        ("the longest head", and(&longest), "101"),
        ("a byte more", and(&longer), "431"),
        ("70,000 bytes", and(&much_longer), "431"),
        ("a hundred and one headers", [&UPGRADE[..], &["a: b"; 95]].concat(), "431"),
        ("a hundred headers", [&UPGRADE[..], &["a: b"; 94]].concat(), "101"),
        ("another host, as proxies ask", with(1, "host: backend.internal:8080"), "101"),
        ("no host", with(1, "x: y"), "400"),
        ("two hosts", and("host: localhost"), "400"),
        ("a key of 3 bytes", with(5, "sec-websocket-key: YWJj"), "400"),
        ("a key that is no base64", with(5, "sec-websocket-key: dGhlIHNhbXBsZSBub25jZ-=="), "400"),
        ("another version", with(4, "sec-websocket-version: 12"), "400"),
        ("another subprotocol", with(6, "sec-websocket-protocol: duologue.2"), "400"),
        ("M1 alone", with(6, "sec-websocket-protocol: m1.AAAA"), "400"),
        ("no upgrade", with(3, "x: y"), "400"),
        ("another path", with(0, "GET /lines HTTP/1.1"), "404"),
        ("another method", with(0, "POST /line HTTP/1.1"), "405"),
    ] {
        assert_eq!(status_of(&server, &lines).await, status, "{what}");
    }
}

/// The port used to be closed first: whoever came heard nothing of why.
#[tokio::test]
async fn a_server_that_drains_says_so_to_whoever_comes() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let line = within(20, "the line", stranger().connect(&target(&through(server.link(), path.port)))).await.unwrap();
    assert_eq!(line.request("echo", "before").await.unwrap(), b"before");
    // Its client does not hear that it should go.
    path.hold(true);
    server.terminate();
    within(20, "the status", async {
        while status_of(&server, &UPGRADE).await != "503" {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(
        status_of(&server, &["GET / HTTP/1.1", "host: localhost"]).await,
        "200",
        "what is no line is still served"
    );
    path.hold(false);
    server.succeeded().await;
}
