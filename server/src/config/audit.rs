//! The table `[audit]`: whether there is an audit log, and how it is written. docs/AUDIT.md says the same to owners.

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use url::Url;

use super::schema::Reader;
use crate::door::{
    fetch,
    quantity::{parse_size, parse_span},
};
use crate::watch::audit::settings::{Addresses, AuditSettings, Syslog};

/// Lines under one signature.
const LINES_MAX: i64 = 10_000;
/// A file holds some hundred lines at least, and fits into memory where it is packed.
const SIZE_MIN: u64 = 64 * 1_024;
const SIZE_MAX: u64 = 1_024 * 1_024 * 1_024;
const DAY_SECS: u64 = 24 * 60 * 60;
/// What a file's name and its owner outlive.
const YEARS_SECS: u64 = 100 * 366 * DAY_SECS;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    #[serde(default = "yes")]
    on: bool,
    #[serde(default)]
    addresses: Addresses,
    #[serde(default)]
    sign_lines: Option<Spanned<i64>>,
    #[serde(default)]
    sign_every: Option<Spanned<String>>,
    #[serde(default)]
    size: Option<Spanned<String>>,
    #[serde(default)]
    age: Option<Spanned<String>>,
    #[serde(default)]
    keep: Option<Spanned<String>>,
    #[serde(default)]
    syslog: Option<Spanned<String>>,
    #[serde(default)]
    webhook: Option<Spanned<String>>,
}

const fn yes() -> bool {
    true
}

impl Table {
    /// What it says; none, if there is to be no audit log.
    pub(super) fn read(&self, reader: &mut Reader) -> Option<AuditSettings> {
        let mut settings = AuditSettings { addresses: self.addresses, ..AuditSettings::default() };
        if let Some(lines) = &self.sign_lines {
            match u32::try_from(*lines.get_ref()).ok().filter(|_| (1..=LINES_MAX).contains(lines.get_ref())) {
                Some(lines) => settings.lines = lines,
                None => reader.says(lines.span(), format!("`sign_lines` is a number of 1 to {LINES_MAX}")),
            }
        }
        let every = self
            .sign_every
            .as_ref()
            .map(|it| span(reader, it, 1, DAY_SECS, "`sign_every` is 1s to 1d: write it as 5m"));
        settings.every = every.flatten().unwrap_or(settings.every);
        let age = self
            .age
            .as_ref()
            .map(|it| span(reader, it, 60 * 60, 366 * DAY_SECS, "`age` is 1h to 366d: write it as 7d"));
        settings.age = age.flatten().unwrap_or(settings.age);
        let keep = "`keep` is 1d to 100 years: write it as 365d, or leave it out to keep all";
        settings.keep = self.keep.as_ref().and_then(|it| span(reader, it, DAY_SECS, YEARS_SECS, keep));
        if let Some(size) = &self.size {
            match parse_size(size.get_ref()).ok().filter(|len| (SIZE_MIN..=SIZE_MAX).contains(len)) {
                Some(len) => settings.size = len,
                None => reader.says(size.span(), "`size` is 64KiB to 1GiB: write it as 16MB"),
            }
        }
        if let Some(syslog) = &self.syslog {
            match Syslog::parse(syslog.get_ref()) {
                Ok(to) => settings.syslog = Some(to),
                Err(wrong) => reader.says(syslog.span(), wrong),
            }
        }
        if let Some(webhook) = &self.webhook {
            match Url::parse(webhook.get_ref()).ok().filter(fetch::may_be_asked) {
                Some(url) => settings.webhook = Some(url),
                None => reader.says(
                    webhook.span(),
                    "a webhook is an https address, or an http one of this machine such as http://127.0.0.1:3000/audit",
                ),
            }
        }
        self.on.then_some(settings)
    }
}

fn span(reader: &mut Reader, text: &Spanned<String>, min: u64, max: u64, wrong: &str) -> Option<Duration> {
    let secs = parse_span(text.get_ref()).ok().filter(|secs| (min..=max).contains(secs));
    if secs.is_none() {
        reader.says(text.span(), wrong);
    }
    secs.map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn everything_that_the_table_can_say_is_read() {
        let text = "[audit]\naddresses = \"hashed\"\nsign_lines = 10\nsign_every = \"30s\"\nsize = \"64KB\"\nage = \"1d\"\n\
                    keep = \"365d\"\nsyslog = \"tls:logs.example:6514\"\nwebhook = \"https://a.example/audit\"\n";
        // 64 KB are 64,000 bytes, and below the least.
        let text = text.replace("64KB", "100KB");
        let audit = Config::parse("a.toml", &text).unwrap_or_else(|errors| panic!("{errors}")).audit;
        let settings = AuditSettings {
            addresses: Addresses::Hashed,
            lines: 10,
            every: Duration::from_secs(30),
            size: 100_000,
            age: Duration::from_secs(DAY_SECS),
            keep: Some(Duration::from_secs(365 * DAY_SECS)),
            syslog: Some(Syslog::Tls("logs.example:6514".to_owned())),
            webhook: Url::parse("https://a.example/audit").ok(),
        };
        assert_eq!(audit, Some(Some(settings)));
        let of = |text: &str| Config::parse("a.toml", text).expect(text).audit;
        assert_eq!(of("[audit]\non = false\n"), Some(None));
        assert_eq!(of("[audit]\n"), Some(Some(AuditSettings::default())));
        assert_eq!(of(""), None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (line, said) in [
            ("adresses = \"whole\"", "did you mean `addresses`?"),
            ("addresses = \"half\"", "unknown variant"),
            ("on = \"yes\"", "expected a boolean"),
            ("sign_lines = 0", "1 to 10000"),
            ("sign_every = \"0s\"", "1s to 1d"),
            ("size = \"1KB\"", "64KiB to 1GiB"),
            ("age = \"1s\"", "1h to 366d"),
            ("keep = \"1h\"", "1d to 100 years"),
            ("keep = \"soon\"", "365d"),
            ("syslog = \"/dev/log\"", "unix:/dev/log"),
            ("syslog = \"tcp:logs.example\"", "tcp:HOST:PORT"),
            ("syslog = \"udp:logs.example:0\"", "udp:HOST:PORT"),
            ("webhook = \"http://a.example/\"", "an https address"),
            ("webhook = \"https://user:word@a.example/\"", "an https address"),
        ] {
            let errors = Config::parse("a.toml", &format!("[audit]\n{line}\n")).expect_err(line);
            let error = &errors.errors()[0];
            assert!(error.line == 2 && error.message.contains(said), "{line}: {error:?}");
        }
    }
}
