//! What the local API says and is told, as JSON, where it is of no noun in particular.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerState {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Revocations that are in force and not in the store yet.
    pub not_stored: usize,
    /// Of these, those that are nowhere on disk.
    pub not_on_disk: usize,
}

/// A server whose threads of lines answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// Why no new lines are taken, a sentence each; empty: they are.
    pub not_ready: Vec<String>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Refused {
    /// A word for programs.
    pub(crate) error: String,
    /// A sentence for people.
    pub(crate) message: String,
}
