//! Every decoder against bytes that nobody meant: none may panic, and none may take more than it was given.
//!
//! The same functions are what a coverage-guided fuzzer calls.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use alloc::{string::String, vec::Vec};

use crate::{
    codec::Reader,
    frame::Frame,
    handshake::{
        auth::{Auth, Verdict},
        hello::{ClientHello, ServerHello, decode_m1, decode_m2},
        upgrade::read_offer,
    },
    invite::Invite,
    limits::{M1_PAYLOAD_LEN, M2_PAYLOAD_LEN, RECORD_0_LEN},
    session::{Role, Session},
};

fn decode_everything(bytes: &[u8]) {
    let _ = decode_m1(bytes);
    let _ = decode_m2(bytes);
    let mut record_0 = bytes.to_vec();
    record_0.resize(RECORD_0_LEN, 0);
    let _ = Auth::decode(&record_0);
    let _ = Verdict::decode(&record_0);
    if let Some(payload) = bytes.first_chunk::<M1_PAYLOAD_LEN>() {
        let _ = ClientHello::decode(payload);
    }
    if let Some(payload) = bytes.first_chunk::<M2_PAYLOAD_LEN>() {
        let _ = ServerHello::decode(payload);
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = read_offer(&text);
    let _ = Invite::from_link(&text);

    // Frames, applied to both ends of a session as they come.
    for role in [Role::Client, Role::Server] {
        let mut session = Session::new(role);
        let mut reader = Reader::new(bytes);
        while let Ok(Some(frame)) = Frame::decode(&mut reader) {
            if session.handle_frame(&frame).is_err() {
                break;
            }
        }
        let mut out = Vec::new();
        session.fill(&mut out, 65_519);
        assert!(out.len() <= 65_519);
    }
}

#[test]
fn no_bytes_make_a_decoder_panic() {
    const SEED: u64 = 0x0d00_1090_e202_6112;
    std::println!("seed {SEED:#x}");
    let mut state = SEED;
    let mut next = move || {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    // Bytes that decoders know are more likely than chance, or most inputs would end at the first byte.
    const KNOWN: &[u8] = &[0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x10, 0x11, 0x20, 0x08, 0xff];
    for _ in 0..20_000 {
        let len = usize::try_from(next() % 300).expect("below 300");
        let bytes: Vec<u8> = (0..len)
            .map(|_| {
                let random = next();
                if random & 0x300 == 0 {
                    random.to_be_bytes()[7]
                } else {
                    KNOWN[usize::from(random.to_be_bytes()[6]) % KNOWN.len()]
                }
            })
            .collect();
        decode_everything(&bytes);
    }
}
