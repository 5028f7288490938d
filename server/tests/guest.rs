//! Guests: devices that nobody has let in, at the real server. Where they may come, what they leave, and what they become.
#![allow(missing_docs, reason = "tests are named for their scenario")]

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderMap, Uri},
    response::AppendHeaders,
    routing::{any, post},
};
use duologue::{CloseCode, ConnectionError};
use duologue_client::{Client, ConnectError, Keyring, Line, LineError, Standing, Target};
use duologue_server::{
    Config, Device, Duologue, Policy, Revocation, ServerKey, State, serve, server_key,
    services::{
        self,
        drop::Drops,
        http::{Http, Vouches},
        pair::Pair,
    },
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
};

/// Guests log in, and see one page; who has logged in sees another; devices have the rest.
const RULES: &str = "\
[door.vouch]
paths = [\"/login\", \"/logout\"]
[[rule]]
name = \"login\"
open = [\"http\"]
paths = [\"/login\", \"/logout\", \"/who\"]
level = 0
[[rule]]
name = \"signed in\"
open = [\"http\"]
level = \"account\"
[[rule]]
name = \"devices\"
open = [\"*\"]
";

fn header(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("none").to_owned()
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// `POST /login?name` or `?name&seconds`, `POST /logout`.
fn backend() -> Router {
    let login = |uri: Uri, headers: HeaderMap| async move {
        let query = uri.query().unwrap_or_default().to_owned();
        let (name, seconds) = query.split_once('&').unwrap_or((&query, ""));
        let until = seconds.parse::<u64>().map_or_else(|_| String::new(), |secs| format!("; until={}", now() + secs));
        let vouch = format!("{}; subject={name}{until}", header(&headers, "duologue-request"));
        (AppendHeaders([("duologue-vouch", vouch), ("set-cookie", "id=1; HttpOnly".to_owned())]), "welcome")
    };
    let logout = |headers: HeaderMap| async move {
        let vouch = format!("{}; signed-out", header(&headers, "duologue-request"));
        (AppendHeaders([("duologue-vouch", vouch)]), "bye")
    };
    let who = |headers: HeaderMap| async move {
        ["duologue-subject", "duologue-level", "cookie"].map(|name| header(&headers, name)).join(" ")
    };
    Router::new()
        .route("/login", post(login))
        .route("/logout", post(logout))
        .route("/who", any(who))
        .fallback(any(|| async { "secret" }))
}

struct Bench {
    duologue: Duologue,
    state: State,
    vouches: Vouches,
    address: String,
    key: ServerKey,
    /// Drops every connection that comes through the proxy.
    cut: Arc<Notify>,
    directory: tempfile::TempDir,
}

impl Bench {
    async fn start(rules: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = State::open(directory.path().join("state")).expect("a new state");
        let key = server_key(directory.path().join("state")).expect("it has one");
        let config = Config::parse("rules", rules).unwrap_or_else(|errors| panic!("{errors}"));
        let vouches = Vouches::new(config.vouch.unwrap_or_default());
        let http = Http::new(&listening(backend()).await).expect("an address").vouching_by(vouches.clone());
        let drops = Drops::open(directory.path().join("drops"), 1 << 20).expect("a directory");
        let duologue = Duologue::new(state.clone(), Policy::loopback().with_rules(config.rules))
            .service("http", http)
            .service("echo", services::echo)
            .service("drop", drops)
            .service("pair", Pair::new(state.clone(), "https://localhost"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own = listener.local_addr().expect("it is bound");
        tokio::spawn(serve(listener, None, duologue.router(), Default::default()));
        let proxy = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", proxy.local_addr().expect("it is bound"));
        let cut = Arc::new(Notify::new());
        let cuts = Arc::clone(&cut);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = proxy.accept().await {
                let cuts = Arc::clone(&cuts);
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(own).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        () = cuts.notified() => {}
                    }
                });
            }
        });
        Self { duologue, state, vouches, address, key, cut, directory }
    }

    fn target(&self) -> Target {
        Target::parse(&self.address).expect("an address")
    }

    /// A device that nobody knows, with the server's key and nothing else.
    fn stranger(&self) -> Client {
        Client::new(Keyring::in_memory()).with_server_key(self.key)
    }

    async fn come(&self, client: &Client) -> Result<Line, ConnectError> {
        let line = tokio::time::timeout(Duration::from_secs(60), client.connect(&self.target())).await;
        line.expect("an answer within a minute")
    }

    fn invited(&self) -> Target {
        let invite = self.state.new_invite(Duration::from_secs(60)).expect("an invite");
        Target::parse(&invite.to_link(&self.address)).expect("a link")
    }

    fn set_rules(&self, rules: &str) {
        let config = Config::parse("rules", rules).unwrap_or_else(|errors| panic!("{errors}"));
        self.vouches.set(config.vouch.unwrap_or_default());
        self.duologue.set_rules(config.rules);
    }

    fn devices(&self) -> Vec<Device> {
        self.state.store().devices().expect("a store")
    }
}

async fn listening(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// The body of an answer, or the word of a refusal.
async fn ask(line: &Line, method: &str, target: &str) -> String {
    let head = serde_json::json!({ "method": method, "target": target, "headers": [], "length": 0 });
    let mut stream = line.stream("http").expect("the line is open");
    let asked = async {
        stream.write_all(format!("{head}\n").as_bytes()).await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map(|_| answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(30), asked).await.expect("an answer in time");
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return error.to_string(),
    };
    let (head, body) = answer.split_once('\n').expect("a line");
    let head: Value = serde_json::from_str(head).expect("one line");
    head["error"].as_str().map_or_else(|| body.to_owned(), str::to_owned)
}

async fn told(standing: &mut watch::Receiver<Standing>, what: &str, is_it: impl FnMut(&Standing) -> bool) -> Standing {
    let told = tokio::time::timeout(Duration::from_secs(30), standing.wait_for(is_it)).await;
    told.unwrap_or_else(|_| panic!("{what}: it was never told")).expect("the line lives").clone()
}

async fn closed(line: &Line) -> (CloseCode, String) {
    match tokio::time::timeout(Duration::from_secs(30), line.closed()).await.expect("an end in time") {
        ConnectionError::PeerClosed(close) => (close.code, close.reason),
        other => panic!("{other:?}"),
    }
}

fn code(refused: Result<Line, ConnectError>) -> CloseCode {
    match refused.expect_err("refused") {
        ConnectError::Line(LineError::Connection(ConnectionError::PeerClosed(close))) => close.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_stranger_comes_in_only_where_something_is_open_to_guests_and_leaves_nothing() {
    let bench = Bench::start("[[rule]]\nopen = [\"*\"]\n").await;
    assert_eq!(code(bench.come(&bench.stranger()).await), CloseCode::NotEnrolled);
    // What asks for a device whatever the rules say opens nothing to guests by itself.
    bench.set_rules("[[rule]]\nopen = [\"pai*\", \"dro*\"]\nlevel = 0\n");
    assert_eq!(code(bench.come(&bench.stranger()).await), CloseCode::NotEnrolled);

    bench.set_rules("[[rule]]\nopen = [\"*\"]\nlevel = 0\n");
    let keyring = bench.directory.path().join("guest");
    let client = Client::open(&keyring).expect("a keyring").with_server_key(bench.key);
    let guest = bench.come(&client).await.expect("guests may come");
    let kept = std::fs::read_to_string(keyring.join("servers.json")).expect("it keeps the server's key");
    assert!(kept.contains("\"enrolled\": false") && kept.contains("\"ticket\": null"), "{kept}");
    let standing = guest.standing().borrow().clone();
    assert_eq!((standing.level, standing.subject.as_str(), standing.refused.as_str()), (0, "", ""));
    assert_eq!(guest.request("echo", "hello").await.expect("it is open"), b"hello");
    for label in ["drop", "pair"] {
        let refused = guest.request(label, "").await.expect_err("not for guests").to_string();
        assert!(refused.contains("does not allow"), "{label}: {refused}");
    }
    let strangers = bench.duologue.directory().connected();
    assert_eq!((strangers.len(), bench.devices().len()), (1, 0));

    // Another policy puts it out, and whoever was let in stays.
    let device = Client::new(Keyring::in_memory());
    let device = device.connect(&bench.invited()).await.expect("the invite is good");
    bench.set_rules("[[rule]]\nopen = [\"echo\"]\n");
    assert_eq!(closed(&guest).await.0, CloseCode::NotEnrolled);
    assert_eq!(device.request("echo", "still").await.expect("it is open"), b"still");
    drop((guest, device));
    let all = bench.devices();
    assert_eq!(all.len(), 1, "the one that was let in: {all:?}");
}

#[tokio::test]
async fn a_guest_logs_in_over_the_line_is_that_person_over_a_resumption_and_a_guest_again_by_either_ones_word() {
    let bench = Bench::start(RULES).await;
    let line = bench.come(&bench.stranger()).await.expect("guests may come");
    assert_eq!(ask(&line, "GET", "/who").await, "none 0 none");
    assert_eq!(ask(&line, "GET", "/private").await, "not-allowed", "only what the rule names");
    let mut standing = line.standing();

    for round in ["the person", "the backend"] {
        assert_eq!(ask(&line, "POST", "/login?zoe").await, "welcome", "{round}");
        let zoe = told(&mut standing, "who it is", |told| told.level == 2).await;
        assert_eq!(zoe.subject, "zoe", "{round}");
        assert_eq!(ask(&line, "GET", "/private").await, "secret", "{round}");
        assert_eq!(ask(&line, "GET", "/who").await, "zoe 2 id=1", "{round}");
        // In a tunnel: the session is hers still, with its cookies.
        bench.cut.notify_waiters();
        assert_eq!(ask(&line, "GET", "/who").await, "zoe 2 id=1", "{round}: resumed");
        match round {
            "the person" => line.sign_out().await.expect("heard"),
            _ => assert_eq!(ask(&line, "POST", "/logout").await, "bye"),
        }
        let guest = told(&mut standing, "that it is a guest again", |told| told.level == 0).await;
        assert_eq!((guest.subject.as_str(), guest.refused.as_str()), ("", "signed-out"), "{round}");
        assert_eq!(ask(&line, "GET", "/private").await, "not-allowed", "{round}");
        assert_eq!(ask(&line, "GET", "/who").await, "none 0 none", "{round}: the jar is empty");
    }
    // What was typed under her name is never heard under another.
    ask(&line, "POST", "/login?mallory").await;
    assert_eq!(closed(&line).await.0, CloseCode::SubjectChanged);
    assert_eq!(bench.devices().len(), 0, "and nothing is kept");
}

#[tokio::test]
async fn who_was_vouched_for_goes_on_where_nothing_is_open_to_guests_any_more_and_is_put_out_at_the_end() {
    let bench = Bench::start(RULES).await;
    let (zoe, guest) =
        (bench.come(&bench.stranger()).await.expect("a guest"), bench.come(&bench.stranger()).await.expect("a guest"));
    let mut standing = zoe.standing();
    ask(&zoe, "POST", "/login?zoe&8").await;
    told(&mut standing, "who it is", |told| told.level == 2).await;
    bench.set_rules("[[rule]]\nopen = [\"http\"]\nlevel = 2\n");
    assert_eq!(closed(&guest).await.0, CloseCode::NotEnrolled);
    bench.cut.notify_waiters();
    assert_eq!(ask(&zoe, "GET", "/private").await, "secret", "resumed: `not-enrolled` before");
    assert_eq!(closed(&zoe).await, (CloseCode::NotEnrolled, "standing-expired".to_owned()));
}

#[tokio::test]
async fn the_end_of_a_vouch_is_told_by_its_own_word_to_a_guest_and_to_a_device() {
    let bench = Bench::start(RULES).await;
    let guest = bench.come(&bench.stranger()).await.expect("a guest");
    let device = Client::new(Keyring::in_memory());
    let device = device.connect(&bench.invited()).await.expect("the invite is good");
    for (line, level) in [(guest, 0), (device, 1)] {
        let mut standing = line.standing();
        ask(&line, "POST", "/login?zoe&2").await;
        told(&mut standing, "who it is", |told| told.level == 2).await;
        let fallen = told(&mut standing, "that it is over", |told| told.level == level).await;
        assert_eq!((fallen.refused.as_str(), fallen.wants_evidence), ("standing-expired", false));
        assert_eq!(ask(&line, "GET", "/who").await, format!("none {level} id=1"), "the line goes on");
    }
}

#[tokio::test]
async fn a_guest_who_opens_an_invite_is_a_device_on_the_line_that_is_open_too() {
    let bench = Bench::start(RULES).await;
    let client = bench.stranger();
    let guest = bench.come(&client).await.expect("a guest");
    let mut standing = guest.standing();
    guest.request("echo", "a").await.expect_err("not for guests");
    let line = client.connect(&bench.invited()).await.expect("the invite is good");
    assert_eq!(line.request("echo", "b").await.expect("it is open"), b"b");
    told(&mut standing, "that it is let in", |told| told.level == 1).await;
    assert_eq!(guest.request("echo", "c").await.expect("it is open now"), b"c");
    assert_eq!(bench.devices().len(), 1);
    // From now on it needs nothing.
    assert_eq!(bench.come(&client).await.expect("it is known").standing().borrow().level, 1);
}

#[tokio::test]
async fn the_owner_sees_guests_and_ends_one() {
    let bench = Bench::start(RULES).await;
    let (first, second) = (bench.stranger(), bench.stranger());
    let first = bench.come(&first).await.expect("a guest");
    let [id] = bench.duologue.directory().connected()[..] else { panic!("one is here") };
    let lines = [first, bench.come(&second).await.expect("a guest")];
    let owner = bench.duologue.clone();
    let revoked = tokio::task::spawn_blocking(move || (owner.revoke(id), owner.revoke(id))).await.expect("no panic");
    assert_eq!(revoked, (Revocation::OfGuest, Revocation::Unknown));
    assert_eq!(closed(&lines[0]).await.0, CloseCode::DeviceRevoked);
    assert_eq!(ask(&lines[1], "GET", "/who").await, "none 0 none");
    assert_eq!(bench.devices().len(), 0, "nothing is kept of it");
}

/// The story of rule 14: each of a million keys has a share, a lane and a record of its own.
#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_guests_are_one_and_take_nothing_from_who_was_let_in() {
    let bench = Bench::start("[[rule]]\nopen = [\"echo\"]\nlevel = 0\n").await;
    let device = Client::new(Keyring::in_memory());
    let own = device.connect(&bench.invited()).await.expect("the invite is good");
    let mut coming = tokio::task::JoinSet::new();
    // A few at a time: three hundred handshakes without optimisation take longer than one may.
    let turns = Arc::new(tokio::sync::Semaphore::new(32));
    for _ in 0..300 {
        let (client, target, turns) = (bench.stranger(), bench.target(), Arc::clone(&turns));
        coming.spawn(async move {
            let _turn = turns.acquire_owned().await;
            client.connect(&target).await
        });
    }
    let (mut here, mut away) = (Vec::new(), 0);
    while let Some(came) = coming.join_next().await {
        match came.expect("no panic") {
            Ok(line) => here.push(line),
            Err(ConnectError::Line(LineError::Connection(ConnectionError::PeerClosed(close)))) => {
                assert_eq!(
                    (close.code, close.reason.as_str()),
                    (CloseCode::GoingAway, "too many guests are here: try again later")
                );
                away += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    println!("{} guests are here, {away} were turned away", here.len());
    assert!((1..=256).contains(&here.len()) && away >= 44, "{} of 300", here.len());
    // Who was let in: its line, one more of it, and its session after a loss of all connections.
    assert_eq!(own.request("echo", "a").await.expect("open"), b"a");
    let more = device.connect(&bench.target()).await.expect("it has its own place");
    let channel = own.channel("echo").expect("open");
    bench.cut.notify_waiters();
    channel.send("through the tunnel").await.expect("resumed");
    assert_eq!(channel.recv().await.expect("resumed"), Some(b"through the tunnel".to_vec()));
    assert_eq!(more.request("echo", "b").await.expect("resumed"), b"b");
    assert_eq!(bench.devices().len(), 1, "one record, of who was let in");
}
