//! The WebSocket by itself: frames in pieces, rules that are broken, what it keeps in memory.

#![expect(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

use std::future::poll_fn;

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
            Incoming::Closing => "closing".to_owned(),
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

/// What the peer hears of its end, whatever it goes on sending; the socket is closed as soon as it has heard of it.
async fn closed_with(bytes: &[u8]) -> (Vec<String>, Option<u16>) {
    let (mut client, server) = duplex(1 << 20);
    let mut socket = WebSocket::new(server);
    client.write_all(bytes).await.unwrap();
    let mut heard = Vec::new();
    let is_over = loop {
        match socket.next().await {
            Some(Incoming::Closing) => break true,
            Some(Incoming::Binary(bytes)) if bytes.len() > RECORD_LEN_MAX => break true,
            Some(other) => heard.push(format!("{other:?}")),
            None => break false,
        }
    };
    assert_eq!(socket.buffer.capacity(), 0, "nothing is kept");
    if is_over {
        client.write_all(&[0x55; 100_000]).await.unwrap();
        socket.close().await.unwrap();
        client.shutdown().await.unwrap();
        assert!(socket.next().await.is_none(), "what comes behind is nobody's");
    }
    drop(socket);
    let mut said = Vec::new();
    client.read_to_end(&mut said).await.unwrap();
    let code = said.last_chunk().filter(|_| said.len() >= 4).map(|code| u16::from_be_bytes(*code));
    assert!(code.is_none() || said[said.len() - 4..].starts_with(&[0x88, 2]), "{said:?}");
    (heard, code)
}

#[tokio::test]
async fn what_breaks_the_rules_ends_it_and_is_told_which() {
    let mut unmasked = client_frame(0x82, b"abc");
    unmasked[1] &= 0x7f;
    let mut longer_than_memory = client_frame(0x82, &[0; 200]);
    longer_than_memory[1] = 0x80 | 127;
    longer_than_memory.splice(2..4, u64::MAX.to_be_bytes());
    let halves = [client_frame(0x02, &vec![0; RECORD_LEN_MAX]), client_frame(0x80, &[0])].concat();
    let nested = [client_frame(0x02, &[0]), client_frame(0x82, &[0])].concat();
    let close = |code: u16, reason: &[u8]| client_frame(0x88, &[&code.to_be_bytes(), reason].concat());
    for (name, bytes, code) in [
        ("not masked", unmasked, 1_002),
        ("an extension's bit", client_frame(0xc2, b"abc"), 1_002),
        ("another's", client_frame(0x92, b"abc"), 1_002),
        ("a reserved opcode", client_frame(0x83, b"abc"), 1_002),
        ("a reserved opcode of a control frame", client_frame(0x8b, b"abc"), 1_002),
        ("longer than memory", longer_than_memory, 1_009),
        ("longer than a record", client_frame(0x82, &vec![0; RECORD_LEN_MAX + 1]), 1_009),
        ("text that is longer than a record", client_frame(0x81, &vec![0; RECORD_LEN_MAX + 1]), 1_009),
        ("longer than a record, in fragments", halves, 1_009),
        ("a fragment of nothing", client_frame(0x80, b"abc"), 1_002),
        ("a message in a message", nested, 1_002),
        ("a ping in fragments", client_frame(0x09, b"abc"), 1_002),
        ("a long ping", client_frame(0x89, &[0; 126]), 1_002),
        ("a long close", client_frame(0x88, &[3; 126]), 1_002),
        ("a close with half a code", client_frame(0x88, &[3]), 1_002),
        ("a close with the code 0", close(0, b""), 1_002),
        ("a close with a code of no connection", close(1_006, b""), 1_002),
        ("a close with a code of nobody", close(2_999, b"why"), 1_002),
        ("a close with a reason that is no text", close(1_000, &[0xff]), 1_007),
        ("a close", client_frame(0x88, b""), 1_000),
        ("a close with a reason", close(1_001, "à bientôt".as_bytes()), 1_001),
        ("a close with an app's code", close(4_321, b""), 4_321),
        // It is the peer's word, not our verdict.
        ("a close because we said too much", close(1_009, b""), 1_009),
    ] {
        assert_eq!(closed_with(&bytes).await, (Vec::new(), Some(code)), "{name}");
    }
    let half = client_frame(0x82, b"abcdef")[..8].to_vec();
    for (name, bytes) in [("half a frame", half), ("nothing", Vec::new())] {
        assert_eq!(read(&bytes, 1_000).await, [None], "{name}");
    }
}

/// A message of 65,536 bytes is one that was altered: the core can tell its peer so, and count it, only if it hears of it.
#[tokio::test]
async fn a_message_beyond_a_record_is_heard_as_one_and_keeps_no_memory() {
    for bytes in [
        client_frame(0x82, &vec![0; RECORD_LEN_MAX + 1]),
        [client_frame(0x02, &vec![0; RECORD_LEN_MAX]), client_frame(0x80, &[0])].concat(),
    ] {
        assert_eq!(read(&bytes, 16_384).await, seen(&["binary 65536"]));
    }
}

#[tokio::test]
async fn nothing_is_said_behind_our_own_close() {
    let (mut client, server) = duplex(60_000);
    let mut socket = WebSocket::new(server);
    socket.close().await.unwrap();
    client.write_all(&client_frame(0x89, b"still there?")).await.unwrap();
    client.shutdown().await.unwrap();
    assert!(matches!(socket.next().await, Some(Incoming::Other)));
    assert!(socket.next().await.is_none());
    socket.flush().await.unwrap();
    drop(socket);
    let mut said = Vec::new();
    client.read_to_end(&mut said).await.unwrap();
    assert_eq!(said, [0x88, 2, 3, 232]);
}

/// A stream that knows how often it was flushed.
struct Counted(DuplexStream, u32);

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.1 += 1;
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Under TLS each flush is a write of its own, and the end is one.
#[tokio::test]
async fn our_close_frame_leaves_with_the_streams_end() {
    let (mut client, server) = duplex(60_000);
    let mut socket = WebSocket::new(Counted(server, 0));
    poll_fn(|cx| Pin::new(&mut socket).poll_close(cx)).await.unwrap();
    assert_eq!(socket.stream.1, 0);
    let mut said = Vec::new();
    client.read_to_end(&mut said).await.unwrap();
    assert_eq!(said, [0x88, 2, 3, 232]);
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
        loop {
            match socket.next().await {
                Some(Incoming::Binary(bytes)) => socket.send(bytes.to_vec()).await.unwrap(),
                Some(Incoming::Closing) => break,
                Some(_) => {}
                None => panic!("it ends without a close"),
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
