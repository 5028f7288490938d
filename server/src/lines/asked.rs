//! What an upgrade request asks for: a WebSocket on its connection (RFC 6455), or on its stream of HTTP/2 (RFC 8441).

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, Method, header},
    response::Response,
};
use bytes::BytesMut;
use hyper::upgrade::OnUpgrade;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

use super::handshake::Stranger;
use crate::front::{http::Http2Stream, stream::Carrier};

/// A request that is one.
pub(super) struct Asked {
    /// 101, or over HTTP/2 200.
    pub(super) response: Response,
    pub(super) opening: Opening,
}

/// One that is none.
pub(super) struct NoUpgrade {
    pub(super) code: &'static str,
    pub(super) why: String,
}

pub(super) enum Opening {
    Connection(OnUpgrade),
    Stream(oneshot::Receiver<Http2Stream>),
}

impl Asked {
    pub(super) fn of(request: &mut Request, stranger: &Stranger) -> Result<Self, NoUpgrade> {
        if *request.method() == Method::CONNECT {
            let is_known = request.headers().get(header::SEC_WEBSOCKET_VERSION).is_some_and(|it| it == "13");
            let stream = stranger.extended().filter(|_| is_known);
            let why = || "A WebSocket over HTTP/2 is of version 13.".to_owned();
            let stream = stream.ok_or_else(|| NoUpgrade { code: "no-upgrade", why: why() })?;
            return Ok(Self { response: Response::new(Body::empty()), opening: Opening::Stream(stream) });
        }
        let response = create_response_with_body(request, Body::empty);
        let response = response.map_err(|error| NoUpgrade { code: "no-upgrade", why: format!("{error}.") })?;
        if !request.headers().get(header::SEC_WEBSOCKET_KEY).is_some_and(is_key) {
            let why = "A Sec-WebSocket-Key is 16 bytes as base64.".to_owned();
            return Err(NoUpgrade { code: "bad-key", why });
        }
        Ok(Self { response, opening: Opening::Connection(hyper::upgrade::on(request)) })
    }
}

impl Opening {
    /// What carries the line, and what has come on it already.
    pub(super) async fn opened(self) -> anyhow::Result<(Carrier, BytesMut)> {
        Ok(match self {
            Self::Connection(upgrade) => Carrier::new(upgrade.await?),
            Self::Stream(stream) => (Carrier::Http2(Box::new(stream.await?)), BytesMut::new()),
        })
    }
}

/// Whether a header's value is 16 bytes as base64 (RFC 6455, 4.1).
fn is_key(value: &HeaderValue) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    value.as_bytes().strip_suffix(b"==").is_some_and(|key| key.len() == 22 && key.iter().all(is_letter))
}
