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

use super::{Duologue, beside::PassedOn};

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
        let out = self.refuse(whom);
        self.pass_on(PassedOn::Revoked(whom));
        let Some(out) = out else {
            let has_ended = whom.one_device().is_some_and(|device| self.end_stranger(device));
            return (Vec::new(), if has_ended { Revocation::OfGuest } else { Revocation::Unknown });
        };
        (out, store.keep_revocation(whom))
    }

    /// Another server of this state has revoked somebody, and keeps it.
    pub(super) fn end_revoked(&self, whom: Whom) {
        if let (None, Some(device)) = (self.refuse(whom), whom.one_device()) {
            self.end_stranger(device);
        }
    }

    /// Refuses somebody from now on, in memory, and ends his lines. Gives the devices that are out; none if nobody is known by it.
    fn refuse(&self, whom: Whom) -> Option<Vec<DeviceId>> {
        let out = self.shared.state.store().refuse(whom)?;
        self.shared.gate.forget_answers();
        for device in &out {
            self.shared.tickets.forget(*device);
            self.shared.directory.close(*device, CloseCode::DeviceRevoked);
        }
        if whom.one_device().is_none() {
            self.end_proved(whom);
        }
        Some(out)
    }

    /// Ends the lines of a device that nobody has let in. False if it has none.
    fn end_stranger(&self, device: DeviceId) -> bool {
        let directory = &self.shared.directory;
        let is_here = !directory.sessions_of(device).is_empty();
        directory.close(device, CloseCode::DeviceRevoked);
        is_here
    }

    /// Ends the sessions of devices that may stay, and that were this by something that was proved there: a token. They may come
    /// again as what they are without.
    fn end_proved(&self, whom: Whom) {
        let now = now();
        let directory = &self.shared.directory;
        directory.for_each(|session| {
            if is_of(whom, &session.seat.standing(now)) {
                session.seat.sign_out();
                directory.end(&session, CloseCode::GoingAway, "");
            }
        });
    }

    /// What a device has by its key alone.
    pub(super) fn has(&self, device: DeviceId) -> Has {
        let store = self.shared.state.store();
        match store.status(device) {
            Some(_) => Has::of(&store.known(device)),
            None => Has::guest(),
        }
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
    pub(super) fn look_again(&self, device: DeviceId) {
        self.shared.gate.forget_answers();
        let has = self.has(device);
        for session in self.shared.directory.sessions_of(device) {
            let was_stranger = session.seat.is_stranger();
            if !session.seat.has_now(has.clone()) {
                self.shared.directory.end(&session, CloseCode::SubjectChanged, "");
                self.shared.tickets.forget(device);
            } else if was_stranger {
                // Somebody has let it in.
                session.line.command(|line, _| line.tell(&session.seat.told(None, false)));
            }
        }
        self.write_tickets_soon();
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

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        sync::Arc,
        time::Instant,
    };

    use duologue_native::Line;

    use super::*;
    use crate::{
        door::{
            evidence::Transport,
            policy::Policy,
            seat::Seat,
            standing::{Group, Level},
        },
        lines::directory::Session,
        state::State,
    };

    /// A session of a device that nobody is bound to, which has shown a token.
    fn with_token(duologue: &Duologue, device: u16, subject: &str, group: &str, id: &str) -> Line {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&device.to_be_bytes());
        let transport = Transport {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            origin: None,
            app_origin: None,
            ..Transport::default()
        };
        let seat = Seat::new(DeviceId(key), transport, Has::of(&crate::state::store::Known::default()));
        let standing = Standing {
            subject: Some(Subject::new(subject).expect("a name")),
            groups: Arc::new([Group::new(group).expect("a name")]),
            level: Level::Account,
            proof: Proof::Token { id: id.into(), issuer: "https://login.example".into(), auth_time: None },
            ..Standing::device()
        };
        seat.prove(standing).expect("nobody's so far");
        let directory = duologue.directory();
        let line = Line::new(duologue::Line::server(directory.account(&seat)));
        let session = Session { id: directory.new_session_id(false), line: line.clone(), seat: Arc::new(seat) };
        assert!(directory.enter(session).is_ok_and(|born| born.is_none()));
        line
    }

    #[tokio::test]
    async fn a_thousand_sessions_of_a_token_end_when_that_its_subject_or_a_group_of_it_is_revoked() {
        for whom in [Whom::token("a7"), Whom::subject("ada"), Whom::group("guests")] {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let duologue = Duologue::new(State::open(directory.path()).expect("made"), Policy::loopback());
            let ended: Vec<_> = (0..1_000).map(|device| with_token(&duologue, device, "ada", "guests", "a7")).collect();
            let other = with_token(&duologue, 2_000, "bob", "staff", "a8");
            let begun = Instant::now();
            assert_eq!(duologue.revoke(whom), Revocation::Stored, "{whom:?}");
            println!("1,000 sessions were gone after {} ms", begun.elapsed().as_millis());
            let is_open = |line: &Line| line.command(|line, _| line.closed().is_none());
            assert!(!ended.iter().any(is_open), "{whom:?}");
            assert!(is_open(&other), "{whom:?}");
            assert_eq!(duologue.directory().connected().len(), 1, "{whom:?}");
        }
    }
}
