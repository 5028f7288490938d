//! `link.fetch` and the service `http`: a page, the real server, and a backend in this process.
//!
//! The cases of a page are in `fetch/cases.js`, each named for the one of web-platform-tests (fetch/api/) that it mirrors, and
//! in `fetch/foreign.js` what comes from another realm, or from nobody's. Left out, since a line has nothing of the kind:
//!
//! - cors/, credentials/, policies/, crossorigin tests, basic/mode-*, basic/referrer: one origin, no cookies, no referrer. A
//!   request to any other origin is refused, which one case tests;
//! - request/request-cache-*, abort/cache, basic/conditional-get: no cache. What a backend says of one is passed on;
//! - basic/keepalive, request/request-keepalive, fetch-later/: the line ends with its page;
//! - basic/integrity: refused instead, so that nobody believes it was checked;
//! - basic/scheme-blob, -data, -about: the platform's own `fetch` has them;
//! - basic/gzip-body and content-encoding/: the backend is asked for plain bytes, and what it compresses nevertheless arrives
//!   as it is, with its header;
//! - headers/*-immutable: headers of a response can be changed by the page, which harms nobody;
//! - destination/, *-window, multi-globals, serviceworker, idlharness, h2-only: about the platform, not about requests.

mod backend;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use backend::Backend;
use duologue_client::{Client, Keyring, Line};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    browser::{Browser, Profile},
    chance::Chance,
    memory::{descendants, private, resident},
    path::{Cut, Path},
    server::{Server, target, through},
    within,
};

const CASES: &str = concat!(include_str!("fetch/cases.js"), include_str!("fetch/foreign.js"));
const LARGE_LEN: u64 = 1_000_000_000;
/// What page and server may keep above their memory before, while much more passes through.
const MEMORY_MAX: u64 = 32_000_000;
/// What the page may have above it at any time: buffers that were read wait for the browser's collector, which at 100 MB/s
/// lets them be as many as 90 MB, however long the answer is.
const GARBAGE_MAX: u64 = 128_000_000;

/// A server before a backend.
async fn start() -> (Backend, Server) {
    let backend = Backend::start().await;
    let server = Server::dev_with(&["--http", &backend.address]).await;
    (backend, server)
}

/// A page whose `line` is its own, on its thread.
async fn page(server: &Server) -> Browser {
    let browser = Browser::start(&Profile::trusting(server.trust())).await;
    browser.open(server.link()).await;
    browser.wait_for_state("open").await;
    browser.run("globalThis.line = link", Value::Null).await;
    browser
}

/// Runs all cases, names each, and fails if one of them has failed.
async fn run(browser: &Browser, backend: &Backend) {
    let mut failures = Vec::new();
    for group in ["basic", "response", "abort", "redirect", "foreign"] {
        let body = format!("const backend = args[0]; {CASES}; return await run(args[1])");
        let done = browser.run(&body, json!([backend.address, group])).await;
        let done: Vec<(String, Option<String>)> = serde_json::from_value(done).unwrap();
        assert!(!done.is_empty());
        for (name, failure) in done {
            println!("{} {name}", if failure.is_none() { "ok    " } else { "FAILED" });
            failures.extend(failure.map(|why| format!("{name}: {why}")));
        }
    }
    assert!(failures.is_empty(), "these have failed: {failures:#?}");
}

#[tokio::test]
async fn browser_fetch_does_what_the_platforms_does() {
    let (backend, server) = start().await;
    let browser = page(&server).await;
    run(&browser, &backend).await;
    browser.finish().await;
}

/// Firefox and Safari know no streams as bodies of a Request; the line takes them all the same.
#[tokio::test]
async fn browser_fetch_does_the_same_where_a_request_has_no_stream() {
    let (backend, server) = start().await;
    let browser = page(&server).await;
    browser.run("delete Request.prototype.duplex; delete Request.prototype.body", Value::Null).await;
    run(&browser, &backend).await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_fetch_does_the_same_in_a_worker() {
    let (backend, server) = start().await;
    let browser = Browser::start(&Profile::trusting(server.trust())).await;
    let (address, _) = server.link().split_once('#').unwrap();
    browser.open(address).await;
    browser.wait_for_state("closed").await;
    let open = "
        const { connect } = await import('/duologue.js');
        globalThis.line = connect({ invite: args, worker: true });
        // What is asked before the line is open waits for it.
        return await (await line.fetch('/text?body=first')).text();";
    assert_eq!(browser.run(open, json!(server.link())).await, json!("first"));
    run(&browser, &backend).await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_fetch_names_why_there_is_no_answer() {
    // Nothing listens there.
    let server = Server::dev_with(&["--http", "http://127.0.0.1:9"]).await;
    let browser = page(&server).await;
    let body = "return await line.fetch('/').catch((error) => [error.name, error.message, error.cause.name, error.cause.code])";
    let text = "Failed to fetch: the server behind this line cannot be reached";
    assert_eq!(browser.run(body, Value::Null).await, json!(["TypeError", text, "DuologueError", "unreachable"]));
    let refused = "return await line.fetch('/', { headers: { 'X-Forwarded-For': '1.2.3.4' } }).catch((error) => error.cause.code)";
    assert_eq!(browser.run(refused, Value::Null).await, json!("bad-request"));
    browser.finish().await;

    let server = Server::dev().await;
    let browser = page(&server).await;
    let none = "return await line.fetch('/').catch((error) => [error.name, error.cause.code])";
    assert_eq!(browser.run(none, Value::Null).await, json!(["TypeError", "refused"]));
    let closed = "
        line.close();
        await line.closed;
        return await line.fetch('/').catch((error) => [error.name, error.cause.code])";
    assert_eq!(browser.run(closed, Value::Null).await, json!(["TypeError", "normal"]));
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_hundred_requests_at_once_are_all_answered() {
    let (_backend, server) = start().await;
    let browser = page(&server).await;
    let body = "
        const began = performance.now();
        const numbers = Array.from({ length: 100 }, (_, number) => number);
        const texts = await Promise.all(numbers.map(async (number) => {
            const init = number % 2 ? { method: 'POST', body: new Uint8Array(20_000) } : {};
            const response = await line.fetch(`/text?body=${number}`, init);
            return Number(await response.text());
        }));
        return [texts.every((text, number) => text === number), performance.now() - began];";
    let answered = browser.run(body, Value::Null).await;
    println!("a hundred requests took {} ms", answered[1]);
    assert_eq!(answered[0], json!(true));
    let late = "
        const texts = await Promise.all(Array.from({ length: 100 }, () =>
            line.fetch('/late?millis=500').then((response) => response.text())));
        return texts.every((text) => text === 'late')";
    let began = Instant::now();
    assert_eq!(browser.run(late, Value::Null).await, json!(true));
    assert!(began.elapsed() < Duration::from_secs(10), "they wait side by side, {:?}", began.elapsed());
    browser.finish().await;
}

#[tokio::test]
async fn browser_fetch_goes_on_where_it_was_when_the_connection_is_cut() {
    const CUTS: usize = 6;
    let mut chance = Chance::new();
    let (_backend, server) = start().await;
    let path = Path::to(&server).await;
    let browser = Browser::start(&Profile::trusting(server.trust())).await;
    browser.open(&through(server.link(), path.port)).await;
    browser.wait_for_state("open").await;
    let begin = "
        globalThis.seen = { down: 0, wrong: 0, up: null };
        const len = 12_000_000;
        const slowly = () => new Promise((ok) => setTimeout(ok, 20));
        globalThis.finished = Promise.all([
            (async () => {
                const reader = (await link.fetch(`/bytes?len=${len}`)).body.getReader();
                for (let step; !(step = await reader.read()).done; await slowly()) {
                    seen.wrong += step.value.some((byte, at) => byte !== ((seen.down + at) % 65_536) % 251);
                    seen.down += step.value.length;
                }
            })(),
            (async () => {
                let left = 2_000_000;
                const pull = (controller) => slowly().then(() => {
                    controller.enqueue(new Uint8Array(20_000));
                    if ((left -= 20_000) === 0) controller.close();
                });
                const init = { method: 'POST', duplex: 'half', body: new ReadableStream({ pull }) };
                seen.up = (await (await link.fetch('/inspect', init)).json()).length;
            })(),
        ]).then(() => 'done', (error) => `${error}`);";
    browser.run(begin, Value::Null).await;
    for _ in 0..CUTS {
        tokio::time::sleep(Duration::from_millis(200 + chance.below(200) as u64)).await;
        path.cut(Cut::Both);
        browser.run("await link.request('echo', 'through it')", Value::Null).await;
    }
    let end = browser.run("return [await finished, seen]", Value::Null).await;
    assert_eq!(end, json!(["done", { "down": 12_000_000, "wrong": 0, "up": 2_000_000 }]));
    assert!(path.connections() > CUTS, "{} connections for {CUTS} cuts", path.connections());
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_large_answer_leaves_the_pages_memory_flat() {
    let (_backend, server) = start().await;
    let browser = page(&server).await;
    let begin = "
        globalThis.seen = 0;
        globalThis.read = async (len) => {
            const response = await line.fetch(`/bytes?len=${len}`);
            const reader = response.body.getReader();
            seen = 0;
            for (let step; !(step = await reader.read()).done; ) seen += step.value.length;
        };
        await read(20_000_000);";
    browser.run(begin, Value::Null).await;
    let page_memory =
        |browser: u32| descendants(browser, "--type=renderer").into_iter().map(resident).max().unwrap_or(0);
    let (idle_page, idle_server) = (page_memory(browser.pid()), resident(server.pid()));
    let done = Arc::new(AtomicBool::new(false));
    let (is_done, pids) = (Arc::clone(&done), (browser.pid(), server.pid()));
    let watcher = std::thread::spawn(move || {
        let mut seen = Vec::new();
        while !is_done.load(Ordering::Relaxed) {
            seen.push((page_memory(pids.0), resident(pids.1)));
            std::thread::sleep(Duration::from_millis(50));
        }
        seen
    });
    let began = Instant::now();
    browser.run("globalThis.reading = read(args).then(() => (globalThis.done = true))", json!(LARGE_LEN)).await;
    browser.wait_until_within(240, "globalThis.done").await;
    let took = began.elapsed();
    done.store(true, Ordering::Relaxed);
    let seen = watcher.join().unwrap();
    assert_eq!(browser.run("return seen", Value::Null).await, json!(LARGE_LEN));
    let above = |of: Option<u64>, idle: u64| of.expect("it was looked at").saturating_sub(idle);
    let page = |seen: &[(u64, u64)]| seen.iter().map(|(page, _)| *page).collect::<Vec<_>>();
    let highest = above(page(&seen).into_iter().max(), idle_page);
    let kept = above(page(&seen[seen.len() / 2..]).into_iter().min(), idle_page);
    let other = above(seen.iter().map(|(_, server)| *server).max(), idle_server);
    println!("{LARGE_LEN} bytes took {took:?}; above idle: page {highest}, and kept {kept}; server {other} bytes");
    assert!(kept <= MEMORY_MAX, "the page keeps {kept} bytes");
    assert!(highest <= GARBAGE_MAX, "the page's memory rose by {highest} bytes");
    assert!(other <= MEMORY_MAX, "the server's memory rose by {other} bytes");
    browser.finish().await;
}

/// A file of 600 MB (whole form; else of 100 MB) was once copied into memory before its first byte left, 5 to 14 s later.
#[tokio::test]
async fn browser_a_large_file_is_sent_as_it_is_read() {
    const IDLE_SAMPLES: usize = 20;
    const PRIVATE_MEDIAN_MAX: u64 = 32 << 20;
    const PRIVATE_MAX: u64 = 64 << 20;
    const FIRST_BYTE_MAX: Duration = Duration::from_millis(200);
    let len: u64 = if std::env::var_os("DUOLOGUE_LONG").is_some() { 600_000_000 } else { 100_000_000 };
    let (backend, server) = start().await;
    let browser = page(&server).await;
    let file = tempfile::NamedTempFile::with_suffix(".bin").unwrap();
    file.as_file().set_len(len).unwrap();
    let begin = "
        const field = document.createElement('input');
        field.type = 'file';
        field.id = 'large';
        document.body.prepend(field);
        const { connect } = await import('/duologue.js');
        // The page's own is in a shared worker; these are on its thread and in a worker of their own.
        globalThis.lines = { page: line, thread: connect() };
        await lines.thread.ready;
        lines.worker = connect({ worker: true });
        await lines.worker.ready;
        // As it is later, with a file that needs no room: what is loaded at the first use is no part of a file's cost.
        globalThis.ask = async (way, key) => {
            const body = document.getElementById('large').files[0] ?? new Blob(['small']);
            const [on, isRequest] = way;
            const init = { method: 'POST', body };
            const path = `/sink?key=${key}`;
            return (await lines[on].fetch(isRequest ? new Request(path, init) : path, isRequest ? undefined : init)).json();
        };
        for (const on in lines) await ask([on, false], 'small');";
    browser.run(begin, Value::Null).await;
    browser.type_into("#large", file.path().to_str().unwrap()).await;
    let root = browser.pid();
    let renderers = move || descendants(root, "--type=renderer").into_iter().map(private).sum::<u64>();
    let median = |mut of: Vec<u64>| {
        of.sort_unstable();
        of[of.len() / 2]
    };
    for (on, is_request) in [("thread", false), ("thread", true), ("worker", false), ("page", false), ("page", true)] {
        let key = format!("{on}-{is_request}");
        let mut idle = Vec::new();
        for _ in 0..IDLE_SAMPLES {
            tokio::time::sleep(Duration::from_millis(100)).await;
            idle.push(renderers());
        }
        let idle = median(idle);
        let done = Arc::new(AtomicBool::new(false));
        let is_done = Arc::clone(&done);
        let watcher = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while !is_done.load(Ordering::Relaxed) {
                seen.push(renderers());
                std::thread::sleep(Duration::from_millis(100));
            }
            seen
        });
        let began = Instant::now();
        let ask = "
            globalThis.told = undefined;
            ask(args[0], args[1]).then((told) => (globalThis.told = told), (error) => (globalThis.told = String(error)));";
        browser.run(ask, json!([[on, is_request], key])).await;
        browser.wait_until_within(240, "globalThis.told").await;
        let took = began.elapsed();
        done.store(true, Ordering::Relaxed);
        let seen: Vec<u64> = watcher.join().unwrap().into_iter().map(|seen| seen.saturating_sub(idle)).collect();
        let first = backend.first_byte(&key).expect("it came").duration_since(began);
        let (middle, highest) = (median(seen.clone()), seen.iter().copied().max().unwrap());
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        println!(
            "{len} bytes {key}: {took:?}, first byte after {first:?}; private memory above idle ({:.1} MiB): median {:.1}, highest {:.1} MiB of {} samples",
            mib(idle),
            mib(middle),
            mib(highest),
            seen.len()
        );
        let told = browser.run("return told", Value::Null).await;
        // Of a Request, browsers tell no length.
        let announced = if is_request { Value::Null } else { json!(len.to_string()) };
        assert_eq!(told, json!([len, announced]), "{key}");
        assert!(first <= FIRST_BYTE_MAX, "{key}: the first byte comes after {first:?}");
        assert!(middle <= PRIVATE_MEDIAN_MAX, "{key}: {middle} bytes above idle");
        assert!(highest <= PRIVATE_MAX, "{key}: {highest} bytes above idle at the highest");
    }
    browser.finish().await;
}

/// A line on a path, in a document that has nothing but the library: the page's service worker would have kept its scripts.
async fn bare(server: &Server, path: &Path) -> Browser {
    let browser = Browser::start(&Profile::trusting(server.trust())).await;
    let link = through(server.link(), path.port);
    let (address, _) = link.split_once('#').unwrap();
    browser.open(&format!("{address}page/words-en.txt")).await;
    let open = "
        globalThis.library = await import('/duologue.js');
        globalThis.line = library.connect({ invite: args });
        await line.ready;";
    browser.run(open, json!(link)).await;
    browser
}

/// Its script could once not be loaded then, and the request failed.
#[tokio::test]
async fn browser_the_first_fetch_waits_for_the_network_with_its_script() {
    let (_backend, server) = start().await;
    let path = Path::to(&server).await;
    let browser = bare(&server, &path).await;
    path.lead_nowhere();
    // At once, before the page has noticed; after that; and what is given up while it waits.
    let ask = "
        const say = (asked) => asked.then((response) => response.text(), ({ name, message }) => `${name}: ${message}`);
        const { signal } = (globalThis.abortion = new AbortController());
        globalThis.began = performance.now();
        globalThis.answers = [say(line.fetch('/text?body=first')), say(line.fetch('/text', { signal }))]";
    browser.run(ask, Value::Null).await;
    path.cut(Cut::Both);
    browser.wait_until("line.state === 'resuming'").await;
    let given_up = "
        const say = (asked) => asked.then((response) => response.text(), ({ name, message }) => `${name}: ${message}`);
        answers.push(say(line.fetch('/text?body=second')));
        abortion.abort(new Error('mine'));
        return await answers[1];";
    assert_eq!(browser.run(given_up, Value::Null).await, json!("Error: mine"));
    tokio::time::sleep(Duration::from_secs(3)).await;
    path.lead_to(server.port);
    let answers = browser.run("return await Promise.all([answers[0], answers[2]])", Value::Null).await;
    assert_eq!(answers, json!(["first", "second"]));
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_first_fetch_that_waits_ends_with_the_link() {
    let (_backend, server) = start().await;
    let path = Path::to(&server).await;
    let browser = bare(&server, &path).await;
    path.lead_nowhere();
    path.cut(Cut::Both);
    browser.wait_until("line.state === 'resuming'").await;
    let ask = "
        const asked = line.fetch('/text').catch((error) => [error.name, error.cause.name, error.cause.code]);
        await new Promise((ok) => setTimeout(ok, 500));
        line.close();
        return await asked;";
    assert_eq!(browser.run(ask, Value::Null).await, json!(["TypeError", "DuologueError", "normal"]));
    browser.finish().await;
}

/// What a link needs to begin is loaded on demand too; the identity here is the caller's.
#[tokio::test]
async fn browser_a_link_waits_for_the_script_that_it_cannot_begin_without() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = bare(&server, &path).await;
    path.lead_nowhere();
    path.cut(Cut::Both);
    let begin = "
        let bytes;
        const identity = { load: async () => bytes, store: async (next) => void (bytes = next) };
        globalThis.other = library.connect({ invite: args, identity });
        await new Promise((ok) => setTimeout(ok, 2000));
        return other.state;";
    let invite = through(&server.invite("1h").await, path.port);
    assert_eq!(browser.run(begin, json!(invite)).await, json!("connecting"));
    path.lead_to(server.port);
    browser.run("await other.ready", Value::Null).await;
    browser.finish().await;
}

/// A native client that says what it likes, and its id.
async fn native(server: &Server) -> (Line, String) {
    let keyring = Keyring::in_memory();
    let device = duologue::DeviceId::of_spki(keyring.device().spki()).to_string();
    let client = Client::new(keyring).named("Zoé \u{1b}");
    let line = within(20, "a line", client.connect(&target(server.link()))).await.unwrap();
    (line, device)
}

/// What the service says to these bytes and the end of the direction.
async fn answer_to(line: &Line, bytes: &[u8]) -> Vec<u8> {
    let mut stream = line.stream("http").unwrap();
    stream.write_all(bytes).await.unwrap();
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = within(20, "an answer", stream.read_to_end(&mut answer)).await;
    answer
}

fn head_of(answer: &[u8]) -> Value {
    let line = answer.split(|&byte| byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(answer)))
}

#[tokio::test]
async fn a_client_that_smuggles_is_refused_and_the_backend_hears_nothing() {
    let (backend, server) = start().await;
    let (line, _device) = native(&server).await;
    let with = |headers: Value| json!({ "method": "GET", "target": "/inspect", "headers": headers, "length": 0 });
    let one = |name: &str, value: &str| with(json!([[name, value]]));
    let asks = |method: &str, target: &str| json!({ "method": method, "target": target, "headers": [], "length": 0 });
    let hostile = [
        one("duologue-device", "me"),
        one("Duologue_Device", "me"),
        one("duologue-level", "9"),
        one("X-Forwarded-For", "10.0.0.1"),
        one("x_forwarded_for", "10.0.0.1"),
        one("Forwarded", "for=10.0.0.1"),
        one("X-Real-IP", "10.0.0.1"),
        one("Host", "admin.internal"),
        one("Content-Length", "0"),
        one("content-length", "44"),
        one("a\r\nduologue-device", "me"),
        one("a", "b\r\nduologue-device: me"),
        one("a", "b\r\n\r\nGET /admin HTTP/1.1\r\nhost: x"),
        one("a", "b\nc"),
        one("a", "b\0c"),
        one("a: b", "c"),
        one("", "c"),
        one("a", "\u{20ac}"),
        with(json!(vec![["a", "b"]; 101])),
        asks("CONNECT", "/"),
        asks("TRACE", "/"),
        asks("GET / HTTP/1.1\r\nduologue-device: me\r\n\r\nGET", "/"),
        asks("GET", "http://169.254.169.254/latest"),
        asks("GET", "//../etc/passwd"),
        asks("GET", "/a/../admin"),
        asks("GET", "/%2e%2E/admin"),
        asks("GET", "/a%2f..%2fadmin"),
        asks("GET", "/ HTTP/1.1\r\nduologue-device: me\r\n\r\n"),
        asks("GET", "@evil.example/"),
        asks("GET", "*"),
        json!({ "method": "GET", "target": "/", "headers": [], "length": 0, "host": "x" }),
        json!({ "method": "GET", "target": "/", "headers": [], "length": 3 }),
    ];
    // A device that tries more often is banned: here each tries some.
    for some in hostile.chunks(15) {
        let client = Client::new(Keyring::in_memory());
        let invited = target(&server.invite("1h").await);
        let line = within(20, "a line", client.connect(&invited)).await.unwrap();
        for head in some {
            let answer = head_of(&answer_to(&line, format!("{head}\n").as_bytes()).await);
            assert_eq!(answer["error"], json!("bad-request"), "{head}: {answer}");
        }
    }
    let raw: [&[u8]; 5] = [b"GET / HTTP/1.1\r\n\r\n", b"\n", b"{}", &[b'x'; 70_000], b"\xff\xfe\n"];
    for bytes in raw {
        let answer = head_of(&answer_to(&line, bytes).await);
        assert_eq!(answer["error"], json!("bad-request"), "{answer}");
    }
    let more = format!("{}\nGET /admin HTTP/1.1\r\n\r\n", asks("GET", "/inspect"));
    assert_eq!(head_of(&answer_to(&line, more.as_bytes()).await)["error"], json!("bad-body"));
    assert_eq!(backend.hits(), 0, "nothing of it reaches the backend");
    // A body that is not as long as it says never is a whole one there.
    for (length, body) in [(5, "1234"), (3, "1234"), (1, "1GET /admin HTTP/1.1\r\n\r\n")] {
        let head = json!({ "method": "POST", "target": "/inspect", "headers": [], "length": length });
        let answer = head_of(&answer_to(&line, format!("{head}\n{body}").as_bytes()).await);
        assert_eq!(answer["error"], json!("bad-body"), "{answer}");
    }
    // And the line is as good as before.
    let answer = answer_to(&line, format!("{}\n", asks("GET", "/text?body=fine")).as_bytes()).await;
    assert!(answer.ends_with(b"fine"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn the_backend_is_told_apart_what_is_proved_seen_and_said() {
    let (backend, server) = start().await;
    let (line, device) = native(&server).await;
    let head = json!({ "method": "GET", "target": "/inspect", "length": 0, "headers": [
        ["Connection", "x-hop, duologue-device"], ["x-hop", "1"], ["Transfer-Encoding", "chunked"], ["Upgrade", "h2c"],
        ["Proxy", "http://evil"], ["Accept-Encoding", "gzip"], ["x-own", "caf\u{e9}"],
    ] });
    let answer = answer_to(&line, format!("{head}\n").as_bytes()).await;
    let body = answer.split(|&byte| byte == b'\n').nth(1).unwrap();
    let told: Value = serde_json::from_slice(body).unwrap();
    let mut headers: Vec<(String, String)> = serde_json::from_value(told["headers"].clone()).unwrap();
    headers.sort();
    // 128 random bits, base64url, of each request its own.
    let of_it = headers.iter().position(|(name, _)| name == "duologue-request").expect("it is told");
    assert_eq!(headers.remove(of_it).1.len(), 22);
    let host = backend.address.strip_prefix("http://").unwrap();
    let expected = [
        ("accept-encoding", "identity"),
        ("duologue-address", "127.0.0.1"),
        ("duologue-device", &device),
        ("duologue-level", "1"),
        ("duologue-said-name", "Zo%C3%A9%20%1B"),
        ("host", host),
        ("x-own", "caf\u{e9}"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(headers, expected);

    // A page is told by its origin too, and another host is asked for where one is configured.
    let server = Server::dev_with(&["--http", &format!("{}/", backend.address), "--http-host", "app.example"]).await;
    let browser = page(&server).await;
    let told = browser.run("return (await line.fetch('/inspect')).json()", Value::Null).await;
    let headers: Vec<(String, String)> = serde_json::from_value(told["headers"].clone()).unwrap();
    let value = |name: &str| headers.iter().find(|(is, _)| is == name).map(|(_, value)| value.clone());
    assert_eq!(value("duologue-origin"), Some(server.address()));
    assert_eq!(value("host").as_deref(), Some("app.example"));
    browser.finish().await;
}
