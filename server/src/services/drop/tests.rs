//! Whole uploads over a stream in memory.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, DuplexStream},
    task::JoinHandle,
};

use super::*;

const UPLOAD: &str = "00112233445566778899aabbccddeeff";

type Taken = Result<Option<Receipt>, DropError>;

fn drops(quota: u64) -> (Drops, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    (Drops::open(directory.path(), quota).expect("opens"), directory)
}

/// A client's stream, and what the server makes of it.
fn connect(drops: &Drops, device: &'static str) -> (BufReader<DuplexStream>, JoinHandle<Taken>) {
    let (client, mut server) = tokio::io::duplex(1_000);
    let drops = drops.clone();
    (BufReader::new(client), tokio::spawn(async move { drops.take(device, &mut server).await }))
}

async fn begin(client: &mut BufReader<DuplexStream>, name: &str, size: usize, upload: &str) -> Value {
    send(client, format!("{}\n", json!({ "name": name, "size": size, "upload": upload })).as_bytes()).await;
    line(client).await
}

async fn send(client: &mut BufReader<DuplexStream>, bytes: &[u8]) {
    client.write_all(bytes).await.expect("the server reads");
}

async fn line(client: &mut BufReader<DuplexStream>) -> Value {
    let mut line = String::new();
    client.read_line(&mut line).await.expect("the server is there");
    assert!(line.ends_with('\n') && line.len() <= wire::LINE_BYTES_MAX, "{line:?}");
    serde_json::from_str(&line).expect("JSON")
}

/// Sends a whole file; gives the last line.
async fn upload(drops: &Drops, name: &str, bytes: &[u8]) -> Value {
    let (mut client, server) = connect(drops, "device");
    let held = begin(&mut client, name, bytes.len(), UPLOAD).await;
    if held["error"] != Value::Null {
        return held;
    }
    send(&mut client, bytes).await;
    client.shutdown().await.expect("ends");
    let last = line(&mut client).await;
    let taken = server.await.expect("no panic").ok().flatten();
    assert_eq!(taken.map(|receipt| json!(receipt)), (last["error"] == Value::Null).then(|| last.clone()));
    assert_eq!(client.read(&mut [0]).await.expect("the server has finished"), 0);
    last
}

fn sample(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 % 251).to_le_bytes()[0]).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

/// What the server answers when it has this much of an upload.
fn holds(bytes: &[u8]) -> Value {
    let blocks = bytes
        .chunks(4 * 1_024 * 1_024)
        .flat_map(|block| ring::digest::digest(&ring::digest::SHA256, block).as_ref().to_vec());
    json!({ "offset": bytes.len(), "sha256": sha256(bytes), "blocks": sha256(&blocks.collect::<Vec<_>>()) })
}

fn held(directory: &TempDir, device: &str) -> Vec<u8> {
    fs::read(directory.path().join(format!(".partial/{device}-{UPLOAD}"))).unwrap_or_default()
}

/// Waits until the disk holds so much: what is sent is not at once written.
async fn until_held(directory: &TempDir, len: usize) {
    while held(directory, "device").len() < len {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).expect("is there").permissions().mode() & 0o777
}

#[tokio::test]
async fn a_whole_file_arrives_for_its_owner_alone() {
    let (drops, directory) = drops(1_000_000);
    for (name, len) in [("empty", 0), ("one.bin", 1), ("blocks.bin", 3 * BLOCK_BYTES + 1)] {
        let bytes = sample(len);
        let receipt = upload(&drops, name, &bytes).await;
        assert_eq!(receipt, json!({ "name": name, "size": len, "sha256": sha256(&bytes) }));
        let path = directory.path().join(name);
        assert_eq!((fs::read(&path).expect("is there"), mode(&path)), (bytes, 0o600));
    }
    assert_eq!(mode(&directory.path().join(".partial")), 0o700);
    let kept = fs::read_dir(directory.path().join(".partial")).expect("reads").count();
    assert_eq!(kept, 2, "the folder of states, and whose the files are");
    assert_eq!(mode(&directory.path().join(".partial/.whose")), 0o600);
    assert_eq!(fs::read_dir(directory.path().join(".partial/hashes")).expect("reads").count(), 0);
}

#[tokio::test]
async fn an_upload_continues_after_each_cut_even_of_the_server() {
    let (mut drops, directory) = drops(1_000_000);
    let bytes = sample(200_000);
    for cut in [1, 4_095, 65_536, 65_537, 199_999] {
        let (mut client, server) = connect(&drops, "device");
        let held = begin(&mut client, "a", bytes.len(), UPLOAD).await;
        let offset = usize::try_from(held["offset"].as_u64().expect("a number")).expect("small");
        assert_eq!(held["sha256"], sha256(&bytes[..offset]));
        send(&mut client, &bytes[offset..cut]).await;
        drop(client);
        let error = server.await.expect("no panic").expect_err("cut");
        assert!(matches!(error, DropError::Short { arrived, .. } if arrived == cut as u64), "{error}");
        drops = Drops::open(directory.path(), 1_000_000).expect("opens again");
    }
    let (mut client, server) = connect(&drops, "device");
    let held = begin(&mut client, "a", bytes.len(), UPLOAD).await;
    assert_eq!(held, holds(&bytes[..199_999]));
    send(&mut client, &bytes[199_999..]).await;
    client.shutdown().await.expect("ends");
    assert_eq!(line(&mut client).await["sha256"], sha256(&bytes));
    server.await.expect("no panic").expect("taken");
    assert_eq!(fs::read(directory.path().join("a")).expect("is there"), bytes);
}

#[tokio::test]
async fn a_long_part_is_hashed_in_blocks_too() {
    for len in [4_194_303, 4_194_304, 4_194_305, 9_000_000_usize] {
        let (drops, directory) = drops(20_000_000);
        let bytes = sample(len);
        let (mut client, _server) = connect(&drops, "device");
        begin(&mut client, "a", len + 1, UPLOAD).await;
        send(&mut client, &bytes).await;
        until_held(&directory, len).await;
        let (mut newer, _server) = connect(&drops, "device");
        assert_eq!(begin(&mut newer, "a", len + 1, UPLOAD).await, holds(&bytes), "{len}");
    }
}

#[tokio::test]
async fn another_device_neither_sees_nor_continues_an_upload() {
    let (drops, directory) = drops(1_000);
    let (mut mine, _server) = connect(&drops, "device");
    begin(&mut mine, "a", 10, UPLOAD).await;
    send(&mut mine, b"secret").await;
    until_held(&directory, 6).await;
    let (mut other, server) = connect(&drops, "other-device");
    let answer = begin(&mut other, "a", 10, UPLOAD).await;
    assert_eq!(answer, holds(&[]));
    drop(other);
    assert_eq!(server.await.expect("no panic").expect("nothing was sent"), None);
    send(&mut mine, b"more").await;
    until_held(&directory, 10).await;
    for device in ["", "../device", "a/b", "a.b", "dévice"] {
        let (_client, server) = connect(&drops, device);
        assert!(matches!(server.await.expect("no panic"), Err(DropError::Device)));
    }
}

#[tokio::test]
async fn a_taken_name_gets_a_number_and_a_path_stays_inside() {
    let (drops, directory) = drops(1_000);
    fs::write(directory.path().join("photo (2).jpg"), "not ours").expect("writes");
    for (name, expected) in [
        ("photo.jpg", "photo.jpg"),
        ("photo.jpg", "photo (3).jpg"),
        ("/etc/../photo.jpg", "photo (4).jpg"),
        ("../../up", "up"),
        (".partial", "partial"),
    ] {
        assert_eq!(upload(&drops, name, name.as_bytes()).await["name"], expected);
        assert_eq!(fs::read(directory.path().join(expected)).expect("inside"), name.as_bytes());
    }
    assert_eq!(fs::read(directory.path().join("photo (2).jpg")).expect("reads"), b"not ours");
}

#[tokio::test]
async fn one_device_gets_half_of_the_quota_however_it_asks_and_another_finds_room() {
    let (mut drops, directory) = drops(1_000);
    for size in [501, 1_000, usize::MAX] {
        let (mut client, _server) = connect(&drops, "device");
        assert_eq!(begin(&mut client, "a", size, UPLOAD).await["error"], "too-large", "{size}");
    }
    assert_eq!(upload(&drops, "a", &[0; 300]).await["name"], "a");
    // What is announced holds no room: two uploads that each would fit begin, and the second ends where both do not.
    let (mut first, first_server) = connect(&drops, "device");
    let (mut second, second_server) = connect(&drops, "device");
    for (client, upload) in [(&mut first, &"1".repeat(32)), (&mut second, &"2".repeat(32))] {
        assert_eq!(begin(client, "b", 200, upload).await, holds(&[]));
    }
    send(&mut first, &[1; 190]).await;
    drop(first);
    first_server.await.expect("no panic").expect_err("cut");
    send(&mut second, &[2; 200]).await;
    let refused = line(&mut second).await;
    assert_eq!(refused["error"], "too-large");
    assert!(refused["message"].as_str().is_some_and(|why| why.contains("no device takes more")), "{refused}");
    second_server.await.expect("no panic").expect_err("over its part");
    // Whole files and those that rest are its own also after a start.
    for _ in 0..2 {
        assert_eq!(upload(&drops, "c", &[0; 201]).await["error"], "too-large");
        drops = Drops::open(directory.path(), 1_000).expect("opens again");
    }
    let (mut other, _server) = connect(&drops, "other-device");
    assert_eq!(begin(&mut other, "d", 255, UPLOAD).await, holds(&[]));
    fs::remove_file(directory.path().join("a")).expect("the owner takes it away");
    assert_eq!(upload(&drops, "c", &[0; 201]).await["name"], "c");
    assert_eq!(fs::read_dir(directory.path()).expect("reads").count(), 2, "c, .partial");
}

#[tokio::test]
async fn a_hostile_header_gets_an_answer() {
    let (drops, directory) = drops(1_000);
    let upload = format!("\"upload\":\"{UPLOAD}\"");
    for header in [
        "\n".to_owned(),
        "[]\n".to_owned(),
        "\u{1b}[2J\n".to_owned(),
        "[".repeat(4_095) + "\n",
        "x".repeat(4_096),
        format!("{{\"name\":\"a\",\"size\":1,{upload},\"extra\":1}}\n"),
        format!("{{\"name\":\"a\",\"size\":1,{upload},\"{}\":1}}\n", "\\u001b".repeat(600)),
        format!("{{\"name\":\"a\",\"size\":1,{upload},\"{}\":1}}\n", "x".repeat(3_980)),
        format!("{{\"name\":\"a\",\"size\":1,{upload},{upload}}}\n"),
        format!("{{\"name\":\"a\",\"size\":1,{upload}}} x\n"),
        format!("{{\"name\":\"a\",\"size\":-1,{upload}}}\n"),
        format!("{{\"name\":\"a\",\"size\":18446744073709551616,{upload}}}\n"),
        format!("{{\"name\":\"a\",\"size\":1,\"upload\":\"{}\"}}\n", UPLOAD.to_uppercase()),
        "{\"name\":\"a\",\"size\":1,\"upload\":\"../../../../../../../../../tmp/x/\"}\n".to_owned(),
        format!("{{\"size\":1,{upload}}}\n"),
    ] {
        let (mut client, server) = connect(&drops, "device");
        send(&mut client, header.as_bytes()).await;
        assert_eq!(line(&mut client).await["error"], "bad-header", "{header:?}");
        let error = server.await.expect("no panic").expect_err("hostile").to_string();
        assert!(!error.contains(char::is_control), "{error:?}");
    }
    let (mut client, server) = connect(&drops, "device");
    send(&mut client, b"{\"name\":\"\xff\"").await;
    client.shutdown().await.expect("ends");
    assert_eq!(line(&mut client).await["error"], "bad-header");
    server.await.expect("no panic").expect_err("not whole");
    let (client, server) = connect(&drops, "device");
    drop(client);
    assert_eq!(server.await.expect("no panic").expect("nobody came"), None);
    assert_eq!(fs::read_dir(directory.path().join(".partial")).expect("reads").count(), 1, "the folder of states");
    assert_eq!(fs::read_dir(directory.path().join(".partial/hashes")).expect("reads").count(), 0);
}

#[tokio::test]
async fn a_body_must_have_the_announced_size() {
    let (drops, directory) = drops(1_000);
    for (sent, size) in [(&b"123"[..], 5), (b"456", 5), (b"", 4)] {
        let (mut client, server) = connect(&drops, "device");
        if begin(&mut client, "a", size, UPLOAD).await["error"] == Value::Null {
            send(&mut client, sent).await;
            client.shutdown().await.expect("ends");
            assert_eq!(line(&mut client).await["error"], "size-mismatch");
        }
        let error = server.await.expect("no panic").expect_err("a wrong size");
        assert_eq!(error.word(), Some("size-mismatch"));
    }
    assert_eq!(held(&directory, "device"), b"12345", "kept, and not a byte more");
    assert!(!directory.path().join("a").exists());
}

#[tokio::test]
async fn a_newer_stream_takes_an_upload_over() {
    let (drops, directory) = drops(200);
    let (mut older, older_server) = connect(&drops, "device");
    begin(&mut older, "a", 100, UPLOAD).await;
    send(&mut older, &[1; 60]).await;
    until_held(&directory, 60).await;
    let (mut newer, newer_server) = connect(&drops, "device");
    let held = begin(&mut newer, "a", 100, UPLOAD).await;
    assert_eq!(held, holds(&[1; 60]));
    assert!(matches!(older_server.await.expect("no panic"), Err(DropError::Busy)));
    assert_eq!(line(&mut older).await["error"], "busy");
    send(&mut newer, &[2; 40]).await;
    newer.shutdown().await.expect("ends");
    assert_eq!(line(&mut newer).await["size"], 100);
    newer_server.await.expect("no panic").expect("taken");
    assert_eq!(fs::read(directory.path().join("a")).expect("is there"), [[1; 60].as_slice(), &[2; 40]].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_streams_for_one_upload_the_last_one_wins() {
    let (drops, directory) = drops(100_000);
    let (mut clients, mut servers) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let (mut client, server) = connect(&drops, "device");
        servers.push(server);
        clients.push(tokio::spawn(async move {
            begin(&mut client, "a", 50_000, UPLOAD).await;
            client
        }));
    }
    let mut waiting = Vec::new();
    for client in clients {
        waiting.push(client.await.expect("an answer"));
    }
    assert_eq!(upload(&drops, "a", &sample(50_000)).await["name"], "a");
    for server in servers {
        assert!(matches!(server.await.expect("no panic"), Err(DropError::Busy)));
    }
    assert_eq!(fs::read(directory.path().join("a")).expect("is there"), sample(50_000));
    drop(waiting);
}

#[tokio::test]
async fn a_cancelled_upload_keeps_its_bytes() {
    let (drops, directory) = drops(200);
    let (mut client, server) = connect(&drops, "device");
    begin(&mut client, "a", 90, UPLOAD).await;
    send(&mut client, &[7; 30]).await;
    until_held(&directory, 30).await;
    server.abort();
    assert!(server.await.expect_err("cancelled").is_cancelled());
    // A write may be under way still: then this waits for its turn.
    let (mut again, _server) = connect(&drops, "device");
    assert_eq!(begin(&mut again, "a", 90, UPLOAD).await, holds(&[7; 30]));
    assert_eq!(held(&directory, "device"), [7; 30]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_at_once_do_not_disturb_each_other() {
    let (drops, directory) = drops(10_000_000);
    let devices = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let clients = devices.map(|device| {
        let drops = drops.clone();
        tokio::spawn(async move {
            let bytes = [device.as_bytes(), &sample(300_000)].concat();
            let (mut client, server) = connect(&drops, device);
            begin(&mut client, "same.txt", bytes.len(), UPLOAD).await;
            send(&mut client, &bytes).await;
            client.shutdown().await.expect("ends");
            (server.await.expect("no panic").expect("taken").expect("a file").name, bytes)
        })
    });
    for client in clients {
        let (name, bytes) = client.await.expect("no panic");
        assert_eq!(fs::read(directory.path().join(name)).expect("is there"), bytes);
    }
    assert_eq!(fs::read_dir(directory.path()).expect("reads").count(), devices.len() + 1);
}
