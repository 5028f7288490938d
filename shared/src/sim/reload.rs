//! The client is loaded again: a page writes a snapshot when it goes, and another goes on from it.

use alloc::vec::Vec;

use super::{End, link::Side, world::World};
use crate::{channel::Received, line::Line, session::Session};

impl World {
    /// A page goes, and the next one takes up its session, if there is one that was open.
    pub(super) fn reload(&mut self) {
        // A worker without pages has nobody who could load it again.
        if self.client.closed().is_some() || !self.ever_open || self.withdrawn {
            return;
        }
        self.drive();
        self.hand_back_some();
        let Some(snapshot) = self.client.session().snapshot() else { return };
        trace!(self.now, "client: is loaded again, with a snapshot of {}", snapshot.len());
        self.leave_sockets();
        self.revive(&snapshot);
        self.withdrawn = true;
        if self.chance.one_in(2) {
            self.show();
        }
        self.drive();
    }

    /// Another client takes the place of this one, with a session as it was once.
    fn revive(&mut self, snapshot: &[u8]) {
        let session = Session::revive(snapshot).expect("a session has written it");
        session.audit();
        assert_eq!(session.snapshot().as_deref(), Some(snapshot), "it says the same");
        self.client = self.line_reviving(session);
        self.lines += 1;
    }

    pub(super) fn line_reviving(&mut self, session: Session) -> Line {
        Line::reviving(Self::client_config(&self.server, &self.device), self.chance.next(), session)
    }

    /// All sockets of the client's end without a word.
    pub(super) fn leave_sockets(&mut self) {
        for socket in self.sockets.values_mut().filter(|socket| socket.line == self.lines) {
            if socket.client != Side::Gone {
                socket.close(self.now, End::Client, &mut self.chance);
            }
        }
    }

    /// What an application further away has not taken comes back.
    fn hand_back_some(&mut self) {
        for id in self.ledger.held(self.client_uid) {
            let mut ahead = Vec::new();
            let count = self.whims.below(4);
            let mut channel = self.client.session().channel(id);
            for _ in 0..count {
                let Ok(Received::Message(message)) = channel.recv_ahead() else { break };
                ahead.push(message);
            }
            while let Some(message) = ahead.pop() {
                assert!(channel.hand_back(message), "{id:?}: it was handed over");
            }
            assert!(!channel.hand_back(Vec::new()), "{id:?}: nothing more was");
            // Who asked past the last message has been told what was left out behind it.
            let missed = channel.missed();
            self.ledger.passed(self.client_uid, id, missed);
        }
    }
}
