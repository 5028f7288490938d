//! Who connects is taken from the listener: somebody who is let in has a task of his own, and of many who are not each costs little.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd as _, BorrowedFd},
    sync::Arc,
    time::Duration,
};

use axum::http::HeaderMap;
use duologue_native::path::Tls;
use socket2::SockRef;
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::TcpStream,
};

use super::{Front, Whose, of_client};
use crate::{
    door::lobby::Worth,
    state::files,
    watch::events::{Event, Kind},
};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;
/// Connections that are turned away before anybody else has a turn.
const AT_ONCE: u32 = 64;
/// For how long nobody is waited for by himself while connections are turned away.
const TOGETHER: Duration = Duration::from_millis(1);
/// How long none is accepted when one could not be.
const FAILED: Duration = Duration::from_millis(50);
/// How long no connection is accepted when all files are in use.
const FULL: Duration = Duration::from_millis(5);

/// Lets more wait to be accepted than the standard library's 128: where one more comes it is as if its packet had been lost, and
/// it tries again a second later.
pub(super) fn deepen(listener: std::net::TcpListener) -> io::Result<std::net::TcpListener> {
    SockRef::from(&listener).listen(BACKLOG)?;
    Ok(listener)
}

/// Tells when somebody waits at a listener, which is asked apart: tokio's own makes a socket of its reactor of each connection, also of
/// one that is closed at once.
#[expect(
    deprecated,
    reason = "what is to be used in its place is unsafe; a listener of std's keeps its descriptor, as it asks"
)]
fn readable(listener: &std::net::TcpListener) -> io::Result<AsyncFd<BorrowedFd<'_>>> {
    AsyncFd::with_interest(listener.as_fd(), Interest::READABLE)
}

/// What has come of asking a listener.
enum Taken {
    /// Somebody was let in, or more may wait.
    Some,
    NoneWasLetIn,
    Nobody,
    Failed,
}

impl Front {
    /// Until it is to stop, or the listener cannot be used.
    pub(super) async fn accept(self: Arc<Self>, listener: std::net::TcpListener) -> io::Result<()> {
        let mut waits = None;
        loop {
            // What is closed because others came is closed first: its file is wanted.
            tokio::task::yield_now().await;
            if self.stop.is_cancelled() {
                return Ok(());
            }
            if self.intake.is_paused() {
                tokio::select! {
                    () = self.intake.resumed() => continue,
                    () = self.stop.cancelled() => return Ok(()),
                }
            }
            if files::is_full() {
                tokio::select! {
                    () = tokio::time::sleep(FULL) => continue,
                    () = self.stop.cancelled() => return Ok(()),
                }
            }
            let rest = match self.take_all(&listener) {
                Taken::Some => continue,
                // Those who come next are taken together: to be told of each, and wait for the next, costs more than to turn it away.
                Taken::NoneWasLetIn => {
                    waits = None;
                    TOGETHER
                }
                Taken::Failed => FAILED,
                Taken::Nobody => {
                    let waits = match &waits {
                        Some(waits) => waits,
                        None => waits.insert(readable(&listener)?),
                    };
                    tokio::select! {
                        // Whoever comes from now on makes it so again.
                        ready = waits.readable() => ready?.clear_ready(),
                        () = self.intake.paused() => {}
                        () = self.stop.cancelled() => return Ok(()),
                    }
                    continue;
                }
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = self.stop.cancelled() => return Ok(()),
            }
        }
    }

    /// Takes those who wait, up to the first who is let in.
    fn take_all(self: &Arc<Self>, listener: &std::net::TcpListener) -> Taken {
        for turned_away in 0..AT_ONCE {
            match listener.accept() {
                Ok((tcp, address)) => match self.take(tcp, address) {
                    Ok(true) => return Taken::Some,
                    Ok(false) => {}
                    Err(error) => self.tell(Event::of(Kind::AcceptFailed).note(error.to_string())),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return if turned_away > 0 { Taken::NoneWasLetIn } else { Taken::Nobody };
                }
                // Out of file descriptors, as a rule: others will be given back.
                Err(error) => {
                    self.tell(Event::of(Kind::AcceptFailed).note(error.to_string()));
                    return Taken::Failed;
                }
            }
        }
        Taken::Some
    }

    /// Somebody has connected. False if he is turned away.
    fn take(self: &Arc<Self>, tcp: std::net::TcpStream, address: SocketAddr) -> io::Result<bool> {
        // An IPv4 address where the listener has both kinds.
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let client = self.client(Whose { peer: address, proxied: None, tls: Tls::None }, &HeaderMap::new());
        // A proxy's is judged as its client's, when that is known.
        if !self.proxies.contains(address.ip()) && self.admits(client).is_err() {
            return Ok(false);
        }
        self.lobby.set_max(files::strangers_max(self.lobby.len()));
        let Some(place) = self.lobby.enter(client.bounded_as(), Worth::Begun) else {
            self.tell(of_client(Kind::TooManyConnections, client));
            return Ok(false);
        };
        tcp.set_nonblocking(true)?;
        let tcp = TcpStream::from_std(tcp)?;
        tokio::spawn(Arc::clone(self).serve(tcp, address, place));
        Ok(true)
    }
}
