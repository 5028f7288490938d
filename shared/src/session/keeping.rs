//! Server: a session that is kept on disk, so that it goes on in the process that comes after this one.
//!
//! ```text
//! change ─► changes ─► take_state() ─► on disk ─► state_is_kept(): what is to leave may leave, what has come may be read
//! ```
//!
//! Whoever keeps it holds back what was sealed after a change until that change is on disk ([`Session::kept_to`]); what has come is
//! held back here. A state is the client's snapshot from the other end: both directions, what was handed over and is not taken among
//! them, and what services have noted.

use alloc::{boxed::Box, vec::Vec};

use super::Session;
use crate::{
    budget::Account,
    close::ResetCode,
    error::InvalidMessage,
    ids::{ChannelId, SessionId},
    limits::{NOTE_LEN_MAX, STREAM_QUEUE_LEN_MAX},
    session::Role,
};

/// Room behind a state for what its keeper puts there, so that it is not moved for that.
const STATE_ROOM: usize = 256;

/// How far a session is kept.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// Counts all that must be on disk before anything that follows from it leaves.
    changes: u64,
    /// Of these, as far as the state goes that was taken last, and as far as one is on disk.
    taken: u64,
    kept: u64,
    /// The least id that the peer had not opened then.
    opened_taken: u32,
    opened_kept: u32,
    /// What services have noted, in bytes.
    notes_len: usize,
    /// How long the last state was: the next is about as long.
    state_len: usize,
}

/// What is to be on disk of a session.
#[derive(Debug)]
pub enum ToKeep {
    /// This, as far as these changes; to be told by [`Session::state_is_kept`].
    State(u64, Vec<u8>),
    /// Nothing any more: it has ended.
    Nothing,
}

impl Session {
    /// Server: from now on nothing follows from what is not kept.
    pub fn keep(&mut self) {
        self.keeping.get_or_insert_with(|| Box::new(Keeping { changes: 1, ..Keeping::default() }));
        self.channels.values_mut().for_each(|channel| channel.recv.keep_back());
    }

    /// Nobody keeps it any more: it ends with this process.
    pub fn let_go(&mut self) {
        self.keeping = None;
        for (id, channel) in self.channels.iter_mut() {
            let before = channel.recv.memory_len();
            channel.recv.let_go();
            channel.note = Vec::new();
            self.unread_len -= before - channel.recv.memory_len();
            self.changed.insert(id);
        }
    }

    /// A channel is there: what comes on it is held back, if that is so in its session.
    pub(super) fn keep_back(&mut self, id: ChannelId) {
        if self.keeping.is_some()
            && let Some(channel) = self.channels.get_mut(id)
        {
            channel.recv.keep_back();
        }
    }

    pub(super) fn note(&mut self, id: ChannelId, note: &[u8]) -> bool {
        let (Some(channel), Some(keeping)) = (self.channels.get_mut(id), &mut self.keeping) else { return true };
        if note.len() > NOTE_LEN_MAX {
            return false;
        }
        keeping.notes_len = keeping.notes_len + note.len() - channel.note.len();
        channel.note = note.to_vec();
        self.changes_now();
        true
    }

    /// What may be written on a stream at once; on a tail as much as one likes.
    pub(super) fn stream_room(&self, id: ChannelId) -> usize {
        let room = |channel: &crate::channel::ChannelState| match channel.kind.tail {
            Some(_) => usize::MAX,
            None => STREAM_QUEUE_LEN_MAX.saturating_sub(channel.send.queued_len()),
        };
        // Whoever writes on one that is gone is told so.
        self.channels.get(id).map_or(usize::MAX, |channel| room(channel))
    }

    pub(super) fn noted(&self, id: ChannelId) -> &[u8] {
        self.channels.get(id).map_or(&[], |channel| &channel.note)
    }

    pub(super) fn is_revived(&self, id: ChannelId) -> bool {
        self.channels.get(id).is_some_and(|channel| channel.is_revived)
    }

    /// The channel is gone, and with it what was noted.
    pub(super) fn forget_note(&mut self, len: usize) {
        if let Some(keeping) = &mut self.keeping {
            keeping.notes_len -= len;
        }
    }

    pub(super) fn notes_len(&self) -> usize {
        self.keeping.as_ref().map_or(0, |keeping| keeping.notes_len)
    }

    /// True if somebody keeps it.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.keeping.is_some()
    }

    pub(super) fn changes_now(&mut self) {
        if let Some(keeping) = &mut self.keeping {
            keeping.changes += 1;
        }
    }

    /// How many changes there were that must be kept; none where nobody keeps it.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.keeping.as_ref().map_or(0, |keeping| keeping.changes)
    }

    /// How many of them are: what was sealed after no more than these may leave. All, once it has ended: nobody goes on with it.
    #[must_use]
    pub fn kept_to(&self) -> u64 {
        self.keeping.as_ref().filter(|_| !self.over).map_or(u64::MAX, |keeping| keeping.kept)
    }

    /// True if its state is to be taken.
    #[must_use]
    pub fn is_to_be_kept(&self) -> bool {
        self.keeping.as_ref().is_some_and(|keeping| keeping.changes > keeping.taken)
    }

    /// What is to be on disk of it now. None if nobody keeps it, or it was never open.
    #[must_use]
    pub fn take_state(&mut self) -> Option<ToKeep> {
        let opened = self.peers_next_id;
        let over = self.over;
        let keeping = self.keeping.as_mut()?;
        keeping.taken = keeping.changes;
        keeping.opened_taken = opened;
        let changes = keeping.changes;
        if over {
            return Some(ToKeep::Nothing);
        }
        let id = self.id?;
        self.channels.values_mut().for_each(|channel| channel.recv.is_in_state());
        let mut state = Vec::with_capacity(keeping.state_len + keeping.state_len / 4 + STATE_ROOM);
        self.put_state(id, &mut state);
        if let Some(keeping) = &mut self.keeping {
            keeping.state_len = state.len();
        }
        Some(ToKeep::State(changes, state))
    }

    /// The state that was taken last is on disk, as far as these changes.
    pub fn state_is_kept(&mut self, changes: u64) {
        let Some(keeping) = &mut self.keeping else { return };
        keeping.kept = changes;
        keeping.opened_kept = keeping.opened_taken;
        for (id, channel) in self.channels.iter_mut() {
            if channel.recv.state_is_kept() {
                self.changed.insert(id);
            }
        }
    }

    /// Whether its application may hear of a channel that the peer has opened.
    pub(super) fn may_tell_of(&self, id: ChannelId) -> bool {
        self.keeping.as_ref().is_none_or(|keeping| id.0 < keeping.opened_kept || self.over)
    }

    fn put_state(&self, id: SessionId, out: &mut Vec<u8>) {
        out.extend_from_slice(&id.0);
        out.push(self.birth.is_some().into());
        out.extend_from_slice(&self.birth.map_or([0; 16], |birth| birth.0));
        self.put_after_id(out);
        for (id, channel) in self.channels.iter() {
            self.put_channel(id, channel, out);
            crate::codec::put_bytes(out, &channel.note);
        }
    }

    /// A server's session as [`Self::take_state`] has given it. Its application hears of each channel of the peer's that had not come
    /// to its end, as if it was opened now ([`Channel::is_revived`](crate::Channel::is_revived)); those that were opened here end as
    /// `going-away`: whoever had them is gone.
    ///
    /// # Errors
    /// [`InvalidMessage`] if it is none.
    pub fn revive_kept(state: &[u8], account: impl Into<Option<Account>>) -> Result<Self, InvalidMessage> {
        let mut session = Self::new(Role::Server, account);
        session.keep();
        let mut reader = crate::codec::Reader::new(state);
        session.id = Some(SessionId(reader.array()?));
        let (is_born, birth) = (reader.flag()?, reader.array()?);
        session.birth = is_born.then_some(crate::ids::Birth(birth));
        session.revive_after_id(&mut reader, |channel, reader| {
            channel.note = reader.bytes(NOTE_LEN_MAX)?.to_vec();
            channel.is_revived = true;
            channel.recv.keep_back();
            Ok(())
        })?;
        reader.finish()?;
        session.resend.is_of_another_process();
        let notes_len = session.channels.values().map(|channel| channel.note.len()).sum();
        if let Some(keeping) = &mut session.keeping {
            keeping.notes_len = notes_len;
        }
        for id in session.channels.ids().collect::<Vec<_>>() {
            let Some(channel) = session.channels.get(id) else { continue };
            let is_ours = id.0 & 1 == session.role.bit();
            if channel.released {
                continue;
            }
            if !is_ours && channel.reset.is_none() {
                session.opened.insert(id);
                continue;
            }
            session.reset(id, ResetCode::GoingAway);
            session.release(id);
        }
        // What it was revived from is on disk; what was ended just now is not, and is taken with what comes next.
        let opened = session.peers_next_id;
        if let Some(keeping) = &mut session.keeping {
            keeping.kept = 1;
            keeping.opened_kept = opened;
            keeping.changes = 2;
            keeping.taken = 1;
        }
        Ok(session)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use alloc::vec;

    use super::*;
    use crate::{Instant, Kind, Received, frame::Frame};

    const CHANNEL: ChannelId = ChannelId(0);

    fn session() -> Session {
        let mut session = Session::new(Role::Server, None);
        session.keep();
        session.begin(SessionId([1; 16]));
        session
    }

    fn hear(session: &mut Session, frame: &Frame<'_>) {
        session.handle_frame(Instant::default(), frame).expect("it is in order");
        session.audit();
    }

    fn say(session: &mut Session, bytes: &[u8]) {
        hear(session, &Frame::Data { channel: CHANNEL, more: false, data: bytes });
    }

    fn open(session: &mut Session, kind: Kind) {
        hear(session, &Frame::Open { channel: CHANNEL, kind, label: "a" });
    }

    fn take(session: &mut Session) -> (u64, Vec<u8>) {
        let Some(ToKeep::State(changes, state)) = session.take_state() else { panic!("it is open") };
        (changes, state)
    }

    fn keep(session: &mut Session) -> Vec<u8> {
        let (changes, state) = take(session);
        session.state_is_kept(changes);
        state
    }

    fn read(session: &mut Session) -> Received {
        session.channel(CHANNEL).recv().expect("it is open")
    }

    fn revived(state: &[u8]) -> Session {
        let session = Session::revive_kept(state, None).expect("a session has written it");
        session.audit();
        session
    }

    #[test]
    fn what_has_come_is_neither_told_of_nor_read_before_a_state_that_has_it_is_kept() {
        let mut session = session();
        open(&mut session, Kind::MESSAGES);
        say(&mut session, b"one");
        assert!(session.is_to_be_kept());
        assert_eq!((session.poll_opened(), read(&mut session)), (None, Received::Pending));
        let (changes, _) = take(&mut session);
        // What comes while the disk is at it is of the next state.
        say(&mut session, b"two");
        hear(&mut session, &Frame::Fin { channel: CHANNEL });
        assert_eq!((session.poll_opened(), read(&mut session)), (None, Received::Pending));
        session.state_is_kept(changes);
        assert_eq!(session.poll_opened(), Some(CHANNEL));
        assert_eq!(read(&mut session), Received::Message(b"one".to_vec()));
        assert_eq!(read(&mut session), Received::Pending);
        keep(&mut session);
        assert_eq!(read(&mut session), Received::Message(b"two".to_vec()));
        assert_eq!(read(&mut session), Received::End);
        session.audit();
    }

    #[test]
    fn what_was_sealed_follows_from_a_change_that_is_to_be_kept_first() {
        let mut session = session();
        open(&mut session, Kind::MESSAGES);
        keep(&mut session);
        session.channel(CHANNEL).send(vec![7; 9]).expect("there is room");
        keep(&mut session);
        let mut out = Vec::new();
        session.fill(Instant::default(), &mut out, 65_519);
        assert!(!out.is_empty() && session.changes() > session.kept_to(), "a count that no state has");
        keep(&mut session);
        assert_eq!(session.changes(), session.kept_to());
        session.end();
        assert_eq!(session.kept_to(), u64::MAX, "nobody goes on with it");
        assert!(matches!(session.take_state(), Some(ToKeep::Nothing)));
    }

    #[test]
    fn what_was_handed_over_comes_again_until_it_is_settled_and_then_its_answer_is_there() {
        for kind in [Kind::MESSAGES, Kind::STREAM] {
            let mut session = session();
            open(&mut session, kind);
            say(&mut session, b"one");
            hear(&mut session, &Frame::Gap { channel: CHANNEL, count: 3 });
            say(&mut session, b"two");
            keep(&mut session);
            let mut channel = session.channel(CHANNEL);
            assert_eq!(channel.recv_ahead(), Ok(Received::Message(b"one".to_vec())));
            channel.answer(Some(b"ONE".to_vec())).expect("there is room");
            assert!(channel.note(b"after one"));
            assert_eq!(channel.recv_ahead(), Ok(Received::Message(b"two".to_vec())));
            session.audit();
            let mut again = revived(&keep(&mut session));
            assert_eq!(again.id(), Some(SessionId([1; 16])));
            assert_eq!(again.poll_opened(), Some(CHANNEL));
            let mut channel = again.channel(CHANNEL);
            assert!(channel.is_revived() && channel.noted() == b"after one");
            assert_eq!(channel.recv_ahead(), Ok(Received::Message(b"two".to_vec())));
            assert_eq!((channel.missed(), channel.recv_ahead()), (3, Ok(Received::Pending)));
            assert_eq!(again.queued_len, session.queued_len, "the answer waits to leave");
            again.audit();
        }
    }

    #[test]
    fn a_channel_that_the_server_had_opened_ends_in_the_process_that_comes_after_it() {
        let mut session = session();
        let id = session.open("own", Kind::MESSAGES).expect("a good label");
        session.fill(Instant::default(), &mut Vec::new(), 65_519);
        let mut again = revived(&keep(&mut session));
        assert!(!again.has_channel(id) && again.poll_opened().is_none());
        let mut out = Vec::new();
        again.resume(0).expect("nothing had come");
        again.fill(Instant::default(), &mut out, 65_519);
        let mut reader = crate::codec::Reader::new(&out);
        let said = core::iter::from_fn(|| Frame::decode(&mut reader).expect("its own").map(|frame| frame.is_counted()));
        assert_eq!(said.filter(|is_counted| *is_counted).count(), 2, "OPEN again, and RESET");
    }

    #[test]
    fn a_note_that_is_too_long_is_not_noted_and_one_that_is_let_go_of_holds_nothing() {
        let mut session = session();
        open(&mut session, Kind::MESSAGES);
        let held = session.held_len();
        assert!(!session.channel(CHANNEL).note(&vec![1; NOTE_LEN_MAX + 1]));
        assert!(session.channel(CHANNEL).note(&[1; 100]) && session.channel(CHANNEL).note(&[1; 10]));
        assert_eq!(session.held_len(), held + 10);
        say(&mut session, b"one");
        keep(&mut session);
        session.channel(CHANNEL).recv_ahead().expect("it has come");
        session.let_go();
        session.audit();
        assert_eq!((session.held_len(), session.kept_to()), (held, u64::MAX));
        session.channel(CHANNEL).take();
        session.audit();
    }
}
