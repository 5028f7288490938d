//! A connection: one WebSocket's life, as a state machine without a socket.
//!
//! ```text
//! client   AwaitM2 ──M2──► AwaitSignature ──provide_signature──► AwaitVerdict ──AUTH_OK──► Open ──► Closed
//! server   AwaitM1 ──M1──► AwaitSecret ──provide_secret──► AwaitAuth ──AUTH──► AwaitGrant ──admit──► Open ──► Closed
//! ```
//!
//! # The run loop
//!
//! 1. Give every binary message to [`Connection::handle_message`], the socket's end to [`Connection::handle_lost`].
//! 2. Answer every [`Event`] of [`Connection::poll_event`].
//! 3. Send what [`Connection::poll_transmit`] writes, one call a message, until it writes nothing.
//! 4. Sleep until [`Connection::poll_timeout`], then call [`Connection::handle_timeout`].
//!
//! A connection is born without a session: [`Connection::attach`] gives it one, on the client before the signature is
//! provided, on the server before [`Connection::admit`]; [`Connection::detach`] takes it out again, and the session moves
//! on. `line/` does that for a line that outlives its connections.
//!
//! Repeat after each input and each command. When [`Event::Closed`] has come, send what is left of 3 and close the socket.
//!
//! A failed input changes nothing but to close the connection: messages are decoded and checked in whole before they are
//! applied. Panic means a bug here, never bad input.

mod client;
mod liveness;
#[cfg(feature = "server")]
mod server;

pub use client::{ClientConfig, Offer, UpgradeForm};
#[cfg(feature = "server")]
pub use server::{AuthRequest, OfferedCredential, ServerConfig, ServerIdentity};

use core::{fmt, time::Duration};

use alloc::{borrow::ToOwned, boxed::Box, collections::VecDeque, vec::Vec};

#[cfg(feature = "server")]
use crate::handshake::{auth::Verdict, evidence::Evidence};
use crate::{
    close::{Close, CloseCode, FreshReason},
    codec::Reader,
    crypto::TAG_LEN,
    error::{ConnectionError, PeerMisbehaved},
    frame::Frame,
    handshake::{
        auth::Grant,
        evidence::Told,
        hello::{Capabilities, Limits},
    },
    ids::ChannelId,
    limits::{CLOSE_REASON_LEN_MAX, EARLY_DATA_LEN_MAX, RECORD_LEN_MAX, RECORD_PLAINTEXT_LEN_MAX},
    noise::Transport,
    record,
    session::{Channel, Role, Session},
    time::Instant,
};
use client::{AwaitM2, AwaitSignature};
use liveness::{Liveness, Pulse};
#[cfg(feature = "server")]
use server::Serving;

/// What the driver must know or do.
#[derive(Debug)]
pub enum Event {
    /// Server: find the secret of this credential and call [`Connection::provide_secret`].
    #[cfg(feature = "server")]
    SecretWanted(OfferedCredential),
    /// Server: this device has proved itself. Decide, then call [`Connection::admit`] or [`Connection::refuse`].
    #[cfg(feature = "server")]
    AuthReceived(Box<AuthRequest>),
    /// Client: sign these bytes with the device key and call [`Connection::provide_signature`].
    SignatureWanted(Vec<u8>),
    /// Client: the server has let this device in. Keep the ticket for the next connection.
    Opened(Grant),
    /// Server: newer evidence of the person has come on the open line. Judge it, and answer by [`Session::tell`].
    #[cfg(feature = "server")]
    Evidence(Evidence),
    /// Client: the server has told of its standing anew.
    Standing(Told),
    /// Server: nobody is at the client's end any more. What was proved there counts no more; answer by [`Session::tell`].
    #[cfg(feature = "server")]
    Away,
    /// The peer has opened a channel.
    ChannelOpened(ChannelId),
    /// Something about this channel is new: messages, datagrams, room in its queue, a delivery, its end.
    ChannelChanged(ChannelId),
    /// Client: the server could not resume the session. It has ended, everything pending in it has settled, and a new one
    /// stands in its place. [`Event::Opened`] follows.
    SessionEnded(FreshReason, Box<Session>),
    /// Client: the server stops, and asks to come back so many milliseconds after the end.
    Draining {
        /// This client's own slot.
        slot_millis: u32,
    },
    /// The connection has ended. Nothing follows.
    Closed(ConnectionError),
}

enum State {
    AwaitM2(Box<AwaitM2>),
    AwaitSignature(Box<AwaitSignature>),
    /// AUTH is on its way. Frames may follow it, unless it asks to resume a session.
    AwaitVerdict {
        transport: Transport,
        resumes: bool,
    },
    #[cfg(feature = "server")]
    Server(Serving),
    Open(Transport),
    /// Between two states, and after an error until `settle` has dealt with it: the keys are gone.
    Closing,
    Closed,
}

/// One end of one connection. See the module for its run loop.
pub struct Connection {
    state: State,
    role: Role,
    session: Option<Box<Session>>,
    /// As the peer's hello said, until a session learns them.
    peers_limits: Limits,
    peers_capabilities: Capabilities,
    /// Whole messages of the handshake, and the sealed CLOSE, ready to go.
    ready: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
    /// Of the handshake.
    deadline: Option<Instant>,
    /// Once the line is open.
    liveness: Option<Liveness>,
    /// Sealed bytes that may still follow AUTH before the verdict.
    early_room: usize,
}

impl Connection {
    /// Takes one binary message of the socket. A record is opened where it lies: what is left there is nobody's.
    ///
    /// # Errors
    /// What was wrong with it. The connection is then closed, and [`Event::Closed`] says the same.
    pub fn handle_message(&mut self, now: Instant, message: &mut [u8]) -> Result<(), ConnectionError> {
        let result = match &mut self.state {
            State::Closed => return Ok(()),
            #[cfg(feature = "server")]
            State::Server(_) => self.handle_as_server(message),
            State::Open(_) | State::AwaitVerdict { .. } | State::AwaitSignature(_)
                if message.len() > RECORD_LEN_MAX =>
            {
                // No record is so long: anybody may have made it, and what anybody can make ends no session.
                Err(ConnectionError::Altered)
            }
            State::AwaitM2(_) => self.handle_m2(message),
            State::AwaitSignature(_) => self.handle_early_close(message),
            State::AwaitVerdict { .. } => self.handle_verdict(now, message),
            State::Open(_) => self.handle_record(now, message),
            State::Closing => Err(PeerMisbehaved::Unexpected.into()),
        };
        self.settle(now, result)
    }

    /// A text message came: nothing in this protocol is text.
    ///
    /// # Errors
    /// Always.
    pub fn handle_text(&mut self, now: Instant) -> Result<(), ConnectionError> {
        self.settle(now, Err(PeerMisbehaved::TextMessage.into()))
    }

    /// The socket has ended, for whatever reason.
    pub fn handle_lost(&mut self, now: Instant) {
        let error = self.end_in_this_state(ConnectionError::Lost);
        let _ = self.settle(now, Err(error));
        self.ready.clear();
    }

    /// Time has passed. Calling it too often does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        let dead = self.liveness.as_mut().is_some_and(|liveness| liveness.handle_timeout(now) == Pulse::Dead);
        if let Some(session) = &mut self.session {
            session.handle_timeout(now);
        }
        if dead || self.deadline.is_some_and(|deadline| deadline <= now) {
            let error = self.end_in_this_state(ConnectionError::TimedOut);
            let _ = self.settle(now, Err(error));
        }
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let liveness = self.liveness.as_ref().map(Liveness::poll_timeout);
        let session = self.session.as_ref().filter(|_| self.is_open()).and_then(|session| session.poll_timeout());
        self.deadline.into_iter().chain(liveness).chain(session).min()
    }

    /// Asks the other end whether it is still there, and takes 2 s without an answer for its end: to be called when the
    /// device wakes or its network comes back. Before the line is open it does nothing.
    pub fn probe(&mut self, now: Instant) {
        if let Some(liveness) = &mut self.liveness {
            liveness.probe(now);
        }
    }

    /// Client: its page stops running now, and says so where the server takes that.
    pub(crate) fn freeze(&mut self, now: Instant) {
        let is_away = self.session.as_ref().is_some_and(|session| session.is_away());
        if !is_away
            && self.peers_capabilities.has(Capabilities::AWAY)
            && let Some(liveness) = &mut self.liveness
        {
            liveness.freeze(now);
        }
    }

    /// Whether the client's page does not run, as it has said.
    #[cfg(test)]
    pub(crate) fn is_frozen(&self) -> bool {
        self.liveness.as_ref().is_some_and(Liveness::is_frozen)
    }

    /// Client: the page runs again, and what has waited for it is read before silence is judged.
    pub(crate) fn thaw(&mut self, now: Instant) {
        if let Some(liveness) = &mut self.liveness {
            liveness.thaw(now);
        }
    }

    /// The next thing to know or do.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.poll_event_with(|session| {
            let opened = session.poll_opened().map(Event::ChannelOpened);
            opened.or_else(|| session.poll_changed().map(Event::ChannelChanged))
        })
    }

    /// The same without what is new on channels, which stays in the session.
    pub(crate) fn poll_own_event(&mut self) -> Option<Event> {
        self.poll_event_with(|_| None)
    }

    fn poll_event_with(&mut self, channels: impl FnOnce(&mut Session) -> Option<Event>) -> Option<Event> {
        // Channels before the end: what arrived before a CLOSE is still read.
        let closing = matches!(self.events.front(), Some(Event::Closed(_)));
        if !closing && let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        if let Some(session) = &mut self.session {
            // First: what came behind them is to be judged by them.
            #[cfg(feature = "server")]
            if session.poll_away() {
                return Some(Event::Away);
            }
            #[cfg(feature = "server")]
            if let Some(evidence) = session.poll_evidence() {
                return Some(Event::Evidence(evidence));
            }
            if let Some(told) = session.poll_told() {
                return Some(Event::Standing(told));
            }
            if let Some(event) = channels(session) {
                return Some(event);
            }
        }
        self.events.pop_front()
    }

    /// Appends the next message for the socket to `out`. False if there is none.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        if let Some(message) = self.ready.pop_front() {
            out.extend_from_slice(&message);
            return true;
        }
        let room = self.record_room();
        let pulse = self.liveness.as_ref().is_some_and(Liveness::has_frames);
        let has_frames = room > 0 && self.has_session_frames();
        if !(pulse || has_frames) {
            // An idle connection holds no buffer.
            self.ready = VecDeque::new();
            if self.events.is_empty() {
                self.events = VecDeque::new();
            }
            return false;
        }
        let start = out.len();
        #[cfg(feature = "server")]
        out.reserve(self.session.as_ref().map_or(0, |session| record::bucket(session.fill_len(room)) + TAG_LEN));
        if let Some(liveness) = &mut self.liveness {
            if let Some(nonce) = liveness.take_ping() {
                Frame::Ping { nonce }.encode(out);
            }
            if let Some(nonce) = liveness.take_pong() {
                Frame::Pong { nonce }.encode(out);
            }
            liveness.fill_words(out);
        }
        if has_frames && let Some(session) = &mut self.session {
            session.fill(now, out, start + room);
        }
        let (State::AwaitVerdict { transport, .. } | State::Open(transport)) = &mut self.state else { return false };
        if out.len() == start {
            if self.has_session_frames() {
                self.spend_room();
            }
            return false;
        }
        record::pad(start, out);
        transport.seal_from(start, out);
        #[cfg(feature = "server")]
        if let Some(liveness) = &mut self.liveness {
            liveness.sent(now, out.len() - start);
        }
        if matches!(self.state, State::AwaitVerdict { .. }) {
            self.early_room = self.early_room.saturating_sub(out.len() - start);
        }
        true
    }

    /// True while frames wait that [`Self::poll_transmit`] would write.
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        let pulse = || self.liveness.as_ref().is_some_and(Liveness::has_frames);
        !self.ready.is_empty() || pulse() || (self.record_room() > 0 && self.has_session_frames())
    }

    fn has_session_frames(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.has_frames())
    }

    /// How much plaintext the next record may have: all of it, or what the server still holds before its verdict.
    fn record_room(&self) -> usize {
        match self.state {
            State::Open(_) => self.liveness.as_ref().map_or(RECORD_PLAINTEXT_LEN_MAX, Liveness::record_room),
            State::AwaitVerdict { resumes: false, .. } => whole_buckets(self.early_room),
            _ => 0,
        }
    }

    /// The next frame is longer than what may leave: all waits for the verdict, or until the page runs.
    fn spend_room(&mut self) {
        self.early_room = 0;
        if let Some(liveness) = &mut self.liveness {
            liveness.spend_room();
        }
    }

    /// True once the server has let the device in, until the end.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// True once [`Event::Closed`] has come or is about to.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Gives the connection its session.
    ///
    /// # Panics
    /// If it has one.
    pub fn attach(&mut self, mut session: Box<Session>) {
        assert!(self.session.is_none(), "a connection carries one session");
        session.connected();
        session.set_peers_limits(self.peers_limits);
        session.set_peers_capabilities(self.peers_capabilities);
        self.session = Some(session);
    }

    /// Takes the session out, for another connection or for its end. What this connection sealed may be lost.
    pub const fn detach(&mut self) -> Option<Box<Session>> {
        self.session.take()
    }

    /// The session, while it is here.
    pub fn session(&mut self) -> Option<&mut Session> {
        self.session.as_deref_mut()
    }

    /// Server: it stops. The client is told, and told its slot for coming back; then nothing new begins there.
    pub fn drain(&mut self, slot_millis: u32) {
        if let Some(session) = &mut self.session {
            session.drain(slot_millis);
        }
    }

    /// Ends the connection. The peer is told the code, and the reason cut to 256 bytes.
    pub fn close(&mut self, now: Instant, code: CloseCode, reason: &str) {
        self.send_close(code, reason);
        let _ = self.settle(now, Err(ConnectionError::LocallyClosed(code)));
    }

    /// A channel's commands and getters.
    ///
    /// # Panics
    /// If no session is here.
    pub fn channel(&mut self, id: ChannelId) -> Channel<'_> {
        self.session.as_deref_mut().expect("a session is attached").channel(id)
    }

    fn new(role: Role, state: State, deadline: Instant) -> Self {
        Self {
            state,
            role,
            session: None,
            peers_limits: Limits::default(),
            peers_capabilities: Capabilities::default(),
            ready: VecDeque::new(),
            events: VecDeque::new(),
            deadline: Some(deadline),
            liveness: None,
            early_room: EARLY_DATA_LEN_MAX,
        }
    }

    /// Opens one record and applies its frames.
    fn handle_record(&mut self, now: Instant, message: &mut [u8]) -> Result<(), ConnectionError> {
        let State::Open(transport) = &mut self.state else { return Err(PeerMisbehaved::Unexpected.into()) };
        let plaintext = &*transport.open_in_place(message).map_err(|_| ConnectionError::Altered)?;
        let Some(session) = &mut self.session else { return Err(PeerMisbehaved::Unexpected.into()) };
        session.authenticated();
        // Twice over the bytes, so that a record is applied whole or not at all as far as its form goes.
        let mut check = Reader::new(plaintext);
        while Frame::decode(&mut check)?.is_some() {}
        let mut reader = Reader::new(plaintext);
        let Some(liveness) = &mut self.liveness else { return Err(PeerMisbehaved::Unexpected.into()) };
        liveness.heard(now);
        while let Some(frame) = Frame::decode(&mut reader)? {
            match frame {
                Frame::Close(close) => return Err(ConnectionError::PeerClosed(close)),
                Frame::Ping { nonce } => liveness.handle_ping(nonce),
                Frame::Pong { nonce } => liveness.handle_pong(nonce),
                #[cfg(feature = "server")]
                Frame::Frozen if self.role.is_server() => liveness.freeze(now),
                frame => {
                    #[cfg(feature = "server")]
                    if matches!(frame, Frame::Here) {
                        liveness.thaw(now);
                    }
                    session.handle_frame(now, &frame)?;
                    if let Frame::Drain { slot_millis } = &frame
                        && !self.role.is_server()
                    {
                        self.events.push_back(Event::Draining { slot_millis: *slot_millis });
                    }
                }
            }
        }
        #[cfg(feature = "server")]
        session.make_way();
        Ok(())
    }

    /// What the peer can do, as its hello said; nothing before that.
    #[must_use]
    pub const fn peers_capabilities(&self) -> Capabilities {
        self.peers_capabilities
    }

    /// Whether both ends bear a longer silence.
    fn is_patient(&self) -> bool {
        [Capabilities::of(self.role), self.peers_capabilities].iter().all(|its| its.has(Capabilities::PATIENT))
    }

    /// The peer's hello has come.
    fn set_peers_hello(&mut self, limits: Limits, capabilities: Capabilities) {
        self.peers_limits = limits;
        self.peers_capabilities = capabilities;
        if let Some(session) = &mut self.session {
            session.set_peers_limits(limits);
            session.set_peers_capabilities(capabilities);
        }
    }

    /// The one place where a connection ends.
    fn settle(&mut self, _now: Instant, result: Result<(), ConnectionError>) -> Result<(), ConnectionError> {
        let Err(error) = result else { return Ok(()) };
        if matches!(self.state, State::Closed) {
            return Err(error);
        }
        // A peer that has closed or is gone is told nothing; `close` has told it already.
        if !matches!(error, ConnectionError::PeerClosed(_) | ConnectionError::Lost | ConnectionError::LocallyClosed(_))
        {
            self.send_close(error.close_code(), "");
        }
        self.state = State::Closed;
        self.deadline = None;
        self.liveness = None;
        self.events.push_back(Event::Closed(error.clone()));
        Err(error)
    }

    /// Seals a CLOSE where there is a key for it: as record 0 where that has not been sent, else as a frame.
    fn send_close(&mut self, code: CloseCode, reason: &str) {
        let reason = reason.get(..reason.floor_char_boundary(CLOSE_REASON_LEN_MAX)).unwrap_or_default().to_owned();
        let received = self.session.as_ref().map_or(0, |session| session.received());
        let close = Close { code, reason, received };
        #[cfg(feature = "server")]
        let is_open = self.is_open();
        let (transport, plaintext) = match &mut self.state {
            #[cfg(feature = "server")]
            State::Server(serving) => match serving.transport() {
                Some(transport) => (transport, Verdict::Close(close).encode()),
                None => return,
            },
            State::AwaitVerdict { transport, .. } | State::Open(transport) => {
                let mut plaintext = Vec::new();
                #[cfg(feature = "server")]
                if let (Some(session), true) = (&self.session, is_open) {
                    session.fill_last(&mut plaintext);
                }
                Frame::Close(close).encode(&mut plaintext);
                record::pad(0, &mut plaintext);
                (transport, plaintext)
            }
            _ => return,
        };
        let mut sealed = plaintext;
        transport.seal_from(0, &mut sealed);
        self.ready.push_back(sealed);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::AwaitM2(_) => "AwaitM2",
            State::AwaitSignature(_) => "AwaitSignature",
            State::AwaitVerdict { .. } => "AwaitVerdict",
            #[cfg(feature = "server")]
            State::Server(serving) => serving.name(),
            State::Open(_) => "Open",
            State::Closing => "Closing",
            State::Closed => "Closed",
        };
        f.debug_struct("Connection").field("state", &state).finish_non_exhaustive()
    }
}

/// How much plaintext fits into so many bytes, in whole padding buckets, so that padding does not go beyond.
fn whole_buckets(len: usize) -> usize {
    (len.saturating_sub(TAG_LEN) / 1_024 * 1_024).min(RECORD_PLAINTEXT_LEN_MAX)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
