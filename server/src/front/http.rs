//! The listener: TLS, HTTP/1.1 and HTTP/2 for an axum app, with a bound on everything that a stranger can take.
//!
//! ```text
//! accept ─► a place among the strangers ─► PROXY header ─► TLS ─► requests ─┬─► the end
//!           (door/lobby.rs)                └── 5 s ─────────┘               └─► upgraded: the place goes along
//! ```
//!
//! Before TLS, connections are bounded in all, by the files that there are, and for each address. One that does not upgrade
//! has so many requests and so much time, and an answer that nobody reads is given up. The caller owns the socket and the
//! stop signal. Upgraded connections are the line's own: it ends them itself.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header},
};
use duologue::limits::HANDSHAKE_SECS;
use duologue_native::path::{AddressFrom, Tls};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{rt::TokioIo, rt::TokioTimer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Handle,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{
    door::{
        firewall::{Firewall, Refusal, What},
        lobby::{Lobby, Place, Worth},
    },
    state::{files, records::now},
    watch::{
        events::{Event, Kind},
        stream::Watch,
    },
};

pub(crate) use http2::{Extended, Http2Stream};

use super::{
    acme::challenges::ACME_TLS,
    head::{self, HEAD_LEN_MAX},
    intake::{Intake, Silent},
    proxied::{self, Client, TrustedProxies},
    strangers,
    stream::{Stream, Tcp, Writing},
    tls_stream::TlsStream,
};

/// Connections of one address that have not become lines: many people behind one router, each with a page's six.
const CONNECTIONS_OF_AN_ADDRESS_MAX: usize = 256;
/// Requests of a connection that does not upgrade. A page and all that it loads later take some forty.
const REQUESTS_MAX: u32 = 128;
/// What a connection that does not upgrade may take of time.
const TIMES: Times = Times {
    lasts: Duration::from_secs(120),
    ends_within: Duration::from_secs(60),
    read_within: Duration::from_secs(15),
    look: Duration::from_secs(1),
};
/// HTTP/2 over TLS, as ALPN names it (RFC 9113, 3.2).
const HTTP2: &[u8] = b"h2";

/// The peer's address, as connect info. Behind a trusted proxy, its client's; 0.0.0.0 where that is not known.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// What the listener and a line know together of a connection: among the extensions of its requests.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// Whose it is.
    pub(crate) client: Client,
    /// Its place, until it has become a line. None of a stream beside one that has.
    pub(crate) place: Option<Arc<Place>>,
    /// Where the stream of a WebSocket over HTTP/2 comes from.
    pub(crate) extended: Option<Extended>,
    /// The runtime on which it is served.
    pub(crate) strangers: Handle,
    /// The runtime of whoever has called [`serve`]: of lines.
    pub(crate) home: Handle,
    /// What is around its requests.
    pub(crate) outer: Outer,
}

/// What the listener saw of a connection, for the path report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outer {
    pub(crate) tls: Tls,
    pub(crate) address_from: AddressFrom,
    /// Whoever has connected is a proxy that the owner has put there.
    pub(crate) own_proxy: bool,
}

/// Whose word on addresses counts, and what connections speak.
#[derive(Clone, Debug, Default)]
pub struct FrontConfig {
    /// Without it in clear: behind a proxy of this machine.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Speaks HTTP/2 too, under TLS, with whoever is no trusted proxy. A WebSocket over it (RFC 8441) is a line or nothing: an
    /// app that has WebSockets of its own leaves it off.
    pub http2: bool,
    /// The proxies that say whose a connection is.
    pub trusted_proxies: TrustedProxies,
    /// Whoever connects from this machine is a proxy. Its own address is nobody's, also where its word does not count.
    pub behind_proxy: bool,
    /// Hears of connections that come to nothing: [`crate::Duologue::watch`].
    pub watch: Watch,
    /// Whether connections are taken.
    pub intake: Intake,
    /// Which networks may connect, and how often: [`Duologue::firewall`](crate::Duologue::firewall), so that a configuration that
    /// is read again counts here too. Unless told, one that denies nobody.
    pub firewall: Firewall,
}

/// Serves an app until `stop` is cancelled. Without `tls` in clear: behind a proxy of this machine.
///
/// All requests, and so the app's own handlers too, are answered on a runtime of strangers, whose threads the system prefers
/// others to: a flood keeps these busy and no line waits for it. Lines and their services run on the caller's runtime. A
/// handler that wants that one as well, because it holds what is bound to it or must not wait for strangers, spawns its work on
/// a [`tokio::runtime::Handle`] that was taken before.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    app: Router,
    stop: CancellationToken,
) {
    serve_behind(listener, FrontConfig { tls, ..FrontConfig::default() }, app, stop).await;
}

/// The same behind proxies that say whose a connection is.
pub async fn serve_behind(listener: TcpListener, listening: FrontConfig, app: Router, stop: CancellationToken) {
    serve_for(TIMES, listener, listening, app, stop).await;
}

async fn serve_for(times: Times, listener: TcpListener, listening: FrontConfig, app: Router, stop: CancellationToken) {
    let strangers = strangers::handle(&listening.watch);
    let lobby = Arc::new(Lobby::new(files::strangers_max(0), CONNECTIONS_OF_AN_ADDRESS_MAX));
    listening.intake.watches(&lobby);
    let tls = |http2| listening.tls.as_deref().map(|tls| speaking(tls, http2));
    let front = Front {
        tls: tls(listening.http2),
        tls_of_proxies: tls(false),
        proxies: listening.trusted_proxies,
        behind_proxy: listening.behind_proxy,
        watch: listening.watch,
        firewall: listening.firewall,
        app: head::judged(app),
        stop,
        intake: listening.intake,
        lobby,
        strangers: strangers.clone(),
        home: Handle::current(),
        times,
    };
    // The listener is told of connections where they are accepted.
    let accepting = strangers.spawn(async move {
        let front = Arc::new(front);
        let accepted = match listener.into_std().and_then(listener::deepen) {
            Ok(listener) => Arc::clone(&front).accept(listener).await,
            Err(error) => Err(error),
        };
        if let Err(error) = accepted {
            front.tell(Event::of(Kind::ListenFailed).note(error.to_string()));
        }
    });
    // A panic there was reported there.
    let _ = accepting.await;
}

/// TLS for HTTP/1.1, and for HTTP/2 where that is wanted.
fn speaking(tls: &rustls::ServerConfig, http2: bool) -> Arc<rustls::ServerConfig> {
    let mut tls = tls.clone();
    tls.alpn_protocols.retain(|protocol| protocol != HTTP2);
    if http2 {
        tls.alpn_protocols.insert(0, HTTP2.to_vec());
    }
    Arc::new(tls)
}

#[derive(Clone, Copy, Debug)]
struct Times {
    /// How long it may last; what it is reading then, it may read to its end.
    lasts: Duration,
    /// How long that end may be away.
    ends_within: Duration,
    /// How long an answer may wait for its reader.
    read_within: Duration,
    /// How often those times are looked at.
    look: Duration,
}

struct Front {
    tls: Option<Arc<rustls::ServerConfig>>,
    /// A proxy brings many on one connection, where the bounds of a browser's do not fit.
    tls_of_proxies: Option<Arc<rustls::ServerConfig>>,
    proxies: TrustedProxies,
    behind_proxy: bool,
    watch: Watch,
    firewall: Firewall,
    app: Router,
    stop: CancellationToken,
    intake: Intake,
    lobby: Arc<Lobby>,
    strangers: Handle,
    home: Handle,
    times: Times,
}

impl Front {
    /// One connection, to its end or to where it becomes a line's.
    async fn serve(self: Arc<Self>, tcp: TcpStream, peer: SocketAddr, place: Place) {
        let place = Arc::new(place);
        let silent = self.intake.begun();
        let mut tcp = Tcp::new(tcp);
        let writing = tcp.watch();
        let limit = Duration::from_secs(HANDSHAKE_SECS);
        let said = OnceLock::new();
        let begun = tokio::select! {
            begun = tokio::time::timeout(limit, self.begin(tcp, peer, &place, &said)) => begun,
            () = place.crowded_out() => return,
            () = self.stop.cancelled() => return,
        };
        // Where a proxy is trusted and has said nobody's address, its own is not the caller's.
        let of_peer = |kind| self.event(kind, Whose { peer, proxied: said.get().copied(), tls: Tls::None });
        match begun {
            Ok(Ok((stream, proxied))) => {
                place.is_worth(Worth::Idle);
                let whose = Whose { peer, proxied, tls: stream.outer() };
                match stream.protocol() {
                    // The handshake was all that there is to it.
                    Some(ACME_TLS) => {}
                    Some(HTTP2) => http2::converse(self, stream, writing, whose, (place, silent)).await,
                    _ => Box::pin(self.converse(stream, &writing, whose, (place, silent))).await,
                }
            }
            Ok(Err(error)) => self.tell(of_peer(Kind::ConnectionFailed).note(error.to_string())),
            Err(_) => self.tell(of_peer(Kind::ConnectionSlow)),
        }
    }

    /// What comes before HTTP; and the client that a PROXY header names.
    async fn begin(
        &self,
        mut tcp: Tcp,
        peer: SocketAddr,
        place: &Place,
        said: &OnceLock<IpAddr>,
    ) -> io::Result<(Stream, Option<IpAddr>)> {
        let is_trusted = self.proxies.contains(peer.ip());
        let proxied = match is_trusted {
            true => proxied::read_header(&mut tcp).await.inspect_err(|error| {
                if error.kind() == io::ErrorKind::InvalidData {
                    self.tell(Event::of(Kind::ProxyHeaderBroken).address(peer.ip()).note(error.to_string()));
                }
            })?,
            false => None,
        };
        if let Some(address) = proxied {
            said.get_or_init(|| address);
        }
        let unread = Whose { peer, proxied, tls: Tls::None };
        // Before another byte is waited for, whose connection it is counts already.
        if proxied.is_some() {
            self.admits(self.client(unread, &HeaderMap::new())).map_err(io::Error::other)?;
        }
        if proxied.is_some() && !place.is_of(self.client(unread, &HeaderMap::new()).bounded_as()) {
            return Err(io::Error::other("there are too many connections from its address"));
        }
        if proxied::is_header_next(&mut tcp).await? {
            if is_trusted {
                self.tell(Event::of(Kind::ProxyHeaderNested).address(peer.ip()));
            } else {
                self.tell(Event::of(Kind::ProxyHeaderUntrusted).address(peer.ip()));
            }
            answer_in_clear(tcp, NOT_TRUSTED).await?;
            return Err(io::Error::other("it begins with a PROXY header of somebody who is not trusted"));
        }
        let tls = if is_trusted && proxied.is_none() { &self.tls_of_proxies } else { &self.tls };
        let stream = match tls {
            None => Stream::Clear(tcp),
            // Every record of TLS begins with a byte below the letters, every request of HTTP with a letter.
            Some(_) if tcp.first().await?.is_some_and(|first| first.is_ascii_alphabetic()) => {
                answer_in_clear(tcp, NO_TLS).await?;
                return Err(io::Error::other("it was HTTP without TLS"));
            }
            Some(tls) => Stream::Tls(TlsStream::accept(Arc::clone(tls), tcp).await?),
        };
        Ok((stream, proxied))
    }

    async fn converse(&self, stream: Stream, writing: &Writing, whose: Whose, (place, silent): (Arc<Place>, Silent)) {
        let (requests, silent) = (AtomicU32::new(0), Mutex::new(Some(silent)));
        let service = service_fn(|request| {
            place.is_worth(Worth::Asking);
            silent.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.answer(request, whose, &place, &requests)
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(HANDSHAKE_SECS))
            .max_buf_size(HEAD_LEN_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let (times, born) = (self.times, Instant::now());
        // Not at once: a timer that is due before all others wakes the reactor.
        let mut look = tokio::time::interval_at(tokio::time::Instant::now() + times.look, times.look);
        let (mut ends_at, mut is_last) = (None, false);
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        self.tell(self.event(Kind::HttpFailed, whose).note(error.to_string()));
                    }
                    return;
                }
                () = place.crowded_out() => return,
                () = self.stop.cancelled(), if ends_at.is_none() => {
                    connection.as_mut().graceful_shutdown();
                    ends_at = Some(Instant::now() + times.look);
                }
                // What is asked is answered, and nothing behind it.
                () = self.intake.paused(), if !is_last && requests.load(Ordering::Relaxed) > 0 => {
                    connection.as_mut().graceful_shutdown();
                    is_last = true;
                }
                _ = look.tick() => {
                    if writing.waits_for() >= times.read_within {
                        self.tell(self.event(Kind::ReaderSlow, whose));
                        return;
                    }
                    if ends_at.is_some_and(|ends_at| ends_at <= Instant::now()) {
                        return;
                    }
                    if ends_at.is_none() && born.elapsed() >= times.lasts {
                        connection.as_mut().graceful_shutdown();
                        ends_at = Some(Instant::now() + times.ends_within);
                    }
                }
            }
        }
    }

    fn tell(&self, event: Event) {
        self.watch.tell(event);
    }

    /// An event of a connection, of whose requests nothing is known.
    fn event(&self, kind: Kind, whose: Whose) -> Event {
        of_client(kind, self.client(whose, &HeaderMap::new()))
    }

    fn client(&self, whose: Whose, headers: &HeaderMap) -> Client {
        match proxied::client(&self.proxies, whose.peer.ip(), whose.proxied, headers) {
            Client::At(address) if self.behind_proxy && address.is_loopback() => Client::OfMany,
            client => client,
        }
    }

    fn outer(&self, whose: Whose, headers: &HeaderMap) -> Outer {
        let is_trusted = self.proxies.contains(whose.peer.ip());
        let address_from = match whose.proxied {
            Some(_) => AddressFrom::ProxyHeader,
            None if is_trusted && proxied::says_whose(headers) => AddressFrom::Forwarded,
            None => AddressFrom::Connection,
        };
        Outer {
            tls: whose.tls,
            address_from,
            own_proxy: is_trusted || (self.behind_proxy && whose.peer.ip().is_loopback()),
        }
    }

    /// Whether whoever has just come may connect: his network, and how many have come from there.
    fn admits(&self, client: Client) -> Result<(), Refusal> {
        self.lets(client)?;
        self.firewall.takes(What::Connection, client.bounded_as())
    }

    /// Whether he may be here at all.
    fn lets(&self, client: Client) -> Result<(), Refusal> {
        let bans = self.watch.bans();
        if let Some(address) = client.address()
            && let now = now()
            && bans.of_address(address, now).is_some()
        {
            // How often somebody comes who is banned is in nobody's interest but his.
            if bans.tells(now) {
                self.tell(of_client(Kind::BannedCame, client));
            }
            return Err(Refusal::Banned);
        }
        self.firewall.admits(client.address())
    }

    /// Whether a request is answered, and of whom its handler hears.
    fn judge<B>(
        &self,
        request: &mut Request<B>,
        whose: Whose,
        place: Option<&Arc<Place>>,
        is_first: bool,
    ) -> Result<(), Box<Response<Body>>> {
        let client = self.client(whose, request.headers());
        // Whom only a field of the request names is judged by it; he counts as having come with the first of his connection.
        if whose.proxied.is_none() && self.proxies.contains(whose.peer.ip()) {
            let judged = if is_first { self.admits(client) } else { self.lets(client) };
            judged.map_err(boxed)?;
        }
        if place.is_some_and(|place| !place.is_of(client.bounded_as())) {
            let text = "There are too many connections from your address.";
            let mut response = Response::new(Body::from(text));
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            self.tell(of_client(Kind::TooManyConnections, client));
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return Err(Box::new(response));
        }
        let address = client.address().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        request.extensions_mut().insert(ConnectInfo(Peer(SocketAddr::new(address, whose.peer.port()))));
        let (strangers, home) = (self.strangers.clone(), self.home.clone());
        let outer = self.outer(whose, request.headers());
        let arrival = Arrival { client, place: place.cloned(), extended: None, strangers, home, outer };
        request.extensions_mut().insert(arrival);
        Ok(())
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        whose: Whose,
        place: &Arc<Place>,
        requests: &AtomicU32,
    ) -> Result<Response<Body>, std::convert::Infallible> {
        let is_first = requests.load(Ordering::Relaxed) == 0;
        if let Err(refusal) = self.judge(&mut request, whose, Some(place), is_first) {
            return Ok(*refusal);
        }
        let mut response = self.app.clone().oneshot(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            place.is_worth(Worth::Idle);
            if requests.fetch_add(1, Ordering::Relaxed) + 1 >= REQUESTS_MAX || self.intake.is_paused() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
        }
        Ok(response)
    }
}

/// An event of a client; of nobody's address where that is not known.
fn of_client(kind: Kind, client: Client) -> Event {
    Event::of(kind).address(client.address().unwrap_or(Ipv4Addr::UNSPECIFIED.into()))
}

/// What is said to whoever may not be here.
pub(crate) fn refused(why: Refusal) -> Response<Body> {
    let mut response = Response::new(Body::from(why.to_string()));
    *response.status_mut() = match why {
        Refusal::Banned | Refusal::Network | Refusal::Country => StatusCode::FORBIDDEN,
        Refusal::Budget => StatusCode::TOO_MANY_REQUESTS,
    };
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    if why == Refusal::Budget {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
    }
    response
}

fn boxed(why: Refusal) -> Box<Response<Body>> {
    Box::new(refused(why))
}

/// Who has opened a connection, and for whom.
#[derive(Clone, Copy)]
struct Whose {
    peer: SocketAddr,
    proxied: Option<IpAddr>,
    /// None before it was agreed upon, too.
    tls: Tls,
}

/// For a client that forgot TLS.
const NO_TLS: &str = "This port speaks TLS: write https:// in place of http:// at the beginning of the address.\n";
/// For who comes through a proxy that nobody has named here.
const NOT_TRUSTED: &str = "This connection begins with a PROXY header, and who sent it is no trusted proxy of this server: \
                           its owner names the proxy by --trusted-proxy, or has it send none.\n";

/// Says in HTTP without TLS why there is nothing else. Bounded by the time that TLS may take.
async fn answer_in_clear(mut tcp: Tcp, said: &str) -> io::Result<()> {
    let len = said.len();
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n"
    );
    tcp.write_all(head.as_bytes()).await?;
    tcp.write_all(said.as_bytes()).await?;
    tcp.shutdown().await?;
    // What is not read when the socket is closed would take the answer back on its way.
    let mut request = tcp.take(HEAD_LEN_MAX as u64);
    tokio::io::copy(&mut request, &mut tokio::io::sink()).await?;
    Ok(())
}

mod http2;
mod listener;
#[cfg(test)]
mod tests;
