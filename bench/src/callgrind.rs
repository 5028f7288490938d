//! Counting instructions: this same binary under callgrind.

use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

/// Callgrind, which writes no file, over this binary.
pub(crate) fn command() -> anyhow::Result<Command> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    Ok(valgrind)
}

pub(crate) fn is_there() -> bool {
    Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// What it says at the end that it has collected.
pub(crate) fn collected(said: &str) -> anyhow::Result<f64> {
    let number = said
        .lines()
        .find_map(|line| line.split_once("Collected")?.1.trim_start_matches([' ', ':']).trim().parse().ok());
    number.context("callgrind did not say what it has collected")
}

/// Of one verification of a token that was not seen before, alone.
pub(crate) async fn verification() -> anyhow::Result<f64> {
    let mut valgrind = tokio::process::Command::from(command()?);
    valgrind.args(["--collect-atstart=no", "--toggle-collect=*gate*measured*"]);
    let said = valgrind.arg(std::env::current_exe()?).args(["gate", "verifications-20"]).output().await?;
    let stderr = String::from_utf8_lossy(&said.stderr);
    ensure!(said.status.success(), "the verification failed: {stderr}");
    Ok(collected(&stderr)? / 20.0)
}
