//! `duologue audit`: the audit log, and whether it is whole. None of these but `head` asks the server.

use std::{
    net::IpAddr,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail};
use duologue_server::{
    Kind,
    audit::{
        AuditEntry, AuditKey, AuditState, DIRECTORY, Expected, Filter, Head, HeadSeen, OWN_KINDS, Whole, audit_files,
        audit_keys, audit_stamp, tail, verify_files,
    },
    parse_span, shown,
};
use serde::Serialize;

use super::{owner::Owner, say};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum AuditVerb {
    /// Finds any line that was removed, altered, moved, repeated or added, and names the first one. Needs neither the server nor
    /// its state.
    Verify {
        /// The files of the log in their order, or directories of them; unless told, those of --state.
        files: Vec<PathBuf>,
        /// The key that has signed the first of them, as `duologue audit key` printed it when the log began.
        #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
        key: Option<AuditKey>,
        /// A head that was kept elsewhere, as `duologue audit head` printed it: finds what was cut off since.
        #[arg(long, value_name = "N:HASH")]
        head: Option<Head>,
        #[command(flatten)]
        owner: Owner,
    },
    /// Prints the newest entry's number and hash, signed, to be kept on another machine.
    Head(Owner),
    /// Prints the key that has signed the first entry, to be kept on another machine, and the one that signs now.
    Key(Owner),
    /// Shows the newest entries. It believes what stands there: `verify` does not.
    Tail {
        /// The files of the log in their order, or directories of them; unless told, those of --state.
        files: Vec<PathBuf>,
        /// How many.
        #[arg(long, short = 'n', default_value_t = 20, value_name = "NUMBER")]
        lines: usize,
        /// Of this kind, such as device-refused; may be repeated.
        #[arg(long = "kind", value_name = "KIND", value_parser = kind)]
        kinds: Vec<String>,
        /// Of this device: its id, or the beginning of it.
        // One in 64 begins with a hyphen.
        #[arg(long, allow_hyphen_values = true)]
        device: Option<String>,
        /// Of this subject.
        #[arg(long)]
        subject: Option<String>,
        /// From this address, however the log has it.
        #[arg(long)]
        address: Option<IpAddr>,
        /// Since so long ago, such as 2h, or since a moment in UTC, such as 2026-11-29 or 2026-11-29T12:30.
        #[arg(long, value_parser = parse_since)]
        since: Option<String>,
        /// Without what the log says of itself: its heads, its keys.
        #[arg(long)]
        events: bool,
        /// As CSV, with a line of names first.
        #[arg(long)]
        csv: bool,
        #[command(flatten)]
        owner: Owner,
    },
}

#[derive(Serialize)]
struct Keys {
    first: String,
    now: String,
}

#[derive(Serialize)]
struct Entries {
    entries: Vec<AuditEntry>,
}

impl AuditVerb {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Verify { files, key, head, owner } => {
                let files = named(&files, &owner)?;
                let whole = match verify_files(&files, Expected { key, head }) {
                    Ok(whole) => whole,
                    // Names of files are whatever somebody has made of them.
                    Err(broken) => bail!("NOT whole: {}", shown(&broken.to_string())),
                };
                owner.tell(&whole, |whole| sentences(whole, key.is_some()));
            }
            Self::Head(owner) => {
                // The server signs what there is first; a log at rest is read as it lies there.
                let state: AuditState = owner.get("/audit").await?;
                owner.tell(&state, |state| vec![state.head.clone()]);
            }
            Self::Key(owner) => {
                let directory = directory(&owner)?;
                let keys = audit_keys(&directory).with_context(|| nothing(&directory))?;
                let (first, now) = keys.with_context(|| nothing(&directory))?;
                owner.tell(&Keys { first: first.to_string(), now: now.to_string() }, |keys| {
                    vec![format!("first  {}", keys.first), format!("now    {}", keys.now)]
                });
            }
            Self::Tail { files, lines, kinds, device, subject, address, since, events, csv, owner } => {
                let filter = Filter { kinds, device, subject, address, since, events_only: events };
                let directory = directory(&owner)?;
                let entries = tail(&named(&files, &owner)?, Some(&directory), &filter, lines);
                let entries = Entries { entries: entries.context("the audit log cannot be read")? };
                if csv {
                    let mut writer = csv::Writer::from_writer(Vec::new());
                    if entries.entries.is_empty() {
                        writer.write_record(NAMES)?;
                    }
                    for entry in entries.entries {
                        writer.serialize(without_formulas(entry))?;
                    }
                    let text = writer.into_inner().map_err(|error| anyhow::anyhow!("{error}"))?;
                    say(String::from_utf8_lossy(&text).trim_end());
                } else {
                    owner.tell(&entries, |entries| entries.entries.iter().map(line).collect());
                }
            }
        }
        Ok(())
    }
}

/// As the fields of an entry are.
fn kind(name: &str) -> Result<String, &'static str> {
    let is_one = Kind::named(name).is_some() || OWN_KINDS.contains(&name);
    is_one.then(|| name.to_owned()).ok_or("no entry is of that kind: docs/WATCH.md and docs/AUDIT.md have them all")
}

const NAMES: [&str; 11] = ["n", "at", "kind", "count", "device", "subject", "address", "label", "code", "by", "note"];

fn directory(owner: &Owner) -> anyhow::Result<PathBuf> {
    Ok(owner.directory.path()?.join(DIRECTORY))
}

fn nothing(directory: &std::path::Path) -> String {
    format!("there is no audit log in {}: is --state mistyped, or has [audit] `on = false`?", directory.display())
}

/// A device's name, or a subject, may begin as a formula does: a spreadsheet would run it.
fn without_formulas(mut entry: AuditEntry) -> AuditEntry {
    for text in [&mut entry.subject, &mut entry.label, &mut entry.by, &mut entry.note].into_iter().flatten() {
        if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            text.insert(0, '\'');
        }
    }
    entry
}

/// The files that are meant.
fn named(files: &[PathBuf], owner: &Owner) -> anyhow::Result<Vec<PathBuf>> {
    let own = if files.is_empty() { vec![directory(owner)?] } else { Vec::new() };
    let mut named = Vec::new();
    for path in own.iter().chain(files) {
        if path.is_dir() {
            let found = audit_files(path).with_context(|| format!("{} cannot be read", path.display()))?;
            if found.is_empty() {
                bail!(nothing(path));
            }
            named.extend(found);
        } else if files.is_empty() {
            bail!(nothing(path));
        } else {
            named.push(path.clone());
        }
    }
    Ok(named)
}

/// What is known of a log that is whole, and what is not.
fn sentences(whole: &Whole, is_key_known: bool) -> Vec<String> {
    let Whole { from, to, last, signed_to, signed_at, first_key, removed_to, lost, head, .. } = whole;
    let more = match head {
        Some(HeadSeen::Here) => "the head stands where it says: up to there nothing was cut off",
        Some(HeadSeen::Removed) => "the head's entry was removed after its time: of that one head nothing can be told",
        None => "whether more followed is not known (--head)",
    };
    let mut lines = vec![format!("whole from {from} to {to}; {more}")];
    lines.push(format!("signed up to {signed_to}, at {signed_at}"));
    if signed_to < to {
        lines.push(format!("entries {} to {to} hang together, and are under no signature yet", signed_to + 1));
    }
    if *removed_to > 0 {
        lines.push(format!(
            "entries 1 to {removed_to} were removed after their time, as the log says under its signature"
        ));
    }
    if *lost > 0 {
        lines.push(format!(
            "the log says that {lost} events could not be written, and when (audit tail --kind audit-lost)"
        ));
    }
    if !is_key_known {
        lines.push(format!("signed by {first_key} at first, which nobody has vouched for here (--key)"));
    }
    lines.push(format!("head {to}:{last}"));
    lines
}

fn line(entry: &AuditEntry) -> String {
    let AuditEntry { n, at, kind, count, device, subject, address, label, code, by, note } = entry;
    let mut line = format!("{n}  {}  {}", shown(at), shown(kind));
    let words =
        [("device", device), ("subject", subject), ("address", address), ("label", label), ("code", code), ("by", by)];
    if let Some(count) = count {
        line.push_str(&format!("  {count} times"));
    }
    for (name, value) in words.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        line.push_str(&format!("  {name} {}", shown(value)));
    }
    if let Some(note) = note {
        line.push_str(&format!("  {}", shown(note)));
    }
    line
}

/// A moment, or how long ago.
fn parse_since(text: &str) -> Result<String, String> {
    if let Ok(secs) = parse_span(text) {
        let then = SystemTime::now().checked_sub(Duration::from_secs(secs));
        return then.map(audit_stamp).ok_or_else(|| "that is before all time".to_owned());
    }
    let text = text.trim_end_matches('Z');
    const FORM: &[u8] = b"0000-00-00T00:00:00.000";
    let fits = text.len() >= 4
        && text.len() <= FORM.len()
        && text.bytes().zip(FORM).all(|(byte, form)| if *form == b'0' { byte.is_ascii_digit() } else { byte == *form });
    if fits { Ok(text.to_owned()) } else { Err("write it as 2h, 3d, 2026-11-29 or 2026-11-29T12:30".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_said_as_people_say_it() {
        for (text, is_one) in [
            ("2026-11-29", true),
            ("2026-11-29T12:30", true),
            ("2026-11-29T12:30:00.000Z", true),
            ("2h", true),
            ("yesterday", false),
            ("29.11.2026", false),
            ("2026-11-29 12:30", false),
            ("", false),
        ] {
            assert_eq!(parse_since(text).is_ok(), is_one, "{text}");
        }
        assert!(parse_since("1h").is_ok_and(|then| then < audit_stamp(SystemTime::now())));
    }

    #[test]
    fn an_entry_is_one_line_whatever_stands_in_it() {
        let entry = AuditEntry { n: 3, note: Some("a\nb\u{1b}[2J".to_owned()), ..AuditEntry::default() };
        assert!(!line(&entry).contains(['\n', '\u{1b}']));
        let header = {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.serialize(&entry).expect("flat");
            String::from_utf8(writer.into_inner().expect("memory")).expect("a text")
        };
        assert_eq!(header.lines().next(), Some(NAMES.join(",").as_str()));
        let formula =
            AuditEntry { note: Some("=1+1".to_owned()), subject: Some("ada".to_owned()), ..AuditEntry::default() };
        let shown = without_formulas(formula);
        assert_eq!((shown.note.as_deref(), shown.subject.as_deref()), (Some("'=1+1"), Some("ada")));
    }
}
