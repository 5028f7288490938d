//! The middleman between a native client and the real server: it changes one byte, loses a message, adds one, or answers itself.

use duologue::{CloseCode, ConnectionError, FreshReason, limits::M2_LEN};
use duologue_client::{Client, Line, LineError};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    chance::{Chance, random},
    enrolment::stranger,
    policy::{Act, Policy, When},
    proxy::Proxy,
    raw::Place,
    server::{Server, target, through},
    upgrade::SEALED_0_LEN,
    wire::{
        Direction::{self, ToClient, ToServer},
        Kind, Log,
    },
    within,
};

/// A client that trusts the proxy, its link through the proxy, both servers' lives in the caller's hands.
async fn behind(server: &Server) -> (Proxy, Client, String) {
    let proxy = Proxy::before(&[server]).await;
    let client = stranger().trusting(proxy.ca_file());
    let link = through(&server.invite("24h").await, proxy.port);
    (proxy, client, link)
}

async fn failed(client: &Client, link: &str) -> ConnectionError {
    let error = within(20, "the failure", client.connect(&target(link))).await.unwrap_err();
    error.connection_error().cloned().unwrap_or_else(|| panic!("not the line's failure: {error:?}"))
}

async fn open(client: &Client, link: &str) -> Line {
    within(20, "the line", client.connect(&target(link))).await.unwrap()
}

/// What either end says when the other has found a record that is not genuine.
fn says_altered(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::PeerClosed(close) if close.code == CloseCode::Altered)
}

#[tokio::test]
async fn any_byte_flipped_in_the_handshake_is_detected_and_named() {
    let mut chance = Chance::new();
    let server = Server::dev().await;
    let (proxy, client, link) = behind(&server).await;
    let second_form = client.clone().with_m1_as_first_message();
    for round in 0..8 {
        let mut flip = |direction: Direction, message| {
            let at = chance.below(1_000_000);
            proxy.act(direction, When::OfANewLine(message), Act::Flip(at));
            format!("round {round}, {direction:?} message {message}, byte {at}")
        };
        let what = flip(ToServer, 1);
        // The server cannot read it and says nothing, which is no evidence against it.
        assert_eq!(failed(&second_form, &link).await, ConnectionError::Unanswered, "M1: {what}");
        let what = flip(ToClient, 1);
        assert_eq!(failed(&client, &link).await, ConnectionError::NotYourServer, "M2: {what}");
        let what = flip(ToServer, 1);
        let error = failed(&client, &link).await;
        assert!(says_altered(&error), "AUTH: {what}: {error:?}");
        let what = flip(ToClient, 2);
        assert_eq!(failed(&client, &link).await, ConnectionError::Altered, "AUTH_OK: {what}");
    }
    assert!(proxy.has_acted());
    let line = open(&client, &link).await;
    assert_eq!(line.request("echo", "in the end").await.unwrap(), b"in the end");
}

#[tokio::test]
async fn any_byte_flipped_in_a_record_costs_its_connection_and_changes_nothing() {
    let mut chance = Chance::new();
    let server = Server::dev().await;
    let (proxy, client, link) = behind(&server).await;
    let line = open(&client, &link).await;
    for (round, direction) in [ToClient, ToServer, ToClient, ToServer].into_iter().enumerate() {
        assert_eq!(line.request("echo", "before").await.unwrap(), b"before");
        let lines = proxy.log().lines().len();
        let at = chance.below(1_000_000);
        proxy.act(direction, When::Now, Act::Flip(at));
        let text = format!("round {round}: whatever became of byte {at}");
        let answer = within(20, "the answer", line.request("echo", text.clone())).await;
        assert_eq!(answer.unwrap(), text.as_bytes(), "{direction:?}");
        assert!(proxy.has_acted());
        proxy.wait_for("another connection", |log| log.lines().len() > lines).await;
    }
    server.stderr.with("a line goes on").await;
}

#[tokio::test]
async fn a_middleman_who_alters_every_record_ends_the_session_and_is_named() {
    let mut chance = Chance::new();
    let server = Server::dev().await;
    let (proxy, client, link) = behind(&server).await;
    let line = open(&client, &link).await;
    let channel = line.channel("echo").unwrap();
    within(20, "the echo to take it", channel.send("before").await.unwrap().taken()).await.unwrap();
    proxy.act(ToClient, When::EachRecord, Act::Flip(chance.below(1_000_000)));
    let sent = channel.send("altered").await.unwrap();
    assert_eq!(within(20, "the line to end", line.closed()).await, ConnectionError::Altered);
    assert!(sent.taken().await.is_err(), "nothing hangs");

    proxy.set(Policy::default());
    let line = open(&client, &link).await;
    let channel = line.channel("echo").unwrap();
    within(20, "the echo to take it", channel.send("before").await.unwrap().taken()).await.unwrap();
    proxy.act(ToServer, When::EachRecord, Act::Flip(chance.below(1_000_000)));
    let sent = channel.send("altered").await.unwrap();
    assert!(within(20, "the verdict", sent.taken()).await.is_err());
    // The server has found out, and says so when the client comes back.
    let ended = LineError::Connection(ConnectionError::SessionEnded(FreshReason::Altered));
    let mut received = channel.recv().await;
    if received.is_ok() {
        received = channel.recv().await;
    }
    assert_eq!(received.unwrap_err(), ended);
    proxy.set(Policy::default());
    assert_eq!(within(20, "the echo", line.request("echo", "alone again")).await.unwrap(), b"alone again");
}

/// What the server sent on the line before the latest one, until a close frame with this code.
async fn closed_with(proxy: &Proxy, code: u16) -> Vec<(Kind, Vec<u8>)> {
    let before = |log: &Log| {
        let lines = log.lines();
        let seen = log.sent(*lines.iter().rev().nth(1)?, ToClient);
        let close = (Kind::Close, code.to_be_bytes().to_vec());
        Some(seen[..seen.iter().position(|seen| *seen == close)?].to_vec())
    };
    proxy.wait_for("the close frame", |log| before(log).is_some()).await;
    before(&proxy.log()).expect("it was seen")
}

/// The server used to hang up at such a message without a word, and to count nothing: anybody on the way could end one
/// connection after the other, and neither end ever said that it was being done.
#[tokio::test]
async fn messages_beyond_a_record_are_altered_ones_and_three_in_a_row_end_the_session() {
    let server = Server::dev().await;
    let (proxy, client, link) = behind(&server).await;
    for direction in [ToServer, ToClient] {
        proxy.set(Policy::default());
        let line = open(&client, &link).await;
        assert_eq!(line.request("echo", "before").await.unwrap(), b"before");
        proxy.act(direction, When::Now, Act::AddLong);
        let answer = within(20, "the answer", line.request("echo", "with company")).await;
        assert_eq!(answer.unwrap(), b"with company", "one costs its connection alone, {direction:?}");
        assert!(proxy.has_acted());
        if direction == ToServer {
            let told = closed_with(&proxy, 1_009).await;
            assert!(
                matches!(told.last(), Some((Kind::Binary, record)) if record.len() < SEALED_0_LEN),
                "and CLOSE before it"
            );
        }
        proxy.act(direction, When::EachRecord, Act::AddLong);
        let channel = line.channel("echo").unwrap();
        let sent = channel.send("altered").await.unwrap();
        assert!(within(20, &format!("the verdict, {direction:?}"), sent.taken()).await.is_err(), "{direction:?}");
        line.close(CloseCode::Normal, "");
    }
}

/// Nor does what breaks the WebSocket's own rules cost more than a cut; the server says which it was, as RFC 6455 wants it.
#[tokio::test]
async fn a_frame_that_breaks_the_websockets_rules_costs_its_connection_alone() {
    let server = Server::dev().await;
    let (proxy, client, link) = behind(&server).await;
    let line = open(&client, &link).await;
    for round in 0..4 {
        proxy.act(ToServer, When::Now, Act::AddBroken);
        let text = format!("round {round}");
        let answer = within(20, "the answer", line.request("echo", text.clone())).await;
        assert_eq!(answer.unwrap(), text.as_bytes());
        assert!(proxy.has_acted());
        closed_with(&proxy, 1_002).await;
    }
    proxy.act(ToClient, When::Now, Act::AddBroken);
    assert_eq!(within(20, "the answer", line.request("echo", "to us")).await.unwrap(), b"to us");
    assert!(proxy.has_acted());
}

#[tokio::test]
async fn a_lost_or_added_message_is_detected_and_made_good() {
    let server = Server::dev().await;
    let (proxy, client, link) = behind(&server).await;
    let line = open(&client, &link).await;
    let channel = line.channel("echo").unwrap();
    channel.send("first").await.unwrap();
    assert_eq!(within(20, "the echo", channel.recv()).await.unwrap().unwrap(), b"first");
    proxy.act(ToServer, When::Now, Act::Swallow);
    channel.send("lost").await.unwrap();
    proxy.wait_for("the message that it keeps", |_| proxy.has_acted()).await;
    channel.send("after it").await.unwrap();
    for expected in ["lost", "after it"] {
        assert_eq!(within(20, "the echo", channel.recv()).await.unwrap().unwrap(), expected.as_bytes());
    }
    for direction in [ToServer, ToClient] {
        // A text needs no key, and so must not cost more than a cut does.
        proxy.act(direction, When::Now, Act::AddText);
        let answer = within(20, "the answer", line.request("echo", "with company")).await;
        assert_eq!(answer.unwrap(), b"with company", "{direction:?}");
        assert!(proxy.has_acted());
    }
}

#[tokio::test]
async fn a_middleman_with_a_key_of_its_own_is_not_our_server() {
    let (server, other) = (Server::dev().await, Server::dev().await);
    let proxy = Proxy::before(&[&server, &other]).await;
    let client = stranger().trusting(proxy.ca_file());
    let link = through(server.link(), proxy.port);
    let swapped = Policy { line_port: Some(other.port), ..Policy::default() };
    proxy.set(swapped);
    assert_eq!(failed(&client, &link).await, ConnectionError::Unanswered, "with the invite");
    proxy.set(Policy::default());
    drop(open(&client, &link).await);
    proxy.set(swapped);
    assert_eq!(failed(&client, &proxy.address()).await, ConnectionError::Unanswered, "with the pin");
    assert_eq!(other.devices().await.len(), 0);
}

#[tokio::test]
async fn the_middleman_reads_nothing() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let link = through(server.link(), proxy.port);
    let secret = *link_secret(&link);
    let client = stranger().trusting(proxy.ca_file());
    let line = open(&client, &link).await;
    let payload = random::<48>();
    assert_eq!(line.request("echo", payload).await.unwrap(), payload);
    let long: Vec<u8> = payload.iter().copied().cycle().take(200_000).collect();
    assert_eq!(within(20, "the long echo", line.request("echo", long.clone())).await.unwrap(), long);
    let log = proxy.log();
    assert!(log.len() > 400_000, "the proxy saw the bytes go by: {}", log.len());
    assert!(log.find(b"GET /line HTTP/1.1").is_some(), "and can read what is not sealed");
    assert_eq!(log.find(&payload), None, "the payload");
    assert_eq!(log.find(&payload[20..40]), None, "a part of it");
    assert_eq!(log.find(&secret), None, "the invite's secret");
    let (device, _) = server.devices().await.pop().unwrap();
    let device: duologue::DeviceId = device.parse().unwrap();
    assert_eq!(log.find(&device.0), None, "the device's id");
}

#[tokio::test]
async fn a_recording_of_a_client_is_worth_nothing() {
    let server = Server::dev().await;
    let (proxy, client, link) = behind(&server).await;
    let client = client.with_m1_as_first_message();
    let line = open(&client, &link).await;
    assert_eq!(line.request("echo", "recorded").await.unwrap(), b"recorded");
    line.close(CloseCode::Normal, "");
    proxy.latest_line_ended().await;
    let log = proxy.log();
    let sent = log.sent(*log.lines().last().unwrap(), ToServer);
    let recording: Vec<_> = sent.into_iter().filter(|(kind, _)| *kind == Kind::Binary).collect();
    assert!(recording.len() >= 3, "M1, AUTH and records: {}", recording.len());

    // An M1 that was here before is garbage: not even a key agreement is made for it.
    assert_eq!(answers_to(&recording, &server).await, [0_usize; 0]);
    // A server that was started again has forgotten it, and gives a fresh M2; AUTH fits no other handshake, and is refused under
    // the seal.
    let server = server.restarted().await;
    assert_eq!(answers_to(&recording, &server).await, [M2_LEN, SEALED_0_LEN]);
    assert!(!server.stderr.seen().iter().any(|line| line.contains("a line is open")));
}

/// The lengths of what the server says to messages that were recorded, until it hangs up.
async fn answers_to(recording: &[(Kind, Vec<u8>)], server: &Server) -> Vec<usize> {
    let mut socket = Place::dev(server).dial_bare().await;
    for (_, message) in recording {
        // It hangs up somewhere on the way.
        let _ = socket.send(Message::binary(message.clone())).await;
    }
    within(20, "the server to hang up", async {
        let mut lengths = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            lengths.extend(message.is_binary().then(|| message.len()));
        }
        lengths
    })
    .await
}

/// The 32 secret bytes of a link.
pub(crate) fn link_secret(link: &str) -> Box<[u8; 32]> {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    let text = link.split_once("#i=").and_then(|(_, rest)| rest.split_once('.')).expect("a link with an invite").0;
    Box::new(BASE64_URL_SAFE_NO_PAD.decode(text).unwrap().try_into().unwrap())
}
