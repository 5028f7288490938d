//! `cargo xtask bench [GROUP]`: measures, each figure beside a baseline in the same run.
//!
//! ```text
//! bench GROUP     duologue-bench, in release ─► a table on stdout, target/bench/GROUP.json
//! bench           every group, then `report`; `--rounds N` for all of them
//! bench report    what the groups measured last ─► target/bench/report.json, docs/BENCHMARKS.md and its pictures
//! bench gate      no measurement but a test: see gate.rs
//! bench --against REV   the same of an earlier revision: see against.rs
//! ```
//!
//! What is measured and how stands in `bench/src/`. A goal that is not met is no failure: the table says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;

use crate::process::{self, cargo, command, step, target, which};
use crate::{figures, gate, size, tools, wasm, watch_cost};

/// The groups in the order of the report, and what they are about.
pub(crate) const GROUPS: [(&str, &str); 13] = [
    ("page", "Between a page in Chromium and a server"),
    ("native", "What a core of the server moves for native clients"),
    ("handshake", "Handshakes"),
    ("connect", "Round trips, on a path with 50 ms"),
    ("loaded", "A page just loaded, on a path with 50 ms"),
    ("scale", "One server, many sessions"),
    ("idle", "Memory of an idle session"),
    ("flood", "Floods of strangers, made by one core"),
    ("cut", "Many lines that are cut at once"),
    ("growth", "What is done for one line, beside many others"),
    ("kept", "Sessions that are kept on disk, beside those that are not"),
    ("watch", "What the watch costs, beside a build without it"),
    ("size", "Download"),
];

/// Those whose server has a core of its own.
const PINNED: [&str; 5] = ["native", "handshake", "scale", "flood", "kept"];

/// What can be measured. For more options see `duologue-bench GROUP --help`.
#[derive(Subcommand)]
pub(crate) enum Group {
    /// Memory of an idle session in the server, beside tokio-tungstenite
    Idle {
        /// How many sessions
        #[arg(long, default_value_t = 5_000)]
        sessions: u32,
        /// Seconds of idleness before memory is read
        #[arg(long, default_value_t = 3)]
        settle: u64,
    },
    /// Messages and bytes between a page in Chromium and a server, beside a bare WebSocket, Socket.IO and js-libp2p
    Page {
        #[command(flatten)]
        rounds: Rounds,
        /// Only the figures whose name contains this
        #[arg(long, value_name = "NAME")]
        only: Option<String>,
    },
    /// Server CPU of a full handshake, and new sessions a core, beside TLS 1.3 and WebSockets over it
    Handshake(Rounds),
    /// Small messages and bytes that a core of the server moves, beside tokio-tungstenite over the same TLS
    Native(Rounds),
    /// Cost and time of an echo with 1 to 10,000 sessions on one server
    Scale(Rounds),
    /// What it costs that sessions are kept on disk, beside the same server without that
    Kept(Rounds),
    /// Round trips to the first reply and after a cut, beside a bare WebSocket
    Connect(Rounds),
    /// From `connect` to the first reply of a page just loaded, over HTTP/2 and HTTP/1.1, beside a bare WebSocket
    Loaded(Rounds),
    /// What floods of strangers do to an open line, and to who comes new
    Flood {
        #[command(flatten)]
        rounds: Rounds,
        /// One kind only, such as replayed-m1
        #[arg(long, value_name = "KIND")]
        only: Option<String>,
        /// How long each flood takes
        #[arg(long, value_name = "MILLISECONDS")]
        millis: Option<u64>,
    },
    /// How long until all lines are back that lost their connections at once
    Cut {
        /// How many; a process may open 20,000 files on most machines
        #[arg(long, default_value_t = 18_000)]
        lines: u32,
    },
    /// What the server does for one line beside a million others, and beside a thousand
    Growth {
        /// The most devices, for a shorter run
        #[arg(long, default_value_t = 1_000_000)]
        most: u32,
    },
    /// What the watch costs an echo in instructions and an idle session in bytes, beside a build without it
    Watch,
    /// What a page loads, beside Socket.IO and js-libp2p
    Size,
    /// Join what was measured last and write docs/BENCHMARKS.md
    Report,
    /// Fail where instructions, memory or download have grown by more than 5 % over bench/gate.json
    Gate {
        /// Make what is measured the new measure
        #[arg(long)]
        accept: bool,
    },
}

/// An option of most groups.
#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Rounds {
    /// How often everything is measured; without it, as often as the group thinks right
    #[arg(long)]
    rounds: Option<u32>,
}

/// Runs one group, or all.
///
/// # Errors
///
/// When the build fails, or something could not be measured.
pub(crate) fn verb(rounds: Rounds, group: Option<&Group>) -> Result<ExitCode> {
    match group {
        None => all(rounds)?,
        Some(Group::Idle { sessions, settle }) => {
            run("idle", |idle| idle.args([format!("--sessions={sessions}"), format!("--settle={settle}")]))?;
        }
        Some(Group::Page { rounds, only }) => page(*rounds, only.as_deref())?,
        Some(Group::Handshake(rounds)) => run("handshake", |group| group.args(rounds.option()))?,
        Some(Group::Native(rounds)) => run("native", |group| group.args(rounds.option()))?,
        Some(Group::Scale(rounds)) => run("scale", |group| group.args(rounds.option()))?,
        Some(Group::Kept(rounds)) => run("kept", |group| group.args(rounds.option()))?,
        Some(Group::Connect(rounds)) => run("connect", |group| group.args(rounds.option()))?,
        Some(Group::Loaded(rounds)) => loaded(*rounds)?,
        Some(Group::Flood { rounds, only, millis }) => run("flood", |group| {
            group.args(rounds.option()).args(only.as_ref().map(|only| format!("--only={only}")));
            group.args(millis.map(|millis| format!("--millis={millis}")))
        })?,
        Some(Group::Cut { lines }) => run("cut", |group| group.arg(format!("--lines={lines}")))?,
        Some(Group::Growth { most }) => run("growth", |group| group.arg(format!("--most={most}")))?,
        Some(Group::Watch) => watch_cost::measure()?,
        Some(Group::Size) => size::measure()?,
        Some(Group::Report) => figures::report()?,
        Some(Group::Gate { accept }) => return gate::verb(*accept),
    }
    Ok(ExitCode::SUCCESS)
}

impl Rounds {
    pub(crate) fn option(self) -> Option<String> {
        self.rounds.map(|rounds| format!("--rounds={rounds}"))
    }
}

fn all(rounds: Rounds) -> Result<()> {
    for (group, _) in GROUPS {
        // What a group that is skipped measured on another day stands in the report already, with its day.
        let _ = fs::remove_file(target(&format!("bench/{group}.json")));
        match group {
            "page" => page(rounds, None)?,
            "loaded" => loaded(rounds)?,
            "size" => size::measure()?,
            "watch" => watch_cost::measure()?,
            "cut" | "growth" => run(group, |group| group)?,
            _ => run(group, |group| group.args(rounds.option()))?,
        }
    }
    figures::report()
}

fn page(rounds: Rounds, only: Option<&str>) -> Result<()> {
    let Some(chromium) = tools::chromium().filter(|_| tools::has_node()) else {
        eprintln!("xtask: skipped: the group page (it needs Chromium, node and npm on PATH)");
        return Ok(());
    };
    // The program carries the page's module in it: this comes first.
    wasm::build(false, &mut std::io::stderr())?;
    let modules = tools::bench_modules()?;
    let bundles = target("bench/page");
    step("bundling the benchmark's page (esbuild)", || bundle(&modules, &bundles))?;
    run("page", |page| {
        page.args(rounds.option()).args(only.map(|only| format!("--only={only}")));
        page.arg("--chromium").arg(chromium).arg("--bundles").arg(bundles).arg("--node-modules").arg(modules)
    })
}

fn loaded(rounds: Rounds) -> Result<()> {
    let Some(chromium) = tools::chromium() else {
        eprintln!("xtask: skipped: the group loaded (it needs Chromium on PATH)");
        return Ok(());
    };
    // As above.
    wasm::build(false, &mut std::io::stderr())?;
    run("loaded", |loaded| loaded.args(rounds.option()).arg("--chromium").arg(chromium))
}

/// The page as one module, beside the one that it measures; and a script for node of each server.
fn bundle(modules: &Path, bundles: &Path) -> Result<()> {
    let page = ["--format=esm", "--target=es2022", "--external:/duologue.js", "bench/page/page.js"];
    process::run(esbuild(modules, bundles)?.args(page))?;
    let node = ["--platform=node", "--format=cjs", "--out-extension:.js=.cjs"];
    // Native, or not installed.
    let left_out = ["--external:bufferutil", "--external:utf-8-validate"];
    let servers = ["bench/page/socketio-server.js", "bench/page/libp2p-server.js"];
    process::run(esbuild(modules, bundles)?.args(node).args(left_out).args(servers))
}

/// esbuild, told where packages are and where bundles go.
///
/// # Errors
///
/// When it is not there.
pub(crate) fn esbuild(modules: &Path, bundles: &Path) -> Result<Command> {
    let mut esbuild = command("node");
    esbuild.env("NODE_PATH", modules).arg(tools::esbuild().context("there is no esbuild")?);
    esbuild.args(["--bundle", "--log-level=warning"]).arg(format!("--outdir={}", bundles.display()));
    Ok(esbuild)
}

/// Builds the benchmark; where it lies.
///
/// # Errors
///
/// When the build fails.
pub(crate) fn build() -> Result<PathBuf> {
    step("building the benchmark", || process::run(&mut building()))?;
    Ok(target("release").join(format!("duologue-bench{}", std::env::consts::EXE_SUFFIX)))
}

/// How the benchmark is built: for callgrind, which hides ADX from graviola. Only where the processor has it, since the program is
/// told so everywhere.
pub(crate) fn building() -> Command {
    let mut build = cargo(["build", "--release", "-p", "duologue-bench"]);
    if has_adx() {
        build.env("VALGRIND_BUG_494162", "1");
    }
    build
}

/// Whether graviola's X25519 runs here, as far as callgrind can hide it.
pub(crate) fn has_adx() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has_adx = std::is_x86_feature_detected!("adx");
    #[cfg(not(target_arch = "x86_64"))]
    let has_adx = false;
    has_adx
}

/// Runs a group with its stdout as ours: the table is the result.
fn run(group: &str, options: impl FnOnce(&mut Command) -> &mut Command) -> Result<()> {
    if PINNED.contains(&group) && which("taskset").is_none() {
        eprintln!("xtask: skipped: the group {group} (it needs taskset on PATH, to give the server a core of its own)");
        return Ok(());
    }
    let mut program = command(build()?);
    program.arg(group).arg("--json").arg(target(&format!("bench/{group}.json")));
    step(&format!("measuring: {group}"), || {
        let status = options(&mut program).status()?;
        ensure!(status.success(), "it could not be measured ({status})");
        Ok(())
    })
}
