//! Tickets: what a device that was here before brings beside its key, so that it has a lane of its own under a flood.
//!
//! One for each of a device's lines, and bound to the device: with the key of another it is as if none had been shown. Each
//! AUTH_OK gives the line a new one. The one that the line came with stays until the new one is used, so that a lost AUTH_OK
//! never burns it.
//!
//! They are in memory, and written to the store in batches ([`Tickets::take_changes`]): one that is lost with a crash costs
//! its device the lane, and nothing else.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use duologue::{DeviceId, Secret, Ticket, TicketId, limits::TICKET_TTL_SECS};

use crate::state::{random, records::now, sharded::Sharded, store::StoredTicket};

/// Of one device: two for each of the 16 lines that it may have.
const OF_A_DEVICE_MAX: usize = 32;
/// In all, some 50 MB; the oldest makes room.
const TICKETS_MAX: usize = 200_000;

#[derive(Debug, Default)]
pub(crate) struct Tickets(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    by_id: Sharded<TicketId, Kept>,
    /// The oldest first.
    by_device: Sharded<DeviceId, Vec<TicketId>>,
    /// By number, the oldest first.
    all: BTreeMap<u64, TicketId>,
    next: u64,
    added: HashSet<TicketId>,
    removed: HashSet<TicketId>,
}

#[derive(Debug)]
struct Kept {
    /// Its place among all.
    number: u64,
    device: DeviceId,
    secret: Secret,
    /// Seconds since 1970.
    issued_at: u64,
    /// The one that the line came with when this was given to it.
    before: Option<TicketId>,
}

/// What the store is to be told.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) added: Vec<StoredTicket>,
    pub(crate) removed: Vec<[u8; 16]>,
}

impl Tickets {
    /// With what the store had.
    pub(crate) fn load(stored: Vec<StoredTicket>) -> Self {
        let mut stored = stored;
        stored.sort_by_key(|ticket| ticket.issued_at);
        let mut inner = Inner::default();
        for StoredTicket { id, device, secret, issued_at, before } in stored {
            let (device, before) = (DeviceId(device), before.map(TicketId));
            inner.keep(TicketId(id), device, Secret::new(secret), issued_at, before);
        }
        inner.added.clear();
        inner.drop_expired(now());
        Self(Mutex::new(inner))
    }

    pub(crate) fn secret(&self, id: TicketId) -> Option<Secret> {
        let inner = self.lock();
        inner.by_id.get(&id).filter(|kept| !kept.is_expired(now())).map(|kept| kept.secret.clone())
    }

    /// Whether it was given to this device.
    pub(crate) fn is_of(&self, id: TicketId, device: DeviceId) -> bool {
        self.lock().by_id.get(&id).is_some_and(|kept| kept.device == device)
    }

    /// A new ticket for a line of a device, which came with `used`, a ticket of its own that it has proved.
    pub(crate) fn issue(&self, device: DeviceId, used: Option<TicketId>) -> Ticket {
        let (id, secret) = drawn();
        let mut inner = self.lock();
        let used = used.filter(|used| inner.by_id.get(used).is_some_and(|kept| kept.device == device));
        if let Some(used) = used {
            // What was given when the line came with an older one: that has been used now, or it never arrived.
            let older = inner.by_id.get_mut(&used).and_then(|kept| kept.before.take());
            let lost = inner.followers(device, used);
            for id in older.into_iter().chain(lost) {
                inner.remove(id);
            }
        }
        inner.keep(id, device, secret.clone(), now(), used);
        Ticket { id, secret, lifetime_secs: u32::try_from(TICKET_TTL_SECS).expect("a week fits") }
    }

    /// One that nobody keeps, for a device that nobody has let in: it opens nothing, and is good for no time.
    pub(crate) fn none() -> Ticket {
        let (id, secret) = drawn();
        Ticket { id, secret, lifetime_secs: 0 }
    }

    pub(crate) fn forget(&self, device: DeviceId) {
        let mut inner = self.lock();
        for id in inner.by_device.get(&device).cloned().unwrap_or_default() {
            inner.remove(id);
        }
    }

    /// What has changed since this was asked last; expired tickets go with it.
    pub(crate) fn take_changes(&self) -> Changes {
        let mut inner = self.lock();
        inner.drop_expired(now());
        let added = std::mem::take(&mut inner.added);
        let added = added.iter().filter_map(|id| {
            let kept = inner.by_id.get(id)?;
            let (secret, before) = (*kept.secret.expose(), kept.before.map(|id| id.0));
            Some(StoredTicket { id: id.0, device: kept.device.0, secret, issued_at: kept.issued_at, before })
        });
        let added = added.collect();
        Changes { added, removed: inner.removed.drain().map(|id| id.0).collect() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn drawn() -> (TicketId, Secret) {
    (TicketId(random()), Secret::new(random()))
}

impl Kept {
    const fn is_expired(&self, now: u64) -> bool {
        now.saturating_sub(self.issued_at) >= TICKET_TTL_SECS
    }
}

impl Inner {
    fn keep(&mut self, id: TicketId, device: DeviceId, secret: Secret, issued_at: u64, before: Option<TicketId>) {
        let number = self.next;
        self.next += 1;
        self.by_id.insert(id, Kept { number, device, secret, issued_at, before });
        self.all.insert(number, id);
        self.added.insert(id);
        let own = self.by_device.or_insert_with(device, Vec::new);
        // Most devices have one, and a vector begins with room for four.
        own.reserve_exact(1);
        own.push(id);
        if own.len() > OF_A_DEVICE_MAX {
            let oldest = own[0];
            self.remove(oldest);
        }
        if self.all.len() > TICKETS_MAX
            && let Some((_, oldest)) = self.all.first_key_value()
        {
            self.remove(*oldest);
        }
    }

    /// What lines were given that came with this one, and whose answer they never had.
    fn followers(&self, device: DeviceId, used: TicketId) -> Vec<TicketId> {
        let own = self.by_device.get(&device).map(Vec::as_slice).unwrap_or_default();
        own.iter().copied().filter(|id| self.by_id.get(id).is_some_and(|kept| kept.before == Some(used))).collect()
    }

    fn remove(&mut self, id: TicketId) {
        let Some(kept) = self.by_id.remove(&id) else { return };
        self.all.remove(&kept.number);
        if let Some(own) = self.by_device.get_mut(&kept.device) {
            own.retain(|own| *own != id);
            if own.is_empty() {
                self.by_device.remove(&kept.device);
            }
        }
        if !self.added.remove(&id) {
            self.removed.insert(id);
        }
    }

    fn drop_expired(&mut self, now: u64) {
        while let Some((_, oldest)) = self.all.first_key_value() {
            match self.by_id.get(oldest) {
                Some(kept) if !kept.is_expired(now) => break,
                _ => self.remove(*oldest),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceId = DeviceId([1; 32]);

    #[test]
    fn a_lost_answer_burns_no_ticket() {
        let tickets = Tickets::default();
        let first = tickets.issue(DEVICE, None);
        for _ in 0..5 {
            // It comes with the first again and again, because no answer reaches it.
            tickets.issue(DEVICE, Some(first.id));
            assert_eq!(tickets.secret(first.id), Some(first.secret.clone()));
        }
        assert_eq!(tickets.lock().by_id.len(), 2, "what never arrived is gone");
        let second = tickets.issue(DEVICE, Some(first.id));
        let third = tickets.issue(DEVICE, Some(second.id));
        assert_eq!(tickets.secret(first.id), None, "the second was used: the first is gone");
        assert!(tickets.secret(second.id).is_some() && tickets.secret(third.id).is_some());
    }

    /// A device's tabs each have a line; the AUTH_OK of one used to drop the tickets of the others.
    #[test]
    fn each_line_of_a_device_has_a_ticket_of_its_own() {
        let tickets = Tickets::default();
        let mut lines: Vec<_> = (0..16).map(|_| tickets.issue(DEVICE, None)).collect();
        for _ in 0..3 {
            for line in &mut lines {
                assert!(tickets.secret(line.id).is_some());
                *line = tickets.issue(DEVICE, Some(line.id));
            }
        }
        assert!(lines.iter().all(|line| tickets.secret(line.id).is_some()));
        // A device that never shows one has as many as it may have lines, not more.
        let lost: Vec<_> = (0..100).map(|_| tickets.issue(DEVICE, None)).collect();
        assert_eq!(lost.iter().filter(|ticket| tickets.secret(ticket.id).is_some()).count(), OF_A_DEVICE_MAX);
    }

    #[test]
    fn a_ticket_is_its_devices_alone() {
        let (tickets, other) = (Tickets::default(), DeviceId([2; 32]));
        let ticket = tickets.issue(DEVICE, None);
        assert!(tickets.is_of(ticket.id, DEVICE) && !tickets.is_of(ticket.id, other));
        // Shown by another device it is as if none had been shown, and stays its own device's.
        tickets.issue(other, Some(ticket.id));
        tickets.issue(other, Some(ticket.id));
        assert!(tickets.secret(ticket.id).is_some());
        assert_eq!(tickets.lock().by_device.get(&other).map(Vec::len), Some(2));
    }

    #[test]
    fn a_removed_device_leaves_no_ticket() {
        let tickets = Tickets::default();
        let ticket = tickets.issue(DEVICE, None);
        tickets.forget(DEVICE);
        assert_eq!(tickets.secret(ticket.id), None);
        let inner = tickets.lock();
        assert!(inner.by_id.is_empty() && inner.by_device.is_empty() && inner.all.is_empty());
    }

    #[test]
    fn what_changed_is_told_once_and_makes_the_same_tickets_again() {
        let tickets = Tickets::default();
        let (kept, gone) = (tickets.issue(DEVICE, None), tickets.issue(DeviceId([2; 32]), None));
        let first = tickets.take_changes();
        assert_eq!((first.added.len(), first.removed.len()), (2, 0));
        tickets.forget(DeviceId([2; 32]));
        let short_lived = tickets.issue(DeviceId([3; 32]), None);
        tickets.forget(DeviceId([3; 32]));
        let second = tickets.take_changes();
        assert_eq!((second.added.len(), second.removed), (0, vec![gone.id.0]));

        let stored = first.added.into_iter().filter(|ticket| ticket.id != gone.id.0).collect();
        let again = Tickets::load(stored);
        assert_eq!(again.secret(kept.id), Some(kept.secret));
        assert!(again.is_of(kept.id, DEVICE));
        assert_eq!((again.secret(gone.id), again.secret(short_lived.id)), (None, None));
        assert!(again.take_changes().added.is_empty(), "the store has them");
    }

    #[test]
    fn an_expired_ticket_is_none_and_is_dropped() {
        let (id, issued_at) = ([7; 16], now() - TICKET_TTL_SECS - 1);
        let stored = StoredTicket { id, device: DEVICE.0, secret: [1; 32], issued_at, before: None };
        let tickets = Tickets::load(vec![stored]);
        assert_eq!(tickets.secret(TicketId(id)), None);
        assert_eq!(tickets.take_changes().removed, vec![id]);
    }
}
