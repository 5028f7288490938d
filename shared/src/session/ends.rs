//! How channels end: by a reset of either end, or when both have finished and the application has let go. And the assembly
//! slots that they leave to others.

use super::{
    Session,
    by_id::{ById, Ids},
    turns::Turns,
};
use crate::{
    channel::{ChannelState, Fin},
    close::ResetCode,
    ids::ChannelId,
    limits::{ASSEMBLING_CHANNELS_MAX, SESSION_QUEUE_LEN_MAX},
};

/// The part of what is retained that a channel must have sent for its frames to be searched for.
const SKIP_WORTH: u64 = 16;

impl Session {
    /// What was sealed of it and is not acknowledged is of no use any more.
    pub(super) fn skip(&mut self, id: ChannelId) {
        // A peer that opens and resets channels by the thousand must not make each cost a search: it pays for one with the
        // bytes that it was sent.
        let worth = |channel: &ChannelState| {
            cfg!(not(feature = "server")) || channel.send.spent() >= self.resend.len() as u64 / SKIP_WORTH
        };
        if self.channels.get(id).is_some_and(|channel| channel.send.has_sealed() && worth(channel)) {
            self.resend.skip(id);
        }
    }

    /// Marks a channel as reset, by whichever end.
    pub(super) fn end_channel(&mut self, id: ChannelId, code: ResetCode) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        let was_over = channel.is_over();
        channel.reset = Some(code);
        self.queued_len -= channel.send.clear();
        let (announced, assembling) = (channel.announced, channel.recv.assembling);
        self.changed.insert(id);
        self.unannounced.remove(id);
        if cfg!(feature = "server") {
            // Nothing else takes its turn out while nothing can be sealed.
            self.turns.remove(id);
        }
        if assembling {
            self.free_slot(id);
        }
        if announced && !was_over {
            self.count_over(id);
        }
        self.settle_released(id);
        self.make_room();
    }

    /// Those whom the session's bound made wait look again.
    pub(super) fn make_room(&mut self) {
        let has_room = self.queued_len < SESSION_QUEUE_LEN_MAX && !self.claims.is_tight();
        if self.crowded && (has_room || self.queued_len == 0) {
            self.crowded = false;
            self.channels.ids().for_each(|id| self.changed.insert(id));
        }
    }

    /// The channel no longer counts among the live ones.
    pub(super) fn count_over(&mut self, id: ChannelId) {
        let live = self.live(id);
        *live = live.saturating_sub(1);
    }

    /// How many channels of its opener are live.
    pub(super) const fn live(&mut self, id: ChannelId) -> &mut u16 {
        if id.0 & 1 == self.role.bit() { &mut self.live_here } else { &mut self.live_there }
    }

    /// A channel that its application has left goes as soon as nothing more is to be said on it.
    pub(super) fn settle_released(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(id).filter(|channel| channel.released) else { return };
        if channel.reset.is_none() && !self.over {
            if channel.send.fin != Fin::Sealed {
                // Its queue is still to be sent.
                return;
            }
            if channel.recv.is_refused() {
                self.say_reset(id, ResetCode::Stopped);
                return;
            }
            // A TAKEN that is lost with its connection is stated again by the channel's state, and that goes now.
            if channel.recv.taken > 0 {
                self.farewells.done(id, channel.recv.taken);
            }
        }
        if channel.recv.assembling {
            self.free_slot(id);
        }
        if let Some(channel) = self.channels.remove(id) {
            #[cfg(feature = "server")]
            self.forget_note(channel.note.len());
            self.held_there -= u16::from(cfg!(feature = "server") && id.0 & 1 != self.role.bit());
            self.unread_len -= channel.recv.memory_len();
            self.claims.give_back(usize::try_from(channel.recv.grown()).unwrap_or(0));
        }
        self.datagrams_len -= self.channel_datagrams.remove(id).map_or(0, |datagrams| datagrams.held());
        self.due.remove(id);
        self.changed.remove(id);
        if self.channels.is_empty() {
            self.give_back();
        }
    }

    /// An idle session holds no buffers; empty collections keep what they once needed.
    fn give_back(&mut self) {
        self.channels = ById::new();
        self.channel_datagrams = ById::new();
        self.due = Ids::new();
        self.turns = Turns::default();
    }

    /// Gives the channel an assembly slot if it wants one and one is free.
    pub(super) fn ask_for_slot(&mut self, id: ChannelId) {
        if usize::from(self.assembling) < ASSEMBLING_CHANNELS_MAX
            && let Some(channel) = self.channels.get_mut(id)
            && channel.recv.wants_slot()
        {
            channel.recv.assembling = true;
            self.assembling += 1;
            self.due.insert(id);
        }
    }

    /// Takes a slot back and gives it to the next channel that waits for one.
    pub(super) fn free_slot(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(id) {
            channel.recv.assembling = false;
            self.assembling -= 1;
        }
        let next = self.channels.iter().find(|(other, channel)| *other != id && channel.recv.wants_slot());
        if let Some(next) = next.map(|(next, _)| next) {
            self.ask_for_slot(next);
        }
    }
}
