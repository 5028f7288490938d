//! The file goes to another process, which takes the place of this one: it has one opener. What memory knows stays, so that lines that
//! come to their end here are judged by it.

use std::sync::{PoisonError, atomic::Ordering};

use super::{super::turns::Who, Store, StoreError, open_journal};

impl Store {
    /// Writes what is noted in memory, and closes the file and the journal: another process may open them. Waits for whoever writes.
    ///
    /// # Errors
    /// If somebody writes for too long; then nothing has changed.
    pub(crate) fn hand_over(&self) -> Result<(), StoreError> {
        self.keep_seen(true);
        self.keep_signed_out();
        let turn = self.turns.take(Who::Owner, super::OWNERS_PATIENCE).ok_or(StoreError::Busy)?;
        // Nobody opens it anew from here on, and nobody is just doing that.
        let reopened = self.reopened.lock().unwrap_or_else(PoisonError::into_inner);
        self.handed_over.store(true, Ordering::Release);
        self.journal().close();
        self.database.close(&StoreError::HandedOver);
        drop((reopened, turn));
        Ok(())
    }

    /// Opens them again, because the other process has come to nothing.
    ///
    /// # Errors
    /// If they cannot be: that is tried again, as after any failure.
    pub(crate) fn take_back(&self) -> Result<(), StoreError> {
        if !self.handed_over.load(Ordering::Acquire) {
            return Ok(());
        }
        self.handed_over.store(false, Ordering::Release);
        self.database.reopen()?;
        self.load().inspect_err(|error| self.database.close(error))?;
        self.opened.fetch_add(1, Ordering::Release);
        self.take_back_journal()
    }

    /// The journal is this process's again, where it was another's.
    pub(super) fn take_back_journal(&self) -> Result<(), StoreError> {
        if !self.journal().is_closed() {
            return Ok(());
        }
        *self.journal() = open_journal(&self.path)?;
        self.take_over_journal()
    }

    /// Whether another process has them.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    /// That no other process has them.
    ///
    /// # Errors
    /// If one has.
    pub(crate) fn is_here(&self) -> Result<(), StoreError> {
        if self.is_handed_over() { Err(StoreError::HandedOver) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use duologue::DeviceId;

    use super::*;
    use crate::state::{State, store::Revocation, whom::Whom};

    #[test]
    fn a_store_that_is_handed_over_can_be_opened_elsewhere_and_taken_back_with_what_was_revoked_there() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = State::open(directory.path()).expect("made");
        let invite = state.new_invite(Duration::from_secs(600)).expect("an invite");
        let store = state.store();
        store.hand_over().expect("nobody writes");
        assert!(matches!(store.devices(), Err(StoreError::HandedOver)));
        assert!(matches!(state.new_invite(Duration::from_secs(1)), Err(StoreError::HandedOver)));
        // What looks after a store that has failed leaves this one alone.
        assert!(store.mend());
        assert!(store.is_handed_over());
        {
            let other = Store::open(&directory.path().join("store.redb")).expect("it is closed here");
            assert_eq!(other.revoke(Whom::subject("ada")), Revocation::Stored);
        }
        store.take_back().expect("it is closed there");
        assert!(store.devices().expect("it can be read").is_empty());
        assert!(store.may_enter("ada", &[]).is_err(), "what was revoked there is revoked here");
        assert!(store.is_invite_good(invite.id()).expect("it can be read"));
        assert_eq!(store.revoke(DeviceId([1; 32])), Revocation::Unknown);
        assert_eq!(store.revoke(Whom::subject("bob")), Revocation::Stored, "the journal is its own again");
    }
}
