//! ML-KEM-768 (FIPS 203) for the Noise engine, on the `ml-kem` crate.

use core::fmt;

use alloc::boxed::Box;

use ml_kem::{
    DecapsulationKey, EncapsulationKey, MlKem768 as Parameters,
    kem::{Decapsulate, KeyExport},
};
use snow::types::{Kem, Random};
use zeroize::{Zeroize, Zeroizing};

/// Length of an encapsulation key in bytes.
pub(crate) const ENCAPSULATION_KEY_LEN: usize = 1184;
/// Length of a ciphertext in bytes.
pub(crate) const CIPHERTEXT_LEN: usize = 1088;

/// One side of one ML-KEM-768 exchange: a client generates and decapsulates, a server encapsulates.
pub struct MlKem768 {
    pair: Option<Box<(DecapsulationKey<Parameters>, [u8; ENCAPSULATION_KEY_LEN])>>,
    message: Zeroizing<[u8; 32]>,
}

impl MlKem768 {
    /// `message` is the randomness of an encapsulation; a side that only decapsulates never uses it.
    #[must_use]
    pub fn new(message: [u8; 32]) -> Self {
        Self { pair: None, message: Zeroizing::new(message) }
    }

    /// Makes the key pair of the seed `d ‖ z`.
    pub fn set_seed(&mut self, seed: [u8; 64]) {
        let mut seed = ml_kem::Seed::from(seed);
        let decapsulation = DecapsulationKey::from_seed(seed);
        seed.zeroize();
        let mut public = [0; ENCAPSULATION_KEY_LEN];
        public.copy_from_slice(&decapsulation.encapsulation_key().to_bytes());
        self.pair = Some(Box::new((decapsulation, public)));
    }
}

impl fmt::Debug for MlKem768 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MlKem768(..)")
    }
}

impl Kem for MlKem768 {
    fn name(&self) -> &'static str {
        "MLKEM768"
    }

    fn pub_len(&self) -> usize {
        ENCAPSULATION_KEY_LEN
    }

    fn ciphertext_len(&self) -> usize {
        CIPHERTEXT_LEN
    }

    fn shared_secret_len(&self) -> usize {
        32
    }

    /// The trait gives no way to fail. Without randomness no key is made, and the all-zero public key that `pubkey` then
    /// returns opens nothing: the handshake dies at `decapsulate`.
    fn generate(&mut self, rng: &mut dyn Random) {
        let mut seed = Zeroizing::new([0; 64]);
        match rng.try_fill_bytes(seed.as_mut()) {
            Ok(()) => self.set_seed(*seed),
            Err(_) => self.pair = None,
        }
    }

    fn pubkey(&self) -> &[u8] {
        self.pair.as_ref().map_or(&[0; ENCAPSULATION_KEY_LEN], |pair| &pair.1)
    }

    /// Refuses a malformed key (FIPS 203, 7.2: the modulus check).
    fn encapsulate(
        &self,
        pubkey: &[u8],
        shared_secret_out: &mut [u8],
        ciphertext_out: &mut [u8],
    ) -> Result<(usize, usize), snow::Error> {
        let key = ml_kem::kem::Key::<EncapsulationKey<Parameters>>::try_from(pubkey).map_err(|_| snow::Error::Kem)?;
        let key = EncapsulationKey::<Parameters>::new(&key).map_err(|_| snow::Error::Kem)?;
        let (ciphertext, mut shared) = key.encapsulate_deterministic(&(*self.message).into());
        let (Some(shared_out), Some(ciphertext_out)) =
            (shared_secret_out.get_mut(..32), ciphertext_out.get_mut(..CIPHERTEXT_LEN))
        else {
            return Err(snow::Error::Kem);
        };
        shared_out.copy_from_slice(&shared);
        ciphertext_out.copy_from_slice(&ciphertext);
        shared.zeroize();
        Ok((32, CIPHERTEXT_LEN))
    }

    fn decapsulate(&self, ciphertext: &[u8], shared_secret_out: &mut [u8]) -> Result<usize, snow::Error> {
        let pair = self.pair.as_ref().ok_or(snow::Error::Kem)?;
        let ciphertext = ml_kem::Ciphertext::<Parameters>::try_from(ciphertext).map_err(|_| snow::Error::Kem)?;
        let mut shared = pair.0.decapsulate(&ciphertext);
        shared_secret_out.get_mut(..32).ok_or(snow::Error::Kem)?.copy_from_slice(&shared);
        shared.zeroize();
        Ok(32)
    }
}
