//! The page for a person: what helps and nothing else, what was said, what crossed, and words where a part is not what it
//! should be.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    browser::{Browser, Engine, Profile},
    page::enrolled,
    page_middleman::open_through,
    path::{Cut, Path},
    policy::Policy,
    proxy::Proxy,
    server::{Server, through, workspace},
};

/// Ids of what a person sees, of those that are asked for.
async fn seen(browser: &Browser, ids: &[&str]) -> Vec<String> {
    let body = "return args.filter((id) => document.getElementById(id)?.checkVisibility())";
    serde_json::from_value(browser.run(body, json!(ids)).await).unwrap()
}

const EVERYTHING: [&str; 8] = ["desk", "files", "echo", "seal", "pair", "forget", "compare", "reconnect"];

async fn say(browser: &Browser, text: &str) {
    browser.type_into("#desk-input", text).await;
    browser.wait_until("!document.getElementById('desk-send').disabled").await;
    browser.click("#desk-send").await;
}

/// What stands in the conversation: whose, text, mark.
async fn said(browser: &Browser) -> Value {
    let body = "return [...document.querySelectorAll('.message')].map((one) =>
        [one.classList.contains('you') ? 'you' : 'them', one.querySelector('.message-body').textContent, one.dataset.status ?? null])";
    browser.run(body, Value::Null).await
}

#[tokio::test]
async fn browser_who_is_not_let_in_sees_the_cause_and_a_field_for_a_link_that_works() {
    let server = Server::dev().await;
    let browser = Browser::start(&Profile::trusting(server.trust())).await;
    browser.open(&server.address()).await;
    browser.wait_for_end("no-identity").await;
    browser.wait_until("document.getElementById('invite-link')?.checkVisibility()").await;
    assert_eq!(seen(&browser, &EVERYTHING).await, [""; 0], "nothing that cannot work");

    // What is no link says so, and so does one for somebody else; nothing of it is dialled.
    for (typed, told) in
        [("hello", "no invite link"), ("https://elsewhere.example/#i=AAAA", "another server, elsewhere.example")]
    {
        browser.run("document.getElementById('invite-link').value = ''", Value::Null).await;
        browser.type_into("#invite-link", &format!("{typed}\u{e007}")).await;
        browser.wait_until(&format!("document.getElementById('invite-note').innerText.includes('{told}')")).await;
    }
    // A damaged one is told by the line's end, and the field is there again.
    browser.run("document.getElementById('invite-link').value = ''", Value::Null).await;
    browser.type_into("#invite-link", &format!("{}/#i=AAAA\u{e007}", server.address())).await;
    browser.wait_for_end("bad-invite").await;
    browser.wait_until("document.getElementById('invite-link')?.value === ''").await;

    browser.type_into("#invite-link", &format!("  {}\u{e007}", server.link())).await;
    browser.wait_for_state("open").await;
    browser.wait_until("document.getElementById('desk').checkVisibility()").await;
    assert_eq!(browser.url().await, format!("{}/", server.address()), "the secret is nowhere to be seen");
    let left = browser.run(
        "return [document.getElementById('invite-link'), document.documentElement.dataset.shut ?? null]",
        Value::Null,
    );
    assert_eq!(left.await, json!([null, null]));
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_used_invite_and_a_revoked_device_are_offered_only_what_helps() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let (device, _) = server.devices().await.pop().unwrap();
    server.verb(&["devices", "revoke", &device]).await;
    browser.wait_for_end("device-revoked").await;
    browser.wait_until("document.getElementById('shut-forget')?.checkVisibility()").await;
    assert_eq!(seen(&browser, &EVERYTHING).await, [""; 0]);
    assert_eq!(seen(&browser, &["invite-link"]).await, [""; 0], "no invite lets this key in again");
    // Forgotten, it is a new one, and the field helps.
    browser.click("#shut-forget").await;
    browser.wait_until("document.querySelector('dialog[open]')").await;
    browser.click("#forget-yes").await;
    browser.wait_for_end("forgotten").await;
    browser.wait_until("document.getElementById('invite-link')?.checkVisibility()").await;
    browser.type_into("#invite-link", &format!("{}\u{e007}", server.link())).await;
    browser.wait_for_end("invite-used").await;
    browser.wait_until("document.getElementById('invite-link')?.value === ''").await;
    assert_eq!(seen(&browser, &EVERYTHING).await, [""; 0]);
    browser.type_into("#invite-link", &format!("{}\u{e007}", server.invite("24h").await)).await;
    browser.wait_for_state("open").await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_reload_keeps_the_conversation_of_this_tab_and_forgetting_ends_it() {
    let mut server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    say(&browser, "Are you there?").await;
    server.stdout.with("Are you there?").await;
    server.type_line("Yes, I am").await;
    browser.wait_until("document.querySelector('.message.them')").await;
    browser.wait_until("document.querySelector('.message.you').dataset.status === 'taken'").await;
    // One whose fate is open when the page is left.
    path.lead_nowhere();
    path.cut(Cut::Both);
    browser.wait_for_state("resuming").await;
    say(&browser, "And now?").await;
    browser.wait_until("document.querySelectorAll('.message.you')[1]?.dataset.status === 'waiting'").await;
    path.lead_to(server.port);
    browser.reload().await;
    browser.wait_for_state("open").await;
    let kept = json!([["you", "Are you there?", "taken"], ["them", "Yes, I am", null], ["you", "And now?", "failed"]]);
    browser.wait_until("document.querySelectorAll('.message').length === 3").await;
    assert_eq!(said(&browser).await, kept);
    assert!(browser.text(".message:last-child").await.contains("perhaps not delivered"));
    // It goes on, and what failed can be sent again.
    browser.wait_until("!document.getElementById('desk-send').disabled").await;
    browser.click(".message:last-child button").await;
    browser.wait_until("document.querySelector('.message:last-child').dataset.status === 'taken'").await;

    // Another tab has its own.
    let first = browser.current_tab().await;
    let second = browser.open_tab(&through(&server.address(), path.port)).await;
    browser.wait_for_state("open").await;
    assert_eq!(said(&browser).await, json!([]));
    browser.close_tab(&first).await;
    drop(second);

    browser.click("#forget").await;
    browser.wait_until("document.querySelector('dialog[open]')").await;
    browser.click("#forget-yes").await;
    browser.wait_for_end("forgotten").await;
    browser.wait_until("document.querySelectorAll('.message').length === 0").await;
    browser.reload().await;
    browser.wait_for_end("no-identity").await;
    assert_eq!(
        browser.run("return [sessionStorage.length, document.querySelectorAll('.message').length]", Value::Null).await,
        json!([0, 0])
    );
    browser.finish().await;
}

#[tokio::test]
async fn browser_what_a_tab_keeps_of_a_conversation_is_bounded_and_no_stranger_can_break_it() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    browser.wait_until("!document.getElementById('desk-send').disabled").await;
    let write = "
        const [input, form] = ['desk-input', 'desk-form'].map((id) => document.getElementById(id));
        for (let i = 0; i < 150; i += 1) {
            input.value = `${i} ${'x'.repeat(5_000)}`;
            form.requestSubmit();
        }";
    browser.run(write, Value::Null).await;
    browser.wait_until("document.querySelectorAll('.message[data-status=taken]').length === 150").await;
    browser.reload().await;
    browser.wait_until("document.querySelectorAll('.message').length > 10").await;
    let kept = "
        const bodies = [...document.querySelectorAll('.message-body')].map((body) => parseInt(body.textContent));
        return [sessionStorage.getItem('duologue-conversation').length < 300_000, bodies.length <= 100, bodies.at(-1)]";
    assert_eq!(browser.run(kept, Value::Null).await, json!([true, true, 149]));
    // What is not ours, or not whole, is passed over.
    for junk in ["{", "[]", "null", "{\"owner\":1,\"messages\":[{\"who\":\"you\"},null]}", "{\"messages\":7}"] {
        browser.run("sessionStorage.setItem('duologue-conversation', args)", json!(junk)).await;
        // The page that goes must not write over it.
        browser
            .run(
                "addEventListener('pagehide', (event) => event.stopImmediatePropagation(), { capture: true })",
                Value::Null,
            )
            .await;
        browser.reload().await;
        browser.wait_for_state("open").await;
        say(&browser, "after junk").await;
        browser.wait_until("document.querySelector('.message.you:last-child')?.dataset.status === 'taken'").await;
    }
    browser.finish().await;
}

#[tokio::test]
async fn browser_the_newest_message_is_next_to_where_the_next_is_written_on_a_phone() {
    let mut server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    browser.set_screen(390, 844).await;
    let gap = "
        const [log, last, composer] = ['#desk-log', '.message:last-child', '#desk-input']
            .map((selector) => document.querySelector(selector).getBoundingClientRect());
        return [Math.round(composer.top - last.bottom), last.bottom <= log.bottom + 1, last.top >= log.top - 1]";
    for count in 1..=24 {
        say(&browser, &format!("message {count}")).await;
        server.stdout.with(&format!(": message {count}")).await;
        if ![1, 2, 24].contains(&count) {
            continue;
        }
        server.type_line(&format!("answer {count}")).await;
        browser
            .wait_until(&format!("document.querySelector('.message:last-child').innerText.includes('answer {count}')"))
            .await;
        let seen = browser.run(gap, Value::Null).await;
        assert!(seen[0].as_i64().is_some_and(|gap| (0..110).contains(&gap)), "after {count}: {seen}");
        assert_eq!((&seen[1], &seen[2]), (&json!(true), &json!(true)), "in view");
    }
    if Engine::of_this_run() == Engine::Chromium {
        browser.screenshot("phone-many").await;
    }
    browser.finish().await;
}

#[tokio::test]
async fn browser_the_ledger_opens_at_the_first_message_and_stays_closed_for_who_has_closed_it() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let is_open = "return document.getElementById('seal').open";
    browser.wait_until("!document.getElementById('desk-send').disabled").await;
    assert_eq!(browser.run(is_open, Value::Null).await, json!(false));
    let fetched = "return performance.getEntriesByType('resource').some(({ name }) => name.includes('/sealed'))";
    assert_eq!(browser.run(fetched, Value::Null).await, json!(false), "not before it is wanted");
    say(&browser, "the first").await;
    browser.wait_until("document.getElementById('seal').open").await;
    browser.wait_until("document.querySelector('#wrote .entry-text')?.textContent === 'the first'").await;
    browser.wait_until("document.querySelectorAll('#proxy-sees .dump').length > 0").await;
    // Folded away by the keyboard, as a person does it; and that is minded, also after a reload.
    browser.run("document.querySelector('#seal > summary').focus()", Value::Null).await;
    browser.type_into("#seal > summary", "\u{e007}").await;
    browser.wait_until("!document.getElementById('seal').open").await;
    say(&browser, "the second").await;
    browser.wait_until("document.querySelectorAll('.message[data-status=taken]').length === 2").await;
    assert_eq!(browser.run(is_open, Value::Null).await, json!(false));
    browser.reload().await;
    browser.wait_for_state("open").await;
    say(&browser, "the third").await;
    browser.wait_until("document.querySelectorAll('.message[data-status=taken]').length === 3").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(browser.run(is_open, Value::Null).await, json!(false));
    browser.click("#seal > summary").await;
    browser.wait_until("document.querySelector('#wrote .entry-text')?.textContent === 'the third'").await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_the_ledger_leaves_uploads_out() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    say(&browser, "before the file").await;
    browser.wait_until("document.querySelector('#wrote .entry-text')?.textContent === 'before the file'").await;
    browser.wait_until("document.querySelector('.message.you').dataset.status === 'taken'").await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let file = tempfile::Builder::new().suffix(".bin").tempfile().unwrap();
    std::fs::write(&file, vec![7; 3_000_000]).unwrap();
    browser.type_into("#files-input", file.path().to_str().unwrap()).await;
    browser.wait_until("document.querySelector('.file[data-status=done]')").await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let lengths = "return [...document.querySelectorAll('#proxy-sees .entry-head span')]
        .map((size) => parseInt(size.textContent.replace(',', '')))";
    let sizes: Vec<u32> = serde_json::from_value(browser.run(lengths, Value::Null).await).unwrap();
    // Those of the file are larger than any of the handshake and of the path's report, which thousands of them would have driven out.
    let largest = sizes.iter().max().copied().unwrap_or_default();
    assert!((1_000..4_000).contains(&largest), "{sizes:?}");
    assert_eq!(browser.run("return document.querySelectorAll('#wrote .entry').length", Value::Null).await, json!(1));
    browser.finish().await;
}

#[tokio::test]
async fn browser_controls_that_do_nothing_look_so_and_those_that_do_work() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    browser
        .wait_until(
            "!document.getElementById('desk-send').disabled && !document.getElementById('echo-button').disabled",
        )
        .await;
    let look = "
        return ['desk-send', 'echo-button'].map((id) => {
            const button = document.getElementById(id);
            const { borderTopStyle, cursor } = getComputedStyle(button);
            return [button.disabled, borderTopStyle, cursor];
        })";
    let alive = json!([false, "solid", "pointer"]);
    assert_eq!(browser.run(look, Value::Null).await, json!([alive, alive]));
    browser.run("link.close()", Value::Null).await;
    browser.wait_for_end("normal").await;
    let dead = json!([true, "dashed", "not-allowed"]);
    assert_eq!(browser.run(look, Value::Null).await, json!([dead, dead]));
    // What is typed meanwhile stays, and Enter says why it does not go.
    browser.type_into("#desk-input", "later\u{e007}").await;
    browser.wait_until("document.getElementById('desk-note').innerText.includes('draft stays')").await;
    browser.click("#reconnect").await;
    browser.wait_for_state("open").await;
    browser.wait_until("!document.getElementById('desk-send').disabled").await;
    browser.click("#desk-send").await;
    server.stdout.with(": later").await;
    browser.finish().await;
}

/// A page whose script was changed was once empty.
#[tokio::test]
async fn browser_an_altered_script_does_not_run_and_leaves_words_in_both_languages() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    let shared = std::fs::read_dir(workspace().join("target/web/page")).unwrap();
    let is_bundled = shared.flatten().any(|file| file.file_name().to_string_lossy().starts_with("chunk-"));
    let chunk = if is_bundled { "/page/chunk-" } else { "/page/base.js" };
    // Elsewhere only what the page itself names is checked, not what that imports.
    let imported = (Engine::of_this_run() == Engine::Chromium).then_some(chunk);
    for file in ["/page/page.js"].into_iter().chain(imported) {
        proxy.set(Policy { altered_file: Some(file), ..Policy::default() });
        let browser = Browser::start(&Profile::trusting(proxy.trust())).await;
        browser.open(&through(server.link(), proxy.port)).await;
        browser
            .wait_until_within(
                10,
                "document.querySelector('#unstarted p')?.checkVisibility({ visibilityProperty: true })",
            )
            .await;
        let words = browser.text("#unstarted").await;
        assert!(words.contains("has not started") && words.contains("n’a pas démarré"), "{file}: {words}");
        assert_eq!(seen(&browser, &["desk", "state", "seal"]).await, [""; 0], "{file}");
        assert_eq!(server.devices().await.len(), 0);
    }
    // And where all is well, nobody sees it.
    proxy.set(Policy::default());
    let browser = open_through(&proxy, &server).await;
    assert_eq!(browser.run("return document.getElementById('unstarted')", Value::Null).await, Value::Null);
    browser.finish().await;
}

#[tokio::test]
async fn browser_an_altered_module_or_library_is_not_run_and_the_page_says_so() {
    let server = Server::dev().await;
    let proxy = Proxy::before(&[&server]).await;
    // Elsewhere the line has the other module, and where that is altered, this one; and scripts are not checked.
    let is_chromium = Engine::of_this_run() == Engine::Chromium;
    let files: &[_] = if is_chromium { &["/duologue_core_bg.wasm", "/duologue.js"] } else { &["_bg.wasm"] };
    for &file in files {
        proxy.set(Policy { altered_file: Some(file), ..Policy::default() });
        let browser = Browser::start(&Profile::trusting(proxy.trust())).await;
        browser.open(&through(server.link(), proxy.port)).await;
        browser.wait_for_state("closed").await;
        browser.wait_until("document.getElementById('cause').checkVisibility()").await;
        let code = browser.run("return document.documentElement.dataset.code", Value::Null).await;
        let cause = browser.text("#cause").await;
        println!("{file}: {code}: {cause}");
        assert!(cause.contains("could not be loaded"), "{file}: {code}: {cause}");
        assert_eq!(server.devices().await.len(), 0, "no line with another module");
    }
}
