//! `duologue serve`: for the world, behind its own TLS or a proxy's.

use std::{
    io::{ErrorKind, Write},
    net::{Ipv4Addr, SocketAddr},
};

use anyhow::Context;
use duologue_server::{
    Acme, Certificates, FrontConfig, ReadCertificates, State,
    audit::AuditSettings,
    services::{desk::Desk, pair::Pair},
    settings::{ServerSettings, Settings, SiteSettings},
};
use tokio::net::TcpListener;

use super::{
    Place, Site, certificates,
    extras::Extras,
    hand_over::{Program, Successor},
    judged,
    log::Log,
    signals::Signals,
    sockets::{Sockets, is_at},
    wrong_usage,
};

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
    /// Takes the place of the server that has started this: `duologue hand-over` asks it to.
    #[arg(long, hide = true)]
    take_over: bool,
}

impl Serve {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        if !self.take_over {
            return self.serve(None).await;
        }
        let successor = Successor::at_stdin()?;
        let refusal = successor.refusal()?;
        self.serve(Some(successor)).await.inspect_err(|error| refusal.tell(error))
    }

    async fn serve(self, mut successor: Option<Successor>) -> anyhow::Result<()> {
        let (signals, program) = (Signals::new()?, Program::this()?);
        let mut sockets = match &mut successor {
            Some(successor) => std::mem::take(&mut successor.sockets),
            None => Sockets::activated()?,
        };
        let given = sockets.lines.take();
        let activated = successor.as_ref().map_or(given.is_some(), Successor::is_activated);
        let (file, config) = self.config.open(self.site, self.server)?;
        let Settings { site, server } = &config.settings;
        let log = Log::of_server(server);
        let address = super::parse_address(site.url.as_deref().ok_or_else(|| wrong_usage(NO_URL))?)?;
        let behind_proxy = site.behind_proxy.unwrap_or_default();
        let listen = match &given {
            Some(given) if activated => given.local_addr()?,
            _ => site.listen.unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 443))),
        };
        if let Some(given) = &given
            && !is_at(given, listen)?
        {
            let bound = given.local_addr()?;
            anyhow::bail!(
                "it is to listen on {listen}, and the running server listens on {bound}: stop that one and start this"
            );
        }
        let judged = judged::place(&file, &config, Some(&address), Some(listen))?;
        let judged::Place { own, policy, certificates, acme, trusted_proxies } = judged;
        if certificates.is_empty() && acme.is_none() && !behind_proxy {
            return Err(wrong_usage(NO_CERTIFICATE));
        }
        if behind_proxy && site.trusted_proxies.is_none() {
            tracing::info!(
                "the addresses of clients are not known: name the proxy by --trusted-proxy, if it says whose its connections are"
            );
        }
        let desk = site.desk.unwrap_or_default().then(|| Desk::at_terminal().context(NO_TERMINAL)).transpose()?;
        let policy = if file.is_file() { policy.with_rules(config.rules.clone()) } else { policy };
        // Who lets others in will be asked one day who was.
        let audit = config.audit.clone().unwrap_or_else(|| Some(AuditSettings::default()));
        let from_files = match behind_proxy || acme.is_some() {
            true => None,
            false => Some(Certificates::new(ReadCertificates::of(&certificates)?)),
        };
        // What can be wrong is found out before the state changes hands.
        let redirecting = acme.as_ref().and_then(|acme| acme.http);
        let [status, http] = sockets.others(server.status, redirecting, activated)?;
        let directory = server.state.as_deref().unwrap_or(super::STATE.as_ref());
        let state = match &successor {
            Some(successor) => successor.open(directory)?,
            None => State::open(directory)?,
        };
        let acme = acme.map(|acme| Acme::new(acme, state.directory())).transpose()?;
        let certificates = match &acme {
            Some(acme) => Some(Certificates::new(acme.first()?).answering(acme.challenges())),
            None => from_files,
        };
        let certificates = match site.tls12.unwrap_or_default() {
            true => {
                tracing::warn!("{}", certificates::TLS12);
                certificates.map(Certificates::taking_tls12)
            }
            false => certificates,
        };
        let listener = match given {
            Some(given) => given.set_nonblocking(true).and_then(|()| TcpListener::from_std(given)),
            None => TcpListener::bind(listen).await,
        };
        let listener =
            listener.map_err(|error| {
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
        let site = Site { address, own, policy, development: false, file, config, certificates, acme, audit, log };
        let ready = || Ok(writeln!(std::io::stdout(), "listening {bound}")?);
        let place = Place { listener, status, http, activated, successor, program: Some(program) };
        super::run(state, site, extras, place, listening, signals, ready).await
    }
}
