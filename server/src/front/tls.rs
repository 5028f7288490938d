//! TLS 1.3, and 1.2 where the owner wants it, by rustls with ring, and X25519MLKEM768 where the processor is one for it: from certificate files, or self-signed for
//! development.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, pem, pem::PemObject},
};
use thiserror::Error;

use super::{
    certificate,
    certificates::{CertificateFiles, Certificates, ReadCertificates},
};
use crate::state::{StateError, write_private};

/// Why there is no TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file is missing, or damaged.
    #[error("cannot read {what} from {}", .path.display())]
    Pem {
        /// A certificate or a key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What happened.
        source: pem::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {what}{hint}", .path.display())]
    Missing {
        /// A certificate or a key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What it holds instead, and what to do.
        hint: &'static str,
    },
    /// Certificate and key do not go together.
    #[error("the private key in {} is not that of the certificate in {}", .key.display(), .certificate.display())]
    OtherKey {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
    },
    /// The certificate is none that a server can show.
    #[error("the certificate in {} cannot be used", .path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The self-signed certificate could not be made.
    #[error("the self-signed certificate could not be made")]
    Rcgen(#[from] rcgen::Error),
    /// Or not be kept.
    #[error(transparent)]
    State(#[from] StateError),
}

/// TLS by a certificate chain and its key, both PEM.
///
/// # Errors
/// What is wrong with the files.
pub fn from_files(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let files = CertificateFiles { certificate: certificate.to_owned(), key: key.to_owned() };
    Ok(Certificates::new(ReadCertificates::of(&[files])?).config())
}

/// The certificates of a file, at least one.
pub(super) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::Pem { what: "a certificate", path: path.to_owned(), source };
    let all = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let chain = all.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if chain.is_empty() { Err(missing("certificate", path)) } else { Ok(chain) }
}

/// What a file holds that should hold something else.
pub(super) fn missing(what: &'static str, path: &Path) -> TlsError {
    let text = std::fs::read(path).unwrap_or_default();
    let has = |label: &str| text.windows(label.len()).any(|part| part == label.as_bytes());
    let hint = if has("-----BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") {
        ": its private key needs a password; take that off by `openssl pkey -in FILE -out NEW`"
    } else if what == "certificate" && has("PRIVATE KEY-----") {
        ", but a private key: were --cert and --key exchanged?"
    } else if what == "private key" && has("-----BEGIN CERTIFICATE-----") {
        ", but a certificate: were --cert and --key exchanged?"
    } else if has("-----BEGIN ") {
        ""
    } else {
        ": it should be PEM, text that starts with -----BEGIN"
    };
    TlsError::Missing { what, path: path.to_owned(), hint }
}

/// Whether the first certificate of a file is good for a host, a name or an address. True as well if it cannot be told.
#[must_use]
pub fn is_for(certificate: &Path, host: &str) -> bool {
    chain(certificate)
        .ok()
        .and_then(|chain| chain.into_iter().next())
        .is_none_or(|first| certificate::is_for(&first, host))
}

/// TLS for development: a self-signed certificate for this machine, made once and kept in the state directory.
///
/// # Errors
/// If it cannot be made or read.
pub fn development(directory: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    development_at(directory, &[])
}

/// The same for further addresses of this machine: another is made if the one that is kept is not for all of them.
///
/// # Errors
/// As [`development`].
pub fn development_at(directory: &Path, addresses: &[IpAddr]) -> Result<Arc<ServerConfig>, TlsError> {
    Ok(Certificates::new(ReadCertificates::of(&[development_files(directory, addresses)?])?).config())
}

/// The files of that certificate, made where they are missing.
///
/// # Errors
/// If they cannot be made.
pub fn development_files(directory: &Path, addresses: &[IpAddr]) -> Result<CertificateFiles, TlsError> {
    let (certificate, key) = (directory.join("tls-cert.pem"), directory.join("tls-key.pem"));
    let is_made = certificate.exists() && key.exists();
    if !is_made || !addresses.iter().all(|address| is_for(&certificate, &address.to_string())) {
        let mut names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        names.extend(addresses.iter().map(IpAddr::to_string));
        let made = rcgen::generate_simple_self_signed(names)?;
        // The key first: a certificate without its key would be kept for good.
        let _ = std::fs::remove_file(&key);
        let _ = std::fs::remove_file(&certificate);
        write_private(&key, made.signing_key.serialize_pem().as_bytes())?;
        write_private(&certificate, made.cert.pem().as_bytes())?;
    }
    Ok(CertificateFiles { certificate, key })
}

#[cfg(test)]
mod tests {
    use duologue_client::tls_provider;
    use rustls::{
        ClientConfig, ClientConnection, HandshakeKind, NamedGroup, RootCertStore, ServerConnection,
        crypto::{CryptoProvider, ring},
        pki_types::{PrivateKeyDer, ServerName},
    };

    use super::*;

    /// A folder with a certificate for this machine, and its key.
    fn made(addresses: &[IpAddr]) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        development_at(directory.path(), addresses).expect("it is made");
        let files = ["tls-cert.pem", "tls-key.pem"].map(|name| directory.path().join(name));
        let [certificate, key] = files;
        (directory, certificate, key)
    }

    #[test]
    fn a_certificate_is_made_anew_for_an_address_that_it_lacks() {
        let network: [IpAddr; 2] = [[192, 168, 1, 5].into(), "fd00::5".parse().expect("an address")];
        let (directory, certificate, _) = made(&[]);
        let kept = || std::fs::read(&certificate).expect("it is there");
        let first = kept();
        development_at(directory.path(), &[]).expect("it is kept");
        assert_eq!(kept(), first);
        assert!(!is_for(&certificate, "192.168.1.5"));
        development_at(directory.path(), &network).expect("it is made anew");
        let second = kept();
        assert_ne!(second, first);
        for host in ["localhost", "127.0.0.1", "[::1]", "192.168.1.5", "[fd00::5]"] {
            assert!(is_for(&certificate, host), "{host}");
        }
        assert!(!is_for(&certificate, "192.168.1.6") && !is_for(&certificate, "line.example"));
        // What it has more is no reason.
        development_at(directory.path(), &network[..1]).expect("it is kept");
        development_at(directory.path(), &[]).expect("it is kept");
        assert_eq!(kept(), second);
    }

    /// How a client and a server with this certificate have agreed on a key: by which group, and whether at once.
    fn agreed(
        certificate: &Path,
        server: Arc<ServerConfig>,
        provider: CryptoProvider,
    ) -> (NamedGroup, Option<HandshakeKind>) {
        let mut roots = RootCertStore::empty();
        chain(certificate).expect("it is there").into_iter().for_each(|it| roots.add(it).expect("a certificate"));
        let client = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("it has suites of TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let mut client = ClientConnection::new(Arc::new(client), name).expect("a client");
        let mut server = ServerConnection::new(server).expect("a server");
        while client.is_handshaking() || server.is_handshaking() {
            let (mut there, mut back) = (Vec::new(), Vec::new());
            while client.wants_write() {
                client.write_tls(&mut there).expect("memory");
            }
            let mut there = there.as_slice();
            while !there.is_empty() {
                server.read_tls(&mut there).expect("memory");
                server.process_new_packets().expect("a sound client");
            }
            while server.wants_write() {
                server.write_tls(&mut back).expect("memory");
            }
            let mut back = back.as_slice();
            while !back.is_empty() {
                client.read_tls(&mut back).expect("memory");
                client.process_new_packets().expect("a sound server");
            }
        }
        let group = server.negotiated_key_exchange_group().expect("they have agreed");
        (group.name(), server.handshake_kind())
    }

    #[test]
    fn a_client_that_knows_x25519mlkem768_agrees_by_it_and_an_older_one_by_what_it_knows() {
        let (_directory, certificate, key) = made(&[]);
        let ours = || from_files(&certificate, &key).expect("it was made");
        let has_it = tls_provider().kx_groups.iter().any(|group| group.name() == NamedGroup::X25519MLKEM768);
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("adx") && std::is_x86_feature_detected!("avx2") {
            assert!(has_it, "this processor is one for it");
        }
        let best = if has_it { NamedGroup::X25519MLKEM768 } else { NamedGroup::X25519 };
        assert_eq!(agreed(&certificate, ours(), tls_provider()), (best, Some(HandshakeKind::Full)));

        let by = |group| CryptoProvider { kx_groups: vec![group], ..ring::default_provider() };
        for group in [ring::kx_group::X25519, ring::kx_group::SECP256R1, ring::kx_group::SECP384R1] {
            assert_eq!(agreed(&certificate, ours(), by(group)), (group.name(), Some(HandshakeKind::Full)));
        }
        // Our client brings X25519 along, so that an older server need not ask for it.
        let older = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("it has suites of TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(
                chain(&certificate).expect("it is there"),
                PrivateKeyDer::from_pem_file(&key).expect("it is there"),
            )
            .expect("they go together");
        let agreed = agreed(&certificate, Arc::new(older), tls_provider());
        assert_eq!(agreed, (NamedGroup::X25519, Some(HandshakeKind::Full)));
    }

    #[test]
    fn each_mistake_with_the_files_names_the_file_and_what_to_do() {
        let (directory, certificate, key) = made(&[]);
        let (_other, _, other_key) = made(&[]);
        let encrypted = directory.path().join("encrypted.pem");
        std::fs::write(
            &encrypted,
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        )
        .expect("written");
        let der = directory.path().join("cert.der");
        std::fs::write(&der, [0x30, 0x82, 0x01]).expect("written");
        let said = |certificate: &Path, key: &Path| from_files(certificate, key).expect_err("a mistake").to_string();
        let exchanged = format!("{} holds no certificate, but a private key: were", key.display());
        assert!(said(&key, &certificate).starts_with(&exchanged), "{}", said(&key, &certificate));
        let twice = format!("{} holds no private key, but a certificate: were", certificate.display());
        assert!(said(&certificate, &certificate).starts_with(&twice), "{}", said(&certificate, &certificate));
        let other = format!("the private key in {} is not that of", other_key.display());
        assert!(said(&certificate, &other_key).starts_with(&other), "{}", said(&certificate, &other_key));
        assert!(said(&certificate, &encrypted).contains("needs a password"), "{}", said(&certificate, &encrypted));
        assert!(said(&der, &key).contains("it should be PEM"), "{}", said(&der, &key));
        let gone = directory.path().join("gone.pem");
        assert!(said(&gone, &key).contains("gone.pem"), "{}", said(&gone, &key));
    }
}
