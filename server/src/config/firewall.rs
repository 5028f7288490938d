//! `[firewall]` and its tables. docs/WATCH.md says the same to owners.

use std::num::NonZeroU32;

use serde::Deserialize;
use toml::Spanned;

use super::{
    error::did_you_mean,
    schema::{Number, Reader, Texts},
    server::path,
};
use crate::door::firewall::{Budgets, CountryList, CountrySettings, FirewallSettings, Otherwise, country, network};

const WORDS: [&str; 2] = ["allow", "deny"];

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    #[serde(default)]
    allow: Option<Spanned<Texts>>,
    #[serde(default)]
    deny: Option<Spanned<Texts>>,
    #[serde(default)]
    allow_files: Option<Spanned<Texts>>,
    #[serde(default)]
    deny_files: Option<Spanned<Texts>>,
    #[serde(default)]
    exempt: Option<Spanned<Texts>>,
    #[serde(default)]
    otherwise: Option<Spanned<String>>,
    #[serde(default)]
    countries: Option<Spanned<Countries>>,
    #[serde(default)]
    address: OfStrangers,
    #[serde(default)]
    identity: OfIdentity,
    #[serde(default)]
    all: OfStrangers,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Countries {
    file: Spanned<String>,
    #[serde(default)]
    allow: Option<Spanned<Texts>>,
    #[serde(default)]
    deny: Option<Spanned<Texts>>,
    #[serde(default)]
    unknown: Option<Spanned<String>>,
}

/// What an address may have, or all together.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfStrangers {
    #[serde(default)]
    connections_per_minute: Option<Spanned<Number>>,
    #[serde(default)]
    handshakes_per_minute: Option<Spanned<Number>>,
    #[serde(default)]
    messages_per_second: Option<Spanned<Number>>,
    #[serde(default)]
    bytes_per_second: Option<Spanned<Number>>,
    #[serde(default)]
    requests_per_second: Option<Spanned<Number>>,
}

/// What an identity may have, which nobody has before his handshake.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfIdentity {
    #[serde(default)]
    handshakes_per_minute: Option<Spanned<Number>>,
    #[serde(default)]
    messages_per_second: Option<Spanned<Number>>,
    #[serde(default)]
    bytes_per_second: Option<Spanned<Number>>,
    #[serde(default)]
    requests_per_second: Option<Spanned<Number>>,
}

impl Reader {
    pub(super) fn firewall(&mut self, table: &Table) -> FirewallSettings {
        let default = FirewallSettings::default();
        let OfIdentity { handshakes_per_minute, messages_per_second, bytes_per_second, requests_per_second } =
            &table.identity;
        let identity = [&None, handshakes_per_minute, messages_per_second, bytes_per_second, requests_per_second];
        let otherwise = table.otherwise.as_ref().map(|word| self.word("otherwise", word)).unwrap_or_default();
        let settings = FirewallSettings {
            allow: self.list(table.allow.as_ref(), network),
            deny: self.list(table.deny.as_ref(), network),
            allow_files: self.list(table.allow_files.as_ref(), path),
            deny_files: self.list(table.deny_files.as_ref(), path),
            exempt: self.list(table.exempt.as_ref(), network),
            otherwise,
            countries: table.countries.as_ref().and_then(|countries| self.countries(countries)),
            address: self.budgets(table.address.keys(), default.address),
            identity: self.budgets(identity, default.identity),
            all: self.budgets(table.all.keys(), default.all),
        };
        let is_any = settings.countries.as_ref().is_some_and(|it| matches!(it.list, CountryList::Allow(_)))
            || !settings.allow.is_empty()
            || !settings.allow_files.is_empty();
        if let Some(word) = table.otherwise.as_ref().filter(|_| otherwise == Otherwise::Deny && !is_any) {
            self.says(word.span(), "this would let nobody in but this machine: name who may come by `allow`");
        }
        settings
    }

    fn countries(&mut self, table: &Spanned<Countries>) -> Option<CountrySettings> {
        let Countries { file, allow, deny, unknown } = table.get_ref();
        let list = match (allow, deny) {
            (Some(allow), None) => CountryList::Allow(self.list(Some(allow), country)),
            (None, Some(deny)) => CountryList::Deny(self.list(Some(deny), country)),
            (Some(_), Some(_)) | (None, None) => {
                self.says(
                    table.span(),
                    "of countries, name either those that may connect, by `allow`, or those that may not, by `deny`",
                );
                return None;
            }
        };
        let of_list = if matches!(list, CountryList::Allow(_)) { Otherwise::Deny } else { Otherwise::Allow };
        let unknown = unknown.as_ref().map_or(of_list, |word| self.word("unknown", word));
        match path(file.get_ref()) {
            Ok(file) => Some(CountrySettings { file, list, unknown }),
            Err(error) => {
                self.says(file.span(), error);
                None
            }
        }
    }

    fn budgets(&mut self, keys: [&Option<Spanned<Number>>; 5], default: Budgets) -> Budgets {
        let [connections, handshakes, messages, bytes, requests] = keys;
        let mut count = |key: &str, number: &Option<Spanned<Number>>, default: Option<NonZeroU32>| match number {
            Some(number) => self.rate(key, number),
            None => default,
        };
        let connections = count("connections_per_minute", connections, default.connections);
        let handshakes = count("handshakes_per_minute", handshakes, default.handshakes);
        let messages = count("messages_per_second", messages, default.messages);
        let requests = count("requests_per_second", requests, default.requests);
        let bytes = bytes.as_ref().map_or(default.bytes, |bytes| self.size("bytes_per_second", bytes));
        Budgets { connections, handshakes, messages, bytes, requests }
    }

    fn rate(&mut self, key: &str, rate: &Spanned<Number>) -> Option<NonZeroU32> {
        let found = match rate.get_ref() {
            Number::Number(number) => u32::try_from(*number).ok().and_then(NonZeroU32::new),
            Number::Text(_) => None,
        };
        if found.is_none() {
            self.says(rate.span(), format!("`{key}` is a number of 1 to {}; leave it out for the default", u32::MAX));
        }
        found
    }

    fn word(&mut self, key: &str, word: &Spanned<String>) -> Otherwise {
        match word.get_ref().as_str() {
            "allow" => Otherwise::Allow,
            "deny" => Otherwise::Deny,
            other => {
                let meant = did_you_mean(other, WORDS.into_iter(), '"');
                self.says(word.span(), format!("`{key}` is \"allow\" or \"deny\"{meant}"));
                Otherwise::default()
            }
        }
    }
}

impl OfStrangers {
    const fn keys(&self) -> [&Option<Spanned<Number>>; 5] {
        let Self {
            connections_per_minute,
            handshakes_per_minute,
            messages_per_second,
            bytes_per_second,
            requests_per_second,
        } = self;
        [connections_per_minute, handshakes_per_minute, messages_per_second, bytes_per_second, requests_per_second]
    }
}
