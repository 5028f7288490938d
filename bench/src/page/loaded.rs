//! The group `loaded`: a page that was just loaded, from `connect` to the first reply, on a path with 50 ms round trip.
//!
//! ```text
//! Duologue, HTTP/2         CONNECT with M1, M2 ─ AUTH and request, echo        on the page's connection: two round trips
//! Duologue, HTTP/1.1       TCP ─ TLS ─ upgrade with M1, M2 ─ AUTH and request, echo                   four
//! bare WebSocket           TCP ─ TLS ─ upgrade ─ message, echo                                        four
//! ```
//!
//! One Chromium goes from page to page: a load for each figure, of three origins, in turn. The page is a device that was let in
//! before; the load in which it is, is not counted.

use std::{collections::VecDeque, path::PathBuf, sync::Mutex, time::Duration};

use anyhow::{Context as _, bail};
use axum::{
    Router,
    extract::WebSocketUpgrade,
    routing::{get, post},
};
use duologue_server::{Duologue, FrontConfig, Policy, State, development, page, serve_behind, services};
use serde::Deserialize;
use tokio::{net::TcpListener, sync::mpsc};

use super::{
    browser::{Browser, spki_pin},
    jobs,
    server::isolated,
};
use crate::{
    path::Path,
    report::{self, Comparison, Goal},
};

const INDEX: &str = "<!doctype html><meta charset=\"utf-8\"><title>Duologue: benchmark</title>\
                     <script type=\"module\" src=\"/bench/loaded.js\"></script>";
const SCRIPT: &str = include_str!("../../page/loaded.js");
/// A load takes a second at most.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Loaded {
    /// How often everything is measured
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Chromium's program
    #[arg(long, default_value = "chromium")]
    chromium: PathBuf,
    /// Where the entries go
    #[arg(long, default_value = "target/bench/loaded.json")]
    json: PathBuf,
}

/// What a page says.
#[derive(Deserialize)]
#[serde(untagged)]
enum Report {
    Measured { millis: f64 },
    Failure { failure: String },
}

impl Loaded {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let state = State::open(directory.path().join("state"))?;
        let tls = development(state.directory())?;
        let duologue = Duologue::new(state.clone(), Policy::loopback()).service("echo", services::echo);
        let (reports, mut reported) = mpsc::unbounded_channel();
        let next = &*Box::leak(Box::new(Mutex::new(VecDeque::new())));
        let app = Router::new()
            .route("/line", duologue.route())
            .route("/bench/websocket", get(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(jobs::websocket)))
            .route("/bench/loaded/", get(async || isolated("text/html; charset=utf-8", INDEX)))
            .route("/bench/loaded.js", get(async || isolated("text/javascript; charset=utf-8", SCRIPT)))
            .route("/bench/loaded/report", post(async move |body: String| take(&body, next, &reports)))
            .merge(page(true));
        let mut paths = Vec::new();
        for http2 in [true, false] {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("cannot listen")?;
            paths.push(Path::to(listener.local_addr()?.port()).await?);
            let front = FrontConfig { tls: Some(tls.clone()), http2, ..FrontConfig::default() };
            tokio::spawn(serve_behind(listener, front, app.clone(), Default::default()));
        }
        let at = |path: &Path, end: &str| format!("https://localhost:{}/bench/loaded/?end={end}", path.port);
        let ends = [at(&paths[0], "duologue"), at(&paths[1], "duologue"), at(&paths[1], "websocket")];
        let mut first = Vec::new();
        for end in &ends {
            let invite = state.new_invite(Duration::from_secs(3_600))?.to_link("https://localhost/");
            let fragment = invite.split_once('#').context("an invite is in the fragment")?.1;
            first.push(format!("{end}#{fragment}"));
        }
        let mut plan: VecDeque<String> = first.into_iter().collect();
        plan.extend((0..self.rounds).flat_map(|_| ends.clone()));
        let begin = plan.pop_front().context("there are rounds")?;
        *next.lock().expect("nobody panics with it") = plan;
        let pin = spki_pin(&state.directory().join("tls-key.pem"))?;
        let browser = Browser::start(&self.chromium, &directory.path().join("browser"), &pin, &begin)?;
        let mut times = [const { Vec::new() }; 3];
        for load in 0..(self.rounds as usize + 1) * ends.len() {
            let said = tokio::time::timeout(PATIENCE, reported.recv()).await;
            match said.context("the page said nothing")?.context("the server has ended")? {
                Report::Failure { failure } => bail!("the page failed: {failure}"),
                Report::Measured { millis } if load >= ends.len() => times[load % ends.len()].push(millis),
                Report::Measured { .. } => {}
            }
        }
        browser.end().await?;
        let [over_http2, over_http1, bare] = times;
        let figure = |name: &str, ours, goal| Comparison {
            name: name.to_owned(),
            unit: "ms",
            ours,
            baseline: bare.clone(),
            baseline_name: "bare WebSocket, HTTP/1.1",
            goal,
        };
        let figures = [
            figure("connect to first reply of a page just loaded, HTTP/2", over_http2, Goal::AtMost(0.45)),
            figure("the same, HTTP/1.1", over_http1, Goal::None),
        ];
        let title = format!("A page in Chromium, a path with 50 ms round trip, TLS, {} rounds", self.rounds);
        report::conclude("loaded", &title, &self.json, &figures)
    }
}

/// Tells what a page has said, and where it goes next.
fn take(body: &str, next: &Mutex<VecDeque<String>>, reports: &mpsc::UnboundedSender<Report>) -> String {
    let report =
        serde_json::from_str(body).unwrap_or_else(|error| Report::Failure { failure: format!("{error}: {body}") });
    // When all is measured, nobody listens any more.
    let _ = reports.send(report);
    next.lock().ok().and_then(|mut next| next.pop_front()).unwrap_or_default()
}
