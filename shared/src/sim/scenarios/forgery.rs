//! What a middleman can do: end connections, and after three in a row the session; never more.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use core::time::Duration;

use std::vec;

use super::{millis, open, opened};
use crate::{
    error::ConnectionError,
    sim::{End, link::Item, world::World},
};

/// Puts bytes that no key has made behind what is already on its way to an end.
fn forge(world: &mut World, to: End) {
    world.hostile.tampered += 1;
    let sid = world.socket();
    world.send(sid, to.other(), Item::Message(vec![7; 80]));
}

#[test]
fn a_forgery_costs_a_connection_and_nothing_else() {
    let mut world = open(millis(20));
    let (id, client) = (world.channel(), world.client_uid);
    for index in 1..=10 {
        world.client_sends(id, 1_000);
        forge(&mut world, if index % 2 == 0 { End::Client } else { End::Server });
        world.client_sends(id, 1_000);
        world.run_for(millis(1_000));
        opened(&mut world);
        assert_eq!(world.server_got(id), index * 2);
    }
    assert_eq!((world.client_uid, world.lines, world.opened), (client, 0, 11));
    world.finish_well();
}

#[test]
fn text_costs_a_connection_and_nothing_else() {
    let mut world = open(millis(20));
    let client = world.client_uid;
    for to in [End::Client, End::Server] {
        world.hostile.tampered += 1;
        let sid = world.socket();
        world.send(sid, to.other(), Item::Text);
        world.run_for(millis(1_000));
        opened(&mut world);
    }
    assert_eq!((world.client_uid, world.lines), (client, 0));
    world.finish_well();
}

#[test]
fn three_forgeries_end_the_session_at_the_server() {
    let mut world = open(millis(20));
    let server = world.server_uid();
    forge(&mut world, End::Server);
    for _ in 0..2 {
        let last = world.last_socket;
        // Behind AUTH, before anything else.
        world.until(Duration::from_secs(5), |world| {
            world.sockets.get(&world.last_socket).is_some_and(|socket| world.last_socket > last && socket.uid.is_some())
        });
        forge(&mut world, End::Server);
    }
    world.until(Duration::from_secs(5), |world| world.ended.contains(&(server, ConnectionError::Altered)));
    opened(&mut world);
    world.finish_well();
}

#[test]
fn three_forgeries_end_the_session_at_the_client() {
    let mut world = open(millis(20));
    let client = world.client_uid;
    forge(&mut world, End::Client);
    for _ in 0..2 {
        let last = world.last_socket;
        // Before AUTH_OK.
        world.until(Duration::from_secs(5), |world| {
            world.sockets.get(&world.last_socket).is_some_and(|socket| world.last_socket > last && socket.uid.is_some())
        });
        forge(&mut world, End::Client);
    }
    world.until(Duration::from_secs(5), |world| world.ended.contains(&(client, ConnectionError::Altered)));
    opened(&mut world);
    world.finish_well();
}

/// One M2 too many once ended the whole session.
#[test]
fn a_repeated_m2_costs_a_connection_only() {
    let mut world = open(millis(20));
    let client = world.client_uid;
    world.plan.slow_signature = 1;
    let sid = world.socket();
    world.client_lost(sid);
    world.drive();
    world.until(Duration::from_secs(5), |world| world.last_socket > sid);
    world.run_for(millis(60));
    forge(&mut world, End::Client);
    world.run_for(millis(100));
    world.plan.slow_signature = 0;
    opened(&mut world);
    assert_eq!((world.client_uid, world.lines), (client, 0));
    world.finish_well();
}
