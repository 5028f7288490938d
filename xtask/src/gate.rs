//! `cargo xtask bench gate`: fails where the product has become dearer than what is committed in `bench/gate.json`.
//!
//! ```text
//! bench/src/gate.rs ── callgrind ──► instructions        the same in every run, however busy the machine is
//! bench idle, one round ───────────► live bytes a session
//! the page's build ────────────────► bytes of its module and its scripts
//! ```
//!
//! Instructions depend on the processor, since ring chooses its code by what the processor can. callgrind shows every program
//! the same one, with AVX2 and without AVX-512, on any machine that has AVX2; elsewhere they are not counted. It hides ADX, which
//! graviola needs: the build leaves that question out where the processor has it, and whose cryptography was counted is printed and
//! must be graviola's. Instructions also depend on the compiler, which `rust-toolchain.toml` fixes. `--accept` makes what is
//! measured the new measure.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Output};

use anyhow::{Context as _, Result, bail, ensure};

use crate::process::{self, cargo, command, output, root, step, target, which};
use crate::{bench, wasm};

/// What bench/src/gate.rs can do.
const WORKS: [&str; 9] =
    ["seal-64", "seal-1024", "seal-65519", "open-64", "open-1024", "open-65519", "echo-1", "echo-100", "handshakes-10"];
/// How much more than committed is too much.
const TOLERANCE: f64 = 0.05;

/// Figures by name, unit included.
type Figures = BTreeMap<String, f64>;

/// Measures, and compares or accepts.
///
/// # Errors
///
/// When something could not be measured.
pub(crate) fn verb(accept: bool) -> Result<ExitCode> {
    let file = root().join("bench/gate.json");
    let committed: Figures = match fs::read_to_string(&file) {
        Ok(json) => serde_json::from_str(&json).context("bench/gate.json is damaged")?,
        Err(_) => Figures::new(),
    };
    let mut measured = instructions()?;
    measured.insert("idle session, TLS, bytes of the heap".to_owned(), idle_len()?);
    if let Some(page) = wasm::sizes(&mut std::io::stderr())? {
        measured.insert("page's module, brotli, bytes".to_owned(), page.module as f64);
        measured.insert("page's module and scripts, brotli, bytes".to_owned(), page.all as f64);
    }
    println!("{:<44} {:>12} {:>12} {:>8}", "gate", "committed", "measured", "change");
    let mut dearer = Vec::new();
    for (name, now) in &measured {
        match committed.get(name) {
            None => println!("{name:<44} {:>12} {now:>12.0} {:>8}", "", "new"),
            Some(before) => {
                println!("{name:<44} {before:>12.0} {now:>12.0} {:>+7.1} %", (now / before - 1.0) * 100.0);
                dearer.extend(is_dearer(*before, *now).then_some(name.as_str()));
            }
        }
    }
    if accept {
        // What could not be measured here stays as it was.
        let figures: Figures = committed.into_iter().chain(measured).collect();
        fs::write(&file, serde_json::to_string_pretty(&figures)? + "\n").context("cannot write bench/gate.json")?;
        return Ok(ExitCode::SUCCESS);
    }
    if dearer.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("more than {:.0} % dearer: {}", TOLERANCE * 100.0, dearer.join("; "));
    println!("if that is worth it: cargo xtask bench gate --accept, and say why in the commit");
    Ok(ExitCode::FAILURE)
}

fn is_dearer(before: f64, now: f64) -> bool {
    now > before * (1.0 + TOLERANCE)
}

fn instructions() -> Result<Figures> {
    if let Some(reason) = why_none() {
        eprintln!("xtask: skipped: the gate's instructions ({reason})");
        return Ok(Figures::new());
    }
    let program = with_graviola()?;
    step("counting instructions (callgrind)", || {
        WORKS.iter().map(|work| Ok((format!("{work}, instructions"), count(&program, work)?))).collect()
    })
}

fn why_none() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let has_avx2 = std::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    let has_avx2 = false;
    if !has_avx2 || !bench::has_adx() {
        return Some("they are committed for x86-64 with AVX2 and ADX");
    }
    which("valgrind").is_none().then_some("they need valgrind on PATH")
}

/// The benchmark, with graviola built for valgrind: a package of a registry is not built again because of the environment.
fn with_graviola() -> Result<PathBuf> {
    let whose = |program: &Path| {
        let said = callgrind(program, "nothing-0")?.stdout;
        Ok::<_, anyhow::Error>(String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned())
    };
    let program = bench::build()?;
    if !whose(&program)?.ends_with("graviola") {
        process::run(&mut cargo(["clean", "--release", "-p", "graviola"]))?;
        bench::build()?;
    }
    let whose = whose(&program)?;
    eprintln!("xtask: {whose}");
    ensure!(whose.ends_with("graviola"), "what would be counted is not what runs here, which is graviola");
    Ok(program)
}

/// One work under callgrind.
fn callgrind(program: &Path, work: &str) -> Result<Output> {
    let mut valgrind = command("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    // The name that it has in the program holds a hash.
    valgrind.args(["--collect-atstart=no", "--toggle-collect=*gate*measured*"]);
    let said = valgrind.arg(program).args(["gate", work]).output().context("valgrind does not start")?;
    ensure!(said.status.success(), "{work} failed: {}", String::from_utf8_lossy(&said.stderr));
    Ok(said)
}

/// Instructions of one repetition.
fn count(program: &Path, work: &str) -> Result<f64> {
    let said = callgrind(program, work)?;
    let number = |text: &[u8], word: &str| -> Option<f64> {
        let text = String::from_utf8_lossy(text);
        let mut lines = text.lines().filter_map(|line| line.split_once(word));
        lines.next()?.1.trim_start_matches([' ', ':']).trim().parse().ok()
    };
    let (Some(collected), Some(times)) = (number(&said.stderr, "Collected"), number(&said.stdout, "times")) else {
        bail!("callgrind did not say what it has collected");
    };
    ensure!(collected > 0.0, "callgrind did not find the function to collect in");
    Ok((collected / times).round())
}

/// Live bytes of an idle session: fewer sessions and rounds than the group `idle` takes, and enough for 5 %.
fn idle_len() -> Result<f64> {
    let json = target("bench/gate-idle.json");
    let mut idle = command(bench::build()?);
    idle.args(["idle", "--transport=tls", "--sessions=2000", "--rounds=1", "--json"]).arg(&json);
    step("measuring an idle session", || output(&mut idle).context("it could not be measured"))?;
    let entries: serde_json::Value = serde_json::from_str(&fs::read_to_string(json)?)?;
    entries.pointer("/1/ours").and_then(serde_json::Value::as_f64).context("there is no such entry")
}

#[cfg(test)]
mod tests {
    use super::is_dearer;

    #[test]
    fn a_twentieth_more_is_allowed() {
        assert!(!is_dearer(1_000.0, 1_050.0) && is_dearer(1_000.0, 1_051.0) && !is_dearer(1_000.0, 10.0));
    }
}
