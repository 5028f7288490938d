//! TLS 1.3 by rustls with ring: from certificate files, or self-signed for development.

use std::{path::Path, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};
use thiserror::Error;

use crate::state::{StateError, write_private};

/// Why there is no TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file is missing or is no PEM of the kind asked for.
    #[error("cannot read {what} from {path}")]
    Pem {
        /// A certificate or a key.
        what: &'static str,
        /// The file.
        path: String,
        /// What happened.
        source: pem::Error,
    },
    /// Certificate and key do not go together.
    #[error("the certificate cannot be used")]
    Rustls(#[from] rustls::Error),
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
    let unreadable = |what, path: &Path| {
        let path = path.display().to_string();
        move |source| TlsError::Pem { what, path, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable("a certificate", certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable("a private key", key))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    // WebSocket upgrades are HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// TLS for development: a self-signed certificate for this machine, made once and kept in the state directory.
///
/// # Errors
/// If it cannot be made or read.
pub fn development(directory: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let (certificate, key) = (directory.join("tls-cert.pem"), directory.join("tls-key.pem"));
    if !certificate.exists() || !key.exists() {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        let made = rcgen::generate_simple_self_signed(names)?;
        // The key first: a certificate without its key would be kept for good.
        let _ = std::fs::remove_file(&key);
        let _ = std::fs::remove_file(&certificate);
        write_private(&key, made.signing_key.serialize_pem().as_bytes())?;
        write_private(&certificate, made.cert.pem().as_bytes())?;
    }
    from_files(&certificate, &key)
}
