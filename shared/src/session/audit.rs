//! For the simulation: what must hold within a session at any time, and the numbers that the other end is held to.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{Session, outbound::is_due};
use crate::{
    channel::ChannelState,
    ids::ChannelId,
    limits::{
        ASSEMBLING_CHANNELS_MAX, CHANNEL_WINDOW, CHANNEL_WINDOW_MAX, DATAGRAM_QUEUE_LEN_MAX, DATAGRAMS_MAX,
        MESSAGE_LEN_MAX, RESEND_LEN_MAX, RETAINED_FRAME_COST, SESSION_QUEUE_LEN_MAX, TURN_LEN_MAX,
    },
};

/// A session's counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) received: u64,
    pub(crate) acked: u64,
    /// Counted frames that were ever sealed.
    pub(crate) counted: u64,
    pub(crate) retained: usize,
    pub(crate) channels: usize,
    pub(crate) claimed: usize,
}

/// One channel's credit, as this end sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credit {
    pub(crate) id: ChannelId,
    /// As a sender.
    pub(crate) spent: u64,
    pub(crate) limit: u64,
    /// As a receiver.
    pub(crate) peer_spent: u64,
    pub(crate) granted: u64,
    pub(crate) window: u64,
}

impl Session {
    pub(crate) fn counts(&self) -> Counts {
        let (acked, counted) = self.resend.span();
        Counts {
            received: self.received,
            acked,
            counted,
            retained: self.resend.len(),
            channels: self.channels.len(),
            claimed: self.claims.claimed(),
        }
    }

    pub(crate) fn credits(&self) -> Vec<Credit> {
        let live = self.channels.iter().filter(|(_, channel)| channel.announced && channel.reset.is_none());
        let credit = |id: ChannelId, channel: &ChannelState| Credit {
            id,
            spent: channel.send.spent(),
            limit: channel.send.limit,
            peer_spent: channel.recv.spent(),
            granted: channel.recv.granted(),
            window: channel.recv.window(),
        };
        live.map(|(id, channel)| credit(id, channel)).collect()
    }

    pub(crate) fn datagrams_waiting(&self, id: ChannelId) -> u64 {
        self.outgoing.count(id)
    }

    pub(crate) fn has_datagrams_waiting(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Everything that can be seen from within.
    pub(crate) fn audit(&self) {
        self.resend.audit();
        let most = RESEND_LEN_MAX + TURN_LEN_MAX + RETAINED_FRAME_COST * (64 + self.channels.len());
        assert!(self.resend.len() <= most, "{} bytes retained", self.resend.len());
        let queued: usize = self.channels.values().map(|channel| channel.send.queued_len()).sum();
        assert_eq!(self.queued_len, queued, "bytes queued");
        assert!(self.queued_len <= SESSION_QUEUE_LEN_MAX, "{} bytes queued", self.queued_len);
        assert!(self.outgoing.len() <= DATAGRAM_QUEUE_LEN_MAX && self.outgoing.waiting() <= DATAGRAMS_MAX);
        assert!(self.channel_datagrams.ids().all(|id| self.channels.get(id).is_some()), "datagrams of no channel");
        let grown: u64 = self.channels.values().map(|channel| channel.recv.grown()).sum();
        if self.over {
            assert_eq!(self.claims.claimed(), 0, "claimed after the end");
            assert!(self.resend.is_empty() && self.queued_len == 0 && self.outgoing.is_empty() && !self.has_frames());
            return;
        }
        let claimed = usize::try_from(grown).expect("bounded") + self.resend_len_max - self.role.resend_len();
        assert_eq!(self.claims.claimed(), claimed, "claimed of the budget");
        self.audit_channels();
    }

    fn audit_channels(&self) {
        let live = |here: bool| {
            let ours = |id: &ChannelId| (id.0 & 1 == self.role.bit()) == here;
            let live = self.channels.iter().filter(|(id, channel)| ours(id) && channel.announced && !channel.is_over());
            live.count()
        };
        assert_eq!((self.live_here, self.live_there), (live(true), live(false)), "live channels here and there");
        assert!(
            self.live_here <= usize::from(self.peers.channels) && self.live_there <= usize::from(self.ours.channels)
        );
        let assembling = self.channels.values().filter(|channel| channel.recv.assembling).count();
        assert_eq!(self.assembling, assembling, "assembly slots");
        assert!(assembling <= ASSEMBLING_CHANNELS_MAX);
        let turns: BTreeSet<_> = self.turns.iter().collect();
        assert_eq!(turns.len(), self.turns.len(), "a channel has two turns");
        for (id, channel) in self.channels.iter() {
            assert!(!self.can_seal(id) || turns.contains(&id), "{id:?} could go on, and has no turn");
            assert!(!is_due(channel) || self.due.contains(id), "{id:?} has news that nobody will tell");
            let waits = !channel.announced && channel.reset.is_none();
            assert_eq!(waits, self.unannounced.contains(id), "{id:?} waits for its OPEN");
            let wants_slot = channel.recv.wants_slot() && !channel.released;
            assert!(!wants_slot || assembling == ASSEMBLING_CHANNELS_MAX, "{id:?} waits for a free slot");
            assert!(channel.send.spent() <= channel.send.limit, "{id:?} has spent what it was not granted");
            let (recv, most) = (&channel.recv, MESSAGE_LEN_MAX as u64 * 2);
            assert!(recv.spent() <= recv.granted(), "{id:?}: credit exceeded");
            assert!((CHANNEL_WINDOW..=CHANNEL_WINDOW_MAX).contains(&recv.window()), "{id:?}: {} window", recv.window());
            let room = recv.window() + if recv.may_hold_assembled() { most } else { 0 };
            assert!(recv.held() <= room, "{id:?} holds {} bytes in a window of {}", recv.held(), recv.window());
        }
    }
}
