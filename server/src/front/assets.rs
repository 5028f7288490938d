//! The page: embedded in a release, read from `page` while developing: a link to `target/web`, where `cargo xtask wasm` puts
//! it; in the published package the files themselves.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{OriginalUri, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use rust_embed::RustEmbed;

use crate::front::address::Address;

#[derive(RustEmbed)]
#[folder = "page"]
#[allow_missing = true]
struct Page;

/// Only what this server itself delivers may run, and nothing may be sent elsewhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; \
     worker-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page as a router's fallback, at the root or nested below any path. In development it offers its link to the console.
pub fn page(development: bool) -> Router {
    Router::new().fallback(move |request: Request| async move { respond(&request, development, "") })
}

/// The same for a server whose address is known, so that the page finds its parts even where a proxy takes the path off an
/// address without its last slash.
pub fn page_at(address: &Address, development: bool) -> Router {
    let base: Arc<str> = if address.path() == "/" { "" } else { address.path() }.into();
    Router::new().fallback(move |request: Request| {
        let base = Arc::clone(&base);
        async move { respond(&request, development, &base) }
    })
}

/// What a browser is told; `base` stands before the relative addresses of the page.
fn respond(request: &Request, development: bool, base: &str) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
    }
    let path = match request.uri().path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    // Nested below a path, where the page's relative addresses lead elsewhere without the last slash.
    if let (Some(OriginalUri(uri)), "index.html") = (request.extensions().get::<OriginalUri>(), path)
        && let Some(last) = uri.path().rsplit('/').next().filter(|last| !matches!(*last, "" | "index.html"))
    {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let to = [(header::LOCATION, format!("{last}/{query}"))];
        return (StatusCode::TEMPORARY_REDIRECT, to).into_response();
    }
    let Some(file) = Page::get(path).filter(|_| !path.ends_with(".br")) else {
        let text = if Page::get("index.html").is_none() {
            "This server was built without its page: run `cargo xtask demo`, which builds it first."
        } else {
            "There is nothing here."
        };
        return (StatusCode::NOT_FOUND, headers(development), text).into_response();
    };
    let mut headers = headers(development);
    let etag = format!("\"{}\"", hex::encode(&file.metadata.sha256_hash()[..16]));
    insert(&mut headers, header::CONTENT_TYPE, mime(path));
    // The page must fit its server: it is asked for again each time, and sent only when it has changed.
    insert(&mut headers, header::CACHE_CONTROL, "no-cache");
    if path == "page/offline.js" {
        // It keeps the whole page, not only what lies beside it: one folder up from the script, wherever that is.
        insert(&mut headers, "service-worker-allowed", "../");
    }
    insert(&mut headers, header::VARY, "accept-encoding");
    if path == "index.html" {
        // The mode is part of the page.
        let html = String::from_utf8_lossy(&file.data);
        let mode = if development { "content=\"dev\"" } else { "content=\"serve\"" };
        let html =
            html.replacen("name=\"duologue-mode\" content=\"serve\"", &format!("name=\"duologue-mode\" {mode}"), 1);
        return (headers, below(&html, base)).into_response();
    }
    insert(&mut headers, header::ETAG, &etag);
    if has_it(request.headers(), &etag) {
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

/// The page's relative addresses with a path before them.
fn below(html: &str, base: &str) -> String {
    if base.is_empty() {
        return html.to_owned();
    }
    let mut rest = html;
    let mut out = String::with_capacity(html.len() + 2_048);
    while let Some(at) = rest.find("=\"") {
        let (before, value) = rest.split_at(at + 2);
        out.push_str(before);
        let is_address = [" href", " src"].iter().any(|name| before[..at].ends_with(name));
        let is_relative = value.starts_with(|first: char| first.is_ascii_alphanumeric())
            && value.split('"').next().is_some_and(|value| !value.contains(':'));
        if is_address && is_relative {
            out.push_str(base);
        }
        rest = value;
    }
    out + rest
}

/// Whether what a browser has is still current (RFC 9110, section 13.1.2): compared weakly, because a proxy that compresses
/// makes the tag a weak one.
fn has_it(headers: &HeaderMap, etag: &str) -> bool {
    let all = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = all.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

fn takes_brotli(headers: &HeaderMap) -> bool {
    let all = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut codings = all.flat_map(|value| value.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_br = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("br"));
        // `q=0` is a refusal, however many zeros it has (RFC 9110, section 12.4.2).
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        is_br && weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).expect("ASCII"))])
    }

    #[test]
    fn relative_addresses_get_the_path_and_nothing_else_does() {
        let html = "<link rel=\"icon\" href=\"page/icon.svg\"><a class=\"skip\" href=\"#desk\" data-text=\"page.skip\">\
            <script type=\"module\" src=\"page/page.js\" integrity=\"sha384-x=\"></script><a href=\"https://x/y\">";
        let below = below(html, "/app/");
        assert_eq!(
            below,
            "<link rel=\"icon\" href=\"/app/page/icon.svg\"><a class=\"skip\" href=\"#desk\" data-text=\"page.skip\">\
            <script type=\"module\" src=\"/app/page/page.js\" integrity=\"sha384-x=\"></script><a href=\"https://x/y\">"
        );
        assert_eq!(super::below(html, ""), html);
    }

    #[test]
    fn a_coding_that_is_refused_is_not_sent() {
        for (value, takes) in
            [("br", true), ("gzip, BR;q=0.5", true), ("br;q=0", false), ("br; q=0.000", false), ("gzip", false)]
        {
            assert_eq!(takes_brotli(&with(header::ACCEPT_ENCODING, value)), takes, "{value}");
        }
    }

    #[test]
    fn what_a_browser_has_is_known_by_a_weak_tag_and_in_a_list() {
        for (value, has) in
            [("\"a\"", true), ("W/\"a\"", true), ("\"b\", W/\"a\"", true), ("*", true), ("\"b\"", false)]
        {
            assert_eq!(has_it(&with(header::IF_NONE_MATCH, value), "\"a\""), has, "{value}");
        }
    }
}
