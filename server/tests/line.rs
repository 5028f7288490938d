//! The library as a Rust user meets it: a line mounted into an axum app of one's own, over plain TCP on loopback.
#![allow(missing_docs, reason = "tests are named for their scenario")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::Router;
use duologue::{ChannelError, CloseCode, ConnectionError, DeviceId, ResetCode};
use duologue_client::{Client, Keyring, Line, LineError, Target};
use duologue_server::{Call, Duologue, Policy, State, serve, services};
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
        let app = Router::new().route("/line", duologue.route());
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
    assert_eq!(call.identity.device, bench.device);
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

type StuckFuture = std::pin::Pin<Box<dyn Future<Output = Result<(), duologue_server::ServiceError>> + Send>>;

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
    assert!(bench.duologue.revoke(bench.device).expect("the store works"));
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
