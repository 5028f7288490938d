//! What the store's records are, and how they lie in the file.

use std::time::{SystemTime, UNIX_EPOCH};

use duologue::{DeviceId, SignatureAlgorithm};
use redb::{MultimapTableDefinition, TableDefinition};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::database::StoreError;

pub(super) const DEVICES: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("devices");
pub(super) const INVITES: TableDefinition<'_, [u8; 16], &[u8]> = TableDefinition::new("invites");
/// Which device has made an invite, where it was not the owner.
pub(super) const PAIRINGS: TableDefinition<'_, [u8; 16], [u8; 32]> = TableDefinition::new("pairings");
/// The same by that device.
pub(super) const PAIRINGS_OF: MultimapTableDefinition<'_, [u8; 32], [u8; 16]> =
    MultimapTableDefinition::new("pairings-of");
/// Devices that were revoked, also those of which nothing else is known, and when.
pub(super) const REVOKED: TableDefinition<'_, [u8; 32], u64> = TableDefinition::new("revoked");
pub(super) const SETTINGS: TableDefinition<'_, &str, &str> = TableDefinition::new("settings");

/// A subject's groups, by its name.
pub(super) const ACCOUNTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("accounts");
/// Whose a device is.
pub(super) const BINDINGS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("bindings");
/// The labels that a device may open, where it was let in for some.
pub(super) const OPENINGS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("openings");
/// What an invite is for, and what became of it. One of before has none.
pub(super) const TERMS: TableDefinition<'_, [u8; 16], &[u8]> = TableDefinition::new("terms");
/// Subjects, groups and tokens that were revoked, by the digests of their names (`whom.rs`), and when.
pub(super) const REFUSED: TableDefinition<'_, (u8, [u8; 32]), u64> = TableDefinition::new("refused");
/// When a device was last here.
pub(super) const SEEN: TableDefinition<'_, [u8; 32], u64> = TableDefinition::new("seen");

/// Of the file's records. 1 had devices and invites alone, as they are still: what came since is in tables of its own. One without
/// a version is of the time before there were any, and is as 1. 3 has a generation, and each of its tables from the beginning; 4 has
/// keys beside a device's first.
pub(super) const VERSION: u32 = 4;

/// What the owner may do with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeviceStatus {
    /// It may connect.
    Enrolled,
    /// It was removed.
    Revoked,
}

/// A device that has come in by an invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its id: SHA-256 of its first public key.
    pub id: [u8; 32],
    /// `Ed25519` or `P-256`.
    pub algorithm: String,
    /// Its public key, as it is now.
    pub spki: Vec<u8>,
    /// Its name for itself when it came; unverified.
    pub name: String,
    /// Seconds since 1970.
    pub enrolled_at: u64,
    /// Whether it may connect.
    pub status: DeviceStatus,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StoredInvite {
    pub(super) psk: [u8; 32],
    pub(super) expires_at: u64,
    pub(super) used_by: Option<[u8; 32]>,
}

/// What an invite is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Whose the device is to be.
    pub subject: Option<String>,
    /// Groups that this subject is put into when the invite is used.
    pub groups: Vec<String>,
    /// The labels that the device may open; any, if none are told.
    pub opens: Option<Vec<String>>,
    /// A name for the device, in place of its own for itself.
    pub name: Option<String>,
}

/// The terms of an invite, and what became of it; seconds since 1970.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct StoredTerms {
    /// None for one of before there were terms.
    pub(super) made_at: Option<u64>,
    pub(super) terms: Terms,
    pub(super) used_at: Option<u64>,
    pub(super) withdrawn_at: Option<u64>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StoredAccount {
    pub(super) groups: Vec<String>,
    pub(super) since: u64,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StoredBinding {
    pub(super) subject: String,
    pub(super) since: u64,
}

impl Device {
    /// A device that enrols now.
    #[must_use]
    pub fn new(key: &duologue::DeviceKey, name: &str) -> Self {
        let algorithm = match key.algorithm() {
            SignatureAlgorithm::Ed25519 => "Ed25519",
            SignatureAlgorithm::EcdsaP256 => "P-256",
        };
        Self {
            id: DeviceId::of_spki(key.spki()).0,
            algorithm: algorithm.to_owned(),
            spki: key.spki().to_vec(),
            name: name.to_owned(),
            enrolled_at: now(),
            status: DeviceStatus::Enrolled,
        }
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("plain structures serialize")
}

/// What this version cannot read is no absent record: a device that was revoked would be one that is not known.
pub(super) fn decode<T: DeserializeOwned>(table: &str, key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(bytes).map_err(|_| damaged(table, key))
}

pub(super) fn damaged(table: &str, key: &[u8]) -> StoreError {
    let key: String = key.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    StoreError::Damaged { record: format!("the record {key}… of the table {table}") }
}

pub(super) fn device(key: [u8; 32], bytes: &[u8]) -> Result<Device, StoreError> {
    decode("devices", &key, bytes)
}

pub(super) fn invite(key: [u8; 16], bytes: &[u8]) -> Result<StoredInvite, StoreError> {
    decode("invites", &key, bytes)
}

pub(super) fn terms(key: [u8; 16], bytes: &[u8]) -> Result<StoredTerms, StoreError> {
    decode("terms", &key, bytes)
}
