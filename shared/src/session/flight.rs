//! What is on its way on one connection, as its acknowledgements tell: whether it moves, and how much the path takes.
//!
//! The peer acknowledges what it receives within 25 ms, and at once where much follows. One that is overdue shows a stall;
//! one that takes longer than the path's shortest shows a queue.
//!
//! While somebody types, which messages of the first priority show, no queue is to be there at all: as BBR does to learn of a
//! path (draft-ietf-ccwg-bbr, ProbeRTT), it begins with the least that moves, and grows as long as nothing takes longer.

use alloc::boxed::Box;
use core::time::Duration;

use crate::{
    limits::{
        ACK_LEN, FLIGHT_LEN_FIRST, FLIGHT_LEN_MIN, FLIGHT_LEN_STEP, PRESSED_KEPT_SECS, PRESSED_QUEUEING_MICROS,
        PRESSED_SECS, QUEUEING_MILLIS, RESEND_LEN_MAX, STALL_MILLIS,
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
    /// Boxed: most sessions have no channel of the first priority.
    pressed: Option<Box<Pressed>>,
}

/// What is known of the path since a message of the first priority left.
#[derive(Debug)]
struct Pressed {
    /// The last one, and whether that is not long ago.
    at: Instant,
    lately: bool,
    /// The shortest round trip since the first.
    shortest: Duration,
    /// As that of [`Flight`].
    len_max: usize,
}

impl Default for Pressed {
    fn default() -> Self {
        Self { at: Instant::default(), lately: true, shortest: Duration::MAX, len_max: FLIGHT_LEN_MIN }
    }
}

impl Pressed {
    fn adapt(&mut self, sample: Duration, len: usize) {
        self.shortest = self.shortest.min(sample);
        if sample > self.shortest + self.shortest / 4 + Duration::from_micros(PRESSED_QUEUEING_MICROS) {
            self.len_max = (self.len_max / 4 * 3).max(FLIGHT_LEN_MIN);
        } else if len >= self.len_max / 2 {
            self.len_max = (self.len_max / 2 * 3).min(RESEND_LEN_MAX);
        }
    }
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
            pressed: None,
        }
    }
}

impl Flight {
    /// The path is most often the same as before, and what was learned of it still holds; if not, it is learned anew.
    pub(super) fn on_another_connection(&self) -> Self {
        let &Self { shortest, len_max, queued_before, .. } = self;
        Self { shortest, len_max, queued_before, ..Self::default() }
    }

    /// The smoothed time between sealing and acknowledgement on this connection.
    pub(super) const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Bytes that may be sealed and unacknowledged.
    pub(super) fn len_max(&self) -> usize {
        let pressed = self.pressed.as_ref().filter(|pressed| pressed.lately);
        pressed.map_or(self.len_max, |pressed| pressed.len_max.min(self.len_max))
    }

    /// A message of the first priority leaves.
    pub(super) fn press(&mut self, now: Instant) {
        let pressed = self.pressed.get_or_insert_default();
        if now - pressed.at > Duration::from_secs(PRESSED_KEPT_SECS) {
            **pressed = Pressed::default();
        }
        (pressed.at, pressed.lately) = (now, true);
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

    /// Looks whether the last press is long ago.
    pub(super) fn look_for_presses(&mut self, now: Instant) {
        if let Some(pressed) = &mut self.pressed {
            pressed.lately = now - pressed.at < Duration::from_secs(PRESSED_SECS);
        }
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
                if let Some(pressed) = &mut self.pressed {
                    pressed.adapt(sample, len);
                }
            }
            let more = count < sealed || datagrams != self.sent;
            self.awaited = more.then_some((sealed, self.sent, now, self.len));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When so many milliseconds have gone, of a sender with much to send, on a path of so many microseconds that takes `rate` bytes
    /// in each.
    fn after(flight: &mut Flight, from: Instant, millis: u64, path_micros: u64, rate: u64) -> Instant {
        let (mut now, until, mut counted) = (from, from + Duration::from_millis(millis), flight.len);
        while now < until {
            let len = flight.len_max();
            counted += 1;
            flight.sealed(now, counted, 0, 1, true);
            flight.len += len as u64;
            now = now + Duration::from_micros(path_micros.max(len as u64 / rate));
            assert!(flight.acknowledged(now, (counted, 0), counted, len));
        }
        now
    }

    #[test]
    fn while_somebody_types_nothing_queues_and_a_long_path_is_filled_all_the_same() {
        for (path_micros, rate) in [(400, 200), (100_000, 20)] {
            let path = (path_micros * rate).max(FLIGHT_LEN_MIN as u64);
            let mut flight = Flight::default();
            let mut now = after(&mut flight, Instant::from_micros(0), 30_000, path_micros, rate);
            assert!(flight.len_max() as u64 >= path, "{} of {path} without a key", flight.len_max());
            flight.press(now);
            assert_eq!(flight.len_max(), FLIGHT_LEN_MIN);
            for _ in 0..20 {
                flight.press(now);
                now = after(&mut flight, now, 200, path_micros, rate);
                flight.look_for_presses(now);
            }
            let len = flight.len_max() as u64;
            assert!(len >= path * 3 / 4 && len <= path * 7 / 4, "{len} of {path} while keys are pressed");
            flight.look_for_presses(now + Duration::from_secs(PRESSED_SECS));
            assert!(flight.len_max() as u64 >= path, "{} of {path} after them", flight.len_max());
        }
    }
}
