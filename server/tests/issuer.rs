//! Tokens that are not what they should be, and issuers that do not answer as they should, on real lines: the caller hears the cause by
//! name and is what it was before, and whoever is in notices nothing.
#![allow(missing_docs, reason = "tests are named for their scenario")]

mod captured;
mod persons;
#[path = "../src/door/tokens/testing_issuer.rs"]
mod testing_issuer;

use std::time::{Duration, Instant};

use captured::Log;
use duologue::CloseCode;
use duologue_native::Channel;
use duologue_server::{Call, Kind, Level, TokenSettings};
use persons::{Bench, ISSUER, NOT_ALLOWED, Person, end, settings, signed, testing, token};
use serde_json::{Value, json};
use testing::{Signer, base64url, key_set, now};
use testing_issuer::{Answer, Issuer};

/// Ada's, that would be good.
fn claims() -> Value {
    token("ada", 300)
}

/// Her claims with another value; `null` takes one away.
fn but(claim: &str, value: Value) -> Value {
    let mut all = claims();
    match value {
        Value::Null => drop(all.as_object_mut().expect("an object").remove(claim)),
        value => all[claim] = value,
    }
    all
}

/// Bob, whose token is good, and what he has open.
struct Neighbour {
    person: Person,
    channel: Channel,
    call: Call,
}

impl Neighbour {
    async fn come(bench: &mut Bench, token: &str) -> Self {
        let person = bench.come(200, Some(bench.invite()), Some(token));
        person.hears("who he is", |told| told.level == 2 && told.subject == "bob").await;
        let channel = person.line.channel("staff").expect("the line is open");
        let call = bench.call().await;
        Self { person, channel, call }
    }

    /// He is who he was, and what he has open is open.
    async fn is_untouched(&self) {
        assert_eq!(self.call.identity().level, Level::Account);
        self.channel.send("still here").await.expect("it is open");
        let heard = tokio::time::timeout(Duration::from_secs(20), self.call.channel.recv()).await;
        assert_eq!(heard.expect("in time"), Ok(Some(b"still here".to_vec())));
        let told = self.person.told.lock().expect("whole").clone();
        assert!(told.iter().all(|told| told.level == 2 && told.refused.is_empty()), "{told:#?}");
    }
}

/// Shows each token on an open line, behind an AUTH of a device that was let in, and behind one of a device that nobody knows.
async fn raise_nothing(tokens: &[(String, &str)]) {
    let mut bench = Bench::start().await;
    let bob = Neighbour::come(&mut bench, &signed(&token("bob", 300))).await;
    let ada = bench.come(1, Some(bench.invite()), None);
    ada.hears("a device that was let in", |told| told.level == 1).await;
    for (number, (token, word)) in tokens.iter().enumerate() {
        let number = u32::try_from(number).expect("a few") + 1;
        ada.show(token);
        let told = ada.hears(word, |told| told.evidence == number).await;
        assert_eq!((told.level, told.refused.as_str(), told.subject.as_str()), (1, *word, ""), "{token}");
        let channel = ada.line.channel("staff").expect("the line is open");
        assert_eq!(end(&channel).await, NOT_ALLOWED, "{word}");

        let again = bench.come(1, None, Some(token));
        let told = again.hears(word, |told| told.evidence == 1).await;
        assert_eq!((told.level, told.refused.as_str(), told.subject.as_str()), (1, *word, ""), "{token}");
        again.line.close(CloseCode::Normal, "");
        let stranger = bench.come(2, None, Some(token));
        assert_eq!(stranger.turned_out().await, (CloseCode::NotEnrolled, (*word).to_owned()), "{token}");
    }
    bob.is_untouched().await;
    ada.show(&signed(&claims()));
    ada.hears("who she is, by a good one", |told| told.level == 2 && told.subject == "ada").await;
}

#[tokio::test]
async fn a_token_by_another_familys_algorithm_is_refused_by_name_on_a_real_line() {
    let token = |alg: &str, kid: &str, signer: Signer| {
        signer.token_with(&json!({ "alg": alg, "kid": kid, "typ": "JWT" }), &claims())
    };
    let unsigned = json!({ "alg": "none", "kid": "ES256" });
    let unsigned = format!("{}.{}.", base64url(unsigned.to_string()), base64url(claims().to_string()));
    raise_nothing(&[
        // The public key as a secret, as its header says; another curve, another padding, none.
        (token("HS256", "RS256", Signer::Rs256), "token-algorithm"),
        (token("ES256", "RS256", Signer::Es256), "token-algorithm"),
        (token("EdDSA", "ES256", Signer::EdDsa), "token-algorithm"),
        (token("PS256", "RS256", Signer::Ps256), "token-algorithm"),
        (unsigned, "token-algorithm"),
        // The key's own, which did not sign it.
        (token("ES256", "ES256", Signer::EdDsa), "token-altered"),
    ])
    .await;
}

#[tokio::test]
async fn a_token_of_a_foreign_kid_is_refused_by_name_on_a_real_line() {
    let token = |header: Value| Signer::Es256.token_with(&header, &claims());
    raise_nothing(&[
        (token(json!({ "alg": "ES256", "kid": "foreign" })), "token-key"),
        (token(json!({ "alg": "ES256", "kid": "es256" })), "token-key"),
        (token(json!({ "alg": "ES256" })), "token-key"),
        (token(json!({ "alg": "ES256", "kid": "foreign", "jku": "https://evil.example/keys" })), "token-key"),
        // A key of its own that it brings along, by the name of one that is here.
        (
            Signer::EdDsa.token_with(&json!({ "alg": "EdDSA", "kid": "ES256", "jwk": Signer::EdDsa.jwk() }), &claims()),
            "token-algorithm",
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_token_with_crit_is_refused_by_name_on_a_real_line() {
    let token = |crit: Value| {
        Signer::Es256.token_with(&json!({ "alg": "ES256", "kid": "ES256", "b64": true, "crit": crit }), &claims())
    };
    raise_nothing(&[
        (token(json!(["exp"])), "token-kind"),
        (token(json!(["b64"])), "token-kind"),
        (token(json!([])), "token-kind"),
    ])
    .await;
}

#[tokio::test]
async fn a_token_without_exp_or_aud_is_refused_by_name_on_a_real_line() {
    raise_nothing(&[
        (signed(&but("exp", Value::Null)), "token-claims"),
        (signed(&but("exp", json!("never"))), "token-claims"),
        (signed(&but("aud", Value::Null)), "token-claims"),
        (signed(&but("aud", json!([]))), "token-audience"),
    ])
    .await;
}

#[tokio::test]
async fn a_token_of_another_issuer_is_refused_by_name_on_a_real_line() {
    raise_nothing(&[
        (signed(&but("iss", json!("https://other.example"))), "token-issuer"),
        (signed(&but("iss", json!(format!("{ISSUER}/")))), "token-issuer"),
        (signed(&but("iss", json!([ISSUER, "https://other.example"]))), "token-issuer"),
        (signed(&but("iss", Value::Null)), "token-claims"),
    ])
    .await;
}

#[tokio::test]
async fn a_token_that_is_used_before_its_nbf_is_refused_by_name_and_good_from_then_on() {
    // Far enough for a machine that is busy; the clocks may be 5 s apart.
    let early = |secs: u64| signed(&but("nbf", json!(now() + secs)));
    raise_nothing(&[(early(600), "token-not-yet"), (signed(&but("nbf", json!(u64::MAX))), "token-not-yet")]).await;

    let bench = Bench::start().await;
    let ada = bench.come(1, Some(bench.invite()), None);
    ada.hears("a device that was let in", |told| told.level == 1).await;
    let token = early(8);
    for number in 1..100 {
        ada.show(&token);
        let told = ada.hears("whether it is time", |told| told.evidence == number).await;
        if told.level == 2 {
            assert!(number > 1, "it was not its time");
            return;
        }
        assert_eq!(told.refused, "token-not-yet");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("its time never came");
}

/// A copied bearer token works, since it says nothing of a device; its owner hears of it, and so do her devices.
#[tokio::test]
async fn a_bearer_token_from_a_second_device_is_an_event_and_one_from_its_own_is_none() {
    let log = Log::default();
    let _logging = log.start();
    let bench = Bench::start().await;
    let mut named = claims();
    named["jti"] = json!("no. 1");
    let named = signed(&named);
    let mut people = Vec::new();
    for letter in [1, 2] {
        people.push(bench.come(letter, Some(bench.invite()), None));
    }
    let [ada, mallory] = &people[..] else { panic!("two") };
    for person in [ada, mallory] {
        person.hears("a device that was let in", |told| told.level == 1).await;
    }
    ada.show(&named);
    ada.hears("who she is", |told| told.level == 2).await;
    // Her second tab, and the same tab again.
    let tab = bench.come(1, None, None);
    tab.hears("a device that was let in", |told| told.level == 1).await;
    tab.show(&named);
    tab.hears("who she is", |told| told.level == 2).await;
    ada.show(&named);
    ada.hears("who she is", |told| told.evidence == 2).await;
    let copies = || bench.duologue.watch().told().into_iter().find(|(kind, _)| *kind == Kind::TokenCopied);
    assert_eq!(copies(), None);

    mallory.show(&named);
    mallory.hears("that it works", |told| told.level == 2 && told.subject == "ada").await;
    assert_eq!(copies(), Some((Kind::TokenCopied, 1)));
    let lines = log.has("a bearer token was shown by another device than before", 1).await;
    let [line] = &lines[..] else { panic!("{lines:#?}") };
    let (first, second) = (ada.id.to_string(), mallory.id.to_string());
    for field in [
        format!("device={second}"),
        format!("first={first}"),
        "subject=\"ada\"".to_owned(),
        "token=\"no. 1\"".to_owned(),
    ] {
        assert!(line.contains(&field), "{field}: {line}");
    }
    assert!(line.contains("WARN") && !line.contains(&named), "{line}");
    let lines = log.has("a subject is on a device on which it was not before", 2).await;
    assert!(lines.iter().any(|line| line.contains(&second)), "{lines:#?}");
}

/// A server whose issuer has its keys at an address.
async fn bench_of(issuer: &Issuer) -> Bench {
    let settings = TokenSettings { keys: Some(format!("{}/jwks", issuer.url)), ..settings() };
    Bench::build_with(Some(settings), |duologue, _| duologue).await
}

async fn hears(person: &Person, number: u32, word: &str) {
    let told = person.hears(word, |told| told.evidence == number).await;
    assert_eq!((told.refused.as_str(), told.level), (word, if word.is_empty() { 2 } else { 1 }));
}

#[tokio::test]
async fn keys_that_rotate_let_new_tokens_in_and_take_no_standing_of_who_is_in_by_an_old_one() {
    let issuer = Issuer::start(Answer::Keys(key_set(&[Signer::Es256]))).await;
    let mut bench = bench_of(&issuer).await;
    let bob = Neighbour::come(&mut bench, &Signer::Es256.token(&token("bob", 300))).await;
    let ada = bench.come(1, Some(bench.invite()), None);
    ada.hears("a device that was let in", |told| told.level == 1).await;
    issuer.answers(Answer::Keys(key_set(&[Signer::Es256, Signer::EdDsa])));
    ada.show(&Signer::EdDsa.token(&claims()));
    hears(&ada, 1, "").await;
    bob.is_untouched().await;
    // The old key is taken back, which the next token of a key that nobody knows finds out.
    issuer.answers(Answer::Keys(key_set(&[Signer::EdDsa])));
    let carol = bench.come(2, Some(bench.invite()), None);
    carol.hears("a device that was let in", |told| told.level == 1).await;
    carol.show(&Signer::Ps256.token(&token("carol", 300)));
    hears(&carol, 1, "token-key").await;
    carol.show(&Signer::Es256.token(&token("carol", 300)));
    hears(&carol, 2, "token-key").await;
    let stranger = bench.come(3, None, Some(&Signer::Es256.token(&token("bob", 300))));
    assert_eq!(stranger.turned_out().await, (CloseCode::NotEnrolled, "token-key".to_owned()));
    bob.is_untouched().await;
    carol.show(&Signer::EdDsa.token(&token("carol", 300)));
    hears(&carol, 3, "").await;
}

/// The issuer does something else than to answer with its keys, once bob is in.
async fn takes_no_standing(answer: Answer) {
    let issuer = Issuer::start(Answer::Keys(key_set(&[Signer::Es256]))).await;
    let mut bench = bench_of(&issuer).await;
    let bob = Neighbour::come(&mut bench, &Signer::Es256.token(&token("bob", 300))).await;
    let ada = bench.come(1, Some(bench.invite()), None);
    ada.hears("a device that was let in", |told| told.level == 1).await;
    issuer.answers(answer);
    let start = Instant::now();
    ada.show(&Signer::EdDsa.token(&claims()));
    let stranger = bench.come(2, None, Some(&Signer::EdDsa.token(&token("eve", 300))));
    hears(&ada, 1, "token-keys-unreachable").await;
    let channel = ada.line.channel("staff").expect("the line is open");
    assert_eq!(end(&channel).await, NOT_ALLOWED);
    assert_eq!(stranger.turned_out().await, (CloseCode::NotEnrolled, "token-keys-unreachable".to_owned()));
    assert!(start.elapsed() < Duration::from_secs(15), "a verdict has 5 s: {:?}", start.elapsed());
    // Who is in stays; also over a new connection, and who comes with a key that is known comes in.
    bob.is_untouched().await;
    bob.person.cut();
    persons::until_lost(&bob.person).await;
    bob.is_untouched().await;
    let again = bench.come(200, None, Some(&Signer::Es256.token(&token("bob", 299))));
    hears(&again, 1, "").await;
    issuer.answers(Answer::Keys(key_set(&[Signer::Es256, Signer::EdDsa])));
    ada.show(&Signer::EdDsa.token(&claims()));
    hears(&ada, 2, "").await;
}

#[tokio::test]
async fn an_issuer_that_hangs_takes_no_standing_and_the_refused_one_hears_why() {
    takes_no_standing(Answer::Hang).await;
}

#[tokio::test]
async fn an_issuer_that_answers_10_mb_takes_no_standing_and_the_refused_one_hears_why() {
    takes_no_standing(Answer::Keys(format!("{}{}", key_set(&[Signer::EdDsa]), " ".repeat(10_000_000)))).await;
}

#[tokio::test]
async fn an_issuer_that_never_stops_answering_takes_no_standing_and_the_refused_one_hears_why() {
    takes_no_standing(Answer::Endless).await;
}
