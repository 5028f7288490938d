//! Values that neither print nor linger.

use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::hkdf_sha256;

/// 32 secret bytes: a pre-shared key or a private key. Wiped when dropped, hidden from `Debug`, compared in constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// The pre-shared key of a handshake in which neither side offers one.
    pub const NONE: Self = Self([0; 32]);

    /// Wraps the bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes themselves. Whoever copies them out answers for wiping the copy.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Length of [`Randomness`] in bytes: 32 for the X25519 ephemeral, 64 for ML-KEM, 32 for the server's nonce or a session's birth.
pub const RANDOMNESS_LEN: usize = 128;

/// All the randomness that one handshake consumes. The driver fills it from the operating system's generator, once for
/// each handshake; it is moved, so that it cannot be used twice.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Randomness([u8; RANDOMNESS_LEN]);

impl Randomness {
    /// Wraps bytes that must be uniformly random and never used before.
    #[must_use]
    pub const fn new(bytes: [u8; RANDOMNESS_LEN]) -> Self {
        Self(bytes)
    }

    /// What snow draws: the ephemeral key, then the seed `d ‖ z` of an encapsulation key (FIPS 203, algorithm 16).
    pub(crate) fn for_noise(&self) -> &[u8] {
        &self.0[..96]
    }

    /// The message `m` of an encapsulation (FIPS 203, algorithm 17). Client and server draw different parts of the same
    /// 64 bytes because a client never encapsulates and a server never generates.
    pub(crate) fn for_encapsulation(&self) -> [u8; 32] {
        part::<32>(&self.0)
    }

    /// The birth of the client's session, if it has none yet.
    pub(crate) fn for_birth(&self) -> [u8; 16] {
        *part::<96>(&self.0).first_chunk().expect("32 bytes hold 16")
    }

    /// For a second M1 of the same connection, which the server may ask for.
    pub(crate) fn again(&self) -> Self {
        let mut again = Self(self.0);
        for part in again.0.as_chunks_mut().0 {
            *part = hkdf_sha256(part, b"again");
        }
        again
    }

    /// What a server under pressure wants to see in M1.
    pub(crate) fn for_freshness(&self) -> [u8; 16] {
        let hash = hkdf_sha256(&part::<96>(&self.0), b"freshness");
        *hash.first_chunk().expect("32 bytes hold 16")
    }

    /// The server's nonce in M2.
    pub(crate) fn for_nonce(&self) -> [u8; 32] {
        part::<96>(&self.0)
    }
}

impl fmt::Debug for Randomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Randomness(..)")
    }
}

/// The 32 bytes that start at `AT`.
fn part<const AT: usize>(bytes: &[u8; RANDOMNESS_LEN]) -> [u8; 32] {
    const { assert!(AT + 32 <= RANDOMNESS_LEN) };
    core::array::from_fn(|index| bytes.get(AT + index).copied().expect("AT + 32 is within the array"))
}
