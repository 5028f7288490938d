//! The directory of sessions, by device: to open a channel to a device, to resume its session, to end its lines when it is
//! revoked, and to bound what waits for a connection.
//!
//! ```text
//! enter ─► carried ──connection lost──► parked, at most 120 s and as many as memory allows ──resume──► carried
//!              └── ended ──► gone          └── too long, too many ──► a tombstone, which tells a late client why
//! ```
//!
//! Guests have places of their own (`guests.rs`), and go first wherever room is made.

mod parked;
mod room;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use duologue::{Account, Birth, CloseCode, DeviceId, FreshReason, SessionId};
use duologue_native::{ByteStream, Channel, Line, LineError};

use self::parked::Parked;
use super::{
    guests::{Guests, NoPlace},
    memory::{Memory, RootOf},
};
use crate::watch::{
    events::{Event, Kind},
    stream::Watch,
};
use crate::{
    door::{holder::Holder, seat::Seat, standing::Level},
    state::{files, random},
    watch::log,
};

/// Tabs and programs that one device may have open at a time, with those that wait for a connection.
const LINES_OF_A_DEVICE_MAX: usize = 16;
/// What is held for a session that waits, beside what its memory's budget counts, and what of that budget's size they may take
/// together: a half.
const PARKED_LEN: usize = 4 * 1_024;
const PARKED_PART: usize = 2;
/// Sessions whose end is remembered, so that a client that comes back learns why.
const TOMBSTONES_MAX: usize = 10_000;

/// Why a guest is turned away.
pub(crate) const GUESTS_FULL: &str = "too many guests are here: try again later";

/// The lines that are open now, by device. Clones are the same directory.
#[derive(Clone, Debug)]
pub struct Directory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    /// Sessions that wait for a connection.
    parked_max: usize,
    memory: Memory,
    watch: Watch,
}

/// A session, and who sits in it.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) line: Line,
    pub(crate) seat: Arc<Seat>,
}

#[derive(Debug)]
struct Inner {
    /// Of this process: session ids begin with it, so that those of an earlier one are told from those never given.
    epoch: [u8; 4],
    /// The lines of each device, the newest last.
    devices: HashMap<DeviceId, Vec<Session>>,
    /// Those without a connection.
    parked: Parked,
    guests: Guests,
    tombstones: HashMap<SessionId, (DeviceId, FreshReason)>,
    /// The oldest first.
    buried: VecDeque<SessionId>,
    sweeping: bool,
    /// Somebody looks after memory.
    keeping: bool,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            epoch: random(),
            devices: HashMap::new(),
            parked: Parked::default(),
            guests: Guests::new(files::guests_max()),
            tombstones: HashMap::new(),
            buried: VecDeque::new(),
            sweeping: false,
            keeping: false,
        }
    }
}

impl Inner {
    fn session(&self, device: DeviceId, id: SessionId) -> Option<&Session> {
        self.devices.get(&device)?.iter().find(|session| session.id == id)
    }

    /// Counts a session among the guests, if it is one, and gives who gives way to it.
    fn place(&mut self, session: &Session) -> Result<Option<Session>, NoPlace> {
        let Session { id, seat, .. } = session;
        let Holder::Guests(network) = seat.holder() else {
            self.guests.leave(*id);
            return Ok(None);
        };
        if self.guests.has_from(*id, network) {
            return Ok(None);
        }
        self.guests.leave(*id);
        let Self { guests, devices, .. } = self;
        let told = log::stranger(&seat.device(), seat.address());
        let gone = guests.enter((seat.device(), *id), network, told, |device, id| waits(devices, device, id))?;
        Ok(gone.and_then(|(device, id)| self.session(device, id).cloned()))
    }

    fn born(&self, device: DeviceId, birth: Birth) -> Option<Session> {
        self.devices.get(&device)?.iter().find(|session| birth_of(&session.line) == Some(birth)).cloned()
    }
}

impl Directory {
    /// One whose lines may hold so many bytes in all, and that takes the devices of a branch for one.
    pub(crate) fn new(memory_len: usize, root_of: RootOf, watch: Watch) -> Self {
        let memory = Memory::new(memory_len, root_of);
        Self(Arc::new(Shared {
            inner: Mutex::default(),
            parked_max: memory_len / PARKED_PART / PARKED_LEN,
            memory,
            watch,
        }))
    }

    /// The account on which a session counts, as it is now.
    pub(crate) fn account(&self, seat: &Seat) -> Account {
        self.0.memory.account(self.0.memory.unit(seat))
    }

    /// Something else holds for a session: it counts as whoever it is now.
    ///
    /// # Errors
    /// If it is a guest's now, and there is no place for one more.
    pub(crate) fn count(&self, session: &Session) -> Result<(), NoPlace> {
        let account = self.account(&session.seat);
        session.seat.counts_on(&account);
        session.line.command(|line, _| line.count_on(account));
        let gone = {
            let mut inner = self.lock();
            if inner.session(session.seat.device(), session.id).is_none() {
                return Ok(());
            }
            inner.parked.is_of(session.id, self.0.memory.unit(&session.seat));
            inner.place(session)?
        };
        self.put_out(gone);
        Ok(())
    }

    /// Sessions of devices that nobody has let in.
    pub(crate) fn strangers(&self) -> Vec<Session> {
        self.sessions(|session| session.seat.is_stranger())
    }

    /// The sessions of guests.
    pub(crate) fn guests(&self) -> Vec<Session> {
        let inner = self.lock();
        let session = |(device, id)| inner.session(device, id).cloned();
        inner.guests.all().into_iter().filter_map(session).collect()
    }

    /// Somebody gives way to another guest.
    fn put_out(&self, gone: Option<Session>) {
        let Some(gone) = gone else { return };
        let device = gone.seat.device();
        self.0.watch.tell(Event::of(Kind::GuestEvicted).device(device));
        if is_parked(&gone.line) {
            self.bury(device, gone.id, &gone.line, FreshReason::Evicted);
        } else {
            self.end(&gone, CloseCode::GoingAway, GUESTS_FULL);
        }
    }

    /// Opens a channel to a connected device: to its newest line.
    ///
    /// # Errors
    /// None if the device is not connected; else what the line says.
    pub fn channel(&self, device: DeviceId, label: &str) -> Option<Result<Channel, LineError>> {
        Some(self.newest(device)?.channel(label))
    }

    /// Opens a stream to a connected device: to its newest line.
    ///
    /// # Errors
    /// None if the device is not connected; else what the line says.
    pub fn stream(&self, device: DeviceId, label: &str) -> Option<Result<ByteStream, LineError>> {
        Some(self.newest(device)?.stream(label))
    }

    /// The devices that have a line now, even one whose connection is being replaced.
    #[must_use]
    pub fn connected(&self) -> Vec<DeviceId> {
        self.lock().devices.keys().copied().collect()
    }

    /// The sessions that are so, as somebody says who looks at each.
    pub(crate) fn sessions(&self, mut pick: impl FnMut(&Session) -> bool) -> Vec<Session> {
        self.lock().devices.values().flatten().filter(|session| pick(session)).cloned().collect()
    }

    /// The sessions of a device.
    pub(crate) fn sessions_of(&self, device: DeviceId) -> Vec<Session> {
        self.lock().devices.get(&device).cloned().unwrap_or_default()
    }

    /// How many lines each device has, parked ones among them.
    pub(crate) fn counts(&self) -> HashMap<DeviceId, usize> {
        self.lock().devices.iter().map(|(device, lines)| (*device, lines.len())).collect()
    }

    /// The highest level that a session of each device has at this time.
    pub(crate) fn levels(&self, at: u64) -> HashMap<DeviceId, Level> {
        let highest = |sessions: &Vec<Session>| sessions.iter().map(|session| session.seat.standing(at).level).max();
        self.lock().devices.iter().filter_map(|(device, sessions)| Some((*device, highest(sessions)?))).collect()
    }

    /// Who sits in a device's newest session.
    pub(crate) fn seat(&self, device: DeviceId) -> Option<Arc<Seat>> {
        self.lock().devices.get(&device).and_then(|sessions| sessions.last()).map(|session| Arc::clone(&session.seat))
    }

    /// Ends every line of a device.
    pub fn close(&self, device: DeviceId, code: CloseCode) {
        let lines = self.lock().devices.remove(&device).unwrap_or_default();
        for session in lines {
            self.lock().guests.leave(session.id);
            session.seat.holds_nothing();
            session.line.close(code, "");
        }
    }

    /// Every line.
    pub(crate) fn lines(&self) -> Vec<Line> {
        lines(self.sessions(|_| true))
    }

    pub(crate) fn new_session_id(&self) -> SessionId {
        let mut id = random();
        if let Some(start) = id.first_chunk_mut() {
            *start = self.lock().epoch;
        }
        SessionId(id)
    }

    /// The line of a session that a device wants to go on with.
    pub(crate) fn resume(&self, device: DeviceId, id: SessionId) -> Result<Session, FreshReason> {
        let inner = self.lock();
        if id.0.first_chunk() != Some(&inner.epoch) {
            return Err(FreshReason::Restarted);
        }
        let tombstone = || inner.tombstones.get(&id).filter(|(whose, _)| *whose == device);
        let reason = || tombstone().map_or(FreshReason::Unknown, |(_, reason)| *reason);
        inner.session(device, id).cloned().ok_or_else(reason)
    }

    /// The session that the first AUTH of this birth has begun.
    pub(crate) fn born(&self, device: DeviceId, birth: Birth) -> Option<Session> {
        self.lock().born(device, birth)
    }

    /// A device has a bounded number of lines; beyond it, the newest takes the place of the one that waits for a connection
    /// longest, else of the oldest. If one of its sessions has the same birth, an AUTH before this one has begun it: that one is
    /// given back, and the new one is none.
    ///
    /// # Errors
    /// If it is a guest's, and there is no place for one more.
    pub(crate) fn enter(&self, session: Session) -> Result<Option<Session>, NoPlace> {
        let (device, birth) = (session.seat.device(), birth_of(&session.line));
        self.keep_room();
        let (replaced, gone) = {
            let mut inner = self.lock();
            if let Some(born) = birth.and_then(|birth| inner.born(device, birth)) {
                return Ok(Some(born));
            }
            let gone = inner.place(&session)?;
            let Inner { devices, parked, .. } = &mut *inner;
            let lines = devices.entry(device).or_default();
            // Most devices have one, and a vector begins with room for four.
            lines.reserve_exact(1);
            lines.push(session);
            let too_many = lines.len() > LINES_OF_A_DEVICE_MAX;
            let waiting = lines.iter().enumerate().filter(|(_, other)| is_parked(&other.line));
            let longest = waiting.filter_map(|(at, other)| Some((parked.place(other.id)?, at))).min();
            (too_many.then(|| lines.remove(longest.map_or(0, |(_, at)| at))), gone)
        };
        if let Some(Session { id, .. }) = &replaced {
            self.lock().guests.leave(*id);
        }
        self.put_out(gone);
        match replaced {
            Some(Session { id, line, .. }) if is_parked(&line) => self.bury(device, id, &line, FreshReason::Evicted),
            Some(Session { line, .. }) => line.close(CloseCode::Replaced, ""),
            None => {}
        }
        Ok(None)
    }

    /// A line has ended.
    pub(crate) fn leave(&self, device: DeviceId, id: SessionId) {
        let mut inner = self.lock();
        inner.guests.leave(id);
        inner.parked.remove(id);
        if let Some(lines) = inner.devices.get_mut(&device) {
            // Whoever still looks at a session that is over does not keep its memory from others.
            lines.iter().filter(|other| other.id == id).for_each(|gone| gone.seat.holds_nothing());
            lines.retain(|other| other.id != id);
            if lines.is_empty() {
                inner.devices.remove(&device);
            }
        }
    }

    /// Ends a session that is here, with a code and words for its client.
    pub(crate) fn end(&self, session: &Session, code: CloseCode, reason: &str) {
        self.leave(session.seat.device(), session.id);
        session.line.close(code, reason);
    }

    /// A session goes on over a new connection.
    pub(crate) fn goes_on(&self, session: SessionId, line: &Line) {
        let mut inner = self.lock();
        // It may have lost that one as well.
        if !is_parked(line) {
            inner.parked.remove(session);
        }
    }

    /// A line has lost its connection, and its session waits for another.
    pub(crate) fn park(&self, device: DeviceId, id: SessionId) {
        let (sweeps, crowded, guest) = {
            let mut inner = self.lock();
            let Some(seat) = inner.session(device, id).map(|session| Arc::clone(&session.seat)) else { return };
            inner.parked.push(device, id, self.0.memory.unit(&seat));
            let Inner { guests, devices, .. } = &mut *inner;
            guests.parks(id);
            let guest = guests.too_many_wait(|device, id| waits(devices, device, id));
            (std::mem::replace(&mut inner.sweeping, true), inner.parked.len() > self.0.parked_max, guest)
        };
        if let Some((device, id)) = guest
            && let Some(line) = self.line(device, id)
        {
            self.bury(device, id, &line, FreshReason::Evicted);
        }
        if crowded {
            self.make_room();
        }
        if !sweeps {
            let directory = self.clone();
            tokio::spawn(async move {
                while directory.sweep() {
                    tokio::time::sleep(room::SWEEP).await;
                }
            });
        }
    }

    /// Ends a session, and remembers why for its client.
    pub(crate) fn bury(&self, device: DeviceId, id: SessionId, line: &Line, reason: FreshReason) {
        line.command(|line, _| line.expire(reason));
        self.leave(device, id);
        let mut inner = self.lock();
        if inner.tombstones.insert(id, (device, reason)).is_none() {
            inner.buried.push_back(id);
        }
        if inner.buried.len() > TOMBSTONES_MAX
            && let Some(oldest) = inner.buried.pop_front()
        {
            inner.tombstones.remove(&oldest);
        }
    }

    fn line(&self, device: DeviceId, id: SessionId) -> Option<Line> {
        self.lock().session(device, id).map(|session| session.line.clone())
    }

    fn newest(&self, device: DeviceId) -> Option<Line> {
        self.lock().devices.get(&device).and_then(|lines| lines.last()).map(|session| session.line.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lines(sessions: Vec<Session>) -> Vec<Line> {
    sessions.into_iter().map(|session| session.line).collect()
}

/// Whether a session is there and waits for a connection.
fn waits(devices: &HashMap<DeviceId, Vec<Session>>, device: DeviceId, id: SessionId) -> bool {
    let sessions = devices.get(&device).map(Vec::as_slice).unwrap_or_default();
    sessions.iter().any(|session| session.id == id && is_parked(&session.line))
}

/// None once it has ended: it goes on no more.
fn birth_of(line: &Line) -> Option<Birth> {
    line.command(|line, _| line.closed().is_none().then(|| line.session().birth()).flatten())
}

fn is_parked(line: &Line) -> bool {
    line.command(|line, _| line.is_parked())
}

#[cfg(test)]
mod tests;
