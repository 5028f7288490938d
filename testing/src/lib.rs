//! A server in memory, for the tests of whoever builds on the npm package: the same core as a real one, without sockets, files
//! and clocks of its own.
//!
//! ```text
//! web/npm/testing.js ──accept, receive, lost──► Server ─► duologue::Connection, duologue::Line
//!   a WebSocket class ◄──transmit, is_done────   │
//!   services          ◄──poll: what is new────   └─► Session: the commands that channel.js and stream.js give a line
//! ```
//!
//! `server.rs` has the way in, `person.rs` what somebody shows of himself, `seat.rs` what that makes of a session, `sessions.rs` what devices have here, `session.rs` the commands. JavaScript has the clock and
//! the queue of tasks: each call is told the time, and [`Server::new`] is given what to call when something is due.

mod person;
mod seat;
mod server;
mod session;
mod sessions;

pub use server::Server;
pub use session::Session;

use duologue::Instant;
use wasm_bindgen::JsValue;

/// Milliseconds of `performance.now()`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "microseconds of a test's life fit 2^53")]
fn instant(millis: f64) -> Instant {
    Instant::from_micros((millis * 1_000.0) as u64)
}

/// An `Error` with a `code`, as those of the page's module.
fn error(code: &str, message: &str) -> JsValue {
    let error = js_sys::Error::new(message);
    // Setting a property of a fresh object cannot fail.
    let _ = js_sys::Reflect::set(&error, &"code".into(), &code.into());
    error.into()
}

/// Random bytes of the platform.
fn random<const N: usize>() -> Result<[u8; N], JsValue> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| error("no-randomness", "The platform gives no random bytes."))?;
    Ok(bytes)
}
