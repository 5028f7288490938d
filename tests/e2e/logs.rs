//! What peers can make the server's log say: a line, and from then on a count each minute.

use std::time::Duration;

use duologue_client::{Client, CloseCode, Line};
use futures_util::SinkExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    enrolment::stranger,
    raw::{Device, Place, Raw},
    server::{Server, invite_of, target},
    within,
};

/// What three classes of peers may say at once, and the counts of the minutes that a test lasts. Ten minutes come to at most
/// 70,000 bytes by the same arithmetic, which `server/src/watch/counts.rs` tests with time as an argument.
const MINUTES: usize = 3;
const LOG_LEN_MAX: usize = 3 * (5_000 + MINUTES * 900) + MINUTES * 12 * 220;

/// What no log may have.
pub(crate) const SECRET: &str = "s3cret-of-the-peer";

pub(crate) async fn line_to(server: &Server) -> (Client, Line) {
    let client = stranger();
    let line = within(20, "the line", client.connect(&target(server.link()))).await.unwrap();
    (client, line)
}

/// Ends the server in good order, and gives what it has logged, without what is said before the line `starting`.
pub(crate) async fn log_of(server: Server) -> String {
    let stderr = server.stderr.clone();
    server.terminate();
    stderr.with("stopping").await;
    // The counts come last.
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if stderr.seen().iter().any(|line| line.contains("not told one by one")) {
            break;
        }
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    stderr.seen().join("\n")
}

fn assert_it_is_quiet(log: &str) {
    println!("{} bytes of log", log.len());
    assert!(log.len() <= LOG_LEN_MAX, "{} bytes: {}", log.len(), log.chars().take(4_000).collect::<String>());
    assert!(!log.contains(SECRET), "{log}");
}

/// How often the counts say that this happened.
pub(crate) fn counted(log: &str, what: &str) -> u64 {
    let with = log.lines().filter(|line| line.contains("not told one by one"));
    let parts = with.flat_map(|line| line.split([',', ':'])).filter(|part| part.contains(what));
    parts.filter_map(|part| part.trim().split(' ').next()?.parse::<u64>().ok()).sum()
}

/// What a device may say that no service takes, once each.
pub(crate) async fn ill_formed(line: &Line, number: usize) {
    for (label, said) in [
        ("drop", format!("{{\"name\":\"{SECRET}\",\"size\":-1}}\n")),
        ("drop", format!("{{\"name\":\"{SECRET}\",\"size\":9999999999999999,\"upload\":\"{number:032x}\"}}\n")),
        ("http", format!("{{\"method\":\"GET\",\"target\":\"/{SECRET}\",\"headers\":[],\"length\":0}}\n")),
        ("http", format!("{{\"method\":\"GET\",\"target\":\"/../{SECRET}\\u001b\",\"headers\":[]}}\n")),
        ("http", format!("{SECRET}\n")),
    ] {
        let mut stream = line.stream(label).unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // It may be reset.
        let _ = within(20, "an answer", stream.read_to_end(&mut answer)).await;
    }
    for label in ["pair", "http", "drop"] {
        let failed = within(20, "a refusal", line.request(label, SECRET)).await;
        assert!(failed.is_err() || label == "pair", "{label}");
    }
}

/// Opens a channel of this label, which no service has, and waits until the server has said so.
pub(crate) async fn open_unknown(line: &Line, label: &str) {
    // The server has it until it has said no; another has then room.
    let channel = loop {
        match line.channel(label) {
            Ok(channel) => break channel,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    channel.broken().await;
}

/// A configuration in which no rule of the watch ends what a device does at its worst.
pub(crate) fn with_dry_rules() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dry.toml");
    let rule = |name: &str, events: &str| {
        format!(
            "[[watch.rule]]\nname = \"{name}\"\nevents = [{events}]\nby = \"device\"\nthreshold = 600\nwindow = \"1m\"\n\
             measure = \"observe\"\ndry = true\n"
        )
    };
    let rules = [
        "[[rule]]\nopen = [\"*\"]\n".to_owned(),
        rule("labels-refused", "\"label-unknown\", \"not-allowed\""),
        rule("smuggling", "\"request-smuggled\""),
    ];
    std::fs::write(&path, rules.concat()).unwrap();
    let path = path.display().to_string();
    (directory, path)
}

#[tokio::test]
async fn a_device_that_does_its_worst_writes_no_more_than_a_count() {
    const LABELS: u64 = 20_000;
    const EACH: usize = 500;
    // Nobody listens there.
    let (_directory, config) = with_dry_rules();
    let server = Server::dev_with(&["--http", "http://127.0.0.1:9", "--config", &config]).await;
    let (_client, line) = line_to(&server).await;
    for number in 0..LABELS {
        open_unknown(&line, &format!("{SECRET}-{number}")).await;
    }
    for number in 0..EACH {
        ill_formed(&line, number).await;
    }
    line.close(CloseCode::Normal, SECRET);
    line.closed().await;
    let log = log_of(server).await;
    assert_it_is_quiet(&log);
    assert_eq!(counted(&log, "no such service"), LABELS - 1, "{log}");
}

#[tokio::test]
async fn strangers_of_every_kind_write_no_more_than_a_count() {
    const EACH: usize = 400;
    let server = Server::dev().await;
    let place = Place::dev(&server);
    let used = invite_of(server.link());
    let (_client, _line) = line_to(&server).await;
    for number in 0..EACH {
        // No TLS; a TLS handshake that stops; an upgrade that says garbage; one that says nothing more.
        let mut tcp = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        let _ = tcp.write_all(format!("GET /{SECRET} HTTP/1.1\r\nhost: {SECRET}\r\n\r\n").as_bytes()).await;
        let mut garbage = place.dial_bare().await;
        let _ = garbage.send(Message::binary(vec![1; 100])).await;
        let mut text = place.dial_bare().await;
        let _ = text.send(Message::text(SECRET)).await;
        drop(place.dial_bare().await);
        if number < EACH / 4 {
            // Each a device of its own, by an invite that was used.
            let device = Device::new();
            let refused = Raw::new(&place, &used, &device).open().await;
            assert!(refused.is_err());
            let forged = Raw { claimed_host: Some(SECRET), ..Raw::new(&place, &used, &device) };
            assert!(forged.open().await.is_err());
        }
    }
    let log = log_of(server).await;
    assert_it_is_quiet(&log);
    assert!(counted(&log, "a line has ended") >= 2 * u64::try_from(EACH).unwrap(), "{log}");
    assert!(counted(&log, "a device was refused") >= 150, "{log}");
}

#[tokio::test]
async fn what_the_owner_must_know_is_told() {
    let server = Server::dev().await;
    let (_client, _line) = line_to(&server).await;
    drop(server.invite("1h").await);
    let (id, _) = server.devices().await.remove(0);
    drop(server.verb(&["devices", "revoke", &id]).await);
    let state = server.directory().display().to_string();
    let log = log_of(server).await;
    let line = |what: &str| log.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {log}"));
    let start = line("starting");
    for what in ["version=", "url=https://localhost:", "certificate_ends=", "origins=", &state] {
        assert!(start.contains(what), "{what}: {start}");
    }
    let enrolled = line("an invite was used, and a device enrolled");
    assert!(enrolled.contains(&id) && enrolled.contains("address=127.0.0.1"), "{enrolled}");
    assert!(line("the owner has made an invite").contains("by=uid "), "{log}");
    let revoked = line("the owner has revoked");
    assert!(revoked.contains(&id) && revoked.contains("by=uid "), "{revoked}");
}
