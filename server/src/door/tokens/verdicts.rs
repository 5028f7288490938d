//! Tokens that were verified: what each said, so that one that comes again costs a hash and no signature.
//!
//! By the hash of the whole token, so that nothing else ever finds it. Only tokens that were good get in: whoever has none cannot fill
//! it. Two halves, of which the older goes when the newer is full.

use std::{collections::HashMap, sync::Arc};

use super::claims::Verified;

/// How many tokens each half remembers. At most some 5 KiB each, with 64 groups, and 400 bytes as a rule.
const HALF_MAX: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Verdicts {
    newer: HashMap<[u8; 32], Arc<Verified>>,
    older: HashMap<[u8; 32], Arc<Verified>>,
    /// Which keys they were verified by.
    generation: u64,
}

impl Verdicts {
    /// What a token said that was verified by the keys of this generation.
    pub(super) fn get(&mut self, hash: &[u8; 32], generation: u64) -> Option<Arc<Verified>> {
        if generation != self.generation {
            return None;
        }
        if let Some(verified) = self.newer.get(hash) {
            return Some(Arc::clone(verified));
        }
        let verified = self.older.remove(hash)?;
        self.put(*hash, Arc::clone(&verified), generation);
        Some(verified)
    }

    /// Remembers what one said. One that was verified by keys of another generation than what is here forgets all the older ones.
    pub(super) fn put(&mut self, hash: [u8; 32], verified: Arc<Verified>, generation: u64) {
        if generation < self.generation {
            return;
        }
        if generation > self.generation {
            *self = Self { generation, ..Self::default() };
        }
        if self.newer.len() >= HALF_MAX {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(hash, verified);
    }

    /// Forgets one whose time is over.
    pub(super) fn remove(&mut self, hash: &[u8; 32]) {
        self.newer.remove(hash);
        self.older.remove(hash);
    }
}

#[cfg(test)]
impl Verdicts {
    pub(super) fn len(&self) -> usize {
        self.newer.len() + self.older.len()
    }
}
