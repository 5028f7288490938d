//! What happened, and how it is told. Knows nobody above it: it is told events.

mod counts;
pub(crate) mod events;
mod kinds;
mod lines;
pub(crate) mod log;
pub(crate) mod stream;
pub(crate) mod text;
