//! A picture of the middleboxes: from which networks records are altered, text is put in, or handshakes are replayed on the way, how
//! often and since when. Of a fixed size: where it is full, who was quiet for longest gives way.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use duologue::DeviceId;

use super::{
    bans::network,
    events::{Event, Kind},
};

/// Networks that are remembered, some 200 bytes each.
const NETWORKS_MAX: usize = 4_096;

/// The kinds that are meant.
pub(crate) const KINDS: [Kind; 6] = [
    Kind::RecordAltered,
    Kind::TextInjected,
    Kind::FrameBroken,
    Kind::HandshakeReplayed,
    Kind::WrongKey,
    Kind::PathRewritten,
];

/// What was seen of one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// The address, or of IPv6 its /64.
    pub(crate) network: IpAddr,
    /// Seconds since 1970.
    pub(crate) since: u64,
    pub(crate) last: u64,
    /// How often, in the order of [`KINDS`].
    pub(crate) counts: [u64; KINDS.len()],
    /// The last device that it happened to, where one had shown itself.
    pub(crate) device: Option<DeviceId>,
}

#[derive(Debug, Default)]
pub(crate) struct Ways {
    ways: HashMap<IpAddr, Way>,
    quiet: BTreeSet<(u64, IpAddr)>,
}

impl Ways {
    pub(crate) fn handle(&mut self, event: &Event) {
        let (Some(at), Some(address)) = (KINDS.iter().position(|kind| *kind == event.kind), event.address) else {
            return;
        };
        let now = event.millis() / 1_000;
        let network = network(address);
        let new = || Way { network, since: now, last: now, counts: [0; KINDS.len()], device: None };
        let way = self.ways.entry(network).or_insert_with(new);
        self.quiet.remove(&(way.last, network));
        way.last = way.last.max(now);
        self.quiet.insert((way.last, network));
        way.device = event.device.or(way.device);
        if let Some(count) = way.counts.get_mut(at) {
            *count = count.saturating_add(1);
        }
        if self.ways.len() > NETWORKS_MAX
            && let Some((_, quietest)) = self.quiet.pop_first()
        {
            self.ways.remove(&quietest);
        }
    }

    /// All, the last one heard of first.
    pub(crate) fn list(&self) -> Vec<Way> {
        self.quiet.iter().rev().filter_map(|(_, network)| self.ways.get(network).cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn what_is_altered_is_counted_by_network_since_its_first_and_the_quietest_gives_way() {
        let mut ways = Ways::default();
        let mut tell = |kind, address: &str, secs| {
            let mut event = Event::of(kind).address(address.parse().expect("an address")).device(DeviceId([3; 32]));
            event.at = UNIX_EPOCH + Duration::from_secs(secs);
            ways.handle(&event);
        };
        tell(Kind::RecordAltered, "2001:db8::1", 100);
        tell(Kind::TextInjected, "2001:db8::2", 200);
        tell(Kind::LineOpen, "192.0.2.2", 200);
        tell(Kind::HandshakeReplayed, "192.0.2.1", 150);
        let [first, second] = &ways.list()[..] else { panic!("{ways:?}") };
        assert_eq!((first.since, first.last, first.counts), (100, 200, [1, 1, 0, 0, 0, 0]));
        assert_eq!((second.network, second.device), ([192, 0, 2, 1].into(), Some(DeviceId([3; 32]))));
        for number in 0..5_000_u64 {
            let mut event = Event::of(Kind::WrongKey);
            event.address = Some(std::net::Ipv4Addr::from(u32::try_from(number).expect("small")).into());
            event.at = UNIX_EPOCH + Duration::from_secs(1_000 + number);
            ways.handle(&event);
        }
        assert_eq!(ways.list().len(), NETWORKS_MAX);
        assert_eq!(ways.list().first().map(|way| way.last), Some(5_999));
    }
}
