//! M1 in the upgrade request, and what happens where it cannot be there. Lengths are those of `docs/PROTOCOL.md`.

use duologue::limits::{M1_LEN, M2_LEN, RECORD_0_LEN};

use crate::{
    enrolment::stranger,
    policy::Policy,
    proxy::Proxy,
    server::{Server, target, through},
    wire::{
        Direction::{ToClient, ToServer},
        Kind, Log,
    },
    within,
};

/// AUTH and AUTH_OK, sealed.
pub(crate) const SEALED_0_LEN: usize = RECORD_0_LEN + 16;

/// Asserts that M2 came right behind the 101, before any further word of the client, and that AUTH followed it.
#[track_caller]
pub(crate) fn assert_m1_came_with_the_upgrade(log: &Log) {
    let seen = log.of(*log.lines().last().expect("a line was opened"));
    let shape: Vec<_> = seen.iter().take(5).map(|(direction, kind, _)| (*direction, *kind)).collect();
    let expected = [
        (ToServer, Kind::Upgrade),
        (ToClient, Kind::Switch),
        (ToClient, Kind::Binary),
        (ToServer, Kind::Binary),
        (ToClient, Kind::Binary),
    ];
    // A client may send early data behind AUTH, so that only the first four are in a fixed order.
    assert_eq!(shape[..4], expected[..4], "{seen:?}");
    assert_eq!((seen[2].2, seen[3].2), (M2_LEN, SEALED_0_LEN), "M2, AUTH: {seen:?}");
}

/// Asserts that the client's first message was M1.
#[track_caller]
pub(crate) fn assert_m1_came_as_the_first_message(log: &Log) {
    let seen = log.of(*log.lines().last().expect("a line was opened"));
    assert_eq!((seen[0].1, seen[1].1), (Kind::Upgrade, Kind::Switch), "{seen:?}");
    let expected =
        [(ToServer, Kind::Binary, M1_LEN), (ToClient, Kind::Binary, M2_LEN), (ToServer, Kind::Binary, SEALED_0_LEN)];
    assert_eq!(seen[2..5], expected, "M1, M2, AUTH: {seen:?}");
}

#[tokio::test]
async fn m2_follows_the_101_without_a_further_client_message() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let client = stranger().trusting(proxy.ca_file());
    let line = within(20, "the line", client.connect(&target(&through(server.link(), proxy.port)))).await.unwrap();
    assert_eq!(line.request("echo", "fast").await.unwrap(), b"fast");
    assert_m1_came_with_the_upgrade(&proxy.log());
    assert_eq!(proxy.log().find(b"duologue.1+m1").as_deref(), Some("as they are, on connection 1 ToServer"));
}

#[tokio::test]
async fn with_the_offer_stripped_the_line_opens_by_the_second_form() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    proxy.set(Policy { strip_m1: true, ..Policy::default() });
    let client = stranger().trusting(proxy.ca_file());
    let line = within(20, "the line", client.connect(&target(&through(server.link(), proxy.port)))).await.unwrap();
    assert_eq!(line.request("echo", "slow").await.unwrap(), b"slow");
    assert_m1_came_as_the_first_message(&proxy.log());
}

#[tokio::test]
async fn a_client_may_choose_the_second_form_itself() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let client = stranger().trusting(proxy.ca_file()).with_m1_as_first_message();
    let line = within(20, "the line", client.connect(&target(&through(server.link(), proxy.port)))).await.unwrap();
    assert_eq!(line.request("echo", "slow").await.unwrap(), b"slow");
    assert_m1_came_as_the_first_message(&proxy.log());
}
