//! `duologue dev`: everything on this machine, in one command.

use std::{
    io::{IsTerminal, Write},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Context;
use duologue::limits::INVITE_TTL_SECS;
use duologue_server::{
    Address, Certificates, FrontConfig, LabelPattern, Language, Policy, ReadCertificates, Rule, State,
    development_files,
    services::{desk::Desk, owner, pair::Pair},
    settings::{ServerSettings, SiteSettings},
    spoken,
};
use tokio::net::TcpListener;

use super::{Place, Site, extras::Extras, lan, log::Log, signals::Signals};

#[derive(Debug, clap::Args)]
pub(crate) struct Dev {
    /// The port to listen on; 0 lets the system choose.
    #[arg(long, default_value_t = 8443)]
    port: u16,
    /// Listens on this machine's network addresses too, and prints a link and a QR code that a phone in the same network can
    /// open.
    #[arg(long)]
    lan: bool,
    /// Of the configuration it takes all but where the server is: its address, its certificates, its proxies.
    #[command(flatten)]
    config: super::ConfigOption,
    #[command(flatten)]
    server: ServerSettings,
}

impl Dev {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let signals = Signals::new()?;
        let (file, config) = self.config.open(SiteSettings::default(), self.server)?;
        let server = &config.settings.server;
        let log = Log::of_server(server);
        let network = if self.lan { lan::addresses()? } else { Vec::new() };
        let mut own = Policy::loopback();
        // Before anything is opened.
        server.with_origins(own.clone()).map_err(super::wrong_usage)?;
        let first =
            network.first().map_or("localhost".to_owned(), |host| SocketAddr::new(*host, self.port).to_string());
        file.passkeys(at(&first)?.host_name()).context("[door.passkey]")?;
        let state = State::open(server.state.as_deref().unwrap_or(super::STATE.as_ref()))?;
        let certificates = Certificates::new(ReadCertificates::of(&[development_files(state.directory(), &network)?])?);
        let listener = match self.lan {
            true => lan::listen(self.port),
            false => TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await,
        };
        let listener =
            listener.with_context(|| format!("cannot listen on port {}: choose another with --port", self.port))?;
        let port = listener.local_addr()?.port();
        let mut addresses = Vec::new();
        for host in network {
            let address = at(&SocketAddr::new(host, port).to_string())?;
            own = own.with_host(&address.host()).with_origin(&address.origin())?;
            addresses.push(address);
        }
        addresses.push(at(&format!("localhost:{port}"))?);
        let address = &addresses[0];
        state.store().set_address(&address.to_string())?;
        let invite = state.new_invite(Duration::from_secs(INVITE_TTL_SECS))?;
        let desk = Desk::at_terminal();
        let is_desk_served = desk.is_some();
        let pair = Some(Pair::new(state.clone(), &address.to_string()));
        let extras = Extras::open(server, Some(state.directory().join("drop")), pair, desk)?;
        let fingerprint = state.identity().public().fingerprint();
        let policy = super::policy(own.clone(), server)?;
        let rules = if file.is_file() { config.rules.clone() } else { policy.rules.with(owners_rule()?) };
        let tls = Some(certificates.config());
        let listening = FrontConfig { tls, http2: server.http2.unwrap_or_default(), ..FrontConfig::default() };
        let place = Place::own(listener, server)?;
        let site = Site {
            address: address.clone(),
            own,
            policy: policy.with_rules(rules),
            development: true,
            file,
            audit: config.audit.clone().flatten(),
            config,
            certificates: Some(certificates),
            acme: None,
            log,
        };
        super::run(state, site, extras, place, listening, signals, || {
            eprintln!("The server's fingerprint: {fingerprint}");
            eprintln!("The same in words: {}", spoken(&fingerprint, Language::English));
            eprintln!("Your browser will warn of the self-signed certificate: that is this machine's own.");
            if !is_desk_served {
                eprintln!("There is no desk to talk at: this is no terminal, and what people say goes into no file.");
            }
            let link = invite.to_link(&address.to_string());
            if self.lan {
                eprintln!("A phone in the same network opens the link below, or points its camera at this:");
                eprint!("{}", lan::qr(&link, std::io::stderr().is_terminal())?);
                let others: Vec<_> = addresses[1..].iter().map(ToString::to_string).collect();
                eprintln!("The same server is at {}", others.join(", "));
                eprintln!("If the phone reaches nothing, this machine's firewall may keep port {port} closed.");
            }
            writeln!(std::io::stdout(), "ready {link}")?;
            Ok(())
        })
        .await
    }
}

/// Whoever sits at this machine sees what happens here; a phone of its network does not.
fn owners_rule() -> anyhow::Result<Rule> {
    let mut rule = Rule::new("the owner, on this machine", vec![LabelPattern::new(owner::LABEL)?]);
    rule.networks = vec!["127.0.0.0/8".parse()?, "::1/128".parse()?];
    Ok(rule)
}

fn at(host: &str) -> anyhow::Result<Address> {
    Ok(Address::parse(&format!("https://{host}"))?)
}
