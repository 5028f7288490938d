//! What test harnesses print: how many tests passed, failed and did not run, and the names of those that failed.
//!
//! ```text
//! libtest, wasm-bindgen-test   `test result: FAILED. 3 passed; 1 failed; …`, before it the names below `failures:`
//! node --test, as TAP          `# pass 3` and its siblings, without names
//! ```
//!
//! The output of one command is shown as it comes and never kept; that of several beside each other, when each has ended.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result};

use crate::tally::Counts;

/// What a run of tests came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) counts: Counts,
    /// The names of the tests that failed, where the harness names them.
    pub(crate) failures: Vec<String>,
    /// Whether the command succeeded.
    pub(crate) succeeded: bool,
}

/// Runs a command, shows its stdout as it comes and reads its results.
///
/// # Errors
///
/// When it cannot be started, read or waited for.
pub(crate) fn stream(command: &mut Command) -> Result<Outcome> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let mut from = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let mut reader = Reader::default();
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).context("cannot read what cargo prints")? > 0 {
        io::stdout().write_all(&line).context("cannot write to stdout")?;
        reader.line(&String::from_utf8_lossy(&line));
        line.clear();
    }
    reader.outcome.succeeded = child.wait().context("cannot wait for cargo")?.success();
    Ok(reader.outcome)
}

/// Runs test programs beside each other, as many at a time as there are cores, and shows what each printed when it has ended.
/// Many of them wait more than they work.
///
/// # Errors
///
/// When one cannot be started or shown.
pub(crate) fn beside(programs: Vec<(String, Command)>) -> Result<Vec<Outcome>> {
    let at_once = thread::available_parallelism().map_or(1, usize::from).min(programs.len());
    let outcomes = Mutex::new(Vec::new());
    outcomes.lock().expect("no thread panics").resize_with(programs.len(), Outcome::default);
    let waiting = Mutex::new(programs.into_iter().enumerate());
    let work = || -> Result<()> {
        loop {
            // In a statement of its own: the lock must not be held while the program runs.
            let next = waiting.lock().expect("no thread panics").next();
            let Some((at, (name, mut command))) = next else { return Ok(()) };
            let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
            let mut reader = Reader::default();
            String::from_utf8_lossy(&output.stdout).lines().for_each(|line| reader.line(line));
            reader.outcome.succeeded = output.status.success();
            let mut shown = io::stdout().lock();
            write!(shown, "\n{name}\n").context("cannot write to stdout")?;
            shown.write_all(&output.stdout).context("cannot write to stdout")?;
            io::stderr().write_all(&output.stderr).context("cannot write to stderr")?;
            outcomes.lock().expect("no thread panics")[at] = reader.outcome;
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no thread panics"))
    })?;
    Ok(outcomes.into_inner().expect("no thread panics"))
}

/// Reads results line by line.
#[derive(Debug, Default)]
struct Reader {
    outcome: Outcome,
    /// The names below the last `failures:`.
    listed: Vec<String>,
    is_in_list: bool,
}

impl Reader {
    fn line(&mut self, line: &str) {
        let line = line.trim_end_matches(['\n', '\r']);
        if let Some(counts) = result_line(line) {
            self.outcome.counts += counts;
            self.outcome.failures.append(&mut self.listed);
            self.is_in_list = false;
        } else if line == "failures:" {
            // It comes twice: first with what each test printed, which may hold anything, then with the names alone.
            self.listed.clear();
            self.is_in_list = true;
        } else if self.is_in_list {
            match line.strip_prefix("    ").filter(|name| is_name(name)) {
                Some(name) => self.listed.push(name.to_owned()),
                None => self.is_in_list = false,
            }
        }
    }
}

/// A path of a test.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|char| char.is_alphanumeric() || char == '_' || char == ':')
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

#[cfg(test)]
mod tests {
    use super::{Outcome, Reader, result_line};
    use crate::tally::Counts;

    fn read(text: &str) -> Outcome {
        let mut reader = Reader::default();
        text.split_inclusive('\n').for_each(|line| reader.line(line));
        reader.outcome
    }

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
    fn the_names_of_failures_are_read_whatever_the_tests_printed() {
        let text = "\nrunning 4 tests\ntest a::one ... FAILED\ntest a::two ... ok\ntest b ... FAILED\n\nfailures:\n\n\
            ---- a::one stdout ----\nfailures:\n    not::a::test\n    left: 1\n\n---- b stdout ----\n\
            thread 'b' panicked at tests/e2e/b.rs:1:1\n\n\nfailures:\n    a::one\n    b\n\n\
            test result: FAILED. 2 passed; 2 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.02s\n";
        let outcome = read(text);
        assert_eq!(outcome.failures, ["a::one", "b"]);
        assert_eq!(outcome.counts, Counts { passed: 2, failed: 2, skipped: 0 });
    }

    #[test]
    fn failures_of_two_binaries_are_added_up_and_passes_name_nobody() {
        let failed = "failures:\n    x\n\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; finished in 0.1s\r\n";
        let passed = "test result: ok. 5 passed; 0 failed; 0 ignored; finished in 0.1s\n";
        let outcome = read(&[failed, passed, &failed.replace("    x", "    y")].concat());
        assert_eq!(outcome.failures, ["x", "y"]);
        assert_eq!(outcome.counts, Counts { passed: 5, failed: 2, skipped: 0 });
        assert_eq!(read(passed).failures, [""; 0]);
    }
}
