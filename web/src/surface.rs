//! The surface for `js/duologue.js`: ids and bytes in, ids and bytes out.

use std::rc::Rc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use duologue::{
    ChannelError, ChannelId, Claims, ClientConfig, CloseCode, Connection, Delivery, DeviceKey, Invite, Offer,
    Randomness, Received, ResetCode, Secret, SignatureAlgorithm, Ticket, TicketId, crypto::RANDOMNESS_LEN,
};
use wasm_bindgen::prelude::*;

use crate::{driver::Driver, invite::parse_key};

#[wasm_bindgen]
extern "C" {
    /// What a line is made of, and whom it tells.
    #[derive(Debug)]
    pub type LineOptions;

    #[wasm_bindgen(method, getter)]
    fn url(this: &LineOptions) -> String;
    #[wasm_bindgen(method, getter, js_name = serverKey)]
    fn server_key(this: &LineOptions) -> String;
    #[wasm_bindgen(method, getter)]
    fn invite(this: &LineOptions) -> Option<String>;
    #[wasm_bindgen(method, getter)]
    fn ticket(this: &LineOptions) -> Option<String>;
    #[wasm_bindgen(method, getter)]
    fn enrolled(this: &LineOptions) -> bool;
    #[wasm_bindgen(method, getter)]
    fn algorithm(this: &LineOptions) -> u8;
    #[wasm_bindgen(method, getter)]
    fn spki(this: &LineOptions) -> Vec<u8>;
    #[wasm_bindgen(method, getter)]
    fn origin(this: &LineOptions) -> String;
    #[wasm_bindgen(method, getter)]
    fn host(this: &LineOptions) -> String;
    #[wasm_bindgen(method, getter)]
    fn name(this: &LineOptions) -> String;
    #[wasm_bindgen(method, getter)]
    pub(crate) fn observed(this: &LineOptions) -> bool;

    /// Called with the bytes to sign; answered by `provideSignature`.
    #[wasm_bindgen(method, js_name = onSign)]
    pub(crate) fn on_sign(this: &LineOptions, message: Vec<u8>);
    /// Called when the line is open, with the ticket for the next time.
    #[wasm_bindgen(method, js_name = onOpened)]
    pub(crate) fn on_opened(this: &LineOptions, ticket: &str);
    /// Called when the server has opened a channel.
    #[wasm_bindgen(method, js_name = onChannel)]
    pub(crate) fn on_channel(this: &LineOptions, id: u32, label: &str);
    /// Called when something about a channel is new.
    #[wasm_bindgen(method, js_name = onChanged)]
    pub(crate) fn on_changed(this: &LineOptions, id: u32);
    /// Called once, at the end.
    #[wasm_bindgen(method, js_name = onClosed)]
    pub(crate) fn on_closed(this: &LineOptions, code: &str, reason: &str, by_peer: bool);
    /// Called with each message as it crosses the network, where `observed` is true.
    #[wasm_bindgen(method, js_name = onRecord)]
    pub(crate) fn on_record(this: &LineOptions, outward: bool, bytes: &[u8]);
}

/// One line, as JavaScript holds it.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Line(Rc<Driver>);

#[wasm_bindgen]
impl Line {
    /// Opens the socket.
    ///
    /// # Errors
    /// What is wrong with the options, or why the browser opens no socket.
    #[wasm_bindgen(constructor)]
    pub fn new(options: LineOptions) -> Result<Self, JsValue> {
        let algorithm = SignatureAlgorithm::from_wire(options.algorithm());
        let device = algorithm.and_then(|algorithm| DeviceKey::new(algorithm, options.spki()).ok());
        let device = device.ok_or_else(|| error("bad-key", "The device key is of no kind that is known here."))?;
        let offer = match (options.invite(), options.ticket()) {
            (Some(link), _) => {
                let invite = Invite::from_link(&link).map_err(|cause| error("bad-invite", &cause.to_string()))?;
                Offer::Invite(invite)
            }
            // A ticket that cannot be read is left aside: the device key suffices.
            (None, Some(ticket)) => parse_ticket(&ticket).map_or(Offer::Nothing, Offer::Ticket),
            (None, None) => Offer::Nothing,
        };
        let config = ClientConfig {
            server_key: parse_key(&options.server_key())?,
            offer,
            enrolled: options.enrolled(),
            device,
            claims: Claims { origin: options.origin(), host: options.host(), name: options.name() },
        };
        let mut bytes = [0; RANDOMNESS_LEN];
        getrandom::fill(&mut bytes).map_err(|_| error("no-randomness", "The browser gives no random bytes."))?;
        let connect = |now| Connection::connect(config, Randomness::new(bytes), now);
        let url = options.url();
        Driver::start(connect, &url, options).map(Self)
    }

    /// Opens a channel and returns its id.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub fn open(&self, label: &str) -> Result<u32, JsValue> {
        self.0.command(|connection, _| connection.open_channel(label)).map(|id| id.0).map_err(channel_error)
    }

    /// Queues a message and returns its ordinal on the channel.
    ///
    /// # Errors
    /// `blocked` when the queue is full: try again when the channel has changed; else why it cannot be sent.
    pub fn send(&self, id: u32, message: Vec<u8>) -> Result<f64, JsValue> {
        let sent = self.0.command(|connection, _| connection.channel(ChannelId(id)).send(message));
        // Ordinals stay below 2^53: that many messages are never sent.
        sent.map(|ordinal| ordinal as f64).map_err(|(cause, _)| channel_error(cause))
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an ordinal that `send` has given")]
    /// What is known of a message: 0 pending, 1 taken, 2 not sent, 3 unknown.
    #[must_use]
    pub fn delivery(&self, id: u32, ordinal: f64) -> u8 {
        match self.0.command(|connection, _| connection.channel(ChannelId(id)).delivery(ordinal as u64)) {
            Delivery::Pending => 0,
            Delivery::Taken => 1,
            Delivery::NotSent => 2,
            Delivery::Unknown => 3,
        }
    }

    /// The next message; undefined if there is none yet, null at the channel's end.
    ///
    /// # Errors
    /// Why no more will come.
    pub fn recv(&self, id: u32) -> Result<JsValue, JsValue> {
        match self.0.command(|connection, _| connection.channel(ChannelId(id)).recv()) {
            Ok(Received::Message(message)) => Ok(js_sys::Uint8Array::from(message.as_slice()).into()),
            Ok(Received::Pending) => Ok(JsValue::UNDEFINED),
            Ok(Received::End) => Ok(JsValue::NULL),
            Err(cause) => Err(channel_error(cause)),
        }
    }

    /// Nothing more will be sent on the channel.
    pub fn finish(&self, id: u32) {
        self.0.command(|connection, _| connection.channel(ChannelId(id)).finish());
    }

    /// Ends both directions: 1 cancelled, 2 deadline.
    pub fn reset(&self, id: u32, code: u16) {
        self.0.command(|connection, _| connection.channel(ChannelId(id)).reset(ResetCode::from_wire(code)));
    }

    /// JavaScript has let go of the channel.
    pub fn release(&self, id: u32) {
        self.0.command(|connection, _| connection.channel(ChannelId(id)).release());
    }

    /// The answer to `onSign`: 64 bytes.
    #[wasm_bindgen(js_name = provideSignature)]
    pub fn provide_signature(&self, signature: &[u8]) {
        self.0.command(|connection, now| match signature.try_into() {
            Ok(signature) => connection.provide_signature(signature),
            Err(_) => connection.close(now, CloseCode::Internal, "the device key makes no signature"),
        });
    }

    /// Asks whether the server is still there; the line ends if it does not answer within 2 s.
    pub fn probe(&self) {
        self.0.command(Connection::probe);
    }

    /// Ends the line.
    pub fn close(&self, reason: &str) {
        self.0.command(|connection, now| connection.close(now, CloseCode::Normal, reason));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A ticket as text for IndexedDB: id, lifetime and secret as base64url.
pub(crate) fn format_ticket(ticket: &Ticket) -> String {
    let bytes = [ticket.id.0.as_slice(), &ticket.lifetime_secs.to_be_bytes(), ticket.secret.expose()].concat();
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn parse_ticket(text: &str) -> Option<Ticket> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    let (id, rest) = bytes.split_first_chunk()?;
    let (lifetime, rest) = rest.split_first_chunk()?;
    let secret = rest.try_into().ok()?;
    Some(Ticket { id: TicketId(*id), secret: Secret::new(secret), lifetime_secs: u32::from_be_bytes(*lifetime) })
}

/// An `Error` with a `code`, which `js/duologue.js` makes a `DuologueError` of.
pub(crate) fn error(code: &str, message: &str) -> JsValue {
    let error = js_sys::Error::new(message);
    // Setting a property of a fresh object cannot fail.
    let _ = js_sys::Reflect::set(&error, &"code".into(), &code.into());
    error.into()
}

fn channel_error(cause: ChannelError) -> JsValue {
    let code = match cause {
        ChannelError::Reset(code) => code.word(),
        ChannelError::Finished => "finished",
        ChannelError::Closed => "closed",
        ChannelError::Blocked => "blocked",
        ChannelError::MessageTooLong { .. } => "message-too-long",
        ChannelError::BadLabel => "bad-label",
    };
    error(code, &cause.to_string())
}
