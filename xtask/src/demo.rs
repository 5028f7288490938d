//! `cargo xtask demo`: from a fresh clone to a page in the browser.
//!
//! Builds the page, then the server that carries it, then becomes that server. What xtask says goes to stderr;
//! on stdout stands only what the server prints: `ready <invite url>`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::process::{self, cargo, step, target};
use crate::wasm;

/// Builds and starts the server. Where the system can replace a process, this returns only on failure.
///
/// # Errors
///
/// When a build fails or the server cannot start.
pub(crate) fn verb(port: u16, state: Option<PathBuf>) -> Result<ExitCode> {
    wasm::build(false, &mut std::io::stderr())?;
    step("building the server", || process::run(&mut cargo(["build", "--release", "-p", "duologue-server"])))?;
    let binary = target("release").join(format!("duologue{}", std::env::consts::EXE_SUFFIX));
    // Not from the workspace root: `--state` is relative to where the verb was called.
    let mut server = Command::new(&binary);
    server.args(["dev", "--port", &port.to_string(), "--state"]).arg(state.unwrap_or_else(|| target("demo")));
    eprintln!("xtask: starting the server on port {port}; Ctrl-C ends it");
    become_server(server).with_context(|| format!("cannot start {}", binary.display()))
}

#[cfg(unix)]
fn become_server(mut server: Command) -> Result<ExitCode> {
    // Replacing xtask hands signals and the exit code straight to the server.
    Err(std::os::unix::process::CommandExt::exec(&mut server).into())
}

#[cfg(not(unix))]
fn become_server(mut server: Command) -> Result<ExitCode> {
    let ended_well = server.status()?.success();
    Ok(if ended_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
