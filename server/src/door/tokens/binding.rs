//! The two ways in which a token names a device's key, so that it is worth nothing with another one.
//!
//! - `cnf.jkt` (RFC 9449, section 6.1): the thumbprint of the key as a JWK (RFC 7638), which an issuer puts there that has seen a
//!   proof by the key.
//! - `nonce` of an ID token (OpenID Connect Core 1.0, section 2): whoever starts a login chooses it, every issuer repeats it.
//!   `base64url(SHA-256("duologue token" ‖ 0x00 ‖ SPKI))`, so that it means nothing anywhere else.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use duologue::{DeviceKey, SignatureAlgorithm};

use super::provider::sha256;

/// What goes before the key in a nonce.
const NONCE_PREFIX: &[u8] = b"duologue token\0";

/// What tokens of a device have in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceBinding {
    /// For `cnf.jkt`.
    pub jkt: String,
    /// For `nonce`.
    pub nonce: String,
}

impl DeviceBinding {
    /// Of a device's key.
    #[must_use]
    pub fn of(key: &DeviceKey) -> Self {
        KeyHashes::of(key).binding()
    }
}

/// The same in 64 bytes, for as long as a line is open.
#[derive(Debug)]
pub(crate) struct KeyHashes(Box<[[u8; 32]; 2]>);

impl KeyHashes {
    pub(crate) fn of(key: &DeviceKey) -> Self {
        Self(Box::new(hashes(key)))
    }

    pub(crate) fn binding(&self) -> DeviceBinding {
        let [jkt, nonce] = self.0.as_ref().map(|hash| base64url(&hash));
        DeviceBinding { jkt, nonce }
    }
}

/// The thumbprint, and the nonce.
fn hashes(key: &DeviceKey) -> [[u8; 32]; 2] {
    let spki = key.spki();
    let raw = spki.get(key.algorithm().spki_prefix().len()..).unwrap_or_default();
    // The members that are required, in the order of their names, without a space (RFC 7638, section 3).
    let jwk = match key.algorithm() {
        SignatureAlgorithm::Ed25519 => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, base64url(raw)),
        SignatureAlgorithm::EcdsaP256 => {
            let (x, y) = raw.split_at_checked(32).unwrap_or_default();
            format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, base64url(x), base64url(y))
        }
    };
    [sha256(&[jwk.as_bytes()]), sha256(&[NONCE_PREFIX, spki])]
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::tokens::testing::{A3_X, A3_Y, RFC_8037_X};

    fn device(algorithm: SignatureAlgorithm, raw: &[&str]) -> DeviceKey {
        let raw = raw.iter().flat_map(|part| URL_SAFE_NO_PAD.decode(part).expect("base64url"));
        DeviceKey::new(algorithm, algorithm.spki_prefix().iter().copied().chain(raw).collect()).expect("a key")
    }

    #[test]
    fn a_thumbprint_is_that_of_rfc_8037() {
        // Its appendix A.3.
        let binding = DeviceBinding::of(&device(SignatureAlgorithm::Ed25519, &[RFC_8037_X]));
        assert_eq!(binding.jkt, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn what_names_a_device_stays_as_it_is() {
        // Computed by Python's hashlib from the key of RFC 7515, A.3.
        let binding = DeviceBinding::of(&device(SignatureAlgorithm::EcdsaP256, &[A3_X, A3_Y]));
        assert_eq!(binding.jkt, "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U");
        assert_eq!(binding.nonce, "dtmjAsbkHE64Es82HZ4FPg51Mt3ao_cSfn3JPTtJmWg");
        let binding = DeviceBinding::of(&device(SignatureAlgorithm::Ed25519, &[RFC_8037_X]));
        assert_eq!(binding.nonce, "tfw_FSr0Ewoq0UTd6KvrjzUjrtFzAJ2HL-n69ztD1EE");
    }
}
