//! `duologue-bench`: what `cargo xtask bench` runs. Every figure stands beside a baseline of the same run.
//!
//! ```text
//! idle ──starts──► serve-duologue | serve-tungstenite ◄──sessions── clients ◄──starts── idle
//!   └──reads the memory of the server's process, writes the table and target/bench/idle.json
//! page ──starts──► Chromium, whose page measures ──posts──► page, writes the table and target/bench/page.json
//! ```
//!
//! # Layout
//!
//! `idle.rs` a group: memory of an idle session · `server.rs` its two servers · `clients.rs`, `line.rs` those who connect ·
//! `device.rs` devices by number · `page/` a group: speed in a browser · `child.rs` the processes that a group starts ·
//! `report.rs` what every group reports
//!
//! The servers of `idle` live in processes of their own, which hold nothing else. A process ends when its standard input
//! does, so that none outlives whoever started it.

mod child;
mod clients;
mod device;
mod idle;
mod line;
mod page;
mod report;
mod server;

use std::{fmt, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};

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
    /// The process that is measured: Duologue
    #[command(hide = true)]
    ServeDuologue(server::Serve),
    /// The baseline's process: tokio-tungstenite
    #[command(hide = true)]
    ServeTungstenite(server::ServeTungstenite),
    /// Whoever connects to either
    #[command(hide = true)]
    Clients(clients::Clients),
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
        Verb::ServeDuologue(verb) => verb.run().await,
        Verb::ServeTungstenite(verb) => verb.run().await,
        Verb::Clients(verb) => verb.run().await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("duologue-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
