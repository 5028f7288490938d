//! The server's end of a line, to be mounted into any axum app; and everything that the binary `duologue` is made of.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use duologue_server::{Duologue, Policy, State};
//!
//! let state = State::open("state-directory")?;
//! let line = Duologue::new(state, Policy::loopback()).service("echo", duologue_server::services::echo);
//! let app: axum::Router = axum::Router::new().merge(line.router());
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//!
//! ```text
//! line.rs      the axum adapter: upgrade, handshake, services      service.rs  Service, Call, and who the caller is
//! socket.rs    the WebSocket, without buffers while it is idle
//! policy.rs    which pages, apps and hosts; origin.rs whose       directory.rs sessions by device: to reach, resume, revoke
//! state.rs     identity key and store on disk                      store.rs    devices and invites in redb
//! tickets.rs   tickets in memory                                   lobby.rs    bounds on the unauthenticated
//! control.rs   the running server's admin socket                   http.rs, tls.rs, assets.rs  what the binary serves with
//! drain.rs     a server that stops                                 services/    echo, desk, drop, http, pair
//! words.rs     fingerprints to read aloud                         json.rs      services that speak JSON with pages
//! address.rs   where browsers reach a server                      well_known.rs  the answer that shows that they can
//! typescript.rs (feature `typescript`) their protocol as a TypeScript file
//! ```
//!
//! Services never see a record, a key or a socket.
//!
//! What an app must name of the core stands here too; all of it is [`duologue`]. [`axum`], [`rustls`] and [`CancellationToken`]
//! are the versions that [`serve`] and [`Duologue::router`] speak of.

mod address;
mod assets;
mod control;
mod directory;
mod drain;
mod http;
mod json;
mod line;
mod lobby;
mod origin;
mod policy;
mod service;
pub mod services;
mod socket;
mod state;
mod store;
mod tickets;
mod tls;
#[cfg(feature = "typescript")]
mod typescript;
mod well_known;
mod words;

pub use address::{Address, InvalidAddress};
pub use assets::{page, page_at};
pub use axum;
pub use control::{Answer, Question, ask, listen};
pub use directory::Directory;
pub use duologue::{
    self, ChannelError, Claims, Close, CloseCode, ConnectionError, DatagramStats, Delivery, DeviceId, DeviceKey,
    FreshReason, Instant, InvalidInvite, InvalidMessage, Invite, InviteId, LineState, PeerMisbehaved, ResetCode,
    Secret, ServerIdentity, ServerKey, SignatureAlgorithm, limits,
    typed::{self, Request},
};
pub use duologue_native::{ByteStream, Channel, Line, LineError, Sent};
pub use http::{Peer, serve};
pub use json::{Conversation, JsonChannel, JsonError, answer_json};
pub use line::Duologue;
pub use origin::InvalidOrigin;
pub use policy::Policy;
pub use rustls;
pub use service::{Call, Identity, Service, ServiceError, Transport, answer};
pub use state::{State, StateError, server_key};
pub use store::{Device, DeviceStatus, Store, StoreError};
pub use tls::{TlsError, development, development_at, from_files, is_for};
pub use tokio_util::sync::CancellationToken;
#[cfg(feature = "typescript")]
pub use ts_rs;
#[cfg(feature = "typescript")]
pub use typescript::{DeclarationError, Declarations};
pub use words::{Language, spoken};

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
