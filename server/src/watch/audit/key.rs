//! The key that signs the audit log: its own, and no older than the file that is being written.
//!
//! ```text
//! key        signs now, 32 bytes, mode 0600
//! key.next   made, named in a line that `key` has signed, and not in use yet
//! ```
//!
//! At each rotation `key` signs the public half of `key.next`, is overwritten, and `key.next` takes its name. Who breaks in later
//! can sign what is written from then on, and nothing that was written under an older key. What a file system or a disk keeps of
//! overwritten bytes is not in our hands.

use std::{
    fmt, fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use ring::signature::{Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

use super::line::{AuditKey, Hash};
use crate::state::{StateError, random, write_private};

const KEY: &str = "key";
const NEXT: &str = "key.next";

/// A key pair. What it holds neither prints nor lingers in a file that is not its own.
pub(super) struct Key {
    pair: Ed25519KeyPair,
    public: AuditKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.public).finish()
    }
}

impl Key {
    fn of(seed: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Some(Self { pair, public: Hash(public) })
    }

    pub(super) const fn public(&self) -> AuditKey {
        self.public
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut sig = [0; 64];
        sig.copy_from_slice(self.pair.sign(message).as_ref());
        sig
    }
}

/// Where the keys of one log lie.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    key: PathBuf,
    next: PathBuf,
}

impl Keys {
    pub(super) fn of(directory: &Path) -> Self {
        Self { key: directory.join(KEY), next: directory.join(NEXT) }
    }

    /// The key that has this public half, if it is there. One that was made and not promoted any more is promoted now: what named it
    /// has been written.
    pub(super) fn find(&self, public: &AuditKey) -> Result<Option<Key>, StateError> {
        if let Some(key) = read(&self.next)?.filter(|key| key.public() == *public) {
            self.promote()?;
            return Ok(Some(key));
        }
        Ok(read(&self.key)?.filter(|key| key.public() == *public))
    }

    /// Makes the key of a log that nobody has signed yet, or whose key is gone.
    pub(super) fn begin(&self) -> Result<Key, StateError> {
        self.make_next()?;
        self.promote()?;
        read(&self.key)?.ok_or_else(|| failed("read", &self.key, io::ErrorKind::InvalidData.into()))
    }

    /// Makes the key that comes after; one that was made before and came to nothing goes.
    pub(super) fn make_next(&self) -> Result<Key, StateError> {
        self.drop_next()?;
        let seed = Zeroizing::new(random::<32>());
        write_private(&self.next, &*seed)?;
        Key::of(&*seed).ok_or_else(|| failed("use", &self.next, io::ErrorKind::InvalidData.into()))
    }

    /// What was to come after does not.
    pub(super) fn drop_next(&self) -> Result<(), StateError> {
        wipe(&self.next).map_err(|error| failed("wipe", &self.next, error))
    }

    /// The next key becomes the one that signs, and the old one is wiped.
    pub(super) fn promote(&self) -> Result<(), StateError> {
        wipe(&self.key).map_err(|error| failed("wipe", &self.key, error))?;
        let moved = fs::rename(&self.next, &self.key).and_then(|()| sync_directory(&self.key));
        moved.map_err(|error| failed("write", &self.key, error))
    }
}

/// On disk, what the directory of a file says.
pub(super) fn sync_directory(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
}

fn read(path: &Path) -> Result<Option<Key>, StateError> {
    match fs::read(path).map(Zeroizing::new) {
        Ok(bytes) if bytes.len() == 32 => Ok(Key::of(&bytes)),
        // Half of one, or one that was wiped and not removed.
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path, error)),
    }
}

/// Overwrites a file, and removes it.
fn wipe(path: &Path) -> io::Result<()> {
    let overwritten = fs::OpenOptions::new().write(true).open(path).and_then(|mut file| {
        let len = usize::try_from(file.metadata()?.len()).unwrap_or(0).min(4_096);
        file.write_all(&vec![0; len])?;
        file.sync_all()
    });
    match overwritten.and_then(|()| fs::remove_file(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn failed(verb: &'static str, path: &Path, source: io::Error) -> StateError {
    StateError::Io { verb, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_moves_forward_and_the_old_one_is_wiped() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let keys = Keys::of(directory.path());
        let first = keys.begin().expect("made");
        let mode = fs::metadata(&keys.key).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Somebody has a hand on the old file, as a backup program may.
        let held = directory.path().join("held");
        fs::hard_link(&keys.key, &held).expect("linked");
        let second = keys.make_next().expect("made");
        assert_eq!(keys.find(&first.public()).expect("readable").map(|key| key.public()), Some(first.public()));
        keys.promote().expect("written");
        assert_ne!(first.public(), second.public());
        assert_eq!(fs::read(&held).expect("readable"), [0; 32]);
        assert!(keys.find(&first.public()).expect("readable").is_none());
        assert_eq!(keys.find(&second.public()).expect("readable").map(|key| key.public()), Some(second.public()));
    }

    #[test]
    fn a_crash_at_any_step_of_a_rotation_leaves_the_key_that_the_log_names() {
        for was_wiped in [false, true] {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let keys = Keys::of(directory.path());
            keys.begin().expect("made");
            let next = keys.make_next().expect("made");
            if was_wiped {
                wipe(&keys.key).expect("wiped");
            }
            let found = keys.find(&next.public()).expect("readable").expect("it is there");
            assert_eq!(found.public(), next.public());
            assert!(!keys.next.exists() && keys.key.exists());
        }
    }
}
