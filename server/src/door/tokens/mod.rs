//! Tokens: JSON Web Tokens (RFC 7519) of one issuer whom the owner trusts, and what they are worth.
//!
//! ```text
//! token ─► seen before? ──────────────────────────────────────────────► time ─► whose device ─► standing
//!            └ no ─► header: which key ─► known? ─► algorithm ─► signature ─► claims ┘
//!                                           └ no ─► the issuer once more (source)
//! ```
//!
//! The signature and the registered claims are `jsonwebtoken`'s to judge, over ring. A token says by `kid` which key it means, and
//! by nothing how it is verified: that is the key's. What is verified is remembered by its hash, and its time looked at every time.
//!
//! It names a subject and its groups, and is worth level 2 at most. Bound to a device it is worth nothing elsewhere ([`DeviceBinding`]);
//! unbound it serves whoever has it until its end. What becomes of a session whose standing changes is others' to decide.

mod binding;
mod claims;
mod keys;
mod provider;
mod settings;
mod source;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod testing_issuer;
#[cfg(test)]
mod tests;
mod verdicts;

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use crate::watch::stream::Watch;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Validation, dangerous::insecure_decode_claims};
use serde_json::{Map, Value};

pub use binding::DeviceBinding;
pub(crate) use binding::KeyHashes;
pub use claims::{BoundTo, Verified};
pub(crate) use provider::sha256;
pub use settings::{InvalidTokenSettings, TokenSettings};

use claims::{Head, LEEWAY_SECS};
use keys::Key;
use source::{Looked, Source};
use verdicts::Verdicts;

use super::error::{DoorError, Refused};

/// The longest token, in bytes: what fits into one record of evidence.
pub const TOKEN_BYTES_MAX: usize = 8_184;
/// What of a stranger's text is told, in characters.
const SHOWN_CHARS_MAX: usize = 64;

/// Verifies the tokens of one issuer.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    settings: TokenSettings,
    source: Arc<Source>,
    verdicts: Mutex<Verdicts>,
}

impl Tokens {
    /// Who hears how it goes with the keys.
    pub(crate) fn tell_to(&self, watch: &Watch) {
        self.0.source.told.get_or_init(|| watch.clone());
    }

    /// Tokens as the settings say. A file of keys is looked for from `directory`. Nobody is asked for anything yet.
    ///
    /// # Errors
    /// If the settings cannot be meant.
    pub fn new(settings: TokenSettings, directory: &Path) -> Result<Self, InvalidTokenSettings> {
        provider::install();
        let source = Arc::new(Source::new(settings.place(directory)?, &settings.issuer));
        Ok(Self(Arc::new(Inner { settings, source, verdicts: Mutex::default() })))
    }

    /// Asks for the issuer's keys, so that the first token need not wait for them.
    ///
    /// # Errors
    /// If they cannot be had; tokens that come ask again.
    pub async fn load_keys(&self) -> Result<(), TokenKeysError> {
        self.0.source.load().await.map_err(|error| TokenKeysError(error.to_string()))
    }

    /// What of the issuer's keys verifies nothing here, a sentence each.
    #[must_use]
    pub fn unfit_keys(&self) -> Vec<String> {
        self.0.source.keys().0.left_out.clone()
    }

    /// What a token says, if it is good. `now` is in seconds since 1970. Asks the issuer only for a key that is not known.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn verify(&self, token: &[u8], now: u64) -> Result<Arc<Verified>, Refused> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(DoorError::TokenMalformed.because(format!("it has {} bytes", token.len())));
        }
        let hash = sha256(&[token]);
        let (keys, generation) = self.0.source.keys();
        let seen = self.verdicts().get(&hash, generation);
        if let Some(verified) = seen {
            if let Err(refused) = verified.check_time(now) {
                self.verdicts().remove(&hash);
                return Err(refused);
            }
            return Ok(verified);
        }
        let head = head(token)?;
        let kid = head.kid.as_deref();
        let (keys, generation) = match keys.of(kid) {
            Some(_) => (keys, generation),
            None => {
                let looked = self.0.source.look_again().await;
                let (keys, generation) = self.0.source.keys();
                if keys.of(kid).is_none() {
                    return Err(self.unknown(kid, looked));
                }
                (keys, generation)
            }
        };
        let key = keys.of(kid).ok_or(DoorError::TokenKey)?;
        let verified = Arc::new(self.judge(token, &hash, &head, key, now)?);
        self.verdicts().put(hash, Arc::clone(&verified), generation);
        Ok(verified)
    }

    /// Whether a token that is bound to no device binds the device that brings it.
    #[must_use]
    pub fn bearer_binds(&self) -> bool {
        self.0.settings.bearer_binds
    }

    fn unknown(&self, kid: Option<&str>, looked: Looked) -> Refused {
        let kid = kid.map_or_else(
            || "it has no `kid`, and the set not one key alone".to_owned(),
            |kid| format!("`kid` {}", shortened(kid)),
        );
        match looked {
            Looked::Failed => DoorError::TokenKeysUnreachable.because(kid),
            Looked::TooOften if !self.0.source.has_keys() => DoorError::TokenKeysUnreachable.because(kid),
            Looked::Again | Looked::TooOften => DoorError::TokenKey.because(kid),
        }
    }

    /// The signature, and then the claims.
    fn judge(&self, token: &[u8], hash: &[u8; 32], head: &Head, key: &Key, now: u64) -> Result<Verified, Refused> {
        let Inner { settings, .. } = &*self.0;
        // The library compares them too. By their names here, so that what it takes for the same is not taken.
        if head.alg != format!("{:?}", key.algorithm) || key.decoding.family() != key.algorithm.family() {
            let (alg, right) = (shortened(&head.alg), key.algorithm);
            return Err(DoorError::TokenAlgorithm.because(format!("its `alg` is {alg}, the key's {right:?}")));
        }
        let mut validation = Validation::new(key.algorithm);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        validation.set_issuer(&[&settings.issuer]);
        validation.set_audience(&settings.audience);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECS;
        let decoded =
            jsonwebtoken::decode::<Map<String, Value>>(token, &key.decoding, &validation).map_err(|error| {
                let unverified = insecure_decode_claims::<Map<String, Value>>(token).ok();
                claims::told(&error, unverified.as_ref())
            })?;
        let name = || format!("sha256:{}", URL_SAFE_NO_PAD.encode(hash));
        let verified = claims::verified(&decoded.claims, settings, key, name, now)?;
        verified.check_time(now)?;
        Ok(verified)
    }

    fn verdicts(&self) -> std::sync::MutexGuard<'_, Verdicts> {
        self.0.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

/// Why an issuer's keys could not be had, in words.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the issuer's keys cannot be had: {0}")]
pub struct TokenKeysError(String);

/// The header of a token in three parts.
fn head(token: &[u8]) -> Result<Head, Refused> {
    let malformed = |what: &'static str| DoorError::TokenMalformed.because(what);
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(head), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(malformed("it has not three parts"));
    };
    Head::parse(&URL_SAFE_NO_PAD.decode(head).map_err(|_| malformed("its header is no base64url"))?)
}

/// Text of others for the owner: short, in quotes, and with nothing hidden.
fn shortened(text: &str) -> String {
    let shown: String = crate::watch::text::shown(text).chars().take(SHOWN_CHARS_MAX).collect();
    format!("\"{shown}\"{}", if text.chars().count() > SHOWN_CHARS_MAX { "…" } else { "" })
}
