//! Who somebody is, by what he shows: a token behind AUTH or on the open line, what it makes of the session, and when that is over.
//!
//! ```text
//! evidence ─► tokens ─► standing ─► seat ─► told, and whatever is open asks the policy again
//!               └── refused: told by its word; the session stays what it was
//! each second: its end is near ─► newer is asked for, once · its end ─► the device has what it has without
//! ```
//!
//! A session has one subject at most. Evidence of another one ends it: behind AUTH a fresh one takes its place, on the open line
//! it is closed. A device that nobody has let in may come by a token, and stays for as long as that is good.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use duologue::{AuthRequest, CloseCode, DeviceId, DeviceKey, Evidence, EvidenceKind, FreshReason, Outcome, Wanted};
use duologue_native::Line;

use super::{Duologue, Shared, directory::Session};
use crate::{
    door::{
        error::{DoorError, Refused},
        evidence::Transport,
        gate::now,
        seat::{Ending, OtherSubject, Seat},
        standing::{Proof, Standing},
        tokens::{DeviceBinding, KeyHashes, Tokens},
    },
    watch::text,
};

/// How long judging may take: keys may have to come from an issuer. A time of its own, behind an AUTH that has verified.
const VERDICT: Duration = Duration::from_secs(5);
/// How often it is looked whose standing ends.
const SWEEP: Duration = Duration::from_secs(1);

/// What somebody has shown, and what it came to.
pub(super) struct Shown {
    number: u32,
    came_to: Result<Standing, DoorError>,
}

impl Shown {
    /// Whether it says who somebody is.
    pub(super) const fn proves(&self) -> bool {
        self.came_to.is_ok()
    }
}

impl Duologue {
    /// Takes tokens: whoever brings one that is good has the standing that it gives for as long as it lasts, also from a device
    /// that nobody has let in.
    ///
    /// # Panics
    /// If the server is in use: it is to be called before it is cloned or mounted.
    #[must_use]
    pub fn tokens(mut self, tokens: Tokens) -> Self {
        Arc::get_mut(&mut self.shared).expect("nobody else has it yet").tokens = Some(tokens);
        self
    }

    /// What a line keeps of its device's key, to judge what is shown on it later: nothing where nothing is taken.
    pub(super) fn key_hashes(&self, key: &DeviceKey) -> Option<KeyHashes> {
        self.shared.tokens.as_ref().map(|_| KeyHashes::of(key))
    }

    /// What an AUTH shows of its person, judged; none if it shows nothing.
    pub(super) async fn shown(&self, request: &AuthRequest) -> Option<Shown> {
        let evidence = request.evidence.last()?;
        Some(self.judge_evidence(request.device_id, || DeviceBinding::of(&request.device), evidence).await)
    }

    async fn judge_evidence(
        &self,
        device: DeviceId,
        binding: impl FnOnce() -> DeviceBinding,
        evidence: &Evidence,
    ) -> Shown {
        let came_to = self.standing_by(device, binding, evidence).await.map_err(|refused| {
            if refused.error == DoorError::SignedOut {
                return refused.error;
            }
            // The particulars are the owner's; the word goes to whoever has shown it.
            tracing::info!(%device, code = refused.error.word(), detail = text::shown(&refused.detail), "a token was not taken");
            refused.error
        });
        Shown { number: evidence.number, came_to }
    }

    async fn standing_by(
        &self,
        device: DeviceId,
        binding: impl FnOnce() -> DeviceBinding,
        evidence: &Evidence,
    ) -> Result<Standing, Refused> {
        let tokens = match (&self.shared.tokens, evidence.kind) {
            (_, EvidenceKind::SignOut) => return Err(DoorError::SignedOut.into()),
            (Some(tokens), EvidenceKind::Token) => tokens,
            _ => return Err(DoorError::TokenNotTaken.into()),
        };
        let verified = tokio::time::timeout(VERDICT, tokens.verify(evidence.data(), now())).await;
        let verified = verified.unwrap_or_else(|_| Err(DoorError::TokenKeysUnreachable.because("it took too long")))?;
        let standing = verified.standing(&binding(), now())?;
        if self.shared.gate.is_revoked(&standing) {
            return Err(DoorError::TokenRevoked.into());
        }
        let owner = self.shared.state.store().known(device).subject;
        let is_of_another = |owner: Arc<str>| standing.subject.as_ref().is_none_or(|own| own.as_str() != &*owner);
        if owner.is_some_and(is_of_another) {
            return Err(DoorError::DeviceOfAnotherSubject.into());
        }
        Ok(standing)
    }

    /// The session of an AUTH, in which whoever has shown who he is sits now; and what its client is told.
    ///
    /// # Errors
    /// If its session is another subject's, and it cannot be told of a fresh one.
    pub(super) fn seat(
        &self,
        request: &AuthRequest,
        transport: &Transport,
        shown: Option<&Shown>,
    ) -> Result<(Session, Outcome), CloseCode> {
        let (session, outcome) = self.find_session(request, transport);
        let Some(Shown { came_to: Ok(standing), .. }) = shown else { return Ok((session, outcome)) };
        // In a session that goes on, what is not newer was judged before, or another has overtaken it.
        let is_news = |evidence: &Evidence| session.line.command(|line, _| line.is_newer(evidence));
        if matches!(outcome, Outcome::Resumed { .. }) && !request.evidence.last().is_some_and(is_news) {
            return Ok((session, outcome));
        }
        match self.prove(&session.seat, standing.clone()) {
            Ok(()) => Ok((session, outcome)),
            Err(OtherSubject) => self.seat_anew(request, transport, &session, standing),
        }
    }

    /// The session is another's: it ends, and nothing of it is carried over.
    fn seat_anew(
        &self,
        request: &AuthRequest,
        transport: &Transport,
        session: &Session,
        standing: &Standing,
    ) -> Result<(Session, Outcome), CloseCode> {
        let device = request.device_id;
        tracing::info!(%device, "somebody else has signed in: the session that was there is over");
        self.shared.directory.bury(device, session.id, &session.line, FreshReason::Subject);
        match request.wanted {
            Wanted::Resume(_) => {
                let (session, _) = self.find_session(request, transport);
                self.prove(&session.seat, standing.clone()).map_err(|OtherSubject| CloseCode::SubjectChanged)?;
                Ok((session, Outcome::Fresh(FreshReason::Subject)))
            }
            // Its first AUTH began that session, and what came with it may have been heard: it must not be sent again as another's.
            Wanted::Born(_) => Err(CloseCode::SubjectChanged),
        }
    }

    fn prove(&self, seat: &Seat, standing: Standing) -> Result<(), OtherSubject> {
        if let Proof::Token { id, .. } = &standing.proof {
            let (device, until) = (seat.device(), standing.until);
            tracing::info!(%device, subject = standing.subject.as_ref().map(ToString::to_string), level = standing.level.number(), until, token = text::shown(id), "a token was taken");
        }
        seat.prove(standing.clone())?;
        // Looked at once more: a revocation that came in between has not found this session.
        if self.shared.gate.is_revoked(&standing) {
            seat.sign_out();
        }
        self.shared.gate.has_changed(seat.device());
        self.watch_ends();
        Ok(())
    }

    /// What is shown on an open line.
    pub(super) async fn take_evidence(&self, seat: &Seat, key: Option<&KeyHashes>, line: &Line, evidence: &Evidence) {
        let shown = match key {
            Some(key) => self.judge_evidence(seat.device(), || key.binding(), evidence).await,
            None if evidence.kind == EvidenceKind::SignOut => {
                Shown { number: evidence.number, came_to: Err(DoorError::SignedOut) }
            }
            None => Shown { number: evidence.number, came_to: Err(DoorError::TokenNotTaken) },
        };
        let Shown { number, came_to } = shown;
        seat.judged_by(number);
        let refused = match came_to {
            Ok(standing) => match self.prove(seat, standing) {
                Ok(()) => None,
                Err(OtherSubject) => {
                    let device = seat.device();
                    tracing::info!(%device, "somebody else has signed in: the line that was there is over");
                    return line.close(CloseCode::SubjectChanged, "");
                }
            },
            Err(DoorError::SignedOut) => return self.sign_out(seat),
            Err(error) => Some(error),
        };
        line.command(|line, _| line.tell(&seat.told(refused, false)));
    }

    /// Whether this AUTH brings the word that its person signs out; then that is done, also where its session was somebody's who
    /// may come no more.
    pub(super) fn hear_sign_out(&self, request: &AuthRequest) -> bool {
        let Some(evidence) = request.evidence.last().filter(|evidence| evidence.kind == EvidenceKind::SignOut) else {
            return false;
        };
        let Wanted::Resume(wanted) = request.wanted else { return false };
        let mut own = self.shared.directory.sessions_of(request.device_id).into_iter();
        // Where it was heard before, somebody may have signed in since, in another session.
        let session = own.find(|session| session.id == wanted.session_id);
        let session = session.filter(|session| session.line.command(|line, _| line.is_newer(evidence)));
        if let Some(session) = &session {
            self.sign_out(&session.seat);
        }
        session.is_some()
    }

    /// Somebody signs out: all sessions of the device that are the same subject's fall to what it has without, since the next who
    /// sits down there finds them too; and its tickets go.
    fn sign_out(&self, seat: &Seat) {
        let (device, subject) = (seat.device(), seat.subject());
        tracing::info!(%device, subject = subject.as_ref().map(ToString::to_string), "somebody has signed out");
        self.shared.tickets.forget(device);
        self.write_tickets_soon();
        let own = self.shared.directory.sessions_of(device).into_iter();
        let own: Vec<_> = own.filter(|session| session.seat.subject() == subject).collect();
        own.iter().for_each(|session| session.seat.sign_out());
        own.iter().for_each(|session| self.shared.has_fallen(session, DoorError::SignedOut));
    }

    /// Looks each second whose standing ends, while there is anybody's that does.
    fn watch_ends(&self) {
        if self.shared.ends_are_watched.swap(true, Ordering::Relaxed) {
            return;
        }
        let shared = Arc::downgrade(&self.shared);
        self.shared.connections.spawn(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                // An app that has dropped its server has nobody left.
                let Some(shared) = Weak::upgrade(&shared) else { return };
                if shared.draining.load(Ordering::Relaxed) || !shared.look_for_ends(now()) {
                    shared.ends_are_watched.store(false, Ordering::Relaxed);
                    return;
                }
            }
        });
    }
}

impl Shared {
    /// Tells those whose standing ends soon or has ended. False if nobody's will.
    fn look_for_ends(&self, now: u64) -> bool {
        let mut is_any = false;
        for session in self.directory.sessions(|_| true) {
            match session.seat.look(now) {
                Some(Ending::Later) => is_any = true,
                Some(Ending::Soon) => {
                    is_any = true;
                    session.line.command(|line, _| line.tell(&session.seat.told(None, true)));
                }
                Some(Ending::Now) => {
                    let device = session.seat.device();
                    tracing::info!(%device, "a token has ended, and with it what it gave");
                    self.has_fallen(&session, DoorError::TokenExpired);
                }
                None => {}
            }
        }
        is_any
    }

    /// What was proved in a session is over: its client is told, and put out if it was here by that alone.
    fn has_fallen(&self, Session { id, line, seat }: &Session, why: DoorError) {
        let device = seat.device();
        self.gate.has_changed(device);
        if self.state.store().status(device).is_none() {
            self.directory.leave(device, *id);
            line.close(CloseCode::NotEnrolled, why.word());
        } else {
            line.command(|line, _| line.tell(&seat.told(Some(why), false)));
        }
    }
}

/// What a client is told with AUTH_OK.
pub(super) fn told_first(seat: &Seat, shown: Option<&Shown>) -> duologue::Standing {
    if let Some(Shown { number, .. }) = shown {
        seat.judged_by(*number);
    }
    seat.told(shown.and_then(|shown| shown.came_to.as_ref().err().copied()), false)
}
