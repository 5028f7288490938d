//! The run loop of `duologue::Line` over sockets of messages.
//!
//! ```text
//! carry        one socket:  socket ─► 1 handle_message      3 poll_transmit ─► socket      (until the socket is done)
//! keep         one line:    2 answer questions, 4 poll_timeout ─► sleep                     (until the line is closed)
//! shake_hands  a server's socket before its verdict: the connection belongs to no line yet
//! ```
//!
//! Reading and writing run side by side: a peer that does not read never stops us from reading.

use std::{future::Future, sync::Arc, time::Duration};

use duologue::{
    AuthRequest, CloseCode, Connection, ConnectionError, ConnectionNo, Event, Instant, LineEvent, OfferedCredential,
    Randomness, Secret,
};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::sync::Notify;

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

/// Who answers a line's questions.
pub trait Endpoint: Send {
    /// Answers one [`LineEvent`]: a dial, a signature, a channel of the peer's.
    fn answer(&mut self, line: &Line, event: LineEvent) -> impl Future<Output = ()> + Send;
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

/// Runs one socket of a line until it is done.
pub async fn carry<B, R, W>(line: &Line, no: ConnectionNo, mut read: R, mut write: W)
where
    B: AsRef<[u8]>,
    R: Stream<Item = Incoming<B>> + Unpin,
    W: Sink<Vec<u8>> + Unpin,
{
    let shared = &*line.shared;
    let wake = shared.register(no);
    let receive = receive(shared, no, &mut read);
    let transmit = transmit(shared, no, &wake.transmit, &mut write);
    let work = async {
        let (mut receive, mut transmit) = (std::pin::pin!(receive), std::pin::pin!(transmit));
        tokio::select! {
            () = &mut receive => transmit.await,
            // Dropped with unread bytes in it, a TCP socket takes back what it has just sent: our CLOSE.
            () = &mut transmit => drop(tokio::time::timeout(LINGER, receive).await),
        }
    };
    // A link that takes nothing any more must not keep its socket.
    let over = async {
        wake.over.notified().await;
        tokio::time::sleep(2 * LINGER).await;
    };
    tokio::select! {
        () = work => {}
        () = over => {}
    }
    let now = shared.now();
    shared.with(|state| {
        state.line.handle_lost(now, no);
        state.forget(no);
    });
}

async fn receive<B: AsRef<[u8]>, R: Stream<Item = Incoming<B>> + Unpin>(
    shared: &Shared,
    no: ConnectionNo,
    read: &mut R,
) {
    while let Some(message) = read.next().await {
        let now = shared.now();
        shared.with(|state| match message {
            Incoming::Binary(bytes) => {
                if let Err(error) = state.line.handle_message(now, no, bytes.as_ref()) {
                    tracing::debug!(%error, "a connection ends");
                }
            }
            Incoming::Text => state.line.handle_text(now, no),
            Incoming::Other => {}
        });
        // Whoever answers the questions, such as a channel that was opened, comes first: a peer cannot flood it.
        shared.answered().await;
    }
    let now = shared.now();
    shared.with(|state| state.line.handle_lost(now, no));
}

async fn transmit<W: Sink<Vec<u8>> + Unpin>(shared: &Shared, no: ConnectionNo, wake: &Notify, write: &mut W) {
    loop {
        let now = shared.now();
        let (record, done) = shared.with(|state| {
            let mut record = Vec::new();
            let sent = state.line.poll_transmit(now, no, &mut record);
            (sent.then_some(record), state.line.is_done(no))
        });
        match record {
            Some(record) => {
                if write.send(record).await.is_err() {
                    let now = shared.now();
                    shared.with(|state| state.line.handle_lost(now, no));
                }
            }
            None if done => break,
            None => wake.notified().await,
        }
    }
    let _ = write.close().await;
}

/// Answers a line's questions and minds its time, until it is closed. What [`Endpoint::answer`] is given last is
/// [`LineEvent::Closed`].
pub async fn keep<E: Endpoint>(line: &Line, endpoint: &mut E) {
    let shared = &*line.shared;
    loop {
        while let Some(question) = shared.next_question() {
            let last = matches!(question, LineEvent::Closed(_));
            endpoint.answer(line, question).await;
            shared.question_answered();
            if last {
                return;
            }
        }
        match shared.arm() {
            Some(at) => {
                if tokio::time::timeout_at(shared.deadline(at), shared.wake.notified()).await.is_err() {
                    let now = shared.now();
                    shared.with(|state| state.line.handle_timeout(now));
                }
            }
            None => shared.wake.notified().await,
        }
    }
}

/// A server's connection whose device has proved itself and waits for the verdict, with its socket.
#[derive(Debug)]
pub struct Proved<R, W> {
    /// To be given to a line, or to [`Proved::refuse`].
    pub connection: Connection,
    /// Who it is.
    pub request: AuthRequest,
    /// The socket's halves, for [`carry`].
    pub read: R,
    /// See `read`.
    pub write: W,
    started: std::time::Instant,
}

impl<B: AsRef<[u8]>, R: Stream<Item = Incoming<B>> + Unpin, W: Sink<Vec<u8>> + Unpin> Proved<R, W> {
    /// Turns the device away and tells it why under the seal.
    pub async fn refuse(mut self, code: CloseCode) {
        self.connection.refuse(since(self.started), code);
        hang_up(&mut self.connection, self.started, &mut self.read, &mut self.write).await;
    }
}

/// Runs a server's connection until the device has proved itself. `find` looks up the secret of a credential.
///
/// # Errors
/// Why it did not; the socket is then closed.
pub async fn shake_hands<B, R, W, F>(
    accept: impl FnOnce(Instant) -> Connection,
    mut read: R,
    mut write: W,
    find: impl Fn(OfferedCredential) -> F,
) -> Result<Proved<R, W>, ConnectionError>
where
    B: AsRef<[u8]>,
    R: Stream<Item = Incoming<B>> + Unpin,
    W: Sink<Vec<u8>> + Unpin,
    F: Future<Output = Option<Secret>>,
{
    let started = std::time::Instant::now();
    let mut connection = accept(Instant::default());
    loop {
        while let Some(event) = connection.poll_event() {
            match event {
                Event::SecretWanted(credential) => {
                    let secret = find(credential).await;
                    // An error closes the connection, which is the next event.
                    let _ = connection.provide_secret(since(started), secret.as_ref());
                }
                Event::AuthReceived(request) => {
                    return Ok(Proved { connection, request: *request, read, write, started });
                }
                Event::Closed(cause) => {
                    hang_up(&mut connection, started, &mut read, &mut write).await;
                    return Err(cause);
                }
                _ => {}
            }
        }
        if !flush(&mut connection, started, &mut write).await {
            return Err(ConnectionError::Lost);
        }
        let deadline = connection.poll_timeout().unwrap_or_default();
        let deadline = started + Duration::from_micros(deadline.as_micros());
        let message = tokio::time::timeout_at(deadline.into(), read.next()).await;
        let now = since(started);
        match message {
            // An error closes the connection, which is the next event.
            Ok(Some(Incoming::Binary(bytes))) => drop(connection.handle_message(now, bytes.as_ref())),
            Ok(Some(Incoming::Text)) => drop(connection.handle_text(now)),
            Ok(Some(Incoming::Other)) => {}
            Ok(None) => connection.handle_lost(now),
            Err(_) => connection.handle_timeout(now),
        }
    }
}

fn since(started: std::time::Instant) -> Instant {
    Instant::default() + started.elapsed()
}

async fn flush<W: Sink<Vec<u8>> + Unpin>(
    connection: &mut Connection,
    started: std::time::Instant,
    write: &mut W,
) -> bool {
    loop {
        let mut message = Vec::new();
        if !connection.poll_transmit(since(started), &mut message) {
            return true;
        }
        if write.send(message).await.is_err() {
            return false;
        }
    }
}

/// Sends the last word of a connection that has ended, and waits a little for its peer to hang up.
async fn hang_up<B: AsRef<[u8]>, R: Stream<Item = Incoming<B>> + Unpin, W: Sink<Vec<u8>> + Unpin>(
    connection: &mut Connection,
    started: std::time::Instant,
    read: &mut R,
    write: &mut W,
) {
    let leave = async {
        flush(connection, started, write).await;
        let _ = write.close().await;
        while read.next().await.is_some() {}
    };
    let _ = tokio::time::timeout(LINGER, leave).await;
}

/// What wakes a socket.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    /// There may be something to send.
    pub(crate) transmit: Notify,
    /// The line needs it no longer.
    pub(crate) over: Notify,
}

pub(crate) type Sockets = Vec<(ConnectionNo, Arc<Wake>)>;
