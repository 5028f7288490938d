//! Which tokens are taken, and what is read of them: the table `[door.token]` of the configuration.
//!
//! ```toml
//! [door.token]
//! issuer = "https://login.example"
//! audience = ["my-app"]
//! keys = "https://login.example/jwks.json"   # or a file; left out: found by the issuer's OpenID configuration
//! subject_claim = "sub"
//! groups_claim = "groups"
//! level_claim = "level"                      # left out: each token is worth level 2
//! max_age = "12h"
//! bearer_binds = false
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, de};
use thiserror::Error;
use url::Url;

use crate::door::{fetch::may_be_asked, quantity::parse_span};

/// The longest issuer, audience or name of a claim, in bytes.
const TEXT_BYTES_MAX: usize = 512;
/// How many audiences may be named.
const AUDIENCES_MAX: usize = 16;
/// What standing by a token lasts at most unless told: half a day.
const MAX_AGE_SECS: u64 = 12 * 60 * 60;
/// And what may be told: 31 days.
const MAX_AGE_SECS_MAX: u64 = 31 * 24 * 60 * 60;
/// Where an issuer says where its keys are (OpenID Connect Discovery 1.0, section 4).
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";

/// Which tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// Whose tokens: their `iss`, letter by letter.
    pub issuer: String,
    /// For whom: one of these must be in the token's `aud`. In a file one text, or a list.
    #[serde(deserialize_with = "one_or_more")]
    pub audience: Vec<String>,
    /// Where the issuer's keys are: an address, or a file. None: where its OpenID configuration says.
    #[serde(default)]
    pub keys: Option<String>,
    /// Which claim names the subject.
    #[serde(default = "subject_claim")]
    pub subject_claim: String,
    /// Which claim lists the subject's groups; `a.b` is `b` within `a`. A token without it has none.
    #[serde(default)]
    pub groups_claim: Option<String>,
    /// Which claim has the level, a number. 3 counts as 2: nothing but an assertion gives level 3. None: level 2.
    #[serde(default)]
    pub level_claim: Option<String>,
    /// How long standing by one token lasts at most, in seconds from when it was issued. In a file a span such as `12h`.
    #[serde(default = "max_age", deserialize_with = "span")]
    pub max_age: u64,
    /// Whether a token that is bound to no device binds the device that brings it to its subject.
    #[serde(default)]
    pub bearer_binds: bool,
}

/// Settings that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidTokenSettings {
    /// A text that is none, or too long.
    #[error("`{field}` must be 1 to {TEXT_BYTES_MAX} printable characters: write there what the issuer's tokens have")]
    Text {
        /// Which.
        field: &'static str,
    },
    /// No audience, or too many.
    #[error("`audience` must name 1 to {AUDIENCES_MAX} audiences: a token that is for anybody proves nothing here")]
    Audiences,
    /// A span that is none.
    #[error("`max_age` must be 1 s to 31 days: write it as 12h")]
    MaxAge,
    /// An address that is no address, or not one that may be asked.
    #[error("`{field}` = \"{text}\": keys come from an https address, or an http one of this machine: {remedy}")]
    Address {
        /// Which.
        field: &'static str,
        /// What it says.
        text: String,
        /// What to do.
        remedy: &'static str,
    },
}

/// Where keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    File(PathBuf),
    /// A key set.
    Url(Url),
    /// An OpenID configuration, which says where the key set is.
    Discovery(Url),
}

impl TokenSettings {
    /// Tokens of this issuer for this audience; all else as a file says that names nothing else.
    #[must_use]
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: vec![audience.into()],
            keys: None,
            subject_claim: subject_claim(),
            groups_claim: None,
            level_claim: None,
            max_age: max_age(),
            bearer_binds: false,
        }
    }

    /// Whether they can be used. Whether the keys can be had is another question.
    pub(crate) fn check(&self) -> Result<(), InvalidTokenSettings> {
        self.place(Path::new("")).map(drop)
    }

    /// Looks at each of them. A file is looked for from `directory`.
    pub(super) fn place(&self, directory: &Path) -> Result<Place, InvalidTokenSettings> {
        let optional = |field, text: &Option<String>| text.as_deref().map_or(Ok(()), |text| check(field, text));
        check("issuer", &self.issuer)?;
        check("subject_claim", &self.subject_claim)?;
        optional("groups_claim", &self.groups_claim)?;
        optional("level_claim", &self.level_claim)?;
        optional("keys", &self.keys)?;
        if self.audience.is_empty() || self.audience.len() > AUDIENCES_MAX {
            return Err(InvalidTokenSettings::Audiences);
        }
        self.audience.iter().try_for_each(|audience| check("audience", audience))?;
        if !(1..=MAX_AGE_SECS_MAX).contains(&self.max_age) {
            return Err(InvalidTokenSettings::MaxAge);
        }
        match &self.keys {
            Some(keys) if keys.contains("://") => askable("keys", keys).map(Place::Url),
            Some(file) => Ok(Place::File(directory.join(file))),
            None => {
                let issuer = self.issuer.trim_end_matches('/');
                let text = format!("{issuer}{DISCOVERY_PATH}");
                let url = askable("issuer", &text).map_err(|_| InvalidTokenSettings::Address {
                    field: "issuer",
                    text: self.issuer.clone(),
                    remedy: "name the file or the address of the issuer's key set by `keys`",
                })?;
                Ok(Place::Discovery(url))
            }
        }
    }
}

/// An address that keys may come from.
fn askable(field: &'static str, text: &str) -> Result<Url, InvalidTokenSettings> {
    let wrong = |remedy| InvalidTokenSettings::Address { field, text: text.to_owned(), remedy };
    let url = Url::parse(text).map_err(|_| wrong("write it as https://login.example/jwks.json"))?;
    if !may_be_asked(&url) {
        return Err(wrong("whoever is on the way could put keys of his own there"));
    }
    Ok(url)
}

fn check(field: &'static str, text: &str) -> Result<(), InvalidTokenSettings> {
    let is_right = (1..=TEXT_BYTES_MAX).contains(&text.len()) && crate::watch::text::shown(text) == text;
    if is_right { Ok(()) } else { Err(InvalidTokenSettings::Text { field }) }
}

fn subject_claim() -> String {
    "sub".to_owned()
}

fn max_age() -> u64 {
    MAX_AGE_SECS
}

/// A list, or one text without brackets.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "one text, or a list of texts")]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    })
}

/// A span such as `90s`, `30m`, `12h` or `7d`, in seconds.
fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    parse_span(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn place(settings: &TokenSettings) -> Result<Place, InvalidTokenSettings> {
        settings.place(Path::new("/etc/duologue"))
    }

    #[test]
    fn what_is_left_out_is_strict() {
        let settings: TokenSettings =
            serde_json::from_value(json!({ "issuer": "https://login.example", "audience": "app" })).expect("enough");
        assert_eq!(settings, TokenSettings::new("https://login.example", "app"));
        assert_eq!((settings.max_age, settings.bearer_binds), (43_200, false));
        let discovery = "https://login.example/.well-known/openid-configuration".parse().expect("an address");
        assert_eq!(place(&settings), Ok(Place::Discovery(discovery)));
    }

    #[test]
    fn keys_are_an_address_or_a_file_beside_the_configuration() {
        let with = |keys: &str| TokenSettings { keys: Some(keys.to_owned()), ..TokenSettings::new("us", "app") };
        assert_eq!(place(&with("jwks.json")), Ok(Place::File("/etc/duologue/jwks.json".into())));
        assert_eq!(place(&with("/srv/jwks.json")), Ok(Place::File("/srv/jwks.json".into())));
        for good in ["https://login.example/k", "http://127.0.0.1:8080/k", "http://localhost/k", "http://[::1]/k"] {
            assert!(matches!(place(&with(good)), Ok(Place::Url(_))), "{good}");
        }
        for bad in [
            "http://login.example/k",
            "ftp://login.example/k",
            "file:///etc/k",
            "https://user:word@login.example/k",
            "http://127.0.0.1.example/k",
            "https://",
        ] {
            let error = place(&with(bad)).expect_err(bad);
            assert!(matches!(error, InvalidTokenSettings::Address { field: "keys", .. }), "{bad}: {error}");
        }
        let error = place(&TokenSettings::new("us", "app")).expect_err("no address to look at").to_string();
        assert!(error.contains("`issuer` = \"us\"") && error.contains("by `keys`"), "{error}");
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let good = || TokenSettings { keys: Some("k".to_owned()), ..TokenSettings::new("us", "app") };
        for (settings, error) in [
            (TokenSettings { issuer: String::new(), ..good() }, InvalidTokenSettings::Text { field: "issuer" }),
            (TokenSettings { issuer: "a\nb".to_owned(), ..good() }, InvalidTokenSettings::Text { field: "issuer" }),
            (
                TokenSettings { groups_claim: Some("x".repeat(513)), ..good() },
                InvalidTokenSettings::Text { field: "groups_claim" },
            ),
            (TokenSettings { audience: Vec::new(), ..good() }, InvalidTokenSettings::Audiences),
            (TokenSettings { audience: vec!["a".to_owned(); 17], ..good() }, InvalidTokenSettings::Audiences),
            (TokenSettings { max_age: 0, ..good() }, InvalidTokenSettings::MaxAge),
            (TokenSettings { max_age: 32 * 86_400, ..good() }, InvalidTokenSettings::MaxAge),
        ] {
            assert_eq!(place(&settings), Err(error));
        }
        for (field, value) in
            [("max_age", json!("half a day")), ("max_age", json!(12)), ("audience", json!(7)), ("isuer", json!("x"))]
        {
            let mut file = json!({ "issuer": "us", "audience": ["app"] });
            file[field] = value;
            serde_json::from_value::<TokenSettings>(file).expect_err(field);
        }
    }
}
