//! Evidence that the simulated client shows, and what its server says of it.

use alloc::{string::ToString, vec::Vec};

use super::{End, Uid, server::ServerLine, world::World};
use crate::handshake::evidence::{Evidence, EvidenceKind, Standing};

impl World {
    /// What is known of a person by that evidence.
    fn raised(&self, number: u32) -> Standing {
        let subject = self.person.to_string();
        Standing { level: 2, subject, secs: Some(300), evidence: number, ..Standing::default() }
    }

    pub(super) fn act_on_standing(&mut self, end: End) {
        match end {
            End::Client if self.away => self.come_back(),
            End::Client if self.chance.one_in(3) => self.go_away(),
            End::Client => self.show(),
            End::Server => self.fall(),
        }
    }

    /// The last page of the client goes, if the server can be told.
    pub(super) fn go_away(&mut self) {
        if self.client.away() {
            trace!(self.now, "client: nobody is here");
            (self.away, self.withdrawn) = (true, true);
        }
    }

    /// Another comes.
    pub(super) fn come_back(&mut self) {
        trace!(self.now, "client: somebody is here");
        self.client.here();
        self.away = false;
    }

    /// The client's application has newer evidence.
    pub(super) fn show(&mut self) {
        let count = self.shown.len() + 1;
        let len = 10 + self.chance.index(8_000);
        let mut data: Vec<u8> = count.to_string().into_bytes();
        data.resize(len, b'.');
        let number = self.client.show(EvidenceKind::Token, data.clone()).expect("it is short");
        assert_eq!(number as usize, count, "numbers go on through all sessions of a line");
        trace!(self.now, "client: shows evidence {number} of {len}");
        self.shown.push(data);
        self.withdrawn = false;
    }

    /// Time has passed at the server: what was proved counts no more, on an open line as on one that waits.
    pub(super) fn fall(&mut self) {
        let newest =
            self.server.lines.values_mut().filter(|line| line.line.closed().is_none()).max_by_key(|line| line.uid);
        if let Some(ServerLine { line, standing, .. }) = newest {
            trace!(self.now, "server: the standing of {} falls", standing.level);
            *standing = Standing { wants_evidence: true, evidence: standing.evidence, ..Standing::of_level(1) };
            line.tell(standing);
        }
    }

    pub(super) fn nobody_is_there(&mut self, key: u32) {
        let held = self.server.lines.get_mut(&key).expect("it has just spoken");
        held.standing = Standing { evidence: held.standing.evidence, ..Standing::of_level(1) };
        held.line.tell(&held.standing);
    }

    /// What the server judges by evidence behind AUTH: by what is newer in a session that goes on.
    pub(super) fn standing_with(&mut self, key: u32, evidence: &[Evidence]) -> Standing {
        let mut standing = self.server.lines[&key].standing.clone();
        for evidence in evidence {
            if self.server.lines.get_mut(&key).expect("it is there").line.is_newer(evidence) {
                self.judge_evidence(standing.evidence, evidence);
                standing = self.raised(evidence.number);
            }
        }
        standing
    }

    pub(super) fn evidence_came(&mut self, key: u32, evidence: &Evidence) {
        let last = self.server.lines[&key].standing.evidence;
        self.judge_evidence(last, evidence);
        let raised = self.raised(evidence.number);
        let held = self.server.lines.get_mut(&key).expect("it has just spoken");
        held.standing = raised;
        held.line.tell(&held.standing);
    }

    fn judge_evidence(&self, last: u32, evidence: &Evidence) {
        trace!(self.now, "server: judges {evidence:?}");
        assert!(evidence.number > last, "evidence {} is judged behind {last}", evidence.number);
        let named = evidence.number.to_string();
        assert!(evidence.data().starts_with(named.as_bytes()), "evidence {named} is not what was shown");
    }

    pub(super) fn standing_told(&mut self, standing: Standing) {
        trace!(self.now, "client: is told {standing:?}");
        self.told = standing;
    }

    /// The server has judged the newest that was shown, and the client knows what came of it.
    pub(super) fn standing_agrees(&mut self, server: Uid) -> bool {
        let Some(held) = self.server.lines.values_mut().find(|line| line.uid == server) else { return false };
        // Nobody is more than a device until he has shown who he is.
        let is_judged = match self.withdrawn {
            true => self.told.level == 1,
            false => self.told.evidence as usize == self.shown.len(),
        };
        held.standing == self.told && is_judged && held.line.is_away() == self.away
    }
}
