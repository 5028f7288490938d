//! What is written one by one, and what is only counted: nobody can fill the disk by being refused. Time is an argument.
//!
//! ```text
//! what the owner does, what the server does ─► always written
//! what rules find ─► the first 120 of a minute: each event can pass a rule; the others by kind
//! a device that was let in ─► its first 20 of a minute; the others of each kind are counted, and written with their count
//! strangers: an address, an IPv6 /64 ─► their first 5; of all together 60; then the loudest ten by address, the others by kind
//! ```
//!
//! Strangers can make the log grow by some 40 kB a minute, however many they are, and by as much where rules find them; a device by
//! some 10 kB.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    time::{Duration, SystemTime},
};

use duologue::DeviceId;

use crate::watch::{
    bans::network,
    events::{Event, Kind, Origin},
};

/// Of one device in one minute.
const DEVICE_MAX: u32 = 20;
/// Of one address of strangers.
const STRANGER_MAX: u32 = 5;
/// Of all strangers.
const STRANGERS_MAX: u32 = 60;
/// Of what rules find, of all together.
const RULES_MAX: u32 = 120;
/// Strangers whose counts are written by address.
const STRANGERS_NAMED_MAX: usize = 10;
/// Peers that are counted one by one, some 200 bytes each.
const PEERS_MAX: usize = 4_096;
/// How often counts are written.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// Whose doing an event is, for its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Peer {
    Device(DeviceId),
    Stranger(IpAddr),
    Nobody,
}

/// Events that were not written one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) kind: Kind,
    /// None for those of many together.
    pub(super) peer: Option<Peer>,
    pub(super) count: u64,
}

#[derive(Debug, Default)]
struct Of {
    written: u32,
    counted: BTreeMap<Kind, u64>,
}

#[derive(Debug)]
pub(super) struct Gate {
    since: SystemTime,
    peers: HashMap<Peer, Of>,
    strangers: u32,
    rules: u32,
    crowd: BTreeMap<Kind, u64>,
}

impl Gate {
    pub(super) fn new(now: SystemTime) -> Self {
        Self { since: now, peers: HashMap::new(), strangers: 0, rules: 0, crowd: BTreeMap::new() }
    }

    /// Whether an event is to be written. If not, it was counted.
    pub(super) fn lets(&mut self, event: &Event) -> bool {
        if matches!(event.kind, Kind::RuleMatched | Kind::Slowed | Kind::Closed | Kind::Banned) {
            let has_room = self.rules < RULES_MAX;
            if has_room {
                self.rules += 1;
            } else {
                add(&mut self.crowd, event.kind, 1);
            }
            return has_room;
        }
        if matches!(event.kind.origin(), Origin::Owner | Origin::Server) && event.device.is_none() {
            return true;
        }
        // An enrolment takes an invite, which the owner has made.
        if matches!(event.kind.origin(), Origin::Owner) || event.kind == Kind::DeviceEnrolled {
            return true;
        }
        let peer = Peer::of(event);
        if !self.peers.contains_key(&peer) && self.peers.len() >= PEERS_MAX {
            add(&mut self.crowd, event.kind, 1);
            return false;
        }
        let of = self.peers.entry(peer).or_default();
        let (max, has_room) = match peer {
            Peer::Device(_) => (DEVICE_MAX, true),
            Peer::Stranger(_) | Peer::Nobody => (STRANGER_MAX, self.strangers < STRANGERS_MAX),
        };
        if of.written < max && has_room {
            of.written += 1;
            if !matches!(peer, Peer::Device(_)) {
                self.strangers += 1;
            }
            return true;
        }
        add(&mut of.counted, event.kind, 1);
        false
    }

    /// What was counted, once a minute has passed, or at the end of all.
    pub(super) fn counted(&mut self, now: SystemTime, is_end: bool) -> Vec<Counted> {
        // A clock that was set back must not keep them for ever.
        let has_passed = now.duration_since(self.since).map_or(true, |passed| passed >= MINUTE);
        if !has_passed && !is_end {
            return Vec::new();
        }
        self.since = now;
        (self.strangers, self.rules) = (0, 0);
        let (mut devices, mut strangers): (Vec<_>, Vec<_>) = std::mem::take(&mut self.peers)
            .into_iter()
            .filter(|(_, of)| !of.counted.is_empty())
            .partition(|(peer, _)| matches!(peer, Peer::Device(_)));
        devices.sort_by_key(|(peer, _)| *peer);
        let loudness = |of: &Of| of.counted.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
        strangers.sort_by_key(|(peer, of)| (std::cmp::Reverse(loudness(of)), *peer));
        for (_, of) in strangers.drain(STRANGERS_NAMED_MAX.min(strangers.len())..) {
            of.counted.into_iter().for_each(|(kind, count)| add(&mut self.crowd, kind, count));
        }
        let named = devices.into_iter().chain(strangers).flat_map(|(peer, of)| {
            of.counted.into_iter().map(move |(kind, count)| Counted { kind, peer: Some(peer), count })
        });
        let crowd =
            std::mem::take(&mut self.crowd).into_iter().map(|(kind, count)| Counted { kind, peer: None, count });
        named.chain(crowd).collect()
    }
}

fn add(to: &mut BTreeMap<Kind, u64>, kind: Kind, count: u64) {
    let sum = to.entry(kind).or_default();
    *sum = sum.saturating_add(count);
}

impl Peer {
    fn of(event: &Event) -> Self {
        match (event.device, event.stranger) {
            (Some(device), None) => Self::Device(device),
            (_, stranger) => {
                stranger.or(event.address).map_or(Self::Nobody, |address| Self::Stranger(network(address)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn of_device(number: u32) -> Event {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        Event::of(Kind::NotAllowed).device(DeviceId(id))
    }

    fn of_stranger(number: u32) -> Event {
        Event { stranger: Some(IpAddr::from(number.to_be_bytes())), ..of_device(number) }
    }

    #[test]
    fn whatever_is_not_written_is_counted_and_the_sum_is_true() {
        let mut gate = Gate::new(UNIX_EPOCH);
        let mut written = 0_u64;
        for number in 0..10_000 {
            written += u64::from(gate.lets(&of_stranger(number % 3)));
            written += u64::from(gate.lets(&of_device(7)));
            written += u64::from(gate.lets(&of_stranger(number + 1_000)));
        }
        assert_eq!(written, 80, "60 of strangers, 20 of a device");
        assert_eq!(gate.counted(UNIX_EPOCH + MINUTE / 2, false), []);
        let counted = gate.counted(UNIX_EPOCH + MINUTE, false);
        assert_eq!(counted.iter().map(|it| it.count).sum::<u64>(), 30_000 - written);
        assert!(counted.len() <= 12, "{counted:?}");
        assert!(matches!(counted[0], Counted { peer: Some(Peer::Device(_)), count: 9_980, .. }), "{counted:?}");
        assert!(gate.lets(&of_device(7)), "in the next minute it is written again");
    }

    /// It once wrote a line for each: a rule whose threshold is one is passed by each event of a flood.
    #[test]
    fn a_rule_that_each_event_passes_writes_no_more_than_a_count() {
        let mut gate = Gate::new(UNIX_EPOCH);
        let mut written = 0_u64;
        for number in 0..10_000_u32 {
            for kind in [Kind::RuleMatched, Kind::Slowed, Kind::Banned] {
                let event = Event::of(kind);
                let events =
                    [event.clone(), event.clone().address(number.to_be_bytes().into()), event.subject(Some("ada"))];
                written += events.iter().map(|event| u64::from(gate.lets(event))).sum::<u64>();
            }
        }
        assert_eq!(written, 120);
        let counted = gate.counted(UNIX_EPOCH + MINUTE, false);
        assert_eq!(counted.iter().map(|it| it.count).sum::<u64>(), 90_000 - written);
        assert!(counted.len() <= 3, "by kind: {counted:?}");
        assert!(gate.lets(&Event::of(Kind::Banned)), "in the next minute they are written again");
    }

    #[test]
    fn nobody_keeps_the_owner_out_of_it_nor_a_device_another() {
        let mut gate = Gate::new(UNIX_EPOCH);
        for number in 0..100_000 {
            gate.lets(&of_stranger(number));
        }
        assert!(gate.peers.len() <= PEERS_MAX);
        for _ in 0..1_000 {
            assert!(gate.lets(&Event::of(Kind::OwnerRevoked).device(DeviceId([9; 32]))));
        }
        assert!(gate.lets(&Event::of(Kind::Banned).address(IpAddr::from([192, 0, 2, 1]))), "nor a rule");
        let mut gate = Gate::new(UNIX_EPOCH);
        for _ in 0..1_000 {
            gate.lets(&of_device(1));
        }
        assert!(gate.lets(&of_device(2)));
    }
}
