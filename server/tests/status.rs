//! The second listener, as what looks after a server reads it: whether it lives, whether it takes lines, and its numbers.
#![allow(missing_docs, reason = "tests are named for their scenario")]

mod running;
mod site;

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use duologue_client::{Client, Keyring, Line, Target};
use running::{certificate, free_port, logged, signal, start};
use site::{Server, Site};

/// Status, content type and body of an answer.
fn get(port: u16, path: &str, headers: &str) -> (u16, String, String) {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    tcp.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
    write!(tcp, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n").expect("it takes it");
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
    (status, kind.to_owned(), body.to_owned())
}

/// The samples of a text, by their names with labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| line.rsplit_once(' ').map(|(name, value)| (name.to_owned(), value.parse().expect(line)));
    lines.filter_map(sample).collect()
}

/// A path to a port that can be cut.
struct Path {
    port: u16,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
}

impl Path {
    fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let path = Self { port: listener.local_addr().expect("bound").port(), sockets: Arc::default() };
        let sockets = Arc::clone(&path.sockets);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let far = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                sockets.lock().expect("whole").extend([near, far]);
            }
        });
        path
    }

    fn cut(&self) {
        for socket in self.sockets.lock().expect("whole").drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_comes_back_is_a_handshake_and_a_resumption() {
    let site = Site::new("");
    let listens = free_port();
    let path = Path::to(listens);
    let (_server, port) = begin_at(&site, path.port, listens);
    let line = line(&site).await;
    assert_eq!(line.request("echo", "a").await, Ok(b"a".to_vec()));
    for times in [1.0, 2.0] {
        path.cut();
        assert_eq!(line.request("echo", "b").await, Ok(b"b".to_vec()), "it goes on");
        let seen = samples(&get(port, "/metrics", "").2);
        assert_eq!((seen["duologue_resume_seconds_count"], seen["duologue_sessions"]), (times, 1.0));
        assert_eq!(seen["duologue_handshake_seconds_count"], times + 1.0);
        assert!(seen["duologue_resume_seconds_sum"] < 5.0 * times);
    }
}

/// A server with its second listener, and that one's port.
fn begin(site: &Site) -> (Server, u16) {
    let port = free_port();
    begin_at(site, port, port)
}

/// The same, at an address that leads to where it listens.
fn begin_at(site: &Site, port: u16, listens: u16) -> (Server, u16) {
    certificate(site, "own", &["localhost"]);
    let status = free_port();
    site.configure(&format!(
        "[server]\nurl = \"https://localhost:{port}\"\nlisten = \"127.0.0.1:{listens}\"\nstate = \"state\"\n\
         status = \"127.0.0.1:{status}\"\n[[tls.certificate]]\ncert = \"own.pem\"\nkey = \"own.key\"\n[[rule]]\nopen = [\"echo\"]\n"
    ));
    let file = site.config();
    (start(site, &["serve", "--config", file.to_str().expect("text")], &[]), status)
}

async fn line(site: &Site) -> Line {
    let target = Target::parse(&site.verb(&["invite", "new"])).expect("a link");
    let client = Client::new(Keyring::in_memory()).trusting(site.directory.path().join("own.pem"));
    client.connect(&target).await.expect("the invite is good")
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_what_was_done_and_promtool_finds_nothing_to_say() {
    let site = Site::new("");
    let (_server, port) = begin(&site);
    let lines = [line(&site).await, line(&site).await, line(&site).await];
    let channel = lines[0].channel("echo").expect("open");
    for number in 0..600 {
        channel.send(format!("{number}")).await.expect("taken");
        channel.recv().await.expect("open").expect("an answer");
    }
    assert!(lines[1].request("nothing", "a").await.is_err());
    let (status, kind, text) = get(port, "/metrics", "");
    assert_eq!((status, kind.as_str()), (200, "text/plain; version=0.0.4; charset=utf-8"));
    let seen = samples(&text);
    let number = |name: &str| *seen.get(name).unwrap_or_else(|| panic!("no {name} in {text}"));
    assert_eq!(number("duologue_sessions"), 3.0);
    assert_eq!(number("duologue_connections"), 3.0);
    assert_eq!(number("duologue_handshake_seconds_count"), 3.0);
    assert_eq!(number("duologue_resume_seconds_count"), 0.0);
    // The first, the 257th and the 513th.
    assert_eq!(number("duologue_turn_seconds_count"), 3.0);
    assert!(number("duologue_store_write_seconds_count") >= 3.0, "each device was written");
    assert_eq!(number("duologue_events_total{kind=\"device-enrolled\"}"), 3.0);
    assert_eq!(number("duologue_events_total{kind=\"owner-revoked\"}"), 0.0, "it begins at 0");
    assert_eq!(number("duologue_draining"), 0.0);
    assert!(number("process_open_fds") > 5.0 && number("process_resident_memory_bytes") > 1e6);
    assert!(number("process_cpu_seconds_total") > 0.0 && number("process_start_time_seconds") > 1.7e9);
    let end =
        seen.iter().find(|(name, _)| name.starts_with("duologue_certificate_not_after_timestamp_seconds{file=\""));
    assert!(end.is_some_and(|(name, end)| name.contains("own.pem") && *end > 6e10), "{end:?}");
    for (name, value) in &seen {
        if name.contains("_seconds_bucket") || name.contains("_seconds_sum") {
            assert!(value.is_finite() && *value >= 0.0, "{name}");
        }
    }

    // By who accepts it, the same in the other form.
    let accept = "accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5\r\n";
    let (status, kind, open) = get(port, "/metrics", accept);
    assert_eq!((status, kind.as_str()), (200, "application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(open.ends_with("# EOF\n"), "{open}");
    // One writes 0.00001 for a bound, the other 1e-05.
    let names = |text: &str| {
        samples(text).into_keys().map(|name| name.split("{le=").next().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(names(&open), names(&text));

    let promtool = std::path::Path::new("/usr/bin/promtool");
    if !promtool.is_file() {
        println!("skipped: promtool (Debian: prometheus)");
        return;
    }
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    println!("promtool check metrics: {}, {} samples", output.status, seen.len());
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_ready_until_it_stops_and_lives_until_it_has() {
    let site = Site::new("");
    let (mut server, port) = begin(&site);
    assert_eq!(get(port, "/health", ""), (200, "text/plain; charset=utf-8".to_owned(), "ok\n".to_owned()));
    assert_eq!(get(port, "/ready", "").2, "ready\n");
    // The same by the owner's socket, for whatever has no listener to ask.
    assert_eq!(site.verb(&["health", "--ready"]), "it lives, and takes new lines");
    assert_eq!(site.verb(&["health", "--json"]), "{\"not_ready\":[]}");
    // Nothing else is there, no line either.
    for path in ["/", "/line", "/devices", "/metrics/x", "/.well-known/duologue"] {
        assert_eq!(get(port, path, "").0, 404, "{path}");
    }
    // A page that has this machine's address by some name of its own.
    for headers in ["origin: https://evil.example\r\n", "sec-fetch-mode: cors\r\n", "sec-fetch-mode: no-cors\r\n"] {
        assert_eq!(get(port, "/metrics", headers).0, 403, "{headers}");
    }
    assert_eq!(get(port, "/metrics", "sec-fetch-mode: navigate\r\n").0, 200, "a person who looks");
    // Connections that say nothing keep nobody waiting for long: no more of them are held than there are places.
    let idle: Vec<_> = (0..8).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("it listens")).collect();
    assert_eq!(get(port, "/health", "").0, 200);
    drop(idle);
    let line = line(&site).await;
    let channel = line.channel("echo").expect("open");
    channel.send("a").await.expect("taken");
    // A message that nobody reads is on its way, so that the server waits for it.
    signal(&server, "TERM");
    logged(&site, "stop", 1);
    let (status, _, said) = get(port, "/ready", "");
    assert_eq!((status, said.as_str()), (503, "this server is stopping\n"));
    assert_eq!(get(port, "/health", "").0, 200, "it lives");
    assert_eq!(site.verb(&["health"]), "it lives, and takes no new lines: this server is stopping");
    assert_eq!(site.try_verb(&["health", "--ready"]).0, 1);
    assert_eq!(samples(&get(port, "/metrics", "").2)["duologue_draining"], 1.0);
    signal(&server, "TERM");
    let begun = Instant::now();
    while server.process.try_wait().expect("it can be asked").is_none() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    // Its state is whole, and a health check does not open it.
    let (code, said, wrong) = site.try_verb(&["health"]);
    assert_eq!((code, said.as_str()), (1, ""));
    assert!(wrong.contains("no server runs with its state in "), "{wrong}");
    assert_eq!(site.try_verb(&["state"]).0, 0);
}

/// What Grafana puts in the place of its variables.
const VARIABLES: [(&str, &str); 3] = [("$__rate_interval", "10s"), ("$job", "duologue"), ("$instance", ".+")];

/// Debian's Prometheus, which asks the server once a second.
struct Prometheus {
    process: std::process::Child,
    port: u16,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    fn start(site: &Site, status: u16) -> Self {
        let port = free_port();
        let told = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: duologue, static_configs: [{{targets: ['127.0.0.1:{status}']}}]}}]\n"
        );
        site.write("prometheus.yml", told);
        let at = |name: &str| site.directory.path().join(name);
        let mut command = Command::new("/usr/bin/prometheus");
        command.arg(format!("--config.file={}", at("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", at("prometheus").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "Prometheus does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { process, port }
    }

    /// The values that a query has now.
    fn query(&self, query: &str) -> Vec<f64> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut tcp = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        // By HTTP/1.0 the answer comes in one piece.
        write!(tcp, "GET /api/v1/query?query={escaped} HTTP/1.0\r\nhost: localhost\r\n\r\n").expect("it takes it");
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).expect("text");
        let body = answer.split_once("\r\n\r\n").expect("a head").1;
        let answer: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let results = answer["data"]["result"].as_array().expect("a list");
        results
            .iter()
            .map(|result| result["value"][1].as_str().and_then(|value| value.parse().ok()).expect("a number"))
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_query_of_the_dashboard_has_numbers_of_a_server_at_work() {
    if !std::path::Path::new("/usr/bin/prometheus").is_file() {
        println!("skipped: prometheus (Debian: prometheus)");
        return;
    }
    let site = Site::new("");
    let listens = free_port();
    let path = Path::to(listens);
    let (_server, status) = begin_at(&site, path.port, listens);
    let prometheus = Prometheus::start(&site, status);
    let dashboard =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../dist/grafana.json")).expect("it is there");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
    let mut queries: Vec<String> = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.push(target["expr"].as_str().expect("a query").to_owned());
        }
    }
    assert!(queries.len() >= 20, "{queries:?}");
    for query in &mut queries {
        for (name, value) in VARIABLES {
            *query = query.replace(name, value);
        }
        assert!(!query.contains('$'), "{query}");
    }
    // Somebody comes, says something, and is cut off, again and again: until each query has been answered with numbers.
    let (mut lines, begun) = (Vec::new(), Instant::now());
    let mut missing = queries.clone();
    while !missing.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "without numbers: {missing:#?}");
        lines.push(line(&site).await);
        path.cut();
        for line in &lines {
            assert_eq!(line.request("echo", "a").await, Ok(b"a".to_vec()), "it goes on");
        }
        lines.drain(..lines.len().saturating_sub(3));
        tokio::time::sleep(Duration::from_millis(500)).await;
        missing.retain(|query| {
            let values = prometheus.query(query);
            values.is_empty() || !values.iter().all(|value| value.is_finite())
        });
    }
    println!("{} queries have numbers after {:.1} s", queries.len(), begun.elapsed().as_secs_f64());
}

#[test]
fn the_unit_leaves_the_server_little_of_the_machine() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../dist/duologue.service");
    let Ok(output) = Command::new("systemd-analyze")
        .args(["security", "--no-pager", "--offline=true", "--threshold=20", unit])
        .output()
    else {
        println!("skipped: systemd-analyze (Debian: systemd)");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{}", said.lines().last().unwrap_or_default());
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
