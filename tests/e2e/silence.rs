//! Strangers who say nothing, too much, or the wrong kind of thing.

use std::time::{Duration, Instant};

use duologue::ConnectionError;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    enrolment::stranger,
    raw::{Device, Misdeed, Place, Raw, Socket},
    server::{Server, invite_of, target},
    within,
};

/// Reads until the server has hung up; binary messages that came before are counted.
async fn until_the_end(mut socket: Socket) -> usize {
    let read = async {
        let mut messages = 0;
        while let Some(Ok(message)) = socket.next().await {
            messages += usize::from(message.is_binary());
        }
        messages
    };
    within(20, "the server to hang up", read).await
}

#[tokio::test]
async fn silence_for_five_seconds_ends_the_connection() {
    let server = Server::dev().await;
    let place = Place::dev(&server);
    let (invite, device) = (invite_of(server.link()), Device::new());
    let started = Instant::now();
    let before_m1 = async {
        assert_eq!(until_the_end(place.dial_bare().await).await, 0);
        started.elapsed()
    };
    let after_m2 = async {
        let raw = Raw { misdeed: Misdeed::Silence, ..Raw::new(&place, &invite, &device) };
        let error = raw.open().await.map(|_| ()).unwrap_err();
        (error, started.elapsed())
    };
    let (before_m1, (error, after_m2)) = tokio::join!(before_m1, after_m2);
    for elapsed in [before_m1, after_m2] {
        assert!((Duration::from_secs(5)..Duration::from_secs(7)).contains(&elapsed), "it took {elapsed:?}");
    }
    // The CLOSE comes as a record 0, sealed for a client that has sent nothing yet.
    assert!(matches!(error, ConnectionError::PeerClosed(_)), "{error:?}");
}

#[tokio::test]
async fn a_text_message_an_oversized_m1_and_garbage_end_the_connection_at_once() {
    let mut server = Server::dev().await;
    let place = Place::dev(&server);
    let first_messages = [
        Message::text("hello"),
        Message::binary(Vec::new()),
        Message::binary(crate::chance::random::<1324>().to_vec()),
        Message::binary(vec![1; 2_049]),
        Message::binary(vec![1; 65_535]),
        Message::binary(vec![1; 70_000]),
    ];
    for message in first_messages {
        let what = format!("{} bytes, text {}", message.len(), message.is_text());
        let started = Instant::now();
        let mut socket = place.dial_bare().await;
        // What is far too long is refused by its header, so that the rest of it may meet a closed door.
        let _ = socket.send(message).await;
        assert_eq!(until_the_end(socket).await, 0, "{what}");
        assert!(started.elapsed() < Duration::from_secs(4), "{what}: it took {:?}", started.elapsed());
    }
    server.assert_alive();
    let line = within(20, "an honest client", stranger().connect(&target(server.link()))).await.unwrap();
    assert_eq!(line.request("echo", "all is well").await.unwrap(), b"all is well");
}

#[tokio::test]
async fn a_garbage_m1_in_the_upgrade_ends_the_connection_at_once() {
    let server = Server::dev().await;
    let place = Place::dev(&server);
    for m1 in ["m1.", "m1.AAAA", "m1.!!", &format!("m1.{}", "A".repeat(1_766)), &format!("m1.{}", "A".repeat(6_000))] {
        let offers = ["duologue.1+m1".to_owned(), "duologue.1".to_owned(), m1.to_owned()];
        // `m1.` and `m1.!!` are no tokens of RFC 6455; whatever a server makes of them, no M2 may follow.
        let (socket, selected) = place.dial(&offers, None).await;
        assert_eq!(selected, "duologue.1+m1");
        assert_eq!(until_the_end(socket).await, 0, "{m1}");
    }
}
