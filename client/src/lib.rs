//! A line from a Rust program to a Duologue server.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use duologue_client::{Client, Target};
//!
//! let client = Client::open("state-directory")?;
//! let line = client.connect(&Target::parse("https://localhost:8443/#i=…")?).await?;
//! let answer = line.request("echo", "hello").await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//!
//! `target.rs` what to connect to · `keyring.rs` the device key, pins and tickets on disk · `tls.rs` TLS, and why loopback is
//! special · `device.rs` what issuers of tokens call this device · `token.rs` tokens, and when they are asked for · `connect.rs` upgrade and driver · `path.rs` what both ends know of the way between them · `published.rs` what a server publishes of its keys · `refusal.rs` what a failed one means · `renew.rs` another device key · `socket.rs` the WebSocket.
//!
//! What a program must name of the core stands here too; all of it is [`duologue`].

mod connect;
mod device;
mod keyring;
mod path;
mod published;
mod refusal;
mod renew;
mod socket;
mod target;
mod tls;
mod token;

pub use connect::{Client, ConnectError};
pub use device::{Device, ProofOf};
pub use duologue::{
    self, BadEvidence, ChannelError, Claims, Close, CloseCode, ConnectionError, DatagramStats, Delivery, DeviceId,
    DeviceKey, EvidenceKind, FreshReason, Instant, InvalidInvite, InvalidMessage, Invite, LineState, PeerMisbehaved,
    ResetCode, ServerKey, SignatureAlgorithm, Standing, limits,
    typed::{self, Request},
};
pub use duologue_native::{
    ByteStream, Channel, Line, LineError, Sent,
    path::{AddressFrom, Difference, Differences, Form, Known, Seen, Tls},
};
pub use keyring::{Keyring, KeyringError};
pub use path::{Path, PathError};
pub use renew::RenewError;
pub use socket::WebSocket;
pub use target::{InvalidTarget, Target};
pub use tls::provider as tls_provider;
pub use token::TokenError;
pub use tokio_tungstenite;

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
