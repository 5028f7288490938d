//! The bytes of a connection of HTTP/2.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Shared;
use crate::front::stream::Stream;

/// A connection's bytes, counted; its socket moves with it.
pub(super) struct Io {
    stream: Stream,
    shared: Arc<Shared>,
}

impl Io {
    pub(super) const fn new(stream: Stream, shared: Arc<Shared>) -> Self {
        Self { stream, shared }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut Stream>> {
        if self.shared.moved.swap(false, Ordering::Relaxed) {
            self.stream.register_here()?;
        }
        Ok(Pin::new(&mut self.stream))
    }

    fn wrote(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(len)) = &polled {
            self.shared.written.fetch_add(*len as u64, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = self.stream()?.poll_read(cx, buf);
        let len = buf.filled().len() - before;
        self.shared.read.fetch_add(len as u64, Ordering::Relaxed);
        if self.shared.floods() {
            // Nothing more is read of it; whoever runs it gives it up.
            if !self.shared.flooded.swap(true, Ordering::Relaxed) {
                self.shared.changed.notify_one();
            }
            buf.set_filled(before);
            return Poll::Pending;
        }
        polled
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = self.stream()?.poll_write(cx, bytes);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.stream()?.poll_write_vectored(cx, slices);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}
