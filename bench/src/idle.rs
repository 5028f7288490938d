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
//! anonymous memory (`Pss_Anon`), so whole pages with whatever lies free in them: what the machine must really have. Memory
//! of the kernel for sockets is in neither figure, and is the same for both.
//!
//! Every session is of a device of its own, enrolled in the store beforehand.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use duologue_server::{State, development};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    Kind, Transport,
    child::Child,
    device,
    report::{self, Entry, median},
};

/// The goal: what a session may cost beyond the baseline's link, for keys, counts and everything else that it is more.
const BEYOND_BASELINE_LEN: f64 = 2_600.0;
/// Descriptors of a process beside its sockets.
const OTHER_DESCRIPTORS: u32 = 100;

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
    /// Where the entries go
    #[arg(long, default_value = "target/bench/idle.json")]
    json: PathBuf,
}

/// Bytes a session in every round.
struct Measured {
    transport: Transport,
    ours: Vec<f64>,
    baseline: Vec<f64>,
}

impl Idle {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        make_room_for(self.sessions)?;
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let state = directory.path().join("state");
        eprintln!("bench: enrolling {} devices", self.sessions);
        {
            let state = State::open(&state)?;
            development(state.directory())?;
            device::enrol(&state, self.sessions)?;
        }
        let transports = self.transport.map_or(vec![Transport::Tls, Transport::Clear], |transport| vec![transport]);
        let measured = |transport| Measured { transport, ours: Vec::new(), baseline: Vec::new() };
        let mut all: Vec<_> = transports.into_iter().map(measured).collect();
        let state = state.to_str().context("the temporary directory has no proper name")?;
        for round in 1..=self.rounds {
            for measured in &mut all {
                for kind in [Kind::Duologue, Kind::Tungstenite] {
                    let transport = measured.transport;
                    let each = self.measure(kind, transport, state).await;
                    let each = each.with_context(|| format!("{kind}, {transport}"))?;
                    eprintln!("bench: round {round} of {}: {kind}, {transport}: {each:.0} B a session", self.rounds);
                    match kind {
                        Kind::Duologue => measured.ours.push(each),
                        Kind::Tungstenite => measured.baseline.push(each),
                    }
                }
            }
        }
        self.print(&all);
        let entries: Vec<_> = all.iter().map(Measured::entry).collect();
        report::write(&self.json, &entries)
    }

    /// Bytes that one more session costs.
    async fn measure(&self, kind: Kind, transport: Transport, state: &str) -> anyhow::Result<f64> {
        let verb = match kind {
            Kind::Duologue => "serve-duologue",
            Kind::Tungstenite => "serve-tungstenite",
        };
        let of_both = ["--transport".to_owned(), transport.to_string(), "--state".to_owned(), state.to_owned()];
        let mut server = Child::start(verb, &of_both)?;
        let port = server.answer("ready").await?;
        let of_clients = ["--kind", &kind.to_string(), "--port", &port.to_string(), "--echo", &self.echo.to_string()];
        let of_clients: Vec<_> = of_clients.into_iter().map(str::to_owned).chain(of_both).collect();
        let mut clients = Child::start("clients", &of_clients)?;
        let few = self.sessions / 10;
        let with_few = self.memory_with(few, &server, &mut clients).await?;
        let with_all = self.memory_with(self.sessions, &server, &mut clients).await?;
        clients.end().await?;
        server.end().await?;
        Ok((with_all - with_few) / f64::from(self.sessions - few))
    }

    /// The server's memory once there are so many sessions and it has come to rest.
    async fn memory_with(&self, sessions: u32, server: &Child, clients: &mut Child) -> anyhow::Result<f64> {
        clients.ask(&sessions.to_string()).await?;
        let opened = clients.answer("open").await?;
        ensure!(opened == sessions, "only {opened} of {sessions} sessions are open");
        tokio::time::sleep(Duration::from_secs(self.settle)).await;
        let len = server.anonymous_len()?;
        clients.ask(&sessions.to_string()).await?;
        let open = clients.answer("open").await?;
        ensure!(open == sessions, "only {open} of {sessions} sessions stayed open");
        // Below 2^53 bytes this is exact.
        Ok(len as f64)
    }

    fn print(&self, all: &[Measured]) {
        println!(
            "Memory of an idle session: anonymous bytes of the server (Pss_Anon), {} sessions, {} rounds: median ± spread",
            self.sessions, self.rounds
        );
        println!(
            "{:<10} {:>18} {:>20} {:>12} {:>12}  goal",
            "transport", "duologue", "tokio-tungstenite", "difference", "at most"
        );
        for measured in all {
            let ((ours, ours_by), (baseline, baseline_by)) = (median(&measured.ours), median(&measured.baseline));
            println!(
                "{:<10} {:>18} {:>20} {:>+12.0} {:>+12.0}  {}",
                measured.transport.to_string(),
                format!("{ours:.0} ± {ours_by:.0}"),
                format!("{baseline:.0} ± {baseline_by:.0}"),
                ours - baseline,
                BEYOND_BASELINE_LEN,
                if is_met(ours, baseline) { "met" } else { "not met" },
            );
        }
    }
}

impl Measured {
    fn entry(&self) -> Entry {
        let ((ours, _), (baseline, _)) = (median(&self.ours), median(&self.baseline));
        Entry {
            group: "idle",
            name: format!("memory of an idle session, {}", self.transport),
            unit: "B",
            ours: ours.round(),
            baseline: baseline.round(),
            baseline_name: "tokio-tungstenite",
            ratio: ours / baseline,
            goal: format!("at most the baseline and {BEYOND_BASELINE_LEN} B"),
            met: is_met(ours, baseline),
        }
    }
}

fn is_met(ours: f64, baseline: f64) -> bool {
    ours <= baseline + BEYOND_BASELINE_LEN
}

/// Raises this process's limit of open files, which its children inherit, if it is too low for so many sockets.
fn make_room_for(sessions: u32) -> anyhow::Result<()> {
    let needed = u64::from(sessions + OTHER_DESCRIPTORS);
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    ensure!(
        limit.maximum.is_none_or(|maximum| maximum >= needed),
        "{sessions} sessions need {needed} open files, and `ulimit -Hn` allows {}: raise it, or measure fewer sessions",
        limit.maximum.unwrap_or_default()
    );
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).context("cannot raise `ulimit -n`")
}

#[cfg(test)]
mod tests {
    use super::is_met;

    #[test]
    fn the_goal_is_met_up_to_its_last_byte() {
        assert!(is_met(7_600.0, 5_000.0));
        assert!(!is_met(7_601.0, 5_000.0));
    }
}
