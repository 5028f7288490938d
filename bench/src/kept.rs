//! The group `kept`: what it costs that sessions are kept on disk, beside the same server without that.
//!
//! What came back in the time that a run takes counts here, since whoever waits for a disk needs no CPU. The time of a commit is that
//! of the same store, asked alone.

use std::{path::PathBuf, time::Duration, time::Instant};

use duologue_server::State;

use crate::{
    Kind, Transport,
    bed::{Bed, Load, Server},
    report::{self, Comparison, Goal, median},
};

/// Sessions, and messages on their way in each: few, which wait for the disk, and so many that something else is the bound.
const SESSIONS: u32 = 20;
const FEW: u32 = 100;
const MANY: u32 = 1_000;
/// Of messages that are timed, in a second: few, so that each waits for its own commits.
const RATE: u32 = 50;
const COMMITS: u32 = 50;

#[derive(clap::Args)]
pub(crate) struct Kept {
    /// How often everything is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long a run takes
    #[arg(long, default_value_t = 2_000)]
    millis: u64,
    /// Where the entries go
    #[arg(long, default_value = "target/bench/kept.json")]
    json: PathBuf,
}

impl Kept {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let bed = Bed::pinned(SESSIONS)?;
        let millis = format!("--millis={}", self.millis);
        let sessions = format!("--sessions={SESSIONS}");
        let [few, many] = [FEW, MANY].map(|in_flight| format!("--in-flight={in_flight}"));
        let [few, many] = [&few, &many].map(|in_flight| ["--job=echo", &sessions, in_flight, &millis]);
        let stream = ["--job=stream", "--sessions=4", "--len=65536", &millis];
        let lone = ["--job=rate", &format!("--rate={RATE}"), &millis];
        let comparison = |name: &str, unit, baseline_name, goal| Comparison {
            name: name.to_owned(),
            unit,
            ours: Vec::new(),
            baseline: Vec::new(),
            baseline_name,
            goal,
        };
        let without = "not kept";
        let mut of_few = comparison("64 B echo, 100 in flight", "messages/s", without, Goal::None);
        let mut of_many = comparison("64 B echo, 1,000 in flight", "messages/s", without, Goal::AtLeast(0.5));
        let mut bytes = comparison("byte stream and back", "MB/s", without, Goal::AtLeast(0.5));
        let mut times = comparison("p50 of a lone echo", "ms", without, Goal::None);
        let mut more = comparison("p50 of a lone echo, beyond that without", "ms", "a commit", Goal::AtMost(2.0));
        let secs = Duration::from_millis(self.millis).as_secs_f64();
        for round in 1..=self.rounds {
            for (messages, load) in [(&mut of_few, &few), (&mut of_many, &many)] {
                let (kept, unkept) = (run(&bed, true, load).await?, run(&bed, false, load).await?);
                messages.ours.push(kept.count / secs);
                messages.baseline.push(unkept.count / secs);
            }
            let (kept, unkept) = (run(&bed, true, &stream).await?, run(&bed, false, &stream).await?);
            bytes.ours.push(kept.count / secs / 1e6);
            bytes.baseline.push(unkept.count / secs / 1e6);
            let (kept, unkept) = (run(&bed, true, &lone).await?, run(&bed, false, &lone).await?);
            times.ours.push(kept.p50_micros / 1e3);
            times.baseline.push(unkept.p50_micros / 1e3);
            more.ours.push((kept.p50_micros - unkept.p50_micros) / 1e3);
            more.baseline.push(commit_millis(&bed)?);
            eprintln!("bench: round {round} of {}", self.rounds);
        }
        let title = format!("Sessions that are kept on disk, TLS on loopback, {} rounds", self.rounds);
        report::conclude("kept", &title, &self.json, &[of_few, of_many, bytes, times, more])
    }
}

async fn run(bed: &Bed, keeps: bool, load: &[&str]) -> anyhow::Result<Load> {
    let options: &[&str] = if keeps { &["--keep"] } else { &[] };
    let load: Vec<_> = load.iter().map(|option| (*option).to_owned()).collect();
    bed.load(Server { kind: Kind::Duologue, transport: Transport::Tls, options }, &load).await
}

/// The median of one change of the store, which is on disk; at the pace of the messages, since a disk that rests takes longer.
fn commit_millis(bed: &Bed) -> anyhow::Result<f64> {
    let state = State::open(bed.state())?;
    let mut times = Vec::new();
    for _ in 0..COMMITS {
        std::thread::sleep(Duration::from_secs(1) / RATE);
        let began = Instant::now();
        state.new_invite(Duration::from_secs(600))?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(&times).0)
}
