//! Autobahn's fuzzing client against an echo of this WebSocket, upgraded as the server upgrades, which hands text on as it
//! does bytes.
//!
//! ```text
//! cargo xtask test --autobahn ─► DUOLOGUE_AUTOBAHN (a command, as JSON) ─► wstest ═ ws ═► echo
//!                                                                             └─► its verdicts, held to EXPECTED
//! ```
//!
//! Each case must be as Autobahn wants it, or stand in [`EXPECTED`] with the reason why it is not; and what stands there must
//! not be so. The verdicts go into the file that `DUOLOGUE_AUTOBAHN_REPORT` names, of which xtask makes docs/AUTOBAHN.md.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

use std::{
    collections::BTreeMap,
    fs,
    future::poll_fn,
    process::{Command, Stdio},
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, routing::get};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

use super::*;

/// How long an echo that has closed waits for its client to hang up, as the driver does.
const LINGER: Duration = Duration::from_secs(1);
const TOO_LONG: &str = "a message is longer than a record (65,535 bytes), and is closed with 1009";
const NOT_JUDGED: &str = "text that is not UTF-8 is not judged: no text is ever handed on";

/// Cases that are not as Autobahn wants them, and why. A name stands for all that begin with it and a dot, too.
const EXPECTED: [(&str, &str); 26] = [
    ("1.1.7", TOO_LONG),
    ("1.1.8", TOO_LONG),
    ("1.2.7", TOO_LONG),
    ("1.2.8", TOO_LONG),
    ("10.1.1", TOO_LONG),
    ("6.3", NOT_JUDGED),
    ("6.4", NOT_JUDGED),
    ("6.6.1", NOT_JUDGED),
    ("6.6.3", NOT_JUDGED),
    ("6.6.4", NOT_JUDGED),
    ("6.6.6", NOT_JUDGED),
    ("6.6.8", NOT_JUDGED),
    ("6.6.10", NOT_JUDGED),
    ("6.8", NOT_JUDGED),
    ("6.10", NOT_JUDGED),
    ("6.11.5", NOT_JUDGED),
    ("6.12", NOT_JUDGED),
    ("6.13", NOT_JUDGED),
    ("6.14", NOT_JUDGED),
    ("6.15", NOT_JUDGED),
    ("6.16", NOT_JUDGED),
    ("6.17", NOT_JUDGED),
    ("6.18", NOT_JUDGED),
    ("6.19", NOT_JUDGED),
    ("6.20", NOT_JUDGED),
    ("6.21", NOT_JUDGED),
];

/// Sends back what comes, in its own kind.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocket<S>) {
    while let Some(heard) = poll_fn(|cx| socket.poll_heard(cx)).await {
        match heard {
            Heard::Message(message) => {
                let sent = async {
                    poll_fn(|cx| Pin::new(&mut socket).poll_ready(cx)).await?;
                    socket.start(message.kind, message.payload.freeze())?;
                    socket.flush().await
                };
                if sent.await.is_err() {
                    return;
                }
            }
            Heard::Control => {}
            Heard::TooLong | Heard::Closing => break,
        }
    }
    let leave = async {
        let _ = socket.close().await;
        while socket.next().await.is_some() {}
    };
    let _ = tokio::time::timeout(LINGER, leave).await;
}

/// A listener with the echo; its URL.
async fn listen() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let upgrade = async |mut request: Request| {
        let response = create_response_with_body(&request, Body::empty).unwrap();
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move { echo(WebSocket::new(TokioIo::new(upgraded.await.unwrap()))).await });
        response
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(upgrade))).await });
    url
}

/// Why a case is not as Autobahn wants it; none if it should be.
fn expected(case: &str) -> Option<&'static str> {
    let is = |name: &str| case == name || case.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    EXPECTED.iter().find(|(name, _)| is(name)).map(|(_, why)| *why)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "`cargo xtask test --autobahn` runs it, with Python 2.7"]
async fn autobahns_cases_are_as_they_should_be() {
    let command: Vec<String> = serde_json::from_str(&std::env::var("DUOLOGUE_AUTOBAHN").unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let spec = json!({
        "outdir": folder.path().join("reports"),
        "servers": [{ "agent": "duologue", "url": listen().await }],
        "cases": ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"],
        "exclude-cases": [],
    });
    let file = folder.path().join("spec.json");
    fs::write(&file, spec.to_string()).unwrap();
    let mut client = Command::new(&command[0]);
    client.args(&command[1..]).args(["--mode", "fuzzingclient", "--spec"]).arg(&file).current_dir(&folder);
    let output = tokio::task::spawn_blocking(move || client.stdin(Stdio::null()).output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let index = folder.path().join("reports/index.json");
    let index =
        fs::read_to_string(index).unwrap_or_else(|_| panic!("wstest made no report ({}): {said}", output.status));
    let index: Value = serde_json::from_str(&index).unwrap();
    let mut rows = Vec::new();
    let mut complaints = Vec::new();
    let mut counts = BTreeMap::<String, u32>::new();
    for (case, verdict) in index["duologue"].as_object().unwrap() {
        let word = |field: &str| verdict[field].as_str().unwrap().to_owned();
        let (behavior, close) = (word("behavior"), word("behaviorClose"));
        let is_good = |word: &str| matches!(word, "OK" | "NON-STRICT" | "INFORMATIONAL");
        let is_as_wanted = is_good(&behavior) && is_good(&close);
        let why = expected(case);
        if is_as_wanted == why.is_some() {
            complaints.push(format!("{case}: {behavior}, close {close}, expected: {why:?}"));
        }
        *counts.entry(behavior.clone()).or_default() += 1;
        rows.push(json!({ "case": case, "behavior": behavior, "close": close, "why": why }));
    }
    if let Some(report) = std::env::var_os("DUOLOGUE_AUTOBAHN_REPORT") {
        fs::write(report, serde_json::to_string(&rows).unwrap()).unwrap();
    }
    println!("{} cases: {counts:?}", rows.len());
    assert!(rows.len() > 200, "only {} cases were run", rows.len());
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
