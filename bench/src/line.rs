//! A client's line for the benchmark: the core and its driver as in `duologue-client`, without a keyring on disk and with
//! one TLS configuration for all.
//!
//! It never dials twice: a session that is lost while memory is measured would spoil the figure, and is told instead.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, anyhow};
use duologue::{Claims, ClientConfig, LineEvent, Offer, limits::RECORD_LEN_MAX};
use duologue_client::WebSocket;
use duologue_native::{Endpoint, Line, carry, keep, randomness};
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{
        client::IntoClientRequest as _,
        http::{HeaderValue, header},
        protocol::WebSocketConfig,
    },
};

use crate::{clients::Dial, device::Device};

/// Opens a line as a device, and waits until the server has let it in. It lives as long as its handle.
pub(crate) async fn open(dial: Arc<Dial>, number: u32) -> anyhow::Result<Line> {
    let device = Device::number(number);
    let config = ClientConfig {
        server_key: dial.server_key().context("the server is none of Duologue")?,
        offer: Offer::Nothing,
        enrolled: true,
        device: device.key(),
        claims: Claims { origin: String::new(), host: dial.host(), name: "bench".to_owned() },
    };
    let line = Line::new(duologue::Line::client(config, number.into()));
    let own = line.unguarded();
    let failure = Arc::new(Mutex::new(None));
    let mut endpoint = Client { dial: Some(dial), device, failure: Arc::clone(&failure) };
    tokio::spawn(async move { keep(&own, &mut endpoint).await });
    let ready = line.ready().await;
    let failure = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    ready.map(|()| line).map_err(|error| failure.unwrap_or(error.into()))
}

struct Client {
    /// None once it has dialled.
    dial: Option<Arc<Dial>>,
    device: Device,
    failure: Arc<Mutex<Option<anyhow::Error>>>,
}

impl Endpoint for Client {
    async fn answer(&mut self, line: &Line, event: LineEvent) {
        match event {
            LineEvent::DialWanted => {
                let (line, failure) = (line.unguarded(), Arc::clone(&self.failure));
                let dial = self.dial.take();
                tokio::spawn(async move {
                    let carried = match dial {
                        Some(dial) => dial_once(&dial, &line).await,
                        None => Err(anyhow!("a session was lost")),
                    };
                    if let Err(error) = carried {
                        *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        line.close(duologue::CloseCode::Normal, "");
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
async fn dial_once(dial: &Dial, line: &Line) -> anyhow::Result<()> {
    let dialled = line.command(|line, now| line.dial(now, randomness()))?;
    let mut request = dial.url().into_client_request().context("a WebSocket URL")?;
    let offer = HeaderValue::from_str(&dialled.offer.join(", ")).context("base64url is ASCII")?;
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, offer);
    let (socket, response) =
        client_async_with_config(request, dial.stream().await?, Some(websocket_config())).await.context("no line")?;
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
