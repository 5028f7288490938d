//! A state directory in one file, and a state directory made of such a file.
//!
//! ```text
//! line 1   {"kind":"duologue-backup","version":1,"made_at","by","server_key","generation","audit_head"?}
//! then     {"kind":"file","name","bytes"}      of the files of `FILES` those that there are; the server's private key is one
//! then     a record of the store each          (store/lines.rs)
//! last     {"kind":"end","lines","sha256"}     how many stand before it, and the SHA-256 of all their bytes
//! ```
//!
//! An export is the records alone behind a first line `{"kind":"duologue-export","version":1,…}`: to be read, altered and imported.
//! Neither has sessions or tickets.
//!
//! What is restored is made in the folder `restoring` of an empty directory, and moved to its place when all of it is on disk, the
//! key last. A state directory that has such a folder is opened by nobody.

use std::{
    fs::{self, File},
    io::{self, BufRead, Read},
    path::{Path, PathBuf},
    sync::mpsc,
};

use duologue::{Secret, ServerIdentity, ServerKey};
use ring::digest;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{
    State, StateError,
    identity::{KEY, write_private},
    keys::{self, KEYS, NEXT},
    lock, make_directory,
    notices::Notice,
    random,
    records::now,
    store::{Base64, Counts, JudgeName, NotTaken, Record, Store, StoreError, try_filling},
};

/// Of the file's lines.
const VERSION: u32 = 1;
const BACKUP: &str = "duologue-backup";
const EXPORT: &str = "duologue-export";
/// What a state directory has beside its store, and what cannot be made anew: the keys, and what browsers were told to trust.
const FILES: [&str; 5] = [KEY, NEXT, KEYS, "tls-cert.pem", "tls-key.pem"];
/// Longest line in bytes: that of a file.
const LINE_LEN_MAX: usize = 128 * 1_024;
/// Where it is made.
const RESTORING: &str = "restoring";

/// Why there is no copy, or nothing was made of one.
#[derive(Debug, Error)]
pub enum BackupError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It begins otherwise.
    #[error("it is no {0} of duologue")]
    Foreign(&'static str),
    /// A later version wrote it.
    #[error(
        "it is of version {found}, and this duologue knows none after {VERSION}: take the one that wrote it, or a later one"
    )]
    Newer {
        /// The file's.
        found: u64,
    },
    /// A line that makes no sense.
    #[error("line {line}: {what}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// A sentence.
        what: String,
    },
    /// The end is missing.
    #[error("it is cut off behind line {0}: copy it again from where it was made")]
    CutOff(u64),
    /// It is not what was written.
    #[error("it was altered since it was made, or damaged: {0}")]
    Altered(&'static str),
    /// There is something already.
    #[error("{} is not empty: it is restored into an empty directory only; name another by --state, or move that one away", .0.display())]
    NotEmpty(PathBuf),
    /// The state directory that it is, or is to be.
    #[error(transparent)]
    State(#[from] StateError),
    /// Its store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a copy says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupInfo {
    /// Seconds since 1970.
    pub made_at: u64,
    /// The version of duologue that made it.
    pub by: String,
    /// The server's public key.
    pub server_key: String,
    /// The store that it is a copy of.
    pub generation: String,
    /// The newest entry of the audit log then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_head: Option<String>,
    /// How much is in it.
    pub counts: Counts,
    /// What the older copy had forgotten, and the journal of the directory that it takes the place of has not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked_again: Vec<String>,
}

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    kind: String,
    version: u32,
    made_at: u64,
    by: String,
    server_key: String,
    generation: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    audit_head: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLine {
    kind: String,
    name: String,
    bytes: Base64<Zeroizing<Vec<u8>>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndLine {
    kind: String,
    lines: u64,
    sha256: String,
}

/// What every line has; a first one its version too.
#[derive(Deserialize)]
struct AnyLine {
    kind: String,
    #[serde(default)]
    version: u64,
}

impl State {
    /// Everything of it in one file, to be kept by its owner alone: it has the server's private key.
    ///
    /// # Errors
    /// What cannot be read.
    pub(crate) fn backup(&self, audit_head: Option<String>) -> Result<Vec<u8>, BackupError> {
        let mut out = Vec::new();
        // One that is rotated meanwhile would be the key of before, with what is said of the one after.
        let (turn, keys) = self.keys.still();
        put(&mut out, &self.head(BACKUP, keys.identity.public(), audit_head)?);
        for name in FILES {
            let path = self.directory.join(name);
            match fs::read(&path).map(Zeroizing::new) {
                Ok(bytes) => {
                    put(&mut out, &FileLine { kind: "file".to_owned(), name: name.to_owned(), bytes: Base64(bytes) });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(StateError::Io { verb: "read", path, source }.into()),
            }
        }
        drop(turn);
        out.extend_from_slice(&self.store.lines()?);
        let lines = out.iter().filter(|byte| **byte == b'\n').count() as u64;
        let sha256 = hex::encode(digest::digest(&digest::SHA256, &out));
        put(&mut out, &EndLine { kind: "end".to_owned(), lines, sha256 });
        Ok(out)
    }

    /// What its store has, as lines to be read, altered and imported. Invites that are good are in it, with what makes them so.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn export(&self) -> Result<Vec<u8>, BackupError> {
        let mut out = Vec::new();
        put(&mut out, &self.head(EXPORT, self.keys.now().identity.public(), None)?);
        out.extend_from_slice(&self.store.lines()?);
        Ok(out)
    }

    fn head(&self, kind: &str, key: ServerKey, audit_head: Option<String>) -> Result<Head, StoreError> {
        Ok(Head {
            kind: kind.to_owned(),
            version: VERSION,
            made_at: now(),
            by: env!("CARGO_PKG_VERSION").to_owned(),
            server_key: key.to_string(),
            generation: self.store.generation()?,
            audit_head,
        })
    }
}

fn put(out: &mut Vec<u8>, line: &impl Serialize) {
    serde_json::to_writer(&mut *out, line).expect("texts and numbers are JSON");
    out.push(b'\n');
}

/// Whether something is being restored into a directory, or was and came to no end.
pub(super) fn is_half_made(directory: &Path) -> bool {
    directory.join(RESTORING).exists()
}

/// Judges a backup without writing anything.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(from: impl BufRead, judge: JudgeName) -> Result<BackupInfo, BackupError> {
    let mut lines = Lines::begin(from, BACKUP)?;
    let counts = try_filling(judge, || lines.next_record()).map_err(|error| lines.place(error))?;
    lines.key()?;
    Ok(lines.info(counts))
}

/// Makes a state directory of a backup, in an empty directory, or one that is missing. With `old`, the directory that it takes the
/// place of, what that one's journal knows as revoked is revoked again.
///
/// # Errors
/// What is wrong with the backup or the directory; then nothing is made.
pub(crate) fn restore(
    from: impl BufRead,
    directory: &Path,
    old: Option<&Path>,
    judge: JudgeName,
) -> Result<BackupInfo, BackupError> {
    let mut lines = Lines::begin(from, BACKUP)?;
    let place = Place::take(directory, &[])?;
    let info = place.fill(&mut lines, judge)?;
    lines.key()?;
    for (name, bytes) in &lines.files {
        write_private(&place.path(name), bytes)?;
    }
    let revoked_again = old.map_or(Ok(Vec::new()), |old| place.take_over_journal(old))?;
    place.finish()?;
    Ok(BackupInfo { revoked_again, ..info })
}

/// Makes a state directory of an export. A key that lies there stays, else one is made.
///
/// # Errors
/// What is wrong with the export or the directory; then nothing is made.
pub(crate) fn import(from: impl BufRead, directory: &Path, judge: JudgeName) -> Result<BackupInfo, BackupError> {
    let mut lines = Lines::begin(from, EXPORT)?;
    // What is said of keys is of the key that lies there.
    let may_have = if directory.join(KEY).exists() { &FILES[..] } else { &[] };
    let place = Place::take(directory, may_have)?;
    let info = place.fill(&mut lines, judge)?;
    if !directory.join(KEY).exists() {
        write_private(&place.path(KEY), &*Zeroizing::new(random::<32>()))?;
    }
    place.finish()?;
    Ok(info)
}

/// A directory that is being filled. Dropped before its end it is as it was.
struct Place {
    directory: PathBuf,
    restoring: PathBuf,
    was_missing: bool,
    is_finished: bool,
    lock: Option<lock::Lock>,
}

impl Place {
    fn take(directory: &Path, may_have: &[&str]) -> Result<Self, BackupError> {
        let was_missing = !directory.exists();
        make_directory(directory)?;
        let is_empty = || {
            for entry in fs::read_dir(directory).map_err(failed("read", directory))? {
                let name = entry.map_err(failed("read", directory))?.file_name();
                // A disk of its own has the latter from the beginning.
                if !may_have.iter().any(|may| name == *may) && name != "lock" && name != "lost+found" {
                    return Err(BackupError::NotEmpty(directory.to_owned()));
                }
            }
            Ok(())
        };
        is_empty()?;
        let lock = Some(lock::take(directory)?);
        // Somebody else may have filled it until then.
        is_empty()?;
        let restoring = directory.join(RESTORING);
        make_directory(&restoring)?;
        Ok(Self { directory: directory.to_owned(), restoring, was_missing, is_finished: false, lock })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.restoring.join(name)
    }

    fn store(&self) -> Result<Store, BackupError> {
        Ok(Store::open(&self.path("store.redb"))?)
    }

    fn fill(&self, lines: &mut Lines<impl BufRead>, judge: JudgeName) -> Result<BackupInfo, BackupError> {
        let filled = self.store()?.fill_from(judge, || lines.next_record());
        let counts = filled.map_err(|error| lines.place(error))?;
        Ok(lines.info(counts))
    }

    /// What the other directory's journal knows as revoked and the copy does not is revoked again, as at a start with an older copy
    /// (`store/revocation.rs`). Gives who.
    fn take_over_journal(&self, old: &Path) -> Result<Vec<String>, BackupError> {
        const JOURNAL: &str = "revocations.journal";
        let (from, to) = (old.join(JOURNAL), self.path(JOURNAL));
        let journal = fs::read(&from).map_err(failed("read", &from))?;
        fs::remove_file(&to).map_err(failed("write", &to))?;
        write_private(&to, &journal)?;
        let store = self.store()?;
        let (told, heard) = mpsc::channel();
        store.notices().hear(move |notice| {
            let _ = told.send(notice);
        });
        // What is only in the journal is in the store from now on.
        store.store_waiting()?;
        Ok(heard
            .try_iter()
            .filter_map(|notice| if let Notice::RevokedAgain(who) = notice { Some(who) } else { None })
            .collect())
    }

    /// Moves everything to its place.
    fn finish(mut self) -> Result<(), BackupError> {
        let sync = |path: &Path| File::open(path).and_then(|it| it.sync_all()).map_err(failed("write", path));
        sync(&self.restoring)?;
        // From here on it is half made, and nobody opens it, until it is whole.
        self.is_finished = true;
        let mut names = fs::read_dir(&self.restoring)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>())
            .map_err(failed("read", &self.restoring))?;
        names.sort_by_key(|name| name == KEY);
        for name in names {
            let to = self.directory.join(&name);
            fs::rename(self.restoring.join(&name), &to).map_err(failed("write", &to))?;
        }
        sync(&self.directory)?;
        fs::remove_dir(&self.restoring).map_err(failed("remove", &self.restoring))?;
        sync(&self.directory)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        let _ = fs::remove_dir_all(&self.restoring);
        if let Some(lock) = self.lock.take() {
            let _ = fs::remove_file(self.directory.join("lock"));
            drop(lock);
        }
        if self.was_missing {
            let _ = fs::remove_dir(&self.directory);
        }
    }
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| StateError::Io { verb, path, source }.into()
}

/// Why the next record is not taken, before it is said in which line.
enum Refused {
    Whole(BackupError),
    Record(NotTaken),
}

impl From<NotTaken> for Refused {
    fn from(error: NotTaken) -> Self {
        Self::Record(error)
    }
}

impl<E: Into<BackupError>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Whole(error.into())
    }
}

/// A copy as it is read, line by line.
struct Lines<R> {
    from: R,
    head: Head,
    line: Zeroizing<Vec<u8>>,
    number: u64,
    hashed: digest::Context,
    files: Vec<(&'static str, Zeroizing<Vec<u8>>)>,
}

impl<R: BufRead> Lines<R> {
    fn begin(from: R, kind: &'static str) -> Result<Self, BackupError> {
        let what = if kind == BACKUP { "backup" } else { "export" };
        let nothing = || Head {
            kind: String::new(),
            version: 0,
            made_at: 0,
            by: String::new(),
            server_key: String::new(),
            generation: String::new(),
            audit_head: None,
        };
        let (line, hashed) = (Zeroizing::default(), digest::Context::new(&digest::SHA256));
        let mut lines = Self { from, head: nothing(), line, number: 0, hashed, files: Vec::new() };
        if !lines.read_line().map_err(|_| BackupError::Foreign(what))? {
            return Err(BackupError::Foreign(what));
        }
        let any: AnyLine = serde_json::from_slice(&lines.line).map_err(|_| BackupError::Foreign(what))?;
        if any.kind != kind {
            return Err(BackupError::Foreign(what));
        }
        if any.version > u64::from(VERSION) {
            return Err(BackupError::Newer { found: any.version });
        }
        lines.head = serde_json::from_slice(&lines.line).map_err(|error| lines.wrong(&error))?;
        lines.hash();
        Ok(lines)
    }

    /// Reads the next line, without its end; false if there is none.
    fn read_line(&mut self) -> Result<bool, BackupError> {
        self.line.clear();
        let limit = LINE_LEN_MAX as u64 + 1;
        if (&mut self.from).take(limit).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(false);
        }
        self.number += 1;
        if self.line.pop_if(|last| *last == b'\n').is_none() {
            if self.line.len() > LINE_LEN_MAX {
                let what = format!("it has more than {LINE_LEN_MAX} bytes");
                return Err(BackupError::Line { line: self.number, what });
            }
            // An editor may have left out the last one's.
            if self.head.kind != EXPORT {
                return Err(BackupError::CutOff(self.number - 1));
            }
        }
        Ok(true)
    }

    fn hash(&mut self) {
        self.hashed.update(&self.line);
        self.hashed.update(b"\n");
    }

    /// The next record; none behind the last one, once all that was read is as it was written.
    fn next_record(&mut self) -> Result<Option<Record>, Refused> {
        loop {
            let is_backup = self.head.kind == BACKUP;
            if !self.read_line()? {
                return if is_backup { Err(BackupError::CutOff(self.number).into()) } else { Ok(None) };
            }
            let any: AnyLine = serde_json::from_slice(&self.line).map_err(|error| self.wrong(&error))?;
            match &*any.kind {
                "end" if is_backup => {
                    self.end()?;
                    return Ok(None);
                }
                "file" if is_backup => {
                    let file: FileLine = serde_json::from_slice(&self.line).map_err(|error| self.wrong(&error))?;
                    let bytes = file.bytes.0;
                    let known = FILES.into_iter().find(|name| file.name == *name);
                    let is_new = !self.files.iter().any(|(name, _)| Some(*name) == known);
                    let Some(name) = known.filter(|_| is_new) else {
                        let what = "it is a file of no state directory, or stands there twice".to_owned();
                        return Err(BackupError::Line { line: self.number, what }.into());
                    };
                    self.files.push((name, bytes));
                    self.hash();
                }
                _ => {
                    let record = serde_json::from_slice(&self.line).map_err(|error| self.wrong(&error))?;
                    self.hash();
                    return Ok(Some(record));
                }
            }
        }
    }

    /// The last line: whether those before it are as they were.
    fn end(&mut self) -> Result<(), BackupError> {
        let end: EndLine = serde_json::from_slice(&self.line).map_err(|error| self.wrong(&error))?;
        if end.lines != self.number - 1 {
            return Err(BackupError::Altered("it has more or fewer lines than its end says"));
        }
        if end.sha256 != hex::encode(self.hashed.clone().finish()) {
            return Err(BackupError::Altered("its hash is another"));
        }
        if self.read_line()? {
            return Err(BackupError::Altered("something stands behind its end"));
        }
        Ok(())
    }

    /// Whether the keys in it are those of the server that it is of.
    fn key(&self) -> Result<(), BackupError> {
        let file = |name| self.files.iter().find(|(own, _)| *own == name).map(|(_, bytes)| bytes.as_slice());
        let key = file(KEY).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let is_its = |key: &[u8; 32]| {
            let public = ServerIdentity::new(Secret::new(*key)).public();
            public.to_string() == self.head.server_key
        };
        let Some(key) = key.filter(is_its) else {
            return Err(BackupError::Altered("it has not the private key of the server that it names"));
        };
        match keys::fit(key, file(NEXT), file(KEYS)) {
            true => Ok(()),
            false => Err(BackupError::Altered("what it says of the server's keys does not fit them")),
        }
    }

    fn wrong(&self, error: &serde_json::Error) -> BackupError {
        let said = error.to_string();
        let what = said.split(" at line ").next().unwrap_or_default();
        let what = if error.column() > 0 { format!("column {}: {what}", error.column()) } else { what.to_owned() };
        BackupError::Line { line: self.number, what }
    }

    fn place(&self, error: Refused) -> BackupError {
        match error {
            Refused::Whole(error) => error,
            Refused::Record(NotTaken::Because(what)) => BackupError::Line { line: self.number, what },
            Refused::Record(NotTaken::Store(error)) => error.into(),
        }
    }

    fn info(&self, counts: Counts) -> BackupInfo {
        let Head { made_at, by, server_key, generation, audit_head, .. } = &self.head;
        BackupInfo {
            made_at: *made_at,
            by: by.clone(),
            server_key: server_key.clone(),
            generation: generation.clone(),
            audit_head: audit_head.clone(),
            counts,
            revoked_again: Vec::new(),
        }
    }
}
