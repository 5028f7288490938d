//! The table of errors in docs/PROTOCOL.md, section 10, row by row: a client that is written here from the document, byte by
//! byte, on the noise layer alone, before a server of the core.
#![allow(missing_docs, reason = "tests are named for their scenario")]

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod pair;

use std::time::Duration;

use duologue::{
    ConnectionError,
    crypto::{Randomness, Secret, sha256},
    limits::{M1_PAYLOAD_LEN, MESSAGE_LEN_MAX, RECORD_0_LEN, RECORD_LEN_MAX},
    noise::{Initiator, Transport},
};
use pair::{Device, Pair, identity};

const PROTOCOL: u16 = 2;
const ALTERED: u16 = 6;
const BAD_SIGNATURE: u16 = 20;

/// A client by hand, and the server that hears it.
struct Client {
    pair: Pair,
    transport: Transport,
}

impl Client {
    /// Behind M1 and M2.
    fn new() -> Self {
        let mut pair = Pair::new(1);
        let key = identity(1).public();
        let header = [&[1, 1, 1][..], &sha256(&key.0)[..8], &[0]].concat();
        let mut payload = [0; M1_PAYLOAD_LEN];
        payload[17..27].copy_from_slice(&[1, 0, 0, 0, 0, 4, 0, 0, 1, 0]);
        let prologue = [b"duologue/1\x01", header.as_slice()].concat();
        let mut initiator = Initiator::new(&key.0, &prologue, Randomness::new([3; 128]));
        let noise = initiator.write_m1(&payload).expect("a real key");
        pair.server_takes(&[header.as_slice(), &noise].concat()).expect("a good M1");
        let m2 = pair.server_sends().expect("M2");
        let (_, _, transport) = initiator.read_m2(&m2[1..], &[&Secret::NONE]).expect("a good M2");
        Self { pair, transport }
    }

    /// AUTH; `change` makes another of it.
    fn auth(&mut self, change: impl FnOnce(&mut Vec<u8>)) -> Result<(), ConnectionError> {
        let device = Device::new(2);
        let spki = device.key().spki().to_vec();
        let hash = *self.transport.handshake_hash();
        let signed = [&b"duologue/1 client-auth\0\x01"[..], &hash, &sha256(&spki)].concat();
        let mut auth = [&[3, 0, 1, 0, 44][..], &spki, &device.sign(&signed)].concat();
        // No origin; a host; no name; a birth; nothing received; the first attempt.
        auth.extend_from_slice(&[0, 0, 0, 9]);
        auth.extend_from_slice(b"localhost");
        auth.extend_from_slice(&[&[0][..], &[7; 16], &[0; 8], &[0, 0, 0, 1]].concat());
        change(&mut auth);
        auth.resize(RECORD_0_LEN, 0);
        self.say(&auth)
    }

    /// With AUTH_OK.
    fn open() -> Self {
        let mut client = Self::new();
        client.auth(|_| {}).expect("a good AUTH");
        let ok = client.hear().expect("AUTH_OK");
        assert_eq!(ok[0], 4, "AUTH_OK");
        client
    }

    fn say(&mut self, plaintext: &[u8]) -> Result<(), ConnectionError> {
        let mut sealed = Vec::new();
        self.transport.seal(plaintext, &mut sealed);
        self.pair.server_takes(&sealed)
    }

    fn hear(&mut self) -> Option<Vec<u8>> {
        let sealed = self.pair.server_sends()?;
        Some(self.transport.open(&sealed).expect("it was sealed for us"))
    }

    /// The code of the CLOSE that is told: a frame, or record 0.
    fn told(&mut self) -> Option<u16> {
        let said = std::iter::from_fn(|| self.hear()).last()?;
        matches!(said[0], 0x05 | 0x20).then(|| u16::from_be_bytes([said[1], said[2]]))
    }
}

fn on(kind: u8, channel: u32, rest: &[u8]) -> Vec<u8> {
    [&[kind][..], &channel.to_be_bytes(), rest].concat()
}

fn open(channel: u32, flags: u8, label: &[u8]) -> Vec<u8> {
    let len = u8::try_from(label.len()).expect("a label's length");
    [&[1, flags][..], &channel.to_be_bytes(), &[len], label].concat()
}

fn data(kind: u8, channel: u32, flags: u8, len: u16) -> Vec<u8> {
    [&[kind, flags][..], &channel.to_be_bytes(), &len.to_be_bytes(), &vec![7; usize::from(len)]].concat()
}

fn count(kind: u8, channel: u32, count: u64) -> Vec<u8> {
    on(kind, channel, &count.to_be_bytes())
}

fn ack(count: u64, datagrams: u32) -> Vec<u8> {
    [&[0x14][..], &count.to_be_bytes(), &datagrams.to_be_bytes()].concat()
}

/// 4 × (65,000 + 32) of 262,144 are spent: 1,984 bytes and what a frame costs are left.
fn up_to_the_limit() -> Vec<Vec<u8>> {
    [vec![echo()], vec![data(2, 0, 0, 65_000); 4]].concat()
}

const FIN: u8 = 3;
const RESET: u8 = 4;
const DONE: u8 = 6;
const CREDIT: u8 = 0x10;
const TAKEN: u8 = 0x11;
const GAP: u8 = 0x07;

/// What is said before it, each a record; and the frames that are an error, or none.
type Row = (&'static str, Vec<Vec<u8>>, Vec<u8>);

fn echo() -> Vec<u8> {
    open(0, 0, b"echo")
}

#[test]
fn every_frame_that_breaks_a_rule_is_told_as_protocol_and_ends_the_session() {
    let all_live: Vec<Vec<u8>> = (0..256).map(|number| open(2 * number, 0, b"echo")).collect();
    let rows: Vec<Row> = vec![
        ("cut off", vec![], vec![FIN, 0, 0]),
        ("of unknown type", vec![], vec![0x7f]),
        ("a reserved bit of OPEN", vec![], open(0, 16, b"echo")),
        ("OPEN as first and last", vec![], open(0, 6, b"echo")),
        ("a reserved bit of DATA", vec![echo()], data(2, 0, 2, 1)),
        ("a reserved bit of DATAGRAM", vec![echo()], data(0x15, 0, 1, 1)),
        ("padding that is not zero", vec![], vec![0, 0, 1]),
        ("a label of 65 bytes", vec![], open(0, 0, &[b'a'; 65])),
        ("a label that is not UTF-8", vec![], open(0, 0, &[0xff])),
        ("an empty label", vec![], open(0, 0, b"")),
        ("a reason of 257 bytes", vec![], [&[0x20, 0, 0][..], &[0; 8], &[1, 1], &[b'a'; 257]].concat()),
        ("an id of the server's", vec![], open(1, 0, b"echo")),
        ("an id twice", vec![echo()], echo()),
        ("an id below the last", vec![open(4, 0, b"echo")], open(2, 0, b"echo")),
        ("one more than may be live", all_live, open(512, 0, b"echo")),
        ("DATA for an id that was never opened", vec![echo()], data(2, 2, 0, 1)),
        ("DATA for an id that an OPEN has passed over", vec![echo(), open(400, 0, b"echo")], data(2, 4, 0, 1)),
        ("FIN for one", vec![echo()], on(FIN, 2, &[])),
        ("RESET for one", vec![echo()], on(RESET, 2, &[0, 1])),
        ("DONE for one", vec![echo()], count(DONE, 2, 0)),
        ("CREDIT for one", vec![echo()], count(CREDIT, 2, 1 << 20)),
        ("TAKEN for one of the server's", vec![echo()], count(TAKEN, 1, 0)),
        ("DATA behind FIN", vec![echo(), on(FIN, 0, &[])], data(2, 0, 0, 1)),
        ("a second FIN", vec![echo(), on(FIN, 0, &[])], on(FIN, 0, &[])),
        ("GAP of nothing", vec![echo()], count(GAP, 0, 0)),
        ("GAP within a message", vec![echo(), data(2, 0, 1, 1)], count(GAP, 0, 1)),
        ("GAP behind FIN", vec![echo(), on(FIN, 0, &[])], count(GAP, 0, 1)),
        ("GAPs of more than a channel can count", vec![echo(), count(GAP, 0, 1 << 62)], count(GAP, 0, 1 << 62)),
        ("GAP for an id that was never opened", vec![echo()], count(GAP, 2, 1)),
        ("FIN within a message", vec![echo(), data(2, 0, 1, 1)], on(FIN, 0, &[])),
        ("MORE on a stream", vec![open(0, 1, b"echo")], data(2, 0, 1, 1)),
        ("a byte beyond the limit", up_to_the_limit(), data(2, 0, 0, 1_985)),
        ("CREDIT below the first", vec![echo()], count(CREDIT, 0, 262_143)),
        ("CREDIT that falls", vec![echo(), count(CREDIT, 0, 300_000)], count(CREDIT, 0, 299_999)),
        ("TAKEN of what was not sent", vec![echo()], count(TAKEN, 0, 1)),
        ("DONE of what was not sent", vec![echo()], count(DONE, 0, 1)),
        ("ACK of what was not sent", vec![], ack(1, 0)),
        ("ACK of a datagram that was not sent", vec![], ack(0, 1)),
        ("SKIP of nothing", vec![], vec![5, 0, 0, 0, 0]),
        ("a datagram of 16,385 bytes", vec![echo()], data(0x15, 0, 0, 16_385)),
        ("AWAY for another reason", vec![], vec![0x19, 2]),
    ];
    for (what, before, frames) in rows {
        let mut client = Client::open();
        for record in before {
            client.say(&record).unwrap_or_else(|error| panic!("before {what}: {error}"));
        }
        let error = client.say(&frames).expect_err(what);
        assert!(!error.is_resumable(), "{what}: {error:?}");
        assert_eq!(client.told(), Some(PROTOCOL), "{what}");
    }
}

/// The server has said two messages and a datagram on channel 0, so that there is something to acknowledge.
fn spoken_to() -> Client {
    let mut client = Client::open();
    client.say(&echo()).expect("a good label");
    let (id, now) = (client.pair.server_seen.opened[0], client.pair.now);
    let session = client.pair.server_session();
    for _ in 0..2 {
        session.channel(id).send(vec![7]).expect("there is credit");
    }
    session.channel(id).send_datagram(now, vec![7], Duration::from_secs(1), None).expect("there is room");
    assert!(std::iter::from_fn(|| client.hear()).count() > 0);
    client
}

#[test]
fn a_count_that_falls_is_told_as_protocol_and_ends_the_session() {
    for (what, before, frames) in [
        ("TAKEN", count(TAKEN, 0, 2), count(TAKEN, 0, 1)),
        ("DONE below TAKEN", count(TAKEN, 0, 2), count(DONE, 0, 1)),
        ("DONE", count(DONE, 0, 2), count(DONE, 0, 1)),
        ("ACK", ack(2, 0), ack(1, 0)),
        ("ACK of datagrams", ack(2, 1), ack(2, 0)),
    ] {
        let mut client = spoken_to();
        client.say(&before).unwrap_or_else(|error| panic!("before {what}: {error}"));
        client.say(&before).unwrap_or_else(|error| panic!("{what}, the same again: {error}"));
        let error = client.say(&frames).expect_err(what);
        assert!(!error.is_resumable(), "{what}: {error:?}");
        assert_eq!(client.told(), Some(PROTOCOL), "{what}");
    }
}

#[test]
fn a_message_that_is_too_long_is_told_as_protocol_with_its_first_byte_too_many() {
    let mut client = Client::open();
    client.say(&echo()).expect("a good label");
    let mut left = MESSAGE_LEN_MAX;
    while left > 0 {
        let len = left.min(65_000);
        client.say(&data(2, 0, 1, u16::try_from(len).expect("it fits"))).expect("within the limit and its credit");
        left -= len;
        // The server grants more as it comes.
        while client.hear().is_some() {}
    }
    let error = client.say(&data(2, 0, 1, 1)).expect_err("a byte too many");
    assert!(!error.is_resumable(), "{error:?}");
    assert_eq!(client.told(), Some(PROTOCOL));
}

#[test]
fn what_the_document_calls_no_error_is_none() {
    let reset = vec![echo(), on(RESET, 0, &[0, 1])];
    let rows: Vec<Row> = vec![
        ("SKIP where nothing was reset", vec![], vec![5, 0xff, 0xff, 0xff, 0xff]),
        ("DRAIN that was not asked for", vec![], vec![0x16, 0, 0, 0x12, 0x34]),
        ("OPEN behind DRAIN", vec![vec![0x16, 0, 0, 0, 0]], echo()),
        ("OPEN behind AWAY", vec![vec![0x19, 0]], echo()),
        ("AWAY twice, and HERE", vec![vec![0x19, 0], vec![0x19, 0]], vec![0x1a]),
        ("AWAY for both reasons, twice", vec![vec![0x19, 0, 0x19, 1], vec![0x19, 1]], vec![0x1a]),
        ("OPEN of a page that does not run", vec![vec![0x19, 1]], echo()),
        ("HERE without AWAY", vec![], vec![0x1a]),
        ("a PONG that nobody waits for", vec![], vec![0x13, 0, 0, 0, 9]),
        ("a datagram for an unknown channel", vec![], data(0x15, 40, 0, 1)),
        ("ids with gaps", vec![open(400, 0, b"echo")], open(4_000, 0, b"echo")),
        ("DATA on a channel that was reset", reset.clone(), data(2, 0, 0, 1)),
        ("CREDIT on one", reset.clone(), count(CREDIT, 0, 1)),
        ("TAKEN on one", reset.clone(), count(TAKEN, 0, 99)),
        ("DONE on one", reset, count(DONE, 0, 99)),
        ("DATA behind DONE on a channel that goes on", vec![echo(), count(DONE, 0, 0)], data(2, 0, 0, 1)),
        ("the limit to its last byte", up_to_the_limit(), data(2, 0, 0, 1_984)),
        ("the longest DATA", vec![echo()], data(2, 0, 0, 65_511)),
        ("an unknown reset code", vec![echo()], on(RESET, 0, &[0xab, 0xcd])),
    ];
    for (what, before, frames) in rows {
        let mut client = Client::open();
        for record in before {
            client.say(&record).unwrap_or_else(|error| panic!("before {what}: {error}"));
        }
        client.say(&frames).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(client.told(), None, "{what}");
    }
}

#[test]
fn what_anybody_on_the_way_can_make_is_told_as_altered_and_the_session_lives() {
    let mut client = Client::open();
    let now = client.pair.now;
    let error = client.pair.server.handle_text(now).expect_err("a text");
    assert!(error.is_resumable(), "{error:?}");
    assert_eq!(client.told(), Some(ALTERED), "a text message");
    for (what, message) in [
        ("a message of 65,536 bytes", vec![0; RECORD_LEN_MAX + 1]),
        ("a record that does not open", vec![7; 80]),
        ("an empty message", Vec::new()),
    ] {
        let mut client = Client::open();
        let error = client.pair.server_takes(&message).expect_err(what);
        assert!(error.is_resumable(), "{what}: {error:?}");
        assert_eq!(client.told(), Some(ALTERED), "{what}");
    }
}

#[test]
fn what_is_wrong_with_auth_is_told_in_the_place_of_auth_ok() {
    type Change = fn(&mut Vec<u8>);
    let rows: [(&str, Change, u16); 8] = [
        ("another flag", |auth| auth[1] = 8, PROTOCOL),
        ("three records of evidence", |auth| auth[1] = 6, PROTOCOL),
        ("another algorithm", |auth| auth[2] = 3, PROTOCOL),
        ("a key of another length", |auth| auth[4] = 45, PROTOCOL),
        ("another type", |auth| auth[0] = 4, PROTOCOL),
        ("an origin of 281 bytes", |auth| auth[113..115].copy_from_slice(&[1, 25]), PROTOCOL),
        ("a host that is not UTF-8", |auth| auth[117] = 0xff, PROTOCOL),
        ("a signature of something else", |auth| auth[49] ^= 1, BAD_SIGNATURE),
    ];
    for (what, change, code) in rows {
        let mut client = Client::new();
        client.auth(change).expect_err(what);
        assert_eq!(client.told(), Some(code), "{what}");
    }
}
