//! `/plain`, in development only: a WebSocket as everybody has it, which sends back what comes. The page's race ("Break it")
//! puts the line beside it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::MethodRouter,
};
use tokio::sync::Semaphore;

/// A race opens one, and another after each fault.
const SOCKETS_MAX: usize = 16;
/// Of a message, in bytes; those of a race have 16.
const MESSAGE_LEN_MAX: usize = 1_024;
/// A race is over long before.
const LIFETIME: Duration = Duration::from_secs(120);

pub(super) fn route<S: Clone + Send + Sync + 'static>() -> MethodRouter<S, Infallible> {
    let places = Arc::new(Semaphore::new(SOCKETS_MAX));
    axum::routing::get(move |headers: HeaderMap, upgrade: WebSocketUpgrade| async move {
        if !is_of_this_page(&headers) {
            return (StatusCode::FORBIDDEN, "This socket is for the page of this server.").into_response();
        }
        let Ok(place) = places.try_acquire_owned() else {
            return (StatusCode::SERVICE_UNAVAILABLE, "There are enough plain sockets.").into_response();
        };
        upgrade.max_message_size(MESSAGE_LEN_MAX).max_frame_size(MESSAGE_LEN_MAX).on_upgrade(|socket| async move {
            let _place = place;
            let _ = tokio::time::timeout(LIFETIME, echo(socket)).await;
        })
    })
}

/// Browsers let any page open a WebSocket anywhere, and say which page it is.
fn is_of_this_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let origin = text(header::ORIGIN).and_then(|origin| origin.strip_prefix("https://"));
    origin.is_some() && origin == text(header::HOST)
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if let Message::Binary(_) = message
            && socket.send(message).await.is_err()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, header};

    use super::is_of_this_page;

    #[test]
    fn only_the_page_of_this_server_has_a_plain_socket() {
        let judge = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "localhost:8443".parse().expect("a host"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().expect("an origin"));
            }
            is_of_this_page(&headers)
        };
        assert!(judge(Some("https://localhost:8443")));
        for other in
            [None, Some("null"), Some("https://localhost"), Some("http://localhost:8443"), Some("https://a.example")]
        {
            assert!(!judge(other), "{other:?}");
        }
    }
}
