//! What a service may do to the other sessions of the person who calls; and what the owner's may see and do to all.

use std::{fmt, pin::Pin, sync::Arc};

use duologue::{DeviceId, SessionId};

use crate::{
    door::{seat::Seat, standing::Subject},
    services::owner::told::{AuditShown, SessionInfo},
    state::store::{PasskeyId, Revocation, StoreError},
    watch::bans::{Ban, Banned},
};

/// The other sessions, as far as services are concerned.
pub(crate) trait Others: fmt::Debug + Send + Sync {
    /// Tells the subject's other devices that are here something, on a channel of this label that is opened for it.
    fn tell(&self, subject: &Subject, but: DeviceId, label: &str, message: &[u8]);

    /// A subject is on this device, perhaps for the first time: then its other devices are told.
    fn has_come(&self, subject: &Subject, device: DeviceId);

    /// A passkey is no more: nobody is present by it.
    fn passkey_is_gone(&self, subject: &Subject, id: PasskeyId);

    /// A device has another key: what was opened by the one before goes on by the new one, or not at all.
    fn key_is_renewed(&self, device: DeviceId);

    /// All that the owner sees and does: for the service that only the owner's rules open.
    fn owned(&self) -> &dyn Owned;

    /// A service has ended what was proved in the session of this seat: its client is told, and put out if it was here by that alone.
    fn has_signed_out(&self, seat: &Arc<Seat>);
}

/// What the owner sees of all sessions, and does to them. What is said to block does: it asks the store.
pub(crate) trait Owned: Send + Sync {
    /// Sessions of which something begins with or has this text, the newest first, at most so many; and how many there are of them.
    /// Blocks.
    fn sessions(&self, find: &str, most: usize) -> (Vec<SessionInfo>, usize);

    /// The audit log, if one is kept; what is not signed of it yet is signed for that.
    fn audit(&self) -> Pin<Box<dyn Future<Output = Option<AuditShown>> + Send + '_>>;

    /// Lets somebody in again. Blocks.
    fn lift(&self, whom: &Banned) -> Result<Option<Ban>, StoreError>;

    /// Revokes a device. Blocks.
    fn revoke(&self, device: DeviceId) -> Revocation;

    /// Ends a session. False if it is not there any more.
    fn end(&self, id: SessionId) -> bool;
}
