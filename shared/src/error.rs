//! Errors, sorted by whose fault they are, and the one total map from error to close code.
//!
//! Sentences are put together by hand where they have parts (`fmt = …`): formatting by arguments was 1.5 kB of the page's download.
//! Those of errors that a server alone has are not in it either.

use core::fmt::{self, Write as _};

use thiserror::Error;

use crate::close::{Close, CloseCode, FreshReason};

/// Bytes that are no message of this protocol.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum InvalidMessage {
    /// It ends before it is complete.
    #[error("the message ends too early")]
    Truncated,
    /// It goes on after its end.
    #[error("bytes follow the end of the message")]
    Trailing,
    /// Its padding is not zero.
    #[error("the padding is not zero")]
    Padding,
    /// A field is longer than its bound.
    #[error("a field is longer than it may be")]
    TooLong,
    /// Text is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// A bit that is not in use is set.
    #[error("a reserved bit is set")]
    ReservedBits,
    /// No message or frame has this type.
    #[error(fmt = unknown_type)]
    UnknownType(u8),
    /// Another version of the protocol.
    #[cfg_attr(feature = "server", error(fmt = unknown_version))]
    #[cfg_attr(not(feature = "server"), error("the server's"))]
    UnknownVersion(u8),
    /// Another suite.
    #[cfg_attr(feature = "server", error(fmt = unknown_suite))]
    #[cfg_attr(not(feature = "server"), error("the server's"))]
    UnknownSuite(u8),
    /// A value outside its set.
    #[error("a field holds a value that it cannot have")]
    UnknownValue,
}

/// Well-formed messages that break the rules.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PeerMisbehaved {
    /// A message that this state does not await.
    #[error("a message came that was not awaited")]
    Unexpected,
    /// More early data than the server holds.
    #[cfg_attr(feature = "server", error("more was sent before the answer to AUTH than may be"))]
    #[cfg_attr(not(feature = "server"), error("the server's"))]
    TooMuchEarlyData,
    /// A channel id of the wrong side, or not above the last one.
    #[error("a channel was opened with an id that is not the opener's next")]
    ChannelIdOutOfOrder,
    /// A frame for a channel that was never opened.
    #[error("a frame names a channel that was never opened")]
    ChannelNeverOpened,
    /// More channels than agreed.
    #[error("more channels were opened than agreed")]
    TooManyChannels,
    /// Data beyond the credit.
    #[error("more was sent on a channel than was granted")]
    CreditExceeded,
    /// Data after FIN.
    #[error("data came on a channel after its end")]
    DataAfterFin,
    /// FIN where a message had not ended.
    #[error("a channel was finished in the middle of a message")]
    FinWithinMessage,
    /// A GAP of nothing, or within a message.
    #[error("a gap of nothing, or within a message")]
    GapOutOfPlace,
    /// A message above the agreed length.
    #[error("a message is longer than agreed")]
    MessageTooLong,
    /// A credit or count that went back, or counts what was never sent.
    #[error("a count went back or too far")]
    CountOutOfRange,
    /// A fragment flag on a stream, which has no messages.
    #[error("a stream was sent a part of a message")]
    MessageOnStream,
    /// A SKIP of no frames.
    #[error("an empty skip")]
    EmptySkip,
    /// The server began a session where none was asked for, or resumed one that it was not asked to.
    #[error("the answer to AUTH is not one to what was asked")]
    WrongOutcome,
    /// Evidence behind AUTH of which one is no newer than that before it, or of its kind.
    #[cfg_attr(
        feature = "server",
        error("two records of evidence are of one kind, or not in the order of their numbers")
    )]
    #[cfg_attr(not(feature = "server"), error("the server's"))]
    EvidenceOutOfOrder,
    /// A text message.
    #[error("a text message came where only binary ones are allowed")]
    TextMessage,
    /// No subprotocol of ours was offered or chosen.
    #[error("the WebSocket does not speak duologue.1")]
    NoSubprotocol,
}

/// Why a connection ended.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConnectionError {
    /// The peer's bytes are no message.
    #[error(fmt = malformed)]
    InvalidMessage(#[from] InvalidMessage),
    /// The peer broke the rules.
    #[error(fmt = misbehaved)]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// The client: no M2 of the pinned server came.
    #[error("not your server, or altered on the way: the answer was not made with the pinned key")]
    NotYourServer,
    /// The client: the server did not use the invite's secret, and this device was never enrolled.
    #[error("the server does not know this invite: it belongs to another server, or was removed. Ask for a new one.")]
    InviteUnknown,
    /// The server: M1 was not made for its key, or was altered.
    #[cfg_attr(feature = "server", error("M1 was not made for this server's key, or was altered on the way"))]
    #[cfg_attr(not(feature = "server"), error("the server's"))]
    NotForThisServer,
    /// The server: the device's signature does not verify.
    #[cfg_attr(feature = "server", error("the device's signature does not fit its key and this handshake"))]
    #[cfg_attr(not(feature = "server"), error("the server's"))]
    BadSignature,
    /// A record did not authenticate.
    #[error("a record was altered, replayed, dropped or reordered on the way")]
    Altered,
    /// The peer was silent for too long.
    #[error("the other end did not answer in time")]
    TimedOut,
    /// The client: the socket opened, and not one byte of M2 came. A server whose key is another one says nothing, too.
    #[error(
        "the connection opened, but nothing came back that the pinned key made: a proxy may hold the answer back, or the \
         server has another key now"
    )]
    Unanswered,
    /// The client: the socket never opened; browsers do not say why.
    #[error("the server cannot be reached at this address")]
    Unreachable,
    /// The session has ended without its peer's wish.
    #[error(fmt = fmt::Display::fmt)]
    SessionEnded(FreshReason),
    /// The transport ended without a CLOSE.
    #[error("the connection was lost")]
    Lost,
    /// This end's application closed it, or refused the peer.
    #[error(fmt = closed_here)]
    LocallyClosed(CloseCode),
    /// The peer closed it, and said why under the seal.
    #[error(fmt = fmt::Display::fmt)]
    PeerClosed(Close),
}

impl ConnectionError {
    /// What the peer is told, under the seal. Total, so that a new error cannot be forgotten here.
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        match self {
            // No key is needed to send these: a middleman may have, so that they say no more of the peer than a forgery.
            Self::PeerMisbehaved(PeerMisbehaved::TextMessage | PeerMisbehaved::TooMuchEarlyData)
            | Self::NotYourServer
            | Self::NotForThisServer
            | Self::Altered => CloseCode::Altered,
            Self::InvalidMessage(_) | Self::PeerMisbehaved(_) => CloseCode::Protocol,
            Self::InviteUnknown => CloseCode::NotEnrolled,
            Self::BadSignature => CloseCode::BadSignature,
            Self::TimedOut | Self::Lost | Self::Unanswered | Self::Unreachable | Self::SessionEnded(_) => {
                CloseCode::Timeout
            }
            Self::LocallyClosed(code) => *code,
            Self::PeerClosed(close) => close.code,
        }
    }

    /// A stable word for programs: the cause as this end knows it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NotYourServer | Self::NotForThisServer => "not-your-server",
            Self::InviteUnknown => "invite-unknown",
            Self::PeerMisbehaved(_) => CloseCode::Protocol.word(),
            Self::Lost | Self::Unanswered => "lost",
            Self::Unreachable => "unreachable",
            Self::SessionEnded(reason) => reason.word(),
            _ => self.close_code().word(),
        }
    }

    /// True if the session may live on over another connection: the link failed, or a middleman meddled, or the server is
    /// about to be another one. False if either end wanted the end, or broke the rules.
    #[must_use]
    pub const fn is_resumable(&self) -> bool {
        match self {
            Self::TimedOut
            | Self::Lost
            | Self::Unanswered
            | Self::Unreachable
            | Self::Altered
            | Self::NotYourServer
            | Self::PeerMisbehaved(
                PeerMisbehaved::TextMessage | PeerMisbehaved::TooMuchEarlyData | PeerMisbehaved::NoSubprotocol,
            ) => true,
            Self::PeerClosed(close) => matches!(
                close.code,
                CloseCode::GoingAway | CloseCode::Timeout | CloseCode::Altered | CloseCode::Internal
            ),
            _ => false,
        }
    }
}

/// Evidence that is empty, or longer than may be.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("evidence has 1 to 8,184 bytes")]
pub struct BadEvidence;

/// Why an operation on a channel did not work. The connection lives on.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ChannelError {
    /// Either end has reset the channel.
    #[error(fmt = fmt::Display::fmt)]
    Reset(crate::close::ResetCode),
    /// The sending half was already finished.
    #[error("this channel was finished: nothing more can be sent on it")]
    Finished,
    /// The channel is gone.
    #[error("this channel is closed")]
    Closed,
    /// The queue is full; wait for the channel to change.
    #[error("the channel's queue is full")]
    Blocked,
    /// The message is longer than the peer takes.
    #[error(fmt = message_too_long)]
    MessageTooLong {
        /// Bytes of the message.
        len: usize,
        /// Bytes that the peer takes.
        max: usize,
    },
    /// The operation is one of a stream, and this is a channel of messages, or the other way round.
    #[error(fmt = wrong_kind)]
    WrongKind {
        /// What the channel is.
        stream: bool,
    },
    /// A datagram is longer than one may be.
    #[error(fmt = datagram_too_long)]
    DatagramTooLong {
        /// Bytes of the datagram.
        len: usize,
    },
    /// A label must have 1 to 64 bytes.
    #[error("a channel's label has 1 to 64 bytes")]
    BadLabel,
    /// Server: nobody is at the client's end, which has said so.
    #[error("nobody is here: the last page of this line has gone, and another may come")]
    NotHere,
}

impl ChannelError {
    /// A stable word for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reset(code) => code.word(),
            Self::Finished => "finished",
            Self::Closed => "closed",
            Self::Blocked => "blocked",
            Self::MessageTooLong { .. } | Self::DatagramTooLong { .. } => "message-too-long",
            Self::WrongKind { .. } => "wrong-kind",
            Self::BadLabel => "bad-label",
            Self::NotHere => "not-here",
        }
    }
}

fn unknown_type(number: &u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("type ")?;
    hexadecimal(*number, f)?;
    f.write_str(" is not known here")
}

#[cfg(feature = "server")]
fn unknown_version(number: &u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("protocol version ")?;
    decimal(usize::from(*number), f)?;
    f.write_str(" is not spoken here")
}

#[cfg(feature = "server")]
fn unknown_suite(number: &u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("suite ")?;
    hexadecimal(*number, f)?;
    f.write_str(" is not spoken here")
}

fn malformed(why: &InvalidMessage, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("the other end sent a malformed message: ")?;
    fmt::Display::fmt(why, f)
}

fn misbehaved(why: &PeerMisbehaved, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("the other end broke the protocol: ")?;
    fmt::Display::fmt(why, f)
}

fn closed_here(code: &CloseCode, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("closed here: ")?;
    fmt::Display::fmt(code, f)
}

fn message_too_long(len: &usize, max: &usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("the message has ")?;
    decimal(*len, f)?;
    f.write_str(" bytes; the other end takes at most ")?;
    decimal(*max, f)
}

fn wrong_kind(stream: &bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(if *stream { "this channel carries a stream of bytes" } else { "this channel carries messages" })
}

fn datagram_too_long(len: &usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("the datagram has ")?;
    decimal(*len, f)?;
    f.write_str(" bytes; at most 16,384 can be sent")
}

fn decimal(number: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if number >= 10 {
        decimal(number / 10, f)?;
    }
    digit(u8::try_from(number % 10).unwrap_or_default(), f)
}

fn hexadecimal(number: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("0x")?;
    digit(number >> 4, f)?;
    digit(number & 15, f)
}

fn digit(number: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char(char::from_digit(u32::from(number), 16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use alloc::{
        format,
        string::{String, ToString},
    };

    use super::*;

    #[test]
    fn every_error_tells_the_peer_a_code_and_its_own_side_a_word() {
        let close = Close { code: CloseCode::InviteUsed, reason: String::new(), received: 0 };
        for (error, code, word) in [
            (InvalidMessage::Truncated.into(), CloseCode::Protocol, "protocol"),
            (PeerMisbehaved::TextMessage.into(), CloseCode::Altered, "protocol"),
            (PeerMisbehaved::CreditExceeded.into(), CloseCode::Protocol, "protocol"),
            (ConnectionError::NotYourServer, CloseCode::Altered, "not-your-server"),
            (ConnectionError::InviteUnknown, CloseCode::NotEnrolled, "invite-unknown"),
            (ConnectionError::NotForThisServer, CloseCode::Altered, "not-your-server"),
            (ConnectionError::BadSignature, CloseCode::BadSignature, "bad-signature"),
            (ConnectionError::Altered, CloseCode::Altered, "altered"),
            (ConnectionError::TimedOut, CloseCode::Timeout, "timeout"),
            (ConnectionError::Lost, CloseCode::Timeout, "lost"),
            (ConnectionError::Unanswered, CloseCode::Timeout, "lost"),
            (ConnectionError::SessionEnded(FreshReason::Expired), CloseCode::Timeout, "session-expired"),
            (ConnectionError::Unreachable, CloseCode::Timeout, "unreachable"),
            (ConnectionError::LocallyClosed(CloseCode::Normal), CloseCode::Normal, "normal"),
            (ConnectionError::PeerClosed(close), CloseCode::InviteUsed, "invite-used"),
        ] {
            assert_eq!((error.close_code(), error.word()), (code, word), "{error:?}");
        }
    }

    #[test]
    fn sentences_with_numbers_and_parts_are_whole() {
        let malformed = |cause: InvalidMessage| ConnectionError::from(cause).to_string();
        let start = "the other end sent a malformed message: ";
        assert_eq!(malformed(InvalidMessage::UnknownType(0x2a)), format!("{start}type 0x2a is not known here"));
        assert_eq!(malformed(InvalidMessage::UnknownSuite(3)), format!("{start}suite 0x03 is not spoken here"));
        assert_eq!(
            malformed(InvalidMessage::UnknownVersion(255)),
            format!("{start}protocol version 255 is not spoken here")
        );
        let close = Close { code: CloseCode::Normal, reason: String::from("b\u{1b}ye"), received: 0 };
        assert_eq!(ConnectionError::PeerClosed(close).to_string(), "The line was closed. (b\u{fffd}ye)");
        for (len, max) in [(0, 9), (10, 16_777_216), (usize::MAX, 100)] {
            let said = ChannelError::MessageTooLong { len, max }.to_string();
            assert_eq!(said, format!("the message has {len} bytes; the other end takes at most {max}"));
        }
    }
}
