//! A request's body, from the client's stream into the backend's connection, no faster than either goes.
//!
//! A short one of a method that may be repeated is read whole before the backend is asked, so that it can be sent again.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use duologue_native::ByteStream;
use hyper::body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncBufRead, BufReader, ReadHalf},
    time::{Instant, sleep, sleep_until},
};

/// What is still to come of a body.
pub(super) struct Upload<S = BufReader<ReadHalf<ByteStream>>> {
    /// None at the end.
    stream: Option<S>,
    /// Bytes that are announced and have not come; none if nobody knows.
    left: Option<u64>,
    /// The announced last bytes: the backend gets them when it is sure that they are the last ones. All of a body that was
    /// read before.
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
        Self::of(Bytes::new())
    }
}

impl<S> Upload<S> {
    /// A body that is here.
    fn of(bytes: Bytes) -> Self {
        Self { stream: None, left: Some(0), last: bytes, progress: Arc::default() }
    }

    /// The same once more; none of what is still in the client's stream.
    pub(super) fn again(&self) -> Option<Self> {
        self.stream.is_none().then(|| Self::of(self.last.clone()))
    }

    /// A body of this length; none if it is not known before its end.
    pub(super) fn new(stream: S, length: Option<u64>, progress: Arc<Progress>) -> Self {
        Self { stream: Some(stream), left: length, last: Bytes::new(), progress }
    }

    fn end(
        &mut self,
        frame: Option<Result<Frame<Bytes>, UploadError>>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        self.stream = None;
        self.last = Bytes::new();
        Poll::Ready(frame)
    }
}

impl<S: AsyncBufRead + Unpin> Upload<S> {
    /// All of it, read.
    pub(super) async fn whole(mut self) -> Result<Self, UploadError> {
        let mut bytes = BytesMut::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
            // What is no data is a trailer, of which this body has none.
            if let Ok(data) = frame?.into_data() {
                bytes.extend_from_slice(&data);
            }
        }
        Ok(Self::of(bytes.freeze()))
    }
}

impl<S: AsyncBufRead + Unpin> Body for Upload<S> {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        loop {
            let Some(stream) = &mut this.stream else {
                let bytes = std::mem::take(&mut this.last);
                return Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))));
            };
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
        self.stream.is_none() && self.last.is_empty()
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
    pub(super) fn note(&self, waits_for_the_client: bool) {
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
    async fn a_whole_body_is_the_same_twice() {
        let body = async |bytes: &'static [u8], length| {
            Upload::new(BufReader::with_capacity(16, bytes), Some(length), Arc::default()).whole().await
        };
        let mut upload = body(&[7; 40], 40).await.expect("as long as it says");
        for _ in 0..2 {
            let mut again = upload.again().expect("all of it is here");
            assert_eq!((upload.size_hint().exact(), upload.is_end_stream()), (Some(40), false));
            let frame = poll_fn(|cx| Pin::new(&mut upload).poll_frame(cx)).await.expect("data").expect("no error");
            assert_eq!(frame.into_data().expect("data"), [7; 40][..]);
            assert!(upload.is_end_stream());
            assert!(poll_fn(|cx| Pin::new(&mut upload).poll_frame(cx)).await.is_none());
            std::mem::swap(&mut upload, &mut again);
        }
        for (bytes, length) in [(&[7; 39][..], 40), (&[7; 41], 40), (b"", 1)] {
            assert!(body(bytes, length).await.is_err(), "it is not as long as it says");
        }
        assert!(Upload::new(BufReader::new(&b""[..]), None, Arc::default()).again().is_none());
    }

    #[tokio::test]
    async fn only_the_backends_own_time_counts() {
        let progress = Progress::default();
        let limit = Duration::from_millis(50);
        progress.note(true);
        tokio::time::timeout(limit * 5, progress.stalled(limit)).await.expect_err("it is the client's turn");
        let began = Instant::now();
        progress.note(false);
        progress.stalled(limit).await;
        assert!(began.elapsed() >= limit, "{:?}", began.elapsed());
    }
}
