//! The service `http` before backends that do not behave: bare sockets, which say what the test wants.
#![allow(missing_docs, reason = "tests are named for their scenario")]

use std::{
    collections::VecDeque,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::Router;
use duologue::{ChannelError, CloseCode, ResetCode};
use duologue_client::{Client, Keyring, Line, LineError, Target};
use duologue_native::ByteStream;
use duologue_server::{Duologue, Policy, State, serve, services::http::Http};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

const GET: &[u8] = b"{\"method\":\"GET\",\"target\":\"/\",\"headers\":[],\"length\":0}\n";
const POST: &[u8] = b"{\"method\":\"POST\",\"target\":\"/\",\"headers\":[]}\n";

/// A line to a server whose backend treats each connection like this.
async fn start<T: Future<Output = ()> + Send + 'static>(
    backend: impl Fn(TcpStream) -> T + Send + 'static,
) -> (Line, tempfile::TempDir) {
    let (client, target, directory) = server_before(backend).await;
    (client.connect(&target).await.expect("the invite is good"), directory)
}

/// A server whose backend treats each connection like this, and a device that it lets in.
async fn server_before<T: Future<Output = ()> + Send + 'static>(
    backend: impl Fn(TcpStream) -> T + Send + 'static,
) -> (Client, Target, tempfile::TempDir) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(backend(socket));
        }
    });
    let http = Http::new(&address).expect("an address").answer_within(Duration::from_millis(300));

    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = State::open(directory.path()).expect("a new state");
    let invite = state.new_invite(Duration::from_secs(60)).expect("an invite");
    let duologue = Duologue::new(state, Policy::loopback()).service("http", http);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    let app = Router::new().route("/line", duologue.route());
    tokio::spawn(serve(listener, None, app, Default::default()));
    let target = Target::parse(&invite.to_link(&address)).expect("a link");
    (Client::new(Keyring::in_memory()), target, directory)
}

/// Reads a request's head.
async fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).expect("ASCII")
}

async fn ask(line: &Line, bytes: &[u8]) -> ByteStream {
    let mut stream = line.stream("http").expect("the line is open");
    stream.write_all(bytes).await.expect("there is room");
    stream
}

/// All that is answered, and whether it ended as a whole answer does.
async fn all(mut stream: ByteStream) -> (Vec<u8>, Result<(), std::io::Error>) {
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    (answer, read.expect("an end within 10 s").map(drop))
}

async fn word(line: &Line) -> String {
    let (answer, end) = all(ask(line, GET).await).await;
    end.expect("a refusal is whole");
    let refusal = answer.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let refusal: Value = serde_json::from_slice(refusal).expect("one line");
    refusal["error"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_backend_that_says_nothing_is_too_late() {
    let (line, _directory) = start(|mut socket| async move {
        head(&mut socket).await;
        std::future::pending::<()>().await;
    })
    .await;
    assert_eq!(word(&line).await, "timeout");
}

/// A backend that answers with the cookies that it was sent, and at `/login` sets two, one of them for all that a site has.
async fn with_login() -> (Client, Target, tempfile::TempDir) {
    server_before(|mut socket| async move {
        loop {
            let head = head(&mut socket).await;
            let Some(first) = head.lines().next() else { return };
            let cookies = head.lines().find_map(|line| line.strip_prefix("cookie: ")).unwrap_or("none");
            let set = match first.starts_with("POST /login ") {
                true => "set-cookie: id=1; Domain=example.org; Path=/; HttpOnly\r\nset-cookie: here=2\r\nduologue-vouch: x\r\n",
                false => "",
            };
            let answer = format!("HTTP/1.1 200 OK\r\n{set}content-length: {}\r\n\r\n{cookies}", cookies.len());
            socket.write_all(answer.as_bytes()).await.expect("writes");
        }
    })
    .await
}

fn for_path(method: &str, target: &str, more: &str) -> Vec<u8> {
    format!("{{\"method\":\"{method}\",\"target\":\"{target}\",\"headers\":[],\"length\":0{more}}}\n").into_bytes()
}

#[tokio::test]
async fn a_login_is_kept_at_the_server_and_the_client_never_sees_it() {
    let (client, target, _directory) = with_login().await;
    let line = client.connect(&target).await.expect("the invite is good");
    assert_eq!(end_of(&line, &for_path("GET", "/a", "")).await, "none");
    let (answer, end) = all(ask(&line, &for_path("POST", "/login", "")).await).await;
    end.expect("whole");
    let answer = String::from_utf8(answer).expect("ASCII");
    assert!(!answer.contains("cookie") && !answer.contains("duologue"), "{answer}");
    assert_eq!(end_of(&line, &for_path("GET", "/a?b", "")).await, "id=1; here=2");
    // Without them, where the platform's `fetch` is asked for that; such an answer sets none.
    assert_eq!(end_of(&line, &for_path("POST", "/login", ",\"credentials\":\"omit\"")).await, "none");
    let head = "{\"method\":\"GET\",\"target\":\"/\",\"headers\":[[\"Cookie\",\"id=9\"]],\"length\":0}\n";
    assert_eq!(end_of(&line, head.as_bytes()).await, "bad-request");
}

#[tokio::test]
async fn a_session_has_cookies_of_its_own() {
    let (client, target, _directory) = with_login().await;
    let line = client.connect(&target).await.expect("the invite is good");
    assert_eq!(end_of(&line, &for_path("POST", "/login", "")).await, "none");
    let other = client.connect(&target).await.expect("it was let in");
    assert_eq!(end_of(&other, &for_path("GET", "/", "")).await, "none");
    assert_eq!(end_of(&line, &for_path("GET", "/", "")).await, "id=1; here=2");
}

#[tokio::test]
async fn a_client_that_takes_its_time_is_not_too_late() {
    let (line, _directory) = start(|mut socket| async move {
        head(&mut socket).await;
        let mut body = [0; 13]; // chunks of 1 and 2 bytes, and the last one's first byte
        socket.read_exact(&mut body).await.expect("a body");
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("writes");
    })
    .await;
    let mut stream = ask(&line, POST).await;
    for piece in [&b"a"[..], b"bc"] {
        tokio::time::sleep(Duration::from_millis(700)).await;
        stream.write_all(piece).await.expect("there is room");
    }
    let (answer, end) = all(stream).await;
    end.expect("whole");
    assert!(answer.ends_with(b"]]}\nok"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn what_is_no_answer_is_told_as_such() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(1_000));
    for answer in [
        "",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        "HTTP/1.1 999 Beyond\r\ncontent-length: 0\r\n\r\n",
        &long,
        &many,
    ] {
        let said = answer.to_owned();
        let (line, _directory) = start(move |mut socket| {
            let answer = said.clone();
            async move {
                head(&mut socket).await;
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        })
        .await;
        assert_eq!(word(&line).await, "bad-response", "{answer:.99}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_never_looks_whole() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\nx\r\n",
    ] {
        let (line, _directory) = start(move |mut socket| async move {
            head(&mut socket).await;
            let _ = socket.write_all(answer.as_bytes()).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        })
        .await;
        let (bytes, end) = all(ask(&line, GET).await).await;
        let error = end.expect_err("it is not whole").downcast::<LineError>().expect("the line's");
        assert_eq!(error, LineError::Channel(ChannelError::Reset(ResetCode::Failed)), "{answer:?}");
        assert!(bytes.ends_with(b"12345"), "what came is there: {}", String::from_utf8_lossy(&bytes));
    }
}

#[tokio::test]
async fn a_caller_who_goes_away_takes_the_backends_request_along() {
    let (ended, mut has_ended) = mpsc::unbounded_channel();
    let (begun, mut has_begun) = mpsc::unbounded_channel();
    let (line, _directory) = start(move |mut socket| {
        let (ended, begun) = (ended.clone(), begun.clone());
        async move {
            let head = head(&mut socket).await;
            let _ = begun.send(());
            if head.starts_with("POST") {
                // Takes nothing for a while, until no more fits on the way.
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            let mut rest = Vec::new();
            let _ = socket.read_to_end(&mut rest).await;
            let _ = ended.send(rest.ends_with(b"0\r\n\r\n"));
        }
    })
    .await;
    let mut within = async || {
        let ended = tokio::time::timeout(Duration::from_secs(5), has_ended.recv()).await;
        let looks_whole = ended.expect("the backend's connection ends").expect("it is told");
        assert!(!looks_whole, "a body that was given up is no whole one");
    };

    // While the backend thinks.
    let mut stream = ask(&line, GET).await;
    stream.shutdown().await.expect("ends");
    has_begun.recv().await.expect("begins");
    stream.reset(ResetCode::Cancelled);
    within().await;

    // While it takes a body: when none comes, and when no more fits.
    for len in [0, 64 << 20] {
        let mut stream = ask(&line, POST).await;
        has_begun.recv().await.expect("begins");
        let body = vec![7; len];
        let _ = tokio::time::timeout(Duration::from_millis(150), stream.write_all(&body)).await;
        stream.reset(ResetCode::Cancelled);
        within().await;
    }

    // With the whole line.
    let mut stream = ask(&line, GET).await;
    stream.shutdown().await.expect("ends");
    has_begun.recv().await.expect("begins");
    line.close(CloseCode::Normal, "");
    within().await;
}

#[tokio::test]
async fn a_backend_may_answer_early_and_the_answer_is_whole() {
    let (line, _directory) = start(|mut socket| async move {
        head(&mut socket).await;
        let answer = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 5\r\nconnection: close\r\n\r\nenough";
        socket.write_all(&answer[..answer.len() - 1]).await.expect("writes");
        let mut sink = vec![0; 65_536];
        while socket.read(&mut sink).await.is_ok_and(|len| len > 0) {}
    })
    .await;
    let mut stream = ask(&line, POST).await;
    stream.write_all(&[7; 100_000]).await.expect("there is room");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    read.expect("it comes while the body is not at its end").expect("whole");
    assert!(
        answer.starts_with(b"{\"status\":413,") && answer.ends_with(b"\nenoug"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

/// What a backend does with one request.
#[derive(Clone, Copy)]
enum Does {
    Answers,
    Closes,
    /// With what has come unread, which the other end hears as a reset.
    Resets,
}

/// A line to a backend that does this with the requests of all its connections, one after the other (and answers further
/// ones), and what it was asked: a connection's number and the request's first line and body.
async fn start_with(plan: &[Does]) -> (Line, tempfile::TempDir, mpsc::UnboundedReceiver<(usize, String)>) {
    let (asked, was_asked) = mpsc::unbounded_channel();
    let plan = Arc::new(Mutex::new(plan.iter().copied().collect::<VecDeque<_>>()));
    let connections = Arc::new(AtomicUsize::new(0));
    let (line, directory) = start(move |mut socket| {
        let (plan, asked, number) = (Arc::clone(&plan), asked.clone(), connections.fetch_add(1, Ordering::Relaxed));
        async move {
            loop {
                let head = head(&mut socket).await;
                let Some(first) = head.lines().next() else { return };
                let does = plan.lock().expect("nobody panics").pop_front().unwrap_or(Does::Answers);
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                let mut body = vec![0; length.unwrap_or(0)];
                if !matches!(does, Does::Resets) {
                    socket.read_exact(&mut body).await.expect("a body");
                }
                let body = String::from_utf8(body).expect("ASCII");
                asked.send((number, format!("{first} {}", body.trim_matches('\0')))).expect("the test listens");
                match does {
                    Does::Answers => {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                        socket.write_all(answer).await.expect("writes");
                    }
                    Does::Closes => return,
                    Does::Resets => {
                        socket.set_zero_linger().expect("it is a socket");
                        return;
                    }
                }
            }
        }
    })
    .await;
    (line, directory, was_asked)
}

fn asks(method: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("{{\"method\":\"{method}\",\"target\":\"/\",\"headers\":[],\"length\":{length}}}\n{body}").into_bytes()
}

/// `ok`, or the word of the refusal.
async fn end_of(line: &Line, bytes: &[u8]) -> String {
    let (answer, end) = all(ask(line, bytes).await).await;
    end.expect("answer and refusal are whole");
    let (head, body) = answer.split_at(answer.iter().position(|&byte| byte == b'\n').expect("a line"));
    let head: Value = serde_json::from_slice(head).expect("one line");
    head["error"].as_str().map_or_else(|| String::from_utf8_lossy(&body[1..]).into_owned(), str::to_owned)
}

fn heard(was_asked: &mut mpsc::UnboundedReceiver<(usize, String)>) -> Vec<(usize, String)> {
    std::iter::from_fn(|| was_asked.try_recv().ok()).collect()
}

/// 1 to 2 % of requests once ended as `bad-response` before a backend that closes idle connections.
#[tokio::test]
async fn what_is_safe_to_repeat_is_asked_again_when_a_kept_connection_turns_out_closed() {
    use Does::{Answers, Closes, Resets};
    for ends in [Closes, Resets] {
        for (method, body) in [
            ("GET", ""),
            ("HEAD", ""),
            ("OPTIONS", ""),
            ("DELETE", ""),
            ("PUT", ""),
            ("PUT", "body"),
            ("DELETE", "body"),
        ] {
            let (line, _directory, mut was_asked) = start_with(&[Answers, ends]).await;
            let request = asks(method, body);
            assert_eq!(end_of(&line, GET).await, "ok");
            let expected = if method == "HEAD" { "" } else { "ok" };
            assert_eq!(end_of(&line, &request).await, expected, "{method} {body}");
            let seen: Vec<_> = heard(&mut was_asked).into_iter().map(|(connection, _)| connection).collect();
            assert_eq!(seen, [0, 0, 1], "{method} {body}: on the kept one, then on a new one");
        }
    }
    // All of it, again.
    let (line, _directory, mut was_asked) = start_with(&[Answers, Closes]).await;
    end_of(&line, GET).await;
    end_of(&line, &asks("PUT", &"x".repeat(65_536))).await;
    let seen = heard(&mut was_asked);
    assert_eq!(seen[1].1, seen[2].1);
    assert_eq!(seen[2].1.len(), "PUT / HTTP/1.1 ".len() + 65_536);
}

#[tokio::test]
async fn what_may_not_be_repeated_reaches_the_backend_once() {
    use Does::{Answers, Closes, Resets};
    let long = "x".repeat(65_537);
    for ends in [Closes, Resets] {
        for (method, body) in [("POST", ""), ("POST", "body"), ("PATCH", "body"), ("LOCK", ""), ("PUT", &*long)] {
            let (line, _directory, mut was_asked) = start_with(&[Answers, ends]).await;
            // One of the same kind first, so that its connection is kept for this one.
            assert_eq!(end_of(&line, &asks(method, body)).await, "ok");
            let end = end_of(&line, &asks(method, body)).await;
            assert_eq!(end, "bad-response", "{method}");
            let seen: Vec<_> = heard(&mut was_asked).into_iter().map(|(connection, _)| connection).collect();
            assert_eq!(seen, [0, 0], "{method}");
        }
    }
}

#[tokio::test]
async fn a_backend_is_asked_twice_at_most_and_once_where_it_never_answered() {
    use Does::{Answers, Closes, Resets};
    for ends in [Closes, Resets] {
        let (line, _directory, mut was_asked) = start_with(&[Answers, ends, ends, ends]).await;
        assert_eq!(end_of(&line, GET).await, "ok");
        assert_eq!(end_of(&line, GET).await, "bad-response");
        assert_eq!(heard(&mut was_asked).len(), 3);
        // A new connection that closes says something of the backend.
        let (line, _directory, mut was_asked) = start_with(&[ends, Answers]).await;
        assert_eq!(end_of(&line, GET).await, "bad-response");
        assert_eq!(heard(&mut was_asked).len(), 1);
    }
}

#[tokio::test]
async fn connections_are_kept_shorter_than_backends_keep_them() {
    for (method, used, rests) in [("GET", 500, 1_200), ("POST", 100, 400)] {
        let (line, _directory, mut was_asked) = start_with(&[]).await;
        for pause in [used, rests, 0] {
            assert_eq!(end_of(&line, &asks(method, "")).await, "ok");
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        let seen: Vec<_> = heard(&mut was_asked).into_iter().map(|(connection, _)| connection).collect();
        assert_eq!(seen, [0, 0, 1], "{method}: again after {used} ms, no more after {rests} ms");
    }
}

/// One device's hanging requests once used up the files, and kept everybody out.
#[tokio::test]
async fn a_device_has_32_requests_under_way_and_hears_busy_of_the_next_on_whichever_of_its_lines() {
    const OF_A_DEVICE: usize = 32;
    const PATIENCE: Duration = Duration::from_secs(60);
    let (begun, mut begins) = mpsc::unbounded_channel();
    let (client, target, _directory) = server_before(move |mut socket| {
        let begun = begun.clone();
        async move {
            head(&mut socket).await;
            // An answer that has begun may take as long as it likes.
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n").await.expect("the server reads");
            let _ = begun.send(());
            std::future::pending::<()>().await;
        }
    })
    .await;
    let lines = [client.connect(&target).await, client.connect(&target).await].map(|line| line.expect("it is let in"));
    let mut held = Vec::new();
    let asked = async |number: usize| {
        let mut stream = ask(&lines[number % 2], GET).await;
        stream.shutdown().await.expect("the line is open");
        stream
    };
    for number in 0..OF_A_DEVICE {
        held.push(asked(number).await);
        tokio::time::timeout(PATIENCE, begins.recv()).await.expect("it is asked").expect("the backend is there");
    }
    let (mut answer, mut next) = (Vec::new(), asked(1).await);
    let ended = tokio::time::timeout(PATIENCE, next.read_to_end(&mut answer)).await;
    ended.expect("its turn is given up").expect("a refusal is whole");
    assert!(answer.starts_with(b"{\"error\":\"busy\""), "{}", String::from_utf8_lossy(&answer));
    assert!(begins.try_recv().is_err(), "nothing was asked");
    held.pop();
    held.push(asked(0).await);
    tokio::time::timeout(PATIENCE, begins.recv()).await.expect("there is room").expect("the backend is there");
}
