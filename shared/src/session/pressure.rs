//! Where memory is short and the session's unit holds more than its share (`budget.rs`), in this order:
//!
//! ```text
//! tight   no further CREDIT, and nothing more in a queue that is not empty
//! full    the heaviest channel is reset as `busy`, until it is full no more
//! ```
//!
//! Who is not above its share notices nothing of it. Which session of a unit gives way first, and that a parked one is
//! evicted, is the server's business, which sees all of them; a session gives way by itself if it holds a fair part of what
//! its unit does, so that nothing grows until the server looks.

use super::Session;
use crate::{channel::ChannelState, close::ResetCode, ids::ChannelId, limits::FAIR_PART_OF_UNIT};

impl Session {
    /// Tells the budget what is held now, and gives way at once where that is too much.
    pub(crate) fn settle_account(&mut self) {
        self.claims.hold(self.held_len());
        while self.claims.is_full()
            && self.claims.account().is_some_and(|account| self.held_len() >= account.held() / FAIR_PART_OF_UNIT)
            && self.give_way()
        {
            self.claims.hold(self.held_len());
        }
    }

    /// What the heaviest channel holds, of those that can still be reset: unread and queued bytes.
    #[must_use]
    pub fn heaviest_len(&self) -> usize {
        self.heaviest().map_or(0, |(_, len)| len)
    }

    /// Resets the heaviest channel as `busy`. False if there is none that holds anything.
    pub fn give_way(&mut self) -> bool {
        let Some((id, _)) = self.heaviest() else { return false };
        self.channel(id).reset(ResetCode::Busy);
        true
    }

    /// Memory may be there again: what waited for it is looked at anew.
    pub fn look_again(&mut self) {
        self.make_room();
    }

    fn heaviest(&self) -> Option<(ChannelId, usize)> {
        let live = self.channels.iter().filter(|(_, channel)| !self.over && !channel.is_over());
        let held = |channel: &ChannelState| channel.recv.memory_len() + channel.send.queued_len();
        live.map(|(id, channel)| (id, held(channel))).filter(|(_, len)| *len > 0).max_by_key(|(_, len)| *len)
    }
}
