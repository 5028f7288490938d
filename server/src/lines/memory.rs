//! What all lines together may hold, and who makes room when it is full.
//!
//! ```text
//! seat ─► the root of its device's branch: Unit ─► Account (what its sessions hold) ─► Budget of the server
//! tight: guests, to the last byte, whoever holds how much · full: the heaviest unit above its share ─► its heaviest channel is reset as `busy` ─► its longest-parked session is evicted
//! ```
//!
//! Who is below its share loses nothing, whoever holds how much: it cannot be made the victim by others that hold a little less.

use std::{
    fmt, fs,
    sync::{Mutex, MutexGuard, PoisonError},
};

use duologue::{Account, Budget, DeviceId, limits::SERVER_BUDGET_LEN};

use crate::{
    door::{holder::Holder, seat::Seat, standing::Subject},
    state::sharded::Sharded,
};

/// Whom the server takes for one where something is shared out: a device that the owner has let in, with all that came by it. Else
/// who pairs nine devices would have ten shares. Device keys that nobody has let in cost nothing, so that there the person is one,
/// and all guests are. Whoever asks for the unit of a session asks [`Memory::unit`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Unit {
    Branch(DeviceId),
    Subject(Subject),
    Guests,
}

/// What all guests together may hold: this part of the whole.
const GUESTS_PART: usize = 8;

/// Says the root of a device's branch; asked for each line, so from memory.
pub(crate) type RootOf = Box<dyn Fn(DeviceId) -> DeviceId + Send + Sync>;

/// The budget of the server's memory, and the account of each unit that has a line.
pub(crate) struct Memory {
    pub(crate) budget: Budget,
    /// On which all guests count.
    guests: Account,
    accounts: Mutex<Sharded<Unit, Account>>,
    pub(super) root_of: RootOf,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("budget", &self.budget).field("accounts", &self.accounts).finish_non_exhaustive()
    }
}

impl Memory {
    pub(crate) fn new(len: usize, root_of: RootOf) -> Self {
        let budget = Budget::new(len);
        Self { guests: budget.account_without_share(len / GUESTS_PART), budget, accounts: Mutex::default(), root_of }
    }

    /// Whose a session is, as it is now.
    pub(crate) fn unit(&self, seat: &Seat) -> Unit {
        match seat.holder() {
            Holder::Device(device) => Unit::Branch((self.root_of)(device)),
            Holder::Subject(subject) => Unit::Subject(subject),
            Holder::Guests(_) => Unit::Guests,
        }
    }

    /// The account on which a unit's sessions count.
    pub(crate) fn account(&self, unit: Unit) -> Account {
        if unit == Unit::Guests {
            return self.guests.clone();
        }
        let mut accounts = self.lock();
        accounts.tidy_for(&unit, |account| !account.is_unused());
        accounts.or_insert_with(unit, || self.budget.account()).clone()
    }

    /// Whether a unit is to give way. Guests give before their bound stops all of them: one of them would stop the others by it.
    pub(crate) fn must_give(&self, unit: &Unit) -> bool {
        let account = self.account(unit.clone());
        account.must_give() || (*unit == Unit::Guests && account.is_tight())
    }

    /// The units that hold more than their share, but guests, the one that holds most first.
    pub(crate) fn above_share(&self) -> Vec<Unit> {
        let accounts = self.lock();
        let above = accounts.iter().filter(|(_, account)| account.is_above_share());
        let mut above: Vec<_> = above.map(|(unit, account)| (account.held(), unit.clone())).collect();
        above.sort_unstable_by_key(|(held, _)| std::cmp::Reverse(*held));
        above.into_iter().map(|(_, unit)| unit).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Sharded<Unit, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What lines may hold unless the owner says: a quarter of the memory that this process may have, and 1 GiB at most. A vector
/// that grows takes up to twice what is counted, and files, TLS and the system want some too.
pub(crate) fn default_len() -> usize {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of_meminfo(&text));
    // Version 2 of control groups, then version 1; where there is no limit, the first says `max` and the second a huge number.
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let group = group.iter().find_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    machine.into_iter().chain(group).min().map_or(SERVER_BUDGET_LEN, |len: usize| (len / 4).min(SERVER_BUDGET_LEN))
}

fn total_of_meminfo(text: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_units_sessions_share_an_account_and_one_that_nobody_uses_goes() {
        let memory = Memory::new(1 << 30, Box::new(|device| device));
        let unit = |number: u32| {
            let mut device = [0; 32];
            device[..4].copy_from_slice(&number.to_be_bytes());
            Unit::Branch(DeviceId(device))
        };
        let first = memory.account(unit(0));
        assert!(!first.is_unused());
        for number in 1..10_000 {
            drop(memory.account(unit(number)));
        }
        assert!(memory.lock().len() <= 1_100, "{} accounts of units without a line", memory.lock().len());
        assert!(memory.lock().get(&unit(0)).is_some(), "it is in use");
    }

    #[test]
    fn the_machines_memory_is_read() {
        assert_eq!(total_of_meminfo("MemTotal:       16318924 kB\nMemFree:  1 kB\n"), Some(16_318_924 * 1_024));
        assert_eq!(total_of_meminfo("MemFree: 1 kB\n"), None);
        assert!((1..=SERVER_BUDGET_LEN).contains(&default_len()));
    }
}
