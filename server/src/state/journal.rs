//! The journal of revocations: what protects is on disk here before the store has it, and needs no free space for that.
//!
//! ```text
//! revocations.journal   65,536 bytes, made at the first start; written in place ever after, one slot of 64 bytes a time
//!   slot 0              "duologue journal" · version 1 · 7 zeros · writes 8 · when 8 · 8 zeros · check 16
//!   slots 1 to 1,023    kind 1 · of 1 · descendants 1 · 5 zeros · number 8 · when 8 · id 32 · check 8
//! kinds                 0 never used · 1 not in the store yet · 2 in the store as well
//! of                    0 a device, by its id · 1 a subject, 2 a group, 3 a token, by the digest of its name (`whom.rs`)
//! descendants           1 if all that came by those devices go with them
//! ```
//!
//! Whatever a revocation is of takes one slot: a group of thousands too. Version 1 knew devices only; it is read, and becomes 2
//! with the next write.
//!
//! A slot lies within one sector, so that a crash leaves the old one or the new one. What cannot be read is no empty slot: it may
//! be a device that its owner has thrown out, and the server does not start before a person has looked.
//!
//! Slots of the second kind stay until their place is wanted. They and `writes`, how often the store has been written, tell an
//! older copy of the store that was put back from the one that ran here last.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use ring::digest;
use thiserror::Error;

use super::whom::{Kind, Whom};

const SLOT_LEN: usize = 64;
const SLOTS: usize = 1_024;
const MAGIC: &[u8; 16] = b"duologue journal";
const VERSION: u8 = 2;
/// Of devices alone.
const VERSION_OF_DEVICES: u8 = 1;

const FREE: u8 = 0;
const WAITING: u8 = 1;
const KEPT: u8 = 2;

/// Why there is no journal.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The file system.
    #[error("it cannot be read or made: {0}")]
    Io(#[from] io::Error),
    /// Something else lies there.
    #[error(
        "it is no journal of this version of duologue, and may name devices that were revoked: put the right file back, or move it \
         away, start, and revoke again whoever should be out"
    )]
    Other,
    /// A slot is damaged.
    #[error(
        "its entry {0} is damaged, and may be a device that was revoked: put the right file back, or move it away, start, and \
         revoke again whoever should be out"
    )]
    Damaged(usize),
}

/// A revocation, as the journal has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Which one since this server was first started, from 1.
    pub(super) number: u64,
    /// Seconds since 1970.
    pub(super) when: u64,
    pub(super) whom: Whom,
    /// Whether the store has it as well.
    pub(super) is_kept: bool,
}

/// The file, and what it holds.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    /// Slot 1 first.
    slots: Vec<Option<Entry>>,
    /// The highest number that was given.
    last: u64,
    /// The file's.
    version: u8,
    writes: u64,
    when: u64,
    /// Another process writes it.
    is_closed: bool,
}

impl Journal {
    /// Opens the journal, and makes it if it is missing.
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        let mut bytes = Vec::new();
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(path)?,
            opened => opened?,
        };
        (&file).take((SLOTS * SLOT_LEN) as u64 + 1).read_to_end(&mut bytes)?;
        let (slots, rest) = bytes.as_chunks::<SLOT_LEN>();
        let [header, slots @ ..] = slots else { return Err(JournalError::Other) };
        if slots.len() != SLOTS - 1 || !rest.is_empty() {
            return Err(JournalError::Other);
        }
        let (version, writes, when) = read_header(header).ok_or(JournalError::Other)?;
        let slots = (1..).zip(slots).map(|(number, slot)| read_slot(slot).map_err(|()| JournalError::Damaged(number)));
        let slots = slots.collect::<Result<Vec<_>, _>>()?;
        let last = slots.iter().flatten().map(|entry| entry.number).max().unwrap_or(0);
        Ok(Self { file, slots, last, version, writes, when, is_closed: false })
    }

    /// Nothing is written any more: another process does.
    pub(super) const fn close(&mut self) {
        self.is_closed = true;
    }

    /// Numbers go on after this one, which the store has.
    pub(super) fn goes_on_after(&mut self, number: u64) {
        self.last = self.last.max(number);
    }

    /// What it holds.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.slots.iter().flatten().copied()
    }

    /// How often the store had been written when it was last said, and when that was.
    pub(super) const fn writes(&self) -> (u64, u64) {
        (self.writes, self.when)
    }

    /// Puts a revocation on the disk. Gives its number.
    ///
    /// # Errors
    /// If the disk fails, or every slot waits for the store.
    pub(super) fn append(&mut self, whom: Whom, when: u64) -> io::Result<u64> {
        if self.version != VERSION {
            // Before a slot that the other version cannot read.
            self.version = VERSION;
            self.note(self.writes, self.when)?;
        }
        let free = self.slots.iter().position(Option::is_none);
        let oldest = || {
            let kept = self.slots.iter().enumerate().filter_map(|(at, slot)| Some((at, (*slot)?)));
            kept.filter(|(_, entry)| entry.is_kept).min_by_key(|(_, entry)| entry.number).map(|(at, _)| at)
        };
        let at = free.or_else(oldest).ok_or_else(|| io::Error::other("the journal of revocations is full"))?;
        let entry = Entry { number: self.last + 1, when, whom, is_kept: false };
        self.write(at, entry)?;
        self.file.sync_data()?;
        self.last = entry.number;
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = Some(entry);
        }
        Ok(entry.number)
    }

    /// Says that the store has a revocation too. Not waited for: at worst it is done again at the next start.
    pub(super) fn keep(&mut self, whom: Whom) -> io::Result<()> {
        for at in 0..self.slots.len() {
            let Some(Some(entry)) = self.slots.get(at).copied() else { continue };
            if entry.whom == whom && !entry.is_kept {
                let entry = Entry { is_kept: true, ..entry };
                self.write(at, entry)?;
                if let Some(slot) = self.slots.get_mut(at) {
                    *slot = Some(entry);
                }
            }
        }
        Ok(())
    }

    /// The disk has what was written: where doing it again at the next start would undo what came after.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Says how often the store has been written. Not waited for either: what is lost here makes nobody suspicious.
    pub(super) fn note(&mut self, writes: u64, when: u64) -> io::Result<()> {
        self.is_ours()?;
        self.file.write_all_at(&header(self.version, writes, when), 0)?;
        (self.writes, self.when) = (writes, when);
        Ok(())
    }

    /// Whether another process writes it, as far as this one knows.
    pub(super) const fn is_closed(&self) -> bool {
        self.is_closed
    }

    fn is_ours(&self) -> io::Result<()> {
        if self.is_closed { Err(io::Error::other("another process writes the journal")) } else { Ok(()) }
    }

    fn write(&self, at: usize, entry: Entry) -> io::Result<()> {
        self.is_ours()?;
        let kind = if entry.is_kept { KEPT } else { WAITING };
        let mut slot = [0; SLOT_LEN];
        slot[..3].copy_from_slice(&[kind, entry.whom.kind as u8, u8::from(entry.whom.with_descendants)]);
        slot[8..16].copy_from_slice(&entry.number.to_be_bytes());
        slot[16..24].copy_from_slice(&entry.when.to_be_bytes());
        slot[24..56].copy_from_slice(&entry.whom.id);
        let check = check::<8>(&slot[..56]);
        slot[56..].copy_from_slice(&check);
        self.file.write_all_at(&slot, ((at + 1) * SLOT_LEN) as u64)
    }

    /// A journal whose disk takes nothing any more.
    #[cfg(test)]
    pub(super) fn break_down(&mut self, path: &Path) {
        self.file = File::open(path).expect("it is there");
    }

    /// The opposite.
    #[cfg(test)]
    pub(super) fn mend(&mut self, path: &Path) {
        self.file = OpenOptions::new().read(true).write(true).open(path).expect("it is there");
    }
}

/// Writes an empty journal beside its place and moves it there, so that there is a whole one or none.
fn make(path: &Path) -> io::Result<File> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).read(true).write(true).mode(0o600).open(&beside)?;
    // Written, not only claimed: a block that was never written may still need room when it is.
    file.write_all(&header(VERSION, 0, 0))?;
    file.write_all(&[0; SLOT_LEN * (SLOTS - 1)])?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    OpenOptions::new().read(true).write(true).open(path)
}

fn header(version: u8, writes: u64, when: u64) -> [u8; SLOT_LEN] {
    let mut slot = [0; SLOT_LEN];
    slot[..16].copy_from_slice(MAGIC);
    slot[16] = version;
    slot[24..32].copy_from_slice(&writes.to_be_bytes());
    slot[32..40].copy_from_slice(&when.to_be_bytes());
    let check = check::<16>(&slot[..48]);
    slot[48..].copy_from_slice(&check);
    slot
}

fn read_header(slot: &[u8; SLOT_LEN]) -> Option<(u8, u64, u64)> {
    let (writes, when) = (number(slot.get(24..32)?)?, number(slot.get(32..40)?)?);
    let version = [VERSION, VERSION_OF_DEVICES].into_iter().find(|version| *slot == header(*version, writes, when))?;
    Some((version, writes, when))
}

fn read_slot(slot: &[u8; SLOT_LEN]) -> Result<Option<Entry>, ()> {
    if *slot == [0; SLOT_LEN] {
        return Ok(None);
    }
    let [kind, of, with_descendants, 0, 0, 0, 0, 0, rest @ ..] = slot else { return Err(()) };
    let is_kept = match *kind {
        WAITING => false,
        KEPT => true,
        FREE | 3.. => return Err(()),
    };
    let entry = || {
        let (number, when) = (number(rest.get(..8)?)?, number(rest.get(8..16)?)?);
        let (kind, id) = (Kind::from_number(*of)?, *rest.get(16..48)?.first_chunk()?);
        let with_descendants = match *with_descendants {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(Entry { number, when, whom: Whom { kind, id, with_descendants }, is_kept })
    };
    let entry = entry().ok_or(())?;
    let is_whole = slot.get(..56).is_some_and(|bytes| slot.get(56..) == Some(&check::<8>(bytes)));
    if is_whole { Ok(Some(entry)) } else { Err(()) }
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// Against damage, not against people: whoever can write here can write the store as well.
fn check<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let digest = digest::digest(&digest::SHA256, bytes);
    *digest.as_ref().first_chunk().expect("a digest is longer than a check")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use duologue::DeviceId;

    use super::*;

    fn one(byte: u8) -> Whom {
        Whom::device(DeviceId([byte; 32]))
    }

    #[test]
    fn what_was_appended_is_there_at_the_next_start() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("revocations.journal");
        let mut journal = Journal::open(&path).expect("made");
        let len = fs::metadata(&path).expect("it is there").len();
        assert_eq!(journal.append(one(1), 11).expect("there is room"), 1);
        assert_eq!(journal.append(one(2), 12).expect("there is room"), 2);
        journal.keep(one(1)).expect("written");
        journal.note(7, 8).expect("written");
        drop(journal);
        let mut journal = Journal::open(&path).expect("readable");
        let entry = |number, is_kept| {
            let byte = u8::try_from(number).expect("small");
            Entry { number, when: 10 + number, whom: one(byte), is_kept }
        };
        assert_eq!(journal.entries().collect::<Vec<_>>(), [entry(1, true), entry(2, false)]);
        assert_eq!(journal.writes(), (7, 8));
        assert_eq!(journal.append(one(3), 13).expect("there is room"), 3, "numbers go on");
        let metadata = fs::metadata(&path).expect("it is there");
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (len, 0o600), "it never grows");
    }

    #[test]
    fn slots_that_wait_for_the_store_are_never_given_away() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut journal = Journal::open(&directory.path().join("revocations.journal")).expect("made");
        let device = |number: u16| {
            let mut device = [0; 32];
            device[..2].copy_from_slice(&number.to_be_bytes());
            Whom::device(DeviceId(device))
        };
        for number in 1..1_024 {
            journal.append(device(number), 0).expect("there is room");
        }
        journal.append(device(5_000), 0).expect_err("it is full");
        journal.keep(device(17)).expect("written");
        journal.append(device(5_000), 0).expect("the store has the seventeenth");
        assert_eq!(journal.entries().count(), 1_023);
        assert!(journal.entries().all(|entry| entry.whom != device(17)));
    }

    #[test]
    fn what_cannot_be_read_is_no_empty_journal() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("revocations.journal");
        let mut journal = Journal::open(&path).expect("made");
        journal.append(one(1), 1).expect("there is room");
        drop(journal);
        let whole = fs::read(&path).expect("readable");
        // Each byte that means something, damaged; and a file cut anywhere.
        for at in (0..whole.len()).step_by(37).chain(0..2 * SLOT_LEN) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).expect("written");
            let error = Journal::open(&path).expect_err("damaged");
            assert!(matches!(error, JournalError::Other | JournalError::Damaged(_)), "{at}: {error}");
            fs::write(&path, &whole[..at]).expect("written");
            assert!(matches!(Journal::open(&path), Err(JournalError::Other)), "cut at {at}");
        }
    }

    #[test]
    fn whatever_is_revoked_takes_one_slot_and_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("revocations.journal");
        let all = [one(1), Whom::subject("ada"), Whom::group("guests"), Whom::token("a7"), one(2).with_descendants()];
        let mut journal = Journal::open(&path).expect("made");
        for whom in all {
            journal.append(whom, 5).expect("there is room");
        }
        drop(journal);
        let journal = Journal::open(&path).expect("readable");
        assert_eq!(journal.entries().map(|entry| entry.whom).collect::<Vec<_>>(), all);
    }

    #[test]
    fn a_journal_of_devices_alone_is_read_and_becomes_one_that_its_writer_refuses() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("revocations.journal");
        let mut journal = Journal::open(&path).expect("made");
        journal.append(one(1), 5).expect("there is room");
        drop(journal);
        let mut bytes = fs::read(&path).expect("readable");
        bytes[..SLOT_LEN].copy_from_slice(&header(VERSION_OF_DEVICES, 3, 4));
        fs::write(&path, &bytes).expect("written");
        let mut journal = Journal::open(&path).expect("readable");
        assert_eq!((journal.entries().count(), journal.writes()), (1, (3, 4)));
        journal.append(Whom::subject("ada"), 6).expect("there is room");
        assert_eq!(
            fs::read(&path).expect("readable")[..SLOT_LEN],
            header(VERSION, 3, 4),
            "no slot without its version"
        );
    }
}
