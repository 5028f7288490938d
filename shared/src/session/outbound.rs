//! Frames that leave: one record's worth at a time, in this order.
//!
//! ```text
//! 0. AWAY, HERE, EVIDENCE, STANDING
//! 1. what an earlier connection had sealed and the peer has not received; nothing else before it
//! 2. CREDIT, TAKEN      3. RESET, DONE      4. OPEN      5. datagrams      6. DATA and FIN, channels in turns      7. ACK
//! ```
//!
//! Counted frames are kept until they are acknowledged (`resend.rs`); DATA and OPEN wait while too much is.

use alloc::vec::Vec;

use super::{Session, by_id::Ids, datagrams::Waiting, resend::Retained, turns::STEPS};
use crate::{
    channel::{ChannelState, Fin, Kind, Priority, SendHalf},
    frame::{ACK_FRAME_LEN, DATA_HEADER_LEN, Frame},
    ids::ChannelId,
    limits::{FIRST_RESERVE_LEN, LABEL_LEN_MAX, RESEND_LEN_MAX, RESEND_LEN_STEP, TURN_LEN_MAX},
    time::Instant,
};

/// The part of a record that may stay empty rather than take a sliver of a message.
const SLIVER: usize = 64;
/// What a record takes beside queued data, where it is short: CREDIT, TAKEN and ACK, headers, and padding.
#[cfg(feature = "server")]
const FILL_LEN_MIN: usize = 192;
/// The longest frame without data: OPEN.
pub(super) const CONTROL_LEN_MAX: usize = 32 + LABEL_LEN_MAX;

impl Session {
    /// True if a record could be filled now.
    pub(crate) fn has_frames(&self) -> bool {
        let (tight, waits) = (self.claims.is_tight(), self.taken_waits());
        !self.over
            && (self.has_away_frames()
                || self.has_standing_frames()
                || self.resend.is_behind()
                || self.ack.due
                || self.can_say_drain()
                || self.can_say_farewell()
                || self.can_announce()
                || self.due.iter().any(|id| self.channels.get(id).is_some_and(|channel| is_due(channel, tight, waits)))
                || self.turns.any(self.steps_with_room(), |id| self.can_seal(id))
                || (!self.flight.is_stalled() && self.outgoing.next(|next| self.can_leave(next)).is_some()))
    }

    /// Room that [`Self::fill`] needs at once, so that a record does not grow by doubling. A page can do without.
    #[cfg(feature = "server")]
    pub(crate) fn fill_len(&self, max: usize) -> usize {
        (FILL_LEN_MIN + self.queued_len).min(max)
    }

    /// Appends frames to `out` until `max` bytes are reached or nothing is left.
    pub(crate) fn fill(&mut self, now: Instant, out: &mut Vec<u8>, max: usize) {
        if self.over {
            return;
        }
        let max = max.saturating_sub(ACK_FRAME_LEN);
        let start = out.len();
        self.flight.look_for_presses(now);
        self.fill_away(out);
        self.fill_standing(out);
        let (mut datagrams, mut taken) = (0, false);
        let sealed = self.resend.sealed();
        self.resend.fill(out, max);
        #[cfg(feature = "server")]
        let (known, filled) = (self.resend.sealed(), out.len());
        if !self.resend.is_behind() {
            taken = self.fill_due(out, max);
            #[cfg(feature = "server")]
            if out.len() > filled {
                self.changes_now();
            }
            self.fill_farewells(out, max);
            self.fill_announcements(out, max);
            datagrams = self.fill_datagrams(now, out, max);
            self.fill_turns(now, out, max);
            self.make_room();
            if self.can_say_drain()
                && let Some(slot_millis) = self.drain_due.take_if(|_| out.len() + CONTROL_LEN_MAX <= max)
            {
                Frame::Drain { slot_millis }.encode(out);
            }
        }
        #[cfg(feature = "server")]
        if self.resend.sealed() > known {
            self.changes_now();
        }
        let counted = self.resend.sealed() > sealed;
        let anything = datagrams > 0 || counted;
        #[cfg(feature = "server")]
        self.company.leaves(now, taken, self.ack.due, counted);
        #[cfg(not(feature = "server"))]
        let _ = taken;
        self.flight.sealed(now, self.resend.sealed(), datagrams, out.len() - start, anything);
        if self.resend.len() >= self.resend_len_max {
            self.grow_resend();
        }
        self.fill_ack(out, start);
    }

    fn fill_ack(&mut self, out: &mut Vec<u8>, start: usize) {
        let (mut count, datagrams) = (self.received, self.flight.received);
        let mut news = count > self.ack.told || datagrams != self.ack.told_datagrams;
        count += u64::from(mutated!(AckOneTooMany));
        news &= !mutated!(AckNever);
        if news && (self.ack.due || out.len() > start) {
            Frame::Ack { count, datagrams }.encode(out);
            self.ack = super::AckState { told: count, told_datagrams: datagrams, ..super::AckState::default() };
        }
    }

    /// True if it has written a TAKEN on a channel of messages.
    fn fill_due(&mut self, out: &mut Vec<u8>, max: usize) -> bool {
        let tight = self.claims.is_tight();
        let mut withheld = Ids::new();
        let mut has_taken = false;
        while out.len() + 2 * CONTROL_LEN_MAX <= max
            && let Some(id) = self.due.pop_first()
        {
            let Some(channel) = self.channels.get_mut(id).filter(|channel| channel.reset.is_none()) else { continue };
            let recv = &mut channel.recv;
            if !tight
                && recv.credit_due().is_some()
                && let Some(by) = recv.growth_wanted()
                && self.claims.claim(usize::try_from(by).unwrap_or(usize::MAX))
            {
                recv.grow(by);
            }
            let restate = core::mem::take(&mut recv.restate);
            let limit = recv.credit_due().filter(|_| !tight);
            if tight && recv.credit_due().is_some() {
                withheld.insert(id);
            }
            if let Some(limit) =
                limit.or((restate && !recv.fin && !mutated!(CreditNotRestated)).then_some(recv.granted()))
            {
                recv.grant(limit);
                Frame::Credit { channel: id, limit }.encode(out);
            }
            if core::mem::take(&mut recv.taken_due) || (restate && recv.taken > 0 && !mutated!(TakenNotRestated)) {
                Frame::Taken { channel: id, count: recv.taken }.encode(out);
                has_taken |= !channel.kind.stream;
            }
        }
        #[cfg(feature = "server")]
        {
            self.company.hurried = !self.due.is_empty();
        }
        if tight {
            withheld.iter().for_each(|id| self.due.insert(id));
        }
        has_taken
    }

    /// Before CLOSE, in its record: what was taken, as far as the peer does not know. A page's TAKEN has left.
    #[cfg(feature = "server")]
    pub(crate) fn fill_last(&self, out: &mut Vec<u8>) {
        for id in self.due.iter().filter(|_| !mutated!(TakenNotBeforeClose)) {
            let Some(channel) = self.channels.get(id).filter(|channel| channel.reset.is_none()) else { continue };
            if channel.recv.taken_due || (channel.recv.restate && channel.recv.taken > 0) {
                Frame::Taken { channel: id, count: channel.recv.taken }.encode(out);
            }
        }
    }

    #[cfg(not(feature = "server"))]
    const fn taken_waits(&self) -> bool {
        false
    }

    fn fill_announcements(&mut self, out: &mut Vec<u8>, max: usize) {
        while out.len() + CONTROL_LEN_MAX <= max && self.can_announce() {
            let Some(id) = self.unannounced.pop_first() else { break };
            let Some(channel) = self.channels.get_mut(id) else { continue };
            channel.announced = true;
            self.live_here += 1;
            let frame = Retained::Open { channel: id, kind: channel.kind, label: channel.label.clone() };
            self.resend.push(frame, out);
            #[cfg(feature = "server")]
            {
                self.pass_over(self.next_announced, id);
                self.next_announced = id.0.saturating_add(2);
            }
            self.take_turn(id);
        }
    }

    /// How many datagrams were written. They take half of a record at most, so that what is reliable goes on.
    fn fill_datagrams(&mut self, now: Instant, out: &mut Vec<u8>, max: usize) -> u32 {
        if self.outgoing.is_empty() {
            return 0;
        }
        self.flight.look(now);
        self.expire_datagrams(now);
        let mut written = 0;
        while !self.flight.is_stalled()
            && let Some((index, next)) = self.outgoing.next(|next| self.can_leave(next))
            && out.len() + DATA_HEADER_LEN + next.data.len() <= max / 2
            && let Some(Waiting { channel, data, deadline, key }) = self.outgoing.remove(index)
        {
            if mutated!(DatagramTwice) && key != Some(u32::MAX) {
                self.outgoing.push(Waiting { channel, data: data.clone(), deadline, key: Some(u32::MAX) });
            }
            if self.channels.get(channel).is_none_or(|state| state.reset.is_some()) {
                continue;
            }
            Frame::Datagram { channel, data: &data }.encode(out);
            written += 1;
            if let Some(datagrams) = self.channel_datagrams.get_mut(channel) {
                datagrams.stats.sent += 1;
            }
        }
        written
    }

    /// Each channel puts a turn's worth into the record, then goes to the end of the line.
    fn fill_turns(&mut self, now: Instant, out: &mut Vec<u8>, max: usize) {
        while let Some(id) = self.turns.pop(self.steps_with_room()) {
            if !self.can_seal(id) {
                continue;
            }
            let for_all = self.unacknowledged_len_max();
            let Some(channel) = self.channels.get_mut(id) else { continue };
            let (mut turn, Kind { stream, priority, .. }) = (TURN_LEN_MAX, channel.kind);
            let limit = for_all + reserve(priority);
            let mut full = false;
            loop {
                if channel.send.has_gap() {
                    full = out.len() + 2 * DATA_HEADER_LEN > max;
                    if full {
                        break;
                    }
                    let count = channel.send.take_gap();
                    if !mutated!(GapUntold) {
                        self.resend.push(Retained::Gap { channel: id, count }, out);
                    }
                }
                let room = max.saturating_sub(out.len() + DATA_HEADER_LEN).min(turn);
                let Some((len, more)) = channel.send.next_fragment(room).filter(|_| room > 0) else { break };
                // A sliver at a record's end is not worth a frame: up to 1/64 of the record stays empty instead.
                if more && len == room && room < turn && room < max / SLIVER {
                    break;
                }
                // On hold only what has begun is ended.
                if self.holds && !channel.send.has_begun() {
                    break;
                }
                let queued = channel.send.queued_len();
                let data = channel.send.take_fragment(len, stream);
                self.queued_len -= queued - channel.send.queued_len();
                if priority == Priority::First {
                    self.flight.press(now);
                }
                self.resend.push(Retained::Data { channel: id, more: more && !stream, data }, out);
                turn = turn.saturating_sub(len);
                full = self.resend.len() >= limit;
                if turn == 0 || full {
                    break;
                }
            }
            // `send` may have room again.
            self.changed.insert(id);
            if channel.send.fin_is_due() && out.len() + 2 * DATA_HEADER_LEN <= max {
                self.resend.push(Retained::Fin { channel: id }, out);
                channel.send.fin = Fin::Sealed;
                if channel.is_over() {
                    self.count_over(id);
                }
                self.settle_released(id);
                continue;
            }
            if self.can_seal(id) {
                self.turns.push(id, priority);
                if full || max.saturating_sub(out.len()) < max / SLIVER + DATA_HEADER_LEN {
                    return;
                }
            }
        }
    }

    fn can_announce(&self) -> bool {
        !self.holds && !self.unannounced.is_empty() && self.live_here < self.peers.channels && self.has_resend_room()
    }

    pub(super) fn can_seal(&self, id: ChannelId) -> bool {
        let ends = |send: &SendHalf| send.has_begun() || send.fin_is_due() || send.has_gap();
        let may = |channel: &ChannelState| !self.holds || ends(&channel.send);
        self.channels.get(id).is_some_and(|channel| channel.can_seal() && may(channel))
    }

    /// Its channel is announced, or gone: then it leaves the queue only.
    fn can_leave(&self, datagram: &Waiting) -> bool {
        self.channels.get(datagram.channel).is_none_or(|channel| channel.announced)
    }

    /// The client says that nothing new begins once nothing is half begun; the server has no such wait.
    fn can_say_drain(&self) -> bool {
        let half_sent = |channel: &ChannelState| channel.reset.is_none() && channel.send.has_begun();
        self.drain_due.is_some() && !(self.holds && self.channels.values().any(|channel| half_sent(channel)))
    }

    /// The server stops: the client is told, and told when to come back.
    pub(crate) const fn drain(&mut self, slot_millis: u32) {
        self.drain_due = Some(slot_millis);
        #[cfg(feature = "server")]
        {
            self.company.prompt = true;
        }
    }

    pub(super) fn take_turn(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(id).filter(|channel| channel.can_seal()) else { return };
        let priority = channel.kind.priority;
        if !self.turns.contains(id, priority) {
            self.turns.push(id, priority);
        }
    }

    /// Which steps of priority may still seal: what somebody waits for does not stand behind what fills the memory.
    fn steps_with_room(&self) -> usize {
        let has_reserve = self.resend.len() < self.unacknowledged_len_max() + reserve(Priority::First);
        if self.has_resend_room() { STEPS } else { usize::from(has_reserve) }
    }

    fn has_resend_room(&self) -> bool {
        self.resend.len() < self.unacknowledged_len_max()
    }

    /// As far as the memory goes, and as far as the path takes it without queueing.
    fn unacknowledged_len_max(&self) -> usize {
        self.resend_len_max.min(self.flight.len_max())
    }

    fn grow_resend(&mut self) {
        if self.resend_len_max < RESEND_LEN_MAX && self.claims.claim(RESEND_LEN_STEP) {
            self.resend_len_max += RESEND_LEN_STEP;
        }
    }

    pub(super) fn shrink_resend(&mut self) {
        let base = self.role.resend_len();
        self.claims.give_back(self.resend_len_max - base);
        self.resend_len_max = base;
    }
}

/// What a channel may have unacknowledged beyond the bound for all.
const fn reserve(priority: Priority) -> usize {
    if matches!(priority, Priority::First) { FIRST_RESERVE_LEN } else { 0 }
}

/// CREDIT or TAKEN is due on it; where memory is tight no CREDIT but what must be stated again, and no TAKEN that waits for company.
pub(super) fn is_due(channel: &ChannelState, tight: bool, waits: bool) -> bool {
    let recv = &channel.recv;
    let taken = recv.taken_due && (channel.kind.stream || !waits);
    let credit = recv.credit_due().is_some() && !(tight || waits && mutated!(CreditWaits));
    channel.reset.is_none() && (taken || recv.must_restate() || credit)
}
