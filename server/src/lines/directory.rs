//! The directory of sessions, by device: to open a channel to a device, to resume its session, to end its lines when it is
//! revoked, and to bound what waits for a connection.
//!
//! ```text
//! enter ─► carried ──connection lost──► parked, at most 120 s, 10,000 in all and 256 MiB ──resume──► carried
//!              └── ended ──► gone          └── too long, too many ──► a tombstone, which tells a late client why
//! ```

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use duologue::{Birth, CloseCode, DeviceId, FreshReason, SessionId};
use duologue_native::{ByteStream, Channel, Line, LineError};

/// Tabs and programs that one device may have open at a time, with those that wait for a connection.
const LINES_OF_A_DEVICE_MAX: usize = 16;
/// Sessions that wait for a connection.
const PARKED_MAX: usize = 10_000;
/// What they hold in all: unacknowledged, queued and unread.
const PARKED_LEN_MAX: usize = 256 * 1_024 * 1_024;
/// Sessions whose end is remembered, so that a client that comes back learns why.
const TOMBSTONES_MAX: usize = 10_000;
/// How often what waits is looked over.
const SWEEP: Duration = Duration::from_secs(1);

/// The lines that are open now, by device. Clones are the same directory.
#[derive(Clone, Debug, Default)]
pub struct Directory(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    /// Of this process: session ids begin with it, so that those of an earlier one are told from those never given.
    epoch: [u8; 4],
    /// The lines of each device, the newest last.
    devices: HashMap<DeviceId, Vec<(SessionId, Line)>>,
    /// Those without a connection, the one that waits longest first. Some may have one again.
    parked: VecDeque<(DeviceId, SessionId)>,
    tombstones: VecDeque<(DeviceId, SessionId, FreshReason)>,
    sweeping: bool,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            epoch: random(),
            devices: HashMap::new(),
            parked: VecDeque::new(),
            tombstones: VecDeque::new(),
            sweeping: false,
        }
    }
}

impl Inner {
    fn line(&self, device: DeviceId, id: SessionId) -> Option<Line> {
        let mut lines = self.devices.get(&device)?.iter();
        lines.find(|(other, _)| *other == id).map(|(_, line)| line.clone())
    }

    fn born(&self, device: DeviceId, birth: Birth) -> Option<(SessionId, Line)> {
        self.devices.get(&device)?.iter().find(|(_, line)| birth_of(line) == Some(birth)).cloned()
    }
}

impl Directory {
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

    /// Ends every line of a device.
    pub fn close(&self, device: DeviceId, code: CloseCode) {
        let lines = self.lock().devices.remove(&device).unwrap_or_default();
        for (_, line) in lines {
            line.close(code, "");
        }
    }

    /// Every line.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.lock().devices.values().flatten().map(|(_, line)| line.clone()).collect()
    }

    pub(crate) fn new_session_id(&self) -> SessionId {
        let mut id = random();
        if let Some(start) = id.first_chunk_mut() {
            *start = self.lock().epoch;
        }
        SessionId(id)
    }

    /// The line of a session that a device wants to go on with.
    pub(crate) fn resume(&self, device: DeviceId, id: SessionId) -> Result<Line, FreshReason> {
        let inner = self.lock();
        if id.0.first_chunk() != Some(&inner.epoch) {
            return Err(FreshReason::Restarted);
        }
        let tombstone = || inner.tombstones.iter().find(|(whose, other, _)| *other == id && *whose == device);
        inner.line(device, id).ok_or_else(|| tombstone().map_or(FreshReason::Unknown, |(.., reason)| *reason))
    }

    /// The session that the first AUTH of this birth has begun.
    pub(crate) fn born(&self, device: DeviceId, birth: Birth) -> Option<(SessionId, Line)> {
        self.lock().born(device, birth)
    }

    /// A device has a bounded number of lines; beyond it, the newest takes the place of the one that waits for a connection
    /// longest, else of the oldest. If one of its sessions has the same birth, an AUTH before this one has begun it: that one is
    /// given back, and the new one is none.
    pub(crate) fn enter(&self, device: DeviceId, id: SessionId, line: Line) -> Option<(SessionId, Line)> {
        let birth = birth_of(&line);
        let replaced = {
            let mut inner = self.lock();
            if let Some(born) = birth.and_then(|birth| inner.born(device, birth)) {
                return Some(born);
            }
            let parked: Vec<_> = inner.parked.iter().filter(|(whose, _)| *whose == device).map(|(_, id)| *id).collect();
            let lines = inner.devices.entry(device).or_default();
            lines.push((id, line));
            let waits = |id: SessionId| lines.iter().position(|(other, line)| *other == id && is_parked(line));
            let parked = parked.into_iter().find_map(waits);
            (lines.len() > LINES_OF_A_DEVICE_MAX).then(|| lines.remove(parked.unwrap_or(0)))
        };
        match replaced {
            Some((id, line)) if is_parked(&line) => self.bury(device, id, &line, FreshReason::Evicted),
            Some((_, line)) => line.close(CloseCode::Replaced, ""),
            None => {}
        }
        None
    }

    /// A line has ended.
    pub(crate) fn leave(&self, device: DeviceId, id: SessionId) {
        let mut inner = self.lock();
        if let Some(lines) = inner.devices.get_mut(&device) {
            lines.retain(|(other, _)| *other != id);
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

    fn make_room(&self) {
        let mut waiting = Vec::new();
        let entries: Vec<_> = self.lock().parked.iter().copied().collect();
        for (device, id) in entries {
            match self.line(device, id).filter(is_parked) {
                Some(line) => waiting.push((device, id, line.command(|line, _| line.session().held_len()), line)),
                None => self.lock().parked.retain(|(_, other)| *other != id),
            }
        }
        let mut len: usize = waiting.iter().map(|(.., len, _)| len).sum();
        let mut count = waiting.len();
        for (device, id, held, line) in waiting {
            if count <= PARKED_MAX && len <= PARKED_LEN_MAX {
                return;
            }
            count -= 1;
            len -= held;
            tracing::warn!(%device, "a session without a connection had to make room");
            self.bury(device, id, &line, FreshReason::Evicted);
        }
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
        self.lock().line(device, id)
    }

    fn newest(&self, device: DeviceId) -> Option<Line> {
        self.lock().devices.get(&device).and_then(|lines| lines.last()).map(|(_, line)| line.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn device(number: u8) -> DeviceId {
        DeviceId([number; 32])
    }

    fn parked(directory: &Directory, device: DeviceId) -> (SessionId, Line) {
        let (id, line) = (directory.new_session_id(), Line::new(duologue::Line::server(Budget::default())));
        directory.enter(device, id, line.clone());
        directory.park(device, id);
        (id, line)
    }

    #[tokio::test]
    async fn only_the_sessions_own_device_finds_it() {
        let directory = Directory::default();
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
        assert_eq!(Directory::default().resume(device(1), id).err(), Some(FreshReason::Restarted));
        assert!(directory.connected().is_empty());
    }

    #[tokio::test]
    async fn a_session_is_begun_once_by_its_device() {
        let directory = Directory::default();
        let born = |byte| Line::new(duologue::Line::server(Budget::default()).born(Birth([byte; 16])));
        let (id, other) = (directory.new_session_id(), directory.new_session_id());
        assert!(directory.enter(device(1), id, born(7)).is_none());
        assert_eq!(directory.enter(device(1), other, born(7)).map(|(id, _)| id), Some(id), "an answer was lost");
        assert!(directory.enter(device(1), other, born(8)).is_none());
        assert!(directory.enter(device(2), other, born(7)).is_none(), "another device's");
        let line = directory.line(device(1), id).expect("it has entered");
        line.close(CloseCode::Normal, "");
        assert!(directory.enter(device(1), directory.new_session_id(), born(7)).is_none(), "it has ended");
    }

    #[tokio::test]
    async fn the_session_that_waits_longest_makes_room() {
        let directory = Directory::default();
        let (first, _) = parked(&directory, device(1));
        let others: Vec<_> = (0..16).map(|_| parked(&directory, device(1))).collect();
        assert_eq!(directory.resume(device(1), first).err(), Some(FreshReason::Evicted), "the seventeenth of a device");
        assert!(others.iter().all(|(id, _)| directory.resume(device(1), *id).is_ok()));
        assert_eq!(directory.lock().parked.len(), 16);
    }
}
