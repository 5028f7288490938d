//! Devices and invites, in redb: one file, transactions that are whole or not at all.
//!
//! An invite is consumed in the same transaction that enrols its device, so that of any number of devices that race for
//! it one wins, and a crash in between leaves both or neither. The device that consumed it may use it again: its AUTH_OK may
//! have been lost.
//!
//! Whether a device may connect is in memory too, since each new connection asks, twice: some 50 bytes for each device. The
//! file has one opener, so that nobody else can change it.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use duologue::{CloseCode, DeviceId, Invite, InviteId, Secret, SignatureAlgorithm};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

const DEVICES: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("devices");
const INVITES: TableDefinition<'_, [u8; 16], &[u8]> = TableDefinition::new("invites");
/// Which device has made an invite, where it was not the owner.
const PAIRINGS: TableDefinition<'_, [u8; 16], [u8; 32]> = TableDefinition::new("pairings");
const SETTINGS: TableDefinition<'_, &str, &str> = TableDefinition::new("settings");
const ADDRESS: &str = "address";

/// The store could not be read or written.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct StoreError(#[from] redb::Error);

macro_rules! store_errors {
    ($($error:ty),*) => {$(
        impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                Self(error.into())
            }
        }
    )*};
}
store_errors!(redb::DatabaseError, redb::TransactionError, redb::TableError, redb::StorageError, redb::CommitError);

/// What the owner may do with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceStatus {
    /// It may connect.
    Enrolled,
    /// It was removed.
    Revoked,
}

/// A device that has come in by an invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its id: SHA-256 of its public key.
    pub id: [u8; 32],
    /// `Ed25519` or `P-256`.
    pub algorithm: String,
    /// Its public key.
    pub spki: Vec<u8>,
    /// Its name for itself when it came; unverified.
    pub name: String,
    /// Seconds since 1970.
    pub enrolled_at: u64,
    /// Whether it may connect.
    pub status: DeviceStatus,
}

#[derive(Clone, Serialize, Deserialize)]
struct StoredInvite {
    psk: [u8; 32],
    expires_at: u64,
    used_by: Option<[u8; 32]>,
}

/// The file of devices and invites.
#[derive(Debug)]
pub struct Store {
    database: Database,
    statuses: RwLock<HashMap<[u8; 32], DeviceStatus>>,
    /// Held from the beginning of a write to the change of `statuses` that follows it, so that both change in the same order.
    order: Mutex<()>,
}

impl Store {
    /// Opens the store, and makes it if it is missing.
    ///
    /// # Errors
    /// If it cannot be read or written, or another process has it open.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::create(path)?;
        let write = database.begin_write()?;
        let mut statuses = HashMap::new();
        for entry in write.open_table(DEVICES)?.iter()? {
            let device = decode::<Device>(entry?.1.value());
            statuses.extend(device.map(|device| (device.id, device.status)));
        }
        write.open_table(INVITES)?;
        write.open_table(PAIRINGS)?;
        write.open_table(SETTINGS)?;
        write.commit()?;
        Ok(Self { database, statuses: RwLock::new(statuses), order: Mutex::default() })
    }

    /// Whether a device may connect; none if it is not known.
    #[must_use]
    pub fn status(&self, id: DeviceId) -> Option<DeviceStatus> {
        self.statuses.read().unwrap_or_else(PoisonError::into_inner).get(&id.0).copied()
    }

    fn in_order(&self) -> MutexGuard<'_, ()> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn know(&self, id: [u8; 32], status: DeviceStatus) {
        self.statuses.write().unwrap_or_else(PoisonError::into_inner).insert(id, status);
    }

    /// Keeps an invite until some time after it has expired, so that its late users can be told why.
    ///
    /// # Errors
    /// If the store fails.
    pub fn add_invite(&self, invite: &Invite, lifetime: Duration) -> Result<(), StoreError> {
        const KEPT_SECS: u64 = 30 * 24 * 60 * 60;
        let now = now();
        let stored = StoredInvite { psk: *invite.psk().expose(), expires_at: now + lifetime.as_secs(), used_by: None };
        let write = self.database.begin_write()?;
        {
            let mut invites = write.open_table(INVITES)?;
            invites.retain(|_, bytes| {
                decode::<StoredInvite>(bytes).is_some_and(|invite| invite.expires_at + KEPT_SECS > now)
            })?;
            invites.insert(invite.id().0, encode(&stored).as_slice())?;
        }
        write.commit()?;
        Ok(())
    }

    /// Keeps an invite that a device has asked for. False, and nothing is kept, if the device is not enrolled or `live_max` of
    /// its invites could still be used.
    ///
    /// # Errors
    /// If the store fails.
    pub fn add_invite_of(
        &self,
        device: DeviceId,
        invite: &Invite,
        lifetime: Duration,
        live_max: usize,
    ) -> Result<bool, StoreError> {
        let now = now();
        let stored = StoredInvite { psk: *invite.psk().expose(), expires_at: now + lifetime.as_secs(), used_by: None };
        let write = self.database.begin_write()?;
        let is_kept = {
            let mut invites = write.open_table(INVITES)?;
            let mut pairings = write.open_table(PAIRINGS)?;
            let devices = write.open_table(DEVICES)?;
            // What was used or has expired counts no more, and its maker need not be known any longer.
            let mut live = Vec::new();
            for entry in invites.iter()? {
                let (id, bytes) = entry?;
                if decode::<StoredInvite>(bytes.value()).is_some_and(|it| it.used_by.is_none() && it.expires_at > now) {
                    live.push(id.value());
                }
            }
            pairings.retain(|id, _| live.contains(&id))?;
            let mut own = 0;
            for entry in pairings.iter()? {
                own += usize::from(entry?.1.value() == device.0);
            }
            let known = devices.get(device.0)?.and_then(|bytes| decode::<Device>(bytes.value()));
            let may = known.is_some_and(|known| known.status == DeviceStatus::Enrolled) && own < live_max;
            if may {
                invites.insert(invite.id().0, encode(&stored).as_slice())?;
                pairings.insert(invite.id().0, device.0)?;
            }
            may
        };
        write.commit()?;
        Ok(is_kept)
    }

    /// The secret of an invite, used or not: who may use it is decided when its device has proved itself.
    ///
    /// # Errors
    /// If the store fails.
    pub fn invite_secret(&self, id: InviteId) -> Result<Option<Secret>, StoreError> {
        let invites = self.database.begin_read()?.open_table(INVITES)?;
        let invite = invites.get(id.0)?.and_then(|bytes| decode::<StoredInvite>(bytes.value()));
        Ok(invite.map(|invite| Secret::new(invite.psk)))
    }

    /// Consumes an invite for a device and enrols it; or says why not.
    ///
    /// # Errors
    /// If the store fails.
    pub fn enrol(&self, id: InviteId, device: &Device) -> Result<Result<(), CloseCode>, StoreError> {
        let _order = self.in_order();
        let write = self.database.begin_write()?;
        let verdict = {
            let mut invites = write.open_table(INVITES)?;
            let mut devices = write.open_table(DEVICES)?;
            let invite = invites.get(id.0)?.and_then(|bytes| decode::<StoredInvite>(bytes.value()));
            let known = devices.get(device.id)?.and_then(|bytes| decode::<Device>(bytes.value()));
            match (invite, known) {
                (_, Some(known)) if known.status == DeviceStatus::Revoked => Err(CloseCode::DeviceRevoked),
                // An enrolled device needs no invite, and leaves it to another.
                (_, Some(_)) => Ok(()),
                (None, None) => Err(CloseCode::NotEnrolled),
                (Some(invite), None) if invite.used_by.is_some() => Err(CloseCode::InviteUsed),
                (Some(invite), None) if invite.expires_at <= now() => Err(CloseCode::InviteExpired),
                (Some(mut invite), None) => {
                    invite.used_by = Some(device.id);
                    invites.insert(id.0, encode(&invite).as_slice())?;
                    devices.insert(device.id, encode(device).as_slice())?;
                    Ok(())
                }
            }
        };
        write.commit()?;
        if verdict.is_ok() {
            self.know(device.id, DeviceStatus::Enrolled);
        }
        Ok(verdict)
    }

    /// All devices, the oldest first.
    ///
    /// # Errors
    /// If the store fails.
    pub fn devices(&self) -> Result<Vec<Device>, StoreError> {
        let table = self.database.begin_read()?.open_table(DEVICES)?;
        let mut devices = Vec::new();
        for entry in table.iter()? {
            devices.extend(decode::<Device>(entry?.1.value()));
        }
        devices.sort_by_key(|device| device.enrolled_at);
        Ok(devices)
    }

    /// Removes a device for good, and the invites that it has made and nobody has used. False if it is not known.
    ///
    /// # Errors
    /// If the store fails.
    pub fn revoke(&self, id: DeviceId) -> Result<bool, StoreError> {
        let _order = self.in_order();
        let write = self.database.begin_write()?;
        let known = {
            let mut devices = write.open_table(DEVICES)?;
            let (mut invites, mut pairings) = (write.open_table(INVITES)?, write.open_table(PAIRINGS)?);
            let made =
                pairings.extract_if(|_, maker| maker == id.0)?.map(|entry| entry.map(|(invite, _)| invite.value()));
            for invite in made.collect::<Result<Vec<_>, _>>()? {
                let stored = invites.get(invite)?.and_then(|bytes| decode::<StoredInvite>(bytes.value()));
                if stored.is_some_and(|stored| stored.used_by.is_none()) {
                    invites.remove(invite)?;
                }
            }
            let device = devices.get(id.0)?.and_then(|bytes| decode::<Device>(bytes.value()));
            match device {
                Some(device) => {
                    let device = Device { status: DeviceStatus::Revoked, ..device };
                    devices.insert(id.0, encode(&device).as_slice())?;
                    true
                }
                None => false,
            }
        };
        write.commit()?;
        if known {
            self.know(id.0, DeviceStatus::Revoked);
        }
        Ok(known)
    }

    /// The address under which the server was last reached, for links made while it does not run.
    ///
    /// # Errors
    /// If the store fails.
    pub fn address(&self) -> Result<Option<String>, StoreError> {
        let settings = self.database.begin_read()?.open_table(SETTINGS)?;
        Ok(settings.get(ADDRESS)?.map(|address| address.value().to_owned()))
    }

    /// Keeps that address.
    ///
    /// # Errors
    /// If the store fails.
    pub fn set_address(&self, address: &str) -> Result<(), StoreError> {
        let write = self.database.begin_write()?;
        write.open_table(SETTINGS)?.insert(ADDRESS, address)?;
        write.commit()?;
        Ok(())
    }
}

impl Device {
    /// A device that enrols now.
    #[must_use]
    pub fn new(key: &duologue::DeviceKey, name: &str) -> Self {
        let algorithm = match key.algorithm() {
            SignatureAlgorithm::Ed25519 => "Ed25519",
            SignatureAlgorithm::EcdsaP256 => "P-256",
        };
        Self {
            id: DeviceId::of_spki(key.spki()).0,
            algorithm: algorithm.to_owned(),
            spki: key.spki().to_vec(),
            name: name.to_owned(),
            enrolled_at: now(),
            status: DeviceStatus::Enrolled,
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("plain structures serialize")
}

/// What this version cannot read counts as absent: a device is then not known, which is the safe side.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use duologue::{DeviceKey, ServerKey};

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&directory.path().join("store.redb")).expect("a new store");
        (directory, store)
    }

    fn device(seed: u8) -> Device {
        let spki = [SignatureAlgorithm::Ed25519.spki_prefix(), &[seed; 32]].concat();
        Device::new(&DeviceKey::new(SignatureAlgorithm::Ed25519, spki).expect("an SPKI"), "test")
    }

    fn invite(seed: u8) -> Invite {
        Invite::new([seed; 32], ServerKey([0; 32]))
    }

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn of_a_hundred_devices_that_race_for_an_invite_one_wins() {
        let (_directory, store) = store();
        let store = Arc::new(store);
        store.add_invite(&invite(1), DAY).expect("stored");
        let racers: Vec<_> = (0..100)
            .map(|seed| {
                let store = Arc::clone(&store);
                std::thread::spawn(move || store.enrol(invite(1).id(), &device(seed)).expect("the store works"))
            })
            .collect();
        let verdicts: Vec<_> = racers.into_iter().map(|racer| racer.join().expect("no panic")).collect();
        assert_eq!(verdicts.iter().filter(|verdict| verdict.is_ok()).count(), 1);
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == Err(CloseCode::InviteUsed)).count(), 99);
        assert_eq!(store.devices().expect("readable").len(), 1);
    }

    #[test]
    fn the_same_device_may_use_its_invite_again() {
        let (_directory, store) = store();
        store.add_invite(&invite(1), DAY).expect("stored");
        for _ in 0..3 {
            assert_eq!(store.enrol(invite(1).id(), &device(1)).expect("the store works"), Ok(()));
        }
    }

    #[test]
    fn an_expired_or_unknown_invite_enrols_nobody() {
        let (_directory, store) = store();
        store.add_invite(&invite(1), Duration::ZERO).expect("stored");
        assert_eq!(store.enrol(invite(1).id(), &device(1)).expect("works"), Err(CloseCode::InviteExpired));
        assert_eq!(store.enrol(invite(2).id(), &device(1)).expect("works"), Err(CloseCode::NotEnrolled));
        assert!(store.devices().expect("readable").is_empty());
    }

    #[test]
    fn a_revoked_device_does_not_come_back_by_a_new_invite() {
        let (_directory, store) = store();
        store.add_invite(&invite(1), DAY).expect("stored");
        store.enrol(invite(1).id(), &device(1)).expect("works").expect("enrolled");
        assert!(store.revoke(DeviceId(device(1).id)).expect("works"));
        store.add_invite(&invite(2), DAY).expect("stored");
        assert_eq!(store.enrol(invite(2).id(), &device(1)).expect("works"), Err(CloseCode::DeviceRevoked));
        assert!(!store.revoke(DeviceId([9; 32])).expect("works"));
    }

    #[test]
    fn what_is_known_of_a_device_outlives_the_server() {
        let (directory, store) = store();
        let [one, two, stranger] = [1, 2, 3].map(|seed| DeviceId(device(seed).id));
        for seed in [1, 2] {
            store.add_invite(&invite(seed), DAY).expect("stored");
            store.enrol(invite(seed).id(), &device(seed)).expect("works").expect("enrolled");
        }
        store.revoke(two).expect("works");
        let expected = [Some(DeviceStatus::Enrolled), Some(DeviceStatus::Revoked), None];
        assert_eq!([one, two, stranger].map(|id| store.status(id)), expected);
        drop(store);
        let store = Store::open(&directory.path().join("store.redb")).expect("the same store");
        assert_eq!([one, two, stranger].map(|id| store.status(id)), expected);
    }

    #[test]
    fn a_device_has_so_many_live_invites_and_none_once_it_is_revoked() {
        let (_directory, store) = store();
        let stranger = DeviceId(device(9).id);
        assert!(!store.add_invite_of(stranger, &invite(1), DAY, 2).expect("works"), "it is not enrolled");
        store.add_invite(&invite(1), DAY).expect("stored");
        store.enrol(invite(1).id(), &device(1)).expect("works").expect("enrolled");
        let maker = DeviceId(device(1).id);
        assert!(store.add_invite_of(maker, &invite(2), DAY, 2).expect("works"));
        assert!(store.add_invite_of(maker, &invite(3), DAY, 2).expect("works"));
        assert!(!store.add_invite_of(maker, &invite(4), DAY, 2).expect("works"), "two are enough");
        // One that was used, and one that has expired, make room.
        store.enrol(invite(2).id(), &device(2)).expect("works").expect("enrolled");
        assert!(store.add_invite_of(maker, &invite(5), Duration::ZERO, 2).expect("works"));
        assert!(store.add_invite_of(maker, &invite(6), DAY, 2).expect("works"));
        assert!(!store.add_invite_of(maker, &invite(7), DAY, 2).expect("works"));
        assert_eq!(store.enrol(invite(7).id(), &device(7)).expect("works"), Err(CloseCode::NotEnrolled));
        // What it has made goes with it; who came by it before stays.
        assert!(store.revoke(maker).expect("works"));
        for seed in [3, 6] {
            assert_eq!(store.enrol(invite(seed).id(), &device(seed)).expect("works"), Err(CloseCode::NotEnrolled));
        }
        assert!(!store.add_invite_of(maker, &invite(8), DAY, 2).expect("works"));
        assert_eq!(store.status(DeviceId(device(2).id)), Some(DeviceStatus::Enrolled));
    }
}
