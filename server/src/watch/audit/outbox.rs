//! What else gets each line: a bounded queue before somebody who may be slow, or gone.
//!
//! ```text
//! writer ─► outbox: 10,000 lines, 4 MB ─► courier, on a thread of its own: batches, tried again until they arrive
//!           └► full: the oldest go, and are counted
//! ```
//!
//! A line may arrive twice: its number says which it is. One that never arrives leaves a gap in the numbers, which whoever keeps
//! them can see.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::watch::{
    events::{Event, Kind},
    stream::Watch,
};

/// Lines that wait at most, and their bytes.
const LINES_MAX: usize = 10_000;
const BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// Lines of one delivery at most, and their bytes.
const BATCH_MAX: usize = 100;
const BATCH_BYTES_MAX: usize = 256 * 1_024;
/// How long after a failure it is tried again, at first and at most.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// How long a server that stops waits for what is still there.
const LAST: Duration = Duration::from_secs(3);

/// Who brings lines somewhere. It may take its time, and bounds that itself.
pub trait Courier: Send {
    /// Where it goes, as the log names it.
    fn name(&self) -> String;

    /// Brings these lines, each one JSON without an end.
    ///
    /// # Errors
    /// If they have not all arrived: then all of them are brought again.
    fn deliver(&mut self, lines: &[Arc<str>]) -> Result<(), String>;
}

/// What waits, and what was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sink {
    /// Where it goes.
    pub name: String,
    /// Lines that wait.
    pub waiting: u64,
    /// Lines that never arrive there, since the start.
    pub lost: u64,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Outbox {
    name: String,
    inner: Mutex<Inner>,
    changed: Condvar,
    watch: Watch,
}

#[derive(Debug, Default)]
struct Inner {
    lines: VecDeque<Arc<str>>,
    bytes: usize,
    lost: u64,
    /// Counted, and not told yet.
    untold: u64,
    /// No more lines come; when the last try is over.
    ends: Option<Instant>,
    is_over: bool,
}

impl Outbox {
    /// A queue before somebody, and the thread that empties it.
    pub(super) fn start(mut courier: Box<dyn Courier>, watch: &Watch) -> io::Result<Arc<Self>> {
        let (name, watch) = (courier.name(), watch.clone());
        let outbox = Arc::new(Self { name, inner: Mutex::default(), changed: Condvar::new(), watch });
        let work = Arc::clone(&outbox);
        thread::Builder::new().name("audit-sink".to_owned()).spawn(move || work.run(&mut *courier))?;
        Ok(outbox)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a line. Where there is no room, the oldest one goes.
    pub(super) fn push(&self, line: Arc<str>) {
        let mut inner = self.lock();
        inner.bytes += line.len();
        inner.lines.push_back(line);
        while inner.lines.len() > LINES_MAX || inner.bytes > BYTES_MAX {
            let Some(oldest) = inner.lines.pop_front() else { break };
            inner.bytes -= oldest.len();
            inner.lost += 1;
            inner.untold += 1;
        }
        self.changed.notify_all();
    }

    pub(super) fn state(&self) -> Sink {
        let inner = self.lock();
        Sink { name: self.name.clone(), waiting: inner.lines.len() as u64, lost: inner.lost }
    }

    /// Brings what is still there, for a moment, and ends.
    pub(super) fn end(&self) {
        let until = Instant::now() + LAST;
        let mut inner = self.lock();
        inner.ends = Some(until);
        self.changed.notify_all();
        while !inner.is_over {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let count = inner.lines.len();
                drop(inner);
                return self
                    .tell(Kind::SinkFailed, &format!("{count} lines have not reached it: the log on disk has them"));
            }
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn run(&self, courier: &mut dyn Courier) {
        let mut again = None;
        while let Some(batch) = self.next_batch(again) {
            let was_failing = again.is_some();
            match courier.deliver(&batch) {
                Ok(()) => {
                    again = None;
                    self.take(&batch);
                    if was_failing {
                        self.tell(Kind::SinkAgain, "takes the audit log again");
                    }
                }
                Err(error) => {
                    if !was_failing {
                        self.tell(
                            Kind::SinkFailed,
                            &format!("does not take the audit log: {error}; it is tried again"),
                        );
                    }
                    again = Some(again.map_or(AGAIN, |again| AGAIN_MAX.min(2 * again)));
                }
            }
            let lost = std::mem::take(&mut self.lock().untold);
            if lost > 0 {
                self.tell(Kind::SinkFailed, &format!("{lost} lines will never reach it: the log on disk has them"));
            }
        }
        self.lock().is_over = true;
        self.changed.notify_all();
    }

    fn tell(&self, kind: Kind, what: &str) {
        self.watch.tell(Event::of(kind).note(format!("{} {what}", self.name)));
    }

    /// What is to be brought next, after a while if the last try failed. None at the end.
    fn next_batch(&self, again: Option<Duration>) -> Option<Vec<Arc<str>>> {
        let until = again.map(|again| Instant::now() + again);
        let mut inner = self.lock();
        loop {
            let now = Instant::now();
            let is_time = until.is_none_or(|until| until <= now);
            match inner.ends {
                Some(_) if inner.lines.is_empty() => return None,
                Some(ends) if ends <= now => return None,
                // One more try, however lately the last one failed; then no other.
                Some(ends) if again.is_some() && !is_time => {
                    let left = until.map_or(Duration::ZERO, |until| until.min(ends).saturating_duration_since(now));
                    inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
                    continue;
                }
                _ => {}
            }
            if is_time && !inner.lines.is_empty() {
                let mut bytes = 0;
                let fits = |line: &&Arc<str>| {
                    bytes += line.len();
                    bytes <= BATCH_BYTES_MAX
                };
                return Some(inner.lines.iter().take(BATCH_MAX).take_while(fits).cloned().collect());
            }
            inner = match until.filter(|until| *until > now) {
                Some(until) => self.changed.wait_timeout(inner, until - now).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Those have arrived. Some may have gone meanwhile, for want of room: those in front.
    fn take(&self, batch: &[Arc<str>]) {
        let mut inner = self.lock();
        for line in batch {
            if inner.lines.front().is_some_and(|front| Arc::ptr_eq(front, line)) {
                inner.bytes -= line.len();
                inner.lines.pop_front();
            } else {
                // It arrived although it was counted.
                inner.lost = inner.lost.saturating_sub(1);
                inner.untold = inner.untold.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    struct Tried {
        tries: Sender<Vec<Arc<str>>>,
        answers: Receiver<Result<(), String>>,
    }

    impl Courier for Tried {
        fn name(&self) -> String {
            "a test".to_owned()
        }

        fn deliver(&mut self, lines: &[Arc<str>]) -> Result<(), String> {
            self.tries.send(lines.to_vec()).map_err(|error| error.to_string())?;
            self.answers.recv().unwrap_or(Ok(()))
        }
    }

    fn line(number: usize) -> Arc<str> {
        format!("{number}").into()
    }

    #[test]
    fn what_did_not_arrive_is_brought_again_and_what_there_is_no_room_for_is_counted() {
        let ((tries, tried), (answer, answers)) = (channel(), channel());
        let outbox = Outbox::start(Box::new(Tried { tries, answers }), &Watch::default()).expect("started");
        outbox.push(line(0));
        assert_eq!(tried.recv().expect("tried"), [line(0)]);
        for number in 1..=LINES_MAX + 4 {
            outbox.push(line(number));
        }
        assert_eq!(outbox.state(), Sink { name: "a test".to_owned(), waiting: LINES_MAX as u64, lost: 5 });
        answer.send(Err("not now".to_owned())).expect("it waits");
        let again = tried.recv().expect("tried again, after a second");
        assert_eq!((again.len(), &again[0]), (BATCH_MAX, &line(5)), "the oldest that is still there");
        drop(answer);
        outbox.end();
        let arrived = again.len() + tried.try_iter().map(|batch| batch.len()).sum::<usize>();
        assert_eq!((arrived, outbox.state().waiting, outbox.state().lost), (LINES_MAX, 0, 5));
    }

    #[test]
    fn a_line_that_arrives_while_there_is_no_room_for_it_is_not_lost() {
        let ((tries, tried), (answer, answers)) = (channel(), channel());
        let outbox = Outbox::start(Box::new(Tried { tries, answers }), &Watch::default()).expect("started");
        outbox.push(line(0));
        tried.recv().expect("tried");
        (1..=LINES_MAX).for_each(|number| outbox.push(line(number)));
        assert_eq!(outbox.state().lost, 1);
        answer.send(Ok(())).expect("it waits");
        tried.recv().expect("the next");
        assert_eq!(outbox.state().lost, 0, "it had arrived");
    }
}
