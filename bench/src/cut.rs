//! The group `cut`: how long until all lines are back that lost their connections at once, as when a proxy starts again.
//!
//! ```text
//! server ◄──lines── processes, each from an address of its own ─► cut ─► each line dials again, with others, until it is open
//! ```
//!
//! A device has 16 of the lines. Everything is on the machine's own cores, the clients' work too. No TLS session is resumed.

use std::{
    io::{BufRead as _, Write as _},
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use duologue::{LineState, SessionId};
use duologue_native::Line;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;

use crate::{
    Kind, Transport,
    bed::{Bed, Server},
    clients::{Dial, OPENING_MAX, To},
    line,
    report::{self, Comparison, Goal, median},
};

/// Of a device, as the server allows.
const OF_A_DEVICE: u32 = 16;
/// Lines of a process.
const OF_A_PROCESS: u32 = 6_000;
/// In which all are to be back.
const BACK_SECS: f64 = 30.0;
/// When somebody looks no more.
const PATIENCE: Duration = Duration::from_secs(100);

#[derive(clap::Args)]
pub(crate) struct Cut {
    /// How many lines; a process may open 20,000 files on most machines
    #[arg(long, default_value_t = 18_000, value_parser = clap::value_parser!(u32).range(1..))]
    lines: u32,
    /// Where the entries go
    #[arg(long, default_value = "target/bench/cut.json")]
    json: PathBuf,
}

#[derive(clap::Args)]
pub(crate) struct CutClients {
    #[command(flatten)]
    server: To,
    /// The numbers of its lines
    #[arg(long)]
    first: u32,
    #[arg(long)]
    lines: u32,
    /// Where they come from
    #[arg(long)]
    from: IpAddr,
}

impl Cut {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let bed = Bed::with_room(self.lines.div_ceil(OF_A_DEVICE), self.lines)?;
        let server = Server { kind: Kind::Duologue, transport: Transport::Tls, options: &[] };
        let running = bed.start(server).await?;
        let mut processes = Vec::new();
        for (first, host) in (0..self.lines).step_by(OF_A_PROCESS as usize).zip(2..) {
            let lines = OF_A_PROCESS.min(self.lines - first);
            let from = Ipv4Addr::new(127, 0, 0, host);
            let options = [format!("--first={first}"), format!("--lines={lines}"), format!("--from={from}")];
            let mut clients = bed.clients("cut-clients", server, running.port, &options)?;
            clients.answer::<u32>("open").await?;
            processes.push(clients);
            eprintln!("bench: {} lines are open", first + lines);
        }
        let before = running.process.cpu_secs()?;
        for clients in &mut processes {
            clients.ask("cut").await?;
        }
        let (mut back, mut half, mut fresh, mut dials) = (0.0_f64, 0.0_f64, 0, 0);
        for clients in &mut processes {
            half = half.max(clients.answer("half").await?);
            back = back.max(clients.answer("back").await?);
            fresh += clients.answer::<u32>("fresh").await?;
            dials += clients.answer::<u32>("dials").await?;
        }
        let cpu = running.process.cpu_secs()? - before;
        eprintln!("bench: half after {half:.1} s, {dials} WebSockets opened, {cpu:.1} s of the server's CPU");
        let figure = |name: &str, unit, ours: f64, most: f64| Comparison {
            name: format!("{name}, {} lines", self.lines),
            unit,
            ours: vec![ours],
            baseline: vec![most],
            baseline_name: "the limit",
            goal: Goal::AtMostOf(most, unit),
        };
        let figures = [
            figure("after a cut: all are back", "s", back, BACK_SECS),
            figure("after a cut: sessions that began anew", "lines", f64::from(fresh), 0.0),
        ];
        report::conclude("cut", "Lines that lose their connections at once", &self.json, &figures)
    }
}

impl CutClients {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let dial = self.server.dial_from(self.from)?;
        let (upgrades, mut upgraded) = mpsc::unbounded_channel();
        let lines = (self.first..self.first + self.lines).map(|number| {
            let (dial, upgrades) = (Arc::clone(&dial), upgrades.clone());
            async move { open(dial, number / OF_A_DEVICE, upgrades).await }
        });
        let lines: Vec<Line> = stream::iter(lines).buffer_unordered(OPENING_MAX).try_collect().await?;
        let sessions: Vec<_> = lines.iter().map(session).collect();
        writeln!(std::io::stdout(), "open {}", lines.len())?;
        std::io::stdin().lock().lines().next().context("nobody says when")??;
        while upgraded.try_recv().is_ok() {}
        let cut = Instant::now();
        let back = lines.iter().map(|line| async move {
            line.state_after(LineState::Open).await;
            while line.state() != LineState::Open {
                ensure!(line.state() != LineState::Closed, "a line is closed: {:?}", line.closed().await);
                line.state_after(line.state()).await;
            }
            Ok(cut.elapsed().as_secs_f64())
        });
        let mut back = Box::pin(futures_util::future::try_join_all(back));
        // Everybody looks before it happens.
        ensure!(futures_util::poll!(&mut back).is_pending(), "they are not open");
        dial.cut();
        let back = tokio::time::timeout(PATIENCE, back).await.context("some are not back")??;
        let last = back.iter().copied().fold(0.0, f64::max);
        let fresh = lines.iter().map(session).zip(sessions).filter(|(now, before)| now != before).count();
        let mut dials = 0;
        while upgraded.try_recv().is_ok() {
            dials += 1;
        }
        writeln!(std::io::stdout(), "half {}\nback {last}\nfresh {fresh}\ndials {dials}", median(&back).0)?;
        // Until the parent lets go.
        let _ = std::io::stdin().lock().lines().next();
        Ok(())
    }
}

async fn open(dial: Arc<Dial>, device: u32, upgrades: line::Upgrades) -> anyhow::Result<Line> {
    let (line, _) = line::begin(dial, device, Some(upgrades))?;
    line.ready().await?;
    Ok(line)
}

fn session(line: &Line) -> Option<SessionId> {
    line.command(|line, _| line.session().id())
}
