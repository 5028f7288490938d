//! One session's commands, with the names and the meaning that those of the page's module have (`web/src/surface.rs`), so that
//! the same scripts make channels and streams of them.

use std::{cell::RefCell, fmt, rc::Rc, time::Duration};

use duologue::{Channel, ChannelError, ChannelId, Delivery, Kind, Priority, Received, ResetCode};
use js_sys::{Array, Uint8Array};
use wasm_bindgen::prelude::*;

use crate::{error, instant, server::Inner};

/// The commands of one session. One that is gone refuses them as closed.
#[wasm_bindgen]
pub struct Session {
    server: Rc<RefCell<Inner>>,
    no: u32,
}

impl Session {
    pub(crate) const fn new(server: Rc<RefCell<Inner>>, no: u32) -> Self {
        Self { server, no }
    }

    fn channel<T>(&self, id: u32, gone: T, work: impl FnOnce(Channel<'_>) -> T) -> T {
        let inner = &mut *self.server.borrow_mut();
        let done = match inner.sessions.get(self.no) {
            Some(held) => work(held.line.channel(ChannelId(id))),
            None => gone,
        };
        inner.wake();
        done
    }
}

#[wasm_bindgen]
impl Session {
    /// Opens a channel to the client and returns its id: of messages or bytes, of a step of priority, a tail or none.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub fn open(&self, label: &str, is_stream: bool, step: u8, tail: Option<u32>) -> Result<u32, JsValue> {
        let kind = Kind { stream: is_stream, priority: Priority::from_step(step).unwrap_or_default(), tail };
        let inner = &mut *self.server.borrow_mut();
        let held = inner.sessions.get(self.no).ok_or_else(|| channel_error(ChannelError::Closed))?;
        let id = held.line.open(label, kind).map_err(channel_error)?;
        inner.wake();
        Ok(id.0)
    }

    /// How many messages, or bytes of a stream, the client has left out before what was received last.
    #[expect(clippy::cast_precision_loss, reason = "that much is never sent")]
    #[must_use]
    pub fn missed(&self, id: u32) -> f64 {
        self.channel(id, 0, |channel| channel.missed()) as f64
    }

    /// Throws away what was sent and has not begun to leave.
    pub fn discard(&self, id: u32) {
        self.channel(id, 0, |mut channel| channel.discard());
    }

    /// Queues a message. False if there is no room.
    ///
    /// # Errors
    /// Why it cannot be sent.
    pub fn send(&self, id: u32, message: Vec<u8>) -> Result<bool, JsValue> {
        let sent = self.channel(id, Err(ChannelError::Closed), |mut channel| match channel.send(message) {
            Ok(_) => Ok(true),
            Err((ChannelError::Blocked, _)) => Ok(false),
            Err((cause, _)) => Err(cause),
        });
        sent.map_err(channel_error)
    }

    /// Queues messages that lie one after the other in `bytes`, each up to its number in `ends`, and returns for how many there
    /// was room.
    ///
    /// # Errors
    /// Why the first cannot be sent.
    #[wasm_bindgen(js_name = sendAll)]
    pub fn send_all(&self, id: u32, bytes: &[u8], ends: &[u32]) -> Result<u32, JsValue> {
        let (mut sent, mut start) = (0, 0);
        for end in ends.iter().map(|&end| end as usize) {
            match self.send(id, bytes.get(start..end).unwrap_or_default().to_vec()) {
                Ok(true) => (sent, start) = (sent + 1, end),
                Ok(false) => break,
                Err(cause) if sent == 0 => return Err(cause),
                Err(_) => break,
            }
        }
        Ok(sent)
    }

    /// Queues bytes of a stream and returns how many there was room for.
    ///
    /// # Errors
    /// Why nothing can be sent any more.
    pub fn write(&self, id: u32, bytes: &[u8]) -> Result<usize, JsValue> {
        match self.channel(id, Err(ChannelError::Closed), |mut channel| channel.write(bytes)) {
            Err(ChannelError::Blocked) => Ok(0),
            written => written.map_err(channel_error),
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an ordinal that `send` has given")]
    /// What is known of a message: 0 pending, 1 taken, 2 not sent, 3 unknown.
    #[must_use]
    pub fn delivery(&self, id: u32, ordinal: f64) -> u8 {
        match self.channel(id, Delivery::Unknown, |channel| channel.delivery(ordinal as u64)) {
            Delivery::Pending => 0,
            Delivery::Taken => 1,
            Delivery::NotSent => 2,
            Delivery::Unknown => 3,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "that much is never sent")]
    /// How many messages, or bytes of a stream, the client has taken.
    #[must_use]
    pub fn taken(&self, id: u32) -> f64 {
        self.channel(id, 0, |channel| channel.taken()) as f64
    }

    /// True if the client has taken everything that was sent.
    #[wasm_bindgen(js_name = allTaken)]
    #[must_use]
    pub fn all_taken(&self, id: u32) -> bool {
        self.channel(id, false, |channel| channel.all_taken())
    }

    /// Why the channel has ended before its time, as an error; undefined if it has not.
    #[must_use]
    pub fn broken(&self, id: u32) -> JsValue {
        let broken = self.channel(id, Some(ChannelError::Closed), |channel| channel.broken());
        broken.map_or(JsValue::UNDEFINED, channel_error)
    }

    /// The next message, or bytes of a stream; undefined if there is none yet, null at the channel's end.
    ///
    /// # Errors
    /// Why no more will come.
    pub fn recv(&self, id: u32) -> Result<JsValue, JsValue> {
        received(self.channel(id, Err(ChannelError::Closed), |mut channel| channel.recv()))
    }

    /// As `recv`, one at a time; that it was taken, `take` tells the client.
    ///
    /// # Errors
    /// Why no more will come.
    #[wasm_bindgen(js_name = recvAll)]
    pub fn recv_all(&self, id: u32) -> Result<JsValue, JsValue> {
        received(self.channel(id, Err(ChannelError::Closed), |mut channel| channel.recv_ahead()))
    }

    /// The service has taken so many of what `recvAll` has handed over, the oldest first.
    pub fn take(&self, id: u32, count: u32) {
        self.channel(id, (), |mut channel| (0..count).for_each(|_| channel.take()));
    }

    /// Sends a datagram, unless so many milliseconds pass first, or a newer one of the same key comes.
    ///
    /// # Errors
    /// If it is too long, or the channel has ended.
    #[wasm_bindgen(js_name = sendDatagram)]
    pub fn send_datagram(
        &self,
        id: u32,
        bytes: Vec<u8>,
        ttl_millis: u32,
        key: Option<u32>,
        now: f64,
    ) -> Result<(), JsValue> {
        let ttl = Duration::from_millis(u64::from(ttl_millis));
        self.channel(id, Err(ChannelError::Closed), |mut channel| channel.send_datagram(instant(now), bytes, ttl, key))
            .map_err(channel_error)
    }

    /// The next datagram that has arrived.
    #[wasm_bindgen(js_name = recvDatagram)]
    #[must_use]
    pub fn recv_datagram(&self, id: u32) -> Option<Vec<u8>> {
        self.channel(id, None, |mut channel| channel.recv_datagram())
    }

    #[expect(clippy::cast_precision_loss, reason = "that many are never sent")]
    /// What became of the channel's datagrams: sent, expired, replaced, overflowed, received, unread.
    #[wasm_bindgen(js_name = datagramStats)]
    #[must_use]
    pub fn datagram_stats(&self, id: u32, now: f64) -> Array {
        let stats =
            self.channel(id, None, |mut channel| Some(channel.datagram_stats(instant(now)))).unwrap_or_default();
        let counts = [stats.sent, stats.expired, stats.replaced, stats.overflowed, stats.received, stats.unread];
        counts.into_iter().map(|count| JsValue::from(count as f64)).collect()
    }

    /// Nothing more will be sent on the channel.
    pub fn finish(&self, id: u32) {
        self.channel(id, (), |mut channel| channel.finish());
    }

    /// Ends both directions, by the number of a reset code.
    pub fn reset(&self, id: u32, code: u16) {
        self.channel(id, (), |mut channel| channel.reset(ResetCode::from_wire(code)));
    }

    /// JavaScript has let go of the channel.
    #[expect(clippy::redundant_closure_for_method_calls, reason = "the method is of one lifetime only")]
    #[wasm_bindgen(js_name = release)]
    pub fn release_channel(&self, id: u32) {
        self.channel(id, (), |channel| channel.release());
    }
}

fn received(received: Result<Received, ChannelError>) -> Result<JsValue, JsValue> {
    match received {
        Ok(Received::Message(message)) => Ok(Uint8Array::from(message.as_slice()).into()),
        Ok(Received::Pending) => Ok(JsValue::UNDEFINED),
        Ok(Received::End) => Ok(JsValue::NULL),
        Err(cause) => Err(channel_error(cause)),
    }
}

fn channel_error(cause: ChannelError) -> JsValue {
    error(cause.word(), &cause.to_string())
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("no", &self.no).finish_non_exhaustive()
    }
}
