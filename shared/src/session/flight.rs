//! What is on its way on one connection, as its acknowledgements tell: whether it moves, and how much the path takes.
//!
//! The peer acknowledges what it receives within 25 ms, and at once where much follows. One that is overdue shows a stall;
//! one that takes longer than the path's shortest shows a queue.

use core::time::Duration;

use crate::{
    limits::{
        ACK_LEN, FLIGHT_LEN_FIRST, FLIGHT_LEN_MIN, FLIGHT_LEN_STEP, QUEUEING_MILLIS, RESEND_LEN_MAX, STALL_MILLIS,
    },
    time::Instant,
};

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

    /// The smoothed time between sealing and acknowledgement on this connection.
    pub(super) const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
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
