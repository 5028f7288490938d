//! What an application asks of a session: open a channel, send on it, read from it, end it. Each is a method of
//! [`Channel`](super::Channel), which borrows the session for it.

use alloc::{borrow::ToOwned, boxed::Box, vec::Vec};

use super::{Channel, DatagramStats, Session, datagrams::Waiting};
use crate::{
    channel::{ChannelState, Delivery, Fin, Kind, Received},
    close::ResetCode,
    error::ChannelError,
    ids::ChannelId,
    limits::{DATAGRAM_LEN_MAX, LABEL_LEN_MAX, QUEUED_MESSAGE_COST, SEND_QUEUE_LEN_MAX, SESSION_QUEUE_LEN_MAX},
    time::Instant,
};

impl Session {
    /// Opens a channel of that kind. What is sent before the line is open waits in order.
    ///
    /// # Errors
    /// [`ChannelError::BadLabel`], or [`ChannelError::Closed`] after the end; of a server, `NotHere` while nobody is at the client's
    /// end.
    pub fn open(&mut self, label: &str, kind: Kind) -> Result<ChannelId, ChannelError> {
        if label.is_empty() || label.len() > LABEL_LEN_MAX {
            return Err(ChannelError::BadLabel);
        }
        if self.over {
            return Err(ChannelError::Closed);
        }
        #[cfg(feature = "server")]
        if self.role.is_server() && self.is_away() {
            return Err(ChannelError::NotHere);
        }
        let id = ChannelId(self.next_id);
        // 2^31 channels in one session: the ids are used up, and the session with them.
        self.next_id = self.next_id.checked_add(2).ok_or(ChannelError::Closed)?;
        let limit = u64::from(self.peers.window);
        self.channels.get_or_insert(id, || Box::new(ChannelState::new(label.to_owned(), kind, limit, false)));
        #[cfg(feature = "server")]
        self.keep_back(id);
        #[cfg(feature = "server")]
        self.changes_now();
        self.unannounced.insert(id);
        Ok(id)
    }

    /// A channel's commands and getters.
    pub const fn channel(&mut self, id: ChannelId) -> Channel<'_> {
        Channel { session: self, id }
    }

    pub(super) fn label(&self, id: ChannelId) -> Option<&str> {
        self.channels.get(id).map(|channel| channel.label.as_str())
    }

    pub(super) fn is_stream(&self, id: ChannelId) -> bool {
        self.channels.get(id).is_some_and(|channel| channel.kind.stream)
    }

    /// The channel, if the application may still send on it.
    fn sendable(&mut self, id: ChannelId) -> Result<&mut ChannelState, ChannelError> {
        let over = self.over;
        let channel = self.channels.get_mut(id).filter(|_| !over).ok_or(ChannelError::Closed)?;
        if let Some(code) = channel.reset {
            return Err(ChannelError::Reset(code));
        }
        if channel.send.fin != Fin::Open {
            return Err(ChannelError::Finished);
        }
        Ok(channel)
    }

    pub(super) fn send(&mut self, id: ChannelId, message: Vec<u8>) -> Result<u64, (ChannelError, Vec<u8>)> {
        let (max, len) = (self.peers.message_len as usize, message.len());
        let (before, kind) = match self.sendable(id) {
            Ok(channel) if channel.kind.stream => return Err((ChannelError::WrongKind { stream: true }, message)),
            Ok(_) if len > max => return Err((ChannelError::MessageTooLong { len, max }, message)),
            Ok(channel) => (channel.send.queued_len(), channel.kind),
            Err(error) => return Err((error, message)),
        };
        let cost = len + QUEUED_MESSAGE_COST;
        if before > 0 && before + cost > SEND_QUEUE_LEN_MAX && kind.tail.is_none() {
            return Err((ChannelError::Blocked, message));
        }
        if self.is_crowded_by(cost) {
            return Err((ChannelError::Blocked, message));
        }
        let Some(channel) = self.channels.get_mut(id) else { return Err((ChannelError::Closed, message)) };
        let ordinal = channel.send.push(message, kind);
        self.queued_len = self.queued_len - before + channel.send.queued_len();
        if kind.tail.is_some() {
            self.changed.insert(id);
            self.make_room();
        }
        #[cfg(feature = "server")]
        self.changes_now();
        self.take_turn(id);
        Ok(ordinal)
    }

    pub(super) fn write(&mut self, id: ChannelId, bytes: &[u8]) -> Result<usize, ChannelError> {
        let kind = self.sendable(id)?.kind;
        if !kind.stream {
            return Err(ChannelError::WrongKind { stream: false });
        }
        if self.is_crowded_by(bytes.len()) {
            return Err(ChannelError::Blocked);
        }
        let send = &mut self.sendable(id)?.send;
        let before = send.queued_len();
        let written = send.write(bytes, kind);
        if written == 0 && !bytes.is_empty() {
            return Err(ChannelError::Blocked);
        }
        let after = send.queued_len();
        self.queued_len = self.queued_len - before + after;
        #[cfg(feature = "server")]
        self.changes_now();
        self.take_turn(id);
        Ok(written)
    }

    /// Throws away what waits to leave and has not begun to. Returns how many messages, or bytes of a stream, those were.
    pub(super) fn discard(&mut self, id: ChannelId) -> u64 {
        let Some(channel) = self.channels.get_mut(id).filter(|channel| channel.reset.is_none()) else { return 0 };
        let before = channel.send.queued_len();
        let count = channel.send.discard(channel.kind.stream);
        self.queued_len = self.queued_len - before + channel.send.queued_len();
        self.changed.insert(id);
        #[cfg(feature = "server")]
        self.changes_now();
        self.take_turn(id);
        self.make_room();
        count
    }

    fn is_crowded_by(&mut self, len: usize) -> bool {
        let full = self.queued_len + len > SESSION_QUEUE_LEN_MAX || self.claims.is_tight();
        let crowded = self.queued_len > 0 && full;
        self.crowded |= crowded;
        crowded
    }

    pub(super) fn finish(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(id)
            && channel.send.fin == Fin::Open
        {
            channel.send.fin = Fin::Wanted;
            #[cfg(feature = "server")]
            self.changes_now();
            self.take_turn(id);
        }
    }

    pub(super) fn reset(&mut self, id: ChannelId, code: ResetCode) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        if self.over || channel.is_over() {
            return;
        }
        self.unread_len -= channel.recv.memory_len();
        channel.recv.clear();
        #[cfg(feature = "server")]
        self.changes_now();
        let Some(channel) = self.channels.get_mut(id) else { return };
        let announced = channel.announced;
        self.skip(id);
        if announced {
            self.say_reset(id, code);
        } else {
            self.end_channel(id, code);
        }
    }

    /// The application drops its handle: what it has not finished is cancelled, what it has not read is refused.
    pub(super) fn release(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        if channel.send.fin == Fin::Open {
            self.reset(id, ResetCode::Cancelled);
        }
        #[cfg(feature = "server")]
        self.changes_now();
        let Some(channel) = self.channels.get_mut(id) else { return };
        channel.released = true;
        if !channel.recv.fin || !channel.recv.is_drained() {
            // What comes until the peer hears of it is dropped: the peer must hear that, even if it finishes meanwhile.
            self.unread_len -= channel.recv.memory_len();
            channel.recv.refuse();
            if channel.recv.assembling {
                self.free_slot(id);
            }
            self.due.insert(id);
        }
        self.settle_released(id);
    }

    pub(super) fn read(&mut self, id: ChannelId, buf: &mut [u8]) -> Result<Option<usize>, ChannelError> {
        let channel = self.channels.get_mut(id).ok_or(ChannelError::Closed)?;
        if !channel.kind.stream {
            return Err(ChannelError::WrongKind { stream: false });
        }
        let before = channel.recv.memory_len();
        let len = channel.recv.read_to(buf);
        self.unread_len -= before - channel.recv.memory_len();
        if channel.recv.taken_due {
            self.taken_from(id);
        }
        if len > 0 || buf.is_empty() {
            return Ok(Some(len));
        }
        Ok(matches!(self.nothing_to_read(id)?, Received::End).then_some(0))
    }

    pub(super) fn recv(&mut self, id: ChannelId) -> Result<Received, ChannelError> {
        let Some(channel) = self.channels.get_mut(id) else { return Err(ChannelError::Closed) };
        let before = channel.recv.memory_len();
        let received = if channel.kind.stream { channel.recv.read() } else { channel.recv.pop() };
        self.unread_len -= before - channel.recv.memory_len();
        match received {
            Some(message) => {
                self.taken_from(id);
                Ok(Received::Message(message))
            }
            None => {
                if channel.recv.taken_due {
                    self.taken_from(id);
                }
                self.nothing_to_read(id)
            }
        }
    }

    /// Messages, or bytes of a stream, that the peer has left out before what was read last.
    pub(super) fn missed(&self, id: ChannelId) -> u64 {
        self.channels.get(id).map_or(0, |channel| channel.recv.missed)
    }

    pub(super) fn is_behind_gap(&self, id: ChannelId) -> bool {
        self.channels.get(id).is_some_and(|channel| channel.recv.is_behind_gap())
    }

    pub(super) fn recv_ahead(&mut self, id: ChannelId) -> Result<Received, ChannelError> {
        let received = self.channels.get_mut(id).and_then(|channel| {
            let before = channel.recv.memory_len();
            let received = channel.recv.hand_over(channel.kind.stream);
            self.unread_len -= before - channel.recv.memory_len();
            received
        });
        if self.channels.get(id).is_some_and(|channel| channel.recv.taken_due) {
            self.taken_from(id);
        }
        received.map_or_else(|| self.nothing_to_read(id), |message| Ok(Received::Message(message)))
    }

    pub(super) fn hand_back(&mut self, id: ChannelId, message: Vec<u8>) -> bool {
        let Some(channel) = self.channels.get_mut(id) else { return false };
        let before = channel.recv.memory_len();
        let is_back = channel.recv.hand_back(message, channel.kind.stream);
        self.unread_len = self.unread_len - before + channel.recv.memory_len();
        is_back
    }

    pub(super) fn take(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        let before = channel.recv.memory_len();
        if channel.recv.take() {
            self.unread_len -= before - channel.recv.memory_len();
            self.taken_from(id);
        }
    }

    /// The application has taken something: TAKEN is due, and perhaps CREDIT.
    fn taken_from(&mut self, id: ChannelId) {
        self.due.insert(id);
        #[cfg(feature = "server")]
        {
            self.changes_now();
            self.company.hurried |= !self.taken_waits();
        }
        if self.channels.get(id).is_some_and(|channel| channel.recv.assembling && channel.recv.is_drained()) {
            self.free_slot(id);
        }
        // The next message may have begun, and have waited for this one to be taken.
        self.ask_for_slot(id);
    }

    fn nothing_to_read(&self, id: ChannelId) -> Result<Received, ChannelError> {
        let channel = self.channels.get(id).ok_or(ChannelError::Closed)?;
        match channel.reset {
            _ if channel.recv.is_at_end() => Ok(Received::End),
            Some(code) => Err(ChannelError::Reset(code)),
            None if self.over => Err(ChannelError::Closed),
            None => Ok(Received::Pending),
        }
    }

    pub(super) fn is_readable(&self, id: ChannelId) -> bool {
        let reads = |channel: &ChannelState| self.over || channel.reset.is_some() || channel.recv.is_readable();
        self.channels.get(id).is_none_or(|channel| reads(channel))
            || self.channel_datagrams.get(id).is_some_and(|datagrams| datagrams.is_readable())
    }

    /// Why the channel will never finish in its own time; none while it may.
    pub(super) fn broken(&self, id: ChannelId) -> Option<ChannelError> {
        match self.channels.get(id) {
            Some(channel) => channel.reset.map(ChannelError::Reset).or(self.over.then_some(ChannelError::Closed)),
            None => Some(ChannelError::Closed),
        }
    }

    pub(super) fn delivery(&self, id: ChannelId, ordinal: u64) -> Delivery {
        match self.channels.get(id) {
            Some(channel) => channel.send.delivery(ordinal, self.over || channel.reset.is_some()),
            None => Delivery::Unknown,
        }
    }

    pub(super) fn taken(&self, id: ChannelId) -> u64 {
        self.channels.get(id).map_or(0, |channel| channel.send.taken)
    }

    pub(super) fn read_len(&self, id: ChannelId) -> u64 {
        self.channels.get(id).map_or(0, |channel| channel.recv.taken.saturating_sub(channel.recv.missed))
    }

    pub(super) fn all_taken(&self, id: ChannelId) -> bool {
        let all =
            |channel: &ChannelState| channel.send.taken == channel.send.accepted && channel.send.fin != Fin::Wanted;
        self.channels.get(id).is_some_and(|channel| all(channel))
    }

    pub(super) fn send_datagram(
        &mut self,
        id: ChannelId,
        data: Vec<u8>,
        deadline: Instant,
        key: Option<u32>,
    ) -> Result<(), ChannelError> {
        if data.len() > DATAGRAM_LEN_MAX {
            return Err(ChannelError::DatagramTooLong { len: data.len() });
        }
        if let Err(error) = self.sendable(id)
            && error != ChannelError::Finished
        {
            return Err(error);
        }
        let stats = &mut self.channel_datagrams.get_or_insert(id, Box::default).stats;
        match self.outgoing.replace(Waiting { channel: id, data, deadline, key }) {
            Ok(()) => stats.replaced += 1,
            Err(datagram) => self.outgoing.push(datagram),
        }
        while let Some(dropped) = self.outgoing.pop_excess() {
            // Its channel may be gone.
            if let Some(datagrams) = self.channel_datagrams.get_mut(dropped.channel) {
                datagrams.stats.overflowed += 1;
            }
        }
        Ok(())
    }

    pub(super) fn recv_datagram(&mut self, id: ChannelId) -> Option<Vec<u8>> {
        let data = self.channel_datagrams.get_mut(id)?.pop()?;
        self.datagrams_len -= data.len();
        Some(data)
    }

    pub(super) fn datagram_stats(&mut self, id: ChannelId, now: Instant) -> DatagramStats {
        self.expire_datagrams(now);
        self.channel_datagrams.get(id).map(|datagrams| datagrams.stats).unwrap_or_default()
    }

    pub(super) fn expire_datagrams(&mut self, now: Instant) {
        while let Some(expired) = self.outgoing.pop_expired(now) {
            if let Some(datagrams) = self.channel_datagrams.get_mut(expired.channel) {
                datagrams.stats.expired += 1;
            }
        }
    }
}
