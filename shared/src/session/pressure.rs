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
    /// Tells the budget what is held now.
    pub(crate) fn settle_account(&mut self) {
        self.claims.hold(self.held_len());
    }

    /// What is held counts as another unit's from now on.
    #[cfg(feature = "server")]
    pub(crate) fn count_on(&mut self, account: crate::Account) {
        self.claims.move_to(account);
    }

    /// The peer has sent something: the session gives way at once where that is too much.
    pub(crate) fn make_way(&mut self) {
        self.settle_account();
        while self.claims.is_full()
            && self.claims.account().is_some_and(|account| self.held_len() >= account.held() / FAIR_PART_OF_UNIT)
            && self.give_way()
        {
            self.settle_account();
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

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use alloc::{vec, vec::Vec};

    use crate::{
        Account, Budget, ChannelError, Instant, Kind, Received, ResetCode, Role, Session,
        codec::Reader,
        frame::Frame,
        handshake::hello::Limits,
        ids::{ChannelId, SessionId},
        limits::{RECORD_PLAINTEXT_LEN_MAX, TURN_LEN_MAX},
    };

    const KIB: usize = 1_024;

    fn session(account: Account) -> Session {
        let mut session = Session::new(Role::Server, account);
        session.connected();
        session.set_peers_limits(Limits::default());
        session.begin(SessionId([1; 16]));
        session
    }

    /// The peer opens a channel and sends so much on it; nobody reads it.
    fn upload(session: &mut Session, id: u32, len: usize) {
        let channel = ChannelId(id);
        let mut hear = |frame: Frame<'_>| session.handle_frame(Instant::default(), &frame).expect("within the rules");
        hear(Frame::Open { channel, kind: Kind::MESSAGES, label: "drop" });
        for _ in 0..len / TURN_LEN_MAX {
            hear(Frame::Data { channel, more: false, data: &[7; TURN_LEN_MAX] });
        }
        session.make_way();
    }

    /// Somebody else's bytes that wait to be sent.
    fn queue(session: &mut Session, len: usize) {
        let id = session.open("desk", Kind::MESSAGES).expect("a good label");
        session.channel(id).send(vec![7; len]).expect("an empty queue takes one message");
        session.settle_account();
    }

    fn said(session: &mut Session) -> (Vec<ChannelId>, Vec<(ChannelId, ResetCode)>) {
        let mut record = Vec::new();
        session.fill(Instant::default(), &mut record, RECORD_PLAINTEXT_LEN_MAX);
        let (mut credit, mut reset, mut reader) = (Vec::new(), Vec::new(), Reader::new(&record));
        while let Some(frame) = Frame::decode(&mut reader).expect("well formed") {
            match frame {
                Frame::Credit { channel, .. } => credit.push(channel),
                Frame::Reset { channel, code } => reset.push((channel, code)),
                _ => {}
            }
        }
        (credit, reset)
    }

    #[test]
    fn where_memory_is_tight_a_unit_above_its_share_gets_no_credit_and_gets_it_when_there_is_room_again() {
        let budget = Budget::new(1_024 * KIB);
        let (mut greedy, mut other) = (session(budget.account()), session(budget.account()));
        upload(&mut greedy, 0, 240 * KIB);
        upload(&mut greedy, 2, 240 * KIB);
        for _ in 0..9 {
            assert!(matches!(greedy.channel(ChannelId(0)).recv(), Ok(Received::Message(_))));
        }
        greedy.settle_account();
        queue(&mut other, 600 * KIB);
        assert!(budget.is_tight() && !budget.is_full());
        assert_eq!(said(&mut greedy), (vec![], vec![]), "no credit, and no harm");
        let id = greedy.open("desk", Kind::MESSAGES).expect("a good label");
        greedy.channel(id).send(vec![1]).expect("an empty queue takes one");
        assert!(matches!(greedy.channel(id).send(vec![1]), Err((ChannelError::Blocked, _))), "and then no more");
        drop(other);
        greedy.look_again();
        assert!(greedy.has_frames());
        assert_eq!(said(&mut greedy), (vec![ChannelId(0)], vec![]));
        greedy.channel(id).send(vec![1]).expect("there is room");
    }

    #[test]
    fn where_memory_is_full_the_heaviest_channel_of_a_unit_above_its_share_is_reset_and_who_is_below_loses_nothing() {
        let budget = Budget::new(1_024 * KIB);
        let (mut greedy, mut honest) = (session(budget.account()), session(budget.account()));
        upload(&mut honest, 0, 240 * KIB);
        upload(&mut greedy, 0, 200 * KIB);
        upload(&mut greedy, 2, 240 * KIB);
        upload(&mut greedy, 4, 200 * KIB);
        upload(&mut greedy, 6, 240 * KIB);
        assert!(!budget.is_full(), "it has made room at once: {}", budget.held());
        honest.make_way();
        let (_, reset) = said(&mut greedy);
        assert_eq!(reset, [(ChannelId(6), ResetCode::Busy)], "the heaviest, and no more than is needed");
        let (_, reset) = said(&mut honest);
        assert_eq!(reset, []);
        assert_eq!(honest.heaviest_len(), 15 * (TURN_LEN_MAX + crate::limits::QUEUED_MESSAGE_COST));
    }

    /// Nine that hold a little less than the honest upload made it the one that holds most.
    #[test]
    fn an_upload_within_its_share_is_not_the_victim_of_accomplices_that_hold_a_little_less() {
        let budget = Budget::new(2_048 * KIB);
        let mut honest = session(budget.account());
        upload(&mut honest, 0, 240 * KIB);
        let mut accomplices: Vec<_> = (0..9).map(|_| session(budget.account())).collect();
        for accomplice in &mut accomplices {
            upload(accomplice, 0, 224 * KIB);
        }
        assert!(budget.is_full());
        for session in accomplices.iter_mut().chain([&mut honest]) {
            session.make_way();
            assert_eq!(said(session).1, [], "nobody is above its share");
        }
        upload(&mut accomplices[0], 2, 224 * KIB);
        assert_eq!(said(&mut accomplices[0]).1.len(), 1, "who goes beyond it gives way");
        honest.make_way();
        assert_eq!(said(&mut honest).1, []);
    }
}
