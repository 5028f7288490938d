//! The audit log of the real binary: what stands in it, what a kill and a restored copy leave of it, and where else it goes.
#![allow(missing_docs, reason = "tests are named for their scenario")]

mod site;
#[path = "../src/door/tokens/testing.rs"]
#[allow(dead_code, reason = "its other keys are for others")]
mod testing;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::Path,
    process::Command,
    sync::mpsc,
    time::{Duration, Instant},
};

use duologue::DeviceId;
use duologue_client::{Client, Keyring};
use serde_json::{Value, json};
use site::{BINARY, Site};
use testing::{Signer, key_set, now};

/// The entries of a kind, once there are so many.
#[track_caller]
fn entries(site: &Site, kind: &str, count: usize) -> Vec<Value> {
    let start = Instant::now();
    loop {
        let told: Value =
            serde_json::from_str(&site.verb(&["audit", "tail", "--json", "-n", "1000", "--kind", kind])).expect("JSON");
        let entries = told["entries"].as_array().expect("a list").clone();
        if entries.len() >= count {
            return entries;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{kind}: {entries:?} in {}", site.verb(&["audit", "tail"]));
        std::thread::sleep(Duration::from_millis(50));
    }
}

const CONFIG: &str = "[audit]\nsign_every = \"1s\"\n[door.token]\nissuer = \"https://login.example\"\naudience = \"app\"\n\
                      keys = \"keys.json\"\nbearer_binds = true\n[[rule]]\nname = \"for all\"\nopen = [\"echo\"]\n\
                      [[rule]]\nname = \"people\"\nopen = [\"desk\"]\nlevel = 2\n";

#[tokio::test]
async fn an_invite_a_login_a_refusal_a_revocation_and_whatever_the_owner_does_stand_in_it() {
    let site = Site::new(CONFIG);
    site.write("keys.json", key_set(&Signer::ALL));
    let server = site.start();
    let link = site.verb(&["invite", "new", "--for", "ada"]);
    let claims =
        json!({ "iss": "https://login.example", "aud": "app", "sub": "ada", "exp": now() + 600, "iat": now() });
    let keyring = Keyring::in_memory();
    let device = DeviceId::of_spki(keyring.device().spki()).to_string();
    let client = Client::new(keyring).named("=a \"laptop\"").with_token(Signer::EdDsa.token(&claims));
    let line = client.connect(&site.target(&link)).await.expect("the invite is good");
    assert_eq!(
        line.request("echo", "a secret that nobody writes down").await.expect("echo"),
        b"a secret that nobody writes down"
    );
    let revoked = site.verb(&["devices", "revoke", &device]);
    assert!(revoked.starts_with("revoked"), "{revoked}");
    client.connect(&site.target(&link)).await.expect_err("it is revoked");

    let enrolled = &entries(&site, "device-enrolled", 1)[0];
    assert_eq!((&enrolled["device"], &enrolled["note"]), (&json!(device), &json!("=a \"laptop\"")), "{enrolled}");
    let open = &entries(&site, "line-open", 1)[0];
    assert_eq!(open["device"], json!(device), "{open}");
    let by = open["by"].as_str().expect("by what it was let in");
    for what in ["key, invite", "token of https://login.example", "level 2", "for all"] {
        assert!(by.contains(what), "{by}");
    }
    let made = &entries(&site, "invite-made", 1)[0];
    assert!(made["subject"] == "ada" && made["note"].as_str().is_some_and(|note| note.contains("uid")), "{made}");
    let revoked = &entries(&site, "owner-revoked", 1)[0];
    assert!(revoked["note"].as_str().is_some_and(|note| note.contains(&device)), "{revoked}");
    assert_eq!(entries(&site, "revoked-came", 1)[0]["device"], json!(device));
    entries(&site, "token-taken", 1);
    site.verb(&["bans", "add", "198.51.100.7"]);
    let banned = &entries(&site, "owner-banned", 1)[0];
    assert!(banned.to_string().contains("198.51.100.7"), "{banned}");
    site.verb(&["bans", "lift", "198.51.100.7"]);
    entries(&site, "ban-lifted", 1);
    entries(&site, "server-started", 1);
    for word in ["a secret that nobody", "#i=", &Signer::EdDsa.token(&claims)] {
        let mut text = String::new();
        for path in fs::read_dir(site.audit()).expect("readable").filter_map(Result::ok) {
            text.push_str(&String::from_utf8_lossy(&fs::read(path.path()).expect("readable")));
        }
        assert!(!text.contains(word), "{word}");
    }

    // A head is signed when it is asked for, and everything up to it is on disk.
    let head = site.verb(&["audit", "head"]);
    let key = site
        .verb(&["audit", "key"])
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("first  "))
        .expect("a key")
        .to_owned();
    let verify = site.verb(&["audit", "verify", "--key", &key, "--head", &head]);
    assert!(verify.starts_with("whole from 1 to ") && verify.contains("the head stands where it says"), "{verify}");
    let csv = site.verb(&["audit", "tail", "--csv", "--kind", "device-enrolled", "--kind", "line-open"]);
    let mut rows = csv.lines();
    assert_eq!(rows.next(), Some("n,at,kind,count,device,subject,address,label,code,by,note"));
    assert!(
        rows.next().is_some_and(|row| row.contains("device-enrolled") && row.ends_with("\"'=a \"\"laptop\"\"\"")),
        "{csv}"
    );
    assert_eq!(
        site.verb(&["audit", "tail", "--since", "1h", "--device", &device[..6], "--kind", "revoked-came"])
            .lines()
            .count(),
        1
    );

    // It ends with a signature; and a verb without a server writes on.
    server.stop();
    let (code, said, _) = site.try_verb(&["audit", "verify", "--head", &head]);
    assert!(code == 0 && !said.contains("under no signature"), "{said}");
    entries(&site, "server-stopping", 1);
    site.verb(&["invite", "new"]);
    assert_eq!(entries(&site, "invite-made", 2).len(), 2);
    site.verb(&["devices", "list"]);
    let verify = site.verb(&["audit", "verify", "--key", &key, "--head", &head]);
    let last = site.verb(&["audit", "head"]);
    assert!(verify.ends_with(&last), "what changes nothing leaves nothing: {verify} {last}");

    // Without the state, as anywhere else; and one byte that is another.
    let copy = site.directory.path().join("copy.jsonl");
    let newest = fs::read_dir(site.audit()).expect("readable").filter_map(|entry| Some(entry.ok()?.path()));
    let newest = newest.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).max().expect("a file");
    let text = fs::read_to_string(newest).expect("readable");
    fs::write(&copy, text.replacen("owner-revoked", "owner-revoced", 1)).expect("written");
    let nowhere = Command::new(BINARY).args(["audit", "verify"]).arg(&copy).env("DUOLOGUE_STATE", "/nowhere").output();
    let nowhere = nowhere.expect("it runs");
    let said = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    let line = text.lines().position(|line| line.contains("owner-revoked")).expect("it is there") + 1;
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(said.contains(&format!("NOT whole: {}, line {line}: entry {line} was altered", copy.display())), "{said}");
}

#[test]
fn serve_keeps_one_unless_told_and_dev_where_it_is_told() {
    for (verb, config, keeps) in [
        ("serve", "", true),
        ("serve", "[[rule]]\nopen = [\"echo\"]\n", true),
        ("serve", "[audit]\non = false\n", false),
        ("dev", "", false),
        ("dev", "[audit]\n", true),
    ] {
        let site = Site::new(config);
        let server = site.start_with(verb);
        site.verb(&["invite", "new", "--url", "https://line.example/"]);
        assert_eq!(site.audit().exists(), keeps, "{verb} {config:?}");
        let (code, said, wrong) = site.try_verb(&["audit", "head"]);
        assert_eq!(code == 0, keeps, "{said}{wrong}");
        assert!(keeps || wrong.contains("keeps no audit log"), "{wrong}");
        server.stop();
        site.verb(&["invite", "new", "--url", "https://line.example/"]);
        assert_eq!(site.audit().exists(), keeps, "{verb} {config:?}: nor does a verb begin one");
        if keeps {
            for file in fs::read_dir(site.audit()).expect("readable").filter_map(Result::ok) {
                let mode = file.metadata().expect("there").permissions().mode();
                assert_eq!(mode & 0o077, 0, "{:?} is nobody else's", file.path());
            }
        }
    }
    // What was kept once is not written on when its owner wants none.
    let site = Site::new("[audit]\n");
    site.start().stop();
    let before = site.verb(&["audit", "head"]);
    fs::write(site.directory.path().join("a.toml"), "[audit]\non = false\n").expect("written");
    site.start().stop();
    site.verb(&["invite", "new"]);
    assert_eq!(site.verb(&["audit", "verify"]).lines().last(), Some(format!("head {before}").as_str()));
}

/// Killed wherever it is, again and again, while the owner makes invites: what stands is whole, and what was broken off is told.
#[test]
fn a_server_that_is_killed_while_it_writes_goes_on_truthfully() {
    let site = Site::new("[audit]\nsign_every = \"1s\"\nsign_lines = 3\n");
    let mut heads: Vec<String> = Vec::new();
    for round in 0..6_u32 {
        let mut server = site.start();
        for head in &heads {
            site.verb(&["audit", "verify", "--head", head]);
        }
        let (stop, stopped) = mpsc::channel::<()>();
        let state = site.state();
        let busy = std::thread::spawn(move || {
            let mut made = 0;
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                let invite = Command::new(BINARY).args(["invite", "new", "--json", "--state"]).arg(&state).output();
                made += u32::from(invite.is_ok_and(|made| made.status.success()));
            }
            made
        });
        entries(&site, "invite-made", (heads.len() + 1) * 3);
        heads.push(site.verb(&["audit", "head"]));
        std::thread::sleep(Duration::from_millis(u64::from(round) * 7));
        server.process.kill().expect("it lives");
        server.process.wait().expect("it ends");
        drop(stop);
        busy.join().expect("no panic");
        if round % 2 == 1 {
            // As a machine that loses its power leaves it.
            let parts = fs::read_dir(site.audit()).expect("readable").filter_map(|entry| Some(entry.ok()?.path()));
            let newest = parts.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).max().expect("a file");
            let mut file = fs::File::options().append(true).open(newest).expect("there");
            file.write_all(b"{\"entry\":{\"address\":\"127.0").expect("written");
            let (code, _, wrong) = site.try_verb(&["audit", "verify"]);
            assert!(code == 1 && wrong.contains("it has no end"), "{wrong}");
        }
    }
    site.start().stop();
    assert!(
        entries(&site, "audit-torn", 3)
            .iter()
            .all(|torn| torn["note"].as_str().is_some_and(|it| it.contains("\"bytes\":26")))
    );
    for head in &heads {
        site.verb(&["audit", "verify", "--head", head]);
    }
}

#[test]
fn a_restored_older_state_is_seen_beside_a_head_of_later() {
    let site = Site::new("[audit]\n");
    site.start().stop();
    let kept = site.directory.path().join("kept");
    copy(&site.state(), &kept);
    let server = site.start();
    site.verb(&["invite", "new"]);
    let head = site.verb(&["audit", "head"]);
    server.stop();
    site.verb(&["audit", "verify", "--head", &head]);
    fs::remove_dir_all(site.state()).expect("removed");
    copy(&kept, &site.state());
    let (code, _, wrong) = site.try_verb(&["audit", "verify", "--head", &head]);
    assert!(code == 1 && wrong.contains("was cut off, or an older copy was restored"), "{wrong}");
    let server = site.start();
    for _ in 0..5 {
        site.verb(&["invite", "new"]);
    }
    server.stop();
    let (code, said, _) = site.try_verb(&["audit", "verify"]);
    assert!(code == 0 && said.contains("whether more followed is not known"), "{said}");
    let (code, _, wrong) = site.try_verb(&["audit", "verify", "--head", &head]);
    assert!(code == 1 && wrong.contains("is not the one that the head names"), "{wrong}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("readable").filter_map(Result::ok) {
        let to = to.join(entry.file_name());
        match entry.file_type().expect("known") {
            kind if kind.is_dir() => copy(&entry.path(), &to),
            kind if kind.is_file() => _ = fs::copy(entry.path(), to).expect("copied"),
            _ => {}
        }
    }
}

/// One request of a webhook, answered with a status; its lines.
fn answer(listener: &TcpListener, status: &str) -> Vec<Value> {
    let (mut socket, _) = listener.accept().expect("it comes");
    let body = body(&mut socket);
    write!(socket, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").expect("it reads");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    body["lines"].as_array().expect("lines").clone()
}

fn body(socket: &mut TcpStream) -> String {
    let mut read = BufReader::new(socket);
    let (mut len, mut line) = (0, String::new());
    while line != "\r\n" {
        line.clear();
        read.read_line(&mut line).expect("a head");
        if let Some(told) = line.to_lowercase().strip_prefix("content-length:") {
            len = told.trim().parse().expect("a number");
        }
    }
    let mut body = vec![0; len];
    read.read_exact(&mut body).expect("a body");
    String::from_utf8(body).expect("a text")
}

/// What arrives at both is the log itself, heads too; and a webhook that is down for a while misses nothing.
#[test]
fn syslog_and_a_webhook_get_each_line_and_can_verify_it() {
    let webhook = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = webhook.local_addr().expect("bound").port();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("log.sock");
    let syslog = UnixDatagram::bind(&path).expect("bound");
    syslog.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    let site = Site::new(&format!(
        "[audit]\nsign_every = \"1s\"\nsyslog = \"unix:{}\"\nwebhook = \"http://127.0.0.1:{port}/audit?a=b\"\n",
        path.display()
    ));
    let server = site.start();
    site.verb(&["invite", "new"]);
    assert!(!answer(&webhook, "503 Service Unavailable").is_empty());
    let refused = answer(&webhook, "302 Found\r\nlocation: /elsewhere");
    assert!(!refused.is_empty(), "they come again");
    let mut posted = Vec::new();
    let is_whole = |lines: &[Value]| {
        let has = |kind: &str| lines.iter().any(|line| line["entry"]["kind"] == kind);
        has("invite-made") && lines.last().is_some_and(|line| line["entry"]["kind"] == "audit-head")
    };
    while !is_whole(&posted) {
        posted.extend(answer(&webhook, "204 No Content"));
    }
    assert_eq!(refused[0], posted[0], "the same lines");
    let mut told = Vec::new();
    let mut message = vec![0; 65_536];
    while told.len() < posted.len() {
        let len = syslog.recv(&mut message).expect("it comes");
        let text = std::str::from_utf8(&message[..len]).expect("a text");
        // RFC 5424: <PRI>VERSION TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG; authpriv, notice.
        let parts: Vec<_> = text.splitn(8, ' ').collect();
        assert_eq!((parts[0], parts[3], parts[6]), ("<85>1", "duologue", "-"), "{text}");
        assert_eq!(parts[4], server.process.id().to_string());
        told.push(serde_json::from_str::<Value>(parts[7]).expect("JSON"));
    }
    assert_eq!(told, posted);
    // Each is the line itself.
    let text: String = posted.iter().map(|line| format!("{line}\n")).collect();
    let copy = site.directory.path().join("copy.jsonl");
    fs::write(&copy, text).expect("written");
    let copied = site.verb(&["audit", "verify", copy.to_str().expect("text")]);
    assert!(copied.starts_with("whole from 1 to "), "{copied}");
    assert!(site.log().contains("the webhook at 127.0.0.1 does not take the audit log"), "{}", site.log());
    assert!(!site.log().contains("a=b"), "its path may be a secret");
}
