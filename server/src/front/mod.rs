//! What comes from the network: the listener and its limits, TLS, the WebSocket, the page; and where browsers find it all.

pub(crate) mod acme;
pub(crate) mod address;
pub(crate) mod assets;
pub(crate) mod certificate;
pub(crate) mod certificates;
pub(crate) mod head;
pub(crate) mod http;
pub(crate) mod intake;
pub(crate) mod proxied;
pub(crate) mod socket;
pub(crate) mod strangers;
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod tls_stream;
pub(crate) mod well_known;
