//! Certificate files that change while a server runs: they are read again, on their own or when the configuration is, and told of long
//! before they end.

use std::time::{Duration, Instant, SystemTime};

use duologue_server::{
    Certificate, CertificateFiles, Certificates, ConfigFile, OWNERS, ReadCertificates, settings::SiteSettings,
};

use super::wrong_usage;

/// How often it is looked whether a file is another one.
const LOOK: Duration = Duration::from_secs(5);
/// How often it is told that a certificate comes to its end, or that a new one is broken.
const TELL: Duration = Duration::from_secs(24 * 60 * 60);

/// What is told of a server that speaks an old version of TLS too.
pub(crate) const TLS12: &str = "TLS 1.2 is taken beside 1.3 (`tls12`): what comes that way shows its certificate, and the names that are asked \
     for, in clear to the network; take that out when no proxy needs it any more";

/// The files that settings name, each certificate with its key.
pub(crate) fn files(settings: &SiteSettings) -> anyhow::Result<Vec<CertificateFiles>> {
    let certificates = settings.certificates.clone().unwrap_or_default();
    let keys = settings.keys.clone().unwrap_or_default();
    if certificates.len() != keys.len() {
        let (certificates, keys) = (certificates.len(), keys.len());
        return Err(wrong_usage(format!(
            "each --cert has its own --key, in the same order: there are {certificates} of the one, and {keys} of the other"
        )));
    }
    Ok(certificates.into_iter().zip(keys).map(|(certificate, key)| CertificateFiles { certificate, key }).collect())
}

/// Shows what the files have from now on, and tells of it.
fn show(certificates: &Certificates, read: ReadCertificates, host: &str) {
    if certificates.show(read) {
        let ends: Vec<_> = certificates
            .files()
            .iter()
            .filter_map(|files| Certificate::read(&files.certificate, host).map(|it| it.end()))
            .collect();
        tracing::info!(target: OWNERS, certificate_ends = ends.join(", "), "the certificates were read again");
    }
}

/// Follows the files of a server whose address has this host.
pub(crate) fn follow(certificates: Certificates, file: &ConfigFile, host: &str) {
    let (own, name) = (certificates.clone(), host.to_owned());
    file.follow(move |settings| {
        let named = files(&settings.site).map_err(|error| error.to_string())?;
        // Development has files that no setting names.
        let named = if named.is_empty() { own.files() } else { named };
        let read = ReadCertificates::of(&named).map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
        let (own, name) = (own.clone(), name.clone());
        Ok(Box::new(move || show(&own, read, &name)))
    });
    tokio::spawn(look(certificates, host.to_owned()));
}

async fn look(certificates: Certificates, host: String) {
    let (mut seen, mut broken, mut told) = (None, None, None::<Instant>);
    loop {
        if told.is_none_or(|told| told.elapsed() >= TELL) {
            told = Some(Instant::now());
            warn(&certificates, &host);
        }
        tokio::time::sleep(LOOK).await;
        let now = certificates.changed();
        // Not before two looks have seen the same: chain and key are written one after the other.
        let is_settled = now.is_some() && now == seen;
        let is_told = broken.as_ref().is_some_and(|(of, at): &(_, Instant)| *of == now && at.elapsed() < TELL);
        if is_settled && !is_told {
            match ReadCertificates::of(&certificates.files()) {
                Ok(read) => {
                    show(&certificates, read, &host);
                    (broken, told) = (None, None);
                }
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    tracing::error!(
                        target: OWNERS,
                        "a certificate file has changed and cannot be used, so that the one from before is still shown: {error:#}"
                    );
                    broken = Some((now, Instant::now()));
                    seen = certificates.changed();
                    continue;
                }
            }
        }
        seen = now;
    }
}

/// Tells of certificates that browsers do not take, or soon will not.
fn warn(certificates: &Certificates, host: &str) {
    let now = SystemTime::now();
    let all: Vec<_> = certificates.files().into_iter().map(|it| it.certificate).collect();
    let read: Vec<_> = all.iter().filter_map(|file| Some((file, Certificate::read(file, host)?))).collect();
    // Of several, one is for this host, and the others are for other names.
    let is_any = read.iter().any(|(_, certificate)| certificate.is_for_host());
    for (at, (file, certificate)) in read.into_iter().enumerate() {
        let certificate = if is_any || at > 0 { certificate.beside_another() } else { certificate };
        for warning in certificate.warnings(file, host, now) {
            tracing::warn!(target: OWNERS, "{warning}");
        }
    }
}
