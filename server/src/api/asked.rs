//! How a request is read: a name in its path, and its body. What cannot be read is answered as everything is.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Request, rejection::BytesRejection},
    http::{StatusCode, request::Parts},
    response::IntoResponse,
};
use serde::de::DeserializeOwned;

use super::Failure;

/// The one name in a path.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let named = Path::<String>::from_request_parts(parts, state).await;
        named.map(|Path(name)| Self(name)).map_err(|_| {
            let message = "what the path names is no text: write it as UTF-8, percent-encoded";
            Failure::new(StatusCode::BAD_REQUEST, "bad-path", message)
        })
    }
}

/// The body, as JSON; an empty one is `{}`.
pub(super) struct Said<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Said<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let body = Bytes::from_request(request, state).await.map_err(unread)?;
        let body = if body.is_empty() { b"{}" } else { &*body };
        serde_json::from_slice(body).map(Self).map_err(|error| {
            let message = format!("the request's body is not what this path takes: {error}");
            Failure::new(StatusCode::BAD_REQUEST, "bad-body", &message)
        })
    }
}

fn unread(rejection: BytesRejection) -> Failure {
    match rejection.into_response().status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("the request's body has more than {} bytes", super::BODY_LEN_MAX);
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-long", &message)
        }
        _ => Failure::new(StatusCode::BAD_REQUEST, "bad-body", "the request's body did not come whole: ask again"),
    }
}
