//! A page of somebody whom nobody has let in: it has the server's key from its build, logs in over the line, and is a guest before and
//! after.

use axum::{
    Router,
    http::{HeaderMap, Uri},
    response::AppendHeaders,
    routing::{any, post},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::{
    browser::{Browser, Profile},
    path::{Cut, Path},
    server::{Server, invite_of, through},
};

const RULES: &str = "\
[door.vouch]
paths = [\"/login\", \"/logout\"]
[[rule]]
name = \"login\"
open = [\"http\"]
paths = [\"/login\", \"/logout\", \"/who\"]
level = 0
[[rule]]
name = \"signed in\"
open = [\"http\"]
level = \"account\"
";

/// An app with a login of its own: `POST /login?name`, `POST /logout`.
async fn backend() -> String {
    let header = |headers: &HeaderMap, name: &str| -> String {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("none").to_owned()
    };
    let login = move |uri: Uri, headers: HeaderMap| async move {
        let name = uri.query().unwrap_or_default();
        let vouch = format!("{}; subject={name}", header(&headers, "duologue-request"));
        (AppendHeaders([("duologue-vouch", vouch), ("set-cookie", "id=1; HttpOnly".to_owned())]), "welcome")
    };
    let logout = move |headers: HeaderMap| async move {
        let vouch = format!("{}; signed-out", header(&headers, "duologue-request"));
        (AppendHeaders([("duologue-vouch", vouch)]), "bye")
    };
    let who = move |headers: HeaderMap| async move {
        ["duologue-subject", "duologue-level", "cookie"].map(|name| header(&headers, name)).join(" ")
    };
    let app = Router::new().route("/login", post(login)).route("/logout", post(logout)).route("/who", any(who));
    let app = app.fallback(any(|| async { "secret" }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// The body of an answer over the line, or why there is none.
async fn ask(browser: &Browser, method: &str, target: &str) -> Value {
    let ask = "
        const [method, target] = args;
        const asked = guest.fetch(target, { method }).then((answer) => answer.text());
        return asked.catch(({ cause }) => cause.code);";
    browser.run(ask, json!([method, target])).await
}

async fn is(browser: &Browser, level: u8, subject: Option<&str>) {
    let subject = subject.map_or("undefined".to_owned(), |subject| format!("'{subject}'"));
    let is = format!("guest.standing.level === {level} && guest.standing.subject === {subject}");
    browser.wait_until(&is).await;
}

#[tokio::test]
async fn browser_guest_logs_in_over_the_line_goes_on_through_a_tunnel_and_is_a_guest_again() {
    let directory = TempDir::with_prefix("duologue-guests-").unwrap();
    let file = directory.path().join("duologue.toml");
    std::fs::write(&file, RULES).unwrap();
    let server = Server::dev_with(&["--http", &backend().await, "--config", file.to_str().unwrap()]).await;
    let path = Path::to(&server).await;
    let key = invite_of(server.link()).server_key().to_string();
    let browser = Browser::start(&Profile::trusting(server.trust())).await;
    let link = through(server.link(), path.port);
    let (address, _) = link.split_once('#').unwrap();
    browser.open(address).await;
    browser.wait_for_state("closed").await;
    let come = "
        const { connect } = await import('/duologue.js');
        globalThis.guest = connect(args);
        await guest.ready;
        return [guest.standing.level, guest.services];";
    assert_eq!(browser.run(come, json!({ "serverKey": key, "account": "app" })).await, json!([0, ["http"]]));
    assert_eq!(ask(&browser, "GET", "/who").await, json!("none 0 none"));
    assert_eq!(ask(&browser, "GET", "/private").await, json!("not-allowed"));

    for word in ["the person's", "the backend's"] {
        assert_eq!(ask(&browser, "POST", "/login?zoe").await, json!("welcome"), "{word}");
        is(&browser, 2, Some("zoe")).await;
        path.cut(Cut::Both);
        assert_eq!(ask(&browser, "GET", "/private").await, json!("secret"), "{word}: resumed");
        assert_eq!(ask(&browser, "GET", "/who").await, json!("zoe 2 id=1"), "{word}");
        if word == "the person's" {
            browser.run("await guest.signOut()", Value::Null).await;
        } else {
            assert_eq!(ask(&browser, "POST", "/logout").await, json!("bye"));
        }
        is(&browser, 0, None).await;
        assert_eq!(ask(&browser, "GET", "/private").await, json!("not-allowed"), "{word}");
        assert_eq!(ask(&browser, "GET", "/who").await, json!("none 0 none"), "{word}: the jar is empty");
    }

    // It has kept its key, and the server's; and the server nothing of it.
    browser.reload().await;
    browser.wait_for_state("closed").await;
    assert_eq!(browser.run(come, json!({ "account": "app" })).await, json!([0, ["http"]]));
    let kept = browser.run("return localStorage.length", Value::Null).await;
    assert_eq!(kept, json!(0), "nothing that would tell a lost key from none");
    let list = server.verb(&["devices", "list"]).await;
    let id = browser.run("return guest.device.key ?? guest.device.id", Value::Null).await;
    let mut lines = list.lines();
    let line = lines.next().unwrap_or_default();
    assert!(line.contains("not let in") && line.contains("level 0 (guest)") && lines.next().is_none(), "{id}: {list}");
    let device = line.split_whitespace().next().unwrap_or_default();
    let ended = server.verb(&["devices", "revoke", device]).await;
    assert!(ended.starts_with("ended: nobody had let it in"), "{ended}");
    browser.wait_until("guest.state === 'closed'").await;
    assert_eq!(browser.run("return (await guest.closed).code", Value::Null).await, json!("device-revoked"));
    browser.finish().await;
}

#[tokio::test]
async fn browser_stranger_is_told_where_guests_may_not_come() {
    let server = Server::dev().await;
    let key = invite_of(server.link()).server_key().to_string();
    let browser = Browser::start(&Profile::trusting(server.trust())).await;
    let (address, _) = server.link().split_once('#').unwrap();
    browser.open(address).await;
    browser.wait_for_state("closed").await;
    let come = "
        const { connect } = await import('/duologue.js');
        return (await connect({ serverKey: args, account: 'app' }).closed).code;";
    assert_eq!(browser.run(come, json!(key)).await, json!("not-enrolled"));
    browser.finish().await;
}
