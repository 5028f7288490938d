//! One session's seat: its device, its standing as it is now, and what was seen of its connection. The directory, whoever carries
//! the line and every call of the session's have the same one, so that a change is a change for all of them.
//!
//! ```text
//! what the device has (an invite, pairing) ─┐
//! what somebody has proved since, if any ───┴─► standing: the second while it lasts, else the first
//!     holds ─► its end is near, which is told ─► over
//! ```
//!
//! Where the owner's backend is asked (`hook`), its ruling stands beside it: the most that the device has by its key.

use std::{
    any::Any,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use duologue::DeviceId;

use thiserror::Error;

use super::{
    error::DoorError,
    evidence::{Identity, Transport},
    gate::now,
    holder::Holder,
    hook::{Answer, Ceiling, Visit},
    passkeys::presence::{self, Presence},
    standing::{Group, Level, Proof, Standing, Subject},
    tokens::Verified,
};
use crate::state::store::{Known, Names};

/// How long before its end newer evidence is asked for, in seconds; half of its time, where that is less, so that short-lived
/// evidence is not asked for each second.
const NEAR_SECS: u64 = 60;
/// That the end is near was told.
const TOLD: u64 = u64::MAX;
/// After how many seconds the hook is asked again that has not answered.
const ASK_AGAIN_SECS: u64 = 30;

/// What almost every device has: one for all of them.
static DEVICE: LazyLock<Arc<Standing>> = LazyLock::new(|| Arc::new(Standing::device()));

/// What one has that nobody has let in.
static GUEST: LazyLock<Arc<Standing>> =
    LazyLock::new(|| Arc::new(Standing { level: Level::Guest, ..Standing::device() }));

/// What a device has by its key alone, as its owner has said: whose it is, which says nothing of who uses it now, and what it was
/// let in for.
#[derive(Clone, Debug)]
pub(crate) struct Has {
    standing: Arc<Standing>,
    /// The labels that it may open; any, if none are told.
    opens: Option<Names>,
}

/// What the hook has said of a session, and what it is asked again with.
#[derive(Clone, Debug)]
pub(crate) struct Hooked {
    pub(crate) visit: Arc<Visit>,
    /// None if it has not answered.
    pub(crate) answer: Option<Arc<Answer>>,
    /// What it was asked of, beside the key.
    pub(crate) token: Option<Arc<Verified>>,
    pub(crate) ceiling: Ceiling,
    /// Until when it holds, in seconds since 1970.
    pub(crate) until: u64,
    /// It has not answered of what was shown last, and is asked of it again soon.
    pub(crate) is_owed: bool,
}

impl Hooked {
    /// Whether it says something of what was shown last, and that is in date.
    fn holds(&self, at: u64) -> bool {
        self.answer.is_some() && !self.is_owed && self.until > at
    }
}

impl Has {
    /// Of a device that nobody has let in. Whoever has this is judged as a guest until he proves more.
    pub(crate) fn guest() -> Self {
        Self { standing: Arc::clone(&GUEST), opens: None }
    }

    pub(crate) fn of(known: &Known) -> Self {
        let Known { subject, groups, opens } = known;
        // Names were read when they were stored.
        let subject = subject.as_ref().and_then(|subject| Subject::new(subject).ok());
        let standing = match subject {
            None => Arc::clone(&DEVICE),
            subject => {
                let groups = groups.iter().filter_map(|group| Group::new(group).ok()).collect();
                Arc::new(Standing { subject, groups, ..Standing::device() })
            }
        };
        Self { standing, opens: opens.clone() }
    }

    pub(crate) fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }
}

/// Who sits at the other end of a session.
#[derive(Debug)]
pub(crate) struct Seat {
    device: DeviceId,
    now: Mutex<Now>,
}

/// The session is another subject's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this session is another subject's: end it, and begin one for this subject")]
pub(crate) struct OtherSubject;

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
    /// Whose the session is. It stays so when what proved it is over.
    subject: Option<Subject>,
    transport: Transport,
    /// Where passkeys are taken.
    presence: Option<Box<Presence>>,
    /// Where a hook is asked.
    ruling: Option<Box<Ruling>>,
}

#[derive(Debug)]
struct Ruling {
    hooked: Hooked,
    /// What the device has, where the ruling takes something of it away.
    lowered: Option<Arc<Standing>>,
    /// When it is asked again: before the ruling ends, or a while after it was asked and has not answered.
    again_at: u64,
    /// Somebody has signed out since: what proved him does so no more.
    is_signed_out: bool,
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
            now: Mutex::new(Now {
                has,
                proved: None,
                near: 0,
                evidence: 0,
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

    /// Its session goes on over another connection.
    pub(crate) fn moved(&self, transport: Transport) {
        self.lock().transport = transport;
    }

    pub(crate) fn transport(&self) -> Transport {
        self.lock().transport.clone()
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

    /// What the hook has said of the session.
    pub(crate) fn hooked(&self) -> Option<Hooked> {
        self.lock().ruling.as_ref().map(|ruling| ruling.hooked.clone())
    }

    /// Whether what the hook has said holds still. Whom it was not asked of has nothing of it.
    pub(crate) fn is_ruled(&self, at: u64) -> bool {
        self.lock().ruling.as_ref().is_some_and(|ruling| ruling.hooked.holds(at))
    }

    /// The hook has ruled.
    pub(crate) fn rule(&self, hooked: Hooked, at: u64) {
        let mut now = self.lock();
        let again_at = match hooked.answer {
            Some(_) if !hooked.is_owed => hooked.until - NEAR_SECS.min(hooked.until.saturating_sub(at) / 2),
            Some(_) => at.saturating_add(ASK_AGAIN_SECS),
            None => hooked.until.saturating_add(ASK_AGAIN_SECS),
        };
        let is_signed_out = now.ruling.as_ref().is_some_and(|ruling| ruling.is_signed_out);
        now.ruling = Some(Box::new(Ruling { hooked, lowered: None, again_at, is_signed_out }));
        now.lower();
    }

    /// Its session goes on over a connection of which this is to be asked.
    pub(crate) fn asks_of(&self, visit: Arc<Visit>) {
        if let Some(ruling) = &mut self.lock().ruling {
            ruling.hooked.visit = visit;
        }
    }

    /// Whether the hook is to be asked again now, since what it has said is about to end; none where it is not asked. Whoever is
    /// told so asks: the others are told no for a while.
    pub(crate) fn takes_question(&self, at: u64) -> Option<bool> {
        let mut now = self.lock();
        let ruling = now.ruling.as_mut()?;
        let takes = ruling.again_at <= at;
        if takes {
            ruling.again_at = at.saturating_add(ASK_AGAIN_SECS);
        }
        Some(takes)
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

    /// Something was proved: from now on it counts, as long as it lasts. A session has one subject at most, so that what is
    /// open under one person's name never becomes another's.
    pub(crate) fn prove(&self, standing: Standing) -> Result<(), OtherSubject> {
        let mut now = self.lock();
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

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::door::standing::{Level, Proof};

    fn has(subject: Option<&str>) -> Has {
        Has::of(&Known { subject: subject.map(Into::into), ..Known::default() })
    }

    fn seat(subject: Option<&str>) -> Seat {
        let transport = Transport { address: IpAddr::V4(Ipv4Addr::LOCALHOST), origin: None, app_origin: None };
        Seat::new(DeviceId([7; 32]), transport, has(subject))
    }

    fn vouched(subject: &str) -> Standing {
        let subject = Some(Subject::new(subject).expect("a name"));
        Standing { subject, level: Level::Account, proof: Proof::Vouch, ..Standing::device() }
    }

    #[test]
    fn who_signs_out_leaves_nothing_of_the_session_behind() {
        let seat = seat(None);
        assert_eq!(seat.prove(vouched("ada")), Ok(()));
        let hers = seat.kept::<Mutex<u8>>().expect("nobody else has the place");
        assert!(Arc::ptr_eq(&hers, &seat.kept().expect("the same")) && seat.kept::<u8>().is_none());
        seat.sign_out();
        assert!(!Arc::ptr_eq(&hers, &seat.kept().expect("another")));
    }

    #[test]
    fn a_binding_narrows_and_is_the_one_change_that_a_session_lives_through() {
        let bound = seat(Some("ada"));
        assert_eq!(bound.prove(vouched("bob")), Err(OtherSubject), "another's token on her device");
        assert_eq!(bound.prove(vouched("ada")), Ok(()));
        assert_eq!(bound.identity().level, Level::Account);
        assert!(bound.has_now(has(Some("ada"))));
        assert!(!bound.has_now(has(Some("bob"))) && !bound.has_now(has(None)), "it is released, or another's");
        let guest = seat(None);
        assert!(guest.has_now(has(Some("ada"))) && !guest.has_now(has(None)));
        assert_eq!(guest.identity().level, Level::Device, "a binding raises nothing");
    }

    #[test]
    fn a_session_that_has_logged_in_by_itself_goes_on_over_another_connection() {
        let session = seat(None);
        session.prove(vouched("ada")).expect("nobody's so far");
        assert!(session.has_now(has(None)), "its owner has said nothing of the device, as before");
        assert!(!session.has_now(has(Some("bob"))));
        assert!(session.has_now(has(Some("ada"))));
    }

    fn until(subject: &str, until: u64) -> Standing {
        Standing { until: Some(until), ..vouched(subject) }
    }

    #[test]
    fn what_was_proved_holds_until_its_end_which_is_told_before_it_and_when_it_comes_once_each() {
        let seat = seat(None);
        assert_eq!(seat.look(0), None, "a device's own has no end");
        seat.prove(until("ada", 1_000)).expect("nobody's");
        assert_eq!((seat.standing(999).level, seat.standing(1_000).level), (Level::Account, Level::Device));
        let looked = [1, 939, 940, 941, 999, 1_000, 1_001].map(|at| seat.look(at));
        let later = Some(Ending::Later);
        assert_eq!(
            looked,
            [
                later,
                later,
                Some(Ending::Soon { of_token: false }),
                later,
                later,
                Some(Ending::Now { of_token: false }),
                None
            ]
        );
        assert_eq!(seat.standing(0).level, Level::Device, "a clock that is set back revives nothing");
        assert_eq!(seat.prove(until("bob", 2_000)), Err(OtherSubject), "what was hers is open still");
        seat.prove(until("ada", 2_000)).expect("the same person's");
        assert_eq!((seat.look(1_500), seat.look(1_950)), (later, Some(Ending::Soon { of_token: false })));
        assert_eq!(seat.standing(1_500).level, Level::Account);
    }

    #[test]
    fn what_lasts_a_minute_is_asked_for_once_and_not_each_second() {
        let seat = seat(None);
        for end in [20, 40] {
            seat.prove(until("ada", end)).expect("hers");
            let looked: Vec<_> = (end - 20..end).map(|at| seat.look(at)).collect();
            let soon = looked.iter().position(|look| *look == Some(Ending::Soon { of_token: false }));
            assert_eq!(soon, Some(10), "half of its time is left: {looked:?}");
            assert_eq!(looked.iter().filter(|look| **look == Some(Ending::Soon { of_token: false })).count(), 1);
        }
    }

    #[test]
    fn a_stranger_is_one_with_all_guests_until_he_shows_who_he_is() {
        let seat = seat(None);
        assert_eq!(seat.holder(), Holder::Device(seat.device()));
        assert!(seat.has_now(Has::guest()) && seat.is_stranger());
        assert_eq!(seat.holder(), Holder::Guests(None));
        seat.moved(Transport { address: [192, 0, 2, 7].into(), origin: None, app_origin: None });
        assert_eq!(seat.holder(), Holder::guest([192, 0, 2, 7].into()));
        seat.prove(vouched("ada")).expect("nobody's");
        assert_eq!(seat.holder(), Holder::Subject(Subject::new("ada").expect("a name")));
        assert!(!seat.is_guest() && seat.is_stranger(), "and not let in by that");
        seat.sign_out();
        assert!(seat.is_guest());
        assert!(seat.has_now(has(None)), "an invite");
        assert_eq!(seat.holder(), Holder::Device(seat.device()));
    }

    #[test]
    fn a_device_that_nobody_has_let_in_falls_to_a_guest() {
        let seat = seat(None);
        assert!(seat.has_now(Has::guest()));
        seat.prove(until("ada", 1_000)).expect("nobody's");
        assert_eq!((seat.standing(999).level, seat.standing(1_000).level), (Level::Account, Level::Guest));
        assert!(seat.has_now(has(None)), "an invite came in between");
        assert_eq!(seat.standing(1_000).level, Level::Device);
    }
}
