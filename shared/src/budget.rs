//! Memory that many sessions share: what they hold, counted for each unit and for all.
//!
//! ```text
//! Session ─► Claims ─► Account, one of each unit ─► Budget, one of the server
//! ```
//!
//! A unit is whoever the server takes for one: what its sessions hold is added up. What is counted is what is *held*: bytes
//! unread and queued, resend memory, datagrams, channels. A window that was promised is not memory. A vector that grows by
//! doubling, and a message of which less than half has left, take at most twice what is counted.
//!
//! Half of the budget is for shares: each unit that holds anything has the same one, and who is below it loses nothing,
//! whatever others hold. Beyond it: once the whole is tight, no further CREDIT and nothing more in the send queues; once it is
//! full, the unit's heaviest channel is reset as `busy`, and then its longest-parked session is `evicted` (the server's part).

use core::sync::atomic::{AtomicUsize, Ordering};

use alloc::sync::Arc;

use crate::limits::{ACCOUNT_STEP_LEN, SERVER_BUDGET_LEN, SESSION_GROWTH_LEN, SHARE_LEN_MIN};

/// What all sessions of a server may hold. Clones are the same budget.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    len: usize,
    held: AtomicUsize,
    /// Units that hold anything.
    holders: AtomicUsize,
    /// What windows and resend memory may still grow by, beyond what each session begins with.
    growth: AtomicUsize,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(SERVER_BUDGET_LEN)
    }
}

impl Budget {
    /// So many bytes for all. A quarter of them may be promised to windows and resend memory that grow.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let growth = AtomicUsize::new(len / 4);
        Self(Arc::new(Pool { len, held: AtomicUsize::new(0), holders: AtomicUsize::new(0), growth }))
    }

    /// An account of a unit's own.
    #[must_use]
    pub fn account(&self) -> Account {
        self.account_of(None)
    }

    /// An account of a unit that has no share: it holds so many bytes at most, makes nobody's share smaller, never grows, and
    /// gives way with its first byte as soon as memory is tight.
    #[cfg(feature = "server")]
    #[must_use]
    pub fn account_without_share(&self, len_max: usize) -> Account {
        self.account_of(Some(len_max))
    }

    fn account_of(&self, shareless: Option<usize>) -> Account {
        Account(Arc::new(Unit { pool: Arc::clone(&self.0), held: AtomicUsize::new(0), shareless }))
    }

    /// Bytes that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    /// What each unit may hold in any case: half of the budget by those that hold anything, and at least 256 KiB.
    #[must_use]
    pub fn share(&self) -> usize {
        self.0.share()
    }

    /// True if more is held than may be: those above their share must give.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// True if seven eighths are held: those above their share get no further credit.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        self.0.is_tight()
    }

    /// Bytes of growth that nobody has claimed.
    #[must_use]
    pub fn growth_left(&self) -> usize {
        self.0.growth.load(Ordering::Relaxed)
    }
}

impl Pool {
    fn share(&self) -> usize {
        (self.len / 2 / self.holders.load(Ordering::Relaxed).max(1)).max(SHARE_LEN_MIN)
    }

    fn is_tight(&self) -> bool {
        self.held.load(Ordering::Relaxed) > self.len - self.len / 8
    }

    fn is_full(&self) -> bool {
        self.held.load(Ordering::Relaxed) > self.len
    }

    fn claim(&self, len: usize) -> bool {
        self.growth.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(len)).is_ok()
    }
}

/// What one unit's sessions hold together. Clones are the same account.
#[derive(Clone, Debug)]
pub struct Account(Arc<Unit>);

#[derive(Debug)]
struct Unit {
    pool: Arc<Pool>,
    held: AtomicUsize,
    /// It has no share, and holds so many bytes at most.
    shareless: Option<usize>,
}

impl From<Budget> for Option<Account> {
    /// An account of its own.
    fn from(budget: Budget) -> Self {
        Some(budget.account())
    }
}

impl Account {
    /// Bytes that the unit's sessions hold.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    /// True if it holds more than what it may hold in any case.
    #[must_use]
    pub fn is_above_share(&self) -> bool {
        self.held() > if self.0.shareless.is_some() { 0 } else { self.0.pool.share() }
    }

    /// True if it must give now, as long as it holds anything that can be given.
    #[must_use]
    pub fn must_give(&self) -> bool {
        match self.0.shareless {
            None => self.0.pool.is_full() && self.is_above_share(),
            Some(len_max) => self.held() > len_max || (self.0.pool.is_tight() && self.is_above_share()),
        }
    }

    /// True if it gets nothing more.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        let is_near = self.0.shareless.is_some_and(|len_max| self.held() > len_max - len_max / 8);
        is_near || (self.0.pool.is_tight() && self.is_above_share())
    }

    /// How many sessions have it, beside whoever asks and whoever keeps it.
    #[must_use]
    pub fn users(&self) -> usize {
        Arc::strong_count(&self.0).saturating_sub(2)
    }

    /// True if no session and nobody else has it.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn change(&self, from: usize, to: usize) {
        let Unit { pool, held, shareless } = &*self.0;
        if let Some(more) = to.checked_sub(from).filter(|more| *more > 0) {
            pool.held.fetch_add(more, Ordering::Relaxed);
            if held.fetch_add(more, Ordering::Relaxed) == 0 && shareless.is_none() {
                pool.holders.fetch_add(1, Ordering::Relaxed);
            }
        } else if let Some(less) = from.checked_sub(to).filter(|less| *less > 0) {
            pool.held.fetch_sub(less, Ordering::Relaxed);
            if held.fetch_sub(less, Ordering::Relaxed) == less && shareless.is_none() {
                pool.holders.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

/// What is held beside a session, for it: counted on its unit's account too, and given back when dropped.
#[cfg(feature = "server")]
#[derive(Debug)]
pub struct Hold {
    account: Account,
    len: usize,
}

#[cfg(feature = "server")]
impl Account {
    /// Counts so many bytes that somebody holds for a session of this unit.
    #[must_use]
    pub fn hold(&self, len: usize) -> Hold {
        self.change(0, len);
        Hold { account: self.clone(), len }
    }
}

#[cfg(feature = "server")]
impl Hold {
    /// Counts on another account from now on, of the same budget.
    pub fn move_to(&mut self, account: &Account) {
        if !Arc::ptr_eq(&self.account.0, &account.0) {
            *self = account.hold(self.len);
        }
    }
}

#[cfg(feature = "server")]
impl Drop for Hold {
    fn drop(&mut self) {
        self.account.change(self.len, 0);
    }
}

/// One session's part; given back when dropped.
#[derive(Debug)]
pub(crate) struct Claims {
    /// None at a client, which shares with nobody.
    account: Option<Account>,
    /// Of the growth.
    claimed: usize,
    /// As the account was last told.
    held: usize,
}

impl Claims {
    pub(crate) const fn new(account: Option<Account>) -> Self {
        Self { account, claimed: 0, held: 0 }
    }

    pub(crate) fn account(&self) -> Option<Account> {
        self.shared().cloned()
    }

    /// Counts on another account from now on, of the same budget.
    #[cfg(feature = "server")]
    pub(crate) fn move_to(&mut self, account: Account) {
        if self.account.as_ref().is_some_and(|before| Arc::ptr_eq(&before.0, &account.0)) {
            return;
        }
        if let Some(before) = self.account.replace(account) {
            before.change(self.held, 0);
        }
        if let Some(account) = &self.account {
            account.change(0, self.held);
        }
    }

    fn shared(&self) -> Option<&Account> {
        self.account.as_ref().filter(|_| cfg!(feature = "server"))
    }

    /// Tells the account what the session holds, where that is worth telling.
    pub(crate) fn hold(&mut self, len: usize) {
        if let Some(account) = self.shared().filter(|_| len.abs_diff(self.held) >= ACCOUNT_STEP_LEN || len == 0) {
            account.change(self.held, len);
            self.held = len;
        }
    }

    /// Memory is short, and the unit has more than its share.
    pub(crate) fn is_tight(&self) -> bool {
        self.shared().is_some_and(Account::is_tight)
    }

    /// Memory is used up, and the unit has more than its share.
    #[cfg(feature = "server")]
    pub(crate) fn is_full(&self) -> bool {
        self.shared().is_some_and(Account::must_give)
    }

    /// Lets windows or resend memory grow, if the budget and the session's own bound allow it.
    pub(crate) fn claim(&mut self, len: usize) -> bool {
        let claimed = self.claimed + len <= SESSION_GROWTH_LEN
            && !self.is_tight()
            && self.shared().is_none_or(|account| account.0.shareless.is_none() && account.0.pool.claim(len));
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
        if let Some(account) = self.shared() {
            account.0.pool.growth.fetch_add(len, Ordering::Relaxed);
        }
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        self.give_back(usize::MAX);
        self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const MIB: usize = 1_024 * 1_024;

    #[cfg(feature = "server")]
    #[test]
    fn what_is_held_beside_a_session_counts_and_moves_with_its_unit() {
        let budget = Budget::new(4 * MIB);
        let (guests, person) = (budget.account_without_share(MIB), budget.account());
        let mut hold = guests.hold(9_000);
        let other = guests.hold(1_000);
        assert_eq!((guests.held(), person.held(), budget.held()), (10_000, 0, 10_000));
        hold.move_to(&person);
        assert_eq!((guests.held(), person.held(), budget.held()), (1_000, 9_000, 10_000));
        hold.move_to(&person);
        drop(other);
        assert_eq!((guests.held(), person.held(), budget.held()), (0, 9_000, 9_000));
        drop(hold);
        assert_eq!((person.held(), budget.held(), budget.share()), (0, 0, 2 * MIB));
    }

    #[test]
    fn a_session_grows_by_its_part_and_no_more_and_leaves_nothing_behind() {
        let budget = Budget::new(4 * (SESSION_GROWTH_LEN + 100));
        let mut first = Claims::new(Some(budget.account()));
        assert!(first.claim(SESSION_GROWTH_LEN));
        assert!(!first.claim(1), "its own bound");
        let mut second = Claims::new(Some(budget.account()));
        assert!(!second.claim(101) && second.claim(100));
        first.give_back(50);
        assert_eq!(budget.growth_left(), 50);
        drop((first, second));
        assert_eq!(budget.growth_left(), SESSION_GROWTH_LEN + 100);
    }

    #[test]
    #[cfg(feature = "server")]
    fn a_unit_without_a_share_gives_first_never_grows_and_a_session_moves_with_all_that_it_holds() {
        let budget = Budget::new(64 * MIB);
        let (guests, own) = (budget.account_without_share(8 * MIB), budget.account());
        let mut session = Claims::new(Some(guests.clone()));
        assert!(!guests.is_above_share() && !session.claim(1), "it never grows");
        session.hold(7 * MIB);
        assert!(guests.is_above_share() && !guests.must_give() && !session.is_tight());
        session.hold(8 * MIB);
        assert!(session.is_tight() && !session.is_full(), "its own bound is near, whatever the others hold");
        session.hold(9 * MIB);
        assert!(session.is_full());
        let mut others = [Claims::new(Some(budget.account())), Claims::new(Some(budget.account()))];
        others[0].hold(MIB);
        assert_eq!(budget.share(), 32 * MIB, "it makes nobody's share smaller");
        session.hold(MIB);
        assert!(!session.is_full());
        others[1].hold(56 * MIB);
        assert!(budget.is_tight() && session.is_full() && !others[1].is_full(), "it gives before anybody must");
        session.move_to(own.clone());
        assert_eq!((guests.held(), own.held(), budget.held()), (0, MIB, 58 * MIB));
        assert!(!own.is_above_share() && !session.is_full());
        session.move_to(guests.clone());
        assert_eq!((guests.held(), own.held(), budget.held()), (MIB, 0, 58 * MIB));
        drop((session, others));
        assert_eq!((guests.held(), budget.held(), budget.share()), (0, 0, 32 * MIB));
    }

    #[test]
    fn what_a_units_sessions_hold_is_one_sum_and_its_share_depends_on_how_many_hold_anything() {
        let budget = Budget::new(64 * MIB);
        let (unit, other) = (budget.account(), budget.account());
        let mut lines = [Claims::new(Some(unit.clone())), Claims::new(Some(unit.clone()))];
        assert_eq!(budget.share(), 32 * MIB);
        lines[0].hold(10 * MIB);
        lines[1].hold(7 * MIB);
        assert_eq!((unit.held(), budget.held(), budget.share()), (17 * MIB, 17 * MIB, 32 * MIB));
        let mut others = Claims::new(Some(other.clone()));
        others.hold(MIB);
        assert_eq!(budget.share(), 16 * MIB, "two hold something");
        assert!(unit.is_above_share() && !other.is_above_share());
        assert!(!budget.is_tight() && !lines[0].is_tight());
        others.hold(40 * MIB);
        assert!(budget.is_tight() && !budget.is_full());
        assert!(lines.iter().all(Claims::is_tight), "whichever of its sessions it is");
        drop(others);
        assert_eq!((other.held(), budget.share()), (0, 32 * MIB));
        drop(lines);
        assert_eq!((unit.held(), budget.held()), (0, 0));
    }

    #[test]
    fn a_share_is_never_less_than_a_first_window() {
        let budget = Budget::new(MIB);
        let mut all: alloc::vec::Vec<_> = (0..100).map(|_| Claims::new(Some(budget.account()))).collect();
        all.iter_mut().for_each(|claims| claims.hold(SHARE_LEN_MIN));
        assert!(budget.is_full());
        assert_eq!(budget.share(), SHARE_LEN_MIN);
        assert!(!all.iter().any(Claims::is_tight), "who is not above it loses nothing");
    }
}
