//! What the page says of delivery, and of the server's key: marks on messages, words to read aloud, what was compared.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    browser::{Browser, Profile},
    page::enrolled,
    path::{Cut, Path},
    server::Server,
};

async fn write(browser: &Browser, text: &str) {
    browser.type_into("#desk-input", text).await;
    browser.click("#desk-send").await;
}

async fn wait_for_marks(browser: &Browser, marks: &[&str]) {
    let marks = json!(marks);
    let now = "JSON.stringify([...document.querySelectorAll('.message.you')].map((message) => message.dataset.status))";
    browser.wait_until(&format!("{now} === JSON.stringify({marks})")).await;
}

#[tokio::test]
async fn browser_a_message_waits_for_the_line_and_is_taken_when_there_is_one() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    // Every mark that a message has had.
    let watch = "
        globalThis.marks = [];
        new MutationObserver(() => {
            const mark = document.querySelector('.message.you')?.dataset.status;
            if (mark && marks.at(-1) !== mark) marks.push(mark);
        }).observe(document.getElementById('desk-log'), { subtree: true, childList: true, attributes: true });";
    browser.run(watch, Value::Null).await;
    path.lead_nowhere();
    path.cut(Cut::Both);
    browser.wait_for_state("resuming").await;
    write(&browser, "Are you there?").await;
    wait_for_marks(&browser, &["waiting"]).await;
    assert!(browser.text(".message.you").await.contains("waits for the line"));
    path.lead_to(server.port);
    server.stdout.with("Are you there?").await;
    wait_for_marks(&browser, &["taken"]).await;
    assert_eq!(browser.run("return marks", Value::Null).await, json!(["waiting", "sent", "taken"]));
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_message_that_nobody_is_known_to_have_read_is_kept_and_sent_again_by_hand() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    browser.wait_until("!document.getElementById('desk-send').disabled").await;
    // It leaves, and the server that it was for is gone before it can arrive.
    let leaves = async {
        write(&browser, "Before the restart").await;
        wait_for_marks(&browser, &["sent"]).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        path.cut(Cut::Both);
        let server = server.restarted().await;
        path.lead_to(server.port);
        server
    };
    let (server, ()) = tokio::join!(leaves, path.stall(Duration::from_secs(3)));
    browser.wait_for_state("open").await;
    wait_for_marks(&browser, &["failed"]).await;
    assert!(browser.text(".message.you").await.contains("perhaps not delivered"));
    browser.click(".message.you button").await;
    server.stdout.with("Before the restart").await;
    wait_for_marks(&browser, &["taken"]).await;
    assert_it_came_once(&browser, &server, "Before the restart").await;
    browser.finish().await;
}

/// It once ended as not delivered, while the page had said that nothing was lost.
#[tokio::test]
async fn browser_what_was_written_while_the_server_was_started_again_goes_by_itself_in_order() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    write(&browser, "Before").await;
    wait_for_marks(&browser, &["taken"]).await;
    path.lead_nowhere();
    path.cut(Cut::Both);
    browser.wait_for_state("resuming").await;
    assert!(!browser.text("#detail").await.contains("nothing is lost"));
    for text in ["First", "Second", "Third"] {
        write(&browser, text).await;
    }
    wait_for_marks(&browser, &["taken", "waiting", "waiting", "waiting"]).await;
    let mut server = server.restarted().await;
    path.lead_to(server.port);
    browser.wait_for_state("open").await;
    wait_for_marks(&browser, &["taken"; 4]).await;
    assert!(browser.text("#desk-note").await.contains("in a new session: the server was started again"));
    for text in ["First", "Second", "Third"] {
        assert_it_came_once(&browser, &server, text).await;
    }
    let shown = server.stdout.seen().join("\n");
    let place = |text| shown.find(text).unwrap_or_else(|| panic!("{text} is not in {shown}"));
    assert!(place(": First") < place(": Second") && place(": Second") < place(": Third"), "{shown}");
    // And the way back is there.
    server.type_line("All three are here").await;
    browser.wait_until("document.querySelector('.message.them')?.innerText.includes('All three')").await;
    browser.finish().await;
}

async fn assert_it_came_once(browser: &Browser, server: &Server, text: &str) {
    browser.run("await new Promise((ok) => setTimeout(ok, 300))", Value::Null).await;
    let arrived = server.stdout.seen().iter().filter(|line| line.contains(text)).count();
    assert_eq!(arrived, 1, "once, not twice: {text}");
}

#[tokio::test]
async fn browser_the_words_to_read_aloud_are_those_of_the_server_in_both_languages() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let words =
        async |of: &str| browser.text(&format!("#{of}-words")).await.split_whitespace().collect::<Vec<_>>().join(" ");
    let keys = server.verb(&["keys", "show"]).await;
    let devices = server.verb(&["devices", "list", "--words"]).await;
    browser.click("#compare").await;
    browser.wait_until("document.querySelectorAll('#server-words li').length === 8").await;
    let english = words("server").await;
    assert!(keys.contains(&format!("words        {english}\n")), "{english:?} is not in {keys:?}");
    let device = words("device").await;
    assert!(devices.contains(&format!("    {device}\n")), "{device:?} is not in {devices:?}");
    browser.click("[data-language=fr]").await;
    let text = json!(english);
    browser
        .wait_until(&format!(
            "document.getElementById('server-words').innerText.trim().split(/\\s+/).join(' ') !== {text}"
        ))
        .await;
    let french = words("server").await;
    assert!(keys.contains(&format!("mots         {french}\n")), "{french:?} is not in {keys:?}");
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_comparison_is_remembered_and_another_key_does_not_inherit_it() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    assert!(browser.text("#compared").await.contains("nobody has compared"));
    let own = browser.text("#server-fingerprint").await;
    browser.click("#compare").await;
    browser.wait_until("document.querySelectorAll('#server-words li').length === 8").await;
    browser.click("#compare-yes").await;
    browser.wait_until("document.getElementById('compared').dataset.compared === 'same'").await;
    browser.reload().await;
    browser.wait_for_state("open").await;
    assert!(browser.text("#compared").await.contains("you compared this key on"));

    // A link that names another key: the page says that the old one was vouched for.
    let other = Server::dev().await;
    let fragment = other.link().split_once('#').unwrap().1.to_owned();
    browser.open(&format!("{}/#{fragment}", server.address())).await;
    browser.wait_for_end("pin-changed").await;
    browser.wait_until("document.getElementById('pin-compared').innerText.includes('You compared this one')").await;
    // And the person trusts it all the same. The server here has the old key, so that no line opens; but the page says
    // whose key it is not.
    browser.click("#trust-new-key").await;
    browser.wait_until("document.getElementById('compared').dataset.compared === 'changed'").await;
    let warning = browser.text("#compared").await;
    assert!(warning.contains("NOT the key that you compared") && warning.contains(&own), "{warning}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_comparison_by_six_words_is_still_shown_as_one() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    browser.click("#compare").await;
    browser.wait_until("document.querySelectorAll('#server-words li').length === 8").await;
    browser.click("#compare-yes").await;
    browser.wait_until("document.getElementById('compared').dataset.compared === 'same'").await;
    // What a page of six words kept, to the letter: the key and the whole fingerprint, never words.
    browser
        .run(
            "const name = `duologue-compared:${location.host}`;
             const { key, fingerprint } = JSON.parse(localStorage.getItem(name));
             localStorage.setItem(name, JSON.stringify({ key, fingerprint, at: Date.UTC(2026, 0, 2, 12) }));",
            Value::Null,
        )
        .await;
    browser.reload().await;
    browser.wait_for_state("open").await;
    browser.wait_until("document.getElementById('compared').dataset.compared === 'same'").await;
    let compared = browser.text("#compared").await;
    assert!(compared.contains("you compared this key on") && compared.contains("2026"), "{compared}");
    browser.finish().await;
}

#[tokio::test]
async fn browser_an_enrolled_device_lets_one_more_in_by_a_link_and_its_qr_code() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let mut links = Vec::new();
    for _ in 0..5 {
        browser.click("#pair").await;
        browser.wait_until("document.querySelector('.qr path')").await;
        let link = browser.text(".pair-link").await;
        // The squares are those of this link, each where it belongs.
        let code = qrcodegen::QrCode::encode_text(&link, qrcodegen::QrCodeEcc::Medium).unwrap();
        let places = (0..code.size()).flat_map(|y| (0..code.size()).map(move |x| (x, y)));
        let dark = places.filter(|&(x, y)| code.get_module(x, y)).map(|(x, y)| format!("M{x} {y}h1v1h-1z"));
        let drawn = browser.run("return document.querySelector('.qr path').getAttribute('d')", Value::Null).await;
        assert_eq!(drawn, json!(dark.collect::<String>()));
        links.push(link);
        browser.click("#pair").await;
    }
    let id = server.devices().await.pop().unwrap().0;
    browser.click("#pair").await;
    browser.wait_until("document.querySelector('#pair-panel').innerText.includes('Five links')").await;
    assert_eq!(browser.text("#device-revoke").await, format!("duologue devices revoke {id}"));
    browser.finish().await;

    let second = Profile::trusting(server.trust());
    let browser = Browser::start(&second).await;
    browser.open(&links[0]).await;
    browser.wait_for_state("open").await;
    assert_eq!(server.devices().await.len(), 2);
    // Whoever is put out takes along what was not used.
    server.verb(&["devices", "revoke", &id]).await;
    let third = Profile::trusting(server.trust());
    browser.finish().await;
    let browser = Browser::start(&third).await;
    browser.open(&links[1]).await;
    browser.wait_for_state("closed").await;
    assert_eq!(server.devices().await.len(), 2);
}

#[tokio::test]
async fn browser_a_server_whose_owner_does_not_allow_it_gives_no_links() {
    let server = Server::serve(&[]).await;
    let browser = Browser::start(&Profile::knowing(&server)).await;
    browser.open(&server.invite("24h").await).await;
    browser.wait_for_state("open").await;
    browser.wait_until("!document.getElementById('echo').hidden").await;
    let seen = "return ['desk', 'files', 'pair', 'echo', 'forget'].filter((id) => document.getElementById(id).checkVisibility())";
    assert_eq!(browser.run(seen, Value::Null).await, json!(["echo", "forget"]), "nothing that it would refuse");
    browser.finish().await;
}

#[tokio::test]
async fn browser_what_is_broken_in_the_page_comes_back_with_nothing_lost() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    for (kind, words) in [("cut", "lost, and resumed after"), ("flip", "lost, and resumed after"), ("hold", "late by")]
    {
        browser.click(&format!("[data-break={kind}]")).await;
        browser.wait_until("document.getElementById('break-result').dataset.status === 'waiting'").await;
        browser.wait_until_within(40, "document.getElementById('break-result').dataset.status !== 'waiting'").await;
        let said = browser.text("#break-result").await;
        println!("{kind}: {said}");
        assert!(said.contains(words) && said.contains("with 0 messages lost, 0 changed or twice"), "{kind}: {said}");
        // And beside it what became of the plain one, through the same fault.
        let count = async |of: &str| {
            let text = browser.text(&format!("[data-race={of}]")).await;
            text.parse::<u32>().unwrap_or_else(|_| panic!("{of} is {text:?}"))
        };
        let (sent, back) = (count("line-sent").await, count("line-back").await);
        assert!(sent > 20 && sent == back && sent == count("plain-sent").await, "the same work: {sent}, {back}");
        assert_eq!(count("line-lost").await + count("line-wrong").await, 0);
        let (lost, wrong) = (count("plain-lost").await, count("plain-wrong").await);
        assert_eq!(count("plain-back").await + lost + wrong, sent);
        match kind {
            "cut" => assert!(lost > 0 && wrong == 0, "{said}"),
            "flip" => assert_eq!((lost, wrong), (0, 1), "{said}"),
            _ => assert_eq!((lost, wrong), (0, 0), "{said}"),
        }
        for runner in ["line", "plain"] {
            assert!(browser.text(&format!("[data-race={runner}-time]")).await.ends_with(" ms"));
        }
    }
    browser.finish().await;
}

#[tokio::test]
async fn browser_round_trips_are_measured_by_themselves_while_the_page_is_seen() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    browser
        .wait_until_within(30, "/^[2-9] round trips so far/.test(document.getElementById('echo-summary').innerText)")
        .await;
    assert_eq!(browser.text("#echo-result").await, "", "nothing is said aloud of them");
    // Of fewer than ten, percentiles would say nothing.
    let shown = "return [document.querySelector('.spark').getAttribute('aria-label'), document.querySelectorAll('.spark-median').length]";
    for presses in 1..=10 {
        let seen = browser.run(shown, Value::Null).await;
        let count = browser.run("return document.querySelector('.spark-line').points.length", Value::Null).await;
        let (has_percentiles, lines) = (seen[0].as_str().unwrap().contains("95 % within"), seen[1].as_u64().unwrap());
        assert_eq!((has_percentiles, lines > 0), (count.as_u64() >= Some(10), count.as_u64() >= Some(10)), "{seen}");
        browser.run("document.getElementById('echo-result').dataset.status = ''", Value::Null).await;
        browser.click("#echo-button").await;
        browser.wait_until("document.getElementById('echo-result').dataset.status === 'done'").await;
        assert!(presses < 10 || browser.text("#echo-summary").await.starts_with("Half of 1"));
    }
    browser.finish().await;
}
