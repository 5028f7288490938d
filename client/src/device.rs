//! What names this device's key to an issuer of tokens, so that what it issues is worth nothing on another device.
//!
//! - [`Device::nonce`] goes into a login's request; every issuer repeats it in the ID token (OpenID Connect Core 1.0, section 2).
//! - [`Device::proof`] is shown to an issuer that binds tokens to keys (DPoP, RFC 9449), which then puts [`Device::jkt`] into them.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use duologue::SignatureAlgorithm;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use crate::keyring::Pair;

/// What goes before the key in a nonce.
const NONCE_PREFIX: &[u8] = b"duologue token\0";

/// The device of a client.
#[derive(Clone, Debug)]
pub struct Device(pub(crate) Arc<Pair>);

/// What a proof of the device's key is for (RFC 9449, section 4.2).
#[derive(Clone, Copy, Debug, Default)]
pub struct ProofOf<'a> {
    /// The method of the HTTP request.
    pub htm: &'a str,
    /// Its address; without query and fragment in the proof.
    pub htu: &'a str,
    /// The nonce that the issuer or the resource has asked for.
    pub nonce: Option<&'a str>,
    /// With an access token: base64url of its SHA-256.
    pub ath: Option<&'a str>,
}

impl Device {
    /// For the `nonce` of a login: base64url(SHA-256("duologue token" ‖ 0x00 ‖ SPKI)).
    #[must_use]
    pub fn nonce(&self) -> String {
        base64url_sha256(&[NONCE_PREFIX, self.0.device().spki()].concat())
    }

    /// The thumbprint of the device's key (RFC 7638), which bound tokens have in `cnf.jkt`.
    #[must_use]
    pub fn jkt(&self) -> String {
        // The members that are required, in the order of their names, without a space.
        base64url_sha256(self.jwk().to_string().as_bytes())
    }

    /// A DPoP proof (RFC 9449) by the device's key, for one request.
    #[must_use]
    pub fn proof(&self, of: &ProofOf<'_>) -> String {
        let mut jti = [0; 16];
        getrandom::fill(&mut jti).expect("the operating system gives random bytes");
        let iat = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let htu = of.htu.split(['?', '#']).next().unwrap_or_default();
        let mut claims = Map::new();
        claims.insert("jti".to_owned(), BASE64_URL_SAFE_NO_PAD.encode(jti).into());
        claims.insert("htm".to_owned(), of.htm.into());
        claims.insert("htu".to_owned(), htu.into());
        claims.insert("iat".to_owned(), iat.into());
        for (name, value) in [("nonce", of.nonce), ("ath", of.ath)] {
            if let Some(value) = value {
                claims.insert(name.to_owned(), value.into());
            }
        }
        // What is signed begins with `eyJ`, and what the line signs with `duologue/`: neither is ever taken for the other.
        let head = json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": self.jwk() });
        let part = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
        let input = format!("{}.{}", part(&head), part(&Value::Object(claims)));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.0.sign(input.as_bytes()));
        format!("{input}.{signature}")
    }

    fn jwk(&self) -> Value {
        let device = self.0.device();
        // A keyring's key is of this kind.
        let raw = device.spki().get(SignatureAlgorithm::Ed25519.spki_prefix().len()..).unwrap_or_default();
        // `serde_json` writes names in their order.
        json!({ "crv": "Ed25519", "kty": "OKP", "x": BASE64_URL_SAFE_NO_PAD.encode(raw) })
    }
}

fn base64url_sha256(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, bytes))
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    /// That of RFC 8037, A.1.
    fn device() -> Device {
        let seed = BASE64_URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").expect("base64url");
        Device(Arc::new(Pair::of_seed(&seed)))
    }

    #[test]
    fn what_names_a_device_is_what_the_server_looks_for() {
        // The thumbprint is that of RFC 8037, A.3; the nonce was computed by Python's hashlib.
        assert_eq!(device().jkt(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(device().nonce(), "tfw_FSr0Ewoq0UTd6KvrjzUjrtFzAJ2HL-n69ztD1EE");
    }

    #[test]
    fn a_proof_is_one_of_rfc_9449_by_the_devices_key() {
        let of = ProofOf { htm: "POST", htu: "https://login.example/token?a=1#b", nonce: Some("n"), ath: None };
        let proof = device().proof(&of);
        let (input, signature) = proof.rsplit_once('.').expect("three parts");
        assert!(input.starts_with("eyJ"), "never what a line signs");
        let read = |part: &str| -> Value {
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
        };
        let (head, claims) = input.split_once('.').expect("three parts");
        let (head, claims) = (read(head), read(claims));
        assert_eq!((&head["typ"], &head["alg"]), (&"dpop+jwt".into(), &"EdDSA".into()));
        assert_eq!((&claims["htm"], &claims["htu"]), (&"POST".into(), &"https://login.example/token".into()));
        assert_eq!((&claims["nonce"], claims.get("ath")), (&"n".into(), None));
        let key = BASE64_URL_SAFE_NO_PAD.decode(head["jwk"]["x"].as_str().expect("a key")).expect("base64url");
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        UnparsedPublicKey::new(&ED25519, key).verify(input.as_bytes(), &signature).expect("it is signed");
        assert_ne!(proof, device().proof(&of), "each is for one request");
    }
}
