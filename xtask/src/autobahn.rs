//! `cargo xtask test --autobahn`: Autobahn's fuzzing client against the server's own WebSocket, and the result into
//! docs/AUTOBAHN.md.
//!
//! ```text
//! pip (Python 2.7) ─► target/tools/autobahn ─► server/src/front/socket/autobahn.rs ─► docs/AUTOBAHN.md between its marks
//! ```
//!
//! Autobahn runs with Python 2.7 only; where there is none, its test is skipped by name. What must be as Autobahn wants it
//! is the test's matter, this only shows it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::process::{cargo, command, home, output, root, run, step, target, which};
use crate::proxies;
use crate::test::Run;

/// The package of PyPI.
const VERSION: &str = "25.10.1";
/// The test, as `server`'s library names it.
pub(crate) const TEST: &str = "front::socket::autobahn::autobahns_cases_are_as_they_should_be";
const BEGIN: &str = "<!-- from here on written by `cargo xtask test --autobahn` -->";
const END: &str = "<!-- to here -->";

/// What Autobahn's sections are about, of those that are run.
const SECTIONS: [(&str, &str); 8] = [
    ("1", "text and bytes of all lengths, up to 65,536 in one frame"),
    ("2", "pings and pongs"),
    ("3", "reserved bits"),
    ("4", "reserved opcodes"),
    ("5", "fragments, and control frames between them"),
    ("6", "UTF-8"),
    ("7", "the closing handshake: codes, reasons, what comes behind"),
    ("10", "a message in many fragments"),
];

/// A case as the test writes it down.
#[derive(Clone, Debug, Deserialize)]
struct Case {
    case: String,
    behavior: String,
    close: String,
    /// Why it is not as Autobahn wants it.
    why: Option<String>,
}

/// Runs it, and writes what it saw.
///
/// # Errors
///
/// When that cannot be written; what fails is counted.
pub(crate) fn verb() -> Result<ExitCode> {
    let mut run = Run::new(None);
    run.autobahn()?;
    Ok(run.tally.finish())
}

/// The test, with what it needs; where there is no Python 2.7, or Autobahn cannot be installed, why not.
///
/// # Errors
///
/// The reason to skip it.
pub(crate) fn prepare() -> Result<std::process::Command> {
    let python = python().context("no Python 2.7")?;
    let packages = home().join("target/tools/autobahn");
    if !packages.join(format!("autobahntestsuite-{VERSION}.dist-info")).is_dir() {
        step(&format!("installing autobahntestsuite {VERSION} (pip)"), || {
            let mut pip = command(&python);
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]).arg(&packages);
            run(pip.arg(format!("autobahntestsuite=={VERSION}")))
        })?;
    }
    // The folder as one of packages, not as a path: some of them share a namespace.
    let script = "import site, sys; site.addsitedir(sys.argv.pop(1)); from autobahntestsuite.wstest import run; run()";
    let client = [python.to_string_lossy(), "-c".into(), script.into(), packages.to_string_lossy()];
    let _ = fs::remove_file(report());
    let mut test = cargo(["test", "-p", "duologue-server", "--lib", "--", "--ignored", "--exact", "--nocapture", TEST]);
    test.env("DUOLOGUE_AUTOBAHN", serde_json::to_string(&client)?).env("DUOLOGUE_AUTOBAHN_REPORT", report());
    Ok(test)
}

/// Where the test leaves its verdicts.
fn report() -> PathBuf {
    target("autobahn.json")
}

/// A Python 2.7: on PATH, or one that pyenv keeps without having it there.
fn python() -> Option<PathBuf> {
    let is_it = |program: &Path| {
        let mut ask = command(program);
        ask.args(["-c", "import sys; print(sys.version_info[:2] == (2, 7))"]);
        output(&mut ask).as_deref() == Some("True")
    };
    let of_pyenv = || {
        let versions = PathBuf::from(output(command("pyenv").arg("root"))?).join("versions");
        let mut found = fs::read_dir(versions).ok()?.flatten().map(|entry| entry.path()).collect::<Vec<_>>();
        found.retain(|version| version.file_name().is_some_and(|name| name.to_string_lossy().starts_with("2.7.")));
        found.sort();
        Some(found.pop()?.join("bin/python2.7"))
    };
    which("python2.7").filter(|python| is_it(python)).or_else(of_pyenv).filter(|python| is_it(python))
}

/// Writes the verdicts of the last run into docs/AUTOBAHN.md.
///
/// # Errors
///
/// When there are none, or the file cannot be written.
pub(crate) fn write_report() -> Result<()> {
    let cases = fs::read_to_string(report()).context("the test left no verdicts")?;
    let cases: Vec<Case> = serde_json::from_str(&cases).context("the test's verdicts")?;
    let date = output(command("date").args(["-u", "+%F"])).unwrap_or_else(|| "a day unknown".to_owned());
    let text = format!("{date}, autobahntestsuite {VERSION}, {} cases.\n\n{}", cases.len(), table(&cases)?);
    let file = root().join("docs/AUTOBAHN.md");
    let before = fs::read_to_string(&file).context("cannot read docs/AUTOBAHN.md")?;
    fs::write(&file, proxies::between(&before, BEGIN, END, &text)?).context("cannot write docs/AUTOBAHN.md")
}

/// A row for each section: how many cases have which verdict, and which are not as they should be.
fn table(cases: &[Case]) -> Result<String> {
    let mut table = String::from("| section | cases | verdicts | not as Autobahn wants it |\n|---|---:|---|---|\n");
    for (section, about) in SECTIONS {
        let of_it = cases.iter().filter(|case| case.case.split('.').next() == Some(section)).collect::<Vec<_>>();
        ensure!(!of_it.is_empty(), "Autobahn ran no case of section {section}");
        let mut verdicts = BTreeMap::<&str, usize>::new();
        let mut reasons = BTreeMap::<&str, Vec<&str>>::new();
        for case in &of_it {
            let worse = if case.behavior == "FAILED" || case.close == "OK" { &case.behavior } else { &case.close };
            *verdicts.entry(worse).or_default() += 1;
            if let Some(why) = &case.why {
                reasons.entry(why).or_default().push(&case.case);
            }
        }
        let verdicts = verdicts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect::<Vec<_>>();
        let reasons = reasons.iter().map(|(why, cases)| format!("{}: {why}", ranges(cases)));
        let reasons = reasons.collect::<Vec<_>>().join("; ");
        let _ = writeln!(table, "| {section}, {about} | {} | {} | {reasons} |", of_it.len(), verdicts.join(", "));
    }
    Ok(table)
}

/// Cases in their order; those of one group that follow each other as the first and the last number.
fn ranges(cases: &[&str]) -> String {
    let mut groups = BTreeMap::<Vec<u32>, Vec<u32>>::new();
    for case in cases {
        let mut numbers = case.split('.').map(|part| part.parse().unwrap_or(u32::MAX)).collect::<Vec<_>>();
        let last = numbers.pop().unwrap_or_default();
        groups.entry(numbers).or_default().push(last);
    }
    let mut text = Vec::new();
    for (group, mut numbers) in groups {
        numbers.sort_unstable();
        let group = group.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
        text.extend(numbers.chunk_by(|one, next| one + 1 == *next).map(|range| match range {
            [first, .., last] => format!("{group}.{first} to {last}"),
            single => format!("{group}.{}", single[0]),
        }));
    }
    text.join(", ")
}

#[cfg(test)]
mod tests {
    use super::{Case, SECTIONS, ranges, table};

    #[test]
    fn cases_of_one_reason_stand_together_in_their_order() {
        let case = |case: &str, verdict: &str, why: Option<&str>| Case {
            case: case.to_owned(),
            behavior: verdict.to_owned(),
            close: "OK".to_owned(),
            why: why.map(str::to_owned),
        };
        let mut cases = SECTIONS.map(|(section, _)| case(&format!("{section}.1.1"), "OK", None)).to_vec();
        cases.extend(["1.1.10", "1.1.9", "1.1.2"].map(|name| case(name, "FAILED", Some("too long"))));
        let table = table(&cases).expect("a case of each section");
        let first = table.lines().nth(2).expect("a row");
        assert!(first.ends_with("| 4 | 3 FAILED, 1 OK | 1.1.2, 1.1.9 to 10: too long |"), "{first}");
        assert!(table.lines().last().is_some_and(|last| last.starts_with("| 10, ") && last.ends_with("| 1 OK |  |")));
        assert_eq!(ranges(&["6.10.1", "6.4.2", "6.4.1", "6.4.3", "6.4.6"]), "6.4.1 to 3, 6.4.6, 6.10.1");
        cases.retain(|case| case.case != "10.1.1");
        assert!(super::table(&cases).is_err(), "a section that did not run is missed");
    }
}
