//! For how long a certificate is good, and for whom: what browsers will say of it, said to its owner first. Time is an argument.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{client::verify_server_name, pki_types::ServerName, server::ParsedCertificate};
use x509_parser::{prelude::FromDer, time::ASN1Time};

use super::tls::chain;

/// How long before its end a certificate is warned of.
const WARNED_BEFORE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// What the owner of a certificate should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    names: bool,
    from: ASN1Time,
    until: ASN1Time,
}

impl Certificate {
    /// The first of a file's, as a server shows it for `host`. None if it cannot be read, which TLS says itself.
    #[must_use]
    pub fn read(file: &Path, host: &str) -> Option<Self> {
        let chain = chain(file).ok()?;
        let first = chain.first()?;
        let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(first).ok()?;
        let validity = parsed.validity();
        Some(Self { names: is_for(first, host), from: validity.not_before, until: validity.not_after })
    }

    /// Whether it is for that host.
    #[must_use]
    pub const fn is_for_host(&self) -> bool {
        self.names
    }

    /// The same, of whose names nothing is to be said: another certificate is shown to those who ask for that host.
    #[must_use]
    pub const fn beside_another(mut self) -> Self {
        self.names = true;
        self
    }

    /// When it ends, as people read it, in UTC.
    #[must_use]
    pub fn end(&self) -> String {
        utc(self.until.timestamp())
    }

    /// What browsers will not take, in sentences.
    #[must_use]
    pub fn warnings(&self, file: &Path, host: &str, now: SystemTime) -> Vec<String> {
        let (file, end) = (file.display(), self.end());
        let now = now.duration_since(UNIX_EPOCH).ok().and_then(|now| i64::try_from(now.as_secs()).ok()).unwrap_or(0);
        let soon = now.saturating_add(i64::try_from(WARNED_BEFORE.as_secs()).unwrap_or(i64::MAX));
        let mut warnings = Vec::new();
        if !self.names {
            warnings.push(format!("the certificate in {file} is not for {host}: browsers will warn, or refuse"));
        }
        if self.until.timestamp() < now {
            warnings.push(format!(
                "the certificate in {file} has expired on {end}: browsers refuse it; put a new one there: it is read within seconds"
            ));
        } else if self.until.timestamp() < soon {
            let days = (self.until.timestamp() - now) / (24 * 60 * 60);
            warnings.push(format!(
                "the certificate in {file} is good for {days} more days, until {end}: browsers refuse it afterwards; put a new \
                 one there: it is read within seconds"
            ));
        }
        if self.from.timestamp() > now {
            warnings.push(format!(
                "the certificate in {file} is not good yet: browsers refuse it; is this machine's clock right?"
            ));
        }
        warnings
    }
}

/// When a certificate ends, in seconds since 1970.
pub(super) fn end_of(certificate: &[u8]) -> Option<i64> {
    life_of(certificate).map(|(_, until)| until)
}

/// From when to when a certificate is good, in seconds since 1970.
pub(super) fn life_of(certificate: &[u8]) -> Option<(i64, i64)> {
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate).ok()?;
    Some((parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp()))
}

/// A moment in seconds since 1970, as people read it, in UTC.
#[must_use]
pub fn utc(secs: i64) -> String {
    let Ok(time) = ASN1Time::from_timestamp(secs).map(|time| time.to_datetime()) else { return "unknown".to_owned() };
    format!(
        "{}-{:02}-{:02} {:02}:{:02} UTC",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute()
    )
}

/// Whether a certificate is good for a host, a name or an address. True as well if it cannot be told.
pub(super) fn is_for(certificate: &rustls::pki_types::CertificateDer<'_>, host: &str) -> bool {
    let Ok(host) = ServerName::try_from(host.trim_start_matches('[').trim_end_matches(']')) else { return true };
    ParsedCertificate::try_from(certificate).is_ok_and(|certificate| verify_server_name(&certificate, &host).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate for `line.example`, good from 2026-01-01 to 2026-04-01.
    fn made() -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut parameters = rcgen::CertificateParams::new(vec!["line.example".to_owned()]).expect("a name");
        parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let certificate = parameters.self_signed(&rcgen::KeyPair::generate().expect("a key")).expect("it is made");
        let file = directory.path().join("cert.pem");
        std::fs::write(&file, certificate.pem()).expect("written");
        (directory, file)
    }

    fn said(host: &str, days_before_the_end: i64) -> String {
        let (_directory, file) = made();
        let certificate = Certificate::read(&file, host).expect("it can be read");
        assert_eq!(certificate.end(), "2026-04-01 00:00 UTC");
        let at = certificate.until.timestamp() - days_before_the_end * 86_400;
        let at = UNIX_EPOCH + Duration::from_secs(u64::try_from(at).expect("after 1970"));
        certificate.warnings(&file, host, at).join(" ")
    }

    #[test]
    fn one_that_is_good_is_not_spoken_of() {
        assert_eq!(said("line.example", 15), "");
    }

    #[test]
    fn one_that_ends_soon_has_ended_or_has_not_begun_is_warned_of() {
        // Once it was served without a word.
        assert!(said("line.example", -1).contains("has expired on 2026-04-01"));
        assert!(said("line.example", 13).contains("good for 13 more days, until 2026-04-01"));
        assert!(said("line.example", 0).contains("good for 0 more days"));
        assert!(said("line.example", 100).contains("not good yet"));
    }

    #[test]
    fn one_of_another_name_is_warned_of_beside_its_end() {
        let said = said("other.example", -1);
        assert!(said.contains("is not for other.example") && said.contains("has expired"), "{said}");
    }
}
