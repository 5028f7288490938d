//! The directory's room, and whose turn each upload is.
//!
//! The room is counted anew at each header, because the owner takes files away without saying so. A running upload
//! counts with the size that it has announced; what does not run, with what lies there.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, watch};

use super::{DropError, blocking, partial::Partial};

/// How long an upload that was cut can be continued.
const PARTIAL_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// The most files, partial ones included. Bytes do not bound them, as a file may be empty; counting so many takes some
/// 10 ms.
const FILES_MAX: usize = 10_000;

/// The directory, its quota and what is written into it now.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) directory: PathBuf,
    pub(super) partials: PathBuf,
    quota: u64,
    /// Held for a count, and for a step that a count must see whole. It waits for the disk: blocking threads only.
    filing: Mutex<()>,
    /// By the name of the partial file. Held for moments only.
    running: Mutex<HashMap<String, Running>>,
    tickets: AtomicU64,
}

/// An upload that is being received.
#[derive(Debug)]
struct Running {
    /// Of two streams, the one with the higher ticket came later.
    ticket: u64,
    size: u64,
    stop: Arc<Notify>,
    /// Its sender is dropped when the turn ends.
    ended: watch::Receiver<()>,
}

/// The right to write one partial file, and its reservation of room. Dropping it ends both.
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
        let (filing, running, tickets) = Default::default();
        let space = Self { directory, partials, quota, filing, running, tickets };
        space.count(&HashMap::new(), "")?;
        Ok(space)
    }

    /// Opens a partial file when no older stream writes it any more and there is room for the whole.
    pub(super) async fn partial(self: &Arc<Self>, partial: String, size: u64) -> Result<Partial, DropError> {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        loop {
            if let Some(mut ended) = self.stop_older(&partial, ticket)? {
                // It fails when the turn ends; nothing is ever sent.
                let _ = ended.changed().await;
            }
            let (space, partial) = (Arc::clone(self), partial.clone());
            let work = move || space.admit(partial, ticket, size)?.map(|turn| Partial::open(turn, size)).transpose();
            if let Some(partial) = blocking(work).await? {
                return Ok(partial);
            }
        }
    }

    fn stop_older(&self, partial: &str, ticket: u64) -> Result<Option<watch::Receiver<()>>, DropError> {
        match lock(&self.running).get(partial) {
            None => Ok(None),
            Some(running) if running.ticket > ticket => Err(DropError::Busy),
            Some(running) => {
                running.stop.notify_one();
                Ok(Some(running.ended.clone()))
            }
        }
    }

    /// Gives the turn and reserves its room. None if another stream has taken the turn meanwhile.
    fn admit(self: &Arc<Self>, partial: String, ticket: u64, size: u64) -> Result<Option<Turn>, DropError> {
        let _filing = lock(&self.filing);
        // Before the count: an upload that ends in the middle of it is then counted whole, not by half.
        let sizes: HashMap<_, _> = lock(&self.running).iter().map(|(key, run)| (key.clone(), run.size)).collect();
        if sizes.contains_key(&partial) {
            return Ok(None);
        }
        let (files, used) = self.count(&sizes, &partial).map_err(DropError::Disk)?;
        let free = self.quota.saturating_sub(used);
        if size > free {
            return Err(DropError::TooLarge { size, free });
        }
        if files >= FILES_MAX {
            return Err(DropError::TooMany(files));
        }
        let (sender, ended) = watch::channel(());
        let stop = Arc::new(Notify::new());
        lock(&self.running).insert(partial.clone(), Running { ticket, size, stop: Arc::clone(&stop), ended });
        Ok(Some(Turn { space: Arc::clone(self), partial, stop, _ended: sender }))
    }

    /// How many files there are and their bytes, without the partial file `except`. Removes partial files that nobody
    /// will continue.
    fn count(&self, running: &HashMap<String, u64>, except: &str) -> io::Result<(usize, u64)> {
        let mut files = running.len();
        let mut used = running.values().fold(0_u64, |sum, size| sum.saturating_add(*size));
        for directory in [&self.directory, &self.partials] {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                let name = entry.file_name();
                let is_partial = directory == &self.partials;
                if is_partial && name.to_str().is_some_and(|name| running.contains_key(name)) {
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
                if is_partial && is_over(&metadata) {
                    fs::remove_file(entry.path())?;
                } else if !(is_partial && name == except) {
                    files += 1;
                    used = used.saturating_add(metadata.len());
                }
            }
        }
        Ok((files, used))
    }

    /// Until the guard is dropped, nothing is counted.
    pub(super) fn filing(&self) -> MutexGuard<'_, ()> {
        lock(&self.filing)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.space.running).remove(&self.partial);
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

    use super::*;

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
        assert_eq!(space.count(&HashMap::new(), "").expect("counts"), (2, 3));
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
        let space = Arc::new(Space::open(directory.path().into(), 1).expect("opens"));
        let turn = space.admit("a".to_owned(), 5, 1).expect("there is room").expect("nobody has the turn");
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
        let space = Arc::new(Space::open(directory.path().into(), 1).expect("opens"));
        let _running = space.admit("a".to_owned(), 0, 0).expect("there is room");
        for number in 1..FILES_MAX {
            File::create(directory.path().join(number.to_string())).expect("creates");
        }
        assert!(matches!(space.admit("b".to_owned(), 1, 0), Err(DropError::TooMany(FILES_MAX))));
        fs::remove_file(directory.path().join("1")).expect("removes");
        assert!(space.admit("b".to_owned(), 1, 0).expect("there is room").is_some());
    }
}
