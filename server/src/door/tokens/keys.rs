//! An issuer's key set (RFC 7517): which of its keys verify tokens, and by which algorithm each.
//!
//! The algorithm is the key's, never the token's. A key is left out, with the reason for the owner, if it is for something else
//! (`use`, `key_ops`, `alg`), if it is a secret or a private key, or if another of the set has its `kid`.

use std::collections::BTreeMap;

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::shortened;

/// The longest key set, in bytes: 64 RSA keys of 8,192 bits with a certificate chain each stay below it.
pub(super) const SET_BYTES_MAX: usize = 512 * 1_024;
/// How many keys a set may have.
const KEYS_MAX: usize = 64;
/// The longest `kid`, in bytes.
pub(super) const KID_BYTES_MAX: usize = 256;
/// The shortest modulus of an RSA key, in bytes: 2,048 bits. And the longest, 8,192: ring's.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1_024;

/// What is no key set.
#[derive(Debug, Error)]
pub(super) enum InvalidKeySet {
    #[error("it is not a key set in JSON, {{\"keys\": [...]}}: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it has more than {KEYS_MAX} keys")]
    TooMany,
}

/// A key that verifies tokens.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) kid: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// The keys of an issuer.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// Keys that are not used, and why, a sentence each.
    pub(super) left_out: Vec<String>,
}

impl KeySet {
    /// Reads one.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, InvalidKeySet> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(bytes)?;
        if set.keys.len() > KEYS_MAX {
            return Err(InvalidKeySet::TooMany);
        }
        let mut by_kid: BTreeMap<Option<String>, Vec<Key>> = BTreeMap::new();
        let mut left_out = Vec::new();
        for (at, value) in set.keys.into_iter().enumerate() {
            match Jwk::deserialize(value).map_err(|_| "it is no key in JSON".into()).and_then(Jwk::key) {
                Ok(key) => by_kid.entry(key.kid.clone()).or_default().push(key),
                Err(why) => left_out.push(format!("key {} of the set is not used: {why}", at + 1)),
            }
        }
        let mut keys = Vec::new();
        for (kid, mut same) in by_kid {
            match (same.len(), kid) {
                (1, _) => keys.append(&mut same),
                (count, Some(kid)) => {
                    let kid = shortened(&kid);
                    left_out.push(format!("{count} keys of the set have the `kid` {kid}: none of them is used"));
                }
                (count, None) => left_out.push(format!("{count} keys of the set have no `kid`: none of them is used")),
            }
        }
        Ok(Self { keys, left_out })
    }

    /// The key of a token: that of its `kid`, and for a token without one the only key of the set.
    pub(super) fn of(&self, kid: Option<&str>) -> Option<&Key> {
        match (kid, self.keys.as_slice()) {
            (Some(kid), keys) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// How many verify.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

/// A key as it is written. What is of no use here is not read.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    /// The private part.
    d: Option<Value>,
}

impl Jwk {
    fn key(self) -> Result<Key, String> {
        let of = |value: Option<&str>| value.map_or("none".to_owned(), shortened);
        if self.d.is_some() {
            return Err(
                "it is a private key, and whoever has read it here can make tokens: publish its public half only, \
                        and make a new one"
                    .to_owned(),
            );
        }
        if self.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return Err(format!("its `use` is {}, not \"sig\"", of(self.purpose.as_deref())));
        }
        if self.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|operation| operation == "verify")) {
            return Err("its `key_ops` have no \"verify\"".to_owned());
        }
        if self.kid.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
            return Err(format!("its `kid` has more than {KID_BYTES_MAX} bytes"));
        }
        let alg = self.alg.as_deref();
        let wrong = |_| "its numbers are no base64url".to_owned();
        let missing = |what: &str| format!("it has no `{what}`");
        let (algorithm, decoding) = match (self.kty.as_str(), self.crv.as_deref(), alg) {
            ("EC", Some("P-256"), None | Some("ES256")) => {
                let (x, y) = (self.x.ok_or_else(|| missing("x"))?, self.y.ok_or_else(|| missing("y"))?);
                let key = DecodingKey::from_ec_components(&x, &y).map_err(wrong)?;
                if key.try_get_as_bytes().map(<[u8]>::len) != Ok(65) || decoded_len(&x) != 32 {
                    return Err("its point is not of 32 bytes and 32".to_owned());
                }
                (Algorithm::ES256, key)
            }
            ("OKP", Some("Ed25519"), None | Some("EdDSA")) => {
                let key = DecodingKey::from_ed_components(&self.x.ok_or_else(|| missing("x"))?).map_err(wrong)?;
                if key.try_get_as_bytes().map(<[u8]>::len) != Ok(32) {
                    return Err("its point is not of 32 bytes".to_owned());
                }
                (Algorithm::EdDSA, key)
            }
            ("RSA", _, None | Some("RS256" | "PS256")) => {
                let (n, e) = (self.n.ok_or_else(|| missing("n"))?, self.e.ok_or_else(|| missing("e"))?);
                let key = DecodingKey::from_rsa_components(&n, &e).map_err(wrong)?;
                if !MODULUS_BYTES.contains(&decoded_len(&n)) {
                    return Err("its modulus is not of 2,048 to 8,192 bits".to_owned());
                }
                (if alg == Some("PS256") { Algorithm::PS256 } else { Algorithm::RS256 }, key)
            }
            ("oct", ..) => {
                return Err(
                    "it is a secret, by which whoever verifies could sign as well: give the issuer a pair of keys"
                        .to_owned(),
                );
            }
            (kty, crv, alg) => {
                let (kty, crv, alg) = (shortened(kty), of(crv), of(alg));
                return Err(format!(
                    "its `kty` is {kty}, `crv` {crv}, `alg` {alg}: tokens are verified by ES256, EdDSA (Ed25519), RS256 and PS256"
                ));
            }
        };
        Ok(Key { kid: self.kid, algorithm, decoding })
    }
}

/// How many bytes so much base64url without padding stands for.
fn decoded_len(text: &str) -> usize {
    text.len() * 3 / 4
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::door::tokens::testing::{A2_E, A2_N, A3_X, A3_Y, RFC_8037_X};

    fn set(keys: Value) -> KeySet {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).expect("a set")
    }

    fn ec(more: Value) -> Value {
        let mut key = json!({ "kty": "EC", "crv": "P-256", "x": A3_X, "y": A3_Y });
        key.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        key
    }

    #[test]
    fn the_algorithm_is_the_keys_own() {
        let keys = set(json!([
            ec(json!({ "kid": "es" })),
            { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": RFC_8037_X },
            { "kty": "RSA", "kid": "rs", "n": A2_N, "e": A2_E },
            { "kty": "RSA", "kid": "ps", "n": A2_N, "e": A2_E, "alg": "PS256" },
        ]));
        assert_eq!(keys.left_out, Vec::<String>::new());
        for (kid, algorithm) in
            [("es", Algorithm::ES256), ("ed", Algorithm::EdDSA), ("rs", Algorithm::RS256), ("ps", Algorithm::PS256)]
        {
            assert_eq!(keys.of(Some(kid)).map(|key| key.algorithm), Some(algorithm), "{kid}");
        }
        assert!(keys.of(Some("ES")).is_none() && keys.of(Some("")).is_none() && keys.of(None).is_none());
    }

    #[test]
    fn a_token_without_a_kid_has_the_only_key_of_a_set() {
        let only = set(json!([ec(json!({}))]));
        assert!(only.of(None).is_some() && only.of(Some("x")).is_none(), "a key without a name has no name");
        assert!(set(json!([ec(json!({ "kid": "k" }))])).of(None).is_some());
    }

    #[test]
    fn a_key_that_is_for_something_else_is_left_out_by_name() {
        for (key, why) in [
            (ec(json!({ "use": "enc" })), "`use` is \"enc\""),
            (ec(json!({ "key_ops": ["sign"] })), "no \"verify\""),
            (ec(json!({ "key_ops": [] })), "no \"verify\""),
            (ec(json!({ "alg": "ES384" })), "`alg` \"ES384\""),
            (ec(json!({ "alg": "RS256" })), "`alg` \"RS256\""),
            (ec(json!({ "crv": "P-384" })), "`crv` \"P-384\""),
            (ec(json!({ "crv": "Ed25519" })), "`crv` \"Ed25519\""),
            (ec(json!({ "d": "AAAA" })), "private"),
            (ec(json!({ "x": "AAAA" })), "32 bytes"),
            (ec(json!({ "x": "*" })), "base64url"),
            (ec(json!({ "y": null })), "no `y`"),
            (ec(json!({ "kid": "k".repeat(257) })), "256 bytes"),
            (json!({ "kty": "oct", "k": "c2VjcmV0" }), "secret"),
            (json!({ "kty": "OKP", "crv": "X25519", "x": RFC_8037_X }), "`crv` \"X25519\""),
            (json!({ "kty": "OKP", "crv": "Ed25519", "x": "AAAA" }), "32 bytes"),
            (json!({ "kty": "RSA", "n": &A2_N[..172], "e": A2_E }), "2,048"),
            (json!({ "kty": "RSA", "n": A2_N.repeat(5), "e": A2_E }), "8,192"),
            (json!({ "kty": "RSA", "n": A2_N, "e": A2_E, "alg": "RS512" }), "`alg` \"RS512\""),
            (json!({ "kty": "RSA", "n": A2_N, "e": A2_E, "alg": "HS256" }), "`alg` \"HS256\""),
            (json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA" }), "`kty` is \"AKP\""),
            (json!({ "kid": "no type" }), "no key"),
            (json!(7), "no key"),
        ] {
            let keys = set(json!([key, ec(json!({ "kid": "good" }))]));
            assert!(keys.left_out.len() == 1 && keys.left_out[0].contains(why), "{key}: {:?}", keys.left_out);
            assert_eq!(keys.len(), 1, "{key}: the other is used");
        }
    }

    #[test]
    fn of_two_keys_with_one_kid_neither_is_used() {
        let keys = set(json!([
            ec(json!({ "kid": "k" })),
            { "kty": "RSA", "kid": "k", "n": A2_N, "e": A2_E },
            ec(json!({ "kid": "other" })),
        ]));
        assert!(keys.of(Some("k")).is_none() && keys.of(Some("other")).is_some());
        assert!(keys.left_out[0].contains("2 keys of the set have the `kid` \"k\""), "{:?}", keys.left_out);
    }

    #[test]
    fn what_is_no_set_is_an_error_and_a_set_has_a_bound() {
        for bad in ["", "[]", "{}", "<html></html>", "{\"keys\":{}}", "{\"keys\":[]} and more"] {
            KeySet::parse(bad.as_bytes()).expect_err(bad);
        }
        let many = json!({ "keys": vec![ec(json!({})); 65] }).to_string();
        assert!(matches!(KeySet::parse(many.as_bytes()), Err(InvalidKeySet::TooMany)));
        assert_eq!(set(json!([])).len(), 0, "an issuer may take all its keys back");
    }
}
