//! A client that is loaded again, and one that was copied.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::{millis, open, opened};
use crate::{
    close::FreshReason,
    limits::SNAPSHOT_LEN_MAX,
    session::Session,
    sim::{End, ledger::Reader, world::World},
};

#[test]
fn what_was_on_its_way_and_what_was_not_read_is_there_once_after_a_reload() {
    let mut world = open(millis(20));
    let id = world.channel();
    let (client, server) = (world.client_uid, world.server_uid());
    world.client_sends(id, 1_000);
    world.run_for(millis(100));
    world.ledger.channel(client, id).reader = Reader::Stuck;
    for _ in 0..20 {
        world.send_message(server, id, 5_000);
        world.client_sends(id, 5_000);
        world.run_for(millis(2));
    }
    let session = world.client.session().id();
    world.reload();
    assert_eq!(world.client.session().snapshot().map(|snapshot| snapshot.len() > 50_000), Some(true));
    opened(&mut world);
    world.run_for(millis(200));
    assert_eq!((world.client.session().id(), world.server_got(id)), (session, 21));
    assert_eq!(world.ledger.at(client).channels[&id].got, 0);
    world.read(client, id, usize::MAX);
    assert_eq!(world.ledger.at(client).channels[&id].got, 20);
    world.finish_well();
}

#[test]
fn a_session_that_holds_too_much_for_a_snapshot_has_none() {
    let mut world = open(millis(20));
    let id = world.channel();
    world.run_for(millis(100));
    world.send_message(world.client_uid, id, SNAPSHOT_LEN_MAX + 1);
    assert!(world.client.session().snapshot().is_none());
    world.drive();
    assert!(world.client.session().snapshot().is_none());
    world.until(millis(5_000), |world| world.server_got(id) == 1);
    assert!(world.client.session().snapshot().is_some(), "it is on its way no more");
    world.finish_well();
}

/// The client that has a session as it was, while another goes on with it. What becomes of the copy.
fn copy(world: &mut World, snapshot: &[u8]) -> Option<FreshReason> {
    let mut session = Session::revive(snapshot).expect("a session has written it");
    // Its application is none that the world keeps book of.
    while session.poll_changed().is_some() {}
    let copy = world.line_reviving(session);
    let (original, uid, lines) = (core::mem::replace(&mut world.client, copy), world.client_uid, world.lines);
    world.client_uid = world.ledger.begin(End::Client);
    world.lines = lines + 1;
    world.fresh = None;
    world.drive();
    let until = world.now + millis(5_000);
    while world.client.state() != crate::line::LineState::Open {
        assert!(world.step() && world.now < until, "{}", world.describe());
    }
    world.leave_sockets();
    world.run_for(millis(100));
    (world.client, world.client_uid, world.lines) = (original, uid, lines);
    world.fresh.take()
}

#[test]
fn a_client_that_was_copied_begins_a_session_of_its_own_and_the_originals_goes_on() {
    for is_sender in [true, false] {
        let mut world = open(millis(20));
        let id = world.channel();
        world.client_sends(id, 100);
        world.run_for(millis(200));
        let snapshot = world.client.session().snapshot().expect("it is short");
        // Of what comes next the copy knows nothing: of one direction each time.
        if is_sender {
            world.client_sends(id, 100);
        } else {
            world.send_message(world.server_uid(), id, 100);
            world.drive();
        }
        world.run_for(millis(200));
        assert_eq!(copy(&mut world, &snapshot), Some(FreshReason::Unknown));
        let session = world.client.session().id();
        world.client_sends(id, 100);
        world.run_for(millis(200));
        assert_eq!(world.server_got(id), 2 + u64::from(is_sender));
        assert_eq!((world.client.session().id(), world.fresh), (session, None));
        world.finish_well();
    }
}
