//! People at devices, and a real server that they come to: by plain TCP, with what they show and what is seen of them.
#![allow(dead_code, reason = "each test file has its own use for it")]

#[path = "../../src/door/tokens/testing.rs"]
pub(crate) mod testing;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    http::{HeaderValue, Method},
};
use duologue::{
    Claims, ClientConfig, CloseCode, ConnectionError, DeviceId, DeviceKey, EvidenceKind, FreshReason, Invite,
    LineEvent, Offer, Outcome, ResetCode, ServerKey, SignatureAlgorithm, Standing, Ticket,
};
use duologue_client::{
    WebSocket,
    tokio_tungstenite::{client_async, tungstenite::client::IntoClientRequest},
};
use duologue_native::{Channel, Endpoint, Line, carry, keep, randomness};
use duologue_server::{
    Bound, Call, ChannelError, DeviceBinding, Duologue, LabelPattern, Level, LineError, Policy, Rule, Rules, State,
    Terms, TokenSettings, Tokens, ask, listen, serve, server_key,
};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use testing::{Signer, key_set, now};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

pub(crate) const ISSUER: &str = "https://login.example";

/// A token of this person, which ends in so many seconds; 5 more are between the clocks.
pub(crate) fn token(subject: &str, secs: i64) -> Value {
    let exp = now().checked_add_signed(secs).expect("a time");
    json!({ "iss": ISSUER, "aud": "app", "sub": subject, "iat": now() - 60, "exp": exp, "groups": ["staff"] })
}

pub(crate) fn signed(claims: &Value) -> String {
    Signer::EdDsa.token(claims)
}

/// Which tokens are taken.
pub(crate) fn settings() -> TokenSettings {
    TokenSettings {
        keys: Some("keys.json".to_owned()),
        groups_claim: Some("groups".to_owned()),
        ..TokenSettings::new(ISSUER, "app")
    }
}

/// A server that takes tokens, and opens `staff` at level 2 and `any` to devices that were let in.
pub(crate) struct Bench {
    pub(crate) duologue: Duologue,
    pub(crate) state: State,
    pub(crate) address: SocketAddr,
    server_key: ServerKey,
    calls: mpsc::UnboundedReceiver<Call>,
    _directory: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::start_with(true).await
    }

    pub(crate) async fn start_with(takes_tokens: bool) -> Self {
        Self::build(takes_tokens, |duologue, _| duologue).await
    }

    /// One to which something is added; at that moment its address is known, of which its own page is.
    pub(crate) async fn build(takes_tokens: bool, add: impl FnOnce(Duologue, SocketAddr) -> Duologue) -> Self {
        Self::build_with(takes_tokens.then(settings), add).await
    }

    pub(crate) async fn build_with(
        settings: Option<TokenSettings>,
        add: impl FnOnce(Duologue, SocketAddr) -> Duologue,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = State::open(directory.path().join("state")).expect("a new state");
        std::fs::write(directory.path().join("keys.json"), key_set(&Signer::ALL)).expect("there is room");
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
        let duologue = match settings {
            Some(settings) => duologue.tokens(Tokens::new(settings, directory.path()).expect("settings")),
            None => duologue,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let duologue = add(duologue, address).service("staff", service.clone()).service("any", service);
        let app: Router = duologue.router();
        tokio::spawn(serve(listener, None, app, Default::default()));
        let server_key = server_key(directory.path().join("state")).expect("it has one");
        Self { duologue, state, address, server_key, calls, _directory: directory }
    }

    /// For a device that is to be this person's.
    pub(crate) fn invite_for(&self, subject: &str) -> Invite {
        let terms = Terms { subject: Some(subject.to_owned()), ..Terms::default() };
        self.state.new_invite_for(&terms, Duration::from_secs(60)).expect("an invite")
    }

    pub(crate) fn invite(&self) -> Invite {
        self.state.new_invite(Duration::from_secs(60)).expect("an invite")
    }

    /// A device of this letter comes, by an invite or by nothing, with a token or without.
    pub(crate) fn come(&self, letter: u8, invite: Option<Invite>, token: Option<&str>) -> Person {
        self.come_as(letter, invite, token, &Browser::default())
    }

    /// The same, with what is seen of a browser.
    pub(crate) fn come_as(&self, letter: u8, invite: Option<Invite>, token: Option<&str>, browser: &Browser) -> Person {
        self.come_with(letter, invite.map_or(Offer::Nothing, Offer::Invite), token, browser)
    }

    /// The same, by whatever it shows in M1.
    pub(crate) fn come_with(&self, letter: u8, offer: Offer, token: Option<&str>, browser: &Browser) -> Person {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[letter; 32]).expect("a key");
        let algorithm = SignatureAlgorithm::Ed25519;
        let spki = [algorithm.spki_prefix(), pair.public_key().as_ref()].concat();
        let device = DeviceKey::new(algorithm, spki).expect("a key");
        let claims =
            Claims { origin: browser.origin.clone(), host: self.address.to_string(), name: "bench".to_owned() };
        let config =
            ClientConfig { server_key: self.server_key, offer, enrolled: false, device: device.clone(), claims };
        let mut core = duologue::Line::client(config, letter.into());
        if let Some(token) = token {
            core.show(EvidenceKind::Token, token.as_bytes().to_vec()).expect("it is short");
        }
        let line = Line::new(core);
        let person = Person {
            id: DeviceId::of_spki(device.spki()),
            binding: DeviceBinding::of(&device),
            line: line.unguarded(),
            told: Arc::default(),
            fresh: Arc::default(),
            tickets: Arc::default(),
            is_cut: Arc::default(),
            _guard: line,
        };
        let endpoint =
            Dialler { pair: Arc::new(pair), address: self.address, browser: browser.clone(), person: person.seen() };
        let (own, mut endpoint) = (person.line.clone(), endpoint);
        tokio::spawn(async move { keep(&own, &mut endpoint).await });
        person
    }

    /// As its owner does it.
    pub(crate) async fn release(&self, device: DeviceId) {
        let _listening = listen(self.state.clone(), self.duologue.clone()).expect("a socket");
        let path = format!("/devices/{device}/release");
        let released: Bound = ask(self.state.directory(), Method::POST, &path, None::<&()>).await.expect("it is bound");
        assert!(released.changed);
    }

    pub(crate) async fn call(&mut self) -> Call {
        tokio::time::timeout(Duration::from_secs(20), self.calls.recv()).await.expect("in time").expect("a call")
    }
}

/// What is seen of a browser.
#[derive(Clone, Default)]
pub(crate) struct Browser {
    /// Of its page; empty: a native client.
    pub(crate) origin: String,
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// Somebody at a device.
pub(crate) struct Person {
    pub(crate) id: DeviceId,
    pub(crate) binding: DeviceBinding,
    pub(crate) line: Line,
    pub(crate) told: Arc<Mutex<Vec<Standing>>>,
    pub(crate) fresh: Arc<Mutex<Vec<FreshReason>>>,
    /// Those that it was given, the newest last.
    pub(crate) tickets: Arc<Mutex<Vec<Ticket>>>,
    is_cut: Arc<AtomicBool>,
    _guard: Line,
}

type Seen = (Arc<Mutex<Vec<Standing>>>, Arc<Mutex<Vec<FreshReason>>>, Arc<Mutex<Vec<Ticket>>>, Arc<AtomicBool>);

impl Person {
    fn seen(&self) -> Seen {
        (Arc::clone(&self.told), Arc::clone(&self.fresh), Arc::clone(&self.tickets), Arc::clone(&self.is_cut))
    }

    pub(crate) fn show(&self, token: &str) {
        let shown = self.line.command(|line, _| line.show(EvidenceKind::Token, token.as_bytes().to_vec()));
        shown.expect("it is short");
    }

    /// Loses its connection, and dials again.
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
    }

    pub(crate) fn sign_out(&self) {
        self.line.command(|line, _| line.show(EvidenceKind::SignOut, vec![0])).expect("it is short");
    }

    /// Waits until the server tells such a standing.
    pub(crate) async fn hears(&self, what: &str, is_it: impl Fn(&Standing) -> bool) -> Standing {
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

    /// With which code and words its line is closed by the server.
    pub(crate) async fn turned_out(&self) -> (CloseCode, String) {
        match self.closed().await {
            ConnectionError::PeerClosed(close) => (close.code, close.reason),
            other => panic!("{other}"),
        }
    }

    pub(crate) async fn closed(&self) -> ConnectionError {
        tokio::time::timeout(Duration::from_secs(20), self.line.closed()).await.expect("an end in time")
    }
}

/// What a client's line asks of its surroundings, by plain TCP.
#[derive(Clone)]
struct Dialler {
    pair: Arc<Ed25519KeyPair>,
    address: SocketAddr,
    browser: Browser,
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
        let Browser { origin, headers } = &self.browser;
        let own = (!origin.is_empty()).then(|| ("origin", origin.clone()));
        for (name, value) in own.into_iter().chain(headers.clone()) {
            request.headers_mut().append(name, HeaderValue::from_str(&value).expect("text"));
        }
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
        let (told, fresh, tickets, _) = &self.person;
        match event {
            LineEvent::DialWanted => drop(tokio::spawn(self.clone().dial(line.unguarded()))),
            LineEvent::SignatureWanted(no, message) => {
                let signature: [u8; 64] = self.pair.sign(&message).as_ref().try_into().expect("64 bytes");
                line.command(|line, now| line.provide_signature(now, no, signature));
            }
            LineEvent::ChannelOpened(id) => line.offer(id),
            LineEvent::Standing(standing) => told.lock().expect("whole").push(standing.standing()),
            LineEvent::Opened(grant) => {
                if let Outcome::Fresh(reason) = grant.outcome {
                    fresh.lock().expect("whole").push(reason);
                }
                told.lock().expect("whole").push(grant.standing);
                tickets.lock().expect("whole").push(grant.ticket);
            }
            _ => {}
        }
    }
}

/// How a channel ends.
pub(crate) async fn end(channel: &Channel) -> Result<Option<Vec<u8>>, LineError> {
    tokio::time::timeout(Duration::from_secs(20), channel.recv()).await.expect("an end in time")
}

pub(crate) const NOT_ALLOWED: Result<Option<Vec<u8>>, LineError> =
    Err(LineError::Channel(ChannelError::Reset(ResetCode::NotAllowed)));

/// Until its end has seen that the connection is lost.
pub(crate) async fn until_lost(person: &Person) {
    let start = Instant::now();
    while person.line.state() == duologue::LineState::Open {
        assert!(start.elapsed() < Duration::from_secs(20), "it is open still");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
