//! The last things that happened in this thread's world, to be shown when a seed fails.

use core::{cell::RefCell, fmt};

use alloc::{collections::VecDeque, string::String};

use std::format;

use crate::time::Instant;

/// Lines that are kept.
const LINES: usize = 200;

std::thread_local! {
    static TRACE: RefCell<VecDeque<String>> = const { RefCell::new(VecDeque::new()) };
}

pub(super) fn clear() {
    TRACE.with_borrow_mut(VecDeque::clear);
}

pub(super) fn note(now: Instant, what: fmt::Arguments<'_>) {
    let micros = now.as_micros();
    let line = format!("{:>6}.{:06} {what}", micros / 1_000_000, micros % 1_000_000);
    TRACE.with_borrow_mut(|trace| {
        if trace.len() == LINES {
            trace.pop_front();
        }
        trace.push_back(line);
    });
}

#[cfg(not(target_arch = "wasm32"))]
pub(super) fn text() -> String {
    TRACE.with_borrow(|trace| trace.iter().fold(String::new(), |text, line| text + line + "\n"))
}
