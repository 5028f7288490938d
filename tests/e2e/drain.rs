//! A server that is asked to stop, and its successor.

use std::time::{Duration, Instant};

use duologue::{Delivery, LineState};
use duologue_client::LineError;

use crate::{
    enrolment::stranger,
    path::Path,
    server::{Server, target, through},
    within,
};

const CLIENTS: usize = 50;

#[derive(Debug, Default)]
struct Tally {
    taken: usize,
    not_sent: usize,
    unknown: usize,
    echoed: usize,
    /// When the client had its next session, after the successor's start.
    back_after: Option<Duration>,
}

#[tokio::test]
async fn fifty_busy_clients_lose_nothing_and_come_back_in_their_slots() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let successor_started = std::sync::Arc::new(tokio::sync::OnceCell::<Instant>::new());
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let link = through(&server.invite("24h").await, path.port);
        let line = within(20, format!("client {number}"), stranger().connect(&target(&link))).await.unwrap();
        let started = std::sync::Arc::clone(&successor_started);
        clients.spawn(async move {
            let channel = line.channel("echo").unwrap();
            let (to, from) = (channel.clone(), channel);
            let mut tally = Tally::default();
            let sending = async {
                let mut sent = Vec::new();
                // Steady, until the session is over.
                while let Ok(message) = to.send(format!("message {}", sent.len())).await {
                    sent.push(message);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                sent
            };
            let receiving = async {
                let mut echoed = 0;
                while let Ok(Some(message)) = from.recv().await {
                    assert_eq!(message, format!("message {echoed}").into_bytes());
                    echoed += 1;
                }
                echoed
            };
            let (sent, echoed) = tokio::join!(sending, receiving);
            tally.echoed = echoed;
            for message in sent {
                match within(20, "a verdict on a message", message.taken()).await {
                    Ok(()) => tally.taken += 1,
                    Err(LineError::NotTaken(Delivery::NotSent)) => tally.not_sent += 1,
                    Err(LineError::NotTaken(Delivery::Unknown)) => tally.unknown += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            assert_eq!(line.request("echo", "back").await.unwrap(), b"back");
            tally.back_after = started.get().map(Instant::elapsed);
            drop(line);
            tally
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = Instant::now();
    server.terminate();
    let server = server.succeeded().await;
    println!("stopped, and succeeded, after {:?}", asked.elapsed());
    successor_started.set(Instant::now()).unwrap();
    path.lead_to(server.port);
    let tallies = within(60, "all clients to be back", clients.join_all()).await;
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    let (taken, echoed) = (sum(|tally| tally.taken), sum(|tally| tally.echoed));
    println!("taken {taken}, echoed {echoed}, not sent {}", sum(|tally| tally.not_sent));
    assert!(taken > CLIENTS * 50, "there was traffic: {taken}");
    assert_eq!(sum(|tally| tally.unknown), 0, "nothing is in doubt after a drain that had its time");
    assert_eq!(taken, echoed, "what the server took it also answered");
    let latest = tallies.iter().filter_map(|tally| tally.back_after).max();
    println!("the last client was back {latest:?} after the successor's start");
}

#[tokio::test]
async fn browser_a_page_shows_draining_and_then_the_successor() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    let start = "
        globalThis.states = [];
        link.addEventListener('statechange', () => states.push(link.state));";
    browser.run(start, serde_json::Value::Null).await;
    server.terminate();
    let server = server.succeeded().await;
    path.lead_to(server.port);
    browser.wait_until("states.at(-1) === 'open'").await;
    let states = browser.run("return states", serde_json::Value::Null).await;
    assert_eq!(states, serde_json::json!(["draining", "resuming", "open"]));
    assert_eq!(browser.echo(b"the successor").await.unwrap(), b"the successor");
    browser.finish().await;
}

#[tokio::test]
async fn what_is_written_to_a_stopping_server_is_not_sent_and_said_to_be() {
    let mut server = Server::dev().await;
    let path = Path::to(&server).await;
    let line = within(20, "the line", stranger().connect(&target(&through(server.link(), path.port)))).await.unwrap();
    let desk = line.channel("desk").unwrap();
    within(20, "the desk", desk.send("I have a question").await.unwrap().taken()).await.unwrap();
    server.type_line("just a moment").await;
    within(20, "the answer", desk.recv()).await.unwrap();
    server.terminate();
    within(20, "the client to hear of it", line.state_after(LineState::Open)).await;
    let late = desk.send("one more thing").await.unwrap();
    let server = server.succeeded().await;
    path.lead_to(server.port);
    let error = within(20, "the verdict", late.taken()).await.unwrap_err();
    assert_eq!(error, LineError::NotTaken(Delivery::NotSent));
}
