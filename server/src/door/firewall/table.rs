//! What each network and each identity has taken of its budgets: a table of a fixed size, in which whoever is new always has a place.
//!
//! ```text
//! 2^15 sets of 8 places. Which set: a keyed hash, so that nobody can aim at one
//! new, and its set is full ─► the place that goes is that of whoever owes least; of those that owe nothing, of whom nothing was
//!                             heard for longest
//! ```
//!
//! A table that refuses new keys when it is full is one that an attacker fills before he begins. Here a flood of a million addresses
//! that come once each has places that are worth nothing, and puts out its own: who takes much owes much, and stays.
//!
//! What is owed is a time (GCRA): when everything that was taken is paid for, at so many a minute. It falls by itself, and nothing has
//! to be gone through for that.

use std::{hash::BuildHasher, net::IpAddr, num::NonZeroU32};

/// Places of a set: as many as one line of memory has of what is looked at first.
const WAYS: usize = 8;
const SETS: usize = 1 << 15;
/// 37 bytes each, in all 9.7 MB.
const PLACES: usize = WAYS * SETS;
/// A minute's worth may come at once.
pub(super) const PERIOD: u64 = 60_000_000_000;
/// How long somebody is known of whom a device was let in.
const KNOWN_SECS: u32 = 24 * 60 * 60;
/// How long until a refusal is told again.
const TOLD_SECS: u32 = 60;

/// What is counted of those who may be anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Connection,
    Handshake,
}

/// Who is counted as one. Of IPv6 a subscriber has a /64, a site a /56 or a /48, a provider a /32 (RFC 6177).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The network's bits, or a hash.
    bits: u64,
    /// 0: a place that nobody has.
    class: u8,
}

const V4: u8 = 4;
const IDENTITY: u8 = 1;
/// Prefixes of IPv6, with how many times what a /64 may have is theirs.
const WIDER: [(u8, u32); 4] = [(64, 1), (56, 4), (48, 16), (32, 256)];

/// The networks in which an address is counted, the narrowest first, each with how often it may have what a subscriber has.
pub(super) fn networks(address: IpAddr) -> impl Iterator<Item = (Key, u32)> + Clone {
    let (v4, v6) = match address.to_canonical() {
        IpAddr::V4(address) => (Some(u64::from(u32::from(address))), None),
        IpAddr::V6(address) => (None, u64::try_from(u128::from(address) >> 64).ok()),
    };
    let v4 = v4.map(|bits| (Key { bits, class: V4 }, 1));
    let wider = v6.into_iter().flat_map(|bits| {
        WIDER.into_iter().map(move |(len, times)| (Key { bits: bits & (u64::MAX << (64 - len)), class: len }, times))
    });
    v4.into_iter().chain(wider)
}

impl Key {
    /// One who is known by more than an address, by a keyed hash of who it is.
    pub(super) const fn identity(hash: u64) -> Self {
        Self { bits: hash, class: IDENTITY }
    }
}

/// Rows in the place of a row of places: memory that nobody has touched is not there.
pub(super) struct Table<H> {
    hasher: H,
    bits: Box<[u64]>,
    class: Box<[u8]>,
    /// When it has paid for its connections, and for its handshakes; in nanoseconds since the start.
    paid_at: [Box<[u64]>; 2],
    /// Until when it is known, in seconds since the start.
    known_until: Box<[u32]>,
    /// When the next refusal is told.
    told_until: Box<[u32]>,
    /// In which turn it was heard of.
    heard: Box<[u32]>,
    turn: u32,
}

impl<H> std::fmt::Debug for Table<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("turn", &self.turn).finish_non_exhaustive()
    }
}

/// One network is beyond its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Over {
    pub(super) key: Key,
    /// It was not told within the last minute.
    pub(super) tells: bool,
}

impl<H: BuildHasher> Table<H> {
    pub(super) fn new(hasher: H) -> Self {
        Self {
            hasher,
            bits: vec![0; PLACES].into(),
            class: vec![0; PLACES].into(),
            paid_at: [vec![0; PLACES].into(), vec![0; PLACES].into()],
            known_until: vec![0; PLACES].into(),
            told_until: vec![0; PLACES].into(),
            heard: vec![0; PLACES].into(),
            turn: 0,
        }
    }

    /// Its bytes, whatever is in it.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let of_each = [&self.bits, &self.paid_at[0], &self.paid_at[1]].map(|row| size_of_val(&**row));
        let times = [&self.known_until, &self.told_until, &self.heard].map(|row| size_of_val(&**row));
        of_each.iter().chain(&times).sum::<usize>() + size_of_val(&*self.class) + size_of::<Self>()
    }

    /// Takes one of what a budget has, so many a minute, of everybody who is given; or, if one of these has none left, nothing.
    pub(super) fn take(
        &mut self,
        now: u64,
        what: What,
        per_minute: NonZeroU32,
        whose: impl Iterator<Item = (Key, u32)> + Clone,
    ) -> Result<(), Over> {
        let cost = |times: u32| cost(per_minute, times);
        for (key, times) in whose.clone() {
            let Some(at) = self.find(key) else { continue };
            if is_over(self.paid_at(what, at), now, cost(times)) {
                self.hear(at);
                return Err(Over { key, tells: self.tells(at, now) });
            }
        }
        for (key, times) in whose {
            let at = self.place(key, now);
            if let Some(paid_at) = self.paid_at[what as usize].get_mut(at) {
                *paid_at = (*paid_at).max(now) + cost(times);
            }
        }
        Ok(())
    }

    /// From here somebody was let in: where all is used up, his network is not the one that waits.
    pub(super) fn is_known_now(&mut self, key: Key, now: u64) {
        let at = self.place(key, now);
        if let Some(until) = self.known_until.get_mut(at) {
            *until = secs(now).saturating_add(KNOWN_SECS);
        }
    }

    pub(super) fn is_known(&self, key: Key, now: u64) -> bool {
        self.find(key).and_then(|at| self.known_until.get(at)).is_some_and(|until| *until > secs(now))
    }

    /// A refusal for another cause than a budget; whether it is to be told.
    pub(super) fn refused(&mut self, key: Key, now: u64) -> bool {
        let at = self.place(key, now);
        self.tells(at, now)
    }

    fn tells(&mut self, at: usize, now: u64) -> bool {
        let Some(until) = self.told_until.get_mut(at) else { return false };
        // A minute from then on, beginning with the second.
        let tells = *until <= secs(now);
        if tells {
            *until = secs(now) + TOLD_SECS;
        }
        tells
    }

    fn hear(&mut self, at: usize) {
        self.turn = self.turn.wrapping_add(1);
        if let Some(heard) = self.heard.get_mut(at) {
            *heard = self.turn;
        }
    }

    fn paid_at(&self, what: What, at: usize) -> u64 {
        self.paid_at[what as usize].get(at).copied().unwrap_or_default()
    }

    fn set(&self, key: Key) -> std::ops::Range<usize> {
        let hash = self.hasher.hash_one((key.bits, key.class));
        let set = usize::try_from(hash % SETS as u64).unwrap_or_default();
        set * WAYS..(set + 1) * WAYS
    }

    fn find(&self, key: Key) -> Option<usize> {
        let is_its = |at: &usize| self.bits.get(*at) == Some(&key.bits) && self.class.get(*at) == Some(&key.class);
        self.set(key).find(is_its)
    }

    /// The place of somebody, who has one from now on.
    fn place(&mut self, key: Key, now: u64) -> usize {
        let at = self.find(key).unwrap_or_else(|| {
            let at = self.set(key).min_by_key(|at| self.worth(*at, now)).unwrap_or_default();
            self.bits.get_mut(at).into_iter().for_each(|place| *place = key.bits);
            self.class.get_mut(at).into_iter().for_each(|place| *place = key.class);
            self.paid_at.iter_mut().filter_map(|row| row.get_mut(at)).for_each(|place| *place = 0);
            for row in [&mut self.known_until, &mut self.told_until] {
                row.get_mut(at).into_iter().for_each(|place| *place = 0);
            }
            at
        });
        self.hear(at);
        at
    }

    /// What a place is worth keeping for. Free ones are worth least; then what is owed counts, and being known a little; then how
    /// lately it was heard of.
    fn worth(&self, at: usize, now: u64) -> (bool, u64, bool, u32) {
        let is_taken = self.class.get(at).is_some_and(|class| *class != 0);
        let owed = self.paid_at.iter().filter_map(|row| row.get(at)).map(|paid_at| paid_at.saturating_sub(now)).max();
        let is_known = self.known_until.get(at).is_some_and(|until| *until > secs(now));
        let silent_for = self.turn.wrapping_sub(self.heard.get(at).copied().unwrap_or_default());
        (is_taken, owed.unwrap_or_default(), is_known, u32::MAX - silent_for)
    }
}

/// How long it takes until one is paid for, of so many a minute.
pub(super) fn cost(per_minute: NonZeroU32, times: u32) -> u64 {
    PERIOD / (u64::from(per_minute.get()) * u64::from(times)).max(1)
}

/// Whether one more would be more than a period's worth.
pub(super) const fn is_over(paid_at: u64, now: u64, cost: u64) -> bool {
    paid_at.saturating_sub(now) + cost > PERIOD
}

/// Whole seconds; it begins with 1, because 0 is never.
fn secs(now: u64) -> u32 {
    u32::try_from(now / 1_000_000_000 + 1).unwrap_or(u32::MAX - TOLD_SECS)
}
