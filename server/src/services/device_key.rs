//! `device-key`: a device has another key put in the place of its own, over the line, and stays the device that it is.
//! docs/PROTOCOL.md, section 11, has the messages.
//!
//! ```text
//! client                                                        server
//!   {"ask":"challenge"} ─►
//!                       ◄─ {"challenge":…}                       of this channel, used once
//!   {"ask":"next","algorithm":…,"spki":…,"signature":…} ─►       kept beside the one before: both are good
//!                       ◄─ {"device":…}                          the client keeps the next one in the place of the one before
//!   {"ask":"use"} ─►                                             the one before is old, and connections that it has opened end
//!                       ◄─ {"device":…}                          over one that the next key has opened
//! ```
//!
//! Not here: what a handshake by the next key, or by an old one, means (`lines/renewed.rs`).

use std::{sync::Arc, time::Instant};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use duologue::{DeviceKey, SignatureAlgorithm};
use serde::{Deserialize, Serialize};

use crate::{
    door::{passkeys::rate::Rate, standing::Level},
    services::service::{Call, Service, ServiceError},
    state::{
        random,
        store::{NotRenewed, Store},
    },
    watch::events::Kind,
};

/// The longest message of a client, and what answers are filled to, in bytes: on the wire all are alike.
const MESSAGE_LEN_MAX: usize = 1_024;

/// The service.
#[derive(Debug)]
pub(crate) struct DeviceKeys {
    store: Arc<Store>,
    /// Each is written, and stands in the owner's log.
    rate: Rate,
}

#[derive(Deserialize)]
#[serde(tag = "ask", rename_all = "lowercase", deny_unknown_fields)]
enum Ask {
    Challenge {},
    Next { algorithm: String, spki: String, signature: String },
    Use {},
}

#[derive(Serialize)]
#[serde(untagged)]
enum Told {
    Challenge { challenge: String },
    Device { device: String },
    Refused { refused: &'static str },
}

impl DeviceKeys {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, rate: Rate::default() }
    }

    /// Keeps the key, if it has signed.
    async fn next(&self, call: &Call, challenge: [u8; 32], ask: &Next) -> Result<Option<&'static str>, ServiceError> {
        let device = call.device();
        let before = self.store.key_of(device);
        if !ask.key.is_renewal(&challenge, &before, &ask.signature) {
            return Ok(Some("bad-proof"));
        }
        if !self.rate.take(&device.to_string(), Instant::now()) {
            return Ok(Some("too-often"));
        }
        let (store, key) = (Arc::clone(&self.store), ask.key.clone());
        let kept = call.blocking(move || store.keep_next_key(device, &key)).await??;
        Ok(kept.err().map(|refusal| match refusal {
            NotRenewed::NotEnrolled => "not-enrolled",
            NotRenewed::Known => "key-known",
        }))
    }
}

struct Next {
    key: DeviceKey,
    signature: Vec<u8>,
}

impl Next {
    fn read(algorithm: &str, spki: &str, signature: &str) -> Option<Self> {
        let algorithm = match algorithm {
            "Ed25519" => SignatureAlgorithm::Ed25519,
            "P-256" => SignatureAlgorithm::EcdsaP256,
            _ => return None,
        };
        let key = DeviceKey::new(algorithm, URL_SAFE_NO_PAD.decode(spki).ok()?).ok()?;
        Some(Self { key, signature: URL_SAFE_NO_PAD.decode(signature).ok()? })
    }
}

impl Service for DeviceKeys {
    fn demands(&self) -> Level {
        Level::Device
    }

    fn needs_state(&self) -> bool {
        true
    }

    async fn serve(&self, call: Call) -> Result<(), ServiceError> {
        let (mut challenge, mut next) = (None, None);
        while let Some(message) = call.channel.recv().await? {
            if message.len() > MESSAGE_LEN_MAX {
                return Err("a message about a device's key has 1,024 bytes at most".into());
            }
            let device = call.device();
            let known = || Told::Device { device: device.to_string() };
            let ask = serde_json::from_slice(&message)?;
            let uses = matches!(ask, Ask::Use {});
            let told = match ask {
                Ask::Challenge {} => {
                    let new: [u8; 32] = random();
                    challenge = Some(new);
                    Told::Challenge { challenge: URL_SAFE_NO_PAD.encode(new) }
                }
                Ask::Next { algorithm, spki, signature } => {
                    let ask = Next::read(&algorithm, &spki, &signature).ok_or("this is no key, or no signature")?;
                    let challenge = challenge.take().ok_or("a key answers a challenge")?;
                    match self.next(&call, challenge, &ask).await? {
                        None => {
                            next = Some(ask.key);
                            known()
                        }
                        Some(refused) => Told::Refused { refused },
                    }
                }
                Ask::Use {} => {
                    let key: DeviceKey = next.take().ok_or("no key was kept on this channel")?;
                    let store = Arc::clone(&self.store);
                    let is_new = call.blocking(move || store.use_next_key(device, &key)).await??;
                    if is_new {
                        call.tell(call.event(Kind::DeviceKeyRenewed));
                    }
                    known()
                }
            };
            let mut told = serde_json::to_vec(&told)?;
            told.resize(told.len().max(MESSAGE_LEN_MAX), b' ');
            call.channel.send(told).await?;
            if uses {
                call.others.key_is_renewed(device);
            }
        }
        Ok(())
    }
}
