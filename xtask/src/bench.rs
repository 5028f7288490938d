//! `cargo xtask bench GROUP`: measures, each figure beside a baseline in the same run.
//!
//! Builds `duologue-bench` in release and runs it; what it measures and how stands in `bench/src/`. The table goes to
//! stdout, the same figures for programs to `target/bench/GROUP.json`. A goal that is not met is no failure: the table says so.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;

use crate::process::{self, cargo, command, step, target};
use crate::{tools, wasm};

/// What can be measured.
#[derive(Subcommand)]
pub(crate) enum Group {
    /// Memory of an idle session in the server, beside tokio-tungstenite; for other options see `duologue-bench idle --help`
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
        /// How often everything is measured
        #[arg(long, default_value_t = 5)]
        rounds: u32,
        /// Only the figures whose name contains this
        #[arg(long, value_name = "NAME")]
        only: Option<String>,
    },
    /// Server CPU of a full handshake, and new sessions a core, beside TLS 1.3 and WebSockets over it
    Handshake {
        /// How often everything is measured
        #[arg(long, default_value_t = 5)]
        rounds: u32,
    },
    /// Small messages and bytes that a core of the server moves, beside tokio-tungstenite over the same TLS
    Native {
        /// How often everything is measured
        #[arg(long, default_value_t = 5)]
        rounds: u32,
    },
    /// Cost and time of an echo with 1 to 10,000 sessions on one server
    Scale {
        /// How often everything is measured
        #[arg(long, default_value_t = 3)]
        rounds: u32,
        /// At most so many sessions
        #[arg(long, default_value_t = 10_000)]
        sessions: u32,
    },
}

/// Builds the benchmark and runs one group.
///
/// # Errors
///
/// When the build fails, or something could not be measured.
pub(crate) fn verb(group: &Group) -> Result<ExitCode> {
    let run = |group: &str, options: &[(&str, u64)]| {
        let mut program = program(group)?;
        program.args(options.iter().map(|(option, value)| format!("--{option}={value}")));
        measure(group, &mut program)
    };
    match *group {
        Group::Idle { sessions, settle } => run("idle", &[("sessions", sessions.into()), ("settle", settle)])?,
        Group::Page { rounds, ref only } => page(rounds, only.as_deref())?,
        Group::Handshake { rounds } => run("handshake", &[("rounds", rounds.into())])?,
        Group::Native { rounds } => run("native", &[("rounds", rounds.into())])?,
        Group::Scale { rounds, sessions } => run("scale", &[("rounds", rounds.into()), ("sessions", sessions.into())])?,
    }
    Ok(ExitCode::SUCCESS)
}

fn page(rounds: u32, only: Option<&str>) -> Result<()> {
    let Some(chromium) = tools::chromium().filter(|_| tools::has_node()) else {
        eprintln!("xtask: skipped: the group page (it needs Chromium, node and npm on PATH)");
        return Ok(());
    };
    // The program carries the page's module in it: this comes first.
    wasm::build(false, &mut std::io::stderr())?;
    let modules = tools::bench_modules()?;
    let bundles = target("bench/page");
    step("bundling the benchmark's page (esbuild)", || bundle(&modules, &bundles))?;
    let mut page = program("page")?;
    page.args(["--rounds", &rounds.to_string()]).args(only.map(|only| format!("--only={only}")));
    page.arg("--chromium").arg(chromium).arg("--bundles").arg(bundles).arg("--node-modules").arg(modules);
    measure("page", &mut page)
}

/// The page as one module, beside the one that it measures; and a script for node of each server.
fn bundle(modules: &Path, bundles: &Path) -> Result<()> {
    let script = tools::esbuild().context("there is no esbuild")?;
    let esbuild = || {
        let mut esbuild = command("node");
        esbuild.env("NODE_PATH", modules).arg(&script).args(["--bundle", "--log-level=warning"]);
        esbuild.arg(format!("--outdir={}", bundles.display()));
        esbuild
    };
    let page = ["--format=esm", "--target=es2022", "--external:/duologue.js", "bench/page/page.js"];
    process::run(esbuild().args(page))?;
    let node = ["--platform=node", "--format=cjs", "--out-extension:.js=.cjs"];
    // Native, or not installed.
    let left_out = ["--external:bufferutil", "--external:utf-8-validate"];
    let servers = ["bench/page/socketio-server.js", "bench/page/libp2p-server.js"];
    process::run(esbuild().args(node).args(left_out).args(servers))
}

/// The benchmark, built, and one of its groups.
fn program(group: &str) -> Result<Command> {
    step("building the benchmark", || process::run(&mut cargo(["build", "--release", "-p", "duologue-bench"])))?;
    let binary = target("release").join(format!("duologue-bench{}", std::env::consts::EXE_SUFFIX));
    let mut program = command(binary);
    program.arg(group).arg("--json").arg(target(&format!("bench/{group}.json")));
    Ok(program)
}

/// Runs it with its stdout as ours: the table is the result.
fn measure(group: &str, program: &mut Command) -> Result<()> {
    step(&format!("measuring: {group}"), || {
        let status = program.status()?;
        ensure!(status.success(), "it could not be measured ({status})");
        Ok(())
    })
}
