//! From a target to a line: socket, TLS, upgrade with M1 in it, driver. And again, whenever the line wants to dial.
//!
//! ```text
//! connect ─► Line ─► keep: DialWanted ─► a task: Dialler::dial ─► carry        until the line is closed
//! ```

use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use duologue::{
    Claims, ClientConfig, CloseCode, ConnectionError, ConnectionNo, EvidenceKind, Invite, KnownKeys, LineEvent, Offer,
    Outcome, ServerKey, Ticket, ToldKeys, limits,
};
use duologue_native::{
    Endpoint, Line, LineError, carry, keep,
    path::{Form, Known, Tls},
    randomness,
};
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{
        client::IntoClientRequest,
        http::{HeaderValue, header},
        protocol::WebSocketConfig,
    },
};

use crate::{
    device::Device,
    keyring::{Keyring, KeyringError, KnownServer},
    path::{Noted, Path as WayReport, PathError, Paths, of_tls},
    published, refusal,
    socket::WebSocket,
    target::Target,
    tls,
    token::{SIGNED_OUT, TokenError, TokenKeeper, TokenSource},
};

/// Why no line came about. Each says what to do where something can be done.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// No pin and no invite.
    #[error(
        "this device does not know {0}: open an invite link of its owner once (`duologue invite new` makes one), or give the \
         server's key, where it lets guests in"
    )]
    Unknown(String),
    /// The invite names another server than the pinned one.
    #[error(
        "another server key is named ({named}) than the one pinned for {host} ({pinned}): \
         if its owner confirms the new key, remove {host} from servers.json and try again"
    )]
    PinChanged {
        /// The server's address.
        host: String,
        /// Fingerprint of the pinned key.
        pinned: String,
        /// Fingerprint of the link's key.
        named: String,
    },
    /// Nothing answers there.
    #[error("cannot reach {host}")]
    Unreachable {
        /// The server's address.
        host: String,
        /// What happened.
        source: io::Error,
    },
    /// TLS failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// What answers is no Duologue server.
    #[error("there is no line at {url}: {reason}")]
    NoLine {
        /// What was asked for.
        url: String,
        /// What came instead.
        reason: String,
    },
    /// The line did not open.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The keyring failed.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// There is no token to show, though the client was told to show one.
    #[error("there is no token to show: {0}")]
    Token(#[source] TokenError),
}

/// A device that can open lines.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) keyring: Arc<Keyring>,
    name: String,
    extra_roots: Option<PathBuf>,
    m1_first: bool,
    waits: bool,
    token: Option<TokenSource>,
    server_key: Option<ServerKey>,
    paths: Arc<Paths>,
}

impl Client {
    /// The device of a directory.
    ///
    /// # Errors
    /// If the directory cannot be used.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, KeyringError> {
        Ok(Self::new(Keyring::open(directory)?))
    }

    /// A device with this keyring.
    #[must_use]
    pub fn new(keyring: Keyring) -> Self {
        let name = format!("native client on {}", std::env::consts::OS);
        Self {
            keyring: Arc::new(keyring),
            name,
            extra_roots: None,
            m1_first: false,
            waits: false,
            token: None,
            server_key: None,
            paths: Arc::default(),
        }
    }

    /// What the server's owner sees in the list of devices; cut to 64 bytes.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Trusts the certificate authorities of a PEM file, and only those.
    #[must_use]
    pub fn trusting(mut self, pem: impl Into<PathBuf>) -> Self {
        self.extra_roots = Some(pem.into());
        self
    }

    /// Sends M1 as the first message instead of in the upgrade request: one round trip more, for a path that refuses long
    /// headers.
    #[must_use]
    pub const fn with_m1_as_first_message(mut self) -> Self {
        self.m1_first = true;
        self
    }

    /// Waits for a first connection that cannot be made as for one that was lost: `connect` returns when the line is open, or when
    /// the server refuses it.
    #[must_use]
    pub const fn waiting_for_the_first_connection(mut self) -> Self {
        self.waits = true;
        self
    }

    /// Takes this for the key of servers that this device does not know yet, so that it needs no invite: where the server lets
    /// guests in, or for a token. It comes from whoever the server's owner is to this program, not over the line.
    #[must_use]
    pub const fn with_server_key(mut self, key: ServerKey) -> Self {
        self.server_key = Some(key);
        self
    }

    /// Shows this token of the person: it comes with each connection, as it is.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(TokenSource::Text(token.into()));
        self
    }

    /// Shows the tokens that this function gives: it is asked before the first connection, and again near the end of what the
    /// last one has raised, or when the server wants another; once for each, and once more with another connection.
    #[must_use]
    pub fn with_token_from<F, E>(mut self, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<TokenError>,
    {
        self.token = Some(TokenSource::function(ask));
        self
    }

    /// This device, as issuers of tokens name it.
    #[must_use]
    pub fn device(&self) -> Device {
        Device(self.keyring.first())
    }

    /// The same for a server at which its key may have been renewed: what is bound to an older key is worth nothing there.
    ///
    /// # Errors
    /// If its key cannot be read.
    pub fn device_at(&self, target: &Target) -> Result<Device, KeyringError> {
        Ok(Device(self.keyring.pair(&target.place())?))
    }

    /// Opens a line and waits until the server has let this device in. From then on the line dials again by itself whenever
    /// its connection is lost, and resumes its session.
    ///
    /// # Errors
    /// Why it did not open.
    pub async fn connect(&self, target: &Target) -> Result<Line, ConnectError> {
        let error = match self.connect_known(target).await {
            Err(error @ (ConnectError::PinChanged { .. } | ConnectError::Line(LineError::Connection(_)))) => error,
            result => return result,
        };
        // Its key may have been retired while this device was not here.
        match self.learn_published(target).await {
            true => self.connect_known(target).await,
            false => Err(error),
        }
    }

    /// Asks where the server publishes what its owner has signed. True if a key was learned by it that was not known.
    async fn learn_published(&self, target: &Target) -> bool {
        let Some(mut known) = self.keyring.server(&target.place()).filter(|known| known.keys.owner.is_some()) else {
            return false;
        };
        let Some(signed) = published::newest(target, self.extra_roots.as_deref()).await else { return false };
        let before = known.keys.first();
        if !known.keys.learn(&signed, false) || known.keys.first() == before {
            return false;
        }
        if let Err(error) = self.keyring.remember(&target.place(), known) {
            tracing::warn!(%error, "the server's key could not be kept");
        }
        true
    }

    /// By the newest key that is known, and by the one before where that does not work yet.
    async fn connect_known(&self, target: &Target) -> Result<Line, ConnectError> {
        let (place, keys) = (target.place(), self.keys(target)?);
        let config = self.config(target, keys.first())?;
        let claims = config.claims.clone();
        let mut core = duologue::Line::client(config, chance());
        if let Some(older) = keys.second() {
            core = core.with_older_key(older);
        }
        if self.m1_first {
            core = core.with_m1_as_message();
        }
        if self.waits {
            core = core.with_first_try_that_waits();
        }
        let token = match self.token.clone() {
            Some(source) => {
                let token = source.ask().await.map_err(ConnectError::Token)?;
                let shown = core.show(EvidenceKind::Token, token.into_bytes());
                Some(TokenKeeper::new(source, shown.map_err(|error| ConnectError::Token(error.into()))?))
            }
            None => None,
        };
        let line = Line::new(core);
        let (failed, failure) = std::sync::mpsc::channel();
        let dialler = Dialler { client: self.clone(), target: target.clone(), failed };
        let noted = self.paths.begin(&line, claims);
        let mut endpoint = ClientEndpoint { dialler, place, keys, token, _noted: noted };
        let own = line.unguarded();
        tokio::spawn(async move { keep(&own, &mut endpoint).await });
        match line.ready().await {
            Ok(()) => Ok(line),
            // The line knows only that its socket did not open; the dialler knows why.
            Err(error) => Err(failure.try_iter().last().unwrap_or(error.into())),
        }
    }

    /// Asks the server what it saw of the connection that carries a line of this client, outside the seal, and compares that with what
    /// this end knows of it: what somebody in between has rewritten. It proves nothing: whoever ends TLS may send on all of it
    /// unchanged, and reads nothing of the line either way.
    ///
    /// # Errors
    /// If the line is not this client's, or the server tells nothing.
    pub async fn path(&self, line: &Line) -> Result<WayReport, PathError> {
        self.paths.ask(line).await
    }

    /// The keys of a server: those that are pinned, unless a link or an application names one that never was its own.
    fn keys(&self, target: &Target) -> Result<KnownKeys, ConnectError> {
        let place = target.place();
        let pinned = self.keyring.server(&place).map(|server| server.keys);
        let named = target.invite().map(Invite::server_key).or(self.server_key);
        match (pinned, named) {
            (Some(pinned), Some(named)) if !pinned.has(named) => {
                let (pinned, named) = (pinned.first().fingerprint(), named.fingerprint());
                Err(ConnectError::PinChanged { host: place, pinned, named })
            }
            (Some(pinned), _) => Ok(pinned),
            (None, named) => Ok(KnownKeys::of(named.ok_or(ConnectError::Unknown(place))?)),
        }
    }

    fn config(&self, target: &Target, server_key: ServerKey) -> Result<ClientConfig, KeyringError> {
        let (host, place) = (target.host(), target.place());
        let known = self.keyring.server(&place);
        let enrolled = known.as_ref().is_some_and(|server| server.enrolled);
        let offer = match (target.invite(), known.and_then(|server| server.ticket)) {
            (Some(invite), _) => Offer::Invite(invite.clone()),
            (None, Some(ticket)) => Offer::Ticket(ticket),
            (None, None) => Offer::Nothing,
        };
        let claims = Claims { origin: String::new(), host, name: self.name.clone() };
        Ok(ClientConfig { server_key, offer, enrolled, device: self.keyring.pair(&place)?.device(), claims })
    }
}

/// A line on its way over a socket, of whichever kind.
type Carried = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Why a socket did not open.
struct Failed {
    error: ConnectError,
    /// After what time it may be tried again, if that was said.
    retry_after: Option<Duration>,
}

impl From<ConnectError> for Failed {
    fn from(error: ConnectError) -> Self {
        Self { error, retry_after: None }
    }
}

/// Opens sockets for one line.
#[derive(Clone)]
struct Dialler {
    client: Client,
    target: Target,
    /// Why a socket did not open, for whoever waits for the first one.
    failed: std::sync::mpsc::Sender<ConnectError>,
}

impl Dialler {
    /// Opens a socket, and carries the line over it until the socket is done.
    async fn dial(self, line: Line) {
        let Ok(dialled) = line.command(|line, now| line.dial(now, randomness())) else { return };
        match self.open(&line, dialled.no, &dialled.offer).await {
            Ok(carried) => carried.await,
            Err(Failed { error, retry_after }) => {
                tracing::debug!(%error, "could not dial");
                // Nobody listens once the line was open. Of several attempts the last is told.
                let _ = self.failed.send(error);
                line.command(|line, now| match retry_after {
                    Some(wait) => line.handle_refused(now, dialled.no, wait),
                    None => line.handle_unreachable(now, dialled.no),
                });
            }
        }
    }

    async fn open(&self, line: &Line, no: ConnectionNo, offer: &[String]) -> Result<Carried, Failed> {
        let host = self.target.host();
        let unreachable = |source| ConnectError::Unreachable { host: host.clone(), source };
        let address = (self.target.host_name(), self.target.port());
        // TCP, TLS and the upgrade together; from then on the core counts.
        let limit = Duration::from_secs(limits::CONNECT_SECS);
        let opening = async {
            let tcp = TcpStream::connect(address).await.map_err(unreachable)?;
            tcp.set_nodelay(true).map_err(unreachable)?;
            let form = Some(if offer.len() > 1 { Form::InRequest } else { Form::AsMessage });
            let address = tcp.local_addr().ok().map(|address| address.ip());
            let known = Known { form, address, tls: Some(Tls::None), certificate: None };
            if !self.target.is_tls() {
                return self.upgrade(line, no, offer, tcp, known).await;
            }
            let tls = tls::config(self.target.is_loopback(), self.client.extra_roots.as_deref());
            let tls = tls.map_err(ConnectError::Tls)?;
            let name =
                ServerName::try_from(self.target.host_name()).map_err(|error| ConnectError::Tls(error.to_string()))?;
            let stream = tokio_rustls::TlsConnector::from(Arc::new(tls)).connect(name, tcp).await;
            let stream = stream.map_err(|error| ConnectError::Tls(refusal::of_tls(&error)))?;
            let (tls, certificate) = of_tls(stream.get_ref().1);
            self.upgrade(line, no, offer, stream, Known { tls, certificate, ..known }).await
        };
        let opened = tokio::time::timeout(limit, opening).await;
        opened.unwrap_or_else(|_| Err(unreachable(io::ErrorKind::TimedOut.into()).into()))
    }

    async fn upgrade<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        line: &Line,
        no: ConnectionNo,
        offer: &[String],
        stream: S,
        known: Known,
    ) -> Result<Carried, Failed> {
        let url = self.target.websocket_url();
        let no_line = |reason: String| ConnectError::NoLine { url: url.clone(), reason };
        let mut request = url.as_str().into_client_request().map_err(|error| no_line(error.to_string()))?;
        let offer = HeaderValue::from_str(&offer.join(", ")).expect("base64url is ASCII");
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, offer);
        let upgraded = client_async_with_config(request, stream, Some(websocket_config())).await;
        let (socket, response) = upgraded.map_err(|error| Failed {
            error: no_line(refusal::of_upgrade(&error)),
            retry_after: refusal::retry_after(&error),
        })?;
        let selected = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
        let selected = selected.and_then(|value| value.to_str().ok()).unwrap_or_default();
        self.client.paths.opened(line, no, known);
        line.command(|line, now| line.handle_upgrade(now, no, selected));
        let line = line.unguarded();
        Ok(Box::pin(async move { carry(&line, no, WebSocket(socket)).await }))
    }
}

/// Any number that differs from client to client.
fn chance() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    u64::from_ne_bytes(bytes)
}

struct ClientEndpoint {
    dialler: Dialler,
    place: String,
    keys: KnownKeys,
    token: Option<TokenKeeper>,
    _noted: Noted,
}

impl ClientEndpoint {
    /// Follows to the key that the owner has signed.
    fn follow(&mut self, line: &Line, told: &ToldKeys) {
        let has_worked = told.came_by == told.newest.number;
        let is_news = self.keys.first() != told.newest.key || (has_worked && self.keys.second().is_some());
        if !self.keys.learn(&told.newest, has_worked) {
            tracing::warn!("what the server tells of its keys is not signed by the owner who was heard of first");
        } else if is_news {
            line.command(|line, _| line.follow_key(told.newest.key, has_worked));
        }
    }

    /// The key may have been retired: asks where the server publishes which is the newest, while the line dials on.
    fn follow_published(&self, line: &Line) {
        if self.keys.owner.is_none() {
            return;
        }
        let (Dialler { client, target, .. }, line) = (self.dialler.clone(), line.unguarded());
        let mut keys = self.keys.clone();
        tokio::spawn(async move {
            let Some(newest) = published::newest(&target, client.extra_roots.as_deref()).await else { return };
            if !keys.has(newest.key) && keys.learn(&newest, false) {
                line.command(|line, _| line.follow_key(newest.key, false));
            }
        });
    }

    /// A ticket that nobody keeps tells that nobody has let this device in.
    fn remember(&self, ticket: Option<Ticket>) {
        let ticket = ticket.filter(|ticket| ticket.lifetime_secs > 0);
        let was_enrolled = self.dialler.client.keyring.server(&self.place).is_some_and(|server| server.enrolled);
        let keys = self.keys.clone();
        let server = KnownServer { keys, enrolled: was_enrolled || ticket.is_some(), ticket };
        if let Err(error) = self.dialler.client.keyring.remember(&self.place, server) {
            // The line is good all the same; the next connection will have to do without the ticket.
            tracing::warn!(%error, "the ticket could not be kept");
        }
    }
}

impl Endpoint for ClientEndpoint {
    async fn answer(&mut self, line: &Line, event: LineEvent) {
        match event {
            // In a task of its own: meanwhile another connection may carry the line.
            LineEvent::DialWanted => {
                let (dialler, line) = (self.dialler.clone(), line.unguarded());
                tokio::spawn(dialler.dial(line));
            }
            LineEvent::SignatureWanted(no, message) => {
                // Another program may have renewed the key, or this one while the line was open.
                match self.dialler.client.keyring.pair(&self.place) {
                    Ok(pair) => {
                        let device = pair.device();
                        let signature = pair.sign(&device.instead(&message));
                        line.command(|line, now| line.provide_signature_by(now, no, device, signature));
                    }
                    Err(error) => {
                        tracing::error!(%error, "the device does not sign");
                        line.close(CloseCode::Internal, "the device key cannot be read");
                    }
                }
            }
            LineEvent::Opened(grant) => {
                if let Outcome::Fresh(reason) = grant.outcome {
                    tracing::warn!(%reason, "a new session");
                }
                if let Some(token) = &mut self.token {
                    token.connected();
                    token.told(line, &grant.standing);
                }
                if let Some(told) = &grant.keys {
                    self.follow(line, told);
                }
                self.remember(Some(grant.ticket));
            }
            LineEvent::ChannelOpened(id) => line.offer(id),
            LineEvent::Standing(told) => {
                if told.standing().refused == SIGNED_OUT {
                    self.remember(None);
                }
                if let Some(token) = &mut self.token {
                    token.told(line, &told.standing());
                }
            }
            LineEvent::ConnectionFailed { no, error, .. } => {
                self.dialler.client.paths.failed(line, no);
                if matches!(error, ConnectionError::Unanswered | ConnectionError::NotYourServer) {
                    self.follow_published(line);
                }
            }
            // What the handles see for themselves.
            LineEvent::ChannelChanged(_)
            | LineEvent::Altered(_)
            | LineEvent::StateChanged(_)
            | LineEvent::Evidence(_)
            | LineEvent::Away
            | LineEvent::SessionEnded(..)
            | LineEvent::Closed(_) => {}
        }
    }
}

/// Small buffers: a record is at most 64 KiB, and most are far smaller.
fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(8 * 1024)
        .write_buffer_size(0)
        .max_message_size(Some(limits::RECORD_LEN_MAX))
        .max_frame_size(Some(limits::RECORD_LEN_MAX))
}

/// The connection's error of a line that did not open, if that is what it is.
impl ConnectError {
    /// Why the connection ended, if there was one.
    #[must_use]
    pub const fn connection_error(&self) -> Option<&ConnectionError> {
        match self {
            Self::Line(LineError::Connection(error)) => Some(error),
            _ => None,
        }
    }
}
