//! The state directory: who this server is, and whom it knows.
//!
//! ```text
//! identity.key   the server's private key, 32 bytes, mode 0600; whoever has it is this server
//! store.redb     devices and invites, mode 0600
//! control.sock   while the server runs
//! tls-cert.pem, tls-key.pem   of `duologue dev`
//! ```

pub(crate) mod store;
pub(crate) mod words;

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use duologue::{DeviceId, Invite, Secret, ServerIdentity, ServerKey};
use thiserror::Error;

use store::{Store, StoreError};

/// Why the state directory cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// The file system.
    #[error("cannot {verb} {}", .path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The key's file holds something else.
    #[error("{} should hold 32 bytes, and holds {len}: restore it from a backup; a new key would lock out every device", .path.display())]
    DamagedKey {
        /// The file.
        path: PathBuf,
        /// What it holds.
        len: usize,
    },
    /// The store.
    #[error("cannot open {}", .path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: StoreError,
    },
}

/// An open state directory. Only one process can have it open; the others ask it (`control.rs`).
#[derive(Clone, Debug)]
pub struct State {
    directory: PathBuf,
    identity: Arc<ServerIdentity>,
    store: Arc<Store>,
}

impl State {
    /// Opens a state directory, and makes what is missing.
    ///
    /// # Errors
    /// What cannot be read or written.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, StateError> {
        let directory = directory.as_ref().to_owned();
        make_directory(&directory)?;
        let identity = Arc::new(identity(&directory)?);
        let path = directory.join("store.redb");
        let store = Store::open(&path).map_err(|source| StateError::Store { path: path.clone(), source })?;
        // It holds the invites' secrets, and the directory may have been there before us, open to others.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(|source| StateError::Io {
            verb: "protect",
            path,
            source,
        })?;
        Ok(Self { directory, identity, store: Arc::new(store) })
    }

    /// The directory itself.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Who this server is.
    #[must_use]
    pub const fn identity(&self) -> &Arc<ServerIdentity> {
        &self.identity
    }

    /// Whom it knows.
    #[must_use]
    pub const fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Makes an invite for one device.
    ///
    /// # Errors
    /// If the store fails.
    ///
    /// # Panics
    /// If the operating system gives no randomness.
    pub fn new_invite(&self, lifetime: Duration) -> Result<Invite, StoreError> {
        let invite = self.draw_invite();
        self.store.add_invite(&invite, lifetime)?;
        Ok(invite)
    }

    /// The same for a device that asks for another; none if it may not: see [`Store::add_invite_of`].
    ///
    /// # Errors
    /// If the store fails.
    ///
    /// # Panics
    /// If the operating system gives no randomness.
    pub fn new_invite_of(
        &self,
        device: DeviceId,
        lifetime: Duration,
        live_max: usize,
    ) -> Result<Option<Invite>, StoreError> {
        let invite = self.draw_invite();
        Ok(self.store.add_invite_of(device, &invite, lifetime, live_max)?.then_some(invite))
    }

    fn draw_invite(&self) -> Invite {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).expect("the operating system gives random bytes");
        Invite::new(secret, self.identity.public())
    }
}

/// The public key of a state directory's server, running or not. Makes the key if it is missing.
///
/// # Errors
/// If the key cannot be read or written.
pub fn server_key(directory: impl AsRef<Path>) -> Result<ServerKey, StateError> {
    let directory = directory.as_ref();
    make_directory(directory)?;
    Ok(identity(directory)?.public())
}

/// The identity of a state directory, which is made if it is missing.
fn identity(directory: &Path) -> Result<ServerIdentity, StateError> {
    let path = directory.join("identity.key");
    match fs::read(&path) {
        Ok(bytes) => {
            let key = <[u8; 32]>::try_from(bytes.as_slice());
            key.map(|key| ServerIdentity::new(Secret::new(key)))
                .map_err(|_| StateError::DamagedKey { path, len: bytes.len() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = [0; 32];
            getrandom::fill(&mut key).expect("the operating system gives random bytes");
            write_private(&path, &key)?;
            Ok(ServerIdentity::new(Secret::new(key)))
        }
        Err(source) => Err(StateError::Io { verb: "read", path, source }),
    }
}

fn make_directory(directory: &Path) -> Result<(), StateError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|source| StateError::Io {
        verb: "make",
        path: directory.to_owned(),
        source,
    })
}

/// Writes a file that only its owner may read. An existing one is never overwritten.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(|source| StateError::Io { verb: "write", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_keeps_its_identity_and_keeps_it_private() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = directory.path().join("state");
        let first = State::open(&state).expect("made").identity().public();
        assert_eq!(State::open(&state).expect("opened again").identity().public(), first);
        for file in ["identity.key", "store.redb"] {
            let mode = fs::metadata(state.join(file)).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }

    #[test]
    fn a_damaged_key_is_not_replaced() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::write(directory.path().join("identity.key"), b"short").expect("written");
        let error = State::open(directory.path()).expect_err("not a key");
        assert!(matches!(error, StateError::DamagedKey { len: 5, .. }), "{error}");
    }
}
