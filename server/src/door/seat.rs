//! One session's seat: its device, its standing as it is now, and what was seen of its connection. The directory, whoever carries
//! the line and every call of the session's have the same one, so that a change is a change for all of them.
//!
//! ```text
//! what the device has (an invite, pairing) ─┐
//! what somebody has proved since, if any ───┴─► standing: the second while it lasts, else the first
//! ```

use std::{
    any::Any,
    sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError},
};

use duologue::DeviceId;

use thiserror::Error;

use super::{
    evidence::{Identity, Transport},
    gate::now,
    standing::{Standing, Subject},
};
/// What almost every device has: one for all of them.
static DEVICE: LazyLock<Arc<Standing>> = LazyLock::new(|| Arc::new(Standing::device()));

/// Who sits at the other end of a session.
#[derive(Debug)]
pub(crate) struct Seat {
    device: DeviceId,
    now: Mutex<Now>,
    /// What a service keeps for the session, where one does.
    kept: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// The session is another subject's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this session is another subject's: end it, and begin one for this subject")]
pub struct OtherSubject;

#[derive(Debug)]
struct Now {
    has: Arc<Standing>,
    proved: Option<Arc<Standing>>,
    /// Whose the session is. It stays so when what proved it is over.
    subject: Option<Subject>,
    transport: Transport,
}

impl Seat {
    /// Of a device that has just proved its key.
    pub(crate) fn new(device: DeviceId, transport: Transport) -> Self {
        Self {
            device,
            now: Mutex::new(Now { has: Arc::clone(&DEVICE), proved: None, subject: None, transport }),
            kept: OnceLock::new(),
        }
    }

    pub(crate) const fn device(&self) -> DeviceId {
        self.device
    }

    /// Its session goes on over another connection.
    pub(crate) fn moved(&self, transport: Transport) {
        self.lock().transport = transport;
    }

    pub(crate) fn transport(&self) -> Transport {
        self.lock().transport.clone()
    }

    /// What a service keeps for this session until it ends, made when it is first asked for. There is one for all services: none
    /// if another has it.
    pub(crate) fn kept<T: Any + Default + Send + Sync>(&self) -> Option<Arc<T>> {
        Arc::clone(self.kept.get_or_init(|| Arc::new(T::default()))).downcast().ok()
    }

    /// As it is now.
    pub(crate) fn identity(&self) -> Identity {
        let standing = self.standing(now());
        let Standing { subject, groups, level, .. } = &*standing;
        Identity { device: self.device, subject: subject.clone(), groups: Arc::clone(groups), level: *level }
    }

    /// As it is at this time.
    pub(crate) fn standing(&self, at: u64) -> Arc<Standing> {
        let mut now = self.lock();
        if now.proved.as_ref().is_some_and(|proved| proved.is_over(at)) {
            now.proved = None;
        }
        Arc::clone(now.proved.as_ref().unwrap_or(&now.has))
    }

    /// Something was proved: from now on it counts, as long as it lasts. A session has one subject at most, so that what is
    /// open under one person's name never becomes another's.
    pub(crate) fn prove(&self, standing: Standing) -> Result<(), OtherSubject> {
        let mut now = self.lock();
        let own = now.subject.as_ref().or(now.has.subject.as_ref());
        if own.is_some_and(|own| standing.subject.as_ref() != Some(own)) {
            return Err(OtherSubject);
        }
        now.subject.clone_from(&standing.subject);
        now.proved = Some(Arc::new(standing));
        Ok(())
    }

    /// What was proved counts no more.
    pub(crate) fn sign_out(&self) {
        self.lock().proved = None;
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
