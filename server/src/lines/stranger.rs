//! Devices that nobody has let in: whether one may be here, by what it has proved or as a guest, and what becomes of it when that
//! changes.
//!
//! ```text
//! a policy opens something to guests ─► a place among them (`guests.rs`), while it does
//! a token, the backend's word, an invite ─► more than a guest, on the same line · its end ─► a guest again, or out
//! ```

use std::sync::Weak;

use duologue::{AuthRequest, CloseCode, DeviceId};

use super::{Duologue, Shared, directory::Session, verdict::TurnedAway};
use crate::{
    door::{
        error::DoorError,
        evidence::Transport,
        seat::{Has, Seat},
    },
    services::service::WeakServices,
};

/// A server that whoever has this does not keep.
pub(super) struct WeakDuologue {
    shared: Weak<Shared>,
    services: WeakServices,
}

impl WeakDuologue {
    /// None if it is gone: its app has dropped it.
    pub(super) fn upgrade(&self) -> Option<Duologue> {
        Some(Duologue { shared: self.shared.upgrade()?, services: self.services.upgrade()? })
    }
}

impl Duologue {
    pub(super) fn downgrade(&self) -> WeakDuologue {
        WeakDuologue { shared: std::sync::Arc::downgrade(&self.shared), services: self.services.downgrade() }
    }

    /// From now on whatever changes a standing is followed: to be called before anybody comes in.
    pub(super) fn follow_standing(&self) {
        self.shared.gate.follow(|| {
            let own = self.downgrade();
            Box::new(move |device| {
                if let Some(own) = own.upgrade() {
                    own.standing_has_changed(device);
                }
            })
        });
    }

    /// Whether a device that nobody has let in may be here without proving more: as a guest, where the policy opens anything to
    /// those at its place; or in a session that is more than a guest's.
    pub(super) fn may_come_as_guest(&self, request: &AuthRequest, transport: &Transport) -> bool {
        self.going_on(request).is_some_and(|session| !session.seat.is_guest())
            || self.opens_to_guests(request.device_id, transport)
    }

    fn opens_to_guests(&self, device: DeviceId, transport: &Transport) -> bool {
        let seat = Seat::new(device, transport.clone(), Has::guest());
        self.services.any_is_open(&self.shared.gate, &seat)
    }

    /// Whether a session may go on as what it is now.
    fn may_stay(&self, seat: &Seat) -> bool {
        !seat.is_guest() || self.opens_to_guests(seat.device(), &seat.transport())
    }

    /// A device's sessions are counted as what they are now; and a guest who has no place, or to whom nothing is open, is put out.
    fn standing_has_changed(&self, device: DeviceId) {
        let mut ends = false;
        for session in self.shared.directory.sessions_of(device) {
            ends |= session.seat.has_end();
            self.look_whether_it_stays(&session, "");
        }
        if ends {
            self.watch_ends();
        }
    }

    /// Counts a session as what it is now, if it may be here as that; else why not, if need be for this reason.
    pub(super) fn stays(&self, session: &Session, why: &'static str) -> Result<(), TurnedAway> {
        match self.may_stay(&session.seat) {
            true => Ok(self.shared.directory.count(session)?),
            false => Err(TurnedAway { code: CloseCode::NotEnrolled, reason: why }),
        }
    }

    /// False if it is put out, with a reason for its client.
    fn look_whether_it_stays(&self, session: &Session, why: &'static str) -> bool {
        let Err(TurnedAway { code, reason }) = self.stays(session, why) else { return true };
        self.shared.directory.end(session, code, reason);
        false
    }

    /// Another policy is in force: guests to whom it opens nothing any more are put out.
    pub(super) fn look_at_guests(&self) {
        for session in self.shared.directory.guests() {
            self.look_whether_it_stays(&session, "");
        }
    }

    /// What was proved in a session is over: its client is told, with the cause if it has one to act on; and put out, if it was here by
    /// that alone and guests may not be.
    pub(super) fn has_fallen(&self, session: &Session, why: impl Into<Option<DoorError>>) {
        let why = why.into();
        let Session { line, seat, .. } = session;
        if seat.is_stranger() {
            self.shared.tickets.forget(seat.device());
        }
        if self.look_whether_it_stays(session, why.map_or("", DoorError::word)) {
            line.command(|line, _| line.tell(&seat.told(why, false)));
        }
        self.shared.gate.has_changed(seat.device());
    }
}
