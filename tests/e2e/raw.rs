//! A client made by hand from a WebSocket and the protocol core, so that it can say what no honest client says.

use std::{sync::Arc, time::Instant as StdInstant};

use duologue::{
    Budget, Claims, ClientConfig, Connection, ConnectionError, DeviceKey, Event, Grant, Instant, Invite, Offer, Role,
    Session, SignatureAlgorithm, upgrade,
};
use futures_util::{SinkExt, StreamExt};
use ring::signature::{Ed25519KeyPair, KeyPair};
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        handshake::client::Request,
        http::{HeaderValue, header},
    },
};

use crate::{
    proxy::{Proxy, name},
    server::{SERVED_NAME, Server},
    tls, within,
};

pub(crate) type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// A device without a memory.
pub(crate) struct Device(Ed25519KeyPair);

impl Device {
    pub(crate) fn new() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    pub(crate) fn key(&self) -> DeviceKey {
        let spki = [SignatureAlgorithm::Ed25519.spki_prefix(), self.0.public_key().as_ref()].concat();
        DeviceKey::new(SignatureAlgorithm::Ed25519, spki).expect("prefix and key make an SPKI")
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
    }
}

/// Where to go, and under which name.
#[derive(Clone)]
pub(crate) struct Place {
    port: u16,
    host: String,
    certificate: CertificateDer<'static>,
}

impl Place {
    pub(crate) fn dev(server: &Server) -> Self {
        Self { port: server.port, host: format!("localhost:{}", server.port), certificate: server.certificate() }
    }

    pub(crate) fn served(server: &Server) -> Self {
        Self { port: server.port, host: SERVED_NAME.to_owned(), certificate: server.certificate() }
    }

    pub(crate) fn proxy(proxy: &Proxy) -> Self {
        Self { port: proxy.port, host: format!("localhost:{}", proxy.port), certificate: proxy.ca() }
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Opens a WebSocket with these offers; also what the server selected.
    pub(crate) async fn dial(&self, offers: &[String], origin: Option<&str>) -> (Socket, String) {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.expect("somebody listens");
        let host_name = self.host.split(':').next().expect("split gives one part at least");
        let tls = TlsConnector::from(tls::client(std::slice::from_ref(&self.certificate)));
        let stream = within(20, "TLS", tls.connect(name(host_name), tcp)).await.expect("TLS is fine");
        let mut request = self.request(offers);
        if let Some(origin) = origin {
            request.headers_mut().insert(header::ORIGIN, HeaderValue::from_str(origin).expect("an origin is ASCII"));
        }
        let upgraded = within(20, "the upgrade", client_async(request, stream)).await;
        let (socket, response) = upgraded.expect("the server upgrades");
        let selected = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL).expect("a subprotocol is selected");
        (socket, selected.to_str().expect("it is ASCII").to_owned())
    }

    fn request(&self, offers: &[String]) -> Request {
        let mut request = format!("wss://{}/line", self.host).into_client_request().expect("a WebSocket URL");
        let offers = HeaderValue::from_str(&offers.join(", ")).expect("offers are ASCII");
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, offers);
        request
    }

    /// A WebSocket with these offers on this connection; none where nobody takes it.
    pub(crate) async fn try_dial(&self, tcp: TcpStream, connector: &TlsConnector, offers: &[String]) -> Option<Socket> {
        let stream = connector.connect(name("localhost"), tcp).await.ok()?;
        Some(client_async(self.request(offers), stream).await.ok()?.0)
    }

    /// A WebSocket that has said nothing yet; none where nobody takes it.
    pub(crate) async fn try_dial_bare(&self, connector: &TlsConnector) -> Option<Socket> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        self.try_dial(tcp, connector, &[upgrade::WITHOUT_M1.to_owned()]).await
    }

    /// Trust in the server's certificate, and what a TLS handshake with it begins with.
    pub(crate) fn tls(&self) -> (TlsConnector, Vec<u8>) {
        let config = tls::client(std::slice::from_ref(&self.certificate));
        let mut client = rustls::ClientConnection::new(Arc::clone(&config), name("localhost")).expect("a good name");
        let mut hello = Vec::new();
        client.write_tls(&mut hello).expect("a Vec takes what it is given");
        (TlsConnector::from(config), hello)
    }

    /// A WebSocket that has said nothing yet.
    pub(crate) async fn dial_bare(&self) -> Socket {
        self.dial(&[upgrade::WITHOUT_M1.to_owned()], None).await.0
    }
}

/// How a client departs from an honest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misdeed {
    None,
    /// Signs with another device's key.
    ForgedSignature,
    /// Flips a bit of this message: 0 is M1, 1 is AUTH.
    Flipped(usize),
    /// Sends 1,040 random bytes in the place of AUTH.
    GarbageForAuth,
    /// Says a word in clear in the place of AUTH.
    TextForAuth,
    /// Says nothing after M2.
    Silence,
}

/// What an honest client is made of.
pub(crate) struct Raw<'a> {
    pub(crate) place: &'a Place,
    pub(crate) invite: Invite,
    pub(crate) device: &'a Device,
    /// Whether the invite is offered: a device that was never let in has nothing else.
    pub(crate) offers_invite: bool,
    /// The header that only a browser sets.
    pub(crate) origin: Option<&'a str>,
    /// What it says of itself; by default what is true.
    pub(crate) claimed_origin: Option<&'a str>,
    pub(crate) claimed_host: Option<&'a str>,
    pub(crate) m1_in_upgrade: bool,
    pub(crate) misdeed: Misdeed,
}

impl<'a> Raw<'a> {
    pub(crate) fn new(place: &'a Place, invite: &Invite, device: &'a Device) -> Self {
        Self {
            place,
            invite: invite.clone(),
            device,
            offers_invite: true,
            origin: None,
            claimed_origin: None,
            claimed_host: None,
            m1_in_upgrade: true,
            misdeed: Misdeed::None,
        }
    }

    /// The core's side of it.
    pub(crate) fn connection(&self) -> Connection {
        let config = ClientConfig {
            server_key: self.invite.server_key(),
            offer: if self.offers_invite { Offer::Invite(self.invite.clone()) } else { Offer::Nothing },
            enrolled: true,
            device: self.device.key(),
            claims: Claims {
                origin: self.claimed_origin.or(self.origin).unwrap_or_default().to_owned(),
                host: self.claimed_host.unwrap_or(&self.place.host).to_owned(),
                name: "made by hand".to_owned(),
            },
        };
        let connection = Connection::connect(config, duologue_native::randomness(), Instant::default());
        let mut connection = connection.expect("the key is one");
        connection.attach(Box::new(Session::new(Role::Client, Budget::default())));
        connection
    }

    /// Goes the whole way, to the grant or to the end. The socket is kept by whoever wants the line to live.
    pub(crate) async fn open(&self) -> Result<(Grant, Socket), ConnectionError> {
        let started = StdInstant::now();
        let mut connection = self.connection();
        let offers = if self.m1_in_upgrade { connection.upgrade_offer() } else { vec![upgrade::WITHOUT_M1.to_owned()] };
        let (mut socket, selected) = self.place.dial(&offers, self.origin).await;
        connection.handle_upgrade(Instant::default(), &selected)?;
        let mut sent = usize::from(selected == upgrade::WITH_M1);
        loop {
            while let Some(event) = connection.poll_event() {
                match event {
                    Event::SignatureWanted(message) => {
                        let other = Device::new();
                        let signer = if self.misdeed == Misdeed::ForgedSignature { &other } else { self.device };
                        connection.provide_signature(signer.sign(&message));
                    }
                    Event::Opened(grant) => return Ok((grant, socket)),
                    Event::Closed(error) => return Err(error),
                    _ => {}
                }
            }
            let mut message = Vec::new();
            while connection.poll_transmit(Instant::default() + started.elapsed(), &mut message) {
                let message = self.spoil(sent, std::mem::take(&mut message));
                sent += 1;
                if let Some(message) = message {
                    // A server that has hung up is noticed by the next read.
                    let _ = socket.send(message).await;
                }
            }
            let message = within(20, "the server's next message", socket.next()).await;
            let now = Instant::default() + started.elapsed();
            // What the core thinks of it comes as an event.
            let _ = match message {
                Some(Ok(Message::Binary(bytes))) => connection.handle_message(now, &mut bytes.to_vec()),
                Some(Ok(Message::Text(_))) => connection.handle_text(now),
                Some(Ok(Message::Close(_)) | Err(_)) | None => {
                    connection.handle_lost(now);
                    Ok(())
                }
                Some(Ok(_)) => Ok(()),
            };
        }
    }

    fn spoil(&self, index: usize, mut message: Vec<u8>) -> Option<Message> {
        match self.misdeed {
            Misdeed::Flipped(which) if which == index => {
                let last = message.len() - 1;
                message[last] ^= 1;
            }
            Misdeed::GarbageForAuth if index == 1 => message = crate::chance::random::<1040>().to_vec(),
            Misdeed::TextForAuth if index == 1 => return Some(Message::text("let me in")),
            Misdeed::Silence if index == 1 => return None,
            _ => {}
        }
        Some(Message::binary(message))
    }
}
