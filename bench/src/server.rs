//! The two servers, each the only thing in its process, on the same allocator, runtime and TLS.
//!
//! Duologue's is the library as the binary `duologue` mounts it. The baseline is tokio-tungstenite without HTTP server or
//! router, tuned for many idle links: what its handshakes need is boxed and given back, one task a link, small buffers.
//! Neither knows that it is measured.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
    path::PathBuf,
    sync::Arc,
};

use anyhow::Context as _;
use axum::{Router, http::Method};
use duologue_server::{
    AddBan, BanInfo, Budgets, Duologue, FirewallSettings, FrontConfig, LabelPattern, Policy, Rule, Rules, State, ask,
    development, going_on, listen, page, services,
};
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::{WebSocketStream, accept_async_with_config, tungstenite::protocol::WebSocketConfig};
use tokio_util::sync::CancellationToken;

use crate::{Transport, child, token};

/// The baseline's read buffer. Below this its bytes a link no longer fall by much, and every message takes more reads.
const READ_BUFFER_LEN: usize = 1_024;
/// tokio-tungstenite's own, and what waits for one write where writes are joined.
const LARGE_BUFFER_LEN: usize = 128 * 1_024;
/// The longest message of any group.
const MESSAGE_LEN_MAX: usize = 64 * 1_024;

#[derive(clap::Args)]
pub(crate) struct Serve {
    #[arg(long)]
    transport: Transport,
    /// The state directory, with the devices in it
    #[arg(long)]
    state: PathBuf,
    /// Takes tokens
    #[arg(long)]
    tokens: bool,
    /// Has so many rules, of which the last opens what there is
    #[arg(long, default_value_t = 0)]
    rules: usize,
    /// Counts all that the firewall can count
    #[arg(long)]
    watched: bool,
    /// Where it listens
    #[arg(long, default_value_t = IpAddr::from(Ipv4Addr::LOCALHOST))]
    at: IpAddr,
    /// Has banned that address
    #[arg(long)]
    banned: bool,
    /// Keeps sessions on disk
    #[arg(long)]
    keep: bool,
}

#[derive(clap::Args)]
pub(crate) struct ServeTungstenite {
    #[command(flatten)]
    serve: Serve,
    /// For few links with much to do, in the place of many idle ones: buffers of 128 KiB
    #[arg(long)]
    large_buffers: bool,
    /// What is ready leaves together, in one write, in the place of a write for each message
    #[arg(long)]
    join_writes: bool,
}

impl Serve {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        // As the binary does.
        duologue_server::raise_file_limit()?;
        let (listener, tls) = self.listen().await?;
        let state = State::open(&self.state)?;
        let policy = match self.rules {
            0 => Policy::loopback(),
            count => Policy::loopback().with_rules(rules(count)?),
        };
        let mut duologue = Duologue::new(state.clone(), policy);
        if self.tokens {
            duologue = duologue.tokens(token::taken(&self.state)?);
        }
        duologue = duologue.service("echo", going_on(services::echo));
        if self.keep {
            duologue = duologue.keep_sessions()?;
        }
        let app = Router::new().route("/line", duologue.route()).merge(page(true));
        if self.watched {
            duologue.set_firewall(everything(), &self.state)?;
        }
        let _control = match self.banned {
            true => {
                let control = listen(state, duologue.clone())?;
                let ban = AddBan { what: "address".to_owned(), which: self.at.to_string(), secs: 3_600 };
                let _: BanInfo = ask(&self.state, Method::POST, "/bans", Some(&ban)).await?;
                Some(control)
            }
            false => None,
        };
        // As the binary does.
        let front = FrontConfig {
            tls,
            firewall: duologue.firewall(),
            watch: duologue.watch().clone(),
            ..FrontConfig::default()
        };
        duologue_server::serve_behind(listener, front, app, CancellationToken::new()).await;
        Ok(())
    }

    /// A listener whose port the parent is told, and TLS.
    async fn listen(&self) -> anyhow::Result<(TcpListener, Option<Arc<rustls::ServerConfig>>)> {
        child::end_with_parent();
        let tls = match self.transport {
            Transport::Tls => Some(development(&self.state)?),
            Transport::Clear => None,
        };
        let listener = TcpListener::bind((self.at, 0)).await.context("cannot listen")?;
        writeln!(std::io::stdout(), "ready {}", listener.local_addr()?.port())?;
        Ok((listener, tls))
    }
}

/// A bound on all that has one, so high that nobody meets it here, and no higher than what an owner may set: what is taken is owed
/// for a moment.
fn everything() -> FirewallSettings {
    let most = NonZeroU32::new(1_000_000);
    let all = Budgets { connections: most, handshakes: most, messages: most, bytes: most, requests: most };
    FirewallSettings { address: all, identity: all, all, ..FirewallSettings::default() }
}

/// Rules as owners write them, each with a label of its own; the last opens `echo`.
fn rules(count: usize) -> anyhow::Result<Rules> {
    let labels = (1..count).map(|number| format!("service-{number}")).chain(["echo".to_owned()]);
    let rules = labels.map(|label| Ok(Rule::new(&label, vec![LabelPattern::new(&label)?])));
    Ok(Rules::new(rules.collect::<anyhow::Result<_>>()?))
}

impl ServeTungstenite {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let (listener, tls) = self.serve.listen().await?;
        let acceptor = tls.map(TlsAcceptor::from);
        let config = WebSocketConfig::default()
            .read_buffer_size(if self.large_buffers { LARGE_BUFFER_LEN } else { READ_BUFFER_LEN })
            .write_buffer_size(if self.join_writes { LARGE_BUFFER_LEN } else { 0 })
            .max_message_size(Some(MESSAGE_LEN_MAX))
            .max_frame_size(Some(MESSAGE_LEN_MAX));
        loop {
            let (tcp, _) = listener.accept().await.context("cannot accept a connection")?;
            tcp.set_nodelay(true)?;
            match acceptor.clone() {
                None => drop(tokio::spawn(async move {
                    let opened = Box::pin(accept_async_with_config(tcp, Some(config))).await;
                    if let Ok(socket) = opened {
                        echo(socket, self.join_writes).await;
                    }
                })),
                Some(acceptor) => drop(tokio::spawn(async move {
                    if let Ok(socket) = Box::pin(accept_tls(acceptor, tcp, config)).await {
                        echo(socket, self.join_writes).await;
                    }
                })),
            }
        }
    }
}

/// The stream is boxed: the task's future has room for what it holds more than once, and rustls holds 1.2 KB.
async fn accept_tls(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    config: WebSocketConfig,
) -> anyhow::Result<WebSocketStream<Box<tokio_rustls::server::TlsStream<TcpStream>>>> {
    let stream = Box::new(acceptor.accept(tcp).await?);
    Ok(accept_async_with_config(stream, Some(config)).await?)
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>, join_writes: bool) {
    if join_writes {
        // Reads on while something is there, and flushes when nothing is.
        let (mut write, read) = socket.split();
        let _ = read.try_filter(|message| std::future::ready(message.is_binary())).forward(&mut write).await;
        return;
    }
    while let Some(Ok(message)) = socket.next().await {
        if message.is_binary() && socket.send(message).await.is_err() {
            return;
        }
    }
}
