//! The end of a hand-over that serves until then.

use std::{
    ffi::OsString,
    io,
    net::TcpListener,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use duologue_server::{ConfigFile, Duologue, Intake, State};

use super::{
    super::systemd,
    wire::{self, Offer, Said, VERSION, What},
};

/// What says that a process takes the place of another.
pub(crate) const TAKE_OVER: &str = "--take-over";
/// How long a successor may take until it has looked at all that can be wrong, and then until it serves. Meanwhile nobody is let in.
const READY: Duration = Duration::from_secs(20);
const SERVES: Duration = Duration::from_secs(25);

const ENDED: &str = "the new process has ended";

/// What was started here, to be started again.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// As it was at the start: another one may lie there by now.
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// This one. To be asked before another one is put in its place.
    pub(crate) fn this() -> io::Result<Self> {
        let arguments = std::env::args_os().skip(1).filter(|argument| argument != TAKE_OVER);
        Ok(Self { path: std::env::current_exe()?, arguments: arguments.collect() })
    }

    fn start(&self, conversation: UnixStream) -> io::Result<Child> {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).arg(TAKE_OVER).stdin(Stdio::from(OwnedFd::from(conversation)));
        // What a service manager has told this process alone.
        for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
            command.env_remove(name);
        }
        command.spawn()
    }
}

/// A server that can give its place to another process.
pub(crate) struct Former {
    pub(crate) program: Program,
    pub(crate) state: State,
    pub(crate) duologue: Duologue,
    pub(crate) config: ConfigFile,
    pub(crate) intake: Intake,
    pub(crate) activated: bool,
    pub(crate) lines: TcpListener,
    pub(crate) status: Option<TcpListener>,
    pub(crate) http: Option<TcpListener>,
    pub(crate) api: duologue_server::Sockets,
}

/// A process that is to take the place: killed if nothing comes of it.
struct Started(Option<Child>);

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Former {
    /// Has another process take the place of this one, and gives its id. Lines are still to be drained then.
    ///
    /// # Errors
    /// Why none has. [`Self::go_on`] undoes what was done.
    pub(crate) async fn hand_over(&self) -> anyhow::Result<u32> {
        let (conversation, theirs) = UnixStream::pair()?;
        let (told, to_tell) = UnixStream::pair()?;
        let child = self.program.start(theirs);
        let child = child.with_context(|| format!("{} cannot be started", self.program.path.display()))?;
        let pid = child.id();
        let mut started = Started(Some(child));
        self.offer(&conversation, &told).context(ENDED)?;
        drop(told);
        expect(&conversation, READY, &mut started, &Said::Ready).await?;
        self.duologue.settle(&self.intake).await.context("the store cannot be closed")?;
        wire::say(&conversation, &Said::Closed).context(ENDED)?;
        expect(&conversation, SERVES, &mut started, &Said::Serves).await?;
        // Before it says itself that it can be reached: a service manager hears no others.
        systemd::main_is(pid);
        if let Err(error) = wire::say(&conversation, &Said::Go) {
            systemd::main_is(std::process::id());
            return Err(error).context(ENDED);
        }
        // It is nobody's child any more, whatever happens.
        started.0 = None;
        let (duologue, config) = (self.duologue.clone(), self.config.clone());
        conversation.set_read_timeout(None)?;
        let follows = move |text: &str| config.follow_policy(text, &duologue);
        if let Err(error) = self.duologue.stand_beside(to_tell, conversation, follows) {
            tracing::error!(%error, "revocations of the other server are not followed here");
        }
        Ok(pid)
    }

    fn offer(&self, conversation: &UnixStream, told: &UnixStream) -> anyhow::Result<()> {
        let lock = self.state.hand_on_lock()?;
        let mut files: Vec<(What, BorrowedFd<'_>)> = vec![
            (What::Lines, self.lines.as_fd()),
            (What::Control, self.api.owner.as_fd()),
            (What::Lock, lock.as_fd()),
            (What::Told, told.as_fd()),
        ];
        files.extend(self.status.as_ref().map(|status| (What::Status, status.as_fd())));
        files.extend(self.http.as_ref().map(|http| (What::Http, http.as_fd())));
        files.extend(self.api.users.as_ref().map(|users| (What::Users, users.as_fd())));
        files.extend(self.api.keys.as_ref().map(|keys| (What::Keys, keys.as_fd())));
        let (files, handed): (Vec<_>, Vec<_>) = files.into_iter().unzip();
        let state = absolute(self.state.directory());
        let offer = Offer { version: VERSION, pid: std::process::id(), state, activated: self.activated, files };
        Ok(wire::offer(conversation, &offer, &handed)?)
    }

    /// Goes on as before.
    pub(crate) async fn go_on(&self) {
        let state = self.state.clone();
        let taken = tokio::task::spawn_blocking(move || state.take_back()).await;
        if let Ok(Err(error)) = taken {
            // It is tried again by itself, as after any failure of a disk.
            tracing::error!(%error, "the store cannot be opened again yet");
        }
        self.duologue.take_back(&self.intake).await;
    }
}

/// A directory by a name that means the same in another process.
pub(super) fn absolute(directory: &Path) -> PathBuf {
    std::fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned())
}

async fn expect(
    conversation: &UnixStream,
    patience: Duration,
    started: &mut Started,
    expected: &Said,
) -> anyhow::Result<()> {
    let own = conversation.try_clone()?;
    match tokio::task::spawn_blocking(move || wire::hear(&own, patience)).await? {
        Ok(Some(said)) if said == *expected => Ok(()),
        Ok(Some(Said::Refused(why))) => bail!("the new process cannot serve: {why}"),
        Ok(Some(said)) => bail!("the new process has said {said:?}"),
        Ok(None) => {
            // One that lives on all the same is not waited for.
            let status = started.0.as_mut().and_then(|child| child.kill().and_then(|()| child.wait()).ok());
            Err(anyhow!("the new process has ended ({}); the log may say why", status.unwrap_or_default()))
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            bail!("the new process has not answered within {} s", patience.as_secs())
        }
        Err(error) => Err(error).context("the new process is not understood"),
    }
}
