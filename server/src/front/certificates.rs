//! The certificates that a listener shows, and how they are read again while it runs.
//!
//! ```text
//! files ─► certified keys, all in order ─► shown from the next connection on ─► chosen by the name that is asked for (SNI)
//!               └─ one is broken: what is shown stays
//! ```

use std::{
    fmt,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use duologue_client::tls_provider;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{
    acme::challenges::{ACME_TLS, Challenges},
    certificate,
    tls::{TlsError, chain, missing},
};

/// A certificate chain and its private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// Certificates by their files. Clones share what is shown.
#[derive(Clone, Debug)]
pub struct Certificates(Arc<RwLock<Shown>>);

/// What was read, and can be put in the place of what is shown.
#[derive(Clone, Debug)]
pub struct ReadCertificates {
    files: Vec<CertificateFiles>,
    stamps: Vec<Stamp>,
    all: Vec<One>,
}

struct Shown {
    now: ReadCertificates,
    /// What was shown before: whoever has connected then knows these.
    before: Vec<One>,
    /// What an issuer looks for, where certificates are got by ACME.
    challenges: Option<Challenges>,
    takes_tls12: bool,
}

#[derive(Clone)]
struct One {
    key: Arc<CertifiedKey>,
    /// SHA-256 of the `SubjectPublicKeyInfo`, as base64url: what a client finds in the certificate that it is shown.
    spki: String,
}

/// What changes with a file's content. A link is followed: renewals put another file behind it.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("files", &self.now.files).finish_non_exhaustive()
    }
}

impl fmt::Debug for One {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spki)
    }
}

impl ReadCertificates {
    /// Reads them all; the first is shown to whoever asks for a name that none of them has.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub fn of(files: &[CertificateFiles]) -> Result<Self, TlsError> {
        // Before the files: what changes while they are read is seen the next time.
        let stamps = stamps(files);
        let all = files.iter().map(One::read).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { files: files.to_owned(), stamps, all })
    }
}

impl Certificates {
    /// What a listener shows that has read these.
    #[must_use]
    pub fn new(read: ReadCertificates) -> Self {
        Self(Arc::new(RwLock::new(Shown { now: read, before: Vec::new(), challenges: None, takes_tls12: false })))
    }

    /// Shows issuers what they look for, too.
    #[must_use]
    pub fn answering(self, challenges: &Challenges) -> Self {
        self.0.write().unwrap_or_else(PoisonError::into_inner).challenges = Some(challenges.clone());
        self
    }

    /// Takes TLS 1.2 beside 1.3, by suites with ECDHE and AEAD alone, and with the extended master secret (RFC 7627).
    #[must_use]
    pub fn taking_tls12(self) -> Self {
        self.0.write().unwrap_or_else(PoisonError::into_inner).takes_tls12 = true;
        self
    }

    /// Shows these from the next connection on. False if they are the same as before.
    pub fn show(&self, read: ReadCertificates) -> bool {
        let mut shown = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let certificates = |all: &[One]| all.iter().map(|one| one.key.cert.clone()).collect::<Vec<_>>();
        let is_new = certificates(&read.all) != certificates(&shown.now.all);
        let before = std::mem::replace(&mut shown.now, read);
        if is_new {
            shown.before = before.all;
        }
        is_new
    }

    /// The files of what is shown.
    #[must_use]
    pub fn files(&self) -> Vec<CertificateFiles> {
        self.read().now.files.clone()
    }

    /// What tells the files that are there from those that were read; none if they are the same.
    #[must_use]
    pub fn changed(&self) -> Option<impl PartialEq + use<>> {
        let (files, read) = {
            let shown = self.read();
            (shown.now.files.clone(), shown.now.stamps.clone())
        };
        let now = stamps(&files);
        (now != read).then_some(now)
    }

    /// When each of those that are shown ends, in seconds since 1970, with its file.
    pub(crate) fn ends(&self) -> Vec<(String, i64)> {
        let shown = self.read();
        let ends = shown.now.files.iter().zip(&shown.now.all).filter_map(|(files, one)| {
            Some((files.certificate.display().to_string(), certificate::end_of(one.key.end_entity_cert().ok()?)?))
        });
        ends.collect()
    }

    /// What the certificate has in it that is shown to whoever asks for this host, or was shown to him: `known` is what he has seen.
    pub(crate) fn spki(&self, host: &str, known: Option<&str>) -> Option<String> {
        let shown = self.read();
        // A port is not part of a name; an address of IPv6 stands in brackets.
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let of = |all: &[One]| one_for(all, name).map(|one| one.spki.clone());
        of(&shown.before).filter(|before| Some(before.as_str()) == known).or_else(|| of(&shown.now.all))
    }

    /// TLS with what is shown at that time.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        let versions: &[_] = match self.read().takes_tls12 {
            true => &[&rustls::version::TLS13, &rustls::version::TLS12],
            false => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(tls_provider()))
            .with_protocol_versions(versions)
            .expect("the provider has suites of both versions");
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(self.clone()));
        // The listener adds HTTP/2 where it speaks it.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.require_ems = true;
        if self.read().challenges.is_some() {
            config.alpn_protocols.push(ACME_TLS.to_vec());
        }
        Arc::new(config)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Shown> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.read();
        // Whoever offers that, and it alone, is an issuer that looks.
        if hello.alpn().is_some_and(|mut offered| offered.next() == Some(ACME_TLS) && offered.next().is_none()) {
            return shown.challenges.as_ref()?.certificate(hello.server_name()?);
        }
        one_for(&shown.now.all, hello.server_name().unwrap_or_default()).map(|one| Arc::clone(&one.key))
    }
}

/// The one that is good for this name, else the first.
fn one_for<'a>(all: &'a [One], name: &str) -> Option<&'a One> {
    let [first, _, ..] = all else { return all.first() };
    let is_good = |one: &&One| one.key.end_entity_cert().is_ok_and(|first| certificate::is_for(first, name));
    if name.is_empty() { Some(first) } else { Some(all.iter().find(is_good).unwrap_or(first)) }
}

impl One {
    fn read(CertificateFiles { certificate, key }: &CertificateFiles) -> Result<Self, TlsError> {
        let chain = chain(certificate)?;
        let unreadable = |source| match source {
            pem::Error::NoItemsFound => missing("private key", key),
            source => TlsError::Pem { what: "a private key", path: key.clone(), source },
        };
        let private = PrivateKeyDer::from_pem_file(key).map_err(unreadable)?;
        let unusable = |source| match source {
            rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch) => {
                TlsError::OtherKey { certificate: certificate.clone(), key: key.clone() }
            }
            source => TlsError::Unusable { path: certificate.clone(), source },
        };
        let spki = chain.first().map(spki_hash).transpose().map_err(unusable)?.unwrap_or_default();
        let key = CertifiedKey::from_der(chain, private, &tls_provider()).map_err(unusable)?;
        Ok(Self { key: Arc::new(key), spki })
    }
}

fn spki_hash(certificate: &CertificateDer<'static>) -> Result<String, rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let digest = ::ring::digest::digest(&::ring::digest::SHA256, parsed.subject_public_key_info().as_ref());
    Ok(URL_SAFE_NO_PAD.encode(digest))
}

fn stamps(files: &[CertificateFiles]) -> Vec<Stamp> {
    let stamp = |path: &Path| {
        let data = std::fs::metadata(path).ok()?;
        Some((data.dev(), data.ino(), data.mtime(), data.mtime_nsec(), data.len()))
    };
    files.iter().flat_map(|files| [stamp(&files.certificate), stamp(&files.key)]).collect()
}
