//! The server's private key, and how secrets are written: for their owner alone from the first byte, whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use duologue::{Secret, ServerIdentity};

use super::{StateError, random};

const KEY: &str = "identity.key";

/// The identity of a state directory, which is made if it is missing.
pub(super) fn find_or_make(directory: &Path) -> Result<ServerIdentity, StateError> {
    if let Some(identity) = find(directory)? {
        return Ok(identity);
    }
    let key = random();
    write_private(&directory.join(KEY), &key)?;
    Ok(ServerIdentity::new(Secret::new(key)))
}

/// The identity of a state directory, if it has one.
pub(super) fn find(directory: &Path) -> Result<Option<ServerIdentity>, StateError> {
    let path = directory.join(KEY);
    match fs::read(&path) {
        Ok(bytes) => {
            if let Some(warning) = fs::metadata(&path).ok().and_then(|it| read_by_others(&path, it.mode())) {
                tracing::warn!(target: "duologue::owner", "{warning}");
            }
            let key = <[u8; 32]>::try_from(bytes.as_slice());
            key.map(|key| Some(ServerIdentity::new(Secret::new(key))))
                .map_err(|_| StateError::DamagedKey { path, len: bytes.len() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::Io { verb: "read", path, source }),
    }
}

/// What to say of a key whose mode lets others read or change it.
fn read_by_others(path: &Path, mode: u32) -> Option<String> {
    (mode & 0o077 != 0).then(|| {
        format!(
            "{} is open to other users of this machine (mode {:03o}), and whoever has read it can pose as this server: `chmod 600` \
             it, and if anybody may have read it, begin anew with another state directory",
            path.display(),
            mode & 0o777
        )
    })
}

/// Writes a file that only its owner may read, in a directory that this process has for itself. It has its mode from its first
/// byte, and its name when it is whole: a full disk or a crash leaves nothing under that name. An existing one is never
/// overwritten.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let failed = |source| StateError::Io { verb: "write", path: path.to_owned(), source };
    if fs::symlink_metadata(path).is_ok() {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
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
        path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    };
    write().map_err(|source| {
        let _ = fs::remove_file(beside);
        failed(source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_others_may_read_is_spoken_of() {
        let path = Path::new("state/identity.key");
        for (mode, is_open) in
            [(0o100_600, false), (0o100_400, false), (0o100_644, true), (0o100_640, true), (0o100_602, true)]
        {
            let said = read_by_others(path, mode);
            assert_eq!(said.is_some(), is_open, "{mode:o}");
            assert!(said.is_none_or(|said| said.contains("state/identity.key") && said.contains("chmod 600")));
        }
    }
}
