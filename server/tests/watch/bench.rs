//! A real server that believes a PROXY header, who comes to it from any address, and what its watch says of that.
#![allow(dead_code, reason = "each test file has its own use for it")]

use std::{net::SocketAddr, time::Duration};

use duologue::{
    DeviceKey, Invite, Secret, SignatureAlgorithm,
    crypto::{Randomness, sha256},
    limits::{M1_PAYLOAD_LEN, RECORD_0_LEN},
    noise::{Initiator, Transport},
};
use duologue_client::{
    Client, Keyring, Line, Target,
    tokio_tungstenite::{
        WebSocketStream, client_async,
        tungstenite::{Message, client::IntoClientRequest},
    },
};
use duologue_server::{
    Config, Duologue, Event, FrontConfig, Kind, Policy, Reader, State, TrustedProxies, serve_behind, services,
};
use futures_util::{SinkExt, StreamExt};
use ring::signature::{Ed25519KeyPair, KeyPair};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};

/// Nobody is in doubt by then.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A rule by which it is known that the rules have seen everything that was told before.
const PROBE: &str = "[[watch.rule]]\nname = \"probe\"\nevents = [\"server-started\"]\nby = \"all\"\nthreshold = 1\n\
                     window = \"1s\"\nmeasure = \"observe\"\n";

pub(crate) struct Bench {
    pub(crate) duologue: Duologue,
    pub(crate) state: State,
    pub(crate) address: SocketAddr,
    pub(crate) directory: tempfile::TempDir,
    events: Reader,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::start_with(|duologue| duologue).await
    }

    pub(crate) async fn start_with(add: impl FnOnce(Duologue) -> Duologue) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self::start_in(directory, add).await
    }

    pub(crate) async fn start_in(directory: tempfile::TempDir, add: impl FnOnce(Duologue) -> Duologue) -> Self {
        let state = State::open(directory.path().join("state")).expect("a state");
        let duologue = add(Duologue::new(state.clone(), Policy::loopback()).service("echo", services::echo));
        let events = duologue.watch().subscribe(1_000_000);
        duologue.set_watch(&Config::parse("probe", PROBE).expect("it is right").watch);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let big = || async { vec![0_u8; 64 * 1024 * 1024] };
        let app = duologue.router().route("/big", axum::routing::get(big));
        let trusted_proxies = TrustedProxies::default().with("127.0.0.1").expect("an address");
        let watch = duologue.watch().clone();
        let front = FrontConfig { trusted_proxies, behind_proxy: true, watch, ..FrontConfig::default() };
        tokio::spawn(serve_behind(listener, front, app, Default::default()));
        Self { duologue, state, address, directory, events }
    }

    pub(crate) fn invite(&self) -> Invite {
        self.state.new_invite(Duration::from_secs(600)).expect("an invite")
    }

    pub(crate) fn count(&self, kind: Kind) -> u64 {
        self.duologue.watch().told().into_iter().find(|(told, _)| *told == kind).map_or(0, |(_, count)| count)
    }

    /// Waits until there were so many of a kind.
    pub(crate) async fn told(&self, kind: Kind, count: u64) {
        let told = async {
            while self.count(kind) < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, told).await;
        in_time.unwrap_or_else(|_| {
            panic!("{kind:?}: {} of {count}; all: {:?}", self.count(kind), self.duologue.watch().told())
        });
    }

    /// What rules have said since the last time, and all that they have seen.
    pub(crate) async fn matches(&self) -> Vec<Event> {
        self.duologue.watch().tell(Event::of(Kind::ServerStarted));
        let mut matches = Vec::new();
        let read = async {
            loop {
                let event = self.events.next().await.expect("the server is there");
                let note = event.note.as_deref().unwrap_or_default();
                match event.kind {
                    Kind::RuleMatched if note.starts_with("rule=probe ") => return,
                    Kind::RuleMatched | Kind::Slowed | Kind::Closed | Kind::Banned => {
                        matches.push(Event::clone(&event));
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("the rules are asked");
        matches
    }

    /// Does something until a rule's threshold is reached: one less does nothing, and one more what the rule says.
    pub(crate) async fn holds(
        &self,
        rule: &str,
        kind: Kind,
        threshold: u64,
        said: Kind,
        mut one: impl AsyncFnMut(u64),
    ) {
        let before = self.count(kind);
        for number in 0..threshold - 1 {
            one(number).await;
            self.told(kind, before + number + 1).await;
        }
        assert_eq!(self.count(kind), before + threshold - 1, "{rule}: each makes one event");
        let early = self.matches().await;
        assert!(early.is_empty(), "{rule}: one below the threshold: {early:#?}");
        one(threshold - 1).await;
        self.told(kind, before + threshold).await;
        let matches = self.matches().await;
        let [matched] = &matches[..] else { panic!("{rule}: {matches:#?}") };
        let note = matched.note.as_deref().unwrap_or_default();
        assert_eq!(matched.kind, said, "{rule}: {note}");
        assert!(note.starts_with(&format!("rule={rule} count={threshold} ")), "{note}");
        assert!(!note.contains("exempt") && !note.contains("dry"), "{note}");
    }

    /// A connection of this address.
    pub(crate) async fn tcp(&self, from: &str) -> TcpStream {
        let mut tcp = TcpStream::connect(self.address).await.expect("it listens");
        let header = format!("PROXY TCP4 {from} 203.0.113.1 4711 443\r\n");
        tcp.write_all(header.as_bytes()).await.expect("it reads");
        tcp
    }

    /// A WebSocket on which nothing was said.
    pub(crate) async fn socket(&self, from: &str) -> Option<WebSocketStream<TcpStream>> {
        let mut request = format!("ws://{}/line", self.address).into_client_request().expect("an address");
        request.headers_mut().insert("sec-websocket-protocol", "duologue.1".parse().expect("text"));
        Some(client_async(request, self.tcp(from).await).await.ok()?.0)
    }

    /// One that says this, and hears how it ends.
    pub(crate) async fn says(&self, from: &str, message: Message) {
        let mut socket = self.socket(from).await.expect("a WebSocket");
        socket.send(message).await.expect("it is sent");
        end(&mut socket).await;
    }

    /// Where a client of the library comes from this address.
    pub(crate) async fn way(&self, from: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (near, server) = (listener.local_addr().expect("it is bound"), self.address);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(server).await else { return };
                    let header = format!("PROXY TCP4 {from} 203.0.113.1 4711 443\r\n");
                    if far.write_all(header.as_bytes()).await.is_ok() {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        near
    }

    /// A device that is let in, and its line.
    pub(crate) async fn person(&self, from: &'static str) -> (Client, Target, Line) {
        let link = self.invite().to_link(&format!("http://{}", self.way(from).await));
        let (client, target) = (Client::new(Keyring::in_memory()), Target::parse(&link).expect("a link"));
        let line = client.connect(&target).await.expect("the invite is good");
        (client, target, line)
    }
}

/// Waits for a socket's end.
pub(crate) async fn end(socket: &mut WebSocketStream<TcpStream>) {
    let ended = async { while socket.next().await.is_some_and(|heard| heard.is_ok()) {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("an end");
}

/// A device that writes its handshake byte by byte (docs/PROTOCOL.md).
pub(crate) struct Raw {
    pair: Ed25519KeyPair,
    key: DeviceKey,
}

/// What it departs by from an honest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misdeed {
    None,
    ForgedSignature,
    GarbageForAuth,
}

/// The kinds of credentials in M1.
pub(crate) enum Shows<'a> {
    Nothing,
    Invite(&'a Invite),
    /// That nobody knows.
    Unknown([u8; 16]),
}

/// A connection that was let in, or what was said in place of that.
pub(crate) struct Came {
    pub(crate) socket: WebSocketStream<TcpStream>,
    pub(crate) transport: Transport,
    pub(crate) answer: Vec<u8>,
}

impl Came {
    /// The session, as the server names it.
    pub(crate) fn session(&self) -> [u8; 16] {
        self.answer.get(2..18).and_then(|id| id.try_into().ok()).expect("AUTH_OK")
    }

    /// Sends these frames.
    pub(crate) async fn sends(&mut self, frames: &[u8]) {
        let mut sealed = Vec::new();
        self.transport.seal(frames, &mut sealed);
        let _ = self.socket.send(Message::binary(sealed)).await;
    }
}

impl Raw {
    pub(crate) fn new(seed: u8) -> Self {
        Self::of([seed; 32])
    }

    pub(crate) fn of(seed: [u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a key");
        let algorithm = SignatureAlgorithm::Ed25519;
        let spki = [algorithm.spki_prefix(), pair.public_key().as_ref()].concat();
        Self { pair, key: DeviceKey::new(algorithm, spki).expect("a key") }
    }

    pub(crate) fn id(&self) -> duologue::DeviceId {
        duologue::DeviceId::of_spki(self.key.spki())
    }

    /// An M1 for a key, as a message.
    pub(crate) fn m1(server_key: &[u8; 32], shows: &Shows<'_>) -> (Initiator, Vec<u8>) {
        let header = [&[1, 1, 1][..], &sha256(server_key)[..8], &[0]].concat();
        let mut payload = [0; M1_PAYLOAD_LEN];
        let (kind, id) = match shows {
            Shows::Nothing => (0, [0; 16]),
            Shows::Invite(invite) => (2, invite.id().0),
            Shows::Unknown(id) => (2, *id),
        };
        payload[0] = kind;
        payload[1..17].copy_from_slice(&id);
        payload[17..27].copy_from_slice(&[1, 0, 0, 0, 0, 4, 0, 0, 1, 0]);
        let prologue = [b"duologue/1\x01", header.as_slice()].concat();
        let random = std::array::from_fn(|_| fastrand::u8(..));
        let mut initiator = Initiator::new(server_key, &prologue, Randomness::new(random));
        let noise = initiator.write_m1(&payload).expect("a real key");
        (initiator, [header.as_slice(), &noise].concat())
    }

    /// Comes, as it does or not as it does. None if it was not heard out.
    pub(crate) async fn come(&self, bench: &Bench, from: &str, shows: Shows<'_>, misdeed: Misdeed) -> Option<Came> {
        self.come_again(bench, from, shows, misdeed, ([7; 16], 1)).await
    }

    /// The same, to go on with a session, by this attempt.
    pub(crate) async fn come_again(
        &self,
        bench: &Bench,
        from: &str,
        shows: Shows<'_>,
        misdeed: Misdeed,
        session: ([u8; 16], u32),
    ) -> Option<Came> {
        let server_key = bench.state.identity().public();
        let mut socket = bench.socket(from).await?;
        let (initiator, m1) = Self::m1(&server_key.0, &shows);
        socket.send(Message::binary(m1)).await.ok()?;
        let m2 = next(&mut socket).await?;
        let psks = match &shows {
            Shows::Invite(invite) => vec![invite.psk(), Secret::NONE],
            Shows::Nothing | Shows::Unknown(_) => vec![Secret::NONE],
        };
        let (_, _, mut transport) = initiator.read_m2(&m2[1..], &psks.iter().collect::<Vec<_>>()).ok()?;
        let sealed = match misdeed {
            Misdeed::GarbageForAuth => vec![fastrand::u8(..); RECORD_0_LEN + 16],
            Misdeed::None | Misdeed::ForgedSignature => {
                let mut sealed = Vec::new();
                transport.seal(&self.auth(&transport, bench.address, misdeed, session), &mut sealed);
                sealed
            }
        };
        socket.send(Message::binary(sealed)).await.ok()?;
        let answer = next(&mut socket).await?;
        let answer = transport.open(&answer).ok()?;
        Some(Came { socket, transport, answer })
    }

    /// AUTH, which wants to go on with a session: where nobody has it, it gets a new one.
    fn auth(
        &self,
        transport: &Transport,
        server: SocketAddr,
        misdeed: Misdeed,
        (session, attempt): ([u8; 16], u32),
    ) -> Vec<u8> {
        let spki = self.key.spki();
        let signed = [&b"duologue/1 client-auth\0\x01"[..], transport.handshake_hash(), &sha256(spki)].concat();
        let mut signature = self.pair.sign(&signed).as_ref().to_vec();
        if misdeed == Misdeed::ForgedSignature {
            signature[7] ^= 1;
        }
        let host = server.to_string();
        let len = u16::try_from(host.len()).expect("short").to_be_bytes();
        let mut auth = [&[3, 1, 1, 0, 44][..], spki, &signature, &[0, 0], &len, host.as_bytes(), &[0]].concat();
        auth.extend_from_slice(&[session.as_slice(), &0_u64.to_be_bytes(), &attempt.to_be_bytes()].concat());
        auth.resize(RECORD_0_LEN, 0);
        auth
    }

    /// Is let in by an invite.
    pub(crate) async fn enrol(&self, bench: &Bench, from: &str) {
        let came = self.come(bench, from, Shows::Invite(&bench.invite()), Misdeed::None).await.expect("an answer");
        assert_eq!(came.answer.first(), Some(&4), "AUTH_OK: {:?}", came.answer.get(..8));
    }
}

/// The next binary message; none at the end.
pub(crate) async fn next(socket: &mut WebSocketStream<TcpStream>) -> Option<Vec<u8>> {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.ok()?? {
            Ok(Message::Binary(bytes)) => return Some(bytes.to_vec()),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            _ => return None,
        }
    }
}
