//! Reading the log: its newest entries, filtered, as text, CSV or JSON. It believes what stands there: `verify` does not.

use std::{
    collections::VecDeque,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    BEGUN, HEAD, REMOVED, ROTATED, address, entry,
    files::{self, Part},
    line::{LINE_LEN_MAX, Line},
    writer::AuditState,
};

/// Which entries.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of one of these kinds; of any, if there is none.
    pub kinds: Vec<String>,
    /// Of this device: its id, or the beginning of it.
    pub device: Option<String>,
    /// Of this subject.
    pub subject: Option<String>,
    /// From this address, however it is written there.
    pub address: Option<IpAddr>,
    /// Not before: a moment as entries have it, or the beginning of one.
    pub since: Option<String>,
    /// Without what the log says of itself.
    pub events_only: bool,
}

/// An entry, as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its number.
    pub n: u64,
    /// When, in UTC.
    pub at: String,
    /// Of what kind.
    pub kind: String,
    /// How often, where it stands for many.
    pub count: Option<u64>,
    /// Whose device.
    pub device: Option<String>,
    /// Who.
    pub subject: Option<String>,
    /// From where.
    pub address: Option<String>,
    /// At which service.
    pub label: Option<String>,
    /// By which word.
    pub code: Option<String>,
    /// By what somebody was let in.
    pub by: Option<String>,
    /// What the server has noted beside; of the log's own lines, all that they say.
    pub note: Option<String>,
}

/// The files of an audit log's directory, in their order, those with what is left of removed ones among them.
///
/// # Errors
/// If it cannot be read.
pub fn audit_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let removed = Some(files::removed_path(directory)).filter(|path| path.exists());
    let parts = files::parts(directory)?;
    Ok(removed.into_iter().chain(parts.into_iter().map(|part| part.path)).collect())
}

/// A moment, as entries have it.
#[must_use]
pub fn audit_stamp(at: std::time::SystemTime) -> String {
    entry::stamp(at)
}

/// The newest `max` entries of these files that pass, the oldest first. What is no line is passed over.
///
/// # Errors
/// If a file cannot be read.
pub fn tail(paths: &[PathBuf], directory: Option<&Path>, filter: &Filter, max: usize) -> io::Result<Vec<AuditEntry>> {
    let words = filter.address.map(|address| address::words(address, directory));
    let mut newest = VecDeque::new();
    for path in paths.iter().filter(|path| !files::is_of_removed(path)) {
        let mut read = files::open(path)?;
        let mut bytes = Vec::new();
        while let Some(is_whole) = files::read_line(&mut read, &mut bytes, LINE_LEN_MAX)? {
            let entry = Line::parse(&bytes).filter(|_| is_whole).and_then(|line| shown(&line));
            let Some(entry) = entry.filter(|entry| filter.lets(entry, words.as_deref())) else { continue };
            if newest.len() >= max {
                newest.pop_front();
            }
            newest.push_back(entry);
        }
    }
    Ok(newest.into())
}

impl Filter {
    fn lets(&self, entry: &AuditEntry, addresses: Option<&[String]>) -> bool {
        let is = |wanted: &Option<String>, has: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| has.as_ref().is_some_and(|has| has == wanted))
        };
        let begins = self.device.as_ref().is_none_or(|id| entry.device.as_ref().is_some_and(|it| it.starts_with(id)));
        (self.kinds.is_empty() || self.kinds.contains(&entry.kind))
            && begins
            && is(&self.subject, &entry.subject)
            && addresses.is_none_or(|words| entry.address.as_ref().is_some_and(|address| words.contains(address)))
            && self.since.as_ref().is_none_or(|since| entry.at >= *since)
            && !(self.events_only && entry.kind.starts_with("audit-"))
    }
}

fn shown(line: &Line<'_>) -> Option<AuditEntry> {
    let mut said: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line.entry).ok()?;
    let mut text = |key: &str| said.remove(key).and_then(|value| value.as_str().map(str::to_owned));
    let (at, kind) = (text("at")?, text("kind")?);
    let mut entry = AuditEntry {
        n: line.n,
        at,
        kind,
        count: None,
        device: text("device"),
        subject: text("subject"),
        address: text("address"),
        label: text("label"),
        code: text("code"),
        by: text("by"),
        note: text("note"),
    };
    entry.count = said.remove("count").and_then(|count| count.as_u64());
    if !said.is_empty() {
        entry.note = Some(serde_json::to_string(&said).ok()?);
    }
    Some(entry)
}

/// The key that has signed the first line of a log, and the one that signs now. None if there is no line.
///
/// # Errors
/// If a file cannot be read.
pub fn audit_keys(directory: &Path) -> io::Result<Option<(super::AuditKey, super::AuditKey)>> {
    let parts = files::parts(directory)?;
    let removed = files::removed_path(directory);
    let first_of = |path: &Path| -> io::Result<Option<super::AuditKey>> {
        let mut bytes = Vec::new();
        files::read_line(&mut files::open(path)?, &mut bytes, LINE_LEN_MAX)?;
        Ok(Line::parse(&bytes).and_then(|line| line.signed).map(|signed| signed.key))
    };
    let first = match (removed.exists(), parts.first()) {
        (true, _) => first_of(&removed)?,
        (false, Some(part)) => first_of(&part.path)?,
        (false, None) => None,
    };
    let now = parts.last().map(|part| first_of(&part.path)).transpose()?.flatten();
    Ok(first.zip(now))
}

/// What is known of a log that nobody writes now. None if there is none.
pub(crate) fn at_rest(directory: &Path) -> io::Result<Option<AuditState>> {
    if !directory.exists() {
        return Ok(None);
    }
    let (Some(head), Some((_, key))) = (last_head(directory)?, audit_keys(directory)?) else { return Ok(None) };
    let kinds = [BEGUN, HEAD, ROTATED, REMOVED].map(str::to_owned).to_vec();
    let signed = tail(&audit_files(directory)?, None, &Filter { kinds, ..Filter::default() }, 1)?;
    let signed_at = signed.into_iter().next().map(|entry| entry.at).unwrap_or_default();
    let (head, n, key) = (head.to_string(), head.n, key.to_string());
    Ok(Some(AuditState { head, n, key, signed_at, waiting_losses: 0, sinks: Vec::new() }))
}

/// The last whole line of a log, and the last signed one, as heads; without its server.
///
/// # Errors
/// If a file cannot be read.
pub fn last_head(directory: &Path) -> io::Result<Option<super::Head>> {
    let parts = files::parts(directory)?;
    for Part { path, .. } in parts.iter().rev() {
        if let Some(bytes) = files::last_line(path, LINE_LEN_MAX)?
            && let Some(line) = Line::parse(&bytes)
        {
            return Ok(Some(super::Head { n: line.n, hash: line.said }));
        }
    }
    Ok(None)
}
