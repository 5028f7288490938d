//! A hand-over between two servers of one state: the former one settles and closes the store; the new one opens it and lets in whoever
//! comes, while the lines of the former come to their end. Until then each tells the other what counts for both.
//!
//! ```text
//! former ── signed out, banned, audited ───────────────► new        one line of JSON each, answered by one
//! new    ── revoked, banned, lifted, the policy ───────► former     it is in force there when the answer is here
//! ```
//!
//! A new one may be handed over before the former has ended: then it tells each what the other says, and ends after the former.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use duologue::{CloseCode, DeviceId};
use serde::{Deserialize, Serialize};

use super::{Duologue, measures, stranger::WeakDuologue};
use crate::{
    front::intake::Intake,
    state::{
        store::{StoreError, StoredBan},
        whom::Whom,
    },
    watch::{
        audit::entry::Entry,
        events::{Event, Kind},
    },
};

/// How long verdicts have that are under way.
const VERDICTS: Duration = Duration::from_secs(5);
/// How long it may take until something is asked for on a connection that has begun: a browser opens some in advance.
const SILENCE: Duration = Duration::from_secs(1);
/// How often it is looked whether any are.
const LOOK: Duration = Duration::from_millis(10);
/// How long the other may take to do what it is told.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest line in bytes: a whole configuration may be in it, whose every character JSON may have as two.
const LINE_LEN_MAX: u64 = 4 * 1_024 * 1_024;
const DONE: &[u8] = b"done\n";

/// What counts for both.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PassedOn {
    Revoked(Whom),
    Banned {
        whom: String,
        ban: StoredBan,
    },
    Lifted(String),
    /// The configuration's text.
    Policy(String),
    SignedOut([u8; 32]),
    Audited(Box<Entry>),
}

/// The ways to the other servers: to each former one, and to the one after this. Each is locked by itself while it is used: what one
/// says is told the others while that one is told something.
#[derive(Debug, Default)]
pub(super) struct Beside(Mutex<Vec<Arc<Way>>>);

#[derive(Debug)]
struct Way {
    /// To the one after this.
    is_to_successor: bool,
    there: Mutex<There>,
}

#[derive(Debug)]
enum There {
    To(UnixStream),
    /// It has not answered in time, or something else. What it says later would be taken for the answer to what is told it then.
    Lost,
    /// Nothing is in force there any more.
    Ended,
}

impl Beside {
    fn ways(&self) -> MutexGuard<'_, Vec<Arc<Way>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more.
    fn stands(&self, is_to_successor: bool, there: UnixStream) -> Arc<Way> {
        let way = Arc::new(Way { is_to_successor, there: Mutex::new(There::To(there)) });
        self.ways().push(Arc::clone(&way));
        way
    }

    /// One says nothing any more: its process is gone.
    fn has_gone(&self, other: &Arc<Way>) {
        self.ways().retain(|way| !Arc::ptr_eq(way, other));
    }

    /// Whether a former one is here still.
    pub(super) fn has_former(&self) -> bool {
        self.ways().iter().any(|way| !way.is_to_successor)
    }

    /// Tells all of them, but for who has said it. Where several do not understand, the last of that.
    fn pass_on(&self, what: &PassedOn, said_by: Option<&Arc<Way>>) -> io::Result<()> {
        // An audit log has one writer.
        let is_for_all = !matches!(what, PassedOn::Audited(_));
        let mut ways = self.ways().clone();
        ways.retain(|way| (is_for_all || way.is_to_successor) && !said_by.is_some_and(|by| Arc::ptr_eq(way, by)));
        let mut all_told = Ok(());
        for way in ways {
            if let Err(error) = way.tell(what) {
                all_told = Err(error);
            }
        }
        all_told
    }
}

impl Way {
    fn there(&self) -> MutexGuard<'_, There> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, what: &PassedOn) -> io::Result<()> {
        let mut there = self.there();
        let told = match &*there {
            There::Ended => return Ok(()),
            There::Lost => return Err(io::Error::other("it has not answered before")),
            There::To(stream) => tell(stream, what),
        };
        match told {
            Err(error) if is_end(&error) => *there = There::Ended,
            Err(error) => {
                *there = There::Lost;
                return Err(error);
            }
            Ok(()) => {}
        }
        Ok(())
    }
}

fn tell(mut there: &UnixStream, what: &PassedOn) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    there.write_all(&line)?;
    let mut answer = [0; DONE.len()];
    there.read_exact(&mut answer)?;
    if answer == *DONE { Ok(()) } else { Err(io::Error::other("it has not understood")) }
}

/// Does what one of the others says, until it ends.
fn hear_all(own: &WeakDuologue, mut from: &UnixStream, other: &Arc<Way>, policy: &impl Fn(&str) -> bool) {
    let mut lines = BufReader::new(from);
    loop {
        let mut line = Vec::new();
        let read = lines.by_ref().take(LINE_LEN_MAX).read_until(b'\n', &mut line);
        let Some(own) = own.upgrade() else { return };
        match read {
            Ok(len) if line.ends_with(b"\n") || len as u64 == LINE_LEN_MAX => {}
            _ => return own.shared.beside.has_gone(other),
        }
        let Ok(what) = serde_json::from_slice(&line) else {
            return own.follows_no_more("what the other server says is not understood");
        };
        own.hear(&what, policy);
        own.shared.tell_others(&what, Some(other));
        if from.write_all(DONE).is_err() {
            return own.shared.beside.has_gone(other);
        }
    }
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

impl Duologue {
    /// Lets verdicts under way come to their end, for 5 s at most, then lets nobody in any more, writes what memory has, and closes the
    /// store and the audit log: another process may open them. `intake` is that of the listeners, which accept nobody from now on.
    ///
    /// # Errors
    /// If the store cannot be closed, because others write for too long. [`Self::take_back`] undoes what was done.
    pub async fn settle(&self, intake: &Intake) -> Result<(), StoreError> {
        intake.pause();
        let begun = Instant::now();
        let is_any = || {
            let is_silent = intake.silent() > 0 && begun.elapsed() < SILENCE;
            is_silent || intake.under_way() + self.shared.strangers.under_way() > 0
        };
        while is_any() && begun.elapsed() < VERDICTS {
            tokio::time::sleep(LOOK).await;
        }
        // At once: there is another server at the same address.
        self.shared.stopping_secs.store(1, Ordering::Relaxed);
        self.shared.draining.store(true, Ordering::Relaxed);
        self.write_tickets().await;
        if let Some(audit) = self.audit() {
            let own = self.downgrade();
            audit.rest(move |entry| own.upgrade().is_some_and(|own| own.pass_on(PassedOn::Audited(entry)))).await;
        }
        self.part_with_kept().await;
        let state = self.shared.state.clone();
        tokio::task::spawn_blocking(move || state.hand_over()).await.unwrap_or(Err(StoreError::Busy))?;
        // Services that need it have said what they had to say.
        self.shared.gate.look_again();
        Ok(())
    }

    /// Goes on as before, because the other process has come to nothing: the store is to be opened again already
    /// ([`State::take_back`](crate::State::take_back)).
    pub async fn take_back(&self, intake: &Intake) {
        if let Some(audit) = self.audit() {
            audit.go_on().await;
        }
        if let Err(error) = self.go_on_with_kept() {
            let note = format!("sessions that are kept wait for a new start: {error}");
            self.tell(Event::of(Kind::HandOverFailed).note(note));
        }
        self.shared.draining.store(false, Ordering::Relaxed);
        self.watch_ends();
        intake.resume();
    }

    /// From now on there is another server of this state. What counts for both goes by the first stream, and comes by the second;
    /// `policy` puts a configuration's text in force, and says whether that was possible. Where it is not, lines that are open here end:
    /// nobody can say that they are allowed.
    ///
    /// # Errors
    /// If there is no thread for it, or the stream cannot be used.
    pub fn stand_beside(
        &self,
        to: UnixStream,
        from: UnixStream,
        policy: impl Fn(&str) -> bool + Send + 'static,
    ) -> io::Result<()> {
        to.set_read_timeout(Some(PATIENCE))?;
        to.set_write_timeout(Some(PATIENCE))?;
        let other = self.shared.beside.stands(self.shared.state.store().is_handed_over(), to);
        let (own, runtime) = (self.downgrade(), tokio::runtime::Handle::current());
        let work = move || {
            let _runtime = runtime.enter();
            hear_all(&own, &from, &other, &policy);
        };
        std::thread::Builder::new().name("duologue-beside".to_owned()).spawn(work).map(drop)
    }

    /// Waits until no former server is here any more: it hears of the one after this by this one alone.
    pub(super) async fn outlive_formers(&self) {
        while self.shared.beside.has_former() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Tells the other server, if there is one, and waits until it counts there. False if it does not: that is told.
    pub(crate) fn pass_on(&self, what: PassedOn) -> bool {
        self.shared.pass_on(&what)
    }

    fn hear(&self, what: &PassedOn, policy: &impl Fn(&str) -> bool) {
        let is_former = self.shared.state.store().is_handed_over();
        match what {
            PassedOn::Revoked(whom) => self.end_revoked(*whom),
            PassedOn::Banned { whom, ban } => {
                let ban = StoredBan { whom: whom.clone(), ..ban.clone() };
                if !is_former && let Err(error) = self.shared.state.store().change_bans(std::slice::from_ref(&ban), &[])
                {
                    self.tell(Event::of(Kind::BanNotKept).note(error.to_string()));
                }
                self.begin_ban(ban);
            }
            PassedOn::Lifted(whom) => {
                if let Ok(whom) = whom.parse() {
                    self.watch().bans().lift(&whom);
                }
            }
            PassedOn::Policy(text) => {
                if !policy(text) {
                    self.follows_no_more("the policy cannot be followed");
                }
            }
            PassedOn::SignedOut(device) => self.shared.state.store().note_signed_out(DeviceId(*device)),
            PassedOn::Audited(entry) => {
                if let Some(audit) = self.audit() {
                    audit.write(entry.clone());
                }
            }
        }
    }

    /// The other is not followed any more. Whose place it has, of whose lines nobody can say that they are allowed.
    fn follows_no_more(&self, why: &str) {
        let is_former = self.shared.state.store().is_handed_over();
        let ends = if is_former { ": what is open ends" } else { "" };
        self.tell(Event::of(Kind::HandOverFailed).note(format!("{why}{ends}")));
        if is_former {
            self.shared.directory.lines().iter().for_each(|line| line.close(CloseCode::GoingAway, ""));
        }
    }

    fn begin_ban(&self, ban: StoredBan) {
        if let Some(ban) = measures::read(ban) {
            self.watch().bans().load([ban.clone()]);
            self.shared.close_all(&ban.whom);
        }
    }
}

impl super::Shared {
    pub(super) fn pass_on(&self, what: &PassedOn) -> bool {
        self.tell_others(what, None)
    }

    /// Tells the other servers, but for who has said it.
    fn tell_others(&self, what: &PassedOn, said_by: Option<&Arc<Way>>) -> bool {
        let told = self.beside.pass_on(what, said_by);
        if let Err(error) = &told {
            let note = format!("the other server of this hand-over does not hear what counts for both: {error}");
            self.gate.watch.tell(Event::of(Kind::HandOverFailed).note(note));
        }
        told.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{door::policy::Policy, state::State};

    /// A server with another one beside it, of which this has both ends: what it is told, and what it says.
    fn former(directory: &std::path::Path) -> (Duologue, UnixStream, UnixStream) {
        let state = State::open(directory).expect("made");
        let duologue = Duologue::new(state.clone(), Policy::loopback());
        state.hand_over().expect("nobody writes");
        let (to, told) = UnixStream::pair().expect("a pair");
        let (from, says) = UnixStream::pair().expect("a pair");
        duologue.stand_beside(to, from, |_| false).expect("a thread");
        (duologue, told, says)
    }

    fn failed(duologue: &Duologue) -> u64 {
        let told = duologue.watch().told();
        told.iter().find(|(kind, _)| *kind == Kind::HandOverFailed).map_or(0, |(_, count)| *count)
    }

    /// Once the answer that came too late was taken for that to the next question, and so on from there.
    #[tokio::test(flavor = "multi_thread")]
    async fn who_has_not_answered_in_time_is_not_believed_afterwards() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (duologue, mut told, _says) = former(directory.path());
        assert!(!duologue.pass_on(PassedOn::Lifted("address 192.0.2.7".to_owned())));
        // Where nobody reads it any more, so much the better.
        let _ = told.write_all(DONE);
        assert!(!duologue.pass_on(PassedOn::Lifted("address 192.0.2.8".to_owned())), "it was of the first");
        assert_eq!(failed(&duologue), 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_says_what_is_not_understood_is_not_followed_and_that_is_told_and_one_who_ends_is_not_waited_for() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (said, is_told) in [(&b"{\"revoked\":1}\n"[..], 1), (b"\xff\n", 1), (b"{\"pol", 0), (b"", 0)] {
            let (duologue, told, mut says) = former(directory.path());
            says.write_all(said).expect("written");
            says.shutdown(std::net::Shutdown::Write).expect("it is open");
            let mut rest = Vec::new();
            // Until nobody listens any more.
            says.read_to_end(&mut rest).expect("it ends");
            assert_eq!((failed(&duologue), rest.is_empty()), (is_told, true), "{said:?}");
            drop((told, says));
            assert!(duologue.pass_on(PassedOn::Lifted("address 192.0.2.7".to_owned())), "it has ended");
        }
    }
}
