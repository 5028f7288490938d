//! What the application gives that cannot be sent, and times that no timer takes: said at once, and at nobody else's cost.
//!
//! ```text
//! the same on the page's own thread and in a worker
//! ```

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    browser::Browser,
    enrolment::stranger,
    page::enrolled,
    server::{Server, target},
    within,
};

/// Runs a body for a link on the page's thread and for one in a worker: `line`, before it is open.
async fn both(browser: &Browser, body: &str) -> [Value; 2] {
    let all = format!(
        "const {{ connect }} = await import('/duologue.js');
        const verdict = (promise) => promise.then(() => 'fulfilled', (error) => [error.name, error.code ?? null, error.delivery ?? null]);
        const found = [];
        for (const worker of [false, true]) {{
            const line = connect({{ worker }});
            found.push(await (async () => {{ {body} }})());
            line.close();
            await line.closed;
        }}
        return found;"
    );
    let mut found = browser.run(&all, Value::Null).await;
    [found[0].take(), found[1].take()]
}

#[tokio::test]
async fn browser_a_request_says_what_cannot_be_sent_and_asks_no_service() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let body = "
        const detached = new Uint8Array(8);
        structuredClone(detached.buffer, { transfer: [detached.buffer] });
        const wrong = [{ a: 1 }, 7, null, undefined, [1, 2], detached, new Uint8Array(17 << 20)];
        const early = await Promise.all(wrong.map((data) => verdict(line.request('echo', data))));
        await line.ready;
        const late = await Promise.all(wrong.map((data) => verdict(line.request('echo', data))));
        const json = await Promise.all([undefined, () => {}, 1n].map((value) => verdict(line.requestJson('echo', value))));
        // What is given away while the line is on its way was taken over.
        const other = connect({ worker });
        const given = new Uint8Array([1, 2, 3]);
        const answer = other.request('echo', given);
        structuredClone(given.buffer, { transfer: [given.buffer] });
        const whole = Array.from(await answer);
        other.close();
        await other.closed;
        return [early, late, json, whole];";
    let type_error = json!(["TypeError", null, null]);
    let too_long = json!(["DuologueError", "message-too-long", "not sent"]);
    let mut verdicts = vec![type_error.clone(); 6];
    verdicts.push(too_long);
    for found in both(&browser, body).await {
        assert_eq!(found, json!([verdicts, verdicts, vec![type_error.clone(); 3], [1, 2, 3]]));
    }
    browser.finish().await;
}

#[tokio::test]
async fn browser_one_bad_message_takes_none_of_its_tick_along() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let body = "
        await line.ready;
        const channel = line.channel('echo');
        const came = [];
        const reading = (async () => { for await (const bytes of channel) came.push(Array.from(bytes).join()); })();
        const good = (number) => verdict(channel.send(new Uint8Array([number])));
        const gone = (length) => {
            const bytes = new Uint8Array(length);
            const sent = verdict(channel.send(bytes));
            structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
            return sent;
        };
        const bare = new Uint8Array(4);
        structuredClone(bare.buffer, { transfer: [bare.buffer] });
        const throws = { get length() { throw new Error('a getter'); }, get byteLength() { throw new Error('a getter'); } };
        const all = [
            gone(4), good(1), good(2), gone(4), good(3), verdict(channel.send(bare)), verdict(channel.send(throws)), gone(100_000), good(4),
            verdict(channel.send({})), verdict(channel.sendJson({ get it() { throw new Error('a getter'); } })), verdict(channel.send(new Uint8Array(17 << 20))), good(5),
        ];
        channel.finish();
        const verdicts = await Promise.all(all);
        await reading;
        return [verdicts, came];";
    let detached = json!(["DuologueError", "detached", "not sent"]);
    let [wrong, getter] = ["TypeError", "Error"].map(|name| json!([name, null, null]));
    let too_long = json!(["DuologueError", "message-too-long", "not sent"]);
    let good = json!("fulfilled");
    let verdicts =
        json!([detached, good, good, detached, good, wrong, wrong, detached, good, wrong, getter, too_long, good]);
    for found in both(&browser, body).await {
        assert_eq!(found, json!([verdicts, ["1", "2", "3", "4", "5"]]));
    }
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_chunk_that_is_given_away_leaves_no_gap_in_a_stream() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let body = "
        await line.ready;
        // Nobody reads at the desk: the chunk waits for room.
        const stream = await line.createBidirectionalStream('echo');
        const writer = stream.writable.getWriter();
        const chunk = new Uint8Array(4_000_000);
        const written = verdict(writer.write(chunk));
        await new Promise((ok) => setTimeout(ok, 300));
        structuredClone(chunk.buffer, { transfer: [chunk.buffer] });
        const reader = stream.readable.getReader();
        const read = verdict((async () => { while (!(await reader.read()).done); })());
        return [await written, await read];";
    for found in both(&browser, body).await {
        assert_eq!(found[0][1], json!("detached"), "{found}");
        assert_eq!(found[1][1], json!("detached"), "{found}");
    }
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_time_is_any_number_of_milliseconds_and_nothing_else() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let body = "
        const text = async (promise) => new TextDecoder().decode(await promise);
        const times = [Infinity, 2 ** 31, 2 ** 32 + 5, Number.MAX_VALUE, 30_000.5];
        const answers = await Promise.all(times.map((timeout) => text(line.request('echo', 'x', { timeout }))));
        const none = [NaN, -1, -Infinity, '5', null, {}, 5n];
        const refused = await Promise.all(none.map((timeout) => verdict(line.request('echo', 'x', { timeout }))));
        const late = await verdict(line.request('echo', 'x', { timeout: 0 }));
        const channel = line.channel('echo');
        const datagrams = [];
        const reading = (async () => { for await (const bytes of channel.datagrams) datagrams.push(new TextDecoder().decode(bytes)); })().catch(() => {});
        times.forEach((deadline, number) => channel.datagrams.send(String(number), { deadline }));
        const thrown = none.map((deadline) => {
            try {
                channel.datagrams.send('x', { deadline });
                return 'sent';
            } catch (error) {
                return error.name;
            }
        });
        while (datagrams.length < times.length) await new Promise((ok) => setTimeout(ok, 10));
        const { expired } = channel.datagrams.stats;
        return [answers, refused, late, datagrams.sort(), thrown, expired];";
    let refused = vec![json!(["RangeError", null, null]); 7];
    let late = json!(["DuologueError", "deadline", null]);
    for found in both(&browser, body).await {
        let expected =
            json!([["x", "x", "x", "x", "x"], refused, late, ["0", "1", "2", "3", "4"], vec!["RangeError"; 7], 0]);
        assert_eq!(found, expected);
    }
    browser.finish().await;
}

#[tokio::test]
async fn a_native_client_takes_the_longest_time_there_is() {
    let server = Server::dev().await;
    let line = within(20, "the line", stranger().connect(&target(server.link()))).await.unwrap();
    assert_eq!(line.request_within(Duration::MAX, "echo", b"x").await.unwrap(), b"x");
    let channel = line.channel("echo").unwrap();
    channel.send_datagram(b"y", Duration::MAX, None).unwrap();
    assert_eq!(within(20, "the datagram to come back", channel.recv_datagram()).await.unwrap(), b"y");
}
