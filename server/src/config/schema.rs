//! The tables of the file, and how a rule is made of one. docs/POLICY.md says the same to owners.

use std::{collections::HashSet, num::NonZeroU32, ops::Range, time::Duration};

use duologue::{DeviceId, DeviceKey};
use duologue_native::path::PATH_LABEL;
use serde::Deserialize;
use toml::Spanned;

use super::{
    error::{Wrong, did_you_mean},
    server::{self, Tables},
    settings::Settings,
    tables,
};
use crate::door::{
    firewall::{FirewallSettings, network},
    hook::HookSettings,
    origin::{self, Owner},
    passkeys::{self, PasskeySettings},
    policy::{
        limits::Limits,
        patterns::{LabelPattern, PathPattern},
        rules::Rule,
    },
    programs::ApiSettings,
    quantity::{parse_size, parse_span},
    standing::{Group, Level, Subject},
    tokens::TokenSettings,
};
use crate::front::acme::settings::AcmeSettings;
use crate::services::http::VouchSettings;
use crate::watch::audit::settings::AuditSettings;
use crate::watch::settings::WatchSettings;

/// More than anybody can keep in mind.
const RULES_MAX: usize = 1_000;
/// Entries of one list of a rule.
const ENTRIES_MAX: usize = 1_000;
/// The longest name of a rule, in bytes.
const NAME_BYTES_MAX: usize = 80;
/// The longest age: presence is of one sitting.
const AGE_SECS_MAX: u64 = 24 * 60 * 60;
/// The longest that a login by the backend's word is good: 31 days, as a token.
const VOUCH_SECS_MAX: u64 = 31 * 24 * 60 * 60;
/// Services of the binary whose channels carry no requests with a path.
const WITHOUT_REQUESTS: [&str; 7] =
    ["echo", "desk", "drop", "pair", PATH_LABEL, passkeys::LABEL, DeviceKey::RENEWAL_LABEL];

/// What becomes of a connection whose Host or Origin was rewritten on the way.
const AS_SENT: &str = "as-sent";
const PATHS: [&str; 2] = ["told", AS_SENT];

/// Services of the binary that ask for a device that was let in, whatever a rule says.
const NOT_FOR_GUESTS: [&str; 2] = ["drop", "pair"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    server: Option<server::Server>,
    #[serde(default)]
    tls: Option<server::Tls>,
    #[serde(default)]
    services: Option<server::Services>,
    #[serde(default)]
    limits: Option<server::Limits>,
    #[serde(default)]
    sessions: Option<server::Sessions>,
    #[serde(default)]
    log: Option<server::Log>,
    #[serde(default)]
    door: Door,
    #[serde(default)]
    firewall: super::firewall::Table,
    #[serde(default)]
    watch: super::watch::Table,
    #[serde(default)]
    rule: Vec<Spanned<Table>>,
    #[serde(default)]
    audit: Option<super::audit::Table>,
    #[serde(default)]
    api: Option<super::api::Table>,
}

/// What holds for every rule that does not say otherwise.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Door {
    #[serde(default)]
    level: Option<Spanned<Number>>,
    #[serde(default)]
    path: Option<Spanned<String>>,
    #[serde(default)]
    origins: Option<Texts>,
    #[serde(default)]
    app_origins: Option<Texts>,
    #[serde(default)]
    native_clients: Option<bool>,
    #[serde(default)]
    token: Option<Spanned<TokenSettings>>,
    #[serde(default)]
    hook: Option<Spanned<HookSettings>>,
    #[serde(default)]
    vouch: Option<Vouch>,
    #[serde(default)]
    passkey: Option<Spanned<PasskeySettings>>,
}

/// Where the backend's word counts for who logs in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vouch {
    paths: Spanned<Texts>,
    #[serde(default)]
    longest: Option<Spanned<String>>,
    #[serde(default)]
    subjects: Option<Spanned<Texts>>,
    #[serde(default)]
    groups: Option<Spanned<Texts>>,
}

pub(super) type Texts = Vec<Spanned<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    name: Option<Spanned<String>>,
    open: Spanned<Texts>,
    #[serde(default)]
    subjects: Option<Spanned<Texts>>,
    #[serde(default)]
    groups: Option<Spanned<Texts>>,
    #[serde(default)]
    devices: Option<Spanned<Texts>>,
    #[serde(default)]
    networks: Option<Spanned<Texts>>,
    #[serde(default)]
    origins: Option<Spanned<Texts>>,
    #[serde(default)]
    level: Option<Spanned<Number>>,
    #[serde(default)]
    age: Option<Spanned<String>>,
    #[serde(default)]
    methods: Option<Spanned<Texts>>,
    #[serde(default)]
    paths: Option<Spanned<Texts>>,
    #[serde(default)]
    except: Option<Spanned<Texts>>,
    #[serde(default)]
    channels: Option<Spanned<Number>>,
    #[serde(default)]
    messages_per_second: Option<Spanned<Number>>,
    #[serde(default)]
    bytes_per_second: Option<Spanned<Number>>,
    #[serde(default)]
    size: Option<Spanned<Number>>,
}

/// A number, or a text that stands for one.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number, or a text")]
pub(super) enum Number {
    Number(i64),
    Text(String),
}

/// What a text says.
pub(super) struct Read {
    pub(super) settings: Settings,
    pub(super) acme: Option<AcmeSettings>,
    pub(super) rules: Vec<Rule>,
    /// Nobody is served whose connection was rewritten on the way.
    pub(super) as_sent: bool,
    pub(super) token: Option<TokenSettings>,
    pub(super) hook: Option<HookSettings>,
    pub(super) vouch: Option<VouchSettings>,
    pub(super) passkey: Option<PasskeySettings>,
    pub(super) firewall: FirewallSettings,
    pub(super) watch: WatchSettings,
    pub(super) audit: Option<Option<AuditSettings>>,
    pub(super) api: ApiSettings,
}

/// All that a text says; or all that is wrong in it.
pub(super) fn read(text: &str) -> Result<Read, Vec<Wrong>> {
    let (file, wrong) = tables::read::<File>(text);
    let Some(file) = file else { return Err(wrong) };
    let mut reader = Reader { wrong };
    let mut settings = Tables {
        server: file.server.as_ref(),
        tls: file.tls.as_ref(),
        services: file.services.as_ref(),
        limits: file.limits.as_ref(),
        sessions: file.sessions.as_ref(),
        log: file.log.as_ref(),
    }
    .read(&mut reader);
    let origin = |text: &str| origin::owner(text).map(drop);
    settings.server.origins = reader.all(&file.door.origins, origin);
    settings.server.app_origins = reader.all(&file.door.app_origins, origin);
    settings.server.no_native_clients = file.door.native_clients.map(|may| !may);
    let acme = file.tls.as_ref().and_then(|tls| tls.acme(&mut reader));
    settings.server.ban_command = file.watch.ban_command.clone();
    let default = file.door.level.as_ref().and_then(|level| reader.level(level)).unwrap_or(Level::Device);
    if let Some(level) = file.door.level.as_ref().filter(|_| default == Level::Guest) {
        let message = "this would open to guests whatever a rule does not say a level for: write `level = 0` in the rule that is \
                       to be open to them";
        reader.says(level.span(), message);
    }
    if let Some(table) = file.rule.get(RULES_MAX) {
        reader.says(table.span(), format!("a file has {RULES_MAX} rules at most"));
        return Err(reader.wrong);
    }
    if let Some(token) = &file.door.token
        && let Err(error) = token.get_ref().check()
    {
        reader.says(token.span(), error.to_string());
    }
    if let Some(passkey) = &file.door.passkey
        && let Err(error) = passkey.get_ref().check()
    {
        reader.says(passkey.span(), error.to_string());
    }
    if let Some(hook) = &file.door.hook
        && let Err(error) = hook.get_ref().check()
    {
        reader.says(hook.span(), error.to_string());
    }
    let as_sent = file.door.path.as_ref().is_some_and(|path| reader.path(path));
    let firewall = reader.firewall(&file.firewall);
    let watch = super::watch::read(&file.watch, &mut reader.wrong);
    let vouch = file.door.vouch.as_ref().map(|table| reader.vouch(table));
    let audit = file.audit.as_ref().map(|table| table.read(&mut reader));
    let api = file.api.as_ref().map(|table| table.read(&mut reader)).unwrap_or_default();
    let mut names = HashSet::new();
    let mut rules = Vec::with_capacity(file.rule.len() + 1);
    if file.door.passkey.is_some() {
        let rule = of_passkeys();
        names.insert(rule.name.clone());
        rules.push(rule);
    }
    for (at, table) in file.rule.iter().enumerate() {
        let rule = reader.rule(at + 1, table.get_ref(), default);
        if !names.insert(rule.name.clone()) {
            let span = table.get_ref().name.as_ref().map_or(table.span(), Spanned::span);
            reader.says(span, format!("another rule has the name \"{}\": give each its own", rule.name));
        }
        rules.push(rule);
    }
    match reader.wrong.is_empty() {
        true => {
            let Door { token, hook, passkey, .. } = file.door;
            let (token, hook) = (token.map(Spanned::into_inner), hook.map(Spanned::into_inner));
            Ok(Read {
                settings,
                acme,
                rules,
                as_sent,
                token,
                hook,
                vouch,
                passkey: passkey.map(Spanned::into_inner),
                firewall,
                audit,
                api,
                watch,
            })
        }
        false => Err(reader.wrong),
    }
}

/// The rule that `[door.passkey]` is: who may ask for passkeys, and how much of it. What they open, other rules say.
fn of_passkeys() -> Rule {
    let number = |number| NonZeroU32::new(number);
    let limits = Limits { channels: number(4), messages: number(8), bytes: None, size: number(8_192) };
    let label = LabelPattern::new(passkeys::LABEL).expect("a label");
    Rule { limits, ..Rule::new(passkeys::RULE, vec![label]) }
}

/// Notes what is wrong, and reads on.
pub(super) struct Reader {
    wrong: Vec<Wrong>,
}

impl Reader {
    pub(super) fn says(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.wrong.push(Wrong::new(span, message));
    }

    fn rule(&mut self, number: usize, table: &Table, default: Level) -> Rule {
        let name = table.name.as_ref().map_or_else(|| format!("rule {number}"), |name| self.name(name));
        let mut rule = Rule::new(&name, self.list(Some(&table.open), LabelPattern::new));
        rule.subjects = self.list(table.subjects.as_ref(), Subject::new);
        rule.groups = self.list(table.groups.as_ref(), Group::new);
        rule.devices = self.list(table.devices.as_ref(), |text| {
            text.parse::<DeviceId>()
                .map_err(|_| format!("\"{text}\" is no device id: `duologue devices list` shows them"))
        });
        rule.networks = self.list(table.networks.as_ref(), network);
        rule.origins = self.list(table.origins.as_ref(), page_origin);
        rule.methods = self.list(table.methods.as_ref(), method);
        rule.paths = self.list(table.paths.as_ref(), PathPattern::new);
        rule.except = self.list(table.except.as_ref(), PathPattern::new);
        let level = table.level.as_ref().and_then(|level| self.level(level));
        rule.age = table.age.as_ref().and_then(|age| self.age(age));
        rule.level = match (&table.age, level) {
            (Some(age), Some(level)) if level != Level::Present => {
                self.says(
                    age.span(),
                    "`age` is of a person who is present: write `level = 3` with it, or leave `level` out",
                );
                level
            }
            (Some(_), _) => Level::Present,
            (None, level) => level.unwrap_or(default),
        };
        if let Some(level) = table.level.as_ref().filter(|_| rule.level == Level::Guest) {
            for label in table.open.get_ref().iter().filter(|it| NOT_FOR_GUESTS.contains(&it.get_ref().as_str())) {
                let label = label.get_ref();
                let message =
                    format!("guests leave nothing and let nobody in, so that \"{label}\" cannot be open to them");
                self.says(level.span(), message);
            }
        }
        rule.limits = Limits {
            channels: table.channels.as_ref().and_then(|it| self.count("channels", it)),
            messages: table.messages_per_second.as_ref().and_then(|it| self.count("messages_per_second", it)),
            bytes: table.bytes_per_second.as_ref().and_then(|it| self.size("bytes_per_second", it)),
            size: table.size.as_ref().and_then(|it| self.size("size", it)),
        };
        let asks_path = [("methods", &table.methods), ("paths", &table.paths), ("except", &table.except)];
        for (key, list) in asks_path {
            let Some(list) = list else { continue };
            for label in table.open.get_ref().iter().filter(|it| WITHOUT_REQUESTS.contains(&it.get_ref().as_str())) {
                let label = label.get_ref();
                let message = format!("`{key}` is for requests, and \"{label}\" has none: give it a rule of its own");
                self.says(list.span(), message);
            }
        }
        rule
    }

    fn vouch(&mut self, table: &Vouch) -> VouchSettings {
        let mut settings = VouchSettings {
            paths: self.list(Some(&table.paths), PathPattern::new),
            subjects: self.list(table.subjects.as_ref(), Subject::new),
            groups: self.list(table.groups.as_ref(), Group::new),
            ..VouchSettings::default()
        };
        if let Some(longest) = &table.longest {
            match parse_span(longest.get_ref()).ok().filter(|secs| (1..=VOUCH_SECS_MAX).contains(secs)) {
                Some(secs) => settings.longest = Duration::from_secs(secs),
                None => self.says(longest.span(), "a login is good for 1s to 31d: write it as 30m, 12h or 7d"),
            }
        }
        settings
    }

    /// A list that is there has something in it: an empty one would open to nobody, or to everybody, and nobody knows which.
    pub(super) fn list<T, E: ToString>(
        &mut self,
        list: Option<&Spanned<Texts>>,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let Some(list) = list else { return Vec::new() };
        if list.get_ref().is_empty() || list.get_ref().len() > ENTRIES_MAX {
            self.says(
                list.span(),
                format!("a list has 1 to {ENTRIES_MAX} entries: leave it out where it asks for nothing"),
            );
        }
        let mut read_all = Vec::new();
        for text in list.get_ref().iter().take(ENTRIES_MAX) {
            match read(text.get_ref()) {
                Ok(one) => read_all.push(one),
                Err(error) => self.says(text.span(), error.to_string()),
            }
        }
        read_all
    }

    fn name(&mut self, name: &Spanned<String>) -> String {
        let text = name.get_ref();
        if text.is_empty() || text.len() > NAME_BYTES_MAX || crate::watch::text::shown(text) != *text {
            self.says(name.span(), format!("a rule's name is printable text of 1 to {NAME_BYTES_MAX} bytes"));
        }
        text.clone()
    }

    fn level(&mut self, level: &Spanned<Number>) -> Option<Level> {
        const MEANT: &str = "a level is 0 (\"guest\"), 1 (\"device\"), 2 (\"account\") or 3 (\"present\")";
        let found = match level.get_ref() {
            Number::Number(number) => Level::ALL.into_iter().find(|level| i64::from(level.number()) == *number),
            Number::Text(text) => Level::ALL.into_iter().find(|level| level.word() == text),
        };
        match (found, level.get_ref()) {
            (None, Number::Text(text)) => {
                let meant = did_you_mean(text, Level::ALL.into_iter().map(Level::word), '"');
                self.says(level.span(), format!("{MEANT}{meant}"));
                None
            }
            (None, Number::Number(_)) => {
                self.says(level.span(), MEANT);
                None
            }
            (found, _) => found,
        }
    }

    /// Whether nobody is to be served whose connection was rewritten on the way.
    fn path(&mut self, path: &Spanned<String>) -> bool {
        let found = PATHS.into_iter().find(|word| word == path.get_ref());
        if found.is_none() {
            let meant = did_you_mean(path.get_ref(), PATHS.into_iter(), '"');
            self.says(
                path.span(),
                format!(
                    "`path` is \"told\", which tells of connections that were rewritten on the way, or \"as-sent\", which \
                     refuses them{meant}"
                ),
            );
        }
        found == Some(AS_SENT)
    }

    fn age(&mut self, age: &Spanned<String>) -> Option<u64> {
        let secs = parse_span(age.get_ref()).ok().filter(|secs| (1..=AGE_SECS_MAX).contains(secs));
        if secs.is_none() {
            self.says(age.span(), "an age is 1s to 24h: write it as 90s, 10m or 1h");
        }
        secs
    }

    fn count(&mut self, key: &str, count: &Spanned<Number>) -> Option<NonZeroU32> {
        let found = match count.get_ref() {
            Number::Number(number) => u32::try_from(*number).ok().and_then(NonZeroU32::new),
            Number::Text(_) => None,
        };
        if found.is_none() {
            self.says(count.span(), format!("`{key}` is a number of 1 to {}: leave it out for no bound", u32::MAX));
        }
        found
    }

    pub(super) fn size(&mut self, key: &str, size: &Spanned<Number>) -> Option<NonZeroU32> {
        let found = match size.get_ref() {
            Number::Number(number) => u32::try_from(*number).ok(),
            Number::Text(text) => parse_size(text).ok().and_then(|len| u32::try_from(len).ok()),
        };
        let found = found.and_then(NonZeroU32::new);
        if found.is_none() {
            self.says(
                size.span(),
                format!("`{key}` is a size of 1 byte to 4GB: write it as 4096, \"64KB\" or \"1MB\""),
            );
        }
        found
    }
}

fn page_origin(text: &str) -> Result<String, String> {
    match origin::owner(text).map_err(|error| error.to_string())? {
        Owner::EveryApp => {
            Err(format!("{text} is the origin of any app made like this one: no rule opens anything by it"))
        }
        Owner::Site | Owner::Extension | Owner::ThisMachine => Ok(text.to_owned()),
    }
}

fn method(text: &str) -> Result<String, String> {
    let is_method =
        (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    if is_method { Ok(text.to_owned()) } else { Err(format!("\"{text}\" is no method: write it as GET or POST")) }
}
