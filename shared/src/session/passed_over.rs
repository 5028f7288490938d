//! Ids that an OPEN has passed over: whoever opens a channel may take any id above its last one, and those between were never
//! opened. That happens where a channel is given up before its OPEN has left, and at the begin of a session that takes
//! another's place. A page leaves that check to servers.

use alloc::vec::Vec;

use super::Session;
use crate::{ids::ChannelId, limits::PASSED_OVER_MAX};

/// Spans of ids that were never opened, of both ends: the first of each and the last.
#[derive(Debug)]
pub(super) struct PassedOver(Vec<(u32, u32)>);

impl PassedOver {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    fn insert(&mut self, first: u32, last: u32) {
        if self.0.len() >= PASSED_OVER_MAX {
            self.0.remove(0);
        }
        self.0.push((first, last));
    }

    fn contains(&self, id: u32) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&id) && first & 1 == id & 1)
    }
}

impl Session {
    /// A channel is opened, by either end, where the least id was `next`.
    pub(super) fn pass_over(&mut self, next: u32, id: ChannelId) {
        if id.0 > next {
            self.passed_over.insert(next, id.0 - 2);
        }
    }

    /// True if the id was never opened, as far as is remembered.
    pub(super) fn is_unborn(&self, id: ChannelId) -> bool {
        let next = if id.0 & 1 == self.role.bit() { self.next_announced } else { self.peers_next_id };
        id.0 >= next || self.passed_over.contains(id.0)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use crate::{
        Budget, Instant, Kind, PeerMisbehaved, ResetCode, Role, Session, frame::Frame, ids::ChannelId,
        limits::PASSED_OVER_MAX,
    };

    fn hear(session: &mut Session, frame: Frame<'_>) -> Result<(), PeerMisbehaved> {
        session.handle_frame(Instant::default(), &frame)
    }

    const fn open(id: u32) -> Frame<'static> {
        Frame::Open { channel: ChannelId(id), kind: Kind::MESSAGES, label: "echo" }
    }

    const fn data(id: u32) -> Frame<'static> {
        Frame::Data { channel: ChannelId(id), more: false, data: &[7] }
    }

    /// It was counted and ignored.
    #[test]
    fn a_frame_for_an_id_that_an_open_passed_over_is_an_error_and_one_for_a_channel_that_is_gone_is_none() {
        let never = Err(PeerMisbehaved::ChannelNeverOpened);
        let mut session = Session::new(Role::Server, Budget::default());
        hear(&mut session, open(6)).expect("ids may be passed over");
        for id in [0, 2, 4] {
            assert_eq!(hear(&mut session, data(id)), never, "{id}");
        }
        hear(&mut session, open(8)).expect("the next");
        hear(&mut session, open(400)).expect("ids may be passed over");
        for id in [6, 8, 400] {
            hear(&mut session, data(id)).expect("it is open");
        }
        for id in [0, 10, 398, 402] {
            assert_eq!(hear(&mut session, data(id)), never, "{id}");
            assert_eq!(hear(&mut session, Frame::Reset { channel: ChannelId(id), code: ResetCode::Cancelled }), never);
        }
        session.channel(ChannelId(8)).reset(ResetCode::Refused);
        session.channel(ChannelId(8)).release();
        assert!(!session.has_channel(ChannelId(8)));
        hear(&mut session, data(8)).expect("it has crossed the RESET");
        assert_eq!(
            hear(&mut session, Frame::Credit { channel: ChannelId(1), limit: 1 << 20 }),
            never,
            "not ours either"
        );
    }

    #[test]
    fn spans_beyond_the_bound_are_forgotten_and_their_frames_ignored() {
        let mut session = Session::new(Role::Server, Budget::default());
        for number in 0..=u32::try_from(PASSED_OVER_MAX).expect("a few") {
            hear(&mut session, open(2 + 4 * number)).expect("each passes one over");
        }
        assert_eq!(session.passed_over.len(), PASSED_OVER_MAX);
        hear(&mut session, data(0)).expect("the oldest is forgotten");
        assert_eq!(hear(&mut session, data(4)), Err(PeerMisbehaved::ChannelNeverOpened));
    }
}
