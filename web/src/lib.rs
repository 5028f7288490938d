//! The browser's end of a line: the core, driven by a `WebSocket`, with a surface for JavaScript.
//!
//! ```text
//! js/link.js ──commands──► Line ──► duologue::Line ──records──► WebSocket, one after the other
//!   identity in IndexedDB ◄─events─             ◄─messages──
//! ```
//!
//! The JavaScript beside it (`js/link.js` and its parts) keeps the device key, which this module never sees, and makes promises and
//! iterators of ids and events. This surface is its private matter: pages use `duologue.d.ts`.

#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod driver;
mod invite;
#[cfg(not(feature = "std"))]
mod lean;
#[cfg(feature = "snapshots")]
mod sealed;
mod socket;
mod surface;

pub use invite::{device_fingerprint, parse_invite, server_fingerprint};
pub use surface::{Line, LineOptions};
