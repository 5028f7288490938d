//! Processes, most of them of this same binary: started, asked line by line, ended when dropped.

use std::{
    io::{self, BufRead as _, Write as _},
    process::Stdio,
    str::FromStr,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tikv_jemalloc_ctl::{epoch, stats};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{ChildStdin, ChildStdout, Command},
};

/// Longer than any answer takes, even on a busy machine.
const ANSWER_SECS: u64 = 120;

/// A running process.
pub(crate) struct Child {
    name: &'static str,
    process: tokio::process::Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// This binary with a sub-command; on these cores only, if any are named.
    pub(crate) fn start(name: &'static str, arguments: &[String], cores: Option<&str>) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = match cores {
            None => Command::new(program),
            Some(cores) => {
                let mut taskset = Command::new("taskset");
                taskset.args(["-c", cores]).arg(program);
                taskset
            }
        };
        Self::of(name, command.arg(name).args(arguments))
    }

    /// Any command that ends when its standard input does.
    pub(crate) fn of(name: &'static str, command: &mut Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let stdin = process.stdin.take().context("stdin is piped")?;
        let stdout = process.stdout.take().context("stdout is piped")?;
        Ok(Self { name, process, stdin, stdout: BufReader::new(stdout).lines() })
    }

    pub(crate) async fn ask(&mut self, question: &str) -> anyhow::Result<()> {
        let asked = self.stdin.write_all(format!("{question}\n").as_bytes()).await;
        asked.with_context(|| format!("{} has ended", self.name))
    }

    /// The number behind `word` in its next line.
    pub(crate) async fn answer<T: FromStr>(&mut self, word: &str) -> anyhow::Result<T> {
        let line = tokio::time::timeout(Duration::from_secs(ANSWER_SECS), self.stdout.next_line()).await;
        let line = line.with_context(|| format!("{} did not answer within {ANSWER_SECS} s", self.name))??;
        let Some(line) = line else { bail!("{} has ended", self.name) };
        let number = line.strip_prefix(word).and_then(|rest| rest.trim().parse().ok());
        number.with_context(|| format!("{} said {line:?} in the place of {word:?}", self.name))
    }

    /// Seconds of all cores that it has used, its threads together and the kernel's work for it included.
    pub(crate) fn cpu_secs(&self) -> anyhow::Result<f64> {
        self.cpu_parts().map(|(user, system)| user + system)
    }

    /// The same in two parts: in its own code, and in the kernel.
    pub(crate) fn cpu_parts(&self) -> anyhow::Result<(f64, f64)> {
        /// What the kernel counts in here is of a fixed length (proc_pid_stat(5), `USER_HZ`).
        const TICKS_A_SECOND: f64 = 100.0;
        let id = self.process.id().with_context(|| format!("{} has ended", self.name))?;
        let path = format!("/proc/{id}/stat");
        let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}: Linux only"))?;
        // Behind the name, which may have anything in it, the third field comes first.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace());
        let mut ticks = fields.into_iter().flatten().skip(11).filter_map(|ticks| ticks.parse::<f64>().ok());
        let (user, system) = (ticks.next(), ticks.next());
        let parts = user.zip(system).map(|(user, system)| (user / TICKS_A_SECOND, system / TICKS_A_SECOND));
        parts.with_context(|| format!("{path} is not as expected"))
    }

    /// Bytes of its memory that no file stands behind: heap and stacks. What the kernel holds for its sockets is not in it.
    pub(crate) fn anonymous_len(&self) -> anyhow::Result<u64> {
        let id = self.process.id().with_context(|| format!("{} has ended", self.name))?;
        let path = format!("/proc/{id}/smaps_rollup");
        let rollup = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}: Linux only"))?;
        let kilobytes = rollup.lines().find_map(|line| line.strip_prefix("Pss_Anon:")?.strip_suffix("kB"));
        let kilobytes: Option<u64> = kilobytes.and_then(|number| number.trim().parse().ok());
        Ok(kilobytes.with_context(|| format!("{path} has no Pss_Anon: Linux 5.4 or later"))? * 1_024)
    }

    /// Bytes that are live on the heap of a server.
    pub(crate) async fn live_len(&mut self) -> anyhow::Result<u64> {
        self.ask("live").await?;
        self.answer("live").await
    }

    /// Lets go of it, so that it ends by itself, and gives what it has said on its standard error, where that was piped.
    pub(crate) async fn finish(self) -> anyhow::Result<String> {
        let Self { name, process, stdin, .. } = self;
        drop(stdin);
        let ended = process.wait_with_output().await.with_context(|| format!("{name} did not end"))?;
        Ok(String::from_utf8_lossy(&ended.stderr).into_owned())
    }

    /// Ends it and waits until it has ended, so that the next one does not share the machine with it.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        self.process.kill().await.with_context(|| format!("cannot end {}", self.name))
    }
}

/// In a child that serves: answers each line of its parent's with the bytes that are live on its heap, as the allocator
/// counts them, and ends the process when its parent has let go of it.
pub(crate) fn end_with_parent() {
    std::thread::spawn(|| {
        for _ in io::stdin().lock().lines() {
            let live = epoch::advance().and_then(|_| stats::allocated::read());
            let Ok(live) = live else { break };
            if writeln!(io::stdout(), "live {live}").is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
}
