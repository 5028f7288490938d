//! The policy as its owner meets it: a file, the verbs, and a server that reads it again.
#![allow(missing_docs, reason = "tests are named for their scenario")]

#[path = "passkeys/authenticator.rs"]
#[allow(dead_code, reason = "what it does wrong is for others")]
mod authenticator;
mod site;
#[path = "../src/door/tokens/testing.rs"]
mod testing;

use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    path::Path,
    time::{Duration, Instant},
};

use duologue::{ChannelError, DeviceId, ResetCode};
use duologue_client::{Client, Keyring, Line, LineError};
use serde_json::{Value, json};
use site::Site;
use testing::{Signer, key_set, now};

const NOT_ALLOWED: Result<Vec<u8>, LineError> = Err(LineError::Channel(ChannelError::Reset(ResetCode::NotAllowed)));
const STEP_UP_NEEDED: Result<Vec<u8>, LineError> =
    Err(LineError::Channel(ChannelError::Reset(ResetCode::StepUpNeeded)));

/// Passkeys for names of one domain; what has one asks for it again after a while.
const PASSKEYS: &str = "[door.passkey]\nname = \"Example\"\nrp_id = \"example.org\"\norigins = [\"https://app.example.org\"]\n\
                        [[rule]]\nname = \"vault\"\nopen = [\"echo\"]\nage = \"10m\"\n";

async fn ask(line: &Line, question: Value) -> Value {
    let answer = line.request("passkeys", question.to_string()).await.expect("an answer");
    serde_json::from_slice(&answer).expect("JSON")
}

#[test]
fn a_file_with_mistakes_is_told_with_its_places_and_exits_with_2() {
    let site = Site::new("[[rule]]\nopen = [\"\"]\nlevel = \"acount\"\n");
    let file = site.config();
    let path = file.to_str().expect("text");
    let (code, out, told) = site.try_verb(&["check", path]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(told.contains(&format!("{path}:2:9: \"\" is no label")), "{told}");
    assert!(
        told.contains(&format!("{path}:3:9: a level is 0")) && told.contains("did you mean \"account\"?"),
        "{told}"
    );
    // A server does not start with it.
    let started =
        ["serve", "--url", "https://localhost", "--listen", "127.0.0.1:0", "--behind-proxy", "--config", path];
    assert_eq!(site.try_verb(&started).0, 2);
    site.configure("[[rule]]\nopen = [\"echo\"]\n");
    let (code, out, _) = site.try_verb(&["check", path]);
    assert_eq!(
        (code, out.as_str()),
        (
            0,
            format!("{path}: in order, 1 rules\nit has no `url` below [server], which `serve` then wants by --url\n")
                .as_str()
        )
    );
    let (code, _, told) = site.try_verb(&["check", "/nowhere/policy.toml"]);
    assert!(code == 2 && told.contains("/nowhere/policy.toml cannot be read"), "{told}");
}

#[tokio::test]
async fn a_server_opens_what_its_file_opens_and_reads_it_again_whole_or_not_at_all() {
    let site = Site::new("[[rule]]\nname = \"for all\"\nopen = [\"echo\"]\n");
    let server = site.start();
    let link = site.verb(&["invite", "new"]);
    let keyring = Keyring::in_memory();
    let device = DeviceId::of_spki(keyring.device().spki()).to_string();
    let target = site.target(&link);
    let line = Client::new(keyring).connect(&target).await.expect("the invite is good");
    assert_eq!(line.request("echo", "a").await, Ok(b"a".to_vec()));
    let device = format!("--device={device}");
    let explain = |label: &str, more: &[&str]| {
        let asked: Vec<&str> =
            ["policy", "explain", &device, "--label", label].into_iter().chain(more.iter().copied()).collect();
        site.try_verb(&asked)
    };
    let (code, told, _) = explain("echo", &[]);
    assert_eq!((code, told.as_str()), (0, "open: the rule \"for all\" opens it (level 1 (device))\n"));
    let (code, told, _) = explain("pay", &[]);
    assert_eq!((code, told.as_str()), (1, "closed: no rule opens this label (level 1 (device))\n"));

    // A file that is wrong changes nothing.
    site.configure("[[rule]]\nopne = [\"echo\"]\n");
    let (code, _, told) = site.try_verb(&["reload"]);
    assert!(code == 1 && told.contains("nothing was changed") && told.contains("did you mean `open`?"), "{told}");
    assert_eq!(line.request("echo", "a").await, Ok(b"a".to_vec()));
    let open = line.channel("echo").expect("open");
    open.send("a").await.expect("there is room");
    assert_eq!(open.recv().await, Ok(Some(b"a".to_vec())));
    site.configure("[[rule]]\nname = \"staff\"\nopen = [\"echo\"]\ngroups = [\"staff\"]\n");
    let asked = Instant::now();
    let (code, told, _) = site.try_verb(&["reload"]);
    assert_eq!((code, told.as_str()), (0, "read again: 1 rules are in force\n"));
    assert_eq!(open.recv().await.map(Option::unwrap_or_default), NOT_ALLOWED);
    println!("an open channel was reset {:?} after the verb began", asked.elapsed());
    assert_eq!(line.request("echo", "a").await, NOT_ALLOWED);
    let (code, told, _) = explain("echo", &[]);
    let nearest = "closed: the rule \"staff\" comes nearest, but is for other groups (level 1 (device))\n";
    assert_eq!((code, told.as_str()), (1, nearest));
    let (code, told, _) = explain("echo", &["--group", "staff", "--subject", "ada", "--json"]);
    assert!(code == 0 && told.contains("\"rule\":\"staff\"") && told.contains("\"level\":2"), "{told}");
    let start = Instant::now();
    while !site.log().contains("staff") {
        assert!(start.elapsed() < Duration::from_secs(10), "the log names the rule");
    }
    let log = site.log();
    assert!(log.contains("policy=\"1 rules\"") && log.contains("the owner has read the policy again"), "{log}");
    drop(server);

    // Guests: any of them, and a device that nobody knows.
    let text = "[[rule]]\nname = \"login\"\nopen = [\"http\"]\npaths = [\"/login\"]\nlevel = 0\n";
    site.write("guests.toml", text);
    let guests = site.directory.path().join("guests.toml");
    let config = guests.to_str().expect("text");
    let guest = |path: &str| {
        site.try_verb(&["policy", "explain", "--guest", "--label=http", "--path", path, "--config", config])
    };
    assert_eq!(guest("/login").1, "open: the rule \"login\" opens it (level 0 (guest))\n");
    let (code, told, _) = guest("/private");
    assert!(code == 1 && told.contains("\"login\" comes nearest, but is for other paths (level 0 (guest))"), "{told}");
    let unknown = format!("--device={}", DeviceId([9; 32]));
    let (code, told, _) = site.try_verb(&["policy", "explain", &unknown, "--label", "echo", "--config", config]);
    assert!(code == 1 && told.starts_with("closed: no such device is enrolled, so that it is a guest: "), "{told}");
    let (code, _, told) = site.try_verb(&["policy", "explain", "--label", "echo"]);
    assert!(code == 2 && told.contains("--device"), "{told}");

    // Where no server runs, a file is asked.
    let file = site.config();
    let (code, _, told) = explain("echo", &[]);
    assert!(code == 1 && told.contains("--config FILE"), "{told}");
    let (code, ..) = explain("echo", &["--group", "staff", "--config", file.to_str().expect("text")]);
    assert_eq!(code, 0);
    let (code, _, told) = site.try_verb(&["reload"]);
    assert!(code == 1 && told.contains("no server runs here"), "{told}");
}

#[test]
fn a_server_without_a_policy_says_that_all_is_open_to_every_device_that_was_let_in() {
    let site = Site::new("");
    let _server = site.start();
    let log = site.log();
    assert!(
        log.contains("no --config: open to every device that was let in") && log.contains("services=\"echo\""),
        "{log}"
    );
    let (code, _, told) = site.try_verb(&["reload"]);
    assert!(code == 1 && told.contains("started without --config"), "{told}");
}

#[tokio::test]
async fn a_server_takes_the_tokens_of_its_files_issuer_from_the_start_on() {
    let config = "[door.token]\nissuer = \"https://login.example\"\naudience = \"app\"\nkeys = \"keys.json\"\n\
                  [[rule]]\nopen = [\"echo\"]\nlevel = 2\n";
    let site = Site::new(config);
    site.write("keys.json", key_set(&Signer::ALL));
    let _server = site.start();
    let link = site.verb(&["invite", "new"]);
    let target = site.target(&link);
    let client = || Client::open(site.directory.path().join("device")).expect("a device");
    let line = client().connect(&target).await.expect("the invite is good");
    assert_eq!(line.request("echo", "a").await, NOT_ALLOWED, "a device is no account");
    let claims = |audience: &str| json!({ "iss": "https://login.example", "aud": audience, "sub": "ada", "iat": now(), "exp": now() + 60 });
    let with = |audience: &str| client().with_token(Signer::EdDsa.token(&claims(audience)));
    let line = with("app").connect(&target).await.expect("it was let in");
    assert_eq!(line.request("echo", "a").await, Ok(b"a".to_vec()));
    let line = with("another").connect(&target).await.expect("it was let in");
    assert_eq!(line.request("echo", "a").await, NOT_ALLOWED, "a token for somebody else");

    site.configure(&config.replace("app", "another"));
    let (code, _, told) = site.try_verb(&["reload"]);
    assert!(code == 1 && told.contains("[door.token]") && told.contains("start it again"), "{told}");
    let log = site.log();
    assert!(log.contains("tokens_of=\"https://login.example\"") && log.contains("token-audience"), "{log}");
}

#[tokio::test]
async fn the_owner_reads_whose_passkeys_there_are_and_removes_one_that_was_lost() {
    use authenticator::{Authenticator, Faults};
    let site = Site::new(PASSKEYS);
    let _server = site.start();
    let link = site.verb(&["invite", "new", "--for", "ada"]);
    let target = site.target(&link);
    let line = Client::new(Keyring::in_memory()).connect(&target).await.expect("the invite is good");
    assert_eq!(line.request("echo", "a").await, STEP_UP_NEEDED, "nobody is present");

    let mut authenticator = Authenticator::es256();
    let options = ask(&line, json!({ "ask": "register" })).await;
    assert_eq!(options["publicKey"]["rp"], json!({ "id": "example.org", "name": "Example" }), "{options}");
    let credential = authenticator.create(&options["publicKey"], &Faults::default());
    let made = ask(&line, json!({ "ask": "registered", "name": "Ada's key", "credential": credential })).await;
    let id = made["passkey"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let options = ask(&line, json!({ "ask": "step-up" })).await;
    let credential = authenticator.get(&options["publicKey"], &Faults::default());
    let told = ask(&line, json!({ "ask": "present", "credential": credential })).await;
    assert_eq!(told, json!({ "level": 3 }));
    assert_eq!(line.request("echo", "a").await, Ok(b"a".to_vec()));

    let (code, out, _) = site.try_verb(&["accounts", "passkeys", "list", "ada"]);
    assert!(code == 0 && out.starts_with(&format!("passkey {id}  ")) && out.contains("Ada's key"), "{out}");
    assert!(out.contains("  used "), "{out}");
    let (_, shown, _) = site.try_verb(&["accounts", "show", "ada"]);
    assert!(shown.contains(&id), "{shown}");
    let (_, out, _) = site.try_verb(&["accounts", "passkeys", "list", "ada", "--json"]);
    let list: Value = serde_json::from_str(&out).expect("one line of JSON");
    assert_eq!(list["passkeys"][0]["id"], *id, "{list}");

    let (code, _, told) = site.try_verb(&["accounts", "passkeys", "remove", "ada"]);
    assert!(code == 2 && told.contains("--all"), "which? {told}");
    let (code, _, told) = site.try_verb(&["accounts", "passkeys", "remove", "bob", &id]);
    assert!(code == 1 && told.contains("no such passkey"), "{told}");
    let (code, out, told) = site.try_verb(&["accounts", "passkeys", "remove", "ada", &id]);
    assert!(code == 0 && out.starts_with(&format!("removed passkey {id}")), "{out}{told}");
    assert_eq!(line.request("echo", "a").await, STEP_UP_NEEDED, "nobody is present by it any more");
    let (_, out, _) = site.try_verb(&["accounts", "passkeys", "list", "ada"]);
    assert_eq!(out, "", "{out}");
    let log = site.log();
    for words in [
        "passkeys are taken",
        "a passkey was registered",
        "somebody has shown to be there",
        "the owner has removed a passkey",
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }

    site.configure(&PASSKEYS.replace("Example", "Another"));
    let (code, _, told) = site.try_verb(&["reload"]);
    assert!(code == 1 && told.contains("[door.passkey]") && told.contains("start it again"), "{told}");
    // Without a name there is nobody for whom browsers would make one.
    site.configure("[door.passkey]\n");
    let file = site.config();
    let path = file.to_str().expect("text");
    let serve = ["serve", "--url", "https://127.0.0.1", "--listen", "127.0.0.1:0", "--behind-proxy", "--config", path];
    let (code, _, told) = site::try_verb(&site.directory.path().join("another"), &serve);
    assert!(code == 2 && told.contains("[door.passkey]") && told.contains("for names only"), "{code}: {told}");
}

/// A device that was stolen while it was open may have registered a passkey of the thief's.
#[tokio::test]
async fn who_revokes_a_device_hears_of_the_passkeys_that_it_has_registered_and_may_remove_them() {
    use authenticator::{Authenticator, Faults};
    let site = Site::new(PASSKEYS);
    let server = site.start();
    let come = async || {
        let link = site.verb(&["invite", "new", "--for", "ada"]);
        let target = site.target(&link);
        let keyring = Keyring::in_memory();
        let id = DeviceId::of_spki(keyring.device().spki()).to_string();
        (Client::new(keyring).connect(&target).await.expect("the invite is good"), id)
    };
    let ((stolen, stolens), (line, own)) = (come().await, come().await);
    let mut thiefs = Authenticator::es256();
    let options = ask(&stolen, json!({ "ask": "register" })).await;
    let credential = thiefs.create(&options["publicKey"], &Faults::default());
    let made = ask(&stolen, json!({ "ask": "registered", "name": "a key", "credential": credential })).await;
    let id = made["passkey"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    // It raises at another device of hers too.
    let options = ask(&line, json!({ "ask": "step-up" })).await;
    let credential = thiefs.get(&options["publicKey"], &Faults::default());
    let told = ask(&line, json!({ "ask": "present", "credential": credential })).await;
    assert_eq!(told, json!({ "level": 3 }));

    let (code, out, told) = site.try_verb(&["devices", "revoke", &stolens]);
    assert!(code == 0 && out.ends_with("revoked\n"), "{out}{told}");
    let named =
        out.lines().find(|line| line.starts_with(&format!("passkey {id}  "))).unwrap_or_else(|| panic!("{out}"));
    assert!(named.contains("of ada: it stays") && named.contains("--with-passkeys"), "{named}");
    assert_eq!(line.request("echo", "a").await, Ok(b"a".to_vec()), "it stays");
    let (_, out, _) = site.try_verb(&["devices", "revoke", &stolens, "--json"]);
    let told: Value = serde_json::from_str(&out).expect("one line of JSON");
    let passkey = &told["passkeys"][0];
    assert_eq!(
        (&passkey["subject"], &passkey["id"], &passkey["device"]),
        (&"ada".into(), &id.clone().into(), &stolens.clone().into()),
        "{told}"
    );
    assert_eq!(told.get("passkeys_removed"), None, "{told}");

    let (code, out, told) = site.try_verb(&["devices", "revoke", &stolens, "--with-passkeys"]);
    assert!(code == 0 && out.starts_with(&format!("removed passkey {id}  ")), "{out}{told}");
    assert_eq!(line.request("echo", "a").await, STEP_UP_NEEDED, "nobody is present by it any more");
    let (_, out, _) = site.try_verb(&["accounts", "passkeys", "list", "ada"]);
    assert_eq!(out, "", "{out}");
    // The same of a state at rest.
    drop(server);
    let (_, out, _) = site.try_verb(&["devices", "revoke", &own, "--with-passkeys", "--json"]);
    let told: Value = serde_json::from_str(&out).expect("one line of JSON");
    assert_eq!((&told["kept"], told.get("passkeys")), (&"stored".into(), None), "it has registered none: {told}");
}

/// A backend on a socket of this machine, which answers each question so.
fn backend(path: &Path, answer: &'static str) {
    let listener = UnixListener::bind(path).expect("a socket");
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let (mut got, mut piece) = (Vec::new(), [0; 4_096]);
            // The question is JSON, and its last brace ends it.
            while !got.ends_with(b"}}") {
                let len = socket.read(&mut piece).expect("a question");
                got.extend_from_slice(&piece[..len]);
            }
            let len = answer.len();
            let _ = write!(socket, "HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n{answer}");
        }
    });
}

#[tokio::test]
async fn a_server_asks_the_hook_of_its_file_names_it_at_start_and_explains_what_it_would_be_told() {
    let site = Site::new("");
    let socket = site.directory.path().join("app.sock");
    backend(&socket, "{\"groups\": [\"staff\"], \"level\": 0}");
    let url = format!("unix:{}:/duologue", socket.display());
    let config = format!("[door.hook]\nurl = \"{url}\"\ncookies_prove = true\n[[rule]]\nopen = [\"echo\"]\n");
    site.configure(&config);
    let server = site.start();
    let link = site.verb(&["invite", "new"]);
    let target = site.target(&link);
    let keyring = Keyring::in_memory();
    let device = DeviceId::of_spki(keyring.device().spki()).to_string();
    let line = Client::new(keyring).named("bench").connect(&target).await.expect("the invite is good");
    assert_eq!(line.request("echo", "a").await, NOT_ALLOWED, "the hook has lowered it");
    let (code, told, _) = site.try_verb(&["policy", "explain", &format!("--device={device}"), "--label", "echo"]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("the hook would be told: {\"proved\":{\"device\":") && told.contains(&device), "{told}");
    assert!(told.contains("\"said\":{") && told.contains("\"name\":\"bench\""), "{told}");
    assert!(told.contains("cookies_prove: a cookie of the server's own pages proves who somebody is"), "{told}");
    site.configure(&config.replace("true", "false"));
    let (code, _, told) = site.try_verb(&["reload"]);
    assert!(code == 1 && told.contains("[door.hook]") && told.contains("start it again"), "{told}");
    let log = site.log();
    assert!(log.contains(&format!("hook=\"{url}\"")) && log.contains("cookies_prove: a cookie"), "{log}");
    drop(server);
    let away = [
        "serve",
        "--url",
        "https://localhost",
        "--listen",
        "127.0.0.1:0",
        "--behind-proxy",
        "--hook",
        "http://app.example/",
    ];
    let (code, _, told) = site::try_verb(&site.directory.path().join("other"), &away);
    assert!(code != 0 && told.contains("unix:/run/app.sock:/duologue"), "{code}: {told}");
}
