//! Bodies of requests and answers over HTTP/2, as far as their reader reads.

use std::{
    future::poll_fn,
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use axum::{
    body::{Body, HttpBody as _},
    http::{HeaderMap, HeaderName, HeaderValue, Response, header},
};
use bytes::Bytes;
use futures_util::stream;
use h2::{RecvStream, SendStream, server::SendResponse};
use http_body_util::BodyExt as _;

use super::{Shared, UNREAD_LEN};

/// What is said of a connection, which a stream of HTTP/2 has no say in (RFC 9113, 8.2.2).
const OF_CONNECTIONS: [HeaderName; 4] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, HeaderName::from_static("keep-alive")];

/// What a request brings. Its client may send more as it is read.
pub(super) fn body(incoming: RecvStream, shared: Arc<Shared>) -> Body {
    if incoming.is_end_stream() {
        return Body::empty();
    }
    Body::from_stream(stream::unfold((incoming, shared), async |(mut incoming, shared)| {
        let data = poll_fn(|cx| incoming.poll_data(cx)).await?;
        if let Ok(data) = &data {
            shared.brought.fetch_add(data.len() as u64, Ordering::Relaxed);
            // It fails where the stream has ended: then nothing more comes anyway.
            let _ = incoming.flow_control().release_capacity(data.len());
        }
        Some((data, (incoming, shared)))
    }))
}

/// Sends the head of an answer that goes on.
pub(super) fn begin(
    response: Response<Body>,
    respond: &mut SendResponse<Bytes>,
) -> Result<SendStream<Bytes>, h2::Error> {
    let (mut parts, _) = response.into_parts();
    make_fit(&mut parts.headers);
    respond.send_response(Response::from_parts(parts, ()), false)
}

/// Sends an answer to its end.
pub(super) async fn send(response: Response<Body>, respond: &mut SendResponse<Bytes>) -> Result<(), h2::Error> {
    let (mut parts, mut body) = response.into_parts();
    make_fit(&mut parts.headers);
    let is_over = body.is_end_stream();
    if let Some(len) = body.size_hint().exact().filter(|_| !is_over) {
        parts.headers.entry(header::CONTENT_LENGTH).or_insert_with(|| len.into());
    }
    let mut sends = respond.send_response(Response::from_parts(parts, ()), is_over)?;
    if is_over {
        return Ok(());
    }
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            reset = poll_fn(|cx| sends.poll_reset(cx)) => return Err(reset?.into()),
        };
        let frame = match frame {
            None => return sends.send_data(Bytes::new(), true),
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                tracing::debug!(%error, "an answer's body fails");
                sends.send_reset(h2::Reason::INTERNAL_ERROR);
                return Ok(());
            }
        };
        match frame.into_data() {
            Ok(data) => {
                let ends = body.is_end_stream();
                write(&mut sends, data, ends).await?;
                if ends {
                    return Ok(());
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return sends.send_trailers(trailers);
                }
            }
        }
    }
}

async fn write(sends: &mut SendStream<Bytes>, mut data: Bytes, ends: bool) -> Result<(), h2::Error> {
    while !data.is_empty() {
        sends.reserve_capacity(data.len().min(UNREAD_LEN));
        while sends.capacity() == 0 {
            match poll_fn(|cx| sends.poll_capacity(cx)).await {
                Some(capacity) => capacity?,
                None => return Err(h2::Reason::CANCEL.into()),
            };
        }
        let part = data.split_to(sends.capacity().min(data.len()));
        sends.send_data(part, ends && data.is_empty())?;
    }
    Ok(())
}

fn make_fit(headers: &mut HeaderMap) {
    for name in &OF_CONNECTIONS {
        headers.remove(name);
    }
    if let Ok(now) = HeaderValue::from_str(&httpdate::fmt_http_date(SystemTime::now())) {
        headers.entry(header::DATE).or_insert(now);
    }
}
