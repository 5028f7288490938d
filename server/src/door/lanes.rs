//! Whose handshake goes on, of those whose M1 was read.
//!
//! ```text
//! a ticket, or an unused, unexpired invite, that this server knows ─► a lane of its own: one handshake at a time, four a minute
//! everybody else, and who has used up his lane ────────────────────► the strangers' lane: so many before their verdict
//! under pressure, who cannot show that his M1 is no replay ────────► before anything is computed, one after another
//! ```
//!
//! M1 can be replayed, so that what it shows exempts from nothing but that: a recorded one has the lane of its ticket for a
//! handshake at a time, and takes nothing from others'.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use duologue::Credential;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::lobby::HANDSHAKES_MAX;

/// Strangers whose M2 is paid for, of all handshakes: the other places are for those who show something.
const STRANGERS_MAX: usize = HANDSHAKES_MAX / 4 * 3;
/// Handshakes that a lane of one's own gives in a minute.
const OF_OWN_MAX: usize = 4;
const MINUTE: Duration = Duration::from_secs(60);
/// Lanes that are remembered. Beyond, who comes is a stranger.
const OWN_MAX: usize = 4_096;
/// Under pressure, between two of those who cannot show freshness.
const SLOW_GAP: Duration = Duration::from_millis(50);

/// What a credential is called among them. Tickets and invites have ids of their own kinds.
type Name = (bool, [u8; 16]);

#[derive(Debug)]
pub(crate) struct Lanes {
    own: Arc<Mutex<HashMap<Name, Lane>>>,
    strangers: Arc<Semaphore>,
    slow: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
pub(crate) struct Lane {
    is_taken: bool,
    began: Vec<Instant>,
}

/// A handshake that goes on; given back when its verdict is out.
#[derive(Debug)]
pub(crate) enum Pass {
    Own { name: Name, own: Arc<Mutex<HashMap<Name, Lane>>> },
    Stranger { _permit: OwnedSemaphorePermit },
}

impl Default for Lanes {
    fn default() -> Self {
        let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
        Self { own: Arc::default(), strangers, slow: tokio::sync::Mutex::default() }
    }
}

impl Lanes {
    /// The lane of what was shown and is known here; none if it is taken or used up. Then [`Self::stranger`].
    pub(crate) fn own(&self, credential: Credential) -> Option<Pass> {
        let name = match credential {
            Credential::None => return None,
            Credential::Ticket(id) => (false, id.0),
            Credential::Invite(id) => (true, id.0),
        };
        let now = Instant::now();
        let is_recent = |began: &Instant| now.saturating_duration_since(*began) < MINUTE;
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if own.len() >= OWN_MAX && !own.contains_key(&name) {
            own.retain(|_, lane| lane.is_taken || lane.began.iter().any(is_recent));
            if own.len() >= OWN_MAX {
                return None;
            }
        }
        let lane = own.entry(name).or_default();
        lane.began.retain(is_recent);
        if lane.is_taken || lane.began.len() >= OF_OWN_MAX {
            return None;
        }
        lane.is_taken = true;
        lane.began.push(now);
        Some(Pass::Own { name, own: Arc::clone(&self.own) })
    }

    /// The strangers' lane, when there is room in it.
    pub(crate) async fn stranger(&self) -> Pass {
        let permit = Arc::clone(&self.strangers).acquire_owned().await;
        Pass::Stranger { _permit: permit.expect("it is never closed") }
    }

    /// Under pressure, the turn of one who cannot show freshness.
    pub(crate) async fn slow(&self) {
        let _turn = self.slow.lock().await;
        tokio::time::sleep(SLOW_GAP).await;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Self::Own { name, own } = self
            && let Some(lane) = own.lock().unwrap_or_else(PoisonError::into_inner).get_mut(name)
        {
            lane.is_taken = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use duologue::{InviteId, TicketId};
    use futures_util::FutureExt as _;
    use tokio::task::unconstrained;

    use super::*;

    const TICKET: Credential = Credential::Ticket(TicketId([1; 16]));

    #[tokio::test(start_paused = true)]
    async fn a_recorded_m1_of_a_known_ticket_has_one_handshake_at_a_time_and_four_a_minute() {
        let lanes = Lanes::default();
        for _ in 0..OF_OWN_MAX {
            let pass = lanes.own(TICKET).expect("its own lane");
            assert!(lanes.own(TICKET).is_none(), "one at a time");
            assert!(lanes.own(Credential::Invite(InviteId([1; 16]))).is_some(), "another's lane is another");
            drop(pass);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(lanes.own(TICKET).is_none(), "four a minute");
        assert!(lanes.own(Credential::None).is_none());
        tokio::time::advance(Duration::from_secs(57)).await;
        assert!(lanes.own(TICKET).is_some(), "the first is a minute ago");
    }

    #[tokio::test]
    async fn strangers_wait_for_each_other_and_never_take_a_lane_of_ones_own() {
        let lanes = Lanes::default();
        let mut all = Vec::new();
        for _ in 0..STRANGERS_MAX {
            all.push(unconstrained(lanes.stranger()).now_or_never().expect("there is room"));
        }
        assert!(unconstrained(lanes.stranger()).now_or_never().is_none());
        assert!(lanes.own(TICKET).is_some());
        all.pop();
        assert!(unconstrained(lanes.stranger()).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn lanes_are_bounded_and_old_ones_forgotten() {
        let lanes = Lanes::default();
        let of = |number: usize| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            Credential::Ticket(TicketId(id))
        };
        for number in 0..OWN_MAX {
            assert!(lanes.own(of(number)).is_some());
        }
        assert!(lanes.own(of(OWN_MAX)).is_none(), "a stranger, then");
        tokio::time::advance(MINUTE).await;
        assert!(lanes.own(of(OWN_MAX)).is_some());
        assert_eq!(lanes.own.lock().expect("not poisoned").len(), 1);
    }
}
