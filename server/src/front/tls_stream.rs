//! TLS over a connection, which holds no buffers while nothing flows.
//!
//! ```text
//! peer ─► stack ─► rustls ─► who reads          kept until the rest has come, or is asked for: half a record, what was opened
//! peer ◄── outgoing, when it is flushed ◄── rustls ◄── who writes
//! ```
//!
//! rustls's own buffer keeps 4 KiB for as long as a connection lasts, a third of what an idle line holds. Its unbuffered
//! interface, of which this is the one user here, leaves buffers to its caller.
//!
//! What is written leaves when it is flushed, in one piece: the tickets of TLS with the first answer, the alert that closes with
//! what was said last.

use std::{
    cell::Cell,
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    mem::{self, MaybeUninit},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BufMut as _, BytesMut};
use duologue_native::path::Tls;
use rustls::{
    ProtocolVersion, ServerConfig,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::stream::Tcp;

/// What one record of TLS can carry (RFC 8446, section 5.1).
const PAYLOAD_LEN_MAX: usize = 16 * 1_024;
/// What it is longer than that by TLS 1.3: a header of 5 bytes, one for the type, a tag of 16.
const OVERHEAD_LEN: usize = 22;
/// Bytes of the stack that a read goes to while nothing is kept: a record that is full.
const READ_LEN: usize = PAYLOAD_LEN_MAX + OVERHEAD_LEN;
/// An alert, sealed.
const ALERT_LEN: usize = 2 + OVERHEAD_LEN;
/// What is read at a time from a line's socket that brings much: about a record of ours.
const AHEAD_LEN: usize = 64 * 1_024;
/// What has come and is neither a whole record nor a whole message of a handshake: as rustls's own buffer has it.
const INCOMING_MAX: usize = 0xffff;
/// What waits to leave before more is taken: a message of ours, with its WebSocket header.
const OUTGOING_MAX: usize = 66 * 1_024;
/// What a thread keeps to lend: that, and what TLS takes beside it.
const LENT_MAX: usize = 80 * 1_024;

/// The server's end of TLS.
pub(crate) struct TlsStream {
    tcp: Tcp,
    tls: UnbufferedServerConnection,
    /// What has come and could not be opened yet. Empty, none of these holds memory.
    incoming: BytesMut,
    /// What was opened and not asked for yet.
    opened: BytesMut,
    /// What is to leave.
    outgoing: Outgoing,
    /// A line's: what comes in bulk is read ahead.
    reads_ahead: bool,
    /// The last read has filled what it was given, so that more is there.
    brings_much: bool,
    /// Nothing is read any more: the peer has said that it is done.
    is_at_end: bool,
    /// Nothing is written any more.
    is_shut: bool,
    /// The peer has broken a rule, or what it sent was altered: nothing of it is taken any more.
    has_failed: bool,
}

/// What rustls is to do once it has looked at all that has come.
enum Then<'a> {
    Wait,
    Seal(&'a [u8]),
    Close,
}

impl TlsStream {
    /// Agrees with whoever has connected.
    pub(crate) async fn accept(config: Arc<ServerConfig>, tcp: Tcp) -> io::Result<Box<Self>> {
        let mut stream = Box::new(Self {
            tcp,
            tls: UnbufferedServerConnection::new(config).map_err(io::Error::other)?,
            incoming: BytesMut::new(),
            opened: BytesMut::new(),
            outgoing: Outgoing::default(),
            reads_ahead: false,
            brings_much: false,
            is_at_end: false,
            is_shut: false,
            has_failed: false,
        });
        poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    /// What comes in bulk is read ahead from now on, and the socket is told of it on the runtime that this is called on.
    pub(crate) fn move_here(&mut self) -> io::Result<()> {
        self.reads_ahead = true;
        self.tcp.move_here()
    }

    /// The socket alone, which stays a stranger's.
    pub(super) fn register_here(&mut self) -> io::Result<()> {
        self.tcp.register_here()
    }

    /// What is spoken, if that was agreed upon.
    pub(super) fn protocol(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// Of which version it is.
    pub(super) fn version(&self) -> Tls {
        match self.tls.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => Tls::V12,
            _ => Tls::V13,
        }
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.is_handshaking() {
            ready!(self.poll_sent(cx))?;
            ready!(self.poll_come(cx, &mut ReadBuf::new(&mut [])))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once from the socket, and opens what has come.
    fn poll_come(&mut self, cx: &mut Context<'_>, read: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let len;
        if self.incoming.is_empty() && !self.brings_much {
            let mut stack = [const { MaybeUninit::<u8>::uninit() }; READ_LEN];
            let mut came = ReadBuf::uninit(&mut stack);
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut came))?;
            len = came.filled().len();
            self.brings_much = self.reads_ahead && came.remaining() == 0;
            let used = self.go_on(came.filled_mut(), read, &Then::Wait).map_err(|error| self.failed(error, cx))?;
            self.incoming = BytesMut::from(came.filled().get(used..).unwrap_or_default());
        } else {
            if self.incoming.len() >= INCOMING_MAX {
                return Poll::Ready(Err(self.failed(io::ErrorKind::InvalidData.into(), cx)));
            }
            let room = if self.brings_much { AHEAD_LEN.saturating_sub(self.incoming.len()).max(1) } else { READ_LEN };
            self.incoming.reserve(room);
            let polled = poll_read_buf(Pin::new(&mut self.tcp), cx, &mut (&mut self.incoming).limit(room));
            self.brings_much = self.reads_ahead && matches!(polled, Poll::Ready(Ok(len)) if len >= READ_LEN);
            if polled.is_pending() && self.incoming.is_empty() {
                self.incoming = BytesMut::new();
            }
            len = ready!(polled)?;
            self.look_at_incoming(read, &Then::Wait).map_err(|error| self.failed(error, cx))?;
        }
        match len {
            // An end that the peer has not told may be somebody else's doing.
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Lets rustls look at what has come before, and then do something.
    fn look_at_incoming(&mut self, read: &mut ReadBuf<'_>, then: &Then<'_>) -> io::Result<()> {
        let mut incoming = mem::take(&mut self.incoming);
        let used = self.go_on(&mut incoming, read, then)?;
        incoming.advance(used);
        if !incoming.is_empty() {
            self.incoming = incoming;
        }
        Ok(())
    }

    /// Lets rustls look at what has come, to the first record with something to read, or do something when it has seen all of it.
    /// How much of it is done with; the rest is to be given again, from its begin.
    fn go_on(&mut self, came: &mut [u8], read: &mut ReadBuf<'_>, then: &Then<'_>) -> io::Result<usize> {
        let Self { tls, opened, outgoing, .. } = self;
        let (all, mut done) = (came.len(), 0);
        loop {
            let UnbufferedStatus { discard, state } = tls.process_tls_records(came.get_mut(done..).unwrap_or_default());
            done += discard;
            match state.map_err(invalid)? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        done += record.discard;
                        let (asked_for, more) = record.payload.split_at(record.payload.len().min(read.remaining()));
                        read.put_slice(asked_for);
                        opened.extend_from_slice(more);
                    }
                    if matches!(then, Then::Wait) {
                        return Ok(done);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => outgoing.append(0, |room| match data.encode(room) {
                    Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                        Err(Some(required_size))
                    }
                    encoded => encoded.map_err(|_| None),
                })?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => {
                    self.is_at_end = true;
                    // What follows is nobody's.
                    done = all;
                }
                ConnectionState::WriteTraffic(mut traffic) => {
                    match then {
                        Then::Wait => {}
                        Then::Seal(plaintext) => {
                            let len = plaintext.len() + plaintext.len().div_ceil(PAYLOAD_LEN_MAX) * OVERHEAD_LEN;
                            outgoing.append(len, |room| sealed(traffic.encrypt(plaintext, room)))?;
                        }
                        Then::Close => {
                            outgoing.append(ALERT_LEN, |room| sealed(traffic.queue_close_notify(room)))?;
                        }
                    }
                    return Ok(done);
                }
                ConnectionState::Closed | ConnectionState::BlockedHandshake if matches!(then, Then::Wait) => {
                    return Ok(done);
                }
                ConnectionState::Closed => return Err(io::ErrorKind::BrokenPipe.into()),
                // Early data is not offered, and nothing is written before the handshake is over.
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// It is over, and the peer is told why if its socket takes that at once.
    fn failed(&mut self, error: io::Error, cx: &mut Context<'_>) -> io::Error {
        (self.has_failed, self.incoming, self.opened) = (true, BytesMut::new(), BytesMut::new());
        while self.tls.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(mut data)) = self.tls.process_tls_records(&mut []).state
        {
            let encoded = self.outgoing.append(ALERT_LEN, |room| data.encode(room).map_err(|_| None));
            if encoded.is_err() {
                break;
            }
        }
        let _ = self.poll_sent(cx);
        error
    }

    /// Seals what is to be written, in as few records as it fits in; how much of it.
    fn seal(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let room = OUTGOING_MAX.saturating_sub(self.outgoing.len());
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        let (mut taken, mut joined) = (0, Vec::with_capacity(all.min(PAYLOAD_LEN_MAX)));
        for slice in slices {
            let slice = slice.get(..slice.len().min(room - taken)).unwrap_or_default();
            taken += slice.len();
            // What lies in one piece is sealed from there.
            let (head, rest) = match joined.is_empty() {
                true => slice.split_at(0),
                false => slice.split_at(slice.len().min(PAYLOAD_LEN_MAX - joined.len())),
            };
            joined.extend_from_slice(head);
            if joined.len() < PAYLOAD_LEN_MAX && !joined.is_empty() {
                continue;
            }
            self.seal_piece(&joined)?;
            joined.clear();
            let (whole, rest) = rest.split_at(rest.len() - rest.len() % PAYLOAD_LEN_MAX);
            self.seal_piece(whole)?;
            joined.extend_from_slice(rest);
        }
        self.seal_piece(&joined)?;
        Ok(taken)
    }

    fn seal_piece(&mut self, plaintext: &[u8]) -> io::Result<()> {
        if plaintext.is_empty() {
            return Ok(());
        }
        self.look_at_incoming(&mut ReadBuf::new(&mut []), &Then::Seal(plaintext))
    }

    /// Sends all that is to leave.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.outgoing.len() > 0 {
            match Pin::new(&mut self.tcp).poll_write(cx, self.outgoing.waiting())? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(len) => self.outgoing.has_left(len),
                Poll::Pending => {
                    self.outgoing.keeps();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// What is to leave, in memory that is lent while there is any.
#[derive(Default)]
struct Outgoing {
    /// Behind `to` zeros, or what has left before.
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

thread_local! {
    /// Lent to whoever of this thread has something to send, which is one at a time but where sockets are full: rustls wants
    /// memory that is not bare, and to clear 64 KiB for each record costs as much as to copy them.
    static LENT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Outgoing {
    const fn len(&self) -> usize {
        self.to - self.from
    }

    fn waiting(&self) -> &[u8] {
        self.bytes.get(self.from..self.to).unwrap_or_default()
    }

    /// Has something written behind what is to leave. `len` is enough for it as a rule; else it says what is, or that it cannot.
    fn append(
        &mut self,
        len: usize,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
    ) -> io::Result<()> {
        if self.bytes.is_empty() {
            self.bytes = LENT.take();
        }
        let Self { bytes, to, .. } = self;
        let mut write_within = |len: usize| {
            let end = *to + len;
            if let Some(more) = end.checked_sub(bytes.len()) {
                bytes.reserve_exact(more);
                bytes.resize(end, 0);
            }
            write(bytes.get_mut(*to..end).unwrap_or_default())
        };
        let written = match write_within(len) {
            Err(Some(len)) => write_within(len),
            written => written,
        };
        self.to += written.unwrap_or(0);
        self.has_left(0);
        written.map(drop).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// So much of it has left.
    fn has_left(&mut self, len: usize) {
        self.from = self.to.min(self.from + len);
        if self.len() == 0 {
            self.gives_back();
        }
    }

    /// The rest waits, perhaps for long: in memory of its own, if that is much less.
    fn keeps(&mut self) {
        if self.len() <= self.bytes.len() / 2 {
            let rest = self.waiting().to_vec();
            self.gives_back();
            (self.to, self.bytes) = (rest.len(), rest);
        }
    }

    fn gives_back(&mut self) {
        let Self { bytes, .. } = mem::take(self);
        if bytes.capacity() <= LENT_MAX {
            LENT.set(bytes);
        }
    }
}

fn sealed(sealed: Result<usize, EncryptError>) -> Result<usize, Option<usize>> {
    sealed.map_err(|error| match error {
        EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => Some(required_size),
        EncryptError::EncryptExhausted => None,
    })
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.opened.is_empty() {
            let len = self.opened.len().min(buf.remaining());
            buf.put_slice(&self.opened.split_to(len));
            if self.opened.is_empty() {
                self.opened = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        if self.has_failed {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let before = buf.filled().len();
        if !self.incoming.is_empty() {
            self.look_at_incoming(buf, &Then::Wait).map_err(|error| self.failed(error, cx))?;
        }
        while buf.filled().len() == before && self.opened.is_empty() && !self.is_at_end {
            ready!(self.poll_come(cx, buf))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_shut || self.has_failed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.outgoing.len() >= OUTGOING_MAX {
            ready!(self.poll_sent(cx))?;
        }
        Poll::Ready(self.seal(slices).map_err(|error| self.failed(error, cx)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_sent(cx))?;
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut && !self.has_failed {
            self.is_shut = true;
            if let Err(error) = self.look_at_incoming(&mut ReadBuf::new(&mut []), &Then::Close) {
                // Whoever reads is told that it is over.
                self.failed(error, cx);
            }
        }
        ready!(self.poll_sent(cx))?;
        match ready!(Pin::new(&mut self.tcp).poll_shutdown(cx)) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            shut => Poll::Ready(shut),
        }
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
