//! The configuration: one file in TOML, as docs/OPERATING.md and docs/POLICY.md have it, and before it what flags and the environment
//! say (`settings`).
//!
//! ```text
//! text ─► tables (`tables`): what is unknown or of another kind is an error, with a suggestion ─► rules and settings: what cannot
//!                                                              be meant is one too, all of them at once ─► Config
//! ```
//!
//! A file counts whole or not at all.

mod api;
mod audit;
mod error;
mod firewall;
#[cfg(test)]
mod mistyped;
mod reload;
mod schema;
#[cfg(test)]
mod second;
mod server;
pub(crate) mod settings;
mod tables;
#[cfg(test)]
mod tests;
mod watch;

use std::{fs, path::Path};

pub use error::{ConfigError, ConfigErrors};
pub use reload::ConfigFile;
use settings::Settings;

use crate::{
    door::{
        firewall::FirewallSettings, hook::HookSettings, passkeys::PasskeySettings, policy::rules::Rules,
        programs::ApiSettings, tokens::TokenSettings,
    },
    front::acme::settings::AcmeSettings,
    services::http::VouchSettings,
    watch::{audit::settings::AuditSettings, settings::WatchSettings},
};

/// The longest file, in bytes.
const FILE_BYTES_MAX: u64 = 1_024 * 1_024;

/// What a configuration file says; unless told, what counts without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// What flags can say too.
    pub settings: Settings,
    /// How certificates are got; none if it has no `[tls.acme]`, or a flag says who has TLS.
    pub acme: Option<AcmeSettings>,
    /// Its rules: nothing else is open.
    pub rules: Rules,
    /// Which tokens are taken; none if it has no `[door.token]`.
    pub token: Option<TokenSettings>,
    /// Who is asked of everybody that connects; none if it has no `[door.hook]`.
    pub hook: Option<HookSettings>,
    /// Where the HTTP backend vouches for who logs in; none if it has no `[door.vouch]`.
    pub vouch: Option<VouchSettings>,
    /// For whom passkeys are made; none if it has no `[door.passkey]`.
    pub passkey: Option<PasskeySettings>,
    /// Which networks may connect, and how much each may have.
    pub firewall: FirewallSettings,
    /// Rules of the watch beside those that are shipped, and on whom no measure falls.
    pub watch: WatchSettings,
    /// How the audit log is written, `Some(None)` if it is to be none; none if it has no `[audit]`.
    pub audit: Option<Option<AuditSettings>>,
    /// Where the local API answers besides the owner's socket, and whom.
    pub api: ApiSettings,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// Everything that is wrong in it, with line and column, and what may have been meant.
    pub fn read(path: &Path) -> Result<Self, ConfigErrors> {
        Self::parse(&path.display().to_string(), &read_text(path)?)
    }

    /// Reads a text, which the errors call `name`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigErrors> {
        let schema::Read { settings, acme, rules, as_sent, token, hook, vouch, passkey, firewall, audit, watch, api } =
            schema::read(text).map_err(|errors| ConfigErrors::new(name, text, errors))?;
        let rules = Rules::new(rules);
        let rules = if as_sent { rules.as_sent() } else { rules };
        Ok(Self { settings, acme, rules, token, hook, vouch, passkey, firewall, audit, watch, api })
    }
}

fn read_text(path: &Path) -> Result<String, ConfigErrors> {
    let unreadable = |why: String| ConfigErrors::whole(&path.display().to_string(), why);
    let len = fs::metadata(path).map_err(|error| unreadable(format!("cannot be read: {error}")))?.len();
    if len > FILE_BYTES_MAX {
        return Err(unreadable(format!("has {len} bytes, and a configuration has {FILE_BYTES_MAX} at most")));
    }
    fs::read_to_string(path).map_err(|error| unreadable(format!("cannot be read: {error}")))
}
