//! What the owner sees of the sessions that are here, and does to one or another, over the line and by the local API.

use std::{cmp::Reverse, collections::BinaryHeap, pin::Pin};

use duologue::{CloseCode, DeviceId, SessionId};

use super::{Duologue, directory::Session};
use crate::{
    door::gate::now,
    services::{
        others::Owned,
        owner::told::{AuditShown, SessionInfo, ids},
    },
    state::store::{Revocation, StoreError},
    watch::bans::{Ban, Banned},
};

/// What a person reads whose session the owner has ended.
const ENDED: &str = "The server's owner has ended this line.";

impl Owned for Duologue {
    fn sessions(&self, find: &str, most: usize) -> (Vec<SessionInfo>, usize) {
        let (at, directory) = (now(), self.directory());
        let is_it = |session: &Session| {
            find.is_empty() || {
                let standing = session.seat.standing(at);
                let has = |text: &str| text.contains(find);
                session.seat.device().to_string().starts_with(find)
                    || standing.subject.as_ref().is_some_and(|subject| has(subject.as_str()))
                    || has(&session.seat.address().to_canonical().to_string())
            }
        };
        // Only when each began is kept of those that are not told.
        let (mut newest, mut all) = (BinaryHeap::new(), 0);
        directory.sessions(|session| {
            if is_it(session) {
                all += 1;
                newest.push(Reverse((session.seat.began(), session.id.0)));
                if newest.len() > most {
                    newest.pop();
                }
            }
            false
        });
        let chosen: Vec<_> = newest.into_sorted_vec().into_iter().map(|Reverse((_, id))| SessionId(id)).collect();
        let mut sessions = directory.sessions(|session| chosen.contains(&session.id));
        sessions.sort_by_key(|session| Reverse((session.seat.began(), session.id.0)));
        let devices: Vec<_> = sessions.iter().map(|session| session.seat.device()).collect();
        // Without a store that can be read they have no names.
        let names = self.shared.state.store().names(&devices).unwrap_or_default();
        let told = sessions.into_iter().map(|Session { id, line, seat }| {
            let (standing, address, moved) = (seat.standing(at), seat.address(), line.moved());
            let (id, device) = ids(id, seat.device());
            SessionInfo {
                id,
                device,
                name: names.get(&seat.device()).cloned(),
                subject: standing.subject.clone(),
                level: standing.level,
                address: Some(address.to_canonical()).filter(|address| !address.is_unspecified()),
                since: seat.began(),
                connected: !line.command(|line, _| line.is_parked() || line.is_away()),
                received: moved.received,
                sent: moved.sent,
            }
        });
        (told.collect(), all)
    }

    fn audit(&self) -> Pin<Box<dyn Future<Output = Option<AuditShown>> + Send + '_>> {
        Box::pin(async {
            Some(match Self::audit(self)?.head().await {
                Ok(state) => AuditShown {
                    head: state.head,
                    signed_at: state.signed_at,
                    losses: state.waiting_losses,
                    failed: None,
                },
                Err(why) => AuditShown { failed: Some(why), ..AuditShown::default() },
            })
        })
    }

    fn lift(&self, whom: &Banned) -> Result<Option<Ban>, StoreError> {
        self.lift_ban(whom)
    }

    fn revoke(&self, device: DeviceId) -> Revocation {
        Self::revoke(self, device)
    }

    fn end(&self, id: SessionId) -> bool {
        let found = self.directory().sessions(|session| session.id == id);
        found.iter().for_each(|session| self.directory().end(session, CloseCode::HookRefused, ENDED));
        !found.is_empty()
    }
}
