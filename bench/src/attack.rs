//! Strangers who mean ill, as many as one core can be: the other side of the group `flood`.
//!
//! ```text
//! replayed-m1     TLS ─ upgrade with an M1 that was recorded once ─ gone at the first message
//! random-m1       the same with a Noise part of random bytes, each other one without the flag that shows freshness
//! used-invites    TLS ─ upgrade with an M1 made for it, which shows an invite that was used ─ gone at M2
//! garbage         TLS ─ upgrades that are none, one behind another, for as long as the server goes on listening
//! stopped-tls     ClientHello, and nothing more; so many are held, then the oldest goes
//! banned          connections from an address that may not connect, as fast as they can be opened and reset (`banned.rs`)
//! ```
//!
//! Told `run`, it does so for its time, and answers how many it made.

use std::{
    collections::VecDeque,
    fmt,
    io::{BufRead as _, Write as _},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use duologue::{Claims, ClientConfig, Connection, Offer, limits::M1_HEADER_LEN, upgrade};
use duologue_native::randomness;
use futures_util::{SinkExt as _, StreamExt as _, future};
use rustls::pki_types::ServerName;
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{
        Message,
        client::IntoClientRequest as _,
        http::{HeaderValue, header},
    },
};

use crate::{
    clients::{BareWebSocket, Dial, To, tls_config},
    device::{self, Device},
    line::websocket_config,
};

/// Strangers at the same time: enough to keep a core busy.
const STRANGERS: usize = 128;
/// Threads that open connections one after the other.
const BANNED: usize = 4;
/// Handshakes that were begun and are held open.
const STOPPED_MAX: usize = 2_000;
/// The server's backlog may be full: then the system would try again after a second.
const STOPPED_PATIENCE: Duration = Duration::from_millis(20);
/// Nobody waits for longer for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The last byte before the Noise part of M1, whose lowest bit says that freshness can be shown.
const M1_FLAGS: usize = M1_HEADER_LEN - 1;

/// What a flood consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attack {
    ReplayedM1,
    RandomM1,
    UsedInvites,
    Garbage,
    StoppedTls,
    Banned,
}

#[derive(clap::Args)]
pub(crate) struct Attackers {
    #[command(flatten)]
    server: To,
    #[arg(long)]
    attack: Attack,
    /// How long a run takes
    #[arg(long)]
    millis: u64,
    /// Where the server is, and where the banned come from
    #[arg(long, default_value_t = IpAddr::from([127, 0, 0, 1]))]
    at: IpAddr,
}

/// What all strangers of a flood share.
struct Flood {
    dial: Arc<Dial>,
    attack: Attack,
    /// Recorded once.
    m1: Vec<u8>,
    hello: Vec<u8>,
    port: u16,
    made: AtomicU64,
}

impl Attack {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::ReplayedM1 => "replayed M1",
            Self::RandomM1 => "random M1",
            Self::UsedInvites => "used invites",
            Self::Garbage => "garbage upgrades",
            Self::StoppedTls => "TLS handshakes that stop",
            Self::Banned => "banned addresses",
        }
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReplayedM1 => "replayed-m1",
            Self::RandomM1 => "random-m1",
            Self::UsedInvites => "used-invites",
            Self::Garbage => "garbage",
            Self::StoppedTls => "stopped-tls",
            Self::Banned => "banned",
        })
    }
}

impl Attackers {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        duologue_server::raise_file_limit()?;
        let dial = self.server.dial()?;
        let flood = Flood {
            m1: connect(&dial, Offer::Nothing)?.1,
            hello: client_hello(&self.server.state)?,
            dial,
            attack: self.attack,
            port: self.server.port,
            made: AtomicU64::new(0),
        };
        writeln!(std::io::stdout(), "ready 1")?;
        for line in std::io::stdin().lock().lines() {
            ensure!(line?.trim() == "run", "`run` was expected");
            flood.made.store(0, Ordering::Relaxed);
            let until = Instant::now() + Duration::from_millis(self.millis);
            match self.attack {
                Attack::StoppedTls => flood.stopped_tls(until).await,
                Attack::Banned => flood.banned((self.at, flood.port).into(), until),
                _ => drop(future::join_all((0..STRANGERS).map(|_| flood.stranger(until))).await),
            }
            writeln!(std::io::stdout(), "count {}", flood.made.load(Ordering::Relaxed))?;
        }
        Ok(())
    }
}

impl Flood {
    async fn stranger(&self, until: Instant) {
        while Instant::now() < until {
            // However it ends, the next one comes at once. Only a server that takes nobody is not asked in a circle.
            let made = self.made.load(Ordering::Relaxed);
            let once = tokio::time::timeout(PATIENCE, self.once(until)).await;
            if !matches!(once, Ok(Ok(()))) && made == self.made.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    async fn once(&self, until: Instant) -> anyhow::Result<()> {
        match self.attack {
            Attack::ReplayedM1 => self.upgrade(&self.m1).await,
            Attack::RandomM1 => {
                let mut m1 = self.m1.clone();
                let made = self.made.load(Ordering::Relaxed);
                getrandom(&mut m1[M1_HEADER_LEN..]);
                if made.is_multiple_of(2) {
                    m1[M1_FLAGS] = 0;
                }
                self.upgrade(&m1).await
            }
            Attack::UsedInvites => self.used_invite().await,
            Attack::Garbage => self.garbage(until).await,
            Attack::StoppedTls | Attack::Banned => Ok(()),
        }
    }

    /// Offers an M1, and leaves at the first message, or when it has waited for as long as any costs the server.
    async fn upgrade(&self, m1: &[u8]) -> anyhow::Result<()> {
        let mut socket = self.open(&upgrade::offer(m1)).await?.0;
        let _ = tokio::time::timeout(Duration::from_millis(10), socket.next()).await;
        Ok(())
    }

    /// A handshake to M2, with the answer to whatever the server asks before it.
    async fn used_invite(&self) -> anyhow::Result<()> {
        let server_key = self.dial.server_key().context("the server is none of Duologue")?;
        let (mut connection, _) = connect(&self.dial, Offer::Invite(device::used_invite(server_key)))?;
        let (mut socket, selected) = self.open(&connection.upgrade_offer()).await?;
        let now = duologue::Instant::default();
        connection.handle_upgrade(now, &selected)?;
        loop {
            let mut message = Vec::new();
            while connection.poll_transmit(now, &mut message) {
                socket.send(Message::binary(std::mem::take(&mut message))).await?;
            }
            let Some(Ok(Message::Binary(bytes))) = socket.next().await else { return Ok(()) };
            if connection.handle_message(now, &mut bytes.to_vec()).is_err() || connection.poll_event().is_some() {
                return Ok(());
            }
        }
    }

    /// A WebSocket, and the subprotocol that the server has selected.
    async fn open(&self, offer: &[String]) -> anyhow::Result<(BareWebSocket, String)> {
        let mut request = self.dial.url().into_client_request().context("a WebSocket URL")?;
        let offer = HeaderValue::from_str(&offer.join(", ")).context("base64url is ASCII")?;
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, offer);
        let stream = self.dial.stream().await?;
        let answer = client_async_with_config(request, stream, Some(websocket_config())).await;
        // Whatever it is.
        self.made.fetch_add(1, Ordering::Relaxed);
        let (socket, response) = answer?;
        let selected = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
        let selected = selected.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        Ok((socket, selected))
    }

    /// Requests that want to be upgrades, on one connection for as long as it lasts.
    async fn garbage(&self, until: Instant) -> anyhow::Result<()> {
        let mut stream = self.dial.stream().await?;
        let request = format!(
            "GET /line HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: bm90IGEgcmVhbCBrZXk=\r\nSec-WebSocket-Protocol: nothing-of-yours\r\n\r\n",
            self.dial.host()
        );
        let mut answer = [0; 4_096];
        while Instant::now() < until {
            stream.write_all(request.as_bytes()).await?;
            ensure!(stream.read(&mut answer).await? > 0, "the server has hung up");
            self.made.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn stopped_tls(&self, until: Instant) {
        let mut held = VecDeque::with_capacity(STOPPED_MAX);
        while Instant::now() < until {
            let connecting = TcpStream::connect(("127.0.0.1", self.port));
            match tokio::time::timeout(STOPPED_PATIENCE, connecting).await {
                Ok(Ok(mut tcp)) => {
                    if tcp.write_all(&self.hello).await.is_ok() {
                        self.made.fetch_add(1, Ordering::Relaxed);
                        held.push_back(tcp);
                    }
                    if held.len() > STOPPED_MAX {
                        held.pop_front();
                    }
                }
                _ => drop(held.pop_front()),
            }
        }
    }
}

impl Flood {
    /// From the server's own address, so that none is from loopback. Reset, so that neither end keeps a port for a minute.
    fn banned(&self, server: SocketAddr, until: Instant) {
        let once = || {
            let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
            socket.set_linger(Some(Duration::ZERO))?;
            socket.connect_timeout(&server.into(), PATIENCE)
        };
        std::thread::scope(|threads| {
            for _ in 0..BANNED {
                threads.spawn(|| {
                    while Instant::now() < until {
                        if once().is_ok() {
                            self.made.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
    }
}

/// A device's connection, and the M1 that it has made.
fn connect(dial: &Dial, offer: Offer) -> anyhow::Result<(Connection, Vec<u8>)> {
    let config = ClientConfig {
        server_key: dial.server_key().context("the server is none of Duologue")?,
        offer,
        enrolled: true,
        device: Device::number(0).key(),
        claims: Claims { origin: String::new(), host: dial.host(), name: "stranger".to_owned() },
    };
    let connection = Connection::connect(config, randomness(), duologue::Instant::default())?;
    let upgrade::Offered::M1(m1) = upgrade::read_offer(&connection.upgrade_offer().join(", ")) else {
        bail!("a connection offers no M1")
    };
    Ok((connection, m1))
}

/// What begins a TLS handshake. Recorded once: nothing in it needs to be new.
fn client_hello(state: &std::path::Path) -> anyhow::Result<Vec<u8>> {
    let name = ServerName::try_from("localhost").expect("it is a name");
    let mut client =
        rustls::ClientConnection::new(Arc::new(tls_config(state, rustls::crypto::ring::default_provider())?), name)?;
    let mut hello = Vec::new();
    client.write_tls(&mut hello)?;
    Ok(hello)
}

fn getrandom(bytes: &mut [u8]) {
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), bytes)
        .expect("the operating system gives random bytes");
}
