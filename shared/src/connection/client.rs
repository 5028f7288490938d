//! The client's way into a connection: M1, M2, AUTH, AUTH_OK.

use core::{mem, time::Duration};

use alloc::{boxed::Box, vec::Vec};

use super::{Connection, Event, State, liveness::Liveness, secs};
use crate::{
    close::FreshReason,
    crypto::{Randomness, Secret},
    error::{ConnectionError, PeerMisbehaved},
    handshake::{
        auth::{Auth, Claims, DeviceKey, Outcome, Ticket, Verdict, Wanted},
        hello::{self, Capabilities, ClientHello, Credential, Limits, ServerHello, message_to_sign},
        upgrade,
    },
    ids::{Birth, ServerKey, SessionId},
    invite::Invite,
    limits::{CONNECT_SECS, FIRST_FORM_FACTOR, FIRST_FORM_MILLIS},
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
    /// For one more M1, if the server asks for it.
    again: Option<Randomness>,
    birth: Birth,
    form: UpgradeForm,
    dialled: Instant,
    /// The server's socket is open: it, or somebody in its place, has answered the upgrade request.
    upgraded: bool,
}

pub(super) struct AwaitSignature {
    config: ClientConfig,
    transport: Transport,
    birth: Birth,
}

/// How a client offers M1 to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeForm {
    /// In the upgrade request: no round trip more than a bare WebSocket.
    M1InRequest,
    /// As the first message, with nothing but the bare subprotocol in the request: for paths that lose what comes with the
    /// 101, or a part of the offer.
    M1AsMessage,
}

impl Connection {
    /// Starts a client's connection. M1 is ready at once: offer it by [`Self::upgrade_offer`].
    ///
    /// # Errors
    /// [`ConnectionError::NotYourServer`] if the pinned key is a point of small order, which no server has.
    pub fn connect(config: ClientConfig, randomness: Randomness, now: Instant) -> Result<Self, ConnectionError> {
        let birth = Birth(randomness.for_birth());
        let again = Some(randomness.again());
        let (initiator, m1) = greet(&config, &[], randomness)?;
        let form = UpgradeForm::M1InRequest;
        let state = AwaitM2 { config, initiator, m1, again, birth, form, dialled: now, upgraded: false };
        Ok(Self::new(Role::Client, State::AwaitM2(Box::new(state)), now + secs(CONNECT_SECS)))
    }

    /// How M1 is to leave; in the upgrade request unless told otherwise.
    #[must_use]
    pub fn in_form(mut self, form: UpgradeForm) -> Self {
        if let State::AwaitM2(state) = &mut self.state {
            state.form = form;
        }
        self
    }

    /// The subprotocols to offer in the upgrade request.
    #[must_use]
    pub fn upgrade_offer(&self) -> Vec<alloc::string::String> {
        match &self.state {
            State::AwaitM2(state) => match state.form {
                UpgradeForm::M1InRequest => upgrade::offer(&state.m1).into(),
                UpgradeForm::M1AsMessage => [upgrade::WITHOUT_M1.into()].into(),
            },
            _ => Vec::new(),
        }
    }

    /// The socket is open, and the server has selected this subprotocol.
    ///
    /// # Errors
    /// [`PeerMisbehaved::NoSubprotocol`] if it is none of ours: there is no Duologue server at this address.
    pub fn handle_upgrade(&mut self, now: Instant, selected: &str) -> Result<(), ConnectionError> {
        let State::AwaitM2(state) = &mut self.state else { return Ok(()) };
        match (selected, state.form) {
            (upgrade::WITH_M1, UpgradeForm::M1InRequest) => {}
            (upgrade::WITHOUT_M1, _) => self.ready.push_back(mem::take(&mut state.m1)),
            _ => return self.settle(now, Err(PeerMisbehaved::NoSubprotocol.into())),
        }
        state.upgraded = true;
        if state.form == UpgradeForm::M1InRequest {
            let patience = (now - state.dialled) * FIRST_FORM_FACTOR;
            self.deadline = Some(now + patience.max(Duration::from_millis(FIRST_FORM_MILLIS)));
        }
        Ok(())
    }

    /// What it means that this connection ends, or takes too long, in the state in which it is: not one byte of the server's
    /// has come in one, and in others it was there.
    pub(super) fn end_in_this_state(&self, otherwise: ConnectionError) -> ConnectionError {
        match &self.state {
            State::AwaitM2(state) if state.upgraded => ConnectionError::Unanswered,
            _ => otherwise,
        }
    }

    /// The server's first word: M2, or that it wants an M1 which cannot be a replay. Once: that costs a key pair.
    pub(super) fn handle_m2(&mut self, message: &[u8]) -> Result<(), ConnectionError> {
        if let State::AwaitM2(state) = &mut self.state
            && let Some(nonce) = hello::decode_freshness(message)
            && let Some(randomness) = state.again.take()
        {
            let (initiator, m1) = greet(&state.config, nonce, randomness)?;
            state.initiator = initiator;
            self.deadline = Some(state.dialled + secs(CONNECT_SECS));
            self.ready.push_back(m1);
            return Ok(());
        }
        // Whatever it is, the pinned server has not made it.
        let noise = hello::decode_m2(message).map_err(|_| ConnectionError::NotYourServer)?;
        let State::AwaitM2(state) = mem::replace(&mut self.state, State::Closing) else {
            return Err(PeerMisbehaved::Unexpected.into());
        };
        let AwaitM2 { config, initiator, birth, dialled, .. } = *state;
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
        self.set_peers_hello(hello.limits, hello.capabilities);
        let message = message_to_sign(transport.handshake_hash(), config.device.spki());
        self.events.push_back(Event::SignatureWanted(message));
        self.deadline = Some(dialled + secs(CONNECT_SECS));
        self.state = State::AwaitSignature(Box::new(AwaitSignature { config, transport, birth }));
        Ok(())
    }

    pub(crate) const fn awaits_signature(&self) -> bool {
        matches!(self.state, State::AwaitSignature(_))
    }

    /// The device signs by this key, in the place of the one that was asked for.
    pub(crate) fn signs_by(&mut self, device: DeviceKey) {
        if let State::AwaitSignature(state) = &mut self.state {
            state.config.device = device;
        }
    }

    /// The device's signature over what [`Event::SignatureWanted`] gave. AUTH leaves, and asks to resume the session that is
    /// attached, if it was open before.
    pub fn provide_signature(&mut self, signature: [u8; 64]) {
        if !self.awaits_signature() {
            return;
        }
        let State::AwaitSignature(state) = mem::replace(&mut self.state, State::Closing) else { return };
        let AwaitSignature { config, mut transport, birth } = *state;
        let (wanted, attempt) = match &mut self.session {
            Some(session) => (session.wanted(birth), session.attempt()),
            None => (Wanted::Born(birth), 1),
        };
        let evidence = self.session.as_mut().and_then(|session| session.evidence_behind_auth());
        let count = u8::from(evidence.is_some());
        let auth = Auth { device: config.device, signature, claims: config.claims, wanted, attempt, evidence: count };
        for mut sealed in [auth.encode()].into_iter().chain(evidence) {
            transport.seal_from(0, &mut sealed);
            // What follows AUTH is held before the verdict; AUTH is read.
            self.early_room -= if self.ready.is_empty() { 0 } else { sealed.len() };
            self.ready.push_back(sealed);
        }
        // An AUTH before this one may have arrived, and what followed it.
        let resumes = matches!(wanted, Wanted::Resume(_)) || attempt > 1;
        self.state = State::AwaitVerdict { transport, resumes };
    }

    /// A server may have waited long enough for AUTH, and says so. Anything else is a middleman's.
    pub(super) fn handle_early_close(&mut self, message: &mut [u8]) -> Result<(), ConnectionError> {
        let State::AwaitSignature(state) = &mut self.state else { return Err(PeerMisbehaved::Unexpected.into()) };
        let plaintext = state.transport.open_in_place(message).map_err(|_| ConnectionError::Altered)?;
        match Verdict::decode(plaintext)? {
            Verdict::Close(close) => Err(ConnectionError::PeerClosed(close)),
            Verdict::Ok(_) => Err(PeerMisbehaved::Unexpected.into()),
        }
    }

    pub(super) fn handle_verdict(&mut self, now: Instant, message: &mut [u8]) -> Result<(), ConnectionError> {
        let State::AwaitVerdict { transport, resumes } = &mut self.state else {
            return Err(PeerMisbehaved::Unexpected.into());
        };
        let resumes = *resumes;
        let plaintext = transport.open_in_place(message).map_err(|_| ConnectionError::Altered)?;
        match Verdict::decode(plaintext)? {
            Verdict::Ok(mut grant) => {
                let Some(session) = &mut self.session else { return Err(PeerMisbehaved::Unexpected.into()) };
                let anew = match (grant.outcome, session.id()) {
                    // The first AUTH was lost, or was heard by a server that knows nothing of it any more: what followed it
                    // may have been heard too.
                    (Outcome::New, None) if resumes && session.has_sealed() && !mutated!(EarlyDataTwice) => {
                        Some(FreshReason::Unknown)
                    }
                    (Outcome::New, None) => {
                        session.begin(grant.session_id);
                        if mutated!(EarlyDataTwice) {
                            session.resume(0)?;
                        }
                        None
                    }
                    (Outcome::Resumed { received }, id) if resumes && id.is_none_or(|id| id == grant.session_id) => {
                        session.begin(grant.session_id);
                        session.resume(received)?;
                        None
                    }
                    // What one person has written is not said by the next, whatever the server knows of the one before.
                    (Outcome::Fresh(_), Some(_)) if session.is_of_another(grant.subject()) => {
                        grant.outcome = Outcome::Fresh(FreshReason::Subject);
                        Some(FreshReason::Subject)
                    }
                    (Outcome::Fresh(reason), Some(_)) => Some(reason),
                    _ => return Err(PeerMisbehaved::WrongOutcome.into()),
                };
                // A good AUTH_OK is no good record: who alters all but the handshake must not go on for ever.
                session.open_for_datagrams();
                if let State::AwaitVerdict { transport, .. } = mem::replace(&mut self.state, State::Closing) {
                    self.state = State::Open(transport);
                }
                self.deadline = None;
                self.liveness = Some(Liveness::new(Role::Client, self.is_patient(), now));
                if let Some(reason) = anew {
                    self.begin_anew(reason, grant.session_id);
                }
                if let Some(session) = &mut self.session {
                    session.note_subject(grant.subject());
                }
                self.events.push_back(Event::Opened(grant));
                Ok(())
            }
            Verdict::Close(close) => Err(ConnectionError::PeerClosed(close)),
        }
    }

    /// The server could not resume the session: it has ended, and another takes its place, with the channels of which
    /// nothing had left.
    fn begin_anew(&mut self, reason: FreshReason, id: SessionId) {
        let Some(mut ended) = self.session.take() else { return };
        let session = Box::new(ended.successor(reason));
        ended.end();
        // It learns the peer's limits here, and only as long as it has no id.
        self.attach(session);
        if let Some(session) = &mut self.session {
            session.begin(id);
            session.open_for_datagrams();
        }
        self.events.push_back(Event::SessionEnded(reason, ended));
    }
}

/// M1, and what reads its answer.
fn greet(config: &ClientConfig, nonce: &[u8], randomness: Randomness) -> Result<(Initiator, Vec<u8>), ConnectionError> {
    let (limits, capabilities) = (Limits::default(), Capabilities::of(Role::Client));
    let hello = ClientHello { credential: config.offer.credential(), limits, capabilities };
    hello::write_m1(&config.server_key, nonce, hello, randomness).map_err(|_| ConnectionError::NotYourServer)
}
