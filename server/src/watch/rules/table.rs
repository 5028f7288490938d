//! How often something happened in a window, of any number of callers in a fixed size.
//!
//! ```text
//! hash by a secret ─► set of 8 places ─► its own ─► counted
//!                                     └► none: the place whose count is least, and of these the one longest ago
//! ```
//!
//! A newcomer always gets a place, and begins at one: he never takes over what another has counted, so that nobody is stopped for
//! others' doing. Of eight who meet, who has most to his name stays. The hash has a secret: nobody can choose whom he meets.
//!
//! A window is counted in two halves that move on: all of this one, and of the one before as much as the window still covers, as if
//! it had come evenly. A place is 32 bytes; all of them 4 MiB, taken when the first event of a rule comes.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hash},
};

/// Sets and places of each.
const SETS: usize = 16_384;
const WAYS: usize = 8;

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Whose it is; 0 is nobody's.
    hash: u64,
    /// When this window began, in milliseconds since 1970.
    began: u64,
    now: u32,
    before: u32,
    /// How long its window is: what is longer ago than two of them counts nothing.
    window: u64,
}

impl Place {
    /// What it amounts to at a time.
    fn at(&self, millis: u64) -> u32 {
        let passed = millis.saturating_sub(self.began);
        match passed / self.window.max(1) {
            0 => self.now.saturating_add(part(self.before, self.window - passed, self.window)),
            1 => part(self.now, 2 * self.window - passed, self.window),
            _ => 0,
        }
    }

    fn move_on(&mut self, millis: u64) {
        // A clock that was set back: it goes on from there.
        self.began = self.began.min(millis);
        match (millis - self.began) / self.window.max(1) {
            0 => {}
            1 => (self.began, self.before, self.now) = (self.began + self.window, self.now, 0),
            _ => (self.began, self.before, self.now) = (millis, 0, 0),
        }
    }
}

/// So much of a count, rounded down.
fn part(count: u32, of: u64, whole: u64) -> u32 {
    let part = u128::from(count) * u128::from(of) / u128::from(whole.max(1));
    u32::try_from(part).unwrap_or(u32::MAX)
}

#[derive(Debug, Default)]
pub(super) struct Table {
    places: Vec<[Place; WAYS]>,
    secret: RandomState,
}

impl Table {
    /// One more of this key. The count, if it has reached the threshold; then it begins anew.
    pub(super) fn count(&mut self, key: &impl Hash, millis: u64, window: u64, threshold: u32) -> Option<u32> {
        if self.places.is_empty() {
            self.places = vec![[Place::default(); WAYS]; SETS];
        }
        let hash = self.secret.hash_one(key).max(1);
        let at = usize::try_from(hash % SETS as u64).unwrap_or_default();
        let set = self.places.get_mut(at)?;
        let place = match set.iter().position(|place| place.hash == hash) {
            Some(at) => set.get_mut(at)?,
            None => {
                let least = set.iter_mut().min_by_key(|place| (place.hash != 0, place.at(millis), place.began))?;
                *least = Place { hash, began: millis, now: 0, before: 0, window };
                least
            }
        };
        place.window = window;
        place.move_on(millis);
        place.now = place.now.saturating_add(1);
        let count = place.at(millis);
        if count < threshold {
            return None;
        }
        (place.now, place.before) = (0, 0);
        Some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000_000;
    const MINUTE: u64 = 60_000;

    #[test]
    fn the_threshold_counts_within_the_window_and_what_is_longer_ago_does_not() {
        let mut table = Table::default();
        // As many as one below the threshold, at once, each second window.
        for round in 0..100 {
            for _ in 0..9 {
                assert_eq!(table.count(&1, START + round * 2 * MINUTE, MINUTE, 10), None, "{round}");
            }
        }
        // One more.
        for (number, expected) in [None; 9].into_iter().chain([Some(10)]).enumerate() {
            let at = START + 1_000 * MINUTE + number as u64;
            assert_eq!(table.count(&1, at, MINUTE, 10), expected, "{number}");
        }
        assert_eq!(table.count(&1, START + 1_000 * MINUTE + 11, MINUTE, 10), None, "it is counted anew");
        // Spread over the border of two windows.
        for number in 0..10_u64 {
            let expected = (number == 9).then_some(10);
            assert_eq!(table.count(&2, START + MINUTE * 9 / 10 * number / 9, MINUTE, 10), expected, "{number}");
        }
        let mut slowly = (0..1_000).filter_map(|number| table.count(&3, START + number * MINUTE / 8, MINUTE, 10));
        assert_eq!(slowly.next(), None, "eight in each window never are ten");
    }

    #[test]
    fn a_clock_that_is_set_back_or_far_forward_ends_nothing() {
        let mut table = Table::default();
        for at in [START, 0, u64::MAX, START, u64::MAX - 1, 1] {
            assert_eq!(table.count(&1, at, MINUTE, 100), None);
        }
    }

    #[test]
    fn among_a_million_newcomers_the_offender_is_counted_and_nobody_inherits_a_count() {
        let mut table = Table::default();
        let mut caught = 0;
        for number in 0..1_000_000_u32 {
            // Each of these comes once: none reaches a threshold of two.
            assert_eq!(table.count(&(1, number), START, MINUTE, 2), None, "{number}");
            // One comes every thousandth time, among them: it is met by some 60 in its set each time.
            if number % 10_000 == 0 {
                caught += u32::from(table.count(&0, START, MINUTE, 20).is_some());
                caught += u32::from(table.count(&0, START, MINUTE, 20).is_some());
            }
        }
        assert_eq!(caught, 10, "200 times, at a threshold of 20");
    }
}
