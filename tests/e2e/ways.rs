//! Where a line goes on when its first context cannot have it: from the shared worker to one of the page, and to the page's
//! own thread.
//!
//! ```text
//! the proxy answers some paths itself: scripts of workers in which no socket opens, and pages with another policy
//! ```
//!
//! What such a context is to a line is what Chromium's shared workers are where a person has accepted a certificate: no socket
//! opens there, while all the rest of the page reaches the server.

use serde_json::{Value, json};

use crate::{
    browser::Browser,
    page_middleman::open_through,
    path::{Cut, Path},
    proxy::Proxy,
    server::Server,
};

/// A worker's script in which sockets lead nowhere, if `WHERE` has a name that its context has.
const DEAF: &str = "
    import '/worker.js';
    if (['WHERE'].some((name) => name in globalThis)) {
        globalThis.WebSocket = class extends WebSocket {
            constructor(url, protocols) {
                // Each to an address of its own: Firefox waits longer each time before it calls one that has failed.
                const [a, b] = crypto.getRandomValues(new Uint8Array(2));
                super(`wss://127.1.${a}.${b}:1/line`, protocols);
            }
        };
    }";
const SCRIPT: &str =
    "content-type: text/javascript\r\ncache-control: no-store\r\ncross-origin-embedder-policy: require-corp";
/// What the page's own line runs in, in development.
const OWN: &str = "/page/breakable.js";
const SHARED: &str = "SharedWorkerGlobalScope";
const ANY_WORKER: &str = "WorkerGlobalScope";

async fn deaf(proxy: &Proxy, contexts: &str) {
    proxy.answer(OWN, SCRIPT, &DEAF.replace("WHERE", contexts));
}

/// A page with another policy at `/other`, enrolled, whose own line is not there.
pub(crate) async fn with_policy(proxy: &Proxy, server: &Server, headers: &str) -> Browser {
    proxy.answer("/other", headers, "<!doctype html><meta charset=utf-8><title>Another page</title>");
    let browser = open_through(proxy, server).await;
    browser.open(&format!("{}/other", proxy.address())).await;
    browser
}

#[tokio::test]
async fn browser_tabs_have_a_line_each_where_none_opens_in_a_shared_worker() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    deaf(&proxy, SHARED).await;
    let browser = open_through(&proxy, &server).await;
    let context = "return [link.context, link.state, document.documentElement.dataset.code ?? null]";
    assert_eq!(browser.run(context, Value::Null).await, json!(["worker", "open", null]));
    assert_eq!(browser.echo(b"first").await.unwrap(), b"first");
    let first = browser.current_tab().await;
    browser.open_tab(&proxy.address()).await;
    browser.wait_for_state("open").await;
    assert_eq!(browser.run(context, Value::Null).await, json!(["worker", "open", null]));
    assert_eq!(browser.echo(b"second").await.unwrap(), b"second");
    assert_eq!(proxy.log().lines().len(), 2, "a socket for each");
    assert_eq!(server.devices().await.len(), 1, "of one device");

    // At its next load a page tries the shared worker again.
    proxy.answer_no_more(OWN);
    browser.close_tab(&first).await;
    assert_eq!(browser.echo(b"the other").await.unwrap(), b"the other");
    // The one that no line is in ends a second after its last page has left it.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    browser.reload().await;
    browser.wait_for_state("open").await;
    assert_eq!(browser.run("return link.context", Value::Null).await, json!("shared"));
    browser.finish().await;
}

#[tokio::test]
async fn browser_what_was_given_to_a_context_that_cannot_connect_moves_along_once_and_in_order() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    proxy.answer("/deaf.js", SCRIPT, &DEAF.replace("WHERE", ANY_WORKER));
    let browser = open_through(&proxy, &server).await;
    let body = "
        link.close();
        await link.closed;
        const { connect } = await import('/duologue.js');
        const found = [];
        for (const worker of args.slice(0, 2).map((where) => where === 'url' ? new URL('/deaf.js', location.href) : new Worker('/deaf.js', { type: 'module' }))) {
            const line = connect({ worker });
            const states = [];
            line.addEventListener('statechange', () => states.push(line.state));
            // All before anything is open: more messages than the way to a worker has room for, a stream, datagrams.
            const channel = line.channel('echo');
            const sent = [];
            for (let number = 0; number < 3_000; number++) sent.push(channel.send(JSON.stringify([number, 'x'.repeat(1_000)])));
            const datagram = (async () => { for await (const bytes of channel.datagrams) return new TextDecoder().decode(bytes); })();
            channel.datagrams.send('too late', { deadline: 0 });
            channel.datagrams.send('in time', { deadline: 30_000 });
            const stream = await line.createBidirectionalStream('echo');
            const bytes = new Uint8Array(700_000);
            for (let at = 0; at < bytes.length; at += 50_000) crypto.getRandomValues(bytes.subarray(at, at + 50_000));
            const writing = new Blob([bytes]).stream().pipeTo(stream.writable);
            const answer = line.request('echo', 'asked early');
            const back = new Uint8Array(await new Response(stream.readable).arrayBuffer());
            await writing;
            const came = [];
            for await (const [number] of channel.json()) if (came.push(number) === 3_000) break;
            await Promise.all(sent);
            const { expired } = channel.datagrams.stats;
            found.push([
                line.context, states.join(), new TextDecoder().decode(await answer),
                back.length === bytes.length && back.every((byte, at) => byte === bytes[at]),
                came.every((number, at) => number === at), await datagram, expired,
            ]);
            line.close();
            await line.closed;
        }
        return found;";
    let found = browser.run(body, json!(["url", "worker"])).await;
    let whole = json!(["page", "open", "asked early", true, true, "in time", 1]);
    assert_eq!(found, json!([whole, whole]));
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_server_that_is_down_sends_no_tab_to_a_line_of_its_own() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    // What decides is there, so that it is no failure to load it, and so is the worker.
    let before = "
        await import('/ways.js');
        await import('/why.js');
        const { connect } = await import('/duologue.js');
        globalThis.beside = connect({ worker: new URL('/page/breakable.js', location.href) });
        await beside.ready;";
    browser.run(before, Value::Null).await;
    path.lead_nowhere();
    path.cut(Cut::Both);
    let body = "
        for (const line of [link, beside]) {
            line.close();
            await line.closed;
        }
        globalThis.made = [];
        globalThis.Worker = class { constructor(url) { made.push(String(url)); throw new Error('not here'); } };
        const { connect } = await import('/duologue.js');
        // In the worker that runs already.
        const line = connect({ worker: new URL('/page/breakable.js', location.href) });
        const sent = line.channel('echo').send('x').catch((error) => [error.code, error.delivery]);
        const { code } = await line.closed;
        return [code, await sent, line.context, made];";
    let down = json!(["unreachable", ["unreachable", "not sent"], "shared", []]);
    assert_eq!(browser.run(body, Value::Null).await, down);
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_page_that_may_have_no_workers_has_its_line_itself() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let open = "
        const { connect } = await import('/duologue.js');
        const found = [];
        for (const worker of ['shared', true, new URL('/page/breakable.js', location.href)]) {
            const line = connect({ worker });
            found.push([new TextDecoder().decode(await line.request('echo', 'x')), line.context]);
            line.close();
            await line.closed;
        }
        return found;";
    let here = json!([["x", "page"], ["x", "page"], ["x", "page"]]);
    let browser = with_policy(
        &proxy,
        &server,
        "content-type: text/html\r\ncontent-security-policy: script-src 'self' 'wasm-unsafe-eval'; worker-src 'none'",
    )
    .await;
    assert_eq!(browser.run(open, Value::Null).await, here);
    let typed = "content-type: text/html\r\ncontent-security-policy: require-trusted-types-for 'script'; script-src 'self' 'wasm-unsafe-eval'";
    proxy.answer("/other", typed, "<!doctype html><title>x</title>");
    browser.reload().await;
    let found = browser.run(open, Value::Null).await;
    // Firefox 153 and WebKitGTK 2.50 may have no such types.
    let has_types = browser.run("return 'trustedTypes' in globalThis", Value::Null).await == json!(true);
    assert!(!has_types || found == here, "{found}");
    // As where storage is refused to a page.
    let refused = format!(
        "const refuse = class {{ constructor() {{ throw new DOMException('Access is denied', 'SecurityError'); }} }};
        globalThis.SharedWorker = refuse;
        globalThis.Worker = refuse;
        {open}"
    );
    assert_eq!(browser.run(&refused, Value::Null).await, here);
    // The violations are what this is about.
    browser.log().await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_worker_that_fails_before_it_has_a_line_is_left() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    // No WebAssembly there; a script that breaks; none.
    proxy.answer("/bare.js", SCRIPT, "import '/worker.js'; delete globalThis.WebAssembly;");
    proxy.answer("/broken.js", SCRIPT, "import '/worker.js'; setTimeout(() => { throw new Error('broken'); });");
    let browser = open_through(&proxy, &server).await;
    let body = "
        link.close();
        const { connect } = await import('/duologue.js');
        const found = [];
        for (const script of ['/bare.js', '/broken.js', '/nothing.js']) {
            // A shared worker breaks for nobody before it has a page.
            for (const Kind of script === '/broken.js' ? [Worker] : [Worker, SharedWorker]) {
                const line = connect({ worker: new Kind(script, { type: 'module' }) });
                const answer = new TextDecoder().decode(await line.request('echo', script));
                found.push([script, answer === script, line.context]);
                line.close();
                await line.closed;
            }
        }
        return found;";
    let found = browser.run(body, Value::Null).await;
    let left = |script: &str, to: &str| json!([script, true, to]);
    let bare = [left("/bare.js", "page"), left("/bare.js", "worker")];
    let missing = [left("/nothing.js", "page"), left("/nothing.js", "worker")];
    assert_eq!(found, json!([bare.as_slice(), &[left("/broken.js", "page")], &missing].concat()));
    browser.log().await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_the_seventeenth_line_of_a_device_waits_for_a_place_by_name() {
    let mut server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    deaf(&proxy, SHARED).await;
    let browser = open_through(&proxy, &server).await;
    let first = browser.current_tab().await;
    let body = "
        const { connect } = await import('/duologue.js');
        globalThis.lines = [];
        for (let number = 0; number < 15; number++) {
            const line = connect({ worker: new URL('/page/breakable.js', location.href) });
            await line.ready;
            lines.push(line);
        }
        return lines.map((line) => line.state).join();";
    let open = browser.run(body, Value::Null).await;
    assert_eq!(open, json!(["open"; 15].join(",")));
    let second = browser.open_tab(&proxy.address()).await;
    browser.wait_for_state("waiting").await;
    let early = "globalThis.early = link.request('echo', 'said while it waited')";
    browser.run(&format!("{early}; return link.state"), Value::Null).await;
    println!("{}", browser.text("#state").await);
    // The first is none the worse.
    browser.switch_to(&first).await;
    assert_eq!(browser.echo(b"the first").await.unwrap(), b"the first");
    assert_eq!(
        browser.run("return lines.filter(({ state }) => state === 'open').length", Value::Null).await,
        json!(15)
    );
    browser.run("lines[3].close(); await lines[3].closed", Value::Null).await;
    browser.switch_to(&second).await;
    browser.wait_for_state("open").await;
    let said = browser.run("return new TextDecoder().decode(await early)", Value::Null).await;
    assert_eq!(said, json!("said while it waited"));
    server.assert_alive();
    browser.finish().await;
}
