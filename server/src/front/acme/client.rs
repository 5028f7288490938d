//! Requests to an issuer, each on a connection of its own, with bounds on its time and on what it answers.

use std::{path::Path, pin::Pin, sync::Arc, time::Duration};

use axum::http::{HeaderValue, Request, Response, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER_LEN_MAX: usize = 1_024 * 1_024;

pub(super) struct Client(TlsConnector);

impl Client {
    /// One that trusts the authorities of a file, or those of this machine.
    pub(super) fn trusting(ca: Option<&Path>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match ca {
            Some(path) => {
                let unreadable = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
                for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))? {
                    let certificate = certificate.map_err(|error| unreadable(&error))?;
                    roots.add(certificate).map_err(|error| unreadable(&error))?;
                }
            }
            None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring has what TLS 1.3 needs")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config).into()))
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let tls = self.0.clone();
        Box::pin(async move {
            let host = request.uri().host().unwrap_or_default().to_owned();
            let asked = timeout(PATIENCE, ask(&tls, request)).await;
            let told =
                asked.unwrap_or_else(|_| Err(format!("it has not answered within {} s", PATIENCE.as_secs()).into()));
            told.map_err(|error| Error::Other(format!("{host}: {error}").into()))
        })
    }
}

async fn ask(
    tls: &TlsConnector,
    mut request: Request<BodyWrapper<Bytes>>,
) -> Result<BytesResponse, Box<dyn std::error::Error + Send + Sync>> {
    let uri = request.uri().clone();
    let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("an issuer is asked by https".into());
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let tcp = TcpStream::connect((host.as_str(), authority.port_u16().unwrap_or(443))).await?;
    let stream = tls.connect(ServerName::try_from(host)?, tcp).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    request.headers_mut().insert(header::HOST, HeaderValue::from_str(authority.as_str())?);
    *request.uri_mut() = Uri::from(uri.path_and_query().cloned().ok_or("an address without a path")?);
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, ANSWER_LEN_MAX).collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(parts, Full::new(body)).into())
}
