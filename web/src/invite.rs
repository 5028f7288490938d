//! What JavaScript asks about links and keys.

use alloc::string::{String, ToString};

use duologue::{DeviceId, Invite, ServerKey};
use wasm_bindgen::prelude::*;

use crate::surface::error;

/// Reads the invite of a link: the public key of the server that it is for, base64url.
///
/// # Errors
/// `bad-invite` if it is damaged.
#[wasm_bindgen(js_name = parseInvite)]
pub fn parse_invite(link: &str) -> Result<String, JsValue> {
    let invite = Invite::from_link(link).map_err(|cause| error("bad-invite", &cause.to_string()))?;
    Ok(invite.server_key().to_string())
}

/// The short form of a server's key.
///
/// # Errors
/// `bad-key` if it is no key.
#[wasm_bindgen(js_name = serverFingerprint)]
pub fn server_fingerprint(key: &str) -> Result<String, JsValue> {
    parse_key(key).map(|key| key.fingerprint())
}

/// The short form of a device's public key (`SubjectPublicKeyInfo`).
#[wasm_bindgen(js_name = deviceFingerprint)]
#[must_use]
pub fn device_fingerprint(spki: &[u8]) -> String {
    DeviceId::of_spki(spki).fingerprint()
}

pub(crate) fn parse_key(key: &str) -> Result<ServerKey, JsValue> {
    key.parse().map_err(|_| error("bad-key", "The server's key should be 32 bytes as base64url."))
}
