//! What the hook answers, and what that makes of a caller. docs/POLICY.md has it for owners.
//!
//! ```text
//! refuse ───────────────────────────► he is turned away, with these words
//! subject that is proved ───────────► it, the groups and the level that are said, until the end that is said
//! another subject, or none ─────────► nothing is given; groups and level that are said are the most that there is
//! ```

use std::{fmt, sync::Arc, time::Duration};

use serde::Deserialize;

use crate::{
    door::{
        error::{DoorError, Refused},
        standing::{Group, Level, Proof, Standing, Subject},
    },
    watch::text,
};

/// How many groups an answer may name: each is held in memory with the session.
const GROUPS_MAX: usize = 64;
/// The longest words of a refusal, in bytes: what a CLOSE has room for.
const WORDS_BYTES_MAX: usize = 256;
/// How long a refusal is remembered, unless it says until when it holds: whoever was refused may pay, and come again.
const REFUSAL_KEPT: Duration = Duration::from_secs(10);
/// How much of an answer that cannot be read the log has, in characters.
const SHOWN_CHARS_MAX: usize = 80;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    #[serde(default)]
    subject: Option<Subject>,
    #[serde(default)]
    groups: Option<Vec<Group>>,
    #[serde(default)]
    level: Option<Level>,
    #[serde(default)]
    until: Option<u64>,
    #[serde(default)]
    refuse: Option<String>,
}

/// Who is asked about.
#[derive(Clone, Debug)]
pub(crate) struct Caller<'a> {
    /// What the device has by its key alone.
    pub(crate) has: &'a Standing,
    /// What a token under the seal gives.
    pub(crate) token: Option<&'a Standing>,
    pub(crate) cookies_prove: bool,
}

/// What it comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// With words for the person.
    Refused(String),
    Ruled(Ruled),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ruled {
    /// What is proved, the backend's word in it; none where nothing is, beyond the key.
    pub(crate) standing: Option<Result<Standing, DoorError>>,
    /// What the key alone may give.
    pub(crate) ceiling: Ceiling,
    /// Then it is asked again, in seconds since 1970.
    pub(crate) until: u64,
    /// It names a subject for whom nothing was proved.
    pub(crate) names_stranger: bool,
}

/// The most that a device has by its key, while a session lasts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ceiling {
    level: Option<Level>,
    groups: Option<Arc<[Group]>>,
}

impl Ceiling {
    /// None where it takes nothing away.
    pub(crate) fn lowers(&self, standing: &Standing) -> Option<Standing> {
        let level = self.level.map_or(standing.level, |most| most.min(standing.level));
        let groups = match &self.groups {
            Some(most) => standing.groups.iter().filter(|group| most.contains(group)).cloned().collect(),
            None => Arc::clone(&standing.groups),
        };
        let lowered = Standing { level, groups, ..standing.clone() };
        (lowered != *standing).then_some(lowered)
    }
}

impl Answer {
    /// Reads one.
    pub(super) fn parse(json: &[u8], now: u64) -> Result<Self, Refused> {
        let wrong = |why: String| DoorError::HookAnswer.because(why);
        let unread = |why: &dyn fmt::Display| {
            let begins = text::shown_within(&String::from_utf8_lossy(json), SHOWN_CHARS_MAX);
            wrong(format!("{why}; it begins with \"{begins}\""))
        };
        // A list would be read as the values in their order.
        if json.trim_ascii_start().first() != Some(&b'{') {
            return Err(unread(&"it is no JSON object"));
        }
        let mut answer: Self = serde_json::from_slice(json).map_err(|error| unread(&error))?;
        if answer.groups.as_ref().is_some_and(|groups| groups.len() > GROUPS_MAX) {
            return Err(wrong(format!("it names more than {GROUPS_MAX} groups")));
        }
        if answer.until.is_some_and(|until| until <= now) {
            return Err(wrong("`until` is over: seconds since 1970 are needed".to_owned()));
        }
        match &answer.refuse {
            Some(_) if answer.subject.is_some() || answer.groups.is_some() || answer.level.is_some() => {
                return Err(wrong("it refuses, and says what to give, in one".to_owned()));
            }
            Some(words) if words.len() > WORDS_BYTES_MAX => {
                return Err(wrong(format!("`refuse` has more than {WORDS_BYTES_MAX} bytes")));
            }
            _ => {}
        }
        if answer.level == Some(Level::Present) {
            tracing::debug!("the hook says level 3, which nothing but an assertion gives: it counts as 2");
            answer.level = Some(Level::Account);
        }
        Ok(answer)
    }

    /// How long it may be remembered at most, as far as it says.
    pub(super) fn kept(&self, now: u64) -> Duration {
        match (self.until, &self.refuse) {
            (Some(until), _) => Duration::from_secs(until.saturating_sub(now)),
            (None, Some(_)) => REFUSAL_KEPT,
            (None, None) => Duration::MAX,
        }
    }

    /// What it makes of a caller. What it may not give is not given.
    pub(crate) fn rule(&self, caller: &Caller<'_>, now: u64, max_age: u64) -> Ruling {
        if let Some(words) = &self.refuse {
            return Ruling::Refused(text::shown(words));
        }
        let Caller { has, token, cookies_prove } = caller;
        let oldest = now.saturating_add(max_age);
        let until = self.until.map_or(oldest, |until| until.min(oldest));
        let is_named = |standing: &Standing| self.subject.is_some() && standing.subject == self.subject;
        let named = match (token, &has.subject) {
            (Some(token), _) => is_named(token).then_some(*token),
            (None, Some(_)) => is_named(has).then_some(*has),
            (None, None) => (*cookies_prove && self.subject.is_some()).then_some(*has),
        };
        // A level that is the highest that can be said takes nothing away: a passkey may still be shown.
        let ceiling = Ceiling {
            level: self.level.filter(|level| *level < Level::Account),
            groups: self.groups.clone().filter(|_| named.is_none()).map(Into::into),
        };
        let names_stranger = self.subject.is_some() && named.is_none();
        let standing = match (named, token) {
            (Some(base), _) => Some(Ok(Standing {
                subject: self.subject.clone(),
                groups: self.groups.clone().map_or_else(|| Arc::clone(&base.groups), Into::into),
                level: self.level.unwrap_or(Level::Account),
                until: Some(base.until.map_or(until, |base| base.min(until))),
                present_at: None,
                // A token's own end, and its revocation, stay those of what it has proved.
                proof: match &base.proof {
                    token @ Proof::Token { .. } => token.clone(),
                    Proof::Device | Proof::Hook | Proof::Vouch => Proof::Hook,
                },
            })),
            (None, Some(_)) if names_stranger => Some(Err(DoorError::HookStranger)),
            (None, Some(token)) => {
                let lowered = ceiling.lowers(token).unwrap_or_else(|| Standing::clone(token));
                let end = match self.until {
                    Some(_) => token.until.map_or(until, |own| own.min(until)),
                    None => token.until.unwrap_or(until),
                };
                Some(Ok(Standing { until: Some(end), ..lowered }))
            }
            (None, None) => None,
        };
        Ruling::Ruled(Ruled { standing, ceiling, until, names_stranger })
    }
}
