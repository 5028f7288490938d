//! The page in Chromium, against the real server: the way in, the work, the way back.

use serde_json::{Value, json};

use crate::{
    browser::{Browser, Engine, Profile},
    chance::random,
    path::{Cut, Path},
    server::Server,
};

/// Opens an invite link in a fresh browser and waits until the line is open.
pub(crate) async fn enrolled(server: &Server) -> (Profile, Browser) {
    let profile = Profile::trusting(server.trust());
    let browser = Browser::start(&profile).await;
    browser.open(server.link()).await;
    browser.wait_for_state("open").await;
    (profile, browser)
}

#[tokio::test]
async fn browser_an_invite_link_opens_the_line_and_leaves_the_address_bar() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    assert_eq!(browser.url().await, format!("{}/", server.address()), "the secret is gone");
    let history = browser.run("return [history.length, location.href, document.referrer]", Value::Null).await;
    assert!(!history.to_string().contains("i="), "{history}");
    assert_eq!(server.devices().await.len(), 1);

    let key = server.verb(&["keys", "show"]).await;
    let fingerprint = browser.text("#server-fingerprint").await;
    assert!(!fingerprint.is_empty() && key.contains(&fingerprint), "{fingerprint:?} is not in {key:?}");
    let (_, line) = server.devices().await.pop().unwrap();
    let device = browser.text("#device-fingerprint").await;
    assert!(!device.is_empty() && line.contains(&device), "{device:?} is not in {line:?}");
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_request_to_echo_answers_the_same_bytes() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let bytes = random::<64>();
    assert_eq!(browser.echo(&bytes).await.unwrap(), bytes);
    assert_eq!(browser.echo(&[]).await.unwrap(), b"");
    // Larger than a record and than a channel's window, so that credit must come back.
    let body = "const sent = new Uint8Array(1_000_000).map((_, at) => (at * 31) >> 3);
                const back = await link.request('echo', sent);
                return back.length === sent.length && back.every((byte, at) => byte === sent[at]);";
    assert_eq!(browser.run(body, Value::Null).await, json!(true));
    // A hundred at once, in order each.
    let body = "const all = Array.from({ length: 100 }, (_, at) => link.requestJson('echo', { at }));
                return (await Promise.all(all)).map((answer) => answer.at);";
    let expected: Vec<usize> = (0..100).collect();
    assert_eq!(browser.run(body, Value::Null).await, json!(expected));
    let body = "return await link.request('no such service', 'x')";
    let error = browser.try_run(body, Value::Null).await.unwrap_err();
    assert!(error.starts_with("refused: "), "{error}");
    assert_eq!(browser.echo(b"the line lives on").await.unwrap(), b"the line lives on");
    browser.finish().await;
}

#[tokio::test]
async fn browser_page_and_terminal_talk_at_the_desk() {
    let mut server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    server.stdout.with("is here").await;
    browser.type_into("#desk-input", "Bonjour from the page").await;
    browser.click("#desk-send").await;
    server.stdout.with("Bonjour from the page").await;
    browser.wait_until("document.querySelector('.message.you')?.dataset.status === 'taken'").await;

    server.type_line("Good evening from the terminal").await;
    browser.wait_until("document.querySelector('.message.them')?.innerText.includes('Good evening from')").await;
    // A page must never take a stranger's text for markup.
    server.type_line("<img src=x onerror=alert(1)>").await;
    browser.wait_until("document.querySelectorAll('.message.them')[1]?.innerText.includes('<img src=x')").await;

    browser.click("#echo-button").await;
    browser.wait_until("document.getElementById('echo-result').dataset.status === 'done'").await;
    // What the proxy sees: real records, none of which contains what was written.
    browser.wait_until("document.querySelectorAll('#proxy-sees > li').length > 0").await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_reload_reconnects_with_the_stored_key_and_no_invite() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let device = browser.text("#device-fingerprint").await;
    for _ in 0..2 {
        browser.reload().await;
        browser.wait_for_state("open").await;
        assert_eq!(browser.url().await, format!("{}/", server.address()));
        assert_eq!(browser.text("#device-fingerprint").await, device);
    }
    assert_eq!(browser.echo(b"again").await.unwrap(), b"again");
    assert_eq!(server.devices().await.len(), 1);
    browser.finish().await;
}

#[tokio::test]
async fn browser_that_is_started_again_has_its_key() {
    let server = Server::dev().await;
    let (profile, browser) = enrolled(&server).await;
    let device = browser.text("#device-fingerprint").await;
    browser.finish().await;
    let browser = Browser::start(&profile).await;
    browser.open(&server.address()).await;
    browser.wait_for_state("open").await;
    assert_eq!(browser.text("#device-fingerprint").await, device);
    assert_eq!(server.devices().await.len(), 1);
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_line_closed_by_its_page_ends_and_another_opens_without_a_word_in_the_console() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    browser.run("link.close()", Value::Null).await;
    browser.wait_for_end("normal").await;
    browser.click("#reconnect").await;
    browser.wait_for_state("open").await;
    // The old line is freed one second after its end; freeing it called a callback that was already gone.
    browser.run("await new Promise((ok) => setTimeout(ok, 1_500))", Value::Null).await;
    assert_eq!(browser.echo(b"the new one").await.unwrap(), b"the new one");
    browser.finish().await;
}

#[tokio::test]
async fn browser_the_device_key_cannot_be_read_out() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let body = "
        const keys = [];
        const look = (value, path) => {
            if (value instanceof CryptoKey) keys.push([path, value.type, value.extractable]);
            else if (value && typeof value === 'object' && !ArrayBuffer.isView(value))
                for (const [name, inner] of Object.entries(value)) look(inner, `${path}.${name}`);
        };
        const settled = (request) => new Promise((ok, no) => {
            request.onsuccess = () => ok(request.result);
            request.onerror = () => no(request.error);
        });
        for (const { name } of await indexedDB.databases()) {
            const database = await settled(indexedDB.open(name));
            for (const store of database.objectStoreNames)
                look(await settled(database.transaction(store).objectStore(store).getAll()), `${name}.${store}`);
            database.close();
        }
        return keys;";
    let keys = browser.run(body, Value::Null).await;
    let private: Vec<_> = keys.as_array().unwrap().iter().filter(|key| key[1] == "private").collect();
    assert_eq!(private.len(), 1, "one private key is stored: {keys}");
    assert_eq!(private[0][2], json!(false), "and it is not extractable: {keys}");
    browser.finish().await;
}

#[tokio::test]
async fn browser_a_served_page_works_and_offers_its_link_to_nobody() {
    let server = Server::serve(&["--no-native-clients"]).await;
    let browser = Browser::start(&Profile::knowing(&server)).await;
    browser.open(&server.invite("24h").await).await;
    browser.wait_for_state("open").await;
    assert_eq!(browser.url().await, "https://duologue.example/");
    assert_eq!(browser.run("return typeof globalThis.link", Value::Null).await, json!("undefined"));
    browser.click("#echo-button").await;
    browser.wait_until("document.getElementById('echo-result').dataset.status === 'done'").await;
    // The same server under a name that is not its own.
    let elsewhere = format!("https://duologue.example:{}/", server.port);
    browser.open(&server.invite("24h").await.replace("https://duologue.example/", &elsewhere)).await;
    let cause = browser.wait_for_end("origin-refused").await;
    assert!(cause.contains(elsewhere.trim_end_matches('/')), "{cause}");
    assert_eq!(server.devices().await.len(), 1);
    browser.finish().await;
}

#[tokio::test]
async fn browser_runs_no_script_and_loads_nothing_that_the_server_did_not_deliver() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let body = "
        const directives = [];
        document.addEventListener('securitypolicyviolation', (event) => directives.push(event.effectiveDirective));
        const add = (name, properties) => document.body.append(Object.assign(document.createElement(name), properties));
        add('script', { textContent: 'globalThis.ran = true' });
        add('img', { src: 'https://example.org/x.png' });
        await fetch('https://example.org/').catch(() => {});
        while (directives.length < 3) await new Promise((ok) => setTimeout(ok, 20));
        return [globalThis.ran === true, directives.sort()];";
    let found = browser.run(body, Value::Null).await;
    assert_eq!(found, json!([false, ["connect-src", "img-src", "script-src-elem"]]));
    // The very thing that `finish` looks for.
    assert!(browser.log().await.iter().any(|line| line.contains("Content Security Policy")));
}

#[tokio::test]
async fn browser_every_file_delivered_is_the_one_that_the_build_lists() {
    let server = Server::serve(&["--no-native-clients"]).await;
    let browser = Browser::start(&Profile::knowing(&server)).await;
    browser.open(&server.invite("24h").await).await;
    browser.wait_for_state("open").await;
    let body = "
        const { files } = await (await fetch('/integrity.json')).json();
        const differs = async (name, integrity) => fetch(`/${name}`, { integrity }).then(() => false, () => true);
        const differing = [];
        for (const [name, hash] of Object.entries(files)) if (await differs(name, hash)) differing.push(name);
        const named = [...document.querySelectorAll('script, link[rel=stylesheet], link[rel=modulepreload]')];
        const bare = named.filter((one) => one.integrity !== files[new URL(one.src || one.href).pathname.slice(1)]);
        const isSeen = await differs('duologue.js', files['worker.js']);
        return [Object.keys(files).length > 10, differing, named.length > 2, bare.length, isSeen];";
    assert_eq!(browser.run(body, Value::Null).await, json!([true, [], true, 0, true]));
    // What was asked for with the hash of another is told by Chromium's console.
    let log = browser.log().await;
    assert!(Engine::of_this_run() != Engine::Chromium || log.iter().any(|line| line.contains("integrity")), "{log:?}");
    browser.finish().await;
}

#[tokio::test]
async fn browser_without_the_server_the_page_still_opens_and_keeps_what_is_typed() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    let kept = "
        const shell = await caches.open('duologue-shell');
        const list = await shell.match('/integrity.json');
        const isPart = (name) => !name.endsWith('.ts');
        return list !== undefined && Object.keys((await list.json()).files).filter(isPart).length + 1 === (await shell.keys()).length;";
    let mut is_kept = json!(false);
    for _ in 0..100 {
        is_kept = browser.run(kept, Value::Null).await;
        if is_kept == json!(true) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(is_kept, json!(true), "all parts are kept");
    browser.wait_until("navigator.serviceWorker.controller").await;
    path.lead_nowhere();
    path.cut(Cut::Both);
    browser.type_into("#desk-input", "written without a line").await;
    // Else its line would outlive it, and be taken up again.
    browser.run("link.close(); await link.closed;", Value::Null).await;
    browser.reload().await;
    browser.wait_for_end("unreachable").await;
    let draft = browser.run("return document.getElementById('desk-input').value", Value::Null).await;
    assert_eq!(draft, json!("written without a line"));
    // What was never loaded is there too.
    browser.click("#forget").await;
    browser.wait_until("document.querySelector('dialog[open]')").await;
    browser.click("#forget-no").await;
    browser.click("[data-language=fr]").await;
    browser.wait_until("document.getElementById('state').innerText === 'La ligne est fermée'").await;

    path.lead_to(server.port);
    browser.click("#reconnect").await;
    browser.wait_for_state("open").await;
    browser.click("#desk-send").await;
    server.stdout.with("written without a line").await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_loads_one_language_and_keeps_it_when_the_other_cannot_be_had() {
    let server = Server::dev().await;
    let path = Path::to(&server).await;
    let browser = path.page(&server).await;
    let fetched = "return performance.getEntriesByType('resource').map(({ name }) => new URL(name).pathname)
        .filter((path) => /text-(en|fr)[-.]/.test(path)).map((path) => path.match(/text-(..)/)[1]);";
    // Nothing is kept that could stand in for the server. The worker fetches for itself.
    let forget = "
        const { active } = await navigator.serviceWorker.ready;
        while (!(await (await caches.open('duologue-shell')).match('/integrity.json')))
            await new Promise((ok) => setTimeout(ok, 50));
        await caches.delete('duologue-shell');
        return active !== null;";
    assert_eq!(browser.run(fetched, Value::Null).await, json!(["en"]));
    assert_eq!(browser.run(forget, Value::Null).await, json!(true));
    path.lead_nowhere();
    path.cut(Cut::Both);
    browser.wait_for_state("resuming").await;
    browser.click("[data-language=fr]").await;
    browser.wait_until("!document.getElementById('language-note').hidden").await;
    assert!(browser.text("#language-note").await.contains("Les mots de cette langue"));
    assert_eq!(browser.run("return document.documentElement.lang", Value::Null).await, "en");
    assert_eq!(browser.text("#desk-send").await, "Send");

    path.lead_to(server.port);
    browser.wait_for_state("open").await;
    browser.reload().await;
    browser.wait_until("document.getElementById('state').innerText === 'La ligne est ouverte'").await;
    assert_eq!(browser.run(fetched, Value::Null).await, json!(["fr"]));
    assert_eq!(browser.run("return document.getElementById('language-note').hidden", Value::Null).await, true);
    browser.finish().await;
}
