//! What the server knows of a caller: proved by the handshake, or seen by the transport. What a client merely says of itself
//! is `Claims`, of the core.

use std::{net::IpAddr, sync::Arc};

use duologue::DeviceId;

use super::standing::{Group, Level, Subject};

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
}
