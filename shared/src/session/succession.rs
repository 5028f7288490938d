//! The session that takes another's place in a line, because the server could not resume it.

use super::Session;
use crate::close::FreshReason;

impl Session {
    /// Client: the session that takes this one's place within its connection. The channels of which nothing has left, not
    /// even OPEN, move there as they are, in their order; those that had begun are over with this session. Where it is another
    /// subject's, none does: what one person has written must not be said by another. Ids and attempts count on, so that none
    /// means two things in one line.
    pub(crate) fn successor(&mut self, reason: FreshReason) -> Self {
        let mut next = Self::new(self.role, self.claims.account());
        next.next_id = self.next_id;
        next.attempt = self.attempt.saturating_sub(1);
        next.crowded = self.crowded;
        self.hand_on_evidence(&mut next);
        #[cfg(test)]
        self.mutate_succession();
        let carries = reason != FreshReason::Subject;
        while carries && let Some(id) = self.unannounced.pop_first() {
            let Some(channel) = self.channels.remove(id) else { continue };
            let queued = channel.send.queued_len();
            self.queued_len -= queued;
            next.queued_len += queued;
            next.channels.get_or_insert(id, || channel);
            next.unannounced.insert(id);
            next.changed.insert(id);
            self.changed.remove(id);
            if let Some(datagrams) = self.channel_datagrams.remove(id) {
                next.channel_datagrams.get_or_insert(id, || datagrams);
            }
        }
        next.outgoing = self.outgoing.split_off(|datagram| next.channels.get(datagram.channel).is_some());
        next
    }

    #[cfg(test)]
    fn mutate_succession(&mut self) {
        if mutated!(BegunChannelGoesOn) {
            for (id, channel) in self.channels.iter_mut().filter(|(id, _)| id.0 & 1 == self.role.bit()) {
                channel.announced = false;
                self.unannounced.insert(id);
            }
        }
    }
}
