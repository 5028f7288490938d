//! Whom to ask, and for how long: the table `[door.hook]` of the configuration, or `--hook`.
//!
//! ```toml
//! [door.hook]
//! url = "http://127.0.0.1:3000/duologue"   # or unix:/run/app.sock:/duologue
//! timeout = "2s"
//! max_age = "12h"
//! cache = "5m"
//! unreachable = "refuse"                    # or "device"
//! cookies_prove = false
//! ```

use std::{path::Path, time::Duration};

use serde::{Deserialize, Deserializer, de};
use thiserror::Error;
use url::Url;

use crate::door::{
    fetch::{Whom, may_be_asked},
    quantity::parse_span,
};

/// The longest address, in bytes.
const TEXT_BYTES_MAX: usize = 512;
/// How long an answer may take unless told.
const TIMEOUT_SECS: u64 = 2;
/// And at most: it must fit into the 5 s of a verdict.
const TIMEOUT_SECS_MAX: u64 = 4;
/// What standing by its word lasts at most unless told: half a day.
const MAX_AGE_SECS: u64 = 12 * 60 * 60;
/// And what may be told: 31 days.
const MAX_AGE_SECS_MAX: u64 = 31 * 24 * 60 * 60;
/// How long an answer is remembered at most.
const CACHE_SECS_MAX: u64 = 5 * 60;

/// Whom to ask of callers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookSettings {
    /// `https`, `http` on this machine, or `unix:/run/app.sock`, with the path of the request behind another colon.
    pub url: String,
    /// How long an answer may take, in seconds. In a file a span such as `2s`.
    #[serde(default = "timeout", deserialize_with = "span")]
    pub timeout: u64,
    /// How long what it says holds at most, in seconds. In a file a span such as `12h`.
    #[serde(default = "max_age", deserialize_with = "span")]
    pub max_age: u64,
    /// How long an answer is remembered at most, in seconds. In a file a span such as `5m`.
    #[serde(default = "cache", deserialize_with = "span")]
    pub cache: u64,
    /// What becomes of those who come while it does not answer.
    #[serde(default)]
    pub unreachable: WithoutHook,
    /// Whether a cookie of the server's own page proves who somebody is, for that session. For owners with nobody between TLS
    /// and their people.
    #[serde(default)]
    pub cookies_prove: bool,
}

/// What becomes of those who come while the hook does not answer. Whoever is in stays, either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WithoutHook {
    /// They come again later: it might have refused them.
    #[default]
    Refuse,
    /// They have what their device's key alone gives.
    Device,
}

impl WithoutHook {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Refuse => "nobody new is let in",
            Self::Device => "devices have what their key alone gives",
        }
    }
}

/// Settings that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidHookSettings {
    /// An address that is no address, or not one that may be asked.
    #[error(
        "\"{0}\" is nowhere that may be asked: write an https address, an http one of this machine such as \
         http://127.0.0.1:3000/duologue, or unix:/run/app.sock:/duologue; whoever is on the way to another could answer in \
         its place"
    )]
    Address(String),
    /// A time that is none.
    #[error("`timeout` must be 1s to 4s: a caller waits for the answer")]
    Timeout,
    /// An age that is none.
    #[error("`max_age` must be 1 s to 31 days: write it as 12h")]
    MaxAge,
    /// A time that is none.
    #[error("`cache` must be 0s to 5m")]
    Cache,
}

impl HookSettings {
    /// This address; all else as a file says that names nothing else.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            timeout: TIMEOUT_SECS,
            max_age: MAX_AGE_SECS,
            cache: CACHE_SECS_MAX,
            unreachable: WithoutHook::Refuse,
            cookies_prove: false,
        }
    }

    /// Whether they can be used. Whether somebody answers is another question.
    ///
    /// # Errors
    /// If they cannot be meant.
    pub fn check(&self) -> Result<(), InvalidHookSettings> {
        self.whom().map(drop)
    }

    /// Looks at each of them.
    pub(super) fn whom(&self) -> Result<Whom, InvalidHookSettings> {
        if !(1..=TIMEOUT_SECS_MAX).contains(&self.timeout) {
            return Err(InvalidHookSettings::Timeout);
        }
        if !(1..=MAX_AGE_SECS_MAX).contains(&self.max_age) {
            return Err(InvalidHookSettings::MaxAge);
        }
        if self.cache > CACHE_SECS_MAX {
            return Err(InvalidHookSettings::Cache);
        }
        whom(&self.url).ok_or_else(|| InvalidHookSettings::Address(crate::watch::text::shown(&self.url)))
    }

    pub(super) const fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    pub(super) const fn cache(&self) -> Duration {
        Duration::from_secs(self.cache)
    }
}

fn whom(text: &str) -> Option<Whom> {
    let is_text = text.len() <= TEXT_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_text {
        return None;
    }
    match text.strip_prefix("unix:") {
        Some(rest) => {
            let (path, target) = match rest.split_once(":/") {
                Some((path, target)) => (path, format!("/{target}")),
                None => (rest, "/".to_owned()),
            };
            let path = Path::new(path);
            (path.is_absolute() && !target.contains('#')).then(|| Whom::Socket { path: path.to_owned(), target })
        }
        None => Url::parse(text).ok().filter(|url| may_be_asked(url) && url.fragment().is_none()).map(Whom::Url),
    }
}

const fn timeout() -> u64 {
    TIMEOUT_SECS
}

const fn max_age() -> u64 {
    MAX_AGE_SECS
}

const fn cache() -> u64 {
    CACHE_SECS_MAX
}

/// A span such as `2s`, `5m` or `12h`, in seconds.
fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    parse_span(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_of_this_machine_or_behind_tls() {
        let whom = |url: &str| HookSettings::new(url).whom();
        for good in [
            "http://127.0.0.1:3000/duologue",
            "http://localhost:3000",
            "http://[::1]:3000/x?y=z",
            "https://app.example/duologue",
        ] {
            assert!(matches!(whom(good), Ok(Whom::Url(_))), "{good}");
        }
        let socket = |path: &str, target: &str| Ok(Whom::Socket { path: path.into(), target: target.to_owned() });
        assert_eq!(whom("unix:/run/app.sock"), socket("/run/app.sock", "/"));
        assert_eq!(whom("unix:/run/app.sock:/duologue?v=1"), socket("/run/app.sock", "/duologue?v=1"));
        for bad in [
            "http://app.example/duologue",
            "http://10.0.0.1/",
            "ftp://127.0.0.1/",
            "unix:run/app.sock",
            "unix:",
            "127.0.0.1:3000",
            "http://user:word@127.0.0.1/",
            "http://127.0.0.1/#a",
            "http://127.0.0.1/a b",
            "",
        ] {
            assert!(matches!(whom(bad), Err(InvalidHookSettings::Address(_))), "{bad}");
        }
    }

    #[test]
    fn times_have_bounds_and_what_is_left_out_is_strict() {
        let settings: HookSettings =
            serde_json::from_value(serde_json::json!({ "url": "http://127.0.0.1/" })).expect("enough");
        assert_eq!(settings, HookSettings::new("http://127.0.0.1/"));
        let good = || HookSettings::new("http://127.0.0.1/");
        for (settings, error) in [
            (HookSettings { timeout: 0, ..good() }, InvalidHookSettings::Timeout),
            (HookSettings { timeout: 5, ..good() }, InvalidHookSettings::Timeout),
            (HookSettings { max_age: 0, ..good() }, InvalidHookSettings::MaxAge),
            (HookSettings { max_age: 32 * 86_400, ..good() }, InvalidHookSettings::MaxAge),
            (HookSettings { cache: 301, ..good() }, InvalidHookSettings::Cache),
        ] {
            assert_eq!(settings.whom(), Err(error));
        }
    }
}
