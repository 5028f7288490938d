//! Devices that have another key put in the place of their own: by the real binary, its verbs and its client, on both sides of a crash,
//! and beside whoever has stolen the key before.
#![allow(missing_docs, reason = "tests are named for their scenario")]

mod site;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use duologue_client::{
    Channel, ChannelError, Client, CloseCode, ConnectError, ConnectionError, DeviceId, DeviceKey, Line, LineError,
    RenewError, ResetCode, SignatureAlgorithm, Target, duologue::crypto::sha256,
};
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use site::{BINARY, Site};

/// Where a device keeps its key.
fn keyring(site: &Site, name: &str) -> PathBuf {
    site.directory.path().join(name)
}

fn client(directory: &Path) -> Client {
    Client::open(directory).expect("a keyring")
}

/// A device that comes in by an invite, and its line.
async fn enter(site: &Site, name: &str, invite: &[&str]) -> (Client, Target, Line) {
    let target = site.target(&site.verb(&[&["invite", "new"], invite].concat()));
    let client = client(&keyring(site, name));
    let line = client.connect(&target).await.expect("the invite is good");
    // What is known of the server is kept a moment after the line is open.
    while !keyring(site, name).join("servers.json").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let known = Target::parse(&format!("http://{}", target.place())).expect("an address");
    (client, known, line)
}

fn devices(site: &Site) -> Vec<Value> {
    let list: Value = serde_json::from_str(&site.verb(&["devices", "list", "--json"])).expect("JSON");
    list["devices"].as_array().expect("a list").clone()
}

/// Until a kind of event stands in the audit log so often, at least; how often it does.
fn audited(site: &Site, kind: &str, times: usize) -> usize {
    let begun = Instant::now();
    loop {
        let seen = site.verb(&["audit", "tail", "--kind", kind]).lines().filter(|line| line.contains(kind)).count();
        if seen >= times {
            return seen;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{kind}: {seen}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The files of a keyring as they are now: those of a thief, or of a machine that was restored.
fn copy(site: &Site, from: &str, to: &str) {
    let to = keyring(site, to);
    fs::create_dir(&to).expect("made");
    for entry in fs::read_dir(keyring(site, from)).expect("readable") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
    }
}

fn renew(site: &Site, name: &str, at: &Target) -> (bool, String) {
    let address = format!("http://{}", at.place());
    let done = Command::new(BINARY).args(["renew-key", &address, "--state"]).arg(keyring(site, name)).output();
    let done = done.expect("it runs");
    (done.status.success(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
}

/// Why a device is refused, and in which words.
async fn refused(client: &Client, at: &Target) -> (CloseCode, String) {
    match client.connect(at).await {
        Err(ConnectError::Line(LineError::Connection(ConnectionError::PeerClosed(close)))) => {
            (close.code, close.reason)
        }
        other => panic!("{other:?}"),
    }
}

fn by_old_key() -> (CloseCode, String) {
    (CloseCode::NotEnrolled, "key-renewed".to_owned())
}

async fn echoes(line: &Line) -> bool {
    tokio::time::timeout(Duration::from_secs(10), line.request("echo", "a")).await.is_ok_and(|it| it == Ok(b"a".into()))
}

/// A next key, in the file in which the client looks for it, as it was when it was killed.
fn next_key(site: &Site, name: &str, at: &Target) -> (Ed25519KeyPair, DeviceKey, PathBuf) {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("random bytes");
    let file = hex::encode(&sha256(at.place().as_bytes())[..8]);
    let file = keyring(site, name).join(format!("device-{file}.next.p8"));
    fs::write(&file, pkcs8.as_ref()).expect("written");
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key");
    let key = public(&pair);
    (pair, key, file)
}

/// Where that one is when it has taken the place of the one before.
fn own_file(next: &Path) -> PathBuf {
    PathBuf::from(next.to_str().expect("text").replace(".next.p8", ".p8"))
}

async fn ask(channel: &Channel, question: Value) -> Result<Value, LineError> {
    channel.send(question.to_string()).await?;
    let answer = channel.recv().await?.ok_or(LineError::NoAnswer)?;
    assert_eq!(answer.len(), 1_024, "all answers are alike");
    Ok(serde_json::from_slice(&answer).expect("JSON"))
}

/// What the server says of a key that has signed for another one's place.
async fn show(channel: &Channel, pair: &Ed25519KeyPair, key: &DeviceKey, before: &[u8; 32]) -> Value {
    let told = ask(channel, json!({ "ask": "challenge" })).await.expect("a challenge");
    let challenge = told["challenge"].as_str().expect("a text");
    let challenge = BASE64_URL_SAFE_NO_PAD.decode(challenge).expect("base64url").try_into().expect("32 bytes");
    let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let signature = text(pair.sign(&key.renewal(&challenge, before)).as_ref());
    let next = json!({ "ask": "next", "algorithm": "Ed25519", "spki": text(key.spki()), "signature": signature });
    ask(channel, next).await.expect("an answer")
}

fn public(pair: &Ed25519KeyPair) -> DeviceKey {
    let spki = [SignatureAlgorithm::Ed25519.spki_prefix(), pair.public_key().as_ref()].concat();
    DeviceKey::new(SignatureAlgorithm::Ed25519, spki).expect("a key")
}

/// A device's first key.
fn first_key(site: &Site, name: &str) -> (Ed25519KeyPair, DeviceKey) {
    let pkcs8 = fs::read(keyring(site, name).join("device.p8")).expect("it is there");
    let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).expect("a key");
    let key = public(&pair);
    (pair, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_has_another_key_and_stays_what_it_is_and_who_has_the_one_before_is_nobody_and_told_of() {
    let site = Site::new("");
    let server = site.start();
    let (ada, at, line) = enter(&site, "ada", &["--for", "ada", "--group", "staff", "--name", "desk"]).await;
    copy(&site, "ada", "thief");
    let thief = client(&keyring(&site, "thief"));
    let stolen = thief.connect(&at).await.expect("the key is good");
    assert!(echoes(&line).await && echoes(&stolen).await);
    let before = devices(&site);
    let channel = line.channel("echo").expect("it opens");
    channel.send("begun").await.expect("sent").taken().await.expect("taken");
    assert_eq!(channel.recv().await, Ok(Some(b"begun".to_vec())));

    let (is_done, said) = renew(&site, "ada", &at);
    let id = before[0]["id"].as_str().expect("an id");
    assert!(is_done && said.contains(id), "{said}");
    // Another process has done it: the lines of this one go on, with all that had begun.
    channel.send("goes on").await.expect("sent").taken().await.expect("taken by the same session");
    assert_eq!(channel.recv().await, Ok(Some(b"goes on".to_vec())));
    // The thief's have ended, and none comes again, with or without its ticket.
    let end = tokio::time::timeout(Duration::from_secs(20), stolen.closed()).await.expect("it ends");
    assert!(
        matches!(&end, ConnectionError::PeerClosed(close) if (close.code, close.reason.clone()) == by_old_key()),
        "{end:?}"
    );
    assert_eq!(refused(&thief, &at).await, by_old_key());
    let (is_done, said) = renew(&site, "thief", &at);
    assert!(!is_done && said.contains("key-renewed"), "{said}");
    assert_eq!(audited(&site, "device-key-renewed", 1), 1);
    audited(&site, "device-key-old", 3);

    let same = |now: &[Value]| {
        now.len() == 1
            && ["id", "fingerprint", "name", "subject", "groups", "enrolled_at"]
                .iter()
                .all(|it| now[0][it] == before[0][it])
    };
    assert!(same(&devices(&site)), "{:?}", devices(&site));
    drop((line, channel));
    server.stop();
    let server = site.start_at(&at);
    assert_eq!(refused(&thief, &at).await, by_old_key(), "for good");
    assert!(echoes(&client(&keyring(&site, "ada")).connect(&at).await.expect("by its key")).await);
    // And once more, behind which the first is as old as the second.
    copy(&site, "ada", "later");
    assert!(renew(&site, "ada", &at).0);
    for name in ["thief", "later"] {
        assert_eq!(refused(&client(&keyring(&site, name)), &at).await, by_old_key(), "{name}");
    }
    assert!(echoes(&client(&keyring(&site, "ada")).connect(&at).await.expect("by its key")).await);
    drop(ada);
    // Everything of it is in what is written out, and comes in again by it.
    let lines = site.directory.path().join("lines");
    let lines = lines.to_str().expect("text");
    site.verb(&["export", lines]);
    let other = site.directory.path().join("other");
    let (code, said, wrong) = site::try_verb(&other, &["import", lines]);
    assert_eq!(code, 0, "{said}{wrong}");
    let text = fs::read_to_string(lines).expect("it is there");
    assert_eq!(text.matches("\"device-key\"").count(), 3, "{text}");
    assert_eq!(site::try_verb(&other, &["devices", "list", "--json"]).1.matches(id).count(), 1);
    // Who is revoked is it by whatever key, and renews none.
    site.verb(&["devices", "revoke", id]);
    let (is_done, said) = renew(&site, "ada", &at);
    assert!(!is_done && said.contains("has removed this device"), "{said}");
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_renewal_is_cut_off_at_the_device_has_a_key_that_is_good() {
    let site = Site::new("");
    let server = site.start();
    let (ada, at, line) = enter(&site, "ada", &[]).await;
    let own = sha256(first_key(&site, "ada").1.spki());
    // The next key is kept at both ends, and its answer was never heard.
    let (pair, key, file) = next_key(&site, "ada", &at);
    let channel = line.channel("device-key").expect("it opens");
    let told = show(&channel, &pair, &key, &own).await;
    assert_eq!(told["device"], devices(&site)[0]["id"]);
    line.close(CloseCode::Normal, "");
    line.closed().await;
    assert!(echoes(&ada.connect(&at).await.expect("by the key before")).await);
    copy(&site, "ada", "before");
    let (is_done, said) = renew(&site, "ada", &at);
    assert!(is_done && !file.exists(), "{said}");
    assert_eq!(refused(&client(&keyring(&site, "before")), &at).await, by_old_key());
    // What was kept next was gone on with: it is the one that is used.
    let used = Ed25519KeyPair::from_pkcs8(&fs::read(own_file(&file)).expect("it is there")).expect("a key");
    assert_eq!(used.public_key().as_ref(), pair.public_key().as_ref());

    // Kept by the client in the place of the one before, and the server was not told.
    copy(&site, "ada", "second");
    let line = client(&keyring(&site, "ada")).connect(&at).await.expect("by its key");
    let (third, key, file) = next_key(&site, "ada", &at);
    let before = sha256(public(&pair).spki());
    let told = show(&line.channel("device-key").expect("it opens"), &third, &key, &before).await;
    assert!(told["device"].is_string(), "{told}");
    server.stop();
    drop(line);
    fs::rename(&file, own_file(&file)).expect("moved");
    let server = site.start_at(&at);
    let second = client(&keyring(&site, "second"));
    assert!(echoes(&second.connect(&at).await.expect("the one before is good until then")).await);
    assert!(echoes(&client(&keyring(&site, "ada")).connect(&at).await.expect("by the next one")).await);
    assert_eq!(refused(&second, &at).await, by_old_key(), "the next one was used");
    assert_eq!(devices(&site).len(), 1);
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_takes_no_place_without_its_own_signature_nor_anothers_key_nor_where_the_owner_says_so() {
    let site = Site::new("");
    let server = site.start();
    let (ada, at, line) = enter(&site, "ada", &[]).await;
    drop(enter(&site, "bob", &[]).await);
    let (own, (bobs_pair, bobs_key)) = (sha256(first_key(&site, "ada").1.spki()), first_key(&site, "bob"));
    let channel = line.channel("device-key").expect("it opens");
    let (pair, key, file) = next_key(&site, "ada", &at);
    let (other, ..) = next_key(&site, "bob", &at);
    fs::remove_file(&file).expect("removed");
    assert_eq!(show(&channel, &other, &key, &own).await["refused"], "bad-proof", "another has signed");
    assert_eq!(
        show(&channel, &pair, &key, &sha256(bobs_key.spki())).await["refused"],
        "bad-proof",
        "for another device's place"
    );
    // Another device's key, by which both would come as one.
    assert_eq!(show(&channel, &bobs_pair, &bobs_key, &own).await["refused"], "key-known");
    let failed = Err(LineError::Channel(ChannelError::Reset(ResetCode::Failed)));
    for hostile in [
        json!({ "ask": "use" }),
        json!({ "ask": "next", "algorithm": "Ed25519", "spki": "", "signature": "" }),
        json!({ "ask": "challenge", "more": 1 }),
        json!({ "ask": "challenge", "fill": "x".repeat(1_024) }),
        json!([]),
    ] {
        let channel = line.channel("device-key").expect("it opens");
        channel.send(hostile.to_string()).await.expect("sent");
        assert_eq!(channel.recv().await, failed, "{hostile}");
    }
    // One challenge is answered once, on its own channel.
    let channel = line.channel("device-key").expect("it opens");
    let first = show(&channel, &pair, &key, &own).await;
    assert!(first["device"].as_str().is_some_and(|it| it.parse::<DeviceId>().is_ok()), "{first}");
    drop((ada, line, channel));
    server.stop();
    site.configure("[services]\ndevice_keys = false\n[[rule]]\nopen = [\"*\"]\n");
    let server = site.start_at(&at);
    let refused = client(&keyring(&site, "bob")).renew_key(&at).await;
    assert!(matches!(&refused, Err(RenewError::Line(_))), "{refused:?}");
    drop(server);
}
