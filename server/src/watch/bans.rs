//! Who is kept out for a time, and who waits before a handshake: in memory, of a fixed size, asked for each connection. Time is an
//! argument, in seconds since 1970.
//!
//! ```text
//! a rule's threshold ─► ban an hour, two, four … a week ─► its end ─► remembered for a week, so that the next one is longer
//! duologue bans add ─► for as long as the owner says
//! ```
//!
//! Where the table is full the newcomer has the place of whose ban has ended, else of the rule's ban that ends first; what the owner
//! has banned goes last.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use duologue::DeviceId;

/// Bans that there may be, some 250 bytes each.
pub(crate) const BANS_MAX: usize = 65_536;
/// Addresses that wait before their handshakes.
const SLOWED_MAX: usize = 65_536;
/// A first ban of a rule that says nothing else, in seconds.
pub(crate) const BAN_SECS: u64 = 60 * 60;
/// The longest ban of a rule, however often it is repeated: a week.
pub(crate) const BAN_SECS_MAX: u64 = 7 * 24 * 60 * 60;
/// How long a ban that has ended makes the next one longer.
const REMEMBERED_SECS: u64 = 7 * 24 * 60 * 60;
/// By whom the owner's own are.
pub(crate) const OWNER: &str = "owner";

/// Whom a ban keeps out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Banned {
    /// Of IPv6 a /64, which is one subscriber's.
    Address(IpAddr),
    /// A device, wherever it comes from.
    Device(DeviceId),
    /// A subject, on whatever device.
    Subject(Arc<str>),
}

impl Banned {
    /// An address, as it is banned.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self::Address(network(address))
    }

    /// What kind of thing it is.
    #[must_use]
    pub const fn what(&self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::Device(_) => "device",
            Self::Subject(_) => "subject",
        }
    }

    /// Which one.
    #[must_use]
    pub fn which(&self) -> String {
        match self {
            Self::Address(address @ IpAddr::V6(_)) => format!("{address}/64"),
            Self::Address(address) => address.to_string(),
            Self::Device(device) => device.to_string(),
            Self::Subject(subject) => subject.to_string(),
        }
    }
}

/// `address 192.0.2.7`, `device ID`, `subject NAME`.
impl fmt::Display for Banned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what(), self.which())
    }
}

/// What nobody can be banned by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a ban is of one address (of IPv6 with its /64), of a device by its id, or of a subject; a network is for `[firewall] deny`"
)]
pub struct NotBannable;

impl FromStr for Banned {
    type Err = NotBannable;

    fn from_str(text: &str) -> Result<Self, NotBannable> {
        let (what, which) = text.split_once(' ').ok_or(NotBannable)?;
        match what {
            "address" => {
                let address: IpAddr = which.strip_suffix("/64").unwrap_or(which).parse().map_err(|_| NotBannable)?;
                Ok(Self::address(address))
            }
            "device" => which.parse().map(Self::Device).map_err(|_| NotBannable),
            "subject" if !which.is_empty() && which.len() <= 128 => Ok(Self::Subject(which.into())),
            _ => Err(NotBannable),
        }
    }
}

/// What one subscriber has: an address of IPv4, a /64 of IPv6 (RFC 6177).
#[must_use]
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

/// One ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Whose.
    pub whom: Banned,
    /// When it began, in seconds since 1970.
    pub since: u64,
    /// When it ends.
    pub until: u64,
    /// How often there was one before, as far as that is remembered.
    pub repeats: u32,
    /// The rule that has banned, or `owner`.
    pub by: Arc<str>,
}

/// All bans. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Bans(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    inner: RwLock<Inner>,
    /// How many there are in the two tables: whoever asks where there are none asks for nothing.
    bans: AtomicUsize,
    slowed: AtomicUsize,
    /// The second in which it was told last that somebody came who is banned.
    told: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    bans: HashMap<Banned, Ban>,
    /// Whose goes first: the owner's last, else by its end.
    ends: BTreeSet<(bool, u64, Banned)>,
    slowed: HashMap<IpAddr, u64>,
    slow_ends: BTreeSet<(u64, IpAddr)>,
}

impl Inner {
    fn put(&mut self, ban: Ban) {
        self.remove(&ban.whom);
        while self.bans.len() >= BANS_MAX {
            let Some((.., whom)) = self.ends.first().cloned() else { break };
            self.remove(&whom);
        }
        self.ends.insert((&*ban.by == OWNER, ban.until, ban.whom.clone()));
        self.bans.insert(ban.whom.clone(), ban);
    }

    fn remove(&mut self, whom: &Banned) -> Option<Ban> {
        let ban = self.bans.remove(whom)?;
        self.ends.remove(&(&*ban.by == OWNER, ban.until, ban.whom.clone()));
        Some(ban)
    }
}

impl Bans {
    /// When the ban of an address ends; none if it has none. For each connection, before anything else is done for it.
    #[must_use]
    pub fn of_address(&self, address: IpAddr, now: u64) -> Option<u64> {
        if self.0.bans.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.until(&Banned::address(address), now)
    }

    /// The same of a device, and of whose it is.
    #[must_use]
    pub fn of_device(&self, device: DeviceId, subject: Option<&str>, now: u64) -> Option<u64> {
        if self.0.bans.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let of_subject = || self.until(&Banned::Subject(subject?.into()), now);
        self.until(&Banned::Device(device), now).or_else(of_subject)
    }

    /// Whether it is to be told that somebody came who is banned: once a second, of all together.
    pub(crate) fn tells(&self, now: u64) -> bool {
        self.0.told.swap(now, Ordering::Relaxed) != now
    }

    fn until(&self, whom: &Banned, now: u64) -> Option<u64> {
        let inner = self.0.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.bans.get(whom).map(|ban| ban.until).filter(|until| *until > now)
    }

    /// A rule bans: for `secs`, and twice as long for each time before, up to a week. One that is banned stays so as it is.
    pub(crate) fn ban(&self, whom: Banned, by: &str, secs: u64, now: u64) -> Ban {
        self.change(|inner| {
            let before = inner.bans.get(&whom).filter(|ban| ban.until.saturating_add(REMEMBERED_SECS) > now);
            if let Some(ban) = before.filter(|ban| ban.until > now) {
                return ban.clone();
            }
            let repeats = before.map_or(0, |ban| ban.repeats.saturating_add(1));
            let longest = BAN_SECS_MAX.max(secs);
            let secs = secs.saturating_mul(1_u64.checked_shl(repeats).unwrap_or(u64::MAX)).min(longest);
            let ban = Ban { whom, since: now, until: now.saturating_add(secs), repeats, by: by.into() };
            inner.put(ban.clone());
            ban
        })
    }

    /// The owner bans, for as long as he says.
    pub(crate) fn add(&self, whom: Banned, secs: u64, now: u64) -> Ban {
        let ban = Ban { whom, since: now, until: now.saturating_add(secs), repeats: 0, by: OWNER.into() };
        self.change(|inner| inner.put(ban.clone()));
        ban
    }

    /// Ends a ban, and forgets that there was one. None if there was none.
    pub(crate) fn lift(&self, whom: &Banned) -> Option<Ban> {
        self.change(|inner| inner.remove(whom))
    }

    /// Forgets what ended long ago, and gives it.
    pub(crate) fn sweep(&self, now: u64) -> Vec<Banned> {
        self.change(|inner| {
            let is_over = |ban: &&Ban| ban.until.saturating_add(REMEMBERED_SECS) <= now;
            let over: Vec<_> = inner.bans.values().filter(is_over).map(|ban| ban.whom.clone()).collect();
            for whom in &over {
                inner.remove(whom);
            }
            over
        })
    }

    /// What was kept of an earlier run.
    pub(crate) fn load(&self, bans: impl IntoIterator<Item = Ban>) {
        self.change(|inner| bans.into_iter().for_each(|ban| inner.put(ban)));
    }

    /// All that are in force, the one that ends first at first.
    #[must_use]
    pub fn list(&self, now: u64) -> Vec<Ban> {
        let inner = self.0.inner.read().unwrap_or_else(PoisonError::into_inner);
        let mut bans: Vec<_> = inner.bans.values().filter(|ban| ban.until > now).cloned().collect();
        bans.sort_by(|a, b| (a.until, &a.whom).cmp(&(b.until, &b.whom)));
        bans
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.0.inner.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut inner);
        self.0.bans.store(inner.bans.len(), Ordering::Relaxed);
        changed
    }

    /// The next handshakes of an address wait, until then.
    pub(crate) fn slow(&self, address: IpAddr, until: u64) {
        let address = network(address);
        let mut inner = self.0.inner.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = inner.slowed.insert(address, until) {
            inner.slow_ends.remove(&(before, address));
        }
        inner.slow_ends.insert((until, address));
        while inner.slowed.len() > SLOWED_MAX {
            let Some((_, first)) = inner.slow_ends.pop_first() else { break };
            inner.slowed.remove(&first);
        }
        self.0.slowed.store(inner.slowed.len(), Ordering::Relaxed);
    }

    /// Whether a handshake of this address has to wait.
    #[must_use]
    pub(crate) fn is_slowed(&self, address: IpAddr, now: u64) -> bool {
        if self.0.slowed.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let inner = self.0.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.slowed.get(&network(address)).is_some_and(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn at(last: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0xC000_0200_u32.wrapping_add(last)).into()
    }

    #[test]
    fn a_ban_ends_and_the_next_one_is_twice_as_long_up_to_a_week_until_it_is_forgotten() {
        let (bans, whom) = (Bans::default(), Banned::address(at(7)));
        let (mut now, mut lasted) = (NOW, Vec::new());
        for _ in 0..10 {
            let ban = bans.ban(whom.clone(), "rule", BAN_SECS, now);
            assert_eq!((ban.since, bans.of_address(at(7), ban.until - 1)), (now, Some(ban.until)));
            assert_eq!(bans.of_address(at(7), ban.until), None, "it has an end");
            // A rule that matches meanwhile makes it no longer.
            assert_eq!(bans.ban(whom.clone(), "rule", BAN_SECS, ban.until - 1).until, ban.until);
            lasted.push((ban.until - now) / 3_600);
            now = ban.until;
        }
        assert_eq!(lasted, [1, 2, 4, 8, 16, 32, 64, 128, 168, 168]);
        now += REMEMBERED_SECS;
        assert_eq!(bans.sweep(now), std::slice::from_ref(&whom));
        assert_eq!(bans.ban(whom, "rule", BAN_SECS, now).until, now + BAN_SECS);
    }

    #[test]
    fn a_subscriber_of_ipv6_is_banned_by_his_64_and_ipv4_written_as_ipv6_is_ipv4() {
        let bans = Bans::default();
        bans.ban(Banned::address("2001:db8:1:2::7".parse().expect("an address")), "rule", 60, NOW);
        bans.ban(Banned::address("::ffff:192.0.2.9".parse().expect("an address")), "rule", 60, NOW);
        let is = |text: &str| bans.of_address(text.parse().expect("an address"), NOW).is_some();
        assert!(is("2001:db8:1:2:ffff::1") && !is("2001:db8:1:3::7") && is("192.0.2.9") && !is("192.0.2.8"));
    }

    #[test]
    fn a_full_table_takes_the_new_offender_and_keeps_the_owners_and_the_longest() {
        let bans = Bans::default();
        bans.add(Banned::address([198, 51, 100, 1].into()), 60, NOW);
        bans.ban(Banned::address([198, 51, 100, 2].into()), "rule", BAN_SECS_MAX, NOW);
        for number in 0..u32::try_from(BANS_MAX).expect("it fits") + 1_000 {
            bans.ban(
                Banned::Address(std::net::Ipv4Addr::from(number).into()),
                "rule",
                BAN_SECS,
                NOW + u64::from(number) / 100,
            );
        }
        let last = std::net::Ipv4Addr::from(u32::try_from(BANS_MAX).expect("it fits") + 999);
        for address in [IpAddr::from([198, 51, 100, 1]), [198, 51, 100, 2].into(), last.into()] {
            assert!(bans.of_address(address, NOW).is_some(), "{address}");
        }
        assert_eq!(bans.list(NOW).len(), BANS_MAX);
        assert!(bans.of_address([0, 0, 0, 0].into(), NOW).is_none(), "the first to end gave way");
    }

    #[test]
    fn whom_a_ban_is_for_is_written_and_read() {
        let device = Banned::Device(DeviceId([7; 32]));
        for whom in [Banned::address(at(1)), Banned::address("2001:db8::".parse().expect("an address")), device] {
            assert_eq!(whom.to_string().parse(), Ok(whom));
        }
        assert_eq!("subject ada smith".parse(), Ok(Banned::Subject("ada smith".into())));
        for wrong in
            ["", "192.0.2.1", "address", "address x", "address 192.0.2.0/24", "device x", "subject ", "group a"]
        {
            assert_eq!(wrong.parse::<Banned>(), Err(NotBannable), "{wrong}");
        }
    }

    #[test]
    fn a_slowed_address_is_so_for_a_while_and_the_table_is_bounded() {
        let bans = Bans::default();
        assert!(!bans.is_slowed(at(0), NOW));
        for number in 0..u32::try_from(SLOWED_MAX).expect("it fits") + 10 {
            bans.slow(at(number), NOW + u64::from(number));
        }
        let last = u32::try_from(SLOWED_MAX).expect("it fits") + 9;
        assert!(
            bans.is_slowed(at(last), NOW)
                && !bans.is_slowed(at(last), NOW + u64::from(last))
                && !bans.is_slowed(at(9), NOW)
        );
    }
}
