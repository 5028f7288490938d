//! The last kind of the group `flood`: what a connection of a banned address costs, beside what it costs to accept one and close it.
//!
//! ```text
//! core 0   server, which has banned this machine's own address │ accept, close, in a loop: the least that any server can do
//! core 1   connections from there, as fast as they can be opened and reset, to one and then to the other
//! ```
//!
//! Loopback is never banned, so that this machine's own address stands for a stranger's; the kernel takes the same way for both.

use std::{
    io::Write as _,
    net::{IpAddr, TcpListener},
    time::Duration,
};

use anyhow::{Context as _, ensure};

use crate::{
    attack::Attack,
    bed::Bed,
    child::{self, Child},
    report::{Comparison, Goal},
};

const USER_MICROS: f64 = 5.0;
const TIMES_BARE: f64 = 1.3;

/// What accepts and closes, and nothing else.
#[derive(clap::Args)]
pub(crate) struct ServeBare {
    #[arg(long)]
    at: IpAddr,
}

impl ServeBare {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        child::end_with_parent();
        let listener = TcpListener::bind((self.at, 0)).context("cannot listen")?;
        socket2::SockRef::from(&listener).listen(1_024)?;
        writeln!(std::io::stdout(), "ready {}", listener.local_addr()?.port())?;
        loop {
            drop(listener.accept());
        }
    }
}

/// Microseconds of one connection: in the server's own code, and with the kernel's work for it.
#[derive(Default)]
struct Each {
    user: Vec<f64>,
    all: Vec<f64>,
}

/// Measures both, in turns. None where this machine has no address but loopback.
pub(crate) async fn measure(bed: &Bed, rounds: u32, millis: u64) -> anyhow::Result<Vec<Comparison>> {
    let addresses = if_addrs::get_if_addrs().context("the addresses of this machine cannot be had")?;
    let Some(at) = addresses.into_iter().map(|found| found.ip()).find(|ip| !ip.is_loopback() && ip.is_ipv4()) else {
        eprintln!("bench: skipped: {} (this machine has no address but loopback)", Attack::Banned.words());
        return Ok(Vec::new());
    };
    let (mut ours, mut bare) = (Each::default(), Each::default());
    for _ in 0..rounds {
        let at = format!("--at={at}");
        for (verb, options, each) in [
            (
                "serve-duologue",
                vec!["--transport=tls".to_owned(), format!("--state={}", bed.state()), "--banned".to_owned()],
                &mut ours,
            ),
            ("serve-bare", Vec::new(), &mut bare),
        ] {
            let server = bed.on_servers_core(verb, &[&options[..], std::slice::from_ref(&at)].concat())?;
            run(bed, server, &at, millis, each).await.with_context(|| verb.to_owned())?;
        }
    }
    let words = Attack::Banned.words();
    let figure = |what: &str, ours: Vec<f64>, baseline: Vec<f64>, goal| Comparison {
        name: format!("{words}: {what} of a connection"),
        unit: "µs",
        ours,
        baseline,
        baseline_name: "accept and close",
        goal,
    };
    Ok(vec![
        figure("user time", ours.user, bare.user, Goal::AtMostOf(USER_MICROS, "µs")),
        figure("user and system time", ours.all, bare.all, Goal::AtMost(TIMES_BARE)),
    ])
}

async fn run(bed: &Bed, mut server: Child, at: &str, millis: u64, each: &mut Each) -> anyhow::Result<()> {
    let port: u16 = server.answer("ready").await?;
    let options = [
        format!("--attack={}", Attack::Banned),
        format!("--millis={millis}"),
        at.to_owned(),
        format!("--port={port}"),
        "--kind=duologue".to_owned(),
        "--transport=tls".to_owned(),
        format!("--state={}", bed.state()),
    ];
    let mut flood = bed.on_others_cores("attack", &options)?;
    flood.answer::<u32>("ready").await?;
    let before = server.cpu_parts()?;
    flood.ask("run").await?;
    let count: f64 = flood.answer("count").await?;
    // What is still in the queue.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let after = server.cpu_parts()?;
    ensure!(count > 1_000.0, "only {count} connections came about");
    let [user, system] = [after.0 - before.0, after.1 - before.1].map(|secs| secs * 1e6 / count);
    eprintln!("bench: {count} connections, {user:.2} µs of user time and {system:.2} µs of the kernel's each");
    each.user.push(user);
    each.all.push(user + system);
    flood.end().await?;
    server.end().await
}
