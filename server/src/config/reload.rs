//! What a running server was started with: its file, and the flags before it. And how the file is read again.
//!
//! ```text
//! file, read again ─► in order? ─► only what can change? ─► what it names (networks, certificates) in order? ─► in force, at once
//!                      └─ no ───────┴─ no ────────────────────┴─ no: everything stays as it was, and every reason is told
//! ```

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{Config, ConfigErrors, error::Wrong, read_text, settings::Settings, tables};
use crate::{
    door::{
        firewall::{Firewall, FirewallSettings, InvalidList},
        hook::HookSettings,
        passkeys::{InvalidPasskeySettings, PasskeySettings, Passkeys},
        policy::Policy,
        programs::{Access, ApiSettings},
        tokens::{InvalidTokenSettings, TokenSettings, Tokens},
    },
    front::acme::settings::AcmeSettings,
    lines::{Duologue, beside::PassedOn},
    services::http::Vouches,
    watch::{audit::settings::AuditSettings, settings::WatchSettings},
};

/// Makes ready what other settings ask for, or says why it cannot be; and what puts it in force.
type Follow = Box<dyn Fn(&Settings) -> Result<Box<dyn FnOnce() + Send>, String> + Send + Sync>;

/// What a running server was started with. Clones share everything.
#[derive(Clone, Debug)]
pub struct ConfigFile(Arc<Started>);

struct Started {
    /// None where flags say everything.
    path: Option<PathBuf>,
    flags: Settings,
    /// What cannot change.
    settings: Settings,
    acme: Option<AcmeSettings>,
    token: Option<TokenSettings>,
    passkey: Option<PasskeySettings>,
    hook: Option<HookSettings>,
    audit: Option<Option<AuditSettings>>,
    /// Of the start.
    watch: WatchSettings,
    /// Where the local API answers, as at the start.
    api: ApiSettings,
    /// Whom it answers, now.
    access: Access,
    /// Followed by the service `http`.
    vouches: Vouches,
    following: Mutex<Following>,
}

/// Who else hears of a file that was read again. Held while it is: one reload after the other.
#[derive(Default)]
struct Following {
    /// The server's own pages and hosts, to which the file adds others.
    own: Option<Policy>,
    all: Vec<Follow>,
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Started").field("path", &self.path).finish_non_exhaustive()
    }
}

impl ConfigFile {
    /// Reads that file, and will find it again wherever the process goes.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn open(path: &Path) -> Result<(Self, Config), ConfigErrors> {
        Self::open_behind(Settings::default(), Some(path))
    }

    /// The same, if there is one, and before it what flags say. What they come to together is in the configuration that this
    /// returns; files that it names stand beside it.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn open_behind(flags: Settings, path: Option<&Path>) -> Result<(Self, Config), ConfigErrors> {
        let path = path.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        let config = path.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
        let config = together(&flags, path.as_deref(), config);
        let Config { settings, acme, token, hook, vouch, passkey, audit, watch, api, .. } = config.clone();
        let access = Access::new(&api);
        let vouches = Vouches::new(vouch.unwrap_or_default());
        let following = Mutex::default();
        let started = Started {
            path,
            flags,
            settings,
            acme,
            token,
            passkey,
            hook,
            audit,
            watch,
            api,
            access,
            vouches,
            following,
        };
        Ok((Self(Arc::new(started)), config))
    }

    /// Whether there is a file, and not only flags.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.0.path.is_some()
    }

    /// Whether there is anything that can be read again: a file, or what flags name.
    #[must_use]
    pub fn is_read_again(&self) -> bool {
        self.is_file() || !self.following().all.is_empty()
    }

    /// Who judges the tokens that are taken; none if none are. A file of keys stands beside this one.
    ///
    /// # Errors
    /// If the settings cannot be used.
    pub fn tokens(&self) -> Result<Option<Tokens>, InvalidTokenSettings> {
        self.0.token.clone().map(|settings| Tokens::new(settings, self.directory())).transpose()
    }

    /// For whom passkeys are made by a server whose address has this host; none if none are.
    ///
    /// # Errors
    /// If the settings cannot be used there.
    pub fn passkeys(&self, host: &str) -> Result<Option<Passkeys>, InvalidPasskeySettings> {
        self.0.passkey.clone().map(|settings| Passkeys::new(settings, host)).transpose()
    }

    /// Who is asked of everybody that connects; none if nobody is.
    #[must_use]
    pub fn hook(&self) -> Option<&HookSettings> {
        self.0.hook.as_ref()
    }

    /// Where the backend vouches for who logs in, as the file says it, now and after each reload: for
    /// [`Http::vouching_by`](crate::services::http::Http::vouching_by).
    #[must_use]
    pub fn vouches(&self) -> Vouches {
        self.0.vouches.clone()
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
        directory(self.0.path.as_deref())
    }

    /// The rules of the watch, and on whom no measure falls, as the file said it at the start.
    #[must_use]
    pub fn watch(&self) -> &WatchSettings {
        &self.0.watch
    }

    /// Whom the local API answers, as the file says it, now and after each reload.
    #[must_use]
    pub fn access(&self) -> Access {
        self.0.access.clone()
    }

    /// Whose tokens are taken.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.0.token.as_ref().map(|settings| settings.issuer.as_str())
    }

    /// From the next reload on, other origins of the file are added to this policy of the server's own pages and hosts.
    #[must_use]
    pub fn with_own(self, own: Policy) -> Self {
        self.following().own = Some(own);
        self
    }

    /// Has somebody follow the settings when the file is read again: whatever he refuses, nothing changes.
    pub fn follow(
        &self,
        follow: impl Fn(&Settings) -> Result<Box<dyn FnOnce() + Send>, String> + Send + Sync + 'static,
    ) {
        self.following().all.push(Box::new(follow));
    }

    fn following(&self) -> std::sync::MutexGuard<'_, Following> {
        self.0.following.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads it again, and lets what it says count from now on, for open lines too. Without a file, what flags name is looked at
    /// again.
    ///
    /// # Errors
    /// What is wrong in it, and what cannot change while the server runs; then everything stays as it was.
    pub fn reload(&self, duologue: &Duologue) -> Result<Config, ConfigErrors> {
        let started = &*self.0;
        let following = self.following();
        let shown = started.path.as_ref().map_or("the flags".to_owned(), |path| path.display().to_string());
        let text = started.path.as_deref().map_or_else(|| Ok(String::new()), read_text)?;
        let config = match &started.path {
            Some(path) => together(&started.flags, Some(path), Config::parse(&shown, &text)?),
            None => together(&started.flags, None, Config::default()),
        };
        let mut fixed = config.settings.fixed_differing(&started.settings);
        let tables = [
            ("tls.acme", config.acme != started.acme),
            ("door.token", config.token != started.token),
            ("door.hook", config.hook != started.hook),
            ("door.passkey", config.passkey != started.passkey),
            ("audit", config.audit != started.audit),
            ("api.socket", config.api.socket != started.api.socket),
            ("api.group", config.api.group != started.api.group),
            ("api.listen", config.api.listen != started.api.listen),
        ];
        fixed.extend(tables.into_iter().filter_map(|(table, differs)| differs.then_some(table)));
        if !fixed.is_empty() {
            let wrong = fixed.into_iter().map(|key| Wrong::new(tables::place(&text, key).unwrap_or(0..0), cannot(key)));
            return Err(ConfigErrors::new(&shown, &text, wrong.collect()));
        }
        let refused = |why: String| ConfigErrors::whole(&shown, why);
        let ready = following.all.iter().map(|follow| follow(&config.settings)).collect::<Result<Vec<_>, _>>();
        let ready = ready.map_err(|error| refused(format!("cannot be used: {error}")))?;
        if started.path.is_none() {
            ready.into_iter().for_each(|put_in_force| put_in_force());
            return Ok(config);
        }
        let policy = following.own.clone().map(|own| config.settings.server.with_origins(own)).transpose();
        let policy = policy.map_err(|error| refused(format!("cannot be used: {error}")))?;
        let firewall = Firewall::load(config.firewall.clone(), self.directory())
            .map_err(|error| refused(format!("has a [firewall] that cannot be used: {error}")))?;

        started.vouches.set(config.vouch.clone().unwrap_or_default());
        started.access.set(&config.api);
        duologue.put_firewall(firewall);
        match policy {
            Some(policy) => duologue.set_policy(policy.with_rules(config.rules.clone())),
            None => duologue.set_rules(config.rules.clone()),
        }
        duologue.set_watch(&config.watch);
        duologue.tell_of_bans(config.settings.server.ban_command.as_deref().unwrap_or_default());
        duologue.pass_on(PassedOn::Policy(text));
        ready.into_iter().for_each(|put_in_force| put_in_force());
        Ok(config)
    }
}

impl ConfigFile {
    /// Has the server whose place this one has taken follow the file too, until its last line has ended.
    pub fn pass_policy_on(&self, duologue: &Duologue) {
        let text = self.0.path.as_deref().map(read_text);
        if let Some(Ok(text)) = text {
            duologue.pass_on(PassedOn::Policy(text));
        }
    }

    /// Puts the policy of this text in force, and nothing else: it is the file of the server that has taken this one's place. False if it
    /// cannot be, and then nothing has changed.
    pub fn follow_policy(&self, text: &str, duologue: &Duologue) -> bool {
        let path = self.0.path.as_deref();
        let Ok(config) = Config::parse("the policy of the other server", text) else { return false };
        let config = together(&self.0.flags, path, config);
        let own = self.following().own.clone();
        let policy = own.map(|own| config.settings.server.with_origins(own)).transpose();
        let (Ok(policy), Ok(firewall)) = (policy, Firewall::load(config.firewall.clone(), self.directory())) else {
            return false;
        };
        duologue.put_firewall(firewall);
        match policy {
            Some(policy) => duologue.set_policy(policy.with_rules(config.rules.clone())),
            None => duologue.set_rules(config.rules.clone()),
        }
        duologue.set_watch(&config.watch);
        true
    }
}

/// What flags and file come to together.
fn together(flags: &Settings, path: Option<&Path>, mut config: Config) -> Config {
    config.settings = flags.clone().or(config.settings.beside(directory(path)));
    if let Some(socket) = &mut config.api.socket {
        *socket = directory(path).join(&*socket);
    }
    let site = &flags.site;
    if site.certificates.is_some() || site.keys.is_some() || site.behind_proxy == Some(true) {
        config.acme = None;
    }
    if let Some(ca) = config.acme.as_mut().and_then(|acme| acme.ca.as_mut()) {
        *ca = directory(path).join(&*ca);
    }
    if let Some(url) = &flags.server.hook {
        match &mut config.hook {
            Some(hook) => hook.url.clone_from(url),
            None => config.hook = Some(HookSettings::new(url.clone())),
        }
    }
    config
}

fn directory(path: Option<&Path>) -> &Path {
    path.and_then(Path::parent).unwrap_or(Path::new(""))
}

fn cannot(key: &str) -> String {
    let what = match key.rsplit_once('.') {
        Some((table, name)) if table != "door" => format!("`{name}` of [{table}]"),
        _ => format!("[{key}]"),
    };
    format!("{what} cannot change while the server runs: start it again, or write there what stood there at its start")
}
