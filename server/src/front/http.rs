//! The listener: TLS and HTTP/1.1 for an axum app, with a limit on every wait of a stranger.
//!
//! The caller owns the socket and the stop signal. Upgraded connections are the line's own: it ends them itself.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use duologue::limits::HANDSHAKE_SECS;
use hyper::body::Incoming;
use hyper_util::{rt::TokioIo, rt::TokioTimer, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::front::head::{self, HEAD_LEN_MAX};

/// The peer's address, as connect info.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Serves an app until `stop` is cancelled. Without `tls` in clear: behind a proxy of this machine.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    app: Router,
    stop: CancellationToken,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let app = head::judged(app);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (tcp, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, as a rule: others will be given back.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // An IPv4 address where the listener has both kinds.
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let (app, acceptor, stop) = (app.clone(), acceptor.clone(), stop.clone());
        tokio::spawn(async move {
            let _ = tcp.set_nodelay(true);
            match acceptor {
                None => converse(tcp, address, app, stop).await,
                Some(acceptor) => {
                    let limit = Duration::from_secs(HANDSHAKE_SECS);
                    match tokio::time::timeout(limit, acceptor.accept(tcp)).await {
                        Ok(Ok(stream)) => converse(stream, address, app, stop).await,
                        Ok(Err(error)) => tracing::debug!(%address, %error, "TLS failed"),
                        Err(_) => tracing::debug!(%address, "TLS took too long"),
                    }
                }
            }
        });
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    address: SocketAddr,
    app: Router,
    stop: CancellationToken,
) {
    let app = app.map_request(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(Peer(address)));
        request
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(HANDSHAKE_SECS))
        .max_buf_size(HEAD_LEN_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => {
            if let Err(error) = result {
                tracing::debug!(%address, %error, "HTTP failed");
            }
        }
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(Duration::from_secs(1), connection).await;
        }
    }
}
