//! The group `connect`: from nothing to the first reply, and back after a cut, on a path with 50 ms round trip.
//!
//! ```text
//! bare WebSocket   TCP ─ TLS ─ upgrade ─ message, echo               four round trips
//! Duologue         TCP ─ TLS ─ upgrade with M1, M2 ─ AUTH and request, echo      as many
//! after a cut      TCP ─ TLS ─ upgrade with M1, M2 ─│ AUTH, AUTH_OK: open again  one behind the upgrade
//! ```
//!
//! The path is `path.rs`, a proxy that delays. A fresh server for each end serves all rounds; no TLS session is resumed.

use std::{
    path::{Path as FilePath, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use duologue::LineState;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    Kind, Transport,
    bed::{Bed, Server},
    clients::Dial,
    line::{self, websocket_config},
    path::{ONE_WAY, Path},
    report::{self, Comparison, Goal},
};

/// Bytes of the message and its echo.
const LEN: usize = 64;
/// A round of either end takes a second at most; a line's first redial waits for a quarter of it.
const ROUND: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(crate) struct Connect {
    /// How often everything is measured
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Where the entries go
    #[arg(long, default_value = "target/bench/connect.json")]
    json: PathBuf,
}

/// What a round of one end took, in milliseconds.
struct Round {
    first_reply: f64,
    /// From the WebSocket's opening after a cut: to the line being open; the bare one's first echo.
    resumed: f64,
    /// From the cut to the same.
    back: f64,
}

impl Connect {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let bed = Bed::new(1)?;
        let [ours, bare] = [Kind::Duologue, Kind::Tungstenite]
            .map(|kind| Server { kind, transport: Transport::Tls, options: &[] })
            .map(|server| bed.start(server));
        let (ours, bare) = (ours.await?, bare.await?);
        let (our_path, bare_path) = (Path::to(ours.port).await?, Path::to(bare.port).await?);
        let dial = |kind, path: &Path| Dial::new(kind, Transport::Tls, path.port, FilePath::new(bed.state()));
        let (our_dial, bare_dial) = (dial(Kind::Duologue, &our_path)?, dial(Kind::Tungstenite, &bare_path)?);
        let (mut our_rounds, mut bare_rounds) = (Vec::new(), Vec::new());
        for round in 1..=self.rounds {
            our_rounds.push(tokio::time::timeout(ROUND, round_of_ours(&our_dial, &our_path)).await??);
            bare_rounds.push(tokio::time::timeout(ROUND, round_of_bare(&bare_dial, &bare_path)).await??);
            eprintln!("bench: round {round} of {}", self.rounds);
        }
        let figure = |name: &str, unit, value: fn(&Round) -> f64, goal| Comparison {
            name: name.to_owned(),
            unit,
            ours: our_rounds.iter().map(value).collect(),
            baseline: bare_rounds.iter().map(value).collect(),
            baseline_name: "tokio-tungstenite",
            goal,
        };
        let figures = [
            figure("connect to first reply", "ms", |round| round.first_reply, Goal::AtMost(1.02)),
            // One round trip is what the bare one's echo takes; a tenth of it is left for the work.
            figure(
                "after a cut, from the WebSocket's opening to open again",
                "round trips",
                |round| round.resumed / (2e3 * ONE_WAY.as_secs_f64()),
                Goal::AtMost(1.1),
            ),
            figure(
                "after a cut, from the cut on; ours waits before, at random, 0 to 250 ms",
                "ms",
                |round| round.back,
                Goal::None,
            ),
        ];
        let millis = 2 * ONE_WAY.as_millis();
        let title = format!("A path with {millis} ms round trip, by a delaying proxy, TLS, {} rounds", self.rounds);
        report::conclude("connect", &title, &self.json, &figures)
    }
}

async fn round_of_ours(dial: &Arc<Dial>, path: &Path) -> anyhow::Result<Round> {
    let (upgrades, mut upgraded) = mpsc::unbounded_channel();
    let begun = Instant::now();
    let (line, _) = line::begin(Arc::clone(dial), 0, Some(upgrades))?;
    let message = vec![0x5a; LEN];
    // Asked before the line is open: it leaves as soon as it may.
    ensure!(line.request("echo", message.clone()).await? == message, "another echo");
    let first_reply = millis_since(begun);
    upgraded.recv().await.context("it did not dial")?;

    let cut = Instant::now();
    path.cut();
    let resuming = line.state_after(LineState::Open).await;
    ensure!(resuming == LineState::Resuming, "the line is {}", resuming.word());
    let reopened = line.state_after(resuming).await;
    ensure!(reopened == LineState::Open, "the line is {}", reopened.word());
    let (open, back) = (Instant::now(), millis_since(cut));
    let upgraded = upgraded.recv().await.context("it did not dial again")?;
    Ok(Round { first_reply, resumed: (open - upgraded).as_secs_f64() * 1e3, back })
}

async fn round_of_bare(dial: &Dial, path: &Path) -> anyhow::Result<Round> {
    let first = bare_echo(dial).await?;
    let cut = Instant::now();
    path.cut();
    let again = bare_echo(dial).await?;
    Ok(Round { first_reply: first.0, resumed: again.1, back: millis_since(cut) })
}

/// How long it took to the first echo, from nothing and from the WebSocket's opening.
async fn bare_echo(dial: &Dial) -> anyhow::Result<(f64, f64)> {
    let begun = Instant::now();
    let mut socket = dial.websocket(websocket_config()).await?;
    let opened = Instant::now();
    socket.send(Message::binary(vec![0x5a; LEN])).await?;
    let echo = socket.next().await.context("the WebSocket has ended")??;
    ensure!(echo.len() == LEN, "another echo");
    Ok((millis_since(begun), millis_since(opened)))
}

fn millis_since(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}
