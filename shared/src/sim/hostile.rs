//! A middleman who has TLS opened before him: he flips, cuts, repeats, swaps, drops, and puts in what he has recorded.

use alloc::{vec, vec::Vec};

use super::{
    chance::Chance,
    link::{Item, Way},
};

/// Messages that he keeps for later.
const RECORDED: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Hostile {
    /// One in so many messages; 0: he only listens.
    pub(super) one_in: u64,
    pub(super) tampered: u64,
    recorded: Vec<Vec<u8>>,
}

impl Hostile {
    pub(super) fn new(one_in: u64) -> Self {
        Self { one_in, ..Self::default() }
    }

    /// What goes on instead of a message.
    pub(super) fn meddle(&mut self, message: Vec<u8>, way: &mut Way, chance: &mut Chance) -> Vec<Item> {
        let items = self.tamper(message, way, chance);
        let mut items: Vec<_> = items.into_iter().map(Item::Message).collect();
        if self.one_in > 0 && chance.one_in(self.one_in * 8) {
            self.tampered += 1;
            items.insert(0, Item::Text);
        }
        items
    }

    fn tamper(&mut self, message: Vec<u8>, way: &mut Way, chance: &mut Chance) -> Vec<Vec<u8>> {
        if self.one_in == 0 {
            return vec![message];
        }
        let old = (!self.recorded.is_empty()).then(|| self.recorded[chance.index(self.recorded.len())].clone());
        if self.recorded.len() < RECORDED {
            self.recorded.push(message.clone());
        } else if chance.one_in(4) {
            self.recorded[chance.index(RECORDED)] = message.clone();
        }
        if !chance.one_in(self.one_in) {
            return vec![message];
        }
        self.tampered += 1;
        let mut message = message;
        match chance.below(8) {
            0 | 1 => {
                let at = chance.index(message.len());
                message[at] ^= 1 << chance.below(8);
                vec![message]
            }
            2 => {
                message.truncate(chance.index(message.len()));
                vec![message]
            }
            3 => vec![message.clone(), message],
            4 => {
                way.swap_last();
                vec![message]
            }
            5 => Vec::new(),
            6 => {
                message.resize(chance.pick(&[message.len() + 1, 65_535, 65_536, 70_000]), 7);
                vec![message]
            }
            _ => old.into_iter().chain([message]).collect(),
        }
    }
}
