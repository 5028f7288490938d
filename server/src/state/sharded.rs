//! A hash map in parts, for what may have a million entries. A map that grows moves everything that it has in one step, and one that
//! is tidied looks at everything, while all wait for its lock; here either is done to a 256th of it.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
};

const PARTS: usize = 256;
/// A part is first tidied at this length.
const TIDY_AT: usize = 4;

#[derive(Debug)]
pub(crate) struct Sharded<K, V> {
    parts: Box<[Part<K, V>]>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Part<K, V> {
    map: HashMap<K, V>,
    tidy_at: usize,
}

impl<K, V> Default for Sharded<K, V> {
    fn default() -> Self {
        let hasher = RandomState::new();
        let part = || Part { map: HashMap::with_hasher(hasher.clone()), tidy_at: TIDY_AT };
        Self { parts: (0..PARTS).map(|_| part()).collect(), hasher }
    }
}

impl<K: Eq + Hash, V> Sharded<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.parts.get(self.place(key))?.map.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.part(key).map.get_mut(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.part(&key).map.insert(key, value)
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.part(key).map.remove(key)
    }

    /// What a key has, or gets now.
    pub(crate) fn or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.part(&key).map.entry(key).or_insert_with(make)
    }

    /// To be called before one more comes: where its part has twice as many as when this was done last, those go that are not to be
    /// kept.
    pub(crate) fn tidy_for(&mut self, key: &K, mut is_kept: impl FnMut(&V) -> bool) {
        let part = self.part(key);
        if part.map.len() >= part.tidy_at {
            part.map.retain(|_, value| is_kept(value));
            part.tidy_at = 2 * part.map.len() + TIDY_AT;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.map.len()).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| part.map.is_empty())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.parts.iter().flat_map(|part| &part.map)
    }

    /// What is in one part; none behind the last one. Whoever looks at everything lets others in between two.
    pub(crate) fn values_of_part(&self, number: usize) -> Option<impl Iterator<Item = &V>> {
        self.parts.get(number).map(|part| part.map.values())
    }

    fn part(&mut self, key: &K) -> &mut Part<K, V> {
        let place = self.place(key);
        &mut self.parts[place]
    }

    /// By other bits of the hash than those by which the part's own map has its places.
    fn place(&self, key: &K) -> usize {
        usize::from(self.hasher.hash_one(key).to_be_bytes()[3])
    }
}

impl<K: Eq + Hash, V> Extend<(K, V)> for Sharded<K, V> {
    fn extend<T: IntoIterator<Item = (K, V)>>(&mut self, all: T) {
        for (key, value) in all {
            self.insert(key, value);
        }
    }
}

impl<K: Eq + Hash, V> FromIterator<(K, V)> for Sharded<K, V> {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(all: T) -> Self {
        let mut map = Self::default();
        map.extend(all);
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_a_map_and_its_parts_are_all_of_it() {
        let mut sharded = Sharded::default();
        let mut map = HashMap::new();
        for number in 0..10_000_u32 {
            let key = number.wrapping_mul(2_654_435_761) % 3_000;
            assert_eq!(sharded.insert(key, number), map.insert(key, number));
            if number % 3 == 0 {
                assert_eq!(sharded.remove(&(key / 2)), map.remove(&(key / 2)));
            }
            assert_eq!(sharded.get(&(number % 3_000)), map.get(&(number % 3_000)));
        }
        assert_eq!(sharded.len(), map.len());
        let mut all: Vec<_> = (0..).map_while(|part| sharded.values_of_part(part)).flatten().copied().collect();
        let mut expected: Vec<_> = map.into_values().collect();
        all.sort_unstable();
        expected.sort_unstable();
        assert_eq!(all, expected);
        let longest = (0..).map_while(|part| sharded.values_of_part(part)).map(Iterator::count).max();
        assert!(longest < Some(60), "{longest:?} of {} in one of {PARTS} parts", sharded.len());
    }

    #[test]
    fn what_is_not_to_be_kept_goes_before_it_is_twice_as_much() {
        let mut sharded = Sharded::default();
        for number in 0..100_000_u32 {
            sharded.tidy_for(&number, |value| *value % 10 == 0);
            sharded.insert(number, number);
        }
        assert!((10_000..25_000).contains(&sharded.len()), "{}", sharded.len());
        assert!((0..10_000).all(|number| sharded.get(&(number * 10)).is_some()));
    }
}
