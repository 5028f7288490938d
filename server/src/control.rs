//! How a verb asks a running server: by the local API (`api/`), over the socket in the state directory.
//!
//! Where no server runs, the verb opens the state itself and asks the same API without a socket. It never makes one.

use std::{
    io,
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail};
use axum::{
    body::{Body, Bytes, to_bytes},
    http::{Method, Request, Response, header},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;
use tower::ServiceExt;

use crate::{
    api,
    lines::notices,
    state::State,
    watch::{
        audit::writer::AuditLog,
        stream::{Read, Reader, Watch},
    },
};

/// Longest answer: a list of some ten thousand devices.
const ANSWER_LEN_MAX: usize = 16 * 1_024 * 1_024;
/// Events of one verb, while no server runs: one for each device that it is about.
const EVENTS_MAX: usize = 100_000;
/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A copy is some 500 bytes for each device: two million of them.
const COPY_LEN_MAX: usize = 1_024 * 1_024 * 1_024;
/// How long that may take, or a message: as long as a connection lasts there (`api/socket.rs`).
const LONG_PATIENCE: Duration = Duration::from_secs(60);

/// Asks the local API of a state directory, whether its server runs or not. `body` is said as JSON.
///
/// # Errors
/// If neither a server answers nor the directory can be opened; and what the API says is wrong, as a sentence.
pub async fn ask<T: DeserializeOwned>(
    directory: &Path,
    method: Method,
    path: &str,
    body: Option<&(impl Serialize + Sync)>,
) -> anyhow::Result<T> {
    ask_within(PATIENCE, directory, method, path, body).await
}

/// The same for what takes its time.
///
/// # Errors
/// As [`ask`].
pub async fn ask_within<T: DeserializeOwned>(
    patience: Duration,
    directory: &Path,
    method: Method,
    path: &str,
    body: Option<&(impl Serialize + Sync)>,
) -> anyhow::Result<T> {
    let body = body.map(serde_json::to_vec).transpose()?.map_or_else(Body::empty, Body::from);
    let answer = answer(directory, method, path, body, ANSWER_LEN_MAX, patience, true).await?;
    serde_json::from_slice(&answer).with_context(|| of_another_version(&answer))
}

/// Asks the running server alone: a state at rest stays closed, because a server may be about to open it.
///
/// # Errors
/// As [`ask`]; and if no server runs.
pub async fn ask_running<T: DeserializeOwned>(directory: &Path, path: &str) -> anyhow::Result<T> {
    let answer = answer(directory, Method::GET, path, Body::empty(), ANSWER_LEN_MAX, PATIENCE, false).await?;
    serde_json::from_slice(&answer).with_context(|| of_another_version(&answer))
}

/// Asks for a copy: `/backup` or `/export`.
///
/// # Errors
/// As [`ask`].
pub async fn copy_from(directory: &Path, path: &str) -> anyhow::Result<Vec<u8>> {
    Ok(answer(directory, Method::GET, path, Body::empty(), COPY_LEN_MAX, LONG_PATIENCE, true).await?.into())
}

/// Says a message to somebody who is connected to the running server: a path of `…/messages`.
///
/// # Errors
/// As [`ask`]; and if no server runs.
pub async fn say_by_api(directory: &Path, path: &str, message: Vec<u8>) -> anyhow::Result<api::Deliveries> {
    let body = Body::from(message);
    let answer = answer(directory, Method::POST, path, body, ANSWER_LEN_MAX, LONG_PATIENCE, false).await?;
    serde_json::from_slice(&answer).with_context(|| of_another_version(&answer))
}

fn of_another_version(answer: &[u8]) -> String {
    format!("the running server is of another version: it says {}", String::from_utf8_lossy(answer))
}

/// What is answered, if it is no refusal; by the state itself where no server runs, if that may be opened.
async fn answer(
    directory: &Path,
    method: Method,
    path: &str,
    body: Body,
    len_max: usize,
    patience: Duration,
    may_open: bool,
) -> anyhow::Result<Bytes> {
    let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    let request = request.header(header::CONTENT_TYPE, "application/json").body(body)?;
    let answered = tokio::time::timeout(patience, async {
        match UnixStream::connect(directory.join(api::SOCKET)).await {
            Ok(stream) => exchange(stream, request, len_max).await.context("the running server broke off"),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                if !may_open {
                    bail!("no server runs with its state in {}", directory.display());
                }
                let state = State::open_existing(directory)?;
                let watch = Watch::default();
                let told = watch.subscribe(EVENTS_MAX);
                notices::tell(&state, &watch);
                let response = api::router_at_rest(state.clone(), watch.clone()).oneshot(request).await;
                let answered = whole(response.unwrap_or_else(|never| match never {}), len_max).await;
                // While nobody else can open the state.
                write_audit(state.directory(), &watch, &told);
                drop(state);
                watch.flush();
                answered
            }
            Err(error) => {
                let socket = directory.join(api::SOCKET);
                let hint = match error.kind() {
                    io::ErrorKind::PermissionDenied => ": run this as the user whose server it is",
                    _ => "",
                };
                Err(anyhow::anyhow!("cannot reach the running server by {}: {error}{hint}", socket.display()))
            }
        }
    });
    let secs = patience.as_secs();
    let response = answered
        .await
        .with_context(|| format!("the running server has not answered within {secs} s: its log may say why"))??;
    let is_success = response.status().is_success();
    let body = response.into_body();
    if is_success {
        return Ok(body);
    }
    let refused: api::Refused = serde_json::from_slice(&body).with_context(|| of_another_version(&body))?;
    bail!(refused.message)
}

/// Writes what a verb has done into the audit log, where its owner keeps one and no server runs that does.
fn write_audit(directory: &Path, watch: &Watch, told: &Reader) {
    let mut log = None;
    while let Read::Event(event) = told.next_within(Duration::ZERO) {
        if !event.kind.is_audited() {
            continue;
        }
        // Opened by the first: what changes nothing leaves nothing.
        let opened = log.get_or_insert_with(|| AuditLog::at_rest(directory, watch, SystemTime::now()));
        match opened {
            Ok(Some(log)) => log.tell(&event, SystemTime::now()),
            Ok(None) => return,
            // It is done all the same: a revocation does not wait for a log.
            Err(error) => return tracing::error!(%error, "what was done stands in no audit log"),
        }
    }
    if let Some(Ok(Some(log))) = log {
        log.close(SystemTime::now());
    }
}

async fn exchange(stream: UnixStream, request: Request<Body>, len_max: usize) -> anyhow::Result<Response<Bytes>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let response = whole(response.map(Body::new), len_max).await;
    connection.abort();
    response
}

async fn whole(response: Response<Body>, len_max: usize) -> anyhow::Result<Response<Bytes>> {
    let (head, body) = response.into_parts();
    Ok(Response::from_parts(head, to_bytes(body, len_max).await?))
}
