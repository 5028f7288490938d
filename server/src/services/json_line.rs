//! Lines of JSON on a byte stream, as `drop` and `http` say them.

use std::io;

use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::watch::text;

/// What is quoted of an error about a hostile line, in characters.
const REASON_CHARS_MAX: usize = 200;

/// Says why, in place of what the client waits for.
#[derive(Serialize)]
pub(super) struct Refusal {
    pub(super) error: &'static str,
    pub(super) message: String,
}

pub(super) async fn say<S: AsyncWrite + Unpin>(stream: &mut S, line: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(line).expect("texts and numbers are always JSON");
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.flush().await
}

/// A reason that may quote the client, for an answer and for a terminal.
pub(crate) fn harmless(reason: &str) -> String {
    text::shown_within(reason, REASON_CHARS_MAX)
}
