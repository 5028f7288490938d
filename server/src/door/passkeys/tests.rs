//! What is taken of an authenticator's answer and what is not, beyond what real lines show (server/tests/passkeys.rs).

use std::time::Instant;

use duologue::{DeviceId, SessionId};

use super::{presence::Presence, *};
use crate::{
    door::standing::{Level, Proof, Standing, Subject},
    state::store::PasskeyId,
};

fn passkeys(settings: PasskeySettings, host: &str) -> Passkeys {
    Passkeys::new(settings, host).expect("settings")
}

#[test]
fn a_page_asks_for_its_own_session_and_an_app_where_its_owner_has_listed_it() {
    let (app, other) = ("https://app.example.org", "https://example.org");
    let any = passkeys(PasskeySettings::default(), "app.example.org");
    assert_eq!(any.rp_id(), "app.example.org", "that of the server's address");
    assert!(any.may_ask(app, Some(app)), "each page that the server serves, which the upgrade was judged by");
    assert!(!any.may_ask(app, Some(other)) && !any.may_ask(other, Some(app)), "for the session of another page");
    assert!(!any.may_ask(app, None), "a native client, which says no page");
    let listed = PasskeySettings { origins: Some(vec![app.to_owned()]), ..PasskeySettings::default() };
    let listed = passkeys(listed, "example.org");
    assert!(listed.may_ask(app, Some(app)) && listed.may_ask(app, None));
    assert!(!listed.may_ask(other, Some(other)) && !listed.may_ask(other, None), "one that is not");
}

#[test]
fn passkeys_are_for_a_name_and_never_for_an_address() {
    for host in ["192.0.2.1", "[2001:db8::1]", "2001:db8::1", "", "exam ple", "example.org.", "-a.example", "0x7f.1"] {
        let refused = Passkeys::new(PasskeySettings::default(), host);
        assert!(matches!(refused, Err(InvalidPasskeySettings::Address(_))), "{host}: {refused:?}");
    }
    for host in ["localhost", "Example.org", "xn--bcher-kva.example"] {
        assert_eq!(passkeys(PasskeySettings::default(), host).rp_id(), host.to_ascii_lowercase());
    }
    let named = |rp_id: &str| PasskeySettings { rp_id: Some(rp_id.to_owned()), ..PasskeySettings::default() };
    for (rp_id, host) in
        [("example.org", "app.example.org"), ("example.org", "Example.org"), ("localhost", "localhost")]
    {
        assert_eq!(passkeys(named(rp_id), host).rp_id(), rp_id);
    }
    // No browser would make one there, and nobody would know why.
    for (rp_id, host) in
        [("example.org", "example.com"), ("app.example.org", "example.org"), ("ample.org", "example.org")]
    {
        let refused = Passkeys::new(named(rp_id), host);
        assert!(matches!(refused, Err(InvalidPasskeySettings::Elsewhere { .. })), "{host}: {refused:?}");
    }
    // What the file cannot say: that its pages are not of the host that the server turns out to have.
    let origins = Some(vec!["https://app.example.org".to_owned()]);
    let refused = Passkeys::new(PasskeySettings { origins, ..PasskeySettings::default() }, "example.com");
    assert!(matches!(refused, Err(InvalidPasskeySettings::Stranger { .. })), "{refused:?}");
}

/// PROTOCOL.md, section 14, written down a second time.
#[test]
fn a_challenge_is_the_sessions_the_handshakes_the_servers_chance_and_the_devices() {
    let (session, hash, random, device) = (SessionId([1; 16]), [2; 32], [3; 32], DeviceId([4; 32]));
    let challenge = |session, hash, random, device| {
        Presence::new(session, hash).challenge(device, Purpose::StepUp, random, [0; 32], Instant::now())
    };
    let mut bytes = b"duologue step-up".to_vec();
    bytes.push(0);
    for part in [&session.0[..], &hash, &random, &device.0] {
        bytes.extend_from_slice(part);
    }
    let expected = ring::digest::digest(&ring::digest::SHA256, &bytes);
    assert_eq!(challenge(session, hash, random, device), expected.as_ref());
    let others = [
        challenge(SessionId([9; 16]), hash, random, device),
        challenge(session, [9; 32], random, device),
        challenge(session, hash, [9; 32], device),
        challenge(session, hash, random, DeviceId([9; 32])),
    ];
    for (at, other) in others.iter().enumerate() {
        assert_ne!(*other, expected.as_ref(), "without part {at} it would be good elsewhere");
    }
}

#[test]
fn a_challenge_is_taken_once_in_time_and_for_what_it_was_given() {
    let mut presence = Presence::new(SessionId([1; 16]), [2; 32]);
    let (start, timeout) = (Instant::now(), Duration::from_secs(300));
    let mut chance = 0;
    let mut ask = |presence: &mut Presence, purpose| {
        chance += 1;
        presence.challenge(DeviceId([4; 32]), purpose, [chance; 32], [chance; 32], start)
    };
    let late = start + timeout;
    let in_time = late - Duration::from_millis(1);
    let one = ask(&mut presence, Purpose::StepUp);
    assert_eq!(presence.take(&one, Purpose::StepUp, timeout, in_time), Some([1; 32]));
    assert_eq!(presence.take(&one, Purpose::StepUp, timeout, in_time), None, "once");
    let two = ask(&mut presence, Purpose::StepUp);
    assert_eq!(presence.take(&two, Purpose::StepUp, timeout, late), None, "its time is over");
    assert_eq!(presence.take(&two, Purpose::StepUp, timeout, in_time), None, "and it was used by that");
    let three = ask(&mut presence, Purpose::Register);
    assert_eq!(presence.take(&three, Purpose::StepUp, timeout, in_time), None);
    assert_eq!(presence.take(&three[..31], Purpose::Register, timeout, in_time), None);
    let (four, five) = (ask(&mut presence, Purpose::StepUp), ask(&mut presence, Purpose::Register));
    presence.forget();
    assert_eq!(presence.take(&four, Purpose::StepUp, timeout, in_time), None, "somebody has signed out");
    assert_eq!(presence.take(&five, Purpose::Register, timeout, in_time), None);
}

#[test]
fn presence_raises_whose_the_session_is_and_nobody_else() {
    let by: PasskeyId = [5; 32];
    let mut presence = Presence::new(SessionId([1; 16]), [2; 32]);
    let ada = Standing { subject: Subject::new("ada").ok(), ..Standing::device() };
    assert_eq!(presence.raised(&ada), None, "nobody has shown to be there");
    presence.shown(1_000, by);
    let raised = presence.raised(&ada).expect("she is");
    assert_eq!((raised.level, raised.present_at, raised.subject), (Level::Present, Some(1_000), ada.subject.clone()));
    assert_eq!(presence.raised(&Standing::device()), None, "a device of nobody");
    assert_eq!(presence.raised(&Standing { level: Level::Guest, ..ada.clone() }), None, "a guest");
    // What was proved ends, and the device is hers without it: she stays; else she is nobody.
    presence.proved(&Standing { proof: Proof::Vouch, ..ada.clone() }, 1_100);
    assert_eq!(presence.logged_in_at(), Some(1_100));
    presence.ended(&ada);
    assert_eq!((presence.by(), presence.logged_in_at()), (Some(by), None));
    presence.ended(&Standing::device());
    assert_eq!(presence.by(), None);
}

/// Nested as deep as there is room, endless lengths, and random bytes in the place of what an authenticator says.
#[test]
fn no_bytes_of_an_authenticator_make_a_decoder_panic_or_think_for_long() {
    const LEN: usize = 6_000;
    let start = Instant::now();
    let judge = passkeys(PasskeySettings::default(), "example.org");
    let origin = "https://example.org";
    let client_data =
        |kind: &str| format!("{{\"type\":\"{kind}\",\"challenge\":\"AAAA\",\"origin\":\"{origin}\"}}").into_bytes();
    let (create, get) = (client_data("webauthn.create"), client_data("webauthn.get"));
    let judge_all = |bytes: &[u8]| {
        for client_data in [bytes, &create] {
            let registration = Registration { client_data, attestation: bytes };
            assert!(judge.made(&registration, Some(origin)).is_err());
        }
        for (cose, auth_data) in [(bytes, &[0; 37][..]), (&[0xa0][..], bytes), (bytes, bytes)] {
            let assertion = Assertion { client_data: &get, auth_data, signature: bytes };
            assert!(judge.used(&assertion, cose, false, Some(origin)).is_err());
        }
        // As the public key of a credential; and as extensions, of which any map is one.
        let head = [&judge.0.rp_id_hash[..], &[0xc5, 0, 0, 0, 0], &[0; 16], &[0, 1, 7]].concat();
        assert!(AuthData::parse(&[&head, bytes].concat()).is_err());
        let _ = AuthData::parse(&[&judge.0.rp_id_hash[..], &[0x85, 0, 0, 0, 0], bytes].concat());
    };
    for first in [0x81, 0x9f, 0xa1, 0xbf, 0xc1, 0x7f, 0x5f, 0xd8, 0xff] {
        judge_all(&[first; LEN]);
    }
    for head in [0x9b, 0xbb, 0x5b, 0x7b, 0xdb] {
        judge_all(&[&[head][..], &[0xff; 8]].concat());
        judge_all(&[&[head, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff][..], &[0; 64]].concat());
    }
    // A map of as many entries as there is room for, all different, as one is searched for its like.
    let mut entries = vec![0xb9, 0x07, 0xd0];
    (0..2_000_u16).for_each(|key| entries.extend([&[0x19][..], &key.to_be_bytes(), &[0]].concat()));
    judge_all(&entries);
    let mut state = 0x9e37_79b9_u32;
    for round in 0..2_000_usize {
        let bytes: Vec<u8> = (0..round % 200)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            })
            .collect();
        judge_all(&bytes);
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}
