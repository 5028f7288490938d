//! Sockets that this server has not opened itself: a service manager has (socket activation), or the server whose place it takes.

use std::{
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::Path,
};

use anyhow::Context as _;
use duologue_server::{ApiSettings, State, control_socket, users_socket};
use listenfd::ListenFd;

use super::wrong_usage;

/// What a service manager calls the socket of lines, and that of `status` (`FileDescriptorName=`).
const LINES: &str = "lines";
const STATUS: &str = "status";
/// And the one in clear that `[tls.acme]` names.
const HTTP: &str = "http";

/// Sockets that are open already.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// For lines and pages. It counts, and not what `listen` says.
    pub(crate) lines: Option<TcpListener>,
    pub(crate) status: Option<TcpListener>,
    pub(crate) http: Option<TcpListener>,
}

impl Sockets {
    /// Those of a service manager, as `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES` say; none where they say nothing.
    pub(crate) fn activated() -> anyhow::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut given = ListenFd::from_env();
        let mut sockets = Self::default();
        for at in 0..given.len() {
            let name = names.next().unwrap_or_default();
            let place = match name {
                STATUS => &mut sockets.status,
                HTTP => &mut sockets.http,
                // One that nobody has named, or systemd by its unit.
                LINES | "" | "unknown" | "duologue.socket" => &mut sockets.lines,
                other => {
                    return Err(wrong_usage(format!(
                        "the service manager gives a socket {other:?}: FileDescriptorName= is {LINES}, {STATUS} or {HTTP}"
                    )));
                }
            };
            let listener =
                given.take_tcp_listener(at).map_err(|error| wrong_usage(format!("the socket {name:?}: {error}")))?;
            if place.is_some() {
                return Err(wrong_usage(format!(
                    "the service manager gives more than one socket for {name:?}: one that listens on [::] takes IPv4 too"
                )));
            }
            *place = listener;
        }
        Ok(sockets)
    }

    /// The sockets of `status`, and in clear, opened where they are not open already. `activated`: a service manager says where they
    /// are.
    pub(crate) fn others(
        self,
        status: Option<SocketAddr>,
        http: Option<SocketAddr>,
        activated: bool,
    ) -> anyhow::Result<[Option<TcpListener>; 2]> {
        let status = opened(self.status, status, activated, "--status")?;
        Ok([status, opened(self.http, http, activated, "`http` of [tls.acme]")?])
    }
}

/// The sockets of the local API, opened as the configuration says, where those that another server had are not these.
pub(crate) fn of_api(
    state: &State,
    former: Option<duologue_server::Sockets>,
    api: &ApiSettings,
) -> anyhow::Result<duologue_server::Sockets> {
    let mut sockets = match former {
        Some(sockets) => sockets,
        None => {
            let owner = control_socket(state).context("cannot make the control socket")?;
            duologue_server::Sockets { owner, users: None, keys: None }
        }
    };
    let is_there = |users: &UnixListener, path: &Path| {
        let bound = users.local_addr().ok();
        path.exists() && bound.is_some_and(|bound| bound.as_pathname() == Some(path))
    };
    sockets.users = match (sockets.users.take(), &api.socket) {
        (Some(users), Some(path)) if is_there(&users, path) => Some(users),
        (former, Some(path)) => {
            // Somebody would still answer there.
            drop(former);
            let made = users_socket(path, api.group);
            Some(made.with_context(|| format!("{} cannot be made, `socket` of [api]", path.display()))?)
        }
        (_, None) => None,
    };
    sockets.keys = opened(sockets.keys.take(), api.listen, false, "`listen` of [api]")?;
    Ok(sockets)
}

fn opened(
    given: Option<TcpListener>,
    said: Option<SocketAddr>,
    activated: bool,
    by: &str,
) -> anyhow::Result<Option<TcpListener>> {
    match (given, said) {
        (Some(given), Some(said)) if activated || is_at(&given, said)? => Ok(Some(given)),
        (Some(given), None) if activated => Ok(Some(given)),
        (_, Some(said)) => {
            let opened = TcpListener::bind(said);
            opened.map(Some).with_context(|| format!("cannot listen on {said}: choose another by {by}"))
        }
        (_, None) => Ok(None),
    }
}

/// Whether a socket listens where somebody wants it to.
pub(crate) fn is_at(listener: &TcpListener, wanted: SocketAddr) -> anyhow::Result<bool> {
    let bound = listener.local_addr()?;
    Ok(bound == wanted || (wanted.port() == 0 && bound.ip() == wanted.ip()))
}
