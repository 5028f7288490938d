//! What the binary says to an owner's mistakes: what is wrong, where, and what to do. One table, run with the real binary.

use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Output, Stdio},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use crate::{
    enrolment::stranger,
    server::{Server, binary, target},
    tls::{Authority, pem},
    within,
};

async fn run(arguments: &[&str], state: &Path) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env("DUOLOGUE_STATE", state).stdin(Stdio::null()).kill_on_drop(true);
    within(20, format!("duologue {arguments:?}"), command.output()).await.expect("the binary starts")
}

#[tokio::test]
async fn each_mistake_is_told_in_a_sentence_with_what_to_do() {
    let directory = TempDir::with_prefix("duologue-mistakes-").unwrap();
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = busy.local_addr().unwrap().to_string();
    let garbage = directory.path().join("garbage");
    std::fs::create_dir(&garbage).unwrap();
    std::fs::write(garbage.join("identity.key"), [7; 32]).unwrap();
    std::fs::set_permissions(garbage.join("identity.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(garbage.join("store.redb"), vec![9; 5_000]).unwrap();
    let new = directory.path().join("new");
    let [cut, altered] = ["cut", "altered"].map(|name| directory.path().join(name));
    for damaged in [&cut, &altered] {
        // A whole one, made by a first start that came no further than its port.
        let output =
            run(&["serve", "--url", "https://line.example", "--behind-proxy", "--listen", &busy], damaged).await;
        assert!(!output.status.success());
        let store = damaged.join("store.redb");
        let mut bytes = std::fs::read(&store).expect("it was made");
        if damaged == &cut {
            bytes.truncate(9_000);
        } else {
            bytes[4_096..].fill(0x5a);
        }
        std::fs::write(&store, bytes).unwrap();
    }
    let running = Server::dev().await;
    let another = format!("another duologue, pid {}, has", running.pid());
    let another = [&another, "stop it first", "--state"];
    let proxied = ["serve", "--url", "https://line.example", "--behind-proxy", "--listen"];
    let serve = |listen: &'static str| [&proxied[..], &[listen]].concat();
    let cases: Vec<(Vec<&str>, &Path, &[&str])> = vec![
        (vec!["devices", "list"], &garbage, &["store.redb", "put back a copy", "do not just remove it"]),
        (vec!["dev", "--port", "0"], &garbage, &["store.redb", "put back a copy"]),
        (vec!["devices", "list"], &new, &["is --state mistyped?"]),
        (vec!["keys", "show"], &new, &["is --state mistyped?"]),
        (vec!["invite", "new"], &new, &["is --state mistyped?"]),
        (vec!["invite", "list"], &new, &["is --state mistyped?"]),
        (vec!["accounts", "list"], &new, &["is --state mistyped?"]),
        (vec!["state"], &new, &["is --state mistyped?"]),
        (vec!["devices", "list"], &cut, &["store.redb", "put back a copy", "do not just remove it"]),
        (vec!["dev", "--port", "0"], &altered, &["store.redb", "put back a copy", "do not just remove it"]),
        (vec!["dev", "--port", "0"], running.directory(), &another),
        (vec!["invite", "new", "--expires", "1y"], &new, &["no span of time", "24h, 7d or 2w"]),
        (vec!["dev", "--port", "0", "--drop-quota", "ten"], &new, &["is no size", "500KB, 20MB, 10GB or 1GiB"]),
        (vec!["invite", "new", "--expires", "0s"], &new, &["it would let in nobody"]),
        (vec!["invite", "new", "--expires", "99999999999999999999d"], &new, &["no span of time", "24h, 7d or 2w"]),
        (vec!["invite", "new", "--expires", "18446744073709551615s"], &new, &["10 years at most"]),
        (vec!["invite", "new", "--url", "http://x/p"], &new, &["must start with https://"]),
        ([&proxied[..], &[&busy]].concat(), &new, &["cannot listen on 127.0.0.1:", "choose another by --listen"]),
        (serve("localhost:9443"), &new, &["write 127.0.0.1:9443"]),
        (vec!["serve", "--url", "line.example", "--behind-proxy"], &new, &["write https://line.example"]),
        (vec!["serve", "--url", "https://line.example"], &new, &["--cert", "--key", "--behind-proxy"]),
        (vec!["dev", "--port", "0", "--drop", "/etc/passwd"], &new, &["--drop /etc/passwd", "no directory"]),
        (vec!["dev", "--port", "0", "--http", "https://a"], &new, &["has TLS", "http:// address", "a local proxy"]),
        (vec!["dev", "--port", "0", "--http", "a:3000"], &new, &["is no backend", "http://127.0.0.1:3000"]),
        (
            vec!["dev", "--port", "0", "--http", "http://127.0.0.1:9", "--http-allow-header", "duologue-device"],
            &new,
            &["--http-allow-header", "says that header itself"],
        ),
        (vec![], &new, &["One private line between a web page and this machine"]),
    ];
    for (arguments, state, said) in cases {
        let output = run(&arguments, state).await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?} should have been refused, and said {text}");
        for part in said {
            assert!(text.contains(part), "{arguments:?}: no {part:?} in {text}");
        }
        assert!(!text.contains("panicked"), "{arguments:?}: {text}");
    }
    // None of the verbs that only read has made anything.
    let made = std::fs::read_dir(&new).map(|entries| entries.flatten().map(|entry| entry.file_name()).collect());
    let made: Vec<_> = made.unwrap_or_default();
    assert!(!made.contains(&"control.sock".into()), "{made:?}");
}

#[tokio::test]
async fn what_browsers_will_refuse_is_warned_of_at_the_start() {
    let directory = TempDir::with_prefix("duologue-mistakes-").unwrap();
    let authority = Authority::for_names(&["line.example"]);
    let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&cert, pem(&authority.leaf)).unwrap();
    std::fs::write(&key, authority.key.serialize_pem()).unwrap();
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let url = "https://other.example";
    let state = directory.path().join("state");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--url", url, "--cert", cert, "--key", key];
    let (mut child, _, _, stderr) = crate::server::spawn(&serve, &state, false);
    stderr.with("is not for other.example").await;
    stderr.with("certificate_ends=").await;
    child.kill().await.unwrap();
    let expired = Authority::expired("other.example");
    std::fs::write(cert, pem(&expired.leaf)).unwrap();
    std::fs::write(key, expired.key.serialize_pem()).unwrap();
    let (mut child, _, _, stderr) = crate::server::spawn(&serve, &state, false);
    stderr.with("has expired on 2024-04-01 00:00 UTC: browsers refuse it; put a new one there").await;
    child.kill().await.unwrap();
    std::fs::set_permissions(state.join("identity.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = run(&["keys", "show"], &state).await;
    let said = String::from_utf8_lossy(&said.stderr);
    assert!(said.contains("chmod 600") && said.contains("identity.key"), "{said}");
}

/// Nobody in particular, without any right of root's.
const NOBODY: u32 = 65_534;

#[tokio::test]
async fn who_may_not_is_told_what_right_is_wanted() {
    let (server, directory) = (Server::dev().await, TempDir::with_prefix("duologue-mistakes-").unwrap());
    for folder in [server.directory(), directory.path()] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let socket = server.directory().join("control.sock");
    let socket = socket.to_str().unwrap();
    let closed = directory.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    let proxied = ["serve", "--url", "https://line.example", "--behind-proxy", "--listen", "127.0.0.1:443"];
    let [own, port] = ["own", "port"].map(|name| directory.path().join(name));
    for folder in [&own, &port] {
        std::fs::create_dir(folder).unwrap();
        if std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).is_err() {
            eprintln!("skipped: only root can be somebody else");
            return;
        }
    }
    let cases: [(&[&str], &Path, &[&str]); 4] = [
        (&["devices", "list"], server.directory(), &[socket, "Permission denied", "as the user whose server it is"]),
        (&["invite", "new"], server.directory(), &[socket, "as the user whose server it is"]),
        (&["dev", "--port", "0"], &closed, &[closed.to_str().unwrap(), "Permission denied"]),
        (&proxied, &port, &["127.0.0.1:443", "CAP_NET_BIND_SERVICE", "another port by --listen"]),
    ];
    let open_from = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    for (arguments, state, said) in cases {
        if arguments[0] == "serve" && open_from.trim().parse::<u16>().is_ok_and(|port| port <= 443) {
            eprintln!("skipped: any program may listen on port 443 here");
            continue;
        }
        let mut command = Command::new(binary());
        command.args(arguments).arg("--state").arg(state).uid(NOBODY).gid(NOBODY).current_dir("/");
        let output = match command.stdin(Stdio::null()).kill_on_drop(true).output().await {
            Ok(output) => output,
            Err(error) => {
                eprintln!("skipped: nobody else may run the binary here: {error}");
                return;
            }
        };
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?} should have been refused, and said {text}");
        for part in said {
            assert!(text.contains(part), "{arguments:?}: no {part:?} in {text}");
        }
    }
}

#[tokio::test]
async fn http_without_tls_is_answered_in_words() {
    let server = Server::dev().await;
    let body = "x".repeat(5_000);
    let long = format!("POST /duologue HTTP/1.1\r\nhost: a\r\ncontent-length: 5000\r\n\r\n{body}");
    // Once the connection was closed without a word.
    for request in
        ["GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", "get / http/1.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n", &long]
    {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(20, "an answer in clear", stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{request:?}: {answer:?}");
        assert!(answer.contains("This port speaks TLS: write https://"), "{request:?}: {answer:?}");
    }
    let line = within(20, "a line", stranger().connect(&target(server.link()))).await.unwrap();
    assert_eq!(within(20, "the echo", line.request("echo", "here")).await.unwrap(), b"here");
}

/// A balancer that is not named looked to its owner like a client that had forgotten TLS.
#[tokio::test]
async fn a_proxy_header_of_somebody_who_is_not_trusted_is_in_the_log_with_what_to_do() {
    let server = Server::dev().await;
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.1 203.0.113.1 4711 443\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    within(20, "an answer in clear", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.contains("who sent it is no trusted proxy of this server"), "{answer:?}");
    let line = within(20, "the log", server.stderr.with("a PROXY header comes from somebody")).await;
    assert!(line.contains("WARN") && line.contains("--trusted-proxy") && line.contains("address=127.0.0.1"), "{line}");
}

#[tokio::test]
async fn a_verb_into_a_closed_pipe_ends_quietly() {
    let server = Server::dev().await;
    for verb in [
        "duologue keys show",
        "duologue devices list",
        "duologue invite new",
        "duologue invite list",
        "duologue accounts list",
        "duologue state",
        "duologue --help",
    ] {
        // Once it panicked: "failed printing to stdout: Broken pipe".
        let text = verb.replacen("duologue", binary().to_str().unwrap(), 1);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new("sh");
        command.args(["-c", &text]).env("DUOLOGUE_STATE", server.directory()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
        let output = within(20, verb, command.spawn().unwrap().wait_with_output()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.is_empty() && output.status.success(), "{verb}: {} {said}", output.status);
    }
}

#[tokio::test]
async fn stdin_that_is_no_text_goes_through_as_bytes() {
    let server = Server::dev().await;
    let keyring = TempDir::with_prefix("duologue-device-").unwrap();
    let mut command = Command::new(binary());
    command.args(["connect", server.link(), "--service", "echo", "--state"]).arg(keyring.path()).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Once it ended: "stream did not contain valid UTF-8".
    let said: &[u8] = b"\xff\xfe\x00caf\xe9\nsecond\r\nwithout an end";
    child.stdin.take().unwrap().write_all(said).await.unwrap();
    let output = within(20, "its end", child.wait_with_output()).await.unwrap();
    assert_eq!(output.stdout, b"\xff\xfe\x00caf\xe9\nsecond\nwithout an end\n", "{output:?}");
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn a_branch_of_devices_goes_with_its_root_and_the_list_says_who_let_it_in() {
    let server = Server::dev().await;
    let [first, second, third] = [stranger(), stranger(), stranger()];
    let pair = async |line: &duologue_client::Line| {
        let answer = within(20, "a link", line.request("pair", "")).await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        answer["link"].as_str().expect("a link").to_owned()
    };
    let one = within(20, "the first", first.connect(&target(server.link()))).await.unwrap();
    let two = within(20, "the second", second.connect(&target(&pair(&one).await))).await.unwrap();
    let three = within(20, "the third", third.connect(&target(&pair(&two).await))).await.unwrap();
    let unused = pair(&three).await;
    let apart = stranger();
    let other = within(20, "another", apart.connect(&target(&server.invite("1h").await))).await.unwrap();
    let devices = server.devices().await;
    let ids: Vec<_> = devices.iter().map(|(id, _)| id.clone()).collect();
    let by: Vec<_> = devices.iter().map(|(_, line)| line.split("  by ").nth(1).unwrap_or_default()).collect();
    assert!(devices.iter().any(|(_, line)| line.contains(" UTC  by owner")), "{devices:#?}");
    let child_of = |id: &str| by.iter().filter(|by| by.starts_with(id)).count();
    assert_eq!((child_of("owner"), by.len()), (2, 4), "{devices:#?}");
    // Several in one second: by whom they came says who they are.
    let root = ids.iter().find(|id| {
        child_of(id) == 1 && {
            let at = ids.iter().position(|other| other == *id).unwrap();
            by[at].starts_with("owner")
        }
    });
    let said = server.verb(&["devices", "revoke", root.expect("the first"), "--with-descendants"]).await;
    assert_eq!(said.lines().filter(|line| line.contains("revoked with it")).count(), 2, "{said}");
    for line in [one, two, three] {
        within(20, "its end", line.closed()).await;
    }
    let late = within(20, "a refusal", stranger().connect(&target(&unused))).await;
    assert!(late.is_err(), "an invite that one of them had made");
    assert_eq!(within(20, "the echo", other.request("echo", "here")).await.unwrap(), b"here");
    let after = server.devices().await;
    assert_eq!(after.iter().filter(|(_, line)| line.contains("  revoked  ")).count(), 3, "{after:#?}");
}
