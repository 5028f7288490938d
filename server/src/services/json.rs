//! JSON, for pages: what answers behind `requestJson`, and what speaks with `sendJson` and `json()` of the npm package.
//!
//! ```text
//! requestJson ──► answer_json:  bytes ─► R ─► the function ─► R::Response ─► bytes
//! sendJson   ◄──► JsonChannel:  C::FromClient in, C::ToClient out
//! ```

use std::{fmt, future::Future, io, marker::PhantomData, ops::RangeInclusive, sync::Arc};

use duologue::typed::Request;
use duologue_native::{Channel, Sent};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::ser::{CompactFormatter, Formatter, Serializer};
use thiserror::Error;

use crate::services::{
    json_line::harmless,
    service::{Call, Service, ServiceError, answering},
};

/// From `Number.MIN_SAFE_INTEGER` to `Number.MAX_SAFE_INTEGER`: here JavaScript tells each integer from the next.
const INTEGERS: RangeInclusive<i128> = -((1 << 53) - 1)..=(1 << 53) - 1;

/// Why JSON is no message, or a message cannot be JSON.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum JsonError {
    /// The client's doing: it is no JSON, or not of the service's type. Says where, without control characters.
    #[error("the message is not of the type expected: {0}")]
    NotOfType(String),
    /// The service's doing: an integer that JavaScript would round, a map whose keys are no texts, or the type's own
    /// `Serialize` fails.
    #[error("the message cannot be said in JSON: {0}")]
    NotSaid(String),
}

/// A service that answers typed requests as JSON, as [`answer`](crate::answer) does for Rust clients: one message in,
/// one message out, as often as the caller asks on the channel.
///
/// A message that is not of its type ends its channel with `failed`, and nothing else; why is in the log. So does an
/// answer with an integer beyond ±(2^53 − 1), which JavaScript would round: give such a field a text (`#[serde(with =
/// "…")]`). What a page asks with is what its own arithmetic has made of it, and is taken as it comes.
///
/// JSON has no NaN and no infinities, which arrive as `null`, and no bytes, which become lists of numbers, four times
/// as long: send bytes as messages or by streams.
///
/// ```
/// # use duologue::typed::Request;
/// # use duologue_server::{Service, answer_json};
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Add { a: i64, b: i64 }
///
/// impl Request for Add {
///     const LABEL: &'static str = "add";
///     type Response = Option<i64>;
/// }
///
/// // await link.requestJson("add", { a: 40, b: 2 })
/// let service = answer_json(|Add { a, b }: Add, _call| async move { Ok(a.checked_add(b)) });
/// # fn is_service(_: impl Service) {}
/// # is_service(service);
/// ```
pub fn answer_json<R, F, T>(respond: F) -> impl Service
where
    R: Request,
    F: Fn(R, Call) -> T + Send + Sync + 'static,
    T: Future<Output = Result<R::Response, ServiceError>> + Send + 'static,
{
    let respond = Arc::new(respond);
    move |call: Call| {
        answering(call, Arc::clone(&respond), |bytes| Ok(decode(bytes)?), |response| Ok(encode(response)?))
    }
}

/// The messages of a channel both ways, and its label: what [`Request`] is for requests.
pub trait Conversation: 'static {
    /// The channel's label.
    const LABEL: &'static str;
    /// What the client sends.
    type FromClient: DeserializeOwned + 'static;
    /// What the server sends.
    type ToClient: Serialize + 'static;
}

/// A channel of JSON messages: what a page's `sendJson` and `json()` speak with. As with [`answer_json`], no integer is
/// said that JavaScript would round.
pub struct JsonChannel<C: Conversation> {
    channel: Channel,
    conversation: PhantomData<fn() -> C>,
}

impl<C: Conversation> JsonChannel<C> {
    /// The channel, whose label is the service's or the server's own choice.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self { channel, conversation: PhantomData }
    }

    /// The next message; none when the client has finished.
    ///
    /// # Errors
    /// [`LineError`](crate::LineError) if the channel was cancelled or the line has ended; [`JsonError`] if
    /// the message is not of the type.
    pub async fn recv(&self) -> Result<Option<C::FromClient>, ServiceError> {
        let message = self.channel.recv().await?;
        Ok(message.map(|bytes| decode(&bytes)).transpose()?)
    }

    /// Queues a message; waits while 16 MiB are queued already. What comes back tells when it was taken.
    ///
    /// # Errors
    /// [`JsonError`] if it cannot be said in JSON; [`LineError`](crate::LineError) if the channel or the line
    /// has ended, or the message is longer than 16 MiB.
    pub async fn send(&self, message: &C::ToClient) -> Result<Sent, ServiceError> {
        Ok(self.channel.send(encode(message)?).await?)
    }
}

impl<C: Conversation> fmt::Debug for JsonChannel<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JsonChannel").field(&self.channel).finish()
    }
}

/// The whole of the bytes; serde_json bounds how deep they may be nested.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    // The reason quotes the client.
    serde_json::from_slice(bytes).map_err(|error| JsonError::NotOfType(harmless(&error.to_string())))
}

fn encode(message: &impl Serialize) -> Result<Vec<u8>, JsonError> {
    let mut bytes = Vec::new();
    match message.serialize(&mut Serializer::with_formatter(&mut bytes, Exact)) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(JsonError::NotSaid(error.to_string())),
    }
}

/// serde_json's compact form, without integers that JavaScript would round.
struct Exact;

fn exact(integer: impl TryInto<i128> + fmt::Display + Copy) -> io::Result<()> {
    if integer.try_into().is_ok_and(|integer| INTEGERS.contains(&integer)) {
        return Ok(());
    }
    Err(io::Error::other(format!("JavaScript would round {integer}: give this field a text")))
}

impl Formatter for Exact {
    fn write_i64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        exact(value)?;
        CompactFormatter.write_i64(writer, value)
    }

    fn write_u64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        exact(value)?;
        CompactFormatter.write_u64(writer, value)
    }

    fn write_i128<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: i128) -> io::Result<()> {
        exact(value)?;
        CompactFormatter.write_i128(writer, value)
    }

    fn write_u128<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: u128) -> io::Result<()> {
        exact(value)?;
        CompactFormatter.write_u128(writer, value)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Add {
        a: i64,
        b: Option<i64>,
    }

    #[test]
    fn what_is_no_message_is_refused_with_a_harmless_reason() {
        assert_eq!(decode(br#"{"a":1,"b":null}"#), Ok(Add { a: 1, b: None }));
        let cases: [(&[u8], &str); 8] = [
            (b"", "EOF while parsing a value"),
            (b"{\"a\":1", "EOF while parsing an object"),
            (br#"{"a":1} {}"#, "trailing characters"),
            (br#"{"b":1}"#, "missing field `a`"),
            (br#"{"a":1,"a":2}"#, "duplicate field `a`"),
            (br#"{"a":1.5}"#, "invalid type: floating point `1.5`, expected i64"),
            (br#"{"a":18446744073709551615}"#, "invalid value: integer `18446744073709551615`, expected i64"),
            (b"{\"a\":\"\xff\"}", "invalid unicode code point"),
        ];
        for (bytes, why) in cases {
            let Err(JsonError::NotOfType(reason)) = decode::<Add>(bytes) else { panic!("{why}") };
            assert!(reason.starts_with(why), "{reason}");
        }
        let deep = "[".repeat(1_000_000);
        let Err(JsonError::NotOfType(reason)) = decode::<serde_json::Value>(deep.as_bytes()) else { panic!("deep") };
        assert!(reason.starts_with("recursion limit exceeded"), "{reason}");
        // What the client wrote is quoted, but steers no terminal and fills no log.
        let Err(JsonError::NotOfType(reason)) = decode::<Add>(br#"{"a":"\u001b[2J"}"#) else { panic!("steers") };
        assert!(reason.contains("[2J") && !reason.contains('\u{1b}'), "{reason:?}");
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(100_000));
        let Err(JsonError::NotOfType(reason)) = decode::<Add>(long.as_bytes()) else { panic!("long") };
        assert!(reason.len() <= 200, "{}", reason.len());
    }

    #[test]
    fn no_integer_is_said_that_javascript_would_round() {
        let most = 9_007_199_254_740_991_i64;
        assert_eq!(encode(&[most, -most]), Ok(b"[9007199254740991,-9007199254740991]".to_vec()));
        assert_eq!(encode(&u64::from(u32::MAX)), Ok(b"4294967295".to_vec()));
        let refused = |bytes| match bytes {
            Err(JsonError::NotSaid(reason)) => reason,
            other => panic!("{other:?}"),
        };
        let reason = refused(encode(&(most + 1)));
        assert_eq!(reason, "JavaScript would round 9007199254740992: give this field a text");
        for bytes in [encode(&(-most - 1)), encode(&u64::MAX), encode(&i128::MIN), encode(&u128::MAX)] {
            refused(bytes);
        }
        // What is no integer is rounded at both ends alike.
        assert_eq!(encode(&9e15), Ok(b"9000000000000000.0".to_vec()));
    }
}
