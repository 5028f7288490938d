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

use crate::door::{firewall::Key, holder::Holder, standing::Subject};

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

/// What a meter bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Bounds {
    pub(crate) limits: Limits,
    /// Requests to a backend a second; a second's worth may come at once. No rule bounds them.
    pub(crate) requests: Option<NonZeroU32>,
}

impl From<Limits> for Bounds {
    fn from(limits: Limits) -> Self {
        Self { limits, requests: None }
    }
}

impl Limits {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Which rule, none of what holds beside the rules; what it bounds, and on whom it counts.
type Name = (Option<Arc<str>>, Bounds, Whose);

/// The meters that are in use.
#[derive(Debug, Default)]
pub(crate) struct Meters(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    of: HashMap<Name, Arc<Meter>>,
    /// How many there may be before those that nothing is counted on any more are removed.
    tidy_at: usize,
}

#[derive(Debug)]
struct Meter {
    name: Name,
    state: Mutex<State>,
}

/// On whom a meter counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Whose {
    /// A subject on whatever devices, else a device; all guests, from wherever they come.
    Identity(Holder),
    /// Everybody of a network.
    Network(Key),
    All,
}

impl Whose {
    pub(crate) fn of(subject: Option<&Subject>, holder: &Holder) -> Self {
        Self::Identity(match (subject, holder) {
            (Some(subject), _) => Holder::Subject(subject.clone()),
            (None, Holder::Guests(_)) => Holder::Guests(None),
            (None, holder) => holder.clone(),
        })
    }
}

#[derive(Debug)]
struct State {
    channels: u32,
    messages: Bucket,
    bytes: Bucket,
    requests: Bucket,
}

/// A channel's place in a meter, which is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Meter>);

/// The pace of a channel on which several meters count.
#[derive(Debug)]
pub(crate) struct Permits(Vec<Arc<Permit>>);

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
        let meter = self.meter((Some(Arc::clone(rule)), limits.into(), Whose::of(subject, holder)));
        let mut state = meter.state.lock().unwrap_or_else(PoisonError::into_inner);
        if limits.channels.is_some_and(|max| state.channels >= max.get()) {
            return Err(Full);
        }
        state.channels += 1;
        drop(state);
        Ok(Some(Permit(meter)))
    }

    /// A place in what is counted beside the rules.
    pub(crate) fn purse(&self, bounds: Bounds, whose: Whose) -> Permit {
        let meter = self.meter((None, bounds, whose));
        meter.state.lock().unwrap_or_else(PoisonError::into_inner).channels += 1;
        Permit(meter)
    }

    fn meter(&self, name: Name) -> Arc<Meter> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = table.of.get(&name) {
            return Arc::clone(meter);
        }
        if table.of.len() >= table.tidy_at {
            let now = Instant::now();
            table.of.retain(|_, meter| Arc::strong_count(meter) > 1 || meter.owes(now));
            table.tidy_at = 2 * table.of.len() + 64;
        }
        let Bounds { limits, requests } = name.1;
        let [messages, bytes, requests] = [limits.messages, limits.bytes, requests].map(Bucket::new);
        let state = Mutex::new(State { channels: 0, messages, bytes, requests });
        let meter = Arc::new(Meter { name: name.clone(), state });
        table.of.insert(name, Arc::clone(&meter));
        meter
    }
}

impl Meter {
    fn owes(&self, now: Instant) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        [&state.messages, &state.bytes, &state.requests].iter().any(|bucket| bucket.owes(now))
    }
}

/// Every place is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Permit {
    /// Whether it is what would be given now, so that a channel keeps it.
    pub(crate) fn is_for(&self, rule: &str, limits: Limits, subject: Option<&Subject>, holder: &Holder) -> bool {
        let (own, bounds, whose) = &self.0.name;
        *whose == Whose::of(subject, holder) && own.as_deref() == Some(rule) && *bounds == limits.into()
    }
}

impl Permit {
    /// How long until one more request may be made.
    fn request_waits(&self, now: Instant) -> Duration {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).requests.debt(now)
    }

    fn takes_request(&self, now: Instant) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).requests.take(now, 1);
    }
}

impl Permits {
    pub(crate) const fn new(all: Vec<Arc<Permit>>) -> Self {
        Self(all)
    }

    /// Whether they are those that would be given now.
    pub(crate) fn are(&self, others: &[Arc<Permit>]) -> bool {
        self.0.len() == others.len() && self.0.iter().zip(others).all(|(own, other)| Arc::ptr_eq(&own.0, &other.0))
    }

    /// How long until one more request may be made.
    pub(crate) fn request_waits(&self) -> Duration {
        let now = Instant::now();
        self.0.iter().map(|permit| permit.request_waits(now)).max().unwrap_or_default()
    }

    /// A request is made.
    pub(crate) fn takes_request(&self) {
        let now = Instant::now();
        self.0.iter().for_each(|permit| permit.takes_request(now));
    }
}

impl Pace for Permits {
    fn wait(&self) -> Duration {
        self.0.iter().map(|permit| permit.wait()).max().unwrap_or_default()
    }

    fn took(&self, messages: u32, len: usize) {
        self.0.iter().for_each(|permit| permit.took(messages, len));
    }

    fn size_max(&self) -> Option<u64> {
        self.0.iter().filter_map(|permit| permit.size_max()).min()
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
        self.0.name.1.limits.size.map(|size| size.get().into())
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
