//! Devices, accounts and invites, in redb: one file, transactions that are whole or not at all. `invites.rs` lets devices in,
//! `accounts.rs` says whose they are, `device_keys.rs` by which keys they come, `revocation.rs` throws them out.
//!
//! Whether a device may connect is in memory too, since each new connection asks, twice: some 50 bytes for each device. The
//! file has one opener, so that nobody else can change it.
//!
//! ```text
//! revoke ─► memory, at once ─► journal, which needs no free space ─► the file, or as soon as it can be written again
//! ```
//!
//! A question is read first, and written only if it changes something. When the disk fails the file is opened anew, and then
//! everything is as it says, but for what memory has revoked.

mod accounts;
mod bans;
mod device_keys;
#[cfg(test)]
mod failing;
#[cfg(feature = "growth")]
mod fill;
mod handing_over;
mod invites;
mod lineage;
mod lines;
mod passkeys;
mod revocation;
mod seen;
mod sessions;
mod signed_out;
#[cfg(test)]
mod tests;
mod tickets;

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use duologue::DeviceId;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use redb::{ReadTransaction, ReadableTable, StorageBackend, TableError, WriteTransaction, backends::FileBackend};

use super::{
    database::Database,
    journal::Journal,
    notices::{Notice, Notices},
    random,
    records::{
        ACCOUNTS, BINDINGS, DEVICES, INVITES, OPENINGS, PAIRINGS, REFUSED, REVOKED, SEEN, SETTINGS, TERMS, VERSION,
        device as read_device, invite as read_invite, now, terms as read_terms,
    },
    room::Room,
    sharded::Sharded,
    turns::{Turn, Turns, Who},
    whom::Whom,
};
pub use super::{
    database::StoreError,
    records::{Device, DeviceStatus, Terms},
};
pub(crate) use accounts::{Account, AccountError, GROUPS_MAX, Known, Names};
pub(crate) use bans::StoredBan;
pub(crate) use device_keys::{Fate, NotRenewed};
pub(crate) use invites::{InviteRecord, Withdrawal};
pub use lines::Counts;
pub(crate) use lines::{Base64, JudgeName, Name, NotTaken, Record, try_filling};
pub(crate) use passkeys::{PASSKEYS_MAX, Passkey, PasskeyError, PasskeyId};
pub use revocation::Revocation;
use revocation::Waiting;
pub(crate) use sessions::SessionPlace;
pub(crate) use tickets::StoredTicket;
use {
    bans::BANS,
    device_keys::KEYS,
    lineage::LINEAGE,
    passkeys::{PASSKEYS, PASSKEYS_OF},
    signed_out::{LET_IN, SIGNED_OUT},
    tickets::TICKETS,
};

const ADDRESS: &str = "address";
const GENERATION: &str = "generation";
const VERSION_KEY: &str = "version";
const WRITES: &str = "writes";

/// How long a device's question waits for others that write.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the owner's does: it waits for one other, never for all.
const OWNERS_PATIENCE: Duration = Duration::from_secs(5);
/// How often devices may have the file opened anew, however often its disk fails.
const REOPENED_EACH: Duration = Duration::from_secs(1);

/// The file of devices and invites.
#[derive(Debug)]
pub struct Store {
    database: Database,
    turns: Turns,
    statuses: RwLock<Sharded<[u8; 32], DeviceStatus>>,
    /// Revocations that are in force and not in the file yet.
    waiting: Mutex<BTreeMap<Whom, Waiting>>,
    lineage: lineage::Lineage,
    accounts: accounts::Accounts,
    seen: seen::Seen,
    signed_out: signed_out::SignedOut,
    keys: device_keys::Keys,
    journal: Mutex<Journal>,
    /// Another process has the file and the journal.
    handed_over: AtomicBool,
    path: PathBuf,
    room: Room,
    /// When the file was opened last, and how often: who has seen it fail knows by that whether another has opened it since.
    reopened: Mutex<Option<Instant>>,
    opened: AtomicU64,
    /// It was told that it failed, and it was not written since.
    is_failing: AtomicBool,
    notices: Notices,
    /// How long writes take, in seconds.
    write_times: Histogram,
}

impl Store {
    /// Opens the store, and makes it if it is missing; beside it the journal of revocations, and a reserve of room.
    ///
    /// # Errors
    /// If it cannot be read or written, or another process has it open; if a record of it cannot be read, or the journal.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let path_of_file = path.to_owned();
        Self::open_by(path, move || {
            // Born for its owner alone: it holds the invites' secrets.
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let file = FileBackend::new(options.open(&path_of_file)?).map_err(io::Error::other)?;
            Ok(Box::new(file))
        })
    }

    fn open_by(
        path: &Path,
        opener: impl Fn() -> io::Result<Box<dyn StorageBackend>> + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let journal = open_journal(path)?;
        let notices = Notices::default();
        let store = Self {
            database: Database::open(opener, notices.clone())?,
            turns: Turns::default(),
            statuses: RwLock::default(),
            waiting: Mutex::default(),
            lineage: lineage::Lineage::default(),
            accounts: accounts::Accounts::default(),
            seen: seen::Seen::default(),
            signed_out: signed_out::SignedOut::default(),
            keys: device_keys::Keys::default(),
            journal: Mutex::new(journal),
            handed_over: AtomicBool::new(false),
            path: path.to_owned(),
            room: Room::open(path.parent().unwrap_or(Path::new(".")), notices.clone()),
            reopened: Mutex::default(),
            opened: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
            notices,
            // From a quarter of a millisecond to 2 s.
            write_times: Histogram::new(exponential_buckets(0.000_25, 2.0, 14)),
        };
        let found = store.database.read(version)?;
        if found.is_none_or(|version| version < u64::from(VERSION)) {
            // What an older version has written is kept as it is, should anybody want to go back to that.
            if store.database.read(|read| Ok(read.list_tables()?.next().is_some()))? {
                keep_copy(path, found.unwrap_or(1))?;
            }
            let generation = hex::encode(random::<4>());
            store.write(Who::Owner, |write| {
                make_tables(write)?;
                invites::note_makers(write)?;
                let mut settings = write.open_table(SETTINGS)?;
                if settings.get(GENERATION)?.is_none() {
                    settings.insert(GENERATION, generation.as_str())?;
                }
                settings.insert(VERSION_KEY, VERSION.to_string().as_str())?;
                Ok(())
            })?;
        }
        store.load()?;
        store.take_over_journal()?;
        if let Err(error) = store.store_waiting() {
            store.notices.tell(Notice::NotOnDisk(format!("what the journal has cannot be stored yet: {error}")));
        }
        Ok(store)
    }

    /// Where it is told what happens to it.
    pub(crate) const fn notices(&self) -> &Notices {
        &self.notices
    }

    /// Whether a device may connect; none if it is not known.
    #[must_use]
    pub fn status(&self, id: DeviceId) -> Option<DeviceStatus> {
        self.statuses.read().unwrap_or_else(PoisonError::into_inner).get(&id.0).copied()
    }

    /// Who has let a device in; none for the owner.
    #[must_use]
    pub fn invited_by(&self, id: DeviceId) -> Option<DeviceId> {
        self.lineage.invited_by(id)
    }

    /// The first of a device's branch, whom the owner has let in: itself, unless another device has let it in. From memory.
    #[must_use]
    pub fn root(&self, of: DeviceId) -> DeviceId {
        self.lineage.root(of)
    }

    fn statuses(&self) -> RwLockWriteGuard<'_, Sharded<[u8; 32], DeviceStatus>> {
        self.statuses.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// All devices, the oldest first, as they stand now.
    ///
    /// # Errors
    /// If the store fails.
    pub fn devices(&self) -> Result<Vec<Device>, StoreError> {
        let mut devices = self.read(|read| {
            let table = read.open_table(DEVICES)?;
            let mut devices = Vec::new();
            for entry in table.iter()? {
                let (key, bytes) = entry?;
                devices.push(read_device(key.value(), bytes.value())?);
            }
            Ok(devices)
        })?;
        for device in &mut devices {
            device.status = self.status(DeviceId(device.id)).unwrap_or(device.status);
        }
        devices.sort_by_key(|device| device.enrolled_at);
        Ok(devices)
    }

    /// The names of these devices, as far as they were let in.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn names(&self, of: &[DeviceId]) -> Result<HashMap<DeviceId, String>, StoreError> {
        self.read(|read| {
            let table = read.open_table(DEVICES)?;
            let mut names = HashMap::new();
            for id in of {
                if let Some(bytes) = table.get(id.0)? {
                    names.insert(*id, read_device(id.0, bytes.value())?.name);
                }
            }
            Ok(names)
        })
    }

    /// Which store this is: 4 bytes by chance, in hexadecimal digits. One that was restored or imported is another.
    ///
    /// # Errors
    /// If the store fails.
    pub fn generation(&self) -> Result<String, StoreError> {
        Ok(self.read(|read| setting(read, GENERATION))?.unwrap_or_default())
    }

    /// The address under which the server was last reached, for links made while it does not run.
    ///
    /// # Errors
    /// If the store fails.
    pub fn address(&self) -> Result<Option<String>, StoreError> {
        self.read(|read| setting(read, ADDRESS))
    }

    /// Keeps that address.
    ///
    /// # Errors
    /// If the store fails.
    pub fn set_address(&self, address: &str) -> Result<(), StoreError> {
        if self.address()?.as_deref() == Some(address) {
            return Ok(());
        }
        self.write(Who::Owner, |write| {
            write.open_table(SETTINGS)?.insert(ADDRESS, address)?;
            Ok(())
        })?;
        Ok(())
    }

    /// Reads; once more if the file had to be opened anew.
    fn read<T>(&self, work: impl Fn(&ReadTransaction) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let opened = self.opened.load(Ordering::Acquire);
        self.is_here()?;
        match self.database.read(&work) {
            Err(error) if error.is_the_files() || matches!(error, StoreError::Closed(_)) => {
                // Where it cannot be written, it can be read perhaps.
                let reopened = self.reopen(opened, Who::Device, &error);
                self.database.read(&work).or_else(|error| reopened.and(Err(error)))
            }
            result => result,
        }
    }

    /// Writes, all or nothing; for the owner once more with the reserve, where the disk is full, and for everybody once more where
    /// the file had to be opened anew. The turn is given along, for what memory must learn before the next one writes.
    fn write<T>(
        &self,
        who: Who,
        work: impl Fn(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<(T, Turn<'_>), StoreError> {
        let patience = if who == Who::Owner { OWNERS_PATIENCE } else { PATIENCE };
        self.write_within(who, patience, work)
    }

    fn write_within<T>(
        &self,
        who: Who,
        patience: Duration,
        work: impl Fn(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<(T, Turn<'_>), StoreError> {
        self.write_as(who, patience, true, work)
    }

    /// `counts`: an older copy of the file is told by that it is missing there.
    fn write_as<T>(
        &self,
        who: Who,
        patience: Duration,
        counts: bool,
        work: impl Fn(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<(T, Turn<'_>), StoreError> {
        self.is_here()?;
        let is_full = self.room.is_full();
        if is_full && who == Who::Device {
            return Err(StoreError::Full);
        }
        let turn = self.turns.take(who, patience).ok_or(StoreError::Busy)?;
        self.is_here()?;
        if is_full {
            self.room.give_up();
        }
        let opened = self.opened.load(Ordering::Acquire);
        let written = match self.write_once(counts, &work) {
            Err(error) if error.is_the_files() || matches!(error, StoreError::Closed(_)) => {
                let is_full = matches!(error, StoreError::Full);
                if is_full {
                    self.room.found_full();
                }
                let may_again = !is_full || (who == Who::Owner && self.room.give_up());
                let reopened = self.reopen(opened, who, &error);
                if !may_again {
                    return Err(error);
                }
                reopened?;
                self.write_once(counts, &work)
            }
            result => result,
        };
        // What failed again must not be found closed by the next one.
        if let Err(error) = &written
            && error.is_the_files()
        {
            let opened = self.opened.load(Ordering::Acquire);
            let _ = self.reopen(opened, who, error);
        }
        let (result, writes) = written?;
        if self.is_failing.swap(false, Ordering::Relaxed) {
            self.notices.tell(Notice::Again);
        }
        if let Some(writes) = writes
            && let Err(error) = self.journal().note(writes, now())
        {
            tracing::debug!(%error, "the journal could not note a write");
        }
        Ok((result, turn))
    }

    /// How often the file was written, with this, if it counts.
    fn write_once<T>(
        &self,
        counts: bool,
        work: impl Fn(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<(T, Option<u64>), StoreError> {
        let began = Instant::now();
        let written = self.database.write(|write| {
            let result = work(write)?;
            if !counts {
                return Ok((result, None));
            }
            let mut settings = write.open_table(SETTINGS)?;
            let writes = number(settings.get(WRITES)?.map(|writes| writes.value().to_owned()), WRITES)? + 1;
            settings.insert(WRITES, writes.to_string().as_str())?;
            Ok((result, Some(writes)))
        });
        self.write_times.observe(began.elapsed().as_secs_f64());
        written
    }

    /// How long writes take, each with its commit, in seconds.
    pub(crate) const fn write_times(&self) -> &Histogram {
        &self.write_times
    }

    /// Opens the file anew, unless somebody has since it was seen to fail; for devices not too often.
    fn reopen(&self, seen: u64, who: Who, cause: &StoreError) -> Result<(), StoreError> {
        let mut last = self.reopened.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_here()?;
        if self.opened.load(Ordering::Acquire) != seen {
            return Ok(());
        }
        if who == Who::Device && last.is_some_and(|at| at.elapsed() < REOPENED_EACH) {
            return Err(match cause {
                StoreError::Closed(cause) => StoreError::Closed(cause.clone()),
                cause => StoreError::Closed(cause.to_string()),
            });
        }
        *last = Some(Instant::now());
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            self.notices.tell(Notice::Failed(cause.to_string()));
        }
        self.database.reopen()?;
        // One that cannot be read in whole is none.
        self.load().inspect_err(|error| self.database.close(error))?;
        self.opened.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Tries to open a file anew that could not be; false if it still cannot.
    fn reopen_again(&self) -> bool {
        let cause = StoreError::Closed("its disk had failed".to_owned());
        self.reopen(self.opened.load(Ordering::Acquire), Who::Device, &cause).is_ok()
    }

    /// Takes into memory what the file says of devices, and looks whether it says it in a way that is understood. What was
    /// revoked stays so.
    fn load(&self) -> Result<(), StoreError> {
        let found = self.database.read(|read| {
            version(read)?;
            let mut found = Sharded::default();
            for entry in read.open_table(DEVICES)?.iter()? {
                let (key, bytes) = entry?;
                found.insert(key.value(), read_device(key.value(), bytes.value())?.status);
            }
            for entry in read.open_table(REVOKED)?.iter()? {
                found.insert(entry?.0.value(), DeviceStatus::Revoked);
            }
            for entry in read.open_table(INVITES)?.iter()? {
                let (key, bytes) = entry?;
                read_invite(key.value(), bytes.value())?;
            }
            for entry in read.open_table(TERMS)?.iter()? {
                let (key, bytes) = entry?;
                read_terms(key.value(), bytes.value())?;
            }
            Ok(found)
        })?;
        self.lineage.load(self.database.read(lineage::read)?);
        self.accounts.load(self.database.read(accounts::read)?);
        self.signed_out.load(self.database.read(signed_out::read)?);
        self.keys.load(self.database.read(device_keys::read)?);
        let mut statuses = self.statuses();
        let known = std::mem::replace(&mut *statuses, found);
        statuses
            .extend(known.iter().filter(|(_, status)| **status == DeviceStatus::Revoked).map(|(id, it)| (*id, *it)));
        Ok(())
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes every table that is missing.
fn make_tables(write: &WriteTransaction) -> Result<(), StoreError> {
    write.open_table(ACCOUNTS)?;
    for table in [DEVICES, BINDINGS, OPENINGS, LET_IN] {
        write.open_table(table)?;
    }
    for table in [INVITES, TERMS, TICKETS] {
        write.open_table(table)?;
    }
    for table in [REVOKED, SEEN, SIGNED_OUT] {
        write.open_table(table)?;
    }
    write.open_table(PAIRINGS)?;
    write.open_table(REFUSED)?;
    write.open_table(LINEAGE)?;
    write.open_table(PASSKEYS)?;
    write.open_multimap_table(PASSKEYS_OF)?;
    write.open_table(BANS)?;
    write.open_table(KEYS)?;
    write.open_table(SETTINGS)?;
    Ok(())
}

/// Copies the file as it is beside itself, named by the version of its records.
fn keep_copy(path: &Path, version: u64) -> Result<(), StoreError> {
    let copy = path.with_file_name(format!("store-v{version}.redb"));
    let beside = copy.with_extension("new");
    let keep = || {
        // What a crash has left may have another mode.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside)?;
        io::copy(&mut File::open(path)?, &mut file)?;
        file.sync_all()?;
        fs::rename(&beside, &copy)
    };
    keep().map_err(|source| {
        let _ = fs::remove_file(&beside);
        StoreError::NotCopied { path: copy.display().to_string(), source }
    })
}

/// The journal beside the file.
fn open_journal(store: &Path) -> Result<Journal, StoreError> {
    let path = store.with_file_name("revocations.journal");
    Journal::open(&path).map_err(|source| StoreError::Journal { path: path.display().to_string(), source })
}

/// The version of the file's records; none if it is new, or of the time before versions.
fn version(read: &ReadTransaction) -> Result<Option<u64>, StoreError> {
    let settings = match read.open_table(SETTINGS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        settings => settings?,
    };
    let Some(text) = settings.get(VERSION_KEY)?.map(|text| text.value().to_owned()) else { return Ok(None) };
    let version = number(Some(text), VERSION_KEY)?;
    if version > u64::from(VERSION) {
        return Err(StoreError::Newer { found: version.to_string(), known: VERSION });
    }
    Ok(Some(version))
}

fn setting(read: &ReadTransaction, key: &str) -> Result<Option<String>, StoreError> {
    Ok(read.open_table(SETTINGS)?.get(key)?.map(|value| value.value().to_owned()))
}

/// A number among the settings; 0 if it is not there.
fn number(text: Option<String>, key: &str) -> Result<u64, StoreError> {
    let Some(text) = text else { return Ok(0) };
    text.parse().map_err(|_| StoreError::Damaged { record: format!("the setting {key}") })
}
