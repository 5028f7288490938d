//! The group `handshake`: what a full hybrid handshake costs the server's processor, beside a full handshake of TLS 1.3; and
//! how many sessions a core can begin in a second, beside WebSockets over the same TLS.
//!
//! ```text
//! one thread, no socket:   client ── M1 ──► ▐server▌ ── M2 ──► client ── AUTH ──► ▐server▌ ── AUTH_OK ──►
//!                          client ─ hello ─► ▐server▌ ─ Finished ─► client ─ Finished ─► ▐server▌ ─ tickets ─►
//!                                            only what is between the bars is timed; the two take turns
//! real sockets:            clients open and close sessions; sessions ÷ CPU seconds of the server's process
//! ```
//!
//! With a token, with rules: instructions of the server's process (callgrind) for one session more, ours alone and without TLS, so
//! that it is the door's part that shows; beside sessions that show nothing, to a server that takes none and has no rules. They
//! are the same however busy the machine is. What the kernel does for a session is not in them.
//!
//! TLS is rustls with ring, with the certificate of development (ECDSA P-256), and resumes nothing. It agrees by X25519: ring
//! has no ML-KEM. For information the same by graviola, and as this server has it for browsers that know X25519MLKEM768. What is
//! timed of ours goes from the header of the upgrade request to AUTH_OK: M1, X25519, ML-KEM-768, the device's Ed25519
//! signature, a new session.

use std::{
    ops::DerefMut,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{bail, ensure};
use duologue::{
    Budget, Claims, ClientConfig, Connection, Event, Grant, Instant, Offer, Outcome, Role, Secret, ServerConfig,
    ServerIdentity, Services, Session, SessionId, Ticket, TicketId,
    crypto::has_graviola,
    upgrade::{self, Offered},
};
use duologue_client::tls_provider;
use duologue_native::randomness;
use rustls::{
    ClientConnection, ConnectionCommon, ServerConnection, SideData,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};

use crate::{
    Kind, Transport,
    bed::{Bed, Server},
    callgrind, clients,
    device::Device,
    gate::cryptography,
    report::{self, Comparison, Goal, median},
};

/// Of the server, in all.
const GOAL_MICROS: f64 = 250.0;
/// Clients that connect at the same time.
const CONNECTING: u32 = 16;
/// How often each of them does where instructions are counted: the second count less the first is free of what a start costs.
const TIMES: [u32; 2] = [4, 20];

/// What TLS is beside which the goal is.
const WITH_RING: &str = "TLS 1.3, rustls with ring";

/// A server's options and its clients': plain, a token seen before, a new one, rules.
const DOOR: [(&[&str], &[&str]); 4] =
    [(&[], &[]), (&["--tokens"], &["--token=seen"]), (&["--tokens"], &["--token=new"]), (&["--rules=200"], &[])];

#[derive(clap::Args)]
pub(crate) struct Handshake {
    /// How often everything is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Handshakes of each kind in a round without sockets
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    handshakes: u32,
    /// How long sessions are opened in a round
    #[arg(long, default_value_t = 2_000)]
    millis: u64,
    /// Where the entries go
    #[arg(long, default_value = "target/bench/handshake.json")]
    json: PathBuf,
}

impl Handshake {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let bed = Bed::pinned(CONNECTING)?;
        eprintln!("bench: {}", cryptography());
        let ours = Ours::new();
        let tls = Tls::all(&bed)?;
        let (mut cpu, mut rate, mut rate_bare) = (Vec::new(), Vec::new(), Vec::new());
        let mut cpu_tls = vec![Vec::new(); tls.len()];
        for round in 1..=self.rounds {
            let (mut each, mut each_tls) = (Vec::new(), vec![Vec::new(); tls.len()]);
            for _ in 0..self.handshakes {
                each.push(ours.handshake()?.as_secs_f64() * 1e6);
                for ((_, tls), each) in tls.iter().zip(&mut each_tls) {
                    each.push(tls.handshake()?.as_secs_f64() * 1e6);
                }
            }
            // The median of a round does not see where the machine did something else.
            cpu.push(median(&each).0);
            cpu_tls.iter_mut().zip(&each_tls).for_each(|(cpu, each)| cpu.push(median(each).0));
            rate.push(self.sessions_a_core(&bed, Kind::Duologue).await?);
            rate_bare.push(self.sessions_a_core(&bed, Kind::Tungstenite).await?);
            eprintln!("bench: round {round} of {}", self.rounds);
        }
        let comparison = |name: &str, unit, ours: &[f64], baseline: &[f64], baseline_name, goal| Comparison {
            name: name.to_owned(),
            unit,
            ours: ours.to_vec(),
            baseline: baseline.to_vec(),
            baseline_name,
            goal,
        };
        let goal = |number| if number == 0 { Goal::AtMost(1.0) } else { Goal::None };
        let mut figures: Vec<_> = (0..)
            .zip(tls.iter().zip(&cpu_tls))
            .map(|(number, ((name, _), cpu_tls))| {
                comparison("handshake, server CPU", "µs", &cpu, cpu_tls, *name, goal(number))
            })
            .collect();
        let [cpu_ring, .., cpu_hybrid] = &*cpu_tls else { bail!("TLS with ring, and as it is here") };
        figures.extend([
            comparison(
                "handshake, server CPU in all",
                "µs",
                &cpu,
                cpu_ring,
                WITH_RING,
                Goal::AtMostOf(GOAL_MICROS, "µs"),
            ),
            comparison("TLS 1.3 as it is here, server CPU", "µs", cpu_hybrid, cpu_ring, WITH_RING, Goal::None),
            comparison(
                "new sessions a core, TLS and WebSocket included",
                "sessions/s",
                &rate,
                &rate_bare,
                "tokio-tungstenite over the same TLS",
                Goal::AtLeast(0.6),
            ),
        ]);
        figures.extend(door(&bed).await?);
        report::conclude("handshake", &format!("Handshakes, {} rounds", self.rounds), &self.json, &figures)
    }

    async fn sessions_a_core(&self, bed: &Bed, kind: Kind) -> anyhow::Result<f64> {
        let server = Server { kind, transport: Transport::Tls, options: &[] };
        let (sessions, millis) = (format!("--sessions={CONNECTING}"), format!("--millis={}", self.millis));
        let load = bed.load(server, &["--job=connect".to_owned(), sessions, millis]).await?;
        Ok(load.per_cpu_second())
    }
}

/// What the door costs; nothing where instructions cannot be counted.
async fn door(bed: &Bed) -> anyhow::Result<Vec<Comparison>> {
    if !callgrind::is_there() {
        eprintln!("bench: skipped: what tokens and rules cost (it needs valgrind on PATH)");
        return Ok(Vec::new());
    }
    let mut counted = Vec::new();
    for (options, load) in DOOR {
        counted.push(session_instructions(bed, options, load).await?);
    }
    let verification = callgrind::verification().await?;
    eprintln!("bench: one verification of a token: {verification:.0} instructions");
    let [plain, seen, new, ruled] = *counted else { bail!("four were counted") };
    let comparison = |name: &str, ours, baseline, baseline_name, goal| Comparison {
        name: format!("{name}, instructions"),
        unit: "",
        ours: vec![ours],
        baseline: vec![baseline],
        baseline_name,
        goal: Goal::AtMost(goal),
    };
    Ok(vec![
        comparison("a session whose token was seen before", seen, plain, "a session without a token", 1.05),
        comparison("a session with a new token", new, plain + verification, "one without, and one verification", 1.05),
        comparison("a session under 200 rules", ruled, plain, "a session without rules", 1.02),
    ])
}

/// Of the server's process, for one session more that is opened and closed.
async fn session_instructions(bed: &Bed, options: &'static [&'static str], load: &[&str]) -> anyhow::Result<f64> {
    let server = Server { kind: Kind::Duologue, transport: Transport::Clear, options };
    let mut counts = Vec::new();
    for times in TIMES {
        let running = bed.start_counted(server).await?;
        let mut arguments =
            vec!["--job=connect".to_owned(), format!("--sessions={CONNECTING}"), format!("--times={times}")];
        arguments.extend(load.iter().map(|option| (*option).to_owned()));
        let mut clients = bed.clients("load", server, running.port, &arguments)?;
        clients.answer::<u32>("open").await?;
        clients.ask("run").await?;
        let count: f64 = clients.answer("count").await?;
        ensure!(count == f64::from(times * CONNECTING), "{count} sessions in the place of {}", times * CONNECTING);
        clients.end().await?;
        counts.push(callgrind::collected(&running.process.finish().await?)?);
    }
    let [few, many] = *counts else { bail!("two were counted") };
    Ok((many - few) / f64::from((TIMES[1] - TIMES[0]) * CONNECTING))
}

/// Our handshake.
struct Ours {
    identity: Arc<ServerIdentity>,
    device: Device,
}

impl Ours {
    fn new() -> Self {
        Self { identity: Arc::new(ServerIdentity::new(Secret::new([1; 32]))), device: Device::number(0) }
    }

    /// One from the beginning to AUTH_OK, and the time that the server took.
    fn handshake(&self) -> anyhow::Result<Duration> {
        let now = Instant::default();
        let claims = Claims { origin: String::new(), host: "localhost".to_owned(), name: "bench".to_owned() };
        let (server_key, device) = (self.identity.public(), self.device.key());
        let config = ClientConfig { server_key, offer: Offer::Nothing, enrolled: true, device, claims };
        let mut client = Connection::connect(config, randomness(), now)?;
        client.attach(Box::new(Session::new(Role::Client, Budget::default())));
        let header = client.upgrade_offer().join(", ");

        let begun = std::time::Instant::now();
        let Offered::M1(mut m1) = upgrade::read_offer(&header) else { bail!("no M1 in the request") };
        let config = ServerConfig { identity: Arc::clone(&self.identity), next: None };
        let mut server = Connection::accept(config, randomness(), now);
        server.handle_message(now, &mut m1)?;
        ensure!(matches!(server.poll_event(), Some(Event::SecretWanted(_))), "M1 was not taken");
        server.provide_secret(now, None)?;
        let mut m2 = Vec::new();
        ensure!(server.poll_transmit(now, &mut m2), "no M2");
        let mut took = begun.elapsed();

        client.handle_upgrade(now, upgrade::WITH_M1)?;
        client.handle_message(now, &mut m2)?;
        let Some(Event::SignatureWanted(message)) = client.poll_event() else { bail!("M2 was not taken") };
        client.provide_signature(self.device.sign(&message));
        let mut auth = Vec::new();
        ensure!(client.poll_transmit(now, &mut auth), "no AUTH");

        let begun = std::time::Instant::now();
        server.handle_message(now, &mut auth)?;
        ensure!(matches!(server.poll_event(), Some(Event::AuthReceived(_))), "AUTH was not taken");
        server.attach(Box::new(Session::new(Role::Server, Budget::default())));
        let ticket = Ticket { id: TicketId([2; 16]), secret: Secret::new([2; 32]), lifetime_secs: 60 };
        server.admit(
            now,
            Grant {
                session_id: SessionId([3; 16]),
                outcome: Outcome::New,
                standing: duologue::Standing::of_level(1),
                keys: None,
                ticket,
                services: Services::UNTOLD,
            },
        )?;
        let mut auth_ok = Vec::new();
        ensure!(server.poll_transmit(now, &mut auth_ok), "no AUTH_OK");
        took += begun.elapsed();

        client.handle_message(now, &mut auth_ok)?;
        ensure!(matches!(client.poll_event(), Some(Event::Opened(_))), "AUTH_OK was not taken");
        Ok(took)
    }
}

/// The handshake of the layer below.
struct Tls {
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
}

impl Tls {
    /// With ring; with graviola, where the processor is one for it; and as clients have it here that know all that is offered.
    fn all(bed: &Bed) -> anyhow::Result<Vec<(&'static str, Self)>> {
        let mut all = vec![(WITH_RING, Self::new(bed, ring::default_provider(), ring::default_provider())?)];
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        if has_graviola() {
            let by_graviola = Self::new(bed, rustls_graviola::default_provider(), ring::default_provider())?;
            all.push(("the same with graviola", by_graviola));
        }
        let name = if has_graviola() { "the same with X25519MLKEM768" } else { "the same, as it is here" };
        all.push((name, Self::new(bed, tls_provider(), tls_provider())?));
        Ok(all)
    }

    fn new(bed: &Bed, server: CryptoProvider, client: CryptoProvider) -> anyhow::Result<Self> {
        let state = Path::new(bed.state());
        let server = rustls::ServerConfig::builder_with_provider(Arc::new(server))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_file(state.join("tls-cert.pem"))?],
                PrivateKeyDer::from_pem_file(state.join("tls-key.pem"))?,
            )?;
        Ok(Self { server: Arc::new(server), client: Arc::new(clients::tls_config(state, client)?) })
    }

    /// As [`Ours::handshake`], to the server's last tickets.
    fn handshake(&self) -> anyhow::Result<Duration> {
        let name = ServerName::try_from("localhost").expect("it is a name");
        let mut client = ClientConnection::new(Arc::clone(&self.client), name)?;
        let mut to_server = answer(&mut client, &[])?;

        let begun = std::time::Instant::now();
        let mut server = ServerConnection::new(Arc::clone(&self.server))?;
        let mut to_client = answer(&mut server, &to_server)?;
        let mut took = begun.elapsed();

        to_server = answer(&mut client, &to_client)?;

        let begun = std::time::Instant::now();
        to_client = answer(&mut server, &to_server)?;
        took += begun.elapsed();

        answer(&mut client, &to_client)?;
        ensure!(!client.is_handshaking() && !server.is_handshaking(), "the handshake is not over");
        Ok(took)
    }
}

/// What an end of TLS says to what it has received.
fn answer<D: SideData>(
    end: &mut impl DerefMut<Target = ConnectionCommon<D>>,
    mut received: &[u8],
) -> anyhow::Result<Vec<u8>> {
    while !received.is_empty() {
        end.read_tls(&mut received)?;
        end.process_new_packets()?;
    }
    let mut sent = Vec::new();
    while end.wants_write() {
        end.write_tls(&mut sent)?;
    }
    Ok(sent)
}
