//! How much of what holds an open file a device may have under way: requests to a backend, files that are being taken. One beyond
//! that waits for its turn, in the order of arrival. All guests together have what a device has, and each network of them a part.
//!
//! What waits is a channel that the session holds anyway, of which nothing has been read yet.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use thiserror::Error;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use crate::{door::holder::Holder, state::files};

/// Of one device at a time. A browser has six requests on a host, and a device may have some pages.
const OF_A_DEVICE_MAX: usize = 32;
/// Of the guests of one network, of those that all guests have.
const OF_A_NETWORK_MAX: usize = 8;
/// How long one waits who wants an answer. A page that asks for a hundred things at once has them all.
pub(crate) const TURN: Duration = Duration::from_secs(10);
/// How often it looks for a file where all are in use.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Clone, Debug, Default)]
pub(crate) struct Shares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    holders: Mutex<HashMap<Holder, Own>>,
    guests: Arc<Semaphore>,
}

impl Default for Inner {
    fn default() -> Self {
        Self { holders: Mutex::default(), guests: Arc::new(Semaphore::new(OF_A_DEVICE_MAX)) }
    }
}

/// A holder's.
#[derive(Debug)]
struct Own {
    turns: Arc<Semaphore>,
    /// Its requests, with those that wait. It is forgotten with the last of them.
    requests: usize,
}

/// Why nothing has come of it.
#[derive(Debug, Error)]
pub(crate) enum Busy {
    #[error("this device has {OF_A_DEVICE_MAX} requests under way, and none of them ends: ask again when one has")]
    Device,
    #[error("more requests come from here than this server takes in a second: ask again in a moment")]
    Budget,
    #[error("guests have as many requests under way as they may: ask again in a moment, or sign in")]
    Guests,
    #[error("the server has as many requests under way as it may: ask again in a moment")]
    Server,
}

/// Its turn has come; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
    _place: Place,
}

/// A request of a holder's that is here, whether it waits or not.
#[derive(Debug)]
struct Place {
    holder: Holder,
    shares: Shares,
}

impl Shares {
    /// A holder's turn, soon or not at all. Before anything of what it wants is read.
    pub(crate) async fn turn(&self, holder: Holder) -> Result<Turn, Busy> {
        let busy = if holder.is_guest() { Busy::Guests } else { Busy::Device };
        timeout(TURN, self.wait(holder)).await.map_err(|_| busy)
    }

    /// A holder's turn, whenever that comes.
    pub(crate) async fn wait(&self, holder: Holder) -> Turn {
        let is_guest = holder.is_guest();
        let (place, turns) = self.enter(holder);
        let own = turns.acquire_owned().await.expect("they are never closed");
        let all = match is_guest {
            true => Some(Arc::clone(&self.0.guests).acquire_owned().await.expect("they are never closed")),
            false => None,
        };
        Turn { _permits: (own, all), _place: place }
    }

    fn enter(&self, holder: Holder) -> (Place, Arc<Semaphore>) {
        let mut all = self.lock();
        let turns = if holder.is_guest() { OF_A_NETWORK_MAX } else { OF_A_DEVICE_MAX };
        let own = all.entry(holder.clone());
        let own = own.or_insert_with(|| Own { turns: Arc::new(Semaphore::new(turns)), requests: 0 });
        own.requests += 1;
        (Place { holder, shares: self.clone() }, Arc::clone(&own.turns))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Holder, Own>> {
        self.0.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file, soon or not at all.
pub(crate) async fn file() -> Result<files::Counted, Busy> {
    timeout(TURN, wait_for_file()).await.map_err(|_| Busy::Server)
}

/// A file, whenever there is one.
pub(crate) async fn wait_for_file() -> files::Counted {
    loop {
        match files::at_work() {
            Some(file) => return file,
            None => sleep(LOOK).await,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.shares.lock();
        if let Some(own) = all.get_mut(&self.holder) {
            own.requests -= 1;
            if own.requests == 0 {
                all.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use duologue::DeviceId;
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_device_has_so_many_requests_and_leaves_others_theirs() {
        let shares = Shares::default();
        let of = |device| shares.turn(DeviceId([device; 32]).into());
        let mut own = Vec::new();
        for _ in 0..OF_A_DEVICE_MAX {
            own.push(of(1).await.expect("within its share"));
        }
        let mut next = Box::pin(of(1));
        assert!((&mut next).now_or_never().is_none(), "it waits");
        let _other = of(2).await.expect("its own share");
        own.pop();
        own.push(next.await.expect("one has ended"));
        let refused = of(1).await.expect_err("its turn does not come").to_string();
        assert!(refused.starts_with("this device has 32 requests under way"), "{refused}");
        drop(own);
        assert_eq!(shares.lock().len(), 1, "nothing is left of who is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn all_guests_have_what_a_device_has_and_a_network_of_them_a_quarter_of_it() {
        let shares = Shares::default();
        let of = |network: u8| shares.turn(Holder::guest([192, 0, 2, network].into()));
        let mut all = Vec::new();
        for network in 1..=4 {
            for _ in 0..OF_A_NETWORK_MAX {
                all.push(of(network).await.expect("within its part"));
            }
            assert!(Box::pin(of(network)).now_or_never().is_none(), "it waits");
        }
        let refused = of(5).await.expect_err("all guests have as much as one device");
        assert!(refused.to_string().starts_with("guests have"), "{refused}");
        let _device = shares.turn(DeviceId([1; 32]).into()).await.expect("its own share");
        drop(all);
        let _guest = of(5).await.expect("they have ended");
        assert_eq!(shares.lock().len(), 2, "nothing is left of who is gone");
    }
}
