//! The owner's key pair, by which a server's keys are signed. Its file is the owner's, and kept elsewhere than the state directory.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use duologue::{KeyStatement, OwnerKey, ServerKey};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{StateError, write_private};

/// Why there is no such pair, or it does not sign.
#[derive(Debug, Error)]
pub enum OwnersPairError {
    /// Its file.
    #[error(transparent)]
    File(#[from] StateError),
    /// It has something else.
    #[error("{} is no key of `duologue keys init`, or is damaged: name the one that it made", .0.display())]
    NoPair(PathBuf),
    /// None can be made, and nothing signed.
    #[error("the operating system gives no randomness")]
    NoRandomness,
}

/// The owner's key pair: ECDSA over P-256.
pub struct OwnersPair(EcdsaKeyPair);

impl OwnersPair {
    /// A new one, in a file that is not there yet: as PKCS #8 (RFC 5958), for its owner alone.
    ///
    /// # Errors
    /// If the file is there, or cannot be written.
    pub fn make(file: &Path) -> Result<Self, OwnersPairError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let pkcs8 = pkcs8.map_err(|_| OwnersPairError::NoRandomness)?;
        write_private(file, pkcs8.as_ref())?;
        Self::of(file, pkcs8.as_ref())
    }

    /// That of a file.
    ///
    /// # Errors
    /// If it cannot be read, or has something else.
    pub fn open(file: &Path) -> Result<Self, OwnersPairError> {
        let read = fs::read(file).map(Zeroizing::new);
        let failed = |source| StateError::Io { verb: "read", path: file.to_owned(), source };
        Self::of(file, &read.map_err(failed)?)
    }

    fn of(file: &Path, pkcs8: &[u8]) -> Result<Self, OwnersPairError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &SystemRandom::new());
        pair.map(Self).map_err(|_| OwnersPairError::NoPair(file.to_owned()))
    }

    /// Says that this is the newest of a server's keys.
    ///
    /// # Errors
    /// If there is no randomness.
    ///
    /// # Panics
    /// Never: points and signatures of P-256 have these lengths.
    pub fn sign(&self, number: u32, key: ServerKey) -> Result<KeyStatement, OwnersPairError> {
        let signed = self.0.sign(&SystemRandom::new(), &KeyStatement::message(number, &key));
        let signature = signed.map_err(|_| OwnersPairError::NoRandomness)?;
        let signature = signature.as_ref().try_into().expect("64 bytes");
        // Behind the 0x04 that says that the point is whole.
        let owner = self.0.public_key().as_ref()[1..].try_into().expect("64 bytes");
        Ok(KeyStatement { owner: OwnerKey(owner), number, key, signature })
    }
}

impl fmt::Debug for OwnersPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnersPair(..)")
    }
}
