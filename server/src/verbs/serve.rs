//! `duologue serve`: for the world, behind its own TLS or a proxy's.

use std::{io::Write, net::SocketAddr, path::PathBuf};

use anyhow::{Context, bail};
use duologue_server::{
    Policy, State, from_files,
    services::{desk::Desk, pair::Pair},
};
use tokio::net::TcpListener;
use url::Url;

use super::Extras;

const NO_TERMINAL: &str = "--desk needs a terminal, because what people say is shown there and nowhere else: start this in \
     one, with neither input nor output redirected, or leave out --desk";

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// The address under which browsers reach this server, such as https://example.org.
    #[arg(long)]
    url: Url,
    /// Where to listen.
    #[arg(long, default_value = "0.0.0.0:443")]
    listen: SocketAddr,
    /// The certificate chain, PEM.
    #[arg(long, value_name = "FILE", requires = "key", required_unless_present = "behind_proxy")]
    cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Listens without TLS, because a proxy on this machine has it. `--listen` must then be a loopback address.
    #[arg(long, conflicts_with_all = ["cert", "key"])]
    behind_proxy: bool,
    #[command(flatten)]
    origins: super::OriginOptions,
    /// Lets each enrolled device make links for further ones, at most 5 at a time. Revoking it revokes them.
    #[arg(long)]
    pairing: bool,
    /// Lets each device talk with whoever sits at this terminal. Refused without one: what is said goes into no log.
    #[arg(long)]
    desk: bool,
    #[command(flatten)]
    directory: super::StateDirectory,
    #[command(flatten)]
    services: super::ServiceOptions,
}

impl Serve {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let address = self.url.origin().ascii_serialization();
        if self.url.scheme() != "https" {
            bail!("--url must start with https://: browsers give keys to secure pages only");
        }
        if self.behind_proxy && !self.listen.ip().is_loopback() {
            bail!("--behind-proxy listens without TLS: --listen must be a loopback address such as 127.0.0.1:8080");
        }
        let desk = self.desk.then(|| Desk::at_terminal().context(NO_TERMINAL)).transpose()?;
        let host = address.trim_start_matches("https://");
        let policy = self.origins.apply(Policy::listed(vec![address.clone()]).with_host(host))?;
        let tls = match (&self.cert, &self.key) {
            (Some(certificate), Some(key)) => Some(from_files(certificate, key)?),
            _ => None,
        };
        let state = State::open(&self.directory.state)?;
        let listener =
            TcpListener::bind(self.listen).await.with_context(|| format!("cannot listen on {}", self.listen))?;
        let bound = listener.local_addr()?;
        state.store().set_address(&address)?;
        let pair = self.pairing.then(|| Pair::new(state.clone(), &address));
        let extras = Extras { pair, desk, ..self.services.open(None)? };
        super::run(state, policy, false, extras, listener, tls, || {
            Ok(writeln!(std::io::stdout(), "listening {bound}")?)
        })
        .await
    }
}
