//! The audit log: who was let in, refused, raised, revoked and banned, and what the owner did, so that it can be proved afterwards.
//!
//! ```text
//! events ─► gate: one by one, or counted ─► writer, a thread of its own ─► book: a line, chained, signed now and then ─► files
//!                                                                      └► outboxes, bounded ─► syslog, webhook
//! files ─► verify, tail: without the server
//! ```
//!
//! Nobody waits for it: whoever tells an event goes on at once. What cannot be written is counted, and the count is the first line that
//! can be. docs/AUDIT.md has the form of the lines, and what the log proves and what it does not.

mod address;
pub(crate) mod book;
pub(crate) mod entry;
mod files;
mod gate;
mod key;
mod line;
mod newest;
pub(crate) mod outbox;
pub(crate) mod running;
pub(crate) mod settings;
pub(crate) mod syslog;
pub(crate) mod tail;
#[cfg(test)]
mod tests;
pub(crate) mod verdict;
pub(crate) mod verify;
pub(crate) mod writer;

pub use line::{AuditKey, Hash, Head};

/// Kinds of what the log says of itself; those of events have other names.
const BEGUN: &str = "audit-begun";
const HEAD: &str = "audit-head";
const ROTATED: &str = "audit-rotated";
const REMOVED: &str = "audit-removed";
const TORN: &str = "audit-torn";
const LOST: &str = "audit-lost";

/// All of them.
pub const OWN_KINDS: [&str; 6] = [BEGUN, HEAD, ROTATED, REMOVED, TORN, LOST];

/// Where it lies in a state directory.
pub const DIRECTORY: &str = "audit";
