//! The state directory: who this server is, and whom it knows.
//!
//! ```text
//! identity.key   the server's private key, 32 bytes, mode 0600; whoever has it is this server
//! next.key, keys.json   the next one, and what the owner has signed of both (`keys.rs`)
//! store.redb     devices, accounts and invites, mode 0600
//! revocations.journal   what was revoked, on disk before the store has it; reserve   room for the owner
//! sessions.key   under which sessions are sealed that the store keeps, of this start alone (`seal.rs`)
//! store-v2.redb  the store as an older version left it, of the day when this one took it over
//! restoring      while a directory is made of a backup (`backup.rs`)
//! lock           held by the process that has the directory open, with its pid
//! acme/    certificates that the server gets itself, and its account (`front/acme/`)
//! audit/   the audit log and its key (`watch/audit/`)
//! control.sock   while the server runs
//! tls-cert.pem, tls-key.pem   of `duologue dev`
//! ```

pub(crate) mod backup;
mod database;
pub(crate) mod files;
mod identity;
mod journal;
pub(crate) mod keeper;
pub(crate) mod keys;
mod lock;
pub(crate) mod notices;
mod overlay;
pub(crate) mod owner;
pub(crate) mod records;
mod room;
pub(crate) mod seal;
pub(crate) mod sharded;
pub(crate) mod store;
mod turns;
pub(crate) mod whom;
pub(crate) mod words;

use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use duologue::{DeviceId, Invite, ServerIdentity, ServerKey};
use thiserror::Error;

pub(crate) use identity::replace_private;
pub use identity::write_private;
use keys::Keys;
use lock::Lock;
use notices::Notice;
use store::{Store, StoreError, Terms};

/// Who was let in.
const STORE: &str = "store.redb";

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
    /// The key's file is gone, and what it had let in is there.
    #[error(
        "identity.key is missing in {}, beside a store: put it back from a backup; a new key would lock out every device. To begin \
         anew all the same, move store.redb away too",
        .0.display()
    )]
    LostKey(PathBuf),
    /// What is said of its keys makes no sense.
    #[error("{} is damaged, or does not fit the keys beside it: restore it from a backup", .0.display())]
    DamagedKeys(PathBuf),
    /// No server has ever run there.
    #[error(
        "there is no server's state in {}: is --state mistyped? `duologue serve` and `duologue dev` make it at their first start",
        .0.display()
    )]
    Nothing(PathBuf),
    /// It was to be made of a backup.
    #[error("a restore into {} came to no end: empty that directory, and restore again", .0.display())]
    HalfMade(PathBuf),
    /// Another process has it.
    #[error("another duologue{}has {}: stop it first, or name another directory with --state", pid_of(*.pid), .directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// The process, if it has said so.
        pid: Option<u32>,
    },
    /// The store's file, or the disk below it.
    #[error(
        "cannot open {}: {cause}; put back a copy of it, and do not just remove it: it holds the devices that were let in",
        .path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
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
    keys: Arc<Keys>,
    store: Arc<Store>,
    /// After the store, which is closed first.
    lock: Arc<Lock>,
}

/// Between two words.
fn pid_of(pid: Option<u32>) -> String {
    pid.map_or_else(|| " ".to_owned(), |pid| format!(", pid {pid}, "))
}

impl State {
    /// Opens a state directory, and makes what is missing.
    ///
    /// # Errors
    /// What cannot be read or written; another process that has it open.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, StateError> {
        let directory = directory.as_ref().to_owned();
        make_directory(&directory)?;
        refuse_half_made(&directory)?;
        let lock = lock::take(&directory)?;
        if identity::find(&directory)?.is_none() && directory.join(STORE).exists() {
            return Err(StateError::LostKey(directory));
        }
        let keys = Keys::find_or_make(&directory)?;
        Self::open_store(directory, keys, lock)
    }

    /// Opens a state directory that a server has run in, and makes no identity where there is none.
    ///
    /// # Errors
    /// [`StateError::Nothing`]; and as [`Self::open`].
    pub fn open_existing(directory: impl AsRef<Path>) -> Result<Self, StateError> {
        let directory = directory.as_ref().to_owned();
        refuse_half_made(&directory)?;
        if identity::find(&directory)?.is_none() {
            return Err(StateError::Nothing(directory));
        }
        let lock = lock::take(&directory)?;
        let keys = Keys::find(&directory, true)?.ok_or_else(|| StateError::Nothing(directory.clone()))?;
        Self::open_store(directory, keys, lock)
    }

    /// Opens the state directory of a server whose place this process takes, and which has closed its store: with its lock, as
    /// [`Self::hand_on_lock`] has given it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn take_over(directory: impl AsRef<Path>, lock: OwnedFd) -> Result<Self, StateError> {
        let directory = directory.as_ref().to_owned();
        let keys = Keys::find(&directory, true)?.ok_or_else(|| StateError::Nothing(directory.clone()))?;
        Self::open_store(directory, keys, Lock::handed_on(lock))
    }

    /// The lock, for the process that takes the place of this one.
    ///
    /// # Errors
    /// If there are no files left to open.
    pub fn hand_on_lock(&self) -> io::Result<OwnedFd> {
        self.lock.hand_on()
    }

    /// Closes the store, and leaves the files of keys alone, for a process that takes the place of this one.
    ///
    /// # Errors
    /// If somebody writes for too long; then nothing has changed.
    pub(crate) fn hand_over(&self) -> Result<(), StoreError> {
        self.keys.hand_over(true);
        self.store.hand_over().inspect_err(|_| self.keys.hand_over(false))
    }

    /// Opens the store again that was closed for a process that has come to nothing.
    ///
    /// # Errors
    /// If it cannot be opened: that is tried again by itself.
    pub fn take_back(&self) -> Result<(), StoreError> {
        self.lock.sign();
        self.keys.hand_over(false);
        self.store.take_back()
    }

    fn open_store(directory: PathBuf, keys: Keys, lock: Lock) -> Result<Self, StateError> {
        let path = directory.join(STORE);
        let store = Store::open(&path).map_err(|source| match source {
            // It is tried anew by itself only while a server runs.
            StoreError::Failed(cause) => StateError::Unreadable { path: path.clone(), cause: cause.to_string() },
            StoreError::Torn(_) => StateError::Unreadable { path: path.clone(), cause: source.to_string() },
            source => StateError::Store { path: path.clone(), source },
        })?;
        // It may have been there before us, open to others.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(|source| StateError::Io {
            verb: "protect",
            path,
            source,
        })?;
        if let Some(exposed) = identity::exposed(&directory) {
            store.notices().tell(Notice::KeyExposed(exposed));
        }
        Ok(Self { directory, keys: Arc::new(keys), store: Arc::new(store), lock: Arc::new(lock) })
    }

    /// The directory itself.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Who this server is: of two keys the newer one, which links name.
    #[must_use]
    pub fn identity(&self) -> Arc<ServerIdentity> {
        Arc::clone(self.keys.now().newest())
    }

    /// Its keys.
    pub(crate) const fn keys(&self) -> &Arc<Keys> {
        &self.keys
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
        self.new_invite_for(&Terms::default(), lifetime)
    }

    /// Makes an invite for one device, which comes in on these terms.
    ///
    /// # Errors
    /// If the store fails.
    ///
    /// # Panics
    /// If the operating system gives no randomness.
    pub fn new_invite_for(&self, terms: &Terms, lifetime: Duration) -> Result<Invite, StoreError> {
        let invite = self.draw_invite();
        self.store.add_invite_for(&invite, terms, lifetime)?;
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
        Invite::new(random(), self.identity().public())
    }
}

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// The public key of a state directory's server, running or not.
///
/// # Errors
/// If there is no key, or it cannot be read.
pub fn server_key(directory: impl AsRef<Path>) -> Result<ServerKey, StateError> {
    Ok(keys_at_rest(directory.as_ref())?.now().newest().public())
}

/// The keys of a state directory, to be read alone.
pub(crate) fn keys_at_rest(directory: &Path) -> Result<Keys, StateError> {
    Keys::find(directory, false)?.ok_or_else(|| StateError::Nothing(directory.to_owned()))
}

/// The file of that key and its mode, if others than its owner can read or change it: whoever has read it can pose as this server.
#[must_use]
pub fn exposed_key(directory: impl AsRef<Path>) -> Option<String> {
    identity::exposed(directory.as_ref())
}

fn refuse_half_made(directory: &Path) -> Result<(), StateError> {
    if backup::is_half_made(directory) { Err(StateError::HalfMade(directory.to_owned())) } else { Ok(()) }
}

fn make_directory(directory: &Path) -> Result<(), StateError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|source| StateError::Io {
        verb: "make",
        path: directory.to_owned(),
        source,
    })
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

    /// Once another key was made without a word, and every device was locked out by it.
    #[test]
    fn a_lost_key_is_not_replaced_where_a_store_is() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let first = State::open(directory.path()).expect("made").identity().public();
        let (key, elsewhere) = (directory.path().join("identity.key"), directory.path().join("kept"));
        fs::rename(&key, &elsewhere).expect("moved");
        let error = State::open(directory.path()).expect_err("its devices know another key");
        assert!(matches!(error, StateError::LostKey(_)), "{error}");
        assert!(!key.exists(), "nothing is made");
        fs::rename(&elsewhere, &key).expect("moved back");
        assert_eq!(State::open(directory.path()).expect("as before").identity().public(), first);
    }

    #[test]
    fn secrets_are_whole_or_absent_and_private_from_their_first_byte() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("secret");
        // What a killed process has left, open to everybody.
        let beside = directory.path().join("secret.new");
        fs::write(&beside, b"half").expect("written");
        write_private(&path, b"a secret").expect("written");
        assert_eq!(fs::read(&path).expect("readable"), b"a secret");
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        assert!(!beside.exists());
        write_private(&path, b"another").expect_err("it is there");
        assert_eq!(fs::read(&path).expect("readable"), b"a secret");
        // Nothing under its name where nothing can be written.
        let missing = directory.path().join("nowhere/secret");
        write_private(&missing, b"a secret").expect_err("no such directory");
        assert!(!missing.exists());
    }

    #[test]
    fn reading_makes_nothing() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for mistyped in [directory.path().to_owned(), directory.path().join("mistyped")] {
            let error = server_key(&mistyped).expect_err("there is none").to_string();
            assert!(error.contains("is --state mistyped?"), "{error}");
            assert!(matches!(State::open_existing(&mistyped), Err(StateError::Nothing(_))));
        }
        assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 0, "nothing was made");
    }

    #[test]
    fn a_second_one_is_told_which_process_has_the_state() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let first = State::open(directory.path()).expect("made");
        let error = State::open(directory.path()).expect_err("it is open").to_string();
        let words = format!("another duologue, pid {}, has {}", std::process::id(), directory.path().display());
        assert!(error.contains(&words), "{error}");
        drop(first);
        State::open(directory.path()).expect("it is free again");
    }
}
