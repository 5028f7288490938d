//! What a line of the audit log says: of an event, or of the log itself.

use std::{collections::BTreeMap, time::SystemTime};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// The form of the lines, as a file's first line names it.
pub(super) const FORM: u32 = 1;

/// An entry, whatever it is of: its members in the order in which RFC 8785 has them does not matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<String>,
    pub(super) at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<String>,
    pub(super) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<String>,
}

/// What the log says of itself.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Own<'a> {
    Begun {
        at: String,
        form: u32,
        kind: &'static str,
        version: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<&'a str>,
    },
    Head {
        at: String,
        kind: &'static str,
    },
    Rotated {
        at: String,
        first: u64,
        kind: &'static str,
        next: String,
    },
    Removed {
        at: String,
        from: u64,
        kind: &'static str,
        last: String,
        to: u64,
    },
    Torn {
        at: String,
        bytes: u64,
        digest: String,
        kind: &'static str,
    },
    Lost {
        at: String,
        counts: &'a BTreeMap<&'static str, u64>,
        kind: &'static str,
        since: String,
        why: &'a str,
    },
}

/// A moment, as entries have it: all of one length, so that their order is that of time.
pub(super) fn stamp(at: SystemTime) -> String {
    let time = OffsetDateTime::from(at).to_offset(UtcOffset::UTC);
    let (hour, minute, second, milli) = time.to_hms_milli();
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

pub(super) fn moment(stamp: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(stamp, &Rfc3339).ok().map(SystemTime::from)
}
