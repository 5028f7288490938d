//! The pairing: gives an enrolled device a link, and its QR code, with which one more device comes in.
//!
//! ```text
//! client                                                                     server
//!   an empty message ->
//!     <- {"link":"https://…/#i=…","secs":86400,"size":45,"modules":"<hex>"}     or {"error":"too-many"}
//! ```
//!
//! `modules` are the QR code's `size` × `size` squares, row by row from the top left, one bit each, the highest first; set is
//! dark. Not here: whether devices may do this at all. That is the owner's, who offers this service or does not.

use std::time::Duration;

use duologue::limits::INVITE_TTL_SECS;
use qrcodegen::{QrCode, QrCodeEcc};
use serde::Serialize;

use crate::watch::events::Kind;
use crate::{
    door::standing::Level,
    services::service::{Call, Service, ServiceError},
    state::State,
};

/// Links of one device that could still be used. Revoking the device revokes them.
const LIVE_MAX: usize = 5;

/// Gives links to devices.
#[derive(Clone, Debug)]
pub struct Pair {
    state: State,
    address: String,
}

impl Pair {
    /// For the server of `state`, which browsers reach at `address`.
    #[must_use]
    pub fn new(state: State, address: &str) -> Self {
        Self { state, address: address.to_owned() }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Link { link: String, secs: u64, size: i32, modules: String },
    Refusal { error: &'static str },
}

impl Service for Pair {
    fn demands(&self) -> Level {
        Level::Device
    }

    fn needs_state(&self) -> bool {
        true
    }

    async fn serve(&self, call: Call) -> Result<(), ServiceError> {
        while let Some(request) = call.channel.recv().await? {
            if !request.is_empty() {
                return Err("a pairing is asked for by an empty message".into());
            }
            let (state, device) = (self.state.clone(), call.device());
            let lifetime = Duration::from_secs(INVITE_TTL_SECS);
            let invite = call.blocking(move || state.new_invite_of(device, lifetime, LIVE_MAX)).await??;
            let answer = match invite {
                None => Answer::Refusal { error: "too-many" },
                Some(invite) => {
                    call.tell(call.event(Kind::DevicePaired));
                    let link = invite.to_link(&self.address);
                    let code = QrCode::encode_text(&link, QrCodeEcc::Medium)?;
                    Answer::Link { link, secs: INVITE_TTL_SECS, size: code.size(), modules: modules(&code) }
                }
            };
            call.channel.send(serde_json::to_vec(&answer)?).await?;
        }
        Ok(())
    }
}

fn modules(code: &QrCode) -> String {
    let all = 0..code.size();
    let bits: Vec<bool> = all.clone().flat_map(|y| all.clone().map(move |x| code.get_module(x, y))).collect();
    let byte =
        |bits: &[bool]| bits.iter().enumerate().fold(0_u8, |byte, (at, dark)| byte | (u8::from(*dark) << (7 - at)));
    bits.chunks(8).map(|bits| format!("{:02x}", byte(bits))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_told_row_by_row() {
        let code = QrCode::encode_text("https://localhost:8443/", QrCodeEcc::Medium).expect("short");
        let told = modules(&code);
        let size = usize::try_from(code.size()).expect("positive");
        assert_eq!(told.len(), (size * size).div_ceil(8) * 2);
        // The upper edge of the finder pattern at the left: seven dark squares, then a light one.
        assert!(told.starts_with("fe"), "{told}");
    }
}
