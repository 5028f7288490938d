//! Connections to the backend: how long they are kept, and what is asked again when one of them turns out closed.
//!
//! ```text
//! may be repeated (RFC 9110, 9.2.2) ─► kept 1 s ──── closed before its answer ─► once more, on a connection of its own
//! may not ───────────────────────────► kept 250 ms ─ closed before its answer ─► `bad-response`
//! ```
//!
//! A backend closes a connection that nobody uses, and a request may be on its way to it just then. gunicorn waits 2 s
//! before that, Node.js and uvicorn 5, others 15 to 75: what may not be repeated never meets it, since it is given no
//! connection that has rested for as long. What may be repeated may go where connections are kept longer, and hears of
//! those which broke only if the second one has broken as well.
//!
//! A request has a file for its time (`share.rs`). Connections that rest are no request's: so many of them are kept, and their
//! files are set aside.

use std::{
    error::Error as StdError,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::http::{Extensions, Request, Response, Uri};
use futures_util::future::{FutureExt, Map};
use hyper::{
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::legacy::{
        self, Client,
        connect::{Connected, Connection, HttpConnector},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::net::TcpStream;
use tower::Service;

use crate::state::files::{self, SetAside};

use super::upload::{Progress, Upload};

/// How long a connection to the backend may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an unused connection is kept for what may be repeated.
const IDLE: Duration = Duration::from_secs(1);
/// And for what may not: while requests follow one another there are no more connections than that needs.
const IDLE_FOR_ONCE: Duration = Duration::from_millis(250);
/// Connections that rest, of each kind: what one device may ask at once. Of more that come back at the same time, the rest is
/// closed.
const IDLE_MAX: usize = 32;
/// After so long without a packet the system asks whether the backend's machine is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// What is read of an answer ahead of the caller, in bytes.
pub(super) const ANSWER_BUFFER_BYTES: usize = 64 * 1_024;

/// The backend's connections, by what may be asked on them.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    repeatable: Client<Dialler, Upload>,
    once: Client<Dialler, Upload>,
    fresh: Client<Dialler, Upload>,
    _set_aside: Arc<SetAside>,
}

impl Connections {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_keepalive(Some(KEEPALIVE));
        connector.set_nodelay(true);
        let client = |idle: Duration, idle_max: usize| {
            Client::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(idle)
                .pool_max_idle_per_host(idle_max)
                .http1_max_buf_size(ANSWER_BUFFER_BYTES)
                .build(Dialler(connector.clone()))
        };
        Self {
            repeatable: client(IDLE, IDLE_MAX),
            once: client(IDLE_FOR_ONCE, IDLE_MAX),
            fresh: client(Duration::ZERO, 0),
            _set_aside: Arc::new(files::set_aside(2 * IDLE_MAX)),
        }
    }

    /// The backend's answer, as far as its head.
    pub(super) async fn ask(
        &self,
        request: Request<Upload>,
        progress: &Progress,
    ) -> Result<Response<Incoming>, legacy::Error> {
        progress.note(false);
        let Some(again) = repeated(&request) else { return answered(self.once.request(request).await) };
        match answered(self.repeatable.request(request).await) {
            Err(error) if had_answered(&error) && is_closed(&error) => {
                tracing::debug!(%error, "a kept connection to the backend was closed: asking once more on a new one");
                progress.note(false);
                self.fresh.request(again).await
            }
            answer => answer,
        }
    }
}

/// The same request once more, if the backend may see it twice and all of it is here.
fn repeated(request: &Request<Upload>) -> Option<Request<Upload>> {
    let body = request.body().again().filter(|_| request.method().is_idempotent())?;
    let mut again = Request::new(body);
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    Some(again)
}

/// Marks the connection: whatever breaks on it from now on, it has been a backend's.
fn answered(answer: Result<Response<Incoming>, legacy::Error>) -> Result<Response<Incoming>, legacy::Error> {
    if let Some(HasAnswered(flag)) = answer.as_ref().ok().and_then(|answer| answer.extensions().get()) {
        flag.store(true, Ordering::Relaxed);
    }
    answer
}

/// The connection was a kept one.
fn had_answered(error: &legacy::Error) -> bool {
    let mut extras = Extensions::new();
    if let Some(connection) = error.connect_info() {
        connection.get_extras(&mut extras);
    }
    extras.get().is_some_and(|HasAnswered(flag)| flag.load(Ordering::Relaxed))
}

/// The connection ended, and nothing else was wrong.
fn is_closed(error: &legacy::Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(found) = cause {
        if let Some(error) = found.downcast_ref::<hyper::Error>()
            && (error.is_incomplete_message() || error.is_closed() || error.is_canceled())
        {
            return true;
        }
        if let Some(error) = found.downcast_ref::<io::Error>() {
            use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
            return matches!(
                error.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof
            );
        }
        cause = found.source();
    }
    false
}

/// Whether anything was ever answered on a connection.
#[derive(Clone, Debug, Default)]
struct HasAnswered(Arc<AtomicBool>);

/// Makes connections that carry [`HasAnswered`].
#[derive(Clone, Debug)]
struct Dialler(HttpConnector);

impl Service<Uri> for Dialler {
    type Response = Marked;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = Map<<HttpConnector as Service<Uri>>::Future, fn(Dialled) -> Result<Marked, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        self.0.call(uri).map(|dialled| dialled.map(|socket| Marked(socket, HasAnswered::default())))
    }
}

type Dialled = Result<TokioIo<TcpStream>, <HttpConnector as Service<Uri>>::Error>;

/// A connection that carries [`HasAnswered`].
#[derive(Debug)]
struct Marked(TokioIo<TcpStream>, HasAnswered);

impl Connection for Marked {
    fn connected(&self) -> Connected {
        self.0.connected().extra(self.1.clone())
    }
}

impl Read for Marked {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Marked {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use axum::http::StatusCode;
    use futures_util::future::join_all;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        sync::Barrier,
    };

    use super::*;

    const AT_ONCE: usize = 3 * IDLE_MAX;

    /// They were kept in any number, as many as had been asked at once, and counted by nobody.
    #[tokio::test]
    async fn connections_that_rest_are_bounded_however_many_were_used_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (accepted, all_are_here) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(AT_ONCE)));
        let counted = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let all_are_here = Arc::clone(&all_are_here);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while let Ok(byte) = socket.read_u8().await {
                        head.push(byte);
                        if head.ends_with(b"\r\n\r\n") {
                            head.clear();
                            all_are_here.wait().await;
                            let _ = socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                        }
                    }
                });
            }
        });
        let connections = Connections::new();
        let ask = async || {
            let request = Request::get(format!("http://{address}/")).body(Upload::none()).expect("a request");
            connections.ask(request, &Progress::default()).await.expect("an answer").status()
        };
        for _ in 0..2 {
            let answers = join_all((0..AT_ONCE).map(|_| ask())).await;
            assert!(answers.iter().all(|status| *status == StatusCode::NO_CONTENT));
        }
        let accepted = accepted.load(Ordering::Relaxed);
        assert!(accepted >= 2 * AT_ONCE - IDLE_MAX, "{accepted}: more had rested in between");
    }
}
