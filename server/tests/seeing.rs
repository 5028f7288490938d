//! What a server that is built with `otlp` and `tokio-console` shows: spans, as a collector reads them, and its tasks. `cargo xtask test
//! --long` builds it so, and has PyPI's opentelemetry-proto read what arrives.
#![allow(missing_docs, reason = "tests are named for their scenario")]

mod running;
mod site;

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use duologue_client::{Client, DeviceId, Keyring, Line, Target};
use running::{certificate, free_port, logged, start};
use serde_json::Value;
use site::{Server, Site};
use tokio::net::{TcpListener, TcpStream};

/// Sent as soon as that.
const BATCH: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "200");
const READ: &str = "import sys, json
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
request = ExportTraceServiceRequest()
request.ParseFromString(sys.stdin.buffer.read())
print(json.dumps(MessageToDict(request)))";

type Batches = Arc<Mutex<Vec<Bytes>>>;

/// A collector, of which this has what it was sent.
async fn collector(port: u16) -> Batches {
    let batches = Batches::default();
    let take = async |State(batches): State<Batches>, body: Bytes| batches.lock().expect("no panic").push(body);
    let app = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&batches));
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
    tokio::spawn(async move { axum::serve(listener, app).await });
    batches
}

/// As others read it who know the protocol.
fn read(batch: &Bytes) -> Value {
    let mut python = Command::new("python3");
    let mut python = python.args(["-c", READ]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
    python.stdin.take().expect("piped").write_all(batch).expect("it reads");
    let output = python.wait_with_output().expect("it ends");
    assert!(output.status.success(), "PYTHONPATH has opentelemetry-proto");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn value<'a>(of: &'a Value, key: &str) -> Option<&'a str> {
    let attributes = of["attributes"].as_array()?;
    attributes.iter().find(|it| it["key"] == key)?["value"]["stringValue"].as_str()
}

fn serve(site: &Site, traces: u16, console: u16) -> Server {
    certificate(site, "own", &["localhost"]);
    let port = free_port();
    site.configure(&format!(
        "[server]\nurl = \"https://localhost:{port}\"\nlisten = \"127.0.0.1:{port}\"\nstate = \"state\"\n\
         [[tls.certificate]]\ncert = \"own.pem\"\nkey = \"own.key\"\n[[rule]]\nopen = [\"echo\"]\n\
         [log]\nlevel = \"warn\"\ntraces = \"http://127.0.0.1:{traces}\"\nconsole = \"127.0.0.1:{console}\"\n"
    ));
    let (file, state) = (site.config(), site.state());
    let file = file.to_str().expect("text");
    assert!(site.verb(&["check", file]).contains("in order"));
    start(site, &["serve", "--config", file, "--state", state.to_str().expect("text")], &[BATCH])
}

async fn enter(site: &Site) -> (DeviceId, Line) {
    let keyring = Keyring::in_memory();
    let id = DeviceId::of_spki(keyring.device().spki());
    let target = Target::parse(site.verb(&["invite", "new"]).trim()).expect("a link");
    let client = Client::new(keyring).trusting(site.directory.path().join("own.pem"));
    (id, client.connect(&target).await.expect("the invite is good"))
}

async fn until<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_spans_with_device_and_session_and_nothing_that_was_said() {
    let (site, port) = (Site::new(""), free_port());
    let batches = collector(port).await;
    let server = serve(&site, port, free_port());
    let (device, line) = enter(&site).await;
    assert_eq!(line.request("echo", "a secret word").await, Ok(b"a secret word".to_vec()));
    let device = device.to_string();
    let mut spans = Vec::new();
    let mut seen = 0;
    let [handshake, service] = until("both spans", || {
        let all = batches.lock().expect("no panic").clone();
        for batch in &all[seen..] {
            let raw = String::from_utf8_lossy(batch);
            assert!(!raw.contains("secret") && !raw.contains("127.0.0.1") && !raw.contains(".rs"), "{raw}");
            for resource in read(batch)["resourceSpans"].as_array().expect("some") {
                assert_eq!(value(&resource["resource"], "service.name"), Some("duologue"));
                for scope in resource["scopeSpans"].as_array().expect("some") {
                    spans.extend(scope["spans"].as_array().expect("some").iter().cloned());
                }
            }
        }
        seen = all.len();
        let named = |name: &str, label| {
            let is_it = |span: &&Value| span["name"] == name && value(span, "label") == label;
            spans.iter().find(|span| is_it(span) && value(span, "device") == Some(&device)).cloned()
        };
        Some([named("handshake", None)?, named("service", Some("echo"))?])
    })
    .await;
    println!("{handshake:#}\n{service:#}");
    let session = value(&handshake, "session").expect("it has one");
    assert_eq!(value(&service, "session"), Some(session));
    for span in &spans {
        assert!(span["events"].is_null(), "{span}");
        for attribute in span["attributes"].as_array().into_iter().flatten() {
            let key = attribute["key"].as_str().expect("text");
            assert!(["label", "device", "session", "level", "target"].contains(&key), "{span}");
        }
    }
    // The last ones go when it ends.
    let before = batches.lock().expect("no panic").len();
    let (_, _line) = enter(&site).await;
    server.stop();
    assert!(batches.lock().expect("no panic").len() > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_is_told_once_and_costs_nobody_anything() {
    let (site, port) = (Site::new(""), free_port());
    let server = serve(&site, port, free_port());
    let (_, line) = enter(&site).await;
    for _ in 0..10 {
        assert_eq!(line.request("echo", "a").await, Ok(b"a".to_vec()));
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    logged(&site, "traces do not reach the collector", 1);
    assert_eq!(site.log().matches("collector").count(), 1, "{}", site.log());
    let batches = collector(port).await;
    assert_eq!(line.request("echo", "a").await, Ok(b"a".to_vec()));
    until("it is reached", || (!batches.lock().expect("no panic").is_empty()).then_some(())).await;
    server.stop();
}

/// As tokio-console asks: by gRPC, one request whose answer goes on.
#[tokio::test(flavor = "multi_thread")]
async fn tokio_console_is_answered_with_the_tasks_of_lines() {
    let (site, port) = (Site::new(""), free_port());
    let server = serve(&site, free_port(), port);
    let (_, line) = enter(&site).await;
    assert_eq!(line.request("echo", "a secret word").await, Ok(b"a secret word".to_vec()));
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    let (client, connection) = h2::client::handshake(tcp).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut client: h2::client::SendRequest<Bytes> = client.ready().await.expect("it is ready");
    let address = format!("http://127.0.0.1:{port}/rs.tokio.console.instrument.Instrument/WatchUpdates");
    let request =
        axum::http::Request::post(address).header("content-type", "application/grpc").header("te", "trailers");
    let (answer, mut body) = client.send_request(request.body(()).expect("a request"), false).expect("sent");
    // A message without a field, behind the five bytes that say so.
    body.send_data(Bytes::from_static(&[0; 5]), true).expect("sent");
    let answer = answer.await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    let (mut told, mut got) = (answer.into_body(), Vec::new());
    let begun = Instant::now();
    // The names of places are texts in the message.
    while !String::from_utf8_lossy(&got).contains("server/src/services/service.rs") {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} bytes", got.len());
        let data = told.data().await.expect("it goes on").expect("whole");
        told.flow_control().release_capacity(data.len()).expect("it was given");
        got.extend_from_slice(&data);
    }
    println!("{} bytes", got.len());
    assert!(!String::from_utf8_lossy(&got).contains("a secret word"));
    server.stop();
}
