//! What a caller is to the server at a moment: whose device it is, in which groups, how sure that is, how long, and by what.
//!
//! ```text
//! 0 guest      a device key that nobody vouches for
//! 1 device     let in by an invite, by pairing or by the owner
//! 2 account    somebody whom the owner trusts names the subject: a token, the owner's own backend
//! 3 present    the person has just shown to be there, by a passkey
//! ```
//!
//! Standing is the session's, not its connection's: it may rise and fall while a line is open, and while it is parked. What may be
//! done with it is the policy's to say; who proves it, the rooms' that bring the evidence.

use std::{borrow::Cow, fmt, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::watch::text;

/// The longest subject, in bytes.
pub(crate) const SUBJECT_BYTES_MAX: usize = 128;
/// The longest group, in bytes.
pub(crate) const GROUP_BYTES_MAX: usize = 64;

/// What is no subject or group, and why.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidName {
    /// Empty, or too long.
    #[error("a {what} has 1 to {bytes_max} bytes: this one has {len}")]
    Length {
        /// `subject` or `group`.
        what: &'static str,
        /// How many there may be.
        bytes_max: usize,
        /// How many there are.
        len: usize,
    },
    /// With something in it that does not show, so that two names would look like one.
    #[error(
        "a {what} is printable text without a space at its ends, and \"{shown}\" is none: write it without what hides"
    )]
    Unprintable {
        /// `subject` or `group`.
        what: &'static str,
        /// It, with what does not show made visible.
        shown: String,
    },
}

/// The owner's own name for a person: 1 to 128 bytes of printable text, compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(Arc<str>);

impl AsRef<str> for Subject {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A group of subjects: 1 to 64 bytes of printable text, compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(Arc<str>);

/// A name is text that shows as it is: what hides or turns would make one name look like another.
fn parsed(what: &'static str, bytes_max: usize, name: &str) -> Result<Arc<str>, InvalidName> {
    if name.is_empty() || name.len() > bytes_max {
        return Err(InvalidName::Length { what, bytes_max, len: name.len() });
    }
    let shown = text::shown(name);
    if shown != name || name.trim() != name {
        return Err(InvalidName::Unprintable { what, shown });
    }
    Ok(name.into())
}

macro_rules! name {
    ($name:ident, $what:literal, $bytes_max:ident) => {
        impl $name {
            /// Reads one.
            ///
            /// # Errors
            /// If it is empty, too long, or has something in it that does not show.
            pub fn new(name: &str) -> Result<Self, InvalidName> {
                parsed($what, $bytes_max, name).map(Self)
            }

            /// As it is written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            // A pattern for what shows would be a page long: letters and digits always do.
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "minLength": 1, "maxLength": $bytes_max })
            }
        }
    };
}

name!(Subject, "subject", SUBJECT_BYTES_MAX);
name!(Group, "group", GROUP_BYTES_MAX);

/// How sure the server is of a caller. Told as its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// A device key that nobody vouches for.
    #[default]
    Guest = 0,
    /// Let in by an invite, by pairing or by the owner.
    Device = 1,
    /// Somebody whom the owner trusts names the subject.
    Account = 2,
    /// The person has just shown to be there.
    Present = 3,
}

impl Level {
    /// All, the lowest first.
    pub const ALL: [Self; 4] = [Self::Guest, Self::Device, Self::Account, Self::Present];

    /// As a number: 0 to 3.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// As a word for people and files.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Device => "device",
            Self::Account => "account",
            Self::Present => "present",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.number(), self.word())
    }
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

impl JsonSchema for Level {
    fn schema_name() -> Cow<'static, str> {
        "Level".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": Self::ALL.map(Self::number), "description": "0 guest, 1 device, 2 account, 3 present" })
    }
}

impl<'de> Deserialize<'de> for Level {
    /// From its number.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(deserializer)?;
        let wrong = || de::Error::custom("a level is 0 (guest), 1 (device), 2 (account) or 3 (present)");
        Self::ALL.into_iter().find(|level| level.number() == number).ok_or_else(wrong)
    }
}

/// By what the server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By the device's key alone.
    Device,
    /// By a token of an issuer whom the owner trusts.
    Token {
        /// What the issuer calls it.
        id: Arc<str>,
        /// Whose it is.
        issuer: Arc<str>,
        /// When its person has logged in there, in seconds since 1970, if it says so.
        auth_time: Option<u64>,
    },
    /// By the owner's backend, asked at connect.
    Hook,
    /// By the owner's backend, of a request in which somebody logged in.
    Vouch,
}

/// What a caller is to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Who it is, by the owner's name for them.
    pub subject: Option<Subject>,
    /// To which groups that subject belongs.
    pub groups: Arc<[Group]>,
    /// How sure that is.
    pub level: Level,
    /// Until when, in seconds since 1970; then it falls to what the device has without. None: as long as the device is enrolled.
    pub until: Option<u64>,
    /// When the person last showed to be there, in seconds since 1970.
    pub present_at: Option<u64>,
    /// By what it is known.
    pub proof: Proof,
}

impl Standing {
    /// Of a device that was let in and belongs to nobody in particular.
    #[must_use]
    pub fn device() -> Self {
        Self {
            subject: None,
            groups: Arc::default(),
            level: Level::Device,
            until: None,
            present_at: None,
            proof: Proof::Device,
        }
    }

    /// Whether it has come to its end.
    #[must_use]
    pub fn is_over(&self, now: u64) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_shows_as_it_is_and_is_compared_byte_for_byte() {
        for good in ["ada", "ada@example.org", "Zoé Ångström", "写真", "a b", "auth0|5f7c", &"a".repeat(128)] {
            assert_eq!(Subject::new(good).map(|subject| subject.to_string()).as_deref(), Ok(good));
        }
        assert_ne!(Subject::new("ada"), Subject::new("Ada"));
        assert_ne!(Subject::new("Zo\u{e9}"), Subject::new("Zoe\u{301}"), "two forms are two names");
        for bad in ["a\0", "a\nb", "a\u{202e}b", "a\u{200d}b", " a", "a ", "a\u{3164}"] {
            assert!(matches!(Subject::new(bad), Err(InvalidName::Unprintable { .. })), "{bad:?}");
            assert!(matches!(Group::new(bad), Err(InvalidName::Unprintable { .. })), "{bad:?}");
        }
        assert!(matches!(Subject::new(""), Err(InvalidName::Length { .. })));
        let error = Subject::new(&"é".repeat(65)).expect_err("130 bytes").to_string();
        assert_eq!(error, "a subject has 1 to 128 bytes: this one has 130");
        let error = Group::new(&"a".repeat(65)).expect_err("65 bytes").to_string();
        assert_eq!(error, "a group has 1 to 64 bytes: this one has 65");
        serde_json::from_str::<Group>("\"a\\u0000\"").expect_err("nor as JSON");
    }

    #[test]
    fn levels_are_numbers_in_their_order() {
        assert!(Level::ALL.is_sorted());
        assert_eq!(serde_json::to_string(&Level::ALL).expect("numbers"), "[0,1,2,3]");
        assert_eq!(serde_json::from_str::<Level>("3").expect("a level"), Level::Present);
        for bad in ["4", "-1", "256", "\"device\"", "null"] {
            serde_json::from_str::<Level>(bad).expect_err(bad);
        }
    }

    #[test]
    fn standing_is_over_at_its_end_and_not_before() {
        let until = |until| Standing { until, ..Standing::device() };
        assert!(!until(Some(10)).is_over(9) && until(Some(10)).is_over(10));
        assert!(!until(None).is_over(u64::MAX), "a device has no end");
    }
}
