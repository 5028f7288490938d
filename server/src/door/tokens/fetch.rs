//! A document of the issuer's, asked for by one request on a connection of its own.
//!
//! Everything about it is bounded: its time, its length, and where it may come from. No redirect is followed, because whoever can
//! make one would choose where this server's requests go; nothing is sent along but what the request needs.

use std::{future::Future, sync::Arc, time::Duration};

use axum::body::Body;
use futures_util::StreamExt;
use hyper::{
    Request, StatusCode,
    client::conn::http1,
    header::{ACCEPT, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use url::Url;

use super::settings::{is_loopback, may_be_asked};

/// What the head of an answer may have, in bytes.
const HEAD_BYTES_MAX: usize = 32 * 1_024;

/// Why a document could not be had.
#[derive(Debug, Error)]
pub(super) enum FetchError {
    #[error("{0} is neither an https address nor an http one of this machine")]
    Forbidden(Url),
    #[error("{host} leads to {address}, which is not this machine")]
    NotLoopback { host: String, address: std::net::IpAddr },
    #[error("no connection to {host}: {cause}")]
    Connect { host: String, cause: std::io::Error },
    #[error("no TLS 1.3 with {host} by a certificate that this machine trusts: {cause}")]
    Tls { host: String, cause: std::io::Error },
    #[error("it answers with a redirect ({0}), and none is followed: name the address that it leads to")]
    Redirect(StatusCode),
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("it answers with more than {0} bytes")]
    TooLong(usize),
    #[error("it has not answered within {} s", .0.as_secs())]
    TooLate(Duration),
    #[error("its answer broke off: {0}")]
    Broken(String),
}

/// Asks for a document of at most `len_max` bytes, within `time`.
pub(super) async fn get(
    url: &Url,
    roots: &Arc<RootCertStore>,
    len_max: usize,
    time: Duration,
) -> Result<Vec<u8>, FetchError> {
    let got = timeout(time, async {
        if !may_be_asked(url) {
            return Err(FetchError::Forbidden(url.clone()));
        }
        let host = url.host_str().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let failed = |cause| FetchError::Connect { host: host.to_owned(), cause };
        let socket = TcpStream::connect((bare.as_str(), port)).await.map_err(failed)?;
        if url.scheme() == "http" {
            let address = socket.peer_addr().map_err(failed)?.ip();
            if !is_loopback(url) || !address.is_loopback() {
                return Err(FetchError::NotLoopback { host: host.to_owned(), address });
            }
            return ask(url, socket, len_max).await;
        }
        let failed = |cause| FetchError::Tls { host: host.to_owned(), cause };
        let name = ServerName::try_from(bare.clone())
            .map_err(|error| failed(std::io::Error::new(std::io::ErrorKind::InvalidInput, error)))?;
        let socket = TlsConnector::from(tls(roots)).connect(name, socket).await.map_err(failed)?;
        ask(url, socket, len_max).await
    });
    got.await.unwrap_or(Err(FetchError::TooLate(time)))
}

/// The authorities that this machine trusts, as they are now.
pub(super) fn roots() -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(roots)
}

fn tls(roots: &Arc<RootCertStore>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has what TLS 1.3 needs");
    Arc::new(builder.with_root_certificates(Arc::clone(roots)).with_no_client_auth())
}

async fn ask(
    url: &Url,
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    len_max: usize,
) -> Result<Vec<u8>, FetchError> {
    let broken = |error: hyper::Error| FetchError::Broken(error.to_string());
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake::<_, Body>(TokioIo::new(socket))
        .await
        .map_err(broken)?;
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let request = Request::get(target)
        .header(HOST, authority)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("duologue/", env!("CARGO_PKG_VERSION")))
        .body(Body::empty())
        .map_err(|error| FetchError::Broken(error.to_string()))?;
    let answered = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        if status.is_redirection() {
            return Err(FetchError::Redirect(status));
        }
        if status != StatusCode::OK {
            return Err(FetchError::Status(status));
        }
        let mut body = Body::new(answer.into_body()).into_data_stream();
        let mut got = Vec::new();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| FetchError::Broken(error.to_string()))?;
            if got.len() + piece.len() > len_max {
                return Err(FetchError::TooLong(len_max));
            }
            got.extend_from_slice(&piece);
        }
        Ok(got)
    };
    beside(connection, answered).await
}

/// The answer, while the connection moves beside it: both end here, whichever way.
async fn beside<T>(
    connection: impl Future<Output = Result<(), hyper::Error>>,
    answered: impl Future<Output = Result<T, FetchError>>,
) -> Result<T, FetchError> {
    tokio::pin!(connection, answered);
    tokio::select! {
        biased;
        answer = &mut answered => answer,
        // What was read before its end is still handed over.
        _ = &mut connection => answered.await,
    }
}
