//! Errors, sorted by whose fault they are, and the one total map from error to close code.

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
    #[error("type {0:#04x} is not known here")]
    UnknownType(u8),
    /// Another version of the protocol.
    #[error("protocol version {0} is not spoken here")]
    UnknownVersion(u8),
    /// Another suite.
    #[error("suite {0:#04x} is not spoken here")]
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
    #[error("more was sent before the answer to AUTH than may be")]
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
    #[error("the other end sent a malformed message: {0}")]
    InvalidMessage(#[from] InvalidMessage),
    /// The peer broke the rules.
    #[error("the other end broke the protocol: {0}")]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// The client: no M2 of the pinned server came.
    #[error("not your server, or altered on the way: the answer was not made with the pinned key")]
    NotYourServer,
    /// The client: the server did not use the invite's secret, and this device was never enrolled.
    #[error("the server does not know this invite: it belongs to another server, or was removed. Ask for a new one.")]
    InviteUnknown,
    /// The server: M1 was not made for its key, or was altered.
    #[error("M1 was not made for this server's key, or was altered on the way")]
    NotForThisServer,
    /// The server: the device's signature does not verify.
    #[error("the device's signature does not fit its key and this handshake")]
    BadSignature,
    /// A record did not authenticate.
    #[error("a record was altered, replayed, dropped or reordered on the way")]
    Altered,
    /// The peer was silent for too long.
    #[error("the other end did not answer in time")]
    TimedOut,
    /// The client: the socket never opened; browsers do not say why.
    #[error("the server cannot be reached at this address")]
    Unreachable,
    /// The session has ended without its peer's wish.
    #[error("{0}")]
    SessionEnded(FreshReason),
    /// The transport ended without a CLOSE.
    #[error("the connection was lost")]
    Lost,
    /// This end's application closed it, or refused the peer.
    #[error("closed here: {0}")]
    LocallyClosed(CloseCode),
    /// The peer closed it, and said why under the seal.
    #[error("{0}")]
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
            Self::TimedOut | Self::Lost | Self::Unreachable | Self::SessionEnded(_) => CloseCode::Timeout,
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
            Self::Lost => "lost",
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

/// Why an operation on a channel did not work. The connection lives on.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ChannelError {
    /// Either end has reset the channel.
    #[error("{0}")]
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
    #[error("the message has {len} bytes; the other end takes at most {max}")]
    MessageTooLong {
        /// Bytes of the message.
        len: usize,
        /// Bytes that the peer takes.
        max: usize,
    },
    /// The operation is one of a stream, and this is a channel of messages, or the other way round.
    #[error("this channel carries {}", if *.stream { "a stream of bytes" } else { "messages" })]
    WrongKind {
        /// What the channel is.
        stream: bool,
    },
    /// A datagram is longer than one may be.
    #[error("the datagram has {len} bytes; at most 16,384 can be sent")]
    DatagramTooLong {
        /// Bytes of the datagram.
        len: usize,
    },
    /// A label must have 1 to 64 bytes.
    #[error("a channel's label has 1 to 64 bytes")]
    BadLabel,
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use alloc::string::String;

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
            (ConnectionError::SessionEnded(FreshReason::Expired), CloseCode::Timeout, "session-expired"),
            (ConnectionError::Unreachable, CloseCode::Timeout, "unreachable"),
            (ConnectionError::LocallyClosed(CloseCode::Normal), CloseCode::Normal, "normal"),
            (ConnectionError::PeerClosed(close), CloseCode::InviteUsed, "invite-used"),
        ] {
            assert_eq!((error.close_code(), error.word()), (code, word), "{error:?}");
        }
    }
}
