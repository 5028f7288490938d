//! Another key in the place of the device's own, at one server, which goes on knowing it as the same device.
//!
//! ```text
//! a next key is kept ─► shown over an open line, with its signature ─► both are good ─► kept in the place of the one before ─► used
//! ```
//!
//! Whatever breaks in between, the key that is kept is good, and what was begun is gone on with the next time.

use duologue::{CloseCode, DeviceId, DeviceKey, crypto::sha256};
use duologue_native::{Channel, LineError};
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::{Client, ConnectError, KeyringError, Target};

/// What messages are filled to: on the wire all are alike.
const FILLED: usize = 1_024;

/// Why the key was not renewed, or not known to be. It can be tried again in any case.
#[derive(Debug, Error)]
pub enum RenewError {
    /// No line came about.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It ended, or the server renews no keys.
    #[error("the server has not put another key in the place of this device's: {0}")]
    Line(#[from] LineError),
    /// It does not take the key, in a word.
    #[error("the server does not take the key: {0}")]
    Refused(String),
    /// Its answer cannot be read.
    #[error("what the server says of the key cannot be read")]
    Unreadable,
    /// The keyring failed.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Challenge { challenge: String },
    Device { device: String },
    Refused { refused: String },
}

impl Client {
    /// Has another key put in the place of this device's at a server that knows it: it stays the same device, with all that is its, and
    /// the key before is refused from then on. Lines of this client go on by the new key. Gives the id by which the server's owner
    /// knows the device.
    ///
    /// # Errors
    /// Why it was not renewed, as far as is known: the device can be used either way.
    pub async fn renew_key(&self, target: &Target) -> Result<DeviceId, RenewError> {
        let line = self.connect(target).await?;
        let renewed = self.renew_over(&line.channel(DeviceKey::RENEWAL_LABEL)?, &target.place()).await;
        line.close(CloseCode::Normal, "");
        line.closed().await;
        renewed
    }

    async fn renew_over(&self, channel: &Channel, place: &str) -> Result<DeviceId, RenewError> {
        let challenge = match ask(channel, &json!({ "ask": "challenge" })).await? {
            Told::Challenge { challenge } => BASE64_URL_SAFE_NO_PAD.decode(challenge).ok(),
            _ => None,
        };
        let challenge: [u8; 32] = challenge.and_then(|it| it.try_into().ok()).ok_or(RenewError::Unreadable)?;
        let before = sha256(self.keyring.pair(place)?.device().spki());
        let next = self.keyring.next_pair(place)?;
        let (key, text) = (next.device(), |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes));
        let signature = next.sign(&key.renewal(&challenge, &before));
        let shown = json!({
            "ask": "next", "algorithm": "Ed25519", "spki": text(key.spki()), "signature": text(&signature),
        });
        ask(channel, &shown).await?;
        self.keyring.use_next_pair(place)?;
        // The answer comes over a connection that the new key has opened.
        match ask(channel, &json!({ "ask": "use" })).await? {
            Told::Device { device } => device.parse().map_err(|_| RenewError::Unreadable),
            _ => Err(RenewError::Unreadable),
        }
    }
}

async fn ask(channel: &Channel, question: &Value) -> Result<Told, RenewError> {
    let mut bytes = question.to_string().into_bytes();
    bytes.resize(bytes.len().max(FILLED), b' ');
    channel.send(bytes).await?;
    let answer = channel.recv().await?.ok_or(LineError::NoAnswer)?;
    match serde_json::from_slice(&answer).map_err(|_| RenewError::Unreadable)? {
        Told::Refused { refused } => Err(RenewError::Refused(refused)),
        told => Ok(told),
    }
}
