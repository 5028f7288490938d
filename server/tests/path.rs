//! The path report over real lines: what somebody between client and server rewrites is told to both, or refused.
#![allow(missing_docs, reason = "tests are named for their scenario")]

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use duologue::{CloseCode, ConnectionError};
use duologue_client::{Client, ConnectError, Difference, Form, Keyring, Line, PathError, Target, Tls};
use duologue_server::{
    Config, Duologue, FrontConfig, Kind, Policy, Reader, State, TrustedProxies, serve_behind, services,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

/// A server, and what rewrites the requests on the way to it.
struct Bench {
    state: State,
    events: Reader,
    way: SocketAddr,
    direct: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Bench {
    async fn start(config: &str, behind_proxy: bool, rewrite: fn(&str) -> Option<String>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = State::open(directory.path()).expect("a new state");
        let rules = Config::parse("the file", config).expect("a configuration").rules;
        let policy = Policy::loopback().with_rules(rules);
        let duologue = Duologue::new(state.clone(), policy).telling_paths(None);
        let duologue = duologue.service("echo", services::echo);
        let events = duologue.watch().subscribe(1_024);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let direct = listener.local_addr().expect("it is bound");
        let trusted_proxies = match behind_proxy {
            true => TrustedProxies::default().with("127.0.0.1").expect("an address"),
            false => TrustedProxies::default(),
        };
        let front = FrontConfig { trusted_proxies, behind_proxy, ..FrontConfig::default() };
        let app: Router = duologue.router();
        tokio::spawn(serve_behind(listener, front, app, Default::default()));

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let way = listener.local_addr().expect("it is bound");
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, direct, rewrite));
            }
        });
        Self { state, events, way, direct, _directory: directory }
    }

    /// A device that was just let in, over the way or around it.
    async fn line(&self, at: SocketAddr, prepare: fn(Client) -> Client) -> (Client, Result<Line, ConnectError>) {
        let invite = self.state.new_invite(Duration::from_secs(60)).expect("an invite");
        let client = prepare(Client::new(Keyring::in_memory()).named("bench"));
        let target = Target::parse(&invite.to_link(&format!("http://{at}"))).expect("a link");
        let line = client.connect(&target).await;
        (client, line)
    }

    /// The notes of what was told of rewritten paths until a line is told of as ended.
    async fn told(&mut self, line: Line) -> Vec<String> {
        line.close(CloseCode::Normal, "");
        let mut notes = Vec::new();
        loop {
            let read = tokio::time::timeout(Duration::from_secs(60), self.events.next()).await;
            let event = read.expect("the end is told").expect("the stream goes on");
            match event.kind {
                Kind::PathRewritten => notes.push(event.note.as_deref().unwrap_or_default().to_owned()),
                Kind::LineEnded => return notes,
                _ => {}
            }
        }
    }
}

/// Carries one connection; each line of the request's head goes through `rewrite`, which may take it out.
async fn carry(near: TcpStream, server: SocketAddr, rewrite: fn(&str) -> Option<String>) {
    let mut near = BufReader::new(near);
    let mut far = TcpStream::connect(server).await.expect("it listens");
    loop {
        let mut line = String::new();
        near.read_line(&mut line).await.expect("a head");
        if line == "\r\n" {
            break;
        }
        if let Some(line) = rewrite(line.trim_end()) {
            far.write_all(format!("{line}\r\n").as_bytes()).await.expect("it reads");
        }
    }
    far.write_all(b"\r\n").await.expect("it reads");
    let _ = copy_bidirectional(&mut near, &mut far).await;
}

fn is(line: &str, name: &str) -> bool {
    line.to_ascii_lowercase().starts_with(&format!("{name}:"))
}

fn as_it_is(line: &str) -> Option<String> {
    Some(line.to_owned())
}

fn other_host(line: &str) -> Option<String> {
    Some(if is(line, "host") { "Host: backend.internal:9000".to_owned() } else { line.to_owned() })
}

fn added(line: &str) -> Option<String> {
    let more = "Via: 1.1 box\r\nX-Forwarded-For: 192.0.2.9\r\nX-Blue: \u{202e}secret";
    Some(if is(line, "host") { format!("{line}\r\n{more}") } else { line.to_owned() })
}

fn without_m1(line: &str) -> Option<String> {
    Some(if is(line, "sec-websocket-protocol") {
        "Sec-WebSocket-Protocol: duologue.1".to_owned()
    } else {
        line.to_owned()
    })
}

fn put_origin(line: &str) -> Option<String> {
    Some(if is(line, "host") { format!("{line}\r\nOrigin: http://localhost:1") } else { line.to_owned() })
}

const OPEN: &str = "[[rule]]\nopen = [\"echo\"]\n";

#[tokio::test]
async fn a_direct_line_shows_nothing_and_nobody_is_told() {
    let mut bench = Bench::start(OPEN, false, as_it_is).await;
    for at in [bench.direct, bench.way] {
        for prepare in [(|client| client) as fn(Client) -> Client, Client::with_m1_as_first_message] {
            let (client, line) = bench.line(at, prepare).await;
            let line = line.expect("it opens");
            let path = client.path(&line).await.expect("a report");
            assert!(path.differs.is_empty(), "{path:?}");
            assert_eq!((path.seen.tls, path.known.form), (Some(Tls::None), path.seen.form));
            assert_eq!(path.seen.host.as_deref(), Some(at.to_string().as_str()));
            let own: std::net::IpAddr = [127, 0, 0, 1].into();
            assert_eq!((path.seen.address, path.known.address), (Some(own), Some(own)));
            assert_eq!(bench.told(line.clone()).await, Vec::<String>::new());
            assert!(matches!(client.path(&line).await, Err(PathError::NotOurs | PathError::Line(_))));
        }
    }
}

#[tokio::test]
async fn what_is_rewritten_is_told_to_both_ends_by_name_and_to_the_owner_once() {
    for (rewrite, differs, told) in [
        (other_host as fn(&str) -> Option<String>, "host", vec!["host"]),
        (added, "headers", vec!["headers"]),
        // The server alone cannot see it: it is told when the client has asked.
        (without_m1, "form", vec!["form"]),
    ] {
        let mut bench = Bench::start(OPEN, false, rewrite).await;
        let (client, line) = bench.line(bench.way, |client| client).await;
        let line = line.expect("it opens: by default it is only told");
        for _ in 0..3 {
            let path = client.path(&line).await.expect("a report");
            assert_eq!(path.differs.to_string(), differs, "{path:?}");
            if path.differs.has(Difference::Form) {
                assert_eq!((path.known.form, path.seen.form), (Some(Form::InRequest), Some(Form::AsMessage)));
            }
            if path.differs.has(Difference::Headers) {
                assert_eq!(path.seen.headers, ["via", "x-forwarded-for", "x-blue"]);
            }
        }
        assert_eq!(line.request("echo", "still").await.expect("it is served"), b"still");
        assert_eq!(bench.told(line).await, told);
    }
}

#[tokio::test]
async fn what_the_owners_own_proxy_adds_is_shown_to_the_client_and_no_news_to_the_owner() {
    let mut bench = Bench::start(OPEN, true, added).await;
    let (client, line) = bench.line(bench.way, |client| client).await;
    let line = line.expect("it opens");
    let path = client.path(&line).await.expect("a report");
    assert!(path.seen.own_proxy && path.differs.has(Difference::Headers), "{path:?}");
    assert_eq!(path.seen.address, Some([192, 0, 2, 9].into()));
    assert_eq!(bench.told(line).await, Vec::<String>::new());
}

#[tokio::test]
async fn as_sent_refuses_a_rewritten_host_and_origin_and_nothing_else() {
    let config = format!("[door]\npath = \"as-sent\"\n{OPEN}");
    let code = |error: ConnectError| match error.connection_error() {
        Some(ConnectionError::PeerClosed(close)) => (close.code, close.reason.clone()),
        other => panic!("another end: {other:?}"),
    };
    let bench = Bench::start(&config, false, other_host).await;
    let (_, line) = bench.line(bench.way, |client| client).await;
    assert_eq!(code(line.expect_err("refused")), (CloseCode::HostMismatch, "Host was rewritten on the way".into()));
    assert!(bench.line(bench.direct, |client| client).await.1.is_ok());
    let bench = Bench::start(&config, false, put_origin).await;
    assert_eq!(code(bench.line(bench.way, |client| client).await.1.expect_err("refused")).0, CloseCode::OriginRefused);
    for rewrite in [added as fn(&str) -> Option<String>, without_m1] {
        let bench = Bench::start(&config, false, rewrite).await;
        assert!(bench.line(bench.way, |client| client).await.1.is_ok());
    }
}

/// A policy that is read again holds for what is open.
#[tokio::test]
async fn a_rewritten_line_that_is_open_loses_its_channels_when_all_is_to_come_as_sent() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = State::open(directory.path()).expect("a new state");
    let duologue = Duologue::new(state.clone(), Policy::loopback()).service("echo", services::echo);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let server = listener.local_addr().expect("it is bound");
    tokio::spawn(serve_behind(listener, FrontConfig::default(), duologue.router(), Default::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let way = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(carry(near, server, other_host));
        }
    });
    let invite = state.new_invite(Duration::from_secs(60)).expect("an invite");
    let target = Target::parse(&invite.to_link(&format!("http://{way}"))).expect("a link");
    let line = Client::new(Keyring::in_memory()).connect(&target).await.expect("it opens");
    let channel = line.channel("echo").expect("the line is open");
    channel.send("one").await.expect("there is room");
    assert_eq!(channel.recv().await.expect("an answer").as_deref(), Some(&b"one"[..]));
    let config = Config::parse("the file", &format!("[door]\npath = \"as-sent\"\n{OPEN}")).expect("a configuration");
    duologue.set_rules(config.rules);
    let lost = tokio::time::timeout(Duration::from_secs(60), channel.recv()).await.expect("within a second");
    assert!(lost.expect_err("it is reset").to_string().contains("not"), "by the policy");
    assert!(line.request("echo", "two").await.is_err());
}

#[tokio::test]
async fn hostile_reports_of_a_client_break_their_channel_and_nothing_else() {
    let mut bench = Bench::start(OPEN, false, as_it_is).await;
    let (client, line) = bench.line(bench.direct, |client| client).await;
    let line = line.expect("it opens");
    let long = format!("{{\"certificate\":\"{}\"}}", "a".repeat(4_000));
    for hostile in ["", "[", "null", "{\"form\":7}", "{\"tls\":\"9\"}", "{\"address\":\"nowhere\"}", &long] {
        let answer = line.request("path", hostile).await;
        assert!(answer.is_err(), "{hostile}: {answer:?}");
    }
    // What it may say, it says of itself alone; what is not known to this server is nothing.
    let said = "{\"form\":\"m1-as-message\",\"tls\":\"1.2\",\"certificate\":\"x\",\"address\":\"9.9.9.9\",\"later\":1}";
    let answer = line.request("path", said).await.expect("an answer");
    assert_eq!(answer.len(), 2_048);
    assert!(client.path(&line).await.expect("a report").differs.is_empty());
    assert_eq!(line.request("echo", "still").await.expect("it is served"), b"still");
    // Nobody has rewritten that, but its word may tell: it counts against nobody.
    assert_eq!(bench.told(line).await, ["address tls-version"]);
    assert_eq!(Kind::PathRewritten.origin(), duologue_server::Origin::Way);
}
