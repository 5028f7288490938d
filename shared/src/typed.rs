//! Typed messages between Rust ends: serde types as postcard.
//!
//! ```
//! use duologue::typed::{self, Request};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct Add { a: i64, b: i64 }
//!
//! impl Request for Add {
//!     const LABEL: &'static str = "add";
//!     type Response = i64;
//! }
//!
//! let bytes = typed::encode(&Add { a: 1, b: 2 });
//! assert_eq!(typed::decode::<Add>(&bytes)?, Add { a: 1, b: 2 });
//! # Ok::<(), typed::DecodeError>(())
//! ```

use alloc::vec::Vec;

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

/// A message that asks, the label of the service that answers, and what it answers with.
pub trait Request: Serialize + DeserializeOwned + Send + 'static {
    /// The channel's label.
    const LABEL: &'static str;
    /// The answer.
    type Response: Serialize + DeserializeOwned + Send + 'static;
}

/// Bytes that are not of the type expected: the two ends were built from different types, or the service is another.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the message is not of the type expected: {0}")]
pub struct DecodeError(postcard::Error);

/// A message as bytes.
///
/// # Panics
/// If the type's own `Serialize` fails, or it has a sequence of unknown length, which postcard cannot express.
#[must_use]
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_allocvec(message).expect("a vector always has room, and plain types always serialize")
}

/// A message from bytes, all of them.
///
/// # Errors
/// [`DecodeError`] if they are not of this type or bytes are left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(bytes).map_err(DecodeError)? {
        (message, []) => Ok(message),
        _ => Err(DecodeError(postcard::Error::DeserializeBadEncoding)),
    }
}
