//! What JavaScript asks about links and keys.

use alloc::string::{String, ToString};

use duologue::{DeviceId, Invite, ServerKey};
use wasm_bindgen::prelude::*;

use crate::surface::error;

/// The server that an invite is for.
#[wasm_bindgen(getter_with_clone)]
#[derive(Debug)]
pub struct InviteInfo {
    /// Its public key, base64url.
    pub key: String,
    /// The short form.
    pub fingerprint: String,
}

/// Reads the invite of a link.
///
/// # Errors
/// `bad-invite` if it is damaged.
#[wasm_bindgen(js_name = parseInvite)]
pub fn parse_invite(link: &str) -> Result<InviteInfo, JsValue> {
    let key = Invite::from_link(link).map_err(|cause| error("bad-invite", &cause.to_string()))?.server_key();
    Ok(InviteInfo { key: key.to_string(), fingerprint: key.fingerprint() })
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
