//! The app with a login, laid out as whoever follows its README has it: `target/npm/examples/login`, with its packages from npm and
//! `duologue` from the tarball; and its backend in axum.
//!
//! `tests/e2e/examples.rs` starts it and uses it. What was installed is kept for the next time, as long as it would be the same.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::process::{self, command, root, step, target};
use crate::wasm::copy_tree;
use crate::{debug, npm};

/// What was installed, in short.
const STAMP: &str = "node_modules/.installed";

/// Lays it out, with the tarball that was built last: the matrix, which runs before, has just done so.
///
/// # Errors
///
/// Without a tarball, or when npm cannot install its packages.
pub(crate) fn prepare() -> Result<()> {
    let tarball = npm::tarball();
    ensure!(tarball.is_file(), "there is no {}: run `cargo xtask npm`", tarball.display());
    let (source, folder) = (root().join("examples/login"), target("npm/examples/login"));
    copy_tree(&source, &folder)?;
    // Where it lies, the tarball is somewhere else.
    let manifest = folder.join("package.json");
    let text = fs::read_to_string(&manifest).context("examples/login has no package.json")?;
    let relative = format!("file:../../target/npm/{}", tarball.file_name().unwrap_or_default().to_string_lossy());
    ensure!(text.contains(&relative), "examples/login/package.json does not name {relative}");
    let text = text.replace(&relative, &format!("file:{}", tarball.display()));
    fs::write(&manifest, &text).context("cannot write under target/")?;
    install(&folder, &text, &fs::read(&tarball).context("there is no tarball")?)?;
    step("building the login example's backend", || debug::build_example("login"))
}

fn install(folder: &Path, manifest: &str, tarball: &[u8]) -> Result<()> {
    let wanted = STANDARD.encode(Sha256::new().chain_update(manifest).chain_update(tarball).finalize());
    if fs::read_to_string(folder.join(STAMP)).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    // Nothing old of a tarball with the same name.
    let old = folder.join("node_modules/duologue");
    if old.is_dir() {
        fs::remove_dir_all(&old).context("cannot remove an old package")?;
    }
    let flags = ["install", "--no-package-lock", "--no-audit", "--no-fund", "--prefer-offline"];
    step("installing the login example's packages (npm)", || {
        process::run(command("npm").args(flags).current_dir(folder))
    })?;
    fs::write(folder.join(STAMP), wanted).context("cannot write under target/")
}
