//! The group `page`: messages and bytes between a page in Chromium and a server, beside a bare WebSocket, Socket.IO and
//! js-libp2p.
//!
//! ```text
//! this process: Duologue, the bare WebSocket, the page and its plan ◄──one origin, TLS──┐
//! node: Socket.IO ◄── its port, the same certificate ───────────────────────────────────┼── page in Chromium, which measures
//! node: js-libp2p ◄── its port, the same certificate ───────────────────────────────────┤   and posts what it measured
//! this process again ◄── a path of 500 Mbit/s ──────────────────────────────────────────┘
//! ```
//!
//! Chromium runs plainly: a driver or its developer tools would slow WebSockets down several times. The page's sources are in
//! `bench/page/`; `cargo xtask bench page` bundles them.
//!
//! `figures.rs` what is measured, and its goals · `jobs.rs` what the servers do for it · `server.rs` the routes ·
//! `browser.rs` Chromium

mod browser;
mod figures;
mod jobs;
pub(crate) mod loaded;
mod server;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, bail, ensure};
use duologue_server::{State, development};
use serde::Deserialize;
use tokio::{net::TcpListener, process::Command, sync::mpsc};

use self::{
    browser::Browser,
    figures::{End, FIGURES, Figure},
    server::{Plan, Ports, Report},
};
use crate::{child::Child, path::Path, report};

/// No round takes longer, even on a busy machine.
const ROUND_SECS: u64 = 300;

#[derive(clap::Args)]
pub(crate) struct Page {
    /// How often everything is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only the figures whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Only these
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = End::ALL)]
    ends: Vec<End>,
    /// Chromium's program
    #[arg(long, default_value = "chromium")]
    chromium: PathBuf,
    /// The bundled page and the bundled servers for node
    #[arg(long, default_value = "target/bench/page")]
    bundles: PathBuf,
    /// The library that the page loads, such as target/web of another revision; without it, the one built into this program
    #[arg(long)]
    web: Option<PathBuf>,
    /// Where node finds what cannot be bundled
    #[arg(long, default_value = "target/tools/npm/bench/node_modules")]
    node_modules: PathBuf,
    /// Where the entries go
    #[arg(long, default_value = "target/bench/page.json")]
    json: PathBuf,
}

/// One run.
#[derive(Debug, Deserialize)]
struct Measured {
    /// Which figure of the plan.
    figure: usize,
    end: End,
    /// In the page's unit, see [`Figure::value`].
    value: f64,
}

impl Page {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let is_wanted = |figure: &&Figure| self.only.as_ref().is_none_or(|only| figure.name.contains(only));
        let figures: Vec<_> = FIGURES.iter().filter(is_wanted).collect();
        ensure!(!figures.is_empty(), "no figure has such a name; there are: {}", names());
        let results = self.measure(&figures).await?;
        let values = |number: usize, end: End| -> Vec<f64> {
            let runs = results.iter().filter(|run| run.figure == number && run.end == end);
            runs.map(|run| figures[number].value(run.value)).collect()
        };
        let title = format!("Between a page in Chromium and a server, TLS on loopback, {} rounds", self.rounds);
        report::conclude("page", &title, &self.json, &figures::comparisons(&figures, &values))
    }

    /// Starts everything, and waits for what the page says.
    async fn measure(&self, figures: &[&'static Figure]) -> anyhow::Result<Vec<Measured>> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let state = State::open(directory.path().join("state"))?;
        let tls = development(state.directory())?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("cannot listen")?;
        let address = format!("https://localhost:{}", listener.local_addr()?.port());
        let path = Path::with_bandwidth(listener.local_addr()?.port()).await?;
        let invite = || anyhow::Ok(state.new_invite(Duration::from_secs(3_600))?.to_link(&format!("{address}/bench")));
        let (invite, path_invite) = (invite()?, invite()?);
        let spki_pin = browser::spki_pin(&state.directory().join("tls-key.pem"))?;
        let mut socketio = self.start_node("socketio-server.cjs", state.directory())?;
        let mut libp2p = self.start_node("libp2p-server.cjs", state.directory())?;
        let ports =
            Ports { path: path.port, socketio: socketio.answer("ready").await?, libp2p: libp2p.answer("ready").await? };
        let ends = self.ends.clone();
        let ends_on_path = End::ON_PATH.into_iter().filter(|end| ends.contains(end)).collect();
        let plan = Plan { rounds: self.rounds, ports, ends, ends_on_path, path_invite, figures: figures.to_vec() };
        let (reports, mut reported) = mpsc::unbounded_channel();
        let app = server::app(state, plan, &self.bundles, self.web.clone(), reports)?;
        let server = tokio::spawn(duologue_server::serve(listener, Some(tls), app, Default::default()));
        let browser = Browser::start(&self.chromium, &directory.path().join("browser"), &spki_pin, &invite)?;
        let results = loop {
            let report = tokio::time::timeout(Duration::from_secs(ROUND_SECS), reported.recv()).await;
            match report.with_context(|| format!("the page said nothing for {ROUND_SECS} s"))? {
                Some(Report::Progress(0)) => eprintln!("bench: warmed up"),
                Some(Report::Progress(round)) => eprintln!("bench: round {round} of {}", self.rounds),
                Some(Report::Failure(cause)) => bail!("the page failed: {cause}"),
                Some(Report::Results(results)) => break results,
                None => bail!("the server has ended"),
            }
        };
        browser.end().await?;
        socketio.end().await?;
        libp2p.end().await?;
        server.abort();
        Ok(results)
    }

    fn start_node(&self, script: &'static str, state: &std::path::Path) -> anyhow::Result<Child> {
        let mut command = Command::new("node");
        command.arg(self.bundles.join(script)).arg(state.join("tls-cert.pem")).arg(state.join("tls-key.pem"));
        Child::of(script, command.env("NODE_PATH", &self.node_modules))
    }
}

fn names() -> String {
    FIGURES.iter().map(|figure| figure.name).collect::<Vec<_>>().join("; ")
}
