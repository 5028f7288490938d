//! The life of a session over many connections.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use core::time::Duration;

use alloc::vec::Vec;

use ed25519_dalek::SigningKey;

use super::{millis, open, opened};
use crate::{
    channel::Delivery,
    close::FreshReason,
    crypto::Randomness,
    limits::{BACKOFF_FIRST_MILLIS, FIRST_FORM_MILLIS, KEYS_TTL_MAX_SECS},
    line::LineState,
    sim::{
        End,
        chance::Chance,
        ledger::Reader,
        link::Side,
        plan::{Fault, Plan},
        server::Server,
        world::World,
    },
    time::Instant,
};

/// The link dies at once, both ways and for both ends.
pub(super) fn lose(world: &mut World) {
    let sid = world.socket();
    world.cut(sid, Some(End::Client));
    world.client_lost(sid);
    world.server_lost(sid);
    world.drive();
}

#[test]
fn what_was_on_its_way_when_the_link_died_arrives_once() {
    let mut world = open(millis(20));
    let id = world.channel();
    for _ in 0..50 {
        world.client_sends(id, 1_000);
        world.run_for(millis(3));
    }
    lose(&mut world);
    opened(&mut world);
    world.run_for(millis(500));
    assert_eq!(world.server_got(id), 50);
    world.finish_well();
}

#[test]
fn a_cancelled_upload_does_not_shift_counts() {
    let mut world = open(millis(50));
    let (upload, chat, client) = (world.channel(), world.channel(), world.client_uid);
    world.run_for(millis(200));
    world.client_sends(upload, 200_000);
    world.client_sends(chat, 10);
    // Nothing of it has been acknowledged when it is cancelled, and then the link dies.
    world.run_for(millis(10));
    let before = world.session(client).expect("open").counts();
    world.reset(client, upload);
    let after = world.session(client).expect("open").counts();
    assert_eq!(before.counted, after.counted, "the places of the frames stay");
    assert!(before.retained > 200_000 && after.retained < 2_000, "{before:?} {after:?}");
    lose(&mut world);
    opened(&mut world);
    world.client_sends(chat, 20);
    world.run_for(millis(500));
    assert_eq!(world.server_got(chat), 2);
    let server = world.server_uid();
    let (ours, theirs) = (world.session(client).expect("open").counts(), world.session(server).expect("open").counts());
    assert_eq!(ours.counted, theirs.received);
    world.finish_well();
}

/// What a client is told when its session cannot be resumed, and what becomes of what was pending.
fn fresh(reason: FreshReason, befalls: impl Fn(&mut World)) {
    let mut world = open(millis(5));
    let (id, client) = (world.channel(), world.client_uid);
    world.reads = Some(Reader::Stuck);
    world.client_sends(id, 10);
    world.run_for(millis(100));
    lose(&mut world);
    // It is not redialled before the session is gone.
    world.frozen_until = Some(world.now + Duration::from_secs(10));
    world.send_message(client, id, 20);
    befalls(&mut world);
    opened(&mut world);
    assert_ne!(world.client_uid, client, "another session stands in its place");
    assert_eq!(world.fresh, Some(reason));
    assert_eq!(world.delivery(client, id, 0), Delivery::Unknown, "it was there, and nobody is known to have read it");
    assert_eq!(world.delivery(client, id, 1), Delivery::NotSent);
    world.finish_well();
}

#[test]
fn a_session_that_waited_too_long_is_expired() {
    fresh(FreshReason::Expired, |world| world.frozen_until = Some(world.now + Duration::from_secs(125)));
}

#[test]
fn a_session_that_made_room_is_evicted() {
    fresh(FreshReason::Evicted, World::evict);
}

#[test]
fn a_session_of_another_process_was_lost_with_it() {
    fresh(FreshReason::Restarted, World::restart_server);
}

#[test]
fn a_session_that_nobody_knows_is_unknown() {
    fresh(FreshReason::Unknown, World::forget_sessions);
}

#[test]
fn a_client_that_is_told_when_to_come_again_comes_then_and_a_little_later_than_others_and_waits_a_minute_at_most() {
    let (plan, now) = (Plan { first_try_waits: true, ..Plan::calm() }, Instant::from_micros(1_000_000));
    let told = |secs, seed| {
        let (device, mut chance) = (SigningKey::from_bytes(&[2; 32]), Chance::new(seed));
        let mut line = World::client_line(&Server::new(), &device, &plan, &mut chance);
        let no = line.dial(now, Randomness::new(chance.array())).expect("it is not closed").no;
        line.handle_refused(now, no, Duration::from_secs(secs));
        line.poll_timeout().expect("it dials again") - now
    };
    let comes: Vec<_> = (0..100).map(|seed| told(18, seed)).collect();
    let (first, last) = (comes.iter().min().expect("100"), comes.iter().max().expect("100"));
    assert!(*first >= millis(18_000) && *last <= millis(18_000 + BACKOFF_FIRST_MILLIS), "{first:?} to {last:?}");
    assert!(*last - *first > millis(BACKOFF_FIRST_MILLIS / 2), "all at once: {first:?} to {last:?}");
    assert!(told(86_400, 1) <= millis(60_000 + BACKOFF_FIRST_MILLIS), "whoever says so is not authenticated");
}

#[test]
fn the_device_sleeps_for_an_hour_and_is_open_one_backoff_step_after_it_wakes() {
    let mut world = open(millis(50));
    world.suffer(Fault::Sleep);
    let wakes = world.frozen_until.expect("it sleeps");
    world.run_until(wakes);
    let took = world.until(Duration::from_secs(5), |world| world.fresh.is_some());
    // A backoff step, the upgrade with M1 and M2, then AUTH and its answer.
    assert!(took <= millis(BACKOFF_FIRST_MILLIS + 250), "{took:?}");
    opened(&mut world);
    world.finish_well();
}

#[test]
fn make_before_break_at_the_keys_age_loses_nothing_and_stays_open() {
    let mut world = open(millis(20));
    let id = world.channel();
    world.states.clear();
    let (opened_before, until) = (world.opened, world.now + Duration::from_secs(KEYS_TTL_MAX_SECS * 2));
    let mut sent = 0;
    while world.now < until {
        world.client_sends(id, 100);
        sent += 1;
        world.run_for(millis(700));
    }
    world.run_for(millis(500));
    assert!(world.opened >= opened_before + 2, "{} connections", world.opened);
    assert_eq!(world.states, [], "the application was told of nothing");
    assert_eq!(world.server_got(id), sent);
    world.finish_well();
}

#[test]
fn a_takeover_closes_the_old_connection_and_discards_what_still_comes_on_it() {
    let mut world = open(millis(20));
    let id = world.channel();
    world.run_for(millis(100));
    let (old, late) = (world.socket(), world.now + millis(2_000));
    world.sockets.get_mut(&old).expect("open").up.stall(late);
    for _ in 0..10 {
        world.client_sends(id, 500);
    }
    // The client gives the socket up; the server has no way to know, and what was sent comes late.
    let no = world.sockets[&old].no;
    world.sockets.get_mut(&old).expect("open").client = Side::Gone;
    world.client.handle_lost(world.now, no);
    world.drive();
    opened(&mut world);
    world.run_for(millis(500));
    assert_eq!(world.server_got(id), 10, "over the new connection");
    assert!(world.sockets.get(&old).is_none_or(|socket| socket.server == Side::Gone), "closed as replaced");
    world.run_for(millis(3_000));
    assert_eq!(world.server_got(id), 10, "and not again");
    assert_eq!(world.client.state(), LineState::Open);
    world.finish_well();
}

/// It once took the session away from the newer connection, and so from a client that was told it had been replaced.
#[test]
fn an_auth_that_was_overtaken_by_a_newer_one_takes_nothing_over() {
    let mut world = open(millis(20));
    let (id, client) = (world.channel(), world.client_uid);
    world.run_for(millis(100));
    lose(&mut world);
    let lost = world.last_socket;
    world.until(Duration::from_secs(5), |world| {
        let next = world.sockets.get(&world.last_socket).filter(|_| world.last_socket > lost);
        next.is_some_and(|socket| socket.client == Side::Open)
    });
    let (stale, late) = (world.last_socket, world.now + millis(2_000));
    world.sockets.get_mut(&stale).expect("open").up.stall(late);
    world.until(Duration::from_secs(1), |world| world.sockets[&world.last_socket].uid.is_some());
    let no = world.sockets[&stale].no;
    world.sockets.get_mut(&stale).expect("open").client = Side::Gone;
    world.client.handle_lost(world.now, no);
    world.drive();
    opened(&mut world);
    world.run_for(millis(3_000));
    world.client_sends(id, 10);
    world.run_for(millis(100));
    assert_eq!((world.client_uid, world.lines, world.client.state()), (client, 0, LineState::Open));
    assert_eq!(world.server_got(id), 1);
    world.finish_well();
}

#[test]
fn a_server_that_stops_in_order_loses_nothing() {
    let mut world = open(millis(20));
    let (client, server) = (world.client_uid, world.server_uid());
    let ids: [_; 4] = core::array::from_fn(|_| world.channel());
    for round in 0..60 {
        for id in ids {
            world.client_sends(id, 5_000);
            if world.ledger.at(server).channels.contains_key(&id) && !world.ledger.at(server).over {
                world.send_message(server, id, 3_000);
            }
        }
        world.run_for(millis(7));
        if round == 20 {
            world.drain();
        }
        if world.client_uid != client {
            break;
        }
    }
    world.until(Duration::from_secs(5), |world| world.client_uid != client);
    assert_eq!(world.fresh, Some(FreshReason::Restarted));
    for uid in [client, server] {
        for (id, log) in &world.ledger.at(uid).channels {
            let lost = log.sent.iter().filter(|sent| !matches!(sent.delivery, Delivery::Taken | Delivery::NotSent));
            assert_eq!(lost.count(), 0, "{uid:?} {id:?}");
        }
    }
    opened(&mut world);
    world.finish_well();
}

/// A half sent message on a channel that was reset once kept the client from ever saying that it was through.
#[test]
fn a_cancelled_upload_does_not_keep_a_server_from_stopping() {
    let mut world = open(millis(20));
    let (id, client) = (world.channel(), world.client_uid);
    world.reads = Some(Reader::Stuck);
    world.run_for(millis(100));
    world.ledger.channel(client, id).reader = Reader::Stuck;
    world.client_sends(id, 2_000_000);
    world.run_for(millis(30));
    world.keeps = true;
    world.reset(client, id);
    world.drive();
    world.drain();
    let took = world.until(Duration::from_secs(40), |world| world.client_uid != client);
    assert!(took < Duration::from_secs(5), "{took:?}");
    opened(&mut world);
    world.finish_well();
}

/// A server that gave up waiting for AUTH once ended the whole session: its CLOSE was not awaited before the signature.
#[test]
fn a_signature_that_takes_too_long_costs_a_connection_only() {
    let mut world = open(millis(20));
    let (id, client) = (world.channel(), world.client_uid);
    world.client_sends(id, 10);
    world.run_for(millis(200));
    world.plan.slow_signature = 1;
    lose(&mut world);
    world.run_for(Duration::from_secs(20));
    world.plan.slow_signature = 0;
    opened(&mut world);
    assert_eq!((world.client_uid, world.lines), (client, 0));
    world.finish_well();
}

/// A line whose first connections come to nothing, and which waits for one that does not.
fn waiting(plan: Plan) -> World {
    let mut world = World::new(Chance::new(7), Plan { first_try_waits: true, ..plan });
    world.reads = Some(Reader::AtOnce);
    world
}

#[test]
fn an_auth_whose_answer_was_lost_is_not_done_twice() {
    // Once it was: the second AUTH made a second session, and what had followed the first was sent anew.
    let mut world = waiting(Plan { delay_micros: 20_000, ..Plan::calm() });
    let id = world.channel();
    for _ in 0..5 {
        world.client_sends(id, 100);
    }
    let client = world.client_uid;
    world.until(Duration::from_secs(2), |world| world.ledger.at(client).peer.is_some());
    let server = world.server_uid();
    world.run_for(millis(5));
    // The server has heard it, and what followed; its answer is on its way, and never arrives.
    lose(&mut world);
    assert!(!world.ever_open);
    opened(&mut world);
    assert_eq!((world.client_uid, world.server_uid()), (client, server), "the session that AUTH began goes on");
    assert_eq!(world.server.lines.len(), 1);
    assert_eq!(world.server_got(id), 5);
    assert_eq!(world.fresh, None);
    world.finish_well();
}

#[test]
fn what_followed_an_auth_that_nobody_knows_of_any_more_is_unknown_and_what_had_not_left_begins_again() {
    let mut world = waiting(Plan { delay_micros: 20_000, ..Plan::calm() });
    let (paid, client) = (world.channel(), world.client_uid);
    world.client_sends(paid, 100);
    world.until(Duration::from_secs(2), |world| world.ledger.at(client).peer.is_some());
    lose(&mut world);
    world.restart_server();
    let later = world.channel();
    world.client_sends(later, 50);
    opened(&mut world);
    assert_ne!(world.client_uid, client);
    assert_eq!(world.fresh, Some(FreshReason::Unknown));
    assert_eq!(world.delivery(client, paid, 0), Delivery::Unknown);
    assert_eq!(world.server_got(later), 1);
    world.finish_well();
}

#[test]
fn a_session_that_a_later_auth_began_is_not_taken_for_the_first() {
    // Once it was (seed 9740): two answers were lost and the session of the first evicted between them, and what had followed
    // the first AUTH was heard in both.
    let mut world = waiting(Plan { delay_micros: 20_000, ..Plan::calm() });
    let (paid, client) = (world.channel(), world.client_uid);
    world.client_sends(paid, 100);
    world.until(Duration::from_secs(2), |world| world.ledger.at(client).peer.is_some());
    world.run_for(millis(5));
    let heard = world.server_got(paid);
    lose(&mut world);
    world.restart_server();
    // The second AUTH is heard, and its answer is lost as well.
    world.until(Duration::from_secs(5), |world| !world.server.lines.is_empty());
    lose(&mut world);
    opened(&mut world);
    assert_ne!(world.client_uid, client);
    assert_eq!((heard, world.server_got(paid)), (1, 0), "once");
    assert_eq!(world.delivery(client, paid, 0), Delivery::Unknown);
    world.finish_well();
}

#[test]
fn channels_of_which_nothing_had_left_begin_again_whole_and_in_order() {
    let mut world = open(millis(5));
    let (begun, client) = (world.channel(), world.client_uid);
    world.client_sends(begun, 10);
    world.run_for(millis(100));
    lose(&mut world);
    world.frozen_until = Some(world.now + Duration::from_secs(10));
    world.client_sends(begun, 20);
    let ids = [world.channel(), world.channel(), world.channel()];
    for (id, count) in ids.into_iter().zip(1..) {
        for _ in 0..count {
            world.client_sends(id, 1_000);
        }
    }
    world.finish(client, ids[1]);
    world.restart_server();
    opened(&mut world);
    assert_ne!(world.client_uid, client, "another session stands in its place");
    assert_eq!(world.delivery(client, begun, 1), Delivery::NotSent);
    assert_eq!(ids.map(|id| world.server_got(id)), [1, 2, 3]);
    let opened: Vec<_> = world.ledger.at(world.server_uid()).channels.keys().copied().collect();
    assert_eq!(opened, ids, "in the order in which they were opened, and nothing of what had begun");
    let next = world.channel();
    assert!(next > ids[2], "an id has one meaning in a line");
    world.finish_well();
}

#[test]
fn a_first_connection_that_brings_no_m2_is_dialled_once_more_in_the_second_form() {
    // Once it was a timeout after 5 s, or the alarm of another server's key.
    let mut world = World::new(Chance::new(7), Plan { delay_micros: 20_000, withheld: 1, ..Plan::calm() });
    world.reads = Some(Reader::AtOnce);
    let id = world.channel();
    world.client_sends(id, 10);
    let took = world.until(Duration::from_secs(4), |world| world.client.state() == LineState::Open);
    assert!(took > millis(FIRST_FORM_MILLIS) && took < millis(FIRST_FORM_MILLIS + 500), "{took:?}");
    assert_eq!(world.last_socket, 2);
    world.run_for(millis(200));
    assert_eq!(world.server_got(id), 1);
    // What worked is remembered.
    lose(&mut world);
    let took = world.until(Duration::from_secs(2), |world| world.client.state() == LineState::Open);
    assert!(took < millis(FIRST_FORM_MILLIS), "{took:?}");
    assert_eq!(world.last_socket, 3);
    opened(&mut world);
    world.finish_well();
}

#[test]
fn a_path_that_is_slow_is_given_four_times_what_it_took_to_open() {
    let mut world = World::new(Chance::new(7), Plan { delay_micros: 300_000, withheld: 1, ..Plan::calm() });
    let took = world.until(Duration::from_secs(15), |world| world.last_socket == 2);
    assert_eq!(took.as_millis() / 10, 300, "0.6 s until it was open, and four times that: {took:?}");
}
