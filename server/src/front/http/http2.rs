//! HTTP/2 (RFC 9113), and WebSockets over it (RFC 8441): a page, its files and its line on one connection.
//!
//! ```text
//! TLS ─► h2 ─┬─ GET ──────────────────────────► the app, on the strangers' threads ─► answer.rs
//!            └─ CONNECT, :protocol websocket ─► 200 ─► a line's stream (line.rs)
//! from the first line that is let in on ─► the connection moves to the lines' threads, and leaves the lobby
//! ```
//!
//! A bound is a stream's wherever that can be: a stream's end, whoever ends it, leaves the others alone. The connection is given
//! up as a whole only where it is none of a browser: it floods with frames that bring nothing, or no line is on it and its time is
//! over.
//!
//! A browser puts whatever it opens next on the connection that it has, also on one that is dead: a line that dials again after
//! silence would wait for it. So the browser is told to use it no more (GOAWAY) as soon as the page is loaded; what is open goes
//! on. HTTP/2 is for the first line of a page, and each one after it has a connection of its own, as over HTTP/1.1.

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header, request::Parts},
};
use bytes::Bytes;
use duologue::limits::HANDSHAKE_SECS;
use h2::{
    Reason, RecvStream,
    ext::Protocol,
    server::{Builder, Connection, SendResponse},
};
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{Arrival, Front, REQUESTS_MAX, Silent, Whose, boxed};
use crate::{
    door::{
        firewall::What,
        lobby::{Place, Worth},
    },
    front::{
        head::HEAD_LEN_MAX,
        stream::{Stream, Writing},
    },
    watch::events::Kind,
};

use io::Io;
pub(crate) use line::Http2Stream;

mod answer;
mod io;
mod line;
#[cfg(test)]
mod tests;

/// WebSockets of a connection.
const LINES_MAX: u32 = 16;
/// Streams of a connection, lines among them.
const STREAMS_MAX: u32 = 100;
/// Requests of a connection that bring a body, at a time. One more is refused, and not begun.
const BODIES_MAX: u32 = 8;
/// Requests of a connection, which stands for the six that a browser has over HTTP/1.1.
const CONNECTION_REQUESTS_MAX: u32 = 6 * REQUESTS_MAX;
/// What a stream may bring that nobody has read: about what the system holds of a connection. It stays as it is, since h2 can widen
/// all streams only, by a change of settings in the middle.
const WINDOW_LEN: u32 = 512 * 1_024;
/// The same of all that may bring anything, so that none uses up the connection's for another.
const WINDOWS_LEN: u32 = WINDOW_LEN * (LINES_MAX + BODIES_MAX);
/// What a stream holds that its client does not read.
const UNREAD_LEN: usize = 64 * 1_024;
/// Resets of streams that nobody has begun to answer, and of ours for a client's errors: more is a flood.
const RESETS_MAX: usize = 50;
/// What frames may bring that is neither a message nor a body: at once, and for each second. A browser's is a twentieth.
const OVERHEAD_LEN: u64 = 1_024 * 1_024;
const OVERHEAD_LEN_PER_SEC: u64 = 256 * 1_024;
/// For how long nothing was asked for before a page counts as loaded.
const LOADED: Duration = Duration::from_secs(1);

fn settings() -> Builder {
    let mut settings = Builder::new();
    settings
        .enable_connect_protocol()
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(WINDOW_LEN)
        .initial_connection_window_size(WINDOWS_LEN)
        .max_header_list_size(u32::try_from(HEAD_LEN_MAX).unwrap_or(u32::MAX))
        .max_send_buffer_size(UNREAD_LEN)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(Some(RESETS_MAX));
    settings
}

/// Where a line's stream comes from, once its 200 is on the way. Whoever takes it takes the request.
#[derive(Clone, Debug)]
pub(crate) struct Extended(Arc<Mutex<Option<oneshot::Receiver<Http2Stream>>>>);

impl Extended {
    pub(crate) fn take(&self) -> Option<oneshot::Receiver<Http2Stream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What a connection and its streams know together.
#[derive(Debug)]
struct Shared {
    /// The lines' threads.
    home: Handle,
    born: Instant,
    /// Streams by what they are. A request that brings a body is counted twice.
    requests: AtomicU32,
    bodies: AtomicU32,
    sockets: AtomicU32,
    /// Lines that were let in.
    lines: AtomicU32,
    changed: Notify,
    /// Cancelled when the connection is to move to the lines' threads.
    moves: CancellationToken,
    /// It has moved, and its socket has not.
    moved: AtomicBool,
    /// Whoever runs it was told of a flood.
    flooded: AtomicBool,
    /// Bytes: from the client in all, those of them in messages and bodies, and to the client.
    read: AtomicU64,
    brought: AtomicU64,
    written: AtomicU64,
}

/// One more of something, until it is dropped.
#[derive(Debug)]
struct Counted {
    shared: Arc<Shared>,
    which: fn(&Shared) -> &AtomicU32,
}

impl Counted {
    fn new(shared: &Arc<Shared>, which: fn(&Shared) -> &AtomicU32) -> Self {
        which(shared).fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(shared), which }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.which)(&self.shared).fetch_sub(1, Ordering::Relaxed);
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn new(home: Handle) -> Self {
        Self {
            home,
            born: Instant::now(),
            requests: AtomicU32::new(0),
            bodies: AtomicU32::new(0),
            sockets: AtomicU32::new(0),
            lines: AtomicU32::new(0),
            changed: Notify::new(),
            moves: CancellationToken::new(),
            moved: AtomicBool::new(false),
            flooded: AtomicBool::new(false),
            read: AtomicU64::new(0),
            brought: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }

    fn has_lines(&self) -> bool {
        self.lines.load(Ordering::Relaxed) > 0
    }

    /// Whether its frames bring too little for how many they are. What was sent to the client is acknowledged by some of them.
    fn floods(&self) -> bool {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        // What nobody has read yet is no less a message or a body.
        let unread = u64::from(WINDOWS_LEN);
        let fair = OVERHEAD_LEN + unread + 2 * count(&self.brought) + count(&self.written) / 16;
        let beyond = count(&self.read).saturating_sub(fair);
        beyond > 0 && beyond > OVERHEAD_LEN_PER_SEC * self.born.elapsed().as_secs()
    }
}

/// A connection of a browser, to its end.
pub(super) async fn converse(
    front: Arc<Front>,
    stream: Stream,
    writing: Arc<Writing>,
    whose: Whose,
    (place, silent): (Arc<Place>, Silent),
) {
    let shared = Arc::new(Shared::new(front.home.clone()));
    let served = Arc::new(Served { front, whose, host: OnceLock::new(), shared: Arc::clone(&shared) });
    let mut run = Box::pin(served.run(Io::new(stream, Arc::clone(&shared)), writing, (place, silent)));
    tokio::select! {
        biased;
        () = &mut run => {}
        () = shared.moves.cancelled() => {
            shared.moved.store(true, Ordering::Relaxed);
            shared.home.spawn(run);
        }
    }
}

struct Served {
    front: Arc<Front>,
    whose: Whose,
    /// The host that its first request was for.
    host: OnceLock<String>,
    shared: Arc<Shared>,
}

impl Served {
    async fn run(self: Arc<Self>, io: Io, writing: Arc<Writing>, (place, silent): (Arc<Place>, Silent)) {
        let limit = Duration::from_secs(HANDSHAKE_SECS);
        let begun = tokio::select! {
            begun = tokio::time::timeout(limit, settings().handshake(io)) => begun,
            () = place.crowded_out() => return,
        };
        let failed = match begun {
            Ok(Ok(mut connection)) => {
                self.serve(&mut connection, &writing, (place, silent)).await.err().map(|it| it.to_string())
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("it did not begin in time".to_owned()),
        };
        if let Some(why) = failed {
            self.front.tell(self.front.event(Kind::HttpFailed, self.whose).note(why));
        }
    }

    async fn serve(
        self: &Arc<Self>,
        connection: &mut Connection<Io, Bytes>,
        writing: &Writing,
        (place, silent): (Arc<Place>, Silent),
    ) -> Result<(), h2::Error> {
        let (times, born) = (self.front.times, Instant::now());
        let mut look = tokio::time::interval_at(tokio::time::Instant::now() + times.look, times.look);
        let (mut place, mut silent, mut so_far) = (Some(place), Some(silent), 0);
        // Since when no line is on it, and nothing was asked for.
        let (mut alone_since, mut idle_since) = (born, born);
        let (mut ends_at, mut is_last) = (None, false);
        let (mut was_asking, mut floods_since) = (false, None::<Instant>);
        loop {
            match floods_since {
                None if self.shared.floods() => {
                    floods_since = Some(Instant::now());
                    self.front.tell(self.front.event(Kind::HttpFailed, self.whose).note("its frames bring nothing"));
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                }
                // It does not even read that.
                Some(since) if since.elapsed() >= times.look => return Ok(()),
                _ => {}
            }
            let crowded_out = async {
                match &place {
                    Some(place) => place.crowded_out().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                accepted = poll_fn(|cx| connection.poll_accept(cx)) => match accepted {
                    Some(Ok((request, respond))) => {
                        idle_since = Instant::now();
                        if let (Some(place), Some(_)) = (&place, silent.take()) {
                            place.is_worth(Worth::Asking);
                        }
                        self.begin(request, respond, place.clone());
                        so_far += 1;
                        if so_far == CONNECTION_REQUESTS_MAX {
                            connection.graceful_shutdown();
                        }
                        continue;
                    }
                    Some(Err(error)) => return Err(error),
                    None => return Ok(()),
                },
                () = crowded_out => return Ok(()),
                () = self.front.stop.cancelled(), if ends_at.is_none() => {
                    connection.graceful_shutdown();
                    ends_at = Some(Instant::now() + times.look);
                }
                () = self.front.intake.paused(), if !is_last && so_far > 0 => {
                    connection.graceful_shutdown();
                    is_last = true;
                }
                () = self.shared.changed.notified() => {}
                _ = look.tick() => {}
            }
            let count = |count: &AtomicU32| count.load(Ordering::Relaxed);
            let (asks, sockets) = (count(&self.shared.requests) > 0, count(&self.shared.sockets) > 0);
            if asks || was_asking {
                idle_since = Instant::now();
            }
            was_asking = asks;
            if self.shared.has_lines() {
                // Lines have bounds of their own.
                (place, alone_since) = (None, Instant::now());
            } else {
                if place.is_none() {
                    let client = self.front.client(self.whose, &HeaderMap::new());
                    let Some(again) = self.front.lobby.enter(client.bounded_as(), Worth::Idle) else { return Ok(()) };
                    place = Some(Arc::new(again));
                }
                if writing.waits_for() >= times.read_within {
                    self.front.tell(self.front.event(Kind::ReaderSlow, self.whose));
                    return Ok(());
                }
                // The end of a line that was just on it may still have to leave, with which the connection ends by itself.
                if ends_at.is_some_and(|ends_at| ends_at.max(alone_since + 2 * times.look) <= Instant::now()) {
                    return Ok(());
                }
                if ends_at.is_none() && alone_since.elapsed() >= times.lasts {
                    connection.graceful_shutdown();
                    ends_at = Some(Instant::now() + times.ends_within);
                }
                if let Some(place) = place.as_ref().filter(|_| !sockets) {
                    place.is_worth(if asks { Worth::Asking } else { Worth::Idle });
                }
            }
            let limit = if sockets { LOADED } else { Duration::from_secs(HANDSHAKE_SECS) };
            if idle_since.elapsed() >= limit {
                connection.graceful_shutdown();
            }
        }
    }

    /// Begins to answer a request.
    fn begin(
        self: &Arc<Self>,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        place: Option<Arc<Place>>,
    ) {
        let shared = &self.shared;
        let has_body = request.method() != Method::CONNECT && !request.body().is_end_stream();
        if has_body && shared.bodies.load(Ordering::Relaxed) >= BODIES_MAX {
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        }
        let body = has_body.then(|| Counted::new(shared, |shared| &shared.bodies));
        let counted = Counted::new(shared, |shared| &shared.requests);
        let own = Arc::clone(self);
        self.front.strangers.spawn(async move {
            let _counted = (body, counted);
            if let Err(error) = own.answer(request, &mut respond, place).await {
                tracing::debug!(%error, "a stream ends early");
            }
        });
    }

    async fn answer(
        &self,
        request: Request<RecvStream>,
        respond: &mut SendResponse<Bytes>,
        place: Option<Arc<Place>>,
    ) -> Result<(), h2::Error> {
        let (mut parts, incoming) = request.into_parts();
        let protocol = parts.extensions.remove::<Protocol>();
        if let Err((status, text)) = self.shape(&mut parts, protocol.as_ref()) {
            let mut response = Response::new(Body::from(text));
            *response.status_mut() = status;
            return answer::send(response, respond).await;
        }
        if protocol.is_some() {
            return self.connect(parts, incoming, respond, place).await;
        }
        let mut request = Request::from_parts(parts, answer::body(incoming, Arc::clone(&self.shared)));
        let response = match self.judge(&mut request, place.as_ref(), None) {
            Ok(()) => self.ask(request, respond).await?,
            Err(response) => *response,
        };
        answer::send(response, respond).await
    }

    /// A WebSocket, or what is said in its place.
    async fn connect(
        &self,
        parts: Parts,
        incoming: RecvStream,
        respond: &mut SendResponse<Bytes>,
        place: Option<Arc<Place>>,
    ) -> Result<(), h2::Error> {
        let socket = Counted::new(&self.shared, |shared| &shared.sockets);
        if self.shared.sockets.load(Ordering::Relaxed) > LINES_MAX {
            let mut response = Response::new(Body::from("There are too many lines on this connection."));
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            self.front.tell(self.front.event(Kind::TooManyConnections, self.whose));
            return answer::send(response, respond).await;
        }
        let (gives, takes) = oneshot::channel();
        let extended = Extended(Arc::new(Mutex::new(Some(takes))));
        let mut request = Request::from_parts(parts, Body::empty());
        let response = match self.judge(&mut request, place.as_ref(), Some(extended)) {
            Ok(()) => self.ask(request, respond).await?,
            Err(response) => *response,
        };
        // Where nobody waits for the stream, it is an answer like any other.
        if gives.is_closed() || response.status() != StatusCode::OK {
            return answer::send(response, respond).await;
        }
        let sends = answer::begin(response, respond)?;
        // Whoever waited may have gone: that resets the stream.
        let _ = gives.send(Http2Stream::new(sends, incoming, socket));
        Ok(())
    }

    fn judge<B>(
        &self,
        request: &mut Request<B>,
        place: Option<&Arc<Place>>,
        extended: Option<Extended>,
    ) -> Result<(), Box<Response<Body>>> {
        let client = self.front.client(self.whose, request.headers());
        // The connection may have come before a ban; and each line counts as a connection.
        self.front.lets(client).map_err(boxed)?;
        if extended.is_some() {
            self.front.firewall.takes(What::Connection, client.bounded_as()).map_err(boxed)?;
        }
        self.front.judge(request, self.whose, place, false)?;
        if let Some(arrival) = request.extensions_mut().get_mut::<Arrival>() {
            arrival.extended = extended;
        }
        Ok(())
    }

    /// What the app says, as long as anybody waits for it.
    async fn ask(
        &self,
        request: Request<Body>,
        respond: &mut SendResponse<Bytes>,
    ) -> Result<Response<Body>, h2::Error> {
        tokio::select! {
            Ok::<_, Infallible>(response) = self.front.app.clone().oneshot(request) => Ok(response),
            reset = poll_fn(|cx| respond.poll_reset(cx)) => Err(reset?.into()),
        }
    }

    /// Gives a request's head the form that it has over HTTP/1.1, whose Host `:authority` is.
    fn shape(&self, parts: &mut Parts, protocol: Option<&Protocol>) -> Result<(), (StatusCode, &'static str)> {
        match (parts.method == Method::CONNECT, protocol.map(Protocol::as_str)) {
            (false, None) | (true, Some("websocket")) => {}
            _ => return Err((StatusCode::NOT_IMPLEMENTED, "CONNECT is for WebSockets alone (RFC 8441).")),
        }
        let Some(authority) = parts.uri.authority() else {
            return Err((StatusCode::BAD_REQUEST, "A request has one :authority."));
        };
        let own = self.host.get_or_init(|| authority.host().to_owned());
        if !authority.host().eq_ignore_ascii_case(own) {
            let text = "This connection is another host's (RFC 9110, 15.5.20).";
            return Err((StatusCode::MISDIRECTED_REQUEST, text));
        }
        let host = authority.as_str().parse().ok().filter(|host| {
            let mut said = parts.headers.get_all(header::HOST).iter();
            said.all(|it| it == host)
        });
        let host: HeaderValue = host.ok_or((StatusCode::BAD_REQUEST, "A request's Host is its :authority."))?;
        parts.headers.insert(header::HOST, host);
        let path = parts.uri.path_and_query().cloned();
        parts.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        // Over HTTP/1.1 there is one (RFC 9113, 8.2.3).
        let cookies: Vec<_> = parts.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if cookies.len() > 1 {
            let joined = HeaderValue::from_bytes(&cookies.join(&b"; "[..]));
            let joined = joined.map_err(|_| (StatusCode::BAD_REQUEST, "A cookie cannot be read."))?;
            parts.headers.insert(header::COOKIE, joined);
        }
        Ok(())
    }
}
