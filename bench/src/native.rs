//! The group `native`: what a core of the server moves for native clients, beside tokio-tungstenite over the same rustls.
//!
//! A figure is what came back to the clients ÷ CPU seconds of the server's process. Each server has a core of its own, and
//! the clients the others, so that theirs is not in it. tokio-tungstenite runs with large buffers, once with a write for each
//! message, as its examples and most servers do, and once with what is ready joined into one write.

use std::path::PathBuf;

use crate::{
    Kind, Transport,
    bed::{Bed, Server},
    report::{self, Comparison, Goal},
};

/// Sessions of the small messages, and messages on their way in each.
const SESSIONS: u32 = 4;
const IN_FLIGHT: u32 = 500;

const PLAIN: (&str, &[&str]) = ("tokio-tungstenite", &["--large-buffers"]);
const JOINED: (&str, &[&str]) = ("tokio-tungstenite, writes joined", &["--large-buffers", "--join-writes"]);

#[derive(clap::Args)]
pub(crate) struct Native {
    /// How often everything is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long a run takes
    #[arg(long, default_value_t = 2_000)]
    millis: u64,
    /// Where the entries go
    #[arg(long, default_value = "target/bench/native.json")]
    json: PathBuf,
}

impl Native {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let bed = Bed::pinned(SESSIONS)?;
        let millis = format!("--millis={}", self.millis);
        let echo = ["--job=echo", &format!("--sessions={SESSIONS}"), &format!("--in-flight={IN_FLIGHT}"), &millis];
        let stream = ["--job=stream", "--len=65536", &millis];
        let name = "64 B echo, many in flight, a core of the server";
        let mut plain = comparison(name, "messages/s", PLAIN, Goal::AtLeast(10.0));
        let mut joined = comparison(name, "messages/s", JOINED, Goal::AtLeast(0.8));
        let name = "byte stream and back, a core of the server";
        let mut bytes = comparison(name, "MB/s", PLAIN, Goal::AtLeast(0.8));
        for round in 1..=self.rounds {
            let ours = run(&bed, None, &echo).await?;
            plain.ours.push(ours);
            joined.ours.push(ours);
            plain.baseline.push(run(&bed, Some(PLAIN), &echo).await?);
            joined.baseline.push(run(&bed, Some(JOINED), &echo).await?);
            bytes.ours.push(run(&bed, None, &stream).await? / 1e6);
            bytes.baseline.push(run(&bed, Some(PLAIN), &stream).await? / 1e6);
            eprintln!("bench: round {round} of {}", self.rounds);
        }
        let title = format!("Native clients, TLS on loopback, {} rounds", self.rounds);
        report::conclude("native", &title, &self.json, &[plain, joined, bytes])
    }
}

/// What came back for each CPU second of the server.
async fn run(bed: &Bed, baseline: Option<(&str, &'static [&'static str])>, load: &[&str]) -> anyhow::Result<f64> {
    let (kind, options) = match baseline {
        None => (Kind::Duologue, &[][..]),
        Some((_, options)) => (Kind::Tungstenite, options),
    };
    let load: Vec<_> = load.iter().map(|option| (*option).to_owned()).collect();
    let load = bed.load(Server { kind, transport: Transport::Tls, options }, &load).await?;
    Ok(load.per_cpu_second())
}

fn comparison(name: &str, unit: &'static str, baseline: (&'static str, &[&str]), goal: Goal) -> Comparison {
    let (ours, baseline_name) = (Vec::new(), baseline.0);
    Comparison { name: name.to_owned(), unit, ours, baseline: Vec::new(), baseline_name, goal }
}
