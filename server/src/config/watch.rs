//! `[watch]` and `[[watch.rule]]`: on whom no measure falls, and rules beside those that are shipped. docs/WATCH.md says the same to
//! owners.

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::error::{Wrong, did_you_mean};
use crate::{
    door::{firewall::network, quantity::parse_span},
    watch::{
        bans::BAN_SECS,
        events::Kind,
        rules::{By, Meant, Measure, RULES_MAX, Rule},
        settings::WatchSettings,
    },
};

/// Networks that are exempt.
const EXEMPT_MAX: usize = 1_000;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    #[serde(default)]
    exempt: Vec<Spanned<String>>,
    #[serde(default)]
    rule: Vec<Spanned<Written>>,
    #[serde(default)]
    pub(super) ban_command: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Spanned<String>,
    events: Vec<Spanned<String>>,
    by: Spanned<String>,
    threshold: Spanned<i64>,
    window: Spanned<String>,
    measure: Spanned<String>,
    #[serde(default)]
    ban: Option<Spanned<String>>,
    #[serde(default)]
    dry: bool,
}

/// What the table says; and what is wrong in it.
pub(super) fn read(table: &Table, wrong: &mut Vec<Wrong>) -> WatchSettings {
    let mut settings = WatchSettings::default();
    if let Some(beyond) = table.exempt.get(EXEMPT_MAX) {
        wrong.push(Wrong::new(beyond.span(), format!("`exempt` has {EXEMPT_MAX} networks at most")));
    }
    for text in table.exempt.iter().take(EXEMPT_MAX) {
        match network(text.get_ref()) {
            Ok(network) => settings.exempt.push(network),
            Err(error) => wrong.push(Wrong::new(text.span(), error)),
        }
    }
    if let Some(beyond) = table.rule.get(RULES_MAX) {
        wrong.push(Wrong::new(beyond.span(), format!("the watch has {RULES_MAX} rules of your own at most")));
    }
    for written in table.rule.iter().take(RULES_MAX) {
        let Some(rule) = rule(written, wrong) else { continue };
        if settings.rules.iter().any(|known: &Rule| known.name() == rule.name()) {
            let message = format!("another rule of the watch has the name \"{}\": give each its own", rule.name());
            wrong.push(Wrong::new(written.get_ref().name.span(), message));
        }
        settings.rules.push(rule);
    }
    settings
}

fn rule(written: &Spanned<Written>, wrong: &mut Vec<Wrong>) -> Option<Rule> {
    let (table, before) = (written.get_ref(), wrong.len());
    let mut events = Vec::new();
    for name in &table.events {
        match Kind::named(name.get_ref()) {
            Some(kind) => events.push(kind),
            None => {
                let names = Kind::ALL.iter().map(|kind| kind.name());
                wrong.push(mistyped(name, "no event (docs/WATCH.md has them all)", names));
            }
        }
    }
    let by = By::ALL.into_iter().find(|by| by.word() == table.by.get_ref());
    if by.is_none() {
        let what = "nothing to count by (write address, device, subject or all)";
        wrong.push(mistyped(&table.by, what, By::ALL.into_iter().map(By::word)));
    }
    let ban = table.ban.as_ref().map(|ban| (ban, parse_span(ban.get_ref())));
    if let Some((ban, Err(_))) = &ban {
        wrong.push(Wrong::new(ban.span(), "a ban is 1m to 7d: write it as 30m, 12h or 7d"));
    }
    let secs = ban.as_ref().map_or(BAN_SECS, |(_, secs)| secs.as_ref().copied().unwrap_or(BAN_SECS));
    let measure = match table.measure.get_ref().as_str() {
        "observe" => Some(Measure::Observe),
        "slow" => Some(Measure::Slow),
        "close" => Some(Measure::Close),
        "ban" => Some(Measure::Ban(secs)),
        _ => {
            wrong.push(mistyped(
                &table.measure,
                "no measure (write observe, slow, close or ban)",
                Measure::WORDS.into_iter(),
            ));
            None
        }
    };
    if let (Some((ban, _)), Some(Measure::Observe | Measure::Slow | Measure::Close)) = (&ban, measure) {
        wrong.push(Wrong::new(ban.span(), "`ban` is how long `measure = \"ban\"` lasts: leave it out here"));
    }
    let window = parse_span(table.window.get_ref()).ok();
    if window.is_none() {
        wrong.push(Wrong::new(table.window.span(), "a window is 1s to 24h: write it as 90s, 10m or 1h"));
    }
    let (Some(by), Some(measure), Some(window)) = (by, measure, window) else { return None };
    if wrong.len() > before {
        return None;
    }
    // What does not fit is beyond the bound that the rule itself names.
    let threshold = u32::try_from(*table.threshold.get_ref()).unwrap_or(0);
    let (name, window) = (table.name.get_ref().clone(), Duration::from_secs(window));
    let meant = Meant { name: name.clone(), events, by, window, threshold, measure, dry: table.dry };
    let told = |error| wrong.push(Wrong::new(written.span(), format!("the rule \"{name}\" cannot be: {error}")));
    Rule::new(meant).map_err(told).ok()
}

fn mistyped<'a>(text: &Spanned<String>, what: &str, words: impl Iterator<Item = &'a str>) -> Wrong {
    let given = text.get_ref();
    let meant = did_you_mean(given, words, '"');
    Wrong::new(text.span(), format!("\"{given}\" is {what}{meant}"))
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    const RULE: &str = "[[watch.rule]]\nname = \"mine\"\nevents = [\"not-allowed\"]\nby = \"device\"\nthreshold = 5\n\
                        window = \"1m\"\nmeasure = \"ban\"\nban = \"2h\"\n";

    fn said(text: &str) -> String {
        Config::parse("file", text).expect_err("it is wrong").to_string()
    }

    #[test]
    fn a_rule_of_the_owners_stands_beside_those_that_are_shipped_or_in_the_place_of_its_name() {
        let shipped = Config::parse("file", "").expect("an empty file").watch.all_rules().len();
        let config = Config::parse("file", &format!("[watch]\nexempt = [\"198.51.100.0/24\"]\n{RULE}")).expect("right");
        assert_eq!((config.watch.all_rules().len(), config.watch.exempt.len()), (shipped + 1, 1));
        let dry = RULE.replace("mine", "smuggling").replace("not-allowed", "request-smuggled") + "dry = true\n";
        let rules = Config::parse("file", &dry).expect("right").watch.all_rules();
        assert_eq!(rules.len(), shipped);
        assert!(rules.iter().any(|rule| &**rule.name() == "smuggling" && rule.meant().dry));
    }

    #[test]
    fn the_documents_example_is_in_order() {
        let document = include_str!("../../../docs/WATCH.md");
        let example = document.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
        let config = Config::parse("WATCH.md", example).unwrap_or_else(|errors| panic!("{example}\n{errors}"));
        assert_eq!((config.watch.rules.len(), config.watch.exempt.len()), (1, 2));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_what_may_have_been_meant() {
        for (from, to, expected) in [
            (
                "not-allowed",
                "not-alowed",
                "file:3:11: \"not-alowed\" is no event (docs/WATCH.md has them all): did you mean \"not-allowed\"?",
            ),
            (
                "\"device\"",
                "\"devise\"",
                "file:4:6: \"devise\" is nothing to count by (write address, device, subject or all): did you mean \"device\"?",
            ),
            (
                "\"ban\"",
                "\"bann\"",
                "file:7:11: \"bann\" is no measure (write observe, slow, close or ban): did you mean \"ban\"?",
            ),
            ("\"ban\"", "\"close\"", "file:8:7: `ban` is how long"),
            ("\"1m\"", "\"soon\"", "file:6:10: a window is 1s to 24h"),
            ("threshold = 5", "threshold = 0", "its threshold is from 1 to 1,000,000"),
            (
                "not-allowed",
                "record-altered",
                "file:1:1: the rule \"mine\" cannot be: `record-altered` can be caused by whoever is on the way",
            ),
            ("\"2h\"", "\"8d\"", "its ban is from a minute to a week"),
            ("name", "nam", "unknown field `nam`"),
        ] {
            let said = said(&RULE.replace(from, to));
            assert!(said.contains(expected), "{said}");
        }
        assert!(said(&format!("{RULE}{RULE}")).contains("another rule of the watch has the name \"mine\""));
        assert!(said("[watch]\nexempt = [\"10.1.2.3/8\"]\n").contains("an address and a network in one"));
    }
}
