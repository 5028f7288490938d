//! What the local API says and is told, as JSON.

use duologue::DeviceId;
use serde::{Deserialize, Serialize};

use crate::state::store::{Device, DeviceStatus};

/// All devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceList {
    /// The oldest first.
    pub devices: Vec<DeviceInfo>,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// Its id, base64url.
    pub id: String,
    /// As its person can see it too: 8 groups of 4 hexadecimal digits.
    pub fingerprint: String,
    /// `Ed25519` or `P-256`.
    pub algorithm: String,
    /// Its name for itself when it came; unverified, and whatever it wanted to say.
    pub name: String,
    /// Seconds since 1970.
    pub enrolled_at: u64,
    /// The device whose invite it used; none where that was the owner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited_by: Option<String>,
    /// Whether it may connect.
    pub status: DeviceStatus,
}

impl DeviceInfo {
    pub(crate) fn of(device: &Device, invited_by: Option<DeviceId>) -> Self {
        let id = DeviceId(device.id);
        Self {
            id: id.to_string(),
            fingerprint: id.fingerprint(),
            algorithm: device.algorithm.clone(),
            name: device.name.clone(),
            enrolled_at: device.enrolled_at,
            invited_by: invited_by.map(|device| device.to_string()),
            status: device.status,
        }
    }
}

/// What is asked for with an invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewInvite {
    /// For how long it is good.
    pub expires_secs: u64,
    /// Under which address; none for the server's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// An invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// The link, which lets one device in: a secret.
    pub link: String,
}

/// How a device is to be revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// With those that it has let in, and those whom these have, and so on.
    #[serde(default)]
    pub with_descendants: bool,
}

/// A device was revoked, and is refused from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Where that is kept.
    pub kept: Kept,
    /// Those that it had let in, and they in turn, which were revoked with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with_it: Vec<String>,
    /// What is not where it should be yet, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How far a revocation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kept {
    /// In the store.
    Stored,
    /// On disk, in the journal: it outlives the server, and goes into the store by itself.
    Journal,
    /// In the server's memory alone: if it stops before the disk can be written again, the device is back.
    Memory,
}

/// How a server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerState {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Revocations that are in force and not in the store yet.
    pub not_stored: usize,
    /// Of these, those that are nowhere on disk.
    pub not_on_disk: usize,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// A word for programs.
    pub(crate) error: String,
    /// A sentence for people.
    pub(crate) message: String,
}
