//! A line: the handle that an application holds, across connections and sessions. Its channels are opened in `open.rs`.

use std::{fmt, sync::Arc, time::Duration};

use duologue::{BadEvidence, CloseCode, ConnectionError, EvidenceKind, Instant, Line as Core, LineState, Standing};
use tokio::sync::watch;

use crate::shared::{LineError, Moved, Shared, State, wait};

/// One line to one peer. Clones are the same line; when the last one and the last channel are dropped, it closes.
#[derive(Clone)]
pub struct Line {
    pub(crate) shared: Arc<Shared>,
    _guard: Option<Arc<CloseOnDrop>>,
}

struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        let now = self.0.now();
        self.0.with(|state| state.line.close(now, CloseCode::Normal, ""));
    }
}

impl Line {
    /// The handle to a line, to be run by [`crate::carry`] and [`crate::keep`].
    #[must_use]
    pub fn new(line: Core) -> Self {
        let shared = Shared::new(line);
        Self { _guard: Some(Arc::new(CloseOnDrop(Arc::clone(&shared)))), shared }
    }

    /// A handle for those who run the line, which does not keep it open.
    #[must_use]
    pub fn unguarded(&self) -> Self {
        Self { _guard: None, shared: Arc::clone(&self.shared) }
    }

    /// Whether both are handles of one line.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Waits until the server has let this device in.
    ///
    /// # Errors
    /// Why it did not.
    pub async fn ready(&self) -> Result<(), LineError> {
        self.wait(|state| match state.line.closed() {
            Some(error) => Some(Err(LineError::Connection(error.clone()))),
            None => (state.line.state() == LineState::Open).then_some(Ok(())),
        })
        .await
    }

    /// What somebody on the way was found to have altered, how often and for how long; nothing of it was let through. None if
    /// nothing was.
    #[must_use]
    pub fn altered(&self) -> Option<(u32, Duration)> {
        let now = self.shared.now();
        self.shared.with(|state| state.line.altered()).map(|altered| (altered.count, now - altered.since))
    }

    /// How much it has moved so far.
    #[must_use]
    pub fn moved(&self) -> Moved {
        self.shared.with(|state| state.moved)
    }

    /// The smoothed round trip of the connection that carries the line, as acknowledgements tell it, which may take 25 ms; none
    /// before the first.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.shared.with(|state| state.line.round_trip())
    }

    /// Client: shows evidence of the person, such as a token: now, and with each connection, until newer is shown. What comes of it is
    /// in [`Self::standing`], which repeats the number that is given back.
    ///
    /// # Errors
    /// [`BadEvidence`] if it is empty or has more than 8,184 bytes; what was shown before then stays.
    pub fn show(&self, kind: EvidenceKind, data: Vec<u8>) -> Result<u32, BadEvidence> {
        self.shared.with(|state| state.line.show(kind, data))
    }

    /// Client: the person signs out: what was shown counts no more, here and in the device's other sessions, and is not shown again.
    /// Returns when the server has said so, or has ended the line; it opens no other one for it.
    ///
    /// # Errors
    /// If the line ends before the server has heard it.
    pub async fn sign_out(&self) -> Result<(), LineError> {
        let mut standing = self.standing();
        let number = self.show(EvidenceKind::SignOut, Vec::from([0])).unwrap_or_default();
        let told = standing.wait_for(|standing| standing.evidence >= number);
        tokio::select! {
            _ = told => Ok(()),
            cause = self.closed() => match cause {
                ConnectionError::PeerClosed(_) => Ok(()),
                cause => Err(LineError::Connection(cause)),
            },
        }
    }

    /// Client: what the server says of this device as it is now: its level, whose it is, and for how long. Level 0 before it has
    /// let it in.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.shared.with(|state| state.standing().subscribe())
    }

    /// Waits for the end, and tells its cause.
    pub async fn closed(&self) -> ConnectionError {
        self.wait(|state| state.line.closed().cloned()).await
    }

    /// Whether a connection carries the session now.
    #[must_use]
    pub fn state(&self) -> LineState {
        self.shared.with(|state| state.line.state())
    }

    /// Waits until the state is another one than `seen`, and tells it.
    pub async fn state_after(&self, seen: LineState) -> LineState {
        self.wait(|state| Some(state.line.state()).filter(|state| *state != seen)).await
    }

    /// Ends the line; the peer is told the code and the reason (cut to 256 bytes).
    pub fn close(&self, code: CloseCode, reason: &str) {
        let now = self.shared.now();
        self.shared.with(|state| state.line.close(now, code, reason));
    }

    /// Commands the line itself: for endpoints that answer its questions.
    pub fn command<T>(&self, work: impl FnOnce(&mut Core, Instant) -> T) -> T {
        let now = self.shared.now();
        self.shared.with(|state| work(&mut state.line, now))
    }

    pub(crate) async fn wait<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        wait(&self.shared, &self.shared.changed, |shared| shared.with(&mut look)).await
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Line").field(&self.state()).finish()
    }
}
