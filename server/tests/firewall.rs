//! The firewall before a real server: behind a proxy of this machine, which says whose connections it brings.
//!
//! ```text
//! client ─► Way: "PROXY TCP6 2001:db8::1 …" or "x-forwarded-for: …" in front of what comes ─► server
//! ```
#![allow(missing_docs, reason = "tests are named for their scenario")]

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use duologue_client::{Client, ConnectError, Keyring, Line, Target};
use duologue_server::{
    Call, ConfigFile, Duologue, FrontConfig, Kind, LineState, Policy, ServiceError, State, TrustedProxies, development,
    serve_behind, services,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

/// Nobody is in doubt by then.
const PATIENCE: Duration = Duration::from_secs(60);
const RULES: &str = "[[rule]]\nopen = [\"*\"]\n";

struct Server {
    directory: tempfile::TempDir,
    config: PathBuf,
    file: ConfigFile,
    duologue: Duologue,
    state: State,
    address: SocketAddr,
}

impl Server {
    /// One that has read this configuration, beside these files.
    async fn start(config: &str, files: &[(&str, &str)], tls: bool) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).expect("written");
        }
        let path = directory.path().join("duologue.toml");
        std::fs::write(&path, format!("{config}\n{RULES}")).expect("written");
        let state = State::open(directory.path().join("state")).expect("a new state");
        let (file, read) = ConfigFile::open(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let duologue = Duologue::new(state.clone(), Policy::loopback().with_rules(read.rules));
        let duologue = duologue.service("echo", services::echo).service("count", count);
        file.set_firewall(read.firewall, &duologue).expect("its files are in order");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let front = FrontConfig {
            tls: tls.then(|| development(state.directory()).expect("a certificate")),
            trusted_proxies: TrustedProxies::default().with("127.0.0.1").expect("an address"),
            behind_proxy: true,
            firewall: duologue.firewall(),
            ..FrontConfig::default()
        };
        tokio::spawn(serve_behind(listener, front, duologue.router(), CancellationToken::new()));
        Self { directory, config: path, file, duologue, state, address }
    }

    /// Has it read another configuration.
    fn reload(&self, config: &str) -> Result<(), String> {
        std::fs::write(&self.config, format!("{config}\n{RULES}")).expect("written");
        self.file.reload(&self.duologue).map(drop).map_err(|errors| errors.to_string())
    }

    /// A line from this address, of a device of its own.
    async fn line(&self, from: &str) -> Result<(Client, Line), ConnectError> {
        self.line_by(way(self.address, from).await).await
    }

    async fn line_by(&self, way: SocketAddr) -> Result<(Client, Line), ConnectError> {
        let link =
            self.state.new_invite(Duration::from_secs(600)).expect("an invite").to_link(&format!("http://{way}"));
        let client = Client::new(Keyring::in_memory());
        let line = client.connect(&Target::parse(&link).expect("a link")).await?;
        Ok((client, line))
    }

    /// What is answered to a request that a header says to be from there.
    async fn asked_as(&self, from: &str, path: &str) -> String {
        let mut tcp = TcpStream::connect(self.address).await.expect("it listens");
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: {from}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-protocol: duologue.1\r\n\r\n"
        );
        tcp.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = Vec::new();
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            let len = tokio::time::timeout(PATIENCE, tcp.read_buf(&mut answer)).await.expect("an answer");
            if len.is_ok_and(|len| len == 0) {
                break;
            }
        }
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    }

    /// Waits until something is so.
    async fn until(&self, is_so: impl Fn() -> bool) {
        let waits = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waits).await.expect("it comes about");
    }

    /// How often something of this kind was told.
    fn told(&self, kind: Kind) -> u64 {
        self.duologue.watch().told().into_iter().find(|(told, _)| *told == kind).map_or(0, |(_, count)| count)
    }
}

/// A proxy for one client, who is there.
async fn way(server: SocketAddr, from: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let header = header(from);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let header = header.clone();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(server).await.expect("it listens");
                if far.write_all(header.as_bytes()).await.is_ok() {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
    address
}

fn header(from: &str) -> String {
    match from.parse().expect("an address") {
        IpAddr::V4(_) => format!("PROXY TCP4 {from} 203.0.113.1 4711 443\r\n"),
        IpAddr::V6(_) => format!("PROXY TCP6 {from} 2001:db8:ffff::1 4711 443\r\n"),
    }
}

async fn works(line: &Line) -> bool {
    tokio::time::timeout(PATIENCE, line.request("echo", "here")).await.expect("in time").is_ok_and(|it| it == b"here")
}

/// Says how many messages it was sent, at the end.
async fn count(call: Call) -> Result<(), ServiceError> {
    let mut messages = 0_u32;
    while call.channel.recv().await?.is_some() {
        messages += 1;
    }
    call.channel.send(messages.to_string()).await?;
    Ok(())
}

/// How long it takes until so many messages were taken.
async fn takes(line: &Line, messages: u32) -> Duration {
    let begun = Instant::now();
    let channel = line.channel("count").expect("the line is open");
    for _ in 0..messages {
        channel.send("x").await.expect("it is open");
    }
    channel.finish();
    let count = tokio::time::timeout(PATIENCE, channel.recv()).await.expect("in time").expect("it is open");
    assert_eq!(count.as_deref(), Some(messages.to_string().as_bytes()));
    begun.elapsed()
}

/// Before TLS only what TCP or the PROXY header says can be judged: nothing is answered then, not even an alert.
#[tokio::test]
async fn who_is_denied_gets_no_byte_of_tls_and_whom_only_a_header_names_gets_403() {
    let config = "[firewall]\ndeny = [\"192.0.2.0/24\", \"2001:db8:bad::/48\"]\nallow = [\"192.0.2.7\"]";
    let server = Server::start(config, &[], true).await;
    for (from, is_let_in) in
        [("192.0.2.1", false), ("2001:db8:bad::1", false), ("192.0.2.7", true), ("198.51.100.1", true)]
    {
        let mut tcp = TcpStream::connect(server.address).await.expect("it listens");
        // What follows begins as a ClientHello does, and is none: TLS would say so by an alert.
        let hello = [header(from).as_bytes(), &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]].concat();
        tcp.write_all(&hello).await.expect("it reads");
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut answer)).await.expect("it hangs up");
        assert_eq!(!answer.is_empty(), is_let_in, "{from}: {answer:?}");
    }
    assert_eq!(server.told(Kind::NetworkDenied), 2);

    let server = Server::start(config, &[], false).await;
    for (from, answer) in [
        ("192.0.2.1", "HTTP/1.1 403 Forbidden"),
        ("::ffff:192.0.2.1", "HTTP/1.1 403 Forbidden"),
        ("2001:db8:bad::1", "HTTP/1.1 403 Forbidden"),
        ("192.0.2.7", "HTTP/1.1 101 Switching Protocols"),
        ("unknown", "HTTP/1.1 101 Switching Protocols"),
        ("192.0.2.1, 198.51.100.1", "HTTP/1.1 101 Switching Protocols"),
    ] {
        assert_eq!(server.asked_as(from, "/line").await, answer, "{from}");
    }
    assert_eq!(server.asked_as("192.0.2.1", "/").await, "HTTP/1.1 403 Forbidden", "not only lines");
    // Where whoever is not named may not come, nobody comes whom nobody knows.
    let server = Server::start("[firewall]\nallow = [\"192.0.2.7\"]\notherwise = \"deny\"", &[], false).await;
    for (from, answer) in [
        ("192.0.2.7", "HTTP/1.1 101 Switching Protocols"),
        ("192.0.2.8", "HTTP/1.1 403 Forbidden"),
        ("unknown", "HTTP/1.1 403 Forbidden"),
    ] {
        assert_eq!(server.asked_as(from, "/line").await, answer, "{from}");
    }
}

/// An app may have a listener of its own: it has no firewall, and the line has.
#[tokio::test]
async fn whoever_comes_by_another_listener_is_refused_at_the_upgrade() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = State::open(directory.path()).expect("a new state");
    let duologue = Duologue::new(state.clone(), Policy::loopback()).service("echo", services::echo);
    let deny = duologue_server::FirewallSettings {
        deny: vec!["127.0.0.0/8".parse().expect("a network")],
        ..duologue_server::FirewallSettings::default()
    };
    duologue.set_firewall(deny, Path::new("")).expect("it has no files");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let app = duologue.router().into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let link = state.new_invite(Duration::from_secs(600)).expect("an invite").to_link(&format!("http://{address}"));
    let refused = Client::new(Keyring::in_memory()).connect(&Target::parse(&link).expect("a link")).await;
    assert!(format!("{:?}", refused.expect_err("it is denied")).contains("403"));
}

#[tokio::test]
async fn a_reload_ends_the_lines_of_networks_that_are_denied_now_and_a_broken_one_changes_nothing() {
    let server = Server::start("[firewall]\nexempt = [\"203.0.113.0/24\"]", &[], false).await;
    let (_one, here) = server.line("192.0.2.1").await.expect("it may come");
    let (_two, there) = server.line("2001:db8::1").await.expect("it may come");
    let deny = "[firewall]\ndeny_files = [\"bad.txt\"]";
    let error = server.reload(deny).expect_err("there is no such file");
    assert!(error.contains("has a [firewall] that cannot be used") && error.contains("bad.txt"), "{error}");
    std::fs::write(server.directory.path().join("bad.txt"), "192.0.2.0/33\n").expect("written");
    let error = server.reload(deny).expect_err("it has no network");
    assert!(error.contains("has in line 1: \"192.0.2.0/33\" is no network"), "{error}");
    assert!(server.reload("[firewall]\ndeny = [\"192.0.2.0/24\"]\notherwise = \"allwo\"").is_err());
    assert!(works(&here).await && works(&there).await, "nothing has changed");

    std::fs::write(server.directory.path().join("bad.txt"), "192.0.2.0/24 # bad ones\n").expect("written");
    server.reload(deny).expect("it is in order");
    server.until(|| server.duologue.directory().connected().len() == 1).await;
    server.until(|| here.state() != LineState::Open).await;
    assert!(works(&there).await, "another's goes on");
    assert!(server.line("192.0.2.2").await.is_err());
    assert_eq!(server.duologue.directory().connected().len(), 1);
}

#[tokio::test]
async fn a_file_of_networks_that_has_changed_counts_and_one_that_is_broken_keeps_the_old_list() {
    let server = Server::start("[firewall]\ndeny_files = [\"bad.txt\"]", &[("bad.txt", "")], false).await;
    let (_client, _line) = server.line("192.0.2.1").await.expect("it may come");
    let write = |text: &str| std::fs::write(server.directory.path().join("bad.txt"), text).expect("written");
    let hears_of = async |kind| {
        let before = server.told(kind);
        server.until(|| server.told(kind) > before).await;
    };
    write("192.0.2.0/24\n");
    server.until(|| server.duologue.directory().connected().is_empty()).await;
    assert!(server.line("192.0.2.2").await.is_err());
    write("nonsense\n");
    hears_of(Kind::FirewallBroken).await;
    assert!(server.line("192.0.2.2").await.is_err(), "the old list counts");
    write("# nobody\n");
    hears_of(Kind::FirewallRead).await;
    assert!(server.line("192.0.2.2").await.is_ok());
}

/// With the budget's last one a 429; others, and whoever is exempt, have theirs.
#[tokio::test]
async fn an_address_has_so_many_connections_and_handshakes_in_a_minute_and_others_have_theirs() {
    let config = "[firewall]\nexempt = [\"203.0.113.0/24\"]\n[firewall.address]\nconnections_per_minute = 20\n\
                  handshakes_per_minute = 10";
    let server = Server::start(config, &[], false).await;
    let mut answers = Vec::new();
    for _ in 0..13 {
        answers.push(server.asked_as("192.0.2.1", "/line").await);
    }
    // One more may be paid for meanwhile, each 6 s.
    let refused = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 429 ")).count();
    assert!((1..=3).contains(&refused), "{answers:?}");
    for from in ["192.0.2.2", "2001:db8::1"] {
        assert_eq!(server.asked_as(from, "/line").await, "HTTP/1.1 101 Switching Protocols", "{from}");
    }
    for _ in 0..30 {
        assert_eq!(server.asked_as("203.0.113.1", "/line").await, "HTTP/1.1 101 Switching Protocols");
    }
    assert_eq!(server.told(Kind::BudgetExceeded), 1, "once a minute");
    // Where the PROXY header says it, before TLS and before anything is answered.
    let mut hung_up = 0;
    for _ in 0..30 {
        let mut tcp = TcpStream::connect(server.address).await.expect("it listens");
        tcp.write_all(header("2001:db8:7::1").as_bytes()).await.expect("it reads");
        let _ = tcp.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        let answered = tokio::time::timeout(PATIENCE, tcp.read(&mut [0; 8])).await.expect("it answers or hangs up");
        hung_up += usize::from(!answered.is_ok_and(|len| len > 0));
    }
    assert!((5..=10).contains(&hung_up), "{hung_up}");
}

#[tokio::test]
async fn an_identity_has_so_many_handshakes_in_a_minute_and_another_device_has_its_own() {
    let server = Server::start("[firewall.identity]\nhandshakes_per_minute = 3", &[], false).await;
    let way = way(server.address, "192.0.2.1").await;
    let (client, line) = server.line_by(way).await.expect("it may come");
    drop(line);
    let target = Target::parse(&format!("http://{way}")).expect("an address");
    let mut refused = 0;
    for _ in 0..6 {
        match client.connect(&target).await {
            Ok(line) => drop(line),
            Err(error) => {
                assert!(error.to_string().contains("too many connections are made with this identity"), "{error}");
                refused += 1;
            }
        }
    }
    assert!((3..=5).contains(&refused), "{refused}: one may be paid for each 20 s");
    assert!(server.line("192.0.2.1").await.is_ok(), "another device");
}

/// Of messages, whoever sends more waits: those of an address together, those of a device, those of all.
#[tokio::test]
async fn messages_beyond_the_budget_of_an_address_an_identity_or_all_wait_for_their_turn() {
    for (table, others_wait) in [("address", false), ("identity", false), ("all", true)] {
        let config = format!("[firewall.{table}]\nmessages_per_second = 20");
        let server = Server::start(&config, &[], false).await;
        let (_one, line) = server.line("192.0.2.1").await.expect("it may come");
        let (_two, other) = server.line("192.0.2.2").await.expect("it may come");
        // A second's worth at once, and two seconds of waiting.
        let (took, beside) = tokio::join!(takes(&line, 61), async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            takes(&other, 20).await
        });
        assert!(took >= Duration::from_millis(1_900), "{table}: {took:?}");
        assert!(!others_wait || beside >= Duration::from_millis(500), "{table}: {beside:?}");
        // What holds after a reload holds for channels that are open.
        server.reload("").expect("in order");
        let sixty_times = takes(&line, 1_200);
        assert!(
            tokio::time::timeout(Duration::from_secs(30), sixty_times).await.is_ok(),
            "{table}: nothing bounds it any more"
        );
    }
}

#[tokio::test]
async fn a_channel_for_each_message_is_no_way_round_a_budget() {
    let server = Server::start("[firewall.identity]\nmessages_per_second = 20", &[], false).await;
    let (_device, line) = server.line("192.0.2.1").await.expect("it may come");
    let begun = Instant::now();
    for _ in 0..40 {
        takes(&line, 1).await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn requests_to_the_backend_beyond_the_budget_wait_or_are_told_so() {
    let backend = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", backend.local_addr().expect("it is bound"));
    let asked = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&asked);
    let app = axum::Router::new().fallback(move || async move {
        counts.fetch_add(1, Ordering::Relaxed);
        "here"
    });
    tokio::spawn(async move { axum::serve(backend, app).await });
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = State::open(directory.path()).expect("a new state");
    let http = services::http::Http::new(&url).expect("an address");
    let duologue = Duologue::new(state.clone(), Policy::loopback()).service("http", http);
    let settings =
        duologue_server::Config::parse("here", "[firewall.identity]\nrequests_per_second = 2").expect("in order");
    duologue.set_firewall(settings.firewall, Path::new("")).expect("it has no files");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(serve_behind(listener, FrontConfig::default(), duologue.router(), CancellationToken::new()));
    let link = state.new_invite(Duration::from_secs(600)).expect("an invite").to_link(&address);
    let client = Client::new(Keyring::in_memory());
    let line = client.connect(&Target::parse(&link).expect("a link")).await.expect("it may come");
    let begun = Instant::now();
    let ask = async || {
        let mut stream = line.stream("http").expect("the line is open");
        stream
            .write_all(b"{\"method\":\"GET\",\"target\":\"/\",\"headers\":[],\"length\":0}\n")
            .await
            .expect("it is open");
        stream.shutdown().await.expect("it is open");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    // Two at once, 20 within the ten seconds that anybody waits; those behind them are told to come later.
    let answers = futures_util::future::join_all((0..30).map(|_| ask())).await;
    let (good, told): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.ends_with("here"));
    assert!(begun.elapsed() >= Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(good.len() >= 18 && !told.is_empty(), "{} of 30: {:?}", good.len(), answers.first());
    assert!(told.iter().all(|answer| answer.contains("more requests come from here")), "{told:?}");
    assert_eq!(asked.load(Ordering::Relaxed), good.len(), "who was told so has not been at the backend");
}
