//! `duologue serve`: for the world, behind its own TLS or a proxy's.

use std::{
    io::{ErrorKind, Write},
    net::{Ipv4Addr, SocketAddr},
};

use anyhow::Context;
use duologue_server::{
    Certificates, FrontConfig, Policy, ReadCertificates, State, TrustedProxies,
    audit::AuditSettings,
    services::{desk::Desk, pair::Pair},
    settings::{ServerSettings, Settings, SiteSettings},
};
use tokio::net::TcpListener;

use super::{Site, certificates, extras::Extras, log::Log, signals::Signals, wrong_usage};

const NO_URL: &str = "a server for the world has an address by which browsers find it: name it by --url, such as \
     https://line.example, or by `url` of [server] in a configuration (--config)";

const NO_CERTIFICATE: &str = "a server for the world needs TLS: give it a certificate by --cert and --key, or leave TLS to a proxy \
     on this machine by --behind-proxy; `duologue dev` makes a certificate for this machine only";

const NO_TERMINAL: &str = "--desk needs a terminal, because what people say is shown there and nowhere else: start this in \
     one, with neither input nor output redirected, or leave out --desk";

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    config: super::ConfigOption,
    #[command(flatten)]
    site: SiteSettings,
    #[command(flatten)]
    server: ServerSettings,
}

impl Serve {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let signals = Signals::new()?;
        let (file, config) = self.config.open(self.site, self.server)?;
        let Settings { site, server } = &config.settings;
        let log = Log::of_server(server);
        let address = super::parse_address(site.url.as_deref().ok_or_else(|| wrong_usage(NO_URL))?)?;
        let files = certificates::files(site)?;
        let behind_proxy = site.behind_proxy.unwrap_or_default();
        let listen = site.listen.unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 443)));
        match (files.is_empty(), behind_proxy) {
            (true, false) => return Err(wrong_usage(NO_CERTIFICATE)),
            (false, true) => return Err(wrong_usage("a certificate and --behind-proxy: leave one of them out")),
            (true, true) if !listen.ip().is_loopback() => {
                return Err(wrong_usage(
                    "--behind-proxy listens without TLS: --listen must be a loopback address such as 127.0.0.1:8080",
                ));
            }
            _ => {}
        }
        let mut trusted_proxies = TrustedProxies::default();
        for network in site.trusted_proxies.iter().flatten() {
            trusted_proxies =
                trusted_proxies.with(network).map_err(|error| anyhow::anyhow!("--trusted-proxy {error}"))?;
        }
        if behind_proxy && site.trusted_proxies.is_none() {
            tracing::info!(
                "the addresses of clients are not known: name the proxy by --trusted-proxy, if it says whose its connections are"
            );
        }
        let desk = site.desk.unwrap_or_default().then(|| Desk::at_terminal().context(NO_TERMINAL)).transpose()?;
        let own = Policy::listed(vec![address.origin()]).with_host(&address.host());
        let policy = super::policy(own.clone(), server)?;
        let policy = if file.is_file() { policy.with_rules(config.rules.clone()) } else { policy };
        // Who lets others in will be asked one day who was.
        let audit = config.audit.clone().unwrap_or_else(|| Some(AuditSettings::default()));
        let certificates = match behind_proxy {
            true => None,
            false => Some(Certificates::new(ReadCertificates::of(&files)?)),
        };
        let state = State::open(server.state.as_deref().unwrap_or(super::STATE.as_ref()))?;
        let listener =
            TcpListener::bind(listen).await.map_err(|error| {
                let hint = match error.kind() {
                    ErrorKind::PermissionDenied if listen.port() < 1_024 => {
                        ": ports below 1024 are for programs with CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=); give it \
                         that, or choose another port by --listen"
                    }
                    ErrorKind::AddrInUse => ": another program has that port; choose another by --listen",
                    ErrorKind::AddrNotAvailable => ": this machine has no such address; choose another by --listen",
                    _ => "",
                };
                anyhow::anyhow!("cannot listen on {listen}: {error}{hint}")
            })?;
        let bound = listener.local_addr()?;
        // Links that are made while it does not run are the only ones that need it.
        if let Err(error) = state.store().set_address(&address.to_string()) {
            tracing::warn!(%error, "the server's address could not be kept");
        }
        let pair = site.pairing.unwrap_or_default().then(|| Pair::new(state.clone(), &address.to_string()));
        let extras = Extras::open(server, None, pair, desk)?;
        let tls = certificates.as_ref().map(Certificates::config);
        let http2 = server.http2.unwrap_or_default();
        let listening = FrontConfig { tls, trusted_proxies, behind_proxy, http2, ..FrontConfig::default() };
        let site = Site { address, own, policy, development: false, file, config, certificates, audit, log };
        let ready = || Ok(writeln!(std::io::stdout(), "listening {bound}")?);
        super::run(state, site, extras, listener, listening, signals, ready).await
    }
}
