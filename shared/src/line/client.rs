//! The client's line: it dials, and dials again.
//!
//! ```text
//! first    dial ─► M2 ─► AUTH(session) ─► AUTH_OK ─► open            a failure before that ends the line, unless it may wait
//! no M2    the socket opened, and 2 s later, or at its end, nothing had come: dial once more, with M1 as a message
//! lost     backoff with full jitter, or the slot that DRAIN gave ─► dial ─► …
//! aged     54 to 60 min: dial beside the carrier ─► M2 ─► the session moves ─► AUTH ─► the old connection is dropped
//! ```
//!
//! The session moves into a connection when its AUTH is written, since AUTH states what was received until then.

use core::{mem, time::Duration};

use alloc::{boxed::Box, string::String, vec::Vec};

use super::{Altered, ConnectionNo, Line, LineEvent, LineState};
use crate::{
    close::CloseCode,
    connection::{ClientConfig, Connection, Event, Offer, UpgradeForm},
    crypto::Randomness,
    error::{BadEvidence, ConnectionError, PeerMisbehaved},
    handshake::{auth::DeviceKey, evidence::EvidenceKind},
    ids::ServerKey,
    limits::{
        BACKOFF_FIRST_MILLIS, BACKOFF_MAX_MILLIS, FORGERIES_MAX, KEYS_TTL_MAX_SECS, KEYS_TTL_MIN_SECS,
        RETRY_AFTER_MAX_SECS, WAKE_MILLIS, WAKE_QUIET_SECS,
    },
    session::{Role, Session},
    time::Instant,
};

/// A connection that wants a socket.
#[derive(Debug)]
pub struct Dialled {
    /// How the line calls it.
    pub no: ConnectionNo,
    /// The subprotocols to offer in the upgrade request; M1 is in them.
    pub offer: Vec<String>,
}

/// What a client needs to dial again.
#[derive(Debug)]
pub(super) struct Redial {
    config: ClientConfig,
    /// The server's other key: the one that has worked last, until the newer one was tried.
    other_key: Option<ServerKey>,
    /// The one that was dialled for last.
    dialled: Option<ServerKey>,
    /// For jitter only.
    chance: u64,
    /// Failures since the line was open last.
    failures: u32,
    /// In a row, M2s that were not made with the pinned key.
    strangers: u8,
    /// When to dial.
    at: Option<Instant>,
    /// `DialWanted` is out.
    asked: bool,
    /// When the carrier's keys are too old.
    keys_until: Option<Instant>,
    /// When to come back to a server that stops, counted from its end.
    slot: Option<Duration>,
    ever_open: bool,
    /// A first connection that fails is dialled again like any other.
    first_try_waits: bool,
    /// That of the connection on its way, or of the next.
    form: UpgradeForm,
    /// The one that brought the last M2.
    good_form: UpgradeForm,
    /// When the device woke last.
    woken: Option<Instant>,
    /// Nobody is here who could sign.
    away: bool,
    /// What somebody on the way was found to have altered.
    pub(super) altered: Option<Altered>,
}

impl Redial {
    /// SplitMix64: evenly spread is all that is asked of it.
    fn below(&mut self, bound: u64) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    /// Full jitter: anything from at once to a bound that doubles with each failure.
    fn backoff(&mut self) -> Duration {
        let bound = BACKOFF_FIRST_MILLIS.checked_shl(self.failures.min(16)).unwrap_or(u64::MAX).min(BACKOFF_MAX_MILLIS);
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(self.below(bound))
    }
}

impl Line {
    /// A client's line. It wants to dial at once. `chance` is any number that differs from client to client: it spreads
    /// their redials.
    #[must_use]
    pub fn client(config: ClientConfig, chance: u64) -> Self {
        Self::with_session(config, chance, Session::new(Role::Client, None), false)
    }

    /// A client's line that goes on with a session of [`Session::revive`], and dials until the server says what it knows of that.
    #[must_use]
    pub fn reviving(config: ClientConfig, chance: u64, session: Session) -> Self {
        Self::with_session(config, chance, session, true)
    }

    fn with_session(config: ClientConfig, chance: u64, session: Session, ever_open: bool) -> Self {
        let redial = Redial {
            config,
            other_key: None,
            dialled: None,
            chance,
            failures: 0,
            strangers: 0,
            at: None,
            asked: true,
            keys_until: None,
            slot: None,
            ever_open,
            first_try_waits: false,
            form: UpgradeForm::M1InRequest,
            good_form: UpgradeForm::M1InRequest,
            woken: None,
            away: false,
            altered: None,
        };
        let mut line = Self::new(LineState::Connecting, session, Some(redial));
        line.events.push_back(LineEvent::DialWanted);
        line
    }

    /// A first connection that cannot be made is waited for as a lost one is: the line dials until it is let in, refused, or
    /// closed.
    #[must_use]
    pub fn with_first_try_that_waits(mut self) -> Self {
        if let Some(redial) = &mut self.redial {
            redial.first_try_waits = true;
        }
        self
    }

    /// Beside the pinned key, which is the newer one and has not worked yet, another that has: it is tried where that does not.
    #[must_use]
    pub fn with_older_key(mut self, older: ServerKey) -> Self {
        if let Some(redial) = &mut self.redial {
            redial.other_key = Some(older);
        }
        self
    }

    /// Dials from now on for a newer key of the server's, which its owner has signed; and, until that has worked, for the one of
    /// before, where that does not.
    pub fn follow_key(&mut self, newer: ServerKey, has_worked: bool) {
        let Some(redial) = &mut self.redial else { return };
        let older = mem::replace(&mut redial.config.server_key, newer);
        if has_worked {
            redial.other_key = None;
        } else if older != newer {
            redial.other_key = Some(older);
        }
    }

    /// From the first dial on M1 leaves as a message: one round trip more, for a path that refuses long headers.
    #[must_use]
    pub fn with_m1_as_message(mut self) -> Self {
        if let Some(redial) = &mut self.redial {
            (redial.form, redial.good_form) = (UpgradeForm::M1AsMessage, UpgradeForm::M1AsMessage);
        }
        self
    }

    /// Answers [`LineEvent::DialWanted`]: a connection for a socket that the driver opens.
    ///
    /// # Errors
    /// [`ConnectionError::NotYourServer`] if the pinned key is a point of small order, which no server has; the line ends.
    pub fn dial(&mut self, now: Instant, randomness: Randomness) -> Result<Dialled, ConnectionError> {
        let Some(redial) = self.redial.as_mut().filter(|_| self.closed.is_none()) else {
            return Err(self.closed.clone().unwrap_or(ConnectionError::Lost));
        };
        redial.asked = false;
        redial.dialled = Some(redial.config.server_key);
        let connection = match Connection::connect(redial.config.clone(), randomness, now) {
            Ok(connection) => connection.in_form(redial.form),
            Err(error) => {
                self.end(error.clone());
                return Err(error);
            }
        };
        let (no, offer) = (self.next_no(), connection.upgrade_offer());
        self.next = Some(Box::new((no, connection)));
        Ok(Dialled { no, offer })
    }

    /// The socket is open, and the server has selected this subprotocol.
    pub fn handle_upgrade(&mut self, now: Instant, no: ConnectionNo, selected: &str) {
        if let Some(connection) = self.live(no) {
            // An error closes the connection, which `settle` finds.
            let _ = connection.handle_upgrade(now, selected);
        }
        self.settle(now);
    }

    /// The socket did not open.
    pub fn handle_unreachable(&mut self, now: Instant, no: ConnectionNo) {
        if self.next.take_if(|next| next.0 == no).is_some() {
            self.redial_after(now, no, ConnectionError::Unreachable);
        }
    }

    /// The same, and whoever refused it says after what time it may be tried again. It is tried then, or later by as much as a redial
    /// waits by chance, so that not all come at once who were told the same; after [`RETRY_AFTER_MAX_SECS`] at most.
    pub fn handle_refused(&mut self, now: Instant, no: ConnectionNo, retry_after: Duration) {
        let is_its = self.next.as_ref().is_some_and(|next| next.0 == no);
        if let Some(redial) = self.redial.as_mut().filter(|_| is_its) {
            let told = retry_after.min(Duration::from_secs(RETRY_AFTER_MAX_SECS));
            redial.slot = Some(told + redial.backoff());
        }
        self.handle_unreachable(now, no);
    }

    /// The device's signature over what [`LineEvent::SignatureWanted`] gave. The session moves into that connection.
    pub fn provide_signature(&mut self, now: Instant, no: ConnectionNo, signature: [u8; 64]) {
        let asked = self.next.take_if(|next| next.0 == no && next.1.awaits_signature());
        let Some((no, mut connection)) = asked.map(|next| *next) else { return };
        if let Some((old_no, mut old)) = self.carrier.take() {
            // Nothing is said to it: a CLOSE that overtakes the AUTH of the new one would end the session at the server.
            self.session = old.detach();
            self.leaving.push((old_no, old));
        }
        if let Some(session) = self.session.take() {
            connection.attach(session);
        }
        connection.provide_signature(signature);
        self.carrier = Some((no, connection));
        self.settle(now);
    }

    /// The same, by a key of the device's that has taken the place of the one that was asked for, over
    /// `asked` with the SHA-256 of its own `SubjectPublicKeyInfo` as the last 32 bytes. Each further connection is asked for by the key of
    /// the begin again.
    pub fn provide_signature_by(&mut self, now: Instant, no: ConnectionNo, device: DeviceKey, signature: [u8; 64]) {
        if let Some(next) = &mut self.next
            && next.0 == no
        {
            next.1.signs_by(device);
        }
        self.provide_signature(now, no, signature);
    }

    /// Shows evidence of the person: now, and again with each connection, until newer is shown. What it was judged by is in
    /// [`LineEvent::Standing`] or the next grant, which repeat its number.
    ///
    /// # Errors
    /// [`BadEvidence`] if it is empty or has more than 8,184 bytes; what was shown before then stays.
    pub fn show(&mut self, kind: EvidenceKind, data: Vec<u8>) -> Result<u32, BadEvidence> {
        self.session().show(kind, data)
    }

    /// The number of what was shown last; 0 if nothing was.
    #[must_use]
    pub fn shown(&mut self) -> u32 {
        self.session().shown()
    }

    /// Nobody is at this end any more, while the line waits for somebody: the server is told, for whom the person counts no more and
    /// who opens nothing here until [`Self::here`]. Until then the line does not dial, and what was shown of the person is not shown
    /// again. False if the server cannot be told: no connection is open, another is on its way, or it does not know of this.
    pub fn away(&mut self) -> bool {
        // A session that waits for its next connection would be away and told nobody.
        let is_open = self.next.is_none() && self.carrier.as_ref().is_some_and(|(_, connection)| connection.is_open());
        let is_asked = self.redial.as_ref().is_none_or(|redial| redial.asked);
        let away = is_open && !is_asked && self.session().away();
        if let Some(redial) = &mut self.redial {
            redial.away = away;
        }
        away
    }

    /// Somebody is here again. A line that has lost its connection meanwhile dials now.
    pub fn here(&mut self) {
        self.session().here();
        if let Some(redial) = &mut self.redial {
            redial.away = false;
        }
    }

    /// The page stops running now, until [`Self::wake`]: the server is told, which then asks nothing for 120 s and sends 64 KiB at most,
    /// and this end takes no silence for death.
    pub fn freeze(&mut self, now: Instant) {
        if let Some((_, connection)) = &mut self.carrier {
            connection.freeze(now);
        }
    }

    /// The device has woken, its page runs again, or its network is back: an open line is probed, a waiting one dials soon. One that
    /// is told so again and again goes on backing off.
    pub fn wake(&mut self, now: Instant) {
        if let Some((_, connection)) = &mut self.carrier {
            connection.thaw(now);
            connection.probe(now);
        }
        if let Some(redial) = &mut self.redial
            && redial.at.is_some()
        {
            // A moment, in which the network comes up and the browser lets go of sockets that died in its sleep.
            redial.at = redial.at.min(Some(now + Duration::from_millis(WAKE_MILLIS)));
            if redial.woken.is_none_or(|woken| now - woken >= Duration::from_secs(WAKE_QUIET_SECS)) {
                redial.failures = 0;
            }
            redial.woken = Some(now);
        }
        self.handle_timeout(now);
    }

    pub(super) fn handle_next_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::SignatureWanted(message) => {
                if let Some(redial) = &mut self.redial {
                    redial.good_form = redial.form;
                }
                if let Some(next) = &self.next {
                    self.events.push_back(LineEvent::SignatureWanted(next.0, message));
                }
            }
            Event::Closed(error) => {
                if let Some((no, gone)) = self.next.take().map(|next| *next) {
                    self.leaving.push((no, gone));
                    self.redial_after(now, no, error);
                }
            }
            // It has no session yet, and no questions of the server's side.
            _ => {}
        }
    }

    pub(super) fn handle_carrier_event(&mut self, now: Instant, event: Event) {
        let Some(redial) = &mut self.redial else { return };
        match event {
            Event::Opened(grant) => {
                let span = (KEYS_TTL_MAX_SECS - KEYS_TTL_MIN_SECS) * 1_000;
                let age = Duration::from_secs(KEYS_TTL_MIN_SECS) + Duration::from_millis(redial.below(span));
                redial.keys_until = Some(now + age);
                redial.failures = 0;
                redial.strangers = 0;
                redial.slot = None;
                redial.ever_open = true;
                redial.config.enrolled = true;
                redial.config.offer = Offer::Ticket(grant.ticket.clone());
                self.events.push_back(LineEvent::Opened(grant));
                self.become_state(LineState::Open);
            }
            Event::SessionEnded(reason, session) => {
                self.events.push_back(LineEvent::SessionEnded(reason, session));
            }
            Event::Draining { slot_millis } => {
                redial.slot = Some(Duration::from_millis(u64::from(slot_millis)));
                self.become_state(LineState::Draining);
            }
            // Answered before, or of the server's side.
            _ => {}
        }
    }

    /// A connection has failed. The line ends, or dials again.
    pub(super) fn redial_after(&mut self, now: Instant, no: ConnectionNo, error: ConnectionError) {
        let carried = self.carrier.is_some();
        let Some(redial) = self.redial.as_mut().filter(|_| self.closed.is_none()) else { return };
        let forged = match &error {
            ConnectionError::PeerClosed(close) => close.code == CloseCode::Altered,
            ConnectionError::NotYourServer | ConnectionError::Altered => true,
            _ => false,
        };
        if forged || error == ConnectionError::PeerMisbehaved(PeerMisbehaved::TextMessage) {
            let altered = redial.altered.get_or_insert(Altered { count: 0, since: now });
            altered.count = altered.count.saturating_add(1);
            self.events.push_back(LineEvent::Altered(*altered));
        }
        if forged && !carried {
            redial.strangers += 1;
        }
        // Nothing is known of the server yet, only that the first form may not come through.
        let in_other_form = error == ConnectionError::Unanswered && redial.form == UpgradeForm::M1InRequest;
        // A server says nothing to who names a key that it has not.
        let is_of_a_key = forged || (error == ConnectionError::Unanswered && !in_other_form);
        let has_another = is_of_a_key && redial.other_key.is_some();
        // One that was dialled for the older key, before the newer was heard of, says nothing of that.
        if has_another
            && redial.dialled == Some(redial.config.server_key)
            && let Some(older) = redial.other_key.take()
        {
            redial.config.server_key = older;
        }
        redial.form = if in_other_form { UpgradeForm::M1AsMessage } else { redial.good_form };
        let may_go_on = redial.ever_open || redial.first_try_waits || in_other_form || has_another;
        if !may_go_on || !error.is_resumable() || redial.strangers >= FORGERIES_MAX {
            return self.end(error);
        }
        if in_other_form {
            redial.at = None;
            redial.asked = true;
        } else if self.next.is_none() && redial.at.is_none() && !redial.asked {
            let wait = match redial.slot.take().filter(|_| !carried) {
                Some(slot) => slot,
                None => redial.backoff(),
            };
            redial.at = Some(now + wait);
        }
        let (was_open, wait) = (redial.ever_open, redial.at.map_or(Duration::ZERO, |at| at - now));
        if !carried {
            redial.keys_until = None;
        }
        self.events.push_back(LineEvent::ConnectionFailed { no, error, wait });
        if in_other_form {
            self.events.push_back(LineEvent::DialWanted);
        }
        if !carried && was_open {
            self.become_state(LineState::Resuming);
        }
    }

    /// The carrier's keys are as old as they may become.
    #[cfg(test)]
    pub(crate) fn age_keys(&mut self, now: Instant) {
        if let Some(redial) = &mut self.redial
            && redial.keys_until.is_some()
        {
            redial.keys_until = Some(now);
        }
    }

    pub(super) fn redial_at(&self) -> Option<Instant> {
        let idle = self.closed.is_none() && self.next.is_none();
        let redial = self.redial.as_ref().filter(|redial| idle && !redial.asked && !redial.away)?;
        redial.at.into_iter().chain(redial.keys_until).min()
    }

    pub(super) fn redial_if_due(&mut self, now: Instant) {
        let due = self.redial_at().is_some_and(|at| at <= now);
        if due && let Some(redial) = &mut self.redial {
            redial.at = None;
            redial.keys_until = redial.keys_until.filter(|until| *until > now);
            redial.asked = true;
            self.events.push_back(LineEvent::DialWanted);
        }
    }
}
