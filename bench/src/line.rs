//! A client's line for the benchmark: the core and its driver as in `duologue-client`, without a keyring on disk and with
//! one TLS configuration for all.
//!
//! Unless it is asked to, it never dials twice: a session that is lost would spoil the figure, and is told instead.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Context as _, anyhow};
use duologue::{Claims, ClientConfig, Dialled as Dialling, EvidenceKind, LineEvent, Offer, limits::RECORD_LEN_MAX};
use duologue_client::WebSocket;
use duologue_native::{Endpoint, Line, carry, keep, randomness};
use tokio::sync::mpsc;
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{
        client::IntoClientRequest as _,
        http::{HeaderValue, header},
        protocol::WebSocketConfig,
    },
};

use crate::{clients::Dial, device::Device};

/// Tells when each of a line's WebSockets opens.
pub(crate) type Upgrades = mpsc::UnboundedSender<Instant>;
/// Why a socket did not open.
type Failure = Arc<Mutex<Option<anyhow::Error>>>;

/// Opens a line as a device, and waits until the server has let it in. It lives as long as its handle.
pub(crate) async fn open(dial: Arc<Dial>, number: u32) -> anyhow::Result<Line> {
    open_with(dial, number, Offer::Nothing).await
}

/// The same as a device that shows something beside its key.
pub(crate) async fn open_with(dial: Arc<Dial>, number: u32, offer: Offer) -> anyhow::Result<Line> {
    wait(begin_with(dial, number, offer, None, None)?).await
}

/// The same as a device whose person shows a token.
pub(crate) async fn open_with_token(dial: Arc<Dial>, number: u32, token: String) -> anyhow::Result<Line> {
    wait(begin_with(dial, number, Offer::Nothing, Some(token), None)?).await
}

async fn wait((line, failure): (Line, Failure)) -> anyhow::Result<Line> {
    let ready = line.ready().await;
    let failure = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    ready.map(|()| line).map_err(|error| failure.unwrap_or(error.into()))
}

/// The same without the wait. A line that tells of its WebSockets dials again when it is lost.
pub(crate) fn begin(dial: Arc<Dial>, number: u32, upgrades: Option<Upgrades>) -> anyhow::Result<(Line, Failure)> {
    begin_with(dial, number, Offer::Nothing, None, upgrades)
}

fn begin_with(
    dial: Arc<Dial>,
    number: u32,
    offer: Offer,
    token: Option<String>,
    upgrades: Option<Upgrades>,
) -> anyhow::Result<(Line, Failure)> {
    let device = Device::number(number);
    let config = ClientConfig {
        server_key: dial.server_key().context("the server is none of Duologue")?,
        enrolled: !matches!(offer, Offer::Invite(_)),
        offer,
        device: device.key(),
        claims: Claims { origin: String::new(), host: dial.host(), name: "bench".to_owned() },
    };
    let mut core = duologue::Line::client(config, RandomState::new().hash_one(number));
    if let Some(token) = token {
        core.show(EvidenceKind::Token, token.into_bytes())?;
    }
    let line = Line::new(core);
    let own = line.unguarded();
    let failure = Failure::default();
    let mut endpoint = Client { dial, device, has_dialled: false, upgrades, failure: Arc::clone(&failure) };
    tokio::spawn(async move { keep(&own, &mut endpoint).await });
    Ok((line, failure))
}

struct Client {
    dial: Arc<Dial>,
    device: Device,
    has_dialled: bool,
    upgrades: Option<Upgrades>,
    failure: Failure,
}

impl Endpoint for Client {
    async fn answer(&mut self, line: &Line, event: LineEvent) {
        match event {
            LineEvent::DialWanted => {
                let (line, failure) = (line.unguarded(), Arc::clone(&self.failure));
                let (dial, upgrades) = (Arc::clone(&self.dial), self.upgrades.clone());
                let is_lost = std::mem::replace(&mut self.has_dialled, true) && upgrades.is_none();
                tokio::spawn(async move {
                    let Ok(dialled) = line.command(|line, now| line.dial(now, randomness())) else { return };
                    let no = dialled.no;
                    let carried = match is_lost {
                        false => dial_once(&dial, &line, dialled, upgrades.as_ref()).await,
                        true => Err(anyhow!("a session was lost")),
                    };
                    match carried {
                        Ok(()) => {}
                        // As every client does.
                        Err(_) if upgrades.is_some() => line.command(|line, now| line.handle_unreachable(now, no)),
                        Err(error) => {
                            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                            line.close(duologue::CloseCode::Normal, "");
                        }
                    }
                });
            }
            LineEvent::SignatureWanted(no, message) => {
                let signature = self.device.sign(&message);
                line.command(|line, now| line.provide_signature(now, no, signature));
            }
            _ => {}
        }
    }
}

/// Opens the socket and carries the line over it to its end.
async fn dial_once(dial: &Dial, line: &Line, dialled: Dialling, upgrades: Option<&Upgrades>) -> anyhow::Result<()> {
    let mut request = dial.url().into_client_request().context("a WebSocket URL")?;
    let offer = HeaderValue::from_str(&dialled.offer.join(", ")).context("base64url is ASCII")?;
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, offer);
    let (socket, response) =
        client_async_with_config(request, dial.stream().await?, Some(websocket_config())).await.context("no line")?;
    if let Some(upgrades) = upgrades {
        // Nobody listens any more where the line is dropped.
        let _ = upgrades.send(Instant::now());
    }
    let selected = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
    let selected = selected.and_then(|value| value.to_str().ok()).unwrap_or_default();
    line.command(|line, now| line.handle_upgrade(now, dialled.no, selected));
    drop(response);
    carry(line, dialled.no, WebSocket(socket)).await;
    Ok(())
}

/// Small buffers, for thousands of clients in one process.
pub(crate) fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(1_024)
        .write_buffer_size(0)
        .max_message_size(Some(RECORD_LEN_MAX))
        .max_frame_size(Some(RECORD_LEN_MAX))
}

/// A stream that was dialled, of whichever transport.
pub(crate) trait Dialled: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static {}
impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static> Dialled for S {}
