//! A store as it is with so many devices, written in a few large transactions: for measuring what one more costs (feature `growth`).

use super::{
    super::{
        records::{PAIRINGS, PAIRINGS_OF, StoredAccount, StoredBinding, StoredInvite, StoredTerms, encode},
        turns::Who,
    },
    ACCOUNTS, BINDINGS, DEVICES, Device, DeviceStatus, INVITES, Store, StoreError, TERMS, lineage, now,
};

/// Devices of a transaction.
const TOGETHER: u32 = 50_000;
/// Each device of this number was let in by the one before it, and has an invite that it has made.
const PAIRED: u32 = 10;

impl Store {
    /// Enrols devices of these ids by number, of each two of which one person has both; an invite was used by each, and another
    /// waits.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn fill(&self, count: u32, id: impl Fn(u32) -> [u8; 32]) -> Result<(), StoreError> {
        let invite = |number: u32, kind: u8| {
            let mut invite = *id(number).first_chunk::<16>().expect("an id has 32");
            invite[15] = kind;
            invite
        };
        let before = |number: u32| id(number - 1);
        for first in (0..count).step_by(TOGETHER as usize) {
            self.write(Who::Owner, |write| {
                let (mut devices, mut bindings) = (write.open_table(DEVICES)?, write.open_table(BINDINGS)?);
                let (mut invites, mut terms) = (write.open_table(INVITES)?, write.open_table(TERMS)?);
                let (mut accounts, mut pairings) = (write.open_table(ACCOUNTS)?, write.open_table(PAIRINGS)?);
                let mut pairings_of = write.open_multimap_table(PAIRINGS_OF)?;
                for number in first..(first + TOGETHER).min(count) {
                    let (id, subject) = (id(number), format!("person-{}", number / 2));
                    let device = Device {
                        id,
                        algorithm: "Ed25519".to_owned(),
                        spki: vec![0; 44],
                        name: format!("device {number}"),
                        enrolled_at: now(),
                        status: DeviceStatus::Enrolled,
                    };
                    devices.insert(id, encode(&device).as_slice())?;
                    let account = StoredAccount { groups: vec!["people".to_owned()], since: now() };
                    accounts.insert(subject.as_bytes(), encode(&account).as_slice())?;
                    bindings.insert(id, encode(&StoredBinding { subject, since: now() }).as_slice())?;
                    for (kind, used_by) in [(0, Some(id)), (1, None)] {
                        let stored = StoredInvite { psk: [1; 32], expires_at: now() + 86_400, used_by };
                        invites.insert(invite(number, kind), encode(&stored).as_slice())?;
                        terms.insert(invite(number, kind), encode(&StoredTerms::default()).as_slice())?;
                    }
                    if number % PAIRED == 1 {
                        lineage::keep(write, id, before(number), now())?;
                        pairings.insert(invite(number, 1), id)?;
                        pairings_of.insert(id, invite(number, 1))?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}
