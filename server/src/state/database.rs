//! The file of redb, opened anew when its disk has failed: redb refuses everything after an I/O error until then.

use std::{
    fmt,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use redb::{ReadTransaction, ReadableDatabase, WriteTransaction};
use thiserror::Error;

use super::{journal::JournalError, room::is_for_want_of_room};

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

/// Opens the file.
type Opener = Box<dyn Fn() -> Result<redb::Database, redb::DatabaseError> + Send + Sync>;

pub(super) struct Database {
    opener: Opener,
    open: RwLock<Result<redb::Database, String>>,
}

impl Database {
    pub(super) fn open(
        opener: impl Fn() -> Result<redb::Database, redb::DatabaseError> + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let open = opener()?;
        Ok(Self { opener: Box::new(opener), open: RwLock::new(Ok(open)) })
    }

    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let guard = self.guard();
        match &*guard {
            Ok(database) => work(&database.begin_read()?),
            Err(cause) => Err(StoreError::Closed(cause.clone())),
        }
    }

    /// Commits what the work has done, if it says that it has changed something. To be called by one at a time.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let guard = self.guard();
        match &*guard {
            Ok(database) => {
                let write = database.begin_write()?;
                let result = work(&write)?;
                write.commit()?;
                Ok(result)
            }
            Err(cause) => Err(StoreError::Closed(cause.clone())),
        }
    }

    /// Closes the file and opens it again.
    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        // Closed first: two cannot have it open.
        *open = Err("it is being opened anew".to_owned());
        match (self.opener)() {
            Ok(database) => {
                *open = Ok(database);
                Ok(())
            }
            Err(error) => {
                *open = Err(error.to_string());
                Err(error.into())
            }
        }
    }

    /// Closes the file, until it is opened anew.
    pub(super) fn close(&self, cause: &StoreError) {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = Err(cause.to_string());
    }

    fn guard(&self) -> RwLockReadGuard<'_, Result<redb::Database, String>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.guard().is_ok()).finish()
    }
}
