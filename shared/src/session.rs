//! A session: the channels of one line, and the frames that go to and fro between them and the records.
//!
//! ```text
//! commands ─► ChannelState ─► turns ─► fill(): CREDIT, TAKEN, RESET, OPEN, then DATA in turns ─► record
//! record ─► handle_frame() ─► ChannelState ─► changed, opened ─► the driver looks again
//! ```
//!
//! A session never looks at keys, time or sockets. Frames are counted when they are filled into a record and when they
//! arrive, so that both ends have the same count without numbers on the wire.

use alloc::{
    borrow::ToOwned,
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

use crate::{
    channel::{ChannelState, Delivery, Fin, Received},
    close::ResetCode,
    error::{ChannelError, PeerMisbehaved},
    frame::{DATA_HEADER_LEN, Frame},
    handshake::hello::Limits,
    ids::ChannelId,
    limits::{ASSEMBLING_CHANNELS_MAX, LABEL_LEN_MAX, SEND_QUEUE_LEN_MAX, SESSION_QUEUE_LEN_MAX, TURN_LEN_MAX},
};

/// Which end of the line this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The page or native client.
    Client,
    /// The server.
    Server,
}

impl Role {
    const fn bit(self) -> u32 {
        match self {
            Self::Client => 0,
            Self::Server => 1,
        }
    }
}

/// The part of a record that may stay empty rather than take a sliver of a message.
const SLIVER: usize = 64;

/// A last frame of a channel whose state may already be gone.
#[derive(Clone, Copy, Debug)]
enum Farewell {
    Reset(ResetCode),
    Taken(u64),
}

#[derive(Debug)]
pub(crate) struct Session {
    role: Role,
    ours: Limits,
    peers: Limits,
    channels: BTreeMap<ChannelId, ChannelState>,
    /// The id of the next channel opened here, and the least that the peer may open next.
    next_id: u32,
    peers_next_id: u32,
    /// Channels opened here and announced, and opened there, that are not over.
    live_here: usize,
    live_there: usize,
    /// Opened here, not announced yet: the peer's limit is reached, or no record was filled since.
    unannounced: VecDeque<ChannelId>,
    /// Channels that have something to seal, in turn.
    turns: VecDeque<ChannelId>,
    farewells: VecDeque<(ChannelId, Farewell)>,
    /// Channels with a CREDIT or TAKEN due.
    due: BTreeSet<ChannelId>,
    assembling: usize,
    /// Bytes queued on all channels, and whether one was told to wait for them.
    queued_len: usize,
    crowded: bool,
    /// For the driver.
    changed: BTreeSet<ChannelId>,
    opened: VecDeque<ChannelId>,
    /// Counted frames received.
    received: u64,
    /// The connection has ended: nothing is sealed or received any more.
    over: bool,
}

impl Session {
    pub(crate) fn new(role: Role) -> Self {
        Self {
            role,
            ours: Limits::default(),
            peers: Limits::default(),
            channels: BTreeMap::new(),
            next_id: role.bit(),
            peers_next_id: 1 - role.bit(),
            live_here: 0,
            live_there: 0,
            unannounced: VecDeque::new(),
            turns: VecDeque::new(),
            farewells: VecDeque::new(),
            due: BTreeSet::new(),
            assembling: 0,
            queued_len: 0,
            crowded: false,
            changed: BTreeSet::new(),
            opened: VecDeque::new(),
            received: 0,
            over: false,
        }
    }

    /// Until the hellos have crossed, nothing is sealed; what was queued meanwhile starts with the peer's real window.
    pub(crate) fn set_peers_limits(&mut self, peers: Limits) {
        self.peers = peers;
        for channel in self.channels.values_mut() {
            channel.send.limit = u64::from(peers.window);
        }
    }

    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    // Commands.

    pub(crate) fn open_channel(&mut self, label: &str) -> Result<ChannelId, ChannelError> {
        if label.is_empty() || label.len() > LABEL_LEN_MAX {
            return Err(ChannelError::BadLabel);
        }
        if self.over {
            return Err(ChannelError::Closed);
        }
        let id = ChannelId(self.next_id);
        // 2^31 channels in one session: the ids are used up, and the session with them.
        self.next_id = self.next_id.checked_add(2).ok_or(ChannelError::Closed)?;
        self.channels.insert(id, ChannelState::new(label.to_owned(), u64::from(self.peers.window), false));
        self.unannounced.push_back(id);
        Ok(id)
    }

    pub(crate) fn label(&self, id: ChannelId) -> Option<&str> {
        self.channels.get(&id).map(|channel| channel.label.as_str())
    }

    pub(crate) fn send(&mut self, id: ChannelId, message: Vec<u8>) -> Result<u64, (ChannelError, Vec<u8>)> {
        let max = self.peers.message_len as usize;
        let over = self.over;
        let Some(channel) = self.channels.get_mut(&id).filter(|_| !over) else {
            return Err((ChannelError::Closed, message));
        };
        if let Some(code) = channel.reset {
            return Err((ChannelError::Reset(code), message));
        }
        if channel.send.fin != Fin::Open {
            return Err((ChannelError::Finished, message));
        }
        if message.len() > max {
            return Err((ChannelError::MessageTooLong { len: message.len(), max }, message));
        }
        let queued = channel.send.queued_len();
        if queued > 0 && queued + message.len() > SEND_QUEUE_LEN_MAX {
            return Err((ChannelError::Blocked, message));
        }
        if self.queued_len > 0 && self.queued_len + message.len() > SESSION_QUEUE_LEN_MAX {
            self.crowded = true;
            return Err((ChannelError::Blocked, message));
        }
        self.queued_len += message.len();
        let ordinal = channel.send.push(message);
        self.take_turn(id);
        Ok(ordinal)
    }

    pub(crate) fn finish(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(&id)
            && channel.send.fin == Fin::Open
        {
            channel.send.fin = Fin::Wanted;
            self.take_turn(id);
        }
    }

    pub(crate) fn reset(&mut self, id: ChannelId, code: ResetCode) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if channel.is_over() {
            return;
        }
        channel.recv.clear();
        if channel.announced {
            self.farewells.push_back((id, Farewell::Reset(code)));
        }
        self.end(id, code);
    }

    /// The application drops its handle: what it has not finished is cancelled, what it has not read is refused.
    pub(crate) fn release(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if channel.send.fin == Fin::Open {
            self.reset(id, ResetCode::Cancelled);
        }
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.released = true;
        self.settle_released(id);
    }

    pub(crate) fn recv(&mut self, id: ChannelId) -> Result<Received, ChannelError> {
        let Some(channel) = self.channels.get_mut(&id) else { return Err(ChannelError::Closed) };
        if let Some(message) = channel.recv.pop() {
            self.due.insert(id);
            if channel.recv.assembling && channel.recv.is_drained() {
                self.free_slot(id);
            }
            // The next message may have begun, and have waited for this one to be taken.
            self.ask_for_slot(id);
            return Ok(Received::Message(message));
        }
        match channel.reset {
            _ if channel.recv.fin => Ok(Received::End),
            Some(code) => Err(ChannelError::Reset(code)),
            None if self.over => Err(ChannelError::Closed),
            None => Ok(Received::Pending),
        }
    }

    /// Why the channel will never finish in its own time; none while it may.
    pub(crate) fn broken(&self, id: ChannelId) -> Option<ChannelError> {
        match self.channels.get(&id) {
            Some(channel) => channel.reset.map(ChannelError::Reset).or(self.over.then_some(ChannelError::Closed)),
            None => Some(ChannelError::Closed),
        }
    }

    pub(crate) fn delivery(&self, id: ChannelId, ordinal: u64) -> Delivery {
        match self.channels.get(&id) {
            Some(channel) => channel.send.delivery(ordinal, self.over || channel.reset.is_some()),
            None => Delivery::Unknown,
        }
    }

    pub(crate) fn poll_changed(&mut self) -> Option<ChannelId> {
        self.changed.pop_first()
    }

    pub(crate) fn poll_opened(&mut self) -> Option<ChannelId> {
        self.opened.pop_front()
    }

    /// The connection has ended. Everything pending settles.
    pub(crate) fn end_all(&mut self) {
        self.over = true;
        self.changed.extend(self.channels.keys());
        self.turns.clear();
        self.due.clear();
        self.farewells.clear();
        self.unannounced.clear();
    }

    // Frames in.

    pub(crate) fn handle_frame(&mut self, frame: &Frame<'_>) -> Result<(), PeerMisbehaved> {
        match *frame {
            Frame::Open { channel, label } => self.handle_open(channel, label)?,
            Frame::Data { channel, more, data } => self.handle_data(channel, more, data)?,
            Frame::Fin { channel } => {
                if let Some(state) = self.known(channel)? {
                    if state.recv.fin {
                        return Err(PeerMisbehaved::DataAfterFin);
                    }
                    if state.recv.is_within_message() {
                        return Err(PeerMisbehaved::FinWithinMessage);
                    }
                    state.recv.fin = true;
                    let over = state.is_over();
                    self.changed.insert(channel);
                    if over {
                        self.count_over(channel);
                    }
                }
            }
            Frame::Reset { channel, code } => {
                if let Some(state) = self.known(channel)? {
                    state.recv.clear_partial();
                    self.end(channel, code);
                }
            }
            Frame::Credit { channel, limit } => {
                if let Some(state) = self.known(channel)? {
                    if limit < state.send.limit {
                        return Err(PeerMisbehaved::CountOutOfRange);
                    }
                    state.send.limit = limit;
                    self.take_turn(channel);
                }
            }
            Frame::Taken { channel, count } => {
                if let Some(state) = self.known(channel)? {
                    if count < state.send.taken || count > state.send.sealed {
                        return Err(PeerMisbehaved::CountOutOfRange);
                    }
                    state.send.taken = count;
                    self.changed.insert(channel);
                }
            }
            // The connection reads these itself.
            Frame::Close(_) | Frame::Ping { .. } | Frame::Pong { .. } => return Err(PeerMisbehaved::Unexpected),
        }
        if frame.is_counted() {
            self.received += 1;
        }
        Ok(())
    }

    fn handle_open(&mut self, id: ChannelId, label: &str) -> Result<(), PeerMisbehaved> {
        if id.0 < self.peers_next_id || id.0 & 1 != self.peers_next_id & 1 || label.is_empty() {
            return Err(PeerMisbehaved::ChannelIdOutOfOrder);
        }
        if self.live_there >= usize::from(self.ours.channels) {
            return Err(PeerMisbehaved::TooManyChannels);
        }
        self.peers_next_id = id.0.checked_add(2).ok_or(PeerMisbehaved::ChannelIdOutOfOrder)?;
        self.live_there += 1;
        self.channels.insert(id, ChannelState::new(label.to_owned(), u64::from(self.peers.window), true));
        self.opened.push_back(id);
        Ok(())
    }

    fn handle_data(&mut self, id: ChannelId, more: bool, data: &[u8]) -> Result<(), PeerMisbehaved> {
        let message_len_max = self.ours.message_len;
        let Some(channel) = self.known(id)? else { return Ok(()) };
        channel.recv.check(data.len(), message_len_max)?;
        if channel.released {
            return Ok(());
        }
        if channel.recv.push(data, more) {
            self.changed.insert(id);
        }
        self.ask_for_slot(id);
        self.due.insert(id);
        Ok(())
    }

    /// The channel that a frame names; none if it is over or gone, and an error if it never was.
    fn known(&mut self, id: ChannelId) -> Result<Option<&mut ChannelState>, PeerMisbehaved> {
        let ours = id.0 & 1 == self.role.bit();
        let unborn = if ours { id.0 >= self.next_id } else { id.0 >= self.peers_next_id };
        match self.channels.get_mut(&id) {
            _ if unborn => Err(PeerMisbehaved::ChannelNeverOpened),
            Some(channel) if !channel.announced => Err(PeerMisbehaved::ChannelNeverOpened),
            Some(channel) if channel.reset.is_none() => Ok(Some(channel)),
            _ => Ok(None),
        }
    }

    // Frames out.

    /// True if a record could be filled now.
    pub(crate) fn has_frames(&self) -> bool {
        !self.over
            && (!self.farewells.is_empty()
                || self.can_announce()
                || self.due.iter().any(|id| self.channels.get(id).is_some_and(is_due))
                || self.turns.iter().any(|id| self.channels.get(id).is_some_and(ChannelState::can_seal)))
    }

    /// Appends frames to `out` until `max` bytes are reached or nothing is left.
    pub(crate) fn fill(&mut self, out: &mut Vec<u8>, max: usize) {
        const CONTROL_LEN_MAX: usize = 32 + LABEL_LEN_MAX;
        if self.over {
            return;
        }
        let has_room = |out: &Vec<u8>, len: usize| out.len() + len <= max;
        while has_room(out, 2 * CONTROL_LEN_MAX)
            && let Some(id) = self.due.pop_first()
        {
            let Some(channel) = self.channels.get_mut(&id).filter(|channel| channel.reset.is_none()) else { continue };
            if let Some(limit) = channel.recv.credit_due() {
                channel.recv.granted = limit;
                Frame::Credit { channel: id, limit }.encode(out);
            }
            if core::mem::take(&mut channel.recv.taken_due) {
                Frame::Taken { channel: id, count: channel.recv.taken }.encode(out);
            }
        }
        while has_room(out, CONTROL_LEN_MAX)
            && let Some((channel, farewell)) = self.farewells.pop_front()
        {
            match farewell {
                Farewell::Reset(code) => Frame::Reset { channel, code }.encode(out),
                Farewell::Taken(count) => Frame::Taken { channel, count }.encode(out),
            }
        }
        while has_room(out, CONTROL_LEN_MAX) && self.can_announce() {
            let Some(id) = self.unannounced.pop_front() else { break };
            let Some(channel) = self.channels.get_mut(&id).filter(|channel| channel.reset.is_none()) else { continue };
            channel.announced = true;
            self.live_here += 1;
            Frame::Open { channel: id, label: &channel.label }.encode(out);
            self.take_turn(id);
        }
        self.fill_turns(out, max);
        self.make_room();
    }

    /// Each channel puts a turn's worth into the record, then goes to the end of the line.
    fn fill_turns(&mut self, out: &mut Vec<u8>, max: usize) {
        while let Some(id) = self.turns.pop_front() {
            let Some(channel) = self.channels.get_mut(&id).filter(|channel| channel.can_seal()) else { continue };
            let mut turn = TURN_LEN_MAX;
            loop {
                let room = max.saturating_sub(out.len() + DATA_HEADER_LEN).min(turn);
                let Some((data, more)) = channel.send.next_fragment(room).filter(|_| room > 0) else { break };
                // A sliver at a record's end is not worth a frame: up to 1/64 of the record stays empty instead.
                if more && data.len() == room && room < turn && room < max / SLIVER {
                    break;
                }
                Frame::Data { channel: id, more, data }.encode(out);
                let len = data.len();
                channel.send.commit_fragment(len, more);
                self.queued_len -= len;
                turn -= len;
                if turn == 0 {
                    break;
                }
            }
            if channel.send.fin_is_due() && out.len() + 2 * DATA_HEADER_LEN <= max {
                Frame::Fin { channel: id }.encode(out);
                channel.send.fin = Fin::Sealed;
                self.changed.insert(id);
                if self.channels.get(&id).is_some_and(ChannelState::is_over) {
                    self.count_over(id);
                }
                self.settle_released(id);
                continue;
            }
            // `send` may have room again.
            self.changed.insert(id);
            if channel.can_seal() {
                self.turns.push_back(id);
                if max.saturating_sub(out.len()) < max / SLIVER + DATA_HEADER_LEN {
                    return;
                }
            }
        }
    }

    fn can_announce(&self) -> bool {
        !self.unannounced.is_empty() && self.live_here < usize::from(self.peers.channels)
    }

    fn take_turn(&mut self, id: ChannelId) {
        if self.channels.get(&id).is_some_and(ChannelState::can_seal) && !self.turns.contains(&id) {
            self.turns.push_back(id);
        }
    }

    // Ends.

    /// Marks a channel as reset, by whichever end.
    fn end(&mut self, id: ChannelId, code: ResetCode) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let was_over = channel.is_over();
        channel.reset = Some(code);
        self.queued_len -= channel.send.clear();
        let (announced, assembling) = (channel.announced, channel.recv.assembling);
        self.changed.insert(id);
        if assembling {
            self.free_slot(id);
        }
        if announced && !was_over {
            self.count_over(id);
        }
        self.settle_released(id);
        self.make_room();
    }

    /// Those whom the session's bound made wait look again.
    fn make_room(&mut self) {
        if self.crowded && self.queued_len < SESSION_QUEUE_LEN_MAX {
            self.crowded = false;
            self.changed.extend(self.channels.keys());
        }
    }

    /// The channel no longer counts among the live ones.
    fn count_over(&mut self, id: ChannelId) {
        let live = if id.0 & 1 == self.role.bit() { &mut self.live_here } else { &mut self.live_there };
        *live = live.saturating_sub(1);
    }

    /// A channel that its application has left goes as soon as nothing more is to be said on it.
    fn settle_released(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id).filter(|channel| channel.released) else { return };
        if channel.reset.is_none() {
            if channel.send.fin != Fin::Sealed {
                // Its queue is still to be sent.
                return;
            }
            if !channel.recv.fin || !channel.recv.is_drained() {
                self.farewells.push_back((id, Farewell::Reset(ResetCode::Stopped)));
                self.end(id, ResetCode::Stopped);
                return;
            }
            if channel.recv.taken_due {
                self.farewells.push_back((id, Farewell::Taken(channel.recv.taken)));
            }
        }
        let assembling = channel.recv.assembling;
        if assembling {
            self.free_slot(id);
        }
        self.channels.remove(&id);
        self.due.remove(&id);
        self.changed.remove(&id);
    }

    /// Gives the channel an assembly slot if it wants one and one is free.
    fn ask_for_slot(&mut self, id: ChannelId) {
        if self.assembling < ASSEMBLING_CHANNELS_MAX
            && let Some(channel) = self.channels.get_mut(&id)
            && channel.recv.wants_slot()
        {
            channel.recv.assembling = true;
            self.assembling += 1;
            self.due.insert(id);
        }
    }

    /// Takes a slot back and gives it to the next channel that waits for one.
    fn free_slot(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.recv.assembling = false;
            self.assembling -= 1;
        }
        let next = self.channels.iter().find(|(other, channel)| **other != id && channel.recv.wants_slot());
        if let Some(next) = next.map(|(next, _)| *next) {
            self.ask_for_slot(next);
        }
    }
}

fn is_due(channel: &ChannelState) -> bool {
    channel.reset.is_none() && (channel.recv.taken_due || channel.recv.credit_due().is_some())
}
