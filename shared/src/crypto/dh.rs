//! X25519 (RFC 7748) for the Noise engine, on x25519-dalek.

use snow::types::{Dh, Random};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

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

    /// From a table of the base point's multiples.
    #[cfg(not(target_arch = "wasm32"))]
    fn derive(&self) -> [u8; 32] {
        PublicKey::from(&StaticSecret::from(*self.private)).to_bytes()
    }

    /// By the same ladder as an agreement, as RFC 7748, 6.1, has it: the page needs no Edwards arithmetic besides.
    #[cfg(target_arch = "wasm32")]
    fn derive(&self) -> [u8; 32] {
        x25519_dalek::x25519(*self.private, x25519_dalek::X25519_BASEPOINT_BYTES)
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
        let peer: [u8; 32] = pubkey.get(..32).and_then(|key| key.try_into().ok()).ok_or(snow::Error::Dh)?;
        let shared = StaticSecret::from(*self.private).diffie_hellman(&PublicKey::from(peer));
        if !shared.was_contributory() {
            return Err(snow::Error::Dh);
        }
        out.get_mut(..32).ok_or(snow::Error::Dh)?.copy_from_slice(shared.as_bytes());
        Ok(())
    }
}
