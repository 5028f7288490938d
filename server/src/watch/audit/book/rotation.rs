//! How one file of the log follows another, and how old ones go.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::SystemTime,
};

use super::{
    super::{
        REMOVED, ROTATED,
        entry::{Own, stamp},
        files,
        key::sync_directory,
        line::{LINE_LEN_MAX, Line},
        newest::closing,
    },
    AuditError, Book,
};

impl Book {
    /// Whether it is time for a new file.
    pub(in super::super) fn is_due(&self, now: SystemTime) -> bool {
        let age = now.duration_since(self.begun_at).unwrap_or_default();
        self.len >= self.terms.size || age >= self.terms.age
    }

    /// Closes the file, and begins the next one under a key of its own.
    pub(in super::super) fn rotate(&mut self, now: SystemTime) -> Result<(), AuditError> {
        if self.next.is_none() {
            let next = self.keys.make_next()?.public();
            let closing = Own::Rotated { at: stamp(now), first: self.first, kind: ROTATED, next: next.to_string() };
            let path = self.path.clone();
            let failed = move |source| AuditError::Io { verb: "closed", path, source };
            self.mend(now).and_then(|()| self.write(&closing, true, now)).map_err(failed)?;
            // From here on the line stands, whether the disk has it yet or not.
            self.next = Some(next);
            if let Err(error) = self.file.sync_all() {
                self.troubles.push(format!("{} could not be seen to disk: {error}", self.path.display()));
            }
        }
        self.follow(now)
    }

    /// The file after one that is closed.
    pub(super) fn follow(&mut self, now: SystemTime) -> Result<(), AuditError> {
        let Some(next) = self.next else { return Ok(()) };
        let key = match self.keys.find(&next)? {
            Some(key) => key,
            None => self.keys.begin()?,
        };
        let (fresh, troubles) = (self.take_fresh(), self.take_troubles());
        let begun = Self::begin(&self.directory, self.terms, self.keys.clone(), key, self.last, None, now);
        let closed = self.path.clone();
        match begun {
            Ok(book) => *self = book,
            Err(error) => {
                (self.fresh, self.troubles) = (fresh, troubles);
                return Err(error);
            }
        }
        self.fresh.splice(..0, fresh);
        self.troubles.splice(..0, troubles);
        self.pack(&closed);
        Ok(())
    }

    /// Removes files whose time is over. How many.
    pub(in super::super) fn retire(&mut self, now: SystemTime) -> Result<usize, AuditError> {
        let Some(keep) = self.terms.keep else { return Ok(0) };
        let failed = |verb, path: &Path| {
            let path = path.to_owned();
            move |source| AuditError::Io { verb, path, source }
        };
        let parts = files::parts(&self.directory).map_err(failed("read", &self.directory))?;
        let (mut removed, newest) = (0, self.first);
        for part in parts.iter().take_while(|part| part.first < newest) {
            let last = files::last_line(&part.path, LINE_LEN_MAX).map_err(failed("read", &part.path))?;
            let closed = last.as_deref().and_then(closing);
            // What is not closed as it should be stays, for whoever wants to know why; so does all after it.
            let Some((bytes, (line, at))) = last.as_deref().zip(closed) else { break };
            if now.duration_since(at).is_ok_and(|age| age < keep) || at > now {
                break;
            }
            let stubs = files::removed_path(&self.directory);
            self.keep_last_line(&stubs, bytes, line.0).map_err(failed("written", &stubs))?;
            let own =
                Own::Removed { at: stamp(now), from: part.first, kind: REMOVED, last: line.1.to_string(), to: line.0 };
            let written =
                self.mend(now).and_then(|()| self.write(&own, true, now)).and_then(|()| self.file.sync_data());
            written.map_err(failed("written", &self.path))?;
            fs::remove_file(&part.path).map_err(failed("removed", &part.path))?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Packs a closed file. It is whole as it is: packed it is only shorter.
    pub(super) fn pack(&mut self, path: &Path) {
        if let Err(error) = files::pack(path) {
            self.troubles.push(format!("{} could not be packed, and stays as it is: {error}", path.display()));
        }
    }

    fn keep_last_line(&self, stubs: &Path, line: &[u8], n: u64) -> io::Result<()> {
        // What a crash has broken off there is cut off first: those lines stand in files that are still here.
        let mut len = 0;
        if let Ok(mut read) = File::open(stubs).map(BufReader::new) {
            let mut bytes = Vec::new();
            while files::read_line(&mut read, &mut bytes, LINE_LEN_MAX)? == Some(true) {
                len += bytes.len() as u64 + 1;
                if Line::parse(&bytes).is_some_and(|line| line.n == n) {
                    return Ok(());
                }
            }
        }
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(stubs)?;
        file.set_len(len)?;
        file.write_all(&[line, b"\n"].concat())?;
        file.sync_all()?;
        sync_directory(stubs)
    }
}
