//! A WebSocket (RFC 6455) at the server, over a connection that was upgraded, which holds no buffers while nothing flows.
//!
//! ```text
//! peer ─► stack ─► buffer, until it has a whole frame ─► unmask ─► message            all of it given back when it is read
//! peer ◄── header and record, side by side ◄── record
//! ```
//!
//! Frame headers are tungstenite's. What it does beyond them, with a read and a write buffer that a socket keeps for its
//! whole life, is what thousands of idle lines cannot afford. What that gave up is tested instead: `fuzz` holds it to
//! tungstenite's verdicts, `autobahn` to Autobahn's.
//!
//! A peer that closes, or breaks a rule, is told a status code (RFC 6455, section 7.4.1) by [`Sink::poll_close`], and what it
//! sends after that is read and thrown away until it hangs up: unread bytes would make TCP take back that close frame.
//! What text says is not judged: no text is ever handed on.

use std::{
    cell::Cell,
    io::{self, Cursor},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, Bytes, BytesMut, buf::Chain};
use duologue::limits::RECORD_LEN_MAX;
use duologue_native::Incoming;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{CloseCode, Control, Data, OpCode},
};
use tokio_util::io::{poll_read_buf, poll_write_buf};

/// Why a WebSocket ends whose peer says so.
const PEER_CLOSES: &str = "its peer closes it";
/// Bytes of the stack that a read of an idle socket goes to: a TLS record's worth (RFC 8446, section 5.1).
const READ_LEN: usize = 16 * 1_024;
/// A stranger gets room for a whole frame only when so many bytes of it are there.
const FIRST_LEN: usize = 1_024;
/// The longest payload of a control frame (RFC 6455, section 5.5).
const CONTROL_LEN_MAX: usize = 125;
/// The longest frame that brings a record, with its header.
const FRAME_LEN_MAX: usize = RECORD_LEN_MAX + 14;
/// The longest header of a frame to a client: its payload is at most a record.
const HEADER_LEN_MAX: usize = 4;

/// A server's end of a WebSocket.
pub(crate) struct WebSocket<S> {
    stream: S,
    /// Bytes that were read and not yet used. Empty, it holds no memory.
    buffer: BytesMut,
    /// The frame that `buffer` begins with, once its header is known: the header, and the payload's length.
    frame: Option<(FrameHeader, usize)>,
    /// A message of which more fragments are to come.
    fragments: Option<Box<Message>>,
    /// The answer to the last ping. Boxed: it is rare, and a socket is what thousands hold.
    pong: Option<Box<Bytes>>,
    /// The frame on its way out.
    out: Option<Chain<Cursor<[u8; HEADER_LEN_MAX]>, Bytes>>,
    read: Side,
    write: Side,
    /// What the close frame will say.
    status: CloseCode,
    /// Pings since the last message.
    pings: u16,
}

/// What a peer does with its WebSocket that no client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Oddity {
    /// A frame that RFC 6455 does not have.
    Broken,
    /// So many pings without a message between them.
    Pings,
}

/// Pings without a message between them that nobody wonders at: a client that pings each second has sent its line's own PONG long
/// before.
const PINGS: u16 = 1_000;

thread_local! {
    /// What the socket has met that this thread has just polled. Who polls it knows whose it is, which each socket would need room
    /// for.
    static MET: Cell<Option<Oddity>> = const { Cell::new(None) };
}

/// What the sockets have met that this thread has polled since this was asked last.
pub(crate) fn met() -> Option<Oddity> {
    MET.take()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Open,
    /// Of reading: the peer has closed or broken a rule; what it still sends is nobody's.
    Draining,
    Closed,
}

/// A message, or as much of it as has come.
struct Message {
    kind: Data,
    payload: BytesMut,
}

/// What comes from the peer.
enum Heard {
    /// A message, whole.
    Message(Message),
    /// The begin of one that is longer than a record.
    TooLong,
    /// A ping or a pong.
    Control,
    /// Its close frame, or something that breaks a rule.
    Closing,
}

/// Why no more is heard.
enum End {
    /// By a close frame, the peer's or ours: what ours says, and why.
    Close(CloseCode, &'static str),
    /// A message is longer than a record.
    TooLong,
    /// The stream has ended, or failed.
    Stream(io::Result<()>),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Stream(Err(error))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// The socket of a stream whose upgrade is behind it.
    #[cfg(test)]
    pub(crate) fn new(stream: S) -> Self {
        Self::with(stream, BytesMut::new())
    }

    /// The same with what was read beyond that.
    pub(crate) fn with(stream: S, ahead: BytesMut) -> Self {
        Self {
            stream,
            buffer: ahead,
            frame: None,
            fragments: None,
            pong: None,
            out: None,
            read: Side::Open,
            write: Side::Open,
            status: CloseCode::Normal,
            pings: 0,
        }
    }

    pub(crate) const fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Sends a ping with the next flush, unless something else is on its way, which does as well.
    pub(crate) fn queue_ping(&mut self) {
        if self.out.is_none() && self.write == Side::Open {
            self.out = frame(OpCode::Control(Control::Ping), Bytes::new()).ok();
        }
    }

    /// The next thing that comes. Nothing does after [`Heard::TooLong`] and [`Heard::Closing`] but the stream's end.
    fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<Option<Heard>> {
        match self.read {
            Side::Open => {}
            Side::Draining => return self.poll_drained(cx).map(|()| None),
            Side::Closed => return Poll::Ready(None),
        }
        let heard = self.poll_frames(cx);
        // Nobody else sends what answers a ping. An error of it shows in the next read.
        if self.pong.is_some() || self.out.is_some() {
            let _ = self.poll_written(cx);
        }
        let end = match ready!(heard) {
            Ok(heard) => return Poll::Ready(Some(heard)),
            Err(end) => end,
        };
        (self.buffer, self.frame, self.fragments) = (BytesMut::new(), None, None);
        Poll::Ready(match end {
            End::Close(status, why) => {
                if why != PEER_CLOSES {
                    MET.set(Some(Oddity::Broken));
                }
                tracing::debug!(%status, why, "a WebSocket is closed");
                (self.read, self.status) = (Side::Draining, status);
                Some(Heard::Closing)
            }
            End::TooLong => {
                (self.read, self.status) = (Side::Draining, CloseCode::Size);
                Some(Heard::TooLong)
            }
            End::Stream(how) => {
                if let Err(error) = how {
                    tracing::debug!(%error, "a WebSocket's stream fails");
                }
                self.read = Side::Closed;
                None
            }
        })
    }

    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<Result<Heard, End>> {
        loop {
            if let Some((header, payload)) = self.next_frame()? {
                if let Some(heard) = self.handle_frame(&header, payload)? {
                    return Poll::Ready(Ok(heard));
                }
            } else if ready!(self.poll_read(cx))? == 0 {
                return Poll::Ready(Err(End::Stream(Ok(()))));
            }
        }
    }

    /// Reads to the stream's end, and keeps nothing.
    fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut stack = [const { MaybeUninit::<u8>::uninit() }; READ_LEN];
            let mut read = ReadBuf::uninit(&mut stack);
            if ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read)).is_err() || read.filled().is_empty() {
                self.read = Side::Closed;
                return Poll::Ready(());
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.is_empty() && self.frame.is_none() {
            let mut stack = [const { MaybeUninit::<u8>::uninit() }; READ_LEN];
            let mut read = ReadBuf::uninit(&mut stack);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            let read = read.filled();
            // More of a long one is to follow: it does not grow by moving.
            self.buffer = BytesMut::with_capacity(if read.len() < READ_LEN { read.len() } else { FRAME_LEN_MAX });
            self.buffer.extend_from_slice(read);
            return Poll::Ready(Ok(self.buffer.len()));
        }
        // Not a byte beyond the frame: the next one begins on the stack again.
        let wanted = self.frame.as_ref().map_or(1, |(_, len)| len - self.buffer.len());
        self.buffer.reserve(if self.buffer.len() < FIRST_LEN { wanted.min(FIRST_LEN) } else { wanted });
        poll_read_buf(Pin::new(&mut self.stream), cx, &mut (&mut self.buffer).limit(wanted))
    }

    /// A whole frame, unmasked, if the buffer has one.
    fn next_frame(&mut self) -> Result<Option<(FrameHeader, BytesMut)>, End> {
        if self.frame.is_none() {
            let mut cursor = Cursor::new(&self.buffer[..]);
            let parsed = FrameHeader::parse(&mut cursor).map_err(|_| violation("a frame has a reserved opcode"))?;
            let Some((header, len)) = parsed else { return Ok(None) };
            let header_len = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
            let len = check(&header, len)?;
            self.buffer.advance(header_len);
            self.frame = Some((header, len));
        }
        let Some((header, len)) = self.frame.take_if(|(_, len)| self.buffer.len() >= *len) else { return Ok(None) };
        let mut payload = match self.buffer.len() {
            all if all == len => std::mem::take(&mut self.buffer),
            _ => self.buffer.split_to(len),
        };
        if let Some(mask) = header.mask {
            unmask(&mut payload, mask);
        }
        Ok(Some((header, payload)))
    }

    /// What a frame is to who listens; none where more of a message is to come.
    fn handle_frame(&mut self, header: &FrameHeader, payload: BytesMut) -> Result<Option<Heard>, End> {
        let kind = match header.opcode {
            OpCode::Control(Control::Ping) => {
                self.pings += 1;
                if self.pings == PINGS {
                    self.pings = 0;
                    MET.set(Some(Oddity::Pings));
                }
                // A peer that does not take its answers gets the last one; one that was told the end gets none.
                self.pong = (self.write == Side::Open).then(|| Box::new(payload.freeze()));
                return Ok(Some(Heard::Control));
            }
            OpCode::Control(Control::Close) => return Err(answer(&payload)),
            OpCode::Control(_) => return Ok(Some(Heard::Control)),
            OpCode::Data(kind) => kind,
        };
        self.pings = 0;
        let message = match (kind, self.fragments.take()) {
            (Data::Continue, Some(mut message)) => {
                if message.payload.len() + payload.len() > RECORD_LEN_MAX {
                    return Err(End::TooLong);
                }
                message.payload.unsplit(payload);
                *message
            }
            (Data::Continue, None) => return Err(violation("a fragment belongs to no message")),
            (_, Some(_)) => return Err(violation("a message begins within another")),
            (kind, None) => Message { kind, payload },
        };
        if !header.is_final {
            self.fragments = Some(Box::new(message));
            return Ok(None);
        }
        Ok(Some(Heard::Message(message)))
    }

    /// Takes a message that is to be sent, while none is on its way.
    fn start(&mut self, kind: Data, message: Bytes) -> io::Result<()> {
        self.out = Some(frame(OpCode::Data(kind), message)?);
        Ok(())
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_given(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Gives the stream all that is to be sent.
    fn poll_given(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(out) = &mut self.out {
                while out.has_remaining() {
                    if ready!(poll_write_buf(Pin::new(&mut self.stream), cx, out))? == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                }
                self.out = None;
            }
            let Some(pong) = self.pong.take() else { break };
            self.out = Some(frame(OpCode::Control(Control::Pong), *pong)?);
        }
        Poll::Ready(Ok(()))
    }
}

/// What a frame must be before anything of it is kept: masked, without extensions, and not too long (RFC 6455, sections 5.1,
/// 5.2 and 5.5).
fn check(header: &FrameHeader, len: u64) -> Result<usize, End> {
    if header.mask.is_none() {
        return Err(violation("a client's frame is not masked"));
    }
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return Err(violation("a frame has bits of an extension"));
    }
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if matches!(header.opcode, OpCode::Control(_)) {
        if !header.is_final {
            return Err(violation("a control frame is fragmented"));
        }
        if len > CONTROL_LEN_MAX {
            return Err(violation("a control frame is too long"));
        }
    } else if len > RECORD_LEN_MAX {
        return Err(End::TooLong);
    }
    Ok(len)
}

/// The answer to a close frame: its own code (RFC 6455, section 5.5.1), unless it has one that nobody may send.
fn answer(payload: &[u8]) -> End {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            End::Close(CloseCode::Normal, PEER_CLOSES)
        } else {
            violation("a close frame has half a status code")
        };
    };
    let code = CloseCode::from(u16::from_be_bytes(*code));
    if !code.is_allowed() {
        violation("a close frame has a status code that none may have")
    } else if std::str::from_utf8(reason).is_err() {
        End::Close(CloseCode::Invalid, "a close frame's reason is not UTF-8")
    } else {
        End::Close(code, PEER_CLOSES)
    }
}

const fn violation(what: &'static str) -> End {
    End::Close(CloseCode::Protocol, what)
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let mut wide = [0; 16];
    wide.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte = *key);
    let (chunks, rest) = payload.as_chunks_mut::<16>();
    for chunk in chunks {
        *chunk = (u128::from_ne_bytes(*chunk) ^ u128::from_ne_bytes(wide)).to_ne_bytes();
    }
    rest.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
}

/// A frame to the client: its header and its payload, side by side.
fn frame(opcode: OpCode, payload: Bytes) -> io::Result<Chain<Cursor<[u8; HEADER_LEN_MAX]>, Bytes>> {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    let len = payload.len() as u64;
    let Some(unused) = HEADER_LEN_MAX.checked_sub(header.len(len)) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a frame is longer than a record"));
    };
    let mut bytes = Cursor::new([0; HEADER_LEN_MAX]);
    bytes.set_position(unused as u64);
    header.format(len, &mut bytes).map_err(io::Error::other)?;
    bytes.set_position(unused as u64);
    Ok(bytes.chain(payload))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for WebSocket<S> {
    type Item = Incoming;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        self.poll_heard(cx).map(|heard| {
            Some(match heard? {
                Heard::Message(Message { kind: Data::Binary, payload }) => Incoming::Binary(payload),
                Heard::Message(_) => Incoming::Text,
                Heard::TooLong => Incoming::too_long(),
                Heard::Control => Incoming::Other,
                Heard::Closing => Incoming::Closing,
            })
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Vec<u8>> for WebSocket<S> {
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.out {
            Some(_) => self.poll_written(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn start_send(mut self: Pin<&mut Self>, record: Vec<u8>) -> io::Result<()> {
        self.start(Data::Binary, record.into())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_given(cx))?;
        if self.write == Side::Open {
            self.write = Side::Closed;
            let status = u16::from(self.status).to_be_bytes();
            self.out = Some(frame(OpCode::Control(Control::Close), Bytes::copy_from_slice(&status))?);
            ready!(self.poll_given(cx))?;
        }
        // Flushed with the end: TLS says that it is over in the same write.
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod autobahn;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
