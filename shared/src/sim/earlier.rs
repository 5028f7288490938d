//! Ends of an earlier version: what one of them has not among its capabilities, in this thread.

use core::cell::Cell;

use crate::{handshake::hello::Capabilities, session::Role};

std::thread_local! {
    static IMPATIENT: Cell<Option<Role>> = const { Cell::new(None) };
}

/// The bits that an end does not set.
pub(crate) fn lacks(role: Role) -> u32 {
    if IMPATIENT.get() == Some(role) { Capabilities::PATIENT } else { 0 }
}

/// From now on this end is not patient, and the other one is.
pub(super) fn impatient(role: Option<Role>) {
    IMPATIENT.set(role);
}
