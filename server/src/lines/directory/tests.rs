//! Sessions that are resumed, bounded, and that make room.

use std::{net::IpAddr, time::Duration};

use axum::http::{HeaderMap, HeaderValue};
use duologue::{Budget, Claims, Kind};

use super::*;
use crate::watch::stream::Watch;
use crate::{
    door::{
        evidence::Transport,
        hook::{Ceiling, Upgrade, Visit},
        seat::{Has, Hooked},
        standing::{Level, Standing, Subject},
    },
    lines::memory::Unit,
    state::store::Known,
};

fn device(number: u8) -> DeviceId {
    DeviceId([number; 32])
}

fn session(device: DeviceId, id: SessionId, line: Line) -> Session {
    let transport =
        Transport { address: [192, 0, 2, 1].into(), origin: None, app_origin: None, ..Transport::default() };
    Session { id, line, seat: Arc::new(Seat::new(device, transport, Has::of(&Known::default()))) }
}

/// Devices of tens and more were let in by the one of their ones: 12, 22 by 2.
fn of_len(memory_len: usize) -> Directory {
    Directory::new(memory_len, Box::new(|id: DeviceId| device(id.0[0] % 10)), Watch::default())
}

fn parked(directory: &Directory, device: DeviceId) -> (SessionId, Line) {
    let account = directory.0.memory.account(Unit::Branch((directory.0.memory.root_of)(device)));
    let (id, line) = (directory.new_session_id(false), Line::new(duologue::Line::server(account)));
    directory.enter(session(device, id, line.clone())).expect("no guest's");
    directory.park(device, id);
    (id, line)
}

#[tokio::test]
async fn only_the_sessions_own_device_finds_it() {
    let directory = of_len(1 << 30);
    let (id, line) = parked(&directory, device(1));
    assert!(directory.resume(device(1), id).is_ok());
    assert_eq!(directory.resume(device(2), id).err(), Some(FreshReason::Unknown));
    directory.bury(device(1), id, &line, FreshReason::Expired);
    assert_eq!(directory.resume(device(1), id).err(), Some(FreshReason::Expired));
    assert_eq!(
        directory.resume(device(2), id).err(),
        Some(FreshReason::Unknown),
        "nor does it learn what became of it"
    );
    assert_eq!(of_len(1 << 30).resume(device(1), id).err(), Some(FreshReason::Restarted));
    assert!(directory.connected().is_empty());
}

#[tokio::test]
async fn a_session_is_begun_once_by_its_device() {
    let directory = of_len(1 << 30);
    let born = |byte| Line::new(duologue::Line::server(Budget::default()).born(Birth([byte; 16])));
    let (id, other) = (directory.new_session_id(false), directory.new_session_id(false));
    let enter = |device, id, line| {
        directory.enter(session(device, id, line)).expect("no guest's").map(|session: Session| session.id)
    };
    assert_eq!(enter(device(1), id, born(7)), None);
    let again = enter(device(1), other, born(7));
    assert_eq!(again, Some(id), "an answer was lost");
    assert_eq!(enter(device(1), other, born(8)), None);
    assert_eq!(enter(device(2), other, born(7)), None, "another device's");
    let line = directory.line(device(1), id).expect("it has entered");
    line.close(CloseCode::Normal, "");
    assert_eq!(enter(device(1), directory.new_session_id(false), born(7)), None, "it has ended");
}

#[tokio::test]
async fn the_session_that_waits_longest_makes_room() {
    let directory = of_len(1 << 30);
    let (first, _) = parked(&directory, device(1));
    let others: Vec<_> = (0..16).map(|_| parked(&directory, device(1))).collect();
    assert_eq!(directory.resume(device(1), first).err(), Some(FreshReason::Evicted), "the seventeenth of a device");
    assert!(others.iter().all(|(id, _)| directory.resume(device(1), *id).is_ok()));
    assert_eq!(directory.lock().parked.len(), 16);
}

#[tokio::test]
async fn while_files_are_scarce_a_branch_has_no_more_connections_than_are_left_for_others() {
    let directory = of_len(1 << 30);
    let carried = |whose: u8| {
        let account = directory.0.memory.account(Unit::Branch((directory.0.memory.root_of)(device(whose))));
        let (id, line) = (directory.new_session_id(false), Line::new(duologue::Line::server(account)));
        directory.enter(session(device(whose), id, line.clone())).expect("no guest's");
        (id, line)
    };
    // Eleven of a branch, most of device 2, and one of somebody else.
    let of_two: Vec<_> = (0..9).map(|_| carried(2)).collect();
    let (of_twelve, somebody_else) = (carried(12), carried(1));
    let (newest, line) = carried(22);
    let unit = Unit::Branch(device(2));
    // Lines of a test have no connection.
    let share = |newest, unit: &Unit, left| directory.share(newest, unit, left, is_open);
    share(newest, &unit, 11);
    assert!(of_two.iter().all(|(_, line)| is_open(line)), "as many are left");
    share(newest, &unit, 10);
    assert!(!is_open(&of_two[0].1), "the oldest of whichever has most");
    assert!(of_two[1..].iter().all(|(_, line)| is_open(line)));
    assert!([&of_twelve.1, &line, &somebody_else.1].into_iter().all(is_open));
    share(somebody_else.0, &Unit::Branch(device(1)), 0);
    assert!(is_open(&somebody_else.1), "whoever has one keeps it");
}

const KIB: usize = 1_024;

/// A session without a connection, with a message that waits to be sent.
fn holding(directory: &Directory, device: DeviceId, len: usize) -> (SessionId, Line) {
    let (id, line) = parked(directory, device);
    line.command(|line, _| {
        let id = line.open("desk", Kind::MESSAGES).expect("a good label");
        assert!(line.channel(id).send(vec![7; len]).is_ok(), "an empty queue takes one message");
    });
    (id, line)
}

fn held(line: &Line) -> usize {
    line.command(|line, _| line.session().held_len())
}

#[tokio::test]
async fn the_heaviest_unit_makes_room_with_its_heaviest_channel_and_who_is_within_its_share_loses_nothing() {
    let directory = of_len(16_384 * KIB);
    // 16 lines of one device, each a small part of what it holds.
    let greedy: Vec<_> = [800, 1_000].repeat(8).iter().map(|len| holding(&directory, device(3), len * KIB).1).collect();
    let (_, small) = holding(&directory, device(2), 10 * KIB);
    let (_, honest) = holding(&directory, device(1), 2_600 * KIB);
    let budget = &directory.0.memory.budget;
    assert!(budget.is_full());
    directory.relieve();
    assert!(!budget.is_full(), "{} held", budget.held());
    assert!(held(&honest) > 2_600 * KIB && held(&small) > 10 * KIB, "who is within its share loses nothing");
    let lost = greedy.iter().filter(|line| held(line) < 800 * KIB).count();
    assert_eq!(lost, 1, "no more than is needed");
    let heavy = greedy.iter().filter(|line| held(line) > 1_000 * KIB).count();
    assert_eq!(heavy, 7, "the heaviest first");
}

#[tokio::test]
async fn who_pairs_devices_has_one_share_with_them() {
    let directory = of_len(16_384 * KIB);
    // Ten devices of one branch, none of which holds much, and an honest one that holds more than each of them.
    let branch: Vec<_> = (0..10).map(|number| holding(&directory, device(3 + 10 * number), 1_400 * KIB).1).collect();
    let (_, honest) = holding(&directory, device(1), 2_600 * KIB);
    let budget = &directory.0.memory.budget;
    assert!(budget.is_full());
    directory.relieve();
    assert!(!budget.is_full(), "{} held", budget.held());
    assert!(held(&honest) > 2_600 * KIB, "it was made the heaviest by nine accomplices");
    assert!(branch.iter().any(|line| held(line) < 1_400 * KIB));
}

#[tokio::test]
async fn a_unit_that_has_nothing_unread_makes_room_with_the_session_that_waits_longest() {
    let directory = of_len(2_048 * KIB);
    let lines: Vec<_> = (0..12).map(|_| parked(&directory, device(1))).collect();
    for (_, line) in &lines {
        line.command(|line, now| {
            let id = line.open("desk", Kind::MESSAGES).expect("a good label");
            for _ in 0..16 {
                let ttl = Duration::from_secs(60);
                line.channel(id).send_datagram(now, vec![7; 16 * KIB], ttl, None).expect("it has not ended");
            }
        });
    }
    directory.relieve();
    let evicted = |(id, _): &&(SessionId, Line)| directory.resume(device(1), *id).err() == Some(FreshReason::Evicted);
    let gone = lines.iter().take_while(evicted).count();
    assert!((4..6).contains(&gone), "12 of 256 KiB in 2 MiB: {gone} are gone");
    assert_eq!(lines.iter().filter(evicted).count(), gone, "those that waited longest");
}

fn guest(directory: &Directory, number: u16, address: [u8; 4]) -> Result<(SessionId, Line, Arc<Seat>), NoPlace> {
    let mut key = [9; 32];
    key[..2].copy_from_slice(&number.to_be_bytes());
    let transport = Transport { address: address.into(), origin: None, app_origin: None, ..Transport::default() };
    let seat = Arc::new(Seat::new(DeviceId(key), transport, Has::guest()));
    let (id, line) = (directory.new_session_id(false), Line::new(duologue::Line::server(directory.account(&seat))));
    directory.enter(Session { id, line: line.clone(), seat: Arc::clone(&seat) })?;
    Ok((id, line, seat))
}

/// Has a message that waits to be sent.
fn fill(line: &Line, len: usize) {
    line.command(|line, _| {
        let id = line.open("desk", Kind::MESSAGES).expect("a good label");
        assert!(line.channel(id).send(vec![7; len]).is_ok(), "an empty queue takes one message");
    });
}

fn is_open(line: &Line) -> bool {
    line.command(|line, _| line.closed().is_none())
}

#[tokio::test]
async fn however_many_guests_hold_however_much_they_give_before_anybody_who_was_let_in_is_slowed() {
    let directory = of_len(16_384 * KIB);
    let (_, honest) = holding(&directory, device(1), 8_500 * KIB);
    let (_, other) = holding(&directory, device(2), 4_500 * KIB);
    let guests: Vec<_> = (0..16).map(|number| guest(&directory, number, [192, 0, 2, 1]).expect("a place").1).collect();
    guests.iter().for_each(|line| fill(line, 120 * KIB));
    let budget = &directory.0.memory.budget;
    assert!(budget.is_tight() && !budget.is_full(), "{} of 16 MiB", budget.held());
    directory.relieve();
    let gave = guests.iter().filter(|line| held(line) < 100 * KIB).count();
    assert!((4..=7).contains(&gave), "as many as it takes: {gave}");
    assert!(held(&honest) > 8_500 * KIB && held(&other) > 4_500 * KIB, "above its share, and it loses nothing");
    assert!(!budget.is_tight(), "whoever was let in goes on");

    // Where there is room they have an eighth of it together, whoever of them holds most gives first.
    let directory = of_len(16_384 * KIB);
    let guests: Vec<_> = (0..16).map(|number| guest(&directory, number, [192, 0, 2, 1]).expect("a place").1).collect();
    for (line, len) in guests.iter().zip([1_900, 20].into_iter().chain([10; 14])) {
        fill(line, len * KIB);
    }
    directory.relieve();
    assert!(held(&guests[0]) < KIB * 100 && held(&guests[1]) > 20 * KIB, "{}", held(&guests[0]));
}

#[tokio::test(start_paused = true)]
async fn a_guest_waits_for_half_a_minute_and_64_of_them_at_a_time_while_a_device_waits_on() {
    let directory = of_len(1 << 30);
    let (id, _) = parked(&directory, device(1));
    let mut all = Vec::new();
    for number in 0..80 {
        let network = u8::try_from(number / 16 + 1).expect("few");
        let (id, line, seat) = guest(&directory, number, [192, 0, 2, network]).expect("a place");
        directory.park(seat.device(), id);
        all.push((seat.device(), id, line));
    }
    let waiting = all.iter().filter(|(.., line)| is_open(line)).count();
    assert_eq!(waiting, 64);
    let (device_of, evicted, _) = all.iter().find(|(.., line)| !is_open(line)).expect("16 of 80");
    assert_eq!(directory.resume(*device_of, *evicted).err(), Some(FreshReason::Evicted), "and is told so");
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(all.iter().filter(|(.., line)| is_open(line)).count(), 64, "a tunnel");
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(!all.iter().any(|(.., line)| is_open(line)));
    assert!(directory.resume(device(1), id).is_ok());
    assert!(directory.guests().is_empty());
}

#[tokio::test]
async fn a_guest_who_rises_leaves_the_guests_with_all_that_he_holds_and_one_who_falls_takes_a_place() {
    let directory = of_len(16_384 * KIB);
    let (id, line, seat) = guest(&directory, 1, [192, 0, 2, 1]).expect("a place");
    fill(&line, 1_000 * KIB);
    let memory = &directory.0.memory;
    assert!(memory.account(Unit::Guests).held() > 1_000 * KIB);
    let ada = Subject::new("ada").expect("a name");
    seat.prove(Standing { subject: Some(ada.clone()), level: Level::Account, ..Standing::device() })
        .expect("nobody's so far");
    let session = Session { id, line: line.clone(), seat: Arc::clone(&seat) };
    assert_eq!(directory.count(&session), Ok(()));
    assert!(directory.guests().is_empty() && directory.resume(seat.device(), id).is_ok());
    assert_eq!(memory.account(Unit::Guests).held(), 0);
    assert!(memory.account(Unit::Subject(ada)).held() > 1_000 * KIB, "hers, on whatever device");

    for number in 10..26 {
        guest(&directory, number, [192, 0, 2, 1]).expect("sixteen of a network");
    }
    seat.sign_out();
    assert_eq!(directory.count(&session), Ok(()), "none of them has a connection: one of them goes");
    assert_eq!(directory.guests().len(), 16);
    assert!(memory.account(Unit::Guests).held() > 1_000 * KIB);
    guest(&directory, 30, [192, 0, 2, 2]).expect("a place of another network");
    seat.moved(Transport { address: [192, 0, 2, 2].into(), origin: None, app_origin: None, ..Transport::default() });
    assert_eq!(directory.count(&session), Ok(()), "whose it is from now on");
    guest(&directory, 31, [192, 0, 2, 1]).expect("its place is free");
    assert_eq!(directory.guests().len(), 18);
}

/// 18,000 lines of a proxy that starts again used to be minutes in which no handshake passed.
#[tokio::test]
async fn a_network_that_fails_parks_as_many_as_memory_allows_and_the_rest_by_whoever_has_most() {
    // As many as half of 8 MiB has room for, 4 KiB each.
    let max = 1_024;
    let directory = of_len(8_192 * KIB);
    let (first, _) = parked(&directory, device(1));
    let mut key = [7; 32];
    let crowd: Vec<_> = (0..2_000_u32)
        .map(|number| {
            key[..4].copy_from_slice(&[7, 7, 7, u8::try_from(number / 16).expect("125 devices")]);
            let (id, line) = parked(&directory, DeviceId(key));
            (DeviceId(key), id, line)
        })
        .collect();
    assert_eq!(directory.lock().parked.len(), max);
    assert!(directory.resume(device(1), first).is_ok(), "who has one keeps it, though it waits longest");
    let evicted = |(device, id, _): &&(DeviceId, SessionId, Line)| {
        directory.resume(*device, *id).err() == Some(FreshReason::Evicted)
    };
    assert_eq!(crowd.iter().take_while(evicted).count(), 2_000 + 1 - max, "those that waited longest, and only they");
    // Whoever comes back waits no more, and who is lost again waits behind all others.
    let (device_of, id, line) = &crowd[1_999];
    directory.goes_on(*id, line);
    assert_eq!(directory.lock().parked.len(), max, "it has no connection");
    directory.park(*device_of, *id);
    assert_eq!(directory.lock().parked.len(), max);
}

/// What the hook is asked again with was once kept beside the budget: 9 KiB of each session, also of guests.
#[tokio::test]
async fn what_the_hook_is_asked_again_with_counts_as_memory_of_whoever_the_session_is() {
    let directory = of_len(1 << 20);
    let transport =
        Transport { address: [192, 0, 2, 1].into(), origin: None, app_origin: None, ..Transport::default() };
    let mut headers = HeaderMap::new();
    headers.insert("cookie", HeaderValue::from_str(&"c".repeat(8 * 1_024)).expect("text"));
    let visit = |is_page| Visit::new(Upgrade::of(&headers, is_page), Claims::default());
    let hooked = |visit| Hooked {
        visit,
        answer: None,
        token: None,
        ceiling: Ceiling::default(),
        until: u64::MAX,
        is_owed: false,
    };
    let come = |number: u8, has: Has| {
        let seat = Arc::new(Seat::new(device(number), transport.clone(), has));
        let line = Line::new(duologue::Line::server(directory.account(&seat)));
        let session = Session { id: directory.new_session_id(false), line, seat };
        directory.enter(session.clone()).expect("a place");
        session.seat.rule(hooked(visit(true)), 0);
        directory.count(&session).expect("a place");
        session
    };
    let held = |unit: &Unit| directory.0.memory.account(unit.clone()).held();
    let hers = come(1, Has::of(&Known::default()));
    let guest = come(2, Has::guest());
    assert!((8_000..9_000).contains(&held(&Unit::Branch(device(1)))), "{}", held(&Unit::Branch(device(1))));
    assert!((8_000..9_000).contains(&held(&Unit::Guests)), "{}", held(&Unit::Guests));
    // Who logs in counts as that person from then on.
    let ada = Subject::new("ada").expect("a name");
    let standing = Standing { subject: Some(ada.clone()), level: Level::Account, ..Standing::device() };
    guest.seat.prove(standing).expect("nobody's so far");
    directory.count(&guest).expect("no guest's");
    assert_eq!(held(&Unit::Guests), 0);
    assert!(held(&Unit::Subject(ada.clone())) > 8_000);
    // No cookie of a native client is told, so that none is kept.
    hers.seat.rule(hooked(visit(false)), 0);
    directory.count(&hers).expect("no guest's");
    assert!(held(&Unit::Branch(device(1))) < 1_000);
    // Who still looks at a session that is over keeps nothing of it.
    directory.leave(device(1), hers.id);
    directory.close(device(2), CloseCode::GoingAway);
    assert_eq!((held(&Unit::Subject(ada)), directory.0.memory.budget.held()), (0, 0));

    // Guests have an eighth of all: those that wait go, until what is left fits.
    let waiting: Vec<_> = (10..26).map(|number| come(number, Has::guest())).collect();
    assert!(held(&Unit::Guests) > (1 << 20) / 8);
    for session in &waiting {
        directory.park(session.seat.device(), session.id);
    }
    directory.relieve();
    let left = directory.guests().len();
    assert!((1..16).contains(&left) && held(&Unit::Guests) <= (1 << 20) / 8, "{left} of 16");
}

/// Whoever was banned or revoked by a name used to be looked for among all sessions, each ban anew.
#[tokio::test]
async fn a_session_is_found_by_the_names_that_it_has_now_and_by_none_that_it_had() {
    let directory = of_len(1 << 30);
    let network = |last| IpAddr::from([192, 0, 2, last]);
    let found = |name| directory.sessions_named(name).len();
    let (first, line, seat) = guest(&directory, 1, [192, 0, 2, 1]).expect("a place");
    let (second, ..) = guest(&directory, 2, [192, 0, 2, 1]).expect("a place");
    assert_eq!((found(Name::Network(network(1))), found(Name::Network(network(2)))), (2, 0));
    let ada = Subject::new("ada").expect("a name");
    seat.prove(Standing { subject: Some(ada), level: Level::Account, ..Standing::device() }).expect("nobody's so far");
    seat.moved(Transport { address: network(2), ..Transport::default() });
    let session = Session { id: first, line, seat: Arc::clone(&seat) };
    directory.count(&session).expect("no guest's");
    assert_eq!((found(Name::Network(network(1))), found(Name::Network(network(2)))), (1, 1));
    assert_eq!((found(Name::Subject("ada")), found(Name::Subject("bob"))), (1, 0));
    // Two lines of one device, of which one goes.
    let more = Session { id: directory.new_session_id(false), ..session.clone() };
    directory.enter(more.clone()).expect("no guest's");
    assert_eq!(found(Name::Subject("ada")), 2);
    directory.leave(seat.device(), first);
    assert_eq!((found(Name::Subject("ada")), found(Name::Network(network(2)))), (1, 1));
    directory.close(seat.device(), CloseCode::GoingAway);
    let left = directory.guests();
    assert_eq!(left.iter().map(|it| it.id).collect::<Vec<_>>(), [second]);
    directory.leave(left[0].seat.device(), second);
    let names = directory.lock().names.len();
    assert_eq!((names, directory.len()), (0, 0), "nothing is left");
    // The branch of a device has all that came by it, itself among them.
    for number in [2, 12, 22, 13] {
        parked(&directory, device(number));
    }
    assert_eq!([1, 2, 3].map(|root| found(Name::Branch(device(root)))), [0, 3, 1]);
}
