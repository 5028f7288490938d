//! The group `scale`: what an echo costs the server, and how long it takes, with ever more sessions on one server.
//!
//! All sessions together send at the same rate, however many they are, each in its turn, so that nothing but their number
//! changes. The goal is a cost that stays flat. It grows by what each session pays for itself: the acknowledgement, which
//! finds no company in a session that speaks once in two seconds, and the ping each 45 s.
//!
//! Rounds are many and short, and both servers take turns in each: what else the machine does falls on both. Where they still
//! differ by more than half there is no ratio. What no other process can touch is counted beside them: the instructions of one
//! session's echoes, each of which has come back and was acknowledged long before the next.

use std::path::PathBuf;

use anyhow::ensure;

use crate::{
    Kind, Transport,
    bed::{Bed, Server},
    callgrind,
    report::{self, Comparison, Goal, median},
};

const SESSIONS: [u32; 5] = [1, 10, 100, 1_000, 10_000];
/// Times the best of all.
const GOAL: f64 = 1.5;
/// Times tokio-tungstenite's own.
const CPU_GOAL: f64 = 1.35;
const P99_GOAL: f64 = 1.5;
/// Where a slowest hundredth is more than noise.
const P99_SESSIONS: [u32; 2] = [1_000, 10_000];
/// Of a lone echo: 0.55 of the 47,450 that it was at af15a31, when each TAKEN travelled alone.
const LONE_GOAL: f64 = 26_097.0;
/// A message each 2 ms: long enough for a server under callgrind to be done with the one before.
const LONE: [&str; 2] = ["--job=rate", "--rate=500"];
const LONE_MILLIS: [u32; 2] = [1_000, 7_000];
/// The load takes a quarter of a core. Where the slowest hundredth waits longer than this, somebody else has had the core: what
/// waits is then answered together, which is cheaper for us than anything else in here.
const BUSY_MILLIS: f64 = 20.0;
const ATTEMPTS: u32 = 3;

#[derive(clap::Args)]
pub(crate) struct Scale {
    /// How often everything is measured
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Messages a second, of all sessions together
    #[arg(long, default_value_t = 4_000)]
    rate: u32,
    /// How long a run takes
    #[arg(long, default_value_t = 1_500)]
    millis: u64,
    /// At most so many sessions
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    sessions: u32,
    /// Where the entries go
    #[arg(long, default_value = "target/bench/scale.json")]
    json: PathBuf,
}

/// Of one server and one number of sessions, in every round.
#[derive(Default)]
struct Measured {
    /// Server CPU a message.
    micros: Vec<f64>,
    p50_millis: Vec<f64>,
    p99_millis: Vec<f64>,
}

impl Scale {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let numbers: Vec<_> = SESSIONS.into_iter().filter(|number| *number <= self.sessions).collect();
        let bed = Bed::pinned(numbers.iter().copied().max().unwrap_or_default())?;
        let mut all: Vec<_> = numbers.iter().map(|_| (Measured::default(), Measured::default())).collect();
        for round in 1..=self.rounds {
            for (sessions, (ours, bare)) in numbers.iter().zip(&mut all) {
                for (kind, measured) in [(Kind::Duologue, ours), (Kind::Tungstenite, bare)] {
                    self.measure(&bed, kind, *sessions, measured).await?;
                }
                eprintln!("bench: round {round} of {}: {sessions} sessions", self.rounds);
            }
        }
        let best = all.iter().map(|(ours, _)| median(&ours.micros).0).fold(f64::INFINITY, f64::min);
        let mut figures = Vec::new();
        for (sessions, (ours, bare)) in numbers.iter().zip(all) {
            let figure = |what: &str, unit, ours: &[f64], baseline: &[f64], baseline_name, goal| Comparison {
                name: format!("{what}, {sessions} {}", if *sessions == 1 { "session" } else { "sessions" }),
                unit,
                ours: ours.to_vec(),
                baseline: baseline.to_vec(),
                baseline_name,
                goal,
            };
            let (cost, p50, p99) = ("server CPU of an echo", "p50 of an echo", "p99 of an echo");
            let p99_goal = if P99_SESSIONS.contains(sessions) { Goal::AtMostIfSteady(P99_GOAL) } else { Goal::None };
            figures.push(figure(cost, "µs", &ours.micros, &[best], "the best of ours", Goal::AtMost(GOAL)));
            let cpu_goal = Goal::AtMostIfSteady(CPU_GOAL);
            figures.push(figure(cost, "µs", &ours.micros, &bare.micros, "tokio-tungstenite", cpu_goal));
            figures.push(figure(p50, "ms", &ours.p50_millis, &bare.p50_millis, "tokio-tungstenite", Goal::None));
            figures.push(figure(p99, "ms", &ours.p99_millis, &bare.p99_millis, "tokio-tungstenite", p99_goal));
        }
        if callgrind::is_there() {
            figures.push(lone(&bed).await?);
        } else {
            eprintln!("bench: skipped: the instructions of a lone echo (they need valgrind on PATH)");
        }
        let title = format!(
            "One server and many sessions, TLS on loopback, {} messages of 64 B a second in all, {} rounds",
            self.rate, self.rounds
        );
        report::conclude("scale", &title, &self.json, &figures)
    }

    async fn measure(&self, bed: &Bed, kind: Kind, sessions: u32, measured: &mut Measured) -> anyhow::Result<()> {
        let options = [("sessions", sessions.into()), ("rate", self.rate.into()), ("millis", self.millis)];
        let options = options.map(|(option, value): (_, u64)| format!("--{option}={value}"));
        let options = [&["--job=rate".to_owned()][..], &options].concat();
        let mut load = bed.load(Server { kind, transport: Transport::Tls, options: &[] }, &options).await?;
        for _ in 1..ATTEMPTS {
            if load.p99_micros < BUSY_MILLIS * 1e3 {
                break;
            }
            eprintln!("bench: {kind}, {sessions} sessions: p99 {:.0} ms, a busy machine? Again", load.p99_micros / 1e3);
            load = bed.load(Server { kind, transport: Transport::Tls, options: &[] }, &options).await?;
        }
        let wanted = f64::from(self.rate) * self.millis as f64 / 1e3;
        ensure!(load.count > 0.9 * wanted, "the clients sent only {} of {wanted} messages", load.count);
        measured.micros.push(1e6 / load.per_cpu_second());
        measured.p50_millis.push(load.p50_micros / 1e3);
        measured.p99_millis.push(load.p99_micros / 1e3);
        Ok(())
    }
}

async fn lone(bed: &Bed) -> anyhow::Result<Comparison> {
    let (mut ours, mut baseline) = (Vec::new(), Vec::new());
    for (kind, count) in [(Kind::Duologue, &mut ours), (Kind::Tungstenite, &mut baseline)] {
        let server = Server { kind, transport: Transport::Tls, options: &[] };
        count.push(bed.instructions_of_an_echo(server, &LONE, LONE_MILLIS).await?);
    }
    let (name, unit) = ("instructions of a lone echo".to_owned(), "instructions");
    let goal = Goal::AtMostOf(LONE_GOAL, unit);
    Ok(Comparison { name, unit, ours, baseline, baseline_name: "tokio-tungstenite", goal })
}
