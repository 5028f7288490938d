//! RESET and DONE that are due: the last word on a channel whose state may already be gone.
//!
//! They are counted frames and are kept until they are acknowledged, so that a server's wait while too much is. A peer that
//! acknowledges nothing must not make them many: a channel keeps its place among the live ones until its RESET has left,
//! because until then the peer, too, takes it for live. A DONE needs no place: a FIN of this end's left before it, and a FIN
//! waits for room like all data.

use alloc::{collections::VecDeque, vec::Vec};

#[cfg(feature = "server")]
use super::by_id::ById;
use super::{Session, outbound::CONTROL_LEN_MAX, resend::Retained};
#[cfg(feature = "server")]
use crate::channel::Fin;
use crate::{
    close::ResetCode,
    codec::{Reader, put_counts},
    error::InvalidMessage,
    ids::ChannelId,
    limits::{FAREWELLS_LEN_MAX, FAREWELLS_MAX},
};

/// What is still to be said on channels that have ended.
#[derive(Debug, Default)]
pub(super) struct Farewells {
    queue: VecDeque<Retained>,
    /// Of those to be reset: which still count as live, and whether FIN of this end has left on it, so that with FIN of the peer's
    /// it is over there.
    #[cfg(feature = "server")]
    places: ById<bool>,
}

impl Farewells {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The application has let go of a finished channel, of which it took so much.
    pub(super) fn done(&mut self, channel: ChannelId, count: u64) {
        self.queue.push_back(Retained::Done { channel, count });
    }

    /// As a snapshot has it: the frames, each behind the place that it keeps.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_counts(out, &[self.queue.len() as u64]);
        for frame in &self.queue {
            out.push(self.place_of(frame));
            frame.put(out);
        }
    }

    #[cfg(feature = "server")]
    fn place_of(&self, frame: &Retained) -> u8 {
        let Retained::Reset { channel, .. } = frame else { return 0 };
        self.places.get(*channel).map_or(0, |finished| 1 + u8::from(*finished))
    }

    #[cfg(not(feature = "server"))]
    const fn place_of(&self, _: &Retained) -> u8 {
        0
    }

    /// Of a snapshot.
    pub(super) fn revive(reader: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        let mut farewells = Self::default();
        let [count] = reader.counts()?;
        for _ in 0..count {
            let place = reader.u8()?;
            let frame = Retained::revive(reader)?;
            match (&frame, place) {
                (Retained::Done { .. } | Retained::Reset { .. }, 0) => {}
                #[cfg(feature = "server")]
                (Retained::Reset { channel, .. }, 1 | 2) => farewells.keep(*channel, place == 2),
                _ => return Err(InvalidMessage::UnknownValue),
            }
            farewells.queue.push_back(frame);
        }
        if farewells.queue.len() > FAREWELLS_MAX {
            return Err(InvalidMessage::TooLong);
        }
        Ok(farewells)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    #[cfg(feature = "server")]
    pub(super) fn places(&self) -> impl Iterator<Item = ChannelId> {
        self.places.ids()
    }

    #[cfg(feature = "server")]
    fn keep(&mut self, id: ChannelId, finished: bool) {
        *self.places.get_or_insert(id, || finished) = finished;
    }

    /// Its place is given up. False if it had none.
    #[cfg(feature = "server")]
    fn leave(&mut self, id: ChannelId) -> bool {
        self.places.remove(id).is_some()
    }
}

impl Session {
    /// Ends a channel that the peer knows, and makes its RESET due.
    pub(super) fn say_reset(&mut self, id: ChannelId, code: ResetCode) {
        self.farewells.queue.push_back(Retained::Reset { channel: id, code });
        #[cfg(feature = "server")]
        if let Some(channel) = self.channels.get(id).filter(|channel| !channel.is_over()) {
            self.farewells.keep(id, channel.send.fin == Fin::Sealed);
            // The channel is about to be counted as over; this is the place of its RESET.
            *self.live(id) += 1;
        }
        self.end_channel(id, code);
    }

    /// Turns down a channel that the peer has just opened, and keeps nothing of it.
    #[cfg(feature = "server")]
    pub(super) fn turn_down(&mut self, id: ChannelId, code: ResetCode) {
        self.farewells.queue.push_back(Retained::Reset { channel: id, code });
        self.farewells.keep(id, false);
    }

    /// RESET of the peer's for a channel that is no more: what was due on it need not be said.
    #[cfg(feature = "server")]
    pub(super) fn peer_has_reset(&mut self, id: ChannelId) {
        if self.farewells.leave(id) {
            let is_its = |due: &Retained| matches!(due, Retained::Reset { channel, .. } if *channel == id);
            self.farewells.queue.retain(|due| !is_its(due));
            self.count_over(id);
        }
    }

    /// FIN of the peer's for a channel that is no more: if both had finished, it is over there.
    #[cfg(feature = "server")]
    pub(super) fn peer_has_finished(&mut self, id: ChannelId) {
        if self.farewells.places.get(id).copied().unwrap_or(false) {
            self.farewells.leave(id);
            self.count_over(id);
        }
    }

    /// True if one could leave.
    pub(super) fn can_say_farewell(&self) -> bool {
        let has_room = || self.resend.len() < self.resend_len_max + FAREWELLS_LEN_MAX;
        !self.farewells.is_empty() && (cfg!(not(feature = "server")) || has_room())
    }

    pub(super) fn fill_farewells(&mut self, out: &mut Vec<u8>, max: usize) {
        while out.len() + CONTROL_LEN_MAX <= max
            && self.can_say_farewell()
            && let Some(frame) = self.farewells.queue.pop_front()
        {
            #[cfg(feature = "server")]
            if let Retained::Reset { channel, .. } = frame
                && self.farewells.leave(channel)
            {
                self.count_over(channel);
            }
            self.resend.push(frame, out);
        }
        if self.farewells.queue.is_empty() && self.channels.is_empty() {
            // An idle session holds no buffers.
            self.farewells.queue = VecDeque::new();
        }
    }
}
