//! Whether anybody is at the client's end, whose worker may outlive its pages. Neither word is counted or kept: what may have been
//! lost with a connection is said again on the next.
//!
//! ```text
//! client  away() ─► AWAY ─► server: what was proved counts no more, and it opens nothing
//!         here() ─► HERE ─► server: opens channels again; whoever is here now shows who he is
//!         DATA …  ─► ACK: AWAY was heard
//! ```
//!
//! A STANDING says nothing of it: one that came after AWAY had left may have left before AWAY came.

use alloc::vec::Vec;

use super::Session;
#[cfg(feature = "server")]
use crate::error::PeerMisbehaved;
use crate::frame::{AWAY_FRAME, HERE};

#[derive(Debug, Default)]
pub(super) struct AwayState {
    /// Nobody is at the client's end.
    is_away: bool,
    /// Client: AWAY is to leave.
    pub(super) due: bool,
    /// Client: and behind it, HERE.
    here_due: bool,
    /// Client: AWAY was said, and nothing that was counted behind it is acknowledged. Server: its application has not heard of AWAY.
    open: bool,
    /// Client: how many frames were counted when AWAY left, on this connection; more than there can be where it has not.
    behind: u64,
    /// Client: the other end of this connection takes AWAY.
    pub(super) peer_knows: bool,
}

impl Session {
    /// Client: nobody is here any more, and what was shown of the person counts no more. False, and nothing is said, if the server
    /// knows no AWAY, or cannot be told now.
    pub fn away(&mut self) -> bool {
        if self.over || !self.away.peer_knows || !self.flight.open {
            return false;
        }
        self.away =
            AwayState { is_away: true, due: true, open: true, behind: u64::MAX, here_due: false, peer_knows: true };
        self.withdraw_evidence();
        true
    }

    /// Client: somebody is here again.
    pub const fn here(&mut self) {
        self.away.here_due = self.away.is_away;
        self.away.is_away = false;
    }

    /// Client: nobody was here for a while, whether the server was told or not.
    pub(super) const fn say_away_and_here(&mut self) {
        self.away.open = true;
    }

    /// A new connection knows nothing of it.
    pub(super) fn say_away_again(&mut self) {
        self.away.behind = u64::MAX;
        if self.role.is_server() {
            self.away.is_away = false;
            return;
        }
        self.away.due = (self.away.is_away || self.away.open) && !mutated!(AwayNotRestated);
        self.away.here_due = self.away.due && !self.away.is_away;
    }

    /// Client: so many counted frames are acknowledged. One that left behind AWAY on its connection has come behind it.
    pub(super) const fn away_was_heard(&mut self, acked: u64) {
        if acked > self.away.behind {
            self.away.open = false;
        }
    }

    pub(super) const fn has_away_frames(&self) -> bool {
        (self.away.due || self.away.here_due) && self.away.peer_knows && self.flight.open
    }

    /// Before evidence, which is of whoever is here now.
    pub(super) fn fill_away(&mut self, out: &mut Vec<u8>) {
        if !self.has_away_frames() {
            return;
        }
        if core::mem::take(&mut self.away.due) {
            out.extend_from_slice(&AWAY_FRAME);
            self.away.behind = self.resend.sealed();
        }
        if core::mem::take(&mut self.away.here_due) {
            out.push(HERE);
        }
    }

    /// Server: the client has said so.
    #[cfg(feature = "server")]
    pub(super) fn handle_away(&mut self, is_away: bool) -> Result<(), PeerMisbehaved> {
        if !self.role.is_server() {
            return Err(PeerMisbehaved::Unexpected);
        }
        self.away.is_away = is_away;
        if is_away {
            self.away.open = true;
            self.withdraw_evidence();
        }
        Ok(())
    }

    /// Nobody is at the client's end, as it has said itself.
    #[must_use]
    pub const fn is_away(&self) -> bool {
        self.away.is_away
    }

    /// Server: whether AWAY has come since this was asked last.
    #[cfg(feature = "server")]
    pub(crate) const fn poll_away(&mut self) -> bool {
        self.role.is_server() && core::mem::replace(&mut self.away.open, false)
    }
}
