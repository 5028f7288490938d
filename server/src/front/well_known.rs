//! `/.well-known/duologue`: an answer without a word in it, by which a page learns that this listener can be reached.
//!
//! Browsers ask their person before a page may speak with this machine or its network (Local Network Access), and they do so
//! for a plain request only: a page sends one here before its WebSocket. It is answered 204; a page that may come can read
//! that from another origin as well (CORS). Older forms of the same rule ask the server beforehand, by a preflight.
//!
//! `/.well-known/duologue-keys` beside it tells which of the server's keys is the newest. It counts because the owner has signed it.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use duologue::KeyStatement;

/// Where it is, from the line's own listener on.
pub(crate) const PATH: &str = "/.well-known/duologue";
/// And the server's keys.
pub(crate) const KEYS: &str = "/.well-known/duologue-keys";

/// What a browser asks in a preflight before a page may reach a more private network, and how it wants it granted:
/// Private Network Access, and the name that it had in between.
const PERMISSIONS: [(HeaderName, HeaderName); 2] = [
    (
        HeaderName::from_static("access-control-request-private-network"),
        HeaderName::from_static("access-control-allow-private-network"),
    ),
    (
        HeaderName::from_static("access-control-request-local-network"),
        HeaderName::from_static("access-control-allow-local-network"),
    ),
];

/// The answer to a request. `may_come` judges the origin of a page.
pub(crate) fn respond(may_come: impl Fn(&str) -> bool, request: &Request) -> Response {
    answer(may_come, request, StatusCode::NO_CONTENT, String::new())
}

/// The newest of the server's keys, if its owner has signed any.
pub(crate) fn respond_keys(
    may_come: impl Fn(&str) -> bool,
    request: &Request,
    newest: Option<&KeyStatement>,
) -> Response {
    let Some(KeyStatement { owner, number, key, signature }) = newest else {
        return answer(may_come, request, StatusCode::NOT_FOUND, String::new());
    };
    let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
    let body = format!(r#"{{"owner":"{owner}","number":{number},"key":"{key}","signature":"{signature}"}}"#);
    answer(may_come, request, StatusCode::OK, body)
}

fn answer(may_come: impl Fn(&str) -> bool, request: &Request, status: StatusCode, body: String) -> Response {
    const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        headers.insert(header::ALLOW, METHODS);
        return (StatusCode::METHOD_NOT_ALLOWED, headers).into_response();
    }
    allow(may_come, request, &mut headers);
    if status == StatusCode::OK {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return (status, headers, body).into_response();
    }
    (status, headers).into_response()
}

/// Adds what lets a page of another origin read the answer, if pages of that origin may come.
fn allow(may_come: impl Fn(&str) -> bool, request: &Request, headers: &mut HeaderMap) {
    let Some(origin) = request.headers().get(header::ORIGIN) else { return };
    if !origin.to_str().is_ok_and(may_come) {
        return;
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    // For a page that is isolated from others and does not ask to read the answer.
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
    if request.method() == Method::OPTIONS {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET"));
        for (asked, granted) in PERMISSIONS {
            if request.headers().get(asked).is_some_and(|value| value == "true") {
                headers.insert(granted, HeaderValue::from_static("true"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::door::policy::Policy;

    const APP: &str = "capacitor://localhost";

    fn ask(method: Method, headers: &[(&str, &str)]) -> Response {
        let policy = Policy::listed(vec!["https://app.example".to_owned()]).with_app_origin(APP).expect("an app's");
        let mut request = Request::builder().method(method).uri(PATH);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        respond(|origin| policy.serves(origin), &request.body(Body::empty()).expect("a request"))
    }

    fn header(response: &Response, name: &str) -> Option<String> {
        response.headers().get(name).map(|value| value.to_str().expect("ASCII").to_owned())
    }

    #[test]
    fn everybody_is_answered_and_who_may_come_can_read_it() {
        for (origin, allowed) in [
            (Some("https://app.example"), true),
            (Some(APP), true),
            (Some("https://evil.example"), false),
            (Some("null"), false),
            (Some("tauri://localhost"), false),
            (None, false),
        ] {
            let headers: Vec<_> = origin.iter().map(|origin| ("origin", *origin)).collect();
            for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
                let response = ask(method.clone(), &headers);
                assert_eq!(response.status(), StatusCode::NO_CONTENT, "{method} {origin:?}");
                let readable = header(&response, "access-control-allow-origin");
                assert_eq!(readable.as_deref(), origin.filter(|_| allowed), "{method} {origin:?}");
                assert_eq!(header(&response, "vary").as_deref(), Some("origin"), "a cache must not mix them up");
                assert_eq!(header(&response, "access-control-allow-credentials"), None);
            }
        }
        assert_eq!(ask(Method::POST, &[]).status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn a_preflight_into_a_private_network_is_granted_to_who_may_come() {
        for kind in ["private", "local"] {
            let (asks, grants) =
                (format!("access-control-request-{kind}-network"), format!("access-control-allow-{kind}-network"));
            let asked = |origin, asks| ask(Method::OPTIONS, &[("origin", origin), (asks, "true")]);
            let granted = asked("https://app.example", &asks);
            assert_eq!(header(&granted, &grants).as_deref(), Some("true"));
            assert_eq!(header(&granted, "access-control-allow-methods").as_deref(), Some("GET"));
            assert_eq!(header(&asked("https://evil.example", &asks), &grants), None);
            assert_eq!(header(&asked("https://app.example", "x-other"), &grants), None, "it was not asked for");
        }
    }
}
