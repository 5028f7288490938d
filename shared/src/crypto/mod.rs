//! Adapters between the Noise engine (snow) and the libraries that do the cryptography. No cryptography of our own.
//!
//! ```text
//! noise.rs ──► Resolver ──► dh.rs   x25519-dalek           ┐ or graviola (graviola.rs), natively and where the
//!                      ├──► kem.rs  ml-kem, libcrux-ml-kem ┘ processor has what that needs
//!                      └──► backend: ring natively (ring.rs), RustCrypto on wasm32 (rustcrypto.rs)
//!                              └──► ed25519.rs  ed25519-dalek
//! ```
//!
//! The two backends have the same items: [`AeadKey`], [`Sha256`], [`hkdf_sha256`], [`verify`]. Randomness is an argument
//! ([`Randomness`]), so nothing here asks the operating system for anything.

mod dh;
mod ed25519;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod graviola;
mod kem;
mod resolver;
mod secret;

#[cfg(not(target_arch = "wasm32"))]
#[path = "ring.rs"]
mod backend;
#[cfg(target_arch = "wasm32")]
#[path = "rustcrypto.rs"]
mod backend;

pub use backend::{AeadKey, Sha256, hkdf_sha256, verify};
pub use kem::MlKem768;
pub use resolver::Resolver;
pub use secret::{RANDOMNESS_LEN, Randomness, Secret};

use thiserror::Error;

/// Bytes of an AEAD authentication tag (RFC 8439).
pub const TAG_LEN: usize = 16;

/// A ciphertext that its key did not make. Says nothing more, so that it can tell an attacker nothing more.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the ciphertext does not authenticate")]
pub struct Forged;

/// How a device signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SignatureAlgorithm {
    /// Ed25519 (RFC 8032).
    Ed25519 = 1,
    /// ECDSA over P-256 with SHA-256; the signature is `r ‖ s`, as WebCrypto makes it (IEEE P1363).
    EcdsaP256 = 2,
}

impl SignatureAlgorithm {
    /// The algorithm of a wire byte.
    #[must_use]
    pub const fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Ed25519),
            2 => Some(Self::EcdsaP256),
            _ => None,
        }
    }

    /// Everything of a `SubjectPublicKeyInfo` (RFC 5280, 4.1) that comes before the raw key. The DER of both algorithms
    /// is constant up to the key, so that a comparison is a complete parser.
    #[must_use]
    pub const fn spki_prefix(self) -> &'static [u8] {
        match self {
            // RFC 8410, section 4.
            Self::Ed25519 => &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00],
            // RFC 5480: id-ecPublicKey, secp256r1; 0x04 says that the point is not compressed.
            Self::EcdsaP256 => &[
                0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
                0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
            ],
        }
    }

    /// Length of the whole `SubjectPublicKeyInfo` in bytes.
    #[must_use]
    pub const fn spki_len(self) -> usize {
        self.spki_prefix().len()
            + match self {
                Self::Ed25519 => 32,
                Self::EcdsaP256 => 64,
            }
    }

    /// Length of a signature in bytes: 64 for both.
    #[must_use]
    pub const fn signature_len(self) -> usize {
        64
    }
}

/// Whether X25519 and ML-KEM-768's encapsulation are graviola's here: natively, where the processor has what it needs.
#[must_use]
pub fn has_graviola() -> bool {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    let is_there = graviola::is_there();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let is_there = false;
    is_there
}

/// SHA-256 of one piece.
#[must_use]
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(data);
    hash.finish()
}

/// A Noise nonce as ChaCha20-Poly1305 takes it: 32 zero bits, then the counter, little-endian (Noise spec, section 12.3).
pub(crate) const fn chacha_nonce(counter: u64) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = counter.to_le_bytes();
    [0, 0, 0, 0, a, b, c, d, e, f, g, h]
}
