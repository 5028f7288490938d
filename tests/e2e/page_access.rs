//! The page for everybody: axe finds nothing serious, the keyboard reaches everything, and a narrow screen shows all of it.

use serde_json::{Value, json};

use crate::{
    browser::{Browser, Profile},
    page::enrolled,
    pictures::assert_it_fits,
    server::{Server, workspace},
};

/// The source of axe. `cargo xtask test` installs it, and skips the tests named `browser_axe_…` where it cannot.
pub(crate) fn axe() -> String {
    let path = workspace().join("target/tools/npm/axe-core/node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(&path).unwrap_or_else(|_| {
        panic!("axe is not at {}: run `cargo xtask test --filter axe`, which installs it with npm", path.display())
    })
}

/// What axe calls serious or critical: the rule, and where.
pub(crate) async fn serious(browser: &Browser, axe: &str) -> Value {
    let body = "
        if (!globalThis.axe) (0, eval)(args);
        // `page-has-…` and the like are of the whole page: nothing is left out.
        const { violations, passes } = await axe.run(document, { resultTypes: ['violations'] });
        if (passes.length < 10) throw new Error(`axe has only tried ${passes.length} rules`);
        return violations
            .filter(({ impact }) => impact === 'serious' || impact === 'critical')
            .map(({ id, nodes }) => [id, nodes.map(({ html, failureSummary }) => [html.slice(0, 200), failureSummary])]);";
    browser.run_past_policy(body, json!(axe)).await
}

/// A conversation, and all panels open.
async fn fill(server: &mut Server, browser: &Browser) {
    server.stdout.with("is here").await;
    browser.type_into("#desk-input", "Good evening").await;
    browser.click("#desk-send").await;
    server.stdout.with("Good evening").await;
    server.type_line("Good evening to you").await;
    browser
        .wait_until("document.querySelector('.message.them') && document.querySelector('.message[data-status=taken]')")
        .await;
    browser.click("#echo-button").await;
    browser.wait_until("document.getElementById('echo-result').dataset.status === 'done'").await;
    browser.click("#compare").await;
    browser.wait_until("document.querySelectorAll('#device-words li').length === 8").await;
    browser.click("#pair").await;
    browser.wait_until("document.querySelector('.qr path')").await;
    browser.click("[data-break=cut]").await;
    browser.wait_until("document.getElementById('break-result').dataset.status === 'done'").await;
    let file = tempfile::Builder::new().prefix("note ").suffix(".txt").tempfile().unwrap();
    std::fs::write(&file, b"a note").unwrap();
    browser.type_into("#files-input", file.path().to_str().unwrap()).await;
    browser.wait_until("document.querySelector('.file[data-status=done]')").await;
    browser.wait_until("document.querySelector('#wrote .dump')").await;
}

#[tokio::test]
async fn browser_axe_finds_nothing_serious_in_either_language_and_theme() {
    let axe = axe();
    let mut server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    fill(&mut server, &browser).await;
    for language in ["en", "fr"] {
        browser.click(&format!("[data-language={language}]")).await;
        browser.wait_until(&format!("document.documentElement.lang === '{language}'")).await;
        for scheme in ["light", "dark"] {
            browser.set_scheme(scheme).await;
            assert_eq!(serious(&browser, &axe).await, json!([]), "open, {language}, {scheme}");
            browser.click("#forget").await;
            browser.wait_until("document.querySelector('dialog[open]')").await;
            assert_eq!(serious(&browser, &axe).await, json!([]), "the question, {language}, {scheme}");
            browser.click("#forget-no").await;
        }
    }
    // The loudest ending.
    let other = Server::dev().await;
    let fragment = other.link().split_once('#').unwrap().1.to_owned();
    browser.run("history.replaceState(null, '', '/'); location.hash = args", json!(fragment)).await;
    browser.wait_for_end("pin-changed").await;
    for scheme in ["light", "dark"] {
        browser.set_scheme(scheme).await;
        assert_eq!(serious(&browser, &axe).await, json!([]), "a changed key, {scheme}");
    }
    // And those where nothing but help is shown.
    let (device, _) = server.devices().await.pop().unwrap();
    server.verb(&["devices", "revoke", &device]).await;
    browser.open(&server.address()).await;
    browser.wait_for_end("device-revoked").await;
    browser.wait_until("document.getElementById('shut-forget')?.checkVisibility()").await;
    assert_eq!(serious(&browser, &axe).await, json!([]), "revoked");
    browser.click("#shut-forget").await;
    browser.wait_until("document.querySelector('dialog[open]')").await;
    browser.click("#forget-yes").await;
    browser.wait_until("document.getElementById('invite-link')?.checkVisibility()").await;
    for scheme in ["light", "dark"] {
        browser.set_scheme(scheme).await;
        assert_eq!(serious(&browser, &axe).await, json!([]), "a field for a link, {scheme}");
    }
}

#[tokio::test]
async fn browser_the_keyboard_reaches_everything_and_shows_where_it_is() {
    let mut server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    fill(&mut server, &browser).await;
    let begin = "
        // From the top: behind the last element some browsers have their own bars, and the page no focus.
        document.body.tabIndex = -1;
        document.body.focus();
        document.body.removeAttribute('tabindex');
        globalThis.wanted = [...document.querySelectorAll('a[href], button, textarea, input, select, summary, [tabindex=\"0\"]')]
            .filter((element) => element.checkVisibility() && !element.disabled);
        globalThis.reached = new Set();
        globalThis.unseen = [];
        return wanted.length";
    let wanted = browser.run(begin, Value::Null).await.as_u64().unwrap();
    assert!(wanted > 10, "there is something to reach: {wanted}");
    let look = "
        const element = document.activeElement;
        if (element === document.body) return false;
        reached.add(element);
        const { outlineStyle, outlineWidth } = getComputedStyle(element);
        const { width, height, left, right } = element.getBoundingClientRect();
        const isShown = width > 0 && height > 0 && right > 0 && left < innerWidth;
        if (!isShown || outlineStyle === 'none' || parseFloat(outlineWidth) < 2) unseen.push(element.outerHTML.slice(0, 200));
        return wanted.every((element) => reached.has(element));";
    for _ in 0..wanted + 10 {
        browser.press_tab().await;
        if browser.run(look, Value::Null).await == json!(true) {
            break;
        }
    }
    let missed = "return [wanted.filter((element) => !reached.has(element)).map((element) => element.outerHTML.slice(0, 200)), unseen]";
    assert_eq!(browser.run(missed, Value::Null).await, json!([[], []]), "not reached; reached and not shown");
    browser.finish().await;
}

#[tokio::test]
async fn browser_nothing_overflows_at_320_pixels_in_french() {
    let mut server = Server::dev().await;
    let browser = Browser::start(&Profile::trusting(server.trust()).french()).await;
    browser.set_screen(320, 640).await;
    browser.open(server.link()).await;
    browser.wait_for_state("open").await;
    fill(&mut server, &browser).await;
    assert_it_fits(&browser).await;
    browser.click("#forget").await;
    browser.wait_until("document.querySelector('dialog[open]')").await;
    assert_it_fits(&browser).await;
    browser.finish().await;
}
