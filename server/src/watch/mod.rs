//! What happened, and how it is told. Knows nobody above it: it is told events.

mod counts;
pub(crate) mod log;
pub(crate) mod text;
