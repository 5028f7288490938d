//! Networks that may connect and networks that may not, and which of them an address is in: the narrowest counts.
//!
//! ```text
//! 10.0.0.0/8 denied, 10.1.0.0/16 allowed, 10.1.2.3 denied ─► rows that begin somewhere, each with a verdict:
//! 10.0.0.0 denied · 10.1.0.0 allowed · 10.1.2.3 denied · 10.1.2.4 allowed · 10.2.0.0 denied · 11.0.0.0 none
//! ```
//!
//! An address is found by halving, whatever the number of networks. IPv4 and IPv6 have rows of their own: `::/0` is no network of
//! IPv4. What is written as an IPv4 address within IPv6 (`::ffff:192.0.2.0/120`) is one of IPv4 (RFC 4291, 2.5.5.2).

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// The prefix of IPv4 addresses within IPv6.
const MAPPED: u128 = 0xffff << 32;
const MAPPED_LEN: u8 = 96;

/// What is said of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Said {
    Allowed,
    /// Of the same network, both were said: this counts.
    Denied,
}

/// Networks with what is said of each.
#[derive(Clone, Debug, Default)]
pub(super) struct Networks {
    v4: Rows<u32>,
    v6: Rows<u128>,
}

/// Where something else begins to hold, in order.
type Rows<T> = Box<[(T, Option<Said>)]>;

/// A network's first and last address, and how long its prefix is.
type Span = (u128, u128, u8, Said);

impl Networks {
    pub(super) fn new(all: impl IntoIterator<Item = (IpNet, Said)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (network, said) in all {
            let (first, last, len) = match network {
                IpNet::V4(network) => {
                    v4.push((
                        u128::from(u32::from(network.network())),
                        u128::from(u32::from(network.broadcast())),
                        network.prefix_len(),
                        said,
                    ));
                    continue;
                }
                IpNet::V6(network) => {
                    (u128::from(network.network()), u128::from(network.broadcast()), network.prefix_len())
                }
            };
            match len.checked_sub(MAPPED_LEN) {
                Some(len) if first & !u128::from(u32::MAX) == MAPPED => {
                    v4.push((first - MAPPED, last - MAPPED, len, said));
                }
                _ => v6.push((first, last, len, said)),
            }
        }
        let of_v4 = rows(v4).into_iter().filter_map(|(first, said)| Some((u32::try_from(first).ok()?, said)));
        Self { v4: of_v4.collect(), v6: rows(v6).into() }
    }

    /// What the narrowest of them says that has an address; none if none has it.
    pub(super) fn find(&self, address: IpAddr) -> Option<Said> {
        match address.to_canonical() {
            IpAddr::V4(address) => find(&self.v4, u32::from(address)),
            IpAddr::V6(address) => find(&self.v6, u128::from(address)),
        }
    }
}

fn find<T: Ord>(rows: &[(T, Option<Said>)], address: T) -> Option<Said> {
    let after = rows.partition_point(|(first, _)| *first <= address);
    rows.get(after.checked_sub(1)?)?.1
}

/// Networks either lie within each other or do not meet: what is open while they are gone through in order is a stack.
fn rows(mut all: Vec<Span>) -> Vec<(u128, Option<Said>)> {
    all.sort_unstable_by_key(|(first, _, len, said)| (*first, *len, *said));
    let mut rows: Vec<(u128, Option<Said>)> = Vec::new();
    let mut open: Vec<(u128, Said)> = Vec::new();
    let mut begins = |at: u128, said: Option<Said>| match rows.last_mut() {
        Some((last, before)) if *last == at => *before = said,
        Some((_, before)) if *before == said => {}
        _ => rows.push((at, said)),
    };
    for (first, last, _, said) in all {
        close_before(Some(first), &mut open, &mut begins);
        begins(first, Some(said));
        open.push((last, said));
    }
    close_before(None, &mut open, &mut begins);
    rows
}

/// Ends what ends before an address, or everything.
fn close_before(address: Option<u128>, open: &mut Vec<(u128, Said)>, begins: &mut impl FnMut(u128, Option<Said>)) {
    while let Some((last, _)) = open.last().copied().filter(|(last, _)| address.is_none_or(|first| *last < first)) {
        open.pop();
        if let Some(next) = last.checked_add(1) {
            begins(next, open.last().map(|(_, said)| *said));
        }
    }
}

/// Whether an address is this machine's own.
pub(super) const fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => Ipv4Addr::is_loopback(&address),
            None => address.is_loopback(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(all: &[(&str, Said)]) -> Networks {
        Networks::new(all.iter().map(|(text, said)| (text.parse().expect("a network"), *said)))
    }

    fn find(networks: &Networks, address: &str) -> Option<Said> {
        networks.find(address.parse().expect("an address"))
    }

    #[test]
    fn the_narrowest_network_counts_and_of_the_same_one_what_denies() {
        use Said::{Allowed, Denied};
        let all = networks(&[
            ("10.1.2.3/32", Denied),
            ("10.0.0.0/8", Denied),
            ("10.1.0.0/16", Allowed),
            ("192.0.2.0/24", Denied),
            ("192.0.2.0/24", Allowed),
            ("203.0.113.0/25", Denied),
            ("203.0.113.0/24", Allowed),
            ("255.255.255.255/32", Denied),
            ("2001:db8::/32", Denied),
            ("2001:db8:1::/48", Allowed),
        ]);
        for (address, said) in [
            ("9.255.255.255", None),
            ("10.0.0.0", Some(Denied)),
            ("10.0.255.255", Some(Denied)),
            ("10.1.2.2", Some(Allowed)),
            ("10.1.2.3", Some(Denied)),
            ("10.1.2.4", Some(Allowed)),
            ("10.2.0.0", Some(Denied)),
            ("11.0.0.0", None),
            ("192.0.2.200", Some(Denied)),
            ("203.0.113.127", Some(Denied)),
            ("203.0.113.128", Some(Allowed)),
            ("255.255.255.254", None),
            ("255.255.255.255", Some(Denied)),
            ("2001:db8::1", Some(Denied)),
            ("2001:db8:1:ffff::1", Some(Allowed)),
            ("2001:db8:2::", Some(Denied)),
            ("2001:db9::", None),
        ] {
            assert_eq!(find(&all, address), said, "{address}");
        }
    }

    #[test]
    fn an_ipv4_address_is_one_however_it_is_written_and_ipv6_in_whole_is_none() {
        let mapped = networks(&[("::ffff:192.0.2.0/120", Said::Denied), ("::/0", Said::Allowed)]);
        for address in ["192.0.2.7", "::ffff:192.0.2.7"] {
            assert_eq!(find(&mapped, address), Some(Said::Denied), "{address}");
        }
        assert_eq!(find(&mapped, "192.0.3.7"), None, "::/0 is no network of IPv4");
        assert_eq!(find(&mapped, "2001:db8::1"), Some(Said::Allowed));
        let every_v4 = networks(&[("0.0.0.0/0", Said::Denied)]);
        assert_eq!(find(&every_v4, "::ffff:1.2.3.4"), Some(Said::Denied));
        assert_eq!(find(&every_v4, "::1"), None);
    }

    /// Against looking at each network by itself.
    #[test]
    fn whatever_the_networks_the_rows_say_what_each_of_them_would() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..300 {
            let all: Vec<(IpNet, Said)> = (0..random.usize(0..40))
                .map(|_| {
                    // In a small part of the whole, so that they lie within each other.
                    let address = Ipv4Addr::from(0xcb00_7100 | random.u32(0..1_024));
                    let network = ipnet::Ipv4Net::new(address, random.u8(20..=32)).expect("a length").trunc();
                    (network.into(), if random.bool() { Said::Denied } else { Said::Allowed })
                })
                .collect();
            let rows = Networks::new(all.iter().copied());
            for _ in 0..200 {
                let address = IpAddr::from(Ipv4Addr::from(0xcb00_7000 | random.u32(0..4_096)));
                let has = all.iter().filter(|(network, _)| network.contains(&address));
                let plain = has.max_by_key(|(network, said)| (network.prefix_len(), *said)).map(|(_, said)| *said);
                assert_eq!(rows.find(address), plain, "{address} in {all:?}");
            }
        }
    }
}
