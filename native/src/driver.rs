//! The run loop of `duologue::Line` over sockets of messages.
//!
//! ```text
//! carry        one socket:  socket ─► 1 handle_message      3 poll_transmit ─► socket      (until the socket is done)
//! keep         one line:    2 answer questions, 4 poll_timeout ─► sleep                     (until the line is closed)
//! shake_hands  a server's socket before its verdict: the connection belongs to no line yet
//! ```
//!
//! Reading and writing run side by side: a peer that does not read never stops us from reading.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::BytesMut;
use duologue::{
    AuthRequest, CloseCode, Connection, ConnectionError, ConnectionNo, Event, Instant, LineEvent, OfferedCredential,
    Randomness, Secret, limits::RECORD_LEN_MAX,
};
use futures_util::{Sink, SinkExt, Stream, StreamExt};

use crate::{
    line::Line,
    shared::{Shared, Wake},
};

/// How long a server waits for AUTH behind M2 before it pushes.
const PUSH: Duration = Duration::from_millis(duologue::limits::PUSH_MILLIS);

/// How long a closed socket waits for its peer to hang up.
const LINGER: Duration = Duration::from_secs(1);

/// What comes from a socket.
#[derive(Debug)]
pub enum Incoming {
    /// A binary message.
    Binary(BytesMut),
    /// A text message, which this protocol does not have.
    Text,
    /// Anything that the WebSocket layer deals with itself.
    Other,
    /// The peer has closed, or broken a rule of the WebSocket layer: nothing follows but the socket's end.
    Closing,
}

impl Incoming {
    /// A binary message that is longer than a record, whatever it says. The core takes it for one that was altered, tells
    /// its peer so and counts it; a socket need not keep it for that.
    #[must_use]
    pub fn too_long() -> Self {
        Self::Binary(BytesMut::zeroed(RECORD_LEN_MAX + 1))
    }
}

/// A socket that carries binary messages both ways. Its end, or an error, ends what comes from it.
///
/// One task polls both directions, so that it needs no locks and no second copy of anything.
pub trait Socket: Stream<Item = Incoming> + Sink<Vec<u8>> + Send + Unpin {}

impl<S: Stream<Item = Incoming> + Sink<Vec<u8>> + Send + Unpin> Socket for S {}

/// Who answers a line's questions.
pub trait Endpoint: Send {
    /// Answers one [`LineEvent`]: a dial, a signature, a channel of the peer's.
    fn answer(&mut self, line: &Line, event: LineEvent) -> impl Future<Output = ()> + Send;
}

/// Who decides on a stranger of a server's, before its device has proved itself.
pub trait Doorkeeper<S>: Send {
    /// An M1 has come, as its socket's first message. Nothing was computed for it yet.
    fn look_at(&mut self, m1: &[u8]) -> impl Future<Output = Entrance> + Send;
    /// An M1 was good: the secret of the credential that it shows. M2 leaves when this is answered; nothing of it, if the
    /// socket is dropped before.
    fn find(&mut self, credential: OfferedCredential) -> impl Future<Output = Found> + Send;
    /// M2 has left. AUTH has not come for a while: some proxies withhold M2 until more follows. Gives the socket something to
    /// send that no peer minds, such as a ping.
    fn push(&mut self, socket: &mut S);
}

/// What is known of a credential.
#[derive(Debug)]
pub enum Found {
    /// Its secret, if there is one: M2 leaves either way, and says under the seal which.
    Secret(Option<Secret>),
    /// The socket is closed, without M2.
    Refused,
}

/// What becomes of an M1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// It is read.
    Take,
    /// It is to be made anew, so that it cannot be a replay.
    AskFreshness,
    /// Its socket is closed.
    Refuse,
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
pub async fn carry<S: Socket>(line: &Line, no: ConnectionNo, socket: S) {
    let shared = &*line.shared;
    let wake = shared.register(no);
    // Never waited for: both directions are polled by this one task, one after the other.
    let socket = Mutex::new(socket);
    {
        let mut receive = pin!(receive(shared, no, &socket));
        let mut transmit = pin!(transmit(shared, no, &wake, &socket));
        let mut work = pin!(both(receive.as_mut(), transmit.as_mut()));
        tokio::select! {
            biased;
            () = &mut work => {}
            // A link that takes nothing any more must not keep its socket.
            () = wake.over.notified() => drop(Box::pin(tokio::time::timeout(2 * LINGER, work)).await),
        }
    }
    let now = shared.now();
    shared.with(|state| {
        state.line.handle_lost(now, no);
        state.forget(no);
    });
}

/// Both directions of a socket, to the end of both.
async fn both(mut receive: Pin<&mut impl Future<Output = ()>>, mut transmit: Pin<&mut impl Future<Output = ()>>) {
    tokio::select! {
        biased;
        () = &mut receive => transmit.await,
        // Dropped with unread bytes in it, a TCP socket takes back what it has just sent: our CLOSE.
        // What is rare is boxed: an idle line has no room for it.
        () = &mut transmit => drop(Box::pin(tokio::time::timeout(LINGER, receive)).await),
    }
}

/// Polls one direction of a socket. No `async fn`: that keeps what it is given twice, and so is what sends a record.
fn with_socket<S: Unpin, T>(
    socket: &Mutex<S>,
    mut poll: impl FnMut(Pin<&mut S>, &mut Context<'_>) -> Poll<T>,
) -> impl Future<Output = T> {
    poll_fn(move |cx| poll(Pin::new(&mut *socket.lock().unwrap_or_else(PoisonError::into_inner)), cx))
}

async fn receive<S: Socket>(shared: &Shared, no: ConnectionNo, socket: &Mutex<S>) {
    while let Some(message) = with_socket(socket, S::poll_next).await {
        let now = shared.now();
        shared.with(|state| match message {
            Incoming::Binary(mut bytes) => {
                state.moved.received = state.moved.received.wrapping_add(bytes.len() as u64);
                if let Err(error) = state.line.handle_message(now, no, &mut bytes) {
                    tracing::debug!(%error, "a connection ends");
                }
            }
            Incoming::Text => state.line.handle_text(now, no),
            Incoming::Other => {}
            Incoming::Closing => state.line.handle_lost(now, no),
        });
        // Whoever answers the questions, such as a channel that was opened, comes first: a peer cannot flood it.
        shared.answered().await;
    }
    let now = shared.now();
    shared.with(|state| state.line.handle_lost(now, no));
}

/// Ends when the socket is done, or takes nothing any more.
async fn transmit<S: Socket>(shared: &Shared, no: ConnectionNo, wake: &Wake, socket: &Mutex<S>) {
    loop {
        let now = shared.now();
        let (record, done) = shared.transmit(no, |state| {
            wake.looks();
            (state.next_record(now, no), state.line.is_done(no) && state.is_sent(no))
        });
        match record {
            Some(record) => {
                wake.sends(true);
                let sent = send(socket, record).await;
                wake.sends(false);
                if sent.is_err() {
                    // The peer takes nothing any more, but what it said before that is still to be read: it may be why.
                    return;
                }
            }
            None if done => break,
            None => wake.woken().await,
        }
    }
    let _ = with_socket(socket, S::poll_close).await;
}

fn send<S: Socket>(socket: &Mutex<S>, record: Vec<u8>) -> impl Future<Output = Result<(), S::Error>> {
    let mut record = Some(record);
    with_socket(socket, move |mut socket, cx| {
        if record.is_some() {
            ready!(socket.as_mut().poll_ready(cx))?;
            if let Some(record) = record.take() {
                socket.as_mut().start_send(record)?;
            }
        }
        socket.poll_flush(cx)
    })
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
pub struct Proved<S> {
    /// To be given to a line, or to [`Proved::refuse`].
    pub connection: Connection,
    /// Who it is.
    pub request: AuthRequest,
    /// For [`carry`].
    pub socket: S,
    started: std::time::Instant,
}

impl<S: Socket> Proved<S> {
    /// Turns the device away and tells it why under the seal.
    pub async fn refuse(self, code: CloseCode) {
        self.refuse_saying(code, "").await;
    }

    /// The same, with words for its person, of which 256 bytes are told.
    pub async fn refuse_saying(mut self, code: CloseCode, words: &str) {
        self.connection.close(since(self.started), code, words);
        hang_up(&mut self.connection, self.started, &mut self.socket).await;
    }
}

/// Sends the last word of a connection that no line has taken, if it has one, and closes its socket.
pub async fn part<S: Socket>(mut connection: Connection, mut socket: S) {
    hang_up(&mut connection, std::time::Instant::now(), &mut socket).await;
}

/// Runs a server's connection until the device has proved itself.
///
/// # Errors
/// Why it did not; the socket is then closed.
pub async fn shake_hands<S: Socket>(
    accept: impl FnOnce(Instant) -> Connection,
    mut socket: S,
    keeper: &mut impl Doorkeeper<S>,
) -> Result<Proved<S>, ConnectionError> {
    // Later by what the keeper took: how long the server thinks is no time of the client's.
    let mut started = std::time::Instant::now();
    let mut connection = accept(Instant::default());
    let mut pushes_at = None;
    let mut pushed = false;
    loop {
        while let Some(event) = connection.poll_event() {
            match event {
                Event::SecretWanted(credential) => {
                    let asked = std::time::Instant::now();
                    let found = keeper.find(credential).await;
                    started += asked.elapsed();
                    match found {
                        // An error closes the connection, which is the next event.
                        Found::Secret(secret) => drop(connection.provide_secret(since(started), secret.as_ref())),
                        Found::Refused => connection.handle_lost(since(started)),
                    }
                }
                Event::AuthReceived(request) => {
                    return Ok(Proved { connection, request: *request, socket, started });
                }
                Event::Closed(cause) => {
                    hang_up(&mut connection, started, &mut socket).await;
                    return Err(cause);
                }
                _ => {}
            }
        }
        if !flush(&mut connection, started, &mut socket).await {
            return Err(ConnectionError::Lost);
        }
        let deadline = connection.poll_timeout().unwrap_or_default();
        let mut deadline = started + Duration::from_micros(deadline.as_micros());
        if connection.awaits_auth() && !pushed {
            let at = pushes_at.get_or_insert_with(|| std::time::Instant::now() + PUSH);
            deadline = deadline.min(*at);
        }
        let message = tokio::time::timeout_at(deadline.into(), socket.next()).await;
        let now = since(started);
        match message {
            // An error closes the connection, which is the next event.
            Ok(Some(Incoming::Binary(mut bytes))) => {
                let asked = std::time::Instant::now();
                let entrance = match connection.awaits_any_m1() {
                    true => keeper.look_at(&bytes).await,
                    false => Entrance::Take,
                };
                started += asked.elapsed();
                match entrance {
                    Entrance::Take => drop(connection.handle_message(since(started), &mut bytes)),
                    Entrance::AskFreshness => connection.ask_freshness(),
                    Entrance::Refuse => connection.handle_lost(since(started)),
                }
            }
            Ok(Some(Incoming::Text)) => drop(connection.handle_text(now)),
            Ok(Some(Incoming::Other)) => {}
            Ok(Some(Incoming::Closing) | None) => connection.handle_lost(now),
            Err(_) if pushes_at.is_some_and(|at| at <= std::time::Instant::now()) && !pushed => {
                pushed = true;
                keeper.push(&mut socket);
                // An error shows in the next read.
                let _ = socket.flush().await;
            }
            Err(_) => connection.handle_timeout(now),
        }
    }
}

fn since(started: std::time::Instant) -> Instant {
    Instant::default() + started.elapsed()
}

async fn flush<S: Socket>(connection: &mut Connection, started: std::time::Instant, socket: &mut S) -> bool {
    loop {
        let mut message = Vec::new();
        if !connection.poll_transmit(since(started), &mut message) {
            return true;
        }
        if socket.send(message).await.is_err() {
            return false;
        }
    }
}

/// Sends the last word of a connection that has ended, and waits a little for its peer to hang up.
async fn hang_up<S: Socket>(connection: &mut Connection, started: std::time::Instant, socket: &mut S) {
    let leave = async {
        flush(connection, started, socket).await;
        let _ = socket.close().await;
        while socket.next().await.is_some() {}
    };
    let _ = tokio::time::timeout(LINGER, leave).await;
}
