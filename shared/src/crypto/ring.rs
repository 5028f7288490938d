//! The native backend: ring.
//!
//! The one file of this crate that names ring, but for a test of `ed25519.rs`. ring does not wipe a key's memory when it is dropped; `docs/SECURITY.md` says what that means.
//!
//! ring's keys have room for whatever cipher needs the most, 544 bytes in the place of 32, and a session has two for as long as it
//! lives. So the 32 bytes are kept, and ring's key is made of them for each record.

use core::fmt;

use ring::{aead, digest, hkdf, signature};

use super::{Forged, Secret, SignatureAlgorithm, TAG_LEN, ed25519};

/// A ChaCha20-Poly1305 key (RFC 8439). The caller answers for never using a nonce twice.
pub struct AeadKey(Secret);

impl AeadKey {
    /// Takes a 256-bit key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Secret::new(*key))
    }

    fn key(&self) -> aead::LessSafeKey {
        let key = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, self.0.expose());
        aead::LessSafeKey::new(key.expect("a ChaCha20-Poly1305 key has 32 bytes"))
    }

    /// Encrypts in place and returns the tag.
    #[must_use]
    pub fn seal(&self, nonce: [u8; 12], ad: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        let tag = self
            .key()
            .seal_in_place_separate_tag(aead::Nonce::assume_unique_for_key(nonce), aead::Aad::from(ad), data)
            .expect("ring refuses only inputs of 256 GiB and more");
        let mut out = [0; TAG_LEN];
        out.copy_from_slice(tag.as_ref());
        out
    }

    /// Decrypts in place.
    ///
    /// # Errors
    /// [`Forged`] if the tag does not fit; `data` is then worthless.
    pub fn open(&self, nonce: [u8; 12], ad: &[u8], data: &mut [u8], tag: [u8; TAG_LEN]) -> Result<(), Forged> {
        let (nonce, ad) = (aead::Nonce::assume_unique_for_key(nonce), aead::Aad::from(ad));
        self.key().open_in_place_separate_tag(nonce, ad, tag.into(), data, 0..).map(|_| ()).map_err(|_| Forged)
    }
}

impl fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AeadKey(..)")
    }
}

/// SHA-256 (FIPS 180-4).
#[derive(Clone)]
pub struct Sha256(digest::Context);

impl Sha256 {
    /// Starts a hash.
    #[must_use]
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Adds data.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The hash of everything added.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
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
    hkdf::Salt::new(hkdf::HKDF_SHA256, &[])
        .extract(key_material)
        .expand(&[info], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut out))
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
        // The 0x04 that ends the prefix is the first byte of the point.
        SignatureAlgorithm::EcdsaP256 => spki.get(prefix.len() - 1..).is_some_and(|key| {
            let key = signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, key);
            key.verify(message, signature).is_ok()
        }),
    }
}
