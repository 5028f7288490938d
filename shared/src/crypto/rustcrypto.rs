//! The wasm32 backend: RustCrypto and dalek, with the same items as `ring.rs`. The cipher is compiled in a crate of its own,
//! for speed.
//!
//! Signature verification is the server's work; a page never calls it and the linker leaves it out of the page's module.

use core::fmt;

use alloc::boxed::Box;

use p256::ecdsa::signature::Verifier;
use sha2::Digest;

use super::{Forged, SignatureAlgorithm, TAG_LEN, ed25519};

/// A ChaCha20-Poly1305 key (RFC 8439). The caller answers for never using a nonce twice.
pub struct AeadKey(Box<duologue_aead::Key>);

impl AeadKey {
    /// Takes a 256-bit key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Box::new(duologue_aead::Key::new(key)))
    }

    /// Encrypts in place and returns the tag.
    #[must_use]
    pub fn seal(&self, nonce: [u8; 12], ad: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        self.0.seal(nonce, ad, data)
    }

    /// Decrypts in place.
    ///
    /// # Errors
    /// [`Forged`] if the tag does not fit; `data` is then worthless.
    pub fn open(&self, nonce: [u8; 12], ad: &[u8], data: &mut [u8], tag: [u8; TAG_LEN]) -> Result<(), Forged> {
        if self.0.open(nonce, ad, data, tag) { Ok(()) } else { Err(Forged) }
    }
}

impl fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AeadKey(..)")
    }
}

/// SHA-256 (FIPS 180-4).
#[derive(Clone, Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// Starts a hash.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds data.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The hash of everything added.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256(..)")
    }
}

/// HKDF-SHA-256 (RFC 5869) without salt; fills 32 bytes.
#[must_use]
pub fn hkdf_sha256(key_material: &[u8], info: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    hkdf::Hkdf::<sha2::Sha256>::new(None, key_material)
        .expand(info, &mut out)
        .expect("32 bytes are within HKDF's limit of 255 × 32");
    out
}

/// Verifies a signature under a `SubjectPublicKeyInfo`. False for everything that is not exactly right.
#[must_use]
pub fn verify(algorithm: SignatureAlgorithm, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let prefix = algorithm.spki_prefix();
    if spki.len() != algorithm.spki_len() || !spki.starts_with(prefix) {
        return false;
    }
    match algorithm {
        SignatureAlgorithm::Ed25519 => {
            spki.get(prefix.len()..).is_some_and(|key| ed25519::verify(key, message, signature))
        }
        SignatureAlgorithm::EcdsaP256 => {
            // The 0x04 that ends the prefix is the first byte of the point.
            let key = spki.get(prefix.len() - 1..);
            let key = key.and_then(|key| p256::ecdsa::VerifyingKey::from_sec1_bytes(key).ok());
            let signature = p256::ecdsa::Signature::from_slice(signature).ok();
            key.zip(signature).is_some_and(|(key, signature)| key.verify(message, &signature).is_ok())
        }
    }
}
