//! One session's seat: its device, and its standing as it is now. The directory, whoever carries the line and every call of the
//! session's have the same one, so that a change is a change for all of them.

use std::sync::{Arc, Mutex, PoisonError};

use duologue::DeviceId;

use super::{evidence::Identity, standing::Standing};

/// Who sits at the other end of a session.
#[derive(Debug)]
pub(crate) struct Seat {
    device: DeviceId,
    standing: Mutex<Arc<Standing>>,
}

impl Seat {
    /// Of a device that has just proved its key.
    pub(crate) fn new(device: DeviceId, standing: Standing) -> Self {
        Self { device, standing: Mutex::new(Arc::new(standing)) }
    }

    pub(crate) const fn device(&self) -> DeviceId {
        self.device
    }

    /// As it is now.
    pub(crate) fn identity(&self) -> Identity {
        let standing = Arc::clone(&self.standing.lock().unwrap_or_else(PoisonError::into_inner));
        let Standing { subject, groups, level, .. } = &*standing;
        Identity { device: self.device, subject: subject.clone(), groups: Arc::clone(groups), level: *level }
    }
}
