//! Rules over events: what happens how often in how long leads to which measure. Pure: events bring their time, and what is to be
//! done comes out as a value. Memory is fixed.
//!
//! ```text
//! event ─► each rule that names its kind ─► whose is it, by the rule's key ─► counted in two halves of a window
//!       ─► the threshold is reached ─► Match { rule, whom, measure }; and it is counted anew
//! ```
//!
//! What somebody on the way can cause (`Origin::Way`) never counts against a device or a subject, and against an address leads to a
//! delay at most: a rule that would have it otherwise cannot be made ([`Rule::new`]). Nor can measures fall on this machine, on a
//! proxy that the owner has named, on networks that he exempts, or on nobody knows whom.

mod shipped;
mod table;

use std::{net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use thiserror::Error;

pub(crate) use shipped::shipped;
use table::Table;

use super::{
    bans::{BAN_SECS, BAN_SECS_MAX, Banned},
    events::{Event, Kind, Origin},
};

/// Rules that there may be.
pub(crate) const RULES_MAX: usize = 100;
/// The longest name of a rule, in bytes.
const NAME_BYTES_MAX: usize = 80;
/// The longest window: a day.
const WINDOW_SECS_MAX: u64 = 24 * 60 * 60;
/// The highest threshold.
const THRESHOLD_MAX: u32 = 1_000_000;

/// Against what events count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The address they came from; of IPv6 its /64.
    Address,
    /// The device.
    Device,
    /// The subject.
    Subject,
    /// All events together.
    All,
}

impl By {
    pub(crate) const ALL: [Self; 4] = [Self::Address, Self::Device, Self::Subject, Self::All];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Device => "device",
            Self::Subject => "subject",
            Self::All => "all",
        }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// It is told.
    Observe,
    /// The next handshakes of the address wait.
    Slow,
    /// The lines of whoever it is are closed.
    Close,
    /// The same, and whoever it is stays out for so many seconds, twice as long the next time.
    Ban(u64),
}

impl Measure {
    pub(crate) const WORDS: [&str; 4] = ["observe", "slow", "close", "ban"];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Slow => "slow",
            Self::Close => "close",
            Self::Ban(_) => "ban",
        }
    }
}

/// One rule, as somebody means it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meant {
    pub(crate) name: String,
    pub(crate) events: Vec<Kind>,
    pub(crate) by: By,
    pub(crate) window: Duration,
    pub(crate) threshold: u32,
    pub(crate) measure: Measure,
    pub(crate) dry: bool,
}

/// One that is as it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    meant: Meant,
    name: Arc<str>,
}

/// Why a rule cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Misuse {
    #[error("its name has 1 to 80 bytes, of letters, digits, `-` and `_`")]
    Name,
    #[error("it names no event: `events` is a list of their names")]
    NoEvents,
    #[error("its window is from a second to a day")]
    Window,
    #[error("its threshold is from 1 to 1,000,000")]
    Threshold,
    #[error("its ban is from a minute to a week")]
    Span,
    #[error(
        "`{0}` can be caused by whoever is on the way, from his victim's address and in his victim's session: it counts by `address` \
         or `all`, never against a device or a subject"
    )]
    WayAgainstSomebody(&'static str),
    #[error(
        "`{0}` can be caused by whoever is on the way, from his victim's address: it leads to `slow` or `observe`, never to `{1}`"
    )]
    WayTooHard(&'static str, &'static str),
    #[error("`{0}` is no caller's doing: it can be told (`measure = \"observe\"`), and nobody is to be stopped for it")]
    NobodysDoing(&'static str),
    #[error("`{0}` is what the watch itself says of a rule: no rule can be over it")]
    OfTheWatch(&'static str),
    #[error("`slow` is for the handshakes of an address: count by `address`")]
    SlowsAddresses,
    #[error("by `all` nobody is meant who could be stopped: use `observe`")]
    MeansNobody,
}

impl Rule {
    /// # Errors
    /// If it could be aimed at somebody who has done nothing, or means nothing.
    pub(crate) fn new(meant: Meant) -> Result<Self, Misuse> {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if meant.name.is_empty() || meant.name.len() > NAME_BYTES_MAX || !meant.name.bytes().all(is_letter) {
            return Err(Misuse::Name);
        }
        if meant.events.is_empty() {
            return Err(Misuse::NoEvents);
        }
        if !(1..=WINDOW_SECS_MAX).contains(&meant.window.as_secs()) {
            return Err(Misuse::Window);
        }
        if !(1..=THRESHOLD_MAX).contains(&meant.threshold) {
            return Err(Misuse::Threshold);
        }
        for kind in &meant.events {
            if matches!(kind, Kind::RuleMatched | Kind::Slowed | Kind::Closed | Kind::Banned | Kind::BannedCame) {
                return Err(Misuse::OfTheWatch(kind.name()));
            }
            match (kind.origin(), meant.by, meant.measure) {
                (Origin::Way, By::Device | By::Subject, _) => return Err(Misuse::WayAgainstSomebody(kind.name())),
                (Origin::Way, _, Measure::Close | Measure::Ban(_)) => {
                    return Err(Misuse::WayTooHard(kind.name(), meant.measure.word()));
                }
                (Origin::Server | Origin::Owner, _, Measure::Slow | Measure::Close | Measure::Ban(_)) => {
                    return Err(Misuse::NobodysDoing(kind.name()));
                }
                _ => {}
            }
        }
        match (meant.by, meant.measure) {
            (_, Measure::Ban(secs)) if !(60..=BAN_SECS_MAX).contains(&secs) => return Err(Misuse::Span),
            (By::All, Measure::Slow | Measure::Close | Measure::Ban(_)) => return Err(Misuse::MeansNobody),
            (By::Device | By::Subject, Measure::Slow) => return Err(Misuse::SlowsAddresses),
            _ => {}
        }
        Ok(Self { name: meant.name.as_str().into(), meant })
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) const fn meant(&self) -> &Meant {
        &self.meant
    }

    /// Whose an event is, as this rule counts. None if it says nothing of that.
    fn whom(&self, event: &Event) -> Option<Option<Banned>> {
        match self.meant.by {
            By::Address => event.address.map(|address| Some(Banned::address(address))),
            By::Device => event.device.map(|device| Some(Banned::Device(device))),
            By::Subject => event.subject.clone().map(|subject| Some(Banned::Subject(subject))),
            By::All => Some(None),
        }
    }
}

/// A threshold was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) rule: Arc<str>,
    /// None where all count together.
    pub(crate) whom: Option<Banned>,
    pub(crate) measure: Measure,
    /// Nothing is done: the rule runs dry.
    pub(crate) dry: bool,
    /// Nothing is done: whoever it is is exempt.
    pub(crate) exempt: bool,
    pub(crate) count: u32,
}

/// What a rule has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Events that it counts.
    pub(crate) events: u64,
    /// How often its threshold was reached.
    pub(crate) matches: u64,
}

/// All rules, and what they have counted.
#[derive(Debug)]
pub(crate) struct Engine {
    rules: Vec<Rule>,
    seen: Vec<Seen>,
    /// By kind: the rules that name it.
    of_kind: Vec<Vec<usize>>,
    table: Table,
    exempt: Vec<IpNet>,
}

impl Engine {
    /// With networks on which no measure falls; this machine is one always.
    pub(crate) fn new(rules: Vec<Rule>, exempt: Vec<IpNet>) -> Self {
        let mut of_kind = vec![Vec::new(); Kind::ALL.len()];
        for (at, rule) in rules.iter().enumerate() {
            for kind in &rule.meant.events {
                if let Some(list) = of_kind.get_mut(kind.index()).filter(|list: &&mut Vec<_>| !list.contains(&at)) {
                    list.push(at);
                }
            }
        }
        Self { seen: vec![Seen::default(); rules.len()], of_kind, table: Table::default(), rules, exempt }
    }

    /// Other rules, from now on. What those of the same name have counted stays.
    pub(crate) fn set(&mut self, rules: Vec<Rule>, exempt: Vec<IpNet>) {
        let before = std::mem::replace(self, Self::new(rules, exempt));
        for (rule, seen) in self.rules.iter().zip(&mut self.seen) {
            let known = before.rules.iter().position(|known| known.name == rule.name);
            *seen = known.and_then(|at| before.seen.get(at)).copied().unwrap_or_default();
        }
    }

    /// The rules, and what each has seen.
    pub(crate) fn seen(&self) -> impl Iterator<Item = (&Rule, Seen)> {
        self.rules.iter().zip(self.seen.iter().copied())
    }

    /// Counts an event, and gives what its rules say.
    pub(crate) fn handle(&mut self, event: &Event) -> Vec<Match> {
        let mut matches = Vec::new();
        let millis = event.millis();
        for at in self.of_kind.get(event.kind.index()).into_iter().flatten() {
            let (Some(rule), Some(seen)) = (self.rules.get(*at), self.seen.get_mut(*at)) else { continue };
            let Some(whom) = rule.whom(event) else { continue };
            seen.events = seen.events.saturating_add(1);
            let window = u64::try_from(rule.meant.window.as_millis()).unwrap_or(u64::MAX);
            let Some(count) = self.table.count(&(*at, &whom), millis, window, rule.meant.threshold) else { continue };
            seen.matches = seen.matches.saturating_add(1);
            let exempt = match &whom {
                Some(Banned::Address(address)) => is_exempt(&self.exempt, *address),
                _ => event.address.is_some_and(|address| self.exempt.iter().any(|net| net.contains(&address))),
            };
            let Meant { measure, dry, .. } = rule.meant;
            matches.push(Match { rule: Arc::clone(&rule.name), whom, measure, dry, exempt, count });
        }
        matches
    }
}

/// Whether nothing is done against an address. The machine's own is nobody's: a proxy may speak from it for everybody.
fn is_exempt(networks: &[IpNet], address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified() || networks.iter().any(|network| network.contains(&address))
}

/// An hour, as bans are where a rule says nothing else.
pub(crate) const HOUR: Measure = Measure::Ban(BAN_SECS);

#[cfg(test)]
mod tests;
