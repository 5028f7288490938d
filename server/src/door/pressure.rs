//! Whether the server is under pressure: so many handshakes begin that they take half of what there is for strangers.
//!
//! Both are measured, in windows of a second at most: how many came, and how long the threads were busy that serve strangers.
//! A machine that is busy with something else is not under pressure, nor is one that many come back to at once and that has
//! time for them. Once it is, it stays so for a while, since what is done about it makes the handshakes cheap.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Fewer handshakes than this in a window are no flood.
const HANDSHAKES_MIN: u32 = 64;
/// How long a window is: no longer than `WINDOW_MAX`, and as short as `WINDOW_MIN` where so many come.
const WINDOW_MIN: Duration = Duration::from_millis(100);
const WINDOW_MAX: Duration = Duration::from_secs(1);
/// How long the pressure is taken to last.
const LASTS: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct Pressure {
    window: Mutex<Option<Window>>,
    /// Whatever is measured.
    always: bool,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    /// What the threads had been busy for then, all together.
    busy: Duration,
    handshakes: u32,
    until: Option<Instant>,
}

impl Pressure {
    /// From now on it is there, whatever is measured.
    pub(crate) const fn stays(&mut self) {
        self.always = true;
    }

    /// A handshake begins now; `busy` is what the threads that serve strangers, so many of them, were busy for until now. Says
    /// whether there is pressure.
    pub(crate) fn note(&self, now: Instant, busy: Duration, threads: usize) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let window = window.get_or_insert(Window { since: now, busy, handshakes: 0, until: None });
        window.handshakes += 1;
        let elapsed = now.saturating_duration_since(window.since);
        if elapsed >= WINDOW_MIN && window.handshakes >= HANDSHAKES_MIN {
            let was_busy = busy.saturating_sub(window.busy);
            let threads = u32::try_from(threads).unwrap_or(u32::MAX).max(1);
            if was_busy * 2 >= elapsed * threads {
                window.until = Some(now + LASTS);
            }
        }
        if elapsed >= WINDOW_MAX || (elapsed >= WINDOW_MIN && window.handshakes >= HANDSHAKES_MIN) {
            (window.since, window.busy, window.handshakes) = (now, busy, 0);
        }
        self.always || window.until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many handshakes in a second, each of which keeps a thread busy for so long; what is said after the last.
    fn after(pressure: &Pressure, start: Instant, handshakes: u32, each: Duration, threads: usize) -> bool {
        let mut said = false;
        for number in 1..=handshakes {
            let now = start + Duration::from_secs(1) * number / handshakes;
            said = pressure.note(now, each * number, threads);
        }
        said
    }

    #[test]
    fn many_handshakes_that_take_half_of_the_time_are_pressure() {
        let start = Instant::now();
        let of = |handshakes, micros, threads| {
            after(&Pressure::default(), start, handshakes, Duration::from_micros(micros), threads)
        };
        assert!(of(1_500, 400, 1));
        assert!(of(3_000, 400, 2));
        assert!(!of(1_500, 400, 2), "less than half of two threads");
        assert!(!of(1_000, 100, 1), "they are cheap");
        assert!(!of(40, 20_000, 1), "a busy machine, and few who come");
    }

    #[test]
    fn pressure_lasts_for_a_while_and_then_ends() {
        let (pressure, start) = (Pressure::default(), Instant::now());
        assert!(after(&pressure, start, 1_500, Duration::from_micros(400), 1));
        let busy = Duration::from_millis(600);
        assert!(pressure.note(start + Duration::from_secs(9), busy, 1));
        assert!(!pressure.note(start + Duration::from_secs(12), busy, 1));
    }
}
