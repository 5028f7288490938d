//! Whether listeners take connections: a server that hands its sockets over to another stops without closing them, so that whoever
//! comes waits to be accepted by the other, or by this one if it comes to nothing.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::watch;

use crate::door::lobby::Lobby;

/// What listeners look at before they accept. Clones are the same; all of them accept unless told.
#[derive(Clone, Debug, Default)]
pub struct Intake(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    paused: watch::Sender<bool>,
    /// Who has connected and is no line yet.
    lobbies: Mutex<Vec<Arc<Lobby>>>,
    /// Who has connected and asked for nothing yet.
    silent: AtomicUsize,
}

/// A connection on which nothing was asked for yet.
#[derive(Debug)]
pub(super) struct Silent(Arc<Inner>);

impl Drop for Silent {
    fn drop(&mut self) {
        self.0.silent.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Inner {
    fn default() -> Self {
        Self { paused: watch::Sender::new(false), lobbies: Mutex::default(), silent: AtomicUsize::new(0) }
    }
}

impl Intake {
    /// No more are accepted, until [`Self::resume`]. Whoever has been is answered once; a connection that nothing more is asked for on
    /// ends.
    pub fn pause(&self) {
        self.0.paused.send_replace(true);
    }

    /// They are accepted again.
    pub fn resume(&self) {
        self.0.paused.send_replace(false);
    }

    /// Connections that are in the middle of something: TLS, a request, a handshake that is no line yet.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.0.lobbies.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|lobby| lobby.busy()).sum()
    }

    /// Connections that nothing was asked for on yet: it may be on its way.
    #[must_use]
    pub fn silent(&self) -> usize {
        self.0.silent.load(Ordering::Relaxed)
    }

    /// One more, until that is dropped.
    pub(super) fn begun(&self) -> Silent {
        self.0.silent.fetch_add(1, Ordering::Relaxed);
        Silent(Arc::clone(&self.0))
    }

    pub(super) fn is_paused(&self) -> bool {
        *self.0.paused.borrow()
    }

    /// Whoever connects, as soon as somebody is accepted at all.
    pub(crate) async fn accepted<T, F: Future<Output = T>>(&self, accept: impl Fn() -> F) -> T {
        loop {
            self.resumed().await;
            tokio::select! {
                accepted = accept() => return accepted,
                () = self.paused() => {}
            }
        }
    }

    /// Waits until none are accepted.
    pub(super) async fn paused(&self) {
        self.is(true).await;
    }

    /// Waits until they are again.
    pub(super) async fn resumed(&self) {
        self.is(false).await;
    }

    async fn is(&self, paused: bool) {
        // The sender is in `self`: it does not go.
        let _ = self.0.paused.subscribe().wait_for(|is| *is == paused).await;
    }

    /// Those of a listener's lobby count as under way.
    pub(super) fn watches(&self, lobby: &Arc<Lobby>) {
        self.0.lobbies.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(lobby));
    }
}
