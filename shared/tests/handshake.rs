//! The handshake as users and attackers meet it: DESIGN section 4, and what `docs/SECURITY.md` promises of it.
#![allow(missing_docs, reason = "tests are named for their scenario")]

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod pair;

use duologue::{
    Budget, CloseCode, Connection, ConnectionError, Event, Instant, Invite, Kind, Line, Offer, PeerMisbehaved,
    Randomness, ServerConfig, crypto::RANDOMNESS_LEN, limits, upgrade,
};
use pair::{Device, Pair, config, grant, identity, ticket};

/// Natively every byte is tried; in a page, where a handshake costs ten times as much, every eleventh.
const STEP: usize = if cfg!(target_arch = "wasm32") { 11 } else { 1 };

fn invite(seed: u8) -> Invite {
    Invite::new([seed; 32], identity(1).public())
}

#[test]
fn a_device_key_alone_opens_the_line() {
    let pair = Pair::new(1).open();
    let auth = pair.server_seen.auth.expect("the server was asked");
    assert_eq!(auth.device, pair.device.key());
    assert_eq!(auth.claims.origin, "https://localhost");
    assert_eq!(pair.client_seen.grant, Some(grant()));
}

#[test]
fn m1_in_the_upgrade_request_needs_no_first_message() {
    let mut pair = Pair::new(1);
    // The bench has taken the second form; this client takes the first.
    let device = Device::new(2);
    let config = config(&identity(1), &device, Offer::Nothing);
    let randomness = Randomness::new([3; RANDOMNESS_LEN]);
    pair.client = Connection::connect(config, randomness, pair.now).expect("a real key");
    pair.client.attach(Box::new(duologue::Session::new(duologue::Role::Client, Budget::default())));
    let offered = pair.client.upgrade_offer().join(", ");
    pair.client.handle_upgrade(pair.now, upgrade::WITH_M1).expect("a subprotocol of ours");
    assert_eq!(pair.client_sends(), None, "nothing leaves before M2");
    let upgrade::Offered::M1(m1) = upgrade::read_offer(&offered) else { panic!("no M1 in {offered}") };
    assert_eq!(m1.len(), limits::M1_LEN);
    pair.server_takes(&m1).expect("a good M1");
    pair.open();
}

#[test]
fn a_server_that_speaks_something_else_is_named() {
    let mut pair = Pair::new(1);
    let error = pair.client.handle_upgrade(pair.now, "graphql-ws");
    assert_eq!(error, Err(PeerMisbehaved::NoSubprotocol.into()));
}

#[test]
fn every_handshake_message_has_one_length() {
    let sizes = |mut pair: Pair| {
        let m1 = pair.client_sends().expect("M1");
        pair.server_takes(&m1).expect("good");
        let m2 = pair.server_sends().expect("M2");
        pair.client_takes(&m2).expect("good");
        let auth = pair.client_sends().expect("AUTH");
        pair.server_takes(&auth).expect("good");
        let ok = pair.server_sends().expect("AUTH_OK");
        [m1.len(), m2.len(), auth.len(), ok.len()]
    };
    let expected = [limits::M1_LEN, limits::M2_LEN, limits::RECORD_0_LEN + 16, limits::RECORD_0_LEN + 16];
    assert_eq!(sizes(Pair::new(1)), expected);
    let offer = Offer::Invite(invite(5));
    let with_invite = Pair::with(1, &identity(1), config(&identity(1), &Device::new(7), offer), Device::new(7));
    assert_eq!(sizes(with_invite.knows(&invite(5))), expected);
}

#[test]
fn any_flipped_byte_of_m1_is_refused_without_an_answer() {
    let m1 = Pair::new(1).client_sends().expect("M1");
    for at in (0..m1.len()).step_by(STEP) {
        let mut pair = Pair::new(1);
        let mut altered = m1.clone();
        altered[at] ^= 1 << (at % 8);
        assert!(pair.server_takes(&altered).is_err(), "byte {at}");
        assert_eq!(pair.server_sends(), None, "byte {at}: silence is all that an attacker gets");
        assert!(pair.server.is_closed());
    }
}

#[test]
fn any_flipped_byte_of_m2_is_refused_by_name() {
    for at in (0..limits::M2_LEN).step_by(STEP) {
        let mut pair = Pair::new(1);
        let m1 = pair.client_sends().expect("M1");
        pair.server_takes(&m1).expect("good");
        let mut m2 = pair.server_sends().expect("M2");
        m2[at] ^= 1 << (at % 8);
        assert_eq!(pair.client_takes(&m2), Err(ConnectionError::NotYourServer), "byte {at}");
        assert_eq!(pair.client_sends(), None, "byte {at}: no signature leaves");
    }
}

#[test]
fn any_flipped_byte_of_auth_is_refused_by_name() {
    for at in (0..limits::RECORD_0_LEN + 16).step_by(STEP) {
        let mut pair = Pair::new(1);
        let m1 = pair.client_sends().expect("M1");
        pair.server_takes(&m1).expect("good");
        let m2 = pair.server_sends().expect("M2");
        pair.client_takes(&m2).expect("good");
        let mut auth = pair.client_sends().expect("AUTH");
        auth[at] ^= 1 << (at % 8);
        assert_eq!(pair.server_takes(&auth), Err(ConnectionError::Altered), "byte {at}");
        assert!(pair.server_seen.auth.is_none(), "byte {at}: nobody was asked");
    }
}

#[test]
fn any_flipped_byte_of_auth_ok_is_refused_by_name() {
    for at in (0..limits::RECORD_0_LEN + 16).step_by(STEP) {
        let mut pair = Pair::new(1);
        let m1 = pair.client_sends().expect("M1");
        pair.server_takes(&m1).expect("good");
        let m2 = pair.server_sends().expect("M2");
        pair.client_takes(&m2).expect("good");
        let auth = pair.client_sends().expect("AUTH");
        pair.server_takes(&auth).expect("good");
        let mut ok = pair.server_sends().expect("AUTH_OK");
        ok[at] ^= 1 << (at % 8);
        assert_eq!(pair.client_takes(&ok), Err(ConnectionError::Altered), "byte {at}");
        assert!(pair.client_seen.grant.is_none(), "byte {at}: the line never said open");
    }
}

#[test]
fn a_handshake_message_cut_or_lengthened_is_refused() {
    let m1 = Pair::new(1).client_sends().expect("M1");
    for len in [0, 1, 11, 12, 13, m1.len() - 1] {
        assert!(Pair::new(1).server_takes(&m1[..len]).is_err(), "cut to {len}");
    }
    assert!(Pair::new(1).server_takes(&[m1.as_slice(), &[0]].concat()).is_err());
    assert!(Pair::new(1).server_takes(&[0x01; 60_000]).is_err(), "oversized");
    assert!(Pair::new(1).server_takes(&[0x01; 70_000]).is_err(), "longer than any record");
}

#[test]
fn a_wrong_pinned_key_is_refused_on_both_sides() {
    // The client pins key 3, the server that answers has key 1 (and would recognise only its own id).
    let device = Device::new(2);
    let mut pair = Pair::with(1, &identity(1), config(&identity(3), &device, Offer::Nothing), device);
    let m1 = pair.client_sends().expect("M1");
    assert_eq!(pair.server_takes(&m1), Err(ConnectionError::NotForThisServer));
    assert_eq!(pair.server_sends(), None);
    pair.client.handle_lost(pair.now);
    pair.answer();
    // A proxy that holds the answer back looks no other: only an M2 could be evidence.
    assert_eq!(pair.client_seen.closed, Some(ConnectionError::Unanswered));
}

#[test]
fn a_middleman_with_a_key_of_his_own_is_named() {
    // He forges the key id, so that only the key agreement can tell.
    let mut pair = Pair::new(1);
    let m1 = pair.client_sends().expect("M1");
    let mut forged = m1.clone();
    forged[3..11].copy_from_slice(&identity(3).public().id().0);
    let config = ServerConfig { identity: identity(3), next: None };
    pair.server = Connection::accept(config, Randomness::new([4; 128]), pair.now);
    assert_eq!(pair.server_takes(&forged), Err(ConnectionError::NotForThisServer));
    // He answers all the same, with an M2 of his own making: that of another client's handshake with him.
    let device = Device::new(2);
    let mut his = Pair::with(9, &identity(3), pair::config(&identity(3), &device, Offer::Nothing), device);
    let his_m1 = his.client_sends().expect("M1");
    his.server_takes(&his_m1).expect("good");
    let m2 = his.server_sends().expect("M2");
    assert_eq!(pair.client_takes(&m2), Err(ConnectionError::NotYourServer));
}

#[test]
fn a_replayed_recording_of_a_client_gets_no_further_than_m2() {
    let mut pair = Pair::new(1);
    let m1 = pair.client_sends().expect("M1");
    pair.server_takes(&m1).expect("good");
    let m2 = pair.server_sends().expect("M2");
    pair.client_takes(&m2).expect("good");
    let auth = pair.client_sends().expect("AUTH");

    // The same server, some other day: other randomness.
    let mut replay = Pair::new(77);
    replay.server_takes(&m1).expect("M1 may be replayed, and consumes nothing");
    assert!(replay.server_sends().is_some());
    assert_eq!(replay.server_takes(&auth), Err(ConnectionError::Altered));
    assert!(replay.server_seen.auth.is_none());
}

#[test]
fn m1_reflected_to_its_sender_is_refused() {
    let mut pair = Pair::new(1);
    let m1 = pair.client_sends().expect("M1");
    assert_eq!(pair.client_takes(&m1), Err(ConnectionError::NotYourServer));
}

#[test]
fn a_signature_by_another_device_is_refused() {
    let mut pair = Pair::new(1);
    pair.device = Device::new(99);
    pair.run();
    assert_eq!(pair.server_seen.closed, Some(ConnectionError::BadSignature));
    assert!(pair.server_seen.auth.is_none());
    let Some(ConnectionError::PeerClosed(close)) = pair.client_seen.closed else { panic!("{:?}", pair.client_seen) };
    assert_eq!(close.code, CloseCode::BadSignature);
}

#[test]
fn a_signature_from_another_handshake_is_refused() {
    let mut old = Pair::new(1);
    old.signs = false;
    old.run();
    let signature = old.device.sign(old.to_sign.as_ref().expect("the client asks"));
    let mut pair = Pair::new(2);
    pair.signs = false;
    pair.run();
    pair.client.provide_signature(signature);
    pair.run();
    assert_eq!(pair.server_seen.closed, Some(ConnectionError::BadSignature));
}

#[test]
fn an_invite_is_proved_by_the_handshake() {
    let device = Device::new(2);
    let offer = Offer::Invite(invite(5));
    let pair = Pair::with(1, &identity(1), config(&identity(1), &device, offer), device).knows(&invite(5)).open();
    let auth = pair.server_seen.auth.expect("the server was asked");
    assert!(auth.credential_proved);
}

#[test]
fn an_invite_that_the_server_does_not_know_opens_nothing_for_a_new_device() {
    let device = Device::new(2);
    let offer = Offer::Invite(invite(5));
    let mut pair = Pair::with(1, &identity(1), config(&identity(1), &device, offer), device);
    pair.run();
    assert_eq!(pair.client_seen.closed, Some(ConnectionError::InviteUnknown));
    assert!(pair.server_seen.auth.is_none(), "no signature left the device");
}

#[test]
fn an_old_invite_does_not_lock_out_an_enrolled_device() {
    let device = Device::new(2);
    let mut config = config(&identity(1), &device, Offer::Invite(invite(5)));
    config.enrolled = true;
    let pair = Pair::with(1, &identity(1), config, device).open();
    assert!(!pair.server_seen.auth.expect("the server was asked").credential_proved);
}

#[test]
fn a_server_that_knows_another_secret_for_the_invite_is_refused() {
    let device = Device::new(2);
    let offer = Offer::Invite(invite(5));
    let mut pair = Pair::with(1, &identity(1), config(&identity(1), &device, offer), device);
    pair.secrets.insert(invite(5).id().0, invite(6).psk());
    pair.run();
    assert_eq!(pair.client_seen.closed, Some(ConnectionError::NotYourServer));
}

#[test]
fn a_forgotten_ticket_does_not_lock_out_its_device() {
    let device = Device::new(2);
    let config = config(&identity(1), &device, Offer::Ticket(ticket(4)));
    Pair::with(1, &identity(1), config, device).open();
}

#[test]
fn silence_ends_the_handshake_after_five_seconds_at_every_step() {
    let at = |secs: u64| Instant::from_micros(secs * 1_000_000);
    for steps in 0..2 {
        let mut pair = Pair::new(1);
        if steps > 0 {
            let m1 = pair.client_sends().expect("M1");
            pair.server_takes(&m1).expect("good");
            assert!(pair.server_sends().is_some());
        }
        pair.server.handle_timeout(Instant::from_micros(4_999_999));
        assert!(!pair.server.is_closed());
        assert_eq!(pair.server.poll_timeout(), Some(at(5)));
        pair.server.handle_timeout(at(5));
        pair.answer();
        assert_eq!(pair.server_seen.closed, Some(ConnectionError::TimedOut));
    }
    let mut pair = Pair::new(1);
    assert_eq!(pair.client.poll_timeout(), Some(at(2)), "in its first form it waits for M2 no longer");
    pair.client.handle_timeout(at(2));
    pair.answer();
    assert_eq!(pair.client_seen.closed, Some(ConnectionError::Unanswered));
    let device = Device::new(2);
    let config = config(&identity(1), &device, Offer::Nothing);
    let mut unopened = Connection::connect(config, Randomness::new([7; 128]), at(0)).expect("a good key");
    unopened.handle_timeout(at(10));
    assert!(matches!(unopened.poll_event(), Some(Event::Closed(ConnectionError::TimedOut))));
}

#[test]
fn text_messages_are_refused_in_every_state() {
    let mut fresh = Pair::new(1);
    assert_eq!(fresh.server.handle_text(fresh.now), Err(PeerMisbehaved::TextMessage.into()));
    assert_eq!(fresh.client.handle_text(fresh.now), Err(PeerMisbehaved::TextMessage.into()));
    let mut open = Pair::new(1).open();
    assert_eq!(open.server.handle_text(open.now), Err(PeerMisbehaved::TextMessage.into()));
    open.run();
    assert!(
        matches!(open.client_seen.closed, Some(ConnectionError::PeerClosed(close)) if close.code == CloseCode::Altered)
    );
}

#[test]
fn a_message_out_of_turn_is_refused() {
    let mut pair = Pair::new(1);
    pair.signs = false;
    pair.run();
    assert_eq!(pair.client.handle_message(pair.now, &mut [0; 80]), Err(ConnectionError::Altered));
}

#[test]
fn what_comes_before_the_verdict_is_held_up_to_64_kib() {
    let mut pair = Pair::new(1);
    pair.admits = false;
    let channel = pair.client_session().open("echo", Kind::MESSAGES).expect("a good label");
    pair.client.channel(channel).send(b"early".to_vec()).expect("there is room");
    pair.run();
    assert!(pair.server_seen.opened.is_empty(), "nothing is read before the verdict");
    pair.server.admit(pair.now, grant()).expect("the early data is good");
    pair.answer();
    assert_eq!(pair.server_seen.opened, [channel]);

    let mut flood = Pair::new(1);
    flood.admits = false;
    flood.run();
    assert_eq!(flood.server_takes(&[0; 65_000]), Ok(()), "not opened yet, and so not found out");
    assert!(flood.server_takes(&[0; 1_000]).is_err());
    assert_eq!(flood.server_seen.closed, Some(PeerMisbehaved::TooMuchEarlyData.into()));
}

#[test]
fn a_client_with_much_to_say_keeps_to_64_kib_before_the_verdict() {
    let mut pair = Pair::new(1);
    pair.admits = false;
    let channel = pair.client_session().open("echo", Kind::MESSAGES).expect("a good label");
    let big: Vec<u8> = (0..200_000_u32).map(|index| index.to_be_bytes()[3]).collect();
    pair.client.channel(channel).send(big.clone()).expect("there is room");
    pair.run();
    assert_eq!(pair.server_seen.closed, None);
    pair.server.admit(pair.now, grant()).expect("the early data is good");
    pair.run();
    assert!(pair.server.channel(channel).recv() == Ok(duologue::Received::Message(big)));
}

#[test]
fn all_refusals_after_m2_look_alike_on_the_wire() {
    let lengths = |pair: &mut Pair| {
        let mut lengths = Vec::new();
        while let Some(message) = pair.server_sends() {
            lengths.push(message.len());
        }
        lengths
    };
    let up_to_auth = |pair: &mut Pair| {
        let m1 = pair.client_sends().expect("M1");
        pair.server_takes(&m1).expect("good");
        let m2 = pair.server_sends().expect("M2");
        pair.client_takes(&m2).expect("good");
        pair.client_sends().expect("AUTH")
    };
    let mut refused = Vec::new();
    for code in [CloseCode::DeviceRevoked, CloseCode::InviteUsed, CloseCode::OriginRefused, CloseCode::NotEnrolled] {
        let mut pair = Pair::new(1);
        pair.admits = false;
        let auth = up_to_auth(&mut pair);
        pair.server_takes(&auth).expect("good");
        pair.server.refuse(pair.now, code);
        refused.push(lengths(&mut pair));
    }
    let mut altered = Pair::new(1);
    let mut auth = up_to_auth(&mut altered);
    auth[500] ^= 1;
    assert!(altered.server_takes(&auth).is_err());
    refused.push(lengths(&mut altered));

    let mut forged = Pair::new(1);
    forged.device = Device::new(50);
    let auth = up_to_auth(&mut forged);
    assert!(forged.server_takes(&auth).is_err());
    refused.push(lengths(&mut forged));

    let mut silent = Pair::new(1);
    up_to_auth(&mut silent);
    silent.server.handle_timeout(Instant::from_micros(5_000_000));
    refused.push(lengths(&mut silent));

    assert!(refused.iter().all(|lengths| *lengths == [limits::RECORD_0_LEN + 16]), "{refused:?}");
}

/// It ended the session, and the client heard nothing: it dialled again, and was told that its session was not known.
#[test]
fn a_count_in_auth_that_was_never_reached_is_told_under_the_seal_and_ends_the_session() {
    let mut pair = Pair::new(1);
    pair.admits = false;
    pair.run();
    let other = Connection::accept(
        ServerConfig { identity: identity(1), next: None },
        Randomness::new([3; RANDOMNESS_LEN]),
        pair.now,
    );
    let mut connection = std::mem::replace(&mut pair.server, other);
    connection.detach();
    let mut line = Line::server(Budget::default());
    let rejected = line.attach(pair.now, connection, Some(1), grant()).expect_err("it was sent nothing");
    assert_eq!(rejected.error, PeerMisbehaved::CountOutOfRange.into());
    assert_eq!(line.closed(), Some(&rejected.error), "whoever counts so cannot go on");
    pair.server = rejected.connection;
    pair.run();
    let Some(ConnectionError::PeerClosed(close)) = pair.client_seen.closed else { panic!("{:?}", pair.client_seen) };
    assert_eq!(close.code, CloseCode::Protocol);
}

/// Whoever is on the way can send one: it ended the client's session with `protocol`.
#[test]
fn a_message_longer_than_a_record_costs_a_connection_only_also_while_the_verdict_is_out() {
    let mut pair = Pair::new(1);
    pair.admits = false;
    pair.run();
    assert!(pair.server_seen.auth.is_some());
    assert_eq!(pair.server_takes(&vec![0; 65_536]), Err(ConnectionError::Altered));
    pair.run();
    let Some(ConnectionError::PeerClosed(close)) = &pair.client_seen.closed else { panic!("{:?}", pair.client_seen) };
    assert_eq!(close.code, CloseCode::Altered);
    assert!(pair.client_seen.closed.as_ref().is_some_and(ConnectionError::is_resumable));
}

/// Rule: an M1 can be replayed for nothing. Under pressure it must be made over a nonce of this very socket.
#[test]
fn a_server_that_asks_for_freshness_gets_an_m1_that_is_good_there_only() {
    let mut pair = Pair::new(1);
    pair.server.ask_freshness();
    assert!(!pair.server.awaits_any_m1());
    let asked = pair.server_sends().expect("what it asks");
    assert_eq!(asked.len(), 17);
    // The client has seen no M1 taken, as if somebody had stripped its request: the first one is on its way already.
    let first = pair.client_sends().expect("M1");
    pair.server_takes(&first).expect("passed over, and nothing computed for it");
    assert_eq!(pair.server_sends(), None, "no M2 for an M1 that may be a replay");
    pair.client_takes(&asked).expect("an M1 is made anew");
    let fresh = pair.client_sends().expect("the fresh M1");
    assert_eq!((fresh.len(), &fresh[12..28]), (limits::M1_LEN + 16, &asked[1..]));
    assert!(fresh[28..] != first[12..], "other keys: one key pair is good for one M1");

    // Recorded, it is good for no other socket: neither for one that asks, nor for one that does not.
    for asks in [true, false] {
        let mut other = Pair::new(5);
        if asks {
            other.server.ask_freshness();
            other.server_sends().expect("what it asks");
        }
        assert_eq!(other.server_takes(&fresh), Err(PeerMisbehaved::Unexpected.into()), "it asks: {asks}");
        assert_eq!(other.server_sends(), None);
    }

    pair.server_takes(&fresh).expect("good");
    pair.open();
}

/// An M1 that was made anew said nothing of what its client can do: the server told it no standing.
#[test]
fn an_m1_made_anew_says_of_its_client_what_the_first_one_said() {
    let mut pair = Pair::new(1);
    pair.server.ask_freshness();
    let mut pair = pair.open();
    let standing = duologue::Standing::of_level(0);
    pair.server_session().tell(&standing);
    pair.run();
    assert_eq!(pair.client_seen.standings, [standing]);
}

#[test]
fn a_server_that_asks_for_freshness_passes_over_one_m1_and_no_second() {
    let mut pair = Pair::new(1);
    pair.server.ask_freshness();
    let stale = pair.client_sends().expect("M1");
    pair.server_takes(&stale).expect("passed over");
    assert_eq!(pair.server_takes(&stale), Err(PeerMisbehaved::Unexpected.into()));
}

#[test]
fn a_client_makes_m1_anew_once_and_only_where_it_was_asked() {
    let mut pair = Pair::new(1);
    let asked = [&[6_u8][..], &[0xee; 16]].concat();
    pair.client_takes(&asked).expect("once");
    assert_eq!(pair.client_takes(&asked), Err(ConnectionError::NotYourServer), "twice is nobody's server");
    // A nonce that was changed on the way shows at the server, and costs it no key agreement.
    let mut pair = Pair::new(1);
    pair.server.ask_freshness();
    let mut asked = pair.server_sends().expect("what it asks");
    asked[3] ^= 1;
    let _first = pair.client_sends();
    pair.client_takes(&asked).expect("it cannot tell");
    let fresh = pair.client_sends().expect("an M1");
    assert_eq!(pair.server_takes(&fresh), Err(PeerMisbehaved::Unexpected.into()));
}

#[test]
fn the_nonce_of_a_fresh_m1_is_part_of_the_handshake() {
    let mut pair = Pair::new(1);
    pair.server.ask_freshness();
    let asked = pair.server_sends().expect("what it asks");
    let _first = pair.client_sends();
    pair.client_takes(&asked).expect("good");
    let mut fresh = pair.client_sends().expect("an M1");
    // Who takes the flag away that it is fresh, or the nonce, gets nowhere with the rest.
    fresh[11] = 1;
    fresh.drain(12..28);
    let mut other = Pair::new(5);
    assert_eq!(other.server_takes(&fresh), Err(ConnectionError::NotForThisServer));
}
