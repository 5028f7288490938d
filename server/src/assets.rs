//! The page: embedded in a release, read from `target/web` while developing, where `cargo xtask wasm` puts it.

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../target/web"]
#[allow_missing = true]
struct Page;

/// Only what this server itself delivers may run, and nothing may be sent elsewhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; \
     worker-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page as a router's fallback. In development the page offers its link to the console.
pub fn page(development: bool) -> Router {
    Router::new().fallback(move |request: Request| async move { respond(&request, development) })
}

fn respond(request: &Request, development: bool) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
    }
    let path = match request.uri().path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    let Some(file) = Page::get(path).filter(|_| !path.ends_with(".br")) else {
        let text = if Page::get("index.html").is_none() {
            "This server was built without its page: run `cargo xtask demo`, which builds it first."
        } else {
            "There is nothing here."
        };
        return (StatusCode::NOT_FOUND, headers(development), text).into_response();
    };
    let mut headers = headers(development);
    let etag = format!("\"{}\"", hex(&file.metadata.sha256_hash()[..16]));
    insert(&mut headers, header::CONTENT_TYPE, mime(path));
    // The page must fit its server: it is asked for again each time, and sent only when it has changed.
    insert(&mut headers, header::CACHE_CONTROL, "no-cache");
    if path == "page/offline.js" {
        // It keeps the whole page, not only what lies beside it.
        insert(&mut headers, "service-worker-allowed", "/");
    }
    insert(&mut headers, header::VARY, "accept-encoding");
    if path == "index.html" {
        // The mode is part of the page.
        let html = String::from_utf8_lossy(&file.data);
        let mode = if development { "content=\"dev\"" } else { "content=\"serve\"" };
        let html =
            html.replacen("name=\"duologue-mode\" content=\"serve\"", &format!("name=\"duologue-mode\" {mode}"), 1);
        return (headers, html).into_response();
    }
    insert(&mut headers, header::ETAG, &etag);
    if request.headers().get(header::IF_NONE_MATCH).is_some_and(|seen| seen.as_bytes() == etag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    match Page::get(&format!("{path}.br")).filter(|_| takes_brotli(request.headers())) {
        Some(packed) => {
            insert(&mut headers, header::CONTENT_ENCODING, "br");
            (headers, Body::from(packed.data.into_owned())).into_response()
        }
        None => (headers, Body::from(file.data.into_owned())).into_response(),
    }
}

fn headers(development: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    insert(&mut headers, header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    insert(&mut headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    insert(&mut headers, header::REFERRER_POLICY, "no-referrer");
    if !development {
        // On localhost it would bind every other server of that name.
        insert(&mut headers, header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    insert(&mut headers, "cross-origin-opener-policy", "same-origin");
    insert(&mut headers, "cross-origin-embedder-policy", "require-corp");
    insert(&mut headers, "cross-origin-resource-policy", "same-origin");
    insert(&mut headers, "permissions-policy", "camera=(), microphone=(), geolocation=()");
    headers
}

fn insert(headers: &mut HeaderMap, name: impl header::IntoHeaderName, value: &str) {
    headers.insert(name, HeaderValue::from_str(value).expect("our own headers are ASCII"));
}

fn mime(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("json") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("wasm") => "application/wasm",
        _ => "text/plain; charset=utf-8",
    }
}

fn takes_brotli(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|coding| coding.split(';').next().is_some_and(|name| name.trim() == "br"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
