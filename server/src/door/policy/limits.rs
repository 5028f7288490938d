//! How much of what a rule opens somebody may have: a subject, else a device, on all its lines together; guests are one, and
//! within that each network of them has a part.
//!
//! ```text
//! rule and subject ─► Meter ─┬─ places: channels that are open at a time
//!                            └─ buckets: messages and bytes a second. Who has taken more waits until it is paid for
//! a guest ─► the meter of all guests, and that of his network, which has a quarter of it
//! ```
//!
//! A bucket is paid for afterwards (GCRA with a debt): how long a message is shows when it is taken, and to look at it first would
//! lose it where nobody waits for it any more. A meter lives as long as one of its channels is open, and until all is paid for:
//! another channel is no way round it.

use std::{
    num::NonZeroU32,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use crate::{
    door::{holder::Holder, standing::Subject},
    state::sharded::Sharded,
};

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

/// One network of guests has this part of what all guests have together, so that it leaves the others something.
const OF_A_NETWORK: u32 = 4;

impl Limits {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What one network of guests has of them: one at least. How long a message may be is the same for everybody.
    fn of_a_network(self) -> Self {
        let part =
            |limit: Option<NonZeroU32>| limit.and_then(|limit| NonZeroU32::new(limit.get().div_ceil(OF_A_NETWORK)));
        Self { channels: part(self.channels), messages: part(self.messages), bytes: part(self.bytes), size: self.size }
    }
}

/// Which rule, what it bounds, and on whom it counts: all guests, from wherever they come, are one, and so are those of one network.
type Name = (Arc<str>, Limits, Holder);

/// The meters that are in use.
#[derive(Debug, Default)]
pub(crate) struct Meters(Mutex<Sharded<Name, Arc<Meter>>>);

#[derive(Debug)]
struct Meter {
    name: Name,
    /// That are open.
    channels: Mutex<u32>,
    messages: Bucket,
    bytes: Bucket,
}

/// Who is one wherever something is counted: a subject on whatever devices, else a device; all guests, from wherever they come.
pub(crate) fn whose(subject: Option<&Subject>, holder: &Holder) -> Holder {
    match (subject, holder) {
        (Some(subject), _) => Holder::Subject(subject.clone()),
        (None, Holder::Guests(_)) => Holder::Guests(None),
        (None, holder) => holder.clone(),
    }
}

/// A channel's place in a meter, which is given back when this is dropped; of a guest whose network is known, in that one's too. A
/// guest who moves keeps both.
#[derive(Debug)]
pub(crate) struct Permit {
    own: Place,
    network: Option<Place>,
}

/// One of a meter's.
#[derive(Debug)]
struct Place(Arc<Meter>);

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
        let name = |limits: Limits, whose| (Arc::clone(rule), limits, whose);
        let network = match (subject, holder) {
            (None, Holder::Guests(Some(_))) => Some(name(limits.of_a_network(), holder.clone())),
            _ => None,
        };
        // The first is given back where the second is full.
        let network = network.map(|name| self.meter(name).enter()).transpose()?;
        let own = self.meter(name(limits, whose(subject, holder))).enter()?;
        Ok(Some(Permit { own, network }))
    }

    fn meter(&self, name: Name) -> Arc<Meter> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = table.get(&name) {
            return Arc::clone(meter);
        }
        let now = now();
        table.tidy_for(&name, |meter| Arc::strong_count(meter) > 1 || meter.owes(now));
        let [messages, bytes] = [name.1.messages, name.1.bytes].map(Bucket::new);
        let meter = Arc::new(Meter { name: name.clone(), channels: Mutex::new(0), messages, bytes });
        table.insert(name, Arc::clone(&meter));
        meter
    }
}

impl Meter {
    /// One more of its channels.
    fn enter(self: Arc<Self>) -> Result<Place, Full> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if self.name.1.channels.is_some_and(|max| *channels >= max.get()) {
            return Err(Full);
        }
        *channels += 1;
        drop(channels);
        Ok(Place(self))
    }

    fn owes(&self, now: u64) -> bool {
        [&self.messages, &self.bytes].iter().any(|bucket| bucket.owes(now))
    }
}

/// Every place is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Permit {
    /// Whether it is what would be given now, so that a channel keeps it.
    pub(crate) fn is_for(&self, rule: &str, limits: Limits, subject: Option<&Subject>, holder: &Holder) -> bool {
        let (own, bounds, holds) = &self.own.0.name;
        *holds == whose(subject, holder) && &**own == rule && *bounds == limits
    }

    /// So much was taken: from when on more may be.
    pub(crate) fn took(&self, now: u64, messages: u32, len: usize) -> u64 {
        let of_each = self
            .places()
            .map(|Place(meter)| meter.messages.take(now, u64::from(messages)).max(meter.bytes.take(now, len as u64)));
        of_each.max().unwrap_or_default()
    }

    /// The longest message, or all that a stream may bring.
    pub(crate) fn size_max(&self) -> Option<u64> {
        self.own.0.name.1.size.map(|size| size.get().into())
    }

    fn places(&self) -> impl Iterator<Item = &Place> {
        std::iter::once(&self.own).chain(&self.network)
    }
}

impl Place {
    fn channels(&self) -> MutexGuard<'_, u32> {
        self.0.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.channels() -= 1;
    }
}

pub(crate) const SECOND: u64 = 1_000_000_000;

/// In nanoseconds, since some moment of this process that is more than 0.
pub(crate) fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since = START.elapsed();
    // 584 years.
    since.as_secs().saturating_mul(SECOND).saturating_add(u64::from(since.subsec_nanos())).saturating_add(1)
}

/// What was taken of a rate. It is asked for each message, so without a lock.
#[derive(Debug)]
struct Bucket {
    rate: Option<Rate>,
    /// When all that was taken is paid for; 0 before anything was.
    paid_at: AtomicU64,
}

impl Bucket {
    fn new(per_second: Option<NonZeroU32>) -> Self {
        Self { rate: per_second.map(Rate::new), paid_at: AtomicU64::new(0) }
    }

    /// Whether a new one would give more.
    fn owes(&self, now: u64) -> bool {
        self.paid_at.load(Ordering::Relaxed) > now
    }

    /// From when on one more may be taken, after so many.
    fn take(&self, now: u64, count: u64) -> u64 {
        self.rate.map_or(0, |rate| rate.take(&self.paid_at, now, count))
    }
}

/// So many a second, and a second's worth at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    per_second: u64,
    /// Up to here a debt is none, in nanoseconds: what fills a second's worth, but for the last of it, which is taken at its end.
    slack: u64,
}

impl Rate {
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        let per_second = u64::from(per_second.get());
        Self { per_second, slack: SECOND - SECOND / per_second }
    }

    /// When all will be paid for that was taken, with so many more. More than 18 GB at a time are no message's.
    pub(crate) const fn paid_at(self, paid_at: u64, now: u64, count: u64) -> u64 {
        let from = if paid_at > now { paid_at } else { now };
        from.saturating_add(count.saturating_mul(SECOND) / self.per_second)
    }

    /// So many more are taken of what several take: from when on one more may be.
    pub(crate) fn take(self, paid_at: &AtomicU64, now: u64, count: u64) -> u64 {
        let mut before = paid_at.load(Ordering::Relaxed);
        loop {
            let after = self.paid_at(before, now, count);
            match paid_at.compare_exchange_weak(before, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return self.free_at(after),
                Err(other) => before = other,
            }
        }
    }

    /// When one more may be taken.
    pub(crate) const fn free_at(self, paid_at: u64) -> u64 {
        paid_at.saturating_sub(self.slack)
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
        let start = SECOND;
        let at = |millis: u64| start + millis * 1_000_000;
        let bucket = Bucket::new(some(10));
        for _ in 0..9 {
            assert!(bucket.take(start, 1) <= start);
        }
        assert_eq!(bucket.take(start, 1), at(100));
        // One that is longer than a second's worth is paid for afterwards.
        assert_eq!(bucket.take(at(100), 100), at(10_100));
        // Who was quiet for long has a second's worth, and no more.
        for _ in 0..9 {
            assert!(bucket.take(at(60_000), 1) <= at(60_000));
        }
        assert_eq!(bucket.take(at(60_000), 1), at(60_100));
        assert_eq!(Bucket::new(None).take(start, 100), 0);
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

    /// One network of guests once took what the rule has for all of them.
    #[test]
    fn one_network_of_guests_has_a_quarter_of_what_all_guests_have_and_leaves_the_others_the_rest() {
        let (meters, rule): (Meters, Arc<str>) = (Meters::default(), "login".into());
        let limits = Limits { channels: some(8), messages: some(40), bytes: some(4_000), size: some(9_000) };
        let guest = |address: &str| Holder::guest(address.parse().expect("an address"));
        let enter = |address: &str| meters.enter(&rule, limits, None, &guest(address));
        // Addresses of one /64 are one subscriber's.
        let first = enter("2001:db8:1:2::1").expect("a place").expect("limits");
        let second = enter("2001:db8:1:2::2").expect("a place");
        assert!(enter("2001:db8:1:2:ffff::3").is_err(), "two of eight");
        let mut others = Vec::new();
        for network in 3..6 {
            for _ in 0..2 {
                others.push(enter(&format!("2001:db8:1:{network}::1")).expect("a place"));
            }
        }
        assert!(enter("2001:db8:1:9::1").is_err(), "all eight are taken");
        drop(second);
        assert!(enter("2001:db8:1:3::1").is_err(), "the other's place is not this one's");
        let again = enter("2001:db8:1:2::3").expect("what was given back").expect("limits");
        // Ten a second are this network's: who has sent twelve waits, and whoever comes from elsewhere does not.
        let waits = |permit: &Permit, messages| permit.took(now(), messages, 0) > now();
        assert!(waits(&first, 11));
        assert!(waits(&again, 1), "in another channel too");
        let other = others.pop().flatten().expect("limits");
        assert!(!waits(&other, 1));
        assert!(waits(&first, 40));
        assert!(waits(&other, 1), "together they have forty");
        assert_eq!(other.size_max(), Some(9_000));
        // Nobody knows from where: one crowd, without a bound of its own.
        drop((first, again, other, others));
        let crowd: Vec<_> = (0..8).map(|_| enter("127.0.0.1").expect("a place")).collect();
        assert!(enter("127.0.0.1").is_err());
        drop(crowd);
        // A rule for one at a time has one for each network, and in all.
        let one = Limits { channels: some(1), ..Limits::default() };
        let _held = meters.enter(&rule, one, None, &guest("192.0.2.1")).expect("a place");
        assert!(meters.enter(&rule, one, None, &guest("192.0.2.2")).is_err());
    }

    #[test]
    fn meters_go_when_nothing_is_counted_on_them_any_more() {
        let (meters, rule): (Meters, Arc<str>) = (Meters::default(), "pay".into());
        let limits = Limits { channels: some(1), ..Limits::default() };
        for number in 0..=255 {
            for other in 0..40 {
                let mut device = [number; 32];
                device[31] = other;
                drop(meters.enter(&rule, limits, None, &DeviceId(device).into()));
            }
        }
        assert!(meters.0.lock().expect("whole").len() <= 1_024);
    }

    #[test]
    fn another_channel_is_no_way_round_a_debt() {
        let (meters, rule): (Meters, Arc<str>) = (Meters::default(), "pay".into());
        let limits = Limits { messages: some(1), ..Limits::default() };
        let enter = || meters.enter(&rule, limits, None, &DeviceId([1; 32]).into()).expect("no bound").expect("limits");
        let first = enter();
        first.took(now(), 60, 0);
        drop(first);
        for number in 2..=255 {
            drop(meters.enter(&rule, limits, None, &DeviceId([number; 32]).into()));
        }
        assert!(enter().took(now(), 0, 0) > now() + 30 * SECOND);
    }
}
