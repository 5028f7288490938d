//! The file of redb, opened anew when its disk has failed: redb refuses everything after an I/O error until then. A page that makes
//! no sense to it is a panic in redb as often as an error: that ends nobody but the question, and is told as the damage that it is.

use std::{
    cell::Cell,
    fmt, io,
    ops::{Bound, Deref},
    panic::{self, AssertUnwindSafe},
    sync::{Once, PoisonError, RwLock, RwLockReadGuard},
};

use redb::{BackendError, ReadTransaction, ReadableDatabase, StorageBackend, WriteTransaction};
use thiserror::Error;

use super::{
    journal::JournalError,
    notices::{Notice, Notices},
    overlay::Overlay,
    room::is_for_want_of_room,
};

/// The store could not be read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// There is no room.
    #[error("the disk is full: free some space, and it goes on by itself")]
    Full,
    /// The disk, or the file on it.
    #[error("the store cannot be read or written: {0}; it is tried anew by itself")]
    Failed(redb::Error),
    /// It has failed, and it is not its time yet to be tried anew.
    #[error("the store is closed after a failure: {0}; it is tried anew by itself")]
    Closed(String),
    /// The process that has taken the place of this one has the file.
    #[error("another process has taken this one's place: ask again, and it answers")]
    HandedOver,
    /// Others wrote for too long.
    #[error("the store is busy: try again")]
    Busy,
    /// A record makes no sense.
    #[error("{record} in it cannot be read: the file is damaged, or of another program; put a copy of it back")]
    Damaged {
        /// Which.
        record: String,
    },
    /// The file's own pages make no sense.
    #[error("the file is damaged ({0})")]
    Torn(String),
    /// A later version wrote it.
    #[error("it is of version {found}, and this duologue knows none after {known}: run the one that wrote it")]
    Newer {
        /// The file's.
        found: String,
        /// Ours.
        known: u32,
    },
    /// An older version wrote it, and no copy could be kept of it as it is.
    #[error("an older version wrote it, and no copy of it could be kept in {path} before it is taken over: {source}")]
    NotCopied {
        /// The copy.
        path: String,
        /// What happened.
        source: io::Error,
    },
    /// The journal beside it.
    #[error("the journal of revocations beside it, {path}: {source}")]
    Journal {
        /// The file.
        path: String,
        /// What is wrong.
        source: JournalError,
    },
}

macro_rules! store_errors {
    ($($error:ty),*) => {$(
        impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                Self::from_redb(error.into())
            }
        }
    )*};
}
store_errors!(redb::DatabaseError, redb::TransactionError, redb::TableError, redb::StorageError, redb::CommitError);

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        Self::from_redb(error)
    }
}

impl StoreError {
    fn from_redb(error: redb::Error) -> Self {
        match &error {
            redb::Error::Io(cause) if is_for_want_of_room(cause) => Self::Full,
            _ => Self::Failed(error),
        }
    }

    /// Whether the file must be opened anew before anything works again.
    pub(super) const fn is_the_files(&self) -> bool {
        matches!(self, Self::Full | Self::Failed(_) | Self::Torn(_))
    }
}

/// Opens what the file lies on.
type Opener = Box<dyn Fn() -> io::Result<Box<dyn StorageBackend>> + Send + Sync>;

pub(super) struct Database {
    opener: Opener,
    open: RwLock<Open>,
    notices: Notices,
}

enum Open {
    Whole(File),
    /// The disk takes no writes: what is read is read in memory. With why.
    Reading(File, String),
    Closed(String),
}

/// Closed without a panic too. None only while it is.
struct File(Option<redb::Database>, Notices);

impl File {
    fn open(backend: impl StorageBackend, notices: &Notices) -> Result<Self, StoreError> {
        sound(|| Ok(Self(Some(redb::Builder::new().create_with_backend(backend)?), notices.clone())))
    }
}

impl Deref for File {
    type Target = redb::Database;

    fn deref(&self) -> &redb::Database {
        self.0.as_ref().expect("it is open until it is dropped")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let open = self.0.take();
        let closed = sound(|| {
            drop(open);
            Ok(())
        });
        if let Err(error) = closed {
            self.1.tell(Notice::Failed(format!("it could not be closed as it should: {error}")));
        }
    }
}

impl Database {
    pub(super) fn open(
        opener: impl Fn() -> io::Result<Box<dyn StorageBackend>> + Send + Sync + 'static,
        notices: Notices,
    ) -> Result<Self, StoreError> {
        let opener: Opener = Box::new(opener);
        let open = RwLock::new(Open::Whole(whole(&opener, &notices)?));
        Ok(Self { opener, open, notices })
    }

    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &*self.guard() {
            Open::Whole(database) | Open::Reading(database, _) => sound(|| work(&database.begin_read()?)),
            Open::Closed(cause) => Err(StoreError::Closed(cause.clone())),
        }
    }

    /// Commits what the work has done. To be called by one at a time.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &*self.guard() {
            Open::Whole(database) => sound(|| {
                let write = database.begin_write()?;
                let result = work(&write)?;
                write.commit()?;
                Ok(result)
            }),
            Open::Reading(_, cause) | Open::Closed(cause) => Err(StoreError::Closed(cause.clone())),
        }
    }

    /// Whether it can be written, as far as is known.
    pub(super) fn is_whole(&self) -> bool {
        matches!(*self.guard(), Open::Whole(_))
    }

    /// Closes the file and opens it again; to be read at least, if the disk takes no writes.
    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        // Closed first: two cannot have it open.
        *open = Open::Closed("it is being opened anew".to_owned());
        let error = match whole(&self.opener, &self.notices) {
            Ok(database) => {
                *open = Open::Whole(database);
                return Ok(());
            }
            Err(error) => error,
        };
        *open = match self.reading() {
            Ok(database) => Open::Reading(database, error.to_string()),
            Err(_) => Open::Closed(error.to_string()),
        };
        Err(error)
    }

    fn reading(&self) -> Result<File, StoreError> {
        let overlay = Overlay::over(Boxed((self.opener)().map_err(redb::Error::from)?)).map_err(redb::Error::from)?;
        File::open(overlay, &self.notices)
    }

    /// Closes the file, until it is opened anew.
    pub(super) fn close(&self, cause: &StoreError) {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = Open::Closed(cause.to_string());
    }

    fn guard(&self) -> RwLockReadGuard<'_, Open> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn whole(opener: &Opener, notices: &Notices) -> Result<File, StoreError> {
    File::open(Boxed(opener().map_err(redb::Error::from)?), notices)
}

thread_local! {
    /// This thread tells a panic as an error.
    static TOLD_OTHERWISE: Cell<bool> = const { Cell::new(false) };
}

/// Does something with the file; a panic of redb's, by damage that it does not look for, is an error, and not printed besides.
fn sound<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !TOLD_OTHERWISE.get() {
                before(panic);
            }
        }));
    });
    let before = TOLD_OTHERWISE.replace(true);
    // What redb holds is not looked at any more: the file is opened anew before anything works again.
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    TOLD_OTHERWISE.set(before);
    done.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(StoreError::Torn(text.unwrap_or_else(|| "a page makes no sense".to_owned())))
    })
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("is_whole", &self.is_whole()).finish_non_exhaustive()
    }
}

/// redb takes no box.
#[derive(Debug)]
struct Boxed(Box<dyn StorageBackend>);

impl StorageBackend for Boxed {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, path::Path};

    use redb::{ReadableTable, TableDefinition, backends::FileBackend};

    use super::*;

    const TABLE: TableDefinition<'static, u32, &[u8]> = TableDefinition::new("table");

    fn open(path: &Path) -> Result<Database, StoreError> {
        let path = path.to_owned();
        let opener = move || {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?) as Box<dyn StorageBackend>)
        };
        Database::open(opener, Notices::default())
    }

    /// Reads everything, and writes one thing more.
    fn use_it(path: &Path) -> Result<usize, StoreError> {
        let database = open(path)?;
        let found = database.read(|read| {
            let table = read.open_table(TABLE)?;
            table.iter()?.try_fold(0, |count, entry| Ok(count + usize::from(!entry?.1.value().is_empty())))
        })?;
        database.write(|write| {
            write.open_table(TABLE)?.insert(1_000_000, &b"new"[..])?;
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn whatever_was_altered_in_the_file_it_is_an_error_and_no_panic() {
        let directory = tempfile::tempdir().expect("a directory");
        let (whole, altered) = (directory.path().join("whole"), directory.path().join("altered"));
        let database = open(&whole).expect("a new file");
        let filled = database.write(|write| {
            let mut table = write.open_table(TABLE)?;
            for number in 0..500 {
                table.insert(number, &[7; 90][..])?;
            }
            Ok(())
        });
        filled.expect("there is room");
        drop(database);
        let bytes = std::fs::read(&whole).expect("is there");
        let (mut chance, mut errors, mut torn) = (1_u64, 0, 0);
        let mut next = |below: usize| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(chance >> 33).expect("31 bits") % below
        };
        for round in 0..300 {
            let mut damaged = bytes.clone();
            // A bit here and there, or all behind the first page.
            for _ in 0..1 + round % 40 {
                let at = next(damaged.len());
                damaged[at] ^= 1 << next(8);
            }
            if round % 10 == 0 {
                let filler = u8::try_from(next(256)).expect("a byte");
                damaged[4_096..].fill(filler);
            }
            std::fs::write(&altered, damaged).expect("written");
            match use_it(&altered) {
                Ok(_) => {}
                Err(StoreError::Torn(_)) => torn += 1,
                Err(_) => errors += 1,
            }
        }
        eprintln!("{errors} errors of redb's, {torn} panics of redb's");
        assert!(errors > 0 && torn > 0, "{errors} errors, {torn} panics: is this still needed?");
    }
}
