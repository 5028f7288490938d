//! What an owner can say of the audit log: the table `[audit]` of the configuration, which `config/audit.rs` reads.

use std::{path::PathBuf, time::Duration};

use url::Url;

use super::{address::Addresses as Inner, book::Terms};

/// What of an address is written.
pub use super::address::Addresses;

/// Lines under one signature at most.
const LINES: u32 = 100;
/// A signature is made after so long, also when nothing happened.
const EVERY: Duration = Duration::from_secs(5 * 60);
/// A new file, and a new key, after so many bytes and so long.
const SIZE: u64 = 16 * 1_024 * 1_024;
const AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How the audit log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// What of an address is written.
    pub addresses: Addresses,
    /// Lines under one signature at most.
    pub lines: u32,
    /// A signature is made after so long, also when nothing happened.
    pub every: Duration,
    /// A new file, with a new key, after so many bytes.
    pub size: u64,
    /// And after so long.
    pub age: Duration,
    /// Closed files go after so long; none: they stay.
    pub keep: Option<Duration>,
    /// Where each line goes as well, by RFC 5424.
    pub syslog: Option<Syslog>,
    /// And by POST. Who posts is not this room's: see [`Courier`](super::outbox::Courier).
    pub webhook: Option<Url>,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            addresses: Inner::Whole,
            lines: LINES,
            every: EVERY,
            size: SIZE,
            age: AGE,
            keep: None,
            syslog: None,
            webhook: None,
        }
    }
}

impl AuditSettings {
    pub(super) const fn terms(&self) -> Terms {
        Terms { size: self.size, age: self.age, keep: self.keep }
    }
}

/// Who takes syslog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Syslog {
    /// A socket of this machine, such as /dev/log.
    Unix(PathBuf),
    /// Over the network in clear, a datagram a line.
    Udp(String),
    /// The same over TCP (RFC 6587, octets counted).
    Tcp(String),
    /// Over TLS (RFC 5425), by a certificate that this machine trusts.
    Tls(String),
}

impl Syslog {
    /// Reads `unix:/dev/log`, `udp:HOST:PORT`, `tcp:HOST:PORT` or `tls:HOST:PORT`.
    ///
    /// # Errors
    /// A sentence, if it is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{}\" is no syslog: write unix:/dev/log, udp:HOST:PORT, tcp:HOST:PORT or tls:HOST:PORT",
                crate::watch::text::shown(text)
            )
        };
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        let host_and_port = || {
            let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
            let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
            let is_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
            if is_port && is_host { Ok(rest.to_owned()) } else { Err(wrong()) }
        };
        match kind {
            "unix" if rest.starts_with('/') => Ok(Self::Unix(rest.into())),
            "udp" => host_and_port().map(Self::Udp),
            "tcp" => host_and_port().map(Self::Tcp),
            "tls" => host_and_port().map(Self::Tls),
            _ => Err(wrong()),
        }
    }
}
