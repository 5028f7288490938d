//! ChaCha20-Poly1305 (RFC 8439) for the core as WebAssembly: RustCrypto's, behind functions that are not generic.
//!
//! Generic code is compiled by the crate that uses it, with that crate's optimisation, and keeps that through link-time
//! optimisation. The core is built for size; the loops over a record's bytes must not be, so they are instantiated here, and
//! the profile gives this crate `opt-level = 3`. For the same reason nothing here is inlined into its callers. What it does not
//! do: it neither chooses nonces nor counts records.

#![no_std]

use core::fmt;

use chacha20poly1305::{
    ChaCha20Poly1305,
    aead::{AeadInOut, KeyInit},
};

/// A key, wiped when it is dropped. The caller answers for never using a nonce twice.
pub struct Key(ChaCha20Poly1305);

impl Key {
    /// Takes a 256-bit key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(ChaCha20Poly1305::new(key.into()))
    }

    /// Encrypts in place and returns the tag.
    ///
    /// # Panics
    /// If `data` has 256 GiB or more, which no address space of this target holds.
    #[inline(never)]
    #[must_use]
    pub fn seal(&self, nonce: [u8; 12], ad: &[u8], data: &mut [u8]) -> [u8; 16] {
        self.0
            .encrypt_inout_detached(&nonce.into(), ad, data.into())
            .expect("ChaCha20-Poly1305 refuses only inputs of 256 GiB and more")
            .into()
    }

    /// Decrypts in place. False if the tag does not fit; `data` is then worthless.
    #[inline(never)]
    #[must_use]
    pub fn open(&self, nonce: [u8; 12], ad: &[u8], data: &mut [u8], tag: [u8; 16]) -> bool {
        self.0.decrypt_inout_detached(&nonce.into(), ad, data.into(), &tag.into()).is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}
