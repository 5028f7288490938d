//! Those who connect: all in one process, so that the server's holds nothing but the server.
//!
//! Told a number on standard input, it opens sessions until it has so many, and answers `open N`; told the same number
//! again, it says how many are still open. Each session sends one message, waits for its echo, and is idle from then on.

use std::{
    future::Future as _,
    io::{self, BufRead as _, Write as _},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use anyhow::{Context as _, bail, ensure};
use duologue::{LineState, ServerKey};
use duologue_native::Line;
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, stream};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::{CryptoProvider, ring::default_provider},
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::{
    Kind, Transport,
    line::{self, Dialled, websocket_config},
};

/// Connections that open at the same time: far below the 512 that the server lets wait unauthenticated.
pub(crate) const OPENING_MAX: usize = 64;

#[derive(clap::Args)]
pub(crate) struct Clients {
    #[command(flatten)]
    server: To,
    /// Bytes of the one message
    #[arg(long)]
    echo: usize,
}

/// The server of some clients.
#[derive(clap::Args)]
pub(crate) struct To {
    #[arg(long)]
    kind: Kind,
    #[arg(long)]
    transport: Transport,
    #[arg(long)]
    pub(crate) port: u16,
    /// The server's state directory, for its key and certificate
    #[arg(long)]
    pub(crate) state: PathBuf,
}

/// Where to go, and how.
pub(crate) struct Dial {
    port: u16,
    tls: Option<TlsConnector>,
    /// Duologue's; a bare WebSocket has none.
    server_key: Option<ServerKey>,
    /// Where its connections come from, and what cuts them.
    way: Option<Way>,
}

/// The way of all connections of a process.
#[derive(Default)]
struct Way {
    from: Option<IpAddr>,
    /// Of those that are open.
    cut: Mutex<CancellationToken>,
}

impl To {
    pub(crate) fn dial(&self) -> anyhow::Result<Arc<Dial>> {
        Dial::new(self.kind, self.transport, self.port, &self.state)
    }

    /// The same from an address of this machine, and to be cut.
    pub(crate) fn dial_from(&self, address: IpAddr) -> anyhow::Result<Arc<Dial>> {
        let dial = Arc::into_inner(self.dial()?).context("it was just made")?;
        Ok(Arc::new(Dial { way: Some(Way { from: Some(address), ..Way::default() }), ..dial }))
    }
}

impl Dial {
    pub(crate) fn new(kind: Kind, transport: Transport, port: u16, state: &Path) -> anyhow::Result<Arc<Self>> {
        let tls = (transport == Transport::Tls).then(|| tls_config(state, default_provider())).transpose()?;
        let tls = tls.map(|config| TlsConnector::from(Arc::new(config)));
        let server_key = match kind {
            Kind::Duologue => Some(duologue_server::server_key(state)?),
            Kind::Tungstenite => None,
        };
        Ok(Arc::new(Self { port, tls, server_key, way: None }))
    }

    pub(crate) const fn server_key(&self) -> Option<ServerKey> {
        self.server_key
    }

    /// As a browser would show it.
    pub(crate) fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}/line", self.host())
    }

    pub(crate) async fn stream(&self) -> anyhow::Result<Pin<Box<dyn Dialled>>> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = self.way.as_ref().and_then(|way| way.from) {
            socket.bind((from, 0).into())?;
        }
        let tcp = socket.connect((Ipv4Addr::LOCALHOST, self.port).into()).await.context("nobody listens")?;
        tcp.set_nodelay(true)?;
        let Some(way) = &self.way else { return self.secure(tcp).await };
        let cut = way.cut.lock().unwrap_or_else(PoisonError::into_inner).clone().cancelled_owned();
        self.secure(Cuttable { tcp, cut: Box::pin(cut) }).await
    }

    async fn secure(&self, stream: impl Dialled) -> anyhow::Result<Pin<Box<dyn Dialled>>> {
        let Some(tls) = &self.tls else { return Ok(Box::pin(stream)) };
        let name = ServerName::try_from("localhost").expect("it is a name");
        Ok(Box::pin(tls.connect(name, stream).await.context("no TLS")?))
    }

    /// All connections that are open are lost.
    pub(crate) fn cut(&self) {
        if let Some(way) = &self.way {
            std::mem::take(&mut *way.cut.lock().unwrap_or_else(PoisonError::into_inner)).cancel();
        }
    }

    /// A bare WebSocket.
    pub(crate) async fn websocket(&self, config: WebSocketConfig) -> anyhow::Result<BareWebSocket> {
        let (socket, _) = client_async_with_config(self.url(), self.stream().await?, Some(config)).await?;
        Ok(socket)
    }
}

/// A stream that fails once its way is cut.
struct Cuttable {
    tcp: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl AsyncRead for Cuttable {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.tcp).poll_read(cx, to)
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

pub(crate) type BareWebSocket = WebSocketStream<Pin<Box<dyn Dialled>>>;

/// A session that is idle.
enum Session {
    Duologue(Line),
    Tungstenite(JoinHandle<()>),
}

impl Session {
    fn is_open(&self) -> bool {
        match self {
            Self::Duologue(line) => line.state() == LineState::Open,
            Self::Tungstenite(reading) => !reading.is_finished(),
        }
    }
}

impl Clients {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let dial = self.server.dial()?;
        let mut sessions: Vec<Session> = Vec::new();
        // Nothing else runs on this thread; the sessions live on the others.
        for line in io::stdin().lock().lines() {
            let wanted: u32 = line?.trim().parse().context("a number of sessions was expected")?;
            let opened = u32::try_from(sessions.len())?;
            let opening = (opened..wanted).map(|number| open(Arc::clone(&dial), number, self.echo));
            let new: Vec<_> = stream::iter(opening).buffer_unordered(OPENING_MAX).try_collect().await?;
            sessions.extend(new);
            let open = sessions.iter().filter(|session| session.is_open()).count();
            writeln!(io::stdout(), "open {open}")?;
        }
        Ok(())
    }
}

/// TLS that trusts the server's certificate. It resumes nothing: every connection is a full handshake.
pub(crate) fn tls_config(state: &Path, provider: CryptoProvider) -> anyhow::Result<ClientConfig> {
    let certificate = CertificateDer::from_pem_file(state.join("tls-cert.pem")).context("no certificate")?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).context("the certificate is none")?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

async fn open(dial: Arc<Dial>, number: u32, echo: usize) -> anyhow::Result<Session> {
    let message = vec![0x5a; echo];
    match dial.server_key {
        Some(_) => {
            let line = line::open(dial, number).await.with_context(|| format!("session {number}"))?;
            ensure!(line.request("echo", message.clone()).await? == message, "session {number}: another echo");
            Ok(Session::Duologue(line))
        }
        None => {
            let mut socket = dial.websocket(websocket_config()).await?;
            socket.send(Message::binary(message.clone())).await?;
            match socket.next().await {
                Some(Ok(Message::Binary(echo))) => ensure!(echo == message, "session {number}: another echo"),
                other => bail!("session {number}: {other:?} in the place of an echo"),
            }
            Ok(Session::Tungstenite(tokio::spawn(async move { while let Some(Ok(_)) = socket.next().await {} })))
        }
    }
}
