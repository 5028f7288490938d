//! A line's stream: what a socket is over HTTP/1.1.
//!
//! It keeps hold of so much of the connection's window that what a line has to say, a PING above all, never waits for whoever
//! does not read a file beside it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::atomic::Ordering,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::Handle,
};

use super::Counted;

/// What a line may always send: some small records. The least window that a client may have is 16 of them.
const FLOOR_LEN: usize = 4 * 1_024;

#[derive(Debug)]
pub(crate) struct Http2Stream {
    sends: SendStream<Bytes>,
    receives: RecvStream,
    /// What has come and was not asked for yet.
    chunk: Bytes,
    has_ended: bool,
    socket: Counted,
    /// From when its device was let in.
    line: Option<Counted>,
}

impl Http2Stream {
    pub(super) fn new(mut sends: SendStream<Bytes>, receives: RecvStream, socket: Counted) -> Self {
        sends.reserve_capacity(FLOOR_LEN);
        Self { sends, receives, chunk: Bytes::new(), has_ended: false, socket, line: None }
    }

    /// Its device was let in: the connection is a line's, and goes to where this is called on.
    pub(crate) fn is_admitted(&mut self) {
        let shared = &self.socket.shared;
        self.line = Some(Counted::new(shared, |shared| &shared.lines));
        if Handle::current().id() == shared.home.id() {
            shared.moves.cancel();
        }
        shared.changed.notify_one();
    }

    /// How much of so many bytes may be sent.
    fn poll_room(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<usize>> {
        self.sends.reserve_capacity(len.max(FLOOR_LEN));
        loop {
            match self.sends.capacity() {
                0 => {}
                room => return Poll::Ready(Ok(room.min(len))),
            }
            match ready!(self.sends.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(of_stream(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
    }

    fn send(&mut self, bytes: Bytes) -> io::Result<usize> {
        let len = bytes.len();
        self.sends.send_data(bytes, false).map_err(of_stream)?;
        self.sends.reserve_capacity(FLOOR_LEN);
        Ok(len)
    }
}

fn of_stream(error: h2::Error) -> io::Error {
    if error.is_io() {
        error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
    } else {
        io::Error::other(error)
    }
}

impl AsyncRead for Http2Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.chunk.is_empty() {
            match ready!(self.receives.poll_data(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(chunk)) => self.chunk = chunk,
                // A browser that closes a tab says no more than that.
                Some(Err(error)) if matches!(error.reason(), Some(Reason::CANCEL | Reason::NO_ERROR)) => {
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => return Poll::Ready(Err(of_stream(error))),
            }
        }
        let len = self.chunk.len().min(buf.remaining());
        buf.put_slice(&self.chunk[..len]);
        self.chunk.advance(len);
        if self.chunk.is_empty() {
            // What it is a part of may be large.
            self.chunk = Bytes::new();
        }
        // It fails where the stream has ended: then nothing more comes anyway.
        let _ = self.receives.flow_control().release_capacity(len);
        self.socket.shared.brought.fetch_add(len as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(self.poll_room(cx, bytes.len()))?;
        Poll::Ready(self.send(Bytes::copy_from_slice(&bytes[..room])))
    }

    /// A frame's header and its record, in one frame of HTTP/2.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = slices.iter().map(|slice| slice.len()).sum();
        if len == 0 {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(self.poll_room(cx, len))?;
        let mut bytes = BytesMut::with_capacity(room);
        for slice in slices {
            let fits = slice.len().min(room - bytes.len());
            bytes.extend_from_slice(&slice[..fits]);
        }
        Poll::Ready(self.send(bytes.freeze()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.has_ended {
            self.has_ended = true;
            self.sends.send_data(Bytes::new(), true).map_err(of_stream)?;
        }
        Poll::Ready(Ok(()))
    }
}
