//! A connection's bytes, from the listener to a line: in clear or under TLS, and able to move to another runtime.
//!
//! ```text
//! accept ─► Tcp ─► (TlsStream) ─► Stream ─► hyper ─► Upgraded ─┬─ ours: Carrier::Own, which moves to the lines' runtime
//!                                                             └─ another listener's: Carrier::Other
//!                                    ─► HTTP/2 ─► Carrier::Http2: a stream, whose connection moves (http/http2.rs)
//! ```
//!
//! Strangers are served on threads of their own (`strangers.rs`). A socket is registered with the runtime on which it was
//! opened, and is told there that it has something to read: one that has become a line's moves, or it would be told so late
//! whenever strangers keep those threads busy.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Buf as _, BytesMut};
use duologue_native::path::Tls;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{http::Http2Stream, tls_stream::TlsStream};
use crate::state::files;

/// What was sent must be acknowledged within this, or the connection is gone: without it the system tries for 15 minutes.
#[cfg(target_os = "linux")]
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(30);
/// What the system holds of an answer that its reader does not take. Without it 2 MB and more.
const UNSENT_LEN: u32 = 128 * 1_024;

/// A connection as it was accepted.
#[derive(Debug)]
pub(crate) struct Tcp {
    /// None only while it moves.
    tcp: Option<TcpStream>,
    /// What was read of it behind the PROXY protocol's header and not asked for yet.
    ahead: Option<Box<BytesMut>>,
    /// While somebody looks.
    writing: Option<Arc<Writing>>,
    _counted: files::Counted,
}

/// How long a write waits for its reader.
#[derive(Debug)]
pub(crate) struct Writing {
    born: Instant,
    /// Milliseconds after that, plus one; 0 while no write waits.
    waits_since: AtomicU64,
}

impl Tcp {
    pub(crate) fn new(tcp: TcpStream) -> Self {
        let _ = tcp.set_nodelay(true);
        // Elsewhere as before: a system without them has its own bounds.
        #[cfg(target_os = "linux")]
        let _ = SockRef::from(&tcp).set_tcp_user_timeout(Some(ACKNOWLEDGED_WITHIN));
        hold_unsent(&tcp, UNSENT_LEN);
        Self { tcp: Some(tcp), ahead: None, writing: None, _counted: files::connection() }
    }

    /// Gives back bytes that were read too far: they are read next.
    pub(crate) fn put_back(&mut self, mut bytes: BytesMut) {
        if let Some(behind) = self.ahead.take() {
            bytes.extend_from_slice(&behind);
        }
        self.ahead = (!bytes.is_empty()).then(|| Box::new(bytes));
    }

    /// The first byte that is to be read, which stays there; none at the end.
    pub(crate) async fn first(&self) -> io::Result<Option<u8>> {
        if let Some(first) = self.ahead.as_ref().and_then(|ahead| ahead.first()) {
            return Ok(Some(*first));
        }
        let Some(tcp) = &self.tcp else { return Err(io::ErrorKind::NotConnected.into()) };
        let mut first = [0];
        Ok((tcp.peek(&mut first).await? == 1).then_some(first[0]))
    }

    /// Starts to look at how long writes wait.
    pub(crate) fn watch(&mut self) -> Arc<Writing> {
        let writing = Arc::new(Writing { born: Instant::now(), waits_since: AtomicU64::new(0) });
        self.writing = Some(Arc::clone(&writing));
        writing
    }

    /// Registers the socket with the runtime that this is called on. A line's own bounds hold from now on.
    pub(super) fn move_here(&mut self) -> io::Result<()> {
        self.writing = None;
        if let Some(tcp) = &self.tcp {
            hold_unsent(tcp, u32::MAX);
        }
        self.register_here()
    }

    pub(super) fn register_here(&mut self) -> io::Result<()> {
        let Some(tcp) = self.tcp.take() else { return Err(io::ErrorKind::NotConnected.into()) };
        self.tcp = Some(TcpStream::from_std(tcp.into_std()?)?);
        Ok(())
    }

    fn poll<T>(&mut self, poll: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &mut self.tcp {
            Some(tcp) => poll(Pin::new(tcp)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn noted<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Some(writing) = &self.writing {
            writing.note(result.is_pending());
        }
        result
    }
}

/// How many bytes the system takes that it cannot send yet.
fn hold_unsent(tcp: &TcpStream, len: u32) {
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(tcp).set_tcp_notsent_lowat(len);
    #[cfg(not(target_os = "linux"))]
    let _ = (tcp, len);
}

impl Writing {
    fn note(&self, waits: bool) {
        if !waits {
            self.waits_since.store(0, Ordering::Relaxed);
        } else if self.waits_since.load(Ordering::Relaxed) == 0 {
            let millis = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
            self.waits_since.store(millis + 1, Ordering::Relaxed);
        }
    }

    /// How long the write has waited that waits now.
    pub(crate) fn waits_for(&self) -> Duration {
        match self.waits_since.load(Ordering::Relaxed).checked_sub(1) {
            None => Duration::ZERO,
            Some(millis) => self.born.elapsed().saturating_sub(Duration::from_millis(millis)),
        }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(ahead) = &mut self.ahead {
            let len = ahead.len().min(buf.remaining());
            buf.put_slice(&ahead[..len]);
            ahead.advance(len);
            if ahead.is_empty() {
                self.ahead = None;
            }
            return Poll::Ready(Ok(()));
        }
        self.poll(|tcp| tcp.poll_read(cx, buf))
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = self.poll(|tcp| tcp.poll_write(cx, bytes));
        self.noted(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = self.poll(|tcp| tcp.poll_write_vectored(cx, slices));
        self.noted(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|tcp| tcp.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|tcp| tcp.poll_shutdown(cx))
    }
}

/// What HTTP is spoken over. TLS is boxed: whatever holds a stream has room for it more than once.
#[derive(Debug)]
pub(crate) enum Stream {
    Clear(Tcp),
    Tls(Box<TlsStream>),
}

impl Stream {
    /// What is spoken under TLS, if that was agreed upon.
    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        match self {
            Self::Clear(_) => None,
            Self::Tls(tls) => tls.protocol(),
        }
    }

    /// What is around it.
    pub(crate) fn outer(&self) -> Tls {
        match self {
            Self::Clear(_) => Tls::None,
            Self::Tls(tls) => tls.version(),
        }
    }

    /// Registers the socket with the runtime that this is called on, and leaves its bounds as they are.
    pub(crate) fn register_here(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(tcp) => tcp.register_here(),
            Self::Tls(tls) => tls.register_here(),
        }
    }
}
/// What carries a line.
#[derive(Debug)]
pub(crate) enum Carrier {
    Own(Stream),
    /// One of many on a connection of HTTP/2.
    Http2(Box<Http2Stream>),
    /// The app has a listener of its own.
    Other(Box<TokioIo<Upgraded>>),
}

impl Carrier {
    /// With what was read beyond the request.
    pub(crate) fn new(upgraded: Upgraded) -> (Self, BytesMut) {
        match upgraded.downcast::<TokioIo<Stream>>() {
            Ok(parts) => (Self::Own(parts.io.into_inner()), parts.read_buf.into()),
            Err(upgraded) => (Self::Other(Box::new(TokioIo::new(upgraded))), BytesMut::new()),
        }
    }

    /// Registers the socket with the runtime that this is called on, if it is one of ours.
    pub(crate) fn move_here(&mut self) -> io::Result<()> {
        match self {
            Self::Own(Stream::Clear(tcp)) => tcp.move_here(),
            Self::Own(Stream::Tls(tls)) => tls.move_here(),
            Self::Http2(stream) => {
                stream.is_admitted();
                Ok(())
            }
            Self::Other(_) => Ok(()),
        }
    }
}

macro_rules! each {
    ($type:ident { $($variant:ident),* }) => {
        impl AsyncRead for $type {
            fn poll_read(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match &mut *self { $(Self::$variant(io) => Pin::new(io).poll_read(cx, buf),)* }
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                match &mut *self { $(Self::$variant(io) => Pin::new(io).poll_write(cx, bytes),)* }
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match &mut *self { $(Self::$variant(io) => Pin::new(io).poll_write_vectored(cx, slices),)* }
            }

            fn is_write_vectored(&self) -> bool {
                match self { $(Self::$variant(io) => io.is_write_vectored(),)* }
            }

            fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match &mut *self { $(Self::$variant(io) => Pin::new(io).poll_flush(cx),)* }
            }

            fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match &mut *self { $(Self::$variant(io) => Pin::new(io).poll_shutdown(cx),)* }
            }
        }
    };
}
each!(Stream { Clear, Tls });
each!(Carrier { Own, Http2, Other });

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Without it, what a peer that has vanished does not acknowledge is held for a quarter of an hour.
    #[tokio::test]
    async fn what_is_not_acknowledged_ends_a_connection_after_30_s_also_when_it_has_become_a_lines() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let _peer = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
        let mut tcp = Tcp::new(listener.accept().await.expect("a connection").0);
        tcp.move_here().expect("it is open");
        let socket = tcp.tcp.as_ref().expect("it has moved");
        assert_eq!(SockRef::from(socket).tcp_user_timeout().expect("Linux has it"), Some(ACKNOWLEDGED_WITHIN));
    }
}
