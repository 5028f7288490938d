//! `cargo xtask bench GROUP`: measures, each figure beside a baseline in the same run.
//!
//! Builds `duologue-bench` in release and runs it; what it measures and how stands in `bench/src/`. The table goes to
//! stdout, the same figures for programs to `target/bench/GROUP.json`. A goal that is not met is no failure: the table says so.

use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};
use clap::Subcommand;

use crate::process::{self, cargo, step, target};

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
}

/// Builds the benchmark and runs one group.
///
/// # Errors
///
/// When the build fails, or something could not be measured.
pub(crate) fn verb(group: &Group) -> Result<ExitCode> {
    step("building the benchmark", || process::run(&mut cargo(["build", "--release", "-p", "duologue-bench"])))?;
    let binary = target("release").join(format!("duologue-bench{}", std::env::consts::EXE_SUFFIX));
    let mut command = process::command(binary);
    match group {
        Group::Idle { sessions, settle } => {
            command.args(["idle", "--sessions", &sessions.to_string(), "--settle", &settle.to_string()]);
            command.arg("--json").arg(target("bench/idle.json"));
            step("measuring: idle", || measure(&mut command))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs it with its stdout as ours: the table is the result.
fn measure(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "it could not be measured ({status})");
    Ok(())
}
