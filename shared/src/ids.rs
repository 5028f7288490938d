//! A type for each id, so that none is taken for another.

use core::{fmt, str::FromStr};

use alloc::string::{String, ToString};

use base64ct::{Base64UrlUnpadded, Encoding};
use thiserror::Error;

use crate::crypto::sha256;

/// Text that is no id of the kind asked for.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected {expected} bytes as base64url without padding")]
pub struct InvalidId {
    /// Bytes that this kind of id has.
    pub expected: usize,
}

macro_rules! byte_ids {
    ($($(#[$doc:meta])* $name:ident, $len:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&Base64UrlUnpadded::encode_string(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let bytes = Base64UrlUnpadded::decode_vec(text).ok();
                bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(InvalidId { expected: $len })
            }
        }
    )*};
}

byte_ids! {
    /// A server's public key (X25519): its identity, and what a client pins.
    ServerKey, 32;
    /// The key of a server's owner (P-256, x ‖ y), by which server keys are signed.
    OwnerKey, 64;
    /// Which of a server's keys an M1 is for: the first 8 bytes of SHA-256 of the key.
    ServerKeyId, 8;
    /// A device: SHA-256 of its `SubjectPublicKeyInfo`.
    DeviceId, 32;
    /// An invite, as M1 names it: `HKDF(secret, "id")[..16]`.
    InviteId, 16;
    /// A ticket, as M1 names it.
    TicketId, 16;
    /// A session, as its client names it before the server has: 16 random bytes, made with the first AUTH.
    Birth, 16;
    /// A session.
    SessionId, 16;
}

impl ServerKey {
    /// The id by which M1 names this key.
    #[must_use]
    pub fn id(&self) -> ServerKeyId {
        let [a, b, c, d, e, f, g, h, ..] = sha256(&self.0);
        ServerKeyId([a, b, c, d, e, f, g, h])
    }

    /// The short form that two people compare.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&sha256(&self.0))
    }
}

impl DeviceId {
    /// The id of a device by its public key.
    #[must_use]
    pub fn of_spki(spki: &[u8]) -> Self {
        Self(sha256(spki))
    }

    /// The short form that two people compare.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.0)
    }
}

/// The first 128 bits of a hash as 8 groups of 4 hexadecimal digits.
fn fingerprint(hash: &[u8; 32]) -> String {
    let groups = hash.as_chunks::<2>().0.iter().take(8);
    let mut text = String::new();
    for (index, [high, low]) in groups.enumerate() {
        if index > 0 {
            text.push(' ');
        }
        let digits = [high >> 4, high & 15, low >> 4, low & 15];
        text.extend(digits.into_iter().filter_map(|digit| char::from_digit(u32::from(digit), 16)));
    }
    text
}

/// A channel within its session. The opener's role is in the lowest bit: 0 the client, 1 the server. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub u32);

impl fmt::Debug for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelId({})", self.0)
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_string())
    }
}
