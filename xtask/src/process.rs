//! Starting other programs: where they run, what they inherit, and what is said about it.
//!
//! A child's stdout goes to our stderr unless a verb takes it, so that stdout stays free for results.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

/// Names another root than that of the workspace that this was built in: a copy of its sources.
pub(crate) const ROOT: &str = "DUOLOGUE_XTASK_ROOT";

/// The workspace root.
pub(crate) fn root() -> &'static Path {
    static ELSEWHERE: LazyLock<Option<PathBuf>> = LazyLock::new(|| env::var_os(ROOT).map(PathBuf::from));
    ELSEWHERE.as_deref().unwrap_or_else(home)
}

/// The workspace that this was built in: what is installed lies there.
pub(crate) fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// A path under `target/`.
pub(crate) fn target(path: &str) -> PathBuf {
    root().join("target").join(path)
}

/// A command that runs from the workspace root, in an environment that does not change what cargo builds or where.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    // The verbs know their results by path.
    command.env("CARGO_TARGET_DIR", root().join("target"));
    // RUSTFLAGS would replace the flags of .cargo/config.toml, without which the wasm build has no randomness.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    // What cargo says of this program: ring's build script takes it for a change, so that ring and all above it would be compiled anew
    // whenever cargo is called by hand in between.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    command
}

/// `cargo ARGS…`, as [`command`].
pub(crate) fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = command("cargo");
    command.args(args);
    command
}

/// Runs a command to its end, its stdout on our stderr.
///
/// # Errors
///
/// When it cannot start or does not succeed; the error shows the command line.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status =
        command.stdout(std::io::stderr()).status().with_context(|| format!("cannot start {}", line(command)))?;
    ensure!(status.success(), "`{}` failed ({status})", line(command));
    Ok(())
}

/// The stdout of a command that succeeded, trimmed; `None` when it is missing or failed.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Says what begins, does it, and says how long it took.
///
/// # Errors
///
/// Those of `work`.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    eprintln!("xtask: {what} …");
    let result = work();
    let word = if result.is_ok() { "done" } else { "failed" };
    eprintln!("xtask: {what}: {word} after {:.1} s", start.elapsed().as_secs_f64());
    result
}

/// Where a program lies on PATH.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(format!("{program}{}", env::consts::EXE_SUFFIX)))
        .find(|file| file.is_file())
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
