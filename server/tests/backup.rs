//! Backups, exports and what is made of them, by the real binary: while it serves, and of a state at rest.
#![allow(missing_docs, reason = "tests are named for their scenario")]

mod site;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use duologue_client::{Client, Keyring, Line};
use serde_json::Value;
use site::{Site, try_verb};

/// The rounds of this test, in `tests/forms.json` of the repository.
fn rounds(test: &str) -> u64 {
    let forms: Value = serde_json::from_str(include_str!("../../tests/forms.json")).expect("it is JSON");
    let form = forms.as_array().and_then(|forms| forms.iter().find(|form| form["test"] == test)).expect("its form");
    let is_long = std::env::var_os("DUOLOGUE_LONG").is_some_and(|value| value == "1");
    form[if is_long { "whole" } else { "small" }].as_u64().expect("a number")
}

/// A site with something of every kind, as far as its owner can make it by verbs.
fn lived_in() -> Site {
    let site = Site::new("");
    let server = site.start();
    site.verb(&["invite", "new", "--for", "ada", "--group", "staff", "--opens", "echo", "--name", "desk"]);
    site.verb(&["invite", "new", "--expires", "2h"]);
    site.verb(&["accounts", "groups", "ada", "--add", "staff"]);
    site.verb(&["accounts", "revoke", "--group", "gone"]);
    site.verb(&["bans", "add", "192.0.2.7", "--for", "2h"]);
    server.stop();
    site
}

fn path(site: &Site, name: &str) -> PathBuf {
    site.directory.path().join(name)
}

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).expect("it is there");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// What a line says of its kind, without how often the file was written.
fn of_kind<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["kind"] == kind).collect()
}

async fn enter(site: &Site, keyring: &Path) -> Line {
    let link = site.verb(&["invite", "new"]);
    Client::open(keyring).expect("a keyring").connect(&site.target(&link)).await.expect("the invite is good")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_backed_up_while_it_served_is_the_same_server_elsewhere() {
    let site = lived_in();
    let server = site.start();
    let keyring = path(&site, "keyring");
    drop(enter(&site, &keyring).await);
    let file = path(&site, "a.backup");
    let named = file.to_str().expect("text");
    let said = site.verb(&["backup", named]);
    assert!(said.contains("is written: devices 1, accounts 1, invites 3, passkeys 0, bans 1"), "{said}");
    assert_eq!(fs::metadata(&file).expect("written").permissions().mode() & 0o777, 0o600);
    // What is there is somebody's backup.
    let (code, _, told) = site.try_verb(&["backup", named]);
    assert!(code == 1 && told.contains("is not overwritten"), "{code}: {told}");
    assert!(site.log().contains("the owner has copied the state what=backup by="), "{}", site.log());
    let whole = site.verb(&["restore", "--check", named]);
    assert!(whole.starts_with("whole: devices 1,") && whole.contains("audit head "), "{whole}");
    let key = site.verb(&["keys", "show", "--json"]);
    // It is restored beside the one that still runs, into a directory that is missing and into one that is empty.
    let other = Site::new("");
    fs::create_dir(path(&other, "empty")).expect("made");
    for state in [path(&other, "missing/below"), path(&other, "empty")] {
        let (code, said, told) = try_verb(&state, &["restore", named]);
        assert_eq!(code, 0, "{told}");
        assert!(
            said.contains("devices 1") && said.contains("comes in again") && said.contains("audit verify"),
            "{said}"
        );
        assert_eq!(try_verb(&state, &["keys", "show", "--json"]).1.trim(), key);
        let mode = |name: &str| fs::metadata(state.join(name)).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(["identity.key", "store.redb", "revocations.journal"].map(mode), [0o600; 3]);
        assert!(!state.join("restoring").exists());
        // Twice would be onto something.
        let (code, _, told) = try_verb(&state, &["restore", named]);
        assert!(code == 1 && told.contains("is not empty"), "{told}");
    }
    server.stop();
    fs::rename(path(&other, "empty"), other.state()).expect("moved");
    let server = other.start();
    let known = Client::open(&keyring).expect("the same device");
    // Its address is another; its key is not, nor is whom it knows.
    let link = other.verb(&["invite", "new"]);
    let line = known.connect(&other.target(&link)).await.expect("known there");
    assert_eq!(line.request("echo", "again").await, Ok(b"again".to_vec()));
    assert_eq!(other.verb(&["devices", "list", "--json"]).matches("\"fingerprint\":").count(), 1);
    drop(server);
    // The state of a copy is another one, so that nothing of a session is taken for its own.
    let generation = |file: &Path| lines(file)[0]["generation"].as_str().expect("text").to_owned();
    let later = path(&other, "later.backup");
    other.verb(&["backup", later.to_str().expect("text")]);
    assert_ne!(generation(&file), generation(&later));
}

#[test]
fn files_that_are_cut_off_altered_foreign_or_later_are_refused_by_name_and_make_nothing() {
    let site = lived_in();
    let file = path(&site, "a.backup");
    site.verb(&["backup", file.to_str().expect("text")]);
    let whole = fs::read(&file).expect("written");
    let text = String::from_utf8(whole.clone()).expect("text");
    let bad = path(&site, "bad.backup");
    let named = bad.to_str().expect("text");
    let state = path(&site, "made");
    let refused = |bytes: &[u8], words: &[&str]| {
        fs::write(&bad, bytes).expect("written");
        for arguments in [&["restore", "--check", named][..], &["restore", named]] {
            let (code, said, told) = try_verb(&state, arguments);
            assert_eq!((code, said.as_str()), (1, ""), "{arguments:?}: {told}");
            assert!(told.contains(named), "{told}");
            assert!(words.iter().any(|words| told.contains(words)), "{words:?}: {told}");
            assert!(!state.exists(), "something was made");
        }
    };
    // Cut anywhere.
    let step = whole.len() / 40;
    for len in (0..whole.len()).step_by(step.max(1)).chain([whole.len() - 1]) {
        refused(&whole[..len], &["it is cut off behind line", "it is no backup"]);
    }
    // A letter of any line altered: it makes no sense, or its hash is another.
    let mut at = 0;
    for line in text.split_inclusive('\n').skip(1) {
        let mut altered = whole.clone();
        at = text[at..].find(line).expect("it is there") + at;
        let place = at + line.len() / 2;
        altered[place] = if altered[place] == b'A' { b'B' } else { b'A' };
        refused(&altered, &["it was altered since it was made", "line "]);
    }
    // A line removed, repeated, moved.
    let all: Vec<_> = text.split_inclusive('\n').collect();
    let last = all.len() - 1;
    let removed = [&all[..4], &all[5..]].concat().concat();
    let repeated = [&all[..5], &all[4..]].concat().concat();
    let mut moved = all.clone();
    moved.swap(3, 4);
    for altered in
        [removed, repeated, moved.concat(), format!("{text}{}", all[last]), text.replace("\"lines\":", "\"lines\":1")]
    {
        refused(altered.as_bytes(), &["it was altered since it was made", "the same stands before it already"]);
    }
    // Others' files.
    let export = path(&site, "a.export");
    site.verb(&["export", export.to_str().expect("text")]);
    for foreign in
        [b"".to_vec(), b"\x1f\x8b\x08 packed".to_vec(), b"{}\n".to_vec(), fs::read(&export).expect("written")]
    {
        refused(&foreign, &["it is no backup of duologue"]);
    }
    refused(text.replacen("\"version\":1", "\"version\":7", 1).as_bytes(), &["it is of version 7"]);
    let (code, _, told) = try_verb(&state, &["restore", "/nowhere/a.backup"]);
    assert!(code == 1 && told.contains("/nowhere/a.backup"), "{told}");
    // Where somebody pulled the plug meanwhile, nobody opens what there is.
    fs::create_dir_all(state.join("restoring")).expect("made");
    for arguments in [
        &["restore", file.to_str().expect("text")][..],
        &["devices", "list"],
        &["serve", "--url", "https://a.example", "--behind-proxy", "--listen", "127.0.0.1:0"],
    ] {
        let (code, _, told) = try_verb(&state, arguments);
        assert!(
            code == 1 && (told.contains("came to no end") || told.contains("is not empty")),
            "{arguments:?}: {told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_copy_lets_in_again_is_told_and_revoked_again_where_the_old_directory_is_there() {
    let site = Site::new("");
    let server = site.start();
    let keyring = path(&site, "keyring");
    drop(enter(&site, &keyring).await);
    let file = path(&site, "a.backup");
    let named = file.to_str().expect("text");
    site.verb(&["backup", named]);
    let list: Value = serde_json::from_str(&site.verb(&["devices", "list", "--json"])).expect("JSON");
    let device = list["devices"][0]["id"].as_str().expect("an id").to_owned();
    site.verb(&["devices", "revoke", &device]);
    site.verb(&["accounts", "revoke", "eve"]);
    server.stop();
    let status = |state: &Path| {
        let list: Value = serde_json::from_str(&try_verb(state, &["devices", "list", "--json"]).1).expect("JSON");
        list["devices"][0]["status"].as_str().expect("a status").to_owned()
    };
    let (forgets, knows) = (path(&site, "forgets"), path(&site, "knows"));
    let (code, said, _) = try_verb(&forgets, &["restore", named]);
    assert!(code == 0 && said.contains("whoever was REVOKED since comes in again") && said.contains("--old"), "{said}");
    assert_eq!(status(&forgets), "enrolled");
    let state = site.state();
    let (code, said, told) = try_verb(&knows, &["restore", named, "--old", state.to_str().expect("text")]);
    assert_eq!(code, 0, "{told}");
    assert!(said.contains(&format!("revoked again: {device}")), "{said}");
    assert!(said.contains("revoked again: the account"), "{said}");
    assert_eq!(status(&knows), "revoked");
    // A directory that is none leaves nothing.
    let (code, _, told) = try_verb(&path(&site, "third"), &["restore", named, "--old", "/nowhere"]);
    assert!(code == 1 && told.contains("/nowhere/revocations.journal"), "{told}");
    assert!(!path(&site, "third").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_is_imported_is_exported_the_same_and_a_bad_line_is_named() {
    let site = lived_in();
    let server = site.start();
    drop(enter(&site, &path(&site, "keyring")).await);
    server.stop();
    let (first, second) = (path(&site, "1.jsonl"), path(&site, "2.jsonl"));
    let named = first.to_str().expect("text");
    site.verb(&["export", named]);
    let other = path(&site, "other");
    let (code, said, told) = try_verb(&other, &["import", named]);
    assert!(code == 0 && said.contains("devices 1"), "{said}{told}");
    assert_eq!(try_verb(&other, &["export", second.to_str().expect("text")]).0, 0);
    // All that its owner has; and how often the file was written is the file's.
    let records = |file: &Path| {
        let is_a_count = |line: &&Value| line["name"] == "writes";
        lines(file).into_iter().skip(1).filter(|line| !is_a_count(&line)).collect::<Vec<_>>()
    };
    assert_eq!(records(&first), records(&second));
    let kinds: BTreeSet<_> =
        records(&first).iter().map(|line| line["kind"].as_str().expect("text").to_owned()).collect();
    for kind in ["setting", "device", "invite", "invite-terms", "account", "refused", "ban"] {
        assert!(kinds.contains(kind), "{kind}: {kinds:?}");
    }
    assert!(!fs::read_to_string(&first).expect("written").contains("identity.key"));
    // The key is another, unless one lies there.
    let key = |state: &Path| try_verb(state, &["keys", "show", "--json"]).1;
    assert_ne!(key(&other), key(&site.state()));
    let kept = path(&site, "kept");
    fs::create_dir(&kept).expect("made");
    fs::copy(site.state().join("identity.key"), kept.join("identity.key")).expect("copied");
    assert_eq!(try_verb(&kept, &["import", named]).0, 0);
    assert_eq!(key(&kept), key(&site.state()));
    // Each mistake is named with its line, and leaves nothing.
    let text = fs::read_to_string(&first).expect("written");
    let all: Vec<_> = text.lines().collect();
    let place =
        |kind: &str| all.iter().position(|line| line.contains(&format!("\"kind\":\"{kind}\""))).expect("it is there");
    let made = path(&site, "made");
    for (kind, from, to, words) in [
        ("device", "\"kind\":\"device\"", "\"kind\":\"devise\"", "unknown variant `devise`"),
        ("device", "\"algorithm\":\"Ed25519\"", "\"algorithm\":\"RSA\"", "Ed25519 or P-256"),
        ("device", "\"id\":\"", "\"id\":\"A", "bytes as base64url"),
        ("device", "\"status\"", "\"stats\"", "unknown field `stats`"),
        ("account", "\"ada\"", "\"\"", "1 to 128 bytes"),
        ("account", "\"ada\"", "\"a\\u202eda\"", "printable"),
        ("ban", "address 192.0.2.7", "address 192.0.2.0/24", "a ban is of one address"),
        ("invite", "\"expires_at\":", "\"expires_at\":-", "expires_at"),
        ("account", "{", "[", "column"),
    ] {
        let at = place(kind);
        let altered = all[at].replacen(from, to, 1);
        assert_ne!(altered, all[at], "{kind}");
        let mut lines = all.clone();
        lines[at] = &altered;
        let bad = path(&site, "bad.jsonl");
        fs::write(&bad, lines.join("\n")).expect("written");
        let (code, said, told) = try_verb(&made, &["import", bad.to_str().expect("text")]);
        assert_eq!((code, said.as_str()), (1, ""), "{kind}: {to}");
        let line = format!("bad.jsonl: line {}: ", at + 1);
        assert!(told.contains(&line) && (told.contains(words) || words == "expires_at"), "{kind} {to}: {told}");
        assert!(!made.exists());
    }
    // Numbers that nothing can be added to.
    let far = |name: &str, line: &str| {
        let (before, rest) = line.split_once(&format!("\"{name}\":")).expect("it is there");
        let rest = rest.trim_start_matches(|it: char| it.is_ascii_digit());
        format!("{before}\"{name}\":{}{rest}", u64::MAX)
    };
    let last = all.iter().map(|line| match line {
        line if line.contains("\"kind\":\"device\"") => far("enrolled_at", line),
        line if line.contains("\"kind\":\"invite\"") => far("expires_at", line),
        line if line.contains("\"kind\":\"ban\"") => far("until", &far("since", line)),
        line if line.contains("\"since\":") => far("since", line),
        line if line.contains("\"at\":") => far("at", line),
        line => (*line).to_owned(),
    });
    let (late, bad) = (path(&site, "late"), path(&site, "late.jsonl"));
    fs::write(&bad, last.collect::<Vec<_>>().join("\n")).expect("written");
    let (code, _, told) = try_verb(&late, &["import", bad.to_str().expect("text")]);
    assert_eq!(code, 0, "{told}");
    for list in [&["devices", "list"][..], &["invite", "list"], &["accounts", "list"], &["bans", "list"], &["state"]] {
        let (code, _, told) = try_verb(&late, list);
        assert!(code == 0 && !told.contains("panicked"), "{list:?}: {told}");
    }
    for name in ["writes", "last-revocation"] {
        let setting = format!("{{\"kind\":\"setting\",\"name\":\"{name}\",\"value\":\"{}\"}}", u64::MAX);
        fs::write(&bad, [all[0], &setting].join("\n")).expect("written");
        let (code, _, told) = try_verb(&made, &["import", bad.to_str().expect("text")]);
        assert!(code == 1 && told.contains("line 2: ") && told.contains("below 2^63"), "{told}");
    }
    // What is said of keys is said of one that lies there.
    fs::create_dir(&made).expect("made");
    fs::write(made.join("keys.json"), "{}").expect("written");
    let (code, _, told) = try_verb(&made, &["import", named]);
    assert!(code == 1 && told.contains("is not empty"), "{told}");
    fs::remove_dir_all(&made).expect("removed");
    let twice = [all.clone(), vec![all[place("device")]]].concat().join("\n");
    fs::write(path(&site, "twice.jsonl"), twice).expect("written");
    let (_, _, told) = try_verb(&made, &["import", path(&site, "twice.jsonl").to_str().expect("text")]);
    assert!(told.contains(&format!("line {}: the same stands before it already", all.len() + 1)), "{told}");
    let (code, _, told) = try_verb(&site.state(), &["import", named]);
    assert!(code == 1 && told.contains("is not empty"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_backup_under_load_is_whole_and_of_one_moment() {
    let site = Arc::new(Site::new(""));
    let server = site.start();
    let (stop, entered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    // Devices come in for somebody, and speak.
    let work: Vec<_> = (0..2)
        .map(|worker| {
            let (site, stop, entered) = (Arc::clone(&site), Arc::clone(&stop), Arc::clone(&entered));
            tokio::spawn(async move {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let subject = format!("person-{worker}-{number}");
                    let link = site.verb(&["invite", "new", "--for", &subject, "--group", "staff"]);
                    let client = Client::new(Keyring::in_memory());
                    let Ok(line) = client.connect(&site.target(&link)).await else { continue };
                    entered.fetch_add(1, Ordering::Relaxed);
                    for text in ["one", "two", "three"] {
                        let _ = line.request("echo", text).await;
                    }
                }
            })
        })
        .collect();
    let (mut least, mut most) = (usize::MAX, 0);
    for round in 0..rounds("every_backup_under_load_is_whole_and_of_one_moment") {
        let before = entered.load(Ordering::Relaxed);
        let (file, state) = (path(&site, &format!("{round}.backup")), path(&site, &format!("restored-{round}")));
        let named = file.to_str().expect("text");
        site.verb(&["backup", named]);
        let after = entered.load(Ordering::Relaxed);
        assert!(site.verb(&["restore", "--check", named]).starts_with("whole: "));
        let (code, said, told) = try_verb(&state, &["restore", named]);
        assert_eq!(code, 0, "{said}{told}");
        // Of one moment: who came in has used an invite, is somebody's, and has an account.
        let lines = lines(&file);
        let ids = |kind: &str, field: &str| -> BTreeSet<String> {
            of_kind(&lines, kind).iter().filter_map(|line| Some(line[field].as_str()?.to_owned())).collect()
        };
        let devices = ids("device", "id");
        assert_eq!(devices, ids("invite", "used_by"));
        assert_eq!(devices, ids("binding", "device"));
        let accounts: BTreeMap<_, _> = of_kind(&lines, "account")
            .iter()
            .map(|line| (line["subject"].to_string(), line["groups"].clone()))
            .collect();
        assert!(of_kind(&lines, "binding").iter().all(|line| accounts[&line["subject"].to_string()][0] == "staff"));
        // Two may be on their way, and told after the verdict.
        assert!(before <= devices.len() && devices.len() <= after + 2, "{before} {} {after}", devices.len());
        let list: Value = serde_json::from_str(&try_verb(&state, &["devices", "list", "--json"]).1).expect("JSON");
        assert_eq!(list["devices"].as_array().map(Vec::len), Some(devices.len()));
        (least, most) = (least.min(devices.len()), most.max(devices.len()));
        fs::remove_dir_all(&state).expect("removed");
        fs::remove_file(&file).expect("removed");
    }
    stop.store(true, Ordering::Relaxed);
    for work in work {
        work.await.expect("no panic");
    }
    eprintln!("backups of {least} to {most} devices");
    assert!(most > least, "nobody came in meanwhile");
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_moves_says_what_its_clients_then_need_and_its_links_lead_there() {
    let site = Site::new("");
    let server = site.start();
    let keyring = path(&site, "keyring");
    drop(enter(&site, &keyring).await);
    let open = site.verb(&["invite", "new"]);
    let key = site.verb(&["keys", "show"]);
    for (url, words) in [
        ("line.example", "line.example is no address: write https://line.example"),
        ("http://line.example", "must start with https://"),
        ("https://line.example/?a", "says more than an address"),
    ] {
        let (code, said, told) = site.try_verb(&["rename", "--url", url]);
        assert!(code == 1 && said.is_empty() && told.contains(words), "{url}: {code}: {told}");
    }
    server.stop();
    let said = site.verb(&["rename", "--url", "https://line.example/app"]);
    for words in [
        "lead to https://line.example/app; those of before to https://127.0.0.1:",
        "say `url = \"https://line.example/app\"` below [server]",
        "1 devices know it by its old address",
        "1 invites are open: what stands behind #",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("passkeys"), "{said}");
    let link = site.verb(&["invite", "new"]);
    assert!(link.starts_with("https://line.example/app/#i="), "{link}");
    assert_eq!(site.verb(&["keys", "show"]), key);
    // What was open before is good where it is now, and a program that comes by a link there is who it was.
    let _server = site.start();
    let (_, secret) = open.split_once('#').expect("a link");
    let now = site.verb(&["invite", "new"]);
    let (address, _) = now.split_once('#').expect("a link");
    let known = Client::open(&keyring).expect("the same device");
    let line = known.connect(&site.target(&format!("{address}#{secret}"))).await.expect("good there too");
    assert_eq!(line.request("echo", "moved").await, Ok(b"moved".to_vec()));
    assert_eq!(site.verb(&["devices", "list", "--json"]).matches("\"fingerprint\":").count(), 1);
}
