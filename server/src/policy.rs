//! Which pages and hosts are served, and the verdict on a device that has proved its key.
//!
//! Three kinds of evidence, kept apart: what the handshake proved, what the transport saw (the `Origin` header, which a
//! browser sets and no page can forge), and what the client merely says. A claim can only add a refusal, never a permission.

use duologue::CloseCode;
use url::{Host, Url};

use crate::service::Transport;

/// Which origins a page may come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Any page of this machine, on any port: for development.
    Loopback,
    /// These, written as browsers write them: `https://example.org`, without a path.
    Listed(Vec<String>),
}

/// Who may speak with this server, as far as addresses go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For pages.
    pub origins: Origins,
    /// Whether clients without an `Origin`, which are no browsers, may come.
    pub native_clients: bool,
}

impl Policy {
    /// For development: pages of this machine, and native clients.
    #[must_use]
    pub const fn loopback() -> Self {
        Self { origins: Origins::Loopback, native_clients: true }
    }

    /// Pages of these origins, and native clients.
    #[must_use]
    pub const fn listed(origins: Vec<String>) -> Self {
        Self { origins: Origins::Listed(origins), native_clients: true }
    }

    /// Judges the addresses; the device itself is the store's to judge.
    pub(crate) fn judge(&self, transport: &Transport, claims: &duologue::Claims) -> Result<(), CloseCode> {
        match &transport.origin {
            None if !self.native_clients => return Err(CloseCode::OriginRefused),
            None => {}
            Some(origin) if !self.allows(origin) => return Err(CloseCode::OriginRefused),
            // The page knows its origin as well as its browser does. Whoever rewrote it on the way is in between.
            Some(origin) if *origin != claims.origin => return Err(CloseCode::OriginRefused),
            Some(_) => {}
        }
        // What the client opened must be one of ours, or its name was bent to this server (DNS rebinding).
        let host_is_ours = match &self.origins {
            Origins::Loopback => is_loopback(&format!("https://{}", claims.host)),
            Origins::Listed(origins) => {
                origins.iter().any(|origin| origin.split_once("://").is_some_and(|(_, host)| host == claims.host))
            }
        };
        if host_is_ours { Ok(()) } else { Err(CloseCode::HostMismatch) }
    }

    fn allows(&self, origin: &str) -> bool {
        match &self.origins {
            Origins::Loopback => is_loopback(origin),
            Origins::Listed(origins) => origins.iter().any(|listed| listed == origin),
        }
    }
}

fn is_loopback(origin: &str) -> bool {
    match Url::parse(origin).ok().as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use duologue::Claims;

    use super::*;

    fn judge(policy: &Policy, header: Option<&str>, claimed: &str, host: &str) -> Result<(), CloseCode> {
        let transport = Transport { address: IpAddr::from([192, 0, 2, 1]), origin: header.map(str::to_owned) };
        policy.judge(&transport, &Claims { origin: claimed.to_owned(), host: host.to_owned(), name: String::new() })
    }

    #[test]
    fn development_takes_pages_of_this_machine_on_any_port() {
        let policy = Policy::loopback();
        for origin in ["https://localhost:8443", "http://127.0.0.1:5173", "https://[::1]:1", "http://app.localhost"] {
            assert_eq!(judge(&policy, Some(origin), origin, "localhost:8443"), Ok(()), "{origin}");
        }
        for origin in ["https://example.org", "https://localhost.example.org", "null", "https://127.0.0.1.example.org"]
        {
            assert_eq!(judge(&policy, Some(origin), origin, "localhost"), Err(CloseCode::OriginRefused), "{origin}");
        }
        assert_eq!(judge(&policy, None, "", "rebound.example.org:8443"), Err(CloseCode::HostMismatch));
    }

    #[test]
    fn a_listed_server_takes_its_own_pages_only() {
        let policy = Policy::listed(vec!["https://example.org".to_owned()]);
        let own = "https://example.org";
        assert_eq!(judge(&policy, Some(own), own, "example.org"), Ok(()));
        assert_eq!(judge(&policy, Some(own), own, "example.org:8443"), Err(CloseCode::HostMismatch));
        let foreign = "https://evil.example";
        assert_eq!(
            judge(&policy, Some(foreign), own, "example.org"),
            Err(CloseCode::OriginRefused),
            "claims do not help"
        );
        assert_eq!(judge(&policy, Some(own), foreign, "example.org"), Err(CloseCode::OriginRefused));
        assert_eq!(judge(&policy, None, "", "example.org"), Ok(()));
        let strict = Policy { native_clients: false, ..policy };
        assert_eq!(judge(&strict, None, "", "example.org"), Err(CloseCode::OriginRefused));
    }
}
