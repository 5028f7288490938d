//! All groups' figures together: `target/bench/report.json`, and in `docs/` the table and its pictures.
//!
//! ```text
//! target/bench/GROUP.json, … ─► report.json
//!                            └► docs/BENCHMARKS.md between its marks · docs/bench-*.svg
//! ```
//!
//! What stands outside of the marks in BENCHMARKS.md is kept by hand: the method, and a sentence for each goal that is not met.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::bench::GROUPS;
use crate::charts::{Chart, thousands};
use crate::process::{command, output, root, target};
use crate::tools;

const BEGIN: &str = "<!-- from here on written by `cargo xtask bench` -->";
const END: &str = "<!-- to here -->";

/// Bytes of a machine's memory for each connection that it held, as their authors publish it; docs/BENCHMARKS.md has the sources.
const PUBLISHED_MEMORY: [(&str, f64); 2] = [("AnyCable", 32e9 / 800e3), ("Phoenix", 128e9 / 2e6)];

/// One figure and one baseline, as `bench/src/report.rs` writes it.
#[derive(Debug, Deserialize, Serialize)]
struct Entry {
    group: String,
    name: String,
    unit: String,
    ours: f64,
    ours_spread: f64,
    baseline: f64,
    baseline_spread: f64,
    baseline_name: String,
    ratio: Option<f64>,
    goal: String,
    met: bool,
}

/// Joins what the groups measured last. A group that was not measured keeps its table, with the day that stands there.
///
/// # Errors
///
/// When nothing was measured, or a file cannot be read or written.
pub(crate) fn report() -> Result<()> {
    let mut entries: Vec<Entry> = Vec::new();
    for (group, _) in GROUPS {
        match fs::read_to_string(target(&format!("bench/{group}.json"))) {
            Ok(json) => entries.extend(serde_json::from_str::<Vec<Entry>>(&json).context(group)?),
            Err(_) => eprintln!("xtask: {group} was not measured: its table stays as it was"),
        }
    }
    ensure!(!entries.is_empty(), "nothing was measured: run `cargo xtask bench`");
    let json = serde_json::to_string_pretty(&entries)? + "\n";
    fs::write(target("bench/report.json"), json).context("cannot write target/bench/report.json")?;

    let file = root().join("docs/BENCHMARKS.md");
    let text = fs::read_to_string(&file).context("cannot read docs/BENCHMARKS.md")?;
    let (before, rest) = text.split_once(BEGIN).context("docs/BENCHMARKS.md has lost its first mark")?;
    let (last, after) = rest.split_once(END).context("docs/BENCHMARKS.md has lost its second mark")?;
    let (machine, tables) = (machine(), tables(&entries, last, &today()));
    fs::write(&file, format!("{before}{BEGIN}\n\n{machine}\n{tables}{END}{after}")).context("cannot write")?;
    for (name, chart) in charts(&entries) {
        let file = root().join("docs").join(format!("bench-{name}.svg"));
        fs::write(&file, chart.to_svg()).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let missed = entries.iter().filter(|entry| !entry.met && !after.contains(&entry.name)).map(|entry| &*entry.name);
    for name in missed.collect::<BTreeSet<_>>() {
        eprintln!("xtask: docs/BENCHMARKS.md does not say why a goal is not met: {name}");
    }
    Ok(())
}

/// Where it was measured, and with what.
fn machine() -> String {
    let field = |file: &str, key: &str| -> Option<String> {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let said = |program: &str, flag: &str| output(command(program).arg(flag));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let version = |package: &str| Some(format!("{package} {}", tools::locked_version(package).ok()?));
    let npm = |package: &str| Some(format!("{package} {}", tools::bench_version(package)?));
    let mut rows = String::from("| | |\n|---|---|\n");
    for (what, value) in [
        ("processor", field("/proc/cpuinfo", "model name").map(|model| format!("{model}, {cores} cores"))),
        ("memory", field("/proc/meminfo", "MemTotal")),
        ("system", said("uname", "-sr")),
        ("compiler", said("rustc", "--version")),
        ("browser", tools::chromium().and_then(|chromium| output(command(chromium).arg("--version")))),
        ("node", said("node", "--version")),
        ("TLS", version("rustls").zip(version("ring")).map(|(rustls, ring)| format!("{rustls} with {ring}"))),
        ("native baseline", version("tokio-tungstenite")),
        ("page's baselines", npm("socket.io").zip(npm("libp2p")).map(|(a, b)| format!("{a}, js-{b}"))),
    ] {
        let _ = writeln!(rows, "| {what} | {} |", value.as_deref().unwrap_or("unknown"));
    }
    rows
}

fn today() -> String {
    output(command("date").args(["-u", "+%F"])).unwrap_or_else(|| "a day that nobody knows".to_owned())
}

fn tables(entries: &[Entry], last: &str, today: &str) -> String {
    let mut text = String::new();
    for (group, title) in GROUPS {
        let of_group: Vec<_> = entries.iter().filter(|entry| entry.group == group).collect();
        if of_group.is_empty() {
            let earlier = last.split("### ").find_map(|section| section.strip_prefix(title));
            let _ = writeln!(text, "### {title}{}\n", earlier.unwrap_or("\n\nSkipped on this machine.").trim_end());
            continue;
        }
        let _ = writeln!(text, "### {title}\n\nOf {today}.\n\n| figure | Duologue | beside | | ratio | goal | |");
        text.push_str("|---|---:|---|---:|---:|---|---|\n");
        let mut last = "";
        for entry in of_group {
            // A figure with more than one baseline is named once.
            let (name, ours) = match entry.name == last {
                true => Default::default(),
                false => (format!("{}, {}", entry.name, entry.unit), shown(entry.ours, entry.ours_spread)),
            };
            last = &entry.name;
            let baseline = shown(entry.baseline, entry.baseline_spread);
            let (goal, verdict) = match (entry.goal.as_str(), entry.met) {
                ("none", _) => ("", ""),
                (goal, true) => (goal, "met"),
                (goal, false) => (goal, "**not met**"),
            };
            let (beside, ratio) =
                (&entry.baseline_name, entry.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default());
            let _ = writeln!(text, "| {name} | {ours} | {beside} | {baseline} | {ratio} | {goal} | {verdict} |");
        }
        text.push('\n');
    }
    text
}

/// The middle and how far the rounds lie from it; without the latter where it is measured once.
fn shown(middle: f64, spread: f64) -> String {
    if spread == 0.0 { thousands(middle) } else { format!("{} ± {}", thousands(middle), thousands(spread)) }
}

/// The pictures that there are figures for, by the name of their files.
fn charts(entries: &[Entry]) -> Vec<(&'static str, Chart<'static>)> {
    let chart = |title, unit, group: &str, prefixes: &[&str]| {
        let mut groups: Vec<(String, Vec<(String, f64)>)> = Vec::new();
        let is_wanted =
            |entry: &&Entry| entry.group == group && prefixes.iter().any(|name| entry.name.starts_with(name));
        for entry in entries.iter().filter(is_wanted) {
            if groups.last().is_none_or(|(name, _)| *name != entry.name) {
                groups.push((entry.name.clone(), vec![("Duologue".to_owned(), entry.ours)]));
            }
            if let Some((_, bars)) = groups.last_mut() {
                bars.push((entry.baseline_name.clone(), entry.baseline));
            }
        }
        Chart { title, unit, groups, published: &[] }
    };
    let memory = chart("Memory of an idle session", "bytes, less is better", "idle", &["memory"]);
    let all = [
        ("small", chart("Small messages in a browser", "messages/s, more is better", "page", &["64 B messages"])),
        ("bulk", chart("Bulk in a browser", "MB/s, more is better", "page", &["1 MiB messages"])),
        ("memory", Chart { published: &PUBLISHED_MEMORY, ..memory }),
    ];
    all.into_iter().filter(|(_, chart)| !chart.groups.is_empty()).collect()
}
