//! What flags, the environment and the file can all say: each setting once, with its names there.
//!
//! ```text
//! flag ─► environment ─► file ─► default        the first that says something counts, also for a whole list
//! ```
#![allow(rustdoc::bare_urls, reason = "what is said of a setting is its help in a terminal too")]

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum, builder::BoolishValueParser};
use url::{Position, Url};

use crate::door::{fetch::may_be_asked, policy::Policy, quantity::parse_size};

/// A group of settings. One that is yes or no can be said both ways: `--desk`, and `--desk=false` where the file says yes.
macro_rules! settings {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $kind:ty = $key:literal,)* }) => {
        $(#[$meta])*
        #[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: Option<$kind>,)*
        }

        impl $name {
            /// These, and where they say nothing the others.
            #[must_use]
            pub fn or(self, other: Self) -> Self {
                Self { $($field: self.$field.or(other.$field),)* }
            }

            /// What differs, by its place in the file.
            pub(super) fn differing(&self, other: &Self) -> Vec<&'static str> {
                let all = [$(($key, self.$field != other.$field),)*];
                all.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
            }
        }
    };
}

settings! {
    /// Where a server is, for the world.
    SiteSettings {
        /// The address under which browsers reach this server, such as https://example.org.
        /// Below a path, such as https://example.org/line/, it serves there what a proxy passes on, with the path or without it.
        #[arg(long, value_name = "URL", env = "DUOLOGUE_URL")]
        url: String = "server.url",
        /// Where to listen. Default: 0.0.0.0:443.
        #[arg(long, value_name = "ADDRESS:PORT", env = "DUOLOGUE_LISTEN", value_parser = parse_socket)]
        listen: SocketAddr = "server.listen",
        /// Listens without TLS, because a proxy on this machine has it. `--listen` must then be a loopback address.
        #[arg(long, env = "DUOLOGUE_BEHIND_PROXY", value_name = "BOOL", num_args = 0..=1, require_equals = true,
            default_missing_value = "true", value_parser = BoolishValueParser::new())]
        behind_proxy: bool = "server.behind_proxy",
        /// A proxy whose word on a client's address counts, or a network of them, such as 127.0.0.1 or 10.0.0.0/8; may be
        /// repeated. It says so by the PROXY protocol, Forwarded or X-Forwarded-For, and must overwrite or extend what clients
        /// send of these.
        #[arg(long = "trusted-proxy", value_name = "NETWORK", env = "DUOLOGUE_TRUSTED_PROXY", value_delimiter = ' ')]
        trusted_proxies: Vec<String> = "server.trusted_proxies",
        /// The certificate chain, PEM. Where there are several, each has its own --key, in the same order; whoever asks for a
        /// name that none of them has is shown the first.
        #[arg(long = "cert", value_name = "FILE", env = "DUOLOGUE_CERT", value_delimiter = ' ')]
        certificates: Vec<PathBuf> = "tls.certificate",
        /// The certificate's private key, PEM.
        #[arg(long = "key", value_name = "FILE", env = "DUOLOGUE_KEY", value_delimiter = ' ')]
        keys: Vec<PathBuf> = "tls.certificate",
        /// Takes TLS 1.2 too, where this server has TLS itself: for a proxy or a middlebox that speaks nothing newer. Browsers and native
        /// clients need it for nothing.
        #[arg(long, env = "DUOLOGUE_TLS12", value_name = "BOOL", num_args = 0..=1, require_equals = true,
            default_missing_value = "true", value_parser = BoolishValueParser::new())]
        tls12: bool = "tls.tls12",
        /// Lets each enrolled device make links for further ones, at most 5 at a time. Revoking it revokes them.
        #[arg(long, env = "DUOLOGUE_PAIRING", value_name = "BOOL", num_args = 0..=1, require_equals = true,
            default_missing_value = "true", value_parser = BoolishValueParser::new())]
        pairing: bool = "services.pairing",
        /// Lets each device talk with whoever sits at this terminal. Refused without one: what is said goes into no log.
        #[arg(long, env = "DUOLOGUE_DESK", value_name = "BOOL", num_args = 0..=1, require_equals = true,
            default_missing_value = "true", value_parser = BoolishValueParser::new())]
        desk: bool = "services.desk",
    }
}

settings! {
    /// What a server does, also in development.
    ServerSettings {
        /// The server's state directory; made if it is missing. Default: duologue-state.
        #[arg(long, value_name = "DIR", env = "DUOLOGUE_STATE")]
        state: PathBuf = "server.state",
        /// Answers `/health`, `/ready` and `/metrics` at this address, in clear and without asking who it is: for this machine, or a
        /// network of the owner's alone. `--status` alone: 127.0.0.1:9464.
        #[arg(long, value_name = "ADDRESS:PORT", env = "DUOLOGUE_STATUS", value_parser = parse_socket, num_args = 0..=1,
            require_equals = true, default_missing_value = "127.0.0.1:9464")]
        status: SocketAddr = "server.status",
        /// Speaks HTTP/2 too, where this server has TLS itself: a browser puts a page and its line's first connection on one. For
        /// browsers that trust the certificate: in one that was told to go on past its warning, such a line cannot come back.
        #[arg(long, env = "DUOLOGUE_HTTP2", value_name = "BOOL", num_args = 0..=1, require_equals = true,
            default_missing_value = "true", value_parser = BoolishValueParser::new())]
        http2: bool = "server.http2",
        /// An origin whose pages may connect, such as https://app.example or chrome-extension://ID; may be repeated. The
        /// server's own always may.
        #[arg(long = "origin", value_name = "ORIGIN", env = "DUOLOGUE_ORIGIN", value_delimiter = ' ')]
        origins: Vec<String> = "door.origins",
        /// The origin of an app that may connect, such as capacitor://localhost; may be repeated. Every app made in that way has
        /// the same one: it counts as a native client, not as a page.
        #[arg(long = "app-origin", value_name = "ORIGIN", env = "DUOLOGUE_APP_ORIGIN", value_delimiter = ' ')]
        app_origins: Vec<String> = "door.app_origins",
        /// Refuses clients that are no browser's pages: native ones, and apps.
        #[arg(long, env = "DUOLOGUE_NO_NATIVE_CLIENTS", value_name = "BOOL", num_args = 0..=1, require_equals = true,
            default_missing_value = "true", value_parser = BoolishValueParser::new())]
        no_native_clients: bool = "door.native_clients",
        /// Lets each enrolled device put another key in the place of its own. Default: yes; `--device-keys=false` has each keep its first.
        #[arg(long, env = "DUOLOGUE_DEVICE_KEYS", value_name = "BOOL", num_args = 0..=1, require_equals = true,
            default_missing_value = "true", value_parser = BoolishValueParser::new())]
        device_keys: bool = "services.device_keys",
        /// Takes files that devices send into this directory.
        #[arg(long, value_name = "DIR", env = "DUOLOGUE_DROP")]
        drop: PathBuf = "services.drop.directory",
        /// How much the directory may hold in all, such as 500MB or 10GB. Default: 10GB.
        #[arg(long, value_name = "SIZE", env = "DUOLOGUE_DROP_QUOTA", value_parser = parse_size)]
        drop_quota: u64 = "services.drop.quota",
        /// Forwards requests (`link.fetch` in a page) to this HTTP server, such as http://127.0.0.1:3000.
        #[arg(long, value_name = "URL", env = "DUOLOGUE_HTTP")]
        http: String = "services.http.backend",
        /// The host that the HTTP server is asked for. Default: that of --http.
        #[arg(long, value_name = "HOST", env = "DUOLOGUE_HTTP_HOST")]
        http_host: String = "services.http.host",
        /// Refuses requests that have this header, such as x-tenant or x-app-*; may be repeated. Those by which backends trust a
        /// proxy (remote-user, x-forwarded-* and some eighty others) always are, unless --http-allow-header names them.
        #[arg(long = "http-refuse-header", value_name = "HEADER", env = "DUOLOGUE_HTTP_REFUSE_HEADER", value_delimiter = ' ')]
        http_refuse_headers: Vec<String> = "services.http.refuse_headers",
        /// Lets clients say this header although backends trust a proxy by it; may be repeated.
        #[arg(long = "http-allow-header", value_name = "HEADER", env = "DUOLOGUE_HTTP_ALLOW_HEADER", value_delimiter = ' ')]
        http_allow_headers: Vec<String> = "services.http.allow_headers",
        /// Keeps no cookies of the HTTP server's: those that it sets go to the client. By default they are kept here, for each
        /// session.
        #[arg(long, env = "DUOLOGUE_HTTP_WITHOUT_COOKIES", value_name = "BOOL", num_args = 0..=1, require_equals = true,
            default_missing_value = "true", value_parser = BoolishValueParser::new())]
        http_without_cookies: bool = "services.http.cookies",
        /// Takes the HTTP server's word for who logs in or out by a request for this path, such as /login or /session/*; may be
        /// repeated. What its answer then says, the documentation of the header duologue-vouch has. [door.vouch] of the
        /// configuration says the same, and more.
        #[arg(long = "http-vouch-path", value_name = "PATH", env = "DUOLOGUE_HTTP_VOUCH_PATH", value_delimiter = ' ')]
        http_vouch_paths: Vec<String> = "door.vouch",
        /// Asks this address of everybody who connects, such as http://127.0.0.1:3000/duologue or
        /// unix:/run/app.sock:/duologue: whom it refuses is turned away. [door.hook] of the configuration says more; of that, this
        /// is `url`.
        #[arg(long, value_name = "URL", env = "DUOLOGUE_HOOK")]
        hook: String = "door.hook",
        /// What all lines together may hold in memory of messages that nobody has read or taken yet, such as 500MB or 2GB: a
        /// quarter of the machine's memory unless told, and 1 GiB at most. Who holds more than its share gives way then.
        #[arg(long, value_name = "SIZE", env = "DUOLOGUE_MEMORY", value_parser = parse_memory)]
        memory: usize = "limits.memory",
        /// Keeps the sessions of devices on disk: they go on after a restart or a crash of the server, and in the one that takes its place.
        /// Each message waits for the disk, often for two writes of it.
        #[arg(long, env = "DUOLOGUE_KEEP_SESSIONS", value_name = "BOOL", num_args = 0..=1, require_equals = true,
            default_missing_value = "true", value_parser = BoolishValueParser::new())]
        keep_sessions: bool = "sessions.keep",
        /// Runs this program, without a shell, for each ban that begins or is lifted: --ban-command /usr/local/bin/ban ARGUMENT… \;
        /// Behind its arguments it gets five more: `ban` or `lift`, `address`, `device` or `subject`, which one, the rule, and
        /// for how many seconds.
        #[arg(long, value_name = "PROGRAM ARGUMENT", env = "DUOLOGUE_BAN_COMMAND", num_args = 1.., value_terminator = ";",
            allow_hyphen_values = true)]
        ban_command: Vec<String> = "watch.ban_command",
        /// How much the log tells. Default: info. RUST_LOG says it more finely, and before all others.
        #[arg(long, value_name = "LEVEL", env = "DUOLOGUE_LOG_LEVEL")]
        log_level: LogLevel = "log.level",
        /// Whether the log is for people or for programs. Default: text.
        #[arg(long, value_name = "FORMAT", env = "DUOLOGUE_LOG_FORMAT")]
        log_format: LogFormat = "log.format",
        /// Where a collector on this machine takes traces, by OTLP over HTTP, such as http://127.0.0.1:4318. For a duologue that is
        /// built with `--features otlp`.
        #[arg(long, value_name = "URL", env = "DUOLOGUE_TRACES", value_parser = parse_collector)]
        traces: String = "log.traces",
        /// Answers tokio-console there, on this machine: --console alone at 127.0.0.1:6669. For a duologue that is built with
        /// `--features tokio-console`.
        #[arg(long, value_name = "ADDRESS:PORT", env = "DUOLOGUE_CONSOLE", value_parser = parse_console, num_args = 0..=1,
            require_equals = true, default_missing_value = "127.0.0.1:6669")]
        console: SocketAddr = "log.console",
    }
}

/// How much a log tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What does not work.
    Error,
    /// And what will soon not work, or is suspect.
    Warn,
    /// And who comes and goes.
    #[default]
    Info,
    /// And whatever a peer repeats.
    Debug,
    /// Everything.
    Trace,
}

/// For whom a log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object in each line.
    Json,
}

impl LogLevel {
    /// As it is written.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What counts while a server runs and was said by anybody: flags, environment or file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where it is.
    pub site: SiteSettings,
    /// What it does.
    pub server: ServerSettings,
}

/// What follows a file that is read again.
const FOLLOWED: [&str; 6] =
    ["door.origins", "door.app_origins", "door.native_clients", "log.level", "tls.certificate", "watch.ban_command"];

impl Settings {
    /// These, and where they say nothing the others.
    #[must_use]
    pub fn or(self, mut other: Self) -> Self {
        // Who has TLS is one question, whose answers do not mix.
        if self.site.certificates.is_some() || self.site.keys.is_some() || self.site.behind_proxy == Some(true) {
            (other.site.certificates, other.site.keys, other.site.behind_proxy) = (None, None, None);
        }
        Self { site: self.site.or(other.site), server: self.server.or(other.server) }
    }

    /// What differs and cannot change while a server runs, by its place in the file.
    pub(super) fn fixed_differing(&self, other: &Self) -> Vec<&'static str> {
        let mut differing = self.site.differing(&other.site);
        differing.extend(self.server.differing(&other.server));
        differing.dedup();
        differing.retain(|key| !FOLLOWED.contains(key));
        differing
    }

    /// Files and directories beside that of the configuration, where they are not named from the root on.
    pub(super) fn beside(mut self, directory: &Path) -> Self {
        let paths = self.site.certificates.iter_mut().chain(&mut self.site.keys).flatten();
        for path in paths.chain(&mut self.server.state).chain(&mut self.server.drop) {
            *path = directory.join(&*path);
        }
        self
    }
}

impl ServerSettings {
    /// Adds whose pages and apps may connect to a policy that knows the server's own.
    ///
    /// # Errors
    /// If one of them is no such origin.
    pub fn with_origins(&self, mut policy: Policy) -> Result<Policy, String> {
        policy.native_clients = !self.no_native_clients.unwrap_or_default();
        for origin in self.origins.iter().flatten() {
            policy = policy.with_origin(origin).map_err(|error| format!("--origin {error}"))?;
        }
        for origin in self.app_origins.iter().flatten() {
            policy = policy.with_app_origin(origin).map_err(|error| format!("--app-origin {error}"))?;
        }
        Ok(policy)
    }
}

/// A size of at least 16 MB: less than one longest message is no budget.
pub(super) fn parse_memory(text: &str) -> Result<usize, String> {
    let len =
        usize::try_from(parse_size(text)?).map_err(|_| format!("\"{text}\" is more than this machine can address"))?;
    if len < 16_000_000 {
        return Err(format!("\"{text}\" is too little: lines need 16MB at least"));
    }
    Ok(len)
}

/// A collector of this machine: what spans tell is nobody's on the way.
pub(super) fn parse_collector(text: &str) -> Result<String, String> {
    let is_here = |url: &Url| url.scheme() == "http" && may_be_asked(url) && &url[Position::BeforePath..] == "/";
    let here = Url::parse(text).ok().filter(is_here).map(|url| url[..Position::BeforePath].to_owned());
    here.ok_or_else(|| {
        format!(
            "\"{text}\" is no collector of this machine: write http://127.0.0.1:4318, from where it passes traces on"
        )
    })
}

/// Where tokio-console asks. It has the names of tasks, and no password.
pub(super) fn parse_console(text: &str) -> Result<SocketAddr, String> {
    let address = parse_socket(text)?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(format!("\"{text}\" is not of this machine alone: write 127.0.0.1:{}", address.port())),
    }
}

/// A socket's address, with a port.
pub(super) fn parse_socket(text: &str) -> Result<SocketAddr, String> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
