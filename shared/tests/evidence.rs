//! Evidence behind AUTH and on the open line, and what is told of standing: between two connections of the core, and by a client
//! that breaks the rules.
#![allow(missing_docs, reason = "tests are named for their scenario")]

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod pair;

use duologue::{
    ConnectionError, EvidenceKind, Grant, Instant, InvalidMessage, Kind, PeerMisbehaved, Standing,
    crypto::{Randomness, Secret, sha256},
    limits::{M1_HEADER_LEN, M1_PAYLOAD_LEN, M2_PAYLOAD_LEN, RECORD_0_LEN},
    noise::{Initiator, Responder, Transport},
};
use pair::{Device, Pair, grant, identity};

fn token(pair: &mut Pair, text: &str) -> u32 {
    pair.client_session().show(EvidenceKind::Token, text.as_bytes().to_vec()).expect("it is short")
}

fn raised(evidence: u32) -> Standing {
    Standing { subject: "ann".to_owned(), secs: Some(60), evidence, ..Standing::of_level(2) }
}

#[test]
fn the_newest_evidence_comes_with_auth_in_the_same_flight() {
    let mut pair = Pair::new(1);
    pair.admits = false;
    assert_eq!((token(&mut pair, "old"), token(&mut pair, "new")), (1, 2));
    let channel = pair.client_session().open("echo", Kind::MESSAGES).expect("a good label");
    let m1 = pair.client_sends().expect("M1");
    pair.server_takes(&m1).expect("good");
    let m2 = pair.server_sends().expect("M2");
    pair.client_takes(&m2).expect("good");
    let flight: Vec<_> = std::iter::from_fn(|| pair.client_sends()).collect();
    let lengths: Vec<_> = flight.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1_040, 2_064, 80], "AUTH, EVIDENCE, and an OPEN that waits for nothing");
    for message in &flight {
        pair.server_takes(message).expect("good");
    }
    let auth = pair.server_seen.auth.take().expect("the server was asked, once for both");
    let [evidence] = &auth.evidence[..] else { panic!("the newest only: {:?}", auth.evidence) };
    assert_eq!((evidence.kind, evidence.number, evidence.data()), (EvidenceKind::Token, 2, &b"new"[..]));
    pair.server.admit(pair.now, Grant { standing: raised(2), ..grant() }).expect("good");
    pair.run();
    assert_eq!(pair.server_seen.opened, [channel]);
    assert_eq!(pair.client_seen.grant.map(|grant| grant.standing), Some(raised(2)));
    assert!(pair.server_seen.evidence.is_empty(), "it does not come a second time as a frame");
}

#[test]
fn a_token_and_its_refusal_look_like_any_other_of_their_bucket() {
    let lengths = |len: usize| {
        let mut pair = Pair::new(1).open();
        pair.client_session().show(EvidenceKind::Token, vec![b't'; len]).expect("it is not too long");
        let shown = pair.client_sends().expect("EVIDENCE").len();
        shown - 16
    };
    assert_eq!([1, 1_500, 2_000].map(lengths), [2_048; 3]);
    assert_eq!([2_041, 4_088].map(lengths), [4_096; 2]);
    assert_eq!([4_089, 8_184].map(lengths), [8_192; 2]);
}

#[test]
fn evidence_and_standing_cross_the_open_line() {
    let mut pair = Pair::new(1).open();
    assert_eq!(pair.client_seen.grant.as_ref().map(|grant| grant.standing.level), Some(1));
    token(&mut pair, "one");
    pair.run();
    let [evidence] = &pair.server_seen.evidence[..] else { panic!("{:?}", pair.server_seen.evidence) };
    assert_eq!((evidence.number, evidence.data()), (1, &b"one"[..]));
    pair.server_session().tell(&raised(1));
    pair.run();
    assert_eq!(pair.client_seen.standings, [raised(1)]);
    // Of several that wait only the last is told.
    pair.server_session().tell(&Standing::of_level(0));
    pair.server_session().tell(&Standing::of_level(1));
    pair.run();
    assert_eq!(pair.client_seen.standings, [raised(1), Standing::of_level(1)]);
}

#[test]
fn evidence_goes_before_what_is_to_be_judged_by_it() {
    let mut pair = Pair::new(1).open();
    let channel = pair.client_session().open("echo", Kind::MESSAGES).expect("a good label");
    pair.client.channel(channel).send(vec![7; 60_000]).expect("there is room");
    token(&mut pair, "raises");
    let first = pair.client_sends().expect("a record");
    pair.server_takes(&first).expect("good");
    assert_eq!(pair.server_seen.evidence.len(), 1);
    pair.run();
    assert_eq!(pair.server_seen.opened, [channel]);
}

/// A client by hand, behind M1 and M2.
struct Client {
    pair: Pair,
    transport: Transport,
}

impl Client {
    fn new(capabilities: u8) -> Self {
        let mut pair = Pair::new(1);
        let key = identity(1).public();
        let header = [&[1, 1, 1][..], &sha256(&key.0)[..8], &[0]].concat();
        let mut payload = [0; M1_PAYLOAD_LEN];
        payload[17..27].copy_from_slice(&[1, 0, 0, 0, 0, 4, 0, 0, 1, 0]);
        payload[30] = capabilities;
        let prologue = [b"duologue/1\x01", header.as_slice()].concat();
        let mut initiator = Initiator::new(&key.0, &prologue, Randomness::new([3; 128]));
        let noise = initiator.write_m1(&payload).expect("a real key");
        pair.server_takes(&[header.as_slice(), &noise].concat()).expect("a good M1");
        let m2 = pair.server_sends().expect("M2");
        let (_, payload, transport) = initiator.read_m2(&m2[1..], &[&Secret::NONE]).expect("a good M2");
        assert_eq!(payload[46] & 1, 1, "a server says that it takes evidence");
        Self { pair, transport }
    }

    /// AUTH of a session that begins, with so many records to follow.
    fn auth(&mut self, evidence: u8) -> Result<(), ConnectionError> {
        let device = Device::new(2);
        let spki = device.key().spki().to_vec();
        let signed = [&b"duologue/1 client-auth\0\x01"[..], self.transport.handshake_hash(), &sha256(&spki)].concat();
        let mut auth = [&[3, evidence << 1, 1, 0, 44][..], &spki, &device.sign(&signed)].concat();
        auth.extend_from_slice(&[&[0, 0, 0, 0, 0][..], &[7; 16], &[0; 8], &[0, 0, 0, 1]].concat());
        auth.resize(RECORD_0_LEN, 0);
        self.say(&auth)
    }

    fn open(capabilities: u8) -> Self {
        let mut client = Self::new(capabilities);
        client.auth(0).expect("a good AUTH");
        assert_eq!(client.hear().map(|ok| ok[0]), Some(4), "AUTH_OK");
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
}

/// `type ‖ kind ‖ number ‖ length ‖ data`, filled to a bucket.
fn evidence(head: u8, kind: u8, number: u32, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len()).expect("a length");
    let mut out = [&[head, kind][..], &number.to_be_bytes(), &len.to_be_bytes(), data].concat();
    out.resize(2_048, 0);
    out
}

#[test]
fn two_records_of_two_kinds_belong_to_one_auth_and_an_unknown_kind_proves_nothing() {
    let mut client = Client::new(1);
    client.pair.admits = false;
    client.auth(2).expect("good");
    client.say(&evidence(7, 1, 4, b"token")).expect("good");
    assert!(client.pair.server_seen.auth.is_none(), "AUTH is not whole");
    client.say(&evidence(7, 200, 9, b"of a later version")).expect("good");
    let auth = client.pair.server_seen.auth.take().expect("now it is");
    assert_eq!(auth.evidence.iter().map(|evidence| evidence.number).collect::<Vec<_>>(), [4]);
    client.pair.server.admit(client.pair.now, grant()).expect("good");
    // The other one counts in the order of numbers all the same.
    client.say(&evidence(0x17, 1, 9, b"no higher")).expect("no error");
    assert!(client.pair.server_seen.evidence.is_empty());
    client.say(&evidence(0x17, 1, 10, b"higher")).expect("good");
    assert_eq!(client.pair.server_seen.evidence.len(), 1);
}

#[test]
fn what_is_wrong_with_evidence_behind_auth_ends_the_connection() {
    let good = evidence(7, 1, 1, b"token");
    let rows: [(&str, u8, Vec<Vec<u8>>, ConnectionError); 8] = [
        ("three records", 3, vec![], InvalidMessage::ReservedBits.into()),
        ("a frame in its place", 1, vec![vec![0x12, 0, 0, 0, 1]], InvalidMessage::UnknownType(0x12).into()),
        ("its frame in its place", 1, vec![evidence(0x17, 1, 1, b"x")], InvalidMessage::UnknownType(0x17).into()),
        ("another length", 1, vec![good[..1_024].to_vec()], InvalidMessage::Truncated.into()),
        ("a longer one", 1, vec![[&good[..], &[0; 64]].concat()], InvalidMessage::Trailing.into()),
        ("one kind twice", 2, vec![good.clone(), evidence(7, 1, 2, b"x")], PeerMisbehaved::EvidenceOutOfOrder.into()),
        (
            "numbers that fall",
            2,
            vec![good.clone(), evidence(7, 2, 1, b"x")],
            PeerMisbehaved::EvidenceOutOfOrder.into(),
        ),
        ("none at all", 1, vec![evidence(7, 1, 1, b"")], InvalidMessage::UnknownValue.into()),
    ];
    for (what, count, records, expected) in rows {
        let mut client = Client::new(1);
        let mut results = vec![client.auth(count)];
        results.extend(records.iter().map(|record| client.say(record)));
        assert_eq!(results.pop(), Some(Err(expected.clone())), "{what}");
        assert!(results.iter().all(Result::is_ok), "{what}: {results:?}");
        assert_eq!(client.hear().map(|said| said[..3].to_vec()), Some(vec![5, 0, 2]), "{what}: CLOSE `protocol`");
        assert!(client.pair.server_seen.auth.is_none(), "{what}");
    }
    let mut client = Client::new(1);
    assert_eq!(client.say(&evidence(7, 1, 1, b"before AUTH")), Err(InvalidMessage::Trailing.into()));
}

#[test]
fn whoever_withholds_evidence_has_the_handshakes_five_seconds() {
    let mut client = Client::new(1);
    client.auth(1).expect("good");
    client.pair.server.handle_timeout(Instant::from_micros(4_999_999));
    assert!(!client.pair.server.is_closed() && client.pair.server.awaits_auth());
    client.pair.server.handle_timeout(Instant::from_micros(5_000_000));
    client.pair.answer();
    assert_eq!(client.pair.server_seen.closed, Some(ConnectionError::TimedOut));
    assert!(client.pair.server_seen.auth.is_none());
}

#[test]
fn evidence_behind_auth_counts_among_the_64_kib_before_the_verdict() {
    for (len, fits) in [(65_536 - 2_064, true), (65_536 - 2_063, false)] {
        let mut client = Client::new(1);
        client.pair.admits = false;
        client.auth(1).expect("good");
        client.say(&evidence(7, 1, 1, b"token")).expect("good");
        assert_eq!(client.pair.server_takes(&vec![0; len]).is_ok(), fits, "{len}");
    }
    let mut pair = Pair::new(1);
    pair.admits = false;
    pair.client_session().show(EvidenceKind::Token, vec![b't'; 8_184]).expect("it is not too long");
    let channel = pair.client_session().open("echo", Kind::MESSAGES).expect("a good label");
    pair.client.channel(channel).send(vec![7; 200_000]).expect("there is room");
    pair.run();
    assert_eq!(pair.server_seen.closed, None, "a client keeps to it");
    pair.server.admit(pair.now, grant()).expect("good");
    pair.run();
    assert_eq!(pair.server.channel(channel).recv(), Ok(duologue::Received::Message(vec![7; 200_000])));
}

#[test]
fn frames_of_evidence_that_are_malformed_end_the_session() {
    let good = evidence(0x17, 1, 1, b"token");
    let mut padded = good.clone();
    padded[2_047] = 1;
    let mut longer = good.clone();
    longer[6..8].copy_from_slice(&[0x20, 0]);
    for (what, frame, expected) in [
        ("number 0", evidence(0x17, 1, 0, b"x"), InvalidMessage::UnknownValue),
        ("nothing", evidence(0x17, 1, 1, b""), InvalidMessage::UnknownValue),
        ("cut off", good[..2_047].to_vec(), InvalidMessage::Truncated),
        ("other padding", padded, InvalidMessage::Padding),
        ("8,192 bytes of data", longer, InvalidMessage::TooLong),
    ] {
        assert_eq!(Client::open(1).say(&frame), Err(expected.into()), "{what}");
    }
    // A standing is the server's to tell.
    let standing = [0x18, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(Client::open(1).say(&standing), Err(PeerMisbehaved::Unexpected.into()));
}

#[test]
fn a_number_that_is_not_higher_changes_nothing() {
    let mut client = Client::open(1);
    client.say(&evidence(0x17, 1, 5, b"newest")).expect("good");
    for number in [5, 4, 1] {
        client.say(&evidence(0x17, 1, number, b"older")).expect("no error");
    }
    client.say(&[evidence(0x17, 1, u32::MAX, b"last"), evidence(0x17, 1, 6, b"older")].concat()).expect("good");
    let seen: Vec<_> = client.pair.server_seen.evidence.iter().map(|evidence| evidence.data().to_vec()).collect();
    assert_eq!(seen, [b"newest".to_vec(), b"last".to_vec()]);
}

#[test]
fn a_record_full_of_evidence_is_heard_as_its_newest() {
    let mut client = Client::open(1);
    let many: Vec<u8> = (1..=31).flat_map(|number| evidence(0x17, 1, number, b"x")).collect();
    client.say(&many).expect("good");
    assert_eq!(client.pair.server_seen.evidence.iter().map(|evidence| evidence.number).collect::<Vec<_>>(), [31]);
}

#[test]
fn a_client_that_knows_nothing_of_standing_is_told_none() {
    for (capabilities, told) in [(0, false), (1, true), (0xff, true)] {
        let mut client = Client::open(capabilities);
        client.pair.server_session().tell(&raised(0));
        assert_eq!(client.hear().map(|said| said[0]), told.then_some(0x18), "{capabilities}");
    }
}

/// A server by hand, of a version that has no capabilities.
#[test]
fn a_server_that_takes_no_evidence_is_shown_none() {
    let mut pair = Pair::new(1);
    token(&mut pair, "kept");
    let m1 = pair.client_sends().expect("M1");
    let prologue = [&b"duologue/1\x01"[..], &m1[..M1_HEADER_LEN]].concat();
    let mut server = Responder::new(identity(1).private(), None, &prologue, Randomness::new([4; 128]));
    server.read_m1(&m1[M1_HEADER_LEN..]).expect("M1 is for it");
    let mut payload = [0; M2_PAYLOAD_LEN];
    payload[33..43].copy_from_slice(&[1, 0, 0, 0, 0, 4, 0, 0, 1, 0]);
    let (m2, mut transport) = server.write_m2(&Secret::NONE, &payload).expect("a real key");
    pair.client_takes(&[&[2], &m2[..]].concat()).expect("good");
    let auth = transport.open(&pair.client_sends().expect("AUTH")).expect("it opens");
    assert_eq!(auth[..2], [3, 0], "no record follows");
    assert_eq!(pair.client_sends(), None);
    // AUTH_OK of a version that tells nothing behind the services.
    let mut ok = vec![4, 0];
    ok.extend_from_slice(&[9; 16]);
    ok.resize(RECORD_0_LEN, 0);
    let mut sealed = Vec::new();
    transport.seal(&ok, &mut sealed);
    pair.client_takes(&sealed).expect("good");
    assert_eq!(pair.client_seen.grant.as_ref().map(|grant| grant.standing.clone()), Some(Standing::default()));
    token(&mut pair, "kept too");
    assert_eq!(pair.client_sends(), None, "nor does a frame");
}
