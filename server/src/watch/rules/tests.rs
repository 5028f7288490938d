use std::time::UNIX_EPOCH;

use duologue::DeviceId;

use super::*;

fn meant(events: &[Kind], by: By, measure: Measure) -> Meant {
    let window = Duration::from_secs(60);
    Meant { name: "test".to_owned(), events: events.to_vec(), by, window, threshold: 3, measure, dry: false }
}

fn engine(meant: Meant, exempt: &[&str]) -> Engine {
    let exempt = exempt.iter().map(|net| net.parse().expect("a network")).collect();
    Engine::new(vec![Rule::new(meant).expect("it may be")], exempt)
}

/// Rule 22, as a property of every rule that anybody could write.
#[test]
fn what_somebody_on_the_way_can_cause_never_counts_against_somebody_and_slows_an_address_at_most() {
    let mut may_be = 0;
    for kind in Kind::ALL {
        for by in By::ALL {
            for measure in [Measure::Observe, Measure::Slow, Measure::Close, HOUR] {
                // Alone, and hidden behind one that may be counted so.
                for events in [vec![*kind], vec![Kind::ProtocolBroken, *kind]] {
                    let Ok(rule) = Rule::new(meant(&events, by, measure)) else { continue };
                    may_be += 1;
                    let Meant { by, measure, .. } = rule.meant;
                    if kind.origin() == Origin::Way {
                        assert!(matches!(by, By::Address | By::All), "{kind:?} {by:?}");
                        assert!(matches!(measure, Measure::Observe | Measure::Slow), "{kind:?} {measure:?}");
                    }
                    if kind.origin() != Origin::Sealed {
                        assert!(matches!(measure, Measure::Observe | Measure::Slow), "{kind:?} {measure:?}");
                    }
                    assert!(by == By::Address || measure != Measure::Slow);
                    assert!(by != By::All || measure == Measure::Observe);
                }
            }
        }
    }
    assert!(may_be > 300, "{may_be}");
}

#[test]
fn a_rule_that_cannot_be_says_why() {
    let of = |change: fn(&mut Meant)| {
        let mut meant = meant(&[Kind::ProtocolBroken], By::Device, HOUR);
        change(&mut meant);
        Rule::new(meant).map(|_| ())
    };
    assert_eq!(of(|_| {}), Ok(()));
    assert_eq!(of(|it| it.name = "a name".to_owned()), Err(Misuse::Name));
    assert_eq!(of(|it| it.events.clear()), Err(Misuse::NoEvents));
    assert_eq!(of(|it| it.window = Duration::ZERO), Err(Misuse::Window));
    assert_eq!(of(|it| it.threshold = 0), Err(Misuse::Threshold));
    assert_eq!(of(|it| it.measure = Measure::Ban(8 * 24 * 60 * 60)), Err(Misuse::Span));
    assert_eq!(of(|it| it.by = By::All), Err(Misuse::MeansNobody));
    assert_eq!(of(|it| it.measure = Measure::Slow), Err(Misuse::SlowsAddresses));
    assert_eq!(of(|it| it.events = vec![Kind::Banned]), Err(Misuse::OfTheWatch("banned")));
    assert_eq!(of(|it| it.events = vec![Kind::HookTurnedOut]), Err(Misuse::NobodysDoing("hook-turned-out")));
    let why = of(|it| it.events.push(Kind::RecordAltered)).expect_err("anybody on the way can").to_string();
    assert!(
        why.contains("`record-altered` can be caused by whoever is on the way") && why.contains("never against"),
        "{why}"
    );
    let why =
        of(|it| (it.events, it.by) = (vec![Kind::HandshakeReplayed], By::Address)).expect_err("the same").to_string();
    assert!(why.contains("it leads to `slow` or `observe`, never to `ban`"), "{why}");
}

#[test]
fn each_counts_by_itself_and_the_threshold_matches_once() {
    let mut engine = engine(meant(&[Kind::ProtocolBroken], By::Device, HOUR), &[]);
    let start = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let mut told = |device: u8, secs: u64| {
        let mut event = Event::of(Kind::ProtocolBroken).device(DeviceId([device; 32]));
        event.at = start + Duration::from_secs(secs);
        engine.handle(&event).pop()
    };
    for device in 1..=2 {
        assert_eq!((told(device, 0), told(device, 1)), (None, None));
    }
    let matched = told(1, 2).expect("the third");
    assert_eq!((matched.whom, matched.measure, matched.count), (Some(Banned::Device(DeviceId([1; 32]))), HOUR, 3));
    assert_eq!(told(1, 3), None, "it is counted anew");
    assert_eq!(told(2, 200), None, "the two are long ago");
    let seen: Vec<_> = engine.seen().map(|(_, seen)| seen).collect();
    assert_eq!(seen, [Seen { events: 7, matches: 1 }]);
}

#[test]
fn this_machine_the_owners_networks_and_nobody_knows_whom_are_never_stopped() {
    let mut engine = engine(meant(&[Kind::RequestSmuggled], By::Address, HOUR), &["203.0.113.0/24", "2001:db8::/32"]);
    for (address, exempt) in [
        ("127.0.0.1", true),
        ("127.9.9.9", true),
        ("::1", true),
        ("::ffff:127.0.0.1", true),
        ("203.0.113.9", true),
        ("2001:db8:1::1", true),
        ("203.0.114.9", false),
        ("2001:db9::1", false),
    ] {
        let address: IpAddr = address.parse().expect("an address");
        let matched = (0..3).flat_map(|_| engine.handle(&Event::of(Kind::RequestSmuggled).address(address))).last();
        assert_eq!(matched.map(|matched| matched.exempt), Some(exempt), "{address}");
    }
    for unknown in ["0.0.0.0", "::"] {
        let event = Event::of(Kind::RequestSmuggled).address(unknown.parse().expect("an address"));
        assert!((0..10).all(|_| engine.handle(&event).is_empty()), "{unknown}");
    }
}

#[test]
fn other_rules_keep_what_those_of_their_name_have_seen() {
    let rule = meant(&[Kind::LineOpen], By::All, Measure::Observe);
    let mut engine = engine(rule.clone(), &[]);
    for _ in 0..4 {
        engine.handle(&Event::of(Kind::LineOpen));
    }
    let other = Meant { name: "other".to_owned(), dry: true, ..rule.clone() };
    engine.set(vec![Rule::new(other).expect("it may be"), Rule::new(rule).expect("it may be")], Vec::new());
    let seen: Vec<_> = engine.seen().map(|(rule, seen)| (rule.name().to_string(), seen.events, seen.matches)).collect();
    assert_eq!(seen, [("other".to_owned(), 0, 0), ("test".to_owned(), 4, 1)]);
}
