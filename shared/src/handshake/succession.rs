//! What a server's owner says of its keys: which one is the newest, signed by a key of the owner's own. A client that knows the
//! owner's key follows from the older server key to the newer, without a new link.
//!
//! ```text
//! KEYS  owner's key 64 ‖ number 4 ‖ server key 32 ‖ signature 64 ‖ came by 4      in AUTH_OK, behind standing; zeros if there are none
//! signed: "duologue/1 server-key" 0x00 ‖ number 4 ‖ server key 32                 ECDSA over P-256 with SHA-256, r ‖ s
//! ```
//!
//! P-256, because every browser's WebCrypto verifies it.

use alloc::vec::Vec;

use crate::{
    codec::Reader,
    crypto::{SignatureAlgorithm, verify},
    error::InvalidMessage,
    ids::{OwnerKey, ServerKey},
};

/// What is signed begins so, and is thereby never taken for anything else.
const CONTEXT: &[u8] = b"duologue/1 server-key\0";

/// The newest of a server's keys, as its owner has signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatement {
    /// By whose key: a client keeps to the one that it has heard of first.
    pub owner: OwnerKey,
    /// Which of the server's keys it is, from 1. It only rises.
    pub number: u32,
    /// The key.
    pub key: ServerKey,
    /// The owner's, over [`Self::message`].
    pub signature: [u8; 64],
}

impl KeyStatement {
    /// What the owner signs.
    #[must_use]
    pub fn message(number: u32, key: &ServerKey) -> Vec<u8> {
        [CONTEXT, &number.to_be_bytes(), &key.0].concat()
    }

    /// Whether it is signed by the owner whom it names.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        let spki = [SignatureAlgorithm::EcdsaP256.spki_prefix(), &self.owner.0].concat();
        verify(SignatureAlgorithm::EcdsaP256, &spki, &Self::message(self.number, &self.key), &self.signature)
    }
}

/// The same as a server tells it with AUTH_OK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldKeys {
    /// Of the newest key.
    pub newest: KeyStatement,
    /// The number of the key for which this connection was made.
    pub came_by: u32,
}

impl ToldKeys {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let KeyStatement { owner, number, key, signature } = &self.newest;
        out.extend_from_slice(&owner.0);
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&key.0);
        out.extend_from_slice(signature);
        out.extend_from_slice(&self.came_by.to_be_bytes());
    }

    /// None if there are none, as of a server without an owner's key, or of before there were any.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Option<Self>, InvalidMessage> {
        let (owner, number) = (OwnerKey(reader.array()?), reader.u32()?);
        let (key, signature) = (ServerKey(reader.array()?), reader.array()?);
        let newest = KeyStatement { owner, number, key, signature };
        let told = Self { newest, came_by: reader.u32()? };
        Ok(Some(told).filter(|_| number > 0))
    }
}

/// What a client knows of a server's keys, and how that changes. The older key is never tried again once the newer has worked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKeys {
    /// The one that has worked last.
    pub key: ServerKey,
    /// One that its owner has signed, and that has not worked yet: it is tried first.
    pub next: Option<ServerKey>,
    /// The owner, once heard of, and the highest number.
    pub owner: Option<(OwnerKey, u32)>,
    /// Keys that there were before, the last one last: a link that names one of them is old, and not another server's.
    pub past: Vec<ServerKey>,
}

/// How many of those are kept.
const PAST_MAX: usize = 8;

impl KnownKeys {
    /// Of a server of which a link has said the key, and nobody anything more.
    #[must_use]
    pub const fn of(key: ServerKey) -> Self {
        Self { key, next: None, owner: None, past: Vec::new() }
    }

    /// The one to dial by.
    #[must_use]
    pub fn first(&self) -> ServerKey {
        self.next.unwrap_or(self.key)
    }

    /// The one to try where the first does not work.
    #[must_use]
    pub fn second(&self) -> Option<ServerKey> {
        self.next.map(|_| self.key)
    }

    /// Whether a key is one of this server's, of now or of before.
    #[must_use]
    pub fn has(&self, key: ServerKey) -> bool {
        self.key == key || self.next == Some(key) || self.past.contains(&key)
    }

    /// Takes what an owner has signed, if it is the owner who was heard of first, and no older than what is known. `has_worked`: a
    /// connection was made for that very key. False if it is not taken.
    pub fn learn(&mut self, told: &KeyStatement, has_worked: bool) -> bool {
        let is_his = self.owner.is_none_or(|(owner, number)| owner == told.owner && told.number >= number);
        let is_same = self.owner.is_none_or(|(_, number)| number != told.number) || self.has(told.key);
        if !is_his || !is_same || !told.is_signed() {
            return false;
        }
        self.owner = Some((told.owner, told.number));
        if self.key == told.key {
            self.next = None;
        } else if has_worked {
            let older = core::mem::replace(&mut self.key, told.key);
            self.next = None;
            self.past.retain(|past| *past != older);
            self.past.push(older);
            let too_many = self.past.len().saturating_sub(PAST_MAX);
            self.past.drain(..too_many);
        } else {
            self.next = Some(told.key);
        }
        true
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
    };

    use super::*;

    struct Owner(EcdsaKeyPair);

    impl Owner {
        fn new() -> Self {
            let (algorithm, chance) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &chance).expect("randomness");
            Self(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &chance).expect("a key"))
        }

        fn signs(&self, number: u32, key: u8) -> KeyStatement {
            let key = ServerKey([key; 32]);
            let signature = self.0.sign(&SystemRandom::new(), &KeyStatement::message(number, &key)).expect("it signs");
            let owner = OwnerKey(self.0.public_key().as_ref()[1..].try_into().expect("64 bytes"));
            KeyStatement { owner, number, key, signature: signature.as_ref().try_into().expect("64 bytes") }
        }
    }

    #[test]
    fn a_newer_key_is_tried_first_and_the_older_never_again_once_it_has_worked() {
        let (owner, mut known) = (Owner::new(), KnownKeys::of(ServerKey([1; 32])));
        let key = |byte| ServerKey([byte; 32]);
        assert!(known.learn(&owner.signs(1, 1), true));
        assert_eq!((known.first(), known.second()), (key(1), None));
        assert!(known.learn(&owner.signs(2, 2), false));
        assert_eq!((known.first(), known.second()), (key(2), Some(key(1))));
        // Once more, before it has worked.
        assert!(known.learn(&owner.signs(2, 2), false));
        assert!(known.learn(&owner.signs(2, 2), true));
        assert_eq!((known.first(), known.second(), &*known.past), (key(2), None, &[key(1)][..]));
        // Numbers only rise, and one number is one key.
        let before = known.clone();
        assert!(!known.learn(&owner.signs(1, 1), true));
        assert!(!known.learn(&owner.signs(2, 7), true));
        assert_eq!(known, before);
        // Who slept through one follows to the next but one.
        assert!(known.learn(&owner.signs(4, 4), false));
        assert!(known.learn(&owner.signs(5, 5), false));
        assert_eq!((known.first(), known.second()), (key(5), Some(key(2))));
        for (byte, is_its) in [(1, true), (2, true), (5, true), (7, false)] {
            assert_eq!(known.has(key(byte)), is_its, "{byte}");
        }
    }

    #[test]
    fn nobody_but_the_owner_who_was_heard_of_first_leads_to_another_key() {
        let (owner, other) = (Owner::new(), Owner::new());
        let mut known = KnownKeys::of(ServerKey([1; 32]));
        assert!(known.learn(&owner.signs(1, 1), true));
        let before = known.clone();
        assert!(!known.learn(&other.signs(2, 2), true), "another owner");
        let good = owner.signs(2, 2);
        assert!(!known.learn(&KeyStatement { owner: other.signs(2, 2).owner, ..good.clone() }, true));
        assert!(!known.learn(&KeyStatement { number: 3, ..good.clone() }, true));
        assert!(!known.learn(&KeyStatement { key: ServerKey([3; 32]), ..good.clone() }, true));
        for bit in 0..512 {
            let mut signature = good.signature;
            signature[bit / 8] ^= 1 << (bit % 8);
            assert!(!known.learn(&KeyStatement { signature, ..good.clone() }, true), "{bit}");
        }
        assert_eq!(known, before);
        let mut unpinned = KnownKeys::of(ServerKey([1; 32]));
        assert!(!unpinned.learn(&KeyStatement { number: 3, ..good }, true), "not signed at all");
        assert_eq!(unpinned.owner, None);
    }

    #[test]
    fn what_is_told_is_read_as_it_was_written_and_zeros_are_nothing() {
        let told = ToldKeys { newest: Owner::new().signs(7, 3), came_by: 6 };
        let mut out = Vec::new();
        told.encode(&mut out);
        assert_eq!(out.len(), crate::limits::KEYS_LEN);
        assert_eq!(ToldKeys::decode(&mut Reader::new(&out)), Ok(Some(told)));
        assert_eq!(ToldKeys::decode(&mut Reader::new(&[0; crate::limits::KEYS_LEN])), Ok(None));
        assert_eq!(ToldKeys::decode(&mut Reader::new(&out[1..])), Err(InvalidMessage::Truncated));
    }
}
