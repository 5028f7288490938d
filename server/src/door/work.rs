//! Work that blocks, on the store or on files: how much of it a device may have done at a time.
//!
//! ```text
//! a device's question ─► its own 4 places ──────────────────────► one of 128 in all ─► a thread
//! a guest's ───────────► its network's 2 ─► the 4 of all guests ─┘    the owner's verbs have threads of their own
//!                          up to 4,096 wait, in order
//! ```
//!
//! Whoever asks for more than his share waits behind himself: a device holds 4 of the places that all wait for, whatever it asks
//! for. A place is given back when the work is done, also if nobody waits for its result any more.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicUsize, Ordering},
};

use thiserror::Error;
use tokio::sync::Semaphore;

use super::holder::Holder;
use crate::state::sharded::Sharded;

/// Work of one device that is done at a time.
const OF_ONE_MAX: usize = 4;
/// Work of the guests of one network, of the same four that all guests have together.
const OF_A_NETWORK_MAX: usize = 2;
/// Work of those who have not proved themselves, all together: they look up invites.
const OF_STRANGERS_MAX: usize = 16;
/// Work of all devices that is done at a time. tokio has 512 such threads; the others are for whoever else needs one.
const OF_ALL_MAX: usize = 128;
/// What may wait of one device: a channel each, 256 on each of its 16 lines.
const WAITING_MAX: usize = 16 * 256;

/// Why work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum WorkError {
    /// Too much of this device's, or of all guests', waits already.
    #[error("too much was asked at a time: {WAITING_MAX} questions of this device, or of all guests, wait")]
    TooMuch,
    /// It has panicked, or the server ends.
    #[error("the server failed at it; its log says more")]
    Failed,
}

/// The places of all. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Work(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    all: Arc<Semaphore>,
    holders: Mutex<Sharded<Holder, Weak<Own>>>,
    strangers: Share,
    guests: Arc<Own>,
}

/// What one device may have done. Clones are the same share.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    all: Arc<Semaphore>,
    own: Arc<Own>,
    /// That of a crowd to which whoever has it belongs.
    crowd: Option<Arc<Own>>,
}

#[derive(Debug)]
struct Own {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Default for Work {
    fn default() -> Self {
        let all = Arc::new(Semaphore::new(OF_ALL_MAX));
        let strangers = Share { all: Arc::clone(&all), own: Arc::new(Own::new(OF_STRANGERS_MAX)), crowd: None };
        let guests = Arc::new(Own::new(OF_ONE_MAX));
        Self(Arc::new(Inner { all, holders: Mutex::default(), strangers, guests }))
    }
}

impl Work {
    /// A holder's share, the same for all its lines.
    pub(crate) fn of(&self, holder: impl Into<Holder>) -> Share {
        let holder = holder.into();
        let crowd = holder.is_guest().then(|| Arc::clone(&self.0.guests));
        let mut holders = self.0.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let found = holders.get(&holder).and_then(Weak::upgrade);
        let own = found.unwrap_or_else(|| {
            holders.tidy_for(&holder, |own| own.strong_count() > 0);
            let places = if crowd.is_some() { OF_A_NETWORK_MAX } else { OF_ONE_MAX };
            let own = Arc::new(Own::new(places));
            holders.insert(holder, Arc::downgrade(&own));
            own
        });
        Share { all: Arc::clone(&self.0.all), own, crowd }
    }

    /// The share of those who have not proved who they are.
    pub(crate) fn of_strangers(&self) -> &Share {
        &self.0.strangers
    }
}

impl Own {
    fn new(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), waiting: AtomicUsize::new(0) }
    }
}

impl Share {
    /// Does something where it may block, when it is its turn.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkError> {
        let waits = Waits::new(&self.own)?;
        let in_crowd = self.crowd.as_deref().map(Waits::new).transpose()?;
        let own = Arc::clone(&self.own.places).acquire_owned().await.map_err(|_| WorkError::Failed)?;
        let crowds = match &self.crowd {
            Some(crowd) => Some(Arc::clone(&crowd.places).acquire_owned().await.map_err(|_| WorkError::Failed)?),
            None => None,
        };
        let all = Arc::clone(&self.all).acquire_owned().await.map_err(|_| WorkError::Failed)?;
        drop((waits, in_crowd));
        let work = move || {
            let done = work();
            drop((own, crowds, all));
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| WorkError::Failed)
    }
}

/// Counts one that waits.
struct Waits<'a>(&'a Own);

impl<'a> Waits<'a> {
    fn new(own: &'a Own) -> Result<Self, WorkError> {
        let waits = Self(own);
        if own.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX { Err(WorkError::TooMuch) } else { Ok(waits) }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use duologue::DeviceId;

    use super::*;

    fn device(number: u8) -> DeviceId {
        DeviceId([number; 32])
    }

    /// Nobody passes before the first of the two is dropped.
    fn gate() -> (mpsc::Sender<()>, Arc<Mutex<mpsc::Receiver<()>>>) {
        let (closed, gate) = mpsc::channel();
        (closed, Arc::new(Mutex::new(gate)))
    }

    fn passes(gate: &Mutex<mpsc::Receiver<()>>) {
        gate.lock().expect("not poisoned").recv().expect_err("nothing is ever sent");
    }

    #[tokio::test]
    async fn a_device_that_asks_for_a_thousand_things_has_four_done_at_a_time_and_keeps_up_nobody() {
        let work = Work::default();
        let (begun, begins) = mpsc::channel();
        let (closed, gate) = gate();
        let asked: Vec<_> = (0..1_000)
            .map(|number| {
                let (share, begun, gate) = (work.of(device(1)), begun.clone(), Arc::clone(&gate));
                tokio::spawn(async move {
                    share
                        .run(move || {
                            begun.send(number).expect("heard");
                            passes(&gate);
                            number
                        })
                        .await
                })
            })
            .collect();
        // Others are served beside it, and so are strangers; all of its places are taken meanwhile.
        for other in 2..100 {
            assert_eq!(work.of(device(other)).run(move || other).await, Ok(other));
        }
        assert_eq!(work.of_strangers().run(|| 7).await, Ok(7));
        let first: Vec<_> = begins.try_iter().collect();
        assert_eq!(first.len(), OF_ONE_MAX, "{first:?}");
        drop(closed);
        for (number, asked) in asked.into_iter().enumerate() {
            assert_eq!(asked.await.expect("no panic"), Ok(number), "everything is done in the end");
        }
    }

    #[tokio::test]
    async fn all_guests_are_one_and_one_network_of_them_leaves_the_others_a_place() {
        let work = Work::default();
        let guest = |network: u8| Holder::guest([192, 0, 2, network].into());
        let (closed, gate) = gate();
        let (begun, begins) = mpsc::channel();
        let ask = |network: u8| {
            let (share, begun, gate) = (work.of(guest(network)), begun.clone(), Arc::clone(&gate));
            tokio::spawn(async move {
                let work = move || {
                    begun.send(network).expect("heard");
                    passes(&gate);
                };
                share.run(work).await
            })
        };
        let mut asked: Vec<_> = (0..100).map(|_| ask(1)).collect();
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        asked.extend((2..50).map(ask));
        // Somebody who was let in is served beside them, and so is whoever has shown who he is.
        let ada = Holder::Subject(super::super::standing::Subject::new("ada").expect("a name"));
        assert_eq!(work.of(device(1)).run(|| 1).await, Ok(1));
        assert_eq!(work.of(ada).run(|| 2).await, Ok(2));
        let mut first = vec![begins.recv().expect("a first")];
        while first.len() < OF_ONE_MAX {
            match begins.try_recv() {
                Ok(network) => first.push(network),
                Err(_) => tokio::task::yield_now().await,
            }
        }
        assert_eq!(first.iter().filter(|network| **network == 1).count(), OF_A_NETWORK_MAX, "{first:?}");
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert!(begins.try_recv().is_err(), "four of all guests at a time");
        drop(closed);
        for asked in asked {
            assert_eq!(asked.await.expect("no panic"), Ok(()), "everything is done in the end");
        }
    }

    #[tokio::test]
    async fn what_is_given_up_keeps_its_place_until_it_has_ended() {
        let work = Work::default();
        let share = work.of(device(1));
        let (closed, gate) = gate();
        let (begun, begins) = mpsc::channel();
        for _ in 0..OF_ONE_MAX {
            let (begun, gate, share) = (begun.clone(), Arc::clone(&gate), share.clone());
            let task = tokio::spawn(async move {
                share
                    .run(move || {
                        begun.send(()).expect("heard");
                        passes(&gate);
                    })
                    .await
            });
            while begins.try_recv().is_err() {
                tokio::task::yield_now().await;
            }
            task.abort();
            let _ = task.await;
        }
        assert_eq!(share.own.places.available_permits(), 0, "the threads still work");
        drop(closed);
        assert_eq!(share.run(|| 1).await, Ok(1));
    }

    #[tokio::test]
    async fn what_waits_has_a_bound_and_who_is_gone_leaves_nothing() {
        let work = Work::default();
        let share = work.of(device(1));
        let all: Vec<_> = (0..WAITING_MAX).map(|_| Waits::new(&share.own).expect("there is room")).collect();
        assert_eq!(share.run(|| 1).await, Err(WorkError::TooMuch));
        drop(all);
        assert_eq!(share.run(|| 1).await, Ok(1));
        for number in 0..10_000_u32 {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&number.to_be_bytes());
            drop(work.of(DeviceId(id)));
        }
        let kept = work.0.holders.lock().expect("not poisoned").len();
        assert!(kept <= 1_024, "{kept}");
    }
}
