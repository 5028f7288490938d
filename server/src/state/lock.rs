//! One process for one state directory: the others are told which.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::StateError;

/// Held while the state directory is open. The system gives it back when the process ends, however that comes.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "closing it gives the lock back")] File);

/// Takes the directory for this process.
pub(super) fn take(directory: &Path) -> Result<Lock, StateError> {
    let path = directory.join("lock");
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(|source| StateError::Io { verb: "open", path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => {
            // Only said for people: a disk that is too full for it is no reason to stop.
            let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
            Ok(Lock(file))
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
