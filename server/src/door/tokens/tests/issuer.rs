//! Issuers that rotate, hang, grow and lead astray, over real sockets.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio_rustls::TlsAcceptor;

use super::{
    super::testing_issuer::{Answer, Issuer},
    *,
};
use crate::watch::{
    events::Kind,
    stream::{Read, Watch},
};

/// Those of an issuer, by its keys.
fn tokens_of(issuer: &Issuer) -> Tokens {
    let settings = TokenSettings { keys: Some(format!("{}/jwks", issuer.url)), ..settings() };
    Tokens::new(settings, Path::new("")).expect("settings")
}

#[tokio::test]
async fn keys_that_rotate_are_found_by_the_first_token_and_the_old_ones_are_gone_with_the_issuer() {
    let issuer = Issuer::start(Answer::Keys(key_set(&[Signer::Es256]))).await;
    let tokens = tokens_of(&issuer);
    let (old, new) = (Signer::Es256.token(&claims()), Signer::EdDsa.token(&claims()));
    said(&tokens, &old).await.expect("the first asks for the keys");
    said(&tokens, &old).await.expect("the second has them");
    assert_eq!(issuer.asked(), 1);

    issuer.answers(Answer::Keys(key_set(&[Signer::Es256, Signer::EdDsa])));
    said(&tokens, &new).await.expect("a new key is found at once");
    said(&tokens, &old).await.expect("the old one is there still");
    assert_eq!(issuer.asked(), 2);

    issuer.answers(Answer::Keys(key_set(&[Signer::EdDsa])));
    said(&tokens, &old).await.expect("it is not asked for what is known");
    tokens.load_keys().await.expect("a key set");
    assert_eq!(said(&tokens, &old).await.map(drop), Err(DoorError::TokenKey), "gone with the issuer");
    said(&tokens, &new).await.expect("and this one not");
}

#[tokio::test]
async fn tokens_of_unknown_keys_ask_an_issuer_a_few_times_and_not_a_thousand() {
    let issuer = Issuer::start(Answer::Keys(key_set(&[Signer::Es256]))).await;
    let tokens = tokens_of(&issuer);
    said(&tokens, &Signer::Es256.token(&claims())).await.expect("good");
    let foreign: Vec<_> = (0..1_000)
        .map(|number| {
            let header = json!({ "alg": "ES256", "kid": format!("foreign {number}") });
            let tokens = tokens.clone();
            let token = Signer::Es256.token_with(&header, &claims());
            tokio::spawn(async move { said(&tokens, &token).await.map(drop) })
        })
        .collect();
    let mut told = BTreeSet::new();
    for task in foreign {
        told.insert(task.await.expect("no panic").expect_err("foreign").word());
    }
    assert_eq!(told.into_iter().collect::<Vec<_>>(), ["token-key"]);
    // One for the first token, three more in a row, and one for each 15 s that this has taken.
    assert!(issuer.asked() <= 8, "{}", issuer.asked());
    said(&tokens, &Signer::Es256.token(&claims())).await.expect("whoever has a known key notices nothing");
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_as_it_should_keeps_nobody_out_who_has_a_known_key() {
    let issuer = Issuer::start(Answer::Keys(key_set(&[Signer::Es256]))).await;
    let tokens = tokens_of(&issuer);
    said(&tokens, &Signer::Es256.token(&claims())).await.expect("good");
    let redirect = |to: &str| Answer::Raw(format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"));
    for (answer, why) in [
        (Answer::Hang, "within 2000 ms"),
        (Answer::Endless, "more than 524288 bytes"),
        (Answer::Keys(format!("{{\"keys\":[]}}{}", " ".repeat(10_000_000))), "more than 524288 bytes"),
        (Answer::Raw("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n{".to_owned()), "more than 524288 bytes"),
        (Answer::Raw("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"keys\":[]}".to_owned()), "broke off"),
        (Answer::Raw("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_owned()), "503"),
        (redirect("/jwks"), "redirect"),
        (redirect("http://169.254.169.254/latest"), "redirect"),
        (Answer::Keys("<!doctype html><title>Sign in</title>".to_owned()), "not a key set"),
        (Answer::Keys(String::new()), "not a key set"),
        (Answer::Raw("SSH-2.0-OpenSSH_9.2\r\n".to_owned()), "broke off"),
        (Answer::Raw(String::new()), "broke off"),
        (Answer::Raw(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(100_000))), "broke off"),
    ] {
        issuer.answers(answer);
        let start = Instant::now();
        let error = tokens.load_keys().await.expect_err(why).to_string();
        assert!(error.contains(why) && error.contains(&issuer.url), "{why}: {error}");
        assert!(start.elapsed() < Duration::from_secs(5), "{why}: a verdict has 5 s");
        said(&tokens, &Signer::Es256.token(&claims())).await.expect(why);
    }
    issuer.answers(Answer::Hang);
    let (start, unknown) = (Instant::now(), Signer::EdDsa.token(&claims()));
    let told = said(&tokens, &unknown).await.map(drop);
    assert_eq!(told, Err(DoorError::TokenKeysUnreachable), "this one cannot be judged");
    assert!(start.elapsed() < Duration::from_secs(5), "and hears so in time");
    issuer.answers(Answer::Keys(key_set(&[Signer::Es256, Signer::EdDsa])));
    said(&tokens, &unknown).await.expect("and is good when the issuer is back");
}

#[tokio::test]
async fn keys_are_found_by_the_issuers_configuration_which_must_be_its_own() {
    let issuer = Issuer::start(Answer::Hang).await;
    let url = issuer.url.clone();
    let settings = TokenSettings::new(url.clone(), "app");
    let tokens = Tokens::new(settings, Path::new("")).expect("settings");
    let own = |jwks_uri: String| Answer::Discovery { issuer: url.clone(), jwks_uri };
    for (answer, why) in [
        (Answer::Discovery { issuer: format!("{url}/"), jwks_uri: format!("{url}/jwks") }, "not of the issuer"),
        (own("http://keys.example/jwks".to_owned()), "no https address"),
        (own("file:///etc/passwd".to_owned()), "no https address"),
        (own("jwks".to_owned()), "no https address"),
        (Answer::Keys("{}".to_owned()), "no OpenID configuration"),
        (Answer::Keys(format!("{{\"a\":\"{}\"}}", "x".repeat(70_000))), "more than 65536 bytes"),
    ] {
        issuer.answers(answer);
        let error = tokens.load_keys().await.expect_err(why).to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
    issuer.answers(own(format!("{url}/jwks")));
    tokens.load_keys().await.expect("it is its own");
    let mut claims = claims();
    claims["iss"] = json!(url);
    said(&tokens, &Signer::Ps256.token(&claims)).await.expect("good");
}

#[tokio::test]
async fn keys_come_over_tls_from_whom_this_machine_trusts_and_from_nobody_else() {
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).and_then(|it| it.self_signed(&key));
    let certificate: CertificateDer<'static> = certificate.expect("a certificate").der().clone();
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|it| it.with_no_client_auth().with_single_cert(vec![certificate.clone()], private))
        .expect("TLS");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let issuer = Issuer::start_with(Answer::Keys(key_set(&Signer::ALL)), Some(acceptor)).await;
    let with = |roots: RootCertStore| {
        let place = settings::Place::Url(format!("{}/jwks", issuer.url).parse().expect("an address"));
        let mut source = Source::new(place, ISSUER);
        source.roots = Some(Arc::new(roots));
        Arc::new(source)
    };
    let error = with(RootCertStore::empty()).load().await.expect_err("a stranger").to_string();
    assert!(error.contains("no TLS 1.3 with localhost by a certificate that this machine trusts"), "{error}");
    assert_eq!(issuer.asked(), 0, "nothing was asked of it");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    with(roots).load().await.expect("it is trusted");
}

#[tokio::test]
async fn how_it_goes_with_an_issuers_keys_is_told_when_it_changes_and_not_each_time() {
    let issuer = Issuer::start(Answer::Keys("{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}".to_owned())).await;
    let (tokens, watch) = (tokens_of(&issuer), Watch::default());
    let told = watch.subscribe(16);
    tokens.tell_to(&watch);
    for answer in [None, None, Some(Answer::Raw("nonsense\r\n\r\n".to_owned())), None] {
        if let Some(answer) = answer {
            issuer.answers(answer);
        }
        let _ = tokens.load_keys().await;
    }
    issuer.answers(Answer::Keys(key_set(&[Signer::Es256])));
    tokens.load_keys().await.expect("a key set");
    let mut kinds = Vec::new();
    while let Read::Event(event) = told.next_within(Duration::ZERO) {
        assert!(event.note.as_deref().is_some_and(|note| note.contains("https://")), "whose: {event:?}");
        kinds.push(event.kind);
    }
    let [unfit, failed, again] = [Kind::IssuerKeysUnfit, Kind::IssuerKeysFailed, Kind::IssuerKeysAgain];
    assert_eq!(kinds, [unfit, unfit, failed, again], "one key that is none, so that there is none");
    assert_eq!(tokens.unfit_keys(), Vec::<String>::new());
}
