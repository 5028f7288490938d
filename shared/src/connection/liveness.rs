//! Is the other end still there? Asked inside the seal, because a page cannot see a WebSocket's pings, and answered by the
//! core itself, whatever the application does.
//!
//! ```text
//! server   PING each 25 s ──► no PONG within 10 s: dead
//! client   35 s of silence: dead (a live server would have pinged)
//!          probe(): PING ──► no PONG within 2 s: dead     after sleep, or when the network is back
//! ```

use super::secs;
use crate::{
    limits::{PING_INTERVAL_SECS, PONG_SECS, PROBE_SECS, SILENCE_SECS},
    session::Role,
    time::Instant,
};

#[derive(Debug)]
pub(super) struct Liveness {
    role: Role,
    /// When this end was last sure of the other.
    heard: Instant,
    /// Server: when the next PING is due.
    next_ping: Instant,
    /// The PING that waits for its PONG, and until when.
    asked: Option<(u32, Instant)>,
    nonce: u32,
    /// To be sent.
    ping: Option<u32>,
    pong: Option<u32>,
}

/// What time has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    Alive,
    Dead,
}

impl Liveness {
    /// From the moment at which the line is open.
    pub(super) fn new(role: Role, now: Instant) -> Self {
        let next_ping = now + secs(PING_INTERVAL_SECS);
        Self { role, heard: now, next_ping, asked: None, nonce: 0, ping: None, pong: None }
    }

    /// A record has been opened.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// The latest PING is answered; one that was not yet answered is not missed.
    pub(super) fn handle_ping(&mut self, nonce: u32) {
        self.pong = Some(nonce);
    }

    /// An answer to an older PING shows nothing new.
    pub(super) fn handle_pong(&mut self, nonce: u32) {
        if self.asked.is_some_and(|(asked, _)| asked == nonce) {
            self.asked = None;
        }
    }

    /// Asks now, with little patience.
    pub(super) fn probe(&mut self, now: Instant) {
        self.ask(now + secs(PROBE_SECS));
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Pulse {
        let unanswered = self.asked.is_some_and(|(_, until)| until <= now);
        let silent = !self.role.is_server() && self.heard + secs(SILENCE_SECS) <= now;
        if unanswered || silent {
            return Pulse::Dead;
        }
        if self.role.is_server() && self.next_ping <= now {
            self.next_ping = now + secs(PING_INTERVAL_SECS);
            self.ask(now + secs(PONG_SECS));
        }
        Pulse::Alive
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        let due = if self.role.is_server() { self.next_ping } else { self.heard + secs(SILENCE_SECS) };
        self.asked.map_or(due, |(_, until)| until.min(due))
    }

    pub(super) const fn has_frames(&self) -> bool {
        self.ping.is_some() || self.pong.is_some()
    }

    pub(super) fn take_ping(&mut self) -> Option<u32> {
        self.ping.take()
    }

    pub(super) fn take_pong(&mut self) -> Option<u32> {
        self.pong.take()
    }

    fn ask(&mut self, until: Instant) {
        // An earlier question keeps its time: asking again and again must not put death off.
        let until = self.asked.map_or(until, |(_, earlier)| earlier.min(until));
        self.nonce = self.nonce.wrapping_add(1);
        self.asked = Some((self.nonce, until));
        self.ping = Some(self.nonce);
    }
}
