//! Why a connection or a channel ended: one registry for each number space.

use core::fmt::{self, Write as _};

use alloc::string::String;

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident, $unknown:ident { $($(#[$vdoc:meta])* $variant:ident = $value:literal, $word:literal, $sentence:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum $name { $($(#[$vdoc])* $variant = $value,)* }

        impl $name {
            /// Every code of the registry.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code of a number. Numbers that this version does not know are read as its most general one.
            #[must_use]
            pub const fn from_wire(number: u16) -> Self {
                match number { $($value => Self::$variant,)* _ => Self::$unknown }
            }

            /// The number on the wire.
            #[must_use]
            pub const fn to_wire(self) -> u16 {
                self as u16
            }

            /// A stable word for programs.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// A sentence for people.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.sentence())
            }
        }
    };
}

codes! {
    /// Why a connection ends, as its last frame says.
    CloseCode, Protocol {
        /// On purpose.
        Normal = 0, "normal", "The line was closed.";
        /// The server stops.
        GoingAway = 1, "going-away", "The server is stopping.";
        /// The peer broke the protocol.
        Protocol = 2, "protocol", "The other end sent something that this protocol does not allow.";
        /// The peer took too long.
        Timeout = 3, "timeout", "The other end did not answer in time.";
        /// A newer connection of the same device took over.
        Replaced = 4, "replaced", "A newer connection of this device has taken over.";
        /// A fault of the closing end.
        Internal = 5, "internal", "The other end has failed.";
        /// A record did not authenticate.
        Altered = 6, "altered", "A message was altered on its way, and the line was cut before it could do harm.";
        /// The device is not known here.
        NotEnrolled = 16, "not-enrolled", "The server does not know this device: ask its owner for a new invite link.";
        /// Another device has used the invite.
        InviteUsed = 17, "invite-used", "This invite has already been used by another device: ask for a new one.";
        /// The invite is too old.
        InviteExpired = 18, "invite-expired", "This invite has expired: ask for a new one.";
        /// The device was removed.
        DeviceRevoked = 19, "device-revoked", "The server's owner has removed this device.";
        /// The device's signature does not fit its key or this handshake.
        BadSignature = 20, "bad-signature", "This device's signature was not accepted.";
        /// The page's origin is not one that the server serves.
        OriginRefused = 21, "origin-refused", "The server does not accept pages from this address.";
        /// What the client saw is not what arrived.
        HostMismatch = 22, "host-mismatch", "The address that this device opened is not the one that the server was asked for.";
        /// Evidence names another subject than the session has.
        SubjectChanged = 23, "subject-changed", "Somebody else has signed in.";
        /// Whom the server's owner asks of every caller does not let this one in. The reason may say why, for the person.
        HookRefused = 24, "hook-refused", "The server does not let you in.";
    }
}

codes! {
    /// Why a channel ends before its time.
    ResetCode, Failed {
        /// The application gave up.
        Cancelled = 1, "cancelled", "The other end has cancelled.";
        /// The caller's deadline passed.
        Deadline = 2, "deadline", "The answer did not come in time.";
        /// There is no service of that label.
        Refused = 3, "refused", "The other end has no such service.";
        /// The service failed.
        Failed = 4, "failed", "The service at the other end has failed.";
        /// The service has finished and reads no more.
        Stopped = 5, "stopped", "The service at the other end reads no more.";
        /// There is no room for it now.
        Busy = 6, "busy", "The other end has no room for this now.";
        /// The server's policy does not open it to this caller, or not any more.
        NotAllowed = 7, "not-allowed", "The server does not allow this.";
        /// It takes a person who has just shown to be there. Whoever does may open it.
        StepUpNeeded = 8, "step-up-needed", "Show by a passkey that you are there.";
        /// The server gives its place to another process, which has what the service needs. Asked again, that one answers.
        GoingAway = 9, "going-away", "The server is being replaced: ask again.";
    }
}

codes! {
    /// Why a server begins a new session where a client wanted to resume one. Everything pending in the old one settles.
    FreshReason, Unknown {
        /// It was without a connection for longer than the server keeps one.
        Expired = 2, "session-expired", "The line was cut for too long, so that the server has ended the session.";
        /// The server never had it, or has long forgotten it, or it is another device's.
        Unknown = 3, "session-unknown", "The server does not know this session any more.";
        /// The server needed its memory for others.
        Evicted = 4, "session-evicted", "The server has ended the session to make room.";
        /// The server is a new process.
        Restarted = 5, "session-restarted", "The server was started again, and knows nothing of the session.";
        /// Three records in a row were altered on their way to the server.
        Altered = 6, "session-altered", "Messages were altered on their way again and again, so that the server has ended the session.";
        /// The session is another subject's than the evidence names. Nothing of it is carried over.
        Subject = 7, "session-subject", "Whoever was signed in is not any more.";
    }
}

/// The last word of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Why.
    pub code: CloseCode,
    /// In the closing application's words; may be empty.
    pub reason: String,
    /// How many counted frames the closing end had received.
    pub received: u64,
}

/// The reason is a stranger's text: it is shown without anything that could steer a terminal or forge a line of a log.
impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.code, f)?;
        if self.reason.is_empty() {
            return Ok(());
        }
        f.write_str(" (")?;
        for char in self.reason.chars() {
            f.write_char(if char.is_control() { char::REPLACEMENT_CHARACTER } else { char })?;
        }
        f.write_char(')')
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use alloc::{borrow::ToOwned, string::ToString};

    use super::*;

    #[test]
    fn a_strangers_reason_cannot_steer_a_terminal() {
        let close = Close { code: CloseCode::Normal, reason: "bye\u{1b}[2J\nroot".to_owned(), received: 0 };
        assert_eq!(close.to_string(), "The line was closed. (bye\u{fffd}[2J\u{fffd}root)");
    }

    #[test]
    fn every_code_survives_the_wire_and_has_a_word_of_its_own() {
        for (index, code) in CloseCode::ALL.iter().enumerate() {
            assert_eq!(CloseCode::from_wire(code.to_wire()), *code);
            assert!(!CloseCode::ALL.iter().skip(index + 1).any(|other| other.word() == code.word()));
        }
        for code in ResetCode::ALL {
            assert_eq!(ResetCode::from_wire(code.to_wire()), *code);
        }
        assert_eq!(CloseCode::from_wire(60_000), CloseCode::Protocol);
    }
}
