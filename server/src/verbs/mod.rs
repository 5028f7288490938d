//! The binary's verbs.

pub(crate) mod accounts;
pub(crate) mod audit;
pub(crate) mod bans;
pub(crate) mod connect;
pub(crate) mod dev;
pub(crate) mod devices;
pub(crate) mod invite;
pub(crate) mod keys;
pub(crate) mod lan;
mod owner;
mod passkeys;
mod plain;
pub(crate) mod policy;
pub(crate) mod serve;
pub(crate) mod state;
pub(crate) mod token;
pub(crate) mod watch;

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail};
use duologue_server::{
    Address, BoundedLog, Certificate, ConfigFile, Duologue, Event, FirewallSettings, FrontConfig, Hook, HookSettings,
    Kind, OWNERS, Policy, State, WatchSettings,
    audit::AuditSettings,
    listen_with, page_at, parse_size, parse_span, raise_file_limit,
    services::{
        self,
        desk::Desk,
        drop::{DropError, Drops},
        http::Http,
        owner as owner_service,
        pair::Pair,
    },
};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Where a server keeps its key and its devices.
#[derive(Debug, clap::Args)]
pub(crate) struct StateDirectory {
    /// The server's state directory; made if it is missing.
    #[arg(long, value_name = "DIR", default_value = "duologue-state", env = "DUOLOGUE_STATE")]
    pub(crate) state: PathBuf,
}

/// Where files that devices send are kept.
#[derive(Debug, clap::Args)]
pub(crate) struct DropDirectory {
    /// Takes files that devices send into this directory.
    #[arg(long, value_name = "DIR")]
    drop: Option<PathBuf>,
    /// How much the directory may hold in all, such as 500MB or 10GB.
    #[arg(long, value_name = "SIZE", default_value = "10GB", value_parser = parse_size)]
    drop_quota: u64,
}

/// Where requests go.
#[derive(Debug, clap::Args)]
pub(crate) struct HttpBackend {
    /// Forwards requests (`link.fetch` in a page) to this HTTP server, such as http://127.0.0.1:3000.
    #[arg(long, value_name = "URL")]
    http: Option<String>,
    /// The host that the HTTP server is asked for. Default: that of --http.
    #[arg(long, value_name = "HOST", requires = "http")]
    http_host: Option<String>,
    /// Refuses requests that have this header, such as x-tenant or x-app-*; may be repeated. Those by which backends trust a proxy
    /// (remote-user, x-forwarded-* and some eighty others) always are, unless --http-allow-header names them.
    #[arg(long, value_name = "HEADER", requires = "http")]
    http_refuse_header: Vec<String>,
    /// Lets clients say this header although backends trust a proxy by it; may be repeated.
    #[arg(long, value_name = "HEADER", requires = "http")]
    http_allow_header: Vec<String>,
    /// Keeps no cookies of the HTTP server's: those that it sets go to the client. By default they are kept here, for each session.
    #[arg(long, requires = "http")]
    http_without_cookies: bool,
    /// Takes the HTTP server's word for who logs in or out by a request for this path, such as /login or /session/*; may be repeated.
    /// What its answer then says, the documentation of the header duologue-vouch has. [door.vouch] of --config says the same, and more.
    #[arg(long, value_name = "PATH", requires = "http")]
    http_vouch_path: Vec<String>,
}

impl HttpBackend {
    fn open(self) -> anyhow::Result<Option<Http>> {
        let Some(backend) = self.http else { return Ok(None) };
        let mut http = Http::new(&backend).context("--http")?;
        for header in &self.http_refuse_header {
            http = http.refusing_header(header).context("--http-refuse-header")?;
        }
        for header in &self.http_allow_header {
            http = http.allowing_header(header).context("--http-allow-header")?;
        }
        for path in &self.http_vouch_path {
            http = http.vouching_at(path).context("--http-vouch-path")?;
        }
        if self.http_without_cookies {
            http = http.without_cookies();
        }
        match self.http_host {
            Some(host) => Ok(Some(http.with_host(&host).context("--http-host")?)),
            None => Ok(Some(http)),
        }
    }
}

/// What the listener speaks.
#[derive(Debug, clap::Args)]
pub(crate) struct HttpVersions {
    /// Speaks HTTP/2 too, where this server has TLS itself: a browser puts a page and its line's first connection on one. For browsers that
    /// trust the certificate: in one that was told to go on past its warning, such a line cannot come back.
    #[arg(long)]
    http2: bool,
}

/// Whose pages and apps may connect, beside the server's own.
#[derive(Debug, clap::Args)]
pub(crate) struct OriginOptions {
    /// An origin whose pages may connect, such as https://app.example or chrome-extension://ID; may be repeated. The
    /// server's own always may.
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
    /// The origin of an app that may connect, such as capacitor://localhost; may be repeated. Every app made in that way has
    /// the same one: it counts as a native client, not as a page.
    #[arg(long = "app-origin", value_name = "ORIGIN")]
    app_origins: Vec<String>,
    /// Refuses clients that are no browser's pages: native ones, and apps.
    #[arg(long)]
    no_native_clients: bool,
}

impl OriginOptions {
    /// Adds them to a policy that knows the server's own.
    pub(crate) fn apply(self, mut policy: Policy) -> anyhow::Result<Policy> {
        policy.native_clients = !self.no_native_clients;
        for origin in &self.origins {
            policy = policy.with_origin(origin).map_err(|error| anyhow::anyhow!("--origin {error}"))?;
        }
        for origin in &self.app_origins {
            policy = policy.with_app_origin(origin).map_err(|error| anyhow::anyhow!("--app-origin {error}"))?;
            if self.no_native_clients {
                tracing::warn!(
                    origin,
                    "apps of this origin are refused: they are native clients (--no-native-clients)"
                );
            } else {
                tracing::info!(origin, "every app made in this way has this origin: they count as native clients");
            }
        }
        Ok(policy)
    }
}

/// Where the rules are.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigOption {
    /// Opens what the rules of this file open, and nothing else; without it, every device that was let in may use what is asked
    /// for by flags. `duologue policy check` looks at it, `duologue policy reload` has it read again.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Asks this address of everybody who connects, such as http://127.0.0.1:3000/duologue or unix:/run/app.sock:/duologue: whom it
    /// refuses is turned away. [door.hook] of --config says the same, and more.
    #[arg(long, value_name = "URL")]
    hook: Option<String>,
}

/// What a configuration comes to.
pub(crate) struct Configured {
    /// What the file says of the audit log; none if it says nothing.
    pub(crate) audit: Option<Option<AuditSettings>>,
    pub(crate) policy: Policy,
    pub(crate) file: Option<ConfigFile>,
    pub(crate) hook: Option<HookSettings>,
    pub(crate) firewall: FirewallSettings,
}

impl ConfigOption {
    /// Reads the file, if there is one, and puts its rules into a policy; and finds out who is asked of whoever connects.
    pub(crate) fn apply(self, policy: Policy, services: &ServiceOptions) -> anyhow::Result<Configured> {
        let hook = self.hook.map(HookSettings::new);
        hook.as_ref().map_or(Ok(()), HookSettings::check).context("--hook")?;
        let Some(path) = self.config else {
            return Ok(Configured { audit: None, policy, file: None, hook, firewall: FirewallSettings::default() });
        };
        let (file, config) = ConfigFile::open(&path)?;
        if config.vouch.is_some() && !services.has_backend() {
            bail!("[door.vouch] of {} is of an HTTP server's logins: name that server by --http", path.display());
        }
        if config.hook.is_some() && hook.is_some() {
            bail!("--hook and [door.hook] of {} say who is asked: leave one of them out", path.display());
        }
        let hook = hook.or(config.hook);
        let policy = policy.with_rules(config.rules);
        Ok(Configured { audit: config.audit, policy, file: Some(file), hook, firewall: config.firewall })
    }
}

/// The services that need to be told something.
#[derive(Debug, clap::Args)]
pub(crate) struct ServiceOptions {
    #[command(flatten)]
    drop: DropDirectory,
    #[command(flatten)]
    http: HttpBackend,
    /// What all lines together may hold in memory of messages that nobody has read or taken yet, such as 500MB or 2GB: a
    /// quarter of the machine's memory unless told, and 1 GiB at most. Who holds more than its share gives way then.
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    memory: Option<usize>,
    /// Runs this program, without a shell, for each ban that begins or is lifted: --ban-command /usr/local/bin/ban ARGUMENT… \;
    /// Behind its arguments it gets five more: `ban` or `lift`, `address`, `device` or `subject`, which one, the rule, and
    /// for how many seconds.
    #[arg(long, value_name = "PROGRAM ARGUMENT", num_args = 1.., value_terminator = ";", allow_hyphen_values = true)]
    ban_command: Vec<String>,
}

/// The services that an owner has asked for.
pub(crate) struct Extras {
    drops: Option<Drops>,
    http: Option<Http>,
    memory: Option<usize>,
    ban_command: Vec<String>,
    pub(crate) pair: Option<Pair>,
    pub(crate) desk: Option<Desk>,
}

impl ServiceOptions {
    /// Whether requests go anywhere.
    const fn has_backend(&self) -> bool {
        self.http.http.is_some()
    }

    /// With the directory for files where none was named.
    pub(crate) fn open(self, directory: Option<PathBuf>) -> anyhow::Result<Extras> {
        let (drops, http) = (self.drop.open(directory)?, self.http.open()?);
        Ok(Extras { drops, http, memory: self.memory, ban_command: self.ban_command, pair: None, desk: None })
    }
}

impl DropDirectory {
    /// The service, if there is a directory for it.
    fn open(self, default: Option<PathBuf>) -> anyhow::Result<Option<Drops>> {
        let Some(directory) = self.drop.or(default) else { return Ok(None) };
        if directory.exists() && !directory.is_dir() {
            bail!("--drop {}: that is no directory; name one, which is made if it is missing", directory.display());
        }
        match Drops::open(&directory, self.drop_quota) {
            Ok(drops) => Ok(Some(drops)),
            // What the service says of its disk is meant for a device.
            Err(DropError::Disk(cause)) => {
                Err(cause).with_context(|| format!("cannot take files into {}", directory.display()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Where a server is and whom it takes there.
pub(crate) struct Site {
    pub(crate) address: Address,
    pub(crate) policy: Policy,
    pub(crate) development: bool,
    /// Where its rules come from; none: every device that was let in may use what there is.
    pub(crate) config: Option<ConfigFile>,
    /// Who is asked of everybody that connects.
    pub(crate) hook: Option<HookSettings>,
    /// Which networks may connect, and how much each may have.
    pub(crate) firewall: FirewallSettings,
    /// The file, where the owner has brought one.
    pub(crate) certificate: Option<PathBuf>,
    /// How the audit log is written; none: there is none.
    pub(crate) audit: Option<AuditSettings>,
    pub(crate) log: BoundedLog,
}

/// Runs a server until the process is told to stop. `ready` is called once it can be reached.
pub(crate) async fn run(
    state: State,
    site: Site,
    extras: Extras,
    listener: TcpListener,
    listening: FrontConfig,
    ready: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    tell_start(&state, &site, &extras);
    site.log.tell_each_minute().context("the log has no thread")?;
    let certificate = site.certificate.clone();
    if let Some(file) = site.certificate {
        tokio::spawn(warn_of(file, site.address.host_name().to_owned()));
    }
    let log = site.log;
    match raise_file_limit() {
        Ok(Some((from, to))) => tracing::info!(from, to, "the limit of open files was raised"),
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
    let mut duologue = Duologue::new(state.clone(), site.policy);
    let firewall = site.firewall;
    if let Some(len) = extras.memory {
        duologue = duologue.memory(len);
    }
    if let Some(tokens) = site.config.as_ref().map(ConfigFile::tokens).transpose()?.flatten() {
        duologue = duologue.tokens(tokens);
    }
    let host = site.address.host_name();
    let passkeys =
        site.config.as_ref().map(|file| file.passkeys(host)).transpose().context("[door.passkey]")?.flatten();
    if let Some(passkeys) = passkeys {
        tracing::info!(target: OWNERS, rp_id = passkeys.rp_id(), "passkeys are taken");
        duologue = duologue.passkeys(passkeys);
    }
    if let Some(settings) = site.hook {
        duologue = duologue.hook(Hook::new(settings, &site.address.origin())?);
    }
    let own = site.development.then(|| state.directory().join("tls-cert.pem"));
    duologue = duologue.telling_paths(certificate.as_deref().or(own.as_deref())).context("the certificate")?;
    duologue = duologue.service("echo", services::echo).service(owner_service::LABEL, owner_service::Owner::default());
    if let Some(desk) = extras.desk.clone() {
        duologue = duologue.service("desk", desk);
    }
    if let Some(drops) = extras.drops {
        duologue = duologue.service("drop", drops);
    }
    if let Some(mut http) = extras.http {
        if let Some(file) = &site.config {
            http = http.vouching_by(file.vouches());
        }
        duologue = duologue.service("http", http);
    }
    if let Some(pair) = extras.pair {
        duologue = duologue.service("pair", pair);
    }
    if let Some(file) = &site.config {
        file.set_firewall(firewall, &duologue).context("[firewall]")?;
    }
    let listening = FrontConfig { firewall: duologue.firewall(), ..listening };
    duologue.trust(&listening.trusted_proxies);
    if let Some(file) = &site.config {
        duologue.set_watch(file.watch());
    } else {
        duologue.set_watch(&WatchSettings::default());
    }
    duologue.tell_of_bans(&extras.ban_command);
    match site.audit {
        Some(settings) => duologue.keep_audit(settings)?,
        None => duologue.keep_no_audit()?,
    }
    let _control = listen_with(state, duologue.clone(), site.config).context("cannot make the control socket")?;
    if let Some(desk) = extras.desk {
        tokio::spawn(desk.read_terminal());
    }

    let mut app = duologue.router().merge(page_at(&site.address, site.development));
    if site.development {
        app = app.route("/plain", plain::route());
    }
    let app = site.address.mount(app);
    let stop = CancellationToken::new();
    let listening = FrontConfig { watch: duologue.watch().clone(), ..listening };
    let server = tokio::spawn(duologue_server::serve_behind(listener, listening, app, stop.clone()));
    let mut signals = Signals::new()?;
    ready()?;
    duologue.watch().tell(Event::of(Kind::ServerStarted));
    signals.stop().await;
    duologue.watch().tell(Event::of(Kind::ServerStopping));
    // Whoever comes meanwhile is told so by a status, not by a closed door: the port goes last.
    tokio::select! {
        () = duologue.drain() => {}
        // Whoever asks twice does not want to wait.
        () = signals.stop() => {}
    }
    stop.cancel();
    server.await?;
    if let Some(audit) = duologue.audit() {
        audit.stop().await;
    }
    duologue.watch().flush();
    log.tell();
    // `read_terminal` may be blocked in a read that nothing can end.
    std::process::exit(0);
}

/// How often it is looked whether a certificate comes to its end.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(24 * 60 * 60);

/// What an owner wants to know of a server that has begun.
fn tell_start(state: &State, site: &Site, extras: &Extras) {
    let certificate = match &site.certificate {
        Some(file) => Certificate::read(file, site.address.host_name()).map_or("unknown".to_owned(), |it| it.end()),
        None if site.development => "its own, self-signed".to_owned(),
        None => "the proxy's".to_owned(),
    };
    let mut origins = site.policy.origins.clone();
    if site.policy.loopback {
        origins.push("all of this machine".to_owned());
    }
    let optional = [
        ("desk", extras.desk.is_some()),
        ("drop", extras.drops.is_some()),
        ("http", extras.http.is_some()),
        ("pair", extras.pair.is_some()),
    ];
    let services: Vec<_> =
        [("echo", true)].iter().chain(&optional).filter_map(|(label, is)| is.then_some(*label)).collect();
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
        services = services.join(" "),
        policy,
        tokens_of = site.config.as_ref().and_then(ConfigFile::issuer),
        hook = site.hook.as_ref().map(|hook| hook.url.as_str()),
        "starting"
    );
    if site.hook.as_ref().is_some_and(|hook| hook.cookies_prove) {
        tracing::warn!(target: OWNERS, "cookies_prove: a cookie of this server's own pages proves who somebody is; whoever ends TLS on the way can be anybody whose cookie passes there");
    }
}

/// Warns of a certificate that browsers do not take, or soon will not, now and each day.
async fn warn_of(file: PathBuf, host: String) {
    loop {
        let warnings = Certificate::read(&file, &host).map(|it| it.warnings(&file, &host, SystemTime::now()));
        for warning in warnings.unwrap_or_default() {
            tracing::warn!(target: OWNERS, "{warning}");
        }
        tokio::time::sleep(CERTIFICATE_LOOK).await;
    }
}

/// Ctrl+C and SIGTERM, heard from its making on: whoever stops a server as soon as it says that it is ready ends it in order too.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
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
    Address::parse(text).map_err(|error| anyhow::anyhow!("--url {error}"))
}

/// A socket's address, with a port.
pub(crate) fn parse_socket(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = match text.rsplit_once(':') {
        _ if text.parse::<IpAddr>().is_ok() => (text, "443"),
        Some((host, port)) if port.parse::<u16>().is_ok() => (host, port),
        None if text.parse::<u16>().is_ok() => ("", text),
        _ => (text, "443"),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let meant = match host.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) if host == "localhost" => Ipv4Addr::LOCALHOST.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    };
    let meant = format!("{}:{port}", if meant.is_ipv6() { format!("[{meant}]") } else { meant.to_string() });
    Err(format!("an address of this machine and a port are needed: write {meant}"))
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

/// A size of at least 16 MB: less than one longest message is no budget.
fn parse_memory(text: &str) -> Result<usize, String> {
    let len =
        usize::try_from(parse_size(text)?).map_err(|_| format!("\"{text}\" is more than this machine can address"))?;
    if len < 16_000_000 {
        return Err(format!("\"{text}\" is too little: lines need 16MB at least"));
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::{parse_expiry, parse_memory, parse_socket};

    #[test]
    fn a_budget_of_memory_holds_a_longest_message_at_least() {
        assert_eq!(parse_memory("1GB"), Ok(1_000_000_000));
        assert!(parse_memory("15MB").is_err_and(|error| error.contains("16MB")));
    }

    #[test]
    fn a_socket_without_its_port_says_what_to_write() {
        assert_eq!(parse_socket("127.0.0.1:443"), Ok(([127, 0, 0, 1], 443).into()));
        assert!(parse_socket("[::]:443").is_ok());
        for (text, meant) in [
            ("127.0.0.1", "write 127.0.0.1:443"),
            ("localhost:9443", "write 127.0.0.1:9443"),
            ("localhost", "write 127.0.0.1:443"),
            (":8443", "write 0.0.0.0:8443"),
            ("8443", "write 0.0.0.0:8443"),
            ("::1", "write [::1]:443"),
            ("[::1]", "write [::1]:443"),
            ("line.example:443", "write 0.0.0.0:443"),
            ("127.0.0.1:99999", "write 0.0.0.0:443"),
            ("", "write 0.0.0.0:443"),
        ] {
            let error = parse_socket(text).expect_err(text);
            assert!(error.ends_with(meant), "{text}: {error}");
        }
    }

    #[test]
    fn an_invite_is_good_for_some_time() {
        assert_eq!(parse_expiry("1s"), Ok(1));
        assert_eq!(parse_expiry("3650d"), Ok(3_650 * 86_400));
        for bad in ["0s", "00d", "3700d", "213503982334601d", "600w", "1y"] {
            assert!(parse_expiry(bad).is_err(), "{bad}");
        }
    }
}
