//! The second listener, for who looks after the server: whether it lives, whether it takes lines, and its numbers.
//!
//! | request | answer |
//! |---|---|
//! | `GET /health` | 200 `ok`; 503 if the threads of lines have not answered within two seconds |
//! | `GET /ready` | 200 `ready`; 503 with a reason in each line: it is stopping, the store cannot be read, a revocation is nowhere on disk |
//! | `GET /metrics` | numbers, as Prometheus' text, or as OpenMetrics for who accepts that |
//!
//! It has no secrets and no names of anybody, and knows no questions but these. It answers on a thread of its own, so that a flood
//! at the door does not keep it waiting, and that it keeps nobody waiting.

use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State as Extracted},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, prometheus_text, text},
    metrics::{TypedMetric, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};
use rustix::{
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};
use tokio::{net::TcpListener, runtime::Handle, sync::Semaphore};

use super::socket::{Listening, converse};
use crate::{
    front::{certificates::Certificates, intake::Intake},
    lines::Duologue,
    state::{State, records::now},
    watch::events::Kind,
};

/// Who is answered at a time. One more waits.
const CONNECTIONS_MAX: usize = 16;
/// How long the threads of lines have to answer.
const ALIVE: Duration = Duration::from_secs(2);
const OPENMETRICS: &str = "application/openmetrics-text";

struct Target {
    state: State,
    duologue: Duologue,
    registry: Registry,
    /// The runtime of lines.
    home: Handle,
}

/// Answers there until what this returns is dropped. `certificates` are those that the server shows; `intake` says whether connections
/// are taken.
///
/// # Errors
/// If there can be no thread for it.
pub fn listen_status(
    listener: std::net::TcpListener,
    state: State,
    duologue: Duologue,
    certificates: Option<Certificates>,
    intake: Intake,
) -> io::Result<Listening> {
    listener.set_nonblocking(true)?;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process { began: SystemTime::now() }));
    let own = registry.sub_registry_with_prefix("duologue");
    duologue.watch().times().register(own);
    let store = state.store().write_times().clone();
    own.register_with_unit("store_write", "How long a write of the store takes, with its commit", Unit::Seconds, store);
    own.register_collector(Box::new(Numbers { state: state.clone(), duologue: duologue.clone(), certificates }));
    let target = Arc::new(Target { state, duologue, registry, home: Handle::current() });
    let app = Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn(refuse_pages))
        .with_state(target);
    Listening::on_a_thread("duologue-status", move |stop| async move {
        if let Ok(listener) = TcpListener::from_std(listener) {
            stop.run_until_cancelled(accept(listener, app, &intake)).await;
        }
    })
}

async fn accept(listener: TcpListener, app: Router, intake: &Intake) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match intake.accepted(|| listener.accept()).await {
            Ok((stream, _)) => {
                let app = app.clone();
                tokio::spawn(async move {
                    converse(stream, app).await;
                    drop(place);
                });
            }
            // Files are scarce, as a rule: others will be given back.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// A person may look with a browser; a page of somebody's may not, whatever name it has given this machine.
async fn refuse_pages(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let is_visit = headers.get("sec-fetch-mode").is_none_or(|mode| mode == "navigate");
    if headers.contains_key(header::ORIGIN) || !is_visit {
        return (StatusCode::FORBIDDEN, "pages are not answered here\n").into_response();
    }
    next.run(request).await
}

async fn health(Extracted(target): Extracted<Arc<Target>>) -> Response {
    match is_alive(&target.home).await {
        true => "ok\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the threads of lines do not answer\n").into_response(),
    }
}

/// Whether the threads of lines answer in time.
pub(super) async fn is_alive(home: &Handle) -> bool {
    matches!(tokio::time::timeout(ALIVE, home.spawn(async {})).await, Ok(Ok(())))
}

async fn ready(Extracted(target): Extracted<Arc<Target>>) -> Response {
    let reasons = not_ready(&target.state, &target.duologue).await;
    match reasons.is_empty() {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response(),
    }
}

/// Why no new lines are taken; without a reason they are.
pub(super) async fn not_ready(state: &State, duologue: &Duologue) -> Vec<String> {
    let mut reasons = Vec::new();
    if duologue.is_draining() {
        reasons.push("this server is stopping".to_owned());
    }
    let own = state.clone();
    let read = tokio::task::spawn_blocking(move || own.store().address().map(drop)).await;
    match read {
        Ok(Ok(())) => {}
        Ok(Err(error)) => reasons.push(format!("the store cannot be read: {error}")),
        Err(_) => reasons.push("the store cannot be read".to_owned()),
    }
    let (_, not_on_disk) = state.store().not_stored();
    if not_on_disk > 0 {
        reasons.push(format!("{not_on_disk} revocations are in force until this server stops, and NOT on disk"));
    }
    reasons
}

async fn metrics(Extracted(target): Extracted<Arc<Target>>, headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut told = String::new();
    let (kind, encoded) = match accepts.contains(OPENMETRICS) {
        true => {
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", text::encode(&mut told, &target.registry))
        }
        false => ("text/plain; version=0.0.4; charset=utf-8", prometheus_text::encode(&mut told, &target.registry)),
    };
    match encoded {
        Ok(()) => ([(header::CONTENT_TYPE, kind)], Body::from(told)).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the numbers cannot be told\n").into_response(),
    }
}

/// One number, read now.
fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, unit: Option<&Unit>, value: f64) -> fmt::Result {
    let gauge = ConstGauge::new(value);
    let metric = encoder.encode_descriptor(name, help, unit, gauge.metric_type())?;
    gauge.encode(metric)
}

/// What is counted elsewhere.
#[derive(Debug)]
struct Numbers {
    state: State,
    duologue: Duologue,
    certificates: Option<Certificates>,
}

impl Numbers {
    /// Also of those that there were none of: a rate begins at 0.
    fn counts(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, counts: &[(Kind, u64)]) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, ConstCounter::<u64>::TYPE)?;
        for &kind in Kind::ALL {
            let count = counts.iter().find(|(other, _)| *other == kind).map_or(0, |(_, count)| *count);
            ConstCounter::new(count).encode(metric.encode_family(&[("kind", kind.name())])?)?;
        }
        Ok(())
    }
}

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (it, watch) = (&mut encoder, self.duologue.watch());
        #[expect(clippy::cast_precision_loss, reason = "counts of what is in memory are far below 2^52")]
        let number = |count: usize| count as f64;
        let build = ConstGauge::new(1_u32);
        let mut metric = it.encode_descriptor("build_info", "What runs here", None, build.metric_type())?;
        build.encode(metric.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?)?;
        let help = "Events since the start, by kind: docs/WATCH.md has them";
        Self::counts(it, "events", help, &watch.told())?;
        let help = "Events that were not told, because whoever reads was too slow";
        Self::counts(it, "events_lost", help, &watch.lost())?;
        let directory = self.duologue.directory();
        gauge(
            it,
            "sessions",
            "Sessions that are open, with a connection or waiting for one",
            None,
            number(directory.len()),
        )?;
        if let Some((count, commits)) = self.duologue.kept_sessions() {
            let help = "Of these, those that are kept on disk and go on after a restart";
            gauge(it, "sessions_kept", help, None, number(count))?;
            let help = "How long a commit of sessions takes, all that are due together";
            let metric = it.encode_descriptor("sessions_commit", help, Some(&Unit::Seconds), commits.metric_type())?;
            commits.encode(metric)?;
        }
        let connections = self.duologue.connections();
        gauge(it, "connections", "WebSockets that are served, handshakes among them", None, number(connections))?;
        gauge(it, "bans", "Bans that are in force", None, number(watch.bans().list(now()).len()))?;
        let (not_stored, not_on_disk) = self.state.store().not_stored();
        gauge(
            it,
            "revocations_not_stored",
            "Revocations in force that are not in the store yet",
            None,
            number(not_stored),
        )?;
        let help = "Of these, those that are nowhere on disk";
        gauge(it, "revocations_not_on_disk", help, None, number(not_on_disk))?;
        gauge(it, "draining", "1 while this server stops", None, f64::from(u8::from(self.duologue.is_draining())))?;
        if let Some(certificates) = &self.certificates {
            let help = "When a certificate that is shown ends, since 1970";
            let kind = ConstGauge::<f64>::TYPE;
            let mut metric =
                it.encode_descriptor("certificate_not_after_timestamp", help, Some(&Unit::Seconds), kind)?;
            for (file, end) in certificates.ends() {
                ConstGauge::new(end).encode(metric.encode_family(&[("file", file.as_str())])?)?;
            }
        }
        Ok(())
    }
}

/// What the system knows of the process, by the names that Prometheus' own libraries use.
#[derive(Debug)]
struct Process {
    began: SystemTime,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let it = &mut encoder;
        let began = self.began.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        gauge(it, "process_start_time", "When this server began, since 1970", Some(&Unit::Seconds), began)?;
        let used = clock_gettime(ClockId::ProcessCPUTime);
        #[expect(clippy::cast_precision_loss, reason = "seconds of a process")]
        let used = ConstCounter::new(used.tv_sec as f64 + used.tv_nsec as f64 / 1e9);
        let help = "Time that all processors have spent for it";
        let metric = it.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), used.metric_type())?;
        used.encode(metric)?;
        #[expect(clippy::cast_precision_loss, reason = "descriptors of a process")]
        let number = |count: u64| count as f64;
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            // Without the one by which they are read.
            let open = u64::try_from(files.count()).unwrap_or_default().saturating_sub(1);
            gauge(it, "process_open_fds", "Files and sockets that are open", None, number(open))?;
        }
        if let Some(most) = getrlimit(Resource::Nofile).current {
            gauge(it, "process_max_fds", "And how many may be", None, number(most))?;
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        if let Some(kib) = resident.and_then(|kib| kib.trim().parse::<u64>().ok()) {
            gauge(it, "process_resident_memory", "Memory that is in use", Some(&Unit::Bytes), number(kib * 1_024))?;
        }
        Ok(())
    }
}
