//! One channel: its two halves, each with its own flow control.
//!
//! ```text
//! send half   queue ──(credit)──► sealed ──(TAKEN)──► taken          FIN: after the queue
//! recv half   DATA ──► partial ──(last fragment)──► ready ──► application; granted = what left + window
//! ```
//!
//! Costs: a DATA frame costs its bytes and [`DATA_FRAME_COST`], on both ends alike, so that a flood of empty messages is
//! bounded as well. A message larger than the window needs one of the session's few assembly slots, and keeps it until the
//! application has taken the message. Turns between channels, and all frames, are `session.rs`'s business.

use alloc::{collections::VecDeque, string::String, vec::Vec};

use crate::{
    close::ResetCode,
    error::PeerMisbehaved,
    limits::{CHANNEL_WINDOW, DATA_FRAME_COST},
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
    /// The next message.
    Message(Vec<u8>),
    /// Nothing yet.
    Pending,
    /// The other end has finished, and everything was taken.
    End,
}

#[derive(Debug)]
pub(crate) struct ChannelState {
    pub(crate) label: String,
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
    pub(crate) fn new(label: String, send_limit: u64, announced: bool) -> Self {
        Self {
            label,
            announced,
            send: SendHalf { limit: send_limit, ..SendHalf::default() },
            recv: RecvHalf { granted: CHANNEL_WINDOW, ..RecvHalf::default() },
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
    queue: VecDeque<Vec<u8>>,
    /// Bytes of the queue's first message that were sealed.
    offset: usize,
    queued_len: usize,
    /// What the peer lets us spend, and what we have spent, since the channel's begin.
    pub(crate) limit: u64,
    spent: u64,
    /// Messages that the application gave, that were sealed to the end, that the peer has taken.
    pub(crate) accepted: u64,
    pub(crate) sealed: u64,
    pub(crate) taken: u64,
    pub(crate) fin: Fin,
}

impl SendHalf {
    pub(crate) const fn queued_len(&self) -> usize {
        self.queued_len
    }

    pub(crate) fn push(&mut self, message: Vec<u8>) -> u64 {
        self.queued_len += message.len();
        self.queue.push_back(message);
        self.accepted += 1;
        self.accepted
    }

    /// Drops what was not sealed. `offset` stays: it tells that the first of them had begun to leave.
    /// Returns how many bytes those were.
    pub(crate) fn clear(&mut self) -> usize {
        self.queue = VecDeque::new();
        core::mem::take(&mut self.queued_len)
    }

    fn can_seal(&self) -> bool {
        match self.queue.front() {
            Some(message) => self.spent + DATA_FRAME_COST + u64::from(message.len() > self.offset) <= self.limit,
            None => self.fin == Fin::Wanted,
        }
    }

    /// The next fragment of at most `max` bytes, as far as the credit goes; `true` beside it if more of the message follows.
    pub(crate) fn next_fragment(&self, max: usize) -> Option<(&[u8], bool)> {
        let message = self.queue.front()?;
        let rest = message.get(self.offset..)?;
        let credit = self.limit.checked_sub(self.spent)?.checked_sub(DATA_FRAME_COST)?;
        let len = rest.len().min(max).min(usize::try_from(credit).unwrap_or(usize::MAX));
        if len == 0 && !rest.is_empty() {
            return None;
        }
        Some((rest.get(..len)?, len < rest.len()))
    }

    /// Counts a fragment of `next_fragment` as sealed.
    pub(crate) fn commit_fragment(&mut self, len: usize, more: bool) {
        self.spent += len as u64 + DATA_FRAME_COST;
        self.queued_len -= len;
        if more {
            self.offset += len;
        } else {
            self.queue.pop_front();
            self.offset = 0;
            self.sealed += 1;
            if self.queue.is_empty() {
                // An idle channel holds no buffer.
                self.queue = VecDeque::new();
            }
        }
    }

    /// True when FIN is due: it was asked for and nothing waits before it.
    pub(crate) fn fin_is_due(&self) -> bool {
        self.fin == Fin::Wanted && self.queue.is_empty()
    }

    pub(crate) fn delivery(&self, ordinal: u64, over: bool) -> Delivery {
        if ordinal <= self.taken {
            Delivery::Taken
        } else if !over {
            Delivery::Pending
        } else if ordinal <= self.sealed || (ordinal == self.sealed + 1 && self.offset > 0) {
            Delivery::Unknown
        } else {
            Delivery::NotSent
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct RecvHalf {
    /// Whole messages and what each cost.
    ready: VecDeque<(Vec<u8>, u64)>,
    partial: Vec<u8>,
    partial_cost: u64,
    /// What the peer has spent, what of it has left to the application, and up to where the peer may spend.
    spent: u64,
    left: u64,
    pub(crate) granted: u64,
    /// Messages that the application has taken.
    pub(crate) taken: u64,
    /// A TAKEN is due.
    pub(crate) taken_due: bool,
    pub(crate) fin: bool,
    /// Holds one of the session's assembly slots.
    pub(crate) assembling: bool,
}

impl RecvHalf {
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
        self.partial_cost += cost;
        self.partial.extend_from_slice(data);
        if !more {
            let cost = core::mem::take(&mut self.partial_cost);
            self.ready.push_back((core::mem::take(&mut self.partial), cost));
        }
        !more
    }

    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        let (message, cost) = self.ready.pop_front()?;
        self.left += cost;
        self.taken += 1;
        self.taken_due = true;
        if self.ready.is_empty() {
            self.ready = VecDeque::new();
        }
        Some(message)
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.ready.is_empty()
    }

    /// A message has begun that may fit the window only with an assembly slot. A drained channel has more than half a window
    /// of credit (`credit_due`), so that a message that stalls for want of credit has cost more than this.
    pub(crate) fn wants_slot(&self) -> bool {
        !self.assembling && self.ready.is_empty() && self.partial_cost > CHANNEL_WINDOW / 4
    }

    /// A message has begun and not ended.
    pub(crate) const fn is_within_message(&self) -> bool {
        self.partial_cost > 0
    }

    /// The credit that the peer is to be told of, once it is worth a frame.
    pub(crate) fn credit_due(&self) -> Option<u64> {
        let base = if self.assembling && self.ready.is_empty() { self.spent } else { self.left };
        let target = base + CHANNEL_WINDOW;
        (!self.fin && target >= self.granted + CHANNEL_WINDOW / 2).then_some(target)
    }

    pub(crate) fn clear(&mut self) {
        self.ready = VecDeque::new();
        self.partial = Vec::new();
        self.partial_cost = 0;
    }

    /// Drops the message that will never be whole; what is whole stays readable.
    pub(crate) fn clear_partial(&mut self) {
        self.partial = Vec::new();
        self.partial_cost = 0;
    }
}
