//! Two connections and the wire between them, in one process and without time: the bench on which the core is tested.
#![allow(missing_docs, missing_debug_implementations, unreachable_pub, reason = "a bench for the tests beside it")]
#![allow(dead_code, reason = "each test file uses its own part of the bench")]

use std::{collections::HashMap, sync::Arc};

use duologue::{
    AuthRequest, Budget, ClientConfig, Connection, ConnectionError, Credential, DeviceKey, Event, Grant, Instant,
    Invite, Offer, Outcome, Randomness, Role, Secret, ServerConfig, ServerIdentity, Services, Session, SessionId,
    Ticket, TicketId, crypto::SignatureAlgorithm,
};
use ed25519_dalek::{Signer, SigningKey};

/// Deterministic bytes that differ from call to call: no test depends on chance.
pub struct Bytes(u64);

impl Bytes {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("less than a usize")
    }
}

/// A device with its private key.
#[derive(Clone)]
pub struct Device(SigningKey);

impl Device {
    pub fn new(seed: u8) -> Self {
        Self(SigningKey::from_bytes(&[seed; 32]))
    }

    pub fn key(&self) -> DeviceKey {
        let spki = [SignatureAlgorithm::Ed25519.spki_prefix(), self.0.verifying_key().as_bytes()].concat();
        DeviceKey::new(SignatureAlgorithm::Ed25519, spki).expect("an Ed25519 SPKI")
    }

    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// What happened at one end, apart from the events that the bench answers by itself.
#[derive(Debug, Default)]
pub struct Seen {
    pub opened: Vec<duologue::ChannelId>,
    pub closed: Option<ConnectionError>,
    pub grant: Option<Grant>,
    pub auth: Option<Box<AuthRequest>>,
    pub evidence: Vec<duologue::Evidence>,
    pub standings: Vec<duologue::Standing>,
}

pub struct Pair {
    pub client: Connection,
    pub server: Connection,
    pub device: Device,
    pub secrets: HashMap<[u8; 16], Secret>,
    /// The server lets everyone in that proves itself; false: the test decides.
    pub admits: bool,
    /// The bench signs with `device`; false: the test does.
    pub signs: bool,
    pub to_sign: Option<Vec<u8>>,
    pub client_seen: Seen,
    pub server_seen: Seen,
    pub now: Instant,
}

pub fn identity(seed: u8) -> Arc<ServerIdentity> {
    Arc::new(ServerIdentity::new(Secret::new([seed; 32])))
}

pub fn config(identity: &ServerIdentity, device: &Device, offer: Offer) -> ClientConfig {
    ClientConfig {
        server_key: identity.public(),
        offer,
        enrolled: false,
        device: device.key(),
        claims: duologue::Claims {
            origin: "https://localhost".to_owned(),
            host: "localhost".to_owned(),
            name: "test".to_owned(),
        },
    }
}

pub fn ticket(seed: u8) -> Ticket {
    Ticket { id: TicketId([seed; 16]), secret: Secret::new([seed; 32]), lifetime_secs: 60 }
}

pub fn grant() -> Grant {
    Grant {
        session_id: SessionId([9; 16]),
        outcome: Outcome::New,
        standing: duologue::Standing::of_level(1),
        keys: None,
        ticket: ticket(8),
        services: Services::UNTOLD,
    }
}

impl Pair {
    /// A pair whose client offers nothing but its device key.
    pub fn new(seed: u64) -> Self {
        let (identity, device) = (identity(1), Device::new(2));
        let config = config(&identity, &device, Offer::Nothing);
        Self::with(seed, &identity, config, device)
    }

    pub fn with(seed: u64, identity: &Arc<ServerIdentity>, config: ClientConfig, device: Device) -> Self {
        let mut bytes = Bytes::new(seed);
        let now = Instant::default();
        let mut client =
            Connection::connect(config, Randomness::new(bytes.array()), now).expect("the pinned key is a real one");
        client.handle_upgrade(now, duologue::upgrade::WITHOUT_M1).expect("a subprotocol of ours");
        let server_config = ServerConfig { identity: Arc::clone(identity), next: None };
        let mut server = Connection::accept(server_config, Randomness::new(bytes.array()), now);
        // One connection is all that these tests need: the sessions are there from the start, and end with it.
        client.attach(Box::new(Session::new(Role::Client, Budget::default())));
        server.attach(Box::new(Session::new(Role::Server, Budget::default())));
        Self {
            client,
            server,
            device,
            secrets: HashMap::new(),
            admits: true,
            signs: true,
            to_sign: None,
            client_seen: Seen::default(),
            server_seen: Seen::default(),
            now,
        }
    }

    pub fn knows(mut self, invite: &Invite) -> Self {
        self.secrets.insert(invite.id().0, invite.psk());
        self
    }

    pub fn client_session(&mut self) -> &mut Session {
        self.client.session().expect("it is attached")
    }

    pub fn server_session(&mut self) -> &mut Session {
        self.server.session().expect("it is attached")
    }

    /// The next message from the client, if it has one.
    pub fn client_sends(&mut self) -> Option<Vec<u8>> {
        self.answer();
        let mut out = Vec::new();
        self.client.poll_transmit(self.now, &mut out).then_some(out)
    }

    pub fn server_sends(&mut self) -> Option<Vec<u8>> {
        self.answer();
        let mut out = Vec::new();
        self.server.poll_transmit(self.now, &mut out).then_some(out)
    }

    pub fn server_takes(&mut self, message: &[u8]) -> Result<(), ConnectionError> {
        let result = self.server.handle_message(self.now, &mut message.to_vec());
        self.answer();
        result
    }

    pub fn client_takes(&mut self, message: &[u8]) -> Result<(), ConnectionError> {
        let result = self.client.handle_message(self.now, &mut message.to_vec());
        self.answer();
        result
    }

    /// Carries messages both ways until neither end has one. Errors show in `client_seen` and `server_seen`.
    pub fn run(&mut self) -> &mut Self {
        loop {
            let mut idle = true;
            while let Some(message) = self.client_sends() {
                idle = false;
                let _ = self.server_takes(&message);
            }
            while let Some(message) = self.server_sends() {
                idle = false;
                let _ = self.client_takes(&message);
            }
            if idle {
                return self;
            }
        }
    }

    /// Answers what the two ends ask for.
    pub fn answer(&mut self) {
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::SignatureWanted(message) if self.signs => {
                    self.client.provide_signature(self.device.sign(&message));
                }
                Event::SignatureWanted(message) => self.to_sign = Some(message),
                Event::Opened(grant) => self.client_seen.grant = Some(grant),
                Event::Standing(told) => self.client_seen.standings.push(told.standing()),
                Event::ChannelOpened(id) => self.client_seen.opened.push(id),
                Event::ChannelChanged(_) => {}
                Event::Closed(error) => {
                    self.client_seen.closed = Some(error);
                    if let Some(session) = self.client.session() {
                        session.end();
                    }
                }
                other => panic!("a client is not asked {other:?}"),
            }
        }
        while let Some(event) = self.server.poll_event() {
            match event {
                Event::SecretWanted(credential) => {
                    let secret = match credential {
                        Credential::None => None,
                        Credential::Ticket(id) => self.secrets.get(&id.0),
                        Credential::Invite(id) => self.secrets.get(&id.0),
                    };
                    let _ = self.server.provide_secret(self.now, secret);
                }
                Event::Evidence(evidence) => self.server_seen.evidence.push(evidence),
                Event::Away => {}
                Event::AuthReceived(request) => {
                    self.server_seen.auth = Some(request);
                    if self.admits {
                        let _ = self.server.admit(self.now, grant());
                    }
                }
                Event::ChannelOpened(id) => self.server_seen.opened.push(id),
                Event::ChannelChanged(_) => {}
                Event::Closed(error) => {
                    self.server_seen.closed = Some(error);
                    if let Some(session) = self.server.session() {
                        session.end();
                    }
                }
                other => panic!("a server is not asked {other:?}"),
            }
        }
    }

    /// Both ends open.
    pub fn open(mut self) -> Self {
        self.run();
        assert!(self.client.is_open() && self.server.is_open(), "{:?} {:?}", self.client_seen, self.server_seen);
        self
    }
}
