//! `duologue check`: looks at a configuration as `serve` will, and changes nothing.

use std::path::PathBuf;

use anyhow::Context;
use duologue_server::{ConfigFile, Policy, ReadCertificates, settings::Settings};

use super::{certificates, extras, policy, say};

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
        opened.check_firewall(config.firewall).context("[firewall]")?;
        let Settings { site, server } = &config.settings;
        if let Some(acme) = config.acme {
            if let Some(ca) = &acme.ca {
                std::fs::File::open(ca)
                    .with_context(|| format!("cannot read {}", ca.display()))
                    .context("[tls.acme]")?;
            }
            if let Some(url) = &site.url {
                acme.for_host(super::parse_address(url)?.host_name()).context("[tls.acme]")?;
            }
        }
        ReadCertificates::of(&certificates::files(site)?).context("[[tls.certificate]]")?;
        // Which origins are its own, only the address says.
        policy(Policy::loopback(), server)?;
        extras::http(server)?;
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
