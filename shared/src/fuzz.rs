//! Every decoder against bytes that nobody meant: none may panic, and none may take more than it was given.
//!
//! The same functions are what a coverage-guided fuzzer calls.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use alloc::{string::String, vec::Vec};

use crate::{
    budget::Budget,
    channel::Kind,
    close::ResetCode,
    codec::Reader,
    frame::Frame,
    handshake::{
        auth::{Auth, Verdict},
        evidence::Shown,
        hello::{ClientHello, ServerHello, decode_m1, decode_m2},
        upgrade::read_offer,
    },
    ids::{ChannelId, SessionId},
    invite::Invite,
    limits::{M1_PAYLOAD_LEN, M2_PAYLOAD_LEN, RECORD_0_LEN},
    session::{Role, Session},
    time::Instant,
};

fn decode_everything(bytes: &[u8]) {
    let _ = decode_m1(bytes);
    let _ = decode_m2(bytes);
    let mut record_0 = bytes.to_vec();
    record_0.resize(RECORD_0_LEN, 0);
    if let Ok(auth) = Auth::decode(&record_0) {
        assert_eq!(auth.encode(), record_0);
    }
    let _ = Verdict::decode(&record_0);
    let mut record = bytes.to_vec();
    record.resize(crate::limits::EVIDENCE_BUCKET_MIN, 0);
    if let Ok(shown) = Shown::decode_record(&record) {
        assert_eq!(shown.encode_record(), record);
    }
    if let Some(payload) = bytes.first_chunk::<M1_PAYLOAD_LEN>() {
        let _ = ClientHello::decode(payload);
    }
    if let Some(payload) = bytes.first_chunk::<M2_PAYLOAD_LEN>() {
        let _ = ServerHello::decode(payload);
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = read_offer(&text);
    let _ = Invite::from_link(&text);

    revive_altered(bytes);
    #[cfg(feature = "server")]
    revive_kept_altered(bytes);

    // Frames, applied to both ends of a session as they come: to a new one, and to one that has said something before.
    for role in [Role::Client, Role::Server] {
        for used in [false, true] {
            apply_frames(bytes, role, used);
        }
    }
}

/// A snapshot in which these bytes stand for others is refused, or is that of a session that stays whole.
fn revive_altered(bytes: &[u8]) {
    let now = Instant::default();
    let mut session = Session::new(Role::Client, None);
    session.begin(SessionId([7; 16]));
    session.open_for_datagrams();
    for kind in [Kind::STREAM, Kind::MESSAGES] {
        let id = session.open("a", kind).expect("a good label");
        let mut channel = session.channel(id);
        let _ = if kind.stream { channel.write(&[1; 9]).is_ok() } else { channel.send([1; 9].to_vec()).is_ok() };
    }
    session.fill(now, &mut Vec::new(), 65_519);
    let id = ChannelId(1);
    for frame in [
        Frame::Open { channel: id, kind: Kind::MESSAGES, label: "b" },
        Frame::Data { channel: id, more: false, data: &[2; 9] },
        Frame::Gap { channel: id, count: 3 },
        Frame::Data { channel: id, more: true, data: &[3; 9] },
        Frame::Ack { count: 2, datagrams: 0 },
    ] {
        session.handle_frame(now, &frame).expect("it is in order");
    }
    let _ = session.channel(ChannelId(2)).send([4; 9].to_vec());
    session.channel(ChannelId(0)).reset(ResetCode::Cancelled);
    let mut snapshot = session.snapshot().expect("it is short");
    assert!(Session::revive(&snapshot).is_ok());
    for altered in bytes.chunks_exact(3).take(3) {
        let at = usize::from(u16::from_be_bytes([altered[0], altered[1]])) % snapshot.len();
        snapshot[at] = altered[2];
    }
    for bytes in [bytes, &snapshot] {
        if let Ok(session) = Session::revive(bytes) {
            session.audit();
            go_on(session, 2);
        }
    }
}

/// The same of a server's session that is kept on disk.
#[cfg(feature = "server")]
fn revive_kept_altered(bytes: &[u8]) {
    use crate::session::ToKeep;
    let now = Instant::default();
    let mut session = Session::new(Role::Server, None);
    session.keep();
    session.begin(SessionId([7; 16]));
    session.open_for_datagrams();
    let own = session.open("own", Kind::MESSAGES).expect("a good label");
    session.channel(own).send([1; 9].to_vec()).expect("there is room");
    for (id, kind) in [(0, Kind::MESSAGES), (2, Kind::STREAM)] {
        let id = ChannelId(id);
        session.handle_frame(now, &Frame::Open { channel: id, kind, label: "b" }).expect("it is in order");
        for byte in 0..3 {
            let frame = Frame::Data { channel: id, more: false, data: &[byte; 9] };
            session.handle_frame(now, &frame).expect("it is in order");
        }
    }
    for _ in 0..2 {
        let taken = match session.take_state() {
            Some(ToKeep::State(changes, state)) => Some((changes, state)),
            _ => None,
        };
        let (changes, mut state) = taken.expect("it is open");
        session.state_is_kept(changes);
        assert!(Session::revive_kept(&state, None).is_ok());
        for altered in bytes.chunks_exact(3).take(3) {
            let at = usize::from(u16::from_be_bytes([altered[0], altered[1]])) % state.len();
            state[at] = altered[2];
        }
        for bytes in [bytes, &state] {
            if let Ok(session) = Session::revive_kept(bytes, None) {
                session.audit();
                go_on(session, 2);
            }
        }
        // Once more with what was handed over, answered and noted.
        let mut channel = session.channel(ChannelId(0));
        channel.recv_ahead().expect("it has come");
        channel.answer(Some([5; 9].to_vec())).expect("there is room");
        channel.recv_ahead().expect("it has come");
        channel.note(&[6; 9]);
        session.channel(ChannelId(2)).recv_ahead().expect("it has come");
        session.fill(now, &mut Vec::new(), 65_519);
    }
}

/// Whatever a peer says under the seal, a session stays whole; and then it is resumed, and ends.
fn apply_frames(bytes: &[u8], role: Role, used: bool) {
    let now = Instant::default();
    let mut session = Session::new(role, Budget::default());
    let mut out = Vec::new();
    if used {
        session.open_for_datagrams();
        for stream in [false, true] {
            let kind = if stream { Kind::STREAM } else { Kind::MESSAGES };
            let id = session.open("a", kind).expect("a good label");
            let mut channel = session.channel(id);
            let _ = if stream { channel.write(&[1; 9]).is_ok() } else { channel.send([1; 9].to_vec()).is_ok() };
            channel.send_datagram(now, [1; 9].to_vec(), core::time::Duration::from_secs(1), None).expect("short");
        }
        session.fill(now, &mut out, 65_519);
    }
    let mut reader = Reader::new(bytes);
    while let Ok(Some(frame)) = Frame::decode(&mut reader) {
        let refused = session.handle_frame(now, &frame).is_err();
        session.audit();
        if refused {
            break;
        }
    }
    out.clear();
    session.fill(now, &mut out, 65_519);
    assert!(out.len() <= 65_519);
    go_on(session, bytes.first().copied().unwrap_or_default());
}

fn go_on(mut session: Session, received: u8) {
    let (now, mut out) = (Instant::default(), Vec::new());
    session.connected();
    let _ = session.resume(u64::from(received));
    while session.has_frames() {
        out.clear();
        session.fill(now, &mut out, 65_519);
        assert!(!out.is_empty() || session.has_datagrams_waiting() || !session.has_frames());
    }
    session.audit();
    session.end();
    session.audit();
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
    const KNOWN: &[u8] = &[
        0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
        0x20, 0xff,
    ];
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
