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
//!
//! What waits to be sealed can be thrown away, by [`SendHalf::discard`] or because the channel is a *tail*: what comes next on
//! it then tells how much is missing before it, and both ends count that as taken.

mod recv;
mod send;

use alloc::{string::String, vec::Vec};

pub(crate) use recv::RecvHalf;
pub(crate) use send::{Fin, SendHalf};

use crate::{
    close::ResetCode, codec::Reader, error::InvalidMessage, frame::Frame, ids::ChannelId, limits::CHANNEL_WINDOW,
};

/// Which of a session's channels leave first, where several have something to send. Those of one step take turns; those of
/// the next one get a turn for each four of the step before, so that nobody waits for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// What somebody waits for: key presses, calls.
    First,
    /// What has no wish.
    #[default]
    Normal,
    /// What may take its time: files, backups.
    Last,
}

impl Priority {
    /// 0 first, 1 normal, 2 last.
    #[must_use]
    pub const fn from_step(step: u8) -> Option<Self> {
        match step {
            0 => Some(Self::First),
            1 => Some(Self::Normal),
            2 => Some(Self::Last),
            _ => None,
        }
    }

    pub(crate) const fn step(self) -> usize {
        match self {
            Self::First => 0,
            Self::Normal => 1,
            Self::Last => 2,
        }
    }
}

/// What a channel carries, and how it waits. Its opener says so, for both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    /// Bytes instead of messages.
    pub stream: bool,
    /// Which channels leave first.
    pub priority: Priority,
    /// At each end, at most so many bytes wait to leave; the oldest of more are left out, and their number is told. The newest
    /// message is kept whatever its length. None: whoever sends waits instead.
    pub tail: Option<u32>,
}

impl Kind {
    /// A stream of bytes.
    pub const STREAM: Self = Self { stream: true, priority: Priority::Normal, tail: None };
    /// Messages.
    pub const MESSAGES: Self = Self { stream: false, ..Self::STREAM };
}

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
    pub(crate) kind: Kind,
    /// OPEN was sealed or received.
    pub(crate) announced: bool,
    pub(crate) send: SendHalf,
    pub(crate) recv: RecvHalf,
    /// The channel ended before its time; by whichever end.
    pub(crate) reset: Option<ResetCode>,
    /// The application holds no handle any more.
    pub(crate) released: bool,
    /// Server: what its service has noted for whoever goes on with it, and whether this is such a one.
    #[cfg(feature = "server")]
    pub(crate) note: Vec<u8>,
    #[cfg(feature = "server")]
    pub(crate) is_revived: bool,
}

impl ChannelState {
    pub(crate) fn new(label: String, kind: Kind, send_limit: u64, announced: bool) -> Self {
        Self {
            label,
            kind,
            announced,
            send: SendHalf::with_limit(send_limit),
            recv: RecvHalf::with_window(CHANNEL_WINDOW),
            reset: None,
            released: false,
            #[cfg(feature = "server")]
            note: Vec::new(),
            #[cfg(feature = "server")]
            is_revived: false,
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

    /// As a snapshot has it: its OPEN, what it has come to, and its halves.
    pub(crate) fn put(&self, id: ChannelId, out: &mut Vec<u8>) {
        Frame::Open { channel: id, kind: self.kind, label: &self.label }.encode(out);
        out.extend_from_slice(&[self.announced.into(), self.released.into(), self.reset.is_some().into()]);
        out.extend_from_slice(&self.reset.map_or(0, ResetCode::to_wire).to_be_bytes());
        self.send.put(out);
        self.recv.put(self.kind.stream, out);
    }

    /// Of a snapshot.
    pub(crate) fn revive(reader: &mut Reader<'_>) -> Result<(ChannelId, Self), InvalidMessage> {
        let Some(Frame::Open { channel, kind, label }) = Frame::decode(reader)? else {
            return Err(InvalidMessage::UnknownValue);
        };
        let (announced, released, ended, code) = (reader.flag()?, reader.flag()?, reader.flag()?, reader.u16()?);
        let send = SendHalf::revive(reader, kind.stream, ended)?;
        let recv = RecvHalf::revive(reader, ended)?;
        if label.is_empty() || (!announced && (send.has_sealed() || recv.fin)) {
            return Err(InvalidMessage::UnknownValue);
        }
        let reset = ended.then(|| ResetCode::from_wire(code));
        let state = Self { send, recv, reset, released, ..Self::new(label.into(), kind, 0, announced) };
        Ok((channel, state))
    }
}
