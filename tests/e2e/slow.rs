//! A slow reader slows its own channel: neither end holds more than the windows allow, and the others go on.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use duologue::limits::{CHANNEL_WINDOW, STREAM_QUEUE_LEN_MAX};
use duologue_server::{Call, Line, ServiceError};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::{browser::Browser, enrolment::stranger, in_process::InProcess, server::target, within};

const BYTES_PER_SEC: usize = 100_000;
/// What a DATA frame may cost beside its bytes, and what one record may hold when the limit is met.
const SLACK: usize = 96 * 1_024;
#[expect(clippy::cast_possible_truncation, reason = "256 KiB")]
const WINDOW: usize = CHANNEL_WINDOW as usize;
/// What may be on its way to a worker, and back, beside that: `web/js/worker/port.js`.
const WORKER_QUEUE: usize = (1_024 + 256) * 1_024;
/// What a writer may be ahead of its reader: a full queue behind a full window, of which what is not yet acknowledged
/// is kept to be sent again. An acknowledgement that is late (a busy machine) leaves both at the writer.
const QUEUE_AND_WINDOW: usize = STREAM_QUEUE_LEN_MAX + WINDOW;

struct Slow {
    server: InProcess,
    /// The server's ends of the lines that have called the slow service.
    lines: Arc<Mutex<Vec<Line>>>,
    /// Messages of the service `ten` that were taken.
    taken: Arc<AtomicUsize>,
}

async fn server() -> Slow {
    let (lines, taken): (Arc<Mutex<Vec<Line>>>, Arc<AtomicUsize>) = Default::default();
    let (seen, counted) = (Arc::clone(&lines), Arc::clone(&taken));
    let server = InProcess::start(|duologue| {
        let slow = move |call: Call| {
            seen.lock().unwrap().push(call.channel.line().unguarded());
            read_slowly(call)
        };
        duologue.service("slow", slow).service("ten", move |call| send_ten(call, Arc::clone(&counted)))
    })
    .await;
    Slow { server, lines, taken }
}

/// Sends ten messages, and counts those that the page has taken.
async fn send_ten(call: Call, taken: Arc<AtomicUsize>) -> Result<(), ServiceError> {
    let mut sent = Vec::new();
    for _ in 0..10 {
        sent.push(call.channel.send(vec![1; 10_000]).await?);
    }
    for sent in sent {
        sent.taken().await?;
        taken.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn read_slowly(call: Call) -> Result<(), ServiceError> {
    let mut stream = call.channel.stream().ok_or("it reads a stream")?;
    let mut bytes = vec![0; BYTES_PER_SEC / 10];
    while stream.read(&mut bytes).await? > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

impl Slow {
    fn held(&self) -> usize {
        let lines = self.lines.lock().unwrap();
        lines.iter().map(|line| line.command(|line, _| line.session().held_len())).max().unwrap_or(0)
    }
}

#[tokio::test]
async fn a_slow_service_makes_neither_end_hold_more_than_its_window() {
    let server = server().await;
    let line = within(20, "the line", stranger().connect(&target(&server.server.invite()))).await.unwrap();
    let mut stream = line.stream("slow").unwrap();
    let writing = async {
        let bytes = vec![7; 10_000_000];
        // It is stopped long before its end.
        let _ = tokio::time::timeout(Duration::from_secs(5), tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes))
            .await;
    };
    let watching = async {
        let (mut here, mut there) = (0, 0);
        for _ in 0..45 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            here = here.max(line.command(|line, _| line.session().held_len()));
            there = there.max(server.held());
            assert_eq!(within(2, "a second channel", line.request("echo", "hello")).await.unwrap(), b"hello");
        }
        (here, there)
    };
    let ((), (here, there)) = tokio::join!(writing, watching);
    println!("held at most: here {here}, there {there}");
    assert!(here <= QUEUE_AND_WINDOW + SLACK, "the writer's end held {here} bytes");
    assert!(there <= WINDOW + SLACK, "the reader's end held {there} bytes");
    assert!(stream.taken() > 200_000, "it was read all the time: {}", stream.taken());
}

#[tokio::test]
async fn browser_a_slow_service_stops_the_pages_pipe() {
    let server = server().await;
    let browser = server.server.two_lines().await;
    stops_the_pipe(&server, &browser, "onThread", 0).await;
    stops_the_pipe(&server, &browser, "inWorker", WORKER_QUEUE).await;
    browser.finish().await;
}

async fn stops_the_pipe(server: &Slow, browser: &Browser, line: &str, queue: usize) {
    let body = "
        const stream = await link.createBidirectionalStream('slow');
        let given = 0;
        const source = new ReadableStream({
            pull: (controller) => {
                controller.enqueue(new Uint8Array(16_384));
                given += 16_384;
            },
        }, { highWaterMark: 0 });
        source.pipeTo(stream.writable).catch(() => {});
        let ahead = 0;
        for (let i = 0; i < 30; i++) {
            await new Promise((ok) => setTimeout(ok, 100));
            await link.request('echo', 'hello', { timeout: 2_000 });
            ahead = Math.max(ahead, given - stream.taken);
        }
        return [ahead, stream.taken];";
    let seen = browser.run(&body.replace("link.", &format!("{line}.")), Value::Null).await;
    println!(
        "{line}: the page was ahead of the service by at most {} bytes; taken {}; the server held {}",
        seen[0],
        seen[1],
        server.held()
    );
    assert!(seen[0].as_u64().is_some_and(|ahead| ahead <= (QUEUE_AND_WINDOW + queue + SLACK) as u64), "{seen}");
    assert!(seen[1].as_u64().is_some_and(|taken| taken > 100_000), "{seen}");
    assert!(server.held() <= WINDOW + SLACK, "the server held {}", server.held());
    // And the other way round: what the page does not read, the server does not send on.
    let body = "
        const stream = await link.createBidirectionalStream('echo');
        const writer = stream.writable.getWriter();
        let given = 0;
        (async () => { for (;;) { await writer.write(new Uint8Array(16_384)); given += 16_384; } })().catch(() => {});
        await new Promise((ok) => setTimeout(ok, 2_000));
        const stopped = given;
        await new Promise((ok) => setTimeout(ok, 500));
        const still = given === stopped;
        const reader = stream.readable.getReader();
        let read = 0;
        while (read < stopped) read += (await reader.read()).value.length;
        await reader.cancel();
        return [stopped, still];";
    let seen = browser.run(&body.replace("link.", &format!("{line}.")), Value::Null).await;
    println!("{line}: a page that does not read stops the echo after {} bytes", seen[0]);
    assert_eq!(seen[1], json!(true), "it had stopped: {seen}");
    assert!(seen[0].as_u64().is_some_and(|stopped| stopped < 2_500_000 + queue as u64), "{seen}");
}

#[tokio::test]
async fn browser_what_the_page_has_not_read_is_not_taken() {
    let server = server().await;
    let browser = server.server.two_lines().await;
    for line in ["link", "inWorker"] {
        let before = server.taken.load(Ordering::Relaxed);
        let body = "
            globalThis.messages = link.channel('ten')[Symbol.asyncIterator]();
            const read = [];
            for (let i = 0; i < 3; i++) read.push((await messages.next()).value.length);
            await new Promise((ok) => setTimeout(ok, 300));
            return read;";
        let read = browser.run(&body.replace("link.", &format!("{line}.")), Value::Null).await;
        assert_eq!(read, json!([10_000, 10_000, 10_000]), "{line}");
        assert_eq!(server.taken.load(Ordering::Relaxed) - before, 3, "{line}: what waits in the page is not taken");
        let rest = "
            for (let i = 0; i < 7; i++) await messages.next();
            return (await messages.next()).done;";
        assert_eq!(browser.run(rest, Value::Null).await, json!(true), "{line}");
        within(5, "the last one to be taken", async {
            while server.taken.load(Ordering::Relaxed) - before < 10 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
    browser.finish().await;
}
