//! `duologue invite`: the way in for a new device.

use duologue_server::{Invited, NewInvite, ask};
use hyper::Method;

use super::say;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Invite {
    /// Prints a link that lets one device in.
    New {
        /// For how long it is good: 90s, 30m, 24h, 7d, 2w.
        #[arg(long, default_value = "24h", value_parser = super::parse_expiry)]
        expires: u64,
        /// The server's address in the link. Default: where it was started last.
        #[arg(long)]
        url: Option<String>,
        #[command(flatten)]
        directory: super::StateDirectory,
    },
}

impl Invite {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let Self::New { expires, url, directory } = self;
        let url = url.map(|url| super::parse_address(&url)).transpose()?.map(|address| address.to_string());
        let asked = NewInvite { expires_secs: expires, url };
        let Invited { link } = ask(&directory.state, Method::POST, "/invites", Some(&asked)).await?;
        say(&link);
        Ok(())
    }
}
