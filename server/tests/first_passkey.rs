//! A first passkey takes a login of a moment ago, and a sign-out ends what any login before it is worth for that.
#![allow(missing_docs, reason = "tests are named for their scenario")]

#[allow(dead_code, reason = "what it does wrong is for others")]
#[path = "passkeys/authenticator.rs"]
mod authenticator;
#[path = "passkeys/bench.rs"]
mod bench;
#[path = "../src/door/tokens/testing.rs"]
mod testing;

use authenticator::{Authenticator, Faults};
use bench::{Bench, ISSUER, ask, hears_level, options, refused, register, registered, within};
use duologue_client::{Client, Keyring, Line};
use serde_json::json;
use testing::{Signer, now};

async fn may_register(line: &Line) -> bool {
    let answer = ask(line, json!({ "ask": "register" })).await;
    assert!(answer["publicKey"].is_object() || answer == refused("login-too-old"), "{answer}");
    answer["publicKey"].is_object()
}

/// Whoever sat down at her computer within five minutes of her invite once registered a passkey for her, though she had signed out.
#[tokio::test]
async fn a_sign_out_ends_the_five_minutes_of_an_invite_in_every_session_of_its_device() {
    for by_service in [false, true] {
        let bench = Bench::start().await;
        let (client, target) = (Client::new(Keyring::in_memory()), bench.invited(Some("ada")));
        let line = client.connect(&target).await.expect("the invite is good");
        let tab = client.connect(&target).await.expect("it was let in");
        let other = bench.device_of("ada").await;
        assert!(may_register(&line).await && may_register(&tab).await);
        let asked = options(&tab, "register").await;
        if by_service {
            assert_eq!(within("the answer", line.request("logout", "")).await, Ok(b"done".to_vec()));
        } else {
            within("the answer", line.sign_out()).await.expect("the line is open");
            // What was asked for there before counts no more.
            let credential = Authenticator::es256().create(&asked, &Faults::default());
            let answer = ask(&tab, json!({ "ask": "registered", "credential": credential })).await;
            assert_eq!(answer, refused("passkey-late"));
        }
        let new_tab = client.connect(&target).await.expect("it was let in");
        for line in [&line, &tab, &new_tab] {
            assert!(!may_register(line).await, "by the service: {by_service}");
        }
        assert!(may_register(&other).await, "she has not signed out there");
        // She logs in again.
        assert_eq!(within("the login", line.request("login", "ada")).await, Ok(b"done".to_vec()));
        registered(&line).await;
    }
}

#[tokio::test]
async fn a_token_of_before_a_sign_out_registers_no_first_passkey_after_it_and_one_of_a_login_since_does() {
    let bench = Bench::start().await;
    let token = |auth_time: u64| {
        Signer::EdDsa.token(&json!({
            "iss": ISSUER, "aud": "app", "sub": "ada", "iat": now() - 60, "exp": now() + 600, "auth_time": auth_time,
        }))
    };
    let target = bench.invited(None);
    let client = Client::new(Keyring::in_memory()).with_token(token(now() - 30));
    let line = client.connect(&target).await.expect("the invite is good");
    hears_level(&line, 2).await;
    assert!(may_register(&line).await);
    within("the answer", line.sign_out()).await.expect("the line is open");
    let again = client.connect(&target).await.expect("it was let in");
    hears_level(&again, 2).await;
    assert!(!may_register(&again).await, "the token is good, and its login was before the sign-out");
    let client = client.with_token(token(now()));
    let anew = client.connect(&target).await.expect("it was let in");
    hears_level(&anew, 2).await;
    let answer = register(&anew, &mut Authenticator::es256(), "hers").await;
    assert!(answer["passkey"].is_object(), "{answer}");
}
