//! What the owner says of networks, countries and budgets: `[firewall]`.

use std::{num::NonZeroU32, path::PathBuf};

use ipnet::IpNet;

use super::{debts::Rates, table::What};
use crate::door::policy::limits::Rate;

/// Connections of one address in a minute, unless told: two hundred a second, for an office behind one address.
pub(super) const CONNECTIONS_OF_AN_ADDRESS: u32 = 12_000;
/// The same of handshakes, each of which costs as much as a hundred connections.
pub(super) const HANDSHAKES_OF_AN_ADDRESS: u32 = 3_000;

/// What a firewall lets through. The default denies nobody, and bounds what one address may begin in a minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirewallSettings {
    /// Networks that may connect; within a wider one that is denied, too.
    pub allow: Vec<IpNet>,
    /// Networks that may not.
    pub deny: Vec<IpNet>,
    /// Files of networks that may connect, one a line; read again when they change.
    pub allow_files: Vec<PathBuf>,
    /// The same of networks that may not.
    pub deny_files: Vec<PathBuf>,
    /// Networks that no budget bounds.
    pub exempt: Vec<IpNet>,
    /// Whether who is in none of them may connect, if his country does not decide.
    pub otherwise: Otherwise,
    /// Which countries may; none: it is not asked.
    pub countries: Option<CountrySettings>,
    /// What each address may have. Of IPv6 that is a /64; a /56 may have four times as much, a /48 16 times, a /32 256 times.
    pub address: Budgets,
    /// What each subject may have on all its devices, else each device; all guests together are one.
    pub identity: Budgets,
    /// What all may have together.
    pub all: Budgets,
}

/// Whether somebody comes in of whom nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// He does.
    #[default]
    Allow,
    /// He does not.
    Deny,
}

/// Which countries may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountrySettings {
    /// A file of MaxMind's format that the owner brings; read again when it changes.
    pub file: PathBuf,
    /// Whether those of the list may, and no others; or all others.
    pub list: CountryList,
    /// Whether an address may that has no country there.
    pub unknown: Otherwise,
}

/// Countries, by the two letters of ISO 3166-1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CountryList {
    /// These and no others.
    Allow(Vec<[u8; 2]>),
    /// All but these.
    Deny(Vec<[u8; 2]>),
}

/// How much somebody may have; none: no bound beyond those that hold for all. A period's worth may come at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budgets {
    /// Connections a minute. Of an identity there are none but its handshakes.
    pub connections: Option<NonZeroU32>,
    /// Handshakes a minute.
    pub handshakes: Option<NonZeroU32>,
    /// Messages and datagrams a second.
    pub messages: Option<NonZeroU32>,
    /// Bytes a second.
    pub bytes: Option<NonZeroU32>,
    /// Requests to the backend a second.
    pub requests: Option<NonZeroU32>,
}

impl Default for FirewallSettings {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            allow_files: Vec::new(),
            deny_files: Vec::new(),
            exempt: Vec::new(),
            otherwise: Otherwise::Allow,
            countries: None,
            address: Budgets {
                connections: NonZeroU32::new(CONNECTIONS_OF_AN_ADDRESS),
                handshakes: NonZeroU32::new(HANDSHAKES_OF_AN_ADDRESS),
                ..Budgets::default()
            },
            identity: Budgets::default(),
            all: Budgets::default(),
        }
    }
}

impl Budgets {
    /// So many a minute.
    pub(super) const fn of(&self, what: What) -> Option<NonZeroU32> {
        match what {
            What::Connection => self.connections,
            What::Handshake => self.handshakes,
        }
    }

    /// Whether it bounds those who have not come in yet.
    pub(super) const fn is_of_strangers(&self) -> bool {
        self.connections.is_some() || self.handshakes.is_some()
    }

    /// Messages, bytes and requests a second, so many times as much.
    pub(super) fn per_second(&self, times: u32) -> Rates {
        let more = |number: NonZeroU32| number.saturating_mul(NonZeroU32::new(times).unwrap_or(NonZeroU32::MIN));
        [self.messages, self.bytes, self.requests].map(|number| number.map(more).map(Rate::new))
    }

    /// Whether it bounds what sessions bring.
    pub(super) const fn is_of_sessions(&self) -> bool {
        self.messages.is_some() || self.bytes.is_some() || self.requests.is_some()
    }
}
