//! `cargo xtask bench --against REV`: the same figures of an earlier revision, by its own benchmark with its own clients, and of this
//! one, and how many times those these are.
//!
//! ```text
//! git archive REV ─► target/against/COMMIT/, which keeps its own build ─► its `xtask bench GROUP` ─► its target/bench/GROUP.json
//! this revision   ─────────────────────────────────────────────────────►    `xtask bench GROUP` ─►    target/bench/GROUP.json
//!                                                                            name by name: now ÷ then
//! ```
//!
//! The two are measured one after the other, so that what else the machine does may be in one alone. Each has its baseline in its own
//! run: the last column is free of that.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::process::{self, ROOT, command, output, step, target};

/// The groups that can be compared.
const GROUPS: [&str; 4] = ["gate", "handshake", "idle", "page"];

/// Measures these groups, or all that can be compared, of both revisions.
///
/// # Errors
///
/// When there is no such revision or group, or one of the two could not be built or measured.
pub(crate) fn verb(revision: &str, groups: &[String], rounds: Option<String>) -> Result<ExitCode> {
    let unknown = groups.iter().find(|group| !GROUPS.contains(&group.as_str()));
    ensure!(unknown.is_none(), "{} is not compared: {} are", unknown.map_or("", |it| it), GROUPS.join(", "));
    let commit =
        output(command("git").args(["rev-parse", "--verify", "--quiet"]).arg(format!("{revision}^{{commit}}")));
    let commit = commit.with_context(|| format!("there is no revision {revision}"))?;
    let then = target("against").join(&commit);
    if !then.join("Cargo.toml").is_file() {
        step(&format!("taking the sources of {commit}"), || take(&commit, &then))?;
    }
    let short = commit.get(..9).unwrap_or(&commit);
    for group in GROUPS.into_iter().filter(|group| groups.is_empty() || groups.iter().any(|of| of == group)) {
        if !xtask(&then, ["bench", group, "--help"]).stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
            eprintln!("xtask: {short} has no group {group}: nothing to compare");
            continue;
        }
        let rounds = rounds.as_ref().filter(|_| matches!(group, "handshake" | "page"));
        // The gate says what it measures in the file that it is otherwise held to.
        let options: Vec<_> =
            rounds.map(String::as_str).into_iter().chain((group == "gate").then_some("--accept")).collect();
        let measure = |root: &Path| process::run(xtask(root, ["bench", group]).args(&options));
        step(&format!("measuring {short}: {group}"), || measure(&then))?;
        let file = process::root().join("bench/gate.json");
        let committed = fs::read(&file)?;
        let measured = step(&format!("measuring this one: {group}"), || measure(process::root()));
        let now = figures(process::root(), group);
        fs::write(&file, committed)?;
        measured?;
        tell(group, short, &figures(&then, group)?, &now?);
    }
    Ok(ExitCode::SUCCESS)
}

/// The sources of a revision, whole or not at all.
fn take(commit: &str, to: &Path) -> Result<()> {
    let half = to.with_extension("half");
    let _ = fs::remove_dir_all(&half);
    fs::create_dir_all(&half)?;
    let mut archive = command("git").args(["archive", commit]).stdout(Stdio::piped()).spawn()?;
    let sources = archive.stdout.take().context("its output is piped")?;
    let unpacked = command("tar").args(["-x", "-C"]).arg(&half).stdin(sources).status()?;
    ensure!(archive.wait()?.success() && unpacked.success(), "the sources of {commit} could not be taken");
    Ok(fs::rename(half, to)?)
}

/// The xtask of a tree, which builds into that tree.
fn xtask<'a>(root: &Path, verb: impl IntoIterator<Item = &'a str>) -> Command {
    let mut cargo = command("cargo");
    // Its root is the tree that it is built in.
    cargo.current_dir(root).env("CARGO_TARGET_DIR", root.join("target")).env_remove(ROOT);
    cargo.args(["run", "--quiet", "--package", "xtask", "--"]).args(verb);
    cargo
}

/// One figure, in its unit, and as a multiple of its baseline where it has one.
struct Figure {
    value: f64,
    ratio: Option<f64>,
    goal: String,
}

/// By name and unit.
fn figures(root: &Path, group: &str) -> Result<BTreeMap<String, Figure>> {
    let path: PathBuf = match group {
        "gate" => root.join("bench/gate.json"),
        group => root.join(format!("target/bench/{group}.json")),
    };
    let json = fs::read(&path).with_context(|| format!("{} was not written", path.display()))?;
    let json: Value = serde_json::from_slice(&json)?;
    let text = |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |entry: &Value, field: &str| entry.get(field).and_then(Value::as_f64);
    let of_gate = json.as_object().into_iter().flatten().filter_map(|(name, value)| {
        Some((name.clone(), Figure { value: value.as_f64()?, ratio: None, goal: String::new() }))
    });
    let of_group = json.as_array().into_iter().flatten().filter_map(|entry| {
        let name = format!("{}, {}, beside {}", text(entry, "name"), text(entry, "unit"), text(entry, "baseline_name"));
        let (value, ratio) = (number(entry, "ours")?, number(entry, "ratio"));
        Some((name, Figure { value, ratio, goal: text(entry, "goal") }))
    });
    Ok(of_gate.chain(of_group).collect())
}

fn tell(group: &str, revision: &str, then: &BTreeMap<String, Figure>, now: &BTreeMap<String, Figure>) {
    println!("| {group} | {revision} | now | now ÷ then | the same of the ratios | goal beside the baseline |");
    println!("|---|---:|---:|---:|---:|---|");
    for (name, now) in now {
        let Some(then) = then.get(name) else {
            println!("| {name} | | {:.2} | | | {} |", now.value, now.goal);
            continue;
        };
        let ratios = now.ratio.zip(then.ratio).map(|(now, then)| format!("{:.2}", now / then)).unwrap_or_default();
        let (value, before) = (now.value, then.value);
        println!("| {name} | {before:.2} | {value:.2} | {:.2} | {ratios} | {} |", value / before, now.goal);
    }
}
