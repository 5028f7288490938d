//! Known answers for the suite itself, `Noise_NKhfs+psk2_25519+MLKEM768_ChaChaPoly_SHA256`.
//!
//! Source: `vectors/nkhfs_psk2.json`, written by `vectors/reference.py`: an independent implementation made from the
//! Noise and HFS specifications, because no public vectors have this suite. Every byte of both messages, `h`, both keys
//! and both keys after one `Rekey()` must be the reference's; and whatever differs from them in a byte must be refused.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod hexadecimal;

use duologue::{
    crypto::{AeadKey, Forged, RANDOMNESS_LEN, Randomness, Secret, TAG_LEN, sha256},
    limits::{M1_HEADER_LEN, M1_NOISE_LEN, M2_NOISE_LEN, REKEY_INTERVAL_RECORDS},
    noise::{Initiator, PROTOCOL_NAME, Responder, Transport, Unreadable},
};
use hexadecimal::Hex;
use serde::Deserialize;

const ANSWERS: &str = include_str!("vectors/nkhfs_psk2.json");

/// What is flipped in each byte: the highest bit, which X25519 ignores in a public key; and the lowest.
const FLIPS: [u8; 2] = [0x80, 0x01];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answers {
    protocol_name: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    prologue: Hex,
    server_private_key: Hex,
    server_public_key: Hex,
    client_randomness: Hex,
    server_randomness: Hex,
    psk: Hex,
    m1_payload: Hex,
    m1_noise: Hex,
    m2_payload: Hex,
    m2_noise: Hex,
    m1_small_order: Hex,
    m1_malformed_key: Hex,
    m2_small_order: Hex,
    h: Hex,
    key_c2s: Hex,
    key_s2c: Hex,
    rekeyed_c2s: Hex,
    rekeyed_s2c: Hex,
    records_c2s: Vec<Record>,
    records_s2c: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    number: u64,
    plaintext: Hex,
    sealed: Hex,
}

impl Hex {
    fn array<const N: usize>(&self) -> [u8; N] {
        self.0.as_slice().try_into().expect("the reference gives every field the protocol's length")
    }
}

impl Case {
    fn initiator(&self) -> Initiator {
        Initiator::new(&self.server_public_key.array(), &self.prologue.0, randomness(&self.client_randomness))
    }

    fn responder(&self) -> Responder {
        let key = Secret::new(self.server_private_key.array());
        Responder::new(&key, None, &self.prologue.0, randomness(&self.server_randomness))
    }

    fn psk(&self) -> Secret {
        Secret::new(self.psk.array())
    }

    /// An initiator that has written the reference's M1.
    fn waiting_initiator(&self) -> Initiator {
        let mut initiator = self.initiator();
        let m1 = initiator.write_m1(&self.m1_payload.array()).expect("the server key is genuine");
        assert!(m1 == self.m1_noise.array(), "{}: M1", self.name);
        initiator
    }

    /// A responder that has read the reference's M1.
    fn reading_responder(&self) -> Responder {
        let mut responder = self.responder();
        let payload = responder.read_m1(&self.m1_noise.0).expect("the reference's M1 is genuine");
        assert_eq!(payload, self.m1_payload.array(), "{}: M1's payload", self.name);
        responder
    }

    fn transports(&self) -> (Transport, Transport) {
        let (m2, server) = self
            .reading_responder()
            .write_m2(&self.psk(), &self.m2_payload.array())
            .expect("the client's keys are well-formed");
        let (_, _, client) = self.waiting_initiator().read_m2(&m2, &[&self.psk()]).expect("M2 is genuine");
        (client, server)
    }
}

#[test]
fn the_file_has_one_case_with_a_secret_and_one_without() {
    let cases = cases();
    assert_eq!(cases.len(), 2);
    assert_ne!(cases[0].psk(), Secret::NONE);
    assert_eq!(cases[1].psk(), Secret::NONE);
}

#[test]
fn the_prologue_is_the_protocols_and_names_the_servers_key() {
    for case in cases() {
        let key_id = &sha256(&case.server_public_key.0)[..8];
        let header = [&[0x01, 0x01, 0x01], key_id, &[0x00]].concat();
        assert_eq!(header.len(), M1_HEADER_LEN);
        assert_eq!(case.prologue.0, [b"duologue/1", &[0x01][..], &header].concat(), "{}", case.name);
    }
}

#[test]
fn both_sides_write_and_read_the_references_messages_byte_for_byte() {
    for case in cases() {
        let name = &case.name;
        let m1 = case.initiator().write_m1(&case.m1_payload.array()).expect("the server key is genuine");
        assert_eq!(hex::encode(m1), hex::encode(&case.m1_noise.0), "{name}: M1");

        let responder = case.reading_responder();
        let (m2, server) = responder.write_m2(&case.psk(), &case.m2_payload.array()).expect("the keys are well-formed");
        assert_eq!(hex::encode(m2), hex::encode(&case.m2_noise.0), "{name}: M2");
        assert_eq!(hex::encode(server.handshake_hash()), hex::encode(&case.h.0), "{name}: the server's h");

        let initiator = case.waiting_initiator();
        let (index, payload, client) = initiator.read_m2(&case.m2_noise.0, &[&case.psk()]).expect("M2 is genuine");
        assert_eq!((index, payload), (0, case.m2_payload.array()), "{name}: M2's payload");
        assert_eq!(hex::encode(client.handshake_hash()), hex::encode(&case.h.0), "{name}: the client's h");
    }
}

#[test]
fn both_directions_seal_with_the_references_keys_through_the_first_rekey() {
    for case in cases() {
        let (mut client, mut server) = case.transports();
        let keys = [AeadKey::new(&case.key_c2s.array()), AeadKey::new(&case.rekeyed_c2s.array())];
        assert_records_match(&case.records_c2s, &keys, &mut client, &mut server);
        let keys = [AeadKey::new(&case.key_s2c.array()), AeadKey::new(&case.rekeyed_s2c.array())];
        assert_records_match(&case.records_s2c, &keys, &mut server, &mut client);
    }
}

#[test]
fn the_client_finds_the_right_secret_in_second_place() {
    for case in cases() {
        let other = Secret::new([0x5a; 32]);
        let read = case.waiting_initiator().read_m2(&case.m2_noise.0, &[&other, &case.psk()]);
        let (index, payload, client) = read.expect("the second secret fits");
        assert_eq!((index, payload), (1, case.m2_payload.array()), "{}", case.name);
        assert_eq!(client.handshake_hash(), &case.h.array(), "{}: the failed attempt has left no trace", case.name);
    }
}

#[test]
fn another_secret_is_refused() {
    for case in cases() {
        let mut near = case.psk.array::<32>();
        near[31] ^= 1;
        let (near, far) = (Secret::new(near), Secret::new([0x5a; 32]));
        for psks in [&[&near][..], &[&far], &[&near, &far], &[]] {
            let read = case.waiting_initiator().read_m2(&case.m2_noise.0, psks);
            assert_eq!(read.err(), Some(Unreadable), "{}", case.name);
        }
        let (m2, _) = case
            .reading_responder()
            .write_m2(&near, &case.m2_payload.array())
            .expect("the server cannot know that the client has another secret");
        assert_eq!(case.waiting_initiator().read_m2(&m2, &[&case.psk()]).err(), Some(Unreadable), "{}", case.name);
    }
}

#[test]
fn an_offered_secret_and_no_secret_are_not_the_same() {
    let cases = cases();
    let read = cases[0].waiting_initiator().read_m2(&cases[0].m2_noise.0, &[&Secret::NONE]);
    assert_eq!(read.err(), Some(Unreadable));
}

#[test]
fn a_server_with_another_key_can_neither_read_m1_nor_answer_it() {
    for case in cases() {
        let key = Secret::new([0x42; 32]);
        let mut other = Responder::new(&key, None, &case.prologue.0, randomness(&case.server_randomness));
        assert_eq!(other.read_m1(&case.m1_noise.0), Err(Unreadable), "{}", case.name);
        let answer = other.write_m2(&case.psk(), &case.m2_payload.array());
        assert_eq!(answer.err(), Some(Unreadable), "{}: nothing is written before M1 was read", case.name);
    }
}

#[test]
fn a_client_that_pins_another_key_is_not_understood() {
    let [first, second] = <[Case; 2]>::try_from(cases()).ok().expect("the file has two cases");
    let mut initiator =
        Initiator::new(&second.server_public_key.array(), &first.prologue.0, randomness(&first.client_randomness));
    let m1 = initiator.write_m1(&first.m1_payload.array()).expect("the other server's key is genuine too");
    assert_eq!(first.responder().read_m1(&m1), Err(Unreadable));
    assert_eq!(initiator.read_m2(&first.m2_noise.0, &[&first.psk()]).err(), Some(Unreadable));
}

#[test]
fn a_server_key_of_small_order_is_refused() {
    for case in cases() {
        let mut initiator = Initiator::new(&[0; 32], &case.prologue.0, randomness(&case.client_randomness));
        assert_eq!(initiator.write_m1(&case.m1_payload.array()), Err(Unreadable));
    }
}

#[test]
fn an_ephemeral_key_of_small_order_is_refused_though_the_message_authenticates() {
    for case in cases() {
        assert_eq!(case.responder().read_m1(&case.m1_small_order.0), Err(Unreadable), "{}", case.name);
        let read = case.waiting_initiator().read_m2(&case.m2_small_order.0, &[&case.psk()]);
        assert_eq!(read.err(), Some(Unreadable), "{}", case.name);
    }
}

#[test]
fn a_malformed_encapsulation_key_is_refused_though_the_message_authenticates() {
    for case in cases() {
        let mut responder = case.responder();
        // It is first looked at where it is used.
        assert_eq!(responder.read_m1(&case.m1_malformed_key.0), Ok(case.m1_payload.array()), "{}", case.name);
        let answer = responder.write_m2(&case.psk(), &case.m2_payload.array());
        assert_eq!(answer.err(), Some(Unreadable), "{}", case.name);
    }
}

#[test]
fn an_m1_with_any_byte_flipped_is_refused_and_changes_nothing() {
    for case in cases() {
        let mut responder = case.responder();
        let mut refused = 0;
        for m1 in flipped(&case.m1_noise.0, &FLIPS) {
            assert_eq!(responder.read_m1(&m1), Err(Unreadable), "{}", case.name);
            refused += 1;
        }
        assert_eq!(refused, M1_NOISE_LEN * FLIPS.len());

        assert_eq!(responder.read_m1(&case.m1_noise.0), Ok(case.m1_payload.array()), "{}", case.name);
        let (m2, _) = responder.write_m2(&case.psk(), &case.m2_payload.array()).expect("the keys are well-formed");
        assert!(m2 == case.m2_noise.array(), "{}: M2 after {refused} forgeries", case.name);
    }
}

#[test]
fn an_m2_with_any_byte_flipped_is_refused() {
    // Each attempt takes a fresh client and its ML-KEM key, so that each case flips its own bit; the browser runs one.
    let count = if cfg!(target_arch = "wasm32") { 1 } else { 2 };
    for (case, flip) in cases().iter().zip(FLIPS).take(count) {
        let mut refused = 0;
        for m2 in flipped(&case.m2_noise.0, &[flip]) {
            assert_eq!(case.waiting_initiator().read_m2(&m2, &[&case.psk()]).err(), Some(Unreadable), "{}", case.name);
            refused += 1;
        }
        assert_eq!(refused, M2_NOISE_LEN);
    }
}

#[test]
fn a_prologue_with_any_byte_flipped_is_refused() {
    for case in cases() {
        for prologue in flipped(&case.prologue.0, &FLIPS) {
            let key = Secret::new(case.server_private_key.array());
            let mut responder = Responder::new(&key, None, &prologue, randomness(&case.server_randomness));
            assert_eq!(responder.read_m1(&case.m1_noise.0), Err(Unreadable), "{}", case.name);
        }
    }
}

#[test]
fn messages_of_any_other_length_are_refused() {
    for case in cases() {
        let mut responder = case.responder();
        for m1 in cut_or_longer(&case.m1_noise.0) {
            assert_eq!(responder.read_m1(&m1), Err(Unreadable), "{}: {} bytes", case.name, m1.len());
        }
        assert_eq!(responder.read_m1(&case.m1_noise.0), Ok(case.m1_payload.array()), "{}", case.name);

        // A fresh client for each length costs an ML-KEM key; the ends and the seams are enough.
        for m2 in cut_or_longer(&case.m2_noise.0) {
            if [0, 31, 32, 33, 1135, 1136, 1137, M2_NOISE_LEN - 1, M2_NOISE_LEN + 1].contains(&m2.len()) {
                let read = case.waiting_initiator().read_m2(&m2, &[&case.psk()]);
                assert_eq!(read.err(), Some(Unreadable), "{}: {} bytes", case.name, m2.len());
            }
        }
    }
}

#[test]
fn a_record_of_another_number_or_direction_is_refused_and_changes_nothing() {
    for case in cases() {
        let (_, mut server) = case.transports();
        let [first, second] = [&case.records_c2s[0].sealed.0, &case.records_c2s[1].sealed.0];
        assert_eq!(server.open(second), Err(Forged), "ahead of its turn");
        assert_eq!(server.open(&case.records_s2c[0].sealed.0), Err(Forged), "reflected");
        assert_eq!(server.open(&[]), Err(Forged), "shorter than a tag");
        for record in flipped(first, &FLIPS) {
            assert_eq!(server.open(&record), Err(Forged), "altered");
        }
        assert_eq!(server.open(first).as_deref(), Ok(&*case.records_c2s[0].plaintext.0));
        assert_eq!(server.open(first), Err(Forged), "replayed");
        assert_eq!(server.open(second).as_deref(), Ok(&*case.records_c2s[1].plaintext.0));
    }
}

/// Sends records until all of `expected` have passed, empty ones between them, and compares these with the keys' work.
fn assert_records_match(expected: &[Record], keys: &[AeadKey; 2], sender: &mut Transport, receiver: &mut Transport) {
    let mut expected = expected.iter().peekable();
    let mut passed = [0, 0];
    let mut number = 0;
    let mut sealed = Vec::new();
    while let Some(next) = expected.peek() {
        sealed.clear();
        if next.number == number {
            let Record { plaintext, sealed: expected_record, .. } = expected.next().expect("it was there to peek at");
            sender.seal(&plaintext.0, &mut sealed);
            assert_eq!(hex::encode(&sealed), hex::encode(&expected_record.0), "record {number}");
            assert_eq!(receiver.open(&expected_record.0).as_ref(), Ok(&plaintext.0), "record {number}");

            let rekeyed = number >= REKEY_INTERVAL_RECORDS;
            passed[usize::from(rekeyed)] += 1;
            let (key, other) = if rekeyed { (&keys[1], &keys[0]) } else { (&keys[0], &keys[1]) };
            let mut data = plaintext.0.clone();
            let tag = key.seal(nonce(number), &[], &mut data);
            assert_eq!([&data[..], &tag].concat(), expected_record.0, "record {number} by its key");

            let (ciphertext, tag) = expected_record.0.split_last_chunk::<TAG_LEN>().expect("a record has a tag");
            let mut data = ciphertext.to_vec();
            assert_eq!(key.open(nonce(number), &[], &mut data, *tag), Ok(()), "record {number} by its key");
            assert_eq!(data, plaintext.0, "record {number} by its key");
            let mut data = ciphertext.to_vec();
            assert_eq!(
                other.open(nonce(number), &[], &mut data, *tag),
                Err(Forged),
                "record {number} by the other key"
            );
        } else {
            sender.seal(&[], &mut sealed);
            assert_eq!(receiver.open(&sealed).as_deref(), Ok(&[][..]), "record {number}");
        }
        number += 1;
    }
    assert_eq!(passed, [3, 2], "the file has records on both sides of the rekey");
}

/// A Noise nonce for ChaChaPoly: 32 bits of zeros, then the little-endian counter (Noise, section 12.3).
fn nonce(number: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    nonce
}

fn flipped(genuine: &[u8], flips: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..genuine.len()).flat_map(move |position| {
        flips.iter().map(move |flip| {
            let mut altered = genuine.to_vec();
            altered[position] ^= flip;
            altered
        })
    })
}

fn cut_or_longer(genuine: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let longer = [genuine, &[0]].concat();
    (0..genuine.len()).map(|len| genuine[..len].to_vec()).chain([longer])
}

fn cases() -> Vec<Case> {
    let answers: Answers = serde_json::from_str(ANSWERS).expect("the reference writes these fields");
    assert_eq!(answers.protocol_name, PROTOCOL_NAME);
    answers.cases
}

fn randomness(bytes: &Hex) -> Randomness {
    Randomness::new(bytes.array::<RANDOMNESS_LEN>())
}
