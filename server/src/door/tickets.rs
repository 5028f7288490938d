//! Tickets: what a device that was here before brings beside its key. In memory only: a ticket that is lost with a restart
//! costs its device nothing, because the device key suffices.
//!
//! A device has at most two: the one it came with, and the one that it was given. The first goes when the second is used,
//! so that a lost AUTH_OK never burns the ticket it came with.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use duologue::{DeviceId, Secret, Ticket, TicketId, limits::TICKET_TTL_SECS};

/// Devices whose tickets are kept; the one that was here longest ago makes room.
const DEVICES_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(crate) struct Tickets(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    by_id: HashMap<TicketId, (Secret, Instant)>,
    by_device: HashMap<DeviceId, Held>,
}

#[derive(Debug)]
struct Held {
    ids: Vec<TicketId>,
    since: Instant,
}

impl Tickets {
    pub(crate) fn secret(&self, id: TicketId) -> Option<Secret> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (secret, since) = inner.by_id.get(&id)?;
        (since.elapsed() < Duration::from_secs(TICKET_TTL_SECS)).then(|| secret.clone())
    }

    /// A new ticket for a device that has proved `used`. Its other tickets are dropped; another device's is no concern of it.
    pub(crate) fn issue(&self, device: DeviceId, used: Option<TicketId>) -> Ticket {
        let (mut id, mut secret) = ([0; 16], [0; 32]);
        getrandom::fill(&mut id).expect("the operating system gives random bytes");
        getrandom::fill(&mut secret).expect("the operating system gives random bytes");
        let (id, secret) = (TicketId(id), Secret::new(secret));
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = inner.by_device.remove(&device).map(|held| held.ids).unwrap_or_default();
        let (kept, dropped): (Vec<_>, Vec<_>) = held.into_iter().partition(|held| Some(*held) == used);
        for id in dropped {
            inner.by_id.remove(&id);
        }
        if inner.by_device.len() >= DEVICES_MAX {
            inner.drop_oldest();
        }
        inner.by_id.insert(id, (secret.clone(), Instant::now()));
        let ids = kept.into_iter().chain([id]).collect();
        inner.by_device.insert(device, Held { ids, since: Instant::now() });
        Ticket { id, secret, lifetime_secs: u32::try_from(TICKET_TTL_SECS).expect("a week fits") }
    }

    pub(crate) fn forget(&self, device: DeviceId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).forget(device);
    }
}

impl Inner {
    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.by_device.iter().min_by_key(|(_, held)| held.since).map(|(device, _)| *device) {
            self.forget(oldest);
        }
    }

    fn forget(&mut self, device: DeviceId) {
        for id in self.by_device.remove(&device).map(|held| held.ids).unwrap_or_default() {
            self.by_id.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_answer_burns_no_ticket() {
        let (tickets, device) = (Tickets::default(), DeviceId([1; 32]));
        let first = tickets.issue(device, None);
        for _ in 0..5 {
            // It comes with the first again and again, because no answer reaches it.
            tickets.issue(device, Some(first.id));
            assert_eq!(tickets.secret(first.id), Some(first.secret.clone()));
        }
        let second = tickets.issue(device, Some(first.id));
        let third = tickets.issue(device, Some(second.id));
        assert_eq!(tickets.secret(first.id), None, "the second was used: the first is gone");
        assert!(tickets.secret(second.id).is_some() && tickets.secret(third.id).is_some());
    }

    #[test]
    fn a_removed_device_leaves_no_ticket() {
        let (tickets, device) = (Tickets::default(), DeviceId([1; 32]));
        let ticket = tickets.issue(device, None);
        tickets.forget(device);
        assert_eq!(tickets.secret(ticket.id), None);
        assert!(tickets.0.lock().expect("not poisoned").by_id.is_empty());
    }
}
