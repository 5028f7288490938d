//! One session's seat: its device, its standing as it is now, and what was seen of its connection. The directory, whoever carries
//! the line and every call of the session's have the same one, so that a change is a change for all of them.
//!
//! ```text
//! what the device has (an invite, pairing) ─┐
//! what somebody has proved since, if any ───┴─► standing: the second while it lasts, else the first
//!     holds ─► its end is near, which is told ─► over
//! ```
//!
//! Where the owner's backend is asked (`hook`), its ruling stands beside it (`ruling.rs`): the most that the device has by its key.

mod has;
mod ruling;
#[cfg(test)]
mod tests;

use std::{
    any::Any,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use duologue::DeviceId;
use duologue_native::path::Differences;
use thiserror::Error;

use super::{
    error::DoorError,
    evidence::{Identity, Transport},
    gate::now,
    holder::Holder,
    passkeys::presence::{self, Presence},
    standing::{Level, Proof, Standing, Subject},
};
use crate::state::store::{Names, PasskeyId};
pub(crate) use has::Has;
pub(crate) use ruling::Hooked;
use ruling::Ruling;

/// How long before its end newer evidence is asked for, in seconds; half of its time, where that is less, so that short-lived
/// evidence is not asked for each second.
const NEAR_SECS: u64 = 60;
/// That the end is near was told.
const TOLD: u64 = u64::MAX;

/// How often somebody has signed out, anywhere: what tells whether a sign-out came after something was shown.
static SIGN_OUTS: AtomicU32 = AtomicU32::new(0);

/// Who sits at the other end of a session.
#[derive(Debug)]
pub(crate) struct Seat {
    device: DeviceId,
    /// When its session began, in seconds since 1970.
    began: u64,
    now: Mutex<Now>,
}

/// The session is another subject's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this session is another subject's: end it, and begin one for this subject")]
pub(crate) struct OtherSubject;

/// When something was shown, as sign-outs count: what was shown before one counts no more after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Since(u32);

impl Since {
    pub(crate) fn now() -> Self {
        Self(SIGN_OUTS.load(Ordering::SeqCst))
    }

    /// Somebody signs out: later than all that was shown before.
    pub(crate) fn sign_out() -> Self {
        Self(SIGN_OUTS.fetch_add(1, Ordering::SeqCst).saturating_add(1))
    }
}

impl Default for Since {
    fn default() -> Self {
        Self::now()
    }
}

/// When what was proved ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Not soon, or that was told.
    Later,
    /// Soon, which is told once.
    Soon {
        /// A token's: a newer one may be asked for.
        of_token: bool,
    },
    /// It has just ended.
    Now {
        /// A token's: a newer one may be asked for.
        of_token: bool,
    },
}

#[derive(Debug)]
struct Now {
    has: Has,
    proved: Option<Arc<Standing>>,
    /// What a service keeps for the session, where one does.
    kept: Option<Arc<dyn Any + Send + Sync>>,
    /// From when on its end is near; 0 before it was looked at, and [`TOLD`] once that was told.
    near: u64,
    /// The newest evidence that it was judged by, as its client counts them.
    evidence: u32,
    /// When somebody last signed out.
    signed_out: Since,
    /// Whose the session is. It stays so when what proved it is over.
    subject: Option<Subject>,
    transport: Transport,
    /// Where passkeys are taken.
    presence: Option<Box<Presence>>,
    /// Where a hook is asked.
    ruling: Option<Box<Ruling>>,
}

impl Now {
    /// What the device has by its key, as far as the hook lets it.
    fn by_key(&self) -> &Arc<Standing> {
        self.ruling.as_ref().and_then(|ruling| ruling.lowered.as_ref()).unwrap_or(&self.has.standing)
    }

    fn lower(&mut self) {
        if let Some(ruling) = &mut self.ruling {
            ruling.lowered = ruling.hooked.ceiling.lowers(&self.has.standing).map(Arc::new);
        }
    }
}

impl Seat {
    /// Of a device that has just proved its key.
    pub(crate) fn new(device: DeviceId, transport: Transport, has: Has) -> Self {
        Self {
            device,
            began: now(),
            now: Mutex::new(Now {
                has,
                proved: None,
                near: 0,
                evidence: 0,
                signed_out: Since(0),
                subject: None,
                kept: None,
                transport,
                presence: None,
                ruling: None,
            }),
        }
    }

    pub(crate) const fn device(&self) -> DeviceId {
        self.device
    }

    pub(crate) const fn began(&self) -> u64 {
        self.began
    }

    /// Its session goes on over another connection.
    pub(crate) fn moved(&self, transport: Transport) {
        let mut now = self.lock();
        // What was told of the session is not told again.
        let told = now.transport.told.and(transport.told);
        now.transport = Transport { told, ..transport };
    }

    /// In these its connection was another one at its client. Gives those of which nobody was told in this session.
    pub(crate) fn differs(&self, found: Differences) -> Differences {
        let mut now = self.lock();
        let news = found.without(now.transport.told);
        now.transport.told = now.transport.told.and(news);
        news
    }

    pub(crate) fn transport(&self) -> Transport {
        self.lock().transport.clone()
    }

    /// Its address alone.
    pub(crate) fn address(&self) -> IpAddr {
        self.lock().transport.address
    }

    /// Who it is where something is shared out, as it is now.
    pub(crate) fn holder(&self) -> Holder {
        let at = now();
        let now = self.lock();
        if now.has.standing.level > Level::Guest {
            return Holder::Device(self.device);
        }
        let proved = now.proved.as_ref().filter(|proved| !proved.is_over(at));
        match proved.and_then(|proved| proved.subject.clone()) {
            Some(subject) => Holder::Subject(subject),
            None => Holder::guest(now.transport.address),
        }
    }

    /// Whether nobody has let its device in: it is here by what it has proved, or as a guest.
    pub(crate) fn is_stranger(&self) -> bool {
        self.lock().has.standing.level == Level::Guest
    }

    /// Whether it is no more than a guest, as it is now.
    pub(crate) fn is_guest(&self) -> bool {
        self.holder().is_guest()
    }

    /// Whether what was proved comes to an end of its own.
    pub(crate) fn has_end(&self) -> bool {
        self.lock().proved.as_ref().is_some_and(|proved| proved.until.is_some())
    }

    /// What a service keeps for this session until it ends or somebody signs out, made when it is first asked for. There is one for all services: none
    /// if another has it.
    pub(crate) fn kept<T: Any + Default + Send + Sync>(&self) -> Option<Arc<T>> {
        let kept = Arc::clone(self.lock().kept.get_or_insert_with(|| Arc::new(T::default())));
        kept.downcast().ok()
    }

    /// As it is now.
    pub(crate) fn identity(&self) -> Identity {
        let standing = self.standing(now());
        let Standing { subject, groups, level, .. } = &*standing;
        Identity { device: self.device, subject: subject.clone(), groups: Arc::clone(groups), level: *level }
    }

    /// As it is at this time.
    pub(crate) fn standing(&self, at: u64) -> Arc<Standing> {
        let now = self.lock();
        let holds = |proved: &&Arc<Standing>| !proved.is_over(at);
        let standing = now.proved.as_ref().filter(holds).unwrap_or(now.by_key());
        let raised = now.presence.as_ref().and_then(|presence| presence.raised(standing));
        raised.map_or_else(|| Arc::clone(standing), Arc::new)
    }

    /// Passkeys are taken in its session, which begins so.
    pub(crate) fn takes_passkeys(&self, presence: Presence) {
        self.lock().presence = Some(Box::new(presence));
    }

    /// What its person would be by showing to be there. None where no passkeys are taken, or there is nobody to show it.
    pub(crate) fn if_present(&self, standing: &Standing, at: u64) -> Option<Standing> {
        self.lock().presence.as_ref()?;
        presence::present(standing, at)
    }

    /// Something is asked or changed of its person's presence. None where no passkeys are taken.
    pub(crate) fn presence<T>(&self, work: impl FnOnce(&mut Presence) -> T) -> Option<T> {
        self.lock().presence.as_mut().map(|presence| work(presence))
    }

    /// Its person has shown to be there, by what came then. False if no passkeys are taken, or if somebody has signed out since.
    pub(crate) fn present_since(&self, at: u64, by: PasskeyId, since: Since) -> bool {
        let mut now = self.lock();
        let is_current = now.signed_out <= since;
        let presence = now.presence.as_mut().filter(|_| is_current);
        presence.map(|presence| presence.shown(at, by)).is_some()
    }

    /// Looks whether what was proved ends. None if there is nothing that will; its end is told once, and then it is gone.
    pub(crate) fn look(&self, at: u64) -> Option<Ending> {
        let mut now = self.lock();
        let until = now.proved.as_ref()?.until?;
        if until <= at {
            let left = Arc::clone(now.by_key());
            if let Some(presence) = &mut now.presence {
                presence.ended(&left);
            }
            let of_token = is_of_token(now.proved.take().as_deref());
            return Some(Ending::Now { of_token });
        }
        if now.near == 0 {
            now.near = until - NEAR_SECS.min((until - at) / 2);
        }
        let is_news = at >= now.near;
        if is_news {
            now.near = TOLD;
        }
        let of_token = is_of_token(now.proved.as_deref());
        Some(if is_news { Ending::Soon { of_token } } else { Ending::Later })
    }

    /// What the device has by its key alone, whatever the hook says.
    pub(crate) fn by_key(&self) -> Arc<Standing> {
        Arc::clone(&self.lock().has.standing)
    }

    /// What was proved, if anything was and has not ended.
    pub(crate) fn proved(&self) -> Option<Arc<Standing>> {
        self.lock().proved.clone()
    }

    /// Whether somebody has signed out since the hook was asked.
    pub(crate) fn is_signed_out(&self) -> bool {
        self.lock().ruling.as_ref().is_some_and(|ruling| ruling.is_signed_out)
    }

    /// The labels that its device was let in for; any, if none are told.
    pub(crate) fn opens(&self) -> Option<Names> {
        self.lock().has.opens.clone()
    }

    /// What its owner says of the device now. False, and nothing changes, if the session is another subject's, or was the one that
    /// the device is released from: it is to end.
    pub(crate) fn has_now(&self, has: Has) -> bool {
        let mut now = self.lock();
        let may = match &has.standing.subject {
            Some(subject) => {
                now.subject.as_ref().or(now.has.standing.subject.as_ref()).is_none_or(|own| own == subject)
            }
            None => now.has.standing.subject.is_none(),
        };
        if may {
            now.has = has;
            now.lower();
        }
        may
    }

    /// Somebody has signed out in another session of its device, while it may have been judged here who sits at that: what was shown
    /// until now counts no more.
    pub(crate) fn throw_away(&self) {
        self.lock().signed_out = Since::sign_out();
    }

    /// Whether somebody has signed out since.
    pub(crate) fn has_signed_out(&self, since: Since) -> bool {
        self.lock().signed_out > since
    }

    /// Its session was this subject's in another process: it stays so, though nothing that was proved there counts. False if its
    /// device is another's by now.
    pub(crate) fn was_of(&self, subject: &Subject) -> bool {
        let mut now = self.lock();
        let may = now.has.standing.subject.as_ref().is_none_or(|own| own == subject);
        if may {
            now.subject = Some(subject.clone());
        }
        may
    }

    /// Something was proved: from now on it counts, as long as it lasts. A session has one subject at most, so that what is
    /// open under one person's name never becomes another's.
    pub(crate) fn prove(&self, standing: Standing) -> Result<(), OtherSubject> {
        Self::prove_in(&mut self.lock(), standing)
    }

    /// The same of what was shown then, and judged meanwhile. False if somebody has signed out since: it was of before.
    pub(crate) fn prove_since(&self, standing: Standing, since: Since) -> Result<bool, OtherSubject> {
        let mut now = self.lock();
        if now.signed_out > since {
            return Ok(false);
        }
        Self::prove_in(&mut now, standing).map(|()| true)
    }

    fn prove_in(now: &mut Now, standing: Standing) -> Result<(), OtherSubject> {
        let own = now.subject.as_ref().or(now.has.standing.subject.as_ref());
        if own.is_some_and(|own| standing.subject.as_ref() != Some(own)) {
            return Err(OtherSubject);
        }
        now.subject.clone_from(&standing.subject);
        let at = self::now();
        // What has ended unseen has ended all the same.
        let has_ended = now.proved.as_ref().is_some_and(|proved| proved.is_over(at));
        let left = Arc::clone(now.by_key());
        if let Some(presence) = &mut now.presence {
            if has_ended {
                presence.ended(&left);
            }
            presence.proved(&standing, at);
        }
        (now.proved, now.near) = (Some(Arc::new(standing)), 0);
        if let Some(ruling) = &mut now.ruling {
            ruling.is_signed_out = false;
        }
        Ok(())
    }

    /// It was judged by evidence of this number.
    pub(crate) fn judged_by(&self, evidence: u32) {
        let mut now = self.lock();
        now.evidence = now.evidence.max(evidence);
    }

    /// What its client is told: why the newest evidence has raised nothing, or gives nothing any more; and whether newer is wanted.
    pub(crate) fn told(&self, refused: Option<DoorError>, wants_evidence: bool) -> duologue::Standing {
        let now = now();
        let standing = self.standing(now);
        let secs = standing.until.map(|until| u32::try_from(until.saturating_sub(now)).unwrap_or(u32::MAX));
        duologue::Standing {
            level: standing.level.number(),
            subject: standing.subject.as_ref().map_or_else(String::new, ToString::to_string),
            secs,
            evidence: self.evidence(),
            wants_evidence: wants_evidence || refused.is_some_and(DoorError::wants_other),
            refused: refused.map_or_else(String::new, |error| error.word().to_owned()),
        }
    }

    /// Whose the session is; none if it is nobody's so far.
    pub(crate) fn subject(&self) -> Option<Subject> {
        let now = self.lock();
        now.subject.as_ref().or(now.has.standing.subject.as_ref()).cloned()
    }

    /// The number of the newest evidence that it was judged by; 0 if by none.
    pub(crate) fn evidence(&self) -> u32 {
        self.lock().evidence
    }

    /// What was proved counts no more.
    pub(crate) fn sign_out(&self) {
        let mut now = self.lock();
        now.signed_out = Since::sign_out();
        (now.proved, now.kept) = (None, None);
        if let Some(presence) = &mut now.presence {
            presence.forget();
        }
        if let Some(ruling) = &mut now.ruling {
            ruling.hooked.token = None;
            ruling.is_signed_out = true;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_of_token(proved: Option<&Standing>) -> bool {
    proved.is_some_and(|standing| matches!(standing.proof, Proof::Token { .. }))
}
