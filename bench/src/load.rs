//! Those who load a server: all in one process, beside the server's.
//!
//! It opens its sessions and says `open N`; told `run`, it does its job for a while, and says `count N`, `p50 MICROS` and
//! `p99 MICROS`. What it counts has come back from the server.
//!
//! ```text
//! echo      so many messages in flight; for each that comes back another leaves     count: messages
//! stream    bytes as fast as they are taken, and all of them back                   count: bytes
//! rate      a clock gives each session its turn; each echo is timed                 count: messages
//! connect   sessions are opened and closed, one after the other                     count: sessions
//! newcomers strangers to the server, one now and then; each one's way in is timed   count: those soon in
//! ```
//!
//! The bare WebSocket's client joins its writes as ours does, so that the servers are asked the same way.

use std::{
    collections::VecDeque,
    io::{BufRead as _, Write as _},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use duologue::Offer;
use duologue_native::{Channel, Line};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _, TryStreamExt as _, future, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};
use tokio_tungstenite::tungstenite::{Message, protocol::WebSocketConfig};

use crate::{
    clients::{BareWebSocket, Dial, OPENING_MAX, To},
    device::{self, NEW_DEVICES},
    line,
    token::Shown,
};

/// What waits for one write of a bare WebSocket, and what a stream reads at a time.
const BUFFER_LEN: usize = 128 * 1_024;
/// How soon a newcomer is to be in, and when it gives up.
const NEWCOMERS_LIMIT: Duration = Duration::from_secs(2);
const NEWCOMERS_PATIENCE: Duration = Duration::from_secs(8);

#[derive(clap::Args)]
pub(crate) struct Load {
    #[command(flatten)]
    server: To,
    #[arg(long)]
    job: Job,
    /// At the same time
    #[arg(long, default_value_t = 1)]
    sessions: u32,
    /// Messages on their way in each session
    #[arg(long, default_value_t = 1)]
    in_flight: u32,
    /// Bytes of a message
    #[arg(long, default_value_t = 64)]
    len: usize,
    /// Messages a second of all sessions together
    #[arg(long, default_value_t = 1_000)]
    rate: u32,
    /// Where sessions are opened and closed, how often each is in a run, whatever the time
    #[arg(long)]
    times: Option<u64>,
    /// How long a run takes
    #[arg(long, default_value_t = 1_000)]
    millis: u64,
    /// The first invite of newcomers
    #[arg(long, default_value_t = 0)]
    first_invite: u32,
    /// What each session's person shows, where sessions are opened and closed
    #[arg(long)]
    token: Option<Shown>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Job {
    Echo,
    Stream,
    Rate,
    Connect,
    Newcomers,
}

/// What one run came to.
#[derive(Default)]
struct Counted {
    count: u64,
    /// Of each echo, in microseconds.
    times: Vec<u32>,
}

/// A session, whichever the server.
enum Session {
    Duologue(Line, Channel),
    Tungstenite(Box<BareWebSocket>),
}

impl Load {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let dial = self.server.dial()?;
        let mut sessions = Vec::new();
        if !matches!(self.job, Job::Connect | Job::Newcomers) {
            let opening = (0..self.sessions).map(|number| Session::open(Arc::clone(&dial), number));
            sessions = stream::iter(opening).buffer_unordered(OPENING_MAX).try_collect().await?;
        }
        writeln!(std::io::stdout(), "open {}", self.sessions)?;
        // Nothing else runs on this thread meanwhile.
        for (run, line) in (0..).zip(std::io::stdin().lock().lines()) {
            ensure!(line?.trim() == "run", "`run` was expected");
            let until = Instant::now() + Duration::from_millis(self.millis);
            let counted = match self.job {
                Job::Connect => self.connect(&dial, until).await?,
                Job::Newcomers => self.newcomers(&dial, run).await,
                Job::Rate => self.rate(&mut sessions, until).await?,
                Job::Echo | Job::Stream => self.exchange(&mut sessions, until).await?,
            };
            let (p50, p99) = percentiles(counted.times);
            writeln!(std::io::stdout(), "count {}\np50 {p50}\np99 {p99}", counted.count)?;
        }
        Ok(())
    }

    /// All sessions at the same time.
    async fn exchange(&self, sessions: &mut [Session], until: Instant) -> anyhow::Result<Counted> {
        let message = vec![0x5a; self.len];
        let each = sessions.iter_mut().map(|session| async {
            match (self.job, session) {
                (Job::Stream, Session::Duologue(line, _)) => stream_duologue(line, &message, until).await,
                (Job::Stream, Session::Tungstenite(socket)) => stream_tungstenite(socket, &message, until).await,
                (_, Session::Duologue(_, channel)) => echo_duologue(channel, self.in_flight, &message, until).await,
                (_, Session::Tungstenite(socket)) => echo_tungstenite(socket, self.in_flight, &message, until).await,
            }
        });
        let counts = future::try_join_all(each).await?;
        Ok(Counted { count: counts.iter().sum(), times: Vec::new() })
    }

    /// Each session in turn is told to send by a clock that does not wait for anybody.
    async fn rate(&self, sessions: &mut [Session], until: Instant) -> anyhow::Result<Counted> {
        let (turns, mut told): (Vec<_>, Vec<_>) = sessions.iter().map(|_| mpsc::unbounded_channel()).unzip();
        let gap = Duration::from_secs(1) / self.rate;
        // A thread: the runtime's own timer is as coarse as a millisecond.
        let clock = std::thread::spawn(move || {
            let mut next = Instant::now();
            for turn in turns.iter().cycle() {
                if next >= until || turn.send(()).is_err() {
                    return;
                }
                next += gap;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        let message = vec![0x5a; self.len];
        let each = sessions.iter_mut().zip(&mut told).map(|(session, turns)| session.timed_echoes(turns, &message));
        let times = future::try_join_all(each).await?.concat();
        clock.join().map_err(|_| anyhow::anyhow!("the clock has stopped"))?;
        Ok(Counted { count: u64::try_from(times.len())?, times })
    }

    /// Each of the sessions again and again, and no TLS session is resumed.
    async fn connect(&self, dial: &Arc<Dial>, until: Instant) -> anyhow::Result<Counted> {
        let each = (0..self.sessions).map(|number| async move {
            let mut count = 0;
            while self.times.map_or_else(|| Instant::now() < until, |times| count < times) {
                match dial.server_key() {
                    // Dropped, it closes.
                    Some(_) => drop(match self.token {
                        None => line::open(Arc::clone(dial), number).await?,
                        Some(shown) => {
                            let token = shown.by(number);
                            let line = line::open_with_token(Arc::clone(dial), number, token).await?;
                            // What is refused costs something else.
                            let mut standing = line.standing();
                            let level = standing.wait_for(|standing| standing.level > 0).await?.level;
                            ensure!(level == 2, "the token was not taken");
                            line
                        }
                    }),
                    None => dial.websocket(WebSocketConfig::default()).await?.close(None).await?,
                }
                count += 1;
            }
            anyhow::Ok(count)
        });
        let counts: Vec<u64> = future::try_join_all(each).await?;
        Ok(Counted { count: counts.iter().sum(), times: Vec::new() })
    }

    /// One after another comes new, spread over the time of a run: by turns a device that was here before, without a
    /// ticket, and a new one with an invite of its own. Those are counted who are in within the limit, and all are timed.
    async fn newcomers(&self, dial: &Arc<Dial>, run: u32) -> Counted {
        let gap = Duration::from_millis(self.millis) / self.sessions;
        let begun = Instant::now();
        let each = (0..self.sessions).map(|number| async move {
            tokio::time::sleep_until((begun + gap * number).into()).await;
            let came = Instant::now();
            let opening = newcomer(Arc::clone(dial), 1 + number, self.first_invite + run * self.sessions + number);
            let opened = tokio::time::timeout(NEWCOMERS_PATIENCE, opening).await;
            match &opened {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => eprintln!("bench: newcomer {number} is not in: {error:#}"),
                Err(_) => eprintln!("bench: newcomer {number} is not in after {} s", NEWCOMERS_PATIENCE.as_secs()),
            }
            (matches!(opened, Ok(Ok(_))), came.elapsed())
        });
        let all = future::join_all(each).await;
        let count = all.iter().filter(|(is_in, took)| *is_in && *took <= NEWCOMERS_LIMIT).count();
        let times = all.iter().map(|(_, took)| u32::try_from(took.as_micros()).unwrap_or(u32::MAX)).collect();
        Counted { count: count as u64, times }
    }
}

/// Opens a line, and has one echo: then somebody is in. `known` is a device of the server's; `invite` one that it has made.
async fn newcomer(dial: Arc<Dial>, known: u32, invite: u32) -> anyhow::Result<()> {
    let line = if invite.is_multiple_of(2) {
        line::open(dial, known).await?
    } else {
        let server_key = dial.server_key().context("the server is none of Duologue")?;
        let offer = Offer::Invite(device::invite(invite, server_key));
        line::open_with(dial, NEW_DEVICES + invite, offer).await?
    };
    ensure!(line.request("echo", vec![0x5a; 64]).await?.len() == 64, "another echo");
    Ok(())
}

impl Session {
    async fn open(dial: Arc<Dial>, number: u32) -> anyhow::Result<Self> {
        if dial.server_key().is_none() {
            let config = WebSocketConfig::default().read_buffer_size(BUFFER_LEN).write_buffer_size(BUFFER_LEN);
            return Ok(Self::Tungstenite(Box::new(dial.websocket(config).await?)));
        }
        let line = line::open(dial, number).await.with_context(|| format!("session {number}"))?;
        let channel = line.channel("echo")?;
        Ok(Self::Duologue(line, channel))
    }

    /// Sends a message at each turn until there are no more, and times each echo.
    async fn timed_echoes(
        &mut self,
        turns: &mut mpsc::UnboundedReceiver<()>,
        message: &[u8],
    ) -> anyhow::Result<Vec<u32>> {
        let (mut sent, mut times, mut over) = (VecDeque::new(), Vec::new(), false);
        while !over || !sent.is_empty() {
            tokio::select! {
                turn = turns.recv(), if !over => match turn {
                    None => over = true,
                    Some(()) => {
                        sent.push_back(Instant::now());
                        match self {
                            Self::Duologue(_, channel) => drop(channel.send(message).await?),
                            Self::Tungstenite(socket) => socket.send(Message::binary(message.to_vec())).await?,
                        }
                    }
                },
                echo = self.echo(), if !sent.is_empty() => {
                    ensure!(echo? == message.len(), "another echo");
                    let sent: Instant = sent.pop_front().context("an echo of nothing")?;
                    times.push(u32::try_from(sent.elapsed().as_micros())?);
                }
            }
        }
        Ok(times)
    }

    /// The length of the next echo.
    async fn echo(&mut self) -> anyhow::Result<usize> {
        match self {
            Self::Duologue(_, channel) => Ok(channel.recv().await?.context("the channel has ended")?.len()),
            Self::Tungstenite(socket) => length(socket.next().await),
        }
    }
}

async fn echo_duologue(channel: &Channel, in_flight: u32, message: &[u8], until: Instant) -> anyhow::Result<u64> {
    for _ in 0..in_flight {
        channel.send(message).await?;
    }
    let (mut left, mut count) = (in_flight, 0);
    while left > 0 {
        let echo = channel.recv().await?.context("the channel has ended")?;
        ensure!(echo.len() == message.len(), "another echo");
        count += 1;
        if Instant::now() < until {
            channel.send(echo).await?;
        } else {
            left -= 1;
        }
    }
    Ok(count)
}

async fn echo_tungstenite(
    socket: &mut BareWebSocket,
    in_flight: u32,
    message: &[u8],
    until: Instant,
) -> anyhow::Result<u64> {
    for _ in 0..in_flight {
        socket.feed(Message::binary(message.to_vec())).await?;
    }
    let (mut left, mut count) = (in_flight, 0);
    while left > 0 {
        // What is there is answered together.
        let echo = match socket.next().now_or_never() {
            Some(echo) => echo,
            None => {
                socket.flush().await?;
                socket.next().await
            }
        };
        ensure!(length(echo)? == message.len(), "another echo");
        count += 1;
        if Instant::now() < until {
            socket.feed(Message::binary(message.to_vec())).await?;
        } else {
            left -= 1;
        }
    }
    Ok(count)
}

async fn stream_duologue(line: &Line, bytes: &[u8], until: Instant) -> anyhow::Result<u64> {
    let (mut read, mut write) = tokio::io::split(line.stream("echo")?);
    let writing = async {
        let mut written = 0;
        while Instant::now() < until {
            write.write_all(bytes).await?;
            written += u64::try_from(bytes.len())?;
        }
        write.shutdown().await?;
        anyhow::Ok(written)
    };
    let reading = async {
        let (mut buffer, mut count) = (vec![0; BUFFER_LEN], 0);
        loop {
            match read.read(&mut buffer).await? {
                0 => return anyhow::Ok(count),
                len => count += u64::try_from(len)?,
            }
        }
    };
    let (written, count) = future::try_join(writing, reading).await?;
    ensure!(written == count, "{count} of {written} bytes came back");
    Ok(count)
}

async fn stream_tungstenite(socket: &mut BareWebSocket, bytes: &[u8], until: Instant) -> anyhow::Result<u64> {
    let (mut write, mut read) = socket.split();
    let writing = async {
        while Instant::now() < until {
            write.send(Message::binary(bytes.to_vec())).await?;
        }
        // An empty one says that there are no more.
        write.send(Message::binary(Vec::new())).await?;
        anyhow::Ok(())
    };
    let reading = async {
        let mut count = 0;
        loop {
            match length(read.next().await)? {
                0 => return anyhow::Ok(count),
                len => count += u64::try_from(len)?,
            }
        }
    };
    Ok(future::try_join(writing, reading).await?.1)
}

fn length(message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>) -> anyhow::Result<usize> {
    match message.context("the WebSocket has ended")?? {
        Message::Binary(echo) => Ok(echo.len()),
        other => bail!("{other:?} in the place of an echo"),
    }
}

/// The 50th and the 99th; 0 of none.
fn percentiles(mut times: Vec<u32>) -> (u32, u32) {
    times.sort_unstable();
    let percentile = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    (percentile(50), percentile(99))
}

#[cfg(test)]
mod tests {
    use super::percentiles;

    #[test]
    fn one_of_a_hundred_is_slower() {
        assert_eq!(percentiles((1..=200).rev().collect()), (101, 199));
        assert_eq!(percentiles(vec![7]), (7, 7));
        assert_eq!(percentiles(Vec::new()), (0, 0));
    }
}
