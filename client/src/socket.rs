//! tokio-tungstenite's sockets as the driver wants them: binary messages both ways, and an end.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use duologue_native::{Incoming, Socket};
use futures_util::{
    Sink, SinkExt, Stream, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Bytes, Error as WebSocketError, Message},
};

/// A tokio-tungstenite socket, to carry a line.
#[derive(Debug)]
pub struct WebSocket<S>(pub WebSocketStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Socket for WebSocket<S> {
    type Bytes = Bytes;
    type Read = ReadHalf<S>;
    type Write = WriteHalf<S>;

    fn split(self) -> (ReadHalf<S>, WriteHalf<S>) {
        let (write, read) = self.0.split();
        (ReadHalf(read), WriteHalf(write))
    }
}

/// What comes from a [`WebSocket`].
#[derive(Debug)]
pub struct ReadHalf<S>(SplitStream<WebSocketStream<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for ReadHalf<S> {
    type Item = Incoming<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx).map(|message| match message {
            Some(Ok(Message::Binary(bytes))) => Some(Incoming::Binary(bytes)),
            Some(Ok(Message::Text(_))) => Some(Incoming::Text),
            Some(Ok(Message::Close(_)) | Err(_)) | None => None,
            Some(Ok(_)) => Some(Incoming::Other),
        })
    }
}

/// What goes to a [`WebSocket`].
#[derive(Debug)]
pub struct WriteHalf<S>(SplitSink<WebSocketStream<S>, Message>);

impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Vec<u8>> for WriteHalf<S> {
    type Error = WebSocketError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WebSocketError>> {
        self.0.poll_ready_unpin(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, record: Vec<u8>) -> Result<(), WebSocketError> {
        self.0.start_send_unpin(Message::Binary(record.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WebSocketError>> {
        self.0.poll_flush_unpin(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WebSocketError>> {
        self.0.poll_close_unpin(cx)
    }
}
