//! The library as a Rust user meets it: a line mounted into an axum app of one's own, over plain TCP on loopback.
#![allow(missing_docs, reason = "tests are named for their scenario")]

mod captured;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::Router;
use captured::Log;
use duologue::{ChannelError, CloseCode, ConnectionError, DeviceId, ResetCode, limits::MESSAGE_LEN_MAX};
use duologue_client::{Client, EvidenceKind, Keyring, Line, LineError, LineState, Target};
use duologue_server::{
    Call, Conversation, Duologue, JsonChannel, Policy, Revocation, ServiceError, State, answer_json, serve, services,
};
use tokio::{net::TcpListener, sync::mpsc};

/// A running app and a client that it knows.
struct Bench {
    duologue: Duologue,
    client: Client,
    device: DeviceId,
    target: Target,
    _state: tempfile::TempDir,
}

impl Bench {
    async fn start(services: impl FnOnce(Duologue) -> Duologue) -> (Self, Line) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = State::open(directory.path()).expect("a new state");
        let invite = state.new_invite(Duration::from_secs(60)).expect("an invite");
        let duologue = services(Duologue::new(state, Policy::loopback()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("it is bound"));
        let app: Router = duologue.router();
        tokio::spawn(serve(listener, None, app, Default::default()));

        let keyring = Keyring::in_memory();
        let device = DeviceId::of_spki(keyring.device().spki());
        let client = Client::new(keyring).named("bench");
        let target = Target::parse(&invite.to_link(&address)).expect("a link");
        let line = client.connect(&target).await.expect("the invite is good");
        (Self { duologue, client, device, target, _state: directory }, line)
    }
}

#[tokio::test]
async fn the_server_opens_a_channel_to_a_device_by_its_id() {
    let (bench, line) = Bench::start(|duologue| duologue).await;
    let directory = bench.duologue.directory();
    assert_eq!(directory.connected(), [bench.device]);
    let channel = directory.channel(bench.device, "news").expect("it is connected").expect("the line is open");
    let sent = channel.send("hello").await.expect("there is room");
    let news = line.accept().await.expect("a channel of the server's");
    assert_eq!(news.label(), "news");
    assert_eq!(news.recv().await, Ok(Some(b"hello".to_vec())));
    sent.taken().await.expect("it was read");
    assert!(directory.channel(DeviceId([7; 32]), "news").is_none(), "nobody of that id is connected");
}

/// That a message had left, and that its client had taken it, once woke whoever had sent it: 2.6 times an echo in all.
#[tokio::test]
async fn a_service_that_reads_sleeps_until_something_comes_and_one_that_waits_for_a_delivery_hears_of_it() {
    static POLLS: AtomicU32 = AtomicU32::new(0);
    let (_bench, line) = Bench::start(|duologue| {
        let counted = |call: Call| async move {
            let mut echo = std::pin::pin!(services::echo(call));
            std::future::poll_fn(|cx| {
                POLLS.fetch_add(1, Ordering::Relaxed);
                echo.as_mut().poll(cx)
            })
            .await
        };
        duologue.service("echo", counted).service("ask", |call: Call| async move {
            call.channel.send("is it there?").await?.taken().await?;
            call.channel.send("it is").await?;
            Ok(())
        })
    })
    .await;
    let echo = line.channel("echo").expect("the line is open");
    for _ in 0..100 {
        echo.send("here").await.expect("there is room");
        echo.recv().await.expect("an echo").expect("the service goes on");
        // TAKEN is there before the next one comes.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let polls = POLLS.load(Ordering::Relaxed);
    assert!((100..150).contains(&polls), "100 echoes took {polls} polls");
    let ask = line.channel("ask").expect("the line is open");
    for said in ["is it there?", "it is"] {
        assert_eq!(ask.recv().await, Ok(Some(said.as_bytes().to_vec())));
    }
}

#[tokio::test]
async fn a_server_that_verifies_no_tokens_says_so_of_each_and_lowers_nobody() {
    let (bench, line) = Bench::start(|duologue| duologue).await;
    let standing = line.standing().borrow().clone();
    assert_eq!((standing.level, standing.evidence, standing.refused.as_str()), (1, 0, ""));
    drop(line);
    let client = bench.client.clone().with_token("eyJ.first.x");
    let line = client.connect(&bench.target).await.expect("the device is enrolled");
    let mut standing = line.standing();
    let told = standing.borrow_and_update().clone();
    assert_eq!((told.level, told.evidence, told.refused.as_str()), (1, 1, "token-not-taken"), "with AUTH_OK");
    line.show(EvidenceKind::Token, b"eyJ.second.x".to_vec()).expect("it is short");
    standing.changed().await.expect("the line is open");
    assert_eq!(standing.borrow().evidence, 2, "on the open line");
    assert_eq!(line.state(), LineState::Open);
}

#[tokio::test]
async fn signing_out_ends_when_the_server_has_said_so_and_the_ticket_is_gone() {
    let (bench, line) = Bench::start(|duologue| duologue).await;
    line.sign_out().await.expect("the server hears it");
    let standing = line.standing().borrow().clone();
    assert_eq!((standing.level, standing.evidence, standing.refused.as_str()), (1, 1, "signed-out"));
    assert_eq!(line.state(), LineState::Open);
    drop(line);
    // By its key alone.
    let line = bench.client.connect(&bench.target).await.expect("the device is enrolled");
    bench.duologue.revoke(bench.device);
    line.sign_out().await.expect("the server has ended the line");
}

#[tokio::test]
async fn a_client_without_the_token_that_it_is_to_show_does_not_connect() {
    let (bench, _line) = Bench::start(|duologue| duologue).await;
    let client = bench.client.clone().with_token_from(|| async { Err::<String, _>("nobody is signed in") });
    let error = client.connect(&bench.target).await.expect_err("there is no token");
    assert_eq!(error.to_string(), "there is no token to show: nobody is signed in");
    let error = bench.client.clone().with_token("t".repeat(8_185)).connect(&bench.target).await.expect_err("too long");
    assert_eq!(error.to_string(), "there is no token to show: evidence has 1 to 8,184 bytes");
}

#[tokio::test]
async fn a_service_gets_what_is_proved_seen_and_said_apart() {
    let (calls, mut called) = mpsc::unbounded_channel();
    let (bench, line) = Bench::start(|duologue| {
        duologue.service("who", move |call: Call| {
            let calls = calls.clone();
            async move { Ok(calls.send(call)?) }
        })
    })
    .await;
    let _channel = line.channel("who").expect("the line is open");
    let call = called.recv().await.expect("the service was called");
    assert_eq!(call.device(), bench.device);
    assert_eq!((call.transport.address.is_loopback(), call.transport.origin), (true, None));
    assert_eq!((call.claims.name.as_str(), call.claims.host), ("bench", bench.target.host()));
}

/// A service that never answers, and whether its future is alive.
fn stuck() -> (Arc<AtomicBool>, impl Fn(Call) -> StuckFuture + Send + Sync + 'static) {
    let alive = Arc::new(AtomicBool::new(false));
    let shared = Arc::clone(&alive);
    let service = move |call: Call| -> StuckFuture {
        let alive = Alive(Arc::clone(&shared));
        alive.0.store(true, Ordering::SeqCst);
        Box::pin(async move {
            let _alive = alive;
            let _first = call.channel.recv().await?;
            std::future::pending().await
        })
    };
    (alive, service)
}

type StuckFuture = std::pin::Pin<Box<dyn Future<Output = Result<(), ServiceError>> + Send>>;

struct Alive(Arc<AtomicBool>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Its caller used to hear `cancelled`, as if he had given up himself.
#[tokio::test]
async fn a_service_whose_answer_is_longer_than_its_caller_takes_has_failed() {
    let talkative = |call: Call| async move {
        let _sent = call.channel.send(vec![0; MESSAGE_LEN_MAX + 1]).await?;
        Ok(())
    };
    let (_bench, line) = Bench::start(|duologue| duologue.service("talkative", talkative)).await;
    let answer = line.request("talkative", "?").await;
    assert_eq!(answer, Err(LineError::Channel(ChannelError::Reset(ResetCode::Failed))));
}

#[tokio::test]
async fn a_deadline_ends_the_request_at_both_ends() {
    let (alive, service) = stuck();
    let (_bench, line) =
        Bench::start(|duologue| duologue.service("stuck", service).service("echo", services::echo)).await;
    let answer = line.request_within(Duration::from_millis(200), "stuck", "?").await;
    assert_eq!(answer, Err(LineError::Deadline));
    until("the service's future is dropped", || !alive.load(Ordering::SeqCst)).await;
    assert_eq!(line.request("echo", "still open").await, Ok(b"still open".to_vec()));
}

#[tokio::test]
async fn a_cancelled_request_is_dropped_at_the_server() {
    let (alive, service) = stuck();
    let (_bench, line) = Bench::start(|duologue| duologue.service("stuck", service)).await;
    let request = tokio::spawn({
        let line = line.clone();
        async move { line.request("stuck", "?").await }
    });
    until("the service runs", || alive.load(Ordering::SeqCst)).await;
    request.abort();
    until("the service's future is dropped", || !alive.load(Ordering::SeqCst)).await;
}

#[tokio::test]
async fn an_unknown_service_and_a_failing_one_are_told_apart() {
    let (_bench, line) =
        Bench::start(|duologue| duologue.service("fails", |_call: Call| async { Err("on purpose".into()) })).await;
    let reset = |code| Err(LineError::Channel(ChannelError::Reset(code)));
    assert_eq!(line.request("nothing", "?").await, reset(ResetCode::Refused));
    assert_eq!(line.request("fails", "?").await, reset(ResetCode::Failed));
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Add {
    a: i64,
    b: i64,
}

impl duologue::typed::Request for Add {
    const LABEL: &'static str = "add";
    type Response = Option<i64>;
}

fn add() -> impl duologue_server::Service {
    answer_json(|Add { a, b }: Add, _call| async move { Ok(a.checked_add(b)) })
}

#[tokio::test]
async fn a_typed_request_is_answered_in_json() {
    let (_bench, line) = Bench::start(|duologue| duologue.service("add", add())).await;
    assert_eq!(line.request("add", r#"{"a":40,"b":2}"#).await, Ok(b"42".to_vec()));
    assert_eq!(line.request("add", r#"{"a":9223372036854775807,"b":1}"#).await, Ok(b"null".to_vec()));
}

#[tokio::test]
async fn hostile_json_fails_its_channel_alone_and_the_log_says_why() {
    let log = Log::default();
    let _logging = log.start();
    let (_bench, line) = Bench::start(|duologue| duologue.service("add", add())).await;
    let deep = "[".repeat(1_000_000);
    let hostile = ["", "{", "null", r#"{"a":40}"#, r#"{"a":40,"b":"\u001b[2J"}"#, r#"{"a":40,"b":2}{"#, &deep];
    let failed = Err(LineError::Channel(ChannelError::Reset(ResetCode::Failed)));
    for request in hostile {
        assert_eq!(line.request("add", request).await, failed, "{request:.20}");
    }
    // The page would read another number.
    assert_eq!(line.request("add", r#"{"a":9007199254740991,"b":1}"#).await, failed);
    assert_eq!(line.request("add", r#"{"a":9007199254740990,"b":1}"#).await, Ok(b"9007199254740991".to_vec()));

    let lines = log.has("a service failed", 8).await;
    assert_eq!(lines.len(), 8, "{lines:#?}");
    assert!(lines.iter().all(|line| line.contains("label=\"add\"") && line.len() < 400), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("not of the type expected: missing field `b`")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("JavaScript would round 9007199254740992")), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains('\u{1b}')), "{lines:#?}");
}

#[tokio::test]
async fn messages_that_are_sent_and_received_together_come_whole_in_their_order_and_to_an_end() {
    const MANY: usize = 4_096;
    const LEN: usize = 64 * 1_024;
    let (_bench, line) = Bench::start(|duologue| duologue.service("echo", services::echo)).await;
    let channel = line.channel("echo").expect("the line is open");
    // Empty ones, so that the number bounds what comes together; and longer ones, so that the length does.
    let long = (0..200_usize).map(|number| vec![7; 400 * number]);
    let messages: Vec<Vec<u8>> =
        (0..10_000_u16).map(|number| vec![number.to_le_bytes()[0]; usize::from(number % 2)]).chain(long).collect();
    assert!(channel.send_many(Vec::new()).await.expect("nothing is sent").is_none());
    let receives = async {
        let mut came = Vec::new();
        while came.len() < messages.len() {
            let together = channel.recv_many().await.expect("the line is open");
            let before_last: usize = together.iter().rev().skip(1).map(Vec::len).sum();
            assert!((1..=MANY).contains(&together.len()) && before_last < LEN, "{} messages", together.len());
            came.extend(together);
        }
        came
    };
    let (sent, came) = tokio::join!(channel.send_many(messages.clone()), receives);
    assert!(came == messages, "other messages have come");
    sent.expect("all are queued").expect("there were some").taken().await.expect("the service has taken all");
    channel.finish();
    assert!(channel.recv_many().await.expect("it ends in its time").is_empty());
}

struct Count;

impl Conversation for Count {
    const LABEL: &'static str = "count";
    type FromClient = String;
    type ToClient = usize;
}

#[tokio::test]
async fn a_conversation_in_json_goes_on_until_a_message_is_of_another_type() {
    let count = |call: Call| async move {
        let channel = JsonChannel::<Count>::new(call.channel);
        while let Some(text) = channel.recv().await? {
            channel.send(&text.len()).await?;
        }
        Ok::<(), ServiceError>(())
    };
    let (_bench, line) = Bench::start(|duologue| duologue.service(Count::LABEL, count)).await;
    let channel = line.channel("count").expect("the line is open");
    for (said, heard) in [(r#""""#, "0"), (r#""four""#, "4")] {
        channel.send(said).await.expect("there is room");
        assert_eq!(channel.recv().await, Ok(Some(heard.into())));
    }
    channel.send("4").await.expect("there is room");
    assert_eq!(channel.recv().await, Err(LineError::Channel(ChannelError::Reset(ResetCode::Failed))));
    let channel = line.channel("count").expect("the line is still open");
    channel.finish();
    assert_eq!(channel.recv().await, Ok(None));
}

#[tokio::test]
async fn a_thousand_requests_at_once_all_finish() {
    let (_bench, line) = Bench::start(|duologue| duologue.service("echo", services::echo)).await;
    let requests: Vec<_> = (0..1_000_u32)
        .map(|number| {
            let line = line.clone();
            tokio::spawn(async move { (number, line.request("echo", number.to_be_bytes()).await) })
        })
        .collect();
    for request in requests {
        let (number, answer) = request.await.expect("no panic");
        assert_eq!(answer, Ok(number.to_be_bytes().to_vec()));
    }
}

#[tokio::test]
async fn a_message_of_16_mib_comes_back() {
    let (_bench, line) = Bench::start(|duologue| duologue.service("echo", services::echo)).await;
    let big = vec![0xa5; 16 * 1024 * 1024];
    assert!(line.request("echo", big.clone()).await.expect("an answer") == big);
}

#[tokio::test]
async fn a_revoked_device_loses_its_line_and_does_not_come_back() {
    let (bench, line) = Bench::start(|duologue| duologue).await;
    assert_eq!(bench.duologue.revoke(bench.device), Revocation::Stored);
    let ConnectionError::PeerClosed(close) = line.closed().await else { panic!("not told why") };
    assert_eq!(close.code, CloseCode::DeviceRevoked);
    let again = bench.client.connect(&bench.target).await.expect_err("revoked");
    let Some(ConnectionError::PeerClosed(close)) = again.connection_error() else { panic!("{again}") };
    assert_eq!(close.code, CloseCode::DeviceRevoked);
}

#[tokio::test]
async fn a_device_has_sixteen_lines_and_a_further_one_replaces_the_oldest() {
    let (bench, oldest) = Bench::start(|duologue| duologue.service("echo", services::echo)).await;
    let mut newer = Vec::new();
    for _ in 0..16 {
        newer.push(bench.client.connect(&bench.target).await.expect("the device is known"));
    }
    let ConnectionError::PeerClosed(close) = oldest.closed().await else { panic!("not told why") };
    assert_eq!(close.code, CloseCode::Replaced);
    for line in newer {
        assert_eq!(line.request("echo", "here").await, Ok(b"here".to_vec()));
    }
}

#[tokio::test]
async fn the_last_handle_closes_the_line() {
    let (bench, line) = Bench::start(|duologue| duologue).await;
    drop(line);
    let directory = bench.duologue.directory().clone();
    until("the device has left", move || directory.connected().is_empty()).await;
}

#[tokio::test]
async fn who_asks_without_an_upgrade_is_answered_in_words_that_an_isolated_page_may_wait_for() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (bench, _line) = Bench::start(|duologue| duologue).await;
    for (path, status) in [("/line", "400"), ("/.well-known/duologue", "204")] {
        let host = bench.target.host();
        let mut tcp = tokio::net::TcpStream::connect(&host).await.expect("it listens");
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\norigin: http://{host}\r\nconnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.expect("it answers");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(answer.contains("cross-origin-resource-policy: cross-origin"), "{path}: {answer}");
    }
}
