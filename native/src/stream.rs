//! A stream: a channel that carries bytes, for everything that reads and writes in tokio.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use duologue::{ChannelError, Received, ResetCode, limits::RECORD_LEN_MAX};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use crate::{
    channel::Channel,
    shared::{LineError, News},
};

impl Channel {
    /// The channel as a stream of bytes; none if its opener made it one of messages.
    #[must_use]
    pub fn stream(&self) -> Option<ByteStream> {
        let is_stream = self.command(|channel| channel.is_stream()).unwrap_or(false);
        is_stream.then(|| ByteStream::new(self.clone()))
    }
}

/// Bytes both ways, each with its own end. Reading frees the peer's window, and so lets it send on; writing waits while
/// 256 KiB are queued. Dropped before both ends have come, it is cancelled; after an own end, what is queued still leaves.
pub struct ByteStream {
    channel: Channel,
    reading: Waiter,
    writing: Waiter,
    /// Until its pace lets it read on.
    turn: Option<Pin<Box<Sleep>>>,
    /// What was read counts as taken by [`ByteStream::settle`] only.
    ahead: Option<Box<Ahead>>,
}

/// What was handed over to a reader that takes it later.
#[derive(Default)]
struct Ahead {
    /// What has come together, and how much of it was read.
    piece: Vec<u8>,
    at: usize,
    /// Such pieces that were read whole and are not taken.
    read: usize,
}

impl ByteStream {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel, reading: Waiter::default(), writing: Waiter::default(), turn: None, ahead: None }
    }

    /// The channel underneath: its label, its datagrams, its reset.
    #[must_use]
    pub const fn channel(&self) -> &Channel {
        &self.channel
    }

    /// From now on what is read counts as taken by [`Self::settle`] only, so that a service that goes on in another process reads it
    /// there again. To be called before anything is read.
    pub fn read_ahead(&mut self) {
        self.ahead = Some(Box::default());
    }

    /// What was read so far is taken, but for a rest that goes with the next.
    pub fn settle(&mut self) {
        let Some(ahead) = &mut self.ahead else { return };
        let read = std::mem::take(&mut ahead.read);
        self.channel.command(|channel| (0..read).for_each(|_| channel.take()));
    }

    /// How many bytes were taken here. Never goes back.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.channel.command(|channel| channel.read_len()).unwrap_or(0)
    }

    /// How many of the bytes written here the other application has taken. Never goes back.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.channel.try_command(|channel| Ok(channel.taken())).unwrap_or(0)
    }

    /// Waits until the other application has taken every byte that was written here.
    ///
    /// # Errors
    /// If the channel or the line ends first.
    pub async fn all_taken(&self) -> Result<(), LineError> {
        let look = |channel: &mut duologue::Channel<'_>| match channel.broken() {
            _ if channel.all_taken() => Some(Ok(())),
            broken => broken.map(Err),
        };
        self.channel.ask(look).await
    }

    /// Ends both directions at once.
    pub fn reset(&self, code: ResetCode) {
        self.channel.reset(code);
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { channel, reading, turn, ahead, .. } = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if let Some(waits) = turn {
                ready!(waits.as_mut().poll(cx));
                *turn = None;
            }
            match channel.waits() {
                Some(wait) => *turn = Some(Box::pin(tokio::time::sleep(wait))),
                None => break,
            }
        }
        if let Some(ahead) = ahead {
            return ahead.poll_read(cx, channel, reading, buf);
        }
        let to = buf.initialize_unfilled_to(buf.remaining().min(RECORD_LEN_MAX));
        let read = |channel: &Channel| channel.try_read(|channel| channel.read(to).transpose());
        let len = ready!(reading.poll(cx, channel, false, read))?;
        channel.took(0, len, true).map_err(io_error)?;
        buf.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl Ahead {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        channel: &Channel,
        reading: &mut Waiter,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.piece.is_empty() {
            let next = |channel: &Channel| {
                channel.try_read(|channel| match channel.recv_ahead() {
                    Ok(Received::Message(piece)) => Some(Ok(piece)),
                    Ok(Received::End) => Some(Ok(Vec::new())),
                    Ok(Received::Pending) => None,
                    Err(error) => Some(Err(error)),
                })
            };
            self.piece = ready!(reading.poll(cx, channel, false, next))?;
            channel.took(0, self.piece.len(), true).map_err(io_error)?;
        }
        let rest = self.piece.get(self.at..).unwrap_or_default();
        let (bytes, rest) = rest.split_at(rest.len().min(buf.remaining()));
        buf.put_slice(bytes);
        self.at += bytes.len();
        if rest.is_empty() && !self.piece.is_empty() {
            (self.piece, self.at) = (Vec::new(), 0);
            self.read += 1;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { channel, writing, .. } = self.get_mut();
        writing.poll(cx, channel, true, |channel| {
            let write = |channel: &mut duologue::Channel<'_>| match channel.write(buf) {
                Err(ChannelError::Blocked) => Ok(None),
                other => other.map(Some),
            };
            channel.try_command(write).transpose()
        })
    }

    /// What is written leaves by itself; [`ByteStream::all_taken`] waits for the other end.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends the writing direction; what is queued still leaves.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.channel.finish();
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ByteStream").field(&self.channel).finish()
    }
}

/// Waits for a channel's news, poll by poll.
#[derive(Default)]
struct Waiter(Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>);

impl Waiter {
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        channel: &Channel,
        asks: bool,
        mut look: impl FnMut(&Channel) -> Option<Result<T, LineError>>,
    ) -> Poll<io::Result<T>> {
        loop {
            // What comes after one has begun to listen is heard: who has not looks once more.
            let listens = self.0.is_some();
            if let Some(found) = look(channel) {
                self.0 = None;
                return Poll::Ready(found.map_err(io_error));
            }
            let heard = self.0.get_or_insert_with(|| Box::pin(heard(Arc::clone(channel.news()), asks)));
            match heard.as_mut().poll(cx) {
                Poll::Ready(()) => self.0 = None,
                Poll::Pending if listens => return Poll::Pending,
                Poll::Pending => {}
            }
        }
    }
}

async fn heard(news: Arc<News>, asks: bool) {
    let _asked = asks.then(|| news.ask());
    news.changed.notified().await;
}

fn io_error(error: LineError) -> io::Error {
    let kind = match error {
        LineError::Channel(ChannelError::Reset(_)) => io::ErrorKind::ConnectionReset,
        LineError::Channel(ChannelError::Finished) => io::ErrorKind::BrokenPipe,
        _ => io::ErrorKind::ConnectionAborted,
    };
    io::Error::new(kind, error)
}
