//! `cargo xtask ci`: tidy, then test; the last line is that of `test`.
//!
//! A tidy check that fails counts as one failure; those that pass are no tests and are not counted.

use std::process::ExitCode;

use anyhow::Result;

use crate::{test, tidy};

/// Checks everything; goes on to the tests when tidy fails.
///
/// # Errors
///
/// None of its own: what fails is counted.
pub(crate) fn verb() -> Result<ExitCode> {
    let untidy = tidy::check(false);
    let mut counts = test::all(None, false);
    counts.failed += untidy.len();
    for check in untidy {
        eprintln!("xtask: failed: tidy, {check}");
    }
    Ok(counts.finish())
}
