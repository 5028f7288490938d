//! Who let whom in, and when: kept for good, also of devices that were revoked, and in memory, so that a whole branch can be
//! thrown out while the disk fails.

use std::{
    collections::{HashMap, HashSet},
    sync::{PoisonError, RwLock},
};

use duologue::DeviceId;
use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use super::StoreError;

/// By device: who has made its invite, and when it was used. Devices that the owner has let in are not in it.
pub(super) const LINEAGE: TableDefinition<'_, [u8; 32], ([u8; 32], u64)> = TableDefinition::new("lineage");

/// Devices that one may let in, in all: a family's and more. One that was taken over cannot fill the store.
pub(super) const INVITED_MAX: usize = 50;
/// The same in one day: many enough for an afternoon of setting up, few enough to be seen before they are many.
pub(super) const INVITED_A_DAY_MAX: usize = 10;
/// Devices of one branch, in all and in one day, whoever of it lets them in. Each may let others in at once: without a bound for
/// all of them, one that was taken over has ten thousand in an hour, and its owner a list that nobody reads.
pub(super) const BRANCH_MAX: usize = 250;
pub(super) const BRANCH_A_DAY_MAX: usize = 64;
const DAY_SECS: u64 = 24 * 60 * 60;

/// Who let a device in, and when, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) invited_by: [u8; 32],
    at: u64,
}

/// What is known of that, in memory.
#[derive(Debug, Default)]
pub(super) struct Lineage(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    origins: HashMap<[u8; 32], Origin>,
    /// Of each of these devices the first of its branch, whom the owner has let in. Asked for each line, so never walked to: a
    /// branch may be as long as it is old.
    roots: HashMap<[u8; 32], [u8; 32]>,
    /// Whom each device has let in.
    children: HashMap<[u8; 32], Vec<[u8; 32]>>,
    /// The devices of each of these roots.
    branches: HashMap<[u8; 32], Vec<[u8; 32]>>,
}

impl Known {
    fn root(&self, device: [u8; 32]) -> [u8; 32] {
        self.roots.get(&device).copied().unwrap_or(device)
    }

    fn find_roots(&mut self) {
        (self.children, self.branches) = Default::default();
        for (device, origin) in &self.origins {
            self.children.entry(origin.invited_by).or_default().push(*device);
        }
        self.roots.clear();
        for device in self.origins.keys() {
            let (mut way, mut at) = (HashSet::new(), *device);
            while let Some(origin) = self.origins.get(&at) {
                // A damaged table may have a circle, whose devices are all of one branch.
                if self.roots.contains_key(&at) || !way.insert(at) {
                    break;
                }
                at = origin.invited_by;
            }
            let root = match way.contains(&at) {
                true => way.iter().min().copied().unwrap_or(at),
                false => self.root(at),
            };
            self.roots.extend(way.into_iter().map(|device| (device, root)));
        }
        for (device, root) in &self.roots {
            self.branches.entry(*root).or_default().push(*device);
        }
    }

    fn origins<'a>(&'a self, of: Option<&'a Vec<[u8; 32]>>) -> impl Iterator<Item = &'a Origin> {
        of.into_iter().flatten().filter_map(|device| self.origins.get(device))
    }
}

impl Lineage {
    /// Takes over what the file has. What memory knows stays: it was in a file that has failed since.
    pub(super) fn load(&self, found: HashMap<[u8; 32], Origin>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.origins.extend(found);
        known.find_roots();
    }

    pub(super) fn learn(&self, device: [u8; 32], origin: Origin) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.origins.contains_key(&device) {
            return;
        }
        known.origins.insert(device, origin);
        // Whom it has let in was let in after it.
        let root = known.root(origin.invited_by);
        known.roots.insert(device, root);
        known.children.entry(origin.invited_by).or_default().push(device);
        known.branches.entry(root).or_default().push(device);
    }

    pub(super) fn invited_by(&self, device: DeviceId) -> Option<DeviceId> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.origins.get(&device.0).map(|origin| DeviceId(origin.invited_by))
    }

    /// The first of a device's branch: itself, unless another device has let it in.
    pub(super) fn root(&self, device: DeviceId) -> DeviceId {
        DeviceId(self.0.read().unwrap_or_else(PoisonError::into_inner).root(device.0))
    }

    /// All devices of a device's branch, revoked ones among them.
    pub(super) fn branch(&self, device: DeviceId) -> Vec<[u8; 32]> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let root = known.root(device.0);
        // In a circle, which only a damaged table has, the root is one of them.
        let others = known.branches.get(&root).into_iter().flatten().copied();
        std::iter::once(root).chain(others.filter(|other| *other != root)).collect()
    }

    /// How many more devices one may let in now, which are not invited yet.
    pub(super) fn room(&self, device: DeviceId, now: u64) -> usize {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        room(known.origins(known.children.get(&device.0)), now, INVITED_MAX, INVITED_A_DAY_MAX)
    }

    /// How many more devices a device's whole branch may let in now, which are not invited yet.
    pub(super) fn room_of_branch(&self, device: DeviceId, now: u64) -> usize {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        room(known.origins(known.branches.get(&known.root(device.0))), now, BRANCH_MAX, BRANCH_A_DAY_MAX)
    }

    /// Those that some devices have let in, and those whom these have, and so on; without themselves.
    pub(super) fn descendants(&self, of: &[DeviceId]) -> Vec<DeviceId> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (mut found, mut next, mut seen) =
            (Vec::new(), of.to_vec(), HashSet::<DeviceId>::from_iter(of.iter().copied()));
        while let Some(device) = next.pop() {
            for child in all.children.get(&device.0).into_iter().flatten() {
                // A damaged table may have a circle.
                if seen.insert(DeviceId(*child)) {
                    found.push(DeviceId(*child));
                    next.push(DeviceId(*child));
                }
            }
        }
        found
    }
}

/// What is left of so many in all and so many in a day.
fn room<'a>(let_in: impl Iterator<Item = &'a Origin>, now: u64, max: usize, a_day_max: usize) -> usize {
    let (count, today) = let_in.fold((0, 0), |(count, today): (usize, usize), origin| {
        (count + 1, today + usize::from(origin.at.saturating_add(DAY_SECS) > now))
    });
    max.saturating_sub(count).min(a_day_max.saturating_sub(today))
}

/// What the file has.
pub(super) fn read(read: &ReadTransaction) -> Result<HashMap<[u8; 32], Origin>, StoreError> {
    let mut found = HashMap::new();
    for entry in read.open_table(LINEAGE)?.iter()? {
        let (device, origin) = entry?;
        let (invited_by, at) = origin.value();
        found.insert(device.value(), Origin { invited_by, at });
    }
    Ok(found)
}

/// Keeps who has let a device in, with the transaction that enrols it.
pub(super) fn keep(
    write: &WriteTransaction,
    device: [u8; 32],
    invited_by: [u8; 32],
    at: u64,
) -> Result<Origin, StoreError> {
    write.open_table(LINEAGE)?.insert(device, (invited_by, at))?;
    Ok(Origin { invited_by, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> [u8; 32] {
        [number; 32]
    }

    fn of(rows: &[(u8, u8, u64)]) -> Lineage {
        let lineage = Lineage::default();
        for (device, invited_by, at) in rows {
            lineage.learn(id(*device), Origin { invited_by: id(*invited_by), at: *at });
        }
        lineage
    }

    #[test]
    fn a_branch_is_all_that_came_of_it_and_nothing_else() {
        let lineage = of(&[(2, 1, 0), (3, 1, 0), (4, 2, 0), (5, 4, 0), (6, 9, 0)]);
        let branch = |root| {
            let mut found: Vec<_> =
                lineage.descendants(&[DeviceId(id(root))]).iter().map(|device| device.0[0]).collect();
            found.sort_unstable();
            found
        };
        assert_eq!((branch(1), branch(2), branch(5), branch(7)), (vec![2, 3, 4, 5], vec![4, 5], vec![], vec![]));
        // No loop without an end, whatever the file says.
        assert_eq!(of(&[(1, 2, 0), (2, 1, 0)]).descendants(&[DeviceId(id(1))]), [DeviceId(id(2))]);
    }

    #[test]
    fn the_root_of_a_branch_is_known_however_it_was_learnt() {
        let rows = [(2, 1, 0), (3, 2, 0), (4, 3, 0), (5, 4, 0), (6, 9, 0)];
        let learnt = of(&rows);
        let loaded = Lineage::default();
        let origins = rows.map(|(device, invited_by, at)| (id(device), Origin { invited_by: id(invited_by), at }));
        loaded.load(HashMap::from(origins));
        for lineage in [&learnt, &loaded] {
            let roots = [1, 2, 3, 4, 5, 6, 7, 9].map(|device| lineage.root(DeviceId(id(device))).0[0]);
            assert_eq!(roots, [1, 1, 1, 1, 1, 9, 7, 9]);
        }
        // One more, of a branch that was loaded.
        loaded.learn(id(10), Origin { invited_by: id(5), at: 0 });
        assert_eq!(loaded.root(DeviceId(id(10))), DeviceId(id(1)));
        let circle = Lineage::default();
        circle.load(
            [(1, 2), (2, 3), (3, 1)].map(|(device, by)| (id(device), Origin { invited_by: id(by), at: 0 })).into(),
        );
        assert!((1..4).all(|device| circle.root(DeviceId(id(device))) == DeviceId(id(1))));
    }

    #[test]
    fn a_device_lets_in_so_many_a_day_and_so_many_in_all() {
        let day = |number: u64| number * DAY_SECS;
        let one = DeviceId(id(255));
        let rows: Vec<_> = (0..10).map(|number| (number, 255, day(100))).collect();
        assert_eq!(of(&rows).room(one, day(100)), 0);
        assert_eq!(of(&rows).room(one, day(101)), INVITED_A_DAY_MAX, "a day later");
        assert_eq!(of(&rows).room(DeviceId(id(254)), day(100)), INVITED_A_DAY_MAX, "another device");
        let rows: Vec<_> = (0..50).map(|number| (number, 255, day(number.into()))).collect();
        assert_eq!(of(&rows).room(one, day(1_000)), 0, "for good");
    }

    /// Ten a day for each device are a tree without an end: each that came lets in ten more.
    #[test]
    fn a_branch_lets_in_so_many_a_day_and_so_many_in_all_whoever_of_it_does() {
        let day = |number: u64| number * DAY_SECS;
        let chain = |len: u8, at: fn(u8) -> u64| (1..=len).map(|device| (device, device - 1, at(device))).collect();
        let rows: Vec<_> = chain(64, |_| 100 * DAY_SECS);
        let (last, root, other) = (DeviceId(id(64)), DeviceId(id(0)), DeviceId(id(99)));
        let lineage = of(&rows);
        assert_eq!((lineage.room_of_branch(last, day(100)), lineage.room(last, day(100))), (0, INVITED_A_DAY_MAX));
        assert_eq!((lineage.room_of_branch(root, day(100)), lineage.room_of_branch(other, day(100))), (0, 64));
        assert_eq!(lineage.room_of_branch(last, day(101)), 64, "a day later");
        let rows: Vec<_> = chain(250, |device| u64::from(device) * DAY_SECS);
        assert_eq!(of(&rows).room_of_branch(root, day(1_000)), 0, "for good");
    }
}
