//! How often a person registers passkeys. Each is written, told to all their devices and stands in the owner's log: whoever registers
//! and removes one over and over would fill that log, and keep the disk busy.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// In a day, twice as many as one may have: everything new, and once more after a mistake.
pub(crate) const A_DAY_MAX: usize = 16;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// People who are remembered. Beyond, nobody else registers until somebody's day is over.
const PEOPLE_MAX: usize = 65_536;

/// Who has registered when, for as long as this process lives.
#[derive(Debug, Default)]
pub(crate) struct Rate(Mutex<HashMap<String, Vec<Instant>>>);

impl Rate {
    /// Whether somebody may register one more now; it counts as if it were done.
    pub(crate) fn take(&self, subject: &str, now: Instant) -> bool {
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < DAY;
        let mut people = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if people.len() >= PEOPLE_MAX && !people.contains_key(subject) {
            people.retain(|_, times| times.iter().any(is_recent));
            if people.len() >= PEOPLE_MAX {
                return false;
            }
        }
        let times = people.entry(subject.to_owned()).or_default();
        times.retain(is_recent);
        let may = times.len() < A_DAY_MAX;
        if may {
            times.push(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_registers_so_many_in_a_day_and_keeps_nobody_else_from_it() {
        let (rate, start) = (Rate::default(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        for number in 0..16 {
            assert!(rate.take("ada", at(number)));
        }
        assert!(!rate.take("ada", at(80_000)) && rate.take("bob", at(80_000)));
        assert!(rate.take("ada", at(86_400)), "the first is a day ago");
        assert!(!rate.take("ada", at(86_400)), "and no other");
    }

    #[test]
    fn people_are_bounded_and_forgotten_after_a_day() {
        let (rate, start) = (Rate::default(), Instant::now());
        for number in 0..PEOPLE_MAX {
            assert!(rate.take(&number.to_string(), start));
        }
        assert!(!rate.take("one more", start) && rate.take("0", start));
        assert!(rate.take("one more", start + DAY));
        assert_eq!(rate.0.lock().expect("no panic").len(), 1);
    }
}
