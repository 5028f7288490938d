//! Stories with a name: each shows one promise of the core, and most of them once were a bug.

mod company;
mod datagrams;
mod flow;
mod forgery;
mod freeze;
mod reload;
mod resumption;
mod standing;

use core::time::Duration;

use super::{Uid, chance::Chance, ledger::Reader, plan::Plan, world::World};
use crate::{channel::Delivery, ids::ChannelId, line::LineState, time::Instant};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// An open line over a quiet path of this delay each way; what peers open is read at once.
fn open(delay: Duration) -> World {
    let delay_micros = u64::try_from(delay.as_micros()).expect("short");
    let mut world = World::new(Chance::new(7), Plan { delay_micros, ..Plan::calm() });
    world.reads = Some(Reader::AtOnce);
    opened(&mut world);
    world
}

/// Runs until the client's line is open, both ends know it, and nothing is on its way.
fn opened(world: &mut World) {
    let until = world.now + Duration::from_secs(200);
    while world.client.state() != LineState::Open || world.ledger.at(world.client_uid).peer.is_none() {
        assert!(world.step() && world.now < until, "{}", world.describe());
    }
    let round_trip = world.path().delay * 2;
    world.run_for(round_trip + millis(50));
}

impl World {
    fn server_uid(&self) -> Uid {
        self.ledger.at(self.client_uid).peer.expect("the line is open")
    }

    /// The one socket that both ends use.
    fn socket(&self) -> usize {
        *self.sockets.last_key_value().expect("the line is open").0
    }

    /// A channel of messages from the client.
    fn channel(&mut self) -> ChannelId {
        let id = self.open_as(self.client_uid, false, false, Reader::AtOnce);
        self.drive();
        id
    }

    fn client_sends(&mut self, id: ChannelId, len: usize) {
        self.send_message(self.client_uid, id, len);
        self.drive();
    }

    fn server_got(&self, id: ChannelId) -> u64 {
        self.ledger.at(self.server_uid()).channels.get(&id).map_or(0, |log| log.got)
    }

    fn delivery(&self, uid: Uid, id: ChannelId, index: usize) -> Delivery {
        self.ledger.at(uid).channels[&id].sent[index].delivery
    }

    /// Runs until something holds, and says how long that took.
    fn until(&mut self, within: Duration, holds: impl Fn(&mut Self) -> bool) -> Duration {
        let start: Instant = self.now;
        while !holds(self) {
            assert!(self.step() && self.now <= start + within, "not within {within:?}: {}", self.describe());
        }
        self.now - start
    }

    /// Brings everything to its end, and looks whether it is one.
    fn finish_well(mut self) {
        self.heal();
        self.settle();
        self.wind_down();
    }
}
