//! An app's own login, over the line, before the real service: who is vouched for, and who is not.
#![allow(missing_docs, reason = "tests are named for their scenario")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::State as Extracted,
    http::{HeaderMap, StatusCode, Uri},
    response::{AppendHeaders, IntoResponse, Response},
    routing::{any, post},
};
use duologue::CloseCode;
use duologue_client::{Client, Keyring, Line, Target};
use duologue_server::{
    Duologue, LabelPattern, Level, PathPattern, Policy, Rule, Rules, State, Whom, serve, services::http::Http,
};
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

/// A backend: people log in at `/login`; below `/elsewhere` others write what they like.
fn backend() -> Router {
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
        .route("/elsewhere/login", post(login))
        .route("/who", any(who))
        .route("/private", any(|| async { "secret" }))
        .with_state(Bits::default())
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
    let http = http.vouching_at("/login").and_then(|http| http.vouching_at("/session/*")).expect("paths");
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
    let mut stream = line.stream("http").expect("the line is open");
    stream.write_all(format!("{head}\n").as_bytes()).await.expect("there is room");
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
}
