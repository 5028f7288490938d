//! A session: what survives a connection. Its channels, what is queued on them, what was sealed and not acknowledged.
//!
//! ```text
//! commands ─► ChannelState ─► turns ─► fill(): what must be sent again, CREDIT, TAKEN, RESET, OPEN, datagrams,
//!                                              then DATA in turns, ACK ─► record                      outbound.rs
//! record ─► handle_frame() ─► ChannelState ─► changed, opened ─► the driver looks again               inbound.rs
//! ```
//!
//! A session never looks at keys or sockets. Counted frames are counted when they are filled into a record and when they
//! arrive, so that both ends have the same count without numbers on the wire. ACK, CREDIT and TAKEN are not counted: a new
//! connection states them again.

#[cfg(test)]
mod audit;
mod away;
mod by_id;
mod commands;
#[cfg(feature = "server")]
mod company;
mod datagrams;
mod ends;
mod farewells;
mod flight;
mod handle;
mod inbound;
#[cfg(feature = "server")]
mod keeping;
mod outbound;
#[cfg(feature = "server")]
mod passed_over;
#[cfg(feature = "server")]
mod pressure;
mod resend;
mod snapshot;
mod standing;
mod succession;
mod turns;
#[cfg(all(test, feature = "server", not(target_arch = "wasm32")))]
mod withholding;

pub use datagrams::DatagramStats;
pub use handle::Channel;
#[cfg(feature = "server")]
pub use keeping::ToKeep;
pub use snapshot::KeptChannel;

use alloc::{boxed::Box, vec::Vec};

use crate::{
    budget::{Account, Claims},
    channel::{ChannelState, Fin},
    error::PeerMisbehaved,
    handshake::{
        auth::{Resume, Wanted},
        hello::Limits,
    },
    ids::{Birth, ChannelId, SessionId},
    limits::{CHANNEL_COST, FORGERIES_MAX, RESEND_LEN_MAX, RESEND_LEN_SERVER},
    time::Instant,
};
use away::AwayState;
use by_id::{ById, Ids};
#[cfg(feature = "server")]
use company::Company;
use datagrams::{ChannelDatagrams, Outgoing};
use farewells::Farewells;
use flight::Flight;
#[cfg(feature = "server")]
use passed_over::PassedOver;
use resend::Resend;
use standing::StandingState;
use turns::Turns;

/// Which end of the line this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The page or native client.
    Client,
    /// The server.
    Server,
}

impl Role {
    /// Asked by this, so that what only clients build holds nothing of the server's side.
    pub(crate) const fn is_server(self) -> bool {
        cfg!(feature = "server") && matches!(self, Self::Server)
    }

    const fn bit(self) -> u32 {
        self.is_server() as u32
    }

    const fn resend_len(self) -> usize {
        if self.is_server() { RESEND_LEN_SERVER } else { RESEND_LEN_MAX }
    }
}

/// What is to be acknowledged, and when.
#[derive(Debug, Default)]
struct AckState {
    /// The count that the peer was last told.
    told: u64,
    /// Datagrams of this connection that the peer was last told of.
    told_datagrams: u32,
    /// Bytes that came since.
    len: usize,
    at: Option<Instant>,
    due: bool,
}

/// What survives a connection. It is moved from one to the next, and so is never in two at a time.
#[derive(Debug)]
pub struct Session {
    role: Role,
    /// As the server names it; none before the first AUTH_OK.
    id: Option<SessionId>,
    /// As its first AUTH named it. None in a session that took another's place.
    birth: Option<Birth>,
    ours: Limits,
    peers: Limits,
    /// Boxed: the row moves when a channel goes.
    channels: ById<Box<ChannelState>>,
    /// Only of the channels that have seen datagrams.
    channel_datagrams: ById<Box<ChannelDatagrams>>,
    /// The id of the next channel opened here, the least that may be announced next, and the least that the peer may open
    /// next.
    next_id: u32,
    #[cfg(feature = "server")]
    next_announced: u32,
    peers_next_id: u32,
    #[cfg(feature = "server")]
    passed_over: PassedOver,
    /// Channels opened here and announced, and opened there, that are not over.
    live_here: u16,
    live_there: u16,
    /// Channels of the peer's that are here, live or not: its application or ours has not let go.
    held_there: u16,
    /// Opened here, not announced yet: the peer's limit is reached, or no record was filled since. In the order of opening.
    unannounced: Ids,
    /// Channels that have something to seal, in turn.
    turns: Turns,
    farewells: Farewells,
    /// Channels with a CREDIT or TAKEN due.
    due: Ids,
    assembling: u8,
    /// Bytes queued on all channels, and whether one was told to wait for them.
    queued_len: usize,
    crowded: bool,
    /// Bytes that have come on all channels and were not read, and those of datagrams.
    unread_len: usize,
    datagrams_len: usize,
    /// For the driver.
    changed: Ids,
    opened: Ids,
    /// Counted frames received.
    received: u64,
    /// Datagrams that have come, and what was known of all that when it was asked last.
    #[cfg(feature = "server")]
    datagrams_came: u32,
    #[cfg(feature = "server")]
    asked: [u32; 3],
    ack: AckState,
    #[cfg(feature = "server")]
    company: Company,
    resend: Resend,
    resend_len_max: usize,
    outgoing: Outgoing,
    flight: Flight,
    claims: Claims,
    /// Boxed: most sessions show no evidence, and are told nothing of their standing.
    standing: Option<Box<StandingState>>,
    /// The other end of this connection knows of evidence and standing.
    peer_knows_standing: bool,
    away: AwayState,
    /// The server stops: nothing new begins here any more, and whether it was told so.
    holds: bool,
    drain_due: Option<u32>,
    /// The client has said that nothing new begins there.
    peer_holds: bool,
    /// Which of the line's connections carries it, counted from 1, as the client counts them.
    attempt: u32,
    /// Records in a row that did not authenticate.
    forgeries: u8,
    /// Nothing is sealed or received any more.
    over: bool,
    /// Server: it is kept on disk.
    #[cfg(feature = "server")]
    keeping: Option<Box<keeping::Keeping>>,
}

impl Session {
    /// A session without a connection.
    #[must_use]
    pub fn new(role: Role, account: impl Into<Option<Account>>) -> Self {
        Self {
            role,
            id: None,
            birth: None,
            ours: Limits::default(),
            peers: Limits::default(),
            channels: ById::new(),
            channel_datagrams: ById::new(),
            next_id: role.bit(),
            #[cfg(feature = "server")]
            next_announced: role.bit(),
            peers_next_id: 1 - role.bit(),
            #[cfg(feature = "server")]
            passed_over: PassedOver::new(),
            live_here: 0,
            live_there: 0,
            held_there: 0,
            unannounced: Ids::new(),
            turns: Turns::default(),
            farewells: Farewells::default(),
            due: Ids::new(),
            assembling: 0,
            queued_len: 0,
            crowded: false,
            unread_len: 0,
            datagrams_len: 0,
            changed: Ids::new(),
            opened: Ids::new(),
            received: 0,
            #[cfg(feature = "server")]
            datagrams_came: 0,
            #[cfg(feature = "server")]
            asked: [0; 3],
            ack: AckState::default(),
            #[cfg(feature = "server")]
            company: Company::NEW,
            resend: Resend::default(),
            resend_len_max: role.resend_len(),
            outgoing: Outgoing::default(),
            flight: Flight::default(),
            claims: Claims::new(account.into()),
            standing: None,
            peer_knows_standing: false,
            away: AwayState::default(),
            holds: false,
            drain_due: None,
            peer_holds: false,
            attempt: 0,
            forgeries: 0,
            over: false,
            #[cfg(feature = "server")]
            keeping: None,
        }
    }

    /// True if a channel of this id is here: open, or over and not let go.
    #[must_use]
    pub fn has_channel(&self, id: ChannelId) -> bool {
        self.channels.get(id).is_some()
    }

    /// As the server names it; none before the first AUTH_OK.
    #[must_use]
    pub const fn id(&self) -> Option<SessionId> {
        self.id
    }

    pub(crate) const fn round_trip(&self) -> Option<core::time::Duration> {
        self.flight.round_trip()
    }

    /// True once it has ended: everything pending has settled.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.over
    }

    /// Bytes that are held for either end: queued, unacknowledged, unread; and what channels take beside them.
    #[must_use]
    pub fn held_len(&self) -> usize {
        let (sent, datagrams) = (self.queued_len + self.resend.len(), self.outgoing.len() + self.datagrams_len);
        #[cfg(feature = "server")]
        let datagrams = datagrams + self.notes_len();
        sent + datagrams + self.unread_len + self.channels.len() * CHANNEL_COST
    }

    /// True if nothing is on its way or waits at this end: what was sealed was taken, what came was read, and no caller who
    /// has finished waits for an answer. What a client may still send is another question ([`Self::peer_holds`]).
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.resend.is_empty()
            && self.farewells.is_empty()
            && self.opened.is_empty()
            && self.channels.values().filter(|channel| channel.reset.is_none()).all(|channel| {
                let awaits_answer = channel.recv.fin && channel.send.fin == Fin::Open;
                let fully_taken = channel.send.taken == channel.send.sealed && !channel.send.has_begun();
                fully_taken && channel.recv.is_drained() && !channel.recv.is_within_message() && !awaits_answer
            })
    }

    /// True once the client has said that nothing new begins there, because this server stops.
    #[must_use]
    pub const fn peer_holds(&self) -> bool {
        self.peer_holds
    }

    /// Begins nothing new any more: what has begun to leave still leaves, the rest will be `not sent`.
    pub fn hold(&mut self) {
        self.holds = true;
    }

    /// How much has come since this was asked last: counted frames, channels and datagrams.
    #[cfg(feature = "server")]
    pub(crate) fn came_since(&mut self) -> [u32; 3] {
        let low = |count: u64| u32::try_from(count & u64::from(u32::MAX)).unwrap_or_default();
        let now = [low(self.received), self.peers_next_id / 2, self.datagrams_came];
        let before = core::mem::replace(&mut self.asked, now);
        let [frames, channels, datagrams] = now;
        let [frames_before, channels_before, datagrams_before] = before;
        [
            frames.wrapping_sub(frames_before),
            channels.wrapping_sub(channels_before),
            datagrams.wrapping_sub(datagrams_before),
        ]
    }

    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    /// What AUTH says of this session. The first AUTH of all gives it its birth.
    pub(crate) fn wanted(&mut self, birth: Birth) -> Wanted {
        match self.id {
            Some(session_id) => Wanted::Resume(Resume {
                session_id,
                received: self.received.saturating_sub(u64::from(mutated!(AuthCountsOneTooFew))),
                sent: Some(self.resend.counted()),
            }),
            None => Wanted::Born(*self.birth.get_or_insert(birth)),
        }
    }

    /// As its first AUTH named it.
    #[must_use]
    pub const fn birth(&self) -> Option<Birth> {
        self.birth
    }

    /// Server: as AUTH names it.
    pub(crate) const fn set_birth(&mut self, birth: Birth) {
        self.birth = Some(birth);
    }

    /// True if a counted frame was ever sealed and is not acknowledged.
    pub(crate) fn has_sealed(&self) -> bool {
        !self.resend.is_empty()
    }

    /// Until the hellos have crossed, nothing is sealed; what was queued meanwhile starts with the peer's real window.
    pub(crate) fn set_peers_limits(&mut self, peers: Limits) {
        if self.id.is_some() {
            return;
        }
        self.peers = peers;
        for channel in self.channels.values_mut() {
            channel.send.limit = u64::from(peers.window);
        }
    }

    pub(crate) const fn begin(&mut self, id: SessionId) {
        self.id = Some(id);
    }

    pub(crate) const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Server: as AUTH says.
    pub(crate) fn set_attempt(&mut self, attempt: u32) {
        self.attempt = attempt;
        #[cfg(feature = "server")]
        self.changes_now();
    }

    /// It moves into a connection, whose first word states the count received.
    pub(crate) fn connected(&mut self) {
        if !self.role.is_server() {
            self.attempt = self.attempt.saturating_add(1);
        }
        self.ack = AckState { told: self.received, ..AckState::default() };
        self.flight = self.flight.on_another_connection();
        self.holds = false;
        self.drain_due = None;
        self.peer_holds = false;
        self.say_away_again();
        #[cfg(feature = "server")]
        self.need_not_tell();
        let ids: Vec<_> = self.channels.ids().collect();
        ids.into_iter().for_each(|id| self.take_turn(id));
    }

    /// The server has let the device in.
    pub(crate) const fn open_for_datagrams(&mut self) {
        self.flight.open = true;
    }

    /// The peer has received so many counted frames of this session. The rest is sent again, then credit and counts are
    /// stated again.
    pub(crate) fn resume(&mut self, received: u64) -> Result<(), PeerMisbehaved> {
        self.resend.resume(received)?;
        for (id, channel) in self.channels.iter_mut() {
            let states = channel.announced && channel.reset.is_none();
            channel.recv.restate = states && !(mutated!(TakenNotRestated) && channel.recv.fin);
            if channel.recv.must_restate() {
                self.due.insert(id);
            }
        }
        Ok(())
    }

    /// Server: see [`crate::Line::can_resume`].
    pub(crate) fn can_resume(&self, resume: &Resume) -> bool {
        let is_of_before =
            resume.received < self.resend.acked() || resume.sent.is_some_and(|sent| sent < self.received);
        !is_of_before && !self.resend.is_behind_of(resume.received)
    }

    /// A record has authenticated.
    pub(crate) const fn authenticated(&mut self) {
        self.forgeries = 0;
    }

    /// One has not. True if that is one too many for the session.
    pub(crate) const fn forged(&mut self) -> bool {
        self.forgeries = self.forgeries.saturating_add(1);
        self.forgeries >= FORGERIES_MAX
    }

    // For the driver.

    pub(crate) fn poll_changed(&mut self) -> Option<ChannelId> {
        self.changed.pop_first()
    }

    pub(crate) fn poll_opened(&mut self) -> Option<ChannelId> {
        #[cfg(feature = "server")]
        if self.opened.iter().next().is_some_and(|id| !self.may_tell_of(id)) {
            return None;
        }
        self.opened.pop_first()
    }

    pub(crate) const fn poll_timeout(&self) -> Option<Instant> {
        if self.ack.due { None } else { self.ack.at }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.ack.due |= self.ack.at.is_some_and(|at| at <= now);
    }

    /// The session has ended. Everything pending settles; what has arrived can still be read.
    pub fn end(&mut self) {
        self.over = true;
        #[cfg(feature = "server")]
        self.changes_now();
        self.channels.ids().for_each(|id| self.changed.insert(id));
        for channel in self.channels.values_mut() {
            channel.send.clear();
            #[cfg(feature = "server")]
            channel.recv.let_go();
        }
        self.queued_len = 0;
        self.turns = Turns::default();
        self.due.clear();
        self.farewells = Farewells::default();
        self.unannounced.clear();
        self.resend = Resend::default();
        self.resend_len_max = self.role.resend_len();
        self.outgoing = Outgoing::default();
        self.ack = AckState::default();
        self.standing = None;
        self.peer_knows_standing = false;
        // Its application may keep it for long, to read what has arrived.
        self.claims.give_back(usize::MAX);
    }
}
