//! The configuration file: TOML, as docs/POLICY.md has it: the policy, whose tokens are taken, who is asked of callers, and where
//! the backend's word counts.
//!
//! ```text
//! text ─► tables (`schema`): what is unknown or of another kind is an error, with a suggestion ─► rules: what cannot be meant is
//!                                                                 one too, all of them at once ─► Config
//! ```
//!
//! A file counts whole or not at all. Flags say where a server is and what it serves; nothing of it stands in both.

mod audit;
mod error;
mod firewall;
mod schema;
#[cfg(test)]
mod second;
#[cfg(test)]
mod tests;
mod watch;

use std::{fs, path::Path, path::PathBuf};

pub use error::{ConfigError, ConfigErrors};

use crate::{
    door::{
        firewall::{Firewall, FirewallSettings, InvalidList},
        hook::{Hook, HookSettings, InvalidHookSettings},
        passkeys::{InvalidPasskeySettings, PasskeySettings, Passkeys},
        policy::rules::Rules,
        tokens::{InvalidTokenSettings, TokenSettings, Tokens},
    },
    lines::Duologue,
    services::http::{VouchSettings, Vouches},
    watch::audit::settings::AuditSettings,
    watch::settings::WatchSettings,
};

/// The longest file, in bytes.
const FILE_BYTES_MAX: u64 = 1_024 * 1_024;

/// What a configuration file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
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
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// Everything that is wrong in it, with line and column, and what may have been meant.
    pub fn read(path: &Path) -> Result<Self, ConfigErrors> {
        let shown = path.display().to_string();
        let unreadable = |why: String| ConfigErrors::whole(&shown, why);
        let len = fs::metadata(path).map_err(|error| unreadable(format!("cannot be read: {error}")))?.len();
        if len > FILE_BYTES_MAX {
            return Err(unreadable(format!("has {len} bytes, and a configuration has {FILE_BYTES_MAX} at most")));
        }
        let text = fs::read_to_string(path).map_err(|error| unreadable(format!("cannot be read: {error}")))?;
        Self::parse(&shown, &text)
    }

    /// Reads a text, which the errors call `name`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigErrors> {
        let schema::Read { rules, as_sent, token, hook, vouch, passkey, firewall, audit, watch } =
            schema::read(text).map_err(|errors| ConfigErrors::new(name, text, errors))?;
        let rules = Rules::new(rules);
        let rules = if as_sent { rules.as_sent() } else { rules };
        Ok(Self { rules, token, hook, vouch, passkey, firewall, audit, watch })
    }
}

/// The file that a running server was started with.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    path: PathBuf,
    /// Which tokens are taken since the start.
    token: Option<TokenSettings>,
    /// For whom passkeys are made since the start.
    passkey: Option<PasskeySettings>,
    /// Who is asked since the start.
    hook: Option<HookSettings>,
    /// Of the start.
    watch: WatchSettings,
    /// How the audit log is written since the start.
    audit: Option<Option<AuditSettings>>,
    /// Followed by the service `http`.
    vouches: Vouches,
}

impl ConfigFile {
    /// Reads that file, and will find it again wherever the process goes.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn open(path: &Path) -> Result<(Self, Config), ConfigErrors> {
        let config = Config::read(path)?;
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let vouches = Vouches::new(config.vouch.clone().unwrap_or_default());
        let (token, hook, passkey) = (config.token.clone(), config.hook.clone(), config.passkey.clone());
        let watch = config.watch.clone();
        let audit = config.audit.clone();
        Ok((Self { path, token, hook, passkey, audit, watch, vouches }, config))
    }

    /// Who judges the tokens that are taken; none if none are. A file of keys stands beside this one.
    ///
    /// # Errors
    /// If the settings cannot be used.
    pub fn tokens(&self) -> Result<Option<Tokens>, InvalidTokenSettings> {
        self.token.clone().map(|settings| Tokens::new(settings, self.directory())).transpose()
    }

    /// For whom passkeys are made by a server whose address has this host; none if none are.
    ///
    /// # Errors
    /// If the settings cannot be used there.
    pub fn passkeys(&self, host: &str) -> Result<Option<Passkeys>, InvalidPasskeySettings> {
        self.passkey.clone().map(|settings| Passkeys::new(settings, host)).transpose()
    }

    /// Who is asked of everybody that connects to a server whose own pages have this origin; none if nobody is.
    ///
    /// # Errors
    /// If the settings cannot be used.
    pub fn hook(&self, own_origin: &str) -> Result<Option<Hook>, InvalidHookSettings> {
        self.hook.clone().map(|settings| Hook::new(settings, own_origin)).transpose()
    }

    /// Where the backend vouches for who logs in, as the file says it, now and after each reload: for
    /// [`Http::vouching_by`](crate::services::http::Http::vouching_by).
    #[must_use]
    pub fn vouches(&self) -> Vouches {
        self.vouches.clone()
    }

    /// Has a server let in whom these settings of the file let in. Files of networks stand beside this one.
    ///
    /// # Errors
    /// If one of those files cannot be used.
    pub fn set_firewall(&self, settings: FirewallSettings, duologue: &Duologue) -> Result<(), InvalidList> {
        duologue.set_firewall(settings, self.directory())
    }

    /// Looks at the files that these settings of the file name.
    ///
    /// # Errors
    /// If one of them cannot be used.
    pub fn check_firewall(&self, settings: FirewallSettings) -> Result<(), InvalidList> {
        Firewall::load(settings, self.directory()).map(drop)
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The rules of the watch, and on whom no measure falls, as the file said it at the start.
    #[must_use]
    pub const fn watch(&self) -> &WatchSettings {
        &self.watch
    }

    /// How the audit log is written, `Some(None)` if it is to be none; none if the file has no `[audit]`.
    #[must_use]
    pub const fn audit(&self) -> Option<&Option<AuditSettings>> {
        self.audit.as_ref()
    }

    /// Whose tokens are taken.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.token.as_ref().map(|settings| settings.issuer.as_str())
    }

    /// Reads it again, and lets what it says count from now on, for open lines too.
    ///
    /// # Errors
    /// What is wrong in it; then everything stays as it was.
    pub fn reload(&self, duologue: &Duologue) -> Result<Config, ConfigErrors> {
        let config = Config::read(&self.path)?;
        let changed = [
            ("door.token", config.token != self.token),
            ("door.hook", config.hook != self.hook),
            ("door.passkey", config.passkey != self.passkey),
            ("audit", config.audit != self.audit),
        ];
        if let Some((table, _)) = changed.iter().find(|(_, has_changed)| *has_changed) {
            let why = format!(
                "has another [{table}] than at the start, and that cannot change while the server runs: start it again, or \
                 write there what stood there"
            );
            return Err(ConfigErrors::whole(&self.path.display().to_string(), why));
        }
        let shown = self.path.display().to_string();
        let firewall = Firewall::load(config.firewall.clone(), self.directory())
            .map_err(|error| ConfigErrors::whole(&shown, format!("has a [firewall] that cannot be used: {error}")))?;
        self.vouches.set(config.vouch.clone().unwrap_or_default());
        duologue.put_firewall(firewall);
        duologue.set_rules(config.rules.clone());
        duologue.set_watch(&config.watch);
        Ok(config)
    }
}
