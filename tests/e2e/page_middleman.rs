//! The page behind a TLS-terminating proxy that the browser trusts: it works, the proxy reads nothing, and what the proxy
//! changes is detected and named.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::{
    browser::{Browser, Profile},
    chance::{Chance, random},
    policy::{Act, Policy, When},
    proxy::Proxy,
    server::{Server, through},
    tampering::link_secret,
    upgrade::{assert_m1_came_as_the_first_message, assert_m1_came_with_the_upgrade},
    wire::Direction::{self, ToClient, ToServer},
};

/// A fresh browser that trusts the proxy, with the line open through it.
pub(crate) async fn open_through(proxy: &Proxy, server: &Server) -> Browser {
    let browser = Browser::start(&Profile::trusting(proxy.trust())).await;
    browser.open(&through(server.link(), proxy.port)).await;
    browser.wait_for_state("open").await;
    browser
}

#[tokio::test]
async fn browser_does_its_work_through_a_middleman_that_reads_nothing() {
    let mut server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let profile = Profile::trusting(proxy.trust());
    let browser = Browser::start(&profile).await;
    let link = through(server.link(), proxy.port);
    browser.open(&link).await;
    browser.wait_for_state("open").await;

    let (there, back) = (hex::encode(random::<16>()), hex::encode(random::<16>()));
    server.stdout.with("is here").await;
    browser.type_into("#desk-input", &format!("page says {there}")).await;
    browser.click("#desk-send").await;
    server.stdout.with(&there).await;
    server.type_line(&format!("terminal says {back}")).await;
    browser.wait_until(&format!("document.querySelector('.message.them')?.innerText.includes('{back}')")).await;
    let payload = random::<64>();
    assert_eq!(browser.echo(&payload).await.unwrap(), payload);
    let device = browser.run("return link.device.key", Value::Null).await;
    let device = BASE64_URL_SAFE_NO_PAD.decode(device.as_str().unwrap()).expect("a key in base64url");
    // The second connection brings a ticket instead of the invite.
    browser.run("link.close(); await link.closed", Value::Null).await;
    browser.reload().await;
    browser.wait_for_state("open").await;
    assert_eq!(browser.echo(&payload).await.unwrap(), payload);

    let log = proxy.log();
    assert!(log.find(b"GET /line HTTP/1.1").is_some(), "the proxy reads what only TLS protects");
    assert!(log.find(b"duologue.1+m1").is_some());
    assert!(log.lines().len() >= 2, "both lines went through it");
    let secret = link_secret(&link);
    let id = duologue::Invite::new(*secret, crate::server::invite_of(&link).server_key()).id();
    let session = |what, bytes: &[u8]| assert_eq!(log.find(bytes), None, "the proxy has seen {what}");
    session("what the page wrote", there.as_bytes());
    session("what the terminal wrote", back.as_bytes());
    session("the words around it", b"terminal says");
    session("the payload of the echo", &payload);
    session("the device's key", &device[device.len() - 32..]);
    session("the invite's secret", &*secret);
    session("the invite's id", &id.0);
    let (id, _) = server.devices().await.pop().unwrap();
    session("the device's id", &id.parse::<duologue::DeviceId>().unwrap().0);
    browser.finish().await;
}

#[tokio::test]
async fn browser_shows_the_very_records_that_the_middleman_sees() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let browser = open_through(&proxy, &server).await;
    browser.click("#echo-button").await;
    browser.wait_until("document.getElementById('echo-result').dataset.status === 'done'").await;
    browser.wait_until("document.querySelectorAll('#proxy-sees .dump').length >= 2").await;
    let body = "return [...document.querySelectorAll('#proxy-sees .dump')].map((dump) => dump.textContent)";
    let shown = browser.run(body, Value::Null).await;
    let records: Vec<Vec<u8>> = shown
        .as_array()
        .unwrap()
        .iter()
        .map(|dump| {
            let digits: String = dump.as_str().unwrap().split_whitespace().collect();
            hex::decode(digits).expect("a dump is hexadecimal")
        })
        .collect();
    assert!(records.len() >= 2, "one there and one back: {shown}");
    proxy.wait_for("the records of the page", |log| records.iter().all(|record| log.find(record).is_some())).await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_recovers_from_a_byte_changed_on_the_way_there_and_back() {
    let mut chance = Chance::new();
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let browser = open_through(&proxy, &server).await;
    browser
        .run("globalThis.states = []; link.addEventListener('statechange', () => states.push(link.state))", Value::Null)
        .await;
    for direction in [ToClient, ToServer] {
        assert_eq!(browser.echo(b"before").await.unwrap(), b"before");
        proxy.act(direction, When::Now, Act::Flip(chance.below(1_000_000)));
        assert_eq!(browser.echo(b"changed").await.unwrap(), b"changed", "{direction:?}");
        assert!(proxy.has_acted());
    }
    let states = browser.run("return states", Value::Null).await;
    assert_eq!(states, serde_json::json!(["resuming", "open", "resuming", "open"]));
    browser.finish().await;
}

/// Never three in a row: such a middlebox was once never named.
#[tokio::test]
async fn browser_tells_from_the_first_altered_record_on_how_often_and_since_when() {
    let mut chance = Chance::new();
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let browser = open_through(&proxy, &server).await;
    assert_eq!(browser.text("#altered").await, "");
    for count in 1..=3 {
        proxy.act(ToClient, When::Now, Act::Flip(chance.below(1_000_000)));
        assert_eq!(browser.echo(b"changed").await.unwrap(), b"changed");
        let told = match count {
            1 => "altered on the way, at ".to_owned(),
            _ => format!("altered on the way, {count} times since "),
        };
        browser.wait_until(&format!("document.getElementById('altered').innerText.includes('{told}')")).await;
        // The line goes on as if nothing had been.
        browser.wait_for_state("open").await;
        assert_eq!(browser.echo(b"and on").await.unwrap(), b"and on");
    }
    let since = browser.text("#altered").await;
    let clock = "return new Intl.DateTimeFormat('en', { timeStyle: 'short' }).format(link.altered.since)";
    let clock = browser.run(clock, Value::Null).await;
    assert!(since.contains(clock.as_str().unwrap()), "{since}: {clock}");
    browser.click("[data-language=fr]").await;
    browser
        .wait_until("document.getElementById('altered').innerText.includes('altéré en chemin, 3 fois depuis')")
        .await;
    browser.screenshot("altered-fr").await;
    // A new line begins without it.
    browser.run("link.close()", Value::Null).await;
    browser.wait_for_end("normal").await;
    browser.click("#reconnect").await;
    browser.wait_for_state("open").await;
    assert_eq!(browser.text("#altered").await, "");
    browser.finish().await;
}

#[tokio::test]
async fn browser_names_a_middleman_who_alters_every_record() {
    let mut chance = Chance::new();
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let browser = open_through(&proxy, &server).await;
    proxy.act(ToClient, When::EachRecord, Act::Flip(chance.below(1_000_000)));
    assert!(browser.echo(b"changed").await.is_err());
    let cause = browser.wait_for_end("altered").await;
    assert!(cause.contains("changed on the way"), "{cause}");
    proxy.set(Policy::default());
    browser.click("#reconnect").await;
    browser.wait_for_state("open").await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_names_a_byte_changed_in_the_handshake() {
    let mut chance = Chance::new();
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let browser = open_through(&proxy, &server).await;
    // M2, AUTH and AUTH_OK.
    let cases = [
        (ToClient, 1, "not-your-server", "not made by the server"),
        (ToServer, 1, "altered", "changed on the way"),
        (ToClient, 2, "altered", "changed on the way"),
    ];
    for (direction, message, code, words) in cases {
        // The old page goes first: Firefox takes its socket away before that, and it would dial the line that is altered. And
        // its line: a browser that keeps the page keeps that too, and the next page would share it.
        browser.run("link.close(); await link.closed", Value::Null).await;
        browser.open("about:blank").await;
        proxy.act(direction, When::OfANewLine(message), Act::Flip(chance.below(1_000)));
        browser.open(&proxy.address()).await;
        assert_named(&browser, &proxy, direction, code, words).await;
    }
    browser.reload().await;
    browser.wait_for_state("open").await;
    browser.finish().await;
}

async fn assert_named(browser: &Browser, proxy: &Proxy, direction: Direction, code: &str, words: &str) {
    let cause = browser.wait_for_end(code).await;
    assert!(cause.contains(words), "{direction:?}: {cause}");
    assert!(proxy.has_acted());
}

#[tokio::test]
async fn browser_names_a_middleman_that_answers_with_a_key_of_its_own() {
    let (server, other) = (Server::dev().await, Server::dev().await);
    let proxy = Proxy::before(&[&server, &other]).await;
    let swapped = Policy { line_port: Some(other.port), ..Policy::default() };
    proxy.set(swapped);
    let browser = Browser::start(&Profile::trusting(proxy.trust())).await;
    browser.open(&through(server.link(), proxy.port)).await;
    let cause = browser.wait_for_end("lost").await;
    assert!(cause.contains("another server is at this address"), "{cause}");
    // With the real server behind it the same link still works, and then the pin protects.
    proxy.set(Policy::default());
    browser.open(&through(server.link(), proxy.port)).await;
    browser.wait_for_state("open").await;
    browser.run("link.close(); await link.closed", Value::Null).await;
    proxy.set(swapped);
    browser.reload().await;
    browser.wait_for_end("lost").await;
    assert_eq!(other.devices().await.len(), 0);
    browser.finish().await;
}

#[tokio::test]
async fn browser_sends_m1_with_the_upgrade_and_m2_follows_the_101() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let browser = open_through(&proxy, &server).await;
    assert_m1_came_with_the_upgrade(&proxy.log());
    browser.finish().await;
}

#[tokio::test]
async fn browser_opens_by_the_second_form_where_the_offer_is_stripped() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    proxy.set(Policy { strip_m1: true, ..Policy::default() });
    let browser = open_through(&proxy, &server).await;
    assert_m1_came_as_the_first_message(&proxy.log());
    assert_eq!(browser.echo(b"all the same").await.unwrap(), b"all the same");
    browser.finish().await;
}

#[tokio::test]
async fn browser_whose_auth_ok_was_lost_gets_in_with_the_same_invite() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    proxy.act(ToClient, When::OfANewLine(2), Act::Cut);
    let browser = Browser::start(&Profile::trusting(proxy.trust())).await;
    browser.open(&through(server.link(), proxy.port)).await;
    browser.wait_for_end("lost").await;
    assert_eq!(server.devices().await.len(), 1, "the server had let it in");
    browser.click("#reconnect").await;
    browser.wait_for_state("open").await;
    assert_eq!(server.devices().await.len(), 1);
    browser.finish().await;
}
