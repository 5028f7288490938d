//! Tokens on real lines: behind AUTH and on the open line, raised, fallen, renewed, copied, and of somebody else.
#![allow(missing_docs, reason = "tests are named for their scenario")]

mod persons;

use std::time::{Duration, Instant};

use duologue::{ChannelError, CloseCode, ConnectionError, FreshReason, Offer, ResetCode};
use duologue_server::{Group, LabelPattern, Level, LineError, Rule, Rules, Subject, TokenSettings, Whom};
use persons::{
    Bench, Browser, NOT_ALLOWED, end, signed,
    testing::{base64url, now},
    token, until_lost,
};
use serde_json::{Value, json};

#[tokio::test]
async fn a_token_on_the_open_line_raises_a_newer_one_renews_and_its_end_lowers() {
    let mut bench = Bench::start().await;
    let ada = bench.come(1, Some(bench.invite()), None);
    ada.hears("a device that was let in", |told| told.level == 1 && told.subject.is_empty()).await;
    let early = ada.line.channel("staff").expect("the line is open");
    assert_eq!(end(&early).await, NOT_ALLOWED, "not yet");

    ada.show(&signed(&token("ada", 5)));
    let told = ada.hears("who it is", |told| told.level == 2).await;
    assert_eq!((told.subject.as_str(), told.evidence, told.refused.as_str()), ("ada", 1, ""));
    assert!(told.secs.is_some_and(|secs| secs <= 10), "{told:?}");
    let channel = ada.line.channel("staff").expect("the line is open");
    let call = bench.call().await;
    let identity = call.identity();
    assert_eq!(identity.subject.as_ref().map(ToString::to_string).as_deref(), Some("ada"));
    assert_eq!(identity.groups.iter().map(ToString::to_string).collect::<Vec<_>>(), ["staff"]);
    ada.hears("that newer is wanted before it ends", |told| told.level == 2 && told.wants_evidence).await;

    // Renewed on the open line: nothing breaks.
    ada.show(&signed(&token("ada", 6)));
    ada.hears("of the newer one", |told| told.evidence == 2 && told.level == 2).await;
    assert_eq!(call.identity().level, Level::Account);
    let any = ada.line.channel("any").expect("the line is open");

    // Its end, without another: what it has opened is reset, and the line goes on.
    assert_eq!(end(&channel).await, NOT_ALLOWED);
    let fallen = ada.hears("that it has fallen", |told| told.level == 1 && told.wants_evidence).await;
    assert_eq!(fallen.refused, "token-expired");
    assert_eq!((call.identity().level, call.identity().subject), (Level::Device, None), "the call's is as it is now");
    any.send("still here").await.expect("a device's own channel is open");
}

#[tokio::test]
async fn a_token_behind_auth_lets_a_device_in_that_nobody_knows_and_its_end_puts_it_out() {
    let mut bench = Bench::start().await;
    let stranger = bench.come(1, None, None);
    let told = stranger.closed().await;
    assert!(matches!(told, ConnectionError::PeerClosed(ref close) if close.code == CloseCode::NotEnrolled), "{told:?}");
    let refused = bench.come(2, None, Some(&signed(&json!({ "iss": "https://other.example" }))));
    let told = refused.closed().await;
    assert!(matches!(told, ConnectionError::PeerClosed(ref close) if close.code == CloseCode::NotEnrolled), "{told:?}");

    let ada = bench.come(3, None, Some(&signed(&token("ada", 2))));
    let told = ada.hears("who it is", |told| told.level == 2).await;
    assert_eq!((told.subject.as_str(), told.evidence), ("ada", 1));
    let channel = ada.line.channel("staff").expect("the line is open");
    assert_eq!(bench.call().await.identity().level, Level::Account);
    end(&channel).await.expect_err("it is out");
    let told = ada.closed().await;
    assert!(matches!(told, ConnectionError::PeerClosed(ref close) if close.code == CloseCode::NotEnrolled), "{told:?}");
    assert_eq!(bench.state.store().devices().expect("a store").len(), 0, "and has left nothing in the store");
}

#[tokio::test]
async fn what_is_not_taken_is_told_by_its_word_and_changes_nothing() {
    let bench = Bench::start().await;
    let ada = bench.come(1, Some(bench.invite()), Some("no token at all"));
    let told = ada.hears("why not", |told| told.evidence == 1).await;
    assert_eq!((told.level, told.refused.as_str(), told.wants_evidence), (1, "token-malformed", true));
    let mut other = token("ada", 300);
    other["aud"] = json!("elsewhere");
    let mut bound = token("ada", 300);
    bound["cnf"] = json!({ "jkt": base64url([7; 32]) });
    for (number, claims, word) in
        [(2, other, "token-audience"), (3, bound, "token-of-another-device"), (4, token("ada", -60), "token-expired")]
    {
        ada.show(&signed(&claims));
        let told = ada.hears(word, |told| told.evidence == number).await;
        assert_eq!((told.level, told.refused.as_str(), told.subject.as_str()), (1, word, ""));
    }
    ada.show(&signed(&token("ada", 300)));
    ada.hears("who it is", |told| told.evidence == 5 && told.level == 2).await;

    let bench = Bench::start_with(false).await;
    let ada = bench.come(1, Some(bench.invite()), Some(&signed(&token("ada", 300))));
    let told = ada.hears("that none is taken", |told| told.evidence == 1).await;
    assert_eq!((told.level, told.refused.as_str(), told.wants_evidence), (1, "token-not-taken", false));
}

#[tokio::test]
async fn a_device_bound_token_is_worth_nothing_on_a_second_device_and_a_bearers_is_until_its_end() {
    let mut bench = Bench::start().await;
    let (ada, mallory) = (bench.come(1, Some(bench.invite()), None), bench.come(2, Some(bench.invite()), None));
    for bind in ["nonce", "cnf"] {
        let mut bound = token("ada", 300);
        match bind {
            "nonce" => bound["nonce"] = json!(ada.binding.nonce),
            _ => bound["cnf"] = json!({ "jkt": ada.binding.jkt }),
        }
        let bound = signed(&bound);
        ada.show(&bound);
        ada.hears("who it is", |told| told.level == 2).await;
        mallory.show(&bound);
        mallory.hears("that it is not his", |told| told.refused == "token-of-another-device").await;
        let channel = mallory.line.channel("staff").expect("the line is open");
        assert_eq!(end(&channel).await, NOT_ALLOWED);
    }
    // Copied, it works: until its end.
    mallory.show(&signed(&token("ada", 3)));
    let told = mallory.hears("that it is taken", |told| told.level == 2).await;
    assert_eq!(told.subject, "ada");
    let channel = mallory.line.channel("staff").expect("the line is open");
    bench.call().await;
    assert_eq!(end(&channel).await, NOT_ALLOWED, "gone with its end");
    mallory.hears("that it is over", |told| told.level == 1 && told.refused == "token-expired").await;
}

#[tokio::test]
async fn evidence_of_another_subject_ends_the_session_on_the_open_line_and_behind_auth() {
    let mut bench = Bench::start().await;
    let ada = bench.come(1, Some(bench.invite()), Some(&signed(&token("ada", 300))));
    ada.hears("who it is", |told| told.level == 2).await;
    ada.show(&signed(&token("bob", 300)));
    let told = ada.closed().await;
    assert!(
        matches!(told, ConnectionError::PeerClosed(ref close) if close.code == CloseCode::SubjectChanged),
        "{told:?}"
    );

    // Shown while there was no connection: the session that was there is over, and nothing of it is carried over.
    let ada = bench.come(2, Some(bench.invite()), Some(&signed(&token("ada", 300))));
    ada.hears("who it is", |told| told.subject == "ada").await;
    let hers = ada.line.channel("staff").expect("the line is open");
    bench.call().await;
    ada.cut();
    until_lost(&ada).await;
    ada.show(&signed(&token("bob", 300)));
    end(&hers).await.expect_err("it was hers");
    ada.hears("who it is now", |told| told.subject == "bob").await;
    assert_eq!(*ada.fresh.lock().expect("whole"), [FreshReason::Subject]);
    let _his = ada.line.channel("staff").expect("the line is open");
    assert_eq!(bench.call().await.identity().subject.map(|subject| subject.to_string()).as_deref(), Some("bob"));
}

#[tokio::test]
async fn a_stolen_ticket_is_worth_nothing_with_another_subjects_token() {
    let bench = Bench::start().await;
    let ada = bench.come(1, Some(bench.invite()), Some(&signed(&token("ada", 300))));
    ada.hears("who it is", |told| told.level == 2).await;
    let stolen = || Offer::Ticket(ada.tickets.lock().expect("whole").last().expect("she was let in").clone());
    let browser = Browser::default();
    let nobody = bench.come_with(2, stolen(), None, &browser);
    assert_eq!(nobody.turned_out().await.0, CloseCode::NotEnrolled);
    let bob = bench.come_with(3, stolen(), Some(&signed(&token("bob", 300))), &browser);
    let told = bob.hears("who he is", |told| told.level == 2).await;
    assert_eq!(told.subject, "bob", "by his token, and by nothing else");
    bob.sign_out();
    assert_eq!(bob.turned_out().await.0, CloseCode::NotEnrolled, "nobody has let his device in");
    // What she has goes on, and her ticket with it.
    let again = bench.come_with(1, stolen(), None, &browser);
    again.hears("that she is in", |told| told.level == 1).await;
    ada.cut();
    until_lost(&ada).await;
    ada.told.lock().expect("whole").clear();
    assert_eq!(ada.hears("who it is", |told| told.level == 2).await.subject, "ada");
    assert!(ada.fresh.lock().expect("whole").is_empty());
}

#[tokio::test]
async fn a_session_that_goes_on_has_the_standing_that_it_had_and_what_was_shown_meanwhile() {
    let mut bench = Bench::start().await;
    let ada = bench.come(1, Some(bench.invite()), Some(&signed(&token("ada", 300))));
    ada.hears("who it is", |told| told.level == 2).await;
    let channel = ada.line.channel("staff").expect("the line is open");
    let call = bench.call().await;
    for number in [1, 2] {
        ada.told.lock().expect("whole").clear();
        ada.cut();
        until_lost(&ada).await;
        if number == 2 {
            ada.show(&signed(&token("ada", 600)));
        }
        let told = ada.hears("who it is, behind AUTH", |told| told.evidence == number).await;
        assert_eq!((told.level, told.subject.as_str(), told.refused.as_str()), (2, "ada", ""));
        assert_eq!(told.secs.is_some_and(|secs| secs > 400), number == 2, "the newer one counts: {told:?}");
        channel.send("on").await.expect("the channel goes on");
    }
    assert_eq!(call.identity().level, Level::Account);
    assert!(ada.fresh.lock().expect("whole").is_empty(), "it is one session");
    assert_eq!(bench.duologue.directory().connected().len(), 1);
}

#[tokio::test]
async fn a_revoked_token_ends_its_lines_at_once_and_is_told_by_name_when_it_comes_again() {
    let mut bench = Bench::start().await;
    let mut named = token("ada", 300);
    named["jti"] = json!("no. 1");
    let named = signed(&named);
    let ada = bench.come(1, Some(bench.invite()), Some(&named));
    ada.hears("who it is", |told| told.level == 2).await;
    let channel = ada.line.channel("staff").expect("the line is open");
    bench.call().await;
    bench.duologue.revoke(Whom::token("no. 1"));
    end(&channel).await.expect_err("it is out");
    // It comes again by itself, and stays what its device is.
    let told = ada.hears("that it is revoked", |told| told.level == 1).await;
    assert_eq!(told.refused, "token-revoked");
    let bob = bench.come(2, Some(bench.invite()), Some(&named));
    let told = bob.hears("that it is revoked", |told| told.evidence == 1).await;
    assert_eq!((told.level, told.refused.as_str()), (1, "token-revoked"));
    bench.duologue.revoke(Whom::group("staff"));
    bob.show(&signed(&token("bob", 300)));
    let told = bob.hears("that its group is", |told| told.evidence == 2).await;
    assert_eq!((told.level, told.refused.as_str()), (1, "token-revoked"));
}

#[tokio::test]
async fn who_signs_out_is_out_in_every_session_of_the_device_and_nobody_else_is() {
    let mut bench = Bench::start().await;
    let bearer = signed(&token("ada", 300));
    let ada = bench.come(1, Some(bench.invite()), Some(&bearer));
    ada.hears("who it is", |told| told.level == 2).await;
    let second_tab = bench.come(1, None, Some(&bearer));
    second_tab.hears("who it is", |told| told.level == 2).await;
    let elsewhere = bench.come(2, Some(bench.invite()), Some(&bearer));
    elsewhere.hears("who it is", |told| told.level == 2).await;
    let mut open = Vec::new();
    for person in [&ada, &second_tab, &elsewhere] {
        let channel = person.line.channel("staff").expect("the line is open");
        open.push((channel, bench.call().await));
    }
    let any = ada.line.channel("any").expect("the line is open");
    bench.call().await;

    ada.sign_out();
    let told = ada.hears("that it is out", |told| told.evidence == 2).await;
    assert_eq!((told.level, told.refused.as_str(), told.wants_evidence), (1, "signed-out", false));
    assert_eq!(told.subject, "", "the device is nobody's");
    let told = second_tab.hears("that it is out", |told| told.level == 1).await;
    assert_eq!((told.evidence, told.refused.as_str(), told.wants_evidence), (1, "signed-out", false));
    let (hers, call) = &open[0];
    assert_eq!((end(hers).await, call.identity().level), (NOT_ALLOWED, Level::Device));
    assert_eq!(end(&open[1].0).await, NOT_ALLOWED, "of the other tab too");
    any.send("still here").await.expect("what a device may open goes on");
    open[2].0.send("still here").await.expect("another device is not this one");
    assert_eq!(open[2].1.identity().level, Level::Account);

    // What was shown before the word counts no more, also over another connection.
    ada.told.lock().expect("whole").clear();
    ada.cut();
    until_lost(&ada).await;
    let told = ada.hears("what it is, behind AUTH", |told| told.evidence == 2).await;
    assert_eq!((told.level, told.refused.as_str()), (1, "signed-out"));
    assert!(ada.fresh.lock().expect("whole").is_empty(), "it is one session");
    // Nor does the word count twice: who has signed in again in another session stays.
    second_tab.show(&bearer);
    second_tab.hears("who it is", |told| told.level == 2 && told.evidence == 2).await;
    ada.told.lock().expect("whole").clear();
    ada.cut();
    until_lost(&ada).await;
    ada.hears("what it is, behind AUTH", |told| told.evidence == 2).await;
    let _channel = second_tab.line.channel("staff").expect("the line is open");
    assert_eq!(bench.call().await.identity().level, Level::Account);
}

#[tokio::test]
async fn who_signs_out_without_a_connection_is_out_with_the_next_one() {
    let mut bench = Bench::start().await;
    let ada = bench.come(1, Some(bench.invite()), Some(&signed(&token("ada", 300))));
    ada.hears("who it is", |told| told.level == 2).await;
    let channel = ada.line.channel("staff").expect("the line is open");
    bench.call().await;
    ada.cut();
    until_lost(&ada).await;
    ada.sign_out();
    let told = ada.hears("that it is out", |told| told.evidence == 2).await;
    assert_eq!((told.level, told.refused.as_str()), (1, "signed-out"));
    assert_eq!(end(&channel).await, NOT_ALLOWED);
    // The session stays hers: what was open in it is never another's.
    ada.show(&signed(&token("bob", 300)));
    let told = ada.closed().await;
    assert!(
        matches!(told, ConnectionError::PeerClosed(ref close) if close.code == CloseCode::SubjectChanged),
        "{told:?}"
    );
}

#[tokio::test]
async fn who_was_here_by_a_token_alone_and_signs_out_is_put_out() {
    let bench = Bench::start().await;
    for is_cut in [false, true] {
        let letter = 1 + u8::from(is_cut);
        let ada = bench.come(letter, None, Some(&signed(&token("ada", 300))));
        ada.hears("who it is", |told| told.level == 2).await;
        if is_cut {
            ada.cut();
            until_lost(&ada).await;
        }
        ada.sign_out();
        let (code, why) = ada.turned_out().await;
        assert_eq!(code, CloseCode::NotEnrolled);
        assert_eq!(why, "signed-out", "behind AUTH too: {is_cut}");
        assert_eq!(bench.duologue.directory().connected(), [], "nor does a session of it wait");
    }
}

#[tokio::test]
async fn what_a_service_says_of_a_person_is_told_to_the_client() {
    let mut bench = Bench::start().await;
    let ada = bench.come(1, Some(bench.invite()), None);
    ada.hears("a device that was let in", |told| told.level == 1).await;
    let _any = ada.line.channel("any").expect("the line is open");
    let call = bench.call().await;
    call.vouch(Subject::new("ada").expect("a name"), &[], now() + 300).expect("nobody's so far");
    let told = ada.hears("who it is", |told| told.level == 2).await;
    assert!(told.subject == "ada" && told.secs.is_some_and(|secs| (1..=300).contains(&secs)), "{told:?}");
    call.sign_out();
    let told = ada.hears("that it is over", |told| told.refused == "signed-out").await;
    assert_eq!((told.level, told.subject.as_str()), (1, ""));
}

/// Waits until a device is bound to this subject, as another session of it is told; empty: to nobody.
async fn until_bound(bench: &Bench, letter: u8, subject: &str) {
    let start = Instant::now();
    loop {
        let again = bench.come(letter, None, None);
        let told = again.hears("whose it is", |_| true).await;
        again.line.close(CloseCode::Normal, "");
        if told.subject == subject {
            assert_eq!(told.level, 1, "a binding raises nothing");
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "it is {:?}'s", told.subject);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_token_of_this_device_binds_it_to_its_subject_until_it_is_released() {
    for (letter, bind) in [(1, "nonce"), (2, "cnf")] {
        let bench = Bench::start().await;
        let ada = bench.come(letter, Some(bench.invite()), None);
        ada.hears("a device", |told| told.level == 1).await;
        let of_device = |subject: &str| {
            let mut bound = token(subject, 300);
            match bind {
                "nonce" => bound["nonce"] = json!(ada.binding.nonce),
                _ => bound["cnf"] = json!({ "jkt": ada.binding.jkt }),
            }
            signed(&bound)
        };
        // Of another session of the device, in which somebody else has shown a bearer token, the binding is true too.
        let other = bench.come(letter, None, Some(&signed(&token("bob", 300))));
        other.hears("who it is", |told| told.level == 2).await;
        ada.show(&of_device("ada"));
        ada.hears("who it is", |told| told.level == 2).await;
        assert_eq!(other.turned_out().await.0, CloseCode::SubjectChanged);
        until_bound(&bench, letter, "ada").await;
        // Nobody else's counts there now, be it of this device or a bearer's.
        for foreign in [of_device("bob"), signed(&token("bob", 300))] {
            let bob = bench.come(letter, None, Some(&foreign));
            let told = bob.hears("that it is not his", |told| told.evidence == 1).await;
            assert_eq!((told.level, told.refused.as_str()), (1, "device-of-another-subject"));
        }
        bench.release(ada.id).await;
        assert_eq!(ada.turned_out().await.0, CloseCode::SubjectChanged);
        let bob = bench.come(letter, None, Some(&of_device("bob")));
        bob.hears("who it is", |told| told.level == 2 && told.subject == "bob").await;
        until_bound(&bench, letter, "bob").await;
    }
}

#[tokio::test]
async fn a_bearer_token_binds_nothing_unless_its_owner_says_so() {
    for binds in [false, true] {
        let settings = TokenSettings { bearer_binds: binds, ..persons::settings() };
        let bench = Bench::build_with(Some(settings), |duologue, _| duologue).await;
        let ada = bench.come(1, Some(bench.invite()), Some(&signed(&token("ada", 300))));
        ada.hears("who it is", |told| told.level == 2).await;
        if binds {
            until_bound(&bench, 1, "ada").await;
        }
        let bob = bench.come(1, None, Some(&signed(&token("bob", 300))));
        let told = bob.hears("what it comes to", |told| told.evidence == 1).await;
        let expected = if binds { (1, "device-of-another-subject") } else { (2, "") };
        assert_eq!((told.level, told.refused.as_str()), expected);
        // A device that nobody has let in leaves nothing behind, whatever it shows.
        let mut bound = token("ada", 300);
        let stranger = bench.come(2, None, Some(&signed(&bound)));
        stranger.hears("who it is", |told| told.level == 2).await;
        bound["nonce"] = json!(stranger.binding.nonce);
        stranger.show(&signed(&bound));
        stranger.hears("who it is", |told| told.evidence == 2 && told.level == 2).await;
        assert_eq!(bench.state.store().devices().expect("a store").len(), 1);
    }
}

/// What the next notice of a new device says.
async fn notice(person: &persons::Person) -> Value {
    let channel = tokio::time::timeout(Duration::from_secs(20), person.line.accept())
        .await
        .expect("a notice in time")
        .expect("the line is open");
    assert_eq!(channel.label(), "devices");
    let message = channel.recv().await.expect("a message").expect("and not only an end");
    serde_json::from_slice(&message).expect("JSON")
}

#[tokio::test]
async fn a_subjects_first_line_on_a_device_is_told_to_its_other_devices() {
    let mut bench = Bench::start().await;
    let hers = signed(&token("ada", 300));
    let ada = bench.come(1, Some(bench.invite()), Some(&hers));
    ada.hears("who it is", |told| told.level == 2).await;
    let bob = bench.come(2, Some(bench.invite()), Some(&signed(&token("bob", 300))));
    bob.hears("who it is", |told| told.level == 2).await;
    let says = |device: &persons::Person| json!({ "new": { "device": device.id.to_string() } });

    // By a copied bearer token, by an invite that was made for her, and by a login of the app's own.
    let thief = bench.come(3, Some(bench.invite()), Some(&hers));
    assert_eq!(notice(&ada).await, says(&thief));
    let invited = bench.come(4, Some(bench.invite_for("ada")), None);
    assert_eq!(notice(&ada).await, says(&invited));
    let login = bench.come(5, Some(bench.invite()), None);
    login.hears("a device", |told| told.level == 1).await;
    let _any = login.line.channel("any").expect("the line is open");
    let call = bench.call().await;
    call.vouch(Subject::new("ada").expect("a name"), &[], now() + 300).expect("nobody's so far");
    assert_eq!(notice(&ada).await, says(&login));
    // Each once: what comes next is of the next device.
    let again = bench.come(3, None, Some(&hers));
    again.hears("who it is", |told| told.level == 2).await;
    let last = bench.come(6, Some(bench.invite()), Some(&hers));
    assert_eq!(notice(&ada).await, says(&last));
    // It is nobody else's to know: what is told him first is of his own.
    let his = bench.come(7, Some(bench.invite_for("bob")), None);
    assert_eq!(notice(&bob).await, says(&his));
}

#[tokio::test]
async fn a_rule_that_asks_for_a_person_who_is_there_says_so_to_whom_it_would_open() {
    let bench = Bench::start().await;
    let rule = |label: &str, level, age| {
        let open = vec![LabelPattern::new(label).expect("a pattern")];
        Rule { level, age, ..Rule::new(label, open) }
    };
    let groups = vec![Group::new("admins").expect("a name")];
    bench.duologue.set_rules(Rules::new(vec![
        rule("staff", Level::Present, None),
        rule("any", Level::Present, Some(60)),
        Rule { groups, ..rule("admin", Level::Present, None) },
    ]));
    let ada = bench.come(1, Some(bench.invite()), Some(&signed(&token("ada", 300))));
    ada.hears("who it is", |told| told.level == 2).await;
    let ends = async |person: &persons::Person, label: &str| {
        let channel = person.line.channel(label).expect("the line is open");
        match end(&channel).await {
            Err(LineError::Channel(ChannelError::Reset(code))) => code,
            other => panic!("{label}: {other:?}"),
        }
    };
    assert_eq!(ends(&ada, "staff").await, ResetCode::StepUpNeeded);
    assert_eq!(ends(&ada, "any").await, ResetCode::StepUpNeeded);
    for label in ["admin", "nothing"] {
        assert_eq!(ends(&ada, label).await, ResetCode::NotAllowed, "{label}: a passkey would not open it");
    }
    let device = bench.come(2, Some(bench.invite()), None);
    device.hears("a device", |told| told.level == 1).await;
    assert_eq!(ends(&device, "staff").await, ResetCode::NotAllowed, "nobody knows whose passkey that would be");
}
