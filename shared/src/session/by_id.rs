//! What belongs to channels, in the order of their ids: a map and a set.
//!
//! A session has few channels ([`CHANNELS_MAX`](crate::limits::CHANNELS_MAX) of the peer's), and new ones have the highest
//! ids: a sorted row is looked through faster than a tree, and is a tenth of its code.

use alloc::vec::Vec;

use crate::ids::ChannelId;

/// Values of channels.
#[derive(Debug)]
pub(super) struct ById<T>(Vec<(ChannelId, T)>);

impl<T> Default for ById<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> ById<T> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    fn find(&self, id: ChannelId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&id, |(id, _)| *id)
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, id: ChannelId) -> Option<&T> {
        self.0.get(self.find(id).ok()?).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, id: ChannelId) -> Option<&mut T> {
        let at = self.find(id).ok()?;
        self.0.get_mut(at).map(|(_, value)| value)
    }

    /// The channel's value; a new one if it has none.
    pub(super) fn get_or_insert(&mut self, id: ChannelId, new: impl FnOnce() -> T) -> &mut T {
        let at = self.find(id).unwrap_or_else(|at| {
            self.0.insert(at, (id, new()));
            at
        });
        self.0.get_mut(at).map(|(_, value)| value).expect("it was found or put there")
    }

    pub(super) fn remove(&mut self, id: ChannelId) -> Option<T> {
        self.find(id).ok().map(|at| self.0.remove(at).1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ChannelId, &T)> {
        self.0.iter().map(|(id, value)| (*id, value))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ChannelId, &mut T)> {
        self.0.iter_mut().map(|(id, value)| (*id, value))
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ChannelId> {
        self.0.iter().map(|(id, _)| *id)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, value)| value)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, value)| value)
    }
}

/// Channels, each once.
#[derive(Debug, Default)]
pub(super) struct Ids(Vec<ChannelId>);

impl Ids {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[cfg(test)]
    pub(super) fn contains(&self, id: ChannelId) -> bool {
        self.0.binary_search(&id).is_ok()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = ChannelId> {
        self.0.iter().copied()
    }

    pub(super) fn insert(&mut self, id: ChannelId) {
        if let Err(at) = self.0.binary_search(&id) {
            self.0.insert(at, id);
        }
    }

    /// False if it was not there.
    pub(super) fn remove(&mut self, id: ChannelId) -> bool {
        self.0.binary_search(&id).map(|at| self.0.remove(at)).is_ok()
    }

    /// The lowest id, taken out.
    pub(super) fn pop_first(&mut self) -> Option<ChannelId> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use alloc::{
        collections::{BTreeMap, BTreeSet},
        vec::Vec,
    };

    use super::*;

    /// Ids in an order that has every kind of neighbour: a generator modulo a prime meets each once.
    fn ids() -> impl Iterator<Item = ChannelId> {
        (0..100).scan(1, |state, _| {
            *state = *state * 2 % 101;
            Some(ChannelId(*state))
        })
    }

    #[test]
    fn the_map_does_what_a_tree_does() {
        let (mut map, mut tree) = (ById::new(), BTreeMap::new());
        for (step, id) in ids().chain(ids().skip(7)).enumerate() {
            assert_eq!(map.get_or_insert(id, || step), tree.entry(id).or_insert(step));
            let other = ChannelId(id.0 * 3 % 101);
            if step % 3 == 0 {
                assert_eq!(map.remove(other), tree.remove(&other));
            }
            assert_eq!((map.get(other), map.len()), (tree.get(&other), tree.len()));
            assert_eq!(map.get_mut(other), tree.get_mut(&other));
        }
        assert!(map.iter().eq(tree.iter().map(|(id, value)| (*id, value))));
        assert!(map.iter_mut().eq(tree.iter_mut().map(|(id, value)| (*id, value))));
        assert_eq!(map.ids().collect::<Vec<_>>(), tree.keys().copied().collect::<Vec<_>>());
    }

    #[test]
    fn the_set_does_what_a_tree_does() {
        let (mut set, mut tree) = (Ids::new(), BTreeSet::new());
        for (step, id) in ids().chain(ids().skip(7)).enumerate() {
            set.insert(id);
            tree.insert(id);
            let other = ChannelId(id.0 * 3 % 101);
            if step % 3 == 0 {
                assert_eq!(set.remove(other), tree.remove(&other));
            } else if step % 11 == 0 {
                assert_eq!(set.pop_first(), tree.pop_first());
            }
            assert_eq!(set.contains(other), tree.contains(&other));
            assert!(set.iter().eq(tree.iter().copied()), "after step {step}");
        }
        set.clear();
        assert!(set.is_empty());
    }
}
