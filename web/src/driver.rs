//! The run loop of `duologue::Connection` over a browser's `WebSocket`.
//!
//! ```text
//! onmessage ─► 1 handle_message ─► 2 tell JavaScript ─► 3 poll_transmit ─► send
//! command   ─► a microtask ─► 3          setTimeout ─► 4 handle_timeout
//! ```
//!
//! A hundred commands in one tick make one microtask, and so as few records as fit. JavaScript is called only while the
//! connection is not borrowed, so that it may call back at once.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    rc::Rc,
};

use duologue::{Connection, ConnectionError, Event, Instant};
use wasm_bindgen::{JsCast, prelude::*};
use web_sys::{BinaryType, MessageEvent, WebSocket};

use crate::surface::{LineOptions, error, format_ticket};

/// Bytes that the browser may hold unsent. It cannot take them back, so that more would only make urgent messages late.
const BUFFERED_MAX: u32 = 256 * 1_024;
/// How soon a full socket is looked at again: browsers have no event for it.
const DRAIN_MILLIS: i32 = 4;
/// How long callbacks outlive their driver: longer than any that it has queued.
const CALLBACKS_MILLIS: i32 = 1_000;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn performance_now() -> f64;
    #[wasm_bindgen(js_name = queueMicrotask)]
    fn queue_microtask(callback: &js_sys::Function);
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &js_sys::Function, millis: i32) -> JsValue;
    #[wasm_bindgen(js_name = clearTimeout)]
    fn clear_timeout(handle: &JsValue);
}

pub(crate) struct Driver {
    connection: RefCell<Connection>,
    socket: WebSocket,
    options: LineOptions,
    /// The socket has opened at least once: its end is a loss, not a failure to reach the server.
    opened: Cell<bool>,
    flush_is_due: Cell<bool>,
    timer: RefCell<Option<(Instant, JsValue)>>,
    events: RefCell<VecDeque<Event>>,
    delivering: Cell<bool>,
    callbacks: RefCell<Option<Callbacks>>,
}

/// Kept as long as the driver: the browser calls them.
struct Callbacks {
    flush: Closure<dyn FnMut()>,
    timeout: Closure<dyn FnMut()>,
    _open: Closure<dyn FnMut()>,
    _message: Closure<dyn FnMut(MessageEvent)>,
    _close: Closure<dyn FnMut()>,
}

impl Driver {
    pub(crate) fn start(
        connect: impl FnOnce(Instant) -> Result<Connection, ConnectionError>,
        url: &str,
        options: LineOptions,
    ) -> Result<Rc<Self>, JsValue> {
        let connection = connect(now()).map_err(|cause| error(cause.word(), &cause.to_string()))?;
        let offer: js_sys::Array = connection.upgrade_offer().iter().map(|offer| JsValue::from_str(offer)).collect();
        let socket = WebSocket::new_with_str_sequence(url, &offer)?;
        socket.set_binary_type(BinaryType::Arraybuffer);
        let driver = Rc::new(Self {
            connection: RefCell::new(connection),
            socket,
            options,
            opened: Cell::new(false),
            flush_is_due: Cell::new(false),
            timer: RefCell::new(None),
            events: RefCell::new(VecDeque::new()),
            delivering: Cell::new(false),
            callbacks: RefCell::new(None),
        });
        driver.listen();
        driver.set_timer();
        Ok(driver)
    }

    /// Commands the connection. What comes of it leaves in a microtask, with whatever else this tick brings.
    pub(crate) fn command<T>(&self, work: impl FnOnce(&mut Connection, Instant) -> T) -> T {
        let (result, due) = {
            let mut connection = self.connection.borrow_mut();
            let result = work(&mut connection, now());
            self.collect_events(&mut connection);
            (result, connection.wants_transmit() || connection.is_closed())
        };
        if (due || !self.events.borrow().is_empty()) && !self.flush_is_due.replace(true) {
            self.with_callbacks(|callbacks| queue_microtask(callbacks.flush.as_ref().unchecked_ref()));
        }
        result
    }

    /// JavaScript has let go: ends the line, if it has not ended, and sends the last record at once.
    pub(crate) fn end(&self) {
        if !self.connection.borrow().is_closed() {
            self.command(|connection, now| connection.close(now, duologue::CloseCode::Normal, ""));
            self.turn();
        }
    }

    fn handle_open(&self) {
        self.opened.set(true);
        let selected = self.socket.protocol();
        // An error closes the connection, and `Event::Closed` tells it.
        let _ = self.connection.borrow_mut().handle_upgrade(now(), &selected);
        self.turn();
    }

    fn handle_message(&self, event: &MessageEvent) {
        match event.data().dyn_into::<js_sys::ArrayBuffer>() {
            Ok(buffer) => {
                let bytes = js_sys::Uint8Array::new(&buffer).to_vec();
                if self.options.observed() {
                    self.options.on_record(false, &bytes);
                }
                let _ = self.connection.borrow_mut().handle_message(now(), &bytes);
            }
            Err(_) => {
                let _ = self.connection.borrow_mut().handle_text(now());
            }
        }
        self.turn();
    }

    fn handle_lost(&self) {
        if self.opened.get() {
            self.connection.borrow_mut().handle_lost(now());
        } else if !self.connection.borrow().is_closed() {
            self.connection.borrow_mut().close(now(), duologue::CloseCode::Internal, "");
            // The browser does not tell pages why: refused, no such host, or a certificate that it does not trust.
            self.events.borrow_mut().clear();
            while self.connection.borrow_mut().poll_event().is_some() {}
            return self.options.on_closed("unreachable", "The server cannot be reached at this address.", false);
        }
        self.turn();
    }

    fn handle_timeout(&self) {
        self.timer.borrow_mut().take();
        self.connection.borrow_mut().handle_timeout(now());
        self.turn();
    }

    /// Steps 2 to 4, after any input.
    fn turn(&self) {
        self.flush_is_due.set(false);
        self.collect_events(&mut self.connection.borrow_mut());
        self.deliver_events();
        self.transmit();
        self.set_timer();
    }

    fn collect_events(&self, connection: &mut Connection) {
        let mut events = self.events.borrow_mut();
        while let Some(event) = connection.poll_event() {
            events.push_back(event);
        }
    }

    /// Tells JavaScript, which may give commands meanwhile; their events wait for their turn here.
    fn deliver_events(&self) {
        if self.delivering.replace(true) {
            return;
        }
        loop {
            let Some(event) = self.events.borrow_mut().pop_front() else { break };
            match event {
                Event::SignatureWanted(message) => self.options.on_sign(message),
                Event::Opened(grant) => self.options.on_opened(&format_ticket(&grant.ticket)),
                Event::ChannelOpened(id) => {
                    let label = self.connection.borrow_mut().channel(id).label();
                    self.options.on_channel(id.0, &label);
                }
                // After the end, `on_closed` settles every channel, with the cause.
                Event::ChannelChanged(_) if self.connection.borrow().is_closed() => {}
                Event::ChannelChanged(id) => self.options.on_changed(id.0),
                Event::Closed(cause) => {
                    let by_peer = matches!(cause, ConnectionError::PeerClosed(_));
                    let reason = match &cause {
                        ConnectionError::PeerClosed(close) => close.to_string(),
                        ConnectionError::LocallyClosed(code) => code.to_string(),
                        other => other.to_string(),
                    };
                    self.options.on_closed(cause.word(), &reason, by_peer);
                }
                // Questions of the server's side.
                Event::SecretWanted(_) | Event::AuthReceived(_) => {}
            }
        }
        self.delivering.set(false);
    }

    fn transmit(&self) {
        if self.socket.ready_state() != WebSocket::OPEN {
            return;
        }
        let mut record = Vec::new();
        loop {
            if self.socket.buffered_amount() > BUFFERED_MAX {
                self.flush_is_due.set(true);
                self.with_callbacks(|callbacks| {
                    set_timeout(callbacks.flush.as_ref().unchecked_ref(), DRAIN_MILLIS);
                });
                return;
            }
            record.clear();
            let sent = self.connection.borrow_mut().poll_transmit(now(), &mut record);
            if !sent {
                break;
            }
            if self.options.observed() {
                self.options.on_record(true, &record);
            }
            // It fails only when the socket is closing, which `handle_lost` learns.
            let _ = self.socket.send_with_u8_array(&record);
        }
        // Filling records makes room in queues, and channels change by it.
        self.collect_events(&mut self.connection.borrow_mut());
        self.deliver_events();
        if self.connection.borrow().is_closed() {
            let _ = self.socket.close();
        }
    }

    fn set_timer(&self) {
        let deadline = self.connection.borrow().poll_timeout();
        let mut timer = self.timer.borrow_mut();
        // A deadline moves on with every message: a timer that is early looks again, and costs nothing meanwhile.
        if timer.as_ref().is_some_and(|(armed, _)| deadline.is_some_and(|at| *armed <= at)) {
            return;
        }
        if let Some((_, handle)) = timer.take() {
            clear_timeout(&handle);
        }
        if let Some(at) = deadline {
            let millis = i32::try_from((at - now()).as_millis()).unwrap_or(i32::MAX).saturating_add(1);
            self.with_callbacks(|callbacks| {
                *timer = Some((at, set_timeout(callbacks.timeout.as_ref().unchecked_ref(), millis)));
            });
        }
    }

    fn listen(self: &Rc<Self>) {
        // The browser holds the callbacks and the driver's owner the driver: weak, or neither would ever go.
        macro_rules! callback {
            (|$driver:ident $(, $event:ident : $type:ty)?| $body:expr) => {{
                let weak = Rc::downgrade(self);
                Closure::<dyn FnMut($($type)?)>::new(move |$($event : $type)?| {
                    if let Some($driver) = weak.upgrade() {
                        $body;
                    }
                })
            }};
        }
        let open = callback!(|driver| driver.handle_open());
        let message = callback!(|driver, event: MessageEvent| driver.handle_message(&event));
        let close = callback!(|driver| driver.handle_lost());
        let flush = callback!(|driver| driver.turn());
        let timeout = callback!(|driver| driver.handle_timeout());
        self.socket.set_onopen(Some(open.as_ref().unchecked_ref()));
        self.socket.set_onmessage(Some(message.as_ref().unchecked_ref()));
        // `error` is always followed by `close`.
        self.socket.set_onclose(Some(close.as_ref().unchecked_ref()));
        let callbacks = Callbacks { flush, timeout, _open: open, _message: message, _close: close };
        *self.callbacks.borrow_mut() = Some(callbacks);
    }

    fn with_callbacks(&self, work: impl FnOnce(&Callbacks)) {
        if let Some(callbacks) = self.callbacks.borrow().as_ref() {
            work(callbacks);
        }
    }
}

impl Drop for Driver {
    /// The browser may have queued a callback already, and complains of one that is gone: they outlive the driver a little,
    /// and find nothing to do.
    fn drop(&mut self) {
        let callbacks = self.callbacks.take();
        set_timeout(Closure::once_into_js(move || drop(callbacks)).unchecked_ref(), CALLBACKS_MILLIS);
        self.socket.set_onopen(None);
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
        if let Some((_, handle)) = self.timer.borrow_mut().take() {
            clear_timeout(&handle);
        }
        let _ = self.socket.close();
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Driver").field(&self.connection).finish()
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "microseconds of a page's life fit 2^53")]
fn now() -> Instant {
    Instant::from_micros((performance_now() * 1_000.0) as u64)
}
