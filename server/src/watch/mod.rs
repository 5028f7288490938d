//! What happened, and how it is told. Knows nobody above it: it is told events.

pub(crate) mod audit;
pub(crate) mod bans;
pub(crate) mod command;
mod counts;
pub(crate) mod events;
mod kinds;
mod lines;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod recent;
pub(crate) mod rules;
pub(crate) mod settings;
pub(crate) mod stream;
pub(crate) mod text;
pub(crate) mod ways;
