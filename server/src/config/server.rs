//! `[server]`, `[tls]`, `[services]`, `[limits]`, `[sessions]` and `[log]`: what flags can say too. docs/OPERATING.md says the same to owners.

use std::{fmt::Display, path::PathBuf};

use clap::{ValueEnum, builder::PossibleValue};
use serde::Deserialize;
use toml::Spanned;

use super::{
    error::did_you_mean,
    schema::{Reader, Texts},
    settings::{
        LogFormat, LogLevel, ServerSettings, Settings, parse_collector, parse_console, parse_memory, parse_socket,
    },
};
use crate::{
    door::quantity::parse_size,
    front::{
        acme::settings::{self as acme, AcmeSettings},
        address::Address,
        proxied::TrustedProxies,
    },
    services::http::Http,
};

type Text = Option<Spanned<String>>;

/// All of those tables.
#[derive(Default)]
pub(super) struct Tables<'a> {
    pub(super) server: Option<&'a Server>,
    pub(super) tls: Option<&'a Tls>,
    pub(super) services: Option<&'a Services>,
    pub(super) limits: Option<&'a Limits>,
    pub(super) sessions: Option<&'a Sessions>,
    pub(super) log: Option<&'a Log>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    url: Text,
    listen: Text,
    state: Text,
    behind_proxy: Option<bool>,
    trusted_proxies: Option<Texts>,
    status: Text,
    http2: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    #[serde(default)]
    certificate: Vec<Certificate>,
    tls12: Option<bool>,
    acme: Option<Spanned<Acme>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acme {
    names: Option<Texts>,
    email: Text,
    directory: Text,
    agree_to_terms: Option<bool>,
    ca: Text,
    http: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Certificate {
    cert: Spanned<String>,
    key: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Services {
    desk: Option<bool>,
    pairing: Option<bool>,
    device_keys: Option<bool>,
    drop: Option<Drop>,
    http: Option<Backend>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drop {
    directory: Spanned<String>,
    quota: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Backend {
    backend: Spanned<String>,
    host: Text,
    refuse_headers: Option<Texts>,
    allow_headers: Option<Texts>,
    cookies: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    memory: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sessions {
    keep: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    level: Text,
    format: Text,
    traces: Text,
    console: Text,
}

impl Tables<'_> {
    /// What they say. What is of the door and of the watch is read with them.
    pub(super) fn read(&self, reader: &mut Reader) -> Settings {
        let mut settings = Settings::default();
        let Settings { site, server } = &mut settings;
        if let Some(table) = self.server {
            let url =
                |text: &str| Address::parse(text).map_err(|error| format!("`url` {error}")).map(|_| text.to_owned());
            site.url = reader.said(&table.url, url);
            site.listen = reader.said(&table.listen, parse_socket);
            site.behind_proxy = table.behind_proxy;
            site.trusted_proxies =
                reader.all(&table.trusted_proxies, |text| TrustedProxies::default().with(text).map(drop));
            server.state = reader.said(&table.state, path);
            server.status = reader.said(&table.status, parse_socket);
            server.http2 = table.http2;
        }
        site.tls12 = self.tls.and_then(|table| table.tls12);
        if let Some(table) = self.tls.filter(|table| !table.certificate.is_empty()) {
            let both = table.certificate.iter().map(|it| (reader.one(&it.cert, path), reader.one(&it.key, path)));
            let (certificates, keys): (Vec<_>, Vec<_>) = both.unzip();
            site.certificates = certificates.into_iter().collect();
            site.keys = keys.into_iter().collect();
        }
        if let Some(table) = self.services {
            (site.desk, site.pairing) = (table.desk, table.pairing);
            server.device_keys = table.device_keys;
            if let Some(table) = &table.drop {
                server.drop = reader.one(&table.directory, path);
                server.drop_quota = reader.said(&table.quota, parse_size);
            }
            if let Some(table) = &table.http {
                backend(table, reader, server);
            }
        }
        if let Some(table) = self.limits {
            server.memory = reader.said(&table.memory, parse_memory);
        }
        server.keep_sessions = self.sessions.and_then(|table| table.keep);
        if let Some(table) = self.log {
            server.log_level = reader.word_of("level", &table.level, LogLevel::value_variants());
            server.log_format = reader.word_of("format", &table.format, LogFormat::value_variants());
            server.traces = reader.said(&table.traces, parse_collector);
            server.console = reader.said(&table.console, parse_console);
        }
        settings
    }
}

impl Tls {
    /// How certificates are got, if they are.
    pub(super) fn acme(&self, reader: &mut Reader) -> Option<AcmeSettings> {
        let spanned = self.acme.as_ref()?;
        let table = spanned.get_ref();
        if table.agree_to_terms != Some(true) {
            let message = "`agree_to_terms = true` says that you agree to the issuer's terms of service: it gives no certificate without";
            reader.says(spanned.span(), message);
        }
        let names = reader.all(&table.names, |text| acme::name(text).map(drop)).unwrap_or_default();
        Some(AcmeSettings {
            names: names.iter().map(|name| name.to_ascii_lowercase()).collect(),
            email: reader.said(&table.email, acme::email),
            directory: reader.said(&table.directory, acme::directory).unwrap_or(AcmeSettings::default().directory),
            ca: reader.said(&table.ca, path),
            http: reader.said(&table.http, parse_socket),
        })
    }
}

fn backend(table: &Backend, reader: &mut Reader, server: &mut ServerSettings) {
    let http = reader.one(&table.backend, Http::new);
    // Where the address is none, its headers are read beside another.
    let http = || http.clone().or_else(|| Http::new("http://127.0.0.1").ok());
    let checked = |made: Option<Result<Http, String>>| made.map_or(Ok(()), |made| made.map(drop));
    server.http = Some(table.backend.get_ref().clone());
    let host = |text: &str| checked(http().map(|it| it.with_host(text).map_err(|error| error.to_string())));
    server.http_host = reader.said(&table.host, |text| host(text).map(|()| text.to_owned()));
    let refuse = |text: &str| checked(http().map(|it| it.refusing_header(text).map_err(|error| error.to_string())));
    server.http_refuse_headers = reader.all(&table.refuse_headers, refuse);
    let allow = |text: &str| checked(http().map(|it| it.allowing_header(text).map_err(|error| error.to_string())));
    server.http_allow_headers = reader.all(&table.allow_headers, allow);
    server.http_without_cookies = table.cookies.map(|keeps| !keeps);
}

impl Reader {
    /// What a text says, if it is there and says something.
    fn said<T, E: Display>(&mut self, text: &Text, read: impl Fn(&str) -> Result<T, E>) -> Option<T> {
        text.as_ref().and_then(|text| self.one(text, read))
    }

    fn one<T, E: Display>(&mut self, text: &Spanned<String>, read: impl Fn(&str) -> Result<T, E>) -> Option<T> {
        read(text.get_ref()).map_err(|error| self.says(text.span(), error.to_string())).ok()
    }

    /// A list of texts, each of which `check` takes.
    pub(super) fn all<E: Display>(
        &mut self,
        texts: &Option<Texts>,
        check: impl Fn(&str) -> Result<(), E>,
    ) -> Option<Vec<String>> {
        let texts = texts.as_ref()?;
        for text in texts {
            let _ = self.one(text, &check);
        }
        Some(texts.iter().map(|text| text.get_ref().clone()).collect())
    }

    /// One of some words, as the flag has them.
    fn word_of<T: ValueEnum>(&mut self, key: &str, given: &Text, all: &[T]) -> Option<T> {
        let given = given.as_ref()?;
        let words: Vec<_> = all.iter().filter_map(ValueEnum::to_possible_value).collect();
        let words: Vec<_> = words.iter().map(PossibleValue::get_name).collect();
        let found = all.iter().zip(&words).find(|(_, word)| *word == given.get_ref());
        if found.is_none() {
            let hint = did_you_mean(given.get_ref(), words.iter().copied(), '"');
            let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
            self.says(given.span(), format!("`{key}` is one of {}{hint}", words.join(", ")));
        }
        found.map(|(value, _)| value.clone())
    }
}

/// A file's or directory's name.
pub(super) fn path(text: &str) -> Result<PathBuf, &'static str> {
    match text.is_empty() || text.contains('\0') {
        true => Err("this is no file's name"),
        false => Ok(PathBuf::from(text)),
    }
}
