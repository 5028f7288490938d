//! Evidence and standing over many connections.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use core::time::Duration;

use alloc::{string::String, vec::Vec};

use super::{millis, open, opened, resumption::lose};
use crate::{
    channel::Delivery,
    close::FreshReason,
    handshake::evidence::{EvidenceKind, Standing},
    sim::{plan::Plan, world::World},
};

fn show(world: &mut World) {
    world.show();
    world.drive();
}

const fn told(world: &World) -> &Standing {
    &world.told
}

#[test]
fn evidence_that_was_there_before_the_line_is_judged_with_auth() {
    let mut world = World::new(crate::sim::chance::Chance::new(7), Plan { delay_micros: 20_000, ..Plan::calm() });
    show(&mut world);
    show(&mut world);
    opened(&mut world);
    assert_eq!((told(&world).level, told(&world).evidence, told(&world).subject.as_str()), (2, 2, "ann"));
    world.finish_well();
}

#[test]
fn evidence_on_the_open_line_raises_the_standing_in_one_round_trip() {
    let mut world = open(millis(50));
    assert_eq!(told(&world).level, 1);
    show(&mut world);
    let took = world.until(millis(500), |world| told(world).level == 2);
    assert!(took < millis(110), "{took:?}");
    assert_eq!(told(&world).secs, Some(300));
    world.finish_well();
}

#[test]
fn what_was_lost_with_its_connection_is_stated_by_the_next() {
    let mut world = open(millis(20));
    show(&mut world);
    // It is on its way, and never arrives.
    lose(&mut world);
    opened(&mut world);
    assert_eq!((told(&world).level, told(&world).evidence), (2, 1));
    world.finish_well();
}

#[test]
fn a_standing_that_changes_while_the_line_is_cut_is_told_when_it_goes_on() {
    let mut world = open(millis(5));
    show(&mut world);
    world.run_for(millis(100));
    assert_eq!(told(&world).level, 2);
    lose(&mut world);
    world.frozen_until = Some(world.now + Duration::from_secs(30));
    world.run_for(Duration::from_secs(10));
    let client = world.client_uid;
    world.fall();
    assert_eq!(told(&world).level, 2, "nobody can tell it");
    opened(&mut world);
    assert_eq!(world.client_uid, client, "the session goes on");
    // The evidence of before was stated again, and raises nothing a second time.
    assert_eq!((told(&world).level, told(&world).evidence, told(&world).wants_evidence), (1, 1, true));
    show(&mut world);
    world.run_for(millis(100));
    assert_eq!((told(&world).level, told(&world).evidence), (2, 2));
    world.finish_well();
}

#[test]
fn a_line_that_waits_for_its_next_connection_is_not_left_away() {
    let mut world = open(millis(20));
    lose(&mut world);
    assert!(!world.client.away(), "nobody can be told");
    assert!(world.client.poll_timeout().is_some(), "it goes on dialling");
    opened(&mut world);
    assert!(world.client.away());
    world.client.here();
    world.finish_well();
}

#[test]
fn the_newest_overtakes_what_was_shown_while_the_line_was_cut() {
    let mut world = open(millis(20));
    show(&mut world);
    lose(&mut world);
    world.frozen_until = Some(world.now + Duration::from_secs(5));
    world.run_for(Duration::from_secs(2));
    show(&mut world);
    show(&mut world);
    opened(&mut world);
    assert_eq!(told(&world).evidence, 3);
    world.finish_well();
}

#[test]
fn a_fresh_session_is_judged_by_the_evidence_of_the_same_auth() {
    let mut world = open(millis(5));
    show(&mut world);
    world.run_for(millis(100));
    lose(&mut world);
    world.frozen_until = Some(world.now + Duration::from_secs(10));
    world.restart_server();
    let client = world.client_uid;
    opened(&mut world);
    assert_ne!(world.client_uid, client);
    assert_eq!((told(&world).level, told(&world).evidence), (2, 1));
    world.finish_well();
}

#[test]
fn nothing_of_a_session_goes_on_where_the_next_is_another_subjects() {
    let mut world = open(millis(5));
    let id = world.channel();
    let client = world.client_uid;
    world.client_sends(id, 10);
    world.run_for(millis(50));
    lose(&mut world);
    world.frozen_until = Some(world.now + Duration::from_secs(10));
    // Of this one not even OPEN leaves: another reason would carry it over.
    let unopened = world.open_as(client, false, false, crate::sim::ledger::Reader::AtOnce);
    world.send_message(client, unopened, 20);
    world.end_parked(FreshReason::Subject);
    opened(&mut world);
    assert_ne!(world.client_uid, client);
    assert_eq!(world.fresh, Some(FreshReason::Subject));
    assert_eq!(world.delivery(client, unopened, 0), Delivery::NotSent, "typed by one, it is not said by another");
    let uid = world.server_uid();
    assert!(world.ledger.held(uid).is_empty());
    world.finish_well();
}

#[test]
fn nor_where_the_server_knows_nothing_of_whose_the_session_was() {
    // A server that was restarted said so, and what had waited was said by whoever had signed in meanwhile.
    for (person, reason) in [("ann", FreshReason::Restarted), ("bob", FreshReason::Subject), ("", FreshReason::Subject)]
    {
        let mut world = open(millis(5));
        show(&mut world);
        world.run_for(millis(50));
        assert_eq!(told(&world).subject, "ann");
        // That her standing has fallen makes it nobody else's.
        world.fall();
        world.drive();
        world.run_for(millis(50));
        assert_eq!(told(&world).subject, "");
        lose(&mut world);
        world.frozen_until = Some(world.now + Duration::from_secs(10));
        let client = world.client_uid;
        let unopened = world.open_as(client, false, false, crate::sim::ledger::Reader::AtOnce);
        world.send_message(client, unopened, 20);
        world.restart_server();
        world.person = person;
        opened(&mut world);
        assert_ne!(world.client_uid, client);
        assert_eq!(world.fresh, Some(reason), "{person:?}");
        if reason == FreshReason::Subject {
            assert_eq!(world.delivery(client, unopened, 0), Delivery::NotSent, "{person:?}");
        }
        world.finish_well();
    }
}

#[test]
fn evidence_that_is_empty_or_too_long_leaves_what_was_shown() {
    let mut world = open(millis(5));
    show(&mut world);
    for data in [Vec::new(), Vec::from([0; 8_185])] {
        let refused = world.client.show(EvidenceKind::Token, data).map_err(|error| std::format!("{error}"));
        assert_eq!(refused, Err(String::from("evidence has 1 to 8,184 bytes")));
    }
    world.run_for(millis(50));
    assert_eq!(told(&world).evidence, 1);
    world.finish_well();
}
