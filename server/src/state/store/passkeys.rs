//! Passkeys: the public halves of keys by which people show to be there. Of each what verifies it, and nothing secret.
//!
//! ```text
//! passkeys      SHA-256 of its id ─► record (its form has a number, `Stored`)
//! passkeys-of   digest of the subject's name ─► SHA-256 of the ids of its passkeys
//! ```
//!
//! They are the subject's: what revokes it removes them, in the same transaction.

use duologue::DeviceId;
use redb::{MultimapTableDefinition, ReadableMultimapTable, ReadableTable, TableDefinition, WriteTransaction};
use ring::digest;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    super::{
        records::{damaged, decode, encode, now},
        turns::Who,
        whom::Whom,
    },
    DeviceStatus, Store, StoreError, accounts,
};

pub(super) const PASSKEYS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("passkeys");
pub(super) const PASSKEYS_OF: MultimapTableDefinition<'_, [u8; 32], [u8; 32]> =
    MultimapTableDefinition::new("passkeys-of");

/// Passkeys of one subject: those of a phone, a computer and some keys in a drawer.
pub(crate) const PASSKEYS_MAX: usize = 8;

/// A passkey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Passkey {
    /// Whose it is.
    pub(crate) subject: String,
    /// As the authenticator calls it.
    pub(crate) credential: Vec<u8>,
    /// Its public key, as COSE has it.
    pub(crate) cose: Vec<u8>,
    /// How often it was used, as far as the authenticator counts.
    pub(crate) counter: u32,
    pub(crate) may_be_backed_up: bool,
    pub(crate) is_backed_up: bool,
    /// By which way the browser reached it, in its words.
    pub(crate) transports: Vec<String>,
    /// What the authenticator calls its person.
    pub(crate) handle: [u8; 32],
    /// What its person calls it.
    pub(crate) name: String,
    /// The device on which it was registered.
    pub(crate) device: [u8; 32],
    /// Seconds since 1970.
    pub(crate) made_at: u64,
    /// The same; none if it was never used.
    pub(crate) used_at: Option<u64>,
}

/// A passkey, by the SHA-256 of its id.
pub(crate) type PasskeyId = [u8; 32];

/// By which a passkey is known here.
pub(crate) fn id_of(credential: &[u8]) -> PasskeyId {
    digest::digest(&digest::SHA256, credential).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// The record, by the number of its form.
#[derive(Serialize, Deserialize)]
pub(super) enum Stored {
    One(Passkey),
}

/// Why a passkey is not kept, or not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum PasskeyError {
    #[error("the subject has a passkey already: only who is present by it adds another")]
    NotPresent,
    #[error("one subject has {PASSKEYS_MAX} passkeys at most")]
    TooMany,
    #[error("that passkey is registered already")]
    Known,
    #[error("there is no such passkey of that subject")]
    Unknown,
    #[error("its counter has not risen: there may be a copy of its authenticator")]
    Copied,
    #[error("the subject, or the device, is revoked")]
    Revoked,
}

impl Passkey {
    /// By which it is known here.
    pub(crate) fn id(&self) -> PasskeyId {
        id_of(&self.credential)
    }

    /// The same as people read it: the first 8 bytes in hexadecimal digits.
    pub(crate) fn short_id(&self) -> String {
        self.id().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) const fn device(&self) -> DeviceId {
        DeviceId(self.device)
    }
}

impl Store {
    /// A subject's passkeys, the oldest first.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn passkeys_of(&self, subject: &str) -> Result<Vec<Passkey>, StoreError> {
        let mut found = self.read(|read| {
            let of = read.open_multimap_table(PASSKEYS_OF)?;
            let passkeys = read.open_table(PASSKEYS)?;
            let mut found = Vec::new();
            for id in of.get(Whom::subject(subject).id)? {
                let id = id?.value();
                // Where one is missing, whose turn it is to register a first one would be wrong.
                found.push(find(&passkeys, id)?.ok_or_else(|| damaged("passkeys", &id))?);
            }
            Ok(found)
        })?;
        found.sort_by(|one, other| (one.made_at, &one.credential).cmp(&(other.made_at, &other.credential)));
        Ok(found)
    }

    /// Keeps a new passkey. Where its subject has one, only if its person `is_present` by that.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn add_passkey(
        &self,
        passkey: &Passkey,
        is_present: bool,
    ) -> Result<Result<(), PasskeyError>, StoreError> {
        let whom = Whom::subject(&passkey.subject);
        let may = |count: usize, is_known: bool| match count {
            _ if self.is_revoked(whom) => Err(PasskeyError::Revoked),
            // It was under way when its lines were ended.
            _ if self.status(passkey.device()) == Some(DeviceStatus::Revoked) => Err(PasskeyError::Revoked),
            1.. if !is_present => Err(PasskeyError::NotPresent),
            PASSKEYS_MAX.. => Err(PasskeyError::TooMany),
            _ if is_known => Err(PasskeyError::Known),
            _ => Ok(()),
        };
        let (count, is_known) = self.read(|read| {
            let of = read.open_multimap_table(PASSKEYS_OF)?;
            Ok((of.get(whom.id)?.count(), read.open_table(PASSKEYS)?.get(passkey.id())?.is_some()))
        })?;
        // What is refused is read, not written.
        if let Err(error) = may(count, is_known) {
            return Ok(Err(error));
        }
        // Held until memory knows the account too.
        let (done, _turn) = self.write(Who::Device, |write| {
            let mut of = write.open_multimap_table(PASSKEYS_OF)?;
            let mut passkeys = write.open_table(PASSKEYS)?;
            let (count, is_known) = (of.get(whom.id)?.count(), passkeys.get(passkey.id())?.is_some());
            if let Err(error) = may(count, is_known) {
                return Ok(Err(error));
            }
            passkeys.insert(passkey.id(), encode(&Stored::One(passkey.clone())).as_slice())?;
            of.insert(whom.id, passkey.id())?;
            Ok(Ok(accounts::make_in(write, &passkey.subject)?))
        })?;
        Ok(done.map(|account| self.learn_account(&passkey.subject, &account)))
    }

    /// A passkey was used: its counter must have risen, and rises with it.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn use_passkey(
        &self,
        subject: &str,
        id: PasskeyId,
        counter: u32,
        is_backed_up: bool,
    ) -> Result<Result<(), PasskeyError>, StoreError> {
        let judge = |known: Option<Passkey>| match known.filter(|it| it.subject == subject) {
            None => Err(PasskeyError::Unknown),
            Some(known) if !counts(known.counter, counter) => Err(PasskeyError::Copied),
            Some(known) => Ok(Passkey { counter, is_backed_up, used_at: Some(now()), ..known }),
        };
        let known = self.read(|read| find(&read.open_table(PASSKEYS)?, id))?;
        if let Err(error) = judge(known) {
            return Ok(Err(error));
        }
        let (done, _turn) = self.write(Who::Device, |write| {
            let mut passkeys = write.open_table(PASSKEYS)?;
            let used = match judge(find(&passkeys, id)?) {
                Ok(used) => used,
                Err(error) => return Ok(Err(error)),
            };
            passkeys.insert(id, encode(&Stored::One(used)).as_slice())?;
            Ok(Ok(()))
        })?;
        Ok(done)
    }

    /// Removes the passkeys of a subject that are so, as its owner says. Gives them.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn remove_passkeys(
        &self,
        subject: &str,
        is_it: impl Fn(&Passkey) -> bool,
    ) -> Result<Vec<Passkey>, StoreError> {
        self.remove_passkeys_by(Who::Owner, subject, is_it)
    }

    /// Removes the one of this short id, as its person says, who has neither the owner's turn nor the room that is kept for him. Gives
    /// it; none if there is no such one.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn remove_own_passkey(&self, subject: &str, short_id: &str) -> Result<Option<Passkey>, StoreError> {
        let removed = self.remove_passkeys_by(Who::Device, subject, |passkey| passkey.short_id() == short_id)?;
        Ok(removed.into_iter().next())
    }

    /// Those that were registered on one of these devices, whosever they are. It looks at every passkey that there is: for the owner.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn passkeys_on(&self, devices: &[DeviceId]) -> Result<Vec<Passkey>, StoreError> {
        let mut found = self.read(|read| on(&read.open_table(PASSKEYS)?, devices))?;
        found.sort_by(|one, other| (one.made_at, &one.credential).cmp(&(other.made_at, &other.credential)));
        Ok(found)
    }

    /// Removes them, as the owner says. Gives them.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn remove_passkeys_on(&self, devices: &[DeviceId]) -> Result<Vec<Passkey>, StoreError> {
        if self.passkeys_on(devices)?.is_empty() {
            return Ok(Vec::new());
        }
        let (removed, _turn) = self.write(Who::Owner, |write| {
            let mut of = write.open_multimap_table(PASSKEYS_OF)?;
            let mut passkeys = write.open_table(PASSKEYS)?;
            let removed = on(&passkeys, devices)?;
            for passkey in &removed {
                passkeys.remove(passkey.id())?;
                of.remove(Whom::subject(&passkey.subject).id, passkey.id())?;
            }
            Ok(removed)
        })?;
        Ok(removed)
    }

    fn remove_passkeys_by(
        &self,
        who: Who,
        subject: &str,
        is_it: impl Fn(&Passkey) -> bool,
    ) -> Result<Vec<Passkey>, StoreError> {
        if !self.passkeys_of(subject)?.iter().any(&is_it) {
            return Ok(Vec::new());
        }
        let whom = Whom::subject(subject);
        let (removed, _turn) = self.write(who, |write| {
            let mut of = write.open_multimap_table(PASSKEYS_OF)?;
            let mut passkeys = write.open_table(PASSKEYS)?;
            let ids = of.get(whom.id)?.map(|id| id.map(|id| id.value())).collect::<Result<Vec<_>, _>>()?;
            let mut removed = Vec::new();
            for id in ids {
                let Some(passkey) = find(&passkeys, id)?.filter(&is_it) else { continue };
                passkeys.remove(id)?;
                of.remove(whom.id, id)?;
                removed.push(passkey);
            }
            Ok(removed)
        })?;
        Ok(removed)
    }
}

/// Puts a passkey of a copy into the file. Gives how many its subject has then; 0 if it was there already.
pub(super) fn put_in(write: &WriteTransaction, passkey: Passkey) -> Result<usize, StoreError> {
    let (id, whom) = (passkey.id(), Whom::subject(&passkey.subject));
    let before = write.open_table(PASSKEYS)?.insert(id, encode(&Stored::One(passkey)).as_slice())?.is_some();
    let mut of = write.open_multimap_table(PASSKEYS_OF)?;
    of.insert(whom.id, id)?;
    Ok(if before { 0 } else { of.get(whom.id)?.count() })
}

/// The subject is out, and with it its passkeys.
pub(super) fn forget_in(write: &WriteTransaction, whom: Whom) -> Result<(), StoreError> {
    let mut of = write.open_multimap_table(PASSKEYS_OF)?;
    let ids = of.remove_all(whom.id)?;
    let ids = ids.map(|id| id.map(|id| id.value())).collect::<Result<Vec<_>, _>>()?;
    let mut passkeys = write.open_table(PASSKEYS)?;
    for id in ids {
        passkeys.remove(id)?;
    }
    Ok(())
}

/// Whether a counter shows that there is no copy of the authenticator: it rises, or the authenticator has none (Web Authentication
/// Level 3, section 6.1.1).
const fn counts(before: u32, now: u32) -> bool {
    (before == 0 && now == 0) || now > before
}

/// Those that were registered on one of these devices.
fn on(
    passkeys: &impl ReadableTable<[u8; 32], &'static [u8]>,
    devices: &[DeviceId],
) -> Result<Vec<Passkey>, StoreError> {
    let mut found = Vec::new();
    for entry in passkeys.iter()? {
        let (id, bytes) = entry?;
        let Stored::One(passkey) = decode("passkeys", &id.value(), bytes.value())?;
        if devices.contains(&passkey.device()) {
            found.push(passkey);
        }
    }
    Ok(found)
}

fn find(passkeys: &impl ReadableTable<[u8; 32], &'static [u8]>, id: [u8; 32]) -> Result<Option<Passkey>, StoreError> {
    let stored = passkeys.get(id)?.map(|bytes| decode("passkeys", &id, bytes.value())).transpose()?;
    Ok(stored.map(|Stored::One(passkey)| passkey))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::state::store::{Revocation, tests};

    pub(crate) fn passkey(subject: &str, seed: u8, counter: u32) -> Passkey {
        Passkey {
            subject: subject.to_owned(),
            credential: vec![seed; 16],
            cose: vec![0xa0],
            counter,
            may_be_backed_up: false,
            is_backed_up: false,
            transports: vec!["usb".to_owned()],
            handle: [seed; 32],
            name: "a key".to_owned(),
            device: [1; 32],
            made_at: 1_700_000_000 + u64::from(seed),
            used_at: None,
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&directory.path().join("store.redb")).expect("it opens");
        (directory, store)
    }

    #[test]
    fn passkeys_outlive_the_server_and_are_their_subjects_alone() {
        let (directory, store) = store();
        assert_eq!(store.passkeys_of("ada").expect("it reads"), []);
        assert_eq!(store.add_passkey(&passkey("ada", 1, 0), false).expect("it writes"), Ok(()));
        assert_eq!(store.add_passkey(&passkey("ada", 2, 7), false).expect("it reads"), Err(PasskeyError::NotPresent));
        assert_eq!(store.add_passkey(&passkey("ada", 2, 7), true).expect("it writes"), Ok(()));
        assert_eq!(store.add_passkey(&passkey("bob", 2, 0), false).expect("it reads"), Err(PasskeyError::Known));
        assert_eq!(store.add_passkey(&passkey("bob", 3, 0), false).expect("it writes"), Ok(()));
        drop(store);
        let store = Store::open(&directory.path().join("store.redb")).expect("it opens again");
        assert_eq!(store.passkeys_of("ada").expect("it reads"), [passkey("ada", 1, 0), passkey("ada", 2, 7)]);
        assert!(store.accounts().iter().any(|account| &*account.subject == "ada"), "the owner finds whose they are");
        let is_second = |it: &Passkey| it.credential == [2; 16];
        assert_eq!(store.remove_passkeys("bob", is_second).expect("it writes"), [], "it is somebody else's");
        assert_eq!(store.remove_passkeys("ada", is_second).expect("it writes"), [passkey("ada", 2, 7)]);
        assert_eq!(store.passkeys_of("ada").expect("it reads"), [passkey("ada", 1, 0)]);
    }

    #[test]
    fn a_subject_has_eight_at_most() {
        let (_directory, store) = store();
        for seed in 0..8 {
            assert_eq!(store.add_passkey(&passkey("ada", seed, 0), true).expect("it writes"), Ok(()), "{seed}");
        }
        assert_eq!(store.add_passkey(&passkey("ada", 8, 0), true).expect("it reads"), Err(PasskeyError::TooMany));
    }

    #[test]
    fn a_counter_rises_or_stays_at_nothing() {
        let (_directory, store) = store();
        store.add_passkey(&passkey("ada", 1, 0), false).expect("it writes").expect("the first");
        store.add_passkey(&passkey("ada", 2, 7), true).expect("it writes").expect("another");
        let count = |seed: u8, counter| {
            store.use_passkey("ada", passkey("ada", seed, 0).id(), counter, true).expect("it writes")
        };
        assert_eq!((count(1, 0), count(1, 0)), (Ok(()), Ok(())), "one that does not count");
        assert_eq!((count(1, 1), count(1, 0)), (Ok(()), Err(PasskeyError::Copied)), "one that has begun to");
        assert_eq!((count(2, 7), count(2, 6), count(2, 0)), {
            let copied = Err(PasskeyError::Copied);
            (copied, copied, copied)
        });
        assert_eq!((count(2, 9), count(2, 9)), (Ok(()), Err(PasskeyError::Copied)));
        let used = store.use_passkey("bob", passkey("ada", 1, 0).id(), 9, true).expect("it reads");
        assert_eq!(used, Err(PasskeyError::Unknown), "another's");
        let kept = store.passkeys_of("ada").expect("it reads");
        assert!(kept.iter().all(|it| it.used_at.is_some() && it.is_backed_up), "{kept:?}");
    }

    #[test]
    fn who_revokes_a_subject_removes_its_passkeys_and_restoring_it_brings_none_back() {
        let (_directory, store) = store();
        for (subject, seed) in [("ada", 1), ("bob", 2)] {
            store.add_passkey(&passkey(subject, seed, 0), false).expect("it writes").expect("the first");
        }
        assert_eq!(store.revoke(Whom::subject("ada")), Revocation::Stored);
        assert_eq!(store.add_passkey(&passkey("ada", 3, 0), true).expect("it reads"), Err(PasskeyError::Revoked));
        store.restore(Whom::subject("ada")).expect("it writes").expect("it was revoked");
        assert_eq!(store.passkeys_of("ada").expect("it reads"), []);
        assert_eq!(store.passkeys_of("bob").expect("it reads"), [passkey("bob", 2, 0)]);
    }

    #[test]
    fn what_was_registered_on_a_device_is_found_whosever_it_is_and_goes_with_it() {
        let (_directory, store) = store();
        let on = |subject: &str, seed: u8, device: u8| Passkey { device: [device; 32], ..passkey(subject, seed, 0) };
        let (first, bobs) = (on("ada", 1, 7), on("bob", 4, 7));
        for it in [&first, &on("ada", 2, 8), &on("ada", 3, 9), &bobs] {
            assert_eq!(store.add_passkey(it, true).expect("it writes"), Ok(()));
        }
        let (stolen, others) = (DeviceId([7; 32]), [DeviceId([8; 32]), DeviceId([9; 32])]);
        assert_eq!(store.passkeys_on(&[stolen]).expect("it reads"), [first.clone(), bobs.clone()]);
        assert_eq!(store.passkeys_on(&others).expect("it reads").len(), 2);
        assert_eq!(store.remove_passkeys_on(&[stolen]).expect("it writes").len(), 2);
        assert_eq!(store.remove_passkeys_on(&[stolen]).expect("it reads"), []);
        assert_eq!(store.passkeys_of("ada").expect("it reads"), [on("ada", 2, 8), on("ada", 3, 9)]);
        assert_eq!(store.passkeys_of("bob").expect("it reads"), []);
    }

    #[test]
    fn a_registration_that_was_under_way_when_its_device_was_revoked_is_none() {
        let (_directory, store) = store();
        store.add_invite(&tests::invite(1), tests::DAY).expect("it writes");
        let device = tests::device(1);
        store.enrol(tests::invite(1).id(), &device).expect("it writes").expect("it is good");
        assert_eq!(store.revoke(DeviceId(device.id)), Revocation::Stored);
        let late = Passkey { device: device.id, ..passkey("ada", 1, 0) };
        assert_eq!(store.add_passkey(&late, true).expect("it reads"), Err(PasskeyError::Revoked));
    }

    #[test]
    fn a_record_that_is_missing_or_cannot_be_read_is_an_error_by_name_and_no_absent_passkey() {
        let (_directory, store) = store();
        store.add_passkey(&passkey("ada", 1, 0), false).expect("it writes").expect("the first");
        let id = passkey("ada", 1, 0).id();
        let said = || {
            let error = store.passkeys_of("ada").expect_err("damaged");
            let another = store.add_passkey(&passkey("ada", 2, 0), false).expect("it reads");
            assert_eq!(another, Err(PasskeyError::NotPresent), "nobody registers a first one");
            error.to_string()
        };
        let damage = |record: Option<&[u8]>| {
            let write = |write: &WriteTransaction| {
                let mut passkeys = write.open_table(PASSKEYS)?;
                match record {
                    Some(bytes) => drop(passkeys.insert(id, bytes)?),
                    None => drop(passkeys.remove(id)?),
                }
                Ok(())
            };
            store.write(Who::Owner, write).expect("it writes");
        };
        for record in [Some(&b"?"[..]), None] {
            damage(record);
            let said = said();
            assert!(said.contains("of the table passkeys in it cannot be read"), "{said}");
        }
    }

    #[test]
    fn a_record_has_the_number_of_its_form_first() {
        let stored = encode(&Stored::One(passkey("ada", 1, 0)));
        assert_eq!(stored.first(), Some(&0));
        let next: Result<Stored, _> = decode("passkeys", &[1], &[1, 0]);
        assert!(next.is_err(), "one of a later form is no absent one");
    }
}
