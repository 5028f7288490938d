//! The line in a worker: the same API, while socket, cryptography and timers are off the page's thread.
//!
//! ```text
//! page: Link, Channel, … ─► remote.js ══ port ══► worker.js ─► core ─► WebSocket ═► server
//! ```

use serde_json::{Value, json};

use crate::{
    browser::{Browser, Profile},
    chance::Chance,
    datagrams::give_through_a_stall,
    path::{Cut, Path},
    server::{Server, through},
    tls::Trust,
};

const CUTS: usize = 12;
const MESSAGES: usize = 3_000;
/// No task of the page may take longer, even on a busy machine; what it takes is printed.
const BLOCKED_MILLIS_MAX: f64 = 100.0;

/// A fresh browser at the page of a server, whose own line has no invite and closes; `line` is one in a worker.
async fn page(trust: Trust, link: &str) -> Browser {
    let browser = Browser::start(&Profile::trusting(trust)).await;
    let (address, _) = link.split_once('#').expect("an invite link has a fragment");
    browser.open(address).await;
    browser.wait_for_state("closed").await;
    let open = "
        const { connect } = await import('/duologue.js');
        globalThis.line = connect({ invite: args, worker: true });
        await line.ready;
        return [line.state, line.server.fingerprint.length, line.device.fingerprint.length];";
    assert_eq!(browser.run(open, json!(link)).await, json!(["open", 39, 39]));
    browser
}

#[tokio::test]
async fn browser_worker_answers_and_takes_a_thousand_messages_of_one_tick_in_order() {
    let server = Server::dev().await;
    let browser = page(server.trust(), server.link()).await;
    let body = "
        const answer = new TextDecoder().decode(await line.request('echo', 'hello'));
        const channel = line.channel('echo');
        const [settled, came] = [[], []];
        let taken = 0;
        const sends = [];
        for (let number = 0; number < 1_000; number++) {
            const sent = channel.sendJson(number);
            sent.then(() => taken++);
            sends.push(sent);
        }
        channel.finish();
        const atOnce = taken;
        for await (const number of channel.json()) came.push(number);
        await Promise.all(sends);
        return [answer, atOnce, taken, came.length, came.every((number, at) => number === at)];";
    assert_eq!(browser.run(body, Value::Null).await, json!(["hello", 0, 1_000, 1_000, true]));
    // What is refused, by the server or here, is told by its word.
    let refused = browser.try_run("await line.request('nothing', 'x')", Value::Null).await.unwrap_err();
    assert!(refused.starts_with("refused:"), "{refused}");
    let label = browser.try_run("await line.createBidirectionalStream('')", Value::Null).await.unwrap_err();
    assert!(label.starts_with("bad-label:"), "{label}");
    let long = browser.try_run("await line.channel('echo').send(new Uint8Array(17 << 20))", Value::Null).await;
    assert!(long.as_ref().is_err_and(|error| error.starts_with("message-too-long:")), "{long:?}");
    let large = "
        const bytes = new Uint8Array(16 << 20);
        for (let at = 0; at < bytes.length; at += 4_096) bytes[at] = at >> 12;
        const back = await line.request('echo', bytes);
        return back.length === bytes.length && back.every((byte, at) => byte === bytes[at]);";
    assert_eq!(browser.run(large, Value::Null).await, json!(true), "the longest message there is");
    let end = "
        line.close('enough');
        return [await line.closed, line.state];";
    let end = browser.run(end, Value::Null).await;
    assert_eq!((&end[0]["code"], &end[0]["byPeer"], &end[1]), (&json!("normal"), &json!(false), &json!("closed")));
    browser.finish().await;
}

#[tokio::test]
async fn browser_worker_echoes_a_stream_whole() {
    let server = Server::dev().await;
    let browser = page(server.trust(), server.link()).await;
    let body = "
        const bytes = new Uint8Array(8_000_000);
        for (let at = 0; at < bytes.length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
        const hash = async (bytes) => new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)).toHex();
        const stream = await line.createBidirectionalStream('echo');
        const progress = [];
        stream.addEventListener('progress', () => progress.push(stream.taken));
        const writing = new Blob([bytes]).stream().pipeTo(stream.writable);
        const back = await new Response(stream.readable).arrayBuffer();
        await writing;
        return [await hash(back) === await hash(bytes), stream.taken, progress.length > 10,
            progress.every((taken, at) => at === 0 || taken > progress[at - 1])];";
    assert_eq!(browser.run(body, Value::Null).await, json!([true, 8_000_000, true, true]));
    browser.finish().await;
}

#[tokio::test]
async fn browser_worker_loses_nothing_and_doubles_nothing_when_the_path_is_cut() {
    let mut chance = Chance::new();
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = page(server.trust(), &through(server.link(), path.port)).await;
    let start = "
        const channel = line.channel('echo');
        globalThis.seen = { next: 0, taken: 0, failed: [], came: 0, wrong: [], states: [] };
        line.addEventListener('statechange', () => seen.states.push(line.state));
        globalThis.burst = (count) => {
            for (let i = 0; i < count; i++) {
                const number = seen.next++;
                channel.sendJson(number).then(() => seen.taken++, (error) => seen.failed.push([number, error.code]));
            }
        };
        (async () => {
            for await (const number of channel.json()) {
                if (number !== seen.came) seen.wrong.push([seen.came, number]);
                seen.came++;
            }
        })();";
    browser.run(start, Value::Null).await;
    for _ in 0..CUTS {
        browser.run("burst(args)", json!(MESSAGES / CUTS)).await;
        tokio::time::sleep(std::time::Duration::from_millis(chance.below(40) as u64)).await;
        let cut = Cut::any(&mut chance);
        path.cut(cut);
        if cut == Cut::ServerOnly {
            // The page hears it, the worker is told.
            browser.run("dispatchEvent(new Event('online'))", Value::Null).await;
        }
        browser.run("await line.request('echo', 'still there?', { timeout: 20_000 })", Value::Null).await;
    }
    browser.wait_until(&format!("seen.taken + seen.failed.length === {MESSAGES} && seen.came >= {MESSAGES}")).await;
    let seen = browser.run("return seen", Value::Null).await;
    assert_eq!((&seen["taken"], &seen["came"]), (&json!(MESSAGES), &json!(MESSAGES)), "{seen}");
    assert_eq!((&seen["failed"], &seen["wrong"]), (&json!([]), &json!([])));
    let states: Vec<&str> = seen["states"].as_array().unwrap().iter().map(|state| state.as_str().unwrap()).collect();
    assert!(states.len() >= CUTS && states.chunks(2).all(|pair| pair == ["resuming", "open"]), "{states:?}");
    browser.finish().await;
}

#[tokio::test]
async fn browser_worker_hears_of_a_fresh_session_and_goes_on_in_it() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = page(server.trust(), &through(server.link(), path.port)).await;
    let start = "
        globalThis.fresh = [];
        line.addEventListener('fresh', (event) => fresh.push(event.detail.code));
        globalThis.channel = line.channel('echo');
        await channel.send('before');
        globalThis.ended = (async () => { for await (const _ of channel); })().then(() => 'finished', (error) => error.code);";
    browser.run(start, Value::Null).await;
    path.lead_nowhere();
    path.cut(Cut::Both);
    browser.wait_until("line.state === 'resuming'").await;
    let send = "globalThis.waiting = channel.send('in the tunnel').then(() => 'taken', (error) => [error.code, error.delivery])";
    browser.run(send, Value::Null).await;
    let server = server.restarted().await;
    path.lead_to(server.port);
    let settled =
        "return [await waiting, await ended, new TextDecoder().decode(await line.request('echo', 'anew')), fresh]";
    let settled = browser.run(settled, Value::Null).await;
    assert_eq!(settled, json!([["session-restarted", "not sent"], "session-restarted", "anew", ["session-restarted"]]));
    browser.finish().await;
}

#[tokio::test]
async fn browser_worker_datagrams_have_one_fate_each_through_a_stall() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = page(server.trust(), &through(server.link(), path.port)).await;
    give_through_a_stall(&browser, &path, "line").await;
    let fates = "const { sent, expired, replaced, overflowed } = lane.datagrams.stats; return sent + expired + replaced + overflowed";
    browser.wait_until(&format!("(() => {{ {fates} }})() === 220")).await;
    let end = browser.run("return [new Set(came).size === came.length, lane.datagrams.stats]", Value::Null).await;
    println!("{end}");
    assert_eq!(end[0], json!(true), "none came twice");
    let count = |name: &str| end[1][name].as_u64().unwrap();
    // How many depends on how busy this machine is.
    assert!(count("expired") > 10 && count("replaced") > 20, "{end}");
    browser.finish().await;
}

#[tokio::test]
async fn browser_worker_that_is_ended_settles_every_promise() {
    let server = Server::dev().await;
    let browser = page(server.trust(), server.link()).await;
    let body = "
        const { connect, DuologueError } = await import('/duologue.js');
        const worker = new Worker('/worker.js', { type: 'module' });
        const line = connect({ worker });
        // A second line of the same worker, through a port, and observed.
        const { port1, port2 } = new MessageChannel();
        worker.postMessage(undefined, [port2]);
        const records = { in: 0, out: 0 };
        const other = connect({ worker: port1, observe: (direction, bytes) => (records[direction] += bytes.length) });
        await Promise.all([line.ready, other.ready]);
        // The desk reads at its terminal, and never answers.
        const stream = await line.createBidirectionalStream('echo');
        const writer = stream.writable.getWriter();
        const channel = line.channel('echo');
        await channel.send('taken');
        const reader = stream.readable.getReader();
        const verdict = (promise) => promise.then((value) => value?.code ?? 'fulfilled', (error) =>
            [error instanceof DuologueError, error.code, error.delivery ?? null]);
        const written = verdict((async () => { for (;;) await writer.write(new Uint8Array(65_536)); })());
        await new Promise((ok) => setTimeout(ok, 200));
        const pending = [
            channel.send('under way'), line.request('desk', 'x'), (async () => { for (;;) await reader.read(); })(),
            line.incoming[Symbol.asyncIterator]().next(), (async () => { for await (const _ of channel.datagrams); })(), line.closed, other.closed,
        ].map(verdict);
        worker.terminate();
        // Whether its last chunk had begun to leave, nobody can say here.
        const [isOurs, code] = await written;
        const settled = [[isOurs, code], ...await Promise.all(pending)];
        return [records.in > 1_000 && records.out > 1_000, settled, line.state, await verdict(line.channel('echo').send('later'))];";
    let settled = browser.run(body, Value::Null).await;
    let lost = |delivery: Value| json!([true, "worker-lost", delivery]);
    let [unknown, not_sent, none] = [lost(json!("unknown")), lost(json!("not sent")), lost(Value::Null)];
    let all = json!([[true, "worker-lost"], unknown, none, none, "fulfilled", none, "worker-lost", "worker-lost"]);
    assert_eq!(settled, json!([true, all, "closed", not_sent]));
    let missing = "
        const { connect } = await import('/duologue.js');
        const worker = new Worker('/nothing.js', { type: 'module' });
        globalThis.lines = [connect({ worker }), connect({ worker: new MessageChannel().port1 })];
        await lines[0].ready;
        return lines[0].context;";
    assert_eq!(browser.run(missing, Value::Null).await, json!("page"), "what cannot be loaded is left");
    // The first one is still there.
    assert_eq!(browser.run("return (await line.request('echo', 'x')).length", Value::Null).await, json!(1));
    // The missing script is told by the console too, which is no fault of the page's.
    browser.log().await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_worker_never_blocks_the_page_while_50_mb_go_through_a_stream() {
    let server = Server::dev().await;
    let browser = page(server.trust(), server.link()).await;
    let body = "
        // A timer, which browsers call after 4 ms: a ticker that never rests would itself be what the machine has no time for.
        let [blocks, last, going] = [[], performance.now(), true];
        const tick = () => {
            const now = performance.now();
            blocks.push(Math.max(0, now - last - 4));
            last = now;
            if (going) setTimeout(tick);
        };
        const seen = () => {
            const sorted = blocks.sort((a, b) => a - b);
            blocks = [];
            return {
                longest: sorted.at(-1),
                p99: sorted[Math.floor(sorted.length * 0.99)],
                over8: sorted.filter((block) => block > 8).length,
                ticks: sorted.length,
            };
        };
        const longTasks = [];
        new PerformanceObserver((list) => longTasks.push(...list.getEntries().map(({ duration }) => duration)))
            .observe({ type: 'longtask' });
        const idle = new Promise((ok) => setTimeout(ok, 500));
        tick();
        await idle;
        const atRest = seen();
        last = performance.now();
        const stream = await args.line.createBidirectionalStream('echo');
        const piece = new Uint8Array(65_536);
        let left = 50_000_000;
        const source = new ReadableStream({
            pull: (controller) => {
                controller.enqueue(piece.subarray(0, Math.min(left, piece.length)));
                left -= piece.length;
                if (left <= 0) controller.close();
            },
        }, { highWaterMark: 0 });
        const began = performance.now();
        let back = 0;
        const reading = stream.readable.pipeTo(new WritableStream({ write: (chunk) => void (back += chunk.length) }));
        await Promise.all([source.pipeTo(stream.writable), reading]);
        const took = performance.now() - began;
        going = false;
        return { back, took, longTasks, atRest, meanwhile: seen() };";
    let here = browser.run(&body.replace("args.line", "line"), Value::Null).await;
    println!("in a worker: {here}");
    assert_eq!(here["back"], json!(50_000_000));
    let long = here["longTasks"].as_array().unwrap().iter().chain([&here["meanwhile"]["longest"]]);
    assert!(long.filter_map(Value::as_f64).all(|millis| millis < BLOCKED_MILLIS_MAX), "{here}");
    let open = "
        const { connect } = await import('/duologue.js');
        globalThis.main = connect();
        await main.ready;";
    browser.run(open, Value::Null).await;
    println!("on the page's thread: {}", browser.run(&body.replace("args.line", "main"), Value::Null).await);
    browser.finish().await;
}

#[tokio::test]
async fn browser_worker_goes_on_when_the_browser_shows_a_left_page_again() {
    let server = Server::dev().await;
    let browser = page(server.trust(), server.link()).await;
    let leave = "
        globalThis.kept = [];
        addEventListener('pagehide', ({ persisted }) => kept.push(persisted));
        globalThis.waiting = line.request('echo', 'x');
        setTimeout(() => (location = 'about:blank'));";
    browser.run(leave, Value::Null).await;
    browser.wait_until("location.href === 'about:blank'").await;
    browser.run("setTimeout(() => history.back())", Value::Null).await;
    browser.wait_until("globalThis.kept?.length === 1").await;
    let back = browser
        .run("return [kept, (await waiting).length, (await line.request('echo', 'y')).length]", Value::Null)
        .await;
    assert_eq!(back, json!([[true], 1, 1]));
    browser.finish().await;
}
