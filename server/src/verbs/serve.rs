//! `duologue serve`: for the world, behind its own TLS or a proxy's.

use std::{
    io::{ErrorKind, Write},
    net::SocketAddr,
    path::PathBuf,
};

use anyhow::{Context, bail};
use duologue_server::{
    BoundedLog, FrontConfig, Policy, State, TrustedProxies,
    audit::AuditSettings,
    from_files,
    services::{desk::Desk, pair::Pair},
};
use tokio::net::TcpListener;

use super::{Extras, Site};

const NO_CERTIFICATE: &str = "a server for the world needs TLS: give it a certificate by --cert and --key, or leave TLS to a proxy \
     on this machine by --behind-proxy; `duologue dev` makes a certificate for this machine only";

const NO_TERMINAL: &str = "--desk needs a terminal, because what people say is shown there and nowhere else: start this in \
     one, with neither input nor output redirected, or leave out --desk";

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// The address under which browsers reach this server, such as https://example.org.
    /// Below a path, such as https://example.org/line/, it serves there what a proxy passes on, with the path or without it.
    #[arg(long)]
    url: String,
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:443", value_parser = super::parse_socket)]
    listen: SocketAddr,
    /// The certificate chain, PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Listens without TLS, because a proxy on this machine has it. `--listen` must then be a loopback address.
    #[arg(long, conflicts_with_all = ["cert", "key"])]
    behind_proxy: bool,
    /// A proxy whose word on a client's address counts, or a network of them, such as 127.0.0.1 or 10.0.0.0/8; may be
    /// repeated. It says so by the PROXY protocol, Forwarded or X-Forwarded-For, and must overwrite or extend what clients
    /// send of these.
    #[arg(long = "trusted-proxy", value_name = "NETWORK")]
    trusted_proxies: Vec<String>,
    #[command(flatten)]
    config: super::ConfigOption,
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
    versions: super::HttpVersions,
    #[command(flatten)]
    services: super::ServiceOptions,
}

impl Serve {
    pub(crate) async fn run(self, log: BoundedLog) -> anyhow::Result<()> {
        let address = super::parse_address(&self.url)?;
        if self.cert.is_none() && !self.behind_proxy {
            bail!(NO_CERTIFICATE);
        }
        if self.behind_proxy && !self.listen.ip().is_loopback() {
            bail!("--behind-proxy listens without TLS: --listen must be a loopback address such as 127.0.0.1:8080");
        }
        let mut trusted_proxies = TrustedProxies::default();
        for network in &self.trusted_proxies {
            trusted_proxies =
                trusted_proxies.with(network).map_err(|error| anyhow::anyhow!("--trusted-proxy {error}"))?;
        }
        if self.behind_proxy && self.trusted_proxies.is_empty() {
            tracing::info!(
                "the addresses of clients are not known: name the proxy by --trusted-proxy, if it says whose its connections are"
            );
        }
        let desk = self.desk.then(|| Desk::at_terminal().context(NO_TERMINAL)).transpose()?;
        let own = Policy::listed(vec![address.origin()]).with_host(&address.host());
        let configured = self.config.apply(self.origins.apply(own)?, &self.services)?;
        let super::Configured { audit, policy, file: config, hook, firewall } = configured;
        // Who lets others in will be asked one day who was.
        let audit = audit.unwrap_or_else(|| Some(AuditSettings::default()));
        let tls = match (&self.cert, &self.key) {
            (Some(certificate), Some(key)) => Some(from_files(certificate, key)?),
            _ => None,
        };
        let state = State::open(&self.directory.state)?;
        let listener =
            TcpListener::bind(self.listen).await.map_err(|error| {
                let hint = match error.kind() {
                    ErrorKind::PermissionDenied if self.listen.port() < 1_024 => {
                        ": ports below 1024 are for programs with CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=); give it \
                         that, or choose another port by --listen"
                    }
                    ErrorKind::AddrInUse => ": another program has that port; choose another by --listen",
                    ErrorKind::AddrNotAvailable => ": this machine has no such address; choose another by --listen",
                    _ => "",
                };
                anyhow::anyhow!("cannot listen on {}: {error}{hint}", self.listen)
            })?;
        let bound = listener.local_addr()?;
        // Links that are made while it does not run are the only ones that need it.
        if let Err(error) = state.store().set_address(&address.to_string()) {
            tracing::warn!(%error, "the server's address could not be kept");
        }
        let pair = self.pairing.then(|| Pair::new(state.clone(), &address.to_string()));
        let extras = Extras { pair, desk, ..self.services.open(None)? };
        let behind_proxy = self.behind_proxy;
        let listening =
            FrontConfig { tls, trusted_proxies, behind_proxy, http2: self.versions.http2, ..FrontConfig::default() };
        let site =
            Site { address, policy, development: false, config, hook, firewall, certificate: self.cert, audit, log };
        super::run(state, site, extras, listener, listening, || Ok(writeln!(std::io::stdout(), "listening {bound}")?))
            .await
    }
}
