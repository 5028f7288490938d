//! The socket of the local API, and the thread that answers there: nothing that devices do takes its turn.

use std::{fmt, io, os::unix::fs::PermissionsExt, sync::Arc, thread::JoinHandle, time::Duration};

use axum::{Extension, Router, extract::DefaultBodyLimit};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use super::{BODY_LEN_MAX, router};
use crate::{
    config::ConfigFile,
    lines::Duologue,
    state::State,
    watch::{
        events::{Event, Kind},
        stream::Watch,
    },
};

/// Its name in the state directory.
pub(crate) const SOCKET: &str = "control.sock";

/// Verbs that are answered at a time.
const CONNECTIONS_MAX: usize = 32;
/// How long a request may take to come.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection may last.
const CONNECTION: Duration = Duration::from_secs(60);
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

    fn of(stream: &UnixStream) -> Self {
        let credentials = stream.peer_cred().ok();
        Self { user: credentials.map(|peer| peer.uid()), process: credentials.and_then(|peer| peer.pid()) }
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
    listen_with(state, duologue, None)
}

/// As [`listen`], for a server that can read its configuration again.
///
/// # Errors
/// If the socket cannot be made.
pub fn listen_with(state: State, duologue: Duologue, config: Option<ConfigFile>) -> io::Result<Listening> {
    let path = state.directory().join(SOCKET);
    // The directory is this process's alone: what lies there is left from one that was killed.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    let watch = duologue.watch().clone();
    let app = router(state, Some(duologue), config).layer(DefaultBodyLimit::max(BODY_LEN_MAX));
    Listening::on_a_thread("duologue-owner", move || async move {
        match UnixListener::from_std(listener) {
            Ok(listener) => accept(listener, app, &watch).await,
            Err(error) => watch.tell(failed(&error)),
        }
    })
}

impl Listening {
    /// Answers on a thread of its own, until this is dropped.
    pub(super) fn on_a_thread<F: Future<Output = ()>>(
        name: &str,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(THREADS).build()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let work = move || {
            runtime.block_on(stopped.run_until_cancelled_owned(work()));
            // A disk that hangs holds up its own work only.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

async fn accept(listener: UnixListener, app: Router, watch: &Watch) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
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
}

fn failed(error: &io::Error) -> Event {
    Event::of(Kind::ControlFailed).note(error.to_string())
}

pub(super) async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, app: Router) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BODY_LEN_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    match tokio::time::timeout(CONNECTION, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "whoever asked went"),
        Err(_) => tracing::debug!("whoever asked took too long"),
    }
}
