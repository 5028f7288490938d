//! The policy as its owner meets it: a file, the verbs, and a server that reads it again.
#![allow(missing_docs, reason = "tests are named for their scenario")]

#[path = "passkeys/authenticator.rs"]
#[allow(dead_code, reason = "what it does wrong is for others")]
mod authenticator;
#[path = "../src/door/tokens/testing.rs"]
mod testing;

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use duologue::{ChannelError, DeviceId, ResetCode};
use duologue_client::{Client, Keyring, LineError, Target};
use testing::{Signer, key_set, now};

const BINARY: &str = env!("CARGO_BIN_EXE_duologue");
const NOT_ALLOWED: Result<Vec<u8>, LineError> = Err(LineError::Channel(ChannelError::Reset(ResetCode::NotAllowed)));
const STEP_UP_NEEDED: Result<Vec<u8>, LineError> =
    Err(LineError::Channel(ChannelError::Reset(ResetCode::StepUpNeeded)));

/// A server that ends with its test.
struct Server {
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start(state: &Path, log: &Path, config: Option<&Path>) -> Self {
        // Its own address is what its clients say that they have opened.
        let free =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
        let mut command = Command::new(BINARY);
        let (url, listen) = (format!("https://{free}"), free.to_string());
        command.args(["serve", "--url", &url, "--listen", &listen, "--behind-proxy", "--state"]);
        command.arg(state).env_remove("RUST_LOG");
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        let log = std::fs::File::create(log).expect("a log");
        let mut process = command.stdout(Stdio::piped()).stderr(log).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("text");
        assert_eq!(line, format!("listening {free}\n"));
        Self { process }
    }
}

fn verb(arguments: &[&str], state: &Path) -> (i32, String, String) {
    let mut command = Command::new(BINARY);
    command.args(arguments).env("DUOLOGUE_STATE", state).env_remove("RUST_LOG");
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

#[test]
fn a_file_with_mistakes_is_told_with_its_places_and_exits_with_2() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("policy.toml");
    let path = file.to_str().expect("text");
    std::fs::write(&file, "[[rule]]\nopen = [\"\"]\nlevel = \"acount\"\n").expect("written");
    let (code, out, told) = verb(&["policy", "check", path], directory.path());
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(told.contains(&format!("{path}:2:9: \"\" is no label")), "{told}");
    assert!(
        told.contains(&format!("{path}:3:9: a level is 0")) && told.contains("did you mean \"account\"?"),
        "{told}"
    );
    // A server does not start with it.
    let started =
        ["serve", "--url", "https://localhost", "--listen", "127.0.0.1:0", "--behind-proxy", "--config", path];
    assert_eq!(verb(&started, &directory.path().join("state")).0, 2);
    std::fs::write(&file, "[[rule]]\nopen = [\"echo\"]\n").expect("written");
    let (code, out, _) = verb(&["policy", "check", path], directory.path());
    assert_eq!((code, out.as_str()), (0, format!("{path}: in order, 1 rules\n").as_str()));
    let (code, _, told) = verb(&["policy", "check", "/nowhere/policy.toml"], directory.path());
    assert!(code == 2 && told.contains("/nowhere/policy.toml cannot be read"), "{told}");
}

#[tokio::test]
async fn a_server_opens_what_its_file_opens_and_reads_it_again_whole_or_not_at_all() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (state, log) = (directory.path().join("state"), directory.path().join("log"));
    let file = directory.path().join("policy.toml");
    std::fs::write(&file, "[[rule]]\nname = \"for all\"\nopen = [\"echo\"]\n").expect("written");
    let server = Server::start(&state, &log, Some(&file));
    let (_, link, _) = verb(&["invite", "new"], &state);
    let keyring = Keyring::in_memory();
    let device = DeviceId::of_spki(keyring.device().spki()).to_string();
    let target = Target::parse(&link.trim().replace("https://", "http://")).expect("a link");
    let line = Client::new(keyring).connect(&target).await.expect("the invite is good");
    assert_eq!(line.request("echo", "a").await, Ok(b"a".to_vec()));
    let device = format!("--device={device}");
    let explain = |label: &str, more: &[&str]| {
        let asked: Vec<&str> =
            ["policy", "explain", &device, "--label", label].into_iter().chain(more.iter().copied()).collect();
        verb(&asked, &state)
    };
    let (code, told, _) = explain("echo", &[]);
    assert_eq!((code, told.as_str()), (0, "open: the rule \"for all\" opens it (level 1 (device))\n"));
    let (code, told, _) = explain("pay", &[]);
    assert_eq!((code, told.as_str()), (1, "closed: no rule opens this label (level 1 (device))\n"));

    // A file that is wrong changes nothing.
    std::fs::write(&file, "[[rule]]\nopne = [\"echo\"]\n").expect("written");
    let (code, _, told) = verb(&["policy", "reload"], &state);
    assert!(code == 1 && told.contains("nothing was changed") && told.contains("did you mean `open`?"), "{told}");
    assert_eq!(line.request("echo", "a").await, Ok(b"a".to_vec()));
    let open = line.channel("echo").expect("open");
    open.send("a").await.expect("there is room");
    assert_eq!(open.recv().await, Ok(Some(b"a".to_vec())));
    std::fs::write(&file, "[[rule]]\nname = \"staff\"\nopen = [\"echo\"]\ngroups = [\"staff\"]\n").expect("written");
    let asked = Instant::now();
    let (code, told, _) = verb(&["policy", "reload"], &state);
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
    while !std::fs::read_to_string(&log).expect("a log").contains("staff") {
        assert!(start.elapsed() < Duration::from_secs(10), "the log names the rule");
    }
    let log = std::fs::read_to_string(&log).expect("a log");
    assert!(log.contains("policy=\"1 rules\"") && log.contains("the owner has read the policy again"), "{log}");
    drop(server);

    // Guests: any of them, and a device that nobody knows.
    let guests = directory.path().join("guests.toml");
    let text = "[[rule]]\nname = \"login\"\nopen = [\"http\"]\npaths = [\"/login\"]\nlevel = 0\n";
    std::fs::write(&guests, text).expect("written");
    let config = guests.to_str().expect("text");
    let guest = |path: &str| {
        verb(&["policy", "explain", "--guest", "--label=http", "--path", path, "--config", config], &state)
    };
    assert_eq!(guest("/login").1, "open: the rule \"login\" opens it (level 0 (guest))\n");
    let (code, told, _) = guest("/private");
    assert!(code == 1 && told.contains("\"login\" comes nearest, but is for other paths (level 0 (guest))"), "{told}");
    let unknown = format!("--device={}", DeviceId([9; 32]));
    let (code, told, _) = verb(&["policy", "explain", &unknown, "--label", "echo", "--config", config], &state);
    assert!(code == 1 && told.starts_with("closed: no such device is enrolled, so that it is a guest: "), "{told}");
    let (code, _, told) = verb(&["policy", "explain", "--label", "echo"], &state);
    assert!(code == 2 && told.contains("--device"), "{told}");

    // Where no server runs, a file is asked.
    let (code, _, told) = explain("echo", &[]);
    assert!(code == 1 && told.contains("--config FILE"), "{told}");
    let (code, ..) = explain("echo", &["--group", "staff", "--config", file.to_str().expect("text")]);
    assert_eq!(code, 0);
    let (code, _, told) = verb(&["policy", "reload"], &state);
    assert!(code == 1 && told.contains("no server runs here"), "{told}");
}

#[test]
fn a_server_without_a_policy_says_that_all_is_open_to_every_device_that_was_let_in() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (state, log) = (directory.path().join("state"), directory.path().join("log"));
    let _server = Server::start(&state, &log, None);
    let log = std::fs::read_to_string(&log).expect("a log");
    assert!(
        log.contains("no --config: open to every device that was let in") && log.contains("services=\"echo\""),
        "{log}"
    );
    let (code, _, told) = verb(&["policy", "reload"], &state);
    assert!(code == 1 && told.contains("started without --config"), "{told}");
}

#[tokio::test]
async fn a_server_takes_the_tokens_of_its_files_issuer_from_the_start_on() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (state, log) = (directory.path().join("state"), directory.path().join("log"));
    let file = directory.path().join("policy.toml");
    let config = "[door.token]\nissuer = \"https://login.example\"\naudience = \"app\"\nkeys = \"keys.json\"\n\
                  [[rule]]\nopen = [\"echo\"]\nlevel = 2\n";
    std::fs::write(&file, config).expect("written");
    std::fs::write(directory.path().join("keys.json"), key_set(&Signer::ALL)).expect("written");
    let _server = Server::start(&state, &log, Some(&file));
    let (_, link, _) = verb(&["invite", "new"], &state);
    let target = Target::parse(&link.trim().replace("https://", "http://")).expect("a link");
    let client = || Client::open(directory.path().join("device")).expect("a device");
    let line = client().connect(&target).await.expect("the invite is good");
    assert_eq!(line.request("echo", "a").await, NOT_ALLOWED, "a device is no account");
    let claims = |audience: &str| serde_json::json!({ "iss": "https://login.example", "aud": audience, "sub": "ada", "iat": now(), "exp": now() + 60 });
    let with = |audience: &str| client().with_token(Signer::EdDsa.token(&claims(audience)));
    let line = with("app").connect(&target).await.expect("it was let in");
    assert_eq!(line.request("echo", "a").await, Ok(b"a".to_vec()));
    let line = with("another").connect(&target).await.expect("it was let in");
    assert_eq!(line.request("echo", "a").await, NOT_ALLOWED, "a token for somebody else");

    std::fs::write(&file, config.replace("app", "another")).expect("written");
    let (code, _, told) = verb(&["policy", "reload"], &state);
    assert!(code == 1 && told.contains("[door.token]") && told.contains("start it again"), "{told}");
    let log = std::fs::read_to_string(&log).expect("a log");
    assert!(log.contains("tokens_of=\"https://login.example\"") && log.contains("token-audience"), "{log}");
}

#[tokio::test]
async fn the_owner_reads_whose_passkeys_there_are_and_removes_one_that_was_lost() {
    use authenticator::{Authenticator, Faults};
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (state, log) = (directory.path().join("state"), directory.path().join("log"));
    let file = directory.path().join("policy.toml");
    let config = "[door.passkey]\nname = \"Example\"\nrp_id = \"example.org\"\norigins = [\"https://app.example.org\"]\n\
                  [[rule]]\nname = \"vault\"\nopen = [\"echo\"]\nage = \"10m\"\n";
    std::fs::write(&file, config).expect("written");
    let _server = Server::start(&state, &log, Some(&file));
    let (_, link, _) = verb(&["invite", "new", "--for", "ada"], &state);
    let target = Target::parse(&link.trim().replace("https://", "http://")).expect("a link");
    let line = Client::new(Keyring::in_memory()).connect(&target).await.expect("the invite is good");
    assert_eq!(line.request("echo", "a").await, STEP_UP_NEEDED, "nobody is present");

    let ask = async |question: serde_json::Value| {
        let answer = line.request("passkeys", question.to_string()).await.expect("an answer");
        serde_json::from_slice::<serde_json::Value>(&answer).expect("JSON")
    };
    let mut authenticator = Authenticator::es256();
    let options = ask(serde_json::json!({ "ask": "register" })).await;
    assert_eq!(options["publicKey"]["rp"], serde_json::json!({ "id": "example.org", "name": "Example" }), "{options}");
    let credential = authenticator.create(&options["publicKey"], &Faults::default());
    let made = ask(serde_json::json!({ "ask": "registered", "name": "Ada's key", "credential": credential })).await;
    let id = made["passkey"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let options = ask(serde_json::json!({ "ask": "step-up" })).await;
    let credential = authenticator.get(&options["publicKey"], &Faults::default());
    let told = ask(serde_json::json!({ "ask": "present", "credential": credential })).await;
    assert_eq!(told, serde_json::json!({ "level": 3 }));
    assert_eq!(line.request("echo", "a").await, Ok(b"a".to_vec()));

    let (code, out, _) = verb(&["accounts", "passkeys", "list", "ada"], &state);
    assert!(code == 0 && out.starts_with(&format!("passkey {id}  ")) && out.contains("Ada's key"), "{out}");
    assert!(out.contains("  used "), "{out}");
    let (_, shown, _) = verb(&["accounts", "show", "ada"], &state);
    assert!(shown.contains(&id), "{shown}");
    let (_, out, _) = verb(&["accounts", "passkeys", "list", "ada", "--json"], &state);
    let list: serde_json::Value = serde_json::from_str(&out).expect("one line of JSON");
    assert_eq!(list["passkeys"][0]["id"], *id, "{list}");

    let (code, _, told) = verb(&["accounts", "passkeys", "remove", "ada"], &state);
    assert!(code == 2 && told.contains("--all"), "which? {told}");
    let (code, _, told) = verb(&["accounts", "passkeys", "remove", "bob", &id], &state);
    assert!(code == 1 && told.contains("no such passkey"), "{told}");
    let (code, out, told) = verb(&["accounts", "passkeys", "remove", "ada", &id], &state);
    assert!(code == 0 && out.starts_with(&format!("removed passkey {id}")), "{out}{told}");
    assert_eq!(line.request("echo", "a").await, STEP_UP_NEEDED, "nobody is present by it any more");
    let (_, out, _) = verb(&["accounts", "passkeys", "list", "ada"], &state);
    assert_eq!(out, "", "{out}");
    let log = std::fs::read_to_string(&log).expect("a log");
    for words in [
        "passkeys are taken",
        "a passkey was registered",
        "somebody has shown to be there",
        "the owner has removed a passkey",
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }

    std::fs::write(&file, config.replace("Example", "Another")).expect("written");
    let (code, _, told) = verb(&["policy", "reload"], &state);
    assert!(code == 1 && told.contains("[door.passkey]") && told.contains("start it again"), "{told}");
    // Without a name there is nobody for whom browsers would make one.
    std::fs::write(&file, "[door.passkey]\n").expect("written");
    let path = file.to_str().expect("text");
    let serve = ["serve", "--url", "https://127.0.0.1", "--listen", "127.0.0.1:0", "--behind-proxy", "--config", path];
    let (code, _, told) = verb(&serve, &directory.path().join("another"));
    assert!(code == 2 && told.contains("[door.passkey]") && told.contains("for names only"), "{code}: {told}");
}

/// A device that was stolen while it was open may have registered a passkey of the thief's.
#[tokio::test]
async fn who_revokes_a_device_hears_of_the_passkeys_that_it_has_registered_and_may_remove_them() {
    use authenticator::{Authenticator, Faults};
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (state, log) = (directory.path().join("state"), directory.path().join("log"));
    let file = directory.path().join("policy.toml");
    let config = "[door.passkey]\nname = \"Example\"\nrp_id = \"example.org\"\norigins = [\"https://app.example.org\"]\n\
                  [[rule]]\nname = \"vault\"\nopen = [\"echo\"]\nage = \"10m\"\n";
    std::fs::write(&file, config).expect("written");
    let server = Server::start(&state, &log, Some(&file));
    let come = async || {
        let (_, link, _) = verb(&["invite", "new", "--for", "ada"], &state);
        let target = Target::parse(&link.trim().replace("https://", "http://")).expect("a link");
        let keyring = Keyring::in_memory();
        let id = DeviceId::of_spki(keyring.device().spki()).to_string();
        (Client::new(keyring).connect(&target).await.expect("the invite is good"), id)
    };
    let ask = async |line: &duologue_client::Line, question: serde_json::Value| {
        let answer = line.request("passkeys", question.to_string()).await.expect("an answer");
        serde_json::from_slice::<serde_json::Value>(&answer).expect("JSON")
    };
    let ((stolen, stolens), (line, own)) = (come().await, come().await);
    let mut thiefs = Authenticator::es256();
    let options = ask(&stolen, serde_json::json!({ "ask": "register" })).await;
    let credential = thiefs.create(&options["publicKey"], &Faults::default());
    let made =
        ask(&stolen, serde_json::json!({ "ask": "registered", "name": "a key", "credential": credential })).await;
    let id = made["passkey"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    // It raises at another device of hers too.
    let options = ask(&line, serde_json::json!({ "ask": "step-up" })).await;
    let credential = thiefs.get(&options["publicKey"], &Faults::default());
    let told = ask(&line, serde_json::json!({ "ask": "present", "credential": credential })).await;
    assert_eq!(told, serde_json::json!({ "level": 3 }));

    let (code, out, told) = verb(&["devices", "revoke", &stolens], &state);
    assert!(code == 0 && out.ends_with("revoked\n"), "{out}{told}");
    let named =
        out.lines().find(|line| line.starts_with(&format!("passkey {id}  "))).unwrap_or_else(|| panic!("{out}"));
    assert!(named.contains("of ada: it stays") && named.contains("--with-passkeys"), "{named}");
    assert_eq!(line.request("echo", "a").await, Ok(b"a".to_vec()), "it stays");
    let (_, out, _) = verb(&["devices", "revoke", &stolens, "--json"], &state);
    let told: serde_json::Value = serde_json::from_str(&out).expect("one line of JSON");
    let passkey = &told["passkeys"][0];
    assert_eq!(
        (&passkey["subject"], &passkey["id"], &passkey["device"]),
        (&"ada".into(), &id.clone().into(), &stolens.clone().into()),
        "{told}"
    );
    assert_eq!(told.get("passkeys_removed"), None, "{told}");

    let (code, out, told) = verb(&["devices", "revoke", &stolens, "--with-passkeys"], &state);
    assert!(code == 0 && out.starts_with(&format!("removed passkey {id}  ")), "{out}{told}");
    assert_eq!(line.request("echo", "a").await, STEP_UP_NEEDED, "nobody is present by it any more");
    let (_, out, _) = verb(&["accounts", "passkeys", "list", "ada"], &state);
    assert_eq!(out, "", "{out}");
    // The same of a state at rest.
    drop(server);
    let (_, out, _) = verb(&["devices", "revoke", &own, "--with-passkeys", "--json"], &state);
    let told: serde_json::Value = serde_json::from_str(&out).expect("one line of JSON");
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
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (state, log) = (directory.path().join("state"), directory.path().join("log"));
    let (file, socket) = (directory.path().join("policy.toml"), directory.path().join("app.sock"));
    backend(&socket, "{\"groups\": [\"staff\"], \"level\": 0}");
    let url = format!("unix:{}:/duologue", socket.display());
    let config = format!("[door.hook]\nurl = \"{url}\"\ncookies_prove = true\n[[rule]]\nopen = [\"echo\"]\n");
    std::fs::write(&file, &config).expect("written");
    let server = Server::start(&state, &log, Some(&file));
    let (_, link, _) = verb(&["invite", "new"], &state);
    let target = Target::parse(&link.trim().replace("https://", "http://")).expect("a link");
    let keyring = Keyring::in_memory();
    let device = DeviceId::of_spki(keyring.device().spki()).to_string();
    let line = Client::new(keyring).named("bench").connect(&target).await.expect("the invite is good");
    assert_eq!(line.request("echo", "a").await, NOT_ALLOWED, "the hook has lowered it");
    let (code, told, _) = verb(&["policy", "explain", &format!("--device={device}"), "--label", "echo"], &state);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("the hook would be told: {\"proved\":{\"device\":") && told.contains(&device), "{told}");
    assert!(told.contains("\"said\":{") && told.contains("\"name\":\"bench\""), "{told}");
    assert!(told.contains("cookies_prove: a cookie of the server's own pages proves who somebody is"), "{told}");
    std::fs::write(&file, config.replace("true", "false")).expect("written");
    let (code, _, told) = verb(&["policy", "reload"], &state);
    assert!(code == 1 && told.contains("[door.hook]") && told.contains("start it again"), "{told}");
    let log = std::fs::read_to_string(&log).expect("a log");
    assert!(log.contains(&format!("hook=\"{url}\"")) && log.contains("cookies_prove: a cookie"), "{log}");
    drop(server);
    // By a flag and by the file, it is not said who is asked.
    let path = file.to_str().expect("text");
    let both = ["serve", "--url", "https://localhost", "--listen", "127.0.0.1:0", "--behind-proxy", "--config", path];
    let both: Vec<_> = both.into_iter().chain(["--hook", "http://127.0.0.1:1/"]).collect();
    let (code, _, told) = verb(&both, &directory.path().join("other"));
    assert!(code != 0 && told.contains("leave one of them out"), "{code}: {told}");
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
    let (code, _, told) = verb(&away, &directory.path().join("other"));
    assert!(code != 0 && told.contains("unix:/run/app.sock:/duologue"), "{code}: {told}");
}
