//! The audit log while a server runs: the thread that has the clock, reads events and writes them.

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant, SystemTime},
};

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};

use super::{
    entry::Entry,
    writer::{AuditLog, AuditState, Forward},
};
use crate::watch::{
    events::{Event, Kind},
    stream::{Reader, Watch},
};

/// Events that the log may be behind, some 300 bytes each: what a disk does in its worst second.
const ROOM: usize = 16_384;
/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_secs(1);
/// How long somebody who asks waits for a signature.
const PATIENCE: Duration = Duration::from_secs(5);

/// An audit log that is written by a thread of its own, until the last clone of this is gone or it is stopped.
#[derive(Clone, Debug)]
pub struct Audit {
    asks: mpsc::Sender<Asked>,
    watch: Watch,
}

enum Asked {
    Head(oneshot::Sender<Result<AuditState, String>>),
    /// Another process writes the log, and hears of what is told here.
    Rest(Forward, oneshot::Sender<()>),
    GoOn(oneshot::Sender<()>),
    /// That process's.
    Write(Box<Entry>),
    Stop(oneshot::Sender<()>),
}

impl Audit {
    /// Writes what is told from now on to the watch that the log was opened with.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn start(log: AuditLog) -> io::Result<Self> {
        let watch = log.watch.clone();
        let (asks, asked) = mpsc::channel(16);
        let reader = watch.subscribe(ROOM);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let work = move || runtime.block_on(write_all(log, &reader, asked));
        std::thread::Builder::new().name("duologue-audit".to_owned()).spawn(work)?;
        Ok(Self { asks, watch })
    }

    /// Signs what there is, and says what to keep elsewhere.
    ///
    /// # Errors
    /// A sentence, if it cannot be written.
    pub async fn head(&self) -> Result<AuditState, String> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.asks.send(Asked::Head(answer)).await.ok()?;
            answered.await.ok()
        };
        let told = tokio::time::timeout(PATIENCE, asked).await;
        told.ok().flatten().unwrap_or_else(|| Err("the audit log does not answer: its disk may hang".to_owned()))
    }

    /// Writes what was told so far, signs it, and closes the log for another process: what is told from now on goes there, by
    /// `forward`, which says whether it has arrived.
    pub(crate) async fn rest(&self, forward: impl Fn(Box<Entry>) -> bool + Send + 'static) {
        self.ask(|answer| Asked::Rest(Box::new(forward), answer)).await;
    }

    /// Goes on with the log that another process has closed, or never opened.
    pub(crate) async fn go_on(&self) {
        self.ask(Asked::GoOn).await;
    }

    /// Writes what another process has forwarded. Blocks where much waits.
    pub(crate) fn write(&self, entry: Box<Entry>) {
        // Where the log has ended nobody writes.
        let _ = self.asks.blocking_send(Asked::Write(entry));
    }

    /// Writes what was told so far, signs it, and ends.
    pub async fn stop(&self) {
        self.ask(Asked::Stop).await;
    }

    async fn ask(&self, ask: impl FnOnce(oneshot::Sender<()>) -> Asked) {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.asks.send(ask(answer)).await.ok()?;
            answered.await.ok()
        };
        if tokio::time::timeout(2 * PATIENCE, asked).await.is_err() {
            self.watch.tell(Event::of(Kind::AuditFailed).note("it has not ended in time: its disk may hang"));
        }
    }
}

async fn write_all(mut log: AuditLog, reader: &Reader, mut asked: mpsc::Receiver<Asked>) {
    let mut lost = BTreeMap::new();
    let mut looked: Option<Instant> = None;
    loop {
        if looked.is_none_or(|at| at.elapsed() >= LOOK) {
            looked = Some(Instant::now());
            count_lost(&mut log, reader, &mut lost);
            log.look(SystemTime::now());
        }
        tokio::select! {
            ask = asked.recv() => match ask {
                Some(Asked::Head(answer)) => {
                    read_all(&mut log, reader);
                    count_lost(&mut log, reader, &mut lost);
                    // Whoever asked may be gone.
                    let _ = answer.send(log.head(SystemTime::now()).map_err(|error| error.to_string()));
                }
                Some(Asked::Rest(forward, answer)) => {
                    read_all(&mut log, reader);
                    count_lost(&mut log, reader, &mut lost);
                    log.rest(forward, SystemTime::now());
                    let _ = answer.send(());
                }
                Some(Asked::GoOn(answer)) => {
                    log.go_on();
                    let _ = answer.send(());
                }
                Some(Asked::Write(entry)) => log.write(&entry, SystemTime::now()),
                ended => {
                    read_all(&mut log, reader);
                    count_lost(&mut log, reader, &mut lost);
                    log.close(SystemTime::now());
                    if let Some(Asked::Stop(answer)) = ended {
                        let _ = answer.send(());
                    }
                    return;
                }
            },
            event = reader.next() => match event {
                Some(event) => log.tell(&event, SystemTime::now()),
                None => return log.close(SystemTime::now()),
            },
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// What has been told already, and not more: whoever tells on does not keep this up.
fn read_all(log: &mut AuditLog, reader: &Reader) {
    for _ in 0..ROOM {
        match reader.next().now_or_never() {
            Some(Some(event)) => log.tell(&event, SystemTime::now()),
            _ => return,
        }
    }
}

fn count_lost(log: &mut AuditLog, reader: &Reader, seen: &mut BTreeMap<Kind, u64>) {
    for (kind, count) in reader.lost() {
        let before = seen.insert(kind, count).unwrap_or(0);
        if kind.is_audited() && count > before {
            log.lose(kind, count - before, "the queue was full", SystemTime::now());
        }
    }
}
