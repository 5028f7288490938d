//! Pictures of the page for the README, and that it fits a narrow screen.

use serde_json::{Value, json};

use crate::{
    browser::{Browser, Engine, Profile},
    page::enrolled,
    server::Server,
};

/// A few echoes and a short conversation, as a visitor would see them.
async fn converse(server: &mut Server, browser: &Browser) {
    server.stdout.with("is here").await;
    for _ in 0..8 {
        browser.run("document.getElementById('echo-result').dataset.status = ''", Value::Null).await;
        browser.click("#echo-button").await;
        browser.wait_until("document.getElementById('echo-result').dataset.status === 'done'").await;
    }
    let files = tempfile::tempdir().unwrap();
    let photo = files.path().join("Lausanne, le lac au petit matin.jpg");
    std::fs::write(&photo, vec![7; 3_400_000]).unwrap();
    browser.type_into("#files-input", photo.to_str().unwrap()).await;
    browser.wait_until("document.querySelector('.file[data-status=done]')").await;
    browser.type_into("#desk-input", "Is this line really private?").await;
    browser.click("#desk-send").await;
    server.stdout.with("really private?").await;
    server.type_line("Look below: that is all a proxy on the way gets to see.").await;
    browser.wait_until("document.querySelectorAll('.message.them').length === 1").await;
    browser.type_into("#desk-input", "Merci. À demain, alors.").await;
    browser.click("#desk-send").await;
    browser.wait_until("document.querySelectorAll('.message[data-status=taken]').length === 2").await;
    // Drawn at once where somebody looks, else when the burst is over.
    browser.wait_until("document.querySelector('#wrote .entry-text')?.innerText.startsWith('Merci')").await;
}

/// Asserts that nothing sticks out at the side.
pub(crate) async fn assert_it_fits(browser: &Browser) {
    let body = "
        const wide = [...document.querySelectorAll('body *')]
            .filter((element) => element.getBoundingClientRect().right > innerWidth + 1 && !element.closest('[role=region]'))
            .map((element) => element.id || element.className || element.tagName);
        return [document.documentElement.scrollWidth, innerWidth, wide.slice(0, 5)]";
    let measured = browser.run(body, Value::Null).await;
    assert!(measured[0].as_u64() <= measured[1].as_u64(), "scrollWidth, innerWidth, what sticks out: {measured}");
}

#[tokio::test]
async fn browser_picture_of_an_open_page() {
    let mut server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    browser.set_screen(1280, 900).await;
    converse(&mut server, &browser).await;
    assert_it_fits(&browser).await;
    browser.run("document.activeElement?.blur(); scrollTo(0, 0)", Value::Null).await;
    browser.screenshot("open").await;
    if Engine::of_this_run() == Engine::Chromium {
        browser.set_scheme("dark").await;
        browser.screenshot("open-dark").await;
    }
    browser.finish().await;
}

#[tokio::test]
async fn browser_picture_of_the_race_on_a_narrow_page() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    browser.set_screen(320, 640).await;
    browser.wait_until("!document.querySelector('[data-break=cut]').disabled").await;
    browser.click("[data-break=cut]").await;
    browser.wait_until("document.getElementById('break-race').checkVisibility()").await;
    assert_it_fits(&browser).await;
    browser.wait_until("document.getElementById('break-result').dataset.status === 'done'").await;
    assert_it_fits(&browser).await;
    browser.screenshot("race-320").await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_picture_of_a_narrow_page_in_french() {
    let mut server = Server::dev().await;
    let browser = Browser::start(&Profile::trusting(server.trust()).french()).await;
    browser.set_screen(320, 640).await;
    browser.open(server.link()).await;
    browser.wait_for_state("open").await;
    assert_eq!(browser.run("return innerWidth", Value::Null).await, json!(320));
    converse(&mut server, &browser).await;
    assert_it_fits(&browser).await;
    browser.screenshot("open-320-fr").await;

    let (device, _) = server.devices().await.pop().unwrap();
    server.verb(&["devices", "revoke", &device]).await;
    browser.wait_for_end("device-revoked").await;
    browser.wait_until("document.getElementById('shut-forget')").await;
    assert_it_fits(&browser).await;
    browser.screenshot("revoked-320-fr").await;
    browser.click("#shut-forget").await;
    browser.wait_until("document.querySelector('dialog[open]')").await;
    browser.click("#forget-yes").await;
    browser.wait_until("document.getElementById('invite-link')?.checkVisibility()").await;
    assert_it_fits(&browser).await;
    browser.screenshot("shut-320-fr").await;
    browser.finish().await;
}
