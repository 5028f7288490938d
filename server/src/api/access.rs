//! Who may ask the local API what.
//!
//! ```text
//! control.sock              the server's user, and root ────────────────► everything
//! `socket` of [api]         SO_PEERCRED ──────────► [[api.user]] ─┐
//! `listen` of [api]         Authorization: Bearer ─► [[api.key]] ─┴─► roles ─► what operations.rs asks for
//! ```
//!
//! Users and keys follow the file when it is read again; whoever is told events has them no longer once his role is gone.

use std::{fmt, sync::Arc};

use axum::{
    extract::{MatchedPath, Request, State as Extracted},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{By, Failure, Target, operations};
use crate::{
    door::programs::{Access, Role},
    watch::events::{Event, Kind},
};

/// Whether somebody may ask for what needs that role.
pub(super) fn may(access: &Access, by: &By, role: Role) -> bool {
    match by {
        By::Owner(_) => true,
        By::User(peer) => peer.user.is_some_and(|user| access.user_may(user, role)),
        By::Key(name) => access.key_may(name, role),
    }
}

/// Whether somebody is answered at all.
fn is_known(access: &Access, by: &By) -> bool {
    Role::ALL.into_iter().any(|role| may(access, by, role))
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
            Err(failure) => return refuse(&target, &"somebody without a key", failure),
        }
    }
    let by = request.extensions().get::<By>().cloned().unwrap_or_else(By::this_process);
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let is_in = match path.map(|path| operations::needs(request.method(), path)) {
        // Nothing is there, which everybody may hear who is answered.
        None | Some(operations::Needs::Nothing) => is_known(&target.access, &by),
        Some(operations::Needs::Role(role)) => may(&target.access, &by, role),
    };
    if !is_in {
        let message = match by {
            By::Key(_) => "this key has no role for that: `roles` of its [[api.key]] says which it has",
            _ => "this user has no role for that: [[api.user]] says who has which",
        };
        return refuse(&target, &by, Failure::new(StatusCode::FORBIDDEN, "not-allowed", message));
    }
    next.run(request).await
}

/// Answers so, and tells who has asked.
pub(super) fn refuse(target: &Target, by: &dyn fmt::Display, failure: Failure) -> Response {
    let note = format!("by=\"{by}\" why={}", failure.refused.error);
    target.watch().tell(Event::of(Kind::ControlRefused).note(note));
    let mut response = failure.into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
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
    let by = key.and_then(|(_, key)| access.name_of(key.trim_ascii())).map(By::Key);
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
        let twice =
            [(header::HOST, HeaderValue::from_static("127.0.0.1:9465")), (header::HOST, HeaderValue::from_static("a"))];
        let mut headers = HeaderMap::new();
        twice.into_iter().for_each(|(name, value)| _ = headers.append(name, value));
        assert!(!is_of_this_machine(&Uri::from_static("/devices"), &headers, 9_465), "two are named");
    }
}
