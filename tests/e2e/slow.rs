//! A slow reader slows its own channel: neither end holds more than the windows allow, and the others go on.
//!
//! The service is this test's own, so that the server is the library in this process, over real TLS.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::Router;
use duologue::limits::{CHANNEL_WINDOW, STREAM_QUEUE_LEN_MAX};
use duologue_server::{Call, Duologue, Line, Policy, ServiceError, State, development, page, services};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt, net::TcpListener};
use tokio_util::sync::CancellationToken;

use crate::{
    browser::{Browser, Profile},
    enrolment::stranger,
    server::target,
    tls, within,
};

const BYTES_PER_SEC: usize = 100_000;
/// What a DATA frame may cost beside its bytes, and what one record may hold when the limit is met.
const SLACK: usize = 96 * 1_024;
#[expect(clippy::cast_possible_truncation, reason = "256 KiB")]
const WINDOW: usize = CHANNEL_WINDOW as usize;
/// What a writer may be ahead of its reader: a full queue behind a full window, of which what is not yet acknowledged
/// is kept to be sent again. An acknowledgement that is late (a busy machine) leaves both at the writer.
const QUEUE_AND_WINDOW: usize = STREAM_QUEUE_LEN_MAX + WINDOW;

struct InProcess {
    _directory: TempDir,
    spki_pin: String,
    link: String,
    /// The server's ends of the lines that have called the slow service.
    lines: Arc<Mutex<Vec<Line>>>,
    stop: CancellationToken,
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn server() -> InProcess {
    let directory = TempDir::with_prefix("duologue-state-").unwrap();
    let state = State::open(directory.path()).unwrap();
    let tls = development(state.directory()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let link = state.new_invite(Duration::from_secs(60)).unwrap().to_link(&address);
    let lines: Arc<Mutex<Vec<Line>>> = Arc::default();
    let seen = Arc::clone(&lines);
    let slow = move |call: Call| {
        seen.lock().unwrap().push(call.channel.line().unguarded());
        read_slowly(call)
    };
    let duologue = Duologue::new(state, Policy::loopback()).service("echo", services::echo).service("slow", slow);
    let app = Router::new().route("/line", duologue.route()).merge(page(true));
    let stop = CancellationToken::new();
    tokio::spawn(duologue_server::serve(listener, Some(tls), app, stop.clone()));
    let spki_pin = tls::spki_pin_of_file(&directory.path().join("tls-key.pem"));
    InProcess { _directory: directory, spki_pin, link, lines, stop }
}

async fn read_slowly(call: Call) -> Result<(), ServiceError> {
    let mut stream = call.channel.stream().ok_or("it reads a stream")?;
    let mut bytes = vec![0; BYTES_PER_SEC / 10];
    while stream.read(&mut bytes).await? > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

impl InProcess {
    fn held(&self) -> usize {
        let lines = self.lines.lock().unwrap();
        lines.iter().map(|line| line.command(|line, _| line.session().held_len())).max().unwrap_or(0)
    }
}

#[tokio::test]
async fn a_slow_service_makes_neither_end_hold_more_than_its_window() {
    let server = server().await;
    let line = within(20, "the line", stranger().connect(&target(&server.link))).await.unwrap();
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
    let browser = Browser::start(&Profile::trusting(std::slice::from_ref(&server.spki_pin))).await;
    browser.open(&server.link).await;
    browser.wait_for_state("open").await;
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
    let seen = browser.run(body, Value::Null).await;
    println!(
        "the page was ahead of the service by at most {} bytes; taken {}; the server held {}",
        seen[0],
        seen[1],
        server.held()
    );
    assert!(seen[0].as_u64().is_some_and(|ahead| ahead <= (QUEUE_AND_WINDOW + SLACK) as u64), "{seen}");
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
        return [stopped, still];";
    let seen = browser.run(body, Value::Null).await;
    println!("a page that does not read stops the echo after {} bytes", seen[0]);
    assert_eq!(seen[1], json!(true), "it had stopped: {seen}");
    assert!(seen[0].as_u64().is_some_and(|stopped| stopped < 2_500_000), "{seen}");
    browser.finish().await;
}
