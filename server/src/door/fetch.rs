//! One question to somebody whom the owner has named, by one request on a connection of its own: for a document of the issuer's, or
//! to the owner's backend.
//!
//! Everything about it is bounded: its time, the answer's length, and where it may come from. No redirect is followed, because whoever
//! can make one would choose where this server's requests go; nothing is sent along but what the request needs.

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use axum::body::Body;
use futures_util::StreamExt;
use hyper::{
    Method, Request, StatusCode,
    body::Body as _,
    client::conn::http1,
    header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use url::Url;

/// What the head of an answer may have, in bytes.
const HEAD_BYTES_MAX: usize = 32 * 1_024;

/// Why a document could not be had.
#[derive(Debug, Error)]
pub(crate) enum FetchError {
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
    #[error("it has not answered within {} ms", .0.as_millis())]
    TooLate(Duration),
    #[error("its answer broke off: {0}")]
    Broken(String),
}

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    Url(Url),
    /// A socket of this machine, which only those reach whom its file lets in; and for which target.
    Socket {
        path: PathBuf,
        target: String,
    },
}

/// What an answer may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) len_max: usize,
    pub(crate) time: Duration,
}

/// Asks for a document.
pub(crate) async fn get(url: &Url, roots: &Arc<RootCertStore>, bounds: Bounds) -> Result<Vec<u8>, FetchError> {
    let asked = async {
        let answered = at_url(url, roots, Asked { json: None, len_max: bounds.len_max }).await?;
        answered.ok_or(FetchError::Status(StatusCode::NO_CONTENT))
    };
    timeout(bounds.time, asked).await.unwrap_or(Err(FetchError::TooLate(bounds.time)))
}

/// Says JSON, and gives what is answered: none, if that is 204. An answer of no bytes is another thing: one that dies may begin so.
pub(crate) async fn post(
    whom: &Whom,
    roots: &Arc<RootCertStore>,
    json: Vec<u8>,
    bounds: Bounds,
) -> Result<Option<Vec<u8>>, FetchError> {
    let asked = async {
        let asked = Asked { json: Some(json), len_max: bounds.len_max };
        match whom {
            Whom::Url(url) => at_url(url, roots, asked).await,
            Whom::Socket { path, target } => {
                let failed = |cause| FetchError::Connect { host: path.display().to_string(), cause };
                let socket = UnixStream::connect(path).await.map_err(failed)?;
                ask(target, "localhost", socket, asked).await
            }
        }
    };
    timeout(bounds.time, asked).await.unwrap_or(Err(FetchError::TooLate(bounds.time)))
}

/// Whether nobody on the way can change what comes from there: by TLS, or because there is no way.
pub(crate) fn may_be_asked(url: &Url) -> bool {
    let has_nothing_else = url.username().is_empty() && url.password().is_none();
    has_nothing_else
        && match url.scheme() {
            "https" => url.host().is_some(),
            "http" => is_loopback(url),
            _ => false,
        }
}

/// Whether an address is of this machine by its name. What is dialled is looked at once more.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// What goes over the connection, and how long an answer may be.
struct Asked {
    json: Option<Vec<u8>>,
    len_max: usize,
}

async fn at_url(url: &Url, roots: &Arc<RootCertStore>, asked: Asked) -> Result<Option<Vec<u8>>, FetchError> {
    if !may_be_asked(url) {
        return Err(FetchError::Forbidden(url.clone()));
    }
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let failed = |cause| FetchError::Connect { host: host.to_owned(), cause };
    let socket = TcpStream::connect((bare.as_str(), port)).await.map_err(failed)?;
    if url.scheme() == "http" {
        let address = socket.peer_addr().map_err(failed)?.ip();
        if !is_loopback(url) || !address.is_loopback() {
            return Err(FetchError::NotLoopback { host: host.to_owned(), address });
        }
        return ask(target, authority, socket, asked).await;
    }
    let failed = |cause| FetchError::Tls { host: host.to_owned(), cause };
    let name = ServerName::try_from(bare.clone())
        .map_err(|error| failed(std::io::Error::new(std::io::ErrorKind::InvalidInput, error)))?;
    let socket = TlsConnector::from(tls(roots)).connect(name, socket).await.map_err(failed)?;
    ask(target, authority, socket, asked).await
}

/// The authorities that this machine trusts, as they are now.
pub(crate) fn roots() -> Arc<RootCertStore> {
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
    target: &str,
    authority: &str,
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    Asked { json, len_max }: Asked,
) -> Result<Option<Vec<u8>>, FetchError> {
    let broken = |error: hyper::Error| FetchError::Broken(error.to_string());
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake::<_, Body>(TokioIo::new(socket))
        .await
        .map_err(broken)?;
    let is_post = json.is_some();
    let mut request = Request::builder()
        .method(if is_post { Method::POST } else { Method::GET })
        .uri(target)
        .header(HOST, authority)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("duologue/", env!("CARGO_PKG_VERSION")));
    if is_post {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let request = request.body(json.map_or_else(Body::empty, Body::from));
    let request = request.map_err(|error| FetchError::Broken(error.to_string()))?;
    let answered = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        if status.is_redirection() {
            return Err(FetchError::Redirect(status));
        }
        if status == StatusCode::NO_CONTENT && is_post {
            return Ok(None);
        }
        if status != StatusCode::OK {
            return Err(FetchError::Status(status));
        }
        // One that says beforehand that it is too long is not read at all.
        if answer.body().size_hint().lower() > len_max as u64 {
            return Err(FetchError::TooLong(len_max));
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
        Ok(Some(got))
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
