//! Real proxies with real TLS before the real `duologue serve --behind-proxy`.
//!
//! ```text
//! docs/PROXIES.md ─ page.rs ─► configuration ─ process.rs ─► the proxy ─► backend.rs: the server, which is killed and comes back
//! cases.rs   one module for each proxy, a native client and Chromium in each
//! report.rs  what was measured, for `cargo xtask test --proxies` to write into docs/PROXIES.md
//! ```
//!
//! The tests of `cases.rs` are run by that verb alone, which finds and installs the proxies (`xtask/src/proxies.rs`); they
//! are ignored otherwise. Every configuration is the text of the page, so that what people copy is what was tried.

mod backend;
mod cases;
mod page;
mod process;
mod report;

pub(crate) use backend::{Backend, free_port};
pub(crate) use process::Running;
