//! Passkeys over real lines, by an authenticator of the tests' own: who is present, who is not, and who may register.
#![allow(missing_docs, reason = "tests are named for their scenario")]

#[path = "passkeys/authenticator.rs"]
mod authenticator;
#[path = "passkeys/bench.rs"]
mod bench;
#[path = "../src/door/tokens/testing.rs"]
mod testing;

use std::time::{Duration, Instant};

use authenticator::{Authenticator, Faults, ORIGIN, RP_ID};
use bench::{
    Bench, ISSUER, ask, ask_on, hears_level, is_open, level, listening, options, present, refused, register,
    registered, step_up, within,
};
use duologue::{DeviceId, ResetCode};
use duologue_client::{Channel, ChannelError, Client, Keyring, Line, LineError, Target};
use duologue_server::{Duologue, PasskeySettings, Policy, State, Terms, Whom};
use serde_json::{Value, json};
use testing::{Signer, now};

#[tokio::test]
async fn who_has_just_come_by_an_invite_registers_a_passkey_and_is_present_by_it() {
    let bench = Bench::start().await;
    let (line, other) = (bench.device_of("ada").await, bench.device_of("ada").await);
    assert!(!is_open(&line, "vault").await);
    assert_eq!(ask(&line, json!({ "ask": "step-up" })).await, refused("passkey-none"));
    let mut authenticator = Authenticator::es256();
    let answer = register(&line, &mut authenticator, "Ada's key").await;
    let told = &answer["passkey"];
    assert_eq!((&told["name"], &told["here"]), (&json!("Ada's key"), &json!(true)), "{answer}");
    assert!(!is_open(&line, "vault").await, "who registers has shown nothing yet");

    // Her other device hears of it, without the words "here".
    let news = within("the news", other.accept()).await.expect("the line is open");
    assert_eq!(news.label(), "passkeys");
    let message = within("the news", news.recv()).await.expect("whole").expect("a message");
    let message: Value = serde_json::from_slice(&message).expect("JSON");
    assert_eq!((&message["registered"]["id"], &message["registered"]["here"]), (&told["id"], &json!(false)));

    let asked = options(&line, "step-up").await;
    assert_eq!((&asked["rpId"], &asked["userVerification"]), (&json!(RP_ID), &json!("required")), "{asked}");
    let credential = authenticator.get(&asked, &Faults::default());
    assert_eq!(present(&line, &credential).await, level(3));
    hears_level(&line, 3).await;
    assert!(is_open(&line, "vault").await);
    assert!(!is_open(&other, "vault").await, "level 3 is the session's");
    let list = ask(&line, json!({ "ask": "list" })).await;
    assert_eq!(list["passkeys"].as_array().map(Vec::len), Some(1), "{list}");
    assert!(list["passkeys"][0]["used_at"].as_u64().is_some_and(|at| at <= now()), "{list}");

    // A second one takes her presence, and every kind of key that is asked for is taken.
    for (make, name) in [(Authenticator::ed25519 as fn() -> _, "EdDSA"), (Authenticator::rs256, "RS256")] {
        let mut another = make();
        let answer = register(&line, &mut another, name).await;
        assert_eq!(answer["passkey"]["name"], name, "{answer}");
        assert_eq!(step_up(&other, &mut another).await, level(3), "{name}");
    }
    assert!(is_open(&other, "vault").await);
}

/// It is relayed from the connection that it was made for, or repeated there.
#[tokio::test]
async fn an_assertion_counts_once_and_in_the_session_that_asked_for_it() {
    let bench = Bench::start().await;
    let client = Client::new(Keyring::in_memory());
    let target = bench.invited(Some("ada"));
    let line = client.connect(&target).await.expect("the invite is good");
    let same_device = client.connect(&target).await.expect("it was let in");
    let same_person = bench.device_of("ada").await;
    let mut authenticator = registered(&line).await;
    let credential = authenticator.get(&options(&line, "step-up").await, &Faults::default());
    for (relayed, what) in [(&same_device, "another line of the device"), (&same_person, "another device")] {
        options(relayed, "step-up").await;
        assert_eq!(present(relayed, &credential).await, refused("passkey-late"), "{what}");
        assert!(!is_open(relayed, "vault").await, "{what}");
    }
    assert_eq!(present(&line, &credential).await, level(3), "where it was asked for it is good still");
    assert_eq!(present(&line, &credential).await, refused("passkey-late"), "once");
    assert!(is_open(&line, "vault").await, "who is present stays so");

    // What is not good was used all the same.
    let asked = options(&same_device, "step-up").await;
    let unverified = authenticator.get(&asked, &Faults { verifies: false, ..Faults::default() });
    assert_eq!(present(&same_device, &unverified).await, refused("passkey-unverified"));
    let verified = authenticator.get(&asked, &Faults::default());
    assert_eq!(present(&same_device, &verified).await, refused("passkey-late"));
    // A challenge for the one is none for the other.
    let asked = options(&line, "register").await;
    assert_eq!(present(&line, &authenticator.get(&asked, &Faults::default())).await, refused("passkey-late"));
}

#[tokio::test]
async fn what_is_not_what_was_asked_for_makes_nobody_present() {
    let bench = Bench::start().await;
    let (line, bobs) = (bench.device_of("ada").await, bench.device_of("bob").await);
    let mut authenticator = registered(&line).await;
    let mut bob = registered(&bobs).await;
    let good = Faults::default;
    let cases = [
        ("for another rp id", Faults { rp_id: "example.com", ..good() }, "passkey-refused"),
        ("without a person", Faults { is_touched: false, ..good() }, "passkey-refused"),
        ("without user verification", Faults { verifies: false, ..good() }, "passkey-unverified"),
        ("of another page", Faults { origin: "https://evil.example", ..good() }, "passkey-refused"),
        ("of a page below", Faults { origin: "https://app.example.org:8443", ..good() }, "passkey-refused"),
        ("of a frame", Faults { more: json!({ "crossOrigin": true }), ..good() }, "passkey-refused"),
        ("of a page in a frame", Faults { more: json!({ "topOrigin": ORIGIN }), ..good() }, "passkey-refused"),
        ("of the other ceremony", Faults { kind: Some("webauthn.create"), ..good() }, "passkey-refused"),
        ("that says of another person", Faults { handle: Some(vec![7; 32]), ..good() }, "passkey-refused"),
        ("that was altered", Faults { alters: true, ..good() }, "passkey-refused"),
        ("that can be backed up of late", Faults { flags: 0x08, ..good() }, "passkey-refused"),
        ("that is backed up and cannot be", Faults { flags: 0x10, ..good() }, "passkey-refused"),
        ("that brings more", Faults { behind: vec![0], ..good() }, "passkey-refused"),
        ("whose extensions are none", Faults { flags: 0x80, behind: vec![1], ..good() }, "passkey-refused"),
        ("of an unknown challenge", Faults { challenge: Some(vec![1; 32]), ..good() }, "passkey-late"),
        ("of no challenge", Faults { challenge: Some(vec![]), ..good() }, "passkey-late"),
        ("of an endless challenge", Faults { challenge: Some(vec![1; 4_000]), ..good() }, "passkey-late"),
    ];
    for (what, faults, word) in cases {
        let credential = authenticator.get(&options(&line, "step-up").await, &faults);
        assert_eq!(present(&line, &credential).await, refused(word), "{what}");
        assert!(!is_open(&line, "vault").await, "{what}");
    }
    // Bob's, over her challenge; and under the name of hers.
    let asked = options(&line, "step-up").await;
    assert_eq!(present(&line, &bob.get_whatever(&asked)).await, refused("passkey-unknown"), "another subject's");
    let mut as_hers = bob.get_whatever(&options(&line, "step-up").await);
    as_hers["id"] = authenticator.id().into();
    assert_eq!(present(&line, &as_hers).await, refused("passkey-refused"), "by another's key");
    assert!(!is_open(&line, "vault").await);
    assert_eq!(step_up(&line, &mut authenticator).await, level(3), "she herself");
}

/// What comes on the channel is anybody's.
#[tokio::test]
async fn what_cannot_be_read_ends_its_channel_and_nothing_else() {
    let bench = Bench::start().await;
    let line = bench.device_of("ada").await;
    let mut authenticator = registered(&line).await;
    for message in [&b"{"[..], b"[]", b"{\"ask\":\"be-me\"}", b"{\"ask\":\"list\",\"of\":\"bob\"}", &[b' '; 8_193]] {
        let channel = line.channel("passkeys").expect("the line is open");
        channel.send(message).await.expect("there is room");
        let end = within("an end", channel.recv()).await;
        assert!(matches!(end, Err(LineError::Channel(ChannelError::Reset(_)))), "{end:?}");
    }
    for client_data in ["", "AA", "bm8"] {
        let mut credential = authenticator.get(&options(&line, "step-up").await, &Faults::default());
        credential["response"]["clientDataJSON"] = client_data.into();
        assert_eq!(present(&line, &credential).await, refused("passkey-refused"), "{client_data}");
    }
    for data in ["", "AA"] {
        let mut credential = authenticator.get(&options(&line, "step-up").await, &Faults::default());
        credential["response"]["authenticatorData"] = data.into();
        assert_eq!(present(&line, &credential).await, refused("passkey-refused"), "{data}");
    }
    assert_eq!(step_up(&line, &mut authenticator).await, level(3));
}

#[tokio::test]
async fn a_counter_that_goes_back_is_a_copy_and_makes_nobody_present() {
    let bench = Bench::start().await;
    let (line, thiefs) = (bench.device_of("ada").await, bench.device_of("ada").await);
    let mut authenticator = registered(&line).await;
    let mut copy = authenticator.clone();
    for _ in 0..3 {
        assert_eq!(step_up(&line, &mut authenticator).await, level(3));
    }
    assert_eq!(step_up(&thiefs, &mut copy).await, refused("passkey-copied"));
    assert!(!is_open(&thiefs, "vault").await);
    // One that has counted and says that it does not.
    let credential = copy.get(&options(&thiefs, "step-up").await, &Faults { counter: Some(0), ..Faults::default() });
    assert_eq!(present(&thiefs, &credential).await, refused("passkey-copied"));
    // Those that never count, as most on phones, are good.
    let mut never = Authenticator::es256().without_counter();
    assert!(register(&line, &mut never, "a phone").await["passkey"].is_object());
    for _ in 0..2 {
        assert_eq!(step_up(&thiefs, &mut never).await, level(3));
    }
}

#[tokio::test]
async fn a_challenge_is_good_for_its_time_and_two_wait_at_most() {
    let origins = Some(vec![ORIGIN.to_owned()]);
    let settings = PasskeySettings { rp_id: Some(RP_ID.to_owned()), origins, timeout: 2, ..Default::default() };
    let bench = Bench::start_with(settings).await;
    let line = bench.device_of("ada").await;
    let mut authenticator = loop {
        // A busy machine may need longer than the 2 s for this.
        let mut authenticator = Authenticator::es256();
        if register(&line, &mut authenticator, "a key").await["passkey"].is_object() {
            break authenticator;
        }
    };
    let asked = options(&line, "step-up").await;
    assert_eq!(asked["timeout"], 2_000);
    tokio::time::sleep(Duration::from_millis(2_050)).await;
    let credential = authenticator.get(&asked, &Faults::default());
    assert_eq!(present(&line, &credential).await, refused("passkey-late"), "its time is over");

    let bench = Bench::start().await;
    let line = bench.device_of("ada").await;
    let mut authenticator = registered(&line).await;
    let asked = [options(&line, "step-up").await, options(&line, "step-up").await, options(&line, "step-up").await];
    let [first, second, third] = asked.map(|asked| authenticator.get(&asked, &Faults::default()));
    assert_eq!(present(&line, &first).await, refused("passkey-late"), "two have come after it");
    assert_eq!(present(&line, &second).await, level(3));
    assert_eq!(present(&line, &third).await, level(3));
}

#[tokio::test]
async fn a_change_of_network_under_the_persons_finger_harms_nothing_and_a_fresh_session_knows_nothing() {
    let mut bench = Bench::start().await;
    let line = bench.device_of("ada").await;
    let mut authenticator = registered(&line).await;
    let channel = line.channel("passkeys").expect("the line is open");
    let (asked, _) = ask_on(&channel, &json!({ "ask": "step-up" })).await;
    let credential = authenticator.get(&asked["publicKey"], &Faults::default());
    bench.cut();
    // On the channel that has asked, which goes on with its session.
    let (answer, _) = ask_on(&channel, &json!({ "ask": "present", "credential": credential })).await;
    assert_eq!(answer, level(3), "the challenge is the session's, not the connection's");
    assert!(is_open(&line, "vault").await);
    bench.cut();
    assert!(is_open(&line, "vault").await, "and so is what it raised to");

    let late = authenticator.get(&options(&line, "step-up").await, &Faults::default());
    bench.restart().await;
    hears_level(&line, 1).await;
    let is_broken = within("the end of what had begun", channel.broken()).await;
    assert!(!matches!(is_broken, ChannelError::Finished), "{is_broken:?}");
    assert_eq!(present(&line, &late).await, refused("passkey-late"));
    assert!(!is_open(&line, "vault").await, "level 3 ends with its session");
    assert_eq!(step_up(&line, &mut authenticator).await, level(3), "asked anew");
}

/// A script, or a thief, at level 1 or 2 does not make himself present by a passkey of his own.
#[tokio::test]
async fn who_registers_has_just_logged_in_or_is_present_where_there_is_a_passkey() {
    let bench = Bench::start().await;
    let token = |subject: &str, auth_time: Value| {
        Signer::EdDsa.token(&json!({
            "iss": ISSUER, "aud": "app", "sub": subject, "iat": now() - 60, "exp": now() + 600, "auth_time": auth_time,
        }))
    };
    for (what, auth_time) in [
        ("no time", json!(null)),
        ("6 minutes ago", json!(now() - 360)),
        ("in a minute", json!(now() + 60)),
        ("no number", json!("now")),
    ] {
        let line = bench.device_with(&token("ada", auth_time)).await;
        hears_level(&line, 2).await;
        assert_eq!(ask(&line, json!({ "ask": "register" })).await, refused("login-too-old"), "{what}");
    }
    let nobodys = Client::new(Keyring::in_memory()).connect(&bench.invited(None)).await.expect("it is good");
    for ask_for in ["register", "step-up", "list"] {
        assert_eq!(ask(&nobodys, json!({ "ask": ask_for })).await, refused("no-subject"), "{ask_for}");
    }
    // The app's own login, a moment ago.
    assert_eq!(within("the login", nobodys.request("login", "zoe")).await, Ok(b"done".to_vec()));
    registered(&nobodys).await;

    let line = bench.device_with(&token("ada", json!(now() - 10))).await;
    let mut authenticator = registered(&line).await;
    // From now on nobody adds one of his own, whatever he has logged in with, nor takes hers away.
    let thiefs = bench.device_with(&token("ada", json!(now()))).await;
    let invited = bench.device_of("ada").await;
    for line in [&line, &thiefs, &invited] {
        assert_eq!(ask(line, json!({ "ask": "register" })).await, refused("step-up-needed"));
        let id = ask(line, json!({ "ask": "list" })).await["passkeys"][0]["id"].clone();
        assert_eq!(ask(line, json!({ "ask": "remove", "id": id })).await, refused("step-up-needed"));
    }
    assert_eq!(step_up(&line, &mut authenticator).await, level(3));
    for number in 2..=8 {
        let answer = register(&line, &mut Authenticator::es256(), &format!("key {number}")).await;
        assert!(answer["passkey"].is_object(), "{number}: {answer}");
    }
    assert_eq!(ask(&line, json!({ "ask": "register" })).await, refused("passkey-too-many"));
}

/// Her session at a computer that others use stays hers, and whoever sits there now hears nothing of her.
#[tokio::test]
async fn where_she_has_signed_out_nobody_is_told_of_her_new_passkey() {
    let bench = Bench::start().await;
    let claims = json!({ "iss": ISSUER, "aud": "app", "sub": "ada", "iat": now() - 60, "exp": now() + 600 });
    let left = bench.device_with(&Signer::EdDsa.token(&claims)).await;
    hears_level(&left, 2).await;
    left.sign_out().await.expect("the line is open");
    hears_level(&left, 1).await;
    let (line, other) = (bench.device_of("ada").await, bench.device_of("ada").await);
    registered(&line).await;
    assert_eq!(within("the news", other.accept()).await.expect("the line is open").label(), "passkeys");
    // What was told would have come before this answer.
    assert_eq!(ask(&left, json!({ "ask": "list" })).await, refused("no-subject"));
    let news = tokio::time::timeout(Duration::from_millis(1), left.accept()).await;
    assert!(news.is_err(), "it is told of a passkey of somebody who has left");
}

/// Who asked while there was none comes second with his own: by then it takes hers.
#[tokio::test]
async fn of_two_who_register_the_first_passkey_at_the_same_time_one_does() {
    let bench = Bench::start().await;
    let (line, thiefs) = (bench.device_of("ada").await, bench.device_of("ada").await);
    let asked = [options(&line, "register").await, options(&thiefs, "register").await];
    let [hers, his] = asked.map(|asked| Authenticator::es256().create(&asked, &Faults::default()));
    let say = |credential: Value| json!({ "ask": "registered", "credential": credential });
    assert!(ask(&line, say(hers)).await["passkey"].is_object());
    assert_eq!(ask(&thiefs, say(his)).await, refused("step-up-needed"));
}

#[tokio::test]
async fn a_passkey_that_is_not_what_was_asked_for_is_not_registered() {
    let bench = Bench::start().await;
    let line = bench.device_of("ada").await;
    let good = Faults::default;
    let cases = [
        ("for another rp id", Faults { rp_id: "example.com", ..good() }, "passkey-refused"),
        ("without user verification", Faults { verifies: false, ..good() }, "passkey-unverified"),
        ("of another page", Faults { origin: "https://evil.example", ..good() }, "passkey-refused"),
        ("of the other ceremony", Faults { kind: Some("webauthn.get"), ..good() }, "passkey-refused"),
        ("without a key", Faults { brings_key: false, ..good() }, "passkey-refused"),
        ("attested by a maker", Faults { format: "fido-u2f", ..good() }, "passkey-refused"),
        (
            "attested by nobody in more words",
            Faults { statement: Some(json!({ "a": 1 })), ..good() },
            "passkey-refused",
        ),
        ("with a long id", Faults { id: Some(vec![1; 1_024]), ..good() }, "passkey-refused"),
        ("with an empty id", Faults { id: Some(vec![]), ..good() }, "passkey-refused"),
        ("with more behind it", Faults { behind: vec![0], ..good() }, "passkey-refused"),
        ("of an unknown challenge", Faults { challenge: Some(vec![1; 32]), ..good() }, "passkey-late"),
        // ML-DSA-44, whose keys are of the kind 7 (AKP).
        ("by ML-DSA", Faults { algorithm: Some((-48, 7)), ..good() }, "passkey-algorithm"),
        ("by ES256K", Faults { algorithm: Some((-47, 2)), ..good() }, "passkey-algorithm"),
        ("by ES256 on another kind of key", Faults { algorithm: Some((-7, 1)), ..good() }, "passkey-refused"),
    ];
    for (what, faults, word) in cases {
        let credential = Authenticator::es256().create(&options(&line, "register").await, &faults);
        let answer = ask(&line, json!({ "ask": "registered", "credential": credential })).await;
        assert_eq!(answer, refused(word), "{what}");
    }
    assert_eq!(ask(&line, json!({ "ask": "list" })).await, json!({ "passkeys": [] }));
    // By its own key, which is what some browsers pass on.
    let mut own = Authenticator::es256();
    let credential = own.create(&options(&line, "register").await, &Faults { format: "packed", ..good() });
    let answer = ask(&line, json!({ "ask": "registered", "credential": credential })).await;
    assert!(answer["passkey"].is_object(), "{answer}");
    // What is registered for her is not for bob.
    let bobs = bench.device_of("bob").await;
    let credential = own.create(&options(&bobs, "register").await, &Faults::default());
    let answer = ask(&bobs, json!({ "ask": "registered", "credential": credential })).await;
    assert_eq!(answer, refused("passkey-known"));
}

/// A channel that is open to who is present ends with what made her so.
#[tokio::test]
async fn level_3_ends_with_its_age_the_passkey_a_sign_out_and_the_subject() {
    let bench = Bench::start().await;
    let (line, other) = (bench.device_of("ada").await, bench.device_of("ada").await);
    let mut authenticator = registered(&line).await;
    let (vault, moment) = ("vault", "moment");
    for line in [&line, &other] {
        assert_eq!(step_up(line, &mut authenticator).await, level(3));
    }
    let is_over = async |channel: &Channel| {
        let start = Instant::now();
        let end = within("an end", channel.recv()).await;
        let is_it = |code| matches!(code, ResetCode::NotAllowed | ResetCode::StepUpNeeded);
        assert!(matches!(end, Err(LineError::Channel(ChannelError::Reset(code))) if is_it(code)), "{end:?}");
        start.elapsed()
    };
    let opened = async |line: &Line, label: &str| {
        let channel = line.channel(label).expect("the line is open");
        channel.send("open?").await.expect("there is room");
        within("an answer", channel.recv()).await.expect("it is open").expect("an answer");
        channel
    };
    // Its age: 1 s in one rule, none in another.
    let (of_vault, of_moment) = loop {
        assert_eq!(step_up(&line, &mut authenticator).await, level(3));
        if is_open(&line, moment).await {
            break (opened(&line, vault).await, line.channel(moment).expect("the line is open"));
        }
    };
    is_over(&of_moment).await;
    assert!(!is_open(&line, moment).await && is_open(&line, vault).await);

    // She removes it on the other one: nobody is present by it any more.
    let id = ask(&other, json!({ "ask": "list" })).await["passkeys"][0]["id"].clone();
    let removed = ask(&other, json!({ "ask": "remove", "id": id })).await;
    assert_eq!(removed["passkey"]["id"], id);
    let took = is_over(&of_vault).await;
    println!("reset {took:?} after the passkey was removed");
    for line in [&line, &other] {
        hears_level(line, 1).await;
        assert!(!is_open(line, vault).await);
    }
    assert_eq!(ask(&other, json!({ "ask": "step-up" })).await, refused("passkey-none"));

    // Whoever signs out is not present, and asks by nothing that was begun.
    let mut authenticator = registered(&line).await;
    let begun = authenticator.get(&options(&line, "step-up").await, &Faults::default());
    assert_eq!(step_up(&line, &mut authenticator).await, level(3));
    let of_vault = opened(&line, vault).await;
    line.sign_out().await.expect("the line is open");
    is_over(&of_vault).await;
    hears_level(&line, 1).await;
    assert_eq!(present(&line, &begun).await, refused("passkey-late"));

    assert_eq!(step_up(&line, &mut authenticator).await, level(3));
    bench.revoke(Whom::subject("ada")).await;
    within("the line's end", line.closed()).await;
}

/// Whoever sees the records sees whether something was asked, and not what became of it.
#[tokio::test]
async fn a_refused_assertion_looks_like_any_other() {
    let bench = Bench::start().await;
    let line = bench.device_of("ada").await;
    let mut authenticator = registered(&line).await;
    let channel = line.channel("passkeys").expect("the line is open");
    let mut told = line.standing();
    let mut seen = Vec::new();
    for faults in [Faults::default(), Faults { verifies: false, ..Faults::default() }] {
        let (asked, _) = ask_on(&channel, &json!({ "ask": "step-up" })).await;
        let credential = authenticator.get(&asked["publicKey"], &faults);
        told.mark_unchanged();
        let (answer, len) = ask_on(&channel, &json!({ "ask": "present", "credential": credential })).await;
        within("its standing", told.changed()).await.expect("the line is open");
        seen.push((answer, len));
    }
    assert_eq!(seen, [(level(3), 2_048), (refused("passkey-unverified"), 2_048)]);
}

#[tokio::test]
async fn where_no_passkeys_are_taken_the_label_leads_nowhere() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = State::open(directory.path()).expect("a new state");
    let terms = Terms { subject: Some("ada".to_owned()), ..Terms::default() };
    let invite = state.new_invite_for(&terms, Duration::from_secs(60)).expect("an invite");
    let duologue = Duologue::new(state, Policy::loopback());
    let address = format!("http://{}", listening(&duologue).await);
    let keyring = Keyring::in_memory();
    assert_ne!(DeviceId::of_spki(keyring.device().spki()), DeviceId([0; 32]));
    let target = Target::parse(&invite.to_link(&address)).expect("a link");
    let line = Client::new(keyring).connect(&target).await.expect("the invite is good");
    let end = within("an end", line.request("passkeys", "{\"ask\":\"step-up\"}")).await;
    assert!(matches!(end, Err(LineError::Channel(ChannelError::Reset(ResetCode::Refused)))), "{end:?}");
}
