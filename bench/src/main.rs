//! `duologue-bench`: what `cargo xtask bench` runs. Every figure stands beside a baseline of the same run.
//!
//! ```text
//! idle ──────► serve-duologue | serve-tungstenite ◄──sessions── clients      memory of the server's process
//! native ────► serve-duologue | serve-tungstenite ◄──sessions── load         what each CPU second of that process moves
//! scale, handshake: as native
//! flood ─────► serve-duologue ◄── an open line, newcomers; ◄── strangers who mean ill, from the other core
//! connect ───► a path that delays ──► both servers
//! page ──────► Chromium, whose page measures and posts
//! each writes a table, and its entries into target/bench/GROUP.json
//! ```
//!
//! # Layout
//!
//! a file for each group: `page/`, `native.rs`, `handshake.rs`, `connect.rs` with its `path.rs`, `scale.rs`, `idle.rs`,
//! `flood.rs` with its `attack.rs` and `banned.rs`, `growth.rs`, `cut.rs`, `kept.rs`, `watch.rs` ·
//! `gate.rs` what `bench gate` counts instructions of · `bed.rs` servers and clients on cores of their own · `server.rs` the
//! two servers · `clients.rs`, `load.rs`, `line.rs` those who connect · `device.rs` devices by number · `child.rs` the
//! processes that a group starts · `report.rs` what every group reports
//!
//! Servers live in processes of their own, which hold nothing else. A process ends when its standard input does, so that none
//! outlives whoever started it.

mod attack;
mod banned;
mod bed;
mod callgrind;
mod child;
mod clients;
mod connect;
mod cut;
mod device;
mod flood;
mod gate;
mod growth;
mod handshake;
mod idle;
mod kept;
mod line;
mod load;
mod native;
mod page;
mod path;
mod report;
mod scale;
mod server;
mod token;
mod watch;

use std::{fmt, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};

/// The binary `duologue` has it too, and it counts what is live.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(name = "duologue-bench", about = "Measures Duologue beside a baseline")]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Memory of an idle session in the server
    Idle(idle::Idle),
    /// Messages and bytes between a page and a server
    Page(page::Page),
    /// A page just loaded, to the first reply
    Loaded(page::loaded::Loaded),
    /// Server CPU of a handshake, and new sessions a core
    Handshake(handshake::Handshake),
    /// Messages and bytes that a core of the server moves
    Native(native::Native),
    /// What it costs that sessions are kept on disk
    Kept(kept::Kept),
    /// The cost of a message with ever more sessions
    Scale(scale::Scale),
    /// Round trips to the first reply, and after a cut
    Connect(connect::Connect),
    /// What floods do to an open line, and to who comes new
    Flood(flood::Flood),
    /// How long until all lines are back that were cut at once
    Cut(cut::Cut),
    /// What is done for one line, beside up to a million others
    Growth(growth::Growth),
    /// The process that is measured: Duologue
    #[command(hide = true)]
    ServeDuologue(server::Serve),
    /// The baseline's process: tokio-tungstenite
    #[command(hide = true)]
    ServeTungstenite(server::ServeTungstenite),
    /// What an echo costs the server, in instructions
    #[command(hide = true)]
    Watch(watch::Watch),
    /// The baseline of the banned
    #[command(hide = true)]
    ServeBare(banned::ServeBare),
    /// Whoever connects to either and is idle
    #[command(hide = true)]
    Clients(clients::Clients),
    /// What callgrind counts the instructions of
    #[command(hide = true)]
    Gate(gate::Gate),
    /// Those whose lines are cut
    #[command(hide = true)]
    CutClients(cut::CutClients),
    /// A server with many devices, for the group growth
    #[command(hide = true)]
    Beside(growth::Beside),
    /// Strangers who mean ill
    #[command(hide = true)]
    Attack(attack::Attackers),
    /// Whoever loads either
    #[command(hide = true)]
    Load(load::Load),
}

/// What is measured, and what it is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Duologue,
    Tungstenite,
}

/// Whether there is TLS between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Transport {
    Tls,
    /// As behind a proxy of the same machine.
    Clear,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Duologue => "duologue",
            Self::Tungstenite => "tungstenite",
        })
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "tls",
            Self::Clear => "clear",
        })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Args::parse().verb {
        Verb::Idle(verb) => verb.run().await,
        Verb::Page(verb) => verb.run().await,
        Verb::Loaded(verb) => verb.run().await,
        Verb::Handshake(verb) => verb.run().await,
        Verb::Native(verb) => verb.run().await,
        Verb::Kept(verb) => verb.run().await,
        Verb::Scale(verb) => verb.run().await,
        Verb::Connect(verb) => verb.run().await,
        Verb::Flood(verb) => verb.run().await,
        Verb::Growth(verb) => verb.run().await,
        Verb::Cut(verb) => verb.run().await,
        Verb::CutClients(verb) => verb.run().await,
        Verb::Beside(verb) => verb.run().await,
        Verb::Attack(verb) => verb.run().await,
        Verb::ServeDuologue(verb) => verb.run().await,
        Verb::ServeTungstenite(verb) => verb.run().await,
        Verb::Clients(verb) => verb.run().await,
        Verb::Load(verb) => verb.run().await,
        Verb::Watch(verb) => verb.run().await,
        Verb::ServeBare(verb) => verb.run(),
        Verb::Gate(verb) => verb.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("duologue-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
