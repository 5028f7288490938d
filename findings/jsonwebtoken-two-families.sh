#!/usr/bin/env bash
# jsonwebtoken 12.0.0: a list of accepted algorithms from two families of keys refuses every token.
#
# `Validation::algorithms` is a list, and one that names ES256 and EdDSA reads as "either". A token that is validly signed by ES256,
# checked with its own key, is refused as InvalidAlgorithm as soon as the list has an algorithm of another family, in either
# order; with ES256 alone, or with ES256 and ES384, the same token is good. So a service with keys of two families cannot have
# one Validation: it takes the one algorithm of the key that it has chosen.
#
# Seen: one=ok same-family=ok two-families=InvalidAlgorithm two-families-reversed=InvalidAlgorithm
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "two-families"
version = "0.0.0"
edition = "2021"

[dependencies]
jsonwebtoken = { version = "=12.0.0", default-features = false, features = ["rust_crypto", "use_pem"] }
serde_json = "1"
TOML
cat > src/main.rs <<'RUST'
use jsonwebtoken::{decode, encode, Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{json, Value};

// The pair of RFC 7515, appendix A.3, as PEM.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjpsQnnGQmL+YBIff\nH1136cspYG6+0iY7X1fCE9+E9LKhRANCAAR/zc4ncPbEXUGDy+5v20t7WAczNXvp\n7xO6z248e9FURcfxRM0bvZt+hyzf7bnuufSzaV1uqQskrYpGIyiFiOWt\n-----END PRIVATE KEY-----\n";
const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

fn main() {
    let claims = json!({ "sub": "ada", "exp": 4_102_444_800_u64 });
    let key = EncodingKey::from_ec_pem(PRIVATE.as_bytes()).expect("a key");
    let token = encode(&Header::new(Algorithm::ES256), &claims, &key).expect("a token");
    let key = DecodingKey::from_ec_components(X, Y).expect("a key");
    let said = |algorithms: &[Algorithm]| {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.algorithms = algorithms.to_vec();
        match decode::<Value>(&token, &key, &validation) {
            Ok(_) => "ok".to_owned(),
            Err(error) => format!("{:?}", error.kind()),
        }
    };
    println!(
        "one={} same-family={} two-families={} two-families-reversed={}",
        said(&[Algorithm::ES256]),
        said(&[Algorithm::ES256, Algorithm::ES384]),
        said(&[Algorithm::ES256, Algorithm::EdDSA]),
        said(&[Algorithm::EdDSA, Algorithm::ES256]),
    );
}
RUST
expected="one=ok same-family=ok two-families=InvalidAlgorithm two-families-reversed=InvalidAlgorithm"
seen=$(cargo run --quiet)
echo "jsonwebtoken 12.0.0: $seen"
test "$seen" = "$expected"
