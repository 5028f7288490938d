//! Whether an audit log is whole, without the server that wrote it: what `duologue audit verify` does.
//!
//! ```text
//! each line: its frame ─► its hash ─► its number follows ─► the hash before it ─► its signature, where it has one
//! each file: its first line names a key that the file before has named, or that is expected of the first one
//! at the end: the head that somebody kept elsewhere stood where it says
//! ```
//!
//! What is found: a line that was altered, added, moved, repeated or removed; lines of whoever does not have the key; and, beside a
//! head, any cut. What is not: lines that were cut off at the end where no head is at hand, and whatever was signed by a thief of the
//! key with which that file was signed. Lines behind the last signature are held together by their hashes alone, and it is said so.

use std::{io::BufRead, path::Path, sync::Arc};

use serde::Deserialize;

use super::{
    files,
    line::{AuditKey, Hash, LINE_LEN_MAX, Line},
    verdict::{Broken, Expected, HeadSeen, Whole, Why},
};

/// Verifies files of a log: those with the lines of removed ones first, the others in their order.
///
/// # Errors
/// The first line that is wrong.
pub fn verify_files<P: AsRef<Path>>(paths: &[P], expected: Expected) -> Result<Whole, Broken> {
    let mut verifier = Verifier::new(expected);
    let (removed, parts): (Vec<_>, Vec<_>) =
        paths.iter().map(AsRef::as_ref).partition(|path: &&Path| files::is_of_removed(path));
    for (path, is_removed) in removed.iter().map(|path| (path, true)).chain(parts.iter().map(|path| (path, false))) {
        let name = path.display().to_string();
        let mut read =
            files::open(path).map_err(|error| Broken { file: name.clone(), line: 1, why: Why::Unreadable(error) })?;
        if is_removed { verifier.removed(&name, &mut read)? } else { verifier.file(&name, &mut read)? }
    }
    verifier.end()
}

/// The same of texts, by their names: those of files as they are before they are packed.
///
/// # Errors
/// The first line that is wrong.
pub fn verify_texts<'a>(
    texts: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    expected: Expected,
) -> Result<Whole, Broken> {
    let mut verifier = Verifier::new(expected);
    for (name, mut text) in texts {
        match files::is_of_removed(Path::new(name)) {
            true => verifier.removed(name, &mut text)?,
            false => verifier.file(name, &mut text)?,
        }
    }
    verifier.end()
}

/// Where a line is.
#[derive(Clone, Debug)]
struct Place {
    file: Arc<str>,
    line: u64,
}

impl Place {
    fn broken(&self, why: Why) -> Broken {
        Broken { file: self.file.to_string(), line: self.line, why }
    }
}

/// What a signed entry can say.
#[derive(Deserialize)]
struct Said {
    kind: String,
    at: String,
    next: Option<String>,
    first: Option<u64>,
    to: Option<u64>,
    last: Option<String>,
}

/// What is left of a file that was removed.
struct Stub {
    place: Place,
    first: u64,
    n: u64,
    hash: Hash,
    key: AuditKey,
    next: AuditKey,
}

/// The last line that was read.
struct Last {
    n: u64,
    hash: Hash,
    place: Place,
}

/// Reads a log line by line. Files first that have what is left of removed ones.
pub(super) struct Verifier {
    expected: Expected,
    stubs: Vec<Stub>,
    /// Once the first line was read.
    from: Option<u64>,
    first_key: Option<AuditKey>,
    key: Option<AuditKey>,
    last: Option<Last>,
    /// The line before was the last one of a file, and named the key of the next.
    is_closed: bool,
    /// A line that does not follow from the one before it, and the one before: whichever is wrong, a signature may tell.
    unchained: Option<(Place, u64, Place, u64)>,
    signed_to: u64,
    signed_at: String,
    /// The stub that must be recorded: the last one.
    unrecorded: Option<(Place, u64, Hash)>,
    removed_to: u64,
    lost: u64,
    head: Option<HeadSeen>,
}

impl Verifier {
    pub(super) const fn new(expected: Expected) -> Self {
        Self {
            expected,
            stubs: Vec::new(),
            from: None,
            first_key: None,
            key: None,
            last: None,
            is_closed: false,
            unchained: None,
            signed_to: 0,
            signed_at: String::new(),
            unrecorded: None,
            removed_to: 0,
            lost: 0,
            head: None,
        }
    }

    /// Reads what is left of removed files.
    pub(super) fn removed(&mut self, name: &str, read: &mut impl BufRead) -> Result<(), Broken> {
        for_each_line(name, read, |place, bytes| {
            let line = Line::parse(bytes).ok_or_else(|| place.broken(Why::Form))?;
            if line.hash() != line.said {
                return Err(place.broken(Why::Altered { n: line.n }));
            }
            let said = said(&line).filter(|said| said.kind == super::ROTATED);
            let named = said.and_then(|said| Some((said.first?, said.next?.parse().ok()?)));
            let (Some((first, next)), Some(signed)) = (named, line.signed) else {
                return Err(place.broken(Why::Misplaced { n: line.n }));
            };
            if !line.is_signed_by(&signed.key) {
                return Err(place.broken(Why::Forged { n: line.n, signed_to: self.signed_to }));
            }
            self.stubs.push(Stub { place, first, n: line.n, hash: line.said, key: signed.key, next });
            Ok(())
        })
    }

    /// Reads a file of the log.
    pub(super) fn file(&mut self, name: &str, read: &mut impl BufRead) -> Result<(), Broken> {
        let done = for_each_line(name, read, |place, bytes| self.line(place, bytes));
        // What came first is told first.
        done.map_err(|later| self.take_unchained().unwrap_or(later))
    }

    fn take_unchained(&mut self) -> Option<Broken> {
        self.unchained.take().map(|(_, _, place, n)| place.broken(Why::Unchained { n }))
    }

    fn line(&mut self, place: Place, bytes: &[u8]) -> Result<(), Broken> {
        let line = Line::parse(bytes).ok_or_else(|| place.broken(Why::Form))?;
        let n = line.n;
        if line.hash() != line.said {
            return Err(place.broken(Why::Altered { n }));
        }
        let said = if line.signed.is_some() { said(&line) } else { None };
        if line.signed.is_some() && said.is_none() {
            return Err(place.broken(Why::Form));
        }
        if self.from.is_none() {
            self.first(&place, &line, said.as_ref())?;
        }
        let (before, hash_before) = self.last.as_ref().map_or((n - 1, line.prev), |last| (last.n, last.hash));
        let expected = before + 1;
        if n > expected {
            return Err(place.broken(Why::Missing { n, expected }));
        }
        if n < expected {
            return Err(place.broken(Why::Again { n, expected }));
        }
        if line.prev != hash_before {
            match (&self.last, &self.unchained) {
                (Some(last), None) => self.unchained = Some((last.place.clone(), last.n, place.clone(), n)),
                _ => return Err(place.broken(Why::Unchained { n })),
            }
        }
        self.place_in_file(&place, &line, said.as_ref())?;
        if let Some(said) = said {
            self.signed(&place, &line, said)?;
        } else {
            self.lost = self.lost.saturating_add(lost(line.entry));
        }
        if let Some(head) = self.expected.head.filter(|head| head.n == n) {
            if head.hash != line.said {
                return Err(place.broken(Why::OtherHead { n }));
            }
            self.head = Some(HeadSeen::Here);
        }
        self.last = Some(Last { n, hash: line.said, place });
        Ok(())
    }

    /// The first line of all: what was removed before it, and whose key it names.
    fn first(&mut self, place: &Place, line: &Line<'_>, said: Option<&Said>) -> Result<(), Broken> {
        let begun = said.is_some_and(|said| said.kind == super::BEGUN);
        let Some(signed) = line.signed.filter(|_| begun && place.line == 1) else {
            return Err(place.broken(Why::Beheaded));
        };
        let mut key = self.expected.key;
        let mut last: Option<Last> = None;
        // A file that is still there was not removed: a crash came between.
        for stub in self.stubs.drain(..).take_while(|stub| stub.n < line.n) {
            let expected = last.as_ref().map_or(1, |last| last.n + 1);
            if stub.first != expected {
                return Err(stub.place.broken(Why::Missing { n: stub.first, expected }));
            }
            match key {
                Some(key) if key != stub.key && last.is_none() => {
                    return Err(stub.place.broken(Why::OtherKey { n: stub.first, found: stub.key }));
                }
                Some(key) if key != stub.key => return Err(stub.place.broken(Why::Unendorsed { n: stub.n })),
                _ => {}
            }
            self.first_key.get_or_insert(stub.key);
            key = Some(stub.next);
            if let Some(head) = self.expected.head.filter(|head| head.n <= stub.n && head.n >= stub.first) {
                if head.n == stub.n && head.hash != stub.hash {
                    return Err(stub.place.broken(Why::OtherHead { n: head.n }));
                }
                self.head = Some(if head.n == stub.n { HeadSeen::Here } else { HeadSeen::Removed });
            }
            self.removed_to = stub.n;
            self.unrecorded = Some((stub.place.clone(), stub.n, stub.hash));
            last = Some(Last { n: stub.n, hash: stub.hash, place: stub.place });
        }
        if let Some(last) = &last
            && line.n != last.n + 1
        {
            return Err(place.broken(Why::Missing { n: line.n, expected: last.n + 1 }));
        }
        match key {
            Some(key) if key != signed.key && last.is_none() => {
                return Err(place.broken(Why::OtherKey { n: line.n, found: signed.key }));
            }
            Some(key) if key != signed.key => return Err(place.broken(Why::Unendorsed { n: line.n })),
            _ => {}
        }
        if last.is_none() && line.n == 1 && line.prev != Hash::ZERO {
            return Err(place.broken(Why::Unchained { n: 1 }));
        }
        if last.is_none()
            && let Some(head) = self.expected.head.filter(|head| head.n < line.n)
        {
            return Err(place.broken(Why::BeforeFirst { first: line.n, head: head.n }));
        }
        self.first_key.get_or_insert(signed.key);
        // What the first line itself signs is not trusted before it has been seen to.
        self.key = Some(signed.key);
        self.is_closed = last.is_some();
        self.last = last;
        self.from = Some(line.n);
        Ok(())
    }

    /// What may stand at a file's beginning and its end, and nowhere else.
    fn place_in_file(&mut self, place: &Place, line: &Line<'_>, said: Option<&Said>) -> Result<(), Broken> {
        let n = line.n;
        let begins = said.is_some_and(|said| said.kind == super::BEGUN);
        match (place.line == 1, begins) {
            (true, false) => return Err(place.broken(Why::Beheaded)),
            (false, true) => return Err(place.broken(Why::Misplaced { n })),
            (false, false) if self.is_closed => return Err(place.broken(Why::Misplaced { n })),
            _ => {}
        }
        if begins {
            // Before its signature is looked at: what says that the key has changed is the more exact word.
            if line.signed.is_some_and(|signed| Some(signed.key) != self.key) {
                return Err(place.broken(Why::Unendorsed { n }));
            }
            self.is_closed = false;
        }
        Ok(())
    }

    fn signed(&mut self, place: &Place, line: &Line<'_>, said: Said) -> Result<(), Broken> {
        let n = line.n;
        if !self.key.is_some_and(|key| line.is_signed_by(&key)) {
            return Err(place.broken(Why::Forged { n, signed_to: self.signed_to }));
        }
        // The chain from the line that did not follow up to here is the signer's: the one before that was replaced.
        if let Some((before, n, _, next)) = self.unchained.take() {
            return Err(before.broken(Why::Replaced { n, next }));
        }
        self.signed_to = n;
        self.signed_at = said.at;
        match said.kind.as_str() {
            super::ROTATED => {
                let next = said.next.and_then(|next| next.parse().ok());
                self.key = Some(next.ok_or_else(|| place.broken(Why::Form))?);
                self.is_closed = true;
            }
            super::REMOVED => {
                let recorded = said.to.zip(said.last.and_then(|last| last.parse::<Hash>().ok()));
                if self.unrecorded.as_ref().is_some_and(|(_, to, hash)| recorded == Some((*to, *hash))) {
                    self.unrecorded = None;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// There are no more files.
    pub(super) fn end(mut self) -> Result<Whole, Broken> {
        if let Some(broken) = self.take_unchained() {
            return Err(broken);
        }
        let nowhere = Place { file: "the log".into(), line: 1 };
        let (Some(from), Some(last), Some(first_key), Some(key)) = (self.from, self.last, self.first_key, self.key)
        else {
            return Err(match self.expected.head {
                Some(head) => nowhere.broken(Why::Cut { last: 0, head: head.n }),
                None => nowhere.broken(Why::Empty),
            });
        };
        if let Some((place, to, _)) = self.unrecorded {
            return Err(place.broken(Why::RemovedUnrecorded { to }));
        }
        if let Some(head) = self.expected.head.filter(|_| self.head.is_none()) {
            let behind = Place { line: last.place.line + 1, ..last.place };
            return Err(behind.broken(Why::Cut { last: last.n, head: head.n }));
        }
        Ok(Whole {
            from,
            to: last.n,
            last: last.hash,
            signed_to: self.signed_to,
            signed_at: self.signed_at,
            first_key,
            key,
            removed_to: self.removed_to,
            lost: self.lost,
            head: self.head,
        })
    }
}

fn for_each_line(
    name: &str,
    read: &mut impl BufRead,
    mut each: impl FnMut(Place, &[u8]) -> Result<(), Broken>,
) -> Result<(), Broken> {
    let mut bytes = Vec::new();
    let mut place = Place { file: name.into(), line: 0 };
    loop {
        place.line += 1;
        match files::read_line(read, &mut bytes, LINE_LEN_MAX) {
            Ok(None) => return Ok(()),
            Ok(Some(true)) => each(place.clone(), &bytes)?,
            Ok(Some(false)) if bytes.len() > LINE_LEN_MAX => return Err(place.broken(Why::Form)),
            Ok(Some(false)) => return Err(place.broken(Why::Unfinished)),
            Err(error) => return Err(place.broken(Why::Unreadable(error))),
        }
    }
}

fn said(line: &Line<'_>) -> Option<Said> {
    serde_json::from_slice(line.entry).ok()
}

/// How many events an entry says were lost: its counts stand right behind its time, which has one length.
fn lost(entry: &[u8]) -> u64 {
    const BEFORE: usize = "{\"at\":\"2026-11-29T12:00:00.000Z\"".len();
    #[derive(Deserialize)]
    struct Lost {
        kind: String,
        counts: std::collections::BTreeMap<String, u64>,
    }
    if !entry.get(BEFORE..).is_some_and(|rest| rest.starts_with(b",\"counts\":")) {
        return 0;
    }
    let lost: Option<Lost> = serde_json::from_slice(entry).ok();
    lost.filter(|lost| lost.kind == super::LOST)
        .map_or(0, |lost| lost.counts.values().fold(0, |sum: u64, count| sum.saturating_add(*count)))
}
