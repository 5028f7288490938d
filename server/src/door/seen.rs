//! Which M1 were here before. Each is good once: whoever sends it again has recorded it, or has lost its answer and makes
//! another with the next connection.
//!
//! ```text
//! now ──── this part ────┬──── the part before ────┐
//!                    5 to 10 min              10 to 15 min ago, forgotten as a whole
//! ```
//!
//! Only what a server has paid for is remembered: an M1 whose sender has made it for this server's key. One over a nonce of the
//! server's cannot come again at all. A hash is 8 bytes under a key of this process, so that nobody can make two alike.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a part is filled. What is in the part before it is then as old as that at least, and twice as old at most.
const PART: Duration = Duration::from_secs(600);
/// M1 in a part: 437 a second for ten minutes, some 5 MB. A server to which more of them come is under pressure, and asks for
/// others than these.
const PART_MAX: usize = 262_144;

#[derive(Debug, Default)]
pub(crate) struct Seen {
    key: RandomState,
    parts: Mutex<Parts>,
}

#[derive(Debug, Default)]
struct Parts {
    now: HashSet<u64>,
    before: HashSet<u64>,
    since: Option<Instant>,
}

/// An M1, as the filter knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Print(u64);

/// What the filter says of an M1 that was paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remembered {
    /// For the first time.
    New,
    /// It was here before.
    Again,
    /// There is no room to remember it.
    Full,
}

impl Seen {
    pub(crate) fn print(&self, m1: &[u8]) -> Print {
        Print(self.key.hash_one(m1))
    }

    pub(crate) fn has(&self, print: Print, now: Instant) -> bool {
        self.at(now, |parts| parts.has(print))
    }

    pub(crate) fn remember(&self, print: Print, now: Instant) -> Remembered {
        self.at(now, |parts| match parts.has(print) {
            true => Remembered::Again,
            false if parts.now.len() >= PART_MAX => Remembered::Full,
            false => {
                parts.now.insert(print.0);
                Remembered::New
            }
        })
    }

    fn at<T>(&self, now: Instant, ask: impl FnOnce(&mut Parts) -> T) -> T {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *parts.since.get_or_insert(now);
        let age = now.saturating_duration_since(since);
        if age >= PART {
            let last = std::mem::take(&mut parts.now);
            parts.before = if age < 2 * PART { last } else { HashSet::new() };
            parts.since = Some(now);
        }
        ask(&mut parts)
    }
}

impl Parts {
    fn has(&self, print: Print) -> bool {
        self.now.contains(&print.0) || self.before.contains(&print.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_m1_is_known_for_ten_minutes_and_forgotten_after_twenty() {
        let (seen, start) = (Seen::default(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        let early = seen.print(b"early");
        assert_eq!(seen.remember(early, at(0)), Remembered::New);
        assert_eq!(seen.remember(early, at(1)), Remembered::Again);
        let late = seen.print(b"late");
        assert_eq!(seen.remember(late, at(599)), Remembered::New);
        assert!(seen.has(early, at(601)) && seen.has(late, at(1_199)), "the part before is asked too");
        assert!(!seen.has(late, at(1_202)) && !seen.has(early, at(1_202)));
        // A server that nobody came to for an hour.
        assert_eq!(seen.remember(early, at(5_000)), Remembered::New);
        assert!(!seen.has(early, at(9_000)));
    }

    #[test]
    fn a_full_part_forgets_nothing_and_takes_no_more() {
        let (seen, now) = (Seen::default(), Instant::now());
        for number in 0..PART_MAX {
            assert_eq!(seen.remember(seen.print(&number.to_be_bytes()), now), Remembered::New);
        }
        assert_eq!(seen.remember(seen.print(b"one more"), now), Remembered::Full);
        assert!(seen.has(seen.print(&0_usize.to_be_bytes()), now));
    }
}
