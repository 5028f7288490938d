//! What happens to the state, told upwards: it knows nobody above it, and who wants to hear says so ([`Notices::hear`]). Events are
//! made of it in `lines/notices.rs`.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What waits for somebody who hears it, at most: what an older copy of the store brings up, one for each slot of the journal.
const WAITING_MAX: usize = 1_100;

/// What has happened, with what is to be said beside: a file, a cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The server's key can be read by others.
    KeyExposed(String),
    /// The store that was found is an older copy.
    Older(String),
    /// And this was revoked since: it is revoked again.
    RevokedAgain(String),
    /// The store failed, and is opened anew.
    Failed(String),
    /// It was written again since.
    Again,
    /// What was revoked, or restored, is in force and not on disk.
    NotOnDisk(String),
    /// There is little room, or none could be kept for the owner.
    Low(String),
    /// There is none.
    Full(String),
    /// There is room again.
    RoomAgain(String),
    /// Nobody looks after the store: there is no thread for it.
    NoThread(String),
}

type Hears = Box<dyn Fn(Notice) + Send>;

#[derive(Default)]
struct Inner {
    waiting: Vec<Notice>,
    hears: Option<Hears>,
}

/// Where it is told. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Notices(Arc<Mutex<Inner>>);

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notices").finish_non_exhaustive()
    }
}

impl Notices {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, notice: Notice) {
        let mut inner = self.lock();
        match &inner.hears {
            Some(hears) => hears(notice),
            None if inner.waiting.len() < WAITING_MAX => inner.waiting.push(notice),
            None => {}
        }
    }

    /// Has one hear, first of what came before; in the place of who heard before.
    pub(crate) fn hear(&self, hears: impl Fn(Notice) + Send + 'static) {
        let mut inner = self.lock();
        std::mem::take(&mut inner.waiting).into_iter().for_each(&hears);
        inner.hears = Some(Box::new(hears));
    }

    /// What waits.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> Vec<Notice> {
        self.lock().waiting.clone()
    }
}
