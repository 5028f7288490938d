//! What is on its way on one connection, as its acknowledgements tell: whether it moves, and how much the path takes.
//!
//! The peer acknowledges what it receives within 25 ms, and at once where much follows. One that is overdue shows a stall;
//! one that takes longer than the path's shortest shows a queue.

use core::time::Duration;

use crate::{
    limits::{
        ACK_LEN, FLIGHT_LEN_FIRST, FLIGHT_LEN_MIN, FLIGHT_LEN_STEP, QUEUEING_MICROS, RESEND_LEN_MAX, SHORTEST_SAMPLES,
        SHORTEST_SECS, STALL_MILLIS,
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
    /// The shortest of late, and when it was seen: paths change.
    shortest: Duration,
    shortest_at: Instant,
    /// The shortest is looked for anew, by letting what queues drain: what may be on its way after that, and how many more
    /// samples it takes.
    looking: Option<(usize, u8)>,
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
            shortest_at: Instant::default(),
            looking: None,
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
        let Self { shortest, shortest_at, queued_before, .. } = *self;
        let len_max = self.looking.map_or(self.len_max, |(before, _)| before);
        Self { shortest, shortest_at, len_max, queued_before, ..Self::default() }
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
    fn adapt(&mut self, now: Instant, sample: Duration, len: usize) {
        if sample < self.shortest {
            (self.shortest, self.shortest_at) = (sample, now);
        }
        if let Some((before, left)) = self.looking {
            self.looking = (left > 1).then_some((before, left - 1));
            if self.looking.is_none() {
                self.len_max = before;
            }
            return;
        }
        if now - self.shortest_at > Duration::from_secs(SHORTEST_SECS) {
            // Under a load that never pauses no sample is short: what is there must drain once.
            (self.shortest, self.shortest_at) = (Duration::MAX, now);
            self.looking = Some((self.len_max, SHORTEST_SAMPLES));
            self.len_max = FLIGHT_LEN_MIN;
            return;
        }
        let queueing = (self.shortest / 8).max(Duration::from_micros(QUEUEING_MICROS));
        if sample > self.shortest.saturating_add(queueing) {
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
                self.adapt(now, sample, len);
            }
            let more = count < sealed || datagrams != self.sent;
            self.awaited = more.then_some((sealed, self.sent, now, self.len));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::Flight;
    use crate::{limits::FLIGHT_LEN_MIN, time::Instant};

    /// A path of 1 ms and 100 bytes a microsecond, which whoever sends keeps full.
    fn round_trip(len: usize) -> Duration {
        let queued = len.saturating_sub(100_000) as u64 / 100;
        Duration::from_micros(1_000 + queued)
    }

    #[test]
    fn a_queue_that_never_drains_is_not_taken_for_the_path() {
        let mut flight = Flight::default();
        let mut now = Instant::default();
        let mut longest = Duration::ZERO;
        while now < Instant::from_micros(120_000_000) {
            let sample = round_trip(flight.len_max);
            now = now + sample;
            flight.adapt(now, sample, flight.len_max);
            // For as long a first megabyte may hide how short the path is.
            if now > Instant::from_micros(12_000_000) {
                longest = longest.max(round_trip(flight.len_max));
            }
        }
        assert!(longest < Duration::from_millis(4), "{longest:?}");
    }

    #[test]
    fn a_path_that_has_become_longer_is_filled_all_the_same() {
        let mut flight = Flight::default();
        let mut now = Instant::default();
        let mut sample = Duration::from_millis(1);
        while now < Instant::from_micros(60_000_000) {
            now = now + sample;
            flight.adapt(now, sample, flight.len_max);
            if now > Instant::from_micros(5_000_000) {
                sample = Duration::from_millis(100);
            }
        }
        assert!(flight.len_max > 8 * FLIGHT_LEN_MIN, "{}", flight.len_max);
    }
}
