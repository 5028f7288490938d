//! What an owner says of the watch: rules of his own beside those that are shipped, and on whom no measure falls.

use ipnet::IpNet;

use super::rules::{Rule, shipped};

/// `[watch]` and `[[watch.rule]]` of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchSettings {
    /// Of the owner's own; one with a shipped rule's name is in its place.
    pub(crate) rules: Vec<Rule>,
    /// Networks on which no measure falls.
    pub(crate) exempt: Vec<IpNet>,
}

impl WatchSettings {
    /// All that are in force.
    pub(crate) fn all_rules(&self) -> Vec<Rule> {
        let is_replaced = |rule: &Rule| self.rules.iter().any(|own| own.name() == rule.name());
        let mut all: Vec<_> = shipped().into_iter().filter(|rule| !is_replaced(rule)).collect();
        all.extend(self.rules.iter().cloned());
        all
    }
}
