//! What devices have at the server: who is let in, by which invite, and the sessions that wait for a connection.
//!
//! As the real server keeps it, in memory: an invite is for the first device that uses it, a session for its own device, and
//! which one was ended for which reason is remembered.

use std::collections::{BTreeMap, BTreeSet};

use duologue::{
    AuthRequest, Budget, CloseCode, ConnectionError, Credential, DeviceId, DeviceKey, FreshReason, Invite, InviteId,
    Line, Outcome, Secret, SessionId, Ticket, TicketId, Wanted, limits::TICKET_TTL_SECS,
};
use wasm_bindgen::JsValue;

use crate::{random, seat::Seat};

/// A session, and whose it is.
pub(crate) struct Held {
    pub(crate) device: DeviceId,
    pub(crate) id: SessionId,
    /// As the client calls itself.
    pub(crate) name: String,
    pub(crate) line: Line,
    /// Its key, by which a token may be bound to it: algorithm and SubjectPublicKeyInfo.
    pub(crate) key: DeviceKey,
    pub(crate) seat: Seat,
    /// Its standing has changed, which has not been told.
    pub(crate) has_moved: bool,
    /// Its client's last state has been told.
    pub(crate) is_new: bool,
}

/// Everything that outlives a connection.
#[derive(Default)]
pub(crate) struct Sessions {
    /// Of this run: session ids begin with it, so that those of an earlier one are told from those never given.
    epoch: [u8; 4],
    invites: BTreeMap<InviteId, (Secret, Option<DeviceId>)>,
    tickets: BTreeMap<TicketId, Secret>,
    enrolled: BTreeSet<DeviceId>,
    revoked: BTreeSet<DeviceId>,
    held: BTreeMap<u32, Held>,
    last: u32,
    ended: BTreeMap<SessionId, (DeviceId, FreshReason)>,
}

impl Sessions {
    pub(crate) fn new() -> Result<Self, JsValue> {
        Ok(Self { epoch: random()?, ..Self::default() })
    }

    /// What a new run of the server knows: devices and invites, and no session.
    pub(crate) fn restart(&mut self) -> Result<BTreeMap<u32, Held>, JsValue> {
        self.epoch = random()?;
        self.tickets.clear();
        self.ended.clear();
        Ok(std::mem::take(&mut self.held))
    }

    pub(crate) fn invite(&mut self, invite: &Invite) {
        self.invites.insert(invite.id(), (invite.psk(), None));
    }

    pub(crate) fn secret(&self, credential: Credential) -> Option<Secret> {
        match credential {
            Credential::None => None,
            Credential::Ticket(id) => self.tickets.get(&id).cloned(),
            Credential::Invite(id) => self.invites.get(&id).map(|(secret, _)| secret.clone()),
        }
    }

    /// Whether this device is let in; by an invite it is from then on.
    pub(crate) fn judge(&mut self, request: &AuthRequest) -> Result<(), CloseCode> {
        let device = request.device_id;
        if self.revoked.contains(&device) {
            return Err(CloseCode::DeviceRevoked);
        }
        if self.enrolled.contains(&device) {
            return Ok(());
        }
        let Credential::Invite(id) = request.credential else { return Err(CloseCode::NotEnrolled) };
        match self.invites.get_mut(&id).filter(|_| request.credential_proved) {
            None => Err(CloseCode::NotEnrolled),
            Some((_, Some(_))) => Err(CloseCode::InviteUsed),
            Some((_, user)) => {
                *user = Some(device);
                self.enrolled.insert(device);
                Ok(())
            }
        }
    }

    /// The session that a device wants to go on with, if it is its own and still there, or was begun by an AUTH whose answer was
    /// lost; else a new one.
    pub(crate) fn find(&mut self, request: &AuthRequest) -> Result<(u32, Outcome), JsValue> {
        let resumed = Outcome::Resumed { received: 0 };
        let (line, outcome) = match request.wanted {
            Wanted::Resume(resume) => match self.resume(request.device_id, resume.session_id) {
                Ok(no) => return Ok((no, resumed)),
                Err(reason) => (Line::server(Budget::default()), Outcome::Fresh(reason)),
            },
            Wanted::Born(birth) => {
                let own = self.held.iter_mut().filter(|(_, held)| held.device == request.device_id);
                let mut live = own.filter(|(_, held)| held.line.closed().is_none());
                let born = live.find_map(|(no, held)| (held.line.session().birth() == Some(birth)).then_some(*no));
                if let Some(no) = born {
                    return Ok((no, resumed));
                }
                (Line::server(Budget::default()).born(birth), Outcome::New)
            }
        };
        let mut id: [u8; 16] = random()?;
        if let Some(start) = id.first_chunk_mut() {
            *start = self.epoch;
        }
        self.last += 1;
        let name = request.claims.name.clone();
        let seat = Seat::new(u8::from(self.enrolled.contains(&request.device_id)));
        let (device, key) = (request.device_id, request.device.clone());
        let held = Held { device, id: SessionId(id), name, line, key, seat, has_moved: true, is_new: true };
        self.held.insert(self.last, held);
        Ok((self.last, outcome))
    }

    fn resume(&self, device: DeviceId, id: SessionId) -> Result<u32, FreshReason> {
        if id.0.first_chunk() != Some(&self.epoch) {
            return Err(FreshReason::Restarted);
        }
        let mut own = self.held.iter().filter(|(_, held)| held.id == id && held.device == device);
        if let Some((no, held)) = own.next() {
            return match held.line.closed() {
                None => Ok(*no),
                Some(ConnectionError::SessionEnded(reason)) => Err(*reason),
                Some(_) => Err(FreshReason::Unknown),
            };
        }
        let ended = self.ended.get(&id).filter(|(whose, _)| *whose == device);
        Err(ended.map_or(FreshReason::Unknown, |(_, reason)| *reason))
    }

    /// The session of a device that goes on by this AUTH, if it is there.
    pub(crate) fn resumed(&self, request: &AuthRequest) -> Option<u32> {
        match request.wanted {
            Wanted::Resume(resume) => self.resume(request.device_id, resume.session_id).ok(),
            Wanted::Born(_) => None,
        }
    }

    /// Whether somebody has let this device in.
    pub(crate) fn is_enrolled(&self, device: DeviceId) -> bool {
        self.enrolled.contains(&device)
    }

    /// Its tickets are for all devices alike here: a device that signs out has its session's alone.
    pub(crate) fn forget_tickets(&mut self) {
        self.tickets.clear();
    }

    /// A ticket for its device's next connection.
    pub(crate) fn ticket(&mut self) -> Result<Ticket, JsValue> {
        let (id, secret) = (TicketId(random()?), Secret::new(random()?));
        self.tickets.insert(id, secret.clone());
        Ok(Ticket { id, secret, lifetime_secs: u32::try_from(TICKET_TTL_SECS).unwrap_or(u32::MAX) })
    }

    /// Ends a session without its client's wish, which hears why when it comes back.
    pub(crate) fn expire(&mut self, no: u32, reason: FreshReason) {
        let Some(held) = self.held.get_mut(&no) else { return };
        held.line.expire(reason);
    }

    pub(crate) fn revoke(&mut self, no: u32) {
        if let Some(held) = self.held.get(&no) {
            self.revoked.insert(held.device);
        }
    }

    pub(crate) fn get(&mut self, no: u32) -> Option<&mut Held> {
        self.held.get_mut(&no)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Held)> {
        self.held.iter_mut().map(|(no, held)| (*no, held))
    }

    /// Of one that has ended only its end is remembered, where its client did not wish it.
    pub(crate) fn remove(&mut self, no: u32) {
        let Some(held) = self.held.remove(&no) else { return };
        let reason = match held.line.closed() {
            Some(ConnectionError::SessionEnded(reason)) => *reason,
            Some(ConnectionError::Altered) => FreshReason::Altered,
            _ => return,
        };
        self.ended.insert(held.id, (held.device, reason));
    }
}
