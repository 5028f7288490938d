//! Those who connect: all in one process, so that the server's holds nothing but the server.
//!
//! Told a number on standard input, it opens sessions until it has so many, and answers `open N`; told the same number
//! again, it says how many are still open. Each session sends one message, waits for its echo, and is idle from then on.

use std::{
    io::{BufRead as _, Write as _},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
};

use anyhow::{Context as _, bail, ensure};
use duologue::{LineState, ServerKey};
use duologue_native::Line;
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, stream};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{client_async_with_config, tungstenite::Message};

use crate::{
    Kind, Transport,
    line::{self, Dialled, websocket_config},
};

/// Connections that open at the same time: far below the 512 that the server lets wait unauthenticated.
const OPENING_MAX: usize = 64;

#[derive(clap::Args)]
pub(crate) struct Clients {
    #[arg(long)]
    kind: Kind,
    #[arg(long)]
    transport: Transport,
    #[arg(long)]
    port: u16,
    /// The server's state directory, for its key and certificate
    #[arg(long)]
    state: PathBuf,
    /// Bytes of the one message
    #[arg(long)]
    echo: usize,
}

/// Where to go, and how.
pub(crate) struct Dial {
    port: u16,
    tls: Option<TlsConnector>,
}

impl Dial {
    /// As a browser would show it.
    pub(crate) fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}/line", self.host())
    }

    pub(crate) async fn stream(&self) -> anyhow::Result<Pin<Box<dyn Dialled>>> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.context("nobody listens")?;
        tcp.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::pin(tcp)) };
        let name = ServerName::try_from("localhost").expect("it is a name");
        Ok(Box::pin(tls.connect(name, tcp).await.context("no TLS")?))
    }
}

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
        let tls = (self.transport == Transport::Tls).then(|| self.connector()).transpose()?;
        let dial = Arc::new(Dial { port: self.port, tls });
        let server_key = match self.kind {
            Kind::Duologue => Some(duologue_server::server_key(&self.state)?),
            Kind::Tungstenite => None,
        };
        let mut sessions: Vec<Session> = Vec::new();
        // Nothing else runs on this thread; the sessions live on the others.
        for line in std::io::stdin().lock().lines() {
            let wanted: u32 = line?.trim().parse().context("a number of sessions was expected")?;
            let opened = u32::try_from(sessions.len())?;
            let opening = (opened..wanted).map(|number| open(Arc::clone(&dial), server_key, number, self.echo));
            let new: Vec<_> = stream::iter(opening).buffer_unordered(OPENING_MAX).try_collect().await?;
            sessions.extend(new);
            let open = sessions.iter().filter(|session| session.is_open()).count();
            writeln!(std::io::stdout(), "open {open}")?;
        }
        Ok(())
    }

    fn connector(&self) -> anyhow::Result<TlsConnector> {
        let certificate = CertificateDer::from_pem_file(self.state.join("tls-cert.pem")).context("no certificate")?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).context("the certificate is none")?;
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

async fn open(dial: Arc<Dial>, server_key: Option<ServerKey>, number: u32, echo: usize) -> anyhow::Result<Session> {
    let message = vec![0x5a; echo];
    match server_key {
        Some(server_key) => {
            let line = line::open(dial, server_key, number).await.with_context(|| format!("session {number}"))?;
            ensure!(line.request("echo", message.clone()).await? == message, "session {number}: another echo");
            Ok(Session::Duologue(line))
        }
        None => {
            let (url, stream) = (dial.url(), dial.stream().await?);
            let (mut socket, _) = client_async_with_config(url, stream, Some(websocket_config())).await?;
            socket.send(Message::binary(message.clone())).await?;
            match socket.next().await {
                Some(Ok(Message::Binary(echo))) => ensure!(echo == message, "session {number}: another echo"),
                other => bail!("session {number}: {other:?} in the place of an echo"),
            }
            Ok(Session::Tungstenite(tokio::spawn(async move { while let Some(Ok(_)) = socket.next().await {} })))
        }
    }
}
