//! The server's private key, and how secrets are written: for their owner alone from the first byte, whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use duologue::{Secret, ServerIdentity};
use zeroize::Zeroizing;

use super::StateError;

pub(super) const KEY: &str = "identity.key";

/// The identity of a state directory, if it has one.
pub(super) fn find(directory: &Path) -> Result<Option<ServerIdentity>, StateError> {
    read_key(&directory.join(KEY))
}

/// A private key of the server's, if there is one.
pub(super) fn read_key(path: &Path) -> Result<Option<ServerIdentity>, StateError> {
    match fs::read(path).map(Zeroizing::new) {
        Ok(bytes) => {
            let key = <[u8; 32]>::try_from(bytes.as_slice());
            key.map(|key| Some(ServerIdentity::new(Secret::new(key))))
                .map_err(|_| StateError::DamagedKey { path: path.to_owned(), len: bytes.len() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::Io { verb: "read", path: path.to_owned(), source }),
    }
}

/// The key's file and its mode, where that lets others read or change it.
pub(super) fn exposed(directory: &Path) -> Option<String> {
    let path = directory.join(KEY);
    let mode = fs::metadata(&path).ok()?.mode();
    (mode & 0o077 != 0).then(|| format!("{} (mode {:03o})", path.display(), mode & 0o777))
}

/// Writes a file that only its owner may read, in a directory that this process has for itself. It has its mode from its first
/// byte, and its name when it is whole: a full disk or a crash leaves nothing under that name. An existing one is never
/// overwritten.
///
/// # Errors
/// If it cannot be written, or is there.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    if fs::symlink_metadata(path).is_ok() {
        let source = io::ErrorKind::AlreadyExists.into();
        return Err(StateError::Io { verb: "write", path: path.to_owned(), source });
    }
    replace_private(path, bytes)
}

/// The same in the place of what is there.
pub(crate) fn replace_private(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let failed = |source| StateError::Io { verb: "write", path: path.to_owned(), source };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    let write = || {
        // What a crash has left may have another mode.
        match fs::remove_file(beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(beside, path)?;
        // A name alone has a parent without a name.
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|source| {
        let _ = fs::remove_file(beside);
        failed(source)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_that_others_may_read_is_spoken_of() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(exposed(directory.path()), None, "there is none");
        write_private(&directory.path().join(KEY), &[7; 32]).expect("made");
        let path = directory.path().join(KEY);
        for (mode, is_open) in [(0o600, false), (0o400, false), (0o644, true), (0o640, true), (0o602, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
            let said = is_open.then(|| format!("{} (mode {mode:03o})", path.display()));
            assert_eq!(exposed(directory.path()), said, "{mode:o}");
        }
    }
}
