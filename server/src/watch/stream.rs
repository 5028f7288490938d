//! The stream of events: who tells never waits, who reads has a bounded queue of his own.
//!
//! Where a queue is full, what comes is counted by kind and not kept; a quarter of each queue is for what is audited, so that no
//! flood of connections keeps a revocation out of it. Each reader tells what it has lost.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    bans::Bans,
    events::{Event, Kind},
    lines, log,
    metrics::Times,
    recent::{Recent, Since},
};

/// Events that the log may be behind, some 200 bytes each.
const LOG_ROOM: usize = 8_192;
/// For how long nobody wakes a reader's thread that has just read all there was: what is told meanwhile it takes together. To be
/// woken for each event costs whoever tells it more than the event.
const REST: Duration = Duration::from_millis(5);
/// How long a server that stops waits for the log to be written.
const FLUSH: Duration = Duration::from_secs(1);

/// What is told to everybody who reads. Clones are the same stream; what reads ends when the last of them is gone.
#[derive(Clone, Debug)]
pub struct Watch(Arc<Stream>);

struct Stream {
    bans: Bans,
    readers: RwLock<Vec<Arc<Queue>>>,
    /// How many of each kind there were.
    told: [AtomicU64; Kind::ALL.len()],
    /// Where lines of the log went when the stream was made.
    dispatch: tracing::Dispatch,
    log: OnceLock<Arc<Queue>>,
    recent: Recent,
    times: Times,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let readers = self.readers.get_mut().unwrap_or_else(PoisonError::into_inner);
        readers.drain(..).for_each(|queue| queue.close());
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self(Arc::new(Stream {
            bans: Bans::default(),
            readers: RwLock::default(),
            told: [const { AtomicU64::new(0) }; Kind::ALL.len()],
            dispatch: tracing::dispatcher::get_default(Clone::clone),
            log: OnceLock::new(),
            recent: Recent::default(),
            times: Times::default(),
        }))
    }
}

impl Watch {
    /// Tells it to all who read. Never waits, and keeps no more than the readers' bounds.
    pub fn tell(&self, mut event: Event) {
        if !cfg!(feature = "watch") {
            return;
        }
        event.stranger = event.device.and_then(|device| log::address_of_stranger(&device));
        if let Some(count) = self.0.told.get(event.kind.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.0.log.get_or_init(|| self.start_log());
        let event = Arc::new(event);
        self.0.recent.push(&event);
        let readers = self.0.readers.read().unwrap_or_else(PoisonError::into_inner);
        readers.iter().for_each(|queue| queue.push(&event));
    }

    /// Reads from now on what is told, at most so many events behind.
    #[must_use]
    pub fn subscribe(&self, room: usize) -> Reader {
        let queue = Arc::new(Queue::new(room));
        let mut readers = self.0.readers.write().unwrap_or_else(PoisonError::into_inner);
        // Those who read no more are forgotten, so that whoever tells does not pass them for ever.
        readers.retain(|reader| !reader.lock().is_closed);
        readers.push(Arc::clone(&queue));
        Reader(queue)
    }

    pub(crate) fn downgrade(&self) -> WeakWatch {
        WeakWatch(Arc::downgrade(&self.0))
    }

    /// What is measured where it passes.
    pub(crate) fn times(&self) -> &Times {
        &self.0.times
    }

    /// Who is kept out for a time.
    #[must_use]
    pub fn bans(&self) -> &Bans {
        &self.0.bans
    }

    /// How many of each kind there were since the start; those that there were none of are left out.
    #[must_use]
    pub fn told(&self) -> Vec<(Kind, u64)> {
        counts(&self.0.told)
    }

    /// The last events behind this number, at most so many.
    pub(crate) fn since(&self, number: u64, most: usize) -> Since {
        self.0.recent.since(number, most)
    }

    /// How many of each kind some reader has lost, because it was too far behind.
    #[must_use]
    pub fn lost(&self) -> Vec<(Kind, u64)> {
        let mut lost = HashMap::<Kind, u64>::new();
        let readers = self.0.readers.read().unwrap_or_else(PoisonError::into_inner);
        for (kind, count) in readers.iter().flat_map(|queue| counts(&queue.lost)) {
            let sum = lost.entry(kind).or_default();
            *sum = sum.saturating_add(count);
        }
        let mut lost: Vec<_> = lost.into_iter().collect();
        lost.sort_unstable();
        lost
    }

    /// Waits a moment until the log has all that was told: before a process ends.
    pub fn flush(&self) {
        if let Some(queue) = self.0.log.get() {
            queue.wait_until_read(FLUSH);
        }
    }

    fn start_log(&self) -> Arc<Queue> {
        let reader = self.subscribe(LOG_ROOM);
        let queue = Arc::clone(&reader.0);
        let dispatch = self.0.dispatch.clone();
        let write = move || match dispatch.is::<tracing::subscriber::NoSubscriber>() {
            // There is one for the whole process by now, or nobody listens.
            true => lines::write_all(&reader),
            false => tracing::dispatcher::with_default(&dispatch, || lines::write_all(&reader)),
        };
        if let Err(error) = thread::Builder::new().name("watch-log".to_owned()).spawn(write) {
            tracing::error!(%error, "the log has no thread: what callers do is not in it");
        }
        queue
    }
}

/// The same, of somebody whom nobody waits for.
#[derive(Clone, Debug)]
pub(crate) struct WeakWatch(Weak<Stream>);

impl WeakWatch {
    /// None if nobody tells any more.
    pub(crate) fn upgrade(&self) -> Option<Watch> {
        self.0.upgrade().map(Watch)
    }
}

/// One who reads the stream.
#[derive(Debug)]
pub struct Reader(Arc<Queue>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Reader {
    /// The next event. None when nobody tells any more.
    pub async fn next(&self) -> Option<Arc<Event>> {
        loop {
            let mut came = std::pin::pin!(self.0.came.notified());
            came.as_mut().enable();
            {
                let mut inner = self.0.lock();
                if let Some(event) = inner.take() {
                    return Some(event);
                }
                if inner.is_closed {
                    return None;
                }
            }
            came.await;
        }
    }

    /// The same on a thread of its own. [`Read::Nothing`] after `wait` without one.
    pub fn next_within(&self, wait: Duration) -> Read {
        let until = Instant::now() + wait;
        let mut inner = self.0.lock();
        loop {
            if let Some(event) = inner.take() {
                return Read::Event(event);
            }
            self.0.read.notify_all();
            let left = until.saturating_duration_since(Instant::now());
            if inner.is_closed {
                return Read::End;
            }
            if left.is_zero() {
                return Read::Nothing;
            }
            let rests = std::mem::take(&mut inner.has_read);
            inner.is_to_be_woken = !rests;
            let left = if rests { left.min(REST) } else { left };
            inner = self.0.waiting.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
            inner.is_to_be_woken = false;
        }
    }

    /// What this reader has lost of each kind since the start.
    #[must_use]
    pub fn lost(&self) -> Vec<(Kind, u64)> {
        counts(&self.0.lost)
    }
}

/// What a reader finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The next event.
    Event(Arc<Event>),
    /// None, for as long as was waited.
    Nothing,
    /// Nobody tells any more.
    End,
}

struct Queue {
    inner: Mutex<Inner>,
    /// For a reader that is a thread.
    waiting: Condvar,
    /// For one that is a task.
    came: Notify,
    /// Everything was taken, and what was taken last is done with.
    read: Condvar,
    room: usize,
    lost: [AtomicU64; Kind::ALL.len()],
}

#[derive(Default)]
struct Inner {
    events: VecDeque<Arc<Event>>,
    is_closed: bool,
    /// The reader has one that it has not done with.
    is_busy: bool,
    /// A thread has read since it last waited.
    has_read: bool,
    /// A thread waits for the next one.
    is_to_be_woken: bool,
}

impl Inner {
    fn take(&mut self) -> Option<Arc<Event>> {
        let event = self.events.pop_front();
        if event.is_none() && self.events.capacity() > 64 {
            self.events.shrink_to(64);
        }
        self.is_busy = event.is_some();
        self.has_read |= event.is_some();
        event
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("room", &self.room).finish_non_exhaustive()
    }
}

impl Queue {
    fn new(room: usize) -> Self {
        Self {
            inner: Mutex::default(),
            waiting: Condvar::new(),
            came: Notify::new(),
            read: Condvar::new(),
            room: room.max(4),
            lost: [const { AtomicU64::new(0) }; Kind::ALL.len()],
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, event: &Arc<Event>) {
        let room = if event.kind.is_audited() { self.room } else { self.room - self.room / 4 };
        let is_to_be_woken = {
            let mut inner = self.lock();
            if inner.is_closed {
                return;
            }
            if inner.events.len() >= room {
                if let Some(count) = self.lost.get(event.kind.index()) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                return;
            }
            inner.events.push_back(Arc::clone(event));
            std::mem::take(&mut inner.is_to_be_woken)
        };
        if is_to_be_woken {
            self.waiting.notify_one();
        }
        self.came.notify_one();
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.waiting.notify_all();
        self.read.notify_all();
        self.came.notify_waiters();
        self.came.notify_one();
    }

    fn wait_until_read(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut inner = self.lock();
        while !inner.is_closed && (!inner.events.is_empty() || inner.is_busy) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            inner = self.read.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn counts(of: &[AtomicU64; Kind::ALL.len()]) -> Vec<(Kind, u64)> {
    let counts = Kind::ALL.iter().zip(of).map(|(kind, count)| (*kind, count.load(Ordering::Relaxed)));
    counts.filter(|(_, count)| *count > 0).collect()
}

#[cfg(all(test, feature = "watch"))]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_is_too_slow_loses_by_kind_and_nothing_that_is_audited_before_the_last_quarter_is_full() {
        let watch = Watch::default();
        let slow = watch.subscribe(100);
        for _ in 0..1_000 {
            watch.tell(Event::of(Kind::ConnectionFailed));
        }
        for _ in 0..30 {
            watch.tell(Event::of(Kind::OwnerRevoked));
        }
        assert_eq!(slow.lost(), [(Kind::ConnectionFailed, 925), (Kind::OwnerRevoked, 5)]);
        let mut read = Vec::new();
        while let Read::Event(event) = slow.next_within(Duration::ZERO) {
            read.push(event.kind);
        }
        assert_eq!((read.len(), read.iter().filter(|kind| **kind == Kind::OwnerRevoked).count()), (100, 25));
        // And it goes on.
        watch.tell(Event::of(Kind::LineOpen));
        assert!(matches!(slow.next_within(Duration::ZERO), Read::Event(event) if event.kind == Kind::LineOpen));
        assert_eq!(watch.told().len(), 3);
    }

    #[test]
    fn a_thread_reads_within_a_moment_what_is_told_while_it_rests() {
        let watch = Watch::default();
        let (reader, (told, heard)) = (watch.subscribe(8), std::sync::mpsc::channel());
        let reading = thread::spawn(move || {
            while let Read::Event(event) = reader.next_within(Duration::from_secs(60)) {
                told.send(event.kind).expect("somebody asks");
            }
        });
        for _ in 0..200 {
            watch.tell(Event::of(Kind::LineOpen));
            let kind = heard.recv_timeout(Duration::from_secs(10)).expect("it is not forgotten");
            assert_eq!(kind, Kind::LineOpen);
        }
        drop(watch);
        reading.join().expect("it ends when nobody tells any more");
    }

    #[tokio::test]
    async fn a_task_reads_what_comes_later_and_hears_of_the_end() {
        let watch = Watch::default();
        let reader = watch.subscribe(8);
        let teller = tokio::spawn(async move {
            tokio::task::yield_now().await;
            watch.tell(Event::of(Kind::LineOpen).code("normal"));
        });
        let event = reader.next().await.expect("it is told");
        assert_eq!((event.kind, event.code), (Kind::LineOpen, Some("normal")));
        teller.await.expect("no panic");
        assert_eq!(reader.next().await, None, "nobody tells any more");
    }
}
