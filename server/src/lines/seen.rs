//! What the watch is told of a connection's end: whose doing it can be, by what of it was under a verified seal.

use duologue::{CloseCode, ConnectionError, Cut, PeerMisbehaved};

use crate::watch::events::{Event, Kind};

/// Why a connection has ended, unless the words are the peer's: nothing tells these.
fn with_cause(kind: Kind, cause: &ConnectionError) -> Event {
    let event = Event::of(kind).code(cause.word());
    match cause {
        ConnectionError::PeerClosed(_) => event,
        cause => event.note(cause.to_string()),
    }
}

/// Of a connection on which no device has signed. Anybody on the way can have made it so. One that `is_late` was for a key that was
/// this server's: every honest client makes such, once that is retired.
pub(super) fn of_handshake(cause: &ConnectionError, is_late: bool) -> Event {
    let kind = match cause {
        ConnectionError::NotForThisServer if is_late => Kind::OldKey,
        ConnectionError::NotForThisServer => Kind::WrongKey,
        ConnectionError::BadSignature => Kind::SignatureBad,
        ConnectionError::TimedOut => Kind::HandshakeSlow,
        ConnectionError::Lost => Kind::HandshakeLost,
        ConnectionError::Altered => Kind::RecordAltered,
        ConnectionError::PeerMisbehaved(PeerMisbehaved::TextMessage) => Kind::TextInjected,
        ConnectionError::PeerClosed(_) | ConnectionError::LocallyClosed(_) => Kind::LineEnded,
        _ => Kind::HandshakeFailed,
    };
    with_cause(kind, cause)
}

/// Of a line: a device has signed on it, and what opens with its keys is its doing.
pub(super) fn of_line(cause: &ConnectionError) -> Event {
    let kind = match cause {
        ConnectionError::Altered => Kind::RecordAltered,
        ConnectionError::PeerMisbehaved(PeerMisbehaved::TextMessage) => Kind::TextInjected,
        ConnectionError::PeerMisbehaved(PeerMisbehaved::TooMuchEarlyData | PeerMisbehaved::NoSubprotocol) => {
            Kind::LineEnded
        }
        ConnectionError::InvalidMessage(_) | ConnectionError::PeerMisbehaved(_) => Kind::ProtocolBroken,
        _ => Kind::LineEnded,
    };
    with_cause(kind, cause)
}

/// What was done on the way to a connection whose session lives on.
pub(super) const fn altered(cut: Cut) -> Option<Kind> {
    match cut {
        Cut::Altered => Some(Kind::RecordAltered),
        Cut::Text => Some(Kind::TextInjected),
        Cut::Lost => None,
    }
}

/// A device that has signed, and is not let in.
pub(super) const fn refusal(code: CloseCode, by_invite: bool) -> Kind {
    match code {
        CloseCode::DeviceRevoked => Kind::RevokedCame,
        CloseCode::InviteUsed | CloseCode::InviteExpired => Kind::InviteRefused,
        CloseCode::NotEnrolled if by_invite => Kind::InviteRefused,
        CloseCode::NotEnrolled => Kind::DeviceUnknown,
        _ => Kind::DeviceRefused,
    }
}
