//! One `WebSocket` of a line: its callbacks, and its end.

use alloc::{rc::Rc, string::String, vec::Vec};
use core::{
    cell::{Cell, RefCell},
    time::Duration,
};

use duologue::{ConnectionNo, Instant};
use wasm_bindgen::{JsCast, prelude::*};
use web_sys::{BinaryType, CloseEvent, MessageEvent, WebSocket};

use crate::{
    driver::{DRAIN_MILLIS, Driver, now, outlive, set_timeout},
    surface::LineOptions,
};

/// The code of an end without a close frame, such as that of a socket that never opened (RFC 6455, 7.1.5).
const NO_CLOSE_FRAME: u16 = 1006;

/// Bytes that the browser may hold unsent. What keeps urgent messages from being late is the path's own bound; with less than this the
/// page waits for its timer.
const UNSENT_MAX: u32 = 512 * 1_024;
/// The same where it tells when there is room.
const UNSENT_TOLD_MAX: u32 = 256 * 1_024;

/// How many closed sockets may be on their way out when the line dials.
const LEFT_BEHIND_MAX: usize = 2;
/// For how long they count at first, and at most. Browsers take 5 to 60 s to tell of the end of a socket whose peer is gone, and
/// some never do.
const HOLD_FIRST: Duration = Duration::from_secs(1);
const HOLD_MAX: Duration = Duration::from_secs(60);

/// Sockets that were closed here while the browser still has them: those that it leaks count against a limit of its own. They
/// make a dial wait, each time twice as long until one comes through, so that they neither pile up nor hold a line back.
pub(crate) struct LeftBehind {
    sockets: RefCell<Vec<(WebSocket, Instant)>>,
    hold: Cell<Duration>,
    made_wait: Cell<bool>,
}

impl Default for LeftBehind {
    fn default() -> Self {
        Self { sockets: RefCell::default(), hold: Cell::new(HOLD_FIRST), made_wait: Cell::new(false) }
    }
}

impl LeftBehind {
    /// True if a dial is to wait for one of them.
    pub(crate) fn is_full(&self) -> bool {
        let mut sockets = self.sockets.borrow_mut();
        sockets.retain(|(web, since)| web.ready_state() != WebSocket::CLOSED && now() - *since < self.hold.get());
        let is_full = sockets.len() >= LEFT_BEHIND_MAX;
        if !is_full && self.made_wait.get() {
            self.hold.set((self.hold.get() * 2).min(HOLD_MAX));
        }
        self.made_wait.set(is_full);
        is_full
    }

    /// The line is open.
    pub(crate) fn forgive(&self) {
        self.hold.set(HOLD_FIRST);
    }
}

pub(crate) struct Socket {
    pub(crate) no: ConnectionNo,
    pub(crate) web: WebSocket,
    /// It tells when it has room.
    tells: bool,
    left_behind: Rc<LeftBehind>,
    callbacks: RefCell<Option<Callbacks>>,
}

struct Callbacks {
    _open: Closure<dyn FnMut()>,
    _message: Closure<dyn FnMut(MessageEvent)>,
    _close: Closure<dyn FnMut(CloseEvent)>,
}

impl Socket {
    /// Starts to open a socket. What comes of it, the driver is told; the socket is dropped when the line needs it no longer.
    pub(crate) fn open(
        driver: &Rc<Driver>,
        no: ConnectionNo,
        options: &LineOptions,
        url: &str,
        offer: &[String],
        left_behind: &Rc<LeftBehind>,
    ) -> Result<Rc<Self>, JsValue> {
        let offer: js_sys::Array = offer.iter().map(|offer| JsValue::from_str(offer)).collect();
        let web = options.open_socket(url, &offer)?;
        web.set_binary_type(BinaryType::Arraybuffer);
        let opened = Rc::new(Cell::new(false));

        let (weak, of_socket, is_open) = (Rc::downgrade(driver), web.clone(), Rc::clone(&opened));
        let open = Closure::<dyn FnMut()>::new(move || {
            is_open.set(true);
            if let Some(driver) = weak.upgrade() {
                driver.handle_open(no, &of_socket.protocol());
            }
        });
        let weak = Rc::downgrade(driver);
        let message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
            if let Some(driver) = weak.upgrade() {
                driver.handle_message(no, event.data());
            }
        });
        let weak = Rc::downgrade(driver);
        let close = Closure::<dyn FnMut(CloseEvent)>::new(move |event: CloseEvent| {
            if let Some(driver) = weak.upgrade() {
                // Firefox can leave `open` out when the server closes right behind the 101; it tells that close all the same.
                // Deno says 0 for that of no close frame.
                driver.handle_lost(no, opened.get() || !matches!(event.code(), 0 | NO_CLOSE_FRAME));
            }
        });
        web.set_onopen(Some(open.as_ref().unchecked_ref()));
        web.set_onmessage(Some(message.as_ref().unchecked_ref()));
        // `error` is always followed by `close`.
        web.set_onclose(Some(close.as_ref().unchecked_ref()));
        let callbacks = RefCell::new(Some(Callbacks { _open: open, _message: message, _close: close }));
        let tells = cfg!(feature = "snapshots") && js_sys::Reflect::has(&web, &"whenRoom".into()).unwrap_or(false);
        Ok(Rc::new(Self { no, web, tells, left_behind: Rc::clone(left_behind), callbacks }))
    }
}

impl Socket {
    /// How many bytes it may hold unsent.
    pub(crate) const fn unsent_max(&self) -> u32 {
        if self.tells { UNSENT_TOLD_MAX } else { UNSENT_MAX }
    }

    /// Calls once it may have room again.
    pub(crate) fn when_room(&self, call: &js_sys::Function) {
        #[cfg(feature = "snapshots")]
        if self.tells {
            self.web.unchecked_ref::<Streamed>().when_room(call);
            return;
        }
        set_timeout(call, DRAIN_MILLIS);
    }
}

#[cfg(feature = "snapshots")]
#[wasm_bindgen]
extern "C" {
    /// One that tells when it has room (streamed.js).
    type Streamed;
    #[wasm_bindgen(method, js_name = whenRoom)]
    fn when_room(this: &Streamed, call: &js_sys::Function);
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.web.set_onopen(None);
        self.web.set_onmessage(None);
        self.web.set_onclose(None);
        outlive(self.callbacks.take());
        let _ = self.web.close();
        if self.web.ready_state() != WebSocket::CLOSED {
            self.left_behind.sockets.borrow_mut().push((self.web.clone(), now()));
        }
    }
}
