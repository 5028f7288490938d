//! `cargo xtask bench watch`: what the watch costs with all that it counts, beside a build of the same sources without it.
//!
//! ```text
//! duologue-bench with, and without its feature `watch` ─► instructions of an echo (bench/src/watch.rs) · live bytes of an idle session
//!                                                                                                     (bench/src/idle.rs)
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::bench;
use crate::process::{self, command, output, step, target, which};

/// How many times an echo may cost what it does without.
const TIMES: f64 = 1.02;
/// Bytes that an idle session may have more.
const BYTES: f64 = 32.0;

/// Builds both and measures.
///
/// # Errors
///
/// When one could not be built or measured.
pub(crate) fn measure() -> Result<()> {
    let (without, with) = (build(false)?, build(true)?);
    let mut entries = Vec::new();
    println!("What the watch costs, beside a build without it");
    if which("valgrind").is_some() {
        let [ours, bare] = [&with, &without].map(|program| step("counting instructions of an echo", || echo(program)));
        let (ours, bare) = (ours?, bare?);
        entries.push(entry(
            "an echo with the watch, server",
            "instructions",
            (ours, bare),
            &format!("at most {TIMES} ×"),
            ours <= bare * TIMES,
        ));
    } else {
        eprintln!("xtask: skipped: what the watch costs an echo (it needs valgrind on PATH)");
    }
    let bare = step("measuring an idle session", || idle(&without, false))?;
    let goal = format!("at most the baseline and {BYTES} B");
    for (name, watched) in [
        ("an idle session with the watch, tls, live bytes", false),
        ("an idle session with the watch and a bound on all that has one, tls, live bytes", true),
    ] {
        let ours = step("measuring an idle session", || idle(&with, watched))?;
        entries.push(entry(name, "B", (ours, bare), &goal, ours <= bare + BYTES));
    }
    fs::write(target("bench/watch.json"), serde_json::to_string_pretty(&entries)? + "\n").context("cannot write")
}

/// The benchmark with the watch or without, under a name of its own.
fn build(with: bool) -> Result<PathBuf> {
    let mut build = bench::building();
    if !with {
        build.arg("--no-default-features");
    }
    let (words, name) = if with { ("with", "bench-with-watch") } else { ("without", "bench-without-watch") };
    step(&format!("building the benchmark {words} the watch"), || process::run(&mut build))?;
    let (built, kept) = (target(&format!("release/duologue-bench{}", std::env::consts::EXE_SUFFIX)), target(name));
    fs::copy(&built, &kept).context("the benchmark cannot be copied")?;
    Ok(kept)
}

fn echo(program: &Path) -> Result<f64> {
    let said = output(command(program).arg("watch")).context("an echo could not be counted")?;
    let number = said.lines().find_map(|line| line.strip_prefix("instructions ")?.trim().parse().ok());
    number.context("nothing was counted")
}

/// As the gate does; with a bound on all that has one, or as the watch is by itself.
fn idle(program: &Path, watched: bool) -> Result<f64> {
    let json = target("bench/watch-idle.json");
    let mut idle = command(program);
    idle.args(["idle", "--transport=tls", "--sessions=5000", "--rounds=1", "--json"]).arg(&json);
    idle.args(watched.then_some("--watched"));
    ensure!(output(&mut idle).is_some(), "an idle session could not be measured");
    let entries: Value = serde_json::from_str(&fs::read_to_string(json)?)?;
    entries.pointer("/1/ours").and_then(Value::as_f64).context("there is no such entry")
}

/// As `bench/src/report.rs` writes them.
fn entry(name: &str, unit: &str, (ours, bare): (f64, f64), goal: &str, is_met: bool) -> Value {
    let ratio = (ours / bare * 10_000.0).round() / 10_000.0;
    println!(
        "{name}, {unit}: {ours:.0}, without it {bare:.0}: {ratio} ×   {goal}: {}",
        if is_met { "met" } else { "not met" }
    );
    json!({
        "group": "watch", "name": name, "unit": unit, "ours": ours, "ours_spread": 0.0, "baseline": bare,
        "baseline_spread": 0.0, "baseline_name": "without it", "ratio": ratio, "goal": goal, "met": is_met,
    })
}
