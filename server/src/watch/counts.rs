//! What a log has told of each peer, and what it has only counted. Time is an argument.
//!
//! ```text
//! event ─► whose? a device's, an address's, nobody's ─► its first of this kind in a minute, and there is room: told
//!                                                     └► else counted, and told with its count at the minute's end
//! ```
//!
//! The room is what ten minutes may come to, 70,000 bytes (10 MB a day): each of the three classes has 5,000 bytes at once and
//! 900 more each minute, which is 14,000 in ten minutes, 42,000 for all; and each minute's counts have at most 12 lines of
//! 220 bytes, 26,400 in ten minutes. A class cannot use up another's: strangers do not keep devices out of the log.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::bans::network;

/// Told at once, in bytes, for each class.
const ROOM: u32 = 5_000;
/// What comes back of it each minute.
const ROOM_A_MINUTE: u32 = 900;
/// Of one peer in one minute: a peer that does a bit of everything leaves room for others.
const LINES_OF_A_PEER_MAX: u32 = 4;
/// Peers that are counted one by one, some 200 bytes each; the others of a minute are counted together.
const PEERS_MAX: usize = 4_096;
/// Kinds that a peer's count has; there are some forty in all.
const KINDS_OF_A_PEER_MAX: usize = 16;
/// Peers that a minute's end names, of each class.
const NAMED_MAX: usize = 3;
/// Kinds that one of those lines names, and how much of their words.
const KINDS_NAMED_MAX: usize = 3;
const WORDS_LEN_MAX: usize = 40;
/// How often counts are told.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// Whose doing it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Peer {
    /// One that has proved itself.
    Device(String),
    /// A stranger; IPv6 by the /64, which is one subscriber's.
    Address(IpAddr),
    /// The server's own, or not known.
    Nobody,
}

impl Peer {
    /// An address as events write it, with or without a port.
    pub(super) fn of_address(text: &str) -> Self {
        let socket = || text.parse().ok().map(|socket: std::net::SocketAddr| socket.ip());
        match text.parse::<IpAddr>().ok().or_else(socket) {
            Some(address) => Self::Address(network(address)),
            None => Self::Nobody,
        }
    }

    /// One who is a stranger wherever he comes from.
    pub(super) fn of_stranger(address: IpAddr) -> Self {
        match Self::of_address(&address.to_string()) {
            Self::Nobody => Self::Address(address),
            peer => peer,
        }
    }

    fn class(&self) -> usize {
        match self {
            Self::Device(_) => 0,
            Self::Address(_) => 1,
            Self::Nobody => 2,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(id) => write!(f, "device {id}"),
            Self::Address(address @ IpAddr::V6(_)) => write!(f, "address {address}/64"),
            Self::Address(address) => write!(f, "address {address}"),
            Self::Nobody => f.write_str("this server"),
        }
    }
}

/// What happened, without whose it is: the place in the source, as a number, and its words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind<'a> {
    pub(super) place: usize,
    pub(super) words: &'a str,
}

#[derive(Debug)]
struct Room {
    bytes: u32,
    filled: Instant,
}

/// Of one peer since the last minute's end.
#[derive(Debug, Default)]
struct Count {
    told: u32,
    /// By kind: whether its first was met, and how many were only counted.
    kinds: Vec<(usize, u64)>,
    /// Of further kinds.
    others: u64,
}

impl Count {
    fn counted(&self) -> u64 {
        self.kinds.iter().fold(self.others, |sum, (_, count)| sum.saturating_add(*count))
    }
}

#[derive(Debug)]
pub(super) struct Counts {
    rooms: [Room; 3],
    peers: HashMap<Peer, Count>,
    /// Events of peers beyond those, by class.
    crowd: [u64; 3],
    /// The words of each kind; as many as the source has.
    kinds: HashMap<usize, String>,
}

impl Counts {
    pub(super) fn new(now: Instant) -> Self {
        let room = || Room { bytes: ROOM, filled: now };
        Self { rooms: [room(), room(), room()], peers: HashMap::new(), crowd: [0; 3], kinds: HashMap::new() }
    }

    /// Takes an event that would make a line of `len` bytes. Is it to be told at once?
    pub(super) fn handle(&mut self, now: Instant, peer: Peer, kind: Kind<'_>, len: usize) -> bool {
        let class = peer.class();
        if !self.peers.contains_key(&peer) && self.peers.len() >= PEERS_MAX {
            self.crowd[class] = self.crowd[class].saturating_add(1);
            return false;
        }
        let is_known = self.kinds.contains_key(&kind.place);
        let count = self.peers.entry(peer).or_default();
        let at = match count.kinds.iter().position(|(place, _)| *place == kind.place) {
            Some(at) => at,
            None if count.kinds.len() < KINDS_OF_A_PEER_MAX => {
                count.kinds.push((kind.place, 0));
                if count.told < LINES_OF_A_PEER_MAX && self.rooms[class].take(now, len) {
                    count.told += 1;
                    return true;
                }
                count.kinds.len() - 1
            }
            None => {
                count.others = count.others.saturating_add(1);
                return false;
            }
        };
        if let Some((_, counted)) = count.kinds.get_mut(at) {
            *counted = counted.saturating_add(1);
        }
        if !is_known {
            self.kinds.insert(kind.place, kind.words.chars().take(WORDS_LEN_MAX).collect());
        }
        false
    }

    /// What was counted since this was asked last: whose, and what. The loudest of each class by name, the others together.
    pub(super) fn tell(&mut self) -> Vec<(String, String)> {
        let (peers, crowd) = (std::mem::take(&mut self.peers), std::mem::take(&mut self.crowd));
        let mut classes: [Vec<(Peer, Count)>; 3] = Default::default();
        for (peer, count) in peers {
            if count.counted() > 0 {
                classes[peer.class()].push((peer, count));
            }
        }
        let mut lines = Vec::new();
        for ((mut counts, crowd), plural) in classes.into_iter().zip(crowd).zip(["devices", "addresses", "causes"]) {
            counts.sort_by_cached_key(|(peer, count)| (std::cmp::Reverse(count.counted()), peer.to_string()));
            let others = counts.split_off(counts.len().min(NAMED_MAX));
            lines.extend(counts.iter().map(|(peer, count)| (peer.to_string(), self.sentence(count))));
            let events = others.iter().fold(crowd, |sum, (_, count)| sum.saturating_add(count.counted()));
            if events > 0 {
                let more = if crowd > 0 { " and more" } else { "" };
                lines.push((format!("{}{more} other {plural}", others.len()), format!("{events} events")));
            }
        }
        lines
    }

    fn sentence(&self, count: &Count) -> String {
        let mut kinds: Vec<_> = count.kinds.iter().filter(|(_, count)| *count > 0).collect();
        kinds.sort_by_key(|(place, count)| (std::cmp::Reverse(*count), *place));
        let named = kinds.iter().take(KINDS_NAMED_MAX);
        let words = |place: &usize| self.kinds.get(place).map_or("something", String::as_str);
        let mut parts: Vec<_> = named.map(|(place, count)| format!("{count} × {}", words(place))).collect();
        let rest = kinds.iter().skip(KINDS_NAMED_MAX).fold(count.others, |sum, (_, count)| sum.saturating_add(*count));
        if rest > 0 {
            parts.push(format!("{rest} others"));
        }
        parts.join(", ")
    }
}

impl Room {
    fn take(&mut self, now: Instant, len: usize) -> bool {
        let elapsed = now.saturating_duration_since(self.filled);
        let back = elapsed.as_millis().saturating_mul(ROOM_A_MINUTE.into()) / MINUTE.as_millis();
        if back > 0 {
            // What is lost to rounding is lost: room comes back a little slower than it says.
            self.filled = now;
            self.bytes = self.bytes.saturating_add(u32::try_from(back).unwrap_or(ROOM)).min(ROOM);
        }
        let left = u32::try_from(len).ok().and_then(|len| self.bytes.checked_sub(len));
        left.map(|left| self.bytes = left).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind<'static> = Kind { place: 1, words: "no such service" };

    fn device(number: usize) -> Peer {
        Peer::Device(format!("{number:043}"))
    }

    #[test]
    fn the_first_is_told_and_the_others_are_counted() {
        let now = Instant::now();
        let mut counts = Counts::new(now);
        assert!(counts.handle(now, device(1), KIND, 100));
        for _ in 0..1_000 {
            assert!(!counts.handle(now, device(1), KIND, 100));
        }
        assert!(counts.handle(now, device(1), Kind { place: 2, words: "another" }, 100), "of another kind");
        assert!(counts.handle(now, device(2), KIND, 100), "of another device");
        assert_eq!(counts.tell(), [(device(1).to_string(), "1000 × no such service".to_owned())]);
        assert_eq!(counts.tell(), [], "told once");
        assert!(counts.handle(now, device(1), KIND, 100), "in the next minute its first is told again");
    }

    #[test]
    fn strangers_and_devices_do_not_silence_each_other_nor_the_server() {
        let now = Instant::now();
        let mut counts = Counts::new(now);
        for number in 0..1_000_u32 {
            counts.handle(now, Peer::Address(IpAddr::from(number.to_be_bytes())), KIND, 100);
        }
        assert!(counts.handle(now, device(1), KIND, 100));
        assert!(counts.handle(now, Peer::Nobody, KIND, 100));
        let told = counts.tell();
        assert_eq!(told.last(), Some(&("947 other addresses".to_owned(), "947 events".to_owned())), "{told:?}");
    }

    #[test]
    fn one_device_of_many_kinds_leaves_room_for_others() {
        let now = Instant::now();
        let mut counts = Counts::new(now);
        let told = (0..100).filter(|place| counts.handle(now, device(1), Kind { place: *place, words: "x" }, 100));
        assert_eq!(told.count(), 4);
        assert!(counts.handle(now, device(2), KIND, 100));
        assert_eq!(counts.tell(), [(device(1).to_string(), "1 × x, 1 × x, 1 × x, 93 others".to_owned())]);
    }

    #[test]
    fn an_address_is_one_with_its_neighbours_in_its_64_and_with_any_port() {
        let all = ["2001:db8::1", "[2001:db8::ffff]:443", "2001:db8:0:0:5::"].map(Peer::of_address);
        assert_eq!(all.each_ref().map(ToString::to_string), ["address 2001:db8::/64"; 3]);
        let all = ["192.0.2.1", "192.0.2.1:80", "::ffff:192.0.2.1", "[::ffff:192.0.2.1]:5"].map(Peer::of_address);
        assert_eq!(all.each_ref().map(ToString::to_string), ["address 192.0.2.1"; 4]);
        assert_eq!(Peer::of_address("unknown"), Peer::Nobody);
    }

    #[test]
    fn ten_minutes_of_the_worst_stay_below_the_bound() {
        // Once: 110 bytes a connection of a stranger, 5 MB a second of a device.
        type Flood = fn(usize) -> Peer;
        let one: Flood = |_| Peer::Address(IpAddr::from([192, 0, 2, 1]));
        let many: Flood = |number| Peer::Address(IpAddr::from(u32::try_from(number).unwrap_or(0).to_be_bytes()));
        let all: Flood = |number| match number % 3 {
            0 => device(number % 7_000),
            1 => Peer::Address(IpAddr::from(u32::try_from(number).unwrap_or(0).to_be_bytes())),
            _ => Peer::Nobody,
        };
        for flood in [one, many, |_| device(1), device, all] {
            let start = Instant::now();
            let mut counts = Counts::new(start);
            let mut bytes = 0;
            for minute in 0..10 {
                for number in 0..20_000 {
                    let now = start + MINUTE * minute + Duration::from_millis(number * 3);
                    let number = usize::try_from(number).unwrap_or(0);
                    let words = "the longest words that an event of this server has, and more";
                    let (len, kind) = (60 + number % 300, Kind { place: number % 40, words });
                    bytes += if counts.handle(now, flood(number), kind, len) { len } else { 0 };
                    assert!(counts.peers.len() <= PEERS_MAX);
                }
                for (whose, what) in counts.tell() {
                    bytes += super::super::log::OVERHEAD + whose.len() + what.len();
                }
            }
            assert!(bytes <= 70_000, "{bytes}");
        }
    }
}
