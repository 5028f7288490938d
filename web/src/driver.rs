//! The run loop of `duologue::Line` over a browser's `WebSocket`s.
//!
//! ```text
//! onmessage ─► 1 handle_message ─► 2 tell JavaScript, dial ─► the next task ─► 3 poll_transmit ─► send
//! command   ─► a microtask ─► 3          setTimeout ─► 4 handle_timeout
//! ```
//!
//! A hundred commands in one tick make one microtask, and so as few records as fit. What is commanded after that in the same
//! task, such as the answers to all that one record brought, leaves in the next task; so does what is only acknowledged.
//! JavaScript is called only while the line is not borrowed, so that it may call back at once. `socket.rs` has the sockets
//! themselves.

use alloc::{
    boxed::Box,
    collections::VecDeque,
    rc::Rc,
    string::{String, ToString},
    vec::Vec,
};
use core::{
    cell::{Cell, RefCell},
    fmt,
};

use duologue::{
    ChannelId, CloseCode, ConnectionError, ConnectionNo, Instant, Line, LineEvent, LineState, Outcome, Randomness,
    Session, crypto::RANDOMNESS_LEN,
};
use wasm_bindgen::{JsCast, prelude::*};
use web_sys::WebSocket;

use crate::{
    socket::{LeftBehind, Socket},
    surface::{LineOptions, format_ticket},
};

/// How soon a full socket is looked at again: a `WebSocket` has no event for it.
pub(crate) const DRAIN_MILLIS: i32 = 4;
/// How soon a dial that waits for sockets to end looks again.
const LATE_DIAL_MILLIS: i32 = 250;
/// How long callbacks outlive their owner: longer than any that the browser has queued.
const CALLBACKS_MILLIS: i32 = 1_000;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn performance_now() -> f64;
    #[wasm_bindgen(js_name = queueMicrotask)]
    fn queue_microtask(callback: &js_sys::Function);
    #[wasm_bindgen(js_name = setTimeout)]
    pub(crate) fn set_timeout(callback: &js_sys::Function, millis: i32) -> JsValue;
    #[wasm_bindgen(js_name = clearTimeout)]
    fn clear_timeout(handle: &JsValue);

    /// The way to the next task: `setTimeout` may take 4 ms.
    type MessageChannel;
    #[wasm_bindgen(constructor)]
    fn new() -> MessageChannel;
    #[wasm_bindgen(method, getter)]
    fn port1(this: &MessageChannel) -> MessagePort;
    #[wasm_bindgen(method, getter)]
    fn port2(this: &MessageChannel) -> MessagePort;
    type MessagePort;
    #[wasm_bindgen(method, setter)]
    fn set_onmessage(this: &MessagePort, callback: &js_sys::Function);
    #[wasm_bindgen(method, js_name = postMessage)]
    fn post_message(this: &MessagePort, message: &JsValue);
    #[wasm_bindgen(method)]
    fn close(this: &MessagePort);
}

pub(crate) struct Driver {
    line: RefCell<Line>,
    url: String,
    pub(crate) options: LineOptions,
    /// As many as connections live: one, or two while one takes over from the other.
    sockets: RefCell<Vec<Rc<Socket>>>,
    /// Those that were closed here, and of whose end the browser has not told yet.
    left_behind: Rc<LeftBehind>,
    /// A session that has ended, while JavaScript settles what belonged to it.
    ended: RefCell<Option<Box<Session>>>,
    /// A microtask will flush.
    flush_is_due: Cell<bool>,
    /// A microtask of this task has flushed.
    flushed: Cell<bool>,
    /// The next task will flush.
    next_task_is_due: Cell<bool>,
    /// A timer will, when the full socket may have room again.
    drain_is_due: Cell<bool>,
    timer: RefCell<Option<(Instant, JsValue)>>,
    events: RefCell<VecDeque<LineEvent>>,
    delivering: Cell<bool>,
    /// The page was left: nothing is sent any more, and nobody is dialled.
    #[cfg(feature = "snapshots")]
    is_left: Cell<bool>,
    callbacks: RefCell<Option<Callbacks>>,
}

/// Kept as long as the driver: the browser calls them.
struct Callbacks {
    flush: Closure<dyn FnMut()>,
    timeout: Closure<dyn FnMut()>,
    /// Called by its port, and by nobody here.
    _next_task: Closure<dyn FnMut()>,
    drain: Closure<dyn FnMut()>,
    late_dial: Closure<dyn FnMut()>,
    /// Where `next_task` is asked for, and where it comes from.
    ports: (MessagePort, MessagePort),
}

impl Driver {
    pub(crate) fn start(line: Line, url: String, options: LineOptions) -> Rc<Self> {
        let driver = Rc::new(Self {
            line: RefCell::new(line),
            url,
            options,
            sockets: RefCell::new(Vec::new()),
            left_behind: Rc::default(),
            ended: RefCell::new(None),
            flush_is_due: Cell::new(false),
            flushed: Cell::new(false),
            next_task_is_due: Cell::new(false),
            drain_is_due: Cell::new(false),
            timer: RefCell::new(None),
            events: RefCell::new(VecDeque::new()),
            delivering: Cell::new(false),
            #[cfg(feature = "snapshots")]
            is_left: Cell::new(false),
            callbacks: RefCell::new(None),
        });
        // The browser holds the callbacks and the driver's owner the driver: weak, or neither would ever go.
        let flush = driver.callback(|driver| {
            driver.flushed.set(true);
            driver.turn();
        });
        let next_task = driver.callback(|driver| {
            driver.next_task_is_due.set(false);
            driver.flushed.set(false);
            driver.turn();
        });
        let drain = driver.callback(|driver| {
            driver.drain_is_due.set(false);
            driver.flushed.set(false);
            driver.turn();
        });
        let timeout = driver.callback(Self::handle_timeout);
        let late_dial = driver.callback(|driver| {
            driver.dial();
            driver.turn();
        });
        let channel = MessageChannel::new();
        let ports = (channel.port1(), channel.port2());
        ports.1.set_onmessage(next_task.as_ref().unchecked_ref());
        *driver.callbacks.borrow_mut() =
            Some(Callbacks { flush, timeout, _next_task: next_task, drain, late_dial, ports });
        // Not at once: whoever starts it holds no handle yet.
        driver.command(|_, _| ());
        driver
    }

    fn callback(self: &Rc<Self>, work: fn(&Rc<Self>)) -> Closure<dyn FnMut()> {
        let weak = Rc::downgrade(self);
        Closure::new(move || {
            if let Some(driver) = weak.upgrade() {
                work(&driver);
            }
        })
    }

    /// Commands the line. What comes of it leaves in a microtask, with whatever else this tick brings.
    pub(crate) fn command<T>(&self, work: impl FnOnce(&mut Line, Instant) -> T) -> T {
        let result = work(&mut self.line.borrow_mut(), now());
        self.commanded(true);
        result
    }

    /// The device has woken, or its page is shown again. A line that waits dials sooner by that, so that its timer is looked at though
    /// nothing leaves.
    pub(crate) fn wake(&self) {
        #[cfg(feature = "snapshots")]
        self.is_left.set(false);
        self.line.borrow_mut().wake(now());
        self.schedule_flush(true);
    }

    /// Commands a channel: of the session that has just ended, while JavaScript settles it, else of the current one.
    pub(crate) fn channel<T>(&self, id: u32, work: impl FnOnce(duologue::Channel<'_>) -> T) -> T {
        let result = self.ask(id, work);
        self.commanded(true);
        result
    }

    /// The same for what is only acknowledged: that waits for whatever this task still brings.
    pub(crate) fn read<T>(&self, id: u32, work: impl FnOnce(duologue::Channel<'_>) -> T) -> T {
        let result = self.ask(id, work);
        self.commanded(false);
        result
    }

    /// The same where nothing comes of it.
    pub(crate) fn ask<T>(&self, id: u32, work: impl FnOnce(duologue::Channel<'_>) -> T) -> T {
        let (mut ended, mut line) = (self.ended.borrow_mut(), self.line.borrow_mut());
        // A channel of which nothing had left is not there any more, but in the session that follows.
        work(match ended.as_deref_mut().filter(|session| session.has_channel(ChannelId(id))) {
            Some(session) => session.channel(ChannelId(id)),
            None => line.channel(ChannelId(id)),
        })
    }

    /// Apart from its callers, which are generic: they are compiled once for each command.
    fn commanded(&self, urgent: bool) {
        let waits = !urgent || self.flushed.get();
        if self.flush_is_due.get() || (waits && self.next_task_is_due.get()) {
            return; // it will look
        }
        let due = {
            let mut line = self.line.borrow_mut();
            self.collect_events(&mut line);
            self.wants_transmit(&line)
        };
        if due || !self.events.borrow().is_empty() {
            self.schedule_flush(urgent);
        }
    }

    fn wants_transmit(&self, line: &Line) -> bool {
        self.sockets.borrow().iter().any(|socket| line.wants_transmit(socket.no))
    }

    fn schedule_flush(&self, urgent: bool) {
        if self.flush_is_due.get() {
            return;
        }
        if urgent && !self.flushed.get() {
            self.flush_is_due.set(true);
            self.with_callbacks(|callbacks| queue_microtask(callbacks.flush.as_ref().unchecked_ref()));
        } else if !self.next_task_is_due.replace(true) {
            self.with_callbacks(|callbacks| callbacks.ports.0.post_message(&JsValue::UNDEFINED));
        }
    }

    /// JavaScript has let go of a channel.
    pub(crate) fn release(&self, id: u32) {
        if self.ended.borrow().is_none() {
            self.command(|line, _| line.channel(ChannelId(id)).release());
        }
    }

    /// JavaScript has let go: ends the line, if it has not ended, and sends the last record at once. That of a line which has
    /// ended may still wait for its task, while a message that came before it has told the end.
    pub(crate) fn end(self: &Rc<Self>) {
        if self.line.borrow().closed().is_none() {
            self.command(|line, now| line.close(now, CloseCode::Normal, ""));
        }
        self.turn();
    }

    pub(crate) fn handle_open(self: &Rc<Self>, no: ConnectionNo, selected: &str) {
        self.options.on_note("upgrade", no.0, selected, 0.0);
        self.line.borrow_mut().handle_upgrade(now(), no, selected);
        self.turn();
    }

    pub(crate) fn handle_message(self: &Rc<Self>, no: ConnectionNo, data: JsValue) {
        match data.dyn_into::<js_sys::ArrayBuffer>() {
            Ok(buffer) => {
                let mut bytes = js_sys::Uint8Array::new(&buffer).to_vec();
                if self.options.observed() {
                    self.options.on_record(false, &bytes);
                }
                // An error ends the connection, and the line tells what comes of it.
                let _ = self.line.borrow_mut().handle_message(now(), no, &mut bytes);
            }
            Err(_) => self.line.borrow_mut().handle_text(now(), no),
        }
        // A task of its own. Whoever is told may answer in it; what then is left leaves in the next one.
        self.flushed.set(false);
        self.collect_events(&mut self.line.borrow_mut());
        self.deliver_events();
        self.set_timer();
        if self.wants_transmit(&self.line.borrow()) {
            self.schedule_flush(false);
        }
        self.drop_sockets_that_are_done();
    }

    pub(crate) fn handle_lost(self: &Rc<Self>, no: ConnectionNo, opened: bool) {
        self.sockets.borrow_mut().retain(|socket| socket.no != no);
        let mut line = self.line.borrow_mut();
        if opened {
            line.handle_lost(now(), no);
        } else {
            // The browser does not tell pages why: refused, no such host, or a certificate that it does not trust.
            line.handle_unreachable(now(), no);
        }
        drop(line);
        self.turn();
    }

    fn handle_timeout(self: &Rc<Self>) {
        self.flushed.set(false);
        self.timer.borrow_mut().take();
        self.line.borrow_mut().handle_timeout(now());
        self.turn();
    }

    /// Steps 2 to 4, after any input.
    pub(crate) fn turn(self: &Rc<Self>) {
        self.flush_is_due.set(false);
        self.collect_events(&mut self.line.borrow_mut());
        self.deliver_events();
        self.transmit();
        self.set_timer();
    }

    fn collect_events(&self, line: &mut Line) {
        let mut events = self.events.borrow_mut();
        while let Some(event) = line.poll_event() {
            events.push_back(event);
        }
    }

    /// Tells JavaScript, which may give commands meanwhile; their events wait for their turn here.
    fn deliver_events(self: &Rc<Self>) {
        if self.delivering.replace(true) {
            return;
        }
        loop {
            let Some(event) = self.events.borrow_mut().pop_front() else { break };
            match event {
                LineEvent::DialWanted => self.dial(),
                LineEvent::SignatureWanted(no, message) => {
                    self.options.on_note("answer", no.0, "", 0.0);
                    self.options.on_sign(no.0, message);
                }
                LineEvent::Opened(grant) => {
                    self.left_behind.forgive();
                    let outcome = match grant.outcome {
                        Outcome::New => "new",
                        Outcome::Resumed { .. } => "resumed",
                        Outcome::Fresh(reason) => reason.word(),
                    };
                    self.options.on_note("open", 0, outcome, 0.0);
                    self.options.on_opened(&format_ticket(&grant.ticket), grant.services.as_bytes());
                }
                LineEvent::ConnectionFailed { no, error, wait } => {
                    self.options.on_note("fail", no.0, error.word(), wait.as_millis() as f64);
                }
                LineEvent::Altered(altered) => self.options.on_altered(altered.count),
                LineEvent::SessionEnded(reason, session) => {
                    *self.ended.borrow_mut() = Some(session);
                    self.options.on_fresh(reason.word(), reason.sentence());
                    self.ended.borrow_mut().take();
                }
                // `on_closed` tells it, with the cause.
                LineEvent::StateChanged(LineState::Closed) => {}
                LineEvent::StateChanged(state) => self.options.on_state(state.word()),
                LineEvent::ChannelOpened(id) => {
                    let (label, is_stream) = {
                        let mut line = self.line.borrow_mut();
                        let channel = line.channel(id);
                        (channel.label(), channel.is_stream())
                    };
                    self.options.on_channel(id.0, &label, is_stream);
                }
                // After the end, `on_closed` settles every channel, with the cause.
                LineEvent::ChannelChanged(_) if self.line.borrow().closed().is_some() => {}
                LineEvent::ChannelChanged(id) => self.options.on_changed(id.0),
                LineEvent::Closed(cause) => {
                    let by_peer = matches!(cause, ConnectionError::PeerClosed(_));
                    let reason = match &cause {
                        ConnectionError::PeerClosed(close) => close.to_string(),
                        ConnectionError::LocallyClosed(code) => code.to_string(),
                        other => other.to_string(),
                    };
                    self.options.on_closed(cause.word(), &reason, by_peer);
                }
                LineEvent::Standing(told) => self.options.on_standing(told.as_bytes()),
                #[allow(unreachable_patterns, reason = "the page's module has no other")]
                // What a server alone hears of, which is there where tests have both halves.
                _ => {}
            }
        }
        self.delivering.set(false);
    }

    fn dial(self: &Rc<Self>) {
        // The one before is closed before the next is opened.
        self.drop_sockets_that_are_done();
        if self.is_left() || self.left_behind.is_full() {
            self.with_callbacks(|callbacks| {
                set_timeout(callbacks.late_dial.as_ref().unchecked_ref(), LATE_DIAL_MILLIS);
            });
            return;
        }
        let mut bytes = [0; RANDOMNESS_LEN];
        getrandom::fill(&mut bytes).expect("`Line::new` has seen that the browser gives random bytes");
        // An error ends the line, which tells it.
        let Ok(dialled) = self.line.borrow_mut().dial(now(), Randomness::new(bytes)) else { return };
        let form = if dialled.offer.len() > 1 { "m1-in-request" } else { "m1-as-message" };
        self.options.on_note("dial", dialled.no.0, form, 0.0);
        match Socket::open(self, dialled.no, &self.options, &self.url, &dialled.offer, &self.left_behind) {
            Ok(socket) => self.sockets.borrow_mut().push(socket),
            Err(_) => self.line.borrow_mut().handle_unreachable(now(), dialled.no),
        }
        self.collect_events(&mut self.line.borrow_mut());
    }

    fn transmit(self: &Rc<Self>) {
        let sockets = self.sockets.borrow().clone();
        for socket in &sockets {
            self.transmit_on(socket);
        }
        // Filling records makes room in queues, and channels change by it.
        self.collect_events(&mut self.line.borrow_mut());
        self.deliver_events();
        self.drop_sockets_that_are_done();
    }

    /// A socket that is done hangs up; that the browser then takes its time concerns nobody any more.
    fn drop_sockets_that_are_done(&self) {
        let line = self.line.borrow();
        self.sockets.borrow_mut().retain(|socket| !line.is_done(socket.no));
    }

    fn transmit_on(&self, socket: &Socket) {
        if socket.web.ready_state() != WebSocket::OPEN || self.is_left() {
            return;
        }
        let mut record = Vec::new();
        loop {
            if socket.web.buffered_amount() > socket.unsent_max() {
                if !self.drain_is_due.replace(true) {
                    self.with_callbacks(|callbacks| socket.when_room(callbacks.drain.as_ref().unchecked_ref()));
                }
                return;
            }
            record.clear();
            if !self.line.borrow_mut().poll_transmit(now(), socket.no, &mut record) {
                return;
            }
            if self.options.observed() {
                self.options.on_record(true, &record);
            }
            // It fails only when the socket is closing, which `handle_lost` learns.
            let _ = socket.web.send_with_u8_array(&record);
        }
    }

    /// The page is left, and has a snapshot: nothing may leave or come behind that. Where its sockets do not stay open, the server takes
    /// its connections for lost.
    #[cfg(feature = "snapshots")]
    pub(crate) fn leave(&self, stays_open: bool) {
        self.is_left.set(true);
        if stays_open {
            return;
        }
        for socket in self.sockets.take() {
            self.line.borrow_mut().handle_lost(now(), socket.no);
        }
    }

    #[cfg(feature = "snapshots")]
    fn is_left(&self) -> bool {
        self.is_left.get()
    }

    /// Without snapshots a page that is left goes on as long as the browser lets it.
    #[cfg(not(feature = "snapshots"))]
    #[expect(clippy::unused_self, reason = "the same with them")]
    const fn is_left(&self) -> bool {
        false
    }

    fn set_timer(&self) {
        let deadline = self.line.borrow().poll_timeout().filter(|_| !self.is_left());
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

    fn with_callbacks(&self, work: impl FnOnce(&Callbacks)) {
        if let Some(callbacks) = self.callbacks.borrow().as_ref() {
            work(callbacks);
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(callbacks) = self.callbacks.take() {
            callbacks.ports.1.close();
            outlive(callbacks);
        }
        if let Some((_, handle)) = self.timer.borrow_mut().take() {
            clear_timeout(&handle);
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Driver").field(&self.line).finish()
    }
}

/// The browser may have queued a callback already, and complains of one that is gone: they outlive their owner a little, and
/// find nothing to do.
pub(crate) fn outlive(callbacks: impl Sized + 'static) {
    set_timeout(Closure::once_into_js(move || drop(callbacks)).unchecked_ref(), CALLBACKS_MILLIS);
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "microseconds of a page's life fit 2^53")]
pub(crate) fn now() -> Instant {
    Instant::from_micros((performance_now() * 1_000.0) as u64)
}
