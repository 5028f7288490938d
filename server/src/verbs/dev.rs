//! `duologue dev`: everything on this machine, in one command.

use std::{io::Write, net::Ipv4Addr, time::Duration};

use anyhow::Context;
use duologue::limits::INVITE_TTL_SECS;
use duologue_server::{
    Language, Policy, State, development,
    services::{desk::Desk, pair::Pair},
    spoken,
};
use tokio::net::TcpListener;

use super::Extras;

#[derive(Debug, clap::Args)]
pub(crate) struct Dev {
    /// The port to listen on; 0 lets the system choose.
    #[arg(long, default_value_t = 8443)]
    port: u16,
    #[command(flatten)]
    origins: super::OriginOptions,
    #[command(flatten)]
    directory: super::StateDirectory,
    /// Default: `drop` in the state directory.
    #[command(flatten)]
    services: super::ServiceOptions,
}

impl Dev {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let policy = self.origins.apply(Policy::loopback())?;
        let state = State::open(&self.directory.state)?;
        let tls = development(state.directory())?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))
            .await
            .with_context(|| format!("cannot listen on port {}: choose another with --port", self.port))?;
        let address = format!("https://localhost:{}", listener.local_addr()?.port());
        state.store().set_address(&address)?;
        let invite = state.new_invite(Duration::from_secs(INVITE_TTL_SECS))?;
        let extras = self.services.open(Some(state.directory().join("drop")))?;
        let desk = Desk::at_terminal();
        let is_desk_served = desk.is_some();
        let extras = Extras { pair: Some(Pair::new(state.clone(), &address)), desk, ..extras };
        let fingerprint = state.identity().public().fingerprint();
        super::run(state, policy, true, extras, listener, Some(tls), || {
            eprintln!("The server's fingerprint: {fingerprint}");
            eprintln!("The same in words: {}", spoken(&fingerprint, Language::English));
            eprintln!("Your browser will warn of the self-signed certificate: that is this machine's own.");
            if !is_desk_served {
                eprintln!("There is no desk to talk at: this is no terminal, and what people say goes into no file.");
            }
            writeln!(std::io::stdout(), "ready {}", invite.to_link(&address))?;
            Ok(())
        })
        .await
    }
}
