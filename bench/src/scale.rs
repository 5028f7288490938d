//! The group `scale`: what an echo costs the server, and how long it takes, with ever more sessions on one server.
//!
//! All sessions together send at the same rate, however many they are, each in its turn, so that nothing but their number
//! changes. The goal is a cost that stays flat. It grows by what each session pays for itself: the acknowledgement, which
//! finds no company in a session that speaks once in two seconds, and the ping each 25 s.

use std::path::PathBuf;

use anyhow::ensure;

use crate::{
    Kind, Transport,
    bed::{Bed, Server},
    report::{self, Comparison, Goal, median},
};

const SESSIONS: [u32; 5] = [1, 10, 100, 1_000, 10_000];
/// Times the best of all.
const GOAL: f64 = 1.5;
/// The load takes a quarter of a core. Where the slowest hundredth waits longer than this, somebody else has had the core: what
/// waits is then answered together, which is cheaper for us than anything else in here.
const BUSY_MILLIS: f64 = 20.0;
const ATTEMPTS: u32 = 3;

#[derive(clap::Args)]
pub(crate) struct Scale {
    /// How often everything is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Messages a second, of all sessions together
    #[arg(long, default_value_t = 4_000)]
    rate: u32,
    /// How long a run takes
    #[arg(long, default_value_t = 5_000)]
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
            let (cost, p99) = ("server CPU of an echo", "p99 of an echo");
            figures.push(figure(cost, "µs", &ours.micros, &[best], "the best of ours", Goal::AtMost(GOAL)));
            figures.push(figure(cost, "µs", &ours.micros, &bare.micros, "tokio-tungstenite", Goal::None));
            figures.push(figure(p99, "ms", &ours.p99_millis, &bare.p99_millis, "tokio-tungstenite", Goal::None));
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
        measured.p99_millis.push(load.p99_micros / 1e3);
        Ok(())
    }
}
