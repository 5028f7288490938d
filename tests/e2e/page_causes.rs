//! What the page says when it does not get in, or is put out: a code for programs, and sentences that say what to do.

use serde_json::{Value, json};

use crate::{
    browser::{Browser, Profile},
    enrolment::stranger,
    page::enrolled,
    server::{Server, target},
    within,
};

#[tokio::test]
async fn browser_an_invite_used_from_another_profile_is_refused_with_the_reason() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    browser.finish().await;
    let second = Profile::trusting(server.trust());
    let browser = Browser::start(&second).await;
    browser.open(server.link()).await;
    let cause = browser.wait_for_end("invite-used").await;
    assert!(cause.contains("already used by another device"), "{cause}");
    assert!(cause.contains("duologue invite new"), "{cause}");
    assert_eq!(server.devices().await.len(), 1);

    // A new link in the same page is a new beginning.
    browser.open(&server.invite("24h").await).await;
    browser.wait_for_state("open").await;
    assert_eq!(server.devices().await.len(), 2);
    browser.finish().await;
}

#[tokio::test]
async fn browser_an_expired_and_a_damaged_invite_say_so() {
    let server = Server::dev().await;
    let browser = Browser::start(&Profile::trusting(server.trust())).await;
    browser.open(&server.expired_invite().await).await;
    let cause = browser.wait_for_end("invite-expired").await;
    assert!(cause.contains("expired"), "{cause}");
    let link = server.link();
    browser.open(&link[..link.len() - 5]).await;
    let cause = browser.wait_for_end("bad-invite").await;
    assert!(cause.contains("damaged"), "{cause}");
    browser.finish().await;
}

#[tokio::test]
async fn browser_without_key_and_invite_the_page_says_how_to_get_in() {
    let server = Server::dev().await;
    let browser = Browser::start(&Profile::trusting(server.trust())).await;
    browser.open(&server.address()).await;
    let cause = browser.wait_for_end("no-identity").await;
    assert!(cause.contains("duologue invite new"), "{cause}");
    browser.finish().await;
}

#[tokio::test]
async fn browser_that_has_lost_its_key_says_so_and_how_to_get_in_again() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    // From a page of the same origin without our script: nothing there holds the database open.
    browser.open(&format!("{}/page/page.css", server.address())).await;
    let body = "
        const databases = await indexedDB.databases();
        for (const { name } of databases)
            await new Promise((ok, no) => {
                const request = indexedDB.deleteDatabase(name);
                request.onsuccess = ok;
                request.onerror = no;
            });
        return databases.length;";
    let deleted = browser.run(body, Value::Null).await;
    assert!(deleted.as_u64().is_some_and(|deleted| deleted > 0), "the identity was stored: {deleted}");

    browser.open(&server.address()).await;
    let cause = browser.wait_for_end("identity-lost").await;
    assert!(cause.contains("its own device key is gone") && cause.contains("duologue invite new"), "{cause}");
    // The pin lies elsewhere. Without it too, the browser cannot know that it was ever here.
    browser.run("localStorage.clear()", Value::Null).await;
    browser.reload().await;
    let cause = browser.wait_for_end("no-identity").await;
    assert!(cause.contains("lost or cleared") && cause.contains("duologue invite new"), "{cause}");
    browser.open(&server.invite("24h").await).await;
    browser.wait_for_state("open").await;
    assert_eq!(server.devices().await.len(), 2, "the old key is gone: this is a new device");
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_device_revoked_while_open_is_told() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let (device, _) = server.devices().await.pop().unwrap();
    server.verb(&["devices", "revoke", &device]).await;
    let cause = browser.wait_for_end("device-revoked").await;
    assert!(cause.contains("revoked this device"), "{cause}");
    browser.reload().await;
    browser.wait_for_end("device-revoked").await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_link_with_another_server_key_does_not_replace_the_pin() {
    let (server, other) = (Server::dev().await, Server::dev().await);
    let (_profile, browser) = enrolled(&server).await;
    let fragment = other.link().split_once('#').unwrap().1;
    browser.open(&format!("{}/#{fragment}", server.address())).await;
    let cause = browser.wait_for_end("pin-changed").await;
    assert!(cause.contains("another server key"), "{cause}");
    // They come by a script of their own.
    browser.wait_until("document.getElementById('pin-new').innerText !== ''").await;
    let own = browser.text("#pin-old").await;
    let named = browser.text("#pin-new").await;
    assert!(!own.is_empty() && server.verb(&["keys", "show"]).await.contains(&own), "{own}");
    assert!(!named.is_empty() && other.verb(&["keys", "show"]).await.contains(&named), "{named}");
    // Keeping the pin is one click away, and the line opens again.
    browser.click("#reconnect").await;
    browser.wait_for_state("open").await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_that_reads_french_is_told_in_french() {
    let server = Server::dev().await;
    let _first = within(20, "the first device", stranger().connect(&target(server.link()))).await.unwrap();
    let profile = Profile::trusting(server.trust()).french();
    let browser = Browser::start(&profile).await;
    browser.open(server.link()).await;
    let cause = browser.wait_for_end("invite-used").await;
    assert!(cause.contains("Cette invitation a déjà servi"), "{cause}");
    browser.open(&server.invite("24h").await).await;
    browser.wait_for_state("open").await;
    assert_eq!(browser.text("#state").await, "La ligne est ouverte");
    assert_eq!(browser.run("return document.documentElement.lang", Value::Null).await, "fr");
    // And the other way by one click.
    browser.click("[data-language=en]").await;
    browser.wait_until("document.getElementById('state').innerText === 'The line is open'").await;
    browser.finish().await;
}

/// Who was here by a login alone is put out when it ends: as `not-enrolled`, with the door's word, which an invite link does not answer.
#[tokio::test]
async fn browser_who_was_here_by_a_login_is_told_why_it_counts_no_more_in_both_languages() {
    let server = Server::dev().await;
    let browser = Browser::start(&Profile::trusting(server.trust())).await;
    browser.open(&server.address()).await;
    browser.wait_for_end("no-identity").await;
    browser.wait_until("document.getElementById('invite-link')?.checkVisibility()").await;
    let ask = browser.text("#cause-do").await;
    assert!(ask.contains("invite"), "{ask}");
    // As the page asks for help, whose script has a name of the build's.
    let tell = "const shut = performance.getEntriesByType('resource').map(({ name }) => name).find((name) => name.includes('/shut-'));
        const { askForLink } = await import(shut);
        askForLink(() => {}, args)";
    browser.run(tell, json!("token-expired")).await;
    assert_eq!(browser.text("#cause-what").await, "The time of your login is over: sign in again.");
    assert_eq!(browser.text("#cause-do").await, "", "not what a device without an invite is told");
    browser.click("[data-language=fr]").await;
    browser
        .wait_until(
            "document.getElementById('cause-what').innerText === 'Votre connexion a expiré\u{a0}: reconnectez-vous.'",
        )
        .await;
    // A peer's own words are none of the door's.
    browser.run(tell, json!("<b>anything</b>")).await;
    assert!(!browser.text("#cause").await.contains("anything"));
    browser.finish().await;
}
