//! Faults that the simulation must find: each breaks one rule of the core while it is on, in this thread only.
//!
//! The core asks `mutated!(Name)` where the rule is; outside of tests that is `false`, and nothing of it is compiled.

use core::cell::Cell;

std::thread_local! {
    static ON: Cell<Option<Mutation>> = const { Cell::new(None) };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// ACK says one counted frame more than came.
    AckOneTooMany,
    /// An ACK frees one frame more than it says.
    AckFreesOneTooMany,
    /// No ACK is ever sent.
    AckNever,
    /// A resumption sends one frame too few.
    ResumeOneTooFew,
    /// A resumption sends nothing again.
    ResumeNothing,
    /// A resumption does not state credit again.
    CreditNotRestated,
    /// A resumption does not state TAKEN again.
    TakenNotRestated,
    /// DONE is sent once, and lost with its connection.
    DoneNotRetained,
    /// The sender spends more than it was granted.
    CreditNotEnforced,
    /// What was left out is not told.
    GapUntold,
    /// SKIP stands for one frame less than it replaces.
    SkipOneTooFew,
    /// What comes on a connection that was replaced is still read.
    ReplacedStillRead,
    /// A datagram stays in the queue once after it was sealed.
    DatagramTwice,
    /// What was sealed and not taken counts as never sent.
    UnknownIsNotSent,
    /// AUTH says one counted frame less than came.
    AuthCountsOneTooFew,
    /// A channel that gets credit is not given a turn.
    CreditGivesNoTurn,
    /// The client sends anew what may have followed an AUTH that nobody answered.
    EarlyDataTwice,
    /// A channel that had begun goes on in a fresh session.
    BegunChannelGoesOn,
    /// AUTH states evidence that is not the newest, and the server takes it.
    OlderEvidenceOvertakes,
    /// The server sends PING each 45 s also to a client that takes 35 s of silence for death.
    PingsTooSeldom,
    /// A new connection does not state that nobody is there.
    AwayNotRestated,
    /// The server asks a page that does not run, as any other.
    FrozenIsAsked,
    /// And sends it whatever there is.
    FrozenIsFlooded,
    /// A snapshot leaves out what has come and was not taken.
    SnapshotWithoutUnread,
    /// A snapshot leaves out what was sealed and is not acknowledged.
    SnapshotWithoutUnacknowledged,
    /// CREDIT waits for company as TAKEN does.
    CreditWaits,
    /// A TAKEN waits for company though no ACK is owed.
    TakenWaitsForNothing,
    /// A TAKEN that waits is lost with CLOSE.
    TakenNotBeforeClose,
}

#[cfg(not(target_arch = "wasm32"))]
impl Mutation {
    pub(crate) const ALL: &[Self] = &[
        Self::AckOneTooMany,
        Self::AckFreesOneTooMany,
        Self::AckNever,
        Self::ResumeOneTooFew,
        Self::ResumeNothing,
        Self::CreditNotRestated,
        Self::TakenNotRestated,
        Self::DoneNotRetained,
        Self::CreditNotEnforced,
        Self::GapUntold,
        Self::SkipOneTooFew,
        Self::ReplacedStillRead,
        Self::DatagramTwice,
        Self::UnknownIsNotSent,
        Self::AuthCountsOneTooFew,
        Self::CreditGivesNoTurn,
        Self::EarlyDataTwice,
        Self::BegunChannelGoesOn,
        Self::OlderEvidenceOvertakes,
        Self::PingsTooSeldom,
        Self::AwayNotRestated,
        Self::FrozenIsAsked,
        Self::FrozenIsFlooded,
        Self::SnapshotWithoutUnread,
        Self::SnapshotWithoutUnacknowledged,
        Self::CreditWaits,
        Self::TakenWaitsForNothing,
        Self::TakenNotBeforeClose,
    ];
}

pub(crate) fn is_on(mutation: Mutation) -> bool {
    ON.get() == Some(mutation)
}

#[cfg(not(target_arch = "wasm32"))]
pub(super) fn set(mutation: Option<Mutation>) {
    ON.set(mutation);
}
