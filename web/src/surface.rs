//! The surface for `js/duologue.js`: ids and bytes in, ids and bytes out.

use alloc::{
    rc::Rc,
    string::{String, ToString},
    vec::Vec,
};
use core::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use duologue::{
    ChannelError, Claims, ClientConfig, CloseCode, ConnectionNo, Delivery, DeviceKey, EvidenceKind, Invite, Kind,
    Offer, Priority, Received, ResetCode, Secret, SignatureAlgorithm, Ticket, TicketId,
};
use wasm_bindgen::prelude::*;
use web_sys::WebSocket;

use crate::{
    driver::{Driver, now},
    invite::parse_key,
};

/// What `recvAll` hands over at once, and how many messages.
const AHEAD_LEN: usize = 64 * 1_024;
const AHEAD_MAX: usize = 4_096;

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
    /// A first connection that fails is dialled again like any other.
    #[wasm_bindgen(method, getter, js_name = firstTryWaits)]
    fn first_try_waits(this: &LineOptions) -> bool;
    #[wasm_bindgen(method, getter)]
    pub(crate) fn observed(this: &LineOptions) -> bool;

    /// Opens a socket: outside browsers it may be of a class that is none of the surroundings' own.
    #[wasm_bindgen(method, catch, js_name = openSocket)]
    pub(crate) fn open_socket(this: &LineOptions, url: &str, protocols: &js_sys::Array) -> Result<WebSocket, JsValue>;
    /// Called for each connection with the bytes to sign; answered by `provideSignature`.
    #[wasm_bindgen(method, js_name = onSign)]
    pub(crate) fn on_sign(this: &LineOptions, connection: u32, message: Vec<u8>);
    /// Called with each state but `closed`.
    #[wasm_bindgen(method, js_name = onState)]
    pub(crate) fn on_state(this: &LineOptions, state: &str);
    /// Called when the session has ended and another begins, before the line is open again. Until it returns, the channels of
    /// the session that has ended can still be asked; those of which nothing had left are in the new one, and not broken.
    #[wasm_bindgen(method, js_name = onFresh)]
    pub(crate) fn on_fresh(this: &LineOptions, code: &str, reason: &str);
    /// Called whenever the server has let this device in, with the ticket for the next time and what the server answers, and
    /// its standing, as AUTH_OK has them.
    #[wasm_bindgen(method, js_name = onOpened)]
    pub(crate) fn on_opened(this: &LineOptions, ticket: &str, services: &[u8]);
    /// Called when the server tells of another standing on the open line, as STANDING has it.
    #[wasm_bindgen(method, js_name = onStanding)]
    pub(crate) fn on_standing(this: &LineOptions, standing: &[u8]);
    /// Called when something was altered on the way once more, with how often.
    #[wasm_bindgen(method, js_name = onAltered)]
    pub(crate) fn on_altered(this: &LineOptions, count: u32);
    /// Called with what happens to each connection, for those who look for a fault: `dial` with the form, `upgrade` with the
    /// subprotocol, `answer`, `open` with the outcome, `fail` with the cause's code and the milliseconds until the next dial.
    #[wasm_bindgen(method, js_name = onNote)]
    pub(crate) fn on_note(this: &LineOptions, what: &str, connection: u32, word: &str, millis: f64);
    /// Called when the server has opened a channel.
    #[wasm_bindgen(method, js_name = onChannel)]
    pub(crate) fn on_channel(this: &LineOptions, id: u32, label: &str, is_stream: bool);
    /// Called when something about a channel is new.
    #[wasm_bindgen(method, js_name = onChanged)]
    pub(crate) fn on_changed(this: &LineOptions, id: u32);
    /// Called with several messages that lie one after the other in `bytes`, each up to its number in `ends`, in the core's memory:
    /// they are copied before it returns. `recvAll` hands over what it makes of them.
    #[wasm_bindgen(method, js_name = onMessages)]
    fn on_messages(this: &LineOptions, bytes: &[u8], ends: &[u32]) -> JsValue;
    /// Called once, at the end.
    #[wasm_bindgen(method, js_name = onClosed)]
    pub(crate) fn on_closed(this: &LineOptions, code: &str, reason: &str, by_peer: bool);
    /// Called with each message as it crosses the network, where `observed` is true.
    #[wasm_bindgen(method, js_name = onRecord)]
    pub(crate) fn on_record(this: &LineOptions, outward: bool, bytes: &[u8]);
}

/// One line, as JavaScript holds it. Counts stay below 2^53: that much is never sent.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Line(pub(crate) Rc<Driver>);

#[wasm_bindgen]
impl Line {
    /// Starts a line, which dials, and dials again, by itself.
    ///
    /// # Errors
    /// What is wrong with the options, or that the browser gives no random bytes.
    #[wasm_bindgen(constructor)]
    pub fn new(options: LineOptions) -> Result<Self, JsValue> {
        let device = device_key(options.algorithm(), options.spki());
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
        let mut chance = [0; 8];
        getrandom::fill(&mut chance).map_err(|_| error("no-randomness", "The browser gives no random bytes."))?;
        let chance = u64::from_le_bytes(chance);
        #[cfg(feature = "snapshots")]
        let mut line = crate::sealed::line(config, chance, &options);
        #[cfg(not(feature = "snapshots"))]
        let mut line = duologue::Line::client(config, chance);
        if options.first_try_waits() {
            line = line.with_first_try_that_waits();
        }
        let url = options.url();
        Ok(Self(Driver::start(line, url, options)))
    }

    /// Opens a channel and returns its id: of messages or bytes, of a step of priority (0 first, 1 normal, 2 last), a tail of so
    /// many bytes or none.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub fn open(&self, label: &str, is_stream: bool, step: u8, tail: Option<u32>) -> Result<u32, JsValue> {
        let kind = Kind { stream: is_stream, priority: Priority::from_step(step).unwrap_or_default(), tail };
        self.0.command(|line, _| line.open(label, kind)).map(|id| id.0).map_err(channel_error)
    }

    /// Queues a message. False if there is no room: try again when the channel has changed.
    ///
    /// # Errors
    /// Why it cannot be sent.
    pub fn send(&self, id: u32, message: Vec<u8>) -> Result<bool, JsValue> {
        match self.0.channel(id, |mut channel| channel.send(message)) {
            Ok(_) => Ok(true),
            Err((ChannelError::Blocked, _)) => Ok(false),
            Err((cause, _)) => Err(channel_error(cause)),
        }
    }

    /// Queues messages that lie one after the other in `bytes`, each up to its number in `ends`, and returns for how many there
    /// was room. The way from JavaScript to here costs more than a small message.
    ///
    /// # Errors
    /// Why the first cannot be sent.
    #[wasm_bindgen(js_name = sendAll)]
    pub fn send_all(&self, id: u32, bytes: &[u8], ends: &[u32]) -> Result<u32, JsValue> {
        self.0.channel(id, |mut channel| {
            let (mut sent, mut start) = (0, 0);
            for end in ends.iter().map(|&end| end as usize) {
                match channel.send(bytes.get(start..end).unwrap_or_default().to_vec()) {
                    Ok(_) => (),
                    Err((cause, _)) if sent == 0 && cause != ChannelError::Blocked => return Err(channel_error(cause)),
                    Err(_) => break,
                }
                (sent, start) = (sent + 1, end);
            }
            Ok(sent)
        })
    }

    /// Queues bytes of a stream and returns how many there was room for: if not all, try again when the channel has changed.
    ///
    /// # Errors
    /// Why nothing can be sent any more.
    pub fn write(&self, id: u32, bytes: &[u8]) -> Result<usize, JsValue> {
        match self.0.channel(id, |mut channel| channel.write(bytes)) {
            Err(ChannelError::Blocked) => Ok(0),
            written => written.map_err(channel_error),
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an ordinal that `send` has given")]
    /// What is known of a message: 0 pending, 1 taken, 2 not sent, 3 unknown.
    #[must_use]
    pub fn delivery(&self, id: u32, ordinal: f64) -> u8 {
        match self.0.ask(id, |channel| channel.delivery(ordinal as u64)) {
            Delivery::Pending => 0,
            Delivery::Taken => 1,
            Delivery::NotSent => 2,
            Delivery::Unknown => 3,
        }
    }

    /// How many messages, or bytes of a stream, the other application has taken.
    #[must_use]
    pub fn taken(&self, id: u32) -> f64 {
        self.0.ask(id, |channel| channel.taken()) as f64
    }

    /// True if the other application has taken everything that was sent.
    #[wasm_bindgen(js_name = allTaken)]
    #[must_use]
    pub fn all_taken(&self, id: u32) -> bool {
        self.0.ask(id, |channel| channel.all_taken())
    }

    /// Why the channel has ended before its time, as an error; undefined if it has not.
    #[must_use]
    pub fn broken(&self, id: u32) -> JsValue {
        self.0.ask(id, |channel| channel.broken()).map_or(JsValue::UNDEFINED, channel_error)
    }

    /// The next message, or bytes of a stream; undefined if there is none yet, null at the channel's end.
    ///
    /// # Errors
    /// Why no more will come.
    pub fn recv(&self, id: u32) -> Result<JsValue, JsValue> {
        received(self.0.read(id, |mut channel| channel.recv()))
    }

    /// As `recv`, all that there is, as far as `AHEAD_LEN`: one, or what `onMessages` makes of several. The other end hears that they
    /// were taken by `take`.
    ///
    /// # Errors
    /// Why no more will come.
    #[wasm_bindgen(js_name = recvAll)]
    pub fn recv_all(&self, id: u32) -> Result<JsValue, JsValue> {
        let mut ends = Vec::new();
        let first = self.0.ask(id, |mut channel| {
            let mut first = channel.recv_ahead();
            let Ok(Received::Message(bytes)) = &mut first else { return first };
            while bytes.len() < AHEAD_LEN
                && ends.len() < AHEAD_MAX
                && !channel.is_behind_gap()
                && let Ok(Received::Message(next)) = channel.recv_ahead()
            {
                ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
                bytes.extend_from_slice(&next);
            }
            if !ends.is_empty() {
                ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            }
            first
        });
        match first {
            Ok(Received::Message(bytes)) if !ends.is_empty() => Ok(self.0.options.on_messages(&bytes, &ends)),
            first => received(first),
        }
    }

    /// How many messages, or bytes of a stream, the other end has left out before what `recvAll` has handed over last.
    #[must_use]
    pub fn missed(&self, id: u32) -> f64 {
        self.0.ask(id, |channel| channel.missed()) as f64
    }

    /// Throws away what was sent and has not begun to leave.
    pub fn discard(&self, id: u32) {
        self.0.channel(id, |mut channel| channel.discard());
    }

    /// The application has taken so many of what `recvAll` has handed over, the oldest first.
    pub fn take(&self, id: u32, count: u32) {
        self.0.read(id, |mut channel| (0..count).for_each(|_| channel.take()));
    }

    /// Sends a datagram, unless so many milliseconds pass first, or a newer one of the same key comes.
    ///
    /// # Errors
    /// If it is too long, or the channel has ended.
    #[wasm_bindgen(js_name = sendDatagram)]
    pub fn send_datagram(&self, id: u32, bytes: Vec<u8>, ttl_millis: u32, key: Option<u32>) -> Result<(), JsValue> {
        let ttl = Duration::from_millis(u64::from(ttl_millis));
        self.0.channel(id, |mut channel| channel.send_datagram(now(), bytes, ttl, key)).map_err(channel_error)
    }

    /// The next datagram that has arrived.
    #[wasm_bindgen(js_name = recvDatagram)]
    #[must_use]
    pub fn recv_datagram(&self, id: u32) -> Option<Vec<u8>> {
        self.0.read(id, |mut channel| channel.recv_datagram())
    }

    /// What became of the channel's datagrams, in the order of `duologue::DatagramStats`: sent, expired, replaced, overflowed,
    /// received, unread.
    #[wasm_bindgen(js_name = datagramStats)]
    #[must_use]
    pub fn datagram_stats(&self, id: u32) -> Vec<f64> {
        let stats = self.0.channel(id, |mut channel| channel.datagram_stats(now()));
        [stats.sent, stats.expired, stats.replaced, stats.overflowed, stats.received, stats.unread]
            .map(|count| count as f64)
            .to_vec()
    }

    /// Nothing more will be sent on the channel.
    pub fn finish(&self, id: u32) {
        self.0.channel(id, |mut channel| channel.finish());
    }

    /// Ends both directions: 1 cancelled, 2 deadline.
    pub fn reset(&self, id: u32, code: u16) {
        self.0.channel(id, |mut channel| channel.reset(ResetCode::from_wire(code)));
    }

    /// JavaScript has let go of the channel.
    pub fn release(&self, id: u32) {
        self.0.release(id);
    }

    /// The answer to `onSign`: 64 bytes, and behind them the algorithm and the SPKI of the key that has signed, which may have taken the
    /// place of that of the options: what was asked ends with the SHA-256 of its SPKI.
    #[wasm_bindgen(js_name = provideSignature)]
    pub fn provide_signature(&self, connection: u32, signature: &[u8]) {
        let signed = signature.split_first_chunk().and_then(|(signature, by)| {
            let (algorithm, spki) = by.split_first()?;
            Some((*signature, device_key(*algorithm, spki.to_vec())?))
        });
        self.0.command(|line, now| match signed {
            Some((signature, device)) => line.provide_signature_by(now, ConnectionNo(connection), device, signature),
            None => line.close(now, CloseCode::Internal, "the device key makes no signature"),
        });
    }

    /// Shows evidence of the person, by the number of its kind: now, and with each connection until newer is shown. Its number, 0 if
    /// it is of no kind that is known, empty, or too long.
    pub fn show(&self, kind: u8, data: Vec<u8>) -> u32 {
        let Some(kind) = EvidenceKind::from_wire(kind) else { return 0 };
        self.0.command(|line, _| line.show(kind, data)).unwrap_or_default()
    }

    /// Somebody is here again, which is true; or nobody any more, while the line waits for somebody: false if the server cannot be
    /// told.
    pub fn here(&self, is_here: bool) -> bool {
        self.0.command(|line, _| {
            if is_here {
                line.here();
                return true;
            }
            line.away()
        })
    }

    /// A newer key of the server's, which its owner has signed: it is dialled for from now on.
    #[wasm_bindgen(js_name = followKey)]
    pub fn follow_key(&self, key: &str, has_worked: bool) {
        if let Ok(key) = parse_key(key) {
            self.0.command(|line, _| line.follow_key(key, has_worked));
        }
    }

    /// The device has woken or its network is back: asks an open line whether the server is still there, and lets one that
    /// waits to dial do so at once. A page that was left goes on.
    pub fn wake(&self) {
        self.0.wake();
    }

    /// The smoothed round trip in milliseconds; undefined before the first.
    #[wasm_bindgen(js_name = roundTrip)]
    #[must_use]
    pub fn round_trip(&self) -> Option<f64> {
        self.0.command(|line, _| line.round_trip()).map(|time| time.as_micros() as f64 / 1_000.0)
    }

    /// Ends the line.
    pub fn close(&self, reason: &str) {
        self.0.command(|line, now| line.close(now, CloseCode::Normal, reason));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A ticket as text for IndexedDB: id, lifetime and secret as base64url. Empty if nobody keeps it: nobody has let this device in.
pub(crate) fn format_ticket(ticket: &Ticket) -> String {
    if ticket.lifetime_secs == 0 {
        return String::new();
    }
    let bytes = [ticket.id.0.as_slice(), &ticket.lifetime_secs.to_be_bytes(), ticket.secret.expose()].concat();
    Base64UrlUnpadded::encode_string(&bytes)
}

fn parse_ticket(text: &str) -> Option<Ticket> {
    let bytes = Base64UrlUnpadded::decode_vec(text).ok()?;
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

fn received(received: Result<Received, ChannelError>) -> Result<JsValue, JsValue> {
    match received {
        Ok(Received::Message(message)) => Ok(js_sys::Uint8Array::from(message.as_slice()).into()),
        Ok(Received::Pending) => Ok(JsValue::UNDEFINED),
        Ok(Received::End) => Ok(JsValue::NULL),
        Err(cause) => Err(channel_error(cause)),
    }
}

fn channel_error(cause: ChannelError) -> JsValue {
    error(cause.word(), &cause.to_string())
}

fn device_key(algorithm: u8, spki: Vec<u8>) -> Option<DeviceKey> {
    SignatureAlgorithm::from_wire(algorithm).and_then(|algorithm| DeviceKey::new(algorithm, spki).ok())
}
