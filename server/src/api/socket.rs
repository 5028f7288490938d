//! The sockets of the local API, and the thread that answers there: nothing that devices do takes its turn.

use std::{
    fmt, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
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
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{Semaphore, mpsc},
};
use tokio_util::sync::CancellationToken;

use super::{BODY_LEN_MAX, access::ByKey, hand_over::HandOver, router};
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

/// Who is answered at a time at each socket: half of them are left for verbs, whoever is told events (`sight.rs`) and says messages.
const CONNECTIONS_MAX: usize = 64;
/// How long a request may take to come.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection may last, but for one that is told events.
const CONNECTION: Duration = Duration::from_secs(60);
/// How long answers have that are on their way when the server ends.
const LAST: Duration = Duration::from_secs(1);
/// Threads that work on the store: so many owners at a time.
const THREADS: usize = 4;

/// Who asks.
#[derive(Clone, Debug)]
pub(super) enum By {
    /// Whoever may open the owner's socket, or is the server's user, or root.
    Owner(Peer),
    /// Another user.
    User(Peer),
    /// Whoever has the key with this name.
    Key(Arc<str>),
}

/// A process, as the system knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) user: Option<u32>,
    pub(super) process: Option<i32>,
}

impl By {
    pub(super) fn this_process() -> Self {
        Self::Owner(Peer {
            user: Some(rustix::process::getuid().as_raw()),
            process: Some(rustix::process::getpid().as_raw_nonzero().get()),
        })
    }

    /// The caller, whichever of his processes asks: what is his alone goes by it.
    pub(super) fn caller(&self) -> String {
        match self {
            Self::Owner(peer) | Self::User(peer) => format!("user {:?}", peer.user),
            Self::Key(name) => format!("key {name}"),
        }
    }

    fn of(stream: &UnixStream, is_owners: bool) -> Self {
        let credentials = stream.peer_cred().ok();
        let peer = Peer { user: credentials.map(|peer| peer.uid()), process: credentials.and_then(|peer| peer.pid()) };
        let is_owner =
            is_owners || peer.user.is_some_and(|user| [0, rustix::process::getuid().as_raw()].contains(&user));
        if is_owner { Self::Owner(peer) } else { Self::User(peer) }
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
        let peer = match self {
            Self::Owner(peer) | Self::User(peer) => peer,
            Self::Key(name) => return write!(f, "key {name}"),
        };
        match peer.user {
            Some(user) => write!(f, "uid {user}")?,
            None => f.write_str("unknown")?,
        }
        peer.process.map_or(Ok(()), |process| write!(f, ", pid {process}"))
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
    listen_with(
        Sockets { owner: control_socket(&state)?, users: None, keys: None },
        state,
        duologue,
        Controlled::default(),
    )
}

/// Where the local API answers.
#[derive(Debug)]
pub struct Sockets {
    /// Verbs, and who else is the server's user.
    pub owner: std::os::unix::net::UnixListener,
    /// Users whom the configuration names.
    pub users: Option<std::os::unix::net::UnixListener>,
    /// Whoever has a key, at a loopback address.
    pub keys: Option<std::net::TcpListener>,
}

impl Sockets {
    /// The same sockets, for another process.
    ///
    /// # Errors
    /// If this process may have no more files.
    pub fn try_clone(&self) -> io::Result<Self> {
        let Self { owner, users, keys } = self;
        let users = users.as_ref().map(std::os::unix::net::UnixListener::try_clone).transpose()?;
        let keys = keys.as_ref().map(std::net::TcpListener::try_clone).transpose()?;
        Ok(Self { owner: owner.try_clone()?, users, keys })
    }
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

/// Makes the socket of `[api]`, of mode 0660, for that group; unless told, this process's.
///
/// # Errors
/// If it cannot be made: somebody answers there, or what lies there is no socket.
pub fn users_socket(path: &Path, group: Option<u32>) -> io::Result<std::os::unix::net::UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(io::Error::other("something else lies there")),
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers there"));
        }
        // Left from one that was killed.
        Ok(_) => std::fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    if let Some(group) = group {
        std::os::unix::fs::chown(path, None, Some(group))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// As [`listen`], by sockets that are there, for a server that can do more.
///
/// # Errors
/// If there is no thread for it.
pub fn listen_with(
    sockets: Sockets,
    state: State,
    duologue: Duologue,
    controlled: Controlled,
) -> io::Result<Listening> {
    let Sockets { owner, users, keys } = sockets;
    owner.set_nonblocking(true)?;
    users.as_ref().map_or(Ok(()), |users| users.set_nonblocking(true))?;
    keys.as_ref().map_or(Ok(()), |keys| keys.set_nonblocking(true))?;
    let port = keys.as_ref().map(std::net::TcpListener::local_addr).transpose()?.map_or(0, |bound| bound.port());
    let Controlled { config, hand_overs, intake } = controlled;
    let watch = duologue.watch().clone();
    let app = router(state, Some(duologue), config, hand_overs).layer(DefaultBodyLimit::max(BODY_LEN_MAX));
    Listening::on_a_thread("duologue-owner", move |stop| async move {
        let answering = Answering { app, watch, intake, stop };
        let of_owner = async |listener: UnixListener, is_owners| {
            let admitted = |stream: &UnixStream| Extension(By::of(stream, is_owners));
            answering.accept(async || Ok(listener.accept().await?.0), admitted).await;
        };
        let owner = async {
            match UnixListener::from_std(owner) {
                Ok(listener) => of_owner(listener, true).await,
                Err(error) => answering.watch.tell(failed(&error)),
            }
        };
        let users = async {
            match users.map(UnixListener::from_std) {
                None => {}
                Some(Ok(listener)) => of_owner(listener, false).await,
                Some(Err(error)) => answering.watch.tell(failed(&error)),
            }
        };
        let keys = async {
            match keys.map(TcpListener::from_std) {
                None => {}
                Some(Ok(listener)) => {
                    let admitted = |_: &TcpStream| Extension(ByKey { port });
                    answering.accept(async || Ok(listener.accept().await?.0), admitted).await;
                }
                Some(Err(error)) => answering.watch.tell(failed(&error)),
            }
        };
        tokio::join!(owner, users, keys);
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

/// Whoever answers at some sockets.
struct Answering {
    app: Router,
    watch: Watch,
    intake: Intake,
    stop: CancellationToken,
}

impl Answering {
    /// Answers at one of them, which has places of its own: `admitted` is what is known of who comes there.
    async fn accept<S, T>(&self, next: impl AsyncFn() -> io::Result<S>, admitted: impl Fn(&S) -> Extension<T>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: Clone + Send + Sync + 'static,
    {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await;
                self.intake.accepted(|| next()).await.map(|stream| (stream, place))
            };
            let Some(accepted) = self.stop.run_until_cancelled(next).await else { break };
            match accepted {
                Ok((stream, place)) => {
                    let app = self.app.clone().layer(admitted(&stream));
                    tokio::spawn(async move {
                        converse(stream, app).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    self.watch.tell(failed(&error));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        // Whoever is being answered has asked for this end, perhaps.
        let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(LAST, places.acquire_many(all)).await;
    }
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
