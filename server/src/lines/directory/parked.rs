//! Sessions that wait for a connection: in the order in which they began to, by id, and by unit. Each step costs O(log n) of how many
//! wait: a network that fails makes thousands of them at once, while every handshake needs the directory.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use duologue::{DeviceId, SessionId};
use tokio::time::Instant;

use super::super::memory::Unit;
use crate::state::sharded::Sharded;

#[derive(Debug, Default)]
pub(super) struct Parked {
    /// By number, so that the one that waits longest is first.
    order: BTreeMap<u64, Waiting>,
    numbers: Sharded<SessionId, u64>,
    /// The numbers of each unit's.
    units: HashMap<Unit, BTreeSet<u64>>,
    /// How many each unit has: the one that has most is last.
    counts: BTreeSet<(usize, Unit)>,
    next: u64,
    /// Up to which number [`Parked::look_on`] has come.
    looked: u64,
}

/// One that waits. It may have a connection again, or be gone, until somebody looks.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) device: DeviceId,
    pub(super) id: SessionId,
    pub(super) since: Instant,
    unit: Unit,
}

impl Parked {
    /// One more waits, behind all others, also if it was here before; and has waited for so long, no longer than the one before it.
    pub(super) fn push(&mut self, device: DeviceId, id: SessionId, unit: Unit, waited: Duration) {
        self.remove(id);
        let number = self.next;
        self.next += 1;
        self.numbers.insert(id, number);
        self.count(&unit, |numbers| numbers.insert(number));
        let since = Instant::now().checked_sub(waited).unwrap_or_else(Instant::now);
        self.order.insert(number, Waiting { device, id, since, unit });
    }

    pub(super) fn remove(&mut self, id: SessionId) {
        let Some(number) = self.numbers.remove(&id) else { return };
        if let Some(waiting) = self.order.remove(&number) {
            self.count(&waiting.unit, |numbers| numbers.remove(&number));
        }
    }

    /// It is another unit's now, if it waits.
    pub(super) fn is_of(&mut self, id: SessionId, unit: Unit) {
        let Some(number) = self.numbers.get(&id).copied() else { return };
        let Some(waiting) = self.order.get_mut(&number) else { return };
        if waiting.unit != unit {
            let before = std::mem::replace(&mut waiting.unit, unit.clone());
            self.count(&before, |numbers| numbers.remove(&number));
            self.count(&unit, |numbers| numbers.insert(number));
        }
    }

    fn count(&mut self, unit: &Unit, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let numbers = self.units.entry(unit.clone()).or_default();
        let before = numbers.len();
        change(numbers);
        let after = numbers.len();
        self.counts.remove(&(before, unit.clone()));
        if after == 0 {
            self.units.remove(unit);
        } else {
            self.counts.insert((after, unit.clone()));
        }
    }

    /// The one that waits longest.
    pub(super) fn longest(&self) -> Option<&Waiting> {
        self.order.first_key_value().map(|(_, waiting)| waiting)
    }

    /// The one that waits longest of the guests, or, without any, of the unit of which most wait.
    pub(super) fn longest_of_most(&self) -> Option<&Waiting> {
        let most = || self.counts.last().and_then(|(_, unit)| self.units.get(unit));
        let numbers = self.units.get(&Unit::Guests).or_else(most)?;
        self.order.get(numbers.first()?)
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Waiting> {
        self.order.get(self.numbers.get(&id)?)
    }

    /// Its place in the row: who waits longer has a lower one.
    pub(super) fn place(&self, id: SessionId) -> Option<u64> {
        self.numbers.get(&id).copied()
    }

    /// So many of those after the ones that this gave last, and from the front again behind the last one.
    pub(super) fn look_on(&mut self, count: usize) -> Vec<Waiting> {
        let next: Vec<_> = self.order.range(self.looked..).take(count).collect();
        let looked = next.last().map_or(0, |(number, _)| *number + 1);
        let next = next.into_iter().map(|(_, waiting)| waiting.clone()).collect();
        self.looked = looked;
        next
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> SessionId {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        SessionId(id)
    }

    fn branch(number: u8) -> Unit {
        Unit::Branch(DeviceId([number; 32]))
    }

    /// Held to a row that is looked through, at each of many steps.
    #[test]
    fn whatever_comes_and_goes_the_longest_the_most_and_each_place_are_as_in_a_row() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut parked, mut row) = (Parked::default(), Vec::<(SessionId, Unit)>::new());
        for _ in 0..5_000 {
            let (id, unit) = (id(random.u32(0..60)), branch(random.u8(0..4)));
            let at = row.iter().position(|(other, _)| *other == id);
            match random.u8(0..4) {
                0 => {
                    parked.remove(id);
                    at.map(|at| row.remove(at));
                }
                1 => {
                    parked.is_of(id, unit.clone());
                    if let Some(at) = at {
                        row[at].1 = unit;
                    }
                }
                _ => {
                    parked.push(DeviceId([0; 32]), id, unit.clone(), Duration::ZERO);
                    at.map(|at| row.remove(at));
                    row.push((id, unit));
                }
            }
            assert_eq!((parked.len(), parked.is_empty()), (row.len(), row.is_empty()));
            assert_eq!(parked.longest().map(|waiting| waiting.id), row.first().map(|(id, _)| *id));
            let of = |unit: &Unit| row.iter().filter(|(_, other)| other == unit).count();
            let most = row.iter().map(|(_, unit)| (of(unit), unit)).max();
            let longest = most.and_then(|(_, most)| row.iter().find(|(_, unit)| unit == most)).map(|(id, _)| *id);
            assert_eq!(parked.longest_of_most().map(|waiting| waiting.id), longest);
            let mut places: Vec<_> = row.iter().map(|(id, _)| parked.place(*id).expect("it waits")).collect();
            assert!(places.is_sorted());
            places.dedup();
            assert_eq!(places.len(), row.len());
        }
        while let Some(id) = parked.longest().map(|waiting| waiting.id) {
            parked.remove(id);
        }
        assert!(parked.numbers.is_empty() && parked.units.is_empty() && parked.counts.is_empty(), "nothing is left");
    }

    #[test]
    fn guests_go_before_whoever_has_most_and_all_are_looked_at_in_turn() {
        let mut parked = Parked::default();
        (0..10).for_each(|number| parked.push(DeviceId([1; 32]), id(number), branch(1), Duration::ZERO));
        assert_eq!(parked.longest_of_most().map(|waiting| waiting.id), Some(id(0)));
        parked.push(DeviceId([2; 32]), id(10), Unit::Guests, Duration::ZERO);
        assert_eq!(parked.longest_of_most().map(|waiting| waiting.id), Some(id(10)));
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.extend(parked.look_on(3).into_iter().map(|waiting| waiting.id));
        }
        assert_eq!(seen, (0..11).map(id).collect::<Vec<_>>());
        assert!(parked.look_on(3).is_empty() && parked.look_on(1)[0].id == id(0), "from the front again");
    }
}
