//! The sending half: what waits, what has left, what of it was taken, and what was left out.

use alloc::{collections::VecDeque, vec::Vec};

use bytes::Bytes;

use super::{Delivery, Kind};
use crate::{
    codec::{Reader, put_bytes, put_counts},
    error::InvalidMessage,
    limits::{DATA_FRAME_COST, LEFT_OUT_MAX, MESSAGE_LEN_MAX, QUEUED_MESSAGE_COST, STREAM_QUEUE_LEN_MAX, TURN_LEN_MAX},
};

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
    small: Vec<u8>,
    /// A part of the queue's first message was sealed.
    begun: bool,
    /// What that message takes in memory, with the part that has left.
    begun_len: usize,
    queued_len: usize,
    /// Messages, or bytes of a stream, that were left out and of which the peer is still to hear: they stood before the
    /// queue's first message, or right behind it if that has begun to leave.
    gap: u64,
    /// The ordinals of messages that were left out, as borders: after the first, up to the last; the newest of them, and up to
    /// where it is not known any more which were.
    left_out: VecDeque<(u64, u64)>,
    forgotten: u64,
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
    pub(super) fn with_limit(limit: u64) -> Self {
        Self { limit, ..Self::default() }
    }

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
        self.sealed > 0 || self.spent > 0 || matches!(self.fin, Fin::Sealed)
    }

    /// Queues a message and returns its ordinal.
    pub(crate) fn push(&mut self, message: Vec<u8>, kind: Kind) -> u64 {
        if let Some(most) = kind.tail {
            self.leave_out((most as usize).saturating_sub(message.len() + QUEUED_MESSAGE_COST), false);
        }
        self.queued_len += message.len() + QUEUED_MESSAGE_COST;
        self.queue.push_back(message.into());
        self.accepted += 1;
        self.accepted
    }

    /// Queues as much of a stream's bytes as there is room for, and returns how many that was.
    pub(crate) fn write(&mut self, bytes: &[u8], kind: Kind) -> usize {
        let mut kept = bytes;
        if let Some(most) = kind.tail {
            let most = (most as usize).min(STREAM_QUEUE_LEN_MAX);
            let (older, newest) = bytes.split_at(bytes.len().saturating_sub(most));
            self.leave_out(most - newest.len(), true);
            // Nothing older is left to wait, if these are too many for themselves.
            self.gap += older.len() as u64;
            self.accepted += older.len() as u64;
            kept = newest;
        }
        let room = STREAM_QUEUE_LEN_MAX.saturating_sub(self.queued_len);
        kept = kept.get(..room).unwrap_or(kept);
        for piece in kept.chunks(TURN_LEN_MAX) {
            if self.small.len() + piece.len() > TURN_LEN_MAX {
                self.queue.push_back(core::mem::take(&mut self.small).into());
            }
            self.small.extend_from_slice(piece);
        }
        self.queued_len += kept.len();
        self.accepted += kept.len() as u64;
        if kind.tail.is_some() { bytes.len() } else { kept.len() }
    }

    /// Throws away what waits and has not begun to leave. Returns how many messages, or bytes of a stream, those were.
    pub(crate) fn discard(&mut self, stream: bool) -> u64 {
        let before = self.gap;
        self.leave_out(0, stream);
        self.gap - before
    }

    /// Leaves out the oldest of what waits until at most `most` bytes do, but for a message that has begun to leave.
    fn leave_out(&mut self, most: usize, stream: bool) {
        let first = usize::from(self.begun);
        let cost = if stream { 0 } else { QUEUED_MESSAGE_COST };
        let mut count = 0;
        while self.queued_len > most
            && let Some(oldest) = self.queue.get_mut(first)
        {
            let excess = self.queued_len - most;
            if stream && oldest.len() > excess {
                bytes::Buf::advance(oldest, excess);
                self.queued_len -= excess;
                count += excess as u64;
                break;
            }
            self.queued_len -= oldest.len() + cost;
            count += if stream { oldest.len() as u64 } else { 1 };
            self.queue.remove(first);
        }
        if self.queued_len > most && !self.small.is_empty() {
            let excess = self.small.len().min(self.queued_len - most);
            self.small.drain(..excess);
            self.queued_len -= excess;
            count += excess as u64;
        }
        if count == 0 {
            return;
        }
        if !stream {
            // They are the oldest of what has no ordinal on the wire yet: behind those sealed, told to be left out, and begun.
            let after = self.sealed + self.gap + first as u64;
            match self.left_out.back_mut() {
                Some((_, last)) if *last == after => *last += count,
                _ => self.left_out.push_back((after, after + count)),
            }
            if self.left_out.len() > LEFT_OUT_MAX {
                self.forgotten = self.left_out.pop_front().map_or(0, |(_, last)| last);
            }
        }
        self.gap += count;
    }

    /// Something was left out of which the peer is to hear now: nothing that has begun stands before it.
    pub(crate) const fn has_gap(&self) -> bool {
        self.gap > 0 && !self.begun
    }

    /// How much that is, as told.
    pub(crate) fn take_gap(&mut self) -> u64 {
        let count = core::mem::take(&mut self.gap);
        self.sealed += count;
        count
    }

    /// Drops what was not sealed. `begun` stays: it tells that the first of them had begun to leave.
    /// Returns how many bytes those were.
    pub(crate) fn clear(&mut self) -> usize {
        self.queue = VecDeque::new();
        self.small = Vec::new();
        self.gap = 0;
        core::mem::take(&mut self.queued_len)
    }

    pub(super) fn can_seal(&self) -> bool {
        if self.has_gap() {
            return true;
        }
        let next_has_bytes = match self.queue.front() {
            Some(message) => !message.is_empty(),
            None if self.small.is_empty() => return self.fin == Fin::Wanted,
            None => true,
        };
        self.spent + DATA_FRAME_COST + u64::from(next_has_bytes) <= self.limit || mutated!(CreditNotEnforced)
    }

    /// The length of the next fragment of at most `max` bytes, as far as the credit goes; `true` beside it if more of the
    /// message follows.
    pub(crate) fn next_fragment(&mut self, max: usize) -> Option<(usize, bool)> {
        if self.queue.is_empty() && !self.small.is_empty() {
            self.queue.push_back(core::mem::take(&mut self.small).into());
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
            // keep megabytes there by leaving the last byte unacknowledged, or without credit. A piece of a stream is a turn's at
            // most, and four times the slice.
            if cfg!(not(feature = "server")) || (stream && len >= TURN_LEN_MAX / 4) {
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
        self.fin == Fin::Wanted && self.queue.is_empty() && self.small.is_empty() && self.gap == 0
    }

    pub(crate) fn delivery(&self, ordinal: u64, over: bool) -> Delivery {
        if self.left_out.iter().any(|(after, last)| (after + 1..=*last).contains(&ordinal)) {
            Delivery::NotSent
        } else if ordinal <= self.forgotten {
            Delivery::Unknown
        } else if ordinal <= self.taken {
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

    /// As a snapshot has it.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let fin = match self.fin {
            Fin::Open => 0,
            Fin::Wanted => 1,
            Fin::Sealed => 2,
        };
        out.extend_from_slice(&[fin, self.begun.into()]);
        let (gap, forgotten) = (self.gap, self.forgotten);
        put_counts(out, &[self.limit, self.spent, self.accepted, self.sealed, self.taken, gap, forgotten]);
        put_counts(out, &[self.left_out.len() as u64, (self.queue.len() + usize::from(!self.small.is_empty())) as u64]);
        self.left_out.iter().for_each(|(after, last)| put_counts(out, &[*after, *last]));
        self.queue.iter().for_each(|message| put_bytes(out, message));
        if !self.small.is_empty() {
            put_bytes(out, &self.small);
        }
    }

    /// Of a snapshot; `ended`: its channel was reset, and nothing waits any more.
    pub(super) fn revive(reader: &mut Reader<'_>, stream: bool, ended: bool) -> Result<Self, InvalidMessage> {
        let fin = match reader.u8()? {
            0 => Fin::Open,
            1 => Fin::Wanted,
            2 => Fin::Sealed,
            _ => return Err(InvalidMessage::UnknownValue),
        };
        let begun = reader.flag()?;
        let [limit, spent, accepted, sealed, taken, gap, forgotten] = reader.counts()?;
        let [left_out, waiting] = reader.counts()?;
        if left_out > LEFT_OUT_MAX as u64 {
            return Err(InvalidMessage::TooLong);
        }
        let mut half = Self { begun, limit, spent, accepted, sealed, taken, gap, forgotten, fin, ..Self::default() };
        for _ in 0..left_out {
            let [after, last] = reader.counts()?;
            half.left_out.push_back((after, last));
        }
        // Each takes at least four bytes of what is there.
        for _ in 0..waiting {
            let message = Bytes::copy_from_slice(reader.bytes(if stream { TURN_LEN_MAX } else { MESSAGE_LEN_MAX })?);
            half.queued_len += message.len() + if stream { 0 } else { QUEUED_MESSAGE_COST };
            half.queue.push_back(message);
        }
        half.begun_len = half.queue.front().map_or(0, Bytes::len);
        let waits = if stream { half.queued_len as u64 } else { half.queue.len() as u64 };
        let is_in_order = taken <= sealed && spent <= limit && half.queued_len <= 2 * MESSAGE_LEN_MAX;
        let is_whole = if ended {
            waits == 0 && gap == 0 && sealed <= accepted
        } else {
            // A stream has no messages that could have begun.
            accepted == sealed + gap + waits
                && (!begun || (waits > 0 && !stream))
                && (fin != Fin::Sealed || waits + gap == 0)
        };
        if is_in_order && is_whole { Ok(half) } else { Err(InvalidMessage::UnknownValue) }
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
        let mut send = SendHalf::with_limit(u64::MAX);
        send.push(vec![7; MESSAGE_LEN_MAX], Kind::MESSAGES);
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
    fn of_a_tail_the_newest_waits_and_the_others_are_said_to_be_not_sent() {
        let kind = Kind { tail: Some(500), ..Kind::MESSAGES };
        let mut send = SendHalf::with_limit(u64::MAX);
        let ordinals: Vec<_> = (0..10).map(|byte| send.push(vec![byte; 100], kind)).collect();
        assert_eq!(ordinals, (1..=10).collect::<Vec<_>>());
        assert!(send.queued_len() <= 500);
        let kept = send.queue.len() as u64;
        assert!(kept >= 2);
        assert!(send.has_gap());
        assert_eq!(send.take_gap(), 10 - kept);
        assert_eq!(send.delivery(10 - kept, false), Delivery::NotSent);
        assert_eq!(send.delivery(10 - kept + 1, false), Delivery::Pending);
        // One that has begun to leave is not taken back.
        send.next_fragment(50).expect("there is credit");
        send.take_fragment(50, false);
        assert_eq!(send.discard(false), kept - 1);
        assert_eq!((send.has_gap(), send.queue.len()), (false, 1), "the peer hears of it behind what has begun");
        send.take_fragment(50, false);
        assert!(send.has_gap());
        assert_eq!(send.take_gap(), kept - 1);
        assert_eq!(send.sealed, 10);
        send.taken = 10;
        let found: Vec<_> = (1..=10).filter(|ordinal| send.delivery(*ordinal, false) == Delivery::Taken).collect();
        assert_eq!(found, [10 - kept + 1]);
    }

    #[test]
    fn of_a_stream_s_tail_the_last_bytes_wait_however_they_were_written() {
        let kind = Kind { tail: Some(40_000), ..Kind::STREAM };
        for piece in [1, 7, 16_384, 39_999, 40_000, 40_001, 300_000] {
            let bytes: Vec<u8> = (0..300_000_u32).map(|at| u8::try_from(at % 251).expect("small")).collect();
            let mut send = SendHalf::with_limit(u64::MAX);
            for piece in bytes.chunks(piece) {
                assert_eq!(send.write(piece, kind), piece.len());
                assert!(send.queued_len() <= 40_000);
            }
            assert_eq!(send.take_gap(), 260_000, "in pieces of {piece}");
            let mut left = Vec::new();
            while let Some((len, _)) = send.next_fragment(usize::MAX) {
                left.extend_from_slice(&send.take_fragment(len, true));
            }
            assert!(left == bytes[260_000..], "in pieces of {piece}");
            assert_eq!((send.sealed, send.accepted, send.queued_len()), (300_000, 300_000, 0));
        }
    }

    #[test]
    fn what_is_remembered_of_messages_that_were_left_out_is_bounded() {
        let kind = Kind { tail: Some(0), ..Kind::MESSAGES };
        let mut send = SendHalf::with_limit(u64::MAX);
        for _ in 0..3 * LEFT_OUT_MAX {
            send.push(vec![1], kind);
            send.push(vec![2], kind);
            assert_eq!(send.take_gap(), 1, "the first was left out");
            send.next_fragment(9).expect("there is credit");
            send.take_fragment(1, false);
        }
        assert_eq!(send.left_out.len(), LEFT_OUT_MAX);
        assert_eq!(send.delivery(1, false), Delivery::Unknown, "it is not called taken");
        assert_eq!(send.delivery(6 * LEFT_OUT_MAX as u64 - 1, false), Delivery::NotSent);
    }
}
