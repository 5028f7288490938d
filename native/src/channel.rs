//! A channel: the handle to one labelled lane of a line.

use std::{
    fmt,
    future::Future,
    sync::{Arc, OnceLock, Weak, atomic::Ordering},
    time::Duration,
};

use duologue::{
    ChannelError, DatagramStats, Delivery, Received, ResetCode,
    limits::{NOTE_LEN_MAX, RECORD_LEN_MAX, STREAM_QUEUE_LEN_MAX},
};

use crate::{
    line::Line,
    shared::{Key, LineError, News, Shared, wait},
};

/// How many messages are received together at most.
const MANY: usize = 4_096;

/// One labelled lane. Clones are the same channel; when the last one is dropped, what was not finished is cancelled.
#[derive(Clone)]
pub struct Channel(Arc<Inner>);

/// The same for what belongs to the channel itself, such as its pace: it keeps nothing open.
#[derive(Clone)]
pub struct WeakChannel(Weak<Inner>);

impl WeakChannel {
    /// The channel; none once its last handle was dropped.
    #[must_use]
    pub fn upgrade(&self) -> Option<Channel> {
        self.0.upgrade().map(Channel)
    }
}

impl fmt::Debug for WeakChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakChannel")
    }
}

struct Inner {
    line: Line,
    key: Key,
    news: Arc<News>,
    pace: OnceLock<Arc<dyn Pace>>,
}

/// How fast an application takes what its peer sends on a channel, and how much at a time. It waits before it takes more: the peer's
/// credit then ends, so that nothing piles up here.
pub trait Pace: fmt::Debug + Send + Sync {
    /// Messages or datagrams were taken, and bytes. Of none it only says how long one has to wait.
    fn took(&self, messages: u32, len: usize) -> Paced;
}

/// What a pace says of what was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paced {
    /// How long until more may be taken.
    pub wait: Duration,
    /// The longest message, or all that a stream may bring, in bytes. A channel that has brought more is reset as `not-allowed`.
    pub size_max: Option<u64>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.line.shared.with(|state| state.release(self.key));
    }
}

impl Channel {
    pub(crate) fn new(line: Line, key: Key, news: Arc<News>) -> Self {
        Self(Arc::new(Inner { line, key, news, pace: OnceLock::new() }))
    }

    /// The label under which it was opened.
    #[must_use]
    pub fn label(&self) -> String {
        self.command(|channel| channel.label()).unwrap_or_default()
    }

    /// What is asked of all that is taken here, while [`Self::set_paced`] says so. A channel has one for good: the first that it is
    /// given.
    pub fn set_pace(&self, pace: Arc<dyn Pace>) {
        let _ = self.0.pace.set(pace);
    }

    /// Whether what the peer sends here is taken at its pace from now on, or as fast as the application takes it.
    pub fn set_paced(&self, is_paced: bool) {
        self.0.news.is_paced.store(is_paced, Ordering::Release);
        self.0.news.waits_until.store(0, Ordering::Relaxed);
        // What another channel has taken keeps this one waiting from its first message on.
        self.counts(0, 0);
    }

    /// Waits until its pace lets it take more. Nothing is taken meanwhile, so that nothing is lost if nobody waits to the end.
    async fn turn(&self) {
        while let Some(wait) = self.waits() {
            tokio::time::sleep(wait).await;
        }
    }

    /// How long its pace keeps it from taking more.
    pub(crate) fn waits(&self) -> Option<Duration> {
        let until = self.0.news.waits_until.load(Ordering::Relaxed);
        let wait = until.checked_sub(1)?.saturating_sub(self.0.line.shared.now().as_micros());
        if wait == 0 {
            // Unless somebody else has taken more.
            let _ = self.0.news.waits_until.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed);
            return None;
        }
        Some(Duration::from_micros(wait))
    }

    /// Tells its pace what was taken, and waits for what that says. What comes back is how much it may be at most.
    fn counts(&self, messages: u32, len: usize) -> Option<u64> {
        if !self.0.news.is_paced.load(Ordering::Acquire) {
            return None;
        }
        let Paced { wait, size_max } = self.0.pace.get()?.took(messages, len);
        if !wait.is_zero() {
            let until = self.0.line.shared.now() + wait;
            self.0.news.waits_until.store(until.as_micros() + 1, Ordering::Relaxed);
        }
        size_max
    }

    /// Counts what was taken. Resets the channel, and says so, if it is too much.
    pub(crate) fn took(&self, messages: u32, len: usize, is_stream: bool) -> Result<(), LineError> {
        let Some(size_max) = self.counts(messages, len) else { return Ok(()) };
        // Of a stream all that it has brought counts, this too.
        let of_stream = is_stream.then(|| self.command(|channel| channel.read_len())).flatten();
        if of_stream.unwrap_or_default().max(len as u64) > size_max {
            self.reset(ResetCode::NotAllowed);
            return Err(LineError::Channel(ChannelError::Closed));
        }
        Ok(())
    }

    /// A handle that does not keep the channel open.
    #[must_use]
    pub fn downgrade(&self) -> WeakChannel {
        WeakChannel(Arc::downgrade(&self.0))
    }

    /// The line that it belongs to.
    #[must_use]
    pub fn line(&self) -> &Line {
        &self.0.line
    }

    /// True if both are handles of the same channel.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Queues a message; waits while 16 MiB are queued already. What comes back tells when the message was taken.
    ///
    /// # Errors
    /// If the channel or the line has ended, or the message is longer than the peer takes.
    pub async fn send(&self, message: impl Into<Vec<u8>>) -> Result<Sent, LineError> {
        let mut waiting = Some(message.into());
        let ordinal = self
            .ask(|channel| {
                let message = waiting.take()?;
                match channel.send(message) {
                    Ok(ordinal) => Some(Ok(ordinal)),
                    Err((ChannelError::Blocked, message)) => {
                        waiting = Some(message);
                        None
                    }
                    Err((error, _)) => Some(Err(error)),
                }
            })
            .await?;
        Ok(Sent { channel: self.clone(), ordinal })
    }

    /// Queues several messages, in their order, as [`Self::send`] does each; they cost less together. What comes back tells when
    /// the last was taken, which is after all others; there is none of none.
    ///
    /// # Errors
    /// As [`Self::send`]; those before the one that cannot be sent are queued.
    pub async fn send_many(&self, messages: Vec<Vec<u8>>) -> Result<Option<Sent>, LineError> {
        let (mut messages, mut last) = (messages.into_iter(), None);
        let mut next = messages.next();
        self.ask(|channel| {
            while let Some(message) = next.take() {
                match channel.send(message) {
                    Ok(ordinal) => (last, next) = (Some(ordinal), messages.next()),
                    Err((ChannelError::Blocked, message)) => {
                        next = Some(message);
                        return None;
                    }
                    Err((error, _)) => return Some(Err(error)),
                }
            }
            Some(Ok(()))
        })
        .await?;
        Ok(last.map(|ordinal| Sent { channel: self.clone(), ordinal }))
    }

    /// The next message; none when the peer has finished.
    ///
    /// # Errors
    /// If the channel was cancelled, or the line has ended.
    pub async fn recv(&self) -> Result<Option<Vec<u8>>, LineError> {
        self.paced(|channel| match channel.recv() {
            Ok(Received::Message(message)) => Some(Ok(Some(message))),
            Ok(Received::End) => Some(Ok(None)),
            Ok(Received::Pending) => None,
            Err(error) => Some(Err(error)),
        })
        .await
    }

    /// All messages that have come, in their order, as far as 4,096 or 64 KiB: one at least, which it waits for, or none when the
    /// peer has finished. They cost less together.
    ///
    /// # Errors
    /// As [`Self::recv`].
    pub async fn recv_many(&self) -> Result<Vec<Vec<u8>>, LineError> {
        self.many(false).await
    }

    /// As [`Self::recv_many`], for an application that answers each by [`Self::settle`] or [`Self::answer_many`].
    ///
    /// # Errors
    /// As [`Self::recv`].
    pub async fn recv_many_ahead(&self) -> Result<Vec<Vec<u8>>, LineError> {
        self.many(true).await
    }

    async fn many(&self, ahead: bool) -> Result<Vec<Vec<u8>>, LineError> {
        self.turn().await;
        // At a pace, each says how long the next one waits.
        let most = if self.0.news.is_paced.load(Ordering::Acquire) { 1 } else { MANY };
        let messages = self
            .wait_to_read(|channel| {
                let (mut messages, mut len) = (Vec::new(), 0);
                while messages.len() < most && len < RECORD_LEN_MAX {
                    match if ahead { channel.recv_ahead() } else { channel.recv() } {
                        Ok(Received::Message(message)) => {
                            len += message.len();
                            messages.push(message);
                        }
                        Ok(Received::Pending) if messages.is_empty() => return None,
                        Err(error) if messages.is_empty() => return Some(Err(error)),
                        // It shows again.
                        Ok(Received::Pending | Received::End) | Err(_) => break,
                    }
                }
                Some(Ok(messages))
            })
            .await?;
        messages.iter().try_for_each(|message| self.took(1, message.len(), false))?;
        Ok(messages)
    }

    /// As [`Self::recv`], for an application that is not sure yet whether it can use the message: the sender hears that it was
    /// taken by [`Self::take`], and `unknown` if the channel ends before.
    ///
    /// # Errors
    /// As [`Self::recv`].
    pub async fn recv_ahead(&self) -> Result<Option<Vec<u8>>, LineError> {
        self.paced(|channel| match channel.recv_ahead() {
            Ok(Received::Message(message)) => Some(Ok(Some(message))),
            Ok(Received::End) => Some(Ok(None)),
            Ok(Received::Pending) => None,
            Err(error) => Some(Err(error)),
        })
        .await
    }

    /// Takes the oldest of the messages that [`Self::recv_ahead`] has handed over.
    pub fn take(&self) {
        self.command(|channel| {
            channel.take();
        });
    }

    /// True if its session is kept on disk, and goes on in the process that comes after this one.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.command(|channel| channel.is_kept()).unwrap_or_default()
    }

    /// True if another process has had it before. What that one had not [settled](Self::settle) comes again.
    #[must_use]
    pub fn is_revived(&self) -> bool {
        self.command(|channel| channel.is_revived()).unwrap_or_default()
    }

    /// What was noted here last ([`Self::settle`]); nothing if nothing was.
    #[must_use]
    pub fn noted(&self) -> Vec<u8> {
        self.command(|channel| channel.noted().to_vec()).unwrap_or_default()
    }

    /// Notes something as [`Self::settle`] does, and nothing else.
    pub fn note(&self, note: &[u8]) -> bool {
        self.command(|channel| channel.note(note)).unwrap_or(true)
    }

    /// Takes the oldest of what [`Self::recv_ahead`] has handed over, queues its answer if there is one, and notes something for whoever
    /// goes on with the channel in another process, if there is anything, in place of what was noted before: all or nothing, so that a
    /// session that is kept on disk has what came, or all that followed from it. The answer on a stream has 256 KiB at most, and a note
    /// 128 KiB; where the session is not kept, nothing is noted.
    ///
    /// # Errors
    /// As [`Self::send`]; [`ChannelError::MessageTooLong`] also of a note, and of an answer on a stream. Then nothing of it is done.
    pub async fn settle(&self, answer: Option<Vec<u8>>, note: Option<&[u8]>) -> Result<(), LineError> {
        let is_stream = self.command(|channel| channel.is_stream()).unwrap_or_default();
        let of_stream = answer.as_ref().filter(|_| is_stream).map(Vec::len);
        let lens = [(of_stream, STREAM_QUEUE_LEN_MAX), (note.map(<[u8]>::len), NOTE_LEN_MAX)];
        if let Some((len, max)) = lens.into_iter().find_map(|(len, max)| Some((len.filter(|len| *len > max)?, max))) {
            return Err(LineError::Channel(ChannelError::MessageTooLong { len, max }));
        }
        let mut waiting = Some(answer);
        self.ask(|channel| match channel.answer(waiting.take()?) {
            Ok(()) => {
                note.map(|note| channel.note(note));
                Some(Ok(()))
            }
            Err((ChannelError::Blocked, back)) => {
                waiting = Some(back);
                None
            }
            Err((error, _)) => Some(Err(error)),
        })
        .await
    }

    /// The same for several, each the answer to one; they cost less together.
    ///
    /// # Errors
    /// As [`Self::send`]; those before the one that cannot be sent are settled.
    pub async fn answer_many(&self, answers: Vec<Vec<u8>>) -> Result<(), LineError> {
        let mut answers = answers.into_iter();
        let mut next = answers.next();
        self.ask(|channel| {
            while let Some(answer) = next.take() {
                match channel.answer(Some(answer)) {
                    Ok(()) => next = answers.next(),
                    Err((ChannelError::Blocked, back)) => {
                        next = back;
                        return None;
                    }
                    Err((error, _)) => return Some(Err(error)),
                }
            }
            Some(Ok(()))
        })
        .await
    }

    /// Sends a datagram: at most once, unless `ttl` passes before the link takes it, or a newer one of the same `key` comes
    /// while it waits. It never waits, and nobody tells whether it arrived.
    ///
    /// # Errors
    /// If the channel or the line has ended, or it is longer than 16 KiB.
    pub fn send_datagram(&self, data: impl Into<Vec<u8>>, ttl: Duration, key: Option<u32>) -> Result<(), LineError> {
        let now = self.0.line.shared.now();
        self.try_command(|channel| channel.send_datagram(now, data.into(), ttl, key))
    }

    /// The next datagram. The oldest of those that nobody reads are dropped.
    ///
    /// # Errors
    /// If the channel or the line has ended.
    pub async fn recv_datagram(&self) -> Result<Vec<u8>, LineError> {
        self.turn().await;
        let datagram = self
            .wait_to_read(|channel| match channel.recv_datagram() {
                Some(datagram) => Some(Ok(datagram)),
                None => channel.broken().map(Err),
            })
            .await?;
        self.took(1, datagram.len(), false)?;
        Ok(datagram)
    }

    /// What became of this channel's datagrams.
    #[must_use]
    pub fn datagram_stats(&self) -> DatagramStats {
        let now = self.0.line.shared.now();
        self.command(|channel| channel.datagram_stats(now)).unwrap_or_default()
    }

    /// Throws away what was sent here and has not begun to leave, as Ctrl+C does with a terminal's output: those messages are
    /// [`Delivery::NotSent`]. The other end hears how much is missing ([`Self::missed`]). Returns how many messages, or bytes of
    /// a stream, that was.
    pub fn discard(&self) -> u64 {
        let mut count = 0;
        self.command(|channel| count = channel.discard());
        count
    }

    /// How many messages, or bytes of a stream, the other end has left out before what was received here last, since the
    /// channel's begin: it has thrown them away ([`Self::discard`]), or the channel is a tail
    /// ([`Kind::tail`](duologue::Kind::tail)).
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.command(|channel| channel.missed()).unwrap_or(0)
    }

    /// Nothing more will be sent here; what is queued still leaves, and the peer's messages still come.
    pub fn finish(&self) {
        self.command(|channel| {
            channel.finish();
        });
    }

    /// Ends both directions at once.
    pub fn reset(&self, code: ResetCode) {
        self.command(|channel| channel.reset(code));
    }

    /// Waits until the channel or the line ends before its time. Holds no handle: the channel may be dropped meanwhile.
    pub fn broken(&self) -> impl Future<Output = ChannelError> + Send + 'static {
        let (shared, news, key) = (Arc::clone(&self.0.line.shared), Arc::clone(&self.0.news), self.0.key);
        async move {
            let look = |shared: &Shared| {
                let found = shared.look(|state| state.channel(key).map(|channel| channel.broken()));
                found.unwrap_or(Some(ChannelError::Closed))
            };
            wait(&shared, &news.changed, look).await
        }
    }

    pub(crate) fn news(&self) -> &Arc<News> {
        &self.0.news
    }

    /// Commands the channel; none if its session is gone.
    pub(crate) fn command<T>(&self, work: impl FnOnce(&mut duologue::Channel<'_>) -> T) -> Option<T> {
        self.0.line.shared.command(self.0.key, work)
    }

    /// The same for commands that can fail.
    pub(crate) fn try_command<T>(
        &self,
        work: impl FnOnce(&mut duologue::Channel<'_>) -> Result<T, ChannelError>,
    ) -> Result<T, LineError> {
        let result = self.command(work).unwrap_or(Err(ChannelError::Closed));
        result.map_err(|error| self.0.line.shared.explain(Some(self.0.key), error))
    }

    /// The next message, at the channel's pace.
    async fn paced(
        &self,
        look: impl FnMut(&mut duologue::Channel<'_>) -> Option<Result<Option<Vec<u8>>, ChannelError>>,
    ) -> Result<Option<Vec<u8>>, LineError> {
        self.turn().await;
        let message = self.wait_to_read(look).await?;
        if let Some(message) = &message {
            self.took(1, message.len(), false)?;
        }
        Ok(message)
    }

    /// Waits for more than something to read.
    pub(crate) async fn ask<T>(
        &self,
        mut look: impl FnMut(&mut duologue::Channel<'_>) -> Option<Result<T, ChannelError>>,
    ) -> Result<T, LineError> {
        let mut look = |shared: &Shared| {
            let found = self.command(&mut look).unwrap_or(Some(Err(ChannelError::Closed)))?;
            Some(found.map_err(|error| shared.explain(Some(self.0.key), error)))
        };
        let shared = &self.0.line.shared;
        if let Some(found) = look(shared) {
            return found;
        }
        let _asked = self.0.news.ask();
        wait(shared, &self.0.news.changed, look).await
    }

    /// Waits for something to read, or an end.
    async fn wait_to_read<T>(
        &self,
        mut look: impl FnMut(&mut duologue::Channel<'_>) -> Option<Result<T, ChannelError>>,
    ) -> Result<T, LineError> {
        wait(&self.0.line.shared, &self.0.news.changed, |_| self.try_read(&mut look)).await
    }

    /// Looks for something to read, or an end.
    pub(crate) fn try_read<T>(
        &self,
        look: impl FnOnce(&mut duologue::Channel<'_>) -> Option<Result<T, ChannelError>>,
    ) -> Option<Result<T, LineError>> {
        let (shared, key) = (&self.0.line.shared, self.0.key);
        let found = shared.read(key, look).unwrap_or(Some(Err(ChannelError::Closed)))?;
        Some(found.map_err(|error| shared.explain(Some(key), error)))
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Channel").field(&self.0.key.1).finish()
    }
}

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Sent {
    channel: Channel,
    ordinal: u64,
}

impl Sent {
    /// Waits until the application at the other end has taken the message.
    ///
    /// # Errors
    /// [`LineError::NotTaken`] with what is known, if the channel or the session ended first.
    pub async fn taken(&self) -> Result<(), LineError> {
        let found = self
            .channel
            .ask(|channel| match channel.delivery(self.ordinal) {
                Delivery::Pending => None,
                other => Some(Ok(other)),
            })
            .await;
        match found {
            Ok(Delivery::Taken) => Ok(()),
            Ok(other) => Err(LineError::NotTaken(other)),
            Err(_) => Err(LineError::NotTaken(Delivery::Unknown)),
        }
    }
}
