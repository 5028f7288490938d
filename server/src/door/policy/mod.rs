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
//!
//! And what those who may speak may open: `rules`.

pub(crate) mod limits;
pub(crate) mod patterns;
pub(crate) mod rules;
#[cfg(test)]
mod tests;

use duologue::CloseCode;

use crate::door::{
    evidence::Transport,
    origin::{self, InvalidOrigin, Owner},
};
use rules::Rules;

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
    /// What those who may speak may open. Unless told, every device that was let in may use what there is.
    pub rules: Rules,
}

impl Policy {
    /// For development: pages of this machine, and native clients.
    #[must_use]
    pub fn loopback() -> Self {
        let mut policy = Self::listed(Vec::new());
        policy.loopback = true;
        policy
    }

    /// Pages of these origins, and native clients.
    #[must_use]
    pub fn listed(origins: Vec<String>) -> Self {
        Self {
            loopback: false,
            origins,
            app_origins: Vec::new(),
            hosts: Vec::new(),
            native_clients: true,
            rules: Rules::default(),
        }
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

    /// Opens what these rules open, and nothing else.
    #[must_use]
    pub fn with_rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
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
        let seen = transport.origin.as_ref().or(transport.app_origin.as_ref());
        let taken = self.takes(transport.origin.as_deref(), transport.app_origin.as_deref());
        // The page knows its origin as well as its browser does. Whoever rewrote it on the way is in between.
        if !taken || seen.is_some_and(|origin| *origin != claims.origin) {
            return Err(CloseCode::OriginRefused);
        }
        // What the client opened must be one of ours, or its name was bent to this server (DNS rebinding).
        if self.is_ours(&claims.host) { Ok(()) } else { Err(CloseCode::HostMismatch) }
    }

    /// Whether a page of this origin may come, else an app of that one, else a native client.
    pub(crate) fn takes(&self, origin: Option<&str>, app_origin: Option<&str>) -> bool {
        match (origin, app_origin) {
            (Some(origin), _) => self.takes_page(origin),
            (None, Some(origin)) => self.native_clients && self.takes_app(origin),
            (None, None) => self.native_clients,
        }
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
