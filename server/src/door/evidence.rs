//! What the server knows of a caller: proved by the handshake, or seen by the transport. What a client merely says of itself
//! is `Claims`, of the core.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use duologue::DeviceId;
use duologue_native::path::{AddressFrom, Difference, Differences, Form, Tls};

use super::{
    path::Rewritten,
    standing::{Group, Level, Subject},
};

/// What is proved: this device holds this key, and whose it is at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The device.
    pub device: DeviceId,
    /// Who it is, by the owner's name for them; none where nobody whom the owner trusts has said so.
    pub subject: Option<Subject>,
    /// To which groups that subject belongs.
    pub groups: Arc<[Group]>,
    /// How sure the server is of the person.
    pub level: Level,
}

/// What the transport saw. True as far as the proxies on the way are to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// The peer's address: behind proxies that the owner has named, their client's. Unspecified (0.0.0.0) where it is not known.
    pub address: IpAddr,
    /// The `Origin` header of a page, which is its owner's alone; none for native clients, and for apps.
    pub origin: Option<String>,
    /// That of an app, such as `capacitor://localhost`. Every app of its kind has the same, so that it counts as a native
    /// client: nothing may be allowed by it that is not allowed to these.
    pub app_origin: Option<String>,
    /// From where the address is known.
    pub(crate) address_from: AddressFrom,
    /// A proxy that the owner has put there has brought the connection.
    pub(crate) own_proxy: bool,
    /// How M1 came.
    pub(crate) form: Option<Form>,
    /// TLS of the own listener, where it is this crate's.
    pub(crate) tls: Option<Tls>,
    /// What of the upgrade request is not as every client sends it. An idle session has no room for what is.
    pub(crate) rewritten: Option<Arc<Rewritten>>,
    /// In what the connection was another one at the client, as far as that was found.
    pub(crate) differs: Differences,
    /// Of these the owner was told, for the session's sake.
    pub(crate) told: Differences,
}

impl Default for Transport {
    /// One of which nothing is known.
    fn default() -> Self {
        Self {
            address: Ipv4Addr::UNSPECIFIED.into(),
            origin: None,
            app_origin: None,
            address_from: AddressFrom::default(),
            own_proxy: false,
            form: None,
            tls: None,
            rewritten: None,
            differs: Differences::default(),
            told: Differences::default(),
        }
    }
}

impl Transport {
    /// Whether `Host` and `Origin` have come as the client has sent them.
    pub(crate) const fn is_as_sent(&self) -> bool {
        !self.differs.has(Difference::Host) && !self.differs.has(Difference::Origin)
    }
}
