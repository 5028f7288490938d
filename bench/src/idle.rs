//! The group `idle`: what one more authenticated session costs a server in memory while nothing happens on it, beside the
//! cost of one more link of a tuned tokio-tungstenite server.
//!
//! ```text
//! each round, each transport: Duologue, then the baseline:
//!     server starts ─► N/10 sessions ─► settle ─► read M ─► N sessions ─► settle ─► read M' ─► all still open? ─► end
//!     bytes a session = (M' − M) ÷ (N − N/10)
//! ```
//!
//! The first tenth takes what is needed once: threads, caches, tables, the free memory of handshakes. M is the process's
//! anonymous memory (`Pss_Anon`), so whole pages with whatever lies free in them: what the machine must really have. Beside it
//! stand the bytes that are live on the heap, as the allocator counts them, each in its size class: the same in every run, and
//! so what the gate holds. Memory of the kernel for sockets is in no figure, and is the same for both.
//!
//! Every session is of a device of its own, enrolled in the store beforehand.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};

use crate::{
    Kind, Transport,
    bed::{Bed, Server},
    child::Child,
    report::{self, Comparison, Goal},
};

#[derive(clap::Args)]
pub(crate) struct Idle {
    /// Sessions, each of a device of its own
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(20..))]
    sessions: u32,
    /// How often everything is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of idleness before memory is read; more than 25 to have every session pinged
    #[arg(long, default_value_t = 3)]
    settle: u64,
    /// Bytes of the one message that each session sends and gets back before it is idle
    #[arg(long, default_value_t = 1_024)]
    echo: usize,
    /// Only with, or only without TLS
    #[arg(long)]
    transport: Option<Transport>,
    /// Ours counts all that the firewall can count
    #[arg(long)]
    watched: bool,
    /// Where the entries go
    #[arg(long, default_value = "target/bench/idle.json")]
    json: PathBuf,
}

/// What a server holds, in bytes.
struct Held {
    anonymous: f64,
    live: f64,
}

impl Idle {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let bed = Bed::new(self.sessions)?;
        let transports = self.transport.map_or(vec![Transport::Tls, Transport::Clear], |transport| vec![transport]);
        let mut figures: Vec<_> = transports.iter().map(|transport| comparisons(*transport)).collect();
        for round in 1..=self.rounds {
            for (transport, [memory, heap]) in transports.iter().zip(&mut figures) {
                for kind in [Kind::Duologue, Kind::Tungstenite] {
                    let options: &[_] = if self.watched && kind == Kind::Duologue { &["--watched"] } else { &[] };
                    let each = self.measure(&bed, Server { kind, transport: *transport, options }).await;
                    let each = each.with_context(|| format!("{kind}, {transport}"))?;
                    let rounds = self.rounds;
                    let Held { anonymous, live } = each;
                    eprintln!(
                        "bench: round {round} of {rounds}: {kind}, {transport}: {anonymous:.0} B a session, {live:.0} live"
                    );
                    match kind {
                        Kind::Duologue => (memory.ours.push(anonymous), heap.ours.push(live)),
                        Kind::Tungstenite => (memory.baseline.push(anonymous), heap.baseline.push(live)),
                    };
                }
            }
        }
        let title = format!(
            "Memory of an idle session: anonymous bytes of the server (Pss_Anon), and live ones of its heap, {} sessions, {} rounds",
            self.sessions, self.rounds
        );
        report::conclude("idle", &title, &self.json, &figures.concat())
    }

    /// Bytes that one more session costs.
    async fn measure(&self, bed: &Bed, server: Server) -> anyhow::Result<Held> {
        let running = bed.start(server).await?;
        let echo = ["--echo".to_owned(), self.echo.to_string()];
        let mut clients = bed.clients("clients", server, running.port, &echo)?;
        let mut server = running.process;
        let few = self.sessions / 10;
        let with_few = self.memory_with(few, &mut server, &mut clients).await?;
        let with_all = self.memory_with(self.sessions, &mut server, &mut clients).await?;
        clients.end().await?;
        server.end().await?;
        let more = f64::from(self.sessions - few);
        let of_one = |with_all: f64, with_few: f64| (with_all - with_few) / more;
        Ok(Held {
            anonymous: of_one(with_all.anonymous, with_few.anonymous),
            live: of_one(with_all.live, with_few.live),
        })
    }

    /// The server's memory once there are so many sessions and it has come to rest.
    async fn memory_with(&self, sessions: u32, server: &mut Child, clients: &mut Child) -> anyhow::Result<Held> {
        clients.ask(&sessions.to_string()).await?;
        let opened: u32 = clients.answer("open").await?;
        ensure!(opened == sessions, "only {opened} of {sessions} sessions are open");
        tokio::time::sleep(Duration::from_secs(self.settle)).await;
        let (anonymous, live) = (server.anonymous_len()?, server.live_len().await?);
        clients.ask(&sessions.to_string()).await?;
        let open: u32 = clients.answer("open").await?;
        ensure!(open == sessions, "only {open} of {sessions} sessions stayed open");
        // Below 2^53 bytes this is exact.
        Ok(Held { anonymous: anonymous as f64, live: live as f64 })
    }
}

fn comparisons(transport: Transport) -> [Comparison; 2] {
    ["memory", "heap"].map(|what| Comparison {
        name: format!("{what} of an idle session, {transport}"),
        unit: "B",
        ours: Vec::new(),
        baseline: Vec::new(),
        baseline_name: "tokio-tungstenite",
        goal: Goal::AtMost(1.0),
    })
}
