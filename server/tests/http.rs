//! The service `http` before backends that do not behave: bare sockets, which say what the test wants.
#![allow(missing_docs, reason = "tests are named for their scenario")]

use std::{future::Future, time::Duration};

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
    let line = Client::new(Keyring::in_memory()).connect(&target).await.expect("the invite is good");
    (line, directory)
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
