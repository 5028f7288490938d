//! A line: one session, and the connections that carry it, one after the other.
//!
//! ```text
//! client   Connecting ──AUTH_OK──► Open ◄──resumed, fresh── Resuming          (client.rs: dialling, backoff, takeover)
//!               │                   │ └──────lost, altered────▲  ▲
//!               │                   └──DRAIN──► Draining ──end───┘
//! server                           Open ◄──AUTH──► Resuming, for 120 s        (server.rs: takeover, expiry)
//! all ──closed by either end, refused, rules broken, three forgeries──► Closed
//! ```
//!
//! The session is in one place at a time: in the carrying connection, or here while there is none. Sockets are the
//! driver's; it names them by [`ConnectionNo`].
//!
//! # The run loop
//!
//! 1. Give every binary message of a socket to [`Line::handle_message`], its end to [`Line::handle_lost`].
//! 2. Answer every [`LineEvent`] of [`Line::poll_event`].
//! 3. For each socket, send what [`Line::poll_transmit`] writes until it writes nothing; close it when [`Line::is_done`].
//! 4. Sleep until [`Line::poll_timeout`], then call [`Line::handle_timeout`].

mod client;
#[cfg(feature = "server")]
mod server;

pub use client::Dialled;
#[cfg(feature = "server")]
pub use server::{Cut, Rejected};

use core::time::Duration;

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};

#[cfg(feature = "server")]
use crate::handshake::evidence::Evidence;
use crate::{
    channel::Kind,
    close::{CloseCode, FreshReason},
    connection::{Connection, Event},
    error::{ChannelError, ConnectionError},
    handshake::{auth::Grant, evidence::Told},
    ids::ChannelId,
    session::{Channel, Session},
    time::Instant,
};
use client::Redial;

/// A connection of a line, as its driver names it: never used twice in one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionNo(pub u32);

/// What an application is told of its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineState {
    /// Client: the server has not let this device in yet.
    Connecting,
    /// A connection carries the session.
    Open,
    /// None does; what is sent waits. A client dials, a server waits for it.
    Resuming,
    /// The server stops, and finishes what has begun; what is sent now may wait for nothing.
    Draining,
    /// For good.
    Closed,
}

impl LineState {
    /// A stable word for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Open => "open",
            Self::Resuming => "resuming",
            Self::Draining => "draining",
            Self::Closed => "closed",
        }
    }
}

/// What the driver must know or do.
#[derive(Debug)]
pub enum LineEvent {
    /// Client: call [`Line::dial`] and open a socket.
    DialWanted,
    /// Client: sign these bytes with the device key and call [`Line::provide_signature`].
    SignatureWanted(ConnectionNo, Vec<u8>),
    /// Client: the server has let this device in, with a new connection. Keep the ticket.
    Opened(Grant),
    /// Client: the server could not resume the session. Everything pending in it has settled, its channel ids are void, and a
    /// new session stands in its place. `Opened` follows.
    SessionEnded(FreshReason, Box<Session>),
    /// Client: a connection was lost, or came to nothing; the line dials again.
    ConnectionFailed {
        /// Which.
        no: ConnectionNo,
        /// Why.
        error: ConnectionError,
        /// How long the line waits before it wants to dial.
        wait: Duration,
    },
    /// Client: something was altered on the way once more ([`Line::altered`]). Nothing of it was let through.
    Altered(Altered),
    /// Client: the server has told of a standing that has changed since [`Self::Opened`].
    Standing(Told),
    /// Server: the client shows newer evidence on the open line. Judge it, and answer by [`Line::tell`].
    #[cfg(feature = "server")]
    Evidence(Evidence),
    /// Server: nobody is at the client's end any more: what was proved there counts no more, and no channel can be opened until
    /// somebody is. Answer by [`Line::tell`].
    #[cfg(feature = "server")]
    Away,
    /// The state is another one.
    StateChanged(LineState),
    /// The peer has opened a channel.
    ChannelOpened(ChannelId),
    /// Something about this channel is new: messages, datagrams, room in its queue, a delivery, its end.
    ChannelChanged(ChannelId),
    /// The line has ended, and its session with it. Nothing follows.
    Closed(ConnectionError),
}

/// What somebody on the way has done to a line, as far as its client has noticed: messages that the other end has not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Altered {
    /// How often; each time it cost a connection.
    pub count: u32,
    /// When it was noticed first.
    pub since: Instant,
}

/// One end of one line. See the module for its run loop.
#[derive(Debug)]
pub struct Line {
    state: LineState,
    /// Here while no connection carries it.
    session: Option<Box<Session>>,
    carrier: Option<(ConnectionNo, Connection)>,
    /// Client: on its way to become the carrier; boxed, because servers have many lines.
    next: Option<Box<(ConnectionNo, Connection)>>,
    /// Ended, with a last word to send.
    leaving: Vec<(ConnectionNo, Connection)>,
    last_no: u32,
    events: VecDeque<LineEvent>,
    /// Client only; boxed, because servers have many lines.
    redial: Option<Box<Redial>>,
    /// Server: since when no connection carries the session.
    #[cfg(feature = "server")]
    parked_at: Option<Instant>,
    /// What took the last connection.
    #[cfg(feature = "server")]
    cut: Cut,
    closed: Option<ConnectionError>,
}

impl Line {
    fn new(state: LineState, session: Session, redial: Option<Redial>) -> Self {
        Self {
            state,
            session: Some(Box::new(session)),
            carrier: None,
            next: None,
            leaving: Vec::new(),
            last_no: 0,
            events: VecDeque::new(),
            redial: redial.map(Box::new),
            #[cfg(feature = "server")]
            parked_at: None,
            #[cfg(feature = "server")]
            cut: Cut::Lost,
            closed: None,
        }
    }

    // Inputs.

    /// Takes one binary message of a socket. A record is opened where it lies: what is left there is nobody's.
    ///
    /// # Errors
    /// What was wrong with it. That connection is then over; the line may live on.
    pub fn handle_message(
        &mut self,
        now: Instant,
        no: ConnectionNo,
        message: &mut [u8],
    ) -> Result<(), ConnectionError> {
        let Some(connection) = self.live(no) else { return Ok(()) };
        let result = connection.handle_message(now, message);
        self.settle(now);
        result
    }

    /// A text message came: nothing in this protocol is text.
    pub fn handle_text(&mut self, now: Instant, no: ConnectionNo) {
        if let Some(connection) = self.live(no) {
            let _ = connection.handle_text(now);
        }
        self.settle(now);
    }

    /// A socket has ended, for whatever reason.
    pub fn handle_lost(&mut self, now: Instant, no: ConnectionNo) {
        if let Some(connection) = self.live(no) {
            connection.handle_lost(now);
        }
        self.settle(now);
        self.leaving.retain(|(other, _)| *other != no);
    }

    /// Time has passed. Calling it too often does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        for (_, connection) in self.carrier.iter_mut().chain(self.next.as_deref_mut()) {
            connection.handle_timeout(now);
        }
        self.settle(now);
        self.redial_if_due(now);
        #[cfg(feature = "server")]
        self.expire_if_due(now);
    }

    // Outputs.

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let connections = self.carrier.iter().chain(self.next.as_deref());
        let connections = connections.filter_map(|(_, connection)| connection.poll_timeout());
        let timeouts = connections.chain(self.redial_at());
        #[cfg(feature = "server")]
        let timeouts = timeouts.chain(self.expires_at());
        timeouts.min()
    }

    /// The next thing to know or do.
    pub fn poll_event(&mut self) -> Option<LineEvent> {
        // Channels before the end: what arrived before it is still read.
        let closing = matches!(self.events.front(), Some(LineEvent::Closed(_)));
        if !closing && let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        let session = self.session();
        if let Some(id) = session.poll_opened() {
            return Some(LineEvent::ChannelOpened(id));
        }
        if let Some(id) = session.poll_changed() {
            return Some(LineEvent::ChannelChanged(id));
        }
        self.events.pop_front()
    }

    /// Appends the next message for a socket to `out`. False if there is none.
    pub fn poll_transmit(&mut self, now: Instant, no: ConnectionNo, out: &mut Vec<u8>) -> bool {
        let sent = self.connection(no).is_some_and(|connection| connection.poll_transmit(now, out));
        if !sent && self.events.is_empty() {
            // An idle line holds no buffer.
            self.events = VecDeque::new();
        }
        sent
    }

    /// True while [`Self::poll_transmit`] would write.
    #[must_use]
    pub fn wants_transmit(&self, no: ConnectionNo) -> bool {
        match &self.carrier {
            // Asked after every command.
            Some((carrier, connection)) if *carrier == no => connection.wants_transmit(),
            _ => self.others().any(|(other, connection)| *other == no && connection.wants_transmit()),
        }
    }

    /// True if the socket has nothing more to carry but what [`Self::poll_transmit`] still writes, and is then to be closed.
    #[must_use]
    pub fn is_done(&self, no: ConnectionNo) -> bool {
        !self.carrier.iter().chain(self.next.as_deref()).any(|(other, _)| *other == no)
    }

    // Commands.

    /// Opens a channel of that kind. What is sent while no connection carries the session waits in order.
    ///
    /// # Errors
    /// [`ChannelError::BadLabel`], or [`ChannelError::Closed`] after the end.
    pub fn open(&mut self, label: &str, kind: Kind) -> Result<ChannelId, ChannelError> {
        self.session().open(label, kind)
    }

    /// A channel's commands and getters.
    pub fn channel(&mut self, id: ChannelId) -> Channel<'_> {
        self.session().channel(id)
    }

    /// The session, wherever it is.
    ///
    /// # Panics
    /// Never: it is in one of two places.
    pub fn session(&mut self) -> &mut Session {
        let carried = self.carrier.as_mut().and_then(|(_, connection)| connection.session());
        carried.or(self.session.as_deref_mut()).expect("the session is carried, or here")
    }

    /// Ends the line and its session. The peer is told the code, and the reason cut to 256 bytes, if a connection carries it.
    pub fn close(&mut self, now: Instant, code: CloseCode, reason: &str) {
        if let Some((_, connection)) = &mut self.carrier {
            connection.close(now, code, reason);
            self.settle(now);
        }
        self.end(ConnectionError::LocallyClosed(code));
    }

    // Getters.

    /// What the application is told.
    #[must_use]
    pub const fn state(&self) -> LineState {
        self.state
    }

    /// Client: what somebody on the way was found to have altered.
    #[must_use]
    pub fn altered(&self) -> Option<Altered> {
        self.redial.as_ref()?.altered
    }

    /// The smoothed time between a record and its acknowledgement on the connection that carries the session; none before the
    /// first. A peer may take 25 ms to acknowledge.
    pub fn round_trip(&mut self) -> Option<Duration> {
        self.session().round_trip()
    }

    /// Why the line has ended, if it has.
    #[must_use]
    pub const fn closed(&self) -> Option<&ConnectionError> {
        self.closed.as_ref()
    }

    // Inner workings.

    /// All but the carrier.
    fn others(&self) -> impl Iterator<Item = &(ConnectionNo, Connection)> {
        self.next.as_deref().into_iter().chain(&self.leaving)
    }

    fn connection(&mut self, no: ConnectionNo) -> Option<&mut Connection> {
        let mut all = self.carrier.iter_mut().chain(self.next.as_deref_mut()).chain(&mut self.leaving);
        all.find(|(other, _)| *other == no).map(|(_, connection)| connection)
    }

    /// The connection, if its input still counts.
    fn live(&mut self, no: ConnectionNo) -> Option<&mut Connection> {
        let replaced = self.leaving.iter_mut().filter(|_| mutated!(ReplacedStillRead));
        let mut live = self.carrier.iter_mut().chain(self.next.as_deref_mut()).chain(replaced);
        live.find(|(other, _)| *other == no).map(|(_, connection)| connection)
    }

    const fn next_no(&mut self) -> ConnectionNo {
        self.last_no += 1;
        ConnectionNo(self.last_no)
    }

    /// The connection that carries the session and is open.
    #[cfg(test)]
    pub(crate) fn open_carrier(&self) -> Option<ConnectionNo> {
        self.carrier.as_ref().filter(|(_, connection)| connection.is_open()).map(|(no, _)| *no)
    }

    /// The connection whose client does not run, as it has said.
    #[cfg(test)]
    pub(crate) fn frozen_carrier(&self) -> Option<ConnectionNo> {
        self.carrier.as_ref().filter(|(_, connection)| connection.is_frozen()).map(|(no, _)| *no)
    }

    fn become_state(&mut self, state: LineState) {
        if self.state != state && self.state != LineState::Closed {
            self.state = state;
            self.events.push_back(LineEvent::StateChanged(state));
        }
    }

    /// Deals with what the connections have to tell.
    fn settle(&mut self, now: Instant) {
        while let Some(event) = self.next.as_mut().and_then(|next| next.1.poll_own_event()) {
            self.handle_next_event(now, event);
        }
        // What is new on channels waits in the session, wherever that is, until somebody asks.
        while let Some(event) = self.carrier.as_mut().and_then(|(_, connection)| connection.poll_own_event()) {
            match event {
                Event::Standing(told) => self.events.push_back(LineEvent::Standing(told)),
                #[cfg(feature = "server")]
                Event::Away => self.events.push_back(LineEvent::Away),
                #[cfg(feature = "server")]
                Event::Evidence(evidence) => self.events.push_back(LineEvent::Evidence(evidence)),
                Event::Closed(error) => self.handle_carrier_lost(now, error),
                event => self.handle_carrier_event(now, event),
            }
        }
    }

    /// The carrier is over. Its session comes back here, and stays if the line lives on.
    fn handle_carrier_lost(&mut self, now: Instant, error: ConnectionError) {
        let Some((no, mut connection)) = self.carrier.take() else { return };
        self.session = connection.detach();
        self.leaving.push((no, connection));
        let forged = error == ConnectionError::Altered && self.session().forged();
        if forged || !error.is_resumable() {
            self.end(error);
        } else if self.redial.is_some() {
            self.redial_after(now, no, error);
        } else {
            #[cfg(feature = "server")]
            self.park(now, &error);
        }
    }

    /// The end of the line and its session.
    fn end(&mut self, error: ConnectionError) {
        if self.closed.is_some() {
            return;
        }
        if let Some((no, mut connection)) = self.carrier.take() {
            self.session = connection.detach();
            self.leaving.push((no, connection));
        }
        self.next = None;
        self.session().end();
        self.become_state(LineState::Closed);
        self.closed = Some(error.clone());
        self.events.push_back(LineEvent::Closed(error));
    }
}
