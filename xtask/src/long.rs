//! `cargo xtask test --long`: in its whole form what a build machine runs in a small one, and the result into docs/LONG.md.
//!
//! ```text
//! tests/forms.json ─► each test by itself, with DUOLOGUE_LONG=1
//! the simulation over 100,000 seeds · every proxy that can be had (docs/PROXIES.md) · Autobahn's cases (docs/AUTOBAHN.md)
//! a server that is built with traces and tokio-console
//! ```

use std::fmt::Write as _;
use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::process::{command, output, root};
use crate::tally::Counts;
use crate::test::{self, Run};
use crate::{proxies, sim};

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

/// A row of docs/LONG.md.
struct Row {
    what: String,
    small: String,
    whole: String,
    result: String,
    time: Duration,
}

/// Runs all whole forms.
///
/// # Errors
///
/// On a build machine; when forms cannot be read or the result cannot be written. What fails is counted.
pub(crate) fn verb() -> Result<ExitCode> {
    ensure!(!test::on_build_machine(), "CI=true takes the small forms: `cargo xtask test`");
    let text = fs::read_to_string(root().join("tests/forms.json")).context("cannot read tests/forms.json")?;
    let forms: Vec<Form> = serde_json::from_str(&text).context("tests/forms.json")?;
    let mut run = Run::long();
    let mut rows = Vec::new();
    run.prepare_end_to_end();
    for Form { test, what, small, whole } in forms {
        let started = Instant::now();
        let result = word(run.whole_form(&test));
        let (small, whole) = (thousands(small), thousands(whole));
        rows.push(Row { what: format!("{what}: `{test}`"), small, whole, result, time: started.elapsed() });
    }

    let (started, before) = (Instant::now(), run.tally.counts());
    run.prepare(&format!("simulation of {SEEDS} seeds"), || {
        ensure!(sim::verb(SEEDS, 0)? == ExitCode::SUCCESS, "a seed failed");
        Ok(())
    });
    let (small, whole) = (thousands(SEEDS_IN_TESTS), thousands(SEEDS));
    // It has no counts of its own, unless it fails.
    let result = match run.tally.counts().since(before) == Counts::default() {
        true => "passed".to_owned(),
        false => "**failed**".to_owned(),
    };
    rows.push(Row { what: "seeds of the simulation".to_owned(), small, whole, result, time: started.elapsed() });

    let (started, before) = (Instant::now(), run.tally.counts());
    run.proxies(proxies::ALL);
    proxies::write_report()?;
    let (small, whole) = (
        proxies::ALL.iter().filter(|proxy| proxy.is_for_build_machines).count().to_string(),
        proxies::ALL.len().to_string(),
    );
    let result = word(run.tally.counts().since(before));
    let what = "proxies, see [PROXIES.md](PROXIES.md)".to_owned();
    rows.push(Row { what, small, whole, result, time: started.elapsed() });

    let (started, before) = (Instant::now(), run.tally.counts());
    run.autobahn()?;
    let result = word(run.tally.counts().since(before));
    let what = "Autobahn's cases, see [AUTOBAHN.md](AUTOBAHN.md)".to_owned();
    rows.push(Row { what, small: "none".to_owned(), whole: "247".to_owned(), result, time: started.elapsed() });

    let (started, before) = (Instant::now(), run.tally.counts());
    run.seeing();
    let result = word(run.tally.counts().since(before));
    let what = "traces and tokio-console, see [OPERATING.md](OPERATING.md#seeing-inside)".to_owned();
    rows.push(Row { what, small: "none".to_owned(), whole: "3".to_owned(), result, time: started.elapsed() });

    write(&rows)?;
    Ok(run.tally.finish())
}

fn word(counts: Counts) -> String {
    match counts {
        Counts { failed: 0, skipped: 0, passed: 1 } => "passed".to_owned(),
        Counts { failed: 1.., .. } => format!("**{counts}**"),
        counts => counts.to_string(),
    }
}

fn write(rows: &[Row]) -> Result<()> {
    let date = output(command("date").args(["-u", "+%F"])).unwrap_or_else(|| "a day unknown".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut table = format!(
        "{date}, {cores} cores.\n\n| what | small form | whole form | result | minutes |\n|---|---:|---:|---|---:|\n"
    );
    for Row { what, small, whole, result, time } in rows {
        let minutes = time.as_secs_f64() / 60.0;
        let _ = writeln!(table, "| {what} | {small} | {whole} | {result} | {minutes:.1} |");
    }
    let file = root().join("docs/LONG.md");
    let text = fs::read_to_string(&file).context("cannot read docs/LONG.md")?;
    fs::write(&file, proxies::between(&text, BEGIN, END, &table)?).context("cannot write docs/LONG.md")
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
    use super::{Form, thousands, word};
    use crate::tally::Counts;

    #[test]
    fn every_form_is_read_and_its_whole_form_is_the_larger() {
        let forms: Vec<Form> = serde_json::from_str(include_str!("../../tests/forms.json")).expect("forms");
        assert!(forms.iter().all(|form| form.small < form.whole && !form.what.is_empty()), "{forms:?}");
    }

    #[test]
    fn numbers_and_results_read_well() {
        assert_eq!(["7", "200", "2,000", "100,000"], [7, 200, 2_000, 100_000].map(thousands));
        assert_eq!(word(Counts { passed: 1, ..Counts::default() }), "passed");
        assert_eq!(word(Counts::FAILURE), "**0 passed, 1 failed, 0 skipped**");
        assert_eq!(word(Counts { skipped: 1, ..Counts::default() }), "0 passed, 0 failed, 1 skipped");
    }
}
