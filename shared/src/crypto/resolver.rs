//! What snow asks for: the suite's primitives, and the randomness that the caller gave.

use core::fmt;

use alloc::{boxed::Box, vec::Vec};

use snow::{
    params::{CipherChoice, DHChoice, HashChoice, KemChoice},
    resolvers::CryptoResolver,
    types::{Cipher, Dh, Hash, Kem, Random},
};
use zeroize::Zeroizing;

use super::{AeadKey, MlKem768, Randomness, Sha256, TAG_LEN, chacha_nonce, dh::X25519};

/// Resolves `25519`, `MLKEM768`, `ChaChaPoly` and `SHA256`, and nothing else.
pub struct Resolver {
    randomness: Randomness,
    static_public: Option<[u8; 32]>,
}

impl Resolver {
    /// A resolver for one handshake. `static_public` is the public key of this end's static private key, where it is known.
    #[must_use]
    pub fn new(randomness: Randomness, static_public: Option<[u8; 32]>) -> Self {
        Self { randomness, static_public }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver(..)")
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Given { bytes: Zeroizing::new(self.randomness.for_noise().to_vec()), used: 0 }))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(X25519::empty(self.static_public)) as _)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256).then(|| Box::new(HashAdapter(Sha256::new())) as _)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly).then(|| Box::new(CipherAdapter(AeadKey::new(&[0; 32]))) as _)
    }

    /// `Kyber1024` is a selector here: snow has no name for ML-KEM-768, and the protocol's name is given apart.
    fn resolve_kem(&self, choice: &KemChoice) -> Option<Box<dyn Kem>> {
        match choice {
            KemChoice::Kyber1024 => Some(Box::new(MlKem768::new(self.randomness.for_encapsulation()))),
        }
    }
}

/// Randomness that was given, handed out once. Asking for more than there is fails: nothing is ever used twice.
struct Given {
    bytes: Zeroizing<Vec<u8>>,
    used: usize,
}

impl Random for Given {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        let end = self.used.checked_add(dest.len()).ok_or(snow::Error::Rng)?;
        dest.copy_from_slice(self.bytes.get(self.used..end).ok_or(snow::Error::Rng)?);
        self.used = end;
        Ok(())
    }
}

struct HashAdapter(Sha256);

impl Hash for HashAdapter {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Sha256::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let hash = core::mem::take(&mut self.0).finish();
        out.first_chunk_mut().map(|out| *out = hash).expect("snow gives room for a hash");
    }
}

struct CipherAdapter(AeadKey);

impl Cipher for CipherAdapter {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = AeadKey::new(key);
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (data, rest) = out.split_at_mut(plaintext.len());
        data.copy_from_slice(plaintext);
        let tag = self.0.seal(chacha_nonce(nonce), authtext, data);
        rest.first_chunk_mut().map(|out| *out = tag).expect("snow gives room for the tag");
        plaintext.len() + TAG_LEN
    }

    fn decrypt(&self, nonce: u64, authtext: &[u8], ciphertext: &[u8], out: &mut [u8]) -> Result<usize, snow::Error> {
        let (data, tag) = ciphertext.split_last_chunk::<TAG_LEN>().ok_or(snow::Error::Decrypt)?;
        let out = out.get_mut(..data.len()).ok_or(snow::Error::Decrypt)?;
        out.copy_from_slice(data);
        if self.0.open(chacha_nonce(nonce), authtext, out, *tag).is_err() {
            // A failed read leaves nothing of what it read.
            out.fill(0);
            return Err(snow::Error::Decrypt);
        }
        Ok(data.len())
    }
}
