//! The socket of the local API, and the thread that answers there: nothing that devices do takes its turn.

use std::{
    fmt, io,
    os::unix::fs::PermissionsExt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use axum::{Extension, Router, extract::DefaultBodyLimit};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc},
};
use tokio_util::sync::CancellationToken;

use super::{BODY_LEN_MAX, hand_over::HandOver, router};
use crate::{
    config::ConfigFile,
    front::intake::Intake,
    lines::Duologue,
    state::State,
    watch::{
        events::{Event, Kind},
        stream::Watch,
    },
};

/// Its name in the state directory.
pub(crate) const SOCKET: &str = "control.sock";

/// Who is answered at a time: half of them are left for verbs, whoever is told events (`sight.rs`) and says messages.
const CONNECTIONS_MAX: usize = 64;
/// How long a request may take to come.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection may last, but for one that is told events.
const CONNECTION: Duration = Duration::from_secs(60);
/// How long answers have that are on their way when the server ends.
const LAST: Duration = Duration::from_secs(1);
/// Threads that work on the store: so many owners at a time.
const THREADS: usize = 4;

/// Who asks, as the system knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct By {
    user: Option<u32>,
    process: Option<i32>,
}

impl By {
    pub(super) fn this_process() -> Self {
        Self {
            user: Some(rustix::process::getuid().as_raw()),
            process: Some(rustix::process::getpid().as_raw_nonzero().get()),
        }
    }

    /// Which user's it is, where that is known.
    pub(super) const fn user(&self) -> Option<u32> {
        self.user
    }

    fn of(stream: &UnixStream) -> Self {
        let credentials = stream.peer_cred().ok();
        Self { user: credentials.map(|peer| peer.uid()), process: credentials.and_then(|peer| peer.pid()) }
    }
}

/// Says of a connection that its answer has no end: it may last for as long as somebody reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Lasts(Arc<AtomicBool>);

impl Lasts {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.user {
            Some(user) => write!(f, "uid {user}")?,
            None => f.write_str("unknown")?,
        }
        self.process.map_or(Ok(()), |process| write!(f, ", pid {process}"))
    }
}

/// A local API that answers; it ends when this is dropped.
#[derive(Debug)]
pub struct Listening {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers the owner's verbs on a thread of its own, over `control.sock` in the state directory, which only the server's user may
/// open (mode 0600, as the store).
///
/// # Errors
/// If the socket cannot be made.
pub fn listen(state: State, duologue: Duologue) -> io::Result<Listening> {
    listen_with(control_socket(&state)?, state, duologue, Controlled::default())
}

/// What a server can do that has more than the library's part.
#[derive(Debug, Default)]
pub struct Controlled {
    /// Read its configuration again.
    pub config: Option<ConfigFile>,
    /// Give its place to another process: asked here.
    pub hand_overs: Option<mpsc::Sender<HandOver>>,
    /// Stop listening for a while.
    pub intake: Intake,
}

/// Makes the socket of a state directory.
///
/// # Errors
/// If it cannot be made.
pub fn control_socket(state: &State) -> io::Result<std::os::unix::net::UnixListener> {
    let path = state.directory().join(SOCKET);
    // The directory is this process's alone: what lies there is left from one that was killed.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// As [`listen`], by a socket that is there, for a server that can do more.
///
/// # Errors
/// If there is no thread for it.
pub fn listen_with(
    listener: std::os::unix::net::UnixListener,
    state: State,
    duologue: Duologue,
    controlled: Controlled,
) -> io::Result<Listening> {
    listener.set_nonblocking(true)?;
    let Controlled { config, hand_overs, intake } = controlled;
    let watch = duologue.watch().clone();
    let app = router(state, Some(duologue), config, hand_overs).layer(DefaultBodyLimit::max(BODY_LEN_MAX));
    Listening::on_a_thread("duologue-owner", move |stop| async move {
        match UnixListener::from_std(listener) {
            Ok(listener) => accept(listener, app, &watch, &intake, &stop).await,
            Err(error) => watch.tell(failed(&error)),
        }
    })
}

impl Listening {
    /// Does that on a thread of its own, which is told when this is dropped.
    pub(super) fn on_a_thread<F: Future<Output = ()>>(
        name: &str,
        work: impl FnOnce(CancellationToken) -> F + Send + 'static,
    ) -> io::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(THREADS).build()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let work = move || {
            runtime.block_on(work(stopped));
            // A disk that hangs holds up its own work only.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

async fn accept(listener: UnixListener, app: Router, watch: &Watch, intake: &Intake, stop: &CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            intake.accepted(|| listener.accept()).await.map(|(stream, _)| (stream, place))
        };
        let Some(accepted) = stop.run_until_cancelled(next).await else { break };
        match accepted {
            Ok((stream, place)) => {
                let app = app.clone().layer(Extension(By::of(&stream)));
                tokio::spawn(async move {
                    converse(stream, app).await;
                    drop(place);
                });
            }
            Err(error) => {
                watch.tell(failed(&error));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    // Whoever is being answered has asked for this end, perhaps.
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(LAST, places.acquire_many(all)).await;
}

fn failed(error: &io::Error) -> Event {
    Event::of(Kind::ControlFailed).note(error.to_string())
}

pub(super) async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, app: Router) {
    let lasts = Lasts::default();
    let app = app.layer(Extension(lasts.clone()));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BODY_LEN_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = pin!(connection);
    let ended = match tokio::time::timeout(CONNECTION, &mut connection).await {
        Err(_) if lasts.0.load(Ordering::Relaxed) => connection.await,
        Err(_) => return tracing::debug!("whoever asked took too long"),
        Ok(ended) => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "whoever asked went");
    }
}
