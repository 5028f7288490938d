//! For whom passkeys are made: the table `[door.passkey]` of the configuration.
//!
//! ```toml
//! [door.passkey]
//! name = "Example"                           # what authenticators show; left out, the rp id
//! rp_id = "example.org"                      # left out, the host of --url
//! origins = ["https://app.example.org"]      # left out, each page that the server serves
//! timeout = "5m"
//! ```

use serde::{Deserialize, Deserializer, de};
use thiserror::Error;
use url::{Host, Url};

use crate::{door::quantity::parse_span, watch::text};

/// The longest name, in bytes: authenticators cut longer ones (Web Authentication Level 3, section 6.4.1).
const NAME_BYTES_MAX: usize = 64;
/// The longest name of a host.
const RP_ID_BYTES_MAX: usize = 253;
/// How many origins may be named.
const ORIGINS_MAX: usize = 16;
/// How long a person has for it at most, and unless told.
const TIMEOUT_SECS_MAX: u64 = 5 * 60;

/// For whom passkeys are made, and by which pages.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasskeySettings {
    /// What authenticators call the server; none: the rp id.
    #[serde(default)]
    pub name: Option<String>,
    /// The name under which a passkey is good: that of the pages' host, or of a domain that they are in. It cannot change without all
    /// passkeys being lost. None: the host of the server's address.
    #[serde(default)]
    pub rp_id: Option<String>,
    /// The pages that may ask for it. None: all that the server serves.
    #[serde(default)]
    pub origins: Option<Vec<String>>,
    /// How long a person has for it, in seconds. In a file a span such as `2m`.
    #[serde(default = "timeout", deserialize_with = "span")]
    pub timeout: u64,
}

impl Default for PasskeySettings {
    fn default() -> Self {
        Self { name: None, rp_id: None, origins: None, timeout: timeout() }
    }
}

/// Settings that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidPasskeySettings {
    /// A name that is none, or too long.
    #[error("`name` must be 1 to {NAME_BYTES_MAX} bytes of printable text: authenticators show it")]
    Name,
    /// No name of a host.
    #[error(
        "`rp_id` = \"{0}\" is no name of a host: write it as example.org, in lower case, without https:// and port"
    )]
    RpId(String),
    /// The server is reached at an address, for which browsers make no passkeys.
    #[error("browsers make passkeys for names only, and {0} is an address: serve under a name, and set `rp_id` to it")]
    Address(String),
    /// No origins, or too many.
    #[error("`origins` has 1 to {ORIGINS_MAX} entries: leave it out for each page that the server serves")]
    Origins,
    /// A page that is no secure one.
    #[error("\"{0}\" is no origin that has passkeys: write it as https://app.example.org")]
    Origin(String),
    /// A page of another domain.
    #[error("a page of \"{origin}\" cannot use passkeys of \"{rp_id}\": its host must be that, or end with .{rp_id}")]
    Stranger {
        /// Of the page.
        origin: String,
        /// Of the settings.
        rp_id: String,
    },
    /// The server's own pages are not of that name, and no others are named.
    #[error(
        "pages of {host}, where this server is, cannot use passkeys of \"{rp_id}\": set `rp_id` to that name or one that it ends \
         with, or name in `origins` the pages that are to ask"
    )]
    Elsewhere {
        /// Of the settings.
        rp_id: String,
        /// Of the server's address.
        host: String,
    },
    /// No time, or too much.
    #[error("`timeout` is 1s to 5m: write it as 90s or 2m")]
    Timeout,
}

impl PasskeySettings {
    /// Whether they can be used, as far as that can be said without knowing where the server is.
    pub(crate) fn check(&self) -> Result<(), InvalidPasskeySettings> {
        let is_name =
            |name: &str| (1..=NAME_BYTES_MAX).contains(&name.len()) && text::shown(name) == name && name.trim() == name;
        if self.name.as_deref().is_some_and(|name| !is_name(name)) {
            return Err(InvalidPasskeySettings::Name);
        }
        if !(1..=TIMEOUT_SECS_MAX).contains(&self.timeout) {
            return Err(InvalidPasskeySettings::Timeout);
        }
        if let Some(rp_id) = &self.rp_id {
            check_rp_id(rp_id)?;
        }
        let Some(origins) = &self.origins else { return Ok(()) };
        if !(1..=ORIGINS_MAX).contains(&origins.len()) {
            return Err(InvalidPasskeySettings::Origins);
        }
        for origin in origins {
            check_origin(origin, self.rp_id.as_deref())?;
        }
        Ok(())
    }

    /// The rp id, for a server at this host.
    pub(super) fn rp_id_at(&self, host: &str) -> Result<String, InvalidPasskeySettings> {
        let rp_id = match &self.rp_id {
            Some(rp_id) => rp_id.clone(),
            None => {
                let host = host.to_ascii_lowercase();
                check_rp_id(&host).map_err(|_| InvalidPasskeySettings::Address(host.clone()))?;
                host
            }
        };
        for origin in self.origins.iter().flatten() {
            check_origin(origin, Some(&rp_id))?;
        }
        if self.origins.is_none() && !is_within(&host.to_ascii_lowercase(), &rp_id) {
            return Err(InvalidPasskeySettings::Elsewhere { rp_id, host: text::shown(host) });
        }
        Ok(rp_id)
    }
}

fn check_rp_id(rp_id: &str) -> Result<(), InvalidPasskeySettings> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_name = rp_id.len() <= RP_ID_BYTES_MAX
        && rp_id.split('.').all(is_label)
        && matches!(Host::parse(rp_id), Ok(Host::Domain(domain)) if domain == rp_id);
    is_name.then_some(()).ok_or_else(|| InvalidPasskeySettings::RpId(text::shown(rp_id)))
}

/// Browsers let a page use the passkeys of its host and of the domains that this is in; pages of `localhost` need no TLS.
fn check_origin(origin: &str, rp_id: Option<&str>) -> Result<(), InvalidPasskeySettings> {
    let wrong = || InvalidPasskeySettings::Origin(text::shown(origin));
    // Apps for phones have origins of their own, which say no host.
    if origin.starts_with("android:apk-key-hash:") || origin.starts_with("ios:bundle-id:") {
        return Ok(());
    }
    let url = Url::parse(origin).map_err(|_| wrong())?;
    let host = url.host_str().ok_or_else(wrong)?;
    let is_local = host == "localhost" || host.ends_with(".localhost");
    let is_secure = url.scheme() == "https" || (url.scheme() == "http" && is_local);
    if !is_secure || url.origin().ascii_serialization() != origin {
        return Err(wrong());
    }
    match rp_id {
        Some(rp_id) if !is_within(host, rp_id) => {
            Err(InvalidPasskeySettings::Stranger { origin: origin.to_owned(), rp_id: rp_id.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Whether pages of this host may use passkeys of that name.
fn is_within(host: &str, rp_id: &str) -> bool {
    host == rp_id || host.strip_suffix(rp_id).is_some_and(|rest| rest.ends_with('.'))
}

const fn timeout() -> u64 {
    TIMEOUT_SECS_MAX
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    parse_span(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}
