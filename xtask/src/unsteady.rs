//! A second try for native and end-to-end tests: a few that failed among others on a full machine are run once more, alone.
//!
//! ```text
//! 1 to 3 failures, all of them named ─► those tests, one after the other ─► passed: counted as passed, and named as unsteady
//!                                                                           failed: failures
//! more, or a run that broke off      ─► failures
//! ```
//!
//! So do `retries` of cargo-nextest and of Playwright. It keeps a run from being lost to a hiccup of the machine; what it names
//! is a fault all the same, in the test or in what it tests.

use std::ffi::OsStr;
use std::process::Command;

use crate::harness::Outcome;

/// With more failures than this, something is broken.
pub(crate) const FAILURES_MAX: usize = 3;

/// The tests to run once more, if that is worth while.
pub(crate) fn worth_a_second_try(outcome: &Outcome) -> Option<&[String]> {
    let failed = outcome.counts.failed;
    // A count without as many names means that something else went wrong as well.
    let is_worth_it = !outcome.succeeded && (1..=FAILURES_MAX).contains(&failed) && outcome.failures.len() == failed;
    is_worth_it.then_some(&outcome.failures)
}

/// The same command, of cargo's or a test program itself, for these tests only and for one at a time.
pub(crate) fn alone(command: &Command, names: &[String]) -> Command {
    let mut again = Command::new(command.get_program());
    let is_for_tests = |argument: &&OsStr| *argument == "--";
    if command.get_args().any(|argument| is_for_tests(&argument)) {
        again.args(command.get_args().take_while(|argument| !is_for_tests(argument))).arg("--");
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => again.env(name, value),
            None => again.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        again.current_dir(folder);
    }
    again.args(["--include-ignored", "--test-threads=1", "--exact"]).args(names);
    again
}

/// Counts as passed what passed at its second try; the names of these.
pub(crate) fn settle(first: &mut Outcome, second: &Outcome) -> Vec<String> {
    let counts = second.counts;
    let is_whole = counts.passed + counts.failed == first.failures.len()
        && second.failures.len() == counts.failed
        && second.succeeded == (counts.failed == 0);
    if !is_whole {
        return Vec::new();
    }
    let passed: Vec<String> = first.failures.extract_if(.., |name| !second.failures.contains(name)).collect();
    first.counts.failed -= passed.len();
    first.counts.passed += passed.len();
    first.succeeded = first.failures.is_empty();
    passed
}

/// How such a test is named, in the output and at the end of the run.
pub(crate) fn line(name: &str) -> String {
    format!("unsteady: {name} (failed once, passed alone)")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::process::Command;

    use super::{alone, settle, worth_a_second_try};
    use crate::harness::Outcome;
    use crate::tally::Counts;

    fn outcome(passed: usize, failures: &[&str]) -> Outcome {
        let failures: Vec<String> = failures.iter().map(|&name| name.to_owned()).collect();
        let counts = Counts { passed, failed: failures.len(), skipped: 0 };
        Outcome { counts, succeeded: failures.is_empty(), failures }
    }

    #[test]
    fn up_to_three_failures_with_their_names_get_a_second_try() {
        assert_eq!(worth_a_second_try(&outcome(9, &[])), None);
        assert_eq!(worth_a_second_try(&outcome(9, &["a"])), Some(&["a".to_owned()][..]));
        assert!(worth_a_second_try(&outcome(9, &["a", "b", "c"])).is_some());
        assert_eq!(worth_a_second_try(&outcome(9, &["a", "b", "c", "d"])), None);
        let mut unnamed = outcome(9, &["a"]);
        unnamed.counts.failed = 2;
        assert_eq!(worth_a_second_try(&unnamed), None);
        // It could not be built, or a test took the whole process with it.
        assert_eq!(worth_a_second_try(&Outcome::default()), None);
    }

    #[test]
    fn what_passes_alone_is_passed_and_what_fails_twice_is_not() {
        let mut first = outcome(7, &["a", "b"]);
        assert_eq!(settle(&mut first, &outcome(1, &["b"])), ["a"]);
        assert_eq!(first, outcome(8, &["b"]));

        let mut first = outcome(7, &["a", "b"]);
        assert_eq!(settle(&mut first, &outcome(2, &[])), ["a", "b"]);
        assert_eq!(first, outcome(9, &[]));
    }

    #[test]
    fn a_second_try_that_broke_off_or_ran_nothing_settles_nothing() {
        let broke_off = Outcome { succeeded: false, ..outcome(1, &[]) };
        let failed_besides = Outcome { succeeded: false, ..outcome(2, &[]) };
        for second in [outcome(0, &[]), outcome(1, &[]), outcome(0, &["b"]), broke_off, failed_besides] {
            let mut first = outcome(7, &["a", "b"]);
            assert_eq!(settle(&mut first, &second), [""; 0], "{second:?}");
            assert_eq!(first, outcome(7, &["a", "b"]));
        }
    }

    #[test]
    fn the_second_try_is_the_same_command_for_these_tests_alone() {
        let mut command = Command::new("cargo");
        command.args(["test", "-p", "duologue-tests", "--", "--skip", "busy::"]).current_dir("/");
        command.env("DUOLOGUE_ENGINE", "firefox").env_remove("DUOLOGUE_LONG");
        let again = alone(&command, &["page::a".to_owned(), "b".to_owned()]);
        let wanted =
            ["test", "-p", "duologue-tests", "--", "--include-ignored", "--test-threads=1", "--exact", "page::a", "b"];
        assert_eq!(again.get_args().collect::<Vec<_>>(), wanted);
        assert!(again.get_envs().eq(command.get_envs()));
        assert_eq!(again.get_current_dir(), command.get_current_dir());

        let mut program = Command::new("target/debug/deps/watch-1");
        program.arg("a_filter").env_remove("DUOLOGUE_LONG");
        let again = alone(&program, &["a_filter_fits".to_owned()]);
        let wanted = ["--include-ignored", "--test-threads=1", "--exact", "a_filter_fits"];
        assert_eq!(
            (again.get_program(), again.get_args().collect::<Vec<_>>()),
            (program.get_program(), wanted.map(OsStr::new).to_vec())
        );
    }
}
