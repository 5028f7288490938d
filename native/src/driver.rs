//! The run loop of `duologue::Connection` over a socket of messages.
//!
//! ```text
//! read   socket ─► 1 handle_message ─► 2 answer questions        (until the socket ends)
//! write  3 poll_transmit ─► socket, 4 poll_timeout ─► sleep      (until closed and flushed)
//! ```
//!
//! Both run in one task, side by side: a peer that does not read never stops us from reading.

use std::{future::Future, sync::Arc, time::Duration};

use duologue::{ConnectionError, Event, Instant, Randomness};
use futures_util::{Sink, SinkExt, Stream, StreamExt};

use crate::line::{Line, Shared};

/// How long a closed socket waits for its peer to hang up.
const LINGER: Duration = Duration::from_secs(1);

/// What comes from a socket.
#[derive(Debug)]
pub enum Incoming<B> {
    /// A binary message.
    Binary(B),
    /// A text message, which this protocol does not have.
    Text,
    /// Anything that the WebSocket layer deals with itself.
    Other,
}

/// A socket that carries binary messages both ways, and says when it ends.
pub trait Socket {
    /// What a received message is held in.
    type Bytes: AsRef<[u8]> + Send;
    /// The reading half; its end, or an error, is the socket's end.
    type Read: Stream<Item = Incoming<Self::Bytes>> + Send + Unpin;
    /// The writing half.
    type Write: Sink<Vec<u8>> + Send + Unpin;

    /// Both halves, so that they can run side by side.
    fn split(self) -> (Self::Read, Self::Write);
}

/// Who answers a connection's questions.
pub trait Endpoint: Send {
    /// Answers one [`Event`]: a secret, a signature, a verdict, a channel of the peer's.
    fn answer(&mut self, line: &Line, event: Event) -> impl Future<Output = ()> + Send;
}

/// Randomness for one handshake, from the operating system.
///
/// # Panics
/// If the operating system has none: nothing could be safe then.
#[must_use]
pub fn randomness() -> Randomness {
    let mut bytes = [0; duologue::crypto::RANDOMNESS_LEN];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    Randomness::new(bytes)
}

/// Makes a line of a connection, and the future that runs it: to be spawned.
pub fn drive<S, E>(
    connect: impl FnOnce(Instant) -> duologue::Connection,
    socket: S,
    mut endpoint: E,
) -> (Line, impl Future<Output = ConnectionError> + Send)
where
    S: Socket,
    S::Read: 'static,
    S::Write: 'static,
    E: Endpoint + 'static,
{
    let shared = Shared::new(connect);
    let line = Line::new(Arc::clone(&shared));
    let (read, write) = socket.split();
    let run = async move {
        let own = Line::unguarded(Arc::clone(&shared));
        let read = handle_messages(&shared, &own, read, &mut endpoint);
        let write = transmit(&shared, write);
        let (mut read, mut write) = (std::pin::pin!(read), std::pin::pin!(write));
        tokio::select! {
            () = &mut read => write.await,
            // Dropped with unread bytes in it, a TCP socket takes back what it has just sent: our CLOSE.
            () = &mut write => drop(tokio::time::timeout(LINGER, read).await),
        }
        shared.with(|state| state.closed.clone()).unwrap_or(ConnectionError::Lost)
    };
    (line, run)
}

async fn handle_messages<B: AsRef<[u8]>, R: Stream<Item = Incoming<B>> + Unpin, E: Endpoint>(
    shared: &Shared,
    line: &Line,
    mut read: R,
    endpoint: &mut E,
) {
    loop {
        while let Some(question) = shared.with(|state| state.questions.pop_front()) {
            endpoint.answer(line, question).await;
        }
        let Some(message) = read.next().await else { break };
        let now = shared.now();
        shared
            .with(|state| match message {
                Incoming::Binary(bytes) => state.connection.handle_message(now, bytes.as_ref()),
                Incoming::Text => state.connection.handle_text(now),
                Incoming::Other => Ok(()),
            })
            .unwrap_or_else(|error| tracing::debug!(%error, "the connection ends"));
    }
    let now = shared.now();
    shared.with(|state| state.connection.handle_lost(now));
}

async fn transmit<W: Sink<Vec<u8>> + Unpin>(shared: &Shared, mut write: W) {
    loop {
        let now = shared.now();
        let (record, deadline, closed) = shared.with(|state| {
            let mut record = Vec::new();
            let sent = state.connection.poll_transmit(now, &mut record);
            (sent.then_some(record), state.connection.poll_timeout(), state.connection.is_closed())
        });
        match (record, deadline) {
            (Some(record), _) => {
                if write.send(record).await.is_err() {
                    shared.with(|state| state.connection.handle_lost(now));
                }
            }
            (None, _) if closed => break,
            (None, Some(at)) => {
                let timeout = tokio::time::timeout_at(shared.deadline(at), shared.wake.notified()).await;
                if timeout.is_err() {
                    let now = shared.now();
                    shared.with(|state| state.connection.handle_timeout(now));
                }
            }
            (None, None) => shared.wake.notified().await,
        }
    }
    let _ = write.close().await;
}
