//! Rules: who may open which channels. The schema for owners is docs/POLICY.md; this is how it is judged.
//!
//! ```text
//! (rules, evidence, what is asked for, now) ─► opened by a rule, and until when at most ─┐ no I/O, no clock, no state:
//!                                           └► refused, and by what the nearest one fails ┘ the same answer each time
//! ```
//!
//! Rules only open: what none of them opens is closed, and none closes what another opens. The first one that opens decides on
//! limits. All that a rule says must hold; of a list, one.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, LazyLock},
};

use duologue::{DeviceId, DeviceKey};
use duologue_native::path::PATH_LABEL;
use ipnet::IpNet;

use super::{
    limits::Limits,
    patterns::{LabelPattern, Path, PathPattern},
};
use crate::door::{
    evidence::Transport,
    standing::{Group, Level, Standing, Subject},
};

/// One rule. What is empty asks for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// By which the owner finds it.
    pub name: Arc<str>,
    /// Which labels it opens.
    pub open: Vec<LabelPattern>,
    /// To whom.
    pub subjects: Vec<Subject>,
    /// To members of which groups.
    pub groups: Vec<Group>,
    /// To which devices.
    pub devices: Vec<DeviceId>,
    /// To connections from which networks, as far as addresses are known.
    pub networks: Vec<IpNet>,
    /// To pages of which origins. Native clients, and apps, are none.
    pub origins: Vec<String>,
    /// To whom the server is so sure of.
    pub level: Level,
    /// How long ago a person may have shown to be there, in seconds. Asks for [`Level::Present`].
    pub age: Option<u64>,
    /// Requests of which methods, where the service takes requests.
    pub methods: Vec<String>,
    /// For which paths.
    pub paths: Vec<PathPattern>,
    /// But not for these, however they are spelt.
    pub except: Vec<PathPattern>,
    /// How much of it.
    pub limits: Limits,
}

impl Rule {
    /// One that opens these labels to every device that was let in.
    #[must_use]
    pub fn new(name: &str, open: Vec<LabelPattern>) -> Self {
        Self {
            name: name.into(),
            open,
            subjects: Vec::new(),
            groups: Vec::new(),
            devices: Vec::new(),
            networks: Vec::new(),
            origins: Vec::new(),
            level: Level::Device,
            age: None,
            methods: Vec::new(),
            paths: Vec::new(),
            except: Vec::new(),
            limits: Limits::default(),
        }
    }

    /// What of it does not hold, the first of it; none if all does.
    fn miss(&self, evidence: &Evidence<'_>, asked: &Asked<'_>, now: u64) -> Option<Miss> {
        let standing = evidence.standing;
        let is_one_of = |own: &[Group]| own.iter().any(|group| self.groups.contains(group));
        let is_subject = |subject: &Subject| self.subjects.contains(subject);
        let has_address = |address: IpAddr| {
            !address.is_unspecified() && self.networks.iter().any(|network| network.contains(&address))
        };
        let has_origin = |origin: &str| self.origins.iter().any(|it| it == origin);
        if !self.devices.is_empty() && !self.devices.contains(&evidence.device) {
            Some(Miss::Device)
        } else if !self.subjects.is_empty() && !standing.subject.as_ref().is_some_and(is_subject) {
            Some(Miss::Subject)
        } else if !self.groups.is_empty() && !is_one_of(&standing.groups) {
            Some(Miss::Group)
        } else if !self.networks.is_empty() && !has_address(evidence.address.to_canonical()) {
            Some(Miss::Network)
        } else if !self.origins.is_empty() && !evidence.origin.is_some_and(has_origin) {
            Some(Miss::Origin)
        } else if let Some(miss) = self.misses_target(&asked.target) {
            Some(miss)
        } else if standing.level < self.level {
            Some(Miss::Level)
        } else if self.age.is_some_and(|age| !is_fresh(standing, age, now)) {
            Some(Miss::Age)
        } else {
            None
        }
    }

    fn misses_target(&self, target: &Target<'_>) -> Option<Miss> {
        match target {
            // It is asked again when the request is there.
            Target::Later => None,
            // It asks for what a channel without requests never has.
            Target::None if !self.methods.is_empty() => Some(Miss::Method),
            Target::None if !self.paths.is_empty() || !self.except.is_empty() => Some(Miss::Path),
            Target::None => None,
            Target::Request { method, path } => {
                if !self.methods.is_empty() && !self.methods.iter().any(|it| it == method) {
                    Some(Miss::Method)
                } else if !self.paths.is_empty() && !self.paths.iter().any(|pattern| pattern.opens(path)) {
                    Some(Miss::Path)
                } else if self.except.iter().any(|pattern| pattern.keeps_out(path)) {
                    Some(Miss::Except)
                } else {
                    None
                }
            }
        }
    }
}

fn is_fresh(standing: &Standing, age: u64, now: u64) -> bool {
    // A time that is yet to come is a clock that was put back: nothing can be said of it.
    standing.present_at.is_some_and(|at| at <= now && now - at < age)
}

/// What is known of a caller.
#[derive(Clone, Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) device: DeviceId,
    pub(crate) standing: &'a Standing,
    /// Unspecified where it is not known.
    pub(crate) address: IpAddr,
    /// Of a page.
    pub(crate) origin: Option<&'a str>,
    /// Of an app; nothing is opened by it.
    pub(crate) app_origin: Option<&'a str>,
    /// The labels that the device was let in for; any, if none are told.
    pub(crate) opens: Option<&'a [Arc<str>]>,
    /// `Host` and `Origin` have come as the client has sent them.
    pub(crate) is_as_sent: bool,
}

impl<'a> Evidence<'a> {
    pub(crate) fn new(device: DeviceId, standing: &'a Standing, transport: &'a Transport) -> Self {
        let (origin, app_origin) = (transport.origin.as_deref(), transport.app_origin.as_deref());
        let (address, is_as_sent) = (transport.address, transport.is_as_sent());
        Self { device, standing, address, origin, app_origin, opens: None, is_as_sent }
    }

    /// Of a device that was let in for some labels.
    pub(crate) fn let_in_for(self, opens: Option<&'a [Arc<str>]>) -> Self {
        Self { opens, ..self }
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) label: &'a str,
    pub(crate) target: Target<'a>,
    /// What the service itself asks for, whatever the rules say.
    pub(crate) demands: Level,
}

/// What for within a label.
#[derive(Clone, Debug)]
pub(crate) enum Target<'a> {
    /// The channel itself.
    None,
    /// A request that is not there yet: whether any could be opened.
    Later,
    /// This one.
    Request { method: &'a str, path: Path<'a> },
}

/// What of a rule does not hold. In the order in which it is looked at: of two rules, the one that fails later is the nearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Miss {
    Device,
    Subject,
    Group,
    Network,
    Origin,
    Method,
    Path,
    Except,
    Level,
    Age,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "is for other devices",
            Self::Subject => "is for other subjects",
            Self::Group => "is for other groups",
            Self::Network => "is for other networks, or the address is not known",
            Self::Origin => "is for pages of other origins",
            Self::Method => "is for other methods",
            Self::Path => "is for other paths",
            Self::Except => "excepts this path",
            Self::Level => "asks for a higher level",
            Self::Age => "asks for a person who has shown to be there more recently",
        })
    }
}

/// What rules say to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Opened, by this rule. Until when at most, as far as only time is to change it.
    Opened { rule: usize, until: Option<u64> },
    /// Closed.
    Refused(Refusal),
}

/// Why something is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The page's origin, or the kind of client, is not served any more.
    Address,
    /// The connection was rewritten on its way, and the owner takes none that was.
    Rewritten,
    /// The device was let in for other labels.
    LetInForOthers,
    /// No rule speaks of that label.
    NoRule,
    /// This one comes nearest, and fails by this.
    Misses { rule: usize, by: Miss },
    /// A rule opens it, and the service itself asks for more.
    Demands { rule: usize },
}

/// What is opened though no rule does, to each device that was let in: what concerns nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::door) enum OfDevices {
    /// The report of its own way here.
    Path,
    /// Another key in the place of its own.
    Key,
}

impl OfDevices {
    pub(in crate::door) const ALL: [Self; 2] = [Self::Path, Self::Key];

    /// The place of its rule, among no file's.
    pub(in crate::door) const fn place(self) -> usize {
        usize::MAX - self as usize
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Path => PATH_LABEL,
            Self::Key => DeviceKey::RENEWAL_LABEL,
        }
    }
}

/// Their rules, which say how much of it.
static OF_DEVICES: LazyLock<[Rule; 2]> = LazyLock::new(|| {
    let number = |number| NonZeroU32::new(number);
    let limits = Limits { channels: number(4), messages: number(8), bytes: None, size: number(2_048) };
    [("[door] path", OfDevices::Path), ("[services] device_keys", OfDevices::Key)]
        .map(|(name, of)| Rule { limits, ..Rule::new(name, vec![LabelPattern::new(of.label()).expect("a label")]) })
});

/// Rules in their order. Clones are the same.
#[derive(Clone)]
pub struct Rules(Arc<Table>);

struct Table {
    rules: Vec<Rule>,
    /// Those that open just this label, in order.
    of_one: HashMap<Box<str>, Vec<usize>>,
    /// Those that open all that begin so, in order.
    of_many: Vec<usize>,
    is_default: bool,
    /// `[door] path = "as-sent"`.
    as_sent: bool,
}

impl Default for Rules {
    /// Nothing configured: every service is open to every device that was let in.
    fn default() -> Self {
        let all = LabelPattern::new("*").expect("a pattern");
        Self::made(vec![Rule::new("every device that was let in", vec![all])], true, false)
    }
}

impl Rules {
    /// These, and nothing else is open.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self::made(rules, false, false)
    }

    /// The same, and nobody is served whose `Host` or `Origin` was rewritten on the way.
    #[must_use]
    pub fn as_sent(self) -> Self {
        Self::made(self.all().to_vec(), self.0.is_default, true)
    }

    /// Whether that is so.
    #[must_use]
    pub fn is_as_sent(&self) -> bool {
        self.0.as_sent
    }

    fn made(rules: Vec<Rule>, is_default: bool, as_sent: bool) -> Self {
        let mut of_one: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        let mut of_many = Vec::new();
        for (at, rule) in rules.iter().enumerate() {
            for pattern in &rule.open {
                let listed = match pattern.one() {
                    Some(label) => of_one.entry(label.into()).or_default(),
                    None => &mut of_many,
                };
                if listed.last() != Some(&at) {
                    listed.push(at);
                }
            }
        }
        Self(Arc::new(Table { rules, of_one, of_many, is_default, as_sent }))
    }

    /// One more, behind these.
    #[must_use]
    pub fn with(&self, rule: Rule) -> Self {
        let rules = self.0.rules.iter().cloned().chain([rule]).collect();
        Self::made(rules, self.0.is_default, self.0.as_sent)
    }

    /// In their order.
    #[must_use]
    pub fn all(&self) -> &[Rule] {
        &self.0.rules
    }

    /// Whether nothing was configured, so that every device that was let in may use what there is.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.0.is_default
    }

    pub(crate) fn rule(&self, at: usize) -> Option<&Rule> {
        self.0.rules.get(at).or_else(|| OF_DEVICES.get(usize::MAX - at))
    }

    /// What of that is asked for, where no rule opens it.
    pub(in crate::door) fn of_devices(
        evidence: &Evidence<'_>,
        asked: &Asked<'_>,
        refusal: &Refusal,
    ) -> Option<OfDevices> {
        let is_closed = matches!(refusal, Refusal::NoRule | Refusal::Misses { .. } | Refusal::LetInForOthers);
        let of = OfDevices::ALL.into_iter().find(|it| it.label() == asked.label);
        of.filter(|_| is_closed && evidence.standing.level >= Level::Device)
    }

    /// Why something is closed, for the owner.
    pub(crate) fn words(&self, refusal: &Refusal) -> String {
        let name = |rule: usize| self.rule(rule).map_or("", |rule| &rule.name);
        match refusal {
            Refusal::Rewritten => {
                "Host or Origin was rewritten on the way, and `[door] path = \"as-sent\"` serves nobody so".to_owned()
            }
            Refusal::Address => "pages of this origin, or clients of this kind, are not served".to_owned(),
            Refusal::LetInForOthers => "the device's invite was for other labels".to_owned(),
            Refusal::NoRule => "no rule opens this label".to_owned(),
            Refusal::Misses { rule, by } => format!("the rule \"{}\" comes nearest, but {by}", name(*rule)),
            Refusal::Demands { rule } => {
                format!("the rule \"{}\" opens it, but the service itself asks for a higher level", name(*rule))
            }
        }
    }

    /// The judgement. Only the gate asks for it, so that nobody can ask in another way.
    pub(in crate::door) fn judge(&self, evidence: &Evidence<'_>, asked: &Asked<'_>, now: u64) -> Verdict {
        if self.0.as_sent && !evidence.is_as_sent {
            return Verdict::Refused(Refusal::Rewritten);
        }
        if evidence.opens.is_some_and(|opens| !opens.iter().any(|label| **label == *asked.label)) {
            return Verdict::Refused(Refusal::LetInForOthers);
        }
        let mut nearest: Option<(Miss, usize)> = None;
        let of_one = self.0.of_one.get(asked.label).map(Vec::as_slice).unwrap_or_default();
        for at in in_order(of_one, &self.0.of_many) {
            let Some(rule) = self.0.rules.get(at) else { continue };
            if !rule.open.iter().any(|pattern| pattern.fits(asked.label)) {
                continue;
            }
            match rule.miss(evidence, asked, now) {
                None if evidence.standing.level < asked.demands => {
                    return Verdict::Refused(Refusal::Demands { rule: at });
                }
                None => return Verdict::Opened { rule: at, until: until(rule, evidence.standing) },
                Some(by) if nearest.is_none_or(|(nearest, _)| by > nearest) => nearest = Some((by, at)),
                Some(_) => {}
            }
        }
        Verdict::Refused(nearest.map_or(Refusal::NoRule, |(by, rule)| Refusal::Misses { rule, by }))
    }
}

/// When time alone may change what this rule says: the standing's end, or the moment at which presence is too long ago.
fn until(rule: &Rule, standing: &Standing) -> Option<u64> {
    let presence = rule.age.and_then(|age| Some(standing.present_at?.saturating_add(age)));
    standing.until.into_iter().chain(presence).min()
}

/// Two lists that rise, as one that does; what is in both, once.
fn in_order<'a>(mut one: &'a [usize], mut other: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
    std::iter::from_fn(move || {
        let next = match (one.first(), other.first()) {
            (Some(a), Some(b)) => *a.min(b),
            (Some(next), None) | (None, Some(next)) => *next,
            (None, None) => return None,
        };
        for list in [&mut one, &mut other] {
            if let Some((_, rest)) = list.split_first().filter(|(first, _)| **first == next) {
                *list = rest;
            }
        }
        Some(next)
    })
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.rules.iter().map(|rule| &rule.name)).finish()
    }
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.0.is_default == other.0.is_default && self.0.rules == other.0.rules
    }
}

impl Eq for Rules {}
