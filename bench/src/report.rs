//! What every group reports: entries for programs, as JSON. Tables for people are each group's own.

use std::{fs, path::Path};

use anyhow::Context as _;
use serde::Serialize;

/// One figure, and the baseline's from the same run.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    /// The group that measured it, such as `idle`.
    pub(crate) group: &'static str,
    /// Which of the group's figures.
    pub(crate) name: String,
    /// Of `ours` and `baseline`.
    pub(crate) unit: &'static str,
    pub(crate) ours: f64,
    pub(crate) baseline: f64,
    pub(crate) baseline_name: &'static str,
    /// `ours / baseline`.
    pub(crate) ratio: f64,
    /// In words.
    pub(crate) goal: String,
    pub(crate) met: bool,
}

/// Writes a group's entries.
pub(crate) fn write(path: &Path, entries: &[Entry]) -> anyhow::Result<()> {
    let mut json = serde_json::to_string_pretty(entries).context("entries are plain values")?;
    json.push('\n');
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
}

/// The middle of some values, and how far the others lie from it at most.
pub(crate) fn median(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(first), Some(last), Some(middle)) = (sorted.first(), sorted.last(), sorted.get(sorted.len() / 2)) else {
        return (f64::NAN, f64::NAN);
    };
    (*middle, (last - middle).max(middle - first))
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_does_not_mind_the_order() {
        assert_eq!(median(&[9.0, 1.0, 2.0]), (2.0, 7.0));
        assert_eq!(median(&[4.0]), (4.0, 0.0));
    }
}
