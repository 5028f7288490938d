//! ML-KEM-768 (FIPS 203) for the Noise engine, on the `ml-kem` crate. What a server does for each handshake, to encapsulate, is
//! natively done by graviola (`graviola.rs`) where that is there, else by `libcrux-ml-kem`.

use core::fmt;

use alloc::boxed::Box;

#[cfg(any(test, target_arch = "wasm32"))]
use ml_kem::EncapsulationKey;
use ml_kem::{
    DecapsulationKey, MlKem768 as Parameters,
    kem::{Decapsulate, KeyExport},
};
use snow::types::{Kem, Random};
use zeroize::{Zeroize, Zeroizing};

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::graviola;

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
        // Only a server does.
        if cfg!(not(feature = "server")) {
            return Err(snow::Error::Kem);
        }
        let pubkey = pubkey.try_into().map_err(|_| snow::Error::Kem)?;
        let (ciphertext, shared) = encapsulate(pubkey, &self.message).ok_or(snow::Error::Kem)?;
        let (Some(shared_out), Some(ciphertext_out)) =
            (shared_secret_out.get_mut(..32), ciphertext_out.get_mut(..CIPHERTEXT_LEN))
        else {
            return Err(snow::Error::Kem);
        };
        shared_out.copy_from_slice(shared.as_ref());
        ciphertext_out.copy_from_slice(&ciphertext);
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

/// A ciphertext, and the secret in it.
pub(super) type Encapsulated = ([u8; CIPHERTEXT_LEN], Zeroizing<[u8; 32]>);

/// A secret for the owner of this key; none if the key is malformed.
#[cfg(not(target_arch = "wasm32"))]
fn encapsulate(key: &[u8; ENCAPSULATION_KEY_LEN], message: &[u8; 32]) -> Option<Encapsulated> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if graviola::is_there() {
        return graviola::encapsulate(key, message);
    }
    encapsulate_by_libcrux(key, message)
}

#[cfg(not(target_arch = "wasm32"))]
fn encapsulate_by_libcrux(key: &[u8; ENCAPSULATION_KEY_LEN], message: &[u8; 32]) -> Option<Encapsulated> {
    let key = libcrux_ml_kem::mlkem768::MlKem768PublicKey::from(key);
    if !libcrux_ml_kem::mlkem768::validate_public_key(&key) {
        return None;
    }
    let (ciphertext, shared) = libcrux_ml_kem::mlkem768::encapsulate(&key, *message);
    Some((ciphertext.into(), Zeroizing::new(shared)))
}

#[cfg(target_arch = "wasm32")]
use self::encapsulate_by_ml_kem as encapsulate;

#[cfg(any(test, target_arch = "wasm32"))]
fn encapsulate_by_ml_kem(key: &[u8; ENCAPSULATION_KEY_LEN], message: &[u8; 32]) -> Option<Encapsulated> {
    let key = EncapsulationKey::<Parameters>::new(&(*key).into()).ok()?;
    let (ciphertext, shared) = key.encapsulate_deterministic(&(*message).into());
    Some((ciphertext.into(), Zeroizing::new(shared.into())))
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    type Encapsulate = fn(&[u8; ENCAPSULATION_KEY_LEN], &[u8; 32]) -> Option<Encapsulated>;

    /// Those that this processor can have, with the one that is used.
    const ALL: [(&str, Encapsulate); 3] =
        [("what is used", encapsulate), ("libcrux-ml-kem", encapsulate_by_libcrux), ("ml-kem", encapsulate_by_ml_kem)];

    #[test]
    fn all_libraries_make_the_same_of_the_same_key_and_randomness() {
        let mut seed = [0; 64];
        for round in 0..200_u8 {
            seed[usize::from(round) % 64] ^= round.wrapping_mul(37) | 1;
            let mut owner = MlKem768::new([0; 32]);
            owner.set_seed(seed);
            let key: &[u8; ENCAPSULATION_KEY_LEN] = owner.pubkey().try_into().expect("the length of a key");
            let message = crate::crypto::sha256(&seed);
            let [one, others @ ..] = ALL.map(|(name, by)| (name, by(key, &message).expect("a sound key")));
            for (name, other) in others {
                assert!(one.1 == other, "round {round}: {name}");
            }
            let (ciphertext, shared) = one.1;
            let mut opened = [0; 32];
            owner.decapsulate(&ciphertext, &mut opened).expect("our own ciphertext");
            assert_eq!(opened, *shared, "round {round}");
        }
    }

    #[test]
    fn all_libraries_refuse_a_coefficient_that_is_not_reduced() {
        let mut owner = MlKem768::new([0; 32]);
        owner.set_seed([7; 64]);
        let key: [u8; ENCAPSULATION_KEY_LEN] = owner.pubkey().try_into().expect("the length of a key");
        // In each place of two twelve-bit coefficients; 3329 is the modulus.
        for (pair, value) in (0..384).flat_map(|pair| [3_328_u16, 3_329, 4_095].map(|value| (pair, value))) {
            let [low, high] = value.to_le_bytes();
            let mut key = key;
            key[3 * pair] = low;
            key[3 * pair + 1] = key[3 * pair + 1] & 0xf0 | high;
            for (name, by) in ALL {
                assert_eq!(by(&key, &[1; 32]).is_none(), value >= 3_329, "{name}, pair {pair}, {value}");
            }
        }
    }
}
