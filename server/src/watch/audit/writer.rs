//! The log while a server runs: events go in, lines come out; time is an argument, and the thread that has the clock is `running.rs`.
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
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    DIRECTORY,
    address::Shown,
    book::{AuditError, Book},
    entry::{Entry, stamp},
    gate::{Counted, Gate, Peer},
    line::Head,
    outbox::{Courier, Outbox, Sink},
    settings::{Addresses, AuditSettings},
};
use crate::watch::{
    events::{Event, Kind, Origin},
    stream::Watch,
};

/// How often files are looked through for those whose time is over.
const RETIRE: Duration = Duration::from_secs(60 * 60);
/// Says how addresses are written, for verbs without a server; and that there is an audit log at all.
const SETTINGS: &str = "addresses";

/// Takes an entry to the process that writes the log. False if it does not get there.
pub(crate) type Forward = Box<dyn Fn(Box<Entry>) -> bool + Send>;

/// What is known of the log while it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Another process writes it.
    forward: Option<Forward>,
    /// Hears of failures.
    pub(super) watch: Watch,
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl AuditLog {
    /// Opens the log of a state directory, and makes it where there is none. `watch` hears when it cannot be written.
    ///
    /// # Errors
    /// If its directory or its keys cannot be read or made.
    pub fn open(state: &Path, settings: AuditSettings, watch: &Watch, now: SystemTime) -> Result<Self, AuditError> {
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
        let mut log = Self {
            directory,
            settings,
            shown,
            is_failing: false,
            book,
            gate: Gate::new(now),
            lost: BTreeMap::new(),
            lost_since: now,
            lost_why: full.clone().unwrap_or_default(),
            signed: None,
            retired: None,
            outboxes: Vec::new(),
            forward: None,
            watch: watch.clone(),
        };
        if let Some(why) = full {
            log.failed(&why);
        }
        Ok(log)
    }

    /// The log of a state directory whose server does not run, for a verb that changes something there. None if its owner has none.
    pub(crate) fn at_rest(state: &Path, watch: &Watch, now: SystemTime) -> Result<Option<Self>, AuditError> {
        let note = state.join(DIRECTORY).join(SETTINGS);
        let addresses = match fs::read_to_string(&note) {
            Ok(word) if word == "whole" => Addresses::Whole,
            Ok(word) if word == "shortened" => Addresses::Shortened,
            // Whatever it says: the form that tells least.
            Ok(_) => Addresses::Hashed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(AuditError::Io { verb: "read", path: note, source }),
        };
        Self::open(state, AuditSettings { addresses, ..AuditSettings::default() }, watch, now).map(Some)
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
        self.outboxes.push(Outbox::start(courier, &self.watch)?);
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

    /// Writes what the process has told that had the log before.
    pub(super) fn write(&mut self, entry: &Entry, now: SystemTime) {
        if let Some(kind) = Kind::named(&entry.kind) {
            self.put(entry, kind, entry.count.unwrap_or(1), now);
        }
    }

    /// Writes and signs all there is, and closes the log for another process, to which everything goes from now on.
    pub(super) fn rest(&mut self, forward: Forward, now: SystemTime) {
        self.write_counted(now, true);
        let _ = self.write_lost(now);
        // Where it cannot be signed that was told.
        let _ = self.sign(now);
        self.hand_on();
        self.book = None;
        self.forward = Some(forward);
    }

    /// Opens the log again.
    pub(super) fn go_on(&mut self) {
        self.forward = None;
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
        if self.forward.is_some() {
            return;
        }
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
        let rotated = if is_due { book.rotate(now) } else { Ok(()) };
        let troubles = book.take_troubles();
        troubles.iter().for_each(|why| self.watch.tell(Event::of(Kind::AuditFailed).note(why)));
        if let Err(error) = rotated {
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
                    self.watch.tell(Event::of(Kind::AuditFilesRemoved).note(format!("count={count}")));
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
        let has_it = self.forward.is_none();
        if (!self.lost.is_empty() && self.write_lost(now).is_err()) | (has_it && self.sign(now).is_err()) {
            let count = self.lost.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
            let why = format!("it ends without {count} events and a last signature: {}", self.lost_why);
            self.watch.tell(Event::of(Kind::AuditFailed).note(why));
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
        if let Some(forward) = &self.forward {
            if !forward(Box::new(entry.clone())) {
                self.lose(kind, count, "the process that has the log did not take it", now);
            }
            return;
        }
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
        if self.book.is_none() && self.forward.is_none() {
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
            let directory = self.directory.display();
            let note = format!("{directory}: {why}; what happens is counted until it can be written, and goes on");
            self.watch.tell(Event::of(Kind::AuditFailed).note(note));
        }
    }

    fn works(&mut self) {
        if std::mem::take(&mut self.is_failing) {
            self.watch.tell(Event::of(Kind::AuditAgain));
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
