//! Tokens on real lines: behind AUTH and on the open line, raised, fallen, renewed, copied, and of somebody else.
#![allow(missing_docs, reason = "tests are named for their scenario")]

#[path = "../src/door/tokens/testing.rs"]
mod testing;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, http::HeaderValue};
use duologue::{
    Claims, ClientConfig, CloseCode, ConnectionError, DeviceKey, EvidenceKind, FreshReason, Invite, LineEvent, Offer,
    Outcome, ResetCode, ServerKey, SignatureAlgorithm, Standing,
};
use duologue_client::{
    WebSocket,
    tokio_tungstenite::{client_async, tungstenite::client::IntoClientRequest},
};
use duologue_native::{Channel, Endpoint, Line, carry, keep, randomness};
use duologue_server::{
    Call, ChannelError, DeviceBinding, Duologue, LabelPattern, Level, LineError, Policy, Rule, Rules, State, Subject,
    TokenSettings, Tokens, Whom, serve, server_key,
};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use testing::{Signer, base64url, key_set, now};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

const ISSUER: &str = "https://login.example";

/// A token of this person, which ends in so many seconds; 5 more are between the clocks.
fn token(subject: &str, secs: i64) -> Value {
    let exp = now().checked_add_signed(secs).expect("a time");
    json!({ "iss": ISSUER, "aud": "app", "sub": subject, "iat": now() - 60, "exp": exp, "groups": ["staff"] })
}

fn signed(claims: &Value) -> String {
    Signer::EdDsa.token(claims)
}

/// A server that takes tokens, and opens `staff` at level 2 and `any` to devices that were let in.
struct Bench {
    duologue: Duologue,
    state: State,
    address: SocketAddr,
    server_key: ServerKey,
    calls: mpsc::UnboundedReceiver<Call>,
    _directory: tempfile::TempDir,
}

impl Bench {
    async fn start() -> Self {
        Self::start_with(true).await
    }

    async fn start_with(takes_tokens: bool) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = State::open(directory.path().join("state")).expect("a new state");
        std::fs::write(directory.path().join("keys.json"), key_set(&Signer::ALL)).expect("there is room");
        let settings = TokenSettings {
            keys: Some("keys.json".to_owned()),
            groups_claim: Some("groups".to_owned()),
            ..TokenSettings::new(ISSUER, "app")
        };
        let rule = |label: &str, level| {
            let open = vec![LabelPattern::new(label).expect("a pattern")];
            Rule { level, ..Rule::new(label, open) }
        };
        let rules = Rules::new(vec![rule("staff", Level::Account), rule("any", Level::Device)]);
        let (called, calls) = mpsc::unbounded_channel();
        let service = move |call: Call| {
            let called = called.clone();
            async move {
                called.send(call)?;
                std::future::pending().await
            }
        };
        let duologue = Duologue::new(state.clone(), Policy::loopback().with_rules(rules));
        let duologue = match takes_tokens {
            true => duologue.tokens(Tokens::new(settings, directory.path()).expect("settings")),
            false => duologue,
        };
        let duologue = duologue.service("staff", service.clone()).service("any", service);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let app: Router = duologue.router();
        tokio::spawn(serve(listener, None, app, Default::default()));
        let server_key = server_key(directory.path().join("state")).expect("it has one");
        Self { duologue, state, address, server_key, calls, _directory: directory }
    }

    fn invite(&self) -> Invite {
        self.state.new_invite(Duration::from_secs(60)).expect("an invite")
    }

    /// A device of this letter comes, by an invite or by nothing, with a token or without.
    fn come(&self, letter: u8, invite: Option<Invite>, token: Option<&str>) -> Person {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[letter; 32]).expect("a key");
        let algorithm = SignatureAlgorithm::Ed25519;
        let spki = [algorithm.spki_prefix(), pair.public_key().as_ref()].concat();
        let device = DeviceKey::new(algorithm, spki).expect("a key");
        let claims = Claims { origin: String::new(), host: self.address.to_string(), name: "bench".to_owned() };
        let offer = invite.map_or(Offer::Nothing, Offer::Invite);
        let config =
            ClientConfig { server_key: self.server_key, offer, enrolled: false, device: device.clone(), claims };
        let mut core = duologue::Line::client(config, letter.into());
        if let Some(token) = token {
            core.show(EvidenceKind::Token, token.as_bytes().to_vec()).expect("it is short");
        }
        let line = Line::new(core);
        let person = Person {
            binding: DeviceBinding::of(&device),
            line: line.unguarded(),
            told: Arc::default(),
            fresh: Arc::default(),
            is_cut: Arc::default(),
            _guard: line,
        };
        let endpoint = Dialler { pair: Arc::new(pair), address: self.address, person: person.seen() };
        let (own, mut endpoint) = (person.line.clone(), endpoint);
        tokio::spawn(async move { keep(&own, &mut endpoint).await });
        person
    }

    async fn call(&mut self) -> Call {
        tokio::time::timeout(Duration::from_secs(20), self.calls.recv()).await.expect("in time").expect("a call")
    }
}

/// Somebody at a device.
struct Person {
    binding: DeviceBinding,
    line: Line,
    told: Arc<Mutex<Vec<Standing>>>,
    fresh: Arc<Mutex<Vec<FreshReason>>>,
    is_cut: Arc<AtomicBool>,
    _guard: Line,
}

type Seen = (Arc<Mutex<Vec<Standing>>>, Arc<Mutex<Vec<FreshReason>>>, Arc<AtomicBool>);

impl Person {
    fn seen(&self) -> Seen {
        (Arc::clone(&self.told), Arc::clone(&self.fresh), Arc::clone(&self.is_cut))
    }

    fn show(&self, token: &str) {
        let shown = self.line.command(|line, _| line.show(EvidenceKind::Token, token.as_bytes().to_vec()));
        shown.expect("it is short");
    }

    /// Loses its connection, and dials again.
    fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
    }

    /// Waits until the server tells such a standing.
    async fn hears(&self, what: &str, is_it: impl Fn(&Standing) -> bool) -> Standing {
        let start = Instant::now();
        loop {
            let told = self.told.lock().expect("whole").clone();
            if let Some(standing) = told.iter().rev().find(|standing| is_it(standing)) {
                return standing.clone();
            }
            let state = self.line.command(|line, _| line.closed().cloned());
            assert!(
                start.elapsed() < Duration::from_secs(8),
                "{what}: told were {told:#?}; {state:?}, {:?}",
                self.line.state()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn closed(&self) -> ConnectionError {
        tokio::time::timeout(Duration::from_secs(20), self.line.closed()).await.expect("an end in time")
    }
}

/// What a client's line asks of its surroundings, by plain TCP.
#[derive(Clone)]
struct Dialler {
    pair: Arc<Ed25519KeyPair>,
    address: SocketAddr,
    person: Seen,
}

impl Dialler {
    async fn dial(self, line: Line) {
        let Ok(dialled) = line.command(|line, now| line.dial(now, randomness())) else { return };
        let no = dialled.no;
        let Ok(tcp) = TcpStream::connect(self.address).await else {
            return line.command(|line, now| line.handle_unreachable(now, no));
        };
        let mut request = format!("ws://{}/line", self.address).into_client_request().expect("an address");
        let offer = HeaderValue::from_str(&dialled.offer.join(", ")).expect("ASCII");
        request.headers_mut().insert("sec-websocket-protocol", offer);
        let (socket, response) = client_async(request, tcp).await.expect("a line");
        let selected = response.headers()["sec-websocket-protocol"].to_str().expect("ASCII").to_owned();
        line.command(|line, now| line.handle_upgrade(now, no, &selected));
        let (.., is_cut) = self.person;
        let cut = async {
            while !is_cut.swap(false, Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            () = carry(&line, no, WebSocket(socket)) => {}
            () = cut => line.command(|line, now| line.handle_lost(now, no)),
        }
    }
}

impl Endpoint for Dialler {
    async fn answer(&mut self, line: &Line, event: LineEvent) {
        let (told, fresh, _) = &self.person;
        match event {
            LineEvent::DialWanted => drop(tokio::spawn(self.clone().dial(line.unguarded()))),
            LineEvent::SignatureWanted(no, message) => {
                let signature: [u8; 64] = self.pair.sign(&message).as_ref().try_into().expect("64 bytes");
                line.command(|line, now| line.provide_signature(now, no, signature));
            }
            LineEvent::Standing(standing) => told.lock().expect("whole").push(standing.standing()),
            LineEvent::Opened(grant) => {
                if let Outcome::Fresh(reason) = grant.outcome {
                    fresh.lock().expect("whole").push(reason);
                }
                told.lock().expect("whole").push(grant.standing);
            }
            _ => {}
        }
    }
}

/// How a channel ends.
async fn end(channel: &Channel) -> Result<Option<Vec<u8>>, LineError> {
    tokio::time::timeout(Duration::from_secs(20), channel.recv()).await.expect("an end in time")
}

const NOT_ALLOWED: Result<Option<Vec<u8>>, LineError> =
    Err(LineError::Channel(ChannelError::Reset(ResetCode::NotAllowed)));

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

/// Until its end has seen that the connection is lost.
async fn until_lost(person: &Person) {
    let start = Instant::now();
    while person.line.state() == duologue::LineState::Open {
        assert!(start.elapsed() < Duration::from_secs(20), "it is open still");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
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

impl Person {
    fn sign_out(&self) {
        self.line.command(|line, _| line.show(EvidenceKind::SignOut, vec![0])).expect("it is short");
    }
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
        let told = ada.closed().await;
        assert!(
            matches!(told, ConnectionError::PeerClosed(ref close) if close.code == CloseCode::NotEnrolled),
            "{told:?}"
        );
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
