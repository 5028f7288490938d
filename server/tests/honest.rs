//! An honest day: people at their devices, on bad networks, before a real server; what its watch is told goes through the rules that
//! are shipped, at the times at which it would have happened. None of them matches.
//!
//! ```text
//! a device's day ─► real connections, one after the other, each from an address of its own ─► events of the server
//!                ─► the time of the story, and the address that such a device has: an office's, a mobile network's ─► rules
//! ```
//!
//! Cuts, sleep, two networks, handshakes that are lost or too slow, links that are clicked twice, labels that are probed, files and
//! requests. Seconds of the story cost nothing; what a server waits for in seconds (a handshake that is too slow) is real.
#![allow(missing_docs, reason = "tests are named for their scenario")]

#[path = "watch/bench.rs"]
mod bench;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bench::{Bench, Came, Misdeed, PATIENCE, Raw, Shows};
use duologue::DeviceId;
use duologue_client::{Client, Keyring, Target, tokio_tungstenite::tungstenite::Message};
use duologue_server::{
    Config, Event, Kind, WatchSettings,
    services::{drop::Drops, http::Http},
};
use fastrand::Rng;
use futures_util::{SinkExt, StreamExt, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Sessions of each device in a day.
const SESSIONS: u64 = 10;
/// Devices that have their day at the same time.
const AT_A_TIME: usize = 24;
/// Midnight before the day, in seconds since 1970.
const MIDNIGHT: u64 = 1_800_000_000;
/// CLOSE(normal), without a reason.
const CLOSE: [u8; 13] = [0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// All that honest people cause.
const HONEST: [Kind; 14] = [
    Kind::LineOpen,
    Kind::LineResumed,
    Kind::LineEnded,
    Kind::ConnectionLost,
    Kind::NetworkChanged,
    Kind::TwoNetworks,
    Kind::HandshakeLost,
    Kind::HandshakeSlow,
    Kind::DeviceEnrolled,
    Kind::DeviceUnknown,
    Kind::InviteRefused,
    Kind::LabelUnknown,
    Kind::FileDropped,
    Kind::RequestFailed,
];

/// The rounds of this test, in `tests/forms.json` of the repository.
fn devices() -> u64 {
    let forms: serde_json::Value = serde_json::from_str(include_str!("../../tests/forms.json")).expect("it is JSON");
    let is_it = |form: &&serde_json::Value| form["test"] == "an_honest_day_matches_no_rule_that_is_shipped";
    let form = forms.as_array().and_then(|forms| forms.iter().find(is_it)).expect("its form");
    let is_long = std::env::var_os("DUOLOGUE_LONG").is_some_and(|value| value == "1");
    form[if is_long { "whole" } else { "small" }].as_u64().expect("a number")
}

/// What the server told, at the story's times.
#[derive(Default)]
struct Day {
    /// What time it is for each device.
    clocks: Vec<AtomicU64>,
    whose: Mutex<HashMap<DeviceId, usize>>,
    events: Mutex<Vec<Event>>,
    /// By device and kind, how often it was read.
    read: Mutex<HashMap<(usize, Kind), u64>>,
}

/// Where a device connects from while the story is told: a net of two, and nobody else's.
fn told_from(device: usize, net: u8) -> String {
    let number = u32::try_from(device).expect("few") + 1;
    format!("{}.{}.{}.{}", 10 + net, number >> 16 & 0xff, number >> 8 & 0xff, number & 0xff)
}

/// Who that is, and on which of his networks.
fn teller(address: IpAddr) -> Option<(usize, u8)> {
    let IpAddr::V4(address) = address else { return None };
    let [net, a, b, c] = address.octets();
    let number = u32::from_be_bytes([0, a, b, c]);
    Some((usize::try_from(number.checked_sub(1)?).ok()?, net.checked_sub(10)?))
}

/// Where such a device is really: each fifth in an office of fifty behind one address, others at home; and a hundred phones behind
/// each address of a mobile network.
fn place(device: usize, net: u8) -> IpAddr {
    let number = u16::try_from(device).expect("few");
    match net {
        0 if number % 5 == 0 => [203, 0, 113, u8::try_from(number / 250).expect("few")].into(),
        0 => IpAddr::from([0x2001, 0xdb8, number, 0, 0, 0, 0, 1]),
        _ => [198, 51, 100, u8::try_from(number / 100).expect("few")].into(),
    }
}

impl Day {
    fn is(&self, device: usize, secs: u64) {
        self.clocks[device].store(secs, Ordering::SeqCst);
    }

    fn take(&self, event: &Event) {
        let by_device = event.device.and_then(|id| self.whose.lock().expect("whole").get(&id).copied());
        let by_address = event.address.and_then(teller);
        let Some(device) = by_device.or(by_address.map(|(device, _)| device)) else { return };
        let mut event = event.clone();
        event.at = UNIX_EPOCH + Duration::from_secs(self.clocks[device].load(Ordering::SeqCst));
        event.address = by_address.map(|(device, net)| place(device, net));
        *self.read.lock().expect("whole").entry((device, event.kind)).or_default() += 1;
        self.events.lock().expect("whole").push(event);
    }

    fn count(&self, device: usize, kind: Kind) -> u64 {
        self.read.lock().expect("whole").get(&(device, kind)).copied().unwrap_or_default()
    }

    /// Waits until it was told once more than before of a device.
    async fn told(&self, device: usize, kind: Kind, before: u64) {
        let told = async {
            while self.count(device, kind) <= before {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("device {device}: {kind:?} was not told"));
    }
}

/// One device, its person and its day.
struct Story<'a> {
    bench: &'a Bench,
    day: &'a Day,
    device: usize,
    raw: Raw,
    random: Rng,
    now: u64,
    net: u8,
    attempt: u32,
}

impl Story<'_> {
    fn passes(&mut self, from: u64, to: u64) {
        self.now += self.random.u64(from..=to);
        self.day.is(self.device, self.now);
    }

    fn from(&self) -> String {
        told_from(self.device, self.net)
    }

    async fn comes(&mut self, session: Option<[u8; 16]>) -> Came {
        let kind = if session.is_some() { Kind::LineResumed } else { Kind::LineOpen };
        let before = self.day.count(self.device, kind);
        self.attempt += 1;
        let session = (session.unwrap_or([7; 16]), self.attempt);
        let came = self.raw.come_again(self.bench, &self.from(), Shows::Nothing, Misdeed::None, session).await;
        self.day.told(self.device, kind, before).await;
        came.expect("it is let in")
    }

    async fn is_cut(&mut self, came: Came) -> [u8; 16] {
        let (session, before) = (came.session(), self.day.count(self.device, Kind::ConnectionLost));
        drop(came);
        self.day.told(self.device, Kind::ConnectionLost, before).await;
        session
    }

    /// Begins a handshake that comes to nothing: the network is gone, or too slow.
    async fn begins(&mut self, slow: bool) {
        let kind = if slow { Kind::HandshakeSlow } else { Kind::HandshakeLost };
        let before = self.day.count(self.device, kind);
        let Some(mut socket) = self.bench.socket(&self.from()).await else { panic!("it is nobody who is kept out") };
        let m1 = Raw::m1(&self.bench.state.identity().public().0, &Shows::Nothing).1;
        socket.send(Message::binary(m1)).await.expect("it is sent");
        if !slow {
            assert!(bench::next(&mut socket).await.is_some(), "M2");
            drop(socket);
            return self.day.told(self.device, kind, before).await;
        }
        self.day.told(self.device, kind, before).await;
    }

    async fn lives(&mut self) {
        // A link that is opened: some open the page without it first, and some click it once more, in another browser.
        if self.device % 10 == 1 {
            let refused = self.raw.come(self.bench, &self.from(), Shows::Nothing, Misdeed::None).await;
            assert_eq!(refused.expect("an answer").answer[..3], [5, 0, 16], "not-enrolled");
            self.passes(20, 300);
        }
        let invite = self.bench.invite();
        let came = self.raw.come(self.bench, &self.from(), Shows::Invite(&invite), Misdeed::None).await;
        drop(came.expect("the invite is good"));
        self.day.told(self.device, Kind::ConnectionLost, 0).await;
        if self.device % 10 == 2 {
            self.passes(20, 300);
            let seed: [u8; 32] = std::array::from_fn(|_| self.random.u8(..));
            drop(Raw::of(seed).come(self.bench, &self.from(), Shows::Invite(&invite), Misdeed::None).await);
        }
        self.drops_a_file().await;
        for number in 0..SESSIONS {
            self.passes(600, 7_200);
            // A page that loads on a train.
            if number == 0 && self.device % 10 == 4 {
                self.begins(true).await;
            } else if self.random.u8(..) < 50 {
                self.begins(false).await;
            }
            self.has_a_session().await;
        }
    }

    async fn has_a_session(&mut self) {
        self.passes(1, 30);
        let mut came = self.comes(None).await;
        for _ in 0..self.random.u8(1..=3) {
            self.passes(30, 1_800);
            match self.random.u8(0..10) {
                // Cut, and there again.
                0..5 => {
                    let session = self.is_cut(came).await;
                    self.passes(1, 20);
                    came = self.comes(Some(session)).await;
                }
                // Asleep: the session is over when the lid is opened.
                5..7 => {
                    self.is_cut(came).await;
                    self.passes(180, 10_800);
                    came = self.comes(None).await;
                }
                // Out of the house.
                7..9 => {
                    let session = self.is_cut(came).await;
                    self.net ^= 1;
                    self.passes(1, 60);
                    came = self.comes(Some(session)).await;
                }
                // The same, with another tab, and the old network's socket does not know it yet.
                _ => {
                    self.net ^= 1;
                    self.passes(1, 10);
                    let other = self.comes(None).await;
                    self.passes(10, 35);
                    self.is_cut(came).await;
                    came = other;
                }
            }
        }
        // A page of another version asks for what is not served.
        if self.random.u8(..) < 40 {
            let before = self.day.count(self.device, Kind::LabelUnknown);
            came.sends(&open("of-another-version")).await;
            self.day.told(self.device, Kind::LabelUnknown, before).await;
        }
        let before = self.day.count(self.device, Kind::LineEnded);
        came.sends(&CLOSE).await;
        self.day.told(self.device, Kind::LineEnded, before).await;
    }

    /// By a client of the library, a file, and a request to a backend that is down.
    async fn drops_a_file(&mut self) {
        if self.device % 7 != 3 {
            return;
        }
        self.passes(60, 600);
        let from: &'static str = self.from().leak();
        let link = self.bench.invite().to_link(&format!("http://{}", self.bench.way(from).await));
        let keyring = Keyring::in_memory();
        let id = DeviceId::of_spki(keyring.device().spki());
        self.day.whose.lock().expect("whole").insert(id, self.device);
        let client = Client::new(keyring);
        let line = client.connect(&Target::parse(&link).expect("a link")).await.expect("the invite is good");
        let number = self.device;
        for (label, head) in [
            ("drop", format!("{{\"name\":\"a photo.jpg\",\"size\":0,\"upload\":\"{number:032x}\"}}\n")),
            ("http", "{\"method\":\"GET\",\"target\":\"/\",\"headers\":[]}\n".to_owned()),
        ] {
            let mut stream = line.stream(label).expect("it is open");
            stream.write_all(head.as_bytes()).await.expect("it is open");
            stream.shutdown().await.expect("it is open");
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        line.close(duologue::CloseCode::Normal, "");
        self.day.told(self.device, Kind::RequestFailed, 0).await;
    }
}

/// OPEN of the client's first channel, for messages.
fn open(label: &str) -> Vec<u8> {
    let len = u8::try_from(label.len()).expect("short");
    [&[0x01, 0, 0, 0, 0, 0, len][..], label.as_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_day_matches_no_rule_that_is_shipped() {
    let devices = usize::try_from(devices()).expect("few");
    let seed = std::env::var("DUOLOGUE_HONEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("DUOLOGUE_HONEST_SEED={seed}");
    let files = tempfile::tempdir().expect("a temporary directory");
    let drops = Drops::open(files.path(), 100_000_000).expect("a directory");
    let bench = Bench::start_with(|duologue| {
        duologue.service("drop", drops).service("http", Http::new("http://127.0.0.1:9").expect("an address"))
    })
    .await;
    // Only what the story's times say may match: nobody is kept out while it is told.
    let day = Arc::new(Day { clocks: (0..devices).map(|_| AtomicU64::new(MIDNIGHT)).collect(), ..Day::default() });
    let (events, reads) = (bench.duologue.watch().subscribe(1_000_000), Arc::clone(&day));
    let reader = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            reads.take(&event);
        }
        events.lost()
    });
    stream::iter(0..devices)
        .for_each_concurrent(AT_A_TIME, |device| {
            let mut random = Rng::with_seed(seed ^ device as u64);
            let raw = Raw::of(std::array::from_fn(|_| random.u8(..)));
            day.whose.lock().expect("whole").insert(raw.id(), device);
            let now = MIDNIGHT + random.u64(0..3_600);
            let (bench, day) = (&bench, &*day);
            async move {
                let mut story = Story { bench, day, device, raw, random, now, net: 0, attempt: 1 };
                story.passes(0, 3_600);
                story.lives().await;
            }
        })
        .await;
    assert_eq!(bench.duologue.watch().lost(), [], "nothing of the day is lost");
    drop(bench);
    reader.abort();

    let mut events = day.events.lock().expect("whole").clone();
    events.sort_by_key(|event| event.at);
    let mut kinds = BTreeMap::<Kind, usize>::new();
    for event in &events {
        *kinds.entry(event.kind).or_default() += 1;
    }
    let sessions = devices * usize::try_from(SESSIONS).expect("few");
    println!("{} events of {sessions} sessions: {kinds:?}", events.len());
    assert!(events.len() >= 5 * sessions, "{} events of {sessions} sessions", events.len());
    for kind in HONEST {
        assert!(kinds.contains_key(&kind), "nobody has caused {kind:?}");
    }
    // A rule that honest people do reach is reached.
    let strict = "[[watch.rule]]\nname = \"strict\"\nevents = [\"line-resumed\"]\nby = \"device\"\nthreshold = 3\n\
                  window = \"24h\"\nmeasure = \"observe\"\n";
    let strict = Config::parse("strict", strict).expect("it is right").watch.would_match(&events);
    assert!(strict.len() > devices && strict.iter().all(|(rule, _)| rule == "strict"), "{}", strict.len());
    let matches: Vec<(String, SystemTime)> = WatchSettings::default().would_match(&events);
    assert_eq!(matches, [], "honest people are left alone");
}
