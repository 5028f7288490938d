//! The hook at work: when the owner's backend is asked of somebody, and what its answer makes of his session.
//!
//! ```text
//! a new session, or evidence that is new ─► asked ─┬─ refused ──► turned away, with its words
//! a session goes on while its ruling holds ─► not  ├─ ruled ────► standing, and the most that the key gives
//! a minute before the ruling ends ──────────► asked └─ no answer ► nobody new comes in, and whoever is in has what he had
//! ```

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use duologue::{AuthRequest, CloseCode, DeviceId, Wanted};

use super::{
    Duologue,
    directory::Session,
    person::{Shown, VERDICT},
};
use crate::watch::events::{Event, Kind};
use crate::{
    door::{
        error::DoorError,
        evidence::Transport,
        gate::now,
        hook::{Answer, Caller, Ceiling, Hook, Question, Ruled, Ruling, Upgrade, Visit, Whose},
        seat::{Hooked, OtherSubject, Seat, Since},
        standing::Standing,
    },
    watch::text,
};

/// Somebody whom the owner's backend turns away, or of whom it could not be asked.
#[derive(Debug)]
pub(super) struct Turned {
    pub(super) code: CloseCode,
    /// For the person.
    pub(super) words: String,
}

/// Of whom the hook is asked.
struct Of<'a> {
    device: DeviceId,
    /// By its key.
    has: &'a Standing,
    transport: &'a Transport,
    visit: Arc<Visit>,
    /// In whose session, if that was there before.
    live: Option<&'a Seat>,
    whose: Whose,
}

impl Duologue {
    /// Asks this hook of everybody who connects.
    ///
    /// # Panics
    /// If the server is in use: it is to be called before it is cloned or mounted.
    #[must_use]
    pub fn hook(mut self, hook: Hook) -> Self {
        let shared = Arc::get_mut(&mut self.shared).expect("nobody else has it yet");
        shared.gate.ask_by(hook);
        self
    }

    /// Asks of somebody who connects, and puts the answer beside what he has shown.
    pub(super) async fn ask_at_connect(
        &self,
        request: &AuthRequest,
        transport: &Transport,
        upgrade: Upgrade,
        is_let_in: bool,
        time: Duration,
        shown: &mut Shown,
    ) -> Result<(), Turned> {
        let Some(hook) = self.shared.gate.hook() else { return Ok(()) };
        let device = request.device_id;
        let visit = Visit::new(upgrade, request.claims.clone());
        let live = self.going_on(request);
        let is_newer = |session: &Session| {
            request.evidence.last().is_some_and(|evidence| session.line.command(|line, _| line.is_newer(evidence)))
        };
        let is_news = shown.standing.is_some() && live.as_ref().is_some_and(is_newer);
        if live.as_ref().is_some_and(|session| session.seat.is_ruled(now())) && !is_news {
            // Nobody is asked while standing is in date: a backend that is down logs nobody out.
            shown.keeps = Some(visit);
            return Ok(());
        }
        if let Some(session) = live.as_ref().filter(|_| !is_news && shown.standing.is_some()) {
            // It was judged before: what is left of it is what the session has. Somebody may have signed out since, or a newer
            // one may have come.
            let token = session.seat.hooked().and_then(|hooked| hooked.token);
            shown.token = token.filter(|token| !token.worth().is_over(now()));
            shown.standing = shown.token.as_ref().map(|token| token.worth());
        }
        let has = self.has(device);
        let is_known = is_let_in || shown.standing.is_some();
        let whose = match is_known {
            true => Whose::Known,
            false if self.may_come_as_guest(request, transport) => Whose::Guest { again: false },
            false => Whose::Stranger,
        };
        let seat = live.as_ref().map(|session| &*session.seat);
        let of = Of { device, has: has.standing(), transport, visit, live: seat, whose };
        let asked = self.ask(hook, of, time, shown).await;
        if let (Err(Turned { code: code @ CloseCode::HookRefused, words }), Some(session)) = (&asked, live) {
            // Whoever may not come back has nothing left here that goes on without him.
            self.shared.directory.end(&session, *code, words);
        }
        asked
    }

    /// Asks of evidence that was taken on an open line.
    pub(super) async fn ask_of_evidence(&self, seat: &Seat, time: Duration, shown: &mut Shown) -> Result<(), Turned> {
        self.ask_in_session(seat, Whose::Known, time, shown).await
    }

    async fn ask_in_session(&self, seat: &Seat, whose: Whose, time: Duration, shown: &mut Shown) -> Result<(), Turned> {
        let (Some(hook), Some(Hooked { visit, .. })) = (self.shared.gate.hook(), seat.hooked()) else { return Ok(()) };
        let (has, transport) = (seat.by_key(), seat.transport());
        let of = Of { device: seat.device(), has: &has, transport: &transport, visit, live: Some(seat), whose };
        self.ask(hook, of, time, shown).await
    }

    /// The session that an AUTH wants to go on with, if it is there.
    pub(super) fn going_on(&self, request: &AuthRequest) -> Option<Session> {
        let directory = &self.shared.directory;
        match request.wanted {
            Wanted::Resume(resume) => directory.resume(request.device_id, resume.session_id).ok(),
            Wanted::Born(_) if request.attempt == 1 => None,
            Wanted::Born(birth) => directory.born(request.device_id, birth),
        }
    }

    async fn ask(&self, hook: &Hook, of: Of<'_>, time: Duration, shown: &mut Shown) -> Result<(), Turned> {
        let Of { device, has, transport, visit, live, whose } = of;
        let signed_out_at = self.shared.state.store().signed_out_at(device);
        let question = Question::new(device, has, signed_out_at, shown.token.as_deref(), transport, &visit);
        let cookies_prove = hook.cookies_prove_of(&question);
        if whose == Whose::Stranger && !cookies_prove {
            // Nothing that could be answered would let him in. Should he show who he is, it is asked then.
            let (answer, token, until) = (None, None, u64::MAX);
            shown.hooked = Some(Hooked { visit, answer, token, ceiling: Ceiling::default(), until, is_owed: false });
            return Ok(());
        }
        let answer = match hook.ask(&question, whose, time).await {
            Ok(answer) => answer,
            Err(refused) => {
                let (code, detail) = (refused.error.word(), text::shown(&refused.detail));
                self.tell(Event::of(Kind::HookSilent).device(device).code(code).note(&detail));
                return without_answer(hook, refused.error, visit, live, shown);
            }
        };
        let token = shown.token.as_ref().map(|token| token.worth());
        let caller = Caller { has, token: token.as_ref(), cookies_prove };
        match answer.rule(&caller, now(), hook.max_age()) {
            Ruling::Refused(words) => Err(Turned { code: CloseCode::HookRefused, words }),
            Ruling::Ruled(ruled) => {
                if ruled.names_stranger {
                    let code = DoorError::HookStranger.word();
                    self.tell(Event::of(Kind::HookMisnamed).device(device).code(code));
                }
                self.has_ruled(ruled, Some(answer), visit, shown);
                // A cookie that lives longer than the word of its person says nothing against that.
                let is_out = shown.refused == Some(DoorError::SignedOut) || live.is_some_and(Seat::is_signed_out);
                if is_out && shown.token.is_none() {
                    shown.standing = None;
                }
                Ok(())
            }
        }
    }

    fn has_ruled(&self, ruled: Ruled, answer: Option<Arc<Answer>>, visit: Arc<Visit>, shown: &mut Shown) {
        let Ruled { standing, ceiling, until, .. } = ruled;
        match standing {
            Some(Ok(standing)) if self.shared.gate.is_revoked(&standing) => {
                (shown.standing, shown.refused) = (None, Some(DoorError::TokenRevoked));
            }
            Some(Ok(standing)) => shown.standing = Some(standing),
            Some(Err(error)) => (shown.standing, shown.refused) = (None, Some(error)),
            None => {}
        }
        shown.hooked = Some(Hooked { visit, answer, token: shown.token.clone(), ceiling, until, is_owed: false });
    }

    /// Asks again, shortly before what was ruled of a session ends, so that whoever stays need not connect again.
    pub(super) fn ask_again(&self, session: Session) {
        let own = self.clone();
        self.shared.connections.spawn(async move {
            let Session { id, line, seat } = session;
            let (since, proved) = (Since::now(), seat.proved());
            let Some(before) = seat.hooked() else { return };
            let token = before.token.clone().filter(|token| !token.worth().is_over(now()));
            let standing = token.as_ref().map(|token| token.worth());
            let mut shown = Shown { since, standing, token, ..Shown::default() };
            let whose = if seat.is_guest() { Whose::Guest { again: true } } else { Whose::Again };
            let turned = own.ask_in_session(&seat, whose, VERDICT, &mut shown).await;
            if let Err(Turned { code, words }) = turned {
                own.tell(Event::of(Kind::HookTurnedOut).device(seat.device()).code(code.word()));
                own.shared.directory.leave(seat.device(), id);
                return line.close(code, &words);
            }
            // One that has said nothing changes nothing; what was proved meanwhile is newer; and who has signed out stays so.
            let says_nothing = shown.hooked.as_ref().is_none_or(|hooked| hooked.is_owed);
            let is_it = |newest: Arc<Standing>| proved.as_ref().is_some_and(|proved| Arc::ptr_eq(proved, &newest));
            let is_older = seat.proved().is_some_and(|newest| !is_it(newest));
            if says_nothing || (shown.standing.is_some() && (is_older || seat.is_signed_out())) {
                return;
            }
            match own.sit(&seat, &mut shown) {
                Ok(()) => line.command(|line, _| line.tell(&seat.told(None, false))),
                Err(OtherSubject) => line.close(CloseCode::SubjectChanged, ""),
            }
        });
    }

    /// Looks whether the hook is to be asked again of a session that has a connection. False if it is asked of none.
    pub(super) fn looks_after_ruling(&self, session: &Session, now: u64) -> bool {
        if self.shared.draining.load(Ordering::Relaxed) {
            return false;
        }
        if session.line.command(|line, _| line.is_parked()) {
            // It is asked when it comes back, if it does.
            return session.seat.hooked().is_some();
        }
        match session.seat.takes_question(now) {
            Some(true) => {
                self.ask_again(session.clone());
                true
            }
            Some(false) => true,
            None => false,
        }
    }
}

/// The hook has not answered: nothing new is given, and nothing taken away.
fn without_answer(
    hook: &Hook,
    error: DoorError,
    visit: Arc<Visit>,
    live: Option<&Seat>,
    shown: &mut Shown,
) -> Result<(), Turned> {
    let now = now();
    let before = live.and_then(Seat::hooked);
    // A newer token of the same person has what was ruled of the older one, as long as that holds.
    let ruled = before.as_ref().and_then(|before| {
        let (answer, token) = (before.answer.as_ref().filter(|_| before.until > now)?, shown.token.as_ref()?);
        let is_same = before.token.as_ref().is_some_and(|old| old.subject == token.subject);
        let worth = token.worth();
        let has = live?.by_key();
        let caller = Caller { has: &has, token: Some(&worth), cookies_prove: false };
        match answer.rule(&caller, now, hook.max_age()) {
            Ruling::Ruled(ruled) if is_same => Some(ruled),
            _ => None,
        }
    });
    match (before, ruled) {
        (Some(before), Some(ruled)) => {
            shown.standing = ruled.standing.and_then(Result::ok);
            let (token, until) = (shown.token.clone(), before.until);
            shown.hooked = Some(Hooked { visit, token, ceiling: ruled.ceiling, until, is_owed: true, ..before });
            return Ok(());
        }
        // What was ruled stays.
        (Some(before), None) => {
            shown.keeps = Some(Arc::clone(&visit));
            if let Some(token) = &shown.token {
                shown.hooked = Some(Hooked { visit, token: Some(Arc::clone(token)), is_owed: true, ..before });
            }
        }
        (None, _) if live.is_none() && !hook.lets_devices_in_without() => {
            return Err(Turned { code: CloseCode::Internal, words: error.word().to_owned() });
        }
        // It is asked again in a while.
        (None, _) => {
            let (answer, token) = (None, shown.token.clone());
            let ceiling = Ceiling::default();
            shown.hooked = Some(Hooked { visit, answer, token, ceiling, until: now, is_owed: true });
        }
    }
    if shown.standing.take().is_some() {
        shown.refused = Some(error);
    }
    Ok(())
}
