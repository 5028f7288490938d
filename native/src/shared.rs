//! A line: the handle that an application holds, across connections and sessions.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use duologue::{
    ChannelError, ChannelId, CloseCode, ConnectionError, ConnectionNo, Delivery, Instant, Line as Core, LineEvent,
    LineState, ResetCode, Session,
    typed::{self, DecodeError, Request},
};
use thiserror::Error;
use tokio::sync::Notify;

use crate::{
    channel::{self, Channel, Key},
    driver::{Sockets, Wake},
    stream::ByteStream,
};

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

/// Which of a line's sessions: they follow one another where the server could not resume.
pub(crate) type Generation = u32;

/// The client's ids count on through all sessions of a line, and a channel of which nothing has left goes on in the next: no
/// generation is needed to tell them apart. The server's begin anew with each session.
const fn is_clients(id: ChannelId) -> bool {
    id.0 & 1 == 0
}

/// What the handles and the driver share.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Wakes whoever keeps the line: there is a question, or an earlier deadline.
    pub(crate) wake: Notify,
    /// Wakes those who wait for the line's state, or for a channel of the peer's.
    pub(crate) changed: Notify,
    /// Wakes the sockets' readers: all questions are answered.
    answered: Notify,
    started: std::time::Instant,
}

pub(crate) struct State {
    pub(crate) line: Core,
    generation: Generation,
    /// Sessions that have ended while somebody still holds a channel of theirs.
    ended: Vec<Ended>,
    channels: HashMap<Key, Arc<Notify>>,
    /// Events that the endpoint answers, and whether it is at it.
    questions: VecDeque<LineEvent>,
    answering: bool,
    /// Channels of the peer's that nobody has accepted.
    incoming: VecDeque<ChannelId>,
    sockets: Sockets,
    /// Until when the keeper sleeps.
    armed: Option<Instant>,
}

struct Ended {
    generation: Generation,
    session: Box<Session>,
    cause: ConnectionError,
}

impl Ended {
    /// It is where that channel ended.
    fn has(&self, (generation, id): Key) -> bool {
        (is_clients(id) || generation == self.generation) && self.session.has_channel(id)
    }
}

impl State {
    /// What names a channel of the current session.
    const fn key(&self, id: ChannelId) -> Key {
        (if is_clients(id) { 0 } else { self.generation }, id)
    }

    /// A channel of any session that is still held.
    pub(crate) fn channel(&mut self, key: Key) -> Option<duologue::Channel<'_>> {
        if let Some(at) = self.ended.iter().position(|ended| ended.has(key)) {
            return self.ended.get_mut(at).map(|ended| ended.session.channel(key.1));
        }
        (key == self.key(key.1)).then(|| self.line.channel(key.1))
    }

    pub(crate) fn release(&mut self, key: Key) {
        if let Some(channel) = self.channel(key) {
            channel.release();
        }
        self.channels.remove(&key);
        let channels = &self.channels;
        self.ended.retain(|ended| channels.keys().any(|key| ended.has(*key)));
    }

    pub(crate) fn forget(&mut self, no: ConnectionNo) {
        self.sockets.retain(|(other, _)| *other != no);
    }

    fn handle_event(&mut self, event: LineEvent, changed: &Notify) {
        match event {
            LineEvent::ChannelChanged(id) => {
                if let Some(changed) = self.channels.get(&self.key(id)) {
                    changed.notify_waiters();
                }
            }
            LineEvent::StateChanged(_) => changed.notify_waiters(),
            LineEvent::SessionEnded(reason, session) => {
                self.channels.values().for_each(|changed| changed.notify_waiters());
                let cause = ConnectionError::SessionEnded(reason);
                self.ended.push(Ended { generation: self.generation, session, cause });
                self.generation += 1;
                self.incoming.clear();
            }
            event => {
                match &event {
                    LineEvent::ChannelOpened(id) => {
                        self.channels.insert(self.key(*id), Arc::new(Notify::new()));
                    }
                    LineEvent::Closed(_) => {
                        self.channels.values().for_each(|changed| changed.notify_waiters());
                        changed.notify_waiters();
                    }
                    _ => {}
                }
                self.questions.push_back(event);
            }
        }
    }
}

impl Shared {
    pub(crate) fn new(line: Core) -> Arc<Self> {
        let shared = Self {
            state: Mutex::new(State {
                line,
                generation: 0,
                ended: Vec::new(),
                channels: HashMap::new(),
                questions: VecDeque::new(),
                answering: false,
                incoming: VecDeque::new(),
                sockets: Vec::new(),
                armed: None,
            }),
            wake: Notify::new(),
            changed: Notify::new(),
            answered: Notify::new(),
            started: std::time::Instant::now(),
        };
        // A client's line wants to dial from the start.
        shared.with(|_| ());
        Arc::new(shared)
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::default() + self.started.elapsed()
    }

    pub(crate) fn deadline(&self, at: Instant) -> tokio::time::Instant {
        (self.started + Duration::from_micros(at.as_micros())).into()
    }

    /// Reads or commands the line, then deals with what came of it.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = work(&mut state);
        while let Some(event) = state.line.poll_event() {
            state.handle_event(event, &self.changed);
        }
        // `notify_one` keeps one permit: whoever is busy now looks again before it sleeps.
        for (no, wake) in &state.sockets {
            let done = state.line.is_done(*no);
            // Once for many commands: that it was woken is kept under the same lock as what it will look at.
            if done || (!wake.is_woken() && state.line.wants_transmit(*no)) {
                wake.wake();
            }
            if done {
                wake.over.notify_one();
            }
        }
        let earlier = state.line.poll_timeout().is_some_and(|at| state.armed.is_none_or(|armed| at < armed));
        if earlier || !state.questions.is_empty() {
            self.wake.notify_one();
        }
        result
    }

    /// A panic while the lock was held can only be a bug in the core; the state is still the most truthful there is.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn register(&self, no: ConnectionNo) -> Arc<Wake> {
        let wake = Arc::new(Wake::default());
        self.with(|state| state.sockets.push((no, Arc::clone(&wake))));
        wake
    }

    pub(crate) fn next_question(&self) -> Option<LineEvent> {
        let mut state = self.lock();
        let question = state.questions.pop_front();
        if question.is_none() {
            state.questions = VecDeque::new();
        }
        state.answering = question.is_some();
        question
    }

    pub(crate) fn question_answered(&self) {
        let mut state = self.lock();
        state.answering = false;
        if state.questions.is_empty() {
            self.answered.notify_waiters();
        }
    }

    /// Waits until no question is open.
    pub(crate) async fn answered(&self) {
        channel::wait(self, &self.answered, |shared| {
            let state = shared.lock();
            (state.questions.is_empty() && !state.answering).then_some(())
        })
        .await;
    }

    /// Until when the keeper may sleep; none until it is woken.
    pub(crate) fn arm(&self) -> Option<Instant> {
        let mut state = self.lock();
        state.armed = state.line.poll_timeout();
        state.armed
    }

    /// The channel error, or that of the connection or session where that is the reason.
    pub(crate) fn explain(&self, key: Option<Key>, error: ChannelError) -> LineError {
        let state = self.lock();
        let ended = state.ended.iter().find(|ended| key.is_some_and(|key| ended.has(key)));
        let ended = ended.map(|ended| &ended.cause);
        match ended.or(state.line.closed()) {
            Some(cause) if error == ChannelError::Closed => LineError::Connection(cause.clone()),
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

    /// The smoothed round trip of the connection that carries the line, as acknowledgements tell it, which may take 25 ms; none
    /// before the first.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.shared.with(|state| state.line.round_trip())
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

    /// Opens a channel to the service of that label. What is sent before the line is open waits in order.
    ///
    /// # Errors
    /// If the label does not have 1 to 64 bytes, or the line has ended.
    pub fn channel(&self, label: &str) -> Result<Channel, LineError> {
        self.open(|line| line.open_channel(label))
    }

    /// Opens a byte stream to the service of that label.
    ///
    /// # Errors
    /// As [`Self::channel`].
    pub fn stream(&self, label: &str) -> Result<ByteStream, LineError> {
        Ok(ByteStream::new(self.open(|line| line.open_stream(label))?))
    }

    fn open(&self, open: impl FnOnce(&mut Core) -> Result<ChannelId, ChannelError>) -> Result<Channel, LineError> {
        let opened = self.shared.with(|state| {
            let id = open(&mut state.line)?;
            let key = state.key(id);
            let changed = Arc::new(Notify::new());
            state.channels.insert(key, Arc::clone(&changed));
            Ok((key, changed))
        });
        let (key, changed) = opened.map_err(|error| self.shared.explain(None, error))?;
        Ok(Channel::new(self.clone(), key, changed))
    }

    /// The next channel that the peer opens; none after the end.
    pub async fn accept(&self) -> Option<Channel> {
        let id = self
            .wait(|state| match state.incoming.pop_front() {
                Some(id) => Some(Some(id)),
                None => state.line.closed().is_some().then_some(None),
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
        self.shared.with(|state| state.line.close(now, code, reason));
    }

    /// Puts a channel of the peer's in the queue of [`Self::accept`].
    pub fn offer(&self, id: ChannelId) {
        self.shared.with(|state| state.incoming.push_back(id));
        self.shared.changed.notify_waiters();
    }

    /// The handle to a channel of the peer's. To be called once for each.
    #[must_use]
    pub fn adopt(&self, id: ChannelId) -> Channel {
        let (key, changed) = self.shared.with(|state| {
            let key = state.key(id);
            (key, Arc::clone(state.channels.entry(key).or_default()))
        });
        Channel::new(self.clone(), key, changed)
    }

    /// Commands the line itself: for endpoints that answer its questions.
    pub fn command<T>(&self, work: impl FnOnce(&mut Core, Instant) -> T) -> T {
        let now = self.shared.now();
        self.shared.with(|state| work(&mut state.line, now))
    }

    async fn wait<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        channel::wait(&self.shared, &self.shared.changed, |shared| shared.with(&mut look)).await
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Line").field(&self.shared.lock().line.state()).finish()
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
