//! The tokio driver: it runs a [`duologue::Line`] over any sockets of messages, and gives the application handles.
//!
//! ```text
//! Line, Channel, ByteStream ──commands──► Mutex<Line> ◄──messages── driver ◄──► sockets (axum, tokio-tungstenite)
//!                           ◄──wakes──────            ──records──►
//! ```
//!
//! The native client and the server share it; the browser has its own (`web/src/driver.rs`), with the same function names.
//! It never looks inside a record, and knows neither HTTP nor TLS.

mod channel;
mod driver;
mod kept;
mod line;
mod open;
pub mod path;
mod shared;
mod stream;

pub use bytes;
pub use channel::{Channel, Pace, Paced, Sent, WeakChannel};
pub use driver::{
    Doorkeeper, Endpoint, Entrance, Found, Incoming, Proved, Socket, carry, keep, part, randomness, shake_hands,
};
pub use duologue;
pub use kept::Recorder;
pub use line::Line;
pub use shared::{LineError, Moved};
pub use stream::ByteStream;
