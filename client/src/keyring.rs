//! What a device keeps: its key, the servers it trusts, and their tickets. In memory, or in a directory:
//!
//! ```text
//! device.p8      the device key, PKCS #8, mode 0600
//! device-….p8    the one that has taken its place at one server, named by a hash of that; beside it, as device-….next.p8, the one that
//!                is to: looked for anew each time, since another program may have renewed it
//! servers.json   by host, and path if there is one: the pinned key, with what its owner has signed of the next and which there
//!                were before, whether it has let us in, the ticket; mode 0600
//! ```

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use duologue::{DeviceKey, KnownKeys, Secret, SignatureAlgorithm, Ticket, crypto::sha256};
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a keyring could not be opened or written.
#[derive(Debug, Error)]
pub enum KeyringError {
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
    /// A file holds something else.
    #[error("{} is damaged: move it away to begin anew with a new device key and a new invite", .0.display())]
    Damaged(PathBuf),
}

/// What is remembered of a server.
#[derive(Clone, Debug)]
pub(crate) struct KnownServer {
    pub(crate) keys: KnownKeys,
    pub(crate) enrolled: bool,
    pub(crate) ticket: Option<Ticket>,
}

/// A key that signs.
#[derive(Debug)]
pub(crate) struct Pair(Ed25519KeyPair);

impl Pair {
    fn new() -> Self {
        Self::read(&generate()).expect("a fresh key is well-formed")
    }

    fn read(pkcs8: &[u8]) -> Option<Self> {
        Ed25519KeyPair::from_pkcs8(pkcs8).ok().map(Self)
    }

    /// One with this key.
    #[cfg(test)]
    pub(crate) fn of_seed(seed: &[u8]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("32 bytes"))
    }

    /// The public half.
    pub(crate) fn device(&self) -> DeviceKey {
        let spki = [SignatureAlgorithm::Ed25519.spki_prefix(), self.0.public_key().as_ref()].concat();
        DeviceKey::new(SignatureAlgorithm::Ed25519, spki).expect("prefix and key make an Ed25519 SPKI")
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
    }
}

/// What has become of a device's key at one server, where nothing is on disk.
#[derive(Debug, Default)]
struct Renewed {
    own: Option<Arc<Pair>>,
    next: Option<Arc<Pair>>,
}

/// A device's key and its memory of servers.
pub struct Keyring {
    pair: Arc<Pair>,
    renewed: Mutex<BTreeMap<String, Renewed>>,
    servers: Mutex<BTreeMap<String, KnownServer>>,
    directory: Option<PathBuf>,
}

impl Keyring {
    /// A new device that nobody knows and that forgets all when dropped.
    ///
    /// # Panics
    /// If the operating system gives no randomness.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { pair: Arc::new(Pair::new()), renewed: Mutex::default(), servers: Mutex::default(), directory: None }
    }

    /// The device of a directory, which is made if it is missing.
    ///
    /// # Errors
    /// If the directory cannot be read or written, or holds something else.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, KeyringError> {
        let directory = directory.as_ref().to_owned();
        fs::create_dir_all(&directory).map_err(|source| io_error("make", &directory, source))?;
        let path = directory.join("device.p8");
        let pkcs8 = match fs::read(&path) {
            Ok(pkcs8) => pkcs8,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pkcs8 = generate();
                write_private(&path, &pkcs8)?;
                pkcs8
            }
            Err(source) => return Err(io_error("read", &path, source)),
        };
        let pair = Arc::new(Pair::read(&pkcs8).ok_or(KeyringError::Damaged(path))?);
        let path = directory.join("servers.json");
        let servers = match fs::read(&path) {
            Ok(json) => {
                let stored: BTreeMap<String, StoredServer> =
                    serde_json::from_slice(&json).map_err(|_| KeyringError::Damaged(path.clone()))?;
                stored.into_iter().map(|(host, server)| Some((host, server.parse()?))).collect::<Option<_>>()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(BTreeMap::new()),
            Err(source) => return Err(io_error("read", &path, source)),
        };
        let servers = Mutex::new(servers.ok_or(KeyringError::Damaged(path))?);
        Ok(Self { pair, renewed: Mutex::default(), servers, directory: Some(directory) })
    }

    /// The device's public key, as it was made: a server at which it was renewed knows another.
    #[must_use]
    pub fn device(&self) -> DeviceKey {
        self.pair.device()
    }

    pub(crate) fn first(&self) -> Arc<Pair> {
        Arc::clone(&self.pair)
    }

    /// The key by which a server knows this device.
    pub(crate) fn pair(&self, place: &str) -> Result<Arc<Pair>, KeyringError> {
        let own = match self.path(place, "p8") {
            Some(path) => read_pair(&path)?.map(Arc::new),
            None => self.renewed(|all| all.get(place).and_then(|it| it.own.clone())),
        };
        Ok(own.unwrap_or_else(|| self.first()))
    }

    /// The key that is to take its place there: that of a renewal which was not finished, or a new one, which is kept first.
    pub(crate) fn next_pair(&self, place: &str) -> Result<Arc<Pair>, KeyringError> {
        let Some(path) = self.path(place, "next.p8") else {
            let next = |all: &mut BTreeMap<String, Renewed>| {
                let next = &mut all.entry(place.to_owned()).or_default().next;
                Arc::clone(next.get_or_insert_with(|| Arc::new(Pair::new())))
            };
            return Ok(self.renewed(next));
        };
        if let Some(next) = read_pair(&path)? {
            return Ok(Arc::new(next));
        }
        let pkcs8 = generate();
        write_private(&path, &pkcs8)?;
        Ok(Arc::new(Pair::read(&pkcs8).expect("a fresh key is well-formed")))
    }

    /// That key has taken its place: it is the one by which the server knows this device.
    pub(crate) fn use_next_pair(&self, place: &str) -> Result<(), KeyringError> {
        let Some((own, next)) = self.path(place, "p8").zip(self.path(place, "next.p8")) else {
            self.renewed(|all| {
                let renewed = all.entry(place.to_owned()).or_default();
                renewed.own = renewed.next.take().or_else(|| renewed.own.take());
            });
            return Ok(());
        };
        fs::rename(&next, &own).map_err(|source| io_error("move", &next, source))?;
        // What lies under which name is on disk before the other key is given up.
        let directory = self.directory.as_deref().unwrap_or(Path::new("."));
        let synced = fs::File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|source| io_error("keep", directory, source))
    }

    fn renewed<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Renewed>) -> T) -> T {
        work(&mut self.renewed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where a key for one server is; none in memory. An address is no file's name.
    fn path(&self, place: &str, kind: &str) -> Option<PathBuf> {
        let [a, b, c, d, e, f, g, h, ..] = sha256(place.as_bytes());
        let name = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        self.directory.as_ref().map(|directory| directory.join(format!("device-{name:016x}.{kind}")))
    }

    pub(crate) fn server(&self, place: &str) -> Option<KnownServer> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).get(place).cloned()
    }

    pub(crate) fn remember(&self, place: &str, server: KnownServer) -> Result<(), KeyringError> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.insert(place.to_owned(), server);
        let Some(directory) = &self.directory else { return Ok(()) };
        let stored: BTreeMap<_, _> = servers.iter().map(|(host, server)| (host, StoredServer::from(server))).collect();
        let json = serde_json::to_vec_pretty(&stored).expect("strings and numbers are JSON");
        write_private(&directory.join("servers.json"), &json)
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("directory", &self.directory).finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct StoredServer {
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<StoredOwner>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    past: Vec<String>,
    enrolled: bool,
    ticket: Option<StoredTicket>,
}

/// Who signs the server's keys, and the highest number.
#[derive(Serialize, Deserialize)]
struct StoredOwner {
    key: String,
    number: u32,
}

#[derive(Serialize, Deserialize)]
struct StoredTicket {
    id: String,
    secret: String,
    lifetime_secs: u32,
}

impl From<&KnownServer> for StoredServer {
    fn from(server: &KnownServer) -> Self {
        let ticket = server.ticket.as_ref().map(|ticket| StoredTicket {
            id: ticket.id.to_string(),
            secret: BASE64_URL_SAFE_NO_PAD.encode(ticket.secret.expose()),
            lifetime_secs: ticket.lifetime_secs,
        });
        let KnownKeys { key, next, owner, past } = &server.keys;
        Self {
            key: key.to_string(),
            next: next.map(|next| next.to_string()),
            owner: owner.map(|(key, number)| StoredOwner { key: key.to_string(), number }),
            past: past.iter().map(ToString::to_string).collect(),
            enrolled: server.enrolled,
            ticket,
        }
    }
}

impl StoredServer {
    fn parse(self) -> Option<KnownServer> {
        let ticket = match self.ticket {
            None => None,
            Some(ticket) => Some(Ticket {
                id: ticket.id.parse().ok()?,
                secret: Secret::new(BASE64_URL_SAFE_NO_PAD.decode(ticket.secret).ok()?.try_into().ok()?),
                lifetime_secs: ticket.lifetime_secs,
            }),
        };
        let keys = KnownKeys {
            key: self.key.parse().ok()?,
            next: self.next.map(|next| next.parse()).transpose().ok()?,
            owner: match self.owner {
                Some(owner) => Some((owner.key.parse().ok()?, owner.number)),
                None => None,
            },
            past: self.past.iter().map(|past| past.parse().ok()).collect::<Option<_>>()?,
        };
        Some(KnownServer { keys, enrolled: self.enrolled, ticket })
    }
}

fn generate() -> Vec<u8> {
    Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .expect("the operating system gives random bytes")
        .as_ref()
        .to_vec()
}

fn read_pair(path: &Path) -> Result<Option<Pair>, KeyringError> {
    match fs::read(path) {
        Ok(pkcs8) => Pair::read(&pkcs8).map(Some).ok_or_else(|| KeyringError::Damaged(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(io_error("read", path, source)),
    }
}

/// Writes a file that only its owner may read: with its mode from the first byte, and whole or not at all. A crash, or a disk that
/// is full, leaves what was there.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), KeyringError> {
    let mut next = path.as_os_str().to_owned();
    next.push(".next");
    let next = Path::new(&next);
    let write = || {
        // What a crash has left may have another mode.
        match fs::remove_file(next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(next)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(next, path)
    };
    write().map_err(|source| {
        let _ = fs::remove_file(next);
        io_error("write", path, source)
    })
}

fn io_error(verb: &'static str, path: &Path, source: io::Error) -> KeyringError {
    KeyringError::Io { verb, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_device_key_is_whole_or_absent_and_private_from_its_first_byte() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // A client that was killed once left an empty key, which every later start called damaged.
        let beside = directory.path().join("device.p8.next");
        fs::write(&beside, b"half").expect("written");
        let device = Keyring::open(directory.path()).expect("made").device();
        assert_eq!(Keyring::open(directory.path()).expect("opened again").device(), device);
        let metadata = fs::metadata(directory.path().join("device.p8")).expect("it is there");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert!(!beside.exists(), "it became the key");
    }
}
