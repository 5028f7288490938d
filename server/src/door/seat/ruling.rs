//! What the owner's backend (`hook`) has said of a session, and when it is asked again.

use std::sync::Arc;

use duologue::{Account, Hold};

use super::{
    super::{
        hook::{Answer, Ceiling, Visit},
        standing::Standing,
        tokens::Verified,
    },
    NEAR_SECS, Seat,
};

/// After how many seconds the hook is asked again that has not answered.
const ASK_AGAIN_SECS: u64 = 30;

/// What the hook has said of a session, and what it is asked again with.
#[derive(Clone, Debug)]
pub(crate) struct Hooked {
    pub(crate) visit: Arc<Visit>,
    /// None if it has not answered.
    pub(crate) answer: Option<Arc<Answer>>,
    /// What it was asked of, beside the key.
    pub(crate) token: Option<Arc<Verified>>,
    pub(crate) ceiling: Ceiling,
    /// Until when it holds, in seconds since 1970.
    pub(crate) until: u64,
    /// It has not answered of what was shown last, and is asked of it again soon.
    pub(crate) is_owed: bool,
}

impl Hooked {
    /// Whether it says something of what was shown last, and that is in date.
    fn holds(&self, at: u64) -> bool {
        self.answer.is_some() && !self.is_owed && self.until > at
    }
}

#[derive(Debug)]
pub(super) struct Ruling {
    pub(super) hooked: Hooked,
    /// What the device has, where the ruling takes something of it away.
    pub(super) lowered: Option<Arc<Standing>>,
    /// When it is asked again: before the ruling ends, or a while after it was asked and has not answered.
    pub(super) again_at: u64,
    /// Somebody has signed out since: what proved him does so no more.
    pub(super) is_signed_out: bool,
    /// What it is asked again with is memory of the session's.
    pub(super) held: Option<Hold>,
}

impl Seat {
    /// What the hook has said of the session.
    pub(crate) fn hooked(&self) -> Option<Hooked> {
        self.lock().ruling.as_ref().map(|ruling| ruling.hooked.clone())
    }

    /// Whether what the hook has said holds still. Whom it was not asked of has nothing of it.
    pub(crate) fn is_ruled(&self, at: u64) -> bool {
        self.lock().ruling.as_ref().is_some_and(|ruling| ruling.hooked.holds(at))
    }

    /// The hook has ruled.
    pub(crate) fn rule(&self, hooked: Hooked, at: u64) {
        let mut now = self.lock();
        let again_at = match hooked.answer {
            Some(_) if !hooked.is_owed => hooked.until - NEAR_SECS.min(hooked.until.saturating_sub(at) / 2),
            Some(_) => at.saturating_add(ASK_AGAIN_SECS),
            None => hooked.until.saturating_add(ASK_AGAIN_SECS),
        };
        let is_signed_out = now.ruling.as_ref().is_some_and(|ruling| ruling.is_signed_out);
        now.ruling = Some(Box::new(Ruling { hooked, lowered: None, again_at, is_signed_out, held: None }));
        now.lower();
    }

    /// Its session goes on over a connection of which this is to be asked.
    pub(crate) fn asks_of(&self, visit: Arc<Visit>) {
        if let Some(ruling) = &mut self.lock().ruling {
            ruling.hooked.visit = visit;
        }
    }

    /// What is kept of its connection, to ask of it again, counts on this account from now on.
    pub(crate) fn counts_on(&self, account: &Account) {
        if let Some(ruling) = &mut self.lock().ruling {
            ruling.held = Some(account.hold(ruling.hooked.visit.held_len()));
        }
    }

    /// Its session is over.
    pub(crate) fn holds_nothing(&self) {
        if let Some(ruling) = &mut self.lock().ruling {
            ruling.held = None;
        }
    }

    /// Whether the hook is to be asked again now, since what it has said is about to end; none where it is not asked. Whoever is
    /// told so asks: the others are told no for a while.
    pub(crate) fn takes_question(&self, at: u64) -> Option<bool> {
        let mut now = self.lock();
        let ruling = now.ruling.as_mut()?;
        let takes = ruling.again_at <= at;
        if takes {
            ruling.again_at = at.saturating_add(ASK_AGAIN_SECS);
        }
        Some(takes)
    }
}
