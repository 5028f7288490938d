//! The path report: what each end knows of the connection outside the seal, and in what the two differ. docs/PROTOCOL.md, section 15.
//!
//! ```text
//! client: Claims (under the seal), Known ──┐
//! server: Seen                           ──┴─► compare ─► Differences: what somebody between the two has rewritten
//! ```
//!
//! Pure, and the same at both ends; the page has it in JavaScript (`web/js/path.js`). What one end does not know differs in nothing:
//! a report says only what can be known. It proves nothing either: whoever ends TLS on the way may send on all of it unchanged.

use std::{fmt, net::IpAddr};

use duologue::Claims;
use serde::{Deserialize, Serialize};

/// The label of the service.
pub const PATH_LABEL: &str = "path";

/// How M1 left, or came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// Among the subprotocols of the upgrade request.
    #[serde(rename = "m1-in-request")]
    InRequest,
    /// As the first message.
    #[serde(rename = "m1-as-message")]
    AsMessage,
}

/// TLS around the WebSocket, as one end has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tls {
    /// None: the connection is in clear here.
    #[serde(rename = "none")]
    None,
    /// Of a version that is not known here: a page's.
    #[serde(rename = "some")]
    Some,
    /// TLS 1.2 (RFC 5246).
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    V13,
}

impl Tls {
    const fn differs(self, other: Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => false,
            (Self::None, _) | (_, Self::None) => true,
            (Self::V12, Self::V13) | (Self::V13, Self::V12) => true,
            (Self::Some | Self::V12 | Self::V13, _) => false,
        }
    }
}

/// From where a server has an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressFrom {
    /// The connection's own.
    #[default]
    Connection,
    /// A PROXY header of a proxy that the owner has named.
    ProxyHeader,
    /// `Forwarded` or `X-Forwarded-For` of such a one.
    Forwarded,
}

/// What a client knows, beside what it claims in AUTH.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// How its M1 left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
    /// TLS as it began it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// SHA-256 of the `SubjectPublicKeyInfo` of the certificate that it was shown, as base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// From where it has connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

/// What a server saw of the same connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// The client's address, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// By whose word.
    #[serde(default)]
    pub address_from: AddressFrom,
    /// The field `Host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The field `Origin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// How M1 came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
    /// Names of fields that no client sends with an upgrade.
    #[serde(default)]
    pub headers: Vec<String>,
    /// TLS of its own listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// SHA-256 of the `SubjectPublicKeyInfo` of its own certificate, as base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// A proxy that the server's owner has put there has brought the connection.
    #[serde(default)]
    pub own_proxy: bool,
}

/// One thing in which the two ends differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Difference {
    /// Another `Host` came than the client has opened.
    Host = 1,
    /// Another `Origin`, none, or one where there is no page.
    Origin = 2,
    /// M1 was taken out of the upgrade request.
    Form = 4,
    /// The connection began at another address.
    Address = 8,
    /// Fields were added.
    Headers = 16,
    /// TLS ends before the server, or is of another version there.
    TlsVersion = 32,
    /// The client was shown another certificate than the server's.
    Certificate = 64,
}

impl Difference {
    /// All, in the order in which they are told.
    pub const ALL: [Self; 7] =
        [Self::Host, Self::Origin, Self::Form, Self::Address, Self::Headers, Self::TlsVersion, Self::Certificate];

    /// Its name on the wire and in logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Origin => "origin",
            Self::Form => "form",
            Self::Address => "address",
            Self::Headers => "headers",
            Self::TlsVersion => "tls-version",
            Self::Certificate => "certificate",
        }
    }
}

/// In what two ends differ. A byte: a server has one for each session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differences(u8);

impl Differences {
    /// Nothing was rewritten, as far as both can know.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this is one of them.
    #[must_use]
    pub const fn has(self, difference: Difference) -> bool {
        self.0 & difference as u8 != 0
    }

    /// With this one, if it is one.
    #[must_use]
    pub const fn with(self, difference: Difference, is: bool) -> Self {
        if is { Self(self.0 | difference as u8) } else { self }
    }

    /// Without these.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = Difference> {
        Difference::ALL.into_iter().filter(move |difference| self.has(*difference))
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, difference) in self.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { " " }, difference.word())?;
        }
        Ok(())
    }
}

/// In what a connection was another one at the client than at the server.
#[must_use]
pub fn compare(claims: &Claims, known: &Known, seen: &Seen) -> Differences {
    // A page of https opens no WebSocket in clear.
    let tls = known.tls.or_else(|| claims.origin.starts_with("https://").then_some(Tls::Some));
    let both = |one: Option<Tls>, other: Option<Tls>| one.zip(other).is_some_and(|(one, other)| one.differs(other));
    let certificates = known.certificate.as_ref().zip(seen.certificate.as_ref());
    // Behind a router that translates addresses a client knows none that anybody else sees.
    let own = known.address.map(|address| address.to_canonical()).filter(|address| is_global(*address));
    let addresses = own.zip(seen.address.map(|address| address.to_canonical()));
    let is_elsewhere = addresses.is_some_and(|(own, seen)| own != seen && own.is_ipv4() == seen.is_ipv4());
    Differences::default()
        .with(Difference::Host, !is_host(&claims.host, seen.host.as_deref()))
        .with(Difference::Origin, seen.origin.as_deref().unwrap_or_default() != claims.origin)
        // It can be taken out of a request, and nobody can put it into one.
        .with(Difference::Form, known.form == Some(Form::InRequest) && seen.form == Some(Form::AsMessage))
        .with(Difference::Address, is_elsewhere)
        .with(Difference::Headers, !seen.headers.is_empty())
        .with(Difference::TlsVersion, both(tls, seen.tls))
        .with(Difference::Certificate, certificates.is_some_and(|(shown, own)| shown != own))
}

/// Whether a `Host` is the one that was opened: names are one in any case, and a default port may be said or left out.
#[must_use]
pub fn is_host(opened: &str, seen: Option<&str>) -> bool {
    let Some(seen) = seen else { return false };
    let is = |one: &str, other: &str| {
        let rest = one.get(other.len()..);
        one.eq_ignore_ascii_case(other)
            || (matches!(rest, Some(":443" | ":80"))
                && one.get(..other.len()).is_some_and(|host| host.eq_ignore_ascii_case(other)))
    };
    is(opened, seen) || is(seen, opened)
}

/// Whether an address is one's own wherever it is seen.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let is_shared = first == 100 && (64..128).contains(&second);
            let is_of_nobody = v4.is_unspecified() || v4.is_broadcast() || v4.is_documentation() || first >= 224;
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || is_shared || is_of_nobody)
        }
        // 2000::/3, without what is for documentation.
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            first & 0xe000 == 0x2000 && (first, second) != (0x2001, 0x0db8)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Claims {
        Claims { origin: "https://line.example".into(), host: "line.example".into(), name: String::new() }
    }

    fn direct() -> (Known, Seen) {
        let hash = Some("a".repeat(43));
        let known =
            Known { form: Some(Form::InRequest), tls: Some(Tls::V13), certificate: hash.clone(), address: None };
        let seen = Seen {
            host: Some("line.example".into()),
            origin: Some("https://line.example".into()),
            form: Some(Form::InRequest),
            tls: Some(Tls::V13),
            certificate: hash,
            ..Seen::default()
        };
        (known, seen)
    }

    #[test]
    fn a_direct_line_differs_in_nothing_and_neither_does_what_one_end_does_not_know() {
        let (known, seen) = direct();
        assert!(compare(&page(), &known, &seen).is_empty());
        assert!(compare(&page(), &Known::default(), &seen).is_empty());
        let blind = Seen { form: None, tls: None, certificate: None, ..seen.clone() };
        assert!(compare(&page(), &known, &blind).is_empty());
        // A path that refuses long headers is no rewritten one: the client itself has sent M1 as a message.
        let short = Known { form: Some(Form::AsMessage), ..known.clone() };
        assert!(compare(&page(), &short, &Seen { form: Some(Form::AsMessage), ..seen.clone() }).is_empty());
        for host in ["LINE.example", "line.example:443"] {
            assert!(compare(&page(), &known, &Seen { host: Some(host.into()), ..seen.clone() }).is_empty(), "{host}");
        }
    }

    #[test]
    fn each_thing_that_is_rewritten_has_its_name() {
        let (known, seen) = direct();
        let said = |known: &Known, seen: &Seen| compare(&page(), known, seen).to_string();
        for host in [None, Some(""), Some("10.0.0.7:8080"), Some("line.example:8443"), Some("line.example.")] {
            assert_eq!(said(&known, &Seen { host: host.map(str::to_owned), ..seen.clone() }), "host", "{host:?}");
        }
        for origin in [None, Some("null"), Some("https://line.example:8443")] {
            assert_eq!(said(&known, &Seen { origin: origin.map(str::to_owned), ..seen.clone() }), "origin");
        }
        assert_eq!(said(&known, &Seen { form: Some(Form::AsMessage), ..seen.clone() }), "form");
        assert_eq!(said(&known, &Seen { headers: vec!["via".into()], ..seen.clone() }), "headers");
        assert_eq!(said(&known, &Seen { certificate: Some("b".repeat(43)), ..seen.clone() }), "certificate");
        assert_eq!(said(&Known { tls: Some(Tls::V12), ..known.clone() }, &seen), "tls-version");
        // A page knows only that it has begun TLS; that is enough to see that it ends before the server.
        assert_eq!(said(&Known::default(), &Seen { tls: Some(Tls::None), ..seen.clone() }), "tls-version");
        let native = Claims { origin: String::new(), ..page() };
        assert_eq!(compare(&native, &known, &seen).to_string(), "origin");
        let all = Seen { host: None, headers: vec!["via".into()], tls: Some(Tls::None), ..seen };
        assert_eq!(said(&known, &all), "host headers tls-version");
    }

    #[test]
    fn an_address_differs_only_where_it_is_the_clients_own_everywhere() {
        let (known, seen) = direct();
        let differs = |own: &str, at: &str| {
            let known = Known { address: own.parse().ok(), ..known.clone() };
            let seen = Seen { address: at.parse().ok(), ..seen.clone() };
            compare(&page(), &known, &seen).has(Difference::Address)
        };
        for own in ["192.168.1.5", "10.1.2.3", "100.64.0.9", "127.0.0.1", "169.254.1.1", "fd00::5", "fe80::1", "::1"] {
            assert!(!differs(own, "8.8.8.8"), "{own}");
        }
        assert!(differs("9.9.9.9", "8.8.8.8") && !differs("9.9.9.9", "9.9.9.9"));
        assert!(!differs("9.9.9.9", "::ffff:9.9.9.9") && !differs("9.9.9.9", "2600::1"));
        assert!(differs("2600::1", "2600::2") && !differs("9.9.9.9", ""));
    }
}
