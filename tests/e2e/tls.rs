//! Certificates, and whom they convince.

use std::{path::Path, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData, date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
};

/// What a client is told to trust, and it does real TLS with it: each browser engine asks for another part.
#[derive(Clone)]
pub(crate) struct Trust {
    /// Whose signature convinces: the leaf itself, if it has signed itself.
    pub(crate) root: CertificateDer<'static>,
    /// What the server presents.
    pub(crate) leaf: CertificateDer<'static>,
    /// The hash of its key.
    pub(crate) spki_pin: String,
}

impl Trust {
    fn of(root: &CertificateDer<'static>, leaf: &CertificateDer<'static>, key: &KeyPair) -> Self {
        let hash = ring::digest::digest(&ring::digest::SHA256, &key.subject_public_key_info());
        Self { root: root.clone(), leaf: leaf.clone(), spki_pin: BASE64_STANDARD.encode(hash) }
    }

    /// In the self-signed certificate that `dev` keeps in its state directory.
    pub(crate) fn in_development(directory: &Path) -> Self {
        let (certificate, key) = (directory.join("tls-cert.pem"), directory.join("tls-key.pem"));
        let leaf = CertificateDer::from_pem_file(&certificate)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", certificate.display()));
        let pem =
            std::fs::read_to_string(&key).unwrap_or_else(|error| panic!("cannot read {}: {error}", key.display()));
        Self::of(&leaf, &leaf, &KeyPair::from_pem(&pem).expect("a private key in PEM"))
    }
}

/// A certificate as a file has it.
pub(crate) fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = BASE64_STANDARD.encode(certificate);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
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

    /// A certificate for a name that has expired long ago.
    pub(crate) fn expired(name: &str) -> Self {
        let mut authority = Self::for_names(&[name]);
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2024, 1, 1), date_time_ymd(2024, 4, 1));
        let issuer = KeyPair::generate().unwrap();
        let ca = CertifiedIssuer::self_signed(CertificateParams::default(), issuer).unwrap();
        authority.leaf = params.signed_by(&authority.key, &ca).unwrap().der().clone();
        authority
    }

    /// What its victims are told to trust.
    pub(crate) fn trust(&self) -> Trust {
        Trust::of(&self.ca, &self.leaf, &self.key)
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
