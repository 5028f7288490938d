//! Who may ask the local API what.
//!
//! ```text
//! control.sock              the server's user, and root ────────────────► everything
//! `socket` of [api]         SO_PEERCRED ──────────► [[api.user]] ─┐
//! `listen` of [api]         Authorization: Bearer ─► [[api.key]] ─┴─► roles ─► what operations.rs asks for
//! ```
//!
//! Users and keys follow the file when it is read again; whoever is told events has them no longer once his role is gone.

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{
    extract::{MatchedPath, Request, State as Extracted},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::{By, Failure, Target, operations};
use crate::{
    state::random,
    watch::events::{Event, Kind},
};

/// How a key begins, so that it is known for what it is wherever it is found.
const PREFIX: &str = "duologue_api_";

/// What somebody may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
    /// Say something to devices.
    Send,
    /// See who is here, and what happens.
    Watch,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Send, Self::Watch];

    /// As the configuration says it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Send => "send",
            Self::Watch => "watch",
        }
    }
}

/// What `[api]` says: where the local API answers besides the owner's socket, and whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiSettings {
    /// A Unix socket, of mode 0660.
    pub socket: Option<PathBuf>,
    /// The group that may open it; unless told, that of the server's process.
    pub group: Option<u32>,
    /// A loopback address.
    pub listen: Option<SocketAddr>,
    /// Users of this machine who are answered at the socket, beside the server's own and root.
    pub users: Vec<ApiUser>,
    /// Whoever shows one of these is answered at the address.
    pub keys: Vec<ApiKey>,
}

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiUser {
    /// The system's number for it.
    pub user: u32,
    /// What it may ask.
    pub roles: Vec<Role>,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// What the log calls whoever has it.
    pub name: String,
    /// Its hash: the key itself is nowhere here.
    pub sha256: [u8; 32],
    /// What it may ask.
    pub roles: Vec<Role>,
}

impl ApiKey {
    /// A new one, of 256 random bits, and its hash.
    #[must_use]
    pub fn make() -> (String, [u8; 32]) {
        let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<32>()));
        let hash = Sha256::digest(&key).into();
        (key, hash)
    }
}

/// Users and keys, as the file says now. Clones share them.
#[derive(Clone, Debug)]
pub struct Access(Arc<watch::Sender<(Vec<ApiUser>, Vec<ApiKey>)>>);

impl Access {
    /// Those of these settings.
    #[must_use]
    pub fn new(settings: &ApiSettings) -> Self {
        Self(Arc::new(watch::Sender::new((settings.users.clone(), settings.keys.clone()))))
    }

    /// From now on those.
    pub fn set(&self, settings: &ApiSettings) {
        self.0.send_replace((settings.users.clone(), settings.keys.clone()));
    }

    /// Hears of each change.
    pub(super) fn changes(&self) -> watch::Receiver<(Vec<ApiUser>, Vec<ApiKey>)> {
        self.0.subscribe()
    }

    /// Whether somebody may ask for what needs that role.
    pub(super) fn may(&self, by: &By, role: Role) -> bool {
        let has = |roles: &[Role]| roles.contains(&role) || roles.contains(&Role::Admin);
        let (users, keys) = &*self.0.borrow();
        match by {
            By::Owner(_) => true,
            By::User(peer) => users.iter().any(|its| peer.user == Some(its.user) && has(&its.roles)),
            By::Key(name) => keys.iter().any(|its| its.name == **name && has(&its.roles)),
        }
    }

    /// Whether somebody is answered at all.
    fn knows(&self, by: &By) -> bool {
        Role::ALL.into_iter().any(|role| self.may(by, role))
    }

    /// Who has a key.
    fn holder(&self, key: &[u8]) -> Option<By> {
        let hash: [u8; 32] = Sha256::digest(key).into();
        let (_, keys) = &*self.0.borrow();
        keys.iter().find(|its| its.sha256 == hash).map(|its| By::Key(its.name.as_str().into()))
    }
}

/// Says of a connection that it came to the loopback address with this port: who asks shows a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByKey {
    pub(super) port: u16,
}

/// Lets a request in whose caller has the role that it needs.
pub(super) async fn admit(Extracted(target): Extracted<Arc<Target>>, mut request: Request, next: Next) -> Response {
    if let Some(ByKey { port }) = request.extensions().get().copied() {
        match by_key(&target.access, &request, port) {
            Ok(by) => _ = request.extensions_mut().insert(by),
            Err(failure) => return refuse(&target, &"somebody without a key", &failure),
        }
    }
    let by = request.extensions().get::<By>().cloned().unwrap_or_else(By::this_process);
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let is_in = match path.map(|path| operations::needs(request.method(), path)) {
        // Nothing is there, which everybody may hear who is answered.
        None | Some(operations::Needs::Nothing) => target.access.knows(&by),
        Some(operations::Needs::Role(role)) => target.access.may(&by, role),
    };
    if !is_in {
        let message = match by {
            By::Key(_) => "this key has no role for that: `roles` of its [[api.key]] says which it has",
            _ => "this user has no role for that: [[api.user]] says who has which",
        };
        return refuse(&target, &by, &Failure::new(StatusCode::FORBIDDEN, "not-allowed", message));
    }
    next.run(request).await
}

fn refuse(target: &Target, by: &dyn fmt::Display, failure: &Failure) -> Response {
    let note = format!("by=\"{by}\" why={}", failure.refused.error);
    target.watch().tell(Event::of(Kind::ControlRefused).note(note));
    let mut response = failure.clone().into_response();
    if failure.status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Whose key a request shows, if it was meant for this address.
fn by_key(access: &Access, request: &Request, port: u16) -> Result<By, Failure> {
    if !is_of_this_machine(request.uri(), request.headers(), port) {
        let message = format!("this is answered under the names of this machine alone: http://127.0.0.1:{port}");
        return Err(Failure::new(StatusCode::FORBIDDEN, "foreign-name", &message));
    }
    let unknown = |message| Failure::new(StatusCode::UNAUTHORIZED, "no-key", message);
    let mut shown = request.headers().get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (shown.next(), shown.next()) else {
        return Err(unknown("a key is asked for, once, and there alone: Authorization: Bearer KEY"));
    };
    let key = value.as_bytes().split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
    let by = key.and_then(|(_, key)| access.holder(key.trim_ascii()));
    by.ok_or_else(|| unknown("no [[api.key]] has this key: `duologue api-key` makes one"))
}

/// A page can give this machine any name that its owner has, and can be made to ask for it; not one of the machine's own.
fn is_of_this_machine(uri: &Uri, headers: &HeaderMap, port: u16) -> bool {
    let is_own = |authority: &Authority| {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let is_own = host.eq_ignore_ascii_case("localhost")
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        is_own && authority.port_u16().unwrap_or(80) == port && !authority.as_str().contains('@')
    };
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let host = Authority::try_from(host.as_bytes());
    host.is_ok_and(|host| is_own(&host)) && uri.authority().is_none_or(is_own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(uri: &str, host: &str) -> bool {
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_str(host).expect("a value"))]);
        is_of_this_machine(&uri.parse().expect("a URI"), &headers, 9_465)
    }

    #[test]
    fn only_names_of_this_machine_with_this_port_are_answered() {
        for host in ["127.0.0.1:9465", "localhost:9465", "LOCALHOST:9465", "[::1]:9465", "127.8.8.8:9465"] {
            assert!(named("/devices", host), "{host}");
        }
        for host in [
            "127.0.0.1",
            "127.0.0.1:80",
            "localhost:9466",
            "a.example:9465",
            "localhost.a.example:9465",
            "a@127.0.0.1:9465",
            "192.0.2.1:9465",
            "",
        ] {
            assert!(!named("/devices", host), "{host}");
        }
        assert!(!named("http://a.example:9465/devices", "127.0.0.1:9465"), "the request names another");
        assert!(!is_of_this_machine(&Uri::from_static("/devices"), &HeaderMap::new(), 9_465), "none is named");
        let twice = [(header::HOST, HeaderValue::from_static("127.0.0.1:9465")), (header::HOST, HeaderValue::from_static("a"))];
        let mut headers = HeaderMap::new();
        twice.into_iter().for_each(|(name, value)| _ = headers.append(name, value));
        assert!(!is_of_this_machine(&Uri::from_static("/devices"), &headers, 9_465), "two are named");
    }

    #[test]
    fn a_role_is_its_owners_and_admin_is_all_of_them() {
        let (key, sha256) = ApiKey::make();
        let shop = ApiKey { name: "shop".to_owned(), sha256, roles: vec![Role::Send] };
        let user = ApiUser { user: 4_242, roles: vec![Role::Watch] };
        let access = Access::new(&ApiSettings { users: vec![user], keys: vec![shop], ..ApiSettings::default() });
        let by = access.holder(key.as_bytes()).expect("it is known");
        assert!(access.may(&by, Role::Send) && !access.may(&by, Role::Watch) && !access.may(&by, Role::Admin));
        assert!(access.holder(&key.as_bytes()[1..]).is_none() && access.holder(b"").is_none());
        let user = |number| By::User(crate::api::socket::Peer { user: number, process: None });
        assert!(access.may(&user(Some(4_242)), Role::Watch) && !access.may(&user(Some(4_242)), Role::Send));
        assert!(!access.knows(&user(Some(4_243))) && !access.knows(&user(None)));
        access.set(&ApiSettings::default());
        assert!(access.holder(key.as_bytes()).is_none() && !access.knows(&by) && !access.knows(&user(Some(4_242))));
        assert!(access.may(&By::this_process(), Role::Admin));
    }
}
