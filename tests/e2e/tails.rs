//! What is left out: of a channel that is a tail, and what an end throws away before it has left. The other end hears how much
//! is missing, and where.

use std::{sync::Arc, time::Duration};

use duologue::{Delivery, Kind, Priority};
use duologue_client::LineError;
use duologue_server::{Call, ServiceError, services};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
};

use crate::{enrolment::stranger, in_process::InProcess, server::target, within};

/// How many prices there are, and what one takes.
const PRICES: u32 = 20_000;
const PRICE_LEN: usize = 100;
/// What a terminal's program says at once.
const OUTPUT_LEN: usize = 4_000_000;
/// What a stream's writer may be ahead of a reader who does not read: its queue, a window, and what is on its way.
const AHEAD_MAX: usize = (256 + 256 + 128) * 1_024;

async fn server() -> InProcess {
    let begin = Arc::new(Notify::new());
    let began = Arc::clone(&begin);
    InProcess::start(|duologue| {
        let late = move |call| late(call, Arc::clone(&began));
        let begins = move |call| {
            begin.notify_one();
            services::echo(call)
        };
        duologue.service("prices", prices).service("terminal", terminal).service("late", late).service("begin", begins)
    })
    .await
}

/// Numbers from 0 on, without waiting for anybody.
async fn prices(call: Call) -> Result<(), ServiceError> {
    for number in 0..PRICES {
        let mut price = number.to_string().into_bytes();
        price.resize(PRICE_LEN, b' ');
        call.channel.send(price).await?;
    }
    call.channel.finish();
    Ok(())
}

/// A program that says more than anybody reads, until it is interrupted.
async fn terminal(call: Call) -> Result<(), ServiceError> {
    let stream = call.channel.stream().ok_or("a terminal is a stream")?;
    let (mut keys, mut screen) = tokio::io::split(stream);
    let output = vec![b'y'; OUTPUT_LEN];
    let mut key = [0];
    tokio::select! {
        _ = screen.write_all(&output) => return Err("nobody has interrupted it".into()),
        _ = keys.read_exact(&mut key) => {}
    }
    call.channel.discard();
    screen.write_all(b"^C").await?;
    screen.shutdown().await?;
    // Until the page has come to the end as well.
    while keys.read(&mut key).await? > 0 {}
    Ok(())
}

/// Reads only once it is told to, and answers how many messages came, and how many were missing.
async fn late(call: Call, begin: Arc<Notify>) -> Result<(), ServiceError> {
    begin.notified().await;
    let mut came = 0;
    while call.channel.recv().await?.is_some() {
        came += 1;
    }
    call.channel.send(json!([came, call.channel.missed()]).to_string()).await?;
    call.channel.finish();
    Ok(())
}

#[tokio::test]
async fn a_tail_keeps_the_newest_and_tells_where_something_is_missing() {
    let server = server().await;
    let line = within(20, "the line", stranger().connect(&target(&server.invite()))).await.unwrap();
    let kind = Kind { tail: Some(20_000), priority: Priority::Last, ..Kind::MESSAGES };
    let prices = line.channel_of("prices", kind).unwrap();
    // Long enough for its service to have said all, and to have been stopped by the window if it were no tail.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (mut came, mut last) = (0, 0);
    while let Some(price) = within(10, "a price", prices.recv()).await.unwrap() {
        last = std::str::from_utf8(&price).unwrap().trim().parse().unwrap();
        assert_eq!(u64::from(last), came + prices.missed(), "what is missing is told where it is missing");
        came += 1;
    }
    println!("{came} of {PRICES} prices came, {} were left out", prices.missed());
    assert_eq!(last, PRICES - 1, "the newest is there");
    assert_eq!(came + prices.missed(), u64::from(PRICES));
    assert!(prices.missed() > 1_000, "it did not wait for a reader");
}

#[tokio::test]
async fn an_interrupt_throws_away_what_a_terminal_has_not_sent() {
    let server = server().await;
    let line = within(20, "the line", stranger().connect(&target(&server.invite()))).await.unwrap();
    let mut terminal = line.stream("terminal").unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    terminal.write_all(b"\x03").await.unwrap();
    // Who reads before the interrupt is there makes room for what it would have thrown away.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (mut all, mut some) = (Vec::new(), vec![0; 65_536]);
    loop {
        let len = within(10, "the screen", terminal.read(&mut some)).await.unwrap();
        if len == 0 {
            break;
        }
        all.extend_from_slice(&some[..len]);
    }
    let missed = terminal.channel().missed();
    println!("{} bytes came, {missed} were thrown away", all.len());
    assert!(all.ends_with(b"yy^C") && all.len() < AHEAD_MAX, "{} bytes came", all.len());
    assert!(missed > 0, "it had more to say than the window");
}

#[tokio::test]
async fn messages_that_were_thrown_away_are_said_to_be_not_sent() {
    let server = server().await;
    let line = within(20, "the line", stranger().connect(&target(&server.invite()))).await.unwrap();
    let late = line.channel("late").unwrap();
    let mut sent = Vec::new();
    for _ in 0..200 {
        sent.push(late.send(vec![7; 10_000]).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let thrown = late.discard();
    assert!((100..200).contains(&thrown), "{thrown}: some had left, and the window was full");
    late.finish();
    line.request("begin", "now").await.unwrap();
    let mut not_sent = 0;
    for sent in sent {
        match within(10, "a message's fate", sent.taken()).await {
            Ok(()) => assert_eq!(not_sent, 0, "those that left are the first"),
            Err(LineError::NotTaken(Delivery::NotSent)) => not_sent += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(not_sent, thrown);
    let answer = within(10, "the answer", late.recv()).await.unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&answer).unwrap(), json!([200 - thrown, thrown]));
}

#[tokio::test]
async fn browser_a_page_reads_tails_throws_away_and_says_what_comes_first() {
    let server = server().await;
    let browser = server.two_lines().await;
    for line in ["onThread", "inWorker"] {
        let run = async |body: &str| browser.run(&body.replace("link.", &format!("{line}.")), Value::Null).await;
        let prices = "
            const prices = link.channel('prices', { tail: 20_000, priority: 2 });
            await new Promise((ok) => setTimeout(ok, 1_000));
            let [came, last, wrong] = [0, -1, 0];
            for await (const price of prices) {
                last = Number(new TextDecoder().decode(price));
                if (last !== came + prices.missed) wrong++;
                came++;
            }
            return [came + prices.missed, last, wrong, prices.missed > 1_000];";
        assert_eq!(run(prices).await, json!([PRICES, PRICES - 1, 0, true]), "{line}");
        let late = "
            const late = link.channel('late', { priority: 0 });
            const fates = [];
            for (let i = 0; i < 300; i++) {
                fates.push(late.send(new Uint8Array(10_000)).then(() => 'taken', ({ code, delivery }) => `${code}, ${delivery}`));
            }
            await new Promise((ok) => setTimeout(ok, 500));
            late.discard();
            late.finish();
            await link.request('begin', 'now', { timeout: 5_000 });
            const { value } = await late[Symbol.asyncIterator]().next();
            const settled = await Promise.all(fates);
            const first = settled.indexOf('not-taken, not sent');
            const rest = settled.slice(first).every((fate) => fate === 'not-taken, not sent');
            return [JSON.parse(new TextDecoder().decode(value)), [first, settled.length - first], rest, first > 0];";
        let seen = run(late).await;
        assert_eq!(seen[0], seen[1], "{line}: both ends say the same: {seen}");
        assert_eq!((&seen[2], &seen[3]), (&json!(true), &json!(true)), "{line}: {seen}");
        let terminal = "
            const terminal = await link.createBidirectionalStream('terminal', { priority: 0 });
            await new Promise((ok) => setTimeout(ok, 500));
            const writer = terminal.writable.getWriter();
            await writer.write('\\u0003');
            await new Promise((ok) => setTimeout(ok, 500));
            let [length, end] = [0, ''];
            const reader = terminal.readable.getReader();
            for (let chunk; !(chunk = await reader.read()).done; ) {
                length += chunk.value.length;
                end = new TextDecoder().decode(chunk.value.slice(-2));
            }
            await writer.close();
            return [length, end, terminal.missed];";
        let seen = run(terminal).await;
        println!("{line}: {seen}");
        assert_eq!(seen[1], "^C", "{line}: {seen}");
        assert!(seen[0].as_u64().is_some_and(|length| length < AHEAD_MAX as u64), "{line}: {seen}");
        assert!(seen[2].as_u64().is_some_and(|missed| missed > 0), "{line}: {seen}");
        let wrong = "
            const said = [];
            for (const options of [{ priority: 3 }, { priority: '1' }, { tail: -1 }, { tail: 1.5 }, { tail: 2 ** 32 }]) {
                try { link.channel('echo', options); said.push('nothing'); } catch (error) { said.push(error.name); }
            }
            return said;";
        assert_eq!(run(wrong).await, json!(vec!["RangeError"; 5]), "{line}");
    }
    browser.finish().await;
}
