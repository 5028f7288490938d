//! Each proxy, with a native client and with Chromium: the line opens, 3 MB come back, the server is killed and returns, the
//! line goes on, and its end is heard.

mod addresses;

use std::time::Duration;

use duologue::{CloseCode, LineState};
use serde_json::{Value, json};

use super::{
    backend::{Backend, free_port},
    process::Running,
    report::{Report, three_megabytes, timed, write_dials},
};
use crate::{
    browser::{Browser, Profile},
    enrolment::stranger,
    server::target,
    within,
};

/// How long the server is away.
const AWAY: Duration = Duration::from_secs(3);
/// Within this time each of [`DIALS`] must be open.
const DIAL: Duration = Duration::from_secs(3);
const DIALS: usize = 30;

/// A module for each proxy, of which each client is a test.
macro_rules! cases {
    ($($case:ident),+ $(,)?) => {
        /// All that docs/PROXIES.md has.
        pub(super) const ALL: &[&str] = &[$(stringify!($case)),+];
        $(mod $case {
            #[tokio::test]
            #[ignore = "run by `cargo xtask test --proxies`, which finds the proxies"]
            async fn native() {
                super::native(stringify!($case)).await;
            }

            #[tokio::test]
            #[ignore = "run by `cargo xtask test --proxies`, which finds the proxies"]
            async fn browser_chromium() {
                super::chromium(stringify!($case)).await;
            }
        })+
    };
}

cases! {
    nginx,
    haproxy,
    apache,
    apache_wstunnel,
    apache_h2websockets,
    caddy,
    lighttpd,
    varnish,
    squid,
    trafficserver,
    h2o,
    nghttpx,
    vite,
    webpack_dev_server,
    webpack_dev_server_all_hosts,
    http_proxy,
    http_proxy_3,
    http_proxy_middleware,
    fastify,
    fastify_with_origin,
    mitmproxy,
}

/// A server, and a proxy before it.
async fn behind(case: &str) -> (Backend, Running) {
    let port = free_port();
    let backend = Backend::behind(port).await;
    let proxy = Running::start(case, port, backend.port).await;
    (backend, proxy)
}

async fn native(case: &str) {
    let (mut backend, proxy) = behind(case).await;
    let client = stranger().trusting(proxy.ca_file());
    let link = target(&backend.invite().await);
    let opening = within(20, "the line", client.connect(&link));
    if case == "webpack_dev_server" {
        // It is for pages only, and says so in a way that does not tell why.
        let error = opening.await.unwrap_err().to_string();
        assert!(error.contains("403") && error.contains("Origin"), "{error}");
        return;
    }
    let mut report = Report { version: proxy.version.clone(), ..Report::default() };
    let (line, open) = timed(opening).await;
    let line = line.unwrap_or_else(|error| panic!("{error}; the proxy: {:#?}", proxy.said()));
    report.open = open;
    let (answer, echo) = timed(within(30, "the echo of 3 MB", line.request("echo", three_megabytes()))).await;
    assert!(answer.unwrap() == three_megabytes(), "other bytes came back");
    report.echo = echo;

    backend.kill().await;
    let (state, noticed) = timed(within(60, "the loss", line.state_after(LineState::Open))).await;
    assert_eq!(state, LineState::Resuming);
    report.noticed = noticed;
    tokio::time::sleep(AWAY).await;
    backend.start_again().await;
    let back = within(60, "the line to be open again", line.state_after(LineState::Resuming));
    let (state, back) = timed(back).await;
    assert_eq!(state, LineState::Open);
    report.back = back;
    assert_eq!(within(20, "the echo", line.request("echo", "again")).await.unwrap(), b"again");

    line.close(CloseCode::Normal, "");
    let heard = within(20, "the end", backend.stderr.with("a line has ended")).await;
    assert!(heard.contains("normal"), "{heard}");
    report.write(case, "native");
}

/// Whether only the line goes through the proxy, and the page is another server's.
fn has_a_page_of_its_own(case: &str) -> bool {
    matches!(case, "vite" | "webpack_dev_server" | "webpack_dev_server_all_hosts")
}

/// A browser at a page that the proxy serves, whose device is enrolled; how long its first line took to open.
async fn page(case: &str, backend: &Backend, proxy: &Running) -> (Browser, Duration) {
    let browser = Browser::start(&Profile::trusting(proxy.trust())).await;
    let link = backend.invite().await;
    if has_a_page_of_its_own(case) {
        browser.open(&format!("{}/", backend.address())).await;
    } else {
        browser.open(&link).await;
        browser.wait_for_state("open").await;
    }
    let open = "
        const { connect } = await import('/duologue.js');
        const started = performance.now();
        globalThis.line = connect({ invite: args ?? undefined, worker: 'shared' });
        globalThis.states = [];
        line.addEventListener('statechange', () => states.push([line.state, performance.now()]));
        await line.ready;
        return performance.now() - started;";
    // The page's own line has used the invite, if there is one.
    let invite = has_a_page_of_its_own(case).then_some(link);
    let open = browser.run(open, json!(invite)).await;
    (browser, millis(&open))
}

fn millis(value: &Value) -> Duration {
    Duration::from_secs_f64(value.as_f64().expect("a time") / 1_000.0)
}

async fn chromium(case: &str) {
    let (mut backend, proxy) = behind(case).await;
    let mut report = Report { version: proxy.version.clone(), ..Report::default() };
    let (browser, open) = page(case, &backend, &proxy).await;
    report.open = open;
    let echo = "
        const bytes = new Uint8Array(3_000_000);
        for (let at = 0; at < bytes.length; at += 60_000) crypto.getRandomValues(bytes.subarray(at, at + 60_000));
        const started = performance.now();
        const back = await line.request('echo', bytes, { timeout: 30_000 });
        const took = performance.now() - started;
        if (back.length !== bytes.length || back.some((byte, at) => byte !== bytes[at])) throw new Error('other bytes');
        return took;";
    report.echo = millis(&browser.run(echo, Value::Null).await);

    browser.run("states.length = 0; globalThis.killed = performance.now()", Value::Null).await;
    backend.kill().await;
    browser.wait_until_within(60, "states.some(([state]) => state === 'resuming')").await;
    tokio::time::sleep(AWAY).await;
    backend.start_again().await;
    browser.run("globalThis.returned = performance.now()", Value::Null).await;
    browser.wait_until_within(60, "line.state === 'open'").await;
    let seen =
        "return [states[0][1] - killed, Math.max(0, states.at(-1)[1] - returned), states.map(([state]) => state)]";
    let seen = browser.run(seen, Value::Null).await;
    assert_eq!(seen[2], json!(["resuming", "open"]));
    (report.noticed, report.back) = (millis(&seen[0]), millis(&seen[1]));
    let again = "return new TextDecoder().decode(await line.request('echo', 'again'))";
    assert_eq!(browser.run(again, Value::Null).await, json!("again"));
    let end = "line.close(); return (await line.closed).code";
    assert_eq!(browser.run(end, Value::Null).await, json!("normal"));
    browser.finish().await;
    report.write(case, "chromium");
}

/// Thirty new lines, one after the other, none of which may take long.
async fn thirty_pages(case: &str) {
    let (backend, proxy) = behind(case).await;
    let (browser, _) = page(case, &backend, &proxy).await;
    let dial = "
        const { connect } = await import('/duologue.js');
        const started = performance.now();
        const line = connect({ worker: args });
        await line.ready;
        const took = performance.now() - started;
        const answer = new TextDecoder().decode(await line.request('echo', 'here'));
        line.close();
        if (answer !== 'here') throw new Error(answer);
        return took;";
    let mut dials = Vec::new();
    for number in 0..DIALS {
        // A page that is loaded anew knows nothing of what helped before; in turn with and without a worker of its own.
        if number % 10 == 0 {
            browser.reload().await;
            browser.wait_for_state("open").await;
        }
        let took = browser.try_run(dial, json!(number % 2 == 0)).await;
        let took = took.unwrap_or_else(|error| panic!("dial {number}: {error}; before it {dials:?}"));
        dials.push(millis(&took));
        assert!(dials[number] < DIAL, "dial {number} took {:?}", dials[number]);
    }
    browser.finish().await;
    write_dials(case, "chromium", &dials);
}

async fn thirty_native_lines(case: &str) {
    let (backend, proxy) = behind(case).await;
    let mut dials = Vec::new();
    for number in 0..DIALS {
        let client = stranger().trusting(proxy.ca_file());
        let link = target(&backend.invite().await);
        let (line, took) = timed(within(20, "the line", client.connect(&link))).await;
        let line = line.unwrap_or_else(|error| panic!("dial {number}: {error}; before it {dials:?}"));
        assert!(took < DIAL, "dial {number} took {took:?}");
        dials.push(took);
        assert_eq!(within(20, "the echo", line.request("echo", "here")).await.unwrap(), b"here");
    }
    write_dials(case, "native", &dials);
}

/// The two that lose the first message, each by itself a module as above.
mod thirty {
    mod apache_h2websockets {
        #[tokio::test]
        #[ignore = "run by `cargo xtask test --proxies`, which finds the proxies"]
        async fn browser_opens_thirty_of_thirty_lines_within_3_s() {
            super::super::thirty_pages("apache_h2websockets").await;
        }
    }

    mod fastify {
        #[tokio::test]
        #[ignore = "run by `cargo xtask test --proxies`, which finds the proxies"]
        async fn browser_opens_thirty_of_thirty_lines_within_3_s() {
            super::super::thirty_pages("fastify").await;
        }

        #[tokio::test]
        #[ignore = "run by `cargo xtask test --proxies`, which finds the proxies"]
        async fn native_opens_thirty_of_thirty_lines_within_3_s() {
            super::super::thirty_native_lines("fastify").await;
        }
    }
}
