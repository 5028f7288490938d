//! tokio-tungstenite's sockets as the driver wants them: binary messages both ways, and an end.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use duologue_native::Incoming;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error as WebSocketError, Message},
};

/// A tokio-tungstenite socket, to carry a line.
#[derive(Debug)]
pub struct WebSocket<S>(pub WebSocketStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for WebSocket<S> {
    type Item = Incoming;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        self.0.poll_next_unpin(cx).map(|message| match message {
            // Copied only while somebody else has a part of it, such as the next message of the same read.
            Some(Ok(Message::Binary(bytes))) => Some(Incoming::Binary(bytes.into())),
            Some(Ok(Message::Text(_))) => Some(Incoming::Text),
            Some(Err(WebSocketError::Capacity(_))) => Some(Incoming::too_long()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => None,
            Some(Ok(_)) => Some(Incoming::Other),
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Vec<u8>> for WebSocket<S> {
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
