//! A budget of memory that many sessions share: what they hold beyond their first windows and resend memory.

use core::sync::atomic::{AtomicUsize, Ordering};

use alloc::sync::Arc;

use crate::limits::{SERVER_BUDGET_LEN, SESSION_BUDGET_LEN};

/// Bytes that may still be claimed. Clones share them.
#[derive(Clone, Debug)]
pub struct Budget(Arc<AtomicUsize>);

impl Default for Budget {
    /// That of a server.
    fn default() -> Self {
        Self::new(SERVER_BUDGET_LEN)
    }
}

impl Budget {
    /// So many bytes for all.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(len)))
    }

    /// Bytes that nobody has claimed.
    #[must_use]
    pub fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn claim(&self, len: usize) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(len)).is_ok()
    }

    fn give_back(&self, len: usize) {
        self.0.fetch_add(len, Ordering::Relaxed);
    }
}

/// One session's part of a budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Claims {
    budget: Budget,
    claimed: usize,
}

impl Claims {
    pub(crate) const fn new(budget: Budget) -> Self {
        Self { budget, claimed: 0 }
    }

    pub(crate) fn budget(&self) -> Budget {
        self.budget.clone()
    }

    /// Takes from the budget, if it and the session's own bound allow it.
    pub(crate) fn claim(&mut self, len: usize) -> bool {
        let claimed = self.claimed + len <= SESSION_BUDGET_LEN && self.budget.claim(len);
        if claimed {
            self.claimed += len;
        }
        claimed
    }

    #[cfg(test)]
    pub(crate) const fn claimed(&self) -> usize {
        self.claimed
    }

    pub(crate) fn give_back(&mut self, len: usize) {
        let len = len.min(self.claimed);
        self.claimed -= len;
        self.budget.give_back(len);
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        self.budget.give_back(self.claimed);
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn a_session_takes_its_part_and_no_more_and_leaves_nothing_behind() {
        let budget = Budget::new(SESSION_BUDGET_LEN + 100);
        let mut first = Claims::new(budget.clone());
        assert!(first.claim(SESSION_BUDGET_LEN));
        assert!(!first.claim(1), "its own bound");
        let mut second = Claims::new(budget.clone());
        assert!(!second.claim(101) && second.claim(100));
        first.give_back(50);
        assert_eq!(budget.left(), 50);
        drop((first, second));
        assert_eq!(budget.left(), SESSION_BUDGET_LEN + 100);
    }
}
