//! What happens to a server and its state, as its owner hears of it: in the log, by the local API, in the audit log.
#![allow(missing_docs, reason = "tests are named for their scenario")]

mod site;

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    time::{Duration, Instant},
};

use duologue::DeviceId;
use duologue_client::{Client, Keyring};
use serde_json::{Value, json};
use site::Site;

const CONFIG: &str = "[audit]\nsign_every = \"1s\"\n[[rule]]\nopen = [\"echo\"]\n";

/// What the local API answers: over the socket, as anything but our own verbs would ask.
fn ask(site: &Site, path: &str) -> (u16, Value) {
    let mut socket = UnixStream::connect(site.state().join("control.sock")).expect("a server runs");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
}

/// The events behind a number, and the number for the next time.
fn events(site: &Site, after: u64) -> (Vec<Value>, u64) {
    let (status, told) = ask(site, &format!("/events?after={after}"));
    assert_eq!((status, &told["missed"]), (200, &json!(0)), "{told}");
    (told["events"].as_array().expect("a list").clone(), told["next"].as_u64().expect("a number"))
}

/// Waits until something is so, and lets clients work meanwhile.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An older copy of the store that is put back, and a key that others may read.
#[tokio::test]
async fn what_happens_to_the_state_is_an_event_in_log_list_and_audit() {
    let site = Site::new(CONFIG);
    let server = site.start();
    let keyring = Keyring::in_memory();
    let device = DeviceId::of_spki(keyring.device().spki()).to_string();
    let target = site.target(&site.verb(&["invite", "new"]));
    drop(Client::new(keyring).connect(&target).await.expect("the invite is good"));
    until("the line ends", || ask(&site, "/sessions").1["all"] == 0).await;
    server.stop();
    let store = site.state().join("store.redb");
    let older = fs::read(&store).expect("readable");
    site.verb(&["devices", "revoke", &device]);
    let put_back = || fs::write(&store, &older).expect("written");
    put_back();
    fs::set_permissions(site.state().join("identity.key"), fs::Permissions::from_mode(0o644)).expect("it is ours");

    let server = site.start();
    let (told, _) = events(&site, 0);
    for (kind, note) in [
        ("key-exposed", "identity.key (mode 644)"),
        ("state-older", "of its changes are missing"),
        ("revoked-again", device.as_str()),
    ] {
        let event = told.iter().find(|event| event["event"] == kind).unwrap_or_else(|| panic!("{kind}: {told:?}"));
        assert_eq!((&event["whose"], &event["level"]), (&json!("server"), &json!("warn")), "{event}");
        assert!(event["note"].as_str().is_some_and(|told| told.contains(note)), "{event}");
        until(kind, || site.verb(&["audit", "tail", "--kind", kind]).contains(note)).await;
    }
    let log = site.log();
    for words in ["`chmod 600` it", "the store is an older copy", "revoked again, as the journal of revocations has it"]
    {
        assert!(log.contains(words), "{words}: {log}");
    }
    server.stop();
    // A verb that finds it where no server runs says so too, and writes it down.
    put_back();
    let (code, _, said) = site.try_verb(&["devices", "list"]);
    assert!(code == 0 && said.contains("the store is an older copy"), "{said}");
    assert_eq!(site.verb(&["audit", "tail", "--kind", "state-older"]).lines().count(), 2);
}

#[tokio::test]
async fn sessions_and_events_are_told_by_the_local_api() {
    let site = Site::new(CONFIG);
    let server = site.start();
    assert_eq!(ask(&site, "/sessions"), (200, json!({ "sessions": [], "all": 0 })));
    let (_, before) = events(&site, 0);
    let keyring = Keyring::in_memory();
    let device = DeviceId::of_spki(keyring.device().spki()).to_string();
    let target = site.target(&site.verb(&["invite", "new", "--for", "ada"]));
    let line = Client::new(keyring).named("Ada’s phone").connect(&target).await.expect("the invite is good");
    line.request("echo", vec![7; 100_000]).await.expect("an echo");
    let (_, told) = ask(&site, "/sessions");
    let session = &told["sessions"][0];
    let is = ["device", "name", "subject", "level", "connected"].map(|member| session[member].clone());
    assert_eq!(is, [json!(device), json!("Ada’s phone"), json!("ada"), json!(1), json!(true)], "{told}");
    assert!(session["received"].as_u64() > Some(100_000) && session["sent"].as_u64() > Some(100_000), "{told}");
    assert_eq!(told["all"], 1);
    drop(line);
    until("the session goes", || ask(&site, "/sessions").1["all"] == 0).await;

    let kinds = |told: &[Value]| told.iter().map(|event| event["event"].clone()).collect::<Vec<_>>();
    let (told, next) = events(&site, before);
    for kind in ["invite-made", "device-enrolled", "line-open", "line-ended"] {
        assert!(kinds(&told).contains(&json!(kind)), "{kind}: {told:?}");
    }
    let open = told.iter().find(|event| event["event"] == "line-open").expect("seen");
    assert_eq!((&open["device"], &open["whose"]), (&json!(device), &json!("device")), "{open}");
    assert!(told.iter().map(|event| event["number"].as_u64()).is_sorted(), "{told:?}");
    assert!(!json!(told).to_string().contains("#i="), "no secret is told");
    site.verb(&["bans", "add", "192.0.2.7"]);
    let (told, _) = events(&site, next);
    assert_eq!(kinds(&told), ["owner-banned"], "what was told is not told again");
    for wrong in ["/events?after=x", "/events?before=1", "/events?after=-1"] {
        let (status, told) = ask(&site, wrong);
        assert_eq!((status, &told["error"]), (400, &json!("bad-query")), "{wrong}");
    }
    drop(server);
}

#[test]
fn a_ban_or_a_log_that_makes_no_sense_is_answered_by_a_sentence_and_changes_nothing() {
    let site = Site::new(CONFIG);
    let _server = site.start();
    site.write("garbage", b"\xff\xfe{}\n");
    let garbage = site.directory.path().join("garbage");
    for (asked, why) in [
        (&["bans", "add", "192.0.2.0/24"][..], "a network is for `[firewall] deny`"),
        (&["bans", "add", "::/0"], "\"::/0\" is nobody who can be kept out"),
        (&["bans", "add", "nonsense"], "\"nonsense\" is nobody who can be kept out"),
        (&["bans", "add", "127.0.0.1"], "this machine is never banned"),
        (&["bans", "add", "::ffff:127.0.0.1"], "this machine is never banned"),
        (&["bans", "add", "--subject", "a\nb"], "is nobody who can be kept out"),
        (&["bans", "add", "192.0.2.1", "--for", "0s"], "a ban lasts from 1s to ten years"),
        (&["bans", "lift", "192.0.2.1"], "there is no ban of the address 192.0.2.1"),
        (&["audit", "verify", garbage.to_str().expect("text")], "line 1: it is no line of an audit log"),
        (&["audit", "verify", "--head", "1:zz"], "a head is a number, a colon and 64 digits"),
        (&["audit", "tail", "--kind", "nonsense"], "no entry is of that kind"),
    ] {
        let (code, said, wrong) = site.try_verb(asked);
        assert!(code != 0 && said.is_empty() && wrong.contains(why), "{asked:?}: {code} {said}{wrong}");
    }
    assert_eq!(site.verb(&["bans", "list"]), "");
}
