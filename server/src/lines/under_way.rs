//! Whose sign-outs come while it is judged who somebody is: what was shown before one counts no more after it.
//!
//! ```text
//! AUTH ─► begin ─► evidence, hook: seconds ─► a session is in the directory ─► thrown away? ─► seated
//!                        another tab signs out: told here first, and then to all sessions that are in the directory
//! ```
//!
//! A session that is there has it in its seat ([`Seat::sign_out`](crate::door::seat::Seat::sign_out)); this is for those that are about
//! to be. Told here before the directory is looked through, and asked here after a session is in it: one of both finds it.
//!
//! It has an entry for each device of which something is judged at this moment: as many as the lobby has places.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use duologue::DeviceId;

use crate::door::{seat::Since, standing::Subject};

/// Subjects that are told apart on one device; beyond them, what is judged of any is thrown away.
const SUBJECTS_MAX: usize = 16;

#[derive(Debug, Default)]
pub(super) struct UnderWay(Mutex<HashMap<DeviceId, OfDevice>>);

#[derive(Debug, Default)]
struct OfDevice {
    /// How many judgements.
    count: usize,
    /// Who has signed out since the first of them began, and when last.
    signed_out: Vec<(Subject, Since)>,
    /// When somebody did of whom nobody knows who it was.
    anybody: Option<Since>,
}

/// One judgement, until this is dropped.
#[derive(Debug)]
pub(super) struct Judging<'a> {
    under_way: &'a UnderWay,
    device: DeviceId,
    since: Since,
}

impl UnderWay {
    /// Somebody at this device is being judged.
    pub(super) fn begin(&self, device: DeviceId) -> Judging<'_> {
        let mut all = self.lock();
        all.entry(device).or_default().count += 1;
        Judging { under_way: self, device, since: Since::now() }
    }

    /// Somebody signs out at this device: this subject, or whoever was about to log in.
    pub(super) fn sign_out(&self, device: DeviceId, subject: Option<&Subject>) {
        let mut all = self.lock();
        let Some(of_device) = all.get_mut(&device) else { return };
        let at = Since::sign_out();
        let OfDevice { signed_out, anybody, .. } = of_device;
        signed_out.retain(|(known, _)| Some(known) != subject);
        match subject {
            Some(subject) if signed_out.len() < SUBJECTS_MAX => signed_out.push((subject.clone(), at)),
            _ => *anybody = Some(at),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, OfDevice>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Judging<'_> {
    /// When it began, as sign-outs count.
    pub(super) const fn since(&self) -> Since {
        self.since
    }

    /// Whether this subject has signed out since.
    pub(super) fn is_thrown_away(&self, subject: Option<&Subject>) -> bool {
        let all = self.under_way.lock();
        let Some(of_device) = all.get(&self.device) else { return false };
        let is_later = |at: &Since| *at > self.since;
        let its = of_device.signed_out.iter().find(|(known, _)| Some(known) == subject);
        of_device.anybody.as_ref().is_some_and(is_later) || its.is_some_and(|(_, at)| is_later(at))
    }
}

impl Drop for Judging<'_> {
    fn drop(&mut self) {
        let mut all = self.under_way.lock();
        if let Some(of_device) = all.get_mut(&self.device) {
            of_device.count -= 1;
            if of_device.count == 0 {
                all.remove(&self.device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Subject {
        Subject::new(name).expect("a name")
    }

    #[test]
    fn what_is_judged_is_thrown_away_by_its_own_subjects_sign_out_and_by_no_earlier_one() {
        let (under_way, device, other) = (UnderWay::default(), DeviceId([1; 32]), DeviceId([2; 32]));
        let (ada, bob) = (named("ada"), named("bob"));
        under_way.sign_out(device, Some(&ada));
        let first = under_way.begin(device);
        assert!(!first.is_thrown_away(Some(&ada)), "it was before");
        let elsewhere = under_way.begin(other);
        under_way.sign_out(device, Some(&ada));
        let second = under_way.begin(device);
        assert!(first.is_thrown_away(Some(&ada)));
        for (judging, subject) in [(&first, &bob), (&second, &ada), (&elsewhere, &ada)] {
            assert!(!judging.is_thrown_away(Some(subject)), "{judging:?} {subject}");
        }
        assert!(!first.is_thrown_away(None));
        // Somebody of whom it was not known who it is: it may have been any of them.
        under_way.sign_out(device, None);
        assert!(first.is_thrown_away(Some(&bob)) && second.is_thrown_away(Some(&ada)));
        drop((first, second, elsewhere));
        assert!(under_way.lock().is_empty(), "nothing stays");
    }

    #[test]
    fn a_device_tells_so_many_apart_and_takes_no_more_room() {
        let (under_way, device) = (UnderWay::default(), DeviceId([1; 32]));
        let judging = under_way.begin(device);
        for number in 0..1_000 {
            under_way.sign_out(device, Some(&named(&format!("person {number}"))));
        }
        assert_eq!(under_way.lock()[&device].signed_out.len(), SUBJECTS_MAX);
        assert!(judging.is_thrown_away(Some(&named("person 999"))), "and forgets none");
    }
}
