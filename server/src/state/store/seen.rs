//! When devices were last here: noted in memory, and written together, once a minute at most. What a crash costs is that minute.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use duologue::DeviceId;
use redb::ReadableTable;

use super::{
    super::{
        records::{SEEN, now},
        turns::Who,
    },
    Store, StoreError,
};

/// How long what is noted waits for more.
const EACH: Duration = Duration::from_secs(60);
/// How long it waits for others that write: the next time does as well.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is not in the file yet: as many as were here within a minute, or since the disk failed, of devices that are enrolled.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    noted: HashMap<[u8; 32], u64>,
    written: Option<Instant>,
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// A device is here now.
    pub(crate) fn note_seen(&self, device: DeviceId) {
        self.seen.lock().noted.insert(device.0, now());
    }

    /// When each device was last here, in seconds since 1970. Those of which that was never noted are not in it.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) fn last_seen(&self) -> Result<HashMap<[u8; 32], u64>, StoreError> {
        let mut seen = self.read(|read| {
            let mut seen = HashMap::new();
            for entry in read.open_table(SEEN)?.iter()? {
                let (device, when) = entry?;
                seen.insert(device.value(), when.value());
            }
            Ok(seen)
        })?;
        seen.extend(&self.seen.lock().noted);
        Ok(seen)
    }

    /// Writes what was noted, if it is time or `at_once`. What cannot be written waits for the next time.
    pub(crate) fn keep_seen(&self, at_once: bool) {
        let noted = {
            let mut inner = self.seen.lock();
            if inner.noted.is_empty() || (!at_once && inner.written.is_some_and(|at| at.elapsed() < EACH)) {
                return;
            }
            inner.written = Some(Instant::now());
            mem::take(&mut inner.noted)
        };
        let written = self.write_within(Who::Device, PATIENCE, |write| {
            let mut table = write.open_table(SEEN)?;
            for (device, when) in &noted {
                table.insert(device, when)?;
            }
            Ok(())
        });
        if let Err(error) = written {
            tracing::debug!(%error, "when devices were last here could not be written");
            let mut inner = self.seen.lock();
            for (device, when) in noted {
                inner.noted.entry(device).or_insert(when);
            }
        }
    }
}
