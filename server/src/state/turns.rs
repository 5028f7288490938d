//! Whose turn it is to write: one at a time, the owner before everybody else.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// The owner, and what the server does for him.
    Owner,
    /// On behalf of a device.
    Device,
}

#[derive(Debug, Default)]
pub(super) struct Turns {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_taken: bool,
    /// Owners that wait: nobody else begins before them.
    owners: usize,
}

/// The right to write; dropping it gives it to the next.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits for the turn, at most for so long.
    pub(super) fn take(&self, who: Who, limit: Duration) -> Option<Turn<'_>> {
        let until = Instant::now() + limit;
        let mut state = self.lock();
        state.owners += usize::from(who == Who::Owner);
        loop {
            if !state.is_taken && (who == Who::Owner || state.owners == 0) {
                state.is_taken = true;
                break;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.owners -= usize::from(who == Who::Owner);
                drop(state);
                // Those who let the owner go first wait for nobody now.
                self.freed.notify_all();
                return None;
            }
            state = self.freed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.owners -= usize::from(who == Who::Owner);
        Some(Turn(self))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().is_taken = false;
        self.0.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_owner_goes_before_everybody_who_waits_longer() {
        let turns = Arc::new(Turns::default());
        let first = turns.take(Who::Device, LONG).expect("nobody has it");
        let (told, order) = mpsc::channel();
        let mut waiting = Vec::new();
        let waits = |who| {
            let (turns, told) = (Arc::clone(&turns), told.clone());
            std::thread::spawn(move || {
                let turn = turns.take(who, LONG).expect("it comes");
                told.send(who).expect("heard");
                drop(turn);
            })
        };
        waiting.extend((0..20).map(|_| waits(Who::Device)));
        waiting.push(waits(Who::Owner));
        while turns.lock().owners == 0 {
            std::thread::yield_now();
        }
        drop(first);
        assert_eq!(order.recv().expect("somebody writes"), Who::Owner);
        for thread in waiting {
            thread.join().expect("no panic");
        }
    }

    #[test]
    fn who_waits_for_too_long_holds_nobody_up() {
        let turns = Turns::default();
        let first = turns.take(Who::Device, LONG).expect("nobody has it");
        assert!(turns.take(Who::Owner, Duration::ZERO).is_none());
        drop(first);
        assert!(turns.take(Who::Device, Duration::ZERO).is_some());
    }
}
