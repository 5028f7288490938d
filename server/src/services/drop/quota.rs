//! The directory's room, and whose turn each upload is.
//!
//! The directory is counted when it is opened and then kept in books, because to count 10,000 files takes some 10 ms and a
//! device may ask a thousand times at once. Its owner takes files away without saying so, and that is seen by when the directory
//! was last changed; now and then it is counted anew all the same. What counts is what is held: room is reserved as bytes come, by
//! the rule of `books`, and what an upload announces is only refused early where it could never fit.

use std::{
    collections::HashSet,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};

use super::{
    super::share::Shares,
    DropError, blocking,
    books::{Books, Bounds, Running, Stamp, device_of},
    hashing,
    ledger::Ledger,
    partial::{Partial, open_no_link},
    units::RootOf,
};
use crate::door::work::{Share, Work};

/// How long an upload that was cut can be continued.
const PARTIAL_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// After so long the books are not believed any more: a file that has grown, or a change within the clock tick of one of ours,
/// shows in no directory.
const BELIEVED: Duration = Duration::from_secs(10);
/// Nobody is refused by books that are older than this.
const REFUSED_BY: Duration = Duration::from_secs(1);

/// The directory, its quota and what is written into it now.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) directory: PathBuf,
    pub(super) partials: PathBuf,
    quota: u64,
    /// Held for a count, and for a step that a count must see whole. It waits for the disk: blocking threads only.
    filing: Mutex<Ledger>,
    /// Held for moments only.
    books: Mutex<Books>,
    /// Done when branches are known.
    branches: Once,
    tickets: AtomicU64,
    /// For those who are no device of a line.
    pub(super) work: Work,
    /// Files that a device may be sending at a time: each is open here.
    pub(super) shares: Shares,
}

/// The right to write one partial file. Dropping it ends it, and what the file holds rests.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) space: Arc<Space>,
    pub(super) partial: String,
    /// Notified when a newer stream wants the turn.
    pub(super) stop: Arc<Notify>,
    _ended: watch::Sender<()>,
}

impl Space {
    pub(super) fn open(directory: PathBuf, quota: u64) -> io::Result<Self> {
        let partials = directory.join(".partial");
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        match DirBuilder::new().mode(0o700).create(&partials) {
            // A link would lead the uploads elsewhere.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !fs::symlink_metadata(&partials)?.is_dir() {
                    return Err(error);
                }
            }
            made => made?,
        }
        let filing = Mutex::new(Ledger::open(&partials)?);
        let (books, tickets, work, shares) = Default::default();
        let branches = Once::new();
        let space = Self { directory, partials, quota, filing, books, branches, tickets, work, shares };
        space.clear_states()?;
        space.count(&mut space.filing())?;
        Ok(space)
    }

    /// Makes the folder for the states of hashes, and removes those whose partial file is gone.
    fn clear_states(&self) -> io::Result<()> {
        let folder = self.partials.join("hashes");
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made,
        }
        if !fs::symlink_metadata(&folder)?.is_dir() {
            return Err(io::Error::other("the folder for states of hashes is no directory"));
        }
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if !self.partials.join(entry.file_name()).exists() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Opens a partial file when no older stream writes it any more and there is room for the whole.
    pub(super) async fn partial(
        self: &Arc<Self>,
        share: &Share,
        partial: String,
        size: u64,
    ) -> Result<Partial, DropError> {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        loop {
            if let Some(mut ended) = self.stop_older(&partial, ticket)? {
                // It fails when the turn ends; nothing is ever sent.
                let _ = ended.changed().await;
            }
            let (space, partial) = (Arc::clone(self), partial.clone());
            let work = move || {
                let admitted = space.admit(partial, ticket, size)?;
                admitted.map(|(turn, file)| Partial::open(turn, file, size)).transpose()
            };
            if let Some(partial) = blocking(share, work).await? {
                return Ok(partial);
            }
        }
    }

    fn stop_older(&self, partial: &str, ticket: u64) -> Result<Option<watch::Receiver<()>>, DropError> {
        match self.books().running.get(partial) {
            None => Ok(None),
            Some(running) if running.ticket > ticket => Err(DropError::Busy),
            Some(running) => {
                running.stop.notify_one();
                Ok(Some(running.ended.clone()))
            }
        }
    }

    /// Gives the turn and the file. None if another stream has taken the turn meanwhile.
    fn admit(self: &Arc<Self>, partial: String, ticket: u64, size: u64) -> Result<Option<(Turn, File)>, DropError> {
        let mut filing = self.filing();
        if self.books().running.contains_key(&partial) {
            return Ok(None);
        }
        let counted = self.books().counted;
        let stamp = self.stamp().map_err(DropError::Disk)?;
        let age = match counted {
            Some((at, known)) if known == stamp => at.elapsed(),
            _ => Duration::MAX,
        };
        let bounds = self.bounds();
        judged(age, || self.count(&mut filing), || self.books().judge(&partial, size, bounds))?;
        let file = open_no_link(&self.partials.join(&partial)).map_err(DropError::Disk)?;
        let held = file.metadata().map_err(DropError::Disk)?.len();
        self.has_changed().map_err(DropError::Disk)?;
        let (sender, ended) = watch::channel(());
        let stop = Arc::new(Notify::new());
        self.books().begins(partial.clone(), Running { ticket, held, stop: Arc::clone(&stop), ended });
        let turn = Turn { space: Arc::clone(self), partial, stop, _ended: sender };
        Ok(Some((turn, file)))
    }

    /// Says which branch a device is of. The first who says so is believed.
    pub(super) fn knows_branches(&self, root_of: impl FnOnce() -> RootOf) {
        self.branches.call_once(|| self.books().knows_branches(root_of()));
    }

    fn bounds(&self) -> Bounds {
        Bounds::of(&self.partials, self.quota)
    }

    /// Counts the directory. Removes partial files that nobody will continue.
    fn count(&self, ledger: &mut Ledger) -> io::Result<()> {
        let at = Instant::now();
        // Before the count: what is changed in the middle of it then shows.
        let stamp = self.stamp()?;
        let running: Vec<_> = self.books().running.keys().cloned().collect();
        let mut counted = self.books().emptied();
        let mut names = HashSet::new();
        for directory in [&self.directory, &self.partials] {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                let name = entry.file_name();
                let is_partial = directory == &self.partials;
                // A dot begins what the server keeps here for itself.
                let is_apart = |name: &str| name.starts_with('.') || running.iter().any(|running| running == name);
                if is_partial && name.to_str().is_some_and(is_apart) {
                    continue;
                }
                let metadata = match entry.metadata() {
                    // Its owner has removed it since.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    metadata => metadata?,
                };
                if !metadata.is_file() {
                    continue;
                }
                if !is_partial {
                    let name = name.to_string_lossy().into_owned();
                    counted.count(ledger.device(&name), metadata.len());
                    names.insert(name);
                } else if is_over(&metadata) {
                    fs::remove_file(entry.path())?;
                    let _ = fs::remove_file(hashing::state_of(&self.partials, &name.to_string_lossy()));
                } else {
                    counted.count_idle(name.to_string_lossy().into_owned(), metadata.len());
                }
            }
        }
        ledger.keep(|name| names.contains(name));
        let mut books = self.books();
        // What has ended in the middle of the count was left out of it, and has written its length down itself.
        for name in running {
            if let Some(len) = books.idle.get(&name).copied().filter(|_| !books.running.contains_key(&name)) {
                counted.count_idle(name, len);
            }
        }
        counted.counted = Some((at, stamp));
        books.recount(counted);
        Ok(())
    }

    /// A change of ours is none that somebody else has made.
    fn has_changed(&self) -> io::Result<()> {
        let stamp = self.stamp()?;
        if let Some((_, known)) = &mut self.books().counted {
            *known = stamp;
        }
        Ok(())
    }

    /// A partial file has got this name. Whose it is could perhaps not be kept.
    pub(super) fn has_filed(&self, ledger: &mut Ledger, turn: &Turn, name: &str) -> io::Result<()> {
        // One that stays is of no file, and goes with the next start.
        let _ = fs::remove_file(turn.state());
        let kept = ledger.add(name, device_of(&turn.partial));
        self.books().filed(&turn.partial);
        if let Err(error) = self.has_changed() {
            tracing::debug!(%error, "the directory will be counted anew");
        }
        kept
    }

    fn stamp(&self) -> io::Result<Stamp> {
        Ok([fs::metadata(&self.directory)?.modified()?, fs::metadata(&self.partials)?.modified()?])
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }

    /// Until the guard is dropped, nothing is counted.
    pub(super) fn filing(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.filing)
    }
}

impl Turn {
    /// Where the state of its hashes is.
    pub(super) fn state(&self) -> PathBuf {
        hashing::state_of(&self.space.partials, &self.partial)
    }

    /// Reserves room for bytes that have come. Whoever writes them says then by [`Turn::wrote`] what has become of it.
    pub(super) fn reserve(&self, len: u64) -> Result<(), DropError> {
        let (space, bounds) = (&self.space, self.space.bounds());
        let age = space.books().counted.map_or(Duration::MAX, |(at, _)| at.elapsed());
        let count = || space.count(&mut space.filing());
        judged(age, count, || space.books().reserve(&self.partial, len, bounds))
    }

    /// So many bytes were reserved, and the partial file holds so many now.
    pub(super) fn wrote(&self, reserved: u64, held: u64) {
        self.space.books().wrote(&self.partial, reserved, held);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.space.books().rests(&self.partial);
    }
}

/// Asks the books, which are counted anew before that or for a second look if they are too old.
fn judged(
    age: Duration,
    mut count: impl FnMut() -> io::Result<()>,
    mut judge: impl FnMut() -> Result<(), DropError>,
) -> Result<(), DropError> {
    if age >= BELIEVED {
        count().map_err(DropError::Disk)?;
    }
    match judge() {
        Err(_) if (REFUSED_BY..BELIEVED).contains(&age) => {
            count().map_err(DropError::Disk)?;
            judge()
        }
        judged => judged,
    }
}

/// Too old; or with a second name, so already filed when the server was killed: continued, it would change that file.
fn is_over(partial: &fs::Metadata) -> bool {
    let age = partial.modified().ok().and_then(|modified| modified.elapsed().ok());
    partial.nlink() > 1 || age.is_some_and(|age| age > PARTIAL_TTL)
}

/// A panic elsewhere leaves nothing half done behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, time::SystemTime};

    use super::{super::books::FILES_MAX, *};

    fn holds(space: &Space) -> (usize, u64) {
        let all = space.books().all();
        (all.files, all.len)
    }

    #[test]
    fn partial_files_go_after_a_day_or_once_filed() {
        let directory = tempfile::tempdir().expect("a directory");
        let partials = directory.path().join(".partial");
        drop(Space::open(directory.path().into(), 0).expect("opens"));
        for (name, hours) in [("fresh", 23), ("old", 25)] {
            let file = File::create(partials.join(name)).expect("creates");
            file.set_modified(SystemTime::now() - Duration::from_secs(hours * 60 * 60)).expect("ages");
        }
        fs::write(partials.join("filed"), "abc").expect("writes");
        fs::hard_link(partials.join("filed"), directory.path().join("a.txt")).expect("links");
        let space = Space::open(directory.path().into(), 0).expect("opens again");
        assert!(partials.join("fresh").exists() && !partials.join("old").exists() && !partials.join("filed").exists());
        assert_eq!(holds(&space), (2, 3));
    }

    #[test]
    fn a_link_is_no_directory_for_partial_files() {
        let directory = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink("/tmp", directory.path().join(".partial")).expect("links");
        Space::open(directory.path().into(), 0).expect_err("a link");
    }

    #[test]
    fn an_older_stream_does_not_end_a_newer_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let space = Arc::new(Space::open(directory.path().into(), 2).expect("opens"));
        let (turn, _file) = space.admit("a".to_owned(), 5, 1).expect("there is room").expect("nobody has the turn");
        assert!(matches!(space.stop_older("a", 4), Err(DropError::Busy)));
        let ended = space.stop_older("a", 6).expect("is newer").expect("somebody has the turn");
        assert!(space.admit("a".to_owned(), 6, 1).expect("no error").is_none());
        assert!(ended.has_changed().is_ok());
        drop(turn);
        assert!(ended.has_changed().is_err());
        assert!(space.admit("a".to_owned(), 6, 1).expect("there is room").is_some());
    }

    #[test]
    fn empty_files_have_a_bound_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let space = Arc::new(Space::open(directory.path().into(), 2).expect("opens"));
        let _running = space.admit("a".to_owned(), 0, 0).expect("there is room");
        for number in 1..FILES_MAX - 1 {
            File::create(directory.path().join(number.to_string())).expect("creates");
        }
        let refused = space.admit("b".to_owned(), 1, 0);
        assert!(matches!(refused, Err(DropError::TooMany { all: 9_999, own: 0 })), "{refused:?}");
        fs::remove_file(directory.path().join("1")).expect("removes");
        assert!(space.admit("b".to_owned(), 1, 0).expect("there is room").is_some());
    }

    #[test]
    fn a_thousand_first_lines_count_the_directory_once() {
        let directory = tempfile::tempdir().expect("a directory");
        for number in 0..200 {
            fs::write(directory.path().join(number.to_string()), "abc").expect("writes");
        }
        let space = Arc::new(Space::open(directory.path().into(), 1_000_000).expect("opens"));
        let counted = || space.books().counted.expect("it was counted").0;
        let first = counted();
        let turns: Vec<_> = (0..1_000).map(|number| space.admit(format!("d-{number}"), number, 10)).collect();
        assert!(turns.iter().all(|turn| turn.as_ref().is_ok_and(Option::is_some)));
        // None of them has sent anything: what lies there is empty.
        assert_eq!(holds(&space), (1_200, 600));
        drop(turns);
        assert_eq!(holds(&space), (1_200, 600));
        // Slow disks may take longer than the books are believed; they are then counted as often, not a thousand times.
        let most = 1 + first.elapsed().as_secs() / BELIEVED.as_secs();
        assert!(counted() == first || most > 1, "nobody else has changed anything");
    }

    #[test]
    fn books_that_were_kept_are_those_of_a_count() {
        let directory = tempfile::tempdir().expect("a directory");
        let space = Arc::new(Space::open(directory.path().into(), 1_000_000).expect("opens"));
        let admit = |name: &str, size| {
            let (turn, file) = space.admit(name.to_owned(), 1, size).expect("there is room").expect("nobody has it");
            Partial::open(turn, file, size).expect("opens")
        };
        let agree = |files: usize, len: u64| {
            assert_eq!(holds(&space), (files, len), "as kept");
            space.count(&mut space.filing()).expect("counts");
            assert_eq!(holds(&space), (files, len), "as counted");
        };
        let mut one = admit("one-0", 10);
        agree(1, 0);
        one.write(b"0123").expect("writes");
        agree(1, 4);
        drop(one);
        agree(1, 4);
        let mut one = admit("one-0", 6);
        agree(1, 4);
        one.write(b"45").expect("writes");
        one.keep_as("one.txt").expect("kept");
        agree(1, 6);
        let mut two = admit("two-0", 100);
        two.write(b"678").expect("writes");
        agree(2, 9);
        let of = |device| space.books().of(device).len;
        assert_eq!(["one", "two"].map(of), [6, 3], "a whole file is its device's also by a count");
        fs::remove_file(directory.path().join("one.txt")).expect("removes");
        space.count(&mut space.filing()).expect("counts");
        agree(1, 3);
        assert_eq!(["one", "two"].map(of), [0, 3]);
    }
}
