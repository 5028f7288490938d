//! What befalls the simulated world from outside.

use core::time::Duration;

use alloc::vec::Vec;

use super::{
    End,
    link::Side,
    plan::Fault,
    server::BUDGET_LEN,
    world::{Todo, World},
};
use crate::{
    close::{CloseCode, FreshReason},
    limits::{DRAIN_SECS, RESUME_TTL_SECS},
    time::Instant,
};

impl World {
    pub(super) fn befall(&mut self) {
        if self.healed || self.actions_left == 0 {
            return;
        }
        let faults = self.plan.faults.clone();
        let fault = self.chance.pick(&faults);
        trace!(self.now, "fate: {fault:?}");
        self.suffer(fault);
        let wait = self.chance.micros(self.plan.fault_every_micros * 2);
        self.plan_in(wait, Todo::Fault);
    }

    pub(super) fn suffer(&mut self, fault: Fault) {
        match fault {
            Fault::Cut => self.cut_any(),
            Fault::Stall => self.stall_any(),
            Fault::Aged => self.client.age_keys(self.now),
            Fault::Wake if self.frozen_until.is_none() => self.client.wake(self.now),
            Fault::Sleep if self.frozen_until.is_none() => {
                self.frozen_until = Some(self.now + Duration::from_secs(3_600));
            }
            Fault::Freeze if self.frozen_until.is_none() => {
                self.client.freeze(self.now);
                self.drive();
                // Mostly shorter than the server asks nothing, or longer than it keeps a session.
                let secs = if self.chance.one_in(4) { 400 } else { 1 + self.chance.below(115) };
                self.frozen_until = Some(self.now + Duration::from_secs(secs));
            }
            Fault::Wake | Fault::Sleep | Fault::Freeze => {}
            Fault::Restart => self.restart_server(),
            Fault::Evict => self.evict(),
            Fault::Drain => self.drain(),
            Fault::Close if self.frozen_until.is_none() => self.read_and_close(),
            Fault::Close => {}
            Fault::Outage => {
                self.cut_any();
                // Longer than a session is kept, or a little shorter.
                let secs = RESUME_TTL_SECS - 30 + self.chance.below(60);
                self.frozen_until = self.frozen_until.or(Some(self.now + Duration::from_secs(secs)));
            }
        }
    }

    /// The client's application reads once more, and closes its line in the same breath.
    fn read_and_close(&mut self) {
        let uid = self.client_uid;
        self.ledger.held(uid).into_iter().for_each(|id| self.read(uid, id, 1));
        // Of a line before this one the server may never have heard that it was closed.
        let held = if self.client.open_carrier().is_some() { self.ledger.held(uid) } else { Vec::new() };
        self.taken_at_close = held.into_iter().map(|id| (id, self.ledger.at(uid).channels[&id].got)).collect();
        self.client.close(self.now, CloseCode::Normal, "enough");
    }

    fn cut_any(&mut self) {
        if let Some(sid) = self.any_socket() {
            self.cut(sid, None);
        }
    }

    fn any_socket(&mut self) -> Option<usize> {
        let sids: Vec<_> = self.sockets.keys().copied().collect();
        (!sids.is_empty()).then(|| self.chance.pick(&sids))
    }

    fn stall_any(&mut self) {
        let Some(sid) = self.any_socket() else { return };
        let wait = if self.chance.one_in(8) { Duration::from_secs(60) } else { self.chance.micros(3_000_000) };
        let (until, both) = (self.now + wait, self.chance.below(3));
        let Some(socket) = self.sockets.get_mut(&sid) else { return };
        if both != 0 {
            socket.up.stall(until);
        }
        if both != 1 {
            socket.down.stall(until);
        }
    }

    /// The server stops in order: it tells everybody, and waits until nothing is on its way, or for 30 s.
    pub(super) fn drain(&mut self) {
        for line in self.server.lines.values_mut() {
            let slot = u32::try_from(self.chance.below(2_000)).expect("below u32");
            line.line.drain(slot);
        }
        let until = self.now + Duration::from_secs(DRAIN_SECS);
        self.plan_in(Duration::from_millis(50), Todo::DrainEnds(until));
    }

    pub(super) fn end_drain(&mut self, until: Instant) {
        let drained = self.server.lines.values_mut().all(|line| line.line.is_drained());
        if !drained && self.now < until {
            return self.plan_in(Duration::from_millis(50), Todo::DrainEnds(until));
        }
        trace!(self.now, "server: stops, drained {drained}");
        for line in self.server.lines.values_mut() {
            line.line.close(self.now, CloseCode::GoingAway, "");
        }
        // The last words leave, then the successor starts.
        self.drive();
        self.succeed_server();
    }

    /// The process dies: nothing is said to anybody.
    pub(super) fn restart_server(&mut self) {
        self.server.boot += 1;
        for line in self.server.forget().into_values() {
            self.ledger.sessions[line.uid.0].over = true;
        }
        let ids: Vec<_> = self.sockets.keys().copied().collect();
        for sid in ids {
            let Some(socket) = self.sockets.get_mut(&sid).filter(|socket| socket.server != Side::Gone) else {
                continue;
            };
            socket.server = Side::Gone;
            self.cut(sid, Some(End::Server));
        }
        let budget = &self.server.budget;
        assert_eq!((budget.growth_left(), budget.held()), (BUDGET_LEN / 4, 0), "a session that is gone holds budget");
    }

    /// The process ends after it has said all: another one takes its place.
    pub(super) fn succeed_server(&mut self) {
        for sid in self.sockets.keys().copied().collect::<Vec<_>>() {
            self.server_lost(sid);
        }
        self.restart_server();
    }

    /// Sessions and all memory of them are gone, in the same process.
    pub(super) fn forget_sessions(&mut self) {
        self.restart_server();
        self.server.boot -= 1;
    }

    /// A parked session makes room.
    pub(super) fn evict(&mut self) {
        self.end_parked(FreshReason::Evicted);
    }

    /// A parked session is over.
    pub(super) fn end_parked(&mut self, reason: FreshReason) {
        if let Some(line) = self.server.lines.values_mut().find(|line| line.line.is_parked()) {
            trace!(self.now, "server: ends {:?}: {}", line.uid, reason.word());
            line.line.expire(reason);
        }
    }
}
