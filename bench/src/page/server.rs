//! The server that the page speaks with: Duologue as the binary mounts it, the bare WebSocket beside it, and the page itself.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use axum::{
    Router,
    extract::{self, WebSocketUpgrade},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::{get, post},
};
use duologue_server::{Duologue, Policy, State, page, services};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;

use super::{
    Measured,
    figures::{End, Figure},
    jobs,
};

const INDEX: &str = include_str!("../../page/index.html");

/// What the page is to do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Plan {
    pub(super) rounds: u32,
    pub(super) ports: Ports,
    pub(super) ends: Vec<End>,
    pub(super) ends_on_path: Vec<End>,
    /// Lets a second device in, over the narrow path: a browser has one for each host and port.
    pub(super) path_invite: String,
    pub(super) figures: Vec<&'static Figure>,
}

/// Of the servers on node, and of the narrow path to this one.
#[derive(Debug, Serialize)]
pub(super) struct Ports {
    pub(super) path: u16,
    pub(super) socketio: u32,
    pub(super) libp2p: u32,
}

/// What the page says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Report {
    /// A round is done; 0 is the one that warms up.
    Progress(u32),
    Failure(String),
    Results(Vec<Measured>),
}

pub(super) fn app(
    state: State,
    plan: Plan,
    bundles: &Path,
    web: Option<PathBuf>,
    reports: UnboundedSender<Report>,
) -> anyhow::Result<Router> {
    let duologue = Duologue::new(state, Policy::loopback())
        .service("echo", services::echo)
        .service("jobs", jobs::messages)
        .service("stream-jobs", jobs::bytes);
    let plan = serde_json::to_string(&plan).context("a plan is plain values")?;
    let script =
        fs::read_to_string(bundles.join("page.js")).context("the page is not bundled: use `cargo xtask bench`")?;
    Ok(Router::new()
        .route("/line", duologue.route())
        .route("/bench/websocket", get(|upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(jobs::websocket) }))
        .route("/bench/", get(|| async { isolated("text/html; charset=utf-8", INDEX.to_owned()) }))
        .route("/bench/page.js", get(|| async { isolated("text/javascript; charset=utf-8", script) }))
        .route("/bench/plan", get(|| async { isolated("application/json", plan) }))
        .route("/bench/report", post(async move |body: String| take(&body, &reports)))
        .merge(web.map_or_else(|| page(true), library)))
}

/// The library as another build has it, in the place of the one that this program has in it.
fn library(directory: PathBuf) -> Router {
    let serve = |extract::Path(name): extract::Path<String>| async move {
        let bytes = fs::read(directory.join(&name)).map_err(|_| StatusCode::NOT_FOUND)?;
        let kind = if name.ends_with(".wasm") { "application/wasm" } else { "text/javascript; charset=utf-8" };
        Ok::<_, StatusCode>(isolated(kind, bytes))
    };
    Router::new().route("/{name}", get(serve))
}

fn take(body: &str, reports: &UnboundedSender<Report>) {
    let report = serde_json::from_str(body).unwrap_or_else(|error| Report::Failure(format!("{error}: {body}")));
    // Once there are results, nobody listens any more.
    let _ = reports.send(report);
}

/// With these headers the page's clock has a resolution of 5 µs in the place of 100.
pub(super) fn isolated(kind: &'static str, body: impl IntoResponse) -> impl IntoResponse {
    let isolated = [
        (header::CONTENT_TYPE.as_str(), kind),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-embedder-policy", "require-corp"),
    ];
    (isolated, body)
}
