//! Tests with two forms: a small one each time, and a whole one by `cargo xtask test --long` (`DUOLOGUE_LONG=1`), which a
//! build machine never takes.
//!
//! `tests/forms.json` names each with both of its numbers. Tests read theirs from it and the verb reads which to run, so
//! that a test that has two forms is run in both.

use serde_json::Value;

/// How many rounds a test of `tests/forms.json` makes in this run.
#[track_caller]
pub(crate) fn rounds(test: &str) -> usize {
    let forms: Value = serde_json::from_str(include_str!("../forms.json")).expect("tests/forms.json is JSON");
    let form = forms.as_array().and_then(|forms| forms.iter().find(|form| form["test"] == test));
    let form = form.unwrap_or_else(|| panic!("tests/forms.json has no {test}"));
    let size = if is_long() { "whole" } else { "small" };
    let rounds = form[size].as_u64().and_then(|rounds| usize::try_from(rounds).ok());
    rounds.unwrap_or_else(|| panic!("{test} has no number as its {size} form"))
}

/// Whether tests take their whole forms.
pub(crate) fn is_long() -> bool {
    std::env::var_os("DUOLOGUE_LONG").is_some_and(|value| value == "1")
}
