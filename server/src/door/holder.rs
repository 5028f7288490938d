//! Who is taken for one where something is shared out: places for blocking work, requests, what a rule's limits count.
//!
//! ```text
//! let in ─────────────────────────────────► its device
//! nobody has let it in, and it stands ─┬──► its subject: a device key costs nothing, so that none of them has a share
//!                                      └──► guest: all of them are one, and within that each network
//! ```

use std::net::IpAddr;

use duologue::DeviceId;

use super::standing::Subject;
use crate::watch::bans::network;

/// Who is taken for one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// A device that was let in.
    Device(DeviceId),
    /// Whoever has shown to be this person, from a device that nobody has let in.
    Subject(Subject),
    /// Guests from this network. None: from where one address may be everybody's, or is not known.
    Guests(Option<IpAddr>),
}

impl Holder {
    /// A guest from this address. One of IPv6 stands for its /64, which one subscriber has; a proxy that nobody has named may
    /// speak from loopback for everybody.
    pub(crate) fn guest(address: IpAddr) -> Self {
        let is_known = !address.is_loopback() && !address.is_unspecified();
        Self::Guests(is_known.then(|| network(address)))
    }

    pub(crate) const fn is_guest(&self) -> bool {
        matches!(self, Self::Guests(_))
    }
}

impl From<DeviceId> for Holder {
    fn from(device: DeviceId) -> Self {
        Self::Device(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_of_one_subscriber_are_one_and_those_of_nobody_knows_where_are_one_crowd() {
        let of = |text: &str| Holder::guest(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        for crowd in ["127.0.0.1", "::1", "0.0.0.0", "::"] {
            assert_eq!(of(crowd), Holder::Guests(None), "{crowd}");
        }
    }
}
