//! What the hook is told of a caller: three kinds of evidence, apart, as JSON. docs/POLICY.md has it for owners.

use std::{net::IpAddr, sync::Arc};

use axum::http::{HeaderMap, HeaderName, header};
use duologue::{Claims, DeviceId};
use serde::Serialize;

use crate::door::{
    evidence::Transport,
    standing::{Group, Level, Standing, Subject},
    tokens::{BoundTo, Verified},
};

/// The longest `Cookie` that is told, in bytes. A longer one is left out, whole: half a cookie is another one.
const COOKIE_BYTES_MAX: usize = 8 * 1_024;
/// The longest of other headers, likewise.
const HEADER_BYTES_MAX: usize = 512;

/// What was seen of an upgrade request, beside its address and its origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Upgrade {
    host: Option<String>,
    cookie: Option<String>,
    user_agent: Option<String>,
}

impl Upgrade {
    /// `is_page`: of others no cookies are told, so that none are kept.
    pub(crate) fn of(headers: &HeaderMap, is_page: bool) -> Self {
        let one = |name: HeaderName, separator: &str, len_max: usize| {
            let values: Option<Vec<_>> = headers.get_all(name).iter().map(|value| value.to_str().ok()).collect();
            values.map(|values| values.join(separator)).filter(|text| (1..=len_max).contains(&text.len()))
        };
        Self {
            host: one(header::HOST, ", ", HEADER_BYTES_MAX),
            // More than one line is as good as one with semicolons (RFC 6265, 4.2.1; RFC 9113, 8.2.3).
            cookie: one(header::COOKIE, "; ", COOKIE_BYTES_MAX).filter(|_| is_page),
            user_agent: one(header::USER_AGENT, ", ", HEADER_BYTES_MAX),
        }
    }

    /// Without the values of cookies: whoever has these is logged in as their person.
    fn without_secrets(&self) -> Self {
        let cookie = self.cookie.as_ref().map(|cookie| {
            let name = |pair: &str| format!("{}=…", pair.split_once('=').map_or("", |(name, _)| name).trim());
            cookie.split(';').map(name).collect::<Vec<_>>().join("; ")
        });
        Self { cookie, ..self.clone() }
    }
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Question<'a> {
    #[serde(skip)]
    device: DeviceId,
    proved: ProvedSide<'a>,
    seen: SeenSide<'a>,
    said: SaidSide<'a>,
}

/// By the handshake, and by what came under the seal.
#[derive(Clone, Debug, Serialize)]
struct ProvedSide<'a> {
    device: String,
    /// 1: it was let in; 0: nobody knows it.
    level: Level,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a Subject>,
    groups: &'a [Group],
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<TokenSide<'a>>,
    /// When somebody last signed out at the device, in seconds since 1970: no login of before says who uses it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_out_at: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
struct TokenSide<'a> {
    issuer: &'a str,
    id: &'a str,
    subject: &'a Subject,
    groups: &'a [Group],
    level: Level,
    until: u64,
    is_of_this_device: bool,
}

/// By the transport.
#[derive(Clone, Debug, Serialize)]
struct SeenSide<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_origin: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cookie: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
}

/// By the client, of itself.
#[derive(Clone, Debug, Serialize)]
struct SaidSide<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    origin: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    host: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
}

impl<'a> Question<'a> {
    /// `has` is what the device has by its key alone, and `signed_out_at` when somebody last signed out at it.
    pub(crate) fn new(
        device: DeviceId,
        has: &'a Standing,
        signed_out_at: Option<u64>,
        token: Option<&'a Verified>,
        transport: &'a Transport,
        visit: &'a Visit,
    ) -> Self {
        let token = token.map(|token| TokenSide {
            issuer: &token.issuer,
            id: &token.id,
            subject: &token.subject,
            groups: &token.groups,
            level: token.level,
            until: token.until,
            is_of_this_device: token.bound_to != BoundTo::Bearer,
        });
        let Visit { upgrade, claims } = visit;
        Self {
            device,
            proved: ProvedSide {
                device: device.to_string(),
                level: has.level,
                subject: has.subject.as_ref(),
                groups: &has.groups,
                token,
                signed_out_at,
            },
            seen: SeenSide {
                address: Some(transport.address).filter(|address| !address.is_unspecified()),
                origin: transport.origin.as_deref(),
                app_origin: transport.app_origin.as_deref(),
                host: upgrade.host.as_deref(),
                // Only a browser keeps other sites' pages from them; a native client, and an app, may send any.
                cookie: transport.origin.as_ref().and(upgrade.cookie.as_deref()),
                user_agent: upgrade.user_agent.as_deref(),
            },
            said: SaidSide { origin: &claims.origin, host: &claims.host, name: &claims.name },
        }
    }

    /// Of whom it is.
    pub(super) const fn device(&self) -> DeviceId {
        self.device
    }

    /// Whether it has cookies of a page of this origin.
    pub(super) fn has_cookies_of(&self, origin: &str) -> bool {
        self.seen.origin == Some(origin) && self.seen.cookie.is_some()
    }
}

/// What a session keeps, to ask of it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Visit {
    pub(crate) upgrade: Upgrade,
    pub(crate) claims: Claims,
}

impl Visit {
    pub(crate) fn new(upgrade: Upgrade, claims: Claims) -> Arc<Self> {
        Arc::new(Self { upgrade, claims })
    }

    /// What it holds, in bytes.
    pub(crate) fn held_len(&self) -> usize {
        let Self { upgrade: Upgrade { host, cookie, user_agent }, claims } = self;
        let seen = [host, cookie, user_agent].into_iter().flatten().map(String::capacity).sum::<usize>();
        let said = [&claims.origin, &claims.host, &claims.name].map(String::capacity).iter().sum::<usize>();
        size_of::<Self>() + seen + said
    }

    /// Of somebody who is not connected, and of whom nothing is seen.
    pub(crate) fn unknown(origin: Option<&str>) -> Self {
        let claims = Claims { origin: origin.unwrap_or_default().to_owned(), host: String::new(), name: String::new() };
        Self { upgrade: Upgrade::default(), claims }
    }

    /// As its owner may see it.
    pub(crate) fn without_secrets(&self) -> Self {
        Self { upgrade: self.upgrade.without_secrets(), claims: self.claims.clone() }
    }
}
