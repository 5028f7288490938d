//! The axum adapter: from an upgrade request to a served line.
//!
//! ```text
//! GET /line ─► M1 from the offered subprotocols ─► 101 ─► lobby ─► handshake ─► policy and store ─► directory, services
//! ```

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    extract::{
        ConnectInfo, FromRequestParts, Request,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::MethodRouter,
};
use duologue::{
    AuthRequest, CloseCode, Connection, Credential, Event, Grant, Secret, ServerConfig, SessionId, limits,
    upgrade::{self, Offered},
};
use duologue_native::{Endpoint, Incoming, Line, Socket, drive, randomness};
use futures_util::{
    Sink, SinkExt, Stream, StreamExt,
    stream::{SplitSink, SplitStream},
};

use crate::{
    directory::Directory,
    http::Peer,
    lobby::{Lobby, Place},
    policy::Policy,
    service::{Call, Identity, Service, Services, Transport},
    state::State,
    store::{Device, DeviceStatus, Store, StoreError},
    tickets::Tickets,
};

/// A Duologue server, ready to be mounted. Clones share everything.
#[derive(Clone, Debug)]
pub struct Duologue {
    shared: Arc<Shared>,
    services: Services,
}

#[derive(Debug)]
struct Shared {
    state: State,
    policy: Policy,
    directory: Directory,
    lobby: Arc<Lobby>,
    tickets: Tickets,
    next: AtomicU64,
}

impl Duologue {
    /// A server without services.
    #[must_use]
    pub fn new(state: State, policy: Policy) -> Self {
        let shared = Shared {
            state,
            policy,
            directory: Directory::default(),
            lobby: Arc::default(),
            tickets: Tickets::default(),
            next: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared), services: Services::default() }
    }

    /// Adds a service under a label.
    #[must_use]
    pub fn service(mut self, label: &str, service: impl Service) -> Self {
        self.services.insert(label, service);
        self
    }

    /// What to mount in a router, at any path. Browsers look for it at `/line`.
    pub fn route<S: Clone + Send + Sync + 'static>(&self) -> MethodRouter<S, Infallible> {
        let duologue = self.clone();
        axum::routing::get(move |request: Request| {
            let duologue = duologue.clone();
            async move { duologue.upgrade(request).await }
        })
    }

    /// The devices that are connected, to open channels to them.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.shared.directory
    }

    /// Removes a device: it is refused from now on, and its lines end. False if it is not known.
    ///
    /// # Errors
    /// If the store fails.
    pub fn revoke(&self, device: duologue::DeviceId) -> Result<bool, StoreError> {
        let known = self.shared.state.store().revoke(device)?;
        self.shared.tickets.forget(device);
        self.shared.directory.close(device, CloseCode::DeviceRevoked);
        Ok(known)
    }

    async fn upgrade(self, request: Request) -> Response {
        let (mut parts, _) = request.into_parts();
        let transport = Transport {
            address: peer_address(&parts.extensions),
            origin: parts
                .headers
                .get(header::ORIGIN)
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
        };
        // More than one header line is as good as one with commas (RFC 6455, 11.3.4).
        let offers = parts.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
        let offers: Vec<_> = offers.filter_map(|value| value.to_str().ok()).collect();
        let offered = upgrade::read_offer(&offers.join(","));
        let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
            Ok(upgrade) => upgrade,
            Err(rejection) => return rejection.into_response(),
        };
        let (selected, m1) = match offered {
            Offered::Nothing => {
                let text = "This is a Duologue line: it needs the WebSocket subprotocol duologue.1.";
                return (StatusCode::BAD_REQUEST, text).into_response();
            }
            Offered::Bare => (upgrade::WITHOUT_M1, None),
            Offered::M1(m1) => (upgrade::WITH_M1, Some(m1)),
        };
        upgrade
            .protocols([selected])
            .read_buffer_size(8 * 1024)
            .write_buffer_size(0)
            .max_message_size(limits::RECORD_LEN_MAX)
            .max_frame_size(limits::RECORD_LEN_MAX)
            .on_upgrade(move |socket| self.serve(socket, m1, transport))
    }

    /// Runs one connection to its end.
    async fn serve(self, socket: WebSocket, m1: Option<Vec<u8>>, transport: Transport) {
        let place = self.shared.lobby.enter(transport.address);
        let crowded_out = place.crowded_out.clone();
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let config = ServerConfig { identity: Arc::clone(self.shared.state.identity()) };
        let address = transport.address;
        let endpoint =
            ServerEndpoint { duologue: self, transport, place: Some(place), number, caller: None, entered: None };
        let accept = |now| {
            let mut connection = Connection::accept(config, randomness(), now);
            if let Some(m1) = m1 {
                // An error closes the connection, and shows as its end below.
                let _ = connection.handle_message(now, &m1);
            }
            connection
        };
        // The endpoint goes with `run`, and takes the line out of the directory; until then this handle keeps it open.
        let (_line, run) = drive(accept, AxumSocket(socket), endpoint);
        let cause = tokio::select! {
            cause = run => cause,
            () = crowded_out.cancelled() => {
                tracing::warn!(%address, "crowded out before it had proved itself");
                return;
            }
        };
        tracing::info!(%address, code = cause.word(), %cause, "a line has ended");
    }
}

/// What answers a server connection's questions.
struct ServerEndpoint {
    duologue: Duologue,
    transport: Transport,
    place: Option<Place>,
    number: u64,
    caller: Option<(Identity, duologue::Claims)>,
    /// The device under which the line stands in the directory.
    entered: Option<duologue::DeviceId>,
}

impl Endpoint for ServerEndpoint {
    async fn answer(&mut self, line: &Line, event: Event) {
        match event {
            Event::SecretWanted(credential) => {
                let secret = self.secret(credential).await;
                // An error closes the connection; its cause is logged when it ends.
                let _ = line.connection(|connection, now| connection.provide_secret(now, secret.as_ref()));
            }
            Event::AuthReceived(request) => self.decide(line, *request).await,
            Event::ChannelOpened(id) => {
                let channel = line.adopt(id);
                // Channels open only after the verdict, when the caller is known.
                if let Some((identity, claims)) = self.caller.clone() {
                    let transport = self.transport.clone();
                    self.duologue.services.start(Call { channel, identity, transport, claims });
                }
            }
            // Questions of the client's side, and what the driver deals with itself.
            Event::SignatureWanted(_) | Event::Opened(_) | Event::ChannelChanged(_) | Event::Closed(_) => {}
        }
    }
}

impl ServerEndpoint {
    async fn secret(&self, credential: Credential) -> Option<Secret> {
        match credential {
            Credential::None => None,
            Credential::Ticket(id) => self.duologue.shared.tickets.secret(id),
            Credential::Invite(id) => {
                let store = Arc::clone(self.duologue.shared.state.store());
                let found = tokio::task::spawn_blocking(move || store.invite_secret(id)).await;
                match found {
                    Ok(Ok(secret)) => secret,
                    Ok(Err(error)) => {
                        tracing::error!(%error, "an invite could not be looked up");
                        None
                    }
                    Err(_) => None,
                }
            }
        }
    }

    /// The verdict on a device that has proved its key.
    async fn decide(&mut self, line: &Line, request: AuthRequest) {
        let device = request.device_id;
        let shared = Arc::clone(&self.duologue.shared);
        let mut verdict = self.judge(&request).await;
        if verdict.is_ok() {
            // Into the directory first, then looked at again: a revocation in between finds the line, or is found here.
            self.entered = Some(device);
            shared.directory.enter(device, self.number, line.clone());
            verdict = self.status(device).await;
        }
        match verdict {
            Ok(()) => {
                let used = match request.credential {
                    Credential::Ticket(id) if request.credential_proved => Some(id),
                    _ => None,
                };
                let mut session_id = [0; 16];
                getrandom::fill(&mut session_id).expect("the operating system gives random bytes");
                let grant =
                    Grant { session_id: SessionId(session_id), level: 1, ticket: shared.tickets.issue(device, used) };
                tracing::info!(%device, address = %self.transport.address, name = request.claims.name, "a line is open");
                self.caller = Some((Identity { device, level: grant.level }, request.claims));
                self.place = None;
                let _ = line.connection(|connection, now| connection.admit(now, grant));
            }
            Err(code) => {
                tracing::warn!(%device, address = %self.transport.address, code = code.word(), "a device was refused");
                line.connection(|connection, now| connection.refuse(now, code));
            }
        }
    }

    async fn judge(&self, request: &AuthRequest) -> Result<(), CloseCode> {
        self.duologue.shared.policy.judge(&self.transport, &request.claims)?;
        match request.credential {
            Credential::Invite(invite) if request.credential_proved => {
                let device = Device::new(&request.device, &request.claims.name);
                self.ask_store(move |store| store.enrol(invite, &device)).await
            }
            _ => self.status(request.device_id).await,
        }
    }

    /// Whether a device may connect, as the store has it now.
    async fn status(&self, id: duologue::DeviceId) -> Result<(), CloseCode> {
        self.ask_store(move |store| {
            Ok(match store.device(id)?.map(|device| device.status) {
                Some(DeviceStatus::Enrolled) => Ok(()),
                Some(DeviceStatus::Revoked) => Err(CloseCode::DeviceRevoked),
                None => Err(CloseCode::NotEnrolled),
            })
        })
        .await
    }

    async fn ask_store(
        &self,
        question: impl FnOnce(&Store) -> Result<Result<(), CloseCode>, StoreError> + Send + 'static,
    ) -> Result<(), CloseCode> {
        let store = Arc::clone(self.duologue.shared.state.store());
        match tokio::task::spawn_blocking(move || question(&store)).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => {
                tracing::error!(%error, "a device could not be looked up");
                Err(CloseCode::Internal)
            }
            Err(_) => Err(CloseCode::Internal),
        }
    }
}

impl Drop for ServerEndpoint {
    fn drop(&mut self) {
        if let Some(device) = self.entered {
            self.duologue.shared.directory.leave(device, self.number);
        }
    }
}

/// The peer's address as the listener knows it; unknown where the app was started without connect info.
fn peer_address(extensions: &axum::http::Extensions) -> IpAddr {
    let address = extensions.get::<ConnectInfo<Peer>>().map(|ConnectInfo(Peer(address))| address.ip());
    let plain = || extensions.get::<ConnectInfo<std::net::SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    address.or_else(plain).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

struct AxumSocket(WebSocket);

impl Socket for AxumSocket {
    type Bytes = axum::body::Bytes;
    type Read = ReadHalf;
    type Write = WriteHalf;

    fn split(self) -> (ReadHalf, WriteHalf) {
        let (write, read) = self.0.split();
        (ReadHalf(read), WriteHalf(write))
    }
}

struct ReadHalf(SplitStream<WebSocket>);

impl Stream for ReadHalf {
    type Item = Incoming<axum::body::Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx).map(|message| match message {
            Some(Ok(Message::Binary(bytes))) => Some(Incoming::Binary(bytes)),
            Some(Ok(Message::Text(_))) => Some(Incoming::Text),
            Some(Ok(Message::Close(_)) | Err(_)) | None => None,
            Some(Ok(_)) => Some(Incoming::Other),
        })
    }
}

struct WriteHalf(SplitSink<WebSocket, Message>);

impl Sink<Vec<u8>> for WriteHalf {
    type Error = axum::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        self.0.poll_ready_unpin(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, record: Vec<u8>) -> Result<(), axum::Error> {
        self.0.start_send_unpin(Message::Binary(record.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        self.0.poll_flush_unpin(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        self.0.poll_close_unpin(cx)
    }
}
