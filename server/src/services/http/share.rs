//! How many requests may be under way: of a device, so that it leaves something to others, and in all, so that it leaves files
//! to the server. One beyond that waits for its turn, in the order of arrival, and is told `busy` if none comes.
//!
//! What waits is a channel that the session holds anyway, of which nothing has been read yet.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use duologue::DeviceId;
use thiserror::Error;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use crate::state::files;

/// Requests of one device at a time. A browser has six on a host, and a device may have some pages.
const OF_A_DEVICE_MAX: usize = 32;
/// How long one waits for its turn. A page that asks for a hundred things at once has them all.
const TURN: Duration = Duration::from_secs(10);
/// How often it looks for a file where all are in use.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Clone, Debug, Default)]
pub(super) struct Shares(Arc<Mutex<HashMap<DeviceId, Own>>>);

/// A device's.
#[derive(Debug)]
struct Own {
    turns: Arc<Semaphore>,
    /// Its requests, with those that wait. It is forgotten with the last of them.
    requests: usize,
}

/// Why a request is not asked.
#[derive(Debug, Error)]
pub(super) enum Busy {
    #[error("this device has {OF_A_DEVICE_MAX} requests under way, and none of them ends: ask again when one has")]
    Device,
    #[error("the server has as many requests under way as it may: ask again in a moment")]
    Server,
}

/// Its turn has come; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
    _place: Place,
}

/// A request of a device's that is here, whether it waits or not.
#[derive(Debug)]
struct Place {
    device: DeviceId,
    shares: Shares,
}

impl Shares {
    /// A device's turn. Before anything of its request is read.
    pub(super) async fn turn(&self, device: DeviceId) -> Result<Turn, Busy> {
        let (place, turns) = self.enter(device);
        match timeout(TURN, turns.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Turn { _permit: permit, _place: place }),
            _ => Err(Busy::Device),
        }
    }

    fn enter(&self, device: DeviceId) -> (Place, Arc<Semaphore>) {
        let mut all = self.lock();
        let own = all.entry(device);
        let own = own.or_insert_with(|| Own { turns: Arc::new(Semaphore::new(OF_A_DEVICE_MAX)), requests: 0 });
        own.requests += 1;
        (Place { device, shares: self.clone() }, Arc::clone(&own.turns))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, Own>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file for a connection to the backend.
pub(super) async fn file() -> Result<files::Counted, Busy> {
    let looking = async {
        loop {
            match files::request() {
                Some(file) => return file,
                None => sleep(LOOK).await,
            }
        }
    };
    timeout(TURN, looking).await.map_err(|_| Busy::Server)
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.shares.lock();
        if let Some(own) = all.get_mut(&self.device) {
            own.requests -= 1;
            if own.requests == 0 {
                all.remove(&self.device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_device_has_so_many_requests_and_leaves_others_theirs() {
        let shares = Shares::default();
        let of = |device| shares.turn(DeviceId([device; 32]));
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
}
