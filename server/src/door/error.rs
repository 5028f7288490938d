//! What the door says when it does not take a proof: one word for each cause, with what is wrong and what can be done about it.
//!
//! The word is for programs, and the only part that goes to whoever brought the proof, under the seal. The sentences, and the
//! particulars of a [`Refused`], are for the owner and the developer: the log and `duologue token check`.

use std::{borrow::Cow, fmt};

use thiserror::Error;

/// Why the door does not take what a caller brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DoorError {
    /// Not a JSON Web Token that is signed, or too long.
    TokenMalformed,
    /// Its header asks for something that is not done here: a critical extension, or a kind of token that is no login.
    TokenKind,
    /// The issuer has no such key.
    TokenKey,
    /// The issuer's keys cannot be had.
    TokenKeysUnreachable,
    /// Signed by another algorithm than its key is for.
    TokenAlgorithm,
    /// The signature is not of that key over this token.
    TokenAltered,
    /// Of another issuer.
    TokenIssuer,
    /// For somebody else.
    TokenAudience,
    /// Its time is over.
    TokenExpired,
    /// Its time has not come.
    TokenNotYet,
    /// A claim that is needed is missing, or not what it should be.
    TokenClaims,
    /// Bound to another key than this device's.
    TokenOfAnotherDevice,
    /// The owner has revoked it, its subject or one of its groups.
    TokenRevoked,
    /// The owner has bound the device to another subject.
    DeviceOfAnotherSubject,
    /// No tokens are taken here.
    TokenNotTaken,
    /// The person has signed out.
    SignedOut,
    /// The subject has no passkey.
    PasskeyNone,
    /// The subject has no such passkey.
    PasskeyUnknown,
    /// Its challenge is of another session, was used, or is too old.
    PasskeyLate,
    /// What the passkey has signed is not what was asked for.
    PasskeyRefused,
    /// The authenticator has not verified its person.
    PasskeyUnverified,
    /// Its counter went back.
    PasskeyCopied,
    /// Its algorithm is not taken here.
    PasskeyAlgorithm,
    /// It is registered already.
    PasskeyKnown,
    /// The subject has as many as it may.
    PasskeyTooMany,
    /// What was proved is too old for a first passkey to be registered by it.
    LoginTooOld,
    /// The session is nobody's.
    NoSubject,
    /// It takes a person who is present, by a passkey.
    StepUpNeeded,
    /// The owner's backend, asked at connect, has refused the caller.
    HookRefused,
    /// The owner's backend has not answered in time, or not at all.
    HookUnreachable,
    /// What the owner's backend has answered cannot be read.
    HookAnswer,
    /// The owner's backend names another subject than was proved.
    HookStranger,
    /// What the owner's backend has said of the person was good until now.
    StandingExpired,
}

impl DoorError {
    /// All, in their order.
    pub const ALL: [Self; 33] = [
        Self::TokenMalformed,
        Self::TokenKind,
        Self::TokenKey,
        Self::TokenKeysUnreachable,
        Self::TokenAlgorithm,
        Self::TokenAltered,
        Self::TokenIssuer,
        Self::TokenAudience,
        Self::TokenExpired,
        Self::TokenNotYet,
        Self::TokenClaims,
        Self::TokenOfAnotherDevice,
        Self::TokenRevoked,
        Self::DeviceOfAnotherSubject,
        Self::TokenNotTaken,
        Self::SignedOut,
        Self::PasskeyNone,
        Self::PasskeyUnknown,
        Self::PasskeyLate,
        Self::PasskeyRefused,
        Self::PasskeyUnverified,
        Self::PasskeyCopied,
        Self::PasskeyAlgorithm,
        Self::PasskeyKnown,
        Self::PasskeyTooMany,
        Self::LoginTooOld,
        Self::NoSubject,
        Self::StepUpNeeded,
        Self::HookRefused,
        Self::HookUnreachable,
        Self::HookAnswer,
        Self::HookStranger,
        Self::StandingExpired,
    ];

    /// As a word, for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::TokenMalformed => "token-malformed",
            Self::TokenKind => "token-kind",
            Self::TokenKey => "token-key",
            Self::TokenKeysUnreachable => "token-keys-unreachable",
            Self::TokenAlgorithm => "token-algorithm",
            Self::TokenAltered => "token-altered",
            Self::TokenIssuer => "token-issuer",
            Self::TokenAudience => "token-audience",
            Self::TokenExpired => "token-expired",
            Self::TokenNotYet => "token-not-yet",
            Self::TokenClaims => "token-claims",
            Self::TokenOfAnotherDevice => "token-of-another-device",
            Self::TokenRevoked => "token-revoked",
            Self::DeviceOfAnotherSubject => "device-of-another-subject",
            Self::TokenNotTaken => "token-not-taken",
            Self::SignedOut => "signed-out",
            Self::PasskeyNone => "passkey-none",
            Self::PasskeyUnknown => "passkey-unknown",
            Self::PasskeyLate => "passkey-late",
            Self::PasskeyRefused => "passkey-refused",
            Self::PasskeyUnverified => "passkey-unverified",
            Self::PasskeyCopied => "passkey-copied",
            Self::PasskeyAlgorithm => "passkey-algorithm",
            Self::PasskeyKnown => "passkey-known",
            Self::PasskeyTooMany => "passkey-too-many",
            Self::LoginTooOld => "login-too-old",
            Self::NoSubject => "no-subject",
            Self::StepUpNeeded => "step-up-needed",
            Self::HookRefused => "hook-refused",
            Self::HookUnreachable => "hook-unreachable",
            Self::HookAnswer => "hook-answer",
            Self::HookStranger => "hook-stranger",
            Self::StandingExpired => "standing-expired",
        }
    }

    /// What is wrong.
    #[must_use]
    pub const fn cause(self) -> &'static str {
        match self {
            Self::TokenMalformed => "this is no signed JSON Web Token of at most 8,184 bytes",
            Self::TokenKind => "this kind of token is no login",
            Self::TokenKey => "the issuer has no key of the token's `kid`",
            Self::TokenKeysUnreachable => "the issuer's keys could not be had",
            Self::TokenAlgorithm => "the token is signed by another algorithm than its key is for",
            Self::TokenAltered => "the token's signature is not of this key over these claims",
            Self::TokenIssuer => "another issuer has made the token",
            Self::TokenAudience => "the token is for somebody else",
            Self::TokenExpired => "the token's time is over",
            Self::TokenNotYet => "the token's time has not come",
            Self::TokenClaims => "a claim that is needed is missing, or is not what it should be",
            Self::TokenOfAnotherDevice => "the token is bound to another key than this device's",
            Self::TokenRevoked => "the owner has revoked the token, its subject or one of its groups",
            Self::DeviceOfAnotherSubject => "this device is bound to another subject than the token names",
            Self::TokenNotTaken => "this server takes no tokens",
            Self::SignedOut => "the person has signed out, here or in another session of this device",
            Self::PasskeyNone => "this account has no passkey",
            Self::PasskeyUnknown => "this account has no such passkey",
            Self::PasskeyLate => {
                "the challenge that the passkey has answered is of another session, was used, or is too old"
            }
            Self::PasskeyRefused => "what the passkey has signed is not what was asked for here",
            Self::PasskeyUnverified => "the authenticator has not verified who uses it",
            Self::PasskeyCopied => "the passkey's counter has not risen: there may be a copy of it",
            Self::PasskeyAlgorithm => "the passkey's algorithm is not taken here",
            Self::PasskeyKnown => "this passkey is registered already",
            Self::PasskeyTooMany => "this account has as many passkeys as it may",
            Self::LoginTooOld => {
                "a first passkey is registered within 5 minutes of a login, and this one is older, or says no time"
            }
            Self::NoSubject => "nobody has said whose this session is, so that there is nobody to be present",
            Self::StepUpNeeded => "this takes a person who has just shown to be there",
            Self::HookRefused => "the owner's backend does not let this caller in",
            Self::HookUnreachable => "the owner's backend, which is asked of every caller, has not answered",
            Self::HookAnswer => "what the owner's backend has answered cannot be read",
            Self::HookStranger => "the owner's backend names a subject for whom nothing was proved",
            Self::StandingExpired => "the login was good until now",
        }
    }

    /// What can be done about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::TokenMalformed => {
                "give it the token as the issuer made it: three parts of base64url with a dot between"
            }
            Self::TokenKind => "use an ID token or an access token, and none that needs an extension (`crit`)",
            Self::TokenKey => "look whether `keys` is of this issuer; a key that is new is found within 15 s",
            Self::TokenKeysUnreachable => {
                "look whether this server reaches the address of `keys`; the log says what went wrong there"
            }
            Self::TokenAlgorithm => "have the issuer sign by the algorithm that the key's `alg` names in its key set",
            Self::TokenAltered => "take the token from the issuer anew, and pass it on unchanged",
            Self::TokenIssuer => {
                "set `issuer` to the token's `iss`, letter by letter, if that is the one to be trusted"
            }
            Self::TokenAudience => {
                "ask the issuer for a token for this `audience`, or set `audience` to the token's `aud`"
            }
            Self::TokenExpired => "ask the issuer for a new one; if it is new, set both clocks",
            Self::TokenNotYet => "set both clocks: more than 5 s are between them",
            Self::TokenClaims => "have the issuer add the claim, or name another one in the configuration",
            Self::TokenOfAnotherDevice => {
                "ask for a token with this device's `link.device.nonce` as its `nonce`, or `link.device.jkt` in `cnf`"
            }
            Self::TokenRevoked => "`duologue accounts restore` takes a revocation back; a token needs a new one",
            Self::DeviceOfAnotherSubject => "`duologue devices release` gives the device free; or use one of their own",
            Self::TokenNotTaken => "tell the server whose tokens it takes, or come by an invite without one",
            Self::SignedOut => "sign in again, with a new line",
            Self::PasskeyNone => "register one (`link.passkeys.register()`), within 5 minutes of a login",
            Self::PasskeyUnknown => "use one that is registered for it, or register this one",
            Self::PasskeyLate => "ask for another one, and answer it within the `timeout`",
            Self::PasskeyRefused => {
                "look at the log for what is wrong; `rp_id` and `origins` of [door.passkey] must be those of the page"
            }
            Self::PasskeyUnverified => "set a PIN, a finger or a face for it, and try again",
            Self::PasskeyCopied => "remove it (`duologue accounts passkeys remove`), and register another",
            Self::PasskeyAlgorithm => "use an authenticator that has ES256, EdDSA or RS256",
            Self::PasskeyKnown => "use it as it is, or make another one",
            Self::PasskeyTooMany => "remove one that is not used any more",
            Self::LoginTooOld => {
                "log in anew: a token needs `auth_time` (`max_age` or `prompt=login` in the request), an invite must be made for the person"
            }
            Self::NoSubject => "log in first, or bind the device (`duologue devices bind`)",
            Self::StepUpNeeded => "show it by a passkey (`link.stepUp()`), and try again",
            Self::HookRefused => "the words of the refusal are the backend's: do what they say, and connect again",
            Self::HookUnreachable => {
                "start the backend, or look why it takes so long; who is in stays, and who comes again is asked of again"
            }
            Self::HookAnswer => "answer 200 with JSON of `subject`, `groups`, `level`, `until`, or of `refuse` alone",
            Self::HookStranger => {
                "bind the device to the subject (`duologue devices bind`), or let its person log in over the line: a cookie \
                 that was only seen proves nobody"
            }
            Self::StandingExpired => "log in again; `until` and [door.vouch] `longest` say how long a login is good",
        }
    }

    /// Whether other evidence of the same person may do better. A server that takes no tokens wants none, nor does it of somebody who
    /// has signed out; and what the owner's backend says, or does not, another token changes nothing about.
    pub(crate) const fn wants_other(self) -> bool {
        !matches!(
            self,
            Self::TokenNotTaken
                | Self::SignedOut
                | Self::HookRefused
                | Self::HookUnreachable
                | Self::HookAnswer
                | Self::HookStranger
                | Self::StandingExpired
        )
    }

    /// With particulars.
    pub(crate) fn because(self, detail: impl Into<Cow<'static, str>>) -> Refused {
        Refused { error: self, detail: detail.into() }
    }
}

impl fmt::Display for DoorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What the door does not take, with the particulars that are its owner's alone.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub error: DoorError,
    /// The particulars; empty if there are none.
    pub detail: Cow<'static, str>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error.word(), self.error.cause())?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        write!(f, "; {}", self.error.remedy())
    }
}

impl From<DoorError> for Refused {
    fn from(error: DoorError) -> Self {
        error.because("")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_cause_has_a_word_of_its_own_what_is_wrong_and_what_to_do() {
        let words: BTreeSet<_> = DoorError::ALL.map(DoorError::word).into();
        assert_eq!(words.len(), DoorError::ALL.len(), "no word twice");
        for error in DoorError::ALL {
            assert!(error.word().bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase()), "{error}");
            assert!(error.cause().len() > 20 && error.remedy().len() > 20, "{error}");
        }
        let said = DoorError::TokenAudience.because("`aud` is \"other\"").to_string();
        assert!(said.starts_with("token-audience: the token is for somebody else (`aud` is \"other\"); ask"), "{said}");
    }
}
