//! A page has another key put in the place of its device's own, which stays the same device, in every tab and whenever it is cut off.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    path::{Cut, Path},
    server::Server,
};

/// What names the device, and its key as it is kept.
const KEPT: &str = "
    const open = indexedDB.open('duologue', 1);
    await new Promise((resolve) => (open.onsuccess = resolve));
    const get = open.result.transaction('identities').objectStore('identities').get(location.host);
    await new Promise((resolve) => (get.onsuccess = resolve));
    open.result.close();
    const { key, fingerprint } = link.device;
    return { id: [key, fingerprint], spki: String(get.result.spki), next: 'next' in get.result, secret: get.result.keys.privateKey.extractable };";

#[tokio::test]
async fn browser_a_device_key_is_renewed_for_all_tabs_and_whenever_its_page_is_cut_off() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    let address = browser.url().await;
    let first = browser.current_tab().await;
    browser
        .run(
            "globalThis.fresh = globalThis.cuts = 0; globalThis.echo = link.channel('echo'); \
             link.addEventListener('fresh', () => fresh++); \
             link.addEventListener('statechange', () => (cuts += link.state === 'resuming')); await echo.send('a');",
            Value::Null,
        )
        .await;
    let before = browser.run(KEPT, Value::Null).await;
    let ids = || async { server.devices().await.into_iter().map(|(id, _)| id).collect::<Vec<_>>() };
    let devices = ids().await;
    let second = browser.open_tab(&address).await;
    browser.wait_for_state("open").await;
    browser.run("await link.renewKey()", Value::Null).await;
    assert_eq!(browser.echo(b"by the new key").await.unwrap(), b"by the new key");
    let after = browser.run(KEPT, Value::Null).await;
    assert_eq!((&after["id"], &after["next"], &after["secret"]), (&before["id"], &json!(false), &json!(false)));
    assert_ne!(after["spki"], before["spki"]);
    // The other tab has heard nothing of it, and goes on over a cut of its own; so does one that comes.
    browser.switch_to(&first).await;
    browser.wait_until("cuts === 1 && link.state === 'open'").await;
    browser.run("await echo.send('b')", Value::Null).await;
    path.cut(Cut::Rst);
    browser.wait_until("cuts === 2 && link.state === 'open'").await;
    let seen = browser.run("return [await echo.send('c').then(() => 'taken'), fresh]", Value::Null).await;
    assert_eq!(seen, json!(["taken", 0]), "the session is the one that it was");
    browser.open_tab(&address).await;
    browser.wait_for_state("open").await;
    assert_eq!(browser.echo(b"joined").await.unwrap(), b"joined");
    browser.close_tab(&second).await;
    browser.close_tab(&first).await;
    // A page that goes in the middle of it, wherever that is, leaves a key that is good.
    for millis in [0, 10, 40, 120] {
        browser.run("link.renewKey().catch(() => {})", Value::Null).await;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        browser.reload().await;
        browser.wait_for_state("open").await;
        assert_eq!(browser.echo(b"again").await.unwrap(), b"again", "{millis} ms");
    }
    browser.run("await link.renewKey()", Value::Null).await;
    assert_eq!(browser.run(KEPT, Value::Null).await["id"], before["id"]);
    assert_eq!(ids().await, devices, "the same device by the same name");
    let log = [server.stdout.seen(), server.stderr.seen()].concat().join("\n");
    assert!(log.matches("a device has another key").count() >= 2, "{log}");
    assert!(!log.contains("a key of before"), "an honest page uses no old key: {log}");
    browser.finish().await;
}
