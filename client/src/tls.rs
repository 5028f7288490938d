//! TLS to the server: the system's certificate authorities, those of a file, and the exception for this machine; and whose
//! cryptography it is, at both ends.
//!
//! On loopback any certificate is taken: a development server has a self-signed one, there is no network to listen on, and
//! the server is authenticated by its pinned key inside TLS anyway. Everywhere else TLS is verified as in a browser, so that
//! an attacker must defeat both layers.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

/// The cryptography of TLS, at both ends: ring's. Before its groups stands X25519MLKEM768 by graviola, which ring does not have,
/// where the processor has what that needs; a peer that does not know it agrees by X25519 as before.
#[must_use]
pub fn provider() -> CryptoProvider {
    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), expect(unused_mut))]
    let mut provider = ring::default_provider();
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if duologue::crypto::has_graviola() {
        provider.kx_groups.insert(0, rustls_graviola::kx::X25519MLKEM768);
    }
    provider
}

/// What to verify a server with; or why that cannot be had, in words.
pub(crate) fn config(loopback: bool, extra_roots: Option<&Path>) -> Result<ClientConfig, String> {
    let provider = Arc::new(provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?;
    if loopback && extra_roots.is_none() {
        let verifier = Arc::new(AnyCertificate(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    match extra_roots {
        Some(path) => {
            let unreadable = |error: rustls::pki_types::pem::Error| {
                format!("cannot read certificates from {}: {error}", path.display())
            };
            for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
                roots.add(certificate.map_err(unreadable)?).map_err(|error| error.to_string())?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
