//! `cargo xtask test`: all rings of tests, one after the other, and their sum.
//!
//! ```text
//! 1. tools and page                 the end-to-end tests serve the page as it is shipped
//! 2. native                         unit tests beside the code, simulation in shared/src/sim
//! 3. the debug server
//! 4. the core as wasm               the same tests, in Chromium, or in Node where there is none
//! 5. the page's words               in Node: every text in both languages
//! 6. end to end                     real server, native client, real browser (tests named `browser_…`)
//! 7. further engines, with `--full` the tests of the browser in Firefox and in WebKitGTK
//! 8. packaging, likewise            the npm package in the projects of tests/packaging
//! 9. the crates, likewise           made, and checked as far as their types go, each from its package alone
//! 10. the page once more, likewise  built from a copy in another folder, it is the same
//! ```
//!
//! Every group runs even when one before it failed. A group that cannot be built, or runs no test at all, counts as one
//! failure. Output is shown as it comes; the last line is exactly `N passed, N failed, N skipped`. Skipped are tests
//! marked `ignore` and those left out for want of a browser or of what it can do, not those that `--filter` leaves out.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::ops::AddAssign;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};

use crate::engines::Engine;
use crate::process::{self, cargo, step, target};
use crate::{crates, integrity, packaging, tools, wasm};

/// The name of a test that needs a browser contains this.
const BROWSER_TESTS: &str = "browser_";
/// The name of one that needs axe too contains this.
const AXE_TESTS: &str = "browser_axe_";
/// For one test binary; the default of 20 seconds is too short for the simulation without optimisation.
const WASM_TEST_TIMEOUT_SECS: &str = "600";

/// Runs all tests.
///
/// # Errors
///
/// None of its own: what fails is counted.
pub(crate) fn verb(filter: Option<&str>, full: bool) -> Result<ExitCode> {
    Ok(all(filter, full).finish())
}

/// Runs the end-to-end tests of the browser in one of the further engines.
///
/// # Errors
///
/// None of its own: what fails is counted.
pub(crate) fn engine_verb(filter: Option<&str>, engine: Engine) -> Result<ExitCode> {
    let mut run = Run { filter, sum: Counts::default() };
    run.prepare("page", || wasm::build(false, &mut io::stderr()).map(drop));
    run.prepare("debug server", debug_server);
    run.engine(engine);
    Ok(run.sum.finish())
}

/// How many tests passed, failed and did not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Counts {
    const FAILURE: Self = Self { passed: 0, failed: 1, skipped: 0 };

    /// Prints the last line.
    pub(crate) fn finish(self) -> ExitCode {
        println!("{self}");
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Runs all groups and adds them up.
pub(crate) fn all(filter: Option<&str>, full: bool) -> Counts {
    let chromedriver = tools::chromedriver();
    let mut run = Run { filter, sum: Counts::default() };

    run.prepare("page", || wasm::build(false, &mut io::stderr()).map(drop));

    let native = ["test", "--no-fail-fast", "--workspace", "--exclude", "duologue-web", "--exclude", "duologue-tests"];
    run.group("native", cargo(native), &[]);

    run.prepare("debug server", debug_server);

    // `--tests`: libraries and integration tests, without the examples in docs; those ran natively.
    let wasm = [
        "test",
        "--no-fail-fast",
        "-p",
        "duologue",
        "-p",
        "duologue-web",
        "--tests",
        "--target",
        "wasm32-unknown-unknown",
    ];
    let mut wasm = cargo(wasm);
    wasm.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", tools::bin().join("wasm-bindgen-test-runner"));
    wasm.env("WASM_BINDGEN_TEST_TIMEOUT", WASM_TEST_TIMEOUT_SECS);
    if let Some(driver) = &chromedriver {
        wasm.env("CHROMEDRIVER", driver).env("WASM_BINDGEN_USE_BROWSER", "1");
    } else {
        eprintln!("xtask: without a browser the core's wasm tests run in Node");
        wasm.env_remove("WASM_BINDGEN_USE_BROWSER");
    }
    run.group("core as wasm", wasm, &[]);

    // A filter names Rust tests.
    if filter.is_none() {
        if tools::has_node() {
            let mut words = process::command("node");
            words.args(["--test", "--test-reporter=tap", "web/page/text.test.mjs"]);
            run.stream("page's words", &mut words);
        } else {
            eprintln!("xtask: skipped: web/page/text.test.mjs (no node)");
            run.sum.skipped += 1;
        }
    }

    if let Some(driver) = &chromedriver {
        let mut command = end_to_end();
        command.env("CHROMEDRIVER", driver);
        if tools::has_axe() {
            run.group("end to end", command, &[]);
        } else {
            run.skip_tests(AXE_TESTS, "no axe", end_to_end());
            run.group("end to end", command, &["--skip", AXE_TESTS]);
        }
    } else {
        run.skip_tests(BROWSER_TESTS, "no browser", end_to_end());
        run.group("end to end", end_to_end(), &["--skip", BROWSER_TESTS]);
    }

    if full || std::env::var_os("CI").is_some_and(|value| value == "true") {
        for engine in Engine::ALL {
            run.engine(engine);
        }
        run.packaging();
        run.prepare("the crates, from their packages", || crates::build(crates::Trial::Types).map(drop));
        run.prepare("page, a second time", integrity::reproduce);
    }
    run.sum
}

fn debug_server() -> Result<()> {
    process::run(&mut cargo(["build", "-p", "duologue-server"]))
}

fn end_to_end() -> Command {
    let mut command = cargo(["test", "--no-fail-fast", "-p", "duologue-tests"]);
    command.env("DUOLOGUE_BIN", target("debug").join(format!("duologue{}", std::env::consts::EXE_SUFFIX)));
    command
}

struct Run<'a> {
    filter: Option<&'a str>,
    sum: Counts,
}

impl Run<'_> {
    /// A step without tests of its own; its failure counts as one.
    fn prepare(&mut self, name: &str, work: impl FnOnce() -> Result<()>) {
        if let Err(error) = step(name, work) {
            eprintln!("xtask: failed: {name}: {error:#}");
            self.sum += Counts::FAILURE;
        }
    }

    /// One `cargo test`.
    fn group(&mut self, name: &str, mut command: Command, harness: &[&str]) {
        command.arg("--").args(self.filter).args(harness);
        self.stream(name, &mut command);
    }

    /// The end-to-end tests of the browser in one more engine.
    fn engine(&mut self, engine: Engine) {
        let Some((variable, tool)) = engine.environment() else {
            return self.skip_tests(BROWSER_TESTS, &format!("no {}", engine.name()), end_to_end());
        };
        let all = Self::list(end_to_end(), None);
        let mut names: Vec<&str> = tests_in(&all, BROWSER_TESTS).collect();
        for (left_out, why) in engine.left_out() {
            match names.iter().position(|name| *name == left_out) {
                Some(at) => _ = names.swap_remove(at),
                None => {
                    eprintln!("xtask: failed: there is no {left_out} to leave out");
                    self.sum += Counts::FAILURE;
                }
            }
            if self.filter.is_none_or(|filter| left_out.contains(filter)) {
                eprintln!("xtask: skipped: {left_out} ({}: {why})", engine.name());
                self.sum.skipped += 1;
            }
        }
        names.retain(|name| self.filter.is_none_or(|filter| name.contains(filter)));
        if names.is_empty() && self.filter.is_some() {
            return;
        }
        let mut command = end_to_end();
        command.env("DUOLOGUE_ENGINE", engine.name()).env(variable, tool).args(["--", "--exact"]).args(names);
        self.stream(&format!("end to end, {}", engine.name()), &mut command);
    }

    /// The npm package in its matrix.
    fn packaging(&mut self) {
        match packaging::command(self.filter) {
            Ok(Some(mut command)) => self.stream("packaging", &mut command),
            Ok(None) => {
                eprintln!("xtask: skipped: packaging (no node)");
                self.sum.skipped += 1;
            }
            Err(error) => {
                eprintln!("xtask: failed: packaging: {error:#}");
                self.sum += Counts::FAILURE;
            }
        }
    }

    /// Runs a command and counts its tests.
    fn stream(&mut self, name: &str, command: &mut Command) {
        let counts = step(&format!("tests: {name}"), || stream(command));
        self.sum += match counts {
            Ok((counts, true)) if counts == Counts::default() && self.filter.is_none() => {
                eprintln!("xtask: failed: {name}: no test ran");
                Counts::FAILURE
            }
            Ok((counts, true)) => counts,
            Ok((counts, false)) => {
                eprintln!("xtask: failed: {name} ({counts})");
                // Nothing failed by count: it could not be built, or a test ended the whole process.
                Counts { failed: counts.failed.max(1), ..counts }
            }
            Err(error) => {
                eprintln!("xtask: failed: {name}: {error:#}");
                Counts::FAILURE
            }
        };
    }

    /// Counts and names the tests that `--skip` will leave out.
    fn skip_tests(&mut self, kind: &str, why: &str, tests: Command) {
        for name in tests_in(&Self::list(tests, self.filter), kind) {
            eprintln!("xtask: skipped: {name} ({why})");
            self.sum.skipped += 1;
        }
    }

    /// What `--list` says of the tests whose name contains the filter.
    fn list(mut tests: Command, filter: Option<&str>) -> String {
        tests.arg("--").args(filter).arg("--list").stderr(Stdio::inherit());
        process::output(&mut tests).unwrap_or_default()
    }
}

/// Runs a command, shows its stdout as it comes and adds up its results; also whether it succeeded.
pub(crate) fn stream(command: &mut Command) -> Result<(Counts, bool)> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let mut from = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let mut counts = Counts::default();
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).context("cannot read what cargo prints")? > 0 {
        io::stdout().write_all(&line).context("cannot write to stdout")?;
        if let Some(result) = result_line(&String::from_utf8_lossy(&line)) {
            counts += result;
        }
        line.clear();
    }
    Ok((counts, child.wait().context("cannot wait for cargo")?.success()))
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …`, as libtest and wasm-bindgen-test print it, and node's
/// `# pass 3` with its siblings.
fn result_line(line: &str) -> Option<Counts> {
    if let Some((word, number)) = line.trim().strip_prefix("# ").and_then(|rest| rest.split_once(' ')) {
        let number = number.parse().ok()?;
        return match word {
            "pass" => Some(Counts { passed: number, ..Counts::default() }),
            "fail" => Some(Counts { failed: number, ..Counts::default() }),
            "skipped" | "todo" => Some(Counts { skipped: number, ..Counts::default() }),
            _ => None,
        };
    }
    let (_word, numbers) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = Counts::default();
    for part in numbers.split("; ") {
        match part.split_once(' ')? {
            (n, "passed") => counts.passed = n.parse().ok()?,
            (n, "failed") => counts.failed = n.parse().ok()?,
            (n, "ignored") => counts.skipped = n.parse().ok()?,
            _ => {}
        }
    }
    Some(counts)
}

/// The tests of a kind in the output of `--list`.
fn tests_in<'a>(list: &'a str, kind: &'a str) -> impl Iterator<Item = &'a str> {
    list.lines().filter_map(|line| line.strip_suffix(": test")).filter(move |name| name.contains(kind))
}

#[cfg(test)]
mod tests {
    use super::{AXE_TESTS, BROWSER_TESTS, Counts, result_line, tests_in};

    #[test]
    fn results_of_both_harnesses_are_read() {
        let libtest =
            "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.02s";
        assert_eq!(result_line(libtest), Some(Counts { passed: 3, failed: 2, skipped: 1 }));
        let wasm = "test result: ok. 12 passed; 0 failed; 0 ignored; 4 filtered out; finished in 1.20s\n";
        assert_eq!(result_line(wasm), Some(Counts { passed: 12, failed: 0, skipped: 0 }));
        assert_eq!(result_line("# pass 8\n"), Some(Counts { passed: 8, failed: 0, skipped: 0 }));
        assert_eq!(result_line("# duration_ms 71"), None);
        assert_eq!(result_line("test codec::round_trip ... ok"), None);
    }

    #[test]
    fn only_browser_tests_are_listed() {
        let list = "native_echo: test\nbrowser_echo: test\npage::browser_axe_open: test\n\n3 tests, 0 benchmarks\n";
        assert_eq!(tests_in(list, BROWSER_TESTS).collect::<Vec<_>>(), ["browser_echo", "page::browser_axe_open"]);
        assert_eq!(tests_in(list, AXE_TESTS).collect::<Vec<_>>(), ["page::browser_axe_open"]);
    }

    #[test]
    fn the_last_line_has_its_exact_form() {
        let counts = Counts { passed: 10, failed: 0, skipped: 2 };
        assert_eq!(counts.to_string(), "10 passed, 0 failed, 2 skipped");
    }
}
