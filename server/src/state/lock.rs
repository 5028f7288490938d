//! One process for one state directory: the others are told which.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read},
    os::{
        fd::OwnedFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::Path,
};

use super::StateError;

/// Held while the state directory is open. The system gives it back when the process ends, however that comes.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// That of the process whose place this one takes: the two hold it together, so that nobody else comes in between.
    pub(super) fn handed_on(file: OwnedFd) -> Self {
        let lock = Self(File::from(file));
        lock.sign();
        lock
    }

    /// For the process that takes the place of this one.
    pub(super) fn hand_on(&self) -> io::Result<OwnedFd> {
        Ok(self.0.try_clone()?.into())
    }

    /// Says whose it is. For people only: a disk that is too full for it is no reason to stop.
    pub(super) fn sign(&self) {
        let pid = format!("{}\n", std::process::id());
        let _ = self.0.set_len(0).and_then(|()| self.0.write_all_at(pid.as_bytes(), 0));
    }
}

/// Takes the directory for this process.
pub(super) fn take(directory: &Path) -> Result<Lock, StateError> {
    let path = directory.join("lock");
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(|source| StateError::Io { verb: "open", path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => {
            let lock = Lock(file);
            lock.sign();
            Ok(lock)
        }
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.take(32).read_to_string(&mut pid);
            Err(StateError::InUse { directory: directory.to_owned(), pid: pid.trim().parse().ok() })
        }
        // Some network file systems have no locks; the store has its own then, or cannot be kept from harm there at all.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(Lock(file)),
        Err(TryLockError::Error(source)) => Err(StateError::Io { verb: "lock", path, source }),
    }
}
