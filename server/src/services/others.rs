//! What a service may do to the other sessions of the person who calls.

use std::{fmt, sync::Arc};

use duologue::DeviceId;

use crate::{
    door::{seat::Seat, standing::Subject},
    state::store::PasskeyId,
};

/// The other sessions, as far as services are concerned.
pub(crate) trait Others: fmt::Debug + Send + Sync {
    /// Tells the subject's other devices that are here something, on a channel of this label that is opened for it.
    fn tell(&self, subject: &Subject, but: DeviceId, label: &str, message: &[u8]);

    /// A subject is on this device, perhaps for the first time: then its other devices are told.
    fn has_come(&self, subject: &Subject, device: DeviceId);

    /// A passkey is no more: nobody is present by it.
    fn passkey_is_gone(&self, subject: &Subject, id: PasskeyId);

    /// A service has ended what was proved in the session of this seat: its client is told, and put out if it was here by that alone.
    fn has_signed_out(&self, seat: &Arc<Seat>);
}
