//! One private line between a web page and a server: the protocol core.
//!
//! This crate is sans-IO: no clock, no socket, no task, no randomness of its own. Time, random bytes and messages are
//! arguments; bytes to send and events come out. It compiles for native targets and wasm32 alike, and is `no_std` to show it.
//!
//! # Layout
//!
//! ```text
//! line/        a session and the connections that carry it, one after the other    the driver's surface
//! connection/  one WebSocket's life: handshake, records, close
//! session/     what survives a connection: channels, their turns, what is to be sent again, datagrams
//! channel/     one channel's two halves        budget.rs   memory that sessions share
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
#![cfg_attr(
    not(feature = "server"),
    allow(dead_code, reason = "the server's half of each message stands beside the client's")
)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should"))]

extern crate alloc;
#[cfg(test)]
extern crate std;

/// True where a test of the simulation asks for this fault.
#[cfg(test)]
macro_rules! mutated {
    ($name:ident) => {
        crate::sim::mutation::is_on(crate::sim::mutation::Mutation::$name)
    };
}
#[cfg(not(test))]
macro_rules! mutated {
    ($name:ident) => {
        false
    };
}

mod budget;
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
mod line;
pub mod noise;
mod record;
mod session;
#[cfg(test)]
mod sim;
mod time;
pub mod typed;

#[cfg(feature = "server")]
pub use budget::Hold;
pub use budget::{Account, Budget};
pub use channel::{Delivery, Kind, Priority, Received};
pub use close::{Close, CloseCode, FreshReason, ResetCode};
#[cfg(feature = "server")]
pub use connection::{AuthRequest, OfferedCredential, ServerConfig, ServerIdentity};
pub use connection::{ClientConfig, Connection, Event, Offer, UpgradeForm};
pub use crypto::{Randomness, Secret, SignatureAlgorithm};
pub use error::{BadEvidence, ChannelError, ConnectionError, InvalidMessage, PeerMisbehaved};
pub use handshake::{
    auth::{Claims, DeviceKey, Grant, Outcome, Resume, Services, Ticket, Wanted},
    evidence::{Evidence, EvidenceKind, Told},
    hello::{Capabilities, Credential, Limits, M1Head},
    upgrade,
};
#[cfg(feature = "server")]
pub use handshake::{
    evidence::Standing,
    succession::{KeyStatement, KnownKeys, ToldKeys},
};
pub use ids::{Birth, ChannelId, DeviceId, InvalidId, InviteId, OwnerKey, ServerKey, ServerKeyId, SessionId, TicketId};
pub use invite::{InvalidInvite, Invite};
pub use line::{Altered, ConnectionNo, Dialled, Line, LineEvent, LineState};
#[cfg(feature = "server")]
pub use line::{Cut, Rejected};
#[cfg(feature = "server")]
pub use session::ToKeep;
pub use session::{Channel, DatagramStats, KeptChannel, Role, Session};
pub use time::Instant;

/// The example of the README is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
