//! What only the directory can do of what is measured (`lines/growth.rs`).

use duologue::SessionId;

use super::{Directory, PARKED_LEN, PARKED_PART};

/// The memory in which so many sessions wait, and not one more.
pub(in super::super) fn memory_for(count: u32) -> usize {
    usize::try_from(count).expect("it fits") * PARKED_LEN * PARKED_PART
}

impl Directory {
    /// As when a session goes on, which without a connection does not show at its line.
    pub(in super::super) fn has_a_connection(&self, id: SessionId) {
        self.lock().parked.remove(id);
    }
}
