//! Devices that come by another key than their first: whose it is, and what an old one is worth.
//!
//! ```text
//! AUTH by a key ─┬─ a device's first, or current ─► that device
//!                ├─ next: it comes by it, so that it has kept it ─► current, in the store; what the one before has opened ends
//!                └─ old ─► refused, and told: whoever has it is not the device
//! ```
//!
//! An old key says nothing of its device: whoever has stolen it must not be able to have the device banned.

use std::{net::IpAddr, sync::Arc};

use duologue::{AuthRequest, CloseCode, DeviceId, DeviceKey};

use super::{Duologue, verdict::TurnedAway};
use crate::{
    services::device_key::DeviceKeys,
    state::store::Fate,
    watch::events::{Event, Kind},
};

/// For whoever comes by an old key.
const RENEWED: TurnedAway = TurnedAway::saying(CloseCode::NotEnrolled, "key-renewed");

impl Duologue {
    /// Lets each device that was let in put another key in the place of its own, under the label `device-key`, whatever the rules open.
    #[must_use]
    pub fn renewing_device_keys(self) -> Self {
        self.shared.gate.renew_device_keys();
        let store = Arc::clone(self.shared.state.store());
        self.service(DeviceKey::RENEWAL_LABEL, DeviceKeys::new(store))
    }

    /// Names the device in the request, by whichever of its keys it has come.
    ///
    /// # Errors
    /// If the key is an old one.
    pub(super) async fn name_device(&self, request: &mut AuthRequest, at: IpAddr) -> Result<(), TurnedAway> {
        let store = self.shared.state.store();
        let Some((device, fate)) = store.fate_of(request.device_id.0) else { return Ok(()) };
        request.device_id = device;
        match fate {
            Fate::Current => Ok(()),
            Fate::Old => {
                self.tell(Event::of(Kind::DeviceKeyOld).address(at).note(device.to_string()));
                Err(RENEWED)
            }
            Fate::Next => {
                let (store, key) = (Arc::clone(store), request.device.clone());
                let used = self.shared.work.of_strangers().run(move || store.use_next_key(device, &key)).await;
                match used {
                    Ok(Ok(true)) => {
                        self.tell(Event::of(Kind::DeviceKeyRenewed).device(device).address(at));
                        self.dismiss(device);
                    }
                    Ok(Ok(false)) => {}
                    // It is as good as the one before: a full disk locks nobody out.
                    Ok(Err(error)) => {
                        self.tell(Event::of(Kind::DeviceKeyNotKept).device(device).note(error.to_string()));
                    }
                    Err(_) => return Err(CloseCode::Internal.into()),
                }
                Ok(())
            }
        }
    }

    /// Whether a key that was good when its handshake began is an old one by now.
    pub(super) fn is_old(&self, key: &DeviceKey) -> bool {
        let fate = self.shared.state.store().fate_of(DeviceId::of_spki(key.spki()).0);
        matches!(fate, Some((_, Fate::Old)))
    }

    /// Ends the connections of a device, whose sessions wait for its new key.
    pub(super) fn dismiss(&self, device: DeviceId) {
        for session in self.shared.directory.sessions_of(device) {
            session.line.command(duologue::Line::dismiss);
        }
    }
}
