//! A socket between the two ends: it delays, stalls and is cut, but as long as it lives it keeps the order of messages.
//!
//! ```text
//! send ─► buffer of the sender (as fast as the bandwidth takes it) ─► on its way (delay, jitter) ─► arrival
//! ```
//!
//! A cut delivers, each way on its own, a part of what was on its way. Each end learns of it in its own time, or never.

use core::time::Duration;

use alloc::{collections::VecDeque, vec::Vec};

use super::{End, Uid, chance::Chance};
use crate::{line::ConnectionNo, time::Instant};

/// What a driver gives a socket before it waits, as a browser's `bufferedAmount` tells it.
const BUFFER_LEN: usize = 128 * 1_024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// The upgrade request, with M1 or without.
    Request(Vec<u8>),
    /// The server's answer to it.
    Upgraded(&'static str),
    Message(Vec<u8>),
    /// Nothing of this protocol is text.
    Text,
    /// The other end has closed the socket.
    Close,
}

impl Item {
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Request(_) => "a request",
            Self::Upgraded(_) => "an upgrade",
            Self::Message(_) => "a message",
            Self::Text => "text",
            Self::Close => "the end",
        }
    }
}

/// How a link behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) delay: Duration,
    pub(super) jitter_micros: u64,
    /// Bytes in a millisecond.
    pub(super) bandwidth: u64,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Way {
    queue: VecDeque<(Instant, Item)>,
    /// What the sender's buffer holds: when each message will have left, and its length.
    buffer: VecDeque<(Instant, usize)>,
    stalled_until: Instant,
    last_arrival: Instant,
    /// Bytes that its sender has given it, whatever became of them on the way.
    pub(super) given: usize,
    /// Nothing gets in any more.
    dead: bool,
    /// The driver has more, and waits for room until then.
    pub(super) blocked: Option<Instant>,
}

impl Way {
    pub(super) fn send(&mut self, now: Instant, item: Item, path: &Path, chance: &mut Chance) {
        if self.dead {
            return;
        }
        let len = if let Item::Message(message) = &item { message.len() } else { 100 };
        let begins = self.buffer.back().map_or(now, |(left, _)| *left).max(now).max(self.stalled_until);
        let left = begins + Duration::from_micros(len as u64 * 1_000 / path.bandwidth.max(1));
        self.buffer.push_back((left, len));
        let arrival = (left + path.delay + chance.micros(path.jitter_micros)).max(self.last_arrival);
        self.last_arrival = arrival;
        self.queue.push_back((arrival, item));
    }

    /// True if the driver gives it another message; else when it will.
    pub(super) fn room(&mut self, now: Instant) -> Result<(), Instant> {
        while self.buffer.front().is_some_and(|(left, _)| *left <= now) {
            self.buffer.pop_front();
        }
        let waiting: usize = self.buffer.iter().map(|(_, len)| len).sum();
        match self.buffer.front() {
            Some((left, _)) if waiting >= BUFFER_LEN => Err(*left),
            _ => Ok(()),
        }
    }

    pub(super) fn stall(&mut self, until: Instant) {
        self.stalled_until = self.stalled_until.max(until);
    }

    pub(super) fn arrival(&self) -> Option<Instant> {
        self.queue.front().map(|(at, _)| *at)
    }

    pub(super) fn pop(&mut self) -> Option<Item> {
        self.queue.pop_front().map(|(_, item)| item)
    }

    /// A part of what is on its way still arrives.
    pub(super) fn cut(&mut self, chance: &mut Chance) {
        self.dead = true;
        self.queue.truncate(chance.index(self.queue.len() + 1));
    }

    pub(super) fn is_stalled(&self, now: Instant) -> bool {
        self.stalled_until > now
    }

    pub(super) const fn is_dead(&self) -> bool {
        self.dead
    }

    /// The receiver has closed its end.
    pub(super) fn clear(&mut self) {
        self.dead = true;
        self.queue.clear();
    }

    /// A hostile link turns the order of the last two messages.
    pub(super) fn swap_last(&mut self) {
        let len = self.queue.len();
        if len >= 2
            && let (Some((_, Item::Message(_))), Some((_, Item::Message(_)))) =
                (self.queue.get(len - 2), self.queue.back())
        {
            self.queue.swap(len - 1, len - 2);
            let (a, b) = (self.queue[len - 2].0, self.queue[len - 1].0);
            self.queue[len - 2].0 = b;
            self.queue[len - 1].0 = a;
        }
    }
}

/// How far one end of a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Client: the upgrade request is on its way. Server: it has not come.
    Opening,
    Open,
    /// Its driver has closed it, or has been told of its end.
    Gone,
}

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) no: ConnectionNo,
    /// Of which of the world's client lines.
    pub(super) line: usize,
    pub(super) path: Path,
    pub(super) up: Way,
    pub(super) down: Way,
    pub(super) client: Side,
    pub(super) server: Side,
    /// The client closes this socket late, and so hears what still comes.
    /// Somebody on the way hands on nothing of what the server says.
    pub(super) withheld: bool,
    pub(super) lingers: Duration,
    pub(super) hanging_up: bool,
    /// The session that its AUTH spoke for.
    pub(super) uid: Option<Uid>,
}

impl Socket {
    /// The way that leads to this end.
    pub(super) const fn to(&mut self, end: End) -> &mut Way {
        match end {
            End::Client => &mut self.down,
            End::Server => &mut self.up,
        }
    }

    pub(super) const fn side(&mut self, end: End) -> &mut Side {
        match end {
            End::Client => &mut self.client,
            End::Server => &mut self.server,
        }
    }

    /// The end's driver closes it: nothing is heard there any more, and the other end will be told.
    pub(super) fn close(&mut self, now: Instant, end: End, chance: &mut Chance) {
        *self.side(end) = Side::Gone;
        self.to(end).clear();
        let path = self.path;
        self.to(end.other()).send(now, Item::Close, &path, chance);
    }
}
