//! A line on the page's own thread, whose page is loaded again: the next page goes on with its session.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    browser::{Browser, Engine},
    forms,
    page::enrolled,
    server::Server,
};

/// A line of the page's own thread, beside that of the page, and what its session was told.
const CONNECT: &str = "
    const { connect } = await import('/duologue.js');
    // Where that of the page may leave its session too, it is the first in each page.
    while (!globalThis.link) await new Promise((later) => setTimeout(later, 5));
    globalThis.told = [];
    globalThis.own = connect({ lasting: globalThis.lasting, debug: ({ what, detail }) => told.push(`${what} ${detail}`) });
    own.addEventListener('fresh', ({ detail }) => told.push(`not ${detail.code}`));";

/// The key for what a page leaves is there a moment after the line is open: of each line that may leave something.
fn is_ready() -> String {
    let lines = if Engine::of_this_run() == Engine::Chromium { 1 } else { 2 };
    format!(
        "
        await own.ready;
        const held = async () =>
            (await navigator.locks.query()).held.filter(({{ name }}) => name.startsWith('duologue-snapshot:')).length;
        while (await held() < {lines}) await new Promise((later) => setTimeout(later, 20));
        "
    )
}

/// Where `own` leaves its session: the page's own line is the first that may leave one, where no worker outlives it.
fn place() -> String {
    let number = if Engine::of_this_run() == Engine::Chromium { "" } else { ":1" };
    format!("`duologue:${{location.host}}{number}`")
}

async fn connect(browser: &Browser, then: &str) -> Value {
    browser.run(&format!("{CONNECT}{}{then}", is_ready()), Value::Null).await
}

#[tokio::test]
async fn browser_a_page_that_is_loaded_again_goes_on_with_what_was_pending_and_what_was_not_read() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let before = "
        const channel = own.channel('echo');
        await channel.send('one');
        await channel.sendMany(['two', 'three']);
        const first = await channel[Symbol.asyncIterator]().next();
        // As late as can be.
        addEventListener('pagehide', () => { channel.send('four'); channel.send('five'); });
        return new TextDecoder().decode(first.value);";
    assert_eq!(connect(&browser, before).await, json!("one"));
    browser.reload().await;
    let after = "
        await own.ready;
        const [kept] = own.kept;
        const found = [own.kept.length, kept.label, kept.isStream, kept.sent, own.context];
        const channel = kept.claim();
        await channel.send('six');
        channel.finish();
        const read = [];
        for await (const message of channel) read.push(new TextDecoder().decode(message));
        return [found, read.join(' '), told.filter((what) => /^(open|fresh|not) /.test(what))];";
    let went_on = browser.run(&format!("{CONNECT}{after}"), Value::Null).await;
    assert_eq!(went_on, json!([[1, "echo", false, 5, "page"], "two three four five six", ["open resumed"]]));
    // What nobody claims is over once the first task has passed.
    let once_more = "
        own.channel('echo').send('seven').catch(() => {});
        await new Promise((later) => setTimeout(later, 100));
        return own.kept.length;";
    browser.run(&format!("{}{once_more}", is_ready()), Value::Null).await;
    browser.reload().await;
    let unclaimed = "
        await new Promise((later) => setTimeout(later, 300));
        let why;
        try { own.kept[0].claim(); } catch (error) { why = error.name; }
        return [own.kept.length, why, new TextDecoder().decode(await own.request('echo', 'eight'))];";
    assert_eq!(connect(&browser, unclaimed).await, json!([1, "TypeError", "eight"]));
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_tab_that_was_copied_begins_a_session_of_its_own_and_the_originals_goes_on() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    connect(&browser, "await own.request('echo', 'x');").await;
    browser.reload().await;
    // What the next page finds, and a copy of that tab too.
    let left = format!("return sessionStorage.getItem({})", place());
    let copied = browser.run(&left, Value::Null).await;
    assert!(copied.as_str().is_some_and(|copied| copied.len() > 36), "{copied}");
    connect(&browser, "globalThis.channel = own.channel('echo'); await channel.send('x');").await;
    assert_eq!(browser.run(&left, Value::Null).await, Value::Null, "the next page has taken it");
    let original = browser.current_tab().await;
    browser.open_tab(&server.address()).await;
    browser.run(&format!("sessionStorage.setItem({}, args)", place()), copied).await;
    let own = "return [own.kept.length, new TextDecoder().decode(await own.request('echo', 'y')),
        told.filter((what) => what.startsWith('open'))];";
    assert_eq!(connect(&browser, own).await, json!([0, "y", ["open new"]]));
    browser.switch_to(&original).await;
    let goes_on = "
        await channel.send('z');
        channel.finish();
        const read = [];
        for await (const message of channel) read.push(new TextDecoder().decode(message));
        return [read, told.filter((what) => /^(open|fresh|not|fail) /.test(what)), own.state];";
    assert_eq!(browser.run(goes_on, Value::Null).await, json!([["x", "z"], ["open resumed"], "open"]));
    browser.finish().await;
}

#[tokio::test]
async fn browser_what_is_too_much_to_be_kept_is_told_and_what_is_closed_or_forgotten_is_not_kept() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let much = "
        const channel = own.channel('echo');
        addEventListener('pagehide', () => channel.send(new Uint8Array(5 << 20)));";
    connect(&browser, much).await;
    browser.reload().await;
    let told = "
        await new Promise((later) => setTimeout(later, 100));
        return [own.kept.length, told.filter((what) => /^(open|fresh|not) /.test(what))];";
    assert_eq!(connect(&browser, told).await, json!([0, ["open new", "not not-kept"]]));
    let ends = ["own.close(); await own.closed;", "await (await import('/duologue.js')).forgetIdentity('/line');"];
    for end in ends {
        browser.run(&format!("own.channel('echo').send('x').catch(() => {{}}); {end}"), Value::Null).await;
        let left = format!("return sessionStorage.getItem({})", place());
        assert_eq!(browser.run(&left, Value::Null).await, Value::Null, "{end}");
        if end.starts_with("own") {
            browser.reload().await;
            assert_eq!(browser.run(&left, Value::Null).await, Value::Null, "{end}");
            connect(&browser, "").await;
        }
    }
    browser.finish().await;
}

/// Its socket is one that outlives that (Chromium's `WebSocketStream`). Once each return cost a connection: a `WebSocket` is dead by
/// then, though its `readyState` says open.
#[tokio::test]
async fn browser_a_page_that_was_frozen_or_kept_goes_on_over_the_same_socket() {
    let secs = forms::rounds("snapshot::browser_a_page_that_was_frozen_or_kept_goes_on_over_the_same_socket");
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let before = "
        globalThis.waiting = own.channel('echo');
        await waiting.send('one');
        addEventListener('pagehide', ({ persisted }) => told.push(`kept ${persisted}`));
        for (const what of ['freeze', 'resume']) document.addEventListener(what, () => told.push(what));
        return own.state;";
    browser.run("globalThis.lasting = true", Value::Null).await;
    assert_eq!(connect(&browser, before).await, json!("open"));
    let asleep = Duration::from_secs(secs.try_into().expect("seconds"));
    let after = "
        const { value } = await waiting[Symbol.asyncIterator]().next();
        const answer = await own.request('echo', 'two');
        return [value, answer].map((bytes) => new TextDecoder().decode(bytes)).join(' ');";

    // What is answered meanwhile waits for the page.
    browser.run("waiting.send('again')", Value::Null).await;
    browser.freeze(true).await;
    tokio::time::sleep(asleep).await;
    browser.freeze(false).await;
    assert_eq!(browser.run(after, Value::Null).await, json!("one two"));

    browser.run("setTimeout(() => (location = 'about:blank'))", Value::Null).await;
    browser.wait_until("location.href === 'about:blank'").await;
    tokio::time::sleep(asleep).await;
    browser.run("setTimeout(() => history.back())", Value::Null).await;
    browser.wait_until("globalThis.own !== undefined").await;
    assert_eq!(browser.run(after, Value::Null).await, json!("again two"));
    let left = format!("return sessionStorage.getItem({})", place());
    assert_eq!(browser.run(&left, Value::Null).await, Value::Null, "nobody else goes on with it");
    let told = browser.run("return told.filter((what) => !/^(context|state|standing) /.test(what))", Value::Null).await;
    println!("{told}");
    let of_connections =
        browser.run("return told.filter((what) => /^(dial|fail|fresh|open) /.test(what)).length", Value::Null);
    assert_eq!(of_connections.await, json!(2), "one dial, one open: {told}");
    assert!(told.as_array().is_some_and(|told| told.contains(&json!("kept true"))), "{told}");
    browser.finish().await;
}
