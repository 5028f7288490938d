//! How much of what holds an open file a device may have under way: requests to a backend, files that are being taken. One beyond
//! that waits for its turn, in the order of arrival.
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

/// Of one device at a time. A browser has six requests on a host, and a device may have some pages.
const OF_A_DEVICE_MAX: usize = 32;
/// How long one waits who wants an answer. A page that asks for a hundred things at once has them all.
const TURN: Duration = Duration::from_secs(10);
/// How often it looks for a file where all are in use.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Clone, Debug, Default)]
pub(crate) struct Shares(Arc<Mutex<HashMap<DeviceId, Own>>>);

/// A device's.
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
    #[error("the server has as many requests under way as it may: ask again in a moment")]
    Server,
}

/// Its turn has come; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
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
    /// A device's turn, soon or not at all. Before anything of what it wants is read.
    pub(crate) async fn turn(&self, device: DeviceId) -> Result<Turn, Busy> {
        timeout(TURN, self.wait(device)).await.map_err(|_| Busy::Device)
    }

    /// A device's turn, whenever that comes.
    pub(crate) async fn wait(&self, device: DeviceId) -> Turn {
        let (place, turns) = self.enter(device);
        let permit = turns.acquire_owned().await.expect("they are never closed");
        Turn { _permit: permit, _place: place }
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
