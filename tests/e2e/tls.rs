//! Certificates, and whom they convince.

use std::{path::Path, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
};

/// What `--ignore-certificate-errors-spki-list` names a certificate by.
pub(crate) fn spki_pin(key: &KeyPair) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, &key.subject_public_key_info());
    BASE64_STANDARD.encode(hash)
}

/// The same, for the key that a server keeps in its state directory.
pub(crate) fn spki_pin_of_file(key: &Path) -> String {
    let pem = std::fs::read_to_string(key).unwrap_or_else(|error| panic!("cannot read {}: {error}", key.display()));
    spki_pin(&KeyPair::from_pem(&pem).expect("a private key in PEM"))
}

/// The first certificate of a PEM file.
pub(crate) fn certificate_of_file(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// A certificate authority of its own, and one certificate by it.
pub(crate) struct Authority {
    pub(crate) ca_pem: String,
    pub(crate) ca: CertificateDer<'static>,
    pub(crate) leaf: CertificateDer<'static>,
    pub(crate) key: KeyPair,
}

impl Authority {
    /// For these names.
    pub(crate) fn for_names(names: &[&str]) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "An authority that only these tests know");
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
        Self { ca_pem: ca.pem(), ca: ca.der().clone(), leaf: leaf.der().clone(), key }
    }

    /// The server's side of TLS with it.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.leaf.clone()], key)
            .unwrap();
        Arc::new(config)
    }
}

/// The client's side of TLS that trusts these certificates and nothing else.
pub(crate) fn client(trusted: &[CertificateDer<'static>]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.clone()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}
