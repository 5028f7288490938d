//! Who is here by other names than their device's: by the network that it came from, the subject whose a session is, the branch that
//! a device belongs to. So that whoever is banned or revoked by one of them is found among a million without looking at all.
//!
//! A name is kept as a hash under a key of this process, with the device, 40 bytes. Who looks one up looks whether each session of
//! the devices that are found is meant.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
};

use duologue::DeviceId;

/// What sessions are looked up by.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) enum Name<'a> {
    /// An address of IPv4, or a /64.
    Network(IpAddr),
    Subject(&'a str),
    /// The first of a branch, which need not be here itself.
    Branch(DeviceId),
}

#[derive(Debug, Default)]
pub(super) struct Names {
    key: RandomState,
    all: BTreeSet<(u64, DeviceId)>,
}

/// The names of a device's sessions, hashed, in their order.
pub(super) type Hashes = Box<[u64]>;

impl Names {
    pub(super) fn hash(&self, name: Name<'_>) -> u64 {
        self.key.hash_one(name)
    }

    /// The devices that have a name; perhaps others, by chance.
    pub(super) fn devices(&self, name: Name<'_>) -> impl Iterator<Item = DeviceId> {
        let hash = self.hash(name);
        let range = (hash, DeviceId([0; 32]))..=(hash, DeviceId([u8::MAX; 32]));
        self.all.range(range).map(|(_, device)| *device)
    }

    /// A device has these names now, and had those.
    pub(super) fn change(&mut self, device: DeviceId, had: &mut Hashes, mut has: Vec<u64>) {
        has.sort_unstable();
        has.dedup();
        if **had == *has {
            return;
        }
        for gone in had.iter().filter(|hash| !has.contains(hash)) {
            self.all.remove(&(*gone, device));
        }
        self.all.extend(has.iter().filter(|hash| !had.contains(hash)).map(|hash| (*hash, device)));
        *had = has.into();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}
