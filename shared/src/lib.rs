//! One private line between a web page and a server: the protocol core.
//!
//! This crate is sans-IO: no clock, no socket, no task, no randomness of its own. Time, random bytes and messages are
//! arguments; bytes to send and events come out. It compiles for native targets and wasm32 alike, and is `no_std` to show it.
//!
//! # Layout
//!
//! ```text
//! connection/  one WebSocket's life: handshake, records, close           the driver's surface
//! session.rs   channels and their turns        channel.rs  one channel's two halves
//! frame.rs     units inside a record           record.rs   padding
//! handshake/   M1, M2, AUTH, AUTH_OK           noise.rs    key agreement by snow
//! crypto/      adapters                        invite.rs   links
//! limits.rs    every bound                     close.rs, error.rs  why things end
//! typed.rs     serde messages
//! ```
//!
//! Byte layouts and state diagrams: `docs/PROTOCOL.md`. What it protects against: `docs/SECURITY.md`.
#![no_std]
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::panic, clippy::unreachable, clippy::get_unwrap, clippy::string_slice)
)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should"))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod channel;
mod close;
mod codec;
mod connection;
pub mod crypto;
mod error;
mod frame;
#[cfg(test)]
mod fuzz;
mod handshake;
mod ids;
mod invite;
pub mod limits;
pub mod noise;
mod record;
mod session;
mod time;
pub mod typed;

pub use channel::{Delivery, Received};
pub use close::{Close, CloseCode, ResetCode};
pub use connection::{
    AuthRequest, Channel, ClientConfig, Connection, Event, Offer, OfferedCredential, ServerConfig, ServerIdentity,
};
pub use crypto::{Randomness, Secret, SignatureAlgorithm};
pub use error::{ChannelError, ConnectionError, InvalidMessage, PeerMisbehaved};
pub use handshake::{
    auth::{Claims, DeviceKey, Grant, Ticket},
    hello::{Credential, Limits},
    upgrade,
};
pub use ids::{ChannelId, DeviceId, InvalidId, InviteId, ServerKey, ServerKeyId, SessionId, TicketId};
pub use invite::{InvalidInvite, Invite};
pub use session::Role;
pub use time::Instant;
