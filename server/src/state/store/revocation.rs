//! Revocations: in force in memory at once, then on disk in the journal, then in the file.
//!
//! What is in force is never taken back by what a file says, neither by one that was opened anew after a failure nor by an
//! older copy of it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use duologue::DeviceId;
use redb::{ReadableTable, Table, WriteTransaction};

use super::{
    super::{
        notices::Notice,
        records::{
            DEVICES, INVITES, PAIRINGS, PAIRINGS_OF, REFUSED, REVOKED, SETTINGS, StoredTerms, TERMS, encode, now,
            terms as read_terms,
        },
        turns::Who,
        whom::{Kind, Whom},
    },
    Device, DeviceStatus, Store, StoreError, WRITES, number, passkeys, read_device, read_invite, sessions, setting,
};

/// How long a revocation waits for another who writes, before it answers that the journal has it: the verb must answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// Which revocation was the last one in the file, by its number in the journal.
pub(super) const LAST: &str = "last-revocation";

/// How far a revocation has come. It is in force in any case, but for a device that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// It is of a device, and no such device is known.
    Unknown,
    /// It is of a device that nobody has let in, whose lines are over. Nothing is kept of it: a key costs nothing.
    OfGuest,
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
    /// Revokes for good: a device, or whatever [`Whom`] means, with the invites that nobody has used: in force in
    /// memory first, then kept.
    pub fn revoke(&self, whom: impl Into<Whom>) -> Revocation {
        let whom = whom.into();
        if self.refuse(whom).is_some() { self.keep_revocation(whom) } else { Revocation::Unknown }
    }

    /// Refuses somebody from now on, in memory, waiting for nothing. Gives the devices that are out by it; none if it is a device
    /// that is not known.
    pub(crate) fn refuse(&self, whom: Whom) -> Option<Vec<DeviceId>> {
        if let Some(out) = self.refuse_known(whom) {
            return Some(out);
        }
        // One that enrols right now is in the file a moment before it is in memory.
        drop(self.turns.take(Who::Owner, PATIENCE));
        self.refuse_known(whom)
    }

    fn refuse_known(&self, whom: Whom) -> Option<Vec<DeviceId>> {
        if whom.one_device().is_some_and(|device| self.status(device).is_none()) {
            return None;
        }
        let when = now();
        // The name before its devices: who comes in meanwhile finds it refused (`invites.rs`, `learn`).
        let is_new = whom.one_device().is_none() && self.accounts.refuse(whom, when);
        let out = self.out_by(whom);
        let mut has_changed = is_new;
        let mut statuses = self.statuses();
        for device in &out {
            has_changed |= statuses.insert(device.0, DeviceStatus::Revoked) == Some(DeviceStatus::Enrolled);
        }
        drop(statuses);
        if has_changed {
            self.waiting().entry(whom).or_insert(Waiting { number: None, when });
        }
        Some(out)
    }

    /// The devices that are out by a revocation. Those of a branch are noted, so that who comes by one of them now finds it.
    fn out_by(&self, whom: Whom) -> Vec<DeviceId> {
        let mut out = whom.one_device().map_or_else(|| self.devices_of(whom), |device| vec![device]);
        if whom.with_descendants {
            let mut noted = 0;
            // Once more after each note, for those who came before it.
            while noted < out.len() {
                self.accounts.refuse_branches(&out);
                noted = out.len();
                out.extend(self.lineage.descendants(&out));
            }
        }
        out
    }

    /// Those that some devices have let in, and those whom these have, as far as they may still connect.
    pub(crate) fn left_by(&self, devices: &[DeviceId]) -> Vec<DeviceId> {
        let mut left = self.lineage.descendants(devices);
        left.retain(|device| self.status(*device) == Some(DeviceStatus::Enrolled));
        left
    }

    /// Puts a revocation that is in force on disk.
    pub(crate) fn keep_revocation(&self, whom: Whom) -> Revocation {
        let journalled = self.journal_waiting();
        let stored = self.store_waiting();
        match self.waiting().get(&whom) {
            None => Revocation::Stored,
            Some(Waiting { number: Some(_), .. }) => Revocation::Journalled(said(stored)),
            Some(Waiting { number: None, .. }) => Revocation::NotOnDisk(said(journalled)),
        }
    }

    /// Whether a revocation is in force and not in the store.
    pub(super) fn is_waiting(&self, whom: Whom) -> bool {
        self.waiting().keys().any(|waiting| waiting.refused() == whom.refused())
    }

    /// Revocations that are in force and not in the store; and of these, how many are nowhere on disk.
    #[must_use]
    pub fn not_stored(&self) -> (usize, usize) {
        let waiting = self.waiting();
        (waiting.len(), waiting.values().filter(|waiting| waiting.number.is_none()).count())
    }

    /// Does again what a failing disk has prevented, and looks at the disk's room. True if everything is where it belongs.
    pub fn mend(&self) -> bool {
        if self.is_handed_over() {
            return true;
        }
        self.room.look();
        let is_whole = (self.database.is_whole() || self.reopen_again()) && self.take_back_journal().is_ok();
        let is_journalled = self.journal_waiting().is_ok();
        let is_stored = self.store_waiting().is_ok();
        is_whole && is_journalled && is_stored
    }

    /// Appends to the journal what is not on disk at all.
    fn journal_waiting(&self) -> Result<(), String> {
        let missing: Vec<_> =
            self.waiting().iter().filter(|(_, it)| it.number.is_none()).map(|(id, it)| (*id, it.when)).collect();
        for (whom, when) in missing {
            let appended = self.journal().append(whom, when);
            let number = appended.map_err(|error| format!("the journal cannot be written: {error}"))?;
            if let Some(waiting) = self.waiting().get_mut(&whom) {
                waiting.number = Some(number);
            }
        }
        Ok(())
    }

    /// Writes into the file what is in force and not there.
    pub(in super::super) fn store_waiting(&self) -> Result<(), StoreError> {
        let waiting = self.waiting().clone();
        if waiting.is_empty() {
            return Ok(());
        }
        let (_, turn) = self.write_within(Who::Owner, PATIENCE, |write| {
            for (whom, it) in &waiting {
                // Memory is as the file while it is our turn.
                revoke_in(write, *whom, &self.out_by(*whom), it.when)?;
            }
            let last = waiting.values().filter_map(|it| it.number).max().unwrap_or(0);
            let mut settings = write.open_table(SETTINGS)?;
            let known = number(settings.get(LAST)?.map(|last| last.value().to_owned()), LAST)?;
            settings.insert(LAST, last.max(known).to_string().as_str())?;
            Ok(())
        })?;
        drop(turn);
        for whom in waiting.into_keys() {
            if let Err(error) = self.journal().keep(whom) {
                // It is stored once more at the next start, which changes nothing.
                tracing::debug!(%error, "the journal could not note what the store has");
            }
            self.waiting().remove(&whom);
        }
        Ok(())
    }

    /// Puts into force what the journal knows and the file does not; and says what a file that is older than the journal may let
    /// in again.
    pub(super) fn take_over_journal(&self) -> Result<(), StoreError> {
        let (writes, last) = self
            .database
            .read(|read| Ok((number(setting(read, WRITES)?, WRITES)?, number(setting(read, LAST)?, LAST)?)))?;
        let mut journal = self.journal();
        journal.goes_on_after(last);
        let (noted, when) = journal.writes();
        let (mut waiting, mut again) = (BTreeMap::new(), Vec::new());
        for entry in journal.entries().filter(|entry| !entry.is_kept || entry.number > last) {
            waiting.insert(entry.whom, Waiting { number: Some(entry.number), when: entry.when });
            if entry.is_kept {
                again.push(self.told(entry.whom));
            }
        }
        drop(journal);
        for (whom, it) in &waiting {
            if whom.one_device().is_none() {
                self.accounts.refuse(*whom, it.when);
            }
            let out = self.out_by(*whom);
            self.statuses().extend(out.into_iter().map(|device| (device.0, DeviceStatus::Revoked)));
        }
        self.waiting().extend(waiting);
        if writes < noted || !again.is_empty() {
            let (missing, secs) = (noted.saturating_sub(writes), now().saturating_sub(when));
            let missing = format!("{missing} of its changes are missing, the last of {secs} s ago");
            self.notices.tell(Notice::Older(missing));
        }
        again.into_iter().for_each(|whom| self.notices.tell(Notice::RevokedAgain(whom)));
        Ok(())
    }

    /// Of whom a revocation is, for the owner: of a name the journal has the digest alone.
    fn told(&self, whom: Whom) -> String {
        let what = match whom.kind {
            Kind::Device => return DeviceId(whom.id).to_string(),
            Kind::Subject => "the account",
            Kind::Group => "the group",
            Kind::Token => "a token",
        };
        match self.accounts.name_of(whom) {
            Some(name) => format!("{what} {name:?}"),
            None if whom.kind == Kind::Token => what.to_owned(),
            None => format!("{what} of a name that is not known any more"),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<Whom, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Revokes devices in the file, and the invites that they have made, or that were made for whom the revocation means, and that
/// nobody has used.
fn revoke_in(write: &WriteTransaction, whom: Whom, out: &[DeviceId], when: u64) -> Result<(), StoreError> {
    let out: HashSet<[u8; 32]> = out.iter().map(|device| device.0).collect();
    let (mut invites, mut pairings) = (write.open_table(INVITES)?, write.open_table(PAIRINGS)?);
    let mut terms = write.open_table(TERMS)?;
    let mut pairings_of = write.open_multimap_table(PAIRINGS_OF)?;
    let mut made = Vec::new();
    for device in &out {
        for invite in pairings_of.remove_all(device)? {
            made.push(invite?.value());
        }
    }
    for invite in made {
        pairings.remove(invite)?;
        let stored = invites.get(invite)?.map(|bytes| read_invite(invite, bytes.value())).transpose()?;
        if stored.is_some_and(|stored| stored.used_by.is_none()) {
            invites.remove(invite)?;
            terms.remove(invite)?;
        }
    }
    if whom.one_device().is_none() {
        withdraw_in(&mut terms, whom, when)?;
        if whom.kind == Kind::Subject {
            passkeys::forget_in(write, whom)?;
        }
        write.open_table(REFUSED)?.insert((whom.kind as u8, whom.id), when)?;
    }
    let (mut devices, mut revoked) = (write.open_table(DEVICES)?, write.open_table(REVOKED)?);
    for id in out {
        sessions::forget_in(write, id)?;
        let device = devices.get(id)?.map(|bytes| read_device(id, bytes.value())).transpose()?;
        if let Some(device) = device.filter(|device| device.status == DeviceStatus::Enrolled) {
            let device = Device { status: DeviceStatus::Revoked, ..device };
            devices.insert(id, encode(&device).as_slice())?;
        }
        if revoked.get(id)?.is_none() {
            revoked.insert(id, when)?;
        }
    }
    Ok(())
}

/// Withdraws the invites that were made for a subject, or into a group: they would be good again when it is restored.
fn withdraw_in(terms: &mut Table<'_, [u8; 16], &'static [u8]>, whom: Whom, when: u64) -> Result<(), StoreError> {
    let mut withdrawn = Vec::new();
    for entry in terms.iter()? {
        let (id, bytes) = entry?;
        let it = read_terms(id.value(), bytes.value())?;
        let is_for = match whom.kind {
            Kind::Subject => {
                it.terms.subject.as_deref().is_some_and(|name| Whom::subject(name).refused() == whom.refused())
            }
            Kind::Group => it.terms.groups.iter().any(|name| Whom::group(name).refused() == whom.refused()),
            Kind::Device | Kind::Token => false,
        };
        if is_for && it.used_at.is_none() && it.withdrawn_at.is_none() {
            withdrawn.push((id.value(), StoredTerms { withdrawn_at: Some(when), ..it }));
        }
    }
    for (id, it) in withdrawn {
        terms.insert(id, encode(&it).as_slice())?;
    }
    Ok(())
}

fn said<E: ToString>(result: Result<(), E>) -> String {
    result.err().map_or_else(|| "it is being written".to_owned(), |error| error.to_string())
}
