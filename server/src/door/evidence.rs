//! What the server knows of a caller: proved by the handshake, or seen by the transport. What a client merely says of itself
//! is `Claims`, of the core.

use std::net::IpAddr;

use duologue::DeviceId;

/// What the handshake has proved: this device holds this key, and the owner has let it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The device.
    pub device: DeviceId,
    /// How sure the server is of the person: 1 = the device key.
    pub level: u8,
}

/// What the transport saw. True as far as the proxies on the way are to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// The peer's address.
    pub address: IpAddr,
    /// The `Origin` header of a page, which is its owner's alone; none for native clients, and for apps.
    pub origin: Option<String>,
    /// That of an app, such as `capacitor://localhost`. Every app of its kind has the same, so that it counts as a native
    /// client: nothing may be allowed by it that is not allowed to these.
    pub app_origin: Option<String>,
}
