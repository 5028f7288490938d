//! Counted frames that were sealed and are not acknowledged: what a new connection sends again.
//!
//! ```text
//! acked ──────── sealed on this connection ──────── sealed before, to be sent again
//!        frames[0]              …            frames[next]          …
//! ```
//!
//! Frames are counted, not numbered: the peer counts the same, because a WebSocket is ordered. What is replaced here must
//! therefore keep its place in the count: the DATA and FIN frames of a reset channel become SKIP.

use alloc::{collections::VecDeque, string::String, vec::Vec};

use bytes::Bytes;

use crate::{
    channel::Kind,
    close::ResetCode,
    codec::{Reader, put_counts},
    error::{InvalidMessage, PeerMisbehaved},
    frame::Frame,
    ids::ChannelId,
    limits::{RETAINED_FRAME_COST, TURN_LEN_MAX},
};

/// A counted frame that can be written again.
#[derive(Debug)]
pub(super) enum Retained {
    Open { channel: ChannelId, kind: Kind, label: String },
    Data { channel: ChannelId, more: bool, data: Bytes },
    Fin { channel: ChannelId },
    Reset { channel: ChannelId, code: ResetCode },
    Done { channel: ChannelId, count: u64 },
    Skip { count: u32 },
    Gap { channel: ChannelId, count: u64 },
}

impl Retained {
    fn frame(&self) -> Frame<'_> {
        match self {
            Self::Open { channel, kind, label } => Frame::Open { channel: *channel, kind: *kind, label },
            Self::Data { channel, more, data } => Frame::Data { channel: *channel, more: *more, data },
            Self::Fin { channel } => Frame::Fin { channel: *channel },
            Self::Reset { channel, code } => Frame::Reset { channel: *channel, code: *code },
            Self::Done { channel, count } => Frame::Done { channel: *channel, count: *count },
            Self::Skip { count } if mutated!(SkipOneTooFew) => Frame::Skip { count: (*count - 1).max(1) },
            Self::Skip { count } => Frame::Skip { count: *count },
            Self::Gap { channel, count } => Frame::Gap { channel: *channel, count: *count },
        }
    }

    /// As a snapshot has it.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        self.frame().encode(out);
    }

    /// Of a snapshot.
    pub(super) fn revive(reader: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        match Frame::decode(reader)? {
            Some(Frame::Open { channel, kind, label }) => Ok(Self::Open { channel, kind, label: label.into() }),
            Some(Frame::Data { channel, more, data }) => {
                Ok(Self::Data { channel, more, data: Bytes::copy_from_slice(data) })
            }
            Some(Frame::Fin { channel }) => Ok(Self::Fin { channel }),
            Some(Frame::Reset { channel, code }) => Ok(Self::Reset { channel, code }),
            Some(Frame::Done { channel, count }) => Ok(Self::Done { channel, count }),
            Some(Frame::Skip { count: count @ 1.. }) => Ok(Self::Skip { count }),
            Some(Frame::Gap { channel, count }) => Ok(Self::Gap { channel, count }),
            _ => Err(InvalidMessage::UnknownValue),
        }
    }

    fn count(&self) -> u64 {
        match self {
            Self::Skip { count } => u64::from(*count),
            _ => 1,
        }
    }

    fn cost(&self) -> usize {
        match self {
            Self::Data { data, .. } => data.len() + RETAINED_FRAME_COST,
            _ => RETAINED_FRAME_COST,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Resend {
    frames: VecDeque<Retained>,
    /// The first of `frames` that was not sealed on this connection.
    next: usize,
    acked: u64,
    /// How far this connection has come: `acked` and the counts of `frames[..next]`.
    sealed: u64,
    len: usize,
    /// It was kept by another process, whose client may know of more.
    #[cfg(feature = "server")]
    is_of_another: bool,
}

impl Resend {
    /// From now on a client that has received more than was ever sealed here is told that its session is not known.
    #[cfg(feature = "server")]
    pub(super) const fn is_of_another_process(&mut self) {
        self.is_of_another = true;
    }

    /// Server: its client has received what the process before this one has sent and did not keep.
    pub(super) fn is_behind_of(&self, received: u64) -> bool {
        #[cfg(feature = "server")]
        if self.is_of_another {
            return received > self.counted();
        }
        let _ = received;
        false
    }

    /// What the frames hold, with what each costs beside its bytes.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn acked(&self) -> u64 {
        self.acked
    }

    pub(super) const fn sealed(&self) -> u64 {
        self.sealed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Frames of an earlier connection wait to be sent again, before anything new.
    pub(super) fn is_behind(&self) -> bool {
        self.next < self.frames.len()
    }

    /// Writes a new counted frame and keeps it.
    pub(super) fn push(&mut self, frame: Retained, out: &mut Vec<u8>) {
        frame.frame().encode(out);
        self.len += frame.cost();
        self.sealed += frame.count();
        self.frames.push_back(frame);
        self.next = self.frames.len();
    }

    /// Writes frames again until `max` bytes are reached.
    pub(super) fn fill(&mut self, out: &mut Vec<u8>, max: usize) {
        while let Some(frame) = self.frames.get(self.next) {
            let start = out.len();
            frame.frame().encode(out);
            if out.len() > max {
                out.truncate(start);
                return;
            }
            self.sealed += frame.count();
            self.next += 1;
        }
    }

    /// The peer has received so many counted frames.
    pub(super) fn acknowledge(&mut self, mut count: u64) -> Result<(), PeerMisbehaved> {
        if count < self.acked || count > self.sealed {
            return Err(PeerMisbehaved::CountOutOfRange);
        }
        if mutated!(AckFreesOneTooMany) {
            count = self.sealed.min(count + 1);
        }
        while self.acked < count
            && let Some(frame) = self.frames.front_mut()
        {
            let missing = count - self.acked;
            if let Retained::Skip { count: skipped } = frame
                && u64::from(*skipped) > missing
            {
                *skipped -= u32::try_from(missing).unwrap_or(u32::MAX);
                self.acked = count;
                return Ok(());
            }
            self.acked += frame.count();
            self.len -= frame.cost();
            self.frames.pop_front();
            self.next = self.next.saturating_sub(1);
        }
        if self.frames.is_empty() {
            // An idle session holds no buffer.
            self.frames = VecDeque::new();
        }
        Ok(())
    }

    /// A new connection: what the peer has not received is to be sent again.
    pub(super) fn resume(&mut self, received: u64) -> Result<(), PeerMisbehaved> {
        self.acknowledge(received)?;
        self.next = 0;
        self.sealed = self.acked;
        #[cfg(test)]
        self.mutate_resumption();
        Ok(())
    }

    #[cfg(test)]
    fn mutate_resumption(&mut self) {
        if mutated!(ResumeNothing) {
            self.next = self.frames.len();
        } else if mutated!(ResumeOneTooFew) {
            self.next = self.frames.len().min(1);
        }
        self.sealed += self.frames.iter().take(self.next).map(Retained::count).sum::<u64>();
        let done = self.frames.iter_mut().filter(|frame| matches!(frame, Retained::Done { .. }));
        for frame in done.filter(|_| mutated!(DoneNotRetained)) {
            *frame = Retained::Skip { count: 1 };
        }
    }

    /// As a snapshot has it.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let frames = if mutated!(SnapshotWithoutUnacknowledged) { 0 } else { self.frames.len() };
        put_counts(out, &[self.acked, frames as u64]);
        self.frames.iter().take(frames).for_each(|frame| frame.put(out));
    }

    /// Of a snapshot: the server may have all of it, and a resumption says how much it has.
    pub(super) fn revive(reader: &mut Reader<'_>) -> Result<Self, InvalidMessage> {
        let [acked, count] = reader.counts()?;
        let mut frames = VecDeque::new();
        for _ in 0..count {
            frames.push_back(Retained::revive(reader)?);
        }
        let (mut len, mut sealed) = (0, acked);
        for frame in &frames {
            len += frame.cost();
            sealed += frame.count();
        }
        Ok(Self {
            next: frames.len(),
            frames,
            acked,
            sealed,
            len,
            #[cfg(feature = "server")]
            is_of_another: false,
        })
    }

    /// Counted frames that were ever sealed.
    pub(super) fn counted(&self) -> u64 {
        self.acked + self.frames.iter().map(Retained::count).sum::<u64>()
    }

    #[cfg(test)]
    pub(super) fn audit(&self) {
        assert!(self.next <= self.frames.len(), "beyond the frames");
        assert_eq!(self.len, self.frames.iter().map(Retained::cost).sum::<usize>(), "bytes retained");
        let sealed: u64 = self.frames.iter().take(self.next).map(Retained::count).sum();
        assert_eq!(self.sealed, self.acked + sealed, "frames sealed on this connection");
    }

    /// The channel was reset: its bytes are of no use any more, but their places must stay counted. A few small frames are
    /// not worth the search.
    pub(super) fn skip(&mut self, id: ChannelId) {
        if self.len < TURN_LEN_MAX {
            return;
        }
        let mut kept: VecDeque<Retained> = VecDeque::with_capacity(self.frames.len());
        let mut next = 0;
        for (index, frame) in core::mem::take(&mut self.frames).into_iter().enumerate() {
            let frame = match frame {
                Retained::Data { channel, .. } | Retained::Fin { channel } | Retained::Gap { channel, .. }
                    if channel == id =>
                {
                    Retained::Skip { count: 1 }
                }
                other => other,
            };
            // Not over the border between what was sealed on this connection and what was not.
            match (kept.back_mut(), &frame) {
                (Some(Retained::Skip { count }), Retained::Skip { count: more })
                    if index != self.next && count.checked_add(*more).is_some() =>
                {
                    *count += more;
                }
                _ => kept.push_back(frame),
            }
            if index < self.next {
                next = kept.len();
            }
        }
        self.len = kept.iter().map(Retained::cost).sum();
        self.next = next;
        self.frames = kept;
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::codec::Reader;

    fn data(channel: u32, byte: u8) -> Retained {
        Retained::Data { channel: ChannelId(channel), more: false, data: vec![byte; 8_000].into() }
    }

    /// What a peer would count of these bytes.
    fn count(bytes: &[u8]) -> u64 {
        let mut reader = Reader::new(bytes);
        let mut count = 0;
        while let Ok(Some(frame)) = Frame::decode(&mut reader) {
            count += frame.count();
        }
        count
    }

    #[test]
    fn what_was_not_received_is_sent_again_and_counts_stay() {
        let mut resend = Resend::default();
        let mut out = Vec::new();
        for byte in 0..10 {
            resend.push(data(u32::from(byte % 2), byte), &mut out);
        }
        assert_eq!((resend.sealed(), count(&out)), (10, 10));
        resend.acknowledge(3).expect("in range");
        resend.skip(ChannelId(1));
        resend.resume(5).expect("in range");
        let mut again = Vec::new();
        resend.fill(&mut again, 1_000_000);
        assert_eq!((resend.sealed(), count(&again)), (10, 5));
        assert!(!resend.is_behind());
        resend.acknowledge(10).expect("in range");
        assert!(resend.is_empty());
        assert_eq!(resend.len, 0);
    }

    #[test]
    fn an_acknowledgement_may_end_within_a_skip() {
        let mut resend = Resend::default();
        let mut out = Vec::new();
        for byte in 0..10 {
            resend.push(data(1, byte), &mut out);
        }
        resend.skip(ChannelId(1));
        assert_eq!(resend.len(), RETAINED_FRAME_COST);
        resend.acknowledge(4).expect("in range");
        resend.resume(4).expect("in range");
        let mut again = Vec::new();
        resend.fill(&mut again, 1_000_000);
        assert_eq!(hex::encode(&again), "0500000006");
    }

    #[test]
    fn a_count_that_goes_back_or_beyond_is_refused() {
        let mut resend = Resend::default();
        resend.push(data(1, 1), &mut Vec::new());
        resend.push(data(1, 1), &mut Vec::new());
        resend.acknowledge(1).expect("in range");
        assert_eq!(resend.acknowledge(0), Err(PeerMisbehaved::CountOutOfRange));
        assert_eq!(resend.acknowledge(3), Err(PeerMisbehaved::CountOutOfRange));
        resend.resume(1).expect("in range");
        assert_eq!(resend.acknowledge(2), Err(PeerMisbehaved::CountOutOfRange), "it was not sealed on this connection");
    }
}
