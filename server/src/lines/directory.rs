//! The directory of sessions, by device: to open a channel to a device, to resume its session, to end its lines when it is
//! revoked, and to bound what waits for a connection.
//!
//! ```text
//! enter ─► carried ──connection lost──► parked, at most 120 s and as many as memory allows ──resume──► carried
//!              └── ended ──► gone          └── too long, too many ──► a tombstone, which tells a late client why
//! ```
//!
//! Guests have places of their own (`guests.rs`), and go first wherever room is made.

#[cfg(feature = "growth")]
pub(super) mod growth;
mod look;
mod names;
mod parked;
mod room;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use duologue::{Account, Birth, CloseCode, DeviceId, FreshReason, SessionId};
use duologue_native::Line;

pub(crate) use self::names::Name;
use self::{
    names::{Hashes, Names},
    parked::Parked,
};
use super::{
    guests::{Guests, NoPlace},
    memory::{Memory, RootOf, Unit},
};
use crate::watch::{
    bans::network,
    events::{Event, Kind},
    stream::Watch,
};
use crate::{
    door::{holder::Holder, seat::Seat},
    state::{files, random, sharded::Sharded},
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

type Devices = Sharded<DeviceId, OfDevice>;

#[derive(Debug, Default)]
struct OfDevice {
    /// The newest last.
    sessions: Vec<Session>,
    /// By which it is found.
    names: Hashes,
}

#[derive(Debug)]
struct Inner {
    /// Of this process: session ids begin with it, so that those of an earlier one are told from those never given. Those that are
    /// kept begin with what their store has for it.
    epoch: [u8; 4],
    kept_in: Option<[u8; 4]>,
    devices: Devices,
    names: Names,
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
            kept_in: None,
            devices: Devices::default(),
            names: Names::default(),
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
    fn of(&self, device: DeviceId) -> &[Session] {
        self.devices.get(&device).map(|of| of.sessions.as_slice()).unwrap_or_default()
    }

    fn session(&self, device: DeviceId, id: SessionId) -> Option<&Session> {
        self.of(device).iter().find(|session| session.id == id)
    }

    /// A device has another session, or one less, or one of them another name.
    fn rename(&mut self, device: DeviceId, memory: &Memory) {
        let Self { devices, names, .. } = self;
        let Some(OfDevice { sessions, names: had }) = devices.get_mut(&device) else { return };
        let mut has = Vec::new();
        for Session { seat, .. } in &*sessions {
            has.push(names.hash(Name::Network(network(seat.address()))));
            has.extend(seat.subject().map(|subject| names.hash(Name::Subject(subject.as_str()))));
            // What is a branch of its own, as most are, is found by its device.
            if let Unit::Branch(root) = memory.unit(seat)
                && root != device
            {
                has.push(names.hash(Name::Branch(root)));
            }
        }
        names.change(device, had, has);
        if sessions.is_empty() {
            devices.remove(&device);
        }
    }

    /// The sessions of the devices that a name means, and perhaps others.
    fn named(&self, name: Name<'_>) -> impl Iterator<Item = &Session> {
        let root = match name {
            // Found above by a name only where it has another's.
            Name::Branch(root) => Some(root),
            Name::Network(_) | Name::Subject(_) => None,
        };
        root.into_iter().chain(self.names.devices(name)).flat_map(|device| self.of(device))
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
        self.of(device).iter().find(|session| birth_of(&session.line) == Some(birth)).cloned()
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
            inner.rename(session.seat.device(), &self.0.memory);
            inner.place(session)?
        };
        self.put_out(gone);
        Ok(())
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

    /// Sessions are kept in a store of this generation.
    pub(crate) fn keeps_in(&self, generation: [u8; 4]) {
        self.lock().kept_in = Some(generation);
    }

    pub(crate) fn new_session_id(&self, is_kept: bool) -> SessionId {
        let mut id = random();
        let inner = self.lock();
        if let Some(start) = id.first_chunk_mut() {
            *start = inner.kept_in.filter(|_| is_kept).unwrap_or(inner.epoch);
        }
        SessionId(id)
    }

    /// The line of a session that a device wants to go on with.
    pub(crate) fn resume(&self, device: DeviceId, id: SessionId) -> Result<Session, FreshReason> {
        let inner = self.lock();
        let of = id.0.first_chunk();
        if of != Some(&inner.epoch) && (of.is_none() || of != inner.kept_in.as_ref()) {
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
            let OfDevice { sessions: lines, .. } = devices.or_insert_with(device, OfDevice::default);
            // Most devices have one, and a vector begins with room for four.
            lines.reserve_exact(1);
            lines.push(session);
            let too_many = lines.len() > LINES_OF_A_DEVICE_MAX;
            let waiting = lines.iter().enumerate().filter(|(_, other)| is_parked(&other.line));
            let longest = waiting.filter_map(|(at, other)| Some((parked.place(other.id)?, at))).min();
            let replaced = too_many.then(|| lines.remove(longest.map_or(0, |(_, at)| at)));
            inner.rename(device, &self.0.memory);
            (replaced, gone)
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
        if let Some(OfDevice { sessions, .. }) = inner.devices.get_mut(&device) {
            // Whoever still looks at a session that is over does not keep its memory from others.
            sessions.iter().filter(|other| other.id == id).for_each(|gone| gone.seat.holds_nothing());
            sessions.retain(|other| other.id != id);
            inner.rename(device, &self.0.memory);
        }
    }

    /// Ends every line of a device.
    pub fn close(&self, device: DeviceId, code: CloseCode) {
        for session in self.sessions_of(device) {
            self.end(&session, code, "");
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
        self.park_since(device, id, Duration::ZERO);
    }

    /// The same of one that has waited for so long already. Whoever parks several begins with the one that has waited longest.
    pub(crate) fn park_since(&self, device: DeviceId, id: SessionId, waited: Duration) {
        let (sweeps, crowded, guest) = {
            let mut inner = self.lock();
            let Some(seat) = inner.session(device, id).map(|session| Arc::clone(&session.seat)) else { return };
            inner.parked.push(device, id, self.0.memory.unit(&seat), waited);
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

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a session is there and waits for a connection.
fn waits(devices: &Devices, device: DeviceId, id: SessionId) -> bool {
    let mut sessions = devices.get(&device).into_iter().flat_map(|of| &of.sessions);
    sessions.any(|session| session.id == id && is_parked(&session.line))
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
