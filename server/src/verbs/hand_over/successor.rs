//! The end of a hand-over that serves from then on.

use std::{
    fs::File,
    io,
    net::TcpListener,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use duologue_server::{ConfigFile, Duologue, State};

use super::{
    super::{sockets::Sockets, wrong_usage},
    former::absolute,
    wire::{self, Said, VERSION, What},
};

const NO_FORMER: &str = "--take-over is for processes that a running server starts: `duologue hand-over` has it do so";

/// How long the former may take until it has closed the store, and until it has told the service manager.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that takes the place of another.
#[derive(Debug)]
pub(crate) struct Successor {
    conversation: UnixStream,
    pid: u32,
    state: PathBuf,
    activated: bool,
    lock: OwnedFd,
    told: UnixStream,
    api: duologue_server::Sockets,
    pub(crate) sockets: Sockets,
}

/// Tells the former why nothing comes of it.
#[derive(Debug)]
pub(crate) struct Refusal(UnixStream);

impl Refusal {
    pub(crate) fn tell(&self, error: &anyhow::Error) {
        // Where it is gone nobody wants to know.
        let _ = wire::say(&self.0, &Said::Refused(format!("{error:#}")));
    }
}

impl Successor {
    /// By the offer that comes by the standard input.
    pub(crate) fn at_stdin() -> anyhow::Result<Self> {
        let conversation = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let (offer, files) = wire::take_offer(&conversation).map_err(|_| wrong_usage(NO_FORMER))?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        if offer.version != VERSION {
            let refusal = anyhow!("the running server is of another version: stop it and start this one");
            Refusal(conversation).tell(&refusal);
            return Err(refusal);
        }
        let mut files: Vec<_> = offer.files.into_iter().zip(files).collect();
        let mut take = |what| {
            let at = files.iter().position(|(it, _)| *it == what)?;
            Some(files.swap_remove(at).1)
        };
        let (users, keys) = (take(What::Users), take(What::Keys));
        let (status, http) = (take(What::Status), take(What::Http));
        let mut needed = |what| take(what).context("the running server has not given all that is needed");
        Ok(Self {
            lock: needed(What::Lock)?,
            told: needed(What::Told)?.into(),
            api: duologue_server::Sockets {
                owner: needed(What::Control)?.into(),
                users: users.map(UnixListener::from),
                keys: keys.map(TcpListener::from),
            },
            sockets: Sockets {
                lines: Some(needed(What::Lines)?.into()),
                status: status.map(TcpListener::from),
                http: http.map(TcpListener::from),
            },
            conversation,
            pid: offer.pid,
            state: offer.state,
            activated: offer.activated,
        })
    }

    /// For whoever finds out why it comes to nothing.
    pub(crate) fn refusal(&self) -> io::Result<Refusal> {
        self.conversation.try_clone().map(Refusal)
    }

    /// Whether a service manager has opened the socket of lines.
    pub(crate) const fn is_activated(&self) -> bool {
        self.activated
    }

    /// Says that all that can be wrong was looked at, and opens the state once the former has closed it.
    pub(crate) fn open(&self, directory: &Path) -> anyhow::Result<State> {
        let there = absolute(directory);
        if there != self.state {
            bail!(
                "its state is in {}, and the running server's in {}: stop that one and start this",
                there.display(),
                self.state.display()
            );
        }
        wire::say(&self.conversation, &Said::Ready)?;
        self.expect(&Said::Closed)?;
        Ok(State::take_over(directory, self.lock.try_clone()?)?)
    }

    /// The sockets of the local API.
    pub(crate) fn api(&self) -> io::Result<duologue_server::Sockets> {
        self.api.try_clone()
    }

    /// Says that it serves: the former lets nobody in any more, and each tells the other what counts for both. Gives the former's id.
    pub(crate) fn serves(self, duologue: &Duologue, config: &ConfigFile) -> anyhow::Result<u32> {
        wire::say(&self.conversation, &Said::Serves)?;
        self.expect(&Said::Go)?;
        // Whatever the former is told, it has told of nothing that it does not know.
        duologue.stand_beside(self.conversation, self.told, |_| true)?;
        config.pass_policy_on(duologue);
        Ok(self.pid)
    }

    fn expect(&self, expected: &Said) -> anyhow::Result<()> {
        match wire::hear(&self.conversation, PATIENCE).context("the running server does not answer")? {
            Some(said) if said == *expected => Ok(()),
            Some(said) => bail!("the running server has said {said:?}"),
            None => bail!("the running server has ended"),
        }
    }
}
