//! One channel: its two halves, each with its own flow control. It carries messages, or a stream of bytes.
//!
//! ```text
//! send half   queue ──(credit)──► sealed ──(TAKEN)──► taken          FIN: after the queue
//! recv half   DATA ──► partial ──(last fragment)──► ready ──► application; granted = what left + window
//! ```
//!
//! Costs: a DATA frame costs its bytes and [`DATA_FRAME_COST`], on both ends alike, so that a flood of empty messages is
//! bounded as well. A message larger than the window needs one of the session's few assembly slots, and keeps it until the
//! application has taken the message. A stream has no messages: each DATA frame is ready as it comes, and is taken by the
//! byte. Turns between channels, and all frames, are `session/`'s business; so is what was sealed and not acknowledged.

use alloc::{collections::VecDeque, string::String, vec::Vec};

use bytes::Bytes;

use crate::{
    close::ResetCode,
    error::PeerMisbehaved,
    limits::{
        CHANNEL_WINDOW, CHANNEL_WINDOW_MAX, DATA_FRAME_COST, QUEUED_MESSAGE_COST, RECORD_LEN_MAX, STREAM_QUEUE_LEN_MAX,
        TURN_LEN_MAX,
    },
};

/// What is known of a message that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// On its way, or waiting.
    Pending,
    /// The application at the other end has taken it.
    Taken,
    /// It never left.
    NotSent,
    /// It left, and the channel ended before it was known to be taken.
    Unknown,
}

/// What a channel has for its application.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// The next message, or the next bytes of a stream.
    Message(Vec<u8>),
    /// Nothing yet.
    Pending,
    /// The other end has finished, and everything was taken.
    End,
}

#[derive(Debug)]
pub(crate) struct ChannelState {
    pub(crate) label: String,
    pub(crate) stream: bool,
    /// OPEN was sealed or received.
    pub(crate) announced: bool,
    pub(crate) send: SendHalf,
    pub(crate) recv: RecvHalf,
    /// The channel ended before its time; by whichever end.
    pub(crate) reset: Option<ResetCode>,
    /// The application holds no handle any more.
    pub(crate) released: bool,
}

impl ChannelState {
    pub(crate) fn new(label: String, stream: bool, send_limit: u64, announced: bool) -> Self {
        Self {
            label,
            stream,
            announced,
            send: SendHalf { limit: send_limit, ..SendHalf::default() },
            recv: RecvHalf { granted: CHANNEL_WINDOW, window: CHANNEL_WINDOW, ..RecvHalf::default() },
            reset: None,
            released: false,
        }
    }

    /// Neither end will send on it again.
    pub(crate) const fn is_over(&self) -> bool {
        self.reset.is_some() || (matches!(self.send.fin, Fin::Sealed) && self.recv.fin)
    }

    /// Something waits to be sealed, and the credit lets it.
    pub(crate) fn can_seal(&self) -> bool {
        self.reset.is_none() && self.announced && self.send.can_seal()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fin {
    #[default]
    Open,
    Wanted,
    Sealed,
}

#[derive(Debug, Default)]
pub(crate) struct SendHalf {
    queue: VecDeque<Bytes>,
    /// Of a stream: what was written last in small pieces, to leave as one.
    tail: Vec<u8>,
    /// A part of the queue's first message was sealed.
    begun: bool,
    /// What that message takes in memory, with the part that has left.
    begun_len: usize,
    queued_len: usize,
    /// What the peer lets us spend, and what we have spent, since the channel's begin.
    pub(crate) limit: u64,
    spent: u64,
    /// Messages, or bytes of a stream: those that the application gave, that were sealed, that the peer has taken.
    pub(crate) accepted: u64,
    pub(crate) sealed: u64,
    pub(crate) taken: u64,
    pub(crate) fin: Fin,
}

impl SendHalf {
    pub(crate) const fn queued_len(&self) -> usize {
        self.queued_len
    }

    pub(crate) const fn spent(&self) -> u64 {
        self.spent
    }

    /// A message has begun to leave and has not left in full.
    pub(crate) const fn has_begun(&self) -> bool {
        self.begun
    }

    /// Anything has ever left on it.
    pub(crate) const fn has_sealed(&self) -> bool {
        self.spent > 0 || matches!(self.fin, Fin::Sealed)
    }

    /// Queues a message and returns its ordinal.
    pub(crate) fn push(&mut self, message: Vec<u8>) -> u64 {
        self.queued_len += message.len() + QUEUED_MESSAGE_COST;
        self.queue.push_back(message.into());
        self.accepted += 1;
        self.accepted
    }

    /// Queues as much of a stream's bytes as there is room for, and returns how many that was.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> usize {
        let room = STREAM_QUEUE_LEN_MAX.saturating_sub(self.queued_len);
        let bytes = bytes.get(..room).unwrap_or(bytes);
        for piece in bytes.chunks(TURN_LEN_MAX) {
            if self.tail.len() + piece.len() > TURN_LEN_MAX {
                self.queue.push_back(core::mem::take(&mut self.tail).into());
            }
            self.tail.extend_from_slice(piece);
        }
        self.queued_len += bytes.len();
        self.accepted += bytes.len() as u64;
        bytes.len()
    }

    /// Drops what was not sealed. `begun` stays: it tells that the first of them had begun to leave.
    /// Returns how many bytes those were.
    pub(crate) fn clear(&mut self) -> usize {
        self.queue = VecDeque::new();
        self.tail = Vec::new();
        core::mem::take(&mut self.queued_len)
    }

    fn can_seal(&self) -> bool {
        let next_has_bytes = match self.queue.front() {
            Some(message) => !message.is_empty(),
            None if self.tail.is_empty() => return self.fin == Fin::Wanted,
            None => true,
        };
        self.spent + DATA_FRAME_COST + u64::from(next_has_bytes) <= self.limit || mutated!(CreditNotEnforced)
    }

    /// The length of the next fragment of at most `max` bytes, as far as the credit goes; `true` beside it if more of the
    /// message follows.
    pub(crate) fn next_fragment(&mut self, max: usize) -> Option<(usize, bool)> {
        if self.queue.is_empty() && !self.tail.is_empty() {
            self.queue.push_back(core::mem::take(&mut self.tail).into());
        }
        let rest = self.queue.front()?.len();
        let limit = if mutated!(CreditNotEnforced) { u64::MAX } else { self.limit };
        let credit = limit.checked_sub(self.spent)?.checked_sub(DATA_FRAME_COST)?;
        let len = rest.min(max).min(usize::try_from(credit).unwrap_or(usize::MAX));
        if len == 0 && rest > 0 {
            return None;
        }
        Some((len, len < rest))
    }

    /// Takes the fragment of `next_fragment` out of the queue, as sealed.
    pub(crate) fn take_fragment(&mut self, len: usize, stream: bool) -> Bytes {
        self.spent += len as u64 + DATA_FRAME_COST;
        let Some(front) = self.queue.front_mut() else { return Bytes::new() };
        let more = len < front.len();
        if !self.begun {
            self.begun_len = front.len();
        }
        self.queued_len -= len + if more || stream { 0 } else { QUEUED_MESSAGE_COST };
        self.begun = more && !stream;
        self.sealed += if stream { len as u64 } else { u64::from(!more) };
        if more {
            let fragment = front.split_to(len);
            // A slice keeps all of its message. In a page that is the application's own; a server's peer must not be able to
            // keep megabytes there by leaving the last byte unacknowledged, or without credit.
            if cfg!(not(feature = "server")) {
                return fragment;
            }
            if front.len() <= self.begun_len / 2 {
                *front = Bytes::copy_from_slice(front);
                self.begun_len = front.len();
            }
            return Bytes::copy_from_slice(&fragment);
        }
        let fragment = self.queue.pop_front().unwrap_or_default();
        if self.queue.is_empty() {
            // An idle channel holds no buffer.
            self.queue = VecDeque::new();
        }
        fragment
    }

    /// True when FIN is due: it was asked for and nothing waits before it.
    pub(crate) fn fin_is_due(&self) -> bool {
        self.fin == Fin::Wanted && self.queue.is_empty() && self.tail.is_empty()
    }

    pub(crate) fn delivery(&self, ordinal: u64, over: bool) -> Delivery {
        if ordinal <= self.taken {
            Delivery::Taken
        } else if !over {
            Delivery::Pending
        } else if (ordinal <= self.sealed || (ordinal == self.sealed + 1 && self.begun)) && !mutated!(UnknownIsNotSent)
        {
            Delivery::Unknown
        } else {
            Delivery::NotSent
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct RecvHalf {
    /// Whole messages, or pieces of a stream, and what each cost.
    ready: VecDeque<(Vec<u8>, u64)>,
    /// Bytes of `ready`'s first piece that were read.
    offset: usize,
    /// What was handed over ahead, and is not taken yet: what each cost, and how many messages or bytes it was.
    ahead: VecDeque<(u64, u64)>,
    partial: Vec<u8>,
    partial_cost: u64,
    /// Bytes in memory: of `ready` with its places, and of `partial`.
    memory_len: usize,
    /// What the peer has spent, what of it has left to the application, and up to where the peer may spend.
    spent: u64,
    left: u64,
    granted: u64,
    granted_before: u64,
    /// How much may be on its way here or unread.
    window: u64,
    /// The peer was seen to stop just where its credit ended.
    starved: bool,
    /// Messages, or bytes of a stream, that the application has taken.
    pub(crate) taken: u64,
    /// A TAKEN is due.
    pub(crate) taken_due: bool,
    /// A new connection must hear of credit and count again.
    pub(crate) restate: bool,
    pub(crate) fin: bool,
    /// The application has let go before it had read all.
    refused: bool,
    /// Holds one of the session's assembly slots.
    pub(crate) assembling: bool,
}

impl RecvHalf {
    /// True if a new connection has something to state again. Of a channel that has come to its end with nothing taken there
    /// is nothing, even if its end comes only now.
    pub(crate) const fn must_restate(&self) -> bool {
        self.restate && (!self.fin || self.taken > 0)
    }

    /// Checks a fragment before anything changes.
    pub(crate) fn check(&self, len: usize, message_len_max: u32) -> Result<(), PeerMisbehaved> {
        if self.fin {
            return Err(PeerMisbehaved::DataAfterFin);
        }
        if self.spent + len as u64 + DATA_FRAME_COST > self.granted {
            return Err(PeerMisbehaved::CreditExceeded);
        }
        if self.partial.len() + len > message_len_max as usize {
            return Err(PeerMisbehaved::MessageTooLong);
        }
        Ok(())
    }

    /// Takes a checked fragment in. True if a message is now complete.
    pub(crate) fn push(&mut self, data: &[u8], more: bool) -> bool {
        let cost = data.len() as u64 + DATA_FRAME_COST;
        self.spent += cost;
        // A sender cuts a fragment to fit its credit, so that it meets a limit to the byte only when the limit stops it. By the
        // time that shows here, the next limit may already be on its way.
        let room = |limit: u64| limit.checked_sub(self.spent).is_some_and(|room| room <= DATA_FRAME_COST);
        self.starved |= room(self.granted) || room(self.granted_before);
        self.partial_cost += cost;
        self.partial.extend_from_slice(data);
        self.keep(data.len() + if more { 0 } else { QUEUED_MESSAGE_COST });
        if !more {
            let cost = core::mem::take(&mut self.partial_cost);
            if cfg!(feature = "server") && cost > CHANNEL_WINDOW {
                // It has grown by doubling.
                self.partial.shrink_to_fit();
            }
            self.ready.push_back((core::mem::take(&mut self.partial), cost));
        }
        !more
    }

    /// Counts a checked fragment that nobody will read.
    pub(crate) fn discard(&mut self, len: usize) {
        self.spent += len as u64 + DATA_FRAME_COST;
        self.left = self.spent;
    }

    /// The next message.
    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        let (message, cost) = self.ready.pop_front()?;
        self.drop(message.len() + QUEUED_MESSAGE_COST);
        self.leave(cost, 1);
        Some(message)
    }

    /// The next bytes of a stream, at most `max` of them: of several pieces together what a record may hold, so that a reader
    /// is not called for each.
    pub(crate) fn read(&mut self, max: usize) -> Option<Vec<u8>> {
        let max = max.min(RECORD_LEN_MAX);
        let mut bytes = Vec::new();
        while let Some((piece, _)) = self.ready.front() {
            let rest = piece.len() - self.offset;
            if rest <= max - bytes.len() {
                let offset = core::mem::take(&mut self.offset);
                let Some((mut piece, cost)) = self.ready.pop_front() else { break };
                self.drop(piece.len() + QUEUED_MESSAGE_COST);
                piece.drain(..offset);
                // A piece of no bytes is nothing to read, but it has cost.
                self.leave(cost - offset as u64, piece.len() as u64);
                if bytes.is_empty() {
                    bytes = piece;
                } else {
                    bytes.extend_from_slice(&piece);
                }
            } else if bytes.is_empty() {
                bytes = piece.get(self.offset..self.offset + max)?.to_vec();
                self.offset += max;
                self.leave(max as u64, max as u64);
                break;
            } else {
                break;
            }
        }
        (!bytes.is_empty()).then_some(bytes)
    }

    /// As [`Self::pop`] and [`Self::read`], for an application that takes it later: until [`Self::take`] it counts as held.
    pub(crate) fn hand_over(&mut self, stream: bool) -> Option<Vec<u8>> {
        let (left, taken, taken_due) = (self.left, self.taken, self.taken_due);
        let message = if stream { self.read(usize::MAX) } else { self.pop() }?;
        self.ahead.push_back((self.left - left, self.taken - taken));
        (self.left, self.taken, self.taken_due) = (left, taken, taken_due);
        Some(message)
    }

    /// The application has taken the oldest of what was handed over. False if there was none.
    pub(crate) fn take(&mut self) -> bool {
        let Some((cost, count)) = self.ahead.pop_front() else { return false };
        self.leave(cost, count);
        true
    }

    fn leave(&mut self, cost: u64, count: u64) {
        self.left += cost;
        self.taken += count;
        self.taken_due |= count > 0;
        if self.ready.is_empty() {
            self.ready = VecDeque::new();
        }
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.ready.is_empty() && self.ahead.is_empty()
    }

    /// What was spent and is not taken.
    pub(crate) const fn held(&self) -> u64 {
        self.spent.saturating_sub(self.left)
    }

    /// A page does not count: what is in its memory is its own application's.
    const fn keep(&mut self, len: usize) {
        if cfg!(feature = "server") {
            self.memory_len += len;
        }
    }

    const fn drop(&mut self, len: usize) {
        if cfg!(feature = "server") {
            self.memory_len -= len;
        }
    }

    /// What is in memory for the application. It is not what was spent: a fragment of no bytes costs, and is not kept.
    pub(crate) const fn memory_len(&self) -> usize {
        if cfg!(feature = "server") { self.memory_len } else { 0 }
    }

    /// A message has begun that may fit the window only with an assembly slot. A drained channel has more than half a window
    /// of credit (`credit_due`), so that a message that stalls for want of credit has cost more than this.
    pub(crate) fn wants_slot(&self) -> bool {
        !self.assembling && self.is_drained() && self.partial_cost > CHANNEL_WINDOW / 4
    }

    /// A message has begun and not ended.
    pub(crate) const fn is_within_message(&self) -> bool {
        self.partial_cost > 0
    }

    /// The credit that the peer is to be told of, once it is worth a frame.
    pub(crate) fn credit_due(&self) -> Option<u64> {
        let base = if self.assembling && self.is_drained() { self.spent } else { self.left };
        let target = base + self.window;
        (!self.fin && target >= self.granted + self.window / 2).then_some(target)
    }

    /// The credit that [`Self::credit_due`] named is on its way.
    pub(crate) const fn grant(&mut self, limit: u64) {
        self.granted_before = self.granted;
        self.granted = limit;
    }

    pub(crate) const fn granted(&self) -> u64 {
        self.granted
    }

    #[cfg(test)]
    pub(crate) const fn spent(&self) -> u64 {
        self.spent
    }

    #[cfg(test)]
    pub(crate) const fn window(&self) -> u64 {
        self.window
    }

    /// By how much the window should grow: the peer was stopped by its credit although the application takes everything at
    /// once, so that the window, and not the application, holds it back.
    pub(crate) fn growth_wanted(&mut self) -> Option<u64> {
        let starved = core::mem::take(&mut self.starved);
        // What is on its way to the application does not make it a slow one.
        let ahead: u64 = self.ahead.iter().map(|(cost, _)| cost).sum();
        (starved && self.held() <= self.window / 8 + ahead && self.window < CHANNEL_WINDOW_MAX).then_some(self.window)
    }

    pub(crate) const fn grow(&mut self, by: u64) {
        self.window += by;
    }

    /// What the window has beyond its first size.
    pub(crate) const fn grown(&self) -> u64 {
        self.window.saturating_sub(CHANNEL_WINDOW)
    }

    /// It holds, or has held since it was drained last, an assembly slot.
    #[cfg(test)]
    pub(crate) fn may_hold_assembled(&self) -> bool {
        self.assembling || self.granted > self.left + self.window
    }

    /// The application reads no more. What it has not read, and what still comes, is dropped.
    pub(crate) fn refuse(&mut self) {
        self.refused = true;
        self.clear();
    }

    pub(crate) const fn is_refused(&self) -> bool {
        self.refused
    }

    pub(crate) fn clear(&mut self) {
        self.ready = VecDeque::new();
        self.ahead = VecDeque::new();
        self.offset = 0;
        self.left = self.spent;
        self.clear_partial();
        self.memory_len = 0;
    }

    /// Drops the message that will never be whole; what is whole stays readable.
    pub(crate) fn clear_partial(&mut self) {
        self.drop(self.partial.len());
        self.partial = Vec::new();
        self.partial_cost = 0;
    }
}

#[cfg(all(test, feature = "server"))]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use alloc::vec;

    use super::*;
    use crate::limits::MESSAGE_LEN_MAX;

    #[test]
    fn the_last_byte_of_a_message_that_has_no_credit_does_not_keep_all_of_it() {
        let mut send = SendHalf { limit: u64::MAX, ..SendHalf::default() };
        send.push(vec![7; MESSAGE_LEN_MAX]);
        let mut last = Bytes::new();
        while send.queued_len() > QUEUED_MESSAGE_COST + 1 {
            let (len, _) = send.next_fragment(TURN_LEN_MAX).expect("there is credit");
            let rest = send.queued_len() - QUEUED_MESSAGE_COST;
            last = send.take_fragment(len.min(rest - 1), false);
        }
        assert!(send.begun_len <= 2 * TURN_LEN_MAX, "{} bytes are kept for one", send.begun_len);
        let alone = Vec::from(last);
        assert!(alone.capacity() <= TURN_LEN_MAX, "a fragment keeps {} bytes", alone.capacity());
    }

    #[test]
    fn a_fragment_of_no_bytes_costs_and_is_not_held() {
        let mut recv = RecvHalf { granted: CHANNEL_WINDOW, ..RecvHalf::default() };
        for _ in 0..100 {
            recv.check(0, 1_000).expect("within the credit");
            recv.push(&[], true);
        }
        assert_eq!((recv.spent, recv.memory_len()), (100 * DATA_FRAME_COST, 0));
        recv.push(&[1, 2, 3], false);
        assert_eq!(recv.memory_len(), 3 + QUEUED_MESSAGE_COST);
        assert_eq!(recv.pop(), Some(vec![1, 2, 3]));
        assert_eq!(recv.memory_len(), 0);
    }
}
