//! Invite links: the way in for a device that the server has never seen.
//!
//! ```text
//! https://host/#i=<base64url of 32 random bytes>.<base64url of the server's public key>
//! ```
//!
//! The fragment never leaves the browser by itself. On the wire only `id` shows (inside M1, sealed to the server's key);
//! `psk` goes into the handshake's keys. Who consumed which invite is the server's business (`docs/PROTOCOL.md`, "Invites").

use alloc::{format, string::String};

use base64ct::{Base64UrlUnpadded, Encoding};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    crypto::{Secret, hkdf_sha256},
    ids::{InviteId, ServerKey},
    limits::INVITE_SECRET_LEN,
};

/// A secret to be used once, and the server that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    secret: Secret,
    server_key: ServerKey,
}

/// A link with something in the invite's place that is no invite.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum InvalidInvite {
    /// The fragment does not start with `i=`.
    #[error("the link has no invite: it should end in #i=<invite>.<server key>")]
    Missing,
    /// The invite's parts are not what they should be, as when a link was cut in two.
    #[error("the link's invite is damaged: copy the whole link again, to its last character")]
    Damaged,
}

impl Invite {
    /// An invite of 32 random bytes.
    #[must_use]
    pub const fn new(secret: [u8; INVITE_SECRET_LEN], server_key: ServerKey) -> Self {
        Self { secret: Secret::new(secret), server_key }
    }

    /// Reads the invite out of a link, or of its fragment alone.
    ///
    /// # Errors
    /// [`InvalidInvite::Missing`] if there is none, [`InvalidInvite::Damaged`] if it is not whole.
    pub fn from_link(link: &str) -> Result<Self, InvalidInvite> {
        let fragment = link.split_once('#').map_or(link, |(_, fragment)| fragment);
        let (secret, server_key) =
            fragment.strip_prefix("i=").ok_or(InvalidInvite::Missing)?.split_once('.').ok_or(InvalidInvite::Damaged)?;
        let bytes = Zeroizing::new(Base64UrlUnpadded::decode_vec(secret).map_err(|_| InvalidInvite::Damaged)?);
        let secret = <[u8; INVITE_SECRET_LEN]>::try_from(bytes.as_slice()).map_err(|_| InvalidInvite::Damaged)?;
        Ok(Self::new(secret, server_key.parse().map_err(|_| InvalidInvite::Damaged)?))
    }

    /// The link under a server's address, such as `https://localhost:8443`.
    #[must_use]
    pub fn to_link(&self, address: &str) -> String {
        let secret = Zeroizing::new(Base64UrlUnpadded::encode_string(self.secret.expose()));
        format!("{}/#i={}.{}", address.trim_end_matches('/'), *secret, self.server_key)
    }

    /// The server that made it.
    #[must_use]
    pub const fn server_key(&self) -> ServerKey {
        self.server_key
    }

    /// What M1 calls it.
    #[must_use]
    pub fn id(&self) -> InviteId {
        let hash = hkdf_sha256(self.secret.expose(), b"id");
        let mut id = [0; 16];
        id.copy_from_slice(hash.first_chunk::<16>().expect("a hash has 32 bytes"));
        InviteId(id)
    }

    /// The pre-shared key of the handshake.
    #[must_use]
    pub fn psk(&self) -> Secret {
        Secret::new(hkdf_sha256(self.secret.expose(), b"psk"))
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn a_link_survives_the_round_trip() {
        let invite = Invite::new([7; 32], ServerKey([9; 32]));
        let link = invite.to_link("https://localhost:8443/");
        assert!(link.starts_with("https://localhost:8443/#i="), "{link}");
        assert_eq!(Invite::from_link(&link), Ok(invite.clone()));
        assert_eq!(Invite::from_link(link.split_once('#').expect("it has a fragment").1), Ok(invite));
    }

    #[test]
    fn a_link_cut_anywhere_says_so() {
        let link = Invite::new([7; 32], ServerKey([9; 32])).to_link("https://host");
        let start = "https://host/#i=".len();
        for end in start..link.len() {
            assert_eq!(Invite::from_link(&link[..end]), Err(InvalidInvite::Damaged), "cut at {end}");
        }
        assert_eq!(Invite::from_link("https://host/#chapter"), Err(InvalidInvite::Missing));
        assert_eq!(Invite::from_link("https://host/"), Err(InvalidInvite::Missing));
    }

    #[test]
    fn the_secret_does_not_print() {
        let printed = format!("{:?}", Invite::new([7; 32], ServerKey([9; 32])));
        assert!(printed.contains("Secret(..)"), "{printed}");
    }
}
