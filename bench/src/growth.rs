//! The group `growth`: what the server does for one line, beside 1,000 others and beside 1,000,000, on its own structures
//! (`lines/growth.rs` of the server, which its feature `growth` has).
//!
//! ```text
//! a store of so many devices, written in large transactions ─► a process that opens it, with a session of each in its directory
//!    ├─► each work many times, by the clock ─► its median
//!    └─► the same under callgrind, which collects in `measured` only, and writes what it has when it is told to
//! ```
//!
//! Stores are in memory (/dev/shm, where there is one), so that no figure has a disk in it; what a sync of the disk adds to an
//! enrolment is a figure of its own. Callgrind begins to look when everything is filled: until then the process is nearly as fast as
//! without it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Instant,
};

use anyhow::{Context as _, anyhow, ensure};
use duologue_server::Grown;
use tempfile::TempDir;

use crate::{
    callgrind,
    report::{self, Comparison, Goal, median},
};

const SIZES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// How often each is done, by the clock and under callgrind.
const TIMED: u32 = 200;
const COUNTED: u32 = 32;
/// How often before.
const WARMING: u32 = 8;
/// Where the numbers of devices come from that something is done for: everywhere.
const STEP: u32 = 7_919;
const ENROLS: &str = "device: enrols";

#[derive(clap::Args)]
pub(crate) struct Growth {
    /// The most devices, for a shorter run
    #[arg(long, default_value_t = 1_000_000)]
    most: u32,
    /// Where the entries go
    #[arg(long, default_value = "target/bench/growth.json")]
    json: PathBuf,
}

/// One size's process.
#[derive(clap::Args)]
pub(crate) struct Beside {
    #[arg(long)]
    count: u32,
    /// A state directory that is filled
    #[arg(long)]
    directory: PathBuf,
    /// Under callgrind
    #[arg(long)]
    counted: bool,
}

impl Growth {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        tokio::task::spawn_blocking(|| self.measure()).await?
    }

    fn measure(self) -> anyhow::Result<()> {
        let sizes: Vec<_> = SIZES.into_iter().filter(|size| *size <= self.most).collect();
        let (mut micros, mut instructions) = (BTreeMap::new(), BTreeMap::new());
        for count in &sizes {
            let directory = filled(*count, Path::new("/dev/shm"))?;
            micros.insert(*count, timed(*count, directory.path())?);
            if callgrind::is_there() {
                instructions.insert(*count, counted(*count, directory.path())?);
            }
            eprintln!("bench: {count} devices");
        }
        let (Some(few), Some(many)) = (sizes.first(), sizes.last()) else { return Err(anyhow!("there is no size")) };
        let mut figures = Vec::new();
        for (all, unit, goal) in
            [(&instructions, "instructions", Goal::AtMost(1.5)), (&micros, "µs", Goal::AtMostOr(3.0, 10.0, "µs"))]
        {
            let (Some(few), Some(many)) = (all.get(few), all.get(many)) else { continue };
            for (at, name) in Grown::works().enumerate() {
                let each: Vec<_> = all.values().map(|of_size| format!("{:.1}", of_size[at])).collect();
                eprintln!("{name}, {unit}: {}", each.join(" · "));
                figures.push(Comparison {
                    name: format!("{name}, {unit}"),
                    unit,
                    ours: vec![many[at]],
                    baseline: vec![few[at]],
                    baseline_name: "beside 1,000",
                    goal,
                });
            }
        }
        let on_disk = timed(*few, filled(*few, &std::env::temp_dir())?.path())?;
        let at = Grown::works().position(|name| name == ENROLS).context("devices enrol")?;
        figures.push(Comparison {
            name: "device: enrols, with the disk's syncs".to_owned(),
            unit: "µs",
            ours: vec![on_disk[at]],
            baseline: vec![micros[few][at]],
            baseline_name: "without",
            goal: Goal::None,
        });
        report::conclude("growth", "What is done for one line", &self.json, &figures)
    }
}

/// A state directory of so many devices, below this one if it is there.
fn filled(count: u32, below: &Path) -> anyhow::Result<TempDir> {
    let directory = tempfile::tempdir_in(below).or_else(|_| tempfile::tempdir())?;
    Grown::fill(directory.path(), count)?;
    Ok(directory)
}

fn beside(program: &mut Command, options: &[&str], count: u32, directory: &Path) -> anyhow::Result<String> {
    let count = format!("--count={count}");
    let said = program.arg("beside").arg(count).arg("--directory").arg(directory).args(options).output()?;
    ensure!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    Ok(String::from_utf8(said.stdout)?)
}

/// The median of each, in microseconds.
fn timed(count: u32, directory: &Path) -> anyhow::Result<Vec<f64>> {
    let said = beside(&mut Command::new(std::env::current_exe()?), &[], count, directory)?;
    Ok(said.lines().map(str::parse).collect::<Result<_, _>>()?)
}

/// The instructions of each.
fn counted(count: u32, directory: &Path) -> anyhow::Result<Vec<f64>> {
    let profiles = tempfile::tempdir()?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--instr-atstart=no", "--collect-atstart=no"]);
    valgrind.arg("--toggle-collect=*growth*measured*");
    valgrind.arg(format!("--callgrind-out-file={}/work", profiles.path().display()));
    beside(valgrind.arg(std::env::current_exe()?), &["--counted"], count, directory)?;
    let of_work = |number: usize| {
        let profile = fs::read_to_string(profiles.path().join(format!("work.{}", number + 1)))?;
        let total =
            profile.lines().find_map(|line| line.strip_prefix("totals: ")).context("callgrind wrote no total")?;
        Ok(total.trim().parse::<f64>()? / f64::from(COUNTED))
    };
    (0..Grown::works().count()).map(of_work).collect()
}

impl Beside {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        // A thread without a runtime: what the server begins to do on one is never run.
        let done = thread::spawn(move || self.work());
        tokio::task::spawn_blocking(|| done.join()).await?.map_err(|_| anyhow!("it panicked"))?
    }

    fn work(self) -> anyhow::Result<()> {
        let mut grown = Grown::new(&self.directory, self.count)?;
        if self.counted {
            tell_callgrind(&["-i", "on"])?;
        }
        let names: Vec<_> = Grown::works().collect();
        for name in names {
            let mut number = 0_u32;
            let mut next = || {
                number = number.wrapping_add(STEP);
                number
            };
            (0..WARMING).for_each(|_| grown.work(name, next(), &mut |work| work()));
            if self.counted {
                (0..COUNTED).for_each(|_| grown.work(name, next(), &mut |work| measured(work)));
                tell_callgrind(&["-d"])?;
                continue;
            }
            let mut micros = Vec::new();
            for _ in 0..TIMED {
                grown.work(name, next(), &mut |work| {
                    let begun = Instant::now();
                    work();
                    micros.push(begun.elapsed().as_secs_f64() * 1e6);
                });
            }
            println!("{}", median(&micros).0);
        }
        // What it has is given back by the system at once, not piece by piece.
        std::process::exit(0)
    }
}

/// What callgrind is told to collect in.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
}

/// Commands the callgrind that this process runs under.
fn tell_callgrind(command: &[&str]) -> anyhow::Result<()> {
    let said = Command::new("callgrind_control").args(command).arg(std::process::id().to_string()).output()?;
    ensure!(String::from_utf8_lossy(&said.stdout).trim_end().ends_with("OK."), "callgrind does not hear: {said:?}");
    Ok(())
}
