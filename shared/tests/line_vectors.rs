//! A whole line for other implementations to read: `docs/vectors/line.json`, two connections of one session with every
//! byte that crosses, and what is under the seal.
//!
//! ```text
//! fixed keys and randomness ─► the core's two ends ─► line.json ─► read back: by the noise layer alone, and by a server
//! ```
//!
//! The file is written by `DUOLOGUE_WRITE_VECTORS=1 cargo test -p duologue --test line_vectors`, and must be what the core says
//! today. `vectors/check.py` reads it with an implementation of its own.
#![allow(missing_docs, reason = "tests are named for their scenario")]

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod pair;

use duologue::{
    ChannelId, CloseCode, Credential, EvidenceKind, Invite, KeyStatement, Kind, Offer, Outcome, OwnerKey, Received,
    SessionId, Standing, Ticket, TicketId, ToldKeys, Wanted,
    crypto::{Randomness, Secret, sha256},
    limits::{M1_HEADER_LEN, M1_PAYLOAD_LEN, M2_PAYLOAD_LEN},
    noise::{Initiator, Responder, Transport},
};
use pair::{Bytes, Device, Pair, config, grant, identity};
use serde::{Deserialize, Serialize};

const FILE: &str = include_str!("../../docs/vectors/line.json");

const SERVER: u8 = 1;
const DEVICE: u8 = 2;
const NEXT_DEVICE: u8 = 3;
const SEEDS: [u64; 2] = [11, 12];
/// The owner's P-256 key, whose private half is 32 times 7, and its signature of the server's key as the first (RFC 6979).
const OWNER: &str = "1e18532fd4754c02f3041d9c75ceb33b83ffd81ac7ce4fe882ccb1c98bc5896e\
     a46c311c4e2ff40dd96a3653e6e45445d32dfe486eced75c7a90c6a18881c0a3";
const OWNERS_SIGNATURE: &str = "dcbe728279d7ef428b0e846eabe37c0a07702a6f404faacef0689df879e97e17\
     8dbf34791fe031cc7a2c1dbce5c071c86cebf830e072d6c3cbeb36e8b9ce785d";

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    protocol: String,
    server_private_key: String,
    server_public_key: String,
    owner_public_key: String,
    device_private_key: String,
    device_spki: String,
    invite_secret: String,
    invite_link: String,
    renewal: Renewal,
    connections: Vec<Wire>,
}

/// What the device's next key signs.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct Renewal {
    private_key: String,
    spki: String,
    challenge: String,
    signed: String,
    signature: String,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    name: String,
    client_randomness: String,
    server_randomness: String,
    credential_kind: u8,
    credential_id: String,
    psk: String,
    prologue: String,
    m1: String,
    m1_payload: String,
    m2: String,
    m2_payload: String,
    handshake_hash: String,
    signed: String,
    signature: String,
    records: Vec<Record>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct Record {
    from: String,
    number: u64,
    arrives: bool,
    says: Vec<String>,
    plaintext: String,
    sealed: String,
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    hex::decode(hexadecimal).expect("the file has hexadecimal digits")
}

fn array<const N: usize>(hexadecimal: &str) -> [u8; N] {
    bytes(hexadecimal).try_into().expect("the file gives each field its length")
}

fn invite() -> Invite {
    Invite::new([5; 32], identity(SERVER).public())
}

fn ticket(seed: u8) -> Ticket {
    Ticket { id: TicketId([seed; 16]), secret: Secret::new([seed.wrapping_add(1); 32]), lifetime_secs: 604_800 }
}

/// As the server tells it, by that evidence.
fn raised(evidence: u32) -> Standing {
    Standing { subject: "ann".to_owned(), secs: Some(300), evidence, ..Standing::of_level(2) }
}

impl Renewal {
    fn of(device: &Device) -> Self {
        let (next, challenge) = (Device::new(NEXT_DEVICE), [0x60; 32]);
        let (before, key) = (sha256(device.key().spki()), next.key());
        let signed = key.renewal(&challenge, &before);
        let signature = next.sign(&signed);
        assert!(key.is_renewal(&challenge, &before, &signature));
        for (challenge, before, signature) in [
            (&[0x61; 32], &before, &signature),
            (&challenge, &[0; 32], &signature),
            (&challenge, &before, &device.sign(&signed)),
        ] {
            assert!(!key.is_renewal(challenge, before, signature));
        }
        Self {
            private_key: hex::encode([NEXT_DEVICE; 32]),
            spki: hex::encode(key.spki()),
            challenge: hex::encode(challenge),
            signed: hex::encode(&signed),
            signature: hex::encode(signature),
        }
    }
}

/// One connection on its way, and what has crossed.
struct Story {
    pair: Pair,
    sent: Vec<(&'static str, bool, Vec<u8>)>,
}

impl Story {
    fn new(seed: u64, offer: Offer, secret: ([u8; 16], Secret)) -> Self {
        let device = Device::new(DEVICE);
        let config = config(&identity(SERVER), &device, offer);
        let mut pair = Pair::with(seed, &identity(SERVER), config, device);
        pair.secrets.insert(secret.0, secret.1);
        pair.admits = false;
        Self { pair, sent: Vec::new() }
    }

    /// All that the client has to say now; it may be lost on the way.
    fn client_says(&mut self, arrives: bool) {
        while let Some(message) = self.pair.client_sends() {
            if arrives {
                self.pair.server_takes(&message).expect("it is good");
            }
            self.sent.push(("client", arrives, message));
        }
    }

    fn server_says(&mut self, arrives: bool) {
        while let Some(message) = self.pair.server_sends() {
            if arrives {
                self.pair.client_takes(&message).expect("it is good");
            }
            self.sent.push(("server", arrives, message));
        }
    }

    fn read(&mut self, channel: ChannelId, is_server: bool) -> Vec<u8> {
        let end = if is_server { &mut self.pair.server } else { &mut self.pair.client };
        match end.channel(channel).recv() {
            Ok(Received::Message(message)) => message,
            other => panic!("no message but {other:?}"),
        }
    }

    /// As the file has it.
    fn wire(&self, name: &str, seed: u64, credential: (u8, [u8; 16], Secret)) -> Wire {
        let mut chance = Bytes::new(seed);
        let randomness: [[u8; 128]; 2] = [chance.array(), chance.array()];
        let [(_, _, m1), (_, _, m2)] = &self.sent[..2] else { panic!("M1 and M2 came first") };
        let hello = Hello::read(&[SERVER; 32], randomness, &credential.2, m1, m2);
        let signed = [&b"duologue/1 client-auth\0\x01"[..], hello.client.handshake_hash(), &spki_hash()].concat();
        let mut wire = Wire {
            name: name.to_owned(),
            client_randomness: hex::encode(randomness[0]),
            server_randomness: hex::encode(randomness[1]),
            credential_kind: credential.0,
            credential_id: hex::encode(credential.1),
            psk: hex::encode(credential.2.expose()),
            prologue: hex::encode(prologue(m1)),
            m1: hex::encode(m1),
            m1_payload: hex::encode(hello.m1_payload),
            m2: hex::encode(m2),
            m2_payload: hex::encode(hello.m2_payload),
            handshake_hash: hex::encode(hello.client.handshake_hash()),
            signature: hex::encode(Device::new(DEVICE).sign(&signed)),
            signed: hex::encode(signed),
            records: Vec::new(),
        };
        let (mut client, mut server) = (hello.client, hello.server);
        for (from, arrives, sealed) in &self.sent[2..] {
            let end = if *from == "client" { &mut server } else { &mut client };
            let plaintext = end.open(sealed).expect("it was sealed for this connection");
            let number = wire.records.iter().filter(|record| record.from == *from).count();
            wire.records.push(Record {
                from: (*from).to_owned(),
                number: number as u64,
                arrives: *arrives,
                says: said(&plaintext, number == 0),
                plaintext: hex::encode(plaintext),
                sealed: hex::encode(sealed),
            });
        }
        wire
    }
}

fn spki_hash() -> [u8; 32] {
    sha256(Device::new(DEVICE).key().spki())
}

fn prologue(m1: &[u8]) -> Vec<u8> {
    [b"duologue/1\x01", &m1[..M1_HEADER_LEN]].concat()
}

/// Both handshake messages as somebody reads them who has all that both sides have.
struct Hello {
    m1_payload: [u8; M1_PAYLOAD_LEN],
    m2_payload: [u8; M2_PAYLOAD_LEN],
    /// Opens what the server says.
    client: Transport,
    /// Opens what the client says.
    server: Transport,
}

impl Hello {
    fn read(server_key: &[u8; 32], randomness: [[u8; 128]; 2], psk: &Secret, m1: &[u8], m2: &[u8]) -> Self {
        let secret = Secret::new(*server_key);
        let [clients, servers] = randomness.map(Randomness::new);
        let mut responder = Responder::new(&secret, None, &prologue(m1), servers);
        let m1_payload = responder.read_m1(&m1[M1_HEADER_LEN..]).expect("M1 is for this server");
        let public = duologue::ServerIdentity::new(secret).public();
        let mut initiator = Initiator::new(&public.0, &prologue(m1), clients);
        assert_eq!(
            initiator.write_m1(&m1_payload).expect("a real key")[..],
            m1[M1_HEADER_LEN..],
            "M1 by its randomness"
        );
        let (_, m2_payload, client) = initiator.read_m2(&m2[1..], &[psk]).expect("M2 is of this server");
        let (again, server) = responder.write_m2(psk, &m2_payload).expect("a real key");
        assert_eq!(again[..], m2[1..], "M2 by its randomness");
        assert_eq!(client.handshake_hash(), server.handshake_hash());
        Self { m1_payload, m2_payload, client, server }
    }
}

/// What stands in a plaintext, read from docs/PROTOCOL.md, sections 4 and 5, and not by the core.
fn said(plaintext: &[u8], is_record_0: bool) -> Vec<String> {
    fn number(rest: &mut &[u8], len: usize) -> u64 {
        let (first, behind) = rest.split_at(len);
        *rest = behind;
        first.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
    fn text<'a>(rest: &mut &'a [u8], len: u64) -> &'a str {
        let (first, behind) = rest.split_at(usize::try_from(len).expect("a length"));
        *rest = behind;
        std::str::from_utf8(first).expect("text")
    }
    fn standing(rest: &mut &[u8]) -> String {
        let (level, flags, evidence, secs) = (number(rest, 1), number(rest, 1), number(rest, 4), number(rest, 4));
        assert_eq!(flags, 0, "nothing more is wanted");
        let len = number(rest, 1);
        assert_eq!(text(rest, len), "", "nothing was refused");
        let len = number(rest, 1);
        format!("level {level} by evidence {evidence}, {secs} s, {:?}", text(rest, len))
    }
    fn evidence(rest: &mut &[u8]) -> String {
        let (kind, count, len) = (number(rest, 1), number(rest, 4), number(rest, 2));
        let said = format!("EVIDENCE {count}, kind {kind}, {:?}", text(rest, len));
        let padding = 2_048 - 8 - usize::try_from(len).expect("a length");
        assert!(rest[..padding].iter().all(|byte| *byte == 0), "filled with zeros");
        *rest = &rest[padding..];
        said
    }
    let mut rest = plaintext;
    if rest[0] == 7 {
        rest = &rest[1..];
        let said = evidence(&mut rest);
        assert!(rest.is_empty(), "nothing follows in its record");
        return vec![said];
    }
    if is_record_0 {
        return vec![match (rest[0], rest[1]) {
            (3, 0) => "AUTH, its session new".to_owned(),
            (3, 3) => "AUTH, with RESUME and one record of evidence".to_owned(),
            (4, 0) => {
                let (outcome, received) = (rest[71], rest[79]);
                rest = &rest[81..];
                let standing = standing(&mut rest);
                let key = u32::from_be_bytes(*rest[64..].first_chunk().expect("4 bytes"));
                let keys = if key > 0 { format!(", key {key} signed") } else { String::new() };
                format!("AUTH_OK, outcome {outcome}, received {received}, {standing}{keys}")
            }
            other => panic!("{other:?} is no record 0 of this story"),
        }];
    }
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let kind = number(&mut rest, 1);
        if kind == 0x17 {
            frames.push(evidence(&mut rest));
            continue;
        }
        if kind == 0x18 {
            frames.push(format!("STANDING {}", standing(&mut rest)));
            continue;
        }
        let mut next = |len| number(&mut rest, len);
        frames.push(match kind {
            0x00 => {
                assert!(rest.iter().all(|byte| *byte == 0), "padding is zeros");
                break;
            }
            0x01 => {
                let (_, channel, len) = (next(1), next(4), next(1));
                format!("OPEN {channel} {}", text(&mut rest, len))
            }
            0x02 => {
                let (more, channel, len) = (next(1), next(4), next(2));
                format!("DATA {channel}{} {:?}", if more == 1 { " MORE" } else { "" }, text(&mut rest, len))
            }
            0x03 => format!("FIN {}", next(4)),
            0x06 => format!("DONE {} {}", next(4), next(8)),
            0x10 => format!("CREDIT {} {}", next(4), next(8)),
            0x11 => format!("TAKEN {} {}", next(4), next(8)),
            0x14 => format!("ACK {}, datagrams {}", next(8), next(4)),
            0x20 => {
                let (code, received, len) = (next(2), next(8), next(2));
                format!("CLOSE {code}, received {received}, {:?}", text(&mut rest, len))
            }
            other => panic!("frame {other:#04x} is not in this story"),
        });
    }
    frames
}

/// The whole story: enrolment by an invite, a message each way before the verdict and behind it, a cut in which both ends lose
/// a message, a resumption by the ticket, and the end.
fn written() -> Vectors {
    let mut first = Story::new(SEEDS[0], Offer::Invite(invite()), (invite().id().0, invite().psk()));
    first.client_says(true); // M1
    first.server_says(true); // M2
    let echo = first.pair.client_session().open("echo", Kind::MESSAGES).expect("a good label");
    first.pair.client.channel(echo).send(b"early".to_vec()).expect("there is room");
    first.client_says(true); // AUTH, and early data behind it
    let session_id = SessionId(*b"\xd0\xd0\xd0\xd0twelve bytes");
    first
        .pair
        .server
        .admit(first.pair.now, duologue::Grant { session_id, ticket: ticket(0x70), ..grant() })
        .expect("it is new");
    first.server_says(true); // AUTH_OK
    assert_eq!(first.read(echo, true), b"early");
    first.pair.server.channel(echo).send(b"EARLY".to_vec()).expect("there is room");
    first.server_says(true); // DATA, TAKEN, ACK
    assert_eq!(first.read(echo, false), b"EARLY");
    first.pair.client_session().show(EvidenceKind::Token, b"a token".to_vec()).expect("it is short");
    first.client_says(true); // EVIDENCE, TAKEN, ACK
    assert_eq!(first.pair.server_seen.evidence.iter().map(|evidence| evidence.number).collect::<Vec<_>>(), [1]);
    first.pair.server_session().tell(&raised(1));
    first.server_says(true); // STANDING
    first.pair.client.channel(echo).send(b"lost".to_vec()).expect("there is room");
    first.client_says(false);
    first.pair.server.channel(echo).send(b"LOST".to_vec()).expect("there is room");
    first.server_says(false);
    // It never leaves as a frame: the next AUTH states it.
    first.pair.client_session().show(EvidenceKind::Token, b"a newer token".to_vec()).expect("it is short");

    let offer = Offer::Ticket(ticket(0x70));
    let mut second = Story::new(SEEDS[1], offer, ([0x70; 16], ticket(0x70).secret));
    for (now, before) in
        [(&mut second.pair.client, &mut first.pair.client), (&mut second.pair.server, &mut first.pair.server)]
    {
        drop(now.detach());
        now.attach(before.detach().expect("its session was here"));
    }
    second.client_says(true); // M1
    second.server_says(true); // M2
    second.client_says(true); // AUTH, EVIDENCE
    let auth = second.pair.server_seen.auth.take().expect("the server was asked");
    assert_eq!(auth.attempt, 2, "the first connection was 1");
    assert_eq!(auth.evidence.iter().map(|evidence| evidence.number).collect::<Vec<_>>(), [2]);
    let Wanted::Resume(resume) = auth.wanted else { panic!("it goes on") };
    assert_eq!((resume.session_id, resume.received), (session_id, 1), "DATA EARLY");
    let outcome = second.pair.server.resume_outcome(second.pair.now, resume.received).expect("it was reached");
    assert_eq!(outcome, Outcome::Resumed { received: 2 }, "OPEN and DATA early");
    let newest = KeyStatement {
        owner: OwnerKey(array(OWNER)),
        number: 1,
        key: identity(SERVER).public(),
        signature: array(OWNERS_SIGNATURE),
    };
    assert!(newest.is_signed());
    let keys = Some(Box::new(ToldKeys { newest, came_by: 1 }));
    let grant = duologue::Grant { session_id, outcome, standing: raised(2), keys, ticket: ticket(0x80), ..grant() };
    second.pair.server.admit(second.pair.now, grant).expect("it goes on");
    second.server_says(true); // AUTH_OK, LOST again
    second.client_says(true); // lost again
    assert_eq!((second.read(echo, true), second.read(echo, false)), (b"lost".to_vec(), b"LOST".to_vec()));
    second.pair.client.channel(echo).finish();
    second.client_says(true);
    second.pair.server.channel(echo).finish();
    second.server_says(true);
    second.pair.client.close(second.pair.now, CloseCode::Normal, "that is all");
    while let Some(message) = second.pair.client_sends() {
        assert!(second.pair.server_takes(&message).is_err(), "it is the end");
        second.sent.push(("client", true, message));
    }

    let device = Device::new(DEVICE);
    Vectors {
        protocol: "duologue/1".to_owned(),
        server_private_key: hex::encode([SERVER; 32]),
        server_public_key: hex::encode(identity(SERVER).public().0),
        owner_public_key: OWNER.to_owned(),
        device_private_key: hex::encode([DEVICE; 32]),
        device_spki: hex::encode(device.key().spki()),
        invite_secret: hex::encode([5; 32]),
        invite_link: invite().to_link("https://localhost"),
        renewal: Renewal::of(&device),
        connections: vec![
            first.wire("enrolment", SEEDS[0], (2, invite().id().0, invite().psk())),
            second.wire("resumption", SEEDS[1], (1, [0x70; 16], ticket(0x70).secret)),
        ],
    }
}

fn in_the_file() -> Vectors {
    serde_json::from_str(FILE).expect("docs/vectors/line.json has the form that its README says")
}

#[test]
fn the_file_is_what_the_core_says_today() {
    let mut text = serde_json::to_string_pretty(&written()).expect("strings and numbers");
    text.push('\n');
    #[cfg(not(target_arch = "wasm32"))]
    if std::env::var_os("DUOLOGUE_WRITE_VECTORS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/vectors/line.json");
        return std::fs::write(path, text).expect("the folder is there");
    }
    assert!(
        text == FILE,
        "write docs/vectors/line.json again, if what changed was meant to (see the top of this test)"
    );
}

#[test]
fn the_noise_layer_alone_reads_the_file() {
    let file = in_the_file();
    for wire in &file.connections {
        let randomness = [array(&wire.client_randomness), array(&wire.server_randomness)];
        let (m1, m2) = (bytes(&wire.m1), bytes(&wire.m2));
        let hello = Hello::read(&array(&file.server_private_key), randomness, &Secret::new(array(&wire.psk)), &m1, &m2);
        assert_eq!(hex::encode(hello.m1_payload), wire.m1_payload);
        assert_eq!(hex::encode(hello.client.handshake_hash()), wire.handshake_hash);
        let (mut client, mut server) = (hello.client, hello.server);
        for record in &wire.records {
            let end = if record.from == "client" { &mut server } else { &mut client };
            let plaintext = end.open(&bytes(&record.sealed)).expect("it opens");
            assert_eq!(hex::encode(&plaintext), record.plaintext);
            assert_eq!(said(&plaintext, record.number == 0), record.says);
        }
    }
}

#[test]
fn a_server_that_hears_the_files_first_client_lets_it_in() {
    let file = in_the_file();
    let wire = &file.connections[0];
    let mut pair = Pair::new(SEEDS[0]).knows(&Invite::from_link(&file.invite_link).expect("a link"));
    pair.server_takes(&bytes(&wire.m1)).expect("a good M1");
    assert_eq!(pair.server_sends().map(hex::encode), Some(wire.m2.clone()), "M2, by the same randomness");
    // What follows acknowledges what only the file's server has said.
    for record in wire.records.iter().filter(|record| record.from == "client" && record.number < 2) {
        pair.server_takes(&bytes(&record.sealed)).expect("a good record");
    }
    let auth = pair.server_seen.auth.as_ref().expect("the server was asked");
    assert!(auth.credential_proved && matches!(auth.credential, Credential::Invite(_)));
    assert_eq!((hex::encode(auth.device.spki()), auth.attempt), (file.device_spki, 1));
    let [echo] = pair.server_seen.opened[..] else { panic!("one channel: {:?}", pair.server_seen.opened) };
    assert_eq!(pair.server.channel(echo).recv(), Ok(Received::Message(b"early".to_vec())));
}
