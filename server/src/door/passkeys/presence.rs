//! What a session has of its person's presence: challenges that wait for an answer, and the assertion that was good.
//!
//! ```text
//! challenge = SHA-256("duologue step-up" ‖ 0x00 ‖ session ‖ hash of the handshake it began with ‖ 32 random bytes ‖ SHA-256(SPKI))
//!     asked ─► kept, two at most, for as long as a person has ─► taken out ─► judged ─► present, until the session ends
//! ```
//!
//! The challenge is the session's and not its connection's: whoever puts a finger on a key in a train comes back over another
//! connection, and only this device can. In every other session it is nobody's.

use std::time::{Duration, Instant};

use duologue::{DeviceId, SessionId};

use super::webauthn::Purpose;
use crate::door::{
    standing::{Level, Proof, Standing},
    tokens::sha256,
};
use crate::state::store::PasskeyId;

/// So many wait for an answer at most; the oldest makes room.
const CHALLENGES_MAX: usize = 2;
/// What goes before the session in a challenge.
const PREFIX: &[u8] = b"duologue step-up\0";

/// Where passkeys are taken.
#[derive(Debug)]
pub(crate) struct Presence {
    session: SessionId,
    /// Of the handshake with which the session began.
    handshake_hash: [u8; 32],
    waiting: Option<Box<[Option<Challenge>; CHALLENGES_MAX]>>,
    /// When somebody showed to be there, in seconds since 1970, and by which passkey.
    shown: Option<Box<(u64, PasskeyId)>>,
    /// When whoever is known by what was proved has logged in; in seconds since 1970.
    logged_in_at: Option<u64>,
}

/// One that waits for its answer.
#[derive(Debug)]
struct Challenge {
    bytes: [u8; 32],
    purpose: Purpose,
    asked_at: Instant,
    /// What the authenticator is to call the person, where a passkey is made.
    handle: [u8; 32],
}

impl Presence {
    pub(crate) const fn new(session: SessionId, handshake_hash: [u8; 32]) -> Self {
        Self { session, handshake_hash, waiting: None, shown: None, logged_in_at: None }
    }

    /// A new challenge for this device. What waits longest makes room for it.
    pub(crate) fn challenge(
        &mut self,
        device: DeviceId,
        purpose: Purpose,
        random: [u8; 32],
        handle: [u8; 32],
        now: Instant,
    ) -> [u8; 32] {
        let bytes = sha256(&[PREFIX, &self.session.0, &self.handshake_hash, &random, &device.0]);
        let [older, newer] = &mut **self.waiting.get_or_insert_default();
        let last = newer.replace(Challenge { bytes, purpose, asked_at: now, handle });
        if last.is_some() {
            *older = last;
        }
        bytes
    }

    /// Takes out a challenge that was given for this; gives what was to be told of the person with it. None if there is no such one, or
    /// its time is over.
    pub(crate) fn take(&mut self, bytes: &[u8], purpose: Purpose, timeout: Duration, now: Instant) -> Option<[u8; 32]> {
        let waiting = self.waiting.as_mut()?;
        let is_it = |waiting: &&mut Option<Challenge>| waiting.as_ref().is_some_and(|it| it.bytes == bytes);
        let taken = waiting.iter_mut().find(is_it)?.take()?;
        if waiting.iter().all(Option::is_none) {
            self.waiting = None;
        }
        let is_good = taken.purpose == purpose && now.saturating_duration_since(taken.asked_at) < timeout;
        is_good.then_some(taken.handle)
    }

    pub(crate) fn shown(&mut self, at: u64, by: PasskeyId) {
        self.shown = Some(Box::new((at, by)));
    }

    /// By which passkey somebody is present.
    pub(crate) fn by(&self) -> Option<PasskeyId> {
        self.shown.as_ref().map(|shown| shown.1)
    }

    /// Nobody is present any more.
    pub(crate) fn leave(&mut self) {
        self.shown = None;
    }

    /// Something was proved: when its person has logged in with it is known, or is not.
    pub(crate) fn proved(&mut self, standing: &Standing, now: u64) {
        self.logged_in_at = match &standing.proof {
            Proof::Token { auth_time, .. } => *auth_time,
            Proof::Vouch => Some(now),
            Proof::Device | Proof::Hook => None,
        };
    }

    /// Nothing that was proved counts any more.
    pub(crate) fn forget(&mut self) {
        (self.waiting, self.shown, self.logged_in_at) = (None, None, None);
    }

    /// When whoever is known by what was proved has logged in.
    pub(crate) const fn logged_in_at(&self) -> Option<u64> {
        self.logged_in_at
    }

    /// What was proved has ended.
    pub(crate) fn ended(&mut self, left: &Standing) {
        self.logged_in_at = None;
        if !may_be_present(left) {
            self.leave();
        }
    }

    /// What somebody is who is present; none if nobody is.
    pub(crate) fn raised(&self, standing: &Standing) -> Option<Standing> {
        let (at, _) = **self.shown.as_ref()?;
        present(standing, at)
    }
}

/// What somebody is who has shown to be there at this time. None of whom nobody knows who it is.
pub(crate) fn present(standing: &Standing, at: u64) -> Option<Standing> {
    may_be_present(standing).then(|| Standing { level: Level::Present, present_at: Some(at), ..standing.clone() })
}

/// A passkey is a person's: it raises nobody of whom the server does not know who it is, nor a guest.
pub(crate) fn may_be_present(standing: &Standing) -> bool {
    standing.subject.is_some() && standing.level >= Level::Device
}
