//! Which headers and targets go to the backend, and which come back.
//!
//! A name is compared as backends may read it: CGI, WSGI and others make one of `-` and `_`, and of the case of letters.
//! What counts in a name is therefore its letters and digits; everything else stands for `-`.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use url::Url;

use super::{
    HttpError,
    trust::Refused,
    wire::{bad, smuggled},
};
use crate::services::service::Call;

/// The most headers of a request.
const HEADERS_MAX: usize = 100;

/// A target's length at most, in bytes; more than servers take.
const TARGET_BYTES_MAX: usize = 16 * 1_024;

/// For this hop only, or about it: dropped in both directions, with what `Connection` names. `Proxy` is none of these, but
/// CGI makes of it the variable that names a proxy.
const HOP: [&str; 8] =
    ["connection", "keep-alive", "proxy", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings"];

/// Dropped on the way to the backend: this server waits for nothing, and decodes nothing.
const DROPPED: [&str; 3] = ["accept-encoding", "expect", "via"];

/// The request's headers for the backend: the client's, looked at, and what this server knows of the client.
pub(super) fn forwarded(said: &[(String, String)], call: &Call, refused: &Refused) -> Result<HeaderMap, HttpError> {
    let mut headers = clean(said, refused)?;
    // What is proved, what was seen and what is merely said are three groups, never mixed.
    let mut add = |name: &'static str, value: &str| {
        headers.insert(HeaderName::from_static(name), escaped(value));
    };
    let identity = call.identity();
    add("duologue-device", &identity.device.to_string());
    add("duologue-level", &identity.level.number().to_string());
    if let Some(subject) = &identity.subject {
        add("duologue-subject", subject.as_str());
    }
    if !identity.groups.is_empty() {
        let groups: Vec<_> =
            identity.groups.iter().map(|group| escaped_text(group.as_str()).replace(',', "%2C")).collect();
        headers.insert(HeaderName::from_static("duologue-groups"), value(&groups.join(",")));
    }
    let mut add = |name: &'static str, value: &str| {
        headers.insert(HeaderName::from_static(name), escaped(value));
    };
    if !call.transport.address.is_unspecified() {
        add("duologue-address", &call.transport.address.to_string());
    }
    if let Some(origin) = &call.transport.origin {
        add("duologue-origin", origin);
    }
    add("duologue-said-name", &call.claims.name);
    add("accept-encoding", "identity");
    Ok(headers)
}

fn clean(said: &[(String, String)], refused: &Refused) -> Result<HeaderMap, HttpError> {
    if said.len() > HEADERS_MAX {
        return Err(bad("more than 100 headers"));
    }
    let named = said.iter().filter(|(name, _)| plain(name.as_bytes()) == "connection");
    let named: Vec<String> =
        named.flat_map(|(_, value)| value.split(',')).map(|name| plain(name.trim().as_bytes())).collect();
    let mut headers = HeaderMap::new();
    for (name, value) in said {
        let plain = plain(name.as_bytes());
        if refused.contains(&plain) {
            return Err(smuggled(&format!("the header {name:?}, which is this server's or a proxy's to say")));
        }
        // Before it is dropped: what is no header is refused wherever it stands.
        let header =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| smuggled(&format!("the header name {name:?}")))?;
        let value = bytes(value).and_then(|value| HeaderValue::from_bytes(&value).ok());
        let value = value.ok_or_else(|| smuggled(&format!("the value of the header {name:?}")))?;
        if !is_for_one_hop(&plain, &named) && !DROPPED.contains(&&*plain) {
            headers.append(header, value);
        }
    }
    Ok(headers)
}

/// Names and values together, in bytes.
pub(super) fn len(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// The answer's headers for the client.
pub(super) fn answered(headers: &HeaderMap, place: &Place) -> Vec<(String, String)> {
    let named =
        headers.get_all(header::CONNECTION).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    let named: Vec<String> = named.map(|name| plain(name.trim_ascii())).collect();
    // What a backend has copied from a request, or says to this server alone, is no client's to read.
    let is_ours = |plain: &str| plain.starts_with("duologue-");
    let kept = headers.iter().filter(|(name, _)| {
        let plain = plain(name.as_str().as_bytes());
        !is_for_one_hop(&plain, &named) && !is_ours(&plain)
    });
    let line = kept.map(|(name, value)| {
        let value = value.as_bytes();
        (name.as_str().to_owned(), if name == header::LOCATION { place.seen_from_outside(value) } else { text(value) })
    });
    line.collect()
}

fn is_for_one_hop(plain: &str, named: &[String]) -> bool {
    HOP.contains(&plain) || plain.starts_with("proxy-") || named.iter().any(|name| name == plain)
}

/// A name as a careless reader compares it.
pub(super) fn plain(name: &[u8]) -> String {
    let plain = |&byte: &u8| if byte.is_ascii_alphanumeric() { char::from(byte.to_ascii_lowercase()) } else { '-' };
    name.iter().map(plain).collect()
}

/// Bytes as text, a character for each.
pub(super) fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The same back; none if there is more than bytes in it.
fn bytes(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|char| u8::try_from(char).ok()).collect()
}

/// A text as a header's value: what is not printable ASCII, and `%` and space, as `%XX` of its UTF-8.
fn escaped(text: &str) -> HeaderValue {
    value(&escaped_text(text))
}

fn value(escaped: &str) -> HeaderValue {
    HeaderValue::try_from(escaped).expect("printable ASCII is a value")
}

fn escaped_text(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'!'..=b'~' if byte != b'%' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// Bytes with those beyond ASCII as `%XX`.
fn encoded(bytes: &[u8]) -> String {
    let encode = |&byte: &u8| if byte.is_ascii() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    bytes.iter().map(encode).collect()
}

/// The backend's place: the path that all requests are below, and the names by which it calls itself.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Without a slash at its end.
    path: String,
    authorities: Vec<String>,
}

impl Place {
    pub(super) fn new(backend: &Url) -> Self {
        let authority = &backend[url::Position::BeforeHost..url::Position::AfterPort];
        Self { path: backend.path().trim_end_matches('/').to_owned(), authorities: vec![authority.to_owned()] }
    }

    pub(super) fn also_known_as(&mut self, authority: &str) {
        self.authorities.push(authority.to_ascii_lowercase());
    }

    /// The backend's path and query for a client's target.
    ///
    /// Browsers send no `.` and `..`: they resolve them. Here nothing is resolved, since the backend may do it otherwise.
    pub(super) fn target(&self, target: &str) -> Result<String, HttpError> {
        let wrong = || smuggled(&format!("the target {target:?}"));
        let (path, _query) = target.split_once('?').unwrap_or((target, ""));
        let is_printable = target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if !path.starts_with('/') || path.contains('\\') || !is_printable || target.len() > TARGET_BYTES_MAX {
            return Err(wrong());
        }
        // As a backend may read it that decodes first; `;` begins what Java calls parameters.
        let read = ["%2e", "%2E"].iter().fold(path.to_owned(), |path, dot| path.replace(dot, "."));
        let read = ["%2f", "%2F", "%5c", "%5C"].iter().fold(read, |path, slash| path.replace(slash, "/"));
        let name = |segment: &str| segment.split(';').next().is_some_and(|name| name == "." || name == "..");
        if read.split('/').any(name) {
            return Err(wrong());
        }
        Ok(format!("{}{target}", self.path))
    }

    /// A redirection's target, as it reads at the other end of the line, where the backend's own address means nothing. Bytes
    /// beyond ASCII, which are UTF-8 to backends and browsers, are percent-encoded as both do it.
    fn seen_from_outside(&self, location: &[u8]) -> String {
        let location = encoded(location);
        let own = Url::parse(&location).ok().filter(|url| {
            let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
            matches!(url.scheme(), "http" | "https") && self.authorities.iter().any(|own| own == authority)
        });
        let location = match own {
            Some(url) => url[url::Position::BeforePath..].to_owned(),
            None => location,
        };
        let below = location.strip_prefix(&self.path).filter(|rest| rest.starts_with('/'));
        below.map_or_else(|| location.clone(), str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(headers: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let said: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let headers = clean(&said, &Refused::default()).map_err(|error| error.to_string())?;
        Ok(headers.iter().map(|(name, value)| format!("{name}: {}", text(value.as_bytes()))).collect())
    }

    #[test]
    fn what_is_for_one_hop_ends_here() {
        let said = [
            ("Accept", "a/b"),
            ("Connection", "close, X-Mine ,accept_language"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Authorization", "x"),
            ("Proxy", "http://evil"),
            ("TE", "trailers"),
            ("Trailer", "x"),
            ("Transfer-Encoding", "chunked"),
            ("Transfer_Encoding", "chunked"),
            ("Upgrade", "websocket"),
            ("x-mine", "1"),
            ("Accept-Language", "fr"),
            ("Accept-Encoding", "gzip"),
            ("Expect", "100-continue"),
            ("X-Latin", "caf\u{e9}"),
            ("X-Twice", "1"),
            ("X-Twice", "2"),
        ];
        assert_eq!(
            cleaned(&said),
            Ok(["accept: a/b", "x-latin: caf\u{e9}", "x-twice: 1", "x-twice: 2"].map(str::to_owned).to_vec())
        );
    }

    #[test]
    fn what_is_the_servers_to_say_is_refused_however_it_is_spelt() {
        for name in [
            "duologue-device",
            "Duologue-Level",
            "DUOLOGUE_DEVICE",
            "duologue.device",
            "duologue-",
            "duologue-said-name",
            "x-forwarded-for",
            "X_Forwarded_Host",
            "forwarded",
            "X-Real-IP",
            "x_real_ip",
            "client_ip",
            "Host",
            "host",
            "Content-Length",
            "content_length",
            "x-original-url",
            "CF-Connecting-IP",
        ] {
            cleaned(&[(name, "1")]).expect_err(name);
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for (name, value) in [
            ("", "a"),
            ("a b", "c"),
            ("a:", "b"),
            ("a\r\nb", "c"),
            ("a\0", "b"),
            ("é", "a"),
            (" a", "b"),
            ("a", "b\r\nc: d"),
            ("a", "b\nc"),
            ("a", "b\0"),
            ("a", "\u{7f}"),
            ("a", "\u{1b}[2J"),
            ("a", "\u{100}"),
            ("a", "\u{20ac}"),
            ("connection", "a\r\nb"),
        ] {
            let error = cleaned(&[(name, value)]).expect_err(name);
            assert!(!error.contains(char::is_control), "{error:?}");
        }
        cleaned(&vec![("a", "b"); 101]).expect_err("too many");
        assert_eq!(cleaned(&vec![("a", "b"); 100]).map(|headers| headers.len()), Ok(100));
    }

    fn place(backend: &str) -> Place {
        Place::new(&Url::parse(backend).expect("a URL"))
    }

    #[test]
    fn a_target_stays_below_its_backend() {
        let (root, below) = (place("http://a:1"), place("http://a:1/b/"));
        for good in ["/", "/a/b.c?d=/../e", "/a..b/...", "//a", "/%20%2525", "/a;b=c", "/?", "/a?b[]={c}|\\^`"] {
            assert_eq!(root.target(good).expect(good), good);
            assert_eq!(below.target(good).expect(good), format!("/b{good}"));
        }
        for bad in [
            "",
            "a",
            "*",
            "http://a/",
            "a:1",
            "?a",
            "/a b",
            "/a#b",
            "/a\r\nb",
            "/a\tb",
            "/\0",
            "/é",
            "/..",
            "/a/../b",
            "/a/..",
            "/./a",
            "/.",
            "/%2e%2e/a",
            "/.%2E/a",
            "/%2e",
            "/a\\..\\b",
            "/a%2f..%2fb",
            "/a%5c..%5Cb",
            "/..;a=b/c",
        ] {
            below.target(bad).expect_err(bad);
            root.target(bad).expect_err(bad);
        }
        root.target(&format!("/{}", "a".repeat(16_384))).expect_err("too long");
    }

    #[test]
    fn a_redirection_reads_as_from_outside() {
        let root = place("http://127.0.0.1:3000");
        let mut below = place("http://127.0.0.1:3000/b");
        below.also_known_as("Example.org");
        for (location, at_root, from_below) in [
            ("/a", "/a", "/a"),
            ("a", "a", "a"),
            ("/b/a?c#d", "/b/a?c#d", "/a?c#d"),
            ("/bad", "/bad", "/bad"),
            ("http://127.0.0.1:3000/b/a?c#d", "/b/a?c#d", "/a?c#d"),
            ("https://example.org/b/a", "https://example.org/b/a", "/a"),
            ("http://127.0.0.1:3001/", "http://127.0.0.1:3001/", "http://127.0.0.1:3001/"),
            ("http://other/", "http://other/", "http://other/"),
            ("", "", ""),
            // Once these were taken for characters: /caf%C3%83%C2%A9.
            ("/b/café", "/b/caf%C3%A9", "/caf%C3%A9"),
            ("http://127.0.0.1:3000/b/café?à", "/b/caf%C3%A9?%C3%A0", "/caf%C3%A9?%C3%A0"),
        ] {
            assert_eq!(root.seen_from_outside(location.as_bytes()), at_root, "{location}");
            assert_eq!(below.seen_from_outside(location.as_bytes()), from_below, "{location}");
        }
        assert_eq!(root.seen_from_outside(b"/caf\xe9"), "/caf%E9");
        assert_eq!(place("http://a:1/bé").seen_from_outside("/bé/à".as_bytes()), "/%C3%A0");
    }

    #[test]
    fn a_said_name_is_one_harmless_value() {
        assert_eq!(escaped("Zoé's 100% Mac\r\n"), "Zo%C3%A9's%20100%25%20Mac%0D%0A");
        assert_eq!(escaped("https://a.example:1"), "https://a.example:1");
    }

    #[test]
    fn an_answers_headers_lose_what_is_for_one_hop() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "X-Hop, close"),
            ("x-hop", "1"),
            ("keep-alive", "1"),
            ("transfer-encoding", "chunked"),
            ("location", "http://a:1/b"),
            ("set-cookie", "a"),
            ("set-cookie", "b"),
            ("content-length", "5"),
            ("duologue-vouch", "1"),
            ("duologue_device", "1"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers.insert("x-latin", HeaderValue::from_bytes(b"caf\xe9").expect("a value"));
        let answered = answered(&headers, &place("http://a:1"));
        let lines: Vec<String> = answered.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let wanted = ["location: /b", "set-cookie: a", "set-cookie: b", "content-length: 5", "x-latin: caf\u{e9}"];
        assert_eq!(lines, wanted);
    }
}
