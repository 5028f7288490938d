//! A word to a device, or to somebody, by the local API, and what became of it; and who comes and goes, as it happens.
#![allow(missing_docs, reason = "tests are named for their scenario")]

use std::{process::Command, time::Duration};

use duologue::{ChannelError, DeviceId, ResetCode};
use duologue_client::{Client, Keyring, Line, Target};
use duologue_server::{Duologue, Listening, Policy, State, axum::Router, listen, serve};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    time::{Instant, timeout},
};

/// A running server with its local API, and the way to it, which can be cut.
struct Bench {
    directory: TempDir,
    state: State,
    address: String,
    cut: watch::Sender<bool>,
    _listening: Listening,
}

impl Bench {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = State::open(directory.path()).expect("a new state");
        let duologue = Duologue::new(state.clone(), Policy::loopback());
        let listening = listen(state.clone(), duologue.clone()).expect("a socket");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let server = listener.local_addr().expect("it is bound");
        let app: Router = duologue.router();
        tokio::spawn(serve(listener, None, app, Default::default()));

        let way = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", way.local_addr().expect("it is bound"));
        let (cut, is_cut) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut here, _)) = way.accept().await {
                let mut is_cut = is_cut.clone();
                tokio::spawn(async move {
                    if *is_cut.borrow_and_update() {
                        return;
                    }
                    let Ok(mut there) = TcpStream::connect(server).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut here, &mut there) => {}
                        _ = is_cut.wait_for(|is_cut| *is_cut) => {}
                    }
                });
            }
        });
        Self { directory, state, address, cut, _listening: listening }
    }

    /// A device that the owner has let in, as somebody's if that is said.
    async fn device(&self, subject: Option<&str>) -> (Line, String) {
        let mut asked = json!({ "expires_secs": 60, "url": self.address });
        if let Some(subject) = subject {
            asked["subject"] = subject.into();
        }
        let (status, made) = self.ask("/invites", &[], asked.to_string().as_bytes()).await;
        assert_eq!(status, 201, "{made}");
        let link = made["link"].as_str().expect("a link");
        let keyring = Keyring::in_memory();
        let device = DeviceId::of_spki(keyring.device().spki());
        let line = Client::new(keyring).connect(&Target::parse(link).expect("a link")).await.expect("it is let in");
        (line, device.to_string())
    }

    /// Posts something to the local API, as curl would.
    async fn ask(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Value) {
        let mut stream = UnixStream::connect(self.directory.path().join("control.sock")).await.expect("a socket");
        let mut head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        stream.write_all(head.as_bytes()).await.expect("it is read");
        // Whoever says too much is answered before all of it is read.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await.expect("an answer");
        let answer = String::from_utf8(answer).expect("text");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        (status, serde_json::from_str(body).expect("JSON"))
    }
}

fn to(device: &str, query: &str) -> String {
    format!("/devices/{device}/messages?label=news{query}")
}

/// The next word that was said there.
async fn heard(line: &Line) -> Vec<u8> {
    let next = async {
        // Somebody hears too that she has come at another device.
        let channel = loop {
            let channel = line.accept().await.expect("a channel of the server's");
            if channel.label() == "news" {
                break channel;
            }
        };
        let message = channel.recv().await.expect("a message").expect("one");
        assert_eq!(channel.recv().await, Ok(None), "and no other");
        // Dropped without a word, it would be cancelled.
        channel.finish();
        message
    };
    timeout(Duration::from_secs(10), next).await.expect("something is said")
}

fn told(delivery: &str, devices: &[(&str, &str)]) -> Value {
    let one = |(device, delivery): &(&str, &str)| json!({ "device": device, "delivery": delivery });
    json!({ "delivery": delivery, "devices": devices.iter().map(one).collect::<Vec<_>>() })
}

#[tokio::test]
async fn a_word_to_a_device_is_taken_there_and_the_answer_says_so() {
    let bench = Bench::start().await;
    let (line, device) = bench.device(None).await;
    let longest = vec![7; 1_024 * 1_024];
    for message in [&b"the kettle boils"[..], b"", &longest] {
        let path = to(&device, "");
        let (answer, heard) = tokio::join!(bench.ask(&path, &[], message), heard(&line));
        assert_eq!(answer, (200, told("taken", &[(&device, "taken")])));
        assert!(heard == message, "{} bytes came of {}", heard.len(), message.len());
    }
    let (status, refused) = bench.ask(&to(&device, ""), &[], &vec![7; 1_024 * 1_024 + 1]).await;
    assert_eq!((status, &refused["error"]), (413, &json!("body-too-long")));
    for (path, status, error) in [
        (to(&DeviceId([7; 32]).to_string(), ""), 404, "unknown-device"),
        (to("xyz", ""), 400, "no-device-id"),
        (to(&device, "&deadline_ms=never"), 400, "bad-query"),
        (format!("/devices/{device}/messages"), 400, "bad-query"),
        ("/subjects/%E2%80%AEada/messages?label=news".to_owned(), 400, "bad-subject"),
    ] {
        let (answered, refused) = bench.ask(&path, &[], b"hello").await;
        assert_eq!((answered, &refused["error"]), (status, &json!(error)), "{path}: {refused}");
    }
    let (status, refused) = bench.ask(&to(&device, ""), &[("sec-fetch-site", "same-origin")], b"hello").await;
    assert_eq!((status, &refused["error"]), (403, &json!("browser")));
    line.close(duologue::CloseCode::Normal, "");
    line.closed().await;
    let gone = async {
        while bench.ask(&to(&device, "&deadline_ms=1"), &[], b"hello").await.1 != told("not here", &[]) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.expect("a device that has gone is not here");
}

#[tokio::test]
async fn what_nobody_takes_in_time_is_unknown_and_what_could_not_leave_was_not_sent() {
    let bench = Bench::start().await;
    let (line, device) = bench.device(None).await;
    let path = to(&device, "&deadline_ms=200");
    let (answer, channel) = tokio::join!(bench.ask(&path, &[], b"hello"), line.accept());
    assert_eq!(answer, (200, told("unknown", &[(&device, "unknown")])));
    let channel = channel.expect("it has come");
    assert_eq!(channel.broken().await, ChannelError::Reset(ResetCode::Deadline));

    bench.cut.send(true).expect("there is a way");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = Instant::now();
    assert_eq!(bench.ask(&path, &[], b"too late").await, (200, told("not here", &[(&device, "not here")])));
    assert!(before.elapsed() >= Duration::from_millis(200), "it could have come back");
    // In the tunnel, and out of it in time.
    let path = to(&device, "&deadline_ms=30000");
    let back = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        bench.cut.send(false).expect("there is a way");
    };
    let (answer, heard, ()) = tokio::join!(bench.ask(&path, &[], b"in time"), heard(&line), back);
    assert_eq!(answer, (200, told("taken", &[(&device, "taken")])));
    assert_eq!(heard, b"in time", "what was not sent has not come");
}

#[tokio::test]
async fn what_is_asked_again_under_its_key_is_said_once() {
    let bench = Bench::start().await;
    let (line, device) = bench.device(None).await;
    let (path, key) = (to(&device, ""), [("idempotency-key", "7f3a")]);
    let (first, second, heard_once) =
        tokio::join!(bench.ask(&path, &key, b"pay"), bench.ask(&path, &key, b"pay"), heard(&line));
    assert_eq!((&first, heard_once), (&(200, told("taken", &[(&device, "taken")])), b"pay".to_vec()));
    assert_eq!(first, second);
    assert_eq!(bench.ask(&path, &key, b"pay").await, first);
    let (status, refused) = bench.ask(&path, &key, b"pay more").await;
    assert_eq!((status, &refused["error"]), (409, &json!("key-used")));
    let (status, refused) = bench.ask(&path, &[("idempotency-key", "")], b"pay").await;
    assert_eq!((status, &refused["error"]), (400, &json!("bad-key")));
    // Another device, another key: each is another message, and the first was said once.
    let (other, second_device) = bench.device(None).await;
    let path = to(&second_device, "");
    let (answer, heard_there) = tokio::join!(bench.ask(&path, &key, b"pay"), heard(&other));
    assert_eq!((answer.0, heard_there), (200, b"pay".to_vec()));
    assert!(timeout(Duration::from_millis(100), line.accept()).await.is_err(), "it was said once");
    // Where nobody was, nothing was done: asked again, it is said.
    bench.cut.send(true).expect("there is a way");
    let (path, key) = (to(&device, "&deadline_ms=5000"), [("idempotency-key", "8a")]);
    let short = to(&device, "&deadline_ms=100");
    assert_eq!(bench.ask(&short, &key, b"pay").await.1, told("not here", &[(&device, "not here")]));
    bench.cut.send(false).expect("there is a way");
    let (answer, heard) = tokio::join!(bench.ask(&path, &key, b"pay"), heard(&line));
    assert_eq!((answer.1, heard), (told("taken", &[(&device, "taken")]), b"pay".to_vec()));
    let twice = [("idempotency-key", "9"), ("idempotency-key", "9")];
    assert_eq!(bench.ask(&path, &twice, b"pay").await.0, 400);
}

#[tokio::test]
async fn a_word_to_somebody_goes_where_that_one_came_last_or_to_each_in_turn() {
    let bench = Bench::start().await;
    let (first, first_id) = bench.device(Some("ada")).await;
    // Which came last is told in whole seconds.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let (last, last_id) = bench.device(Some("ada")).await;
    let (_other, _) = bench.device(Some("bob")).await;
    let newest = "/subjects/ada/messages?label=news";
    let (answer, heard_there) = tokio::join!(bench.ask(newest, &[], b"hello"), heard(&last));
    assert_eq!(answer, (200, told("taken", &[(&last_id, "taken")])));
    assert_eq!(heard_there, b"hello");
    let each = "/subjects/ada/messages?label=news&to=each";
    let (answer, _, _) = tokio::join!(bench.ask(each, &[], b"hello"), heard(&last), heard(&first));
    assert_eq!(answer, (200, told("taken", &[(&last_id, "taken"), (&first_id, "taken")])));
    assert_eq!(bench.ask("/subjects/eve/messages?label=news", &[], b"hello").await, (200, told("not here", &[])));
    // Released, the device is nobody's.
    let (status, _) = bench.ask(&format!("/devices/{last_id}/release"), &[], b"").await;
    assert_eq!(status, 200);
    let (answer, _) = tokio::join!(bench.ask(newest, &[], b"hello"), heard(&first));
    assert_eq!(answer, (200, told("taken", &[(&first_id, "taken")])));
}

#[tokio::test]
async fn messages_that_nobody_reads_leave_places_for_the_owners_verbs() {
    let bench = Bench::start().await;
    let (_line, device) = bench.device(None).await;
    let path = to(&device, "&deadline_ms=3000");
    let many = futures_util::future::join_all((0..40).map(|_| bench.ask(&path, &[], b"hello")));
    let verb = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = Instant::now();
        let gone = format!("/devices/{}/revoke", DeviceId([7; 32]));
        assert_eq!(bench.ask(&gone, &[], b"").await.0, 404);
        before.elapsed()
    };
    let (answers, verb) = tokio::join!(many, verb);
    assert!(verb < Duration::from_secs(2), "the owner has waited for {verb:?}");
    let count = |status: u16| answers.iter().filter(|(is, _)| *is == status).count();
    assert_eq!((count(200), count(503)), (16, 24));
}

#[tokio::test]
async fn a_datagram_is_said_at_most_once_and_nobody_tells_whether_it_arrived() {
    let bench = Bench::start().await;
    let (line, device) = bench.device(None).await;
    let path = to(&device, "&datagram=true&deadline_ms=1000");
    let heard = async {
        let channel = line.accept().await.expect("a channel of the server's");
        channel.recv_datagram().await.expect("a datagram")
    };
    let (answer, heard) = tokio::join!(bench.ask(&path, &[], b"52.5 N"), heard);
    assert_eq!((answer, &*heard), ((200, told("unknown", &[(&device, "unknown")])), &b"52.5 N"[..]));
    let (status, refused) = bench.ask(&path, &[], &vec![7; 16 * 1_024 + 1]).await;
    assert_eq!((status, &refused["error"]), (413, &json!("message-too-long")));
}

/// Reads server-sent events, until one is of that kind.
async fn event(stream: &mut BufReader<UnixStream>, kind: &str) -> (String, Value) {
    let next = async {
        let (mut id, mut is_it) = (String::new(), false);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.expect("it goes on");
            match line.trim_end().split_once(": ") {
                Some(("id", number)) => id = number.to_owned(),
                Some(("event", event)) => is_it = event == kind,
                Some(("data", data)) if is_it => return (id, serde_json::from_str(data).expect("JSON")),
                _ => assert!(!line.is_empty(), "it has ended"),
            }
        }
    };
    timeout(Duration::from_secs(10), next).await.expect("it happens")
}

#[tokio::test]
async fn who_comes_and_goes_is_told_as_it_happens_and_from_where_one_was_cut_off() {
    let bench = Bench::start().await;
    let live = async |more: &str| {
        let mut stream = UnixStream::connect(bench.directory.path().join("control.sock")).await.expect("a socket");
        let head = format!("GET /events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n{more}\r\n");
        stream.write_all(head.as_bytes()).await.expect("it is read");
        BufReader::new(stream)
    };
    let mut all = live("").await;
    let (line, device) = bench.device(Some("ada")).await;
    let (number, open) = event(&mut all, "line-open").await;
    assert_eq!(open["device"], json!(device));
    assert!(number.ends_with(&format!("-{}", open["number"])), "{number}");
    // Whoever was cut off hears what there was since, once.
    drop(all);
    line.close(duologue::CloseCode::Normal, "");
    line.closed().await;
    let mut again = live(&format!("last-event-id: {number}\r\n")).await;
    let (_, ended) = event(&mut again, "line-ended").await;
    assert_eq!(ended["device"], json!(device));
    assert!(ended["number"].as_u64() > open["number"].as_u64());
    // Of another run of the server, and of no server, everything that is kept.
    for other in [format!("7.7-{}", ended["number"]), "x".to_owned()] {
        let (_, first) = event(&mut live(&format!("last-event-id: {other}\r\n")).await, "line-open").await;
        assert_eq!(first["device"], json!(device));
    }
    // Sixteen at a time, once those who have gone are forgotten; the verbs have the other places.
    drop(again);
    let mut held = Vec::new();
    let mut refused = 0;
    while refused == 0 || held.len() < 16 {
        let (mut status, mut stream) = (String::new(), live("").await);
        stream.read_line(&mut status).await.expect("an answer");
        match status.contains("200") {
            true => held.push(stream),
            false => {
                assert!(status.contains("503") && refused < 1_000, "{status}");
                refused += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    assert_eq!(held.len(), 16);
    assert_eq!(bench.ask("/subjects/ada/messages?label=news", &[], b"hello").await.1["delivery"], "not here");
}

#[tokio::test]
async fn the_verb_says_it_and_exits_by_what_became_of_it() {
    let bench = Bench::start().await;
    let (line, device) = bench.device(None).await;
    let directory = bench.directory.path().to_owned();
    let say = move |device: &str, more: &[&str]| {
        let mut say = Command::new(env!("CARGO_BIN_EXE_duologue"));
        say.args(["say", device, "--label", "news", "--text", "supper"]).args(more);
        say.arg("--state").arg(&directory);
        let run = tokio::task::spawn_blocking(move || say.output().expect("it runs"));
        async move {
            let output = run.await.expect("it ends");
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        }
    };
    let (said, heard) = tokio::join!(say(&device, &[]), heard(&line));
    assert_eq!(said, (Some(0), format!("{device}  taken"), String::new()));
    assert_eq!(heard, b"supper");
    let (code, _, error) = say(&device, &["--deadline", "500ms"]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("nobody knows whether it was taken"), "{error}");
    let (code, _, error) = say("xyz", &[]).await;
    assert!(code == Some(1) && error.contains("is no device id"), "{error}");
    for (more, said) in [(["--deadline", "2m"], "50s at most"), (["--subject", "ada"], "cannot be used with")] {
        let (code, _, error) = say(&device, &more).await;
        assert!(code == Some(2) && error.contains(said), "{error}");
    }
    drop(bench.state);
}
