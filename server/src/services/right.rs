//! A channel's right to be open: asked for when it is opened, when a request in it is known, and again whenever something changes.

use std::{
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use duologue::ResetCode;
use duologue_native::{Pace, Paced, WeakChannel};
use thiserror::Error;
use tokio::sync::futures::Notified;

use crate::watch::events::{Event, Kind};
use crate::{
    door::{
        firewall::Purse,
        gate::{Gate, now},
        passkeys::presence::present,
        policy::{
            limits::{self, Full, Permit},
            patterns::Path,
            rules::{Asked, Evidence, Target, Verdict},
        },
        seat::{OtherSubject, Seat, Since},
        standing::{Level, Standing},
    },
    state::store::PasskeyId,
};

/// A clock that was set, or a machine that slept, is noticed within this.
const LOOK: Duration = Duration::from_secs(1);

/// Why the policy does not let a request pass. Which rule it was is the owner's to know: it is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotAllowed {
    /// No rule opens it to this caller.
    #[error("the server does not allow this")]
    Closed,
    /// No rule opens it to this caller, unless its person has just shown to be there.
    #[error("this takes a person who has just shown to be there: by a passkey")]
    StepUpNeeded,
    /// As many channels as the rule has for this caller are open.
    #[error("too many of these are open at a time")]
    Full,
    /// Another process has what it needs, and answers from now on.
    #[error("the server is being replaced: ask again")]
    GoingAway,
}

impl NotAllowed {
    pub(crate) const fn code(self) -> ResetCode {
        match self {
            Self::Closed => ResetCode::NotAllowed,
            Self::StepUpNeeded => ResetCode::StepUpNeeded,
            Self::Full => ResetCode::Busy,
            Self::GoingAway => ResetCode::GoingAway,
        }
    }
}

/// Why a session is not the subject's whom a service names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotVouched {
    /// It is another's for good: end it, and begin one for this subject.
    #[error("the session is another subject's")]
    OtherSubject,
    /// The owner has revoked the subject, or a group of it.
    #[error("the owner has revoked the subject, or one of its groups")]
    Revoked,
    /// Somebody has signed out since the call began, or since [`Call::anew`](crate::Call::anew): what was asked for before that counts
    /// no more.
    #[error("somebody has signed out since this was asked for: let the person log in again")]
    SignedOut,
}

/// One channel's, which has it as its pace: what its rule and the firewall count of what it brings.
#[derive(Debug)]
pub(crate) struct Right {
    gate: Arc<Gate>,
    pub(crate) seat: Arc<Seat>,
    /// It has this.
    channel: WeakChannel,
    label: String,
    terms: Terms,
    held: Mutex<Held>,
}

/// What a service itself asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    /// A level.
    pub(crate) demands: Level,
    /// To be asked again for each request.
    pub(crate) takes_requests: bool,
    /// The state directory.
    pub(crate) needs_state: bool,
}

#[derive(Debug, Default)]
struct Held {
    /// Method and path, as soon as they are known.
    request: Option<(String, String)>,
    permit: Option<Permit>,
    /// What the firewall counts.
    purse: Option<Purse>,
}

impl Right {
    /// An event of this caller.
    pub(crate) fn event(&self, kind: Kind) -> Event {
        let event = Event::of(kind).device(self.seat.device()).address(self.seat.address());
        event.subject(self.seat.subject())
    }

    pub(crate) fn tell(&self, event: Event) {
        self.gate.watch.tell(event);
    }

    pub(crate) const fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    pub(crate) fn new(gate: Arc<Gate>, seat: Arc<Seat>, channel: WeakChannel, label: String, terms: Terms) -> Self {
        Self { gate, seat, channel, label, terms, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for one request of the channel, whose path has no query.
    pub(crate) fn request(&self, method: &str, path: &str) -> Result<(), NotAllowed> {
        self.held().request = Some((method.to_owned(), path.to_owned()));
        self.ask().map(drop)
    }

    /// Waits until one more request to a backend may be made; false if that takes longer than anybody waits.
    pub(crate) async fn request_comes(&self, patience: Duration) -> bool {
        let wait = {
            let (held, now) = (self.held(), limits::now());
            let Some(purse) = &held.purse else { return true };
            let wait = self.gate.firewall.request_waits(now, purse, || self.seat.address());
            if wait > patience {
                return false;
            }
            // Its turn is taken before it waits for it: who comes meanwhile waits for longer.
            self.gate.firewall.takes_request(now, purse, || self.seat.address());
            wait
        };
        tokio::time::sleep(wait).await;
        true
    }

    /// Something was proved in this session, by what was asked for then.
    pub(crate) fn prove(&self, standing: Standing, since: Since) -> Result<(), NotVouched> {
        if self.gate.is_revoked(&standing) {
            return Err(NotVouched::Revoked);
        }
        let taken = self.seat.prove_since(standing.clone(), since).map_err(|OtherSubject| NotVouched::OtherSubject)?;
        if !taken {
            return Err(NotVouched::SignedOut);
        }
        // Found by its new name from here on; so, looked at once more: a revocation that came before has not found this session.
        self.gate.has_changed(self.seat.device());
        if !self.gate.is_revoked(&standing) {
            return Ok(());
        }
        self.seat.sign_out();
        self.gate.has_changed(self.seat.device());
        Err(NotVouched::Revoked)
    }

    /// Nothing that was proved counts any more.
    pub(crate) fn sign_out(&self) {
        self.seat.sign_out();
        self.gate.forget_answers_of(self.seat.device());
    }

    /// Somebody has shown to be there, by this passkey. False if that counts no more: nobody knows who it is, somebody has signed out
    /// since it was shown, or the owner has revoked whom.
    pub(crate) fn present(&self, passkey: PasskeyId, since: Since) -> bool {
        let at = now();
        if !self.seat.present_since(at, passkey, since) {
            return false;
        }
        let standing = self.seat.standing(at);
        // Looked at once more: a revocation that came in between has not found this session.
        let is_revoked = self.gate.is_revoked(&standing);
        if is_revoked {
            self.seat.sign_out();
        }
        self.gate.has_changed(self.seat.device());
        !is_revoked && standing.level == Level::Present
    }

    /// Waits for what may change the answer; from when it is enabled on.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.gate.changed(self.seat.device())
    }

    /// Asks, and gives when time alone may change the answer.
    pub(crate) fn ask(&self) -> Result<Option<u64>, NotAllowed> {
        if self.terms.needs_state && self.gate.is_handed_over() {
            return Err(NotAllowed::GoingAway);
        }
        let mut held = self.held();
        let now = now();
        let (standing, transport) = (self.seat.standing(now), self.seat.transport());
        let device = self.seat.device();
        let opens = self.seat.opens();
        let evidence = Evidence::new(device, &standing, &transport).let_in_for(opens.as_deref());
        let target = match &held.request {
            Some((method, path)) => Target::Request { method, path: Path::new(path) },
            None if self.terms.takes_requests => Target::Later,
            None => Target::None,
        };
        let is_final = !matches!(target, Target::Later);
        let asked = Asked { label: &self.label, target, demands: self.terms.demands };
        let (policy, verdict) = self.gate.judge(&evidence, &asked, now);
        let (rule, until) = match &verdict {
            Verdict::Opened { rule, until } => (*rule, *until),
            Verdict::Refused(refusal) => {
                // Label and path are the caller's, of any length and content: `policy explain` is for those.
                self.tell(self.event(Kind::NotAllowed).note(policy.rules.words(refusal)));
                // Nothing is told of it to whom a passkey would not open it either.
                let would_open = |standing: &Standing| {
                    let evidence = Evidence::new(device, standing, &transport).let_in_for(opens.as_deref());
                    matches!(self.gate.judge(&evidence, &asked, now).1, Verdict::Opened { .. })
                };
                let needs_presence = present(&standing, now).is_some_and(|present| {
                    // Where to log in would do, that is what is missing.
                    let account = Standing { level: Level::Account, present_at: None, ..present.clone() };
                    would_open(&present) && !would_open(&account)
                });
                return Err(if needs_presence { NotAllowed::StepUpNeeded } else { NotAllowed::Closed });
            }
        };
        let holder = self.seat.holder();
        if let Some(rule) = policy.rules.rule(rule).filter(|_| is_final) {
            let key = (Arc::clone(&rule.name), rule.limits, standing.subject.as_ref(), &holder);
            if !held.permit.as_ref().is_some_and(|permit| permit.is_for(key.0.as_ref(), key.1, key.2, key.3)) {
                let permit = self.gate.meters.enter(&key.0, key.1, key.2, key.3).map_err(|Full| {
                    self.tell(self.event(Kind::RuleFull).note(&*rule.name));
                    NotAllowed::Full
                })?;
                held.permit = permit;
            }
        }
        held.purse = self.gate.firewall.purse(transport.address, &limits::whose(standing.subject.as_ref(), &holder));
        let is_paced = held.permit.is_some() || held.purse.is_some();
        // It asks this one.
        drop(held);
        if let Some(channel) = self.channel.upgrade() {
            channel.set_paced(is_paced);
        }
        Ok(until.filter(|until| *until > now))
    }

    /// Waits until it is lost, and says how.
    pub(crate) async fn lost<'a>(
        self: &'a Arc<Self>,
        mut changed: Pin<&mut Notified<'a>>,
        mut until: Option<u64>,
    ) -> ResetCode {
        loop {
            let over = async {
                match until {
                    None => std::future::pending().await,
                    Some(until) => {
                        while now() < until {
                            tokio::time::sleep(Duration::from_secs(until - now().min(until)).min(LOOK)).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = changed.as_mut() => changed.set(self.changed()),
                () = pin!(over) => {}
            }
            // From here on another change is heard; what has changed until now is seen.
            changed.as_mut().enable();
            match self.ask() {
                Ok(next) => until = next,
                Err(refused) => return refused.code(),
            }
        }
    }
}

impl Pace for Right {
    fn took(&self, messages: u32, len: usize) -> Paced {
        let (held, now) = (self.held(), limits::now());
        let of_purse = held.purse.as_ref();
        let of_purse =
            of_purse.map_or(0, |purse| self.gate.firewall.took(now, purse, || self.seat.address(), messages, len));
        let Some(permit) = &held.permit else {
            return Paced { wait: Duration::from_nanos(of_purse.saturating_sub(now)), size_max: None };
        };
        let free_at = permit.took(now, messages, len).max(of_purse);
        Paced { wait: Duration::from_nanos(free_at.saturating_sub(now)), size_max: permit.size_max() }
    }
}
