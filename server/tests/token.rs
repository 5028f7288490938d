//! `duologue token check`, the binary: what a developer is told of a token, and where it may come from.
#![allow(missing_docs, reason = "tests are named for their scenario")]

#[path = "../src/door/tokens/testing.rs"]
mod testing;

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use testing::{Signer, key_set, now};

const ISSUER: &str = "https://login.example";

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": "app", "sub": "ada", "iat": now(), "exp": now() + 300, "jti": "no. 1" })
}

/// Runs it in a folder that has the keys, with a token on its standard input.
fn check(directory: &Path, token: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_duologue"));
    command.current_dir(directory).args(["token", "check", "-", "--issuer", ISSUER, "--audience", "app"]).args(more);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("the binary");
    // One that ends before it has read everything has told why.
    let _ = child.stdin.take().expect("a pipe").write_all(format!("{token}\n").as_bytes());
    child.wait_with_output().expect("it ends")
}

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("keys.json"), key_set(&Signer::ALL)).expect("there is room");
    directory
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn a_good_token_is_told_with_all_that_it_is_worth() {
    let directory = directory();
    let mut claims = claims();
    claims["realm"] = json!({ "roles": ["staff", "admins"] });
    let token = Signer::Ps256.token(&claims);
    let keys = ["--keys", "keys.json", "--groups-claim", "realm.roles"];
    let output = check(directory.path(), &token, &keys);
    let (said, wrong) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{wrong}");
    for line in ["subject  ada", "groups   staff, admins", "level    2 (account)", "id       no. 1", "key      PS256"] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    assert!(said.contains("bound    to no device: it serves whoever has it"), "{said}");
    assert!(!said.contains(&token) && !wrong.contains(&token), "a token is shown nowhere");

    let output = check(directory.path(), &token, &[&keys[..], &["--json"]].concat());
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&json["subject"], &json["groups"]), (&json!("ada"), &json!(["staff", "admins"])));
    assert_eq!((&json["level"], &json["bound_to"]), (&json!(2), &Value::Null));
}

#[test]
fn a_bad_token_is_told_by_name_with_the_cause_and_what_to_do() {
    let directory = directory();
    let mut other = claims();
    other["aud"] = json!("elsewhere");
    let keys = ["--keys", "keys.json"];
    let output = check(directory.path(), &Signer::EdDsa.token(&other), &keys);
    assert!(!output.status.success());
    assert_eq!(
        text(&output.stderr).trim(),
        "duologue: token-audience: the token is for somebody else (its `aud` is \"elsewhere\"); ask the issuer for a token for \
         this `audience`, or set `audience` to the token's `aud`"
    );
    let output = check(directory.path(), &Signer::EdDsa.token(&other), &[&keys[..], &["--json"]].concat());
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(!output.status.success() && json["error"] == "token-audience", "{json}");

    let mut bound = claims();
    bound["nonce"] = json!("of-my-device");
    let token = Signer::EdDsa.token(&bound);
    let of = |nonce: &str| check(directory.path(), &token, &[&keys[..], &["--nonce", nonce]].concat());
    assert!(of("of-my-device").status.success());
    assert!(text(&of("of-another").stderr).contains("token-of-another-device"));
    // One value in 64 begins with a hyphen, and is no option.
    assert!(text(&of("-f-another").stderr).contains("token-of-another-device"));
    let of = |jkt: &str| check(directory.path(), &token, &[&keys[..], &["--jkt", jkt]].concat());
    assert!(text(&of("-f-another").stderr).contains("token-of-another-device"), "{}", text(&of("-f-another").stderr));
    // Keys that cannot be had are told as that, and not as a token's fault.
    let output = check(directory.path(), &token, &["--keys", "none.json"]);
    assert!(text(&output.stderr).contains("none.json cannot be read"), "{}", text(&output.stderr));
    let output = check(directory.path(), &token, &["--keys", "http://login.example/keys"]);
    assert!(text(&output.stderr).contains("keys come from an https address"), "{}", text(&output.stderr));
}
