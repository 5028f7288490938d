//! What tests need, built in debug mode from one selection of packages.
//!
//! Cargo gives a crate the features that the selected packages ask of it. Two selections of this workspace differ in tokio's,
//! and half of all crates would be compiled once more for each.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::process::{self, cargo, target};

const SELECTION: [&str; 3] = ["--workspace", "--exclude", "duologue-web"];
/// The end-to-end tests, which no selection can be without and no run of the others wants.
const END_TO_END: &str = "e2e";
/// One of the server's own tests of its binary: where cargo builds such a test, it builds the binary.
const WITH_BINARY: &str = "operator";

/// A test program, and its package.
pub(crate) struct Program {
    path: PathBuf,
    folder: PathBuf,
    package: String,
    /// `server/tests/watch.rs`
    pub(crate) source: String,
}

impl Program {
    /// What starts it as cargo does.
    pub(crate) fn command(&self) -> Command {
        let mut command = process::command(&self.path);
        command.current_dir(&self.folder);
        command.env("CARGO_MANIFEST_DIR", &self.folder).env("CARGO_PKG_NAME", &self.package);
        command
    }
}

/// `cargo test ARGS…` with the selection.
fn cargo_test(args: &[&str]) -> Command {
    cargo(["test"].iter().chain(&SELECTION).chain(args))
}

/// Builds all tests, and the server; the test programs that are no end-to-end tests.
///
/// # Errors
///
/// When something cannot be built.
pub(crate) fn build() -> Result<Vec<Program>> {
    let mut command = cargo_test(&["--no-run", "--message-format=json-render-diagnostics"]);
    let output = command.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "the tests cannot be built");
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(program).collect())
}

/// Builds the server and the end-to-end tests.
///
/// # Errors
///
/// When they cannot be built.
pub(crate) fn build_end_to_end() -> Result<()> {
    process::run(&mut cargo_test(&["--no-run", "--test", END_TO_END, "--test", WITH_BINARY]))
}

/// Builds one of the server's examples, which tests start.
///
/// # Errors
///
/// When it cannot be built.
pub(crate) fn build_example(name: &str) -> Result<()> {
    process::run(cargo(["build"].iter().chain(&SELECTION)).args(["--example", name]))
}

/// The end-to-end tests; what is to be run of them follows.
pub(crate) fn end_to_end() -> Command {
    let mut command = cargo_test(&["--no-fail-fast", "--test", END_TO_END]);
    command.env("DUOLOGUE_BIN", binary("duologue"));
    command
}

/// The examples in docs.
pub(crate) fn of_docs() -> Command {
    cargo_test(&["--no-fail-fast", "--doc"])
}

/// What was built: `duologue`, `examples/json`.
pub(crate) fn binary(name: &str) -> PathBuf {
    target("debug").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// What a line of cargo's says of a test program.
fn program(line: &str) -> Option<Program> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_test = message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
    let path = PathBuf::from(message["executable"].as_str().filter(|_| is_test)?);
    if message["target"]["name"] == END_TO_END {
        return None;
    }
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    let package = package(message["package_id"].as_str()?)?.to_owned();
    let source = Path::new(message["target"]["src_path"].as_str()?);
    let source = source.strip_prefix(process::root()).unwrap_or(source).display().to_string();
    Some(Program { path, folder, package, source })
}

/// The name in cargo's id of a package: `path+file:///w/server#duologue-server@0.1.0`, or `path+file:///w/xtask#0.1.0`.
fn package(id: &str) -> Option<&str> {
    let (folder, rest) = id.rsplit_once('#')?;
    match rest.split_once('@') {
        Some((name, _)) => Some(name),
        None => folder.rsplit('/').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::{package, program};

    #[test]
    fn test_programs_are_told_from_what_else_cargo_says() {
        let line = |kind: &str, name: &str, test: bool, executable: &str| {
            let source = crate::process::root().join("server/tests/watch.rs");
            format!(
                r#"{{"reason":"{kind}","package_id":"path+file:///w/server#duologue-server@0.1.0","manifest_path":"/w/server/Cargo.toml","target":{{"name":"{name}","src_path":"{}"}},"profile":{{"test":{test}}},"executable":{executable}}}"#,
                source.display()
            )
        };
        let found =
            program(&line("compiler-artifact", "watch", true, r#""/w/target/watch-1""#)).expect("a test program");
        let command = found.command();
        assert_eq!(
            (command.get_program(), found.source.as_str()),
            ("/w/target/watch-1".as_ref(), "server/tests/watch.rs")
        );
        assert_eq!(command.get_current_dir(), Some("/w/server".as_ref()));
        assert!(command.get_envs().any(|pair| pair == ("CARGO_PKG_NAME".as_ref(), Some("duologue-server".as_ref()))));
        assert_eq!(package("path+file:///w/xtask#0.1.0"), Some("xtask"));
        assert!(program(&line("compiler-artifact", "e2e", true, r#""/w/target/e2e-1""#)).is_none());
        assert!(program(&line("compiler-artifact", "duologue", false, r#""/w/target/duologue""#)).is_none());
        assert!(program(&line("compiler-artifact", "duologue", true, "null")).is_none());
        assert!(program(&line("build-script-executed", "watch", true, r#""/w/x""#)).is_none());
        assert!(program("test result: ok.").is_none());
    }
}
