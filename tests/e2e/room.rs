//! The room that `drop` takes of a disk, which is never all that there is, and what devices have of it that let each other in.

use duologue_client::{ByteStream, Line};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf, split},
    task::JoinSet,
};

use crate::{
    apart::{Apart, said},
    enrolment::stranger,
    server::{Server, target},
    within,
};

/// A first line, and the answer to it.
async fn begin(
    line: &Line,
    number: usize,
    size: usize,
) -> (Value, BufReader<ReadHalf<ByteStream>>, WriteHalf<ByteStream>) {
    let (read, mut write) = split(line.stream("drop").expect("a channel is free"));
    let header = format!("{{\"name\":\"{number}\",\"size\":{size},\"upload\":\"{number:032x}\"}}\n");
    write.write_all(header.as_bytes()).await.expect("it is read");
    let mut read = BufReader::new(read);
    (answer(&mut read).await, read, write)
}

async fn answer(read: &mut BufReader<ReadHalf<ByteStream>>) -> Value {
    let mut line = String::new();
    within(60, "a line of drop", read.read_line(&mut line)).await.expect("it is said");
    serde_json::from_str(&line).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_disk_smaller_than_the_quota_files_leave_a_tenth_to_others() {
    const FILE_LEN: usize = 20_000_000;
    let Some(apart) = Apart::mount("mount -t tmpfs -o size=64m none \"$AT\"").await else { return };
    let directory = apart.directory.join("drop");
    let (_server, _log, link) = apart.start(&["dev", "--port", "0", "--drop", directory.to_str().expect("text")]).await;
    let client = stranger();
    let line = within(20, "a line", client.connect(&target(&link))).await.unwrap();
    let free = || {
        let told = rustix::fs::statvfs(apart.file("drop")).expect("it is a directory");
        (told.f_bavail * told.f_frsize, told.f_blocks * told.f_frsize / 10)
    };

    // What could never fit is refused before a byte of it comes.
    let (refused, ..) = begin(&line, 0, 3 * FILE_LEN).await;
    assert_eq!(refused["error"], "too-large", "{refused}");
    assert!(refused["message"].as_str().is_some_and(|why| why.contains("the server's disk has room for")), "{refused}");
    // Three that fit each, and not together: nothing is there yet when they begin.
    let mut sending = JoinSet::new();
    for number in 1..=3 {
        let (held, mut read, mut write) = begin(&line, number, FILE_LEN).await;
        assert_eq!(held["offset"], 0, "{held}");
        sending.spawn(async move {
            let bytes = vec![0x5a; FILE_LEN];
            let mut send = async || {
                let sent = write.write_all(&bytes).await;
                if sent.is_ok() { write.shutdown().await } else { sent }
            };
            // A stream that is refused in its middle takes no more.
            let (_, said) = tokio::join!(send(), answer(&mut read));
            said
        });
    }
    let said_of_each = sending.join_all().await;
    let stored = said_of_each.iter().filter(|said| said["size"] == FILE_LEN).count();
    let refused = said_of_each.iter().filter(|said| said["error"] == "too-large").count();
    assert_eq!((stored + refused, refused >= 1), (3, true), "{said_of_each:?}");
    let (left, tenth) = free();
    assert!(left >= tenth, "{left} bytes are left of {tenth}");
    eprintln!("{stored} were stored, {refused} refused; {left} bytes are left, a tenth is {tenth}");
    // So the owner's verbs have room.
    let made = apart.verb(&["invite", "new"]).await;
    assert!(made.status.success(), "{}", said(&made));
}

/// Nine devices that one had paired had nine parts more of the quota.
#[tokio::test]
async fn a_device_and_those_that_it_pairs_have_one_part_of_the_quota_together() {
    let directory = tempfile::TempDir::with_prefix("duologue-drop-").unwrap();
    let server = Server::dev_with(&["--drop", directory.path().to_str().unwrap(), "--drop-quota", "1kB"]).await;
    let first = within(20, "a line", stranger().connect(&target(server.link()))).await.unwrap();
    let stored = async |line: &Line, number: usize, size: usize| {
        let (held, mut read, mut write) = begin(line, number, size).await;
        if held["error"].is_null() {
            write.write_all(&vec![0x5a; size]).await.unwrap();
            write.shutdown().await.unwrap();
            return answer(&mut read).await;
        }
        held
    };
    let file = stored(&first, 1, 400).await;
    assert_eq!(file["size"], 400, "{file}");
    let mut last = first.clone();
    let mut lines = vec![first];
    // The second is let in by the first, the third by the second.
    for number in 2..=3 {
        let pairing = within(20, "a link", last.request("pair", "")).await.unwrap();
        let pairing: Value = serde_json::from_slice(&pairing).unwrap();
        let link = target(pairing["link"].as_str().expect("a link"));
        last = within(20, "a line", stranger().connect(&link)).await.unwrap();
        let refused = stored(&last, number, 150).await;
        assert_eq!(refused["error"], "too-large", "{refused}");
        let why = refused["message"].as_str().unwrap_or_default();
        assert!(why.contains("was let in by, holds 400 bytes"), "{refused}");
        lines.push(last.clone());
    }
    // Who owes nothing to them has a part of his own.
    let other = within(20, "a line", stranger().connect(&target(&server.invite("1h").await))).await.unwrap();
    let file = stored(&other, 4, 250).await;
    assert_eq!(file["size"], 250, "{file}");
}
