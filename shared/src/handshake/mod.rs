//! The messages of the handshake, and the way in which a browser carries the first of them.
//!
//! ```text
//! hello.rs    M1 C→S and M2 S→C: clear header, Noise, padded payload
//! auth.rs     record 0 each way: AUTH, AUTH_OK or CLOSE, all of one length
//! evidence.rs what follows AUTH, and comes later as a frame: evidence; and what the server tells of standing
//! renewal.rs  a device's next key, and what that signs
//! succession.rs   which of a server's keys is the newest, as its owner has signed it
//! upgrade.rs  M1 inside the WebSocket's upgrade request
//! ```
//!
//! Who awaits which message when is `connection/`'s business.

pub(crate) mod auth;
pub(crate) mod evidence;
pub(crate) mod hello;
#[cfg(feature = "server")]
mod renewal;
#[cfg(feature = "server")]
pub(crate) mod succession;
pub mod upgrade;
