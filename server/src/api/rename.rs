//! A server moves to another address: what goes with it, and what does not.

use std::sync::Arc;

use axum::{Extension, Router, extract::State as Extracted, http::StatusCode, response::Response, routing::post};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, By, Failure, Said, Target, blocking, by_whom, json};
use crate::{
    front::address::Address,
    state::store::{DeviceStatus, StoreError},
    watch::events::{Event, Kind},
};

/// Where a server is from now on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rename {
    /// Its address, such as `https://line.example`.
    pub url: String,
}

/// What that means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Renamed {
    /// The address of before; none if it has none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The new one.
    pub to: String,
    /// Devices that may connect: each knows the server by its old address.
    pub devices: usize,
    /// Invites that are open: their links have the old address.
    pub invites: usize,
    /// Passkeys, if the host's name is another one: they are the old one's.
    pub passkeys: u64,
}

pub(super) fn routes() -> Router<Arc<Target>> {
    Router::new().route("/rename", post(rename))
}

async fn rename(
    Extracted(target): Extracted<Arc<Target>>,
    by: Option<Extension<By>>,
    Said(Rename { url }): Said<Rename>,
) -> Answer<Response> {
    let bad = |error: String| Failure::new(StatusCode::BAD_REQUEST, "bad-address", &error);
    let to = Address::parse(&url).map_err(|error| bad(error.to_string()))?;
    let state = target.state.clone();
    let renamed = blocking(move || {
        let store = state.store();
        let from = store.address()?;
        let host = from.as_deref().and_then(|from| Address::parse(from).ok());
        let same_host = host.is_none_or(|from| from.host_name() == to.host_name());
        let passkeys = if same_host { 0 } else { store.counts()?.passkeys };
        let devices = store.devices()?;
        let devices = devices.iter().filter(|device| device.status == DeviceStatus::Enrolled).count();
        let invites = store.invites()?.iter().filter(|invite| invite.is_good).count();
        let to = to.to_string();
        store.set_address(&to)?;
        Ok::<_, StoreError>(Renamed { from, to, devices, invites, passkeys })
    })
    .await??;
    target.watch().tell(Event::of(Kind::AddressChanged).note(format!("to={} by=\"{}\"", renamed.to, by_whom(by))));
    Ok(json(StatusCode::OK, &renamed))
}
