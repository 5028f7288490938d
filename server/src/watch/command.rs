//! The command that hears of bans: a program and its arguments, run without a shell, with the ban's words as further arguments.
//!
//! ```text
//! PROGRAM ARGUMENT… ban  address 192.0.2.7 RULE SECONDS
//! PROGRAM ARGUMENT… lift address 192.0.2.7 RULE 0
//! ```
//!
//! Two run at a time, 256 wait; one that takes more than ten seconds is killed.

use std::{
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    bans::Ban,
    events::{Event, Kind},
    stream::Watch,
};

const AT_A_TIME: usize = 2;
const WAITING_MAX: usize = 256;
const LASTS: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Ban,
    Lift,
}

/// Runs it. What waits is run to its end when this is dropped.
#[derive(Debug)]
pub(crate) struct BanCommand {
    waiting: SyncSender<Vec<String>>,
}

impl BanCommand {
    /// None if there is no program, or there can be no threads for it.
    pub(crate) fn start(
        words: &[String],
        lasts: Duration,
        told: impl Fn(String) + Send + Sync + 'static,
    ) -> Option<Self> {
        let (program, arguments) = words.split_first()?;
        let (waiting, jobs) = sync_channel::<Vec<String>>(WAITING_MAX);
        let (jobs, told) = (Arc::new(Mutex::new(jobs)), Arc::new(told));
        for _ in 0..AT_A_TIME {
            let (program, arguments) = (program.clone(), arguments.to_vec());
            let (jobs, told) = (Arc::clone(&jobs), Arc::clone(&told));
            let work = move || {
                while let Some(words) = next(&jobs) {
                    if let Err(error) = run(&program, &arguments, &words, lasts) {
                        told(format!("{program}: {error}"));
                    }
                }
            };
            thread::Builder::new().name("ban-command".to_owned()).spawn(work).ok()?;
        }
        Some(Self { waiting })
    }

    /// The usual one, which tells the watch of what goes wrong.
    pub(crate) fn of(words: &[String], watch: &Watch) -> Option<Self> {
        let watch = watch.downgrade();
        Self::start(words, LASTS, move |error| {
            if let Some(watch) = watch.upgrade() {
                watch.tell(Event::of(Kind::BanCommandFailed).note(error));
            }
        })
    }

    /// Never waits. False if too many wait already.
    pub(crate) fn tell(&self, what: Told, ban: &Ban) -> bool {
        let secs = if what == Told::Ban { ban.until.saturating_sub(ban.since) } else { 0 };
        let verb = if what == Told::Ban { "ban" } else { "lift" };
        let words =
            [verb.to_owned(), ban.whom.what().to_owned(), ban.whom.which(), ban.by.to_string(), secs.to_string()];
        !matches!(self.waiting.try_send(words.to_vec()), Err(TrySendError::Full(_) | TrySendError::Disconnected(_)))
    }
}

fn next(jobs: &Mutex<Receiver<Vec<String>>>) -> Option<Vec<String>> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn run(program: &str, arguments: &[String], words: &[String], lasts: Duration) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(arguments).args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("it cannot be run: {error}"))?;
    match wait(&mut child, lasts) {
        Some(Ok(status)) if status.success() => Ok(()),
        Some(Ok(status)) => Err(format!("it ended with {status}")),
        Some(Err(error)) => Err(format!("it cannot be waited for: {error}")),
        None => {
            let killed = child.kill().and_then(|()| child.wait());
            let how = killed.map_or_else(|error| format!(", and cannot be: {error}"), |_| String::new());
            Err(format!("it took more than {} s and was killed{how}", lasts.as_secs_f32()))
        }
    }
}

/// None if it does not end.
fn wait(child: &mut Child, lasts: Duration) -> Option<std::io::Result<std::process::ExitStatus>> {
    let until = Instant::now() + lasts;
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() >= until => return None,
            Ok(None) => thread::sleep(LOOK),
            Ok(Some(status)) => return Some(Ok(status)),
            Err(error) => return Some(Err(error)),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::watch::bans::Banned;

    fn ban(which: &str) -> Ban {
        let whom = Banned::Subject(which.into());
        Ban { whom, since: 100, until: 3_700, repeats: 0, by: "smuggling".into() }
    }

    fn started(words: &[&str], lasts: Duration) -> (BanCommand, Receiver<String>) {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let (told, errors) = mpsc::channel();
        let command = BanCommand::start(&words, lasts, move |error| drop(told.send(error))).expect("a program");
        (command, errors)
    }

    #[test]
    fn the_words_come_as_arguments_of_their_own_and_no_shell_reads_them() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("words");
        // The one shell here is the test's own program, which writes its arguments, a line each.
        let script = format!("printf '%s\\n' \"$@\" > {0}.part; mv {0}.part {0}", file.display());
        let (command, errors) = started(&["/bin/sh", "-c", &script, "name", "own argument"], Duration::from_secs(10));
        assert!(command.tell(Told::Ban, &ban("ada; touch $(id) `x` \"")));
        drop(command);
        assert!(errors.recv().is_err(), "nothing went wrong, and both threads have ended");
        let words = std::fs::read_to_string(file).expect("it was run");
        assert_eq!(words, "own argument\nban\nsubject\nada; touch $(id) `x` \"\nsmuggling\n3600\n");
    }

    #[test]
    fn one_that_hangs_is_killed_and_the_next_is_run_and_what_fails_is_told() {
        let (command, errors) =
            started(&["/bin/sh", "-c", "test $4 = quick || exec sleep 1000", "name"], Duration::from_millis(200));
        for which in ["a", "b", "c"] {
            assert!(command.tell(Told::Lift, &ban(which)));
        }
        for _ in 0..3 {
            let error = errors.recv_timeout(Duration::from_secs(60)).expect("it is told");
            assert!(error.contains("took more than 0.2 s and was killed"), "{error}");
        }
        drop(command);
        let (command, errors) = started(&["/no/such/program"], Duration::from_secs(10));
        assert!(command.tell(Told::Ban, &ban("ada")));
        assert!(errors.recv().expect("it is told").contains("/no/such/program: it cannot be run"));
    }

    #[test]
    fn there_is_a_bound_of_what_waits() {
        let (command, _errors) = started(&["/bin/sleep", "1000"], Duration::from_secs(60));
        let taken = (0..1_000).filter(|_| command.tell(Told::Ban, &ban("ada"))).count();
        assert!((WAITING_MAX..=WAITING_MAX + AT_A_TIME).contains(&taken), "{taken}");
        // Its threads are not waited for: they end with the test.
        std::mem::forget(command);
    }
}
