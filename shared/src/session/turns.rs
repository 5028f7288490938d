//! Whose turn it is: the channels that have something to seal.
//!
//! ```text
//! first    a b c   ─┐ four turns,     within a step: in turns
//! normal   d e     ─┤ then one of the next step
//! last     f       ─┘
//! ```

use alloc::vec::Vec;

use crate::{channel::Priority, ids::ChannelId};

/// How many steps of priority there are.
pub(super) const STEPS: usize = 3;
/// Turns of one step to each of the next, where both have something to say.
const SHARE: u8 = 4;

/// The channels that have something to seal, by priority and in turn.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Rows of a few: a queue that turns round has no use, and takes more.
    steps: [Vec<ChannelId>; STEPS],
    /// Turns that each step has had since the next one had its own.
    had: [u8; STEPS],
}

impl Turns {
    pub(super) fn push(&mut self, id: ChannelId, priority: Priority) {
        if let Some(step) = self.steps.get_mut(priority.step()) {
            step.push(id);
        }
    }

    /// The channel whose turn it is, of the first `steps` steps. It leaves the row.
    pub(super) fn pop(&mut self, steps: usize) -> Option<ChannelId> {
        let mut waiting: usize = self.steps.iter().take(steps).map(Vec::len).sum();
        for (step, had) in self.steps.iter_mut().zip(&mut self.had).take(steps) {
            waiting = waiting.saturating_sub(step.len());
            if waiting > 0 && *had >= SHARE {
                *had = 0;
            } else if !step.is_empty() {
                *had = if waiting > 0 { *had + 1 } else { 0 };
                return Some(step.remove(0));
            }
        }
        None
    }

    pub(super) fn contains(&self, id: ChannelId, priority: Priority) -> bool {
        self.steps.get(priority.step()).is_some_and(|step| step.contains(&id))
    }

    /// Those of the first `steps` steps.
    #[cfg(test)]
    pub(super) fn iter(&self, steps: usize) -> impl Iterator<Item = ChannelId> {
        self.steps.iter().take(steps).flatten().copied()
    }

    /// True of any of those.
    pub(super) fn any(&self, steps: usize, is: impl Fn(ChannelId) -> bool) -> bool {
        // Asked after every command: three rows that are most often empty cost less than one made of them.
        self.steps.iter().take(steps).any(|step| step.iter().any(|id| is(*id)))
    }

    pub(super) fn remove(&mut self, id: ChannelId) {
        self.steps.iter_mut().for_each(|step| step.retain(|other| *other != id));
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn whoever_comes_first_goes_first_and_nobody_waits_for_ever() {
        let mut turns = Turns::default();
        let steps = [(1, Priority::First), (2, Priority::Normal), (3, Priority::Normal), (4, Priority::Last)];
        for (id, priority) in steps {
            turns.push(ChannelId(id), priority);
        }
        let mut had = [0; 5];
        for turn in 0..1_000 {
            let id = turns.pop(STEPS).expect("all have something to say");
            assert!(turn > 0 || id == ChannelId(1));
            let (_, priority) = steps[id.0 as usize - 1];
            assert!(!turns.contains(id, priority));
            turns.push(id, priority);
            had[id.0 as usize] += 1;
        }
        assert_eq!(had[1..].iter().sum::<i32>(), 1_000);
        assert!((795..=805).contains(&had[1]), "{had:?}: four of five");
        assert!((75..=85).contains(&had[2]) && (had[2] - had[3]).abs() <= 1, "{had:?}: they take turns");
        assert!((35..=45).contains(&had[4]), "{had:?}: one of twenty-five");
        turns.remove(ChannelId(1));
        assert_eq!(turns.pop(1), None, "none of the first step is left");
    }
}
