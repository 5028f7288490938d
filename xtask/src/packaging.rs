//! `cargo xtask npm --matrix`: the packed npm package in one project for each bundler and runtime, against a real server.
//!
//! The cases are `tests/packaging/*.test.mjs`, run by node's own test runner; projects and what they install lie in
//! `target/npm/matrix/`.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};

use crate::process::{self, step, target};
use crate::{debug, docs, harness, npm, tools};

/// Runs the matrix.
///
/// # Errors
///
/// When the package or the server cannot be built.
pub(crate) fn verb(filter: Option<&str>) -> Result<ExitCode> {
    if let Some(filter) = filter
        && tools::has_node()
    {
        let names = names()?;
        if !names.iter().any(|name| name.contains(filter)) {
            eprintln!("xtask: no case of the matrix has {filter:?} in its name: {}", names.join("; "));
            return Ok(ExitCode::from(2));
        }
    }
    let Some(mut command) = command(filter)? else {
        eprintln!("xtask: skipped: packaging (no node)");
        return Ok(ExitCode::SUCCESS);
    };
    let outcome = step("packaging", || harness::stream(&mut command))?;
    let code = outcome.counts.finish();
    Ok(if outcome.succeeded { code } else { ExitCode::FAILURE })
}

/// Builds what the matrix needs, and the command that runs it; none without node.
///
/// # Errors
///
/// As [`verb`].
pub(crate) fn command(filter: Option<&str>) -> Result<Option<Command>> {
    if !tools::has_node() {
        return Ok(None);
    }
    let tarball = npm::build()?;
    step("the reference of the declarations", docs::javascript)?;
    step("building the server", debug::build_end_to_end)?;
    step("building the server's example", || debug::build_example("json"))?;
    let mut command = process::command("node");
    command.args(["--test", "--test-reporter=tap", "--test-concurrency=1"]);
    if let Some(filter) = filter {
        command.env("DUOLOGUE_FILTER", filter);
    }
    command.arg("tests/packaging/matrix.test.mjs");
    command.env("DUOLOGUE_TARBALL", tarball).env("DUOLOGUE_MATRIX", target("npm/matrix"));
    command.env("DUOLOGUE_BIN", debug::binary("duologue")).env("DUOLOGUE_EXAMPLE", debug::binary("examples/json"));
    if let Some(chromium) = tools::chromium() {
        command.env("CHROMIUM", chromium);
    }
    Ok(Some(command))
}

/// What the cases are called. With a name that none has, node's test runner would wait for ever for nothing.
fn names() -> Result<Vec<String>> {
    let mut command = process::command("node");
    let output = command.arg("tests/packaging/matrix.test.mjs").env("DUOLOGUE_NAMES", "1").output();
    let output = output.context("cannot start node")?;
    ensure!(output.status.success(), "the matrix cannot tell its cases: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A filter that fits none once built everything, started a server and hung.
    #[test]
    fn a_filter_that_fits_no_case_is_told_at_once() {
        if !tools::has_node() {
            println!("skipped: no node");
            return;
        }
        let names = names().expect("they are told");
        assert!(names.len() > 20 && names.iter().any(|name| name == "publint"), "{names:?}");
        let code = verb(Some("no case is called so")).expect("it is told");
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(2)));
    }
}
