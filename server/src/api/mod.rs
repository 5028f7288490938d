//! The local API: HTTP and JSON, which the owner's verbs speak with a running server, and with a state directory at rest.
//!
//! | request | answer |
//! |---|---|
//! | `GET /devices` | 200 `{"devices":[{"id","fingerprint","algorithm","name","enrolled_at","invited_by"?,"status","subject"?,"level","opens"?,"last_seen"?,"lines"}],"guests"?:[{"id","fingerprint","address"?,"subject"?,"level","lines"}]}`, the oldest first |
//! | `POST /devices/ID/revoke` `{"with_descendants":true,"with_passkeys":true}`? | 200 `{"kept":"stored","with_it"?,"left"?,"passkeys"?,"passkeys_removed"?,"passkeys_unknown"?}`, passkeys as below, each with its `"subject"`; `"journal"`, `"memory"` or `"nothing"` with a `message`: see [`Kept`] |
//! | `POST /devices/ID/bind` `{"subject"}` | 200 `{"changed"}`: its lines end, and it comes again as that subject's |
//! | `POST /devices/ID/release` | 200 `{"changed"}` |
//! | `POST /devices/ID/messages?label=L` | 200 `{"delivery","devices":[{"device","delivery"}]}`: the body, up to 1 MiB, is said to the newest line of that device, on a channel with that label; `taken`, `not here` or `unknown`. `deadline_ms=` until when (10,000; 50,000 at most), `datagram=true` best effort. With the header `Idempotency-Key` it is said once, however often it is asked within ten minutes; where nobody was, nothing was said, and it is tried again |
//! | `POST /subjects/SUBJECT/messages?label=L` | the same for whoever is that person now: the device that came last, or with `to=each` one after the other, each with its part of the time |
//! | `GET /accounts` | 200 `{"accounts":[{"subject","groups","since","revoked_at"?,"devices","lines"}]}`, by name |
//! | `GET /accounts/SUBJECT` | 200 `{"account","devices","passkeys":[{"id","name","device","made_at","used_at"?,"backed_up"}]}`, each as above |
//! | `POST /accounts/SUBJECT/passkeys/remove` `{"id"?}` | 200 `{"removed"}`, that one or all of them, as above |
//! | `POST /accounts/SUBJECT/groups` `{"add"?,"remove"?}` | 200 `{"groups"}`, those that it is in then |
//! | `POST /accounts/SUBJECT/revoke`, `/groups/GROUP/revoke`, `/tokens/ID/revoke` | as for a device |
//! | `POST /accounts/SUBJECT/restore`, `/groups/GROUP/restore`, `/tokens/ID/restore` | 200 `{"restored":true}`: the name is good again; devices stay out |
//! | `GET /invites` | 200 `{"invites":[{"id","status","made_at"?,"made_by"?,"expires_at","used_by"?,"used_at"?,"subject"?,"groups"?,"opens"?,"name"?}]}` |
//! | `POST /invites` `{"expires_secs","url"?,"subject"?,"groups"?,"opens"?,"name"?}` | 201 `{"link","id"}` |
//! | `POST /invites/ID/withdraw` | 200 `{"withdrawn":true}` |
//! | `POST /policy/explain` [`ExplainPolicy`] | 200 [`PolicyAnswer`]: whether a device may open something, and by which rule |
//! | `POST /reload` | 200 `{"rules"?}`: how many of the configuration are in force now; 400 what is wrong in it, and nothing was changed |
//! | `POST /hand-over` | 200 `{"pid"}`: that process serves from now on; 409 why none does, and this one goes on |
//! | `GET /watch` | 200 [`WatchList`]: rules and what they have counted, events, losses, networks on whose way lines are altered |
//! | `GET /sessions` | 200 `{"sessions":[{"id","device","name"?,"subject"?,"level","address"?,"since","connected","received","sent"}],"all"}`, the newest first, 1,000 at most of all |
//! | `GET /events?after=N` | 200 [`EventList`]: the events behind that number, as far as they are kept, and the number for the next time |
//! | `GET /events` with `Accept: text/event-stream` | 200 server-sent events, each with its kind as `event` and itself as `data`, from now on or behind `Last-Event-ID` or `after=`; of an id from before a restart all that are kept; `missed` where some are not any more |
//! | `GET /bans` | 200 `{"bans":[{"what","which","by","since","until","repeats"}]}`, the one that ends first at first |
//! | `POST /bans` `{"what","which","secs"}` | 201 the ban: of an `address`, a `device` or a `subject`; lines that are there end |
//! | `POST /bans/lift` `{"what","which"}` | 200 the ban that there was |
//! | `GET /audit` | 200 `{"head","n","key","signed_at","waiting_losses","sinks"?:[{"name","waiting","lost"}]}`: signed now, to be kept elsewhere |
//! | `POST /keys/init` [`SignedKey`] | 200 [`KeysInfo`]: an owner's key, who has signed the server's key as the first |
//! | `POST /keys/prepare` | 200 `{"number","key"}`: the next key, for its owner to sign |
//! | `POST /keys/rotate` [`SignedKey`] | 200 [`KeysInfo`]: that one is good too from now on; `retire_after_secs`?: until the older one ends |
//! | `POST /keys/retire` | 200 [`KeysInfo`]: the older one ends |
//! | `POST /rename` `{"url"}` | 200 `{"from"?,"to","devices","invites","passkeys"}`: its address from now on, and whom that concerns |
//! | `GET /backup`, `GET /export` | 200 lines of JSON: everything, with the private key; what the store has, without it (`state/backup.rs`) |
//! | `GET /health` | 200 `{"not_ready":["a reason"]}`: the threads of lines answer, and why no new lines are taken; 503 they do not, or no server runs |
//! | `GET /state` | 200 `{"pid","version","not_stored","not_on_disk"}`: revocations that are in force and not in the store, nowhere on disk |
//!
//! Names in a path are percent-encoded. An empty body is `{}`; a word in it that is not listed is refused.
//!
//! What goes wrong is `{"error":"word","message":"a sentence with the remedy"}`: 400 what was asked makes no sense, 401 without a
//! good key, 403 it was asked by a browser, or by one who has no role for it, 404 no such device, account, invite or path, 405, 409 something else stands in the way, 413, 503 the store
//! cannot do it now.
//!
//! What is no request at all (HTTP is broken, or a head longer than 16 KiB) is answered by its status alone.
//!
//! Who may speak here is who may open the owner's socket (`socket.rs`), of mode 0600; and, with the roles that the configuration
//! gives, users of this machine at another socket and keys at a loopback address (`access.rs`). `GET /openapi.json` says all of this
//! to programs, and which role each request needs (`operations.rs`). A page can be made to send requests to many places; none of
//! those that a browser makes is answered.

mod access;
mod accounts;
mod asked;
mod audit;
mod backup;
mod devices;
mod hand_over;
mod invites;
mod keys;
mod messages;
mod once;
mod operations;
mod passkeys;
mod policy;
mod rename;
mod revocations;
mod sight;
mod socket;
pub(crate) mod status;
mod types;
mod watch;

use std::{sync::Arc, time::SystemTime};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Request, State as Extracted},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
};

use crate::{
    config::ConfigFile,
    door::programs::{Access, ApiSettings},
    lines::Duologue,
    state::{
        State,
        store::{AccountError, StoreError},
    },
    watch::stream::Watch,
};
pub use accounts::{AccountInfo, AccountList, AccountShown, ChangeGroups, InGroups, Restored};
use asked::{Named, Said};
pub use backup::{check_backup, import_export, restore_backup};
pub use devices::{Bind, Bound, DeviceInfo, DeviceList, GuestInfo};
pub use hand_over::{HandOver, HandedOver};
pub use invites::{InviteInfo, InviteList, InviteStatus, Invited, NewInvite, Withdrawn};
pub use keys::{KeysInfo, NextKey, SignedKey, server_keys};
use messages::Messages;
pub use messages::{Delivered, DeliveredTo, Deliveries, MESSAGE_LEN_MAX};
pub use passkeys::{PasskeyInfo, RemovePasskeys, RemovedPasskeys};
pub use policy::{ExplainPolicy, PolicyAnswer, Reloaded, Supposed};
pub use rename::{Rename, Renamed};
pub use revocations::{Kept, PasskeyOf, Revoke, Revoked};
pub use sight::{EventInfo, EventList, SessionInfo, SessionList};
pub(crate) use socket::SOCKET;
use socket::{By, Lasts};
pub use socket::{Controlled, Listening, Sockets, control_socket, listen, listen_with, users_socket};
pub use status::listen_status;
pub(crate) use types::Refused;
pub use types::{Health, ServerState};
pub use watch::{AddBan, AlteringWay, BanInfo, BanList, KindCount, LiftBan, WatchList, WatchRule};

/// Longest request body in bytes.
const BODY_LEN_MAX: usize = 16 * 1_024;

/// What the API answers for.
#[derive(Debug)]
struct Target {
    state: State,
    /// None where no server runs: then a verb has opened the state itself.
    running: Option<Duologue>,
    /// What the server was started with.
    config: Option<ConfigFile>,
    /// Whoever runs the server gives its place to another process.
    hand_overs: Option<mpsc::Sender<HandOver>>,
    /// Hears what the owner does where no server runs.
    watch: Watch,
    /// The runtime of lines, where a server runs.
    home: Handle,
    /// What is said to devices.
    messages: Messages,
    /// Places for those who are told events as they come.
    streams: Arc<Semaphore>,
    /// By which the ids of this run's events are told from another's.
    run: Arc<str>,
    /// Who else may ask, and what.
    access: Access,
}

impl Target {
    /// Of a state where no server runs.
    fn at_rest(state: State, watch: Watch) -> Self {
        Self {
            state,
            running: None,
            config: None,
            hand_overs: None,
            watch,
            home: Handle::current(),
            messages: Messages::default(),
            streams: Arc::new(Semaphore::new(sight::STREAMS_MAX)),
            run: this_run(),
            access: Access::new(&ApiSettings::default()),
        }
    }

    /// Who hears of what is done.
    fn watch(&self) -> Watch {
        self.running.as_ref().map_or(&self.watch, Duologue::watch).clone()
    }
}

/// The API of a state directory, and of the server that runs there.
pub(crate) fn router(
    state: State,
    running: Option<Duologue>,
    config: Option<ConfigFile>,
    hand_overs: Option<mpsc::Sender<HandOver>>,
) -> Router {
    let access = config.as_ref().map_or_else(|| Access::new(&ApiSettings::default()), ConfigFile::access);
    router_told(Target { running, config, hand_overs, access, ..Target::at_rest(state, Watch::default()) })
}

/// The same of a state at rest, for one who hears what is done.
pub(crate) fn router_at_rest(state: State, watch: Watch) -> Router {
    router_told(Target::at_rest(state, watch))
}

/// A word of its own for each time that this is started.
fn this_run() -> Arc<str> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}.{:x}", since.as_millis(), std::process::id()).into()
}

fn router_told(target: Target) -> Router {
    let target = Arc::new(target);
    Router::new()
        .merge(devices::routes())
        .merge(messages::routes())
        .merge(accounts::routes())
        .merge(invites::routes())
        .merge(passkeys::routes())
        .merge(policy::routes())
        .merge(hand_over::routes())
        .merge(watch::routes())
        .merge(audit::routes())
        .merge(backup::routes())
        .merge(keys::routes())
        .merge(rename::routes())
        .merge(sight::routes())
        .merge(operations::routes())
        .route("/state", get(server_state))
        .route("/health", get(health))
        .fallback(|| async { Failure::new(StatusCode::NOT_FOUND, "no-such-path", "there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            Failure::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "no-such-method",
                "this path is asked for by another method: the header Allow says which",
            )
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&target), access::admit))
        .layer(middleware::from_fn_with_state(Arc::clone(&target), refuse_browsers))
        .with_state(target)
}

async fn refuse_browsers(Extracted(target): Extracted<Arc<Target>>, request: Request, next: Next) -> Response {
    // Not `Sec-Fetch-Mode`: Node's fetch has that alone.
    if [header::ORIGIN.as_str(), "sec-fetch-site"].iter().any(|name| request.headers().contains_key(*name)) {
        let by = by_whom(request.extensions().get().cloned().map(Extension));
        let failure = Failure::new(StatusCode::FORBIDDEN, "browser", "browsers are not answered here");
        return access::refuse(&target, &by, failure);
    }
    next.run(request).await
}

type Answer<T> = Result<T, Failure>;

async fn server_state(Extracted(target): Extracted<Arc<Target>>) -> Response {
    let (not_stored, not_on_disk) = target.state.store().not_stored();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    json(StatusCode::OK, &ServerState { pid: std::process::id(), version, not_stored, not_on_disk })
}

async fn health(Extracted(target): Extracted<Arc<Target>>) -> Answer<Response> {
    let wrong = |word, message| Failure::new(StatusCode::SERVICE_UNAVAILABLE, word, message);
    let running = target.running.as_ref().ok_or_else(|| wrong("not-running", "no server runs here"))?;
    if !status::is_alive(&target.home).await {
        return Err(wrong("not-alive", "the threads of lines do not answer: start the server again"));
    }
    let not_ready = status::not_ready(&target.state, running).await;
    Ok(json(StatusCode::OK, &Health { not_ready }))
}

/// Whoever came by the socket is known there; without it a verb asks itself.
fn by_whom(by: Option<Extension<By>>) -> By {
    by.map_or_else(By::this_process, |Extension(by)| by)
}

/// The server, for what only one that runs can do.
fn running(target: &Target) -> Answer<Duologue> {
    target.running.clone().ok_or_else(|| {
        let message = "no server runs here, so that nobody is connected and nothing happens";
        Failure::new(StatusCode::CONFLICT, "no-server", message)
    })
}

/// On a thread of whoever runs the API: never among those of devices.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Failure::failed())
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("texts and numbers are JSON");
    (status, [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], Body::from(body))
        .into_response()
}

/// What went wrong, as it is told.
#[derive(Clone, Debug)]
struct Failure {
    status: StatusCode,
    refused: Refused,
}

impl Failure {
    fn new(status: StatusCode, error: &str, message: &str) -> Self {
        Self { status, refused: Refused { error: error.to_owned(), message: message.to_owned() } }
    }

    fn failed() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "the server failed; its log says more")
    }

    fn busy() -> Self {
        let message = "too much of that is under way: ask again when some of it has been answered";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let word = if matches!(error, StoreError::Full) { "disk-full" } else { "store" };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, word, &error.to_string())
    }
}

impl From<AccountError> for Failure {
    fn from(error: AccountError) -> Self {
        let (status, word) = match &error {
            AccountError::UnknownDevice(_) => (StatusCode::NOT_FOUND, "unknown-device"),
            AccountError::UnknownSubject(_) => (StatusCode::NOT_FOUND, "unknown-subject"),
            AccountError::BoundToAnother(_) => (StatusCode::CONFLICT, "bound-to-another"),
            AccountError::NotBound => (StatusCode::CONFLICT, "not-bound"),
            AccountError::SubjectRevoked(_) => (StatusCode::CONFLICT, "account-revoked"),
            AccountError::GroupRevoked(_) => (StatusCode::CONFLICT, "group-revoked"),
            AccountError::TooManyGroups => (StatusCode::CONFLICT, "too-many-groups"),
            AccountError::NotRevoked => (StatusCode::CONFLICT, "not-revoked"),
            AccountError::RevocationUnderWay => (StatusCode::CONFLICT, "revocation-under-way"),
            AccountError::TooManyRevoked => (StatusCode::CONFLICT, "too-many-revoked"),
        };
        Self::new(status, word, &error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        json(self.status, &self.refused)
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        body::to_bytes,
        http::{Method, request::Builder},
    };
    use duologue::DeviceId;
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;
    use crate::watch::events::Kind;

    /// What a state directory without a server answers.
    async fn ask(state: &State, request: Builder, body: &str) -> (u16, Value) {
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        let response = router(state.clone(), None, None, None).oneshot(request).await.expect("it always answers");
        assert_eq!(response.headers().get("content-type").expect("it is JSON"), "application/json");
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1_000_000).await.expect("in memory");
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    #[tokio::test]
    async fn whatever_is_asked_is_answered_as_json_with_a_sentence() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = State::open(directory.path()).expect("made");
        let request = |method: Method, path: &str| Request::builder().method(method).uri(path);
        assert_eq!(ask(&state, request(Method::GET, "/devices"), "").await, (200, json!({ "devices": [] })));
        let (status, made) =
            ask(&state, request(Method::POST, "/invites"), r#"{"expires_secs":60,"url":"https://a.example/"}"#).await;
        let link = made["link"].as_str().expect("a link");
        assert!(status == 201 && link.starts_with("https://a.example/#i="), "{made}");
        let (status, told) = ask(&state, request(Method::GET, "/state"), "").await;
        assert_eq!((status, &told["not_stored"], &told["not_on_disk"]), (200, &json!(0), &json!(0)));
        let nobody = format!("/devices/{}/revoke", DeviceId([7; 32]));
        let group = r#"{"expires_secs":60,"url":"https://a.example/","groups":["staff"]}"#;
        let hidden = r#"{"expires_secs":60,"url":"https://a.example/","subject":"a\u202eb"}"#;
        let labels = r#"{"expires_secs":60,"url":"https://a.example/","opens":["a\u0000"]}"#;
        let nothing = r#"{"expires_secs":60,"url":"https://a.example/","opens":[]}"#;
        let option = r#"{"expires_secs":60,"url":"https://a.example/","name":"--state"}"#;
        let unbound = format!("/devices/{}/release", DeviceId([7; 32]));
        let endless = format!("/accounts/{}", "a".repeat(129));
        let token = format!("/tokens/{}/revoke", "a".repeat(257));
        let withdrawn = format!("/invites/{}/withdraw", "0".repeat(32));
        let post = |path: &str| request(Method::POST, path);
        let long = format!(r#"{{"expires_secs":60,"url":"{}"}}"#, "a".repeat(100));
        for (asked, body, status, word) in [
            (request(Method::POST, "/invites"), r#"{"expires_secs":60}"#, 409, "no-address"),
            (request(Method::POST, "/invites"), "", 400, "bad-body"),
            (request(Method::POST, "/invites"), r#"{"expires_secs":60,"colour":"red"}"#, 400, "bad-body"),
            (request(Method::POST, "/invites"), r#"{"expires_secs":-1}"#, 400, "bad-body"),
            (request(Method::POST, "/devices/%F0%9F%92%A5%22/revoke"), "", 400, "no-device-id"),
            (request(Method::POST, &nobody), "", 404, "unknown-device"),
            (post(&nobody), r#"{"with_descendents":true}"#, 400, "bad-body"),
            (post("/devices/%FF/revoke"), "", 400, "bad-path"),
            (post(&unbound), "", 404, "unknown-device"),
            (post(&unbound.replace("release", "bind")), r#"{"subject":"ada","groups":[]}"#, 400, "bad-body"),
            (post(&unbound.replace("release", "bind")), r#"{"subject":"ada"}"#, 404, "unknown-device"),
            (post("/invites"), group, 400, "bad-terms"),
            (post("/invites"), hidden, 400, "bad-body"),
            (post("/invites"), labels, 400, "bad-terms"),
            (post("/invites"), nothing, 400, "bad-terms"),
            (post("/invites"), option, 400, "bad-terms"),
            (post("/invites/xyz/withdraw"), "", 400, "no-invite-id"),
            (post("/invites/+0000000000000000000000000000000/withdraw"), "", 400, "no-invite-id"),
            (post(&withdrawn), "", 404, "unknown-invite"),
            (request(Method::GET, "/accounts/nobody"), "", 404, "unknown-subject"),
            (request(Method::GET, "/accounts/%20a"), "", 400, "bad-name"),
            (request(Method::GET, &endless), "", 400, "bad-name"),
            (post("/accounts/ada/groups"), r#"{"set":["staff"]}"#, 400, "bad-body"),
            (post("/accounts/ada/restore"), "", 409, "not-revoked"),
            (post("/accounts/ada/passkeys/remove"), "", 404, "unknown-passkey"),
            (post("/accounts/ada/passkeys/remove"), r#"{"all":true}"#, 400, "bad-body"),
            (post("/groups/a%00/revoke"), "", 400, "bad-name"),
            (post(&token), "", 400, "no-token-id"),
            (request(Method::GET, "/nowhere"), "", 404, "no-such-path"),
            (request(Method::GET, "/sessions"), "", 409, "no-server"),
            (request(Method::GET, "/events?after=0"), "", 409, "no-server"),
            (request(Method::DELETE, "/devices"), "", 405, "no-such-method"),
            (request(Method::GET, "/devices").header("origin", "https://evil.example"), "", 403, "browser"),
            (request(Method::POST, "/invites").header("sec-fetch-site", "same-origin"), &long, 403, "browser"),
        ] {
            let shown = format!("{asked:?}");
            let (told, answer) = ask(&state, asked, body).await;
            assert_eq!((told, &answer["error"]), (status, &json!(word)), "{shown}");
            assert!(answer["message"].as_str().is_some_and(|message| message.len() > 15), "{shown}: {answer}");
        }
    }

    #[tokio::test]
    async fn what_a_browser_asks_is_refused_and_told() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (state, watch) = (State::open(directory.path()).expect("made"), Watch::default());
        let told = watch.subscribe(16);
        for header in ["origin", "sec-fetch-site"] {
            let request = Request::builder().method(Method::POST).uri("/invites").header(header, "x");
            let request = request.body(Body::empty()).expect("a request");
            let response = router_at_rest(state.clone(), watch.clone()).oneshot(request).await;
            assert_eq!(response.expect("it always answers").status(), StatusCode::FORBIDDEN, "{header}");
            let event = told.next().await.expect("told");
            let by = format!("by=\"{}\" why=browser", By::this_process());
            assert_eq!((event.kind, event.note.as_deref()), (Kind::ControlRefused, Some(by.as_str())), "{header}");
        }
    }

    #[tokio::test]
    async fn a_name_is_revoked_and_restored_and_says_what_stands_in_the_way() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = State::open(directory.path()).expect("made");
        let get = |path: &str| Request::builder().uri(path.to_owned());
        let post = |path: &str| Request::builder().method(Method::POST).uri(path.to_owned());
        let invite = r#"{"expires_secs":60,"url":"https://a.example/","subject":"a/b","groups":["staff"]}"#;
        let (status, made) = ask(&state, post("/invites"), invite).await;
        assert_eq!(status, 201, "{made}");
        let (_, list) = ask(&state, get("/invites"), "").await;
        let told = &list["invites"][0];
        assert_eq!((&told["id"], &told["status"], &told["subject"]), (&made["id"], &json!("open"), &json!("a/b")));
        assert!(!list.to_string().contains("psk") && !list.to_string().contains("link"), "no secret is told");
        assert_eq!(
            ask(&state, post("/accounts/a%2Fb/groups"), r#"{"add":["x"]}"#).await,
            (200, json!({"groups":["x"]}))
        );
        let (status, revoked) = ask(&state, post("/accounts/a%2Fb/revoke"), "").await;
        assert_eq!((status, &revoked["kept"]), (200, &json!("stored")));
        let (_, list) = ask(&state, get("/invites"), "").await;
        assert_eq!(list["invites"][0]["status"], "withdrawn");
        let (status, refused) = ask(&state, post("/invites"), invite).await;
        assert_eq!((status, &refused["error"]), (409, &json!("account-revoked")));
        let (_, shown) = ask(&state, get("/accounts/a%2Fb"), "").await;
        assert!(shown["account"]["revoked_at"].is_u64(), "{shown}");
        assert_eq!(ask(&state, post("/accounts/a%2Fb/restore"), "").await, (200, json!({ "restored": true })));
        assert_eq!(ask(&state, post("/groups/staff/revoke"), "{}").await.0, 200);
        let (status, refused) = ask(&state, post("/invites"), invite).await;
        assert_eq!((status, &refused["error"]), (409, &json!("group-revoked")));
        assert_eq!(ask(&state, post("/tokens/a7/revoke"), "").await.0, 200);
        assert_eq!(ask(&state, post("/tokens/a7/restore"), "").await.0, 200);
    }
}
