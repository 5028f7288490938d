//! What an owner says of the watch: rules of his own beside those that are shipped, and on whom no measure falls.

use std::time::SystemTime;

use ipnet::IpNet;

use super::{
    events::Event,
    rules::{Engine, Rule, shipped},
};

/// `[watch]` and `[[watch.rule]]` of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchSettings {
    /// Of the owner's own; one with a shipped rule's name is in its place.
    pub(crate) rules: Vec<Rule>,
    /// Networks on which no measure falls.
    pub(crate) exempt: Vec<IpNet>,
}

impl WatchSettings {
    /// What these rules would have said of what happened, in its order: which rule, and when. To try rules on a record of a day.
    #[must_use]
    pub fn would_match<'a>(&self, events: impl IntoIterator<Item = &'a Event>) -> Vec<(String, SystemTime)> {
        let mut engine = Engine::new(self.all_rules(), self.exempt.clone());
        let matches = |event: &Event| {
            let matches = engine.handle(event).into_iter();
            matches.map(|matched| (matched.rule.to_string(), event.at)).collect::<Vec<_>>()
        };
        events.into_iter().flat_map(matches).collect()
    }

    /// All that are in force.
    pub(crate) fn all_rules(&self) -> Vec<Rule> {
        let is_replaced = |rule: &Rule| self.rules.iter().any(|own| own.name() == rule.name());
        let mut all: Vec<_> = shipped().into_iter().filter(|rule| !is_replaced(rule)).collect();
        all.extend(self.rules.iter().cloned());
        all
    }
}
