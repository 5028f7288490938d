//! What a browser, a policy or a storage refuses to a line: each has a word of its own, and comes at once.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    browser::{Browser, Engine, Profile},
    page::enrolled,
    proxy::Proxy,
    server::{SERVED_NAME, Server, through},
    ways::with_policy,
};

const HTML: &str = "<!doctype html><meta charset=utf-8><title>Another page</title>";

/// How a link ends that is opened with these options: code, reason, whether soon.
const END: &str = "
    const { connect } = await import('/duologue.js');
    const began = performance.now();
    const { code, reason } = await connect(OPTIONS).closed;
    return [code, reason, performance.now() - began < 5_000];";

async fn end(browser: &Browser, before: &str, options: &str) -> (String, String) {
    let how = browser.run(&format!("{before}; {}", END.replace("OPTIONS", options)), Value::Null).await;
    println!("{how}");
    assert_eq!(how[2], json!(true), "{how}");
    let text = |at: usize| how[at].as_str().unwrap().to_owned();
    (text(0), text(1))
}

#[tokio::test]
async fn browser_a_policy_that_forbids_the_socket_is_told_at_once_in_every_context() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let module = format!("connect-src {}/duologue_core_bg.wasm", proxy.address());
    let html = format!("content-type: text/html\r\ncontent-security-policy: {module}");
    let script = format!(
        "content-type: text/javascript\r\ncross-origin-embedder-policy: require-corp\r\ncontent-security-policy: {module}"
    );
    proxy.answer("/strict.js", &script, "import '/worker.js';");
    let browser = with_policy(&proxy, &server, &html).await;
    for options in ["{}", "{ worker: new URL('/strict.js', location.href) }"] {
        let (code, reason) = end(&browser, "", options).await;
        assert_eq!(code, "blocked-by-policy", "{options}: {reason}");
        assert!(reason.contains("connect-src") && reason.contains("wss://localhost"), "{reason}");
    }
    // A worker has the policy of its own script.
    let open = "
        const { connect } = await import('/duologue.js');
        const line = connect({ worker: true });
        return [new TextDecoder().decode(await line.request('echo', 'x')), line.context];";
    assert_eq!(browser.run(open, Value::Null).await, json!(["x", "worker"]));
    proxy.answer("/other", "content-type: text/html", HTML);
    browser.reload().await;
    let open = open.replace("worker: true", "worker: new URL('/strict.js', location.href)");
    assert_eq!(browser.run(&open, Value::Null).await, json!(["x", "page"]), "what its worker may not, the page may");
    browser.log().await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_page_without_webassembly_is_told_so() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let html = "content-type: text/html\r\ncontent-security-policy: script-src 'self'; worker-src 'none'";
    let browser = with_policy(&proxy, &server, html).await;
    for options in ["{}", "{ worker: 'shared' }"] {
        let (code, reason) = end(&browser, "", options).await;
        assert_eq!(code, "wasm-blocked", "{reason}");
        assert!(reason.contains("'wasm-unsafe-eval'"), "{reason}");
    }
    browser.log().await;
    proxy.answer("/other", "content-type: text/html", HTML);
    browser.reload().await;
    let (code, reason) = end(&browser, "delete globalThis.WebAssembly", "{}").await;
    assert_eq!((code.as_str(), reason.contains("WebAssembly")), ("no-wasm", true), "{reason}");
    // Of the two that there are, either does.
    proxy.answer("/duologue_snapshots_bg.wasm", "content-type: application/wasm", "not what it should be");
    browser.reload().await;
    let open = "
        const { connect } = await import('/duologue.js');
        return new TextDecoder().decode(await connect().request('echo', 'x'));";
    assert_eq!(browser.run(open, Value::Null).await, json!("x"));
    proxy.answer("/duologue_core_bg.wasm", "content-type: application/wasm", "not what it should be");
    browser.reload().await;
    let (code, reason) = end(&browser, "", "{}").await;
    assert!(["no-wasm", "not-loaded"].contains(&code.as_str()), "{code}: {reason}");
    browser.log().await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_storage_that_refuses_is_full_damaged_or_stuck_is_told_by_name() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let browser = with_policy(&proxy, &server, "content-type: text/html").await;
    let remade = |version: u32, stores: &str| {
        format!(
            "await new Promise((ok, no) => Object.assign(indexedDB.deleteDatabase('duologue'), {{ onsuccess: ok, onerror: no }}));
            await new Promise((ok, no) => Object.assign(indexedDB.open('duologue', {version}), {{
                onupgradeneeded: ({{ target }}) => {{ const database = target.result; {stores} }},
                onsuccess: ({{ target }}) => ok(target.result.close()), onerror: no,
            }}))"
        )
    };
    let fails = |name: &str, what: &str| {
        format!("{what} = () => {{ throw new DOMException('as the browser has it', '{name}'); }}")
    };
    let refused = fails("SecurityError", "IDBFactory.prototype.open");
    let full = fails("QuotaExceededError", "IDBObjectStore.prototype.add");
    let cases = [
        (refused, "store-refused", "private mode"),
        (format!("{}; {full}", remade(1, "database.createObjectStore('identities')")), "store-full", "room"),
        (remade(1, ""), "store-broken", "damaged"),
        (remade(2, "database.createObjectStore('identities')"), "store-broken", "newer"),
        (
            format!("{}; const database = await new Promise((ok) => Object.assign(indexedDB.open('duologue'), {{ onsuccess: ({{ target }}) => ok(target.result) }}));
                const written = database.transaction('identities', 'readwrite');
                written.objectStore('identities').put({{ spki: new Uint8Array(3) }}, location.host);
                await new Promise((ok) => (written.oncomplete = ok)); database.close()", remade(1, "database.createObjectStore('identities')")),
            "store-broken",
            "damaged",
        ),
    ];
    for (before, code, word) in cases {
        browser.reload().await;
        let options = format!("{{ invite: {} }}", json!(server.link()));
        let (told, reason) = end(&browser, &before, &options).await;
        assert_eq!((told.as_str(), reason.contains(word)), (code, true), "{reason}");
        let asked = "const { hasIdentity } = await import('/duologue.js');
            return await hasIdentity().catch((error) => [error.name, error.code, error.message])";
        let asked = browser.run(asked, Value::Null).await;
        assert!(code == "store-full" || asked == json!(["DuologueError", code, reason]), "{asked}");
    }
    browser.reload().await;
    let stuck = "
        IDBFactory.prototype.open = () => ({});
        const { connect } = await import('/duologue.js');
        const { code, reason } = await connect().closed;
        return [code, reason.includes('close other tabs')];";
    assert_eq!(browser.run(stuck, Value::Null).await, json!(["store-stuck", true]));
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_write_that_is_never_answered_keeps_no_line_from_opening_or_ending() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let body = "
        link.close();
        await link.closed;
        const { connect } = await import('/duologue.js');
        const { transaction } = IDBDatabase.prototype;
        IDBDatabase.prototype.transaction = function (stores, mode, options) {
            if (mode !== 'readwrite') return transaction.call(this, stores, mode, options);
            return { objectStore: () => ({ put: () => ({}), add: () => ({}), delete: () => ({}) }), commit() {} };
        };
        const line = connect();
        const answer = new TextDecoder().decode(await line.request('echo', 'x'));
        line.close();
        const { code } = await Promise.race([line.closed, new Promise((late) => setTimeout(late, 8_000, { code: 'never' }))]);
        return [answer, code];";
    assert_eq!(browser.run(body, Value::Null).await, json!(["x", "normal"]));
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_dialogue_in_one_tab_keeps_no_other_from_opening() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let first = browser.current_tab().await;
    // What a page does with all its might: it blocks its thread in the very task in which its line opens.
    let block = "
        link.close();
        await link.closed;
        const { connect } = await import('/duologue.js');
        const line = connect();
        line.ready.then(() => {
            const until = Date.now() + 20_000;
            while (Date.now() < until);
        });";
    browser.run(block, Value::Null).await;
    let second = browser.open_tab(&server.address()).await;
    let began = Instant::now();
    browser.wait_for_state("open").await;
    assert!(began.elapsed() < Duration::from_secs(12), "it waited for {:?}", began.elapsed());
    assert_eq!(browser.echo(b"the other").await.unwrap(), b"the other");
    let known = "const { hasIdentity } = await import('/duologue.js'); return hasIdentity()";
    assert_eq!(browser.run(known, Value::Null).await, json!(true));
    browser.switch_to(&first).await;
    browser.switch_to(&second).await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_links_that_begin_together_make_one_key_and_what_is_forgotten_stays_so() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    proxy.answer("/other", "content-type: text/html", HTML);
    let browser = Browser::start(&Profile::trusting(proxy.trust())).await;
    browser.open(&format!("{}/other", proxy.address())).await;
    let body = "
        const { connect, forgetIdentity, hasIdentity } = await import('/duologue.js');
        const lines = Array.from({ length: 8 }, () => connect({ invite: args }));
        await Promise.all(lines.map((line) => line.ready.catch(() => {})));
        const keys = new Set(lines.map((line) => line.device.key));
        lines.forEach((line) => line.close());
        await Promise.all(lines.map((line) => line.closed));
        const known = await hasIdentity();
        // The line has just opened: what was learnt by that is being kept.
        const line = connect();
        await line.ready;
        await forgetIdentity();
        line.close();
        await line.closed;
        await new Promise((later) => setTimeout(later, 500));
        return [keys.size, known, await hasIdentity(), (await connect().closed).code];";
    let found = browser.run(body, json!(server.link())).await;
    assert_eq!(found, json!([1, true, false, "no-identity"]));
    browser.finish().await;
}

#[tokio::test]
async fn browser_an_unreachable_server_nearby_names_the_certificate_and_one_that_answers_is_told_apart() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let browser = with_policy(&proxy, &server, "content-type: text/html").await;
    for host in ["localhost", "127.0.0.1"] {
        let options = format!("{{ url: 'https://{host}:1', invite: {} }}", json!(server.link()));
        let (code, reason) = end(&browser, "", &options).await;
        assert_eq!(code, "unreachable");
        assert!(reason.contains("certificate") && reason.contains(&format!("https://{host}:1/")), "{reason}");
    }
    browser.log().await;
    browser.finish().await;
    // In another one: the page's line lives on for as long as the browser keeps its page, and would need no upgrade.
    let browser = Browser::start(&Profile::trusting(proxy.trust())).await;
    browser.open(&through(&server.invite("24h").await, proxy.port)).await;
    browser.wait_for_state("open").await;
    browser.run("link.close(); await link.closed;", Value::Null).await;
    proxy.answer("/line", "content-type: text/plain", "no line here");
    browser.reload().await;
    let told = browser.wait_for_end("upgrade-refused").await;
    assert!(told.contains("answers"), "{told}");
    let (code, reason) = end(&browser, "", "{}").await;
    assert_eq!((code.as_str(), reason.contains("answers")), ("upgrade-refused", true), "{reason}");
    browser.log().await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_an_invite_is_taken_out_of_the_address_bar_and_nothing_else_is() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    proxy.answer("/other", "content-type: text/html", HTML);
    let browser = Browser::start(&Profile::trusting(proxy.trust())).await;
    let (_, fragment) = server.link().split_once('#').unwrap();
    browser.open(&format!("{}/other?q=1#tab=2&{fragment}&x", proxy.address())).await;
    let body = "
        history.pushState({ kept: true }, '', location.href);
        const { connect, parseInvite } = await import('/duologue.js');
        const named = await parseInvite(location.href);
        const left = connect({ invite: location.href, clearInvite: false, worker: true });
        const before = location.hash.includes('i=');
        left.close();
        const line = connect({ invite: location.href });
        const after = [location.search, location.hash, history.state.kept];
        await line.ready;
        return [named.fingerprint === line.server.fingerprint, before, after];";
    let found = browser.run(body, Value::Null).await;
    assert_eq!(found, json!([true, true, ["?q=1", "#tab=2&x", true]]));
    // Of another link than the address, nothing is taken.
    let other = "
        const { connect } = await import('/duologue.js');
        history.replaceState(null, '', '#i=another&y');
        connect({ invite: args }).close();
        return location.hash;";
    assert_eq!(browser.run(other, json!(server.link())).await, json!("#i=another&y"));
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_page_of_the_internet_asks_before_it_reaches_the_persons_own_network() {
    if Engine::of_this_run() != Engine::Chromium {
        return; // the others ask nobody
    }
    let page = format!("https://{SERVED_NAME}");
    let server = Server::dev_with(&["--origin", &page]).await;
    let proxy = Proxy::before(&[&server]).await;
    proxy.answer("/other", "content-type: text/html", HTML);
    let elsewhere = format!("--ip-address-space-overrides=127.0.0.1:{}=public", proxy.port);
    let profile =
        Profile::trusting(proxy.trust()).and_trusting(&server.trust()).at(proxy.port).started_with(&elsewhere);
    let browser = Browser::start(&profile).await;
    browser.open(&format!("{page}/other")).await;
    let body = "
        const { connect } = await import('/duologue.js');
        const line = connect({ url: args[0], invite: args[1], worker: args[2] });
        const asked = [];
        line.addEventListener('permission', ({ detail }) => asked.push(detail));
        const how = await Promise.race([line.ready.then(() => 'open', () => line.closed.then(({ code, reason }) => [code, reason])), line.closed.then(({ code, reason }) => [code, reason])]);
        line.close();
        return [how, asked, (await navigator.permissions.query({ name: 'loopback-network' })).state];";
    let line = json!(format!("{}/line", server.address()));
    for worker in [json!(false), json!("shared")] {
        let opened = |found: &Value| [found[0].clone(), json!(found[1].as_array().unwrap().len()), found[2].clone()];
        browser.set_permission("loopback-network", "prompt").await;
        let found = browser.run(body, json!([line, server.link(), worker])).await;
        println!("{found}");
        // Nobody is there to answer.
        assert_eq!((&found[0][0], &found[2]), (&json!("unreachable"), &json!("prompt")), "{found}");
        assert!(found[0][1].as_str().unwrap().contains("Allow this page"), "{found}");
        assert_eq!(found[1][0]["name"], json!("loopback-network"));
        assert!(found[1][0]["reason"].as_str().unwrap().contains("this device: its line leads there"), "{found}");
        browser.set_permission("loopback-network", "denied").await;
        let found = browser.run(body, json!([line, server.link(), worker])).await;
        assert_eq!((&found[0][0], &found[1]), (&json!("local-network-denied"), &json!([])), "{found}");
        browser.set_permission("loopback-network", "granted").await;
        let found = browser.run(body, json!([line, server.link(), worker])).await;
        assert_eq!(opened(&found), [json!("open"), json!(0), json!("granted")], "{found}");
    }
    browser.log().await;
    browser.finish().await;
}
