//! What a token says, once its signature is good: parsed into types, each with a bound, and held against the settings.

use std::sync::{Arc, OnceLock};

use duologue::DeviceId;
use jsonwebtoken::errors::{Error, ErrorKind};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::door::{
    error::{DoorError, Refused},
    standing::{Group, Level, Proof, Standing, Subject},
};

use super::{
    binding::DeviceBinding,
    keys::{KID_BYTES_MAX, Key},
    settings::TokenSettings,
    shortened,
};

/// How far the issuer's clock and this one may be apart, in seconds.
pub(super) const LEEWAY_SECS: u64 = 5;
/// How many groups a token may name: each is held in memory with the session.
const GROUPS_MAX: usize = 64;
/// The longest id of a token (`jti`), in bytes.
const ID_BYTES_MAX: usize = 256;
/// Kinds of token that are logins (RFC 7519, 5.1; RFC 9068, 2.1); without a kind it is an ID token, or of a time before there were
/// any.
const KINDS: [&str; 4] = ["jwt", "application/jwt", "at+jwt", "application/at+jwt"];

/// A token's header, as far as it is believed: it says which key, and nothing else.
#[derive(Deserialize)]
pub(super) struct Head {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

impl Head {
    /// Reads it from its JSON.
    pub(super) fn parse(json: &[u8]) -> Result<Self, Refused> {
        let head: Self = serde_json::from_slice(json)
            .map_err(|error| DoorError::TokenMalformed.because(format!("its header: {error}")))?;
        if head.crit.is_some() {
            return Err(DoorError::TokenKind.because("its header has `crit`"));
        }
        match &head.typ {
            Some(typ) if !KINDS.iter().any(|kind| typ.eq_ignore_ascii_case(kind)) => {
                Err(DoorError::TokenKind.because(format!("its `typ` is {}", shortened(typ))))
            }
            _ if head.kid.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX) => {
                Err(DoorError::TokenKey.because(format!("its `kid` has more than {KID_BYTES_MAX} bytes")))
            }
            _ => Ok(head),
        }
    }
}

/// To which key a token is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundTo {
    /// The device's whose key has this thumbprint.
    Thumbprint(String),
    /// The device's from whose key this nonce was made.
    Nonce(String),
    /// To none: whoever has it may use it.
    Bearer,
}

/// A token whose signature is good and whose claims are as they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whom it names.
    pub subject: Subject,
    /// To which groups that subject belongs.
    pub groups: Arc<[Group]>,
    /// What it is worth: 1 or 2.
    pub level: Level,
    /// From when it is good, in seconds since 1970; the leeway is in it.
    pub from: u64,
    /// Until when, likewise.
    pub until: u64,
    /// What the issuer calls it (`jti`); of one without a name, its SHA-256.
    pub id: Arc<str>,
    /// Whose it is.
    pub issuer: Arc<str>,
    /// Which key has signed it; none where the only key of a set has no name.
    pub key: Option<Arc<str>>,
    /// When its person has logged in at the issuer (`auth_time`), if it says so.
    pub auth_time: Option<u64>,
    /// Whose it may be.
    pub bound_to: BoundTo,
    /// The device that has shown it first, as long as it is remembered.
    pub(crate) shown_by: OnceLock<DeviceId>,
}

impl Verified {
    /// What it is worth in the hands of this device, at this time.
    ///
    /// # Errors
    /// If its time is over or has not come, or it is bound to another key.
    pub fn standing(&self, device: &DeviceBinding, now: u64) -> Result<Standing, Refused> {
        self.check_time(now)?;
        let is_right = match &self.bound_to {
            BoundTo::Thumbprint(jkt) => *jkt == device.jkt,
            BoundTo::Nonce(nonce) => *nonce == device.nonce,
            BoundTo::Bearer => true,
        };
        if !is_right {
            return Err(DoorError::TokenOfAnotherDevice.into());
        }
        Ok(self.worth())
    }

    /// A device has shown it: the one that did first, if it is a bearer's and that was another. It may be a copy, which is as good as
    /// the first until its end.
    pub(crate) fn was_shown_by(&self, device: DeviceId) -> Option<DeviceId> {
        let first = *self.shown_by.get_or_init(|| device);
        (self.bound_to == BoundTo::Bearer && first != device).then_some(first)
    }

    /// What it is worth, where it is taken.
    pub(crate) fn worth(&self) -> Standing {
        Standing {
            subject: Some(self.subject.clone()),
            groups: Arc::clone(&self.groups),
            level: self.level,
            until: Some(self.until),
            present_at: None,
            proof: Proof::Token {
                id: Arc::clone(&self.id),
                issuer: Arc::clone(&self.issuer),
                auth_time: self.auth_time,
            },
        }
    }

    /// Whether it is good at this time: asked of every use, since a token is verified once.
    pub(super) fn check_time(&self, now: u64) -> Result<(), Refused> {
        if self.until <= now {
            Err(DoorError::TokenExpired.into())
        } else if self.from > now {
            Err(DoorError::TokenNotYet.into())
        } else {
            Ok(())
        }
    }
}

/// Holds the claims of a token whose signature was good against the settings. `hash` is the token's, for one that has no name.
pub(super) fn verified(
    claims: &Map<String, Value>,
    settings: &TokenSettings,
    key: &Key,
    hash: impl FnOnce() -> String,
    now: u64,
) -> Result<Verified, Refused> {
    let wrong = |claim: &str, should: &str| DoorError::TokenClaims.because(format!("`{claim}` {should}"));
    if claims.contains_key("events") {
        // A logout token of before they had a `typ`, or a security event: of the same issuer, for the same audience.
        return Err(DoorError::TokenKind.because("it has `events`: it tells of something, and lets nobody in"));
    }
    // A list would do for the library; it is none that any issuer makes.
    if claims.get("iss").and_then(Value::as_str) != Some(&settings.issuer) {
        return Err(DoorError::TokenIssuer.because("`iss` is not one text"));
    }
    let subject = find(claims, &settings.subject_claim).and_then(Value::as_str);
    let subject = subject.ok_or_else(|| wrong(&settings.subject_claim, "names no subject: it must be a text"))?;
    let subject = Subject::new(subject).map_err(|error| wrong(&settings.subject_claim, &error.to_string()))?;
    let (from, until) = times(claims, settings.max_age, now)?;
    let id = match claims.get("jti") {
        None => hash(),
        Some(Value::String(id)) if (1..=ID_BYTES_MAX).contains(&id.len()) => id.clone(),
        Some(_) => return Err(wrong("jti", "must be a text of 1 to 256 bytes")),
    };
    Ok(Verified {
        subject,
        groups: groups(claims, settings)?,
        level: level(claims, settings)?,
        from,
        until,
        id: id.into(),
        issuer: settings.issuer.as_str().into(),
        key: key.kid.as_deref().map(Arc::from),
        // One that cannot be read says nothing: it is no claim that a login needs.
        auth_time: claims.get("auth_time").and_then(seconds),
        bound_to: bound_to(claims)?,
        shown_by: OnceLock::new(),
    })
}

/// From when it is good, and until when: its own times, and so long from its making as the owner says.
fn times(claims: &Map<String, Value>, max_age: u64, now: u64) -> Result<(u64, u64), Refused> {
    let time = |claim: &str| match claims.get(claim) {
        None => Ok(None),
        Some(value) => seconds(value)
            .map(Some)
            .ok_or_else(|| DoorError::TokenClaims.because(format!("`{claim}` must be a number of seconds since 1970"))),
    };
    let expires = time("exp")?.ok_or_else(|| DoorError::TokenClaims.because("it has no `exp`"))?;
    let (not_before, issued) = (time("nbf")?, time("iat")?);
    let until = expires.saturating_add(LEEWAY_SECS);
    let oldest = match issued.or(not_before) {
        // A clock that goes ahead gives nobody more time.
        Some(since) => since.min(now).saturating_add(max_age),
        None if expires > now.saturating_add(max_age) => {
            return Err(DoorError::TokenClaims.because(
                "it has neither `iat` nor `nbf`, and is good for longer than `max_age`: nobody can say how old it is",
            ));
        }
        None => until,
    };
    if until > now && oldest <= now {
        return Err(
            DoorError::TokenExpired.because(format!("it is good for longer, but older than `max_age`, {max_age} s"))
        );
    }
    Ok((not_before.unwrap_or(0).saturating_sub(LEEWAY_SECS), until.min(oldest)))
}

fn groups(claims: &Map<String, Value>, settings: &TokenSettings) -> Result<Arc<[Group]>, Refused> {
    let Some(claim) = &settings.groups_claim else { return Ok(Arc::default()) };
    let wrong = |why: &str| DoorError::TokenClaims.because(format!("`{claim}` {why}"));
    let values = match find(claims, claim) {
        None | Some(Value::Null) => return Ok(Arc::default()),
        Some(Value::Array(values)) => values.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    if values.len() > GROUPS_MAX {
        return Err(wrong(&format!("names more than {GROUPS_MAX} groups")));
    }
    values
        .iter()
        .map(|value| {
            let name = value.as_str().ok_or_else(|| wrong("must be a list of texts"))?;
            Group::new(name).map_err(|error| wrong(&error.to_string()))
        })
        .collect()
}

fn level(claims: &Map<String, Value>, settings: &TokenSettings) -> Result<Level, Refused> {
    let Some(claim) = &settings.level_claim else { return Ok(Level::Account) };
    match find(claims, claim).and_then(Value::as_u64) {
        Some(1) => Ok(Level::Device),
        Some(2) => Ok(Level::Account),
        Some(3..) => {
            tracing::debug!("a token says level 3 or more, which nothing but an assertion gives: it counts as 2");
            Ok(Level::Account)
        }
        Some(0) | None => Err(DoorError::TokenClaims.because(format!("`{claim}` must be a level: 1 or 2"))),
    }
}

/// Whose it may be. A binding that is not one to a device here is one all the same: such a token belongs to somebody else.
fn bound_to(claims: &Map<String, Value>) -> Result<BoundTo, Refused> {
    if let Some(confirmation) = claims.get("cnf") {
        return match confirmation.get("jkt").and_then(Value::as_str) {
            Some(jkt) => Ok(BoundTo::Thumbprint(jkt.to_owned())),
            None => Err(DoorError::TokenOfAnotherDevice.because("its `cnf` has no `jkt`: it is bound by other means")),
        };
    }
    match claims.get("nonce") {
        None => Ok(BoundTo::Bearer),
        Some(Value::String(nonce)) => Ok(BoundTo::Nonce(nonce.clone())),
        Some(_) => Err(DoorError::TokenOfAnotherDevice.because("its `nonce` is no text")),
    }
}

/// A claim by its name; else, where the name has dots, within others.
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        rest.split('.').try_fold(claims.get(first)?, |value, name| value.get(name))
    })
}

/// Seconds since 1970, as a number with or without a fraction (RFC 7519, section 2).
fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let seconds = value.as_f64().filter(|seconds| (0.0..=9_007_199_254_740_992.0).contains(seconds))?;
        format!("{:.0}", seconds.floor()).parse().ok()
    })
}

/// What the library says, in the door's words.
pub(super) fn told(error: &Error, claims: Option<&Map<String, Value>>) -> Refused {
    let has = |claim: &str| {
        claims.and_then(|claims| claims.get(claim)).map_or("missing".to_owned(), |value| {
            value.as_str().map_or_else(|| shortened(&value.to_string()), shortened)
        })
    };
    match error.kind() {
        ErrorKind::ExpiredSignature => DoorError::TokenExpired.into(),
        ErrorKind::ImmatureSignature => DoorError::TokenNotYet.into(),
        ErrorKind::InvalidIssuer => DoorError::TokenIssuer.because(format!("its `iss` is {}", has("iss"))),
        ErrorKind::InvalidAudience => DoorError::TokenAudience.because(format!("its `aud` is {}", has("aud"))),
        ErrorKind::MissingRequiredClaim(claim) => DoorError::TokenClaims.because(format!("it has no `{claim}`")),
        ErrorKind::InvalidClaimFormat(claim) => {
            DoorError::TokenClaims.because(format!("its `{claim}` is not what it should be"))
        }
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => DoorError::TokenAlgorithm.into(),
        ErrorKind::InvalidSignature => DoorError::TokenAltered.into(),
        _ => DoorError::TokenMalformed.because(shortened(&error.to_string())),
    }
}
