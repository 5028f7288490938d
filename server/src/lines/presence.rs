//! What the presence of one person means for the other sessions: a new passkey is told there, and one that is gone raises nobody.

use std::{sync::Arc, time::Duration};

use duologue::{DeviceId, ResetCode};

use super::{
    Duologue, Shared,
    directory::{Name, Session},
};
use crate::{
    door::{
        error::DoorError,
        gate::now,
        passkeys::{self, Passkeys, presence::Presence},
        seat::Seat,
        standing::Subject,
    },
    services::{
        others::{Others, Owned},
        passkeys::Passkeys as Service,
    },
    state::store::{Passkey, PasskeyId, StoreError},
};

/// How long somebody has to read what is told.
const PATIENCE: Duration = Duration::from_secs(10);

impl Duologue {
    /// Takes passkeys: whose session it is may register them, and shows by them to be there, which is [`Level::Present`] until the
    /// session ends. What they open, rules say; the service itself has the label `passkeys`, which a rule must open too
    /// ([`Config`](crate::Config) brings one).
    ///
    /// [`Level::Present`]: crate::Level::Present
    ///
    /// # Panics
    /// If the server is in use: it is to be called before it is cloned or mounted.
    #[must_use]
    pub fn passkeys(mut self, passkeys: Passkeys) -> Self {
        let shared = Arc::get_mut(&mut self.shared).expect("nobody else has it yet");
        shared.passkeys = Some(passkeys.clone());
        let service = Service::new(passkeys, Arc::clone(shared.state.store()));
        self.service(passkeys::LABEL, service)
    }

    /// Removes passkeys of a subject, in the store and then wherever somebody is present by them. Gives them.
    pub(crate) fn remove_passkeys(
        &self,
        subject: &Subject,
        is_it: impl Fn(&Passkey) -> bool,
    ) -> Result<Vec<Passkey>, StoreError> {
        let removed = self.shared.state.store().remove_passkeys(subject.as_str(), is_it)?;
        for passkey in &removed {
            self.shared.passkey_is_gone(subject, passkey.id());
        }
        Ok(removed)
    }

    /// The same of all that were registered on one of these devices, whosever they are.
    pub(crate) fn remove_passkeys_on(&self, devices: &[DeviceId]) -> Result<Vec<Passkey>, StoreError> {
        let removed = self.shared.state.store().remove_passkeys_on(devices)?;
        for passkey in &removed {
            if let Ok(subject) = Subject::new(&passkey.subject) {
                self.shared.passkey_is_gone(&subject, passkey.id());
            }
        }
        Ok(removed)
    }
}

impl Shared {
    fn sessions_of(&self, subject: &Subject) -> Vec<Session> {
        self.directory.sessions_named(Name::Subject(subject.as_str()))
    }

    /// Tells the subject's other devices that are here something, on a channel of this label that is opened for it.
    pub(super) fn tell(&self, subject: &Subject, but: DeviceId, label: &str, message: &[u8]) {
        // A session stays hers when she has signed out, and whoever sits there now is not she.
        let now = now();
        let is_hers = |it: &Session| it.seat.standing(now).subject.as_ref() == Some(subject);
        let others = self.sessions_of(subject).into_iter().filter(|it| it.seat.device() != but && is_hers(it));
        for Session { line, .. } in others {
            // Whoever is away is told by a list.
            if line.command(|line, _| line.is_parked()) {
                continue;
            }
            let Ok(channel) = line.channel(label) else { continue };
            let message = message.to_vec();
            tokio::spawn(async move {
                let told = async {
                    let sent = channel.send(message).await?;
                    channel.finish();
                    sent.taken().await
                };
                if !matches!(tokio::time::timeout(PATIENCE, told).await, Ok(Ok(()))) {
                    channel.reset(ResetCode::Cancelled);
                }
            });
        }
    }

    /// Nobody is present by a passkey any more.
    fn passkey_is_gone(&self, subject: &Subject, id: PasskeyId) {
        for Session { line, seat, .. } in self.sessions_of(subject) {
            if seat.presence(|presence| presence.by() == Some(id)) == Some(true) {
                seat.presence(Presence::leave);
                self.gate.has_changed(seat.device());
                line.command(|line, _| line.tell(&seat.told(None, false)));
            }
        }
    }
}

impl Others for Duologue {
    fn tell(&self, subject: &Subject, but: DeviceId, label: &str, message: &[u8]) {
        self.shared.tell(subject, but, label, message);
    }

    fn has_come(&self, subject: &Subject, device: DeviceId) {
        self.shared.has_come(subject, device);
    }

    fn passkey_is_gone(&self, subject: &Subject, id: PasskeyId) {
        self.shared.passkey_is_gone(subject, id);
    }

    fn key_is_renewed(&self, device: DeviceId) {
        self.dismiss(device);
    }

    fn owned(&self) -> &dyn Owned {
        self
    }

    fn has_signed_out(&self, seat: &Arc<Seat>) {
        self.has_left(seat.device());
        let of_device = self.shared.directory.sessions_of(seat.device());
        match of_device.iter().find(|session| Arc::ptr_eq(&session.seat, seat)) {
            Some(session) => self.has_fallen(session, DoorError::SignedOut),
            // It has ended meanwhile.
            None => self.shared.gate.has_changed(seat.device()),
        }
    }
}
