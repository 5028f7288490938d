//! `duologue check`: looks at a configuration as `serve` will, and changes nothing.

use std::path::PathBuf;

use anyhow::Context;
use duologue_server::{ConfigFile, ReadCertificates, settings::Settings};

use super::{certificates, judged, say};

/// The file that is looked at and written where none is named.
pub(crate) const FILE: &str = "duologue.toml";

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The file, as `serve --config` takes it.
    #[arg(value_name = "FILE", env = "DUOLOGUE_CONFIG", default_value = FILE)]
    file: PathBuf,
}

impl Check {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (opened, config) = ConfigFile::open_behind(Settings::default(), Some(&self.file))?;
        judged::everywhere(&opened, &config)?;
        let site = &config.settings.site;
        let address = site.url.as_deref().map(super::parse_address).transpose()?;
        let place = judged::place(&opened, &config, address.as_ref(), site.listen)?;
        ReadCertificates::of(&place.certificates).context("[[tls.certificate]]")?;
        let file = self.file.display();
        match config.rules.all().len() {
            0 => say(&format!("{file}: in order, with no rule: nothing is open")),
            number => say(&format!("{file}: in order, {number} rules")),
        }
        if site.tls12 == Some(true) {
            say(certificates::TLS12);
        }
        if site.url.is_none() {
            say("it has no `url` below [server], which `serve` then wants by --url");
        }
        Ok(())
    }
}
