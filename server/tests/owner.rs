//! The owner's verbs, through the socket that a running server has for them.

use std::{fs, os::unix::fs::PermissionsExt, sync::mpsc, time::Duration};

use axum::http::Method;
use duologue_server::{DeviceList, Duologue, Invited, Listening, NewInvite, Policy, ServerState, State, ask, listen};
use tempfile::TempDir;

fn server() -> (TempDir, Listening) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = State::open(directory.path()).expect("made");
    let duologue = Duologue::new(state.clone(), Policy::loopback());
    let listening = listen(state, duologue).expect("a socket");
    (directory, listening)
}

/// Waits for an answer at most as long as nobody could be in doubt that none will come.
async fn answered<T>(asking: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("an answer, or an error")
}

#[tokio::test]
async fn verbs_are_answered_while_every_thread_that_may_block_does() {
    let (directory, _listening) = server();
    // tokio's own number of them, and as many that wait for their turn.
    let (open, gate) = mpsc::channel::<()>();
    let gate = std::sync::Arc::new(std::sync::Mutex::new(gate));
    let (begun, begins) = mpsc::channel();
    for _ in 0..1_024 {
        let (gate, begun) = (std::sync::Arc::clone(&gate), begun.clone());
        tokio::task::spawn_blocking(move || {
            let _ = begun.send(());
            gate.lock().expect("not poisoned").recv().expect_err("nothing is ever sent");
        });
    }
    for _ in 0..512 {
        begins.recv().expect("so many begin");
    }
    let asked = NewInvite { expires_secs: 60, url: Some("https://line.example/".to_owned()), ..NewInvite::default() };
    let Invited { link, .. } =
        answered(ask(directory.path(), Method::POST, "/invites", Some(&asked))).await.expect("an invite");
    assert!(link.starts_with("https://line.example/#i="), "{link}");
    let list: DeviceList =
        answered(ask(directory.path(), Method::GET, "/devices", None::<&()>)).await.expect("the devices");
    assert!(list.devices.is_empty());
    drop(open);
}

#[tokio::test]
async fn the_same_is_asked_of_a_server_and_of_its_state_at_rest() {
    let (directory, listening) = server();
    let here = std::process::id();
    let state: ServerState =
        answered(ask(directory.path(), Method::GET, "/state", None::<&()>)).await.expect("its state");
    assert_eq!((state.pid, state.not_stored, state.not_on_disk), (here, 0, 0));
    for file in ["control.sock", "identity.key", "store.redb", "revocations.journal", "reserve", "lock"] {
        let mode = fs::metadata(directory.path().join(file)).expect(file).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let unknown = "/devices/AAAA/revoke";
    let running = answered(ask::<serde_json::Value>(directory.path(), Method::POST, unknown, None::<&()>)).await;
    drop(listening);
    // Its socket lies there still, and nobody answers: the state is asked itself.
    let at_rest = answered(ask::<serde_json::Value>(directory.path(), Method::POST, unknown, None::<&()>)).await;
    let [running, at_rest] = [running, at_rest].map(|answer| answer.expect_err("no device id").to_string());
    assert_eq!(running, at_rest);
    assert!(running.contains("is no device id"), "{running}");
    let nowhere = directory.path().join("mistyped");
    let error = answered(ask::<DeviceList>(&nowhere, Method::GET, "/devices", None::<&()>)).await;
    let error = error.expect_err("there is none").to_string();
    assert!(error.contains("is --state mistyped?") && !nowhere.exists(), "{error}");
}
