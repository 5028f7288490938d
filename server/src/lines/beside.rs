//! A hand-over between two servers of one state: the former one settles and closes the store; the new one opens it and lets in whoever
//! comes, while the lines of the former come to their end. Until then each tells the other what counts for both.
//!
//! ```text
//! former ── signed out, banned, audited ───────────────► new        one line of JSON each, answered by one
//! new    ── revoked, banned, lifted, the policy ───────► former     it is in force there when the answer is here
//! ```

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    sync::{Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use duologue::{CloseCode, DeviceId};
use serde::{Deserialize, Serialize};

use super::{Duologue, measures};
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

/// The way to the other server; none where there is no other, or none any more.
#[derive(Debug, Default)]
pub(super) struct Beside(Mutex<Option<UnixStream>>);

impl Beside {
    fn pass_on(&self, what: &PassedOn) -> io::Result<()> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(there) = &mut *stream else { return Ok(()) };
        let told = tell(there, what);
        match told {
            // It has ended, and nothing is in force there any more.
            Err(error) if is_end(&error) => {
                *stream = None;
                Ok(())
            }
            told => told,
        }
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
        let store = self.shared.state.store().clone();
        tokio::task::spawn_blocking(move || store.hand_over()).await.unwrap_or(Err(StoreError::Busy))?;
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
        *self.shared.beside.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(to);
        let (own, runtime) = (self.downgrade(), tokio::runtime::Handle::current());
        let work = move || {
            let _runtime = runtime.enter();
            let mut lines = BufReader::new(&from);
            loop {
                let mut line = Vec::new();
                match lines.by_ref().take(LINE_LEN_MAX).read_until(b'\n', &mut line) {
                    Ok(len) if len > 0 && line.ends_with(b"\n") => {}
                    // It has ended.
                    _ => return,
                }
                let (Some(own), Ok(what)) = (own.upgrade(), serde_json::from_slice(&line)) else { return };
                own.hear(what, &policy);
                if (&from).write_all(DONE).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("duologue-beside".to_owned()).spawn(work).map(drop)
    }

    /// Tells the other server, if there is one, and waits until it counts there. False if it does not: that is told.
    pub(crate) fn pass_on(&self, what: PassedOn) -> bool {
        self.shared.pass_on(&what)
    }

    fn hear(&self, what: PassedOn, policy: &impl Fn(&str) -> bool) {
        let is_former = self.shared.state.store().is_handed_over();
        match what {
            PassedOn::Revoked(whom) => self.end_revoked(whom),
            PassedOn::Banned { whom, ban } => {
                let ban = StoredBan { whom, ..ban };
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
                if !policy(&text) {
                    self.tell(Event::of(Kind::HandOverFailed).note("the policy cannot be followed: what is open ends"));
                    self.shared.directory.lines().iter().for_each(|line| line.close(CloseCode::GoingAway, ""));
                }
            }
            PassedOn::SignedOut(device) => self.shared.state.store().note_signed_out(DeviceId(device)),
            PassedOn::Audited(entry) => {
                if let Some(audit) = self.audit() {
                    audit.write(entry);
                }
            }
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
        let told = self.beside.pass_on(what);
        if let Err(error) = &told {
            let note = format!("the other server of this hand-over does not hear what counts for both: {error}");
            self.gate.watch.tell(Event::of(Kind::HandOverFailed).note(note));
        }
        told.is_ok()
    }
}
