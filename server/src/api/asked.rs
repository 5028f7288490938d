//! How a request is read: a name in its path, and its body. What cannot be read is answered as everything is.

use axum::{
    body,
    extract::{FromRequest, FromRequestParts, Path, Request, rejection::BytesRejection},
    http::{StatusCode, request::Parts},
    response::IntoResponse,
};
use serde::de::DeserializeOwned;

use super::{BODY_LEN_MAX, Failure};

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
        let Bytes(body) = Bytes::<BODY_LEN_MAX>::from_request(request, state).await?;
        let body = if body.is_empty() { b"{}" } else { &*body };
        serde_json::from_slice(body).map(Self).map_err(|error| {
            let message = format!("the request's body is not what this path takes: {error}");
            Failure::new(StatusCode::BAD_REQUEST, "bad-body", &message)
        })
    }
}

/// The body as it is, where one may have so many bytes.
pub(super) struct Bytes<const LEN_MAX: usize>(pub(super) Vec<u8>);

impl<S: Send + Sync, const LEN_MAX: usize> FromRequest<S> for Bytes<LEN_MAX> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let body = body::Bytes::from_request(request, state).await;
        body.map(|body| Self(body.into())).map_err(|rejection| unread(rejection, LEN_MAX))
    }
}

fn unread(rejection: BytesRejection, len_max: usize) -> Failure {
    match rejection.into_response().status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("the request's body has more than {len_max} bytes");
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-long", &message)
        }
        _ => Failure::new(StatusCode::BAD_REQUEST, "bad-body", "the request's body did not come whole: ask again"),
    }
}
