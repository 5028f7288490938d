//! What a flood of strangers, of each kind, and the worst that one device can do leave in a server's log: 70,000 bytes in ten
//! minutes at most, which is 10 MB a day.
//!
//! ```text
//! replayed M1     an upgrade with an M1 that was recorded once        used invites   a whole M1 that shows an invite that was used
//! random M1       an M1 whose Noise part is random                    garbage        upgrades that are none, on one connection
//! stopped TLS     ClientHello, and nothing more                       device         ill-formed requests, unknown labels, lines
//! ```
//!
//! They run at the same time, each against a server of its own, as fast as the machine lets them.
//!
//! The whole form, 600 s, on 29 November 2026, with a debug build on two busy cores; tries or rounds, and bytes of log: replayed
//! M1 25,991 and 1,189; random M1 26,539 and 14,072; used invites 33,333 and 13,570; garbage upgrades 67,769 and 1,076; TLS
//! handshakes that stop 103,661 and 1,074; the worst device 452 and 9,070.

use std::{
    collections::VecDeque,
    fmt,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use duologue::{CloseCode, Instant as CoreInstant, Invite, limits::M1_HEADER_LEN, upgrade};
use futures_util::{SinkExt as _, StreamExt as _, future};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    chance::random,
    forms::rounds,
    logs::{SECRET, counted, ill_formed, line_to, log_of, open_unknown, with_dry_rules},
    proxy::name,
    raw::{Device, Place, Raw},
    server::{Server, invite_of, target},
};

/// Strangers of one kind at the same time.
const STRANGERS: usize = 32;
/// What the worst device does at the same time.
const AT_ONCE: usize = 8;
/// Handshakes that one of them holds open.
const STOPPED_MAX: usize = 100;
/// Nobody waits for longer for an answer: a server under pressure keeps strangers waiting.
const PATIENCE: Duration = Duration::from_millis(500);
/// In ten minutes: 10 MB a day.
const LOG_LEN_MAX: usize = 70_000;
/// What three classes of peers may say at once, and with the counts each minute (`server/src/watch/counts.rs`).
const LOG_LEN_AT_ONCE: usize = 3 * 5_000;
const LOG_LEN_A_MINUTE: usize = 3 * 900 + 12 * 220;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flood {
    ReplayedM1,
    RandomM1,
    UsedInvites,
    Garbage,
    StoppedTls,
}

const ALL: [Flood; 5] = [Flood::ReplayedM1, Flood::RandomM1, Flood::UsedInvites, Flood::Garbage, Flood::StoppedTls];

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReplayedM1 => "replayed M1",
            Self::RandomM1 => "random M1",
            Self::UsedInvites => "used invites",
            Self::Garbage => "garbage upgrades",
            Self::StoppedTls => "TLS handshakes that stop",
        })
    }
}

/// What the strangers of one flood share.
struct Strangers {
    flood: Flood,
    port: u16,
    place: Place,
    connector: TlsConnector,
    hello: Vec<u8>,
    used: Invite,
    /// With the M1 that was recorded.
    offers: Vec<String>,
    tries: AtomicU64,
}

impl Strangers {
    fn at(server: &Server, flood: Flood) -> Self {
        let (place, used) = (Place::dev(server), invite_of(server.link()));
        let (connector, hello) = place.tls();
        let offers = Raw::new(&place, &used, &Device::new()).connection().upgrade_offer();
        Self { flood, port: server.port, place, connector, hello, used, offers, tries: AtomicU64::new(0) }
    }

    /// One of them, for as long as the flood lasts.
    async fn come(&self, until: Instant) {
        let mut held = VecDeque::new();
        while Instant::now() < until {
            self.tries.fetch_add(1, Ordering::Relaxed);
            // Whoever is refused comes again, but not in a loop that leaves nothing to anybody else.
            if !matches!(tokio::time::timeout(PATIENCE, self.once(&mut held, until)).await, Ok(Some(()))) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Each from another of the addresses of this machine, so that each would be told by name.
    async fn tcp(&self) -> Option<TcpStream> {
        let [b, c, d] = random();
        let socket = TcpSocket::new_v4().ok()?;
        socket.bind((Ipv4Addr::new(127, b, c, d), 0).into()).ok()?;
        socket.connect((Ipv4Addr::LOCALHOST, self.port).into()).await.ok()
    }

    async fn once(&self, held: &mut VecDeque<TcpStream>, until: Instant) -> Option<()> {
        match self.flood {
            Flood::ReplayedM1 => {
                let mut socket = self.place.try_dial(self.tcp().await?, &self.connector, &self.offers).await?;
                socket.next().await?.ok()?;
            }
            Flood::RandomM1 => {
                let mut m1 = Vec::new();
                let mut connection = Raw::new(&self.place, &self.used, &Device::new()).connection();
                connection.handle_upgrade(CoreInstant::default(), upgrade::WITHOUT_M1).ok()?;
                connection.poll_transmit(CoreInstant::default(), &mut m1);
                for chunk in m1.get_mut(M1_HEADER_LEN..)?.chunks_mut(64) {
                    chunk.copy_from_slice(&random::<64>()[..chunk.len()]);
                }
                let mut socket =
                    self.place.try_dial(self.tcp().await?, &self.connector, &[upgrade::WITHOUT_M1.to_owned()]).await?;
                socket.send(Message::binary(m1)).await.ok()?;
                socket.next().await?.ok()?;
            }
            Flood::UsedInvites => {
                let offers = Raw::new(&self.place, &self.used, &Device::new()).connection().upgrade_offer();
                let mut socket = self.place.try_dial(self.tcp().await?, &self.connector, &offers).await?;
                socket.next().await?.ok()?;
            }
            Flood::Garbage => self.garbage(until).await?,
            Flood::StoppedTls => {
                let mut tcp = self.tcp().await?;
                tcp.write_all(&self.hello).await.ok()?;
                held.push_back(tcp);
                if held.len() > STOPPED_MAX {
                    held.pop_front();
                }
            }
        }
        Some(())
    }

    async fn garbage(&self, until: Instant) -> Option<()> {
        let tcp = self.tcp().await?;
        let mut stream = self.connector.connect(name("localhost"), tcp).await.ok()?;
        let request = format!(
            "GET /line?{SECRET} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bm90IGEgcmVhbCBrZXk=\r\n\
             Sec-WebSocket-Protocol: {SECRET}\r\n\r\n",
            self.place.host()
        );
        let mut answer = [0; 4_096];
        while Instant::now() < until {
            stream.write_all(request.as_bytes()).await.ok()?;
            if stream.read(&mut answer).await.ok()? == 0 {
                return None;
            }
            self.tries.fetch_add(1, Ordering::Relaxed);
        }
        Some(())
    }
}

fn assert_it_is_short(what: &str, log: &str, seconds: usize) {
    println!("{what}: {} bytes of log in {seconds} s", log.len());
    let allowed = (LOG_LEN_AT_ONCE + (seconds / 60 + 2) * LOG_LEN_A_MINUTE).min(LOG_LEN_MAX);
    assert!(log.len() <= allowed, "{what}: {} bytes of {allowed}: {}", log.len(), &log[..4_000.min(log.len())]);
    assert!(!log.contains(SECRET), "{what}: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flood_and_the_worst_device_leave_a_short_log() {
    let seconds = rounds("floods::every_flood_and_the_worst_device_leave_a_short_log");
    let until = Instant::now() + Duration::from_secs(seconds.try_into().expect("a number of seconds"));
    let strangers = ALL.map(|flood| {
        tokio::spawn(async move {
            let server = Server::dev().await;
            // Its invite is used.
            let (_client, _line) = line_to(&server).await;
            let strangers = Arc::new(Strangers::at(&server, flood));
            let all = (0..STRANGERS).map(|_| {
                let strangers = Arc::clone(&strangers);
                tokio::spawn(async move { strangers.come(until).await })
            });
            future::join_all(all).await;
            println!("{flood}: {} tries", strangers.tries.load(Ordering::Relaxed));
            let log = log_of(server).await;
            assert_it_is_short(&flood.to_string(), &log, seconds);
        })
    });
    let device = tokio::spawn(async move {
        // Nobody listens there.
        let (_directory, config) = with_dry_rules();
        let server = Server::dev_with(&["--http", "http://127.0.0.1:9", "--config", &config]).await;
        let (client, line) = line_to(&server).await;
        let worst = (0..AT_ONCE).map(async |mut number| {
            let mut done = 0;
            while Instant::now() < until {
                ill_formed(&line, number).await;
                for label in 0..20 {
                    open_unknown(&line, &format!("{SECRET}-{number}-{label}")).await;
                }
                // One line more, which begins and ends.
                if let Ok(another) = client.connect(&target(server.link())).await {
                    another.close(CloseCode::Normal, SECRET);
                }
                (number, done) = (number + AT_ONCE, done + 1);
            }
            done
        });
        let rounds: usize = future::join_all(worst).await.into_iter().sum();
        println!("the worst device: {rounds} rounds");
        let log = log_of(server).await;
        assert!(counted(&log, "no such service") > 0, "{log}");
        assert_it_is_short("the worst device", &log, seconds);
    });
    for outcome in future::join_all(strangers.into_iter().chain([device])).await {
        outcome.unwrap();
    }
}
