//! Sessions that are kept go on after a kill, a stop and a hand-over of the server, over real TLS: what becomes of each message.
//! `tests/forms.json` says how often the server is killed.
#![allow(missing_docs, reason = "tests are named for their scenario")]

mod handing;
mod running;
mod site;

use std::{
    collections::VecDeque,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use duologue_client::{ChannelError, Delivery, Line, LineError, ResetCode};
use handing::{Handed, config, until};
use running::free_port;
use site::Server;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

const KILLS: &str = "a_server_that_is_killed_under_traffic_goes_on_with_its_sessions_and_each_message_arrives_once";
const CLIENTS: u64 = 20;
/// Messages that a client has on their way.
const AHEAD: u64 = 6;
const KEEP: &str = "[sessions]\nkeep = true\n[[rule]]\nopen = [\"*\", \"owner\"]\n";

fn kills_of_this_run() -> u64 {
    let forms: serde_json::Value = serde_json::from_str(include_str!("../../tests/forms.json")).expect("it is JSON");
    let form = forms.as_array().and_then(|forms| forms.iter().find(|form| form["test"] == KILLS)).expect("its form");
    let is_long = std::env::var_os("DUOLOGUE_LONG").is_some_and(|value| value == "1");
    form[if is_long { "whole" } else { "small" }].as_u64().expect("a number")
}

/// What became of a client's messages.
#[derive(Debug, Default)]
struct Told {
    taken: u64,
    unknown: u64,
    not_sent: u64,
    /// Bytes of streams that came back.
    streamed: u64,
    /// Channels that ended before their time: the session did not go on.
    broken: u64,
}

/// Sends numbers, some of them with much behind, and hears each again: once, and in its place.
async fn talk(line: Line, heard: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Told {
    let mut told = Told::default();
    loop {
        let channel = line.channel("echo").expect("the line lives");
        let (mut next, mut seen, mut on_their_way) = (0_u64, 0_u64, VecDeque::new());
        let ended = loop {
            while !stop.load(Ordering::Relaxed) && next < seen + AHEAD {
                let mut message = next.to_be_bytes().to_vec();
                message.resize(if next % 40 == 39 { 100_000 } else { 64 }, 7);
                match channel.send(message).await {
                    Ok(sent) => on_their_way.push_back(sent),
                    Err(_) => break,
                }
                next += 1;
            }
            if seen == next && stop.load(Ordering::Relaxed) {
                break false;
            }
            match channel.recv().await {
                Ok(Some(message)) => {
                    let number = message.first_chunk().map(|number| u64::from_be_bytes(*number));
                    assert_eq!(number, Some(seen), "each comes back once, and in its place");
                    seen += 1;
                    heard.fetch_add(1, Ordering::Relaxed);
                    let sent: duologue_client::Sent = on_their_way.pop_front().expect("it was sent");
                    sent.taken().await.expect("its echo has come");
                    told.taken += 1;
                }
                Ok(None) | Err(_) => break true,
            }
        };
        for sent in on_their_way {
            match sent.taken().await {
                Ok(()) => told.taken += 1,
                Err(LineError::NotTaken(Delivery::NotSent)) => told.not_sent += 1,
                Err(LineError::NotTaken(Delivery::Unknown)) => told.unknown += 1,
                Err(other) => panic!("{other}"),
            }
        }
        told.broken += u64::from(ended);
        if !ended {
            return told;
        }
    }
}

/// The same in a stream of bytes, each of which says its place.
async fn stream(line: Line, heard: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Told {
    let mut told = Told::default();
    'streams: loop {
        let mut stream = line.stream("echo").expect("the line lives");
        let (mut written, mut read) = (0_u64, 0_u64);
        let place = |at: u64| u8::try_from(at % 251).expect("a byte");
        while !stop.load(Ordering::Relaxed) || read < written {
            if !stop.load(Ordering::Relaxed) && written < read + 40_000 {
                let bytes: Vec<_> = (written..written + 10_000).map(place).collect();
                if stream.write_all(&bytes).await.is_err() {
                    told.broken += 1;
                    continue 'streams;
                }
                written += 10_000;
            }
            let mut bytes = vec![0; 16_384];
            let Ok(len @ 1..) = stream.read(&mut bytes).await else {
                told.broken += 1;
                continue 'streams;
            };
            for byte in &bytes[..len] {
                assert_eq!(*byte, place(read), "byte {read} comes back once, and in its place");
                read += 1;
            }
            heard.fetch_add(1, Ordering::Relaxed);
        }
        told.streamed += stream.taken();
        return told;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_under_traffic_goes_on_with_its_sessions_and_each_message_arrives_once() {
    let port = free_port();
    let mut handed = Handed::start_at(port, &config(port, "", KEEP));
    let (stop, mut heard, mut talking) = (Arc::<AtomicBool>::default(), Vec::new(), JoinSet::new());
    let mut lines = Vec::new();
    for number in 0..CLIENTS {
        let (_, line) = handed.line().await;
        heard.push(Arc::<AtomicU64>::default());
        let (heard, stop) = (Arc::clone(&heard[heard.len() - 1]), Arc::clone(&stop));
        match number % 4 {
            3 => talking.spawn(stream(line.clone(), heard, stop)),
            _ => talking.spawn(talk(line.clone(), heard, stop)),
        };
        lines.push(line);
    }
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let (mut chance, kills, mut back) = (fastrand::Rng::with_seed(seed), kills_of_this_run(), Duration::ZERO);
    for _ in 0..kills {
        let before: Vec<_> = heard.iter().map(|heard| heard.load(Ordering::Relaxed)).collect();
        let goes_on = || heard.iter().zip(&before).all(|(heard, before)| heard.load(Ordering::Relaxed) > *before);
        until("everybody is heard", goes_on).await;
        tokio::time::sleep(Duration::from_millis(chance.u64(0..150))).await;
        let begun = Instant::now();
        tokio::task::block_in_place(|| handed.kill_and_start());
        back += begun.elapsed();
    }
    let before: Vec<_> = heard.iter().map(|heard| heard.load(Ordering::Relaxed)).collect();
    until("everybody is heard", || {
        heard.iter().zip(&before).all(|(heard, before)| heard.load(Ordering::Relaxed) > *before)
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Told::default();
    while let Some(told) = talking.join_next().await {
        let told = told.expect("each message once, and in its place");
        all.taken += told.taken;
        all.unknown += told.unknown;
        all.not_sent += told.not_sent;
        all.streamed += told.streamed;
        all.broken += told.broken;
    }
    let resumptions = kills * CLIENTS;
    println!(
        "{kills} kills, {CLIENTS} clients: {} of {resumptions} sessions went on; {} messages taken, {} unknown, {} not sent; \
         {} bytes of streams; {} ms to be back",
        resumptions - all.broken,
        all.taken,
        all.unknown,
        all.not_sent,
        all.streamed,
        back.as_millis() / u128::from(kills)
    );
    assert!(all.broken * 100 <= resumptions, "{} of {resumptions} sessions did not go on", all.broken);
    let log = handed.site.log();
    assert!(!log.contains("panicked"), "{log}");
}

/// One message there and back on a channel that is open.
async fn echo(channel: &duologue_client::Channel, text: &str) {
    channel.send(text.to_owned()).await.expect("it is open").taken().await.expect("echo takes it");
    assert_eq!(channel.recv().await, Ok(Some(text.as_bytes().to_vec())), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_go_on_is_told_by_name_after_a_kill_a_stop_and_a_hand_over_and_the_rest_goes_on() {
    let port = free_port();
    let mut handed = Handed::start_at(port, &config(port, "", KEEP));
    let (_, line) = handed.line().await;
    let echoes = line.channel("echo").expect("it is open");
    echo(&echoes, "before").await;
    let owner = line.channel("owner").expect("it is open");
    owner.send(r#"{"ask":"look"}"#).await.expect("it is open");
    assert!(owner.recv().await.is_ok_and(|seen| seen.is_some()));

    tokio::task::block_in_place(|| handed.kill_and_start());
    let ended = owner.recv().await;
    assert_eq!(ended, Err(LineError::Channel(ChannelError::Reset(ResetCode::GoingAway))));
    echo(&echoes, "after a kill").await;
    drop(owner);
    // The server has let go of it too, before it looks what it hands over.
    echo(&echoes, "and a while").await;

    // One that fails at once changes nothing, and one that fails when the state has changed hands already goes on with what was kept.
    handed.configure("", "[[rule]]\nopne = [\"*\"]\n");
    let (code, ..) = tokio::task::block_in_place(|| handed.site.try_verb(&["hand-over"]));
    handed.configure("", KEEP);
    assert_eq!(code, 1);
    echo(&echoes, "after a hand-over that came to nothing at once").await;
    let journal = handed.site.state().join("revocations.journal");
    let aside = journal.with_extension("aside");
    std::fs::rename(&journal, &aside).expect("moved");
    std::fs::create_dir(&journal).expect("made");
    let (code, _, wrong) = tokio::task::block_in_place(|| handed.site.try_verb(&["hand-over"]));
    assert!(code == 1 && wrong.contains("the journal of revocations"), "{wrong}");
    std::fs::remove_dir(&journal).expect("it is empty");
    std::fs::rename(&aside, &journal).expect("moved");
    echo(&echoes, "after a hand-over that came to nothing").await;
    tokio::task::block_in_place(|| handed.hand_over());
    echo(&echoes, "after a hand-over").await;
    handing::kill("TERM", handed.serving());
    // It may end while it answers.
    let has_ended = || matches!(handed.site.try_verb(&["state"]), (0, said, _) if !said.contains("runs"));
    until("it has ended", has_ended).await;
    handed.start_again();
    echo(&echoes, "after a stop").await;
    // One who has something that cannot go on is drained as ever: its channels come to their end, or are told by their name.
    let (_, other) = handed.line().await;
    let desk = other.channel("owner").expect("it is open");
    desk.send(r#"{"ask":"look"}"#).await.expect("it is open");
    assert!(desk.recv().await.is_ok_and(|seen| seen.is_some()));
    tokio::task::block_in_place(|| handed.hand_over());
    assert_eq!(desk.recv().await, Err(LineError::Channel(ChannelError::Reset(ResetCode::GoingAway))));
    echo(&echoes, "after all").await;
    assert_eq!(other.request("echo", "again").await, Ok(b"again".to_vec()));
}

/// The next line of a stream, without its end.
async fn next_line(stream: &mut duologue_client::ByteStream) -> String {
    let mut line = Vec::new();
    loop {
        let byte = stream.read_u8().await.expect("it goes on");
        if byte == b'\n' {
            return String::from_utf8(line).expect("text");
        }
        line.push(byte);
    }
}

/// Answers the second request that it hears, and counts them.
fn backend() -> (u16, Arc<AtomicU64>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let count = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for tcp in listener.incoming() {
            let Ok(mut tcp) = tcp else { return };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if !matches!(std::io::Read::read(&mut tcp, &mut byte), Ok(1)) {
                    break;
                }
                head.extend(byte);
            }
            if counted.fetch_add(1, Ordering::SeqCst) < 2 {
                // Its server is killed while it waits.
                held.push(tcp);
                continue;
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nagain";
            std::io::Write::write_all(&mut tcp, answer).expect("written");
        }
    });
    (port, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_at_its_byte_and_a_request_that_may_be_repeated_is_asked_again() {
    let (backend, asked) = backend();
    let port = free_port();
    let tables = format!(
        "{KEEP}[services.drop]\ndirectory = \"dropped\"\n[services.http]\nbackend = \"http://127.0.0.1:{backend}\"\n"
    );
    let mut handed = Handed::start_at(port, &config(port, "", &tables));
    let (_, line) = handed.line().await;
    let request = async |method: &str| {
        let mut stream = line.stream("http").expect("the line lives");
        let head = format!("{{\"method\":\"{method}\",\"target\":\"/\",\"headers\":[],\"length\":0}}\n");
        stream.write_all(head.as_bytes()).await.expect("it is open");
        stream.shutdown().await.expect("it is open");
        stream
    };
    let (mut get, mut post) = (request("GET").await, request("POST").await);
    until("both are with the backend", || asked.load(Ordering::SeqCst) == 2).await;

    let bytes: Vec<_> = (0..3_000_000_u32).map(|at| u8::try_from(at * 7 % 251).expect("a byte")).collect();
    let mut file = line.stream("drop").expect("the line lives");
    let id = "0123456789abcdef0123456789abcdef";
    let header = format!("{{\"name\":\"a\",\"size\":{},\"upload\":\"{id}\"}}\n", bytes.len());
    file.write_all(header.as_bytes()).await.expect("it is open");
    assert!(next_line(&mut file).await.starts_with("{\"offset\":0,"));
    for (number, part) in bytes.chunks(300_000).enumerate() {
        file.write_all(part).await.expect("it goes on");
        if number % 4 == 1 {
            tokio::time::sleep(Duration::from_millis(30)).await;
            tokio::task::block_in_place(|| handed.kill_and_start());
        }
    }
    file.shutdown().await.expect("it goes on");
    let receipt = next_line(&mut file).await;
    assert!(receipt.starts_with("{\"name\":\"a\",\"size\":3000000,"), "{receipt}");
    assert!(std::fs::read(handed.site.directory.path().join("dropped/a")).expect("it is there") == bytes);

    assert!(next_line(&mut get).await.starts_with("{\"status\":200,"));
    let mut body = String::new();
    get.read_to_string(&mut body).await.expect("it is whole");
    assert_eq!(body, "again");
    let mut byte = [0];
    let ended = post.read(&mut byte).await.expect_err("nobody knows what became of it");
    assert!(ended.to_string().contains("being replaced"), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_has_no_session_and_an_older_copy_of_the_state_makes_nobody_hear_anything_twice() {
    let port = free_port();
    let mut handed = Handed::start_at(port, &config(port, "", KEEP));
    let (_, line) = handed.line().await;
    let channel = line.channel("echo").expect("it is open");
    echo(&channel, "one").await;
    let stop = |server: &mut Server| {
        server.process.kill().expect("it runs");
        server.process.wait().expect("it ends");
    };
    // As of a snapshot of its machine: sessions are in it, with counts of the past.
    stop(&mut handed.first);
    let (state, copy) = (handed.site.state(), handed.site.directory.path().join("copy"));
    copy_directory(&state, &copy);
    handed.start_again();
    for number in 0..20 {
        echo(&channel, &number.to_string()).await;
    }
    stop(&mut handed.first);
    std::fs::remove_dir_all(&state).expect("it is there");
    copy_directory(&copy, &state);
    handed.start_again();
    let ended = channel.recv().await;
    assert!(matches!(ended, Err(LineError::Connection(_))), "{ended:?}");
    assert_eq!(line.request("echo", "anew").await, Ok(b"anew".to_vec()));

    // A backup has none.
    let channel = line.channel("echo").expect("it is open");
    echo(&channel, "two").await;
    let backup = handed.site.directory.path().join("backup");
    handed.site.verb(&["backup", backup.to_str().expect("text")]);
    stop(&mut handed.first);
    std::fs::remove_dir_all(&state).expect("it is there");
    handed.site.verb(&["restore", backup.to_str().expect("text")]);
    handed.start_again();
    let ended = channel.recv().await;
    let Err(LineError::Connection(cause)) = ended else { panic!("{ended:?}") };
    assert!(cause.to_string().contains("started again"), "{cause}");
    assert_eq!(line.request("echo", "anew").await, Ok(b"anew".to_vec()));
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("it can be made");
    for entry in std::fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("it can be read");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().expect("it is known") {
            kind if kind.is_dir() => copy_directory(&from, &to),
            kind if kind.is_file() => drop(std::fs::copy(from, to).expect("it can be copied")),
            // The control socket.
            _ => {}
        }
    }
}
