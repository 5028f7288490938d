//! Who sits at the other end of a session, as the real server has it (`server/src/door/seat.rs`): what the device has, what was
//! proved since, and when that ends. A session has one subject at most.

use std::time::Duration;

use duologue::{Instant, Standing};

/// How long before its end newer evidence is asked for; half of its time, where that is less.
const NEAR: Duration = Duration::from_secs(60);

/// The level of who has shown to be there.
const PRESENT: u8 = 3;

/// What is said where somebody has signed out, and where what was proved has ended.
pub(crate) const SIGNED_OUT: &str = "signed-out";
pub(crate) const EXPIRED: &str = "token-expired";

/// What a token is worth: whose it is, or a word why it is not taken.
pub(crate) type Verdict = Result<Proved, String>;

/// Something that was proved.
#[derive(Clone, Debug)]
pub(crate) struct Proved {
    pub(crate) subject: String,
    pub(crate) level: u8,
    pub(crate) ends: Option<Instant>,
}

/// The session is another subject's.
#[derive(Debug)]
pub(crate) struct OtherSubject;

/// When what was proved ends.
pub(crate) enum Ending {
    Soon,
    Now,
}

/// One session's seat.
#[derive(Debug)]
pub(crate) struct Seat {
    /// Of the device alone: 1 if it was let in, else 0.
    pub(crate) has: u8,
    proved: Option<Proved>,
    /// Its person has shown to be there.
    is_present: bool,
    /// When it is to be told that the end is near.
    near: Option<Instant>,
    subject: Option<String>,
    evidence: u32,
}

impl Seat {
    pub(crate) const fn new(has: u8) -> Self {
        Self { has, proved: None, is_present: false, near: None, subject: None, evidence: 0 }
    }

    pub(crate) fn level(&self) -> u8 {
        match &self.proved {
            Some(_) if self.is_present => PRESENT,
            Some(proved) => proved.level,
            None => self.has,
        }
    }

    /// Its person has shown to be there, or not after all. False if nobody knows who that is.
    pub(crate) fn present(&mut self, is: bool) -> bool {
        self.is_present = is && self.level() > 0 && self.proved.is_some();
        self.is_present == is
    }

    /// Who it is now; empty if nobody is named.
    pub(crate) fn who(&self) -> &str {
        self.proved.as_ref().map_or("", |proved| &proved.subject)
    }

    /// Whose the session is.
    pub(crate) const fn subject(&self) -> Option<&String> {
        self.subject.as_ref()
    }

    pub(crate) fn judged_by(&mut self, evidence: u32) {
        self.evidence = self.evidence.max(evidence);
    }

    pub(crate) fn prove(&mut self, proved: Proved, now: Instant) -> Result<(), OtherSubject> {
        if self.subject.as_ref().is_some_and(|own| *own != proved.subject) {
            return Err(OtherSubject);
        }
        self.subject = Some(proved.subject.clone());
        self.near = proved.ends.map(|ends| {
            let left = ends - now;
            now + (left - NEAR.min(left / 2))
        });
        self.proved = Some(proved);
        Ok(())
    }

    pub(crate) fn sign_out(&mut self) {
        (self.proved, self.is_present, self.near) = (None, false, None);
    }

    /// When it is to be looked at.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        self.near.or(self.proved.as_ref()?.ends)
    }

    pub(crate) fn look(&mut self, now: Instant) -> Option<Ending> {
        if self.proved.as_ref()?.ends.is_some_and(|ends| ends <= now) {
            self.sign_out();
            return Some(Ending::Now);
        }
        self.near.take_if(|near| *near <= now).map(|_| Ending::Soon)
    }

    /// What the client is told.
    pub(crate) fn told(&self, refused: &str, wants_evidence: bool, now: Instant) -> Standing {
        let ends = self.proved.as_ref().and_then(|proved| proved.ends);
        let secs = ends.map(|ends| u32::try_from((ends - now).as_secs()).unwrap_or(u32::MAX));
        Standing {
            level: self.level(),
            subject: self.who().to_owned(),
            secs,
            evidence: self.evidence,
            wants_evidence: wants_evidence || !["", SIGNED_OUT, "token-not-taken"].contains(&refused),
            refused: refused.to_owned(),
        }
    }
}
