//! The server's line: a device's session, which waits for the device when its connection is lost.
//!
//! ```text
//! attach(connection) ─► carried ──lost──► parked ──attach: resumed──► carried
//!                          │ attach: the old one is closed as `replaced`   │ 120 s
//!                          └───────────────────────────────────────────────┴──► over
//! ```
//!
//! Who may attach is the caller's to decide, before: only the session's own device.

use core::time::Duration;

use alloc::boxed::Box;

use super::{ConnectionNo, Line, LineState};
use crate::{
    budget::Account,
    close::{CloseCode, FreshReason},
    connection::Connection,
    error::{ConnectionError, PeerMisbehaved},
    handshake::{
        auth::{Grant, Resume},
        evidence::{Evidence, Standing},
    },
    ids::Birth,
    limits::RESUME_TTL_SECS,
    session::{Role, Session},
    time::Instant,
};

/// A connection that no line takes.
#[derive(Debug)]
pub struct Rejected {
    /// Why.
    pub error: ConnectionError,
    /// With its last word to send, if there is one.
    pub connection: Connection,
}

/// What took a line's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It was lost, or silent for too long.
    Lost,
    /// A record did not open.
    Altered,
    /// A text message came, which no client sends.
    Text,
}

impl Line {
    /// A server's line without a connection. What it holds counts on the account of its unit.
    #[must_use]
    pub fn server(account: impl Into<Option<Account>>) -> Self {
        Self::new(LineState::Resuming, Session::new(Role::Server, account), None)
    }

    /// The line of a session that another process has had ([`Session::revive_kept`]): it waits for its device, from now on.
    #[must_use]
    pub fn revived(now: Instant, session: Session) -> Self {
        let mut line = Self::new(LineState::Resuming, session, None);
        line.parked_at = Some(now);
        line
    }

    /// Tells the budget what the session holds now: to be called after each input and command.
    pub fn settle_account(&mut self) {
        self.session().settle_account();
    }

    /// What the session holds counts on this account from now on, of the same budget: its unit is another one.
    #[cfg(feature = "server")]
    pub fn count_on(&mut self, account: Account) {
        self.session().count_on(account);
    }

    /// A device that has proved itself takes the line with this connection, which waits for its verdict. Whatever carried it
    /// is closed as `replaced`, and what came on it later is discarded unread. With `received`, the session is resumed, and
    /// the grant's outcome is set to say so.
    ///
    /// # Errors
    /// Why the connection came to nothing; a newer one of the same session may have overtaken it. The line may live on. The
    /// connection comes back, with its last word to send.
    pub fn attach(
        &mut self,
        now: Instant,
        mut connection: Connection,
        received: Option<u64>,
        mut grant: Grant,
    ) -> Result<ConnectionNo, Box<Rejected>> {
        if let Some(error) = self.closed.clone() {
            return Err(Box::new(Rejected { error, connection }));
        }
        if received.is_some() && connection.is_older_than(self.session()) {
            let error = ConnectionError::LocallyClosed(CloseCode::Replaced);
            return Err(Box::new(Rejected { error, connection }));
        }
        if let Some((no, mut old)) = self.carrier.take() {
            self.session = old.detach();
            old.close(now, CloseCode::Replaced, "");
            self.leaving.push((no, old));
        }
        let Some(session) = self.session.take() else {
            return Err(Box::new(Rejected { error: ConnectionError::Lost, connection }));
        };
        connection.attach(session);
        let no = self.next_no();
        self.parked_at = None;
        let admitted = match received {
            Some(received) => connection.resume_outcome(now, received).map(|outcome| grant.outcome = outcome),
            None => Ok(()),
        };
        let admitted = admitted.and_then(|()| connection.admit(now, grant));
        self.carrier = Some((no, connection));
        self.become_state(LineState::Open);
        self.settle(now);
        let Err(error) = admitted else { return Ok(no) };
        // Its driver knows no name for it: it gets it back.
        let at = self.leaving.iter().position(|(other, _)| *other == no);
        let Some(at) = at else { return Ok(no) };
        let (_, connection) = self.leaving.swap_remove(at);
        Err(Box::new(Rejected { error, connection }))
    }

    /// True if the session can go on with a client of these counts. One that knows of fewer frames than it has acknowledged, or
    /// than have come from it, is a copy of an earlier state: it is told that its session is not known, and the session
    /// lives on for its own client.
    #[must_use]
    pub fn can_resume(&mut self, resume: &Resume) -> bool {
        self.session().can_resume(resume)
    }

    /// True if evidence behind an AUTH that goes on with this session is newer than all that came in it. Other evidence changes
    /// nothing: it was judged, or another has overtaken it.
    #[must_use]
    pub fn is_newer(&mut self, evidence: &Evidence) -> bool {
        self.session().is_newer(evidence.number)
    }

    /// Tells the client of its standing, where it has changed on the open line. A connection that comes later is told by the
    /// [`Grant`] that it is given.
    pub fn tell(&mut self, standing: &Standing) {
        self.session().tell(standing);
    }

    /// True while nobody is at the client's end, as it has said itself: no channel can be opened.
    #[must_use]
    pub fn is_away(&mut self) -> bool {
        self.session().is_away()
    }

    /// Names the session as the AUTH did that it was made for.
    #[must_use]
    pub fn born(mut self, birth: Birth) -> Self {
        self.session().set_birth(birth);
        self
    }

    /// Ends the connection and keeps the session, which waits for the next one: how the connection was let in does not count any more.
    pub fn dismiss(&mut self, now: Instant) {
        let Some((no, mut old)) = self.carrier.take() else { return };
        self.session = old.detach();
        old.close(now, CloseCode::GoingAway, "");
        self.leaving.push((no, old));
        self.park(now, &ConnectionError::Lost);
    }

    /// True while no connection carries the session.
    #[must_use]
    pub const fn is_parked(&self) -> bool {
        self.carrier.is_none() && self.closed.is_none()
    }

    /// Ends a session that was parked for too long, or must make room.
    pub fn expire(&mut self, reason: FreshReason) {
        self.end(ConnectionError::SessionEnded(reason));
    }

    /// The server stops: the client is told, and told when to come back.
    pub fn drain(&mut self, slot_millis: u32) {
        if let Some((_, connection)) = &mut self.carrier {
            connection.drain(slot_millis);
        }
    }

    /// True if nothing is on its way, nothing waits, and the client begins nothing new; or if no connection is there.
    #[must_use]
    pub fn is_drained(&mut self) -> bool {
        let carried = self.carrier.is_some();
        let session = self.session();
        !carried || (session.peer_holds() && session.is_quiet())
    }

    /// How much has come since this was asked last: counted frames, channels and datagrams.
    #[must_use]
    pub fn came_since(&mut self) -> [u32; 3] {
        self.session().came_since()
    }

    /// What took the connection that this line had, while it is parked.
    #[must_use]
    pub const fn cut(&self) -> Cut {
        self.cut
    }

    pub(super) fn park(&mut self, now: Instant, error: &ConnectionError) {
        self.parked_at = Some(now);
        self.cut = match error {
            ConnectionError::Altered => Cut::Altered,
            ConnectionError::PeerMisbehaved(PeerMisbehaved::TextMessage) => Cut::Text,
            _ => Cut::Lost,
        };
        self.become_state(LineState::Resuming);
    }

    pub(super) fn expires_at(&self) -> Option<Instant> {
        self.parked_at.filter(|_| self.closed.is_none()).map(|at| at + Duration::from_secs(RESUME_TTL_SECS))
    }

    pub(super) fn expire_if_due(&mut self, now: Instant) {
        if self.expires_at().is_some_and(|at| at <= now) {
            self.expire(FreshReason::Expired);
        }
    }
}
