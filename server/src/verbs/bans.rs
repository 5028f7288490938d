//! `duologue bans`: who is kept out for a time. `duologue watch`: by which rules, and what they have seen.

use std::net::IpAddr;

use duologue_server::{
    AddBan, AlteringWay, BanInfo, BanList, KindCount, LiftBan, WatchList, WatchRule, parse_span, shown_name,
};
use hyper::Method;

use super::owner::{Owner, when};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Bans {
    /// Lists the bans in force: whom, by which rule, until when.
    List {
        #[command(flatten)]
        owner: Owner,
    },
    /// Keeps somebody out for a time, and ends the lines that are there.
    Add {
        #[command(flatten)]
        whom: Whom,
        /// For how long: 30m, 12h, 7d.
        #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = span)]
        span: u64,
        #[command(flatten)]
        owner: Owner,
    },
    /// Lets somebody in again, and forgets that there was a ban.
    Lift {
        #[command(flatten)]
        whom: Whom,
        #[command(flatten)]
        owner: Owner,
    },
}

/// Whom a ban is for.
#[derive(Debug, clap::Args)]
pub(crate) struct Whom {
    /// An address such as 192.0.2.7, of IPv6 with its /64; or a device's id, as `duologue devices list` shows it.
    #[arg(allow_hyphen_values = true, required_unless_present = "subject", conflicts_with = "subject")]
    whom: Option<String>,
    /// Your name for a person.
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
}

impl Whom {
    fn split(self) -> (String, String) {
        let is_address = |text: &str| text.strip_suffix("/64").unwrap_or(text).parse::<IpAddr>().is_ok();
        match (self.whom, self.subject) {
            (_, Some(subject)) => ("subject".to_owned(), subject),
            (Some(text), None) if is_address(&text) => ("address".to_owned(), text),
            (text, None) => ("device".to_owned(), text.unwrap_or_default()),
        }
    }
}

fn span(text: &str) -> Result<u64, String> {
    parse_span(text).map_err(|error| error.to_string())
}

impl Bans {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List { owner } => {
                let list: BanList = owner.get("/bans").await?;
                owner.tell(&list, |list| list.bans.iter().map(line).collect());
            }
            Self::Add { whom, span, owner } => {
                let (what, which) = whom.split();
                let asked = AddBan { what, which, secs: span };
                let ban: BanInfo = owner.ask(Method::POST, "/bans", Some(&asked)).await?;
                owner.tell(&ban, |ban| vec![format!("banned {}", line(ban))]);
            }
            Self::Lift { whom, owner } => {
                let (what, which) = whom.split();
                let ban: BanInfo = owner.ask(Method::POST, "/bans/lift", Some(&LiftBan { what, which })).await?;
                owner.tell(&ban, |ban| vec![format!("lifted {}", line(ban))]);
            }
        }
        Ok(())
    }
}

fn line(ban: &BanInfo) -> String {
    let BanInfo { what, which, by, since, until, repeats } = ban;
    let again = if *repeats > 0 { format!("  after {repeats} before") } else { String::new() };
    format!("{what} {}  by {by}  since {}  until {}{again}", shown_name(which), when(*since), when(*until))
}

/// What the watch has seen, as lines.
pub(super) fn lines(list: &WatchList) -> Vec<String> {
    let mut lines: Vec<_> = list.rules.iter().map(rule).collect();
    let told = |what: &'static str| move |KindCount { event, count }: &KindCount| format!("{what} {event}  {count}");
    lines.extend(list.events.iter().map(told("event")));
    lines.extend(list.lost.iter().map(told("lost")));
    lines.extend(list.ways.iter().map(way));
    lines
}

fn rule(rule: &WatchRule) -> String {
    let WatchRule { name, events, by, threshold, window_secs, measure, dry, counted, matched } = rule;
    let dry = if *dry { ", dry" } else { "" };
    let events = events.join(", ");
    format!(
        "rule {name}  {threshold} in {window_secs} s by {by}: {measure}{dry}  counted {counted}  matched {matched}  of {events}"
    )
}

fn way(way: &AlteringWay) -> String {
    let AlteringWay { network, since, last, events, device } = way;
    let events: Vec<_> = events.iter().map(|KindCount { event, count }| format!("{count} {event}")).collect();
    let device = device.as_ref().map(|device| format!("  device {device}")).unwrap_or_default();
    format!("altered from {network}  {}  since {}  last {}{device}", events.join(", "), when(*since), when(*last))
}
