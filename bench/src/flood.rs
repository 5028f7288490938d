//! The group `flood`: what strangers who mean ill do to an open line, and to who comes new.
//!
//! ```text
//! core 0   server ◄── an open line, an echo every 4 ms          p99 quiet, then under each flood
//!                 ◄── newcomers, 50 in a flood                  in within 2 s, or not
//! core 1   ◄── the flood, as fast as that core can              `attack.rs`
//! ```
//!
//! The quiet p99 is of the same server, the same line and the same cores. Everybody comes from one loopback address, of which
//! nothing can be told apart by address: the worst case, a server behind a proxy that says nothing of its clients.

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum as _;
use duologue_server::State;

use crate::{
    Kind, Transport,
    attack::Attack,
    banned,
    bed::{Bed, Running, Server},
    child::Child,
    device,
    report::{self, Comparison, Goal},
};

/// Echoes a second of the open line.
const RATE: u32 = 250;
/// Those who come new in one flood.
const NEWCOMERS: u32 = 50;
/// What p99 may be: so many times the quiet one, or so many milliseconds if that is more.
const TIMES_QUIET: f64 = 3.0;
const MILLIS_AT_LEAST: f64 = 10.0;
const MB: f64 = 1e6;

#[derive(clap::Args)]
pub(crate) struct Flood {
    /// How often everything is measured
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each flood takes
    #[arg(long, default_value_t = 20_000)]
    millis: u64,
    /// One kind of flood only
    #[arg(long)]
    only: Option<Attack>,
    /// Where the entries go
    #[arg(long, default_value = "target/bench/flood.json")]
    json: PathBuf,
}

/// What one kind of flood came to, a value each round.
struct Measured {
    attack: Attack,
    p99_millis: Vec<f64>,
    let_in: Vec<f64>,
    /// Of the newcomers, the slowest but one of a hundred.
    waited_millis: Vec<f64>,
    memory_mb: Vec<f64>,
}

/// Who is on the server's core beside it.
struct Good {
    line: Child,
    newcomers: Child,
}

impl Flood {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        // The first device has the open line; the others come new.
        let bed = Bed::pinned(1 + NEWCOMERS)?;
        let server = Server { kind: Kind::Duologue, transport: Transport::Tls, options: &[] };
        let state = State::open(bed.state())?;
        device::use_invite(&state)?;
        for number in 0..NEWCOMERS * self.rounds * u32::try_from(Attack::value_variants().len())? {
            state
                .store()
                .add_invite(&device::invite(number, state.identity().public()), Duration::from_secs(86_400))?;
        }
        // Its process is the only one that has the store open.
        drop(state);
        let attacks = Attack::value_variants().iter().copied().filter(|attack| *attack != Attack::Banned);
        let attacks = attacks.filter(|attack| self.only.is_none_or(|only| only == *attack));
        let mut all: Vec<_> = attacks.map(Measured::new).collect();
        let (mut quiet, mut memory) = (Vec::new(), Vec::new());
        for round in 1..=(if all.is_empty() { 0 } else { self.rounds }) {
            let running = bed.start(server).await?;
            let mut good = self.good(&bed, server, &running, round).await?;
            let (_, p99) = good.echoes().await?;
            quiet.push(p99);
            memory.push(running.process.anonymous_len()? as f64 / MB);
            for measured in &mut all {
                self.flood(&bed, server, &running, &mut good, measured).await?;
            }
            eprintln!("bench: round {round} of {}", self.rounds);
            good.line.end().await?;
            good.newcomers.end().await?;
            running.process.end().await?;
        }
        let banned = match self.only {
            None | Some(Attack::Banned) => banned::measure(&bed, self.rounds, self.millis).await?,
            Some(_) => Vec::new(),
        };
        let figures = all.iter().flat_map(|measured| measured.figures(&quiet, &memory));
        let figures: Vec<_> = figures.chain(banned).collect();
        let title = format!("Floods of {} s, from one core", self.millis / 1_000);
        report::conclude("flood", &title, &self.json, &figures)
    }

    /// The open line and the newcomers, who are opened before they are counted where they are to be warm.
    async fn good(&self, bed: &Bed, server: Server, running: &Running, round: u32) -> anyhow::Result<Good> {
        let millis = format!("--millis={}", self.millis);
        let line = ["--job=rate".to_owned(), "--sessions=1".to_owned(), format!("--rate={RATE}"), millis.clone()];
        let first = (round - 1) * NEWCOMERS * u32::try_from(Attack::value_variants().len())?;
        let of_newcomers = [format!("--sessions={NEWCOMERS}"), format!("--first-invite={first}"), millis];
        let newcomers = [&["--job=newcomers".to_owned()][..], &of_newcomers].concat();
        let mut good = Good {
            line: bed.beside_server("load", server, running.port, &line)?,
            newcomers: bed.beside_server("load", server, running.port, &newcomers)?,
        };
        good.line.answer::<u32>("open").await?;
        good.newcomers.answer::<u32>("open").await?;
        Ok(good)
    }

    async fn flood(
        &self,
        bed: &Bed,
        server: Server,
        running: &Running,
        good: &mut Good,
        measured: &mut Measured,
    ) -> anyhow::Result<()> {
        let name = measured.attack;
        let options = [format!("--attack={name}"), format!("--millis={}", self.millis + 1_000)];
        let mut flood = bed.clients("attack", server, running.port, &options)?;
        flood.answer::<u32>("ready").await?;
        let cpu_before = running.process.cpu_secs()?;
        flood.ask("run").await?;
        // It is at its full rate before anybody is timed.
        tokio::time::sleep(Duration::from_millis(500)).await;
        good.newcomers.ask("run").await?;
        let (echoes, p99_millis) = good.echoes().await?;
        let memory_mb = running.process.anonymous_len()? as f64 / MB;
        let (let_in, waited): (f64, f64) = (good.newcomers.answer("count").await?, good.newcomers.answer("p99").await?);
        let made: u64 = flood.answer("count").await?;
        flood.end().await?;
        let cpu = running.process.cpu_secs()? - cpu_before;
        let rate = made * 1_000 / (self.millis + 1_000);
        eprintln!(
            "bench: {name}: {rate} a second, server CPU {cpu:.1} s; {echoes} echoes, p99 {p99_millis:.2} ms; {let_in} of \
             {NEWCOMERS} in, p99 {:.0} ms; {memory_mb:.1} MB",
            waited / 1e3
        );
        measured.p99_millis.push(p99_millis);
        measured.let_in.push(let_in);
        measured.waited_millis.push(waited / 1e3);
        measured.memory_mb.push(memory_mb);
        // The next flood begins when this one's connections are gone.
        tokio::time::sleep(Duration::from_secs(6)).await;
        Ok(())
    }
}

impl Good {
    /// One run of the open line: how many echoes, and the p99 in milliseconds.
    async fn echoes(&mut self) -> anyhow::Result<(u64, f64)> {
        self.line.ask("run").await?;
        let count = self.line.answer("count").await?;
        Ok((count, self.line.answer::<f64>("p99").await? / 1e3))
    }
}

impl Measured {
    const fn new(attack: Attack) -> Self {
        let none = Vec::new;
        Self { attack, p99_millis: none(), let_in: none(), waited_millis: none(), memory_mb: none() }
    }

    fn figures(&self, quiet: &[f64], memory: &[f64]) -> [Comparison; 4] {
        let words = self.attack.words();
        let figure = |what: &str, unit, ours: &[f64], baseline: &[f64], baseline_name, goal| Comparison {
            name: format!("{words}: {what}"),
            unit,
            ours: ours.to_vec(),
            baseline: baseline.to_vec(),
            baseline_name,
            goal,
        };
        let echo = Goal::AtMostOr(TIMES_QUIET, MILLIS_AT_LEAST, "ms");
        let all = [f64::from(NEWCOMERS)];
        [
            figure("p99 of an open line's echo", "ms", &self.p99_millis, quiet, "quiet", echo),
            figure("newcomers in within 2 s", "", &self.let_in, &all, "all who came", Goal::AtLeast(1.0)),
            figure("p99 of a newcomer's way in", "ms", &self.waited_millis, &[2_000.0], "the limit", Goal::None),
            figure("memory of the server", "MB", &self.memory_mb, memory, "quiet", Goal::None),
        ]
    }
}
