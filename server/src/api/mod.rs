//! The local API: HTTP and JSON, which the owner's verbs speak with a running server, and with a state directory at rest.
//!
//! | request | answer |
//! |---|---|
//! | `GET /devices` | 200 `{"devices":[{"id","fingerprint","algorithm","name","enrolled_at","invited_by"?,"status"}]}`, the oldest first |
//! | `POST /devices/ID/revoke` `{"with_descendants":true}`? | 200 `{"kept":"stored","with_it"?}`; `"journal"` or `"memory"` with a `message`: see [`Kept`] |
//! | `POST /invites` `{"expires_secs","url"?}` | 201 `{"link"}` |
//! | `GET /state` | 200 `{"pid","version","not_stored","not_on_disk"}`: revocations that are in force and not in the store, nowhere on disk |
//!
//! What goes wrong is `{"error":"word","message":"a sentence with the remedy"}`: 400 what was asked makes no sense, 403 it was
//! asked by a browser, 404 no such device or path, 405, 409 something is missing first, 503 the store cannot do it now.
//!
//! Who may speak here is who may open the socket (`socket.rs`): its mode is 0600. A page can be made to send requests to many
//! places; none of those that a browser makes is answered.

mod socket;
mod types;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::{Body, Bytes},
    extract::{Path, Request, State as Extracted},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use duologue::DeviceId;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    lines::Duologue,
    state::{
        State,
        store::{Device, Revocation, StoreError},
    },
    watch::log::OWNERS,
};
use socket::By;
pub(crate) use socket::SOCKET;
pub use socket::{Listening, listen};
pub(crate) use types::Refused;
pub use types::{DeviceInfo, DeviceList, Invited, Kept, NewInvite, Revoke, Revoked, ServerState};

/// Longest request body in bytes.
const BODY_LEN_MAX: usize = 16 * 1_024;

/// What the API answers for.
#[derive(Debug)]
struct Subject {
    state: State,
    /// None where no server runs: then a verb has opened the state itself.
    running: Option<Duologue>,
}

/// The API of a state directory, and of the server that runs there.
pub(crate) fn router(state: State, running: Option<Duologue>) -> Router {
    let subject = Arc::new(Subject { state, running });
    Router::new()
        .route("/devices", get(devices))
        .route("/devices/{id}/revoke", post(revoke))
        .route("/invites", post(new_invite))
        .route("/state", get(server_state))
        .fallback(|| async { Failure::new(StatusCode::NOT_FOUND, "no-such-path", "there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, "no-such-method", "this path is asked for in another way")
        })
        .layer(middleware::from_fn(refuse_browsers))
        .with_state(subject)
}

async fn refuse_browsers(request: Request, next: Next) -> Response {
    let of_a_browser = [header::ORIGIN.as_str(), "sec-fetch-site", "sec-fetch-mode"];
    if of_a_browser.iter().any(|name| request.headers().contains_key(*name)) {
        return Failure::new(StatusCode::FORBIDDEN, "browser", "browsers are not answered here").into_response();
    }
    next.run(request).await
}

type Answer<T> = Result<T, Failure>;

async fn devices(Extracted(subject): Extracted<Arc<Subject>>) -> Answer<Response> {
    let work = move || {
        let store = subject.state.store();
        let info = |device: &Device| DeviceInfo::of(device, store.invited_by(DeviceId(device.id)));
        store.devices().map(|devices| devices.iter().map(info).collect())
    };
    Ok(json(StatusCode::OK, &DeviceList { devices: blocking(work).await?? }))
}

async fn revoke(
    Extracted(subject): Extracted<Arc<Subject>>,
    by: Option<Extension<By>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<Response> {
    let Revoke { with_descendants } = if body.is_empty() { Revoke::default() } else { parse(&body)? };
    let device: DeviceId = id.parse().map_err(|_| {
        let message = format!("\"{id}\" is no device id: `duologue devices list` shows them");
        Failure::new(StatusCode::BAD_REQUEST, "no-device-id", &message)
    })?;
    let work = move || {
        let has_server = subject.running.is_some();
        let one = |device| match &subject.running {
            Some(duologue) => duologue.revoke(device),
            None => subject.state.store().revoke(device),
        };
        let mut revocation = one(device);
        // From the root on, so that nobody lets in another meanwhile; and until there are no more, for those who just did.
        let mut with_it: Vec<DeviceId> = Vec::new();
        while with_descendants && revocation != Revocation::Unknown {
            let mut more = subject.state.store().descendants(device);
            more.retain(|device| !with_it.contains(device));
            if more.is_empty() {
                break;
            }
            for device in more {
                revocation = worse(revocation, one(device));
                with_it.push(device);
            }
        }
        (revocation, with_it, has_server)
    };
    let (revocation, with_it, has_server) = blocking(work).await?;
    let (kept, message) = match revocation {
        Revocation::Unknown => {
            let message = format!("no device {device} is enrolled here: `duologue devices list` shows them");
            return Err(Failure::new(StatusCode::NOT_FOUND, "unknown-device", &message));
        }
        Revocation::Stored => (Kept::Stored, None),
        Revocation::Journalled(why) => {
            (Kept::Journal, Some(format!("on disk in the journal; the store follows by itself ({why})")))
        }
        // There is no memory that outlives the verb.
        Revocation::NotOnDisk(why) if !has_server => {
            let message = format!("the device was NOT revoked, nothing could be written: {why}");
            return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "not-on-disk", &message));
        }
        Revocation::NotOnDisk(why) => {
            let message =
                format!("in force until this server stops, NOT on disk: {why}; it is tried again until it is");
            (Kept::Memory, Some(message))
        }
    };
    for device in &with_it {
        tracing::info!(target: OWNERS, %device, "a device was revoked with the one that had let it in");
    }
    let with_it = with_it.iter().map(ToString::to_string).collect();
    tracing::info!(target: OWNERS, %device, ?kept, by = %by_whom(by), "the owner has revoked a device");
    Ok(json(StatusCode::OK, &Revoked { kept, with_it, message }))
}

async fn new_invite(
    Extracted(subject): Extracted<Arc<Subject>>,
    by: Option<Extension<By>>,
    body: Bytes,
) -> Answer<Response> {
    let NewInvite { expires_secs, url } = parse(&body)?;
    let work = move || {
        let address = match url {
            Some(url) => url,
            None => subject.state.store().address()?.ok_or_else(|| {
                let message = "this server was never started, so that its address is not known: add --url";
                Failure::new(StatusCode::CONFLICT, "no-address", message)
            })?,
        };
        let invite = subject.state.new_invite(Duration::from_secs(expires_secs))?;
        Ok::<_, Failure>(invite.to_link(&address))
    };
    let link = blocking(work).await??;
    tracing::info!(target: OWNERS, expires_secs, by = %by_whom(by), "the owner has made an invite");
    Ok(json(StatusCode::CREATED, &Invited { link }))
}

async fn server_state(Extracted(subject): Extracted<Arc<Subject>>) -> Response {
    let (not_stored, not_on_disk) = subject.state.store().not_stored();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    json(StatusCode::OK, &ServerState { pid: std::process::id(), version, not_stored, not_on_disk })
}

/// Of two, the one that is less where it should be. A descendant that is not known is none the less out.
fn worse(one: Revocation, other: Revocation) -> Revocation {
    let rank = |revocation: &Revocation| match revocation {
        Revocation::Unknown => 0,
        Revocation::Stored => 1,
        Revocation::Journalled(_) => 2,
        Revocation::NotOnDisk(_) => 3,
    };
    if rank(&other) > rank(&one) { other } else { one }
}

/// Whoever came by the socket is known there; without it a verb asks itself.
fn by_whom(by: Option<Extension<By>>) -> By {
    by.map_or_else(By::this_process, |Extension(by)| by)
}

/// On a thread of whoever runs the API: never among those of devices.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "the server failed; its log says more"))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Answer<T> {
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("the request's body is not what this path takes: {error}");
        Failure::new(StatusCode::BAD_REQUEST, "bad-body", &message)
    })
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("texts and numbers are JSON");
    (status, [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], Body::from(body))
        .into_response()
}

/// What went wrong, as it is told.
#[derive(Debug)]
struct Failure {
    status: StatusCode,
    refused: Refused,
}

impl Failure {
    fn new(status: StatusCode, error: &str, message: &str) -> Self {
        Self { status, refused: Refused { error: error.to_owned(), message: message.to_owned() } }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let word = if matches!(error, StoreError::Full) { "disk-full" } else { "store" };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, word, &error.to_string())
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
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;

    /// What a state directory without a server answers.
    async fn ask(state: &State, request: Builder, body: &str) -> (u16, Value) {
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        let response = router(state.clone(), None).oneshot(request).await.expect("it always answers");
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
        let long = format!(r#"{{"expires_secs":60,"url":"{}"}}"#, "a".repeat(100));
        for (asked, body, status, word) in [
            (request(Method::POST, "/invites"), r#"{"expires_secs":60}"#, 409, "no-address"),
            (request(Method::POST, "/invites"), "", 400, "bad-body"),
            (request(Method::POST, "/invites"), r#"{"expires_secs":60,"colour":"red"}"#, 400, "bad-body"),
            (request(Method::POST, "/invites"), r#"{"expires_secs":-1}"#, 400, "bad-body"),
            (request(Method::POST, "/devices/%F0%9F%92%A5%22/revoke"), "", 400, "no-device-id"),
            (request(Method::POST, &nobody), "", 404, "unknown-device"),
            (request(Method::GET, "/nowhere"), "", 404, "no-such-path"),
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
}
