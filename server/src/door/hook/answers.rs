//! What the hook has answered, under the hash of everything that was asked, so that another cookie, device, address or token is
//! another question. Two halves, of which the older goes when the newer is full; all of it goes at once when anything changes that an
//! answer may stand on.

use std::{collections::HashMap, sync::Arc};

use duologue::DeviceId;
use tokio::time::Instant;

use super::answer::Answer;

/// How many answers each half remembers: at most some 5 KiB each, with 64 groups.
const HALF_MAX: usize = 1_024;

type Half = HashMap<[u8; 32], Kept>;

#[derive(Debug)]
struct Kept {
    answer: Arc<Answer>,
    /// Of whom it is.
    device: DeviceId,
    until: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Answers {
    newer: Half,
    older: Half,
    generation: u64,
}

impl Answers {
    /// What was answered, if it is good still.
    pub(super) fn get(&mut self, hash: &[u8; 32], now: Instant) -> Option<Arc<Answer>> {
        let Kept { answer, until, .. } = self.newer.get(hash).or_else(|| self.older.get(hash))?;
        (*until > now).then(|| Arc::clone(answer))
    }

    pub(super) fn put(&mut self, hash: [u8; 32], device: DeviceId, answer: Arc<Answer>, until: Instant) {
        if self.newer.len() >= HALF_MAX {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(hash, Kept { answer, device, until });
    }

    /// Changes whenever all of it was forgotten.
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// What was answered of one device: somebody has signed out there, and the backend says now what he is without. What others are
    /// being answered stays, or whoever signs out again and again would keep them out.
    pub(super) fn forget_of(&mut self, whose: DeviceId) {
        for half in [&mut self.newer, &mut self.older] {
            half.retain(|_, kept| kept.device != whose);
        }
    }

    pub(super) fn forget(&mut self) {
        *self = Self { generation: self.generation + 1, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ADA: DeviceId = DeviceId([1; 32]);

    #[test]
    fn an_answer_is_of_its_question_and_of_its_time_and_no_more_are_kept_than_there_is_room_for() {
        let (mut answers, start) = (Answers::default(), Instant::now());
        let answer = Arc::new(Answer::parse(b"{}", 0).expect("it says nothing"));
        let hash = |number: usize| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.to_be_bytes());
            hash
        };
        let until = start + Duration::from_secs(10);
        answers.put(hash(0), ADA, Arc::clone(&answer), until);
        assert!(answers.get(&hash(0), start).is_some() && answers.get(&hash(1), start).is_none());
        assert!(answers.get(&hash(0), until).is_none(), "its time is over");
        for number in 1..5_000 {
            answers.put(hash(number), ADA, Arc::clone(&answer), until);
        }
        assert!(answers.newer.len() + answers.older.len() <= 2 * HALF_MAX);
        assert!(answers.get(&hash(0), start).is_none() && answers.get(&hash(4_999), start).is_some());
        let generation = answers.generation();
        answers.put(hash(5_000), DeviceId([2; 32]), Arc::clone(&answer), until);
        answers.forget_of(ADA);
        assert!(answers.get(&hash(4_999), start).is_none() && answers.generation() == generation);
        assert!(answers.get(&hash(5_000), start).is_some(), "another device's");
        answers.forget();
        assert!(answers.get(&hash(5_000), start).is_none());
        assert!(answers.get(&hash(4_999), start).is_none() && answers.generation() != generation);
    }
}
