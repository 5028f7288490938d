//! What the owner does to sessions that are open: whoever is revoked loses his lines, and whose a device is changes for its lines
//! too.

use duologue::{CloseCode, DeviceId};

use crate::{
    door::{
        gate::now,
        seat::Has,
        standing::{Proof, Standing, Subject},
    },
    state::{
        store::{AccountError, Names, Revocation, StoreError},
        whom::Whom,
    },
};

use super::Duologue;

/// Whether a binding has changed, or why it cannot.
pub(crate) type Rebound = Result<bool, AccountError>;

impl Duologue {
    /// Removes a device, or whomever [`Whom`] means: all of them are refused from now on, and their lines end, whatever the disk
    /// does; then that is kept. Blocks while it is written.
    pub fn revoke(&self, whom: impl Into<Whom>) -> Revocation {
        self.revoke_all(whom.into()).1
    }

    /// The same, with the devices that are out by it.
    pub(crate) fn revoke_all(&self, whom: Whom) -> (Vec<DeviceId>, Revocation) {
        let store = self.shared.state.store();
        let Some(out) = store.refuse(whom) else { return (Vec::new(), Revocation::Unknown) };
        for device in &out {
            self.shared.tickets.forget(*device);
            self.shared.directory.close(*device, CloseCode::DeviceRevoked);
        }
        if whom.one_device().is_none() {
            self.end_proved(whom);
        }
        (out, store.keep_revocation(whom))
    }

    /// Ends the sessions of devices that may stay, and that were this by something that was proved there: a token. They may come
    /// again as what they are without.
    fn end_proved(&self, whom: Whom) {
        let now = now();
        let directory = &self.shared.directory;
        let ended = directory.sessions(|session| is_of(whom, &session.seat.standing(now)));
        for session in ended {
            session.seat.sign_out();
            directory.leave(session.seat.device(), session.id);
            session.line.close(CloseCode::GoingAway, "");
        }
    }

    /// What a device has by its key alone.
    pub(super) fn has(&self, device: DeviceId) -> Has {
        Has::of(&self.shared.state.store().known(device))
    }

    /// Binds a device to a subject, or releases it. True if something has changed.
    pub(crate) fn rebind(&self, device: DeviceId, subject: Option<&Subject>) -> Result<Rebound, StoreError> {
        let store = self.shared.state.store();
        let rebound = match subject {
            Some(subject) => store.bind(device, subject.as_str())?,
            None => store.release(device)?.map(|_| true),
        };
        if rebound == Ok(true) {
            self.look_again(device);
        }
        Ok(rebound)
    }

    /// Puts a subject into groups, and takes it out of others.
    pub(crate) fn change_groups(
        &self,
        subject: &Subject,
        add: &[String],
        remove: &[String],
    ) -> Result<Result<Names, AccountError>, StoreError> {
        let store = self.shared.state.store();
        let before = store.groups(subject.as_str());
        let changed = store.change_groups(subject.as_str(), add, remove)?;
        if changed.as_ref().is_ok_and(|groups| *groups != before) {
            for device in store.devices_of(Whom::subject(subject.as_str())) {
                self.look_again(device);
            }
        }
        Ok(changed)
    }

    /// A device's sessions are what its owner says now. One that is another subject's ends: what is open under one person's name
    /// never becomes another's.
    fn look_again(&self, device: DeviceId) {
        let has = self.has(device);
        for session in self.shared.directory.sessions_of(device) {
            if !session.seat.has_now(has.clone()) {
                self.shared.directory.leave(device, session.id);
                session.line.close(CloseCode::GoingAway, "");
            }
        }
        self.shared.gate.has_changed(device);
    }
}

/// Whether a revocation is of somebody who stands so.
fn is_of(whom: Whom, standing: &Standing) -> bool {
    let is_subject = standing.subject.as_ref().is_some_and(|subject| whom.means(Whom::subject(subject.as_str())));
    let is_token = match &standing.proof {
        Proof::Token { id, .. } => whom.means(Whom::token(id)),
        Proof::Device | Proof::Hook | Proof::Vouch => false,
    };
    is_subject || is_token || standing.groups.iter().any(|group| whom.means(Whom::group(group.as_str())))
}
