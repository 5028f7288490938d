//! What was seen of the outer connection, for the path report: of an upgrade request, what no client sends so.
//!
//! ```text
//! headers ─► Rewritten ─► Transport ─► AUTH: settle(claims) ─► what differs; kept only where something does
//! ```
//!
//! All of it is text of strangers. It can refuse, where the owner says so, and never raises anything.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use duologue::{Claims, CloseCode};
use duologue_native::path::{Difference, Differences, Known, Seen, compare};

use super::evidence::Transport;
use crate::watch::text;

/// Names of fields that are kept.
const NAMES_MAX: usize = 16;
/// The longest of such a name, and of a host or an origin that is told, in characters.
const NAME_CHARS_MAX: usize = 40;
const TEXT_CHARS_MAX: usize = 128;

/// What browsers and our own clients send with an upgrade, beside what begins with `sec-`. Anything else was added on the way, or by
/// something that sits in the browser.
const SENT: [&str; 16] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "connection",
    "content-length",
    "cookie",
    "dnt",
    "host",
    "origin",
    "pragma",
    "priority",
    "upgrade",
    "user-agent",
    "referer",
];

/// Of one upgrade request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rewritten {
    host: Option<Box<str>>,
    names: Box<[Box<str>]>,
}

impl Rewritten {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut hosts = headers.get_all(header::HOST).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let host = hosts.next().map(|host| Box::from(host.as_ref()));
        let is_added = |name: &&str| !name.starts_with("sec-") && !SENT.contains(name);
        let names = headers.keys().map(header::HeaderName::as_str).filter(is_added).take(NAMES_MAX);
        let names = names.map(|name| text::shown_within(name, NAME_CHARS_MAX).into()).collect();
        Self { host, names }
    }
}

/// What the server tells of a connection.
pub(crate) fn seen(transport: &Transport, claims: &Claims, certificate: Option<&str>) -> Seen {
    let Transport { address, address_from, own_proxy, form, tls, .. } = transport;
    let shown = |text: &str| text::shown_within(text, TEXT_CHARS_MAX);
    let origin = transport.origin.as_deref().or(transport.app_origin.as_deref());
    // What is not kept has come as it was claimed.
    let (host, headers) = match transport.rewritten.as_deref() {
        None => (Some(shown(&claims.host)), Vec::new()),
        Some(Rewritten { host, names }) => {
            (host.as_deref().map(shown), names.iter().map(ToString::to_string).collect())
        }
    };
    Seen {
        address: Some(*address).filter(|address| !address.is_unspecified()),
        address_from: *address_from,
        host,
        origin: origin.map(shown),
        form: *form,
        headers,
        tls: *tls,
        certificate: certificate.map(str::to_owned),
        own_proxy: *own_proxy,
    }
}

/// What an owner is told: what a proxy of his own adds and ends is no news to him.
pub(crate) fn news(transport: &Transport, found: Differences) -> Differences {
    let own = Differences::default()
        .with(Difference::Headers, transport.own_proxy)
        .with(Difference::TlsVersion, transport.own_proxy);
    found.without(own)
}

impl Transport {
    /// AUTH has said what the client has opened: what is as it says needs not be kept.
    pub(crate) fn settle(&mut self, claims: &Claims) {
        let whole = self.rewritten.as_deref().and_then(|rewritten| rewritten.host.as_deref());
        // Judged by the whole of it: what is told of it is cut.
        let is_host = self.rewritten.is_none() || duologue_native::path::is_host(&claims.host, whole);
        let seen = seen(self, claims, None);
        let found = compare(claims, &Known::default(), &seen);
        let origin = self.origin.as_deref().or(self.app_origin.as_deref()).unwrap_or_default();
        self.differs = found
            .without(Differences::default().with(Difference::Host, true).with(Difference::Origin, true))
            .with(Difference::Host, !is_host)
            .with(Difference::Origin, origin != claims.origin);
        if is_host && seen.headers.is_empty() {
            self.rewritten = None;
        }
    }

    /// Why a connection that was rewritten is not served, where the owner wants all as it was sent.
    pub(crate) fn refusal(&self) -> Option<(CloseCode, &'static str)> {
        if self.differs.has(Difference::Origin) {
            return Some((CloseCode::OriginRefused, "Origin was rewritten on the way"));
        }
        let is_host = self.differs.has(Difference::Host);
        is_host.then_some((CloseCode::HostMismatch, "Host was rewritten on the way"))
    }

    /// As the upgrade request has it.
    pub(crate) fn with_request(self, headers: &HeaderMap) -> Self {
        Self { rewritten: Some(Arc::new(Rewritten::of(headers))), ..self }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use duologue_native::path::Tls;

    use super::*;

    fn claims() -> Claims {
        Claims { origin: "https://line.example".into(), host: "line.example".into(), name: String::new() }
    }

    fn settled(fields: &[(&str, &[u8])]) -> Transport {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_bytes(value).expect("a value"));
        }
        let origin = headers.get(header::ORIGIN).map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned());
        let mut transport = Transport { origin, tls: Some(Tls::V13), ..Transport::default() }.with_request(&headers);
        transport.settle(&claims());
        transport
    }

    const CHROMIUM: [(&str, &[u8]); 13] = [
        ("host", b"line.example"),
        ("connection", b"Upgrade"),
        ("pragma", b"no-cache"),
        ("cache-control", b"no-cache"),
        ("user-agent", b"Mozilla/5.0"),
        ("upgrade", b"websocket"),
        ("origin", b"https://line.example"),
        ("sec-websocket-version", b"13"),
        ("accept-encoding", b"gzip"),
        ("accept-language", b"en"),
        ("cookie", b"a=b"),
        ("sec-websocket-key", b"AAAA"),
        ("sec-websocket-protocol", b"duologue.1"),
    ];

    #[test]
    fn what_a_browser_sends_differs_in_nothing_and_nothing_of_it_is_kept() {
        let transport = settled(&CHROMIUM);
        assert!(transport.differs.is_empty() && transport.rewritten.is_none() && transport.is_as_sent());
        assert_eq!(transport.refusal(), None);
        assert_eq!(seen(&transport, &claims(), None).host.as_deref(), Some("line.example"));
    }

    #[test]
    fn hostile_fields_are_bounded_cleaned_and_told_by_name_alone() {
        let many: Vec<_> = (0..100).map(|number| format!("x-added-{number}-{}", "a".repeat(200))).collect();
        let mut fields = CHROMIUM.to_vec();
        fields.extend(many.iter().map(|name| (name.as_str(), &b"secret"[..])));
        let transport = settled(&fields);
        assert_eq!(transport.differs.to_string(), "headers");
        let told = seen(&transport, &claims(), None);
        assert_eq!(told.headers.len(), NAMES_MAX);
        assert!(told.headers.iter().all(|name| name.chars().count() <= NAME_CHARS_MAX));
        assert!(serde_json::to_string(&told).is_ok_and(|text| text.len() < 2_048 && !text.contains("secret")));

        let long = "line.example".to_owned() + &".".repeat(5_000);
        for host in [&b"\xff\xfe"[..], b"", b"evil.example", b"line.example:8443", long.as_bytes()] {
            let mut fields = CHROMIUM.to_vec();
            fields[0].1 = host;
            let transport = settled(&fields);
            assert_eq!(transport.differs.to_string(), "host", "{host:?}");
            assert_eq!(transport.refusal().map(|(code, _)| code), Some(CloseCode::HostMismatch));
            let told = seen(&transport, &claims(), None);
            assert!(told.host.is_some_and(|host| host.chars().count() <= TEXT_CHARS_MAX));
        }
    }

    #[test]
    fn an_origin_that_was_taken_out_or_put_in_is_refused_where_all_is_to_come_as_sent() {
        let without: Vec<_> = CHROMIUM.into_iter().filter(|(name, _)| *name != "origin").collect();
        let transport = settled(&without);
        assert_eq!(transport.differs.to_string(), "origin");
        assert_eq!(transport.refusal().map(|(code, _)| code), Some(CloseCode::OriginRefused));
        let mut native = Transport { origin: Some("https://line.example".into()), ..Transport::default() };
        native.settle(&Claims { origin: String::new(), ..claims() });
        assert_eq!(native.differs.to_string(), "origin");
    }

    #[test]
    fn what_the_owners_own_proxy_adds_is_no_news_and_what_it_rewrites_is() {
        let found = Differences::default()
            .with(Difference::Host, true)
            .with(Difference::Headers, true)
            .with(Difference::TlsVersion, true);
        let own = Transport { own_proxy: true, ..Transport::default() };
        assert_eq!(news(&own, found).to_string(), "host");
        assert_eq!(news(&Transport::default(), found), found);
    }
}
