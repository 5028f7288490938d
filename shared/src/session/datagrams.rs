//! Datagrams: best effort. They wait in bounded queues, for at most their deadline, and are sent once.
//!
//! ```text
//! send ─► queue (deadline, replace-key) ─► record, if the link moves ─► queue of the other end ─► application
//! ```
//!
//! A WebSocket cannot take back what it was given, so that a datagram leaves the queue only while the link moves: the peer
//! acknowledges what it receives within 25 ms, and an acknowledgement that is overdue shows a stall.

use core::time::Duration;

use alloc::{collections::VecDeque, vec::Vec};

use crate::{
    ids::ChannelId,
    limits::{
        ACK_LEN, DATAGRAM_QUEUE_LEN_MAX, DATAGRAMS_MAX, FLIGHT_LEN_FIRST, FLIGHT_LEN_MIN, FLIGHT_LEN_STEP,
        QUEUEING_MILLIS, RESEND_LEN_MAX, STALL_MILLIS,
    },
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

    pub(super) const fn held(&self) -> usize {
        self.arrived_len
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

    #[cfg(test)]
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

/// Whether what this connection was given moves, and how much may be on its way, as its acknowledgements tell.
#[derive(Debug)]
pub(super) struct Flight {
    /// Datagrams sealed and acknowledged on this connection. They wrap.
    sent: u32,
    acked: u32,
    /// Received on this connection.
    pub(super) received: u32,
    /// What must be acknowledged: counted frames and datagrams; since when it is on its way, and after how many bytes.
    awaited: Option<(u64, u32, Instant, u64)>,
    /// Bytes of frames that were sealed.
    len: u64,
    /// The smoothed time between sealing and acknowledgement.
    round_trip: Option<Duration>,
    /// The shortest that there was; it ages, since paths change.
    shortest: Duration,
    /// Bytes that may be sealed and unacknowledged, and whether they were too many before.
    len_max: usize,
    queued_before: bool,
    stalled: bool,
    /// AUTH_OK has come or gone.
    pub(super) open: bool,
}

impl Default for Flight {
    fn default() -> Self {
        Self {
            sent: 0,
            acked: 0,
            received: 0,
            awaited: None,
            len: 0,
            round_trip: None,
            shortest: Duration::MAX,
            len_max: FLIGHT_LEN_FIRST,
            queued_before: false,
            stalled: false,
            open: false,
        }
    }
}

impl Flight {
    /// The path is most often the same as before, and what was learned of it still holds; if not, it is learned anew.
    pub(super) fn on_another_connection(&self) -> Self {
        let Self { shortest, len_max, queued_before, .. } = *self;
        Self { shortest, len_max, queued_before, ..Self::default() }
    }

    /// Bytes that may be sealed and unacknowledged.
    pub(super) const fn len_max(&self) -> usize {
        self.len_max
    }

    /// An acknowledgement took so long while so many bytes were on their way.
    fn adapt(&mut self, sample: Duration, len: usize) {
        self.shortest = (self.shortest.saturating_add(self.shortest / 64)).min(sample);
        if sample > self.shortest.saturating_add(Duration::from_millis(QUEUEING_MILLIS)) {
            self.queued_before = true;
            self.len_max = (self.len_max - self.len_max / 8).max(FLIGHT_LEN_MIN);
        } else if len >= self.len_max / 2 {
            let step = if self.queued_before { FLIGHT_LEN_STEP } else { self.len_max };
            self.len_max = (self.len_max + step).min(RESEND_LEN_MAX);
        }
    }

    /// Datagrams must wait. Settled by [`Self::look`], and by the next acknowledgement.
    pub(super) const fn is_stalled(&self) -> bool {
        self.stalled || !self.open
    }

    /// Looks at the clock.
    pub(super) fn look(&mut self, now: Instant) {
        let patience = self.round_trip.map_or(Duration::ZERO, |time| time * 3).max(Duration::from_millis(STALL_MILLIS));
        self.stalled = self.awaited.is_some_and(|(.., since, _)| now - since > patience);
    }

    /// A record was filled with `len` bytes; `sealed` counted frames have left on this connection.
    pub(super) fn sealed(&mut self, now: Instant, sealed: u64, datagrams: u32, len: usize, anything: bool) {
        self.sent = self.sent.wrapping_add(datagrams);
        self.len += len as u64;
        if self.awaited.is_none() && anything {
            self.awaited = Some((sealed, self.sent, now, self.len));
        }
    }

    /// An acknowledgement has come, when `len` bytes were on their way. False if it counts what was never sent.
    pub(super) fn acknowledged(
        &mut self,
        now: Instant,
        (count, datagrams): (u64, u32),
        sealed: u64,
        len: usize,
    ) -> bool {
        if datagrams.wrapping_sub(self.acked) > self.sent.wrapping_sub(self.acked) {
            return false;
        }
        self.acked = datagrams;
        let Some((counted, sent, since, until)) = self.awaited else { return true };
        if count >= counted && self.sent.wrapping_sub(datagrams) <= self.sent.wrapping_sub(sent) {
            let sample = now - since;
            self.round_trip = Some(self.round_trip.map_or(sample, |mean| (mean * 7 + sample) / 8));
            self.stalled = false;
            // Only what more than this follows is acknowledged at once; the rest says more of the peer's timer than of the path.
            if self.len - until >= ACK_LEN as u64 {
                self.adapt(sample, len);
            }
            let more = count < sealed || datagrams != self.sent;
            self.awaited = more.then_some((sealed, self.sent, now, self.len));
        }
        true
    }
}
