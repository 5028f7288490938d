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
//! control.rs   how a verb asks a running server
//! api/         the local API, which verbs speak
//! lines/       sessions and what carries them: the axum adapter, the directory of sessions, drain
//! front/       what comes from the network: listener, TLS, WebSocket, page, addresses
//! services/    what answers behind a label: the trait, JSON, echo, desk, drop, http, pair
//! door/        who may come in: policy, origins, lobby, tickets
//! watch/       what happened, and how it is told: a log that cannot be made to shout, text of strangers
//! state/       what is kept on disk: identity, devices and invites; fingerprints in words
//! ```
//!
//! Arrows run downwards only, which `cargo xtask tidy` holds the rooms to (`xtask/src/rooms.rs`).
//!
//! Services never see a record, a key or a socket.
//!
//! What an app must name of the core stands here too; all of it is [`duologue`]. [`axum`], [`rustls`] and [`CancellationToken`]
//! are the versions that [`serve`] and [`Duologue::router`] speak of.

/// The audit log: how it is written, read and verified.
pub mod audit {
    pub use crate::watch::audit::{
        AuditKey, DIRECTORY, Hash, Head, OWN_KINDS,
        book::AuditError,
        outbox::{Courier, Sink},
        running::Audit,
        settings::{Addresses, AuditSettings, Syslog},
        tail::{AuditEntry, Filter, audit_files, audit_keys, audit_stamp, last_head, tail},
        verdict::{Broken, Expected, HeadSeen, Whole, Why},
        verify::{verify_files, verify_texts},
        writer::{AuditLog, AuditState},
    };
}

/// What flags, the environment and the configuration can all say.
pub mod settings {
    pub use crate::config::settings::{LogFormat, LogLevel, ServerSettings, Settings, SiteSettings};
}

mod api;
mod config;
mod control;
mod door;
mod front;
mod lines;
pub mod services;
mod state;
mod watch;

pub use api::{
    AccountInfo, AccountList, AccountShown, AddBan, AlteringWay, BanInfo, BanList, Bind, Bound, ChangeGroups,
    Controlled, Delivered, DeliveredTo, Deliveries, DeviceInfo, DeviceList, EventInfo, EventList, ExplainPolicy,
    GuestInfo, HandOver, HandedOver, Health, InGroups, InviteInfo, InviteList, InviteStatus, Invited, Kept, KeysInfo,
    KindCount, LiftBan, Listening, MESSAGE_LEN_MAX, NewInvite, NextKey, PasskeyInfo, PasskeyOf, PolicyAnswer, Reloaded,
    RemovePasskeys, RemovedPasskeys, Rename, Renamed, Restored, Revoke, Revoked, ServerState, SessionInfo, SessionList,
    SignedKey, Sockets, Supposed, WatchList, WatchRule, Withdrawn, check_backup, control_socket, import_export, listen,
    listen_status, listen_with, restore_backup, server_keys, users_socket,
};
pub use axum;
pub use config::{Config, ConfigError, ConfigErrors, ConfigFile};
pub use control::{ask, ask_running, ask_within, copy_from, say_by_api};
pub use door::error::{DoorError, Refused};
pub use door::evidence::{Identity, Transport};
pub use door::firewall::{Budgets, CountryList, CountrySettings, Firewall, FirewallSettings, InvalidList, Otherwise};
pub use door::hook::{Hook, HookSettings, InvalidHookSettings, WithoutHook};
pub use door::origin::InvalidOrigin;
pub use door::passkeys::{InvalidPasskeySettings, PasskeySettings, Passkeys};
pub use door::policy::{
    Policy,
    limits::Limits,
    patterns::{InvalidPattern, LabelPattern, PathPattern},
    rules::{Rule, Rules},
};
pub use door::programs::{Access, ApiKey, ApiSettings, ApiUser, Role};
pub use door::quantity::{parse_size, parse_span};
pub use door::standing::{Group, InvalidName, Level, Proof, Standing, Subject};
pub use door::tokens::{
    BoundTo, DeviceBinding, InvalidTokenSettings, TOKEN_BYTES_MAX, TokenKeysError, TokenSettings, Tokens, Verified,
};
pub use duologue::{
    self, ChannelError, Claims, Close, CloseCode, ConnectionError, DatagramStats, Delivery, DeviceId, DeviceKey,
    FreshReason, Instant, InvalidInvite, InvalidMessage, Invite, InviteId, KeyStatement, LineState, OwnerKey,
    PeerMisbehaved, ResetCode, Secret, ServerIdentity, ServerKey, SignatureAlgorithm, limits,
    typed::{self, Request},
};
pub use duologue_native::Moved;
pub use duologue_native::{ByteStream, Channel, Line, LineError, Sent};
pub use front::acme::{
    Acme,
    challenges::Challenges,
    settings::{AcmeSettings, InvalidAcme},
};
pub use front::address::{Address, InvalidAddress};
pub use front::assets::{page, page_at};
pub use front::certificate::{Certificate, utc};
pub use front::certificates::{CertificateFiles, Certificates, ReadCertificates};
pub use front::http::{FrontConfig, Peer, serve, serve_behind};
pub use front::intake::Intake;
pub use front::proxied::{InvalidNetwork, TrustedProxies};
pub use front::tls::{TlsError, development, development_at, development_files, from_files, is_for};
pub use lines::Duologue;
pub use lines::directory::Directory;
#[cfg(feature = "growth")]
#[doc(hidden)]
pub use lines::growth::Grown;
pub use rustls;
pub use services::json::{Conversation, JsonChannel, JsonError, answer_json};
pub use services::right::{NotAllowed, NotVouched};
pub use services::service::{Call, GoesOn, Next, Service, ServiceError, answer, at_level, going_on, layered};
#[cfg(feature = "typescript")]
pub use services::typescript::{DeclarationError, Declarations};
pub use state::backup::{BackupError, BackupInfo};
pub use state::files::raise_file_limit;
pub use state::owner::{OwnersPair, OwnersPairError};
pub use state::store::{Counts, Device, DeviceStatus, Revocation, Store, StoreError, Terms};
pub use state::whom::Whom;
pub use state::words::{Language, spoken};
pub use state::{State, StateError, exposed_key, server_key, write_private};
pub use tokio_util::sync::CancellationToken;
#[cfg(feature = "typescript")]
pub use ts_rs;
pub use watch::bans::{Ban, Banned, Bans, NotBannable};
pub use watch::events::{Event, Kind, Origin};
pub use watch::log::{BoundedLog, OWNERS, SPANS};
pub use watch::settings::WatchSettings;
pub use watch::stream::{Read, Reader, Watch};
pub use watch::text::{name as shown_name, shown};

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
