//! The tokio driver: it runs a [`duologue::Connection`] over any socket of messages, and gives the application handles.
//!
//! ```text
//! Line, Channel ──commands──► Mutex<Connection> ◄──messages── driver ◄──► socket (axum, tokio-tungstenite)
//!               ◄──wakes──────                 ──records──►
//! ```
//!
//! The native client and the server share it; the browser has its own (`web/src/driver.rs`), with the same function names.
//! It never looks inside a record, and knows neither HTTP nor TLS.

mod channel;
mod driver;
mod line;

pub use channel::{Channel, Sent};
pub use driver::{Endpoint, Incoming, Socket, drive, randomness};
pub use line::{Line, LineError};
