//! What the owner sees and does: over the line in the page, and by `duologue watch`.

use std::{io::Read, process::Stdio};

use duologue::{CloseCode, ConnectionError};
use duologue_client::Line;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{
    browser::{Browser, Engine, Profile},
    enrolment::stranger,
    page::enrolled,
    page_access::{axe, serious},
    pictures::assert_it_fits,
    server::{Lines, Server, binary, target},
    terminal::Terminal,
    within,
};

/// A name that would do something in a page that took it for more than text.
const HOSTILE: &str = "<img src=x onerror=\"document.title='had'\"> \u{202e}ecila";

/// A further device, which gives itself this name.
async fn device(server: &Server, name: &str) -> Line {
    let client = stranger().named(name);
    let link = server.invite("1h").await;
    within(20, "another device", client.connect(&target(&link))).await.expect("the invite is good")
}

/// Opens what the owner sees.
async fn look(browser: &Browser) {
    browser.wait_until("document.getElementById('owner').checkVisibility()").await;
    browser.run("document.querySelector('#owner summary').focus()", Value::Null).await;
    browser.type_into("#owner summary", "\u{e007}").await;
    browser.wait_until("document.querySelectorAll('#owner-sessions tbody tr').length > 0").await;
}

fn row(text: &str) -> String {
    format!(
        "[...document.querySelectorAll('#owner tbody tr')].find((row) => row.textContent.includes({}))",
        json!(text)
    )
}

/// Whether an event of this kind stands among those that the page shows.
fn told(kind: &str) -> String {
    format!("document.querySelector('#owner-events [title={kind}]')")
}

async fn press(browser: &Browser, row_text: &str, button: &str) {
    let body = format!(
        "[...{}.querySelectorAll('button')].find((one) => one.textContent.startsWith(args)).click()",
        row(row_text)
    );
    browser.run(&body, json!(button)).await;
}

#[tokio::test]
async fn browser_the_owner_sees_who_comes_and_goes_and_what_is_refused_and_acts() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let fetched = "return performance.getEntriesByType('resource').some(({ name }) => /page.(sight|rows)/.test(name))";
    assert_eq!(browser.run(fetched, Value::Null).await, json!(false), "nothing of it before it is opened");
    look(&browser).await;
    assert_eq!(browser.run(fetched, Value::Null).await, json!(true));

    // A second device comes, by a name that is nothing but text, moves something, and goes.
    let line = device(&server, HOSTILE).await;
    browser.wait_until(&row("<img src=x")).await;
    let parts = format!("return [{}.querySelectorAll('img').length, document.title === 'had']", row("<img src=x"));
    assert_eq!(browser.run(&parts, Value::Null).await, json!([0, false]));
    within(20, "an echo", line.request("echo", vec![7; 200_000])).await.unwrap();
    browser.wait_until(&format!("/↓ 2\\d\\d kB/.test({}?.textContent)", row("<img src=x"))).await;
    drop(line);
    browser
        .wait_until(&format!("!document.getElementById('owner-sessions').contains({} ?? null)", row("<img src=x")))
        .await;

    // Somebody is refused.
    let refused = within(20, "a stranger", stranger().connect(&target(&server.address()))).await;
    assert!(refused.is_err());
    let unknown = server.expired_invite().await;
    assert!(within(20, "a late one", stranger().connect(&target(&unknown))).await.is_err());
    browser.wait_until(&told("invite-refused")).await;

    // A ban is seen, and lifted.
    server.verb(&["bans", "add", "192.0.2.7", "--for", "12h"]).await;
    browser.wait_until("document.getElementById('owner-bans').textContent.includes('192.0.2.7')").await;
    press(&browser, "192.0.2.7", "Let in again").await;
    browser.wait_until("document.getElementById('owner-result').dataset.status === 'done'").await;
    browser.wait_until("!document.getElementById('owner-bans').textContent.includes('192.0.2.7')").await;
    assert!(!server.verb(&["bans", "list"]).await.contains("192.0.2.7"));

    // A session is ended, and its device may come again; another one is revoked, after a question.
    let line = device(&server, "to end").await;
    browser.wait_until(&row("to end")).await;
    press(&browser, "to end", "End").await;
    let ended = within(20, "its end", line.closed()).await;
    assert!(ended.to_string().contains("has ended this line"), "{ended}");
    let line = device(&server, "to revoke").await;
    browser.wait_until(&row("to revoke")).await;
    press(&browser, "to revoke", "Revoke").await;
    browser.wait_until("document.getElementById('owner-sure')?.open").await;
    browser.click("#owner-no").await;
    browser.wait_until("!document.getElementById('owner-sure')").await;
    press(&browser, "to revoke", "Revoke").await;
    browser.wait_until("document.getElementById('owner-sure')?.open").await;
    browser.click("#owner-yes").await;
    let ended = within(20, "its end", line.closed()).await;
    assert!(matches!(&ended, ConnectionError::PeerClosed(close) if close.code == CloseCode::DeviceRevoked), "{ended}");
    browser.wait_until("document.getElementById('owner-result').textContent.includes('is revoked')").await;
    browser.wait_until("document.getElementById('owner-audit').textContent.includes('No audit log is kept')").await;
    // All of it is the owner's doing, by this device.
    for event in ["owner-ended", "owner-revoked", "ban-lifted"] {
        browser.wait_until(&told(event)).await;
    }
    let devices = server.devices().await;
    let fingerprint = browser.text("#device-fingerprint").await;
    let own = devices.iter().find(|(_, line)| line.contains(&fingerprint));
    let (own, line) = own.unwrap_or_else(|| panic!("{fingerprint} is not in {devices:?}"));
    assert!(!line.contains("revoked"), "{line}");
    let told = browser.text("#owner-events").await;
    assert!(told.contains(&format!("by=device {own}")), "{told}");
    browser.finish().await;
}

/// A server whose rules let one person see what the owner sees; and everybody everything else.
async fn served() -> (Server, TempDir) {
    let directory = TempDir::with_prefix("duologue-door-").unwrap();
    let file = directory.path().join("duologue.toml");
    let rules = "[door.passkey]\nname = \"Example\"\n\n[[rule]]\nname = \"all\"\nopen = [\"*\"]\n\n\
                 [[rule]]\nname = \"the owner\"\nopen = [\"owner\"]\nsubjects = [\"ada\"]\n";
    std::fs::write(&file, rules).unwrap();
    (Server::serve_locally(&["--config", file.to_str().unwrap()]).await, directory)
}

#[tokio::test]
async fn who_is_merely_let_in_sees_nothing_of_what_the_owner_sees_whatever_else_is_open() {
    let (server, _directory) = served().await;
    let line = device(&server, "plain").await;
    assert_eq!(within(20, "an echo", line.request("echo", "a")).await.unwrap(), b"a", "all is open");
    let look = json!({ "ask": "look" }).to_string();
    let refused = within(20, "no look", line.request("owner", look.clone())).await.unwrap_err();
    assert!(
        refused.to_string().contains("not-allowed") || format!("{refused:?}").contains("NotAllowed"),
        "{refused:?}"
    );
    // Nor where nothing is configured, but for the machine's own devices under `dev`: which is where this one is.
    let bare = Server::serve_locally(&[]).await;
    let line = device(&bare, "plain").await;
    let refused = within(20, "no look", line.request("owner", look.clone())).await.unwrap_err();
    assert!(format!("{refused:?}").contains("NotAllowed"), "{refused:?}");
    let dev = Server::dev().await;
    let line = device(&dev, "here").await;
    let seen = within(20, "a look", line.request("owner", look)).await.unwrap();
    let seen: Value = serde_json::from_slice(&seen).unwrap();
    assert_eq!((&seen["sessions"][0]["name"], &seen["all"]), (&json!("here"), &json!(1)), "{seen}");
    assert_eq!(seen.get("audit"), None, "`dev` keeps none: {seen}");
}

/// Whoever keeps that head elsewhere can show that nothing before it was cut off.
#[tokio::test]
async fn the_owner_sees_over_the_line_how_far_the_audit_log_is_signed() {
    let (server, _directory) = served().await;
    let link = server.verb(&["invite", "new", "--for", "ada"]).await;
    let line = within(20, "the owner", stranger().connect(&target(link.trim()))).await.expect("the invite is good");
    let seen = within(20, "a look", line.request("owner", json!({ "ask": "look" }).to_string())).await.unwrap();
    let seen: Value = serde_json::from_slice(&seen).unwrap();
    let audit = &seen["audit"];
    assert_eq!((&audit["losses"], audit.get("failed")), (&json!(0), None), "{seen}");
    let head = audit["head"].as_str().unwrap_or_else(|| panic!("{seen}"));
    let whole = server.verb(&["audit", "verify", "--head", head]).await;
    assert!(whole.starts_with("whole from 1 to ") && whole.contains("the head stands where it says"), "{whole}");
}

#[tokio::test]
async fn browser_passkey_of_the_owner_is_asked_for_before_a_device_is_revoked() {
    let (server, _directory) = served().await;
    let browser = Browser::start(&Profile::trusting(server.trust())).await;
    browser.add_authenticator(true).await;
    let link = server.verb(&["invite", "new", "--for", "ada"]).await.trim().to_owned();
    browser.open(&link).await;
    browser.wait_for_state("open").await;
    look(&browser).await;
    let line = device(&server, "to revoke").await;
    browser.wait_until(&row("to revoke")).await;
    let revoke = async || {
        press(&browser, "to revoke", "Revoke").await;
        browser.wait_until("document.getElementById('owner-sure')?.open").await;
        browser.click("#owner-yes").await;
    };
    // There is no passkey yet: nothing is done, and the page says what to do.
    revoke().await;
    browser.wait_until("document.getElementById('owner-result').textContent.includes('no passkey of yours yet')").await;
    assert_eq!(within(20, "an echo", line.request("echo", "a")).await.unwrap(), b"a", "nothing was done");
    browser.click("#present-register").await;
    browser.wait_until("document.getElementById('present-result').dataset.status === 'done'").await;
    revoke().await;
    browser.wait_until("document.getElementById('owner-result').dataset.status === 'done'").await;
    let ended = within(20, "its end", line.closed()).await;
    assert!(matches!(&ended, ConnectionError::PeerClosed(close) if close.code == CloseCode::DeviceRevoked), "{ended}");
    browser.wait_until("document.getElementById('owner-events').textContent.includes('subject=\"ada\"')").await;
    browser
        .wait_until("/signed up to \\d+:[0-9a-f]{64} at /.test(document.getElementById('owner-audit').textContent)")
        .await;
    browser.finish().await;
}

#[tokio::test]
async fn browser_picture_of_what_the_owner_sees_in_both_languages_on_every_screen() {
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let lines = [device(&server, "Ada’s phone").await, device(&server, "Workshop, the green tablet").await];
    assert!(within(20, "a stranger", stranger().connect(&target(&server.address()))).await.is_err());
    assert!(within(20, "a late one", stranger().connect(&target(&server.expired_invite().await))).await.is_err());
    server.verb(&["bans", "add", "192.0.2.7", "--for", "12h"]).await;
    server.verb(&["bans", "add", "2001:db8:17::/64", "--for", "1h"]).await;
    browser.set_screen(1280, 900).await;
    look(&browser).await;
    browser.wait_until("document.querySelectorAll('#owner-sessions tbody tr').length === 3").await;
    browser.wait_until(&told("owner-banned")).await;
    let show = "document.activeElement?.blur(); document.getElementById('owner').scrollIntoView()";
    browser.run(show, Value::Null).await;
    assert_it_fits(&browser).await;
    browser.screenshot("owner").await;
    if Engine::of_this_run() == Engine::Chromium {
        browser.set_scheme("dark").await;
        browser.screenshot("owner-dark").await;
    }
    browser.click("[data-language=fr]").await;
    browser.wait_until("document.getElementById('owner-sessions-title').textContent.startsWith('Connectés')").await;
    browser.set_screen(390, 844).await;
    browser.run(show, Value::Null).await;
    assert_it_fits(&browser).await;
    browser.screenshot("owner-phone-fr").await;
    drop(lines);
    browser.finish().await;
}

#[tokio::test]
async fn browser_axe_finds_nothing_serious_in_what_the_owner_sees() {
    let axe = axe();
    let server = Server::dev().await;
    let (_profile, browser) = enrolled(&server).await;
    let _line = device(&server, "another").await;
    server.verb(&["bans", "add", "192.0.2.7", "--for", "12h"]).await;
    look(&browser).await;
    browser.wait_until("document.querySelectorAll('#owner-bans tbody tr').length === 1").await;
    for (width, height) in [(1280, 900), (390, 844)] {
        browser.set_screen(width, height).await;
        assert_eq!(serious(&browser, &axe).await, json!([]), "{width}");
    }
    browser.finish().await;
}

#[tokio::test]
async fn watch_says_each_event_as_a_line_where_there_is_no_terminal() {
    let server = Server::dev().await;
    let (json, words) = (listening(&server, &["watch", "--json"]), listening(&server, &["watch"]));
    let _line = device(&server, "another").await;
    let told: Value = serde_json::from_str(&json.1.with("\"line-open\"").await).unwrap();
    assert_eq!((&told["event"], &told["note"]), (&json!("line-open"), &json!("another")), "{told}");
    assert!(words.1.with("line-open").await.contains("another"));
    server.verb(&["bans", "add", "192.0.2.7", "--for", "12h"]).await;
    json.1.with("\"owner-banned\"").await;
    // And a picture where there is one: what is in it has tests beside the code.
    let (terminal, [stdin, stdout]) = Terminal::new();
    let mut command = Command::new(binary());
    command.args(["watch", "--state"]).arg(server.directory()).stdin(stdin).stdout(stdout).env("NO_COLOR", "1");
    let mut child = command.kill_on_drop(true).spawn().expect("the binary starts");
    drop(command);
    let mut shown = terminal.shown();
    let picture = tokio::task::spawn_blocking(move || {
        let (mut all, mut bytes) = (Vec::new(), [0; 4_096]);
        while !String::from_utf8_lossy(&all).contains("192.0.2.7") {
            match shown.read(&mut bytes) {
                Ok(0) | Err(_) => break,
                Ok(len) => all.extend_from_slice(&bytes[..len]),
            }
        }
        String::from_utf8_lossy(&all).into_owned()
    });
    let picture = within(20, "a picture", picture).await.unwrap();
    // What is blank is passed over by moving the cursor.
    assert!(["Sessions", "(1)", "another", "192.0.2.7"].iter().all(|text| picture.contains(text)), "{picture:?}");
    terminal.type_line("q");
    let status = within(20, "its end", child.wait()).await.unwrap();
    assert!(status.success(), "{status}");
}

fn listening(server: &Server, arguments: &[&str]) -> (Child, Lines) {
    let mut command = Command::new(binary());
    command.args(arguments).arg("--state").arg(server.directory()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().expect("the binary starts");
    let stdout = Lines::of(child.stdout.take().expect("it is piped"));
    (child, stdout)
}
