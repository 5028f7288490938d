//! What the firewall lets through, by settings and files as owners have them, and under floods of more addresses than it has places.

use std::{num::NonZeroU32, path::Path, time::Instant};

use super::*;

const SECOND: u64 = 1_000_000_000;

fn number(number: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(number)
}

fn at(text: &str) -> Option<IpAddr> {
    Some(text.parse().expect("an address"))
}

fn list(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| network(text).expect("a network")).collect()
}

/// One that has read these settings, with files from there.
fn firewall(settings: FirewallSettings, directory: &Path) -> Firewall {
    let firewall = Firewall::default();
    firewall.set(Firewall::load(settings, directory).unwrap_or_else(|error| panic!("{error}")));
    firewall
}

fn bounded(connections: u32) -> Firewall {
    let address = Budgets { connections: number(connections), ..Budgets::default() };
    firewall(FirewallSettings { address, ..FirewallSettings::default() }, Path::new(""))
}

/// The number of those who are let through until one is refused.
fn until_refused(firewall: &Firewall, now: u64, mut next: impl FnMut(u32) -> IpAddr) -> u32 {
    (0..1_000_000)
        .find(|number| firewall.takes_at(now, What::Connection, Some(next(*number))).is_err())
        .expect("a bound")
}

#[test]
fn the_narrowest_network_decides_then_the_country_then_what_holds_for_all() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = testing::countries(&[("192.0.2.0/24", "FR"), ("198.51.100.0/24", "DE"), ("2001:db8::/32", "FR")]);
    std::fs::write(directory.path().join("countries.mmdb"), file).expect("written");
    std::fs::write(
        directory.path().join("bad.txt"),
        "# a list\n\n203.0.113.0/24 ; as Spamhaus has it\n2001:db8:bad::/48\n",
    )
    .expect("written");
    let settings = |countries: CountryList, unknown, otherwise| FirewallSettings {
        allow: list(&["203.0.113.7", "2001:db8:bad:1::/64"]),
        deny_files: vec!["bad.txt".into()],
        countries: Some(CountrySettings { file: "countries.mmdb".into(), list: countries, unknown }),
        otherwise,
        ..FirewallSettings::default()
    };
    let only_french = || CountryList::Allow(vec![*b"FR"]);
    let no_germans = || CountryList::Deny(vec![*b"DE"]);
    for (settings, address, said) in [
        (settings(only_french(), Otherwise::Deny, Otherwise::Allow), "192.0.2.1", Ok(())),
        (settings(only_french(), Otherwise::Deny, Otherwise::Allow), "::ffff:192.0.2.1", Ok(())),
        (settings(only_french(), Otherwise::Deny, Otherwise::Deny), "192.0.2.1", Ok(())),
        (settings(only_french(), Otherwise::Deny, Otherwise::Allow), "198.51.100.1", Err(Refusal::Country)),
        (settings(only_french(), Otherwise::Deny, Otherwise::Allow), "10.0.0.1", Err(Refusal::Country)),
        (settings(only_french(), Otherwise::Allow, Otherwise::Allow), "10.0.0.1", Ok(())),
        (settings(only_french(), Otherwise::Allow, Otherwise::Deny), "10.0.0.1", Err(Refusal::Network)),
        (settings(only_french(), Otherwise::Deny, Otherwise::Allow), "2001:db8::1", Ok(())),
        (settings(only_french(), Otherwise::Deny, Otherwise::Allow), "2001:db8:bad::1", Err(Refusal::Network)),
        (settings(only_french(), Otherwise::Deny, Otherwise::Allow), "2001:db8:bad:1::1", Ok(())),
        (settings(only_french(), Otherwise::Deny, Otherwise::Allow), "203.0.113.1", Err(Refusal::Network)),
        (settings(only_french(), Otherwise::Deny, Otherwise::Allow), "203.0.113.7", Ok(())),
        (settings(no_germans(), Otherwise::Allow, Otherwise::Allow), "198.51.100.1", Err(Refusal::Country)),
        (settings(no_germans(), Otherwise::Allow, Otherwise::Allow), "192.0.2.1", Ok(())),
        (settings(no_germans(), Otherwise::Allow, Otherwise::Allow), "10.0.0.1", Ok(())),
        (settings(no_germans(), Otherwise::Deny, Otherwise::Allow), "10.0.0.1", Err(Refusal::Country)),
        (settings(only_french(), Otherwise::Deny, Otherwise::Deny), "127.0.0.1", Ok(())),
        (settings(only_french(), Otherwise::Deny, Otherwise::Deny), "::1", Ok(())),
    ] {
        let shown = format!("{address} {settings:?}");
        assert_eq!(firewall(settings, directory.path()).admits(at(address)), said, "{shown}");
    }
    let unknown = firewall(settings(only_french(), Otherwise::Deny, Otherwise::Allow), directory.path());
    assert_eq!(unknown.admits(None), Err(Refusal::Country), "who is not known is in no country");
    let closed = FirewallSettings { otherwise: Otherwise::Deny, ..FirewallSettings::default() };
    assert_eq!(firewall(closed, Path::new("")).admits(None), Err(Refusal::Network));
    assert_eq!(Firewall::default().admits(None), Ok(()));
    let this_machine = FirewallSettings { deny: list(&["127.0.0.0/8"]), ..FirewallSettings::default() };
    assert_eq!(firewall(this_machine, Path::new("")).admits(at("127.0.0.1")), Err(Refusal::Network), "it was named");
}

#[test]
fn files_that_cannot_be_used_are_told_with_their_line() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("list");
    for (bytes, said) in [
        (
            &b"10.0.0.0/8\n\n10.1.2.3/8\n"[..],
            "has in line 3: \"10.1.2.3/8\" is an address and a network in one: write 10.1.2.3 or 10.0.0.0/8",
        ),
        (
            b"# here\nexample.org\n",
            "has in line 2: \"example.org\" is no network: write it as 192.0.2.1, 10.0.0.0/8 or fd00::/8",
        ),
        (b"10.0.0.0/8\n\xff\n", "is no text from line 2 on"),
        (b"10.0.0.0/8 10.1.0.0/16\n", "has in line 1: \"10.0.0.0/8 10.1.0.0/16\" is no network"),
    ] {
        std::fs::write(&path, bytes).expect("written");
        let settings = FirewallSettings { deny_files: vec!["list".into()], ..FirewallSettings::default() };
        let error = Firewall::load(settings, directory.path()).expect_err("it cannot be used").to_string();
        assert!(error.starts_with(&format!("{} {said}", path.display())), "{error}");
    }
    let settings = |file: &str| FirewallSettings { deny_files: vec![file.into()], ..FirewallSettings::default() };
    let error =
        |file: &str| Firewall::load(settings(file), directory.path()).expect_err("it cannot be used").to_string();
    assert!(error("none").contains("cannot be read: "), "{}", error("none"));
    assert!(error(".").ends_with("is no file"), "{}", error("."));
    let long = directory.path().join("long");
    std::fs::File::create(&long).and_then(|file| file.set_len(1 << 40)).expect("a file with a hole");
    assert!(error("long").ends_with("bytes that such a file may have"), "{}", error("long"));
    let many = directory.path().join("many");
    let lines: String =
        (0..=NETWORKS_MAX).map(|number| format!("2001:db8::{:x}:{:x}\n", number >> 16, number & 0xffff)).collect();
    std::fs::write(&many, lines).expect("written");
    assert!(error("many").contains("more networks than there is room for"), "{}", error("many"));
}

/// Every beginning of one, and every one with a byte changed: none may end the server, hang it, or let it take what is none.
#[test]
fn files_of_countries_that_are_none_are_refused_or_know_nothing_and_never_end_the_server() {
    let whole = testing::countries(&[("192.0.2.0/24", "FR"), ("198.51.100.0/25", "DE"), ("2001:db8::/33", "CH")]);
    let make = |bytes: Vec<u8>| Countries::new(bytes, CountryList::Deny(vec![*b"DE"]), Otherwise::Allow);
    let good = make(whole.clone()).expect("in order");
    assert_eq!(good.country([192, 0, 2, 9].into()), Some(*b"FR"));
    assert_eq!(good.country("2001:db8::1".parse().expect("an address")), Some(*b"CH"));
    assert_eq!(good.country("2001:db8:8000::1".parse().expect("an address")), None);
    let look = |bytes: Vec<u8>| {
        if let Ok(countries) = make(bytes) {
            for address in ["192.0.2.9", "198.51.100.9", "10.0.0.1", "2001:db8::1", "::"] {
                let _ = countries.judge(address.parse().expect("an address"));
            }
        }
    };
    for end in 0..whole.len() {
        look(whole[..end].to_vec());
    }
    let mut random = fastrand::Rng::with_seed(3);
    for at in 0..whole.len() {
        for _ in 0..4 {
            let mut bytes = whole.clone();
            bytes[at] ^= random.u8(1..);
            look(bytes);
        }
    }
    assert!(make(Vec::new()).is_err() && make(b"192.0.2.0/24,FR\n".to_vec()).is_err());
}

#[test]
fn a_file_that_has_changed_counts_once_it_is_at_rest_and_a_broken_one_keeps_what_was() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("bad.txt");
    let write = |text: &str| std::fs::write(&path, text).expect("written");
    write("192.0.2.0/24\n");
    let settings = FirewallSettings { deny_files: vec!["bad.txt".into()], ..FirewallSettings::default() };
    let firewall = firewall(settings, directory.path());
    assert_eq!(firewall.look_again(), Looked::Same);
    write("192.0.2.0/24\n198.51.100.0/24\n");
    assert_eq!(firewall.look_again(), Looked::Same, "it may not be written to its end yet");
    assert!(firewall.permits(at("198.51.100.1")));
    assert_eq!(firewall.look_again(), Looked::Changed);
    assert!(!firewall.permits(at("198.51.100.1")) && !firewall.permits(at("192.0.2.1")));
    write("198.51.100.0/24 and what else?\n");
    assert_eq!(firewall.look_again(), Looked::Same);
    let Looked::Broken(error) = firewall.look_again() else { panic!("it is broken") };
    assert!(error.to_string().contains("has in line 1: "), "{error}");
    assert_eq!(firewall.look_again(), Looked::Same, "told once");
    assert!(!firewall.permits(at("198.51.100.1")) && !firewall.permits(at("192.0.2.1")), "what was read still counts");
    std::fs::remove_file(&path).expect("it was there");
    assert_eq!(firewall.look_again(), Looked::Same);
    assert!(matches!(firewall.look_again(), Looked::Broken(_)));
    assert!(!firewall.permits(at("192.0.2.1")), "a list that is gone lets nobody in");
    write("203.0.113.0/24\n");
    assert_eq!((firewall.look_again(), firewall.look_again()), (Looked::Same, Looked::Changed));
    assert!(firewall.permits(at("192.0.2.1")) && !firewall.permits(at("203.0.113.1")));
}

#[test]
fn an_address_has_a_minutes_worth_at_once_and_then_as_it_is_paid_for() {
    let firewall = bounded(60);
    let own = |_| IpAddr::from([192, 0, 2, 1]);
    assert_eq!(until_refused(&firewall, 0, own), 60);
    assert_eq!(until_refused(&firewall, 10 * SECOND, own), 10);
    assert_eq!(firewall.takes_at(10 * SECOND, What::Connection, at("::ffff:192.0.2.1")), Err(Refusal::Budget));
    assert_eq!(firewall.takes_at(10 * SECOND, What::Connection, at("192.0.2.2")), Ok(()), "a neighbour has his own");
    assert_eq!(firewall.takes_at(10 * SECOND, What::Handshake, at("192.0.2.1")), Ok(()), "it is of connections");
    assert_eq!(until_refused(&firewall, 1_000 * SECOND, own), 60, "who was quiet has a minute's worth, and no more");
    for nobody in [None, at("127.0.0.1"), at("::1"), at("::ffff:127.0.0.1"), at("0.0.0.0"), at("::")] {
        for _ in 0..1_000 {
            assert_eq!(firewall.takes_at(0, What::Connection, nobody), Ok(()), "{nobody:?}");
        }
    }
}

/// A /48 has 65,536 networks of its own, a /32 four thousand million.
#[test]
fn a_flood_that_widens_is_bounded_by_the_wider_networks_and_leaves_the_neighbours_alone() {
    let of = |bits: u128| IpAddr::from(std::net::Ipv6Addr::from((0x2001_0db8_u128 << 96) | bits));
    let firewall = bounded(10);
    assert_eq!(until_refused(&firewall, 0, |it| of(u128::from(it))), 10, "one /64");
    let firewall = bounded(10);
    assert_eq!(until_refused(&firewall, 0, |it| of(u128::from(it % 256) << 64)), 40, "a /56 has four times as much");
    let firewall = bounded(10);
    assert_eq!(until_refused(&firewall, 0, |it| of(u128::from(it % 65_536) << 64)), 40, "its first /56 is full");
    let firewall = bounded(10);
    assert_eq!(until_refused(&firewall, 0, |it| of(u128::from(it % 256) << 72)), 160, "a /48 16 times");
    let firewall = bounded(10);
    assert_eq!(until_refused(&firewall, 0, |it| of(u128::from(it % 65_536) << 80)), 2_560, "a /32 256 times");
    assert_eq!(firewall.takes_at(0, What::Connection, at("2001:db9::1")), Ok(()), "another provider's");
    assert_eq!(firewall.takes_at(0, What::Connection, at("192.0.2.1")), Ok(()));
}

#[test]
fn exempt_networks_have_no_bounds_and_what_all_have_is_not_kept_from_whoever_was_here_before() {
    let all = Budgets { connections: number(100), ..Budgets::default() };
    let settings = FirewallSettings { all, exempt: list(&["198.51.100.0/24"]), ..FirewallSettings::default() };
    let firewall = firewall(settings, Path::new(""));
    firewall.lets_in([192, 0, 2, 1].into());
    assert_eq!(until_refused(&firewall, 0, |it| IpAddr::from([10, 0, it.to_be_bytes()[2], it.to_be_bytes()[3]])), 100);
    assert_eq!(firewall.takes_at(0, What::Connection, None), Err(Refusal::Budget), "also whom nobody knows");
    for _ in 0..50 {
        assert_eq!(firewall.takes_at(0, What::Connection, at("192.0.2.1")), Ok(()), "he was let in");
        assert_eq!(firewall.takes_at(0, What::Connection, at("198.51.100.1")), Ok(()), "exempt");
    }
    assert_eq!(firewall.takes_at(SECOND, What::Connection, at("10.0.0.1")), Ok(()), "it is paid for by and by");
}

#[test]
fn an_identity_has_so_many_handshakes_on_whatever_address() {
    let identity = Budgets { handshakes: number(5), ..Budgets::default() };
    let firewall = firewall(FirewallSettings { identity, ..FirewallSettings::default() }, Path::new(""));
    let device = |number| Holder::Device(duologue::DeviceId([number; 32]));
    for _ in 0..5 {
        assert_eq!(firewall.proves(&device(1)), Ok(()));
    }
    assert_eq!(firewall.proves(&device(1)), Err(Refusal::Budget));
    assert_eq!(firewall.proves(&device(2)), Ok(()));
}

#[test]
fn a_refusal_is_told_once_a_minute() {
    let mut table = Table::new(RandomState::new());
    let (key, _) = table::networks([192, 0, 2, 1].into()).next().expect("a network");
    assert!(table.refused(key, 0) && !table.refused(key, 59 * SECOND) && table.refused(key, 61 * SECOND));
    let deny = FirewallSettings { deny: list(&["192.0.2.0/24"]), ..FirewallSettings::default() };
    let firewall = firewall(deny, Path::new(""));
    for _ in 0..10 {
        assert_eq!(firewall.admits(at("192.0.2.1")), Err(Refusal::Network));
    }
    assert_eq!(firewall.0.watch.told(), [(Kind::NetworkDenied, 1)]);
}

/// The rounds of this test, in `tests/forms.json` of the repository.
fn rounds(test: &str) -> u64 {
    let forms: serde_json::Value =
        serde_json::from_str(include_str!("../../../../tests/forms.json")).expect("tests/forms.json is JSON");
    let form = forms.as_array().and_then(|forms| forms.iter().find(|form| form["test"] == test)).expect("its form");
    let is_long = std::env::var_os("DUOLOGUE_LONG").is_some_and(|value| value == "1");
    form[if is_long { "whole" } else { "small" }].as_u64().expect("a number")
}

/// Distinct addresses, each of which comes once, and among them a thousand that come a hundred times. `moka` and `HashMap`s with a
/// bound would have been full of the flood before the first of them was heard of.
#[test]
fn under_a_flood_of_distinct_addresses_the_table_stays_as_it_is_and_the_worst_stay_out() {
    const WORST: u64 = 1_000;
    const TIMES: u64 = 100;
    let flood = rounds(
        "door::firewall::tests::under_a_flood_of_distinct_addresses_the_table_stays_as_it_is_and_the_worst_stay_out",
    );
    // At one moment, which is the worst: nothing is paid for. And over a minute.
    for spread in [0, 60 * SECOND] {
        let firewall = bounded(u32::try_from(TIMES).expect("small") / 4);
        let worst = |number: u64| {
            let mut bits = [0x20, 0x01, 0x0d, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
            bits[4..8].copy_from_slice(&(u32::try_from(number).expect("few") << 16).to_be_bytes());
            bits[2..4].copy_from_slice(&u16::try_from(0x1000 + number).expect("few").to_be_bytes());
            IpAddr::from(bits)
        };
        let began = Instant::now();
        let gap = (flood / (WORST * TIMES)).max(1);
        let mut offences = 0;
        for number in 0..flood {
            let now = spread / flood.max(1) * number;
            // From everywhere: whichever bits the attacker has, he has all of them.
            let mixed = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            let address = IpAddr::from(((0x2a_u128 << 120) | (mixed >> 8)).to_be_bytes());
            let _ = firewall.takes_at(now, What::Connection, Some(address));
            if number % gap == 0 && offences < WORST * TIMES {
                let _ = firewall.takes_at(now, What::Connection, Some(worst(offences % WORST)));
                offences += 1;
            }
        }
        let took = began.elapsed();
        // One who begins when all of it is full of others is heard of too.
        let newcomer = IpAddr::from([203, 0, 113, 9]);
        let taken = until_refused(&firewall, spread, |_| newcomer);
        assert_eq!(taken, u32::try_from(TIMES / 4).expect("small"), "a new offender is recorded from his first on");
        // What was paid for since he came last, and no more than that.
        let is_out =
            |it: &u64| until_refused(&firewall, spread, |_| worst(*it)) <= u32::try_from(TIMES / 25).expect("small");
        let len = firewall.counted().table().len();
        let out = (0..WORST).filter(is_out).count();
        println!(
            "{flood} addresses over {} s took {took:?}: {out} of {WORST} are out; {len} bytes of table",
            spread / SECOND
        );
        assert!(len < 64 * 1_024 * 1_024, "{len} bytes");
        assert_eq!(out as u64, WORST);
    }
}
