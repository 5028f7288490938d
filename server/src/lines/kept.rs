//! Sessions that go on in the process that comes after this one: kept in the store by output commit.
//!
//! ```text
//! session ─► what changed ─┐ one thread: all that is due, in one transaction    ─► what waited for it leaves, or is read
//! session ─► what changed ─┘ (fsync once for many)
//! start   ─► what is kept ─► parked, for what is left of its time ─► its device resumes, and is judged anew
//! ```
//!
//! Connections' keys are no part of it, nor is standing. Only sessions of devices that somebody has let in are kept.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use duologue::{DeviceId, FreshReason, SessionId, ToKeep, limits::RESUME_TTL_SECS};
use duologue_native::{Line, Recorder};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::{Duologue, directory::Session};
use crate::{
    door::{evidence::Transport, passkeys::presence::Presence, seat::Seat, standing::Subject},
    state::{
        StateError, random,
        records::now,
        seal::Seal,
        store::{DeviceStatus, SessionPlace, Store, StoreError},
    },
    watch::events::Event,
};

/// How often it is written that this process is alive, where nothing else is.
const ALIVE: Duration = Duration::from_secs(20);
/// How soon what could not be written is tried again. Until then nothing that follows from it leaves.
const AGAIN: Duration = Duration::from_millis(250);

/// The sessions that are kept, and the thread that does it.
#[derive(Debug)]
pub(super) struct Kept {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    store: Arc<Store>,
    seal: Seal,
    inner: Mutex<Inner>,
    wake: Condvar,
    /// How long a commit takes, in seconds.
    commits: Histogram,
}

#[derive(Default)]
struct Inner {
    sessions: HashMap<SessionId, Entry>,
    due: Vec<SessionId>,
    /// On disk, and not to be any more.
    gone: Vec<SessionPlace>,
    ends: bool,
}

struct Entry {
    line: Line,
    seat: Arc<Seat>,
    note: Arc<Note>,
    /// What is on disk.
    written: Option<Written>,
}

/// What tells one row of a session from another: how many changes it has, since when it is parked, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    changes: u64,
    parked_at: u64,
    subject: Option<Subject>,
}

/// What a line tells of its session.
#[derive(Debug)]
struct Note {
    shared: Weak<Shared>,
    id: SessionId,
    is_due: AtomicBool,
    /// Since when it waits for its device, in seconds since 1970; 0 if it does not.
    parked_at: AtomicU64,
}

impl Recorder for Note {
    fn is_due(&self) {
        if self.is_due.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(shared) = self.shared.upgrade() {
            shared.lock().due.push(self.id);
            shared.wake.notify_one();
        }
    }
}

/// What is kept of a session: its core's state, and what stands behind that.
struct Row {
    state: Vec<u8>,
    subject: String,
    parked_at: u64,
}

impl Row {
    /// In the state's own memory, which is large at times.
    fn encode(self) -> Vec<u8> {
        let mut out = self.state;
        out.extend_from_slice(self.subject.as_bytes());
        out.extend_from_slice(&u32::try_from(self.subject.len()).expect("a name is short").to_be_bytes());
        out.extend_from_slice(&self.parked_at.to_be_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (rest, parked_at) = bytes.split_last_chunk()?;
        let (rest, len) = rest.split_last_chunk()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        let (state, subject) = rest.split_at_checked(rest.len().checked_sub(len)?)?;
        let subject = String::from_utf8(subject.to_vec()).ok()?;
        Some(Self { state: state.to_vec(), subject, parked_at: u64::from_be_bytes(*parked_at) })
    }
}

impl Kept {
    fn new(store: Arc<Store>, seal: Seal) -> Self {
        // From a quarter of a millisecond to 2 s, as the store's own.
        let commits = Histogram::new(exponential_buckets(0.000_25, 2.0, 14));
        let shared = Shared { store, seal, inner: Mutex::default(), wake: Condvar::new(), commits };
        Self { shared: Arc::new(shared), thread: Mutex::default() }
    }

    fn start(&self) -> std::io::Result<()> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.lock().ends = false;
        let shared = Arc::clone(&self.shared);
        *thread = Some(std::thread::Builder::new().name("duologue-kept".to_owned()).spawn(move || shared.run())?);
        Ok(())
    }

    /// A session is kept from now on, before anything of it leaves.
    pub(super) fn keep(&self, session: &Session) {
        self.enter(session, 0, None);
    }

    fn enter(&self, session: &Session, parked_at: u64, written: Option<Written>) {
        let (shared, id) = (Arc::downgrade(&self.shared), session.id);
        let note = Arc::new(Note { shared, id, is_due: AtomicBool::new(false), parked_at: AtomicU64::new(parked_at) });
        // The directory keeps the line open, and nobody else.
        let line = session.line.unguarded();
        let entry = Entry { line: line.clone(), seat: Arc::clone(&session.seat), note: Arc::clone(&note), written };
        self.shared.lock().sessions.insert(id, entry);
        line.keep_by(note);
    }

    /// It has lost its connection.
    pub(super) fn parks(&self, id: SessionId) {
        self.is_parked_since(id, now());
    }

    /// It has one again.
    pub(super) fn goes_on(&self, id: SessionId) {
        self.is_parked_since(id, 0);
    }

    fn is_parked_since(&self, id: SessionId, at: u64) {
        let note = self.shared.lock().sessions.get(&id).map(|entry| Arc::clone(&entry.note));
        if let Some(note) = note {
            note.parked_at.store(at, Ordering::Relaxed);
            note.is_due();
        }
    }

    fn has(&self, id: SessionId) -> bool {
        self.shared.lock().sessions.contains_key(&id)
    }

    /// It ends with this process.
    pub(super) fn let_go(&self, id: SessionId) {
        let mut inner = self.shared.lock();
        let Some(entry) = inner.sessions.remove(&id) else { return };
        if entry.written.is_some() {
            inner.gone.push(SessionPlace { device: entry.seat.device().0, id: id.0 });
        }
        drop(inner);
        entry.line.let_go();
    }

    /// Writes what is due, and nothing any more.
    async fn finish(&self) {
        self.shared.lock().ends = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It does not panic: what it calls tells its errors.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        *self.shared.lock() = Inner { ends: true, ..Inner::default() };
    }

    pub(super) fn len(&self) -> usize {
        self.shared.lock().sessions.len()
    }

    pub(super) fn commits(&self) -> &Histogram {
        &self.shared.commits
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            let (due, gone, ends) = self.wait();
            match (due.is_empty() && gone.is_empty(), ends) {
                (true, true) => return,
                (true, false) if self.lock().sessions.is_empty() => {}
                _ => self.commit(due, gone),
            }
        }
    }

    /// Waits until something is due, or it is time to say that this process is alive.
    fn wait(&self) -> (Vec<SessionId>, Vec<SessionPlace>, bool) {
        let inner = self.lock();
        let is_idle = |inner: &mut Inner| inner.due.is_empty() && inner.gone.is_empty() && !inner.ends;
        let waited = self.wake.wait_timeout_while(inner, ALIVE, is_idle);
        let (mut inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut inner.due), std::mem::take(&mut inner.gone), inner.ends)
    }

    fn commit(&self, due: Vec<SessionId>, gone: Vec<SessionPlace>) {
        let mut changes: Vec<_> = gone.into_iter().map(|place| (place, None)).collect();
        let (says_alive, mut taken) = (due.is_empty(), Vec::with_capacity(due.len()));
        for id in due {
            let found = self.lock().sessions.get(&id).map(|entry| {
                let Entry { line, seat, note, written } = entry;
                (line.clone(), Arc::clone(seat), Arc::clone(note), written.clone())
            });
            let Some((line, seat, note, written)) = found else { continue };
            note.is_due.store(false, Ordering::Release);
            let place = SessionPlace { device: seat.device().0, id: id.0 };
            match line.to_keep() {
                None => {}
                Some(ToKeep::Nothing) => {
                    self.lock().sessions.remove(&id);
                    if written.is_some() {
                        changes.push((place, None));
                    }
                }
                // It ends just now, and its row is gone with its device.
                Some(ToKeep::State(..)) if self.store.status(seat.device()) != Some(DeviceStatus::Enrolled) => {}
                Some(ToKeep::State(to, state)) => {
                    let parked_at = note.parked_at.load(Ordering::Relaxed);
                    let now = Written { changes: to, parked_at, subject: seat.subject() };
                    if written.as_ref() != Some(&now) {
                        let subject =
                            now.subject.as_ref().map_or_else(String::new, |subject| subject.as_str().to_owned());
                        let row = Row { state, subject, parked_at };
                        changes.push((place, Some(self.seal.seal(&place.key(), row.encode()))));
                    }
                    taken.push((id, line, now));
                }
            }
        }
        let (began, writes) = (Instant::now(), says_alive || !changes.is_empty());
        while writes && let Err(error) = self.store.keep_sessions(&changes, now()) {
            // Told by the store itself; and what waits for it waits on.
            tracing::debug!(%error, "sessions could not be kept");
            if matches!(error, StoreError::HandedOver) || self.lock().ends {
                return;
            }
            std::thread::sleep(AGAIN);
        }
        if writes {
            self.commits.observe(began.elapsed().as_secs_f64());
        }
        for (id, line, now) in taken {
            let changes = now.changes;
            if let Some(entry) = self.lock().sessions.get_mut(&id) {
                entry.written = Some(now);
            }
            line.is_kept(changes);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("sessions", &self.lock().sessions.len()).finish_non_exhaustive()
    }
}

impl Duologue {
    /// Keeps the sessions of devices that were let in, so that they go on in the process that comes after this one, whatever has ended
    /// this one; and goes on with those that the process before has kept. To be called after all services are there.
    ///
    /// # Errors
    /// If the state directory cannot be read or written.
    ///
    /// # Panics
    /// If the server is in use: it is to be called before it is cloned or mounted; or outside of a tokio runtime.
    pub fn keep_sessions(mut self) -> Result<Self, StateError> {
        let failed = |path: &std::path::Path, source| StateError::Store { path: path.to_owned(), source };
        let (state, path) = (self.shared.state.clone(), self.shared.state.directory().join("store.redb"));
        let seal = Seal::anew(state.directory())?;
        let generation = state.store().generation().map_err(|source| failed(&path, source))?;
        let generation = hex::decode(generation).ok().and_then(|bytes| bytes.try_into().ok()).unwrap_or(random());
        self.shared.directory.keeps_in(generation);
        let kept = Kept::new(Arc::clone(state.store()), seal);
        self.revive(&kept).map_err(|source| failed(&path, source))?;
        kept.shared.seal.forget_those_before()?;
        kept.start().map_err(|source| StateError::Io { verb: "start a thread for", path, source })?;
        Arc::get_mut(&mut self.shared).expect("nobody else has it yet").kept = Some(kept);
        Ok(self)
    }

    /// Takes in what is kept: what has waited too long, cannot be opened, or is of a device that may not come any more is dropped. All
    /// others are sealed by this process from now on.
    fn revive(&self, kept: &Kept) -> Result<(), StoreError> {
        let Shared { store, seal, .. } = &*kept.shared;
        let (stored, now) = (store.sessions()?, now());
        let (mut changes, mut revived, mut dropped) = (Vec::new(), Vec::new(), 0_usize);
        for (place, sealed) in stored.sealed {
            let row = seal.open(&place.key(), &sealed).and_then(|plain| Row::decode(&plain));
            let waits_since = |row: &Row| if row.parked_at == 0 { stored.last } else { row.parked_at };
            let row = row.map(|row| Row { parked_at: waits_since(&row), ..row });
            let row = row.filter(|row| now.saturating_sub(row.parked_at) < RESUME_TTL_SECS);
            let session = row.and_then(|row| Some((self.revived(place, &row)?, row)));
            match session {
                Some((session, row)) => {
                    let parked_at = row.parked_at;
                    changes.push((place, Some(seal.seal(&place.key(), row.encode()))));
                    revived.push((parked_at, session));
                }
                None => {
                    dropped += 1;
                    changes.push((place, None));
                }
            }
        }
        if !changes.is_empty() {
            store.keep_sessions(&changes, now)?;
        }
        revived.sort_by_key(|(parked_at, _)| *parked_at);
        tracing::debug!(sessions = revived.len(), dropped, "sessions that were kept go on");
        for (parked_at, session) in revived {
            // By another process: it has no change of this one's.
            kept.enter(&session, parked_at, Some(Written { changes: 0, parked_at, subject: None }));
            let (device, id) = (session.seat.device(), session.id);
            if let Ok(None) = self.shared.directory.enter(session) {
                let waited = Duration::from_secs(now.saturating_sub(parked_at));
                self.shared.directory.park_since(device, id, waited);
            }
        }
        Ok(())
    }

    fn revived(&self, place: SessionPlace, row: &Row) -> Option<Session> {
        let (device, id) = (DeviceId(place.device), SessionId(place.id));
        if self.shared.state.store().status(device) != Some(DeviceStatus::Enrolled) {
            return None;
        }
        let seat = Arc::new(Seat::new(device, Transport::default(), self.has(device)));
        if !row.subject.is_empty() && !seat.was_of(&Subject::new(&row.subject).ok()?) {
            return None;
        }
        if self.shared.passkeys.is_some() {
            seat.takes_passkeys(Presence::new(id, random()));
        }
        let account = self.shared.directory.account(&seat);
        let session = duologue::Session::revive_kept(&row.state, account).ok()?;
        if session.id() != Some(id) {
            return None;
        }
        let line = Line::new(duologue::Line::revived(duologue::Instant::default(), session));
        Some(Session { id, line, seat })
    }

    /// A line has lost its connection, and its session waits for another.
    pub(super) fn parks(&self, device: DeviceId, id: SessionId) {
        self.shared.kept.iter().for_each(|kept| kept.parks(id));
        self.shared.directory.park(device, id);
    }

    /// The process that comes after this one goes on with the sessions that are kept, as far as all of their channels can: they lose
    /// their connections here, and end. The others end with this process, as those do that are not kept.
    pub(super) async fn part_with_kept(&self) {
        let Some(kept) = &self.shared.kept else { return };
        let mut parted = Vec::new();
        self.shared.directory.for_each(|session| {
            if !kept.has(session.id) {
                return;
            }
            let channels = session.line.command(|line, _| line.session().kept());
            let goes_on =
                |it: &duologue::KeptChannel| it.id.0 & 1 == 0 && self.services.goes_on(&it.label, it.is_noted);
            if channels.iter().all(goes_on) {
                session.line.command(duologue::Line::dismiss);
                kept.parks(session.id);
                parted.push(session);
            } else {
                kept.let_go(session.id);
            }
        });
        kept.finish().await;
        for Session { id, line, seat } in parted {
            // Nobody acts for it here from now on.
            line.command(|line, _| line.expire(FreshReason::Restarted));
            self.shared.directory.leave(seat.device(), id);
        }
    }

    /// The process that was to come after this one has come to nothing: this one goes on with what is kept.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub(super) fn go_on_with_kept(&self) -> Result<(), StoreError> {
        // It may have come to nothing before this one had parted with any.
        let Some(kept) = self.shared.kept.as_ref().filter(|kept| kept.shared.lock().ends) else { return Ok(()) };
        self.revive(kept)?;
        if let Err(error) = kept.start() {
            self.tell(Event::without_thread("keeping sessions", error));
        }
        Ok(())
    }

    /// How many sessions are kept, and how long commits of them take; none where they are not.
    pub(crate) fn kept_sessions(&self) -> Option<(usize, &Histogram)> {
        self.shared.kept.as_ref().map(|kept| (kept.len(), kept.commits()))
    }
}
