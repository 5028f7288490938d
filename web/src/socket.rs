//! One `WebSocket` of a line: its callbacks, and its end.

use alloc::{rc::Rc, string::String};
use core::cell::{Cell, RefCell};

use duologue::ConnectionNo;
use wasm_bindgen::{JsCast, prelude::*};
use web_sys::{BinaryType, CloseEvent, MessageEvent, WebSocket};

use crate::{
    driver::{Driver, outlive},
    surface::LineOptions,
};

/// The code of an end without a close frame, such as that of a socket that never opened (RFC 6455, 7.1.5).
const NO_CLOSE_FRAME: u16 = 1006;

pub(crate) struct Socket {
    pub(crate) no: ConnectionNo,
    pub(crate) web: WebSocket,
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
                driver.handle_lost(no, opened.get() || event.code() != NO_CLOSE_FRAME);
            }
        });
        web.set_onopen(Some(open.as_ref().unchecked_ref()));
        web.set_onmessage(Some(message.as_ref().unchecked_ref()));
        // `error` is always followed by `close`.
        web.set_onclose(Some(close.as_ref().unchecked_ref()));
        let callbacks = RefCell::new(Some(Callbacks { _open: open, _message: message, _close: close }));
        Ok(Rc::new(Self { no, web, callbacks }))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.web.set_onopen(None);
        self.web.set_onmessage(None);
        self.web.set_onclose(None);
        outlive(self.callbacks.take());
        let _ = self.web.close();
    }
}
