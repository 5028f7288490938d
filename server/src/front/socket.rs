//! A WebSocket (RFC 6455) at the server, over a connection that was upgraded, which holds no buffers while nothing flows.
//!
//! ```text
//! peer ─► stack ─► buffer, until it has a whole frame ─► unmask ─► message            all of it given back when it is read
//! peer ◄── header and record, side by side ◄── record
//! ```
//!
//! Frame headers are tungstenite's. What it does beyond them, with a read and a write buffer that a socket keeps for its
//! whole life, is what thousands of idle lines cannot afford.

use std::{
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
    coding::{Control, Data, OpCode},
};
use tokio_util::io::{poll_read_buf, poll_write_buf};

/// Bytes of the stack that a read of an idle socket goes to: a TLS record's worth (RFC 8446, section 5.1).
const READ_LEN: usize = 16 * 1_024;
/// A stranger gets room for a whole frame only when so many bytes of it are there.
const FIRST_LEN: usize = 1_024;
/// The longest payload of a control frame (RFC 6455, section 5.5).
const CONTROL_LEN_MAX: usize = 125;
/// The longest header of a frame to a client: its payload is at most a record.
const HEADER_LEN_MAX: usize = 4;
/// "Normal closure" (RFC 6455, section 7.4.1).
const NORMAL: [u8; 2] = 1_000_u16.to_be_bytes();

/// A server's end of a WebSocket.
pub(crate) struct WebSocket<S> {
    stream: S,
    /// Bytes that were read and not yet used. Empty, it holds no memory.
    buffer: BytesMut,
    /// The frame that `buffer` begins with, once its header is known: the header, and the payload's length.
    frame: Option<(FrameHeader, usize)>,
    /// A message of which more fragments are to come.
    fragments: Option<Box<Fragments>>,
    /// The answer to the last ping.
    pong: Option<Bytes>,
    /// The frame on its way out.
    out: Option<Chain<Cursor<[u8; HEADER_LEN_MAX]>, Bytes>>,
    read: Side,
    write: Side,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Open,
    Closed,
}

struct Fragments {
    kind: Data,
    payload: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// The socket of a stream whose upgrade is behind it.
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            frame: None,
            fragments: None,
            pong: None,
            out: None,
            read: Side::Open,
            write: Side::Open,
        }
    }

    /// Sends a ping with the next flush, unless something else is on its way, which does as well.
    pub(crate) fn queue_ping(&mut self) {
        if self.out.is_none() && self.write == Side::Open {
            self.out = frame(OpCode::Control(Control::Ping), Bytes::new()).ok();
        }
    }

    /// The next thing that comes; an error, or its end, is its last.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Incoming>>> {
        loop {
            if let Some((header, payload)) = self.next_frame()? {
                match self.handle_frame(&header, payload)? {
                    Handled::Nothing => {}
                    Handled::Message(message) => return Poll::Ready(Ok(Some(message))),
                    Handled::Closed => return Poll::Ready(Ok(None)),
                }
            } else if ready!(self.poll_read(cx))? == 0 {
                return Poll::Ready(Ok(None));
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.is_empty() && self.frame.is_none() {
            let mut stack = [const { MaybeUninit::<u8>::uninit() }; READ_LEN];
            let mut read = ReadBuf::uninit(&mut stack);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            self.buffer = BytesMut::from(read.filled());
            return Poll::Ready(Ok(self.buffer.len()));
        }
        // Not a byte beyond the frame: the next one begins on the stack again.
        let wanted = self.frame.as_ref().map_or(1, |(_, len)| len - self.buffer.len());
        self.buffer.reserve(if self.buffer.len() < FIRST_LEN { wanted.min(FIRST_LEN) } else { wanted });
        poll_read_buf(Pin::new(&mut self.stream), cx, &mut (&mut self.buffer).limit(wanted))
    }

    /// A whole frame, unmasked, if the buffer has one.
    fn next_frame(&mut self) -> io::Result<Option<(FrameHeader, BytesMut)>> {
        if self.frame.is_none() {
            let mut cursor = Cursor::new(&self.buffer[..]);
            let Some((header, len)) = FrameHeader::parse(&mut cursor).map_err(io::Error::other)? else {
                return Ok(None);
            };
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

    fn handle_frame(&mut self, header: &FrameHeader, payload: BytesMut) -> io::Result<Handled> {
        let kind = match header.opcode {
            OpCode::Control(Control::Ping) => {
                // A peer that does not take its answers gets the last one.
                self.pong = Some(payload.freeze());
                return Ok(Handled::Message(Incoming::Other));
            }
            OpCode::Control(Control::Close) => return Ok(Handled::Closed),
            OpCode::Control(_) => return Ok(Handled::Message(Incoming::Other)),
            OpCode::Data(kind) => kind,
        };
        let message = match (kind, self.fragments.take()) {
            (Data::Continue, Some(mut fragments)) => {
                if fragments.payload.len() + payload.len() > RECORD_LEN_MAX {
                    return Err(violation("a message is longer than a record"));
                }
                fragments.payload.unsplit(payload);
                *fragments
            }
            (Data::Continue, None) => return Err(violation("a fragment belongs to no message")),
            (_, Some(_)) => return Err(violation("a message begins within another")),
            (kind, None) => Fragments { kind, payload },
        };
        if !header.is_final {
            self.fragments = Some(Box::new(message));
            return Ok(Handled::Nothing);
        }
        Ok(Handled::Message(match message.kind {
            Data::Binary => Incoming::Binary(message.payload.freeze()),
            _ => Incoming::Text,
        }))
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
            self.out = Some(frame(OpCode::Control(Control::Pong), pong)?);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

enum Handled {
    Nothing,
    Message(Incoming),
    Closed,
}

/// What a frame must be before anything of it is kept: masked, without extensions, and not too long (RFC 6455, sections 5.1,
/// 5.2 and 5.5).
fn check(header: &FrameHeader, len: u64) -> io::Result<usize> {
    if header.mask.is_none() {
        return Err(violation("a client's frame is not masked"));
    }
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return Err(violation("a frame has bits of an extension"));
    }
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let control = matches!(header.opcode, OpCode::Control(_));
    if control && !header.is_final {
        return Err(violation("a control frame is fragmented"));
    }
    if len > if control { CONTROL_LEN_MAX } else { RECORD_LEN_MAX } {
        return Err(violation("a frame is too long"));
    }
    Ok(len)
}

fn violation(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
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
        return Err(violation("a frame is longer than a record"));
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
        if self.read == Side::Closed {
            return Poll::Ready(None);
        }
        let message = self.poll_message(cx);
        // Nobody else sends what answers a ping. An error of it shows in the next read.
        if self.pong.is_some() || self.out.is_some() {
            let _ = self.poll_written(cx);
        }
        let message = ready!(message).unwrap_or_else(|error| {
            tracing::debug!(%error, "a WebSocket ends");
            None
        });
        if message.is_none() {
            self.read = Side::Closed;
            (self.buffer, self.frame, self.fragments) = (BytesMut::new(), None, None);
        }
        Poll::Ready(message)
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
        self.out = Some(frame(OpCode::Data(Data::Binary), record.into())?);
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_written(cx))?;
        if self.write == Side::Open {
            self.write = Side::Closed;
            self.out = Some(frame(OpCode::Control(Control::Close), Bytes::from_static(&NORMAL))?);
            ready!(self.poll_written(cx))?;
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]
mod tests {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio_tungstenite::{
        WebSocketStream,
        tungstenite::{Message, protocol::Role},
    };

    use super::*;

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    /// A frame as a client sends it; `first` is its first byte.
    fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = FrameHeader { mask: Some(MASK), ..FrameHeader::default() };
        header.format(payload.len() as u64, &mut bytes).unwrap();
        bytes[0] = first;
        let mut payload = payload.to_vec();
        unmask(&mut payload, MASK);
        bytes.extend_from_slice(&payload);
        bytes
    }

    /// What the socket makes of these bytes, written in pieces of that length; None where it ended.
    async fn read(bytes: &[u8], piece: usize) -> Vec<Option<String>> {
        let (client, server) = duplex(1 << 20);
        let (_reads, mut writes) = tokio::io::split(client);
        let mut socket = WebSocket::new(server);
        let mut seen = Vec::new();
        let own = bytes.to_vec();
        let writer = tokio::spawn(async move {
            for piece in own.chunks(piece) {
                writes.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            writes.shutdown().await.unwrap();
        });
        loop {
            let message = socket.next().await;
            let ended = message.is_none();
            seen.push(message.map(|message| match message {
                Incoming::Binary(bytes) => format!("binary {}", bytes.len()),
                Incoming::Text => "text".to_owned(),
                Incoming::Other => "other".to_owned(),
            }));
            if ended {
                assert!(socket.buffer.capacity() == 0, "nothing is kept");
                writer.await.unwrap();
                return seen;
            }
        }
    }

    fn seen(words: &[&str]) -> Vec<Option<String>> {
        words.iter().map(|word| Some((*word).to_owned())).chain([None]).collect()
    }

    /// RFC 6455, section 5.7: the masked "Hello".
    #[test]
    fn the_rfcs_example_is_unmasked() {
        let mut payload = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        unmask(&mut payload, MASK);
        assert_eq!(&payload, b"Hello");
        let mut long: Vec<u8> = (0..=255).collect();
        unmask(&mut long, MASK);
        assert!(long.iter().enumerate().all(|(at, byte)| *byte == MASK[at % 4] ^ u8::try_from(at).unwrap()));
    }

    #[tokio::test]
    async fn frames_come_through_in_pieces_of_any_length() {
        let mut bytes = client_frame(0x82, &[1; 5]);
        bytes.extend(client_frame(0x82, &vec![2; 70 * 256]));
        bytes.extend(client_frame(0x02, &[3; 200]));
        bytes.extend(client_frame(0x89, b"are you there"));
        bytes.extend(client_frame(0x00, &[4; 300]));
        bytes.extend(client_frame(0x80, &[5; 400]));
        bytes.extend(client_frame(0x82, &[]));
        bytes.extend(client_frame(0x81, b"text"));
        bytes.extend(client_frame(0x82, &vec![6; RECORD_LEN_MAX]));
        let expected = seen(&["binary 5", "binary 17920", "other", "binary 900", "binary 0", "text", "binary 65535"]);
        for piece in [1, 2, 3, 7, 100, 1_000, 16_384, 100_000] {
            assert_eq!(read(&bytes, piece).await, expected, "in pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn what_breaks_the_rules_ends_it() {
        let mut unmasked = client_frame(0x82, b"abc");
        unmasked[1] &= 0x7f;
        let mut too_long = client_frame(0x82, &[0; 200]);
        too_long[1] = 0x80 | 127;
        too_long.splice(2..4, u64::MAX.to_be_bytes());
        let halves = [client_frame(0x02, &vec![0; RECORD_LEN_MAX]), client_frame(0x80, &[0])].concat();
        let nested = [client_frame(0x02, &[0]), client_frame(0x82, &[0])].concat();
        let cases = [
            ("not masked", unmasked),
            ("an extension's bit", client_frame(0xc2, b"abc")),
            ("a reserved opcode", client_frame(0x83, b"abc")),
            ("longer than memory", too_long),
            ("longer than a record", client_frame(0x82, &vec![0; RECORD_LEN_MAX + 1])),
            ("longer than a record, in fragments", halves),
            ("a fragment of nothing", client_frame(0x80, b"abc")),
            ("a message in a message", nested),
            ("a ping in fragments", client_frame(0x09, b"abc")),
            ("a long ping", client_frame(0x89, &[0; 126])),
            ("a close", client_frame(0x88, &NORMAL)),
            ("half a frame", client_frame(0x82, b"abcdef")[..8].to_vec()),
            ("nothing", Vec::new()),
        ];
        for (name, bytes) in cases {
            let behind = [bytes.clone(), client_frame(0x82, b"behind it")].concat();
            assert_eq!(read(if name == "half a frame" { &bytes } else { &behind }, 1_000).await.last(), Some(&None));
            let first = read(&behind, 1_000).await.into_iter().next().unwrap();
            assert!(first.is_none() || matches!(name, "half a frame" | "nothing"), "{name}: {first:?}");
        }
    }

    /// A client of another make, at the other end.
    async fn with_tungstenite() -> (WebSocketStream<DuplexStream>, WebSocket<DuplexStream>) {
        let (client, server) = duplex(1_000);
        (WebSocketStream::from_raw_socket(client, Role::Client, None).await, WebSocket::new(server))
    }

    #[tokio::test]
    async fn tungstenite_understands_it() {
        let (mut client, mut socket) = with_tungstenite().await;
        let server = tokio::spawn(async move {
            while let Some(message) = socket.next().await {
                if let Incoming::Binary(bytes) = message {
                    socket.send(bytes.to_vec()).await.unwrap();
                }
            }
            socket.close().await.unwrap();
        });
        for len in [0, 1, 125, 126, 4_000, RECORD_LEN_MAX] {
            let message = Message::Binary(vec![7; len].into());
            let (mut sink, mut stream) = (&mut client).split();
            let (sent, echoed) = tokio::join!(sink.send(message.clone()), stream.next());
            sent.unwrap();
            assert_eq!(echoed.unwrap().unwrap(), message);
        }
        client.send(Message::Ping("still there?".into())).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong("still there?".into()));
        client.close(None).await.unwrap();
        assert!(matches!(client.next().await.unwrap().unwrap(), Message::Close(Some(_))));
        assert!(client.next().await.is_none());
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_thousand_pings_unanswered_are_one_pong() {
        let (mut client, server) = duplex(60_000);
        let mut socket = WebSocket::new(server);
        for number in 0..1_000_u32 {
            client.write_all(&client_frame(0x89, &number.to_be_bytes())).await.unwrap();
        }
        // Its way back is full.
        socket.send(vec![0; 59_996]).await.unwrap();
        for _ in 0..1_000 {
            assert!(matches!(socket.next().await, Some(Incoming::Other)));
        }
        let mut record = vec![0; 60_000];
        client.read_exact(&mut record).await.unwrap();
        socket.flush().await.unwrap();
        drop(socket);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest.len() % 6, 0);
        assert!(rest.len() <= 12, "{} pongs", rest.len() / 6);
        assert_eq!(rest[rest.len() - 4..], 999_u32.to_be_bytes());
    }

    #[tokio::test]
    async fn a_long_frame_that_was_only_announced_takes_little_memory() {
        let (mut client, server) = duplex(60_000);
        let mut socket = WebSocket::new(server);
        client.write_all(&client_frame(0x82, &vec![0; 60_000])[..20]).await.unwrap();
        let waited = tokio::time::timeout(std::time::Duration::from_millis(10), socket.next()).await;
        assert!(waited.is_err());
        assert!(socket.buffer.capacity() <= 2 * FIRST_LEN, "{} bytes", socket.buffer.capacity());
    }
}
