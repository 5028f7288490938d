//! An app's own login, over the line, before the real service: who is vouched for, and who is not.
#![allow(missing_docs, reason = "tests are named for their scenario")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State as Extracted,
    http::{HeaderMap, StatusCode, Uri},
    response::{AppendHeaders, IntoResponse, Response},
    routing::{any, get, post},
};
use duologue::CloseCode;
use duologue_client::{Client, Keyring, Line, Target};
use duologue_server::{
    ConfigFile, Duologue, LabelPattern, Level, PathPattern, Policy, Rule, Rules, State, Whom, serve,
    services::http::Http,
};
use hyper::body::Body as _;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// What the backend has been asked with, so that it can say it again.
type Bits = Arc<Mutex<Vec<String>>>;

fn header(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map_or_else(|| "none".to_owned(), |value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn with(vouch: String) -> Response {
    (AppendHeaders([("duologue-vouch", vouch), ("set-cookie", "id=1; Path=/; HttpOnly".to_owned())]), "done")
        .into_response()
}

/// `?name` or `?name&seconds`.
async fn login(Extracted(bits): Extracted<Bits>, uri: Uri, headers: HeaderMap) -> Response {
    let own = header(&headers, "duologue-request");
    bits.lock().expect("whole").push(own.clone());
    let (name, seconds) = uri.query().map_or(("", None), |query| {
        query.split_once('&').map_or((query, None), |(name, seconds)| (name, seconds.parse::<u64>().ok()))
    });
    let until = seconds.map_or_else(String::new, |seconds| format!("; until={}", now() + seconds));
    with(format!("{own}; subject={name}; groups=staff{until}"))
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// A login that is answered only when the test says so.
async fn slow(Extracted(bits): Extracted<Bits>, headers: HeaderMap) -> Response {
    let own = header(&headers, "duologue-request");
    bits.lock().expect("whole").push("slow".to_owned());
    while bits.lock().expect("whole").last().is_none_or(|last| last != "go") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    with(format!("{own}; subject=zoe"))
}

/// A login that takes its caller's word for who he is, from a trailer; and says what came.
async fn body(headers: HeaderMap, body: Body) -> Response {
    let (own, mut body, mut data) = (header(&headers, "duologue-request"), Box::pin(body), Vec::new());
    let mut word = "none".to_owned();
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        match frame.into_data() {
            Ok(bytes) => data.extend_from_slice(&bytes),
            Err(frame) => word = frame.trailers_ref().map_or(word, |trailers| header(trailers, "x-say")),
        }
    }
    let said = format!("{}, trailer {word}", String::from_utf8_lossy(&data));
    let vouch = if word == "none" { own } else { format!("{own}; subject={word}") };
    (AppendHeaders([("duologue-vouch", vouch)]), said).into_response()
}

/// Cookies for other sites, and as if another site had set them.
async fn foreign_cookies() -> Response {
    let set = |cookie: &'static str| ("set-cookie", cookie);
    let foreign = [
        "a=1; Domain=example.org; Path=/",
        "b=2; Domain=.com; Path=/",
        "__Host-c=3; Domain=evil.example; Path=/; Secure",
    ];
    (AppendHeaders(foreign.map(set)), "set").into_response()
}

/// A backend: people log in at `/login`; below `/elsewhere` others write what they like.
fn backend() -> Router {
    backend_with(Bits::default())
}

fn backend_with(bits: Bits) -> Router {
    // What a cache would say that has kept the answer to the first login.
    let again = |Extracted(bits): Extracted<Bits>| async move {
        with(format!("{}; subject=zoe", bits.lock().expect("whole").first().expect("somebody logged in before")))
    };
    let echo = |headers: HeaderMap| async move { with(header(&headers, "x-say")) };
    let logout =
        |headers: HeaderMap| async move { with(format!("{}; signed-out", header(&headers, "duologue-request"))) };
    let who = |headers: HeaderMap| async move {
        ["duologue-subject", "duologue-groups", "duologue-level", "cookie"].map(|name| header(&headers, name)).join(" ")
    };
    Router::new()
        .route("/login", any(login))
        .route("/session/again", post(again))
        .route("/session/echo", post(echo))
        .route("/session", post(logout))
        .route("/session/slow", post(slow))
        .route("/session/body", post(body))
        .route("/cookies", get(foreign_cookies))
        .route("/elsewhere/login", post(login))
        .route("/who", any(who))
        .route("/private", any(|| async { "secret" }))
        .with_state(bits)
}

async fn listening(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// `/private` is for accounts, everything else for every device that was let in.
fn policy() -> Policy {
    let http = || vec![LabelPattern::new("http").expect("a label")];
    let paths = |path: &str| vec![PathPattern::new(path).expect("a path")];
    let all = Rule { except: paths("/private"), ..Rule::new("all", http()) };
    let private = Rule { paths: paths("/private"), level: Level::Account, ..Rule::new("private", http()) };
    Policy::loopback().with_rules(Rules::new(vec![all, private]))
}

async fn start() -> (Client, Target, tempfile::TempDir) {
    let (_duologue, client, target, directory) = started().await;
    (client, target, directory)
}

async fn started() -> (Duologue, Client, Target, tempfile::TempDir) {
    let http = Http::new(&listening(backend()).await).expect("an address");
    started_with(http.vouching_at("/login").and_then(|http| http.vouching_at("/session/*")).expect("paths")).await
}

async fn started_with(http: Http) -> (Duologue, Client, Target, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = State::open(directory.path()).expect("a new state");
    let invite = state.new_invite(Duration::from_secs(60)).expect("an invite");
    let duologue = Duologue::new(state, policy()).service("http", http);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(serve(listener, None, duologue.router(), Default::default()));
    let target = Target::parse(&invite.to_link(&address)).expect("a link");
    (duologue, Client::new(Keyring::in_memory()), target, directory)
}

/// The status and body of an answer; or the word of a refusal.
async fn ask(line: &Line, method: &str, target: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let head = serde_json::json!({ "method": method, "target": target, "headers": headers, "length": 0 });
    exchanged(line, &format!("{head}\n")).await
}

/// The same of a request as it is written.
async fn exchanged(line: &Line, request: &str) -> (u16, String) {
    let mut stream = line.stream("http").expect("the line is open");
    stream.write_all(request.as_bytes()).await.expect("there is room");
    let _ = stream.shutdown().await;
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await;
    read.expect("an end within 10 s").expect("whole");
    let (head, body) = answer.split_once('\n').expect("a line");
    let head: Value = serde_json::from_str(head).expect("one line");
    let headers = head["headers"].to_string();
    assert!(!headers.contains("duologue") && !headers.contains("set-cookie"), "{headers}");
    match head["error"].as_str() {
        Some(word) => (0, word.to_owned()),
        None => (u16::try_from(head["status"].as_u64().expect("a status")).expect("of HTTP"), body.to_owned()),
    }
}

fn ok(body: &str) -> (u16, String) {
    (StatusCode::OK.as_u16(), body.to_owned())
}

fn refused() -> (u16, String) {
    (0, "not-allowed".to_owned())
}

#[tokio::test]
async fn who_logs_in_is_let_in_from_the_answer_on_and_until_the_logout() {
    let (client, target, _directory) = start().await;
    let line = client.connect(&target).await.expect("the invite is good");
    assert_eq!(ask(&line, "GET", "/private", &[]).await, refused());
    assert_eq!(ask(&line, "GET", "/who", &[]).await, ok("none none 1 none"));
    assert_eq!(ask(&line, "POST", "/login?zo%C3%A9", &[]).await, ok("done"));
    assert_eq!(ask(&line, "GET", "/private", &[]).await, ok("secret"));
    assert_eq!(ask(&line, "GET", "/who", &[]).await, ok("zo%C3%A9 staff 2 id=1"));
    // Another session of the same device has not logged in.
    let other = client.connect(&target).await.expect("it was let in");
    assert_eq!(ask(&other, "GET", "/private", &[]).await, refused());

    assert_eq!(ask(&line, "POST", "/session", &[]).await, ok("done"));
    assert_eq!(ask(&line, "GET", "/private", &[]).await, refused());
    assert_eq!(ask(&line, "GET", "/who", &[]).await, ok("none none 1 none"), "and the cookie is gone");
}

#[tokio::test]
async fn nobody_else_takes_over_a_session_that_was_somebodys() {
    let (client, target, _directory) = start().await;
    let line = client.connect(&target).await.expect("the invite is good");
    assert_eq!(ask(&line, "POST", "/login?zoe&1", &[]).await, ok("done"));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(ask(&line, "GET", "/private", &[]).await, refused(), "its time is over");
    assert_eq!(ask(&line, "POST", "/login?zoe", &[]).await, ok("done"));
    assert_eq!(ask(&line, "GET", "/private", &[]).await, ok("secret"));
    let mut stream = line.stream("http").expect("the line is open");
    let head = "{\"method\":\"POST\",\"target\":\"/login?mallory\",\"headers\":[],\"length\":0}\n";
    stream.write_all(head.as_bytes()).await.expect("there is room");
    let _ = stream.shutdown().await;
    let end = tokio::time::timeout(Duration::from_secs(10), line.closed()).await.expect("an end within 10 s");
    assert_eq!(end.word(), CloseCode::SubjectChanged.word());
}

#[tokio::test]
async fn nobody_is_vouched_for_whom_the_owner_has_revoked() {
    let (duologue, client, target, _directory) = started().await;
    let line = client.connect(&target).await.expect("the invite is good");
    let owner = duologue.clone();
    let revoke = move || (owner.revoke(Whom::subject("zoe")), owner.revoke(Whom::group("staff")));
    tokio::task::spawn_blocking(revoke).await.expect("it does not panic");
    for name in ["zoe", "ada"] {
        assert_eq!(ask(&line, "POST", &format!("/login?{name}"), &[]).await, ok("done"));
        assert_eq!(ask(&line, "GET", "/private", &[]).await, refused(), "{name}: by the subject, or by the group");
    }
}

#[tokio::test]
async fn an_answer_that_was_not_made_for_this_login_vouches_for_nobody() {
    let (client, target, _directory) = start().await;
    let zoe = client.connect(&target).await.expect("the invite is good");
    let bits = "AAAAAAAAAAAAAAAAAAAAAA; subject=zoe";
    ask(&zoe, "POST", "/login?zoe", &[]).await;
    let mallory = client.connect(&target).await.expect("it was let in");
    for (method, target, headers) in [
        // A cache has kept the answer to her login, or he has read it somewhere.
        ("POST", "/session/again", [("x-a", "1")]),
        // The backend says what its caller wants it to say.
        ("POST", "/session/echo", [("x-say", bits)]),
        ("POST", "/session/echo", [("x-say", "none; subject=zoe")]),
        // It is the login, but by a method with which nobody logs in, or where the owner does not know of one.
        ("GET", "/login?zoe", [("x-a", "1")]),
        ("POST", "/elsewhere/login?zoe", [("x-a", "1")]),
        ("POST", "/login?z%E2%80%AEoe", [("x-a", "1")]),
        ("POST", "/login?", [("x-a", "1")]),
    ] {
        ask(&mallory, method, target, &headers).await;
        assert_eq!(ask(&mallory, "GET", "/private", &[]).await, refused(), "{method} {target}");
    }
    // And a client says none of it itself.
    for name in ["duologue-vouch", "Duologue_Request", "duologue-subject"] {
        let answer = ask(&mallory, "POST", "/login?zoe", &[(name, bits)]).await;
        assert_eq!(answer, (0, "bad-request".to_owned()), "{name}");
    }
    assert_eq!(ask(&zoe, "GET", "/private", &[]).await, ok("secret"));
    // Not in her own session either: who has signed out is out, whatever is still said of an old login.
    assert_eq!(ask(&zoe, "POST", "/session", &[]).await, ok("done"));
    assert_eq!(ask(&zoe, "POST", "/session/again", &[]).await, ok("done"));
    assert_eq!(ask(&zoe, "GET", "/private", &[]).await, refused());
}

#[tokio::test]
async fn what_a_client_says_of_itself_vouches_for_nobody_wherever_it_stands() {
    let (client, target, _directory) = start().await;
    let line = client.connect(&target).await.expect("the invite is good");
    let bits = "AAAAAAAAAAAAAAAAAAAAAA; subject=zoe";
    for name in
        ["duologue-vouch", "Duologue-Vouch", "DUOLOGUE_VOUCH", "duologue.vouch", "duologue_request", "duologue-groups"]
    {
        let answer = ask(&line, "POST", "/login?zoe", &[(name, bits)]).await;
        assert_eq!(answer, (0, "bad-request".to_owned()), "{name}");
    }
    // Behind its body: what looks like the end of chunks, and a trailer, is the body's.
    let chunks = "2\r\nok\r\n0\r\nx-say: zoe\r\n\r\n";
    let headers = "[[\"transfer-encoding\",\"chunked\"],[\"trailer\",\"x-say\"],[\"te\",\"trailers\"]]";
    for length in [String::new(), format!(",\"length\":{}", chunks.len())] {
        let head = format!("{{\"method\":\"POST\",\"target\":\"/session/body\",\"headers\":{headers}{length}}}\n");
        let answer = exchanged(&line, &format!("{head}{chunks}")).await;
        assert_eq!(answer, ok(&format!("{chunks}, trailer none")));
        assert_eq!(ask(&line, "GET", "/private", &[]).await, refused());
    }
}

/// Who has pressed the button twice, or has left: what was still under way when somebody signed out signs nobody in.
#[tokio::test]
async fn a_login_that_is_answered_after_a_sign_out_vouches_for_nobody() {
    for by_backend in [true, false] {
        let bits = Bits::default();
        let http = Http::new(&listening(backend_with(Arc::clone(&bits))).await).expect("an address");
        let http = http.vouching_at("/session/*").expect("a path");
        let (_duologue, client, target, _directory) = started_with(http).await;
        let line = client.connect(&target).await.expect("the invite is good");
        let (asked, other) = (line.clone(), line.clone());
        let pending = tokio::spawn(async move { ask(&asked, "POST", "/session/slow", &[]).await });
        until("the backend to be asked", || bits.lock().expect("whole").last().is_some_and(|last| last == "slow"))
            .await;
        if by_backend {
            assert_eq!(ask(&other, "POST", "/session", &[]).await, ok("done"));
        } else {
            tokio::time::timeout(Duration::from_secs(10), other.sign_out()).await.expect("10 s").expect("it is open");
        }
        bits.lock().expect("whole").push("go".to_owned());
        assert_eq!(pending.await.expect("it ends"), ok("done"));
        assert_eq!(ask(&line, "GET", "/private", &[]).await, refused(), "by the backend: {by_backend}");
        assert_eq!(ask(&line, "GET", "/who", &[]).await, ok("none none 1 none"), "nor has it a cookie");
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

/// The line leads to one backend: a cookie's `Domain` neither widens where it goes nor lets another site's in.
#[tokio::test]
async fn a_cookie_for_another_site_stays_with_the_one_backend_or_is_none() {
    let (client, target, _directory) = start().await;
    let line = client.connect(&target).await.expect("the invite is good");
    assert_eq!(ask(&line, "GET", "/cookies", &[]).await, ok("set"));
    // `__Host-` promises that there is no domain.
    assert_eq!(ask(&line, "GET", "/who", &[]).await, ok("none none 1 a=1; b=2"));
    for name in ["cookie", "Cookie", "COOKIE"] {
        assert_eq!(ask(&line, "GET", "/who", &[(name, "id=9")]).await, (0, "bad-request".to_owned()), "{name}");
    }
    let other = client.connect(&target).await.expect("it was let in");
    assert_eq!(ask(&other, "GET", "/who", &[]).await, ok("none none 1 none"), "each session has its own");
}

/// The configuration says where people log in, for how long and whom the backend may name, and is read again.
#[tokio::test]
async fn the_file_says_where_the_backends_word_counts_and_what_it_may_say() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("door.toml");
    let rules = "[[rule]]\nopen = [\"http\"]\nexcept = [\"/private\"]\n[[rule]]\nopen = [\"http\"]\nlevel = 2\n";
    let write = |vouch: &str| std::fs::write(&path, format!("{vouch}\n{rules}")).expect("there is room");
    write("[door.vouch]\npaths = [\"/login\"]\nlongest = \"1s\"\nsubjects = [\"zoe\", \"ada\"]\ngroups = [\"staff\"]");
    let (file, config) = ConfigFile::open(&path).unwrap_or_else(|errors| panic!("{errors}"));
    let http = Http::new(&listening(backend()).await).expect("an address").vouching_by(file.vouches());
    let (duologue, client, target, _directory) = started_with(http).await;
    duologue.set_rules(config.rules);

    let line = client.connect(&target).await.expect("the invite is good");
    assert_eq!(ask(&line, "POST", "/login?mallory", &[]).await, ok("done"));
    assert_eq!(ask(&line, "GET", "/private", &[]).await, refused(), "whom it may not name");
    assert_eq!(ask(&line, "POST", "/login?zoe&9000", &[]).await, ok("done"));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(ask(&line, "GET", "/private", &[]).await, refused(), "no longer than the file says");

    // What is wrong changes nothing; what is right counts from the next answer on.
    write("[door.vouch]\npath = [\"/elsewhere/login\"]");
    let error = file.reload(&duologue).expect_err("no such key").to_string();
    assert!(error.contains("did you mean `paths`?"), "{error}");
    let other = client.connect(&target).await.expect("it was let in");
    assert_eq!(ask(&other, "POST", "/elsewhere/login?ada", &[]).await, ok("done"));
    assert_eq!(ask(&other, "GET", "/private", &[]).await, refused(), "as before");
    write("[door.vouch]\npaths = [\"/login\"]");
    file.reload(&duologue).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(ask(&line, "POST", "/login?zoe", &[]).await, ok("done"));
    assert_eq!(ask(&line, "GET", "/private", &[]).await, ok("secret"));
    write("[door.vouch]\npaths = [\"/elsewhere/login\"]");
    file.reload(&duologue).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(ask(&line, "GET", "/private", &[]).await, ok("secret"), "who has logged in before stays so");
    let other = client.connect(&target).await.expect("it was let in");
    assert_eq!(ask(&other, "POST", "/login?ada", &[]).await, ok("done"));
    assert_eq!(ask(&other, "GET", "/private", &[]).await, refused(), "nobody logs in there any more");
    assert_eq!(ask(&other, "POST", "/elsewhere/login?ada", &[]).await, ok("done"));
    assert_eq!(ask(&other, "GET", "/private", &[]).await, ok("secret"));
    write("");
    file.reload(&duologue).unwrap_or_else(|errors| panic!("{errors}"));
    let third = client.connect(&target).await.expect("it was let in");
    assert_eq!(ask(&third, "POST", "/elsewhere/login?ada", &[]).await, ok("done"));
    assert_eq!(ask(&third, "GET", "/private", &[]).await, refused(), "without the table nobody is vouched for");
}

/// What a backend answers, given a line of its head that vouches for zoe.
type Said = fn(&str) -> String;

/// A backend that answers each request with a head and a body of its own making, which name the request's bits and zoe.
async fn raw(answer: Said) -> Http {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && matches!(socket.read(&mut byte).await, Ok(1)) {
                    head.extend_from_slice(&byte);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let bits = head.split("duologue-request: ").nth(1).and_then(|rest| rest.split("\r\n").next());
                let said = answer(&format!("duologue-vouch: {}; subject=zoe\r\n", bits.unwrap_or_default()));
                let _ = socket.write_all(said.as_bytes()).await;
            });
        }
    });
    Http::new(&address).map(|http| http.vouching_at("/login").expect("a path")).expect("an address")
}

#[tokio::test]
async fn a_word_before_or_behind_the_answers_head_vouches_for_nobody() {
    const END: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n";
    let early = |word: &str| format!("HTTP/1.1 103 Early Hints\r\n{word}\r\n{END}\r\ndone");
    let several = |word: &str| {
        format!(
            "HTTP/1.1 100 Continue\r\n{word}\r\nHTTP/1.1 102 Processing\r\n{word}\r\nHTTP/1.1 199 Own\r\n{word}\r\n{END}\r\ndone"
        )
    };
    let trailer = |word: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\ntrailer: duologue-vouch\r\n\r\n\
             4\r\ndone\r\n0\r\n{word}\r\n"
        )
    };
    let head = |word: &str| format!("{END}{word}\r\ndone");
    let answers: [(&str, Said, bool); 4] =
        [("103", early, false), ("100, 102, 199", several, false), ("trailer", trailer, false), ("head", head, true)];
    for (what, answer, counts) in answers {
        let (_duologue, client, target, _directory) = started_with(raw(answer).await).await;
        let line = client.connect(&target).await.expect("the invite is good");
        assert_eq!(ask(&line, "GET", "/private", &[]).await, refused(), "{what}");
        assert_eq!(ask(&line, "POST", "/login", &[]).await, ok("done"), "{what}");
        let seen = ask(&line, "GET", "/private", &[]).await;
        assert_eq!(seen == ok("done"), counts, "{what}: {seen:?}");
    }
}

/// What cannot be passed on is no answer: its caller hears of a failure, and must not find himself logged in.
#[tokio::test]
async fn what_is_no_answer_vouches_for_nobody_and_sets_no_cookie() {
    let switched = |word: &str| {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: a\r\nset-cookie: id=1\r\n{word}\r\n"
        )
    };
    let too_high = |word: &str| format!("HTTP/1.1 600 Own\r\ncontent-length: 0\r\nset-cookie: id=1\r\n{word}\r\n");
    let too_long = |word: &str| {
        let long: String = (0..9).map(|number| format!("x-{number}: {}\r\n", "y".repeat(8_000))).collect();
        format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nset-cookie: id=1\r\n{word}{long}\r\n")
    };
    let answers: [(&str, Said); 3] = [("101", switched), ("600", too_high), ("a head of 72 kB", too_long)];
    for (what, answer) in answers {
        let (_duologue, client, target, _directory) = started_with(raw(answer).await).await;
        let line = client.connect(&target).await.expect("the invite is good");
        assert_eq!(ask(&line, "POST", "/login", &[]).await, (0, "bad-response".to_owned()), "{what}");
        assert_eq!(ask(&line, "GET", "/private", &[]).await, refused(), "{what}");
    }
}
