//! Which pages, apps and hosts are served.
//!
//! Three kinds of evidence, kept apart: what the handshake proved, what the transport saw (the `Origin` header, which a
//! browser sets and no page can forge), and what the client merely says. A claim can only add a refusal, never a permission.
//!
//! ```text
//! Origin: none                    a native client
//! Origin: capacitor://localhost   an app in a browser's engine. Every such app has it, so that it counts as a native client
//! Origin: https://example.org     a page of that site       chrome-extension://<id>   of that extension
//! ```

use duologue::CloseCode;

use crate::door::{
    evidence::Transport,
    origin::{self, InvalidOrigin, Owner},
};

/// Who may speak with this server, as far as addresses go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether any page of this machine may come, on any port: for development.
    pub loopback: bool,
    /// Origins whose pages may come, written as browsers write them: `https://example.org` without a path, or
    /// `chrome-extension://<id>`. One that is not its owner's alone never matches here: see `app_origins`.
    pub origins: Vec<String>,
    /// Origins of apps, such as `capacitor://localhost`, that may come as native clients: every app of its kind has the
    /// same, so that it proves nothing.
    pub app_origins: Vec<String>,
    /// Hosts of this server, with their ports, beside those of `origins`: `line.example:8443`. Whoever has opened another
    /// was led here under a false name.
    pub hosts: Vec<String>,
    /// Whether clients that are no browser's pages may come: those without an `Origin`, and apps.
    pub native_clients: bool,
}

impl Policy {
    /// For development: pages of this machine, and native clients.
    #[must_use]
    pub const fn loopback() -> Self {
        let mut policy = Self::listed(Vec::new());
        policy.loopback = true;
        policy
    }

    /// Pages of these origins, and native clients.
    #[must_use]
    pub const fn listed(origins: Vec<String>) -> Self {
        Self { loopback: false, origins, app_origins: Vec::new(), hosts: Vec::new(), native_clients: true }
    }

    /// Takes pages of one more origin.
    ///
    /// # Errors
    /// If it is none, or that of every app of its kind.
    pub fn with_origin(mut self, text: &str) -> Result<Self, InvalidOrigin> {
        match origin::owner(text)? {
            Owner::Site | Owner::Extension => {}
            Owner::ThisMachine if self.is_of_this_machine() => {}
            Owner::ThisMachine | Owner::EveryApp => return Err(InvalidOrigin::NotAlone(text.to_owned())),
        }
        self.origins.push(text.to_owned());
        Ok(self)
    }

    /// Takes apps of one more origin, as native clients.
    ///
    /// # Errors
    /// If it is none, or one owner's alone.
    pub fn with_app_origin(mut self, text: &str) -> Result<Self, InvalidOrigin> {
        match origin::owner(text)? {
            Owner::EveryApp => {}
            Owner::ThisMachine if !self.is_of_this_machine() => {}
            Owner::ThisMachine | Owner::Site | Owner::Extension => return Err(InvalidOrigin::Alone(text.to_owned())),
        }
        self.app_origins.push(text.to_owned());
        Ok(self)
    }

    /// One more host under which this server is reached, with its port unless that is 443.
    #[must_use]
    pub fn with_host(mut self, host: &str) -> Self {
        self.hosts.push(host.to_owned());
        self
    }

    /// Whether an answer may be read by pages of this origin: whether they, or apps that have it, may come.
    pub(crate) fn serves(&self, origin: &str) -> bool {
        if self.is_apps(origin) { self.native_clients && self.takes_app(origin) } else { self.takes_page(origin) }
    }

    /// What the transport saw of an `Origin` header, as that of a page and as that of an app.
    pub(crate) fn seen(&self, header: Option<String>) -> (Option<String>, Option<String>) {
        match header {
            Some(origin) if self.is_apps(&origin) => (None, Some(origin)),
            header => (header, None),
        }
    }

    /// Judges the addresses; the device itself is the store's to judge.
    pub(crate) fn judge(&self, transport: &Transport, claims: &duologue::Claims) -> Result<(), CloseCode> {
        let (seen, taken) = match (&transport.origin, &transport.app_origin) {
            (Some(origin), _) => (Some(origin), self.takes_page(origin)),
            (None, Some(origin)) => (Some(origin), self.native_clients && self.takes_app(origin)),
            (None, None) => (None, self.native_clients),
        };
        // The page knows its origin as well as its browser does. Whoever rewrote it on the way is in between.
        if !taken || seen.is_some_and(|origin| *origin != claims.origin) {
            return Err(CloseCode::OriginRefused);
        }
        // What the client opened must be one of ours, or its name was bent to this server (DNS rebinding).
        if self.is_ours(&claims.host) { Ok(()) } else { Err(CloseCode::HostMismatch) }
    }

    fn takes_page(&self, origin: &str) -> bool {
        (self.loopback && origin::is_loopback(origin)) || self.origins.iter().any(|listed| listed == origin)
    }

    fn takes_app(&self, origin: &str) -> bool {
        let is_local =
            || origin.split_once("://").is_some_and(|(_, host)| origin::is_loopback(&format!("https://{host}")));
        self.app_origins.iter().any(|listed| listed == origin) || (self.loopback && is_local())
    }

    /// Whether others than the owner of an origin can have it.
    fn is_apps(&self, origin: &str) -> bool {
        match origin::owner(origin) {
            Ok(Owner::EveryApp) => true,
            Ok(Owner::ThisMachine) => !self.is_of_this_machine(),
            Ok(Owner::Site | Owner::Extension) | Err(_) => false,
        }
    }

    /// Whether this server and its pages are on one machine, so that what runs there is its owner's.
    fn is_of_this_machine(&self) -> bool {
        let is_loopback = |host: &str| origin::is_loopback(&format!("https://{host}"));
        if self.hosts.is_empty() {
            let mut sites = self.origins.iter().filter_map(|origin| origin::host(origin)).peekable();
            return self.loopback || (sites.peek().is_some() && sites.all(is_loopback));
        }
        self.loopback || self.hosts.iter().any(|host| is_loopback(host))
    }

    fn is_ours(&self, host: &str) -> bool {
        // Names of hosts are one in any case (RFC 4343). What follows them, a dot or another port, makes another.
        let is_it = |own: &str| own.eq_ignore_ascii_case(host);
        let of_a_page = |origin: &String| !self.is_apps(origin) && origin::host(origin).is_some_and(is_it);
        (self.loopback && origin::is_loopback(&format!("https://{host}")))
            || self.hosts.iter().any(|own| is_it(own))
            || self.origins.iter().any(of_a_page)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use duologue::Claims;

    use super::*;

    const APP: &str = "capacitor://localhost";
    const EXTENSION: &str = "chrome-extension://abcdefghijklmnopabcdefghijklmnop";

    fn judge(policy: &Policy, header: Option<&str>, claimed: &str, host: &str) -> Result<(), CloseCode> {
        let (origin, app_origin) = policy.seen(header.map(str::to_owned));
        let transport = Transport { address: IpAddr::from([192, 0, 2, 1]), origin, app_origin };
        policy.judge(&transport, &Claims { origin: claimed.to_owned(), host: host.to_owned(), name: String::new() })
    }

    fn example() -> Policy {
        Policy::listed(vec!["https://example.org".to_owned()]).with_host("example.org")
    }

    #[test]
    fn development_takes_pages_of_this_machine_on_any_port() {
        let policy = Policy::loopback();
        for origin in ["https://localhost:8443", "http://127.0.0.1:5173", "https://[::1]:1", "http://app.localhost"] {
            assert_eq!(judge(&policy, Some(origin), origin, "localhost:8443"), Ok(()), "{origin}");
        }
        for origin in
            ["https://example.org", "https://localhost.example.org", "null", "https://127.0.0.1.example.org", "app://-"]
        {
            assert_eq!(judge(&policy, Some(origin), origin, "localhost"), Err(CloseCode::OriginRefused), "{origin}");
        }
        assert_eq!(judge(&policy, None, "", "rebound.example.org:8443"), Err(CloseCode::HostMismatch));
        // An app that is being developed here, which counts as a native client.
        assert_eq!(judge(&policy, Some(APP), APP, "localhost:8443"), Ok(()));
        let pages_only = Policy { native_clients: false, ..policy };
        assert_eq!(judge(&pages_only, Some(APP), APP, "localhost:8443"), Err(CloseCode::OriginRefused));
    }

    #[test]
    fn a_listed_server_takes_its_own_pages_only() {
        let policy = Policy::listed(vec!["https://example.org".to_owned()]);
        let own = "https://example.org";
        assert_eq!(judge(&policy, Some(own), own, "example.org"), Ok(()));
        assert_eq!(judge(&policy, Some(own), own, "Example.ORG"), Ok(()));
        for host in ["example.org:8443", "example.org.", "www.example.org", "example.or", "", "[::1]"] {
            assert_eq!(judge(&policy, Some(own), own, host), Err(CloseCode::HostMismatch), "{host}");
        }
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

    #[test]
    fn an_address_in_the_network_is_taken_beside_this_machine() {
        let policy = Policy::loopback().with_host("192.168.1.5:8443").with_origin("https://192.168.1.5:8443");
        let policy = policy.expect("an origin");
        let phone = "https://192.168.1.5:8443";
        assert_eq!(judge(&policy, Some(phone), phone, "192.168.1.5:8443"), Ok(()));
        assert_eq!(judge(&policy, Some("http://localhost:5173"), "http://localhost:5173", "localhost:8443"), Ok(()));
        let other = "https://192.168.1.5:9999";
        assert_eq!(judge(&policy, Some(other), other, "192.168.1.5:8443"), Err(CloseCode::OriginRefused));
        assert_eq!(judge(&policy, None, "", "192.168.1.6:8443"), Err(CloseCode::HostMismatch));
    }

    #[test]
    fn an_extension_is_a_page_and_an_app_is_a_native_client() {
        let policy = example().with_origin(EXTENSION).and_then(|policy| policy.with_app_origin(APP)).expect("origins");
        assert_eq!(policy.seen(Some(EXTENSION.to_owned())), (Some(EXTENSION.to_owned()), None));
        assert_eq!(policy.seen(Some(APP.to_owned())), (None, Some(APP.to_owned())), "no service takes it for a page's");
        for origin in [EXTENSION, APP] {
            assert!(policy.serves(origin), "{origin}");
            assert_eq!(judge(&policy, Some(origin), origin, "example.org"), Ok(()), "{origin}");
            let claimed = "https://example.org";
            assert_eq!(judge(&policy, Some(origin), claimed, "example.org"), Err(CloseCode::OriginRefused), "{origin}");
            // Its host is no name of the server's.
            let host = origin.split_once("://").expect("an origin").1;
            assert_eq!(judge(&policy, Some(origin), origin, host), Err(CloseCode::HostMismatch), "{origin}");
        }
        let browsers_only = Policy { native_clients: false, ..policy };
        assert_eq!(judge(&browsers_only, Some(EXTENSION), EXTENSION, "example.org"), Ok(()));
        assert_eq!(judge(&browsers_only, Some(APP), APP, "example.org"), Err(CloseCode::OriginRefused));
        assert!(!browsers_only.serves(APP));
    }

    #[test]
    fn an_origin_of_every_app_never_counts_as_a_page() {
        for shared in [APP, "tauri://localhost", "http://tauri.localhost", "https://localhost", "ionic://localhost"] {
            assert_eq!(example().with_origin(shared), Err(InvalidOrigin::NotAlone(shared.to_owned())));
            assert!(example().with_app_origin(shared).is_ok(), "{shared}");
            // Nor by the list itself, which an app of one's own may fill by hand.
            let by_hand = Policy::listed(vec!["https://example.org".to_owned(), shared.to_owned()]);
            assert_eq!(judge(&by_hand, Some(shared), shared, "example.org"), Err(CloseCode::OriginRefused), "{shared}");
            assert_eq!(judge(&by_hand, None, "", "localhost"), Err(CloseCode::HostMismatch), "{shared}");
        }
        for whole in ["https://app.example", EXTENSION] {
            assert_eq!(example().with_app_origin(whole), Err(InvalidOrigin::Alone(whole.to_owned())));
        }
    }

    #[test]
    fn a_server_of_this_machine_has_the_pages_of_this_machine() {
        let own = "https://localhost:8443";
        let policy = Policy::listed(vec![own.to_owned()]).with_host("localhost:8443");
        let policy = policy.with_origin("http://localhost:5173").expect("one machine");
        assert_eq!(judge(&policy, Some(own), own, "localhost:8443"), Ok(()));
        let page = "http://localhost:5173";
        assert_eq!(judge(&policy, Some(page), page, "localhost:8443"), Ok(()));
    }
}
