//! The drop's lines and blocks on the stream.

use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{BLOCK_BYTES, DropError};
use crate::services::json_line::harmless;

/// The longest line in either direction, in bytes with its end: a name of 255 bytes, all of them escaped as `\u00XX`,
/// takes 1,530.
pub(super) const LINE_BYTES_MAX: usize = 4_096;

/// The client's first line.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) upload: UploadId,
}

/// 32 lower-case hex digits: harmless in a path, and one spelling for one upload.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub(super) struct UploadId(pub(super) String);

impl TryFrom<String> for UploadId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let valid = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if valid { Ok(Self(text)) } else { Err("`upload` is not 32 lower-case hex digits") }
    }
}

/// How much the server holds already.
#[derive(Serialize)]
pub(super) struct Held {
    pub(super) offset: u64,
    pub(super) sha256: String,
    pub(super) blocks: String,
}

/// With its length.
pub(super) async fn read_header<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<(Header, u64)>, DropError> {
    // The reason may quote the client, and it goes into the log.
    let bad = |reason: &str| DropError::BadHeader(harmless(reason));
    let mut line = Vec::new();
    loop {
        // Byte by byte: what follows the line is the file's, and nothing could be put back.
        let mut byte = [0];
        if stream.read(&mut byte).await.map_err(DropError::Stream)? == 0 {
            return if line.is_empty() { Ok(None) } else { Err(bad("the stream ended in the middle of it")) };
        }
        line.extend(byte);
        if byte == [b'\n'] {
            let header = serde_json::from_slice(&line).map_err(|error| bad(&error.to_string()))?;
            return Ok(Some((header, line.len() as u64)));
        }
        if line.len() >= LINE_BYTES_MAX {
            return Err(bad("it is longer than 4,096 bytes"));
        }
    }
}

/// Whether bytes may follow a block.
pub(super) enum More {
    Maybe,
    No,
}

/// Fills the block with at most `limit` bytes, waiting for the first only. At an error too, what came before is in the
/// block.
pub(super) async fn read_block<S: AsyncRead + Unpin>(
    stream: &mut S,
    block: &mut Vec<u8>,
    limit: u64,
) -> io::Result<More> {
    let limit = usize::try_from(limit).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
    while block.len() < limit {
        let has_some = !block.is_empty();
        let mut rest = (&mut *stream).take((limit - block.len()) as u64);
        let read = tokio::select! {
            biased;
            read = rest.read_buf(block) => read?,
            () = std::future::ready(()), if has_some => break,
        };
        if read == 0 {
            return Ok(More::No);
        }
    }
    Ok(More::Maybe)
}
