//! Datagrams: best effort, never late, never twice.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::{millis, open};

#[test]
fn under_a_stall_of_1_s_datagrams_expire_or_are_replaced_and_none_comes_twice() {
    let mut world = open(millis(5));
    let (id, client) = (world.channel(), world.client_uid);
    world.run_for(millis(100));
    let (sid, until) = (world.socket(), world.now + millis(1_000));
    world.sockets.get_mut(&sid).expect("open").up.stall(until);
    // One each 10 ms of both kinds: worth 200 ms, and a position, of which only the latest counts.
    for _ in 0..100 {
        world.send_datagram(client, id, 100, millis(200), None);
        world.send_datagram(client, id, 100, millis(2_000), Some(1));
        world.drive();
        world.run_for(millis(10));
    }
    world.run_for(millis(1_000));
    let now = world.now;
    let stats = world.session(client).expect("open").channel(id).datagram_stats(now);
    let log = &world.ledger.at(client).channels[&id];
    let arrived: alloc::vec::Vec<_> =
        log.datagrams.iter().filter(|datagram| datagram.arrived).map(|datagram| datagram.key.is_some()).collect();
    assert_eq!(stats.sent + stats.expired + stats.replaced + stats.overflowed, 200, "{stats:?}");
    assert_eq!(arrived.len() as u64, stats.sent, "a link that only stalls loses nothing");
    // What left before the stall showed, 100 ms after the first had gone unanswered, is in the link's buffer.
    assert!(stats.expired > 50 && stats.replaced > 50, "{stats:?}");
    assert!(log.datagrams[199].arrived, "the latest position came");
    world.finish_well();
}

#[test]
fn a_full_queue_drops_the_oldest_and_counts_it() {
    let mut world = open(millis(5));
    let (id, client) = (world.channel(), world.client_uid);
    world.run_for(millis(100));
    let sid = world.socket();
    world.cut(sid, Some(crate::sim::End::Client));
    world.client_lost(sid);
    for _ in 0..1_100 {
        world.send_datagram(client, id, 10, millis(60_000), None);
    }
    super::opened(&mut world);
    world.run_for(millis(1_000));
    let now = world.now;
    let stats = world.session(client).expect("open").channel(id).datagram_stats(now);
    assert_eq!((stats.overflowed, stats.sent), (76, 1_024));
    let log = &world.ledger.at(client).channels[&id];
    assert!(log.datagrams.iter().enumerate().all(|(index, datagram)| datagram.arrived == (index >= 76)));
    world.finish_well();
}
