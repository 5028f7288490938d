//! What a server does in each handshake, in half the time: X25519 and ML-KEM-768 by graviola, on s2n-bignum's assembly.
//!
//! Only where [`is_there`] says so: everything else of graviola panics on a processor that lacks something. `dh.rs` and `kem.rs`
//! ask it, and have another library for everywhere else, which gives the same and refuses the same.

extern crate std;

use ::graviola::key_agreement::{
    mlkem768::{EncapKey, Message},
    x25519::{PublicKey, StaticPrivateKey},
};
use zeroize::Zeroizing;

use super::kem::{CIPHERTEXT_LEN, ENCAPSULATION_KEY_LEN, Encapsulated};

/// Whether this processor has what it needs: on x86-64 AES, AVX2, ADX, BMI1 and PCLMULQDQ, on AArch64 AES, SHA-2 and PMULL.
///
/// ADX is asked for here too. A graviola that was built for valgrind, which hides it, does not; and cargo takes one that lies in
/// the build directory for as good as any.
pub(super) fn is_there() -> bool {
    #[cfg(target_arch = "x86_64")]
    if option_env!("VALGRIND_BUG_494162").is_none() && !std::is_x86_feature_detected!("adx") {
        return false;
    }
    ::graviola::util::is_cpu_supported()
}

/// The public key of an X25519 private key.
pub(super) fn public(private: &[u8; 32]) -> [u8; 32] {
    StaticPrivateKey::from_array(private).public_key().as_bytes()
}

/// The secret of a private key and a peer's public one; none if it is all zeros.
pub(super) fn agree(private: &[u8; 32], peer: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    let secret = StaticPrivateKey::from_array(private).diffie_hellman(&PublicKey::from_array(peer)).ok()?;
    Some(Zeroizing::new(secret.as_bytes()))
}

/// A secret for the owner of an ML-KEM-768 key; none if the key is malformed. That the randomness is an argument is no part of
/// graviola's documented interface: it is pinned to a release.
pub(super) fn encapsulate(key: &[u8; ENCAPSULATION_KEY_LEN], message: &[u8; 32]) -> Option<Encapsulated> {
    let (secret, ciphertext) = EncapKey::from_bytes(key).ok()?.encaps_internal(Message(*message));
    let ciphertext: [u8; CIPHERTEXT_LEN] = *ciphertext.as_ref();
    Some((ciphertext, Zeroizing::new(*secret.as_ref())))
}
