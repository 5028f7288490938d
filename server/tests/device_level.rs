//! What `devices list` says of a device's level: the highest that a session of it has at this moment.
#![allow(missing_docs, reason = "tests are named for their scenario")]

#[allow(dead_code, reason = "what it does wrong is for others")]
#[path = "passkeys/authenticator.rs"]
mod authenticator;
#[path = "passkeys/bench.rs"]
mod bench;
#[path = "../src/door/tokens/testing.rs"]
mod testing;

use std::time::{Duration, Instant};

use axum::http::Method;
use bench::{Bench, ISSUER, hears_level, level, registered, step_up, within};
use duologue::{CloseCode, DeviceId};
use duologue_client::{Client, Keyring};
use duologue_server::{DeviceInfo, DeviceList, DeviceStatus, Level, Whom, ask, listen};
use serde_json::json;
use testing::{Signer, now};

async fn listed(bench: &Bench, id: DeviceId) -> DeviceInfo {
    let list: DeviceList =
        ask(bench.state.directory(), Method::GET, "/devices", None::<&()>).await.expect("the devices");
    let device = list.devices.into_iter().find(|device| device.id == id.to_string());
    device.expect("it was let in")
}

/// Waits until a device is listed so.
async fn is_listed(bench: &Bench, id: DeviceId, what: &str, is_it: impl Fn(&DeviceInfo) -> bool) -> DeviceInfo {
    let start = Instant::now();
    loop {
        let device = listed(bench, id).await;
        if is_it(&device) {
            return device;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{what}: {device:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_device_is_listed_with_the_highest_level_of_its_sessions_as_it_is_now() {
    let bench = Bench::start().await;
    let _listening = listen(bench.state.clone(), bench.duologue.clone()).expect("a socket");
    let keyring = Keyring::in_memory();
    let id = DeviceId::of_spki(keyring.device().spki());
    let (client, target) = (Client::new(keyring), bench.invited(None));
    let line = client.connect(&target).await.expect("the invite is good");
    let others = Keyring::in_memory();
    let others_id = DeviceId::of_spki(others.device().spki());
    let _other = Client::new(others).connect(&bench.invited(Some("bob"))).await.expect("the invite is good");
    assert_eq!((listed(&bench, id).await.level, listed(&bench, id).await.lines), (Level::Device, 1));

    // Each step of one session, beside another that stays what it is.
    let tab = client.connect(&target).await.expect("it was let in");
    assert_eq!(within("the login", line.request("login", "ada")).await, Ok(b"done".to_vec()));
    assert_eq!((listed(&bench, id).await.level, listed(&bench, id).await.lines), (Level::Account, 2));
    let mut authenticator = registered(&line).await;
    assert_eq!(listed(&bench, id).await.level, Level::Account, "who registers has shown nothing yet");
    assert_eq!(step_up(&line, &mut authenticator).await, level(3));
    assert_eq!(listed(&bench, id).await.level, Level::Present);
    assert_eq!(listed(&bench, others_id).await.level, Level::Device, "another device");
    within("the answer", line.sign_out()).await.expect("the line is open");
    assert_eq!(listed(&bench, id).await.level, Level::Device);

    // What a token gives ends with it; what the other session has is the highest then.
    let claims = json!({ "iss": ISSUER, "aud": "app", "sub": "cleo", "iat": now() - 60, "exp": now() });
    let brief = client.with_token(Signer::EdDsa.token(&claims)).connect(&target).await.expect("it was let in");
    hears_level(&brief, 2).await;
    assert_eq!(listed(&bench, id).await.level, Level::Account);
    is_listed(&bench, id, "the token is over", |device| device.level == Level::Device).await;
    for line in [line, tab, brief] {
        line.close(CloseCode::Normal, "");
    }
    let away = is_listed(&bench, id, "nobody is there", |device| device.lines == 0).await;
    assert_eq!((away.level, away.status), (Level::Device, DeviceStatus::Enrolled), "its key's, until it comes again");
    bench.revoke(Whom::device(id)).await;
    let revoked = listed(&bench, id).await;
    assert_eq!((revoked.level, revoked.status), (Level::Guest, DeviceStatus::Revoked));
}
