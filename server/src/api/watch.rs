//! What the watch has seen, and whom it keeps out: rules, bans, networks on whose way lines are altered.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::State as Extracted,
    http::StatusCode,
    response::Response,
    routing::{get, post},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, By, Failure, Said, Target, blocking, by_whom, json};
pub use crate::services::owner::told::BanInfo;
use crate::{
    door::standing::Subject,
    state::{
        records::now,
        store::{StoreError, StoredBan},
    },
    watch::{
        bans::{Ban, Banned, NotBannable},
        events::{Event, Kind},
        ways::{self, Way},
    },
};

/// A rule of the watch, and what it has seen since the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WatchRule {
    /// Its name.
    pub name: String,
    /// Names of the events that it counts.
    pub events: Vec<String>,
    /// `address`, `device`, `subject` or `all`.
    pub by: String,
    /// How many lead to the measure.
    pub threshold: u32,
    /// In how many seconds.
    pub window_secs: u64,
    /// `observe`, `slow`, `close` or `ban`.
    pub measure: String,
    /// It is only told.
    pub dry: bool,
    /// Events that it has counted.
    pub counted: u64,
    /// How often its threshold was reached.
    pub matched: u64,
}

/// How often something was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KindCount {
    /// The event's name.
    pub event: String,
    /// How many since the start.
    pub count: u64,
}

/// A network on whose way to here lines are altered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlteringWay {
    /// The address, or of IPv6 its /64.
    pub network: String,
    /// Seconds since 1970: the first time.
    pub since: u64,
    /// The last.
    pub last: u64,
    /// What, and how often.
    pub events: Vec<KindCount>,
    /// The last device that it happened to, where one had shown itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// What the watch has seen since the server's start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WatchList {
    /// The rules in force.
    pub rules: Vec<WatchRule>,
    /// All events.
    pub events: Vec<KindCount>,
    /// Those that some reader was too slow for.
    pub lost: Vec<KindCount>,
    /// Alterations on the way, the last one first.
    pub ways: Vec<AlteringWay>,
}

/// All that are in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BanList {
    /// The one that ends first at first.
    pub bans: Vec<BanInfo>,
}

/// Whom to keep out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddBan {
    /// `address`, `device` or `subject`.
    #[schemars(extend("enum" = ["address", "device", "subject"]))]
    pub what: String,
    /// Which one.
    pub which: String,
    /// For how long.
    pub secs: u64,
}

/// Whom to let in again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LiftBan {
    /// `address`, `device` or `subject`.
    #[schemars(extend("enum" = ["address", "device", "subject"]))]
    pub what: String,
    /// Which one.
    pub which: String,
}

/// The longest ban of the owner's: ten years.
const SECS_MAX: u64 = 10 * 366 * 24 * 60 * 60;

pub(super) fn routes() -> Router<Arc<Target>> {
    Router::new().route("/watch", get(seen)).route("/bans", get(list).post(add)).route("/bans/lift", post(lift))
}

async fn seen(Extracted(target): Extracted<Arc<Target>>) -> Answer<Response> {
    let Some(duologue) = &target.running else {
        let message = "no server runs here, so that nothing is watched: `duologue bans list` works without one";
        return Err(Failure::new(StatusCode::CONFLICT, "no-server", message));
    };
    let rules = duologue.rules_seen().into_iter().map(|(rule, seen)| {
        let meant = rule.meant();
        WatchRule {
            name: rule.name().to_string(),
            events: meant.events.iter().map(|kind| kind.name().to_owned()).collect(),
            by: meant.by.word().to_owned(),
            threshold: meant.threshold,
            window_secs: meant.window.as_secs(),
            measure: meant.measure.word().to_owned(),
            dry: meant.dry,
            counted: seen.events,
            matched: seen.matches,
        }
    });
    let watch = duologue.watch();
    let list = WatchList {
        rules: rules.collect(),
        events: watch.told().into_iter().map(count).collect(),
        lost: watch.lost().into_iter().map(count).collect(),
        ways: duologue.ways().into_iter().map(way).collect(),
    };
    Ok(json(StatusCode::OK, &list))
}

fn count((kind, count): (Kind, u64)) -> KindCount {
    KindCount { event: kind.name().to_owned(), count }
}

fn way(way: Way) -> AlteringWay {
    let Way { network, since, last, counts, device } = way;
    let network = Banned::Address(network).which();
    let events = ways::KINDS.into_iter().zip(counts).filter(|(_, count)| *count > 0).map(count).collect();
    AlteringWay { network, since, last, events, device: device.map(|device| device.to_string()) }
}

async fn list(Extracted(target): Extracted<Arc<Target>>) -> Answer<Response> {
    let work = move || match &target.running {
        Some(duologue) => Ok(duologue.watch().bans().list(now()).iter().map(info).collect()),
        None => kept(&target),
    };
    Ok(json(StatusCode::OK, &BanList { bans: blocking(work).await?? }))
}

fn kept(target: &Target) -> Result<Vec<BanInfo>, StoreError> {
    let mut bans = target.state.store().bans()?;
    bans.retain(|ban| ban.until > now());
    bans.sort_by_key(|ban| ban.until);
    Ok(bans.into_iter().map(of_stored).collect())
}

async fn add(
    Extracted(target): Extracted<Arc<Target>>,
    by: Option<Extension<By>>,
    Said(AddBan { what, which, secs }): Said<AddBan>,
) -> Answer<Response> {
    let watch = target.watch();
    let whom = read(&what, &which)?;
    if !(1..=SECS_MAX).contains(&secs) {
        let message = "a ban lasts from 1s to ten years: write it as 30m, 12h or 7d";
        return Err(Failure::new(StatusCode::BAD_REQUEST, "bad-span", message));
    }
    if let Banned::Address(address) = &whom
        && (address.is_loopback() || address.is_unspecified())
    {
        let message = "this machine is never banned: a proxy may speak from it for everybody";
        return Err(Failure::new(StatusCode::BAD_REQUEST, "bad-whom", message));
    }
    let work = move || match &target.running {
        Some(duologue) => duologue.add_ban(whom, secs),
        None => {
            let since = now();
            let ban = Ban { whom, since, until: since.saturating_add(secs), repeats: 0, by: "owner".into() };
            let stored =
                StoredBan { whom: ban.whom.to_string(), since, until: ban.until, repeats: 0, by: ban.by.to_string() };
            target.state.store().change_bans(&[stored], &[]).map(|()| ban)
        }
    };
    let ban = blocking(work).await??;
    watch.tell(Event::of(Kind::OwnerBanned).note(format!("{} secs={secs} by={}", shown(&ban.whom), by_whom(by))));
    Ok(json(StatusCode::CREATED, &info(&ban)))
}

async fn lift(
    Extracted(target): Extracted<Arc<Target>>,
    by: Option<Extension<By>>,
    Said(LiftBan { what, which }): Said<LiftBan>,
) -> Answer<Response> {
    let watch = target.watch();
    let whom = read(&what, &which)?;
    let lifted = whom.clone();
    let work = move || match &target.running {
        Some(duologue) => Ok(duologue.lift_ban(&lifted)?.as_ref().map(info)),
        None => {
            let found = target.state.store().bans()?.into_iter().find(|ban| ban.whom == lifted.to_string());
            if found.is_some() {
                target.state.store().change_bans(&[], &[lifted.to_string()])?;
            }
            Ok::<_, StoreError>(found.map(of_stored))
        }
    };
    let Some(ban) = blocking(work).await?? else {
        let message = format!("there is no ban of the {whom}: `duologue bans list` shows them");
        return Err(Failure::new(StatusCode::NOT_FOUND, "unknown-ban", &message));
    };
    watch.tell(Event::of(Kind::BanLifted).note(format!("{} by={}", shown(&whom), by_whom(by))));
    Ok(json(StatusCode::OK, &ban))
}

fn shown(whom: &Banned) -> String {
    format!("{}={:?}", whom.what(), whom.which())
}

fn read(what: &str, which: &str) -> Answer<Banned> {
    let bad = |why: &str| {
        Failure::new(StatusCode::BAD_REQUEST, "bad-whom", &format!("{which:?} is nobody who can be kept out: {why}"))
    };
    if what == "subject" {
        // Else it would be nobody's name.
        Subject::new(which).map_err(|error| bad(&error.to_string()))?;
    }
    format!("{what} {which}").parse().map_err(|error: NotBannable| bad(&error.to_string()))
}

fn info(ban: &Ban) -> BanInfo {
    ban.into()
}

fn of_stored(ban: StoredBan) -> BanInfo {
    let StoredBan { whom, since, until, repeats, by } = ban;
    let (what, which) = whom.split_once(' ').unwrap_or(("", &whom));
    BanInfo { what: what.to_owned(), which: which.to_owned(), by, since, until, repeats }
}
