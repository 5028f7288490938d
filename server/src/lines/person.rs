//! Who somebody is, by what he shows: a token behind AUTH or on the open line, what it makes of the session, and when that is over.
//!
//! ```text
//! evidence ─► tokens ─► (hook) ─► standing ─► seat ─► told, and whatever is open asks the policy again
//!               └── refused: told by its word; the session stays what it was
//! each second: its end is near ─► newer is asked for, once · its end ─► the device has what it has without
//! ```
//!
//! A session has one subject at most. Evidence of another one ends it: behind AUTH a fresh one takes its place, on the open line
//! it is closed. A device that nobody has let in may come by a token, and stays for as long as that is good.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use duologue::{AuthRequest, CloseCode, DeviceId, DeviceKey, Evidence, EvidenceKind, FreshReason, Outcome, Wanted};
use duologue_native::Line;

use super::{Duologue, beside::PassedOn, directory::Session, hooked::Turned, under_way::Judging, verdict::TurnedAway};
use crate::watch::events::{Event, Kind};
use crate::{
    door::{
        error::{DoorError, Refused},
        evidence::Transport,
        gate::now,
        hook::{Upgrade, Visit},
        seat::{Ending, Hooked, OtherSubject, Seat, Since},
        standing::{Proof, Standing},
        tokens::{DeviceBinding, KeyHashes, Tokens, Verified},
    },
    watch::text,
};

/// How long judging may take: keys may have to come from an issuer. A time of its own, behind an AUTH that has verified.
pub(super) const VERDICT: Duration = Duration::from_secs(5);
/// How often it is looked whose standing ends.
const SWEEP: Duration = Duration::from_secs(1);

/// What somebody has shown, what the owner's backend says of it where that is asked, and what it came to.
#[derive(Default)]
pub(super) struct Shown {
    /// Who signs out after this is signed out, whatever was being judged.
    pub(super) since: Since,
    /// Of the evidence; none if nothing was shown.
    pub(super) number: Option<u32>,
    /// What he is by it; none if nothing says who he is.
    pub(super) standing: Option<Standing>,
    /// Why it raises nothing.
    pub(super) refused: Option<DoorError>,
    pub(super) token: Option<Arc<Verified>>,
    /// What the backend has ruled.
    pub(super) hooked: Option<Hooked>,
    /// It was not asked, because the session that goes on has its ruling; what the next question is about.
    pub(super) keeps: Option<Arc<Visit>>,
}

impl Shown {
    /// Whether it says who somebody is.
    pub(super) const fn proves(&self) -> bool {
        self.standing.is_some()
    }

    /// Somebody has signed out while it was judged: it says nothing any more.
    fn is_thrown_away(&mut self) {
        (self.standing, self.token, self.refused) = (None, None, Some(DoorError::SignedOut));
        if let Some(hooked) = &mut self.hooked {
            hooked.token = None;
        }
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
        tokens.tell_to(self.watch());
        Arc::get_mut(&mut self.shared).expect("nobody else has it yet").tokens = Some(tokens);
        self
    }

    /// What a line keeps of its device's key, to judge what is shown on it later: nothing where nothing is taken.
    pub(super) fn key_hashes(&self, key: &DeviceKey) -> Option<KeyHashes> {
        self.shared.tokens.as_ref().map(|_| KeyHashes::of(key))
    }

    /// What an AUTH shows of its person, judged, and what the owner's backend says of him.
    pub(super) async fn shown(
        &self,
        request: &AuthRequest,
        transport: &Transport,
        upgrade: Upgrade,
        is_let_in: bool,
        since: Since,
    ) -> Result<Shown, Turned> {
        let begun = Instant::now();
        let mut shown = match request.evidence.last() {
            Some(evidence) => {
                let who = (request.device_id, transport.address);
                self.judge_evidence(who, || DeviceBinding::of(&request.device), evidence).await
            }
            None => Shown::default(),
        };
        shown.since = since;
        let left = VERDICT.saturating_sub(begun.elapsed());
        self.ask_at_connect(request, transport, upgrade, is_let_in, left, &mut shown).await?;
        Ok(shown)
    }

    async fn judge_evidence(
        &self,
        (device, address): (DeviceId, IpAddr),
        binding: impl FnOnce() -> DeviceBinding,
        evidence: &Evidence,
    ) -> Shown {
        let mut shown = Shown { number: Some(evidence.number), ..Shown::default() };
        match self.standing_by(device, binding, evidence).await {
            Ok((standing, token)) => (shown.standing, shown.token) = (Some(standing), Some(token)),
            Err(refused) => {
                if refused.error != DoorError::SignedOut {
                    // The particulars are the owner's; the word goes to whoever has shown it.
                    self.tell_refused(device, address, &refused);
                }
                shown.refused = Some(refused.error);
            }
        }
        shown
    }

    async fn standing_by(
        &self,
        device: DeviceId,
        binding: impl FnOnce() -> DeviceBinding,
        evidence: &Evidence,
    ) -> Result<(Standing, Arc<Verified>), Refused> {
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
        Ok((standing, verified))
    }

    /// The session of an AUTH, in which whoever has shown who he is sits now; and what its client is told.
    ///
    /// # Errors
    /// If its session is another subject's, and it cannot be told of a fresh one.
    pub(super) fn seat(
        &self,
        request: &AuthRequest,
        transport: &Transport,
        shown: &mut Shown,
        judging: &Judging<'_>,
    ) -> Result<(Session, Outcome), TurnedAway> {
        let (session, outcome) = self.find_session_for(request, transport, shown, judging)?;
        let goes_on = matches!(outcome, Outcome::Resumed { .. });
        if shown.keeps.is_some() && !goes_on {
            // It has ended since it was looked at. Whoever comes again is asked of.
            self.shared.directory.leave(request.device_id, session.id);
            return Err(CloseCode::Internal.into());
        }
        // In a session that goes on, what is not newer was judged before, or another has overtaken it.
        let is_news = |evidence: &Evidence| session.line.command(|line, _| line.is_newer(evidence));
        if goes_on && shown.hooked.is_none() && !request.evidence.last().is_some_and(is_news) {
            if let Some(visit) = &shown.keeps {
                self.asks_of(&session.seat, visit);
            }
            return Ok((session, outcome));
        }
        match self.sit(&session.seat, shown) {
            Ok(()) => Ok((session, outcome)),
            Err(OtherSubject) => self.seat_anew(request, transport, &session, shown, judging),
        }
    }

    /// The session of an AUTH. Where it is a new one, and somebody has signed out at its device while it was judged who this is, it is
    /// nobody's.
    fn find_session_for(
        &self,
        request: &AuthRequest,
        transport: &Transport,
        shown: &mut Shown,
        judging: &Judging<'_>,
    ) -> Result<(Session, Outcome), TurnedAway> {
        let (session, outcome) = self.find_session(request, transport, shown.standing.as_ref())?;
        let Some(standing) = shown.standing.as_ref().filter(|_| !matches!(outcome, Outcome::Resumed { .. })) else {
            return Ok((session, outcome));
        };
        if judging.is_thrown_away(standing.subject.as_ref()) {
            self.tell(Event::of(Kind::SignedOutMeanwhile).device(request.device_id));
            shown.is_thrown_away();
            session.seat.sign_out();
            // It is here as what its device is without, if it may be.
            self.stays(&session, DoorError::SignedOut.word()).inspect_err(|_| {
                self.shared.directory.leave(request.device_id, session.id);
            })?;
        }
        Ok((session, outcome))
    }

    /// Gives a session what somebody has shown, and what the owner's backend has ruled.
    pub(super) fn sit(&self, seat: &Seat, shown: &mut Shown) -> Result<(), OtherSubject> {
        if let Some(standing) = &shown.standing
            && !self.prove(seat, standing.clone(), shown.since)?
        {
            shown.is_thrown_away();
        }
        if let (Some(_), Some(token)) = (&shown.standing, &shown.token) {
            self.has_shown(seat, token);
        }
        match (&shown.hooked, &shown.keeps) {
            (Some(hooked), _) => {
                seat.rule(hooked.clone(), now());
                // Before it is counted anew as whoever it is now.
                seat.counts_on(&self.shared.directory.account(seat));
                self.shared.gate.has_changed(seat.device());
                self.watch_ends();
            }
            (None, Some(visit)) => self.asks_of(seat, visit),
            (None, None) => {}
        }
        Ok(())
    }

    /// A session goes on over a connection of which the hook is to be asked.
    fn asks_of(&self, seat: &Seat, visit: &Arc<Visit>) {
        seat.asks_of(Arc::clone(visit));
        seat.counts_on(&self.shared.directory.account(seat));
    }

    /// The session is another's: it ends, and nothing of it is carried over.
    fn seat_anew(
        &self,
        request: &AuthRequest,
        transport: &Transport,
        session: &Session,
        shown: &mut Shown,
        judging: &Judging<'_>,
    ) -> Result<(Session, Outcome), TurnedAway> {
        let device = request.device_id;
        self.tell(Event::of(Kind::SubjectChanged).device(device));
        self.shared.directory.bury(device, session.id, &session.line, FreshReason::Subject);
        match request.wanted {
            Wanted::Resume(_) => {
                let (session, _) = self.find_session_for(request, transport, shown, judging)?;
                self.sit(&session.seat, shown).map_err(|OtherSubject| CloseCode::SubjectChanged)?;
                Ok((session, Outcome::Fresh(FreshReason::Subject)))
            }
            // Its first AUTH began that session, and what came with it may have been heard: it must not be sent again as another's.
            Wanted::Born(_) => Err(CloseCode::SubjectChanged.into()),
        }
    }

    fn tell_refused(&self, device: DeviceId, address: IpAddr, refused: &Refused) {
        let event = |kind| Event::of(kind).device(device).address(address).code(refused.error.word());
        self.tell(event(Kind::TokenRefused).note(&*refused.detail));
        if refused.error == DoorError::TokenNotYet {
            self.tell(event(Kind::ClockImpossible));
        }
    }

    /// False if somebody has signed out since it was shown.
    fn prove(&self, seat: &Seat, standing: Standing, since: Since) -> Result<bool, OtherSubject> {
        if !seat.prove_since(standing.clone(), since)? {
            self.tell(Event::of(Kind::SignedOutMeanwhile).device(seat.device()));
            return Ok(false);
        }
        if let Proof::Token { id, .. } = &standing.proof {
            let until = standing.until.map(|until| format!(" until={until}")).unwrap_or_default();
            let note = format!("level={}{until} token={:?}", standing.level.number(), text::shown(id));
            let event = Event::of(Kind::TokenTaken).device(seat.device()).address(seat.address());
            self.tell(event.subject(standing.subject.as_ref()).note(note));
        }
        // Found by its new name from here on; so, looked at once more: a revocation that came before has not found this session.
        self.shared.gate.has_changed(seat.device());
        if self.shared.gate.is_revoked(&standing) {
            seat.sign_out();
            self.shared.gate.has_changed(seat.device());
        }
        self.watch_ends();
        Ok(true)
    }

    /// What is shown on an open line.
    pub(super) async fn take_evidence(&self, seat: &Seat, key: Option<&KeyHashes>, line: &Line, evidence: &Evidence) {
        let (begun, since) = (Instant::now(), Since::now());
        let mut shown = match key {
            Some(key) => self.judge_evidence((seat.device(), seat.address()), || key.binding(), evidence).await,
            None => {
                let is_sign_out = evidence.kind == EvidenceKind::SignOut;
                let refused = if is_sign_out { DoorError::SignedOut } else { DoorError::TokenNotTaken };
                Shown { number: Some(evidence.number), refused: Some(refused), ..Shown::default() }
            }
        };
        shown.since = since;
        if shown.proves() {
            let left = VERDICT.saturating_sub(begun.elapsed());
            if let Err(Turned { code, words }) = self.ask_of_evidence(seat, left, &mut shown).await {
                self.tell(Event::of(Kind::HookTurnedOut).device(seat.device()).code(code.word()));
                return line.close(code, &words);
            }
        }
        seat.judged_by(evidence.number);
        if shown.refused == Some(DoorError::SignedOut) {
            return self.sign_out(seat);
        }
        if self.sit(seat, &mut shown) == Err(OtherSubject) {
            self.tell(Event::of(Kind::SubjectChanged).device(seat.device()));
            return line.close(CloseCode::SubjectChanged, "");
        }
        line.command(|line, _| line.tell(&seat.told(shown.refused, false)));
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
    /// sits down there finds them too; and its tickets go. What was shown there before, and is judged still, counts no more.
    fn sign_out(&self, seat: &Seat) {
        let (device, subject) = (seat.device(), seat.subject());
        self.tell(Event::of(Kind::SignedOut).device(device).subject(subject.as_ref()));
        self.shared.tickets.forget(device);
        self.write_tickets_soon();
        // Before the directory is looked through: whoever is not in it yet finds it there.
        self.shared.under_way.sign_out(device, subject.as_ref());
        let own = self.shared.directory.sessions_of(device).into_iter();
        let (own, others): (Vec<_>, Vec<_>) = own.partition(|session| session.seat.subject() == subject);
        own.iter().for_each(|session| session.seat.sign_out());
        self.has_left(device);
        // Where it is being judged who it is, it may be the same person.
        others.iter().filter(|it| it.seat.subject().is_none()).for_each(|it| it.seat.throw_away());
        self.shared.gate.forget_answers_of(device);
        // Each is told why, before whatever is open there asks again.
        own.iter().for_each(|session| self.has_fallen(session, DoorError::SignedOut));
    }

    /// Somebody signs out at a device, which is kept: by another server of this state, where that has the store.
    pub(super) fn has_left(&self, device: DeviceId) {
        let store = self.shared.state.store();
        store.note_signed_out(device);
        if store.is_handed_over() {
            self.pass_on(PassedOn::SignedOut(device.0));
        }
    }

    /// Looks each second whose standing ends, while there is anybody's that does.
    pub(super) fn watch_ends(&self) {
        if self.shared.ends_are_watched.swap(true, Ordering::SeqCst) {
            return;
        }
        let own = self.downgrade();
        self.shared.connections.spawn(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                // An app that has dropped its server has nobody left.
                let Some(own) = own.upgrade() else { return };
                if own.shared.draining.load(Ordering::Relaxed) || !own.look_for_ends(now()) {
                    own.shared.ends_are_watched.store(false, Ordering::SeqCst);
                    // Looked at once more: what was proved in between was told that somebody looks.
                    let is_any = !own.shared.draining.load(Ordering::Relaxed) && own.look_for_ends(now());
                    if !is_any || own.shared.ends_are_watched.swap(true, Ordering::SeqCst) {
                        return;
                    }
                }
            }
        });
    }

    /// Tells those whose standing ends soon or has ended. False if nobody's will.
    fn look_for_ends(&self, now: u64) -> bool {
        let mut is_any = false;
        self.shared.directory.for_each(|session| {
            is_any |= self.looks_after_ruling(&session, now);
            match session.seat.look(now) {
                // Of what the backend has said there is nothing newer to be shown.
                Some(Ending::Later | Ending::Soon { of_token: false }) => is_any = true,
                Some(Ending::Soon { of_token: true }) => {
                    is_any = true;
                    session.line.command(|line, _| line.tell(&session.seat.told(None, true)));
                }
                Some(Ending::Now { of_token }) => {
                    let why = if of_token { DoorError::TokenExpired } else { DoorError::StandingExpired };
                    self.tell(Event::of(Kind::StandingEnded).device(session.seat.device()).code(why.word()));
                    self.has_fallen(&session, why);
                }
                None => {}
            }
        });
        is_any
    }
}

/// What a client is told with AUTH_OK. What was not shown is not refused.
pub(super) fn told_first(seat: &Seat, shown: &Shown) -> duologue::Standing {
    if let Some(number) = shown.number {
        seat.judged_by(number);
    }
    seat.told(shown.refused.filter(|_| shown.number.is_some()), false)
}
