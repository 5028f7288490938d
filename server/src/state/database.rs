//! The file of redb, opened anew when its disk has failed: redb refuses everything after an I/O error until then.

use std::{
    fmt, io,
    ops::Bound,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use redb::{BackendError, ReadTransaction, ReadableDatabase, StorageBackend, WriteTransaction};
use thiserror::Error;

use super::{journal::JournalError, overlay::Overlay, room::is_for_want_of_room};

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
    /// Others wrote for too long.
    #[error("the store is busy: try again")]
    Busy,
    /// A record makes no sense.
    #[error("{record} in it cannot be read: the file is damaged, or of another program; put a copy of it back")]
    Damaged {
        /// Which.
        record: String,
    },
    /// A later version wrote it.
    #[error("it is of version {found}, and this duologue knows none after {known}: run the one that wrote it")]
    Newer {
        /// The file's.
        found: String,
        /// Ours.
        known: u32,
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
        matches!(self, Self::Full | Self::Failed(_))
    }
}

/// Opens what the file lies on.
type Opener = Box<dyn Fn() -> io::Result<Box<dyn StorageBackend>> + Send + Sync>;

pub(super) struct Database {
    opener: Opener,
    open: RwLock<Open>,
}

enum Open {
    Whole(redb::Database),
    /// The disk takes no writes: what is read is read in memory. With why.
    Reading(redb::Database, String),
    Closed(String),
}

impl Database {
    pub(super) fn open(
        opener: impl Fn() -> io::Result<Box<dyn StorageBackend>> + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let opener: Opener = Box::new(opener);
        let open = RwLock::new(Open::Whole(whole(&opener)?));
        Ok(Self { opener, open })
    }

    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &*self.guard() {
            Open::Whole(database) | Open::Reading(database, _) => work(&database.begin_read()?),
            Open::Closed(cause) => Err(StoreError::Closed(cause.clone())),
        }
    }

    /// Commits what the work has done. To be called by one at a time.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &*self.guard() {
            Open::Whole(database) => {
                let write = database.begin_write()?;
                let result = work(&write)?;
                write.commit()?;
                Ok(result)
            }
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
        let error = match whole(&self.opener) {
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

    fn reading(&self) -> Result<redb::Database, StoreError> {
        let overlay = Overlay::over(Boxed((self.opener)().map_err(redb::Error::from)?)).map_err(redb::Error::from)?;
        Ok(redb::Builder::new().create_with_backend(overlay)?)
    }

    /// Closes the file, until it is opened anew.
    pub(super) fn close(&self, cause: &StoreError) {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = Open::Closed(cause.to_string());
    }

    fn guard(&self) -> RwLockReadGuard<'_, Open> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn whole(opener: &Opener) -> Result<redb::Database, StoreError> {
    Ok(redb::Builder::new().create_with_backend(Boxed(opener().map_err(redb::Error::from)?))?)
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
