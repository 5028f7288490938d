//! `cargo xtask ci`: tidy, then test; the last line is that of `test`.
//!
//! A tidy check that fails counts as one failure; those that pass are no tests and are not counted.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::tally::Counts;
use crate::{test, tidy};

/// How long all of it may take on two cores, from nothing. What takes longer than a minute has a small form here, and its
/// whole form in `cargo xtask test --long`.
const MINUTES_MAX: f64 = 60.0;

/// Checks everything; goes on to the tests when tidy fails.
///
/// # Errors
///
/// None of its own: what fails is counted.
pub(crate) fn verb() -> Result<ExitCode> {
    let started = Instant::now();
    let untidy = tidy::check(false);
    let tidied = started.elapsed();
    let mut tally = test::all(None, false);
    for check in &untidy {
        eprintln!("xtask: failed: tidy, {check}");
    }
    tally.add("tidy", Counts { failed: untidy.len(), ..Counts::default() }, tidied);
    if tally.minutes() > MINUTES_MAX {
        // No failure: a machine may have other things to do.
        eprintln!("xtask: this took {:.0} minutes, and should take {MINUTES_MAX:.0}", tally.minutes());
    }
    Ok(tally.finish())
}
