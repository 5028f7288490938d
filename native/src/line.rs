//! A line: the handle to one connection that an application holds.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use duologue::{
    ChannelError, ChannelId, CloseCode, Connection, ConnectionError, Delivery, Event, Instant, ResetCode,
    typed::{self, DecodeError, Request},
};
use thiserror::Error;
use tokio::sync::Notify;

use crate::channel::{self, Channel};

/// Why an operation on a line or a channel did not work.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LineError {
    /// The connection has ended; the cause as this end knows it.
    #[error("{0}")]
    Connection(ConnectionError),
    /// The channel has ended, or refuses.
    #[error("{0}")]
    Channel(ChannelError),
    /// The service has finished without an answer.
    #[error("the service has finished without an answer")]
    NoAnswer,
    /// A message was not taken; what is known of it.
    #[error("the message was not taken ({0:?})")]
    NotTaken(Delivery),
    /// The deadline has passed.
    #[error("the answer did not come in time")]
    Deadline,
    /// The answer is not of the type expected.
    #[error(transparent)]
    Type(#[from] DecodeError),
}

/// What the handles and the driver share.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Wakes the driver: there may be something to send, or a new deadline.
    pub(crate) wake: Notify,
    /// Wakes those who wait for the line to open or close, or for a channel of the peer's.
    pub(crate) changed: Notify,
    started: std::time::Instant,
}

pub(crate) struct State {
    pub(crate) connection: Connection,
    pub(crate) channels: HashMap<ChannelId, Arc<Notify>>,
    /// Events that the driver's endpoint answers.
    pub(crate) questions: VecDeque<Event>,
    /// Channels of the peer's that nobody has accepted.
    incoming: VecDeque<ChannelId>,
    pub(crate) closed: Option<ConnectionError>,
}

impl Shared {
    pub(crate) fn new(connect: impl FnOnce(Instant) -> Connection) -> Arc<Self> {
        let started = std::time::Instant::now();
        let shared = Self {
            state: Mutex::new(State {
                connection: connect(Instant::default()),
                channels: HashMap::new(),
                questions: VecDeque::new(),
                incoming: VecDeque::new(),
                closed: None,
            }),
            wake: Notify::new(),
            changed: Notify::new(),
            started,
        };
        // A server's connection may have read M1 already, and ask.
        shared.with(|_| ());
        Arc::new(shared)
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::default() + self.started.elapsed()
    }

    pub(crate) fn deadline(&self, at: Instant) -> tokio::time::Instant {
        (self.started + Duration::from_micros(at.as_micros())).into()
    }

    /// Reads or commands the connection, then deals with what came of it.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = work(&mut state);
        while let Some(event) = state.connection.poll_event() {
            match event {
                Event::ChannelChanged(id) => {
                    if let Some(changed) = state.channels.get(&id) {
                        changed.notify_waiters();
                    }
                }
                Event::Closed(error) => {
                    state.closed = Some(error);
                    state.channels.values().for_each(|changed| changed.notify_waiters());
                    self.changed.notify_waiters();
                }
                event => {
                    if let Event::ChannelOpened(id) = event {
                        state.channels.insert(id, Arc::new(Notify::new()));
                    }
                    state.questions.push_back(event);
                }
            }
        }
        // `notify_one` keeps one permit: a driver that is busy now looks again before it sleeps.
        if state.connection.wants_transmit() || state.closed.is_some() {
            self.wake.notify_one();
        }
        result
    }

    /// A panic while the lock was held can only be a bug in the core; the state is still the most truthful there is.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The channel error, or the connection's where that is the reason.
    pub(crate) fn explain(&self, error: ChannelError) -> LineError {
        match (error, self.lock().closed.clone()) {
            (ChannelError::Closed, Some(cause)) => LineError::Connection(cause),
            _ => LineError::Channel(error),
        }
    }
}

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
        self.0.with(|state| state.connection.close(now, CloseCode::Normal, ""));
    }
}

impl Line {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { _guard: Some(Arc::new(CloseOnDrop(Arc::clone(&shared)))), shared }
    }

    /// The driver's own handle, which does not keep the line open.
    pub(crate) fn unguarded(shared: Arc<Shared>) -> Self {
        Self { _guard: None, shared }
    }

    /// Waits until the server has let this device in.
    ///
    /// # Errors
    /// Why it did not.
    pub async fn ready(&self) -> Result<(), LineError> {
        self.wait(|state| match &state.closed {
            Some(error) => Some(Err(LineError::Connection(error.clone()))),
            None => state.connection.is_open().then_some(Ok(())),
        })
        .await
    }

    /// Waits for the end, and tells its cause.
    pub async fn closed(&self) -> ConnectionError {
        self.wait(|state| state.closed.clone()).await
    }

    /// Opens a channel to the service of that label. What is sent before the line is open waits in order.
    ///
    /// # Errors
    /// If the label does not have 1 to 64 bytes, or the line has ended.
    pub fn channel(&self, label: &str) -> Result<Channel, LineError> {
        let opened = self.shared.with(|state| {
            let id = state.connection.open_channel(label)?;
            let changed = Arc::new(Notify::new());
            state.channels.insert(id, Arc::clone(&changed));
            Ok((id, changed))
        });
        let (id, changed) = opened.map_err(|error| self.shared.explain(error))?;
        Ok(Channel::new(self.clone(), id, changed))
    }

    /// The next channel that the peer opens; none after the end.
    pub async fn accept(&self) -> Option<Channel> {
        let id = self
            .wait(|state| match state.incoming.pop_front() {
                Some(id) => Some(Some(id)),
                None => state.closed.is_some().then_some(None),
            })
            .await?;
        Some(self.adopt(id))
    }

    /// One message there, one message back. Dropping the future cancels it at the other end too.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn request(&self, label: &str, message: impl Into<Vec<u8>>) -> Result<Vec<u8>, LineError> {
        let channel = CancelOnDrop { channel: self.channel(label)?, code: ResetCode::Cancelled };
        exchange(&channel.channel, message.into()).await
    }

    /// [`Self::request`] with a limit: after `deadline` the request is cancelled here and there.
    ///
    /// # Errors
    /// [`LineError::Deadline`], or why there is no answer.
    pub async fn request_within(
        &self,
        deadline: Duration,
        label: &str,
        message: impl Into<Vec<u8>>,
    ) -> Result<Vec<u8>, LineError> {
        let mut channel = CancelOnDrop { channel: self.channel(label)?, code: ResetCode::Cancelled };
        let result = tokio::time::timeout(deadline, exchange(&channel.channel, message.into())).await;
        result.unwrap_or_else(|_| {
            channel.code = ResetCode::Deadline;
            Err(LineError::Deadline)
        })
    }

    /// [`Self::request`] with types: the label and the answer's type come from the request's.
    ///
    /// # Errors
    /// Why there is no answer, or that it is of another type.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Response, LineError> {
        let answer = self.request(R::LABEL, typed::encode(request)).await?;
        Ok(typed::decode(&answer)?)
    }

    /// Ends the line; the peer is told the code and the reason (cut to 256 bytes).
    pub fn close(&self, code: CloseCode, reason: &str) {
        let now = self.shared.now();
        self.shared.with(|state| state.connection.close(now, code, reason));
    }

    /// Puts a channel of the peer's in the queue of [`Self::accept`].
    pub fn offer(&self, id: ChannelId) {
        self.shared.with(|state| state.incoming.push_back(id));
        self.shared.changed.notify_waiters();
    }

    /// The handle to a channel of the peer's. To be called once for each.
    #[must_use]
    pub fn adopt(&self, id: ChannelId) -> Channel {
        let changed = self.shared.with(|state| Arc::clone(state.channels.entry(id).or_default()));
        Channel::new(self.clone(), id, changed)
    }

    /// Commands the connection itself: for endpoints that answer its questions.
    pub fn connection<T>(&self, work: impl FnOnce(&mut Connection, Instant) -> T) -> T {
        let now = self.shared.now();
        self.shared.with(|state| work(&mut state.connection, now))
    }

    /// Marks that the line has opened, for those who wait in [`Self::ready`].
    pub fn opened(&self) {
        self.shared.changed.notify_waiters();
    }

    async fn wait<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        channel::wait(&self.shared, &self.shared.changed, |shared| shared.with(&mut look)).await
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Line").field(&self.shared.lock().connection).finish()
    }
}

/// Whatever ends a request before its answer ends its channel.
struct CancelOnDrop {
    channel: Channel,
    code: ResetCode,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.channel.reset(self.code);
    }
}

async fn exchange(channel: &Channel, message: Vec<u8>) -> Result<Vec<u8>, LineError> {
    channel.send(message).await?;
    channel.finish();
    channel.recv().await?.ok_or(LineError::NoAnswer)
}
