//! The train enters a tunnel: connections end in every way that there is, and the conversation goes on.

use std::time::Duration;

use duologue::{ConnectionError, Delivery, FreshReason, LineState};
use duologue_client::{Client, Line, LineError};
use serde_json::{Value, json};

use crate::{
    chance::Chance,
    enrolment::stranger,
    path::{Cut, Path},
    server::{Server, target, through},
    within,
};

const CUTS: usize = 50;
const MESSAGES: u32 = 10_000;

async fn line_over(path: &Path, server: &Server) -> (Client, Line) {
    let client = stranger();
    let link = through(&server.invite("24h").await, path.port);
    let line = within(20, "the line", client.connect(&target(&link))).await.unwrap();
    (client, line)
}

#[tokio::test]
async fn ten_thousand_messages_each_way_survive_fifty_cuts() {
    let mut chance = Chance::new();
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let (_client, line) = line_over(&path, &server).await;
    let channel = line.channel("echo").unwrap();
    let (to, from) = (channel.clone(), channel);
    let burst = MESSAGES / u32::try_from(CUTS).unwrap();
    let sending = async {
        let mut sent = Vec::new();
        for round in 0..CUTS {
            let first = u32::try_from(round).unwrap() * burst;
            for number in first..first + burst {
                sent.push(to.send(number.to_be_bytes()).await.unwrap());
            }
            tokio::time::sleep(Duration::from_millis(chance.below(40) as u64)).await;
            let cut = Cut::any(&mut chance);
            path.cut(cut);
            // A client alone finds a half-open link out by its silence, or because somebody asks.
            if cut == Cut::ServerOnly {
                line.command(duologue::Line::wake);
            }
            line.request("echo", "still there?").await.unwrap();
        }
        for (number, sent) in sent.iter().enumerate() {
            sent.taken().await.unwrap_or_else(|error| panic!("message {number}: {error}"));
        }
    };
    let receiving = async {
        for number in 0..MESSAGES {
            let message = from.recv().await.unwrap().expect("echo does not finish first");
            assert_eq!(message, number.to_be_bytes(), "in order, once");
        }
    };
    within(180, "all messages", async { tokio::join!(sending, receiving) }).await;
    assert!(path.connections() >= CUTS / 2, "only {} connections: what was cut?", path.connections());
}

/// The whole form, with 18,000, is `cargo xtask bench cut`.
#[tokio::test]
async fn three_hundred_lines_that_are_cut_at_once_are_all_back_and_none_begins_anew() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let mut lines = Vec::new();
    // A device may have 16.
    for _ in 0..20 {
        let client = stranger();
        let link = target(&through(&server.invite("24h").await, path.port));
        lines.push(within(20, "a device's first line", client.connect(&link)).await.unwrap());
        let more = (1..15).map(|_| client.connect(&link));
        lines.extend(within(20, "its other lines", futures_util::future::try_join_all(more)).await.unwrap());
    }
    let session = |line: &Line| line.command(|line, _| line.session().id());
    let sessions: Vec<_> = lines.iter().map(session).collect();
    let lost = futures_util::future::join_all(lines.iter().map(|line| line.state_after(LineState::Open)));
    // Whoever waits looks before it happens: who is back within milliseconds has been away too.
    within(10, "all to notice", async { tokio::join!(lost, async { path.cut(Cut::Both) }) }).await;
    let back = lines.iter().map(|line| async {
        while line.state() != LineState::Open {
            line.state_after(line.state()).await;
        }
    });
    within(30, "all to be back", futures_util::future::join_all(back)).await;
    assert_eq!(lines.iter().map(session).collect::<Vec<_>>(), sessions, "none has begun anew");
}

#[tokio::test]
async fn browser_ten_thousand_messages_each_way_survive_fifty_cuts() {
    let mut chance = Chance::new();
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    let start = "
        const channel = link.channel('echo');
        const run = { next: 0, taken: 0, failed: [], came: 0, wrong: [], states: [] };
        const shown = () => run.states.push([link.state, document.documentElement.dataset.state]);
        link.addEventListener('statechange', () => queueMicrotask(shown));
        run.burst = (count) => {
            for (let i = 0; i < count; i++) {
                const number = run.next++;
                channel.sendJson(number).then(
                    () => run.taken++,
                    (error) => run.failed.push([number, error.code, error.delivery]));
            }
        };
        (async () => {
            for await (const number of channel.json()) {
                if (number !== run.came) run.wrong.push([run.came, number]);
                run.came++;
            }
        })();
        globalThis.run = run;";
    browser.run(start, Value::Null).await;
    let burst = MESSAGES / u32::try_from(CUTS).unwrap();
    for _ in 0..CUTS {
        browser.run("run.burst(args)", json!(burst)).await;
        tokio::time::sleep(Duration::from_millis(chance.below(40) as u64)).await;
        let cut = Cut::any(&mut chance);
        path.cut(cut);
        if cut == Cut::ServerOnly {
            browser.run("dispatchEvent(new Event('online'))", Value::Null).await;
        }
        // Through whatever the cut has left.
        assert_eq!(browser.echo(b"still there?").await.unwrap(), b"still there?");
    }
    browser.wait_until(&format!("run.taken + run.failed.length === {MESSAGES} && run.came >= {MESSAGES}")).await;
    let run = browser
        .run(
            "const { taken, came, failed, wrong, states } = run; return { taken, came, failed, wrong, states }",
            Value::Null,
        )
        .await;
    assert_eq!((&run["taken"], &run["came"]), (&json!(MESSAGES), &json!(MESSAGES)), "{run}");
    assert_eq!((&run["failed"], &run["wrong"]), (&json!([]), &json!([])));
    // What the page shows is what the line says; it never went but from open to resuming and back.
    let states = run["states"].as_array().unwrap();
    assert!(states.iter().all(|state| state[0] == state[1]), "{states:?}");
    let words: Vec<&str> = states.iter().map(|state| state[0].as_str().unwrap()).collect();
    assert!(words.chunks(2).all(|pair| pair == ["resuming", "open"]), "{words:?}");
    assert!(words.len() >= CUTS, "{} changes for {CUTS} cuts", words.len());
    browser.finish().await;
}

#[tokio::test]
async fn a_session_of_a_server_that_was_killed_ends_as_restarted_and_every_promise_settles() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let (_client, line) = line_over(&path, &server).await;
    // The desk reads, and answers nothing.
    let channel = line.channel("desk").unwrap();
    let taken = channel.send("taken").await.unwrap();
    within(20, "the desk to take it", taken.taken()).await.unwrap();
    path.lead_nowhere();
    path.cut(Cut::Rst);
    within(20, "the loss to be noticed", line.state_after(LineState::Open)).await;
    let waiting = channel.send("written in the tunnel").await.unwrap();
    let server = server.restarted().await;
    path.lead_to(server.port);
    let error = within(20, "the verdict on the message", waiting.taken()).await.unwrap_err();
    assert_eq!(error, LineError::NotTaken(Delivery::NotSent));
    let restarted = LineError::Connection(ConnectionError::SessionEnded(FreshReason::Restarted));
    assert_eq!(within(20, "the channel's end", channel.recv()).await.unwrap_err(), restarted);
    assert_eq!(channel.send("more").await.unwrap_err(), restarted);
    assert!(taken.taken().await.is_ok(), "what was taken stays so");
    assert_eq!(within(20, "the echo", line.request("echo", "a new session")).await.unwrap(), b"a new session");
}

#[tokio::test]
async fn browser_a_restarted_server_means_a_fresh_session_and_the_page_says_so() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    let start = "
        globalThis.fresh = [];
        link.addEventListener('fresh', (event) => fresh.push(event.detail.code));
        globalThis.channel = link.channel('echo');
        await channel.send('before');
        globalThis.ended = (async () => { for await (const _ of channel); })().then(() => 'finished', (error) => error.code);";
    browser.run(start, Value::Null).await;
    path.lead_nowhere();
    path.cut(Cut::Both);
    browser.wait_for_state("resuming").await;
    let send = "globalThis.waiting = channel.send('in the tunnel').then(() => 'taken', (error) => [error.code, error.delivery])";
    browser.run(send, Value::Null).await;
    let server = server.restarted().await;
    path.lead_to(server.port);
    browser.wait_for_state("open").await;
    let settled = browser.run("return [await waiting, await ended, fresh]", Value::Null).await;
    assert_eq!(settled, json!([["session-restarted", "not sent"], "session-restarted", ["session-restarted"]]));
    assert_eq!(browser.echo(b"anew").await.unwrap(), b"anew");
    browser.finish().await;
}

#[tokio::test]
async fn a_session_past_its_resume_window_ends_as_expired_at_both_ends() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let (_client, line) = line_over(&path, &server).await;
    let channel = line.channel("desk").unwrap();
    within(20, "the desk to take it", channel.send("I am here").await.unwrap().taken()).await.unwrap();
    path.lead_nowhere();
    path.cut(Cut::Both);
    within(20, "the loss to be noticed", line.state_after(LineState::Open)).await;
    let waiting = channel.send("written in the tunnel").await.unwrap();
    tokio::time::sleep(Duration::from_secs(duologue::limits::RESUME_TTL_SECS + 2)).await;
    // The service has been told by now; the client is told when it can be.
    server.stdout.with("has gone").await;
    path.lead_to(server.port);
    line.command(duologue::Line::wake);
    let error = within(20, "the verdict on the message", waiting.taken()).await.unwrap_err();
    assert_eq!(error, LineError::NotTaken(Delivery::NotSent));
    let expired = LineError::Connection(ConnectionError::SessionEnded(FreshReason::Expired));
    assert_eq!(within(20, "the channel's end", channel.recv()).await.unwrap_err(), expired);
    assert_eq!(within(20, "the echo", line.request("echo", "anew")).await.unwrap(), b"anew");
}

#[tokio::test]
async fn a_session_that_had_to_make_room_ends_as_evicted() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let (client, line) = line_over(&path, &server).await;
    let channel = line.channel("echo").unwrap();
    within(20, "the echo to take it", channel.send("here").await.unwrap().taken()).await.unwrap();
    path.lead_nowhere();
    path.cut(Cut::Both);
    server.stderr.with("its session waits").await;
    // The device opens as many others as it may have, by another way.
    let other = Path::to(&server).await;
    let mut others = Vec::new();
    for number in 0..16 {
        let invite = through(&server.invite("24h").await, other.port);
        others.push(within(20, format!("line {number}"), client.connect(&target(&invite))).await.unwrap());
    }
    path.lead_to(server.port);
    line.command(duologue::Line::wake);
    let evicted = LineError::Connection(ConnectionError::SessionEnded(FreshReason::Evicted));
    let mut received = within(20, "the channel's end", channel.recv()).await;
    if received == Ok(Some(b"here".to_vec())) {
        received = within(20, "the channel's end", channel.recv()).await;
    }
    assert_eq!(received.unwrap_err(), evicted);
}

#[tokio::test]
async fn browser_a_device_that_slept_for_an_hour_is_open_again_after_a_real_round_trip() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    let connections = path.connections();
    // Asleep: nothing runs, the network forgets the connection, and the clock goes on. The server keeps its end.
    path.cut(Cut::ServerOnly);
    let wake = "
        const real = performance.now.bind(performance);
        performance.now = () => real() + 3_600_000;
        const began = real();
        const states = [];
        link.addEventListener('statechange', () => states.push(link.state));
        dispatchEvent(new Event('pageshow'));
        dispatchEvent(new Event('online'));
        await link.request('echo', 'awake?', { timeout: 20_000 });
        return [states, real() - began];";
    let woken = browser.run(wake, Value::Null).await;
    println!("open again after {} ms", woken[1]);
    assert_eq!(woken[0], json!(["resuming", "open"]), "{woken}");
    assert!(path.connections() > connections, "by a new connection");
    browser.finish().await;
}
