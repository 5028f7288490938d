//! A client whose last page has gone, and whose line waits for another: whoever comes next is somebody else until he shows who he is.

use std::sync::Arc;

use duologue::CloseCode;

use super::Duologue;
use crate::door::{seat::Seat, standing::Proof};

impl Duologue {
    /// What was proved in a session counts no more, cookies among it; and it is told so. What the device has it keeps.
    pub(super) fn nobody_is_there(&self, seat: &Arc<Seat>) {
        let sessions = self.shared.directory.sessions_of(seat.device());
        let Some(session) = sessions.iter().find(|session| Arc::ptr_eq(&session.seat, seat)) else { return };
        if seat.proved().is_some_and(|proved| proved.proof == Proof::Hook) {
            // By the upgrade request: the next page has its own.
            return self.shared.directory.end(session, CloseCode::Normal, "");
        }
        seat.sign_out();
        self.has_fallen(session, None);
    }
}
