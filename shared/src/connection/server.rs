//! The server's way into a connection: M1, M2, AUTH, the verdict.
//!
//! Before AUTH has verified, nothing is consumed and nothing is stored: M1 may be a replay, and costs its sender as much
//! as the server. Invites, tickets, revocation and origins are the application's policy, between [`Event::AuthReceived`]
//! and [`Connection::admit`].

use core::{fmt, iter, mem};

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use x25519_dalek::{PublicKey, StaticSecret};

use super::{Connection, Event, State, liveness::Liveness, secs};
use crate::{
    close::CloseCode,
    crypto::{self, Randomness, Secret},
    error::{ConnectionError, InvalidMessage, PeerMisbehaved},
    handshake::{
        auth::{Auth, Claims, DeviceKey, Grant, Outcome, Verdict, Wanted},
        evidence::{Evidence, Shown},
        hello::{self, Capabilities, ClientHello, Credential, Limits, Nonce, ServerHello, message_to_sign},
    },
    ids::{DeviceId, ServerKey},
    limits::{EARLY_DATA_LEN_MAX, HANDSHAKE_SECS, RECORD_LEN_MAX},
    noise::{Responder, Transport},
    session::{Role, Session},
    time::Instant,
};

/// A server's long-term key.
pub struct ServerIdentity {
    private: Secret,
    public: ServerKey,
}

impl ServerIdentity {
    /// The identity of an X25519 private key: 32 random bytes.
    #[must_use]
    pub fn new(private: Secret) -> Self {
        let public = ServerKey(PublicKey::from(&StaticSecret::from(*private.expose())).to_bytes());
        Self { private, public }
    }

    /// What clients pin.
    #[must_use]
    pub const fn public(&self) -> ServerKey {
        self.public
    }

    /// What must be kept, and shown to nobody.
    #[must_use]
    pub const fn private(&self) -> &Secret {
        &self.private
    }
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerIdentity({})", self.public)
    }
}

/// Everything that a server's connection is made of.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Who this server is.
    pub identity: Arc<ServerIdentity>,
    /// Its next key, while there are two.
    pub next: Option<Arc<ServerIdentity>>,
}

/// What a client offered in M1.
pub type OfferedCredential = Credential;

/// A device that has proved that it holds its key.
#[derive(Debug)]
pub struct AuthRequest {
    /// Who it is.
    pub device_id: DeviceId,
    /// Its public key.
    pub device: DeviceKey,
    /// What it offered, and whether the server knew the secret, so that the handshake has proved it too.
    pub credential: Credential,
    /// See `credential`.
    pub credential_proved: bool,
    /// For which of the server's keys this connection was made.
    pub server_key: ServerKey,
    /// What it merely says.
    pub claims: Claims,
    /// The session that it speaks for. Only if it is its own may it go on.
    pub wanted: Wanted,
    /// Which connection of its line this is, as the client counts them from 1. Behind one that is not the first, nothing
    /// follows before the verdict.
    pub attempt: u32,
    /// What it shows of its person: at most one of each kind. In a session that goes on only what is newer than all before
    /// counts ([`crate::Line::is_newer`]).
    pub evidence: Vec<Evidence>,
    /// The handshake's hash: what is bound to it was meant for this connection and no other.
    pub handshake_hash: [u8; 32],
}

/// Where a server's connection is, until it is open.
pub(super) enum Serving {
    AwaitM1(Box<AwaitM1>),
    AwaitSecret(Box<AwaitSecret>),
    AwaitAuth(Box<AwaitAuth>),
    AwaitGrant(Box<AwaitGrant>),
}

impl Serving {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::AwaitM1(_) => "AwaitM1",
            Self::AwaitSecret(_) => "AwaitSecret",
            Self::AwaitAuth(_) => "AwaitAuth",
            Self::AwaitGrant(_) => "AwaitGrant",
        }
    }

    /// What seals record 0, from M2 on.
    pub(super) fn transport(&mut self) -> Option<&mut Transport> {
        match self {
            Self::AwaitM1(_) | Self::AwaitSecret(_) => None,
            Self::AwaitAuth(state) => Some(&mut state.transport),
            Self::AwaitGrant(state) => Some(&mut state.transport),
        }
    }
}

pub(super) struct AwaitM1 {
    config: ServerConfig,
    randomness: Randomness,
    freshness: Freshness,
}

/// Whether M1 must show that it is no replay.
enum Freshness {
    Any,
    /// It must be over this nonce. Before it may come, once, the M1 that the client had offered: it saw no more of the answer
    /// to its request than if somebody had taken that out.
    Over {
        nonce: Nonce,
        passed_over: bool,
    },
}

pub(super) struct AwaitSecret {
    responder: Responder,
    nonce: [u8; 32],
    credential: Credential,
    server_key: ServerKey,
}

pub(super) struct AwaitAuth {
    transport: Transport,
    /// AUTH has verified, and so many records of evidence are to follow.
    proved: Option<(Box<AuthRequest>, u8)>,
    /// The kind and number of the last of them, and their sealed bytes.
    last: Option<(u8, u32)>,
    evidence_len: usize,
    credential: Credential,
    credential_proved: bool,
    server_key: ServerKey,
}

pub(super) struct AwaitGrant {
    transport: Transport,
    /// As AUTH counts it.
    attempt: u32,
    /// The highest number of the evidence behind it.
    evidence: u32,
    /// Sealed records that came behind AUTH.
    early: Vec<Vec<u8>>,
    early_len: usize,
}

impl Connection {
    /// Starts a server's connection: the socket is open, M1 is awaited.
    #[must_use]
    pub fn accept(config: ServerConfig, randomness: Randomness, now: Instant) -> Self {
        let state =
            State::Server(Serving::AwaitM1(Box::new(AwaitM1 { config, randomness, freshness: Freshness::Any })));
        Self::new(Role::Server, state, now + secs(HANDSHAKE_SECS))
    }

    /// One message of a client.
    pub(super) fn handle_as_server(&mut self, message: &mut [u8]) -> Result<(), ConnectionError> {
        let State::Server(serving) = &self.state else { return Err(PeerMisbehaved::Unexpected.into()) };
        let is_too_long = message.len() > RECORD_LEN_MAX;
        match serving {
            Serving::AwaitSecret(_) => Err(PeerMisbehaved::Unexpected.into()),
            Serving::AwaitM1(_) if is_too_long => Err(InvalidMessage::TooLong.into()),
            // See `handle_message`.
            _ if is_too_long => Err(ConnectionError::Altered),
            Serving::AwaitM1(_) => self.handle_m1(message),
            Serving::AwaitAuth(state) if state.proved.is_some() => self.handle_evidence(message),
            Serving::AwaitAuth(_) => self.handle_auth(message),
            Serving::AwaitGrant(_) => self.handle_early_data(message),
        }
    }

    fn handle_m1(&mut self, message: &[u8]) -> Result<(), ConnectionError> {
        let (header, noise) = hello::decode_m1(message)?;
        let State::Server(Serving::AwaitM1(state)) = &mut self.state else {
            return Err(PeerMisbehaved::Unexpected.into());
        };
        let ServerConfig { identity, next } = &state.config;
        let mut identities = next.iter().chain(iter::once(identity));
        let Some(identity) = identities.find(|it| it.public.id() == header.server_key_id).cloned() else {
            return Err(ConnectionError::NotForThisServer);
        };
        match (&mut state.freshness, header.nonce) {
            (Freshness::Any, None) => {}
            (Freshness::Over { nonce, .. }, Some(shown)) if shown == *nonce => {}
            (Freshness::Over { passed_over: passed_over @ false, .. }, None) => {
                *passed_over = true;
                return Ok(());
            }
            _ => return Err(PeerMisbehaved::Unexpected.into()),
        }
        let State::Server(Serving::AwaitM1(state)) = mem::replace(&mut self.state, State::Closing) else {
            return Err(PeerMisbehaved::Unexpected.into());
        };
        let AwaitM1 { randomness, .. } = *state;
        let nonce = randomness.for_nonce();
        let mut responder =
            Responder::new(&identity.private, Some(identity.public), &hello::prologue(header.bytes), randomness);
        let payload = responder.read_m1(noise).map_err(|_| ConnectionError::NotForThisServer)?;
        let hello = ClientHello::decode(&payload)?;
        self.set_peers_hello(hello.limits, hello.capabilities);
        self.events.push_back(Event::SecretWanted(hello.credential));
        self.state = State::Server(Serving::AwaitSecret(Box::new(AwaitSecret {
            responder,
            nonce,
            credential: hello.credential,
            server_key: identity.public,
        })));
        Ok(())
    }

    /// Wants an M1 that is no replay: made over a nonce of this connection. For a server under pressure, whose client says in
    /// its M1 that it can ([`M1Head`](crate::M1Head)). Before M1 was given to the connection; once.
    pub fn ask_freshness(&mut self) {
        let State::Server(Serving::AwaitM1(state)) = &mut self.state else { return };
        if matches!(state.freshness, Freshness::Any) {
            let nonce = state.randomness.for_freshness();
            state.freshness = Freshness::Over { nonce, passed_over: false };
            self.ready.push_back(hello::encode_freshness(nonce));
        }
    }

    /// True until M1, unless it is to show freshness: then this is to be asked no more.
    #[must_use]
    pub fn awaits_any_m1(&self) -> bool {
        matches!(&self.state, State::Server(Serving::AwaitM1(state)) if matches!(state.freshness, Freshness::Any))
    }

    /// The secret of the credential that [`Event::SecretWanted`] named, if the server knows it. M2 leaves.
    ///
    /// # Errors
    /// [`ConnectionError::NotForThisServer`] if the client's keys in M1 are malformed.
    pub fn provide_secret(&mut self, now: Instant, secret: Option<&Secret>) -> Result<(), ConnectionError> {
        let State::Server(Serving::AwaitSecret(state)) = mem::replace(&mut self.state, State::Closing) else {
            return self.settle(now, Err(PeerMisbehaved::Unexpected.into()));
        };
        let AwaitSecret { responder, nonce, credential, server_key } = *state;
        let (limits, capabilities) = (Limits::default(), Capabilities::of(Role::Server));
        let payload = ServerHello { nonce, limits, capabilities }.encode();
        match responder.write_m2(secret.unwrap_or(&Secret::NONE), &payload) {
            Ok((noise, transport)) => {
                self.ready.push_back(hello::encode_m2(&noise));
                self.state = State::Server(Serving::AwaitAuth(Box::new(AwaitAuth {
                    transport,
                    proved: None,
                    last: None,
                    evidence_len: 0,
                    credential,
                    credential_proved: secret.is_some(),
                    server_key,
                })));
                Ok(())
            }
            Err(_) => self.settle(now, Err(ConnectionError::NotForThisServer)),
        }
    }

    fn handle_auth(&mut self, message: &mut [u8]) -> Result<(), ConnectionError> {
        let State::Server(Serving::AwaitAuth(state)) = &mut self.state else {
            return Err(PeerMisbehaved::Unexpected.into());
        };
        let plaintext = &*state.transport.open_in_place(message).map_err(|_| ConnectionError::Altered)?;
        let Auth { device, signature, claims, wanted, attempt, evidence } = Auth::decode(plaintext)?;
        let signed = message_to_sign(state.transport.handshake_hash(), device.spki());
        if !crypto::verify(device.algorithm(), device.spki(), &signed, &signature) {
            return Err(ConnectionError::BadSignature);
        }
        let (credential, credential_proved) = (state.credential, state.credential_proved);
        let server_key = state.server_key;
        let (device_id, shown) = (DeviceId::of_spki(device.spki()), Vec::new());
        let handshake_hash = *state.transport.handshake_hash();
        let request = AuthRequest {
            device_id,
            device,
            credential,
            credential_proved,
            server_key,
            claims,
            wanted,
            attempt,
            evidence: shown,
            handshake_hash,
        };
        state.proved = Some((Box::new(request), evidence));
        self.await_grant_if_proved()
    }

    /// One record of evidence behind AUTH, which has verified.
    fn handle_evidence(&mut self, message: &mut [u8]) -> Result<(), ConnectionError> {
        let State::Server(Serving::AwaitAuth(state)) = &mut self.state else {
            return Err(PeerMisbehaved::Unexpected.into());
        };
        let len = message.len();
        let plaintext = &*state.transport.open_in_place(message).map_err(|_| ConnectionError::Altered)?;
        let shown = Shown::decode_record(plaintext)?;
        let Some((request, left)) = &mut state.proved else { return Err(PeerMisbehaved::Unexpected.into()) };
        if state.last.is_some_and(|(kind, number)| kind == shown.kind || number >= shown.number) {
            return Err(PeerMisbehaved::EvidenceOutOfOrder.into());
        }
        state.last = Some((shown.kind, shown.number));
        state.evidence_len += len;
        request.evidence.extend(shown.known());
        *left -= 1;
        self.await_grant_if_proved()
    }

    /// AUTH is whole: the application is asked.
    fn await_grant_if_proved(&mut self) -> Result<(), ConnectionError> {
        if !matches!(&self.state, State::Server(Serving::AwaitAuth(state)) if matches!(state.proved, Some((_, 0)))) {
            return Ok(());
        }
        let State::Server(Serving::AwaitAuth(state)) = mem::replace(&mut self.state, State::Closing) else {
            return Err(PeerMisbehaved::Unexpected.into());
        };
        let AwaitAuth { transport, proved: Some((request, _)), last, evidence_len, .. } = *state else {
            return Err(PeerMisbehaved::Unexpected.into());
        };
        let (attempt, evidence) = (request.attempt, last.map_or(0, |(_, number)| number));
        self.events.push_back(Event::AuthReceived(request));
        // From here the wait is the server's own.
        self.deadline = None;
        let (early, early_len) = (Vec::new(), evidence_len);
        self.state =
            State::Server(Serving::AwaitGrant(Box::new(AwaitGrant { transport, attempt, evidence, early, early_len })));
        Ok(())
    }

    /// Holds what comes before the verdict, unopened and bounded.
    fn handle_early_data(&mut self, message: &[u8]) -> Result<(), ConnectionError> {
        let State::Server(Serving::AwaitGrant(state)) = &mut self.state else {
            return Err(PeerMisbehaved::Unexpected.into());
        };
        // Empty messages cost memory too.
        let len = state.early_len + message.len().max(64);
        if len > EARLY_DATA_LEN_MAX {
            return Err(PeerMisbehaved::TooMuchEarlyData.into());
        }
        state.early_len = len;
        state.early.push(message.to_vec());
        Ok(())
    }

    /// True from M2 to AUTH, with all that belongs to it.
    #[must_use]
    pub const fn awaits_auth(&self) -> bool {
        matches!(self.state, State::Server(Serving::AwaitAuth(_)))
    }

    /// Lets the device in with the attached session: AUTH_OK leaves, and what came early is read. For a resumed session
    /// the grant's outcome states its count, as [`Self::resume_outcome`] gives it.
    ///
    /// # Errors
    /// What was wrong with the early data, or that no session is attached.
    pub fn admit(&mut self, now: Instant, grant: Grant) -> Result<(), ConnectionError> {
        let Some(session) = &mut self.session else {
            return self.settle(now, Err(PeerMisbehaved::Unexpected.into()));
        };
        let resumed = matches!(grant.outcome, Outcome::Resumed { .. });
        if !resumed {
            session.begin(grant.session_id);
        }
        session.open_for_datagrams();
        let State::Server(Serving::AwaitGrant(state)) = mem::replace(&mut self.state, State::Closing) else {
            return self.settle(now, Err(PeerMisbehaved::Unexpected.into()));
        };
        let AwaitGrant { mut transport, attempt, evidence, early, .. } = *state;
        if let Some(session) = &mut self.session {
            session.set_attempt(attempt);
            session.note_evidence(evidence);
        }
        let mut sealed = Verdict::Ok(grant).encode();
        transport.seal_from(0, &mut sealed);
        self.ready.push_back(sealed);
        self.state = State::Open(transport);
        self.liveness = Some(Liveness::new(Role::Server, self.is_patient(), now));
        for mut message in early {
            self.handle_message(now, &mut message)?;
        }
        Ok(())
    }

    /// True if its AUTH was overtaken by a newer one of the same line, on its way here.
    pub(crate) fn is_older_than(&self, session: &Session) -> bool {
        matches!(&self.state, State::Server(Serving::AwaitGrant(state)) if state.attempt <= session.attempt())
    }

    /// The attached session goes on: what the client has not received of it will be sent again.
    ///
    /// # Errors
    /// If the client counts what it was never sent; the connection is then closed.
    pub fn resume_outcome(&mut self, now: Instant, received: u64) -> Result<Outcome, ConnectionError> {
        let Some(session) = &mut self.session else {
            return self.settle(now, Err(PeerMisbehaved::Unexpected.into())).map(|()| Outcome::New);
        };
        match session.resume(received) {
            Ok(()) => Ok(Outcome::Resumed { received: session.received() }),
            Err(error) => self.settle(now, Err(error.into())).map(|()| Outcome::New),
        }
    }

    /// Turns the device away, and tells it why under the seal.
    pub fn refuse(&mut self, now: Instant, code: CloseCode) {
        self.close(now, code, "");
    }
}
