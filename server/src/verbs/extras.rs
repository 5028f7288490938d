//! The services that an owner has asked for.

use std::path::PathBuf;

use anyhow::{Context, bail};
use duologue_server::{
    ConfigFile, Duologue,
    services::{
        desk::Desk,
        drop::{DropError, Drops},
        http::Http,
        pair::Pair,
    },
    settings::ServerSettings,
};

use super::wrong_usage;

/// How much the directory of files may hold unless told.
const DROP_QUOTA: u64 = 10_000_000_000;

/// Services beside those that are always there.
pub(crate) struct Extras {
    drops: Option<Drops>,
    http: Option<Http>,
    pair: Option<Pair>,
    desk: Option<Desk>,
}

impl Extras {
    /// Those that settings ask for, with the directory for files where none was named.
    pub(crate) fn open(
        settings: &ServerSettings,
        directory: Option<PathBuf>,
        pair: Option<Pair>,
        desk: Option<Desk>,
    ) -> anyhow::Result<Self> {
        Ok(Self { drops: drops(settings, directory)?, http: http(settings)?, pair, desk })
    }

    /// Who sits at the terminal, if somebody does.
    pub(crate) fn desk(&self) -> Option<Desk> {
        self.desk.clone()
    }

    /// Their labels.
    pub(crate) fn labels(&self) -> Vec<&'static str> {
        let all = [
            ("echo", true),
            ("desk", self.desk.is_some()),
            ("drop", self.drops.is_some()),
            ("http", self.http.is_some()),
            ("pair", self.pair.is_some()),
        ];
        all.into_iter().filter_map(|(label, is)| is.then_some(label)).collect()
    }

    /// Puts them behind their labels.
    pub(crate) fn serve(self, mut duologue: Duologue, file: &ConfigFile) -> Duologue {
        if let Some(desk) = self.desk {
            duologue = duologue.service("desk", desk);
        }
        if let Some(drops) = self.drops {
            duologue = duologue.service("drop", drops);
        }
        if let Some(http) = self.http {
            duologue = duologue.service("http", http.vouching_by(file.vouches()));
        }
        if let Some(pair) = self.pair {
            duologue = duologue.service("pair", pair);
        }
        duologue
    }
}

/// What can be wrong in what settings say of them, before any is opened.
pub(crate) fn judge(settings: &ServerSettings) -> anyhow::Result<()> {
    match &settings.drop {
        Some(drop) if drop.exists() && !drop.is_dir() => {
            bail!("--drop {}: that is no directory; name one, which is made if it is missing", drop.display())
        }
        _ => http(settings).map(drop),
    }
}

/// Where requests go.
fn http(settings: &ServerSettings) -> anyhow::Result<Option<Http>> {
    let Some(backend) = &settings.http else {
        let needless = settings.http_host.is_some()
            || settings.http_refuse_headers.is_some()
            || settings.http_allow_headers.is_some()
            || settings.http_vouch_paths.is_some()
            || settings.http_without_cookies == Some(true);
        return match needless {
            true => Err(wrong_usage("what begins with --http- is of an HTTP server: name it by --http")),
            false => Ok(None),
        };
    };
    let mut http = said_by("--http", Http::new(backend))?;
    for header in settings.http_refuse_headers.iter().flatten() {
        http = said_by("--http-refuse-header", http.refusing_header(header))?;
    }
    for header in settings.http_allow_headers.iter().flatten() {
        http = said_by("--http-allow-header", http.allowing_header(header))?;
    }
    for path in settings.http_vouch_paths.iter().flatten() {
        http = said_by("--http-vouch-path", http.vouching_at(path))?;
    }
    if settings.http_without_cookies == Some(true) {
        http = http.without_cookies();
    }
    match &settings.http_host {
        Some(host) => Ok(Some(said_by("--http-host", http.with_host(host))?)),
        None => Ok(Some(http)),
    }
}

fn said_by<E: std::fmt::Display>(flag: &str, http: Result<Http, E>) -> anyhow::Result<Http> {
    http.map_err(|error| wrong_usage(format!("{flag}: {error}")))
}

/// Where files go that devices send, if there is a directory for them.
fn drops(settings: &ServerSettings, default: Option<PathBuf>) -> anyhow::Result<Option<Drops>> {
    let Some(directory) = settings.drop.clone().or(default) else { return Ok(None) };
    match Drops::open(&directory, settings.drop_quota.unwrap_or(DROP_QUOTA)) {
        Ok(drops) => Ok(Some(drops)),
        // What the service says of its disk is meant for a device.
        Err(DropError::Disk(cause)) => {
            Err(cause).with_context(|| format!("cannot take files into {}", directory.display()))
        }
        Err(error) => Err(error.into()),
    }
}
