//! What the store keeps for its owner, as lines of JSON, and a store that is filled from such lines: one record a line, each with
//! its `kind`. Bytes are base64url without padding, times are seconds since 1970. docs/OPERATING.md has the table of kinds.
//!
//! Left out is what is of one file, or of one run: its version, its generation, and the tickets of lines.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use duologue::{DeviceId, DeviceKey, SignatureAlgorithm, limits};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, WriteTransaction, backends::InMemoryBackend};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    super::{
        records::{
            ACCOUNTS, BINDINGS, DEVICES, INVITES, OPENINGS, PAIRINGS, PAIRINGS_OF, REFUSED, REVOKED, SEEN, SETTINGS,
            StoredAccount, StoredBinding, StoredInvite, StoredTerms, TERMS, decode, device as read_device, encode,
            invite as read_invite, terms as read_terms,
        },
        whom::Kind,
    },
    ADDRESS, Device, DeviceStatus, Fate, GROUPS_MAX, PASSKEYS_MAX, Store, StoreError, StoredBan, Terms, WRITES,
    bans::BANS,
    device_keys::{self, KEYS},
    lineage::LINEAGE,
    make_tables,
    passkeys::{self, PASSKEYS, Passkey, Stored},
    revocation::LAST,
    signed_out::{LET_IN, LetIn, SIGNED_OUT},
};

/// The longest text of a setting, an address.
const SETTING_LEN_MAX: usize = 2_048;

/// Bytes as text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Base64<T>(pub(crate) T);

impl<T: AsRef<[u8]>> Serialize for Base64<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl<'de, T: TryFrom<Vec<u8>>> Deserialize<'de> for Base64<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(String::deserialize(deserializer)?).ok();
        let bytes = bytes.and_then(|bytes| T::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| de::Error::custom("what should be bytes as base64url is not, or not so many"))
    }
}

/// What may be a secret does not print.
impl<T> fmt::Debug for Base64<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Base64(..)")
    }
}

/// The same for fields that are just bytes where they are kept.
mod as_base64 {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::Base64;

    pub(super) fn serialize<T: AsRef<[u8]>, S: Serializer>(bytes: &T, serializer: S) -> Result<S::Ok, S::Error> {
        Base64(bytes).serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: TryFrom<Vec<u8>>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        Base64::deserialize(deserializer).map(|Base64(bytes)| bytes)
    }
}

type Id32 = Base64<[u8; 32]>;
type Id16 = Base64<[u8; 16]>;

/// A record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Record {
    Setting {
        name: String,
        value: String,
    },
    Device {
        id: Id32,
        algorithm: String,
        spki: Base64<Vec<u8>>,
        name: String,
        enrolled_at: u64,
        status: DeviceStatus,
    },
    /// A key that a device has, or had, beside its first; or its first, where that is old.
    DeviceKey {
        key: Id32,
        device: Id32,
        fate: Fate,
        at: u64,
    },
    /// Also of a device of which nothing else is known.
    RevokedDevice {
        device: Id32,
        at: u64,
    },
    /// Who has let it in, where that was not the owner.
    LetInByDevice {
        device: Id32,
        by: Id32,
        at: u64,
    },
    /// For whom its invite was made.
    LetInFor {
        device: Id32,
        subject: String,
        at: u64,
    },
    LastSeen {
        device: Id32,
        at: u64,
    },
    SignedOut {
        device: Id32,
        at: u64,
    },
    /// With what makes its link good: whoever reads it can come in by it.
    Invite {
        id: Id16,
        secret: Id32,
        expires_at: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        used_by: Option<Id32>,
    },
    InviteTerms {
        invite: Id16,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        made_at: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        groups: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opens: Option<Vec<String>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        used_at: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        withdrawn_at: Option<u64>,
    },
    /// Which device has made an invite.
    InviteOfDevice {
        invite: Id16,
        device: Id32,
    },
    Account {
        subject: String,
        groups: Vec<String>,
        since: u64,
    },
    Binding {
        device: Id32,
        subject: String,
        since: u64,
    },
    Opens {
        device: Id32,
        labels: Vec<String>,
    },
    /// Of a name that was revoked: its digest alone is kept.
    Refused {
        what: Refused,
        digest: Id32,
        at: u64,
    },
    Passkey(#[serde(with = "PasskeyLine")] Passkey),
    Ban {
        whom: String,
        since: u64,
        until: u64,
        repeats: u32,
        by: String,
    },
}

/// A passkey, in the store's own form but for its bytes.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Passkey", deny_unknown_fields)]
struct PasskeyLine {
    subject: String,
    #[serde(with = "as_base64")]
    credential: Vec<u8>,
    #[serde(with = "as_base64")]
    cose: Vec<u8>,
    counter: u32,
    may_be_backed_up: bool,
    is_backed_up: bool,
    transports: Vec<String>,
    #[serde(with = "as_base64")]
    handle: [u8; 32],
    name: String,
    #[serde(with = "as_base64")]
    device: [u8; 32],
    made_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used_at: Option<u64>,
}

/// Of what a name is that was revoked.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Refused {
    Subject = Kind::Subject as isize,
    Group = Kind::Group as isize,
    Token = Kind::Token as isize,
}

/// What a text in a record is: the rooms above know what is a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Subject,
    Group,
    /// A label, or the start of several.
    Label,
    /// Whom a ban is for.
    Banned,
}

/// Says what is wrong with such a text.
pub(crate) type JudgeName = fn(Name, &str) -> Result<(), String>;

/// How much a store has, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Devices that were let in, revoked ones among them.
    pub devices: u64,
    /// Accounts.
    pub accounts: u64,
    /// Invites, used ones among them.
    pub invites: u64,
    /// Passkeys.
    pub passkeys: u64,
    /// Bans.
    pub bans: u64,
}

/// Why a record is not taken.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// A sentence.
    Because(String),
    Store(StoreError),
}

impl<E: Into<StoreError>> From<E> for NotTaken {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// Everything in the file as lines, as it is at one moment. What is in force and not in the file yet is written first: a copy
    /// without a revocation would let somebody in again.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn lines(&self) -> Result<Vec<u8>, StoreError> {
        self.store_waiting()?;
        self.keep_seen(true);
        self.keep_signed_out();
        self.read(|read| {
            let mut out = Vec::new();
            dump(read, |record| {
                serde_json::to_writer(&mut out, record).expect("texts and numbers are JSON");
                out.push(b'\n');
            })?;
            Ok(out)
        })
    }

    /// How much it has.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn counts(&self) -> Result<Counts, StoreError> {
        self.read(|read| {
            Ok(Counts {
                devices: read.open_table(DEVICES)?.len()?,
                accounts: read.open_table(ACCOUNTS)?.len()?,
                invites: read.open_table(INVITES)?.len()?,
                passkeys: read.open_table(PASSKEYS)?.len()?,
                bans: read.open_table(BANS)?.len()?,
            })
        })
    }

    /// Fills a store that nobody has used yet, whole or not at all. Gives what it has then.
    ///
    /// # Errors
    /// What `next` says, or why a record is not taken.
    pub(crate) fn fill_from<E: From<NotTaken>>(
        &self,
        judge: JudgeName,
        next: impl FnMut() -> Result<Option<Record>, E>,
    ) -> Result<Counts, E> {
        let mut filled = Ok(Counts::default());
        let written = self.database.write(|write| {
            // It was written once, to be made.
            write.open_table(SETTINGS)?.remove(WRITES)?;
            filled = fill(write, judge, next);
            // Nothing of it is kept where it was not filled.
            if filled.is_ok() { Ok(()) } else { Err(StoreError::Busy) }
        });
        let counts = filled?;
        written.and_then(|()| self.load()).map_err(|error| E::from(NotTaken::Store(error)))?;
        Ok(counts)
    }
}

/// The same in memory alone: whether it could be filled.
pub(crate) fn try_filling<E: From<NotTaken>>(
    judge: JudgeName,
    next: impl FnMut() -> Result<Option<Record>, E>,
) -> Result<Counts, E> {
    let begun = || -> Result<_, StoreError> {
        let write = redb::Builder::new().create_with_backend(InMemoryBackend::new())?.begin_write()?;
        make_tables(&write)?;
        Ok(write)
    };
    fill(&begun().map_err(NotTaken::Store)?, judge, next)
}

fn fill<E: From<NotTaken>>(
    write: &WriteTransaction,
    judge: JudgeName,
    mut next: impl FnMut() -> Result<Option<Record>, E>,
) -> Result<Counts, E> {
    let mut counts = Counts::default();
    while let Some(record) = next()? {
        let count = match record {
            Record::Device { .. } => Some(&mut counts.devices),
            Record::Account { .. } => Some(&mut counts.accounts),
            Record::Invite { .. } => Some(&mut counts.invites),
            Record::Passkey(_) => Some(&mut counts.passkeys),
            Record::Ban { .. } => Some(&mut counts.bans),
            _ => None,
        };
        put(write, record, judge)?;
        if let Some(count) = count {
            *count += 1;
        }
    }
    Ok(counts)
}

fn dump(read: &ReadTransaction, mut each: impl FnMut(&Record)) -> Result<(), StoreError> {
    for entry in read.open_table(SETTINGS)?.iter()? {
        let (name, value) = entry?;
        if [ADDRESS, WRITES, LAST].contains(&name.value()) {
            each(&Record::Setting { name: name.value().to_owned(), value: value.value().to_owned() });
        }
    }
    for entry in read.open_table(KEYS)?.iter()? {
        let (key, row) = entry?;
        let (device, fate, at) = row.value();
        let fate = device_keys::fate_of(fate)?;
        each(&Record::DeviceKey { key: Base64(key.value()), device: Base64(device), fate, at });
    }
    for entry in read.open_table(DEVICES)?.iter()? {
        let (key, bytes) = entry?;
        let Device { id, algorithm, spki, name, enrolled_at, status } = read_device(key.value(), bytes.value())?;
        each(&Record::Device { id: Base64(id), algorithm, spki: Base64(spki), name, enrolled_at, status });
    }
    for entry in read.open_table(REVOKED)?.iter()? {
        let (device, at) = entry?;
        each(&Record::RevokedDevice { device: Base64(device.value()), at: at.value() });
    }
    for entry in read.open_table(LINEAGE)?.iter()? {
        let (device, origin) = entry?;
        let (by, at) = origin.value();
        each(&Record::LetInByDevice { device: Base64(device.value()), by: Base64(by), at });
    }
    for entry in read.open_table(LET_IN)?.iter()? {
        let (device, bytes) = entry?;
        let LetIn { subject, at } = decode("let-in", &device.value(), bytes.value())?;
        each(&Record::LetInFor { device: Base64(device.value()), subject, at });
    }
    for entry in read.open_table(SEEN)?.iter()? {
        let (device, at) = entry?;
        each(&Record::LastSeen { device: Base64(device.value()), at: at.value() });
    }
    for entry in read.open_table(SIGNED_OUT)?.iter()? {
        let (device, at) = entry?;
        each(&Record::SignedOut { device: Base64(device.value()), at: at.value() });
    }
    for entry in read.open_table(INVITES)?.iter()? {
        let (id, bytes) = entry?;
        let StoredInvite { psk, expires_at, used_by } = read_invite(id.value(), bytes.value())?;
        each(&Record::Invite { id: Base64(id.value()), secret: Base64(psk), expires_at, used_by: used_by.map(Base64) });
    }
    for entry in read.open_table(TERMS)?.iter()? {
        let (id, bytes) = entry?;
        let StoredTerms { made_at, terms, used_at, withdrawn_at } = read_terms(id.value(), bytes.value())?;
        let Terms { subject, groups, opens, name } = terms;
        let invite = Base64(id.value());
        each(&Record::InviteTerms { invite, made_at, subject, groups, opens, name, used_at, withdrawn_at });
    }
    for entry in read.open_table(PAIRINGS)?.iter()? {
        let (invite, device) = entry?;
        each(&Record::InviteOfDevice { invite: Base64(invite.value()), device: Base64(device.value()) });
    }
    for entry in read.open_table(ACCOUNTS)?.iter()? {
        let (subject, bytes) = entry?;
        let StoredAccount { groups, since } = decode("accounts", subject.value(), bytes.value())?;
        each(&Record::Account { subject: String::from_utf8_lossy(subject.value()).into_owned(), groups, since });
    }
    for entry in read.open_table(BINDINGS)?.iter()? {
        let (device, bytes) = entry?;
        let StoredBinding { subject, since } = decode("bindings", &device.value(), bytes.value())?;
        each(&Record::Binding { device: Base64(device.value()), subject, since });
    }
    for entry in read.open_table(OPENINGS)?.iter()? {
        let (device, bytes) = entry?;
        let labels = decode("openings", &device.value(), bytes.value())?;
        each(&Record::Opens { device: Base64(device.value()), labels });
    }
    for entry in read.open_table(REFUSED)?.iter()? {
        let (key, at) = entry?;
        let (kind, digest) = key.value();
        let what = match Kind::from_number(kind) {
            Some(Kind::Subject) => Refused::Subject,
            Some(Kind::Group) => Refused::Group,
            Some(Kind::Token) => Refused::Token,
            Some(Kind::Device) | None => {
                return Err(StoreError::Damaged { record: format!("a key of the kind {kind} of the table refused") });
            }
        };
        each(&Record::Refused { what, digest: Base64(digest), at: at.value() });
    }
    for entry in read.open_table(PASSKEYS)?.iter()? {
        let (key, bytes) = entry?;
        let Stored::One(passkey) = decode("passkeys", &key.value(), bytes.value())?;
        each(&Record::Passkey(passkey));
    }
    for entry in read.open_table(BANS)?.iter()? {
        let (whom, bytes) = entry?;
        let whom = whom.value().to_owned();
        let StoredBan { since, until, repeats, by, .. } = decode("bans", whom.as_bytes(), bytes.value())?;
        each(&Record::Ban { whom, since, until, repeats, by });
    }
    Ok(())
}

fn refuse(what: impl Into<String>) -> NotTaken {
    NotTaken::Because(what.into())
}

/// A text of at most so many bytes.
fn text(what: &str, text: &str, len_max: usize) -> Result<(), NotTaken> {
    if text.len() > len_max {
        return Err(refuse(format!("{what} has {} bytes, and may have {len_max}", text.len())));
    }
    Ok(())
}

/// Puts one record into the file.
fn put(write: &WriteTransaction, record: Record, judge: JudgeName) -> Result<(), NotTaken> {
    let good = |what, text: &str| judge(what, text).map_err(NotTaken::Because);
    let good_groups = |groups: &[String]| {
        if groups.len() > GROUPS_MAX {
            return Err(refuse(format!("a subject is in {GROUPS_MAX} groups at most")));
        }
        groups.iter().try_for_each(|group| good(Name::Group, group))
    };
    let is_new = match record {
        Record::Setting { name, value } => {
            text("the setting", &value, SETTING_LEN_MAX)?;
            // They are counted on.
            let is_number = || value.parse::<u64>().is_ok_and(|number| number <= u64::MAX / 2);
            match &*name {
                ADDRESS => {}
                WRITES | LAST if is_number() => {}
                WRITES | LAST => return Err(refuse(format!("the setting {name} is a number below 2^63"))),
                _ => return Err(refuse("there is no setting of this name")),
            }
            write.open_table(SETTINGS)?.insert(&*name, &*value)?.is_none()
        }
        Record::Device { id: Base64(id), algorithm, spki: Base64(spki), name, enrolled_at, status } => {
            let known = match &*algorithm {
                "Ed25519" => SignatureAlgorithm::Ed25519,
                "P-256" => SignatureAlgorithm::EcdsaP256,
                _ => return Err(refuse("a device signs by Ed25519 or P-256")),
            };
            let Ok(key) = DeviceKey::new(known, spki) else { return Err(refuse("spki is no key of this algorithm")) };
            let own = DeviceId::of_spki(key.spki()).0;
            if own != id && !device_keys::is_current_in(write, own, id)? {
                return Err(refuse("id is not the SHA-256 of spki, and no key that is current stands before it"));
            }
            text("the name", &name, limits::DEVICE_NAME_LEN_MAX)?;
            let device = Device { id, algorithm, spki: key.spki().to_vec(), name, enrolled_at, status };
            write.open_table(DEVICES)?.insert(id, encode(&device).as_slice())?.is_none()
        }
        Record::DeviceKey { key, device, fate, at } => device_keys::put_in(write, key.0, device.0, fate, at)?,
        Record::RevokedDevice { device, at } => write.open_table(REVOKED)?.insert(device.0, at)?.is_none(),
        Record::LetInByDevice { device, by, at } => write.open_table(LINEAGE)?.insert(device.0, (by.0, at))?.is_none(),
        Record::LetInFor { device, subject, at } => {
            good(Name::Subject, &subject)?;
            let bytes = encode(&LetIn { subject, at });
            write.open_table(LET_IN)?.insert(device.0, bytes.as_slice())?.is_none()
        }
        Record::LastSeen { device, at } => write.open_table(SEEN)?.insert(device.0, at)?.is_none(),
        Record::SignedOut { device, at } => write.open_table(SIGNED_OUT)?.insert(device.0, at)?.is_none(),
        Record::Invite { id, secret, expires_at, used_by } => {
            let invite = StoredInvite { psk: secret.0, expires_at, used_by: used_by.map(|device| device.0) };
            write.open_table(INVITES)?.insert(id.0, encode(&invite).as_slice())?.is_none()
        }
        Record::InviteTerms { invite, made_at, subject, groups, opens, name, used_at, withdrawn_at } => {
            subject.as_deref().map_or(Ok(()), |subject| good(Name::Subject, subject))?;
            good_groups(&groups)?;
            opens.iter().flatten().try_for_each(|label| good(Name::Label, label))?;
            text("the name", name.as_deref().unwrap_or_default(), limits::DEVICE_NAME_LEN_MAX)?;
            let terms = Terms { subject, groups, opens, name };
            let bytes = encode(&StoredTerms { made_at, terms, used_at, withdrawn_at });
            write.open_table(TERMS)?.insert(invite.0, bytes.as_slice())?.is_none()
        }
        Record::InviteOfDevice { invite, device } => {
            write.open_multimap_table(PAIRINGS_OF)?.insert(device.0, invite.0)?;
            write.open_table(PAIRINGS)?.insert(invite.0, device.0)?.is_none()
        }
        Record::Account { subject, groups, since } => {
            good(Name::Subject, &subject)?;
            good_groups(&groups)?;
            let bytes = encode(&StoredAccount { groups, since });
            write.open_table(ACCOUNTS)?.insert(subject.as_bytes(), bytes.as_slice())?.is_none()
        }
        Record::Binding { device, subject, since } => {
            good(Name::Subject, &subject)?;
            if write.open_table(DEVICES)?.get(device.0)?.is_none() {
                return Err(refuse("no device of this id stands before it"));
            }
            let bytes = encode(&StoredBinding { subject, since });
            write.open_table(BINDINGS)?.insert(device.0, bytes.as_slice())?.is_none()
        }
        Record::Opens { device, labels } => {
            labels.iter().try_for_each(|label| good(Name::Label, label))?;
            write.open_table(OPENINGS)?.insert(device.0, encode(&labels).as_slice())?.is_none()
        }
        Record::Refused { what, digest, at } => {
            write.open_table(REFUSED)?.insert((what as u8, digest.0), at)?.is_none()
        }
        Record::Passkey(passkey) => {
            good(Name::Subject, &passkey.subject)?;
            text("the name", &passkey.name, limits::DEVICE_NAME_LEN_MAX)?;
            if passkey.credential.is_empty() || passkey.cose.is_empty() {
                return Err(refuse("a passkey has an id and a public key"));
            }
            let of = passkeys::put_in(write, passkey)?;
            if of > PASSKEYS_MAX {
                return Err(refuse(format!("one subject has {PASSKEYS_MAX} passkeys at most")));
            }
            of > 0
        }
        Record::Ban { whom, since, until, repeats, by } => {
            good(Name::Banned, &whom)?;
            let bytes = encode(&StoredBan { whom: String::new(), since, until, repeats, by });
            write.open_table(BANS)?.insert(&*whom, bytes.as_slice())?.is_none()
        }
    };
    if is_new { Ok(()) } else { Err(refuse("the same stands before it already")) }
}
