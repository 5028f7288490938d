//! Devices: who was let in, whose they are, and how they are thrown out.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use axum::{
    Extension, Router,
    extract::State as Extracted,
    http::StatusCode,
    response::Response,
    routing::{get, post},
};
use duologue::DeviceId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Answer, By, Failure, Named, Said, Target, blocking, by_whom, json,
    revocations::{Revoke, answer_revocation},
};
use crate::watch::events::{Event, Kind};
use crate::{
    door::{
        gate::now,
        standing::{Level, Subject},
    },
    state::{
        store::{Device, DeviceStatus, StoreError},
        whom::Whom,
    },
};

/// All devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceList {
    /// The oldest first.
    pub devices: Vec<DeviceInfo>,
    /// Those that are connected, or wait for a connection, and that nobody has let in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guests: Vec<GuestInfo>,
}

/// A device that nobody has let in, and that is here: as a guest, or by what its person has proved. Nothing is kept of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuestInfo {
    /// Its id, base64url: `devices revoke` ends its lines.
    pub id: String,
    /// As its person can see it too: 8 groups of 4 hexadecimal digits.
    pub fingerprint: String,
    /// Where it was last; none where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Who uses it, if that was proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// How sure that is: 0 for a guest.
    pub level: Level,
    /// Its lines that are open now, or wait for a connection.
    pub lines: usize,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceInfo {
    /// Its id, base64url.
    pub id: String,
    /// As its person can see it too: 8 groups of 4 hexadecimal digits.
    pub fingerprint: String,
    /// `Ed25519` or `P-256`.
    pub algorithm: String,
    /// The name that its invite gave it, else its own for itself when it came; that is unverified, and whatever it wanted to say.
    pub name: String,
    /// Seconds since 1970.
    pub enrolled_at: u64,
    /// The device whose invite it used; none where that was the owner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited_by: Option<String>,
    /// Whether it may connect.
    pub status: DeviceStatus,
    /// Whose it is; none if it is bound to nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// The highest that a session of it has now; without one what its key alone is worth: 1 while it may connect, else 0.
    pub level: Level,
    /// The labels that it may open; none told if its invite has not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens: Option<Vec<String>>,
    /// When it was last here, in seconds since 1970; none if that was never noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<u64>,
    /// Its lines that are open now, or wait for a connection.
    pub lines: usize,
}

/// To whom a device is to be bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// Whose it is from now on.
    pub subject: Subject,
}

/// A device was bound, or released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bound {
    /// False if it was so before.
    pub changed: bool,
}

pub(super) fn routes() -> Router<Arc<Target>> {
    Router::new()
        .route("/devices", get(list))
        .route("/devices/{id}/revoke", post(revoke))
        .route("/devices/{id}/bind", post(bind))
        .route("/devices/{id}/release", post(release))
}

/// Devices as they are told, of those that `pick` wants, the oldest first.
pub(super) fn told(target: &Target, pick: impl Fn(&Device) -> bool) -> Result<Vec<DeviceInfo>, StoreError> {
    let store = target.state.store();
    let seen = store.last_seen()?;
    let lines: HashMap<DeviceId, usize> =
        target.running.as_ref().map(|duologue| duologue.directory().counts()).unwrap_or_default();
    let levels = target.running.as_ref().map(|duologue| duologue.directory().levels(now())).unwrap_or_default();
    let info = |device: Device| {
        let id = DeviceId(device.id);
        let known = store.known(id);
        DeviceInfo {
            id: id.to_string(),
            fingerprint: id.fingerprint(),
            algorithm: device.algorithm,
            name: device.name,
            enrolled_at: device.enrolled_at,
            invited_by: store.invited_by(id).map(|device| device.to_string()),
            level: match (levels.get(&id), device.status) {
                (Some(level), _) => *level,
                (None, DeviceStatus::Enrolled) => Level::Device,
                (None, _) => Level::Guest,
            },
            status: device.status,
            subject: known.subject.and_then(|subject| Subject::new(&subject).ok()),
            opens: known.opens.map(|opens| opens.iter().map(ToString::to_string).collect()),
            last_seen: seen.get(&device.id).copied(),
            lines: lines.get(&id).copied().unwrap_or_default(),
        }
    };
    Ok(store.devices()?.into_iter().filter(pick).map(info).collect())
}

/// Those that are here and that nobody has let in.
fn guests(target: &Target) -> Vec<GuestInfo> {
    let mut guests: BTreeMap<DeviceId, GuestInfo> = BTreeMap::new();
    let sessions = target.running.as_ref().map(|duologue| duologue.directory().strangers()).unwrap_or_default();
    for session in sessions {
        let (id, standing, address) = (session.seat.device(), session.seat.standing(now()), session.seat.address());
        let guest = guests.entry(id).or_insert_with(|| GuestInfo {
            id: id.to_string(),
            fingerprint: id.fingerprint(),
            address: None,
            subject: None,
            level: Level::Guest,
            lines: 0,
        });
        guest.lines += 1;
        guest.address = Some(address).filter(|address| !address.is_unspecified());
        if standing.level >= guest.level {
            (guest.level, guest.subject) = (standing.level, standing.subject.clone());
        }
    }
    guests.into_values().collect()
}

async fn list(Extracted(target): Extracted<Arc<Target>>) -> Answer<Response> {
    let work = move || Ok::<_, StoreError>((told(&target, |_| true)?, guests(&target)));
    let (devices, guests) = blocking(work).await??;
    Ok(json(StatusCode::OK, &DeviceList { devices, guests }))
}

pub(super) fn read_id(id: &str) -> Answer<DeviceId> {
    id.parse().map_err(|_| {
        let message = format!("{id:?} is no device id: `duologue devices list` shows them");
        Failure::new(StatusCode::BAD_REQUEST, "no-device-id", &message)
    })
}

async fn revoke(
    Extracted(target): Extracted<Arc<Target>>,
    by: Option<Extension<By>>,
    Named(id): Named,
    Said(said): Said<Revoke>,
) -> Answer<Response> {
    let device = read_id(&id)?;
    answer_revocation(target, by, Whom::device(device), said, format!("the device {device}")).await
}

async fn bind(
    Extracted(target): Extracted<Arc<Target>>,
    by: Option<Extension<By>>,
    Named(id): Named,
    Said(Bind { subject }): Said<Bind>,
) -> Answer<Response> {
    let watch = target.watch();
    let device = read_id(&id)?;
    let name = subject.clone();
    let work = move || match &target.running {
        Some(duologue) => duologue.rebind(device, Some(&name)),
        None => target.state.store().bind(device, name.as_str()),
    };
    let changed = blocking(work).await???;
    let note = format!("changed={changed} by={}", by_whom(by));
    watch.tell(Event::of(Kind::OwnerBound).device(device).subject(Some(&subject)).note(note));
    Ok(json(StatusCode::OK, &Bound { changed }))
}

async fn release(
    Extracted(target): Extracted<Arc<Target>>,
    by: Option<Extension<By>>,
    Named(id): Named,
) -> Answer<Response> {
    let watch = target.watch();
    let device = read_id(&id)?;
    let work = move || match &target.running {
        Some(duologue) => duologue.rebind(device, None),
        None => target.state.store().release(device).map(|released| released.map(|_| true)),
    };
    let changed = blocking(work).await???;
    watch.tell(Event::of(Kind::OwnerReleased).device(device).note(format!("by={}", by_whom(by))));
    Ok(json(StatusCode::OK, &Bound { changed }))
}
