//! Accounts: the owner's names for people, their groups, and which device is whose. And which names are refused.
//!
//! ```text
//! subject ──► groups                 whoever is in one group is in it with each of his devices
//!    ▲
//!    └── binding ── device           one subject at most, until it is released; it narrows, and raises nothing
//!                      └── opens     the only labels that it may open, if it was let in for some
//! ```
//!
//! All of it is in memory too, since each new line asks: what the owner has said of a device, some 100 bytes for each that is
//! bound.

mod memory;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use duologue::DeviceId;
use redb::{ReadableTable, WriteTransaction};
use thiserror::Error;

use super::{
    super::{
        notices::Notice,
        records::{ACCOUNTS, BINDINGS, REFUSED, StoredAccount, StoredBinding, decode, encode, now},
        turns::Who,
        whom::Whom,
    },
    DeviceStatus, Store, StoreError,
};
pub(super) use memory::{Accounts, names, read};

/// Groups of one subject.
pub(crate) const GROUPS_MAX: usize = 64;
/// Names that are refused. An owner who revokes more tokens than that changes his issuer's key.
const REFUSED_MAX: usize = 100_000;

/// Names, shared by all who have them.
pub(crate) type Names = Arc<[Arc<str>]>;

/// What the owner has said of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Whose it is.
    pub(crate) subject: Option<Arc<str>>,
    /// The groups of that subject.
    pub(crate) groups: Names,
    /// The labels that it may open; any, if none are told.
    pub(crate) opens: Option<Names>,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) subject: Arc<str>,
    pub(crate) groups: Names,
    /// Seconds since 1970.
    pub(crate) since: u64,
    /// The same; none while it is in force.
    pub(crate) revoked_at: Option<u64>,
    /// Those bound to it, revoked ones among them.
    pub(crate) devices: Vec<DeviceId>,
}

/// Why an account or a binding stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum AccountError {
    #[error("no device {0} is enrolled here: `duologue devices list` shows them")]
    UnknownDevice(DeviceId),
    #[error("this device is bound to {0:?}: release it first (`duologue devices release`)")]
    BoundToAnother(Arc<str>),
    #[error("this device is bound to nobody")]
    NotBound,
    #[error("nobody is known as {0:?}: `duologue accounts list` shows them")]
    UnknownSubject(String),
    #[error("the account {0:?} is revoked: restore it first (`duologue accounts restore`)")]
    SubjectRevoked(String),
    #[error("the group {0:?} is revoked: restore it first (`duologue accounts restore --group`)")]
    GroupRevoked(String),
    #[error("one subject is in {GROUPS_MAX} groups at most")]
    TooManyGroups,
    #[error("that is not revoked")]
    NotRevoked,
    #[error("its revocation is not in the store yet: see `duologue state`, and try again when it is")]
    RevocationUnderWay,
    #[error("{REFUSED_MAX} subjects, groups and tokens are revoked already: restore some, or change the issuer's key")]
    TooManyRevoked,
}

impl AccountError {
    /// Whether it is because a name is refused.
    pub(super) const fn is_refusal(&self) -> bool {
        matches!(self, Self::SubjectRevoked(_) | Self::GroupRevoked(_))
    }
}

impl Store {
    /// What the owner has said of a device.
    pub(crate) fn known(&self, device: DeviceId) -> Known {
        let inner = self.accounts.read();
        let subject = inner.subject_of(device.0).cloned();
        let groups = subject.as_ref().map(|subject| inner.groups(subject)).unwrap_or_default();
        Known { subject, groups, opens: inner.opens.get(&device.0).cloned() }
    }

    /// The devices that are bound to a subject, or to those of a group.
    pub(crate) fn devices_of(&self, whom: Whom) -> Vec<DeviceId> {
        self.accounts.devices_of(whom).into_iter().map(DeviceId).collect()
    }

    /// Whether a device, a subject, a group or a token was revoked.
    #[must_use]
    pub fn is_revoked(&self, whom: Whom) -> bool {
        match whom.one_device() {
            Some(device) => self.status(device) == Some(DeviceStatus::Revoked),
            None => self.accounts.is_refused(whom),
        }
    }

    /// All accounts, by name.
    pub(crate) fn accounts(&self) -> Vec<Account> {
        let inner = self.accounts.read();
        let mut devices: HashMap<&str, Vec<DeviceId>> = HashMap::new();
        for (device, subject) in inner.bindings() {
            devices.entry(subject).or_default().push(DeviceId(*device));
        }
        let mut accounts: Vec<_> = inner
            .accounts
            .iter()
            .map(|(subject, (groups, since))| Account {
                subject: Arc::clone(subject),
                groups: Arc::clone(groups),
                since: *since,
                revoked_at: inner.refused.get(&Whom::subject(subject).refused()).copied(),
                devices: devices.remove(&**subject).unwrap_or_default(),
            })
            .collect();
        accounts.sort_by(|one, other| one.subject.cmp(&other.subject));
        accounts
    }

    /// Whether a subject and these groups may be let in.
    pub(crate) fn may_enter(&self, subject: &str, groups: &[String]) -> Result<(), AccountError> {
        let inner = self.accounts.read();
        let known = inner.groups(subject);
        let groups: BTreeSet<&str> = groups.iter().map(String::as_str).chain(known.iter().map(|it| &**it)).collect();
        if groups.len() > GROUPS_MAX {
            return Err(AccountError::TooManyGroups);
        }
        inner.refused_of(subject, groups)
    }

    /// Binds a device to a subject. False if it was already.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn bind(&self, device: DeviceId, subject: &str) -> Result<Result<bool, AccountError>, StoreError> {
        self.bind_for(Who::Owner, device, subject)
    }

    /// The same by what a device has shown, behind all that the owner writes.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn bind_by_proof(
        &self,
        device: DeviceId,
        subject: &str,
    ) -> Result<Result<bool, AccountError>, StoreError> {
        self.bind_for(Who::Device, device, subject)
    }

    fn bind_for(&self, who: Who, device: DeviceId, subject: &str) -> Result<Result<bool, AccountError>, StoreError> {
        let may = || {
            if self.status(device) != Some(DeviceStatus::Enrolled) {
                return Err(AccountError::UnknownDevice(device));
            }
            match self.known(device).subject {
                Some(bound) if *bound == *subject => return Ok(false),
                Some(bound) => return Err(AccountError::BoundToAnother(bound)),
                None => {}
            }
            self.may_enter(subject, &[]).map(|()| true)
        };
        if !matches!(may(), Ok(true)) {
            return Ok(may());
        }
        let (done, _turn) = self.write(who, |write| {
            let may = may();
            Ok(match may {
                Ok(true) => Ok(Some(bind_in(write, device.0, subject, &[])?)),
                may => may.map(|_| None),
            })
        })?;
        Ok(done.map(|account| {
            let Some(account) = account else { return false };
            if self.accounts.learn(device.0, Some((subject, &account)), &None) {
                // A revocation of the subject came in between, which waits for nobody's turn.
                self.statuses().insert(device.0, DeviceStatus::Revoked);
            }
            true
        }))
    }

    /// Takes a device from the subject that it is bound to. Gives that.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn release(&self, device: DeviceId) -> Result<Result<Arc<str>, AccountError>, StoreError> {
        if self.status(device).is_none() {
            return Ok(Err(AccountError::UnknownDevice(device)));
        }
        let Some(subject) = self.known(device).subject else { return Ok(Err(AccountError::NotBound)) };
        let (_, _turn) = self.write(Who::Owner, |write| {
            write.open_table(BINDINGS)?.remove(device.0)?;
            Ok(())
        })?;
        self.accounts.write().release(device.0);
        Ok(Ok(subject))
    }

    /// The groups that a subject is in.
    pub(crate) fn groups(&self, subject: &str) -> Names {
        self.accounts.read().groups(subject)
    }

    /// Puts a subject into groups, and takes it out of others; makes the account where there is none. Gives those it is in.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn change_groups(
        &self,
        subject: &str,
        add: &[String],
        remove: &[String],
    ) -> Result<Result<Names, AccountError>, StoreError> {
        let (done, _turn) = self.write(Who::Owner, |write| {
            let known = self.accounts.read().groups(subject);
            let mut groups: BTreeSet<String> = known.iter().map(ToString::to_string).collect();
            groups.retain(|group| !remove.contains(group));
            groups.extend(add.iter().cloned());
            if groups.len() > GROUPS_MAX {
                return Ok(Err(AccountError::TooManyGroups));
            }
            if let Err(error) = self.accounts.read().refused_of(subject, add.iter().map(String::as_str)) {
                return Ok(Err(error));
            }
            let account = StoredAccount { groups: groups.into_iter().collect(), since: since(write, subject)? };
            write.open_table(ACCOUNTS)?.insert(subject.as_bytes(), encode(&account).as_slice())?;
            Ok(Ok(account))
        })?;
        Ok(done.map(|account| {
            let mut inner = self.accounts.write();
            inner.put(subject, &account);
            inner.groups(subject)
        }))
    }

    /// Lets a subject, a group or a token in again. Devices that were revoked with it stay so.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn restore(&self, whom: Whom) -> Result<Result<(), AccountError>, StoreError> {
        if !self.accounts.is_refused(whom) {
            return Ok(Err(AccountError::NotRevoked));
        }
        if self.is_waiting(whom) {
            return Ok(Err(AccountError::RevocationUnderWay));
        }
        let ((), _turn) = self.write(Who::Owner, |write| {
            write.open_table(REFUSED)?.remove((whom.kind as u8, whom.id))?;
            Ok(())
        })?;
        // What the journal says of it must not be done again at the next start.
        if let Err(error) = self.journal().sync() {
            let may = "the journal may bring a revocation back that was lifted, if the machine stops now";
            self.notices.tell(Notice::NotOnDisk(format!("{may}: {error}")));
        }
        self.accounts.write().refused.remove(&whom.refused());
        Ok(Ok(()))
    }

    /// Takes into memory what the file says of an account.
    pub(super) fn learn_account(&self, subject: &str, account: &StoredAccount) {
        self.accounts.write().put(subject, account);
    }

    /// Whether one more name may be refused.
    pub(crate) fn may_refuse(&self, whom: Whom) -> Result<(), AccountError> {
        let inner = self.accounts.read();
        let fits = inner.refused.len() < REFUSED_MAX || inner.is_refused(whom) || whom.one_device().is_some();
        fits.then_some(()).ok_or(AccountError::TooManyRevoked)
    }
}

/// Binds a device to a subject in the file, and puts that into groups. Gives the account as it is then.
pub(super) fn bind_in(
    write: &WriteTransaction,
    device: [u8; 32],
    subject: &str,
    groups: &[String],
) -> Result<StoredAccount, StoreError> {
    let mut accounts = write.open_table(ACCOUNTS)?;
    let known = accounts.get(subject.as_bytes())?.map(|bytes| decode("accounts", subject.as_bytes(), bytes.value()));
    let known: Option<StoredAccount> = known.transpose()?;
    let since = known.as_ref().map_or_else(now, |account| account.since);
    let mut all: BTreeSet<String> = known.into_iter().flat_map(|account| account.groups).collect();
    // Looked at when the invite was made; what the owner has added since goes before it.
    let room = GROUPS_MAX.saturating_sub(all.len());
    let added: Vec<_> = groups.iter().filter(|group| !all.contains(*group)).take(room).cloned().collect();
    all.extend(added);
    let account = StoredAccount { groups: all.into_iter().collect(), since };
    accounts.insert(subject.as_bytes(), encode(&account).as_slice())?;
    let binding = StoredBinding { subject: subject.to_owned(), since: now() };
    write.open_table(BINDINGS)?.insert(device, encode(&binding).as_slice())?;
    Ok(account)
}

/// An account as the file has it, which it is from then on where it was none.
pub(super) fn make_in(write: &WriteTransaction, subject: &str) -> Result<StoredAccount, StoreError> {
    let mut accounts = write.open_table(ACCOUNTS)?;
    if let Some(bytes) = accounts.get(subject.as_bytes())? {
        return decode("accounts", subject.as_bytes(), bytes.value());
    }
    let account = StoredAccount { groups: Vec::new(), since: now() };
    accounts.insert(subject.as_bytes(), encode(&account).as_slice())?;
    Ok(account)
}

fn since(write: &WriteTransaction, subject: &str) -> Result<u64, StoreError> {
    let accounts = write.open_table(ACCOUNTS)?;
    let Some(bytes) = accounts.get(subject.as_bytes())? else { return Ok(now()) };
    decode("accounts", subject.as_bytes(), bytes.value()).map(|account: StoredAccount| account.since)
}
