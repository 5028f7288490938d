//! The receiving half: what has come, what of it the application has taken, and what the sender has left out.

#[cfg(feature = "server")]
mod kept;

#[cfg(feature = "server")]
use alloc::boxed::Box;
use alloc::{collections::VecDeque, vec::Vec};

#[cfg(feature = "server")]
use kept::Kept;

use crate::{
    codec::{Reader, put_bytes, put_counts},
    error::{InvalidMessage, PeerMisbehaved},
    limits::{
        CHANNEL_WINDOW, CHANNEL_WINDOW_MAX, DATA_FRAME_COST, MESSAGE_LEN_MAX, QUEUED_MESSAGE_COST, RECORD_LEN_MAX,
    },
};

#[derive(Debug, Default)]
pub(crate) struct RecvHalf {
    /// Whole messages, or pieces of a stream, what each cost, and how many messages or bytes were left out before it.
    ready: VecDeque<(Vec<u8>, u64, u64)>,
    /// The same before the next one to come.
    gap: u64,
    /// Bytes of `ready`'s first piece that were read.
    offset: usize,
    /// What was handed over ahead, and is not taken yet: what each cost, and how many messages or bytes it was.
    ahead: VecDeque<(u64, u64)>,
    partial: Vec<u8>,
    partial_cost: u64,
    /// Bytes in memory: of `ready` with its places, and of `partial`.
    memory_len: usize,
    /// What the peer has spent, what of it has left to the application, and up to where the peer may spend.
    spent: u64,
    left: u64,
    granted: u64,
    granted_before: u64,
    /// How much may be on its way here or unread.
    window: u64,
    /// The peer was seen to stop just where its credit ended.
    starved: bool,
    /// Messages, or bytes of a stream, that the application has taken, with those that were left out before them.
    pub(crate) taken: u64,
    /// How many of those were left out, before what was read last.
    pub(crate) missed: u64,
    /// Messages or bytes of which the sender has told, taken or not, that they were left out.
    told_missed: u64,
    /// A TAKEN is due.
    pub(crate) taken_due: bool,
    /// A new connection must hear of credit and count again.
    pub(crate) restate: bool,
    pub(crate) fin: bool,
    /// The application has let go before it had read all.
    refused: bool,
    /// Holds one of the session's assembly slots.
    pub(crate) assembling: bool,
    /// Of a session that is kept on disk.
    #[cfg(feature = "server")]
    kept: Option<Box<Kept>>,
}

impl RecvHalf {
    pub(super) fn with_window(window: u64) -> Self {
        Self { granted: window, window, ..Self::default() }
    }

    /// True if a new connection has something to state again. Of a channel that has come to its end with nothing taken there
    /// is nothing, even if its end comes only now.
    pub(crate) const fn must_restate(&self) -> bool {
        self.restate && (!self.fin || self.taken > 0)
    }

    /// Checks a fragment before anything changes.
    pub(crate) fn check(&self, len: usize, message_len_max: u32) -> Result<(), PeerMisbehaved> {
        if self.fin {
            return Err(PeerMisbehaved::DataAfterFin);
        }
        if self.spent + len as u64 + DATA_FRAME_COST > self.granted {
            return Err(PeerMisbehaved::CreditExceeded);
        }
        if self.partial.len() + len > message_len_max as usize {
            return Err(PeerMisbehaved::MessageTooLong);
        }
        Ok(())
    }

    /// Takes a checked fragment in. True if a message is now complete.
    pub(crate) fn push(&mut self, data: &[u8], more: bool) -> bool {
        let cost = data.len() as u64 + DATA_FRAME_COST;
        self.spent += cost;
        // A sender cuts a fragment to fit its credit, so that it meets a limit to the byte only when the limit stops it. By the
        // time that shows here, the next limit may already be on its way.
        let room = |limit: u64| limit.checked_sub(self.spent).is_some_and(|room| room <= DATA_FRAME_COST);
        self.starved |= room(self.granted) || room(self.granted_before);
        self.partial_cost += cost;
        if self.partial.is_empty() {
            self.partial = data.to_vec();
        } else {
            self.partial.extend_from_slice(data);
        }
        self.keep(data.len() + if more { 0 } else { QUEUED_MESSAGE_COST });
        if !more {
            let cost = core::mem::take(&mut self.partial_cost);
            if cfg!(feature = "server") && cost > CHANNEL_WINDOW {
                // It has grown by doubling.
                self.partial.shrink_to_fit();
            }
            let gap = core::mem::take(&mut self.gap);
            self.ready.push_back((core::mem::take(&mut self.partial), cost, gap));
            #[cfg(feature = "server")]
            self.piece_came();
        }
        !more
    }

    /// The sender has left out so many messages, or bytes of a stream, before what comes next.
    pub(crate) fn leave_out(&mut self, count: u64) -> Result<(), PeerMisbehaved> {
        if self.fin {
            return Err(PeerMisbehaved::DataAfterFin);
        }
        if self.is_within_message() || count == 0 {
            return Err(PeerMisbehaved::GapOutOfPlace);
        }
        // Whoever says a few billions of billions must not make a count begin anew.
        let told = self.told_missed.checked_add(count).filter(|told| *told <= u64::MAX / 2);
        self.told_missed = told.ok_or(PeerMisbehaved::CountOutOfRange)?;
        self.gap += count;
        #[cfg(feature = "server")]
        self.end_came();
        Ok(())
    }

    /// The application has read all that has come, and so far as to see that more was left out.
    fn pass_gap(&mut self) {
        if self.ready.is_empty() && self.ahead.is_empty() && self.gap > 0 && self.may_see_end() {
            let gap = core::mem::take(&mut self.gap);
            self.missed += gap;
            self.leave(0, gap);
        }
    }

    /// The application has read as far as the next piece of a stream, past what was left out before it. False if there is none.
    fn comes_to_a_piece(&mut self) -> bool {
        if !self.has_piece() {
            return false;
        }
        let Some((.., gap)) = self.ready.front_mut() else { return false };
        let gap = core::mem::take(gap);
        if gap > 0 {
            self.missed += gap;
            self.leave(0, gap);
        }
        true
    }

    /// Something was left out just before the next message, or the next bytes.
    pub(crate) fn is_behind_gap(&self) -> bool {
        self.ready.front().is_some_and(|(.., gap)| *gap > 0)
    }

    /// Counts a checked fragment that nobody will read.
    pub(crate) fn discard(&mut self, len: usize) {
        self.spent += len as u64 + DATA_FRAME_COST;
        self.left = self.spent;
    }

    /// The next message.
    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        self.pass_gap();
        if !self.has_piece() {
            return None;
        }
        let (message, cost, gap) = self.ready.pop_front()?;
        self.drop(message.len() + QUEUED_MESSAGE_COST);
        self.missed += gap;
        self.leave(cost, gap + 1);
        Some(message)
    }

    /// The next bytes of a stream: of several pieces together what a record may hold, so that a reader is not called for each.
    pub(crate) fn read(&mut self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.pass_gap();
        while self.comes_to_a_piece()
            && let Some((piece, ..)) = self.ready.front()
        {
            if !bytes.is_empty() && piece.len() - self.offset > RECORD_LEN_MAX.saturating_sub(bytes.len()) {
                break;
            }
            let offset = core::mem::take(&mut self.offset);
            let Some((mut piece, cost, _)) = self.ready.pop_front() else { break };
            self.drop(piece.len() + QUEUED_MESSAGE_COST);
            piece.drain(..offset);
            // A piece of no bytes is nothing to read, but it has cost.
            self.leave(cost - offset as u64, piece.len() as u64);
            if bytes.is_empty() {
                bytes = piece;
            } else {
                bytes.extend_from_slice(&piece);
            }
            if !bytes.is_empty() && self.is_behind_gap() {
                break;
            }
        }
        (!bytes.is_empty()).then_some(bytes)
    }

    /// The same to where the application wants it, as much as there is room for; how much that was.
    pub(crate) fn read_to(&mut self, buf: &mut [u8]) -> usize {
        let mut filled = 0;
        self.pass_gap();
        while self.comes_to_a_piece()
            && let Some((piece, cost, _)) = self.ready.front()
        {
            let rest = piece.get(self.offset..).unwrap_or_default();
            let len = rest.len().min(buf.len() - filled);
            let (Some(to), Some(from)) = (buf.get_mut(filled..filled + len), rest.get(..len)) else { break };
            to.copy_from_slice(from);
            filled += len;
            if len < rest.len() {
                self.offset += len;
                self.leave(len as u64, len as u64);
                break;
            }
            let (all, cost) = (piece.len(), *cost - core::mem::take(&mut self.offset) as u64);
            self.ready.pop_front();
            self.drop(all + QUEUED_MESSAGE_COST);
            // A piece of no bytes is nothing to read, but it has cost.
            self.leave(cost, len as u64);
            if filled == buf.len() || self.is_behind_gap() && filled > 0 {
                break;
            }
        }
        filled
    }

    /// As [`Self::pop`] and [`Self::read`], for an application that takes it later: until [`Self::take`] it counts as held.
    pub(crate) fn hand_over(&mut self, stream: bool) -> Option<Vec<u8>> {
        let (left, taken, taken_due) = (self.left, self.taken, self.taken_due);
        let message = if stream { self.read() } else { self.pop() };
        let Some(message) = message else {
            // An empty piece of a stream had something missing before it: that stands behind what was handed over.
            let gap = self.taken - taken;
            if gap > 0 && !self.ahead.is_empty() {
                (self.taken, self.taken_due) = (taken, taken_due);
                self.missed -= gap;
                self.gap += gap;
            }
            return None;
        };
        self.ahead.push_back((self.left - left, self.taken - taken));
        (self.left, self.taken, self.taken_due) = (left, taken, taken_due);
        #[cfg(feature = "server")]
        self.keep_copy(&message);
        Some(message)
    }

    /// The application has taken the oldest of what was handed over. False if there was none.
    pub(crate) fn take(&mut self) -> bool {
        let Some((cost, count)) = self.ahead.pop_front() else { return false };
        #[cfg(feature = "server")]
        self.drop_copy(true);
        self.leave(cost, count);
        self.pass_gap();
        true
    }

    /// The newest of what was handed over and is not taken comes back, to be read again. False if it is not that.
    pub(crate) fn hand_back(&mut self, message: Vec<u8>, stream: bool) -> bool {
        let len = if stream { message.len() as u64 } else { 1 };
        let Some((cost, gap)) = self.ahead.back().and_then(|(cost, count)| Some((*cost, count.checked_sub(len)?)))
        else {
            return false;
        };
        self.ahead.pop_back();
        #[cfg(feature = "server")]
        self.drop_copy(false);
        let offset = core::mem::take(&mut self.offset);
        if let Some((piece, cost, _)) = self.ready.front_mut() {
            piece.drain(..offset);
            *cost -= offset as u64;
            self.drop(offset);
        }
        self.missed = self.missed.saturating_sub(gap);
        self.keep(message.len() + QUEUED_MESSAGE_COST);
        self.ready.push_front((message, cost, gap));
        true
    }

    /// Something was handed over, and is not taken.
    pub(crate) fn is_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    fn leave(&mut self, cost: u64, count: u64) {
        self.left += cost;
        self.taken += count;
        self.taken_due |= count > 0;
        if self.ready.is_empty() {
            self.ready = VecDeque::new();
        }
    }

    pub(crate) fn is_readable(&self) -> bool {
        self.has_piece() || ((self.gap > 0 || self.fin) && self.may_see_end())
    }

    /// The peer has finished, as far as its application may know.
    pub(crate) fn is_at_end(&self) -> bool {
        self.fin && self.may_see_end()
    }

    /// The application has read all that has come, and seen what was left out behind it.
    pub(crate) fn is_drained(&self) -> bool {
        self.ready.is_empty() && self.ahead.is_empty() && self.gap == 0
    }

    /// What was spent and is not taken.
    pub(crate) const fn held(&self) -> u64 {
        self.spent.saturating_sub(self.left)
    }

    /// A page does not count: what is in its memory is its own application's.
    const fn keep(&mut self, len: usize) {
        if cfg!(feature = "server") {
            self.memory_len += len;
        }
    }

    const fn drop(&mut self, len: usize) {
        if cfg!(feature = "server") {
            self.memory_len -= len;
        }
    }

    /// What is in memory for the application. It is not what was spent: a fragment of no bytes costs, and is not kept.
    pub(crate) const fn memory_len(&self) -> usize {
        if cfg!(feature = "server") { self.memory_len } else { 0 }
    }

    /// A message has begun that may fit the window only with an assembly slot. A drained channel has more than half a window
    /// of credit (`credit_due`), so that a message that stalls for want of credit has cost more than this.
    pub(crate) fn wants_slot(&self) -> bool {
        !self.assembling && self.is_drained() && self.partial_cost > CHANNEL_WINDOW / 4
    }

    /// A message has begun and not ended.
    pub(crate) const fn is_within_message(&self) -> bool {
        self.partial_cost > 0
    }

    /// The credit that the peer is to be told of, once it is worth a frame.
    pub(crate) fn credit_due(&self) -> Option<u64> {
        let base = if self.assembling && self.is_drained() { self.spent } else { self.left };
        let target = base + self.window;
        (!self.fin && target >= self.granted + self.window / 2).then_some(target)
    }

    /// The credit that [`Self::credit_due`] named is on its way.
    pub(crate) const fn grant(&mut self, limit: u64) {
        self.granted_before = self.granted;
        self.granted = limit;
    }

    pub(crate) const fn granted(&self) -> u64 {
        self.granted
    }

    #[cfg(test)]
    pub(crate) const fn spent(&self) -> u64 {
        self.spent
    }

    #[cfg(test)]
    pub(crate) const fn window(&self) -> u64 {
        self.window
    }

    /// By how much the window should grow: the peer was stopped by its credit although the application takes everything at
    /// once, so that the window, and not the application, holds it back.
    pub(crate) fn growth_wanted(&mut self) -> Option<u64> {
        let starved = core::mem::take(&mut self.starved);
        // What is on its way to the application does not make it a slow one.
        let ahead: u64 = self.ahead.iter().map(|(cost, _)| cost).sum();
        (starved && self.held() <= self.window / 8 + ahead && self.window < CHANNEL_WINDOW_MAX).then_some(self.window)
    }

    pub(crate) const fn grow(&mut self, by: u64) {
        self.window += by;
    }

    /// What the window has beyond its first size.
    pub(crate) const fn grown(&self) -> u64 {
        self.window.saturating_sub(CHANNEL_WINDOW)
    }

    /// It holds, or has held since it was drained last, an assembly slot.
    #[cfg(test)]
    pub(crate) fn may_hold_assembled(&self) -> bool {
        self.assembling || self.granted > self.left + self.window
    }

    /// The application reads no more. What it has not read, and what still comes, is dropped.
    pub(crate) fn refuse(&mut self) {
        self.refused = true;
        self.clear();
    }

    pub(crate) const fn is_refused(&self) -> bool {
        self.refused
    }

    pub(crate) fn clear(&mut self) {
        self.ready = VecDeque::new();
        self.ahead = VecDeque::new();
        #[cfg(feature = "server")]
        self.forget_kept();
        self.offset = 0;
        self.gap = 0;
        self.left = self.spent;
        self.clear_partial();
        self.memory_len = 0;
    }

    /// Drops the message that will never be whole; what is whole stays readable.
    pub(crate) fn clear_partial(&mut self) {
        self.drop(self.partial.len());
        self.partial = Vec::new();
        self.partial_cost = 0;
    }

    /// As a snapshot has it. Nothing may be [ahead](Self::is_ahead), but in a session that is kept on disk: there it counts as unread.
    pub(super) fn put(&self, stream: bool, out: &mut Vec<u8>) {
        let flags = [self.starved, self.taken_due, self.fin, self.refused, self.assembling];
        out.extend(flags.map(u8::from));
        let (spent, left, granted) = (self.spent, self.left, self.granted);
        let ready = if mutated!(SnapshotWithoutUnread) { 0 } else { self.ready.len() };
        let ahead: Vec<(u64, u64, &[u8])> = self.ahead_as_unread(stream);
        let missed = self.missed - ahead.iter().map(|(_, gap, _)| gap).sum::<u64>();
        put_counts(out, &[spent, left, granted, self.granted_before, self.window, self.taken, missed]);
        put_counts(out, &[self.told_missed, self.gap, self.partial_cost, (ahead.len() + ready) as u64]);
        put_bytes(out, &self.partial);
        for (cost, gap, piece) in ahead {
            put_counts(out, &[cost, gap]);
            put_bytes(out, piece);
        }
        let mut offset = self.offset;
        for (piece, cost, gap) in self.ready.iter().take(ready) {
            put_counts(out, &[cost.saturating_sub(offset as u64), *gap]);
            put_bytes(out, piece.get(offset..).unwrap_or_default());
            offset = 0;
        }
    }

    /// Of a snapshot; `ended`: its channel was reset, and what had come of a message is gone.
    pub(super) fn revive(reader: &mut Reader<'_>, ended: bool) -> Result<Self, InvalidMessage> {
        let mut flags = [false; 5];
        for flag in &mut flags {
            *flag = reader.flag()?;
        }
        let [starved, taken_due, fin, refused, assembling] = flags;
        let [spent, left, granted, granted_before, window, taken, missed] = reader.counts()?;
        let [told_missed, gap, partial_cost, ready] = reader.counts()?;
        let partial = reader.bytes(MESSAGE_LEN_MAX)?.to_vec();
        let mut half = Self { starved, taken_due, fin, refused, assembling, ..Self::default() };
        half = Self { spent, left, granted, granted_before, window, taken, missed, told_missed, gap, ..half };
        half.keep(partial.len());
        let (mut costs, mut gaps) = (partial_cost, gap);
        let mut is_in_order = partial_cost >= partial.len() as u64 && !(fin && partial_cost > 0);
        (half.partial, half.partial_cost) = (partial, partial_cost);
        // Each takes at least twenty bytes of what is there.
        for _ in 0..ready {
            let [cost, gap] = reader.counts()?;
            let piece = reader.bytes(MESSAGE_LEN_MAX)?;
            is_in_order &= cost >= piece.len() as u64;
            (costs, gaps) = (costs.saturating_add(cost), gaps.saturating_add(gap));
            half.keep(piece.len() + QUEUED_MESSAGE_COST);
            half.ready.push_back((piece.to_vec(), cost, gap));
        }
        is_in_order &= (CHANNEL_WINDOW..=CHANNEL_WINDOW_MAX).contains(&window) && spent <= granted;
        is_in_order &= granted_before <= granted && granted <= spent + window;
        let held = spent.checked_sub(left).filter(|held| *held <= window + 2 * MESSAGE_LEN_MAX as u64);
        is_in_order &= held.is_some_and(|held| held == costs || (ended && held > costs));
        is_in_order &= missed <= taken && missed.saturating_add(gaps) <= told_missed;
        is_in_order &= !refused || (half.ready.is_empty() && partial_cost == 0);
        if is_in_order { Ok(half) } else { Err(InvalidMessage::UnknownValue) }
    }
}

#[cfg(not(feature = "server"))]
impl RecvHalf {
    fn has_piece(&self) -> bool {
        !self.ready.is_empty()
    }

    const fn may_see_end(&self) -> bool {
        true
    }

    const fn ahead_as_unread(&self, _: bool) -> Vec<(u64, u64, &[u8])> {
        Vec::new()
    }
}

#[cfg(all(test, feature = "server"))]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use alloc::vec;

    use super::*;

    #[test]
    fn a_fragment_of_no_bytes_costs_and_is_not_held() {
        let mut recv = RecvHalf::with_window(CHANNEL_WINDOW);
        for _ in 0..100 {
            recv.check(0, 1_000).expect("within the credit");
            recv.push(&[], true);
        }
        assert_eq!((recv.spent, recv.memory_len()), (100 * DATA_FRAME_COST, 0));
        recv.push(&[1, 2, 3], false);
        assert_eq!(recv.memory_len(), 3 + QUEUED_MESSAGE_COST);
        assert_eq!(recv.pop(), Some(vec![1, 2, 3]));
        assert_eq!(recv.memory_len(), 0);
    }

    /// As both ways of reading give it.
    fn read(recv: &mut RecvHalf, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        let filled = recv.read_to(&mut bytes);
        bytes.truncate(filled);
        (filled > 0).then_some(bytes)
    }

    #[test]
    fn what_was_left_out_is_told_where_it_is_missing() {
        told_where_it_is_missing(RecvHalf::read);
        told_where_it_is_missing(|recv| read(recv, 9));
    }

    fn told_where_it_is_missing(read: impl Fn(&mut RecvHalf) -> Option<Vec<u8>>) {
        let mut recv = RecvHalf::with_window(CHANNEL_WINDOW);
        recv.push(b"ab", false);
        recv.leave_out(3).expect("between messages");
        recv.leave_out(4).expect("between messages");
        recv.push(b"cd", false);
        recv.push(b"ef", false);
        assert_eq!((read(&mut recv).as_deref(), recv.missed, recv.taken), (Some(b"ab".as_slice()), 0, 2));
        assert!(recv.is_behind_gap());
        assert_eq!((read(&mut recv).as_deref(), recv.missed, recv.taken), (Some(b"cdef".as_slice()), 7, 13));
        recv.leave_out(5).expect("between messages");
        assert_eq!((read(&mut recv), recv.missed, recv.taken), (None, 12, 18), "also where nothing follows");
        recv.push(b"", true);
        assert_eq!(recv.leave_out(1), Err(PeerMisbehaved::GapOutOfPlace), "within a message");
        recv.push(b"", false);
        assert_eq!(recv.leave_out(0), Err(PeerMisbehaved::GapOutOfPlace), "nothing");
        assert_eq!(recv.leave_out(u64::MAX), Err(PeerMisbehaved::CountOutOfRange));
    }

    #[test]
    fn a_stream_is_read_as_far_as_there_is_room_whatever_its_pieces() {
        let mut recv = RecvHalf::with_window(CHANNEL_WINDOW);
        for piece in [&b"abc"[..], b"", b"de", b"fghij"] {
            recv.push(piece, false);
        }
        let spent = recv.spent;
        assert_eq!(read(&mut recv, 2).as_deref(), Some(&b"ab"[..]));
        assert_eq!(read(&mut recv, 5).as_deref(), Some(&b"cdefg"[..]));
        assert_eq!(
            (recv.taken, recv.memory_len()),
            (7, 5 + QUEUED_MESSAGE_COST),
            "a piece is held as long as a part of it"
        );
        assert_eq!((read(&mut recv, 0), recv.read().as_deref(), read(&mut recv, 9)), (None, Some(&b"hij"[..]), None));
        assert_eq!((recv.left, recv.taken, recv.memory_len()), (spent, 10, 0));
    }

    #[test]
    fn what_was_handed_over_ahead_is_taken_before_what_is_missing_behind_it() {
        let mut recv = RecvHalf::with_window(CHANNEL_WINDOW);
        recv.push(b"a", false);
        recv.leave_out(3).expect("between messages");
        assert_eq!(recv.hand_over(false).as_deref(), Some(b"a".as_slice()));
        assert_eq!((recv.hand_over(false), recv.missed, recv.taken), (None, 0, 0));
        recv.push(b"b", false);
        assert_eq!(recv.hand_over(false).as_deref(), Some(b"b".as_slice()));
        assert_eq!((recv.missed, recv.taken), (3, 0));
        assert!(recv.take());
        assert_eq!(recv.taken, 1);
        assert!(recv.take());
        assert_eq!(recv.taken, 5);
    }
}
