//! Who makes room in the directory: what has waited for too long, what is too much, and who holds most where memory is short.
//!
//! ```text
//! one more waits, too many do    ─► guests first, then the unit of which most wait
//! each second, while any waits   ─► over its time: gone
//! each line, while files are scarce ─► the branch that has more of them than are left
//! each 250 ms, while there are lines ─► tight: guests · full: the heaviest unit above its share
//! ```

use std::time::Duration;

use duologue::{CloseCode, FreshReason, SessionId, limits::RESUME_TTL_SECS};
use duologue_native::Line;

use super::{
    super::{guests, memory::Unit},
    Directory, Name, Session, is_parked,
    parked::Waiting,
};
use crate::watch::events::{Event, Kind};
use crate::{door::seat::Seat, state::files};

/// How often what waits is looked over.
pub(super) const SWEEP: Duration = Duration::from_secs(1);
/// How long a session waits for a connection.
const PARKED: Duration = Duration::from_secs(RESUME_TTL_SECS);
/// How many are looked at each second, over their time or not.
const LOOKED_AT: usize = 1_024;
/// How often somebody looks whether memory is short, while there are lines.
const KEEP: Duration = Duration::from_millis(250);

impl Directory {
    /// A line has a connection. While files are scarce, the devices of a branch, or of a person, have no more connections
    /// together than are left for everybody else: beyond that it takes the place of the oldest of whichever has most.
    pub(crate) fn share_files(&self, id: SessionId, seat: &Seat) {
        if let Some(left) = files::scarce() {
            self.share(id, &self.0.memory.unit(seat), left, |line| !is_parked(line));
        }
    }

    pub(super) fn share(&self, newest: SessionId, unit: &Unit, left: usize, has_one: impl Fn(&Line) -> bool) {
        // Nobody who has fewer lines is looked for among all.
        if self.0.memory.account(unit.clone()).users() <= left.max(1) {
            return;
        }
        let mut carried = self.sessions_of_unit(unit);
        carried.retain(|session| has_one(&session.line));
        if carried.len() <= left.max(1) {
            return;
        }
        let of_each = carried.chunk_by(|one, other| one.seat.device() == other.seat.device());
        let oldest = |lines: &[Session]| lines.iter().find(|session| session.id != newest).cloned();
        let with_oldest = of_each.filter_map(|lines| Some((lines.len(), oldest(lines)?)));
        if let Some((_, Session { line, seat, .. })) = with_oldest.max_by_key(|(len, _)| *len) {
            self.0.watch.tell(Event::of(Kind::LineReplaced).device(seat.device()));
            line.close(CloseCode::Replaced, "");
        }
    }

    /// Ends what has waited for too long. False if nothing waits any more.
    pub(super) fn sweep(&self) -> bool {
        let guests: Vec<_> = {
            let inner = self.lock();
            let waiting = inner.guests.all().into_iter().filter_map(|(_, id)| inner.parked.get(id));
            waiting.filter(|waiting| waiting.since.elapsed() >= guests::PARKED).cloned().collect()
        };
        guests.into_iter().for_each(|waiting| self.expire(&waiting));
        // One after the other: nobody waits for the directory while thousands are over their time.
        while let Some(waiting) = self.over_time() {
            self.expire(&waiting);
        }
        // What was ended while it waited, and what goes on, is found by looking at some each second.
        let some = self.lock().parked.look_on(LOOKED_AT);
        for Waiting { device, id, .. } in some {
            match self.line(device, id) {
                Some(line) if line.command(|line, _| line.closed().is_some()) => {
                    self.bury(device, id, &line, FreshReason::Expired);
                }
                Some(line) => self.goes_on(id, &line),
                None => self.lock().parked.remove(id),
            }
        }
        let mut inner = self.lock();
        inner.sweeping = !inner.parked.is_empty();
        inner.sweeping
    }

    fn over_time(&self) -> Option<Waiting> {
        let inner = self.lock();
        inner.parked.longest().filter(|waiting| waiting.since.elapsed() >= PARKED).cloned()
    }

    fn expire(&self, waiting: &Waiting) {
        let Waiting { device, id, .. } = *waiting;
        match self.line(device, id).filter(is_parked) {
            Some(line) => self.bury(device, id, &line, FreshReason::Expired),
            None => self.lock().parked.remove(id),
        }
    }

    /// Beyond the number, guests give way, then the unit that has most of them, with the one that waits longest.
    pub(super) fn make_room(&self) {
        while let Some(Waiting { device, id, .. }) = self.too_many() {
            match self.line(device, id).filter(is_parked) {
                Some(line) => {
                    self.0.watch.tell(Event::of(Kind::SessionEvicted).device(device));
                    self.bury(device, id, &line, FreshReason::Evicted);
                }
                None => self.lock().parked.remove(id),
            }
        }
    }

    fn too_many(&self) -> Option<Waiting> {
        let inner = self.lock();
        (inner.parked.len() > self.0.parked_max).then(|| inner.parked.longest_of_most().cloned()).flatten()
    }

    /// Looks after memory while there are lines.
    pub(super) fn keep_room(&self) {
        if std::mem::replace(&mut self.lock().keeping, true) {
            return;
        }
        let directory = self.clone();
        tokio::spawn(async move {
            let (mut was_tight, mut was_tight_for_all) = (false, false);
            loop {
                tokio::time::sleep(KEEP).await;
                let is_tight_for_all = directory.0.memory.budget.is_tight();
                let is_tight = is_tight_for_all || directory.0.memory.must_give(&Unit::Guests);
                if is_tight {
                    directory.relieve();
                }
                if is_tight || was_tight {
                    // Credit that was held back, and senders that wait.
                    let look_again = |it: Session| it.line.command(|line, _| line.session().look_again());
                    match is_tight_for_all || was_tight_for_all {
                        true => directory.for_each(look_again),
                        false => directory.guests().into_iter().for_each(look_again),
                    }
                }
                was_tight_for_all = is_tight_for_all;
                was_tight = is_tight;
                let mut inner = directory.lock();
                inner.keeping = !inner.devices.is_empty();
                if !inner.keeping {
                    return;
                }
            }
        });
    }

    /// Makes room where memory is full: the heaviest unit above its share gives way until there is some, then the next. Guests
    /// before all, as soon as it is tight.
    pub(super) fn relieve(&self) {
        let memory = &self.0.memory;
        let (mut reset, mut evicted) = self.relieve_of_guests();
        // As long as there is room for those who were let in, nobody of them is looked for.
        let units = if memory.budget.is_full() { memory.above_share() } else { Vec::new() };
        for unit in units {
            while memory.must_give(&unit) {
                let sessions = self.sessions_of_unit(&unit);
                let weigh = |line: &Line| line.command(|line, _| line.session().heaviest_len());
                let heaviest = sessions.iter().map(|it| (weigh(&it.line), &it.line)).max_by_key(|(len, _)| *len);
                if let Some((1.., line)) = heaviest {
                    line.command(|line, _| line.session().give_way());
                    reset += 1;
                    continue;
                }
                // Nothing is unread or queued any more: what is left is kept to be sent again.
                let waits = |it: &&Session| is_parked(&it.line).then(|| self.lock().parked.place(it.id)).flatten();
                let longest = sessions.iter().filter(|it| waits(it).is_some()).min_by_key(waits);
                let Some(Session { id, line, seat }) = longest else { break };
                self.bury(seat.device(), *id, line, FreshReason::Evicted);
                evicted += 1;
            }
        }
        if reset + evicted > 0 {
            let note = format!("reset={reset} evicted={evicted} held={}", memory.budget.held());
            self.0.watch.tell(Event::of(Kind::MemoryFull).note(note));
        }
    }

    /// Guests give way one after the other, the one first that holds most: all of them are one unit, of far more lines than any
    /// other, so that it is not looked at each step which of their channels is the heaviest.
    fn relieve_of_guests(&self) -> (usize, usize) {
        let (mut reset, mut evicted) = (0, 0);
        let must_give = || self.0.memory.must_give(&Unit::Guests);
        if !must_give() {
            return (reset, evicted);
        }
        let mut guests = self.guests();
        guests.sort_by_cached_key(|guest| std::cmp::Reverse(guest.line.command(|line, _| line.session().held_len())));
        for Session { id, line, seat } in guests {
            while must_give() && line.command(|line, _| line.session().give_way()) {
                reset += 1;
            }
            if must_give() && is_parked(&line) {
                self.bury(seat.device(), id, &line, FreshReason::Evicted);
                evicted += 1;
            }
        }
        (reset, evicted)
    }

    /// Those of a device stand together, the newest last.
    fn sessions_of_unit(&self, unit: &Unit) -> Vec<Session> {
        let mut sessions = match unit {
            Unit::Branch(root) => return self.sessions_named(Name::Branch(*root)),
            Unit::Subject(subject) => self.sessions_named(Name::Subject(subject.as_str())),
            Unit::Guests => return self.guests(),
        };
        sessions.retain(|session| self.0.memory.unit(&session.seat) == *unit);
        sessions
    }
}
