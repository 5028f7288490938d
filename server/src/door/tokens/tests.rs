//! Tokens as strangers and issuers make them: altered, foreign, early, late, for somebody else. By the four algorithms.

mod issuer;

use std::sync::Arc;

use duologue::{DeviceKey, SignatureAlgorithm};
use serde_json::{Value, json};

use super::{
    testing::{Signer, base64url, key_set, now},
    *,
};
use crate::door::standing::{Group, Subject};

const ISSUER: &str = "https://login.example";

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": "app", "sub": "ada", "iat": now(), "exp": now() + 300 })
}

/// The claims with these instead; `null` takes one away.
fn with(more: Value) -> Value {
    let mut all = claims();
    for (claim, value) in more.as_object().expect("an object") {
        if value.is_null() {
            all.as_object_mut().expect("an object").remove(claim);
        } else {
            all[claim] = value.clone();
        }
    }
    all
}

fn settings() -> TokenSettings {
    TokenSettings::new(ISSUER, "app")
}

/// With all keys, in a file.
fn tokens_with(settings: TokenSettings) -> (Tokens, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("keys.json"), key_set(&Signer::ALL)).expect("there is room");
    let settings = TokenSettings { keys: Some("keys.json".to_owned()), ..settings };
    (Tokens::new(settings, directory.path()).expect("settings"), directory)
}

fn tokens() -> (Tokens, tempfile::TempDir) {
    tokens_with(settings())
}

async fn said(tokens: &Tokens, token: &str) -> Result<Arc<Verified>, DoorError> {
    tokens.verify(token.as_bytes(), now()).await.map_err(|refused| refused.error)
}

fn device(letter: u8) -> DeviceBinding {
    let algorithm = SignatureAlgorithm::Ed25519;
    let spki = [algorithm.spki_prefix(), &[letter; 32]].concat();
    DeviceBinding::of(&DeviceKey::new(algorithm, spki).expect("a key"))
}

#[tokio::test]
async fn each_algorithm_verifies_and_a_token_is_worth_level_2_until_its_end() {
    let settings = TokenSettings { groups_claim: Some("groups".to_owned()), ..settings() };
    let (tokens, _directory) = tokens_with(settings);
    for signer in Signer::ALL {
        let token = signer.token(&with(json!({ "groups": ["staff", "admins"], "jti": "no. 1" })));
        let verified = said(&tokens, &token).await.unwrap_or_else(|error| panic!("{signer:?}: {error}"));
        let standing = verified.standing(&device(1), now()).expect("a bearer's");
        assert_eq!(standing.subject.as_ref().map(Subject::as_str), Some("ada"));
        assert_eq!(standing.groups.iter().map(Group::as_str).collect::<Vec<_>>(), ["staff", "admins"]);
        assert_eq!(standing.level.number(), 2);
        assert!(standing.until.is_some_and(|until| (now() + 300..=now() + 305).contains(&until)), "{standing:?}");
        assert_eq!((&*verified.id, &*verified.issuer, verified.key.as_deref()), ("no. 1", ISSUER, Some(signer.alg())));
        assert!(standing.is_over(standing.until.expect("an end")), "and no longer");
    }
}

#[tokio::test]
async fn a_claim_that_says_3_is_worth_2_and_one_that_says_nothing_is_none() {
    let (tokens, _directory) = tokens_with(TokenSettings { level_claim: Some("acr".to_owned()), ..settings() });
    for (acr, level) in [(json!(1), Some(1)), (json!(2), Some(2)), (json!(3), Some(2)), (json!(255), Some(2))] {
        let verified = said(&tokens, &Signer::EdDsa.token(&with(json!({ "acr": acr })))).await;
        assert_eq!(verified.ok().map(|verified| verified.level.number()), level, "{acr}");
    }
    for acr in [json!(0), json!(-1), json!("2"), json!(1.5), json!([2]), Value::Null] {
        let token = Signer::EdDsa.token(&with(json!({ "acr": acr })));
        assert_eq!(said(&tokens, &token).await, Err(DoorError::TokenClaims), "{acr}");
    }
}

#[tokio::test]
async fn what_a_token_must_say_is_asked_for_by_name() {
    use DoorError::{
        TokenAudience, TokenClaims, TokenExpired, TokenIssuer, TokenKind, TokenNotYet, TokenOfAnotherDevice,
    };
    let settings = TokenSettings { groups_claim: Some("groups".to_owned()), ..settings() };
    let (tokens, _directory) = tokens_with(settings);
    let many: Vec<_> = (0..65).map(|number| number.to_string()).collect();
    for (change, error) in [
        (json!({ "exp": null }), TokenClaims),
        (json!({ "aud": null }), TokenClaims),
        (json!({ "iss": null }), TokenClaims),
        (json!({ "sub": null }), TokenClaims),
        (json!({ "exp": "tomorrow" }), TokenClaims),
        (json!({ "nbf": "now" }), TokenClaims),
        (json!({ "iat": -1 }), TokenClaims),
        (json!({ "exp": now() - 60 }), TokenExpired),
        (json!({ "exp": 0 }), TokenExpired),
        (json!({ "nbf": now() + 60 }), TokenNotYet),
        (json!({ "nbf": u64::MAX }), TokenNotYet),
        (json!({ "iss": "https://login.example/" }), TokenIssuer),
        (json!({ "iss": "https://LOGIN.example" }), TokenIssuer),
        (json!({ "iss": [ISSUER, "https://other.example"] }), TokenIssuer),
        (json!({ "aud": "other" }), TokenAudience),
        (json!({ "aud": ["other", "App"] }), TokenAudience),
        (json!({ "aud": [] }), TokenAudience),
        (json!({ "sub": "" }), TokenClaims),
        (json!({ "sub": "a\u{202e}b" }), TokenClaims),
        (json!({ "sub": "a".repeat(129) }), TokenClaims),
        (json!({ "sub": "a\0" }), TokenClaims),
        (json!({ "groups": many }), TokenClaims),
        (json!({ "groups": ["staff", 7] }), TokenClaims),
        (json!({ "groups": ["a".repeat(65)] }), TokenClaims),
        (json!({ "groups": { "staff": true } }), TokenClaims),
        (json!({ "jti": "" }), TokenClaims),
        (json!({ "jti": "a".repeat(257) }), TokenClaims),
        (json!({ "jti": 7 }), TokenClaims),
        (json!({ "cnf": { "x5t#S256": "AAAA" } }), TokenOfAnotherDevice),
        (json!({ "cnf": "AAAA" }), TokenOfAnotherDevice),
        (json!({ "nonce": 7 }), TokenOfAnotherDevice),
        (json!({ "events": {} }), TokenKind),
    ] {
        let token = Signer::Es256.token(&with(change.clone()));
        assert_eq!(said(&tokens, &token).await.map(drop), Err(error), "{change}");
    }
    for good in [
        json!({ "aud": ["other", "app"] }),
        json!({ "nbf": now() + 3 }),
        json!({ "exp": now() - 3 }),
        json!({ "exp": (now() + 300) as f64 + 0.5 }),
        json!({ "groups": null }),
        json!({ "groups": "staff" }),
        json!({ "groups": many[..64] }),
        json!({ "sub": "a".repeat(128) }),
    ] {
        assert_eq!(said(&tokens, &Signer::Es256.token(&with(good.clone()))).await.map(drop), Ok(()), "{good}");
    }
}

#[tokio::test]
async fn how_a_token_is_verified_is_the_keys_to_say_and_never_the_tokens() {
    use DoorError::{TokenAlgorithm, TokenAltered, TokenKey, TokenKind, TokenMalformed};
    let (tokens, _directory) = tokens();
    for (header, signer, error) in [
        // Another family, with the public key as a secret: the oldest trick.
        (json!({ "alg": "HS256", "kid": "RS256" }), Signer::Rs256, TokenAlgorithm),
        (json!({ "alg": "ES256", "kid": "RS256" }), Signer::Es256, TokenAlgorithm),
        (json!({ "alg": "EdDSA", "kid": "ES256" }), Signer::EdDsa, TokenAlgorithm),
        // The same family, by another padding.
        (json!({ "alg": "PS256", "kid": "RS256" }), Signer::Ps256, TokenAlgorithm),
        (json!({ "alg": "RS256", "kid": "PS256" }), Signer::Rs256, TokenAlgorithm),
        (json!({ "alg": "none", "kid": "ES256" }), Signer::Es256, TokenAlgorithm),
        (json!({ "alg": "None", "kid": "ES256" }), Signer::Es256, TokenAlgorithm),
        (json!({ "alg": "es256", "kid": "ES256" }), Signer::Es256, TokenAlgorithm),
        // Somebody else's key by this name.
        (json!({ "alg": "ES256", "kid": "ES256" }), Signer::EdDsa, TokenAltered),
        // A key that the token brings along.
        (json!({ "alg": "EdDSA", "kid": "ES256", "jwk": Signer::EdDsa.jwk() }), Signer::EdDsa, TokenAlgorithm),
        (json!({ "alg": "ES256", "kid": "other", "jku": "https://evil.example/k" }), Signer::Es256, TokenKey),
        (json!({ "alg": "ES256" }), Signer::Es256, TokenKey),
        (json!({ "alg": "ES256", "kid": "es256" }), Signer::Es256, TokenKey),
        (json!({ "alg": "ES256", "kid": "../ES256" }), Signer::Es256, TokenKey),
        (json!({ "alg": "ES256", "kid": "k".repeat(257) }), Signer::Es256, TokenKey),
        // What would have to be understood, and other kinds of token.
        (json!({ "alg": "ES256", "kid": "ES256", "crit": ["exp"] }), Signer::Es256, TokenKind),
        (json!({ "alg": "ES256", "kid": "ES256", "crit": [] }), Signer::Es256, TokenKind),
        (json!({ "alg": "ES256", "kid": "ES256", "b64": true, "crit": ["b64"] }), Signer::Es256, TokenKind),
        (json!({ "alg": "ES256", "kid": "ES256", "typ": "logout+jwt" }), Signer::Es256, TokenKind),
        (json!({ "alg": "ES256", "kid": "ES256", "typ": "dpop+jwt" }), Signer::Es256, TokenKind),
        (json!({ "alg": "ES256", "kid": "ES256", "b64": false }), Signer::Es256, TokenMalformed),
        (json!({ "kid": "ES256" }), Signer::Es256, TokenMalformed),
        (json!({ "alg": "ES256", "kid": 7 }), Signer::Es256, TokenMalformed),
        (json!(["ES256"]), Signer::Es256, TokenMalformed),
    ] {
        let token = signer.token_with(&header, &claims());
        assert_eq!(said(&tokens, &token).await.map(drop), Err(error), "{header}");
    }
    for typ in [json!("JWT"), json!("at+jwt"), json!("AT+JWT"), json!("application/at+jwt"), Value::Null] {
        let header = json!({ "alg": "ES256", "kid": "ES256", "typ": typ });
        assert_eq!(said(&tokens, &Signer::Es256.token_with(&header, &claims())).await.map(drop), Ok(()), "{typ}");
    }
}

#[tokio::test]
async fn any_letter_changed_in_a_token_makes_it_no_token() {
    let (tokens, _directory) = tokens();
    let good = Signer::Es256.token(&claims());
    said(&tokens, &good).await.expect("it is good");
    for at in 0..good.len() {
        let mut other = good.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        tokens.verify(&other, now()).await.expect_err(&format!("letter {at}"));
    }
    for bad in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        &good[1..],
        &good[..good.len() - 1],
        &format!("{good}."),
        &format!("{good}="),
        &format!(" {good}"),
        &format!("{good}\n"),
        &good.replace('.', ".."),
        &good.replacen('.', "", 1),
    ] {
        tokens.verify(bad.as_bytes(), now()).await.expect_err(bad);
    }
    let long = Signer::Es256.token(&with(json!({ "x": "x".repeat(6_200) })));
    assert_eq!(said(&tokens, &long).await.map(drop), Err(DoorError::TokenMalformed), "longer than 8,184 bytes");
    let longest = Signer::Es256.token(&with(json!({ "x": "x".repeat(5_600) })));
    assert!(longest.len() > 7_500 && said(&tokens, &longest).await.is_ok(), "{}", longest.len());
}

#[tokio::test]
async fn no_claims_and_no_bytes_make_it_panic() {
    let settings =
        TokenSettings { groups_claim: Some("a.b".to_owned()), level_claim: Some("level".to_owned()), ..settings() };
    let (tokens, _directory) = tokens_with(settings);
    let seed = std::env::var("DUOLOGUE_TOKEN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut taken = 0;
    for round in 0..4_000 {
        let mut claims = claims();
        for _ in 0..rng.usize(0..4) {
            let name = ["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "cnf", "nonce", "a", "level", "events"]
                [rng.usize(0..12)];
            claims[name] = any(&mut rng, 3);
        }
        if rng.bool() {
            claims["level"] = json!(2);
        }
        let mut token = Signer::EdDsa.token(&claims).into_bytes();
        if round % 4 == 0 {
            for _ in 0..rng.usize(1..8) {
                let at = rng.usize(0..token.len());
                token[at] = rng.u8(..);
            }
        }
        // A seed whose round panics is named by the test's own output.
        if let Ok(verified) = tokens.verify(&token, now()).await {
            assert!(verified.level.number() <= 2 && verified.groups.len() <= 64 && verified.until > now(), "{claims}");
            taken += 1;
        }
    }
    assert!((200..3_800).contains(&taken), "of 4,000 of seed {seed}, {taken} were good: both have to be met");
}

/// Any value.
fn any(rng: &mut fastrand::Rng, depth: usize) -> Value {
    match rng.usize(0..if depth == 0 { 7 } else { 9 }) {
        0 => Value::Null,
        1 => json!(rng.bool()),
        2 => json!([0, 1, 2, 3, now() - 1, now() + 1, u64::MAX, u64::MAX / 2][rng.usize(0..8)]),
        3 => json!([-1.5, 1e300, f64::MIN_POSITIVE, 9_007_199_254_740_993.0, (now() + 99) as f64][rng.usize(0..5)]),
        4 => json!(i64::MIN),
        5 => json!(["", "ada", "app", ISSUER, "\0", "\u{10ffff}", "é"][rng.usize(0..7)]),
        6 => json!("x".repeat(rng.usize(0..600))),
        7 => Value::Array((0..rng.usize(0..70)).map(|_| any(rng, depth - 1)).collect()),
        _ => json!({ "b": any(rng, depth - 1), "jkt": any(rng, depth - 1) }),
    }
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_device_is_worth_nothing_in_another_ones_hands() {
    let (tokens, _directory) = tokens();
    let (mine, other) = (device(1), device(2));
    for bound in [json!({ "cnf": { "jkt": mine.jkt } }), json!({ "nonce": mine.nonce })] {
        let verified = said(&tokens, &Signer::EdDsa.token(&with(bound))).await.expect("it is good");
        verified.standing(&mine, now()).expect("in its own device's hands");
        let refused = verified.standing(&other, now()).expect_err("copied");
        assert_eq!(refused.error, DoorError::TokenOfAnotherDevice);
        assert!(refused.to_string().contains("`link.device.nonce`"), "{refused}");
    }
    // A login's own nonce is no device's: it is a binding that this device cannot meet, and no bearer token.
    let verified = said(&tokens, &Signer::EdDsa.token(&with(json!({ "nonce": "n-0S6_WzA2Mj" })))).await.expect("good");
    verified.standing(&mine, now()).expect_err("somebody's");
    // What is bound to the device by its key needs no nonce besides.
    let both = with(json!({ "cnf": { "jkt": mine.jkt }, "nonce": "n-0S6_WzA2Mj" }));
    said(&tokens, &Signer::EdDsa.token(&both)).await.expect("good").standing(&mine, now()).expect("bound by `cnf`");
    // A bearer's serves whoever has it.
    let verified = said(&tokens, &Signer::EdDsa.token(&claims())).await.expect("it is good");
    assert_eq!(verified.bound_to, BoundTo::Bearer);
    assert!(verified.standing(&mine, now()).is_ok() && verified.standing(&other, now()).is_ok());
}

#[tokio::test]
async fn a_long_lived_token_is_worth_no_more_than_so_long_from_when_it_was_made() {
    let (tokens, _directory) = tokens_with(TokenSettings { max_age: 600, ..settings() });
    let year = 365 * 86_400;
    let verified = said(&tokens, &Signer::EdDsa.token(&with(json!({ "exp": now() + year })))).await.expect("fresh");
    assert!((now() + 599..=now() + 600).contains(&verified.until), "{}", verified.until);
    // A clock that goes ahead gains nothing.
    let ahead = with(json!({ "iat": now() + 3_000, "exp": now() + year }));
    assert!(said(&tokens, &Signer::EdDsa.token(&ahead)).await.expect("fresh").until <= now() + 600);
    for (change, error) in [
        (json!({ "iat": now() - 700, "exp": now() + year }), DoorError::TokenExpired),
        (json!({ "iat": null, "nbf": now() - 700, "exp": now() + year }), DoorError::TokenExpired),
        (json!({ "iat": null, "exp": now() + year }), DoorError::TokenClaims),
    ] {
        assert_eq!(said(&tokens, &Signer::EdDsa.token(&with(change.clone()))).await.map(drop), Err(error), "{change}");
    }
    let short = with(json!({ "iat": null, "exp": now() + 60 }));
    said(&tokens, &Signer::EdDsa.token(&short)).await.expect("its own end is near enough");
}

#[tokio::test]
async fn a_token_seen_before_costs_no_signature_and_its_time_is_looked_at_every_time() {
    let (tokens, directory) = tokens();
    let token = Signer::EdDsa.token(&claims());
    let first = said(&tokens, &token).await.expect("good");
    assert!(Arc::ptr_eq(&first, &said(&tokens, &token).await.expect("good")), "the very same verdict");
    let late = tokens.verify(token.as_bytes(), first.until).await.expect_err("its time is over");
    assert_eq!(late.error, DoorError::TokenExpired);
    // A key that the issuer has taken back takes its tokens along, also those that were seen.
    said(&tokens, &token).await.expect("good");
    std::fs::write(directory.path().join("keys.json"), key_set(&[Signer::Es256])).expect("there is room");
    tokens.load_keys().await.expect("a key set");
    assert_eq!(said(&tokens, &token).await.map(drop), Err(DoorError::TokenKey));
}

#[tokio::test]
async fn what_is_remembered_has_a_bound() {
    let (tokens, _directory) = tokens();
    let token = |number: usize| Signer::EdDsa.token(&with(json!({ "jti": number.to_string() })));
    for number in 0..2_500 {
        said(&tokens, &token(number)).await.expect("good");
    }
    assert!(tokens.verdicts().len() <= 2_048, "{}", tokens.verdicts().len());
}

#[tokio::test]
async fn without_any_key_a_token_hears_that_there_are_none_and_the_owner_why() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let settings = TokenSettings { keys: Some("none.json".to_owned()), ..settings() };
    let tokens = Tokens::new(settings, directory.path()).expect("settings");
    let error = tokens.load_keys().await.expect_err("there is no file").to_string();
    assert!(error.contains("none.json cannot be read"), "{error}");
    let token = Signer::EdDsa.token(&claims());
    for _ in 0..6 {
        assert_eq!(said(&tokens, &token).await.map(drop), Err(DoorError::TokenKeysUnreachable));
    }
    std::fs::write(directory.path().join("none.json"), vec![b' '; 600_000]).expect("there is room");
    let error = tokens.load_keys().await.expect_err("it is too long").to_string();
    assert!(error.contains("more than 524288 bytes"), "{error}");
    std::fs::write(directory.path().join("none.json"), key_set(&Signer::ALL)).expect("there is room");
    tokens.load_keys().await.expect("now there is one");
    said(&tokens, &token).await.expect("good");
    let short = base64url("x");
    assert_eq!(said(&tokens, &short).await.map(drop), Err(DoorError::TokenMalformed));
}
