//! An upload that goes on in another process, where sessions are kept: what was noted of it, and where in its stream it goes on.
//!
//! ```text
//! stream   header │ bytes that are in the file ── taken, or not yet │ bytes to come
//! file            from `offset`  ────────────────────────────────► its end
//! ```
//!
//! A byte is taken when it is in the file, so that what comes again in the other process begins in the file or at its end.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use duologue_native::ByteStream;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::Header;

/// What is noted once its client has heard how much is held.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Begun {
    pub(super) header: Header,
    /// Of the stream, before the file's bytes.
    pub(super) header_len: u64,
    /// How much was held then.
    pub(super) offset: u64,
}

impl Begun {
    /// How many bytes come again of what the file has; none if it has less than was taken: it was lost with the machine.
    pub(super) fn again(&self, file_len: u64, taken: u64) -> Option<u64> {
        let in_stream = self.header_len.checked_add(file_len.checked_sub(self.offset)?)?;
        in_stream.checked_sub(taken)
    }
}

/// A stream whose bytes are taken when they are in the file.
pub(super) trait Upstream {
    /// What another process has noted of it, and how many of its bytes that had taken.
    fn begun(&self) -> Option<(Begun, u64)> {
        None
    }

    fn note(&mut self, _: &Begun) {}

    /// What was read so far is in the file.
    fn settle(&mut self) {}
}

impl Upstream for ByteStream {
    fn begun(&self) -> Option<(Begun, u64)> {
        Some((serde_json::from_slice(&self.channel().noted()).ok()?, self.settled()))
    }

    fn note(&mut self, begun: &Begun) {
        if let Ok(note) = serde_json::to_vec(begun) {
            self.channel().note(&note);
        }
    }

    fn settle(&mut self) {
        Self::settle(self);
    }
}

/// Any other: it ends with its process.
pub(super) struct Alone<S>(pub(super) S);

impl<S> Upstream for Alone<S> {}

impl<S: AsyncRead + Unpin> AsyncRead for Alone<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Alone<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_goes_on_where_its_file_ends_and_not_where_the_file_has_less_than_was_taken() {
        let header = serde_json::from_str(&format!("{{\"name\":\"a\",\"size\":9,\"upload\":\"{}\"}}", "0".repeat(32)));
        let begun = Begun { header: header.expect("a header"), header_len: 50, offset: 1_000 };
        assert_eq!(begun.again(1_000, 0), Some(50), "its header too");
        assert_eq!(begun.again(1_000, 50), Some(0));
        assert_eq!(begun.again(1_700, 550), Some(200));
        assert_eq!(begun.again(1_400, 550), None, "100 bytes were taken and are not in the file");
        assert_eq!(begun.again(999, 50), None);
    }
}
