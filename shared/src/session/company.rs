//! When a TAKEN waits for company: in ping-pong the next message is about to leave, and a record for the TAKEN alone would wake
//! the other end once more for nothing that it waits for. It is TCP's delayed acknowledgement, with the same rule.
//!
//! ```text
//! TAKEN leaves   with a message of this end      ─► company
//!                alone, a message within 25 ms   ─► would have had company
//!                alone, none                     ─► none
//! of the last eight at most one without          ─► ping-pong: a TAKEN waits for the ACK that is owed
//! two without                                    ─► none waits for 1 s
//! ```
//!
//! It waits only while an ACK is owed that was owed when it became due, whose 25 ms are then all but over: so there is no second
//! clock. A page has none of this: its timers may be late by a minute while nobody looks at it.

use core::time::Duration;

use super::Session;
use crate::{
    limits::{ACK_MILLIS, ALONE_MAX, ALONE_SECS},
    time::Instant,
};

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Company {
    /// Of the last eight TAKEN which had none, the newest in the lowest bit.
    alone: u8,
    ping_pong: bool,
    /// One left alone and is still to be judged; when that was.
    open: bool,
    left_at: Instant,
    /// No ping-pong before.
    not_before: Instant,
    /// One became due while no ACK was owed.
    pub(super) hurried: bool,
    /// This end is about to go.
    pub(super) prompt: bool,
}

impl Company {
    pub(super) const NEW: Self = Self {
        alone: u8::MAX,
        ping_pong: false,
        open: false,
        left_at: Instant::from_micros(0),
        not_before: Instant::from_micros(0),
        hurried: false,
        prompt: false,
    };

    fn judge(&mut self, now: Instant, alone: bool) {
        self.alone = self.alone << 1 | u8::from(alone);
        self.open = false;
        let seldom = self.alone.count_ones() < ALONE_MAX;
        if self.ping_pong && !seldom {
            self.not_before = now + Duration::from_secs(ALONE_SECS);
        }
        self.ping_pong = seldom && now >= self.not_before;
    }

    /// A record is filled: whether a TAKEN is in it, whether the ACK was due for which those wait, and whether anything is in it
    /// that is counted.
    pub(super) fn leaves(&mut self, now: Instant, taken: bool, waited: bool, counted: bool) {
        let too_late = now - self.left_at > Duration::from_millis(ACK_MILLIS);
        if self.open && (taken || counted) {
            self.judge(now, !counted || too_late);
        }
        if taken && (counted || (waited && self.ping_pong)) {
            self.judge(now, !counted);
        } else if taken {
            (self.open, self.left_at) = (true, now);
        }
    }
}

impl Session {
    /// True if a TAKEN on a channel of messages is no reason to send.
    pub(super) fn taken_waits(&self) -> bool {
        let Company { ping_pong, hurried, prompt, .. } = self.company;
        let owes = (self.ack.at.is_some() && !self.ack.due) || mutated!(TakenWaitsForNothing);
        ping_pong && !hurried && !prompt && !self.holds && owes
    }
}
