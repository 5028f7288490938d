//! The last events, for whoever comes to look: numbered, and kept in two rows of a fixed length, so that no flood of connections
//! pushes out what is audited.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use super::events::{Event, Kind};

/// Events that are kept of what is audited, and as many of the rest, some 250 bytes each.
const ROOM: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Rows>);

#[derive(Debug, Default)]
struct Rows {
    /// The number of the last one; 0 before there was any.
    last: u64,
    audited: VecDeque<(u64, Arc<Event>)>,
    rest: VecDeque<(u64, Arc<Event>)>,
}

/// What there was since a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Since {
    /// In their order, each with its number.
    pub(crate) events: Vec<(u64, Arc<Event>)>,
    /// The number to ask with the next time.
    pub(crate) next: u64,
    /// Those in between that are not kept any more.
    pub(crate) missed: u64,
}

impl Recent {
    /// Keeps one more. What comes with each request of an app says nothing to whoever looks, and is left out.
    pub(crate) fn push(&self, event: &Arc<Event>) {
        if event.kind == Kind::RequestForwarded {
            return;
        }
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.last += 1;
        let number = rows.last;
        let row = if event.kind.is_audited() { &mut rows.audited } else { &mut rows.rest };
        if row.len() >= ROOM {
            row.pop_front();
        }
        row.push_back((number, Arc::clone(event)));
    }

    /// The last `most` behind a number. One from before the server's start, which is larger than any here, is as good as none.
    pub(crate) fn since(&self, number: u64, most: usize) -> Since {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = if number > rows.last { 0 } else { number };
        let is_new = |(at, _): &&(u64, Arc<Event>)| *at > number;
        let mut events: Vec<_> = rows.audited.iter().chain(&rows.rest).filter(is_new).cloned().collect();
        events.sort_unstable_by_key(|(at, _)| *at);
        events.drain(..events.len().saturating_sub(most));
        let told = u64::try_from(events.len()).unwrap_or(u64::MAX);
        Since { events, next: rows.last, missed: (rows.last - number).saturating_sub(told) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(recent: &Recent, kind: Kind, times: usize) {
        (0..times).for_each(|_| recent.push(&Arc::new(Event::of(kind))));
    }

    #[test]
    fn a_flood_of_connections_pushes_out_no_revocation_and_what_is_gone_is_counted() {
        let recent = Recent::default();
        assert_eq!(recent.since(7, 10), Since { events: Vec::new(), next: 0, missed: 0 });
        push(&recent, Kind::OwnerRevoked, 2);
        push(&recent, Kind::ConnectionFailed, 10_000);
        push(&recent, Kind::RequestForwarded, 10_000);
        let Since { events, next, missed } = recent.since(0, 10_000);
        assert_eq!((events.len(), next, missed), (ROOM + 2, 10_002, 10_000 - 512));
        assert!(events.is_sorted_by_key(|(number, _)| *number));
        assert_eq!(events.iter().filter(|(_, event)| event.kind == Kind::OwnerRevoked).count(), 2);
        push(&recent, Kind::LineOpen, 3);
        let Since { events, next, missed } = recent.since(next, 2);
        assert_eq!((events.len(), next, missed), (2, 10_005, 1));
        // The number of a server that has ended since.
        assert_eq!(recent.since(1 << 40, 5).events.len(), 5);
    }
}
