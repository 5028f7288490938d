//! What every request's head must be, whatever it asks for: no longer than its bound, and for one host (RFC 9112, 3.2).
//!
//! hyper bounds what it reads before a head is whole; one that comes in a single piece may be longer than that.

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, Version, header},
    middleware::{Next, from_fn},
    response::IntoResponse,
};

/// The longest head of a request.
pub(crate) const HEAD_LEN_MAX: usize = 64 * 1_024;

/// An app that is asked only what has such a head.
pub(crate) fn judged(app: Router) -> Router {
    app.layer(from_fn(async |request: Request, next: Next| match judge(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }))
}

fn judge<B>(request: &axum::http::Request<B>) -> Result<(), (StatusCode, &'static str)> {
    if len(request) > HEAD_LEN_MAX {
        return Err((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "A request's head has 65,536 bytes at most."));
    }
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() >= Version::HTTP_11) {
        return Err((StatusCode::BAD_REQUEST, "A request has one Host header."));
    }
    Ok(())
}

/// Bytes of a head as it is written without needless spaces.
fn len<B>(request: &axum::http::Request<B>) -> usize {
    let target = request.uri().path_and_query().map_or(1, |target| target.as_str().len());
    let first = request.method().as_str().len() + 1 + target + " HTTP/1.1\r\n".len();
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    first + headers.sum::<usize>() + "\r\n".len()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn request(headers: &[(&'static str, String)]) -> Request<()> {
        let builder = Request::get("/line?x").version(Version::HTTP_11);
        headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, value)).body(()).expect("a request")
    }

    fn status(request: &Request<()>) -> Option<u16> {
        judge(request).err().map(|(status, _)| status.as_u16())
    }

    #[test]
    fn a_head_of_65_536_bytes_is_taken_and_no_longer_one() {
        let written = "GET /line?x HTTP/1.1\r\nhost: a.example\r\nx: \r\n\r\n".len();
        let with = |len: usize| request(&[("host", "a.example".to_owned()), ("x", "y".repeat(len - written))]);
        assert_eq!(len(&with(1_000)), 1_000);
        assert_eq!(status(&with(HEAD_LEN_MAX)), None);
        assert_eq!(status(&with(HEAD_LEN_MAX + 1)), Some(431));
        assert_eq!(status(&with(70_000)), Some(431));
    }

    #[test]
    fn a_request_is_for_one_host() {
        let host = |name: &str| ("host", name.to_owned());
        assert_eq!(status(&request(&[host("a.example")])), None);
        assert_eq!(status(&request(&[])), Some(400));
        assert_eq!(status(&request(&[host("a.example"), host("b.example")])), Some(400));
        let mut old = request(&[]);
        *old.version_mut() = Version::HTTP_10;
        assert_eq!(status(&old), None, "HTTP/1.0 knows no Host");
    }
}
