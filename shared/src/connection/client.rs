//! The client's way into a connection: M1, M2, AUTH, AUTH_OK.

use core::mem;

use alloc::{boxed::Box, vec::Vec};

use super::{Connection, Event, State, liveness::Liveness, secs};
use crate::{
    crypto::{Randomness, Secret},
    error::{ConnectionError, PeerMisbehaved},
    handshake::{
        auth::{Auth, Claims, DeviceKey, Ticket, Verdict},
        hello::{self, ClientHello, Credential, Header, Limits, ServerHello, message_to_sign},
        upgrade,
    },
    ids::ServerKey,
    invite::Invite,
    limits::CONNECT_SECS,
    noise::{Initiator, Transport},
    session::Role,
    time::Instant,
};

/// What a client offers beside its device key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Nothing: the device key alone.
    Nothing,
    /// What the last AUTH_OK gave.
    Ticket(Ticket),
    /// What a link gave.
    Invite(Invite),
}

impl Offer {
    fn credential(&self) -> Credential {
        match self {
            Self::Nothing => Credential::None,
            Self::Ticket(ticket) => Credential::Ticket(ticket.id),
            Self::Invite(invite) => Credential::Invite(invite.id()),
        }
    }

    fn psk(&self) -> Option<Secret> {
        match self {
            Self::Nothing => None,
            Self::Ticket(ticket) => Some(ticket.secret.clone()),
            Self::Invite(invite) => Some(invite.psk()),
        }
    }
}

/// Everything that a client's connection is made of.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The recipient, named before the first byte.
    pub server_key: ServerKey,
    /// What is offered beside the device key.
    pub offer: Offer,
    /// True if this server has let the device in before. Only then may it set an invite aside.
    pub enrolled: bool,
    /// The device's public half.
    pub device: DeviceKey,
    /// What the client says of itself.
    pub claims: Claims,
}

pub(super) struct AwaitM2 {
    config: ClientConfig,
    initiator: Initiator,
    m1: Vec<u8>,
}

pub(super) struct AwaitSignature {
    config: ClientConfig,
    transport: Transport,
}

impl Connection {
    /// Starts a client's connection. M1 is ready at once: offer it by [`Self::upgrade_offer`].
    ///
    /// # Errors
    /// [`ConnectionError::NotYourServer`] if the pinned key is a point of small order, which no server has.
    pub fn connect(config: ClientConfig, randomness: Randomness, now: Instant) -> Result<Self, ConnectionError> {
        let header = Header { server_key_id: config.server_key.id() };
        let mut initiator = Initiator::new(&config.server_key.0, &header.prologue(), randomness);
        let hello = ClientHello { credential: config.offer.credential(), limits: Limits::default() };
        let noise = initiator.write_m1(&hello.encode()).map_err(|_| ConnectionError::NotYourServer)?;
        let m1 = hello::encode_m1(header, &noise);
        let state = State::AwaitM2(Box::new(AwaitM2 { config, initiator, m1 }));
        Ok(Self::new(Role::Client, state, now + secs(CONNECT_SECS)))
    }

    /// The subprotocols to offer in the upgrade request; M1 is in them.
    #[must_use]
    pub fn upgrade_offer(&self) -> Vec<alloc::string::String> {
        match &self.state {
            State::AwaitM2(state) => upgrade::offer(&state.m1).into(),
            _ => Vec::new(),
        }
    }

    /// The socket is open, and the server has selected this subprotocol.
    ///
    /// # Errors
    /// [`PeerMisbehaved::NoSubprotocol`] if it is none of ours: there is no Duologue server at this address.
    pub fn handle_upgrade(&mut self, now: Instant, selected: &str) -> Result<(), ConnectionError> {
        let State::AwaitM2(state) = &mut self.state else { return Ok(()) };
        match selected {
            upgrade::WITH_M1 => {}
            upgrade::WITHOUT_M1 => self.ready.push_back(mem::take(&mut state.m1)),
            _ => return self.settle(now, Err(PeerMisbehaved::NoSubprotocol.into())),
        }
        Ok(())
    }

    pub(super) fn handle_m2(&mut self, message: &[u8]) -> Result<(), ConnectionError> {
        // Whatever it is, the pinned server has not made it.
        let noise = hello::decode_m2(message).map_err(|_| ConnectionError::NotYourServer)?;
        let State::AwaitM2(state) = mem::replace(&mut self.state, State::Closing) else {
            return Err(PeerMisbehaved::Unexpected.into());
        };
        let AwaitM2 { config, initiator, .. } = *state;
        let offered = config.offer.psk();
        let none = Secret::NONE;
        let psks: Vec<&Secret> = offered.iter().chain([&none]).collect();
        let (which, payload, transport) =
            initiator.read_m2(noise, &psks).map_err(|_| ConnectionError::NotYourServer)?;
        // A server that sets an invite aside has not shown that it knows it: only a device that it knows may go on.
        let set_aside = offered.is_some() && which > 0;
        if set_aside && matches!(config.offer, Offer::Invite(_)) && !config.enrolled {
            return Err(ConnectionError::InviteUnknown);
        }
        let hello = ServerHello::decode(&payload)?;
        self.session.set_peers_limits(hello.limits);
        let message = message_to_sign(transport.handshake_hash(), config.device.spki());
        self.events.push_back(Event::SignatureWanted(message));
        self.state = State::AwaitSignature(Box::new(AwaitSignature { config, transport }));
        Ok(())
    }

    /// The device's signature over what [`Event::SignatureWanted`] gave. AUTH leaves, and frames may follow it.
    pub fn provide_signature(&mut self, signature: [u8; 64]) {
        let State::AwaitSignature(state) = mem::replace(&mut self.state, State::Closing) else { return };
        let AwaitSignature { config, mut transport } = *state;
        let auth = Auth { device: config.device, signature, claims: config.claims };
        let mut sealed = Vec::new();
        transport.seal(&auth.encode(), &mut sealed);
        self.ready.push_back(sealed);
        self.state = State::AwaitVerdict(transport);
    }

    pub(super) fn handle_verdict(&mut self, now: Instant, message: &[u8]) -> Result<(), ConnectionError> {
        let State::AwaitVerdict(transport) = &mut self.state else { return Err(PeerMisbehaved::Unexpected.into()) };
        let plaintext = transport.open(message).map_err(|_| ConnectionError::Altered)?;
        match Verdict::decode(&plaintext)? {
            Verdict::Ok(grant) => {
                if let State::AwaitVerdict(transport) = mem::replace(&mut self.state, State::Closing) {
                    self.state = State::Open(transport);
                }
                self.deadline = None;
                self.liveness = Some(Liveness::new(Role::Client, now));
                self.events.push_back(Event::Opened(grant));
                Ok(())
            }
            Verdict::Close(close) => Err(ConnectionError::PeerClosed(close)),
        }
    }
}
