//! What a proof leaves behind: a token that is of this device binds the device to its subject, and whoever is on a device for the
//! first time is told to that person's other devices.
//!
//! ```text
//! a token of this device ─► bound in the store ─► its other sessions are looked at: another subject's ends
//! a subject on a device that it was not on ─► its other devices that are here, and the owner's log
//! ```
//!
//! A binding narrows and raises nothing: from then on no other subject's token is taken on that device, until its owner releases it.
//! What nobody has let in leaves nothing in the store.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use duologue::DeviceId;

use super::{Duologue, Shared};
use crate::watch::events::{Event, Kind};
use crate::{
    door::{
        seat::Seat,
        standing::Subject,
        tokens::{BoundTo, Verified, sha256},
    },
    state::store::{AccountError, DeviceStatus},
    watch::text,
};

/// How many pairs of a subject and a device each half remembers: 32 bytes each.
const HALF_MAX: usize = 8_192;
/// The label under which a client hears of a new device.
pub(crate) const LABEL: &str = "devices";

/// Who was on which device since the start, beside what the store has. Two halves, of which the older goes when the newer is full:
/// whoever is forgotten is told once more.
#[derive(Debug, Default)]
pub(super) struct Familiar(Mutex<[HashSet<[u8; 32]>; 2]>);

impl Familiar {
    /// Whether it was there before. From now on it was.
    fn has(&self, subject: &Subject, device: DeviceId) -> bool {
        let pair = sha256(&[&device.0, subject.as_str().as_bytes()]);
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [newer, older] = &mut *halves;
        if newer.contains(&pair) {
            return true;
        }
        if newer.len() >= HALF_MAX {
            *older = std::mem::take(newer);
        }
        newer.insert(pair);
        older.contains(&pair)
    }
}

impl Duologue {
    /// A token was taken in a session.
    pub(super) fn has_shown(&self, seat: &Seat, token: &Arc<Verified>) {
        if let Some(first) = token.was_shown_by(seat.device()) {
            let (device, id) = (seat.device(), text::shown(&token.id));
            let copied = Event::of(Kind::TokenCopied).device(device).subject(Some(&token.subject));
            self.tell(copied.note(format!("first={first} token={id:?}")));
        }
        self.shared.has_come(&token.subject, seat.device());
        let binds = |tokens: &crate::door::tokens::Tokens| token.bound_to != BoundTo::Bearer || tokens.bearer_binds();
        if self.shared.tokens.as_ref().is_some_and(binds) {
            self.bind_by(seat.device(), token.subject.clone());
        }
    }

    /// Binds a device that was let in to the subject that its token names, unless it is bound.
    fn bind_by(&self, device: DeviceId, subject: Subject) {
        let store = self.shared.state.store();
        if store.status(device) != Some(DeviceStatus::Enrolled) || store.known(device).subject.is_some() {
            return;
        }
        let own = self.clone();
        self.shared.connections.spawn(async move {
            let store = Arc::clone(own.shared.state.store());
            let name = subject.clone();
            let bound = own.shared.work.of(device).run(move || store.bind_by_proof(device, name.as_str())).await;
            let failed = Event::of(Kind::BindingFailed).device(device);
            match bound {
                Ok(Ok(Ok(true))) => {
                    own.tell(Event::of(Kind::TokenBound).device(device).subject(Some(&subject)));
                    own.look_again(device);
                }
                // Another session's was first, and narrows this one too.
                Ok(Ok(Ok(false) | Err(AccountError::BoundToAnother(_)))) => own.look_again(device),
                Ok(Ok(Err(error))) => {
                    own.tell(Event::of(Kind::TokenNotBound).device(device).note(error.to_string()));
                }
                // Its next token does.
                Ok(Err(error)) => own.tell(failed.note(error.to_string())),
                Err(error) => own.tell(failed.note(error.to_string())),
            }
        });
    }
}

impl Shared {
    /// A subject is on a device, perhaps for the first time: then its other devices hear of it.
    pub(super) fn has_come(&self, subject: &Subject, device: DeviceId) {
        let known = self.state.store().known(device).subject;
        let is_bound = known.is_some_and(|bound| *bound == *subject.as_str());
        if !self.familiar.has(subject, device) && !is_bound {
            self.tell_of_new(subject, device);
        }
    }

    /// The same of one that was bound to it when it was let in.
    pub(super) fn tell_of_new(&self, subject: &Subject, device: DeviceId) {
        self.gate.watch.tell(Event::of(Kind::SubjectOnNewDevice).device(device).subject(Some(subject)));
        let message = serde_json::json!({ "new": { "device": device.to_string() } });
        self.tell(subject, device, LABEL, message.to_string().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_on_which_device_is_remembered_for_a_while_and_within_bounds() {
        let familiar = Familiar::default();
        let (ada, bob) = (Subject::new("ada").expect("a name"), Subject::new("bob").expect("a name"));
        let device = |number: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            DeviceId(id)
        };
        assert!(!familiar.has(&ada, device(0)) && familiar.has(&ada, device(0)));
        assert!(!familiar.has(&bob, device(0)) && !familiar.has(&ada, device(1)));
        for number in 2..40_000 {
            familiar.has(&ada, device(number));
        }
        let len: usize = familiar.0.lock().expect("whole").iter().map(HashSet::len).sum();
        assert!(len <= 2 * HALF_MAX, "{len}");
        assert!(familiar.has(&ada, device(39_999)) && !familiar.has(&ada, device(0)));
    }
}
