//! A page that does not run for a while: frozen, or kept for the way back.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use core::time::Duration;

use super::{millis, open, opened};
use crate::{
    close::FreshReason,
    limits::{CHANNEL_WINDOW, DATAGRAM_LEN_MAX, FROZEN_LEN_MAX},
    sim::world::World,
};

/// The page says that it stops, stops for so long, and runs again.
fn freeze(world: &mut World, time: Duration) {
    world.client.freeze(world.now);
    world.drive();
    world.frozen_until = Some(world.now + time);
}

#[test]
fn a_page_that_was_frozen_for_60_s_goes_on_over_the_same_socket_with_all_that_has_waited() {
    let mut world = open(millis(20));
    let (id, client, socket) = (world.channel(), world.client_uid, world.socket());
    world.client_sends(id, 10);
    world.run_for(millis(200));
    let server = world.server_uid();
    freeze(&mut world, Duration::from_secs(60));
    let before = world.sockets[&socket].down.given;
    // More than may leave, and no more than the page has promised to take.
    let sent = CHANNEL_WINDOW / 10_000;
    for _ in 0..sent {
        world.run_for(millis(2_000));
        world.send_message(server, id, 10_000);
        world.drive();
    }
    world.run_for(millis(1_000));
    let waits = world.sockets[&socket].down.given - before;
    assert!(waits > FROZEN_LEN_MAX - 20_000 && waits <= FROZEN_LEN_MAX, "{waits}");
    world.run_until(world.frozen_until.expect("it does not run"));
    world.run_for(millis(500));
    assert_eq!(world.ledger.at(client).channels[&id].got, sent);
    assert_eq!((world.client_uid, world.socket(), world.last_socket), (client, socket, socket), "nothing was dialled");
    world.finish_well();
}

/// Whoever is told again and again that there is something to send, and gets nothing, keeps a core busy.
#[test]
fn what_does_not_fit_into_what_a_frozen_page_is_sent_waits_until_it_runs() {
    let mut world = open(millis(20));
    let (id, client) = (world.channel(), world.client_uid);
    world.client_sends(id, 10);
    world.run_for(millis(200));
    let server = world.server_uid();
    freeze(&mut world, Duration::from_secs(60));
    world.run_for(millis(200));
    for _ in 0..4 {
        world.send_message(server, id, 10_000);
    }
    world.drive();
    world.send_datagram(server, id, DATAGRAM_LEN_MAX - 100, Duration::from_secs(120), None);
    world.drive();
    world.run_until(world.frozen_until.expect("it does not run"));
    world.run_for(millis(500));
    let channel = &world.ledger.at(client).channels[&id];
    assert_eq!((channel.got, channel.datagrams_got), (4, 1));
    world.finish_well();
}

#[test]
fn a_page_that_was_frozen_for_five_minutes_is_told_that_its_session_has_expired() {
    let mut world = open(millis(20));
    let client = world.client_uid;
    freeze(&mut world, Duration::from_secs(300));
    world.run_for(Duration::from_secs(300));
    opened(&mut world);
    assert_ne!(world.client_uid, client);
    assert_eq!(world.fresh, Some(FreshReason::Expired));
    world.finish_well();
}

#[test]
fn a_frozen_page_whose_path_has_died_finds_out_by_its_probe() {
    let mut world = open(millis(20));
    let (client, socket) = (world.client_uid, world.socket());
    freeze(&mut world, Duration::from_secs(60));
    world.run_for(millis(100));
    if let Some(socket) = world.sockets.get_mut(&socket) {
        socket.up.clear();
        socket.down.clear();
    }
    world.run_until(world.frozen_until.expect("it does not run"));
    let took = world.until(Duration::from_secs(5), |world| world.last_socket != socket);
    assert!(took >= millis(2_000) && took < millis(3_000), "{took:?}");
    opened(&mut world);
    assert_eq!(world.client_uid, client, "the session goes on");
    world.finish_well();
}
