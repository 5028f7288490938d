//! Datagrams: best effort. They wait in bounded queues, for at most their deadline, and are sent once.
//!
//! ```text
//! send ─► queue (deadline, replace-key) ─► record, if the link moves ─► queue of the other end ─► application
//! ```
//!
//! A WebSocket cannot take back what it was given, so that a datagram leaves the queue only while the link moves, as
//! `flight.rs` tells.

use alloc::{collections::VecDeque, vec::Vec};

use crate::{
    codec::{Reader, put_counts},
    error::InvalidMessage,
    ids::ChannelId,
    limits::{DATAGRAM_QUEUE_LEN_MAX, DATAGRAMS_MAX},
    time::Instant,
};

/// What became of a channel's datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatagramStats {
    /// Left this end. Whether they arrived is not known.
    pub sent: u64,
    /// Dropped here because their deadline had passed.
    pub expired: u64,
    /// Dropped here because a newer one of the same key came.
    pub replaced: u64,
    /// Dropped here because too many waited.
    pub overflowed: u64,
    /// Arrived.
    pub received: u64,
    /// Arrived, and dropped because the application did not read them.
    pub unread: u64,
}

/// A channel's own part.
#[derive(Debug, Default)]
pub(crate) struct ChannelDatagrams {
    pub(super) stats: DatagramStats,
    arrived: VecDeque<Vec<u8>>,
    arrived_len: usize,
}

impl ChannelDatagrams {
    pub(super) fn push(&mut self, data: &[u8]) {
        self.stats.received += 1;
        self.arrived_len += data.len();
        self.arrived.push_back(data.to_vec());
        while self.arrived.len() > DATAGRAMS_MAX || self.arrived_len > DATAGRAM_QUEUE_LEN_MAX {
            self.drop_oldest();
        }
    }

    pub(super) fn drop_oldest(&mut self) {
        if self.pop().is_some() {
            self.stats.unread += 1;
        }
    }

    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        let data = self.arrived.pop_front()?;
        self.arrived_len -= data.len();
        if self.arrived.is_empty() {
            self.arrived = VecDeque::new();
        }
        Some(data)
    }

    pub(super) fn is_readable(&self) -> bool {
        !self.arrived.is_empty()
    }

    pub(super) const fn held(&self) -> usize {
        self.arrived_len
    }

    /// What a snapshot has of them: the counts. What waits, in either direction, is dropped there.
    pub(super) fn put(&self, waiting: u64, out: &mut Vec<u8>) {
        let DatagramStats { sent, expired, replaced, overflowed, received, unread } = self.stats;
        let unread = unread + self.arrived.len() as u64;
        put_counts(out, &[sent, expired + waiting, replaced, overflowed, received, unread]);
    }

    /// Of a snapshot.
    pub(super) fn revive(reader: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        let [sent, expired, replaced, overflowed, received, unread] = reader.counts()?;
        let stats = DatagramStats { sent, expired, replaced, overflowed, received, unread };
        Ok(Self { stats, ..Self::default() })
    }
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) channel: ChannelId,
    pub(super) data: Vec<u8>,
    pub(super) deadline: Instant,
    pub(super) key: Option<u32>,
}

/// What waits for the link, of all channels, in order.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    queue: VecDeque<Waiting>,
    len: usize,
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The one that the new one replaces: it gives up its place in the queue.
    pub(super) fn replace(&mut self, datagram: Waiting) -> Result<(), Waiting> {
        let same = |other: &&mut Waiting| other.channel == datagram.channel && other.key == datagram.key;
        match self.queue.iter_mut().find(same).filter(|_| datagram.key.is_some()) {
            Some(older) => {
                self.len = self.len - older.data.len() + datagram.data.len();
                *older = datagram;
                Ok(())
            }
            None => Err(datagram),
        }
    }

    /// Takes out those that are meant, in their order.
    pub(super) fn split_off(&mut self, is_meant: impl Fn(&Waiting) -> bool) -> Self {
        let mut split = Self::default();
        for datagram in core::mem::take(self).queue {
            if is_meant(&datagram) { &mut split } else { &mut *self }.push(datagram);
        }
        split
    }

    pub(super) fn push(&mut self, datagram: Waiting) {
        self.len += datagram.data.len();
        self.queue.push_back(datagram);
    }

    /// The oldest, if too many wait.
    pub(super) fn pop_excess(&mut self) -> Option<Waiting> {
        (self.queue.len() > DATAGRAMS_MAX || self.len > DATAGRAM_QUEUE_LEN_MAX).then(|| self.pop()).flatten()
    }

    /// All whose deadline has passed.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<Waiting> {
        let (index, _) = self.next(|datagram| datagram.deadline <= now)?;
        self.remove(index)
    }

    /// The oldest that may leave.
    pub(super) fn next(&self, may: impl Fn(&Waiting) -> bool) -> Option<(usize, &Waiting)> {
        self.queue.iter().enumerate().find(|(_, datagram)| may(datagram))
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn count(&self, id: ChannelId) -> u64 {
        self.queue.iter().filter(|datagram| datagram.channel == id).count() as u64
    }

    fn pop(&mut self) -> Option<Waiting> {
        self.remove(0)
    }

    pub(super) fn remove(&mut self, index: usize) -> Option<Waiting> {
        let datagram = self.queue.remove(index)?;
        self.len -= datagram.data.len();
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        Some(datagram)
    }
}
