//! Passkeys in a real browser, whose authenticator is WebDriver's: registered, used, and not used by who must not.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    browser::{Browser, Profile},
    page_access::{axe, serious},
    server::Server,
};

/// As the system hands it to the page.
const ENTER: &str = "\u{e007}";

/// The app's own end of the line, in a page of the server's. Sockets of the page's own thread can be broken.
const OPEN: &str = "
    const { connect } = await import('/duologue.js');
    globalThis.sockets = [];
    class Breakable extends WebSocket {
        constructor(...given) {
            super(...given);
            sockets.push(this);
        }
    }
    globalThis.link = connect({ ...args, WebSocket: Breakable });
    globalThis.heard = { levels: [], passkeys: [], states: [] };
    link.addEventListener('standing', ({ detail }) => heard.levels.push(detail.level));
    link.addEventListener('passkey', ({ detail }) => heard.passkeys.push(detail.name));
    link.addEventListener('statechange', () => heard.states.push(link.state));
    await link.ready;";

/// A server that opens `echo` to who is present.
async fn server() -> (Server, TempDir) {
    let directory = TempDir::with_prefix("duologue-door-").unwrap();
    let file = directory.path().join("duologue.toml");
    let rules =
        "[door.passkey]\nname = \"Example\"\n\n[[rule]]\nname = \"present\"\nopen = [\"echo\"]\nage = \"10m\"\n";
    std::fs::write(&file, rules).unwrap();
    (Server::serve_locally(&["--config", file.to_str().unwrap()]).await, directory)
}

async fn invite(server: &Server, subject: &str) -> String {
    server.verb(&["invite", "new", "--for", subject]).await.trim().to_owned()
}

/// A page of the server's, in which the app has its line.
async fn open(server: &Server, browser: &Browser, options: Value) {
    browser.open(&format!("{}/icon-none", server.address())).await;
    browser.run(OPEN, options).await;
}

/// What an expression of the page comes to, or the code with which it fails.
async fn code(browser: &Browser, expression: &str) -> Value {
    let body = format!("return await ({expression}).then(() => 'done', (error) => error.code ?? error.name)");
    browser.run(&body, Value::Null).await
}

#[tokio::test]
async fn browser_passkey_is_registered_and_steps_up_wherever_the_line_is() {
    let (server, _directory) = server().await;
    let browser = Browser::start(&Profile::trusting(server.trust())).await;
    let link = invite(&server, "ada").await;
    let authenticator = browser.add_authenticator(true).await;
    for (at, worker) in [json!(false), json!(true), json!("shared")].into_iter().enumerate() {
        let url = format!("{}/line", server.address());
        let options =
            if at == 0 { json!({ "url": url, "invite": link }) } else { json!({ "url": url, "worker": worker }) };
        open(&server, &browser, options).await;
        assert_eq!(code(&browser, "link.request('echo', 'a')").await, "step-up-needed", "{worker}");
        if at == 0 {
            assert_eq!(code(&browser, "link.stepUp()").await, "passkey-none");
            let made = browser.run("return await link.passkeys.register({ name: 'Ada’s key' })", Value::Null).await;
            assert_eq!((&made["name"], &made["here"]), (&json!("Ada’s key"), &json!(true)), "{made}");
            assert_eq!(
                code(&browser, "link.passkeys.register()").await,
                "step-up-needed",
                "a second one takes presence"
            );
        }
        let standing = browser.run("return await link.stepUp()", Value::Null).await;
        assert_eq!((&standing["level"], &standing["subject"]), (&json!(3), &json!("ada")), "{worker}: {standing}");
        assert_eq!(browser.echo(b"hello").await.unwrap(), b"hello", "{worker}");
        let context = browser.run("return link.context", Value::Null).await;
        assert_eq!(context, ["page", "worker", "shared"][at]);
        browser.run("link.close(); await link.closed", Value::Null).await;
    }
    let shown = server.verb(&["accounts", "passkeys", "list", "ada"]).await;
    assert!(shown.contains("Ada’s key") && shown.contains("  used "), "{shown}");

    // A person who is not verified, and one who says no.
    open(&server, &browser, json!({ "url": format!("{}/line", server.address()) })).await;
    browser.set_verified(&authenticator, false).await;
    assert_eq!(code(&browser, "link.stepUp()").await, "no-presence", "the browser asks for who is verified");
    browser.set_verified(&authenticator, true).await;
    let given_up = "const stop = new AbortController();
        navigator.credentials.get = ({ signal }) => new Promise((_, no) => signal.addEventListener('abort', () => no(signal.reason)));
        setTimeout(() => stop.abort(new TypeError('enough')), 200);
        return await link.stepUp({ signal: stop.signal }).catch((error) => error.message)";
    assert_eq!(browser.run(given_up, Value::Null).await, "enough");
    browser.run("delete navigator.credentials.get", Value::Null).await;
    assert_eq!(browser.run("return link.standing.level", Value::Null).await, 1);
    assert_eq!(code(&browser, "link.request('echo', 'a')").await, "step-up-needed");
    assert_eq!(code(&browser, "link.stepUp()").await, "done");
    // She removes it: nobody is present by it any more, and the browser offers none.
    let remove = "const [{ id }] = await link.passkeys.list();
        const { id: gone } = await link.passkeys.remove(id);
        return [id === gone, (await link.passkeys.list()).length]";
    assert_eq!(browser.run(remove, Value::Null).await, json!([true, 0]));
    browser.wait_until("link.standing.level === 1").await;
    assert_eq!(code(&browser, "link.request('echo', 'a')").await, "step-up-needed");
    browser.finish().await;
}

#[tokio::test]
async fn browser_passkey_is_good_after_a_change_of_network_under_the_persons_finger() {
    let (server, _directory) = server().await;
    let browser = Browser::start(&Profile::trusting(server.trust())).await;
    browser.add_authenticator(true).await;
    let url = format!("{}/line", server.address());
    open(&server, &browser, json!({ "url": url, "invite": invite(&server, "ada").await })).await;
    browser.run("await link.passkeys.register({ name: 'a key' })", Value::Null).await;
    // The connection is lost after the question, and the person is quicker than the next one.
    let step_up = "
        const { get } = navigator.credentials;
        navigator.credentials.get = async function (options) {
            heard.states.length = 0;
            sockets.at(-1).close();
            await new Promise((lost) => link.addEventListener('statechange', lost, { once: true }));
            return get.call(this, options);
        };
        const { level } = await link.stepUp();
        delete navigator.credentials.get;
        return [level, heard.states, sockets.length]";
    assert_eq!(browser.run(step_up, Value::Null).await, json!([3, ["resuming", "open"], 2]));
    assert_eq!(browser.echo(b"hello").await.unwrap(), b"hello");
    browser.finish().await;
}

/// An assertion that a page takes from one line is worth nothing on another; a new passkey is told where else she is.
#[tokio::test]
async fn browser_passkey_of_one_line_is_told_on_another_and_its_assertion_is_worth_nothing_there() {
    let (server, _directory) = server().await;
    let browser = Browser::start(&Profile::trusting(server.trust())).await;
    browser.add_authenticator(true).await;
    let url = format!("{}/line", server.address());
    let options = json!({ "url": url, "invite": invite(&server, "ada").await });
    open(&server, &browser, options).await;
    // Another device of hers, of a name of its own in this browser.
    let other = "
        const { connect } = await import('/duologue.js');
        globalThis.other = connect({ ...args, account: 'other' });
        other.addEventListener('passkey', ({ detail }) => heard.passkeys.push([detail.name, detail.here]));
        await other.ready;
        await link.passkeys.register({ name: 'a key' });";
    browser.run(other, json!({ "url": url, "invite": invite(&server, "ada").await })).await;
    browser.wait_until("heard.passkeys.length === 1").await;
    assert_eq!(browser.run("return heard.passkeys", Value::Null).await, json!([["a key", false]]));
    let relay = "
        const { get } = navigator.credentials;
        let theirs;
        navigator.credentials.get = async function (options) {
            return (theirs = await get.call(this, options));
        };
        await link.stepUp();
        navigator.credentials.get = async () => theirs;
        return other.stepUp().then(() => 'done', ({ code }) => [code, other.standing.level])";
    assert_eq!(browser.run(relay, Value::Null).await, json!(["passkey-late", 1]));
    browser.finish().await;
}

#[tokio::test]
async fn browser_without_passkeys_says_so_and_so_does_a_server_that_takes_none() {
    let (server, _directory) = server().await;
    let browser = Browser::start(&Profile::trusting(server.trust())).await;
    let url = format!("{}/line", server.address());
    open(&server, &browser, json!({ "url": url, "invite": invite(&server, "ada").await })).await;
    browser.run("Object.defineProperty(navigator, 'credentials', { value: undefined })", Value::Null).await;
    assert_eq!(code(&browser, "link.passkeys.register()").await, "no-passkeys");
    browser.run("link.close()", Value::Null).await;
    assert_eq!(code(&browser, "link.stepUp()").await, "normal", "the link's end");
    browser.finish().await;

    let none = Server::dev().await;
    let browser = Browser::start(&Profile::trusting(none.trust())).await;
    browser.open(none.link()).await;
    browser.wait_for_state("open").await;
    assert_eq!(code(&browser, "link.stepUp()").await, "refused");
    browser.finish().await;
}

/// The page of somebody who has come by an invite for her: what it offers, once it is offered.
async fn person(server: &Server, profile: &Profile) -> Browser {
    let browser = Browser::start(profile).await;
    browser.add_authenticator(true).await;
    browser.open(&invite(server, "ada").await).await;
    browser.wait_for_state("open").await;
    browser.wait_until("document.getElementById('present-who').innerText").await;
    browser
}

/// What is told of what was asked for, once it says this.
async fn told(browser: &Browser, words: &str) {
    let told = format!("document.getElementById('present-result').innerText.includes({})", json!(words));
    browser.wait_until(&told).await;
}

#[tokio::test]
async fn browser_passkey_is_offered_by_the_page_in_both_languages_and_by_the_keyboard() {
    let (server, _directory) = server().await;
    let browser = person(&server, &Profile::trusting(server.trust())).await;
    assert!(browser.text("#present-who").await.contains("belongs to ada"), "who it is");
    // What she may reach is there, and refused until she has shown that it is her.
    browser.click("#echo-button").await;
    browser.wait_until("document.getElementById('echo-result').dataset.status === 'failed'").await;
    browser.type_into("#present-step-up", ENTER).await;
    told(&browser, "There is no passkey of yours yet").await;
    browser.type_into("#present-register", ENTER).await;
    told(&browser, "is registered. From now on").await;
    browser.type_into("#present-step-up", ENTER).await;
    told(&browser, "You have shown that it is you.").await;
    browser.wait_until("document.getElementById('present-who').innerText.includes('ada is here')").await;
    browser.click("#echo-button").await;
    browser.wait_until("document.getElementById('echo-result').dataset.status === 'done'").await;
    assert_eq!(browser.run("return document.getElementById('present-result').role", Value::Null).await, "status");

    browser.type_into("#present-keys summary", ENTER).await;
    browser.wait_until("document.querySelectorAll('#present-list button').length === 1").await;
    browser.click("[data-language=fr]").await;
    browser.wait_until("document.getElementById('present-who').innerText.includes('ada est là')").await;
    browser.wait_until("document.querySelector('#present-list button')?.innerText === 'Supprimer'").await;
    browser.type_into("#present-list button", ENTER).await;
    told(&browser, "est supprimée").await;
    browser.wait_until("document.getElementById('present-list').innerText.includes('Il n’y en a aucune')").await;
    browser
        .wait_until("document.getElementById('present-who').innerText.includes('Cet appareil appartient à ada')")
        .await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_axe_finds_nothing_serious_where_a_person_shows_to_be_there() {
    let axe = axe();
    let (server, _directory) = server().await;
    let browser = person(&server, &Profile::trusting(server.trust())).await;
    browser.click("#present-register").await;
    told(&browser, "is registered. From now on").await;
    browser.click("#present-keys summary").await;
    browser.wait_until("document.querySelectorAll('#present-list button').length === 1").await;
    for scheme in ["light", "dark"] {
        browser.set_scheme(scheme).await;
        assert_eq!(serious(&browser, &axe).await, json!([]), "{scheme}");
    }
    browser.set_scheme("light").await;
    browser.screenshot("passkeys").await;
    browser.finish().await;
}

/// A server that takes none, and a device of nobody, are offered none.
#[tokio::test]
async fn browser_passkey_is_offered_to_nobody_of_whom_nobody_has_said_who_it_is() {
    let (server, _directory) = server().await;
    let browser = Browser::start(&Profile::trusting(server.trust())).await;
    browser.open(&server.invite("24h").await).await;
    browser.wait_for_state("open").await;
    browser.wait_until("document.getElementById('present-title').innerText || document.getElementById('present-title').textContent").await;
    assert_eq!(browser.run("return document.getElementById('present').checkVisibility()", Value::Null).await, false);
    browser.finish().await;
}
