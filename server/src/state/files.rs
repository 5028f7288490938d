//! How many files this process may have open, and what they are for.
//!
//! ```text
//! limit (`ulimit -n`) = strangers' connections + lines + files at work + what is set aside + 64 for others + 64 kept
//! ```
//!
//! What is kept is for the owner's verbs and for devices that were here before: strangers and what devices have at work
//! end before it begins.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For the owner, and for devices that were here before.
const KEPT: usize = 64;
/// The store, the log, verbs, the runtime's own.
const OTHERS: usize = 64;
/// Strangers have that many places at least, so that somebody can still show who he is.
const STRANGERS_MIN: usize = 16;
/// More than this at a time is no use to anybody, and costs memory: some 60 kB each while TLS is under way.
const STRANGERS_MAX: usize = 4_096;
/// Where there is no limit, or none to be known.
const UNLIMITED: usize = 1 << 20;

/// Open connections, of strangers and of lines.
static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);
/// Requests to a backend, each with a connection of its own, and files that are being taken.
static AT_WORK: AtomicUsize = AtomicUsize::new(0);

/// Set aside for connections to backends that rest between two requests.
static SET_ASIDE: AtomicUsize = AtomicUsize::new(0);

/// A file that is counted, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(&'static AtomicUsize);

/// Files that are set aside, until it is dropped.
#[derive(Debug)]
pub(crate) struct SetAside(usize);

/// Takes so many files out of what there is for everybody, whether they are in use or not.
pub(crate) fn set_aside(count: usize) -> SetAside {
    SET_ASIDE.fetch_add(count, Ordering::Relaxed);
    SetAside(count)
}

/// Raises the soft limit to the hard one. What it was and is; none if it was so already.
///
/// # Errors
/// If the system refuses.
pub fn raise_file_limit() -> std::io::Result<Option<(u64, u64)>> {
    let limit = getrlimit(Resource::Nofile);
    match (limit.current, limit.maximum) {
        (Some(current), maximum) if maximum.is_none_or(|maximum| current < maximum) => {
            setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
            Ok(Some((current, maximum.unwrap_or(u64::MAX))))
        }
        _ => Ok(None),
    }
}

/// Another connection. Whoever takes them has looked at [`strangers_max`] before.
pub(crate) fn connection() -> Counted {
    CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    Counted(&CONNECTIONS)
}

/// A file for a device's work; none if half of all files are for that, or all that are not kept are in use.
pub(crate) fn at_work() -> Option<Counted> {
    static TURN: Mutex<()> = Mutex::new(());
    // One at a time, so that two do not take the last one.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let at_work = AT_WORK.load(Ordering::Relaxed);
    if !may_work(limit(), at_work, CONNECTIONS.load(Ordering::Relaxed)) {
        return None;
    }
    AT_WORK.fetch_add(1, Ordering::Relaxed);
    Some(Counted(&AT_WORK))
}

const fn may_work(limit: usize, at_work: usize, connections: usize) -> bool {
    at_work < limit / 2 && connections + at_work + KEPT + OTHERS < limit
}

/// How many connections may be strangers', of which there are `strangers` now.
pub(crate) fn strangers_max(strangers: usize) -> usize {
    let others = CONNECTIONS.load(Ordering::Relaxed).saturating_sub(strangers) + AT_WORK.load(Ordering::Relaxed);
    room_for_strangers(limit(), others)
}

fn room_for_strangers(limit: usize, others: usize) -> usize {
    limit.saturating_sub(KEPT + OTHERS + others).clamp(STRANGERS_MIN, STRANGERS_MAX)
}

/// Whether one more connection would be one too many, whosever it is: half of what is kept is for the owner alone.
pub(crate) fn is_full() -> bool {
    let open = CONNECTIONS.load(Ordering::Relaxed) + AT_WORK.load(Ordering::Relaxed);
    open + OTHERS + KEPT / 2 >= limit().max(OTHERS + KEPT)
}

/// How many connections there may still be, where more than half of all files are open.
pub(crate) fn scarce() -> Option<usize> {
    let open = CONNECTIONS.load(Ordering::Relaxed) + AT_WORK.load(Ordering::Relaxed);
    left_where_scarce(limit(), open)
}

fn left_where_scarce(limit: usize, open: usize) -> Option<usize> {
    (open > limit / 2).then(|| limit.saturating_sub(KEPT + OTHERS + open))
}

/// What guests may have of all files: an eighth, each a connection.
pub(crate) fn guests_max() -> usize {
    limit() / 8
}

/// How many there may be, but for those that are set aside.
fn limit() -> usize {
    let limit = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    limit.unwrap_or(UNLIMITED).saturating_sub(SET_ASIDE.load(Ordering::Relaxed))
}

impl Drop for SetAside {
    fn drop(&mut self) {
        SET_ASIDE.fetch_sub(self.0, Ordering::Relaxed);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_1024_files_64_are_kept_whatever_strangers_and_devices_take() {
        // Lines and what is at work have taken so many.
        for others in [0, 100, 500, 800] {
            let strangers = room_for_strangers(1_024, others);
            assert!(strangers + others + OTHERS + KEPT <= 1_024, "{others}");
            assert!(!may_work(1_024, others, strangers), "{others}");
        }
        assert_eq!(room_for_strangers(1_024, 0), 896);
        assert_eq!(room_for_strangers(1_024, 5_000), STRANGERS_MIN);
        assert_eq!(room_for_strangers(UNLIMITED, 0), STRANGERS_MAX);
    }

    #[test]
    fn files_are_scarce_once_half_of_them_are_open() {
        assert_eq!(left_where_scarce(1_024, 512), None);
        assert_eq!(left_where_scarce(1_024, 513), Some(1_024 - KEPT - OTHERS - 513));
        assert_eq!(left_where_scarce(1_024, 2_000), Some(0));
    }

    #[test]
    fn what_is_set_aside_is_nobody_elses_and_given_back() {
        // Tests beside this one have backends too, which come and go.
        let is_exact = || {
            let before = limit();
            let aside = set_aside(64);
            let left = limit();
            drop(aside);
            before.checked_sub(64) == Some(left) && limit() == before
        };
        assert!((0..1_000).any(|_| is_exact()));
    }

    #[test]
    fn half_of_all_files_are_at_work_at_most() {
        assert!(may_work(1_024, 511, 0) && !may_work(1_024, 512, 0));
        assert!(!may_work(1_024, 100, 800));
        assert!(!may_work(64, 0, 0), "none at all where there are so few");
    }
}
