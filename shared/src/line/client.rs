//! The client's line: it dials, and dials again.
//!
//! ```text
//! first    dial ─► M2 ─► AUTH(session) ─► AUTH_OK ─► open            a failure before that ends the line
//! lost     backoff with full jitter, or the slot that DRAIN gave ─► dial ─► …
//! aged     54 to 60 min: dial beside the carrier ─► M2 ─► the session moves ─► AUTH ─► the old connection is dropped
//! ```
//!
//! The session moves into a connection when its AUTH is written, since AUTH states what was received until then.

use core::time::Duration;

use alloc::{string::String, vec::Vec};

use super::{ConnectionNo, Line, LineEvent, LineState};
use crate::{
    budget::Budget,
    close::CloseCode,
    connection::{ClientConfig, Connection, Event, Offer},
    crypto::Randomness,
    error::ConnectionError,
    limits::{
        BACKOFF_FIRST_MILLIS, BACKOFF_MAX_MILLIS, FORGERIES_MAX, KEYS_TTL_MAX_SECS, KEYS_TTL_MIN_SECS,
        SESSION_BUDGET_LEN,
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
        let redial = Redial {
            config,
            chance,
            failures: 0,
            strangers: 0,
            at: None,
            asked: true,
            keys_until: None,
            slot: None,
            ever_open: false,
        };
        let session = Session::new(Role::Client, Budget::new(SESSION_BUDGET_LEN));
        let mut line = Self::new(LineState::Connecting, session, Some(redial));
        line.events.push_back(LineEvent::DialWanted);
        line
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
        let connection = match Connection::connect(redial.config.clone(), randomness, now) {
            Ok(connection) => connection,
            Err(error) => {
                self.end(error.clone());
                return Err(error);
            }
        };
        let (no, offer) = (self.next_no(), connection.upgrade_offer());
        self.next = Some((no, connection));
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
        if self.next.take_if(|(other, _)| *other == no).is_some() {
            self.redial_after(now, ConnectionError::Unreachable);
        }
    }

    /// A socket that ends before M2 reads like a wrong server the first time. Later it is a loss like any other: only an M2
    /// that does not fit shows a stranger.
    pub(super) fn handle_next_lost(&mut self, now: Instant, no: ConnectionNo) -> bool {
        let known = self.redial.as_ref().is_some_and(|redial| redial.ever_open);
        let lost = known && self.next.take_if(|(other, _)| *other == no).is_some();
        if lost {
            self.redial_after(now, ConnectionError::Lost);
        }
        lost
    }

    /// The device's signature over what [`LineEvent::SignatureWanted`] gave. The session moves into that connection.
    pub fn provide_signature(&mut self, now: Instant, no: ConnectionNo, signature: [u8; 64]) {
        let asked = self.next.take_if(|(other, connection)| *other == no && connection.awaits_signature());
        let Some((no, mut connection)) = asked else { return };
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

    /// The device has woken, or its network is back: an open line is probed, a waiting one dials at once.
    pub fn wake(&mut self, now: Instant) {
        if let Some((_, connection)) = &mut self.carrier {
            connection.probe(now);
        }
        if let Some(redial) = &mut self.redial
            && redial.at.is_some()
        {
            redial.at = Some(now);
            redial.failures = 0;
        }
        self.handle_timeout(now);
    }

    pub(super) fn handle_next_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::SignatureWanted(message) => {
                if let Some((no, _)) = self.next {
                    self.events.push_back(LineEvent::SignatureWanted(no, message));
                }
            }
            Event::Closed(error) => {
                if let Some(gone) = self.next.take() {
                    self.leaving.push(gone);
                }
                self.redial_after(now, error);
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
    pub(super) fn redial_after(&mut self, now: Instant, error: ConnectionError) {
        let carried = self.carrier.is_some();
        let Some(redial) = self.redial.as_mut().filter(|_| self.closed.is_none()) else { return };
        let altered = matches!(&error, ConnectionError::PeerClosed(close) if close.code == CloseCode::Altered);
        if (altered || matches!(error, ConnectionError::NotYourServer | ConnectionError::Altered)) && !carried {
            redial.strangers += 1;
        }
        if !redial.ever_open || !error.is_resumable() || redial.strangers >= FORGERIES_MAX {
            return self.end(error);
        }
        if self.next.is_none() && redial.at.is_none() && !redial.asked {
            let wait = match redial.slot.take().filter(|_| !carried) {
                Some(slot) => slot,
                None => redial.backoff(),
            };
            redial.at = Some(now + wait);
        }
        if !carried {
            redial.keys_until = None;
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
        let redial = self.redial.as_ref().filter(|redial| idle && !redial.asked)?;
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
