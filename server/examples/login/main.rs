//! The backend of `examples/login` in axum: an app with a login as it always was, a session by cookie, notes that each person has for
//! themselves. `cargo run -p duologue-server --example login` has it at `127.0.0.1:3000`, or at `PORT`.
//!
//! ```text
//! login  ─► password or tab's key ─► a session, by cookie ─► `vouch`: who has asked this ─► the line's server
//! me, notes ◄─ the session                                   logout ─► `vouch`: nobody
//! ```
//!
//! What it tells the line's server stands in `vouch`, in an answer's header; it needs nothing of this library. Attempts to guess a
//! password are not counted here, and everything is forgotten when it stops.

mod people;
mod sessions;

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{AppendHeaders, IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use sessions::{LASTS_SECS, Sessions, cookie, no_cookie};
use tokio::net::TcpListener;

const NOTE_CHARS_MAX: usize = 1_000;
const NOTES_MAX: usize = 100;

#[derive(Default)]
struct App {
    sessions: Sessions,
    notes: Mutex<HashMap<&'static str, Vec<String>>>,
}

/// What is refused, by its word.
struct Refused(StatusCode, &'static str);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        said(self.0, &json!({ "error": self.1 }))
    }
}

fn said(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// The line's server says it of each request, and lets nobody else say it.
fn heard<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Says to the line's server who has asked this, in its own one-time value: neither a cache nor a header that somebody else has
/// written can say it in another's place.
fn vouch(headers: &HeaderMap, word: &str) -> [(HeaderName, HeaderValue); 1] {
    let value = format!("{}; {word}", heard(headers, "duologue-request"));
    [(HeaderName::from_static("duologue-vouch"), HeaderValue::try_from(value).expect("names here are ASCII"))]
}

async fn over_the_line(request: Request, next: Next) -> Response {
    if heard(request.headers(), "duologue-request").is_empty() {
        return Refused(StatusCode::FORBIDDEN, "not-over-the-line").into_response();
    }
    ([(header::CACHE_CONTROL, "no-store")], next.run(request).await).into_response()
}

async fn login(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Result<Response, Refused> {
    let asked: Value = serde_json::from_slice(&body).map_err(|_| Refused(StatusCode::BAD_REQUEST, "bad-request"))?;
    let (text, device) = (|name: &str| asked[name].as_str(), heard(&headers, "duologue-device"));
    let who = match (text("tab"), text("name"), text("password")) {
        (Some(tab), ..) => app.sessions.owner_of(tab, device).ok_or("tab-unknown"),
        (None, Some(name), Some(password)) => people::check(name, password).await.ok_or("wrong-password"),
        _ => Err("wrong-password"),
    };
    let who = who.map_err(|word| Refused(StatusCode::UNAUTHORIZED, word))?;
    let tab = text("tab").map_or_else(|| app.sessions.new_tab(who, device), str::to_owned);
    // Another id than before the login, which nobody else can have given this browser.
    app.sessions.end(heard(&headers, "cookie"));
    let set = AppendHeaders([(header::SET_COOKIE, cookie(&app.sessions.begin(who)))]);
    let vouch = AppendHeaders(vouch(&headers, &format!("subject={who}; until={}", sessions::now() + LASTS_SECS)));
    Ok((set, vouch, said(StatusCode::OK, &json!({ "name": people::name_of(who), "tab": tab }))).into_response())
}

async fn logout(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    app.sessions.forget_tabs(heard(&headers, "duologue-device"));
    app.sessions.end(heard(&headers, "cookie"));
    let set = AppendHeaders([(header::SET_COOKIE, no_cookie())]);
    (set, AppendHeaders(vouch(&headers, "signed-out")), said(StatusCode::OK, &json!({}))).into_response()
}

/// Who somebody is to this app, by its cookie, and to the line, by what its server has heard.
async fn me(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let who = app.sessions.of(heard(&headers, "cookie"));
    let subject = Some(heard(&headers, "duologue-subject")).filter(|subject| !subject.is_empty());
    said(StatusCode::OK, &json!({ "name": who.and_then(people::name_of), "subject": subject }))
}

fn signed_in(app: &App, headers: &HeaderMap) -> Result<&'static str, Refused> {
    app.sessions.of(heard(headers, "cookie")).ok_or(Refused(StatusCode::UNAUTHORIZED, "not-signed-in"))
}

async fn notes(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Refused> {
    let who = signed_in(&app, &headers)?;
    let notes = app.notes.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(said(StatusCode::OK, &json!(notes.get(&who).map_or(&[][..], Vec::as_slice))))
}

async fn add(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Result<Response, Refused> {
    let who = signed_in(&app, &headers)?;
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = asked["text"].as_str().filter(|text| !text.trim().is_empty() && text.chars().count() <= NOTE_CHARS_MAX);
    let text = text.ok_or(Refused(StatusCode::BAD_REQUEST, "bad-note"))?;
    let mut notes = app.notes.lock().unwrap_or_else(PoisonError::into_inner);
    let own = notes.entry(who).or_default();
    own.push(text.to_owned());
    own.drain(..own.len().saturating_sub(NOTES_MAX));
    Ok(said(StatusCode::CREATED, &json!(own)))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let port = std::env::var("PORT").map_or(Ok(3_000), |port| port.parse())?;
    let app = Router::new()
        .route("/api/login", post(login))
        .route("/api/logout", post(logout))
        .route("/api/me", get(me))
        .route("/api/notes", get(notes).post(add))
        .layer(middleware::from_fn(over_the_line))
        .layer(DefaultBodyLimit::max(10_000))
        .with_state(Arc::default());
    // Whoever reaches it past the line can say what only the line's server says: it is for this machine alone.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}
