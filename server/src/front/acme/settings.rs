//! What an owner says of ACME: `[tls.acme]`.

use std::{net::SocketAddr, path::PathBuf};

use rustls::pki_types::DnsName;
use thiserror::Error;
use url::Url;

/// Let's Encrypt.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Names of one certificate: as many as Let's Encrypt takes.
const NAMES_MAX: usize = 100;

/// Certificates are got by ACME, for these names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeSettings {
    /// For which names; none: for the host of the server's address.
    pub names: Vec<String>,
    /// Where the issuer may write to.
    pub email: Option<String>,
    /// The issuer's directory.
    pub directory: String,
    /// Whom to trust as the issuer's server; none: whom this machine trusts.
    pub ca: Option<PathBuf>,
    /// Where to listen for http-01, and to send browsers on to https: port 80, as the world sees it.
    pub http: Option<SocketAddr>,
}

impl Default for AcmeSettings {
    fn default() -> Self {
        Self { names: Vec::new(), email: None, directory: DIRECTORY.to_owned(), ca: None, http: None }
    }
}

/// Why a name or an address cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidAcme {
    /// A name that cannot be in such a certificate.
    #[error(
        "{0:?} is no name that ACME can get a certificate for here: write line.example; addresses and * take other ways"
    )]
    Name(String),
    /// More names than a certificate has.
    #[error("a certificate has {NAMES_MAX} names at most")]
    TooMany,
    /// An issuer that anybody on the way could pose as.
    #[error("{0:?} is no https address: write {DIRECTORY}")]
    Directory(String),
    /// No address of a mailbox.
    #[error("{0:?} is no address of a mailbox: write owner@line.example")]
    Email(String),
}

/// One name of a certificate, in lower case.
pub(crate) fn name(text: &str) -> Result<String, InvalidAcme> {
    let lower = text.to_ascii_lowercase();
    let is_name = DnsName::try_from(lower.as_str()).is_ok() && lower.contains('.') && !lower.ends_with('.');
    let is_address = lower.parse::<std::net::IpAddr>().is_ok();
    // For tests, this machine.
    let is_here = lower == "localhost";
    if (is_name && !is_address) || is_here { Ok(lower) } else { Err(InvalidAcme::Name(text.to_owned())) }
}

pub(crate) fn directory(text: &str) -> Result<String, InvalidAcme> {
    let is_https = Url::parse(text).is_ok_and(|url| url.scheme() == "https" && url.host().is_some());
    if is_https { Ok(text.to_owned()) } else { Err(InvalidAcme::Directory(text.to_owned())) }
}

pub(crate) fn email(text: &str) -> Result<String, InvalidAcme> {
    let is_mailbox = text.split_once('@').is_some_and(|(who, host)| {
        !who.is_empty() && host.contains('.') && text.chars().all(|it| it.is_ascii_graphic() && !"<>,;\"".contains(it))
    });
    if is_mailbox { Ok(text.to_owned()) } else { Err(InvalidAcme::Email(text.to_owned())) }
}

impl AcmeSettings {
    /// These, for a server whose address has this host.
    ///
    /// # Errors
    /// If a name cannot be in such a certificate.
    pub fn for_host(mut self, host: &str) -> Result<Self, InvalidAcme> {
        if self.names.is_empty() {
            self.names = vec![name(host)?];
        }
        if self.names.len() > NAMES_MAX { Err(InvalidAcme::TooMany) } else { Ok(self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_issuer_could_mean_is_refused() {
        assert_eq!(name("Line.Example"), Ok("line.example".to_owned()));
        for bad in
            ["", "line", "*.line.example", "192.0.2.7", "::1", "line.example.", "line example", "a..b", "https://a.b"]
        {
            assert!(name(bad).is_err(), "{bad}");
        }
        assert!(directory(DIRECTORY).is_ok());
        for bad in ["", "http://a.example/dir", "a.example", "https://"] {
            assert!(directory(bad).is_err(), "{bad}");
        }
        assert!(email("owner@line.example").is_ok());
        for bad in ["", "owner", "@a.b", "a@b", "a b@c.d", "a@b.c,d@e.f"] {
            assert!(email(bad).is_err(), "{bad}");
        }
        let of = |host: &str| AcmeSettings::default().for_host(host).map(|it| it.names);
        assert_eq!(of("line.example"), Ok(vec!["line.example".to_owned()]));
        assert!(of("192.0.2.7").is_err());
    }
}
