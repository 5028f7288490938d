//! What the gate counts instructions of: `cargo xtask bench gate` runs this under callgrind, which collects in [`measured`] only.
//!
//! ```text
//! seal-64, seal-1024, seal-65519      one record of so many bytes of plaintext is sealed
//! open-64, open-1024, open-65519      and opened
//! echo-1, echo-100                    a server's line echoes a message of 64 B that came alone in its record, or with 99 others:
//!                                     record ─► handle_message ─► recv, send ─► poll_transmit ─► record
//! handshakes-10                       the server's part of so many, each its own connection and session
//! verifications-20                    so many tokens that were not seen before are verified
//! nothing-0                           only says whose cryptography it is
//! ```
//!
//! It says whose X25519 and ML-KEM it was. valgrind hides ADX, which graviola asks for, so that a build that is not made for it
//! would count what stands in graviola's place: VALGRIND_BUG_494162 at its build leaves that question out (`xtask/src/bench.rs`).
//!
//! In `echo-100` the record's own cost is shared by a hundred, so that frames and queues are what it shows. Everything is
//! fixed: keys, randomness, time. What is done for the first time, such as asking what the processor can, is not counted.

use std::{hint::black_box, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow, bail, ensure};
use duologue::{
    Budget, ChannelId, Claims, ClientConfig, Connection, ConnectionNo, Event, Grant, Instant, Kind, Line, LineEvent,
    Offer, Outcome, Randomness, Received, Secret, ServerConfig, ServerIdentity, Services, SessionId, Ticket, TicketId,
    crypto::{RANDOMNESS_LEN, has_graviola},
    limits::M1_PAYLOAD_LEN,
    noise::{Initiator, Responder, Transport},
    upgrade,
};

use futures_util::FutureExt as _;

use crate::{device::Device, token};

const TIMES: usize = 500;
/// Bytes of an echoed message.
const LEN: usize = 64;

/// Whose X25519 and ML-KEM is counted.
pub(crate) fn cryptography() -> String {
    format!("X25519 and ML-KEM by {}", if has_graviola() { "graviola" } else { "dalek and libcrux" })
}

#[derive(clap::Args)]
pub(crate) struct Gate {
    /// What to do, see the file
    work: String,
}

/// What callgrind is told to collect in.
#[inline(never)]
fn measured<T>(work: &mut dyn FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    black_box(work())
}

fn collect<T>(collected: bool, work: &mut dyn FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    if collected { measured(work) } else { work() }
}

impl Gate {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let (work, number) = self.work.rsplit_once('-').context("a work and a number")?;
        let number = number.parse()?;
        let (work, times): (fn(usize) -> anyhow::Result<()>, usize) = match work {
            "seal" => (seal, TIMES),
            "open" => (open, TIMES),
            "echo" => (echo, TIMES),
            "handshakes" => (handshakes, number),
            "verifications" => (verifications, number),
            "nothing" => (|_| Ok(()), number),
            _ => bail!("there is no such work"),
        };
        println!("{}", cryptography());
        work(number)?;
        println!("times {times}");
        Ok(())
    }
}

fn seal(len: usize) -> anyhow::Result<()> {
    let (mut transport, _) = transports()?;
    let (plaintext, mut record) = (vec![0x5a; len], Vec::new());
    let mut work = || {
        for _ in 0..TIMES {
            record.clear();
            transport.seal(&plaintext, &mut record);
        }
        Ok(())
    };
    work()?;
    measured(&mut work)
}

fn open(len: usize) -> anyhow::Result<()> {
    let (mut from, mut to) = transports()?;
    let plaintext = vec![0x5a; len];
    let mut records: Vec<_> = (0..2 * TIMES)
        .map(|_| {
            let mut record = Vec::new();
            from.seal(&plaintext, &mut record);
            record
        })
        .collect();
    let mut records = records.iter_mut();
    let mut work = || {
        for record in records.by_ref().take(TIMES) {
            black_box(to.open_in_place(record).context("it was sealed for this end")?);
        }
        Ok(())
    };
    work()?;
    measured(&mut work)
}

/// The two ends of a connection's keys.
fn transports() -> anyhow::Result<(Transport, Transport)> {
    let identity = ServerIdentity::new(Secret::new([1; 32]));
    let mut initiator = Initiator::new(&identity.public().0, b"gate", Randomness::new([2; RANDOMNESS_LEN]));
    let mut responder = Responder::new(&Secret::new([1; 32]), None, b"gate", Randomness::new([3; RANDOMNESS_LEN]));
    let m1 = initiator.write_m1(&[0; M1_PAYLOAD_LEN])?;
    responder.read_m1(&m1)?;
    let (m2, server) = responder.write_m2(&Secret::NONE, &[0; _])?;
    let (_, _, client) = initiator.read_m2(&m2, &[&Secret::NONE])?;
    Ok((client, server))
}

fn echo(together: usize) -> anyhow::Result<()> {
    let mut pair = Pair::open(false)?;
    let channel = pair.client.open("echo", Kind::MESSAGES).context("the line is open")?;
    for _ in 0..TIMES {
        pair.turn(channel, together, false)?;
    }
    for _ in 0..TIMES.div_ceil(together) {
        pair.turn(channel, together, true)?;
    }
    Ok(())
}

fn handshakes(times: usize) -> anyhow::Result<()> {
    Pair::open(false)?;
    (0..times).try_for_each(|_| Pair::open(true).map(drop))
}

fn verifications(times: usize) -> anyhow::Result<()> {
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let tokens = token::taken(&directory.path().join("state"))?;
    let running = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| running.block_on(tokens.load_keys()))?;
    // The first one does what is done once.
    for number in 0..=u32::try_from(times)? {
        let shown = token::Shown::New.by(number);
        collect(number > 0, &mut || {
            let verified =
                tokens.verify(shown.as_bytes(), token::now()).now_or_never().context("the keys are there")?;
            verified.map(drop).map_err(|refused| anyhow!("{refused:?}"))
        })?;
    }
    Ok(())
}

/// Two lines with one connection between them.
struct Pair {
    client: Line,
    client_no: ConnectionNo,
    server: Line,
    server_no: ConnectionNo,
    now: Instant,
}

impl Pair {
    fn open(collected: bool) -> anyhow::Result<Self> {
        let (now, device) = (Instant::default(), Device::number(0));
        let identity = Arc::new(ServerIdentity::new(Secret::new([1; 32])));
        let claims = Claims { origin: String::new(), host: "localhost".to_owned(), name: "gate".to_owned() };
        let (server_key, key) = (identity.public(), device.key());
        let config = ClientConfig { server_key, offer: Offer::Nothing, enrolled: true, device: key, claims };
        let mut client = Line::client(config, 0);
        let client_no = client.dial(now, Randomness::new([2; RANDOMNESS_LEN]))?.no;
        client.handle_upgrade(now, client_no, upgrade::WITHOUT_M1);
        let mut m1 = only(records(&mut client, now, client_no))?;

        let (connection, mut m2) = collect(collected, &mut || {
            let config = ServerConfig { identity: Arc::clone(&identity), next: None };
            let mut connection = Connection::accept(config, Randomness::new([3; RANDOMNESS_LEN]), now);
            connection.handle_message(now, &mut m1)?;
            ensure!(matches!(connection.poll_event(), Some(Event::SecretWanted(_))), "M1 was not taken");
            connection.provide_secret(now, None)?;
            let mut m2 = Vec::new();
            ensure!(connection.poll_transmit(now, &mut m2), "no M2");
            Ok((connection, m2))
        })?;
        client.handle_message(now, client_no, &mut m2)?;
        while let Some(event) = client.poll_event() {
            if let LineEvent::SignatureWanted(no, message) = event {
                client.provide_signature(now, no, device.sign(&message));
            }
        }
        let mut auth = only(records(&mut client, now, client_no))?;

        let mut connection = Some(connection);
        let (server, server_no, mut auth_ok) = collect(collected, &mut || {
            let mut connection = connection.take().context("there was one")?;
            connection.handle_message(now, &mut auth)?;
            ensure!(matches!(connection.poll_event(), Some(Event::AuthReceived(_))), "AUTH was not taken");
            let ticket = Ticket { id: TicketId([4; 16]), secret: Secret::new([4; 32]), lifetime_secs: 60 };
            let grant = Grant {
                session_id: SessionId([5; 16]),
                outcome: Outcome::New,
                standing: duologue::Standing::of_level(1),
                keys: None,
                ticket,
                services: Services::UNTOLD,
            };
            let mut server = Line::server(Budget::default());
            let no = server.attach(now, connection, None, grant).map_err(|rejected| rejected.error)?;
            let auth_ok = only(records(&mut server, now, no))?;
            Ok((server, no, auth_ok))
        })?;
        client.handle_message(now, client_no, &mut auth_ok)?;
        Ok(Self { client, client_no, server, server_no, now })
    }

    /// So many messages go to the server in one record and come back; what the server does is collected, or not.
    fn turn(&mut self, channel: ChannelId, together: usize, collected: bool) -> anyhow::Result<()> {
        // Long enough for an acknowledgement to be due now and then, as on a real line.
        self.now = self.now + Duration::from_millis(1);
        let now = self.now;
        for _ in 0..together {
            self.client.channel(channel).send(vec![0x5a; LEN]).map_err(|(error, _)| error)?;
        }
        let mut records = records(&mut self.client, now, self.client_no);
        let mut work = || {
            let server = &mut self.server;
            for record in &mut records {
                server.handle_message(now, self.server_no, record)?;
            }
            while server.poll_event().is_some() {}
            while let Received::Message(message) = server.channel(channel).recv()? {
                server.channel(channel).send(message).map_err(|(error, _)| error)?;
            }
            records = self::records(server, now, self.server_no);
            Ok(())
        };
        collect(collected, &mut work)?;
        for record in &mut records {
            self.client.handle_message(now, self.client_no, record)?;
        }
        while self.client.poll_event().is_some() {}
        for _ in 0..together {
            let echo = self.client.channel(channel).recv()?;
            ensure!(matches!(echo, Received::Message(message) if message.len() == LEN), "an echo is missing");
        }
        Ok(())
    }
}

/// All that a line has to send.
fn records(line: &mut Line, now: Instant, no: ConnectionNo) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    loop {
        let mut record = Vec::new();
        if !line.poll_transmit(now, no, &mut record) {
            return records;
        }
        records.push(record);
    }
}

fn only(records: Vec<Vec<u8>>) -> anyhow::Result<Vec<u8>> {
    let [record] = <[_; 1]>::try_from(records).map_err(|_| anyhow!("one record was expected"))?;
    Ok(record)
}
