//! What must hold after every step, and at the end of each story.

use core::time::Duration;

use alloc::vec::Vec;

use super::{
    Uid,
    ledger::Reader,
    link::Way,
    plan::Plan,
    server::BUDGET_LEN,
    world::{World, session_of},
};
use crate::{
    channel::Received,
    close::CloseCode,
    limits::{ACK_MILLIS, DRAIN_SECS, FROZEN_LEN_MAX, FROZEN_SECS},
    line::LineState,
    session::Session,
};

/// In which everything comes to its end once nothing goes wrong any more: a backoff of 15 s, a handshake, the rest.
const HEALING: Duration = Duration::from_secs(60);
/// The shortest record, which holds a PING.
const RECORD_LEN_MIN: usize = 80;
/// For how long nobody says anything then: some PINGs.
const STILLNESS: Duration = Duration::from_secs(200);

impl World {
    /// After every step; `all` of it now and then, because it looks at every channel and frame.
    pub(super) fn check(&mut self, all: bool) {
        let uids = self.live();
        for uid in uids {
            let Some(session) = session_of(&mut self.client, self.client_uid, &mut self.server, uid) else { continue };
            if all || session.counts().retained < 20_000 {
                session.audit();
            }
            if all {
                self.check_channels(uid);
            }
        }
        self.check_pair();
        self.check_waits();
        self.check_frozen();
    }

    /// A client that has said that it does not run is asked nothing for 120 s, and sent 64 KiB at most.
    fn check_frozen(&mut self) {
        let found = self.server.carried.iter().find_map(|(sid, (key, no))| {
            self.server.lines.get(key).filter(|held| held.line.frozen_carrier() == Some(*no)).map(|_| *sid)
        });
        let Some(sid) = found else {
            let Some((sid, since, _)) = self.frozen.take() else { return };
            let is_whole = !self.cuts.contains(&sid);
            let held = self.ledger.at(self.client_uid).peer.and_then(|uid| self.server.line_of(uid));
            let is_held = held.is_some_and(|line| line.closed().is_none());
            let is_early = self.frozen_until.is_some() && self.now - since < Duration::from_secs(FROZEN_SECS);
            assert!(
                !(is_early && is_whole && is_held && self.hostile.one_in == 0),
                "a page that does not run was asked"
            );
            return;
        };
        let given = self.sockets.get(&sid).map_or(0, |socket| socket.down.given);
        let (_, since, before) = *self.frozen.get_or_insert((sid, self.now, given));
        // Then it is asked, which is one record.
        let asked = if self.now - since < Duration::from_secs(FROZEN_SECS) { 0 } else { RECORD_LEN_MIN };
        assert!(given <= before + FROZEN_LEN_MAX + asked, "a page that does not run was sent {} bytes", given - before);
    }

    /// A TAKEN that waits for company does so for 25 ms at most, and CREDIT never does.
    fn check_waits(&mut self) {
        for uid in self.live() {
            let asleep = (uid == self.client_uid && self.frozen_until.is_some()) || self.frozen.is_some();
            let line = if uid == self.client_uid { Some(&mut self.client) } else { self.server.line_of(uid) };
            let Some(line) = line.filter(|_| !asleep) else { continue };
            let waits = line.open_carrier().is_some_and(|no| !line.wants_transmit(no));
            let (taken, credit) = line.session().dues();
            assert!(!waits || !credit, "{uid:?}: CREDIT waits");
            if waits && taken {
                let since = *self.waits_since.entry(uid).or_insert(self.now);
                assert!(self.now - since <= Duration::from_millis(ACK_MILLIS), "{uid:?}: TAKEN waits since {since:?}");
            } else {
                self.waits_since.remove(&uid);
            }
        }
    }

    /// Sessions that have not ended.
    fn live(&self) -> Vec<Uid> {
        let server = self.server.lines.values().filter(|line| line.line.closed().is_none()).map(|line| line.uid);
        server.chain([self.client_uid]).collect()
    }

    fn check_channels(&mut self, uid: Uid) {
        for id in self.ledger.held(uid) {
            let Some(session) = session_of(&mut self.client, self.client_uid, &mut self.server, uid) else { continue };
            self.ledger.check_deliveries(session, uid, id);
            let stats = session.channel(id).datagram_stats(self.now);
            let waiting = session.datagrams_waiting(id);
            self.ledger.check_datagrams(uid, id, stats, waiting);
        }
    }

    /// The two ends of the client's session agree as far as they can.
    fn check_pair(&mut self) {
        let Some(server) = self.ledger.at(self.client_uid).peer else { return };
        let Some(line) = self.server.line_of(server) else { return };
        let ends = (self.client.session(), line.session());
        if ends.0.is_over() || ends.1.is_over() || ends.0.id() != ends.1.id() {
            return;
        }
        let counts = (ends.0.counts(), ends.1.counts());
        for (sender, receiver) in [counts, (counts.1, counts.0)] {
            assert!(
                sender.acked <= receiver.received && receiver.received <= sender.counted,
                "{} acknowledged, {} received, {} sent",
                sender.acked,
                receiver.received,
                sender.counted
            );
        }
        let credits = (ends.0.credits(), ends.1.credits());
        for (senders, receivers) in [(&credits.0, &credits.1), (&credits.1, &credits.0)] {
            for sender in senders {
                let Some(receiver) = receivers.iter().find(|receiver| receiver.id == sender.id) else { continue };
                assert!(
                    receiver.peer_spent <= sender.spent
                        && sender.spent <= sender.limit
                        && sender.limit <= receiver.granted,
                    "{sender:?} {receiver:?}"
                );
            }
        }
    }

    /// A line is over, and its session with it.
    pub(super) fn check_over(&mut self, uid: Uid) {
        for id in self.ledger.held(uid) {
            self.read(uid, id, usize::MAX);
            let Some(session) = session_of(&mut self.client, self.client_uid, &mut self.server, uid) else { return };
            self.ledger.check_deliveries(session, uid, id);
            assert!(session.channel(id).broken().is_some());
        }
        let Some(session) = session_of(&mut self.client, self.client_uid, &mut self.server, uid) else { return };
        assert!(session.is_over());
        session.audit();
        self.ledger.sessions[uid.0].over = true;
    }

    /// A session is over, and another has taken its place.
    pub(super) fn check_session_over(&mut self, session: &mut Session, uid: Uid) {
        assert!(session.is_over());
        session.audit();
        for id in self.ledger.held(uid) {
            assert!(session.channel(id).broken().is_some(), "{uid:?} {id:?} outlives its session");
            self.ledger.check_deliveries(session, uid, id);
            while let Ok(Received::Message(message)) = session.channel(id).recv() {
                let missed = session.channel(id).missed();
                self.ledger.passed(uid, id, missed);
                self.ledger.took(uid, id, &message);
            }
        }
        self.ledger.sessions[uid.0].over = true;
    }

    /// Nothing goes wrong any more. Everything that was begun must now come to its end.
    pub(super) fn heal(&mut self) {
        trace!(self.now, "the world heals");
        self.healed = true;
        self.hostile.one_in = 0;
        let calm = Plan::calm();
        let Plan { large, channels, patient, first_try_waits, impatient, .. } = self.plan;
        self.plan = Plan { large, channels, patient, first_try_waits, impatient, ..calm };
        if let Some(until) = self.frozen_until {
            self.run_until(until);
        }
        for sid in self.sockets.keys().copied().collect::<Vec<_>>() {
            let Some(socket) = self.sockets.get_mut(&sid) else { continue };
            socket.path.bandwidth = self.plan.bandwidth;
            let bad = |way: &Way| way.is_dead() || way.is_stalled(self.now);
            if bad(&socket.up) || bad(&socket.down) {
                self.client_lost(sid);
                self.server_lost(sid);
            }
        }
        if self.away {
            self.come_back();
        }
        if self.withdrawn && self.chance.one_in(2) {
            self.show();
        }
        for uid in self.live() {
            for id in self.ledger.held(uid) {
                self.ledger.channel(uid, id).reader = Reader::AtOnce;
                self.channel_changed(uid, id);
            }
        }
        self.drive();
    }

    /// Runs until everything has come to its end.
    pub(super) fn settle(&mut self) {
        let until = self.now + HEALING;
        while !self.is_settled() {
            self.let_go();
            let going = self.step();
            assert!(going && self.now < until, "no progress: {}", self.describe());
        }
        self.check(true);
        self.ledger.check_complete(self.client_uid);
    }

    /// Patient applications look whether the other end knows everything now.
    fn let_go(&mut self) {
        if !self.plan.patient {
            return;
        }
        for uid in self.live() {
            for id in self.ledger.held(uid) {
                self.tend(uid, id);
            }
        }
        self.drive();
    }

    fn is_settled(&mut self) -> bool {
        if self.client.state() != LineState::Open {
            return false;
        }
        let Some(server) = self.ledger.at(self.client_uid).peer else { return false };
        if !self.standing_agrees(server) {
            return false;
        }
        let Some(line) = self.server.line_of(server) else { return false };
        let quiet = |session: &mut Session| session.counts().channels == 0 && session.counts().retained == 0;
        quiet(self.client.session()) && quiet(line.session())
    }

    /// Nobody says anything, and nothing goes wrong: no end takes the other for dead.
    pub(super) fn keep_still(&mut self) {
        // A server that was about to stop does so first.
        self.run_for(Duration::from_secs(DRAIN_SECS));
        self.settle();
        if self.hostile.tampered > 0 {
            // What the middleman took out last shows when the next record comes, each way.
            self.client.wake(self.now);
            self.drive();
            self.run_for(HEALING);
            self.settle();
        }
        let (states, opened) = (self.states.len(), self.opened);
        self.run_for(STILLNESS);
        let new = &self.states[states..];
        assert!(new.is_empty(), "a silent line was lost: {new:?}, opened {} times", self.opened - opened);
    }

    /// The client closes its line. Nothing may be left of anything.
    pub(super) fn wind_down(&mut self) {
        let server = self.ledger.at(self.client_uid).peer.expect("settled");
        let claimed = self.client.session().counts().claimed;
        assert_eq!(claimed, 0, "an idle session holds budget");
        let (now, line) = (self.now, self.lines);
        self.client.close(now, CloseCode::Normal, "");
        self.drive();
        while self.server.line_of(server).is_some_and(|line| line.closed().is_none()) {
            assert!(self.step(), "the server does not hear of the end");
            assert!(self.now < now + HEALING, "the server hears of the end too late");
        }
        assert!(self.lines > line);
        for line in core::mem::take(&mut self.server.lines).into_values() {
            self.ledger.sessions[line.uid.0].over = true;
        }
        let budget = &self.server.budget;
        assert_eq!((budget.growth_left(), budget.held()), (BUDGET_LEN / 4, 0), "a session that is gone holds budget");
    }
}
