//! The local API for others than its owner: users of the machine and keys, each with the roles that the configuration gives.
#![allow(missing_docs, reason = "tests are named for their scenario")]

mod running;
mod site;

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::Path,
    time::{Duration, Instant},
};

use running::{free_port, logged};
use serde_json::{Value, json};
use site::{Server, Site};

/// A server whose API answers keys at a port, and users at a socket.
struct Api {
    site: Site,
    server: Server,
    port: u16,
    /// By their roles.
    keys: Vec<(&'static str, String)>,
}

/// What a key's table says, and the key, as the verb makes them.
fn made(site: &Site, name: &str, roles: &[&str]) -> (String, String) {
    let mut arguments = vec!["api-key", name];
    roles.iter().for_each(|role| arguments.extend(["--role", role]));
    let said = site.verb(&arguments);
    let (key, table) = said.split_once('\n').expect("a key, and its table");
    (key.to_owned(), table.to_owned())
}

impl Api {
    fn start() -> Self {
        let site = Site::new("");
        let port = free_port();
        let mut config = format!(
            "[server]\nurl = \"https://localhost:1\"\n[api]\nsocket = \"api.sock\"\nlisten = \"127.0.0.1:{port}\"\n\
             [[api.user]]\nname = 4242\nroles = [\"watch\"]\n"
        );
        let mut keys = Vec::new();
        for role in ["admin", "send", "watch"] {
            let (key, table) = made(&site, role, &[role]);
            config += &table;
            config += "\n";
            keys.push((role, key));
        }
        site.configure(&config);
        let server = site.start();
        Self { site, server, port, keys }
    }

    fn key(&self, role: &str) -> &str {
        &self.keys.iter().find(|(its, _)| *its == role).expect("a role").1
    }

    fn authorization(&self, role: &str) -> String {
        format!("authorization: Bearer {}", self.key(role))
    }

    fn ask(&self, method: &str, path: &str, headers: &[&str]) -> Answer {
        let mut all = vec![format!("host: 127.0.0.1:{}", self.port)];
        all.extend(headers.iter().map(|&header| header.to_owned()));
        self.ask_bare(method, path, &all)
    }

    /// With no other headers than these.
    fn ask_bare(&self, method: &str, path: &str, headers: &[String]) -> Answer {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("it listens");
        ask(stream, method, path, headers)
    }

    fn reload_with(&self, change: impl Fn(&str) -> String) {
        let file = self.site.config();
        fs::write(&file, change(&fs::read_to_string(&file).expect("it is there"))).expect("written");
        self.site.verb(&["reload"]);
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Refused with this status, for that reason, in a sentence.
    #[track_caller]
    fn is_refused(&self, status: u16, error: &str) {
        let told = self.json();
        assert_eq!((self.status, &told["error"]), (status, &json!(error)), "{self:?}");
        assert!(told["message"].as_str().is_some_and(|message| message.len() > 15), "{told}");
    }
}

fn ask(mut stream: impl Read + Write, method: &str, path: &str, headers: &[String]) -> Answer {
    let mut request = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n");
    headers.iter().for_each(|header| request += &format!("{header}\r\n"));
    stream.write_all(format!("{request}\r\n").as_bytes()).expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

#[test]
fn a_key_is_good_for_what_its_roles_say_of_everything_that_can_be_asked() {
    let api = Api::start();
    let document = api.ask("GET", "/openapi.json", &[&api.authorization("send")]);
    assert_eq!(document.status, 200, "{document:?}");
    let document = document.json();
    let paths = document["paths"].as_object().expect("paths");
    let mut asked = 0;
    for (path, operations) in paths {
        let path = path.replace("{id}", &"A".repeat(43)).replace("{subject}", "ada").replace("{group}", "staff");
        for (method, operation) in operations.as_object().expect("operations") {
            let needs = operation["description"].as_str().and_then(|it| it.rsplit_once("Role: ")).expect("a role").1;
            for role in ["send", "watch"] {
                let answer = api.ask(&method.to_uppercase(), &path, &[&api.authorization(role)]);
                match needs.trim_end_matches('.') {
                    its if its == role || its == "any" => assert_ne!(answer.status, 403, "{role} {method} {path}"),
                    _ => answer.is_refused(403, "not-allowed"),
                }
                assert!(!answer.head.to_lowercase().contains("access-control-"), "{}", answer.head);
                asked += 1;
            }
        }
    }
    assert!(asked > 70, "{asked}");
    // Nothing of it has happened: the server runs, with what it had.
    assert_eq!(api.ask("GET", "/invites", &[&api.authorization("admin")]).json(), json!({ "invites": [] }));
    api.ask("GET", "/nowhere", &[&api.authorization("send")]).is_refused(404, "no-such-path");
    api.ask("DELETE", "/devices", &[&api.authorization("admin")]).is_refused(405, "no-such-method");
    api.ask("DELETE", "/devices", &[&api.authorization("watch")]).is_refused(403, "not-allowed");
}

#[test]
fn without_a_good_key_or_by_another_name_or_from_a_page_nobody_is_answered() {
    let api = Api::start();
    let key = api.key("admin").to_owned();
    let good = api.authorization("admin");
    for headers in [
        vec![],
        vec!["authorization: Bearer".to_owned()],
        vec![format!("authorization: Basic {key}")],
        vec![format!("authorization: Bearer {}x", key)],
        vec![format!("authorization: Bearer {}", &key[..key.len() - 1])],
        vec![format!("cookie: authorization=Bearer {key}")],
        vec![format!("sec-websocket-protocol: {key}")],
        vec![good.clone(), good.clone()],
    ] {
        let headers: Vec<_> = headers.iter().map(String::as_str).collect();
        for path in ["/devices", "/openapi.json", "/nowhere", &format!("/devices?key={key}")] {
            let answer = api.ask("GET", path, &headers);
            answer.is_refused(401, "no-key");
            assert!(answer.head.to_lowercase().contains("www-authenticate: bearer"), "{}", answer.head);
        }
    }
    assert_eq!(api.ask("GET", "/devices", &[&good.replace("Bearer", "bearer")]).status, 200, "a scheme has no case");
    for host in ["a.example", "a.example:80", &format!("a.example:{}", api.port), "127.0.0.1:1"] {
        let headers = [format!("host: {host}"), good.clone()];
        api.ask_bare("GET", "/devices", &headers).is_refused(403, "foreign-name");
    }
    for host in ["localhost", "[::1]", "127.0.0.1"] {
        let headers = [format!("host: {host}:{}", api.port), good.clone()];
        assert_eq!(api.ask_bare("GET", "/devices", &headers).status, 200, "{host}");
    }
    for header in ["origin: http://127.0.0.1", "origin: null", "sec-fetch-site: same-origin"] {
        api.ask("GET", "/devices", &[&good, header]).is_refused(403, "browser");
    }
    // As Node's fetch asks.
    assert_eq!(api.ask("GET", "/devices", &[&good, "sec-fetch-mode: cors"]).status, 200);
    // The others are counted: nobody fills the log.
    logged(&api.site, "the local API has refused who asked by=\"somebody without a key\" why=no-key", 1);
    assert!(!api.site.log().contains(&key), "a key stands in no log");
}

#[test]
fn a_key_that_the_file_has_no_more_is_worth_nothing_and_its_stream_of_events_ends() {
    let api = Api::start();
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, api.port)).expect("it listens");
    let mut reading = stream.try_clone().expect("a second handle");
    let head = format!(
        "GET /events HTTP/1.1\r\nhost: 127.0.0.1:{}\r\naccept: text/event-stream\r\n{}\r\n\r\n",
        api.port,
        api.authorization("watch")
    );
    (&stream).write_all(head.as_bytes()).expect("it is read");
    reading.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut told = vec![0; 16];
    reading.read_exact(&mut told).expect("it begins");
    assert_eq!(told, b"HTTP/1.1 200 OK\r");
    // What cannot change is told, and then nothing has.
    let (code, _, said) = {
        let file = api.site.config();
        let text = fs::read_to_string(&file).expect("it is there");
        fs::write(&file, text.replace("socket = \"api.sock\"", "socket = \"other.sock\"")).expect("written");
        let told = api.site.try_verb(&["reload"]);
        fs::write(&file, text).expect("written");
        told
    };
    assert!(code == 1 && said.contains("`socket` of [api] cannot change"), "{code}: {said}");
    let (key, table) = made(&api.site, "another", &["watch"]);
    api.reload_with(|text| {
        let (before, rest) = text.split_once("[[api.key]]\nname = \"watch\"").expect("it is there");
        let after = rest.find("[[api.key]]").map_or("", |at| &rest[at..]);
        format!("{before}{table}\n{after}")
    });
    let began = Instant::now();
    let mut rest = Vec::new();
    reading.read_to_end(&mut rest).expect("it ends");
    assert!(began.elapsed() < Duration::from_secs(10), "it ends at once");
    api.ask("GET", "/devices", &[&api.authorization("watch")]).is_refused(401, "no-key");
    assert_eq!(api.ask("GET", "/devices", &[&format!("authorization: Bearer {key}")]).status, 200);
    assert_eq!(api.ask("GET", "/invites", &[&api.authorization("admin")]).status, 200);
}

fn ask_socket(path: &Path, method: &str, asked: &str) -> Answer {
    ask(UnixStream::connect(path).expect("it may be opened"), method, asked, &["host: localhost".to_owned()])
}

/// As another user of the machine, which takes root: the thread alone becomes that one.
fn ask_as(user: u32, path: &Path, method: &'static str, asked: &'static str) -> Answer {
    let path = path.to_owned();
    let asking = move || {
        rustix::thread::set_thread_uid(rustix::fs::Uid::from_raw(user)).expect("root becomes anybody");
        ask_socket(&path, method, asked)
    };
    std::thread::spawn(asking).join().expect("it asks")
}

#[test]
fn a_user_of_this_machine_asks_by_the_socket_what_the_file_lets_it() {
    let api = Api::start();
    let socket = api.site.directory.path().join("api.sock");
    let found = fs::symlink_metadata(&socket).expect("it is there");
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o660);
    assert_eq!(ask_socket(&socket, "GET", "/invites").status, 200, "the server's own user asks everything");
    if found.uid() != 0 {
        println!("skipped: other users, whom root alone can become");
        return;
    }
    // Whoever may open it: here everybody.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("ours");
    fs::set_permissions(api.site.directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    assert_eq!(ask_as(4_242, &socket, "GET", "/devices").status, 200);
    ask_as(4_242, &socket, "GET", "/invites").is_refused(403, "not-allowed");
    ask_as(4_242, &socket, "POST", "/devices/x/messages").is_refused(403, "not-allowed");
    ask_as(4_243, &socket, "GET", "/devices").is_refused(403, "not-allowed");
    ask_as(4_243, &socket, "GET", "/openapi.json").is_refused(403, "not-allowed");
    logged(&api.site, "by=\"uid 4242, pid", 1);
    api.reload_with(|text| text.replace("name = 4242", "name = 4243"));
    ask_as(4_242, &socket, "GET", "/devices").is_refused(403, "not-allowed");
    assert_eq!(ask_as(4_243, &socket, "GET", "/devices").status, 200);
}

#[test]
fn after_a_kill_the_socket_is_made_anew_and_what_is_no_socket_stays() {
    let api = Api::start();
    let socket = api.site.directory.path().join("api.sock");
    let Api { site, server, .. } = api;
    drop(server);
    assert!(socket.exists(), "a killed process leaves it");
    let server = site.start();
    assert_eq!(ask_socket(&socket, "GET", "/devices").status, 200);
    drop(server);
    fs::remove_file(&socket).expect("ours");
    fs::write(&socket, "somebody's").expect("written");
    let path = site.config();
    let (code, _, told) = site.try_verb(&[
        "serve",
        "--behind-proxy",
        "--listen",
        "127.0.0.1:0",
        "--config",
        path.to_str().expect("text"),
    ]);
    assert!(code == 1 && told.contains("`socket` of [api]") && told.contains("something else lies there"), "{told}");
    assert_eq!(fs::read_to_string(&socket).expect("it is there"), "somebody's");
}

/// A process that nobody waits for: it ends with its test.
struct Orphan(u64);

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = std::process::Command::new("kill").args(["-KILL", &self.0.to_string()]).status();
    }
}

#[test]
fn after_a_hand_over_the_new_process_answers_keys_and_users_at_the_same_places() {
    let api = Api::start();
    let socket = api.site.directory.path().join("api.sock");
    let by_key = || api.ask("GET", "/state", &[&api.authorization("watch")]).json()["pid"].as_u64().expect("a process");
    let before = by_key();
    assert_eq!(ask_socket(&socket, "GET", "/state").json()["pid"], before);
    api.site.verb(&["hand-over"]);
    let began = Instant::now();
    let after = loop {
        let pid = by_key();
        if pid != before {
            break Orphan(pid);
        }
        // The one before answers until it has ended.
        assert!(began.elapsed() < Duration::from_secs(60), "the new one answers");
        std::thread::sleep(Duration::from_millis(50));
    };
    let answers = || ask_socket(&socket, "GET", "/state").json()["pid"] == after.0;
    while !answers() {
        assert!(began.elapsed() < Duration::from_secs(60), "the new one answers at the socket");
        std::thread::sleep(Duration::from_millis(50));
    }
    api.ask("GET", "/invites", &[&api.authorization("send")]).is_refused(403, "not-allowed");
}

/// What schemathesis is told of the operations that need a device that is there.
fn with_device(device: &str) -> String {
    let operation = |path: &str| {
        format!("\n[[operations]]\ninclude-path = \"/devices/{{id}}/{path}\"\nparameters = {{ id = \"{device}\" }}\n")
    };
    ["messages", "bind", "release"].map(operation).concat()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and PyPI's schemathesis, on PYTHONPATH: `cargo xtask test --long --filter schemathesis`"]
async fn schemathesis_finds_nothing_that_the_document_does_not_say() {
    let api = Api::start();
    let link = api.site.verb(&["invite", "new"]);
    let link = link.split_whitespace().find(|word| word.contains("#i=")).expect("a link").to_owned();
    let keyring = duologue_client::Keyring::in_memory();
    let device = duologue::DeviceId::of_spki(keyring.device().spki()).to_string();
    let client = duologue_client::Client::new(keyring);
    let target = duologue_client::Target::parse(&link.replace("https://", "http://")).expect("a link");
    // It takes what is said to it.
    let line = client.connect(&target).await.expect("it is let in");
    tokio::spawn(async move {
        while let Some(channel) = line.accept().await {
            tokio::spawn(async move {
                while let Ok(Some(_)) = channel.recv().await {}
                channel.finish();
            });
        }
    });
    let shared =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/schemathesis.toml")).expect("its settings");
    api.site.write("schemathesis.toml", shared + &with_device(&device));
    let examples = std::env::var("DUOLOGUE_LONG").map_or("20", |_| "200");
    let command = std::process::Command::new("python3")
        .args(["-c", "from schemathesis.cli import schemathesis; schemathesis()", "--config-file"])
        .arg(api.site.directory.path().join("schemathesis.toml"))
        .arg("run")
        .arg(format!("http://127.0.0.1:{}/openapi.json", api.port))
        .args(["--checks", "all", "--workers", "1", "--no-color", "--max-examples", examples])
        // It gives the server's place to another process, which is hand_over.rs's matter.
        .args(["--exclude-path", "/hand-over", "-H", &format!("Authorization: Bearer {}", api.key("admin"))])
        .current_dir(api.site.directory.path())
        .output()
        .expect("python3 is there");
    let said = String::from_utf8_lossy(&command.stdout);
    println!("{}", said.lines().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n"));
    assert!(command.status.success(), "{said}{}", String::from_utf8_lossy(&command.stderr));
}
