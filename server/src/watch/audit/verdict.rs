//! What is said of an audit log that was verified: that it is whole, and how far; or where it is not, and why.

use serde::Serialize;
use thiserror::Error;

use super::line::{AuditKey, Hash, Head};

/// What is known beforehand of a log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected {
    /// The key that has signed the first of the files, or the first of those that are not there any more.
    pub key: Option<AuditKey>,
    /// What stood at some place, once.
    pub head: Option<Head>,
}

/// What is known of a log that is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Whole {
    /// The number of the first entry.
    pub from: u64,
    /// The number of the last entry.
    pub to: u64,
    /// The last entry's hash.
    #[serde(serialize_with = "as_text")]
    pub last: Hash,
    /// The last entry that is under a signature: nobody without the key has written anything up to there.
    pub signed_to: u64,
    /// When that signature was made, as the server's clock had it.
    pub signed_at: String,
    /// The key that has signed the first entry of all; pin it elsewhere.
    #[serde(serialize_with = "as_text")]
    pub first_key: AuditKey,
    /// The key that signs now.
    #[serde(serialize_with = "as_text")]
    pub key: AuditKey,
    /// Entries up to this one were removed after their time, as the log itself says; 0 for none.
    pub removed_to: u64,
    /// How many events the log says could not be written.
    pub lost: u64,
    /// Whether the head that was expected was seen where it says. Of one that lies in what was removed it cannot be told.
    pub head: Option<HeadSeen>,
}

/// What became of a head that was kept elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadSeen {
    /// It stands where it says.
    Here,
    /// It stood in what was removed after its time.
    Removed,
}

fn as_text<S: serde::Serializer>(hash: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(hash)
}

/// What is wrong with a log: the first line where it is.
#[derive(Debug, Error)]
#[error("{file}, line {line}: {why}")]
pub struct Broken {
    /// The file, as it was named.
    pub file: String,
    /// From 1.
    pub line: u64,
    /// What is wrong there.
    pub why: Why,
}

/// What is wrong with a line.
#[derive(Debug, Error)]
pub enum Why {
    /// The file.
    #[error("it cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// The last line of a file.
    #[error(
        "it has no end: a write was broken off there, or a cut was made (a server that starts again says so in the log, and goes on)"
    )]
    Unfinished,
    /// The frame.
    #[error("it is no line of an audit log, or was altered")]
    Form,
    /// The hash in the line.
    #[error("entry {n} was altered: it does not have the hash that it names")]
    Altered {
        /// The entry's number, as the line has it.
        n: u64,
    },
    /// The hash in the line, and the one in the next.
    #[error("entry {n} was altered, and its hash with it: entry {next} and what is signed after it name another")]
    Replaced {
        /// The entry's number.
        n: u64,
        /// The one after it.
        next: u64,
    },
    /// The chain.
    #[error("entry {n} does not follow from the line before it: one of both was written by somebody else")]
    Unchained {
        /// The entry's number.
        n: u64,
    },
    /// Numbers in between.
    #[error("entry {n} stands where entry {expected} should: what is between was removed, or moved elsewhere")]
    Missing {
        /// The entry's number.
        n: u64,
        /// The one that was expected.
        expected: u64,
    },
    /// Numbers go back.
    #[error("entry {n} stands where entry {expected} should: it is repeated, or was moved there")]
    Again {
        /// The entry's number.
        n: u64,
        /// The one that was expected.
        expected: u64,
    },
    /// A signature.
    #[error(
        "the signature of entry {n} is not one of the key that signs here: it, or what stands after entry {signed_to}, was written by somebody else"
    )]
    Forged {
        /// The entry's number.
        n: u64,
        /// The last entry under a good signature.
        signed_to: u64,
    },
    /// The first line of a file.
    #[error("a file begins with the line that names its key, and this one does not: its beginning was removed")]
    Beheaded,
    /// A line that belongs elsewhere.
    #[error(
        "entry {n} belongs at the beginning or the end of a file: what stood between was removed, or this was added"
    )]
    Misplaced {
        /// The entry's number.
        n: u64,
    },
    /// The key of the first file.
    #[error(
        "entry {n} is the first, and is signed by the key {found}, which is not the one of --key: entries before it are missing, or this is another log"
    )]
    OtherKey {
        /// The entry's number.
        n: u64,
        /// The key that has signed it.
        found: AuditKey,
    },
    /// The key of a later file.
    #[error(
        "the key of entry {n} was not signed by the one before: the server's key was lost or replaced, or somebody else wrote on from here"
    )]
    Unendorsed {
        /// The entry's number.
        n: u64,
    },
    /// What was removed without a record of it.
    #[error("entries up to {to} were removed, and nothing that is signed says that this was for their age")]
    RemovedUnrecorded {
        /// The last of them.
        to: u64,
    },
    /// The head.
    #[error("entry {n} is not the one that the head names: the log was written anew, or is a copy that was restored")]
    OtherHead {
        /// The head's number.
        n: u64,
    },
    /// The end, before the head.
    #[error(
        "the log ends with entry {last}, and the head is entry {head}: what was after it was cut off, or an older copy was restored"
    )]
    Cut {
        /// The last entry that there is; 0 for none.
        last: u64,
        /// The head's number.
        head: u64,
    },
    /// The beginning, after the head.
    #[error("the log begins with entry {first}, and the head is entry {head}: name the files before it too")]
    BeforeFirst {
        /// The first entry that there is.
        first: u64,
        /// The head's number.
        head: u64,
    },
    /// No line at all.
    #[error("there is no entry in it")]
    Empty,
}
