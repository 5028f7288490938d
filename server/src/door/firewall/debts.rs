//! What identities, networks and all together owe of messages, bytes and requests. Who owes nothing is not here: an idle session has
//! no part of it.
//!
//! ```text
//! message ─► took: the identity, its networks, all ─► paid_at of each ─► from when on more may be taken
//!                  in one of 16 maps, until it is paid for
//! ```
//!
//! It is paid for afterwards, as what a rule bounds (`policy/limits.rs`). How many are in the maps follows from how many sessions
//! there are: nobody owes anything who was not let in.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use super::{Firewall, FirewallSettings, Lists, is_bounded, table};
use crate::door::{holder::Holder, policy::limits::Rate};

/// Sessions that speak at the same time seldom meet in one.
const SHARDS: usize = 16;

/// Of messages, of bytes, of requests to a backend.
type Each<T> = [T; 3];

const MESSAGES: usize = 0;
const BYTES: usize = 1;
const REQUESTS: usize = 2;

/// Where they are bounded.
pub(super) type Rates = Each<Option<Rate>>;

/// On whom counts what a session brings, beside the networks of its address.
#[derive(Debug)]
pub(crate) struct Purse {
    lists: Arc<Lists>,
    /// Whose it is, as [`Debts`] knows him.
    identity: u64,
    /// Its address can be told apart, and such a one has a bound.
    has_networks: bool,
}

/// Everybody by a keyed hash, so that nobody chooses his place, and it is his key at once.
#[derive(Debug, Default)]
pub(super) struct Debts {
    hasher: RandomState,
    all: Each<AtomicU64>,
    shards: [Mutex<Owed>; SHARDS],
}

#[derive(Debug, Default)]
struct Owed {
    /// When all is paid for.
    by: HashMap<u64, Each<u64>, BuildHasherDefault<AsItIs>>,
    /// How many there may be before those that have paid are removed.
    tidy_at: usize,
}

/// For what is a hash already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Firewall {
    /// What counts the messages, bytes and requests of somebody, beside what a rule counts; nothing where nothing bounds them.
    pub(crate) fn purse(&self, address: IpAddr, holder: &Holder) -> Option<Purse> {
        let lists = self.lists();
        let FirewallSettings { address: of_address, identity, all, .. } = &lists.settings;
        let is_any = [of_address, identity, all].iter().any(|budgets| budgets.is_of_sessions());
        if !cfg!(feature = "watch") || !is_any || lists.exempt.find(address).is_some() {
            return None;
        }
        let has_networks = of_address.is_of_sessions() && is_bounded(address);
        Some(Purse { identity: self.0.debts.hasher.hash_one(holder), has_networks, lists })
    }

    /// So many messages and datagrams were taken, and bytes: from when on more may be.
    pub(crate) fn took(&self, now: u64, purse: &Purse, address: impl Fn() -> IpAddr, messages: u32, len: usize) -> u64 {
        self.0.debts.take(now, purse, address, &[(MESSAGES, messages.into()), (BYTES, len as u64)])
    }

    /// How long until one more request may be made.
    pub(crate) fn request_waits(&self, now: u64, purse: &Purse, address: impl Fn() -> IpAddr) -> Duration {
        // None is taken: it is only looked at.
        let free_at = self.0.debts.take(now, purse, address, &[(REQUESTS, 0)]);
        Duration::from_nanos(free_at.saturating_sub(now))
    }

    /// A request is made.
    pub(crate) fn takes_request(&self, now: u64, purse: &Purse, address: impl Fn() -> IpAddr) {
        self.0.debts.take(now, purse, address, &[(REQUESTS, 1)]);
    }
}

impl Debts {
    fn take(&self, now: u64, purse: &Purse, address: impl Fn() -> IpAddr, counts: &[(usize, u64)]) -> u64 {
        let Purse { lists, identity, has_networks } = purse;
        let mut free_at = 0;
        if lists.settings.identity.is_of_sessions() {
            free_at = self.owed(*identity).take(now, *identity, &lists.identity, counts);
        }
        if *has_networks {
            for (key, times) in table::networks(address()) {
                let (network, rates) = (self.hasher.hash_one(key), lists.settings.address.per_second(times));
                free_at = free_at.max(self.owed(network).take(now, network, &rates, counts));
            }
        }
        for (what, count) in counts {
            if let (Some(paid_at), Some(Some(rate))) = (self.all.get(*what), lists.all.get(*what)) {
                free_at = free_at.max(rate.take(paid_at, now, *count));
            }
        }
        free_at
    }

    /// Where somebody is.
    fn owed(&self, whose: u64) -> MutexGuard<'_, Owed> {
        // By bits of the middle: a map has use for both ends.
        let shard = (whose >> 32) as usize % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owed {
    fn take(&mut self, now: u64, whose: u64, rates: &Rates, counts: &[(usize, u64)]) -> u64 {
        if self.by.len() >= self.tidy_at {
            self.by.retain(|_, paid_at| paid_at.iter().any(|paid_at| *paid_at > now));
            self.by.shrink_to(2 * self.by.len());
            self.tidy_at = 2 * self.by.len() + 8;
        }
        let (owed, mut free_at) = (self.by.entry(whose).or_default(), 0);
        for (what, count) in counts {
            if let (Some(paid_at), Some(Some(rate))) = (owed.get_mut(*what), rates.get(*what)) {
                *paid_at = rate.paid_at(*paid_at, now, *count);
                free_at = free_at.max(rate.free_at(*paid_at));
            }
        }
        free_at
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use duologue::DeviceId;

    use super::*;
    use crate::door::{
        firewall::Budgets,
        policy::limits::{SECOND, now},
    };

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn of(number: u8) -> Holder {
        DeviceId([number; 32]).into()
    }

    fn firewall(settings: FirewallSettings) -> Firewall {
        let firewall = Firewall::default();
        firewall.set(Firewall::load(settings, std::path::Path::new("/")).expect("no files"));
        firewall
    }

    fn messages(per_second: u32) -> Budgets {
        Budgets { messages: NonZeroU32::new(per_second), ..Budgets::default() }
    }

    fn waits(firewall: &Firewall, (purse, address): &(Purse, IpAddr), messages: u32) -> bool {
        firewall.took(now(), purse, || *address, messages, 0) > now()
    }

    #[test]
    fn one_identity_waits_for_what_it_has_taken_on_whatever_session_and_no_other_does() {
        let firewall = firewall(FirewallSettings { identity: messages(10), ..FirewallSettings::default() });
        let purse = |number| (firewall.purse(HERE, &of(number)).expect("a bound"), HERE);
        let (first, second) = (purse(1), purse(1));
        assert!(!waits(&firewall, &first, 9) && waits(&firewall, &first, 1) && waits(&firewall, &second, 1));
        // Others of the same map too, whoever they are.
        assert!((2..=200).map(purse).all(|other| !waits(&firewall, &other, 1)));
        assert!(firewall.request_waits(now(), &first.0, || HERE).is_zero(), "nothing bounds these");
    }

    #[test]
    fn what_an_address_and_all_together_have_taken_keeps_each_of_them_waiting() {
        let settings = FirewallSettings { address: messages(10), all: messages(100), ..FirewallSettings::default() };
        let firewall = firewall(settings);
        let purse = |number, address| (firewall.purse(address, &of(number)).expect("a bound"), address);
        let there = IpAddr::from([192, 0, 2, 2]);
        let (first, neighbour, other) = (purse(1, HERE), purse(2, HERE), purse(3, there));
        assert!(waits(&firewall, &first, 20) && waits(&firewall, &neighbour, 1) && !waits(&firewall, &other, 1));
        assert!(waits(&firewall, &first, 90) && waits(&firewall, &other, 1), "all have a hundred");
        let exempt = vec!["192.0.2.0/24".parse().expect("a network")];
        let exempt = FirewallSettings { exempt, all: messages(1), ..FirewallSettings::default() };
        assert!(self::firewall(exempt).purse(HERE, &of(1)).is_none());
        assert!(self::firewall(FirewallSettings::default()).purse(HERE, &of(1)).is_none());
    }

    #[test]
    fn so_many_requests_are_made_at_once_and_the_next_one_waits() {
        let requests = Budgets { requests: NonZeroU32::new(2), ..Budgets::default() };
        let firewall = firewall(FirewallSettings { identity: requests, ..FirewallSettings::default() });
        let (purse, start) = (firewall.purse(HERE, &of(1)).expect("a bound"), now());
        for _ in 0..2 {
            assert!(firewall.request_waits(start, &purse, || HERE).is_zero());
            firewall.takes_request(start, &purse, || HERE);
        }
        assert_eq!(firewall.request_waits(start, &purse, || HERE), Duration::from_millis(500));
    }

    #[test]
    fn nothing_is_held_of_whoever_has_paid_and_a_debt_is_kept() {
        let mut owed = Owed::default();
        let (start, rates) = (now(), messages(1).per_second(1));
        owed.take(start, 0, &rates, &[(MESSAGES, 1_000)]);
        for number in 1..5_000 {
            owed.take(start + (1 + number) * SECOND / 10, number, &rates, &[(MESSAGES, 1)]);
        }
        assert!(owed.by.len() < 64, "{} are held", owed.by.len());
        assert!(owed.by.contains_key(&0), "sixteen minutes are not over");
    }
}
