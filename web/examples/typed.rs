//! The page's end of `server/examples/typed`: the same message type, compiled to wasm.
//!
//! ```js
//! import { connect } from "./duologue.js";
//! import init, { add_request, add_response } from "./typed.js";
//! await init();
//! const sum = add_response(await connect().request("add", add_request(40n, 2n)));   // 42n
//! ```
#![allow(unreachable_pub, reason = "wasm-bindgen exports what is pub")]

use duologue::typed::{self, Request};
use wasm_bindgen::prelude::*;

#[path = "../../server/examples/typed/message.rs"]
mod message;
use message::Add;

/// The request as bytes.
#[wasm_bindgen]
#[must_use]
pub fn add_request(a: i64, b: i64) -> Vec<u8> {
    typed::encode(&Add { a, b })
}

/// The answer: the sum, or none if it does not fit.
///
/// # Errors
/// If the bytes are no answer to [`add_request`].
#[wasm_bindgen]
pub fn add_response(bytes: &[u8]) -> Result<Option<i64>, JsError> {
    Ok(typed::decode::<<Add as Request>::Response>(bytes)?)
}
