//! What is measured where it passes: how long handshakes, resumptions and turns take. All else that `/metrics` has is counted already
//! and read when it is asked for (`api/status.rs`).
//!
//! A handshake and a resumption cost one observation each; of batches of messages one in [`SAMPLED`] is measured.

use std::time::{Duration, Instant};

use prometheus_client::{
    metrics::histogram::{Histogram, exponential_buckets},
    registry::{Registry, Unit},
};

/// Of so many batches of a channel one is measured, the first among them.
const SAMPLED: u32 = 256;

/// Histograms in seconds. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    handshake: Histogram,
    resume: Histogram,
    turn: Histogram,
}

/// Begins to measure the batch of this number in its channel, if it is one of those.
pub(crate) fn begin(number: u32) -> Option<Instant> {
    number.is_multiple_of(SAMPLED).then(Instant::now)
}

impl Default for Times {
    fn default() -> Self {
        // From half a millisecond to 4 s; from ten microseconds to 2.6 s.
        let (slow, fast) = (|| exponential_buckets(0.000_5, 2.0, 14), exponential_buckets(0.000_01, 4.0, 10));
        Self { handshake: Histogram::new(slow()), resume: Histogram::new(slow()), turn: Histogram::new(fast) }
    }
}

impl Times {
    /// A device has signed, so long after its WebSocket was there.
    pub(crate) fn handshake(&self, took: Duration) {
        self.handshake.observe(took.as_secs_f64());
    }

    /// A session goes on over another connection, so long after that one's WebSocket was there.
    pub(crate) fn resume(&self, took: Duration) {
        self.resume.observe(took.as_secs_f64());
    }

    /// Messages were answered, so long after they were taken.
    pub(crate) fn turn(&self, took: Duration) {
        self.turn.observe(took.as_secs_f64());
    }

    /// Has a registry tell them.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let mut add = |name: &str, help: &str, times: &Histogram| {
            registry.register_with_unit(name, help, Unit::Seconds, times.clone());
        };
        add("handshake", "From an open WebSocket to the device's proof", &self.handshake);
        add("resume", "From an open WebSocket to a session that goes on over it", &self.resume);
        add(
            "turn",
            "From messages taken at once by the service echo to their answers given to the line; one in 256",
            &self.turn,
        );
    }
}
