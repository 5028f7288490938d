//! The binary's verbs.

pub(crate) mod accounts;
pub(crate) mod api_key;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod bans;
mod certificates;
pub(crate) mod check;
pub(crate) mod connect;
pub(crate) mod dev;
pub(crate) mod devices;
mod extras;
pub(crate) mod hand_over;
pub(crate) mod health;
pub(crate) mod init;
pub(crate) mod invite;
mod judged;
pub(crate) mod keys;
pub(crate) mod lan;
pub(crate) mod log;
pub(crate) mod manual;
mod owner;
mod passkeys;
mod plain;
pub(crate) mod policy;
pub(crate) mod reload;
pub(crate) mod rename;
pub(crate) mod renew_key;
pub(crate) mod say;
mod seeing;
pub(crate) mod serve;
mod signals;
mod sockets;
pub(crate) mod state;
mod systemd;
pub(crate) mod token;
pub(crate) mod watch;

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use duologue_server::{
    Acme, Address, Certificate, CertificateFiles, Certificates, Config, ConfigFile, Controlled, Duologue, Event,
    FrontConfig, HandOver, Hook, Kind, OWNERS, Policy, State,
    audit::AuditSettings,
    going_on, listen_status, listen_with, page_at, parse_span, raise_file_limit,
    services::{self, owner as owner_service},
    settings::{ServerSettings, Settings, SiteSettings},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

use extras::Extras;
use hand_over::{Former, Program, Successor};
use log::Log;
use signals::{Asked, Signals};
use sockets::Sockets;

/// What was asked for cannot be meant, as if clap had said so.
#[derive(Debug)]
pub(crate) struct WrongUsage(pub(crate) String);

impl std::fmt::Display for WrongUsage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongUsage {}

/// Ends a verb as wrong usage.
pub(crate) fn wrong_usage(what: impl Into<String>) -> anyhow::Error {
    WrongUsage(what.into()).into()
}

/// Where a server's state is, unless told.
pub(crate) const STATE: &str = "duologue-state";

/// Where a server keeps its key and its devices.
#[derive(Debug, clap::Args)]
pub(crate) struct StateDirectory {
    /// The server's state directory; made if it is missing. Default: `state` of the file that DUOLOGUE_CONFIG names, if it does, else
    /// duologue-state.
    #[arg(long, value_name = "DIR", env = "DUOLOGUE_STATE")]
    state: Option<PathBuf>,
}

impl StateDirectory {
    pub(crate) fn path(&self) -> anyhow::Result<PathBuf> {
        if let Some(state) = &self.state {
            return Ok(state.clone());
        }
        let file = std::env::var_os("DUOLOGUE_CONFIG").filter(|file| !file.is_empty());
        let said = file.map(|file| ConfigFile::open(Path::new(&file))).transpose()?;
        Ok(said.and_then(|(_, config)| config.settings.server.state).unwrap_or_else(|| STATE.into()))
    }
}

/// Where everything is said.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigOption {
    /// The configuration: all that flags can say, and whom the server lets in where. Of two that say the same, the flag counts, then
    /// the environment, then the file. `duologue init` writes one, `duologue check` looks at it, and `duologue reload` or SIGHUP has
    /// it read again. Opens what its rules open, and nothing else; without it, every device that was let in may use what is asked for
    /// by flags.
    #[arg(long, value_name = "FILE", env = "DUOLOGUE_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigOption {
    /// Reads the file, if there is one, behind what flags and environment say.
    pub(crate) fn open(&self, site: SiteSettings, server: ServerSettings) -> anyhow::Result<(ConfigFile, Config)> {
        let (file, config) = ConfigFile::open_behind(Settings { site, server }, self.config.as_deref())?;
        judged::everywhere(&file, &config)?;
        Ok((file, config))
    }
}

/// Whose pages and apps may connect, beside those of the server's own policy.
pub(crate) fn policy(own: Policy, settings: &ServerSettings) -> anyhow::Result<Policy> {
    let policy = settings.with_origins(own).map_err(wrong_usage)?;
    for origin in &policy.app_origins {
        if policy.native_clients {
            tracing::info!(origin, "every app made in this way has this origin: they count as native clients");
        } else {
            tracing::warn!(origin, "apps of this origin are refused: they are native clients (--no-native-clients)");
        }
    }
    Ok(policy)
}

/// Where a server is and whom it takes there.
pub(crate) struct Site {
    pub(crate) address: Address,
    /// The server's own pages and hosts.
    pub(crate) own: Policy,
    /// And all whom it takes.
    pub(crate) policy: Policy,
    pub(crate) development: bool,
    /// What it was started with.
    pub(crate) file: ConfigFile,
    pub(crate) config: Config,
    /// What it shows, where it has TLS itself.
    pub(crate) certificates: Option<Certificates>,
    /// Where these come from, if the server gets them itself.
    pub(crate) acme: Option<Acme>,
    /// How the audit log is written; none: there is none.
    pub(crate) audit: Option<AuditSettings>,
    pub(crate) log: Log,
}

/// Its sockets, and who has them before and after it.
pub(crate) struct Place {
    /// For lines and pages.
    pub(crate) listener: TcpListener,
    /// For whoever looks after the server.
    pub(crate) status: Option<std::net::TcpListener>,
    /// In clear, where browsers are sent on.
    pub(crate) http: Option<std::net::TcpListener>,
    /// A service manager has opened them.
    pub(crate) activated: bool,
    /// Another server had them until now.
    pub(crate) successor: Option<Successor>,
    /// What another one is started from that has them after it; none where there can be none.
    pub(crate) program: Option<Program>,
}

impl Place {
    /// This process's alone.
    pub(crate) fn own(listener: TcpListener, settings: &ServerSettings) -> anyhow::Result<Self> {
        let [status, http] = Sockets::default().others(settings.status, None, false)?;
        Ok(Self { listener, status, http, activated: false, successor: None, program: None })
    }
}

/// Runs a server until the process is told to stop, or another one has its place. `ready` is called once it can be reached.
pub(crate) async fn run(
    state: State,
    site: Site,
    extras: Extras,
    place: Place,
    listening: FrontConfig,
    mut signals: Signals,
    ready: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    tell_start(&state, &site, &extras);
    let Site { address, own, policy, development, file, config, certificates, acme, audit, log } = site;
    log.bounded().tell_each_minute().context("the log has no thread")?;
    match raise_file_limit() {
        Ok(Some((from, to))) => tracing::info!(from, to, "the limit of open files was raised"),
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
    let settings = &config.settings.server;
    let mut duologue = Duologue::new(state.clone(), policy);
    if let Some(len) = settings.memory {
        duologue = duologue.memory(len);
    }
    if let Some(tokens) = file.tokens()? {
        duologue = duologue.tokens(tokens);
    }
    if let Some(passkeys) = file.passkeys(address.host_name()).context("[door.passkey]")? {
        tracing::info!(target: OWNERS, rp_id = passkeys.rp_id(), "passkeys are taken");
        duologue = duologue.passkeys(passkeys);
    }
    if let Some(hook) = &config.hook {
        duologue = duologue.hook(Hook::new(hook.clone(), &address.origin())?);
    }
    duologue = duologue.telling_paths(certificates.clone());
    if config.settings.server.device_keys.unwrap_or(true) {
        duologue = duologue.renewing_device_keys();
    }
    duologue = duologue
        .service("echo", going_on(services::echo))
        .service(owner_service::LABEL, owner_service::Owner::default());
    let desk = extras.desk();
    duologue = extras.serve(duologue, &file);
    if settings.keep_sessions == Some(true) {
        duologue = duologue.keep_sessions().context("[sessions]")?;
    }
    if file.is_file() {
        file.set_firewall(config.firewall.clone(), &duologue).context("[firewall]")?;
    }
    let listening = FrontConfig { firewall: duologue.firewall(), watch: duologue.watch().clone(), ..listening };
    duologue.trust(&listening.trusted_proxies);
    duologue.set_watch(file.watch());
    duologue.tell_of_bans(settings.ban_command.as_deref().unwrap_or_default());
    match audit {
        Some(settings) => duologue.keep_audit(settings)?,
        None => duologue.keep_no_audit()?,
    }
    let file = file.with_own(own);
    log.follow(&file);
    let (shown, shown_by_acme) = (certificates.clone(), certificates.clone());
    if let Some(certificates) = certificates {
        certificates::follow(certificates, &file, address.host_name());
    }
    let Place { listener, status, http, activated, successor, program } = place;
    let intake = listening.intake.clone();
    let api = sockets::of_api(&state, successor.as_ref().map(Successor::api).transpose()?, &config.api)?;
    let former = program.map(|program| {
        Ok::<_, std::io::Error>(Former {
            program,
            state: state.clone(),
            duologue: duologue.clone(),
            config: file.clone(),
            intake: intake.clone(),
            activated,
            lines: std::os::fd::AsFd::as_fd(&listener).try_clone_to_owned()?.into(),
            status: status.as_ref().map(std::net::TcpListener::try_clone).transpose()?,
            http: http.as_ref().map(std::net::TcpListener::try_clone).transpose()?,
            api: api.try_clone()?,
        })
    });
    let former = former.transpose()?;
    // Nobody is let in before this process has the place.
    let came_from = successor.map(|successor| successor.serves(&duologue, &file)).transpose()?;
    let _status = match status {
        Some(listener) => {
            let bound = listener.local_addr()?;
            tracing::info!(target: OWNERS, "http://{bound} answers /health, /ready and /metrics");
            Some(listen_status(listener, state.clone(), duologue.clone(), shown, intake.clone())?)
        }
        None => None,
    };
    let (hand_over, mut hand_overs) = mpsc::channel(1);
    let hand_overs_of = former.as_ref().map(|_| hand_over.clone());
    let controlled = Controlled { config: Some(file.clone()), hand_overs: hand_overs_of, intake };
    let bound = api.keys.as_ref().map(std::net::TcpListener::local_addr).transpose()?;
    if let Some(bound) = bound {
        tracing::info!(target: OWNERS, "http://{bound} answers whoever has a key of [[api.key]]");
    }
    let control = listen_with(api, state, duologue.clone(), controlled).context("verbs cannot be answered")?;
    if let Some(desk) = desk {
        tokio::spawn(desk.read_terminal());
    }

    let mut app = duologue.router().merge(page_at(&address, development));
    if development {
        app = app.route("/plain", plain::route());
    }
    let (url, app) = (address.to_string(), address.mount(app));
    let stop = CancellationToken::new();
    let mut renewing = None;
    if let Some(acme) = acme {
        if let Some(http) = http {
            http.set_nonblocking(true)?;
            let (intake, router) = (listening.intake.clone(), acme.challenges().router(&address.origin()));
            let (watch, firewall) = (listening.watch.clone(), listening.firewall.clone());
            let in_clear = FrontConfig { intake, watch, firewall, ..FrontConfig::default() };
            let http = TcpListener::from_std(http)?;
            tokio::spawn(duologue_server::serve_behind(http, in_clear, router, stop.clone()));
        }
        let own = acme.clone();
        file.follow(move |_| {
            let own = own.clone();
            Ok(Box::new(move || own.try_again()))
        });
        if let Some(shown) = shown_by_acme {
            renewing = Some(tokio::spawn(acme.keep(shown, duologue.watch().clone())));
        }
    }
    let server = tokio::spawn(duologue_server::serve_behind(listener, listening, app, stop.clone()));
    // Where nobody listens any more to what a successor says, it serves all the same.
    ready().or_else(|error| if came_from.is_some() { Ok(()) } else { Err(error) })?;
    systemd::ready(&url);
    systemd::keep_alive();
    duologue.watch().tell(Event::of(Kind::ServerStarted));
    if let Some(pid) = came_from {
        duologue.watch().tell(Event::of(Kind::HandedOver).note(format!("from={pid} to={}", std::process::id())));
    }
    let has_successor = loop {
        let asked = tokio::select! {
            asked = signals.next() => asked,
            Some(asked) = hand_overs.recv() => match &former {
                Some(former) => give_place(former, asked, &mut signals).await,
                None => continue,
            },
        };
        match asked {
            Asked::Reload => {
                systemd::reloading();
                reload::by_signal(&file, &duologue).await;
                systemd::ready(&url);
            }
            Asked::Stop => {
                systemd::stopping();
                duologue.watch().tell(Event::of(Kind::ServerStopping));
                break false;
            }
            Asked::HandedOver => break true,
            Asked::Nothing => {}
        }
    };
    // Certificates are got by whoever is found at the address.
    if let Some(renewing) = renewing {
        renewing.abort();
    }
    // Whoever comes meanwhile is told so by a status, not by a closed door: the port goes last.
    let drained = async {
        match has_successor {
            true => duologue.drain_in_turn().await,
            false => duologue.drain().await,
        }
    };
    tokio::select! {
        () = drained => {}
        // Whoever asks twice does not want to wait.
        () = signals.stop() => {}
    }
    stop.cancel();
    server.await?;
    if let Some(audit) = duologue.audit() {
        audit.stop().await;
    }
    duologue.watch().flush();
    log.bounded().tell();
    log.end();
    drop(control);
    // `read_terminal` may be blocked in a read that nothing can end.
    std::process::exit(0);
}

/// Has another process take the place of this one, unless this one is to stop meanwhile; and says what is asked of it then.
async fn give_place(former: &Former, HandOver { by, answer }: HandOver, signals: &mut Signals) -> Asked {
    let (mut asked, mut missed) = (Asked::Nothing, false);
    let done = tokio::select! {
        done = former.hand_over() => done,
        () = async {
            while signals.next().await == Asked::Reload {
                missed = true;
            }
        } => {
            asked = Asked::Stop;
            Err(anyhow::anyhow!("this server is asked to stop"))
        }
    };
    let done = done.map_err(|error| format!("{error:#}"));
    match &done {
        Ok(pid) => {
            tracing::info!(target: OWNERS, by, "handed over to process {pid}: what has begun here comes to its end");
            asked = Asked::HandedOver;
            // It may have read the configuration before that was changed.
            if missed && let Some(other) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(other, Signal::HUP);
            }
        }
        Err(why) => {
            former.go_on().await;
            let note = format!("this server goes on, as it could not be handed over: {why}");
            former.duologue.watch().tell(Event::of(Kind::HandOverFailed).note(note));
            if missed && asked == Asked::Nothing {
                asked = Asked::Reload;
            }
        }
    }
    // Whoever has asked may be gone.
    let _ = answer.send(done);
    asked
}

/// What an owner wants to know of a server that has begun.
fn tell_start(state: &State, site: &Site, extras: &Extras) {
    let end =
        |files: &CertificateFiles| Certificate::read(&files.certificate, site.address.host_name()).map(|it| it.end());
    let certificate = match &site.certificates {
        _ if site.development => "its own, self-signed".to_owned(),
        Some(certificates) => {
            let ends: Vec<_> =
                certificates.files().iter().map(|files| end(files).unwrap_or("unknown".to_owned())).collect();
            ends.join(", ")
        }
        None => "the proxy's".to_owned(),
    };
    let mut origins = site.policy.origins.clone();
    if site.policy.loopback {
        origins.push("all of this machine".to_owned());
    }
    let policy = match site.policy.rules.all().len() {
        _ if site.policy.rules.is_default() => "no --config: open to every device that was let in".to_owned(),
        0 => "the configuration has no rule: nothing is open".to_owned(),
        rules => format!("{rules} rules"),
    };
    tracing::info!(
        target: OWNERS,
        version = env!("CARGO_PKG_VERSION"),
        url = %site.address,
        state = %state.directory().display(),
        certificate_ends = certificate,
        origins = origins.join(" "),
        apps = site.policy.app_origins.join(" "),
        native_clients = site.policy.native_clients,
        services = extras.labels().join(" "),
        policy,
        tokens_of = site.file.issuer(),
        hook = site.config.hook.as_ref().map(|hook| hook.url.as_str()),
        "starting"
    );
    if site.config.hook.as_ref().is_some_and(|hook| hook.cookies_prove) {
        tracing::warn!(target: OWNERS, "cookies_prove: a cookie of this server's own pages proves who somebody is; whoever ends TLS on the way can be anybody whose cookie passes there");
    }
}

/// Says a line on stdout. Whoever does not listen to the end (`| head`) has heard enough: the verb ends there, quietly.
pub(crate) fn say(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// The address of a server, from the flag that names it.
pub(crate) fn parse_address(text: &str) -> anyhow::Result<Address> {
    // As a sentence: "--url must start with …", "--url x is no address …".
    Address::parse(text).map_err(|error| wrong_usage(format!("--url {error}")))
}

/// How long an invite is good: as [`parse_span`], and neither for no time nor for longer than anybody keeps a link.
pub(crate) fn parse_expiry(text: &str) -> Result<u64, String> {
    const YEARS_MAX: u64 = 10;
    match parse_span(text)? {
        0 => Err("it would let in nobody: write how long it is good, as 90s, 30m, 24h, 7d or 2w".to_owned()),
        secs if secs > YEARS_MAX * 366 * 86_400 => Err(format!("an invite is good for {YEARS_MAX} years at most")),
        secs => Ok(secs),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_expiry;

    #[test]
    fn an_invite_is_good_for_some_time() {
        assert_eq!(parse_expiry("1s"), Ok(1));
        assert_eq!(parse_expiry("3650d"), Ok(3_650 * 86_400));
        for bad in ["0s", "00d", "3700d", "213503982334601d", "600w", "1y"] {
            assert!(parse_expiry(bad).is_err(), "{bad}");
        }
    }
}
