//! What the hook has answered, under the hash of everything that was asked, so that another cookie, device, address or token is
//! another question. Two halves, of which the older goes when the newer is full; all of it goes at once when anything changes that an
//! answer may stand on.

use std::{collections::HashMap, sync::Arc};

use duologue::DeviceId;
use tokio::{sync::Semaphore, time::Instant};

use super::answer::Answer;

/// How many answers each half remembers: at most some 5 KiB each, with 64 groups.
const HALF_MAX: usize = 1_024;

/// Questions about one device that are under way at a time: one that dials with ever other cookies waits for itself.
const OF_ONE_MAX: usize = 4;

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
    /// Of whom something is being asked: how often, and how often somebody has signed out there meanwhile.
    asking: HashMap<DeviceId, Asking>,
}

#[derive(Debug)]
struct Asking {
    count: usize,
    sign_outs: u64,
    places: Arc<Semaphore>,
}

impl Default for Asking {
    fn default() -> Self {
        Self { count: 0, sign_outs: 0, places: Arc::new(Semaphore::new(OF_ONE_MAX)) }
    }
}

/// As what was asked began: what is answered is worth something as long as it is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    generation: u64,
    sign_outs: u64,
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

    /// Something is asked of a device, as soon as it has one of its places, until [`Self::ends`] is called.
    pub(super) fn begins(&mut self, of: DeviceId) -> (Moment, Arc<Semaphore>) {
        let asking = self.asking.entry(of).or_default();
        asking.count += 1;
        let places = Arc::clone(&asking.places);
        (self.moment(of), places)
    }

    pub(super) fn ends(&mut self, of: DeviceId) {
        if let Some(asking) = self.asking.get_mut(&of) {
            asking.count = asking.count.saturating_sub(1);
            if asking.count == 0 {
                self.asking.remove(&of);
            }
        }
    }

    /// Changes whenever all of it was forgotten, and when somebody signs out there, while something is asked of the device.
    pub(super) fn moment(&self, of: DeviceId) -> Moment {
        let sign_outs = self.asking.get(&of).map_or(0, |asking| asking.sign_outs);
        Moment { generation: self.generation, sign_outs }
    }

    /// What was answered of one device: somebody has signed out there, and the backend says now what he is without. What others are
    /// being answered stays, or whoever signs out again and again would keep them out.
    pub(super) fn forget_of(&mut self, whose: DeviceId) {
        if let Some(asking) = self.asking.get_mut(&whose) {
            asking.sign_outs += 1;
        }
        for half in [&mut self.newer, &mut self.older] {
            half.retain(|_, kept| kept.device != whose);
        }
    }

    pub(super) fn forget(&mut self) {
        let asking = std::mem::take(&mut self.asking);
        *self = Self { generation: self.generation + 1, asking, ..Self::default() };
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
        answers.put(hash(5_000), DeviceId([2; 32]), Arc::clone(&answer), until);
        answers.forget_of(ADA);
        assert!(answers.get(&hash(4_999), start).is_none());
        assert!(answers.get(&hash(5_000), start).is_some(), "another device's");
        answers.forget();
        assert!(answers.get(&hash(5_000), start).is_none());
    }

    #[test]
    fn what_is_being_asked_is_thrown_away_after_a_sign_out_of_that_device_and_after_anything_else_of_all() {
        const BOB: DeviceId = DeviceId([2; 32]);
        let mut answers = Answers::default();
        let ((adas, places), (bobs, of_bob)) = (answers.begins(ADA), answers.begins(BOB));
        answers.forget_of(ADA);
        assert!(answers.moment(ADA) != adas && answers.moment(BOB) == bobs);
        let (again, places_again) = answers.begins(ADA);
        assert!(
            Arc::ptr_eq(&places, &places_again) && !Arc::ptr_eq(&places, &of_bob),
            "each device has places of its own"
        );
        assert_eq!(places.available_permits(), OF_ONE_MAX);
        answers.ends(ADA);
        assert!(answers.moment(ADA) == again && again != adas, "the older question is under way still");
        answers.forget();
        assert!(answers.moment(ADA) != again && answers.moment(BOB) != bobs);
        for device in [ADA, BOB, BOB] {
            answers.ends(device);
        }
        answers.forget_of(ADA);
        assert!(answers.asking.is_empty(), "nothing is kept of those of whom nothing is asked");
    }
}
