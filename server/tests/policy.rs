//! The policy as callers meet it: what is opened, refused and reset, over real lines.
#![allow(missing_docs, reason = "tests are named for their scenario")]

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{Router, routing::any};
use duologue::{ChannelError, DeviceId, ResetCode};
use duologue_client::{Channel, Client, Keyring, Line, LineError, Target};
use duologue_server::{
    Call, Duologue, Group, LabelPattern, Level, Limits, Next, PathPattern, Policy, Rule, Rules, ServiceError, State,
    Subject, at_level, layered, serve,
    services::{self, http::Http},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

const NOT_ALLOWED: Result<Vec<u8>, LineError> = Err(LineError::Channel(ChannelError::Reset(ResetCode::NotAllowed)));

fn rule(labels: &[&str]) -> Rule {
    let open = labels.iter().map(|label| LabelPattern::new(label).expect("a pattern")).collect();
    Rule::new("the rule", open)
}

fn policy(rules: Vec<Rule>) -> Policy {
    Policy::loopback().with_rules(Rules::new(rules))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// A running app, a client that it knows, and the way between them, which can be cut.
struct Bench {
    duologue: Duologue,
    line: Line,
    device: DeviceId,
    way: Arc<Mutex<JoinSet<()>>>,
    is_cut: Arc<std::sync::atomic::AtomicBool>,
    _state: tempfile::TempDir,
}

impl Bench {
    async fn start(policy: Policy, services: impl FnOnce(Duologue) -> Duologue) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = State::open(directory.path()).expect("a new state");
        let invite = state.new_invite(Duration::from_secs(60)).expect("an invite");
        let duologue = services(Duologue::new(state, policy));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let server = listener.local_addr().expect("it is bound");
        let app: Router = duologue.router();
        tokio::spawn(serve(listener, None, app, Default::default()));

        let (way, is_cut) = (Arc::new(Mutex::new(JoinSet::new())), Arc::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (carries, cut) = (Arc::clone(&way), Arc::<std::sync::atomic::AtomicBool>::clone(&is_cut));
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if !cut.load(Ordering::SeqCst) {
                    let carry = async move {
                        let mut far = TcpStream::connect(server).await.expect("it listens");
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    };
                    carries.lock().expect("whole").spawn(carry);
                }
            }
        });
        let keyring = Keyring::in_memory();
        let device = DeviceId::of_spki(keyring.device().spki());
        let target = Target::parse(&invite.to_link(&address)).expect("a link");
        let line = Client::new(keyring).connect(&target).await.expect("the invite is good");
        Self { duologue, line, device, way, is_cut, _state: directory }
    }

    /// Cuts every connection, and lets no other through until it is mended.
    fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        self.way.lock().expect("whole").abort_all();
    }

    fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

/// Waits for the end of a channel: what it says, and how long that took.
async fn end(channel: &Channel) -> (Result<Option<Vec<u8>>, LineError>, Duration) {
    let start = Instant::now();
    let end = tokio::time::timeout(Duration::from_secs(10), channel.recv()).await.expect("an end within 10 s");
    (end, start.elapsed())
}

async fn until(what: &str, condition: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    start.elapsed()
}

/// A service whose calls can be counted, and looked at.
fn waiting() -> (Arc<AtomicUsize>, mpsc::UnboundedReceiver<Call>, impl Fn(Call) -> Waiting + Send + Sync + 'static) {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let (calls, called) = mpsc::unbounded_channel();
    let running = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&running);
    let service = move |call: Call| -> Waiting {
        count.fetch_add(1, Ordering::SeqCst);
        let counted = Counted(Arc::clone(&count));
        let calls = calls.clone();
        Box::pin(async move {
            let _counted = counted;
            calls.send(call)?;
            std::future::pending().await
        })
    };
    (running, called, service)
}

type Waiting = std::pin::Pin<Box<dyn Future<Output = Result<(), ServiceError>> + Send>>;

#[tokio::test]
async fn what_no_rule_opens_is_refused_whether_there_is_such_a_service_or_not() {
    let services = |duologue: Duologue| duologue.service("echo", services::echo).service("pay", services::echo);
    let bench = Bench::start(policy(vec![rule(&["echo"])]), services).await;
    assert_eq!(bench.line.request("echo", "a").await, Ok(b"a".to_vec()));
    let long = "e".repeat(64);
    for label in ["pay", "nothing", "ECHO", "Echo", "echo ", "echo\0", "\u{ff45}cho", "e\u{200d}cho", "ech", &long] {
        assert_eq!(bench.line.request(label, "a").await, NOT_ALLOWED, "{label:?}");
    }
    // A label that is open, and that nothing answers.
    bench.duologue.set_policy(policy(vec![rule(&["*"])]));
    let refused = bench.line.request("nothing", "a").await;
    assert_eq!(refused, Err(LineError::Channel(ChannelError::Reset(ResetCode::Refused))));
}

/// A service stands behind each spelling, so that nothing but the policy keeps it shut.
#[tokio::test]
async fn a_label_is_open_byte_for_byte_and_no_other_spelling_of_it() {
    let whole = "a".repeat(64);
    let opened = ["pay", "app/*", "caf\u{e9}", &whole];
    let tricks = [
        "Pay",
        "PAY",
        "pay\0",
        "pay ",
        " pay",
        "pay/",
        "pa",
        "p\u{430}y",
        "\u{ff50}ay",
        "pa\u{200d}y",
        "pay\u{301}",
        "\u{202e}yap",
        "APP/a",
        "app",
        "app\\a",
        "app\u{2215}a",
        "cafe\u{301}",
        "CAF\u{c9}",
        &whole[1..],
        "*",
    ];
    let good = ["pay", "app/a", "app/a\0b", "app/", "caf\u{e9}", &whole];
    let all: Vec<String> = good.iter().chain(&tricks).map(|label| (*label).to_owned()).collect();
    let services = move |duologue| all.iter().fold(duologue, |it: Duologue, label| it.service(label, services::echo));
    let bench = Bench::start(policy(vec![rule(&opened)]), services).await;
    for label in good {
        assert_eq!(bench.line.request(label, "a").await, Ok(b"a".to_vec()), "{label:?}");
    }
    for label in tricks {
        assert_eq!(bench.line.request(label, "a").await, NOT_ALLOWED, "{label:?}");
    }
    for none in ["", &"a".repeat(65)] {
        bench.line.request(none, "a").await.expect_err("no label");
    }
}

#[tokio::test]
async fn what_a_new_policy_closes_is_reset_within_a_second_and_what_it_opens_goes_on() {
    let (running, _called, service) = waiting();
    let services = |duologue: Duologue| duologue.service("pay", service).service("echo", services::echo);
    let bench = Bench::start(policy(vec![rule(&["pay", "echo"])]), services).await;
    let (pay, echo) = (bench.line.channel("pay").expect("open"), bench.line.channel("echo").expect("open"));
    pay.send("a").await.expect("there is room");
    until("both run", || running.load(Ordering::SeqCst) == 1).await;
    bench.duologue.set_policy(policy(vec![rule(&["echo"])]));
    let (how, after) = end(&pay).await;
    assert_eq!(how.map(Option::unwrap_or_default), NOT_ALLOWED);
    println!("reset {after:?} after another policy");
    assert!(after < Duration::from_secs(1), "{after:?}");
    assert_eq!(running.load(Ordering::SeqCst), 0, "its service has gone");
    echo.send("still").await.expect("it is open");
    assert_eq!(echo.recv().await, Ok(Some(b"still".to_vec())));
    assert_eq!(bench.line.request("pay", "a").await, NOT_ALLOWED);
}

#[tokio::test]
async fn a_parked_sessions_channels_are_judged_again_too() {
    let (running, _called, service) = waiting();
    let services = |duologue: Duologue| duologue.service("pay", service);
    let bench = Bench::start(policy(vec![rule(&["pay"])]), services).await;
    let pay = bench.line.channel("pay").expect("open");
    pay.send("a").await.expect("there is room");
    until("it runs", || running.load(Ordering::SeqCst) == 1).await;
    bench.cut();
    // Its session is parked, and its service runs on.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(running.load(Ordering::SeqCst), 1);
    bench.duologue.set_policy(policy(Vec::new()));
    let after = until("it is gone", || running.load(Ordering::SeqCst) == 0).await;
    println!("reset {after:?} after another policy, in a parked session");
    assert!(after < Duration::from_secs(1), "{after:?}");
    bench.mend();
    assert_eq!(end(&pay).await.0.map(Option::unwrap_or_default), NOT_ALLOWED, "its caller hears it when it is back");
    assert_eq!(bench.duologue.directory().connected(), [bench.device], "the line itself goes on");
}

fn ada() -> Subject {
    Subject::new("ada").expect("a subject")
}

#[tokio::test]
async fn standing_that_rises_opens_and_standing_that_ends_closes_within_a_second() {
    let (running, _called, service) = waiting();
    let login = |call: Call| async move {
        while let Some(message) = call.channel.recv().await? {
            match message.as_slice() {
                b"out" => call.sign_out(),
                name => {
                    let name = String::from_utf8_lossy(name);
                    let subject = Subject::new(name.trim_end_matches('!'))?;
                    // With an exclamation mark, for a moment only.
                    let secs = if name.ends_with('!') { 2 } else { 60 };
                    let vouched = call.vouch(subject, &[Group::new("staff")?], now() + secs);
                    call.channel.send(if vouched.is_ok() { "in" } else { "another" }).await?;
                    continue;
                }
            }
            call.channel.send("out").await?;
        }
        Ok(())
    };
    let staff = Rule { groups: vec![Group::new("staff").expect("a group")], level: Level::Account, ..rule(&["pay"]) };
    let services = |duologue: Duologue| duologue.service("login", login).service("pay", service);
    let bench = Bench::start(policy(vec![rule(&["login"]), staff]), services).await;
    let says = async |what: &str| bench.line.request("login", what).await.expect("it is open");

    assert_eq!(bench.line.request("pay", "a").await, NOT_ALLOWED, "a device alone is not enough");
    assert_eq!(says("ada").await, b"in");
    let pay = bench.line.channel("pay").expect("open");
    pay.send("a").await.expect("there is room");
    until("it runs", || running.load(Ordering::SeqCst) == 1).await;
    assert_eq!(says("ben").await, b"another", "a session has one subject");
    assert_eq!(running.load(Ordering::SeqCst), 1, "which nothing is taken from");
    assert_eq!(says("out").await, b"out");
    let (how, after) = end(&pay).await;
    println!("reset {after:?} after signing out");
    assert!(how.map(Option::unwrap_or_default) == NOT_ALLOWED && after < Duration::from_secs(1), "{after:?}");

    assert_eq!(says("ada!").await, b"in");
    let pay = bench.line.channel("pay").expect("open");
    pay.send("a").await.expect("there is room");
    until("it runs", || running.load(Ordering::SeqCst) == 1).await;
    let (how, _) = end(&pay).await;
    assert_eq!(how.map(Option::unwrap_or_default), NOT_ALLOWED, "its time has come");
    assert_eq!(bench.line.request("pay", "a").await, NOT_ALLOWED);
}

#[tokio::test]
async fn a_call_says_who_it_is_now_and_not_who_it_was() {
    let (_running, mut called, service) = waiting();
    let bench = Bench::start(policy(vec![rule(&["pay"])]), |duologue| duologue.service("pay", service)).await;
    let pay = bench.line.channel("pay").expect("open");
    pay.send("a").await.expect("there is room");
    let call = called.recv().await.expect("it was called");
    let before = call.identity();
    assert_eq!((before.device, before.subject, before.level), (bench.device, None, Level::Device));
    call.vouch(ada(), &[], now() + 60).expect("nobody's yet");
    let after = call.identity();
    assert_eq!((after.subject, after.level), (Some(ada()), Level::Account));
    call.sign_out();
    assert_eq!(call.identity().level, Level::Device);
}

#[tokio::test]
async fn a_service_may_ask_for_a_level_itself_and_a_layer_for_anything() {
    async fn polite(call: Call, next: Next) -> Result<(), ServiceError> {
        let first = call.channel.recv().await?;
        if first.as_deref() == Some(b"please") { next.serve(call).await } else { Err("impolite".into()) }
    }
    let login = |call: Call| async move { Ok(call.vouch(ada(), &[], now() + 60)?) };
    let services = |duologue: Duologue| {
        let polite = layered(services::echo, polite);
        let pay = at_level(Level::Account, layered(services::echo, |call, next: Next| next.serve(call)));
        duologue.service("echo", polite).service("pay", pay).service("login", login)
    };
    let bench = Bench::start(Policy::loopback(), services).await;
    let failed = Err(LineError::Channel(ChannelError::Reset(ResetCode::Failed)));
    assert_eq!(bench.line.request("echo", "now").await, failed);
    let echo = bench.line.channel("echo").expect("open");
    echo.send("please").await.expect("there is room");
    echo.send("a").await.expect("there is room");
    assert_eq!(echo.recv().await, Ok(Some(b"a".to_vec())));
    assert_eq!(bench.line.request("pay", "a").await, NOT_ALLOWED, "every rule opens it, and it wants more");
    assert_eq!(bench.line.request("login", "a").await, Err(LineError::NoAnswer));
    assert_eq!(bench.line.request("pay", "a").await, Ok(b"a".to_vec()));
}

/// What a backend answers to a request over the line: its own words, or the server's word for why not.
async fn fetch(line: &Line, method: &str, target: &str) -> String {
    let mut stream = line.stream("http").expect("the line is open");
    let head = json!({ "method": method, "target": target, "headers": [], "length": 0 });
    stream.write_all(format!("{head}\n").as_bytes()).await.expect("there is room");
    let _ = stream.shutdown().await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an end");
    let (head, body) = answer.split_once('\n').expect("a line");
    let head: Value = serde_json::from_str(head).expect("JSON");
    head["error"].as_str().map_or(body.to_owned(), str::to_owned)
}

#[tokio::test]
async fn of_http_only_what_a_rule_opens_reaches_the_backend_however_it_is_spelt() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let backend = Router::new().fallback(any(move |request: axum::extract::Request| {
        let group = request.headers().get("duologue-groups").map(|value| format!("{value:?}"));
        log.lock().expect("whole").push((format!("{} {}", request.method(), request.uri()), group));
        async { "ok" }
    }));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let http = Http::new(&format!("http://{}", listener.local_addr().expect("bound"))).expect("an address");
    tokio::spawn(async move { axum::serve(listener, backend).await });
    let path = |pattern: &str| PathPattern::new(pattern).expect("a pattern");
    let devices = Rule { except: vec![path("/admin/*")], methods: vec!["GET".to_owned()], ..rule(&["http"]) };
    let api = Rule { paths: vec![path("/api/*")], methods: vec!["POST".to_owned()], ..rule(&["http"]) };
    let admin = Rule { paths: vec![path("/admin/*")], level: Level::Account, ..rule(&["http"]) };
    let login =
        |call: Call| async move { Ok(call.vouch(ada(), &[Group::new("a,b")?, Group::new("c d")?], now() + 60)?) };
    let services = |duologue: Duologue| duologue.service("http", http).service("login", login);
    let bench = Bench::start(policy(vec![rule(&["login"]), devices, api, admin]), services).await;
    for (method, target) in [("GET", "/"), ("GET", "/a?b=/admin"), ("GET", "/administrators"), ("POST", "/api/a")] {
        assert_eq!(fetch(&bench.line, method, target).await, "ok", "{method} {target}");
    }
    let allowed = seen.lock().expect("whole").len();
    assert_eq!(allowed, 4);
    for (method, target) in [
        ("GET", "/admin"),
        ("GET", "/admin/a"),
        ("GET", "/ADMIN/a"),
        ("GET", "//admin/a"),
        ("GET", "/%61dmin/a"),
        ("GET", "/%2561dmin/a"),
        ("GET", "/admin;a=b/c"),
        ("GET", "/admin%2Fa"),
        ("GET", "/x%00"),
        ("GET", "/%EF%BD%81dmin"),
        ("HEAD", "/"),
        ("get", "/"),
        ("POST", "/"),
        ("POST", "/API/a"),
        ("POST", "/apis"),
        ("POST", "//api/a"),
        ("POST", "/api/%252e%252e/a"),
        ("DELETE", "/api/a"),
    ] {
        assert_eq!(fetch(&bench.line, method, target).await, "not-allowed", "{method} {target}");
    }
    for target in ["/api/../admin", "/api/%2e%2e/admin", "/api/..;/admin"] {
        assert_eq!(fetch(&bench.line, "POST", target).await, "bad-request", "{target}");
    }
    assert_eq!(seen.lock().expect("whole").len(), allowed, "the backend has seen none of them");
    assert_eq!(bench.line.request("login", "a").await, Err(LineError::NoAnswer));
    assert_eq!(fetch(&bench.line, "DELETE", "/admin/a").await, "ok", "who may, may");
    let told = seen.lock().expect("whole").last().cloned();
    assert_eq!(told, Some(("DELETE /admin/a".to_owned(), Some("\"a%2Cb,c%20d\"".to_owned()))));
}

#[tokio::test]
async fn a_rules_limits_hold_for_all_of_a_callers_lines_together() {
    let some = |number: u32| NonZeroU32::new(number);
    let limited = |label: &str, limits| Rule { limits, name: label.into(), ..rule(&[label]) };
    let rules = vec![
        limited("few", Limits { channels: some(2), ..Limits::default() }),
        limited("slow", Limits { messages: some(20), ..Limits::default() }),
        limited("thin", Limits { bytes: some(100_000), ..Limits::default() }),
        limited("short", Limits { size: some(1_000), ..Limits::default() }),
    ];
    let services = |duologue: Duologue| {
        ["few", "slow", "thin", "short"]
            .into_iter()
            .fold(duologue, |duologue, label| duologue.service(label, services::echo))
    };
    let bench = Bench::start(policy(rules), services).await;
    let open = async |label: &str| {
        let channel = bench.line.channel(label).expect("open");
        channel.send("a").await.expect("there is room");
        channel.recv().await.map(|_| channel)
    };
    let (first, _second) = (open("few").await.expect("one"), open("few").await.expect("two"));
    let busy = Err(LineError::Channel(ChannelError::Reset(ResetCode::Busy)));
    assert_eq!(open("few").await.map(drop), busy, "three");
    first.reset(ResetCode::Cancelled);
    drop(first);
    let start = Instant::now();
    while open("few").await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "its place is given back");
    }

    let start = Instant::now();
    let sends = async |label: &'static str, count: usize, len: usize| {
        let channel = bench.line.channel(label).expect("open");
        for _ in 0..count {
            channel.send(vec![7; len]).await.expect("there is room");
        }
        for _ in 0..count {
            assert_eq!(channel.recv().await.map(|message| message.map(|it| it.len())), Ok(Some(len)));
        }
    };
    // 20 at once, and 20 more on another channel at 20 a second.
    tokio::join!(sends("slow", 20, 1), sends("slow", 20, 1));
    assert!(start.elapsed() > Duration::from_millis(950), "{:?}", start.elapsed());
    let start = Instant::now();
    sends("thin", 20, 10_000).await;
    assert!(start.elapsed() > Duration::from_millis(850), "{:?}", start.elapsed());
    let mut stream = bench.line.stream("thin").expect("open");
    let start = Instant::now();
    stream.write_all(&[7; 200_000]).await.expect("there is room");
    stream.shutdown().await.expect("open");
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await.expect("whole");
    assert!(back.len() == 200_000 && start.elapsed() > Duration::from_millis(850), "{:?}", start.elapsed());

    assert_eq!(bench.line.request("short", vec![7; 1_000]).await.map(|it| it.len()), Ok(1_000));
    assert_eq!(bench.line.request("short", vec![7; 1_001]).await, NOT_ALLOWED);
    let mut stream = bench.line.stream("short").expect("open");
    for _ in 0..11 {
        let _ = stream.write_all(&[7; 100]).await;
    }
    let error = stream.read_to_end(&mut Vec::new()).await.expect_err("1,100 bytes");
    assert!(error.to_string().contains("does not allow"), "{error}");
}
