//! Revocations: in force in memory at once, then on disk in the journal, then in the file.
//!
//! What is in force is never taken back by what a file says, neither by one that was opened anew after a failure nor by an
//! older copy of it.

use std::{
    collections::BTreeMap,
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use duologue::DeviceId;
use redb::{ReadableTable, WriteTransaction};

use super::{
    super::{
        records::{DEVICES, INVITES, PAIRINGS, REVOKED, SETTINGS, encode, now},
        turns::Who,
    },
    Device, DeviceStatus, Store, StoreError, WRITES, number, read_device, read_invite, setting,
};

/// How long a revocation waits for another who writes, before it answers that the journal has it: the verb must answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// Which revocation was the last one in the file, by its number in the journal.
const LAST: &str = "last-revocation";

/// How far a revocation has come. It is in force in any case, but for a device that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// No such device is known.
    Unknown,
    /// It is in the store.
    Stored,
    /// It is on disk, in the journal, and goes into the store by itself; why it is not there yet.
    Journalled(String),
    /// It is nowhere on disk, and tried again until it is; why.
    NotOnDisk(String),
}

/// A revocation on its way to the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// Its number, once the journal has it.
    number: Option<u64>,
    when: u64,
}

impl Store {
    /// Removes a device for good, and the invites that it has made and nobody has used: [`Self::refuse`], then
    /// [`Self::keep_revocation`].
    pub fn revoke(&self, id: DeviceId) -> Revocation {
        if self.refuse(id) { self.keep_revocation(id) } else { Revocation::Unknown }
    }

    /// Refuses a device from now on, in memory, waiting for nothing. False if it is not known.
    pub fn refuse(&self, id: DeviceId) -> bool {
        if self.refuse_known(id) {
            return true;
        }
        // One that enrols right now is in the file a moment before it is in memory.
        drop(self.turns.take(Who::Owner, PATIENCE));
        self.refuse_known(id)
    }

    fn refuse_known(&self, id: DeviceId) -> bool {
        match self.statuses().get_mut(&id.0) {
            None => false,
            Some(status) => {
                if *status == DeviceStatus::Enrolled {
                    *status = DeviceStatus::Revoked;
                    self.waiting().entry(id.0).or_insert(Waiting { number: None, when: now() });
                }
                true
            }
        }
    }

    /// Puts a revocation that is in force on disk.
    pub fn keep_revocation(&self, id: DeviceId) -> Revocation {
        let journalled = self.journal_waiting();
        let stored = self.store_waiting();
        match self.waiting().get(&id.0) {
            None => Revocation::Stored,
            Some(Waiting { number: Some(_), .. }) => Revocation::Journalled(said(stored)),
            Some(Waiting { number: None, .. }) => Revocation::NotOnDisk(said(journalled)),
        }
    }

    /// Revocations that are in force and not in the store; and of these, how many are nowhere on disk.
    #[must_use]
    pub fn not_stored(&self) -> (usize, usize) {
        let waiting = self.waiting();
        (waiting.len(), waiting.values().filter(|waiting| waiting.number.is_none()).count())
    }

    /// Does again what a failing disk has prevented, and looks at the disk's room. True if everything is where it belongs.
    pub fn mend(&self) -> bool {
        self.room.look();
        let is_whole = self.database.is_whole() || self.reopen_again();
        let is_journalled = self.journal_waiting().is_ok();
        let is_stored = self.store_waiting().is_ok();
        is_whole && is_journalled && is_stored
    }

    /// Appends to the journal what is not on disk at all.
    fn journal_waiting(&self) -> Result<(), String> {
        let missing: Vec<_> =
            self.waiting().iter().filter(|(_, it)| it.number.is_none()).map(|(id, it)| (*id, it.when)).collect();
        for (device, when) in missing {
            let appended = self.journal().append(device, when);
            let number = appended.map_err(|error| format!("the journal cannot be written: {error}"))?;
            if let Some(waiting) = self.waiting().get_mut(&device) {
                waiting.number = Some(number);
            }
        }
        Ok(())
    }

    /// Writes into the file what is in force and not there.
    pub(super) fn store_waiting(&self) -> Result<(), StoreError> {
        let waiting = self.waiting().clone();
        if waiting.is_empty() {
            return Ok(());
        }
        let (_, turn) = self.write_within(Who::Owner, PATIENCE, |write| {
            for (id, it) in &waiting {
                revoke_in(write, *id, it.when)?;
            }
            let last = waiting.values().filter_map(|it| it.number).max().unwrap_or(0);
            let mut settings = write.open_table(SETTINGS)?;
            let known = number(settings.get(LAST)?.map(|last| last.value().to_owned()), LAST)?;
            settings.insert(LAST, last.max(known).to_string().as_str())?;
            Ok(())
        })?;
        drop(turn);
        for id in waiting.into_keys() {
            if let Err(error) = self.journal().keep(id) {
                // It is stored once more at the next start, which changes nothing.
                tracing::debug!(%error, "the journal could not note what the store has");
            }
            self.waiting().remove(&id);
        }
        Ok(())
    }

    /// Puts into force what the journal knows and the file does not; and says what a file that is older than the journal may let
    /// in again.
    pub(super) fn take_over_journal(&self) -> Result<Option<String>, StoreError> {
        let (writes, last) = self
            .database
            .read(|read| Ok((number(setting(read, WRITES)?, WRITES)?, number(setting(read, LAST)?, LAST)?)))?;
        let mut journal = self.journal();
        journal.goes_on_after(last);
        let (noted, when) = journal.writes();
        let (mut waiting, mut again) = (BTreeMap::new(), Vec::new());
        for entry in journal.entries().filter(|entry| !entry.is_kept || entry.number > last) {
            waiting.insert(entry.device, Waiting { number: Some(entry.number), when: entry.when });
            if entry.is_kept {
                again.push(DeviceId(entry.device).to_string());
            }
        }
        drop(journal);
        let mut statuses = self.statuses();
        for id in waiting.keys() {
            statuses.insert(*id, DeviceStatus::Revoked);
        }
        drop(statuses);
        self.waiting().extend(waiting);
        Ok((writes < noted || !again.is_empty()).then(|| {
            let refused = match again.as_slice() {
                [] => "no device was revoked since".to_owned(),
                ids => format!("what was revoked since is revoked again, as the journal has it: {}", ids.join(", ")),
            };
            format!(
                "the store is an older copy: {} of its changes are missing, the last of {} s ago. {refused}. Devices that came \
                 since are not known any more, and links that were used since let in once more: look at `duologue devices list`",
                noted.saturating_sub(writes),
                now().saturating_sub(when)
            )
        }))
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<[u8; 32], Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Revokes a device in the file, and the invites that it has made and nobody has used.
fn revoke_in(write: &WriteTransaction, id: [u8; 32], when: u64) -> Result<(), StoreError> {
    let (mut invites, mut pairings) = (write.open_table(INVITES)?, write.open_table(PAIRINGS)?);
    let made = pairings.extract_if(|_, maker| maker == id)?.map(|entry| entry.map(|(invite, _)| invite.value()));
    for invite in made.collect::<Result<Vec<_>, _>>()? {
        let stored = invites.get(invite)?.map(|bytes| read_invite(invite, bytes.value())).transpose()?;
        if stored.is_some_and(|stored| stored.used_by.is_none()) {
            invites.remove(invite)?;
        }
    }
    let mut devices = write.open_table(DEVICES)?;
    let device = devices.get(id)?.map(|bytes| read_device(id, bytes.value())).transpose()?;
    if let Some(device) = device {
        let device = Device { status: DeviceStatus::Revoked, ..device };
        devices.insert(id, encode(&device).as_slice())?;
    }
    write.open_table(REVOKED)?.insert(id, when)?;
    Ok(())
}

fn said<E: ToString>(result: Result<(), E>) -> String {
    result.err().map_or_else(|| "it is being written".to_owned(), |error| error.to_string())
}
