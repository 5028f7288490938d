//! The test bed of the groups that load a server: a state directory with devices in it, a server on a core of its own, and
//! clients beside it.
//!
//! ```text
//! server, core 0 ◄──sessions── load, the other cores        each a process, on loopback
//!    └── CPU seconds of its process ÷ what the clients counted = the cost of one: the clients' speed is not in it
//! ```

use std::{process::Stdio, thread::available_parallelism};

use anyhow::{Context as _, bail, ensure};
use duologue_server::{State, development};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{Kind, Transport, callgrind, child::Child, device};

/// Descriptors of a process beside its sockets.
const OTHER_DESCRIPTORS: u32 = 100;

/// What both servers find, whichever runs.
pub(crate) struct Bed {
    /// Removed when dropped.
    _directory: tempfile::TempDir,
    state: String,
    /// The cores of the server and of the clients, as `taskset` takes them.
    cores: Option<(String, String)>,
}

/// Which server, and how.
#[derive(Clone, Copy)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) transport: Transport,
    /// Its own.
    pub(crate) options: &'static [&'static str],
}

impl Server {
    const fn verb(self) -> &'static str {
        match self.kind {
            Kind::Duologue => "serve-duologue",
            Kind::Tungstenite => "serve-tungstenite",
        }
    }
}

/// A server that runs.
pub(crate) struct Running {
    pub(crate) process: Child,
    pub(crate) port: u16,
}

/// What the clients counted in one run, and what it cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) count: f64,
    /// Of the server.
    pub(crate) cpu_secs: f64,
    /// Of an echo; 0 where none was timed.
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
}

impl Bed {
    /// With so many devices enrolled, and room for as many sockets in a process.
    pub(crate) fn new(devices: u32) -> anyhow::Result<Self> {
        Self::with_room(devices, devices)
    }

    /// The same with room for so many sockets.
    pub(crate) fn with_room(devices: u32, sockets: u32) -> anyhow::Result<Self> {
        make_room_for(sockets)?;
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let path = directory.path().join("state");
        let state = path.to_str().context("the temporary directory has no proper name")?.to_owned();
        eprintln!("bench: enrolling {devices} devices");
        let opened = State::open(&path)?;
        development(opened.directory())?;
        device::enrol(&opened, devices)?;
        Ok(Self { _directory: directory, state, cores: None })
    }

    /// The same, with the server on a core of its own; on a machine of one core everybody shares it.
    pub(crate) fn pinned(devices: u32) -> anyhow::Result<Self> {
        let last = available_parallelism().map_or(1, usize::from) - 1;
        let cores = (last > 0).then(|| ("0".to_owned(), format!("1-{last}")));
        Ok(Self { cores, ..Self::new(devices)? })
    }

    pub(crate) fn state(&self) -> &str {
        &self.state
    }

    /// Starts a server and waits until it listens.
    pub(crate) async fn start(&self, server: Server) -> anyhow::Result<Running> {
        let cores = self.cores.as_ref().map(|(server, _)| &**server);
        Self::listening(Child::start(server.verb(), &self.arguments(server), cores)?).await
    }

    /// The same, with its instructions counted: they are told by [`Child::finish`].
    pub(crate) async fn start_counted(&self, server: Server) -> anyhow::Result<Running> {
        let mut valgrind = tokio::process::Command::from(callgrind::command()?);
        valgrind.arg(std::env::current_exe().context("cannot find this program")?);
        valgrind.arg(server.verb()).args(self.arguments(server)).stderr(Stdio::piped());
        Self::listening(Child::of(server.verb(), &mut valgrind)?).await
    }

    async fn listening(mut process: Child) -> anyhow::Result<Running> {
        let port = process.answer("ready").await?;
        Ok(Running { process, port })
    }

    fn arguments(&self, server: Server) -> Vec<String> {
        let mut arguments = self.for_both(server.transport).to_vec();
        arguments.extend(server.options.iter().map(|option| (*option).to_owned()));
        arguments
    }

    /// Starts anything where servers are.
    pub(crate) fn on_servers_core(&self, verb: &'static str, options: &[String]) -> anyhow::Result<Child> {
        Child::start(verb, options, self.cores.as_ref().map(|(server, _)| &**server))
    }

    /// Starts anything where clients are.
    pub(crate) fn on_others_cores(&self, verb: &'static str, options: &[String]) -> anyhow::Result<Child> {
        Child::start(verb, options, self.cores.as_ref().map(|(_, clients)| &**clients))
    }

    /// Starts clients of a verb.
    pub(crate) fn clients(
        &self,
        verb: &'static str,
        server: Server,
        port: u16,
        options: &[String],
    ) -> anyhow::Result<Child> {
        self.start_clients(verb, server, port, options, self.cores.as_ref().map(|(_, clients)| &**clients))
    }

    /// The same on the server's own core.
    pub(crate) fn beside_server(
        &self,
        verb: &'static str,
        server: Server,
        port: u16,
        options: &[String],
    ) -> anyhow::Result<Child> {
        self.start_clients(verb, server, port, options, self.cores.as_ref().map(|(server, _)| &**server))
    }

    fn start_clients(
        &self,
        verb: &'static str,
        server: Server,
        port: u16,
        options: &[String],
        cores: Option<&str>,
    ) -> anyhow::Result<Child> {
        let of_server = ["--kind".to_owned(), server.kind.to_string(), "--port".to_owned(), port.to_string()];
        let arguments = [&of_server[..], &self.for_both(server.transport), options].concat();
        Child::start(verb, &arguments, cores)
    }

    fn for_both(&self, transport: Transport) -> [String; 4] {
        ["--transport".to_owned(), transport.to_string(), "--state".to_owned(), self.state.clone()]
    }

    /// Loads a fresh server twice, the first time to warm up, and tells the second.
    pub(crate) async fn load(&self, server: Server, options: &[String]) -> anyhow::Result<Load> {
        let running = self.start(server).await?;
        let mut clients = self.clients("load", server, running.port, options)?;
        clients.answer::<u32>("open").await?;
        let mut last = None;
        for _ in 0..2 {
            let before = running.process.cpu_secs()?;
            clients.ask("run").await?;
            let count = clients.answer("count").await?;
            let (p50_micros, p99_micros) = (clients.answer("p50").await?, clients.answer("p99").await?);
            let cpu_secs = running.process.cpu_secs()? - before;
            ensure!(count > 0.0 && cpu_secs > 0.0, "nothing happened");
            last = Some(Load { count, cpu_secs, p50_micros, p99_micros });
        }
        clients.end().await?;
        running.process.end().await?;
        last.context("there were two runs")
    }

    /// What an echo costs a server in instructions.
    ///
    /// ```text
    /// server under callgrind ◄── one session's load, for a short while ─► instructions, echoes
    ///                        ◄── the same for longer                   ─► the difference, by echo
    /// ```
    pub(crate) async fn instructions_of_an_echo(
        &self,
        server: Server,
        load: &[&str],
        millis: [u32; 2],
    ) -> anyhow::Result<f64> {
        let mut counts = Vec::new();
        for millis in millis {
            let running = self.start_counted(server).await?;
            let load: Vec<_> = load.iter().map(|option| (*option).to_owned()).collect();
            let mut clients =
                self.clients("load", server, running.port, &[&load[..], &[format!("--millis={millis}")]].concat())?;
            clients.answer::<u32>("open").await?;
            clients.ask("run").await?;
            let echoes: f64 = clients.answer("count").await?;
            clients.end().await?;
            counts.push((callgrind::collected(&running.process.finish().await?)?, echoes));
        }
        let [(few, some), (many, more)] = *counts else { bail!("two were counted") };
        ensure!(more - some >= 500.0, "only {} echoes came back", more - some);
        Ok((many - few) / (more - some))
    }
}

impl Load {
    pub(crate) fn per_cpu_second(self) -> f64 {
        self.count / self.cpu_secs
    }
}

/// Raises this process's limit of open files, which its children inherit, if it is too low for so many sockets.
fn make_room_for(sessions: u32) -> anyhow::Result<()> {
    let needed = u64::from(sessions + OTHER_DESCRIPTORS);
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    ensure!(
        limit.maximum.is_none_or(|maximum| maximum >= needed),
        "{sessions} sessions need {needed} open files, and `ulimit -Hn` allows {}: raise it, or measure fewer sessions",
        limit.maximum.unwrap_or_default()
    );
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).context("cannot raise `ulimit -n`")
}
