//! When somebody last signed out at a device, and by whose invite it was let in: what a login at it is worth is worth it until then.
//!
//! ```text
//! signed-out   device ─► seconds since 1970          noted in memory at once, and written together each few seconds
//! let-in       device ─► whose invite, and when      written with the enrolment
//! ```
//!
//! What a crash costs is the sign-outs of its last seconds. Only of devices that were let in: others leave nothing.

use std::{
    collections::{HashMap, HashSet},
    sync::{PoisonError, RwLock, RwLockWriteGuard},
    time::Duration,
};

use duologue::DeviceId;
use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        records::{decode, encode, now},
        turns::Who,
    },
    Store, StoreError,
};

pub(super) const SIGNED_OUT: TableDefinition<'_, [u8; 32], u64> = TableDefinition::new("signed-out");
pub(super) const LET_IN: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("let-in");

/// How long writing waits for others that write: the next time does as well.
const PATIENCE: Duration = Duration::from_millis(500);

/// In memory, since each sign-out is told at once and each question to the hook asks: 40 bytes for each device at which somebody ever
/// signed out.
#[derive(Debug, Default)]
pub(super) struct SignedOut(RwLock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    at: HashMap<[u8; 32], u64>,
    unwritten: HashSet<[u8; 32]>,
}

/// By which invite a device was let in, if that was made for somebody.
#[derive(Serialize, Deserialize)]
pub(super) struct LetIn {
    pub(super) subject: String,
    pub(super) at: u64,
}

impl SignedOut {
    /// Takes what the file says. What is not in it yet stays.
    pub(super) fn load(&self, mut found: HashMap<[u8; 32], u64>) {
        let mut inner = self.write();
        let Inner { at, unwritten } = &mut *inner;
        found.extend(at.iter().filter(|(device, _)| unwritten.contains(*device)));
        *at = found;
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Somebody signs out at a device.
    pub(crate) fn note_signed_out(&self, device: DeviceId) {
        if self.status(device).is_none() {
            return;
        }
        let mut inner = self.signed_out.write();
        inner.at.insert(device.0, now());
        inner.unwritten.insert(device.0);
    }

    /// When somebody last did, in seconds since 1970.
    pub(crate) fn signed_out_at(&self, device: DeviceId) -> Option<u64> {
        self.signed_out.0.read().unwrap_or_else(PoisonError::into_inner).at.get(&device.0).copied()
    }

    /// Writes what was noted. What cannot be written waits for the next time.
    pub(crate) fn keep_signed_out(&self) {
        let noted: Vec<_> = {
            let mut inner = self.signed_out.write();
            let Inner { at, unwritten } = &mut *inner;
            unwritten.drain().filter_map(|device| Some((device, *at.get(&device)?))).collect()
        };
        if noted.is_empty() {
            return;
        }
        let written = self.write_within(Who::Device, PATIENCE, |write| {
            let mut table = write.open_table(SIGNED_OUT)?;
            for (device, at) in &noted {
                table.insert(device, at)?;
            }
            Ok(())
        });
        if let Err(error) = written {
            tracing::debug!(%error, "when people have signed out could not be written");
            self.signed_out.write().unwritten.extend(noted.into_iter().map(|(device, _)| device));
        }
    }

    /// When a device came in by an invite that was made for this subject, in seconds since 1970; none if somebody has signed out at it
    /// since.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn let_in_for(&self, device: DeviceId, subject: &str) -> Result<Option<u64>, StoreError> {
        let found: Option<LetIn> = self.read(|read| {
            let table = read.open_table(LET_IN)?;
            table.get(device.0)?.map(|bytes| decode("let-in", &device.0, bytes.value())).transpose()
        })?;
        let signed_out_at = self.signed_out_at(device);
        let is_its = |it: &LetIn| it.subject == subject && signed_out_at.is_none_or(|out| out < it.at);
        Ok(found.filter(is_its).map(|it| it.at))
    }
}

/// A device comes in by an invite that was made for this subject.
pub(super) fn let_in(write: &WriteTransaction, device: [u8; 32], subject: &str) -> Result<(), StoreError> {
    let record = LetIn { subject: subject.to_owned(), at: now() };
    write.open_table(LET_IN)?.insert(device, encode(&record).as_slice())?;
    Ok(())
}

/// What the file says.
pub(super) fn read(read: &ReadTransaction) -> Result<HashMap<[u8; 32], u64>, StoreError> {
    let mut found = HashMap::new();
    for entry in read.open_table(SIGNED_OUT)?.iter()? {
        let (device, at) = entry?;
        found.insert(device.value(), at.value());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            super::records::INVITES,
            tests::{DAY, device, invite, store},
        },
        *,
    };
    use crate::state::store::Terms;

    /// Lets a device of this letter in for somebody.
    fn enrol(store: &Store, letter: u8, subject: Option<&str>) -> DeviceId {
        let terms = Terms { subject: subject.map(str::to_owned), ..Terms::default() };
        store.add_invite_for(&invite(letter), &terms, DAY).expect("it writes");
        store.enrol(invite(letter).id(), &device(letter)).expect("it writes").expect("it is good");
        DeviceId(device(letter).id)
    }

    #[test]
    fn what_an_invite_is_worth_ends_with_a_sign_out_also_over_a_restart() {
        let (directory, store) = store();
        let (ada, other, nobodys) =
            (enrol(&store, 1, Some("ada")), enrol(&store, 2, Some("ada")), enrol(&store, 3, None));
        let at = |store: &Store, device| store.let_in_for(device, "ada").expect("it reads");
        assert!(at(&store, ada).is_some_and(|at| now() - at < 60));
        assert_eq!((at(&store, nobodys), store.let_in_for(ada, "bob").expect("it reads")), (None, None));
        store.note_signed_out(ada);
        assert_eq!(at(&store, ada), None, "at once");
        assert!(at(&store, other).is_some(), "another device of hers");
        store.keep_signed_out();
        drop(store);
        let store = Store::open(&directory.path().join("store.redb")).expect("it opens again");
        assert_eq!((at(&store, ada), at(&store, other).is_some()), (None, true));
        assert!(store.signed_out_at(ada).is_some_and(|at| now() - at < 60));
    }

    #[test]
    fn who_was_not_let_in_leaves_nothing() {
        let (_directory, store) = store();
        store.note_signed_out(DeviceId([9; 32]));
        assert_eq!(store.signed_out_at(DeviceId([9; 32])), None);
    }

    /// It was once looked for among all invites.
    #[test]
    fn whose_invite_a_device_came_by_is_found_without_the_invites() {
        let (_directory, store) = store();
        let ada = enrol(&store, 1, Some("ada"));
        let damage = |write: &WriteTransaction| {
            write.open_table(INVITES)?.insert([7; 16], &b"?"[..])?;
            Ok(())
        };
        store.write(Who::Owner, damage).expect("it writes");
        store.invites().expect_err("one of them cannot be read");
        assert!(store.let_in_for(ada, "ada").expect("it reads none of them").is_some());
    }
}
