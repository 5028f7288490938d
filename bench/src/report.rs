//! What every group reports: figures with their baselines and goals, as a table for people and as JSON for programs.

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
    /// The median of all rounds, and how far the others lie from it at most. So is the baseline.
    pub(crate) ours: f64,
    pub(crate) ours_spread: f64,
    pub(crate) baseline: f64,
    pub(crate) baseline_spread: f64,
    pub(crate) baseline_name: &'static str,
    /// `ours / baseline`; none where the rounds differ too much for one.
    pub(crate) ratio: Option<f64>,
    /// In words.
    pub(crate) goal: String,
    pub(crate) met: bool,
}

/// What a figure should be: as a multiple of its baseline, unless it says otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// It is there to be seen.
    None,
    AtLeast(f64),
    AtMost(f64),
    /// The same, and there is no ratio where rounds lie further from their median than half of it.
    AtMostIfSteady(f64),
    /// In the figure's own unit, whatever the baseline is.
    AtMostOf(f64, &'static str),
    /// A multiple of the baseline, or so much in the figure's own unit, whichever is more.
    AtMostOr(f64, f64, &'static str),
}

/// One figure of one group, in every round.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) ours: Vec<f64>,
    pub(crate) baseline: Vec<f64>,
    pub(crate) baseline_name: &'static str,
    pub(crate) goal: Goal,
}

impl Goal {
    pub(crate) fn is_met(self, ours: f64, baseline: f64) -> bool {
        let ratio = ours / baseline;
        match self {
            Self::None => true,
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(most) | Self::AtMostIfSteady(most) => ratio <= most,
            Self::AtMostOf(most, _) => ours <= most,
            Self::AtMostOr(most, least, _) => ratio <= most || ours <= least,
        }
    }

    pub(crate) fn words(self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::AtLeast(least) => format!("at least {least} ×"),
            Self::AtMost(most) | Self::AtMostIfSteady(most) => format!("at most {most} ×"),
            Self::AtMostOf(most, unit) => format!("at most {most} {unit}"),
            Self::AtMostOr(most, least, unit) => format!("at most {most} × or {least} {unit}"),
        }
    }

    pub(crate) fn verdict(self, ours: f64, baseline: f64) -> &'static str {
        match self {
            Self::None => "",
            _ if self.is_met(ours, baseline) => "met",
            _ => "not met",
        }
    }
}

impl Comparison {
    /// The rounds allow a ratio.
    fn has_ratio(&self) -> bool {
        let is_steady = |(middle, spread): (f64, f64)| spread <= middle / 2.0;
        !matches!(self.goal, Goal::AtMostIfSteady(_))
            || [&self.ours, &self.baseline].into_iter().all(|values| is_steady(median(values)))
    }

    pub(crate) fn entry(&self, group: &'static str) -> Entry {
        let ((ours, ours_spread), (baseline, baseline_spread)) = (median(&self.ours), median(&self.baseline));
        Entry {
            group,
            name: self.name.clone(),
            unit: self.unit,
            ours: rounded(ours),
            ours_spread: rounded(ours_spread),
            baseline: rounded(baseline),
            baseline_spread: rounded(baseline_spread),
            baseline_name: self.baseline_name,
            ratio: self.has_ratio().then(|| rounded(ours / baseline)),
            goal: self.goal.words(),
            met: self.has_ratio() && self.goal.is_met(ours, baseline),
        }
    }
}

/// Prints a group's table and writes its entries.
pub(crate) fn conclude(group: &'static str, title: &str, path: &Path, figures: &[Comparison]) -> anyhow::Result<()> {
    println!("{title}: median ± spread");
    let mut last = "";
    for figure in figures {
        let ((ours, by), (baseline, baseline_by)) = (median(&figure.ours), median(&figure.baseline));
        // A figure may have more than one baseline.
        if figure.name != last {
            let unit = if figure.unit.is_empty() { String::new() } else { format!(", {}", figure.unit) };
            println!("{}{unit}", figure.name);
            println!("  {:<36} {:>22}", "Duologue", shown(ours, by));
        }
        last = &figure.name;
        print!("  {:<36} {:>22}", figure.baseline_name, shown(baseline, baseline_by));
        if !figure.has_ratio() {
            println!("   the rounds differ too much for a ratio   {}", figure.goal.words());
            continue;
        }
        print!("   ours is {:>6.2} ×", ours / baseline);
        match figure.goal {
            Goal::None => println!(),
            goal => println!("   {}: {}", goal.words(), goal.verdict(ours, baseline)),
        }
    }
    let entries: Vec<_> = figures.iter().map(|figure| figure.entry(group)).collect();
    write(path, &entries)
}

/// Writes a group's entries.
fn write(path: &Path, entries: &[Entry]) -> anyhow::Result<()> {
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

/// Four digits that count; what comes behind them is noise.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let unit = 10_f64.powf(value.abs().log10().floor() - 3.0).min(1.0);
    let rounded = (value / unit).round() * unit;
    // Without the last bits that the multiplication left.
    format!("{rounded:.6}").parse().unwrap_or(rounded)
}

fn shown(middle: f64, by: f64) -> String {
    let digits = if middle < 10.0 { 2 } else { usize::from(middle < 1_000.0) };
    format!("{middle:.digits$} ± {by:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::{Goal, median, rounded};

    #[test]
    fn the_median_does_not_mind_the_order() {
        assert_eq!(median(&[9.0, 1.0, 2.0]), (2.0, 7.0));
        assert_eq!(median(&[4.0]), (4.0, 0.0));
    }

    #[test]
    fn a_goal_is_met_at_its_edge() {
        assert_eq!([0.9, 0.89].map(|ours| Goal::AtLeast(0.9).verdict(ours, 1.0)), ["met", "not met"]);
        assert!(Goal::AtMost(1.15).is_met(1.15, 1.0) && !Goal::AtMost(1.15).is_met(1.16, 1.0));
    }

    #[test]
    fn a_goal_is_met_up_to_its_last_unit() {
        let of = Goal::AtMostOf(250.0, "µs");
        assert!(of.is_met(250.0, 1.0) && !of.is_met(250.1, 1_000.0));
        let either = Goal::AtMostOr(3.0, 10.0, "ms");
        assert!(either.is_met(10.0, 0.3) && !either.is_met(10.1, 0.3) && either.is_met(15.0, 5.0));
    }

    #[test]
    fn four_digits_remain() {
        assert_eq!([0.0, 1.23456, 0.012_345_6, 123_456.7].map(rounded), [0.0, 1.235, 0.012_35, 123_457.0]);
    }
}
