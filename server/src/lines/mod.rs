//! The axum adapter: from an upgrade request to a served line.
//!
//! ```text
//! GET /line ─► M1 from the offered subprotocols ─► 101 ─► lobby ─► handshake ─► policy and store
//!           ─► directory: a new session, or the device's own that waits ─► services ─► lost: parked, or ended
//! ```

mod asked;
mod audit;
mod away;
pub(crate) mod beside;
mod binding;
pub(crate) mod directory;
mod drain;
pub(crate) mod explain;
mod firewall;
#[cfg(feature = "growth")]
pub(crate) mod growth;
mod guests;
mod handshake;
mod hooked;
mod kept;
mod measures;
mod memory;
pub(crate) mod notices;
mod owner;
mod person;
mod presence;
mod renewed;
mod seen;
mod sight;
mod stranger;
mod under_way;
mod verdict;

use std::{
    convert::Infallible,
    future::poll_fn,
    net::{IpAddr, Ipv4Addr},
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::Poll,
    time::Instant,
};

use axum::{
    extract::{ConnectInfo, Request},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter},
};
use duologue::{
    Connection, ConnectionError, FreshReason, LineEvent, ServerConfig, SessionId,
    upgrade::{self, Offered},
};
use duologue_native::{
    Endpoint, Line, carry, keep,
    path::{Form, PATH_LABEL},
    randomness, shake_hands,
};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use tracing::field::{Empty, display};

use crate::{
    door::{
        evidence::Transport,
        gate::Gate,
        hook::Upgrade,
        passkeys::Passkeys,
        policy::{Policy, rules::Rules},
        seat::Seat,
        tickets::Tickets,
        tokens::{KeyHashes, Tokens},
        work::Work,
    },
    front::{
        certificates::Certificates,
        http::{self, Peer},
        socket::{Oddity, WebSocket, met},
        stream::Carrier,
        well_known,
    },
    services::{
        others::Others,
        path::PathReport,
        service::{Opened, Service, Services},
    },
    state::{State, keeper::Keeper, keys::KeySet, records::now},
    watch::{
        audit::running::Audit,
        events::{Event, Kind},
        log::SPANS,
        stream::Watch,
    },
};
use asked::{Asked, NoUpgrade};
use directory::Directory;
use handshake::{Offer, Porter, Stranger, Strangers};
use verdict::Admitted;

/// A Duologue server, ready to be mounted. Clones share everything.
#[derive(Clone, Debug)]
pub struct Duologue {
    shared: Arc<Shared>,
    services: Services,
}

#[derive(Debug)]
struct Shared {
    state: State,
    gate: Arc<Gate>,
    directory: Directory,
    strangers: Strangers,
    tickets: Tickets,
    /// What blocks, and whose turn it is.
    work: Work,
    /// A batch of them will be written.
    tickets_are_due: AtomicBool,
    /// Connections that are being served.
    connections: TaskTracker,
    draining: AtomicBool,
    /// While it stops: after how many seconds whoever comes is to come again.
    stopping_secs: AtomicU32,
    /// Whose tokens are taken.
    tokens: Option<Tokens>,
    /// For whom passkeys are made.
    passkeys: Option<Passkeys>,
    familiar: binding::Familiar,
    under_way: under_way::UnderWay,
    /// Set once, if one is kept.
    audit: OnceLock<Audit>,
    /// It is looked whose standing ends.
    ends_are_watched: AtomicBool,
    /// It is looked whether the firewall's files change.
    files_are_watched: AtomicBool,
    /// What rules of the watch say, and who does it.
    measures: measures::Measures,
    beside: beside::Beside,
    /// Set once, if sessions are kept.
    kept: Option<kept::Kept>,
    _keeper: Keeper,
}

impl Duologue {
    /// A server without services.
    #[must_use]
    pub fn new(state: State, policy: Policy) -> Self {
        // A store that cannot be read says so when somebody comes. Without tickets nobody has a lane of his own.
        let tickets = state.store().tickets();
        let gate = Gate::new(policy, Some(Arc::clone(state.store())));
        let tickets = tickets.inspect_err(|error| {
            gate.watch.tell(Event::of(Kind::TicketsNotKept).note(format!("none could be read: {error}")));
        });
        let shared = Shared {
            _keeper: Keeper::start(Arc::clone(state.store())),
            directory: directory(&state, memory::default_len(), gate.watch.clone()),
            gate: Arc::new(gate),
            state,
            work: Work::default(),
            strangers: Strangers::default(),
            tickets: Tickets::load(tickets.unwrap_or_default()),
            tickets_are_due: AtomicBool::new(false),
            connections: TaskTracker::new(),
            draining: AtomicBool::new(false),
            stopping_secs: AtomicU32::new(0),
            tokens: None,
            passkeys: None,
            familiar: binding::Familiar::default(),
            under_way: under_way::UnderWay::default(),
            audit: OnceLock::new(),
            ends_are_watched: AtomicBool::new(false),
            files_are_watched: AtomicBool::new(false),
            measures: measures::Measures::default(),
            beside: beside::Beside::default(),
            kept: None,
        };
        Self { shared: Arc::new(shared), services: Services::default() }
    }

    /// What all lines together may hold in memory, in bytes: messages that nobody has read or taken yet. A quarter of the
    /// machine's memory unless told, and 1 GiB at most. Half of it is shared out among those who hold anything; whoever holds
    /// more gives way when the whole is used up.
    ///
    /// # Panics
    /// If the server is in use: it is to be called before it is cloned or mounted.
    #[must_use]
    pub fn memory(mut self, len: usize) -> Self {
        let shared = Arc::get_mut(&mut self.shared).expect("nobody else has it yet");
        shared.directory = directory(&shared.state, len, shared.gate.watch.clone());
        self
    }

    /// Treats strangers as under a flood all the time: each shows that its first message is no replay, and those who cannot wait
    /// for each other. It costs each connection a round trip. For tests of clients, and where floods come too fast to be
    /// measured.
    ///
    /// # Panics
    /// If the server is in use: it is to be called before it is cloned or mounted.
    #[must_use]
    pub fn under_pressure(mut self) -> Self {
        Arc::get_mut(&mut self.shared).expect("nobody else has it yet").strangers.are_pressed();
        self
    }

    /// Adds a service under a label.
    #[must_use]
    pub fn service(mut self, label: &str, service: impl Service) -> Self {
        self.services.insert(label, service);
        self
    }

    /// Tells each device that was let in what was seen of its connection outside the seal, so that both ends find out what somebody
    /// between them rewrites; under the label `path`, whatever the rules open. `certificates` are those that this server itself
    /// shows, if it does.
    #[must_use]
    pub fn telling_paths(self, certificates: Option<Certificates>) -> Self {
        self.shared.gate.tell_paths();
        let shown = move |host: &str, known: Option<&str>| certificates.as_ref().and_then(|it| it.spki(host, known));
        self.service(PATH_LABEL, PathReport::new(shown))
    }

    /// What to mount in a router, at any path. Browsers look for it at `/line`. [`Duologue::router`] has all there is.
    pub fn route<S: Clone + Send + Sync + 'static>(&self) -> MethodRouter<S, Infallible> {
        self.start_measures();
        let duologue = self.clone();
        // Over HTTP/2 a WebSocket is asked for by CONNECT (RFC 8441).
        axum::routing::on(MethodFilter::GET.or(MethodFilter::CONNECT), move |request: Request| {
            let duologue = duologue.clone();
            async move {
                let mut response = duologue.upgrade(request).await;
                // A page that is isolated from others asks here whether the server answers; it learns no more than that.
                response.headers_mut().insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
                response
            }
        })
    }

    /// What to mount beside it at `/.well-known/duologue`, from the line's own listener on: where a browser asks its person
    /// before a page may reach this machine or its network, the page asks here first. 204, and readable for pages that may
    /// come.
    pub fn well_known<S: Clone + Send + Sync + 'static>(&self) -> MethodRouter<S, Infallible> {
        let shared = Arc::clone(&self.shared);
        axum::routing::any(move |request: Request| async move {
            well_known::respond(|origin| shared.gate.policy().serves(origin), &request)
        })
    }

    /// The same at `/.well-known/duologue-keys`: the newest of the server's keys as its owner has signed it, in JSON, for clients that
    /// were away while an older one was retired; 404 without an owner's key.
    pub fn well_known_keys<S: Clone + Send + Sync + 'static>(&self) -> MethodRouter<S, Infallible> {
        let shared = Arc::clone(&self.shared);
        axum::routing::any(move |request: Request| async move {
            let keys = shared.state.keys().now();
            well_known::respond_keys(|origin| shared.gate.policy().serves(origin), &request, keys.newest_signed())
        })
    }

    /// All in one: the line at `/line`, `/.well-known/duologue` and `/.well-known/duologue-keys`. To be merged into a router, or nested below a path.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> axum::Router<S> {
        let router = axum::Router::new().route("/line", self.route());
        router.route(well_known::PATH, self.well_known()).route(well_known::KEYS, self.well_known_keys())
    }

    /// What happens here, to be read and told.
    #[must_use]
    pub fn watch(&self) -> &Watch {
        &self.shared.gate.watch
    }

    fn tell(&self, event: Event) {
        self.shared.gate.watch.tell(event);
    }

    /// The devices that are connected, to open channels to them.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.shared.directory
    }

    /// Changes the policy while lines are open: whole, and at once. What is open and is not allowed any more is reset as
    /// `not-allowed`; whoever connects from now on is judged by the new one alone.
    pub fn set_policy(&self, policy: Policy) {
        self.shared.gate.set(policy);
        self.look_at_guests();
    }

    /// As [`Self::set_policy`], for the rules alone: which pages and clients may come stays as it is.
    pub fn set_rules(&self, rules: Rules) {
        self.shared.gate.set_rules(rules);
        self.look_at_guests();
    }

    /// Whether it stops.
    pub(crate) fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// WebSockets that are served, handshakes among them.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.len()
    }

    async fn upgrade(self, mut request: Request) -> Response {
        if self.shared.draining.load(Ordering::Relaxed) {
            let retry_after = [(header::RETRY_AFTER, self.shared.stopping_secs.load(Ordering::Relaxed).to_string())];
            return (StatusCode::SERVICE_UNAVAILABLE, retry_after, "This server is stopping.").into_response();
        }
        let stranger = Stranger::of(request.extensions_mut());
        // The listener has looked already, where it is this crate's.
        if self.is_banned(stranger.address) {
            if self.watch().bans().tells(now()) {
                self.tell(Event::of(Kind::BannedCame).address(stranger.address));
            }
            return (StatusCode::FORBIDDEN, "Your address is kept out for a time.").into_response();
        }
        let refused = |kind, code| self.tell(Event::of(kind).address(stranger.address).code(code));
        let asked = match Asked::of(&mut request, &stranger) {
            Ok(asked) => asked,
            Err(NoUpgrade { code, why }) => {
                refused(Kind::UpgradeRefused, code);
                return (StatusCode::BAD_REQUEST, why).into_response();
            }
        };
        // More than one header line is as good as one with commas (RFC 6455, 11.3.4).
        let offers = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
        let offers: Vec<_> = offers.filter_map(|value| value.to_str().ok()).collect();
        let m1 = match upgrade::read_offer(&offers.join(",")) {
            Offered::Nothing => {
                refused(Kind::UpgradeRefused, "no-subprotocol");
                let text = "This is a Duologue line: it needs the WebSocket subprotocol duologue.1.";
                return (StatusCode::BAD_REQUEST, text).into_response();
            }
            Offered::Bare => None,
            Offered::M1(m1) => Some(m1),
        };
        if let Err(refusal) = self.takes_handshake(&stranger) {
            return http::refused(refusal);
        }
        let offered_m1 = m1.is_some();
        let offer = self.look_at_offer(m1, &stranger);
        let selected = match &offer {
            Offer::Refused => {
                refused(Kind::HandshakeReplayed, "replayed");
                let text = "This M1 was here before: each connection needs one of its own.";
                return (StatusCode::BAD_REQUEST, text).into_response();
            }
            Offer::Later { .. } => upgrade::WITHOUT_M1,
            Offer::Now { .. } => upgrade::WITH_M1,
        };
        let Asked { mut response, opening } = asked;
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(selected));
        let origin = request.headers().get(header::ORIGIN);
        let origin = origin.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let (origin, app_origin) = self.shared.gate.policy().seen(origin);
        let form = Some(if offered_m1 { Form::InRequest } else { Form::AsMessage });
        let transport = stranger.transport(Transport { origin, app_origin, form, ..Transport::default() });
        let transport = transport.with_request(request.headers());
        let is_page = transport.origin.is_some();
        let seen = self.shared.gate.hook().map(|_| Upgrade::of(request.headers(), is_page)).unwrap_or_default();
        let connections = self.shared.connections.clone();
        connections.spawn(async move {
            match opening.opened().await {
                Ok((carrier, ahead)) => {
                    self.serve(Box::new(WebSocket::with(carrier, ahead)), offer, stranger, (transport, seen)).await;
                }
                Err(error) => {
                    self.tell(Event::of(Kind::UpgradeFailed).address(transport.address).note(error.to_string()));
                }
            }
        });
        response
    }

    /// Tells what a socket has met that was polled just now, of which nobody else knows whose it is.
    fn watched<T>(&self, polled: Poll<T>, address: impl FnOnce() -> IpAddr) -> Poll<T> {
        let kind = match met() {
            None => return polled,
            Some(Oddity::Broken) => Kind::FrameBroken,
            Some(Oddity::Pings) => Kind::PingFlood,
        };
        self.tell(Event::of(kind).address(address()).code("websocket"));
        polled
    }

    /// Runs one connection to its end.
    async fn serve(self, socket: Socket, offer: Offer, stranger: Stranger, seen: (Transport, Upgrade)) {
        let (transport, upgrade) = seen;
        let began = Instant::now();
        let (address, strangers, home) = (transport.address, stranger.strangers.clone(), stranger.home.clone());
        let Some(mut porter) = Porter::of(self.clone(), stranger) else {
            self.tell(Event::of(Kind::NoPlace).address(address));
            return;
        };
        let crowded_out = porter.crowded_out();
        let span =
            tracing::debug_span!(target: SPANS, "handshake", device = Empty, session = Empty, otel.status_code = Empty);
        let KeySet { identity, next, .. } = &*self.shared.state.keys().now();
        let config = ServerConfig { identity: Arc::clone(identity), next: next.clone() };
        // Boxed: what the handshake needs is given back when it is over.
        let hands = async {
            porter.waits_if_slowed().await;
            let mut asks = false;
            let m1 = match offer {
                Offer::Now { m1, slowly, print, is_late } => {
                    porter.takes(print, slowly, is_late).await;
                    Some(m1)
                }
                Offer::Later { asks: it_asks } => {
                    asks = it_asks;
                    None
                }
                Offer::Refused => None,
            };
            let accept = |now| {
                let mut connection = Connection::accept(config, randomness(), now);
                if asks {
                    connection.ask_freshness();
                }
                if let Some(mut m1) = m1 {
                    // An error closes the connection, and shows as its end below.
                    let _ = connection.handle_message(now, &mut m1);
                }
                connection
            };
            shake_hands(accept, socket, &mut porter).await
        };
        let mut hands = Box::pin(hands.instrument(span.clone()));
        let proved = tokio::select! {
            proved = poll_fn(|cx| self.watched(hands.as_mut().poll(cx), || address)) => proved,
            () = crowded_out => {
                self.tell(Event::of(Kind::CrowdedOut).address(address));
                return;
            }
        };
        drop(hands);
        match proved {
            Ok(proved) => {
                let times = self.watch().times().clone();
                times.handshake(began.elapsed());
                let Some(admitted) = Box::pin(self.admit(proved, transport, upgrade)).await else { return };
                if admitted.goes_on {
                    times.resume(began.elapsed());
                }
                span.record("device", display(admitted.endpoint.seat.device())).record("session", display(admitted.id));
                drop(porter);
                // A task of its own: this one has room for a handshake, which a line needs no more.
                let connections = self.shared.connections.clone();
                // Guests stay where strangers are served, so that no number of them keeps a device waiting.
                let place = if admitted.endpoint.seat.is_guest() { &strangers } else { &home };
                connections.spawn_on(self.run(admitted), place);
            }
            Err(cause) => {
                span.record("otel.status_code", "ERROR");
                self.tell(seen::of_handshake(&cause, porter.is_late()).address(address));
            }
        }
    }

    /// Carries a line over one connection, until that is over.
    async fn run(self, admitted: Box<Admitted>) {
        let Admitted { line, id, no, mut endpoint, mut socket, told: _told, .. } = {
            // A box that is taken apart is given back with its variable, which is here and not at the line's end.
            let admitted = admitted;
            *admitted
        };
        // An idle line has no room for more of it.
        let seat = Arc::clone(&endpoint.seat);
        // From the strangers' threads. Where that fails the socket says so to whoever reads it.
        if let Err(error) = socket.stream().move_here() {
            tracing::debug!(device = %seat.device(), %error, "a connection could not be moved");
        }
        {
            let mut carried = pin!(carry(&line, no, socket));
            let kept = pin!(keep(&line, &mut endpoint));
            tokio::select! {
                () = poll_fn(|cx| self.watched(carried.as_mut().poll(cx), || seat.address())) => {}
                // The last record is on its way out.
                () = kept => carried.await,
            }
        }
        let (device, address) = (seat.device(), seat.address());
        self.note_seen(&seat);
        let (closed, parked, cut) = line.command(|line, _| (line.closed().cloned(), line.is_parked(), line.cut()));
        if let Some(cause) = closed {
            if cause == ConnectionError::Altered {
                self.shared.directory.bury(device, id, &line, FreshReason::Altered);
            } else {
                self.shared.directory.leave(device, id);
            }
            self.tell(seen::of_line(&cause).device(device).subject(seat.subject().as_ref()).address(address));
        } else if parked {
            self.parks(device, id);
            if let Some(kind) = seen::altered(cut) {
                self.tell(Event::of(kind).device(device).address(address));
            }
            self.tell(Event::of(Kind::ConnectionLost).device(device).address(address));
        }
    }

    /// Writes the tickets that have changed, together with those that change until then.
    fn write_tickets_soon(&self) {
        if self.shared.tickets_are_due.swap(true, Ordering::Relaxed) {
            return;
        }
        let own = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(TICKETS_WAIT).await;
            own.shared.tickets_are_due.store(false, Ordering::Relaxed);
            own.write_tickets().await;
        });
    }

    /// One that is lost costs its device a lane of its own, and nothing else.
    async fn write_tickets(&self) {
        let changes = self.shared.tickets.take_changes();
        if (changes.added.is_empty() && changes.removed.is_empty()) || self.shared.state.store().is_handed_over() {
            return;
        }
        let store = Arc::clone(self.shared.state.store());
        let written = tokio::task::spawn_blocking(move || store.change_tickets(&changes.added, &changes.removed));
        if let Ok(Err(error)) = written.await {
            self.tell(Event::of(Kind::TicketsNotKept).note(error.to_string()));
        }
    }
}

/// Boxed: a future has room for what it is given, and once more for where it keeps it.
type Socket = Box<WebSocket<Carrier>>;

/// How long tickets wait for others that are written with them.
const TICKETS_WAIT: std::time::Duration = std::time::Duration::from_secs(2);

/// What answers a server line's questions: services for the channels that the client opens.
struct ServerEndpoint {
    own: Duologue,
    seat: Arc<Seat>,
    /// For tokens that are shown on the open line.
    key: Option<KeyHashes>,
    /// Boxed: with them the task of an idle line would be of the next size.
    claims: Box<(duologue::Claims, SessionId)>,
}

impl Endpoint for ServerEndpoint {
    /// What is not awaited is done before the future is made: an idle line has no room for events, nor for what is rare.
    fn answer(&mut self, line: &Line, event: LineEvent) -> impl Future<Output = ()> + Send {
        let evidence = match event {
            LineEvent::ChannelOpened(id) => {
                let channel = line.adopt(id);
                let Duologue { shared, services } = &self.own;
                let (gate, seat) = (Arc::clone(&shared.gate), Arc::clone(&self.seat));
                let (claims, session) = (self.claims.0.clone(), self.claims.1);
                let work = shared.work.clone();
                let others = Arc::new(self.own.clone()) as Arc<dyn Others>;
                services.start(Opened { channel, gate, seat, claims, session, work, others });
                None
            }
            LineEvent::Evidence(evidence) => Some(evidence),
            LineEvent::Away => {
                self.own.nobody_is_there(&self.seat);
                None
            }
            _ => None,
        };
        let taken = evidence.map(|evidence| {
            let taking = async move { self.own.take_evidence(&self.seat, self.key.as_ref(), line, &evidence).await };
            Box::pin(taking)
        });
        async move {
            if let Some(taken) = taken {
                taken.await;
            }
        }
    }
}

/// A directory whose units are the branches of devices that the store knows.
fn directory(state: &State, memory_len: usize, watch: Watch) -> Directory {
    let store = Arc::clone(state.store());
    Directory::new(memory_len, Box::new(move |device| store.root(device)), watch)
}

/// The peer's address as the listener knows it; unknown where the app was started without connect info.
fn peer_address(extensions: &axum::http::Extensions) -> IpAddr {
    let address = extensions.get::<ConnectInfo<Peer>>().map(|ConnectInfo(Peer(address))| address.ip());
    let plain = || extensions.get::<ConnectInfo<std::net::SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    address.or_else(plain).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}
