//! The first line of each direction: parsed into what may be forwarded, or refused with a reason.

use axum::http::Method;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use super::HttpError;
use crate::services::json_line::harmless;

/// The client's line, in bytes with its end.
const LINE_BYTES_MAX: u64 = 64 * 1_024;
/// The longest method; the longest that is registered has 16 bytes.
const METHOD_BYTES_MAX: usize = 32;

/// The client's line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    /// Of the body, in bytes; none if it is not known before its end.
    #[serde(default)]
    pub(super) length: Option<u64>,
    /// `omit` for a request without cookies; none for one with those of the session.
    #[serde(default)]
    credentials: Option<Credentials>,
}

/// As the `credentials` of a platform's `fetch`; of its words the one that makes a difference here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Credentials {
    Omit,
}

impl Head {
    pub(super) fn omits_credentials(&self) -> bool {
        self.credentials == Some(Credentials::Omit)
    }

    /// What this server notes of a request that it may ask again in another process: one without a body, whose method may be repeated.
    /// None if that is not so.
    pub(super) fn note(&self) -> Option<Vec<u8>> {
        let is_idempotent = self.length == Some(0) && method(&self.method).is_ok_and(|method| method.is_idempotent());
        is_idempotent.then(|| serde_json::to_vec(self).ok()).flatten()
    }

    /// Of such a note.
    pub(super) fn noted(note: &[u8]) -> Option<Self> {
        serde_json::from_slice(note).ok()
    }
}

/// The server's line.
#[derive(Serialize)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) reason: String,
    pub(super) headers: Vec<(String, String)>,
}

/// None if the client went without a word.
pub(super) async fn read_head<S: AsyncBufRead + Unpin>(stream: &mut S) -> Result<Option<Head>, HttpError> {
    let mut line = Vec::new();
    stream.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await.map_err(HttpError::Gone)?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => parse(&line).map(Some),
        Some(_) if line.len() as u64 == LINE_BYTES_MAX => Err(bad("the first line is longer than 65,536 bytes")),
        Some(_) => Err(bad("the stream ended in its first line")),
    }
}

fn parse(line: &[u8]) -> Result<Head, HttpError> {
    serde_json::from_slice(line).map_err(|error| bad(&format!("the first line is no request: {error}")))
}

/// What no client makes: two readers would read it differently, or it says what is this server's or a proxy's to say.
pub(super) fn smuggled(reason: &str) -> HttpError {
    HttpError::Smuggled(harmless(reason))
}

/// The reason may quote the client, and it goes into the log.
pub(super) fn bad(reason: &str) -> HttpError {
    HttpError::BadRequest(harmless(reason))
}

/// A method that may be forwarded. CONNECT would make a tunnel, TRACE would show what this server has added.
pub(super) fn method(name: &str) -> Result<Method, HttpError> {
    let is_forbidden = ["CONNECT", "TRACE", "TRACK"].iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden));
    let method = Method::from_bytes(name.as_bytes()).ok();
    let method = method.filter(|_| !is_forbidden && name.len() <= METHOD_BYTES_MAX);
    method.ok_or_else(|| bad(&format!("the method {name:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(mut bytes: &[u8]) -> Result<Option<Head>, HttpError> {
        read_head(&mut bytes).await
    }

    #[tokio::test]
    async fn a_line_is_read_to_its_end_and_no_further() {
        let mut bytes = &b"{\"method\":\"GET\",\"target\":\"/\",\"headers\":[[\"a\",\"b\"]],\"length\":0}\nbody"[..];
        let head = read_head(&mut bytes).await.expect("good").expect("there is one");
        assert_eq!((&*head.method, &*head.target, head.length), ("GET", "/", Some(0)));
        assert_eq!(head.headers, [("a".to_owned(), "b".to_owned())]);
        assert_eq!(bytes, b"body");
        assert!(read(b"").await.expect("nobody came").is_none());
    }

    #[tokio::test]
    async fn a_hostile_line_is_refused_with_a_harmless_reason() {
        let line = |rest: &str| format!("{{\"method\":\"GET\",\"target\":\"/\"{rest}}}\n").into_bytes();
        let mut long = vec![b' '; 65_536];
        long.push(b'\n');
        for bytes in [
            b"\n".to_vec(),
            b"[]\n".to_vec(),
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
            b"{\"method\":\"GET\"".to_vec(),
            b"\xff\xfe\n".to_vec(),
            b"\x1b[2J\n".to_vec(),
            vec![b'['; 65_000].into_iter().chain([b'\n']).collect(),
            long,
            line(""),
            line(",\"headers\":[[\"a\"]]"),
            line(",\"headers\":[[\"a\",\"b\",\"c\"]]"),
            line(",\"headers\":[[\"a\",1]]"),
            line(",\"headers\":{\"a\":\"b\"}"),
            line(",\"headers\":[],\"headers\":[]"),
            line(",\"headers\":[],\"extra\":1"),
            line(",\"headers\":[],\"credentials\":\"all\""),
            line(",\"headers\":[],\"\\u001b[2J\":1"),
            line(",\"headers\":[],\"length\":-1"),
            line(",\"headers\":[],\"length\":1.5"),
            line(",\"headers\":[],\"length\":18446744073709551616"),
            line(",\"headers\":[]} {"),
        ] {
            let error = read(&bytes).await.expect_err("hostile");
            assert_eq!(error.word(), Some("bad-request"), "{bytes:?}");
            let text = error.to_string();
            assert!(text.len() < 1_000 && !text.contains(char::is_control), "{text:?}");
        }
    }

    #[tokio::test]
    async fn no_bytes_make_the_reader_panic() {
        let good = b"{\"method\":\"GET\",\"target\":\"/\",\"headers\":[[\"a\",\"b\"]],\"length\":0}\n";
        for at in 0..good.len() {
            for byte in [0, b'"', b'\\', b'[', b'{', 0x7f, 0x80, 0xff] {
                let mut bytes = good.to_vec();
                bytes[at] = byte;
                let _ = read(&bytes).await;
                let _ = read(&bytes[..at]).await;
            }
        }
    }

    #[test]
    fn methods_are_tokens_and_none_makes_a_tunnel() {
        for good in ["GET", "POST", "PATCH", "get", "PROPFIND", "M-SEARCH"] {
            assert_eq!(method(good).expect("a method").as_str(), good);
        }
        for bad in ["", "CONNECT", "connect", "Trace", "TRACK", "GET /", "GET\r\n", "GÉT", "G\0T", &"A".repeat(33)] {
            method(bad).expect_err(bad);
        }
    }
}
