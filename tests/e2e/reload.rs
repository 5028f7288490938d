//! A page that is loaded again goes on with its line; and what becomes of a line whose pages have gone.
//!
//! ```text
//! page ─╮ reload ╭─ page        the worker outlives them: one line, one session, one socket
//!       ╰─► AWAY ╯─► HERE
//! page ─╮ gone                  ─► AWAY ─► its time is over ─► CLOSE `normal`
//! ```

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    browser::{Browser, Engine, Profile},
    page::enrolled,
    page_middleman::open_through,
    path::{Cut, Path},
    proxy::Proxy,
    server::{Server, through},
    wire::Kind,
    within,
};

/// Of each kind.
const RELOADS: usize = 9;

/// When the page's script has begun, and when its line was open.
const WATCH: &str = "
    globalThis.began = undefined;
    new MutationObserver(() => {
        const { state } = document.documentElement.dataset;
        if (state === 'connecting') globalThis.began ??= performance.now();
        if (state === 'open') globalThis.opened ??= performance.now();
    }).observe(document, { attributes: true, subtree: true, attributeFilter: ['data-state'] });";

/// Closes the page's tab: of one that is left for another page the browser may keep it.
async fn leave(browser: &Browser) {
    let page = browser.current_tab().await;
    let blank = browser.open_tab("about:blank").await;
    browser.switch_to(&page).await;
    browser.close_tab(&blank).await;
}

/// A line of a worker that waits so long for the next page, in the place of the page's own.
async fn with_grace(browser: &Browser, millis: u64) {
    let body = "
        link.close();
        await link.closed;
        const { connect } = await import('/duologue.js');
        globalThis.own = connect({ worker: new URL('/page/breakable.js', location), grace: args });
        await own.ready;
        await own.request('echo', 'x');";
    browser.run(body, json!(millis)).await;
    settle().await;
}

/// The page's service worker has all that it keeps, and asks for nothing more.
const IS_KEPT: &str = "
    const kept = async () => (await caches.open('duologue-shell')).match('/integrity.json');
    while (!(await kept())) await new Promise((later) => setTimeout(later, 50));";

/// What waits between two pages is loaded once a line is open.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}

#[tokio::test]
async fn browser_a_reload_goes_on_with_the_line_its_session_and_its_socket() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let browser = open_through(&proxy, &server).await;
    browser.preload(WATCH).await;
    let took = async || {
        settle().await;
        browser.reload().await;
        browser.wait_for_state("open").await;
        browser.run("return opened - began", Value::Null).await.as_f64().expect("both were seen")
    };
    let mut kept = Vec::new();
    for _ in 0..RELOADS {
        kept.push(took().await);
        assert_eq!(browser.echo(b"again").await.unwrap(), b"again");
        let said =
            browser.run("return [link.context, link.standing.level, link.services.length > 0]", Value::Null).await;
        assert_eq!(said, json!(["shared", 1, true]));
    }
    assert_eq!(proxy.log().lines().len(), 1, "no upgrade request but the first");
    let mut anew = Vec::new();
    for _ in 0..RELOADS {
        browser.run("link.close(); await link.closed", Value::Null).await;
        anew.push(took().await);
    }
    assert_eq!(proxy.log().lines().len(), 1 + RELOADS);
    kept.sort_by(f64::total_cmp);
    anew.sort_by(f64::total_cmp);
    let medians = (kept[RELOADS / 2], anew[RELOADS / 2]);
    println!(
        "open {kept:.1?} ms after the page's script had begun; with a line of its own {anew:.1?} ms; medians {medians:.1?}"
    );
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_line_without_a_page_ends_when_its_time_is_over() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let browser = open_through(&proxy, &server).await;
    with_grace(&browser, 3_000).await;
    let begun = Instant::now();
    leave(&browser).await;
    proxy.latest_line_ended().await;
    let waited = begun.elapsed();
    assert!(waited > Duration::from_millis(2_800) && waited < Duration::from_secs(8), "{waited:?}");
    assert_eq!(proxy.log().lines().len(), 2, "nobody was dialled");
    browser.finish().await;
}

/// Firefox and WebKitGTK have no worker that outlives its pages; in Chromium nobody has asked for it here.
#[tokio::test]
async fn browser_a_line_ends_with_its_last_page_where_no_worker_outlives_that() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let browser = open_through(&proxy, &server).await;
    with_grace(&browser, if Engine::of_this_run() == Engine::Chromium { 0 } else { 20_000 }).await;
    leave(&browser).await;
    within(5, "the line to end with its page", proxy.latest_line_ended()).await;
    browser.open(&proxy.address()).await;
    browser.wait_for_state("open").await;
    assert_eq!(browser.echo(b"anew").await.unwrap(), b"anew");
    assert_eq!(proxy.log().lines().len(), 3);
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_line_that_is_lost_without_a_page_is_not_dialled_again() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    browser.run(IS_KEPT, Value::Null).await;
    settle().await;
    leave(&browser).await;
    settle().await;
    let before = path.connections();
    path.cut(Cut::Both);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(path.connections(), before, "nobody could sign");
    // Whoever comes dials.
    browser.open(&through(&server.address(), path.port)).await;
    browser.wait_for_state("open").await;
    assert_eq!(browser.echo(b"anew").await.unwrap(), b"anew");
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_key_that_is_forgotten_ends_the_line_of_all_tabs_and_of_none() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let browser = open_through(&proxy, &server).await;
    let first = browser.current_tab().await;
    browser.open_tab(&proxy.address()).await;
    browser.wait_for_state("open").await;
    settle().await;
    let forget = "const { forgetIdentity } = await import('/duologue.js'); await forgetIdentity('/line');";
    browser.run(forget, Value::Null).await;
    browser.wait_for_end("normal").await;
    browser.switch_to(&first).await;
    browser.wait_for_end("normal").await;
    proxy.latest_line_ended().await;

    // The last page has gone, and another that has no line forgets.
    browser.open(&through(&server.invite("1h").await, proxy.port)).await;
    browser.wait_for_state("open").await;
    settle().await;
    browser.open(&format!("{}/icon-none", proxy.address())).await;
    settle().await;
    let lines = proxy.log().lines().len();
    browser.run(forget, Value::Null).await;
    let begun = Instant::now();
    proxy.latest_line_ended().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(proxy.log().lines().len(), lines);
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_device_that_is_revoked_has_no_line_in_any_tab_nor_without_one() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let first = browser.current_tab().await;
    browser.open_tab(&server.address()).await;
    browser.wait_for_state("open").await;
    let (id, _) = server.devices().await.pop().unwrap();
    server.verb(&["devices", "revoke", &id]).await;
    browser.wait_for_end("device-revoked").await;
    browser.switch_to(&first).await;
    browser.wait_for_end("device-revoked").await;
    browser.finish().await;

    let proxy = Proxy::before(&[&server]).await;
    let browser = Browser::start(&Profile::trusting(proxy.trust())).await;
    browser.open(&through(&server.invite("1h").await, proxy.port)).await;
    browser.wait_for_state("open").await;
    settle().await;
    leave(&browser).await;
    settle().await;
    let (id, _) = server.devices().await.pop().unwrap();
    server.verb(&["devices", "revoke", &id]).await;
    within(5, "the line to end without a page", proxy.latest_line_ended()).await;
    browser.open(&proxy.address()).await;
    browser.wait_for_end("device-revoked").await;
    browser.finish().await;
}

/// In Chromium it is kept with its worker; elsewhere it is loaded anew, or keeps a worker that goes on.
#[tokio::test]
async fn browser_a_page_that_is_left_and_kept_does_not_dial_and_goes_on_when_it_is_shown_again() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    browser.run(IS_KEPT, Value::Null).await;
    settle().await;
    browser.run("globalThis.kept = true", Value::Null).await;
    browser.open("about:blank").await;
    settle().await;
    let before = path.connections();
    path.cut(Cut::Both);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(path.connections(), before, "nobody could sign");
    browser.run("setTimeout(() => history.back(), 100)", Value::Null).await;
    browser.wait_until("globalThis.link?.state === 'open'").await;
    assert_eq!(browser.echo(b"back").await.unwrap(), b"back");
    println!("the page was kept: {}", browser.run("return globalThis.kept ?? false", Value::Null).await);
    browser.finish().await;
}

/// What another build has for a worker, whose name has its hash.
const OTHER_BUILD: &str = "{
    const { SharedWorker } = globalThis;
    globalThis.SharedWorker = function (url, options) {
        return new SharedWorker(url, { type: 'module', name: `${options.name}x`, extendedLifetime: options.extendedLifetime });
    };
}";

#[tokio::test]
async fn browser_a_page_of_another_build_has_a_worker_of_its_own_and_the_old_one_does_not_wait() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let browser = open_through(&proxy, &server).await;
    let old = browser.current_tab().await;
    settle().await;
    let new = browser.open_tab(&format!("{}/icon-none", proxy.address())).await;
    browser.preload(OTHER_BUILD).await;
    browser.open(&proxy.address()).await;
    browser.wait_for_state("open").await;
    settle().await;
    assert_eq!(proxy.log().lines().len(), 2, "a worker of its own, and so a line");
    // Its own waits, and the old one goes with its page.
    browser.switch_to(&old).await;
    assert_eq!(browser.echo(b"old").await.unwrap(), b"old");
    let is_over = |line: usize| {
        let log = proxy.log();
        let numbers = log.lines();
        log.of(numbers[line]).iter().any(|(_, kind, _)| *kind == Kind::End)
    };
    browser.close_tab(&new).await; // the old one; the new one is shown
    let gone = async {
        while !is_over(0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(5, "the old worker's line to end", gone).await;
    browser.reload().await;
    browser.wait_for_state("open").await;
    assert_eq!(browser.echo(b"new").await.unwrap(), b"new");
    assert_eq!(proxy.log().lines().len(), 2);
    browser.finish().await;
}
