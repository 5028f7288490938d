//! Strangers while the server is under pressure, over real sockets: who can show that his M1 is no replay, and who cannot.
#![allow(missing_docs, reason = "tests are named for their scenario")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::Router;
use duologue::{
    Invite, Randomness, SignatureAlgorithm, Standing,
    crypto::sha256,
    limits::{M1_LEN, M1_PAYLOAD_LEN, RECORD_0_LEN},
    noise::Initiator,
    upgrade,
};
use duologue_client::{
    Client, Keyring, Target, WebSocket,
    tokio_tungstenite::{client_async, tungstenite::client::IntoClientRequest},
};
use duologue_native::{Incoming, randomness};
use duologue_server::{Duologue, FrontConfig, Policy, State, TrustedProxies, serve_behind, services};
use futures_util::{SinkExt as _, StreamExt as _, future::join_all};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

/// Nobody is in doubt by then.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two of those who cannot show freshness, as the server has it.
const SLOW_GAP: Duration = Duration::from_millis(50);
/// What a handshake may take, as the server has it.
const HANDSHAKE: Duration = Duration::from_secs(5);

struct Bench {
    state: State,
    server: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Bench {
    async fn start(pressed: bool) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = State::open(directory.path()).expect("a new state");
        let duologue = Duologue::new(state.clone(), Policy::loopback()).service("echo", services::echo);
        let duologue = if pressed { duologue.under_pressure() } else { duologue };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let server = listener.local_addr().expect("it is bound");
        let app: Router = duologue.router();
        // Behind a proxy, so that this machine's address is not that of one stranger.
        let front =
            FrontConfig { trusted_proxies: TrustedProxies::default(), behind_proxy: true, ..FrontConfig::default() };
        tokio::spawn(serve_behind(listener, front, app, CancellationToken::new()));
        Self { state, server, _directory: directory }
    }

    fn invite(&self) -> Invite {
        self.state.new_invite(PATIENCE).expect("an invite")
    }
}

/// What the server says to whoever comes through here, byte for byte.
async fn overheard(server: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&said);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(server).await.expect("it listens");
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let heard = Arc::clone(&heard);
            tokio::spawn(async move {
                let mut bytes = vec![0; 16_384];
                while let Ok(len @ 1..) = from_server.read(&mut bytes).await {
                    heard.lock().expect("nobody panics").extend_from_slice(&bytes[..len]);
                    if to_client.write_all(&bytes[..len]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, said)
}

/// The first frame of a server's, behind its answer to the upgrade: what it selected, and the frame's two bytes and type.
fn first_words(said: &[u8]) -> (bool, [u8; 3]) {
    let end = said.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer") + 4;
    let head = String::from_utf8(said[..end].to_vec()).expect("text").to_lowercase();
    (head.contains("duologue.1+m1"), said[end..end + 3].try_into().expect("a frame"))
}

/// A server in need could ask, and no test had ever seen it ask a client.
#[tokio::test]
async fn under_pressure_a_client_makes_m1_anew_in_both_forms_and_else_in_none() {
    for (pressed, m1_first) in [(true, false), (true, true), (false, false)] {
        let bench = Bench::start(pressed).await;
        let (address, said) = overheard(bench.server).await;
        let link = bench.invite().to_link(&format!("http://{address}"));
        let client = Client::new(Keyring::in_memory());
        let client = if m1_first { client.with_m1_as_first_message() } else { client };
        let target = Target::parse(&link).expect("a link");
        let line = tokio::time::timeout(PATIENCE, client.connect(&target))
            .await
            .expect("it opens")
            .expect("the invite is good");
        assert_eq!(line.request("echo", "in").await.expect("an answer"), b"in");
        let said = said.lock().expect("nobody panics").clone();
        // The frame of 17 bytes whose type is 6; else M2.
        let expected = if pressed { (false, [0x82, 17, 6]) } else { (true, [0x82, 126, 0x04]) };
        assert_eq!(first_words(&said), expected, "pressed: {pressed}, M1 first: {m1_first}");
        let standing: Standing = line.standing().borrow().clone();
        assert_eq!(standing.level, 1);
    }
}

/// A client of another's make, whose M1 has no flag.
struct Plain {
    initiator: Initiator,
    m1: Vec<u8>,
    invite: Invite,
}

impl Plain {
    fn new(invite: Invite) -> Self {
        let key = invite.server_key();
        let header = [&[1, 1, 1][..], &sha256(&key.0)[..8], &[0]].concat();
        let mut payload = [0; M1_PAYLOAD_LEN];
        payload[0] = 2;
        payload[1..17].copy_from_slice(&invite.id().0);
        payload[17..27].copy_from_slice(&[1, 0, 0, 0, 0, 4, 0, 0, 1, 0]);
        let prologue = [b"duologue/1\x01", header.as_slice()].concat();
        let randomness: Randomness = randomness();
        let mut initiator = Initiator::new(&key.0, &prologue, randomness);
        let noise = initiator.write_m1(&payload).expect("a real key");
        let m1 = [header.as_slice(), &noise].concat();
        assert_eq!(m1.len(), M1_LEN);
        Self { initiator, m1, invite }
    }

    /// Goes the whole way; how long it was from M1 to M2.
    async fn comes_in(self, server: SocketAddr, as_message: bool) -> Duration {
        let tcp = TcpStream::connect(server).await.expect("it listens");
        let offer = if as_message { upgrade::WITHOUT_M1.to_owned() } else { upgrade::offer(&self.m1).join(", ") };
        let mut request = format!("ws://{server}/line").into_client_request().expect("a URL");
        request.headers_mut().insert("sec-websocket-protocol", offer.parse().expect("it is ASCII"));
        let (socket, response) = client_async(request, tcp).await.expect("it upgrades");
        let selected = response.headers().get("sec-websocket-protocol").expect("it selects one");
        assert_eq!(selected, if as_message { upgrade::WITHOUT_M1 } else { upgrade::WITH_M1 });
        let mut socket = WebSocket(socket);
        let begun = Instant::now();
        if as_message {
            socket.send(self.m1).await.expect("it listens");
        }
        let m2 = heard(&mut socket).await;
        let waited = begun.elapsed();
        let psk = self.invite.psk();
        let (_, _, mut transport) = self.initiator.read_m2(&m2[1..], &[&psk]).expect("an M2 of this server's");
        let key = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).expect("a key");
        let key = Ed25519KeyPair::from_pkcs8(key.as_ref()).expect("a key");
        let spki = [SignatureAlgorithm::Ed25519.spki_prefix(), key.public_key().as_ref()].concat();
        let signed = [&b"duologue/1 client-auth\0\x01"[..], transport.handshake_hash(), &sha256(&spki)].concat();
        let host = server.to_string();
        let host_len = u16::try_from(host.len()).expect("it is short");
        let mut auth = [&[3, 0, 1, 0, 44][..], &spki, key.sign(&signed).as_ref()].concat();
        auth.extend_from_slice(&[&[0, 0][..], &host_len.to_be_bytes(), host.as_bytes(), &[0]].concat());
        auth.extend_from_slice(&[&[7; 16][..], &[0; 8], &[0, 0, 0, 1]].concat());
        auth.resize(RECORD_0_LEN, 0);
        let mut sealed = Vec::new();
        transport.seal(&auth, &mut sealed);
        socket.send(sealed).await.expect("it listens");
        let verdict = transport.open(&heard(&mut socket).await).expect("its verdict");
        assert_eq!(verdict[0], 4, "AUTH_OK");
        waited
    }
}

/// The next message.
async fn heard(socket: &mut WebSocket<TcpStream>) -> Vec<u8> {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("it says something") {
            Some(Incoming::Binary(bytes)) => return bytes.to_vec(),
            Some(Incoming::Other) => {}
            other => panic!("it has ended: {other:?}"),
        }
    }
}

/// Whoever waited longer for his turn than a handshake may take was thrown out when it came, if his M1 was his first message.
#[tokio::test]
async fn who_cannot_show_freshness_waits_for_his_turn_and_gets_in_however_long_that_was() {
    let bench = Bench::start(true).await;
    // So many that the last two, one of each form, wait for longer than a handshake may take.
    let count = 2 + u32::try_from(HANDSHAKE.as_millis() / SLOW_GAP.as_millis()).expect("a few") + 8;
    let all: Vec<_> = (0..count).map(|_| Plain::new(bench.invite())).collect();
    let begun = Instant::now();
    let coming = all.into_iter().zip(0..count).map(|(plain, number)| plain.comes_in(bench.server, number % 2 == 0));
    let waited = join_all(coming).await;
    assert!(begun.elapsed() >= SLOW_GAP * count, "one after another");
    let longest = waited.iter().max().expect("there are some");
    assert!(*longest >= HANDSHAKE, "the last one waited for {longest:?}");
}
