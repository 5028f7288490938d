//! `cargo xtask VERB`: every developer verb of the workspace, the same on a laptop and on a build machine.
//!
//! ```text
//! tools ──► wasm ──► demo, npm,    tidy ──┐          bench
//!              │     package              │
//!              └───► test                 ├──► ci
//!                     └───────────────────┘
//! ```
//!
//! One file for each verb; `bench` has some more: `gate`, `size`, `figures`, `charts`. Commands run from the workspace root, wherever the verb is called, and whatever a verb
//! builds or installs lies under `target/`; two things go elsewhere, both only when missing: rustup's target and
//! components, and, for root on Debian, the browser. xtask talks on stderr; on stdout goes what a script may want:
//! the sizes, the counts, and what the server itself prints.

mod against;
mod autobahn;
mod bench;
mod charts;
mod ci;
mod codes;
mod compress;
mod crates;
mod debug;
mod demo;
mod deny;
mod dist;
mod docs;
mod engines;
mod examples;
mod figures;
mod gate;
mod harness;
mod imports;
mod integrity;
mod long;
mod npm;
mod packaging;
mod process;
mod proxies;
mod rooms;
mod row;
mod shrink;
mod sim;
mod size;
mod tally;
mod test;
mod tidy;
mod tools;
mod unsteady;
mod vendor;
mod wasm;
mod watch_cost;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The developer verbs of Duologue")]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build the page, its WebAssembly core and their brotli copies into target/web
    Wasm {
        /// Build quickly and with debug information; the size bound does not apply
        #[arg(long)]
        dev: bool,
        /// Then build it again from a copy of the sources in another folder, and compare the hashes of all files
        #[arg(long, conflicts_with = "dev")]
        check_reproducible: bool,
    },
    /// Build everything and start a server with a page to try
    Demo {
        /// The port to listen on
        #[arg(long, default_value_t = 8443)]
        port: u16,
        /// Where the server keeps its state; default: target/demo
        #[arg(long)]
        state: Option<PathBuf>,
    },
    /// Build the npm package: target/npm/duologue-VERSION.tgz
    Npm {
        /// Then install it into one project for each bundler and runtime, and run these
        #[arg(long)]
        matrix: bool,
        /// Only the projects whose name contains this
        #[arg(long, requires = "matrix")]
        filter: Option<String>,
    },
    /// Make the crates that are published, target/package/NAME-VERSION.crate, and build and run them from these alone
    Package {
        /// Only as far as their types go, with what is compiled already: what `test --full` does
        #[arg(long)]
        quick: bool,
    },
    /// Make what operators install, into target/dist: a package for Debian, static binaries, sums; then try it
    Dist {
        /// Without optimisation: to try the packing
        #[arg(long)]
        quick: bool,
        /// In place of trying it: make it again from a copy of the sources in another folder, and compare
        #[arg(long)]
        check_reproducible: bool,
        /// Leave out trying it
        #[arg(long)]
        only_make: bool,
    },
    /// Run all tests: native, as wasm, end to end
    Test {
        /// Only the tests whose name contains this
        #[arg(long)]
        filter: Option<String>,
        /// Two more browser engines, the packaging matrix and a second build of the page too; where CI=true they always run
        #[arg(long)]
        full: bool,
        /// Only the end-to-end tests in this engine
        #[arg(long, conflicts_with = "full")]
        engine: Option<engines::Engine>,
        /// Only the end-to-end tests before real proxies, all that can be had; writes what it saw into docs/PROXIES.md
        #[arg(long, conflicts_with_all = ["full", "engine"])]
        proxies: bool,
        /// Only what has a small form otherwise, in its whole form; writes what it saw into docs/LONG.md
        #[arg(long, conflicts_with_all = ["full", "engine", "proxies"])]
        long: bool,
        /// Only Autobahn's cases against the server's WebSocket; writes what they saw into docs/AUTOBAHN.md
        #[arg(long, conflicts_with_all = ["full", "engine", "proxies", "filter", "long"])]
        autobahn: bool,
    },
    /// Measure, each figure beside a baseline in the same run; without a group all of them, into docs/BENCHMARKS.md
    #[command(args_conflicts_with_subcommands = true)]
    Bench {
        #[command(flatten)]
        rounds: bench::Rounds,
        /// Measure this revision too, by its own benchmark, and print how many times its figures these are
        #[arg(long, value_name = "REV")]
        against: Option<String>,
        /// Of which groups: gate, handshake, idle, page; without it, of all four
        #[arg(long, value_name = "GROUP", requires = "against")]
        of: Vec<String>,
        #[command(subcommand)]
        group: Option<bench::Group>,
    },
    /// Run the core's simulation over many seeds, optimised, on all cores
    Sim {
        /// How many seeds
        #[arg(long, default_value_t = 100_000)]
        seeds: u64,
        /// The first of them
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
    /// Write the codes that errors have into the declarations, and check the table of what to do about them
    Codes,
    /// Write the reference of the crates and of the npm package into target/docs
    Docs,
    /// tidy, then test
    Ci,
    /// Look for known vulnerabilities of dependencies; says so where there is no database of them
    Advisories,
    /// Check formatting, lints, docs, the licences and sources of dependencies, and the text of tracked files
    Tidy {
        /// Repair what a tool can repair
        #[arg(long)]
        fix: bool,
    },
}

fn main() -> ExitCode {
    let done = match Args::parse().verb {
        Verb::Wasm { dev, check_reproducible } => wasm::verb(dev, check_reproducible),
        Verb::Demo { port, state } => demo::verb(port, state),
        Verb::Npm { matrix: false, .. } => npm::verb(),
        Verb::Npm { matrix: true, filter } => packaging::verb(filter.as_deref()),
        Verb::Dist { quick, check_reproducible, only_make } => dist::verb(quick, check_reproducible, only_make),
        Verb::Package { quick } => crates::verb(quick),
        Verb::Test { filter, engine: Some(engine), .. } => test::engine_verb(filter.as_deref(), engine),
        Verb::Test { filter, proxies: true, .. } => test::proxies_verb(filter.as_deref()),
        Verb::Test { filter, long: true, .. } => long::verb(filter.as_deref()),
        Verb::Test { autobahn: true, .. } => autobahn::verb(),
        Verb::Test { filter, full, .. } => test::verb(filter.as_deref(), full),
        Verb::Bench { rounds, against: Some(revision), of, .. } => against::verb(&revision, &of, rounds.option()),
        Verb::Bench { rounds, group, .. } => bench::verb(rounds, group.as_ref()),
        Verb::Sim { seeds, from } => sim::verb(seeds, from),
        Verb::Codes => codes::verb(),
        Verb::Docs => docs::verb(),
        Verb::Ci => ci::verb(),
        Verb::Advisories => deny::advisories().map(|()| ExitCode::SUCCESS),
        Verb::Tidy { fix } => tidy::verb(fix),
    };
    exit_code(done)
}

fn exit_code(done: Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
