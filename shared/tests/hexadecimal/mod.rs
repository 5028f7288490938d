//! Bytes of the vector files.
#![allow(missing_docs, missing_debug_implementations, unreachable_pub, reason = "for the tests beside it")]

use serde::Deserialize;

/// Bytes that the file writes in hexadecimal.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub struct Hex(pub Vec<u8>);

impl TryFrom<String> for Hex {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        hex::decode(text).map(Self)
    }
}
