//! The log while a server runs: events go in, lines come out; time is an argument, and the thread that has the clock is below.
//!
//! ```text
//! event ─► audited? ─► gate ─► what is counted as lost, first ─► line ─► book ─► outboxes
//! now and then: what the gate has counted; a signature after N lines or T seconds; a new file; old ones go
//! ```
//!
//! A disk that takes nothing costs what it does not take, counted by kind; the next line that can be written says so. The lines of a
//! server that is killed between are what nobody can count: the log has a gap in time there, and no signature for it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::{
    DIRECTORY,
    address::Shown,
    book::{AuditError, Book, Entry, stamp},
    gate::{Counted, Gate, Peer},
    line::Head,
    outbox::{Courier, Outbox, Sink},
    settings::{Addresses, AuditSettings},
};
use crate::watch::{
    events::{Event, Kind, Origin},
    stream::{Reader, Watch},
};

/// Events that the log may be behind, some 300 bytes each: what a disk does in its worst second.
const ROOM: usize = 16_384;
/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_secs(1);
/// How often files are looked through for those whose time is over.
const RETIRE: Duration = Duration::from_secs(60 * 60);
/// How long somebody who asks waits for a signature.
const PATIENCE: Duration = Duration::from_secs(5);
/// Says how addresses are written, for verbs without a server; and that there is an audit log at all.
const SETTINGS: &str = "addresses";

/// What is known of the log while it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditState {
    /// The last entry and its hash, as `audit verify --head` takes them; signed, and on disk.
    pub head: String,
    /// The number in it.
    pub n: u64,
    /// The key that signs now.
    pub key: String,
    /// When that signature was made.
    pub signed_at: String,
    /// Events that could not be written since the last line that says so.
    pub waiting_losses: u64,
    /// Where lines go as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<Sink>,
}

/// An audit log without a thread: whoever has it says what happens, and when.
#[derive(Debug)]
pub struct AuditLog {
    directory: PathBuf,
    settings: AuditSettings,
    shown: Shown,
    /// None where it cannot be opened: that is tried again.
    book: Option<Book>,
    gate: Gate,
    lost: BTreeMap<&'static str, u64>,
    lost_since: SystemTime,
    lost_why: String,
    is_failing: bool,
    signed: Option<SystemTime>,
    retired: Option<SystemTime>,
    outboxes: Vec<Arc<Outbox>>,
    /// Hears of failures; without it the log alone does.
    watch: Option<Watch>,
}

impl AuditLog {
    /// Opens the log of a state directory, and makes it where there is none.
    ///
    /// # Errors
    /// If its directory or its keys cannot be read or made.
    pub fn open(state: &Path, settings: AuditSettings, now: SystemTime) -> Result<Self, AuditError> {
        let directory = state.join(DIRECTORY);
        // A full disk costs what it must: what happens is counted.
        let (book, full) = match Book::open(&directory, settings.terms(), now) {
            Ok(book) => (Some(book), None),
            Err(error) if error.is_for_want_of_room() => (None, Some(error.to_string())),
            Err(error) => return Err(error),
        };
        let shown = match Shown::open(settings.addresses, &directory).map_err(AuditError::from) {
            Ok(shown) => shown,
            Err(error) if error.is_for_want_of_room() => Shown::Withheld,
            Err(error) => return Err(error),
        };
        let word = match settings.addresses {
            Addresses::Whole => "whole",
            Addresses::Shortened => "shortened",
            Addresses::Hashed => "hashed",
        };
        let note = directory.join(SETTINGS);
        let written = fs::write(&note, word).map_err(|source| AuditError::Io { verb: "written", path: note, source });
        written.or_else(|error| if error.is_for_want_of_room() { Ok(()) } else { Err(error) })?;
        if let Some(why) = &full {
            tracing::error!("{why}; what happens is counted until it can be written, and goes on");
        }
        Ok(Self {
            directory,
            settings,
            shown,
            is_failing: full.is_some(),
            book,
            gate: Gate::new(now),
            lost: BTreeMap::new(),
            lost_since: now,
            lost_why: full.unwrap_or_default(),
            signed: None,
            retired: None,
            outboxes: Vec::new(),
            watch: None,
        })
    }

    /// The log of a state directory whose server does not run, for a verb that changes something there. None if its owner has none.
    pub(crate) fn at_rest(state: &Path, now: SystemTime) -> Result<Option<Self>, AuditError> {
        let note = state.join(DIRECTORY).join(SETTINGS);
        let addresses = match fs::read_to_string(&note) {
            Ok(word) if word == "whole" => Addresses::Whole,
            Ok(word) if word == "shortened" => Addresses::Shortened,
            // Whatever it says: the form that tells least.
            Ok(_) => Addresses::Hashed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(AuditError::Io { verb: "read", path: note, source }),
        };
        Self::open(state, AuditSettings { addresses, ..AuditSettings::default() }, now).map(Some)
    }

    /// From now on there is none; what was written stays.
    pub(crate) fn end_at(state: &Path) -> io::Result<()> {
        match fs::remove_file(state.join(DIRECTORY).join(SETTINGS)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// Each line goes there as well.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn also_to(&mut self, courier: Box<dyn Courier>) -> io::Result<()> {
        self.outboxes.push(Outbox::start(courier)?);
        Ok(())
    }

    /// Writes an event, if it is one that is audited.
    pub fn tell(&mut self, event: &Event, now: SystemTime) {
        if !event.kind.is_audited() || !self.gate.lets(event) {
            return;
        }
        let entry = entry(event, &self.shown);
        self.put(&entry, event.kind, 1, now);
        // What the owner does is on disk before he turns to something else, as far as that can be had.
        if event.kind.origin() == Origin::Owner
            && let Some(book) = &self.book
            && let Err(error) = book.sync()
        {
            self.failed(&error.to_string());
        }
    }

    /// Counts events that were told and never came here.
    pub(crate) fn lose(&mut self, kind: Kind, count: u64, why: &str, now: SystemTime) {
        if self.lost.is_empty() {
            self.lost_since = now;
            // What came first is the cause, of most.
            why.clone_into(&mut self.lost_why);
        }
        let sum = self.lost.entry(kind.name()).or_default();
        *sum = sum.saturating_add(count);
    }

    /// What is due: counts, losses, a signature, a new file, and that old ones go. To be called each second or so.
    pub fn look(&mut self, now: SystemTime) {
        self.write_counted(now, false);
        if !self.lost.is_empty() {
            let _ = self.write_lost(now);
        }
        let is_later = |then: Option<SystemTime>, after: Duration| {
            // A clock that was set back must not keep it from being done.
            then.is_none_or(|then| now.duration_since(then).map_or(true, |passed| passed >= after))
        };
        let (lines, every) = (self.settings.lines, self.settings.every);
        let Some(book) = self.open_book(now) else { return };
        let is_due = book.is_due(now);
        if is_due && let Err(error) = book.rotate(now) {
            self.failed(&error.to_string());
        } else if book_unsigned(&self.book) >= lines || is_later(self.signed, every) {
            let _ = self.sign(now);
        }
        if is_due || is_later(self.retired, RETIRE) {
            self.retired = Some(now);
            let retired = self.book.as_mut().map(|book| book.retire(now));
            match retired {
                Some(Err(error)) => self.failed(&error.to_string()),
                Some(Ok(count)) if count > 0 => {
                    tracing::info!("{count} files of the audit log were removed after their time");
                }
                _ => {}
            }
        }
        self.hand_on();
    }

    /// Signs what there is, and gives what to keep elsewhere. Nothing is signed twice.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn head(&mut self, now: SystemTime) -> Result<AuditState, AuditError> {
        self.write_counted(now, false);
        let is_signed = self.open_book(now).is_some_and(|book| book.unsigned() == 0);
        if !is_signed {
            self.sign(now).map_err(|source| AuditError::Io { verb: "signed", path: self.directory.clone(), source })?;
            self.hand_on();
        }
        let Some(book) = &self.book else {
            let source = io::Error::other(self.lost_why.clone());
            return Err(AuditError::Io { verb: "opened", path: self.directory.clone(), source });
        };
        let Head { n, .. } = book.last();
        Ok(AuditState {
            head: book.last().to_string(),
            n,
            key: book.key().to_string(),
            signed_at: stamp(book.signed_at()),
            waiting_losses: self.lost.values().fold(0, |sum, count| sum.saturating_add(*count)),
            sinks: self.outboxes.iter().map(|outbox| outbox.state()).collect(),
        })
    }

    /// Writes and signs all there is, and waits a moment for those who get it too.
    pub fn close(mut self, now: SystemTime) {
        self.write_counted(now, true);
        if (!self.lost.is_empty() && self.write_lost(now).is_err()) | self.sign(now).is_err() {
            let count = self.lost.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
            tracing::error!(why = self.lost_why, "the audit log ends without {count} events and a last signature");
        }
        self.hand_on();
        self.outboxes.iter().for_each(|outbox| outbox.end());
    }

    /// Another file in the place of the one that is written.
    #[cfg(test)]
    pub(super) fn swap_file_for_test(&mut self, file: fs::File) -> fs::File {
        self.book.as_mut().expect("it is open").swap_file(file)
    }

    fn sign(&mut self, now: SystemTime) -> io::Result<()> {
        let Some(book) = self.open_book(now) else { return Err(io::Error::other(self.lost_why.clone())) };
        let signed = book.sign(now).map(drop);
        match &signed {
            Ok(()) => {
                self.signed = Some(now);
                self.works();
            }
            Err(error) => self.failed(&error.to_string()),
        }
        signed
    }

    fn write_counted(&mut self, now: SystemTime, is_end: bool) {
        for Counted { kind, peer, count } in self.gate.counted(now, is_end) {
            let (device, address) = match peer {
                Some(Peer::Device(device)) => (Some(device.to_string()), None),
                Some(Peer::Stranger(address)) => (None, self.shown.show(address)),
                Some(Peer::Nobody) | None => (None, None),
            };
            let kind_name = kind.name().to_owned();
            let entry =
                Entry { at: stamp(now), kind: kind_name, device, address, count: Some(count), ..Entry::default() };
            self.put(&entry, kind, count, now);
        }
    }

    fn put(&mut self, entry: &Entry, kind: Kind, count: u64, now: SystemTime) {
        let written = self.write_lost(now).and_then(|()| match self.open_book(now) {
            Some(book) => book.append(entry, now),
            None => Err(io::Error::other(self.lost_why.clone())),
        });
        match written {
            Ok(()) => {
                self.works();
                self.hand_on();
            }
            Err(error) => {
                let why = error.to_string();
                self.lose(kind, count, &why, now);
                self.failed(&why);
            }
        }
    }

    fn write_lost(&mut self, now: SystemTime) -> io::Result<()> {
        if self.lost.is_empty() {
            return Ok(());
        }
        let (lost, since, why) = (std::mem::take(&mut self.lost), self.lost_since, self.lost_why.clone());
        let written = match self.open_book(now) {
            Some(book) => book.append_lost(&lost, since, &why, now),
            None => Err(io::Error::other(why)),
        };
        if written.is_err() {
            self.lost = lost;
        } else {
            self.works();
        }
        written
    }

    /// The book, which is opened anew where that failed before.
    fn open_book(&mut self, now: SystemTime) -> Option<&mut Book> {
        if self.book.is_none() {
            match Book::open(&self.directory, self.settings.terms(), now) {
                Ok(book) => self.book = Some(book),
                Err(error) => {
                    let why = error.to_string();
                    self.failed(&why);
                    self.lost_why = why;
                }
            }
        }
        self.book.as_mut()
    }

    fn hand_on(&mut self) {
        let Some(book) = &mut self.book else { return };
        for line in book.take_fresh() {
            let line: Arc<str> = String::from_utf8_lossy(&line).into();
            self.outboxes.iter().for_each(|outbox| outbox.push(Arc::clone(&line)));
        }
    }

    /// Told once, until it works again: the disk is looked at each second.
    fn failed(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_failing, true) {
            match &self.watch {
                Some(watch) => watch.tell(Event::of(Kind::AuditFailed).note(format!(
                    "{}: {why}; what happens is counted until it can be written, and goes on",
                    self.directory.display()
                ))),
                None => tracing::error!("the audit log in {} cannot be written: {why}", self.directory.display()),
            }
        }
    }

    fn works(&mut self) {
        if std::mem::take(&mut self.is_failing)
            && let Some(watch) = &self.watch
        {
            watch.tell(Event::of(Kind::AuditAgain));
        }
    }
}

fn book_unsigned(book: &Option<Book>) -> u32 {
    book.as_ref().map_or(0, Book::unsigned)
}

fn entry(event: &Event, shown: &Shown) -> Entry {
    Entry {
        address: event.address.and_then(|address| shown.show(address)),
        at: stamp(event.at),
        by: event.by.as_deref().map(str::to_owned),
        code: event.code.map(str::to_owned),
        count: None,
        device: event.device.map(|device| device.to_string()),
        kind: event.kind.name().to_owned(),
        label: event.label.as_deref().map(str::to_owned),
        note: event.note.as_deref().map(str::to_owned),
        subject: event.subject.as_deref().map(str::to_owned),
    }
}

/// An audit log that is written by a thread of its own, until the last clone of this is gone or it is stopped.
#[derive(Clone, Debug)]
pub struct Audit(mpsc::Sender<Asked>);

#[derive(Debug)]
enum Asked {
    Head(oneshot::Sender<Result<AuditState, String>>),
    Stop(oneshot::Sender<()>),
}

impl Audit {
    /// Writes what is told to this watch from now on.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn start(mut log: AuditLog, watch: &Watch) -> io::Result<Self> {
        log.watch = Some(watch.clone());
        let (asks, asked) = mpsc::channel(16);
        let reader = watch.subscribe(ROOM);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let work = move || runtime.block_on(write_all(log, &reader, asked));
        std::thread::Builder::new().name("duologue-audit".to_owned()).spawn(work)?;
        Ok(Self(asks))
    }

    /// Signs what there is, and says what to keep elsewhere.
    ///
    /// # Errors
    /// A sentence, if it cannot be written.
    pub async fn head(&self) -> Result<AuditState, String> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.0.send(Asked::Head(answer)).await.ok()?;
            answered.await.ok()
        };
        let told = tokio::time::timeout(PATIENCE, asked).await;
        told.ok().flatten().unwrap_or_else(|| Err("the audit log does not answer: its disk may hang".to_owned()))
    }

    /// Writes what was told so far, signs it, and ends.
    pub async fn stop(&self) {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.0.send(Asked::Stop(answer)).await.ok()?;
            answered.await.ok()
        };
        if tokio::time::timeout(2 * PATIENCE, asked).await.is_err() {
            tracing::error!("the audit log has not ended in time: its disk may hang");
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
