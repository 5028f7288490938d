//! What a seed's story is like: how long, how stormy, how hostile.

use alloc::{vec, vec::Vec};

use super::chance::Chance;
use crate::session::Role;

/// What befalls the world from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A socket dies, and neither way delivers all that was on it.
    Cut,
    /// A socket stands still for up to three seconds, sometimes for a minute.
    Stall,
    /// The keys are too old: make before break.
    Aged,
    /// The device's network is back, or says so.
    Wake,
    /// The device sleeps for an hour.
    Sleep,
    /// The client's page stops running for a while, and says so before.
    Freeze,
    /// The server is a new process.
    Restart,
    /// The server makes room.
    Evict,
    /// The server stops in order, and a successor takes its place.
    Drain,
    /// The client's application closes its line.
    Close,
    /// The link is away for longer than the server keeps a session.
    Outage,
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) delay_micros: u64,
    pub(super) jitter_micros: u64,
    /// Bytes in a millisecond.
    pub(super) bandwidth: u64,
    /// One in so many messages is tampered with; 0: none.
    pub(super) hostile: u64,
    /// One in so many sockets does not open, or is cut before the line is open.
    pub(super) unreachable: u64,
    pub(super) early_cut: u64,
    /// One in so many sockets takes M1 in the upgrade request, and brings nothing back.
    pub(super) withheld: u64,
    /// The client waits for its first connection.
    pub(super) first_try_waits: bool,
    /// In the end applications let go of a channel only when the other end knows what became of everything.
    pub(super) patient: bool,
    /// One in so many signatures takes long.
    pub(super) slow_signature: u64,
    pub(super) fault_every_micros: u64,
    pub(super) faults: Vec<Fault>,
    /// What both applications do, and how often.
    pub(super) actions: u64,
    pub(super) action_every_micros: u64,
    pub(super) channels: usize,
    pub(super) large: bool,
    /// One in so many actions shows newer evidence at the client, or changes the standing at the server.
    pub(super) standing: u64,
    /// An end of an earlier version, which is not patient.
    pub(super) impatient: Option<Role>,
    /// How often the client is loaded again, about.
    pub(super) reloads: u64,
}

impl Plan {
    pub(super) fn of(chance: &mut Chance) -> Self {
        use Fault::{Aged, Close, Cut, Drain, Evict, Outage, Restart, Sleep, Stall, Wake};
        let mut faults = vec![Cut, Cut, Cut, Cut, Stall, Stall, Wake, Aged, Aged];
        for (fault, one_in) in [(Sleep, 12), (Restart, 5), (Evict, 6), (Drain, 6), (Close, 8), (Outage, 12)] {
            if chance.one_in(one_in) {
                faults.push(fault);
            }
        }
        let faults_meant: u64 = chance.pick(&[0, 4, 8, 16]);
        let many = chance.one_in(25);
        let actions = chance.pick(&[60, 120, 200]);
        let action_every_micros = chance.pick(&[3_000, 20_000, 80_000, 250_000]);
        let span: u64 = actions * action_every_micros;
        let mut plan = Self {
            delay_micros: chance.pick(&[100, 5_000, 30_000, 100_000]),
            jitter_micros: chance.pick(&[1, 1_000, 20_000]),
            bandwidth: chance.pick(&[20, 500, 20_000, 200_000]),
            hostile: if chance.one_in(6) { chance.pick(&[20, 60]) } else { 0 },
            unreachable: chance.pick(&[0, 0, 4, 10]),
            early_cut: chance.pick(&[0, 3, 8]),
            slow_signature: chance.pick(&[0, 0, 3]),
            fault_every_micros: (span / 2_u64).checked_div(faults_meant).map_or(0, |every| every.max(20_000)),
            faults,
            actions: if many { 600 } else { actions },
            action_every_micros: if many { 300 } else { action_every_micros },
            channels: if many { 280 } else { chance.pick(&[1, 3, 12]) },
            large: chance.one_in(5),
            // Drawn last: the stories of earlier seeds stay as they were.
            withheld: chance.pick(&[0, 0, 0, 3]),
            first_try_waits: chance.one_in(2),
            patient: chance.one_in(3),
            standing: chance.pick(&[0, 5, 20]),
            impatient: chance.pick(&[None, None, Some(Role::Client), Some(Role::Server)]),
            reloads: chance.pick(&[0, 0, 0, 1, 4]),
        };
        if chance.one_in(4) {
            plan.faults.push(Fault::Freeze);
        }
        plan
    }

    /// A quiet and short path, on which nothing happens.
    pub(super) fn calm() -> Self {
        Self {
            delay_micros: 1_000,
            jitter_micros: 1,
            bandwidth: 200_000,
            hostile: 0,
            unreachable: 0,
            early_cut: 0,
            withheld: 0,
            first_try_waits: false,
            patient: false,
            slow_signature: 0,
            fault_every_micros: 0,
            faults: Vec::new(),
            actions: 0,
            action_every_micros: 1_000,
            channels: 12,
            large: false,
            standing: 0,
            impatient: None,
            reloads: 0,
        }
    }
}
