//! Keys that devices have had put in the place of an older one. A device's id is that of its first key, for good: whatever is kept of it
//! is kept under that, and stays where it is.
//!
//! ```text
//! keys  SHA-256 of a key ─► whose it is, what has become of it, when
//!
//! asked for ─► next: good beside the one before ─► the device has kept it, or has come by it ─► current, and the one before is old
//! ```
//!
//! The key before is good until the next one is known to be kept at the other end: whatever breaks in between, the device has one that
//! is good. An old one is never good again. All of it is in memory too, since each handshake asks: some 100 bytes for each key but a
//! device's first.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use duologue::{DeviceId, DeviceKey};
use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        records::{DEVICES, Device, device as read_device, encode, now},
        turns::Who,
    },
    DeviceStatus, Store, StoreError,
};

pub(super) const KEYS: TableDefinition<'_, [u8; 32], ([u8; 32], u8, u64)> = TableDefinition::new("keys");

/// Old keys of a device that are remembered, beside its first: those of before are keys that nobody knows.
const OLD_MAX: usize = 16;

/// What has become of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fate {
    /// It is to take the place of the current one, and is as good.
    Next = 0,
    /// It is the device's.
    Current = 1,
    /// Another has taken its place.
    Old = 2,
}

impl Fate {
    const fn of(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Next),
            1 => Some(Self::Current),
            2 => Some(Self::Old),
            _ => None,
        }
    }
}

/// Why a key takes no other's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotRenewed {
    /// The device is not enrolled.
    NotEnrolled,
    /// The key is, or was, one of a device.
    Known,
}

#[derive(Debug, Default)]
pub(super) struct Keys(RwLock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    fates: HashMap<[u8; 32], (DeviceId, Fate)>,
    /// Of devices whose key is not their first.
    current: HashMap<DeviceId, [u8; 32]>,
    next: HashMap<DeviceId, [u8; 32]>,
    /// Those that others have taken the place of, but for the first.
    old: HashMap<DeviceId, Vec<[u8; 32]>>,
}

impl Inner {
    fn put(&mut self, key: [u8; 32], device: DeviceId, fate: Fate) {
        self.fates.insert(key, (device, fate));
        match fate {
            Fate::Next => drop(self.next.insert(device, key)),
            Fate::Current => drop(self.current.insert(device, key)),
            Fate::Old if key == device.0 => {}
            Fate::Old => self.old.entry(device).or_default().push(key),
        }
    }

    fn forget(&mut self, device: DeviceId, old: &[u8; 32]) {
        self.fates.remove(old);
        if let Some(keys) = self.old.get_mut(&device) {
            keys.retain(|key| key != old);
        }
    }
}

impl Keys {
    pub(super) fn load(&self, found: Vec<([u8; 32], DeviceId, Fate)>) {
        let mut inner = Inner::default();
        for (key, device, fate) in found {
            inner.put(key, device, fate);
        }
        *self.write() = inner;
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Whose a key is that has another's place, or had; none of a device's first, until it was replaced.
    pub(crate) fn fate_of(&self, key: [u8; 32]) -> Option<(DeviceId, Fate)> {
        self.keys.read().fates.get(&key).copied()
    }

    /// SHA-256 of a device's key, as it is now.
    pub(crate) fn key_of(&self, device: DeviceId) -> [u8; 32] {
        self.keys.read().current.get(&device).copied().unwrap_or(device.0)
    }

    /// Keeps a key that is to take the place of a device's own, in place of one that was to. Both are good from then on.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn keep_next_key(
        &self,
        device: DeviceId,
        key: &DeviceKey,
    ) -> Result<Result<(), NotRenewed>, StoreError> {
        let next = DeviceId::of_spki(key.spki());
        let may = || match self.fate_of(next.0) {
            _ if self.status(device) != Some(DeviceStatus::Enrolled) => Err(NotRenewed::NotEnrolled),
            Some((of, Fate::Next)) if of == device => Ok(false),
            None if self.status(next).is_none() => Ok(true),
            _ => Err(NotRenewed::Known),
        };
        if may() != Ok(true) {
            return Ok(may().map(drop));
        }
        let (done, _turn) = self.write(Who::Device, |write| {
            let may = may();
            if may == Ok(true) {
                let mut keys = write.open_table(KEYS)?;
                if let Some(given_up) = self.keys.read().next.get(&device) {
                    keys.remove(given_up)?;
                }
                keys.insert(next.0, (device.0, Fate::Next as u8, now()))?;
            }
            Ok(may)
        })?;
        Ok(done.map(|is_new| {
            let mut inner = self.keys.write();
            if let Some(given_up) = inner.next.get(&device).copied().filter(|given_up| is_new && *given_up != next.0) {
                inner.fates.remove(&given_up);
            }
            inner.put(next.0, device, Fate::Next);
        }))
    }

    /// The next key of a device takes the place of the one before, which is never good again. False if it has done so before, or the
    /// device is revoked.
    ///
    /// # Errors
    /// If the store fails; then both are good.
    pub(crate) fn use_next_key(&self, device: DeviceId, key: &DeviceKey) -> Result<bool, StoreError> {
        let next = DeviceId::of_spki(key.spki()).0;
        let is_enrolled = || self.status(device) == Some(DeviceStatus::Enrolled);
        let is_next = || is_enrolled() && self.fate_of(next) == Some((device, Fate::Next));
        if !is_next() {
            return Ok(false);
        }
        let (replaced, _turn) = self.write(Who::Device, |write| {
            if !is_next() {
                return Ok(None);
            }
            let mut devices = write.open_table(DEVICES)?;
            let found = devices.get(device.0)?.map(|bytes| read_device(device.0, bytes.value())).transpose()?;
            let Some(found) = found else { return Ok(None) };
            let before = DeviceId::of_spki(&found.spki).0;
            devices.insert(device.0, encode(&found.with_key(key)).as_slice())?;
            let mut keys = write.open_table(KEYS)?;
            keys.insert(before, (device.0, Fate::Old as u8, now()))?;
            keys.insert(next, (device.0, Fate::Current as u8, now()))?;
            let mut old = Vec::new();
            for key in self.keys.read().old.get(&device).into_iter().flatten() {
                old.push((keys.get(key)?.map_or(0, |row| row.value().2), *key));
            }
            old.sort_unstable();
            old.truncate((old.len() + 1).saturating_sub(OLD_MAX));
            for (_, key) in &old {
                keys.remove(key)?;
            }
            Ok(Some((before, old)))
        })?;
        let Some((before, forgotten)) = replaced else { return Ok(false) };
        let mut inner = self.keys.write();
        for (_, key) in forgotten {
            inner.forget(device, &key);
        }
        inner.next.remove(&device);
        inner.put(before, device, Fate::Old);
        inner.put(next, device, Fate::Current);
        Ok(true)
    }
}

impl Device {
    /// The same device with another key.
    fn with_key(self, key: &DeviceKey) -> Self {
        let Self { algorithm, spki, .. } = Self::new(key, "");
        Self { algorithm, spki, ..self }
    }
}

/// What the file has.
pub(super) fn read(read: &ReadTransaction) -> Result<Vec<([u8; 32], DeviceId, Fate)>, StoreError> {
    let mut found = Vec::new();
    for entry in read.open_table(KEYS)?.iter()? {
        let (key, row) = entry?;
        let (device, fate, _) = row.value();
        found.push((key.value(), DeviceId(device), fate_of(fate)?));
    }
    Ok(found)
}

pub(super) fn fate_of(number: u8) -> Result<Fate, StoreError> {
    Fate::of(number).ok_or_else(|| StoreError::Damaged { record: format!("a fate {number} of the table keys") })
}

/// Puts one into the file; false if it was there. A device has one key at most that is current, and one that is next.
pub(super) fn put_in(
    write: &WriteTransaction,
    key: [u8; 32],
    device: [u8; 32],
    fate: Fate,
    at: u64,
) -> Result<bool, StoreError> {
    Ok(write.open_table(KEYS)?.insert(key, (device, fate as u8, at))?.is_none())
}

/// Whether a key is a device's own by what the file has of it.
pub(super) fn is_current_in(write: &WriteTransaction, key: [u8; 32], device: [u8; 32]) -> Result<bool, StoreError> {
    let keys = write.open_table(KEYS)?;
    let row = keys.get(key)?.map(|row| row.value());
    Ok(row.is_some_and(|(of, fate, _)| of == device && fate == Fate::Current as u8))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use duologue::SignatureAlgorithm;

    use super::*;
    use crate::state::{
        State,
        store::{Revocation, tests::device},
    };

    fn key(seed: u8) -> DeviceKey {
        let spki = [SignatureAlgorithm::Ed25519.spki_prefix(), &[seed; 32]].concat();
        DeviceKey::new(SignatureAlgorithm::Ed25519, spki).expect("an SPKI")
    }

    fn id(seed: u8) -> [u8; 32] {
        DeviceId::of_spki(key(seed).spki()).0
    }

    #[test]
    fn a_device_with_twenty_keys_is_known_by_its_first_and_the_last_ones_and_so_by_a_reopened_store() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let open = || State::open(directory.path().join("state")).expect("made");
        let state = open();
        let invite = state.new_invite(Duration::from_secs(600)).expect("an invite");
        state.store().enrol(invite.id(), &device(1)).expect("it writes").expect("it is let in");
        let first = DeviceId(id(1));
        for seed in 2..=20 {
            let store = state.store();
            assert_eq!(store.keep_next_key(first, &key(seed)).expect("it writes"), Ok(()));
            assert_eq!(store.fate_of(id(seed)), Some((first, Fate::Next)));
            assert!(store.use_next_key(first, &key(seed)).expect("it writes"));
            assert!(!store.use_next_key(first, &key(seed)).expect("it reads"), "it has done so");
            assert_eq!(store.keep_next_key(first, &key(seed)).expect("it reads"), Err(NotRenewed::Known));
        }
        let known = |state: &State| {
            let fates = (1..=20).map(|seed| state.store().fate_of(id(seed)).map(|(_, fate)| fate)).collect::<Vec<_>>();
            let remembered = fates.iter().filter(|fate| **fate == Some(Fate::Old)).count();
            assert_eq!((fates[0], fates[19], remembered), (Some(Fate::Old), Some(Fate::Current), 1 + OLD_MAX));
            assert_eq!(state.store().key_of(first), id(20));
        };
        known(&state);
        drop(state);
        let state = open();
        known(&state);
        assert_eq!(state.store().keep_next_key(first, &key(1)).expect("it reads"), Err(NotRenewed::Known));
        assert_eq!(state.store().revoke(first), Revocation::Stored);
        assert_eq!(state.store().keep_next_key(first, &key(30)).expect("it reads"), Err(NotRenewed::NotEnrolled));
    }
}
