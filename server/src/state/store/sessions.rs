//! Sessions that go on in the process that comes after this one, as `lines/kept.rs` has sealed them: in no backup and no export, and
//! gone with their device.
//!
//! They are written many times a second, and so are no changes by which an older copy of the file is told.

use redb::{ReadableTable, TableDefinition, TableError, WriteTransaction};

use super::{
    super::{records::damaged, turns::Who},
    PATIENCE, Store, StoreError,
};

/// By device and id. Under zeros stands when any of them was written last, in seconds since 1970.
const SESSIONS: TableDefinition<'_, [u8; 48], &[u8]> = TableDefinition::new("sessions");
const LAST: [u8; 48] = [0; 48];

/// A session's place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionPlace {
    pub(crate) device: [u8; 32],
    pub(crate) id: [u8; 16],
}

/// What was kept.
#[derive(Debug, Default)]
pub(crate) struct StoredSessions {
    /// When any of it was written last, in seconds since 1970.
    pub(crate) last: u64,
    pub(crate) sealed: Vec<(SessionPlace, Vec<u8>)>,
}

impl SessionPlace {
    /// As the table has it.
    pub(crate) fn key(self) -> [u8; 48] {
        let mut key = [0; 48];
        key[..32].copy_from_slice(&self.device);
        key[32..].copy_from_slice(&self.id);
        key
    }

    fn of(key: &[u8; 48]) -> Self {
        let (device, id) = key.split_at(32);
        let (mut place_device, mut place_id) = ([0; 32], [0; 16]);
        place_device.copy_from_slice(device);
        place_id.copy_from_slice(id);
        Self { device: place_device, id: place_id }
    }
}

impl Store {
    /// The sessions that were kept.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn sessions(&self) -> Result<StoredSessions, StoreError> {
        self.read(|read| {
            let mut stored = StoredSessions::default();
            let table = match read.open_table(SESSIONS) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(stored),
                table => table?,
            };
            for entry in table.iter()? {
                let (key, bytes) = entry?;
                if key.value() == LAST {
                    let last = bytes.value().try_into().map_err(|_| damaged("sessions", &LAST))?;
                    stored.last = u64::from_be_bytes(last);
                } else {
                    stored.sealed.push((SessionPlace::of(&key.value()), bytes.value().to_vec()));
                }
            }
            Ok(stored)
        })
    }

    /// Keeps some, and drops those without bytes: all in one transaction, which is on disk when this returns.
    ///
    /// # Errors
    /// If the store fails; then nothing of it is kept.
    pub(crate) fn keep_sessions(
        &self,
        changes: &[(SessionPlace, Option<Vec<u8>>)],
        now: u64,
    ) -> Result<(), StoreError> {
        self.write_as(Who::Device, PATIENCE, false, |write| {
            let mut table = write.open_table(SESSIONS)?;
            for (place, sealed) in changes {
                match sealed {
                    Some(sealed) => drop(table.insert(place.key(), sealed.as_slice())?),
                    None => drop(table.remove(place.key())?),
                }
            }
            table.insert(LAST, now.to_be_bytes().as_slice())?;
            Ok(())
        })?;
        Ok(())
    }
}

/// Drops the sessions of a device, in the transaction that revokes it.
pub(super) fn forget_in(write: &WriteTransaction, device: [u8; 32]) -> Result<(), StoreError> {
    let place = |id| SessionPlace { device, id }.key();
    let mut table = write.open_table(SESSIONS)?;
    table.retain_in(place([0; 16])..=place([0xff; 16]), |key, _| key == LAST)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use duologue::DeviceId;

    use super::*;
    use crate::state::{
        State,
        store::{Revocation, tests::device},
    };

    const fn place(device: [u8; 32], id: u8) -> SessionPlace {
        SessionPlace { device, id: [id; 16] }
    }

    #[test]
    fn sessions_outlive_the_server_and_not_their_device_nor_a_backup() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = State::open(directory.path().join("state")).expect("made");
        assert!(state.store().sessions().expect("it reads").sealed.is_empty());
        let mut devices = Vec::new();
        for seed in 1..3 {
            let invite = state.new_invite(Duration::from_secs(600)).expect("an invite");
            state.store().enrol(invite.id(), &device(seed)).expect("it writes").expect("it is let in");
            devices.push(device(seed).id);
        }
        let (gone, stays) = (devices[0], devices[1]);
        let writes = state.store().journal().writes().0;
        let kept =
            [(place(gone, 1), Some(vec![1])), (place(gone, 0xff), Some(vec![2])), (place(stays, 0), Some(vec![3]))];
        state.store().keep_sessions(&kept, 1_700_000_000).expect("it writes");
        assert_eq!(state.store().journal().writes().0, writes, "an older copy is not told by them");
        let backup = state.backup(None).expect("it reads");
        assert!(!String::from_utf8_lossy(&backup).contains("session"), "sessions are in no backup");
        assert_eq!(state.store().revoke(DeviceId(gone)), Revocation::Stored);
        drop(state);
        let state = State::open(directory.path().join("state")).expect("opened again");
        let stored = state.store().sessions().expect("it reads");
        assert_eq!((stored.last, stored.sealed), (1_700_000_000, vec![(place(stays, 0), vec![3])]));
        state.store().keep_sessions(&[(place(stays, 0), None)], 1_700_000_001).expect("it writes");
        assert!(state.store().sessions().expect("it reads").sealed.is_empty());
    }
}
