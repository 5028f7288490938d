//! Passkeys: a person shows to be there, by a key of their own that asks for a finger, a face or a PIN.
//!
//! ```text
//! challenge (presence) ─► browser, authenticator ─► answer ─► taken out ─► judged (webauthn, cose) ─► whose it is, counter (store)
//! ```
//!
//! Web Authentication Level 3, sections 7.1 and 7.2. This room judges bytes: who may ask is the service's, what a session has of it
//! stands in its seat, what is kept of a passkey in the store.

mod cose;
pub(crate) mod presence;
pub(crate) mod rate;
mod settings;
#[cfg(test)]
mod tests;
mod webauthn;

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

pub(crate) use cose::ALGORITHMS;
pub use settings::{InvalidPasskeySettings, PasskeySettings};
pub(crate) use webauthn::Purpose;

use super::{
    error::{DoorError, Refused},
    tokens::sha256,
};
use cose::PublicKey;
use webauthn::{AuthData, ClientData, attested, signed};

/// The label of the channels on which passkeys are asked for.
pub(crate) const LABEL: &str = "passkeys";
/// The rule that the table `[door.passkey]` is.
pub(crate) const RULE: &str = "[door.passkey]";

/// For whom passkeys are made here, and who may ask for them. Clones are the same.
#[derive(Clone, Debug)]
pub struct Passkeys(Arc<Known>);

#[derive(Debug)]
struct Known {
    rp_id: String,
    rp_id_hash: [u8; 32],
    name: String,
    origins: Option<Vec<String>>,
    timeout: Duration,
}

/// What a browser gives back when a passkey was made.
#[derive(Debug)]
pub(crate) struct Registration<'a> {
    pub(crate) client_data: &'a [u8],
    pub(crate) attestation: &'a [u8],
}

/// What it gives back when one was used.
#[derive(Debug)]
pub(crate) struct Assertion<'a> {
    pub(crate) client_data: &'a [u8],
    pub(crate) auth_data: &'a [u8],
    pub(crate) signature: &'a [u8],
}

/// A passkey that was made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) id: Vec<u8>,
    pub(crate) cose: Vec<u8>,
    pub(crate) counter: u32,
    pub(crate) may_be_backed_up: bool,
    pub(crate) is_backed_up: bool,
}

/// What a use of one says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) counter: u32,
    pub(crate) is_backed_up: bool,
}

impl Passkeys {
    /// For a server whose address has this host.
    ///
    /// # Errors
    /// If the settings cannot be used, or the host is no name.
    pub fn new(settings: PasskeySettings, host: &str) -> Result<Self, InvalidPasskeySettings> {
        settings.check()?;
        let rp_id = settings.rp_id_at(host)?;
        let PasskeySettings { name, origins, timeout, .. } = settings;
        Ok(Self(Arc::new(Known {
            rp_id_hash: sha256(&[rp_id.as_bytes()]),
            name: name.unwrap_or_else(|| rp_id.clone()),
            rp_id,
            origins,
            timeout: Duration::from_secs(timeout),
        })))
    }

    /// The name under which passkeys are good.
    #[must_use]
    pub fn rp_id(&self) -> &str {
        &self.0.rp_id
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// How long a person has for it.
    pub(crate) fn timeout(&self) -> Duration {
        self.0.timeout
    }

    /// Whether a page may ask for it in a session of this origin. A page asks for its own session.
    fn may_ask(&self, origin: &str, own: Option<&str>) -> bool {
        let is_listed = self.0.origins.as_ref().map(|origins| origins.iter().any(|it| it == origin));
        match own {
            Some(own) => own == origin && is_listed.unwrap_or(true),
            // An app's own, which the owner has listed.
            None => is_listed.unwrap_or(false),
        }
    }

    /// The challenge that an answer is to.
    ///
    /// # Errors
    /// If it says none.
    pub(crate) fn challenge_of(client_data: &[u8]) -> Result<Vec<u8>, Refused> {
        let challenge = ClientData::parse(client_data)?.challenge;
        URL_SAFE_NO_PAD
            .decode(challenge)
            .map_err(|_| DoorError::PasskeyRefused.because("its challenge is no base64url"))
    }

    /// Judges a passkey that was made, in a session of this origin. Its challenge was looked at.
    ///
    /// # Errors
    /// If it is not for this server, of no verified person, or of an algorithm that is not taken.
    pub(crate) fn made(&self, registration: &Registration<'_>, origin: Option<&str>) -> Result<Made, Refused> {
        let Registration { client_data, attestation } = *registration;
        ClientData::parse(client_data)?.check(Purpose::Register, |it| self.may_ask(it, origin))?;
        let auth_data = attested(attestation, client_data)?;
        let auth_data = AuthData::parse(&auth_data)?;
        auth_data.check(&self.0.rp_id_hash)?;
        let credential = auth_data.credential.as_ref();
        let credential = credential.ok_or_else(|| DoorError::PasskeyRefused.because("it brings no key"))?;
        Ok(Made {
            id: credential.id.to_vec(),
            cose: credential.cose.to_vec(),
            counter: auth_data.counter,
            may_be_backed_up: auth_data.is_backup_eligible(),
            is_backed_up: auth_data.is_backed_up(),
        })
    }

    /// Judges a use of the passkey that has this key, in a session of this origin. Its challenge was looked at; its counter is to be.
    ///
    /// # Errors
    /// If it is not for this server, of no verified person, or not signed by that key.
    pub(crate) fn used(
        &self,
        assertion: &Assertion<'_>,
        cose: &[u8],
        may_be_backed_up: bool,
        origin: Option<&str>,
    ) -> Result<Used, Refused> {
        let Assertion { client_data, auth_data, signature } = *assertion;
        ClientData::parse(client_data)?.check(Purpose::StepUp, |it| self.may_ask(it, origin))?;
        let said = AuthData::parse(auth_data)?;
        said.check(&self.0.rp_id_hash)?;
        if said.is_backup_eligible() != may_be_backed_up {
            return Err(DoorError::PasskeyRefused.because("whether it may be backed up has changed"));
        }
        let (key, _) = PublicKey::read(cose)?;
        if !key.verifies(&signed(auth_data, client_data), signature) {
            return Err(DoorError::PasskeyRefused.because("its signature is not of this passkey over this challenge"));
        }
        Ok(Used { counter: said.counter, is_backed_up: said.is_backed_up() })
    }
}
