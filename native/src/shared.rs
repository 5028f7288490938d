//! What the handles and the driver of a line share: the core behind its mutex, and whom to wake.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use duologue::{
    ChannelError, ChannelId, ConnectionError, ConnectionNo, Delivery, Instant, Line as Core, LineEvent, Session,
    Standing, typed::DecodeError,
};
use thiserror::Error;
use tokio::sync::{Notify, watch};

use crate::kept::Keeping;

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
type Generation = u32;

/// A channel among all that a line has had: its session, where its id alone does not tell, and its id.
pub(crate) type Key = (Generation, ChannelId);

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
    channels: HashMap<Key, Arc<News>>,
    /// Events that the endpoint answers, and whether it is at it.
    questions: VecDeque<LineEvent>,
    answering: bool,
    /// Channels of the peer's that nobody has accepted.
    pub(crate) incoming: VecDeque<ChannelId>,
    pub(crate) sockets: Sockets,
    /// Server: its session is kept on disk.
    pub(crate) keeping: Option<Box<Keeping>>,
    /// Until when the keeper sleeps.
    armed: Option<Instant>,
    /// What its connections have brought and taken, in bytes of their messages.
    pub(crate) moved: Moved,
    /// Client: what the server tells of this device; none before it has, or somebody has asked.
    standing: Option<watch::Sender<Standing>>,
}

/// How much a line has moved on all its connections, in bytes of their messages: what is on the wire, less WebSocket and TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// What has come.
    pub received: u64,
    /// What has left.
    pub sent: u64,
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

    /// Knows a channel that was opened here.
    pub(crate) fn opened(&mut self, id: ChannelId) -> (Key, Arc<News>) {
        let (key, news) = (self.key(id), Arc::default());
        self.channels.insert(key, Arc::clone(&news));
        (key, news)
    }

    /// What is known of a channel of the peer's.
    pub(crate) fn adopted(&mut self, id: ChannelId) -> (Key, Arc<News>) {
        let key = self.key(id);
        (key, Arc::clone(self.channels.entry(key).or_default()))
    }

    pub(crate) fn release(&mut self, key: Key) {
        if let Some(channel) = self.channel(key) {
            channel.release();
        }
        self.channels.remove(&key);
        if self.channels.is_empty() {
            self.channels = HashMap::new();
        }
        let channels = &self.channels;
        self.ended.retain(|ended| channels.keys().any(|key| ended.has(*key)));
    }

    pub(crate) fn forget(&mut self, no: ConnectionNo) {
        self.sockets.retain(|(other, _)| *other != no);
        self.forget_outbox(no);
    }

    /// Whom to wake for what is to be sent.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = &Wake> {
        self.sockets.iter().map(|(_, wake)| &**wake)
    }

    /// What is told of this device, from now on.
    pub(crate) fn standing(&mut self) -> &watch::Sender<Standing> {
        self.standing.get_or_insert_with(|| watch::Sender::new(Standing::default()))
    }

    fn handle_event(&mut self, event: LineEvent, changed: &Notify) {
        match event {
            LineEvent::ChannelChanged(id) => {
                if let Some(news) = self.channels.get(&self.key(id))
                    && (news.is_asked() || self.line.channel(id).is_readable())
                {
                    news.changed.notify_waiters();
                }
            }
            LineEvent::StateChanged(_) => changed.notify_waiters(),
            LineEvent::SessionEnded(reason, session) => {
                self.channels.values().for_each(|news| news.changed.notify_waiters());
                let cause = ConnectionError::SessionEnded(reason);
                self.ended.push(Ended { generation: self.generation, session, cause });
                self.generation += 1;
                self.incoming.clear();
            }
            event => {
                match &event {
                    LineEvent::Opened(grant) => drop(self.standing().send_replace(grant.standing.clone())),
                    LineEvent::Standing(told) => drop(self.standing().send_replace(told.standing())),
                    LineEvent::ChannelOpened(id) => {
                        self.channels.insert(self.key(*id), Arc::default());
                    }
                    LineEvent::Closed(_) => {
                        self.channels.values().for_each(|news| news.changed.notify_waiters());
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
                keeping: None,
                armed: None,
                moved: Moved::default(),
                standing: None,
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
        self.deal(&mut state, None);
        self.mind_time(&state);
        result
    }

    /// The same for a socket that has looked what there is to send, and looks again when it has sent that.
    pub(crate) fn transmit<T>(&self, no: ConnectionNo, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = work(&mut state);
        self.deal(&mut state, Some(no));
        self.mind_time(&state);
        result
    }

    /// Commands a channel, by which no deadline comes nearer, then deals with what came of it. None if its session is gone.
    pub(crate) fn command<T>(&self, key: Key, work: impl FnOnce(&mut duologue::Channel<'_>) -> T) -> Option<T> {
        let mut state = self.lock();
        let result = work(&mut state.channel(key)?);
        self.deal(&mut state, None);
        Some(result)
    }

    /// Reads a channel, then deals with what came of it; nothing does where nothing was to be read. None if its session is gone.
    pub(crate) fn read<T>(
        &self,
        key: Key,
        look: impl FnOnce(&mut duologue::Channel<'_>) -> Option<T>,
    ) -> Option<Option<T>> {
        let mut state = self.lock();
        let mut channel = state.channel(key)?;
        if !channel.is_readable() {
            return Some(None);
        }
        let found = look(&mut channel);
        self.deal(&mut state, None);
        Some(found)
    }

    /// Deals with what came of a command, or of what was read. Whom it wakes: not a socket that looks by itself.
    fn deal(&self, state: &mut State, looks: Option<ConnectionNo>) {
        state.line.settle_account();
        while let Some(event) = state.line.poll_event() {
            state.handle_event(event, &self.changed);
        }
        // `notify_one` keeps one permit: whoever is busy now looks again before it sleeps.
        for (no, wake) in &state.sockets {
            let done = state.line.is_done(*no);
            // Once for many commands: that it was woken is kept under the same lock as what it will look at.
            if done || (looks != Some(*no) && !wake.is_woken() && state.line.wants_transmit(*no)) {
                wake.wake();
            }
            if done {
                wake.over.notify_one();
            }
        }
        if !state.questions.is_empty() {
            self.wake.notify_one();
        }
        state.tell_recorder(looks);
    }

    /// Wakes whoever keeps the line for a deadline that is earlier than the one he sleeps until.
    fn mind_time(&self, state: &State) {
        if state.line.poll_timeout().is_some_and(|at| state.armed.is_none_or(|armed| at < armed)) {
            self.wake.notify_one();
        }
    }

    /// Reads the line only: nothing comes of it.
    pub(crate) fn look<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.lock())
    }

    /// A panic while the lock was held can only be a bug in the core; the state is still the most truthful there is.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn register(&self, no: ConnectionNo) -> Arc<Wake> {
        let wake = Arc::new(Wake::default());
        self.with(|state| {
            // A vector begins with room for four, and most lines have one.
            state.sockets.reserve_exact(1);
            state.sockets.push((no, Arc::clone(&wake)));
        });
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

    /// Waits until no question is open. One seldom is, and a line has no room for who waits for it.
    pub(crate) async fn answered(&self) {
        let is_answered = |shared: &Self| {
            let state = shared.lock();
            (state.questions.is_empty() && !state.answering).then_some(())
        };
        if is_answered(self).is_none() {
            Box::pin(wait(self, &self.answered, is_answered)).await;
        }
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

/// Looks, and looks again whenever something has changed.
pub(crate) async fn wait<T>(shared: &Shared, changed: &Notify, mut look: impl FnMut(&Shared) -> Option<T>) -> T {
    loop {
        // It hears of what comes from here on (`notify_waiters`), polled or not.
        let notified = changed.notified();
        if let Some(found) = look(shared) {
            return found;
        }
        notified.await;
    }
}

/// What is new on a channel. That there is room again, and that something was taken, is news only while somebody has asked for it:
/// a service that only reads sleeps on.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) changed: Notify,
    /// How many wait for more than something to read.
    asked: AtomicU32,
    /// Until when its pace lets nothing more be taken, in microseconds of [`Shared::now`], and one; 0: it does.
    pub(crate) waits_until: AtomicU64,
    /// Whether its pace counts.
    pub(crate) is_paced: AtomicBool,
}

impl News {
    /// To be asked before one looks: what comes after that is heard.
    pub(crate) fn ask(&self) -> Asked<'_> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Asked(self)
    }

    /// Who has asked has looked since under the lock that this is called under, or will.
    fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 0
    }
}

/// Somebody waits for more than something to read.
pub(crate) struct Asked<'a>(&'a News);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.asked.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What wakes a socket.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    /// There may be something to send.
    transmit: Notify,
    /// It was told so, and has not looked since.
    woken: AtomicBool,
    /// It is at sending a record, and looks when the link has taken that.
    sends: AtomicBool,
    /// The line needs it no longer.
    pub(crate) over: Notify,
}

impl Wake {
    fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Relaxed)
    }

    /// It looks at once what there is to send.
    pub(crate) fn will_look(&self) -> bool {
        self.is_woken() && !self.sends.load(Ordering::Relaxed)
    }

    pub(crate) fn sends(&self, sends: bool) {
        self.sends.store(sends, Ordering::Relaxed);
    }

    pub(crate) fn wake(&self) {
        self.woken.store(true, Ordering::Relaxed);
        self.transmit.notify_one();
    }

    /// The socket looks now: what happens from here on wakes it again.
    pub(crate) fn looks(&self) {
        self.woken.store(false, Ordering::Relaxed);
    }

    /// Waits until there may be something to send.
    pub(crate) fn woken(&self) -> impl Future<Output = ()> {
        self.transmit.notified()
    }
}

type Sockets = Vec<(ConnectionNo, Arc<Wake>)>;
