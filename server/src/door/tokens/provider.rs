//! What `jsonwebtoken` asks of cryptography, answered by ring: four ways to verify a signature, and none to make one.
//!
//! A key is of one family, and a token's header names an algorithm. Which verifier is made depends on both, and where they are not
//! of one family none is: a public RSA key never becomes the secret of an HMAC.

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{ErrorKind, Result, new_error},
    signature::{self, Verifier},
};
use ring::{
    digest,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaParameters,
        RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
    },
};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: sign_nothing,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Gives `jsonwebtoken` what it verifies with, unless the process has something for it already: an app of somebody else's may
/// sign tokens by the same crate. Whether key and algorithm are of one family is looked at before that is asked, too.
pub(super) fn install() {
    if CryptoProvider::try_get_default().is_none() {
        // Whoever was first in another thread has done the same.
        let _ = PROVIDER.install_default();
    }
}

/// SHA-256.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn sign_nothing(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    Err(new_error(ErrorKind::UnsupportedAlgorithm))
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    if key.family() != algorithm.family() {
        return Err(new_error(ErrorKind::InvalidAlgorithm));
    }
    let method = match (algorithm, key.kind()) {
        (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => {
            Method::Bytes(&ECDSA_P256_SHA256_FIXED, point.clone())
        }
        (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(point)) => Method::Bytes(&ED25519, point.clone()),
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
            Method::rsa(&RSA_PKCS1_2048_8192_SHA256, n, e)
        }
        (Algorithm::PS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
            Method::rsa(&RSA_PSS_2048_8192_SHA256, n, e)
        }
        _ => return Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    };
    debug_assert_ne!(key.family(), AlgorithmFamily::Hmac, "no secret verifies");
    Ok(Box::new(Ring { algorithm: *algorithm, method }))
}

/// How a signature is verified, and by which key.
enum Method {
    Bytes(&'static dyn VerificationAlgorithm, Vec<u8>),
    Rsa(&'static RsaParameters, RsaPublicKeyComponents<Vec<u8>>),
}

impl Method {
    fn rsa(parameters: &'static RsaParameters, n: &[u8], e: &[u8]) -> Self {
        Self::Rsa(parameters, RsaPublicKeyComponents { n: n.to_vec(), e: e.to_vec() })
    }
}

struct Ring {
    algorithm: Algorithm,
    method: Method,
}

impl Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        match &self.method {
            Method::Bytes(algorithm, key) => UnparsedPublicKey::new(*algorithm, key).verify(message, signature),
            Method::Rsa(parameters, key) => key.verify(parameters, message, signature),
        }
        .map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::tokens::testing::{A2_E, A2_N, A3_X, A3_Y, RFC_8037_X};

    /// RFC 7515, A.2.1: the first two parts, and the signature.
    const A2: (&str, &str) = (
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZ\
         cAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-e\
         OkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    );
    /// RFC 7515, A.3.1.
    const A3: (&str, &str) = (
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    );
    /// RFC 8037, A.4.
    const A4: (&str, &str) = (
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    );

    fn verifies((message, signature): (&str, &str), key: &DecodingKey, algorithm: Algorithm) -> Result<bool> {
        install();
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, algorithm)
    }

    #[test]
    fn the_signatures_of_rfc_7515_and_8037_are_good_and_no_other() {
        let rsa = DecodingKey::from_rsa_components(A2_N, A2_E).expect("a key");
        let ec = DecodingKey::from_ec_components(A3_X, A3_Y).expect("a key");
        let ed = DecodingKey::from_ed_components(RFC_8037_X).expect("a key");
        for (vector, key, algorithm) in
            [(A2, &rsa, Algorithm::RS256), (A3, &ec, Algorithm::ES256), (A4, &ed, Algorithm::EdDSA)]
        {
            assert_eq!(verifies(vector, key, algorithm), Ok(true), "{algorithm:?}");
            let other = (&vector.0[..vector.0.len() - 1], vector.1);
            assert_eq!(verifies(other, key, algorithm), Ok(false), "{algorithm:?}: another message");
        }
        assert_eq!(verifies(A2, &rsa, Algorithm::PS256), Ok(false), "another padding");
    }

    #[test]
    fn a_key_of_another_family_verifies_nothing() {
        let rsa = DecodingKey::from_rsa_components(A2_N, A2_E).expect("a key");
        let ec = DecodingKey::from_ec_components(A3_X, A3_Y).expect("a key");
        let ed = DecodingKey::from_ed_components(RFC_8037_X).expect("a key");
        let secret = DecodingKey::from_secret(b"a secret").expect("a key");
        for (key, algorithm) in [
            (&rsa, Algorithm::HS256),
            (&rsa, Algorithm::ES256),
            (&ec, Algorithm::EdDSA),
            (&ec, Algorithm::HS256),
            (&ed, Algorithm::ES256),
            (&ed, Algorithm::HS512),
            (&secret, Algorithm::RS256),
        ] {
            let error = verifies(A3, key, algorithm).expect_err("another family").into_kind();
            assert_eq!(error, ErrorKind::InvalidAlgorithm, "{:?} by {algorithm:?}", key.family());
        }
        // Of one family, and done by nobody here.
        for (key, algorithm) in [(&rsa, Algorithm::RS512), (&ec, Algorithm::ES384), (&secret, Algorithm::HS256)] {
            let error = verifies(A3, key, algorithm).expect_err("not done here").into_kind();
            assert_eq!(error, ErrorKind::UnsupportedAlgorithm, "{algorithm:?}");
        }
    }
}
