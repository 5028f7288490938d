//! Several tabs of one browser: one line, one socket, and none of them matters more than another.
//!
//! ```text
//! tab 1: Link ══╗
//! tab 2: Link ══╬══► shared worker ─► core Line ─► one WebSocket ═► server
//! tab 3: Link ══╝
//! ```

use std::time::Duration;

use fantoccini::wd::WindowHandle;
use serde_json::{Value, json};

use crate::{
    browser::{Browser, Engine},
    chance::Chance,
    page::enrolled,
    page_middleman::open_through,
    path::{Cut, Path},
    proxy::Proxy,
    server::{Server, through},
    within,
};

/// Numbered messages to `echo` and back, as many as are asked for; `seen` tells what became of them.
const COUNT: &str = "
    const channel = link.channel('echo');
    globalThis.seen = { next: 0, taken: 0, failed: [], came: 0, wrong: [], states: [] };
    link.addEventListener('statechange', () => seen.states.push(link.state));
    globalThis.burst = (count) => {
        for (let i = 0; i < count; i++) {
            channel.sendJson(seen.next++).then(() => seen.taken++, (error) => seen.failed.push([error.code, error.delivery]));
        }
    };
    (async () => {
        for await (const number of channel.json()) {
            if (number !== seen.came) seen.wrong.push([seen.came, number]);
            seen.came++;
        }
    })().catch(() => {});";

/// All that the current tab has sent came back once, in order.
async fn assert_whole(browser: &Browser, states: Value) {
    browser.wait_until("seen.taken + seen.failed.length === seen.next && seen.came >= seen.next").await;
    // All may be here before the way back from the last cut is.
    browser.wait_until("link.state === 'open'").await;
    let seen = browser.run("return seen", Value::Null).await;
    assert_eq!((&seen["taken"], &seen["came"]), (&seen["next"], &seen["next"]), "{seen}");
    assert_eq!((&seen["failed"], &seen["wrong"]), (&json!([]), &json!([])));
    assert_eq!(seen["states"], states, "{seen}");
}

async fn open_tab(browser: &Browser, address: &str) -> WindowHandle {
    let tab = browser.open_tab(address).await;
    browser.wait_for_state("open").await;
    tab
}

#[tokio::test]
async fn browser_tabs_have_one_socket_and_the_first_that_closes_costs_the_others_nothing() {
    let mut server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let browser = open_through(&proxy, &server).await;
    server.stdout.with("is here").await;
    let first = browser.current_tab().await;
    let second = open_tab(&browser, &proxy.address()).await;
    browser.run(COUNT, Value::Null).await;
    browser.run("burst(2_000)", Value::Null).await;
    let third = open_tab(&browser, &proxy.address()).await;
    browser.run(COUNT, Value::Null).await;
    browser.run("burst(500)", Value::Null).await;

    // The tab with which it all began goes in the middle of its own work and of theirs.
    browser.switch_to(&first).await;
    browser.run(COUNT, Value::Null).await;
    browser.run("burst(500)", Value::Null).await;
    browser.close_tab(&second).await;
    server.stdout.with("has gone").await;
    browser.run("burst(2_000)", Value::Null).await;
    assert_whole(&browser, json!([])).await;
    browser.switch_to(&third).await;
    assert_whole(&browser, json!([])).await;
    assert_eq!(proxy.log().lines().len(), 1, "one socket for all of them");
    assert_eq!(server.devices().await.len(), 1);

    // A tab that is loaded again comes back to the same line.
    browser.reload().await;
    browser.wait_for_state("open").await;
    assert_eq!(browser.echo(b"again").await.unwrap(), b"again");
    assert_eq!(proxy.log().lines().len(), 1);

    // One that ends its link ends it for itself; the other goes on, and there is a way back.
    browser.run("link.close('enough')", Value::Null).await;
    browser.wait_for_end("normal").await;
    browser.switch_to(&second).await;
    assert_eq!(browser.echo(b"still here").await.unwrap(), b"still here");
    browser.switch_to(&third).await;
    browser.click("#reconnect").await;
    browser.wait_for_state("open").await;
    assert_eq!(browser.echo(b"back").await.unwrap(), b"back");
    assert_eq!(proxy.log().lines().len(), 1);

    // The last one takes the line with it.
    browser.run("link.close('enough')", Value::Null).await;
    browser.switch_to(&second).await;
    browser.run("link.close('enough')", Value::Null).await;
    browser.wait_for_end("normal").await;
    proxy.latest_line_ended().await;
    server.assert_alive();
    browser.finish().await;
}

#[tokio::test]
async fn browser_tabs_go_on_together_after_their_path_was_cut() {
    const CUTS: usize = 6;
    let mut chance = Chance::new();
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    let first = browser.current_tab().await;
    browser.run(COUNT, Value::Null).await;
    let second = open_tab(&browser, &through(&server.address(), path.port)).await;
    browser.run(COUNT, Value::Null).await;
    for cuts in 1..=CUTS {
        browser.run("burst(100)", Value::Null).await;
        browser.switch_to(&first).await;
        browser.run("burst(100)", Value::Null).await;
        tokio::time::sleep(Duration::from_millis(chance.below(40) as u64)).await;
        path.cut(Cut::Both);
        // Lost, and back: each tab hears of it in its own time.
        let back = format!("seen.states.length === {} && seen.came === seen.next", 2 * cuts);
        browser.wait_until(&back).await;
        browser.switch_to(&second).await;
        browser.wait_until(&back).await;
    }
    let states = json!(["resuming", "open"].repeat(CUTS));
    assert_whole(&browser, states.clone()).await;
    browser.switch_to(&first).await;
    assert_whole(&browser, states).await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_tabs_hear_together_that_the_session_is_a_fresh_one() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    let first = browser.current_tab().await;
    let start = "
        globalThis.fresh = [];
        link.addEventListener('fresh', (event) => fresh.push(event.detail.code));
        globalThis.channel = link.channel('echo');
        await channel.send('before');
        globalThis.ended = (async () => { for await (const _ of channel); })().then(() => 'finished', (error) => error.code);";
    browser.run(start, Value::Null).await;
    let second = open_tab(&browser, &through(&server.address(), path.port)).await;
    browser.run(start, Value::Null).await;
    path.lead_nowhere();
    path.cut(Cut::Both);
    let send = "globalThis.waiting = channel.send('in the tunnel').then(() => 'taken', (error) => [error.code, error.delivery])";
    for tab in [&first, &second] {
        browser.switch_to(tab).await;
        browser.wait_until("link.state === 'resuming'").await;
        browser.run(send, Value::Null).await;
    }
    let server = server.restarted().await;
    path.lead_to(server.port);
    let settled =
        "return [await waiting, await ended, new TextDecoder().decode(await link.request('echo', 'anew')), fresh]";
    for tab in [&first, &second] {
        browser.switch_to(tab).await;
        let settled = browser.run(settled, Value::Null).await;
        let expected = json!([["session-restarted", "not sent"], "session-restarted", "anew", ["session-restarted"]]);
        assert_eq!(settled, expected);
    }
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_tab_that_goes_without_a_word_takes_along_what_it_had_opened() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let first = browser.current_tab().await;
    open_tab(&browser, &server.address()).await;
    // As if its process had died: nothing hears that the page is left.
    let mute = "
        link.close();
        await link.closed;
        addEventListener('pagehide', (event) => event.stopImmediatePropagation());
        const { connect } = await import('/duologue.js');
        globalThis.mute = connect({ worker: new URL('/page/breakable.js', location) });
        await mute.channel('desk').send('the last words');";
    browser.run(mute, Value::Null).await;
    server.stdout.with("the last words").await;
    let gone = || server.stdout.seen().iter().filter(|line| line.contains("has gone")).count();
    let before = gone();
    browser.close_tab(&first).await;
    within(20, "the desk to hear that it has gone", async {
        while gone() == before {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(browser.echo(b"the other one").await.unwrap(), b"the other one");
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_shared_line_where_there_are_no_shared_workers_is_one_of_the_page() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let body = "
        link.close();
        delete globalThis.SharedWorker;
        const { connect } = await import('/duologue.js');
        const line = connect({ worker: 'shared' });
        await line.ready;
        return [new TextDecoder().decode(await line.request('echo', 'alone')), typeof SharedWorker];";
    assert_eq!(browser.run(body, Value::Null).await, json!(["alone", "undefined"]));
    browser.finish().await;
}

#[tokio::test]
async fn browser_two_shared_links_of_one_page_have_one_line_and_records_for_those_who_watch() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let browser = open_through(&proxy, &server).await;
    let body = "
        link.close();
        await link.closed;
        const { connect } = await import('/duologue.js');
        // Made as the link makes its own.
        let made;
        const { SharedWorker } = globalThis;
        globalThis.SharedWorker = function (...args) {
            made = args;
            return new SharedWorker(...args);
        };
        globalThis.quiet = connect({ worker: 'shared' });
        await quiet.ready;
        globalThis.SharedWorker = SharedWorker;
        const worker = new SharedWorker(...made);
        const records = { in: 0, out: 0 };
        globalThis.seeing = connect({ worker, observe: (direction, bytes) => (records[direction] += bytes.length) });
        await seeing.ready;
        const bytes = new Uint8Array(20_000);
        await quiet.request('echo', bytes);
        // Each link has a port of its own, and what comes through one waits for no other.
        const all = () => records.in > 20_000 && records.out > 20_000;
        for (let looks = 0; looks < 200 && !all(); looks++) await new Promise((later) => setTimeout(later, 20));
        return all();";
    assert_eq!(browser.run(body, Value::Null).await, json!(true));
    let body = "
        quiet.close();
        return (await seeing.request('echo', 'x')).length;";
    assert_eq!(browser.run(body, Value::Null).await, json!(1));
    // The page's own line was of the other worker.
    assert_eq!(proxy.log().lines().len(), 2);
    let body = "
        const { connect } = await import('/duologue.js');
        const missing = new SharedWorker('/nothing.js', { type: 'module' });
        const line = connect({ worker: missing });
        await line.ready;
        return line.context;";
    assert_eq!(browser.run(body, Value::Null).await, json!("worker"), "what cannot be loaded is left");
    // The missing script is told by the console too.
    browser.log().await;
    browser.finish().await;
}

/// In each tab the line of whoever has signed in there.
#[tokio::test]
async fn browser_tabs_of_two_accounts_have_a_device_key_and_a_line_each() {
    let mut server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let browser = open_through(&proxy, &server).await;
    let first = browser.current_tab().await;
    let of_account = "
        const { connect } = await import('/duologue.js');
        globalThis.own = connect({ worker: 'shared', account: args.account, invite: args.invite });
        await own.ready;
        return own.device.key;";
    let connect = |account: &str, invite: String| {
        let invite = through(&invite, proxy.port);
        browser.run(of_account, json!({ "account": account, "invite": invite }))
    };
    let ann = connect("ann", server.invite("1h").await).await;
    let second = open_tab(&browser, &proxy.address()).await;
    let ben = connect("ben", server.invite("1h").await).await;
    assert_ne!(ann, ben, "a device has one subject");
    assert_eq!(server.devices().await.len(), 3, "the page's own, and one of each account");
    // Where workers end with their pages, each page has a line of its own beside.
    let of_pages = |tabs| if Engine::of_this_run() == Engine::Chromium { 1 } else { tabs };
    assert_eq!(proxy.log().lines().len(), of_pages(2) + 2, "none joins another's line");

    // A further tab of an account needs no invite any more, and joins the line of its like.
    let third = open_tab(&browser, &proxy.address()).await;
    let again = browser.run(of_account, json!({ "account": "ann" })).await;
    assert_eq!(again, ann);
    assert_eq!(proxy.log().lines().len(), of_pages(3) + 2, "one line for both tabs of one account");

    // What one forgets the other keeps.
    let known = "
        const { forgetIdentity, hasIdentity } = await import('/duologue.js');
        const url = '/line';
        if (args.forget) await forgetIdentity(url, { account: args.forget });
        const of = (account) => hasIdentity(url, { account });
        return [await hasIdentity(url), await of('ann'), await of('ben'), await of('carl')];";
    assert_eq!(browser.run(known, json!({})).await, json!([true, true, true, false]));
    assert_eq!(browser.run(known, json!({ "forget": "ann" })).await, json!([true, false, true, false]));
    let unknown = "
        const { connect } = await import('/duologue.js');
        return connect({ account: args.account }).ready.then(() => 'open', ({ code }) => code);";
    assert_eq!(browser.run(unknown, json!({ "account": "carl" })).await, json!("no-identity"));
    for tab in [&third, &second, &first] {
        browser.switch_to(tab).await;
        browser.run("globalThis.own.close()", Value::Null).await;
    }
    server.assert_alive();
    browser.finish().await;
}
