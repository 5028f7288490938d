//! `cargo xtask test --long`: in its whole form what a build machine runs in a small one, and the result into docs/LONG.md.
//!
//! ```text
//! tests/forms.json ─► each test by itself, with DUOLOGUE_LONG=1
//! the simulation over 100,000 seeds · every proxy that can be had (docs/PROXIES.md) · Autobahn's cases (docs/AUTOBAHN.md)
//! a server that is built with traces and tokio-console · the local API by schemathesis
//! ```
//!
//! With `--filter` only some: the other rows stay as they are.

use std::fmt::Write as _;
use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::process::{command, output, root};
use crate::tally::Counts;
use crate::test::{self, Run};
use crate::{integrity, proxies, sim, wasm};

const BEGIN: &str = "<!-- from here on written by `cargo xtask test --long` -->";
const END: &str = "<!-- to here -->";
/// As `cargo xtask sim` has it unless told; the tests of the core run the first number of them.
const SEEDS: u64 = 100_000;
const SEEDS_IN_TESTS: u64 = 2_000;

/// An entry of `tests/forms.json`.
#[derive(Debug, Deserialize)]
struct Form {
    /// The whole name of an end-to-end test, or of a unit test of the server's.
    test: String,
    /// What the two numbers count.
    what: String,
    small: u64,
    whole: u64,
}

/// A row of docs/LONG.md; without an outcome the one that stands there is kept.
struct Row {
    what: String,
    small: String,
    whole: String,
    outcome: Option<(String, Duration)>,
}

/// The rows, and the run that fills them.
struct Report<'a> {
    run: Run<'a>,
    rows: Vec<Row>,
}

impl<'a> Report<'a> {
    /// Does the work, if the row's name or the one given has the filter in it, and keeps what came to the tally meanwhile.
    fn row(
        &mut self,
        name: &str,
        what: String,
        forms: [String; 2],
        work: impl FnOnce(&mut Run<'a>) -> Result<()>,
    ) -> Result<()> {
        let mut outcome = None;
        if self.run.is_wanted(name) {
            let (started, before) = (Instant::now(), self.run.tally.counts());
            work(&mut self.run)?;
            outcome = Some((word(self.run.tally.counts().since(before)), started.elapsed()));
        }
        let [small, whole] = forms;
        self.rows.push(Row { what, small, whole, outcome });
        Ok(())
    }
}

/// Runs all whole forms, or those whose name contains the filter: a test's, `simulation`, `proxies`, `autobahn`, `seeing`,
/// `schemathesis` or `reproducible`.
///
/// # Errors
///
/// On a build machine; when forms cannot be read or the result cannot be written. What fails is counted.
pub(crate) fn verb(filter: Option<&str>) -> Result<ExitCode> {
    ensure!(!test::on_build_machine(), "CI=true takes the small forms: `cargo xtask test`");
    let text = fs::read_to_string(root().join("tests/forms.json")).context("cannot read tests/forms.json")?;
    let forms: Vec<Form> = serde_json::from_str(&text).context("tests/forms.json")?;
    let mut report = Report { run: Run::long(filter), rows: Vec::new() };
    let wanted = |form: &&Form| filter.is_none_or(|filter| form.test.contains(filter));
    if forms.iter().filter(wanted).any(|form| test::in_the_server(&form.test).is_none()) {
        report.run.prepare_end_to_end();
    }
    forms.iter().filter(wanted).for_each(|form| report.run.prepare_whole_form(&form.test));
    for Form { test, what, small, whole } in forms {
        let what = format!("{what}: `{test}`");
        report.row(&test, what, [small, whole].map(thousands), |run| {
            run.whole_form(&test);
            Ok(())
        })?;
    }
    report.row("simulation", "seeds of the simulation".to_owned(), [SEEDS_IN_TESTS, SEEDS].map(thousands), |run| {
        // It has no counts of its own, unless it fails.
        run.prepare(&format!("simulation of {SEEDS} seeds"), || {
            ensure!(sim::verb(SEEDS, 0)? == ExitCode::SUCCESS, "a seed failed");
            Ok(())
        });
        Ok(())
    })?;
    let some = proxies::ALL.iter().filter(|proxy| proxy.is_for_build_machines).count();
    report.row(
        "proxies",
        "proxies, see [PROXIES.md](PROXIES.md)".to_owned(),
        [some, proxies::ALL.len()].map(|count| count.to_string()),
        |run| {
            run.proxies(proxies::ALL);
            proxies::write_report()
        },
    )?;
    let none = |whole: &str| ["none".to_owned(), whole.to_owned()];
    let what = "Autobahn's cases, see [AUTOBAHN.md](AUTOBAHN.md)".to_owned();
    report.row("autobahn", what, none("247"), Run::autobahn)?;
    let what = "traces and tokio-console, see [OPERATING.md](OPERATING.md#seeing-inside)".to_owned();
    report.row("seeing", what, none("3"), |run| {
        run.seeing();
        Ok(())
    })?;
    let what = "the local API, asked what its OpenAPI document says by schemathesis".to_owned();
    report.row("schemathesis", what, none("1"), |run| {
        run.schemathesis();
        Ok(())
    })?;
    let what = "the page, built once more from a copy in another folder: the same to the byte".to_owned();
    report.row("reproducible", what, none("1"), |run| {
        run.prepare("page, a second time", || {
            wasm::build(false, &mut std::io::stderr())?;
            integrity::reproduce()
        });
        Ok(())
    })?;
    ensure!(
        report.rows.iter().any(|row| row.outcome.is_some()),
        "no whole form has a name with {}",
        filter.unwrap_or("")
    );

    write(&report.rows)?;
    Ok(report.run.tally.finish())
}

fn word(counts: Counts) -> String {
    match counts {
        Counts { failed: 0, skipped: 0, passed: 0 | 1 } => "passed".to_owned(),
        Counts { failed: 1.., .. } => format!("**{counts}**"),
        counts => counts.to_string(),
    }
}

fn write(rows: &[Row]) -> Result<()> {
    let date = output(command("date").args(["-u", "+%F"])).unwrap_or_else(|| "a day unknown".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let file = root().join("docs/LONG.md");
    let text = fs::read_to_string(&file).context("cannot read docs/LONG.md")?;
    let table = table(rows, &text, &format!("{date}, {cores} cores"));
    fs::write(&file, proxies::between(&text, BEGIN, END, &table)?).context("cannot write docs/LONG.md")
}

/// The rows as a table; one without an outcome as it stood before.
fn table(rows: &[Row], before: &str, when: &str) -> String {
    let mut table =
        "| what | small form | whole form | result | minutes | when |\n|---|---:|---:|---|---:|---|\n".to_owned();
    for Row { what, small, whole, outcome } in rows {
        let begin = format!("| {what} | {small} | {whole} | ");
        let rest = match outcome {
            Some((result, time)) => format!("{result} | {:.1} | {when} |", time.as_secs_f64() / 60.0),
            // Of another number it says nothing.
            None => before.lines().find_map(|line| line.strip_prefix(&begin)).unwrap_or("not run | | |").to_owned(),
        };
        let _ = writeln!(table, "{begin}{rest}");
    }
    table
}

/// With a comma between thousands.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::{Form, Row, table, thousands, word};
    use crate::process::root;
    use crate::tally::Counts;
    use crate::test;

    fn forms() -> Vec<Form> {
        serde_json::from_str(include_str!("../../tests/forms.json")).expect("forms")
    }

    #[test]
    fn every_form_is_read_and_its_whole_form_is_the_larger() {
        let forms = forms();
        assert!(forms.iter().all(|form| form.small < form.whole && !form.what.is_empty()), "{forms:?}");
    }

    #[test]
    fn every_form_is_a_test_that_would_be_run() {
        for Form { test, .. } in forms() {
            if test::in_the_server(&test).is_some() {
                continue;
            }
            let (modules, function) = test.rsplit_once("::").expect("a test of no file of server/tests is end to end");
            let file = root().join("tests/e2e").join(modules.replace("::", "/"));
            let text = [file.with_extension("rs"), file.join("mod.rs")].map(|file| fs::read_to_string(file).ok());
            let text = text.into_iter().flatten().next().unwrap_or_default();
            assert!(text.contains(&format!("fn {function}")), "there is no {test}");
        }
    }

    #[test]
    fn a_form_that_was_not_run_keeps_what_stood_there_and_no_more_than_that() {
        let row = |what: &str, whole: &str, outcome| Row {
            what: what.to_owned(),
            small: "3".to_owned(),
            whole: whole.to_owned(),
            outcome,
        };
        let before = "| a | 3 | 100 | passed | 2.0 | then |\n| b | 3 | 100 | passed | 9.0 | then |\n";
        let ran = Some(("**failed**".to_owned(), Duration::from_secs(90)));
        let now = table(&[row("a", "100", None), row("b", "100", ran), row("c", "100", None)], before, "now");
        assert!(now.contains("| a | 3 | 100 | passed | 2.0 | then |"), "{now}");
        assert!(now.contains("| b | 3 | 100 | **failed** | 1.5 | now |"), "{now}");
        assert!(now.contains("| c | 3 | 100 | not run | | |"), "{now}");
        let larger = table(&[row("a", "1,000", None)], before, "now");
        assert!(larger.contains("| a | 3 | 1,000 | not run | | |"), "{larger}");
    }

    #[test]
    fn numbers_and_results_read_well() {
        assert_eq!(["7", "200", "2,000", "100,000"], [7, 200, 2_000, 100_000].map(thousands));
        assert_eq!(word(Counts { passed: 1, ..Counts::default() }), "passed");
        assert_eq!(word(Counts::FAILURE), "**0 passed, 1 failed, 0 skipped**");
        assert_eq!(word(Counts { skipped: 1, ..Counts::default() }), "0 passed, 0 failed, 1 skipped");
    }
}
