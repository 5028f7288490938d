//! Who may come in: which pages, apps and hosts, how many strangers, and what devices bring that were here before.
//!
//! Never a caller's socket: what a room above has seen of a caller comes here as values.

pub(crate) mod error;
pub(crate) mod evidence;
pub(crate) mod fetch;
pub(crate) mod firewall;
pub(crate) mod gate;
pub(crate) mod holder;
pub(crate) mod hook;
pub(crate) mod lanes;
pub(crate) mod lobby;
pub(crate) mod origin;
pub(crate) mod passkeys;
pub(crate) mod path;
pub(crate) mod policy;
pub(crate) mod pressure;
pub(crate) mod programs;
pub(crate) mod quantity;
pub(crate) mod report;
pub(crate) mod seat;
pub(crate) mod seen;
pub(crate) mod standing;
pub(crate) mod tickets;
pub(crate) mod tokens;
pub(crate) mod work;
