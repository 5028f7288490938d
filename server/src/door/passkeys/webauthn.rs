//! What an authenticator and its browser have written, judged as Web Authentication Level 3 has it: section 7.1 for a new passkey,
//! section 7.2 for an assertion.
//!
//! ```text
//! clientDataJSON ─► kind, challenge, origin, no frame of another page ─┐
//! authData ─► rp id, person present and verified, backup, counter ─────┼─► signature (7.2) · key (7.1)
//! ```
//!
//! Who made an authenticator is asked of nobody: the attestation is `none`, or one by the very key. What the challenge means, whose a
//! passkey is and what the counter was before are others' to know.

use cbor4ii::core::Value;
use serde::Deserialize;

use super::cose::{PublicKey, map, read_cbor};
use crate::{
    door::{
        error::{DoorError, Refused},
        tokens::sha256,
    },
    watch::text,
};

/// The longest id of a credential, in bytes (section 7.1, step 25).
const ID_BYTES_MAX: usize = 1_023;
/// Flags of the authenticator (section 6.1).
const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
const HAS_CREDENTIAL: u8 = 0x40;
const HAS_EXTENSIONS: u8 = 0x80;
/// What the log has of another's text, in characters.
const SHOWN_CHARS_MAX: usize = 80;

/// For what a challenge was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Register,
    StepUp,
}

/// What the browser says of the ceremony. What else it says is of no weight here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    /// As base64url.
    pub(super) challenge: String,
    origin: String,
    #[serde(default)]
    cross_origin: Option<bool>,
    #[serde(default)]
    top_origin: Option<String>,
}

/// What the authenticator says.
#[derive(Debug)]
pub(super) struct AuthData<'a> {
    rp_id_hash: &'a [u8],
    flags: u8,
    pub(super) counter: u32,
    pub(super) credential: Option<Credential<'a>>,
}

/// A credential that was made.
#[derive(Debug)]
pub(super) struct Credential<'a> {
    pub(super) id: &'a [u8],
    /// As COSE has it.
    pub(super) cose: &'a [u8],
    pub(super) key: PublicKey,
}

fn refused(what: impl Into<String>) -> Refused {
    DoorError::PasskeyRefused.because(what.into())
}

impl ClientData {
    /// Reads it from its JSON.
    pub(super) fn parse(json: &[u8]) -> Result<Self, Refused> {
        serde_json::from_slice(json).map_err(|error| refused(format!("its clientDataJSON: {error}")))
    }

    /// Whether it is of this kind of ceremony, on a page that may ask for it.
    pub(super) fn check(&self, purpose: Purpose, may_ask: impl Fn(&str) -> bool) -> Result<(), Refused> {
        let kind = match purpose {
            Purpose::Register => "webauthn.create",
            Purpose::StepUp => "webauthn.get",
        };
        if self.kind != kind {
            return Err(refused("it is of another kind of ceremony"));
        }
        if !may_ask(&self.origin) {
            let origin = text::shown_within(&self.origin, SHOWN_CHARS_MAX);
            return Err(refused(format!("it was asked for by a page of {origin}")));
        }
        if self.cross_origin == Some(true) || self.top_origin.is_some() {
            return Err(refused("it was asked for in a frame of another page"));
        }
        Ok(())
    }
}

impl<'a> AuthData<'a> {
    /// Reads it whole.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Refused> {
        let short = || refused("its authenticator data are too short");
        let (rp_id_hash, rest) = bytes.split_at_checked(32).ok_or_else(short)?;
        let (&[flags], rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (counter, mut rest) = rest.split_first_chunk().ok_or_else(short)?;
        let mut credential = None;
        if flags & HAS_CREDENTIAL != 0 {
            let (_model, after) = rest.split_at_checked(16).ok_or_else(short)?;
            let (len, after) = after.split_first_chunk().ok_or_else(short)?;
            let len = usize::from(u16::from_be_bytes(*len));
            if !(1..=ID_BYTES_MAX).contains(&len) {
                return Err(refused(format!("its id has {len} bytes, and 1 to {ID_BYTES_MAX} are taken")));
            }
            let (id, cose) = after.split_at_checked(len).ok_or_else(short)?;
            let (key, after) = PublicKey::read(cose)?;
            let cose = cose.get(..cose.len() - after.len()).unwrap_or_default();
            credential = Some(Credential { id, cose, key });
            rest = after;
        }
        if flags & HAS_EXTENSIONS != 0 {
            let extensions = read_cbor(rest).filter(|(value, _)| matches!(value, Value::Map(_)));
            rest = extensions.ok_or_else(|| refused("its extensions are no map"))?.1;
        }
        if !rest.is_empty() {
            return Err(refused("something stands behind its authenticator data"));
        }
        Ok(Self { rp_id_hash, flags, counter: u32::from_be_bytes(*counter), credential })
    }

    /// Whether it is for this relying party, and of a person who is there and was verified.
    pub(super) fn check(&self, rp_id_hash: &[u8; 32]) -> Result<(), Refused> {
        if self.rp_id_hash != rp_id_hash {
            return Err(refused("it is for another rp id"));
        }
        if self.flags & PRESENT == 0 {
            return Err(refused("nobody has touched the authenticator"));
        }
        if self.flags & VERIFIED == 0 {
            return Err(DoorError::PasskeyUnverified.into());
        }
        if self.is_backed_up() && !self.is_backup_eligible() {
            return Err(refused("it says that it is backed up, and that it cannot be"));
        }
        Ok(())
    }

    pub(super) const fn is_backup_eligible(&self) -> bool {
        self.flags & BACKUP_ELIGIBLE != 0
    }

    pub(super) const fn is_backed_up(&self) -> bool {
        self.flags & BACKED_UP != 0
    }
}

/// The bytes that were signed (section 6.3.3).
pub(super) fn signed(auth_data: &[u8], client_data: &[u8]) -> Vec<u8> {
    [auth_data, &sha256(&[client_data])].concat()
}

/// The authenticator data of an attestation object, whose statement says nothing that is not so.
///
/// # Errors
/// If it is none, or attests in a way that nobody has asked for.
pub(super) fn attested(object: &[u8], client_data: &[u8]) -> Result<Vec<u8>, Refused> {
    let wrong = || refused("its attestation object is none");
    let (value, rest) = read_cbor(object).ok_or_else(wrong)?;
    let entries = map(value).filter(|_| rest.is_empty()).ok_or_else(wrong)?;
    let find = |entries: &[(Value, Value)], name: &str| {
        let is_it = |(key, _): &&(Value, Value)| matches!(key, Value::Text(text) if text == name);
        entries.iter().find(is_it).map(|(_, value)| value.clone())
    };
    let (Some(Value::Text(format)), Some(Value::Bytes(auth_data))) =
        (find(&entries, "fmt"), find(&entries, "authData"))
    else {
        return Err(wrong());
    };
    let statement = find(&entries, "attStmt").and_then(map).ok_or_else(wrong)?;
    match (format.as_str(), find(&statement, "alg"), find(&statement, "sig")) {
        ("none", ..) if statement.is_empty() => {}
        // By the key itself, which says no more than the key does: browsers pass it on (section 8.2, "self attestation").
        ("packed", Some(Value::Integer(algorithm)), Some(Value::Bytes(signature))) if statement.len() == 2 => {
            let credential = AuthData::parse(&auth_data)?.credential;
            let is_good = credential.is_some_and(|Credential { key, .. }| {
                i128::from(key.algorithm()) == algorithm && key.verifies(&signed(&auth_data, client_data), &signature)
            });
            if !is_good {
                return Err(refused("its attestation is not by its own key"));
            }
        }
        _ => {
            let format = text::shown_within(&format, SHOWN_CHARS_MAX);
            return Err(refused(format!("its attestation is \"{format}\", which nobody has asked for")));
        }
    }
    Ok(auth_data)
}
