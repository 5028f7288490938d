//! Of whom a revocation is: one device, or all whom a name means. As the journal and the store keep it, so that one of
//! thousands of devices takes one slot.
//!
//! Names are kept as their digests: slots have one length, and what was revoked need not be known here otherwise.

use duologue::DeviceId;
use ring::digest;
use serde::{Deserialize, Serialize};

/// What is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// A device, by its id.
    Device = 0,
    /// A subject, with the devices that are bound to it.
    Subject = 1,
    /// A group, with the devices of its subjects.
    Group = 2,
    /// A token, by the id that its issuer gave it.
    Token = 3,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Device, Self::Subject, Self::Group, Self::Token];

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// Who is to be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Whom {
    pub(super) kind: Kind,
    pub(super) id: [u8; 32],
    pub(super) with_descendants: bool,
}

impl Whom {
    /// A device: it does not come back.
    #[must_use]
    pub const fn device(device: DeviceId) -> Self {
        Self { kind: Kind::Device, id: device.0, with_descendants: false }
    }

    /// A subject: its devices do not come back, and nothing that names it lets anybody in until it is restored.
    #[must_use]
    pub fn subject(name: &str) -> Self {
        Self::named(Kind::Subject, name)
    }

    /// A group: the devices of those who are in it do not come back, and nobody who is in it is let in until it is restored.
    #[must_use]
    pub fn group(name: &str) -> Self {
        Self::named(Kind::Group, name)
    }

    /// A token, by its id (`jti`).
    #[must_use]
    pub fn token(id: &str) -> Self {
        Self::named(Kind::Token, id)
    }

    /// With these devices, those that they have let in, and those whom these have, and so on.
    #[must_use]
    pub const fn with_descendants(mut self) -> Self {
        self.with_descendants = true;
        self
    }

    fn named(kind: Kind, name: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&[kind as u8]);
        context.update(name.as_bytes());
        let id = *context.finish().as_ref().first_chunk().expect("SHA-256 has 32 bytes");
        Self { kind, id, with_descendants: false }
    }

    /// What is refused from now on, however it was said.
    pub(super) const fn refused(self) -> (Kind, [u8; 32]) {
        (self.kind, self.id)
    }

    /// Whether another names the same, whatever goes with it.
    pub(crate) fn means(self, other: Self) -> bool {
        self.refused() == other.refused()
    }

    /// The device, if it is one.
    pub(crate) const fn one_device(self) -> Option<DeviceId> {
        match self.kind {
            Kind::Device => Some(DeviceId(self.id)),
            Kind::Subject | Kind::Group | Kind::Token => None,
        }
    }
}

impl From<DeviceId> for Whom {
    fn from(device: DeviceId) -> Self {
        Self::device(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_one_thing_of_each_kind() {
        let all = [Whom::subject("ada"), Whom::group("ada"), Whom::token("ada"), Whom::subject("Ada")];
        for (at, one) in all.iter().enumerate() {
            assert_eq!(all.iter().filter(|other| *other == one).count(), 1, "{at}");
        }
        assert_eq!(Whom::subject("ada").with_descendants().refused(), Whom::subject("ada").refused());
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(kind as u8), Some(kind));
        }
        assert_eq!(Kind::from_number(4), None);
    }
}
