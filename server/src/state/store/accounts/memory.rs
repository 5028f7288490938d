//! What is known of accounts, in memory: all of what the file has, and which names and branches are refused since.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use duologue::DeviceId;
use redb::{ReadTransaction, ReadableTable};

use super::{
    super::super::{
        records::{ACCOUNTS, BINDINGS, OPENINGS, REFUSED, StoredAccount, StoredBinding, decode},
        whom::{Kind, Whom},
    },
    AccountError, Names, StoreError,
};

/// What is known of that, in memory.
#[derive(Debug, Default)]
pub(in super::super) struct Accounts(RwLock<Inner>);

#[derive(Debug, Default)]
pub(in super::super) struct Inner {
    pub(super) accounts: HashMap<Arc<str>, (Names, u64)>,
    bindings: HashMap<[u8; 32], Arc<str>>,
    /// Those of each subject, by its digest, as it is revoked by.
    devices: HashMap<[u8; 32], BTreeSet<[u8; 32]>>,
    /// The subjects of each group, in the same way.
    members: HashMap<[u8; 32], BTreeSet<Arc<str>>>,
    pub(super) opens: HashMap<[u8; 32], Names>,
    /// Subjects, groups and tokens that let nobody in, and since when.
    pub(super) refused: HashMap<(Kind, [u8; 32]), u64>,
    /// Devices whose whole branch is out, since this process began: who came in by one of them a moment ago finds it here.
    pub(super) branches: HashSet<[u8; 32]>,
}

impl Inner {
    pub(super) fn groups(&self, subject: &str) -> Names {
        self.accounts.get(subject).map(|(groups, _)| Arc::clone(groups)).unwrap_or_default()
    }

    pub(super) fn is_refused(&self, whom: Whom) -> bool {
        self.refused.contains_key(&whom.refused())
    }

    /// The first of these names that lets nobody in.
    pub(super) fn refused_of<'a>(
        &self,
        subject: &'a str,
        groups: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), AccountError> {
        if self.is_refused(Whom::subject(subject)) {
            return Err(AccountError::SubjectRevoked(subject.to_owned()));
        }
        match groups.into_iter().find(|group| self.is_refused(Whom::group(group))) {
            Some(group) => Err(AccountError::GroupRevoked(group.to_owned())),
            None => Ok(()),
        }
    }
}

impl Accounts {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what the file has. What is refused stays so: it was in a file that has failed since.
    pub(in super::super) fn load(&self, mut found: Inner) {
        let mut inner = self.write();
        found.refused.extend(std::mem::take(&mut inner.refused));
        found.branches = std::mem::take(&mut inner.branches);
        *inner = found;
    }

    /// Refuses a name from now on. False if it was already.
    pub(in super::super) fn refuse(&self, whom: Whom, when: u64) -> bool {
        self.write().refused.insert(whom.refused(), when).is_none()
    }

    /// Refuses whom these devices have let in, from now on.
    pub(in super::super) fn refuse_branches(&self, devices: &[DeviceId]) {
        self.write().branches.extend(devices.iter().map(|device| device.0));
    }

    pub(in super::super) fn is_branch_refused(&self, device: [u8; 32]) -> bool {
        self.read().branches.contains(&device)
    }

    pub(in super::super) fn is_refused(&self, whom: Whom) -> bool {
        self.read().is_refused(whom)
    }

    /// The devices that a name means.
    pub(in super::super) fn devices_of(&self, whom: Whom) -> Vec<[u8; 32]> {
        let inner = self.read();
        let of = |subject: [u8; 32]| inner.devices.get(&subject).into_iter().flatten().copied();
        match whom.kind {
            Kind::Subject => of(whom.id).collect(),
            Kind::Group => {
                let members = inner.members.get(&whom.id).into_iter().flatten();
                members.flat_map(|subject| of(Whom::subject(subject).id)).collect()
            }
            Kind::Device | Kind::Token => Vec::new(),
        }
    }

    /// What a name of which only the digest is known is called here.
    pub(in super::super) fn name_of(&self, whom: Whom) -> Option<String> {
        let inner = self.read();
        let is_it = |name: &&Arc<str>| match whom.kind {
            Kind::Subject => Whom::subject(name).refused() == whom.refused(),
            Kind::Group => Whom::group(name).refused() == whom.refused(),
            Kind::Device | Kind::Token => false,
        };
        let groups = inner.accounts.values().flat_map(|(groups, _)| groups.iter());
        inner.accounts.keys().chain(groups).find(is_it).map(ToString::to_string)
    }

    /// A device has come in for a subject, in the file already. True if that is refused by now.
    pub(in super::super) fn learn(
        &self,
        device: [u8; 32],
        subject: Option<(&str, &StoredAccount)>,
        opens: &Option<Names>,
    ) -> bool {
        let mut inner = self.write();
        if let Some(opens) = opens {
            inner.opens.insert(device, Arc::clone(opens));
        }
        let Some((subject, account)) = subject else { return false };
        let subject = inner.put(subject, account);
        inner.bind(device, Arc::clone(&subject));
        let groups = inner.groups(&subject);
        inner.refused_of(&subject, groups.iter().map(|group| &**group)).is_err()
    }
}

impl Inner {
    pub(super) fn put(&mut self, subject: &str, account: &StoredAccount) -> Arc<str> {
        let known = self.accounts.get_key_value(subject).map(|(name, _)| Arc::clone(name));
        let name = known.unwrap_or_else(|| Arc::from(subject));
        for group in self.groups(subject).iter() {
            if let Some(members) = self.members.get_mut(&Whom::group(group).id) {
                members.remove(subject);
            }
        }
        for group in &account.groups {
            self.members.entry(Whom::group(group).id).or_default().insert(Arc::clone(&name));
        }
        self.accounts.insert(Arc::clone(&name), (names(&account.groups), account.since));
        name
    }

    pub(super) fn subject_of(&self, device: [u8; 32]) -> Option<&Arc<str>> {
        self.bindings.get(&device)
    }

    pub(super) fn bindings(&self) -> impl Iterator<Item = (&[u8; 32], &Arc<str>)> {
        self.bindings.iter()
    }

    fn bind(&mut self, device: [u8; 32], subject: Arc<str>) {
        self.release(device);
        self.devices.entry(Whom::subject(&subject).id).or_default().insert(device);
        self.bindings.insert(device, subject);
    }

    pub(super) fn release(&mut self, device: [u8; 32]) {
        let Some(subject) = self.bindings.remove(&device) else { return };
        if let Some(devices) = self.devices.get_mut(&Whom::subject(&subject).id) {
            devices.remove(&device);
        }
    }
}

/// What the file has.
pub(in super::super) fn read(read: &ReadTransaction) -> Result<Inner, StoreError> {
    let mut inner = Inner::default();
    for entry in read.open_table(ACCOUNTS)?.iter()? {
        let (subject, bytes) = entry?;
        let account: StoredAccount = decode("accounts", subject.value(), bytes.value())?;
        let name = std::str::from_utf8(subject.value())
            .map_err(|_| StoreError::Damaged { record: "a name of the table accounts".to_owned() })?;
        inner.put(name, &account);
    }
    for entry in read.open_table(BINDINGS)?.iter()? {
        let (device, bytes) = entry?;
        let StoredBinding { subject, since } = decode("bindings", &device.value(), bytes.value())?;
        let known = inner.accounts.get_key_value(&*subject).map(|(name, _)| Arc::clone(name));
        let name = known.unwrap_or_else(|| inner.put(&subject, &StoredAccount { groups: Vec::new(), since }));
        inner.bind(device.value(), name);
    }
    for entry in read.open_table(OPENINGS)?.iter()? {
        let (device, bytes) = entry?;
        let labels: Vec<String> = decode("openings", &device.value(), bytes.value())?;
        inner.opens.insert(device.value(), names(&labels));
    }
    for entry in read.open_table(REFUSED)?.iter()? {
        let (key, when) = entry?;
        let (kind, id) = key.value();
        let kind = Kind::from_number(kind)
            .ok_or_else(|| StoreError::Damaged { record: format!("a key of the kind {kind} of the table refused") })?;
        inner.refused.insert((kind, id), when.value());
    }
    Ok(inner)
}

pub(in super::super) fn names(texts: &[String]) -> Names {
    texts.iter().map(|text| Arc::from(text.as_str())).collect()
}
