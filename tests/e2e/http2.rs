//! HTTP/2: a page and its line on one connection, in the engines that put a WebSocket there; and what such a connection must not
//! cost.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    browser::{Browser, Engine},
    enrolment::stranger,
    path::{Cut, Path},
    server::{Server, target},
    within,
};

/// Bytes that no line brings while its page is loaded, and the page's files are more than.
const PAGE_LEN: usize = 60_000;

/// How a page has come.
async fn came_by(browser: &Browser) -> Value {
    browser.run("return performance.getEntriesByType('navigation')[0].nextHopProtocol", Value::Null).await
}

#[tokio::test]
async fn browser_page_and_line_are_on_one_connection_and_the_line_goes_on_alone() {
    let server = Server::dev_with(&["--http2"]).await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    let by = came_by(&browser).await;
    // Until those that are idle have gone.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let (carried, all) = (path.carried(), path.connections());
    println!("came by {by}; {all} connections in all; open, and bytes that came on it: {carried:?}");
    assert_eq!(by, json!("h2"));
    let [carried] = carried[..] else { panic!("one connection is left, that of the line: {carried:?}") };
    // WebKitGTK has no WebSockets over HTTP/2, and opens a connection of HTTP/1.1 for the line.
    assert_eq!(carried > PAGE_LEN, Engine::of_this_run() != Engine::WebKit, "the page came on it: {carried} bytes");
    assert_eq!(browser.echo(b"here").await.unwrap(), b"here");
    let there_and_back = "
        const sent = new Uint8Array(3_000_000).map((_, at) => at * 7);
        const came = await link.request('echo', sent, { timeout: 20_000 });
        return came.length === sent.length && came.every((byte, at) => byte === sent[at]);";
    assert_eq!(browser.run(there_and_back, Value::Null).await, json!(true));
    // A page that is loaded again has a connection of its own, and so has its line.
    browser.reload().await;
    browser.wait_for_state("open").await;
    assert_eq!(browser.echo(b"here").await.unwrap(), b"here");
    browser.finish().await;
}

#[tokio::test]
async fn browser_without_http2_all_is_as_ever() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    assert_eq!(came_by(&browser).await, json!("http/1.1"));
    assert_eq!(browser.echo(b"here").await.unwrap(), b"here");
    browser.finish().await;
}

/// From the moment when everything on the open connections is lost, and the page asks whether its line lives, until it is open
/// again.
async fn back_after_silence(arguments: &[&str]) -> f64 {
    let server = Server::dev_with(arguments).await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    // What a connection is told when its page is loaded.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(browser.echo(b"here").await.unwrap(), b"here");
    path.cut(Cut::Silent);
    let script = "
        const begun = performance.now();
        const opened = new Promise((resolve) => link.addEventListener('statechange', () => link.state === 'open' && resolve()));
        dispatchEvent(new Event('online'));
        await opened;
        return performance.now() - begun;";
    let took = browser.run(script, Value::Null).await.as_f64().expect("a number");
    assert_eq!(browser.echo(b"here").await.unwrap(), b"here");
    browser.finish().await;
    took
}

/// A browser that put the next line on the connection that it has would wait for a dead one.
#[tokio::test]
async fn browser_a_line_is_back_after_silence_as_soon_as_over_http1() {
    let (mut over_http2, mut over_http1) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        over_http2.push(back_after_silence(&["--http2"]).await);
        over_http1.push(back_after_silence(&[]).await);
    }
    println!("open again after, ms: HTTP/2 {over_http2:.0?}, HTTP/1.1 {over_http1:.0?}");
    let middle = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[1]
    };
    let ratio = middle(&mut over_http2) / middle(&mut over_http1);
    assert!(ratio <= 1.5, "{ratio:.2} times as long");
}

#[tokio::test]
async fn browser_a_line_of_a_stopping_server_ends_in_good_order() {
    let server = Server::dev_with(&["--http2"]).await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    browser
        .run("globalThis.closes = []; link.addEventListener('statechange', () => closes.push(link.state))", Value::Null)
        .await;
    let begun = Instant::now();
    server.terminate();
    let server = server.succeeded().await;
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    let stderr = server.stderr.seen();
    assert!(!stderr.iter().any(|line| line.contains("still busy")), "{stderr:#?}");
    browser.wait_until("closes.includes('resuming')").await;
    browser.finish().await;
}

/// Debian's h2load, which keeps a hundred streams busy on each of its connections; and a line meanwhile.
#[tokio::test]
async fn a_load_of_requests_is_answered_and_keeps_no_line_waiting() {
    let mut server = Server::dev_with(&["--http2"]).await;
    let line = within(20, "a line", stranger().connect(&target(server.link()))).await.unwrap();
    let url = format!("{}/", server.address().trim_end_matches('/'));
    let load = Command::new("h2load")
        .args(["-n", "6000", "-c", "10", "-m", "100", &url])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let Ok(load) = load else {
        println!("skipped: needs h2load (Debian's nghttp2-client)");
        return;
    };
    let loaded = tokio::spawn(load.wait_with_output());
    let (mut echoes, mut longest) = (0, Duration::ZERO);
    while !loaded.is_finished() {
        let begun = Instant::now();
        assert_eq!(within(20, "an echo", line.request("echo", "here")).await.unwrap(), b"here");
        (echoes, longest) = (echoes + 1, longest.max(begun.elapsed()));
    }
    let said = String::from_utf8(within(60, "h2load", loaded).await.unwrap().unwrap().stdout).unwrap();
    println!("{echoes} echoes, the longest {longest:?}; {said}");
    assert!(said.contains("6000 succeeded, 0 failed, 0 errored"), "{said}");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    server.assert_alive();
}
