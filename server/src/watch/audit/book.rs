//! The audit log as it is written: one file after the other, one line after the other. Time is an argument.
//!
//! ```text
//! open ─► the newest file, its last whole line ─► what a crash has left behind it is cut off, and told in the next line
//! append ─► one write of one line; one that fails leaves nothing behind
//! rotate ─► key.next made ─► last line, signed: names it ─► key wiped, key.next in its place ─► new file ─► the old one is packed
//! retire ─► the file's last line is kept ─► a signed line says what is removed ─► the file goes
//! ```
//!
//! A crash between any two of these steps is made good when the log is opened again. Nothing is ever written into the middle of a
//! file, and a line that stands is never touched.

mod rotation;

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::Serialize;
use thiserror::Error;

use super::{
    BEGUN, HEAD, LOST, TORN,
    entry::{Entry, FORM, Own, stamp},
    files,
    key::{Key, Keys, sync_directory},
    line::{self, AuditKey, Hash, Head, LINE_LEN_MAX},
    newest::{Found, Newest, closing, read},
};
use crate::state::StateError;

/// Why the log cannot be opened or written.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The keys.
    #[error(transparent)]
    Key(#[from] StateError),
    /// The files.
    #[error("the audit log {} cannot be {verb}: {source}", .path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

impl AuditError {
    /// Whether it is only that the disk has no room.
    pub(super) fn is_for_want_of_room(&self) -> bool {
        let source = match self {
            Self::Io { source, .. } | Self::Key(StateError::Io { source, .. }) => source,
            Self::Key(_) => return false,
        };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
    }
}

/// How long files are, and how long they stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// A new file after so many bytes.
    pub(super) size: u64,
    /// And after so long.
    pub(super) age: Duration,
    /// Closed ones go after so long; none: never.
    pub(super) keep: Option<Duration>,
}

/// The log, open.
#[derive(Debug)]
pub(super) struct Book {
    directory: PathBuf,
    terms: Terms,
    keys: Keys,
    key: Key,
    file: File,
    path: PathBuf,
    /// Of the file, without what a failed write has left.
    len: u64,
    /// The number of the file's first line.
    first: u64,
    begun_at: SystemTime,
    last: Head,
    /// The last line of the file names the next one's key: nothing follows it there.
    next: Option<AuditKey>,
    /// Lines since the last signature.
    unsigned: u32,
    signed_at: SystemTime,
    /// Behind the file's length stands what could not be removed.
    is_torn: bool,
    /// What was found at the opening, and is not in the log yet.
    found: Option<Found>,
    /// Lines that were written and not handed on.
    fresh: Vec<Vec<u8>>,
    /// What did not go well and costs no line.
    troubles: Vec<String>,
}

impl Book {
    /// Opens the log of a directory, and makes it where there is none.
    pub(super) fn open(directory: &Path, terms: Terms, now: SystemTime) -> Result<Self, AuditError> {
        let mut book = Self::find(directory, terms, now)?;
        // A crash may have come before they were packed.
        for part in files::parts(directory).unwrap_or_default() {
            let is_closed = |last: Option<Vec<u8>>| last.as_deref().and_then(closing).is_some();
            if part.first < book.first
                && !part.is_packed()
                && files::last_line(&part.path, LINE_LEN_MAX).is_ok_and(is_closed)
            {
                book.pack(&part.path);
            }
        }
        Ok(book)
    }

    fn find(directory: &Path, terms: Terms, now: SystemTime) -> Result<Self, AuditError> {
        let failed = |verb, path: &Path| {
            let path = path.to_owned();
            move |source| AuditError::Io { verb, path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed("made", directory))?;
        let keys = Keys::of(directory);
        let parts = files::parts(directory).map_err(failed("read", directory))?;
        let Some(part) = parts.last() else {
            return Self::begin(
                directory,
                terms,
                keys.clone(),
                keys.begin()?,
                Head { n: 0, hash: Hash::ZERO },
                None,
                now,
            );
        };
        let newest = read(part).map_err(failed("read", &part.path))?;
        let before = || match parts.len().checked_sub(2).and_then(|at| parts.get(at)) {
            Some(part) => read(part).map_err(failed("read", &part.path)),
            None => Ok(Newest::nothing()),
        };
        // One without a whole line was begun, and not more: the file before it says what it begins with.
        let is_empty = newest.last.is_none();
        let has_other = is_empty && newest.len > 0;
        let mut base = if is_empty { before()? } else { Newest::nothing() };
        let torn = match is_empty {
            true => newest.torn,
            false => {
                base = newest;
                base.torn.take()
            }
        };
        let last = base.last.unwrap_or(Head { n: part.first - 1, hash: Hash::ZERO });
        let wanted = base.next.or(base.key);
        let found = wanted.map(|wanted| keys.find(&wanted)).transpose()?.flatten();
        let is_backed = found.is_some();
        let key = match found {
            Some(key) => key,
            None => keys.begin()?,
        };
        if has_other {
            // Whoever has written that, it is no line of ours, and stays for whoever wants to know.
            fs::rename(&part.path, part.path.with_extension("damaged")).map_err(failed("renamed", &part.path))?;
        } else if is_empty {
            fs::remove_file(&part.path).map_err(failed("removed", &part.path))?;
        }
        if is_empty || base.is_damaged || !is_backed || base.next.is_some() || part.is_packed() {
            let note = match (is_backed || wanted.is_none(), base.is_damaged) {
                (false, _) => Some("the key that signed here is gone"),
                (true, true) => Some("the file before has a line that is none"),
                _ if has_other => Some("a file was there that has no line of this log"),
                _ => None,
            };
            let mut book = Self::begin(directory, terms, keys, key, last, note, now)?;
            // Of a file that goes on as it is, whoever verifies sees it there.
            book.found = torn.filter(|_| is_empty && !has_other);
            let _ = book.mend(now);
            return Ok(book);
        }
        let file = OpenOptions::new().append(true).open(&part.path).map_err(failed("opened", &part.path))?;
        let mut book = Self {
            directory: directory.to_owned(),
            terms,
            keys,
            key,
            file,
            path: part.path.clone(),
            len: base.len,
            first: part.first,
            begun_at: base.begun_at.unwrap_or(now),
            last,
            next: None,
            unsigned: base.unsigned,
            signed_at: base.signed_at.unwrap_or(now),
            is_torn: torn.is_some(),
            found: torn,
            fresh: Vec::new(),
            troubles: Vec::new(),
        };
        // Where the disk is full, that is told later.
        let _ = book.mend(now);
        Ok(book)
    }

    /// A new file after a line.
    fn begin(
        directory: &Path,
        terms: Terms,
        keys: Keys,
        key: Key,
        last: Head,
        note: Option<&str>,
        now: SystemTime,
    ) -> Result<Self, AuditError> {
        let path = files::path_of(directory, last.n + 1);
        let failed = |source| AuditError::Io { verb: "begun", path: path.clone(), source };
        let file = new_file(&path).map_err(failed)?;
        let mut book = Self {
            directory: directory.to_owned(),
            terms,
            keys,
            key,
            file,
            path: path.clone(),
            len: 0,
            first: last.n + 1,
            begun_at: now,
            last,
            next: None,
            unsigned: 0,
            signed_at: now,
            is_torn: false,
            found: None,
            fresh: Vec::new(),
            troubles: Vec::new(),
        };
        if let Err(error) = book.write_first(note, now) {
            // One without a line would stand in the way of the next try.
            let _ = fs::remove_file(&path);
            return Err(failed(error));
        }
        Ok(book)
    }

    fn write_first(&mut self, note: Option<&str>, now: SystemTime) -> io::Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        self.write(&Own::Begun { at: stamp(now), form: FORM, kind: BEGUN, version, note }, true, now)?;
        self.file.sync_all()?;
        sync_directory(&self.path)
    }

    /// The last line.
    pub(super) const fn last(&self) -> Head {
        self.last
    }

    /// The key that signs.
    pub(super) const fn key(&self) -> AuditKey {
        self.key.public()
    }

    /// When the last signature was made.
    pub(super) const fn signed_at(&self) -> SystemTime {
        self.signed_at
    }

    /// Lines since then.
    pub(super) const fn unsigned(&self) -> u32 {
        self.unsigned
    }

    /// Lines that were written since this was asked last.
    pub(super) fn take_fresh(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.fresh)
    }

    /// What did not go well since this was asked last, and costs no line.
    pub(super) fn take_troubles(&mut self) -> Vec<String> {
        std::mem::take(&mut self.troubles)
    }

    /// Writes one entry. If that fails, it is as if nobody had tried.
    pub(super) fn append(&mut self, entry: &Entry, now: SystemTime) -> io::Result<()> {
        self.mend(now)?;
        self.write(entry, false, now)
    }

    /// Says how many events are missing here, by kind, and why.
    pub(super) fn append_lost(
        &mut self,
        counts: &BTreeMap<&'static str, u64>,
        since: SystemTime,
        why: &str,
        now: SystemTime,
    ) -> io::Result<()> {
        self.mend(now)?;
        self.write(&Own::Lost { at: stamp(now), counts, kind: LOST, since: stamp(since), why }, false, now)
    }

    /// Signs what was written, and sees that it is on disk.
    pub(super) fn sign(&mut self, now: SystemTime) -> io::Result<Head> {
        self.mend(now)?;
        self.write(&Own::Head { at: stamp(now), kind: HEAD }, true, now)?;
        self.file.sync_data()?;
        Ok(self.last)
    }

    /// Sees that what was written is on disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// What stands in the way of the next line: bytes of one that was not finished; a file that is closed.
    fn mend(&mut self, now: SystemTime) -> io::Result<()> {
        if self.next.is_some() {
            self.follow(now).map_err(io::Error::other)?;
        }
        if self.is_torn {
            self.file.set_len(self.len)?;
            self.file.sync_all()?;
            self.is_torn = false;
        }
        if let Some(Found { bytes, digest }) = self.found.take() {
            let own = Own::Torn { at: stamp(now), bytes, digest: digest.to_string(), kind: TORN };
            self.write(&own, false, now).inspect_err(|_| self.found = Some(Found { bytes, digest }))?;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) const fn swap_file(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }

    fn write(&mut self, entry: &impl Serialize, is_signed: bool, now: SystemTime) -> io::Result<()> {
        let n = self.last.n + 1;
        let (mut bytes, hash) = line::write(entry, n, self.last.hash, is_signed.then_some(&self.key));
        bytes.push(b'\n');
        if let Err(error) = self.file.write_all(&bytes) {
            // Half of it may be there.
            self.is_torn = self.file.set_len(self.len).is_err();
            return Err(error);
        }
        self.len += bytes.len() as u64;
        self.last = Head { n, hash };
        if is_signed {
            self.unsigned = 0;
            self.signed_at = now;
        } else {
            self.unsigned += 1;
        }
        bytes.pop();
        self.fresh.push(bytes);
        Ok(())
    }
}

fn new_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(path)?;
    sync_directory(path)?;
    Ok(file)
}
