//! For the simulation: what must hold within a session at any time, and the numbers that the other end is held to.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{Session, outbound::is_due, turns::STEPS};
use crate::{
    channel::ChannelState,
    ids::ChannelId,
    limits::{
        ASSEMBLING_CHANNELS_MAX, CHANNEL_WINDOW, CHANNEL_WINDOW_MAX, CHANNELS_HELD_MAX, DATAGRAM_QUEUE_LEN_MAX,
        DATAGRAMS_MAX, FAREWELLS_LEN_MAX, FAREWELLS_MAX, FIRST_RESERVE_LEN, MESSAGE_LEN_MAX, PASSED_OVER_MAX,
        RETAINED_FRAME_COST, SESSION_HELD_LEN_MAX, SESSION_QUEUE_LEN_MAX, TURN_LEN_MAX,
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
        let (acked, counted) = (self.resend.acked(), self.resend.counted());
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

    /// Whether a TAKEN is due on any channel, and whether a CREDIT is.
    pub(crate) fn dues(&self) -> (bool, bool) {
        let live = || self.channels.values().filter(|channel| channel.reset.is_none());
        let credit = !self.claims.is_tight() && live().any(|channel| channel.recv.credit_due().is_some());
        (live().any(|channel| channel.recv.taken_due), credit)
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
        let most = self.resend_len_max + FIRST_RESERVE_LEN + TURN_LEN_MAX + FAREWELLS_LEN_MAX + 2 * RETAINED_FRAME_COST;
        assert!(self.resend.len() <= most, "{} bytes retained", self.resend.len());
        let unread: usize = self.channels.values().map(|channel| channel.recv.memory_len()).sum();
        assert_eq!(self.unread_len, unread, "bytes unread");
        let datagrams: usize = self.channel_datagrams.values().map(|datagrams| datagrams.held()).sum();
        assert_eq!(self.datagrams_len, datagrams, "bytes of datagrams unread");
        let queued: usize = self.channels.values().map(|channel| channel.send.queued_len()).sum();
        assert_eq!(self.queued_len, queued, "bytes queued");
        assert!(self.queued_len <= SESSION_QUEUE_LEN_MAX, "{} bytes queued", self.queued_len);
        assert!(self.outgoing.len() <= DATAGRAM_QUEUE_LEN_MAX && self.outgoing.waiting() <= DATAGRAMS_MAX);
        assert!(self.channel_datagrams.ids().all(|id| self.channels.get(id).is_some()), "datagrams of no channel");
        assert!(self.held_len() <= SESSION_HELD_LEN_MAX, "{} bytes held", self.held_len());
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
            live.count() + self.farewells.places().filter(ours).count()
        };
        assert_eq!(
            (self.live_here.into(), self.live_there.into()),
            (live(true), live(false)),
            "live channels here and there"
        );
        assert!(self.live_here <= self.peers.channels && self.live_there <= self.ours.channels);
        let theirs = self.channels.ids().filter(|id| id.0 & 1 != self.role.bit()).count();
        assert_eq!(usize::from(self.held_there), theirs, "channels of the peer's");
        assert!(theirs <= CHANNELS_HELD_MAX && self.passed_over.len() <= PASSED_OVER_MAX);
        // A DONE behind a FIN that was sealed while there was room.
        assert!(self.farewells.len() <= FAREWELLS_MAX, "{} farewells", self.farewells.len());
        let assembling = self.channels.values().filter(|channel| channel.recv.assembling).count();
        assert_eq!(usize::from(self.assembling), assembling, "assembly slots");
        assert!(assembling <= ASSEMBLING_CHANNELS_MAX);
        let turns: BTreeSet<_> = self.turns.iter(STEPS).collect();
        assert_eq!(turns.len(), self.turns.iter(STEPS).count(), "a channel has two turns");
        assert!(turns.iter().all(|id| self.channels.get(*id).is_some()), "a channel that is gone has a turn");
        for (id, channel) in self.channels.iter() {
            assert!(!self.can_seal(id) || turns.contains(&id), "{id:?} could go on, and has no turn");
            assert!(!is_due(channel, false, false) || self.due.contains(id), "{id:?} has news that nobody will tell");
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
