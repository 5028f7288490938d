//! Room on the disk: a reserve that is kept for the owner, and a word before the disk is full.
//!
//! ```text
//! plenty ──less than 64 MiB──► low: it is told    ──a write fails──► full: devices' writes are refused before the disk is
//!    ▲                                                                       │ asked, the owner's get the reserve
//!    └──────────────── there is room again: the reserve is made anew ◄───────┘
//! ```

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::notices::{Notice, Notices};

/// What is kept for the owner: a thousand pages of the store, some hundred of its writes.
const RESERVE_LEN: u64 = 4 * 1_024 * 1_024;
/// Below so much the owner is warned.
const LOW: u64 = 64 * 1_024 * 1_024;
/// How often the same is said again.
const AGAIN: Duration = Duration::from_secs(60 * 60);

/// The room that a state directory has.
#[derive(Debug)]
pub(super) struct Room {
    directory: PathBuf,
    /// A write has found the disk full, and nobody has seen room since.
    full: AtomicBool,
    warned: Mutex<Option<Instant>>,
    notices: Notices,
}

impl Room {
    /// Looks at the disk, and makes the reserve if it is missing and there is room for it.
    pub(super) fn open(directory: &Path, notices: Notices) -> Self {
        let (full, warned) = (AtomicBool::new(false), Mutex::default());
        let room = Self { directory: directory.to_owned(), full, warned, notices };
        room.look();
        room
    }

    fn reserve(&self) -> PathBuf {
        self.directory.join("reserve")
    }

    /// Bytes that may still be written here; none where the file system does not tell.
    pub(super) fn free(&self) -> Option<u64> {
        let told = rustix::fs::statvfs(&self.directory).ok()?;
        Some(told.f_bavail.saturating_mul(told.f_frsize))
    }

    /// Whether the disk was found full and has no room since.
    pub(super) fn is_full(&self) -> bool {
        if !self.full.load(Ordering::Relaxed) {
            return false;
        }
        let is_full = self.free().is_some_and(|free| free < RESERVE_LEN);
        if !is_full {
            self.full.store(false, Ordering::Relaxed);
        }
        is_full
    }

    /// A write has failed for want of room.
    pub(super) fn found_full(&self) {
        if !self.full.swap(true, Ordering::Relaxed) {
            self.notices.tell(Notice::Full(self.directory.display().to_string()));
        }
    }

    /// Gives the reserve to the owner. False if there is none.
    pub(super) fn give_up(&self) -> bool {
        fs::remove_file(self.reserve()).is_ok()
    }

    /// Warns where there is little room left, and makes the reserve anew where there is enough.
    pub(super) fn look(&self) {
        let Some(free) = self.free() else { return };
        let was_full = self.full.load(Ordering::Relaxed);
        if was_full && !self.is_full() {
            self.notices.tell(Notice::RoomAgain(self.directory.display().to_string()));
        }
        // Never the last of it, and never where the disk was found full a moment ago.
        if free >= 2 * RESERVE_LEN
            && !self.full.load(Ordering::Relaxed)
            && !fs::metadata(self.reserve()).is_ok_and(|it| it.len() == RESERVE_LEN)
            && let Err(error) = self.make_reserve()
        {
            self.tell_low(&format!("no reserve could be made for the owner: {error}"));
            self.give_up();
        }
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if free >= LOW {
            *warned = None;
        } else if warned.is_none_or(|at| at.elapsed() >= AGAIN) {
            *warned = Some(Instant::now());
            self.tell_low(&format!("{} MB are left", free / 1_000_000));
        }
    }

    fn tell_low(&self, why: &str) {
        self.notices.tell(Notice::Low(format!("{}: {why}", self.directory.display())));
    }

    /// Written, not only claimed: what a file system lends may not be there when it is wanted.
    fn make_reserve(&self) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(self.reserve())?;
        let zeros = [0; 64 * 1_024];
        for _ in 0..RESERVE_LEN / zeros.len() as u64 {
            file.write_all(&zeros)?;
        }
        file.sync_all()
    }
}

/// Whether it was for want of room: the disk's, or what its owner allows.
pub(super) fn is_for_want_of_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
