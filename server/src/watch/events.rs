//! What happened, as one value; and the stream of it that everybody reads.
//!
//! ```text
//! whoever sees it ─► Watch::tell ─► a queue for each reader, bounded ─► log · rules · audit · …
//!                                   └► full: counted by kind, and told by that reader
//! ```
//!
//! An event says who and where, as far as that is known, and never what was said: no message, no path, no name of a file. Telling
//! never waits: whoever tells may be in the middle of a handshake.

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use duologue::DeviceId;

pub use super::kinds::{Kind, Origin};
use super::text;

/// The longest note and label of an event, in characters.
const NOTE_CHARS_MAX: usize = 256;
const LABEL_CHARS_MAX: usize = 64;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: SystemTime,
    /// Of what kind it is.
    pub kind: Kind,
    /// Whose device; one that has proved its key, or the one that it is about.
    pub device: Option<DeviceId>,
    /// Who.
    pub subject: Option<Arc<str>>,
    /// From where. None where that is not known.
    pub address: Option<IpAddr>,
    /// Of which service: a label that there is.
    pub label: Option<Box<str>>,
    /// A word of a closed set: a close code, why a token was refused.
    pub code: Option<&'static str>,
    /// By what somebody was let in: the evidence, the level, the rules. For the audit log.
    pub by: Option<Box<str>>,
    /// What the log says beside: a rule's place, a verb, an error's sentence. Never a message, and never long.
    pub note: Option<Box<str>>,
    /// Nobody has let in this device: in the log it counts as what it comes from.
    pub(crate) stranger: Option<IpAddr>,
}

impl Event {
    /// Of a kind, now.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        // Where nobody is told, nobody needs to know the time.
        let at = if cfg!(feature = "watch") { SystemTime::now() } else { SystemTime::UNIX_EPOCH };
        let (device, subject, address, label, code, by, note) = (None, None, None, None, None, None, None);
        Self { at, kind, device, subject, address, label, code, by, note, stranger: None }
    }

    /// A thread could not be started, and this is not done.
    pub(crate) fn without_thread(what: &str, error: impl std::fmt::Display) -> Self {
        Self::of(Kind::ThreadFailed).note(format!("{what}: {error}"))
    }

    /// Of this device.
    #[must_use]
    pub fn device(mut self, device: DeviceId) -> Self {
        self.device = Some(device);
        self
    }

    /// Of this subject, if there is one.
    #[must_use]
    pub fn subject(mut self, subject: Option<impl AsRef<str>>) -> Self {
        self.subject = subject.map(|subject| Arc::from(subject.as_ref()));
        self
    }

    /// From there. `0.0.0.0` is what is not known.
    #[must_use]
    pub fn address(mut self, address: IpAddr) -> Self {
        self.address = Some(address.to_canonical()).filter(|address| !address.is_unspecified());
        self
    }

    /// At this service.
    #[must_use]
    pub fn label(mut self, label: &str) -> Self {
        self.label = Some(text::shown_within(label, LABEL_CHARS_MAX).into());
        self
    }

    /// By this word.
    #[must_use]
    pub const fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// On this evidence.
    #[must_use]
    pub fn by(mut self, by: Option<impl AsRef<str>>) -> Self {
        self.by = by.map(|by| text::shown_within(by.as_ref(), NOTE_CHARS_MAX).into());
        self
    }

    /// When, in milliseconds since 1970.
    pub(crate) fn millis(&self) -> u64 {
        let since = self.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// With these words beside.
    #[must_use]
    pub fn note(mut self, note: impl AsRef<str>) -> Self {
        self.note = Some(text::shown_within(note.as_ref(), NOTE_CHARS_MAX).into());
        self
    }
}
