//! A TAKEN that waits for company: when it does, and that nothing else waits with it.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::{millis, open};
use crate::{
    channel::Delivery,
    close::CloseCode,
    ids::ChannelId,
    limits::CHANNEL_WINDOW,
    sim::{ledger::Reader, world::World},
};

/// Echoes after which the client's end is in ping-pong, and what its application thinks before it answers one with the next.
const ENOUGH: usize = 10;
const THOUGHT: u64 = 2;

/// One echo: the client sends, the server takes it and sends, the client takes that. How many records the server got for it, till
/// the client has thought.
fn echo(world: &mut World, id: ChannelId) -> u64 {
    let before = world.got_of_client;
    let got = world.ledger.at(world.client_uid).channels[&id].got + 1;
    world.client_sends(id, 64);
    world.until(millis(1_000), |world| world.server_got(id) == got);
    let server = world.server_uid();
    world.send_message(server, id, 64);
    world.drive();
    world.until(millis(1_000), |world| world.ledger.at(world.client_uid).channels[&id].got == got);
    world.run_for(millis(THOUGHT));
    world.got_of_client - before
}

/// A line in ping-pong.
fn in_ping_pong() -> (World, ChannelId) {
    let mut world = open(millis(1));
    let id = world.channel();
    warm_up(&mut world, id);
    (world, id)
}

fn warm_up(world: &mut World, id: ChannelId) {
    for _ in 0..ENOUGH {
        echo(world, id);
    }
}

/// How long until the server knows that its last message was taken.
fn told_within(world: &mut World, id: ChannelId) -> u128 {
    let server = world.server_uid();
    let last = world.ledger.at(server).channels[&id].sent.len() - 1;
    world.until(millis(100), |world| world.delivery(server, id, last) == Delivery::Taken).as_millis()
}

#[test]
fn in_ping_pong_an_echo_is_one_record_each_way() {
    let mut world = open(millis(1));
    let id = world.channel();
    // OPEN, too, is on its way.
    echo(&mut world, id);
    assert_eq!(echo(&mut world, id), 2, "TAKEN leaves alone");
    warm_up(&mut world, id);
    for _ in 0..100 {
        assert_eq!(echo(&mut world, id), 1, "TAKEN rides with the next message");
    }
    world.finish_well();
}

#[test]
fn a_taken_without_company_leaves_with_the_ack_that_is_owed_and_two_of_eight_end_the_waiting_for_a_second() {
    let (mut world, id) = in_ping_pong();
    let mut waited = 0;
    // Messages that only the server sends: the client never answers.
    let start = world.now;
    for _ in 0..30 {
        let server = world.server_uid();
        world.send_message(server, id, 64);
        world.drive();
        let took = told_within(&mut world, id);
        assert!(took <= 25 + 2, "{took} ms");
        waited += u32::from(took > 3);
    }
    assert!(world.now < start + millis(1_000), "all within the second");
    assert_eq!(waited, 2, "the last echo's company, then two that had none");
    world.finish_well();
}

#[test]
fn a_close_behind_the_last_recv_says_first_what_was_taken() {
    let (mut world, id) = in_ping_pong();
    let server = world.server_uid();
    world.send_message(server, id, 64);
    world.drive();
    let uid = world.client_uid;
    let got = world.ledger.at(uid).channels[&id].got;
    world.until(millis(100), |world| world.ledger.at(uid).channels[&id].got > got);
    let last = world.ledger.at(server).channels[&id].sent.len() - 1;
    assert_eq!(world.delivery(server, id, last), Delivery::Pending, "TAKEN waits");
    world.client.close(world.now, CloseCode::Normal, "");
    world.drive();
    world.run_for(millis(50));
    assert_eq!(world.delivery(server, id, last), Delivery::Taken);
}

#[test]
fn credit_does_not_wait() {
    let (mut world, id) = in_ping_pong();
    // The fourth of these makes half a window. None of them makes the ACK due by its bytes.
    let (server, len) = (world.server_uid(), usize::try_from(CHANNEL_WINDOW / 7).expect("small"));
    let limit = |world: &mut World| {
        let credits = world.session(server).expect("open").credits();
        credits.iter().find(|credit| credit.id == id).expect("there").limit
    };
    let before = limit(&mut world);
    for _ in 0..3 {
        world.send_message(server, id, len);
        world.drive();
        world.run_for(millis(3));
        world.client_sends(id, 64);
        world.run_for(millis(3));
    }
    assert_eq!(limit(&mut world), before);
    world.send_message(server, id, len);
    world.drive();
    let took = world.until(millis(100), |world| limit(world) > before);
    assert!(took <= millis(4), "{took:?}");
    world.finish_well();
}

#[test]
fn a_stream_says_at_once_what_was_taken() {
    let (mut world, _) = in_ping_pong();
    let server = world.server_uid();
    let stream = world.open_as(server, true, false, Reader::AtOnce);
    world.write(server, stream, 100);
    world.drive();
    let took = world.until(millis(100), |world| world.ledger.at(server).channels[&stream].taken == 100);
    assert!(took <= millis(4), "{took:?}");
    world.finish_well();
}

#[test]
fn nothing_waits_while_the_server_stops() {
    let (mut world, id) = in_ping_pong();
    let server = world.server_uid();
    world.send_message(server, id, 64);
    world.drive();
    let got = world.ledger.at(world.client_uid).channels[&id].got;
    world.until(millis(100), |world| world.ledger.at(world.client_uid).channels[&id].got > got);
    assert!(told_within(&mut world, id) > 0, "it waits");
    world.send_message(server, id, 64);
    world.drive();
    let got = world.ledger.at(world.client_uid).channels[&id].got;
    world.until(millis(100), |world| world.ledger.at(world.client_uid).channels[&id].got > got);
    world.drain();
    world.drive();
    assert!(told_within(&mut world, id) <= 3, "DRAIN ends the waiting");
}
