//! What to connect to: a server's address, or an invite link to it.

use duologue::{InvalidInvite, Invite};
use thiserror::Error;
use url::{Host, Url};

/// A server's address, and the invite if the link had one.
#[derive(Clone, Debug)]
pub struct Target {
    url: Url,
    invite: Option<Invite>,
}

/// Text that is neither a server's address nor an invite link.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidTarget {
    /// Not a URL.
    #[error("\"{0}\" is not an address: it should look like https://host:8443 or be an invite link")]
    NotAUrl(String),
    /// Not a scheme of ours.
    #[error("addresses start with https:// (or http:// on this machine), not {0}://")]
    Scheme(String),
    /// Without TLS over a network.
    #[error("http:// is for this machine only: use https://{0}")]
    NotSecure(String),
    /// The fragment is damaged.
    #[error(transparent)]
    Invite(#[from] InvalidInvite),
}

impl Target {
    /// Reads an address or an invite link.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, InvalidTarget> {
        let mut url = Url::parse(text).map_err(|_| InvalidTarget::NotAUrl(text.chars().take(60).collect()))?;
        let secure = match url.scheme() {
            "https" | "wss" => true,
            "http" | "ws" => false,
            other => return Err(InvalidTarget::Scheme(other.to_owned())),
        };
        let Some(host) = url.host_str().map(str::to_owned) else {
            return Err(InvalidTarget::NotAUrl(text.chars().take(60).collect()));
        };
        let invite = match url.fragment() {
            Some(fragment) => Some(Invite::from_link(fragment)?),
            None => None,
        };
        url.set_fragment(None);
        let target = Self { url, invite };
        if !secure && !target.is_loopback() {
            return Err(InvalidTarget::NotSecure(host));
        }
        Ok(target)
    }

    /// The invite of the link.
    #[must_use]
    pub const fn invite(&self) -> Option<&Invite> {
        self.invite.as_ref()
    }

    /// Host and port, as a browser would show them: what the client claims to have opened.
    #[must_use]
    pub fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// The path above the line, without a slash at its end.
    pub(crate) fn base(&self) -> String {
        let path = self.path();
        path.rsplit_once('/').map_or("", |(above, _)| above).to_owned()
    }

    /// By what this server is known: its host, and the path above the line where there is one, because a host may have several.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}{}", self.host(), self.base())
    }

    /// The name that the certificate must have, without port or brackets.
    pub(crate) fn host_name(&self) -> String {
        match self.url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => self.url.host_str().unwrap_or_default().to_owned(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.url.port().unwrap_or(if self.is_tls() { 443 } else { 80 })
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.url.scheme(), "https" | "wss")
    }

    /// True if the other end is this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.url.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }

    /// Where the line is: the address's own path, or `line` below it if it ends with a slash.
    pub(crate) fn websocket_url(&self) -> String {
        let scheme = if self.is_tls() { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.host(), self.path())
    }

    fn path(&self) -> String {
        let path = self.url.path();
        if path.ends_with('/') { format!("{path}line") } else { path.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_a_person_means_them() {
        let target = Target::parse("https://localhost:8443").expect("an address");
        assert_eq!((target.websocket_url().as_str(), target.port()), ("wss://localhost:8443/line", 8443));
        let target = Target::parse("https://example.org/private/line").expect("an address");
        assert_eq!((target.websocket_url().as_str(), target.port()), ("wss://example.org/private/line", 443));
        // An invite link of a server below a path.
        let target = Target::parse("https://example.org:8443/app/").expect("an address");
        assert_eq!(target.websocket_url(), "wss://example.org:8443/app/line");
        assert_eq!((target.host().as_str(), target.place().as_str()), ("example.org:8443", "example.org:8443/app"));
        for root in
            ["https://example.org", "https://example.org/", "https://example.org/line", "https://example.org/ws"]
        {
            assert_eq!(Target::parse(root).expect("an address").place(), "example.org", "{root}");
        }
        assert_eq!(Target::parse("https://[::1]:1/").expect("an address").host_name(), "::1");
    }

    #[test]
    fn bad_addresses_say_what_is_wrong() {
        assert_eq!(Target::parse("localhost").expect_err("no address"), InvalidTarget::NotAUrl("localhost".to_owned()));
        assert_eq!(Target::parse("ftp://a").expect_err("no address"), InvalidTarget::Scheme("ftp".to_owned()));
        assert_eq!(
            Target::parse("http://example.org").expect_err("no address"),
            InvalidTarget::NotSecure("example.org".to_owned())
        );
        assert_eq!(
            Target::parse("https://a/#i=x").expect_err("no address"),
            InvalidTarget::Invite(InvalidInvite::Damaged)
        );
        assert!(Target::parse("http://127.0.0.1:8080").is_ok());
    }
}
