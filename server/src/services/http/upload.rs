//! A request's body, from the client's stream into the backend's connection, no faster than either goes.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncBufRead, BufReader, ReadHalf},
    time::{Instant, sleep, sleep_until},
};

use crate::ByteStream;

/// What is still to come of a body.
pub(super) struct Upload<S = BufReader<ReadHalf<ByteStream>>> {
    /// None at the end.
    stream: Option<S>,
    /// Bytes that are announced and have not come; none if nobody knows.
    left: Option<u64>,
    /// The announced last bytes: the backend gets them when it is sure that they are the last ones.
    last: Bytes,
    progress: Arc<Progress>,
}

/// Why a body ends before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error("{0}")]
    Length(&'static str),
    #[error("the stream broke: {0}")]
    Stream(#[source] io::Error),
}

impl Upload {
    pub(super) fn none() -> Self {
        Self { stream: None, left: Some(0), last: Bytes::new(), progress: Arc::default() }
    }
}

impl<S> Upload<S> {
    /// A body of this length; none if it is not known before its end.
    pub(super) fn new(stream: S, length: Option<u64>, progress: Arc<Progress>) -> Self {
        Self { stream: Some(stream), left: length, last: Bytes::new(), progress }
    }

    fn end(
        &mut self,
        frame: Option<Result<Frame<Bytes>, UploadError>>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        self.stream = None;
        Poll::Ready(frame)
    }
}

impl<S: AsyncBufRead + Unpin> Body for Upload<S> {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        loop {
            let Some(stream) = &mut this.stream else { return Poll::Ready(None) };
            let polled = Pin::new(&mut *stream).poll_fill_buf(cx);
            this.progress.note(polled.is_pending());
            let bytes = match ready!(polled) {
                Ok(bytes) => Bytes::copy_from_slice(bytes),
                Err(error) => return this.end(Some(Err(UploadError::Stream(error)))),
            };
            let len = bytes.len();
            Pin::new(stream).consume(len);
            if len == 0 {
                let last = std::mem::take(&mut this.last);
                return match this.left {
                    Some(1..) => this.end(Some(Err(UploadError::Length("it ended before its length")))),
                    Some(0) if !last.is_empty() => this.end(Some(Ok(Frame::data(last)))),
                    _ => this.end(None),
                };
            }
            let Some(left) = &mut this.left else { return Poll::Ready(Some(Ok(Frame::data(bytes)))) };
            let Some(rest) = left.checked_sub(len as u64) else {
                return this.end(Some(Err(UploadError::Length("it goes on behind its length"))));
            };
            *left = rest;
            if rest > 0 {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            this.last = bytes;
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + self.last.len() as u64))
    }
}

/// Whose turn it is: the client's, to send more, or since when the backend's.
#[derive(Debug)]
pub(super) struct Progress(Mutex<Option<Instant>>);

impl Default for Progress {
    fn default() -> Self {
        Self(Mutex::new(Some(Instant::now())))
    }
}

impl Progress {
    fn note(&self, waits_for_the_client: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (!waits_for_the_client).then(Instant::now);
    }

    /// Returns when it has been the backend's turn for so long, and twice as long at the latest.
    pub(super) async fn stalled(&self, limit: Duration) {
        loop {
            let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match since.map(|since| since + limit) {
                None => sleep(limit).await,
                Some(due) if due <= Instant::now() => return,
                Some(due) => sleep_until(due).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Everything that the backend would be sent, and how it ends.
    async fn all(pieces: &[&[u8]], length: Option<u64>) -> (Vec<u8>, Result<(), String>) {
        let (mut client, server) = tokio::io::duplex(64);
        let mut upload = Upload::new(BufReader::with_capacity(16, server), length, Arc::default());
        assert_eq!(upload.size_hint().exact(), length);
        let send = async {
            for piece in pieces {
                let _ = client.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            drop(client);
        };
        let receive = async {
            let mut bytes = Vec::new();
            loop {
                match poll_fn(|cx| Pin::new(&mut upload).poll_frame(cx)).await {
                    Some(Ok(frame)) => bytes.extend(frame.into_data().expect("data")),
                    Some(Err(error)) => break (bytes, Err(error.to_string())),
                    None => break (bytes, Ok(())),
                }
            }
        };
        tokio::join!(send, receive).1
    }

    #[tokio::test]
    async fn a_body_is_as_long_as_it_says_or_none() {
        for length in [None, Some(40)] {
            assert_eq!(all(&[&[1; 7], &[1; 33]], length).await, (vec![1; 40], Ok(())));
        }
        let (bytes, end) = all(&[&[1; 7], &[1; 32]], Some(40)).await;
        assert_eq!((bytes.len(), end), (39, Err("it ended before its length".to_owned())));
        // However the bytes come, the backend never has all of a body that goes on.
        for pieces in [&[&[1; 41][..]][..], &[&[1; 40], &[1; 1]], &[&[1; 8], &[1; 8], &[1; 8], &[1; 100]]] {
            let (bytes, end) = all(pieces, Some(40)).await;
            assert_eq!(end, Err("it goes on behind its length".to_owned()));
            assert!(bytes.len() < 40, "{} bytes", bytes.len());
        }
    }

    #[tokio::test]
    async fn only_the_backends_own_time_counts() {
        let progress = Progress::default();
        let limit = Duration::from_millis(50);
        progress.note(true);
        tokio::time::timeout(limit * 5, progress.stalled(limit)).await.expect_err("it is the client's turn");
        progress.note(false);
        let began = Instant::now();
        progress.stalled(limit).await;
        assert!(began.elapsed() >= limit, "{:?}", began.elapsed());
    }
}
