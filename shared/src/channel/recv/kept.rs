//! The same of a session that is kept on disk: what has come is held back until a state of the session that has it is there, and what
//! was handed over stays here until it is taken.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};

use super::RecvHalf;
use crate::limits::QUEUED_MESSAGE_COST;

#[derive(Debug, Default)]
pub(super) struct Kept {
    /// How many of the last pieces are held back; and of these, how many the state has that was taken last.
    pieces: usize,
    in_state: usize,
    end: End,
    /// What was handed over and is not taken, in its order.
    copies: VecDeque<Vec<u8>>,
}

/// Whether a FIN, or a GAP that nothing has followed, is held back.
#[derive(Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Free,
    Came,
    InState,
}

impl RecvHalf {
    /// Something that has come may be read.
    pub(super) fn has_piece(&self) -> bool {
        self.ready.len() > self.kept.as_ref().map_or(0, |kept| kept.pieces)
    }

    pub(super) fn may_see_end(&self) -> bool {
        self.kept.as_ref().is_none_or(|kept| kept.end == End::Free)
    }

    /// From now on what comes is held back until it is kept.
    pub(crate) fn keep_back(&mut self) {
        self.kept.get_or_insert_with(Box::default);
    }

    /// Nothing is held back any more.
    pub(crate) fn let_go(&mut self) {
        if let Some(kept) = self.kept.take() {
            kept.copies.iter().for_each(|copy| self.drop(copy.len() + QUEUED_MESSAGE_COST));
        }
    }

    /// A state of the session is taken: it has all that has come.
    pub(crate) fn is_in_state(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.in_state = kept.pieces;
            if kept.end == End::Came {
                kept.end = End::InState;
            }
        }
    }

    /// That state is on disk. True if something may be read by it.
    pub(crate) fn state_is_kept(&mut self) -> bool {
        let Some(kept) = &mut self.kept else { return false };
        let in_state = core::mem::take(&mut kept.in_state);
        kept.pieces -= in_state;
        let has_end = kept.end == End::InState;
        if has_end {
            kept.end = End::Free;
        }
        in_state > 0 || has_end
    }

    pub(super) fn piece_came(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.pieces += 1;
        }
    }

    pub(crate) fn end_came(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.end = End::Came;
        }
    }

    pub(super) fn keep_copy(&mut self, message: &[u8]) {
        if let Some(kept) = &mut self.kept {
            kept.copies.push_back(message.to_vec());
            self.keep(message.len() + QUEUED_MESSAGE_COST);
        }
    }

    /// The oldest or the newest copy is needed no more.
    pub(super) fn drop_copy(&mut self, oldest: bool) {
        let Some(kept) = &mut self.kept else { return };
        let copy = if oldest { kept.copies.pop_front() } else { kept.copies.pop_back() };
        if kept.copies.is_empty() {
            kept.copies = VecDeque::new();
        }
        if let Some(copy) = copy {
            self.drop(copy.len() + QUEUED_MESSAGE_COST);
        }
    }

    pub(super) fn forget_kept(&mut self) {
        if let Some(kept) = &mut self.kept {
            **kept = Kept::default();
        }
    }

    /// What was handed over and is not taken, as pieces that nobody has read.
    pub(super) fn ahead_as_unread(&self, stream: bool) -> Vec<(u64, u64, &[u8])> {
        let copies = self.kept.iter().flat_map(|kept| &kept.copies);
        let of_each = self.ahead.iter().zip(copies);
        of_each
            .map(|((cost, count), piece)| {
                let len = if stream { piece.len() as u64 } else { 1 };
                (*cost, count.saturating_sub(len), piece.as_slice())
            })
            .collect()
    }
}
