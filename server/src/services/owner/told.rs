//! What is told of sessions, events and bans, as JSON: the same to the owner's page and by the local API.

use std::net::IpAddr;

use duologue::{DeviceId, SessionId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    door::standing::{Level, Subject},
    watch::{
        bans::Ban,
        events::{Event, Origin},
        recent::Since,
    },
};

/// A session: a line that is open, or waits for a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionInfo {
    /// Its id, base64url.
    pub id: String,
    /// Its device, base64url.
    pub device: String,
    /// The device's name, as it is kept; none of a device that nobody has let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who uses it, as far as the server knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// How sure that is.
    pub level: Level,
    /// From where; none where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// When it began, in seconds since 1970.
    pub since: u64,
    /// False while it waits for a connection, or for a page.
    pub connected: bool,
    /// What has come on all its connections, in bytes of sealed records.
    pub received: u64,
    /// What has left.
    pub sent: u64,
}

/// Sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionList {
    /// The newest first, at most 1,000.
    pub sessions: Vec<SessionInfo>,
    /// How many there are.
    pub all: usize,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventInfo {
    /// Counted from the server's start.
    pub number: u64,
    /// Milliseconds since 1970.
    pub at: u64,
    /// What it is: docs/WATCH.md has the list.
    pub event: String,
    /// Whose doing it can be: `way`, `device`, `server` or `owner`.
    pub whose: String,
    /// `error`, `warn`, `info` or `debug`, as in the log.
    pub level: String,
    /// The device, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// At which service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// A word of a closed set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What the log says beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The last events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventList {
    /// In their order.
    pub events: Vec<EventInfo>,
    /// The number to ask with the next time.
    pub next: u64,
    /// How many between that and the number that was asked with are not kept any more, or were too many to tell.
    pub missed: u64,
}

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BanInfo {
    /// `address`, `device` or `subject`.
    pub what: String,
    /// Which one.
    pub which: String,
    /// The rule, or `owner`.
    pub by: String,
    /// Seconds since 1970.
    pub since: u64,
    /// The same: its end.
    pub until: u64,
    /// How many there were before.
    pub repeats: u32,
}

/// The audit log's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct AuditShown {
    /// Its last signed line and that one's hash, as `audit verify --head` takes them.
    pub(crate) head: String,
    /// When that was signed.
    pub(crate) signed_at: String,
    /// What could not be written.
    pub(crate) losses: u64,
    /// Why nothing is known of it: it cannot be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<String>,
}

impl From<&Ban> for BanInfo {
    fn from(ban: &Ban) -> Self {
        let Ban { whom, since, until, repeats, by } = ban;
        let (what, which) = (whom.what().to_owned(), whom.which());
        Self { what, which, by: by.to_string(), since: *since, until: *until, repeats: *repeats }
    }
}

impl EventInfo {
    fn of(number: u64, event: &Event) -> Self {
        let whose = match event.kind.origin() {
            Origin::Way => "way",
            Origin::Sealed => "device",
            Origin::Server => "server",
            Origin::Owner => "owner",
        };
        Self {
            number,
            at: event.millis(),
            event: event.kind.name().to_owned(),
            whose: whose.to_owned(),
            level: event.kind.level().as_str().to_ascii_lowercase(),
            device: event.device.map(|device| device.to_string()),
            subject: event.subject.as_deref().map(str::to_owned),
            address: event.address,
            label: event.label.as_deref().map(str::to_owned),
            code: event.code.map(str::to_owned),
            note: event.note.as_deref().map(str::to_owned),
        }
    }
}

impl From<Since> for EventList {
    fn from(Since { events, next, missed }: Since) -> Self {
        Self { events: events.iter().map(|(number, event)| EventInfo::of(*number, event)).collect(), next, missed }
    }
}

/// Ids as they are told.
pub(crate) fn ids(session: SessionId, device: DeviceId) -> (String, String) {
    (session.to_string(), device.to_string())
}
