//! What the directory holds and of whom, and how much more a device may add.
//!
//! ```text
//! quota ┌──────────────┬────────────┬──────────┬─────────────────────────────┐
//!       │ nobody's     │ of one     │ of two   │ free: as much at least as   │
//!       │ (its owner's)│ unit       │          │ each unit holds             │
//!       └──────────────┴────────────┴──────────┴─────────────────────────────┘
//! ```
//!
//! **A unit takes on while it holds less than what it leaves free.** It is a device with all that it has let in (`units`). So one
//! alone gets half of the quota; of two that take what they can each has at least a quarter, and whoever comes next finds room.
//! Nothing that lies here is ever given up for somebody
//! else, as memory is, so what is left has to be kept in advance, for a number of devices that nobody knows: these are the dynamic
//! thresholds of switches that share their buffers (Choudhury and Hahne, 1998). Bytes and files are shared alike. The disk has a
//! bound of its own: a tenth of it, at most 1 GiB, is left to others.

use std::{
    collections::HashMap,
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime},
};

use tokio::sync::{Notify, watch};

use super::{
    DropError,
    units::{RootOf, Units},
};

/// The most files, partial ones included. Bytes do not bound them, as a file may be empty; counting so many takes some
/// 10 ms.
pub(super) const FILES_MAX: usize = 10_000;
/// Of the disk this part is left to others, or so many bytes if that is less.
const DISK_LEFT_PART: u64 = 10;
const DISK_LEFT_MAX: u64 = 1_024 * 1_024 * 1_024;

/// What the directory holds.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// By the name of the partial file.
    pub(super) running: HashMap<String, Running>,
    /// Partial files that nobody writes now, and their lengths.
    pub(super) idle: HashMap<String, u64>,
    all: Holding,
    /// Of each unit that holds something.
    of: HashMap<String, Holding>,
    units: Units,
    /// What is being written now: the disk does not know of it yet.
    writing: u64,
    /// When it was counted, and how the directories stood since our own last change; none before the first count.
    pub(super) counted: Option<(Instant, Stamp)>,
}

/// When the directories of whole and of partial files were changed last.
pub(super) type Stamp = [SystemTime; 2];

/// Files and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) files: usize,
    pub(super) len: u64,
}

impl Holding {
    fn add(&mut self, files: usize, len: u64) {
        self.files = self.files.saturating_add(files);
        self.len = self.len.saturating_add(len);
    }

    fn remove(&mut self, files: usize, len: u64) {
        self.files = self.files.saturating_sub(files);
        self.len = self.len.saturating_sub(len);
    }
}

/// An upload that is being received.
#[derive(Debug)]
pub(super) struct Running {
    /// Of two streams, the one with the higher ticket came later.
    pub(super) ticket: u64,
    /// What the partial file holds, and what is being written into it.
    pub(super) held: u64,
    pub(super) stop: Arc<Notify>,
    /// Its sender is dropped when the turn ends.
    pub(super) ended: watch::Receiver<()>,
}

/// What may be taken: the owner's quota, and what the disk has. None where the file system does not tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) quota: u64,
    pub(super) disk: Option<u64>,
}

impl Bounds {
    pub(super) fn of(directory: &Path, quota: u64) -> Self {
        let disk = rustix::fs::statvfs(directory).ok().map(|told| {
            let bytes = |blocks: u64| blocks.saturating_mul(told.f_frsize);
            bytes(told.f_bavail).saturating_sub((bytes(told.f_blocks) / DISK_LEFT_PART).min(DISK_LEFT_MAX))
        });
        Self { quota, disk }
    }
}

/// The device whose partial file this is.
pub(super) fn device_of(partial: &str) -> &str {
    partial.rsplit_once('-').map_or(partial, |(device, _upload)| device)
}

impl Books {
    #[cfg(test)]
    pub(super) fn all(&self) -> Holding {
        self.all
    }

    /// What a device's unit holds.
    pub(super) fn of(&self, device: &str) -> Holding {
        self.of.get(&self.units.of(device)).copied().unwrap_or_default()
    }

    /// Devices have branches from now on. What is here is to be counted anew.
    pub(super) fn knows_branches(&mut self, root_of: RootOf) {
        self.recount(Self { units: Units::new(Some(root_of)), ..Self::default() });
    }

    /// Books of nothing, for a count.
    pub(super) fn emptied(&self) -> Self {
        Self { units: self.units.emptied(), ..Self::default() }
    }

    /// Whether a device may begin an upload of this size, or go on with it.
    pub(super) fn judge(&self, partial: &str, size: u64, bounds: Bounds) -> Result<(), DropError> {
        let held = self.idle.get(partial).copied();
        self.has_room(partial, held.unwrap_or(0), size, bounds)?;
        let of_it = self.of(device_of(partial)).files;
        // Of files as of bytes: with one more it holds no more than it leaves.
        if held.is_none() && of_it + 1 > FILES_MAX.saturating_sub(self.all.files + 1) {
            return Err(DropError::TooMany { all: self.all.files, own: of_it });
        }
        Ok(())
    }

    /// Reserves room for bytes of a running upload that have come. What it ends with is written down by [`Books::wrote`].
    pub(super) fn reserve(&mut self, partial: &str, len: u64, bounds: Bounds) -> Result<(), DropError> {
        let held = self.running.get(partial).map_or(0, |running| running.held);
        self.has_room(partial, held, held.saturating_add(len), bounds)?;
        self.writing = self.writing.saturating_add(len);
        self.now_holds(partial, held.saturating_add(len));
        Ok(())
    }

    /// Of a file of which `held` bytes are here.
    fn has_room(&self, partial: &str, held: u64, size: u64, bounds: Bounds) -> Result<(), DropError> {
        let of_it = self.of(device_of(partial)).len;
        let free = bounds.quota.saturating_sub(self.all.len);
        let part = free.saturating_sub(of_it) / 2;
        let disk = bounds.disk.map_or(u64::MAX, |disk| disk.saturating_sub(self.writing));
        let more = size.saturating_sub(held);
        let room = |more: u64| held.saturating_add(more);
        match more {
            0 => Ok(()),
            more if more > disk => Err(DropError::DiskLow { size, free: room(disk.min(part)) }),
            more if more > free => Err(DropError::TooLarge { size, free: room(part) }),
            more if more > part => Err(DropError::OverPart { size, free: room(part), own: of_it }),
            _ => Ok(()),
        }
    }

    /// What was reserved has been written, or not: the partial file holds so much.
    pub(super) fn wrote(&mut self, partial: &str, reserved: u64, held: u64) {
        self.writing = self.writing.saturating_sub(reserved);
        self.now_holds(partial, held);
    }

    fn now_holds(&mut self, partial: &str, held: u64) {
        let Some(running) = self.running.get_mut(partial) else { return };
        let before = std::mem::replace(&mut running.held, held);
        self.changes(Some(device_of(partial)), |holding| {
            holding.remove(0, before);
            holding.add(0, held);
        });
    }

    /// An upload runs from now on.
    pub(super) fn begins(&mut self, partial: String, running: Running) {
        if let Some(len) = self.idle.remove(&partial) {
            self.changes(Some(device_of(&partial)), |holding| holding.remove(1, len));
        }
        self.changes(Some(device_of(&partial)), |holding| holding.add(1, running.held));
        self.running.insert(partial, running);
    }

    /// An upload runs no more; what has come of it rests.
    pub(super) fn rests(&mut self, partial: &str) {
        if let Some(running) = self.running.remove(partial) {
            self.idle.insert(partial.to_owned(), running.held);
        }
    }

    /// An upload has become a whole file, of the same device.
    pub(super) fn filed(&mut self, partial: &str) {
        self.running.remove(partial);
    }

    /// Counts a whole file.
    pub(super) fn count(&mut self, device: Option<&str>, len: u64) {
        self.changes(device, |holding| holding.add(1, len));
    }

    /// Counts a partial file that nobody writes.
    pub(super) fn count_idle(&mut self, partial: String, len: u64) {
        self.changes(Some(device_of(&partial)), |holding| holding.add(1, len));
        self.idle.insert(partial, len);
    }

    /// Takes over what a count has found, of all but the uploads that run.
    pub(super) fn recount(&mut self, mut counted: Self) {
        for (partial, running) in std::mem::take(&mut self.running) {
            counted.begins(partial, running);
        }
        counted.writing = self.writing;
        *self = counted;
    }

    fn changes(&mut self, device: Option<&str>, change: impl Fn(&mut Holding)) {
        change(&mut self.all);
        let Some(device) = device else { return };
        let unit = self.units.join(device);
        let holding = self.of.entry(unit.clone()).or_default();
        change(holding);
        if *holding == Holding::default() {
            self.of.remove(&unit);
            self.units.leave(&unit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Bounds = Bounds { quota: 1_000_000, disk: None };

    fn takes(books: &mut Books, partial: &str, step: u64, bounds: Bounds) -> u64 {
        if !books.running.contains_key(partial) {
            let (_sender, ended) = watch::channel(());
            let held = books.idle.get(partial).copied().unwrap_or(0);
            books.begins(partial.to_owned(), Running { ticket: 0, held, stop: Arc::default(), ended });
        }
        loop {
            let held = books.running.get(partial).expect("it runs").held;
            if books.reserve(partial, step, bounds).is_err() {
                return held;
            }
            books.wrote(partial, step, held + step);
        }
    }

    #[test]
    fn one_device_takes_half_and_who_comes_next_finds_room() {
        let mut books = Books::default();
        let mut left = KEPT.quota;
        for number in 0..8 {
            let partial = format!("device{number}-0");
            let took = takes(&mut books, &partial, 10, KEPT);
            left -= took;
            assert!(took <= left && took + 20 > left, "{number} took {took} and left {left}");
            assert_eq!(books.all().len, KEPT.quota - left);
        }
        // Several uploads, whole files and such as rest are all of their device.
        books.filed("device0-0");
        books.rests("device1-0");
        for partial in ["device0-1", "device1-1"] {
            assert_eq!(takes(&mut books, partial, 10, KEPT), 0, "{partial}");
        }
    }

    /// Whoever had let in nine devices of his own had ten parts of the quota, and left next to nothing of it.
    #[test]
    fn a_device_and_those_that_it_lets_in_have_one_part_together() {
        let device = |number: u8| duologue::DeviceId([number; 32]);
        let partial = |number: u8, upload: u8| format!("{}-{upload}", device(number));
        let mut books = Books::default();
        // Some of it was taken before anything was known of branches, and lies here; some comes now.
        books.count(Some(&device(1).to_string()), 100_000);
        let took = takes(&mut books, &partial(2, 0), 10, Bounds { quota: 300_000, ..KEPT });
        assert_eq!(took, 100_000, "a third device's part would be the half of what is left");
        books.knows_branches(Arc::new(move |of| if (1..=9).contains(&of.0[0]) { device(1) } else { of }));
        assert_eq!(books.counted, None, "it is counted anew");
        let mut counted = books.emptied();
        counted.count(Some(&device(1).to_string()), 100_000);
        books.recount(counted);
        assert_eq!(books.of(&device(9).to_string()).len, 200_000, "all are one, whoever is asked");
        for number in 1..=9 {
            takes(&mut books, &partial(number, 1), 10, KEPT);
        }
        let all = books.all().len;
        assert!((499_980..=500_000).contains(&all), "half of it, as one alone: {all}");
        assert!(matches!(books.judge(&partial(9, 2), 1_000, KEPT), Err(DropError::OverPart { own, .. }) if own == all));
        let other = takes(&mut books, &partial(10, 0), 10, KEPT);
        assert!(other >= 249_980, "somebody else has his part: {other}");
    }

    #[test]
    fn files_are_a_branchs_too_and_a_unit_that_holds_nothing_is_forgotten() {
        let root = duologue::DeviceId([1; 32]);
        let second = duologue::DeviceId([2; 32]).to_string();
        let mut books = Books::default();
        books.knows_branches(Arc::new(move |_| root));
        for _ in 0..FILES_MAX / 2 {
            books.count(Some(&second), 0);
        }
        let partial = format!("{root}-0");
        assert!(matches!(books.judge(&partial, 0, KEPT), Err(DropError::TooMany { own: 5_000, .. })));
        for _ in 0..FILES_MAX / 2 {
            books.changes(Some(&second), |holding| holding.remove(1, 0));
        }
        assert!(books.of.is_empty() && books.units.is_empty());
        // A name that no device has is a unit of its own.
        books.count(Some("a"), 1);
        assert_eq!(books.of("a").len, 1);
    }

    #[test]
    fn devices_that_take_what_they_can_side_by_side_get_the_same() {
        let mut books = Books::default();
        let partials: Vec<_> = (0..4).map(|number| format!("device{number}-0")).collect();
        for partial in &partials {
            let (_sender, ended) = watch::channel(());
            books.begins(partial.clone(), Running { ticket: 0, held: 0, stop: Arc::default(), ended });
        }
        for _ in 0..1_000_000 / 10 {
            for partial in &partials {
                if books.reserve(partial, 10, KEPT).is_ok() {
                    books.wrote(partial, 10, books.running[partial].held);
                }
            }
        }
        for number in 0..4 {
            let held = books.of(&format!("device{number}")).len;
            assert!((199_000..=200_000).contains(&held), "{held}: a fifth of it each, and a fifth is free");
        }
    }

    #[test]
    fn the_disk_is_a_bound_and_what_is_being_written_counts() {
        let mut books = Books::default();
        let bounds = Bounds { disk: Some(1_000), ..KEPT };
        let (_sender, ended) = watch::channel(());
        books.begins("a-0".to_owned(), Running { ticket: 0, held: 0, stop: Arc::default(), ended: ended.clone() });
        books.begins("b-0".to_owned(), Running { ticket: 0, held: 0, stop: Arc::default(), ended });
        books.reserve("a-0", 600, bounds).expect("there is room");
        assert!(matches!(books.reserve("b-0", 600, bounds), Err(DropError::DiskLow { size: 600, free: 400 })));
        // It could not be written after all.
        books.wrote("a-0", 600, 0);
        books.reserve("b-0", 600, bounds).expect("there is room");
        assert_eq!((books.all().len, books.of("a")), (600, Holding { files: 1, len: 0 }));
        assert!(matches!(books.judge("c-0", 2_000_000, KEPT), Err(DropError::TooLarge { .. })));
        assert!(matches!(books.judge("c-0", 900_000, KEPT), Err(DropError::OverPart { free: 499_700, .. })));
    }

    #[test]
    fn empty_files_are_shared_like_bytes() {
        let mut books = Books::default();
        for number in 0..FILES_MAX / 2 {
            books.judge("a-0", 0, KEPT).unwrap_or_else(|error| panic!("{number}: {error}"));
            books.count(Some("a"), 0);
        }
        assert!(matches!(books.judge("a-0", 0, KEPT), Err(DropError::TooMany { all: 5_000, own: 5_000 })));
        books.judge("b-0", 0, KEPT).expect("somebody else has room");
    }
}
