//! One message type for both ends: `server/examples/typed` answers it, `web/examples/typed.rs` asks it from a page;
//! and `server/examples/json` answers it in JSON.
#![allow(unreachable_pub, reason = "each end of the example includes this file")]

use duologue::typed::Request;
use serde::{Deserialize, Serialize};

/// Asks for a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
// For `examples/json`. The server writes the declarations; the page's module has no use for it.
#[cfg_attr(not(target_arch = "wasm32"), derive(ts_rs::TS))]
pub struct Add {
    /// One number.
    pub a: i64,
    /// The other.
    pub b: i64,
}

impl Request for Add {
    const LABEL: &'static str = "add";
    type Response = Option<i64>;
}
