//! The directory of sessions, by device: to open a channel to a device, to resume its session, to end its lines when it is
//! revoked, and to bound what waits for a connection.
//!
//! ```text
//! enter ─► carried ──connection lost──► parked, at most 120 s and 10,000 in all ──resume──► carried
//!              └── ended ──► gone          └── too long, too many ──► a tombstone, which tells a late client why
//! ```

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use duologue::{Account, Birth, CloseCode, DeviceId, FreshReason, SessionId};
use duologue_native::{ByteStream, Channel, Line, LineError};

use super::memory::{Memory, RootOf, Unit};
use crate::door::seat::Seat;

/// Tabs and programs that one device may have open at a time, with those that wait for a connection.
const LINES_OF_A_DEVICE_MAX: usize = 16;
/// Sessions that wait for a connection.
const PARKED_MAX: usize = 10_000;
/// Sessions whose end is remembered, so that a client that comes back learns why.
const TOMBSTONES_MAX: usize = 10_000;
/// How often what waits is looked over.
const SWEEP: Duration = Duration::from_secs(1);
/// How often somebody looks whether memory is short, while there are lines.
const KEEP: Duration = Duration::from_millis(250);

/// The lines that are open now, by device. Clones are the same directory.
#[derive(Clone, Debug)]
pub struct Directory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    memory: Memory,
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
    /// Those without a connection, the one that waits longest first. Some may have one again.
    parked: VecDeque<(DeviceId, SessionId)>,
    tombstones: VecDeque<(DeviceId, SessionId, FreshReason)>,
    sweeping: bool,
    /// Somebody looks after memory.
    keeping: bool,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            epoch: random(),
            devices: HashMap::new(),
            parked: VecDeque::new(),
            tombstones: VecDeque::new(),
            sweeping: false,
            keeping: false,
        }
    }
}

impl Inner {
    fn session(&self, device: DeviceId, id: SessionId) -> Option<&Session> {
        self.devices.get(&device)?.iter().find(|session| session.id == id)
    }

    fn born(&self, device: DeviceId, birth: Birth) -> Option<Session> {
        self.devices.get(&device)?.iter().find(|session| birth_of(&session.line) == Some(birth)).cloned()
    }
}

impl Directory {
    /// One whose lines may hold so many bytes in all, and that takes the devices of a branch for one.
    pub(crate) fn new(memory_len: usize, root_of: RootOf) -> Self {
        Self(Arc::new(Shared { inner: Mutex::default(), memory: Memory::new(memory_len, root_of) }))
    }

    /// The account on which a device's sessions count.
    pub(crate) fn account(&self, device: DeviceId) -> Account {
        self.0.memory.account(self.0.memory.unit(device))
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

    /// Who sits in a device's newest session.
    pub(crate) fn seat(&self, device: DeviceId) -> Option<Arc<Seat>> {
        self.lock().devices.get(&device).and_then(|sessions| sessions.last()).map(|session| Arc::clone(&session.seat))
    }

    /// Ends every line of a device.
    pub fn close(&self, device: DeviceId, code: CloseCode) {
        let lines = self.lock().devices.remove(&device).unwrap_or_default();
        for session in lines {
            session.line.close(code, "");
        }
    }

    /// Every line.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.lock().devices.values().flatten().map(|session| session.line.clone()).collect()
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
        let tombstone = || inner.tombstones.iter().find(|(whose, other, _)| *other == id && *whose == device);
        inner
            .session(device, id)
            .cloned()
            .ok_or_else(|| tombstone().map_or(FreshReason::Unknown, |(.., reason)| *reason))
    }

    /// The session that the first AUTH of this birth has begun.
    pub(crate) fn born(&self, device: DeviceId, birth: Birth) -> Option<Session> {
        self.lock().born(device, birth)
    }

    /// A device has a bounded number of lines; beyond it, the newest takes the place of the one that waits for a connection
    /// longest, else of the oldest. If one of its sessions has the same birth, an AUTH before this one has begun it: that one is
    /// given back, and the new one is none.
    pub(crate) fn enter(&self, session: Session) -> Option<Session> {
        let (device, birth) = (session.seat.device(), birth_of(&session.line));
        self.keep_room();
        let replaced = {
            let mut inner = self.lock();
            if let Some(born) = birth.and_then(|birth| inner.born(device, birth)) {
                return Some(born);
            }
            let parked: Vec<_> = inner.parked.iter().filter(|(whose, _)| *whose == device).map(|(_, id)| *id).collect();
            let lines = inner.devices.entry(device).or_default();
            // Most devices have one, and a vector begins with room for four.
            lines.reserve_exact(1);
            lines.push(session);
            let waits = |id: SessionId| lines.iter().position(|other| other.id == id && is_parked(&other.line));
            let parked = parked.into_iter().find_map(waits);
            (lines.len() > LINES_OF_A_DEVICE_MAX).then(|| lines.remove(parked.unwrap_or(0)))
        };
        match replaced {
            Some(Session { id, line, .. }) if is_parked(&line) => self.bury(device, id, &line, FreshReason::Evicted),
            Some(Session { line, .. }) => line.close(CloseCode::Replaced, ""),
            None => {}
        }
        None
    }

    /// A line has ended.
    pub(crate) fn leave(&self, device: DeviceId, id: SessionId) {
        let mut inner = self.lock();
        if let Some(lines) = inner.devices.get_mut(&device) {
            lines.retain(|other| other.id != id);
            if lines.is_empty() {
                inner.devices.remove(&device);
            }
        }
    }

    /// A line has lost its connection, and its session waits for another.
    pub(crate) fn park(&self, device: DeviceId, id: SessionId) {
        let (sweeps, crowded) = {
            let mut inner = self.lock();
            // It may have been here before, and have had a connection since.
            inner.parked.retain(|(_, other)| *other != id);
            inner.parked.push_back((device, id));
            (std::mem::replace(&mut inner.sweeping, true), inner.parked.len() > PARKED_MAX)
        };
        // What they hold is counted by the sweep only: a network that fails loses thousands at once.
        if crowded {
            self.make_room();
        }
        if !sweeps {
            let directory = self.clone();
            tokio::spawn(async move {
                while directory.sweep() {
                    tokio::time::sleep(SWEEP).await;
                }
            });
        }
    }

    /// Ends what has waited for too long, and the longest-waiting where too much does. False if nothing waits any more.
    fn sweep(&self) -> bool {
        let waiting: Vec<_> = self.lock().parked.iter().copied().collect();
        for (device, id) in waiting {
            let Some(line) = self.line(device, id) else { continue };
            line.command(duologue::Line::handle_timeout);
            if line.command(|line, _| line.closed().is_some()) {
                self.bury(device, id, &line, FreshReason::Expired);
            }
        }
        self.make_room();
        let mut inner = self.lock();
        inner.sweeping = !inner.parked.is_empty();
        inner.sweeping
    }

    /// Beyond the number, the unit that has most of them gives way, with the one that waits longest.
    fn make_room(&self) {
        let entries: Vec<_> = self.lock().parked.iter().copied().collect();
        let mut waiting: HashMap<Unit, VecDeque<(DeviceId, SessionId, Line)>> = HashMap::new();
        let mut count = 0;
        for (device, id) in entries {
            match self.line(device, id).filter(is_parked) {
                Some(line) => {
                    waiting.entry(self.0.memory.unit(device)).or_default().push_back((device, id, line));
                    count += 1;
                }
                None => self.lock().parked.retain(|(_, other)| *other != id),
            }
        }
        while count > PARKED_MAX {
            let most = waiting.values_mut().max_by_key(|sessions| sessions.len());
            let Some((device, id, line)) = most.and_then(VecDeque::pop_front) else { return };
            count -= 1;
            tracing::warn!(%device, "a session without a connection had to make room: too many wait");
            self.bury(device, id, &line, FreshReason::Evicted);
        }
    }

    /// Looks after memory while there are lines.
    fn keep_room(&self) {
        if std::mem::replace(&mut self.lock().keeping, true) {
            return;
        }
        let directory = self.clone();
        tokio::spawn(async move {
            let mut was_tight = false;
            loop {
                tokio::time::sleep(KEEP).await;
                let is_tight = directory.0.memory.budget.is_tight();
                if is_tight {
                    directory.relieve();
                }
                if is_tight || was_tight {
                    // Credit that was held back, and senders that wait.
                    directory.lines().iter().for_each(|line| line.command(|line, _| line.session().look_again()));
                }
                was_tight = is_tight;
                let mut inner = directory.lock();
                inner.keeping = !inner.devices.is_empty();
                if !inner.keeping {
                    return;
                }
            }
        });
    }

    /// Makes room where memory is full: the heaviest unit above its share gives way until there is some, then the next.
    fn relieve(&self) {
        let memory = &self.0.memory;
        let (mut reset, mut evicted) = (0_usize, 0_usize);
        for unit in memory.above_share() {
            while memory.budget.is_full() && memory.account(unit).is_above_share() {
                let lines = self.lines_of(unit);
                let weigh = |line: &Line| line.command(|line, _| line.session().heaviest_len());
                let heaviest = lines.iter().map(|(.., line)| (weigh(line), line)).max_by_key(|(len, _)| *len);
                if let Some((1.., line)) = heaviest {
                    line.command(|line, _| line.session().give_way());
                    reset += 1;
                    continue;
                }
                // Nothing is unread or queued any more: what is left is kept to be sent again.
                let waits = |(_, id, line): &&(DeviceId, SessionId, Line)| {
                    is_parked(line).then(|| self.lock().parked.iter().position(|(_, other)| other == id)).flatten()
                };
                let longest = lines.iter().filter(|line| waits(line).is_some()).min_by_key(waits);
                let Some((device, id, line)) = longest else { break };
                self.bury(*device, *id, line, FreshReason::Evicted);
                evicted += 1;
            }
        }
        if reset + evicted > 0 {
            tracing::warn!(reset, evicted, held = memory.budget.held(), "memory was full: who held most has made room");
        }
    }

    fn lines_of(&self, unit: Unit) -> Vec<(DeviceId, SessionId, Line)> {
        let inner = self.lock();
        let devices = inner.devices.iter().filter(|(device, _)| self.0.memory.unit(**device) == unit);
        devices
            .flat_map(|(device, lines)| lines.iter().map(|session| (*device, session.id, session.line.clone())))
            .collect()
    }

    /// Ends a session, and remembers why for its client.
    pub(crate) fn bury(&self, device: DeviceId, id: SessionId, line: &Line, reason: FreshReason) {
        line.command(|line, _| line.expire(reason));
        self.leave(device, id);
        let mut inner = self.lock();
        inner.parked.retain(|(_, other)| *other != id);
        inner.tombstones.push_back((device, id, reason));
        if inner.tombstones.len() > TOMBSTONES_MAX {
            inner.tombstones.pop_front();
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

/// None once it has ended: it goes on no more.
fn birth_of(line: &Line) -> Option<Birth> {
    line.command(|line, _| line.closed().is_none().then(|| line.session().birth()).flatten())
}

fn is_parked(line: &Line) -> bool {
    line.command(|line, _| line.is_parked())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use duologue::Budget;

    use super::*;
    use crate::{
        door::{evidence::Transport, seat::Has},
        state::store::Known,
    };

    fn device(number: u8) -> DeviceId {
        DeviceId([number; 32])
    }

    fn session(device: DeviceId, id: SessionId, line: Line) -> Session {
        let transport = Transport { address: [192, 0, 2, 1].into(), origin: None, app_origin: None };
        Session { id, line, seat: Arc::new(Seat::new(device, transport, Has::of(&Known::default()))) }
    }

    /// Devices of tens and more were let in by the one of their ones: 12, 22 by 2.
    fn of_len(memory_len: usize) -> Directory {
        Directory::new(memory_len, Box::new(|id: DeviceId| device(id.0[0] % 10)))
    }

    fn parked(directory: &Directory, device: DeviceId) -> (SessionId, Line) {
        let (id, line) = (directory.new_session_id(), Line::new(duologue::Line::server(directory.account(device))));
        directory.enter(session(device, id, line.clone()));
        directory.park(device, id);
        (id, line)
    }

    #[tokio::test]
    async fn only_the_sessions_own_device_finds_it() {
        let directory = of_len(1 << 30);
        let (id, line) = parked(&directory, device(1));
        assert!(directory.resume(device(1), id).is_ok());
        assert_eq!(directory.resume(device(2), id).err(), Some(FreshReason::Unknown));
        directory.bury(device(1), id, &line, FreshReason::Expired);
        assert_eq!(directory.resume(device(1), id).err(), Some(FreshReason::Expired));
        assert_eq!(
            directory.resume(device(2), id).err(),
            Some(FreshReason::Unknown),
            "nor does it learn what became of it"
        );
        assert_eq!(of_len(1 << 30).resume(device(1), id).err(), Some(FreshReason::Restarted));
        assert!(directory.connected().is_empty());
    }

    #[tokio::test]
    async fn a_session_is_begun_once_by_its_device() {
        let directory = of_len(1 << 30);
        let born = |byte| Line::new(duologue::Line::server(Budget::default()).born(Birth([byte; 16])));
        let (id, other) = (directory.new_session_id(), directory.new_session_id());
        assert!(directory.enter(session(device(1), id, born(7))).is_none());
        let again = directory.enter(session(device(1), other, born(7)));
        assert_eq!(again.map(|session| session.id), Some(id), "an answer was lost");
        assert!(directory.enter(session(device(1), other, born(8))).is_none());
        assert!(directory.enter(session(device(2), other, born(7))).is_none(), "another device's");
        let line = directory.line(device(1), id).expect("it has entered");
        line.close(CloseCode::Normal, "");
        assert!(directory.enter(session(device(1), directory.new_session_id(), born(7))).is_none(), "it has ended");
    }

    #[tokio::test]
    async fn the_session_that_waits_longest_makes_room() {
        let directory = of_len(1 << 30);
        let (first, _) = parked(&directory, device(1));
        let others: Vec<_> = (0..16).map(|_| parked(&directory, device(1))).collect();
        assert_eq!(directory.resume(device(1), first).err(), Some(FreshReason::Evicted), "the seventeenth of a device");
        assert!(others.iter().all(|(id, _)| directory.resume(device(1), *id).is_ok()));
        assert_eq!(directory.lock().parked.len(), 16);
    }

    const KIB: usize = 1_024;

    /// A session without a connection, with a message that waits to be sent.
    fn holding(directory: &Directory, device: DeviceId, len: usize) -> (SessionId, Line) {
        let (id, line) = parked(directory, device);
        line.command(|line, _| {
            let id = line.open_channel("desk").expect("a good label");
            assert!(line.channel(id).send(vec![7; len]).is_ok(), "an empty queue takes one message");
        });
        (id, line)
    }

    fn held(line: &Line) -> usize {
        line.command(|line, _| line.session().held_len())
    }

    #[tokio::test]
    async fn the_heaviest_unit_makes_room_with_its_heaviest_channel_and_who_is_within_its_share_loses_nothing() {
        let directory = of_len(16_384 * KIB);
        // 16 lines of one device, each a small part of what it holds.
        let greedy: Vec<_> =
            [800, 1_000].repeat(8).iter().map(|len| holding(&directory, device(3), len * KIB).1).collect();
        let (_, small) = holding(&directory, device(2), 10 * KIB);
        let (_, honest) = holding(&directory, device(1), 2_600 * KIB);
        let budget = &directory.0.memory.budget;
        assert!(budget.is_full());
        directory.relieve();
        assert!(!budget.is_full(), "{} held", budget.held());
        assert!(held(&honest) > 2_600 * KIB && held(&small) > 10 * KIB, "who is within its share loses nothing");
        let lost = greedy.iter().filter(|line| held(line) < 800 * KIB).count();
        assert_eq!(lost, 1, "no more than is needed");
        let heavy = greedy.iter().filter(|line| held(line) > 1_000 * KIB).count();
        assert_eq!(heavy, 7, "the heaviest first");
    }

    #[tokio::test]
    async fn who_pairs_devices_has_one_share_with_them() {
        let directory = of_len(16_384 * KIB);
        // Ten devices of one branch, none of which holds much, and an honest one that holds more than each of them.
        let branch: Vec<_> =
            (0..10).map(|number| holding(&directory, device(3 + 10 * number), 1_400 * KIB).1).collect();
        let (_, honest) = holding(&directory, device(1), 2_600 * KIB);
        let budget = &directory.0.memory.budget;
        assert!(budget.is_full());
        directory.relieve();
        assert!(!budget.is_full(), "{} held", budget.held());
        assert!(held(&honest) > 2_600 * KIB, "it was made the heaviest by nine accomplices");
        assert!(branch.iter().any(|line| held(line) < 1_400 * KIB));
    }

    #[tokio::test]
    async fn a_unit_that_has_nothing_unread_makes_room_with_the_session_that_waits_longest() {
        let directory = of_len(2_048 * KIB);
        let lines: Vec<_> = (0..12).map(|_| parked(&directory, device(1))).collect();
        for (_, line) in &lines {
            line.command(|line, now| {
                let id = line.open_channel("desk").expect("a good label");
                for _ in 0..16 {
                    let ttl = Duration::from_secs(60);
                    line.channel(id).send_datagram(now, vec![7; 16 * KIB], ttl, None).expect("it has not ended");
                }
            });
        }
        directory.relieve();
        let evicted =
            |(id, _): &&(SessionId, Line)| directory.resume(device(1), *id).err() == Some(FreshReason::Evicted);
        let gone = lines.iter().take_while(evicted).count();
        assert!((4..6).contains(&gone), "12 of 256 KiB in 2 MiB: {gone} are gone");
        assert_eq!(lines.iter().filter(evicted).count(), gone, "those that waited longest");
    }
}
