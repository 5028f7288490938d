//! Flow control: who waits for whom, and for how long.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::{millis, open};
use crate::{
    limits::{CHANNEL_WINDOW, CHANNEL_WINDOW_MAX},
    sim::ledger::Reader,
};

#[test]
fn a_stuck_channel_never_stops_another() {
    let mut world = open(millis(5));
    world.reads = Some(Reader::Stuck);
    let stuck: [_; 3] = core::array::from_fn(|_| world.channel());
    for id in stuck {
        for _ in 0..20 {
            world.client_sends(id, 50_000);
        }
    }
    world.run_for(millis(500));
    world.reads = Some(Reader::AtOnce);
    let free = world.channel();
    for index in 1..=100 {
        world.client_sends(free, 10_000);
        world.until(millis(100), |world| world.server_got(free) == index);
    }
    assert!(stuck.iter().all(|id| world.server_got(*id) == 0));
    world.finish_well();
}

#[test]
fn ten_sends_awaited_one_by_one_take_no_more_than_12_round_trips() {
    let mut world = open(millis(50));
    let id = world.channel();
    let start = world.now;
    for index in 1..=10 {
        world.client_sends(id, 100);
        let uid = world.client_uid;
        world.until(millis(1_000), |world| world.ledger.at(uid).channels[&id].settled == index);
    }
    let took = world.now - start;
    assert!(took <= millis(1_200), "{took:?} for ten round trips of 100 ms");
    world.finish_well();
}

#[test]
fn windows_grow_where_the_path_is_long_and_are_given_back() {
    let mut world = open(millis(50));
    let id = world.channel();
    let server = world.server_uid();
    // A sixth more than the largest window lets through, so that something waits at any time.
    let start = world.now;
    while world.now < start + millis(8_000) {
        for _ in 0..8 {
            world.client_sends(id, 60_000);
        }
        world.run_for(millis(10));
    }
    let session = world.session(server).expect("open");
    let window = session.credits().iter().find(|credit| credit.id == id).map(|credit| credit.window);
    assert_eq!(window, Some(CHANNEL_WINDOW_MAX));
    assert_eq!(session.counts().claimed as u64, CHANNEL_WINDOW_MAX - CHANNEL_WINDOW);
    world.finish_well();
}

#[test]
fn the_window_of_a_slow_reader_does_not_grow() {
    let mut world = open(millis(50));
    world.reads = Some(Reader::Slow);
    let id = world.channel();
    for _ in 0..100 {
        world.client_sends(id, 60_000);
    }
    world.run_for(millis(20_000));
    assert!(world.server_got(id) > 10);
    let server = world.server_uid();
    let session = world.session(server).expect("open");
    let window = session.credits().iter().find(|credit| credit.id == id).map(|credit| credit.window);
    assert_eq!(window, Some(CHANNEL_WINDOW));
    world.finish_well();
}

/// Both once waited for the other's credit for good: neither had sent all, and neither read any more.
#[test]
fn two_ends_that_let_go_with_full_queues_do_not_wait_for_each_other() {
    let mut world = open(millis(5));
    world.reads = Some(Reader::Stuck);
    let id = world.channel();
    let (client, server) = (world.client_uid, world.server_uid());
    world.run_for(millis(50));
    for _ in 0..20 {
        world.send_message(client, id, 50_000);
        world.send_message(server, id, 50_000);
    }
    world.ledger.channel(client, id).reader = Reader::Stuck;
    world.drive();
    world.run_for(millis(200));
    for uid in [client, server] {
        world.finish(uid, id);
        world.release(uid, id);
    }
    world.drive();
    world.run_for(millis(500));
    for uid in [client, server] {
        assert_eq!(world.session(uid).expect("open").counts().channels, 0);
    }
    world.finish_well();
}

/// What came between the release and the peer's FIN was once dropped without a word: its sender waited for good.
#[test]
fn what_is_dropped_behind_a_release_is_reported_to_its_sender() {
    let mut world = open(millis(5));
    world.reads = Some(Reader::Stuck);
    let id = world.channel();
    let (client, server) = (world.client_uid, world.server_uid());
    world.run_for(millis(50));
    // The client's queue does not drain, so that its FIN waits, while the server sends all and finishes.
    for _ in 0..10 {
        world.send_message(client, id, 50_000);
    }
    world.finish(client, id);
    world.release(client, id);
    world.drive();
    world.run_for(millis(50));
    world.send_message(server, id, 100);
    world.finish(server, id);
    world.drive();
    world.run_for(millis(50));
    world.ledger.channel(server, id).reader = Reader::AtOnce;
    world.channel_changed(server, id);
    world.drive();
    world.run_for(millis(500));
    assert_eq!(world.delivery(server, id, 0), crate::channel::Delivery::Unknown);
    world.finish_well();
}

#[test]
fn a_channel_that_is_reset_before_it_was_announced_leaves_nothing() {
    let mut world = open(millis(5));
    for _ in 0..300 {
        world.channel();
    }
    let late = world.channel();
    let uid = world.client_uid;
    world.reset(uid, late);
    world.drive();
    world.run_for(millis(100));
    world.check(true);
    world.finish_well();
}
