//! How much of what a rule opens somebody may have: a subject, else a device, on all its lines together; guests are one.
//!
//! ```text
//! rule and subject ─► Meter ─┬─ places: channels that are open at a time
//!                            └─ buckets: messages and bytes a second. Who has taken more waits until it is paid for
//! ```
//!
//! A bucket is paid for afterwards (GCRA with a debt): how long a message is shows when it is taken, and to look at it first would
//! lose it where nobody waits for it any more. A meter lives as long as one of its channels is open, and until all is paid for:
//! another channel is no way round it.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use duologue_native::Pace;

use crate::door::{holder::Holder, standing::Subject};

/// What a rule bounds. None: nothing beyond what holds for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Channels that are open at a time.
    pub channels: Option<NonZeroU32>,
    /// Messages and datagrams a second that are taken from the caller; a second's worth may come at once.
    pub messages: Option<NonZeroU32>,
    /// Bytes a second that are taken from the caller; a second's worth may come at once.
    pub bytes: Option<NonZeroU32>,
    /// The longest message, or all that a stream may bring, in bytes.
    pub size: Option<NonZeroU32>,
}

impl Limits {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The meters that are in use.
#[derive(Debug, Default)]
pub(crate) struct Meters(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    of: HashMap<(Arc<str>, Limits, Holder), Arc<Meter>>,
    /// How many there may be before those that nothing is counted on any more are removed.
    tidy_at: usize,
}

#[derive(Debug)]
struct Meter {
    rule: Arc<str>,
    limits: Limits,
    who: Holder,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    channels: u32,
    messages: Bucket,
    bytes: Bucket,
}

/// A channel's place in a meter, which is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Meter>);

impl Meters {
    /// A place for one more channel; nothing where there are no limits.
    ///
    /// # Errors
    /// If all places are taken.
    pub(crate) fn enter(
        &self,
        rule: &Arc<str>,
        limits: Limits,
        subject: Option<&Subject>,
        holder: &Holder,
    ) -> Result<Option<Permit>, Full> {
        if limits.is_empty() {
            return Ok(None);
        }
        let who = who(subject, holder);
        let meter = self.meter((Arc::clone(rule), limits, who));
        let mut state = meter.state.lock().unwrap_or_else(PoisonError::into_inner);
        if limits.channels.is_some_and(|max| state.channels >= max.get()) {
            return Err(Full);
        }
        state.channels += 1;
        drop(state);
        Ok(Some(Permit(meter)))
    }

    fn meter(&self, key: (Arc<str>, Limits, Holder)) -> Arc<Meter> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = table.of.get(&key) {
            return Arc::clone(meter);
        }
        if table.of.len() >= table.tidy_at {
            let now = Instant::now();
            table.of.retain(|_, meter| Arc::strong_count(meter) > 1 || meter.owes(now));
            table.tidy_at = 2 * table.of.len() + 64;
        }
        let limits = key.1;
        let (messages, bytes) = (Bucket::new(limits.messages), Bucket::new(limits.bytes));
        let state = Mutex::new(State { channels: 0, messages, bytes });
        let meter = Arc::new(Meter { rule: Arc::clone(&key.0), limits, who: key.2.clone(), state });
        table.of.insert(key, Arc::clone(&meter));
        meter
    }
}

impl Meter {
    fn owes(&self, now: Instant) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.messages.owes(now) || state.bytes.owes(now)
    }
}

/// Who is counted as one: a subject on whatever devices, and all guests, from wherever they come.
fn who(subject: Option<&Subject>, holder: &Holder) -> Holder {
    match (subject, holder) {
        (Some(subject), _) => Holder::Subject(subject.clone()),
        (None, Holder::Guests(_)) => Holder::Guests(None),
        (None, holder) => holder.clone(),
    }
}

/// Every place is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Permit {
    /// Whether it is what would be given now, so that a channel keeps it.
    pub(crate) fn is_for(&self, rule: &str, limits: Limits, subject: Option<&Subject>, holder: &Holder) -> bool {
        self.0.who == who(subject, holder) && *self.0.rule == *rule && self.0.limits == limits
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).channels -= 1;
    }
}

impl Pace for Permit {
    fn wait(&self) -> Duration {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        state.messages.debt(now).max(state.bytes.debt(now))
    }

    fn took(&self, messages: u32, len: usize) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        state.messages.take(now, u64::from(messages));
        state.bytes.take(now, len as u64);
    }

    fn size_max(&self) -> Option<u64> {
        self.0.limits.size.map(|size| size.get().into())
    }
}

/// So many a second, and a second's worth at once.
#[derive(Debug)]
struct Bucket {
    per_second: Option<NonZeroU32>,
    /// When all that was taken is paid for.
    paid_at: Option<Instant>,
}

impl Bucket {
    const fn new(per_second: Option<NonZeroU32>) -> Self {
        Self { per_second, paid_at: None }
    }

    /// How long until one more may be taken.
    fn debt(&self, now: Instant) -> Duration {
        let ahead = self.paid_at.map_or(Duration::ZERO, |paid_at| paid_at.saturating_duration_since(now));
        // What fills a second's worth is no debt yet; the last of it is taken at its end.
        ahead.saturating_sub(Duration::from_secs(1).saturating_sub(self.cost(1)))
    }

    /// Whether a new one would give more.
    fn owes(&self, now: Instant) -> bool {
        self.paid_at.is_some_and(|paid_at| paid_at > now)
    }

    fn take(&mut self, now: Instant, count: u64) {
        let from = self.paid_at.map_or(now, |paid_at| paid_at.max(now));
        self.paid_at = Some(from + self.cost(count));
    }

    fn cost(&self, count: u64) -> Duration {
        let Some(per_second) = self.per_second else { return Duration::ZERO };
        let nanos = u128::from(count) * 1_000_000_000 / u128::from(per_second.get());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use duologue::DeviceId;

    use super::*;

    fn some(number: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(number)
    }

    #[test]
    fn a_seconds_worth_comes_at_once_and_then_each_waits_for_its_turn() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut bucket = Bucket::new(some(10));
        for _ in 0..10 {
            assert_eq!(bucket.debt(start), Duration::ZERO);
            bucket.take(start, 1);
        }
        assert_eq!(bucket.debt(start), Duration::from_millis(100));
        assert_eq!(bucket.debt(at(40)), Duration::from_millis(60));
        assert_eq!(bucket.debt(at(100)), Duration::ZERO);
        // One that is longer than a second's worth is paid for afterwards.
        bucket.take(at(100), 100);
        assert_eq!(bucket.debt(at(100)), Duration::from_secs(10));
        // Who was quiet for long has a second's worth, and no more.
        for _ in 0..10 {
            assert_eq!(bucket.debt(at(60_000)), Duration::ZERO);
            bucket.take(at(60_000), 1);
        }
        assert!(bucket.debt(at(60_000)) > Duration::ZERO);
        assert_eq!(Bucket::new(None).debt(start), Duration::ZERO);
    }

    #[test]
    fn a_subject_is_counted_as_one_on_all_its_devices_and_a_place_is_given_back() {
        let (meters, rule): (Meters, Arc<str>) = (Meters::default(), "pay".into());
        let limits = Limits { channels: some(2), ..Limits::default() };
        let ada = Subject::new("ada").expect("a subject");
        let enter = |subject, device| meters.enter(&rule, limits, subject, &DeviceId([device; 32]).into());
        let first = enter(Some(&ada), 1).expect("a place");
        let _second = enter(Some(&ada), 2).expect("a place");
        assert!(enter(Some(&ada), 3).is_err());
        assert!(enter(None, 1).is_ok(), "a device without a subject is another");
        drop(first);
        assert!(enter(Some(&ada), 3).is_ok());
        assert!(meters.enter(&rule, Limits::default(), None, &DeviceId([1; 32]).into()).is_ok_and(|it| it.is_none()));
    }

    #[test]
    fn all_guests_are_counted_as_one_and_take_no_place_of_a_device() {
        let (meters, rule): (Meters, Arc<str>) = (Meters::default(), "login".into());
        let limits = Limits { channels: some(2), ..Limits::default() };
        let enter = |holder: &Holder| meters.enter(&rule, limits, None, holder);
        let guest = |network: u8| Holder::guest([192, 0, 2, network].into());
        let first = enter(&guest(1)).expect("a place").expect("limits");
        let _second = enter(&guest(2)).expect("a place");
        assert!(enter(&guest(3)).is_err(), "wherever they come from");
        assert!(enter(&DeviceId([1; 32]).into()).is_ok());
        assert!(first.is_for("login", limits, None, &guest(9)), "a guest who moves keeps it");
        let ada = Subject::new("ada").expect("a subject");
        assert!(!first.is_for("login", limits, Some(&ada), &Holder::Subject(ada.clone())), "who logs in has his own");
    }

    #[test]
    fn meters_go_when_nothing_is_counted_on_them_any_more() {
        let (meters, rule): (Meters, Arc<str>) = (Meters::default(), "pay".into());
        let limits = Limits { channels: some(1), ..Limits::default() };
        for number in 0..=255 {
            for other in 0..8 {
                let mut device = [number; 32];
                device[31] = other;
                drop(meters.enter(&rule, limits, None, &DeviceId(device).into()));
            }
        }
        assert!(meters.0.lock().expect("whole").of.len() <= 66);
    }

    #[test]
    fn another_channel_is_no_way_round_a_debt() {
        let (meters, rule): (Meters, Arc<str>) = (Meters::default(), "pay".into());
        let limits = Limits { messages: some(1), ..Limits::default() };
        let enter = || meters.enter(&rule, limits, None, &DeviceId([1; 32]).into()).expect("no bound").expect("limits");
        let first = enter();
        first.took(60, 0);
        drop(first);
        for number in 2..=255 {
            drop(meters.enter(&rule, limits, None, &DeviceId([number; 32]).into()));
        }
        assert!(enter().wait() > Duration::from_secs(30));
    }
}
