//! A log that cannot be made to shout: a filter before whatever writes the log.
//!
//! Every event that a peer can cause names a `device` that has proved itself or an `address`; those of one kind of one peer are
//! told once a minute, and counted (`counts.rs`). It stands where all events come by, not where they are made, so that none is
//! forgotten, also of libraries. What only the owner can cause, or a bounded number of times (an enrolment takes an invite), has
//! the target [`OWNERS`] and is always told.
//!
//! A device that nobody has let in is a stranger, whatever it has proved: keys cost nothing, and whoever makes a thousand of them
//! is told by the address they come from ([`stranger`]).
//!
//! DEBUG and TRACE are told without a bound: they are asked for by somebody who looks for something.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fmt::{self, Write},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
    time::Instant,
};

use tracing::{
    Event, Level, Metadata,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Filter};

use super::counts::{Counts, Kind, MINUTE, Peer};

/// The target of what the owner must hear.
pub const OWNERS: &str = "duologue::owner";

/// The target of spans: what a connection, and each channel of a line, is about. They name a device and a session, and nothing that
/// anybody has said.
pub const SPANS: &str = "duologue::span";

/// What a line has besides its fields, in bytes: time, level, the words around them.
pub(super) const OVERHEAD: usize = 90;

/// Bounds what a peer can make a log say. Give it to a layer of `tracing-subscriber` by `with_filter`. Clones share their counts.
#[derive(Clone, Debug)]
pub struct BoundedLog(Arc<Mutex<Counts>>);

impl Default for BoundedLog {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Counts::new(Instant::now()))))
    }
}

impl BoundedLog {
    /// Nothing was told yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells what was counted since the last time; to be called each minute, and when the process stops.
    pub fn tell(&self) {
        // Not while the counts are held: these events come by here as well.
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner).tell();
        for (whose, what) in told {
            tracing::info!(target: OWNERS, "not told one by one in the last minute: {whose}: {what}");
        }
    }

    /// Tells it each minute, on a thread of its own, for as long as the process lives.
    ///
    /// # Errors
    /// If there can be no further thread.
    pub fn tell_each_minute(&self) -> std::io::Result<()> {
        let own = self.clone();
        let forever = move || loop {
            std::thread::sleep(MINUTE);
            own.tell();
        };
        std::thread::Builder::new().name("log".to_owned()).spawn(forever).map(drop)
    }
}

impl<S> Filter<S> for BoundedLog {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || metadata.target() == OWNERS {
            return true;
        }
        let mut seen = Seen { len: OVERHEAD, ..Seen::default() };
        event.record(&mut seen);
        let peer = match (seen.device, seen.address) {
            (Some(device), _) => match TOLD_AS.get().or_else(|| Some(strangers().get(&device)?.0)) {
                Some(address) => Peer::of_stranger(address),
                None => Peer::Device(device),
            },
            (None, Some(address)) => Peer::of_address(&address),
            (None, None) => Peer::Nobody,
        };
        let kind = Kind { place: std::ptr::from_ref(metadata).addr(), words: &seen.words };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).handle(Instant::now(), peer, kind, seen.len)
    }
}

/// Devices that nobody has let in, by their ids as events write them: from where each has come, and how often it is here.
static STRANGERS: RwLock<BTreeMap<String, (IpAddr, usize)>> = RwLock::new(BTreeMap::new());

fn strangers() -> RwLockReadGuard<'static, BTreeMap<String, (IpAddr, usize)>> {
    STRANGERS.read().unwrap_or_else(PoisonError::into_inner)
}

/// From where a device has come that nobody has let in.
pub(super) fn address_of_stranger(device: &impl fmt::Display) -> Option<IpAddr> {
    let strangers = strangers();
    if strangers.is_empty() {
        return None;
    }
    strangers.get(&device.to_string()).map(|(address, _)| *address)
}

thread_local! {
    /// A line of the stream is written after its stranger may have gone: it brings along what it is told as.
    static TOLD_AS: Cell<Option<IpAddr>> = const { Cell::new(None) };
}

/// What this thread logs of a device is told as an address's, until this is dropped.
pub(super) struct ToldAs;

pub(super) fn tell_as(stranger: Option<IpAddr>) -> ToldAs {
    TOLD_AS.set(stranger);
    ToldAs
}

impl Drop for ToldAs {
    fn drop(&mut self) {
        TOLD_AS.set(None);
    }
}

/// What a device does is told as its address's until this is dropped.
#[derive(Debug)]
pub(crate) struct Stranger(String);

/// As many at a time as there may be connections and sessions of devices that nobody has let in.
pub(crate) fn stranger(device: &impl fmt::Display, address: IpAddr) -> Stranger {
    let device = device.to_string();
    let mut all = STRANGERS.write().unwrap_or_else(PoisonError::into_inner);
    let (at, count) = all.entry(device.clone()).or_insert((address, 0));
    (*at, *count) = (address, *count + 1);
    Stranger(device)
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut all = STRANGERS.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, count)) = all.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.0);
            }
        }
    }
}

/// What of an event counts.
#[derive(Default)]
struct Seen {
    device: Option<String>,
    address: Option<String>,
    words: String,
    /// What its line takes, in bytes, or a bit less.
    len: usize,
}

/// The longest that is kept of a field.
const FIELD_LEN_MAX: usize = 80;

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Measured::default();
        // A value that cannot be written ends where it failed.
        let _ = write!(text, "{value:?}");
        self.len = self.len.saturating_add(text.len).saturating_add(field.name().len() + 2);
        match field.name() {
            "device" => self.device = Some(text.start),
            "address" => self.address = Some(text.start),
            "message" => self.words = text.start,
            _ => {}
        }
    }
}

/// The start of a text, and how long it is.
#[derive(Default)]
struct Measured {
    start: String,
    len: usize,
}

impl Write for Measured {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.len = self.len.saturating_add(text.len());
        let room = FIELD_LEN_MAX.saturating_sub(self.start.len());
        self.start.push_str(text.get(..text.floor_char_boundary(room)).unwrap_or_default());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing_subscriber::{Layer, layer::SubscriberExt};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log_of(work: impl FnOnce(&BoundedLog)) -> Vec<String> {
        let (written, bounded) = (Written::default(), BoundedLog::new());
        let writer = written.clone();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_target(false);
        let layer = layer.with_writer(move || writer.clone()).with_filter(bounded.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || work(&bounded));
        let bytes = written.0.lock().expect("no panic").clone();
        String::from_utf8(bytes).expect("it is text").lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_a_device_does_at_will_is_a_line_and_a_count() {
        let log = log_of(|bounded| {
            for number in 0..10_000 {
                let label = format!("label-{number}");
                tracing::info!(label, device = %"d1", "no such service");
                tracing::info!(address = %format!("192.0.2.1:{}", number % 60_000), "a line has ended");
            }
            bounded.tell();
        });
        let [first, second, third, fourth] = &log[..] else { panic!("{log:#?}") };
        assert!(first.contains("no such service") && second.contains("a line has ended"), "{log:#?}");
        assert!(third.ends_with("device d1: 9999 × no such service"), "{log:#?}");
        assert!(fourth.ends_with("address 192.0.2.1: 9999 × a line has ended"), "{log:#?}");
    }

    #[test]
    fn a_thousand_keys_of_a_stranger_are_one_address_and_keep_no_device_out_of_the_log() {
        let log = log_of(|bounded| {
            let mut here = Vec::new();
            for number in 0..1_000 {
                let key = format!("stranger-{number}");
                here.push(stranger(&key, [192, 0, 2, 7].into()));
                tracing::info!(device = %key, "a request was not answered");
            }
            tracing::info!(device = %"let-in", "a request was not answered");
            here.clear();
            tracing::info!(device = %"stranger-1", "a request was not answered");
            bounded.tell();
        });
        let [first, device, gone, counted] = &log[..] else { panic!("{log:#?}") };
        assert!(first.contains("stranger-0") && device.contains("let-in") && gone.contains("stranger-1"), "{log:#?}");
        assert!(counted.ends_with("address 192.0.2.7: 999 × a request was not answered"), "{counted}");
    }

    #[test]
    fn what_the_owner_does_is_always_told_and_so_is_what_somebody_looks_for() {
        let log = log_of(|bounded| {
            for _ in 0..1_000 {
                tracing::info!(target: OWNERS, "an invite was made");
                tracing::debug!(address = %"192.0.2.1", "HTTP failed");
            }
            bounded.tell();
        });
        assert_eq!(log.len(), 2_000);
    }

    #[test]
    fn a_line_is_no_longer_than_was_reckoned() {
        let long = "é".repeat(3_000);
        let log = log_of(|bounded| {
            tracing::warn!(error = %long, device = %"d1", "too long for all the room there is");
            tracing::warn!(error = %"short", device = %"d2", "a file was not taken");
            bounded.tell();
        });
        let [short, counted] = &log[..] else { panic!("{log:#?}") };
        assert!(short.contains("a file was not taken") && short.len() <= OVERHEAD + 60, "{short}");
        assert!(counted.contains("device d1: 1 × too long"), "{counted}");
    }
}
