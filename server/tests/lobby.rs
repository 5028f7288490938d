//! Whoever has been given an M2 keeps his place until the verdict on him is out, however many come after him.
//!
//! ```text
//! 16 devices ─► Way, which says whose they are and holds back what the server answers ─► server: M2 is paid for
//! 32 newcomers of the same address ─────────────────────────────────────────────────────► no place for them
//! ```
#![allow(missing_docs, reason = "tests are named for their scenario")]

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use duologue_client::{Client, Keyring, Target};
use duologue_server::{Duologue, FrontConfig, Policy, State, TrustedProxies, serve_behind, services};
use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

/// Handshakes of one address, as the server has it.
const HANDSHAKES: usize = 16;
const NEWCOMERS: usize = 32;
/// What the server answers when it has made M2: the status with its headers, and M2 in a frame.
const WITH_M2_LEN: usize = 1_217;
/// Nobody is in doubt by then.
const PATIENCE: Duration = Duration::from_secs(60);
/// A handshake that takes 5 s ends for that reason alone.
const HANDSHAKE: Duration = Duration::from_secs(4);

const UPGRADE: &[u8] = b"GET /line HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: duologue.1\r\n\r\n";

async fn from_one_address(server: SocketAddr) -> TcpStream {
    let mut tcp = TcpStream::connect(server).await.expect("it listens");
    tcp.write_all(b"PROXY TCP4 192.0.2.1 203.0.113.1 4711 443\r\n").await.expect("it reads");
    tcp
}

/// A way to the server on which all are of one address. What it answers is let through once `open` says so; `paid` hears of each
/// connection that has its M2.
async fn way(server: SocketAddr, open: watch::Receiver<bool>, paid: mpsc::UnboundedSender<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (mut open, paid) = (open.clone(), paid.clone());
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = near.into_split();
                let (mut from_server, mut to_server) = from_one_address(server).await.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
                let mut held = Vec::new();
                while held.len() < WITH_M2_LEN && from_server.read_buf(&mut held).await.is_ok_and(|len| len > 0) {}
                let _ = paid.send(());
                if open.wait_for(|open| *open).await.is_ok() && to_client.write_all(&held).await.is_ok() {
                    let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
                }
            });
        }
    });
    address
}

/// Whether the server hangs up on a newcomer whose upgrade it has answered.
async fn is_turned_away(server: SocketAddr) -> bool {
    let mut tcp = from_one_address(server).await;
    tcp.write_all(UPGRADE).await.expect("it reads");
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(HANDSHAKE, tcp.read_to_end(&mut answer)).await;
    ended.is_ok() && answer.starts_with(b"HTTP/1.1 101")
}

/// Without that, each newcomer took the place of the oldest who was about to prove himself.
#[tokio::test]
async fn who_has_an_m2_is_not_thrown_out_for_newcomers_and_gets_in() {
    // A machine without time may need a few tries.
    for _ in 0..10 {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = State::open(directory.path()).expect("a new state");
        let duologue = Duologue::new(state.clone(), Policy::loopback()).service("echo", services::echo);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let server = listener.local_addr().expect("it is bound");
        let trusted_proxies = TrustedProxies::default().with("127.0.0.1").expect("an address");
        let front = FrontConfig { trusted_proxies, behind_proxy: true, ..FrontConfig::default() };
        tokio::spawn(serve_behind(listener, front, duologue.router(), CancellationToken::new()));

        let ((opens, open), (paid, mut pays)) = (watch::channel(false), mpsc::unbounded_channel());
        let address = format!("http://{}", way(server, open, paid).await);
        let begun = Instant::now();
        let devices: Vec<_> = (0..HANDSHAKES)
            .map(|_| {
                let link = state.new_invite(Duration::from_secs(600)).expect("an invite").to_link(&address);
                tokio::spawn(async move {
                    let client = Client::new(Keyring::in_memory());
                    let line = client.connect(&Target::parse(&link).expect("a link")).await?;
                    Ok::<_, duologue_client::ConnectError>((client, line))
                })
            })
            .collect();
        for _ in 0..HANDSHAKES {
            tokio::time::timeout(PATIENCE, pays.recv()).await.expect("M2 is made").expect("the way is there");
        }
        let turned_away = join_all((0..NEWCOMERS).map(|_| is_turned_away(server))).await;
        let in_time = begun.elapsed() < HANDSHAKE;
        opens.send(true).expect("somebody waits");
        let came = join_all(devices).await;
        if !in_time {
            continue;
        }
        assert!(turned_away.iter().all(|it| *it), "there is no place for a newcomer: {turned_away:?}");
        for device in came {
            let (_client, line) = device.expect("no panic").expect("it was not thrown out");
            assert_eq!(line.request("echo", "here").await.expect("its line is open"), b"here");
        }
        return;
    }
    panic!("the machine has no time");
}
