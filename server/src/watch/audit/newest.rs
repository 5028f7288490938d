//! What a file of the log says when it is opened again: where it ends, by which key, and what a crash has left behind it.

use std::{
    io,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    ROTATED,
    entry::moment,
    files::{self, Part},
    line::{self, AuditKey, Hash, Head, LINE_LEN_MAX, Line},
};

/// What the newest file says, from its beginning.
pub(super) struct Newest {
    pub(super) key: Option<AuditKey>,
    pub(super) next: Option<AuditKey>,
    pub(super) begun_at: Option<SystemTime>,
    pub(super) signed_at: Option<SystemTime>,
    pub(super) unsigned: u32,
    pub(super) last: Option<Head>,
    pub(super) len: u64,
    pub(super) torn: Option<Found>,
    /// A line that is none stands in it: nothing can follow it there.
    pub(super) is_damaged: bool,
}

impl Newest {
    pub(super) const fn nothing() -> Self {
        Self {
            key: None,
            next: None,
            begun_at: None,
            signed_at: None,
            unsigned: 0,
            last: None,
            len: 0,
            torn: None,
            is_damaged: false,
        }
    }
}

/// Reads a file to its end.
pub(super) fn read(part: &Part) -> io::Result<Newest> {
    let mut read = files::open(&part.path)?;
    let mut newest = Newest::nothing();
    let mut bytes = Vec::new();
    loop {
        match files::read_line(&mut read, &mut bytes, LINE_LEN_MAX)? {
            None => return Ok(newest),
            Some(true) => {
                newest.len += bytes.len() as u64 + 1;
                let Some(line) = Line::parse(&bytes).filter(|line| line.hash() == line.said) else {
                    newest.is_damaged = true;
                    continue;
                };
                newest.last = Some(Head { n: line.n, hash: line.said });
                newest.unsigned += 1;
                if let Some(signed) = line.signed {
                    let said: Option<serde_json::Value> = serde_json::from_slice(line.entry).ok();
                    let word = |key: &str| said.as_ref().and_then(|said| said.get(key)?.as_str().map(str::to_owned));
                    let at = word("at").and_then(|at| moment(&at));
                    newest.key = Some(signed.key);
                    newest.next = word("next").and_then(|next| next.parse().ok());
                    newest.begun_at = newest.begun_at.or(at);
                    newest.signed_at = at;
                    newest.unsigned = 0;
                }
            }
            Some(false) => {
                // To the end, however much that is: the disk's own blocks of zeros too.
                let mut rest = bytes.clone();
                io::copy(&mut io::Read::take(&mut read, 1 << 20), &mut rest)?;
                let behind = io::copy(&mut read, &mut io::sink())?;
                newest.torn = Some(Found { bytes: rest.len() as u64 + behind, digest: line::digest(&rest) });
                return Ok(newest);
            }
        }
    }
}

/// Number and hash of a file's last line, and when it was closed; none if it is not closed.
pub(super) fn closing(bytes: &[u8]) -> Option<((u64, Hash), SystemTime)> {
    let line = Line::parse(bytes).filter(|line| line.hash() == line.said && line.signed.is_some())?;
    let said: serde_json::Value = serde_json::from_slice(line.entry).ok()?;
    if said.get("kind")?.as_str()? != ROTATED {
        return None;
    }
    Some(((line.n, line.said), moment(said.get("at")?.as_str()?).unwrap_or(UNIX_EPOCH)))
}

/// Bytes behind the last whole line.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) bytes: u64,
    pub(super) digest: Hash,
}
