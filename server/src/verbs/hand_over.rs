//! `duologue hand-over`: another process takes the place of the running server, which starts it: from the program that lies at its path
//! now, with its own arguments.
//!
//! ```text
//! former                                                          successor: `serve … --take-over`
//!   Offer: the listening sockets, the state's lock, a stream ────►  reads its configuration and its certificates
//!                                            Ready ◄──────────────  all that can be wrong was looked at
//!   accepts nobody; verdicts under way end (5 s);
//!   settles and closes the store and the audit log
//!   Closed ──────────────────────────────────────────────────────►  opens them
//!                                            Serves ◄─────────────
//!   tells the service manager who serves now
//!   Go ──────────────────────────────────────────────────────────►  accepts those who have waited
//!   drains, and ends        ◄── what counts for both (`lines/beside.rs`) ──►
//! ```
//!
//! Up to `Serves` either end may say `Refused`, or be gone: then the former goes on as before. The sockets are never closed, so that
//! nobody who connects is refused. The successor's standard input is the stream of the above: nobody else can take the place.

mod former;
mod successor;
mod wire;

use std::time::Duration;

use duologue_server::{HandedOver, ask_within};
use hyper::Method;

pub(crate) use former::{Former, Program};
pub(crate) use successor::Successor;

use super::{StateDirectory, say};

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(crate) struct HandOverVerb {
    #[command(flatten)]
    directory: StateDirectory,
}

impl HandOverVerb {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let directory = self.directory.path()?;
        let HandedOver { pid } = ask_within(PATIENCE, &directory, Method::POST, "/hand-over", None::<&()>).await?;
        say(&format!("handed over: process {pid} serves"));
        Ok(())
    }
}
