//! What tests came to: the counts and the minutes of each group, their sum, and the tests that passed only alone.

use std::fmt;
use std::ops::AddAssign;
use std::process::ExitCode;
use std::time::Duration;

use crate::unsteady;

/// How many tests passed, failed and did not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Counts {
    pub(crate) const FAILURE: Self = Self { passed: 0, failed: 1, skipped: 0 };

    /// What came to it after `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            passed: self.passed - before.passed,
            failed: self.failed - before.failed,
            skipped: self.skipped - before.skipped,
        }
    }

    /// Prints the last line.
    pub(crate) fn finish(self) -> ExitCode {
        println!("{self}");
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// All groups of a run, in their order.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    groups: Vec<Group>,
    unsteady: Vec<String>,
}

#[derive(Debug)]
struct Group {
    name: String,
    counts: Counts,
    time: Duration,
}

impl Tally {
    /// What a group came to, or a part of it: parts of one name are one group.
    pub(crate) fn add(&mut self, name: &str, counts: Counts, time: Duration) {
        match self.groups.iter_mut().find(|group| group.name == name) {
            Some(group) => {
                group.counts += counts;
                group.time += time;
            }
            None => self.groups.push(Group { name: name.to_owned(), counts, time }),
        }
    }

    /// Names a test that passed at its second try.
    pub(crate) fn unsteady(&mut self, test: String) {
        self.unsteady.push(test);
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for group in &self.groups {
            sum += group.counts;
        }
        sum
    }

    pub(crate) fn minutes(&self) -> f64 {
        self.groups.iter().map(|group| minutes(group.time)).sum()
    }

    /// Prints the unsteady tests and the minutes of each group, then the last line.
    pub(crate) fn finish(&self) -> ExitCode {
        print!("{self}");
        self.counts().finish()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.unsteady.is_empty() {
            writeln!(f)?;
        }
        for test in &self.unsteady {
            writeln!(f, "{}", unsteady::line(test))?;
        }
        writeln!(f, "\nminutes")?;
        for Group { name, counts, time } in &self.groups {
            write!(f, "{:7.1}  {name}", minutes(*time))?;
            match *counts == Counts::default() {
                true => writeln!(f)?,
                false => writeln!(f, ": {counts}")?,
            }
        }
        writeln!(f, "{:7.1}  in all", self.minutes())
    }
}

fn minutes(time: Duration) -> f64 {
    time.as_secs_f64() / 60.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Counts, Tally};

    #[test]
    fn the_last_line_has_its_exact_form() {
        let counts = Counts { passed: 10, failed: 0, skipped: 2 };
        assert_eq!(counts.to_string(), "10 passed, 0 failed, 2 skipped");
    }

    #[test]
    fn each_group_is_shown_once_with_its_minutes() {
        let mut tally = Tally::default();
        tally.add("page", Counts::default(), Duration::from_secs(12));
        tally.add("native", Counts { passed: 3, ..Counts::default() }, Duration::from_secs(90));
        tally.add("native", Counts { skipped: 1, ..Counts::default() }, Duration::from_secs(6));
        let shown = "\nminutes\n    0.2  page\n    1.6  native: 3 passed, 0 failed, 1 skipped\n    1.8  in all\n";
        assert_eq!(tally.to_string(), shown);
        assert_eq!(tally.counts(), Counts { passed: 3, failed: 0, skipped: 1 });
    }

    #[test]
    fn unsteady_tests_are_named_before_the_minutes() {
        let mut tally = Tally::default();
        tally.add("end to end", Counts { passed: 2, ..Counts::default() }, Duration::ZERO);
        tally.unsteady("resume::a".to_owned());
        tally.unsteady("page::b".to_owned());
        let shown = "\nunsteady: resume::a (failed once, passed alone)\nunsteady: page::b (failed once, passed alone)\n\
            \nminutes\n    0.0  end to end: 2 passed, 0 failed, 0 skipped\n    0.0  in all\n";
        assert_eq!(tally.to_string(), shown);
    }
}
