//! The public key of a passkey, as authenticators write it: COSE (RFC 9052), and which of its algorithms are taken.
//!
//! ES256, EdDSA by Ed25519, and RS256 for older computers: what authenticators have. Another one, such as ML-DSA (−48 to −50, keys of
//! the kind 7), is refused by its number. The signature is ring's to judge.

use cbor4ii::core::{Value, dec::Decode, utils::SliceReader};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};

use crate::door::error::{DoorError, Refused};

/// The algorithms that are asked for, the best known first (IANA, COSE Algorithms).
pub(crate) const ALGORITHMS: [i64; 3] = [ES256, EDDSA, RS256];
const ES256: i64 = -7;
const EDDSA: i64 = -8;
const RS256: i64 = -257;

/// Labels of a key (RFC 9052, section 7.1; RFC 9053, section 7; RFC 8230, section 4).
const KIND: i128 = 1;
const ALGORITHM: i128 = 3;
const CURVE_OR_N: i128 = -1;
const X_OR_E: i128 = -2;
const Y: i128 = -3;

const KIND_OKP: i128 = 1;
const KIND_EC2: i128 = 2;
const KIND_RSA: i128 = 3;
const CURVE_P256: i128 = 1;
const CURVE_ED25519: i128 = 6;

/// An RSA key has 2,048 to 4,096 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=512;
/// More entries than any map of an authenticator has: they are compared with one another.
const ENTRIES_MAX: usize = 32;
/// More than any exponent that is in use.
const EXPONENT_BYTES_MAX: usize = 8;

/// A key that can verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PublicKey {
    /// The point, uncompressed.
    Es256([u8; 65]),
    EdDsa([u8; 32]),
    Rs256 {
        n: Vec<u8>,
        e: Vec<u8>,
    },
}

/// Reads one value of CBOR, and gives what follows it.
pub(super) fn read_cbor(bytes: &[u8]) -> Option<(Value, &[u8])> {
    let mut reader = SliceReader::new(bytes);
    let value = Value::decode(&mut reader).ok()?;
    let rest = cbor4ii::core::dec::Read::fill(&mut reader, bytes.len()).ok()?.as_ref().len();
    Some((value, bytes.get(bytes.len().checked_sub(rest)?..)?))
}

/// The entries of a map whose keys are all different.
pub(super) fn map(value: Value) -> Option<Vec<(Value, Value)>> {
    let Value::Map(entries) = value else { return None };
    let is_first = |(at, (key, _)): (usize, &(Value, Value))| entries.iter().take(at).all(|(other, _)| other != key);
    (entries.len() <= ENTRIES_MAX && entries.iter().enumerate().all(is_first)).then_some(entries)
}

impl PublicKey {
    /// Reads the key at the beginning of some bytes, and gives what follows it.
    ///
    /// # Errors
    /// If it is none, or of an algorithm that is not taken.
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, &[u8]), Refused> {
        let wrong = |what: &str| DoorError::PasskeyRefused.because(format!("its public key {what}"));
        let (value, rest) = read_cbor(bytes).ok_or_else(|| wrong("is no CBOR"))?;
        let entries = map(value).ok_or_else(|| wrong("is no map of different keys"))?;
        let find = |label: i128| entries.iter().find(|(key, _)| *key == Value::Integer(label)).map(|(_, value)| value);
        let number = |label| match find(label) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        };
        let bytes = |label| match find(label) {
            Some(Value::Bytes(bytes)) => Some(bytes.as_slice()),
            _ => None,
        };
        let exactly = |label| bytes(label).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let algorithm = number(ALGORITHM).ok_or_else(|| wrong("names no algorithm"))?;
        let known = ALGORITHMS.into_iter().find(|known| i128::from(*known) == algorithm);
        let key = match (known, number(KIND), number(CURVE_OR_N)) {
            (None, ..) => {
                return Err(
                    DoorError::PasskeyAlgorithm.because(format!("its algorithm is {algorithm}, as COSE numbers them"))
                );
            }
            (Some(ES256), Some(KIND_EC2), Some(CURVE_P256)) => {
                let (x, y) = exactly(X_OR_E).zip(exactly(Y)).ok_or_else(|| wrong("has no point of 32 bytes each"))?;
                let mut point = [0x04; 65];
                for (to, from) in point.iter_mut().skip(1).zip(x.into_iter().chain(y)) {
                    *to = from;
                }
                Self::Es256(point)
            }
            (Some(EDDSA), Some(KIND_OKP), Some(CURVE_ED25519)) => {
                Self::EdDsa(exactly(X_OR_E).ok_or_else(|| wrong("has no point of 32 bytes"))?)
            }
            (Some(RS256), Some(KIND_RSA), None) => {
                let (n, e) = bytes(CURVE_OR_N).zip(bytes(X_OR_E)).ok_or_else(|| wrong("has no modulus or exponent"))?;
                if !RSA_BYTES.contains(&n.len()) || e.is_empty() || e.len() > EXPONENT_BYTES_MAX {
                    return Err(wrong("is of another length than RSA has here"));
                }
                Self::Rs256 { n: n.to_vec(), e: e.to_vec() }
            }
            _ => return Err(wrong("is of another kind or curve than its algorithm's")),
        };
        Ok((key, rest))
    }

    /// By which it signs.
    pub(super) const fn algorithm(&self) -> i64 {
        match self {
            Self::Es256(_) => ES256,
            Self::EdDsa(_) => EDDSA,
            Self::Rs256 { .. } => RS256,
        }
    }

    /// Whether a signature is of this key over these bytes.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Es256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature),
            Self::EdDsa(point) => UnparsedPublicKey::new(&ED25519, point).verify(message, signature),
            Self::Rs256 { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
        }
        .is_ok()
    }
}
